from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
import tensorflow as tf

from pipeline.distribution.tf_config import Place
from pipeline.distribution.workers import naming_lost_workers
from records.errors import InputError


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("{{node reduce}} Connection reset\nmore", "reached: Connection reset"),
        ("", "reached: CancelledError"),
        ("{{node reduce}} ", "reached: CancelledError"),
    ],
)
def test_a_lost_worker_is_told_with_the_reason_there_is(message: str, said: str) -> None:
    lost = tf.errors.CancelledError(None, None, message)
    with pytest.raises(InputError) as caught, naming_lost_workers(Place(1, 2)):
        raise lost
    assert str(caught.value).splitlines()[0].endswith(said)


def test_a_worker_alone_has_lost_none() -> None:
    with pytest.raises(tf.errors.CancelledError), naming_lost_workers(Place()):
        raise tf.errors.CancelledError(None, None, "stopped")


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        addresses = [f"127.0.0.1:{taken.getsockname()[1]}", "127.0.0.1:1"]
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 0}}
        # In a process of its own: TensorFlow opens its port before anything is computed.
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "from pipeline.distribution import tf_config, workers\n"
                "place = tf_config.read_place('multiworker')\n"
                "workers.make_strategy('multiworker', place, batch_size=8)",
            ],
            env={**os.environ, "TF_CONFIG": json.dumps(config)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert "InputError: Worker 0 cannot open the port that TF_CONFIG gives it" in done.stderr
