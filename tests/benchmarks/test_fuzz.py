"""The fuzzers: that they find what is wrong, that an input follows from its number, and that what they read holds."""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import pytest

from benchmarks import _fuzz_journal
from benchmarks import _fuzz_protocol
from benchmarks import _fuzz_state
from benchmarks import _fuzzing
from benchmarks import fuzz
from benchmarks._fuzzing import BrokenPromiseError
from benchmarks._fuzzing import Reader
from benchmarks._mutate import mutate_bytes
from benchmarks._mutate import mutate_json
from benchmarks._mutate import to_json
from cerebro_nas.errors import ProtocolError
from cerebro_nas.worker import messages
from cerebro_nas.worker._seal import Gate
from cerebro_nas.worker._seal import Route

_GOOD = b'{"a":[1,2,{"b":"c"}],"d":0.5}\n' * 4


def _number(draw: random.Random) -> bytes:
    return str(draw.randrange(100)).encode()


def _odd_ones(data: bytes) -> object:
    if int(data) % 10 == 3:
        raise KeyError(data)
    if int(data) % 2:
        raise ValueError(data)
    return data


def test_a_change_follows_from_the_seed_and_changes_something() -> None:
    changed = [mutate_bytes(random.Random(n), _GOOD, [_GOOD]) for n in range(200)]
    assert changed == [mutate_bytes(random.Random(n), _GOOD, [_GOOD]) for n in range(200)]
    assert sum(data != _GOOD for data in changed) > 150
    assert len(set(changed)) > 150


def test_values_are_changed_in_a_copy_and_stay_json() -> None:
    tree = json.loads(_GOOD.splitlines()[0])
    text = to_json(tree)
    for n in range(300):
        json.loads(to_json(mutate_json(random.Random(n), tree)))
    assert to_json(tree) == text


def test_what_no_documentation_names_is_found_once_for_each_place() -> None:
    figures = _fuzzing.fuzz([Reader("r", _number, _odd_ones, (ValueError,))], seed=1, seconds=30, inputs=300)
    (finding,) = figures.findings
    assert int(finding.data) % 10 == 3
    assert "KeyError" in finding.text
    count = figures.counts["r"]
    assert count.tried == 300
    assert 80 < count.refused < 170
    assert set(count.refusals) == {"ValueError"}


def test_an_input_can_be_had_again_by_its_number(tmp_path: Path) -> None:
    reader, last = Reader("r", _number, _odd_ones, (ValueError,)), tmp_path / "last"
    (finding,) = _fuzzing.fuzz([reader], seed=5, seconds=30, inputs=200).findings
    figures = _fuzzing.fuzz([reader], seed=5, seconds=30, first=finding.number, inputs=1, last_input=last)
    assert figures.findings[0].data == finding.data == last.read_bytes()


def test_a_hang_is_given_up_and_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fuzzing, "HANG_SECONDS", 0.05)
    figures = _fuzzing.fuzz([Reader("r", _number, lambda _: time.sleep(5), ())], seed=1, seconds=5, inputs=1)
    assert "HangError" in figures.findings[0].text


def test_what_asks_for_memory_without_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fuzzing, "_ADDRESS_SPACE", 64 << 20)
    figures = _fuzzing.fuzz([Reader("r", _number, lambda _: bytes(1 << 30), ())], seed=1, seconds=5, inputs=1)
    assert "MemoryError" in figures.findings[0].text


def test_findings_slowness_and_memory_are_each_a_failure() -> None:
    def figures(worst: float = 0.1, peak: int = 0, found: bool = False) -> _fuzzing.Figures:
        findings = [_fuzzing.Finding("r", 0, "", b"")] if found else []
        return _fuzzing.Figures({"r": _fuzzing.Count(1, worst_seconds=worst)}, findings, peak_growth=peak)

    assert fuzz.is_fine(figures())
    assert not fuzz.is_fine(figures(worst=fuzz.WORST_SECONDS + 1))
    assert not fuzz.is_fine(figures(peak=fuzz.PEAK_BYTES + 1))
    assert not fuzz.is_fine(figures(found=True))


@pytest.mark.case(11)
def test_no_journal_brings_down_what_reads_it(tmp_path: Path) -> None:
    figures = _fuzzing.fuzz(_fuzz_journal.readers(tmp_path), seed=2, seconds=30, inputs=150)
    assert figures.findings == []
    assert min(count.refused for count in figures.counts.values()) > 0


@pytest.mark.case(12)
def test_no_file_of_states_brings_down_what_reads_it(tmp_path: Path) -> None:
    figures = _fuzzing.fuzz(_fuzz_state.readers(tmp_path), seed=2, seconds=30, inputs=300)
    assert figures.findings == []
    assert min(count.refused for count in figures.counts.values()) > 0


@pytest.mark.case(22)
def test_no_message_brings_down_what_reads_it() -> None:
    reader = Reader("messages", _fuzz_protocol.make_message, _fuzz_protocol.read_message, (ProtocolError,))
    figures = _fuzzing.fuzz([reader], seed=2, seconds=30, inputs=500)
    assert figures.findings == []
    assert 0 < figures.counts["messages"].refused < 500


def test_every_message_of_the_wire_has_its_turn() -> None:
    for name, message in _fuzz_protocol.MESSAGES.items():
        kind = type(message)
        assert messages.decode(kind, messages.encode(message), messages.COMMAND_LIMIT) == message, name


def test_a_frame_that_is_opened_twice_is_a_broken_promise() -> None:
    frames = _fuzz_protocol._Frames()
    name, frame = frames._requests[0]
    frames._gate = Gate(_fuzz_protocol.SECRET, Route.CONTROL, 1 << 20)
    # A gate that has forgotten everything: the session is not known, and yet the frame is opened.
    with pytest.raises(BrokenPromiseError):
        frames.open_request(name.encode() + b"\n--\n" + frame)


def test_the_command_writes_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "_readers", lambda *_: [Reader("r", _number, _odd_ones, (ValueError,))])
    parser = argparse.ArgumentParser()
    fuzz.add_arguments(parser)
    arguments = parser.parse_args(["--target", "journal", "--inputs", "200", "--out", str(tmp_path)])
    assert fuzz.run(arguments) == 1
    assert int((tmp_path / "fuzz-journal-0.bin").read_bytes()) % 10 == 3
    assert "findings" in (tmp_path / "fuzz-journal.md").read_text()
