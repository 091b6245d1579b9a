"""What of a parent's network is in its child, and where the child may be made to compute what the parent did."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence

from cerebro_nas.worker._align import NORMALISATION
from cerebro_nas.worker._align import align
from cerebro_nas.worker._behaviour import can_be_identity
from cerebro_nas.worker._behaviour import has_channelwise_activation
from cerebro_nas.worker._behaviour import is_affine
from cerebro_nas.worker._behaviour import is_channelwise
from cerebro_nas.worker._behaviour import is_flatten
from cerebro_nas.worker._behaviour import is_normalisation
from cerebro_nas.worker._behaviour import is_positive
from cerebro_nas.worker._outline import Outline
from cerebro_nas.worker._outline import Part


class Kin:
    """A child beside its parent.

    Attributes:
        match: for parts of the child, by number, those of the parent.
        identities: parts of the child that are new on one of the parent's connections and can pass on their input.
        routes: for layers that give out more channels than in the parent, the parts that these go through, up to the
            layer that takes them in; a layer is missing if something on the way cannot do with replicas.
    """

    def __init__(self, theirs: Sequence[Part], ours: Outline) -> None:
        self._theirs, self._ours = theirs, ours
        self.match = align(theirs, ours.parts)
        self.identities = self._identities(self._neutral())
        self._takers: list[list[int]] = [[] for _ in ours.parts]
        for number, part in enumerate(ours.parts):
            for source in part.sources:
                self._takers[source].append(number)
        self.routes: dict[int, tuple[int, ...]] = {}
        for number in reversed(range(len(ours.parts))):
            if self.wider(number):
                self._open(number)

    def wider(self, number: int) -> bool:
        """Whether this is a dense layer or a convolution that gives out more channels than that of the parent."""
        if number not in self.match or not is_affine(self._ours.layers[number]):
            return False
        before, after = self._sizes(number, -1)
        return after > before

    def fed_by(self, number: int) -> set[int]:
        """The next parts before this one that learn, apart from those that are the identity."""
        return _before(self._ours.parts, number, self.identities)

    def follows_the_same(self, number: int) -> bool:
        """Whether what comes before this part and learns is what comes before it in the parent."""
        found = {self.match.get(source) for source in self.fed_by(number)}
        return found == _before(self._theirs, self.match[number], ())

    # --- deeper -------------------------------------------------------------------------------------------------------

    def _neutral(self) -> set[int]:
        """New parts that can pass on their input, if all the others of them do."""
        found: set[int] = set()
        positive: list[bool] = []
        for number, (part, layer) in enumerate(zip(self._ours.parts, self._ours.layers, strict=True)):
            fed = bool(part.sources) and all(positive[source] for source in part.sources)
            if number not in self.match and len(part.sources) == 1 and can_be_identity(layer, fed):
                found.add(number)
            positive.append(is_positive(layer, fed) or (fed and number in found))
        return found

    def _identities(self, neutral: set[int]) -> frozenset[int]:
        """Those that lie between two parts which are connected in the parent, and nothing else between."""
        found: set[int] = set()
        for number, their in self.match.items():
            for source, wanted in zip(self._ours.parts[number].sources, self._theirs[their].sources, strict=False):
                between = []
                while source in neutral:
                    between.append(source)
                    source = self._ours.parts[source].sources[0]
                if self.match.get(source) == wanted:
                    found.update(between)
        return frozenset(found)

    # --- wider --------------------------------------------------------------------------------------------------------

    def _open(self, number: int) -> None:
        """Find the route; the layers behind must have theirs already."""
        route = self._walk(number) if has_channelwise_activation(self._ours.layers[number]) else ()
        if route and (not self.wider(route[-1]) or route[-1] in self.routes):
            before, after = self._sizes(number, -1)
            pairs = [self._sizes(route[-1], -2), *(self._sizes(n, -1) for n in route[:-1] if self._grown_norm(n))]
            # Flattened, each channel is there once for every place.
            if all(size[1] % after == 0 and size[1] * before == size[0] * after for size in pairs):
                self.routes[number] = route

    def _walk(self, number: int) -> tuple[int, ...]:
        route: list[int] = []
        while number not in self._ours.fixed and len(self._takers[number]) == 1:
            number = self._takers[number][0]
            route.append(number)
            if number in self.match and is_affine(self._ours.layers[number]):
                return tuple(route)
            if not self._carries(number):
                break
        return ()

    def _carries(self, number: int) -> bool:
        """Whether the part does to each channel the same, so that replicas remain replicas."""
        layer = self._ours.layers[number]
        if is_normalisation(layer):
            return number not in self.match or self._grown_norm(number)
        return number in self.identities or is_channelwise(layer) or is_flatten(layer)

    def _grown_norm(self, number: int) -> bool:
        return number in self.match and self._ours.parts[number].kind == NORMALISATION

    def _sizes(self, number: int, axis: int) -> tuple[int, int]:
        """The length of an axis of the first variable, in the parent and in the child."""
        their, our = self._theirs[self.match[number]], self._ours.parts[number]
        return their.variables[0][1][axis], our.variables[0][1][axis]


def _before(parts: Sequence[Part], number: int, skipped: Collection[int]) -> set[int]:
    """The next parts before one that learn, those aside that are to be skipped."""
    found: set[int] = set()
    pending, seen = list(parts[number].sources), set()
    while pending:
        source = pending.pop()
        if source in seen:
            continue
        seen.add(source)
        if parts[source].learns and source not in skipped:
            found.add(source)
        else:
            pending.extend(parts[source].sources)
    return found
