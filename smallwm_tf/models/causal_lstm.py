"""The causal LSTM cell (Wang et al., 2018, "PredRNN++", section 3.1), whose memories are cascaded.

    i, f, g    = σ, σ, tanh of W_1 ∗ [x_t, h_{t−1}, C_{t−1}]    C_t = f ⊙ C_{t−1} + i ⊙ g
    i', f', g' = σ, σ, tanh of W_2 ∗ [x_t, C_t, M]              M'  = f' ⊙ tanh(W_3 ∗ M) + i' ⊙ g'
    o          = tanh of W_4 ∗ [x_t, C_t, M']                   h_t = o ⊙ tanh(W_5 ∗ [C_t, M'])

with W_5 1×1. The 5×5 convolutions are made by what they convolve, x_t, h_{t−1}, C_{t−1}, M, C_t and
M', each followed by a layer norm. M is the memory that the stack hands over, M' what it hands on.
Gates lie along the channels in the order i, f, g, i', f', g', o; W_3 comes last.

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


class CellParameters(NamedTuple):
    """Those of the gates of C_t that are not a convolution kernel."""

    input_scale: tf.Tensor  # [36, 1, 7C], of all gates
    input_offset: tf.Tensor
    hidden_scale: tf.Tensor  # [36, 1, 3C]
    hidden_offset: tf.Tensor
    cell_scale: tf.Tensor  # [36, 1, 3C]
    cell_offset: tf.Tensor
    bias: tf.Tensor  # [7C], of all gates


class MemoryParameters(NamedTuple):
    """Those of the gates of M'."""

    memory_scale: tf.Tensor  # [36, 1, 4C]
    memory_offset: tf.Tensor
    new_cell_scale: tf.Tensor  # [36, 1, 4C]
    new_cell_offset: tf.Tensor


def new_cell(
    from_inputs: tf.Tensor,
    from_hidden: tf.Tensor,
    from_cell: tf.Tensor,
    cell: tf.Tensor,
    parameters: CellParameters,
) -> tuple[tf.Tensor, tf.Tensor]:
    """C_t [36, B, C], and what x_t adds to i', f', g', o [36, B, 4C]."""
    p, channels = parameters, cell.shape[-1]
    by_inputs = normalize(from_inputs, p.input_scale, p.input_offset) + p.bias
    of_cell, of_others = tf.split(by_inputs, [3 * channels, 4 * channels], axis=-1)
    by_hidden = normalize(from_hidden, p.hidden_scale, p.hidden_offset)
    by_cell = normalize(from_cell, p.cell_scale, p.cell_offset)
    return updated(cell, of_cell + by_hidden + by_cell), of_others


def new_memory(
    by_inputs: tf.Tensor,
    from_memory: tf.Tensor,
    from_new_cell: tf.Tensor,
    parameters: MemoryParameters,
) -> tuple[tf.Tensor, tf.Tensor]:
    """M' and the output gate's sum without its part of M', [36, B, C] each."""
    p, sizes = parameters, [3 * (by_inputs.shape[-1] // 4), by_inputs.shape[-1] // 4]
    by_new_cell = normalize(from_new_cell, p.new_cell_scale, p.new_cell_offset)
    by_memory = normalize(from_memory, p.memory_scale, p.memory_offset)
    of_memory, of_output = tf.split(by_inputs + by_new_cell, sizes, axis=-1)
    gates_by_memory, transition = tf.split(by_memory, sizes, axis=-1)
    return updated(tf.tanh(transition), of_memory + gates_by_memory), of_output


_compiled_new_cell = tf.function(new_cell, jit_compile=True)
_compiled_new_memory = tf.function(new_memory, jit_compile=True)


class CausalLSTMCell(MemoryCell):
    """Causal LSTM cell with a layer norm after each 5×5 convolution."""

    def __init__(self, channels: int, execution: Execution, **kwargs):
        super().__init__(channels, execution, **kwargs)
        self._new_cell = _compiled_new_cell if execution.compiled else new_cell
        self._new_memory = _compiled_new_memory if execution.compiled else new_memory
        self.conv_x = self.convolution("conv_x", 7)
        self.conv_h = self.convolution("conv_h", 3)
        self.conv_c = self.convolution("conv_c", 3)
        self.conv_m = self.convolution("conv_m", 4)
        self.conv_new_c = self.convolution("conv_new_c", 4)
        self.conv_new_m = self.convolution("conv_new_m", 1)

    def build(self, input_shape):
        self.conv_x.build([NUM_CELLS, None, input_shape[-1]])
        for layer in self.convolutions[1:]:
            layer.build([NUM_CELLS, None, self.channels])
        self.cell_parameters = CellParameters(
            *self.norm("input", 7),
            *self.norm("hidden", 3),
            *self.norm("cell", 3),
            bias=self.gate_biases(7),
        )
        self.memory_parameters = MemoryParameters(
            *self.norm("memory", 4), *self.norm("new_cell", 4)
        )
        super().build(input_shape)

    @property
    def convolutions(self) -> tuple[GridConvolution, ...]:
        before = (self.conv_x, self.conv_h, self.conv_c, self.conv_m)
        return *before, self.conv_new_c, self.conv_new_m

    def call(
        self,
        inputs: tf.Tensor,
        state: MemoryCellState,
        memory: tf.Tensor,
        prepared: tuple[tf.Tensor, ...] | None = None,
        recorder: ConvolutionRecorder | None = None,
    ) -> tuple[MemoryCellState, tf.Tensor]:
        """See ``STLSTMCell.call``."""
        kernel_x, kernel_h, kernel_c, kernel_m, *new_kernels = prepared or self.prepare()
        convolve = convolve_with(recorder)
        cell, by_inputs = self._new_cell(
            convolve(self.conv_x, inputs, kernel_x),
            convolve(self.conv_h, state.hidden, kernel_h),
            convolve(self.conv_c, state.cell, kernel_c),
            state.cell,
            CellParameters(*map(tf.convert_to_tensor, self.cell_parameters)),
        )
        memory, of_output = self._new_memory(
            by_inputs,
            convolve(self.conv_m, memory, kernel_m),
            convolve(self.conv_new_c, cell, new_kernels[0]),
            MemoryParameters(*map(tf.convert_to_tensor, self.memory_parameters)),
        )
        from_memory = convolve(self.conv_new_m, memory, new_kernels[1])
        memories = tf.concat([cell, memory], axis=-1)
        hidden = self.read(tf.tanh, of_output, from_memory, memories)
        return MemoryCellState(hidden, cell), memory
