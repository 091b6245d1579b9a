"""Prediction and evaluation on Spark, in batches through Arrow.

The executors read the model from the store, once per Python worker, so that nothing large travels with the plan.
"""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from cerebro_nas.data import Faults
from cerebro_nas.errors import CerebroNasError
from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import DataError
from cerebro_nas.results._bundle import ModelSource
from cerebro_nas.results._bundle import OutputSpec
from cerebro_nas.results._columns import to_tensor
from cerebro_nas.results._labels import to_labels
from cerebro_nas.results._parts import Part
from cerebro_nas.results._parts import joined
from cerebro_nas.results._parts import measured
from cerebro_nas.results._parts import settled
from cerebro_nas.results._unusable import IN_BATCH
from cerebro_nas.results._unusable import IN_FRAME
from cerebro_nas.results._unusable import Unusable
from cerebro_nas.results._unusable import no_rows
from cerebro_nas.worker import ColumnSpec

if TYPE_CHECKING:
    import keras
    import pandas as pd
    from numpy.typing import NDArray
    from pyspark.sql import Column
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType

_CACHED_MODELS = 2
# Names of missing columns: of a frame with other columns altogether, all are.
_SHOWN = 5
# Rows of a step while they are small together: larger steps gain little, and what layers make of the rows grows too.
_STEP_ROWS = 4096
_STEP_BYTES = 4 << 20
# What a part of the rows gives on evaluation: its metrics, rows that cannot be used, or an error.
_NOTHING: dict[str, Any] = {
    **{"rows": 0, "names": [], "values": [], "sums": []},
    **{"unusable": "{}", "kind": None, "error": None},
}
_MEASURED = (
    "rows bigint, names array<string>, values array<double>, sums array<binary>, "
    "unusable string, kind string, error string"
)
_ERRORS: dict[str, type[CerebroNasError]] = {"ConfigError": ConfigError, "DataError": DataError}


def transform(df: DataFrame, source: ModelSource, trial: str, name: str) -> DataFrame:
    """Add raw outputs and predicted labels to `df`; see `TrialModel.transform`."""
    from pyspark.sql import functions as F
    from pyspark.sql.pandas.functions import pandas_udf
    from pyspark.sql.types import StructType

    specs = feature_specs(source)
    check_columns([spec.name for spec in specs], df.columns)
    added = [*source.output_columns, *(f"{output.column}__prediction" for output in source.outputs)]
    _check_new(df, added)
    struct = StructType()
    for number, output in enumerate(source.outputs):
        struct.add(f"output_{number}", _output_type())
        struct.add(f"prediction_{number}", _label_type(output))

    def predict(batches: Iterator[Any]) -> Iterator[pd.DataFrame]:
        model = load_cached(source, trial, name)
        for batch in batches:
            series = batch if isinstance(batch, tuple) else (batch,)
            unusable = Unusable()
            columns = tensors(series, specs, unusable)
            unusable.rows = len(series[0])
            unusable.refuse("a batch", IN_BATCH)
            yield _predictions(model, source, columns)

    import pandas as pd

    # Spark tells the kind of function from its annotations, and cannot read the postponed ones of this file.
    given = Iterator[pd.Series] if len(specs) == 1 else Iterator[tuple[pd.Series, ...]]
    predict.__annotations__ = {"batches": given, "return": Iterator[pd.DataFrame]}
    # The stubs know no iterator that gives structs.
    udf = pandas_udf(predict, struct)  # type: ignore[call-overload]
    held = _unused("__found", df)
    found = df.withColumn(held, udf(*[_narrow(df, spec) for spec in specs]))
    for number, output in enumerate(source.outputs):
        found = found.withColumn(source.output_columns[number], F.col(f"{held}.output_{number}"))
        found = found.withColumn(f"{output.column}__prediction", F.col(f"{held}.prediction_{number}"))
    return found.drop(held)


def evaluate(df: DataFrame, source: ModelSource, trial: str, name: str) -> dict[str, float]:
    """Loss and metrics over all rows of `df`; see `TrialModel.evaluate`."""
    specs = feature_specs(source)
    labels = [output.column for output in source.outputs]
    names = [spec.name for spec in specs] + labels
    check_columns(names, df.columns)
    # By number: a name with a dot in it would be read as a field.
    given = [_plain(df, name).alias(f"c{number}") for number, name in enumerate(names)]
    # pandas shows a null among numbers as NaN, and it is not to be told as that.
    nulls = [_plain(df, name).isNull().alias(f"n{number}") for number, name in enumerate(labels)]

    def measure(frames: Iterable[pd.DataFrame]) -> Iterable[pd.DataFrame]:
        import pandas as pd

        yield from (pd.DataFrame([{**_NOTHING, **told}]) for told in _measured(frames, source, trial, name))

    parts, unusable = [], Unusable()
    for row in df.select(*given, *nulls).mapInPandas(measure, _MEASURED).collect():
        if row["kind"] in _ERRORS:
            raise _ERRORS[row["kind"]](row["error"])
        unusable.merge(Unusable.from_json(row["unusable"], row["rows"]))
        parts.append(_part(row))
    unusable.refuse("a DataFrame", IN_FRAME)
    whole = joined(parts)
    if whole is None:
        raise no_rows("a DataFrame")
    # What a single part says of itself is final, and does not need the model here.
    return (settled(load_cached(source, trial, name), whole) if len(parts) > 1 and whole.sums else whole).found


