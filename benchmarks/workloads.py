"""The pieces of work that are timed, ours and the peer's, on the same random data.

Shapes: B batch, T window length, F stacked frames, M actions.
"""

import functools
import pathlib
import tempfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from smallwm_tf.agents.policy_agent import PolicyAgent
from smallwm_tf.deployment.saved_agent import saved_code_policy
from smallwm_tf.learning.adam import built_adam
from smallwm_tf.learning.dream_environment import DreamEnvironment
from smallwm_tf.learning.dream_policy_learner import DreamPolicyLearner
from smallwm_tf.learning.replay import Replay
from smallwm_tf.learning.world_model_learner import WorldModelLearner
from smallwm_tf.models.build import build_models
from smallwm_tf.models.imagination import Dreamer, DreamSettings

NUM_ACTIONS = 6
_REPLAY_STEPS = 2000


class Work(NamedTuple):
    """One piece of work."""

    name: str
    amount: int  # units per call
    unit: str
    call: Callable[[], object]


class Data(NamedTuple):
    """Random steps that stand in for a game; speed does not depend on their content."""

    frames: np.ndarray  # uint8 [n, 96, 96]
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    lost_life: np.ndarray


def random_data(steps: int = _REPLAY_STEPS, seed: int = 0) -> Data:
    """Random steps in episodes of about 500."""
    generator = np.random.default_rng(seed)
    never = np.zeros(steps, bool)
    return Data(
        generator.integers(0, 256, (steps, 96, 96), dtype=np.uint8),
        generator.integers(0, NUM_ACTIONS, steps).astype(np.int32),
        generator.integers(-1, 2, steps).astype(np.float32),
        generator.random(steps) < 0.002,
        never,
        never,
    )


def _leave_zero(network: tf.Module) -> None:
    """Gives biases and means the values of a network that has learned something.

    TensorFlow leaves additions of a constant zero out, and the fusion that begins with them, too.
    """
    generator = np.random.default_rng(0)
    for weight in network.variables:
        if weight.dtype == tf.float32 and not np.any(weight.numpy()):
            weight.assign(generator.normal(0.0, 0.01, weight.shape))


class OurWorkloads:
    """smallwm_tf's compiled steps.

    Args:
      config: the configuration; its sizes are those of the work.
      data: first content of the replay.
      capacity: of the replay, in steps.
    """

    def __init__(self, config, data: Data, capacity: int = _REPLAY_STEPS):
        self.config = config
        self.world_model, self.policy = build_models(config, NUM_ACTIONS)
        for network in (self.world_model.vqvae, self.world_model.dynamics, self.policy):
            _leave_zero(network)
        self.replay = replay = Replay(capacity)
        replay.append(**data._asdict())
        self.learner = WorldModelLearner(self.world_model, replay, config)
        dreamer = Dreamer(self.world_model, DreamSettings.of(config))
        dream = DreamEnvironment(dreamer, replay, config)
        optimizer = built_adam(config, config.ppo.learning_rate, self.policy.trainable_variables)
        self.ppo = DreamPolicyLearner(dream, self.policy, optimizer, config)
        self.agent = PolicyAgent(self.world_model, self.policy)

    def all(self) -> list[Work]:
        """Every piece of work, compiled at its first call."""
        config, seed = self.config, tf.constant([1, 2])
        generator = np.random.default_rng(1)
        batch = config.vqvae.batch_size
        windows, length = config.dynamics.windows_per_batch, config.dynamics.window_length
        frames = config.game.num_stacked_frames
        dreams, horizon = config.dream.num_dreams, config.dream.horizon

        def steps(count: int) -> tf.Tensor:
            return tf.constant(generator.integers(0, self.replay.size - length, count), tf.int32)

        frame_batch = steps(batch)[tf.newaxis]
        starts = steps(windows)
        dynamics_step = tf.function(self.learner.dynamics_step)
        encode = tf.function(
            lambda at: self.world_model.vqvae.encode(self.replay.observations(at, frames))
        )
        rollout = tf.function(self.ppo.rollout, autograph=False)
        # A ready tensor, as the peer gets one.
        single = tf.constant(generator.integers(0, 256, (1, 96, 96, frames), dtype=np.uint8))
        encode_steps = steps(windows * length)
        return [
            Work(
                f"VQ-VAE training step, batch {batch}",
                batch,
                "frames/s",
                lambda: self.learner.warmup_steps(frame_batch).numpy(),
            ),
            Work(
                f"dynamics training step, {windows}×{length} with encoding",
                windows * (length - 1),
                "transitions/s",
                lambda: dynamics_step(starts, seed).latent.numpy(),
            ),
            Work(
                f"encoding, batch {windows * length}",
                windows * length,
                "frames/s",
                lambda: encode(encode_steps).numpy(),
            ),
            Work(
                f"dream rollout {dreams}×{horizon} with policy",
                dreams * horizon,
                "steps/s",
                lambda: rollout(seed).reward.numpy(),
            ),
            Work(
                "whole PPO update",
                dreams * horizon,
                "steps/s",
                lambda: self.ppo.update(seed, 0, config.ppo.learning_rate).numpy(),
            ),
            Work(
                "encode + act, batch 1",
                1,
                "actions/s",
                lambda: self.agent.act(single, (), seed, 0),
            ),
            Work(
                "exported SavedModel, encode + act, batch 1",
                1,
                "actions/s",
                lambda: self.saved_agent.serve(single)["action"].numpy(),
            ),
        ]

    @functools.cached_property
    def saved_agent(self):
        """Encoder and policy as whoever has an export loads them."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "agent")
            saved_code_policy(self.world_model, self.policy, temperature=1.0).save(path)
            return tf.saved_model.load(str(path))
