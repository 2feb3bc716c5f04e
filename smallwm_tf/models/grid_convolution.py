"""SAME convolutions on the 6×6 grid of codes: direct, and with far fewer products.

The fast forms are bilinear algorithms with constant matrices B, G and A:

    y = A · [(G w) ⊙ (B x)]

G turns the k² taps of a kernel into K matrices [C_in, C_out], B the 36 cells of an input into R
rows for each of them, and ⊙ is K matrix products [R·B, C_in] × [C_in, C_out]. Few kernels K mean
little memory to write and read, which is what training on small batches waits for; few products
K·R count where kernels are transformed once and used for many steps. Direct convolutions take 900
(k = 5) and 324 (k = 3) products per sample.

    k   form                K    K·R
    5   "fewest_kernels"    64   128   circular convolution on 8×8 points; where the circle wraps
                                       around, nobody looks. Of its frequencies 4 are real and 30
                                       complex (a + ib)(c + id): rows a, b for the kernels c and d
    5   "fewest_products"   94    94   the same with three real products per complex one
    3   either              25   100   four tiles of 3×3 outputs, each by Winograd's F(3×3, 3×3)
                                       (Lavin & Gray, 2016)

All are exact up to float32 rounding. Kernels change only between gradient steps, so G w can be
computed once and used for many steps: ``prepare`` does that, ``call`` takes the result.

Layout: tensors are grid-major, ``[36, B, C]``, so that A and B are plain matrix products.
Shapes: B batch, C channels, K transformed kernels, R rows per transformed kernel, k kernel size.
"""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from smallwm_tf.models import initializers

GRID_SIZE = 6
NUM_CELLS = GRID_SIZE * GRID_SIZE
KERNEL_SIZES = (3, 5)
FAST_FORMS = ("fewest_kernels", "fewest_products")


class BilinearMatrices(NamedTuple):
    """The three constant matrices of a fast convolution, float64."""

    inputs: np.ndarray  # B [K·R, 36]
    kernels: np.ndarray  # G [K, k²]
    outputs: np.ndarray  # A [36, K·R]


@functools.cache
def bilinear_matrices(kernel_size: int, form: str) -> BilinearMatrices:
    """A, B and G for a kernel of 3×3 or 5×5 in one of ``FAST_FORMS``."""
    return _winograd() if kernel_size == 3 else _fourier(form)


