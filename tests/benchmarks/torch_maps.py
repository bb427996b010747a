"""Maps of torch-cam and pytorch-grad-cam, for `bench_maps`; run by the interpreter of the peers.

    python torch_maps.py maps IN.npz OUT.npz
    python torch_maps.py times IN.npz

IN is as `torch_networks.read_network` takes it, with `classes` `[n]`. OUT gets one array
`PACKAGE METHOD LAYER` a map: `[n, h, w]`, with ReLU, not normalised, enlarged to the picture by
PyTorch; and the noise of Smooth Grad-CAM++, `[samples, n, h, w, channels]`. `times` reads
lines `WORK<tab>LAYER<tab>NUMBER` and answers each with the seconds it took.
"""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch  # type: ignore[import-not-found]
from torch import nn
from torch_networks import choose_layout, read_network  # type: ignore[import-not-found]
from torchcam import methods  # type: ignore[import-not-found]

TORCH_CAM = ("GradCAM", "GradCAMpp", "XGradCAM", "LayerCAM")
PYTORCH_GRAD_CAM = ("GradCAM", "GradCAMPlusPlus", "XGradCAM", "LayerCAM")
NOISE = {"num_samples": 4, "std": 0.2}
INNER = "trunk.17.body.0"  # of Xception: what Keras calls block13_sepconv1_act


def import_pytorch_grad_cam() -> Any:
    """Imports it without torchvision.

    It needs four names of torchvision at its import, and calls them for reading pictures, for
    detections and in a method that is not asked for here. The stand-ins fail when they are called.
    """

    def missing(*args: object, **kwargs: object) -> None:
        raise RuntimeError("torchvision is not here")

    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
    modules = {name: types.ModuleType(name) for name in names}
    for module in modules.values():
        vars(module).update(dict.fromkeys(("Compose", "Normalize", "ToTensor", "resize"), missing))
    sys.modules.update(modules)
    try:
        import pytorch_grad_cam  # type: ignore[import-not-found]
    finally:
        for name in modules:
            del sys.modules[name]
    return pytorch_grad_cam


class Task:
    """A network with pictures and classes to explain."""

    def __init__(self, path: str) -> None:
        self.network, content = read_network(Path(path))
        name = str(content["network"])
        self.images = torch.from_numpy(content["images"].transpose(0, 3, 1, 2).copy())
        self.classes: list[int] = content["classes"].tolist()
        self.layers = (INNER if name == "xception" else "features", "last")
        self.grad_cam = import_pytorch_grad_cam()
        self.aim = self.grad_cam.utils.model_targets.ClassifierOutputTarget

    def torch_cam(self, method: str, layer: str, **options: Any) -> Any:
        with getattr(methods, method)(self.network, layer, **options) as cam:
            scores = self.network(self.images)
            torch.manual_seed(0)
            return cam(self.classes, scores, normalized=False)[0]

    def redraw_noise(self) -> npt.NDArray[np.float32]:
        torch.manual_seed(0)
        draw = torch.distributions.Normal(0, NOISE["std"]).sample
        noise = [draw(self.images.size()) for _ in range(int(NOISE["num_samples"]))]
        return torch.stack(noise).permute(0, 1, 3, 4, 2).numpy()

    def pytorch_grad_cam(self, method: str, layer: str) -> Any:
        """Its map before it is enlarged and normalised, which it does in one."""
        target = self.network.get_submodule(layer)
        with getattr(self.grad_cam, method)(self.network, [target]) as cam:
            cam(self.images, targets := [self.aim(index) for index in self.classes])
            seen = cam.activations_and_grads
            measured = seen.activations[0].numpy(), seen.gradients[0].numpy()
            raw = cam.get_cam_image(self.images, target, targets, *measured, False)
        return torch.from_numpy(np.maximum(raw, 0))

    def write_maps(self, path: str) -> None:
        raw = {}
        for layer in self.layers:
            for method in TORCH_CAM:
                raw[f"torch-cam {method} {layer}"] = self.torch_cam(method, layer)
            smooth = self.torch_cam("SmoothGradCAMpp", layer, **NOISE)
            raw[f"torch-cam SmoothGradCAMpp {layer}"] = smooth
            for method in PYTORCH_GRAD_CAM:
                raw[f"pytorch-grad-cam {method} {layer}"] = self.pytorch_grad_cam(method, layer)
        size = self.images.shape[2:]
        maps = {
            name: nn.functional.interpolate(coarse[:, None], size, mode="bilinear")[:, 0].numpy()
            for name, coarse in raw.items()
        }
        with Path(path).open("wb") as file:
            np.savez(file, noise=self.redraw_noise(), **maps)

    def run(self, work: str, layer: str, number: int) -> None:
        """One round: all pictures in batches of `number`, or the first with `number` samples."""
        network, images, classes = self.network, self.images, self.classes
        starts = range(0, len(images), number)
        batches = [(images[i : i + number], classes[i : i + number]) for i in starts]
        if work == "prediction of PyTorch":
            with torch.inference_mode():
                for part, _ in batches:
                    network(part)
        elif work == "torch-cam":
            with methods.GradCAMpp(network, layer) as cam:
                for part, indices in batches:
                    cam(indices, network(part))
        elif work == "pytorch-grad-cam":
            with self.grad_cam.GradCAMPlusPlus(network, [network.get_submodule(layer)]) as cam:
                for part, indices in batches:
                    cam(part, [self.aim(index) for index in indices])
        else:
            with methods.SmoothGradCAMpp(network, layer, num_samples=number) as cam:
                network(images[:1])
                cam(classes[0])


def main(work: str, path: str, *out: str) -> None:
    task = Task(path)
    if work == "maps":
        task.write_maps(*out)
        return
    choose_layout(task.network, lambda: task.run("prediction of PyTorch", "", 8))
    for line in sys.stdin:
        name, layer, number = line.split("\t")
        started = time.perf_counter()
        task.run(name, layer, int(number))
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
