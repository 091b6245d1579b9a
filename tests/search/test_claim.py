"""One driver at a time: on a search, and on the data that it is made of."""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import Any

import pytest

from cerebro_nas.errors import FencedError
from cerebro_nas.errors import LockedError
from cerebro_nas.errors import StoreError
from cerebro_nas.journal import DirectoryLock
from cerebro_nas.search import SearchClaim
from cerebro_nas.search import _claim
from cerebro_nas.storage import LocalStore


def _of(tmp_path: Path, directory: str = "one", **arguments: Any) -> SearchClaim:
    store = LocalStore(tmp_path)
    given = {"data": store.data_url("p"), "overwrite": False, **arguments}
    return SearchClaim(store, str(tmp_path / directory / "p"), **given)


def test_a_new_search_has_no_session_and_one_that_began_has(tmp_path: Path) -> None:
    with _of(tmp_path) as claim:
        assert claim.session is None
        claim.begin().append("session", {"limits": {"max_trials": 3}}, 0.0)
    with _of(tmp_path) as claim:
        assert claim.session == {"limits": {"max_trials": 3}}
        assert not claim.has_ended({"max_trials": 3})
        journal = claim.begin()
        journal.forget_records()
        journal.append("end", {}, 1.0)
        assert claim.session is not None
    with _of(tmp_path) as claim:
        assert claim.has_ended({"max_trials": 3})
        assert not claim.has_ended({"max_trials": 4})
    with _of(tmp_path, overwrite=True) as claim:
        assert claim.session is None
        assert not claim.begin().records


@pytest.mark.case(27)
def test_searches_of_two_directories_do_not_share_data_at_one_time(tmp_path: Path) -> None:
    with _of(tmp_path, "one"):
        with pytest.raises(LockedError):
            _of(tmp_path, "two").__enter__()
        # What the refused one had taken is free again.
        with SearchClaim(LocalStore(tmp_path), str(tmp_path / "two" / "p"), overwrite=False):
            pass
    with _of(tmp_path, "two"):
        pass


@pytest.mark.case(14)
def test_a_lock_that_stumbles_is_kept_and_one_that_was_taken_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_claim, "_BEAT_SECONDS", 0.01)
    beats: list[Exception] = [FencedError("taken"), StoreError(errno.EIO, "stumbled")]

    def beat(self: DirectoryLock) -> None:
        raise beats[-1]

    monkeypatch.setattr(DirectoryLock, "beat", beat)
    with _of(tmp_path) as claim:
        time.sleep(0.1)
        claim.check()
        beats.pop()
        deadline = time.monotonic() + 10
        while claim._lost is None and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(FencedError):
            claim.check()


@pytest.mark.case(26)
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_directory_of_somebody_else_is_refused_and_nothing_stays_locked(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "one" / "p").mkdir(parents=True)
    (tmp_path / "one" / "p" / "thesis.tex").write_text("years")
    for _ in range(2):
        with pytest.raises(StoreError, match="did not write"):
            _of(tmp_path, overwrite=overwrite).__enter__()


def test_a_place_that_cannot_be_made_is_an_error_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("a file")
    with pytest.raises(StoreError, match="cannot be used"):
        _of(tmp_path).__enter__()
