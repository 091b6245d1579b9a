"""Going through a journal again: it leaves a search as it was when the last record was written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import ResumeMismatchError
from cerebro_nas.errors import SearchAborted
from cerebro_nas.hopper import EpochFinished
from cerebro_nas.hopper import IllegalEventError
from cerebro_nas.search._records import read_event
from cerebro_nas.search._records import read_field
from cerebro_nas.search._records import read_status
from cerebro_nas.search._records import read_unit
from cerebro_nas.search._trials import NewTrial
from cerebro_nas.search._trials import read_legs
from cerebro_nas.storage import check_name
from cerebro_nas.tuners import Dismissal
from cerebro_nas.tuners import Promotion
from cerebro_nas.tuners import Stage
from cerebro_nas.tuners import TrialSuggestion

if TYPE_CHECKING:
    from cerebro_nas.journal import Record
    from cerebro_nas.search._ledger import Ledger


_MOST_TRIALS = 2**63
# The types of fields are checked, what they say is not: a tuner, say, has its own ways to refuse a value or a trial
# that it does not know.
_NONSENSE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def replay(ledger: Ledger, records: Iterable[Record]) -> float:
    """Move a new ledger through recorded inputs.

    What the scheduler said after the last record is left waiting: nobody has acted on it yet.

    Returns:
        Time of the last record.

    Raises:
        CorruptStateError: a record cannot be read, or cannot follow those before it.
        ResumeMismatchError: the tuner is not the one that the journal tells of.
    """
    now = 0.0
    for record in records:
        now = max(now, record.time)
        try:
            _apply(ledger, record.kind, record.data, record.time)
        except (CorruptStateError, ResumeMismatchError):
            raise
        except (IllegalEventError, *_NONSENSE) as error:
            raise CorruptStateError(
                f"The journal's record {record.seq} ({record.kind}) cannot follow those before it: {error}"
            ) from error
    return now


def _apply(ledger: Ledger, kind: str, data: dict[str, Any], now: float) -> None:
    if kind == "stop":
        # It was decided on one epoch's end; what the scheduler said behind that was taken up later.
        _take_up_to_epoch(ledger, read_field(data, "trial", str))
        ledger.stop(read_field(data, "trial", str), read_status(data.get("status")), str(data.get("reason")), now)
        return
    while ledger.next_command() is not None:
        pass
    if kind == "event":
        ledger.event(read_event(data), now)
    elif kind == "run":
        ledger.ran(read_field(data, "worker", str), read_unit(data.get("unit")), now)
    elif kind == "trial":
        _add(ledger, data, now)
    elif kind == "proposed":
        ledger.hold(_readmit(ledger, data))
    elif kind == "rejected":
        _reject(ledger, data)
    elif kind == "promoted":
        _promote(ledger, data, now)
    elif kind == "dismissed":
        trial, reason = read_field(data, "trial", str), read_field(data, "reason", str)
        ledger.tuner.readmit_step(Dismissal(trial, reason))
        ledger.dismiss(trial, reason, now)
    elif kind == "wait":
        ledger.tuner.readmit_none()
        ledger.defer(now)
    elif kind == "exhausted":
        because = str(data.get("reason") or "")
        if not ledger.tuner.exhausted and not because:
            ledger.tuner.readmit_none()
        ledger.exhaust(now, because)
    elif kind == "session":
        limits = read_field(data, "limits", dict)
        parallelism, budgets = read_field(data, "parallelism", int), read_field(limits, "budgets", dict)
        ledger.set_limits(_read_limit(limits), read_field(limits, "epochs", int), budgets, parallelism, now)
    elif kind not in ("end", "interrupted"):
        raise CorruptStateError(f"The journal holds a record of a kind that this version does not know: {kind!r}.")


def _read_limit(limits: dict[str, Any]) -> int | None:
    """Most trials; None for any number."""
    if limits.get("max_trials") is None:
        return None
    limit: int = read_field(limits, "max_trials", int)
    # KerasTuner makes names as wide as it, which no file system holds.
    if not 0 < limit <= _MOST_TRIALS:
        raise CorruptStateError(f"The journal holds a session of so many trials: {str(limit)[:40]}.")
    return limit


def _take_up_to_epoch(ledger: Ledger, trial: str) -> None:
    while True:
        command = ledger.next_command()
        if command is None or (isinstance(command, EpochFinished) and command.trial == trial):
            return


def _add(ledger: Ledger, data: dict[str, Any], now: float) -> None:
    new = NewTrial.read(data)
    _readmit(ledger, data)
    ledger.add(new, now)


def _readmit(ledger: Ledger, data: dict[str, Any]) -> TrialSuggestion:
    """Have the tuner give the trial again, unless it did so in the record of its proposal."""
    trial = _read_trial(data)
    if ledger.held is not None:
        if ledger.held.trial_id != trial:
            raise CorruptStateError(f"The journal has trial {trial!r} where {ledger.held.trial_id!r} was proposed.")
        return ledger.held
    # The parent that the tuner named, also where nothing of it could be had.
    parent = data.get("proposed_parent")
    note = read_field(data, "note", dict)
    return ledger.tuner.readmit(
        trial, read_field(data, "values", dict), parent if isinstance(parent, str) else None, note
    )


def _promote(ledger: Ledger, data: dict[str, Any], now: float) -> None:
    trial = read_field(data, "trial", str)
    stage = Stage(read_field(data, "until", int), read_field(data, "last", bool))
    ledger.tuner.readmit_step(Promotion(trial, stage))
    epochs = read_field(data, "epochs", int)
    before = ledger.hopper.plan_of(trial)
    ledger.promote(replace(before, epochs=epochs, legs=read_legs(data), pauses=not stage.last), now)


def _read_trial(data: dict[str, Any]) -> str:
    """Name of a new trial; the tuner and the store call directories by it."""
    return check_name(read_field(data, "trial", str))


def _reject(ledger: Ledger, data: dict[str, Any]) -> None:
    trial, values = _read_trial(data), read_field(data, "values", dict)
    _readmit(ledger, data)
    parameters = data.get("parameters")
    # That there were too many in a row ended the session then; the next one begins to count anew.
    with contextlib.suppress(SearchAborted):
        ledger.reject(
            trial,
            values,
            read_field(data, "reason", str),
            read_field(data, "message", str),
            parameters if isinstance(parameters, int) else None,
        )
