"""`python -m benchmarks NAME`: the benchmarks of this project, each with `--help` of its own."""

from __future__ import annotations

import argparse
import importlib
import sys

from benchmarks._errors import BenchmarkError

_MODULES = {
    "w8": ("benchmarks.w8", "eight networks on Fashion-MNIST: this project, its peers and the limit"),
    "growth": ("benchmarks.growth", "W8 with more rows, candidates and workers"),
    "trials": ("benchmarks.trials", "24 greedy trials of an image space, beside AutoKeras' own AutoModel"),
    "quality": ("benchmarks.quality", "what greedy search finds, beside AutoKeras' own AutoModel"),
    "sched": ("benchmarks.sched", "the scheduler alone, on a virtual clock"),
    "search": ("benchmarks.search", "search algorithms without training, beside random search and their peers"),
    "tuners": ("benchmarks.tuners", "every tuner on one real search on Spark"),
    "hop": ("benchmarks.hop", "what it costs to move a candidate to another worker"),
    "checkpoint": ("benchmarks.checkpoint", "what it takes from training to write states to the store"),
    "journal": ("benchmarks.journal", "what a search writes down, and what it takes to go through it again"),
    "io": ("benchmarks.shard_io", "DataFrame to shards, shards to memory, memory to the graph"),
    "memory": ("benchmarks.memory", "memory of a worker beyond TensorFlow's own"),
    "larger": ("benchmarks.larger", "a search on rows that are several times what a process may hold"),
    "inference": ("benchmarks.inference", "prediction on Spark beside one process's model.predict"),
    "startup": ("benchmarks.startup", "from fit() to the first step"),
    "import": ("benchmarks.imports", "what imports cost"),
    "fuzz": ("benchmarks.fuzz", "input of unknown origin for whatever reads it"),
    "soak": ("benchmarks.soak", "300 trials on Spark while workers are killed: does anything grow?"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark that the command line names."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, (module, text) in _MODULES.items():
        command = commands.add_parser(name, help=text, description=text)
        # Only the one that is asked for is imported: some load TensorFlow.
        if name in arguments[:1]:
            importlib.import_module(module).add_arguments(command)
    chosen = parser.parse_args(arguments)
    try:
        return int(importlib.import_module(_MODULES[chosen.name][0]).run(chosen))
    except BenchmarkError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
