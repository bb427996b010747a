"""Our maps against tf-keras-vis, torch-cam and pytorch-grad-cam: what is equal, and how fast.

The weights are carried over to PyTorch. Compared are maps with ReLU, before any normalisation of
the peer's, enlarged to the picture bilinearly and divided by their maximum; at the layer `features`
of the small networks the map has the picture's size, and nothing is enlarged.

Equal are Grad-CAM, XGrad-CAM and LayerCAM of all, and Grad-CAM++ of tf-keras-vis. The others differ
for reasons that were read in their sources, torch-cam 0.5.0 and pytorch-grad-cam 1.5.7. Each is a
field of `Rule`. With those that `EXPLAINED` names it gives the peer's map, with none ours:

* torch-cam's Grad-CAM++ divides the copy that indexing with a mask makes, so that `alpha` stays
  `g^2`, and the weight is `sum_ij ReLU(g_ij)^3`.
* torch-cam's Smooth Grad-CAM++ takes `ReLU` of the last noisy picture's gradient, not the mean's;
  weighs that picture's activations, which its hooks hold by then, not the plain one's; has
  `sum_ab A_ab g_ab^3` for `(sum_ab A_ab) g_ij^3`; and does not divide `alpha` by its sum.
* pytorch-grad-cam's Grad-CAM++ does not divide `alpha` by its sum, and adds 1e-6 to the
  denominator, which is not small beside the square of a gradient of 1e-3.

Speed is that of Xception at 200 x 200, the same weights in both, in interleaved rounds; the
numbers printed are those of pictures at once, or of samples. `last` is the layer that the peers
choose by themselves, `trunk.17.body.0` the one that our stage `explain` takes: its gradient passes
through two blocks, a fifth of the arithmetic of a prediction. PyTorch has the memory layout in
which it predicts faster, and torch-cam's maps are counted as it gives them, 7 x 7; those of the
others have the picture's size.
"""

from __future__ import annotations

import functools
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
from tf_keras_vis.utils.scores import CategoricalScore

from models import cam_weights
from models.backbone import calibrate_batch_norm
from models.cam import SmoothGradCamPlusPlus, make_cam
from models.cam_base import ClassActivationMap
from models.registry import MODELS

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "peers-maps.txt"
# grad-cam asks for torchvision and does without: see `torch_maps.import_pytorch_grad_cam`.
WITHOUT_DEPENDENCIES = "grad-cam>=1.5.7,<1.6"
PEERS = Path(os.environ.get("NIOSCOPE_PEERS_MAPS", HERE.parents[1] / ".venv" / "peers-maps"))
ROUNDS = int(os.environ.get("NIOSCOPE_ROUNDS", "5"))
PICTURES, SAMPLES = 16, 50
CLOSE = 1e-4
INNER = "trunk.17.body.0"
# Threads of the work before go on spinning for a while; the work after it should not pay for that.
REST_SECONDS = 0.5

Floats = npt.NDArray[np.floating]
Measured = tuple[Floats, Floats]


@dataclass(frozen=True)
class Rule:
    """Grad-CAM++ of several samples, with what peers do otherwise; `A` and `g` as in our rules."""

    last_gradient: bool = False  # in ReLU, instead of the mean
    last_activations: bool = False  # are weighed, instead of the plain picture's
    sum_of_products: bool = False  # sum(A g^3) instead of sum(A) g^3
    undivided: bool = False  # alpha is g^2
    unscaled: bool = False  # alpha is not divided by its sum
    epsilon: float = 0.0

    def draw(self, plain: Measured, noisy: list[Measured], size: int) -> Floats:
        """The map of a layer, from its activations and gradients."""
        activations, gradients = plain[0], np.stack([part[1] for part in noisy])
        first = gradients[-1] if self.last_gradient else gradients.mean(axis=0)
        second, third = (gradients**2).mean(axis=0), (gradients**3).mean(axis=0)
        product = total(activations * third) if self.sum_of_products else total(activations) * third
        alpha = second if self.undivided else divide(second, 2 * second + product + self.epsilon)
        alpha = alpha if self.unscaled else divide(alpha, total(np.abs(alpha)))
        weights = total(alpha * np.maximum(first, 0))
        weighed = noisy[-1][0] if self.last_activations else activations
        return enlarge(np.maximum((weighed * weights).sum(axis=-1), 0), size)


