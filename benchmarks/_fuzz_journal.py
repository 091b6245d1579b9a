"""Fuzzing what reads journals: the parser, the file, and going through the records again."""

from __future__ import annotations

import json
import math
import random
import shutil
import zlib
from pathlib import Path
from typing import Any

from benchmarks._fuzzing import BrokenPromiseError
from benchmarks._fuzzing import Reader
from benchmarks._mutate import mutate_bytes
from benchmarks._mutate import mutate_json
from benchmarks._mutate import to_json
from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.backend.simulated import FailUnit
from cerebro_nas.backend.simulated import Kill
from cerebro_nas.errors import BuildError
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import ResumeMismatchError
from cerebro_nas.errors import SearchAborted
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import Unit
from cerebro_nas.journal import DamagedJournalError
from cerebro_nas.journal import Journal
from cerebro_nas.journal import Record
from cerebro_nas.journal import parse
from cerebro_nas.journal._line import encode
from cerebro_nas.search import Books
from cerebro_nas.search import Ledger
from cerebro_nas.search import SearchDriver
from cerebro_nas.search import SearchParts
from cerebro_nas.search import StoppingRule
from cerebro_nas.search import replay
from cerebro_nas.storage import Janitor
from cerebro_nas.storage import StateFiles
from cerebro_nas.testing import shard_search
from cerebro_nas.tracking import SilentReporter
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners import make_tuner
from cerebro_nas.worker import CandidateSpec

_TRIALS, _EPOCHS, _WORKERS = 5, 2, 2
_KINDS = ("session", "event", "trial", "rejected", "wait", "exhausted", "run", "stop", "interrupted", "end", "odd")


