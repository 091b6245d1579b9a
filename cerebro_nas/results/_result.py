"""The result of a search."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import SearchAborted
from cerebro_nas.results._model import TrialModel
from cerebro_nas.tracking import Direction
from cerebro_nas.tracking import TrialRecord
from cerebro_nas.tracking import leaderboard

if TYPE_CHECKING:
    import keras
    import pandas as pd
    from pyspark.sql import DataFrame

    from cerebro_nas.hopper import ScheduleEntry
    from cerebro_nas.hopper import Utilisation
    from cerebro_nas.results._bundle import ModelSource

# The end of a message, behind a stack trace perhaps, says most.
_REASON_CHARACTERS = 400


class ModelSelectionResult:
    """What `HyperHyperModel.fit` returns. Models are loaded from the store when they are asked for, one at a time.

    Attributes:
        schedule: figures of the schedule: makespan, utilisation, busy and idle seconds per worker.
        schedule_log: every unit as it ran.
        stopped_because: why the search ended, in words.
        directory: where the search's files are.
        others: further objectives, each with its direction.
    """

    def __init__(
        self,
        *,
        records: Sequence[TrialRecord],
        objective: str,
        direction: Direction,
        source: ModelSource,
        schedule: Utilisation,
        schedule_log: Sequence[ScheduleEntry],
        stopped_because: str,
        directory: str,
        others: Sequence[tuple[str, Direction]] = (),
    ) -> None:
        self._records = tuple(records)
        self._objective = objective
        self._direction: Direction = direction
        self._others = tuple(others)
        self._source = source
        self.schedule = schedule
        self.schedule_log = schedule_log
        self.stopped_because = stopped_because
        self.directory = directory
        self._best: TrialModel | None = None

    @property
    def best_model(self) -> TrialModel:
        """The trial with the best objective, with the weights of its best epoch."""
        if self._best is None:
            self._best = self._model(self._ranked()[0])
        return self._best

    def get_best_model(self) -> TrialModel:
        """Return `best_model`."""
        return self.best_model

    def get_best_models(self, num_models: int = 1) -> list[TrialModel]:
        """Return the best `num_models` trials that gave a result, best first (fewer if there are fewer)."""
        return [self._model(record) for record in self._ranked()[:num_models]]

    def get_all_models(self) -> Iterator[TrialModel]:
        """Yield every trial that gave a result, best first; a model is loaded only when it is used."""
        for record in self._ranked():
            yield self._model(record)

    def get_history(self) -> dict[str, list[float]]:
        """Metrics of the best trial per epoch, as Keras' `History.history`."""
        return self.best_model.history

    def get_best_model_history(self) -> dict[str, list[float]]:
        """Return `get_history()`."""
        return self.get_history()

    def get_all_model_history(self) -> dict[str, dict[str, list[float]]]:
        """Metrics per epoch of every trial, by trial."""
        return {record.trial: _columns(record) for record in self._records}

    @property
    def metrics(self) -> dict[str, dict[str, list[float]]]:
        """Metrics per epoch of every trial, by trial."""
        return self.get_all_model_history()

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """One record per trial, in the order they were made."""
        return self._records

    def leaderboard(self) -> pd.DataFrame:
        """All trials as a pandas DataFrame, best first (see `cerebro_nas.tracking.leaderboard` for the columns)."""
        return leaderboard(self._records, self._objective, self._direction, others=self._others)

    def keras(self) -> keras.Model:
        """The best trial as a compiled Keras model."""
        return self.best_model.keras()

    def transform(self, df: DataFrame) -> DataFrame:
        """Predict with the best trial on Spark; see `TrialModel.transform`."""
        return self.best_model.transform(df)

    def set_output_columns(self, output_columns: Sequence[str]) -> ModelSelectionResult:
        """Name the columns that `transform` adds, one per label; returns this result."""
        self._source = self._source.with_output_columns(output_columns)
        self._best = None
        return self

    def __repr__(self) -> str:
        best = self._ranked(none_ok=True)
        score = best[0].best_value(self._objective, self._direction) if best else None
        text = f"best {self._objective}={score:.4f}" if score is not None else "no trial succeeded"
        return f"ModelSelectionResult({len(self._records)} trials, {text})"

    def _ranked(self, none_ok: bool = False) -> list[TrialRecord]:
        scored: list[tuple[float, int, TrialRecord]] = []
        sign = -1.0 if self._direction == "max" else 1.0
        for position, record in enumerate(self._records):
            value = record.best_value(self._objective, self._direction)
            if value is not None and record.status_name in ("COMPLETED", "STOPPED"):
                scored.append((sign * value, position, record))
        if not scored and not none_ok:
            raise SearchAborted(
                f"No trial of this search gave a finite {self._objective!r}, so there is no best model. "
                f"{self._last_failure()}Look at `leaderboard()` for the reason of each trial."
            )
        return [record for _, _, record in sorted(scored, key=lambda item: item[:2])]

    def _last_failure(self) -> str:
        for entry in reversed(self.schedule_log):
            if entry.outcome == "failed":
                words = " ".join(str(entry.detail.get("message") or entry.detail.get("reason") or "").split())
                return (
                    f"The last failure, of trial {entry.unit.trial!r}: {words[-_REASON_CHARACTERS:]}. " if words else ""
                )
        return ""

    def _model(self, record: TrialRecord) -> TrialModel:
        epoch = record.best_epoch(self._objective, self._direction)
        history = _columns(record)
        return TrialModel(record, self._source, recorded_epoch=epoch or 0, history=history, objective=self._objective)


def _columns(record: TrialRecord) -> dict[str, list[Any]]:
    names = sorted({name for metrics in record.history for name in metrics})
    return {name: [metrics.get(name) for metrics in record.history] for name in names}
