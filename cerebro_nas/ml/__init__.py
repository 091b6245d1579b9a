"""A model search that lives in a Spark ML pipeline. Importing this module loads PySpark, and no TensorFlow."""

from cerebro_nas.ml._estimator import HyperHyperEstimator
from cerebro_nas.ml._model import HyperHyperEstimatorModel

__all__ = ["HyperHyperEstimator", "HyperHyperEstimatorModel"]
