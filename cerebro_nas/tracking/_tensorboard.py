"""TensorBoard: scalars per trial and the HParams page, written without TensorFlow."""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import re
import socket
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from typing import BinaryIO

from cerebro_nas.tracking._guard import Guard

_SAFE = re.compile(r"[^A-Za-z0-9_.=-]+")


class TensorBoardLogger:
    """Writes what TensorBoard shows.

    Below `logdir` each trial has a directory with its hyperparameters and the sub-runs `train` and `validation`, whose
    scalars are named as Keras' own callback names them (`epoch_loss`, `epoch_accuracy`, ...). The HParams page lists
    the columns that `hyperparameters` and `metrics` name; without them, those seen by the time of `close`. TensorBoard
    itself shows the first few columns only until more are ticked.

    No thread is started, and every event is flushed as it is written. The first error (a full disk, say) is logged and
    switches the logger off; it never reaches the search.

    Args:
        logdir: a local directory.
        hyperparameters: each hyperparameter's choices, None where there are too many to list.
        metrics: names as Keras reports them (`val_accuracy`, `loss`).
        clock: returns seconds since the epoch; for tests.

    Raises:
        ImportError: the package `tensorboard` is missing.
    """

    def __init__(
        self,
        logdir: str | os.PathLike[str],
        hyperparameters: Mapping[str, Sequence[Any] | None] | None = None,
        metrics: Sequence[str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._protos = _Protos()
        self._guard = Guard(f"The log for TensorBoard in {logdir}", self._close_files)
        self._logdir = Path(logdir)
        self._clock = clock
        self._files: dict[Path, _EventFile] = {}
        self._open_trials: set[str] = set()
        self._seen: dict[str, list[Any]] = {}
        self._metrics: list[str] = list(metrics or ())
        self._config_written = False
        if hyperparameters is not None and metrics is not None:
            self._write_config(hyperparameters)

    def trial_started(self, trial: str, hyperparameters: Mapping[str, Any]) -> None:
        """Open the session of a trial."""
        self._guard.run(lambda: self._trial_started(trial, hyperparameters))

    def _trial_started(self, trial: str, hyperparameters: Mapping[str, Any]) -> None:
        values = {name: _plain(value) for name, value in hyperparameters.items() if value is not None}
        for name, value in values.items():
            known = self._seen.setdefault(name, [])
            if value not in known:
                known.append(value)
        data = self._protos.session_start(trial, values, self._clock())
        self._write(self._directory(trial), data)
        self._open_trials.add(trial)

    def epoch_finished(self, trial: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write the metrics of an epoch; those that start with `val_` go to the sub-run `validation`."""
        self._guard.run(lambda: self._epoch_finished(trial, epoch, metrics))

    def _epoch_finished(self, trial: str, epoch: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            if name not in self._metrics:
                self._metrics.append(name)
            run, tag = metric_place(name)
            summary = self._protos.scalar(tag, float(value))
            self._write(self._directory(trial) / run, summary, step=epoch)

    def trial_finished(self, trial: str, failed: bool = False) -> None:
        """Close the session of a trial and its files."""
        self._guard.run(lambda: self._trial_finished(trial, failed))

    def _trial_finished(self, trial: str, failed: bool) -> None:
        if trial in self._open_trials:
            self._open_trials.discard(trial)
            self._write(self._directory(trial), self._protos.session_end(failed, self._clock()))
        home = self._directory(trial)
        for path in [p for p in self._files if p == home or p.parent == home]:
            self._files.pop(path).close()

    def close(self) -> None:
        """Write the list of columns if it is not there yet, and close every file. Safe to call twice."""
        self._guard.run(self._close)
        self._guard.run(self._close_files)

    def _close(self) -> None:
        if not self._config_written and (self._seen or self._metrics):
            self._write_config(self._seen)

    def _close_files(self) -> None:
        files, self._files = self._files, {}
        with contextlib.ExitStack() as stack:  # each is closed, whatever another one raises
            for file in files.values():
                stack.callback(file.close)

    def __enter__(self) -> TensorBoardLogger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _directory(self, trial: str) -> Path:
        return self._logdir / (_SAFE.sub("_", trial).lstrip(".") or "_")

    def _write_config(self, hyperparameters: Mapping[str, Sequence[Any] | None]) -> None:
        self._config_written = True
        self._write(self._logdir, self._protos.experiment(hyperparameters, self._metrics, self._clock()))

    def _write(self, directory: Path, summary: Any, step: int = 0) -> None:
        file = self._files.get(directory)
        if file is None:
            file = self._files[directory] = _EventFile(directory, self._protos, self._clock)
        file.write(summary, step)


def metric_place(name: str) -> tuple[str, str]:
    """Sub-run and tag of a metric: `val_loss` is `epoch_loss` of `validation`."""
    if name.startswith("val_"):
        return "validation", f"epoch_{name[4:]}"
    return "train", f"epoch_{name}"


class _EventFile:
    """One file of events."""

    def __init__(self, directory: Path, protos: _Protos, clock: Callable[[], float]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._protos = protos
        self._clock = clock
        host = _SAFE.sub("_", socket.gethostname())
        # Two files of one directory may be opened within a second; TensorBoard reads them in the order of their names.
        stem = f"events.out.tfevents.{int(clock()):010d}.{host}.{os.getpid()}"
        self._stream = _create_new(directory, stem)
        self._records = protos.record_writer(self._stream)
        try:
            self._put(protos.event(wall_time=clock(), file_version="brain.Event:2"))
        except OSError:
            with contextlib.suppress(OSError):
                self.close()
            raise

    def write(self, summary: Any, step: int) -> None:
        self._put(self._protos.event(wall_time=self._clock(), step=step, summary=summary))

    def close(self) -> None:
        self._records.close()

    def _put(self, event: Any) -> None:
        self._records.write(event.SerializeToString())
        self._records.flush()


def _create_new(directory: Path, stem: str) -> BinaryIO:
    index = 0
    while True:
        try:
            return (directory / f"{stem}.{index}").open("xb")
        except FileExistsError:
            index += 1


class _Protos:
    """TensorBoard's messages, found at run time because the package is an extra."""

    def __init__(self) -> None:
        try:
            self._api = importlib.import_module("tensorboard.plugins.hparams.api_pb2")
            self._data = importlib.import_module("tensorboard.plugins.hparams.plugin_data_pb2")
            self._hparams = importlib.import_module("tensorboard.plugins.hparams.metadata")
            self._scalars = importlib.import_module("tensorboard.plugins.scalar.metadata")
            self._tensors = importlib.import_module("tensorboard.util.tensor_util")
            self._summaries = importlib.import_module("tensorboard.compat.proto.summary_pb2")
            events = importlib.import_module("tensorboard.compat.proto.event_pb2")
            records = importlib.import_module("tensorboard.summary.writer.record_writer")
        except ImportError as error:
            raise ImportError(
                "`TensorBoardLogger` needs the package 'tensorboard', which could not be imported "
                f"({error}). Install it in the checkout of cerebro_nas: pip install -e '.[tensorboard]'"
            ) from error
        self.event: Callable[..., Any] = events.Event
        self.record_writer: Callable[..., Any] = records.RecordWriter

    def scalar(self, tag: str, value: float) -> Any:
        tensor = self._tensors.make_tensor_proto(value, dtype=_float32())
        return self._summary(tag, self._scalars.create_summary_metadata("", ""), tensor)

    def session_start(self, trial: str, values: Mapping[str, Any], now: float) -> Any:
        info = self._data.SessionStartInfo(group_name=trial, start_time_secs=now)
        for name, value in values.items():
            setattr(info.hparams[name], _FIELDS[_kind([value])], value)
        return self._hparams_summary("SESSION_START_INFO_TAG", session_start_info=info)

    def session_end(self, failed: bool, now: float) -> Any:
        status = self._api.STATUS_FAILURE if failed else self._api.STATUS_SUCCESS
        info = self._data.SessionEndInfo(status=status, end_time_secs=now)
        return self._hparams_summary("SESSION_END_INFO_TAG", session_end_info=info)

    def experiment(
        self, hyperparameters: Mapping[str, Sequence[Any] | None], metrics: Sequence[str], now: float
    ) -> Any:
        columns = [self._column(name, choices) for name, choices in hyperparameters.items()]
        shown = []
        for name in metrics:
            run, tag = metric_place(name)
            shown.append(self._api.MetricInfo(name=self._api.MetricName(group=run, tag=tag), display_name=name))
        info = self._api.Experiment(hparam_infos=columns, metric_infos=shown, time_created_secs=now)
        return self._hparams_summary("EXPERIMENT_TAG", experiment=info)

    def _column(self, name: str, choices: Sequence[Any] | None) -> Any:
        values = [_plain(choice) for choice in choices or () if choice is not None]
        kind = _kind(values)
        info = self._api.HParamInfo(name=name, type=getattr(self._api, f"DATA_TYPE_{kind}"))
        if values:
            info.domain_discrete.extend(str(v) if kind == "STRING" else v for v in values)
        return info

    def _hparams_summary(self, tag: str, **content: Any) -> Any:
        metadata = self._hparams.create_summary_metadata(self._data.HParamsPluginData(**content))
        return self._summary(getattr(self._hparams, tag), metadata, self._hparams.NULL_TENSOR)

    def _summary(self, tag: str, metadata: Any, tensor: Any) -> Any:
        value = self._summaries.Summary.Value(tag=tag, metadata=metadata, tensor=tensor)
        return self._summaries.Summary(value=[value])


_FIELDS = {"BOOL": "bool_value", "FLOAT64": "number_value", "STRING": "string_value"}


def _kind(values: Sequence[Any]) -> str:
    """TensorBoard's name for the type of a hyperparameter."""
    if not values:
        return "UNSET"
    if all(isinstance(value, bool) for value in values):
        return "BOOL"
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return "FLOAT64"
    return "STRING"


def _plain(value: Any) -> bool | int | float | str:
    """A value that TensorBoard can hold: NumPy scalars become Python's, anything else its text."""
    plain = value.item() if hasattr(value, "item") and callable(value.item) else value
    if isinstance(plain, bool | int | str) or (isinstance(plain, float) and not math.isnan(plain)):
        return plain
    return str(plain)


def _float32() -> Any:
    return importlib.import_module("numpy").float32
