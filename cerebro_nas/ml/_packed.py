"""A fitted model as what a Spark ML model holds: plain values and the bytes of one state, in memory.

Nothing of the search's files is needed any more, so a fit can clean up after itself, and a saved model is whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import CorruptStateError
from cerebro_nas.results import ModelSource
from cerebro_nas.results import OutputSpec
from cerebro_nas.results import TrialModel
from cerebro_nas.storage import Best
from cerebro_nas.storage import StateFiles
from cerebro_nas.tracking import TrialRecord
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import is_encoder
from cerebro_nas.worker import parse_json
from cerebro_nas.worker import user_modules

if TYPE_CHECKING:
    from collections.abc import Sequence

    import keras

SPEC = "spec.json"
STATE = "state.safetensors"
SOURCE = "source.json"

_VERSION = 1
_MAX_DIMENSION = 2**31


@dataclass(frozen=True)
class PackedSource(ModelSource):
    """The source of one model, which it holds itself.

    Attributes:
        spec: the candidate's specification, as JSON.
        state: its weights, as safetensors.
        digest: of both; it stands for them where sources are compared.
    """

    spec: str = field(default="", compare=False, repr=False)
    state: bytes = field(default=b"", compare=False, repr=False)
    digest: str = ""

    def best(self, trial: str) -> Best | None:
        """The state that is here."""
        return Best(self.digest, 0, 0)

    def load(self, trial: str, name: str) -> keras.Model:
        """Build the model, compiled, with its weights."""
        from cerebro_nas.worker import build_model
        from cerebro_nas.worker import import_user_modules
        from cerebro_nas.worker import restore_state

        import_user_modules(self.imports)
        model = build_model(_candidate(self.spec))
        restore_state(model, self.state)
        return model


@dataclass(frozen=True)
class Packed:
    """The best model of a search.

    Attributes:
        source: how rows become inputs and outputs labels, with the model in it.
        trial: the trial's identifier.
        epoch: epoch, from 0, that the weights are of.
        hyperparameters: those of the trial.
        history: metrics per epoch, by name.
    """

    source: PackedSource
    trial: str
    epoch: int = 0
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    history: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def output(self) -> OutputSpec:
        """How the one output reads."""
        return self.source.outputs[0]

    def model(self, columns: Sequence[str] | None = None, output: str | None = None) -> TrialModel:
        """The model, to predict with.

        Args:
            columns: names of the feature columns, where they are called otherwise than in training.
            output: name that the columns of the output begin with; that of the label by default.
        """
        source = self.source
        if columns is not None:
            names = iter(columns)
            inputs = tuple(tuple(replace(spec, name=next(names)) for spec in group) for group in source.inputs)
            source = replace(source, inputs=inputs)
        if output is not None:
            source = replace(source, outputs=(replace(self.output, column=output),), output_columns=(output,))
        record = TrialRecord(self.trial, "COMPLETED", hyperparameters=self.hyperparameters)
        return TrialModel(record, source, recorded_epoch=0, history=self.history)

    def files(self) -> dict[str, bytes]:
        """Everything as files; `unpack` is the inverse."""
        source = self.source
        plain = {
            "version": _VERSION,
            "inputs": [[asdict(column) for column in group] for group in source.inputs],
            "outputs": [asdict(output) for output in source.outputs],
            "train_shards": source.train_shards,
            "batch_size": source.batch_size,
            "fingerprint": source.fingerprint,
            "trial": self.trial,
            "epoch": self.epoch,
            "hyperparameters": self.hyperparameters,
            "history": self.history,
        }
        return {SPEC: source.spec.encode(), STATE: source.state, SOURCE: json.dumps(plain, default=str).encode()}


def pack(model: TrialModel) -> Packed:
    """Read the files of a trial's model and keep what they say.

    Raises:
        StoreError: a file is not there any more.
        CorruptStateError: one is damaged.
    """
    source, best = model.source, model.best()
    states = StateFiles(source.states_url)
    spec, state = states.read_spec(model.trial), states.read(model.trial, best.name)
    return Packed(
        packed_source(source, spec, state),
        model.trial,
        best.epoch,
        model.hyperparameters,
        model.history,
    )


def unpack(files: Mapping[str, bytes]) -> Packed:
    """Read what `Packed.files` gave. Nothing in it is executed.

    Raises:
        CorruptStateError: it is something else.
        UnsafeModelError: it names what no model is made of.
    """
    try:
        spec = files[SPEC].decode()
        plain = parse_json(files[SOURCE])
        if plain["version"] != _VERSION:
            raise ValueError(f"it is of version {plain['version']!r}, and this package reads version {_VERSION}")
        packed = Packed(
            packed_source(_source(plain), spec, files[STATE]),
            str(plain["trial"]),
            _count(plain["epoch"]),
            _mapping(plain["hyperparameters"]),
            {str(name): list(values) for name, values in _mapping(plain["history"]).items()},
        )
        if len(packed.source.outputs) != 1:
            raise ValueError(f"it has {len(packed.source.outputs)} outputs")
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptStateError(f"The saved model is damaged: {error}. It was not loaded.") from error
    _check(_candidate(spec))
    return packed


def packed_source(source: ModelSource, spec: str, state: bytes) -> PackedSource:
    """The source with a model in it.

    Args:
        source: how rows become inputs, and outputs labels.
        spec: the candidate's specification, as JSON.
        state: its weights, as safetensors.
    """
    return PackedSource(
        states_url="",
        inputs=source.inputs,
        outputs=source.outputs,
        output_columns=tuple(f"{output.column}__output" for output in source.outputs),
        train_shards=source.train_shards,
        batch_size=source.batch_size,
        fingerprint=source.fingerprint,
        imports=source.imports,
        spec=spec,
        state=state,
        digest=hashlib.sha256(spec.encode() + b"\0" + state).hexdigest(),
    )


# --- reading what may have been changed -------------------------------------------------------------------------------


def _candidate(text: str) -> CandidateSpec:
    try:
        return CandidateSpec.from_json(text)
    except ValueError as error:
        raise CorruptStateError(f"The specification of the saved model is damaged: {error} It is not used.") from error


def _check(spec: CandidateSpec) -> None:
    """Refuse what no model is made of now, and not on the executors."""
    from cerebro_nas.tracking import load_tensorflow
    from cerebro_nas.tracking import quiet_libraries

    quiet_libraries()
    load_tensorflow()
    import keras

    from cerebro_nas.worker import CUSTOM_OBJECTS
    from cerebro_nas.worker import check_objects

    known = {*CUSTOM_OBJECTS, *keras.saving.get_custom_objects()}
    try:
        parts = [parse_json(spec.model), spec.optimizer, list(spec.loss), [list(group) for group in spec.metrics]]
    except ValueError as error:
        raise CorruptStateError(f"The specification of the saved model is damaged: {error} It is not used.") from error
    check_objects(parts, known, "The saved model")


def _source(plain: dict[str, Any]) -> ModelSource:
    return ModelSource(
        states_url="",
        inputs=tuple(tuple(_column(column) for column in group) for group in plain["inputs"]),
        outputs=tuple(_output(output) for output in plain["outputs"]),
        output_columns=(),
        train_shards=_count(plain["train_shards"]),
        batch_size=_count(plain["batch_size"]),
        fingerprint=str(plain["fingerprint"]),
        # Those of this process: a file names nothing that would be imported.
        imports=user_modules(),
    )


def _column(plain: Any) -> ColumnSpec:
    fields = {"name", "shape", "dtype", "encoding", "encoder"}
    if set(plain) != fields or not all(isinstance(plain[name], str) for name in ("name", "dtype", "encoding")):
        raise ValueError(f"a column should have {', '.join(sorted(fields))}, and has {sorted(map(str, plain))[:9]}")
    if plain["encoder"] is not None and not is_encoder(plain["encoder"]):
        raise ValueError(f"the column {plain['name'][:80]!r} has an encoder that none can be")
    shape = tuple(_count(size) for size in plain["shape"])
    return ColumnSpec(plain["name"], shape, plain["dtype"], plain["encoding"], plain["encoder"])


def _output(plain: Any) -> OutputSpec:
    found = OutputSpec(str(plain["column"]), plain["kind"], tuple(plain["classes"]), _count(plain["width"]))
    labels = all(isinstance(label, (str, int, float)) for label in found.classes)
    wanted = {"binary": 2, "onehot": found.width, "multilabel": found.width, "values": 0}.get(found.kind)
    # None for a kind that there is not.
    if not labels or wanted != len(found.classes):
        raise ValueError(f"an output is of kind {str(found.kind)[:80]!r} with {len(found.classes)} classes")
    return found


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MAX_DIMENSION:
        raise ValueError(f"{str(value)[:80]!r} should be a whole number")
    return value


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{str(value)[:80]!r} should be an object")
    return value
