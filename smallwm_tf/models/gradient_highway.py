"""The gradient highway unit between two cells (Wang et al., 2018, "PredRNN++", section 3.2).

    P = tanh(W ∗ x_t + W ∗ Z_{t−1})
    S = σ(W ∗ x_t + W ∗ Z_{t−1})
    Z_t = S ⊙ P + (1 − S) ⊙ Z_{t−1}

with a layer norm after each convolution; x_t is the output of the cell below, Z_t the input of the
one above. Gates lie along the channels in the order P, S.

Shapes, grid-major: B batch, C channels of the unit.
"""

from typing import NamedTuple

import tensorflow as tf

from smallwm_tf.models.convolution_recorder import ConvolutionRecorder
from smallwm_tf.models.convolutional_cell import ConvolutionalCell, convolve_with
from smallwm_tf.models.execution import Execution
from smallwm_tf.models.grid_convolution import NUM_CELLS, GridConvolution
from smallwm_tf.models.grid_normalization import normalize


class HighwayState(NamedTuple):
    """Z_t [36, B, C], zero at the start of a sequence."""

    hidden: tf.Tensor


class GateParameters(NamedTuple):
    """Everything in the unit that is not a convolution kernel."""

    input_scale: tf.Tensor  # [36, 1, 2C]
    input_offset: tf.Tensor
    hidden_scale: tf.Tensor
    hidden_offset: tf.Tensor
    bias: tf.Tensor  # [2C]


def gates(
    from_inputs: tf.Tensor, from_hidden: tf.Tensor, hidden: tf.Tensor, parameters: GateParameters
) -> tf.Tensor:
    """Z_t [36, B, C]: everything of a step after the two convolutions [36, B, 2C]."""
    p = parameters
    summed = (
        normalize(from_inputs, p.input_scale, p.input_offset)
        + normalize(from_hidden, p.hidden_scale, p.hidden_offset)
        + p.bias
    )
    candidate, switch = tf.split(summed, 2, axis=-1)
    switch = tf.sigmoid(switch)
    return switch * tf.tanh(candidate) + (1.0 - switch) * hidden


_compiled_gates = tf.function(gates, jit_compile=True)


class GradientHighway(ConvolutionalCell):
    """A cell that lets its state pass by the gates, so that gradients reach far back in time."""

    def __init__(self, channels: int, execution: Execution, **kwargs):
        super().__init__(channels, execution, **kwargs)
        self._gates = _compiled_gates if execution.compiled else gates
        self.conv_x, self.conv_h = (self.convolution(name, 2) for name in ("conv_x", "conv_h"))

    def build(self, input_shape):
        self.conv_x.build([NUM_CELLS, None, input_shape[-1]])
        self.conv_h.build([NUM_CELLS, None, self.channels])
        self.gate_parameters = GateParameters(
            *self.norm("input", 2), *self.norm("hidden", 2), bias=self.gate_biases(2)
        )
        super().build(input_shape)

    @property
    def convolutions(self) -> tuple[GridConvolution, ...]:
        return self.conv_x, self.conv_h

    def initial_state(self, batch_size: int | tf.Tensor) -> HighwayState:
        """Zeros."""
        return HighwayState(tf.zeros([NUM_CELLS, batch_size, self.channels]))

    def call(
        self,
        inputs: tf.Tensor,
        state: HighwayState,
        prepared: tuple[tf.Tensor, ...] | None = None,
        recorder: ConvolutionRecorder | None = None,
    ) -> HighwayState:
        """See ``ConvLSTMCell.call``."""
        kernel_x, kernel_h = prepared or self.prepare()
        convolve = convolve_with(recorder)
        from_inputs = convolve(self.conv_x, inputs, kernel_x)
        from_hidden = convolve(self.conv_h, state.hidden, kernel_h)
        parameters = GateParameters(*map(tf.convert_to_tensor, self.gate_parameters))
        return HighwayState(self._gates(from_inputs, from_hidden, state.hidden, parameters))
