"""Model files that were made to do harm: refused with a reason, nothing executed, nothing written, memory bounded."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
import tempfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped, unused-ignore]
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

import cerebro_nas
from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import StoreError
from cerebro_nas.errors import UnsafeModelError
from cerebro_nas.results import load_model
from cerebro_nas.results import save_verified
from cerebro_nas.results._archive import repack_checked
from cerebro_nas.worker import CUSTOM_OBJECTS

pytestmark = [
    pytest.mark.case(24),
    # TensorFlow's variables know NumPy 1 only, which saving them runs into.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

WEIGHTS = "model.weights.h5"
Change = Callable[[dict[str, bytes]], None]


@keras.saving.register_keras_serializable("cerebro_nas_tests_import")
class Twice(keras.layers.Layer):  # type: ignore[misc]
    """A layer that a user registered."""

    def call(self, inputs: Any) -> Any:
        return inputs * 2


class Thrice(keras.layers.Layer):  # type: ignore[misc]
    """A layer that nobody registered."""

    def call(self, inputs: Any) -> Any:
        return inputs * 3


def _model(*layers: Any) -> Any:
    first = [keras.Input((4,)), CUSTOM_OBJECTS["CastToFloat32"](), keras.layers.Normalization()]
    model = keras.Sequential([*first, *layers, keras.layers.Dense(3, activation="gelu"), keras.layers.Dropout(0.5)])
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.PolynomialDecay(0.1, 10)), "mse", ["mae"])
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.keras"
    save_verified(_model(), path)
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go: what is left there, or beside it, a test can see."""
    scratch = tmp_path / "a" / "b" / "scratch"
    scratch.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    return scratch


def _members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _write(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def _changed(good: Path, path: Path, change: Change) -> Path:
    members = _members(good)
    change(members)
    return _write(path, members)


# --- what is fine -----------------------------------------------------------------------------------------------------


def test_what_was_exported_is_loaded(good: Path, home: Path) -> None:
    model = cerebro_nas.load_model(good)
    rows = np.random.default_rng(0).random((5, 4)).astype("float32")
    wanted = keras.models.load_model(good, custom_objects=CUSTOM_OBJECTS)
    assert np.array_equal(model.predict(rows, verbose=0), wanted.predict(rows, verbose=0))
    assert type(model.optimizer) is keras.optimizers.Adam
    assert list(home.iterdir()) == []


def test_layers_of_the_user(tmp_path: Path) -> None:
    _model(Twice()).save(tmp_path / "two.keras")
    assert load_model(tmp_path / "two.keras").layers[2].__class__ is Twice
    _model(Thrice()).save(tmp_path / "three.keras")
    with pytest.raises(UnsafeModelError, match="class_name='Thrice'.*import the module that registers it first"):
        load_model(tmp_path / "three.keras")
    assert load_model(tmp_path / "three.keras", custom_objects={"Thrice": Thrice}).layers[2].__class__ is Thrice


def test_vocabularies_travel_as_assets(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((1,), dtype="string"), keras.layers.TextVectorization(vocabulary=["a", "b"])])
    model.save(tmp_path / "text.keras")
    assert load_model(tmp_path / "text.keras").layers[0].get_vocabulary() == ["", "[UNK]", "a", "b"]


def test_an_archive_packed_again_is_fine(good: Path, tmp_path: Path) -> None:
    load_model(_write(tmp_path / "m.keras", _members(good), zipfile.ZIP_DEFLATED))


# --- what is no archive of a model ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.h5", "model.hdf5", "model.H5"])
def test_whole_models_in_hdf5_are_refused_with_advice(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"HDF5 files of whole models can carry code.*keras.models.load_model"):
        load_model(tmp_path / name)


@pytest.mark.parametrize("name", ["model", "model.zip", "model.keras.exe"])
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"`path` must end in '.keras'.*Received: path="):
        load_model(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="could not be read"):
        load_model(tmp_path / "none.keras")


def test_hdf5_under_another_name(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "model.keras", "w") as file:
        file.attrs["model_config"] = "{}"
    with pytest.raises(CorruptStateError, match="no model that can be read"):
        load_model(tmp_path / "model.keras")


@pytest.mark.parametrize("name", ["metadata.json", "config.json", WEIGHTS])
def test_a_member_that_is_missing_or_damaged(good: Path, tmp_path: Path, name: str) -> None:
    for number, damaged in enumerate([None, b"", b"\x89HDF\r\n\x1a\n", b"{", b"[]", b"[" * 200_000]):
        members = {key: value for key, value in _members(good).items() if key != name or damaged is not None}
        if damaged is not None:
            members[name] = damaged
        with pytest.raises(CorruptStateError):
            load_model(_write(tmp_path / f"{number}.keras", members))


