from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from records.voc_names import Names, safe_name, split_name


@pytest.mark.parametrize(
    "text", ["crazing_78", "p 1", "Lötung", "a.b", "焊点", "-", "a'b", "x" * 230]
)
def test_a_name_that_every_system_takes_stays(text: str) -> None:
    assert safe_name(text) == text


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "_"),
        ("..", "_"),
        ("../../etc/passwd", "__.._etc_passwd"),
        ("/root", "_root"),
        ("C:\\a", "C__a"),
        (".hidden", "_hidden"),
        ("ends. ", "ends_"),
        (" blank", "_blank"),
        ("a\x00b\nc", "a_b_c"),
        ("\ud800", "_"),
        ("a\uffff", "a_"),
        ("con", "_con"),
        ("Aux.tar", "_Aux.tar"),
        ("COM\u00b9", "_COM\u00b9"),
        ("console", "console"),
        ("__MACOSX", "___MACOSX"),
        ("x" * 300, "x" * 230),
        ("ü" * 200, "ü" * 115),
        ("x" * 229 + " y", "x" * 229 + "_"),
    ],
)
def test_what_some_system_refuses_is_replaced(text: str, name: str) -> None:
    assert safe_name(text) == name


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=300))
def test_any_text_becomes_the_name_of_a_file_in_its_folder(tmp_path: Path, text: str) -> None:
    name = safe_name(text)
    path = tmp_path / f"{name}-1234567.jpeg"
    path.touch()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    path.unlink()
    assert not re.search(r'[<>:"/\\|?*\x00-\x1f]', name)
    assert name.strip(" .") == name != ""
    assert safe_name(name) == name


@given(st.lists(st.sampled_from(["a", "A", "a-2", "e\u0301", "\u00e9", "ß", "ss", "b"])))
def test_no_two_names_are_equal_on_any_file_system(texts: list[str]) -> None:
    names = Names()
    given_out = [names.take(text) for text in texts]
    assert len({name.casefold() for name in given_out}) == len(texts)
    if texts:
        assert given_out[0] == texts[0]


def test_copies_are_numbered_in_their_order() -> None:
    names = Names()
    assert [names.take(text) for text in ("0", "0", "0-2", "0", "1")] == [
        "0",
        "0-2",
        "0-2-2",
        "0-3",
        "1",
    ]


@pytest.mark.parametrize(
    ("filename", "image_format", "parts"),
    [
        ("a.jpg", "jpeg", ("a", ".jpg")),
        ("a.b.JPEG", "jpeg", ("a.b", ".JPEG")),
        ("a.tif", "png", ("a", ".png")),
        ("a.jpg", "png", ("a", ".png")),
        ("a.dib", "bmp", ("a", ".dib")),
        ("a.v2", "png", ("a.v2", ".png")),
        ("a", "bmp", ("a", ".bmp")),
        (".png", "png", (".png", ".png")),
        ("", "jpeg", ("", ".jpg")),
    ],
)
def test_the_extension_fits_what_is_stored(
    filename: str, image_format: str, parts: tuple[str, str]
) -> None:
    assert split_name(filename, image_format) == parts
