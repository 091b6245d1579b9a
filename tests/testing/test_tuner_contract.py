from __future__ import annotations

import random
from typing import Any

import keras_tuner
import pytest

from cerebro_nas.testing import TunerContract
from cerebro_nas.tuners import RandomOracle


class Repeats(RandomOracle):
    def propose(self) -> Any:
        return self.complete({})


class UsesGlobalState(RandomOracle):
    def propose(self) -> Any:
        return self.complete_randomly({"momentum": random.uniform(0.0, 0.99)})


class LeavesTheGrid(RandomOracle):
    def propose(self) -> Any:
        values = super().propose()
        return values and values | {"units": 17}


class GivesWhatIsInactive(RandomOracle):
    def propose(self) -> Any:
        values = super().propose()
        return values and values | {"loss2": 1}

    def _check_complete(self, values: Any) -> None:
        """Not our base class, which finds that first."""


class Remembers(RandomOracle):
    """What it proposes depends on how often it proposed, which nobody tells it when a search is gone on with."""

    calls = 0

    def propose(self) -> Any:
        self.calls += 1
        return self.complete_randomly({"momentum": self.calls / 1000})


class MixesUpTheDirection(RandomOracle):
    def propose(self) -> Any:
        scores = [trial.score for trial in self.trials.values() if trial.score is not None]
        return self.complete_randomly({"momentum": min(0.99, float(abs(max(scores, default=0.0))) / 10)})


class GivesUpEarly(RandomOracle):
    def propose(self) -> Any:
        return super().propose() if self.number < 4 else None


@pytest.mark.parametrize(
    ("oracle", "test", "match"),
    [
        (Repeats, "test_max_trials_holds_and_may_be_raised", "no configuration is proposed twice"),
        (UsesGlobalState, "test_equal_seeds_give_equal_proposals", "equal seeds give equal proposals"),
        (LeavesTheGrid, "test_failures_harm_nothing", "in its range and on its grid"),
        (GivesWhatIsInactive, "test_failures_harm_nothing", "only active hyperparameters"),
        (Remembers, "test_a_search_is_gone_on_with_after_every_event", "a search that is gone on with gives"),
        (Remembers, "test_state_survives_json", "a restored oracle proposes"),
        (MixesUpTheDirection, "test_maximising_is_minimising_the_negative", "a loss and its negative"),
        (GivesUpEarly, "test_max_trials_holds_and_may_be_raised", "there are max_trials trials"),
    ],
)
def test_what_breaks_a_promise_is_found(oracle: type[keras_tuner.Oracle], test: str, match: str) -> None:
    class Contract(TunerContract):
        def make_oracle(
            self,
            space: keras_tuner.HyperParameters,
            seed: int,
            objective: keras_tuner.Objective,
            max_trials: int | None,
            **kwargs: Any,
        ) -> keras_tuner.Oracle:
            return oracle(hyperparameters=space, seed=seed, objective=objective, max_trials=max_trials, **kwargs)

    with pytest.raises(AssertionError, match=match):
        getattr(Contract(), test)()
