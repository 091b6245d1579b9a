from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.testing import play
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners._evolution import EvolutionOracle

Score = Callable[[dict[str, Any]], float]

OPS = "abcdef"


@pytest.fixture(autouse=True)
def _no_files(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches that are not gone on with spare the time that KerasTuner takes to write each trial down."""
    if "tmp_path" in request.fixturenames:
        return
    monkeypatch.setattr(keras_tuner.Oracle, "save", lambda self: None)
    monkeypatch.setattr(keras_tuner.Oracle, "_save_trial", lambda self, trial: None)


def blocks() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    for block in ("one", "two"):
        for name in ("a", "b", "c"):
            hps.Choice(f"{block}/{name}", list(OPS))
    hps.Fixed("learning_rate", 0.001)
    hps.Choice("optimizer", ["adam", "sgd", "rmsprop"])
    return hps


def letters(values: dict[str, Any]) -> float:
    return float(sum(OPS.index(value) for name, value in values.items() if "/" in name))


def rate(values: dict[str, Any]) -> float:
    return float(values["rate"])


def conditional() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    hps.Choice("kind", ["x", "y"])
    hps.Float("rate", 0.0, 1.0)
    for kind, low in (("x", 1), ("y", 100)):
        hps.Int("size", low, low + 50, parent_name="kind", parent_values=[kind])
        hps.Int(f"{kind}/depth", 1, 50, parent_name="kind", parent_values=[kind])
    return hps


def oracle(space: keras_tuner.HyperParameters, *, seed: int = 3, **kwargs: Any) -> EvolutionOracle:
    objective = keras_tuner.Objective("score", "max")
    return EvolutionOracle(objective=objective, hyperparameters=space, seed=seed, **kwargs)


def asked(tuner: Tuner) -> TrialSuggestion:
    suggestion = tuner.ask()
    assert isinstance(suggestion, TrialSuggestion)
    return suggestion


def end(tuner: Tuner, trial_id: str, score: float | None) -> None:
    if score is not None:
        tuner.report(trial_id, 0, {"score": score})
    tuner.finish(trial_id, "FAILED" if score is None else "COMPLETED")


def search(tuner: Tuner, score: Score, workers: int = 1) -> list[TrialSuggestion]:
    """The trials in the order in which they ended."""
    return play(tuner, score, workers=workers).ended


def changed(child: TrialSuggestion, parent: TrialSuggestion) -> set[str]:
    return {name for name in child.values if child.values[name] != parent.values.get(name)}


def lineage(trial: TrialSuggestion) -> tuple[int, int | None]:
    """Generation and number of the parent: KerasTuner writes numbers with as many digits as the limit has."""
    parent = trial.note["parent"]
    return trial.note["generation"], None if parent is None else int(parent)


def test_random_trials_come_first_and_then_children_of_known_generation() -> None:
    trials = search(Tuner(oracle(blocks(), population_size=5), max_trials=30), letters)

    assert [trial.note for trial in trials[:5]] == [{"generation": 0, "parent": None}] * 5
    by_id = {trial.trial_id: trial for trial in trials}
    for trial in trials[5:]:
        parent = by_id[trial.note["parent"]]
        assert trial.note["generation"] == parent.note["generation"] + 1
        assert changed(trial, parent)
    assert max(trial.note["generation"] for trial in trials) > 2


def test_mutations_change_a_value_or_a_block_or_rarely_everything() -> None:
    space = keras_tuner.HyperParameters()
    for name in ("one/a", "one/b", "one/c", "two/a", "two/b", "two/c", "rate"):
        space.Float(name, 0.0, 1.0)
    space.Fixed("learning_rate", 0.001)
    tuner = Tuner(oracle(space, population_size=1), max_trials=400)
    parent = asked(tuner)
    end(tuner, parent.trial_id, 0.0)

    names = [frozenset(changed(asked(tuner), parent)) for _ in range(350)]
    tuner.close()

    counts = {part: names.count(part) for part in names}
    values, sides = [part for part in counts if len(part) == 1], [part for part in counts if len(part) == 3]
    assert len(values) == 7
    assert sorted(map(sorted, sides)) == [[f"{side}/{name}" for name in "abc"] for side in ("one", "two")]
    assert {len(part) for part in counts} == {1, 3, 7}
    # Seven values of weight 1, two blocks of 1/3, the root of 1/7: 314, 30 and 6 of 350 are expected.
    assert sum(counts[part] for part in values) > 295
    assert min(counts[part] for part in values) > 25
    assert sum(counts[part] for part in sides) > sum(count for part, count in counts.items() if len(part) == 7)


def test_the_best_trial_is_no_parent_any_more_when_it_is_old() -> None:
    falling = itertools.count(0, -1)
    evolution = oracle(blocks(), population_size=4, sample_size=3)
    trials = search(Tuner(evolution, max_trials=40), lambda _: float(next(falling)), 3)

    order = [trial.trial_id for trial in trials]
    starts = sorted(trials, key=lambda trial: trial.trial_id)
    for number, trial in enumerate(starts[4:], start=4):
        # Three run at a time: two fewer than are asked for have ended.
        known = order[: number - 2]
        assert trial.note["parent"] in known[-4:]


@pytest.mark.parametrize(("sample_size", "least", "most"), [(100, 1.0, 1.0), (1, 0.0, 0.5)])
def test_the_tournament_is_won_by_the_best_of_it(sample_size: int, least: float, most: float) -> None:
    tuner = Tuner(oracle(blocks(), population_size=8, sample_size=sample_size), max_trials=28)
    scores = {asked(tuner).trial_id: float(score) for score in (3, 1, 7, 0, 2, 6, 4, 5)}
    for trial_id, score in scores.items():
        end(tuner, trial_id, score)
    parents = [asked(tuner).note["parent"] for _ in range(20)]
    tuner.close()

    share = parents.count(max(scores, key=lambda name: scores[name])) / 20
    assert least <= share <= most


def test_low_losses_win_where_the_objective_is_minimised() -> None:
    objective = keras_tuner.Objective("score", "min")
    evolution = EvolutionOracle(objective=objective, hyperparameters=blocks(), seed=0, population_size=3)
    tuner = Tuner(evolution, max_trials=10)
    first = [asked(tuner).trial_id for _ in range(3)]
    for trial_id, score in zip(first, (2.0, 0.5, 3.0), strict=True):
        end(tuner, trial_id, score)

    assert {asked(tuner).note["parent"] for _ in range(3)} == {first[1]}
    tuner.close()


def test_failed_trials_have_no_children() -> None:
    tuner = Tuner(oracle(blocks(), population_size=4), max_trials=30)
    for _ in range(8):
        trial = asked(tuner)
        assert trial.note["parent"] is None
        end(tuner, trial.trial_id, None)
    survivor = asked(tuner)
    end(tuner, survivor.trial_id, 0.0)

    for _ in range(8):
        trial = asked(tuner)
        assert trial.note["parent"] == survivor.trial_id
        end(tuner, trial.trial_id, None)
    tuner.close()


def test_asks_do_not_wait_for_results() -> None:
    tuner = Tuner(oracle(blocks(), population_size=4), max_trials=40)
    first = [asked(tuner) for _ in range(16)]
    end(tuner, first[9].trial_id, 1.0)
    second = [asked(tuner) for _ in range(16)]
    tuner.close()

    assert all(trial.note["generation"] == 0 for trial in first)
    assert all(trial.note == {"generation": 1, "parent": first[9].trial_id} for trial in second)
    assert len({tuple(trial.values.items()) for trial in first + second}) == 32


def test_children_inherit_weights_only_if_told_to() -> None:
    for inherit in (True, False):
        trials = search(Tuner(oracle(blocks(), population_size=3, inherit_weights=inherit), max_trials=9), letters)

        assert [t.parent for t in trials] == [t.note["parent"] if inherit else None for t in trials]


def test_a_changed_choice_takes_its_own_part_and_leaves_the_rest() -> None:
    trials = search(
        Tuner(oracle(conditional(), population_size=5, mutations=1), max_trials=150), lambda v: v["rate"], workers=3
    )

    by_id = {trial.trial_id: trial for trial in trials}
    switched = []
    for trial in trials:
        kind = trial.values["kind"]
        low = 1 if kind == "x" else 100
        assert set(trial.values) == {"kind", "rate", "size", f"{kind}/depth"}
        assert low <= trial.values["size"] <= low + 50
        parent = by_id.get(trial.note["parent"])
        if parent is not None and changed(trial, parent) == {"kind", "size", f"{kind}/depth"}:
            switched.append(trial.values["size"] - low)
    # The size that the other kind had is drawn anew, all over its range.
    assert len(switched) > 10
    assert max(switched) - min(switched) > 20


@pytest.mark.parametrize("redraw", [0.0, 1.0])
def test_numbers_move_to_near_values_or_are_drawn_anew(redraw: float) -> None:
    space = keras_tuner.HyperParameters()
    for name in "abc":
        space.Float(name, 1e-6, 1.0, sampling="log")
    space.Int("layers", 1, 20)
    evolution = oracle(space, population_size=5, redraw=redraw, step_size=0.02)
    trials = search(Tuner(evolution, max_trials=80), lambda v: -abs(v["layers"] - 10), workers=2)

    by_id = {trial.trial_id: trial for trial in trials}
    entries = {hp.name: hp for hp in space.space}
    moves = []
    for trial in trials:
        parent = by_id.get(trial.note["parent"])
        names = changed(trial, parent) if parent else set()
        if parent and len(names) == 1:
            (name,) = names
            hp = entries[name]
            moves.append(abs(hp.value_to_prob(trial.values[name]) - hp.value_to_prob(parent.values[name])))
    assert len(moves) > 40
    # Near: five standard deviations, or two steps where the first one had been taken before.
    assert (max(moves) < 0.11) == (redraw == 0.0)


@pytest.mark.parametrize("mutations", [1, 3])
def test_a_child_is_as_many_mutations_away_as_told(mutations: int) -> None:
    space = keras_tuner.HyperParameters()
    for number in range(20):
        space.Float(f"n{number}", 0.0, 1.0)
    tuner = Tuner(oracle(space, population_size=1, mutations=mutations), max_trials=60)
    parent = asked(tuner)
    end(tuner, parent.trial_id, 0.0)
    changes = [len(changed(asked(tuner), parent)) for _ in range(50)]
    tuner.close()

    assert changes.count(mutations) > 30


@pytest.mark.parametrize("step_size", [0.0, 0.001])
def test_numbers_with_few_values_move_both_ways_by_one_of_them(step_size: float) -> None:
    space = keras_tuner.HyperParameters()
    for number in range(30):
        space.Int(f"n{number}", 0, 8, step=2)
    start = {f"n{number}": 4 for number in range(30)}
    evolution = oracle(space, population_size=1, redraw=0.0, step_size=step_size, initial_hps=[start])
    tuner = Tuner(evolution, max_trials=100)
    parent = asked(tuner)
    end(tuner, parent.trial_id, 0.0)
    children = [asked(tuner) for _ in range(40)]
    tuner.close()

    steps = [(child, changed(child, parent)) for child in children]
    moved = [child.values[name] for child, names in steps for name in names if len(names) == 1]
    assert set(moved) == {2, 6}
    assert 10 < moved.count(2) < 30


@pytest.mark.parametrize("parallel", [1, 4])
def test_a_small_space_is_used_up_without_repetition(parallel: int) -> None:
    space = keras_tuner.HyperParameters()
    space.Choice("a", [0, 1, 2])
    space.Boolean("b")
    space.Fixed("c", 1)
    trials = search(Tuner(oracle(space, population_size=2), max_trials=100), lambda v: v["a"], parallel)

    assert len({tuple(trial.values.items()) for trial in trials}) == len(trials) == 6


def test_a_space_without_choices_has_one_trial() -> None:
    space = keras_tuner.HyperParameters()
    space.Fixed("c", 1)

    assert len(search(Tuner(oracle(space, population_size=1), max_trials=5), lambda v: 0.0)) == 1


def test_equal_seeds_give_equal_trials_whatever_numpy_draws() -> None:
    def trials(seed: int) -> list[dict[str, Any]]:
        np.random.rand(seed + len(found))
        return [
            trial.values
            for trial in search(Tuner(oracle(blocks(), seed=seed, population_size=3), max_trials=12), letters)
        ]

    found: list[Any] = []
    found.append(trials(1))
    assert trials(1) == found[0]
    assert trials(2) != found[0]


def test_state_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole = search(Tuner(oracle(conditional(), population_size=4), max_trials=14), rate)
    begun = search(Tuner(oracle(conditional(), population_size=4), max_trials=8, directory=tmp_path), rate)
    again = oracle(conditional(), population_size=4, seed=99)
    rest = search(Tuner(again, max_trials=14, directory=tmp_path, resume=True), rate)

    assert [(t.values, lineage(t)) for t in begun + rest] == [(t.values, lineage(t)) for t in whole]
    assert max(trial.note["generation"] for trial in rest) > 1


def test_a_replayed_search_goes_on_as_the_one_it_replays() -> None:
    first, second = (Tuner(oracle(conditional(), population_size=3, inherit_weights=True), max_trials=20) for _ in "ab")
    for number in range(12):
        trial = asked(first)
        second.readmit(trial.trial_id, trial.values, trial.parent, trial.note)
        for tuner in (first, second):
            end(tuner, trial.trial_id, None if number % 5 == 4 else trial.values["rate"])

    one, other = asked(first), asked(second)
    first.close()
    second.close()
    assert (one.values, one.parent, one.note) == (other.values, other.parent, other.note)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("population_size", 0),
        ("population_size", 2.5),
        ("sample_size", 0),
        ("mutations", 0),
        ("redraw", 1.5),
        ("step_size", -0.1),
        ("inherit_weights", "no"),
    ],
)
def test_wrong_options_are_refused(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"Argument `{option}`.*Received: {option}={value!r}"):
        oracle(blocks(), **{option: value})


def test_rejected_trials_are_none_of_the_random_ones() -> None:
    tuner = Tuner(oracle(blocks(), population_size=4), max_trials=30)
    for number in range(7):
        trial = asked(tuner)
        assert trial.note["generation"] == 0
        if number % 2:
            tuner.reject(trial.trial_id, "too large")
        else:
            end(tuner, trial.trial_id, letters(trial.values))
    assert asked(tuner).note["generation"] == 1
    tuner.close()
