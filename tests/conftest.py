"""Imported before every test module: chooses Keras 2 before one of them loads TensorFlow."""

import smallwm_tf  # noqa: F401


def pytest_collection_modifyitems():
    """Before the first test: no graph optimiser.

    Tests run many graphs a few times each; optimising them takes longer than it saves. Commands
    that are started as processes of their own run as a user's do.
    """
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
