"""`audit.html`: what it says and shows, that it is self-contained, and that names stay text."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.pages.audit_page import (
    CLASSES_SHOWN,
    PAGE_NAME,
    PAGE_PICTURES,
    SHEET_PICTURES,
    choose_sheets,
    make_readable,
    write_audit_page,
)
from records.audit import Audit
from records.groups import Groups
from records.types import AnnotatedObject, BoundingBox, Example, Finding, Split
from tests.pipeline.pages.html_page import Page

_Data = tuple[Audit, dict[Split, tuple[Example, ...]]]

_DARK, _LIGHT = (1.0,) + (0.0,) * 63, (0.0,) * 32 + (1.0,) + (0.0,) * 31
_MARKUP = '<img src=x onerror="alert(1)">'


def _decode(picture: dict[str, str | None]) -> Image.Image:
    content = str(picture["src"]).split(",")[1]
    return Image.open(io.BytesIO(base64.b64decode(content)))


def _example(source_id: str, label: str, objects: Sequence[AnnotatedObject] = ()) -> Example:
    return Example(
        source_id=source_id,
        image_format="png",
        is_converted=False,
        width=60,
        height=40,
        is_grey=True,
        size_bytes=1_000,
        sha256=hashlib.sha256(source_id.encode("utf-8", "surrogatepass")).hexdigest(),
        label=label,
        objects=tuple(objects),
        published_split=None,
    )


def _audit(
    source: Path,
    examples: Sequence[Example],
    findings: Sequence[Finding] = (),
    *,
    groups: dict[str, int] | None = None,
) -> Audit:
    classes = tuple(sorted({example.label for example in examples}))
    names = {item.name for example in examples for item in example.objects}
    return Audit(
        source=source,
        layout="folders",
        classes=classes,
        box_classes=tuple(sorted(names)),
        examples=tuple(examples),
        groups=Groups(groups or {}, {}),
        findings=tuple(findings),
        histograms={name: (_DARK, _LIGHT)[n % 2] for n, name in enumerate(classes)},
        is_verified=True,
    )


def _read(path: Path, audit: Audit, splits: dict[Split, tuple[Example, ...]] | None) -> Page:
    write_audit_page(path / PAGE_NAME, audit, splits)
    return Page((path / PAGE_NAME).read_text(encoding="utf-8"))


def _void(xmin: float, ymin: float, xmax: float, ymax: float) -> AnnotatedObject:
    return AnnotatedObject("void", BoundingBox(xmin, ymin, xmax, ymax))


@pytest.fixture
def data(tmp_path: Path) -> _Data:
    """6 `io`, 4 `nio` with a box each; a broken file, a copy, a training copy of a test picture."""
    source = tmp_path / "boards"
    examples = [_example(f"io/{n}.png", "io") for n in range(6)]
    examples += [_example(f"nio/{n}.png", "nio", [_void(20, 10, 40, 30)]) for n in range(4)]
    for example in examples:
        (source / example.label).mkdir(parents=True, exist_ok=True)
        Image.new("L", (60, 40), 200).save(source / example.source_id)
    Image.new("L", (60, 40), 100).save(source / "io/copy.png")
    findings = [
        Finding("unreadable_picture", "io/torn.png", "it is cut short", "Copy it again.", True),
        Finding("exact_duplicate", "io/copy.png", "the same bytes", "Drop one.", False, "io/0.png"),
        Finding(
            "near_duplicate_across_splits", "io/1.png", "shows the same", "None.", False, "io/5.png"
        ),
        Finding("object_of_other_class", "nio/3.png", "an object of io", "Look at it.", False),
    ]
    io, nio = examples[:6], examples[6:]
    splits: dict[Split, tuple[Example, ...]] = {
        "train": (io[0], io[2], *nio[:2]),
        "validation": (io[3], nio[2]),
        "test": (io[4], io[5], nio[3]),
    }
    return _audit(source, examples, findings, groups={"io/2.png": 1, "io/3.png": 1}), splits


def test_sections_come_in_order(tmp_path: Path, data: _Data) -> None:
    assert _read(tmp_path, *data).headings == [
        "Classes",
        "Sizes and formats",
        "Grey values",
        "Boxes",
        "Contact sheets",
        "Duplicates",
        "Findings",
    ]


def test_every_section_says_what_the_data_set_holds(tmp_path: Path, data: _Data) -> None:
    text = _read(tmp_path, *data).text
    for said in (
        # Torn, the copy and the training copy; the fourth finding's picture is used.
        "9 pictures of 2 classes can be used, 3 files are set aside.",
        "Audit: boards",
        "Layout folders.",
        "unreadable_picture Copy it again. 1 set aside",
        "object_of_other_class Look at it. 1 used",
        "io 2 1 2 5",
        "nio 2 1 1 4",
        "together 4 2 3 9",
        "The smallest class is nio with 4 pictures; the largest has 5.",
        # 1 - 0.05 ** 1
        "The test split holds 1 picture of nio, no class has fewer there: even when none of them "
        "is judged wrongly, up to 95.0 % of such pictures may be",
        "PNG, grey 9",
        "60 x 40 9",
        "width / height 1.50",
        # Mean grey values 1.5 and 129.5.
        "Brightness tells classes apart: io is 128 darker, nio is 128 brighter than the other",
        "void 4 4 20 20 16.7 to 16.7, median 16.7 0",
        "4 boxes; where darkest, 100 % of them lie",
        "2 pictures belong to 1 group that",
        "exact_duplicate: 1 pair",
        "io/copy.png set aside io/0.png train the same bytes",
        "io/1.png set aside io/5.png test shows the same",
        "io/torn.png it is cut short",
    ):
        assert said in text, said


def test_without_splits_the_page_says_so(tmp_path: Path, data: _Data) -> None:
    text = _read(tmp_path, data[0], None).text
    assert "The run ended before it made splits" in text
    assert "10 pictures of 2 classes can be used, 2 files are set aside." in text
    assert "io 6 nio 4 together 10" in text
    assert "io/1.png used io/5.png used" in text
    assert "The test split" not in text


def test_pictures_are_shown_with_their_boxes(tmp_path: Path, data: _Data) -> None:
    pictures = _read(tmp_path, *data).pictures()
    # 1 map of boxes, 5 io and 4 nio in the sheets, 2 pairs.
    assert len(pictures) == 1 + 9 + 4
    alts = [str(picture["alt"]) for picture in pictures]
    assert alts[0] == "Where boxes of void lie"
    assert sorted(alts[6:10]) == [f"nio/{n}.png, 1 void" for n in range(4)]
    assert alts[10:] == ["io/1.png", "io/5.png", "io/copy.png", "io/0.png"]
    boxed = np.asarray(_decode(pictures[6]).convert("RGB")).astype(int)
    # 60 x 40 is enlarged three times; the box is 60 <= x < 120, 30 <= y < 90.
    assert boxed.shape == (120, 180, 3)
    for x, y in ((57, 60), (122, 60), (90, 27), (90, 92)):
        assert boxed[y, x, 0] < 100 < 170 < boxed[y, x, 2]
    assert np.abs(boxed[34:86, 64:116] - 200).max() < 12
    copy = np.asarray(_decode(pictures[12]).convert("L")).astype(int)
    assert np.abs(copy - 100).max() < 3


def test_page_is_self_contained(tmp_path: Path, data: _Data) -> None:
    page = _read(tmp_path, *data)
    html = (tmp_path / PAGE_NAME).read_text(encoding="utf-8")
    assert not re.search(r"https?:|@import|url\(", html)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in html
    assert not {"script", "link", "iframe", "object", "form", "base"} & page.tags()
    for tag, attributes in page.elements:
        assert str(attributes.get("src", "data:")).startswith("data:image/") or tag != "img"
        assert "srcset" not in attributes
        assert str(attributes.get("href", "#")).startswith("#")
    assert all(picture["alt"] for picture in page.pictures())


def test_links_lead_to_their_places(tmp_path: Path, data: _Data) -> None:
    page = _read(tmp_path, *data)
    places = [str(attributes["id"]) for _, attributes in page.elements if "id" in attributes]
    links = {str(attributes["href"])[1:] for tag, attributes in page.elements if tag == "a"}
    assert len(set(places)) == len(places)
    assert links == set(places)


def test_same_input_gives_the_same_bytes(tmp_path: Path, data: _Data) -> None:
    pages = []
    for name in ("first.html", "second.html"):
        write_audit_page(tmp_path / name, *data)
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]


def test_a_data_set_of_which_nothing_is_usable(tmp_path: Path) -> None:
    fault = Finding("empty_file", "a/1.png", "the file holds no bytes", "Copy it again.", True)
    text = _read(tmp_path, _audit(tmp_path, [], [fault]), None).text
    assert "None of the pictures can be used; 1 file is set aside." in text
    assert "The data set has no boxes." in text


def test_a_clean_data_set(tmp_path: Path) -> None:
    text = _read(tmp_path, _audit(tmp_path, [_example("a/1.png", "a")]), None).text
    assert "1 picture of 1 class can be used." in text
    assert "Nothing wrong was found with the data set." in text


def test_a_class_that_is_too_small_is_no_file_set_aside(tmp_path: Path) -> None:
    fault = Finding("class_too_small", "a", "it has 1 picture", "Add pictures.", True)
    text = _read(tmp_path, _audit(tmp_path, [_example("a/1.png", "a")], [fault]), None).text
    assert "1 picture of 1 class can be used." in text


def test_pictures_that_are_gone_leave_a_gap(tmp_path: Path) -> None:
    audit = _audit(tmp_path, [_example("a/1.png", "a"), _example("b/1.png", "b")])
    page = _read(tmp_path, audit, None)
    assert page.pictures() == []
    assert page.text.count("cannot be opened any more") == 2


def test_undecoded_pictures_are_said_to_be(tmp_path: Path) -> None:
    audit = dataclasses.replace(
        _audit(tmp_path, [_example("a/1.png", "a")]), histograms={}, is_verified=False
    )
    text = _read(tmp_path, audit, None).text
    assert "damage behind them and near-duplicates were not looked for" in text
    assert "Not measured: no picture was decoded." in text


def test_different_shapes_are_warned_of(tmp_path: Path) -> None:
    examples = [_example(f"a/{n}.png", "a") for n in range(20)]
    examples = [dataclasses.replace(item, width=60 + 10 * n) for n, item in enumerate(examples)]
    page = _read(tmp_path, _audit(tmp_path, examples), None)
    assert "Shapes differ much." in page.text
    assert sum(tag == "circle" for tag, _ in page.elements) == 20
    assert "20 sizes." in page.text


def test_sheets_are_chosen_by_content() -> None:
    examples = [_example(f"a/{n}.png", "a") for n in range(50)]
    chosen = choose_sheets(("a",), examples)["a"]
    assert len(chosen) == SHEET_PICTURES
    assert [item.sha256 for item in chosen] == sorted(item.sha256 for item in examples)[:24]
    renamed = [dataclasses.replace(item, source_id=f"x{item.source_id}") for item in examples]
    same = choose_sheets(("a",), renamed[::-1])["a"]
    assert [item.sha256 for item in same] == [item.sha256 for item in chosen]


@given(st.integers(1, 500))
def test_many_classes_do_not_mean_many_pictures(number: int) -> None:
    examples = [_example(f"{n % number}/{n}", str(n % number)) for n in range(3 * number)]
    classes = tuple(sorted({example.label for example in examples}))
    sheets = choose_sheets(classes, examples)
    assert len(sheets) == min(number, CLASSES_SHOWN)
    assert sum(map(len, sheets.values())) <= PAGE_PICTURES
    assert all(sheets.values())


def test_every_class_is_named_however_many(tmp_path: Path) -> None:
    names = [f"class{n:03d}" for n in range(300)]
    examples = [_example(f"{name}/1", name, [_void(0, 0, 9, 9)]) for name in names]
    text = _read(tmp_path, _audit(tmp_path, examples), None).text
    assert all(text.count(name) >= 2 for name in names)
    assert "260 more classes without a sheet" in text
    assert (tmp_path / PAGE_NAME).stat().st_size < 300_000


def test_findings_beyond_a_screenful_are_counted(tmp_path: Path) -> None:
    findings = [Finding("odd", f"a/{n}.png", "odd", "See.", False) for n in range(1_234)]
    text = _read(tmp_path, _audit(tmp_path, [_example("a/1.png", "a")], findings), None).text
    assert "odd: 1,234, used" in text
    assert "And 1,034 more in audit.json." in text
    assert "a/199.png odd" in text
    assert "a/200.png odd" not in text


def test_names_with_markup_stay_text(tmp_path: Path) -> None:
    box = AnnotatedObject(f"box{_MARKUP}", BoundingBox(0, 0, 5, 5))
    path = f"{_MARKUP}/'\"><script>alert(2)</script>.png"
    examples = [_example(path, _MARKUP, [box]), _example("b/1.png", "{{ 7 * 7 }}")]
    findings = [
        Finding(f"code{_MARKUP}", path, f"reason {_MARKUP}", f"remedy {_MARKUP}", True),
        Finding("near_duplicate", path, f"same {_MARKUP}", "None.", False, "b/1.png"),
    ]
    audit = dataclasses.replace(_audit(tmp_path, examples, findings), layout=_MARKUP)
    page = _read(tmp_path, audit, None)
    assert page.text.count(_MARKUP) > 12
    assert page.text.count(path) >= 4
    assert "{{ 7 * 7 }}" in page.text
    assert "script" not in page.tags()
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert all(str(picture["src"]).startswith("data:") for picture in page.pictures())


def _structure(page: Page) -> list[tuple[str, tuple[str, ...]]]:
    return [(tag, tuple(sorted(attributes))) for tag, attributes in page.elements if tag != "wbr"]


_TRICKS = (
    *("<b>", "</td>", "</style>", "<script>", "<!--", "-->", "<p/", "]]>", "<?", "\"'>", "' id='"),
    *("&lt;", "&amp", "&#60;", "{{", "}}", "{%", "%}", "{#", "/", "//", "\\", "_", " ", "\t"),
    *("\u202e", "\u2066", "\u200f", "\ufeff", "\x00", "\r\n", "\udce9", "😀", "👩\u200d🔧", "ملف"),
)
_NAMES = st.lists(
    st.one_of(st.sampled_from(_TRICKS), st.characters()), min_size=1, max_size=12
).map("".join)


def _name_everything(folder: Path, name: str) -> Page:
    """A page on which everything that may be named is called `name`."""
    box = AnnotatedObject(name, BoundingBox(0, 0, 5, 5))
    findings = [
        Finding("broken_annotation", name, name, "Mend it.", True),
        Finding("near_duplicate", name, name, "None.", False, name),
    ]
    return _read(folder, _audit(folder / "gone", [_example(name, name, [box])], findings), None)


@given(_NAMES)
@settings(max_examples=60, deadline=None)
def test_no_name_changes_the_page(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain, page = (_name_everything(Path(folder), each) for each in ("plain", name))
    assert _structure(page) == _structure(plain)
    assert page.raw_text.count(make_readable(name)) >= 8


@pytest.mark.parametrize("name", ["ملف.jpg", "a\u202egpj.exe", "a/b/c d.png", "..", "x" * 10_000])
def test_odd_names(tmp_path: Path, name: str) -> None:
    page = _name_everything(tmp_path, name)
    assert _structure(page) == _structure(_name_everything(tmp_path, "plain"))
    assert page.raw_text.count(make_readable(name)) >= 8
    assert len(page.raw_text) < 20_000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x" * 300, "x" * 300),
        ("a" * 500 + "b" * 500, "a" * 150 + " … " + "b" * 150),
        ("a\u202egpj.exe", "a\\u202egpj.exe"),
        ("tab\there\x00", "tab\\there\\x00"),
        ("\udce9\xa0", "\\udce9\\xa0"),
        ("ملف 班级 👩\u200d🔧 <é>", "ملف 班级 👩\u200d🔧 <é>"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text: str, shown: str) -> None:
    assert make_readable(text) == shown


def test_neither_matplotlibs_figures_nor_tensorflow_are_imported() -> None:
    code = "import pipeline.pages.audit_page, sys; print([m for m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[3],
    )
    for name in ("matplotlib.figure", "sklearn", "tensorflow", "keras"):
        assert f"'{name}'" not in done.stdout
