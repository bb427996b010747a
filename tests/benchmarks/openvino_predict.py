"""Prediction by OpenVINO on a frozen graph; run by the interpreter of the peers.

    python openvino_predict.py GRAPH.pb IMAGES.npz OUT.npz PRECISION

GRAPH gives logits first. PRECISION is `f32` or `bf16`. Every line is answered with the seconds of
`images` in batches of 32; the probabilities are in OUT. One batch on all cores, or one batch a
core: whichever is faster is taken, so that this peer is not held back.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import numpy as np
import openvino  # type: ignore[import-not-found]

BATCH_SIZE = 32
CORES = len(os.sched_getaffinity(0))


def compile_graph(path: str, precision: str, hint: str, shape: tuple[int, ...]) -> Any:
    core = openvino.Core()
    model = core.read_model(path)
    model.reshape([BATCH_SIZE, *shape])
    return core.compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": hint,
            "INFERENCE_NUM_THREADS": CORES,
        },
    )


def judge(queue: Any, images: Any, out: dict[int, Any]) -> None:
    for start in range(0, len(images), BATCH_SIZE):
        queue.start_async({0: images[start : start + BATCH_SIZE]}, (start, out))
    queue.wait_all()


def keep(request: Any, data: tuple[int, dict[int, Any]]) -> None:
    start, out = data
    out[start] = request.get_output_tensor(0).data.copy()


def main(path: str, arrays: str, out: str, precision: str) -> None:
    images = np.load(arrays)["images"].astype(np.float32)
    best, queue = float("inf"), None
    for hint in ("LATENCY", "THROUGHPUT"):
        compiled = compile_graph(path, precision, hint, images.shape[1:])
        tried = openvino.AsyncInferQueue(compiled, 1 if hint == "LATENCY" else CORES)
        tried.set_callback(keep)
        for _ in range(2):
            started = time.perf_counter()
            judge(tried, images, {})
            seconds = time.perf_counter() - started
        if seconds < best:
            best, queue = seconds, tried
    for _ in sys.stdin:
        found: dict[int, Any] = {}
        started = time.perf_counter()
        judge(queue, images, found)
        seconds = time.perf_counter() - started
        logits = np.concatenate([found[start] for start in sorted(found)])
        shares = np.exp(logits - logits.max(1, keepdims=True))
        np.savez(out, probabilities=shares / shares.sum(1, keepdims=True))
        print(seconds, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
