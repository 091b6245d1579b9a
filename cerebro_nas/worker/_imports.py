"""Importing less: what a library takes along only because it happens to be installed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from collections.abc import Sequence

UNUSED = ("pandas", "sklearn")
"""Keras imports them for its scikit-learn wrappers and for data frames in `fit`, a third of its own import's time.

A worker feeds tensors, so it needs neither. Keras takes them for missing, which it is prepared for.
"""


@contextlib.contextmanager
def left_out(names: Sequence[str] = UNUSED) -> Iterator[None]:
    """Make modules missing for a while, those that are not loaded already; they can be imported as ever afterwards."""
    hidden = [name for name in names if name not in sys.modules]
    # None is how Python's import system marks a module that must not be imported.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            if sys.modules.get(name, left_out) is None:
                del sys.modules[name]
