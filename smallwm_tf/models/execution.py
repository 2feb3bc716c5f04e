"""How the networks on the 6×6 grid are computed; the function that they compute is the same."""

from typing import NamedTuple

import tensorflow as tf


class Execution(NamedTuple):
    """Forms of convolution kernels (see ``grid_convolution``), and what XLA compiles.

    Attributes:
      training_form: of kernels that change at every step.
      dreaming_form: of kernels that serve for many steps.
      compiled: whether XLA fuses layer norms, gates and whole steps of a dream.
    """

    training_form: str
    dreaming_form: str
    compiled: bool


DIRECT = Execution("direct", "direct", compiled=False)  # the reference, best on GPUs
FAST = Execution("fewest_kernels", "fewest_products", compiled=True)  # best on CPUs


def resolve_convolution(choice: str) -> str:
    """ "auto" → "direct" where there is a GPU, else "fast"; other choices stay as they are."""
    if choice != "auto":
        return choice
    return "direct" if tf.config.list_physical_devices("GPU") else "fast"


def execution_of(choice: str) -> Execution:
    """What ``dynamics.convolution`` asks for: "auto", "direct" or "fast"."""
    return {"direct": DIRECT, "fast": FAST}[resolve_convolution(choice)]
