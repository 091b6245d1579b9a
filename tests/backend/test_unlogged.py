"""What carries the secret to Spark logs its arguments at level DEBUG; not while it does that (case 23)."""

from __future__ import annotations

import logging
import threading

import pytest

from cerebro_nas.backend.spark._unlogged import unlogged


@pytest.mark.case(23)
@pytest.mark.parametrize("name", ["py4j.clientserver", "py4j.java_gateway", "pyspark.sql.connect.logging"])
def test_this_thread_is_silent_and_others_are_not(name: str, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger(name)
    with caplog.at_level(logging.DEBUG, name):
        with unlogged():
            logger.debug("the secret")
            other = threading.Thread(target=logger.debug, args=("of another thread",))
            other.start()
            other.join()
        logger.debug("afterwards")
    assert [record.message for record in caplog.records] == ["of another thread", "afterwards"]
    assert logger.filters == []
