from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras_tuner
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import SearchAborted
from cerebro_nas.tuners import Exhausted
from cerebro_nas.tuners import RandomOracle
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners import Wait
from cerebro_nas.tuners import make_tuner


def space() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    hps.Float("rate", 0.0, 1.0)
    return hps


def random_tuner(max_trials: int = 10, **kwargs: Any) -> Tuner:
    options = {"objective": "val_accuracy", "hyperparameters": space(), "seed": 0, **kwargs}
    return make_tuner("random", max_trials=max_trials, **options)


def asked(tuner: Tuner) -> TrialSuggestion:
    suggestion = tuner.ask()
    assert isinstance(suggestion, TrialSuggestion)
    return suggestion


def test_best_trials_are_those_with_the_highest_accuracy() -> None:
    tuner = random_tuner()
    for accuracy in (0.2, 0.9, 0.5):
        trial = asked(tuner).trial_id
        tuner.report(trial, 0, {"val_accuracy": accuracy / 2, "val_loss": 1.0})
        tuner.report(trial, 1, {"val_accuracy": accuracy, "val_loss": 1.0})
        tuner.finish(trial, "COMPLETED")
    asked(tuner)

    assert [trial.score for trial in tuner.best_trials(10)] == [0.9, 0.5, 0.2]
    tuner.close()


@pytest.mark.case(15)
def test_nan_never_becomes_a_score() -> None:
    tuner = random_tuner()
    partly, never = asked(tuner).trial_id, asked(tuner).trial_id
    tuner.report(partly, 0, {"val_accuracy": 0.3})
    tuner.report(partly, 1, {"val_accuracy": math.nan})
    tuner.report(never, 0, {"val_accuracy": math.inf})
    tuner.finish(partly, "COMPLETED")
    tuner.finish(never, "COMPLETED")

    assert [trial.score for trial in tuner.best_trials(5)] == [0.3]
    assert tuner.oracle.trials[never].status == "FAILED"
    assert "no finite value" in tuner.oracle.trials[never].message
    tuner.close()


def test_many_failures_do_not_end_the_search() -> None:
    tuner = random_tuner(20)
    for _ in range(10):
        tuner.finish(asked(tuner).trial_id, "FAILED", "oom")

    assert isinstance(tuner.ask(), TrialSuggestion)
    tuner.close()


def test_stopped_early_counts_with_what_it_reached() -> None:
    tuner = random_tuner()
    stopped, empty = asked(tuner).trial_id, asked(tuner).trial_id
    tuner.report(stopped, 0, {"val_accuracy": 0.7})
    tuner.finish(stopped, "STOPPED", "early stopping")
    tuner.finish(empty, "STOPPED", "early stopping")

    assert [trial.trial_id for trial in tuner.best_trials(5)] == [stopped]
    tuner.close()


@pytest.mark.case(18)
def test_rejected_candidates_are_replaced() -> None:
    tuner = random_tuner(2)
    for number in range(4):
        trial = asked(tuner).trial_id
        if number % 3:
            tuner.reject(trial, "oversized", parameters=1000)
        else:
            tuner.accept(trial)
            tuner.report(trial, 0, {"val_accuracy": 0.1})
            tuner.finish(trial, "COMPLETED")

    assert isinstance(tuner.ask(), Exhausted)
    assert tuner.max_trials == 2
    assert len(tuner.best_trials(10)) == 2
    tuner.close()


@pytest.mark.case(17)
def test_too_many_rejections_abort_and_name_the_smallest() -> None:
    tuner = random_tuner(2, max_rejections=3)
    tuner.reject(asked(tuner).trial_id, "oversized", parameters=5000)
    tuner.reject(asked(tuner).trial_id, "oversized", parameters=4321)
    with pytest.raises(SearchAborted, match=r"3 samples.*4,321"):
        tuner.reject(asked(tuner).trial_id, "oversized", parameters=9000)
    tuner.close()


SLOW = "The candidate takes 9,000 floating point operations a row, more than max_flops=10."
LARGE = "The candidate has 9,000 parameters, more than max_model_size=10."


@pytest.mark.case(17)
@pytest.mark.parametrize(
    ("reasons", "advice"),
    [
        ([SLOW, SLOW], "Raise `max_flops`, or"),
        ([SLOW, LARGE], "Raise `max_flops` and `max_model_size`, or"),
        ([LARGE, LARGE], "Raise `max_model_size`, or"),
    ],
)
def test_the_limits_that_refused_are_named(reasons: list[str], advice: str) -> None:
    tuner = random_tuner(5, max_rejections=2)
    tuner.reject(asked(tuner).trial_id, LARGE, parameters=9000)
    tuner.accept(asked(tuner).trial_id)
    tuner.reject(asked(tuner).trial_id, reasons[0], parameters=9000)
    with pytest.raises(SearchAborted, match=f"smallest seen has 9,000 parameters. {advice}"):
        tuner.reject(asked(tuner).trial_id, reasons[1], parameters=9000)
    tuner.close()


