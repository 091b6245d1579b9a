"""The best configuration of a search, trained anew: on all rows, to the last epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any
from typing import cast

from cerebro_nas import search
from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import ResumeMismatchError
from cerebro_nas.errors import SearchAborted
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hypermodel._searching import Searching
from cerebro_nas.tracking import counted

if TYPE_CHECKING:
    import keras_tuner

    from cerebro_nas.backend import Backend
    from cerebro_nas.backend import BackendEvent
    from cerebro_nas.data import PreparedData
    from cerebro_nas.results import ModelSelectionResult
    from cerebro_nas.search import FitArguments
    from cerebro_nas.search import SearchPlan
    from cerebro_nas.search_space import SearchSpace
    from cerebro_nas.tracking import TrialRecord

EPOCHS = "epochs"
"""A metric that counts epochs: a search keeps the state of the best epoch, and by it the last one is the best."""

_KEPT = ("directory", "overwrite", "seed", "visit_order", "unit_timeout")
# KerasTuner's own oracles note their brackets among the values.
_NOTES = "tuner/"


def refit(
    model: Searching,
    *,
    epochs: int | None = None,
    batch_size: int = 32,
    all_rows: bool = True,
    class_weight: Mapping[Any, float] | None = None,
    logdirs: Sequence[str] = (),
    verbose: Any = None,
) -> ModelSelectionResult:
    """Train the best configuration of the last search anew, as AutoKeras does when a search has ended.

    It is a search of its own with one candidate, named like the other one with `_refit` behind: where it breaks off,
    the same call goes on with it. The model has the weights of its last epoch.

    Args:
        model: has a result; it then has that of this search.
        epochs: how many; None: as many as the best model was trained for.
        batch_size: rows per step, where the configuration has no `batch_size` of its own.
        all_rows: train on the validation rows too; nothing is validated then.
        class_weight: see `HyperHyperModel.fit`.
        logdirs: directories for TensorBoard.
        verbose: see `HyperHyperModel.fit`.

    Returns:
        The result, of one trial.

    Raises:
        ConfigError: there was no search.
        SearchAborted: the configuration could not be trained.
    """
    best = model.result.best_model
    prepared = model._prepared
    if prepared is None:
        raise ConfigError("There is no prepared data to train on. Call `fit` first.")
    if epochs is None:
        # In epochs, whatever the search has judged its trials by.
        epochs = math.ceil(best.generation / sum(shard.split == "train" for shard in prepared.shards))
    values = {name: value for name, value in best.hyperparameters.items() if not name.startswith(_NOTES)}
    arguments = search.make_fit_arguments(batch_size=batch_size, epochs=epochs, class_weight=class_weight)
    try:
        result = _Refit(model, values, all_rows).run(arguments, logdirs, verbose)
    except ResumeMismatchError:
        # The search has found another best one since.
        result = _Refit(model, values, all_rows, overwrite=True).run(arguments, logdirs, verbose)
    check(result.records)
    if result.best_model.best_epoch + 1 != epochs:
        # It is that of an earlier call, which wanted more or fewer.
        result = _Refit(model, values, all_rows, overwrite=True).run(arguments, logdirs, verbose)
        check(result.records)
    model._keep(result)
    return result


def merged(prepared: PreparedData) -> PreparedData:
    """The same data set with the validation shards among those to train on."""
    split = sorted(prepared.shards, key=lambda shard: (shard.split != "train", shard.index))
    shards = tuple(replace(shard, split="train", index=index) for index, shard in enumerate(split))
    return replace(prepared, shards=shards, settings={**prepared.settings, "all_rows": True})


def check(records: Sequence[TrialRecord]) -> None:
    """Refuse a search that has trained nothing.

    Raises:
        SearchAborted: so it is.
    """
    if not any(record.status_name == "COMPLETED" for record in records):
        why = ", ".join(f"{record.status_name} ({record.reason})" for record in records) or "not begun"
        raise SearchAborted(
            "The best configuration of the search could not be trained anew. "
            f"Received: {why}. The models of the search itself are in `result`."
        )


class _Refit(Searching):
    """A search with one candidate, on the data of another one."""

    def __init__(self, of: Searching, values: dict[str, Any], all_rows: bool, overwrite: bool = False) -> None:
        given = {name: of._settings.values[name] for name in _KEPT if name in of._settings.values}
        given |= {"overwrite": True} if overwrite else {}
        super().__init__(of._space, search.Settings(given))
        # Not as a first proposal: a value may be none of the graph's own, where that search had others.
        self._settings.update(hyperparameters=_fixed(of._space, values))
        self._settings.update(project_name=f"{of.project_name}_refit", tuner="random", max_trials=1)
        resources, prepared = of._bound("refit"), of._prepared
        self._resources = replace(resources, backend=cast("Backend", _Counting(resources.backend)))
        self._prepared = merged(prepared) if all_rows and prepared is not None else prepared

    def run(self, arguments: FitArguments, logdirs: Sequence[str], verbose: Any) -> ModelSelectionResult:
        """Train it, or find what has been trained."""
        with self._claim() as claim, self._bound("refit").backend:
            return self._search(claim, arguments, [], list(logdirs), verbose)

    def _claim(self) -> search.SearchClaim:
        # No other driver may prepare the data anew meanwhile, which is that of the search before.
        data = None if self._prepared is None else self._prepared.url
        return search.SearchClaim(
            self._bound("refit").store, self.directory, data=data, overwrite=bool(self._settings.overwrite)
        )

    def _objective(self, settings: search.Settings) -> keras_tuner.Objective:
        import keras_tuner

        return keras_tuner.Objective(EPOCHS, "max")

    def _plan(
        self,
        claim: search.SearchClaim,
        arguments: FitArguments,
        rules: list[search.StoppingRule],
        logdirs: list[str],
        verbose: Any,
    ) -> SearchPlan:
        plan = super()._plan(claim, arguments, rules, logdirs, verbose)
        rows = "on all rows" if plan.prepared.settings.get("all_rows") else "on the training rows"
        purpose = f"training the best configuration again, {rows}, {counted(arguments.epochs, 'epoch')}"
        return replace(plan, space=cast("SearchSpace", _Naming(plan.space)), purpose=purpose)


def _fixed(space: SearchSpace, values: Mapping[str, Any]) -> keras_tuner.HyperParameters:
    """Entries that leave nothing free."""
    import keras_tuner

    entries, kept = keras_tuner.HyperParameters(), keras_tuner.HyperParameters()
    for name, value in values.items():
        entries.Fixed(name, value)
    # Values may be noted of parts that this architecture does not have: of three layers' units one has but the first's.
    used = {hp.name for hp in space.explore(entries, warn_unused=False).space}
    kept.merge([hp for hp in entries.space if hp.name in used])
    return kept


class _Counting:
    """A backend whose workers report which epoch they trained, counted from 1."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def events(self, timeout: float) -> list[BackendEvent]:
        return [_with_epoch(event) for event in self._backend.events(timeout)]

    def __enter__(self) -> _Counting:
        self._backend.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._backend.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


class _Naming:
    """A search space that knows of that metric."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space

    @property
    def metric_names(self) -> tuple[str, ...]:
        return (*self._space.metric_names, EPOCHS)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._space, name)


def _with_epoch(event: BackendEvent) -> BackendEvent:
    if not isinstance(event, UnitDone) or event.unit.phase != "train":
        return event
    metrics = {**event.report.metrics, EPOCHS: float(event.unit.epoch + 1)}
    return replace(event, report=replace(event.report, metrics=metrics))
