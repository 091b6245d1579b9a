from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners._asha import AshaOracle
from cerebro_nas.tuners._rungs import Rung
from cerebro_nas.tuners._rungs import halving_levels
from cerebro_nas.tuners._rungs import halvings
from cerebro_nas.tuners._rungs import hyperband_table
from cerebro_nas.tuners._rungs import keep
from cerebro_nas.tuners._rungs import ranked


def test_the_table_of_the_paper() -> None:
    assert hyperband_table(9) == (
        (Rung(9, 1), Rung(3, 3), Rung(1, 9)),
        (Rung(5, 3), Rung(2, 9)),
        (Rung(3, 9),),
    )
    assert [rungs[0] for rungs in hyperband_table(81)] == [(81, 1), (34, 3), (15, 9), (8, 27), (5, 81)]


@pytest.mark.parametrize(
    ("most", "factor", "number"), [(243, 3, 5), (1000, 10, 3), (242, 3, 4), (999, 10, 2), (1, 2, 0)]
)
def test_halvings_are_exact_where_logarithms_are_not(most: int, factor: int, number: int) -> None:
    assert halvings(1, most, factor) == number
    assert len(hyperband_table(most, factor)) == number + 1


@given(factor=st.integers(2, 12), power=st.integers(0, 14), least=st.integers(1, 50))
def test_powers_are_found_exactly(factor: int, power: int, least: int) -> None:
    assert halvings(least, least * factor**power, factor) == power
    if power:
        assert halvings(least, least * factor**power - 1, factor) == power - 1


@given(least=st.integers(1, 20), extra=st.integers(0, 2000), factor=st.integers(2, 6))
def test_every_bracket_ends_at_the_whole_resource(least: int, extra: int, factor: int) -> None:
    table = hyperband_table(least + extra, factor, least)

    for bracket, rungs in enumerate(table):
        number = len(table) - 1 - bracket
        assert len(rungs) == number + 1
        assert rungs[0].trials == ceil(Fraction(len(table) * factor**number, number + 1))
        assert rungs[-1].resource == least + extra
        assert rungs[0].resource >= least
        for lower, upper in zip(rungs, rungs[1:], strict=False):
            assert lower.resource < upper.resource
            assert upper.trials == ceil(Fraction(lower.trials, factor)) == keep(lower.trials, factor)


@given(least=st.integers(1, 20), extra=st.integers(0, 2000), factor=st.integers(2, 6))
def test_levels_rise_by_the_factor_up_to_the_whole_resource(least: int, extra: int, factor: int) -> None:
    levels = halving_levels(least, least + extra, factor)

    assert levels[-1] == least + extra
    assert levels[0] == least or len(levels) == 1
    for number, (lower, upper) in enumerate(zip(levels, levels[1:], strict=False), start=1):
        last = number == len(levels) - 1
        assert upper == lower * factor or (last and lower * factor <= upper < lower * factor**2)


def test_levels_of_a_range_that_is_no_power() -> None:
    assert halving_levels(1, 100, 3) == (1, 3, 9, 27, 100)
    assert halving_levels(5, 5, 3) == (5,)
    assert halving_levels(2, 5, 3) == (5,)


def test_ranks_put_failures_last_and_the_first_of_equals_first() -> None:
    assert ranked({"a": None, "b": 2.0, "c": 1.0, "d": 2.0, "e": None}) == ["c", "b", "d", "a", "e"]


def test_several_objectives_rank_by_fronts_then_crowding_and_failures_last() -> None:
    front = {"a": [0.0, 9.0], "b": [1.0, 8.0], "c": [5.0, 4.0], "d": [9.0, 0.0]}
    found = ranked({"failed": None, "behind": [6.0, 5.0], **front, "last": [9.0, 9.0]})

    assert found == ["a", "d", "c", "b", "behind", "last", "failed"]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"min_resource": 0}, "min_resource"),
        ({"min_resource": 10}, "min_resource"),
        ({"factor": 1}, "factor"),
        ({"factor": 2.0}, "factor"),
        ({"min_resource": True}, "min_resource"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, int], name: str) -> None:
    with pytest.raises(ConfigError, match=f"Argument `{name}` should .*Received: {name}="):
        AshaOracle(max_resource=9, objective="val_loss", **options)
