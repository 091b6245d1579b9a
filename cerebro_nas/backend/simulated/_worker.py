"""One simulated worker."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cerebro_nas.backend._base import RunCommand
    from cerebro_nas.backend._base import WorkerCommand
    from cerebro_nas.hopper import Shard


@dataclass
class SimulatedWorker:
    """What a worker holds. `life` counts registrations, so that what a former life had scheduled is void.

    Attributes:
        states: generation held, by trial.
        shards: shards held.
        queue: commands not yet carried out.
        current: the unit that runs.
        stalled_since: when that came to a standstill.
    """

    name: str
    life: int = 0
    alive: bool = False
    states: dict[str, int] = field(default_factory=dict)
    shards: set[Shard] = field(default_factory=set)
    queue: deque[WorkerCommand] = field(default_factory=deque)
    current: RunCommand | None = None
    stalled_since: float | None = None

    def forget(self) -> None:
        """Lose everything, as a process that dies does."""
        self.life += 1
        self.alive = False
        self.states.clear()
        self.shards.clear()
        self.queue.clear()
        self.current = None
        self.stalled_since = None
