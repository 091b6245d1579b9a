from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cerebro_nas.backend._scratch import Scratch

_HOLDS_ONE = """
from cerebro_nas.backend._scratch import Scratch
made = Scratch()
(made.path / "file").write_bytes(b"x")
print(made.path, flush=True)
input()
"""


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_nothing_is_left() -> None:
    scratch = Scratch()
    (scratch.path / "w0-0").mkdir()
    scratch.remove()
    assert list(scratch.path.parent.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_one_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDS_ONE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        first = Scratch()
        assert theirs.parent == first.path.parent == tmp_path
        assert (theirs / "file").exists()
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert theirs.exists()
        second = Scratch()
    assert sorted(tmp_path.iterdir()) == sorted([first.path, second.path])
    first.remove()
    second.remove()


def test_directories_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cerebro-nas-w0-0-abc").mkdir()
    (tmp_path / "cerebro-nas-x").mkdir()
    (tmp_path / "cerebro-nas-x" / "owner").symlink_to(os.devnull)
    Scratch().remove()
    assert len(list(tmp_path.iterdir())) == 2
