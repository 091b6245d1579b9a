"""Classification of rows of a table, and regression on them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import autokeras

from cerebro_nas.errors import ConfigError
from cerebro_nas.tasks._task import Task
from cerebro_nas.tasks._tuner import task_tuner

_KINDS = ("categorical", "numerical")


class _StructuredTask(Task):
    def __init__(
        self,
        outputs: Any,
        column_names: Sequence[str] | None,
        column_types: Mapping[str, str] | None,
        **kwargs: Any,
    ) -> None:
        _check_types(column_types)
        self._column_names = None if column_names is None else list(column_names)
        self._column_types = None if column_types is None else dict(column_types)
        node = autokeras.StructuredDataInput(column_names=self._column_names, column_types=self._column_types)
        super().__init__(node, outputs, **kwargs)

    def predict(self, x: Any, **kwargs: Any) -> Any:  # type: ignore[override]  # as in AutoKeras
        """Predict with the best model; see `AutoModel.predict`."""
        return super().predict(x=x, **kwargs)

    def evaluate(self, x: Any, y: Any = None, **kwargs: Any) -> Any:  # type: ignore[override]  # as in AutoKeras
        """Evaluate the best model; see `AutoModel.evaluate`."""
        return super().evaluate(x=x, y=y, **kwargs)

    def _check_rows(self, x: Any) -> None:
        """Refuse kinds of columns that the data has not."""
        types, names = self._column_types, self._column_names or list(getattr(x, "columns", ()))
        if types and not names:
            raise ConfigError(
                "column_names must be specified along with column_types where the data has no names of its own. "
                f"Received: column_types={types}. Pass `column_names`, or a pandas frame."
            )
        unknown = sorted(set(types or ()) - set(names))
        if unknown:
            raise ConfigError(
                f"column_names and column_types are mismatched. Received: column_types of {unknown}, which are not "
                f"among {names}. Use the same names."
            )


class StructuredDataClassifier(_StructuredTask):
    """Finds a model that tells classes of rows of a table.

    Args:
        column_names: names of the columns, which those of a frame are replaced by; None: those of the frame.
        column_types: `"categorical"` or `"numerical"` by name of column; None: texts are categorical,
            numbers numerical.
        num_classes: number of classes; None: that of the data.
        multi_label: whether a row may have several.
        loss: a Keras loss; None: cross-entropy.
        metrics: Keras metrics; None: accuracy.
        project_name: see `AutoModel`.
        max_trials: see `AutoModel`.
        directory: see `AutoModel`.
        objective: see `AutoModel`.
        tuner: see `AutoModel`; None: greedy, beginning with AutoKeras' starting configuration.
        overwrite: see `AutoModel`.
        seed: see `AutoModel`.
        max_model_size: see `AutoModel`.
        **kwargs: see `AutoModel`.

    Raises:
        ConfigError: an argument cannot be used.
    """

    def __init__(
        self,
        column_names: Sequence[str] | None = None,
        column_types: Mapping[str, str] | None = None,
        num_classes: int | None = None,
        multi_label: bool = False,
        loss: Any = None,
        metrics: Any = None,
        project_name: str = "structured_data_classifier",
        max_trials: int = 100,
        directory: str | os.PathLike[str] | None = None,
        objective: Any = "val_accuracy",
        tuner: Any = None,
        overwrite: bool = False,
        seed: int | None = None,
        max_model_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        chosen, options = task_tuner("structured_data_classifier", tuner, kwargs)
        super().__init__(
            autokeras.ClassificationHead(num_classes=num_classes, multi_label=multi_label, loss=loss, metrics=metrics),
            column_names,
            column_types,
            project_name=project_name,
            max_trials=max_trials,
            directory=directory,
            objective=objective,
            tuner=chosen,
            overwrite=overwrite,
            seed=seed,
            max_model_size=max_model_size,
            **options,
        )


class StructuredDataRegressor(_StructuredTask):
    """Finds a model that tells numbers from rows of a table.

    Args:
        column_names: names of the columns, which those of a frame are replaced by; None: those of the frame.
        column_types: `"categorical"` or `"numerical"` by name of column; None: texts are categorical,
            numbers numerical.
        output_dim: numbers of a row; None: as many as in the data.
        loss: a Keras loss.
        metrics: Keras metrics; None: mean squared error.
        project_name: see `AutoModel`.
        max_trials: see `AutoModel`.
        directory: see `AutoModel`.
        objective: see `AutoModel`.
        tuner: see `AutoModel`; None: greedy, beginning with AutoKeras' starting configuration.
        overwrite: see `AutoModel`.
        seed: see `AutoModel`.
        max_model_size: see `AutoModel`.
        **kwargs: see `AutoModel`.

    Raises:
        ConfigError: an argument cannot be used.
    """

    def __init__(
        self,
        column_names: Sequence[str] | None = None,
        column_types: Mapping[str, str] | None = None,
        output_dim: int | None = None,
        loss: Any = "mean_squared_error",
        metrics: Any = None,
        project_name: str = "structured_data_regressor",
        max_trials: int = 100,
        directory: str | os.PathLike[str] | None = None,
        objective: Any = "val_loss",
        tuner: Any = None,
        overwrite: bool = False,
        seed: int | None = None,
        max_model_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        chosen, options = task_tuner("structured_data_regressor", tuner, kwargs)
        super().__init__(
            autokeras.RegressionHead(output_dim=output_dim, loss=loss, metrics=metrics),
            column_names,
            column_types,
            project_name=project_name,
            max_trials=max_trials,
            directory=directory,
            objective=objective,
            tuner=chosen,
            overwrite=overwrite,
            seed=seed,
            max_model_size=max_model_size,
            **options,
        )


def _check_types(types: Mapping[str, str] | None) -> None:
    wrong = {name: kind for name, kind in (types or {}).items() if kind not in _KINDS}
    if wrong:
        raise ConfigError(
            'column_types should be either "categorical" or "numerical" for each column. '
            f"Received: column_types={wrong}. Choose one of the two."
        )
