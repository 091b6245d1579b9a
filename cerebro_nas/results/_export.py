"""Saving a model for use elsewhere, and making sure that it can be used."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import StoreError

if TYPE_CHECKING:
    import keras

_PROBE_ROWS = 8


def save_verified(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Save a model as `.keras`, load it again, and compare both on random rows.

    Raises:
        ConfigError: the path does not end in `.keras`.
        StoreError: it cannot be written, or the model that was loaded predicts something else.
    """
    import keras

    from cerebro_nas.worker import CUSTOM_OBJECTS

    target = Path(path)
    if target.suffix != ".keras":
        raise ConfigError(f"`path` must end in '.keras'. Received: path={str(path)!r}. Rename it.")
    temporary = target.with_name(f".{target.stem}.tmp.keras")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        model.save(temporary)
        again = keras.models.load_model(temporary, custom_objects=CUSTOM_OBJECTS)
        _compare(model, again, target)
        temporary.replace(target)
    except OSError as error:
        raise StoreError(f"{target} could not be written: {error}. Check permissions and free space.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _compare(model: keras.Model, again: keras.Model, target: Path) -> None:
    generator = np.random.default_rng(0)
    rows: list[Any] = [
        generator.random((_PROBE_ROWS, *(n or 1 for n in item.shape[1:]))).astype(item.dtype) for item in model.inputs
    ]
    given = rows if len(rows) > 1 else rows[0]
    pairs = zip(_outputs(model, given), _outputs(again, given), strict=True)
    if not all(np.allclose(one, other, rtol=1e-5, atol=1e-6) for one, other in pairs):
        raise StoreError(
            f"The model loaded again from {target} predicts something else than the one saved, so it is not kept. "
            "Custom layers must save all of their configuration."
        )


def _outputs(model: keras.Model, rows: Any) -> list[Any]:
    found = model.predict(rows, verbose=0)
    return list(found) if isinstance(found, (list, tuple)) else [found]
