"""Prediction by PyTorch, and its start; run by the interpreter of the peers.

    python torch_predict.py NETWORK.npz [PATHS.txt OUT.npz [WORK]]

Answers lines with seconds: `files`, all pictures of PATHS read by a `DataLoader` and judged, the
probabilities written to OUT; `tensors`, the network's `images` judged in batches of 32; `bfloat16`,
the same by automatic mixed precision; `equal`, the same padded as Keras pads, written to OUT.
With WORK it does that once; without PATHS it judges the first of `images` and ends.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch  # type: ignore[import-not-found]
from torch_networks import choose_layout, read_network  # type: ignore[import-not-found]
from torch_pictures import Pictures, make_loader  # type: ignore[import-not-found]

BATCH_SIZE = 32


class Prediction:
    """A network, its pictures in memory and in files."""

    def __init__(self, network: str, paths: list[Path]) -> None:
        self.network, content = read_network(Path(network))
        self.images = torch.from_numpy(content["images"].transpose(0, 3, 1, 2).astype(np.float32))
        self.loader = make_loader(Pictures(paths, self.images.shape[-1]), BATCH_SIZE)
        choose_layout(self.network, lambda: self.judge(self.images[:8]))

    def judge(self, images: Any) -> Any:
        with torch.inference_mode():
            outputs = self.network(images)
        logits = outputs[0] if isinstance(outputs, tuple) else outputs
        return logits.float().softmax(1).numpy()

    def run(self, work: str, out: str) -> None:
        if work in ("files", "equal"):
            self.network.pads_as_keras = work == "equal"
            files = (images for images, _ in self.loader)
            parts = self.images.split(BATCH_SIZE) if work == "equal" else files
            np.savez(out, probabilities=np.concatenate([self.judge(part) for part in parts]))
            return
        self.network.pads_as_keras = False
        with torch.autocast("cpu", torch.bfloat16, enabled=work == "bfloat16"):
            for part in self.images.split(BATCH_SIZE):
                self.judge(part)


def main(network: str, paths: str = "", out: str = "", work: str = "") -> None:
    if not paths:
        model, content = read_network(Path(network))
        with torch.inference_mode():
            model(torch.from_numpy(content["images"][:1].transpose(0, 3, 1, 2).astype(np.float32)))
        return
    prediction = Prediction(network, [Path(line) for line in Path(paths).read_text().splitlines()])
    for line in [work] if work else sys.stdin:
        started = time.perf_counter()
        prediction.run(line.strip(), out)
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
