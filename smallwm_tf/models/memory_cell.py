"""What cells share that have a second memory, which a stack hands from one to the next.

Such a cell has a memory of its own, C, and is given the stack's, M (Wang et al., 2017): that of the
cell below, or at the bottom that of the top cell one step before. Its output reads both.

Shapes, grid-major: B batch, C channels of the cell.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from smallwm_tf.models import grid_normalization, initializers
from smallwm_tf.models.convolutional_cell import FORGET_BIAS, ConvolutionalCell
from smallwm_tf.models.execution import Execution
from smallwm_tf.models.grid_convolution import NUM_CELLS


class MemoryCellState(NamedTuple):
    """What one cell keeps; both [36, B, C], zero at the start of a sequence."""

    hidden: tf.Tensor
    cell: tf.Tensor


class OutputParameters(NamedTuple):
    """Everything in a cell's output that is not a 5×5 kernel."""

    scale: tf.Tensor  # [36, 1, C]
    offset: tf.Tensor
    reduction: tf.Tensor  # 1×1 kernel, [2C, C]


def updated(memory: tf.Tensor, summed: tf.Tensor) -> tf.Tensor:
    """A memory [36, B, C] after the gates input, forget, candidate, whose sums are [36, B, 3C]."""
    input_gate, forget_gate, candidate = tf.split(summed, 3, axis=-1)
    kept = tf.sigmoid(forget_gate + FORGET_BIAS) * memory
    return kept + tf.sigmoid(input_gate) * tf.tanh(candidate)


def read_memories(
    activation: Callable[[tf.Tensor], tf.Tensor],
    summed: tf.Tensor,
    from_memories: tf.Tensor,
    memories: tf.Tensor,
    parameters: OutputParameters,
) -> tf.Tensor:
    """h_t [36, B, C].

    Args:
      activation: of the output gate.
      summed: of the output gate, all but ``from_memories``, [36, B, C].
      from_memories: the gate's convolution of new memories, [36, B, C].
      memories: C_t and M_t, [36, B, 2C].
      parameters: of the output.
    """
    p = parameters
    gate = activation(summed + grid_normalization.normalize(from_memories, p.scale, p.offset))
    return gate * tf.tanh(tf.tensordot(memories, p.reduction, axes=1))


_compiled_read_memories = tf.function(read_memories, jit_compile=True)


class MemoryCell(ConvolutionalCell):
    """A cell whose ``call`` is given the stack's memory and returns it changed."""

    def __init__(self, channels: int, execution: Execution, **kwargs):
        super().__init__(channels, execution, **kwargs)
        self._read = _compiled_read_memories if execution.compiled else read_memories

    def build(self, input_shape):
        shape = [2 * self.channels, self.channels]
        initializer = initializers.kernel_initializer()
        self.output_parameters = OutputParameters(
            *self.norm("output", 1),
            reduction=self.add_weight(name="reduction", shape=shape, initializer=initializer),
        )
        super().build(input_shape)

    def initial_state(self, batch_size: int | tf.Tensor) -> MemoryCellState:
        """Zeros, [36, B, C] each."""
        return MemoryCellState(*([tf.zeros([NUM_CELLS, batch_size, self.channels])] * 2))

    def read(
        self,
        activation: Callable[[tf.Tensor], tf.Tensor],
        summed: tf.Tensor,
        from_memories: tf.Tensor,
        memories: tf.Tensor,
    ) -> tf.Tensor:
        """See ``read_memories``."""
        parameters = OutputParameters(*map(tf.convert_to_tensor, self.output_parameters))
        return self._read(activation, summed, from_memories, memories, parameters)
