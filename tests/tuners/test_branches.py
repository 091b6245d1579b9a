"""Branches of a conditional space: which there are, which is drawn, and that proposals keep to the one that is."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import keras_tuner
import numpy as np
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners import make_tuner
from cerebro_nas.tuners._branches import Branch
from cerebro_nas.tuners._branches import draw_branch
from cerebro_nas.tuners._branches import other_branches
from cerebro_nas.tuners._encoding import Encoding

NAMES = ("bayesian", "tpe", "multivariate_tpe")


def deep() -> keras_tuner.HyperParameters:
    """Two choices that others depend on, one under the other, and three that nothing depends on but in number."""
    hp = keras_tuner.HyperParameters()
    hp.Choice("plain", ["x", "y"])
    hp.Choice("layers", [1, 2, 3])
    with hp.conditional_scope("layers", [2, 3]):
        hp.Choice("second", [8, 16])
    hp.Choice("model", ["tree", "net", "line"])
    with hp.conditional_scope("model", ["tree"]):
        hp.Float("depth", 0.0, 1.0)
    with hp.conditional_scope("model", ["net"]):
        hp.Boolean("adam")
        with hp.conditional_scope("adam", [True]):
            hp.Float("rate", 0.0, 1.0)
    return hp


TREE = {"plain": "x", "layers": 1, "model": "tree", "depth": 0.5}
NET: dict[str, Any] = {"plain": "x", "layers": 1, "model": "net", "adam": False}


def test_only_choices_without_order_that_others_depend_on_branch() -> None:
    found = other_branches(deep(), TREE, random.Random(0))

    assert found == [Branch("model", "net"), Branch("model", "line")]


def test_choices_of_the_best_trial_take_turns() -> None:
    found = {branch for seed in range(20) for branch in other_branches(deep(), NET, random.Random(seed))}

    assert found == {Branch("model", "tree"), Branch("model", "line"), Branch("adam", True, (("model", "net"),))}


def test_a_space_without_conditions_has_none() -> None:
    hp = keras_tuner.HyperParameters()
    hp.Choice("model", ["tree", "net"])
    known = [({"model": "tree"}, 1.0)]

    assert other_branches(hp, known[0][0], random.Random(0)) == []
    assert draw_branch(hp, known, 1.0, random.Random(0)) is None


def test_branches_that_promise_more_are_drawn_more_often() -> None:
    known = [(TREE, 0.1), (NET, 0.2), ({**TREE, "model": "line"}, 0.3)]
    drawn = Counter(draw_branch(deep(), known, 0.5, random.Random(seed)) for seed in range(600))

    assert 250 < drawn[None] < 350
    assert 1.5 < drawn[Branch("model", "net")] / drawn[Branch("model", "line")] < 2.7


def test_a_branch_without_a_result_comes_first() -> None:
    known = [(TREE, 0.1), (NET, 0.2)]
    drawn = Counter(draw_branch(deep(), known, 1.0, random.Random(seed)) for seed in range(300))

    assert drawn[Branch("model", "line")] > 1.5 * drawn[Branch("model", "net")]
    assert draw_branch(deep(), [], 1.0, random.Random(0)) is None


def test_rows_are_brought_into_a_branch_and_told_from_others() -> None:
    encoding, branch = Encoding(deep().space), Branch("adam", True, (("model", "net"),))
    units = np.random.default_rng(0).random((50, len(encoding.dimensions)))
    encoding.fix(units, branch)
    rows = encoding.settle(units)

    assert encoding.within(rows, branch).all()
    assert all(branch.holds(encoding.values(row)) for row in rows)
    assert not encoding.within(encoding.row(TREE)[None], branch).any()
    assert not branch.holds(TREE)


def searched(name: str, branching: float, trials: int = 40) -> list[str]:
    """The models that are proposed where a tree is always best."""
    if name == "multivariate_tpe":
        pytest.importorskip("optuna")
    tuner: Tuner = make_tuner(
        name, objective="val_loss", max_trials=trials, hyperparameters=deep(), seed=3, branching=branching
    )
    models = []
    for _ in range(trials):
        suggestion = tuner.ask()
        assert isinstance(suggestion, TrialSuggestion)
        models.append(suggestion.values["model"])
        loss = 0.1 + suggestion.values.get("depth", 9.0)
        tuner.report(suggestion.trial_id, 0, {"val_loss": loss})
        tuner.finish(suggestion.trial_id, "COMPLETED")
    tuner.close()
    return models


@pytest.mark.parametrize("name", NAMES)
def test_a_share_of_the_proposals_is_made_in_other_branches(name: str) -> None:
    alone, shared = (sum(model != "tree" for model in searched(name, share)[20:]) for share in (0.0, 0.8))

    assert alone <= 10 < shared


@pytest.mark.parametrize("name", NAMES)
def test_a_share_is_between_nothing_and_everything(name: str) -> None:
    if name == "multivariate_tpe":
        pytest.importorskip("optuna")
    with pytest.raises(ConfigError, match="`branching`"):
        make_tuner(name, objective="val_loss", max_trials=2, hyperparameters=deep(), branching=1.5)
