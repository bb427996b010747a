"""Our networks in PyTorch, with weights that come from Keras; read by the peers' interpreter."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch  # type: ignore[import-not-found]
from torch import nn

FILTERS = (16, 32, 64, 96, 128)
MOMENTUM = 0.1  # of batch normalisation, as PyTorch counts it: 1 - 0.9


class Head(nn.Module):
    """The mean over positions, or all of them in Keras' order."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.pools = kind == "gap"

    def forward(self, x: Any) -> Any:
        return x.mean((2, 3)) if self.pools else x.permute(0, 2, 3, 1).flatten(1)


def small(head: str) -> nn.Module:
    """As `map_task.build_small`."""
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
            depthwise = value.shape[2] == place.shape[0] and value.shape[3] == 1
            value = value.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
        elif value.ndim == 2:
            value = value.T
        assert place.shape == value.shape, (place.shape, value.shape)
        place.data = torch.from_numpy(np.ascontiguousarray(value))


def convolve(before: int, after: int, *, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(after, eps=1e-3, momentum=MOMENTUM),
        nn.ReLU(),
    )


class Autoencoder(nn.Module):
    """As `models.autoencoder` builds it, for pictures of one channel, 0 to 255.

    Attributes:
        pads_as_keras: Whether a halving convolution pads below and right alone, as Keras does; it
            costs a copy, so what is timed pads on all sides.
    """

    pads_as_keras = False

    def __init__(self, classes: int, size: int, boxes: int, mean: float, variance: float) -> None:
        super().__init__()
        self.mean, self.deviation = mean, variance**0.5
        stages = min(max(round(float(np.log2(size / 8))), 3), 5)
        widths = FILTERS[-stages:]
        self.first = min(2, stages - 2)
        self.stages = nn.ModuleList()
        for before, after in itertools.pairwise((1, *widths)):
            stage = nn.ModuleList([convolve(before, after, stride=2)])
            if before != 1:
                stage.append(convolve(after, after))
            self.stages.append(stage)
        fine = widths[self.first :]
        self.laterals = nn.ModuleList(
            convolve(coarse, own, kernel=1)
            for own, coarse in reversed(list(itertools.pairwise(fine)))
        )
        # The maps that come from below have the width of the one above after their lateral.
        width = 2 * fine[0] if len(fine) > 1 else fine[0]
        self.merged = convolve(width, fine[0])
        self.evidence = nn.Conv2d(fine[0], boxes, 1)
        pixels = 2 ** (self.first + 1)
        self.pixels = nn.Conv2d(fine[0], pixels**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(pixels)
        self.dropout = nn.Dropout(0.3)
        self.logits = nn.Linear(3 * fine[0] + boxes, classes)

    def forward(self, x: Any) -> tuple[Any, Any, Any]:
        """Logits, reconstruction (0 to 255) and evidence."""
        x, outputs = (x - self.mean) / self.deviation, []
        for reduce, *encode in self.stages:
            if self.pads_as_keras:
                x = reduce[2](reduce[1](nn.functional.conv2d(
                    nn.functional.pad(x, (0, 1, 0, 1)), reduce[0].weight, stride=2)))  # fmt: skip
            else:
                x = reduce(x)
            for convolution in encode:
                x = convolution(x)
            outputs.append(x)
        for lateral, fine in zip(self.laterals, reversed(outputs[self.first : -1]), strict=True):
            x = nn.functional.interpolate(lateral(x), scale_factor=2, mode="nearest")
            x = torch.cat([fine, x], 1)
        x = self.merged(x)
        evidence = self.evidence(x)
        gate = evidence.sigmoid()
        gated = x * gate.amax(1, keepdim=True)
        pooled = [x.mean((2, 3)), x.amax((2, 3)), gated.amax((2, 3)), gate.amax((2, 3))]
        pixels = self.shuffle(self.pixels(x)) * self.deviation + self.mean
        return self.logits(self.dropout(torch.cat(pooled, 1))), pixels, evidence


def read_network(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """A network with its weights, ready to judge, and the file's content.

    The file is an .npz: `network` (`gap`, `flatten`, `xception` or `autoencoder`), its weights in
    the order of Keras' layers as `weight 000` and so on; of an autoencoder `form`, its side, mean
    and variance; and whatever else, such as `images` `[n, h, w, channels]`.
    """
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    with np.load(path) as file:
        content = dict(file)
    name = str(content["network"])
    weights = [content[key] for key in sorted(content) if key.startswith("weight")]
    network: nn.Module
    if name == "autoencoder":
        size, boxes, mean, variance = content["form"].tolist()
        network = Autoencoder(len(weights[-1]), int(size), int(boxes), mean, variance)
    else:
        network = Xception(len(weights[-1])) if name == "xception" else small(name)
    load(network, weights)
    return network.eval(), content


def choose_layout(network: nn.Module, work: Callable[[], object]) -> None:
    """Takes the memory layout in which `work` is faster: no peer is held back."""
    seconds: dict[Any, float] = {}
    for layout in (torch.contiguous_format, torch.channels_last) * 2:
        network.to(memory_format=layout)
        started = time.perf_counter()
        work()
        seconds[layout] = time.perf_counter() - started
    network.to(memory_format=min(seconds, key=lambda layout: seconds[layout]))
