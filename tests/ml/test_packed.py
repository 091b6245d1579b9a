"""A model in memory: the same predictions without its files, and what a damaged or crafted copy meets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import UnsafeModelError
from cerebro_nas.ml._packed import SOURCE
from cerebro_nas.ml._packed import SPEC
from cerebro_nas.ml._packed import STATE
from cerebro_nas.ml._packed import Packed
from cerebro_nas.ml._packed import PackedSource
from cerebro_nas.ml._packed import pack
from cerebro_nas.ml._packed import unpack
from cerebro_nas.results import ModelSource
from cerebro_nas.results import OutputSpec
from cerebro_nas.results import TrialModel
from cerebro_nas.worker import ColumnSpec

MakePacked = Callable[..., Packed]
TEXTS = ("a", "b", "c")


@pytest.mark.parametrize(
    ("kind", "classes", "width"),
    [
        ("binary", (3, 7), 2),
        ("onehot", TEXTS, 3),
        ("multilabel", (0, 1, 2), 3),
        # Also what earlier versions saved of several labels at once.
        ("values", (), 2),
    ],
)
def test_a_model_predicts_the_same_without_its_files(
    make_model: Callable[..., TrialModel], tmp_path: Path, rows: Any, kind: str, classes: Any, width: int
) -> None:
    model = make_model(kind, classes, width)
    expected = model.predict(rows)
    packed = pack(model)
    shutil.rmtree(tmp_path / "states")
    again = unpack(packed.files())
    assert again == packed
    assert again.source.digest == packed.source.digest
    for found in (packed, again):
        assert np.array_equal(found.model().predict(rows), expected)
    assert (again.trial, again.epoch, again.history) == ("7", 2, {"loss": [3.0, 2.0, 1.0]})
    assert again.hyperparameters == {"learning_rate": 0.01}


def test_columns_may_have_other_names(make_packed: MakePacked, rows: Any) -> None:
    import pandas as pd

    packed = make_packed("onehot", TEXTS, columns=("a", "b", "c", "d"))
    expected = packed.model().predict(pd.DataFrame(rows, columns=list("abcd")))
    found = packed.model(["w", "x", "y", "z"]).predict(pd.DataFrame(rows, columns=list("wxyz")))
    assert found.tolist() == expected.tolist()


def test_sources_are_compared_by_their_digest(make_packed: MakePacked) -> None:
    one, other = make_packed("onehot", TEXTS).source, make_packed("onehot", TEXTS).source
    assert one == other
    assert hash(one) == hash(other)
    assert one != make_packed("onehot", ("a", "b", "d")).source
    assert one.digest != make_packed("binary", (0, 1)).source.digest
    assert len(repr(one)) < 500


def test_nothing_of_a_source_is_forgotten() -> None:
    """Fails when a field is added elsewhere: it must be saved too."""
    assert [field.name for field in fields(ModelSource)] == [
        *("states_url", "inputs", "outputs", "output_columns", "train_shards", "batch_size", "fingerprint"),
        # Not saved: what is registered where the model is loaded counts.
        "imports",
    ]
    assert [field.name for field in fields(OutputSpec)] == ["column", "kind", "classes", "width"]
    assert [field.name for field in fields(ColumnSpec)] == ["name", "shape", "dtype", "encoding", "encoder"]
    assert {field.name for field in fields(PackedSource)} - {field.name for field in fields(ModelSource)} == {
        *("spec", "state", "digest")
    }


def test_an_encoder_is_kept(make_packed: MakePacked) -> None:
    packed = make_packed("onehot", TEXTS)
    encoder = {"kind": "categories", "values": ["x", "y"]}
    plain = json.loads(packed.files()[SOURCE])
    plain["inputs"] = [[{"name": "n", "shape": [], "dtype": "float32", "encoding": "scalar", "encoder": encoder}]]
    again = unpack({**packed.files(), SOURCE: json.dumps(plain).encode()})
    assert again.source.inputs[0][0].encoder == encoder
    assert json.loads(again.files()[SOURCE]) == plain


def _changed(packed: Packed, change: Callable[[dict[str, Any]], object]) -> dict[str, bytes]:
    files = packed.files()
    plain = json.loads(files[SOURCE])
    change(plain)
    return {**files, SOURCE: json.dumps(plain).encode()}


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: plain.pop("inputs"),
        lambda plain: plain.update(version=2),
        lambda plain: plain.update(inputs=3),
        lambda plain: plain.update(inputs=[[{"name": "x"}]]),
        lambda plain: plain["inputs"][0][0].update(shape=[-1]),
        lambda plain: plain["inputs"][0][0].update(shape=[True]),
        lambda plain: plain["inputs"][0][0].update(name=3),
        lambda plain: plain["inputs"][0][0].update(encoder={"kind": "run"}),
        lambda plain: plain["outputs"][0].update(kind="other"),
        lambda plain: plain["outputs"][0].update(kind="multilabel", width=5),
        lambda plain: plain["outputs"][0].update(classes=[["a"]]),
        lambda plain: plain["outputs"][0].update(classes=["a"]),
        lambda plain: plain.update(outputs=[]),
        lambda plain: plain.update(outputs=plain["outputs"] * 2),
        lambda plain: plain.update(batch_size="many"),
        lambda plain: plain.update(history=[]),
    ],
)
def test_values_that_cannot_be_are_damage(make_packed: MakePacked, change: Any) -> None:
    with pytest.raises(CorruptStateError, match="saved model is damaged: .* It was not loaded"):
        unpack(_changed(make_packed("onehot", TEXTS), change))


@pytest.mark.parametrize("name", [SPEC, SOURCE])
@pytest.mark.parametrize("content", [b"", b"{", b"null", b"\xff", b"[" * 100_000])
def test_files_that_are_something_else_are_damage(make_packed: MakePacked, name: str, content: bytes) -> None:
    with pytest.raises(CorruptStateError, match="damaged"):
        unpack({**make_packed("onehot", TEXTS).files(), name: content})


@pytest.mark.parametrize("name", [SPEC, STATE, SOURCE])
def test_a_missing_file_is_damage(make_packed: MakePacked, name: str) -> None:
    files = make_packed("onehot", TEXTS).files()
    del files[name]
    with pytest.raises(CorruptStateError, match=name):
        unpack(files)


def test_a_gadget_is_refused_when_it_is_loaded(make_packed: MakePacked, tmp_path: Path) -> None:
    files = make_packed("onehot", TEXTS).files()
    spec, canary = json.loads(files[SPEC]), tmp_path / "canary"
    gadget = {"module": "os", "class_name": "mkdir", "registered_name": "mkdir", "config": {"path": str(canary)}}
    for field, value in (("model", json.dumps(gadget)), ("optimizer", gadget), ("loss", [gadget])):
        with pytest.raises(UnsafeModelError, match="class_name='mkdir', module='os'"):
            unpack({**files, SPEC: json.dumps({**spec, field: value}).encode()})
    with pytest.raises(CorruptStateError, match="specification of the saved model is damaged"):
        unpack({**files, SPEC: json.dumps({**spec, "model": "{"}).encode()})
    assert not canary.exists()


def test_a_state_of_another_model_is_refused(make_packed: MakePacked, rows: Any) -> None:
    other = make_packed("binary", (0, 1)).files()[STATE]
    packed = unpack({**make_packed("onehot", TEXTS).files(), STATE: other})
    with pytest.raises(CorruptStateError, match="state is of another model"):
        packed.model().predict(rows)
