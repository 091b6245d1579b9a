"""Words of texts are counted in parts; of too many, the rarest go."""

from __future__ import annotations

import pytest

from cerebro_nas.data import _summary
from cerebro_nas.data._summary import Words

TEXTS = [["a", "b", "a"], [], ["b"], ["c", "a"]]


@pytest.mark.parametrize("cut", range(len(TEXTS) + 1))
def test_parts_count_what_the_whole_counts(cut: int) -> None:
    whole, first, second = Words(), Words(), Words()
    whole.add(TEXTS)
    first.add(TEXTS[:cut])
    second.add(TEXTS[cut:])
    assert first.merge(second) == whole
    assert (whole.counts, whole.longest, whole.rows) == ({"a": [3, 2], "b": [2, 2], "c": [1, 1]}, 3, 4)


def test_a_part_stays_as_it_is_when_others_take_it_in() -> None:
    total, part = Words(), Words()
    part.add([["a"]])
    total.merge(part)
    total.merge(part)
    assert (total.counts, part.counts) == ({"a": [2, 2]}, {"a": [1, 1]})


def test_what_was_counted_is_not_copied_for_each_part() -> None:
    total, part = Words(), Words()
    total.add([["a"]])
    part.add([["b"]])
    before = total.counts
    assert total.merge(part).counts is before


def test_the_rarest_of_too_many_words_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_summary, "_MAX_WORDS", 4)
    found = Words()
    found.add([["a", "a", "b"], ["c", "d"]])
    assert set(found.counts) == {"a", "b", "c", "d"}
    found.add([["b", "e"]])
    assert (found.counts, found.rows) == ({"a": [2, 1], "b": [2, 2]}, 3)