def test_accepted_candidates_start_the_count_again() -> None:
    tuner = random_tuner(5, max_rejections=2)
    for _ in range(4):
        tuner.reject(asked(tuner).trial_id, "invalid_graph")
        tuner.accept(asked(tuner).trial_id)
    tuner.close()


@pytest.mark.case(15)
def test_missing_objective_is_named() -> None:
    tuner = random_tuner()
    with pytest.raises(ConfigError, match=r"'val_accuracy'; reported are loss, val_loss"):
        tuner.report(asked(tuner).trial_id, 0, {"loss": 1.0, "val_loss": 1.0})
    tuner.close()


@pytest.mark.parametrize(("trial", "status"), [("0", "COMPLETED"), ("nobody", "FAILED"), ("nobody", "DONE")])
def test_wrong_calls_of_finish(trial: str, status: str) -> None:
    tuner = random_tuner()
    with pytest.raises(ConfigError, match="Received: "):
        tuner.finish(trial, status)
    tuner.close()


def test_temporary_directory_is_removed_and_given_one_kept(tmp_path: Path) -> None:
    temporary = random_tuner()
    kept = random_tuner(directory=tmp_path)
    asked(temporary)
    asked(kept)
    temporary.close()
    kept.close()

    assert not Path(temporary.project_dir).exists()
    assert Path(kept.project_dir, "oracle.json").exists()


@pytest.mark.case(35)
def test_trials_that_ended_leave_nothing_in_a_temporary_directory() -> None:
    tuner = random_tuner()
    for number in range(3):
        trial = asked(tuner).trial_id
        tuner.report(trial, 0, {"val_accuracy": 0.5})
        if number == 1:
            tuner.reject(trial, "too large")
        else:
            tuner.finish(trial, "COMPLETED")
    assert [path.name for path in Path(tuner.project_dir).iterdir()] == ["oracle.json"]
    assert len(tuner.best_trials(5)) == 2
    tuner.close()


def test_without_resume_what_was_saved_is_forgotten(tmp_path: Path) -> None:
    asked(random_tuner(directory=tmp_path))
    (tmp_path / "mine.txt").write_text("mine")

    again = random_tuner(directory=tmp_path)

    assert again.oracle.trials == {}
    assert (tmp_path / "mine.txt").exists()


def test_resumed_running_trials_run_again_with_clean_metrics(tmp_path: Path) -> None:
    first = random_tuner(3, directory=tmp_path)
    done, rejected, running = (asked(first) for _ in range(3))
    first.report(done.trial_id, 0, {"val_accuracy": 0.5})
    first.finish(done.trial_id, "COMPLETED")
    first.reject(rejected.trial_id, "oversized")
    first.report(running.trial_id, 0, {"val_accuracy": 0.0})

    second = random_tuner(3, directory=tmp_path, resume=True)
    again = asked(second)
    second.report(again.trial_id, 0, {"val_accuracy": 0.8})
    second.finish(again.trial_id, "COMPLETED")

    assert again.values == running.values
    assert [trial.score for trial in second.best_trials(5)] == [0.8, 0.5]
    assert isinstance(second.ask(), TrialSuggestion)
    assert isinstance(second.ask(), Exhausted)


