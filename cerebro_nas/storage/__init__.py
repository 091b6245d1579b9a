"""Where prepared data, states and results are kept. Importing this module loads neither Arrow nor Spark."""

from cerebro_nas.storage._janitor import Janitor
from cerebro_nas.storage._names import check_name
from cerebro_nas.storage._names import local_path
from cerebro_nas.storage._shards import decode_column
from cerebro_nas.storage._shards import read_shard
from cerebro_nas.storage._shards import read_shard_pieces
from cerebro_nas.storage._states import Best
from cerebro_nas.storage._states import StateFiles
from cerebro_nas.storage._store import LocalStore
from cerebro_nas.storage._store import Store
from cerebro_nas.storage._store import open_store

__all__ = [
    "Best",
    "Janitor",
    "LocalStore",
    "StateFiles",
    "Store",
    "check_name",
    "decode_column",
    "local_path",
    "open_store",
    "read_shard",
    "read_shard_pieces",
]
