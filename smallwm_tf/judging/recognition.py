"""Whether the codes of a real transition still tell what it paid."""

import numpy as np
import tensorflow as tf

from smallwm_tf.judging.held_out import Recognition, recognition_of
from smallwm_tf.learning.replay import Replay
from smallwm_tf.models.event_heads import reward_classes
from smallwm_tf.models.world_model import WorldModel

_TRANSITIONS_AT_ONCE = 100


def recognise(world_model: WorldModel, replay: Replay) -> Recognition:
    """Lets the world model's recognition head look at both observations of every transition.

    Those inside episodes count.
    """
    vqvae, head = world_model.vqvae, world_model.recognition_head

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)], autograph=False)
    def probabilities(steps):
        vectors = [
            vqvae.quantizer.lookup(vqvae.encode(replay.observations(s, vqvae.num_stacked_frames)))
            for s in (steps, steps + 1)
        ]
        return head.distribution(*vectors, tf.gather(replay.actions, steps)).probabilities()

    is_last = replay.terminated.numpy() | replay.truncated.numpy()
    steps = np.flatnonzero(~is_last[: replay.size - 1]).astype(np.int32)
    parts = np.split(steps, range(_TRANSITIONS_AT_ONCE, len(steps), _TRANSITIONS_AT_ONCE))
    told = np.concatenate([probabilities(part).numpy() for part in parts])
    return recognition_of(told, reward_classes(tf.gather(replay.rewards, steps)).numpy())
