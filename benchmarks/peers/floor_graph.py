"""The limit: each process trains its candidates on arrays in memory, a whole epoch in one TensorFlow graph.

Nothing hops, nothing is scheduled, nothing is written: candidates are dealt out beforehand, the longest first.
"""

from __future__ import annotations

import common

START = common.START  # the import above comes first: it reads the clock

import multiprocessing  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402


def deal(candidates: list[dict[str, Any]], workers: int) -> list[list[dict[str, Any]]]:
    """Longest first, each to the worker that has the least to do."""
    piles: list[list[dict[str, Any]]] = [[] for _ in range(workers)]
    loads = [0.0] * workers
    for candidate in sorted(candidates, key=cost, reverse=True):
        least = loads.index(min(loads))
        piles[least].append(candidate)
        loads[least] += cost(candidate)
    return piles


def cost(candidate: dict[str, Any]) -> float:
    """Multiplications of the convolutions, the bulk of the work."""
    width, kernel = candidate["width"], candidate["kernel"]
    return float(kernel**2 * width * (28 * 28 + 14 * 14 * 2 * width))


def train_all(pile: list[dict[str, Any]], data: Any, epochs: int, batch_size: int, results: Any) -> None:
    """Body of a process: load, then train one candidate after another."""
    common.limit_threads()
    import numpy as np
    import tensorflow as tf

    train, valid = ([tf.constant(part) for part in common.load_split(data, split)] for split in ("train", "valid"))
    rows = len(train[0])
    ready = time.time()
    accuracies = {}
    for candidate in pile:
        model = common.build(candidate)
        make_variables(np, model)
        run_epoch, evaluate = make_loops(tf, model, batch_size)
        generator = np.random.default_rng(candidate["seed"])
        for _ in range(epochs):
            model.reset_metrics()
            run_epoch(*train, tf.constant(generator.permutation(rows).astype(np.int32)))
            model.reset_metrics()
            evaluate(*valid)
            accuracy = float(model.get_metrics_result()["accuracy"])
        accuracies[candidate["name"]] = accuracy
    results.put((ready, accuracies))


def make_variables(np: Any, model: Any) -> None:
    """Have optimizer and metrics make theirs now: made inside a graph, they would cost a second trace of it."""
    model.optimizer.build(model.trainable_variables)
    label, output = np.zeros(1, np.int32), np.zeros((1, 10), np.float32)
    model.compute_loss(y=label, y_pred=output)
    model.compute_metrics(None, label, output, None)


def make_loops(tf: Any, model: Any, batch_size: int) -> tuple[Any, Any]:
    """An epoch of training, and an evaluation, each as one graph."""

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def run_epoch(images: Any, labels: Any, order: Any) -> None:
        rows = tf.shape(order)[0]
        for step in tf.range((rows + batch_size - 1) // batch_size):
            picked = order[step * batch_size : tf.minimum((step + 1) * batch_size, rows)]
            model.train_step((tf.gather(images, picked), tf.gather(labels, picked)))

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def evaluate(images: Any, labels: Any) -> None:
        rows = tf.shape(labels)[0]
        for step in tf.range((rows + batch_size - 1) // batch_size):
            begin, end = step * batch_size, tf.minimum((step + 1) * batch_size, rows)
            model.test_step((images[begin:end], labels[begin:end]))

    return run_epoch, evaluate


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
    common.save_result(arguments.out, "floor: epochs as one graph", accuracies, ready=max(ready for ready, _ in found))
    for process in processes:
        process.join()


if __name__ == "__main__":
    main()
