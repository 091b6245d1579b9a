"""What makes two calls of `fit` the same search: compared before one goes on where the other ended."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import ResumeMismatchError

if TYPE_CHECKING:
    from cerebro_nas.data import PreparedData
    from cerebro_nas.search._settings import FitArguments
    from cerebro_nas.search._settings import Settings
    from cerebro_nas.search_space import SearchSpace

NEVER_FORCED = ("graph", "objective", "data")
"""What a search is about. Results under another one could not be compared."""

FORCEABLE = (
    "tuner",
    "tuner_options",
    "hyperparameters",
    "seed",
    "batch_size",
    "epochs",
    "max_model_size",
    "visit_order",
    "stoppers",
    "max_flops",
    "max_latency_ms",
    "class_weight",
)

_SHOWN = 12
_NOT_SAID = "The journal does not say what its search is. It cannot be gone on with; pass overwrite=True to begin anew."


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], force: Collection[str] = ()) -> None:
    """Refuse to go on with a search as another one.

    Args:
        before: description that the search began with: fields of `NEVER_FORCED` and `FORCEABLE`, plain values.
        now: that of the present call.
        force: fields of `FORCEABLE` that may differ. `epochs` may always be raised.

    Raises:
        ResumeMismatchError: they differ; the message is a list of the differences.
    """
    differing: list[str] = []
    hints: set[str] = set()
    for field in (*NEVER_FORCED, *FORCEABLE):
        lines = list(_lines(field, before.get(field), now.get(field)))
        raised = field == "epochs" and _is_raised(before.get(field), now.get(field))
        if not lines or raised or (field in force and field in FORCEABLE):
            continue
        differing += lines
        hints.add(field)
    if differing:
        raise ResumeMismatchError(_message(differing, hints))


def check_data(before: Mapping[str, Any], source: Mapping[str, Any]) -> None:
    """Refuse to go on with a search on other data, before anything is prepared.

    Args:
        before: description that the search began with.
        source: columns, validation, input shape and digest of the rows of the present call; no input shape means that
            of the search.

    Raises:
        ResumeMismatchError: they differ.
    """
    began = before.get("data", {})
    plain = {name: list(value) if isinstance(value, tuple) else value or None for name, value in source.items()}
    asked = {name: value for name, value in plain.items() if name != "input_shape" or value is not None}
    lines = list(differences("data", {name: began.get(name) or None for name in asked}, asked))
    if lines:
        raise ResumeMismatchError(_message(lines, {"data"}))


def describe_search(
    settings: Settings, objective: Any, space: SearchSpace, data: PreparedData, arguments: FitArguments, seed: int
) -> dict[str, Any]:
    """What makes a search this one, as plain values; the space must be configured."""
    from cerebro_nas.tuners import make_objective
    from cerebro_nas.tuners import objectives_of

    goals = [{"name": part.name, "direction": part.direction} for part in objectives_of(make_objective(objective))]
    entries = settings.hyperparameters.space if settings.hyperparameters is not None else ()
    tuner = settings.tuner
    described = {
        "graph": space.describe(),
        "objective": goals[0] if len(goals) == 1 else {str(number): goal for number, goal in enumerate(goals)},
        "data": {**data.settings, "fingerprint": data.fingerprint},
        "tuner": tuner if isinstance(tuner, str) else type(tuner).__qualname__,
        "tuner_options": settings.tuner_options,
        "hyperparameters": {entry.name: entry.get_config() for entry in entries},
        "seed": seed,
        "batch_size": arguments.batch_size,
        "epochs": arguments.epochs,
        "max_model_size": settings.max_model_size,
        "visit_order": settings.visit_order,
        "stoppers": [{"rule": type(rule).__name__, **rule.to_dict()} for rule in settings.rules] or None,
        "max_flops": settings.max_flops,
        "max_latency_ms": settings.max_latency_ms,
        "class_weight": arguments.class_weight and {str(key): value for key, value in arguments.class_weight.items()},
    }
    # As the journal will give it back.
    found: dict[str, Any] = json.loads(json.dumps(described, default=str))
    return found


def differences(path: str, before: Any, now: Any) -> Iterator[str]:
    """Yield a line for each plain value that differs."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in sorted({*before, *now}):
            yield from differences(f"{path}: {name}", before.get(name, "nothing"), now.get(name, "nothing"))
    elif before != now:
        yield f"- {path}: it began with {before!r}. Received: {now!r}"


def began_with(session: Mapping[str, Any]) -> dict[str, Any]:
    """The description that the first session of a search wrote.

    Raises:
        CorruptStateError: there is none.
    """
    found = session.get("search")
    if not isinstance(found, dict) or not isinstance(found.get("data"), dict):
        raise CorruptStateError(_NOT_SAID)
    return found


def identity_of(session: Mapping[str, Any]) -> str:
    """The name that the directory of the search's states is made of.

    Raises:
        CorruptStateError: there is none, or it is none that this package gives.
    """
    found = session.get("identity")
    if not isinstance(found, str) or not re.fullmatch("[0-9a-f]{1,32}", found):
        raise CorruptStateError(_NOT_SAID)
    return found


def _lines(field: str, before: Any, now: Any) -> Iterator[str]:
    if field == "objective" and before != now and isinstance(before, Mapping) and isinstance(now, Mapping):
        # Part by part it would say nothing where there was one objective, and are several now.
        yield f"- objective: it began with {_goals(before)}. Received: {_goals(now)}"
    else:
        yield from differences(field, before, now)


def _goals(described: Mapping[str, Any]) -> str:
    goals = [goal for goal in described.values() if isinstance(goal, Mapping)] or [described]
    return ", ".join(f"{goal.get('name')!r} ({goal.get('direction')})" for goal in goals)


def _is_raised(before: Any, now: Any) -> bool:
    return isinstance(before, int) and isinstance(now, int) and now > before


def _message(differing: list[str], fields: set[str]) -> str:
    shown = differing[:_SHOWN]
    if len(differing) > len(shown):
        shown.append(f"- and {len(differing) - len(shown)} more")
    forceable = sorted(fields & set(FORCEABLE))
    hint = "Pass the same again to go on with it, overwrite=True to begin anew, or another project_name."
    if forceable and not fields & set(NEVER_FORCED):
        hint += f" To go on all the same, pass force_fields={forceable!r} to `tuner_bind`."
    return "There is a search of this name already, and it is another one:\n" + "\n".join(shown) + f"\n{hint}"
