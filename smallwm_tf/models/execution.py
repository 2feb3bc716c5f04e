"""How the networks are computed; the function that they compute is the same up to rounding.

In bfloat16 the factors of large products are rounded to 8 significant bits. Sums, weights, Adam's
moments, normalisation, losses, softmaxes and log-normalisers stay in float32.
"""

from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from smallwm_tf.experiment.config import Config

_FAST_BFLOAT16 = {"amx_bf16", "avx512_bf16"}  # flags of processors that multiply it faster
_LEAST_COMPUTE_CAPABILITY = (8, 0)  # of GPUs that do: Ampere
_FEW = 8  # samples below which the transforms of a convolution cost more than bfloat16 products


class Execution(NamedTuple):
    """Forms of convolution kernels (see ``grid_convolution``), precision, what XLA compiles."""

    vqvae_form: str  # of the VQ-VAE's kernels
    training_form: str  # of the dynamics' kernels, which change at every step
    dreaming_form: str  # of kernels that serve for many steps
    compiled: bool  # whether XLA fuses layer norms and gates
    compiled_steps: bool  # whether it also compiles whole steps of a dream, with their products
    precision: str = "float32"  # of the factors of large products, or "bfloat16"
    strided_form: str = "direct"  # of convolutions with stride 2, or "blocks"

    @property
    def layer_dtype(self) -> str:
        """The same as Keras' layers want it: weights are float32 in either case."""
        return "mixed_bfloat16" if self.precision == "bfloat16" else "float32"


DIRECT = Execution("direct", "direct", "direct", compiled=False, compiled_steps=False)  # reference
FAST = Execution(
    "fewest_kernels", "fewest_kernels", "fewest_products", compiled=True, compiled_steps=True
)


def resolve_convolution(choice: str) -> str:
    """ "auto" → "direct" where there is a GPU, else "fast"; other choices stay as they are."""
    if choice != "auto":
        return choice
    return "direct" if tf.config.list_physical_devices("GPU") else "fast"


def resolve_precision(choice: str) -> str:
    """ "auto" → "bfloat16" where the hardware multiplies it faster; other choices stay."""
    if choice != "auto":
        return choice
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        capabilities = [each.get("compute_capability", (0, 0)) for each in details]
        return "bfloat16" if min(capabilities) >= _LEAST_COMPUTE_CAPABILITY else "float32"
    return "bfloat16" if _processor_flags() & _FAST_BFLOAT16 else "float32"


def _processor_flags() -> set[str]:
    """Instruction sets among other words; nothing where Linux does not tell."""
    try:
        return set(Path("/proc/cpuinfo").read_text(errors="replace").split())
    except OSError:
        return set()


def execution_of(config: Config) -> Execution:
    """What ``dynamics.convolution`` and ``precision`` ask for; an open "auto" is float32."""
    execution = {"direct": DIRECT, "fast": FAST}[resolve_convolution(config.dynamics.convolution)]
    if config.precision != "bfloat16":
        flags = _processor_flags()
        if execution is FAST and "avx2" in flags and "avx512f" not in flags:
            return execution._replace(strided_form="blocks")
        return execution
    return execution._replace(
        precision="bfloat16",
        vqvae_form="direct",  # Winograd's transforms would multiply the rounding
        compiled_steps=False,  # XLA's products of bfloat16 are slower than TensorFlow's
    )
