"""Trying again where a file system fails for a moment: a network store that stalls, a server that starts again."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

TRANSIENT = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN})
"""Errors that may be gone a moment later. Missing rights, a missing directory or a full disk will not be."""

_PAUSES = (0.2, 0.8)


def retry(
    call: Callable[[], T],
    *,
    sleep: Callable[[float], None] = time.sleep,
    draw: Callable[[], float] = random.random,
) -> T:
    """Call, at most three times within two seconds, until it fails with no transient error.

    Args:
        call: what to do; it must leave nothing behind when it fails.
        sleep: waits for so many seconds.
        draw: gives a number from 0 to 1: workers that failed together should not come back together.

    Raises:
        OSError: the last failure.
    """
    for pause in _PAUSES:
        try:
            return call()
        except OSError as error:
            if error.errno not in TRANSIENT:
                raise
        sleep(pause * (0.5 + draw()))
    return call()
