"""What the dream promises a policy, and what the real game pays it, from the same starts.

Both run for the same number of steps with rewards clipped to −1, 0, 1, as the policy was trained.
A real episode that ends pays nothing more; a dream knows no ends. A promise far above the pay-off
is a policy that has learned to exploit its world model.

Shapes: S starts, H horizon.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from smallwm_tf.envs.real_game import RealGame
from smallwm_tf.learning.acting import Actor
from smallwm_tf.models.dynamics import (
    class_rewards,
    latent_distribution,
    reward_classes,
    reward_distribution,
)
from smallwm_tf.models.grid_convolution import to_grid_major
from smallwm_tf.models.policy import PolicyAndValue
from smallwm_tf.models.world_model import WorldModel


class Starts(NamedTuple):
    """Moments of the real game to which it can return."""

    states: list[dict[str, np.ndarray]]  # of the emulator, from RealGame.get_state
    observations: np.ndarray  # uint8 [S, 96, 96, F]


class Promise(NamedTuple):
    """Rewards of the same policy from the same starts; [S, H] each, values −1, 0, 1."""

    dreamed: np.ndarray
    real: np.ndarray

    @property
    def gap(self) -> float:
        """Mean sum of dreamed rewards minus mean sum of real ones."""
        return float(self.dreamed.sum(axis=1).mean() - self.real.sum(axis=1).mean())

    @property
    def gap_error(self) -> float:
        """Standard error of ``gap``, from the differences start by start; 0 for one start."""
        differences = (self.dreamed - self.real).sum(axis=1)
        if len(differences) < 2:
            return 0.0
        return float(differences.std(ddof=1) / np.sqrt(len(differences)))


def find_starts(
    game: RealGame,
    actor: Actor,
    num_starts: int,
    interval: int,
    temperature: float,
    seed: tf.Tensor,
) -> Starts:
    """Plays on and keeps every ``interval``-th moment.

    Args:
      game: reset; it is played on through as many episodes as it takes.
      actor: plays.
      num_starts: S.
      interval: steps from one kept moment to the next.
      temperature: divides the policy's logits.
      seed: int32 pair.
    """
    states, observations = [], []
    time_step = game.current_time_step()
    for step in range((num_starts - 1) * interval + 1):
        if step % interval == 0:
            states.append(game.get_state())
            observations.append(time_step.observation.copy())
        action = actor.act(time_step.observation[np.newaxis], temperature, seed, step)[0]
        time_step = game.step(np.int32(action))
        if time_step.is_last():
            time_step = game.reset()
    return Starts(states, np.stack(observations))


def real_rewards(
    game: RealGame, actor: Actor, starts: Starts, horizon: int, temperature: float, seed: tf.Tensor
) -> np.ndarray:
    """Clipped rewards of the real game after each start, [S, H]; 0 behind the end of an episode."""
    rewards = np.zeros([len(starts.states), horizon], np.float32)
    for number, state in enumerate(starts.states):
        time_step = game.set_state(state)
        pair = tf.random.experimental.stateless_fold_in(seed, number)
        for step in range(horizon):
            action = actor.act(time_step.observation[np.newaxis], temperature, pair, step)[0]
            time_step = game.step(np.int32(action))
            rewards[number, step] = class_rewards(reward_classes(time_step.reward))
            if time_step.is_last():
                break
    return rewards


def dreamed_rewards(
    world_model: WorldModel,
    policy: PolicyAndValue,
    observations: np.ndarray,
    horizon: int,
    temperature: float,
    seed: tf.Tensor,
) -> np.ndarray:
    """Rewards of dreams that begin at the observations uint8 [S, 96, 96, F]: [S, H]."""
    vqvae, dynamics = world_model.vqvae, world_model.dynamics

    @tf.function(autograph=False)
    def advance(codes, state, kernels, pair):
        pairs = [tf.random.experimental.stateless_fold_in(pair, purpose) for purpose in range(3)]
        embedded = to_grid_major(vqvae.quantizer.lookup(codes))
        logits, _ = policy(embedded)
        actions = tfp.distributions.Categorical(logits / temperature).sample(seed=pairs[0])
        latent, reward, state = world_model.step(codes, actions, state, kernels)
        codes = latent_distribution(latent).sample(seed=pairs[1])
        return codes, class_rewards(reward_distribution(reward).sample(seed=pairs[2])), state

    codes = vqvae.encode(tf.constant(observations))
    state = dynamics.initial_state(len(observations))
    kernels = dynamics.prepare("fewest_products")
    rewards = []
    for step in range(horizon):
        pair = tf.random.experimental.stateless_fold_in(seed, step)
        codes, reward, state = advance(codes, state, kernels, pair)
        rewards.append(reward.numpy())
    return np.stack(rewards, axis=1)