class _Patient(keras_tuner.Oracle):  # type: ignore[misc]
    """A third party's oracle: one trial at a time."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        if self.ongoing_trials:
            return {"status": "IDLE"}
        return {"status": "RUNNING", "values": self._random_values()}


def test_any_oracle_can_be_driven() -> None:
    tuner = make_tuner(_Patient(seed=1), objective="val_accuracy", max_trials=2, hyperparameters=space())
    first = asked(tuner)

    assert isinstance(tuner.ask(), Wait)
    tuner.report(first.trial_id, 0, {"val_accuracy": 0.5})
    tuner.finish(first.trial_id, "COMPLETED")
    assert asked(tuner).values.keys() == {"rate"}
    assert tuner.objective.direction == "max"
    tuner.close()


def test_several_objectives_of_an_oracle_make_one_score() -> None:
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=[keras_tuner.Objective("a", "max"), keras_tuner.Objective("b", "min")], max_trials=2
    )
    tuner = make_tuner(oracle, hyperparameters=space())
    trial = asked(tuner).trial_id
    tuner.report(trial, 0, {"a": 1.0, "b": 3.0})
    tuner.finish(trial, "COMPLETED")

    assert tuner.best_trials()[0].score == 2.0
    tuner.close()


def test_summaries_look_like_those_of_keras_tuner(capsys: pytest.CaptureFixture[str]) -> None:
    tuner = random_tuner()
    trial = asked(tuner)
    tuner.report(trial.trial_id, 0, {"val_accuracy": 0.5})
    tuner.finish(trial.trial_id, "COMPLETED")
    tuner.search_space_summary()
    tuner.results_summary()

    out = capsys.readouterr().out
    assert "Default search space size: 1\nrate (Float)\n" in out
    assert f"Results in {tuner.project_dir}" in out
    assert "Score: 0.5" in out
    tuner.close()


def test_a_tuner_knows_that_it_has_given_all() -> None:
    tuner = random_tuner(2)
    first = asked(tuner).trial_id
    seen = [tuner.exhausted]
    asked(tuner)
    seen.append(tuner.exhausted)
    tuner.reject(first, "oversized")  # it is replaced
    seen.append(tuner.exhausted)
    asked(tuner)
    seen.append(tuner.exhausted)
    assert seen == [False, True, False, True]
    tuner.close()


def test_kerastuners_hyperband_goes_on_with_the_weights_of_whom_it_promotes() -> None:
    oracle = keras_tuner.oracles.HyperbandOracle(
        keras_tuner.Objective("score", "max"), max_epochs=9, factor=3, seed=1, hyperparameters=space()
    )
    tuner = Tuner(oracle, max_trials=None)
    trained: dict[str, int] = {}
    promoted = 0
    for _ in range(17):
        suggestion = asked(tuner)
        assert suggestion.stage is not None
        assert suggestion.stage.last
        before = trained[suggestion.parent] if suggestion.parent else 0
        trained[suggestion.trial_id] = before + suggestion.stage.until
        assert trained[suggestion.trial_id] == suggestion.values["tuner/epochs"]
        promoted += bool(suggestion.parent)
        tuner.report(suggestion.trial_id, suggestion.stage.until - 1, {"score": suggestion.values["rate"]})
        tuner.finish(suggestion.trial_id, "COMPLETED")
    assert promoted
    assert max(trained.values()) == 9
    tuner.close()


def test_the_summary_of_several_objectives_names_each(capsys: pytest.CaptureFixture[str]) -> None:
    tuner = random_tuner(objective=["val_accuracy", keras_tuner.Objective("parameters", "min")])
    trial = asked(tuner)
    tuner.report(trial.trial_id, 0, {"val_accuracy": 0.75, "parameters": 100.0})
    tuner.finish(trial.trial_id, "COMPLETED", "completed")
    tuner.results_summary()
    printed = capsys.readouterr().out.splitlines()
    assert printed[-2:] == ["val_accuracy: 0.75", "parameters: 100.0"]
    assert "completed" not in printed
    tuner.close()


def test_a_limit_may_come_only_later(tmp_path: Path) -> None:
    tuner = make_tuner("grid", hyperparameters=space(), seed=0, objective="val_accuracy")
    for reject in (True, False):
        trial = asked(tuner).trial_id
        if reject:
            tuner.reject(trial, "too large")
        else:
            tuner.finish(trial, "FAILED")
    tuner.raise_limit(None)
    tuner.raise_limit(3)

    left = [asked(tuner) for _ in range(2)]
    assert len(left) == 2
    assert not isinstance(tuner.ask(), TrialSuggestion)
    tuner.close()


@pytest.mark.parametrize(("own", "given", "count"), [(None, 3, 3), (5, 3, 3), (2, 3, 3), (2, None, 2)])
def test_the_limit_of_a_tuner_is_that_of_its_oracle(own: int | None, given: int | None, count: int) -> None:
    oracle = RandomOracle(objective="val_accuracy", hyperparameters=space(), max_trials=own)
    tuner = Tuner(oracle, max_trials=given)
    for _ in range(count):
        asked(tuner)
    assert isinstance(tuner.ask(), Exhausted)
    assert (tuner.exhausted, tuner.max_trials) == (True, count)
    tuner.close()


@pytest.mark.parametrize("late", ["report", "pause", "finish", "reject"])
def test_a_trial_ends_once(late: str) -> None:
    tuner = random_tuner()
    trial = asked(tuner).trial_id
    tuner.report(trial, 0, {"val_accuracy": 0.5})
    tuner.finish(trial, "COMPLETED")
    calls = {
        "report": lambda: tuner.report(trial, 1, {"val_accuracy": 0.9}),
        "pause": lambda: tuner.pause(trial),
        "finish": lambda: tuner.finish(trial, "FAILED"),
        "reject": lambda: tuner.reject(trial, "too large"),
    }

    with pytest.raises(ConfigError, match=rf"has not ended. Received: trial_id='{trial}', which is COMPLETED"):
        calls[late]()

    assert tuner.best_trials(1)[0].score == 0.5
    tuner.close()
