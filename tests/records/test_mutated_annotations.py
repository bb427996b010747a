"""Damaged annotations: refused in words, or read as another reader reads them.

600 mutants by default; `NIOSCOPE_MUTATIONS=10000` makes as many.
"""

from __future__ import annotations

import codecs
import os
import random
import re
import time
import unicodedata
import xml.etree.ElementTree as ElementTree
from collections import Counter
from itertools import cycle, islice

from records.types import AnnotatedObject, Annotation, BoundingBox
from records.voc import AnnotationError, UnsafeAnnotationError, parse_annotation
from tests.records.annotation_mutants import MUTATIONS, SOURCES

COUNT = int(os.environ.get("NIOSCOPE_MUTATIONS", "600"))

NAME_LETTERS = re.compile(
    "[\xc0-\xd6\xd8-\xf6\xf8-\u02ff\u0370-\u037d\u037f-\u1fff\u200c\u200d\u2070-\u218f"
    "\u2c00-\u2fef\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff]"
)
"""Foreign letters in names by XML 1.0, fifth edition; expat knows those of the fourth alone."""
TAG = re.compile(r"(?P<text><!\[CDATA\[.*?\]\]>)|<[^<>!][^<>]*>", re.DOTALL)


class NoDoctype(ElementTree.TreeBuilder):
    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise AssertionError(f"a DOCTYPE was accepted: {name}")


def decode(xml: bytes) -> str:
    """The text of a document: XML 1.0, appendix F, in as much as it is needed here."""
    starts = (
        *(("utf-32", codecs.BOM_UTF32_LE), ("utf-16", codecs.BOM_UTF16_LE)),
        *(("utf-16", codecs.BOM_UTF16_BE), ("utf-8-sig", codecs.BOM_UTF8)),
        *(("utf-32-le", b"<\0\0\0"), ("utf-16-le", b"<\0"), ("utf-16-be", b"\0<")),
    )
    declared = re.match(rb"<\?xml[^>]* encoding=[\"']([\w-]+)", xml)
    otherwise = declared[1].decode() if declared else "utf-8"
    return xml.decode(next((name for name, start in starts if xml.startswith(start)), otherwise))


def read_with_expat(xml: bytes) -> Annotation:
    """What the standard library's parser finds, by rules written anew."""
    # Given text, expat does not look at what encoding it declares; it knows but four.
    plain = TAG.sub(lambda tag: tag["text"] or NAME_LETTERS.sub("\xe9", tag[0]), decode(xml))
    root = ElementTree.XML(plain, ElementTree.XMLParser(target=NoDoctype()))
    assert root.tag == "annotation"

    def text(path: str, parent: ElementTree.Element = root, default: str = "") -> str:
        found = parent.findall(path)
        assert len(found) <= 1
        assert not any(len(element) for element in found)
        joined = "".join("".join(element.itertext()) for element in found) or default
        return unicodedata.normalize("NFC", joined.strip())

    def number(path: str, parent: ElementTree.Element) -> float:
        found = text(path, parent)
        assert re.fullmatch("[-+0-9.eE]+", found)
        return float(found)

    def flag(path: str, parent: ElementTree.Element) -> bool:
        found = text(path, parent).lower()
        assert found in ("", "0", "1", "true", "false", "yes", "no", "unspecified")
        return found in ("1", "true", "yes")

    def name(parent: ElementTree.Element) -> str:
        found = text("name", parent)
        assert found
        marks = [unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in found]
        if not any(marks):
            return found
        return " ".join(
            "".join(
                " " if mark else letter for letter, mark in zip(found, marks, strict=True)
            ).split()
        )

    assert len(root.findall("size")) <= 1
    assert all(len(item.findall("bndbox")) == 1 for item in root.findall("object"))
    width, height, depth = (
        int(float(text(f"size/{side}") or "0")) for side in ("width", "height", "depth")
    )
    return Annotation(
        filename=text("filename"),
        width=width,
        height=height,
        depth=depth,
        objects=tuple(
            AnnotatedObject(
                name(item),
                BoundingBox(
                    number("bndbox/xmin", item) - 1,
                    number("bndbox/ymin", item) - 1,
                    number("bndbox/xmax", item),
                    number("bndbox/ymax", item),
                ),
                flag("difficult", item),
                flag("truncated", item),
            )
            for item in root.findall("object")
        ),
    )


def read(xml: bytes) -> tuple[Annotation | None, str]:
    try:
        return parse_annotation(xml), "accepted"
    except UnsafeAnnotationError:
        return None, "unsafe"
    except AnnotationError as error:
        assert "\n" not in str(error)
        return None, "refused"


def test_the_other_reader_agrees_on_what_is_whole() -> None:
    for source in SOURCES:
        assert read_with_expat(source) == parse_annotation(source)
    assert len(parse_annotation(SOURCES[1]).objects) == 2


def test_mutants_are_refused_or_read_as_another_reader_reads_them() -> None:
    rng = random.Random(20)
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for mutate in islice(cycle(MUTATIONS), COUNT):
        xml = mutate(rng, rng.choice(SOURCES))
        start = time.perf_counter()
        annotation, outcome = read(xml)
        slowest = max(slowest, time.perf_counter() - start)
        outcomes[outcome] += 1
        if annotation is not None:
            assert annotation == read_with_expat(xml), xml[:2000]
    print(dict(outcomes), f"slowest {1000 * slowest:.1f} ms")
    assert outcomes.total() == COUNT
    assert min(outcomes[kind] for kind in ("accepted", "refused", "unsafe")) > COUNT // 50
