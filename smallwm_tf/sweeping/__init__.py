"""Many runs: which, where they stand, and carrying them out side by side. No TensorFlow here."""


class SweepError(ValueError):
    """A sweep that cannot be carried out as asked; the message is one line with the remedy."""
