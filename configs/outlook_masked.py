"""`quick` with the 36 codes filled in four rounds, each given the rounds before."""

import ml_collections

from smallwm_tf.experiment.presets import load_preset


def get_config() -> ml_collections.ConfigDict:
    _, config = load_preset("quick")
    config.dynamics.code_head = "masked"
    return config
