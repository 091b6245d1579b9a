from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks._errors import BenchmarkError
from benchmarks._process import ProcessFigures
from benchmarks._process import kind_of
from benchmarks._process import run_measured

BURN = "import time\nend = time.process_time() + {seconds}\nwhile time.process_time() < end: pass\n"


def test_the_time_of_children_and_of_orphans_counts(tmp_path: Path) -> None:
    orphan = [sys.executable, "-c", BURN.format(seconds=0.6)]
    program = f"import subprocess, time\nsubprocess.Popen({orphan!r}, start_new_session=True)\ntime.sleep(1.2)\n"
    figures = run_measured([sys.executable, "-c", program], timeout=60, log=tmp_path / "log")
    assert sum(figures.cpu_seconds.values()) > 0.45
    assert figures.seconds > 1.2
    assert figures.peak_bytes > 1 << 20
    assert [kind for kind in figures.cpu_seconds if kind != "python"] in ([], ["other"])


def test_nothing_is_left_running(tmp_path: Path) -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    program = f"import subprocess\nprint(subprocess.Popen({sleeper!r}, start_new_session=True).pid, flush=True)\n"
    run_measured([sys.executable, "-c", program], timeout=60, log=tmp_path / "log")
    assert not psutil.pid_exists(int((tmp_path / "log").read_text()))


def test_a_failure_shows_the_end_of_the_output(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"(?s)ended with status 3.*the reason"):
        run_measured([sys.executable, "-c", "print('the reason'); exit(3)"], timeout=60, log=tmp_path / "log")
    with pytest.raises(BenchmarkError, match="took longer than 0 s"):
        run_measured([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.3, log=tmp_path / "log")


def test_other_children_are_left_alone(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", BURN.format(seconds=60)])
    try:
        figures = run_measured([sys.executable, "-c", "import time; time.sleep(0.5)"], timeout=60, log=tmp_path / "log")
        assert other.poll() is None
        assert sum(figures.cpu_seconds.values()) < 0.4  # the other's half a second is not counted
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (["/usr/lib/jvm/bin/java", "-cp", "x"], "jvm"),
        (["python3", "-m", "cerebro_nas.worker"], "worker"),
        (["python3", "-m", "pyspark.daemon", "pyspark.worker"], "spark python"),
        (["python3", "x.py"], "python"),
        (["sh"], "other"),
        ([], "other"),
    ],
)
def test_kinds(command: list[str], kind: str) -> None:
    assert kind_of(command) == kind


def test_the_share_of_the_first_process() -> None:
    looks = tuple((float(second), 0.1 * second) for second in range(10))
    figures = ProcessFigures(9.0, {}, 0, 0.0, looks)
    assert figures.main_share(2.0, 8.0) == pytest.approx(0.1)
    assert figures.main_share(20.0, 30.0) is None
