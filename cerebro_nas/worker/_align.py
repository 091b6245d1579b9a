"""Which layers of one model correspond to which of another one: an alignment of their parts, in order."""

from __future__ import annotations

from collections.abc import Hashable
from collections.abc import Sequence

from cerebro_nas.worker._outline import Part

NORMALISATION = "BatchNormalization"
WIDENABLE = frozenset({"Dense", "Conv1D", "Conv2D", "Conv3D", NORMALISATION})

# What a pair is worth: the more there is to take, the more. Pairs that stand side by side in both are worth one more.
_SAME, _SAME_WEIGHTS, _WIDER, _SAME_BARE, _SIMILAR_BARE, _BESIDE = 8, 6, 4, 2, 1, 1
_NEVER = -(1 << 30)


def align(theirs: Sequence[Part], ours: Sequence[Part]) -> dict[int, int]:
    """Pair parts of two models, in the order of both, so that the pairs are worth the most together.

    Equal parts at the beginning and at the end are paired first: what a mutation changed lies between.

    Returns:
        For parts of `ours`, by number, those of `theirs`.
    """
    begin = _common(theirs, ours)
    end = _common(theirs[begin:][::-1], ours[begin:][::-1])
    pairs = {number: number for number in range(begin)}
    pairs.update((len(ours) - number, len(theirs) - number) for number in range(1, end + 1))
    middle = _Table(theirs[begin : len(theirs) - end], ours[begin : len(ours) - end]).pairs()
    pairs.update((begin + our, begin + their) for our, their in middle)
    return pairs


def _grew(their: Part, our: Part) -> bool:
    """Whether the one is the other with more units or channels, going in or coming out."""
    if our.kind not in WIDENABLE or our.sign != their.sign or not our.variables:
        return False
    fixed = -1 if our.kind == NORMALISATION else -2
    return all(
        mine[1][:fixed] == other[1][:fixed] and all(a >= b for a, b in zip(mine[1], other[1], strict=True))
        for mine, other in zip(our.variables, their.variables, strict=True)
    )


def _common(theirs: Sequence[Part], ours: Sequence[Part]) -> int:
    """How many parts at the beginning are equal."""
    pairs = zip(theirs, ours, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if _look(a) != _look(b)), min(len(theirs), len(ours)))


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


class _Table:
    """The alignment by dynamic programming (Needleman and Wunsch 1970), with a state for "the last ones are paired"."""

    def __init__(self, theirs: Sequence[Part], ours: Sequence[Part]) -> None:
        self._worths: dict[tuple[Hashable, Hashable], int] = {}
        columns = len(ours) + 1
        self._paired = [[_NEVER] * columns for _ in range(len(theirs) + 1)]
        self._best = [[0] * columns for _ in range(len(theirs) + 1)]
        looks = [_look(part) for part in ours]
        for row, their in enumerate(theirs, 1):
            look = _look(their)
            for column, our in enumerate(ours, 1):
                key = look, looks[column - 1]
                if key not in self._worths:
                    self._worths[key] = _worth(their, our)
                self._fill(row, column, self._worths[key])

    def _fill(self, row: int, column: int, worth: int) -> None:
        if worth:
            before = max(self._best[row - 1][column - 1], self._paired[row - 1][column - 1] + _BESIDE)
            self._paired[row][column] = worth + before
        self._best[row][column] = max(
            self._paired[row][column], self._best[row - 1][column], self._best[row][column - 1]
        )

    def pairs(self) -> list[tuple[int, int]]:
        """The pairs as (ours, theirs); of equally good alignments the one that pairs the last parts."""
        found = []
        row, column, beside = len(self._best) - 1, len(self._best[0]) - 1, False
        while row and column:
            if beside or self._paired[row][column] == self._best[row][column]:
                row, column = row - 1, column - 1
                found.append((column, row))
                beside = self._paired[row][column] + _BESIDE >= self._best[row][column]
            elif self._best[row - 1][column] == self._best[row][column]:
                row -= 1
            else:
                column -= 1
        return found
