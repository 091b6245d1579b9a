"""An LSTM that decides one hyperparameter after another, in NumPy: forward, sampling, and backward through time.

Sources: Zoph, Le, "Neural architecture search with reinforcement learning" (2017), for the recurrent controller; Pham,
Guan, Zoph, Le, Dean, "Efficient neural architecture search via parameter sharing" (2018), for temperature and tanh
constant; Hochreiter, Schmidhuber, "Long short-term memory" (1997), with the forget gate of Gers et al. (2000).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SKIPPED = -1
"""In place of a decision: the hyperparameter is inactive, or has one value only."""

_START = 0.1  # Initial weights are uniform within plus and minus this.


class Pull(NamedTuple):
    """What draws the softmax of a hyperparameter towards a distribution: `sum p * (weight * log p - target)` is small.

    Attributes:
        weight: of the divergence from that distribution.
        target: `weight` times the logarithm of the distribution, of shape (values,). Zeros are a uniform one: then the
            term is the negative entropy. Terms add up by adding both parts.
    """

    weight: float
    target: Floats


@dataclass(frozen=True)
class _Step:
    """What the way back needs of one decision of some rows."""

    head: int
    rows: Ints
    joined: Floats  # input and previous hidden state, side by side
    gates: Floats  # input, forget, output, candidate
    cell_before: Floats
    cell_tanh: Floats
    hidden: Floats
    slope: Floats | float  # of the squashed logits by the plain ones
    log_p: Floats


@dataclass(frozen=True)
class Pass:
    """A batch on its way through the controller.

    Attributes:
        decisions: number of the value taken, of shape (rows, hyperparameters).
        log_p: log-probability of each decision, of the same shape; 0 where there was none.
        steps: for the way back.
    """

    decisions: Ints
    log_p: Floats
    steps: tuple[_Step, ...]


class _State(NamedTuple):
    """Where each row is."""

    inputs: Floats
    hidden: Floats
    cell: Floats


class _Head(NamedTuple):
    """The weights of one hyperparameter."""

    embeddings: Floats
    softmax: Floats
    bias: Floats


class _Parts(NamedTuple):
    """The weights by their meaning, as views of the vector."""

    matrix: Floats
    gate_bias: Floats
    start: Floats
    heads: tuple[_Head, ...]


class Controller:
    """A recurrent policy over sequences of decisions.

    Every hyperparameter has a softmax over its values and an embedding of the value taken, which is the input of the
    next step; none of them is shared, neither between hyperparameters nor between values. A hyperparameter that is not
    decided takes no step: the state of the LSTM passes it by.

    Args:
        hidden: size of the LSTM's state and of the embeddings.
        temperature: logits are divided by it; None: they are not.
        tanh_const: then they become `tanh_const * tanh(logit)`, which bounds them; None: they do not.
        seed: of the initial weights, which depend on the position of a hyperparameter besides.

    Attributes:
        weights: all of them in one vector, so that an optimiser need not know them; set it as a whole.
        sizes: number of values of each hyperparameter.
    """

    def __init__(self, hidden: int, temperature: float | None, tanh_const: float | None, seed: int) -> None:
        self.hidden = hidden
        self.temperature = 1.0 if temperature is None else temperature
        self.tanh_const = tanh_const
        self.sizes: list[int] = []
        self._seed = seed
        # A forget gate that begins open remembers the first decisions from the beginning.
        bias = np.repeat([0.0, 1.0, 0.0, 0.0], hidden)
        matrix, start = np.split(self._uniform(0, 8 * hidden * hidden + hidden), [8 * hidden * hidden])
        self.weights = np.concatenate([matrix, bias, start])

    @property
    def weights(self) -> Floats:
        """All weights in one vector."""
        return self._weights

    @weights.setter
    def weights(self, weights: Floats) -> None:
        self._weights = weights
        self._parts = self._views(weights)

    def grow(self, sizes: Sequence[int]) -> None:
        """Append hyperparameters with so many values each; what was learned of the others stays."""
        parts = [self.weights]
        for size in sizes:
            self.sizes.append(size)
            parts += [self._uniform(len(self.sizes), 2 * size * self.hidden), np.zeros(size)]
        self.weights = np.concatenate(parts)

    def run(self, decisions: Ints) -> Pass:
        """Log-probabilities of decisions that were made.

        Args:
            decisions: number of the value taken, of shape (rows, hyperparameters); `SKIPPED` where there was none.
        """
        state = self._begin(len(decisions))
        log_p = np.zeros(decisions.shape)
        steps = []
        for head in range(decisions.shape[1]):
            rows = np.flatnonzero(decisions[:, head] >= 0)
            if len(rows):
                taken = decisions[rows, head]
                step = self._step(state, head, rows)
                log_p[rows, head] = step.log_p[np.arange(len(rows)), taken]
                state.inputs[rows] = self._parts.heads[head].embeddings[taken]
                steps.append(step)
        return Pass(decisions, log_p, tuple(steps))

    def sample(
        self,
        rows: int,
        decided: Callable[[int], Ints],
        take: Callable[[int, Ints, Ints], None],
        generator: np.random.Generator,
        flatten: float = 1.0,
    ) -> None:
        """Draw decisions.

        Args:
            rows: how many sequences.
            decided: tells which rows decide a hyperparameter; asked in the order of the space.
            take: is told the decisions: the hyperparameter, the rows, and the number of the value that each takes.
            generator: of the draws.
            flatten: logarithms of the probabilities are divided by it: above 1 the values become more alike.
        """
        state = self._begin(rows)
        for head in range(len(self.sizes)):
            which = decided(head)
            if len(which):
                scores = self._step(state, head, which).log_p / flatten
                # The largest after Gumbel noise is a draw from the softmax.
                taken = np.argmax(scores + generator.gumbel(size=scores.shape), axis=1)
                state.inputs[which] = self._parts.heads[head].embeddings[taken]
                take(head, which, taken)

    def gradient(self, done: Pass, push: Floats, pulls: Sequence[Pull]) -> Floats:
        """Gradient of `sum(push * log_p)` minus the sum of the pulls over all decisions, by the weights.

        Args:
            done: what `run` gave with the present weights.
            push: worth of each decision, of the shape of `log_p`.
            pulls: one for each hyperparameter.
        """
        total = np.zeros_like(self.weights)
        parts = self._views(total)
        back = self._begin(len(push))
        for array in back:
            array[:] = 0.0
        gates = []
        for step in reversed(done.steps):
            here, own, rows = parts.heads[step.head], self._parts.heads[step.head], step.rows
            taken = done.decisions[rows, step.head]
            np.add.at(here.embeddings, taken, back.inputs[rows])
            d_logits = _d_logits(step, taken, push[rows, step.head], pulls[step.head])
            here.softmax[:] = d_logits.T @ step.hidden
            here.bias[:] = d_logits.sum(axis=0)
            d_gates, back.cell[rows] = _d_gates(step, back.hidden[rows] + d_logits @ own.softmax, back.cell[rows])
            gates.append(d_gates)
            d_joined = d_gates @ self._parts.matrix.T
            back.inputs[rows], back.hidden[rows] = d_joined[:, : self.hidden], d_joined[:, self.hidden :]
        if gates:
            stacked = np.concatenate(gates)
            parts.matrix[:] = np.concatenate([step.joined for step in reversed(done.steps)]).T @ stacked
            parts.gate_bias[:] = stacked.sum(axis=0)
        parts.start[:] = back.inputs.sum(axis=0)
        return total

    # --- inside -------------------------------------------------------------------------------------------------------

    def _begin(self, rows: int) -> _State:
        inputs = np.tile(self._parts.start, (rows, 1))
        return _State(inputs, np.zeros_like(inputs), np.zeros_like(inputs))

    def _step(self, state: _State, head: int, rows: Ints) -> _Step:
        own, size = self._parts.heads[head], self.hidden
        joined = np.concatenate([state.inputs[rows], state.hidden[rows]], axis=1)
        gates = joined @ self._parts.matrix + self._parts.gate_bias
        # The sigmoid as a tanh, which cannot overflow.
        gates[:, : 3 * size] *= 0.5
        np.tanh(gates, out=gates)
        gates[:, : 3 * size] = 0.5 * gates[:, : 3 * size] + 0.5
        cell_before = state.cell[rows]
        cell = gates[:, size : 2 * size] * cell_before + gates[:, :size] * gates[:, 3 * size :]
        cell_tanh = np.tanh(cell)
        hidden = gates[:, 2 * size : 3 * size] * cell_tanh
        state.cell[rows], state.hidden[rows] = cell, hidden
        log_p, slope = self._log_softmax(hidden @ own.softmax.T + own.bias)
        return _Step(head, rows, joined, gates, cell_before, cell_tanh, hidden, slope, log_p)

    def _log_softmax(self, logits: Floats) -> tuple[Floats, Floats | float]:
        logits = logits / self.temperature
        slope: Floats | float = 1.0 / self.temperature
        if self.tanh_const is not None:
            squashed = np.tanh(logits)
            logits, slope = self.tanh_const * squashed, self.tanh_const * slope * (1.0 - squashed**2)
        logits = logits - logits.max(axis=1, keepdims=True)
        log_p: Floats = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return log_p, slope

    def _views(self, vector: Floats) -> _Parts:
        size = self.hidden
        shapes = [(2 * size, 4 * size), (4 * size,), (size,)]
        for values in self.sizes:
            shapes += [(values, size), (values, size), (values,)]
        ends = np.cumsum([math.prod(shape) for shape in shapes])
        arrays = [part.reshape(shape) for part, shape in zip(np.split(vector, ends[:-1]), shapes, strict=True)]
        heads = tuple(_Head(*arrays[at : at + 3]) for at in range(3, len(arrays), 3))
        return _Parts(arrays[0], arrays[1], arrays[2], heads)

    def _uniform(self, position: int, count: int) -> Floats:
        return np.random.default_rng([self._seed, position]).uniform(-_START, _START, count)


def _d_logits(step: _Step, taken: Ints, push: Floats, pull: Pull) -> Floats:
    """Gradient by the logits of one step."""
    p = np.exp(step.log_p)
    gradient = -push[:, None] * p
    gradient[np.arange(len(taken)), taken] += push
    strain = pull.weight * step.log_p - pull.target
    gradient -= p * (strain - (p * strain).sum(axis=1, keepdims=True))
    return gradient * step.slope


def _d_gates(step: _Step, d_hidden: Floats, d_cell: Floats) -> tuple[Floats, Floats]:
    """Gradients by the gates before their functions, and by the cell before the step."""
    enter, keep, out, new = np.split(step.gates, 4, axis=1)
    d_cell = d_cell + d_hidden * out * (1.0 - step.cell_tanh**2)
    d_gates = np.concatenate(
        [
            d_cell * new * enter * (1.0 - enter),
            d_cell * step.cell_before * keep * (1.0 - keep),
            d_hidden * step.cell_tanh * out * (1.0 - out),
            d_cell * enter * (1.0 - new**2),
        ],
        axis=1,
    )
    return d_gates, d_cell * keep
