"""Looking through an HDF5 file of weights of unknown origin before Keras reads it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import UnsafeModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_OBJECTS = 1_000_000
# Room for what HDF5 does not store at all: scalars and empty arrays.
_SLACK = 1 << 20
# Booleans, numbers, and opaque bytes, which bfloat16 is stored as.
_KINDS = "biufcV"


def check_weights(path: Path) -> int:
    """Refuse links out of the file and arrays that are larger than it.

    Returns:
        How many numbers the file holds.

    Raises:
        UnsafeModelError: it is made to do harm.
        CorruptStateError: it is damaged.
    """
    import h5py  # type: ignore[import-untyped, unused-ignore]

    limit = path.stat().st_size + _SLACK
    numbers = used = 0
    try:
        with h5py.File(path, "r") as file:
            for name, dataset in _datasets(file, h5py):
                _check_storage(name, dataset)
                count = math.prod(dataset.shape or (0,))
                numbers += count
                used += count * dataset.dtype.itemsize
                if used > limit:
                    raise _refused(f"{name} of shape {dataset.shape}, with which the arrays exceed the file's size")
    except UnsafeModelError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise CorruptStateError(f"The weights in the file cannot be read: {error}. It was not loaded.") from error
    return numbers


def _datasets(file: Any, h5py: Any) -> Iterator[tuple[str, Any]]:
    """Every array by its path; groups that are linked twice are entered once."""
    pending, seen = [("", file)], {_address(file, h5py)}
    objects = 0
    while pending:
        path, group = pending.pop()
        for name in group:
            objects += 1
            place = f"{path}/{name}"
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise _refused(f"{place[:120]!r}, a link to {getattr(link, 'filename', 'another place')!r}")
            if objects > _MAX_OBJECTS:
                raise _refused(f"more than {_MAX_OBJECTS:,} objects")
            item = group[name]
            if isinstance(item, h5py.Group):
                if _address(item, h5py) not in seen:
                    seen.add(_address(item, h5py))
                    pending.append((place, item))
            elif isinstance(item, h5py.Dataset):
                yield place[:120], item
            else:
                raise _refused(f"{place[:120]!r}, which is neither a group nor an array")


def _address(item: Any, h5py: Any) -> int:
    return int(h5py.h5o.get_info(item.id).addr)


def _check_storage(name: str, dataset: Any) -> None:
    if dataset.is_virtual or dataset.external:
        raise _refused(f"{name!r}, whose numbers are in another file")
    dtype = dataset.dtype
    if dtype.kind not in _KINDS or dtype.fields is not None or dtype.hasobject:
        raise _refused(f"{name!r} of type {dtype}")


def _refused(what: str) -> UnsafeModelError:
    return UnsafeModelError(
        "The weights of a model must be plain arrays of numbers in the file itself. "
        f"Received: {what}. The model was not loaded; do not trust the file."
    )
