"""Asynchronous searches on a virtual clock: the tuner is asked and told as the driver does it."""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Protocol

from benchmarks.search._problem import Problem
from cerebro_nas.tuners._stages import Dismissal
from cerebro_nas.tuners._stages import Promotion
from cerebro_nas.tuners._tuner import Exhausted
from cerebro_nas.tuners._tuner import TrialSuggestion
from cerebro_nas.tuners._tuner import Wait

METRIC = "val_loss"


class Searcher(Protocol):
    """What is asked and told: our `Tuner`, or a peer."""

    def ask(self) -> TrialSuggestion | Promotion | Dismissal | Wait | Exhausted: ...

    def report(self, trial_id: str, epoch: int, metrics: Mapping[str, float]) -> None: ...

    def pause(self, trial_id: str) -> None: ...

    def finish(self, trial_id: str, status: str, reason: str = "") -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Point:
    """The incumbent changed.

    Attributes:
        spent: units trained by then, in all trials.
        clock: virtual seconds.
        observed: its loss as observed.
        regret: its regret without noise.
    """

    spent: int
    clock: float
    observed: float
    regret: float


@dataclass(frozen=True)
class Outcome:
    """What a search came to.

    Attributes:
        path: the incumbents.
        finals: the last loss observed of each trial, in the order in which trials began; None: none was.
        spent: units trained.
        trials: trials begun.
        makespan: virtual seconds.
        ask_seconds: CPU seconds in the tuner.
    """

    path: tuple[Point, ...]
    finals: tuple[float | None, ...]
    spent: int
    trials: int
    makespan: float
    ask_seconds: float

    @property
    def regret(self) -> float:
        """Simple regret of the trial that looks best."""
        return self.path[-1].regret if self.path else math.inf

    def spent_until(self, observed: float) -> int | None:
        """Units trained until a loss as low as this was seen; None: never."""
        return next((point.spent for point in self.path if point.observed <= observed), None)


@dataclass
class _Trial:
    number: int
    values: dict[str, Any]
    until: int
    last: bool
    unit_seconds: float
    inherited: int
    done: int
    reports: int = 0
    loss: float | None = None


@dataclass
class Simulation:
    """One search.

    Args:
        problem: what is searched.
        searcher: what proposes.
        workers: trials that train at a time.
        budget: units that may be trained in all; a stage that is begun is ended.
        seed: of noise and times.
        shards: whether the tuner's resource is visits to shards; otherwise it is epochs.
    """

    problem: Problem
    searcher: Searcher
    workers: int
    budget: int
    seed: int
    shards: bool = False
    clock: float = 0.0
    spent: int = 0
    _promised: int = 0
    _cpu: float = 0.0
    _trials: dict[str, _Trial] = field(default_factory=dict)
    _paused: dict[str, None] = field(default_factory=dict)
    _path: list[Point] = field(default_factory=list)
    _events: list[tuple[float, int, str]] = field(default_factory=list)
    _order: Any = field(default_factory=itertools.count)

    def run(self) -> Outcome:
        """Search until the budget is spent, or the tuner has no more."""
        for _ in self.steps():
            pass
        for name in list(self._paused):
            self._tell("finish", name, "STOPPED", "not_promoted")
        finals = tuple(trial.loss for trial in self._trials.values())
        return Outcome(tuple(self._path), finals, self.spent, len(finals), self.clock, self._cpu)

    def steps(self) -> Iterator[float]:
        """The clock at each result that comes in, before the next one does."""
        while True:
            self._fill()
            if not self._events:
                return
            self.clock, _, name = heapq.heappop(self._events)
            self._advance(name)
            yield self.clock

    @property
    def running(self) -> tuple[str, ...]:
        """Trials that train now."""
        return tuple(name for _, _, name in self._events)

    def _fill(self) -> None:
        while len(self._events) < self.workers and self._promised < self.budget:
            answer = self._tell("ask")
            if isinstance(answer, (Wait, Exhausted)):
                if self._events or not self._paused or isinstance(answer, Wait):
                    return
                # As the driver does: nothing runs, and nobody is promoted any more.
                for name in list(self._paused):
                    del self._paused[name]
                    self._tell("finish", name, "STOPPED", "not_promoted")
                return
            self._take(answer)

    def _take(self, answer: TrialSuggestion | Promotion | Dismissal) -> None:
        name = answer.trial_id
        if isinstance(answer, Dismissal):
            del self._paused[name]
            self._tell("finish", name, "STOPPED", answer.reason)
            return
        if isinstance(answer, TrialSuggestion):
            self._trials[name] = self._begin(answer)
        else:
            del self._paused[name]
            trial = self._trials[name]
            trial.until = min(self.problem.units, trial.inherited + self._units(answer.stage.until))
            trial.last = answer.stage.last
        trial = self._trials[name]
        self._promised += trial.until - trial.done
        self._schedule(name)

    def _begin(self, suggestion: TrialSuggestion) -> _Trial:
        number, values, stage = len(self._trials), dict(suggestion.values), suggestion.stage
        inherited = 0
        until = self.problem.units if stage is None else self._units(stage.until)
        if "tuner/epochs" in values:
            # KerasTuner's Hyperband: a later round is a trial that begins with the weights of an earlier one.
            inherited, until = (self._units(int(values[f"tuner/{end}"])) for end in ("initial_epoch", "epochs"))
        elif suggestion.parent is not None:
            # Population-based training: the winner's state. The trial goes on with its own curve from there.
            inherited = self._units(int(suggestion.note.get("inherited", 0)))
            until = min(self.problem.units, inherited + until)
        pace = self.problem.unit_seconds(values, self.seed, number)
        return _Trial(number, values, until, stage is None or stage.last, pace, inherited, inherited)

    def _units(self, resource: int) -> int:
        return min(self.problem.units, resource if self.shards else resource * self.problem.per_epoch)

    def _schedule(self, name: str) -> None:
        """To the next report: at the end of an epoch, or of the stage."""
        trial = self._trials[name]
        units = self._next_stop(trial) - trial.done
        heapq.heappush(self._events, (self.clock + units * trial.unit_seconds, next(self._order), name))

    def _next_stop(self, trial: _Trial) -> int:
        epoch = self.problem.per_epoch
        return min(trial.until, trial.done - trial.done % epoch + epoch)

    def _advance(self, name: str) -> None:
        trial = self._trials[name]
        reached = self._next_stop(trial)
        self.spent += reached - trial.done
        trial.done = reached
        trial.loss = self.problem.observe(trial.values, reached, self.seed, trial.number)
        self._note(trial)
        self._tell("report", name, trial.reports, {METRIC: trial.loss})
        trial.reports += 1
        if trial.done < trial.until:
            self._schedule(name)
        elif trial.last:
            self._tell("finish", name, "COMPLETED")
        else:
            self._paused[name] = None
            self._tell("pause", name)

    def _note(self, trial: _Trial) -> None:
        if trial.loss is not None and (not self._path or trial.loss < self._path[-1].observed):
            regret = self.problem.regret(trial.values, trial.done)
            self._path.append(Point(self.spent, self.clock, trial.loss, regret))

    def _tell(self, what: str, *arguments: Any) -> Any:
        began = time.process_time()
        found = getattr(self.searcher, what)(*arguments)
        self._cpu += time.process_time() - began
        return found
