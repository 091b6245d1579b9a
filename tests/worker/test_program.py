from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from pathlib import Path

from cerebro_nas.worker import _program
from cerebro_nas.worker.messages import WorkerConfig
from cerebro_nas.worker.messages import encode


def test_a_worker_whose_driver_is_gone_makes_no_directory_anew(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    config = WorkerConfig("grpc://h:1", "5e" * 32, "w0", 0, str(gone / "w0-0"), str(gone), 0)
    ended = subprocess.run(
        [sys.executable, "-m", "cerebro_nas.worker"],
        input=encode(config) + b"\n",
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (_program.EXIT_ALONE, b"")
    assert not gone.exists()


def test_the_directory_goes_while_somebody_still_writes_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with contextlib.suppress(FileNotFoundError):
                (folder / "w1-0" / f"{number}").touch()

    (folder / "w1-0").mkdir(parents=True)
    (folder / "owner").touch()
    writer = threading.Thread(target=write)
    writer.start()
    threading.Timer(0.2, stop.set).start()
    _program._remove_orphaned(folder)
    writer.join()

    assert not folder.exists()
