from __future__ import annotations

import json
from typing import Any

import keras_tuner
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners import Exhausted
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners import Wait
from cerebro_nas.tuners._seeded import NeedsResults
from cerebro_nas.tuners._seeded import Observation
from cerebro_nas.tuners._seeded import SeededOracle
from cerebro_nas.tuners._stages import Proposal


class Recorder(SeededOracle):
    """Proposes by its generators, and keeps what it is told."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(objective=keras_tuner.Objective("score", "max"), hyperparameters=space(), **kwargs)
        self.told: list[Any] = []
        self.waits = False

    def propose(self) -> Proposal | None:
        if self.waits:
            raise NeedsResults
        rate = float(self.generator().random())
        return Proposal(self.complete_randomly({"kind": "x", "rate": rate}), None, {"number": self.number})

    def entered(self, trial_id: str, proposal: Proposal) -> None:
        self.told.append((trial_id, proposal))

    def observe(self, observation: Observation) -> None:
        self.told.append(observation)


def space() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    hps.Choice("kind", ["x", "y"])
    hps.Float("rate", 0.0, 1.0)
    hps.Int("x/size", 1, 4, default=2, parent_name="kind", parent_values=["x"])
    hps.Int("y/size", 5, 8, default=6, parent_name="kind", parent_values=["y"])
    return hps


def tuner_of(oracle: keras_tuner.Oracle, max_trials: int | None = 20) -> Tuner:
    oracle.max_trials = max_trials
    return Tuner(oracle, max_trials=max_trials)


def asked(tuner: Tuner) -> TrialSuggestion:
    answer = tuner.ask()
    assert isinstance(answer, TrialSuggestion)
    return answer


def test_both_generators_begin_anew_with_each_proposal() -> None:
    first, second = Recorder(seed=4), Recorder(seed=4)
    tuners = tuner_of(first), tuner_of(second)
    draws = []
    for _ in range(3):
        # One of the two draws numbers in between; what it is asked next stays the same.
        first.propose()
        first.generator().random(100)
        draws.append([asked(tuner).values for tuner in tuners])

    assert all(one == other for one, other in draws)
    assert len({json.dumps(one) for one, _ in draws}) == 3
    for tuner in tuners:
        tuner.close()


def test_seed_nought_is_a_seed_and_none_is_none() -> None:
    def first(seed: int | None) -> dict[str, Any]:
        tuner = tuner_of(Recorder(seed=seed))
        values = asked(tuner).values
        tuner.close()
        return values

    assert first(0) == first(0) != first(1)
    assert first(None) != first(None)


def test_an_expected_proposal_is_entered_as_if_proposed() -> None:
    oracle = Recorder(seed=1)
    tuner = tuner_of(oracle)
    wanted = Proposal({"kind": "y", "rate": 0.5, "y/size": 7}, "00", {"place": [1, 2]})
    oracle.expect(wanted)
    suggestion = asked(tuner)

    assert (suggestion.values, suggestion.parent, suggestion.note) == (wanted.values, "00", {"place": [1, 2]})
    assert oracle.proposal_of(suggestion.trial_id) == wanted
    assert oracle.told == [(suggestion.trial_id, wanted)]
    assert asked(tuner).note == {"number": 1}
    tuner.close()


def test_observations_come_in_the_order_of_their_ends() -> None:
    oracle = Recorder(seed=1)
    tuner = tuner_of(oracle)
    trials = [asked(tuner) for _ in range(4)]
    for index, score in ((2, 0.7), (0, None), (3, 0.1)):
        if score is not None:
            tuner.report(trials[index].trial_id, 0, {"score": score})
        tuner.finish(trials[index].trial_id, "COMPLETED")

    wanted = [Observation(trials[i].trial_id, trials[i].values, loss) for i, loss in ((2, -0.7), (0, None), (3, -0.1))]
    assert oracle.observations() == wanted
    assert oracle.told[4:] == wanted
    assert oracle.pending() == [trials[1].values]
    tuner.close()


def test_who_needs_results_is_asked_again_with_the_same_number() -> None:
    oracle, other = Recorder(seed=1), Recorder(seed=1)
    tuner, tuner2 = tuner_of(oracle), tuner_of(other)
    oracle.waits = True

    assert [tuner.ask(), tuner.ask()] == [Wait(), Wait()]
    assert (oracle.number, oracle.told) == (0, [])
    oracle.waits = False
    assert asked(tuner).values == asked(tuner2).values
    tuner.close()
    tuner2.close()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, {"kind": "x", "rate": 0.0, "x/size": 2}),
        ({"kind": "y", "x/size": 3}, {"kind": "y", "rate": 0.0, "y/size": 6}),
        ({"y/size": 8, "rate": 0.5, "unknown": 1}, {"kind": "x", "rate": 0.5, "x/size": 2}),
    ],
)
def test_completing_follows_the_conditions(given: dict[str, Any], wanted: dict[str, Any]) -> None:
    oracle = Recorder(seed=1)
    found = oracle.complete_randomly(given)

    assert oracle.complete(given) == wanted
    assert {name: value for name, value in given.items() if name in found}.items() <= found.items()
    assert set(found) == {"kind", "rate", f"{found['kind']}/size"}


def test_a_small_space_is_counted_when_chance_finds_no_more() -> None:
    class Small(SeededOracle):
        def propose(self) -> dict[str, Any] | None:
            return self.fresh_random_values()

    hps = keras_tuner.HyperParameters()
    hps.Int("a", 0, 299)
    oracle = Small(objective="val_loss", hyperparameters=hps, seed=2)
    # No luck at all.
    oracle._max_collisions = 0
    tuner = tuner_of(oracle, None)

    assert sorted(asked(tuner).values["a"] for _ in range(300)) == list(range(300))
    assert isinstance(tuner.ask(), Exhausted)
    tuner.close()


def test_notes_and_number_survive_json() -> None:
    oracle = Recorder(seed=3)
    tuner = tuner_of(oracle)
    oracle.expect(Proposal({"kind": "x", "rate": 0.5, "x/size": 1}, None, {"bracket": 2}))
    name = asked(tuner).trial_id
    restored = Recorder(seed=99)
    restored.trials = dict(oracle.trials)
    restored.set_state(json.loads(json.dumps(oracle.get_state())))

    assert restored.proposal_of(name) == oracle.proposal_of(name)
    assert restored.number == 1
    assert restored.populate_space("next") == oracle.populate_space("next")
    tuner.close()


class RandomOnes(SeededOracle):
    def propose(self) -> dict[str, Any] | None:
        return self.fresh_random_values()


def units_space() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    hps.Int("units", 1, 100)
    return hps


def with_starts(space_of: keras_tuner.HyperParameters) -> RandomOnes:
    starts = [{}, {}, {"units": 1}, {"units": 7}, {"units": 7}]
    return RandomOnes(objective="val_loss", hyperparameters=space_of, seed=3, initial_hps=starts)


def test_starting_configurations_that_are_the_same_are_tried_once() -> None:
    tuner = tuner_of(with_starts(units_space()), 6)
    values = [asked(tuner).values["units"] for _ in range(6)]

    assert values[:2] == [1, 7]
    assert len(set(values)) == 6
    tuner.close()


@pytest.mark.parametrize("before", range(5))
def test_a_search_that_is_gone_on_with_skips_the_same_starting_configurations(before: int) -> None:
    tuner, again = tuner_of(with_starts(units_space())), tuner_of(with_starts(units_space()))
    for _ in range(before):
        suggestion = asked(tuner)
        again.readmit(suggestion.trial_id, suggestion.values, suggestion.parent, suggestion.note)

    assert [asked(again).values for _ in range(4)] == [asked(tuner).values for _ in range(4)]
    tuner.close()
    again.close()


def test_a_starting_configuration_that_was_tried_meanwhile_is_skipped() -> None:
    hps = keras_tuner.HyperParameters()
    oracle = with_starts(hps)
    tuner = tuner_of(oracle)
    assert asked(tuner).values == {}
    # In a space that grows, what was one configuration may become two.
    oracle.expect(Proposal({"units": 7}))
    tuner.update_space(units_space())
    assert asked(tuner).values == {"units": 7}

    assert asked(tuner).values["units"] not in (1, 7)
    tuner.close()


@pytest.mark.parametrize("values", [{}, {"unts": 1}, {"units": 3, "rate": 0.1}])
def test_values_of_other_names_are_refused(values: dict[str, Any]) -> None:
    class Mistaken(SeededOracle):
        def propose(self) -> dict[str, Any] | None:
            return dict(values)

    tuner = tuner_of(Mistaken(objective="val_loss", hyperparameters=units_space(), seed=3), 6)
    with pytest.raises(ConfigError, match="`propose` of Mistaken should give each active hyperparameter a value"):
        tuner.ask()
    tuner.close()