def _fourier(form: str) -> BilinearMatrices:
    """5×5 as a circular convolution on 8×8 points, in the frequency domain of real signals."""
    n, size = 8, 5
    frequencies = [(u, v) for u in range(n) for v in range(n)]
    real = [f for f in frequencies if all((2 * u) % n == 0 for u in f)]
    pairs: list[tuple[int, int]] = []
    for u, v in frequencies:
        conjugate = (-u % n, -v % n)
        if (u, v) not in real and conjugate not in pairs:
            pairs.append((u, v))
    cells = np.array([(y, x) for y in range(GRID_SIZE) for x in range(GRID_SIZE)])
    # A layer is a cross-correlation: tap i of a SAME kernel sits at offset k//2 − i.
    half = size // 2
    taps = np.array([(half - y, half - x) for y in range(size) for x in range(size)])

    def angles(points: np.ndarray, which: list[tuple[int, int]]) -> np.ndarray:
        return 2.0 * np.pi * (np.array(which) @ points.T) / n

    real_x, real_w = np.cos(angles(cells, real)), np.cos(angles(taps, real))
    a, b = np.cos(angles(cells, pairs)), -np.sin(angles(cells, pairs))
    c, d = np.cos(angles(taps, pairs)), -np.sin(angles(taps, pairs))
    if form == "fewest_products":
        # k1 = c(a + b), k2 = a(d − c), k3 = b(c + d): real part k1 − k3, imaginary part k1 + k2.
        return BilinearMatrices(
            inputs=np.concatenate([real_x, a + b, a, b]),
            kernels=np.concatenate([real_w, c, d - c, c + d]),
            outputs=np.concatenate([real_x, 2 * (a + b), 2 * b, -2 * a]).T / n**2,
        )
    nothing = np.zeros_like(real_x)

    def rows(*pairs_of_rows: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """First and second row of each real kernel, each c and each d → [K·R, 36]."""
        stacked = [np.stack(pair, axis=1) for pair in pairs_of_rows]
        return np.concatenate(stacked).reshape(-1, NUM_CELLS)

    # Real part ac − bd, imaginary part bc + ad.
    return BilinearMatrices(
        inputs=rows((real_x, nothing), (a, b), (a, b)),
        kernels=np.concatenate([real_w, c, d]),
        outputs=rows((real_x, nothing), (2 * a, 2 * b), (2 * b, -2 * a)).T / n**2,
    )


def _winograd() -> BilinearMatrices:
    """3×3 in tiles of 3×3 outputs: polynomials at the points 0, 1, −1, 2 and ∞, transposed."""
    size, tile = 3, 3
    points = (0.0, 1.0, -1.0, 2.0)
    num_points = len(points) + 1

    def evaluation(degree: int) -> np.ndarray:
        """Values at all points of a polynomial with ``degree`` coefficients."""
        values = np.vander(points, degree, increasing=True)
        return np.vstack([values, np.eye(degree)[-1]])

    interpolation = np.linalg.inv(evaluation(num_points))
    num_tiles = GRID_SIZE // tile
    inputs = np.zeros([num_points, num_tiles, GRID_SIZE])
    outputs = np.zeros([num_points, num_tiles, GRID_SIZE])
    for t in range(num_tiles):
        for offset in range(num_points):
            cell = t * tile + offset - size // 2
            if 0 <= cell < GRID_SIZE:
                inputs[:, t, cell] = interpolation[offset]
        outputs[:, t, t * tile : (t + 1) * tile] = evaluation(tile)

    def both_axes(matrix: np.ndarray) -> np.ndarray:
        """[point, tile, cell] along one axis → [K·R, 36] on the grid."""
        product = np.einsum("ptc,qud->pqtucd", matrix, matrix)
        return product.reshape(-1, NUM_CELLS)

    kernels = evaluation(size)
    return BilinearMatrices(
        inputs=both_axes(inputs),
        kernels=np.kron(kernels, kernels),
        outputs=both_axes(outputs).T,
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


def prepare_kernel(kernel: tf.Tensor, form: str) -> tf.Tensor:
    """A kernel [k, k, C_in, C_out] as ``convolve`` wants it.

    Args:
      kernel: the kernel.
      form: "direct" leaves it as it is; one of ``FAST_FORMS`` gives [K, C_in, C_out].
    """
    kernel = tf.convert_to_tensor(kernel)
    if form == "direct":
        return kernel
    size = kernel.shape[0]
    taps = tf.reshape(kernel, [size**2, *kernel.shape[2:]])
    return _mix(bilinear_matrices(size, form).kernels, taps)


def convolve(inputs: tf.Tensor, prepared_kernel: tf.Tensor, kernel_size: int) -> tf.Tensor:
    """[36, B, C_in] → [36, B, C_out] with a kernel from ``prepare_kernel``, of any form."""
    if _is_direct(prepared_kernel):
        images = tf.nn.conv2d(to_images(inputs), prepared_kernel, strides=1, padding="SAME")
        return to_grid_major(images)
    matrices = _matrices_of(prepared_kernel, kernel_size)
    products = tf.matmul(_rows(matrices, inputs), prepared_kernel)  # [K, R·B, C_out]
    return _sum_products(matrices, products)


def convolve_constant(inputs: tf.Tensor, prepared_kernel: tf.Tensor, kernel_size: int) -> tf.Tensor:
    """``convolve`` without a gradient for the kernel; compiled, unless the kernel is direct.

    XLA's batched products take about two thirds of the time of TensorFlow's own on small batches,
    and those of the gradient a half to a sixth.
    """
    if _is_direct(prepared_kernel):
        return convolve(inputs, tf.stop_gradient(prepared_kernel), kernel_size)

    @tf.custom_gradient
    def apply(inputs: tf.Tensor):
        def gradient(output_gradients: tf.Tensor) -> tf.Tensor:
            return _compiled_adjoint(output_gradients, prepared_kernel, kernel_size)

        return _compiled_convolve(inputs, prepared_kernel, kernel_size), gradient

    return apply(inputs)


def _adjoint(
    output_gradients: tf.Tensor, prepared_kernel: tf.Tensor, kernel_size: int
) -> tf.Tensor:
    """Gradient of ``convolve``'s inputs: [36, B, C_out] → [36, B, C_in]."""
    forward = _matrices_of(prepared_kernel, kernel_size)
    num_kernels, num_inputs = prepared_kernel.shape[:2]
    # Kernels on the left: both factors are then read along their rows, and no kernel is transposed.
    rows = _rows(forward._replace(inputs=forward.outputs.T), output_gradients)
    products = tf.matmul(prepared_kernel, rows, transpose_b=True)  # [K, C_in, R·B]
    num_rows = len(forward.inputs) // len(forward.kernels)
    products = tf.reshape(products, [num_kernels, num_inputs, num_rows, -1])
    mixed = tf.add_n(
        [_mix(forward.inputs[r::num_rows].T, products[:, :, r]) for r in range(num_rows)]
    )
    return tf.transpose(mixed, [0, 2, 1])


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
    num_kernels = len(matrices.kernels)
    num_rows = len(matrices.inputs) // num_kernels
    halves = (slice(0, num_kernels // 2), slice(num_kernels // 2, num_kernels))
    return [
        BilinearMatrices(
            inputs=matrices.inputs[half.start * num_rows : half.stop * num_rows],
            kernels=matrices.kernels[half],
            outputs=matrices.outputs[:, half.start * num_rows : half.stop * num_rows],
        )
        for half in halves
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
      implementation: "direct" (``tf.nn.conv2d``, the reference, best on GPUs) or "fast" (the
        bilinear algorithms of this module, best on CPUs). Both compute the same function of the
        same kernel variable [k, k, C_in, C_out].
      use_bias: whether a bias [C_out] is added.
      form: which of ``FAST_FORMS`` a fast layer takes unless told otherwise.

    Raises:
      ValueError: for another kernel size or implementation.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        implementation: str,
        use_bias: bool = False,
        form: str = "fewest_kernels",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if kernel_size not in KERNEL_SIZES:
            raise ValueError(f"kernel_size is {kernel_size}; choose 3 or 5")
        if implementation not in ("direct", "fast"):
            raise ValueError(f"implementation is {implementation!r}; choose 'direct' or 'fast'")
        self.filters = filters
        self.kernel_size = kernel_size
        self.implementation = implementation
        self.use_bias = use_bias
        self.form = "direct" if implementation == "direct" else form

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
          form: "direct" or one of ``FAST_FORMS`` instead of the layer's own; a direct layer
            stays direct.
        """
        return prepare_kernel(self.kernel, (self.form != "direct" and form) or self.form)

    def call(self, inputs: tf.Tensor, prepared_kernel: tf.Tensor | None = None) -> tf.Tensor:
        """[36, B, C_in] → [36, B, C_out].

        Args:
          inputs: grid-major.
          prepared_kernel: from ``prepare`` or ``prepare_kernel``; made here if not given.
        """
        kernel = self.prepare() if prepared_kernel is None else prepared_kernel
        outputs = convolve(inputs, kernel, self.kernel_size)
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
        matrices = bilinear_matrices(self.kernel_size, self.form)
        products = [
            tf.matmul(
                _rows(part, inputs),
                _rows(part._replace(inputs=part.outputs.T), output_gradients),
                transpose_a=True,
            )  # [K / 2, C_in, C_out]
            for part in _halves(matrices)
        ]
        return tf.reshape(_mix(matrices.kernels.T, tf.concat(products, axis=0)), shape)
