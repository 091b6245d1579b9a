"""The candidates as a KerasTuner hypermodel, for both sides of KerasTuner. It imports TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import _training
import common
import keras_tuner


class OneOfTheCandidates(keras_tuner.HyperModel):  # type: ignore[misc]
    """Builds the chosen candidate and scores it by its last epoch, where KerasTuner alone would take its best."""

    def __init__(self, candidates: list[dict[str, Any]], scratch: Path) -> None:
        super().__init__()
        self.named = {candidate["name"]: candidate for candidate in candidates}
        self.scratch = scratch

    def build(self, hp: Any) -> Any:
        return common.build(self.named[hp.Choice("candidate", list(self.named))])

    def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        with _training.measured(self.scratch):
            history = model.fit(*args, **kwargs)
        return {"val_accuracy": float(history.history["val_accuracy"][-1])}


class InOrder(keras_tuner.Oracle):  # type: ignore[misc]
    """Hands the candidates out one after another.

    KerasTuner's grid search derives each point from one that has ended, so along one hyperparameter two workers would
    take turns; its random search may miss a point.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        names = self.get_space().space[0].values
        return {"status": "RUNNING", "values": {"candidate": names[int(trial_id)]}}
