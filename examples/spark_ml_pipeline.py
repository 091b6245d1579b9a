"""A model search as a stage of a Spark ML pipeline: assemble, search, evaluate, save, load. No JVM to install.

The data set is scikit-learn's wine table: 178 wines, 13 measurements, three growers, here by name. The labels stay
strings: the model has them as the last layer's order, and tells the evaluator their positions.

    python examples/spark_ml_pipeline.py
    python examples/spark_ml_pipeline.py --trials 8 --epochs 30 --folds 3
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from pyspark.ml import Pipeline
from pyspark.ml import PipelineModel
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.feature import StandardScaler
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.tuning import CrossValidator
from pyspark.ml.tuning import ParamGridBuilder
from sklearn.datasets import load_wine

from cerebro_nas.backend import local_spark_session
from cerebro_nas.tracking import load_tensorflow
from cerebro_nas.tracking import quiet_libraries

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql import SparkSession

WANTED_ACCURACY = 0.85
GROWERS = ("Aldo", "Bruna", "Carla")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A model search in a Spark ML pipeline, on scikit-learn's wine table.")
    parser.add_argument("--trials", type=int, default=3, help="candidates to train (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=15, help="epochs per candidate at most (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: %(default)s)")
    parser.add_argument(
        "--folds", type=int, default=0, help="compare two tuners in so many folds first (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=7, help="seed of split, search and weights (default: %(default)s)")
    parser.add_argument(
        "--path", type=Path, default=Path("runs/wine"), help="where the fitted pipeline goes (default: %(default)s)"
    )
    return parser.parse_args()


def load_libraries() -> None:
    """What takes seconds to import, while Spark starts."""
    load_tensorflow()
    import cerebro_nas.hypermodel  # noqa: F401 (it brings AutoKeras and Keras)


def read_table(spark: SparkSession) -> tuple[DataFrame, list[str]]:
    wine = load_wine()
    names = [name.replace("/", "_") for name in wine.feature_names]
    rows = [(*map(float, row), GROWERS[label]) for row, label in zip(wine.data, wine.target, strict=True)]
    return spark.createDataFrame(rows, [*names, "grower"]), names


def main() -> int:
    arguments = parse_arguments()
    quiet_libraries()  # TensorFlow and Spark are talkative when they load
    started = time.monotonic()
    spark = local_spark_session(arguments.workers, meanwhile=load_libraries)
    table, names = read_table(spark)
    train, test = table.randomSplit([0.8, 0.2], seed=arguments.seed)

    from keras_tuner import HyperParameters

    from cerebro_nas.ml import HyperHyperEstimator

    # Of AutoKeras' learning rates, the ones that teach something in so few epochs.
    hyperparameters = HyperParameters()
    hyperparameters.Choice("learning_rate", [0.01, 0.003])
    hyperparameters.Fixed("optimizer", "adam")
    estimator = HyperHyperEstimator(
        task="StructuredDataClassifier",
        labelCol="grower",
        hyperparameters=hyperparameters,
        objective="val_accuracy",
        maxTrials=arguments.trials,
        epochs=arguments.epochs,
        batchSize=16,
        numWorkers=arguments.workers,
        seed=arguments.seed,
    )
    pipeline = Pipeline(
        stages=[
            VectorAssembler(inputCols=names, outputCol="measured"),
            StandardScaler(inputCol="measured", outputCol="features", withMean=True),
            estimator,
        ]
    )
    # The label is a string; `labelIndex` is where the model puts its position, which evaluators read.
    evaluator = MulticlassClassificationEvaluator(labelCol="labelIndex", metricName="accuracy")

    if arguments.folds:
        grid = ParamGridBuilder().addGrid(estimator.tuner, ["greedy", "random"]).build()
        search = CrossValidator(
            estimator=pipeline, estimatorParamMaps=grid, evaluator=evaluator, numFolds=arguments.folds
        )
        found = search.fit(train)
        for params, accuracy in zip(grid, found.avgMetrics, strict=True):
            print(f"{params[estimator.tuner]}: {accuracy:.4f} in {arguments.folds} folds")
        model: Any = found.bestModel
    else:
        model = pipeline.fit(train)
    print(f"Best of {arguments.trials} trials: {model.stages[-1].hyperparameters}")

    shutil.rmtree(arguments.path, ignore_errors=True)
    model.save(str(arguments.path))
    predicted = PipelineModel.load(str(arguments.path)).transform(test).cache()
    predicted.select("grower", "predictedLabel", "prediction", "probability").show(5, truncate=False)
    accuracy = evaluator.evaluate(predicted)
    print(f"Test accuracy, {predicted.count()} held-out wines, pipeline loaded from {arguments.path}: {accuracy:.4f}")
    print(f"Took {time.monotonic() - started:.0f} s in all.")
    spark.stop()
    if accuracy < WANTED_ACCURACY:
        print(f"That is below {WANTED_ACCURACY}. More --trials or --epochs may help.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
