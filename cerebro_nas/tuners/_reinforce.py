"""Reinforcement learning: an LSTM writes configurations and is rewarded for good ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras_tuner
import numpy as np

from cerebro_nas.tuners._controller import SKIPPED
from cerebro_nas.tuners._controller import Controller
from cerebro_nas.tuners._controller import Ints
from cerebro_nas.tuners._controller import Pull
from cerebro_nas.tuners._controller_settings import Default
from cerebro_nas.tuners._controller_settings import Defaults
from cerebro_nas.tuners._controller_settings import make_settings
from cerebro_nas.tuners._controller_training import Method
from cerebro_nas.tuners._controller_training import Optimiser
from cerebro_nas.tuners._controller_training import advantages
from cerebro_nas.tuners._controller_training import decoded
from cerebro_nas.tuners._controller_training import encoded
from cerebro_nas.tuners._controller_values import Outcomes
from cerebro_nas.tuners._seeded import Observation
from cerebro_nas.tuners._seeded import SeededOracle
from cerebro_nas.tuners._stages import Proposal
from cerebro_nas.tuners._stages import Values
from cerebro_nas.tuners._tree import is_active

_ROUNDS = ((2, 1.0), (8, 1.5), (8, 2.0), (8, 4.0), (8, 8.0))
"""Configurations drawn at a time, and how much the policy is flattened: a policy that is sure of itself writes the same
ones again and again, and those near them are better than random ones."""
_LOG_RATIO = 20.0
_LEAST_TARGET = 1e-6


@dataclass(frozen=True)
class _Episode:
    """How a trial came about: what was decided at each hyperparameter, and its log-probability then."""

    decisions: list[int]
    log_p: list[float]


class ReinforceOracle(SeededOracle):
    """An LSTM controller decides the hyperparameters one after another, trained by REINFORCE.

    Active hyperparameters are decided in the order of the space; what the controller took is its next input. Each has a
    softmax and embeddings of its own, so nothing is assumed of which values resemble each other. A numeric range of
    more than `bins` values is decided in parts, and the value drawn from within the part.

    Credit is each trial's own: the log-probability of the decisions that made it, times its advantage (see
    `advantages`). After every result the controller takes `controller_train_steps` steps on the latest
    `controller_window` trials. Those were decided by earlier controllers, as results come late, so each decision is
    weighted by the ratio of its present probability to that when it was made, at most `controller_ratio_limit`. Trials
    that are still to come count as average ones: a few results must not make the controller sure of itself.

    The settings are those of Katib's ENAS controller, the defaults are not, nor is the credit: Katib takes steps on
    newly sampled architectures, whose log-probability it multiplies by the mean reward of all trials, which on average
    moves the policy nowhere, and its defaults (in brackets below) were chosen with that. `controller_defaults="katib"`
    takes Katib's, with each trial's own credit still. On an additive space of 6 layers and 15 skip connections
    (scores from 0 to 1), the last 50 of 200 trials came to 0.89 to 0.91 with ours and to 0.67 to 0.75 with Katib's, for
    three seeds.

    Sources: Williams (1992); Zoph, Le, "Neural architecture search with reinforcement learning" (2017); Pham et al.,
    "Efficient neural architecture search via parameter sharing" (2018).

    Args:
        controller_defaults: `"ours"`, or `"katib"` for those of Katib's v1beta1, in brackets below: what settings are
            that are not given (`"default"`). With 25 choices Katib's 50 steps take 0.4 s of one core after each result,
            our one 5 ms.
        controller_hidden_size: size of the LSTM's state and of the embeddings; 32 (Katib: 64).
        controller_temperature: logits are divided by it; None: they are not. None (5.0).
        controller_tanh_const: logits become `tanh_const * tanh(logit)`, which bounds how sure the controller can be; of
            100 values it gives the best one at most 0.47 with 2.25. None: they are left. None (2.25).
        controller_entropy_weight: how much a nat of the entropy of a decision counts against a unit of advantage; None:
            nothing. 0.01 (1e-5).
        controller_baseline_decay: of the running mean of rewards that a trial is compared with, per trial; 0.9 (0.999).
        controller_learning_rate: of the optimiser, in (0, 1]; with `"adam"` take 0.01 or less. 1.0 (5e-5).
        controller_skip_target: with `controller_skip_weight`, the share of Boolean hyperparameters (skip connections)
            that should be true; 0.4 (0.4).
        controller_skip_weight: how much a nat of divergence from that share counts; None: nothing. None (0.8).
        controller_train_steps: steps after each result; 1 (50, on newly sampled architectures).
        controller_window: trials that a step is made on; 16 (Katib has none: see above).
        controller_ratio_limit: highest weight of a decision that has become more probable; 2.0 (none).
        controller_optimizer: `"sgd"`, `"momentum"` or `"adam"`; `"sgd"` (adam).
        bins: parts that a numeric range with more values is decided in; 10 (none).
        **kwargs: see `SeededOracle`.

    Raises:
        ConfigError: a setting is wrong.
    """

    def __init__(
        self,
        *,
        controller_defaults: Defaults = "ours",
        controller_hidden_size: int | Default = "default",
        controller_temperature: float | str | None = "default",
        controller_tanh_const: float | str | None = "default",
        controller_entropy_weight: float | str | None = "default",
        controller_baseline_decay: float | Default = "default",
        controller_learning_rate: float | Default = "default",
        controller_skip_target: float | Default = "default",
        controller_skip_weight: float | str | None = "default",
        controller_train_steps: int | Default = "default",
        controller_window: int | Default = "default",
        controller_ratio_limit: float | Default = "default",
        controller_optimizer: Method | Default = "default",
        bins: int | Default = "default",
        **kwargs: Any,
    ) -> None:
        given = {
            "controller_hidden_size": controller_hidden_size,
            "controller_temperature": controller_temperature,
            "controller_tanh_const": controller_tanh_const,
            "controller_entropy_weight": controller_entropy_weight,
            "controller_baseline_decay": controller_baseline_decay,
            "controller_learning_rate": controller_learning_rate,
            "controller_skip_target": controller_skip_target,
            "controller_skip_weight": controller_skip_weight,
            "controller_train_steps": controller_train_steps,
            "controller_window": controller_window,
            "controller_ratio_limit": controller_ratio_limit,
            "controller_optimizer": controller_optimizer,
            "bins": bins,
        }
        self.settings = make_settings(controller_defaults, given)
        super().__init__(**kwargs)
        self._controller = self._new_controller()
        self._optimiser = Optimiser(self.settings.controller_optimizer, self.settings.controller_learning_rate)
        self._outcomes: list[Outcomes] = []
        self._episodes: dict[str, _Episode] = {}

    def propose(self) -> Values | None:
        """What the controller writes."""
        self._grow()
        generator = self.generator()
        for rows, flatten in _ROUNDS:
            for values in self._write(rows, flatten, generator):
                if self.is_new(values):
                    return values
        return self.fresh_random_values()

    def entered(self, trial_id: str, proposal: Proposal) -> None:
        """Remember what was decided, and how probable it was to the controller that decided it."""
        self._grow()
        decisions = self._decisions(proposal.values)
        log_p = self._controller.run(np.array([decisions], np.int64)).log_p[0]
        self._episodes[trial_id] = _Episode(decisions, log_p.tolist())

    def observe(self, observation: Observation) -> None:
        """Train the controller on the latest trials."""
        ended = self.observations()
        latest = ended[-self.settings.controller_window :]
        worth = advantages(
            [item.loss for item in ended], self.settings.controller_window, self.settings.controller_baseline_decay
        )
        for item in ended[: -self.settings.controller_window]:
            self._episodes.pop(item.trial_id, None)
        # One trial alone is as good as expected.
        if len(latest) > 1:
            self._train([self._episodes[item.trial_id] for item in latest], worth[:, None])

    def get_state(self) -> dict[str, Any]:
        """State as plain JSON values."""
        controller = {
            "sizes": self._controller.sizes,
            "weights": encoded(self._controller.weights),
            "optimizer": self._optimiser.get_state(),
            "episodes": {name: [item.decisions, item.log_p] for name, item in self._episodes.items()},
        }
        return {**super().get_state(), "controller": controller}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` gave."""
        super().set_state(state)
        saved = state["controller"]
        self._controller = self._new_controller()
        self._controller.grow(saved["sizes"])
        self._controller.weights = decoded(saved["weights"])
        self._outcomes = [Outcomes(hp, self.settings.bins) for hp in self._space[: len(saved["sizes"])]]
        self._optimiser.set_state(saved["optimizer"])
        self._episodes = {name: _Episode(*lists) for name, lists in saved["episodes"].items()}

    # --- inside -------------------------------------------------------------------------------------------------------

    @property
    def _space(self) -> list[Any]:
        space: list[Any] = self.hyperparameters.space
        return space

    def _new_controller(self) -> Controller:
        own = self.settings
        return Controller(own.controller_hidden_size, own.controller_temperature, own.controller_tanh_const, self._base)

    def _grow(self) -> None:
        """Take in hyperparameters that came into the space; their weights follow from the seed and their place."""
        new = [Outcomes(hp, self.settings.bins) for hp in self._space[len(self._outcomes) :]]
        if new:
            self._outcomes += new
            self._controller.grow([outcomes.size for outcomes in new])

    def _write(self, rows: int, flatten: float, generator: np.random.Generator) -> list[Values]:
        """Configurations by the controller."""
        written: list[Values] = [{} for _ in range(rows)]

        def decided(head: int) -> Ints:
            hp, outcomes = self._space[head], self._outcomes[head]
            which = [row for row, values in enumerate(written) if hp.name not in values and is_active(hp, values)]
            if outcomes.size > 1:
                return np.array(which, np.int64)
            for row in which:
                written[row][hp.name] = outcomes.draw(0, 0.0)
            return np.zeros(0, np.int64)

        def take(head: int, which: Ints, numbers: Ints) -> None:
            name, outcomes = self._space[head].name, self._outcomes[head]
            for row, number, u in zip(which.tolist(), numbers.tolist(), generator.random(len(which)), strict=True):
                written[row][name] = outcomes.draw(number, float(u))

        self._controller.sample(rows, decided, take, generator, flatten)
        return written

    def _decisions(self, values: Values) -> list[int]:
        """What was decided at each hyperparameter to come to these values."""
        decisions = [SKIPPED] * len(self._outcomes)
        seen: Values = {}
        for head, (hp, outcomes) in enumerate(zip(self._space, self._outcomes, strict=True)):
            if hp.name in values and hp.name not in seen and is_active(hp, seen):
                seen[hp.name] = values[hp.name]
                if outcomes.size > 1:
                    decisions[head] = outcomes.number_of(values[hp.name])
        return decisions

    def _train(self, episodes: list[_Episode], worth: Any) -> None:
        shape = (len(episodes), len(self._outcomes))
        decisions, before = np.full(shape, SKIPPED, np.int64), np.zeros(shape)
        for row, episode in enumerate(episodes):
            # Hyperparameters that came into the space later were not decided.
            decisions[row, : len(episode.decisions)] = episode.decisions
            before[row, : len(episode.log_p)] = episode.log_p
        # The space may have grown with the result: what is new was not decided yet.
        known = zip(self._space[: len(self._outcomes)], self._outcomes, strict=True)
        pulls = [self._pull(hp, outcomes.size, len(episodes)) for hp, outcomes in known]
        for _ in range(self.settings.controller_train_steps):
            done = self._controller.run(decisions)
            ratio = np.exp(np.clip(done.log_p - before, -_LOG_RATIO, _LOG_RATIO))
            push = np.minimum(ratio, self.settings.controller_ratio_limit) * worth / self.settings.controller_window
            gradient = self._controller.gradient(done, push, pulls)
            self._controller.weights = self._optimiser.step(self._controller.weights, gradient)

    def _pull(self, hp: Any, size: int, rows: int) -> Pull:
        """Entropy and, of a skip connection, the divergence from its target; both as a mean over rows."""
        pull = Pull((self.settings.controller_entropy_weight or 0.0) / rows, np.zeros(size))
        weight = self.settings.controller_skip_weight
        if weight is None or not isinstance(hp, keras_tuner.engine.hyperparameters.Boolean):
            return pull
        share = min(self.settings.controller_skip_target, 1.0 - _LEAST_TARGET)
        target = np.log([share if value else 1.0 - share for value in hp.values])
        return Pull(pull.weight + weight / rows, pull.target + weight / rows * target)
