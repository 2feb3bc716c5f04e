"""SAME convolutions on the 6×6 grid of codes: direct, and at a tenth of the products.

A SAME k×k convolution on the grid is part of a circular convolution on n×n points (n = 8 for k = 5,
n = 7 for k = 3): where the circle wraps around, nobody looks. In the frequency domain of real
signals a circular convolution needs one product per real frequency and three per complex pair:
94 channel products for k = 5, against 900 directly. Everything is one bilinear algorithm

    y = A · [(G w) ⊙ (B x)]

with constant matrices B [P, 36], G [P, k²] and A [36, P] (P products). It is exact up to float32
rounding. The kernels change only between gradient steps, so G w can be computed once and used for
many steps: ``prepare`` does that, ``call`` takes the result.

Layout: tensors are grid-major, ``[36, B, C]``, so that A and B are plain matrix products.
Shapes: B batch, C channels, P products, k kernel size.
"""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from smallwm_tf.models import initializers

GRID_SIZE = 6
NUM_CELLS = GRID_SIZE * GRID_SIZE
_CIRCLE_POINTS = {3: 7, 5: 8}  # smallest circles on which no wanted output is aliased


class BilinearMatrices(NamedTuple):
    """The three constant matrices of the fast convolution, float64."""

    inputs: np.ndarray  # B [P, 36]
    kernels: np.ndarray  # G [P, k²]
    outputs: np.ndarray  # A [36, P]


@functools.cache
def bilinear_matrices(kernel_size: int) -> BilinearMatrices:
    """Builds A, B and G for a kernel of 3×3 (73 products) or 5×5 (94 products).

    A complex product (a + ib)(c + id) takes three real ones: k1 = c(a + b), k2 = a(d − c),
    k3 = b(c + d); its real part is k1 − k3, its imaginary part k1 + k2.
    """
    n = _CIRCLE_POINTS[kernel_size]
    frequencies = [(u, v) for u in range(n) for v in range(n)]
    real = [f for f in frequencies if all((2 * u) % n == 0 for u in f)]
    pairs: list[tuple[int, int]] = []
    for u, v in frequencies:
        conjugate = (-u % n, -v % n)
        if (u, v) not in real and conjugate not in pairs:
            pairs.append((u, v))
    cells = np.array([(y, x) for y in range(GRID_SIZE) for x in range(GRID_SIZE)])
    # A layer is a cross-correlation: tap i of a SAME kernel sits at offset k//2 − i.
    half = kernel_size // 2
    taps = np.array([(half - y, half - x) for y in range(kernel_size) for x in range(kernel_size)])

    def angles(points: np.ndarray, which: list[tuple[int, int]]) -> np.ndarray:
        return 2.0 * np.pi * (np.array(which) @ points.T) / n

    real_x, real_w = np.cos(angles(cells, real)), np.cos(angles(taps, real))
    a, b = np.cos(angles(cells, pairs)), -np.sin(angles(cells, pairs))
    c, d = np.cos(angles(taps, pairs)), -np.sin(angles(taps, pairs))
    return BilinearMatrices(
        inputs=np.concatenate([real_x, a + b, a, b]),
        kernels=np.concatenate([real_w, c, d - c, c + d]),
        outputs=np.concatenate([real_x.T, 2 * (a + b).T, 2 * b.T, -2 * a.T], axis=1) / n**2,
    )


def to_grid_major(images: tf.Tensor) -> tf.Tensor:
    """[B, 6, 6, C] → [36, B, C]."""
    cells = tf.reshape(images, [-1, NUM_CELLS, images.shape[-1]])
    return tf.transpose(cells, [1, 0, 2])


def to_images(cells: tf.Tensor) -> tf.Tensor:
    """[36, B, C] → [B, 6, 6, C]."""
    batch_major = tf.transpose(cells, [1, 0, 2])
    return tf.reshape(batch_major, [-1, GRID_SIZE, GRID_SIZE, cells.shape[-1]])


def _mix(matrix: np.ndarray, tensor: tf.Tensor) -> tf.Tensor:
    """Applies a constant matrix [M, N] to the first axis of a tensor [N, B, C] → [M, B, C]."""
    shape = tf.shape(tensor)
    flat = tf.reshape(tensor, [shape[0], -1])
    mixed = tf.matmul(tf.constant(matrix, tensor.dtype), flat)
    return tf.ensure_shape(
        tf.reshape(mixed, [matrix.shape[0], shape[1], shape[2]]),
        [matrix.shape[0], tensor.shape[1], tensor.shape[2]],
    )


