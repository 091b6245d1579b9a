"""Ray Tune: a grid over the candidates, one CPU a trial, in actors that are reused from trial to trial."""

from __future__ import annotations

import common

START = common.START  # the import above comes first: it reads the clock

import os  # noqa: E402
import shutil  # noqa: E402
import tempfile  # noqa: E402
from argparse import Namespace  # noqa: E402
from typing import Any  # noqa: E402

import _training  # noqa: E402

# Ray reads these when it is imported, or hands them on to its processes.
os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",  # there as here: one machine, so it listens on loopback only
    RAY_AIR_NEW_OUTPUT="0",  # the new output prints even where it is told not to
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
    no_grpc_proxy="127.0.0.1",
)

import psutil  # noqa: E402
import ray  # noqa: E402
from ray import tune  # noqa: E402


def run(config: dict[str, Any]) -> None:
    """What an actor does with a trial; `_training` keeps the data for the actor's next one."""
    tune.report({"accuracy": _training.train(**config)})


def main() -> None:
    arguments = common.parse_arguments()
    common.limit_threads()
    # Sockets stand in this directory, and their paths may have 107 characters: `--scratch` may be too long.
    session = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    try:
        ray.init(
            num_cpus=arguments.workers,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=128 * 1024**2,  # nothing goes through it, and the default is 30 % of the memory
            _temp_dir=session,
        )
        accuracies = search(arguments)
        _training.save(arguments, f"Ray Tune {ray.__version__}, reused actors", accuracies)
    finally:
        stop()
        shutil.rmtree(session, ignore_errors=True)


def stop() -> None:
    """End Ray and wait for its processes: its own shutdown returns while actors are still ending."""
    processes = psutil.Process().children(recursive=True)
    ray.shutdown()
    _, alive = psutil.wait_procs(processes, timeout=10)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=10)


def search(arguments: Namespace) -> dict[str, float]:
    space = {
        "candidate": tune.grid_search(_training.longest_first(arguments.candidates)),
        "data": arguments.data,
        "scratch": arguments.scratch,
        "epochs": arguments.epochs,
        "batch_size": arguments.batch_size,
    }
    tuner = tune.Tuner(
        tune.with_resources(run, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(arguments.scratch.resolve() / "results"), verbose=0),
    )
    results = tuner.fit()
    for error in results.errors:
        raise error
    return {result.config["candidate"]["name"]: result.metrics["accuracy"] for result in results}


if __name__ == "__main__":
    main()
