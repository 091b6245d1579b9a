"""Tree-structured Parzen estimators over all hyperparameters together, by Optuna."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from cerebro_nas.tuners._branches import Branch
from cerebro_nas.tuners._branches import draw_branch
from cerebro_nas.tuners._checks import check_int
from cerebro_nas.tuners._checks import check_number
from cerebro_nas.tuners._seeded import Observation
from cerebro_nas.tuners._stages import Values
from cerebro_nas.tuners._unit_cube import Axis
from cerebro_nas.tuners._unit_cube import Codes
from cerebro_nas.tuners._unit_cube import Cube
from cerebro_nas.tuners._unit_cube import CubeOracle

_ATTEMPTS = 3
# Optuna wants to know when; nothing depends on it.
_WHEN = datetime(2000, 1, 1)


class MultivariateTPEOracle(CubeOracle):
    """Bayesian search with a tree-structured Parzen estimator of whole configurations, as Optuna has it.

    Where TPE (see `TPEOracle`) models one hyperparameter at a time, this models how they go together. In a conditional
    space those that are always active together are modelled together (Optuna's `group`). Running trials are among the
    bad ones (its `constant_liar`), and so are failed ones.

    Optuna is an optional package: `pip install -e '.[optuna]'`.

    Sources: Bergstra, Bardenet, Bengio, Kégl, "Algorithms for Hyper-Parameter Optimization" (2011); Falkner, Klein,
    Hutter, "BOHB: Robust and Efficient Hyperparameter Optimization at Scale" (2018), for the joint density.

    Args:
        n_startup_trials: random trials that must succeed first; at least 1.
        n_ei_candidates: candidates drawn for a proposal; at least 1.
        branching: probability that a proposal is made in another branch of a conditional space than that of the best
            trial (another kind of network, say); what only that branch has is then modelled from the trials there.
            0 to 1; 0 is Optuna's own behaviour.
        **kwargs: see `SeededOracle`.

    Raises:
        ImportError: Optuna is not installed.
    """

    def __init__(
        self, *, n_startup_trials: int = 10, n_ei_candidates: int = 24, branching: float = 0.4, **kwargs: Any
    ) -> None:
        _need_optuna()
        super().__init__(**kwargs)
        check_int("n_startup_trials", n_startup_trials, least=1)
        check_int("n_ei_candidates", n_ei_candidates, least=1)
        self.n_startup_trials = n_startup_trials
        check_number("branching", branching, 0, 1)
        self.n_ei_candidates = n_ei_candidates
        self.branching = branching
        # Follows from the trials, see `CubeOracle`.
        self._told: dict[str, tuple[float | None, int, Any]] = {}

    def propose(self) -> Values | None:
        """The candidate that is likeliest to be good, or random values at first."""
        observations = self.observations()
        done = sum(item.loss is not None for item in observations)
        if done < self.n_startup_trials or not self.cube.free:
            return self.fresh_random_values()
        ended = [(item.values, item.loss) for item in observations]
        branch = draw_branch(self.hyperparameters, ended, self.branching, self._rng)
        values: Values = {}
        for _ in range(_ATTEMPTS):
            values = self._suggest(branch)
            if self.is_new(values):
                return values
        return self.settle(values)

    def _finished(self, observations: Sequence[Observation], *, most_failed: int) -> list[Any]:
        """The trials that have ended, for Optuna."""
        # It takes a tenth of them for good: with many failed ones, some of those would be.
        failed = [item.trial_id for item in observations if item.loss is None]
        forgotten = set(failed[: max(0, len(failed) - most_failed)])
        return [self._as_told(item) for item in observations if item.trial_id not in forgotten]

    def _as_told(self, item: Observation) -> Any:
        known = self._told.get(item.trial_id)
        if known is None or known[:2] != (item.loss, len(self.cube.axes)):
            # Optuna ranks what it calls pruned behind all that is complete.
            state = "PRUNED" if item.loss is None else "COMPLETE"
            known = (item.loss, len(self.cube.axes), _trial(self.cube, self.codes_of(item), state, item.loss))
            self._told[item.trial_id] = known
        return known[2]

    def _suggest(self, branch: Branch | None) -> Values:
        inside = None if branch is None else self._ask(branch)
        trial = self._ask(None)
        given = {} if branch is None else self.cube.codes_within(branch)

        def pick(axis: Axis) -> float:
            if axis.key in given:
                return given[axis.key]
            if branch is None or not branch.owns(axis.hp):
                return _pick(trial, axis)
            return axis.encode(self.sample(axis.hp)) if inside is None else _pick(inside, axis)

        return self.cube.walk(pick)

    def _ask(self, branch: Branch | None) -> Any:
        """What Optuna makes of the trials in a branch, or of all; None: none of them has a result."""
        ended = [item for item in self.observations() if branch is None or branch.holds(item.values)]
        running = [values for values in self.pending() if branch is None or branch.holds(values)]
        done = sum(item.loss is not None for item in ended)
        if not done:
            return None
        told = self._finished(ended, most_failed=done)
        told += [_trial(self.cube, self.cube.codes(values), "RUNNING") for values in running]
        for number, trial in enumerate(told):
            trial.number = number - len(told)  # the one that is asked for has number 0
        return _ask(told, self.n_ei_candidates, self._rng.getrandbits(32))


def _ask(told: Sequence[Any], n_ei_candidates: int, seed: int) -> Any:
    """A new trial of a study with these trials."""
    import optuna

    class Told(optuna.storages.InMemoryStorage):
        """A storage that has trials without having copied them, which takes longer than all the rest."""

        def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Any = None) -> list[Any]:
            own = super().get_all_trials(study_id, deepcopy, states)
            return [trial for trial in told if states is None or trial.state in states] + own

    level = optuna.logging.get_verbosity()
    try:
        # It would tell of each study, and that `group` may change.
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampler = optuna.samplers.TPESampler(
                multivariate=True,
                group=True,
                constant_liar=True,
                n_startup_trials=1,
                n_ei_candidates=n_ei_candidates,
                seed=seed,
            )
            return optuna.create_study(storage=Told(), sampler=sampler).ask()
    finally:
        optuna.logging.set_verbosity(level)


def _trial(cube: Cube, codes: Codes, state: str, loss: float | None = None) -> Any:
    import optuna

    axes = [axis for axis in cube.free if axis.key in codes]
    return optuna.trial.FrozenTrial(
        number=-1,
        trial_id=-1,
        state=optuna.trial.TrialState[state],
        value=loss,
        params={axis.key: codes[axis.key] for axis in axes},
        distributions={axis.key: _distribution(axis) for axis in axes},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
        datetime_start=_WHEN,
        datetime_complete=None if state == "RUNNING" else _WHEN,
    )


@lru_cache(maxsize=4096)
def _distribution(axis: Axis) -> Any:
    from optuna import distributions

    if axis.kind == "category":
        return distributions.CategoricalDistribution(range(axis.size))
    if axis.kind == "continuous":
        return distributions.FloatDistribution(0.0, 1.0)
    return distributions.IntDistribution(int(axis.low), int(axis.high), log=axis.kind == "integers")


def _pick(trial: Any, axis: Axis) -> float:
    if axis.kind == "category":
        return int(trial.suggest_categorical(axis.key, range(axis.size)))
    if axis.kind == "continuous":
        return float(trial.suggest_float(axis.key, 0.0, 1.0))
    return int(trial.suggest_int(axis.key, int(axis.low), int(axis.high), log=axis.kind == "integers"))


def _need_optuna() -> None:
    if importlib.util.find_spec("optuna") is None:
        raise ImportError(
            "The tuner 'multivariate_tpe' needs the package 'optuna', which is not installed. "
            "Install it in the checkout of cerebro_nas: pip install -e '.[optuna]'"
        )
