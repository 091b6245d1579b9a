"""A search without training, written down as it goes: what a tuner is asked and told, in any order."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

import keras_tuner

from cerebro_nas.testing._contract import _expect
from cerebro_nas.testing._tuner_values import check_values
from cerebro_nas.tuners import Dismissal
from cerebro_nas.tuners import Exhausted
from cerebro_nas.tuners import Promotion
from cerebro_nas.tuners import SeededOracle
from cerebro_nas.tuners import StagedOracle
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners import Wait

Answer = TrialSuggestion | Promotion | Dismissal | Wait | Exhausted
Metrics = dict[str, float]

_MOST_EVENTS = 20_000
_UNTOLD_REJECTIONS = 10**6


@dataclass(frozen=True)
class Event:
    """Something the tuner was asked or told.

    Attributes:
        kind: "ask", "report", "pause", "finish", "reject" or "accept".
        trial_id: the trial it is about.
        answer: (ask) what came of it, as plain values that can be compared.
        epoch: (report) number of the epoch.
        metrics: (report) of the epoch.
        status: (finish) how the trial ended.
    """

    kind: str
    trial_id: str = ""
    answer: tuple[Any, ...] = ()
    epoch: int = 0
    metrics: tuple[tuple[str, float], ...] = ()
    status: str = ""


class TunerRun:
    """Asks a tuner and tells it results, in an order that numbers choose, and holds each answer against the contract.

    Args:
        oracle: a new one.
        max_trials: its limit.
        metrics: what a trial reports for its values and the number of an epoch.
        parallelism: trials that run at a time, at most.
        epochs: epochs of a trial that is not trained in stages.
        repeats: whether two trials may have equal values.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        *,
        max_trials: int | None,
        metrics: Callable[[dict[str, Any], int], Metrics],
        parallelism: int = 4,
        epochs: int = 2,
        repeats: bool = False,
        **options: Any,
    ) -> None:
        self.tuner = Tuner(oracle, max_trials=max_trials, max_rejections=_UNTOLD_REJECTIONS, **options)
        self.oracle = oracle
        self.metrics = metrics
        self.parallelism = parallelism
        self.epochs = epochs
        self.repeats = repeats
        self.record: list[Event] = []
        self.trials: dict[str, TrialSuggestion] = {}
        self.running: dict[str, None] = {}
        self.paused: dict[str, None] = {}
        self.ended: dict[str, str] = {}
        self.promoted = 0
        self._stages: dict[str, Any] = {}
        self._epochs: dict[str, int] = {}
        self._seen: set[str] = set()
        # Texts, as a tuner that changed what it gave would change a copy that is not deep as well.
        self._given: dict[str, str] = {}

    def __enter__(self) -> TunerRun:
        return self

    def __exit__(self, *exc: object) -> None:
        self.tuner.close()

    # --- by chance ----------------------------------------------------------------------------------------------------

    def play(self, choices: Iterable[int]) -> TunerRun:
        """One event, or what belongs to one, for each number; small numbers ask and train, large ones do harm."""
        for choice in choices:
            self.choose(choice)
        return self

    def choose(self, choice: int) -> None:
        """What this number says, if it can be done now; something like it otherwise."""
        kind, rest = choice % 10, choice // 10
        if not self.running or (kind < 4 and len(self.running) < self.parallelism):
            self.ask()
            return
        trial_id = list(self.running)[rest % len(self.running)]
        if kind == 9:
            self._misfortune(trial_id, rest)
        else:
            self.advance(trial_id)

    def finish_all(self) -> TunerRun:
        """Train what runs, and ask for more, until there is no more."""
        answer: Answer | None = None
        for number in range(_MOST_EVENTS):
            # No more is no more as long as something runs: a used-up space is slow to find out.
            while len(self.running) < self.parallelism and not (self.running and isinstance(answer, Exhausted)):
                answer = self.ask()
                if isinstance(answer, Wait | Exhausted):
                    break
            if not self.running:
                if isinstance(answer, Exhausted) and not self.paused:
                    return self.check_end()
                continue
            self.advance(list(self.running)[number % len(self.running)])
        raise AssertionError(f"contract: every search ends. Received: {len(self.trials)} trials and no end")

    def _misfortune(self, trial_id: str, number: int) -> None:
        kind = number // 8 % 5
        if kind == 0:
            self.finish(trial_id, "FAILED")
        elif kind == 1 and not self._epochs[trial_id]:
            self.reject(trial_id)
        elif kind == 2:
            self.report(trial_id, dict.fromkeys(self.metrics(self.trials[trial_id].values, 0), math.nan))
        elif kind == 3 and self.paused:
            # Its state was lost.
            self.finish(list(self.paused)[number % len(self.paused)], "FAILED")
        else:
            self.finish(trial_id, "STOPPED")

    # --- one event ----------------------------------------------------------------------------------------------------

    def ask(self) -> Answer:
        """Ask once; what is paused when nothing runs and nothing is promoted any more ends."""
        answer = self.tuner.ask()
        self.record.append(Event("ask", answer=describe(answer)))
        self._enter(answer)
        if isinstance(answer, Wait | Exhausted) and not self.running:
            _expect(bool(self.paused) or isinstance(answer, Exhausted), "a tuner waits for nothing but results", answer)
            for trial_id in list(self.paused):
                self.finish(trial_id, "COMPLETED")
        elif isinstance(answer, Dismissal):
            self.finish(answer.trial_id, "STOPPED")
        return answer

    def advance(self, trial_id: str) -> None:
        """The next epoch of a trial, or what comes after its last one."""
        stage = self._stages[trial_id]
        until = self.epochs if stage is None else stage.until
        if self._epochs[trial_id] < until:
            if not self._epochs[trial_id]:
                self._do(Event("accept", trial_id))
            self.report(trial_id, self.metrics(dict(self.trials[trial_id].values), self._epochs[trial_id]))
        elif stage is None or stage.last:
            self.finish(trial_id, "COMPLETED")
        else:
            self._do(Event("pause", trial_id))

    def report(self, trial_id: str, metrics: Metrics) -> None:
        """Tell the metrics of the next epoch."""
        self._do(Event("report", trial_id, epoch=self._epochs[trial_id], metrics=tuple(metrics.items())))

    def finish(self, trial_id: str, status: str) -> None:
        """End a trial."""
        self._do(Event("finish", trial_id, status=status))

    def reject(self, trial_id: str) -> None:
        """A candidate cannot be built."""
        self._do(Event("reject", trial_id))

    def _do(self, event: Event) -> None:
        self.record.append(event)
        name, tuner = event.trial_id, self.tuner
        if event.kind == "accept":
            tuner.accept(name)
        elif event.kind == "report":
            tuner.report(name, event.epoch, dict(event.metrics))
            self._epochs[name] += 1
        elif event.kind == "pause":
            tuner.pause(name)
            del self.running[name]
            self.paused[name] = None
        else:
            self.running.pop(name, None)
            self.paused.pop(name, None)
            self.ended[name] = event.status or "REJECTED"
            if event.kind == "finish":
                tuner.finish(name, event.status, "as the test says")
            else:
                tuner.reject(name, "as the test says")

    # --- going on -----------------------------------------------------------------------------------------------------

    def follow(self, record: Iterable[Event]) -> TunerRun:
        """Lead the tuner through what was written down of another run; ours compute no proposal."""
        if isinstance(self.oracle, SeededOracle):
            # The driver's own way to go on calls it as little.
            self.oracle.__dict__["propose"] = _refuse_to_propose
        for event in record:
            if event.kind == "ask":
                self._readmit(event)
            else:
                self._do(event)
        if isinstance(self.oracle, SeededOracle):
            del self.oracle.__dict__["propose"]
        return self

    def go_on(self, record: Iterable[Event]) -> TunerRun:
        """Do what another run did from here on, and hold the tuner's answers against those that were given there."""
        for event in record:
            if event.kind == "ask":
                answer = self.tuner.ask()
                found = describe(answer)
                _expect(found == event.answer, f"a search that is gone on with gives {event.answer}", found)
                self.record.append(event)
                self._enter(answer)
            else:
                self._do(event)
        return self

    def _readmit(self, event: Event) -> None:
        kind, *rest = event.answer
        self.record.append(event)
        if kind == "TrialSuggestion":
            # What a journal gives back: plain JSON.
            trial_id, values, parent, note, _ = json.loads(json.dumps(rest))
            self.tuner.readmit(trial_id, values, parent, note)
            trial = self.oracle.trials[trial_id]
            suggestion = TrialSuggestion(trial_id, dict(values), trial.hyperparameters.copy(), None, parent, note)
            if isinstance(self.oracle, SeededOracle):
                suggestion = replace(suggestion, stage=self.oracle.stage_of(trial_id))
            self._enter(suggestion)
        elif kind in ("Promotion", "Dismissal"):
            step: Promotion | Dismissal = Promotion(*rest) if kind == "Promotion" else Dismissal(*rest)
            self.tuner.readmit_step(step)
            self._enter(step)
        else:
            self.tuner.readmit_none()

    # --- what is promised ---------------------------------------------------------------------------------------------

    def _enter(self, answer: Answer) -> None:
        if isinstance(answer, TrialSuggestion):
            self._check_suggestion(answer)
            name = answer.trial_id
            self.trials[name] = answer
            self._given[name] = _text(answer.values)
            self.running[name], self._stages[name], self._epochs[name] = None, answer.stage, 0
        elif isinstance(answer, Promotion):
            self._check_promotion(answer)
            self.paused.pop(answer.trial_id)
            self.running[answer.trial_id], self._stages[answer.trial_id] = None, answer.stage
            self.promoted += 1
        elif isinstance(answer, Dismissal):
            _expect(answer.trial_id in self.paused, "only paused trials are dismissed", answer)

    def _check_suggestion(self, answer: TrialSuggestion) -> None:
        check_values(self.oracle.get_space(), answer.values)
        _expect(answer.trial_id not in self.trials, "every trial has a name of its own", answer)
        known = set(self.oracle.trials) - {answer.trial_id}
        _expect(answer.parent is None or answer.parent in known, "a parent is an earlier trial", answer)
        _expect(json.loads(json.dumps(answer.note)) == answer.note, "a note is plain JSON", answer)
        key = _text(dict(sorted(answer.values.items())))
        _expect(self.repeats or key not in self._seen, "no configuration is proposed twice", answer.values)
        self._seen.add(key)
        if isinstance(self.oracle, StagedOracle):
            stage = answer.stage
            _expect(stage is not None and 1 <= stage.until <= self.oracle.max_resource, "a first stage fits", stage)

    def _check_promotion(self, answer: Promotion) -> None:
        _expect(answer.trial_id in self.paused, "only paused trials are promoted", answer)
        before = self._stages[answer.trial_id].until
        most = self.oracle.max_resource
        _expect(before < answer.stage.until <= most, f"a promotion leads on, from {before} to {most} at most", answer)

    def check_end(self) -> TunerRun:
        """Every trial ended as it was told, and none was changed behind anybody's back."""
        _expect(set(self.ended) == set(self.trials), "every trial ends", set(self.trials) - set(self.ended))
        _expect(not self.oracle.ongoing_trials, "nothing runs at the end", self.oracle.ongoing_trials)
        self.check_unchanged()
        counted = sum(status != "REJECTED" for status in self.ended.values())
        limit = self.tuner.max_trials
        _expect(limit is None or counted <= limit, f"there are at most {limit} trials", counted)
        return self

    def check_unchanged(self) -> None:
        """The values of every trial are those that `ask` gave."""
        for name, text in self._given.items():
            kept = self.oracle.trials[name].hyperparameters.values
            _expect(_text(self.trials[name].values) == text, "values that were given never change", name)
            _expect(_text(kept) == text, "values of a trial never change", kept)


def describe(answer: Answer) -> tuple[Any, ...]:
    """An answer as plain values that can be compared."""
    kind = type(answer).__name__
    if isinstance(answer, TrialSuggestion):
        plain = copy.deepcopy((answer.values, answer.parent, answer.note))
        return (kind, answer.trial_id, *plain, None if answer.stage is None else list(vars(answer.stage).values()))
    if isinstance(answer, Promotion):
        return (kind, answer.trial_id, answer.stage)
    return (kind, answer.trial_id, answer.reason) if isinstance(answer, Dismissal) else (kind,)


def _text(values: dict[str, Any]) -> str:
    return json.dumps(values)


def _refuse_to_propose() -> Any:
    raise AssertionError("contract: a search is gone on with without `propose`. Received: a call of it")
