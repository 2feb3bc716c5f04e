"""Looking ahead in the real game: at every decision the agent dreams (not in the paper).

The paper's outlook names planning with the model as the other way to use it. N short dreams for
each action a begin with it and go on with the policy; their mean worth decides:

    dream     z_t, a    ẑ_{t+1}, â_{t+1}    …    ẑ_{t+D}           â drawn from the policy
    worth     r̂_t + γĉ_t·r̂_{t+1} + … + γ^D ĉ_t⋯ĉ_{t+D−1}·V(ẑ_{t+D})

Shapes: B games, M actions, N dreams per action, D steps.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from smallwm_tf.agents.agent import Agent
from smallwm_tf.agents.episode_memory import EpisodeMemory
from smallwm_tf.agents.networks import Networks
from smallwm_tf.experiment.config import Config
from smallwm_tf.experiment.settings import FRAME_SIZE
from smallwm_tf.models.imagination import Dreamer, DreamSettings, DreamState, Past, state_after
from smallwm_tf.models.policy import NO_ACTION, draw_actions

_CHOICE, _DREAM = range(2)  # what a random number is for


def scored_agent(networks: Networks, config: Config, temperature: float) -> Agent:
    """Who is scored: the policy, or with ``evaluation.look_ahead_dreams`` one that looks ahead.

    The temperature divides the policy's logits; 0 takes the most probable action.
    """
    if config.evaluation.look_ahead_dreams:
        return LookAheadAgent(networks, config, temperature)
    return networks.agent(temperature)


class LookAheadAgent:
    """Takes the action after which dreams promise the most; one compiled call per decision.

    What it remembers is the world model's recurrent state, which goes along with what really
    happens from the beginning of an episode on, and the last action.

    Args:
      networks: with a world model; they do not change as long as the agent is used.
      config: the run's; reads ``evaluation``, ``dynamics``, ``dream`` and ``ppo``.
      temperature: divides the policy's logits inside dreams; 0 takes the most probable actions.
    """

    def __init__(self, networks: Networks, config: Config, temperature: float = 1.0):
        self._networks, self._temperature = networks, temperature
        self._world_model = networks.world_model
        self._dreamer = Dreamer(self._world_model, DreamSettings.of(config))
        self._num_actions = self._world_model.num_actions
        self._num_dreams = config.evaluation.look_ahead_dreams
        self._depth = config.evaluation.look_ahead_depth
        self._choice_temperature = config.evaluation.look_ahead_temperature
        self._discount = config.ppo.discount
        self._kernels = tf.nest.map_structure(lambda k: k.numpy(), self._world_model.prepare())
        model = self._world_model
        parts = model.state_to_images(model.initial_state(1))
        shape = [None, FRAME_SIZE, FRAME_SIZE, model.num_stacked_frames]
        signature = [
            tf.TensorSpec(shape, tf.uint8),
            tf.TensorSpec([2], tf.int32),
            tf.TensorSpec([None], tf.int32),
            *(tf.TensorSpec([None, *part.shape[1:]], tf.float32) for part in parts),
        ]
        self._decide = tf.function(self._decision, input_signature=signature, autograph=False)

    def begin(self, num_games: int, past: Past | None = None) -> EpisodeMemory:
        """See ``Agent.begin``."""
        model = self._world_model
        state = model.initial_state(num_games)
        if past is not None:

            def advance(codes, actions, valid, state):
                return model.masked(
                    model.predict(codes, actions, state, self._kernels).state, valid
                )

            state = state_after(past.encoded(model.encode), state, advance)
        parts = tuple(part.numpy() for part in model.state_to_images(state))
        return EpisodeMemory(np.full([num_games], NO_ACTION, np.int32), parts)

    def act(
        self, observations: np.ndarray, state: EpisodeMemory, seed: np.ndarray, step: int
    ) -> tuple[np.ndarray, EpisodeMemory]:
        """See ``Agent.act``."""
        # Few sizes only: XLA compiles each one.
        count = len(observations)
        padding = (1 << (count - 1).bit_length()) - count

        def padded(array: np.ndarray) -> np.ndarray:
            return np.pad(array, [(0, padding)] + [(0, 0)] * (array.ndim - 1))

        pair = tf.random.experimental.stateless_fold_in(seed, step)
        given = tf.nest.map_structure(padded, (observations, state.last_actions, *state.recurrent))
        actions, *recurrent = self._decide(given[0], pair, *given[1:])
        actions, *recurrent = (tensor[:count].numpy() for tensor in (actions, *recurrent))
        return actions, EpisodeMemory(actions, tuple(recurrent))

    def _decision(
        self, observations: tf.Tensor, seed: tf.Tensor, last_actions: tf.Tensor, *parts: tf.Tensor
    ) -> list[tf.Tensor]:
        """Actions int32 [B], and the parts of the state after them."""
        model = self._world_model
        kernels = tf.nest.map_structure(tf.constant, self._kernels)
        codes = model.encode(observations)
        worth = self.worth(codes, parts, kernels, seed)
        actions = draw_actions(worth, self._choice_temperature, seed, _CHOICE)
        state = model.state_from_images(parts)
        following = model.predict(codes, actions, state, kernels).state
        return [actions, *model.state_to_images(following)]

    def worth(
        self, codes: tf.Tensor, parts: tuple[tf.Tensor, ...], kernels: Any, seed: tf.Tensor
    ) -> tf.Tensor:
        """Mean worth of the dreams that begin with each action, [B, M].

        Args:
          codes: z_t, int32 [B, 6, 6].
          parts: of the recurrent state before it, [B, 6, 6, C] each.
          kernels: from the world model's ``prepare``.
          seed: int32 pair.
        """
        model, per_game = self._world_model, self._num_actions * self._num_dreams
        fold_in = tf.random.experimental.stateless_fold_in
        parts = tuple(tf.repeat(part, per_game, axis=0) for part in parts)
        dream = DreamState(
            tf.repeat(codes, per_game, axis=0), model.state_from_images(parts), kernels
        )
        each_action = tf.repeat(tf.range(self._num_actions), self._num_dreams)
        actions = tf.tile(each_action, [tf.shape(codes)[0]])
        worth, weight, values = 0.0, 1.0, 0.0
        for step in range(self._depth):
            pair = fold_in(seed, _DREAM + step)
            found, dream = self._dreamer.step(dream, actions, fold_in(pair, _DREAM))
            worth += weight * found.rewards
            weight *= self._discount * found.continues
            memory = EpisodeMemory(actions, model.state_to_images(dream.recurrent))
            seen = self._networks.memory.observation(dream.codes, memory)
            logits, values = self._networks.policy_in_graph(seen)
            actions = draw_actions(logits, self._temperature, pair, _CHOICE)
        worth += weight * values
        shape = [-1, self._num_actions, self._num_dreams]
        return tf.reduce_mean(tf.reshape(worth, shape), axis=2)
