"""Flags, one-line errors, and TensorFlow's quiet start; for the commands only."""
