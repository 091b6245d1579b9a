"""Tree-structured Parzen estimators, by hyperopt."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import hyperopt
import numpy as np
from hyperopt import tpe

from cerebro_nas.tuners._branches import Branch
from cerebro_nas.tuners._branches import draw_branch
from cerebro_nas.tuners._checks import check_int
from cerebro_nas.tuners._checks import check_number
from cerebro_nas.tuners._stages import Values
from cerebro_nas.tuners._unit_cube import Axis
from cerebro_nas.tuners._unit_cube import Codes
from cerebro_nas.tuners._unit_cube import CubeOracle

_Row = tuple[float, Codes]
_Spec = tuple[str, str, int, float, float]

_ATTEMPTS = 3
_STARTUP = 20
# hyperopt's kernels are at least a hundredth of the range wide: steps finer than that need not be told apart.
_FINE = 100
# hyperopt's limit for trials that count as good; the same number of the latest ones has full weight in its model.
_MOST_GOOD = tpe.DEFAULT_LF
# Its time grows with the trials it is given (a Python loop over them for each stepped hyperparameter), and the older
# they are the less they weigh.
_LATEST = 500


class TPEOracle(CubeOracle):
    """Bayesian search with tree-structured Parzen estimators, as hyperopt has them.

    Trials are split into good ones and others. Of each hyperparameter, a density of its values is estimated in either
    part, candidates are drawn from that of the good ones, and the one is taken whose densities have the largest ratio,
    good to others. Running and failed trials are among the others, as in hyperopt, so that what runs is not proposed
    again.

    Conditional hyperparameters: hyperopt models each hyperparameter by itself, from the trials in which it was active
    and with all trials' losses for the split. Hence its domain need not be nested (conditions on several parents
    could not be): it is asked for what is active without conditions, then for what is active given that, and so on,
    which comes to the same.

    Ranges: real numbers have hyperopt's `uniform` on the scale of the range; steps, integers and ordered choices
    `quniform` (integers on a logarithmic scale `qloguniform`); unordered choices and Booleans its categorical
    distribution. Of more than 500 trials, it is given the good ones and the latest.

    Source: Bergstra, Bardenet, Bengio, Kégl, "Algorithms for Hyper-Parameter Optimization" (2011).

    Args:
        gamma: of n trials that succeeded, `gamma * sqrt(n)` count as good (25 at most); above 0. hyperopt itself has
            0.25, which leaves less to learn from.
        prior_weight: weight of the prior, in trials; above 0.
        n_ei_candidates: candidates drawn for each hyperparameter; at least 1.
        n_startup_jobs: random trials that must succeed first; at least 0. None: hyperopt's 20, but no more than a
            fifth of `max_trials`.
        branching: probability that a proposal is made in another branch of a conditional space than that of the best
            trial (another kind of network, say); what only that branch has is then modelled from the trials there.
            0 to 1; 0 is hyperopt's own behaviour.
        **kwargs: see `SeededOracle`.
    """

    def __init__(
        self,
        *,
        gamma: float = 0.75,
        prior_weight: float = 1.0,
        n_ei_candidates: int = 24,
        n_startup_jobs: int | None = None,
        branching: float = 0.4,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_number("gamma", gamma, 0, above=True)
        check_number("prior_weight", prior_weight, 0, above=True)
        check_int("n_ei_candidates", n_ei_candidates, least=1)
        if n_startup_jobs is not None:
            check_int("n_startup_jobs", n_startup_jobs, least=0)
        self.gamma = gamma
        self.prior_weight = float(prior_weight)
        self.n_ei_candidates = n_ei_candidates
        check_number("branching", branching, 0, 1)
        if n_startup_jobs is None:
            n_startup_jobs = _STARTUP if self.max_trials is None else min(_STARTUP, self.max_trials // 5)
        self.n_startup_jobs = n_startup_jobs
        self.branching = branching

    def propose(self) -> Values | None:
        """The candidate that is likeliest to be good, or random values at first."""
        observations = self.observations()
        done = sum(item.loss is not None for item in observations)
        if done < max(1, self.n_startup_jobs) or not self.cube.free:
            return self.fresh_random_values()
        ended = [(item.values, item.loss) for item in observations]
        branch = draw_branch(self.hyperparameters, ended, self.branching, self._rng)
        rows = [(math.inf if item.loss is None else item.loss, self.codes_of(item)) for item in observations]
        rows += [(math.inf, self.cube.codes(values)) for values in self.pending()]
        values: Values = {}
        for _ in range(_ATTEMPTS):
            values = self._suggest(rows, branch)
            if self.is_new(values):
                return values
        return self.settle(values)

    def _suggest(self, rows: Sequence[_Row], branch: Branch | None) -> Values:
        codes = {} if branch is None else self.cube.codes_within(branch)
        inside = [row for row in rows if row[1].items() >= codes.items()]
        while True:
            values, waiting = self.cube.part(codes)
            if not waiting:
                return values
            own = [axis for axis in waiting if branch is not None and branch.owns(axis.hp)]
            others = [axis for axis in waiting if axis not in own]
            codes = {**codes, **self._ask(others, rows), **self._ask(own, inside)}

    def _split(self, rows: Sequence[_Row]) -> tuple[list[_Row], int]:
        """The trials that hyperopt is given, and how many of them are good."""
        done = sum(loss < math.inf for loss, _ in rows)
        good = min(math.ceil(self.gamma * math.sqrt(done)), _MOST_GOOD, done)
        best = sorted(range(len(rows)), key=lambda index: (rows[index][0], index))[:good]
        others = sorted(set(range(len(rows))) - set(best))[-_LATEST:]
        return [rows[index] for index in sorted([*best, *others])], good

    def _ask(self, axes: Sequence[Axis], known: Sequence[_Row]) -> Codes:
        rows, good = self._split(known)
        if not axes or not good:
            return {axis.key: axis.encode(self.sample(axis.hp)) for axis in axes}
        domain = _domain(tuple((axis.key, axis.kind, axis.size, axis.low, axis.high) for axis in axes))
        known = hyperopt.trials_from_docs([_doc(n, row, axes) for n, row in enumerate(rows)], validate=False)
        with np.errstate(all="ignore"):
            (found,) = tpe.suggest(
                [len(rows)],
                domain,
                known,
                self._rng.getrandbits(32),
                prior_weight=self.prior_weight,
                n_startup_jobs=0,
                n_EI_candidates=self.n_ei_candidates,
                # It takes gamma * sqrt(trials), rounded up, of the trials it is given.
                gamma=(good - 0.5) / math.sqrt(len(rows)),
                verbose=False,
            )
        return {axis.key: _from_hyperopt(axis, found["misc"]["vals"][axis.key][0]) for axis in axes}


def _doc(number: int, row: _Row, axes: Sequence[Axis]) -> dict[str, Any]:
    loss, codes = row
    active = [axis for axis in axes if axis.key in codes]
    none: dict[str, list[Any]] = {axis.key: [] for axis in axes}
    misc = {
        "tid": number,
        "idxs": none | {axis.key: [number] for axis in active},
        "vals": none | {axis.key: [_to_hyperopt(axis, codes[axis.key])] for axis in active},
    }
    return {"tid": number, "state": hyperopt.JOB_STATE_DONE, "result": {"loss": loss}, "misc": misc}


@lru_cache(maxsize=64)
def _domain(specs: tuple[_Spec, ...]) -> Any:
    """Hyperopt's domain of these hyperparameters; making it takes long, and nothing changes it."""
    return hyperopt.Domain(_unused, [_node(*spec) for spec in specs])


def _node(key: str, kind: str, size: int, low: float, high: float) -> Any:
    if kind == "category":
        return hyperopt.hp.randint(key, size)
    if kind == "continuous" or _fine(kind, size, low, high):
        return hyperopt.hp.uniform(key, 0.0, 1.0)
    if kind == "integers":
        return hyperopt.hp.qloguniform(key, math.log(low - 0.5), math.log(high + 0.5), 1)
    return hyperopt.hp.quniform(key, low - 0.5, high + 0.5, 1)


def _fine(kind: str, size: int, low: float, high: float) -> bool:
    if kind == "integers":
        return low * math.log(high / low) > _FINE
    return size > _FINE


def _to_hyperopt(axis: Axis, code: float) -> float:
    if axis.kind != "category" and _fine(axis.kind, axis.size, axis.low, axis.high):
        return axis.place(code)
    return code


def _from_hyperopt(axis: Axis, value: float) -> float:
    if axis.kind == "continuous":
        return float(value)
    if axis.kind != "category" and _fine(axis.kind, axis.size, axis.low, axis.high):
        return axis.at(value)
    return min(max(round(value), axis.low), axis.high)


def _unused(_: Mapping[str, Any]) -> float:
    return math.nan
