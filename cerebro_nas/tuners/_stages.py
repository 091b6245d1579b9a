"""What a tuner may say of a trial beside its values: how far to train it, and where its weights come from."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Literal

Resource = Literal["epochs", "shards"]
Values = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """How far a trial is trained before the tuner looks at it again.

    Attributes:
        until: epochs in all or, for a tuner whose resource is `"shards"`, visits to training shards in all.
        last: the trial is complete then; otherwise it pauses, and goes on from its own state if it is promoted.
    """

    until: int
    last: bool


@dataclass(frozen=True)
class Proposal:
    """A configuration to try.

    Attributes:
        values: value of every active hyperparameter.
        parent: trial whose weights it begins with, where layers match; None: it begins afresh.
        note: what the tuner wants to be told again of the trial when a search is gone on with, as plain JSON values
            (its bracket, its generation); it is shown in the trial's record.
    """

    values: Values
    parent: str | None = None
    note: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Promotion:
    """A paused trial goes on."""

    trial_id: str
    stage: Stage


@dataclass(frozen=True)
class Dismissal:
    """A paused trial will never go on, so that its state may be forgotten.

    Attributes:
        trial_id: the trial.
        reason: why, in a word.
        message: why, in a sentence's part.
    """

    trial_id: str
    reason: str
    message: str = field(default="", compare=False)
