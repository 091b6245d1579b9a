"""A text stream that never raises into the search."""

from __future__ import annotations

import logging
from typing import TextIO

_LOGGER = logging.getLogger(__name__)


class SafeStream:
    """Wraps a text stream: the first OSError or ValueError (closed pipe, closed file) silences it for good.

    A terminal that goes away must cost the display, not the search. Only what a *stream* raises is swallowed; an error
    in the code that makes the text still surfaces.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._dead = False

    @property
    def dead(self) -> bool:
        """Whether the stream failed; nothing is written any more."""
        return self._dead

    @property
    def encoding(self) -> str:
        """Encoding of the stream."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write `text`; return its length whatever became of it."""
        if not self._dead:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                self._write_plain(text)
            except (OSError, ValueError) as error:
                self._fail(error)
        return len(text)

    def flush(self) -> None:
        """Flush."""
        if not self._dead:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._fail(error)

    def isatty(self) -> bool:
        """Whether the stream is a terminal; False once it failed."""
        if self._dead:
            return False
        try:
            return self._stream.isatty()
        except (OSError, ValueError, AttributeError):
            return False

    def fileno(self) -> int:
        """File descriptor of the stream."""
        return self._stream.fileno()

    def _write_plain(self, text: str) -> None:
        try:
            self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
        except (OSError, ValueError) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._dead = True
        _LOGGER.warning("The progress display lost its output stream (%s); the search goes on silently.", error)
