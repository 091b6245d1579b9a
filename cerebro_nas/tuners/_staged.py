"""Oracles that train a trial a little, look at it, and go on with the good ones."""

from __future__ import annotations

from typing import Any

from cerebro_nas.tuners._seeded import SeededOracle
from cerebro_nas.tuners._stages import Dismissal
from cerebro_nas.tuners._stages import Promotion
from cerebro_nas.tuners._stages import Resource
from cerebro_nas.tuners._stages import Stage


class StagedOracle(SeededOracle):
    """An oracle of trials that are trained in stages.

    A trial begins with `stage_of`. When it gets there it pauses (unless that stage is its last), its state is kept,
    and `next_step` may promote it at any later time: then it goes on where it paused. Trials that are still paused
    when nothing runs and nothing is promoted any more end there.

    What a subclass keeps must follow from the calls of `entered`, `paused`, `take` and `observe`.

    Args:
        max_resource: epochs a trial is trained at most (or visits to training shards).
        resource: which of the two.
        **kwargs: see `SeededOracle`.
    """

    def __init__(self, *, max_resource: int, resource: Resource = "epochs", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_resource = max_resource
        self.resource: Resource = resource
        self._paused: dict[str, None] = {}
        self._stages: dict[str, Stage] = {}

    # --- for subclasses -----------------------------------------------------------------------------------------------

    def first_stage(self, trial_id: str) -> Stage:
        """How far a new trial is trained at first."""
        raise NotImplementedError

    def next_step(self) -> Promotion | Dismissal | None:
        """What to do with a paused trial, if anything, before a new one is proposed. It must change nothing."""
        raise NotImplementedError

    @property
    def waiting(self) -> tuple[str, ...]:
        """The paused trials, in the order in which they paused."""
        return tuple(self._paused)

    @property
    def active(self) -> tuple[str, ...]:
        """The trials that run now, in the order in which they began; paused ones apart."""
        running = {trial.trial_id for trial in self.ongoing_trials.values()}
        return tuple(name for name in self.start_order if name in running and name not in self._paused)

    def loss_now(self, trial_id: str) -> float | None:
        """The objective at the last report of a trial, lower is better; None if it reported nothing.

        With several objectives it is the first one's.
        """
        name = self.objective.name
        metrics = self.trials[trial_id].metrics
        history = metrics.get_history(name) if metrics.exists(name) else []
        if not history:
            return None
        value = float(history[-1].mean())
        return -value if self.objective.direction == "max" else value

    # --- for the tuner ------------------------------------------------------------------------------------------------

    def stage_of(self, trial_id: str) -> Stage:
        """The stage that a trial is in."""
        if trial_id not in self._stages:
            self._stages[trial_id] = self.first_stage(trial_id)
        return self._stages[trial_id]

    @property
    def may_promote(self) -> bool:
        """Whether `next_step` may have something after more results."""
        return bool(self.active)

    def paused(self, trial_id: str) -> None:
        """A trial has got to the end of its stage."""
        self._paused[trial_id] = None

    def take(self, step: Promotion | Dismissal) -> None:
        """A step of `next_step` is taken, now or in a search that is gone on with."""
        self._paused.pop(step.trial_id, None)
        if isinstance(step, Promotion):
            self._stages[step.trial_id] = step.stage

    def end_trial(self, trial: Any) -> None:
        """Take in that a trial has ended."""
        self._paused.pop(trial.trial_id, None)
        super().end_trial(trial)
