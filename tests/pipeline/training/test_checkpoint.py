from __future__ import annotations

import math
import time
from pathlib import Path
from typing import cast

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.distribution.tf_config import Place
from pipeline.rundir import RunDir
from pipeline.training.checkpoint import State, assign, fits, read_state, values_of, write_state
from pipeline.training.folder import training_folder
from pipeline.training.plan import TrainingPlan
from records.errors import InputError

STATE = State(
    {"model": [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7, np.int64)], "best": []},
    {"epoch": 3, "values": [0.5, math.inf], "name": "joint"},
)


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    write_state(tmp_path / "epoch.state", STATE)
    found = read_state(tmp_path / "epoch.state")
    assert found is not None
    assert found.facts == STATE.facts
    assert list(found.arrays) == ["model", "best"]
    assert found.arrays["best"] == []
    for array, expected in zip(found.arrays["model"], STATE.arrays["model"], strict=True):
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch.state"]


def test_the_same_state_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_state(tmp_path / name, STATE)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_state_does_not_depend_on_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_state(tmp_path / "now", STATE)
    monkeypatch.setattr(time, "time", lambda: -86_400.0)  # No battery: 1969, before ZIP's years.
    write_state(tmp_path / "then", STATE)
    assert (tmp_path / "then").read_bytes() == (tmp_path / "now").read_bytes()


@pytest.mark.parametrize("year", [1969, 2200])
def test_a_clock_that_no_model_can_be_saved_by_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, year: int
) -> None:
    monkeypatch.setattr(time, "time", lambda: (year - 1970 + 0.5) * 365.2425 * 86_400)
    run_dir = RunDir(tmp_path, "autoencoder")
    with (
        pytest.raises(InputError, match=f"says {year}"),
        training_folder(run_dir, cast(TrainingPlan, None), Place()),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_no_file_is_no_state(tmp_path: Path) -> None:
    assert read_state(tmp_path / "epoch.state") is None


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_damage_is_no_state(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "epoch.state"
    write_state(path, STATE)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        del content[place:]
    path.write_bytes(content)
    assert read_state(path) is None


def test_only_arrays_of_the_same_shapes_fit() -> None:
    layer = keras.layers.Dense(3)
    layer.build((None, 2))
    arrays = [np.ones([2, 3], np.float32), np.full([3], 2.0, np.float32)]
    assert fits(arrays, layer.variables)
    assert not fits(arrays[:1], layer.variables)
    assert not fits(arrays[::-1], layer.variables)
    assign(layer.variables, arrays)
    for value, array in zip(values_of(layer.variables), arrays, strict=True):
        np.testing.assert_array_equal(value, array)
