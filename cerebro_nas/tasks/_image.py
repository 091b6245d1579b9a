"""Classification of images, and regression on them."""

from __future__ import annotations

import os
from typing import Any

import autokeras

from cerebro_nas.tasks._task import Task
from cerebro_nas.tasks._tuner import task_tuner


class ImageClassifier(Task):
    """Finds a model that tells classes of images.

    Args:
        num_classes: number of classes; None: that of the data.
        multi_label: whether a row may have several.
        loss: a Keras loss; None: cross-entropy.
        metrics: Keras metrics; None: accuracy.
        project_name: see `AutoModel`.
        max_trials: see `AutoModel`.
        directory: see `AutoModel`.
        objective: see `AutoModel`.
        tuner: see `AutoModel`; None: greedy, beginning with AutoKeras' starting configurations.
        overwrite: see `AutoModel`.
        seed: see `AutoModel`.
        max_model_size: see `AutoModel`.
        **kwargs: see `AutoModel`.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        multi_label: bool = False,
        loss: Any = None,
        metrics: Any = None,
        project_name: str = "image_classifier",
        max_trials: int = 100,
        directory: str | os.PathLike[str] | None = None,
        objective: Any = "val_loss",
        tuner: Any = None,
        overwrite: bool = False,
        seed: int | None = None,
        max_model_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        chosen, options = task_tuner("image_classifier", tuner, kwargs)
        super().__init__(
            autokeras.ImageInput(),
            autokeras.ClassificationHead(num_classes=num_classes, multi_label=multi_label, loss=loss, metrics=metrics),
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


class ImageRegressor(Task):
    """Finds a model that tells numbers from images.

    Args:
        output_dim: numbers of a row; None: as many as in the data.
        loss: a Keras loss.
        metrics: Keras metrics; None: mean squared error.
        project_name: see `AutoModel`.
        max_trials: see `AutoModel`.
        directory: see `AutoModel`.
        objective: see `AutoModel`.
        tuner: see `AutoModel`; None: greedy.
        overwrite: see `AutoModel`.
        seed: see `AutoModel`.
        max_model_size: see `AutoModel`.
        **kwargs: see `AutoModel`.
    """

    def __init__(
        self,
        output_dim: int | None = None,
        loss: Any = "mean_squared_error",
        metrics: Any = None,
        project_name: str = "image_regressor",
        max_trials: int = 100,
        directory: str | os.PathLike[str] | None = None,
        objective: Any = "val_loss",
        tuner: Any = None,
        overwrite: bool = False,
        seed: int | None = None,
        max_model_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        chosen, options = task_tuner("image_regressor", tuner, kwargs)
        super().__init__(
            autokeras.ImageInput(),
            autokeras.RegressionHead(output_dim=output_dim, loss=loss, metrics=metrics),
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
