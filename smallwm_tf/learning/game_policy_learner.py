"""Model-free PPO: rollouts of the real game, then the update of ``ppo``.

Rewards are clipped to {−1, 0, 1}; a lost life ends an episode, for learning only; behind the last
step of a rollout the value stands for what the game goes on to pay.

Shapes: N games side by side, T steps of a rollout, F stacked frames, M actions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import StepType, trajectory
from tf_agents.trajectories import time_step as ts

from smallwm_tf.experiment.settings import FRAME_SIZE
from smallwm_tf.games.real_game import RealGame
from smallwm_tf.learning import ppo
from smallwm_tf.learning.adam import BiasCorrectedAdam
from smallwm_tf.learning.ppo_networks import SharedTrunk
from smallwm_tf.models.frame_policy import FramePolicy
from smallwm_tf.models.policy import draw_actions


class Rollout(NamedTuple):
    """What N games showed and paid in T steps, and what the policy made of it."""

    frames: np.ndarray  # uint8 [N, T + 1, 96, 96, F]
    actions: np.ndarray  # int32 [N, T + 1]; the last one is not taken
    logits: np.ndarray  # float32 [N, T + 1, M]
    values: np.ndarray  # float32 [N, T + 1]
    rewards: np.ndarray  # float32 [N, T], raw
    ends: np.ndarray  # bool [N, T], whether the step ended an episode or a life
    episode_over: np.ndarray  # bool [N, T], whether it ended an episode, by a time limit too


class GamePolicyLearner(ppo.PolicyLearner):
    """Acts in the real game and improves the policy on what came of it.

    Args:
      policy: the network to train.
      optimizer: of the policy's variables.
      config: the run's; reads ``ppo``.
    """

    def __init__(self, policy: FramePolicy, optimizer: BiasCorrectedAdam, config):
        frames = [FRAME_SIZE, FRAME_SIZE, policy.num_stacked_frames]
        # TF-Agents tries networks on samples of a spec, below its maximum + 1: 256 is no uint8.
        observation = tensor_spec.BoundedTensorSpec(frames, tf.uint8, 0, 254, "observation")
        action = tensor_spec.BoundedTensorSpec([], tf.int32, 0, policy.num_actions - 1, "action")
        trunk = SharedTrunk(policy, observation_rank=3)
        agent = ppo.make_agent(trunk, ts.time_step_spec(observation), action, optimizer, config)
        super().__init__(agent, optimizer, config)
        self._policy = policy

    @tf.function(reduce_retracing=True, autograph=False)
    def act(
        self, frames: tf.Tensor, seed: tf.Tensor, step: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Drawn actions int32 [N], logits and values of uint8 [N, 96, 96, F].

        The step is folded into the seed, an int32 pair.
        """
        logits, values = self._policy(frames)
        return draw_actions(logits, 1.0, seed, step), logits, values

    def update(self, rollout: Rollout, seed: np.ndarray, learning_rate: float) -> np.ndarray:
        """One PPO update; returns scalars in the order of ``ppo.METRICS``."""
        arrays = tf.nest.map_structure(tf.convert_to_tensor, rollout)
        return self._update(arrays, tf.constant(seed), tf.constant(learning_rate)).numpy()

    @tf.function(reduce_retracing=True, autograph=False)
    def _update(self, rollout: Rollout, seed: tf.Tensor, learning_rate: tf.Tensor) -> tf.Tensor:
        return self.improve(as_trajectory(rollout), seed, learning_rate)


def play_rollout(
    learner: GamePolicyLearner, games: Sequence[RealGame], num_steps: int, seed: np.ndarray
) -> Rollout:
    """Plays every game on for some steps; ``seed`` is an int32 pair."""
    shape = [len(games), num_steps]
    rewards, ends, over = np.zeros(shape, np.float32), np.zeros(shape, bool), np.zeros(shape, bool)
    seen = []
    for number in range(num_steps + 1):
        shown = [game.current_time_step() for game in games]
        shown = [game.reset() if s.is_last() else s for game, s in zip(games, shown, strict=True)]
        frames = np.stack([time_step.observation for time_step in shown])
        asked = learner.act(tf.constant(frames), tf.constant(seed), tf.constant(number))
        seen.append((frames, *(tensor.numpy() for tensor in asked)))
        if number == num_steps:  # only the values of what would come next are wanted
            break
        for n, game in enumerate(games):
            after = game.step(seen[-1][1][n])
            rewards[n, number], over[n, number] = after.reward, after.is_last()
            ends[n, number] = over[n, number] or game.lost_life
    shown_and_done = (np.stack(parts, axis=1) for parts in zip(*seen, strict=True))
    return Rollout(*shown_and_done, rewards, ends, over)


def as_trajectory(rollout: Rollout) -> trajectory.Trajectory:
    """A rollout [N, T] as TF-Agents' trajectory [N, T + 1], the last column not trained on."""
    mid = tf.fill(tf.shape(rollout.actions), StepType.MID)
    # An episode's end has discount 0; the rollout's own end is a time limit.
    cut = tf.concat([rollout.ends[:, :-1], tf.ones_like(rollout.ends[:, :1])], axis=1)
    padding = [[0, 0], [0, 1]]
    return trajectory.Trajectory(
        step_type=mid,
        observation=rollout.frames,
        action=rollout.actions,
        policy_info={
            "dist_params": {"logits": rollout.logits},
            "value_prediction": rollout.values,
        },
        next_step_type=tf.where(tf.pad(cut, padding), StepType.LAST, mid),
        reward=tf.pad(tf.sign(rollout.rewards), padding),
        discount=tf.pad(1.0 - tf.cast(rollout.ends, tf.float32), padding),
    )
