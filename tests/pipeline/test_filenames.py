from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.filenames import digested_name, safe_name


def test_a_good_name_stays() -> None:
    assert safe_name("rolled-in_scale") == "rolled-in_scale"


@given(st.text())
def test_no_name_leads_out_of_its_folder(text: str) -> None:
    for name in (safe_name(text), digested_name(text)):
        assert Path(name).name == name
        assert 0 < len(name) <= 80
        assert name.isascii()


@given(st.text(), st.text())
def test_two_texts_have_two_names(first: str, second: str) -> None:
    assert (digested_name(first) == digested_name(second)) == (first == second)
    assert (safe_name(first) == safe_name(second)) == (first == second)
