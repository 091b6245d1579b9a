"""The other floor: as `floor_graph`, with `model.fit` in place of the graph. What a careful user writes by hand."""

from __future__ import annotations

import common

START = common.START  # the import above comes first: it reads the clock

import multiprocessing  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402

from floor_graph import deal  # noqa: E402


def train_all(pile: list[dict[str, Any]], data: Any, epochs: int, batch_size: int, results: Any) -> None:
    """Body of a process: load, then train one candidate after another."""
    common.limit_threads()
    import tensorflow  # noqa: F401  (counted before `ready`)

    train, valid = common.load_split(data, "train"), common.load_split(data, "valid")
    ready = time.time()
    accuracies = {}
    for candidate in pile:
        model = common.build(candidate)
        history = model.fit(*train, batch_size=batch_size, epochs=epochs, validation_data=valid, verbose=0)
        accuracies[candidate["name"]] = float(history.history["val_accuracy"][-1])
    results.put((ready, accuracies))


def main() -> None:
    arguments = common.parse_arguments()
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    piles = deal(common.load_candidates(arguments.candidates), arguments.workers)
    processes = [
        context.Process(target=train_all, args=(pile, arguments.data, arguments.epochs, arguments.batch_size, results))
        for pile in piles
    ]
    for process in processes:
        process.start()
    found = [results.get() for _ in processes]
    accuracies = {name: value for _, part in found for name, value in part.items()}
    common.save_result(arguments.out, "floor: model.fit", accuracies, ready=max(ready for ready, _ in found))
    for process in processes:
        process.join()


if __name__ == "__main__":
    main()
