"""The contract of stores, and the store on a file system."""

from __future__ import annotations

import abc
import os

from cerebro_nas.errors import StoreError
from cerebro_nas.storage import _files
from cerebro_nas.storage._names import check_name
from cerebro_nas.storage._names import local_path

_PATTERNS = frozenset("*?[]{}\\")


class Store(abc.ABC):
    """Where prepared data sets and searches are kept.

    A store hands out URLs of directories and does the few things that differ between file systems. Driver, Spark
    executors and workers must all reach it under the same URLs. Writes are atomic: a reader sees a file whole or not
    at all. Any process may read; one process at a time writes a given file. All failures are `StoreError`.
    """

    @abc.abstractmethod
    def data_url(self, name: str) -> str:
        """Directory of the prepared data set `name`."""

    @abc.abstractmethod
    def runs_url(self, project: str) -> str:
        """Directory of the search `project`."""

    @abc.abstractmethod
    def spark_url(self, url: str) -> str:
        """`url` as Spark's readers take it literally: Hadoop reads some characters as patterns."""

    @abc.abstractmethod
    def exists(self, url: str) -> bool:
        """Whether a file or directory is there."""

    @abc.abstractmethod
    def listdir(self, url: str) -> list[str]:
        """Names in a directory, sorted; empty if it is not there."""

    @abc.abstractmethod
    def read_bytes(self, url: str) -> bytes:
        """Read a whole file."""

    @abc.abstractmethod
    def write_bytes(self, url: str, data: bytes) -> None:
        """Write a whole file, atomically."""

    @abc.abstractmethod
    def create_owned(self, url: str, kind: str) -> None:
        """Make a directory that carries our mark; refuse one with foreign files."""

    @abc.abstractmethod
    def delete_owned(self, url: str) -> None:
        """Remove a directory that carries our mark; refuse any other."""


class LocalStore(Store):
    """A store in a directory: a local disk, or a network file system mounted under the same path everywhere.

    Args:
        prefix_path: directory, as a path or as a file:// URL; made when first written to.
        train_path: directory of prepared data sets; `<prefix_path>/data` by default.
        runs_path: directory of searches; `<prefix_path>/runs` by default.

    Raises:
        ConfigError: a path names another file system.
    """

    def __init__(
        self,
        prefix_path: str | os.PathLike[str],
        train_path: str | os.PathLike[str] | None = None,
        runs_path: str | os.PathLike[str] | None = None,
    ) -> None:
        self.prefix_path = local_path(prefix_path)
        self._data = self.prefix_path / "data" if train_path is None else local_path(train_path)
        self._runs = self.prefix_path / "runs" if runs_path is None else local_path(runs_path)

    def data_url(self, name: str) -> str:
        """Directory of the prepared data set `name`."""
        return str(self._data / check_name(name))

    def runs_url(self, project: str) -> str:
        """Directory of the search `project`."""
        return str(self._runs / check_name(project))

    def spark_url(self, url: str) -> str:
        """`url` as Spark's readers take it literally: Hadoop reads some characters as patterns."""
        # The scheme, as a cluster's default file system may be another one. Hadoop decodes no percent signs.
        return "file:" + "".join(f"\\{c}" if c in _PATTERNS else c for c in str(local_path(url)))

    def exists(self, url: str) -> bool:
        """Whether a file or directory is there."""
        return local_path(url).exists()

    def listdir(self, url: str) -> list[str]:
        """Names in a directory, sorted; empty if it is not there."""
        try:
            return sorted(os.listdir(local_path(url)))  # noqa: PTH208 - names, not paths
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"{url} could not be listed: {error}.") from error

    def read_bytes(self, url: str) -> bytes:
        """Read a whole file."""
        return _files.read_file(local_path(url))

    def write_bytes(self, url: str, data: bytes) -> None:
        """Write a whole file, atomically."""
        _files.write_atomic(local_path(url), data)

    def create_owned(self, url: str, kind: str) -> None:
        """Make a directory that carries our mark; refuse one with foreign files."""
        _files.create_owned(local_path(url), kind)

    def delete_owned(self, url: str) -> None:
        """Remove a directory that carries our mark; refuse any other."""
        _files.delete_owned(local_path(url))

    def __repr__(self) -> str:
        return f"LocalStore(prefix_path={str(self.prefix_path)!r})"


def open_store(url: str) -> Store:
    """Give the store that holds `url`, in an executor or a worker.

    Raises:
        ConfigError: no store of this package serves such a URL.
    """
    return LocalStore(local_path(url))
