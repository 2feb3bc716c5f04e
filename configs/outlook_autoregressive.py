"""`quick` with each of the 36 codes drawn given those before it."""

import ml_collections

from smallwm_tf.experiment.presets import load_preset


def get_config() -> ml_collections.ConfigDict:
    _, config = load_preset("quick")
    config.dynamics.code_head = "autoregressive"
    return config
