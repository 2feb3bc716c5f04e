"""The convolutional LSTM cell of the dynamics network (section 3.3, Fig. 3).

Shapes, grid-major: B batch, C channels of the cell. Gates lie along the channels in the order
input, forget, candidate, output.
"""

from typing import NamedTuple

import tensorflow as tf
import tf_keras

from smallwm_tf.models import grid_normalization, initializers
from smallwm_tf.models.execution import Execution
from smallwm_tf.models.grid_convolution import NUM_CELLS, GridConvolution, convolve_constant

KERNEL_SIZE = 5
FORGET_BIAS = 1.0


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


class _RecordedCalls(NamedTuple):
    layer: GridConvolution
    inputs: list[tf.Tensor]
    taps: list[tf.Tensor]


class ConvolutionRecorder:
    """Records what each convolution was given, so that kernel gradients are formed once.

    A zero tensor ("tap") is added to every convolution's output, whose gradient is then the tap's;
    ``kernel_gradients`` stacks them over the time steps. Use it inside a ``tf.GradientTape``.
    """

    def __init__(self, tape: tf.GradientTape):
        self._tape = tape
        self._calls: dict[int, _RecordedCalls] = {}  # by identity of the layer

    def __call__(
        self, layer: GridConvolution, inputs: tf.Tensor, prepared_kernel: tf.Tensor
    ) -> tf.Tensor:
        """Convolves with a constant kernel and remembers the call."""
        outputs = convolve_constant(inputs, prepared_kernel, layer.kernel_size)
        tap = tf.zeros_like(outputs)
        self._tape.watch(tap)
        calls = self._calls.setdefault(id(layer), _RecordedCalls(layer, [], []))
        calls.inputs.append(tf.stop_gradient(inputs))
        calls.taps.append(tap)
        return outputs + tap

    @property
    def taps(self) -> list[list[tf.Tensor]]:
        """Taps by layer and call, to be differentiated with respect to."""
        return [calls.taps for calls in self._calls.values()]

    def kernel_gradients(
        self, tap_gradients: list[list[tf.Tensor]]
    ) -> list[tuple[tf.Tensor, tf.Variable]]:
        """Pairs of kernel gradient and kernel, from the gradients of ``taps``."""
        pairs = []
        for calls, gradients in zip(self._calls.values(), tap_gradients, strict=True):
            used = [(x, g) for x, g in zip(calls.inputs, gradients, strict=True) if g is not None]
            inputs, outputs = (tf.concat(tensors, axis=1) for tensors in zip(*used, strict=True))
            pairs.append((calls.layer.kernel_gradient(inputs, outputs), calls.layer.kernel))
        return pairs


class ConvLSTMCell(tf_keras.layers.Layer):
    """ConvLSTM cell with a layer norm after each convolution and elementwise peepholes."""

    def __init__(self, channels: int, execution: Execution, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels
        self._gates = _compiled_gates if execution.compiled else gates
        self.conv_x, self.conv_h = (
            GridConvolution(
                4 * channels,
                KERNEL_SIZE,
                execution.training_form,
                precision=execution.precision,
                name=name,
            )
            for name in ("conv_x", "conv_h")
        )

    def build(self, input_shape):
        self.conv_x.build([NUM_CELLS, None, input_shape[-1]])
        self.conv_h.build([NUM_CELLS, None, self.channels])

        def weight(name: str, shape: list[int], initializer) -> tf.Variable:
            return self.add_weight(name=name, shape=shape, initializer=initializer)

        def peephole(name: str) -> tf.Variable:
            # The paper is silent; the authors draw peepholes from a unit normal distribution.
            return weight(name, [self.channels], tf_keras.initializers.RandomNormal(stddev=1.0))

        norm_shape = [NUM_CELLS, 1, 4 * self.channels]
        bias = initializers.bias_initializer(self.channels * KERNEL_SIZE**2)
        self.gate_parameters = GateParameters(
            input_scale=weight("input_scale", norm_shape, "ones"),
            input_offset=weight("input_offset", norm_shape, "zeros"),
            hidden_scale=weight("hidden_scale", norm_shape, "ones"),
            hidden_offset=weight("hidden_offset", norm_shape, "zeros"),
            bias=weight("bias", [4 * self.channels], bias),
            input_peephole=peephole("input_peephole"),
            forget_peephole=peephole("forget_peephole"),
            output_peephole=peephole("output_peephole"),
        )
        super().build(input_shape)

    @property
    def recorded_kernels(self) -> list[tf.Variable]:
        """Kernels whose gradients a ``ConvolutionRecorder`` forms."""
        return [self.conv_x.kernel, self.conv_h.kernel]

    def prepare(self, form: str | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Kernels for ``call``, see ``GridConvolution.prepare``; valid until a gradient step."""
        return self.conv_x.prepare(form), self.conv_h.prepare(form)

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
        convolve = recorder or (lambda layer, tensor, kernel: layer(tensor, kernel))
        from_inputs = convolve(self.conv_x, inputs, kernel_x)
        from_hidden = convolve(self.conv_h, state.hidden, kernel_h)
        parameters = GateParameters(*(tf.convert_to_tensor(p) for p in self.gate_parameters))
        return ConvLSTMState(*self._gates(from_inputs, from_hidden, state.cell, parameters))
