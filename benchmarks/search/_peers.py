"""Peers behind the interface of our `Tuner`: Optuna's samplers, hyperopt's TPE, DeepHyper's CBO in its environment."""

from __future__ import annotations

import itertools
import json
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from typing import Protocol

from benchmarks._environments import environment
from benchmarks._errors import BenchmarkError
from benchmarks.search._hyperopt import HyperoptSampler
from benchmarks.search._problem import Problem
from benchmarks.search._simulator import METRIC
from benchmarks.search._spaces import Parameter
from benchmarks.search._spaces import parameters
from benchmarks.search._spaces import typed
from cerebro_nas.tuners._tuner import Exhausted
from cerebro_nas.tuners._tuner import TrialSuggestion

_SERVER = Path(__file__).parents[1] / "peers" / "deephyper_ask_tell.py"
Values = dict[str, Any]


class Sampler(Protocol):
    """What a peer must do."""

    def suggest(self, number: int) -> Values: ...

    def tell(self, number: int, loss: float) -> None: ...

    def close(self) -> None: ...


class PeerSearcher:
    """Asks and tells a peer as if it were a `Tuner`.

    Args:
        sampler: the peer.
        problem: what is searched.
        max_trials: trials at most.
    """

    def __init__(self, sampler: Sampler, problem: Problem, max_trials: int) -> None:
        self._sampler = sampler
        self._space = problem.make_space()
        self._left = max_trials
        self._losses: dict[str, float] = {}
        self._numbers = itertools.count()

    def ask(self) -> TrialSuggestion | Exhausted:
        """The next trial."""
        if not self._left:
            return Exhausted()
        self._left -= 1
        number = next(self._numbers)
        return TrialSuggestion(str(number), self._sampler.suggest(number), self._space)

    def report(self, trial_id: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Peers are told the best loss of a trial, as KerasTuner's oracles are."""
        self._losses[trial_id] = min(metrics[METRIC], self._losses.get(trial_id, metrics[METRIC]))

    def pause(self, trial_id: str) -> None:
        """Peers train every trial to its end."""
        raise NotImplementedError(trial_id)

    def finish(self, trial_id: str, status: str, reason: str = "") -> None:
        """The trial has ended."""
        self._sampler.tell(int(trial_id), self._losses.pop(trial_id))

    def close(self) -> None:
        """End what the peer has running."""
        self._sampler.close()


class OptunaSampler:
    """Optuna's `ask` and `tell`; trials that were not told of are pending.

    Args:
        kind: "tpe", "mtpe", "gp" or "cmaes".
        space: the space.
        seed: its seed.
    """

    def __init__(self, kind: str, space: list[Parameter], seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", module="optuna")
        if kind == "gp":
            _need("torch", "optuna-gp")
        samplers = optuna.samplers
        with warnings.catch_warnings():
            # `multivariate`, `group` and `constant_liar` are called experimental.
            warnings.simplefilter("ignore")
            makers: dict[str, Callable[[], Any]] = {
                # Version 5 is multivariate unless told otherwise.
                "tpe": lambda: samplers.TPESampler(seed=seed, multivariate=False, constant_liar=True),
                "mtpe": lambda: samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True),
                "gp": lambda: samplers.GPSampler(seed=seed),
                "cmaes": lambda: samplers.CmaEsSampler(seed=seed),
            }
            self._study = optuna.create_study(sampler=makers[kind]())
        self._space = space
        self._trials: dict[int, Any] = {}

    def suggest(self, number: int) -> Values:
        """The values of a new trial."""
        trial = self._trials[number] = self._study.ask()
        values: Values = {}
        for item in self._space:
            if item.is_active(values):
                values[item.name] = self._value(trial, item)
        return values

    def _value(self, trial: Any, item: Parameter) -> Any:
        if item.kind == "choice":
            return trial.suggest_categorical(item.name, list(item.values))
        if item.kind == "int":
            return trial.suggest_int(item.name, int(item.low), int(item.high), log=item.log, step=int(item.step or 1))
        return trial.suggest_float(item.name, item.low, item.high, log=item.log, step=item.step)

    def tell(self, number: int, loss: float) -> None:
        """The loss of a trial."""
        self._study.tell(self._trials.pop(number), loss)

    def close(self) -> None:
        """Nothing runs."""


class DeepHyperSampler:
    """DeepHyper's CBO in a process of its own environment; one line of JSON each way.

    Args:
        space: the space.
        seed: its seed.
    """

    def __init__(self, space: list[Parameter], seed: int) -> None:
        self._parameters = space
        self._folder = tempfile.TemporaryDirectory(prefix="deephyper-")
        self._log = (Path(self._folder.name) / "log.txt").open("w+")
        command = [str(environment("py311")), str(_SERVER), self._folder.name]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        self._call({"space": [asdict(item) for item in space], "seed": seed})

    def suggest(self, number: int) -> Values:
        """The values of a new trial."""
        found = self._call({"ask": number})["values"]
        values: Values = {}
        for item in self._parameters:
            if item.is_active(values):
                values[item.name] = typed(item, found[item.name])
        return values

    def tell(self, number: int, loss: float) -> None:
        """The loss of a trial."""
        self._call({"tell": number, "loss": loss})

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=30)
        self._log.close()
        self._folder.cleanup()

    def _call(self, message: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise BenchmarkError("DeepHyper's process has no pipes.")
        try:
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._log.seek(0)
            raise BenchmarkError(f"DeepHyper ended: {self._log.read()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def make_peer(name: str, problem: Problem, seed: int, max_trials: int) -> PeerSearcher:
    """A peer by its name in the tables.

    Raises:
        BenchmarkError: it cannot be used here.
    """
    space = parameters(problem.make_space())
    library, _, kind = name.partition("-")
    try:
        if library == "optuna":
            sampler: Sampler = OptunaSampler(kind, space, seed)
        elif library == "hyperopt":
            sampler = HyperoptSampler(space, seed)
        else:
            sampler = DeepHyperSampler(space, seed)
    except ImportError as error:
        raise BenchmarkError(f"{name} cannot be used here: {error}") from error
    return PeerSearcher(sampler, problem, max_trials)


def _need(module: str, name: str) -> None:
    try:
        __import__(module)
    except ImportError as error:
        raise BenchmarkError(f"{name} needs {module}, which is not installed") from error
