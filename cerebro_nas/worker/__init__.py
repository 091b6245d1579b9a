"""The engine inside a worker. Importing this module loads neither TensorFlow nor Arrow."""

from cerebro_nas.worker._spec import CandidateSpec
from cerebro_nas.worker._spec import ColumnSpec
from cerebro_nas.worker._spec import SearchSpec
from cerebro_nas.worker._spec import ShardSpec

__all__ = ["CandidateSpec", "ColumnSpec", "SearchSpec", "ShardSpec"]
