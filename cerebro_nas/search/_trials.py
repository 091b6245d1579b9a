"""A new trial as the journal has it, and how far it is to be trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.hopper import TrialPlan
from cerebro_nas.hopper import legs_between
from cerebro_nas.search._records import read_field

if TYPE_CHECKING:
    from cerebro_nas.tuners import Stage


@dataclass(frozen=True)
class NewTrial:
    """A trial whose candidate was built.

    Attributes:
        plan: for the scheduler.
        values: of its hyperparameters.
        parameters: of the candidate.
        flops: of the candidate, floating point operations of one forward pass of one row.
        digest: SHA-256 of its specification.
        parent: trial whose weights it begins with, `""` if it begins afresh; `parent_state`: name of its state.
        note: what the tuner wants to be told again.
    """

    plan: TrialPlan
    values: Mapping[str, Any]
    parameters: int
    flops: int
    digest: str
    parent: str = ""
    parent_state: str = ""
    note: Mapping[str, Any] = field(default_factory=dict)

    def to_data(self) -> dict[str, Any]:
        """As plain values; `read` is the inverse."""
        plan = self.plan
        return {
            "trial": plan.trial,
            "values": dict(self.values),
            "parameters": self.parameters,
            "flops": self.flops,
            "epochs": plan.epochs,
            "legs": list(plan.legs),
            "pauses": plan.pauses,
            "cost": plan.cost,
            "spec": self.digest,
            "parent": self.parent,
            "parent_state": self.parent_state,
            "note": dict(self.note),
        }

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> NewTrial:
        """What `to_data` described.

        Raises:
            CorruptStateError: it described none.
        """
        plan = TrialPlan(
            trial=read_field(data, "trial", str),
            epochs=read_field(data, "epochs", int),
            cost=read_field(data, "cost", float),
            legs=read_legs(data),
            pauses=read_field(data, "pauses", bool),
        )
        return cls(
            plan,
            read_field(data, "values", dict),
            read_field(data, "parameters", int),
            read_field(data, "flops", int),
            read_field(data, "spec", str),
            read_field(data, "parent", str),
            read_field(data, "parent_state", str),
            read_field(data, "note", dict),
        )


def read_legs(data: Mapping[str, Any]) -> tuple[int, ...]:
    """The lengths of epochs in a record."""
    return tuple(read_field({"legs": leg}, "legs", int) for leg in read_field(data, "legs", list))


def first_plan(trial: str, stage: Stage | None, resource: str, epochs: int, cost: float, num_train: int) -> TrialPlan:
    """The plan of a new trial.

    Args:
        trial: its identifier.
        stage: what the tuner said; None: `epochs` epochs.
        resource: what the stage counts, `"epochs"` or `"shards"`.
        epochs: epochs of a trial at most.
        cost: predicted cost of a row.
        num_train: train units of an epoch.
    """
    if stage is None:
        return TrialPlan(trial, epochs, cost)
    if resource == "epochs":
        return TrialPlan(trial, min(stage.until, epochs), cost, pauses=not stage.last)
    legs = legs_between(0, stage.until, num_train)
    return TrialPlan(trial, len(legs), cost, legs=legs, pauses=not stage.last)


def promoted_plan(before: TrialPlan, stage: Stage, resource: str, num_train: int) -> TrialPlan:
    """The plan of a paused trial that goes on.

    Args:
        before: the plan so far.
        stage: what the tuner said.
        resource: what the stage counts, `"epochs"` or `"shards"`.
        num_train: train units of an epoch.
    """
    if resource == "epochs":
        return replace(before, epochs=stage.until, pauses=not stage.last)
    legs = before.legs + legs_between(sum(before.legs), stage.until, num_train)
    return replace(before, epochs=len(legs), legs=legs, pauses=not stage.last)
