"""File names from names that are not ours: class names and paths of pictures."""

from __future__ import annotations

import hashlib
import re

_SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,79}")


def safe_name(text: str) -> str:
    """The text itself where it is a file name that every system takes, else `digested_name`."""
    return text if _SAFE.fullmatch(text) else digested_name(text)


def digested_name(text: str) -> str:
    """Readable, safe everywhere, no way out of its folder, and that of no other text."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_")[-60:]
    return f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
