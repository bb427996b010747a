"""A page of HTML, read for what it says and what it is made of."""

from __future__ import annotations

from html.parser import HTMLParser

_VOID = {"meta", "img", "br", "wbr"}
_BLOCKS = {"th", "td", "p", "div"}


class Page(HTMLParser):
    """Reads a page: its text, its elements, and whether they are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self._open: list[str] = []
        self._text: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []
        self.raw_text = "".join(self._text)
        self.text = " ".join(self.raw_text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "br":
            self._text.append(" ")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS:
            self._text.append(" ")
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self._text.append(data)
        if self._open[-1:] == ["h2"]:
            self.headings.append(data)

    def pictures(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == "img"]

    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}
