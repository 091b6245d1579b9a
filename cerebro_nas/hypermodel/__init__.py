"""What the user types."""

from cerebro_nas.hypermodel._hypermodel import HyperHyperModel
from cerebro_nas.hypermodel._refit import refit
from cerebro_nas.hypermodel._searching import Searching

__all__ = ["HyperHyperModel", "Searching", "refit"]
