"""The example scripts run as a newcomer would run them: in a process of their own, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))


def run(script: str, *arguments: str, cwd: Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / script), *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_there_are_scripts() -> None:
    assert {script.name for script in SCRIPTS} >= {"digits.py", "fashion_mnist.py"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_it_compiles_and_says_what_it_is(script: Path) -> None:
    code = compile(script.read_text(encoding="utf-8"), str(script), "exec")
    assert isinstance(code.co_consts[0], str), "an example begins with a docstring"


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_help(script: Path, tmp_path: Path) -> None:
    done = run(script.name, "--help", cwd=tmp_path)
    assert done.returncode == 0
    # One that makes data searches for nothing.
    assert ("--rows" if script.name.startswith("make_") else "--trials") in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_fashion_mnist_names_the_package_when_files_are_missing(tmp_path: Path) -> None:
    done = run("fashion_mnist.py", "--path", str(tmp_path / "nowhere"), cwd=tmp_path)
    assert done.returncode == 1
    assert "apt-get install dataset-fashion-mnist" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.timeout(400)
def test_digits_searches_exports_and_evaluates(tmp_path: Path) -> None:
    done = run("digits.py", "--trials", "3", "--epochs", "2", cwd=tmp_path, timeout=300)
    found = re.search(r"plain Keras: (0\.\d+|1\.0+)", done.stdout)
    assert found, done.stdout + done.stderr
    # With so few epochs it may miss the mark; then it says so and its exit status does too.
    below = float(found[1]) < 0.95
    assert done.returncode == int(below)
    assert ("That is below" in done.stderr) == below
    assert "score" in done.stdout
    assert "Search ended: all 3 trials are done" in done.stdout
    assert (tmp_path / "runs" / "digits" / "best.keras").exists()


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.timeout(400)
def test_digits_prints_no_banner(tmp_path: Path) -> None:
    done = run("digits.py", "--trials", "1", "--epochs", "1", cwd=tmp_path, timeout=300)
    text = done.stdout + done.stderr
    assert "Search ended" in text
    for noise in ("oneDNN", "absl", "WARNING", "Warning", "log4j", "Setting default log level"):
        assert noise not in text
