"""The engine: runs one unit of one candidate after another, in one process."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitReport
from cerebro_nas.worker._errors import CandidateError
from cerebro_nas.worker._errors import UnusableStateError
from cerebro_nas.worker._inherit import inherit_state
from cerebro_nas.worker._loop import Loop
from cerebro_nas.worker._loop import StepCount
from cerebro_nas.worker._memory import allowed_memory_bytes
from cerebro_nas.worker._metric_sums import metric_sums
from cerebro_nas.worker._metric_sums import metrics_of_sums
from cerebro_nas.worker._model import build_model
from cerebro_nas.worker._row_order import row_order
from cerebro_nas.worker._shard_cache import ShardCache
from cerebro_nas.worker._shard_cache import Tensors
from cerebro_nas.worker._shard_cache import chunks
from cerebro_nas.worker._shard_cache import is_weighted
from cerebro_nas.worker._spec import CandidateSpec
from cerebro_nas.worker._spec import SearchSpec
from cerebro_nas.worker._state import dump_state
from cerebro_nas.worker._state import restore_state
from cerebro_nas.worker._transformation import find_transformation

_RESIDENT_BYTES = 1 << 30
_TIMED_BATCHES = 8
# Nearly all variables are float32.
_ITEM_BYTES = 4
# Numbers of what metrics counted at most: as text they are less than half of the largest report.
_MOST_SUMS = 1 << 14
_OUT_OF_MEMORY = (tf.errors.ResourceExhaustedError, MemoryError)


@dataclass(frozen=True)
class UnitResult:
    """What a unit gave: the report, and after training the state of `generation`."""

    report: UnitReport
    state: bytes | None
    generation: int


@dataclass
class _Compiled:
    """A compiled model with its loops, and whose state it holds at present."""

    model: keras.Model
    loop: Loop
    holds: tuple[str, int] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of weights and of the optimizer's state; temporaries of its steps come on top."""
        variables = (*self.model.variables, *self.model.optimizer.variables)
        return sum(math.prod(variable.shape) * _ITEM_BYTES for variable in variables)


