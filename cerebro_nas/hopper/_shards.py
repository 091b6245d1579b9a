"""The shards of a data set as bits of an integer: set operations on them cost one machine instruction or a few."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cerebro_nas.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Sequence

    from cerebro_nas.hopper._types import Shard
    from cerebro_nas.hopper._types import ShardInfo


class ShardTable:
    """Rows, fetch times and bit masks of all shards.

    Args:
        shards: training and validation shards, in any order.
        fetch_bytes_per_second: speed at which a worker can fetch a shard it does not hold.
    """

    def __init__(self, shards: Sequence[ShardInfo], fetch_bytes_per_second: float) -> None:
        infos = sorted(shards, key=lambda info: info.shard)
        self._shards = tuple(info.shard for info in infos)
        if len(set(self._shards)) != len(infos) or not any(s.split == "train" for s in self._shards):
            raise ConfigError(
                "`shards` must name at least one training shard, and no shard twice. "
                f"Received: shards={[info.shard for info in shards]}. Prepare the data set again."
            )
        self.bit = {shard: 1 << k for k, shard in enumerate(self._shards)}
        self.rows = {info.shard: info.rows for info in infos}
        self.fetch_seconds = {info.shard: info.nbytes / fetch_bytes_per_second for info in infos}
        self.least_fetch_seconds = min(self.fetch_seconds.values())
        self.train = sum(self.bit[s] for s in self._shards if s.split == "train")
        self.valid = sum(self.bit[s] for s in self._shards if s.split == "valid")
        self.num_train = self.train.bit_count()
        self.num_valid = self.valid.bit_count()
        self.train_rows = self.rows_of(self.train)
        self.valid_rows = self.rows_of(self.valid)
        self.most_rows = max(self.rows.values())

    def members(self, mask: int) -> Iterator[Shard]:
        """Yield the shards in `mask`, lowest first."""
        while mask:
            low = mask & -mask
            yield self._shards[low.bit_length() - 1]
            mask ^= low

    def rows_of(self, mask: int) -> int:
        """Rows of all shards in `mask`."""
        return sum(self.rows[shard] for shard in self.members(mask))
