"""Virtual environments of the sides, built from their pins and kept for the next run."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks._errors import BenchmarkError

PINS = Path(__file__).parent / "peers"
CACHE = Path("~/.cache/cerebro_nas-benchmarks")
PYTHONS = {"py310": ("3.10",), "py311": ("3.11",)}
"""Versions of Python that the pins of a name install on, the best first."""

_COMPLETE = "complete"
_PROBE = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"


def environment(name: str, python: str | None = None) -> Path:
    """Python of the virtual environment with the packages of `benchmarks/peers/{name}.txt`, built where need be.

    Args:
        name: name of the pins, without `.txt`.
        python: interpreter to build it with; the default looks for one of a fitting version.

    Raises:
        BenchmarkError: there are no such pins, no fitting interpreter, or the packages cannot be installed.
    """
    pins = PINS / f"{name}.txt"
    if name not in PYTHONS or not pins.exists():
        raise BenchmarkError(f"`name` must be one of {', '.join(PYTHONS)}, with pins in {PINS}. Received: name={name}")
    digest = hashlib.sha256(pins.read_bytes()).hexdigest()[:8]
    folder = CACHE.expanduser() / f"{name}-{digest}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_suffix(".lock")):
        if not (folder / _COMPLETE).exists():
            _build(folder, find_python(name, python), pins)
    return folder / "bin" / "python"


def find_python(name: str, python: str | None = None) -> str:
    """Interpreter that can make the environment `name`: `python` if it fits, else the first one found that does.

    Raises:
        BenchmarkError: none fits.
    """
    versions = PYTHONS[name]
    for candidate in [python] if python else _candidates(versions):
        if _version(candidate) in versions:
            return candidate
    wanted = " or ".join(f"Python {version}" for version in versions)
    if python:
        raise BenchmarkError(f"`python` must be {wanted} with its venv module. Received: python={python}")
    raise BenchmarkError(
        f"The environment {name} needs {wanted} with its venv module; none was found on the PATH or in "
        "~/.pyenv/versions. Install it (Debian: python3.X and python3.X-venv), or leave its peers out with `--peers`."
    )


def _candidates(versions: tuple[str, ...]) -> Iterator[str]:
    yield sys.executable
    for version in versions:
        # Every one on the PATH: the first may be a shim of pyenv that stands for nothing, or lack ensurepip.
        for folder in os.get_exec_path():
            found = shutil.which(f"python{version}", path=folder)
            if found:
                yield found
        for path in sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python")):
            yield str(path)


def _version(python: str) -> str | None:
    """Major and minor version, where `python` runs and can make virtual environments."""
    try:
        done = subprocess.run([python, "-c", _PROBE], capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _build(folder: Path, python: str, pins: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # what a killed build left
    installer = str(folder / "bin" / "python")
    steps = [
        [python, "-m", "venv", str(folder)],
        [installer, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", str(pins)],
    ]
    try:
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True)
            if done.returncode:
                tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
                raise BenchmarkError(f"The environment of {pins.name} cannot be built: {' '.join(step)}\n{tail}")
        (folder / _COMPLETE).touch()
    finally:
        if not (folder / _COMPLETE).exists():
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock goes with the process that holds it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