def prepare_kernel(kernel: tf.Tensor, implementation: str) -> tf.Tensor:
    """A kernel [k, k, C_in, C_out] as ``convolve`` wants it: [P, C_in, C_out] if "fast"."""
    kernel = tf.convert_to_tensor(kernel)
    if implementation == "direct":
        return kernel
    size = kernel.shape[0]
    taps = tf.reshape(kernel, [size**2, *kernel.shape[2:]])
    return _mix(bilinear_matrices(size).kernels, taps)


def convolve(
    inputs: tf.Tensor, prepared_kernel: tf.Tensor, kernel_size: int, implementation: str
) -> tf.Tensor:
    """[36, B, C_in] → [36, B, C_out] with a kernel from ``prepare_kernel``."""
    if implementation == "direct":
        images = tf.nn.conv2d(to_images(inputs), prepared_kernel, strides=1, padding="SAME")
        return to_grid_major(images)
    matrices = bilinear_matrices(kernel_size)
    products = tf.matmul(_mix(matrices.inputs, inputs), prepared_kernel)  # [P, B, C_out]
    return _mix(matrices.outputs, products)


class GridConvolution(tf_keras.layers.Layer):
    """A SAME convolution on the 6×6 grid, in grid-major layout.

    Args:
      filters: number of output channels.
      kernel_size: 3 or 5.
      implementation: "direct" (``tf.nn.conv2d``, the reference, best on GPUs) or "fast" (the
        bilinear algorithm of this module, best on CPUs). Both compute the same function of the
        same kernel variable [k, k, C_in, C_out].
      use_bias: whether a bias [C_out] is added.

    Raises:
      ValueError: for another kernel size or implementation.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        implementation: str,
        use_bias: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if kernel_size not in _CIRCLE_POINTS:
            raise ValueError(f"kernel_size is {kernel_size}; choose 3 or 5")
        if implementation not in ("direct", "fast"):
            raise ValueError(f"implementation is {implementation!r}; choose 'direct' or 'fast'")
        self.filters = filters
        self.kernel_size = kernel_size
        self.implementation = implementation
        self.use_bias = use_bias

    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=[self.kernel_size, self.kernel_size, input_shape[-1], self.filters],
            initializer=initializers.kernel_initializer(),
        )
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=[self.filters],
                initializer=initializers.bias_initializer(self.kernel_size**2 * input_shape[-1]),
            )
        super().build(input_shape)

    def prepare(self) -> tf.Tensor:
        """The kernel as ``call`` wants it: transformed [P, C_in, C_out] if fast, else as it is."""
        return prepare_kernel(self.kernel, self.implementation)

    def call(
        self,
        inputs: tf.Tensor,
        prepared_kernel: tf.Tensor | None = None,
        implementation: str | None = None,
    ) -> tf.Tensor:
        """[36, B, C_in] → [36, B, C_out].

        Args:
          inputs: grid-major.
          prepared_kernel: from ``prepare_kernel``; transformed here if it is not given.
          implementation: what ``prepared_kernel`` was prepared for, if not the layer's own.
        """
        kernel = self.prepare() if prepared_kernel is None else prepared_kernel
        how = implementation or self.implementation
        outputs = convolve(inputs, kernel, self.kernel_size, how)
        return outputs + self.bias if self.use_bias else outputs

    def kernel_gradient(self, inputs: tf.Tensor, output_gradients: tf.Tensor) -> tf.Tensor:
        """Gradient of the kernel from stacked calls, [k, k, C_in, C_out].

        One product over many time steps is far cheaper than one per step: the transformed kernel
        is larger than the kernel, and its gradient would be formed and read at every step.

        Args:
          inputs: what ``call`` was given, steps stacked along the batch axis, [36, N, C_in].
          output_gradients: gradients of what it returned, [36, N, C_out].
        """
        shape = self.kernel.shape
        if self.implementation == "direct":
            return tf.raw_ops.Conv2DBackpropFilter(
                input=to_images(inputs),
                filter_sizes=shape,
                out_backprop=to_images(output_gradients),
                strides=[1, 1, 1, 1],
                padding="SAME",
            )
        matrices = bilinear_matrices(self.kernel_size)
        products = tf.matmul(
            _mix(matrices.inputs, inputs),
            _mix(matrices.outputs.T, output_gradients),
            transpose_a=True,
        )  # [P, C_in, C_out]
        return tf.reshape(_mix(matrices.kernels.T, products), shape)
