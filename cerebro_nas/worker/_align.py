"""Which layers of one model correspond to which of another one: an alignment of their parts, in order."""

from __future__ import annotations

from collections.abc import Hashable
from collections.abc import Sequence
from itertools import accumulate

from cerebro_nas.worker._outline import Part

NORMALISATION = "BatchNormalization"
WIDENABLE = frozenset({"Dense", "Conv1D", "Conv2D", "Conv3D", NORMALISATION})

# What a pair is worth: the more there is to take, the more. Pairs that stand side by side in both are worth one more,
# and two more if the second is a normalisation, which is of no use without the first.
_SAME, _SAME_WEIGHTS, _WIDER, _SAME_BARE, _SIMILAR_BARE, _BESIDE, _NORMALISED = 8, 6, 7, 2, 1, 1, 2
# A new layer that changes the number of channels leaves none of the layers around it what they were: it costs more than
# to have a layer that is as it was take the place of a new one.
_CHANGES_WIDTH = -6
_NEVER = -(1 << 30)


def align(theirs: Sequence[Part], ours: Sequence[Part]) -> dict[int, int]:
    """Pair parts of two models, in the order of both, so that the pairs are worth the most together.

    Of equally good alignments it is the one that pairs the first parts: what is new lies behind what it resembles,
    where it can be the identity more often, as activations have made everything positive.

    Returns:
        For parts of `ours`, by number, those of `theirs`.
    """
    pairs = _Table(theirs[::-1], ours[::-1]).pairs()
    return {len(ours) - 1 - our: len(theirs) - 1 - their for our, their in pairs}


def _grew(their: Part, our: Part) -> bool:
    """Whether the one is the other with more units or channels, going in or coming out."""
    if our.kind not in WIDENABLE or our.sign != their.sign or not our.variables:
        return False
    fixed = -1 if our.kind == NORMALISATION else -2
    return all(
        mine[1][:fixed] == other[1][:fixed] and all(a >= b for a, b in zip(mine[1], other[1], strict=True))
        for mine, other in zip(our.variables, their.variables, strict=True)
    )


def _look(part: Part) -> Hashable:
    return part.kind, part.sign, part.variables


def _worth(their: Part, our: Part) -> int:
    """What a pair is worth; 0: they do not match."""
    if their.kind != our.kind or [_loose(v) for v in their.variables] != [_loose(v) for v in our.variables]:
        return 0
    same = their.sign == our.sign
    if not our.learns:
        return _SAME_BARE if same else _SIMILAR_BARE
    if their.variables == our.variables:
        return _SAME if same else _SAME_WEIGHTS
    return _WIDER if _grew(their, our) else 0


def _loose(variable: tuple[str, tuple[int, ...], str]) -> Hashable:
    name, shape, dtype = variable
    return name, len(shape), dtype


def _lone_worth(our: Part) -> int:
    """What a part without its counterpart is worth."""
    changes = our.kind in WIDENABLE and our.kind != NORMALISATION and our.variables[0][1][-1] != our.variables[0][1][-2]
    return _CHANGES_WIDTH if changes else 0


class _Table:
    """The alignment of two reversed sequences, by dynamic programming (Needleman and Wunsch 1970).

    There is a second state, for "the last ones are paired".
    """

    def __init__(self, theirs: Sequence[Part], ours: Sequence[Part]) -> None:
        columns = len(ours) + 1
        self._lone = [_lone_worth(part) for part in ours]
        # From the end to the beginning: a normalisation comes before what it normalises.
        before = [part.kind for part in ours[:-1]]
        self._beside = [_BESIDE, *(_NORMALISED if kind == NORMALISATION else _BESIDE for kind in before)]
        self._paired = [[_NEVER] * columns for _ in range(len(theirs) + 1)]
        self._paired[0][0] = 0
        self._best = [list(accumulate(self._lone, initial=0))]
        # Most parts of a large model look like others of it.
        looks = {look: part for part in ours for look in [_look(part)]}
        worths: dict[Hashable, dict[Hashable, int]] = {}
        for row, their in enumerate(theirs, 1):
            if _look(their) not in worths:
                worths[_look(their)] = {look: _worth(their, part) for look, part in looks.items()}
            self._row(row, [worths[_look(their)][_look(part)] for part in ours])

    def _row(self, row: int, worths: Sequence[int]) -> None:
        above, paired_above, paired = self._best[row - 1], self._paired[row - 1], self._paired[row]
        best = [0]
        for column, worth in enumerate(worths):
            if worth:
                paired[column + 1] = worth + max(above[column], paired_above[column] + self._beside[column])
            best.append(max(paired[column + 1], above[column + 1], best[column] + self._lone[column]))
        self._best.append(best)

    def pairs(self) -> list[tuple[int, int]]:
        """The pairs as (ours, theirs), the last ones first and as many of them as there can be."""
        found = []
        row, column, beside = len(self._best) - 1, len(self._best[0]) - 1, False
        while row and column:
            if beside or self._paired[row][column] == self._best[row][column]:
                row, column = row - 1, column - 1
                found.append((column, row))
                beside = self._paired[row][column] + self._beside[column] >= self._best[row][column]
            elif self._best[row - 1][column] == self._best[row][column]:
                row -= 1
            else:
                column -= 1
        return found
