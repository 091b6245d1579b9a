"""The benchmark of the journal: it times what it says, on a search that really ran."""

from __future__ import annotations

from pathlib import Path

from benchmarks import journal


def test_what_is_measured_is_a_whole_search(tmp_path: Path) -> None:
    found = journal._gone_through(tmp_path, trials=2)
    # Two trials of ten epochs on eight training shards and one of validation.
    assert found["units"] == 2 * journal._EPOCHS * (8 + 1)
    assert found["records"] > 2 * found["units"]
    text = journal.table(journal._written(tmp_path / "w.jsonl", 5), found).markdown()
    assert "| bytes a unit " in text
    assert len((tmp_path / "w.jsonl").read_text().splitlines()) == 6
