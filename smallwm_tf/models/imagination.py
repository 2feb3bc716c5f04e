"""Open loop: the world model on its own, with actions that are given.

Shapes: S starts, H horizon.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from smallwm_tf.models.dynamics import (
    DynamicsState,
    class_rewards,
    latent_distribution,
    reward_distribution,
)
from smallwm_tf.models.world_model import WorldModel


class Unrolled(NamedTuple):
    """What the world model predicts step after step."""

    codes: np.ndarray  # ẑ_1 … ẑ_H, int32 [S, H, 6, 6]
    rewards: np.ndarray  # r̂_0 … r̂_{H-1}, float32 [S, H]


def unroll(
    world_model: WorldModel,
    codes: tf.Tensor,
    actions: tf.Tensor,
    state: DynamicsState,
    seed: np.ndarray | None,
    temperature: float = 1.0,
) -> Unrolled:
    """Feeds predictions back for H steps.

    Args:
      world_model: what predicts.
      codes: z_0, int32 [S, 6, 6].
      actions: a_0 … a_{H-1}, int32 [S, H].
      state: the recurrent state before z_0.
      seed: int32 pair from which codes and rewards are drawn, as in dreams; None takes the most
        probable ones.
      temperature: divides the logits of drawn codes.
    """
    kernels = world_model.dynamics.prepare("fewest_products")
    step = tf.function(world_model.step, autograph=False)
    all_codes, all_rewards = [], []
    for t in range(actions.shape[1]):
        latent_logits, reward_logits, state = step(codes, actions[:, t], state, kernels)
        if seed is None:
            codes = tf.argmax(latent_logits, axis=-1, output_type=tf.int32)
            reward = tf.argmax(reward_logits, axis=-1, output_type=tf.int32)
        else:
            pair = tf.random.experimental.stateless_fold_in(seed, t)
            codes = latent_distribution(latent_logits / temperature).sample(seed=pair)
            pair = tf.random.experimental.stateless_fold_in(pair, 1)
            reward = reward_distribution(reward_logits).sample(seed=pair)
        all_codes.append(codes.numpy())
        all_rewards.append(class_rewards(reward).numpy())
    return Unrolled(np.stack(all_codes, axis=1), np.stack(all_rewards, axis=1))
