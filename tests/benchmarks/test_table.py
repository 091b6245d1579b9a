from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks._table import RESULTS
from benchmarks._table import Table
from benchmarks._table import add_common_arguments
from benchmarks._table import format_cell
from benchmarks._table import save
from benchmarks._table import show

TABLE = Table(
    "Hops", ("model", "parameters", "ms"), (("small", 50_000, 1.2345), ("large | dense", 10_000_000, 123.45)), ("why",)
)


def test_markdown_is_aligned_and_numbers_stand_right() -> None:
    assert TABLE.markdown().splitlines() == [
        "### Hops",
        "",
        "| model          | parameters |   ms |",
        "| -------------- | ---------: | ---: |",
        "| small          |     50,000 | 1.23 |",
        "| large \\| dense | 10,000,000 |  123 |",
        "",
        "- why",
    ]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (0.0, "0"),
        (0.001234, "0.00123"),
        (0.0000001, "1.00e-07"),
        (9.999, "10.0"),
        (0.9996, "1.00"),
        (99.96, "100"),
        (12345.6, "12,300"),
        (-2.5, "-2.50"),
        (math.nan, "-"),
        (math.inf, "-"),
        (1234567, "1,234,567"),
        ("a\nb", "a b"),
    ],
)
def test_cells(cell: object, text: str) -> None:
    assert format_cell(cell) == text


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15))
def test_a_formatted_float_is_near_the_float(value: float) -> None:
    assert float(format_cell(value).replace(",", "")) == pytest.approx(value, rel=0.006)


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="must have 2 cells"):
        Table("t", ("a", "b"), ((1,),))


def test_a_table_without_rows_shows_its_columns() -> None:
    assert "| a   | b   |" in Table("t", ("a", "b"), ()).markdown()


def test_plain_values_survive_json() -> None:
    plain = Table("t", ("a", "b", "c"), ((math.inf, None, Path("x")),)).to_plain()
    assert json.loads(json.dumps(plain, allow_nan=False))["rows"] == [[None, None, "x"]]


def test_save_writes_both_files_with_the_facts(tmp_path: Path) -> None:
    save([TABLE, TABLE], tmp_path / "new", "hop")
    content = json.loads((tmp_path / "new" / "hop.json").read_text())
    assert content["benchmark"] == "hop"
    assert content["tables"] == [TABLE.to_plain(), TABLE.to_plain()]
    assert {"cores", "memory_gb", "python", "keras", "pyspark", "date", "load_at_start"} <= set(content["machine"])
    assert (tmp_path / "new" / "hop.md").read_text().count("### Hops") == 2


def test_show_prints_what_it_saves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show([TABLE], tmp_path, "hop")
    printed = capsys.readouterr().out
    assert TABLE.markdown() in printed
    assert "load at start" in printed
    assert (tmp_path / "hop.json").exists()


def test_common_arguments() -> None:
    parser = argparse.ArgumentParser()
    add_common_arguments(parser)
    assert parser.parse_args([]).out == RESULTS
    assert parser.parse_args(["--quick", "--results", "x"]) == argparse.Namespace(quick=True, out=Path("x"))
