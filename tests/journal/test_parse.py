from __future__ import annotations

import io
import json
import zlib
from typing import Any

import pytest
from hypothesis import example
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.journal import DamagedJournalError
from cerebro_nas.journal import Record
from cerebro_nas.journal import _parse
from cerebro_nas.journal import parse
from cerebro_nas.journal._line import encode

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_RECORDS = st.lists(
    st.tuples(
        st.floats(allow_nan=False, allow_infinity=False), st.text(), st.dictionaries(st.text(), _JSON, max_size=3)
    ),
    max_size=5,
).map(lambda items: tuple(Record(seq, *item) for seq, item in enumerate(items, start=1)))


def _lines(records: tuple[Record, ...]) -> list[bytes]:
    lines, checksum = [], 0
    for record in (Record(0, 0.0, "journal", {"schema": 1}), *records):
        line, checksum = encode(record, checksum)
        lines.append(line)
    return lines


# One record's data looks like a line, as that of a program that writes about journals may.
_SMALL = (
    Record(1, 0.5, "event", {"trial": "é"}),
    Record(2, 1.5, "event", {"data": {"crc": "00000000", "seq": 1, "time": 1.0, "kind": "event", "data": {}}}),
    Record(3, 2.5, "event", {"loss": 1.25}),
)


def _line(content: bytes, start: int = 0) -> bytes:
    body = content + b"\n"
    return b'{"crc":"%08x"%s' % (zlib.crc32(body, start), body)


def test_format_of_a_line() -> None:
    first, second, *_ = _lines((Record(1, 3.25, "event", {"a": [1, None, "x"]}),))
    assert first == _line(b',"seq":0,"time":0.0,"kind":"journal","data":{"schema":1}}')
    start = zlib.crc32(first[17:])
    assert second == _line(b',"seq":1,"time":3.25,"kind":"event","data":{"a":[1,null,"x"]}}', start)
    assert list(json.loads(second)) == ["crc", "seq", "time", "kind", "data"]


@given(_RECORDS)
def test_round_trip(records: tuple[Record, ...]) -> None:
    data = b"".join(_lines(records))
    parsed = parse(data)
    assert parsed.records == records
    assert (parsed.good_bytes, parsed.torn, parsed.schema) == (len(data), False, 1)


def test_numbers_that_are_not_finite_survive() -> None:
    values = [float("nan"), float("inf"), float("-inf")]
    (record,) = parse(b"".join(_lines((Record(1, 0.0, "event", {"loss": values}),)))).records
    assert repr(record.data["loss"]) == "[nan, inf, -inf]"


def test_nothing() -> None:
    parsed = parse(b"")
    assert (parsed.records, parsed.good_bytes, parsed.torn, parsed.schema) == ((), 0, False, None)


@pytest.mark.case(11)
@given(_RECORDS, st.data())
@example(_SMALL, None)
def test_a_prefix_is_a_torn_journal(records: tuple[Record, ...], data: st.DataObject | None) -> None:
    lines = _lines(records)
    whole = b"".join(lines)
    lengths = range(len(whole) + 1) if data is None else [data.draw(st.integers(0, len(whole)))]
    for length in lengths:
        parsed = parse(whole[:length])
        good = len(parsed.records) + (parsed.schema is not None)
        assert parsed.records == records[: len(parsed.records)]
        assert parsed.good_bytes == sum(map(len, lines[:good])) <= length
        assert parsed.torn == (parsed.good_bytes < length)
        assert length == len(whole) or length < sum(map(len, lines[: good + 1]))


