"""README.md in parts: its commands, its tables, what it shows of the screen."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from models.registry import MODELS
from pipeline.config import Settings

REPOSITORY = Path(__file__).resolve().parents[1]
TEXT = (REPOSITORY / "README.md").read_text(encoding="utf-8")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the heading that it stands below."""

    language: str
    text: str
    heading: str


def find_blocks(text: str = TEXT) -> list[Block]:
    """All fenced blocks in their order.

    Raises:
        ValueError: One has no language, so that nobody can say whether it is to be run.
    """
    blocks, heading = [], ""
    for part in re.finditer(r"^(#+ [^\n]*)$|^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if part[1]:
            heading = part[1].lstrip("# ")
        elif not part[2]:
            raise ValueError(f"a block without a language below {heading!r}: {part[3][:60]!r}")
        else:
            blocks.append(Block(part[2], part[3], heading))
    return blocks


def split_commands(block: str) -> list[str]:
    """The commands of a block of shell, each on one line, without remarks."""
    joined = re.sub(r"\\\n\s*|(?<=\|)\n\s*", " ", block)
    lines = [re.sub(r"(^|\s+)# .*", "", line).strip() for line in joined.splitlines()]
    return [re.sub(r"\s{2,}", " ", line) for line in lines if line]


def find_table(header: str, text: str = TEXT) -> list[list[str]]:
    """The rows of the one table whose header starts so, each as its cells."""
    (table,) = re.findall(rf"^{re.escape(header)}.*\n\|[-| ]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()]
    return [[cell.strip().replace("\\|", "|") for cell in row] for row in rows]


def format_default(name: str) -> str:
    """What the table of flags says of a flag's default.

    A value that stands for the model's own is told by those of the models, divided by commas.
    """
    (default,) = [field.default for field in dataclasses.fields(Settings) if field.name == name]
    if isinstance(default, bool):
        return "`on`" if default else "`off`"
    own = [value for spec in MODELS.values() if (value := getattr(spec, name, None))]
    values = own or ([] if default in (None, "") else [default])
    shown = [f"{value:g}" if isinstance(value, int | float) else str(value) for value in values]
    return ", ".join(f"`{value}`" for value in dict.fromkeys(shown))
