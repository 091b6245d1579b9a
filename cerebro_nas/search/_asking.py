"""What the tuner answers becomes trials: built, begun with a parent's weights, promoted, given up."""

from __future__ import annotations

import hashlib
import logging
import zlib
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import BuildError
from cerebro_nas.search._trials import NewTrial
from cerebro_nas.search._trials import first_plan
from cerebro_nas.search._trials import promoted_plan
from cerebro_nas.tuners import Dismissal
from cerebro_nas.tuners import Promotion
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from cerebro_nas.search._driver import SearchParts
    from cerebro_nas.search._ledger import Ledger
    from cerebro_nas.worker import CandidateSpec

_LOGGER = logging.getLogger(__name__)

_PARENT_SECONDS = 30.0
"""How long a child waits for its parent's newest state to reach the store, before an older one will do."""


class Asking:
    """Asks the tuner, and carries out what it says.

    Args:
        parts: of the search.
        ledger: its state.
        specs: takes the candidates of live trials.
        note: writes an input down and returns its time.
        now: seconds of the search.
    """

    def __init__(
        self,
        parts: SearchParts,
        ledger: Ledger,
        specs: dict[str, CandidateSpec],
        note: Callable[[str, dict[str, Any]], float],
        now: Callable[[], float],
    ) -> None:
        self._parts = parts
        self._ledger = ledger
        self._specs = specs
        self._note = note
        self._now = now
        self._held_until: float | None = None

    def ask(self) -> bool:
        """Ask once; say whether it makes sense to ask again before something has happened.

        Raises:
            SearchAborted: too many candidates in a row could not be built.
        """
        ledger = self._ledger
        if ledger.exhausted:
            ledger.asked = 0
            return False
        answer = ledger.held or self._parts.tuner.ask()
        if isinstance(answer, TrialSuggestion):
            if self._waits_for_parent(answer):
                return False
            self._add(answer)
        elif isinstance(answer, Promotion):
            self._promote(answer)
        elif isinstance(answer, Dismissal):
            _LOGGER.info("Trial %s is given up (%s): %s", answer.trial_id, answer.reason, answer.message)
            now = self._note("dismissed", {"trial": answer.trial_id, "reason": answer.reason})
            ledger.dismiss(answer.trial_id, answer.reason, now)
        elif isinstance(answer, Wait) and self._parts.hopper.has_live_trials:
            ledger.defer(self._note("wait", {}))
        else:
            # Also where a tuner would wait although nothing runs that it could wait for.
            ledger.exhaust(self._note("exhausted", {}))
        return True

    def _add(self, suggestion: TrialSuggestion) -> None:
        parts, trial, ledger = self._parts, suggestion.trial_id, self._ledger
        told = _proposed(suggestion)
        values = told["values"]
        try:
            spec = parts.space.build(suggestion.hyperparameters, trial=trial, seed=trial_seed(parts.seed, trial))
        except BuildError as error:
            _LOGGER.info("Trial %s was rejected (%s): %s", trial, error.reason, error)
            record = {"reason": error.reason, "message": str(error), "parameters": error.parameters}
            self._note("rejected", {**told, **record})
            ledger.reject(trial, values, error.reason, str(error), error.parameters)
            return
        spec = self._with_parent(spec, suggestion.parent)
        self._specs[trial] = spec
        text = spec.to_json()
        parts.states.write_spec(trial, text)
        plan = first_plan(
            trial,
            suggestion.stage,
            parts.tuner.resource,
            parts.books.epochs,
            float(max(1, spec.parameters)),
            parts.hopper.num_train,
        )
        new = NewTrial(
            plan, values, spec.parameters, spec.flops, digest(text), spec.parent, spec.parent_state, suggestion.note
        )
        ledger.add(new, self._note("trial", {**told, **new.to_data()}))
        for board in parts.boards:
            board.trial_started(trial, suggestion.values)
        if parts.tuner.exhausted:
            # The scheduler plans the end of a search better the earlier it knows of it.
            ledger.exhaust(self._note("exhausted", {}))

    def _promote(self, promotion: Promotion) -> None:
        parts, stage = self._parts, promotion.stage
        before = parts.hopper.plan_of(promotion.trial_id)
        plan = promoted_plan(before, stage, parts.tuner.resource, parts.hopper.num_train)
        record = {"trial": plan.trial, "until": stage.until, "last": stage.last}
        now = self._note("promoted", {**record, "epochs": plan.epochs, "legs": list(plan.legs)})
        self._ledger.promote(plan, now)

    # --- parents ------------------------------------------------------------------------------------------------------

    def _waits_for_parent(self, suggestion: TrialSuggestion) -> bool:
        """Whether the state that it begins with is on its way to the store, where its worker will look for it."""
        ledger, now = self._ledger, self._now()
        if suggestion.parent and ledger.keeping.is_coming(suggestion.parent):
            if ledger.held is None:
                self._note("proposed", _proposed(suggestion))
                ledger.hold(suggestion)
            if self._held_until is None:
                self._held_until = now + _PARENT_SECONDS
            if now < self._held_until:
                return True
            _LOGGER.warning(
                "Trial %s does not wait any longer for the state of its parent %s.",
                suggestion.trial_id,
                suggestion.parent,
            )
        self._held_until = None
        return False

    def _with_parent(self, spec: CandidateSpec, parent: str | None) -> CandidateSpec:
        name = self._ledger.keeping.name_for_child(parent) if parent else ""
        if parent and name:
            return spec.with_parent(parent, name)
        if parent:
            _LOGGER.warning("Trial %s begins afresh: no state of its parent %s is in the store.", spec.trial, parent)
        return spec


def _proposed(suggestion: TrialSuggestion) -> dict[str, Any]:
    """What `Tuner.readmit` needs to give a suggestion again."""
    values = {name: _plain(value) for name, value in suggestion.values.items()}
    told = {"proposed_parent": suggestion.parent} if suggestion.parent else {}
    return {"trial": suggestion.trial_id, "values": values, "note": suggestion.note, **told}


def trial_seed(seed: int, trial: str) -> int:
    """Seed of a trial's weights, 31 bits; it follows from the search's seed and the trial's name."""
    return zlib.crc32(f"{seed}/{trial}".encode()) & 0x7FFFFFFF


def digest(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """A value of a hyperparameter as JSON has it: NumPy's numbers become Python's."""
    return value.item() if hasattr(value, "item") else value
