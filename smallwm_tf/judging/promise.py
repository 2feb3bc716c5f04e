"""What the dream promises a policy, and what the real game pays it, from the same starts.

Both run for the same number of steps with rewards clipped to −1, 0, 1, as the policy was trained.
A real episode that ends pays nothing more; a dream knows no ends, or discounts what comes behind
them: then, too, a lost life is an end in both. A promise far above the pay-off
is a policy that has learned to exploit its world model.

Shapes: S starts, H horizon.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from smallwm_tf.agents.agent import Agent
from smallwm_tf.agents.collecting import collect
from smallwm_tf.games.real_game import RealGame
from smallwm_tf.learning.replay import Replay
from smallwm_tf.models.event_heads import class_rewards, reward_classes
from smallwm_tf.models.imagination import Dreamer, Past
from smallwm_tf.models.policy import (
    NO_ACTION,
    PolicyAndValue,
    PolicyObservation,
    draw_actions,
)


class Starts(NamedTuple):
    """Moments of the real game to which it can return."""

    states: list[dict[str, np.ndarray]]  # of the emulator, from RealGame.get_state
    observations: np.ndarray  # uint8 [S, 96, 96, F]
    past: Past  # the T steps before each


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
    agent: Agent,
    num_starts: int,
    interval: int,
    seed_path: tuple[int | str, ...],
    context_steps: int = 0,
    on_step: Callable[[], None] = lambda: None,
) -> Starts:
    """Plays a reset game on, through as many episodes as it takes, and keeps S moments.

    Args:
      game: is played on.
      agent: plays.
      num_starts: S.
      interval: steps from one kept moment to the next.
      seed_path: of the random numbers, see ``randomness.seed_pair``.
      context_steps: T, steps before each moment to keep with it.
      on_step: called after every step; may raise to stop.
    """
    num_steps = (num_starts - 1) * interval + 1
    collected = collect(game, agent, num_steps, seed_path, on_step, state_interval=interval)
    played = Replay(num_steps)
    played.append(**collected.steps())
    moments = tf.range(0, num_steps, interval)
    num_frames = game.current_time_step().observation.shape[-1]
    past = played.past(moments, context_steps, num_frames)
    return Starts(collected.states, played.observations(moments, num_frames).numpy(), past)


def real_rewards(
    games: Sequence[RealGame],
    agent: Agent,
    starts: Starts,
    horizon: int,
    seed: np.ndarray,
    lives_end: bool = False,
) -> np.ndarray:
    """Clipped rewards of the real game after each start, [S, H]; 0 behind the end of an episode.

    With ``lives_end`` the loss of a life is such an end. As many starts are played side by side as
    there are games. A memory begins anew at a start, but for a recurrent state, which has seen the
    start's past, as in ``dreamed_rewards``.
    """
    rewards = np.zeros([len(starts.states), horizon], np.float32)
    for first in range(0, len(starts.states), len(games)):
        group = list(zip(games, starts.states[first : first + len(games)], strict=False))
        time_steps = [game.set_state(state) for game, state in group]
        running = np.arange(len(group))
        own = slice(first, first + len(group))
        past = tf.nest.map_structure(lambda part: part[own], starts.past)  # noqa: B023
        memory = agent.begin(len(group), past)
        pair = tf.random.experimental.stateless_fold_in(seed, first).numpy()
        for step in range(horizon):
            if not len(running):
                break
            observations = np.stack([time_steps[i].observation for i in running])
            actions, memory = agent.act(observations, memory, pair, step)
            for i, action in zip(running, actions, strict=True):
                time_steps[i] = games[i].step(action)
                rewards[first + i, step] = class_rewards(reward_classes(time_steps[i].reward))
            goes_on = np.array(
                [not (time_steps[i].is_last() or lives_end and games[i].lost_life) for i in running]
            )
            running = running[goes_on]
            memory = tf.nest.map_structure(lambda array: array[goes_on], memory)  # noqa: B023
    return rewards


def dreamed_rewards(
    dreamer: Dreamer,
    policy: PolicyAndValue,
    starts: Starts,
    horizon: int,
    temperature: float,
    seed: tf.Tensor,
) -> np.ndarray:
    """Rewards of dreams of a ``WorldModel`` that begin at the starts: [S, H].

    Each times the chance that no end came before it. A policy that sees its last action begins
    without one, as in ``real_rewards``. The temperature divides the policy's logits; the seed is an
    int32 pair.
    """
    world_model = dreamer.world_model
    embeddings = world_model.vqvae.quantizer.embeddings
    fold_in = tf.random.experimental.stateless_fold_in

    @tf.function(autograph=False)
    def advance(state, last_actions, pair):
        hidden = world_model.visible(state.recurrent)
        seen = PolicyObservation(state.codes, last_actions, hidden)
        logits, _ = policy(seen, embeddings)
        actions = draw_actions(logits, temperature, pair, 0)
        step, state = dreamer.step(state, actions, fold_in(pair, 1))
        return step.rewards, step.continues, state, actions

    state = dreamer.start(tf.constant(starts.observations), starts.past)
    paid, chance, last_actions = [], 1.0, tf.fill([len(starts.observations)], NO_ACTION)
    for step in range(horizon):
        given = state, last_actions, fold_in(seed, step)
        rewards, continues, state, last_actions = advance(*given)
        paid.append(chance * rewards.numpy())
        chance = chance * continues.numpy()
    return np.stack(paid, axis=1)
