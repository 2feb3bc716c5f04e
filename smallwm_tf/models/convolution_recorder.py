"""Kernel gradients of a cell's convolutions, formed once per batch of windows."""

from typing import NamedTuple

import tensorflow as tf

from smallwm_tf.models.grid_convolution import GridConvolution, convolve_constant


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
