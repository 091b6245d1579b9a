"""Every public name of AutoKeras 3.0.0, and what it is here: the table that docs/autokeras-compatibility.md is made of.

`tools/conformance.py --write` puts it into the document. `tests/tasks/test_conformance.py` makes sure that no name is
missing and that every test named here exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["same", "different", "refused"]


@dataclass(frozen=True)
class Row:
    """A name.

    Attributes:
        name: as AutoKeras calls it; an argument in brackets behind what takes it.
        verdict: `"same"`: it means here what it means there. `"different"`: how says how. `"refused"`: an error says
            why.
        how: what differs, or why it is refused; for what is the same, nothing, or what it comes to.
        proof: the test that shows it, as `file::test` below `tests/`.
    """

    name: str
    verdict: Verdict
    how: str = ""
    proof: str = ""


_SIGNATURE = "tasks/test_auto_model.py::test_arguments_are_autokeras_own_in_its_order"
_TASK_SIGNATURE = "tasks/test_tasks.py::test_arguments_are_autokeras_own_in_its_order"
_GIVEN = "tasks/test_auto_model.py::test_what_was_given_can_be_read"
_BLOCK = "tasks/test_blocks.py::test_it_builds_trains_and_exports"
_WRONG_FIT = "tasks/test_auto_model.py::test_what_fit_cannot_take"
_PREDICTIONS = "tasks/test_auto_model.py::test_predictions_look_as_autokeras_gives_them"
_NO_WEIGHTS = "tasks/test_blocks.py::test_pretrained_weights_are_refused_before_anything_is_fetched"
_OBJECTS = "tasks/test_conformance.py::test_what_is_autokeras_own_is_the_very_object"

AUTO_MODEL = (
    Row("AutoModel", "same", proof=_SIGNATURE),
    Row("AutoModel(inputs)", "same", proof=_GIVEN),
    Row("AutoModel(outputs)", "same", "heads alone, or the functional API", _GIVEN),
    Row("AutoModel(project_name)", "same", "must be a plain name, without slashes or wildcards", _GIVEN),
    Row(
        "AutoModel(max_trials)",
        "different",
        "candidates that cannot be built or are too large do not count; raised later, the search goes on",
        "tasks/test_auto_model.py::test_a_search_that_ended_is_not_run_again",
    ),
    Row(
        "AutoModel(directory)",
        "same",
        "files are in `<directory>/<project_name>` and made by `fit`, not by the constructor; their layout is ours",
        "tasks/test_auto_model.py::test_nothing_is_written_before_fit",
    ),
    Row("AutoModel(objective)", "same", "also a list of several, for a Pareto front", _GIVEN),
    Row(
        "AutoModel(tuner)",
        "different",
        "AutoKeras' four names and classes (they stand for our tuners of that name), all other names of `tuner_bind`, "
        "any `keras_tuner.Oracle`. A subclass of `AutoTuner` is refused: its methods would not be called",
        "tasks/test_tuner.py::test_names_and_classes",
    ),
    Row(
        "AutoModel(overwrite)",
        "different",
        "False goes on with a search that did not end, and gives the result of one that did; refused if data, graph or "
        "objective are others, which AutoKeras does not notice",
        "tasks/test_auto_model.py::test_a_search_that_ended_is_not_run_again",
    ),
    Row(
        "AutoModel(seed)",
        "different",
        "None is 0; proposals, weights and the order of rows follow from it; NumPy's global generator is left alone",
        _GIVEN,
    ),
    Row(
        "AutoModel(max_model_size)",
        "same",
        "candidates are measured before any weight is allocated",
        "search_space/test_space.py::test_too_large_candidates_are_rejected_without_allocating_them",
    ),
    Row(
        "AutoModel(**kwargs)",
        "different",
        "options of the tuner and of `tuner_bind`. Of `keras_tuner.Tuner`'s, those that say what is so anyway "
        "(`executions_per_trial=1`) are taken, others refused",
        "tasks/test_tuner.py::test_arguments_of_keras_tuner_that_say_what_is_so_anyway",
    ),
    Row("AutoModel.inputs", "same", proof=_GIVEN),
    Row("AutoModel.outputs", "same", proof=_GIVEN),
    Row("AutoModel.objective", "same", proof=_GIVEN),
    Row("AutoModel.max_trials", "same", "None where a grid has no limit", _GIVEN),
    Row("AutoModel.directory", "same", '`"."` where none was given', _GIVEN),
    Row("AutoModel.project_name", "same", proof=_GIVEN),
    Row("AutoModel.seed", "same", proof=_GIVEN),
    Row("AutoModel.overwrite", "same", proof=_GIVEN),
    Row(
        "AutoModel.tuner",
        "different",
        "our tuner, with `oracle`, `search_space_summary()` and `results_summary()`; there is one after `fit`. Models "
        "and the leaderboard are in `result`",
        "tasks/test_auto_model.py::test_nothing_can_be_predicted_before_fit",
    ),
    Row("AutoModel.fit", "same", proof=_SIGNATURE),
    Row(
        "AutoModel.fit(x)",
        "different",
        "arrays as there; also pandas frames, and a Spark DataFrame that holds the labels too; a dict goes by the "
        "names of the inputs, and by the order of its keys, as there, only where none is a name and no input was given "
        "one",
        "tasks/test_data.py::test_one_array_for_each_node",
    ),
    Row("AutoModel.fit(y)", "same", "of a Spark DataFrame: names of columns", "tasks/test_spark.py"),
    Row("AutoModel.fit(batch_size)", "different", "not halved where memory is short: the trial fails", _WRONG_FIT),
    Row(
        "AutoModel.fit(epochs)",
        "same",
        "None: up to 1000, ended by 10 without improvement; a number: likewise in the search, and in full in the end",
        "tasks/test_course.py::test_the_best_configuration_is_trained_anew_where_autokeras_does",
    ),
    Row(
        "AutoModel.fit(callbacks)",
        "different",
        "`EarlyStopping` and `TensorBoard`; others are refused, as candidates hop between processes. AutoKeras' "
        "default early stopping is not put into the user's list",
        "tasks/test_course.py::test_early_stopping_is_autokeras_own_unless_given",
    ),
    Row(
        "AutoModel.fit(validation_split)",
        "same",
        "the last rows of arrays; of a Spark DataFrame, which has no last ones, seeded random rows",
        "tasks/test_data.py::test_rows_are_split_as_autokeras_splits_them",
    ),
    Row(
        "AutoModel.fit(validation_data)",
        "same",
        "of a Spark DataFrame another one",
        "tasks/test_auto_model.py::test_rows_to_validate_on_are_never_trained_on",
    ),
    Row("AutoModel.fit(verbose)", "different", "0, 1, 2 as there; what is shown is the search's display", _WRONG_FIT),
    Row(
        "AutoModel.fit(**kwargs)",
        "different",
        "`class_weight` (by label, where Keras counts them), and `sample_weight` along with `validation_data`; what "
        "asks for nothing (`shuffle=True`) is taken, what would change training by hand (`steps_per_epoch`) refused",
        _WRONG_FIT,
    ),
    Row(
        "AutoModel.fit -> History",
        "different",
        "of the final training, as there; of the best trial where AutoKeras gives None; `model` is None",
        "tasks/test_auto_model.py::test_rows_that_are_split_off_are_trained_on_in_the_end",
    ),
    Row(
        "AutoModel.fit, final training",
        "same",
        "on all rows if some were split off, for the epochs given or those of the best trial; a search of its own that "
        "can be gone on with",
        "hypermodel/test_refit.py::test_it_trains_on_every_row_to_the_last_epoch",
    ),
    Row("AutoModel.predict", "same", proof=_PREDICTIONS),
    Row(
        "AutoModel.predict -> labels",
        "different",
        "shapes and types as there: text of shape (n, 1); 0.0 and 1.0; rows of zeros and ones; numbers (n, k). Of "
        "`multi_label=True` every label above 0.5, where AutoKeras gives one label a row. Of a DataFrame a DataFrame",
        "tasks/test_labels.py::test_classes_come_back_as_text",
    ),
    Row("AutoModel.evaluate", "same", "in the order of Keras; a lone loss as a number",
        "tasks/test_auto_model.py::test_that_order_is_the_one_of_keras_itself"),
    Row(
        "AutoModel.export_model",
        "different",
        "the preprocessing is inside: it takes texts and categories as they are, where AutoKeras' takes encoded ones. "
        "`path=` saves it too",
        "tasks/test_auto_model.py::test_the_model_has_been_trained_on_all_rows",
    ),
)  # fmt: skip

TASKS = (
    Row(
        "ImageClassifier",
        "different",
        "begins with AutoKeras' first two configurations; its third fine-tunes a pretrained EfficientNet-B7, and "
        "candidates here start from random weights",
        "tasks/test_tasks.py::test_what_autokeras_tries_first_is_tried_first",
    ),
    Row("ImageRegressor", "same", proof=_TASK_SIGNATURE),
    Row(
        "TextClassifier",
        "same",
        "begins with AutoKeras' configuration; texts: see `TextInput`",
        "tasks/test_tasks.py::test_what_autokeras_tries_first_is_tried_first",
    ),
    Row("TextRegressor", "same", "texts: see `TextInput`", _TASK_SIGNATURE),
    Row(
        "StructuredDataClassifier",
        "same",
        "begins with AutoKeras' configuration; columns: see `StructuredDataInput`",
        "tasks/test_tasks.py::test_what_autokeras_tries_first_is_tried_first",
    ),
    Row(
        "StructuredDataRegressor",
        "same",
        "likewise",
        "tasks/test_tasks.py::test_what_autokeras_tries_first_is_tried_first",
    ),
    Row(
        "csv paths as x, dataset as x",
        "refused",
        "as in AutoKeras 3, with advice: `pandas.read_csv` or `spark.read.csv`",
        "tasks/test_tasks.py::test_paths_of_files_are_refused_with_advice",
    ),
)

INPUTS = (
    Row("Input", "same", proof=_OBJECTS),
    Row("ImageInput", "same", "also encoded pictures in a column of a DataFrame", _OBJECTS),
    Row(
        "TextInput",
        "different",
        "lower-cased, punctuation stripped, up to 20,000 words of all rows (AutoKeras: split at blanks, 500 words); at "
        "most 100 words a text, as there; an unknown word is a number of its own. `max_tokens` bounds the vocabulary",
        _BLOCK,
    ),
    Row(
        "StructuredDataInput",
        "different",
        "texts are categorical, numbers numerical, booleans 0 and 1, whatever the number of their values, unless "
        "`column_types` says otherwise; unknown categories have a number of their own, missing ones are refused",
        "tasks/test_tasks.py::test_an_array_has_the_names_that_are_given",
    ),
)

BLOCKS = (
    *(
        Row(name, "same", how, _BLOCK)
        for name, how in (
            ("ConvBlock", ""),
            ("DenseBlock", ""),
            ("Embedding", "words beyond `max_features` are unknown ones, where AutoKeras' model fails"),
            ("Flatten", ""),
            ("ImageAugmentation", "per batch, within the model; `zoom_factor` does nothing in AutoKeras 3"),
            ("Merge", ""),
            ("RNNBlock", ""),
            ("SpatialReduction", ""),
            ("TemporalReduction", ""),
            ("TextBlock", ""),
        )
    ),
    *(
        Row(
            name,
            "different",
            "where `normalize` is tuned, it begins as True, as in AutoKeras' task classes (in its blocks: False)",
            "search_space/test_explore.py::test_blocks_that_may_normalise_begin_with_it",
        )
        for name in ("ImageBlock", "StructuredDataBlock")
    ),
    Row(
        "Normalization",
        "different",
        "mean and variance of all rows, from the preparation of the data; not directly on an input it is told in a "
        "warning that it keeps 0 and 1, which AutoKeras leaves unsaid; only the last axis, or none",
        "search_space/test_space.py::test_statistics_equal_those_that_keras_adapts_to",
    ),
    *(
        Row(name, "different", "`pretrained=True` is refused, and never tuned: candidates start from random weights",
            _NO_WEIGHTS)
        for name in ("EfficientNetBlock", "ResNetBlock", "XceptionBlock")
    ),
    Row(
        "ClassificationHead",
        "different",
        "`loss` holds (AutoKeras replaces it); `num_classes` must be that of the data (AutoKeras replaces it); sparse "
        "losses and metrics are refused, as labels are encoded, and so are metrics of several numbers, such as "
        "`F1Score()` without `average`; labels are texts or whole numbers: fractions (0.5, 1.5), which "
        "AutoKeras takes for classes, are refused: pass texts (`y.astype(str)`)",
        _BLOCK,
    ),
    Row("RegressionHead", "same", proof=_BLOCK),
    Row("Block", "same", "blocks of your own; their layers must be Keras' or registered with it", _OBJECTS),
    Row("Head", "different", "heads of your own are built, and their labels used as numbers", _OBJECTS),
    Row("Node", "same", proof=_OBJECTS),
)  # fmt: skip

OTHERS = (
    *(
        Row(name, "different", f'a name for `tuner="{ours}"`{more}', "tasks/test_tuner.py::test_names_and_classes")
        for name, ours, more in (
            ("BayesianOptimization", "bayesian", "; `beta` is its `kappa`, `alpha` is refused: the noise is fitted"),
            ("Greedy", "greedy", ", seeded; `exploration=` gives it a share of random trials"),
            ("Hyperband", "hyperband", "; trials that go on keep their weights (AutoKeras' fail on Keras 3)"),
            ("RandomSearch", "random", ", without duplicates"),
        )
    ),
    Row("CUSTOM_OBJECTS", "same", "exported models need no others", _OBJECTS),
    Row("CastToFloat32", "same", proof=_OBJECTS),
    Row("ExpandLastDim", "same", proof=_OBJECTS),
    Row("__version__", "different", "that of cerebro_nas"),
    *(
        Row(name, "same", "AutoKeras' own module", _OBJECTS)
        for name in (
            *("adapters", "analysers", "blocks", "engine", "graph", "hyper_preprocessors", "keras_layers", "nodes"),
            *("pipeline", "preprocessors", "utils"),
        )
    ),
    Row("auto_model", "refused", "its class is replaced; import it from `autokeras` if it is meant"),
    Row("tasks", "different", "our room of that name, with the same classes"),
    Row("tuners", "different", "our room of that name; AutoKeras' classes are names of `cerebro_nas` itself"),
)

SECTIONS = {
    "AutoModel": AUTO_MODEL,
    "Tasks": TASKS,
    "Inputs": INPUTS,
    "Blocks and heads": BLOCKS,
    "Tuners, layers and modules": OTHERS,
}
