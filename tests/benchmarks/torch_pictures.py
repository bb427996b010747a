"""Pictures for PyTorch, read by a `DataLoader` as its tutorials do; torchvision is not needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch  # type: ignore[import-not-found]
from PIL import Image

WORKERS = len(os.sched_getaffinity(0))


class Pictures(torch.utils.data.Dataset):
    """Grey pictures of a folder with one folder a class, float32 `[1, size, size]`, 0 to 255.

    Args:
        paths: The pictures.
        size: Side of what comes out; Pillow resizes bilinearly with antialiasing.
        augments: Whether flips, brightness and contrast are drawn, as ours are by default.
    """

    def __init__(self, paths: list[Path], size: int, *, augments: bool = False) -> None:
        self.paths, self.size, self.augments = paths, size, augments
        classes = sorted({path.parent.name for path in paths})
        self.labels = [classes.index(path.parent.name) for path in paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        with Image.open(self.paths[index]) as picture:
            grey = picture.convert("L")
        if grey.size != (self.size, self.size):
            grey = grey.resize((self.size, self.size), Image.Resampling.BILINEAR)
        image = torch.from_numpy(np.asarray(grey, np.float32))[None]
        return (augment(image) if self.augments else image), self.labels[index]


def augment(image: Any) -> Any:
    """`flip|vflip|brightness(0.1)|contrast(0.2)`."""
    mirrored = [axis for axis in (1, 2) if torch.rand(()) < 0.5]
    image = image.flip(mirrored) if mirrored else image
    offset, gain = (torch.rand(2) * 2 - 1) * torch.tensor([0.1 * 255, 0.2])
    mean = image.mean()
    return ((image - mean) * (1 + gain) + mean + offset).clamp(0, 255)


def make_loader(pictures: Pictures, batch_size: int, *, shuffle: bool = False) -> Any:
    return torch.utils.data.DataLoader(
        pictures,
        batch_size,
        shuffle=shuffle,
        drop_last=shuffle,
        num_workers=WORKERS,
        persistent_workers=True,
    )
