"""SAME convolutions on the 6×6 grid, direct or by the algorithms of ``bilinear_algorithms``.

Kernels change only between gradient steps, so their transforms can be computed once and used for
many steps: ``prepare`` does that, ``call`` takes the result.

Layout: tensors are grid-major, ``[36, B, C]``, so that mixing cells is a plain matrix product.
Shapes: B batch, C channels, K transformed kernels, R rows per transformed kernel, k kernel size.
"""

import numpy as np
import tensorflow as tf
import tf_keras

from smallwm_tf.models import initializers
from smallwm_tf.models.bilinear_algorithms import (
    FAST_FORMS,
    GRID_SIZE,
    NUM_CELLS,
    BilinearMatrices,
    bilinear_matrices,
)

KERNEL_SIZES = (3, 5)


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


def prepare_kernel(kernel: tf.Tensor, form: str, precision: str = "float32") -> tf.Tensor:
    """A kernel [k, k, C_in, C_out] as ``convolve`` wants it.

    Args:
      kernel: the kernel.
      form: "direct" leaves it as it is; one of ``FAST_FORMS`` gives [K, C_in, C_out].
      precision: of the products.
    """
    kernel = tf.convert_to_tensor(kernel)
    if form != "direct":
        size = kernel.shape[0]
        taps = tf.reshape(kernel, [size**2, *kernel.shape[2:]])
        kernel = _mix(bilinear_matrices(size, form).kernels, taps)
    return tf.cast(kernel, precision)


def convolve(inputs: tf.Tensor, prepared_kernel: tf.Tensor, kernel_size: int) -> tf.Tensor:
    """[36, B, C_in] → [36, B, C_out] with a kernel from ``prepare_kernel``, of any form.

    Calculates in the kernel's precision; the output has the inputs'.
    """
    rounded = tf.cast(inputs, prepared_kernel.dtype)
    if _is_direct(prepared_kernel):
        images = tf.nn.conv2d(to_images(rounded), prepared_kernel, strides=1, padding="SAME")
        return tf.cast(to_grid_major(images), inputs.dtype)
    matrices = _matrices_of(prepared_kernel, kernel_size)
    products = tf.matmul(_rows(matrices, rounded), prepared_kernel)  # [K, R·B, C_out]
    return tf.cast(_sum_products(matrices, products), inputs.dtype)


def convolve_constant(inputs: tf.Tensor, prepared_kernel: tf.Tensor, kernel_size: int) -> tf.Tensor:
    """``convolve`` without a gradient for the kernel; compiled, if it has float32 products.

    XLA's batched products take about two thirds of the time of TensorFlow's own on small batches,
    and those of the gradient a half to a sixth; in bfloat16 they take twice as long.
    """
    if _is_direct(prepared_kernel):
        return convolve(inputs, tf.stop_gradient(prepared_kernel), kernel_size)

    compiled = prepared_kernel.dtype == tf.float32
    forward, adjoint = (_compiled_convolve, _compiled_adjoint) if compiled else (convolve, _adjoint)

    @tf.custom_gradient
    def apply(inputs: tf.Tensor):
        def gradient(output_gradients: tf.Tensor) -> tf.Tensor:
            return adjoint(output_gradients, prepared_kernel, kernel_size)

        return forward(inputs, prepared_kernel, kernel_size), gradient

    return apply(inputs)


def _adjoint(
    output_gradients: tf.Tensor, prepared_kernel: tf.Tensor, kernel_size: int
) -> tf.Tensor:
    """Gradient of ``convolve``'s inputs: [36, B, C_out] → [36, B, C_in]."""
    forward = _matrices_of(prepared_kernel, kernel_size)
    num_kernels, num_inputs = prepared_kernel.shape[:2]
    # Kernels on the left: both factors are then read along their rows, and no kernel is transposed.
    rounded = tf.cast(output_gradients, prepared_kernel.dtype)
    rows = _rows(forward._replace(inputs=forward.outputs.T), rounded)
    products = tf.matmul(prepared_kernel, rows, transpose_b=True)  # [K, C_in, R·B]
    num_rows = len(forward.inputs) // len(forward.kernels)
    products = tf.reshape(products, [num_kernels, num_inputs, num_rows, -1])
    mixed = tf.add_n(
        [_mix(forward.inputs[r::num_rows].T, products[:, :, r]) for r in range(num_rows)]
    )
    return tf.cast(tf.transpose(mixed, [0, 2, 1]), output_gradients.dtype)


_compiled_convolve = tf.function(convolve, jit_compile=True, autograph=False)
_compiled_adjoint = tf.function(_adjoint, jit_compile=True, autograph=False)


def _is_direct(prepared_kernel: tf.Tensor) -> bool:
    return prepared_kernel.shape.rank == 4


