"""Oracles that train a trial a little, look at it, and go on with the good ones."""

from __future__ import annotations

from typing import Any
from typing import get_args

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners._checks import check_int
from cerebro_nas.tuners._pareto import Outcome
from cerebro_nas.tuners._pareto import latest
from cerebro_nas.tuners._seeded import NeedsResults
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
        check_int("max_resource", max_resource, least=1)
        if resource not in get_args(Resource):
            raise ConfigError(
                "Argument `resource` should be 'epochs' or 'shards' (visits to training shards). "
                f"Received: resource={resource!r}. Pass one of the two."
            )
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
    def limit_is(self) -> str:
        """What a user raises to have `max_resource` raised, for messages."""
        if self.resource == "shards":
            return "`epochs` of `fit` or the number of shards, whose product that is"
        return "`epochs` of `fit`"

    @property
    def waiting(self) -> tuple[str, ...]:
        """The paused trials, in the order in which they paused."""
        return tuple(self._paused)

    @property
    def active(self) -> tuple[str, ...]:
        """The trials that run now, in the order in which they began; paused ones apart."""
        running = {trial.trial_id for trial in self.ongoing_trials.values()}
        return tuple(name for name in self.start_order if name in running and name not in self._paused)

    def loss_now(self, trial_id: str) -> Outcome | None:
        """The objective at the last report of a trial, lower is better; None if it reported nothing.

        With several objectives there is one number for each: see `comparable`.
        """
        return latest(self.trials[trial_id], self.objective)

    def can_propose(self) -> bool:
        """Whether a new trial would be made now, if one were asked for: neither `max_trials` nor the space is used up.

        It works the proposal out, which costs what a proposal costs.
        """
        left = self.remaining_trials()
        if self._retry_queue:
            return True
        if left is not None and left <= 0:
            return False
        try:
            return self._next() is not None
        except NeedsResults:
            return False

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

    def get_state(self) -> dict[str, Any]:
        """State as plain JSON values."""
        stages = {name: [stage.until, stage.last] for name, stage in self._stages.items()}
        return {**super().get_state(), "paused": list(self._paused), "stages": stages}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` gave."""
        super().set_state(state)
        self._paused = dict.fromkeys(state["paused"])
        self._stages = {name: Stage(until, last) for name, (until, last) in state["stages"].items()}

    def reload(self) -> None:
        """Restore what KerasTuner saved: trials that had not ended, paused ones too, do their stage again."""
        super().reload()
        self._paused.clear()
