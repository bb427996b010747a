"""A process told to end by a signal: in time, by its number, by one line."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NUMBERS = (signal.SIGINT, signal.SIGTERM)
BEGINNING = """
import sys, time
from pipeline import ending
ending.GRACE_SECONDS = float(sys.argv[1])
def say(word):
    print(word, flush=True)
"""
ENDED = """
try:
    with ending.ending_when_told():
        try:
            {body}
        finally:
            say("left")
except ending.Interrupted as stop:
    say(f"ended {{stop.status}}")
"""


def start(body: str, *, grace_seconds: float = 30.0) -> subprocess.Popen[str]:
    code = BEGINNING + ENDED.format(body=body)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(grace_seconds)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", NUMBERS)
def test_what_is_left_is_left_by_an_exception(number: signal.Signals) -> None:
    process = start("say('ready'); time.sleep(60)")
    process.send_signal(number)
    assert process.communicate(timeout=60) == (f"left\nended {128 + number}\n", "")
    assert process.returncode == 0  # The status is for main.py to give.


def test_what_else_is_raised_then_is_a_consequence() -> None:
    body = """
            try:
                say("ready")
                time.sleep(60)
            except KeyboardInterrupt:
                raise ValueError("a worker was ended")"""
    process = start(body)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60) == ("left\nended 143\n", "")


def test_an_exception_that_is_lost_ends_the_process_after_the_grace() -> None:
    body = """
            while True:
                try:
                    say("ready")
                    time.sleep(60)
                except KeyboardInterrupt:
                    pass"""
    process = start(body, grace_seconds=0.2)
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    assert (out, errors.strip(), process.returncode) == (
        "ready\n",
        "nioscope: interrupted; the same command goes on.",
        143,
    )


def test_told_twice_at_once_is_told_once_and_later_ends_it_at_once() -> None:
    body = """
            try:
                say("ready")
                time.sleep(60)
            finally:
                say("cleaning")
                time.sleep(60)"""
    process = start(body)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
    assert process.stdout is not None and process.stdout.readline() == "cleaning\n"
    time.sleep(1.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_handlers_are_as_before_when_nothing_came() -> None:
    from pipeline.ending import ending_when_told

    before = [signal.getsignal(number) for number in NUMBERS]
    with ending_when_told():
        assert [signal.getsignal(number) for number in NUMBERS] != before
    assert [signal.getsignal(number) for number in NUMBERS] == before
