"""This project's side of the comparison by greedy search."""

from __future__ import annotations

import common

START = common.START  # the import above comes first: it reads the clock

import argparse  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import greedy_space  # noqa: E402
import ours  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    greedy_space.add_arguments(parser)
    parser.add_argument("--slots", type=int, default=4, help="task slots of the embedded Spark")


def main() -> None:
    arguments = common.parse_arguments(add_arguments)
    common.limit_threads()
    from cerebro_nas.backend import SparkBackend
    from cerebro_nas.backend import local_spark_session
    from cerebro_nas.tracking import load_tensorflow

    spark = local_spark_session(arguments.slots, meanwhile=load_tensorflow)
    backend = SparkBackend(spark.sparkContext, arguments.workers, threads_per_worker=1)
    backend.launch()
    import autokeras

    from cerebro_nas import HyperHyperModel
    from cerebro_nas.storage import LocalStore

    inputs, outputs = greedy_space.search_space(autokeras)
    model = HyperHyperModel(inputs, outputs, project_name="greedy", overwrite=True, seed=1)
    model.resource_bind(
        backend=backend,
        store=LocalStore(prefix_path=arguments.scratch),
        validation="is_valid",
        feature_columns="features",
        label_columns="label",
        evaluation_metric="accuracy",
        verbose=0,
    )
    model.tuner_bind("greedy", hyperparameters=greedy_space.optimizers(), max_trials=arguments.trials)
    result = model.fit(
        ours.read(spark, arguments.data),
        batch_size=arguments.batch_size,
        epochs=arguments.epochs,
        input_shape=(28, 28, 1),
    )
    table = result.leaderboard()
    log = list(result.schedule_log)
    to_wall_clock = time.time() - time.monotonic()
    common.save_result(
        arguments.out,
        "cerebro_nas",
        {f"trial {row['trial']}": float(row["score"]) for _, row in table.iterrows()},
        ready=min(entry.started for entry in log) + to_wall_clock,
        utilisation=result.schedule.utilisation,
        seconds=ours.parts(log),
        parameters=[int(count) for count in table["cost.parameters"]],
    )
    spark.stop()


if __name__ == "__main__":
    main()
