from __future__ import annotations

import math
from typing import Any

import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners._checks import check_int
from cerebro_nas.tuners._checks import check_number
from cerebro_nas.tuners._checks import check_one_of


@pytest.mark.parametrize("value", [1, True, 2.0, "3", None, math.inf])
def test_what_is_no_integer_from_two_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"`bins` should be an integer of at least 2\. Received: bins=.*\(of type "):
        check_int("bins", value, least=2)
    check_int("bins", 2, least=2)


@pytest.mark.parametrize(
    ("options", "wrong", "right", "expected"),
    [
        ({"low": 0, "high": 1}, (-0.1, 1.1, True, "0", None, math.nan), (0, 1, 0.5), "of at least 0 and at most 1."),
        ({"low": 0, "high": 1, "above": True}, (0, 1.5), (1, 0.5), "above 0 and at most 1."),
        ({"low": 0, "high": 1, "above": True, "below": True}, (0, 1), (0.5,), "above 0 and below 1."),
        ({"low": 1}, (0.5, math.inf), (1, 1e9), "of at least 1."),
        ({"low": 0, "above": True, "none": True}, (0, math.nan), (None, 0.1), "above 0, or None (off)."),
    ],
)
def test_what_is_no_finite_number_of_the_range_is_refused(
    options: dict[str, Any], wrong: tuple[Any, ...], right: tuple[Any, ...], expected: str
) -> None:
    for value in wrong:
        with pytest.raises(ConfigError) as caught:
            check_number("rate", value, **options)
        assert f"`rate` should be a finite number {expected} Received: rate=" in str(caught.value)
    for value in right:
        check_number("rate", value, **options)


def test_what_is_none_of_the_words_is_refused() -> None:
    with pytest.raises(ConfigError, match="`kind` should be one of 'a', 'b'. Received: kind='c'. Pass one"):
        check_one_of("kind", "c", ("a", "b"))
    check_one_of("kind", "b", ("a", "b"))
