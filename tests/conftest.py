"""Imported before every test module: chooses Keras 2 before one of them loads TensorFlow."""

import smallwm_tf  # noqa: F401
