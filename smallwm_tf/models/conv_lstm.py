"""The convolutional LSTM cell of the dynamics network (section 3.3, Fig. 3).

Shapes, grid-major: B batch, C channels of the cell. Gates lie along the channels in the order
input, forget, candidate, output.
"""

from typing import NamedTuple

import tensorflow as tf
import tf_keras

from smallwm_tf.models import grid_normalization
from smallwm_tf.models.convolution_recorder import ConvolutionRecorder
from smallwm_tf.models.convolutional_cell import FORGET_BIAS, ConvolutionalCell, convolve_with
from smallwm_tf.models.execution import Execution
from smallwm_tf.models.grid_convolution import NUM_CELLS, GridConvolution


class ConvLSTMState(NamedTuple):
    """Recurrent state of one cell; both [36, B, C], zero at the start of a sequence."""

    hidden: tf.Tensor
    cell: tf.Tensor


class GateParameters(NamedTuple):
    """Everything in the cell that is not a convolution kernel."""

    input_scale: tf.Tensor  # [36, 1, 4C]
    input_offset: tf.Tensor
    hidden_scale: tf.Tensor
    hidden_offset: tf.Tensor
    bias: tf.Tensor  # [4C]
    input_peephole: tf.Tensor  # [C]
    forget_peephole: tf.Tensor
    output_peephole: tf.Tensor


def gates(
    from_inputs: tf.Tensor, from_hidden: tf.Tensor, cell: tf.Tensor, parameters: GateParameters
) -> tuple[tf.Tensor, tf.Tensor]:
    """h_t and c_t [36, B, C]: everything of a step after the two convolutions [36, B, 4C]."""
    p = parameters
    summed = (
        grid_normalization.normalize(from_inputs, p.input_scale, p.input_offset)
        + grid_normalization.normalize(from_hidden, p.hidden_scale, p.hidden_offset)
        + p.bias
    )
    input_gate, forget_gate, candidate, output_gate = tf.split(summed, 4, axis=-1)
    input_gate = tf.sigmoid(input_gate + p.input_peephole * cell)
    forget_gate = tf.sigmoid(forget_gate + p.forget_peephole * cell + FORGET_BIAS)
    new_cell = forget_gate * cell + input_gate * tf.tanh(candidate)
    output_gate = tf.sigmoid(output_gate + p.output_peephole * new_cell)
    return output_gate * tf.tanh(new_cell), new_cell


# Op by op, layer norms and gates cost more than the fast convolutions; XLA fuses them.
_compiled_gates = tf.function(gates, jit_compile=True)


class ConvLSTMCell(ConvolutionalCell):
    """ConvLSTM cell with a layer norm after each convolution and elementwise peepholes."""

    def __init__(self, channels: int, execution: Execution, **kwargs):
        super().__init__(channels, execution, **kwargs)
        self._gates = _compiled_gates if execution.compiled else gates
        self.conv_x, self.conv_h = (self.convolution(name, 4) for name in ("conv_x", "conv_h"))

    def build(self, input_shape):
        self.conv_x.build([NUM_CELLS, None, input_shape[-1]])
        self.conv_h.build([NUM_CELLS, None, self.channels])

        def peephole(name: str) -> tf.Variable:
            # The paper is silent; the authors draw peepholes from a unit normal distribution.
            unit_normal = tf_keras.initializers.RandomNormal(stddev=1.0)
            return self.add_weight(name=name, shape=[self.channels], initializer=unit_normal)

        self.gate_parameters = GateParameters(
            *self.norm("input", 4),
            *self.norm("hidden", 4),
            bias=self.gate_biases(4),
            input_peephole=peephole("input_peephole"),
            forget_peephole=peephole("forget_peephole"),
            output_peephole=peephole("output_peephole"),
        )
        super().build(input_shape)

    @property
    def convolutions(self) -> tuple[GridConvolution, ...]:
        return self.conv_x, self.conv_h

    def initial_state(self, batch_size: int | tf.Tensor) -> ConvLSTMState:
        """Zeros, [36, B, C] each."""
        zeros = tf.zeros([NUM_CELLS, batch_size, self.channels])
        return ConvLSTMState(zeros, zeros)

    def call(
        self,
        inputs: tf.Tensor,
        state: ConvLSTMState,
        prepared: tuple[tf.Tensor, tf.Tensor] | None = None,
        recorder: ConvolutionRecorder | None = None,
    ) -> ConvLSTMState:
        """The state after one more step with inputs [36, B, C_in]; its ``hidden`` is the output.

        Args:
          inputs: grid-major.
          state: after the previous step.
          prepared: from ``prepare``, to share it between steps.
          recorder: defers the kernels' gradients; without it they flow as usual.
        """
        kernel_x, kernel_h = self.prepare() if prepared is None else prepared
        convolve = convolve_with(recorder)
        from_inputs = convolve(self.conv_x, inputs, kernel_x)
        from_hidden = convolve(self.conv_h, state.hidden, kernel_h)
        parameters = GateParameters(*(tf.convert_to_tensor(p) for p in self.gate_parameters))
        return ConvLSTMState(*self._gates(from_inputs, from_hidden, state.cell, parameters))
