"""What our oracles share: proposals that follow from seed and history alone, and lazily enumerated spaces."""

from __future__ import annotations

import random
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras_tuner
import numpy as np

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners._checks import is_number
from cerebro_nas.tuners._enumerate import next_values
from cerebro_nas.tuners._pareto import losses
from cerebro_nas.tuners._stages import Proposal
from cerebro_nas.tuners._stages import Stage
from cerebro_nas.tuners._stages import Values
from cerebro_nas.tuners._tree import admits
from cerebro_nas.tuners._tree import configure
from cerebro_nas.tuners._tree import is_active

RUNNING = "RUNNING"
IDLE = "IDLE"
STOPPED = "STOPPED"

# What the message of a trial begins with that was never trained: `Tuner.reject` lets another take its place.
REJECTED = "rejected: "

_COLLISIONS = 100
_SMALL_SPACE = 10_000


class NeedsResults(Exception):  # noqa: N818 - no error: an answer
    """Raised by `propose` where nothing can be proposed before a running trial has ended (or has been judged)."""


@dataclass(frozen=True)
class Observation:
    """A trial that has ended.

    Attributes:
        trial_id: the trial.
        values: its configuration.
        loss: what it came to, lower is better whatever the direction of the objective (with several objectives its
            place among the fronts, see `_pareto`); None: it failed, or could not be built.
    """

    trial_id: str
    values: Values
    loss: float | None