EQUAL = {
    "gradcam++": ["tf-keras-vis GradcamPlusPlus"],
    "gradcam": ["torch-cam GradCAM", "pytorch-grad-cam GradCAM"],
    "xgradcam": ["torch-cam XGradCAM", "pytorch-grad-cam XGradCAM"],
    "layercam": ["torch-cam LayerCAM", "pytorch-grad-cam LayerCAM"],
}
EXPLAINED = {
    "torch-cam GradCAMpp": Rule(undivided=True, unscaled=True),
    "torch-cam SmoothGradCAMpp": Rule(True, True, True, unscaled=True, epsilon=1e-8),
    "pytorch-grad-cam GradCAMPlusPlus": Rule(unscaled=True, epsilon=1e-6),
}


def total(values: Floats) -> Floats:
    return values.sum(axis=(1, 2), keepdims=True)


def divide(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above), where=below != 0)


def enlarge(maps: npt.ArrayLike, size: int) -> Floats:
    return tf.image.resize(np.asarray(maps)[..., np.newaxis], [size, size])[..., 0].numpy()


def difference(first: Floats, second: Floats) -> float:
    """The largest in any pixel, of maps divided by their maxima."""
    shares = [divide(maps, maps.max(axis=(1, 2), keepdims=True)) for maps in (first, second)]
    return float(np.abs(shares[0] - shares[1]).max())


class Task:
    """A network with pictures and classes to explain; `layers` from the names of the peers."""

    def __init__(self, network: str, *, pictures: int) -> None:
        keras.utils.set_random_seed(0)
        rng = np.random.default_rng(0)
        self.network, self.layers = network, {"features": "features", "last": "last"}
        if network == "xception":  # calibrated, so that no features vanish
            self.layers = {INNER: MODELS[network].cam_layer, "last": "block14_sepconv2_act"}
            self.model = MODELS[network].build(image_size=200, channels=1, classes=6)
            self.images = enlarge(rng.uniform(0, 255, (16, 25, 25)), 200)[..., np.newaxis]
            calibrate_batch_norm(self.model, [tf.constant(self.images)])
            self.images = self.images[:pictures]
        else:
            self.model = build_small(network)
            self.images = rng.uniform(0, 1, (pictures, 32, 32, 2)).astype(np.float32)
        self.classes = [number % 3 for number in range(pictures)]

    def write(self, path: Path) -> str:
        weights = [array for layer in self.model.layers for array in layer.get_weights()]
        content = {f"weight {index:03}": array for index, array in enumerate(weights)}
        content |= {"images": self.images, "classes": np.array(self.classes)}
        np.savez(path, network=np.array(self.network), **content)
        return str(path)

    def measure(self, layer: str, images: Floats) -> Measured:
        """Activations and gradients, in float64 for the powers."""
        outputs = [self.model.get_layer(self.layers[layer]).output, self.model.output]
        with tf.GradientTape() as tape:
            tape.watch(seen := tf.constant(images))
            activations, logits = keras.Model(self.model.input, outputs)(seen, training=False)
            scores = tf.gather(logits, self.classes, axis=1, batch_dims=1)
        found = activations, tape.gradient(scores, activations)
        return found[0].numpy().astype(np.float64), found[1].numpy().astype(np.float64)

    def visualize(self, layer: str, **options: bool) -> Callable[[Floats, list[int]], Floats]:
        """Grad-CAM++ of tf-keras-vis."""
        cam = GradcamPlusPlus(self.model)
        options |= {"seek_penultimate_conv_layer": False}
        return lambda images, classes: cam(
            CategoricalScore(classes), images, penultimate_layer=self.layers[layer], **options
        )