# --- archives ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "assets/../../outside",
        "/tmp/outside",
        "assets//etc/outside",
        "assets/..",
        "..\\outside",
        "C:\\outside",
        "assets/a\nb",
        "model.weights.npz",
        "extra.py",
        "assets/" + "x" * 600,
    ],
)
def test_members_elsewhere_are_refused(good: Path, tmp_path: Path, home: Path, name: str) -> None:
    path = _changed(good, tmp_path / "m.keras", lambda members: members.update({name: b"outside"}))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UnsafeModelError, match="Received: a member named"):
        load_model(path)
    assert sorted(tmp_path.rglob("*")) == before


def _link(archive: zipfile.ZipFile, name: str, target: str) -> None:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(info, target)


@pytest.mark.parametrize("name", ["assets/link", "model.weights.h5"])
def test_links_are_refused(good: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in _members(good).items():
            if member != name:
                archive.writestr(member, data)
        _link(archive, name, "/etc/passwd")
    with pytest.raises(UnsafeModelError, match="a link or a device"):
        load_model(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes(good.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(UnsafeModelError, match="several members named 'config.json'"):
        load_model(path)


def test_too_many_members_are_refused(good: Path, tmp_path: Path) -> None:
    path = _changed(good, tmp_path / "m.keras", lambda m: m.update({f"assets/{n}": b"" for n in range(10_001)}))
    with pytest.raises(UnsafeModelError, match="10,004 members"):
        load_model(path)


def _claim(path: Path, name: str, size: int, checksum: int) -> None:
    """Have the table of contents claim another size and checksum for a member."""
    data = bytearray(path.read_bytes())
    at = data.rindex(name.encode()) - 46
    assert data[at : at + 4] == b"PK\x01\x02"
    data[at + 16 : at + 20] = checksum.to_bytes(4, "little")
    data[at + 24 : at + 28] = size.to_bytes(4, "little")
    path.write_bytes(bytes(data))


def _refused_in_little_memory(path: Path, home: Path, match: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises((UnsafeModelError, CorruptStateError), match=match):
            load_model(path)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert list(home.iterdir()) == []


def test_a_bomb_that_says_so(good: Path, tmp_path: Path, home: Path) -> None:
    members = {**_members(good), WEIGHTS: bytes(200 << 20)}
    path = _write(tmp_path / "m.keras", members, zipfile.ZIP_DEFLATED)
    del members
    _refused_in_little_memory(path, home, "members of 209,7.* bytes in a file of")


def test_a_bomb_that_claims_to_be_small(good: Path, tmp_path: Path, home: Path) -> None:
    members = {**_members(good), "config.json": bytes(200 << 20)}
    path = _write(tmp_path / "m.keras", members, zipfile.ZIP_DEFLATED)
    del members
    _claim(path, "config.json", 1000, zlib.crc32(bytes(1000)))
    _refused_in_little_memory(path, home, "no model that can be read")


def test_members_that_share_their_bytes_are_refused(good: Path, tmp_path: Path) -> None:
    path = _changed(good, tmp_path / "m.keras", lambda members: members.update({"assets/a": b"1", "assets/b": b"2"}))
    data = bytearray(path.read_bytes())
    first, second = (data.rindex(name) - 46 for name in (b"assets/a", b"assets/b"))
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    path.write_bytes(bytes(data))
    with pytest.raises(UnsafeModelError, match="whose bytes belong to another one"):
        load_model(path)


def test_a_configuration_of_great_length_is_refused_unread(good: Path, tmp_path: Path, home: Path) -> None:
    members = {**_members(good), "config.json": b" " * ((64 << 20) + 1)}
    path = _write(tmp_path / "m.keras", members)
    del members
    _refused_in_little_memory(path, home, "bytes of config.json")


# --- configurations ---------------------------------------------------------------------------------------------------


def _config(change: Callable[[Any], None]) -> Change:
    def apply(members: dict[str, bytes]) -> None:
        config = json.loads(members["config.json"])
        change(config)
        members["config.json"] = json.dumps(config).encode()

    return apply


def _gadget(module: str, name: str, canary: Path) -> Change:
    def put(config: Any) -> None:
        arguments = {"name": str(canary), "path": str(canary), "fname": str(canary), "origin": "file:///etc/passwd"}
        config["config"]["layers"][3] = {
            "module": module,
            "class_name": name,
            "registered_name": None,
            "config": arguments,
        }

    return _config(put)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("os", "mkdir"),
        ("builtins", "open"),
        ("pathlib", "Path.touch"),
        ("keras.utils", "get_file"),
        ("keras", "utils.get_file"),
        ("keras.src.utils.file_utils", "get_file"),
        ("keras.config", "enable_unsafe_deserialization"),
        ("keras.layers", "TFSMLayer"),
    ],
)
def test_a_configuration_that_names_a_gadget(good: Path, tmp_path: Path, module: str, name: str) -> None:
    canary = tmp_path / "canary"
    path = _changed(good, tmp_path / "m.keras", _gadget(module, name, canary))
    with pytest.raises(UnsafeModelError, match="was not loaded"):
        load_model(path)
    assert not canary.exists()


def test_a_function_of_the_compilation_is_looked_at_too(good: Path, tmp_path: Path) -> None:
    def put(config: Any) -> None:
        config["compile_config"]["loss"] = {
            "module": "os",
            "class_name": "function",
            "config": "system",
            "registered_name": "system",
        }

    with pytest.raises(UnsafeModelError, match="compile_config/loss"):
        load_model(_changed(good, tmp_path / "m.keras", _config(put)))


def test_a_lambda_is_refused(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    model = _model(keras.layers.Lambda(lambda x, path=str(canary): x + Path(path).write_text("ran")))
    canary.unlink()
    model.save(tmp_path / "m.keras")
    with pytest.raises(UnsafeModelError, match="class_name='Lambda'.*can run code of the file"):
        load_model(tmp_path / "m.keras")
    assert not canary.exists()


def test_a_vocabulary_that_is_a_file_is_refused(good: Path, tmp_path: Path) -> None:
    def put(config: Any) -> None:
        config["config"]["layers"][3] = {
            "module": "keras.layers",
            "class_name": "StringLookup",
            "config": {"vocabulary": "/etc/passwd"},
            "registered_name": None,
        }

    with pytest.raises(UnsafeModelError, match="/etc/passwd"):
        load_model(_changed(good, tmp_path / "m.keras", _config(put)))


def test_a_model_larger_than_its_weights_takes_no_memory(good: Path, tmp_path: Path) -> None:
    def put(config: Any) -> None:
        layer = next(item for item in config["config"]["layers"] if item["class_name"] == "Dense")
        layer["config"]["units"] = 10**11

    with pytest.raises(UnsafeModelError, match=r"layers for 500,000,000,\d+ numbers with weights of \d+"):
        load_model(_changed(good, tmp_path / "m.keras", _config(put)))
    # Nor later: Keras has a list of variables that it fills whenever such a scope ends.
    with keras.StatelessScope():
        pass


@pytest.mark.parametrize("statistics", [{}, {"mean": 0.0, "variance": 1.0}], ids=["to be restored", "given"])
def test_what_layers_work_out_when_they_are_built_counts(
    good: Path, tmp_path: Path, statistics: dict[str, float]
) -> None:
    with pytest.raises(UnsafeModelError, match=r"layers for [\d,]+ numbers with weights of \d+"):
        load_model(_changed(good, tmp_path / "m.keras", _wide(statistics)))


_IN_LITTLE_MEMORY = """
import resource, sys
import psutil
import cerebro_nas
from cerebro_nas.errors import UnsafeModelError

good, *bad = sys.argv[1:]
cerebro_nas.load_model(good)
resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + (1 << 29), resource.RLIM_INFINITY))
for path in bad:
    try:
        cerebro_nas.load_model(path)
    except UnsafeModelError as error:
        print(error)
"""


# In a process of its own: TensorFlow never gets over having been refused memory.
@pytest.mark.slow
def test_what_layers_work_out_when_they_are_built_takes_no_memory(good: Path, tmp_path: Path) -> None:
    paths = [
        _changed(good, tmp_path / f"{number}.keras", _wide(statistics))
        for number, statistics in enumerate([{}, {"mean": 0.0, "variance": 1.0}])
    ]
    command = [sys.executable, "-c", _IN_LITTLE_MEMORY, str(good), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.count("layers for") == 2, done.stdout + done.stderr


def _wide(statistics: dict[str, float]) -> Change:
    def put(config: Any) -> None:
        layer = next(item for item in config["config"]["layers"] if item["class_name"] == "Normalization")
        layer["config"].update(statistics)
        layer["build_config"]["input_shape"] = [None, 2**28]

    return _config(put)


@pytest.mark.parametrize("units", [-1, "many", 1.5, None, [3]])
def test_a_configuration_that_makes_no_sense(good: Path, tmp_path: Path, units: Any) -> None:
    def put(config: Any) -> None:
        next(item for item in config["config"]["layers"] if item["class_name"] == "Dense")["config"]["units"] = units

    with pytest.raises(CorruptStateError, match="Keras cannot load the model"):
        load_model(_changed(good, tmp_path / "m.keras", _config(put)))


@pytest.mark.parametrize("class_name", ["Dense", "Adam"])
def test_something_else_than_a_model(good: Path, tmp_path: Path, class_name: str) -> None:
    module = "keras.layers" if class_name == "Dense" else "keras.optimizers"
    config: dict[str, Any] = {"module": module, "class_name": class_name, "registered_name": None, "config": {}}
    if class_name == "Dense":
        config["config"] = {"units": 1}
    path = _changed(good, tmp_path / "m.keras", lambda m: m.update({"config.json": json.dumps(config).encode()}))
    with pytest.raises(CorruptStateError):
        load_model(path)


# --- weights ----------------------------------------------------------------------------------------------------------


def _weights(change: Callable[[Any], None]) -> Change:
    def apply(members: dict[str, bytes]) -> None:
        stream = io.BytesIO(members[WEIGHTS])
        with h5py.File(stream, "r+") as file:
            change(file)
        members[WEIGHTS] = stream.getvalue()

    return apply


def _replace(file: Any, put: Callable[[Any, str], None]) -> None:
    group = file["layers/dense/vars"]
    del group["0"]
    put(group, "0")


def _external_storage(group: Any, name: str) -> None:
    group.create_dataset(name, (4, 3), "f4", external=[("/etc/passwd", 0, 48)])


def _virtual(group: Any, name: str) -> None:
    layout = h5py.VirtualLayout((4, 3), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4, 3))
    group.create_virtual_dataset(name, layout)


def _put(value: Any) -> Callable[[Any, str], None]:
    return lambda group, name: group.__setitem__(name, value)


@pytest.mark.parametrize(
    ("put", "match"),
    [
        (_put(h5py.ExternalLink("/etc/passwd", "/x")), "a link to '/etc/passwd'"),
        (_put(h5py.SoftLink("/layers/dense/vars/1")), "a link to 'another place'"),
        (_external_storage, "whose numbers are in another file"),
        (_virtual, "whose numbers are in another file"),
        (
            lambda group, name: group.create_dataset(name, (1 << 40, 1 << 20), "f4", chunks=(1, 1 << 20)),
            "exceed the file's size",
        ),
        (
            lambda group, name: group.create_dataset(name, (1 << 14, 1 << 10), "f4", compression="gzip", fillvalue=0),
            "exceed the file's size",
        ),
        (lambda group, name: group.create_dataset(name, (2,), h5py.string_dtype()), "of type object"),
        (_put(np.dtype([("a", "f4"), ("b", "f8")])), "neither a group nor an array|type"),
    ],
    ids=["external link", "soft link", "external storage", "virtual", "shape", "compressed", "strings", "a type"],
)
def test_weights_that_lead_elsewhere_or_are_too_large(
    good: Path, tmp_path: Path, home: Path, put: Callable[[Any, str], None], match: str
) -> None:
    path = _changed(good, tmp_path / "m.keras", _weights(lambda file: _replace(file, put)))
    _refused_in_little_memory(path, home, match)


def test_many_arrays_that_together_are_too_large(good: Path, tmp_path: Path, home: Path) -> None:
    def put(file: Any) -> None:
        for number in range(100):
            file.create_dataset(f"more/{number}", (1 << 18,), "u1", chunks=(1 << 18,), compression="gzip")

    path = _changed(good, tmp_path / "m.keras", _weights(put))
    _refused_in_little_memory(path, home, "exceed the file's size")


def test_a_group_that_holds_itself_ends(good: Path, tmp_path: Path) -> None:
    def put(file: Any) -> None:
        file["layers/round"] = file["layers"]

    load_model(_changed(good, tmp_path / "m.keras", _weights(put)))


# --- anything at all --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("small") / "m.keras"
    members = {"metadata.json": b"{}", "config.json": b"{}", WEIGHTS: b"\x89HDF", "assets/a/b.txt": b"x"}
    return _write(path, members, zipfile.ZIP_DEFLATED).read_bytes()


@settings(max_examples=300)
@given(data=st.data())
def test_any_damage_to_an_archive_is_a_documented_error(small: bytes, data: st.DataObject) -> None:
    damaged = bytearray(small)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(small) - 1))] = data.draw(st.integers(0, 255))
    _repack(bytes(damaged[: data.draw(st.integers(len(small) // 2, len(small)))]))


@given(st.binary(max_size=200))
def test_anything_is_a_documented_error(data: bytes) -> None:
    _repack(data)
    _repack(b"PK\x03\x04" + data)


def _repack(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        clean, weights = Path(name) / "clean", Path(name) / "weights"
        try:
            repack_checked(io.BytesIO(data), len(data), clean, weights)
        except (UnsafeModelError, CorruptStateError):
            pass
        assert set(os.listdir(name)) <= {"clean", "weights"}
