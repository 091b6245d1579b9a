"""The shards of a data set as bits of an integer: set operations on them cost one machine instruction or a few."""

from __future__ import annotations

import math
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
        self.most_fetch_seconds = max(self.fetch_seconds.values())
        self.call = 1 << len(infos)
        """The mask of a call unit, which is on no shard."""
        self.train = sum(self.bit[s] for s in self._shards if s.split == "train")
        self.valid = sum(self.bit[s] for s in self._shards if s.split == "valid")
        self.num_train = self.train.bit_count()
        self.num_valid = self.valid.bit_count()
        self.train_rows = self.rows_of(self.train)
        self.valid_rows = self.rows_of(self.valid)
        self.most_rows = max(self.rows.values())
        self._fetch_classes = self._classes()

    def members(self, mask: int) -> Iterator[Shard]:
        """Yield the shards in `mask`, lowest first."""
        while mask:
            low = mask & -mask
            yield self._shards[low.bit_length() - 1]
            mask ^= low

    def mask(self, shard: Shard | None) -> int:
        """Mask of one shard, or of a call unit."""
        return self.call if shard is None else self.bit[shard]

    def rows_at(self, shard: Shard | None) -> int:
        """Rows that a unit on `shard` visits; a call counts as one."""
        return 1 if shard is None else self.rows[shard]

    def pick(self, mask: int, draw: float) -> Shard | None:
        """Return one of the shards in `mask`: the first one from where `draw` in [0, 1) points to; None for a call."""
        start = int(draw * len(self._shards))
        later = mask >> start << start or mask
        number = (later & -later).bit_length() - 1
        return self._shards[number] if number < len(self._shards) else None

    def quickest(self, mask: int) -> tuple[int, float]:
        """Mask of the shards in `mask` that take the least time to fetch, up to a tenth of it, and those seconds."""
        for shards, seconds in self._fetch_classes:
            if mask & shards:
                return mask & shards, seconds
        return 0, math.inf

    def slower(self, mask: int, seconds: float) -> int:
        """Mask of the shards in `mask` that take more than `seconds` to fetch."""
        return mask & sum(shards for shards, least in self._fetch_classes if least > seconds)

    def _classes(self) -> list[tuple[int, float]]:
        classes: list[tuple[int, float]] = []
        for shard, seconds in sorted(self.fetch_seconds.items(), key=lambda item: item[1]):
            if classes and seconds <= 1.1 * classes[-1][1]:
                classes[-1] = (classes[-1][0] | self.bit[shard], classes[-1][1])
            else:
                classes.append((self.bit[shard], seconds))
        return classes

    def rows_of(self, mask: int) -> int:
        """Rows of all shards in `mask`."""
        return sum(self.rows[shard] for shard in self.members(mask))
