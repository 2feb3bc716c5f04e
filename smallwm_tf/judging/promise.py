"""What the dream promises a policy, and what the real game pays it, from the same starts.

Both run for the same number of steps with rewards clipped to −1, 0, 1, as the policy was trained.
A real episode that ends pays nothing more; a dream knows no ends. A promise far above the pay-off
is a policy that has learned to exploit its world model.

Shapes: S starts, H horizon.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from smallwm_tf.agents.actor import Actor
from smallwm_tf.games.real_game import RealGame
from smallwm_tf.learning.dream_environment import warm_state
from smallwm_tf.learning.replay import Replay, Windows
from smallwm_tf.models.dynamics import (
    class_rewards,
    expected_rewards,
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
    past: Windows  # the T steps before each


class Promise(NamedTuple):
    """Rewards of the same policy from the same starts; [S, H] each, values within [−1, 1]."""

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
    context_steps: int = 0,
) -> Starts:
    """Plays on and keeps every ``interval``-th moment.

    Args:
      game: reset; it is played on through as many episodes as it takes.
      actor: plays.
      num_starts: S.
      interval: steps from one kept moment to the next.
      temperature: divides the policy's logits.
      seed: int32 pair.
      context_steps: T, steps before each moment to keep with it.
    """
    num_steps = (num_starts - 1) * interval + 1
    states, observations = [], []
    frames, actions, rewards, ended = [], [], [], []
    time_step = game.current_time_step()
    for step in range(num_steps):
        if step % interval == 0:
            states.append(game.get_state())
            observations.append(time_step.observation.copy())
        action = actor.act(time_step.observation[np.newaxis], temperature, seed, step)[0]
        frames.append(time_step.observation[..., -1].copy())
        actions.append(action)
        time_step = game.step(np.int32(action))
        rewards.append(float(time_step.reward))
        ended.append(bool(time_step.is_last()))
        if ended[-1]:
            time_step = game.reset()
    played = Replay(num_steps)
    played.append(*map(np.array, (frames, actions, rewards, ended)))
    moments = tf.range(0, num_steps, interval)
    past = played.past(moments, context_steps, observations[0].shape[-1])
    return Starts(states, np.stack(observations), past)


def real_rewards(
    games: Sequence[RealGame],
    actor: Actor,
    starts: Starts,
    horizon: int,
    temperature: float,
    seed: tf.Tensor,
) -> np.ndarray:
    """Clipped rewards of the real game after each start, [S, H]; 0 behind the end of an episode.

    As many starts are played side by side as there are games.
    """
    rewards = np.zeros([len(starts.states), horizon], np.float32)
    for first in range(0, len(starts.states), len(games)):
        group = list(zip(games, starts.states[first : first + len(games)], strict=False))
        time_steps = [game.set_state(state) for game, state in group]
        running = list(range(len(group)))
        pair = tf.random.experimental.stateless_fold_in(seed, first)
        for step in range(horizon):
            if not running:
                break
            observations = np.stack([time_steps[i].observation for i in running])
            actions = actor.act(observations, temperature, pair, step)
            for i, action in zip(running, actions, strict=True):
                time_steps[i] = games[i].step(np.int32(action))
                paid = class_rewards(reward_classes(time_steps[i].reward))
                rewards[first + i, step] = paid
            running = [i for i in running if not time_steps[i].is_last()]
    return rewards


def dreamed_rewards(
    world_model: WorldModel,
    policy: PolicyAndValue,
    starts: Starts,
    horizon: int,
    temperature: float,
    seed: tf.Tensor,
    rewards: str = "sampled",
    dream_temperature: float = 1.0,
) -> np.ndarray:
    """Rewards of dreams that begin at the starts: [S, H].

    Args:
      world_model: what dreams.
      policy: acts.
      starts: from ``find_starts``.
      horizon: H.
      temperature: divides the policy's logits.
      seed: int32 pair.
      rewards: "sampled" or "expected".
      dream_temperature: divides the logits of codes.
    """
    vqvae, dynamics = world_model.vqvae, world_model.dynamics

    @tf.function(autograph=False)
    def advance(codes, state, kernels, pair):
        pairs = [tf.random.experimental.stateless_fold_in(pair, purpose) for purpose in range(3)]
        embedded = to_grid_major(vqvae.quantizer.lookup(codes))
        logits, _ = policy(embedded)
        actions = tfp.distributions.Categorical(logits / temperature).sample(seed=pairs[0])
        latent, reward, state = world_model.step(codes, actions, state, kernels)
        codes = latent_distribution(latent / dream_temperature).sample(seed=pairs[1])
        if rewards == "expected":
            return codes, expected_rewards(reward), state
        return codes, class_rewards(reward_distribution(reward).sample(seed=pairs[2])), state

    codes = vqvae.encode(tf.constant(starts.observations))
    kernels = dynamics.prepare("fewest_products")
    state = warm_state(world_model, starts.past, kernels)
    paid = []
    for step in range(horizon):
        pair = tf.random.experimental.stateless_fold_in(seed, step)
        codes, reward, state = advance(codes, state, kernels, pair)
        paid.append(reward.numpy())
    return np.stack(paid, axis=1)
