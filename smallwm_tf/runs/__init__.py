"""What a run leaves on disk. Only JSON and plain arrays are read back: nothing executable."""


class RunError(RuntimeError):
    """The run directory cannot be used as it is; the message is one line with the remedy."""
