"""Lets the codes keep what pays: recognising rewards in real transitions (not in the paper).

Half of a VQ-VAE batch are observations of steps t, the other half those of t + 1. Some of the
transitions are drawn among those with a reward, and the logits are corrected for that, so that the
head learns true frequencies:

    drawn                share 1 − s among all transitions, s among those with a reward
    frequencies          p(0) becomes p(0)·(1 − s), p(±1) becomes p(±1)·(1 − s + s / (p(−1) + p(1)))

Most of the loss is of the encoder's vectors before they are quantised: a small change of the image,
such as that of a score's digit, has to grow there before it can change a code.

Shapes: B transitions, D embedding size.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from smallwm_tf.experiment.config import Config
from smallwm_tf.experiment.randomness import seed_pair
from smallwm_tf.learning.adam import built_adam
from smallwm_tf.learning.replay import Replay
from smallwm_tf.models.event_heads import RecognitionHead, RewardDistribution, reward_classes
from smallwm_tf.models.vector_quantizer import Quantized

_LEARNING_RATE = 1e-3
_CONTINUOUS_SHARE = 0.8  # of the loss, of vectors that are not quantised


class Transitions(NamedTuple):
    """Real transitions; their observations are those of the steps, then those of the next ones."""

    steps: tf.Tensor  # int32 [2·B]
    actions: tf.Tensor  # int32 [B]
    classes: tf.Tensor  # of rewards, int32 [B]
    has_next: tf.Tensor  # bool [B]; where it is not, the next step is of another episode


class EventRecognition(tf.Module):
    """The recognition head's loss on transitions of the replay, and its optimiser."""

    def __init__(self, head: RecognitionHead, replay: Replay, config: Config, seed: int):
        super().__init__(name="event_recognition")
        self.head = head
        self._replay = replay
        self._seed = seed_pair(seed, "event_recognition")
        self._num_transitions = config.vqvae.batch_size // 2
        self._num_events = round(config.vqvae.event_share * self._num_transitions)
        self.optimizer = built_adam(config, _LEARNING_RATE, head.trainable_variables)
        self._events = tf.Variable([0], shape=[None], trainable=False, name="events")
        self._correction = tf.Variable(tf.zeros([3]), trainable=False, name="correction")

    def find_events(self) -> None:
        """Looks through the replay for transitions with a reward."""
        replay = self._replay
        size = replay.size
        has_next = ~(replay.terminated.numpy() | replay.truncated.numpy())[: size - 1]
        classes = reward_classes(replay.rewards[: size - 1]).numpy()
        events = np.flatnonzero(has_next & (classes != 1))
        share = self._num_events / self._num_transitions
        chances = np.full(3, 1.0 - share)
        if len(events):
            chances[[0, 2]] += share * has_next.sum() / len(events)
        else:  # all are drawn among all
            events, chances = np.arange(size - 1), np.ones(3)
        self._events.assign(events.astype(np.int32))
        self._correction.assign(np.log(chances).astype(np.float32))

    def draw(self, steps: tf.Tensor, number: tf.Tensor) -> Transitions:
        """Transitions for an update: from these steps [n], n ≥ B, and from those with a reward.

        The number is that of the update.
        """
        replay, last = self._replay, self._replay.size_variable - 1
        size, count = tf.shape(self._events)[0], [self._num_events]
        drawn = tf.random.stateless_uniform(count, self._pair(number), 0, size, tf.int32)
        among_all = steps[: self._num_transitions - self._num_events]
        begun = tf.concat([among_all, tf.gather(self._events, drawn)], axis=0)
        is_last = tf.gather(replay.terminated, begun) | tf.gather(replay.truncated, begun)
        return Transitions(
            steps=tf.concat([begun, tf.minimum(begun + 1, last)], axis=0),
            actions=tf.gather(replay.actions, begun),
            classes=reward_classes(tf.gather(replay.rewards, begun)),
            has_next=~is_last & (begun < last),
        )

    def loss(self, vectors: Quantized, transitions: Transitions, number: tf.Tensor) -> tf.Tensor:
        """Mean nats per transition; vectors [2·B, 6, 6, D] of the transitions' steps."""
        pairs = tf.unstack(tf.random.experimental.stateless_split(self._pair(number), 2))
        discrete = self._nats(vectors.quantized, transitions, pairs[0])
        continuous = self._nats(vectors.inputs, transitions, pairs[1])
        return (1.0 - _CONTINUOUS_SHARE) * discrete + _CONTINUOUS_SHARE * continuous

    def _nats(self, vectors: tf.Tensor, transitions: Transitions, pair: tf.Tensor) -> tf.Tensor:
        before, after = tf.split(vectors, 2)
        told = self.head.distribution(before, after, transitions.actions, pair)
        corrected = RewardDistribution(told.logits + self._correction)
        counts = tf.cast(transitions.has_next, tf.float32)
        nats = -corrected.log_prob(transitions.classes)
        return tf.math.divide_no_nan(tf.reduce_sum(nats * counts), tf.reduce_sum(counts))

    def _pair(self, number: tf.Tensor) -> tf.Tensor:
        return tf.random.experimental.stateless_fold_in(self._seed, number)
