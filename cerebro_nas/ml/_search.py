"""From Params to a search, and from its result to what a model holds."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.backend import SparkBackend
from cerebro_nas.errors import ConfigError
from cerebro_nas.ml._dataset import check_dataset
from cerebro_nas.ml._graph import Ends
from cerebro_nas.ml._graph import ends_of_task
from cerebro_nas.ml._graph import fresh_ends
from cerebro_nas.ml._packed import Packed
from cerebro_nas.ml._packed import pack
from cerebro_nas.storage import LocalStore

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql import SparkSession

    from cerebro_nas.ml._params import SearchParams
    from cerebro_nas.results import ModelSelectionResult

# A search has workers in all of Spark's slots, and Keras' state is the process's: `CrossValidator` with `parallelism`
# above 1 has its fits wait for each other.
_ONE_AT_A_TIME = threading.Lock()


def run_search(params: SearchParams, ends: Ends | None, dataset: DataFrame) -> tuple[Packed, ModelSelectionResult]:
    """Search with these Params, and keep the best model.

    Raises:
        ConfigError: a Param cannot be used.
        DataError: the data cannot be used; the message lists every problem.
        BackendError: there are fewer slots than workers, or the backend failed.
        SearchAborted: the search could not go on.
    """
    if (ends is None) != params.isDefined(params.task):
        raise ConfigError(
            "Either `inputs` and `outputs`, or `task`, must say what is searched. "
            f"Received: {'neither' if ends is None else 'both'}. Pass for example task='StructuredDataClassifier'."
        )
    check_dataset(dataset)
    if ends is None:
        ends = ends_of_task(params.getTask())
    with _ONE_AT_A_TIME, _place(params, dataset.sparkSession) as (store, project):
        return _run(params, fresh_ends(ends), dataset, store, project)


def _run(
    params: SearchParams, ends: Ends, dataset: DataFrame, store: LocalStore, project: str
) -> tuple[Packed, ModelSelectionResult]:
    from cerebro_nas.hypermodel import HyperHyperModel

    model = HyperHyperModel(*ends, project_name=project, seed=params.getSeed())
    model.resource_bind(
        backend=SparkBackend(spark=dataset.sparkSession, **_backend_arguments(params)),
        store=store,
        verbose=params.getVerbose(),
        **_column_arguments(params),
    )
    model.tuner_bind(params.getTuner(), **_tuner_arguments(params))
    result = model.fit(
        dataset,
        batch_size=params.getBatchSize(),
        epochs=params.getEpochs() if params.isDefined(params.epochs) else None,
        input_shape=params.getInputShape() if params.isDefined(params.inputShape) else None,
    )
    return pack(result.best_model), result


def _backend_arguments(params: SearchParams) -> dict[str, Any]:
    found = params.getBackendOptions() if params.isDefined(params.backendOptions) else {}
    return {**found, "num_workers": params.getNumWorkers()} if params.isDefined(params.numWorkers) else found


def _column_arguments(params: SearchParams) -> dict[str, Any]:
    marks = params.isDefined(params.validationIndicatorCol) and params.getValidationIndicatorCol()
    found: dict[str, Any] = {
        "feature_columns": params.getFeaturesCols(),
        "label_columns": [params.getLabelCol()],
        "validation": marks or params.getValidationFraction(),
    }
    if params.isDefined(params.weightCol) and params.getWeightCol():
        found["sample_weight_column"] = params.getWeightCol()
    return found


def _tuner_arguments(params: SearchParams) -> dict[str, Any]:
    found = params.getTunerOptions() if params.isDefined(params.tunerOptions) else {}
    if params.isDefined(params.objective):
        found["objective"] = params.getObjective()
    if params.isDefined(params.maxTrials):
        found["max_trials"] = params.getMaxTrials()
    if params.isDefined(params.hyperparameters):
        from keras_tuner import HyperParameters

        found["hyperparameters"] = HyperParameters.from_config(params.getHyperparameters())
    return found


@contextlib.contextmanager
def _place(params: SearchParams, spark: SparkSession) -> Iterator[tuple[LocalStore, str]]:
    """The store of a search and its name there; what has no name of the user's is removed at the end."""
    named = params.isDefined(params.projectName)
    name = params.getProjectName() if named else f"fit_{uuid.uuid4().hex[:12]}"
    if params.isDefined(params.store):
        store = LocalStore(params.getStore())
        if named:
            yield store, name
            return
        directory = store.prefix_path / name
    else:
        directory = _temporary(spark, named)
    try:
        yield LocalStore(directory), name
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _temporary(spark: SparkSession, named: bool) -> Path:
    master = str(spark.conf.get("spark.master", "") or "")
    if named or not master.startswith("local"):
        raise ConfigError(
            "`store` must be set where a search has a `projectName`, and where Spark runs on several machines. "
            f"Received: no store, projectName {'set' if named else 'not set'}, master={master!r}. Set it to a "
            "directory that driver, executors and workers reach under the same path."
        )
    return Path(tempfile.mkdtemp(prefix="cerebro_nas_fit_"))
