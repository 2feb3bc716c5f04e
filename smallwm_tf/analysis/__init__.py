"""Scores and figures of a run. Nothing here loads TensorFlow."""
