from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.tracking import configure_logging
from cerebro_nas.tracking import quiet_libraries


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    logger = logging.getLogger("cerebro_nas")
    before = (list(logger.handlers), logger.level, logger.propagate)
    yield
    logger.handlers, logger.level, logger.propagate = before


def test_level_follows_verbose_and_lines_go_to_the_present_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_logging(1)
    err = io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    child = logging.getLogger("cerebro_nas.child")
    child.warning("seen")
    child.info("not seen")
    assert err.getvalue().endswith("WARNING cerebro_nas.child: seen\n")
    assert "not seen" not in err.getvalue()


def test_calling_twice_does_not_write_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_logging(1)
    logger = configure_logging(2)
    err = io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    logger.info("once")
    assert err.getvalue().count("once") == 1
    assert sum(isinstance(h, logging.NullHandler) for h in logger.handlers) == 1


def test_no_stderr_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = configure_logging(1)
    monkeypatch.setattr(sys, "stderr", None)
    logger.warning("nowhere to go")


def test_unknown_verbose() -> None:
    with pytest.raises(ConfigError, match="Received: verbose=9"):
        configure_logging(9)


def test_quiet_libraries_puts_everything_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    monkeypatch.setenv("GRPC_VERBOSITY", "DEBUG")
    before = logging.getLogger("py4j").level
    with quiet_libraries():
        assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "2"
        assert os.environ["GRPC_VERBOSITY"] == "DEBUG"
        assert logging.getLogger("py4j").level == logging.ERROR
    assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ
    assert logging.getLogger("py4j").level == before


def test_the_room_is_light() -> None:
    heavy = ["tensorflow", "keras", "autokeras", "keras_tuner", "pyspark", "pandas", "rich", "IPython", "tensorboard"]
    code = f"import sys, cerebro_nas.tracking\nsys.exit(sum(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tensorflow_loads_without_its_banner() -> None:
    """Lines that are not of the banner still come out."""
    program = (
        "import os\nfrom cerebro_nas.tracking import load_tensorflow\nload_tensorflow()\n"
        "import tensorflow\nos.write(2, b'after')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "after")
