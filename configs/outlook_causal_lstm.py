"""`quick` with the cells and the gradient highway of PredRNN++: the paper's outlook, measured."""

import ml_collections

from smallwm_tf.experiment.presets import load_preset


def get_config() -> ml_collections.ConfigDict:
    _, config = load_preset("quick")
    config.dynamics.cell = "causal_lstm"
    return config
