"""Programs that run in the environment of the peers, and what they are given."""

from __future__ import annotations

import subprocess
import types
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.benchmarks.run import PEERS, REQUIREMENTS, WITHOUT_DEPENDENCIES

HERE = Path(__file__).resolve().parent


def find_interpreter() -> str:
    """The interpreter of the peers; without them the benchmark is skipped."""
    stamp = PEERS / "peers.txt"
    if not stamp.exists() or stamp.read_text() != REQUIREMENTS.read_text() + WITHOUT_DEPENDENCIES:
        pytest.skip(f"the peers are not in {PEERS}: `make bench` installs them")
    return str(PEERS / "bin" / "python")


class Peer:
    """A program of the peers, asked line by line, that stays ready between the rounds."""

    def __init__(self, program: str, *arguments: object) -> None:
        self._command = [find_interpreter(), str(HERE / program), *map(str, arguments)]

    def __enter__(self) -> Peer:
        self._process = subprocess.Popen(self._command, stdin=-1, stdout=-1, text=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self._process.communicate()

    def ask(self, *words: object) -> float:
        """The number it answers with: seconds, as a rule."""
        print(*words, sep="\t", file=self._process.stdin, flush=True)
        assert self._process.stdout
        return float(self._process.stdout.readline())


def write_network(path: Path, name: str, model: keras.Model, **arrays: Any) -> Path:
    """Weights of a Keras model in the order of its layers, and arrays, as `torch_networks` reads.

    Args:
        path: The file, .npz.
        name: Name of the network there.
        model: The model.
        **arrays: What else is to be there, such as `images`.
    """
    weights = [array for layer in model.layers for array in layer.get_weights()]
    content = {f"weight {index:03}": array for index, array in enumerate(weights)}
    np.savez(path, network=np.array(name), **content, **arrays)
    return path
