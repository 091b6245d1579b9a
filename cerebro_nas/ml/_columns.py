"""What a fitted model adds to a DataFrame, in the form that Spark's evaluators and feature transformers read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cerebro_nas.errors import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql import DataFrame

    from cerebro_nas.results import OutputSpec

OUTPUT = "__cerebro_nas"
"""What prediction calls the raw output here; the label that it means is `<OUTPUT>__prediction`."""

# The smallest normal number of float32, which outputs are: its logarithm is finite.
_TINY = 1.1754943508222875e-38
_MOST_UNROLLED = 32
_NUMBERS = ("ByteType", "DecimalType", "DoubleType", "FloatType", "IntegerType", "LongType", "ShortType")
_LISTS = ("ArrayType", "VectorUDT")


@dataclass(frozen=True)
class Names:
    """Names of the columns that are added; an empty one leaves its column out."""

    prediction: str
    probability: str
    raw_prediction: str
    predicted_label: str
    label: str
    label_index: str

    def added(self, dataset: DataFrame, output: OutputSpec) -> list[str]:
        """Those that this output adds to this DataFrame."""
        names = [self.prediction]
        if output.kind != "values":
            names += [self.probability, self.raw_prediction]
            names += [self.predicted_label] if are_texts(output) else []
            names += [self.label_index] if _needs_index(dataset, self.label, output) else []
        return [name for name in names if name]


def are_texts(output: OutputSpec) -> bool:
    """Whether the labels are texts, so that a prediction is the position of one."""
    return output.kind != "values" and isinstance(output.classes[0], str)


def check_names(dataset: DataFrame, names: list[str]) -> None:
    """Refuse to add a column that is there.

    Raises:
        ConfigError: one is there, or is added twice.
    """
    there = [name for name in names if name in dataset.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if there or twice:
        raise ConfigError(
            f"The model adds the columns {names}, which must be new and different. "
            f"Received: columns={dataset.columns}, of which {there or twice} would be there twice. Drop them, or give "
            "the model's other names, with `setPredictionCol` for example."
        )


def add_columns(dataset: DataFrame, found: DataFrame, output: OutputSpec, names: Names) -> DataFrame:
    """Turn raw output and label into the columns of Spark ML.

    Args:
        dataset: the DataFrame without them.
        found: the same with raw output and label, as `TrialModel.transform` adds them.
        output: how the output reads.
        names: what the columns are called.
    """
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import functions as F

    wanted = set(names.added(dataset, output))
    columns: dict[str, Column] = {names.prediction: _prediction(output)}
    if output.kind != "values":
        columns[names.probability] = array_to_vector(_probabilities(output))
        columns[names.raw_prediction] = array_to_vector(_logarithms(output))
        columns[names.predicted_label] = F.col(f"{OUTPUT}__prediction")
        if _needs_index(dataset, names.label, output):
            columns[names.label_index] = _index(dataset, names.label, output)
    given = found.withColumns({name: column for name, column in columns.items() if name in wanted})
    if are_texts(output) and names.prediction in wanted:
        # As StringIndexer leaves it: IndexToString then needs no list of labels.
        nominal = {"type": "nominal", "name": names.prediction, "vals": [str(label) for label in output.classes]}
        given = given.withMetadata(names.prediction, {"ml_attr": nominal})
    return given.drop(OUTPUT, f"{OUTPUT}__prediction")


def _prediction(output: OutputSpec) -> Column:
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import functions as F

    if output.kind == "values" and output.width > 1:
        return array_to_vector(_numbers())
    if output.kind == "multilabel":
        return array_to_vector(F.col(f"{OUTPUT}__prediction"))
    if not are_texts(output):
        return F.col(f"{OUTPUT}__prediction").cast("double")
    if output.kind == "binary":
        return (F.col(OUTPUT)[0] > 0.5).cast("double")
    return _largest(F.col(OUTPUT))


def _probabilities(output: OutputSpec) -> Column:
    from pyspark.sql import functions as F

    return _numbers() if output.kind != "binary" else F.array(*_elements(output))


def _logarithms(output: OutputSpec) -> Column:
    from pyspark.sql import functions as F

    def logarithm(value: Column) -> Column:
        return F.log(F.greatest(value, F.lit(_TINY)))

    if len(output.classes) > _MOST_UNROLLED:
        return F.transform(_numbers(), logarithm)
    # Spark compiles this, and interprets functions of elements.
    return F.array(*[logarithm(value) for value in _elements(output)])


def _elements(output: OutputSpec) -> list[Column]:
    from pyspark.sql import functions as F

    if output.kind != "binary":
        return [F.col(OUTPUT)[number].cast("double") for number in range(len(output.classes))]
    second = F.col(OUTPUT)[0].cast("double")
    return [F.lit(1.0) - second, second]


def _numbers() -> Column:
    from pyspark.sql import functions as F

    return F.col(OUTPUT).cast("array<double>")


def _largest(column: Column) -> Column:
    from pyspark.sql import functions as F

    return (F.array_position(column, F.array_max(column)) - 1).cast("double")


def _needs_index(dataset: DataFrame, label: str, output: OutputSpec) -> bool:
    """Whether the label is there, and is no number: evaluators take nothing else. Several labels have no position."""
    return (
        output.kind != "multilabel"
        and label in dataset.columns
        and type(dataset.schema[label].dataType).__name__ not in _NUMBERS
    )


def _index(dataset: DataFrame, label: str, output: OutputSpec) -> Column:
    """Position of the label among the classes; one beyond the last for a label that training has not seen."""
    from pyspark.ml.functions import vector_to_array
    from pyspark.sql import functions as F

    column, kind = F.col("`" + label.replace("`", "``") + "`"), type(dataset.schema[label].dataType).__name__
    if kind in _LISTS:
        return _largest(vector_to_array(column) if kind == "VectorUDT" else column)
    if not are_texts(output):
        # Booleans: their prediction is 0 or 1 as well.
        return column.cast("double")
    position = F.array_position(F.array(*[F.lit(text) for text in output.classes]), column)
    return F.when(position == 0, F.lit(len(output.classes))).otherwise(position - 1).cast("double")
