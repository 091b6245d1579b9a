from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cerebro_nas.tracking import TensorBoardLogger

pytest.importorskip("tensorboard")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def no_tensorflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Read with TensorBoard's own file access: faster, and it proves that TensorFlow is not needed."""
    notf = type(sys)("tensorboard.compat.notf")
    monkeypatch.setitem(sys.modules, "tensorboard.compat.notf", notf)
    yield


def load(directory: Path) -> Any:
    from tensorboard.backend.event_processing import event_accumulator

    accumulator = event_accumulator.EventAccumulator(str(directory))
    accumulator.Reload()
    return accumulator


def scalars(directory: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.util import tensor_util

    events = load(directory).Tensors(tag)
    return [(event.step, float(tensor_util.make_ndarray(event.tensor_proto))) for event in events]


def hparams_content(directory: Path, tag: str) -> Any:
    from tensorboard.plugins.hparams import plugin_data_pb2

    content = load(directory).summary_metadata[tag].plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)


def write_search(logdir: Path, **settings: Any) -> None:
    with TensorBoardLogger(logdir, **settings) as logger:
        logger.trial_started("0001", {"lr": 0.5, "kind": "conv", "deep": True, "off": None})
        logger.epoch_finished("0001", 0, {"loss": 2.0, "val_loss": 1.5, "val_accuracy": 0.25})
        logger.epoch_finished("0001", 1, {"loss": 1.0, "val_loss": math.inf, "val_accuracy": 0.75})
        logger.trial_finished("0001")
        logger.trial_started("../x", {"lr": 1, "kind": "dense"})
        logger.trial_finished("../x", failed=True)


def test_scalars_read_back(tmp_path: Path) -> None:
    write_search(tmp_path)
    assert scalars(tmp_path / "0001" / "train", "epoch_loss") == [(0, 2.0), (1, 1.0)]
    assert scalars(tmp_path / "0001" / "validation", "epoch_accuracy") == [(0, 0.25), (1, 0.75)]
    assert scalars(tmp_path / "0001" / "validation", "epoch_loss") == [(0, 1.5), (1, math.inf)]


def test_sessions_and_columns_read_back(tmp_path: Path) -> None:
    write_search(tmp_path)
    start = hparams_content(tmp_path / "0001", "_hparams_/session_start_info").session_start_info
    assert start.hparams["lr"].number_value == 0.5
    assert start.hparams["kind"].string_value == "conv"
    assert start.hparams["deep"].bool_value is True
    assert "off" not in start.hparams
    end = hparams_content(tmp_path / "0001", "_hparams_/session_end_info").session_end_info
    assert end.status == 1
    experiment = hparams_content(tmp_path, "_hparams_/experiment").experiment
    assert [info.name for info in experiment.hparam_infos] == ["lr", "kind", "deep"]
    assert list(experiment.hparam_infos[1].domain_discrete) == ["conv", "dense"]
    shown = [(info.name.group, info.name.tag) for info in experiment.metric_infos]
    assert shown == [("train", "epoch_loss"), ("validation", "epoch_loss"), ("validation", "epoch_accuracy")]


def test_columns_given_are_written_at_once(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, {"lr": None, "kind": ["conv"]}, ["val_loss"])
    experiment = hparams_content(tmp_path, "_hparams_/experiment").experiment
    assert [info.name for info in experiment.hparam_infos] == ["lr", "kind"]
    logger.close()
    logger.close()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_trial_cannot_leave_the_directory(tmp_path: Path) -> None:
    write_search(tmp_path / "logs")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["logs"]
    failed = next(p for p in (tmp_path / "logs").iterdir() if p.name.endswith("x"))
    assert hparams_content(failed, "_hparams_/session_end_info").session_end_info.status == 2


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.plugins.hparams.api_pb2", None)
    with pytest.raises(ImportError, match=r"pip install -e '\.\[tensorboard\]'"):
        TensorBoardLogger(tmp_path)


def test_tensorflow_is_not_imported(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom cerebro_nas.tracking import TensorBoardLogger\n"
        f"with TensorBoardLogger({str(tmp_path)!r}) as log:\n"
        "    log.trial_started('a', {'x': 1})\n    log.epoch_finished('a', 0, {'loss': 1.0})\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