def readers(directory: Path) -> list[Reader]:
    """The readers of journals.

    Args:
        directory: for files; it is there and empty.
    """
    good = record_search(directory / "search", "random")
    texts = [good, record_search(directory / "greedy", "greedy"), _glued(good), good[: len(good) // 2]]
    records = [parse(text).records for text in texts[:2]]

    def mutated(draw: random.Random) -> bytes:
        return mutate_bytes(draw, draw.choice(texts), texts)

    return [
        Reader("parse", mutated, _parse, (DamagedJournalError,)),
        Reader("parse, checksums right", lambda draw: _sealed_lines(draw, good), _parse, (DamagedJournalError,)),
        Reader("Journal.open", mutated, lambda data: _open(directory / "open", data), (CorruptStateError,)),
        Reader(
            "replay",
            lambda draw: _odd_records(draw, draw.choice(records)),
            _replay,
            (CorruptStateError, ResumeMismatchError, SearchAborted),
        ),
    ]


def record_search(directory: Path, tuner: str) -> bytes:
    """The journal of a small simulated search with a death, a failure, a rejected candidate and early stopping."""
    path = directory / "journal.jsonl"
    directory.mkdir()
    states = StateFiles(str(directory / "states"))
    janitor = Janitor(states)
    hopper, asker, books = _fresh(tuner)
    faults = (Kill("w1", "in_unit", 0.5, nth=3), FailUnit(worker="w0", nth=4))
    backend = SimulatedBackend(_WORKERS, metrics=_metrics, faults=faults)
    try:
        with backend, Journal.open(path) as journal:
            backend.start(shard_search([64, 64], [32]))
            driver = SearchDriver(
                SearchParts(
                    space=_Space(),
                    tuner=asker,
                    hopper=hopper,
                    backend=backend,
                    journal=journal,
                    states=states,
                    janitor=janitor,
                    books=books,
                    reporter=SilentReporter(),
                    rules=[StoppingRule("val_accuracy", "max", patience=1)],
                    boards=(),
                    seed=7,
                )
            )
            driver.run()
            driver.wind_up(backend.stop())
    finally:
        janitor.close(5.0)
        asker.close()
    return path.read_bytes()


def _fresh(tuner: str) -> tuple[Hopper, Tuner, Books]:
    import keras_tuner

    space = keras_tuner.HyperParameters()
    space.Int("units", 1, 1000)
    space.Choice("activation", ["relu", "tanh", "elu"])
    shards = [ShardInfo(Shard("train", i), 64, 640) for i in range(2)] + [ShardInfo(Shard("valid", 0), 32, 320)]
    asker = make_tuner(tuner, objective="val_accuracy", max_trials=_TRIALS, hyperparameters=space, seed=7)
    books = Books(
        project="p",
        tuner=tuner,
        objectives=[("val_accuracy", "max")],
        max_trials=_TRIALS,
        epochs=_EPOCHS,
        num_workers=_WORKERS,
    )
    return Hopper(shards, num_workers=_WORKERS), asker, books


class _Space:
    """Candidates of a number of parameters; every fourth cannot be built."""

    def build(self, hp: Any, *, trial: str, seed: int) -> CandidateSpec:
        units = int(hp.get("units"))
        if units % 4 == 0:
            raise BuildError("a multiple of four", parameters=units)
        return CandidateSpec(trial, "", {}, (), (), seed=seed, parameters=units)


def _metrics(unit: Unit, spec: CandidateSpec) -> dict[str, float]:
    if spec.parameters % 7 == 0 and unit.epoch == 1:
        return {"loss": math.nan, "accuracy": math.nan}
    return {"loss": 1.0, "accuracy": 0.5 + 0.1 * math.sin(spec.parameters) * unit.epoch}


# --- the parser -------------------------------------------------------------------------------------------------------


def _glued(text: bytes) -> bytes:
    lines = text.splitlines(keepends=True)
    return b"".join([*lines[:5], lines[5].rstrip(b"\n"), *lines[6:]])


def _sealed_lines(draw: random.Random, text: bytes) -> bytes:
    """A journal with right checksums all along, some of whose lines say odd things."""
    lines, checksum = [], 0
    odd = draw.randrange(12)
    for number, record in enumerate([Record(0, 0.0, "journal", {"schema": 1}), *parse(text).records[:10]]):
        line, checksum_of_line = encode(record, checksum)
        if number == odd:
            body = json.loads(line)
            del body["crc"]
            tail = mutate_json(draw, body) if draw.random() < 0.7 else body
            raw = b"," + (to_json(tail)[1:] if isinstance(tail, dict) else to_json(tail)) + b"\n"
            if draw.random() < 0.3:
                raw = mutate_bytes(draw, raw, most=1)
            line, checksum_of_line = _seal(raw, checksum)
        lines.append(line)
        checksum = checksum_of_line
    return b"".join(lines)


def _seal(body: bytes, start: int) -> tuple[bytes, int]:
    checksum = zlib.crc32(body, start)
    return b'{"crc":"%08x"%s' % (checksum, body), checksum


def _parse(data: bytes) -> object:
    found = parse(data)
    again = parse(data[: found.good_bytes])
    if again.torn or again.records != found.records and repr(again.records) != repr(found.records):
        raise BrokenPromiseError("What `good_bytes` tells is no whole journal of the same records.")
    if not found.torn and found.good_bytes != len(data):
        raise BrokenPromiseError("Bytes were passed over.")
    return found


def _open(directory: Path, data: bytes) -> object:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    path = directory / "journal.jsonl"
    path.write_bytes(data)
    try:
        journal = Journal.open(path)
    except CorruptStateError:
        if path.read_bytes() != data or len(list(directory.iterdir())) != 1:
            raise BrokenPromiseError("A journal that was refused was changed.") from None
        raise
    with journal:
        journal.append("event", {"a": 1}, 1.0)
    if journal.repaired is not None and not data.endswith(journal.repaired.read_bytes()):
        raise BrokenPromiseError("The copy of the torn tail is not what was cut off.")
    with Journal.open(path) as again:
        if len(again.records) != len(journal.records) + 1 or again.repaired is not None:
            raise BrokenPromiseError("A journal that was opened and appended to cannot be opened again.")
    return again


# --- going through the records again ----------------------------------------------------------------------------------


def _odd_records(draw: random.Random, records: tuple[Record, ...]) -> bytes:
    """Records as JSON, as many as were written before some crash, of which some are odd or in odd places."""
    rows: list[list[Any]] = [[r.seq, r.time, r.kind, r.data] for r in records[: draw.randint(1, len(records))]]
    for _ in range(draw.randint(1, 3)):
        at, other = draw.randrange(len(rows)), draw.randrange(len(rows))
        action = draw.randrange(10)
        if action == 0 and len(rows) > 1:
            del rows[at]
        elif action == 1:
            rows.insert(at, list(rows[other]))
        elif action == 2:
            rows[at], rows[other] = rows[other], rows[at]
        elif action == 3:
            rows[at][2] = draw.choice(_KINDS)
        elif action == 4:
            rows[at][1] = draw.choice((-1.0, 0.0, 1e300, rows[other][1]))
        else:
            data = mutate_json(draw, rows[at][3])
            rows[at][3] = data if isinstance(data, dict) else {"data": data}
    return to_json(rows)


def _replay(data: bytes) -> object:
    from keras_tuner.src.engine import oracle as oracles

    records = [Record(number, float(row[1]), str(row[2]), row[3]) for number, row in enumerate(json.loads(data), 1)]
    hopper, tuner, books = _fresh("random")
    ledger = Ledger(hopper, tuner, books)
    try:
        now = replay(ledger, records)
        # What a driver that goes on from here does first.
        hopper.snapshot()
        books.view(hopper.snapshot(), now)
        ledger.keeping.everything()
    finally:
        tuner.close()
        # KerasTuner keeps a lock for every oracle that there ever was, and the oracle with it.
        for kept in (oracles.LOCKS, oracles.THREADS):
            kept.pop(tuner.oracle, None)
    return now
