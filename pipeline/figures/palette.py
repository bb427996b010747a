"""The figures' colours: M. Okabe and K. Ito (2008); colour-blind people tell them apart."""

from __future__ import annotations

from typing import Final

BLUE: Final = "#0072B2"
ORANGE: Final = "#D55E00"
GREEN: Final = "#009E73"
GREY: Final = "#6b6b6b"
PINK: Final = "#CC79A7"
YELLOW: Final = "#E69F00"
SKY: Final = "#56B4E9"
BLACK: Final = "#000000"