def build_small(head: str) -> keras.Model:
    """Three convolutions, and a head whose gradients are short of the pole of `alpha`."""
    own = {"bias_initializer": "random_normal", "padding": "same", "activation": "relu"}
    image = keras.Input([32, 32, 2])
    x = keras.layers.Conv2D(8, 3, **own)(image)
    x = keras.layers.Conv2D(16, 3, name="features", **own)(x)
    x = keras.layers.Conv2D(16, 3, name="last", **own)(keras.layers.MaxPooling2D()(x))
    pools = head == "gap"
    x = (keras.layers.GlobalAveragePooling2D() if pools else keras.layers.Flatten())(x)
    kernel = keras.initializers.RandomNormal(stddev=0.3 if pools else 0.002)
    logits = keras.layers.Dense(3, kernel_initializer=kernel, bias_initializer="random_normal")
    return keras.Model(image, logits(x))


@pytest.fixture
def arithmetic_as_written() -> Iterator[None]:
    """Without the reordering of sums and products by the graph's optimizer.

    Where ReLUs lie above the layer, another rounding can turn one of them on or off: the gradient
    jumps there, and the map of Xception's inner layer by 2.4e-4.
    """
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    yield
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": True})


@pytest.fixture(scope="module")
def peers() -> list[str]:
    """The command that runs `torch_maps`, in an environment that is made if it is not there."""
    python, stamp = str(PEERS / "bin" / "python"), PEERS / REQUIREMENTS.name
    if not stamp.exists() or stamp.read_text() != REQUIREMENTS.read_text():
        install = [python, "-m", "pip", "install", "--quiet"]
        for command in (
            [sys.executable, "-m", "venv", str(PEERS)],
            [*install, "--requirement", str(REQUIREMENTS)],
            [*install, "--no-deps", WITHOUT_DEPENDENCIES],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"the peers cannot be installed: {(done.stderr or done.stdout)[-400:]}")
        stamp.write_text(REQUIREMENTS.read_text())
    return [python, str(HERE / "torch_maps.py")]


def compare(task: Task, layer: str, theirs: dict[str, Floats]) -> dict[str, list[float]]:
    """By peer and method: theirs to ours; theirs to the peer's rule; ours to `Rule()`."""
    size = task.images.shape[1]
    found: dict[str, list[float]] = {}
    for method, names in EQUAL.items():
        ours = make_cam(method, task.model, task.layers[layer])(task.images, task.classes)
        found |= {peer: [difference(theirs[f"{peer} {layer}"], ours)] for peer in names}
    plain = task.measure(layer, task.images)
    noisy = [task.measure(layer, task.images + part) for part in theirs["noise"]]
    for peer, rule in EXPLAINED.items():
        samples = noisy if "Smooth" in peer else [plain]
        powers = cam_weights.raise_to_powers(np.stack([part[1] for part in samples]))
        weights = SmoothGradCamPlusPlus.rule(plain[0], tf.reduce_mean(powers, axis=1))
        ours = cam_weights.render_heatmap(plain[0], weights, (size, size)).numpy()
        drawn = theirs[f"{peer} {layer}"]
        pairs = [(drawn, ours), (drawn, rule.draw(plain, samples, size))]
        pairs.append((ours, Rule().draw(plain, samples, size)))
        found[peer] = [difference(*pair) for pair in pairs]
    return found


@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("arithmetic_as_written")
@pytest.mark.parametrize(("network", "pictures"), [("gap", 4), ("flatten", 4), ("xception", 2)])
def test_maps_are_those_of_peers(
    network: str, pictures: int, peers: list[str], tmp_path: Path
) -> None:
    task, out = Task(network, pictures=pictures), tmp_path / "maps.npz"
    subprocess.run([*peers, "maps", task.write(tmp_path / "in.npz"), str(out)], check=True)
    theirs = dict(np.load(out))
    print(f"\n{network}: largest difference; then to the peer's rule, and of ours to `Rule()`")
    for layer in task.layers:
        raw = task.visualize(layer, expand_cam=False, normalize_cam=False)
        drawn = enlarge(raw(task.images, task.classes), task.images.shape[1])
        theirs[f"tf-keras-vis GradcamPlusPlus {layer}"] = drawn
        for peer, values in compare(task, layer, theirs).items():
            print(f"  {layer:16}{peer:34}" + "  ".join(f"{value:.1e}" for value in values))
            assert max(values[1:] or values) < CLOSE


def _explain(cam: ClassActivationMap, images: Floats, _: list[int]) -> object:
    return cam.explain(images)


