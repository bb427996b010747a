"""What rates on a test split mean on a production line, where defects are rarer.

A test split has the share of defects that somebody collected. What escapes or is stopped for
nothing on the line depends on the share there.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.rates import Rate

_MILLION = 1e6


@dataclass(frozen=True)
class PartsPerMillion:
    """Of a million parts on the line, with the interval of the rate it comes from.

    Attributes:
        value: Parts; `None` when the rate is undefined, as are the bounds.
        low: Lower bound.
        high: Upper bound.
    """

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class LineRates:
    """Escapes and false calls of a million parts.

    Attributes:
        defect_rate: Share of the parts on the line that are not in order, as the user says.
        escapes: Parts not in order that pass.
        false_calls: Parts in order that are stopped.
    """

    defect_rate: float
    escapes: PartsPerMillion
    false_calls: PartsPerMillion

    def to_json(self) -> dict[str, Any]:
        """The same as nested dicts."""
        return dataclasses.asdict(self)


def measure_line(*, escapes: Rate, false_calls: Rate, defect_rate: float) -> LineRates:
    """Carries rates over to a line with another share of defects.

    Args:
        escapes: Of the defects, those that passed.
        false_calls: Of the others, those that were stopped.
        defect_rate: Share of defects on the line, in [0, 1].

    Raises:
        ValueError: `defect_rate` is not in [0, 1].
    """
    if not 0 <= defect_rate <= 1:
        raise ValueError(f"defect_rate must be in [0, 1]; received {defect_rate}")
    return LineRates(
        defect_rate=defect_rate,
        escapes=_scale(escapes, defect_rate),
        false_calls=_scale(false_calls, 1 - defect_rate),
    )


def _scale(rate: Rate, share: float) -> PartsPerMillion:
    return PartsPerMillion(
        *(
            None if value is None else _MILLION * share * value
            for value in (rate.value, rate.low, rate.high)
        )
    )
