"""One driver's claim to the directory of a search: the lock, and the journal in it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import CerebroNasError
from cerebro_nas.journal import DirectoryLock
from cerebro_nas.journal import Journal

if TYPE_CHECKING:
    from cerebro_nas.storage import Store

_LOGGER = logging.getLogger(__name__)

_JOURNAL = "journal.jsonl"
_BEAT_SECONDS = 1.0


class SearchClaim:
    """Keeps other drivers away from a search for as long as it is entered.

    Args:
        store: where the search is.
        directory: its directory.
        overwrite: begin anew, whatever is there.

    Raises:
        LockedError: another driver works on the search.
        CorruptStateError: the journal is damaged before its end.
        StoreError: the directory holds files that are not ours, or cannot be used.
    """

    def __init__(self, store: Store, directory: str, *, overwrite: bool) -> None:
        self._store = store
        self._directory = directory
        self._overwrite = overwrite
        path = Path(directory)
        # A project's name never begins with a dot, so this is no project's directory.
        self._lock = DirectoryLock(path.with_name(f".{path.name}.lock"))
        self._journal: Journal | None = None
        self._lost: CerebroNasError | None = None
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="cerebro-claim", daemon=True)

    @property
    def session(self) -> dict[str, Any] | None:
        """What the first driver of the search said of it; None: there is nothing to go on with."""
        if self._journal is None or not self._journal.records:
            return None
        return self._journal.records[0].data

    def has_ended(self, limits: Mapping[str, Any]) -> bool:
        """Whether the search came to its end under these limits, so that there is nothing left to run."""
        records = self._journal.records if self._journal is not None else ()
        if not records or records[-1].kind != "end":
            return False
        last = next(record for record in reversed(records) if record.kind == "session")
        return bool(last.data.get("limits") == dict(limits))

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
            StoreError: the lock could not be kept.
        """
        if self._lost is not None:
            raise self._lost

    def __enter__(self) -> SearchClaim:
        Path(self._directory).parent.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            if self._store.exists(self._directory):
                # It refuses files that are not ours, before any work is done.
                self._store.create_owned(self._directory, "search")
            journal = Path(self._directory) / _JOURNAL
            if not self._overwrite and journal.is_file():
                self._journal = Journal.open(journal)
        except BaseException:
            self._lock.release()
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
            self._lock.release()

    def _beat(self) -> None:
        # A thread, as the preparation of data may take longer than a lock lasts without a sign of life.
        while not self._over.wait(_BEAT_SECONDS):
            try:
                self._lock.beat()
            except CerebroNasError as error:
                self._lost = error
                return
