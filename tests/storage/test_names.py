from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cerebro_nas.errors import ConfigError
from cerebro_nas.storage import LocalStore
from cerebro_nas.storage import check_name


@pytest.mark.case(25)
@pytest.mark.parametrize("name", ["digits", "my project", "Ünïcode 数据", "a.b-c_d", "x" * 120, "می‌خواهم"])
def test_plain_names_are_fine(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.case(25)
@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        ".",
        "..",
        "../../x",
        "/etc",
        "a/b",
        "a\\b",
        ".hidden",
        "line\nbreak",
        "line\u2028break",
        "nul\0",
        "tab\t",
        " x",
        "x ",
        "x" * 121,
        "x" * 300,
        "数" * 100,
        "\ud800",
        None,
        3,
    ],
)
def test_names_that_are_refused(name: object) -> None:
    with pytest.raises(ConfigError, match="Received: project_name="):
        check_name(name)


@pytest.mark.case(25)
@given(st.text(max_size=130))
def test_an_accepted_name_is_one_directory_below_the_store(name: str) -> None:
    store = LocalStore("/somewhere")
    try:
        url = store.runs_url(name)
    except ConfigError:
        return
    assert Path(url).parent == Path("/somewhere/runs")
    assert Path(url).name == name
    assert ".." not in Path(url).parts


@pytest.mark.case(25)
def test_all_spellings_of_a_path_are_the_same(tmp_path: Path) -> None:
    place = tmp_path / "a ü b"
    quoted = str(place).replace(" ", "%20")
    spellings: list[str | Path] = [
        place,
        str(place),
        f"file://{place}",
        f"file:{place}",
        f"file://localhost{place}",
        f"file://{quoted}",
    ]
    assert {LocalStore(spelling).data_url("x") for spelling in spellings} == {str(place / "data" / "x")}


def test_relative_path_is_absolute_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = LocalStore("here")
    monkeypatch.chdir("/")
    assert store.runs_url("x") == str(tmp_path / "here" / "runs" / "x")


@pytest.mark.case(25)
@pytest.mark.parametrize("url", ["", "hdfs://host/x", "s3://bucket/x", "file://otherhost/x"])
def test_other_file_systems_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="Received"):
        LocalStore(url)
