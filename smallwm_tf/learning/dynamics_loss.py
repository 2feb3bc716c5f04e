"""The loss of the dynamics network on windows of codes (section 3.4).

Time alignment, T = 6 steps, context of 2; one column per transition t → t + 1:

    step              0     1     2     3     4     5
    input code       z_0   z_1   ẑ_2   ẑ_3   ẑ_4          true for t < context, then sampled
    action           a_0   a_1   a_2   a_3   a_4          the action taken on observation t
    latent target    z_1   z_2   z_3   z_4   z_5          code of the next observation
    reward target    r_0   r_1   r_2   r_3   r_4          earned by a_t
    end target       e_0   e_1   e_2   e_3   e_4          whether a_t cost a life or the episode

where ẑ_{t+1} is drawn from the prediction at t (given r_t, if the code head looks at it), without a
gradient. If the episode ends with
step t, r_t counts, z_{t+1} does not exist, and all later columns are padding.

Shapes: B batch, T window length, K embeddings.
"""

from typing import NamedTuple

import tensorflow as tf

from smallwm_tf.models.convolution_recorder import ConvolutionRecorder
from smallwm_tf.models.event_heads import Transition, reward_classes
from smallwm_tf.models.recurrent_stack import Kernels
from smallwm_tf.models.world_model import WorldModel


class DynamicsLosses(NamedTuple):
    """Loss terms, and what the predictions were worth, of one batch of windows."""

    latent: tf.Tensor  # nats per grid of 36 codes, mean over transitions with a next code
    reward: tf.Tensor  # nats per transition, mean over valid transitions
    end: tf.Tensor  # the same of ends; 0 where they are not predicted
    disagreement_heads: tf.Tensor  # as ``latent``, mean over heads; 0 where there are none
    code_accuracy: tf.Tensor  # share of next codes for which the most probable one is right
    copy_accuracy: tf.Tensor  # the same for predicting the present code
    reward_confusion: tf.Tensor  # [3, 3] counts: true class × most probable class
    reward_probabilities: tf.Tensor  # [(T − 1)·B, 3]; 0 where a transition is padding
    reward_classes: tf.Tensor  # true ones, int32 [(T − 1)·B]; −1 where it is
    end_probabilities: tf.Tensor  # [(T − 1)·B]; 0 where they are not predicted
    ends: tf.Tensor  # true ones, bool [(T − 1)·B]


def dynamics_losses(
    world_model: WorldModel,
    codes: tf.Tensor,
    actions: tf.Tensor,
    rewards: tf.Tensor,
    ends: tf.Tensor,
    valid: tf.Tensor,
    context_steps: int,
    seed: tf.Tensor,
    kernels: Kernels | None = None,
    recorder: ConvolutionRecorder | None = None,
    temperature: float = 1.0,
    training: bool = False,
) -> DynamicsLosses:
    """Unrolls the dynamics over windows and compares with what happened; means over nothing are 0.

    Args:
      world_model: codebook and dynamics.
      codes: true codes, int32 [B, T, 6, 6].
      actions: int32 [B, T].
      rewards: raw, float32 [B, T].
      ends: bool [B, T].
      valid: bool [B, T], false for padding behind the end of an episode.
      context_steps: number of steps that are fed the true code.
      seed: int32 [2] for the sampled codes.
      kernels: from ``RecurrentStack.prepare``.
      recorder: defers kernel gradients.
      temperature: divides the logits of sampled codes.
      training: lets units of the event heads drop out.
    """
    dynamics = world_model.dynamics
    length = codes.shape[1]
    state = world_model.initial_state(tf.shape(codes)[0])
    inputs = [codes[:, 0]]
    all_y, predicted = [], []
    for t in range(length - 1):
        y, state = world_model.advance(inputs[t], actions[:, t], state, kernels, recorder)
        predicted.append(dynamics.code_head.distribution(y, inputs[t]).given(rewards[:, t]))
        all_y.append(y)
        if t + 1 < context_steps:
            inputs.append(codes[:, t + 1])
        else:
            step_seed = tf.random.experimental.stateless_fold_in(seed, t)
            inputs.append(tf.stop_gradient(predicted[t].sample(step_seed, temperature)))

    # Losses of all transitions at once, time-major: [(T − 1)·B, ...].
    next_codes = tf.nest.map_structure(lambda *tensors: tf.concat(tensors, axis=0), *predicted)

    def time_major(tensor: tf.Tensor) -> tf.Tensor:
        """[B, T − 1, ...] → [(T − 1)·B, ...]."""
        swapped = tf.transpose(tensor, [1, 0, *range(2, tensor.shape.rank)])
        return tf.reshape(swapped, [-1, *tensor.shape[2:]])

    targets = time_major(codes[:, 1:])
    has_next = tf.cast(time_major(valid[:, :-1] & valid[:, 1:]), tf.float32)
    is_valid = tf.cast(time_major(valid[:, :-1]), tf.float32)
    classes = time_major(reward_classes(rewards[:, :-1]))

    transitions = Transition(
        y=tf.concat(all_y, axis=1),
        codes=tf.concat(inputs[:-1], axis=0),
        actions=time_major(actions[:, :-1]),
    )
    fold_in = tf.random.experimental.stateless_fold_in
    # Steps are folded in from 0 on.
    drop_seed = fold_in(seed, length) if training else None
    events = world_model.events(transitions, drop_seed)
    guessed = reward_classes(events.rewards.mode())
    true_ends, end_log_prob = time_major(ends[:, :-1]), tf.zeros_like(is_valid)
    end_probabilities = tf.zeros_like(is_valid)
    if events.ends:
        end_log_prob = events.ends.log_prob(true_ends)
        end_probabilities = events.ends.probability()
    watching = dynamics.disagreement_heads
    of_heads = watching.losses(transitions.y, targets) if watching else tf.zeros_like(has_next)
    return DynamicsLosses(
        latent=_masked_mean(-next_codes.log_prob(targets, fold_in(seed, length + 1)), has_next),
        reward=_masked_mean(-events.rewards.log_prob(classes), is_valid),
        end=_masked_mean(-end_log_prob, is_valid),
        disagreement_heads=_masked_mean(of_heads, has_next),
        code_accuracy=_masked_mean(_agreement(next_codes.mode(), targets), has_next),
        copy_accuracy=_masked_mean(_agreement(time_major(codes[:, :-1]), targets), has_next),
        reward_confusion=tf.math.confusion_matrix(classes, guessed, 3, is_valid, tf.float32),
        reward_probabilities=events.rewards.probabilities() * is_valid[:, tf.newaxis],
        reward_classes=tf.where(is_valid > 0.0, classes, -1),
        end_probabilities=end_probabilities,
        ends=true_ends,
    )


def _masked_mean(values: tf.Tensor, mask: tf.Tensor, axis: int | None = None) -> tf.Tensor:
    return tf.math.divide_no_nan(tf.reduce_sum(values * mask, axis), tf.reduce_sum(mask))


def _agreement(predicted: tf.Tensor, true: tf.Tensor) -> tf.Tensor:
    """Share of equal codes per grid: [N, 6, 6] twice → [N]."""
    return tf.reduce_mean(tf.cast(tf.equal(predicted, true), tf.float32), axis=[1, 2])