@pytest.mark.case(11)
@pytest.mark.parametrize("bit", [0, 3, 5, 7])
def test_a_changed_byte_is_found(bit: int) -> None:
    lines = _lines(_SMALL)
    whole = b"".join(lines)
    last = len(whole) - len(lines[-1])
    for position in range(len(whole)):
        data = bytearray(whole)
        data[position] ^= 1 << bit
        if position >= last:
            parsed = parse(bytes(data))
            assert (parsed.records, parsed.good_bytes, parsed.torn) == (_SMALL[:-1], last, True)
            continue
        with pytest.raises(DamagedJournalError) as caught:
            parse(bytes(data))
        line = next(n for n in range(1, 5) if position < sum(map(len, lines[:n])))
        assert (caught.value.offset, caught.value.line) == (sum(map(len, lines[: line - 1])), line)
        assert f"byte {caught.value.offset} (line {line})" in str(caught.value)


def _damaged(lines: list[bytes]) -> tuple[int, int]:
    with pytest.raises(DamagedJournalError) as caught:
        parse(b"".join(lines))
    return caught.value.offset, caught.value.line


@pytest.mark.case(11)
def test_lines_that_are_lost_moved_glued_or_added_are_found() -> None:
    first, one, two, three = lines = _lines(_SMALL)
    offsets = [sum(map(len, lines[:n])) for n in range(4)]
    assert _damaged([first, two, three]) == (offsets[1], 2)
    assert _damaged([first, two, one, three]) == (offsets[1], 2)
    assert _damaged([first, one, three, two]) == (offsets[2], 3)
    assert _damaged([first, one, one, two, three]) == (offsets[2], 3)
    assert _damaged([first, one, two[:-1], three]) == (offsets[2], 3)
    assert _damaged([first, one, two[:20], three]) == (offsets[2], 3)
    assert _damaged([first, one, b"rubbish \xff\n", two, three]) == (offsets[2], 3)
    assert _damaged([first, one, b"\n", two, three]) == (offsets[2], 3)
    assert _damaged([one, two, three]) == (0, 1)
    assert _damaged([b"\n", *lines]) == (0, 1)


@pytest.mark.case(11)
@pytest.mark.parametrize(
    "tail", [b"\0" * 5000, b"\xff\xfe", b"\n", b"\n\n\n", b"{}\n[]\n", b'{"crc":"', b"x" * 9 + b"}\n"]
)
def test_rubbish_behind_the_last_record_is_torn(tail: bytes) -> None:
    whole = b"".join(_lines(_SMALL))
    parsed = parse(whole + tail)
    assert (parsed.records, parsed.good_bytes, parsed.torn) == (_SMALL, len(whole), True)


@pytest.mark.parametrize("data", [b"import os\n", b"{}", b"\n", b"\0\0\0", b'{"crc":"0', b'{"crc":"0\nmore'])
def test_another_file_is_not_taken_for_a_torn_journal(data: bytes) -> None:
    if data == b'{"crc":"0':
        assert parse(data).torn
    else:
        with pytest.raises(DamagedJournalError, match="does not begin as a journal does"):
            parse(data)


@pytest.mark.parametrize(
    "content",
    [
        b"}",
        b"",
        b',"seq":1,"time":1.0,"kind":"event"}',
        b',"seq":2,"time":1.0,"kind":"event","data":{}}',
        b',"seq":-1,"time":1.0,"kind":"event","data":{}}',
        b',"seq":true,"time":1.0,"kind":"event","data":{}}',
        b',"seq":1,"time":1,"kind":"event","data":{}}',
        b',"seq":1,"time":NaN,"kind":"event","data":{}}',
        b',"seq":1,"time":1.0,"kind":7,"data":{}}',
        b',"seq":1,"time":1.0,"kind":"event","data":[]}',
        b',"seq":1,"time":1.0,"kind":"event","data":{},"more":1}',
        b',"kind":"event","seq":1,"time":1.0,"data":{}}',
        b',"seq":1,"time":1.0,"kind":"\xff","data":{}}',
        b',"seq":%s,"time":1.0,"kind":"event","data":{}}' % (b"9" * 5000),
        b',"seq":1,"time":1.0,"kind":"event","data":{"a":%s}}' % (b"[" * 100_000 + b"]" * 100_000),
    ],
    ids=lambda content: repr(content)[:50],
)
def test_a_right_checksum_over_something_else(content: bytes) -> None:
    (first,) = _lines(())
    line = _line(content, zlib.crc32(first[17:]))
    assert _damaged([first, line]) == (len(first), 2)


