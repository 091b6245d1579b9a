"""Workers as processes of this machine."""

from __future__ import annotations

from cerebro_nas.backend.local._local import LocalBackend

__all__ = ["LocalBackend"]