class Clock:
    """Seconds of a work: ours and tf-keras-vis's here, the others' in a process of their own.

    A work is a name, a layer, and how many pictures at once, or how many samples of one picture.
    """

    def __init__(self, task: Task, command: list[str]) -> None:
        self.task = task
        model = task.model
        predict = tf.function(lambda images: model(images, training=False))
        self.here: dict[tuple[str, str], Callable[[Floats, list[int]], object]] = {}
        for layer, name in task.layers.items():
            cam = make_cam("gradcam++", model, name)
            smooth = SmoothGradCamPlusPlus(model, name, samples=SAMPLES)
            self.here |= {
                ("ours", layer): cam,
                ("our prediction with map", layer): functools.partial(_explain, cam),
                ("our prediction", layer): lambda images, _: predict(images).numpy(),
                ("our smooth", layer): smooth,
                ("tf-keras-vis", layer): task.visualize(layer),
            }
        self.process = subprocess.Popen(command, stdin=-1, stdout=-1, text=True)

    def __call__(self, name: str, layer: str, number: int) -> float:
        time.sleep(REST_SECONDS)
        if (name, layer) not in self.here:
            print(name, layer, number, sep="\t", file=self.process.stdin, flush=True)
            assert self.process.stdout
            return float(self.process.stdout.readline())
        started = time.perf_counter()
        for start in range(0, 1 if "smooth" in name else PICTURES, number):
            part = slice(start, start + 1 if "smooth" in name else start + number)
            self.here[name, layer](self.task.images[part], self.task.classes[part])
        return time.perf_counter() - started


class Ratio(NamedTuple):
    """Whose time to whose, at which layer, of how many pictures at once or samples; its bounds."""

    above: str
    below: str
    layer: str
    number: int
    least: float = 0.0
    most: float = math.inf


# The bounds are for the layer that the peers choose.
RATIOS = [
    Ratio("smooth of torch-cam", "our smooth", "last", SAMPLES, least=2.0),
    Ratio("smooth of torch-cam", "our smooth", INNER, SAMPLES),
]
for _number in (1, 8):
    RATIOS += [
        Ratio("tf-keras-vis", "ours", "last", _number, least=3.0),
        Ratio("our prediction with map", "our prediction", "last", _number, most=1.15),
        Ratio("torch-cam", "prediction of PyTorch", "last", _number),
        Ratio("our prediction with map", "our prediction", INNER, _number),
        Ratio("torch-cam", "prediction of PyTorch", INNER, _number),
        Ratio("tf-keras-vis", "ours", INNER, _number),
    ] + [
        Ratio(peer, "ours", layer, _number)
        for peer in ("torch-cam", "pytorch-grad-cam")
        for layer in ("last", INNER)
    ]


@pytest.mark.timeout(3600)
def test_maps_are_fast(peers: list[str], tmp_path: Path) -> None:
    task = Task("xception", pictures=PICTURES)
    clock = Clock(task, [*peers, "times", task.write(tmp_path / "in.npz")])
    works = list(
        dict.fromkeys(
            (name, ratio.layer, ratio.number)
            for ratio in RATIOS
            for name in (ratio.above, ratio.below)
        )
    )
    rounds = [{work: clock(*work) for work in works} for _ in range(1 + ROUNDS)][1:]
    clock.process.communicate()
    for name, layer, number in works:
        pictures = 1 if "smooth" in name else PICTURES
        median = statistics.median(times[name, layer, number] for times in rounds)
        print(f"\n  {name:24}{layer:16}{number:3}{pictures / median:8.2f} pictures/s", end="")
    missed = []
    for ratio in RATIOS:
        at = ratio.layer, ratio.number
        found = [times[ratio.above, *at] / times[ratio.below, *at] for times in rounds]
        median = statistics.median(found)
        line = f"{ratio.above} / {ratio.below}, {ratio.layer}, {ratio.number}: {median:.2f}"
        line += f" ({min(found):.2f} to {max(found):.2f})"
        if not ratio.least <= median <= ratio.most:
            missed.append(line := f"{line}, MISSED: at least {ratio.least}, at most {ratio.most}")
        print(f"\n  time of {line}", end="")
    assert not missed
