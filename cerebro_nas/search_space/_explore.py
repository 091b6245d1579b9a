"""The complete space of a graph, found before the search starts."""

from __future__ import annotations

import difflib
import logging
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from functools import partial
from typing import Any

import keras_tuner

from cerebro_nas.errors import BuildError
from cerebro_nas.errors import ConfigError
from cerebro_nas.search_space._adapter import COUNTS
from cerebro_nas.search_space._adapter import LEAVES
from cerebro_nas.search_space._adapter import Parent
from cerebro_nas.search_space._adapter import Probe
from cerebro_nas.search_space._adapter import counts_of_width

_LOGGER = logging.getLogger(__name__)
_HP = keras_tuner.engine.hyperparameters

BATCH_SIZE = "batch_size"
"""A hyperparameter of this name is the candidate's batch size."""

Build = Callable[[keras_tuner.HyperParameters], None]
Forced = dict[str, Any]


class Explorer:
    """Finds every hyperparameter of a graph by building it once per value of each structural one.

    AutoKeras registers only what the current values need. A choice is structural if another value of it may bring
    other hyperparameters: strings and booleans, other than those known to decide nothing. Repeated parts are counted
    at their maximum, because their hyperparameters carry no condition; those of AutoKeras' blocks get it here, so that
    a tuner does not vary the width of a layer that is not there. AutoKeras' blocks that may normalise their input
    begin with that.

    Args:
        build: builds the graph for the values that it is given; raises `BuildError`.
        overrides: entries that take the place of the graph's own of the same name.
        is_known: whether a hyperparameter is of a block that AutoKeras defines.
    """

    def __init__(
        self, build: Build, overrides: keras_tuner.HyperParameters | None, is_known: Callable[[str], bool]
    ) -> None:
        self._build = build
        self._is_known = is_known
        self._overrides: dict[str, list[Any]] = {}
        for entry in [] if overrides is None else overrides.space:
            self._overrides.setdefault(entry.name, []).append(entry)
        self._space = keras_tuner.HyperParameters()
        self._failures: list[BuildError] = []
        self.builds = 0

    def explore(self, warn_unused: bool = True) -> keras_tuner.HyperParameters:
        """Build until nothing new turns up, and return the space with its default values."""
        pending: list[Forced] = [{}]
        while pending:
            forced = pending.pop(0)
            probe = Probe(partial(self._choose, forced), self._conditioned)
            self._try(probe, forced)
            pending += self._alternatives(probe, self._record(probe))
        if len(self._failures) == self.builds:
            raise self._failures[0]
        # No part of the graph, hence none that it could register.
        self._space.merge(self._overrides.pop(BATCH_SIZE, []))
        if warn_unused:
            self._warn_unused()
        return self._space

    def _try(self, probe: Probe, forced: Forced) -> None:
        self.builds += 1
        try:
            self._build(probe)
        except BuildError as error:
            # Such candidates are rejected when the tuner proposes them; others with this value may be valid.
            self._failures.append(error)
            _LOGGER.info("No model can be built with %s: %s", forced or "the default values", error)

    def _choose(self, forced: Forced, entry: Any) -> tuple[Any, Any]:
        entry = self._override(entry)
        if entry.name in forced:
            return entry, forced[entry.name]
        if _leaf(entry.name) in COUNTS and not isinstance(entry, _HP.Boolean):
            return entry, max(entry.values)
        return entry, entry.default

    def _conditioned(self, entry: Any, others: keras_tuner.HyperParameters) -> Any:
        """The entry, under the condition that the part it belongs to is there."""
        if self._is_known(entry.name):
            for name, number in counts_of_width(entry.name):
                count = next((hp for hp in others.space if hp.name == name), None)
                there = [] if count is None else [value for value in count.values if value > number]
                if count is not None and len(there) < len(count.values):
                    entry.conditions = [*entry.conditions, Parent(name, there)]
        return entry

    def _override(self, entry: Any) -> Any:
        given = self._overrides.get(entry.name)
        if given:
            exact = [hp for hp in given if hp.conditions == entry.conditions]
            config = (exact or given)[0].get_config()
            replaced = type(given[0]).from_config(config)
            # Under other conditions than the graph's own, KerasTuner would keep both entries and ignore this one.
            replaced.conditions = entry.conditions
            _check_pretrained(replaced)
            return replaced
        if not isinstance(entry, _HP.Boolean):
            return entry
        if _leaf(entry.name) == "pretrained":
            return _HP.Fixed(entry.name, False, conditions=entry.conditions)
        if _leaf(entry.name) == "normalize" and self._is_known(entry.name):
            # As AutoKeras' tasks begin, not its blocks: of columns on scales of their own little is learnt.
            return _HP.Boolean(entry.name, default=True, conditions=entry.conditions)
        return entry

    def _record(self, probe: Probe) -> list[Any]:
        new = [hp for hp in probe.space if not self._space._exists(hp.name, hp.conditions)]
        self._space.merge(new)
        return new

    def _alternatives(self, probe: Probe, new: list[Any]) -> Iterator[Forced]:
        for entry in new:
            if self._is_structural(entry) and probe.is_active(entry):
                parents = {c.name: probe.values[c.name] for c in entry.conditions}
                for value in entry.values:
                    if value != probe.values[entry.name]:
                        yield {**parents, entry.name: value}

    def _is_structural(self, entry: Any) -> bool:
        if _leaf(entry.name) in LEAVES and self._is_known(entry.name):
            return False
        if isinstance(entry, _HP.Boolean):
            return True
        return isinstance(entry, _HP.Choice) and isinstance(entry.values[0], str | bool)

    def _warn_unused(self) -> None:
        known = {hp.name for hp in self._space.space}
        for name in self._overrides:
            if name not in known:
                near = _near(name, known)
                warnings.warn(
                    "Argument `hyperparameters` should hold hyperparameters of the search space. "
                    f"Received: {name!r}, which has no effect. Near names: {', '.join(near) or 'none'}; "
                    "see `tuner.search_space_summary()`.",
                    stacklevel=4,
                )


def _near(name: str, known: set[str]) -> list[str]:
    same_leaf = sorted(other for other in known if _leaf(other) == _leaf(name))
    similar = difflib.get_close_matches(name, sorted(known), n=3)
    return list(dict.fromkeys(same_leaf + similar))[:5]


def _leaf(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _check_pretrained(entry: Any) -> None:
    if _leaf(entry.name) == "pretrained" and any(entry.values):
        raise ConfigError(
            "Hyperparameter `pretrained` should be False: candidates start from seeded random weights. "
            f"Received: {entry!r}. Leave it out, or pass `Fixed({entry.name!r}, False)`."
        )
