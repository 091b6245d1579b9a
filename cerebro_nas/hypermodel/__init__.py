"""What the user types."""

from cerebro_nas.hypermodel._hypermodel import HyperHyperModel

__all__ = ["HyperHyperModel"]
