"""Our maps against tf-keras-vis, torch-cam and pytorch-grad-cam: how fast.

Xception at 200 x 200, the same weights in all, which `bench_map_equality` shows to give the same
maps. `last` is the layer that the peers choose by themselves, `inner` the one that our stage
`explain` takes: its gradient passes through two blocks, a fifth of the arithmetic of a prediction.
PyTorch has the memory layout in which it predicts faster, and torch-cam's maps are counted as it
gives them, 7 x 7; those of the others have the picture's size. NIOSCOPE_PICTURES says of how many
pictures.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from models.cam import SmoothGradCamPlusPlus, make_cam
from tests.benchmarks.map_task import INNER, Task
from tests.benchmarks.peers import Peer
from tests.benchmarks.rounds import Way, rounds_or, state, take_rounds

PICTURES = int(os.environ.get("NIOSCOPE_PICTURES", "8"))
SAMPLES = 50
LAYERS = {"last": "last", INNER: "inner"}
# What of ours stands against what, and what it is called in the table.
CONTESTS = (
    ("our map", "tf-keras-vis", "Grad-CAM++"),
    ("our map", "torch-cam", "Grad-CAM++"),
    ("our map", "pytorch-grad-cam", "Grad-CAM++"),
    ("our prediction with map", "our prediction", "prediction with a map"),
    ("our prediction", "prediction of PyTorch", "prediction by the graph for maps"),
)
THEIRS = ("torch-cam", "pytorch-grad-cam", "prediction of PyTorch", "smooth of torch-cam")


def list_ways(task: Task, peer: Peer, at_once: tuple[int, ...]) -> dict[str, Way]:
    """By `NAME LAYER NUMBER`: all pictures, so many at once; or one with so many samples."""
    ways: dict[str, Way] = {}
    model = task.model
    predict = tf.function(lambda images: model(images, training=False))
    for layer, name in task.layers.items():
        cam = make_cam("gradcam++", model, name)
        smooth = SmoothGradCamPlusPlus(model, name, samples=SAMPLES)
        here: dict[str, Callable[..., object]] = {
            "our map": cam,
            "our prediction with map": lambda images, _, cam=cam: cam.explain(images),
            "our prediction": lambda images, _: predict(images).numpy(),
            "tf-keras-vis": task.visualize(layer),
        }
        for number in at_once:
            for key, work in here.items():
                ways[f"{key} {layer} {number}"] = functools.partial(explain, work, task, number)
        for key in THEIRS:
            for number in (SAMPLES,) if "smooth" in key else at_once:
                ask = functools.partial(peer.ask, key, layer, number)
                ways[f"{key} {layer} {number}"] = ask
        ways[f"our smooth {layer} {SAMPLES}"] = functools.partial(
            explain, smooth, task, 1, pictures=1
        )
    return ways


def explain(
    work: Callable[..., object], task: Task, number: int, *, pictures: int = PICTURES
) -> None:
    for start in range(0, pictures, number):
        part = slice(start, start + number)
        work(task.images[part], task.classes[part])


@pytest.mark.timeout(3600)
def test_maps_are_fast(tmp_path: Path) -> None:
    task, at_once = Task("xception", pictures=PICTURES), (1, PICTURES)
    with Peer("torch_maps.py", "times", task.write(tmp_path / "in.npz")) as peer:
        taken = take_rounds(list_ways(task, peer, at_once), rounds=rounds_or(3))
    for layer, shown in LAYERS.items():
        for number in at_once:
            for ours, theirs, what in CONTESTS:
                times = (taken[f"{name} {layer} {number}"] for name in (ours, theirs))
                what = f"{what}, Xception, {shown} layer, {number} at once"
                state("maps", what, theirs, *times, pictures=PICTURES)
        names = ("our smooth", "smooth of torch-cam")
        times = (taken[f"{name} {layer} {SAMPLES}"] for name in names)
        what = f"Smooth Grad-CAM++, {SAMPLES} samples, {shown} layer"
        state("maps", what, "torch-cam", *times, pictures=1)
