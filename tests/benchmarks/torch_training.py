"""The autoencoder's own architecture trained by PyTorch; run by the interpreter of the peers.

    python torch_training.py FOLDER SIZE BATCH_SIZE ask
    python torch_training.py FOLDER SIZE BATCH_SIZE TARGET SEED EPOCHS

FOLDER holds `train` and `validation`, each with one folder a class. `ask` answers lines with
seconds: `read`, one pass over the training pictures; `read augmented`; `train`, an epoch with its
validation. The other form trains until the accuracy on validation is TARGET, an epoch a line.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch  # type: ignore[import-not-found]
from torch import nn
from torch_networks import Autoencoder  # type: ignore[import-not-found]
from torch_pictures import WORKERS, Pictures, make_loader  # type: ignore[import-not-found]

MEAN, VARIANCE, RECONSTRUCTION_WEIGHT = 130.0, 2500.0, 0.5


class Training:
    """Network, pictures and optimizer."""

    def __init__(self, folder: Path, size: int, batch_size: int, *, seed: int = 0) -> None:
        torch.set_num_threads(WORKERS)
        torch.manual_seed(seed)
        paths = {split: sorted((folder / split).glob("*/*")) for split in ("train", "validation")}
        classes = len({path.parent.name for path in paths["train"]})
        self.plain = make_loader(Pictures(paths["train"], size), batch_size, shuffle=True)
        self.training = make_loader(
            Pictures(paths["train"], size, augments=True), batch_size, shuffle=True
        )
        self.validation = make_loader(Pictures(paths["validation"], size), 64)
        network = Autoencoder(classes, size, 1, MEAN, VARIANCE)
        self.network = network.to(memory_format=torch.channels_last)
        # Batch normalisation does without weight decay, as everything here: Adam as in Keras.
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-3, eps=1e-7)

    def train(self) -> float:
        """One epoch with its validation; returns the accuracy."""
        self.network.train()
        for images, labels in self.training:
            logits, pixels, _ = self.network(images)
            error = ((pixels - images) ** 2).mean() / VARIANCE
            loss = nn.functional.cross_entropy(logits, labels) + RECONSTRUCTION_WEIGHT * error
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        self.network.eval()
        right = total = 0
        with torch.inference_mode():
            for images, labels in self.validation:
                right += int((self.network(images)[0].argmax(1) == labels).sum())
                total += len(labels)
        return right / total


def answer(training: Training) -> None:
    loaders: dict[str, Any] = {"read": training.plain, "read augmented": training.training}
    for line in sys.stdin:
        started = time.perf_counter()
        if line.strip() == "train":
            training.train()
        else:
            for _ in loaders[line.strip()]:
                pass
        print(time.perf_counter() - started, flush=True)


def train_until(training: Training, target: float, epochs: int) -> None:
    for epoch in range(1, epochs + 1):
        accuracy = training.train()
        print(f"epoch {epoch}: val accuracy {accuracy:.4f};", flush=True)
        if accuracy >= target:
            return


def main(
    folder: str, size: str, batch_size: str, work: str, seed: str = "0", most: str = ""
) -> None:
    training = Training(Path(folder), int(size), int(batch_size), seed=int(seed))
    if work == "ask":
        answer(training)
    else:
        train_until(training, float(work), int(most))


if __name__ == "__main__":
    main(*sys.argv[1:])