@pytest.mark.parametrize("schema", [b"{}", b'{"schema":"1"}', b'{"schema":true}'])
def test_a_first_line_without_a_schema(schema: bytes) -> None:
    assert _damaged([_line(b',"seq":0,"time":0.0,"kind":"journal","data":%s}' % schema)]) == (0, 1)
    assert _damaged([_line(b',"seq":0,"time":0.0,"kind":"event","data":{"schema":1}}')]) == (0, 1)


def test_a_long_line_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parse, "MAX_LINE", 200)
    lines = _lines(_SMALL)
    assert parse(b"".join(lines)).records == _SMALL
    assert _damaged([*lines[:2], b"x" * 201]) == (len(lines[0] + lines[1]), 3)
    assert _damaged([*lines[:2], b"x\n", b"x" * 201]) == (len(lines[0] + lines[1]), 3)


def test_memory_does_not_grow_with_a_line() -> None:
    class Endless(io.RawIOBase):
        taken = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            self.taken += len(buffer)
            buffer[:] = b"x" * len(buffer)
            return len(buffer)

    endless = Endless()
    with pytest.raises(DamagedJournalError, match="longer than"):
        _parse.read(io.BufferedReader(endless, 2**20))
    assert endless.taken <= 66 * 2**20


@pytest.mark.parametrize("time", [float("nan"), float("inf")])
def test_a_time_must_be_finite(time: float) -> None:
    with pytest.raises(ConfigError, match="time"):
        encode(Record(1, time, "event", {}), 0)


def _endless() -> dict[str, Any]:
    data: dict[str, Any] = {}
    data["data"] = data
    return data


@pytest.mark.parametrize("data", [{"a": object()}, {"a": {1, 2}}, {("a", "b"): 1}, _endless()], ids=lambda data: "x")
def test_data_must_be_json(data: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="`data` must be JSON"):
        encode(Record(1, 0.0, "event", data), 0)


def test_data_must_fit() -> None:
    with pytest.raises(ConfigError, match="must fit"):
        encode(Record(1, 0.0, "event", {"a": "x" * 2**26}), 0)


@pytest.mark.case(11)
@settings(max_examples=300)
@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from([b'{"crc":"', b"00000000", b'","seq":', b"1", b"}", b"\n"])).map(b"".join)
)
def test_any_bytes(data: bytes) -> None:
    _read_or_refuse(data)
    _read_or_refuse(b"".join(_lines(_SMALL)) + data)


@pytest.mark.case(11)
@settings(max_examples=300)
@given(st.data())
def test_any_mutation(data: st.DataObject) -> None:
    whole = b"".join(_lines(_SMALL))
    for _ in range(data.draw(st.integers(1, 4))):
        begin, end, other = (data.draw(st.integers(0, len(whole))) for _ in range(3))
        insert = data.draw(st.binary(max_size=20) | st.just(whole[min(end, other) : max(end, other)]))
        whole = whole[:begin] + insert + whole[end:]
    _read_or_refuse(whole)


def _read_or_refuse(data: bytes) -> None:
    try:
        parsed = parse(data)
    except CorruptStateError as error:
        assert isinstance(error, DamagedJournalError)
        assert 0 <= error.offset <= len(data)
        # What the message tells to keep is good.
        assert parse(data[: error.offset]).good_bytes == error.offset
    else:
        again = parse(data[: parsed.good_bytes])
        assert (again.records, again.torn) == (parsed.records, False)


@pytest.mark.case(11)
def test_data_that_looks_like_a_record_is_none_behind_the_damage() -> None:
    first, one, two, _ = _lines(_SMALL)
    assert b'{"crc":"00000000","seq":1' in two
    parsed = parse(first + one + two.replace(b"1.5", b"1.6"))
    assert (parsed.records, parsed.torn) == (_SMALL[:1], True)
