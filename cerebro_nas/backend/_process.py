"""One worker program as a child process: how it is started, watched and ended. Shared by all real backends."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cerebro_nas
from cerebro_nas.worker.messages import WorkerConfig
from cerebro_nas.worker.messages import encode

_TAIL_BYTES = 4000
_TAIL_LINES = 12


def project_path() -> str:
    """The directory that holds this package: a child finds the package there even when it is not installed."""
    return str(Path(cerebro_nas.__path__[0]).resolve().parent)


def worker_environment(threads: int, gpus: str, paths: tuple[str, ...]) -> dict[str, str]:
    """The environment of a worker program: set before it starts, because TensorFlow reads it at import.

    Args:
        threads: threads for one operation.
        gpus: what `CUDA_VISIBLE_DEVICES` becomes; `"-1"` hides all.
        paths: where modules are found, before all else.
    """
    environment = dict(os.environ)
    old = environment.get("PYTHONPATH")
    environment.update(
        PYTHONPATH=os.pathsep.join([*paths, *([old] if old else [])]),
        CUDA_VISIBLE_DEVICES=gpus,
        OMP_NUM_THREADS=str(threads),
        TF_NUM_INTRAOP_THREADS=str(threads),
        TF_NUM_INTEROP_THREADS="1",
        TF_CPP_MIN_LOG_LEVEL="3",
        KERAS_BACKEND="tensorflow",
    )
    return environment


class WorkerProcess:
    """A running worker program.

    Its standard input stays open for as long as its parent lives: the end of it tells the program to exit.
    """

    def __init__(self, config: WorkerConfig, environment: dict[str, str], log: Path) -> None:
        self._log = log
        self._scratch = Path(config.scratch)
        with log.open("ab") as output:
            # A session of its own: the Ctrl-C of a terminal goes to the driver, which stops its workers in order.
            self._child = subprocess.Popen(
                [sys.executable, "-m", "cerebro_nas.worker"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        self.pid = self._child.pid
        try:
            self._write(encode(config) + b"\n")
        except OSError:
            # It died at once; whoever waits for it will read why in its log.
            self.kill()

    def _write(self, line: bytes) -> None:
        if self._child.stdin is not None:
            self._child.stdin.write(line)
            self._child.stdin.flush()

    def wait(self) -> int:
        """Wait for the program to end and return its exit status."""
        code = self._child.wait()
        if self._child.stdin is not None:
            self._child.stdin.close()
        return code

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self._child.terminate()

    def kill(self) -> None:
        """End it (SIGKILL)."""
        self._child.kill()

    def clear_away(self) -> None:
        """Remove what it left, its log included: decoded shards where it was killed, which may be as large as the data.

        Call it when the program has ended and its obituary is written.
        """
        shutil.rmtree(self._scratch, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._log.unlink()

    def obituary(self, code: int) -> str:
        """Why it ended: the status, and the last lines of its log."""
        if code < 0:
            text = f"process {self.pid} was ended by {_signal_name(-code)}"
        else:
            text = f"process {self.pid} exited with status {code}"
        tail = self._tail()
        return f"{text}; the last lines of its log:\n{tail}" if tail else text

    def _tail(self) -> str:
        try:
            with self._log.open("rb") as log:
                log.seek(max(0, self._log.stat().st_size - _TAIL_BYTES))
                return "\n".join(log.read().decode(errors="replace").splitlines()[-_TAIL_LINES:])
        except OSError:
            return ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
