"""The spatio-temporal LSTM cell (Wang et al., 2017, "PredRNN", section 3.1).

    i, f, g    = σ, σ, tanh of W ∗ x_t + W ∗ h_{t−1}           C_t = f ⊙ C_{t−1} + i ⊙ g
    i', f', g' = σ, σ, tanh of W ∗ x_t + W ∗ M                 M'  = f' ⊙ M + i' ⊙ g'
    o          = σ of W ∗ x_t + W ∗ h_{t−1} + W ∗ [C_t, M']    h_t = o ⊙ tanh(W_1×1 ∗ [C_t, M'])

with a layer norm after each 5×5 convolution. M is the memory that the stack hands over, M' what it
hands on. Gates lie along the channels in the order i, f, g, i', f', g', o.

Shapes, grid-major: B batch, C channels of the cell.
"""

from typing import NamedTuple

import tensorflow as tf

from smallwm_tf.models.convolution_recorder import ConvolutionRecorder
from smallwm_tf.models.convolutional_cell import convolve_with
from smallwm_tf.models.execution import Execution
from smallwm_tf.models.grid_convolution import NUM_CELLS, GridConvolution
from smallwm_tf.models.grid_normalization import normalize
from smallwm_tf.models.memory_cell import MemoryCell, MemoryCellState, updated


class GateParameters(NamedTuple):
    """Those of the gates of both memories that are not a convolution kernel."""

    input_scale: tf.Tensor  # [36, 1, 7C]
    input_offset: tf.Tensor
    hidden_scale: tf.Tensor  # [36, 1, 4C]
    hidden_offset: tf.Tensor
    memory_scale: tf.Tensor  # [36, 1, 3C]
    memory_offset: tf.Tensor
    bias: tf.Tensor  # [7C]


def new_memories(
    from_inputs: tf.Tensor,
    from_hidden: tf.Tensor,
    from_memory: tf.Tensor,
    cell: tf.Tensor,
    memory: tf.Tensor,
    parameters: GateParameters,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """C_t, M' and the output gate's sum without its part of them, [36, B, C] each."""
    p, channels = parameters, cell.shape[-1]
    by_inputs = normalize(from_inputs, p.input_scale, p.input_offset) + p.bias
    by_hidden = normalize(from_hidden, p.hidden_scale, p.hidden_offset)
    by_memory = normalize(from_memory, p.memory_scale, p.memory_offset)
    of_cell, of_memory, of_output = tf.split(by_inputs, [3 * channels, 3 * channels, channels], -1)
    cell_by_hidden, output_by_hidden = tf.split(by_hidden, [3 * channels, channels], -1)
    return (
        updated(cell, of_cell + cell_by_hidden),
        updated(memory, of_memory + by_memory),
        of_output + output_by_hidden,
    )


_compiled_new_memories = tf.function(new_memories, jit_compile=True)


class STLSTMCell(MemoryCell):
    """ST-LSTM cell with a layer norm after each 5×5 convolution."""

    def __init__(self, channels: int, execution: Execution, **kwargs):
        super().__init__(channels, execution, **kwargs)
        self._new_memories = _compiled_new_memories if execution.compiled else new_memories
        self.conv_x = self.convolution("conv_x", 7)
        self.conv_h = self.convolution("conv_h", 4)
        self.conv_m = self.convolution("conv_m", 3)
        self.conv_o = self.convolution("conv_o", 1)

    def build(self, input_shape):
        self.conv_x.build([NUM_CELLS, None, input_shape[-1]])
        self.conv_h.build([NUM_CELLS, None, self.channels])
        self.conv_m.build([NUM_CELLS, None, self.channels])
        self.conv_o.build([NUM_CELLS, None, 2 * self.channels])
        self.gate_parameters = GateParameters(
            *self.norm("input", 7),
            *self.norm("hidden", 4),
            *self.norm("memory", 3),
            bias=self.gate_biases(7),
        )
        super().build(input_shape)

    @property
    def convolutions(self) -> tuple[GridConvolution, ...]:
        return self.conv_x, self.conv_h, self.conv_m, self.conv_o

    def call(
        self,
        inputs: tf.Tensor,
        state: MemoryCellState,
        memory: tf.Tensor,
        prepared: tuple[tf.Tensor, ...] | None = None,
        recorder: ConvolutionRecorder | None = None,
    ) -> tuple[MemoryCellState, tf.Tensor]:
        """The state after one more step, whose ``hidden`` is the output, and M'.

        Args:
          inputs: x_t, grid-major.
          state: after the previous step.
          memory: M, [36, B, C].
          prepared: from ``prepare``, to share it between steps.
          recorder: defers the kernels' gradients; without it they flow as usual.
        """
        kernel_x, kernel_h, kernel_m, kernel_o = prepared or self.prepare()
        convolve = convolve_with(recorder)
        cell, memory, of_output = self._new_memories(
            convolve(self.conv_x, inputs, kernel_x),
            convolve(self.conv_h, state.hidden, kernel_h),
            convolve(self.conv_m, memory, kernel_m),
            state.cell,
            memory,
            GateParameters(*map(tf.convert_to_tensor, self.gate_parameters)),
        )
        memories = tf.concat([cell, memory], axis=-1)
        from_memories = convolve(self.conv_o, memories, kernel_o)
        hidden = self.read(tf.sigmoid, of_output, from_memories, memories)
        return MemoryCellState(hidden, cell), memory
