"""Cerebro's estimator: the user's own Keras model, trained on Spark.

Importing this module loads neither TensorFlow nor Spark.
"""

from cerebro_nas.keras._estimator import SparkEstimator
from cerebro_nas.keras._search import SETTINGS
from cerebro_nas.keras._search import EstimatorSearch

__all__ = ["EstimatorSearch", "SETTINGS", "SparkEstimator"]