class SeededOracle(keras_tuner.Oracle):  # type: ignore[misc]  # KerasTuner ships no types
    """An oracle whose proposals follow from its seed, its trials and nothing else.

    A subclass says what to try in `propose`. That is a function of the seed, the number of the proposal and of what
    is known of earlier trials: it keeps nothing that a proposal computed, so that a search is gone on with by telling
    the oracle what it proposed (`expect`), which takes no time, and not by having it propose everything again. What
    must change with results (a controller that is trained, say) changes in `observe`, which is called in the same
    order when a search is gone on with.

    KerasTuner's own sampling treats `seed=0` as no seed and gives neighbouring seeds the same numbers, one step
    apart; AutoKeras' greedy oracle draws from NumPy's global generator. Here each proposal has generators of its own.

    Args:
        initial_hps: configurations to begin with; hyperparameters they leave out take their defaults, and those that
            come to the same configuration are tried once.
        seed: seed of the proposals.
        **kwargs: see `keras_tuner.Oracle`.
    """

    def __init__(self, *, initial_hps: Sequence[Values] = (), seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self.initial_hps = [dict(values) for values in initial_hps]
        self._base = random.SystemRandom().getrandbits(63) if seed is None else seed
        self._rng = random.Random(self._base)  # noqa: S311 - not for secrets
        self._proposed = 0
        self._expected: Proposal | None = None
        # Of a space of so many entries; made anew when it has grown.
        self._starts: tuple[int, list[Values]] = (-1, [])
        self._notes: dict[str, tuple[str | None, dict[str, Any]]] = {}
        self._observed: list[Observation] = []
        self._max_collisions = _COLLISIONS

    # --- for subclasses -----------------------------------------------------------------------------------------------

    def propose(self) -> Values | Proposal | None:
        """What to try next; None if the space has no more.

        It must change nothing of the oracle's (`self._rng` and `self.generator()` apart, which begin anew with each
        proposal).

        Raises:
            NeedsResults: not before the result of a running trial is known.
        """
        raise NotImplementedError

    def new_note(self) -> dict[str, Any]:
        """The note of the next trial, where `propose` is not asked: one of the configurations to begin with."""
        return {}

    def entered(self, trial_id: str, proposal: Proposal) -> None:
        """A trial with this proposal was made, by `propose` now or in a search that is gone on with."""

    def observe(self, observation: Observation) -> None:
        """A trial has ended. Called once for each, in the order in which they end."""

    def generator(self) -> np.random.Generator:
        """NumPy's generator for the present proposal: the same one for the same seed and number."""
        return np.random.default_rng([self._base, self._proposed])

    @property
    def starts(self) -> list[Values]:
        """The configurations to begin with, each once."""
        size = len(self.hyperparameters.space)
        if self._starts[0] != size:
            found: list[Values] = []
            for given in self.initial_hps:
                values = self.complete(given)
                if values not in found:
                    found.append(values)
            self._starts = (size, found)
        return self._starts[1]

    @property
    def number(self) -> int:
        """How many proposals there were."""
        return self._proposed

    def observations(self) -> list[Observation]:
        """The trials that have ended, in that order."""
        if len(self._observed) != len(self.end_order):
            # What has ended does not change; with several objectives its worth is relative to all the others.
            worth = losses([self.trials[trial_id] for trial_id in self.end_order], self.objective)
            self._observed = [
                Observation(trial_id, self._values(trial_id), loss)
                for trial_id, loss in zip(self.end_order, worth, strict=True)
            ]
        return list(self._observed)

    def pending(self) -> list[Values]:
        """Configurations of the trials that run (or are paused), in the order in which they began."""
        running = {trial.trial_id for trial in self.ongoing_trials.values()}
        return [self._values(name) for name in self.start_order if name in running]

    def proposal_of(self, trial_id: str) -> Proposal:
        """What was proposed for a trial."""
        parent, note = self._notes.get(trial_id, (None, {}))
        return Proposal(self._values(trial_id), parent, note)

    def stage_of(self, trial_id: str) -> Stage | None:
        """How far the trial is trained at first; None: as far as every trial."""
        return None

    def was_rejected(self, trial_id: str) -> bool:
        """Whether a trial ended because it could not be built, or is too large; it counts as never proposed."""
        return (self.trials[trial_id].message or "").startswith(REJECTED)

    def sample(self, hp: Any) -> Any:
        """A random value of one hyperparameter."""
        return hp.prob_to_value(self._rng.random())

    def complete(self, given: Mapping[str, Any]) -> Values:
        """The configuration with these values; active hyperparameters that have none of theirs take their defaults."""
        return self._filled(given, lambda hp: hp.default)

    def complete_randomly(self, given: Mapping[str, Any]) -> Values:
        """The configuration with these values; active hyperparameters that have none of theirs take random ones."""
        return self._filled(given, self.sample)

    def is_new(self, values: Values) -> bool:
        """Whether no trial has had this configuration."""
        return not self._duplicate(values)

    def fresh_random_values(self) -> Values | None:
        """Random values that no trial has had, or None when the space has (almost surely) no more."""
        for _ in range(self._max_collisions):
            values = self.complete_randomly({})
            if self.is_new(values):
                return values
        return self._untried_of_small_space()

    # --- KerasTuner's protocol ----------------------------------------------------------------------------------------

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Values for one trial."""
        try:
            proposal = self._next()
        except NeedsResults:
            return {"status": IDLE, "values": None}
        if proposal is None:
            return {"status": STOPPED, "values": None}
        self._expected = None
        self._proposed += 1
        self._notes[trial_id] = (proposal.parent, proposal.note)
        self.entered(trial_id, proposal)
        return {"status": RUNNING, "values": proposal.values}

    def expect(self, proposal: Proposal) -> None:
        """Have the next trial be this one, which was proposed before the search was gone on with."""
        self._expected = proposal

    def end_trial(self, trial: Any) -> None:
        """Take in that a trial has ended."""
        super().end_trial(trial)
        if type(self).observe is not SeededOracle.observe:
            self.observe(next(item for item in reversed(self.observations()) if item.trial_id == trial.trial_id))

    def get_state(self) -> dict[str, Any]:
        """State as plain JSON values."""
        notes = {name: list(note) for name, note in self._notes.items()}
        return {**super().get_state(), "base": self._base, "proposed": self._proposed, "notes": notes}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` gave."""
        super().set_state(state)
        self._base, self._proposed = state["base"], state["proposed"]
        # Values come with the trials, which KerasTuner saves apart.
        self._notes = {name: (parent, note) for name, (parent, note) in state["notes"].items()}

    def _compute_values_hash(self, values: Values) -> str:
        # KerasTuner's own takes a default of 0 and a drawn 0.0 for two configurations, and 0.3 and 3 * 0.1.
        plain = {name: float(f"{value:.12g}") if is_number(value) else value for name, value in values.items()}
        return str(super()._compute_values_hash(plain))

    def _record_values(self, trial: Any) -> None:
        # KerasTuner's own redraws values, unseeded, where a name stands for several entries with conditions.
        self._tried_so_far.add(self._compute_values_hash(trial.hyperparameters.values))

    # --- inside -------------------------------------------------------------------------------------------------------

    def _filled(self, given: Mapping[str, Any], choose: Callable[[Any], Any]) -> Values:
        def value(hp: Any) -> Any:
            # Of several entries of one name, another one may be active now than the one that the value is of.
            return given[hp.name] if hp.name in given and admits(hp, given[hp.name]) else choose(hp)

        return configure(self.hyperparameters, value)

    def _next(self) -> Proposal | None:
        if self._expected is not None:
            return self._expected
        # Text, as a tuple's hash would differ between versions of Python.
        self._rng = random.Random(f"{self._base}/{self._proposed}")  # noqa: S311 - not for secrets
        if self._proposed < len(self.starts) and self.is_new(self.starts[self._proposed]):
            return Proposal(dict(self.starts[self._proposed]), note=self.new_note())
        found = self.propose()
        proposal = Proposal(found) if isinstance(found, dict) else found
        if proposal is not None:
            self._check_complete(proposal.values)
        return proposal

    def _check_complete(self, values: Values) -> None:
        """Make sure that a class of somebody's own names what is there: a wrong name would be a default, silently."""
        wanted = {hp.name for hp in self.hyperparameters.space if is_active(hp, values)}
        if wanted != values.keys():
            odd = sorted(wanted ^ values.keys())
            raise ConfigError(
                f"`propose` of {type(self).__name__} should give each active hyperparameter a value, and no others. "
                f"Received: {values}, which is wrong about {', '.join(map(repr, odd))}. `complete` and "
                "`complete_randomly` fill in what is missing."
            )

    def _values(self, trial_id: str) -> Values:
        values: Values = self.trials[trial_id].hyperparameters.values
        return values

    def _untried_of_small_space(self) -> Values | None:
        # Chance finds the last few of a small space late or never; counting them does.
        untried = [values for values in self._first_values(_SMALL_SPACE) if self.is_new(values)]
        return self._rng.choice(untried) if untried else None

    def _first_values(self, limit: int) -> Iterator[Values]:
        values = next_values(self.hyperparameters, None)
        while values is not None and limit > 0:
            yield values
            limit -= 1
            values = next_values(self.hyperparameters, values)
