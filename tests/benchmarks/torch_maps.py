"""Maps of torch-cam and pytorch-grad-cam, for `bench_maps`; run by the interpreter of the peers.

    python torch_maps.py maps IN.npz OUT.npz
    python torch_maps.py times IN.npz

IN holds `network` (`gap`, `flatten` or `xception`), its weights in the order of Keras' layers as
`weight 000` and so on, `images` `[n, h, w, channels]`, and `classes` `[n]`. OUT gets one array
`PACKAGE METHOD LAYER` a map: `[n, h, w]`, with ReLU, not normalised, enlarged to the picture by
PyTorch; and the noise of Smooth Grad-CAM++, `[samples, n, h, w, channels]`. `times` reads
lines `WORK<tab>LAYER<tab>NUMBER` and answers each with the seconds it took.
"""

from __future__ import annotations

import itertools
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch  # type: ignore[import-not-found]
from torch import nn
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


class Head(nn.Module):
    """The mean over positions, or all of them in Keras' order."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.pools = kind == "gap"

    def forward(self, x: Any) -> Any:
        return x.mean((2, 3)) if self.pools else x.permute(0, 2, 3, 1).flatten(1)


def small(head: str) -> nn.Module:
    """As `bench_maps.build_small`."""
    network = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.ReLU())
    network.append(nn.Conv2d(8, 16, 3, padding=1)).add_module("features", nn.ReLU())
    network.append(nn.MaxPool2d(2)).append(nn.Conv2d(16, 16, 3, padding=1))
    network.add_module("last", nn.ReLU())
    network.append(Head(head)).append(nn.Linear(16 if head == "gap" else 16 * 16 * 16, 3))
    return network


def normed(convolution: nn.Module, width: int) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(width, eps=1e-3)]


def separable(before: int, after: int) -> list[nn.Module]:
    depthwise = nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False)
    return [depthwise, *normed(nn.Conv2d(before, after, 1, bias=False), after)]


class Block(nn.Module):
    """Separable convolutions beside a shortcut, which halves the size or is the identity."""

    def __init__(self, *widths: int, halves: bool, relu_first: bool = True) -> None:
        super().__init__()
        body = [x for pair in itertools.pairwise(widths) for x in (nn.ReLU(), *separable(*pair))]
        pool = [nn.MaxPool2d(3, 2, padding=1)] if halves else []
        self.body = nn.Sequential(*body[0 if relu_first else 1 :], *pool)
        convolution = nn.Conv2d(widths[0], widths[-1], 1, stride=2, bias=False)
        shortcut = normed(convolution, widths[-1]) if halves else []
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Any) -> Any:
        return self.body(x) + self.shortcut(x)


class Xception(nn.Module):
    """Chollet, CVPR 2017, for grey pictures of 0 to 255, as `models.backbone` builds it."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *normed(nn.Conv2d(3, 32, 3, stride=2, bias=False), 32),
            nn.ReLU(),
            *normed(nn.Conv2d(32, 64, 3, bias=False), 64),
            nn.ReLU(),
            Block(64, 128, 128, halves=True, relu_first=False),
            Block(128, 256, 256, halves=True),
            Block(256, 728, 728, halves=True),
            *(Block(728, 728, 728, 728, halves=False) for _ in range(8)),
            Block(728, 728, 1024, halves=True),
            *separable(1024, 1536),
            nn.ReLU(),
            *separable(1536, 2048),
        )
        self.last = nn.ReLU()
        self.logits = nn.Linear(2048, classes)

    def forward(self, x: Any) -> Any:
        x = self.trunk(x.expand(-1, 3, -1, -1) / 127.5 - 1)
        return self.logits(self.last(x).mean((2, 3)))


def load(network: nn.Module, weights: list[npt.NDArray[np.float32]]) -> None:
    """Takes over Keras' weights, which come layer by layer as the modules do."""
    names = ("weight", "bias", "running_mean", "running_var")
    places = [
        place
        for module in network.modules()
        for place in (getattr(module, name, None) for name in names)
        if isinstance(place, torch.Tensor)
    ]
    for place, value in zip(places, weights, strict=True):
        if value.ndim == 4:
            depthwise = place.shape[1] == 1
            value = value.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
        elif value.ndim == 2:
            value = value.T
        assert place.shape == value.shape, (place.shape, value.shape)
        place.data = torch.from_numpy(np.ascontiguousarray(value))


class Task:
    """A network with pictures and classes to explain."""

    def __init__(self, path: str) -> None:
        with np.load(path) as content:
            name = str(content["network"])
            weights = [content[key] for key in sorted(content) if key.startswith("weight")]
            self.images = torch.from_numpy(content["images"].transpose(0, 3, 1, 2).copy())
            self.classes: list[int] = content["classes"].tolist()
        self.network = Xception(len(weights[-1])) if name == "xception" else small(name)
        load(self.network, weights)
        self.network.eval()
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

    def choose_layout(self) -> None:
        """Takes the memory layout in which prediction is faster: no peer is held back."""
        seconds: dict[Any, float] = {}
        for layout in (torch.contiguous_format, torch.channels_last) * 2:
            self.network.to(memory_format=layout)
            started = time.perf_counter()
            self.run("prediction of PyTorch", "", 8)
            seconds[layout] = time.perf_counter() - started
        self.network.to(memory_format=min(seconds, key=lambda layout: seconds[layout]))


def main(work: str, path: str, *out: str) -> None:
    task = Task(path)
    if work == "maps":
        task.write_maps(*out)
        return
    task.choose_layout()
    for line in sys.stdin:
        name, layer, number = line.split("\t")
        started = time.perf_counter()
        task.run(name, layer, int(number))
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
