"""CSV that a spreadsheet can open without running what is in it.

A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula, and a leading tab,
carriage return or line feed can hide one (OWASP, "CSV Injection"). File and class names are not
ours, so such a cell gets an apostrophe in front. A cell that already has apostrophes before such a
character gets one more, so that taking one away always gives back the text.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

_RISKY = re.compile(r"'*[=+\-@\t\r\n]")
_SPECIAL = re.compile(r'[",\r\n]')
_GUARDED = re.compile(r"'+[=+\-@\t\r\n]")


def guard_cell(text: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if _RISKY.match(text) else text


def unguard_cell(cell: str) -> str:
    """The text that `guard_cell` was given."""
    return cell[1:] if _GUARDED.match(cell) else cell


def format_csv(rows: Iterable[Sequence[str]]) -> str:
    """Rows of texts as CSV (RFC 4180, but with line feeds): guarded cells, quotes where needed."""
    # Not csv.writer: with line feeds it leaves a lone carriage return unquoted.
    return "".join((",".join(map(_format_cell, row)) or '""') + "\n" for row in rows)


def parse_csv(text: str) -> list[list[str]]:
    """The rows that `format_csv` was given.

    Raises:
        ValueError: The text is not CSV.
    """
    try:
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        return [[unguard_cell(cell) for cell in row] for row in rows]
    except csv.Error as error:
        raise ValueError(str(error)) from error


def _format_cell(text: str) -> str:
    cell = guard_cell(text)
    return '"{}"'.format(cell.replace('"', '""')) if _SPECIAL.search(cell) else cell
