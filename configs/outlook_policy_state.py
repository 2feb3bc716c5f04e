"""`quick`, with a policy that sees the world model's recurrent state: the paper's p(a | z, h), Eq. 4.

The paper writes it down and drops it, so that the policy alone needs no world model where it acts.
This one carries the dynamics along in the real game.
"""

import ml_collections

from smallwm_tf.experiment.presets import load_preset


def get_config() -> ml_collections.ConfigDict:
    _, config = load_preset("quick")
    config.ppo.sees_recurrent_state = True
    return config
