"""Cerebro's model selection: searches over a function that makes an estimator of parameters.

Importing this module loads neither TensorFlow nor Spark.
"""

from cerebro_nas.tune._hyperparameters import hp_choice
from cerebro_nas.tune._hyperparameters import hp_loguniform
from cerebro_nas.tune._hyperparameters import hp_qloguniform
from cerebro_nas.tune._hyperparameters import hp_quniform
from cerebro_nas.tune._hyperparameters import hp_uniform
from cerebro_nas.tune._searches import GridSearch
from cerebro_nas.tune._searches import RandomSearch
from cerebro_nas.tune._searches import TPESearch

__all__ = [
    "GridSearch",
    "RandomSearch",
    "TPESearch",
    "hp_choice",
    "hp_loguniform",
    "hp_qloguniform",
    "hp_quniform",
    "hp_uniform",
]
