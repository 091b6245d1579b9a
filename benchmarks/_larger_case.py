"""A search on rows that no process of it may hold: `python -m benchmarks._larger_case SETTINGS.json` prints figures."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

_COLUMNS = 500
_ROW_BYTES = 4 * _COLUMNS
_BATCH_ROWS = 4096
_PARTITION_BYTES = 64 << 20
_PAUSE_S = 0.5


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    # Processes that are started from here on, Spark's and the workers, are in the same group.
    Path(settings["group"], "cgroup.procs").write_text(str(os.getpid()))
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    print(json.dumps(_measured(settings)))


def _measured(settings: dict[str, Any]) -> dict[str, Any]:
    from pyspark.sql import functions as F

    from cerebro_nas.backend import local_spark_session

    rows = settings["data_bytes"] // _ROW_BYTES
    spark = local_spark_session(2, memory="768m", class_cache=False)
    samples = _Samples()
    found: dict[str, Any] = {"rows": rows, "data_bytes": rows * _ROW_BYTES}
    try:
        df = _frame(spark, rows)
        model = _model(spark, settings["store"])
        with samples:
            began = time.monotonic()
            result = model.fit(df, epochs=settings["epochs"], batch_size=256)
            found["fit_s"] = time.monotonic() - began
            found["trials"] = [f"{record.status_name} {record.reason}" for record in result.records]
            if not any(record.status_name == "COMPLETED" for record in result.records):
                raise SystemExit(f"No candidate could be trained: {found['trials']}; peaks {samples.peaks()}")
            began = time.monotonic()
            predicted = result.transform(df).agg(F.count("y__prediction"), F.sum(F.col("y__prediction"))).collect()[0]
            found["predict_s"] = time.monotonic() - began
        found["predicted_rows"] = int(predicted[0])
        found["stored_bytes"] = sum(f.stat().st_size for f in Path(settings["store"]).rglob("*.parquet"))
        return {**found, "peaks": samples.peaks(), "worker_growth": samples.growth()}
    finally:
        spark.stop()


def _frame(spark: Any, rows: int) -> Any:
    """Rows of 500 random numbers, and whether the first 20 add up to more than 0; made where they are used."""

    def make(batches: Iterator[Any]) -> Iterator[Any]:
        import numpy as np
        import pyarrow as pa

        for batch in batches:
            numbers = batch.column(0).to_numpy()
            draw = np.random.default_rng(int(numbers[0]))
            values = draw.standard_normal((len(numbers), _COLUMNS), dtype=np.float32)
            offsets = pa.array(np.arange(0, values.size + 1, _COLUMNS, dtype=np.int32))
            lists = pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1)))
            labels = (values[:, :20].sum(axis=1) > 0).astype(np.int64)
            yield pa.RecordBatch.from_arrays([lists, pa.array(labels)], names=["x", "y"])

    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(_BATCH_ROWS))
    parts = max(2, rows * _ROW_BYTES // _PARTITION_BYTES)
    return spark.range(0, rows, 1, parts).mapInArrow(make, "x array<float>, y long")


def _model(spark: Any, store: str) -> Any:
    from cerebro_nas.tracking import load_tensorflow
    from cerebro_nas.tracking import quiet_libraries

    quiet_libraries()
    load_tensorflow()
    import autokeras as ak

    from cerebro_nas import HyperHyperModel
    from cerebro_nas.backend import SparkBackend

    node = ak.Input()
    dense = ak.DenseBlock(num_layers=1, use_batchnorm=False, dropout=0.0)(node)
    model = HyperHyperModel(node, ak.ClassificationHead(dropout=0.0)(dense), max_trials=2, seed=1, overwrite=True)
    model.resource_bind(
        SparkBackend(spark=spark, num_workers=2),
        store,
        validation=0.05,
        feature_columns=["x"],
        label_columns=["y"],
        verbose=0,
    )
    model.tuner_bind("random", objective="val_accuracy")
    return model


class _Samples:
    """Memory of this process's family that is its own (no pages of files), twice a second."""

    def __init__(self) -> None:
        self._seen: dict[str, list[tuple[float, int]]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Samples:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def peaks(self) -> dict[str, int]:
        """Most bytes of a process, by what it is."""
        found: dict[str, int] = {}
        for name, samples in self._seen.items():
            kind = name.split(":")[0]
            found[kind] = max(found.get(kind, 0), max(size for _, size in samples))
        return found

    def growth(self) -> list[float]:
        """Of each worker: the most of the last third of its life over the most of the second third."""
        found = []
        for name, samples in self._seen.items():
            third = len(samples) // 3
            if name.startswith("worker") and third > 5:
                sizes = [size for _, size in samples]
                found.append(max(sizes[-third:]) / max(sizes[third : 2 * third]))
        return found

    def _run(self) -> None:
        me = psutil.Process()
        while not self._over.wait(_PAUSE_S):
            for process in [me, *me.children(recursive=True)]:
                try:
                    line = " ".join(process.cmdline())
                    size = _own_bytes(process.pid)
                except (psutil.Error, OSError):
                    continue
                self._seen.setdefault(f"{_kind(process, me, line)}:{process.pid}", []).append((time.monotonic(), size))


def _kind(process: psutil.Process, me: psutil.Process, line: str) -> str:
    if process == me:
        return "driver"
    if "cerebro_nas.worker" in line:
        return "worker"
    return "java" if "java" in line.split(" ")[0] else "spark_python"


def _own_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
