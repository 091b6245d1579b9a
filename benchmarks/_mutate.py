"""Good input made bad: bytes and JSON values changed at random, each change the kind of thing that goes wrong or is
done on purpose.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import random
from collections.abc import Sequence
from typing import Any

_LENGTHS = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
_DEEP = 100_000
_WIDTHS = (1, 2, 4, 8)
_TOKENS = (
    *(b"[" * 3000, b'{"a":' * 2000, b"9" * 600, b"-1", b"1e999", b"NaN", b"null", b"true", b'"', b"\\ud800"),
    *(b"\xff\xfe\xfd", b"\n", b"\r\n", b"\x00", b"{}", b"[]", b"../../x", b"__reduce__"),
)
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 2**31, 2**53 + 1, 2**63, 2**64, 10**300, -(10**40), 0.5, -0.0, 1e308, 5e-324),
    *(math.nan, math.inf, -math.inf, "", "a", "0", "\ud800", "\x00", "../../x", "x" * 5000, "\u202e\U0001f600"),
    *([], {}, [[]], [None], {"": None}, {"a": {"b": {"c": []}}}, [0] * 300),
)


def mutate_bytes(draw: random.Random, data: bytes, others: Sequence[bytes] = (), most: int = 4) -> bytes:
    """Change bytes in up to `most` places.

    Args:
        draw: decides.
        data: good input.
        others: further good input, from which parts are taken.
        most: changes.
    """
    changed = bytearray(data)
    for _ in range(draw.randint(1, most)):
        _change(draw, changed, others)
    return bytes(changed)


def _change(draw: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    begin, end = _range(draw, len(data))
    action = draw.randrange(11)
    if action == 0 and data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif action == 1 and data:
        data[draw.randrange(len(data))] = draw.choice((0, 0xFF, 0x20, 0x0A, 0x22, 0x7B, draw.randrange(256)))
    elif action == 2:
        del data[begin:end]
    elif action == 3:
        del data[begin:]
    elif action == 4:
        data[begin:begin] = data[begin:end]
    elif action == 5:
        data[begin:end] = draw.randbytes(end - begin)
    elif action == 6:
        data[begin:begin] = draw.choice(_TOKENS)
    elif action == 7:
        width = draw.choice(_WIDTHS)
        number = draw.choice(_LENGTHS) % (1 << 8 * width)
        data[begin : begin + width] = number.to_bytes(width, draw.choice(("little", "big")))
    elif action == 8 and others:
        other = draw.choice(others)
        first, last = _range(draw, len(other))
        data[begin:end] = other[first:last]
    elif action == 9:
        _swap_lines(draw, data)
    else:
        data[begin:begin] = data[begin : begin + 64] * draw.randint(2, 40)


def _range(draw: random.Random, length: int) -> tuple[int, int]:
    begin = draw.randint(0, length)
    longest = min(length - begin, draw.choice((1, 8, 64, length)))
    return begin, begin + draw.randint(0, longest)


def _swap_lines(draw: random.Random, data: bytearray) -> None:
    lines = bytes(data).splitlines(keepends=True)
    if len(lines) < 2:
        return
    one, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    if draw.random() < 0.5:
        lines[one], lines[other] = lines[other], lines[one]
    else:
        lines[one] = lines[other]
    data[:] = b"".join(lines)


def mutate_json(draw: random.Random, tree: Any, most: int = 3) -> Any:
    """A copy of a tree of JSON values, changed in up to `most` places."""
    root = [tree]
    # Nested values are nested again; what is too deep for Python itself stays as it is.
    with contextlib.suppress(RecursionError):
        root = [copy.deepcopy(tree)]
        for _ in range(draw.randint(1, most)):
            places = _places(root)
            holder, key = draw.choice(places)
            _change_value(draw, holder, key, places)
    return root[0]


def to_json(tree: Any) -> bytes:
    """The tree as text; lone surrogates, NaN and infinities included."""
    try:
        return json.dumps(tree, separators=(",", ":")).encode("ascii")
    except RecursionError:
        return b"[" * _DEEP + b"]" * _DEEP


def _places(root: list[Any]) -> list[tuple[Any, Any]]:
    """Every value of the tree, as the dict or list that holds it and the key there."""
    found: list[tuple[Any, Any]] = []
    pending: list[Any] = [root]
    while pending:
        holder = pending.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], dict | list):
                pending.append(holder[key])
    return found


def _change_value(draw: random.Random, holder: Any, key: Any, places: Sequence[tuple[Any, Any]]) -> None:
    action, value = draw.randrange(8), holder[key]
    if action == 0 and isinstance(holder, dict):
        holder.pop(key)
    elif action == 1 and isinstance(holder, dict):
        holder[draw.choice(("", "kind", key + "x", key[:-1], "__class__"))] = holder.pop(key)
    elif action == 2 and isinstance(value, list):
        holder[key] = value * draw.choice((0, 2, 100))
    elif action == 3 and isinstance(value, int | float):
        holder[key] = _near(draw, value)
    elif action == 4:
        other, place = draw.choice(places)
        holder[key] = copy.deepcopy(other[place]) if place in _keys(other) else None
    elif action == 5:
        holder[key] = nested(draw.choice((3, 60, 200)), value)
    else:
        holder[key] = copy.deepcopy(draw.choice(_ODD))


def _keys(holder: Any) -> Sequence[Any]:
    return list(holder) if isinstance(holder, dict) else range(len(holder))


def _near(draw: random.Random, value: float) -> Any:
    return draw.choice((value + 1, value - 1, -value, value * 1000, float(value), str(value), value == 1))


def nested(levels: int, value: Any) -> Any:
    """The value, so many lists deep."""
    for _ in range(levels):
        value = [value]
    return value
