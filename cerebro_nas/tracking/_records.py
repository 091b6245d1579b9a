"""What is kept of a trial once it ran."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from cerebro_nas.tracking._view import Direction


@dataclass(frozen=True)
class TrialCost:
    """What a trial cost, and what its candidate costs whoever uses it.

    Attributes:
        parameters: of the candidate; None if it was not built.
        seconds: wall time of its units, summed.
        epochs: epochs it was trained for.
        units: units of work.
        flops: floating point operations of a forward pass of one row; a multiplication with an addition counts two.
        latency_ms: milliseconds that a row took in an evaluation on a worker, in batches of the search's batch size:
            the least over its evaluations.
    """

    parameters: int | None = None
    seconds: float = 0.0
    epochs: int = 0
    units: int = 0
    flops: int | None = None
    latency_ms: float | None = None

    @property
    def measures(self) -> dict[str, float]:
        """What is known of the candidate that may be an objective."""
        found = {"parameters": self.parameters, "flops": self.flops, "latency_ms": self.latency_ms}
        return {name: float(value) for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the leaderboard and the trackers see it.

    Attributes:
        trial: its identifier.
        status: name of its `TrialStatus` (the enum member itself will do: it is a string).
        reason: one word on why it ended so, empty for a plain completion.
        hyperparameters: active hyperparameters only.
        metrics: those of the last complete epoch.
        history: one dict of metrics per complete epoch, in order.
        cost: what it cost.
        parent: trial whose weights it began with, `""` if it began afresh.
        note: what the tuner noted of it: its generation, its bracket.
    """

    trial: str
    status: str
    reason: str = ""
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    history: tuple[dict[str, float], ...] = ()
    cost: TrialCost = field(default_factory=TrialCost)
    parent: str = ""
    note: dict[str, Any] = field(default_factory=dict)

    @property
    def status_name(self) -> str:
        """`status` as plain text."""
        return str(getattr(self.status, "value", self.status))

    def best_epoch(self, objective: str, direction: Direction) -> int | None:
        """Index of the first epoch with the best finite value of `objective`; None if there is none."""
        best: int | None = None
        for index, metrics in enumerate(self.history):
            value = metrics.get(objective, math.nan)
            if not math.isfinite(value):
                continue
            if best is None or _better(value, self.history[best][objective], direction):
                best = index
        return best

    def metrics_at(self, epoch: int | None, objectives: Collection[str]) -> dict[str, float]:
        """Metrics of an epoch (None: of the last complete one), with the measures that are objectives as now known."""
        metrics = self.metrics if epoch is None else self.history[epoch]
        # A metric of the user's own may have the name of a measure; as an objective it is the measure.
        known = {name: value for name, value in self.cost.measures.items() if name in metrics and name in objectives}
        return {**metrics, **known}

    def best_value(self, name: str, direction: Direction) -> float | None:
        """Best finite value of a metric over the epochs; without a history, its last value."""
        epoch = self.best_epoch(name, direction)
        if epoch is not None:
            return self.history[epoch][name]
        value = self.metrics.get(name, math.nan)
        return value if math.isfinite(value) else None


def count_outcomes(records: Iterable[TrialRecord]) -> Mapping[tuple[str, str], int]:
    """Count records by (status, reason), most frequent first."""
    counts = Counter((record.status_name, record.reason) for record in records)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _better(value: float, than: float, direction: Direction) -> bool:
    return value > than if direction == "max" else value < than
