"""When AutoKeras stops trials, and when it trains the best configuration anew."""

from __future__ import annotations

from typing import Any

import keras
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.tasks._course import Course
from cerebro_nas.tasks._course import history_of

OWN = keras.callbacks.EarlyStopping(patience=2)


# AutoKeras' engine/tuner.py: early stopping is inserted where there is none, and the final fit is made if rows were
# split off or if it was inserted for a given number of epochs.
@pytest.mark.parametrize(
    ("epochs", "callbacks", "split", "refits", "refit_epochs"),
    [
        (None, None, True, True, None),
        (None, [OWN], True, True, None),
        (5, None, True, True, 5),
        (5, [OWN], True, True, 5),
        (None, None, False, False, None),
        (None, [OWN], False, False, None),
        (5, None, False, True, 5),
        (5, [OWN], False, False, 5),
    ],
)
def test_the_best_configuration_is_trained_anew_where_autokeras_does(
    epochs: int | None, callbacks: Any, split: bool, refits: bool, refit_epochs: int | None
) -> None:
    course = Course.of(epochs, callbacks, split, None)
    assert (course.refits, course.all_rows) == (refits, split)
    assert course.refit_epochs == refit_epochs
    assert course.epochs == epochs


def test_early_stopping_is_autokeras_own_unless_given() -> None:
    (added,) = Course.of(None, None, True, None).callbacks
    assert (added.monitor, added.patience, abs(added.min_delta)) == ("val_loss", 10, 1e-4)
    given = [OWN]
    assert Course.of(None, given, True, None).callbacks == (OWN,)
    board = [keras.callbacks.TensorBoard("logs")]
    course = Course.of(None, board, True, None)
    assert [type(callback).__name__ for callback in course.callbacks] == ["TensorBoard", "EarlyStopping"]
    # AutoKeras puts its own into the user's list.
    assert len(board) == 1
    # Trials are numbered from 0 in either search.
    assert course.logdirs == ("logs/refit",)


def test_hyperband_may_have_epochs_of_its_own() -> None:
    course = Course.of(3, None, True, 20)
    assert (course.epochs, course.refit_epochs) == (20, 3)


def test_callbacks_are_a_list() -> None:
    with pytest.raises(ConfigError, match="`callbacks` must be a list"):
        Course.of(None, OWN, True, None)


def test_a_message_names_the_callbacks_that_were_given() -> None:
    given = [keras.callbacks.ModelCheckpoint("x.keras")]
    with pytest.raises(ConfigError, match=r"Received: callbacks=\['ModelCheckpoint'\]\. Remove ModelCheckpoint"):
        Course.of(None, given, True, None)


def test_the_history_is_one_of_keras() -> None:
    found = history_of({"loss": [2.0, 1.0], "epochs": [1.0, 2.0]}, leave_out=("epochs",))
    assert isinstance(found, keras.callbacks.History)
    assert found.history == {"loss": [2.0, 1.0]}
    assert found.epoch == [0, 1]
    assert found.params == {"epochs": 2}
    assert history_of({}).epoch == []
