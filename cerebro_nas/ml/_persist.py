"""Saving and loading through Spark ML's writers and readers: JSON, and Parquet that holds bytes. No pickle.

Everything goes through Spark's own DataFrame writers, so a path may be on any file system that Spark knows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any
from typing import Generic
from typing import TypeVar

from pyspark.ml.util import DefaultParamsReader
from pyspark.ml.util import DefaultParamsWriter
from pyspark.ml.util import MLReadable
from pyspark.ml.util import MLReader
from pyspark.ml.util import MLWriter

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import CorruptStateError

if TYPE_CHECKING:
    from pyspark.ml.param import Params
    from pyspark.sql import SparkSession

T = TypeVar("T", bound=MLReadable[Any])

_EXTRA = "cerebroNas"
_FILES = "files"
_SCHEMA = "file string, part int, content binary"
# A row of a Parquet file should stay well below the size of a row group.
_PART_BYTES = 8 << 20

Files = dict[str, bytes]


class PlainWriter(MLWriter):
    """Writes the Params of an instance, plain values beside them, and files.

    Args:
        instance: what is saved.
        describe: gives what is to be kept beside its Params; called before anything is overwritten.
    """

    def __init__(self, instance: Params, describe: Callable[[], tuple[dict[str, Any], Files]]) -> None:
        super().__init__()
        self._instance = instance
        self._describe = describe
        self._described: tuple[dict[str, Any], Files] | None = None

    def save(self, path: str) -> None:
        """Save to a path of any file system that Spark knows.

        Raises:
            ConfigError: there is something that cannot be saved. Nothing was written, or overwritten.
        """
        self._described = self._describe()
        super().save(path)

    def saveImpl(self, path: str) -> None:
        """Write everything."""
        plain, files = self._described or self._describe()
        listed = {name: {"size": len(data), "sha256": _sha256(data)} for name, data in files.items()}
        extra = {_EXTRA: {**plain, _FILES: listed}}
        # The metadata comes last: a directory without it is no saved instance.
        if files:
            rows = [(name, part, data) for name, content in files.items() for part, data in _parts(content)]
            self.sparkSession.createDataFrame(rows, _SCHEMA).coalesce(1).write.parquet(f"{path}/data")
        DefaultParamsWriter.saveMetadata(self._instance, path, self.sparkSession, extraMetadata=extra)


class PlainReader(MLReader[T], Generic[T]):
    """Reads what a `PlainWriter` wrote; nothing of it is executed.

    Args:
        kind: class of the instance.
        restore: called with the new instance, the plain values and the files.
    """

    def __init__(self, kind: type[T], restore: Callable[[T, dict[str, Any], Files], None]) -> None:
        super().__init__()
        self._kind = kind
        self._restore = restore

    def load(self, path: str) -> T:
        """Load from a path.

        Raises:
            ConfigError: something else was saved there.
            CorruptStateError: what was saved is damaged.
            UnsafeModelError: it names what no model is made of.
        """
        metadata = self._metadata(path)
        try:
            extra = dict(metadata[_EXTRA])
            listed = dict(extra.pop(_FILES))
            instance: Any = self._kind()
            instance._resetUid(str(metadata["uid"]))
            DefaultParamsReader.getAndSetParams(instance, metadata)
        except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise CorruptStateError(f"The metadata in {path} is damaged: {error}. It was not loaded.") from error
        found: T = instance
        self._restore(found, extra, _read(self.sparkSession, path, listed) if listed else {})
        return found

    def _metadata(self, path: str) -> dict[str, Any]:
        wanted = f"{self._kind.__module__}.{self._kind.__name__}"
        try:
            metadata = dict(DefaultParamsReader.loadMetadata(path, self.sparkSession))
            found = metadata["class"]
        except (LookupError, RecursionError, TypeError, ValueError) as error:
            raise CorruptStateError(f"The metadata in {path} is damaged: {error}. It was not loaded.") from error
        if found != wanted:
            raise ConfigError(
                f"`path` must be where a {self._kind.__name__} was saved. Received: path={path!r}, which holds a "
                f"{str(found)[:120]}. Load it with that class."
            )
        return metadata


def _parts(content: bytes) -> Iterator[tuple[int, bytes]]:
    for number, start in enumerate(range(0, max(1, len(content)), _PART_BYTES)):
        yield number, content[start : start + _PART_BYTES]


def _read(spark: SparkSession, path: str, listed: Mapping[str, Any]) -> Files:
    rows = spark.read.schema(_SCHEMA).parquet(f"{path}/data").orderBy("file", "part").collect()
    files: Files = {}
    for name, wanted in listed.items():
        content = b"".join(bytes(row["content"] or b"") for row in rows if row["file"] == name)
        if not isinstance(wanted, dict) or (len(content), _sha256(content)) != (
            wanted.get("size"),
            wanted.get("sha256"),
        ):
            raise CorruptStateError(
                f"{name!r} in {path} is damaged: its {len(content)} bytes are not those that were saved. "
                "It was not loaded. Save the model anew."
            )
        files[name] = content
    return files


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
