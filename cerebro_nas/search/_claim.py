"""One driver's claim to the directory of a search: the lock, and the journal in it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import CerebroNasError
from cerebro_nas.errors import FencedError
from cerebro_nas.errors import StoreError
from cerebro_nas.journal import DirectoryLock
from cerebro_nas.journal import Journal

if TYPE_CHECKING:
    from cerebro_nas.journal import Record
    from cerebro_nas.storage import Store

_LOGGER = logging.getLogger(__name__)

_JOURNAL = "journal.jsonl"
_BEAT_SECONDS = 1.0


class SearchClaim:
    """Keeps other drivers away from a search for as long as it is entered.

    Args:
        store: where the search is.
        directory: its directory.
        data: directory of its prepared data, which searches with other directories may share.
        overwrite: begin anew, whatever is there.

    Raises:
        LockedError: another driver works on the search.
        CorruptStateError: the journal is damaged before its end.
        StoreError: the directory holds files that are not ours, or cannot be used.
    """

    def __init__(self, store: Store, directory: str, *, data: str | None = None, overwrite: bool) -> None:
        self._store = store
        self._directory = directory
        self._overwrite = overwrite
        # A project's name never begins with a dot, so these are no project's directories.
        kept = [Path(directory)] if data is None else [Path(directory), Path(data)]
        self._paths = [path.with_name(f".{path.name}.lock") for path in kept]
        self._locks = [DirectoryLock(path) for path in self._paths]
        self._journal: Journal | None = None
        self._session: dict[str, Any] | None = None
        self._ended_with: dict[str, Any] | None = None
        self._lost: CerebroNasError | None = None
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="cerebro-claim", daemon=True)

    @property
    def session(self) -> dict[str, Any] | None:
        """What the first driver of the search said of it; None: there is nothing to go on with."""
        return self._session

    def has_ended(self, limits: Mapping[str, Any]) -> bool:
        """Whether the search came to its end under these limits, so that there is nothing left to run."""
        return self._ended_with is not None and self._ended_with == dict(limits)

    def begin(self) -> Journal:
        """Make the directory, or take over what is there, and give the journal."""
        if self._journal is None:
            if self._store.exists(self._directory) and self._overwrite:
                self._store.delete_owned(self._directory)
            self._store.create_owned(self._directory, "search")
            self._journal = Journal.open(Path(self._directory) / _JOURNAL)
        return self._journal

    def check(self) -> None:
        """Make sure that no other driver took this one's place.

        Raises:
            FencedError: one did, while this process was stopped say.
        """
        if self._lost is not None:
            raise self._lost

    def __enter__(self) -> SearchClaim:
        try:
            for path, lock in zip(self._paths, self._locks, strict=True):
                path.parent.mkdir(parents=True, exist_ok=True)
                lock.acquire()
            if self._store.exists(self._directory):
                # It refuses files that are not ours, before any work is done.
                self._store.create_owned(self._directory, "search")
            journal = Path(self._directory) / _JOURNAL
            if not self._overwrite and journal.is_file():
                self._journal = Journal.open(journal)
                self._look_at(self._journal.records)
        except BaseException as error:
            self._release()
            if isinstance(error, OSError) and not isinstance(error, StoreError):
                raise StoreError(f"{self._directory} cannot be used: {error}. Check permissions.") from error
            raise
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._heart.join()
        try:
            if self._journal is not None:
                self._journal.close()
        except CerebroNasError as failure:
            if error is None:
                raise
            # The error that ended the search says more.
            _LOGGER.warning("The journal could not be closed in order: %s", failure)
        finally:
            self._release()

    def _release(self) -> None:
        for lock in self._locks:
            lock.release()

    def _look_at(self, records: Sequence[Record]) -> None:
        """Remember what is asked of the records later, as the driver lets go of them."""
        if not records:
            return
        self._session = records[0].data
        if records[-1].kind == "end":
            sessions = (record.data for record in reversed(records) if record.kind == "session")
            self._ended_with = next(sessions, {}).get("limits")

    def _beat(self) -> None:
        # A thread, as the preparation of data may take longer than a lock lasts without a sign of life.
        while not self._over.wait(_BEAT_SECONDS):
            try:
                for lock in self._locks:
                    lock.beat()
            except FencedError as error:
                self._lost = error
                return
            except StoreError as error:
                # A file system that stumbles once takes the lock from nobody; the journal has a fence of its own.
                _LOGGER.warning("The lock of the search could not be kept just now: %s", error)
