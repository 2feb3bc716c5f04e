"""Trained networks as SavedModels that need TensorFlow alone, and the way back."""
