"""The TPE of hyperopt, asked and told."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.search._spaces import Parameter
from benchmarks.search._spaces import typed

Values = dict[str, Any]


class HyperoptSampler:
    """The `tpe.suggest` of hyperopt on its own `Trials`; trials that were not told of count as bad, as it has it.

    Args:
        space: the space.
        seed: its seed.
    """

    def __init__(self, space: list[Parameter], seed: int) -> None:
        import hyperopt
        import numpy as np

        self._hyperopt = hyperopt
        self._space = nested(space, hyperopt.hp)
        self._domain = hyperopt.base.Domain(lambda values: 0.0, self._space)
        self._trials = hyperopt.Trials()
        self._rng = np.random.default_rng(seed)
        self._parameters = space
        self._docs: dict[int, Any] = {}

    def suggest(self, number: int) -> Values:
        """The values of a new trial."""
        ids = self._trials.new_trial_ids(1)
        self._trials.refresh()
        seed = int(self._rng.integers(2**31 - 1))
        self._trials.insert_trial_docs(self._hyperopt.tpe.suggest(ids, self._domain, self._trials, seed))
        self._trials.refresh()
        # Its own copy: what was inserted is another object.
        doc = self._docs[number] = next(doc for doc in self._trials._dynamic_trials if doc["tid"] == ids[0])
        point = {name: found[0] for name, found in doc["misc"]["vals"].items() if found}
        flat = _flatten(self._hyperopt.space_eval(self._space, point))
        return {item.name: typed(item, flat[item.name]) for item in self._parameters if item.name in flat}

    def tell(self, number: int, loss: float) -> None:
        """The loss of a trial."""
        doc = self._docs.pop(number)
        doc["state"] = self._hyperopt.JOB_STATE_DONE
        doc["result"] = {"status": self._hyperopt.STATUS_OK, "loss": loss}
        self._trials.refresh()

    def close(self) -> None:
        """Nothing runs."""


def nested(space: list[Parameter], hp: Any, path: tuple[Any, ...] = ()) -> dict[str, Any]:
    """The form that hyperopt wants: children are within the options of their parent."""
    return {item.name: _node(space, hp, item) for item in space if item.conditions == path}


def _node(space: list[Parameter], hp: Any, item: Parameter) -> Any:
    name = item.name
    if item.kind == "choice":
        options = []
        for value in item.values:
            paths = {other.conditions for other in space if _is_child(other, item, value)}
            children = [nested(space, hp, path) for path in sorted(paths, key=str)]
            options.append({name: value, "children": children} if children else {name: value})
        return hp.choice(name, options)
    if item.log:
        low, high = math.log(item.low), math.log(item.high)
        return hp.loguniform(name, low, high) if item.kind == "float" else hp.qloguniform(name, low, high, 1)
    if item.kind == "int" or item.step:
        return hp.quniform(name, item.low, item.high, item.step or 1)
    return hp.uniform(name, item.low, item.high)


def _is_child(other: Parameter, parent: Parameter, value: Any) -> bool:
    if len(other.conditions) != len(parent.conditions) + 1 or other.conditions[:-1] != parent.conditions:
        return False
    name, wanted = other.conditions[-1]
    return name == parent.name and value in wanted


def _flatten(found: Any) -> Values:
    if not isinstance(found, dict):
        return {}
    values: Values = {}
    for name, value in found.items():
        if isinstance(value, dict):
            values |= _flatten(value)
        elif name == "children":
            for child in value:
                values |= _flatten(child)
        else:
            values[name] = value
    return values
