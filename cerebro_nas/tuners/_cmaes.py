"""Covariance matrix adaptation over mixed spaces, by the package `cmaes`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any
from typing import Literal

import numpy as np
from cmaes import CatCMAwM  # type: ignore[import-untyped]
from numpy.typing import NDArray

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners._checks import check_int
from cerebro_nas.tuners._checks import check_number
from cerebro_nas.tuners._checks import check_one_of
from cerebro_nas.tuners._seeded import Observation
from cerebro_nas.tuners._stages import Proposal
from cerebro_nas.tuners._stages import Values
from cerebro_nas.tuners._unit_cube import Axis
from cerebro_nas.tuners._unit_cube import Codes
from cerebro_nas.tuners._unit_cube import Cube
from cerebro_nas.tuners._unit_cube import CubeOracle

_DRAWS = 20
_DIGITS = 9
# Steps finer than a hundredth of the range are taken for real numbers.
_FINE = 100

_Point = list[float]


class CmaEsOracle(CubeOracle):
    """Evolution strategy with covariance matrix adaptation (CMA-ES), in its form for mixed spaces (CatCMA with margin).

    A generation of configurations is drawn from a normal distribution, over the places of numbers on their ranges;
    the better half moves the distribution and shapes it. Integers and ordered choices are drawn from the same
    distribution and rounded, with a margin that keeps it from settling on one of them for good; unordered choices and
    Booleans have probabilities of their own, adapted likewise. Conditional hyperparameters are always drawn, and read
    while they are active.

    Asynchronous: as soon as there are results of `population_size` trials, they make the next generation. More trials
    may be asked for before; they come from the present distribution. Every result counts, whichever generation it was
    drawn for: with 16 workers, leaving late ones out costs more than their being old. A failed trial is worse than
    every other. When the space grows during the search, the distribution begins anew.

    The first trials are random (starting configurations count as such), and the distribution begins around the best of
    them rather than in the middle of the space: with some dozens of trials there is no time to travel. Those that end
    when it has begun still count, until there is a generation: with 16 workers they are most of them.

    Sources: Hansen, Ostermeier, "Completely Derandomized Self-Adaptation in Evolution Strategies" (2001); Hamano,
    Saito, Nomura, Uchida, Shirakawa, "CatCMA with Margin" (2025); Auger, Hansen, "A Restart CMA Evolution Strategy
    With Increasing Population Size" (2005).

    Args:
        sigma: standard deviation at first, where a range has the length 1; above 0. Around the best of random trials it
            is at most about half the distance between them.
        population_size: trials of a generation, at least 4; None: `4 + floor(3 ln n)` with n hyperparameters.
        startup_trials: random trials that must have ended first; at least 0, with which the distribution begins in the
            middle. None: twice the population.
        restart_strategy: `"ipop"`: when the distribution has shrunk to a point, or results have not differed for long,
            it begins anew elsewhere, with twice the population; None: it does not.
        **kwargs: see `SeededOracle`.

    Raises:
        ConfigError: an option is wrong, or the space has less than two numeric hyperparameters (by `propose`, if the
            space was not known before).
    """

    def __init__(
        self,
        *,
        sigma: float = 1 / 6,
        population_size: int | None = None,
        startup_trials: int | None = None,
        restart_strategy: Literal["ipop"] | None = "ipop",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_number("sigma", sigma, 0, above=True)
        if population_size is not None:
            check_int("population_size", population_size, least=4)
        if startup_trials is not None:
            check_int("startup_trials", startup_trials, least=0)
        self.sigma = float(sigma)
        self.population_size = population_size
        self.startup_trials = startup_trials
        check_one_of("restart_strategy", restart_strategy, ("ipop", None))
        self.restart_strategy = restart_strategy
        self._check_space()
        # Follows from the trials, see `CubeOracle`.
        self._fold: _Fold | None = None

    def propose(self) -> Proposal | Values | None:
        """A draw from the distribution that the results so far have made."""
        self._check_space()
        if not self.cube.free:
            return self.fresh_random_values()
        fold = self._folded()
        if not fold.begun:
            return self.fresh_random_values()
        values: Values = {}
        for point in fold.draws(self._rng.getrandbits(32)):
            codes = fold.layout.codes(point)
            values = self.cube.walk(lambda axis, codes=codes: codes[axis.key])  # type: ignore[misc]
            if self.is_new(values):
                return Proposal(values, note={"restart": fold.restart, "generation": fold.generation, "point": point})
        return self.settle(values)

    def _folded(self) -> _Fold:
        """The distribution after all results, gone on with from the last one that was needed where that is possible."""
        observations = self.observations()
        told = [(item.trial_id, item.loss) for item in observations]
        fold = self._fold
        if fold is None or fold.layout.cube is not self.cube or fold.told != told[: len(fold.told)]:
            fold = _Fold(self, _Layout(self.cube))
        for item in observations[len(fold.told) :]:
            fold.tell(item, self.codes_of(item), self.proposal_of(item.trial_id).note)
        self._fold = fold
        return fold

    def _check_space(self) -> None:
        numeric = [axis.name for axis in self.cube.free if axis.kind != "category"]
        if self.cube.axes and len(numeric) < 2:
            raise ConfigError(
                "The tuner 'cmaes' needs a search space with at least two numeric hyperparameters (integers, floats or "
                f"ordered choices). Received: {', '.join(numeric) or 'none'}. Use 'tpe' or 'evolution' for this space."
            )


class _Layout:
    """Which axis is where in a point: real numbers, then those with few values, then unordered ones."""

    def __init__(self, cube: Cube) -> None:
        self.cube = cube
        self.grids: list[NDArray[np.float64]] = []
        self.real: list[Axis] = []
        self.stepped: list[Axis] = []
        self.unordered: list[Axis] = []
        for axis in cube.free:
            if axis.kind == "category":
                self.unordered.append(axis)
            elif 0 < axis.size <= _FINE:
                self.stepped.append(axis)
                self.grids.append(np.array([axis.place(axis.low + index) for index in range(axis.size)]))
            else:
                self.real.append(axis)
        self.axes = [*self.real, *self.stepped, *self.unordered]
        self.numbers = len(self.real) + len(self.stepped)

    def optimiser(self, mean: NDArray[np.float64], sigma: float, population_size: int | None) -> CatCMAwM:
        return CatCMAwM(
            x_space=[[0.0, 1.0]] * len(self.real) or None,
            z_space=[grid.tolist() for grid in self.grids] or None,
            c_space=[axis.size for axis in self.unordered] or None,
            population_size=population_size,
            mean=mean,
            sigma=sigma,
            cov=np.eye(self.numbers),
            seed=0,
        )

    def codes(self, point: _Point) -> Codes:
        codes: Codes = {axis.key: axis.at(place) for axis, place in zip(self.real, point, strict=False)}
        places = point[len(self.real) : self.numbers]
        for axis, grid, place in zip(self.stepped, self.grids, places, strict=True):
            codes[axis.key] = axis.low + int(np.searchsorted((grid[1:] + grid[:-1]) / 2, place))
        return codes | {axis.key: code for axis, code in zip(self.unordered, point[self.numbers :], strict=True)}

    def point(self, solution: Any) -> _Point:
        chosen = [] if solution.c is None else solution.c.argmax(axis=1).tolist()
        # The draw before it was rounded and cut to the range, which is what the distribution has to be told.
        return [round(float(place), _DIGITS) for place in solution._v_raw] + chosen

    def middle(self, codes: Codes) -> NDArray[np.float64]:
        """The place of a configuration's numbers; of what it does not have, the middle of the range."""
        numeric = self.axes[: self.numbers]
        return np.array([axis.place(codes[axis.key]) if axis.key in codes else 0.5 for axis in numeric])

    def solution(self, point: _Point) -> Any:
        chosen = None
        if self.unordered:
            chosen = np.zeros((len(self.unordered), max(axis.size for axis in self.unordered)), bool)
            chosen[np.arange(len(self.unordered)), [int(code) for code in point[self.numbers :]]] = True
        return CatCMAwM.Solution(c=chosen, _v_raw=np.array(point[: self.numbers], float))


