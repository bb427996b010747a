"""What every page of the project has in common: one file, escaped, opened from disk offline."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from records.atomic import write_text


def write_page(
    path: Path,
    template: str,
    variables: Mapping[str, Any],
    *,
    filters: Mapping[str, Callable[..., Any]] | None = None,
) -> None:
    """Renders a template of this folder and writes the page, whole or not at all.

    Every variable is escaped. What UTF-8 cannot hold (of a file name in another encoding) is
    written as a backslash and its code.

    Args:
        path: Where the page goes.
        template: Its file name; it extends `page.html.j2`.
        variables: What it is given.
        filters: What it calls besides Jinja's own.

    Raises:
        jinja2.UndefinedError: The template names what `variables` lacks.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters or {}
    page = environment.get_template(template).render(variables)
    write_text(path, page.encode("utf-8", "backslashreplace").decode("utf-8"))


def data_uri(content: bytes, *, image_format: str) -> str:
    """A picture as the `src` of an `<img>`; `image_format` is `png` or `jpeg`."""
    return f"data:image/{image_format};base64,{base64.b64encode(content).decode('ascii')}"
