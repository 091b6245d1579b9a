"""What a rule is told of a trial, and the contract of a rule."""

from __future__ import annotations

import math
from abc import ABC
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields
from dataclasses import is_dataclass
from functools import cached_property
from typing import Any
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cerebro_nas.stoppers._check import check_choice


@dataclass(frozen=True)
class Curve:
    """The objective of one trial over its epochs.

    Attributes:
        values: the objective after each finished epoch, in order. One that is not finite stands for an epoch without
            a usable value; no rule judges by it.
        ended: whether the trial is over, trained to its end or stopped early. A trial that is paused is not over.
        direction: `"max"` or `"min"`: whether a larger or a smaller objective is better. The same for all trials of a
            search.
        planned: epochs that the trial is to have at most; None where that is not known.
        inherited: epochs that the weights which the trial began with were trained for, in other trials.
    """

    values: tuple[float, ...]
    ended: bool = False
    direction: str = "max"
    planned: int | None = None
    inherited: int = 0

    def __post_init__(self) -> None:
        check_choice("direction", self.direction, ("max", "min"))

    @property
    def epochs(self) -> int:
        """Epochs that are finished."""
        return len(self.values)

    @cached_property
    def best(self) -> float | None:
        """The best value so far; None if none was finite."""
        finite = [value for value in self.values if math.isfinite(value)]
        if not finite:
            return None
        return max(finite) if self.direction == "max" else min(finite)

    @cached_property
    def finite(self) -> NDArray[np.float64]:
        """The values that are finite."""
        return np.array([value for value in self.values if math.isfinite(value)], dtype=np.float64)

    def is_worse(self, value: float, than: float) -> bool:
        """Whether one value of the objective is strictly worse than another."""
        return value < than if self.direction == "max" else value > than


class Stopper(ABC):
    """A rule that ends trials early which are not worth their remaining epochs.

    It is asked after every epoch of every trial, keeps nothing between two questions and draws no random numbers, so
    that a search which is resumed stops the same trials at the same epochs. A stopped trial keeps what it has reached
    and may still be the best one.

    Attributes:
        compares: whether it judges a trial by the others. Where a search has several objectives, such a rule, which
            knows the first one only, is not asked about a trial that no other dominates.
    """

    compares: ClassVar[bool] = True

    @abstractmethod
    def should_stop(self, trial: Curve, others: Mapping[str, Curve]) -> str | None:
        """Why the trial should stop now, in words; None if it should go on.

        Args:
            trial: the trial that has just finished an epoch.
            others: all other trials of the search, by identifier; those that run now too.
        """

    def to_dict(self) -> dict[str, Any]:
        """The rule and its settings as plain data, for the record of a search."""
        # None unless the class is a dataclass, as all rules of this package are.
        rule: Any = self
        settings = {item.name: getattr(self, item.name) for item in fields(rule)} if is_dataclass(rule) else {}
        return {"rule": type(self).__name__, **settings}


def in_epochs(number: int) -> str:
    """`"1 epoch"`, `"2 epochs"`."""
    return f"{number} epoch" if number == 1 else f"{number} epochs"
