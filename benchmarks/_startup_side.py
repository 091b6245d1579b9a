"""One start of a search in a fresh process, watched from outside; `python -m benchmarks startup` runs it."""

from __future__ import annotations

import time

START = time.monotonic()

import argparse  # noqa: E402
import json  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from benchmarks._hop_models import use_one_thread  # noqa: E402

_PIXELS = 784
_CLASSES = 10


class Marks:
    """When things happened, in seconds since this process began to run Python code."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}
        self.parts: dict[str, float] = {}

    def first(self, name: str) -> None:
        self.found.setdefault(name, time.monotonic() - START)

    def last(self, name: str) -> None:
        self.found[name] = time.monotonic() - START

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **named: Any) -> Any:
            self.first(f"{name} begins")
            try:
                return call(*arguments, **named)
            finally:
                self.last(f"{name} ends")

        return watched


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", choices=("spark", "local"), required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--meanwhile", action="store_true")
    arguments = parser.parse_args()
    use_one_thread()
    marks = Marks()
    _write_images(arguments.folder / "images.parquet", arguments.rows)
    from cerebro_nas.backend import local_spark_session
    from cerebro_nas.tracking import load_tensorflow

    load = marks.around("tensorflow", load_tensorflow)
    marks.first("spark begins")
    spark = local_spark_session(arguments.slots, meanwhile=load if arguments.meanwhile else None)
    marks.first("spark ends")
    if not arguments.meanwhile:
        load()
    _search(arguments, spark, marks)
    spark.stop()
    (arguments.folder / "marks.json").write_text(json.dumps({**marks.found, **marks.parts}))


def _search(arguments: argparse.Namespace, spark: Any, marks: Marks) -> None:
    import autokeras as ak

    import cerebro_nas.data
    from cerebro_nas import HyperHyperModel

    setattr(cerebro_nas.data, "prepare_data", marks.around("data", cerebro_nas.data.prepare_data))  # noqa: B010
    images = ak.ImageInput()
    outputs = ak.ClassificationHead(dropout=0)(ak.ConvBlock(num_blocks=1, max_pooling=True)(images))
    model = HyperHyperModel(images, outputs, project_name="startup", overwrite=True, max_trials=2, tuner="random")
    model.resource_bind(
        backend=_watched(arguments, spark, marks),
        store=str(arguments.folder / "store"),
        feature_columns="features",
        label_columns="label",
        evaluation_metric="accuracy",
        verbose=0,
    )
    df = spark.read.parquet(str(arguments.folder / "images.parquet"))
    marks.around("fit", model.fit)(df, batch_size=64, epochs=1, input_shape=(28, 28, 1))


def _watched(arguments: argparse.Namespace, spark: Any, marks: Marks) -> Any:
    """A backend of two workers that notes what passes through it."""
    from cerebro_nas.backend import LocalBackend
    from cerebro_nas.backend import RunCommand
    from cerebro_nas.backend import SparkBackend
    from cerebro_nas.hopper import UnitDone
    from cerebro_nas.hopper import WorkerJoined

    base: Any = SparkBackend if arguments.backend == "spark" else LocalBackend

    class Watched(base):  # type: ignore[misc]
        """Notes the first command, the workers, and the first unit."""

        def launch(self) -> bool:
            early = bool(super().launch())
            marks.parts["launched early"] = float(early)
            marks.first("launch ends")
            return early

        def start(self, search: Any) -> None:
            marks.first("start begins")
            super().start(search)

        def submit(self, worker: str, command: Any) -> None:
            if isinstance(command, RunCommand):
                marks.first("first unit sent")
            super().submit(worker, command)

        def events(self, timeout: float) -> list[Any]:
            found: list[Any] = super().events(timeout)
            for event in found:
                if isinstance(event, WorkerJoined):
                    marks.first("first worker joined")
                    marks.last("last worker joined")
                if isinstance(event, UnitDone) and "first unit done" not in marks.found:
                    marks.first("first unit done")
                    marks.parts.update({"unit seconds": event.report.seconds, **event.report.detail})
            return found

    if arguments.backend == "spark":
        return Watched(spark.sparkContext, 2, threads_per_worker=1)
    return Watched(2, threads_per_worker=1)


def _write_images(path: Path, rows: int) -> None:
    """Random images, of the size and type of W8's."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    draw = np.random.default_rng(0)
    pixels = (draw.integers(0, 256, rows * _PIXELS).astype(np.float32) / 255).reshape(-1)
    offsets = pa.array(np.arange(0, rows * _PIXELS + 1, _PIXELS, dtype=np.int32))
    column = pa.ListArray.from_arrays(offsets, pa.array(pixels))
    table = pa.table({"features": column, "label": draw.integers(0, _CLASSES, rows)})
    pq.write_table(table, path, row_group_size=max(1, rows // 4))


if __name__ == "__main__":
    main()
