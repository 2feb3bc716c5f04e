"""What the recurrent cells of the dynamics share: 5×5 convolutions, layer norms, biases of gates.

Shapes, grid-major: B batch, C channels of the cell.
"""

from collections.abc import Callable

import tensorflow as tf
import tf_keras

from smallwm_tf.models import initializers
from smallwm_tf.models.convolution_recorder import ConvolutionRecorder
from smallwm_tf.models.execution import Execution
from smallwm_tf.models.grid_convolution import NUM_CELLS, GridConvolution

KERNEL_SIZE = 5
FORGET_BIAS = 1.0


class ConvolutionalCell(tf_keras.layers.Layer):
    """Base of the cells; each makes its own convolutions and weights out of what stands here."""

    def __init__(self, channels: int, execution: Execution, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels
        self._form, self._precision = execution.training_form, execution.precision

    def convolution(self, name: str, num_gates: int) -> GridConvolution:
        """One that serves so many gates, without a bias."""
        filters = num_gates * self.channels
        return GridConvolution(
            filters, KERNEL_SIZE, self._form, precision=self._precision, name=name
        )

    def norm(self, name: str, num_gates: int) -> tuple[tf.Variable, tf.Variable]:
        """Scale and offset of a layer norm, [36, 1, num_gates · C]."""
        shape = [NUM_CELLS, 1, num_gates * self.channels]
        return (
            self.add_weight(name=f"{name}_scale", shape=shape, initializer="ones"),
            self.add_weight(name=f"{name}_offset", shape=shape, initializer="zeros"),
        )

    def gate_biases(self, num_gates: int) -> tf.Variable:
        """[num_gates · C]."""
        initializer = initializers.bias_initializer(self.channels * KERNEL_SIZE**2)
        shape = [num_gates * self.channels]
        return self.add_weight(name="bias", shape=shape, initializer=initializer)

    @property
    def convolutions(self) -> tuple[GridConvolution, ...]:
        """In the order of the kernels that ``prepare`` gives."""
        raise NotImplementedError

    @property
    def recorded_kernels(self) -> list[tf.Variable]:
        """Kernels whose gradients a ``ConvolutionRecorder`` forms."""
        return [layer.kernel for layer in self.convolutions]

    def prepare(self, form: str | None = None) -> tuple[tf.Tensor, ...]:
        """Kernels for ``call``, see ``GridConvolution.prepare``; valid until a gradient step."""
        return tuple(layer.prepare(form) for layer in self.convolutions)


def convolve_with(recorder: ConvolutionRecorder | None) -> Callable[..., tf.Tensor]:
    """(layer, inputs, prepared kernel) → outputs; the recorder, if any, defers the gradients."""
    return recorder or (lambda layer, inputs, kernel: layer(inputs, kernel))
