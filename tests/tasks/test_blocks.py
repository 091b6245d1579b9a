"""Every block and head of AutoKeras builds, trains and exports here: search space, worker's engine, exported file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import autokeras
import keras_tuner
import numpy as np
import pytest

import cerebro_nas as ak
from cerebro_nas import search
from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.errors import ConfigError
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import Unit
from cerebro_nas.results import save_verified
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import Engine
from cerebro_nas.worker import SearchSpec
from cerebro_nas.worker import build_model
from cerebro_nas.worker import restore_state

# TensorFlow's variables know NumPy 1 only, which saving them runs into.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ROWS = 12
DRAW = np.random.default_rng(0)
VECTORS = DRAW.normal(3, 2, (ROWS, 6)).astype(np.float32)
IMAGES = DRAW.integers(0, 256, (ROWS, 8, 8, 3), dtype=np.uint8)
SERIES = DRAW.normal(size=(ROWS, 6, 3)).astype(np.float32)
TEXTS = np.array(["a fine puppy runs", "the odd car barfs", "an odd girl jumps"] * (ROWS // 3))
TABLE = np.array([[float(i % 5), "f" if i % 2 else "m"] for i in range(ROWS)], dtype=object)
THREE = np.array(["a", "b", "c"] * (ROWS // 3))
TWO = np.array([3, 5] * (ROWS // 2))
NUMBERS = DRAW.normal(size=ROWS)

Block = Callable[[], Any]


def _vectors(block: Block) -> Any:
    return (node := ak.Input()), ak.RegressionHead(dropout=0.0)(block()(node)), VECTORS, NUMBERS


def _image(block: Block) -> Any:
    return (node := ak.ImageInput()), ak.ClassificationHead(dropout=0.0)(block()(node)), IMAGES, THREE


def _series(block: Block) -> Any:
    return (node := ak.Input()), ak.ClassificationHead(dropout=0.0)(block()(node)), SERIES, THREE


def _text(block: Block) -> Any:
    return (node := ak.TextInput()), ak.ClassificationHead(dropout=0.0)(block()(node)), TEXTS, THREE


def _table(block: Block) -> Any:
    return (node := ak.StructuredDataInput()), ak.RegressionHead(dropout=0.0)(block()(node)), TABLE, NUMBERS


def _merge(block: Block) -> Any:
    one, two = ak.Input(), ak.Input()
    return [one, two], ak.RegressionHead(dropout=0.0)(block()([one, two])), [VECTORS, VECTORS + 1], NUMBERS


def _merge_unlike(block: Block) -> Any:
    image, table = ak.ImageInput(), ak.StructuredDataInput()
    return [image, table], ak.ClassificationHead(dropout=0.0)(block()([image, table])), [IMAGES, TABLE], TWO


def _head(y: Any, *, images: bool = False) -> Callable[[Block], Any]:
    def graph(block: Block) -> Any:
        node = ak.ImageInput() if images else ak.Input()
        return node, block()(node), IMAGES if images else VECTORS, y

    return graph


@dataclass(frozen=True)
class Case:
    """A block between an input and a head, or a head of its own."""

    name: str
    graph: Callable[[Block], Any]
    settings: dict[str, Any]
    heavy: bool = False

    def __str__(self) -> str:
        return f"{self.name}-{'-'.join(f'{key}={value}' for key, value in self.settings.items())}"


ALL = {f"{kind}_factor": 0.1 for kind in ("translation", "rotation", "zoom", "contrast")}
CASES = [
    Case("DenseBlock", _vectors, {}),
    Case("DenseBlock", _vectors, {"num_layers": 3, "num_units": 16, "use_batchnorm": True, "dropout": 0.25}),
    Case("DenseBlock", _image, {"num_layers": 1}),
    Case("Normalization", _vectors, {}),
    Case("Normalization", _image, {"axis": -1}),
    Case("Flatten", _image, {}),
    Case("Merge", _merge, {"merge_type": "add"}),
    Case("Merge", _merge, {"merge_type": "concatenate"}),
    Case("Merge", _merge_unlike, {}),
    Case("StructuredDataBlock", _table, {}),
    Case("StructuredDataBlock", _table, {"normalize": True}),
    Case("ConvBlock", _image, {}),
    Case("ConvBlock", _image, {"separable": True, "max_pooling": False, "dropout": 0.25, "kernel_size": 5}),
    Case("ConvBlock", _series, {"filters": 16}),
    Case("ImageAugmentation", _image, {}),
    Case("ImageAugmentation", _image, {**ALL, "horizontal_flip": True, "vertical_flip": True}),
    Case("ImageAugmentation", _image, {"translation_factor": (0.1, 0.2), "horizontal_flip": False}),
    Case("ImageBlock", _image, {"block_type": "vanilla", "normalize": True, "augment": True}),
    Case("ImageBlock", _image, {"block_type": "resnet"}, heavy=True),
    Case("ImageBlock", _image, {"block_type": "xception"}, heavy=True),
    Case("ImageBlock", _image, {"block_type": "efficient"}, heavy=True),
    Case("ResNetBlock", _image, {"version": "v1", "pretrained": False}, heavy=True),
    Case("ResNetBlock", _image, {"version": "v2"}, heavy=True),
    Case("XceptionBlock", _image, {}, heavy=True),
    Case("EfficientNetBlock", _image, {"version": "b0"}, heavy=True),
    Case("RNNBlock", _series, {}, heavy=True),
    Case("RNNBlock", _series, {"layer_type": "gru", "bidirectional": False, "num_layers": 1}),
    Case("RNNBlock", _series, {"layer_type": "lstm", "return_sequences": True}, heavy=True),
    *(Case("SpatialReduction", _image, {"reduction_type": kind}) for kind in ("flatten", "global_max", "global_avg")),
    *(Case("TemporalReduction", _series, {"reduction_type": kind}) for kind in ("flatten", "global_max", "global_avg")),
    Case("Embedding", _text, {"max_features": 20, "embedding_dim": 8}),
    Case("TextBlock", _text, {}),
    Case("TextBlock", _text, {"max_tokens": 8}),
    Case("ClassificationHead", _head(THREE), {"dropout": 0.25}),
    Case("ClassificationHead", _head(TWO), {"num_classes": 2}),
    Case("ClassificationHead", _head(THREE, images=True), {}),
    Case("ClassificationHead", _head(np.eye(3)[[0, 1, 2] * 4]), {"metrics": ["AUC"]}),
    Case("ClassificationHead", _head(DRAW.integers(0, 2, (ROWS, 4))), {"multi_label": True}),
    Case("ClassificationHead", _head(THREE), {"loss": "kl_divergence"}),
    Case("RegressionHead", _head(NUMBERS), {}),
    Case("RegressionHead", _head(DRAW.normal(size=(ROWS, 3)), images=True), {"output_dim": 3, "dropout": 0.5}),
    Case("RegressionHead", _head(NUMBERS), {"loss": "huber", "metrics": ["mae"]}),
]


def _exported() -> set[str]:
    parts = {name: getattr(autokeras, name) for name in dir(autokeras)}
    kinds = {name: part for name, part in parts.items() if isinstance(part, type) and issubclass(part, autokeras.Block)}
    inputs = {name for name, part in kinds.items() if issubclass(part, autokeras.Input)}
    return set(kinds) - inputs - {"Block", "Head"}


def test_every_block_and_head_is_here() -> None:
    assert {case.name for case in CASES} == _exported()


class Trained:
    """A candidate that an engine trained for an epoch.

    Args:
        case: the graph and its data.
        path: a directory.
    """

    def __init__(self, case: Case, path: Path) -> None:
        inputs, outputs, x, y = case.graph(lambda: getattr(ak, case.name)(**case.settings))
        model = ak.HyperHyperModel(inputs, outputs, seed=1)
        model.resource_bind(SimulatedBackend(1), path / "store", validation=0.25, verbose=0)
        rows, shapes = model._rows(None, x, y, None, None)
        arguments = search.make_fit_arguments(batch_size=4, epochs=1, input_shape=shapes)
        model._check_data(rows, arguments)
        model._prepare(rows, arguments)
        model._configure(arguments)
        self.space, prepared = model._space, model._prepared
        if prepared is None:
            raise AssertionError("nothing was prepared")
        self.spec: CandidateSpec = self.space.build(keras_tuner.HyperParameters(), trial="0")
        self.search = SearchSpec(
            prepared.url, "", prepared.shards, self.space.features, self.space.labels, self.space.targets, 1, 4
        )
        engine = Engine(self.search, path / "scratch")
        unit = Unit("0", "train", 0, Shard("train", 0))
        result = engine.run(unit, self.spec, 0, lambda: b"")
        self.metrics = result.report.metrics
        evaluated = engine.run(Unit("0", "evaluate", 0, Shard("valid", 0)), self.spec, 1, lambda: b"")
        self.validation = evaluated.report.metrics
        self.state = result.state or b""
        engine.close()


HEAVY = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=HEAVY if case.heavy else (), id=str(case)) for case in CASES]
)
def test_it_builds_trains_and_exports(case: Case, tmp_path: Path) -> None:
    trained = Trained(case, tmp_path)
    assert np.isfinite([*trained.metrics.values(), *trained.validation.values()]).all()
    assert set(trained.metrics) == set(trained.validation) == set(trained.space.metric_names)
    model = build_model(trained.spec)
    before = [np.array(variable) for variable in model.trainable_variables]
    restore_state(model, trained.state)
    moved = [not np.array_equal(old, np.array(new)) for old, new in zip(before, model.trainable_variables, strict=True)]
    assert any(moved)
    assert int(model.optimizer.iterations.numpy()) > 0
    # It compares what was saved and loaded again with what was trained.
    save_verified(model, tmp_path / "model.keras", inputs=trained.space.features)
    assert (tmp_path / "model.keras").is_file()


@pytest.mark.parametrize("name", ["ResNetBlock", "XceptionBlock", "EfficientNetBlock"])
def test_pretrained_weights_are_refused_before_anything_is_fetched(name: str) -> None:
    node = ak.ImageInput()
    outputs = ak.ClassificationHead()(getattr(ak, name)(pretrained=True)(node))
    with pytest.raises(ConfigError, match="`pretrained` of a block should be False.*seeded random weights"):
        ak.AutoModel(node, outputs)
