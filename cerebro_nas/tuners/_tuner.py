"""Ask and tell around any KerasTuner oracle."""

from __future__ import annotations

import contextlib
import math
import re
import shutil
import sys
import tempfile
import warnings
import weakref
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras_tuner

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import ResumeMismatchError
from cerebro_nas.errors import SearchAborted
from cerebro_nas.tuners._objective import ParetoObjective
from cerebro_nas.tuners._seeded import REJECTED
from cerebro_nas.tuners._seeded import SeededOracle
from cerebro_nas.tuners._staged import StagedOracle
from cerebro_nas.tuners._stages import Dismissal
from cerebro_nas.tuners._stages import Promotion
from cerebro_nas.tuners._stages import Proposal
from cerebro_nas.tuners._stages import Resource
from cerebro_nas.tuners._stages import Stage

COMPLETED = "COMPLETED"
FAILED = "FAILED"

# A limit that a candidate exceeds is named in the reason, with its value.
_LIMIT = re.compile(r"\b(max_\w+)=")
_FINAL = ("COMPLETED", "FAILED", "INVALID", "STOPPED")


@dataclass(frozen=True)
class TrialSuggestion:
    """A trial to run.

    Attributes:
        trial_id: its identifier in the oracle.
        values: value of every active hyperparameter.
        hyperparameters: the same with the space they come from, for building the model.
        stage: how far to train it before the tuner looks at it again; None: as far as every trial.
        parent: trial whose weights it begins with, where layers match; None: it begins afresh.
        note: what the tuner wants to be told again of it when the search is gone on with.
    """

    trial_id: str
    values: dict[str, Any]
    hyperparameters: keras_tuner.HyperParameters
    stage: Stage | None = None
    parent: str | None = None
    note: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Wait:
    """The oracle needs the result of a running trial first: ask again after the next `finish`."""


@dataclass(frozen=True)
class Exhausted:
    """No further trial: `max_trials` is reached or the space has no more (a later `reject` makes room for one)."""