def _measured(frames: Iterable[pd.DataFrame], source: ModelSource, trial: str, name: str) -> Iterator[dict[str, Any]]:
    """What a task of `evaluate` tells: nothing of no rows."""
    model, unusable = load_cached(source, trial, name), Unusable()

    def evaluated() -> Iterator[tuple[int, dict[str, float]]]:
        for frame in frames:
            columns, labels = _read(frame, source, unusable)
            # The rest is read for its count alone.
            if not unusable:
                yield len(frame), evaluate_arrays(model, source, source.assemble(columns), labels, source.batch_size)

    try:
        part = measured(evaluated(), model)
    except (ConfigError, DataError) as error:
        # As a row: an exception would reach the user inside a stack trace of Spark's.
        yield {"kind": type(error).__name__, "error": str(error)}
        return
    if unusable:
        yield {"rows": unusable.rows, "unusable": unusable.to_json()}
    elif part is not None:
        sums = [part.sums[name].astype("<f8").tobytes() if name in part.sums else None for name in part.found]
        yield {"rows": part.rows, "names": list(part.found), "values": list(part.found.values()), "sums": sums}


def _read(
    frame: pd.DataFrame, source: ModelSource, unusable: Unusable
) -> tuple[dict[str, NDArray[Any]], list[NDArray[Any]]]:
    """Columns and labels of a frame of `evaluate`; what is wrong with its rows is counted."""
    specs, heads = feature_specs(source), len(source.outputs)
    series = [frame[name] for name in frame.columns]
    columns = tensors(series[: len(specs)], specs, unusable)
    given = zip(source.outputs, series[len(specs) : -heads], series[-heads:], strict=True)
    labels = [
        to_labels(values, output, unusable.of(output.column), unusable.rows, nulls.to_numpy(dtype=bool))
        for output, values, nulls in given
    ]
    unusable.rows += len(frame)
    return columns, labels


def _part(row: Any) -> Part:
    sums = zip(row["names"], row["sums"], strict=True)
    states = {name: np.frombuffer(state, "<f8") for name, state in sums if state is not None}
    # On its way through pandas NaN has become null.
    values = [math.nan if value is None else value for value in row["values"]]
    return Part(row["rows"], dict(zip(row["names"], values, strict=True)), states)


def evaluate_arrays(
    model: keras.Model,
    source: ModelSource,
    inputs: list[NDArray[Any]],
    labels: list[NDArray[Any]],
    batch_size: int,
) -> dict[str, float]:
    """Loss and metrics of arrays; labels as they stand in the data (not encoded)."""
    targets = [output.encode(values) for output, values in zip(source.outputs, labels, strict=True)]
    found = model.evaluate(
        inputs if len(inputs) > 1 else inputs[0],
        targets if len(targets) > 1 else targets[0],
        batch_size=batch_size,
        verbose=0,
        return_dict=True,
    )
    # Keras gives the names in alphabetical order; the loss comes first everywhere else.
    return {name: float(found[name]) for name in sorted(found, key=lambda name: name != "loss")}


def raw_outputs(model: keras.Model, inputs: list[NDArray[Any]], batch_size: int) -> list[NDArray[Any]]:
    """Outputs of the model on arrays, one array per output."""
    if not len(inputs[0]):
        # Keras fails without a single batch.
        return [np.empty((0, *(size or 0 for size in output.shape[1:])), np.float32) for output in model.outputs]
    found = model.predict(inputs if len(inputs) > 1 else inputs[0], batch_size=batch_size, verbose=0)
    return list(found) if isinstance(found, (list, tuple)) else [found]


@functools.lru_cache(maxsize=_CACHED_MODELS)
def load_cached(source: ModelSource, trial: str, name: str) -> keras.Model:
    """Load a model once per process: Spark uses its Python workers again."""
    from cerebro_nas.tracking import load_tensorflow
    from cerebro_nas.tracking import quiet_libraries

    _keep_to_task()
    quiet_libraries()
    load_tensorflow()
    return source.load(trial, name)


def _keep_to_task() -> None:
    """In a task of Spark, use its cores and GPUs alone: each slot has a process, and each would take them all."""
    context = sys.modules["pyspark"].TaskContext.get() if "pyspark" in sys.modules else None
    if context is None:
        return
    gpus = context.resources().get("gpu")
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(context.cpus()))
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", ",".join(gpus.addresses) if gpus is not None else "-1")


def feature_specs(source: ModelSource) -> list[ColumnSpec]:
    """The feature columns, in order."""
    return [spec for group in source.inputs for spec in group]