def _matrices_of(prepared_kernel: tf.Tensor, kernel_size: int) -> BilinearMatrices:
    """The form that a kernel was prepared for shows in the number of its matrices."""
    forms = (bilinear_matrices(kernel_size, form) for form in FAST_FORMS)
    return next(m for m in forms if len(m.kernels) == prepared_kernel.shape[0])


def _halves(matrices: BilinearMatrices) -> list[BilinearMatrices]:
    """Two algorithms with half of the kernels each, whose sum is the whole one.

    The rows of one half of a large batch fit into the cache where those of both do not.
    """
    inputs, kernels, outputs = matrices
    middle = len(kernels) // 2
    row = middle * (len(inputs) // len(kernels))
    return [
        BilinearMatrices(inputs[:row], kernels[:middle], outputs[:, :row]),
        BilinearMatrices(inputs[row:], kernels[middle:], outputs[:, row:]),
    ]


def _rows(matrices: BilinearMatrices, inputs: tf.Tensor) -> tf.Tensor:
    """B x: [36, B, C] → [K, R·B, C]."""
    mixed = _mix(matrices.inputs, inputs)
    return tf.reshape(mixed, [matrices.kernels.shape[0], -1, inputs.shape[2]])


def _sum_products(matrices: BilinearMatrices, products: tf.Tensor) -> tf.Tensor:
    """A of the products: [K, R·B, C] → [36, B, C]."""
    num_rows = len(matrices.inputs) // len(matrices.kernels)
    shape = [len(matrices.inputs), tf.shape(products)[1] // num_rows, products.shape[2]]
    return _mix(matrices.outputs, tf.reshape(products, shape))


class GridConvolution(tf_keras.layers.Layer):
    """A SAME convolution on the 6×6 grid, in grid-major layout.

    Args:
      filters: number of output channels.
      kernel_size: 3 or 5.
      form: of the kernel unless ``prepare`` is told otherwise: "direct" (``tf.nn.conv2d``, the
        reference, best on GPUs) or one of ``FAST_FORMS`` (best on CPUs). All compute the same
        function of the same kernel variable [k, k, C_in, C_out].
      use_bias: whether a bias [C_out] is added.
      precision: of the products.

    Raises:
      ValueError: for another kernel size or form.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        form: str,
        use_bias: bool = False,
        precision: str = "float32",
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        if kernel_size not in KERNEL_SIZES:
            raise ValueError(f"kernel_size is {kernel_size}; choose 3 or 5")
        if form not in ("direct", *FAST_FORMS):
            raise ValueError(f"form is {form!r}; choose 'direct' or one of {FAST_FORMS}")
        self.filters = filters
        self.kernel_size = kernel_size
        self.form = form
        self.use_bias = use_bias
        self.precision = precision

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

    def prepare(self, form: str | None = None) -> tf.Tensor:
        """The kernel as ``call`` wants it.

        Args:
          form: "direct" or one of ``FAST_FORMS`` instead of the layer's own.
        """
        return prepare_kernel(self.kernel, form or self.form, self.precision)

    def call(self, inputs: tf.Tensor, prepared_kernel: tf.Tensor | None = None) -> tf.Tensor:
        """[36, B, C_in] → [36, B, C_out].

        Args:
          inputs: grid-major.
          prepared_kernel: from ``prepare`` or ``prepare_kernel``; made here if not given.
        """
        kernel = self.prepare() if prepared_kernel is None else prepared_kernel
        outputs = convolve(inputs, kernel, self.kernel_size)
        return outputs + tf.cast(self.bias, outputs.dtype) if self.use_bias else outputs

    def kernel_gradient(self, inputs: tf.Tensor, output_gradients: tf.Tensor) -> tf.Tensor:
        """Gradient of the kernel from stacked calls, [k, k, C_in, C_out].

        One product over many time steps is far cheaper than one per step: the transformed kernel
        is larger than the kernel, and its gradient would be formed and read at every step.

        Args:
          inputs: what ``call`` was given, steps stacked along the batch axis, [36, N, C_in].
          output_gradients: gradients of what it returned, [36, N, C_out].
        """
        shape = self.kernel.shape
        inputs, output_gradients = (
            tf.cast(tensor, self.precision) for tensor in (inputs, output_gradients)
        )
        if self.form == "direct":
            gradient = tf.raw_ops.Conv2DBackpropFilter(
                input=to_images(inputs),
                filter_sizes=shape,
                out_backprop=to_images(output_gradients),
                strides=[1, 1, 1, 1],
                padding="SAME",
            )
            return tf.cast(gradient, tf.float32)
        matrices = bilinear_matrices(self.kernel_size, self.form)
        products = [
            tf.matmul(
                _rows(part, inputs),
                _rows(part._replace(inputs=part.outputs.T), output_gradients),
                transpose_a=True,
            )  # [K / 2, C_in, C_out]
            for part in _halves(matrices)
        ]
        products = tf.cast(tf.concat(products, axis=0), tf.float32)
        return tf.reshape(_mix(matrices.kernels.T, products), shape)