class Tuner:
    """Runs an oracle without KerasTuner's own training loop. Call it from one thread.

    (KerasTuner's oracles keep their lock when a call fails, and another thread would then wait for ever.)

    Args:
        oracle: any `keras_tuner.Oracle`.
        max_trials: trials at most; rejected ones do not count. None: as many as the oracle's own `max_trials`.
        directory: where the oracle saves its state; a temporary directory, removed by `close`, if None.
        project_name: directory below `directory`.
        resume: go on from the state saved there; otherwise what is there is removed.
        max_rejections: consecutive rejections after which the search is given up.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        *,
        max_trials: int | None,
        directory: str | Path | None = None,
        project_name: str = "cerebro_nas",
        resume: bool = False,
        max_rejections: int = 50,
    ) -> None:
        self.oracle = oracle
        self.max_trials = oracle.max_trials if max_trials is None else max_trials
        self.max_rejections = max_rejections
        self._rejections = 0
        self._rejections_in_a_row = 0
        self._smallest: int | None = None
        self._limits: dict[str, None] = {}
        self._asked = 0
        self._directory = Path(tempfile.mkdtemp(prefix="cerebro_nas_tuner_") if directory is None else directory)
        # Also runs when the tuner is forgotten, or the process ends, without `close`.
        self._remove = weakref.finalize(self, _remove_temporary, self._directory) if directory is None else None
        self._project_name = project_name
        self._prepare_oracle(resume)

    @property
    def objective(self) -> keras_tuner.Objective:
        """What is optimised, with its direction."""
        return self.oracle.objective

    @property
    def resource(self) -> Resource:
        """What stages of trials count."""
        return self.oracle.resource if isinstance(self.oracle, StagedOracle) else "epochs"

    @property
    def project_dir(self) -> str:
        """Where the oracle's state is."""
        return str(self._directory / self._project_name)

    def ask(self) -> TrialSuggestion | Promotion | Dismissal | Wait | Exhausted:
        """What to do next, if there is something now: begin a trial, or go on with or give up a paused one."""
        if isinstance(self.oracle, StagedOracle):
            step = self.oracle.next_step()
            if step is not None:
                self.oracle.take(step)
                return step
        return self._create()

    def _create(self) -> TrialSuggestion | Wait | Exhausted:
        slot = f"slot-{self._asked}"
        with _quiet():
            trial = self.oracle.create_trial(slot)
        if trial.status == "IDLE":
            return Wait()
        if trial.status == "STOPPED":
            return Wait() if self._may_promote else Exhausted()
        self._asked += 1
        hps = trial.hyperparameters.copy()
        suggestion = TrialSuggestion(trial.trial_id, dict(hps.values), hps)
        if not isinstance(self.oracle, SeededOracle):
            return _as_hyperband_says(suggestion)
        proposal = self.oracle.proposal_of(trial.trial_id)
        stage = self.oracle.stage_of(trial.trial_id)
        return replace(suggestion, stage=stage, parent=proposal.parent, note=dict(proposal.note))

    @property
    def _may_promote(self) -> bool:
        return isinstance(self.oracle, StagedOracle) and self.oracle.may_promote

    def pause(self, trial_id: str) -> None:
        """Tell that a trial was trained as far as its stage said, and waits."""
        self._open_trial(trial_id)
        if isinstance(self.oracle, StagedOracle):
            self.oracle.paused(trial_id)

    def readmit(
        self, trial_id: str, values: Mapping[str, Any], parent: str | None = None, note: Mapping[str, Any] | None = None
    ) -> TrialSuggestion:
        """Go through an `ask` that was answered before with a trial, when a search is replayed.

        Our own oracles enter it and compute nothing. Another one that follows from its seed gives the same trial
        again, and is left as it then was; one that does not has its trial put in place.

        Args:
            trial_id: the trial that `ask` gave.
            values: its values.
            parent: its parent.
            note: its note.

        Returns:
            The trial as `ask` gave it.

        Raises:
            ResumeMismatchError: the oracle gives no trial at all where it gave one.
        """
        if isinstance(self.oracle, SeededOracle):
            self.oracle.expect(Proposal(dict(values), parent, dict(note or {})))
        answer = self._create()
        if not isinstance(answer, TrialSuggestion):
            raise ResumeMismatchError(
                f"The tuner should give trial {trial_id!r} again. Received: {type(answer).__name__}. The search was "
                "begun with another tuner or another version of it; pass overwrite=True to begin anew."
            )
        if (answer.trial_id, answer.values) == (trial_id, dict(values)):
            return answer
        self._put_in_place(answer.trial_id, trial_id, dict(values))
        answer.hyperparameters.values = dict(values)
        return replace(answer, trial_id=trial_id, values=dict(values))

    def readmit_step(self, step: Promotion | Dismissal) -> None:
        """Go through an `ask` that was answered before with a promotion or a dismissal.

        Raises:
            ResumeMismatchError: the oracle knows no such things.
        """
        self._trial(step.trial_id)
        if not isinstance(self.oracle, StagedOracle):
            raise ResumeMismatchError(
                f"The tuner should promote trials, such as {step.trial_id!r}. Received: {type(self.oracle).__name__}. "
                "The search was begun with another tuner; pass overwrite=True to begin anew."
            )
        self.oracle.take(step)

    def readmit_none(self) -> None:
        """Go through an `ask` that was answered before with `Wait` or `Exhausted`."""
        if not isinstance(self.oracle, SeededOracle):
            self.ask()

    def _put_in_place(self, given: str, trial_id: str, values: dict[str, Any]) -> None:
        """Have the oracle's newest trial be the one that was recorded."""
        oracle = self.oracle
        trial = oracle.trials.pop(given)
        trial.trial_id = trial_id
        trial.hyperparameters.values = values
        oracle.trials[trial_id] = trial
        oracle.start_order = [trial_id if name == given else name for name in oracle.start_order]
        oracle._tried_so_far.discard(oracle._id_to_hash.pop(given, None))
        with _quiet():
            oracle._record_values(trial)

    def forget_rejections(self) -> None:
        """Begin to count rejections in a row anew: somebody has looked at the space since."""
        self._rejections_in_a_row = 0

    def raise_limit(self, max_trials: int | None) -> None:
        """Allow more trials than at first; rejected ones still do not count."""
        self.max_trials = max_trials
        self._make_room()

    def report(self, trial_id: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Tell the metrics of a finished epoch. Epochs whose objective is not finite are left out.

        An epoch that is told again, as it was done again after a fault, replaces what was told of it and of later ones.

        Raises:
            ConfigError: the objective is not among the metrics.
        """
        trial = self._open_trial(trial_id)
        self._check_objective(metrics)
        finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
        if not self.objective.has_value(finite):
            return
        # The score of several objectives is a metric of its own.
        finite.setdefault(self.objective.name, float(self.objective.get_value(finite)))
        self._forget_from(trial, epoch)
        with _quiet():
            self.oracle.update_trial(trial_id, finite, step=epoch)

    def finish(self, trial_id: str, status: str, reason: str = "") -> None:
        """Tell that a trial ended.

        Args:
            trial_id: the trial.
            status: `"COMPLETED"`; `"STOPPED"` (early; counts as complete if it reported a metric); `"FAILED"` or
                `"INVALID"`.
            reason: why, unless it is complete.
        """
        if status not in _FINAL:
            raise ConfigError(
                f"Argument `status` should be one of {', '.join(_FINAL)}. Received: status={status!r}. Pass one."
            )
        scored = self._open_trial(trial_id).metrics.exists(self.objective.name)
        if status in ("COMPLETED", "STOPPED") and scored:
            self._rejections_in_a_row = 0
            self._end(trial_id, COMPLETED, reason if status == "STOPPED" else "")
        else:
            self._end(trial_id, FAILED, reason or f"no finite value of {self.objective.name} was reported")

    def reject(self, trial_id: str, reason: str, parameters: int | None = None) -> None:
        """Tell that a candidate could not be built or is too large; it does not count as one of `max_trials`.

        Args:
            trial_id: the trial.
            reason: what was wrong with it.
            parameters: its number of parameters, where known.

        Raises:
            SearchAborted: `max_rejections` candidates in a row were rejected.
        """
        self._open_trial(trial_id)
        self._rejections += 1
        self._make_room()
        self._end(trial_id, FAILED, REJECTED + reason)
        if not self._rejections_in_a_row:
            self._limits.clear()
        self._rejections_in_a_row += 1
        self._limits.update(dict.fromkeys(_LIMIT.findall(reason)))
        if parameters is not None:
            self._smallest = parameters if self._smallest is None else min(self._smallest, parameters)
        if self._rejections_in_a_row >= self.max_rejections:
            raise SearchAborted(self._abort_message(reason))

    @property
    def exhausted(self) -> bool:
        """Whether `max_trials` have been given, so that `ask` has no more unless one of them is rejected."""
        if isinstance(self.oracle, StagedOracle):
            return False  # paused trials may be promoted
        limit = self.oracle.max_trials
        return limit is not None and len(self.oracle.trials) >= limit and not self.oracle._retry_queue

    def accept(self, trial_id: str) -> None:
        """Tell that a candidate was built: the count of consecutive rejections starts again."""
        self._trial(trial_id)
        self._rejections_in_a_row = 0

    def best_trials(self, n: int = 1) -> list[Any]:
        """Completed trials (KerasTuner's `Trial`), best first, `n` at most."""
        complete = sum(trial.status == COMPLETED for trial in self.oracle.trials.values())
        return list(self.oracle.get_best_trials(min(n, complete)))

    def update_space(self, hyperparameters: keras_tuner.HyperParameters) -> None:
        """Add hyperparameters to the space; those already there are kept."""
        self.oracle.update_space(hyperparameters)

    def search_space_summary(self) -> None:
        """Write the search space to standard output, as KerasTuner does."""
        space = self.oracle.get_space().space
        lines = ["Search space summary", f"Default search space size: {len(space)}"]
        for hp in space:
            config = hp.get_config()
            lines += [f"{config.pop('name')} ({type(hp).__name__})", str(config)]
        sys.stdout.write("\n".join(lines) + "\n")

    def results_summary(self, num_trials: int = 10) -> None:
        """Write the best trials to standard output, as KerasTuner does."""
        parts = self.objective.objectives if isinstance(self.objective, ParetoObjective) else []
        head = ["Results summary", f"Results in {self.project_dir}", f"Showing {num_trials} best trials"]
        sys.stdout.write("\n".join([*head, *(map(str, parts or [self.objective]))]) + "\n")
        for trial in self.best_trials(num_trials):
            sys.stdout.write("\n")
            if parts:
                sys.stdout.write(_summary_of_several(trial, [part.name for part in parts]))
            else:
                trial.summary()

    def close(self) -> None:
        """Remove the temporary directory, if there is one."""
        if self._remove is not None:
            self._remove()

    def _prepare_oracle(self, resume: bool) -> None:
        oracle = self.oracle
        oracle._set_project_dir(str(self._directory), self._project_name)
        oracle.verbose = 0
        # Failures are counted by the driver, and KerasTuner's check leaves its lock held.
        oracle.max_consecutive_failed_trials = sys.maxsize
        project = Path(self.project_dir)
        if resume and (project / "oracle.json").exists():
            self._reload()
        else:
            _remove_saved(project)
        self._make_room()

    def _reload(self) -> None:
        with _quiet():
            self.oracle.reload()
        for trial_id in self.oracle._retry_queue:
            # Reports of the interrupted run would be averaged with those of the new one.
            trial = self.oracle.trials[trial_id]
            trial.metrics = type(trial.metrics)()
        self._rejections = sum(_is_rejected(trial) for trial in self.oracle.trials.values())

    def _make_room(self) -> None:
        """Have the oracle, which counts rejected trials, give `max_trials` others."""
        self.oracle.max_trials = None if self.max_trials is None else self.max_trials + self._rejections

    def _forget_from(self, trial: Any, epoch: int) -> None:
        # KerasTuner would average two reports of one step.
        for history in trial.metrics.metrics.values():
            later = [step for step in history._observations if step >= epoch]
            for step in later:
                del history._observations[step]

    def _trial(self, trial_id: str) -> Any:
        if trial_id not in self.oracle.trials:
            raise ConfigError(
                "Argument `trial_id` should be the identifier of a trial that `ask` gave. "
                f"Received: trial_id={trial_id!r}. Pass `suggestion.trial_id`."
            )
        return self.oracle.trials[trial_id]

    def _open_trial(self, trial_id: str) -> Any:
        trial = self._trial(trial_id)
        if trial_id in self.oracle.end_order:
            raise ConfigError(
                "Argument `trial_id` should be the identifier of a trial that has not ended. "
                f"Received: trial_id={trial_id!r}, which is {trial.status}. Tell its results before its end, which is "
                "told once."
            )
        return trial

    def _end(self, trial_id: str, status: str, message: str) -> None:
        trial = self._trial(trial_id)
        trial.status = status
        trial.message = message or None
        with _quiet():
            self.oracle.end_trial(trial)
            if self._remove is None:
                # KerasTuner saves before it forgets that the trial is running, and would run it again when resumed.
                self.oracle.save()
            else:
                # Nobody will read it, and a long search would fill the directory.
                shutil.rmtree(Path(self.project_dir) / f"trial_{trial_id}", ignore_errors=True)

    def _check_objective(self, metrics: Mapping[str, float]) -> None:
        if not self.objective.has_value(metrics):
            raise ConfigError(
                f"Argument `objective` should be a metric that the models report. "
                f"Received: objective={self.objective.name!r}; reported are {', '.join(sorted(metrics))}. "
                "Choose one of them, or add the metric to the head."
            )

    def _abort_message(self, reason: str) -> str:
        n = self._rejections_in_a_row
        if self._smallest is not None:
            limits = " and ".join(f"`{name}`" for name in self._limits) or "`max_model_size`"
            return (
                f"No architecture that fits was found in {n} samples ({reason}); the smallest seen has "
                f"{self._smallest:,} parameters. Raise {limits}, or make the search space smaller."
            )
        return (
            f"No architecture that can be built was found in {n} samples; the last was rejected because: {reason}. "
            "Change the search space, or fix the hyperparameters that cause it."
        )


def _summary_of_several(trial: Any, names: Sequence[str]) -> str:
    """As KerasTuner's, whose score is a single number, with the value of each objective at the trial's best epoch."""
    values = [f"{name}: {value}" for name, value in trial.hyperparameters.values.items()]
    histories = {name: trial.metrics.get_history(name) for name in names}
    scores = [
        f"{name}: {next(item.mean() for item in history if item.step == trial.best_step)}"
        for name, history in histories.items()
    ]
    return "\n".join([f"Trial {trial.trial_id} summary", "Hyperparameters:", *values, *scores]) + "\n"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Spare the caller KerasTuner's own use of deprecated functions (an error under `-W error`)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="keras_tuner")
        yield


def _as_hyperband_says(suggestion: TrialSuggestion) -> TrialSuggestion:
    """Train as far, and with whose weights, as KerasTuner's `HyperbandOracle` says among the values of a trial."""
    values = suggestion.values
    until = values.get("tuner/epochs")
    if until is None:
        return suggestion
    epochs = max(1, int(until) - int(values.get("tuner/initial_epoch", 0)))
    return replace(suggestion, stage=Stage(epochs, last=True), parent=values.get("tuner/trial_id"))


def _is_rejected(trial: Any) -> bool:
    return trial.status == FAILED and (trial.message or "").startswith(REJECTED)


def _remove_temporary(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)


def _remove_saved(project: Path) -> None:
    """Remove what an oracle saved, and nothing else that may be in the directory."""
    for path in [project / "oracle.json", *project.glob("trial_*/trial.json")]:
        path.unlink(missing_ok=True)
