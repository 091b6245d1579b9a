"""Bayesian optimisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from typing import Literal
from typing import get_args

import numpy as np
from scipy.stats import qmc

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners._bayesian_candidates import Search
from cerebro_nas.tuners._bayesian_candidates import expected_improvement
from cerebro_nas.tuners._bayesian_candidates import sample
from cerebro_nas.tuners._bayesian_models import Forest
from cerebro_nas.tuners._bayesian_models import Model
from cerebro_nas.tuners._bayesian_models import Process
from cerebro_nas.tuners._bayesian_models import Scales
from cerebro_nas.tuners._bayesian_models import fit_scales
from cerebro_nas.tuners._bayesian_targets import targets
from cerebro_nas.tuners._branches import Branch
from cerebro_nas.tuners._branches import other_branches
from cerebro_nas.tuners._checks import check_int
from cerebro_nas.tuners._checks import check_number
from cerebro_nas.tuners._checks import check_one_of
from cerebro_nas.tuners._encoding import Encoding
from cerebro_nas.tuners._encoding import Floats
from cerebro_nas.tuners._seeded import Observation
from cerebro_nas.tuners._seeded import SeededOracle
from cerebro_nas.tuners._stages import Values

Surrogate = Literal["gp", "forest"]
Acquisition = Literal["ei", "lcb"]
Pending = Literal["believer", "cl_min", "cl_mean", "cl_max", "qucb"]

_KAPPA, _XI = 1.96, 0.0
# Fewer results than these tell a model nothing, however many trials have begun.
_LEAST_KNOWN = 3
# However few trials there are to be, a design of so many is allowed.
_LEAST_DESIGN = 10
# Length scales are fitted to so many observations at most, and anew only when there are a tenth more.
_FITTED = 200
_ALWAYS_FITTED = 20
_GROWTH = 1.1
# Configurations by which a branch is judged.
_BRANCH_SAMPLE = 500
# Observations that a model is made of at most: the time of a Gaussian process grows with their square and cube.
_MOST = 600
_LIES: dict[str, Callable[[Floats], float]] = {
    "cl_min": lambda known: float(known.min()),
    "cl_mean": lambda known: float(known.mean()),
    "cl_max": lambda known: float(known.max()),
}


class BayesianOracle(SeededOracle):
    """Proposes what a model of the objective, fitted to the results so far, promises most of.

    After an initial design (a scrambled Sobol sequence) a Gaussian process or a forest is fitted to all
    results, and the configuration with the highest acquisition among thousands is proposed: random ones, neighbours
    of the best trials, and neighbours of the best of those, over and over in smaller steps.

    The space may be mixed and conditional. Numbers lie in [0, 1] as they are sampled (logarithmic ranges, steps),
    ordered choices likewise; an unordered choice is one-hot, as its values have no order, with one length scale for
    all of them. What is not active in a configuration takes the middle of its range for the Gaussian process (so that
    two configurations without it do not differ by it, and one without is about as far from every one with it), and a
    value outside of all ranges for the forest, which can split there. The space may grow: trials from before have the
    default of what came later.

    Losses may be noisy: noise is a parameter that is fitted, and improvement is counted from the lowest *mean* of the
    model at a trial, not from the luckiest result. Losses are made nearly normal first, so that outliers do no harm;
    failed trials count as the worst result.

    In a conditional space, a third of the proposals (`branching`) are made in a branch in which the best trial is not:
    with another value of an unordered choice that others depend on, the one whose lower confidence bound is lowest.
    There improvement is counted from the best trial of that branch. Otherwise a search stays where it first was good,
    as the next small gain there is surer than that in a branch which must be set well to be good.

    Sources: Jones, Schonlau, Welch, "Efficient global optimization of expensive black-box functions" (1998); Snoek,
    Larochelle, Adams, "Practical Bayesian optimization of machine learning algorithms" (2012); Ginsbourger, Le Riche,
    Carraro, "Kriging is well-suited to parallelize optimization" (2010) for believer and constant liar; Egele and
    others, "Asynchronous decentralized Bayesian optimization for large scale hyperparameter optimization" (2023) for
    qUCB.

    Args:
        num_initial_points: trials of the initial design, `initial_hps` among them; None: one more than there are
            hyperparameters, but at least 4 and at most 10 or a quarter of `max_trials`.
        surrogate: `"gp"`, a Gaussian process; `"forest"`, randomised trees, for objectives that jump, and large
            spaces of choices.
        acquisition: `"ei"`, expected improvement, or `"lcb"`, lower confidence bound; None: `"lcb"` with
            `pending="qucb"`, `"ei"` otherwise.
        pending: what running trials are taken to come to. `"believer"`: to what the model expects. `"cl_min"`,
            `"cl_mean"`, `"cl_max"` (constant liar): to the best, the mean or the worst result. `"qucb"`: they are left
            out, and each proposal draws its own `kappa` from an exponential distribution instead, so that those made
            at one time differ; costs least with hundreds of trials at a time.
        kappa: (lcb) standard deviations below the mean of the bound; with `"qucb"` the mean of its distribution; 1.96
            if None.
        xi: (ei) improvement below which nothing counts, in standard deviations of the (transformed) losses; 0 if None.
        num_candidates: configurations that are looked at first, for each proposal; half as many again come after.
        branching: probability that a proposal is made in another branch than that of the best trial, 0 to 1; of no
            effect in a space without conditions.
        **kwargs: see `SeededOracle`.

    Raises:
        ConfigError: an argument is wrong.
    """

    def __init__(
        self,
        *,
        num_initial_points: int | None = None,
        surrogate: Surrogate = "gp",
        acquisition: Acquisition | None = None,
        pending: Pending = "believer",
        kappa: float | None = None,
        xi: float | None = None,
        num_candidates: int = 2000,
        branching: float = 1 / 3,
        **kwargs: Any,
    ) -> None:
        check_one_of("surrogate", surrogate, get_args(Surrogate))
        check_one_of("pending", pending, get_args(Pending))
        _check_acquisition(acquisition, pending)
        if num_initial_points is not None:
            check_int("num_initial_points", num_initial_points, least=1)
        check_int("num_candidates", num_candidates, least=10)
        check_number("branching", branching, 0, 1)
        acquisition = acquisition or ("lcb" if pending == "qucb" else "ei")
        _check_parameter("kappa", kappa, acquisition, "lcb")
        _check_parameter("xi", xi, acquisition, "ei")
        super().__init__(**kwargs)
        self.num_initial_points = num_initial_points
        # Of what was asked for at first: rejected trials raise the limit.
        self._most_initial = max(_LEAST_DESIGN, (self.max_trials or 0) // 4)
        self.surrogate = surrogate
        self.acquisition = acquisition
        self.pending_as = pending
        self.kappa = _KAPPA if kappa is None else kappa
        self.xi = _XI if xi is None else xi
        self.num_candidates = num_candidates
        self.branching = branching
        # What was fitted last, and to what; made anew where it is missing.
        self._scales: tuple[tuple[Any, ...], Scales] | None = None

    def propose(self) -> Values | None:
        """A point of the initial design, or the most promising configuration."""
        encoding = Encoding(self.hyperparameters.space)
        done = self.observations()
        if not len(encoding.free):
            return self.fresh_random_values()
        if self._begins(encoding, done):
            values = encoding.values(self._design(encoding))
            return values if self.is_new(values) else self.fresh_random_values()
        return self._most_promising(encoding, done) or self.fresh_random_values()

    def _begins(self, encoding: Encoding, done: list[Observation]) -> bool:
        initial = self.num_initial_points
        if initial is None:
            initial = min(self._most_initial, max(4, len(encoding.free) + 1))
        known = sum(item.loss is not None for item in done)
        return self.number < initial or known < min(_LEAST_KNOWN, initial)

    def _design(self, encoding: Encoding) -> Floats:
        units = np.full((1, len(encoding.dimensions)), 0.5)
        if len(encoding.free) > qmc.Sobol.MAXDIM:
            units[:, encoding.free] = self.generator().random(len(encoding.free))
        else:
            # Scrambled: the first points of the bare sequence have the same coordinate in many dimensions.
            sequence = qmc.Sobol(len(encoding.free), seed=np.random.default_rng(self._base))
            units[:, encoding.free] = sequence.random_base2(self.number.bit_length())[self.number]
        row: Floats = encoding.settle(units)[0]
        return row

    def _most_promising(self, encoding: Encoding, done: list[Observation]) -> Values | None:
        rng = self.generator()
        ended, known = self._history(encoding, done)
        waiting = [encoding.row(values) for values in self.pending()]
        tried = np.concatenate([ended, waiting]) if waiting else ended
        model, rows = self._believe(encoding, ended, known, tried, rng)
        means = model.predict(rows)[0]
        order = np.argsort(means, kind="stable")
        branch = self._branch(encoding, model, rows[order], rng)
        inside = order if branch is None else order[encoding.within(rows[order], branch)]
        best = float(means[inside[0] if len(inside) else order[0]])
        search = Search(encoding, tried, self._acquisition(model, best, rng), rng, branch)
        for row in search.run(rows[inside], self.num_candidates):
            values = encoding.values(row)
            if self.is_new(values):
                return values
        return None

    def _branch(self, encoding: Encoding, model: Model, good: Floats, rng: np.random.Generator) -> Branch | None:
        """Where to look this time; None: everywhere.

        Args:
            encoding: of the space.
            model: what is believed.
            good: what was tried, best first.
            rng: source of chance.
        """
        branches = other_branches(self.hyperparameters, encoding.values(good[0]), self._rng)
        if not branches or rng.random() >= self.branching:
            return None

        def bound(branch: Branch) -> float:
            rows = sample(encoding, good, _BRANCH_SAMPLE, rng, branch)
            if not len(rows):  # chance found no way into it
                return np.inf
            mean, deviation = model.predict(rows)
            return float((mean - _KAPPA * deviation).min())

        return min(branches, key=bound)

    def _history(self, encoding: Encoding, done: list[Observation]) -> tuple[Floats, Floats]:
        rows = np.stack([encoding.row(item.values) for item in done])
        return rows, targets([item.loss for item in done])

    def _believe(
        self, encoding: Encoding, ended: Floats, known: Floats, tried: Floats, rng: np.random.Generator
    ) -> tuple[Model, Floats]:
        """The model, running trials included, and the rows that it knows."""
        fit = self._fitter(encoding, ended, known, int(rng.integers(2**31)))
        waiting = tried[len(ended) :]
        kept = _spread_out(known, _MOST)
        ended, known = ended[kept], known[kept]
        if not len(waiting) or self.pending_as == "qucb":
            return fit(ended, known), ended
        if self.pending_as == "believer":
            lies = fit(ended, known).predict(waiting)[0]
        else:
            lies = np.full(len(waiting), _LIES[self.pending_as](known))
        rows = np.concatenate([ended, waiting])
        return fit(rows, np.concatenate([known, lies])), rows

    def _fitter(self, encoding: Encoding, ended: Floats, known: Floats, seed: int) -> Callable[[Floats, Floats], Model]:
        if self.surrogate == "forest":
            return lambda rows, losses: Forest(encoding, rows, losses, seed)
        scales = self._scales_of(encoding, ended, known)
        return lambda rows, losses: Process(encoding, rows, losses, scales)

    def _scales_of(self, encoding: Encoding, ended: Floats, known: Floats) -> Scales:
        count = _last_fitted(len(ended))
        rows, losses = ended[:count], known[:count]
        key = (encoding.groups.tobytes(), rows.tobytes(), losses.tobytes())
        if self._scales is None or self._scales[0] != key:
            kept = _spread_out(losses, _FITTED)
            self._scales = (key, fit_scales(encoding, rows[kept], losses[kept]))
        return self._scales[1]

    def _acquisition(self, model: Model, best: float, rng: np.random.Generator) -> Callable[[Floats], Floats]:
        if self.acquisition == "ei":
            return lambda rows: expected_improvement(*model.predict(rows), best, self.xi)
        kappa = float(rng.exponential(self.kappa)) if self.pending_as == "qucb" else self.kappa

        def bound(rows: Floats) -> Floats:
            mean, deviation = model.predict(rows)
            return kappa * deviation - mean

        return bound


def _last_fitted(count: int) -> int:
    """The number of observations, at most `count`, that length scales were last fitted to."""
    fitted = _ALWAYS_FITTED
    if count <= fitted:
        return count
    while int(fitted * _GROWTH) <= count:
        fitted = int(fitted * _GROWTH)
    return fitted


def _spread_out(losses: Floats, most: int) -> Any:
    """Which observations to keep: all, or the best ones and others at equal distances in time, half and half."""
    if len(losses) <= most:
        return np.arange(len(losses))
    best = np.argsort(losses, kind="stable")[: most // 2]
    others = np.setdiff1d(np.arange(len(losses)), best)
    return np.sort(np.concatenate([best, others[np.linspace(0, len(others) - 1, most - most // 2).astype(int)]]))


def _check_acquisition(acquisition: Any, pending: str) -> None:
    if acquisition is None:
        return
    check_one_of("acquisition", acquisition, get_args(Acquisition))
    if pending == "qucb" and acquisition != "lcb":
        raise ConfigError(
            "Argument `acquisition` should be 'lcb' or None with pending='qucb', which draws the bound's `kappa`. "
            f"Received: acquisition={acquisition!r}. Leave it out, or pass pending='believer'."
        )


def _check_parameter(argument: str, value: Any, acquisition: Acquisition, needed: Acquisition) -> None:
    if value is None:
        return
    check_number(argument, value, 0)
    if acquisition != needed:
        raise ConfigError(
            f"Argument `{argument}` should be given with acquisition={needed!r} only, which it belongs to. "
            f"Received: {argument}={value!r}, and acquisition={acquisition!r}. Leave it out, or pass "
            f"acquisition={needed!r}."
        )
