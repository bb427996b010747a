from __future__ import annotations

import pytest

from pipeline.evaluation.line import measure_line
from pipeline.evaluation.rates import measure_rate


def test_rates_become_parts_of_a_million() -> None:
    # 3 of 60 escape: 5 % of 2 % of a million; 10 of 200 are stopped: 5 % of 98 %.
    escapes, false_calls = measure_rate(count=3, of=60), measure_rate(count=10, of=200)
    line = measure_line(escapes=escapes, false_calls=false_calls, defect_rate=0.02)
    assert line.escapes.value == pytest.approx(1000)
    assert line.false_calls.value == pytest.approx(49_000)
    assert line.escapes.low == pytest.approx(20_000 * (escapes.low or 0))
    assert line.escapes.high == pytest.approx(20_000 * (escapes.high or 0))


def test_what_is_unknown_stays_so_and_a_line_without_defects_has_no_escapes() -> None:
    none, some = measure_rate(count=0, of=0), measure_rate(count=1, of=10)
    assert measure_line(escapes=none, false_calls=some, defect_rate=0.5).escapes.value is None
    line = measure_line(escapes=some, false_calls=some, defect_rate=0.0)
    assert (line.escapes.value, line.false_calls.value) == (0, 100_000)


def test_a_share_above_1_is_refused() -> None:
    some = measure_rate(count=1, of=10)
    with pytest.raises(ValueError, match="defect_rate"):
        measure_line(escapes=some, false_calls=some, defect_rate=1.5)
