"""What a search gives: the leaderboard, the models, and prediction with them on Spark."""

from cerebro_nas.results._bundle import ModelSource
from cerebro_nas.results._bundle import OutputSpec
from cerebro_nas.results._export import save_verified
from cerebro_nas.results._import import load_model
from cerebro_nas.results._model import TrialModel
from cerebro_nas.results._result import ModelSelectionResult

__all__ = ["ModelSelectionResult", "ModelSource", "OutputSpec", "TrialModel", "load_model", "save_verified"]
