"""What a folder of answers is looked at for before anything is written to it."""

from __future__ import annotations

from pathlib import Path

from pipeline.predicting.output_folder import start_folder


def test_drafts_are_removed_and_a_folder_of_their_name_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "io").mkdir()
    (tmp_path / "io" / ".draft-ab12_9xy.png").touch()
    (tmp_path / ".draft-overlays").mkdir()
    start_folder(tmp_path, ["io"])
    assert [path.name for path in (tmp_path / "io").iterdir()] == []
    assert (tmp_path / ".draft-overlays").is_dir()
