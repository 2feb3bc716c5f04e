"""TensorFlow's start in a command; its notices are tested in tests/test_environment.py."""

import tensorflow as tf

from smallwm_tf.cli.tensorflow_start import load_tensorflow


def test_gpus_are_not_taken_whole(monkeypatch):
    grown = {}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"{kind} 0", f"{kind} 1"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", grown.__setitem__)
    load_tensorflow()
    assert grown == {"GPU 0": True, "GPU 1": True}
