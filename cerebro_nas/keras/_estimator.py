"""`SparkEstimator`: a Keras model and how it is to be trained."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas import search
from cerebro_nas.keras._arguments import EstimatorArguments
from cerebro_nas.keras._search import SETTINGS
from cerebro_nas.keras._search import EstimatorSearch

if TYPE_CHECKING:
    import os

    from pyspark.sql import DataFrame

    from cerebro_nas.backend import Backend
    from cerebro_nas.results import ModelSelectionResult
    from cerebro_nas.storage import Store

_DEFAULT_NAME = "estimator"


class SparkEstimator(EstimatorArguments):
    """A Keras model, and how it is to be trained: what an `estimator_gen_fn` returns.

    The model says what the architecture is; a worker builds it from its configuration. Its weights are not used: a
    candidate's initial weights follow from the search's seed, so that they do not depend on what the driver did
    before. A model that was trained, or loaded, is refused as far as that shows (biases that are no longer what their
    initialiser gives). `Normalization` layers that `adapt` was called for keep what it found; those that it was not
    called for and that follow an input directly get mean and variance of all rows in Spark.

    Args:
        model: a functional or sequential Keras 3 model with `keras.Input`, made of Keras' layers and of
            registered ones. Each of its outputs is a vector; columns are given to inputs and outputs in order.
        custom_objects: layers, losses and metrics of the user's own by name, which must be registered with
            `keras.saving.register_keras_serializable` in a module that workers can import; being registered is enough.
        optimizer: a Keras optimizer or its name.
        loss: a Keras loss or its name; a list or a dict for several outputs. Scalar labels become what it takes:
            one-hot vectors, 0 or 1, or numbers as they are. A sparse categorical loss is trained as the categorical
            one, which gives the same numbers; so are sparse metrics.
        batch_size: rows per training step.
        loss_weights: what the loss of each output counts for in the sum: numbers in a list, or a dict by the names of
            the output layers; those that it does not name count for 1.
        metrics: Keras metrics or their names; for several outputs a list of lists or a dict.
        callbacks: `keras.callbacks.EarlyStopping` stops a candidate, `keras.callbacks.TensorBoard` logs all; the
            same ones for all candidates.
        transformation_fn: a function, registered likewise, that changes the rows of each batch in training and
            validation: from a `tf.data.Dataset` of `(x, y)`, or `(x, y, sample_weight)`, to one of as many rows of
            the same shapes, as `dataset.map` gives. It is part of the compiled graph. Random numbers that it draws
            do not follow from the search's seed. Predictions and exported models do without it, as in Cerebro: what
            they need too belongs into the model.

    Where neither `optimizer` nor `loss` is given, they and the metrics are those that the model was compiled with.

    Raises:
        ConfigError: an argument cannot be used.
    """

    def fit(
        self,
        df: DataFrame,
        *,
        backend: Backend,
        store: Store | str | os.PathLike[str],
        num_epochs: int,
        evaluation_metric: str = "loss",
        validation: float | str = 0.25,
        label_columns: Sequence[str] | str = ("label",),
        feature_columns: Sequence[str] | str = ("features",),
        verbose: Any = 1,
        **settings: Any,
    ) -> ModelSelectionResult:
        """Train this one model, as a search of one candidate.

        Args:
            df: one row per example.
            backend: see `GridSearch`, and so on for the others.
            store: see `GridSearch`.
            num_epochs: see `GridSearch`.
            evaluation_metric: metric that says which epoch's weights are kept.
            validation: see `GridSearch`.
            label_columns: see `GridSearch`.
            feature_columns: see `GridSearch`.
            verbose: see `GridSearch`.
            **settings: see `GridSearch`; `project_name` is `"estimator"` by default.

        Returns:
            The result; its `best_model` is this one, trained.

        Raises:
            ConfigError: an argument cannot be used.
            DataError: the data cannot be used; the message lists every problem.
        """
        search.refuse_unknown(
            {name: value for name, value in settings.items() if name not in SETTINGS}, SETTINGS, "fit"
        )
        found = EstimatorSearch(
            lambda params: self,
            NoParameters(),
            where={
                "backend": backend,
                "store": store,
                "validation": validation,
                "evaluation_metric": evaluation_metric,
                "label_columns": label_columns,
                "feature_columns": feature_columns,
                "verbose": verbose,
            },
            num_epochs=num_epochs,
            tuner="random",
            settings={"project_name": _DEFAULT_NAME, **settings, "max_trials": 1},
        )
        return found.fit(df)


class NoParameters:
    """The search space of a single candidate."""

    def space(self) -> Any:
        """No hyperparameters."""
        import keras_tuner

        return keras_tuner.HyperParameters()

    def params(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """None."""
        return {}

    def describe(self) -> dict[str, Any]:
        """Nothing to say."""
        return {}
