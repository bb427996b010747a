"""Our maps against those of tf-keras-vis, torch-cam and pytorch-grad-cam: what is equal.

The weights are carried over to PyTorch. What is compared, and where the peers differ, is said in
`map_rules`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models import cam_weights
from models.cam import SmoothGradCamPlusPlus, make_cam
from tests.benchmarks.map_rules import EQUAL, EXPLAINED, Floats, Rule, difference, enlarge
from tests.benchmarks.map_task import Task
from tests.benchmarks.peers import HERE, find_interpreter

CLOSE = 1e-4


@pytest.fixture
def arithmetic_as_written() -> Iterator[None]:
    """Without the reordering of sums and products by the graph's optimizer.

    Where ReLUs lie above the layer, another rounding can turn one of them on or off: the gradient
    jumps there, and the map of Xception's inner layer by 2.4e-4.
    """
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    yield
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": True})


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
def test_maps_are_those_of_peers(network: str, pictures: int, tmp_path: Path) -> None:
    program = [find_interpreter(), str(HERE / "torch_maps.py"), "maps"]
    task, out = Task(network, pictures=pictures), tmp_path / "maps.npz"
    subprocess.run([*program, task.write(tmp_path / "in.npz"), str(out)], check=True)
    theirs = dict(np.load(out))
    print(f"\n{network}: largest difference; then to the peer's rule, and of ours to `Rule()`")
    for layer in task.layers:
        raw = task.visualize(layer, expand_cam=False, normalize_cam=False)
        drawn = enlarge(raw(task.images, task.classes), task.images.shape[1])
        theirs[f"tf-keras-vis GradcamPlusPlus {layer}"] = drawn
        for peer, values in compare(task, layer, theirs).items():
            print(f"  {layer:16}{peer:34}" + "  ".join(f"{value:.1e}" for value in values))
            assert max(values[1:] or values) < CLOSE
