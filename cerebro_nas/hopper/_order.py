"""The order in which a candidate visits the train shards of an epoch, where it shall not follow from timing."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cerebro_nas.hopper._shards import ShardTable
    from cerebro_nas.hopper._types import Shard


class FixedOrder:
    """Orders that follow from the seed, the trial's name and the epoch alone: in every process, on every platform.

    Args:
        table: the shards.
        seed: seed of the search.
    """

    def __init__(self, table: ShardTable, seed: int) -> None:
        self._shards = tuple(table.members(table.train))
        self._seed = seed

    def of(self, trial: str, epoch: int) -> tuple[Shard, ...]:
        """Return all train shards, by a hash that is different for every trial and epoch."""
        start = blake2b(f"{self._seed}/{epoch}/{trial}/".encode(), digest_size=8)

        def draw(shard: Shard) -> tuple[bytes, int]:
            own = start.copy()
            own.update(str(shard.index).encode())
            return own.digest(), shard.index

        return tuple(sorted(self._shards, key=draw))
