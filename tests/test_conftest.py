"""The leak check sees leaks, and lets clean tests pass."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_CLEAN = """
def test_it(no_leaks):
    import subprocess, tempfile, threading
    subprocess.run(["true"], check=True)
    thread = threading.Thread(target=print)
    thread.start()
    thread.join()
    tempfile.TemporaryDirectory().cleanup()
"""
_LEAKS = {
    "process": 'subprocess.Popen(["sleep", "3"])',
    "thread": "threading.Thread(target=time.sleep, args=(3,), daemon=True, name='left').start()",
    "socket listening": "keep.append(socket.create_server(('127.0.0.1', 0)))",
    "temporary file": "tempfile.mkdtemp()",
}


def _run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    conftest = Path(__file__).with_name("conftest.py").read_text(encoding="utf-8")
    # A leak is waited for; here it never goes.
    (folder / "conftest.py").write_text(conftest.replace("_GRACE_SECONDS = 5.0", "_GRACE_SECONDS = 0.1"))
    (folder / "test_it.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), "test_it.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def test_a_clean_test_passes(tmp_path: Path) -> None:
    assert "1 passed" in _run(tmp_path, _CLEAN).stdout


@pytest.mark.parametrize("what", sorted(_LEAKS))
def test_a_leak_is_seen(what: str, tmp_path: Path) -> None:
    imports = "import os, signal, socket, subprocess, tempfile, threading, time\nkeep = []\n"
    code = f"{imports}def test_it(no_leaks):\n    {_LEAKS[what]}\n"
    answer = _run(tmp_path, code)
    assert answer.returncode == 1
    lines = [line.removeprefix("E").strip() for line in answer.stdout.splitlines()]
    assert [line for line in lines if line.startswith(f"{what} ")]
