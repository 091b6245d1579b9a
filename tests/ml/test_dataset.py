"""Rows that are none of Spark's are refused by name, whichever way they come."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.ml import HyperHyperEstimator
from cerebro_nas.ml import HyperHyperEstimatorModel
from cerebro_nas.ml._packed import Packed

pytestmark = [
    pytest.mark.spark,
    # PySpark leaves sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize(("given", "kind"), [(pd.DataFrame({"a": [1]}), "pandas.DataFrame"), ([1], "builtins.list")])
def test_rows_that_are_none_of_spark(given: Any, kind: str, make_packed: Any) -> None:
    text = f"`dataset` must be a Spark DataFrame. Received: an object of type {kind}. .*spark.createDataFrame"
    packed: Packed = make_packed("binary", ("a", "b"))
    for use in (HyperHyperEstimator(task="StructuredDataClassifier").fit, HyperHyperEstimatorModel(packed).transform):
        with pytest.raises(ConfigError, match=text):
            use(given)
