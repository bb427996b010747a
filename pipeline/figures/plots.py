"""The figures of a run, written as PNG.

Only Matplotlib's object interface is used: no global state, no display. Colours are those of
M. Okabe and K. Ito (2008), which colour-blind people tell apart. The same figure gives the same
bytes, and names are never read as TeX.
"""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from pipeline.figures.calibration import calibration_figure
from pipeline.figures.curves import curves_figure, operating_figure
from pipeline.figures.faithfulness import faithfulness_figure, sanity_figure
from pipeline.figures.history import history_figure, read_history
from pipeline.figures.localization import localization_figure
from pipeline.figures.matrix import confusion_figure
from pipeline.figures.robustness import robustness_figure
from records.atomic import replacing

__all__ = [
    "DPI",
    "calibration_figure",
    "confusion_figure",
    "curves_figure",
    "faithfulness_figure",
    "history_figure",
    "localization_figure",
    "operating_figure",
    "png_bytes",
    "read_history",
    "robustness_figure",
    "sanity_figure",
    "write_history",
    "write_png",
]

DPI = 144


def write_history(history_csv: Path) -> Path:
    """Draws `history.csv` and writes `history.png` beside it.

    Raises:
        InputError: The file is missing or no such table.
    """
    path = history_csv.with_suffix(".png")
    write_png(path, history_figure(read_history(history_csv)))
    return path


def write_png(path: Path, figure: Figure) -> None:
    """Writes the figure as PNG, whole or not at all."""
    content = png_bytes(figure)
    with replacing(path) as draft:
        draft.write_bytes(content)


def png_bytes(figure: Figure) -> bytes:
    """The figure as PNG: nothing cut off, no date and no program's name in it."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer,
        format="png",
        dpi=DPI,
        bbox_inches="tight",
        facecolor="white",
        metadata={"Software": None},
    )
    return buffer.getvalue()
