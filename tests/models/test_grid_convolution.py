"""Both convolutions on the 6×6 grid against a direct sum in float64."""

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.models.bilinear_algorithms import FAST_FORMS, bilinear_matrices
from smallwm_tf.models.grid_convolution import (
    GridConvolution,
    convolve_constant,
    to_grid_major,
    to_images,
)

B, C_IN, C_OUT = 3, 4, 5
FORMS = ["direct", *FAST_FORMS]
SIZES = [3, 5]


def direct_sum(images: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """SAME cross-correlation, [B, 6, 6, C_in] and [k, k, C_in, C_out] → [B, 6, 6, C_out]."""
    half = kernel.shape[0] // 2
    outputs = np.zeros([*images.shape[:3], kernel.shape[3]])
    for y in range(6):
        for x in range(6):
            for i in range(kernel.shape[0]):
                for j in range(kernel.shape[1]):
                    v, u = y + i - half, x + j - half
                    if 0 <= v < 6 and 0 <= u < 6:
                        outputs[:, y, x] += images[:, v, u].astype(np.float64) @ kernel[i, j]
    return outputs


def adjoint_sums(
    images: np.ndarray, kernel: np.ndarray, gradients: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients with respect to images and kernel, term by term as in ``direct_sum``."""
    half = kernel.shape[0] // 2
    to_images_, to_kernel = np.zeros(images.shape), np.zeros(kernel.shape)
    for y in range(6):
        for x in range(6):
            for i in range(kernel.shape[0]):
                for j in range(kernel.shape[1]):
                    v, u = y + i - half, x + j - half
                    if 0 <= v < 6 and 0 <= u < 6:
                        to_images_[:, v, u] += gradients[:, y, x] @ kernel[i, j].T
                        to_kernel[i, j] += images[:, v, u].T @ gradients[:, y, x]
    return to_images_, to_kernel


def grid_major(images: np.ndarray) -> np.ndarray:
    """[B, 6, 6, C] → [36, B, C] by hand."""
    return np.stack([images[:, y, x] for y in range(6) for x in range(6)])


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=[B, 6, 6, C_IN])


@pytest.fixture
def output_gradients():
    return np.random.default_rng(1).normal(size=[B, 6, 6, C_OUT])


def layer_of(form: str, kernel_size: int) -> tuple[GridConvolution, np.ndarray]:
    layer = GridConvolution(C_OUT, kernel_size, form)
    layer.build([36, None, C_IN])
    kernel = np.random.default_rng(2).normal(size=[kernel_size, kernel_size, C_IN, C_OUT])
    layer.kernel.assign(kernel)
    return layer, kernel


def float32(array: np.ndarray) -> tf.Tensor:
    return tf.constant(array, tf.float32)


@pytest.mark.parametrize("kernel_size", SIZES)
@pytest.mark.parametrize("form", FORMS)
def test_outputs_equal_the_direct_sum(form, kernel_size, images):
    layer, kernel = layer_of(form, kernel_size)
    outputs = layer(float32(grid_major(images)))
    expected = grid_major(direct_sum(images, kernel))
    np.testing.assert_allclose(outputs, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("kernel_size", "form", "num_kernels", "num_products"),
    [
        (3, "fewest_kernels", 25, 100),
        (5, "fewest_kernels", 64, 128),
        (5, "fewest_products", 94, 94),
    ],
)
def test_the_bilinear_algorithms_are_exact_in_float64(
    kernel_size, form, num_kernels, num_products, images
):
    kernel = np.random.default_rng(3).normal(size=[kernel_size, kernel_size, C_IN, C_OUT])
    matrices = bilinear_matrices(kernel_size, form)
    transformed_x = np.tensordot(matrices.inputs, grid_major(images), 1)
    transformed_w = np.tensordot(matrices.kernels, kernel.reshape(-1, C_IN, C_OUT), 1)
    num_rows = len(matrices.inputs) // len(matrices.kernels)
    products = transformed_x @ np.repeat(transformed_w, num_rows, axis=0)
    outputs = np.tensordot(matrices.outputs, products, 1)
    np.testing.assert_allclose(outputs, grid_major(direct_sum(images, kernel)), atol=1e-12)
    assert matrices.inputs.shape == (num_products, 36)
    assert matrices.kernels.shape == (num_kernels, kernel_size**2)
    assert matrices.outputs.shape == (36, num_products)


@pytest.mark.parametrize("kernel_size", SIZES)
@pytest.mark.parametrize("form", FORMS)
def test_taped_gradients_equal_the_sums(form, kernel_size, images, output_gradients):
    layer, kernel = layer_of(form, kernel_size)
    inputs = float32(grid_major(images))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs)
    to_inputs, to_kernel = tape.gradient(
        outputs, [inputs, layer.kernel], float32(grid_major(output_gradients))
    )
    expected_inputs, expected_kernel = adjoint_sums(images, kernel, output_gradients)
    np.testing.assert_allclose(to_inputs, grid_major(expected_inputs), atol=5e-4)
    np.testing.assert_allclose(to_kernel, expected_kernel, atol=5e-4)


@pytest.mark.parametrize("kernel_size", SIZES)
@pytest.mark.parametrize("form", FORMS)
def test_kernel_gradient_of_stacked_calls_is_the_sum_of_their_gradients(form, kernel_size):
    layer, kernel = layer_of(form, kernel_size)
    draw = np.random.default_rng(4)
    all_images = [draw.normal(size=[B, 6, 6, C_IN]) for _ in range(3)]
    all_gradients = [draw.normal(size=[B, 6, 6, C_OUT]) for _ in range(3)]
    stacked = layer.kernel_gradient(
        float32(np.concatenate([grid_major(x) for x in all_images], axis=1)),
        float32(np.concatenate([grid_major(g) for g in all_gradients], axis=1)),
    )
    expected = sum(
        adjoint_sums(x, kernel, g)[1] for x, g in zip(all_images, all_gradients, strict=True)
    )
    assert stacked.shape == layer.kernel.shape
    np.testing.assert_allclose(stacked, expected, atol=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_a_prepared_kernel_serves_many_calls_and_outlives_a_change(form, images):
    layer, kernel = layer_of(form, 5)
    prepared = layer.prepare()
    inputs = float32(grid_major(images))
    before = layer(inputs).numpy()
    np.testing.assert_array_equal(layer(inputs, prepared), before)
    layer.kernel.assign(2 * layer.kernel)
    np.testing.assert_array_equal(layer(inputs, prepared), before)
    np.testing.assert_allclose(layer(inputs), 2 * before, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(layer(2 * inputs, prepared), 2 * before)


@pytest.mark.parametrize("form", FAST_FORMS)
@pytest.mark.parametrize(
    ("kernel_size", "c_in", "c_out"), [(5, 38, 64), (5, 134, 512), (3, 256, 256)]
)
def test_fast_and_direct_agree_at_the_sizes_of_the_networks(kernel_size, c_in, c_out, form):
    inputs = tf.random.stateless_normal([36, 4, c_in], [1, 2])
    upstream = tf.random.stateless_normal([36, 4, c_out], [5, 6])
    results = []
    for one in ("direct", form):
        layer = GridConvolution(c_out, kernel_size, one)
        layer.build([36, None, c_in])
        layer.kernel.assign(tf.random.stateless_normal(layer.kernel.shape, [3, 4]))
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs)
        results.append((outputs, *tape.gradient(outputs, [inputs, layer.kernel], upstream)))
    tolerances = (1e-5, 1e-4, 1e-4)  # outputs, gradients of inputs and kernel
    for direct, fast, tolerance in zip(*results, tolerances, strict=True):
        np.testing.assert_allclose(fast, direct, atol=tolerance * np.abs(direct).max())


@pytest.mark.parametrize("kernel_size", SIZES)
@pytest.mark.parametrize("form", FORMS)
def test_a_constant_kernel_gives_the_same_outputs_and_input_gradients(
    form, kernel_size, images, output_gradients
):
    layer, kernel = layer_of(form, kernel_size)
    inputs, prepared = float32(grid_major(images)), layer.prepare()
    with tf.GradientTape() as tape:
        tape.watch([inputs, prepared])
        outputs = convolve_constant(inputs, prepared, kernel_size)
    upstream = float32(grid_major(output_gradients))
    to_inputs, to_kernel = tape.gradient(outputs, [inputs, prepared], upstream)
    expected = grid_major(direct_sum(images, kernel))
    np.testing.assert_allclose(outputs, expected, atol=2e-5 * np.abs(expected).max())
    expected = grid_major(adjoint_sums(images, kernel, output_gradients)[0])
    np.testing.assert_allclose(to_inputs, expected, atol=2e-5 * np.abs(expected).max())
    assert to_kernel is None


def test_the_layouts_are_each_others_inverse(images):
    major = to_grid_major(float32(images))
    np.testing.assert_array_equal(major, grid_major(images).astype(np.float32))
    np.testing.assert_array_equal(to_images(major), images.astype(np.float32))


def test_other_sizes_and_forms_are_refused():
    with pytest.raises(ValueError, match="kernel_size is 4; choose 3 or 5"):
        GridConvolution(2, 4, "direct")
    with pytest.raises(ValueError, match="form is 'slow'; choose 'direct' or one of"):
        GridConvolution(2, 5, "slow")