def check_columns(names: Sequence[str], there: Collection[str]) -> None:
    """Refuse a DataFrame, Spark's or pandas', that lacks a column."""
    missing = [name for name in names if name not in there]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise ConfigError(
            f"The DataFrame must have the {len(names)} column(s) that the model takes. Received: one of {len(there)} "
            f"column(s), without {', '.join(map(repr, missing[:_SHOWN]))}{more}. Add them, or rename yours."
        )


def tensors(series: Sequence[Any], specs: Sequence[ColumnSpec], unusable: Unusable) -> dict[str, NDArray[Any]]:
    """Turn pandas columns into arrays by name; rows that cannot be used are counted, and left out."""
    found: dict[str, NDArray[Any]] = {}
    for spec, column in zip(specs, series, strict=True):
        # A column that feeds two inputs is counted once.
        faults = Faults() if spec.name in found else unusable.of(spec.name)
        found[spec.name] = to_tensor(column, spec, faults, unusable.rows)
    return found


def _check_new(df: DataFrame, added: list[str]) -> None:
    """Refuse to add a column that is there: Spark would put it in the place of the user's."""

    def plain(name: str) -> str:
        return name if case_sensitive else name.lower()

    case_sensitive = str(df.sparkSession.conf.get("spark.sql.caseSensitive", "false")).lower() == "true"
    there = {plain(name) for name in df.columns}
    names = [plain(name) for name in added]
    twice = [name for name in added if plain(name) in there or names.count(plain(name)) > 1]
    if twice:
        raise ConfigError(
            f"The model adds the columns {added}, which must be new and different. Received: a DataFrame of "
            f"{len(df.columns)} column(s), with which {sorted(set(twice))} would be there twice. Drop or rename yours, "
            "or give the model's outputs other names, with `set_output_columns`."
        )


def _unused(name: str, df: DataFrame) -> str:
    there = {column.lower() for column in df.columns}
    while name in there:
        name += "_"
    return name


def _plain(df: DataFrame, name: str) -> Column:
    """The column as Arrow can carry it to pandas: Spark ML vectors become arrays."""
    from pyspark.sql import functions as F

    column = F.col("`" + name.replace("`", "``") + "`")
    if type(df.schema[name].dataType).__name__ != "VectorUDT":
        return column
    from pyspark.ml.functions import vector_to_array

    # The conversion fails on null, where a null is to be counted.
    return F.when(column.isNotNull(), vector_to_array(column))


def _narrow(df: DataFrame, spec: ColumnSpec) -> Column:
    """What `_plain` gives, in single precision where that is what the model takes: half as much goes through Arrow."""
    column, kind = _plain(df, spec.name), df.schema[spec.name].dataType
    if spec.encoder is not None or not spec.shape or spec.dtype not in ("float32", "uint8"):
        return column
    is_vector = type(kind).__name__ == "VectorUDT"
    return column.cast("array<float>") if is_vector or kind.simpleString() == "array<double>" else column


def _predictions(model: keras.Model, source: ModelSource, columns: dict[str, NDArray[Any]]) -> pd.DataFrame:
    import pandas as pd

    found: dict[str, Any] = {}
    raw = _outputs(model, source.assemble(columns), source.batch_size)
    for number, (output, values) in enumerate(zip(source.outputs, raw, strict=True)):
        labels = output.decode(values)
        # Lists, as PySpark makes lists of arrays one number at a time, which costs twice as much.
        found[f"output_{number}"] = values.reshape(len(values), math.prod(values.shape[1:])).astype(np.float32).tolist()
        found[f"prediction_{number}"] = labels.tolist() if labels.ndim > 1 else labels
    return pd.DataFrame(found)


def _outputs(model: keras.Model, inputs: list[NDArray[Any]], batch_size: int) -> list[NDArray[Any]]:
    """What `raw_outputs` gives, for the batches of a task.

    `model.predict` makes a pipeline and callbacks for each call, which takes as long as a small network on thousands of
    rows; and small rows are worth larger steps.
    """
    count = len(inputs[0])
    if not count:
        return raw_outputs(model, inputs, batch_size)
    row_bytes = max(1, sum(array.nbytes for array in inputs) // count)
    step = max(batch_size, min(_STEP_ROWS, _STEP_BYTES // row_bytes))
    steps = []
    for start in range(0, count, step):
        part = [array[start : start + step] for array in inputs]
        found = model.predict_on_batch(part if len(part) > 1 else part[0])
        steps.append(found if isinstance(found, (list, tuple)) else [found])
    return [np.concatenate([np.asarray(part) for part in parts]) for parts in zip(*steps, strict=True)]


def _output_type() -> DataType:
    from pyspark.sql.types import ArrayType
    from pyspark.sql.types import FloatType

    return ArrayType(FloatType())


def _label_type(output: OutputSpec) -> DataType:
    from pyspark.sql import types as T

    if output.kind == "multilabel" or (output.kind == "values" and output.width > 1):
        return T.ArrayType(T.DoubleType())
    if output.kind == "values":
        return T.DoubleType()
    first = output.classes[0]
    if isinstance(first, str):
        return T.StringType()
    return T.LongType() if isinstance(first, int) else T.DoubleType()
