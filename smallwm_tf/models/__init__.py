"""Keras layers and models; nothing here trains."""
