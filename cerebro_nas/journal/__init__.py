"""The append-only record of a search, and the lock that keeps a second driver away from it.

A search is what its journal says: replaying the records rebuilds its state. Every line carries a checksum that
continues the one of the line before, so lines that were lost, moved, glued or edited are found.
"""

from cerebro_nas.journal._journal import SCHEMA
from cerebro_nas.journal._journal import Journal
from cerebro_nas.journal._line import Record
from cerebro_nas.journal._lock import DirectoryLock
from cerebro_nas.journal._parse import DamagedJournalError
from cerebro_nas.journal._parse import Parsed
from cerebro_nas.journal._parse import parse

__all__ = ["DamagedJournalError", "DirectoryLock", "Journal", "Parsed", "Record", "SCHEMA", "parse"]