class _Fold:
    """The distribution that follows from a series of results, told one by one."""

    def __init__(self, oracle: CmaEsOracle, layout: _Layout) -> None:
        self.layout = layout
        self.restart = 0
        self.told: list[tuple[str, float | None]] = []
        self._base = oracle._base
        self._sigma = oracle.sigma
        self._restarts = oracle.restart_strategy is not None
        self._random = 0
        self._first: tuple[float, Codes] = (math.inf, {})
        self._results: list[tuple[float, _Point]] = []
        self._begin(layout.middle({}), self._sigma, oracle.population_size)
        startup = oracle.startup_trials
        self._startup: int = 2 * self._cma.population_size if startup is None else startup

    @property
    def begun(self) -> bool:
        """Whether enough random trials have ended."""
        return len(self.told) >= self._startup

    @property
    def generation(self) -> int:
        return int(self._cma.generation)

    def draws(self, seed: int) -> Iterator[_Point]:
        """Points of the present distribution; they leave it as it was."""
        self._cma.reseed_rng(seed)
        return (self.layout.point(self._cma.ask()) for _ in range(_DRAWS))

    def tell(self, observation: Observation, codes: Codes, note: dict[str, Any]) -> None:
        """A trial that has ended; those that are not of this distribution are passed over."""
        self.told.append((observation.trial_id, observation.loss))
        point = note.get("point", [])
        if not point and self._startup and self.restart == self.generation == 0:
            self._start(observation, codes)
            return
        if note.get("restart") != self.restart or len(point) != len(self.layout.axes):
            return
        self._results.append((math.inf if observation.loss is None else observation.loss, point))
        if len(self._results) >= self._cma.population_size:
            self._next_generation()

    def _start(self, observation: Observation, codes: Codes) -> None:
        """A random trial that has ended before there was a generation."""
        self._random += 1
        if observation.loss is not None and observation.loss < self._first[0]:
            self._first = (observation.loss, codes)
        if self.begun:
            # That many points in a cube are about so far from each other.
            apart = self._random ** (-1 / self.layout.numbers)
            self._begin(self.layout.middle(self._first[1]), min(self._sigma, apart / 2), self._cma.population_size)

    def _begin(self, mean: NDArray[np.float64], sigma: float, population_size: int | None) -> None:
        self._cma = self.layout.optimiser(mean, sigma, population_size)
        self._cma.should_stop()  # see `_next_generation`
        self._latest: list[list[float]] = []

    def _next_generation(self) -> None:
        results = sorted(self._results, key=lambda result: result[0])
        self._results = []
        self._latest.append([loss for loss, _ in results if loss < math.inf])
        # Ranks: only the order counts but for the penalty of leaving the range, which is in the unit of what is told,
        # and is not a number where results do not differ.
        with np.errstate(all="ignore"):
            self._cma.tell([(self.layout.solution(point), float(rank)) for rank, (_, point) in enumerate(results)])
            # Asked always: it brings the matrix into the form that drawing would bring it into, so that what follows
            # does not depend on whether anything was drawn.
            stop = self._cma.should_stop() or self._is_flat()
        if stop and self._restarts:
            self.restart += 1
            generator = np.random.default_rng([self._base, self.restart])
            self._begin(generator.random(self.layout.numbers), self._sigma, 2 * self._cma.population_size)

    def _is_flat(self) -> bool:
        """Whether results have not differed for long: the rule of `cmaes`, which cannot see it from ranks."""
        term = 10 + math.ceil(30 * self.layout.numbers / self._cma.population_size)
        latest = [loss for generation in self._latest[-term:] for loss in generation]
        return len(self._latest) >= term and len(latest) > 0 and max(latest) - min(latest) < 1e-12