class Engine:
    """Runs units.

    Candidates with the same architecture share one compiled model, whose variables are set to the state of the
    candidate at hand; the learning rate is one of them.

    Args:
        search: what holds for all units.
        scratch: directory for decoded shards; `close` removes it.
        max_models: compiled models kept; the least recently used goes first, also where they take more than an eighth
            of what the process may take.
        resident_bytes: bytes of shards kept in memory; a larger shard is streamed from disk in pieces. None: 1 GB, or a
            quarter of what the process may take where that is less.
    """

    def __init__(
        self, search: SearchSpec, scratch: Path, *, max_models: int = 32, resident_bytes: int | None = None
    ) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        allowed = allowed_memory_bytes()
        if resident_bytes is None:
            resident_bytes = min(_RESIDENT_BYTES, allowed // 4)
        self._model_bytes = allowed // 8
        self._search = search
        self._scratch = scratch
        self._max_models = max_models
        self._resident_bytes = resident_bytes
        self._shards = ShardCache(search, scratch, resident_bytes)
        self._compiled: OrderedDict[str, _Compiled] = OrderedDict()
        self._steps = StepCount()
        self._marks = 0
        self._valid_shards = sum(shard.split == "valid" for shard in search.shards)

    @property
    def progress(self) -> int:
        """A count of everything that gets done: steps, shards decoded, models built, states in and out. Only grows.

        Safe to ask from any thread, at any moment.
        """
        return self._marks + self._steps.value

    def held_shards(self) -> list[tuple[str, int]]:
        """Shards that are decoded, as (split, index)."""
        return self._shards.held()

    def preload(self, split: str, index: int) -> None:
        """Decode a shard ahead of its first use.

        Raises:
            StoreError: it cannot be read.
            DataError: it holds labels that are none of the classes.
            CandidateError: it does not fit into memory (`oom`); whose fault that is shows when it is used.
        """
        try:
            self._shards.resident(split, index)
        except _OUT_OF_MEMORY as error:
            raise CandidateError("oom", f"Shard {index} of {split} does not fit: {_brief(error)}") from error
        self._mark()

    @property
    def traces(self) -> int:
        """Graphs traced by the models that are kept."""
        return sum(compiled.loop.traces for compiled in self._compiled.values())

    @property
    def num_models(self) -> int:
        """Compiled models that are kept."""
        return len(self._compiled)

    def run(
        self,
        unit: Unit,
        spec: CandidateSpec,
        generation: int,
        fetch: Callable[[], bytes],
        sums: Mapping[str, list[float]] | None = None,
    ) -> UnitResult:
        """Run one unit.

        Args:
            unit: a train or evaluate unit.
            spec: the candidate.
            generation: train units in the state to start from; 0: initial weights from `spec.seed`, and then those
                of its parent, where layers match.
            fetch: returns the state of `generation`, or that of the parent; called only if it is needed.
            sums: of an epoch's last evaluation: what metrics counted on the other validation shards.

        Raises:
            CandidateError: the candidate is to blame (`nan_loss`, `oom`, `build_error`).
            UnusableStateError: the state that `fetch` gave cannot be restored.
        """
        if unit.shard is None:
            raise ConfigError(
                f"The engine runs units with a shard. Received: unit={unit}. Run function trials elsewhere."
            )
        try:
            return self._run(unit, spec, generation, fetch, sums or {})
        except _OUT_OF_MEMORY as error:
            self._forget(spec)
            raise CandidateError("oom", f"The candidate does not fit into memory: {_brief(error)}") from error

    def close(self) -> None:
        """Forget everything and remove the scratch directory."""
        self._compiled.clear()
        self._shards = ShardCache(self._search, self._scratch, 0)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _run(
        self,
        unit: Unit,
        spec: CandidateSpec,
        generation: int,
        fetch: Callable[[], bytes],
        sums: Mapping[str, list[float]],
    ) -> UnitResult:
        clock = _Clock(self._mark)
        split, index = unit.shard.split, unit.shard.index  # type: ignore[union-attr]
        tensors = self._shards.load(split, index)
        resident = self._shards.resident(split, index)
        clock.lap("shard_s")
        compiled = self._get(spec, tensors)
        clock.lap("build_s")
        inherited = self._set_state(compiled, spec, generation, fetch)
        clock.lap("state_in_s")
        if unit.phase == "train":
            # What the variables hold is no generation at all until the sub-epoch is done.
            compiled.holds = None
        traces = compiled.loop.traces
        try:
            size = spec.batch_size or self._search.batch_size
            metrics = self._loop(compiled.loop, unit, tensors, resident, size)
            counted, merged = self._over_shards(compiled.model, unit, sums)
        except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
            # Shapes that do not fit, a loss that cannot take these targets: no other worker would fare better.
            raise CandidateError("error", f"A step of the candidate failed: {_brief(error)}") from error
        busy = clock.lap("steps_s")
        traces = compiled.loop.traces - traces
        row = self._row_seconds(compiled.loop, tensors, size) if unit.phase == "evaluate" and traces else None
        state = None
        if unit.phase == "train":
            _check_finite(metrics, unit)
            generation += 1
            state = dump_state(compiled.model, {"trial": unit.trial, "generation": generation})
            compiled.holds = (unit.trial, generation)
        clock.lap("state_out_s")
        detail = {**clock.laps, "traces": float(traces), "state_bytes": float(len(state or b""))}
        if row is not None:
            detail["row_s"] = row
        if inherited is not None:
            detail["inherited_share"] = inherited
        report = UnitReport(tensors.rows, metrics, clock.total, busy, detail, counted, merged)
        return UnitResult(report, state, generation)

    # --- models -------------------------------------------------------------------------------------------------------

    def _get(self, spec: CandidateSpec, tensors: Tensors) -> _Compiled:
        key = compile_key(spec)
        if key in self._compiled:
            self._compiled.move_to_end(key)
            return self._compiled[key]
        compiled = self._build(spec, tensors)
        self._compiled[key] = compiled
        while len(self._compiled) > 1 and self._keeps_too_much():
            self._compiled.popitem(last=False)
        return compiled

    def _keeps_too_much(self) -> bool:
        kept = self._compiled.values()
        return len(kept) > self._max_models or sum(compiled.nbytes for compiled in kept) > self._model_bytes

    def _build(self, spec: CandidateSpec, tensors: Tensors) -> _Compiled:
        try:
            model = build_model(spec)
            loop = Loop(
                model,
                tensors.inputs,
                tensors.targets,
                self._steps,
                weighted=is_weighted(self._search),
                transformation=find_transformation(spec.transformation),
            )
            compiled = _Compiled(model, loop)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CandidateError("build_error", f"The model cannot be built: {_brief(error)}") from error
        compiled.holds = None if spec.parent else (spec.trial, 0)
        return compiled

    def _set_state(
        self, compiled: _Compiled, spec: CandidateSpec, generation: int, fetch: Callable[[], bytes]
    ) -> float | None:
        """Have the model be in this state; return the share of its weights that it took from its parent just now."""
        if compiled.holds == (spec.trial, generation):
            return None
        inherited = compiled.holds = None
        if generation == 0:
            # A fresh model draws its seeds in the order of construction, which only construction repeats.
            restore_state(compiled.model, dump_state(build_model(spec), {}))
            if spec.parent:
                inherited = self._inherit(compiled, spec, fetch())
        else:
            self._restore(compiled, spec, generation, fetch())
        compiled.holds = (spec.trial, generation)
        return inherited

    def _restore(self, compiled: _Compiled, spec: CandidateSpec, generation: int, data: bytes) -> None:
        try:
            meta = restore_state(compiled.model, data)
        except CorruptStateError as error:
            raise UnusableStateError(f"Generation {generation} of trial {spec.trial!r}: {error}") from error
        if (meta.get("trial"), meta.get("generation")) != (spec.trial, generation):
            raise UnusableStateError(
                f"The state should be generation {generation} of trial {spec.trial!r}. Received: {meta}. "
                "It is not used."
            )

    def _inherit(self, compiled: _Compiled, spec: CandidateSpec, data: bytes) -> float:
        try:
            return inherit_state(compiled.model, data)
        except CorruptStateError as error:
            raise UnusableStateError(f"State {spec.parent_state} of trial {spec.parent!r}: {error}") from error

    def _mark(self) -> None:
        self._marks += 1

    def _forget(self, spec: CandidateSpec) -> None:
        self._compiled.pop(compile_key(spec), None)

    # --- steps --------------------------------------------------------------------------------------------------------

    def _loop(self, loop: Loop, unit: Unit, tensors: Tensors, resident: Any, size: int) -> dict[str, float]:
        loop.reset_metrics()
        if unit.phase == "train":
            order = row_order(self._search.seed, unit, tensors.rows, tensors.row_bytes)
            if resident is not None:
                loop.train(resident[0], resident[1], tf.constant(order), size)
                return loop.metrics()
            for part in self._parts(tensors, order, size):
                picked = tensors.take(part)
                inputs, targets = _constants(picked)
                loop.train(inputs, targets, tf.range(len(part)), size)
                self._mark()
            return loop.metrics()
        if resident is not None:
            loop.test(resident[0], resident[1], size)
            return loop.metrics()
        for part in self._parts(tensors, np.arange(tensors.rows, dtype=np.int32), size):
            inputs, targets = _constants(tensors.take(part))
            loop.test(inputs, targets, size)
            self._mark()
        return loop.metrics()

    def _over_shards(
        self, model: keras.Model, unit: Unit, sums: Mapping[str, list[float]]
    ) -> tuple[dict[str, list[float]], dict[str, float]]:
        """After an evaluation: what metrics counted, for the driver; or, given the others' `sums`, what follows."""
        if unit.phase != "evaluate" or self._valid_shards < 2:
            return {}, {}
        counted = metric_sums(model, _MOST_SUMS)
        if not sums:
            return {name: values.tolist() for name, values in counted.items()}, {}
        whole = {name: values + np.asarray(sums[name]) for name, values in counted.items() if name in sums}
        return {}, metrics_of_sums(model, whole)

    def _row_seconds(self, loop: Loop, tensors: Tensors, size: int) -> float:
        """Seconds that a row takes in an evaluation whose graph is traced already; some batches will do."""
        rows = min(tensors.rows, size * _TIMED_BATCHES)
        inputs, targets = _constants(tensors.take(np.arange(rows, dtype=np.int32)))
        began = time.perf_counter()
        loop.test(inputs, targets, size)
        return (time.perf_counter() - began) / rows

    def _parts(self, tensors: Tensors, order: NDArray[np.int32], size: int) -> Any:
        # An eighth of the budget at a time: the next piece is gathered while the last one may still be referenced.
        return chunks(order, size, tensors.row_bytes, self._resident_bytes // 8)


class _Clock:
    """Seconds by part; `lapped` is called at the end of each."""

    def __init__(self, lapped: Callable[[], None]) -> None:
        self._lapped = lapped
        self._start = self._last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> float:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now
        self._lapped()
        return self.laps[name]

    @property
    def total(self) -> float:
        return self._last - self._start


def compile_key(spec: CandidateSpec) -> str:
    """What candidates must share to use one compiled model; a constant learning rate is state, not structure."""
    optimizer = json.loads(json.dumps(spec.optimizer))
    config = optimizer.get("config", {})
    if isinstance(config.get("learning_rate"), (int, float)):
        config["learning_rate"] = None
    parts = [spec.model, optimizer, spec.loss, spec.loss_weights, spec.metrics, spec.adapted, spec.transformation]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _constants(tensors: Tensors) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    return tuple(map(tf.constant, tensors.inputs)), tuple(map(tf.constant, tensors.targets))


def _check_finite(metrics: dict[str, float], unit: Unit) -> None:
    loss = metrics.get("loss", math.nan)
    if not math.isfinite(loss):
        raise CandidateError("nan_loss", f"The training loss became {loss} in epoch {unit.epoch} on {unit.shard}.")


def _brief(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:500]
