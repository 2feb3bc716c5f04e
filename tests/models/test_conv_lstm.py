"""One step of the ConvLSTM cell against NumPy in float64, and the deferred kernel gradients."""

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.models.conv_lstm import ConvLSTMCell, ConvLSTMState
from smallwm_tf.models.convolution_recorder import ConvolutionRecorder
from smallwm_tf.models.execution import DIRECT, FAST
from tests.models.numpy_layers import convolve, layer_norm, sigmoid, to_images

B, C_IN, C = 3, 6, 4
EXECUTIONS = [DIRECT, FAST]


def cell_of(execution, scale: float = 1.0) -> ConvLSTMCell:
    """A cell all of whose weights are random, those that start as ones and zeros too."""
    cell = ConvLSTMCell(C, execution, name="cell")
    cell.build([36, None, C_IN])
    draw = np.random.default_rng(0)
    for variable in sorted(cell.trainable_variables, key=lambda v: v.name.split("/")[-1]):
        variable.assign(draw.normal(size=variable.shape) * 0.5)
    # conv_x and conv_h share a name, so draw them in a fixed order.
    for convolution in (cell.conv_x, cell.conv_h):
        convolution.kernel.assign(scale * draw.normal(size=convolution.kernel.shape))
    return cell


def numpy_step(cell: ConvLSTMCell, inputs, hidden, memory) -> tuple[np.ndarray, np.ndarray]:
    """h_t and c_t as images, from grid-major arguments."""
    p = cell.gate_parameters
    x = convolve(to_images(inputs), cell.conv_x.kernel.numpy())
    h = convolve(to_images(hidden), cell.conv_h.kernel.numpy())
    summed = (
        layer_norm(x, p.input_scale, p.input_offset)
        + layer_norm(h, p.hidden_scale, p.hidden_offset)
        + p.bias.numpy()
    )
    i, f, g, o = (summed[..., k * C : (k + 1) * C] for k in range(4))
    c = to_images(memory)
    new_c = sigmoid(f + p.forget_peephole.numpy() * c + 1.0) * c
    new_c += sigmoid(i + p.input_peephole.numpy() * c) * np.tanh(g)
    return sigmoid(o + p.output_peephole.numpy() * new_c) * np.tanh(new_c), new_c


@pytest.fixture
def sequence():
    """Inputs of four steps, and a state that is not zero."""
    draw = np.random.default_rng(1)
    inputs = [tf.constant(draw.normal(size=[36, B, C_IN]), tf.float32) for _ in range(4)]
    hidden, memory = (tf.constant(draw.normal(size=[36, B, C]), tf.float32) for _ in range(2))
    return inputs, ConvLSTMState(hidden, memory)


# With small kernels the variance is near the layer norm's epsilon, which then matters.
@pytest.mark.parametrize("kernel_scale", [1.0, 5e-4])
@pytest.mark.parametrize("execution", EXECUTIONS)
def test_one_step_equals_numpy(execution, kernel_scale, sequence):
    inputs, state = sequence
    cell = cell_of(execution, kernel_scale)
    hidden, memory = numpy_step(cell, inputs[0], state.hidden, state.cell)
    result = cell(inputs[0], state)
    np.testing.assert_allclose(to_images(result.hidden), hidden, atol=2e-5)
    np.testing.assert_allclose(to_images(result.cell), memory, atol=5e-5)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_prepared_kernels_give_the_same_step(execution, sequence):
    inputs, state = sequence
    cell = cell_of(execution)
    prepared = cell.prepare()
    plain, shared = cell(inputs[0], state), cell(inputs[0], state, prepared)
    np.testing.assert_array_equal(plain.hidden, shared.hidden)


def test_the_initial_state_is_zero():
    state = cell_of(DIRECT).initial_state(B)
    for part in state:
        np.testing.assert_array_equal(part, np.zeros([36, B, C], np.float32))


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_deferred_kernel_gradients_equal_the_tapes(execution, sequence):
    inputs, state = sequence
    cell = cell_of(execution, 0.1)
    weights = tf.random.stateless_normal([len(inputs), 36, B, C], [5, 6])
    kernels = [cell.conv_x.kernel, cell.conv_h.kernel]
    others = [v for v in cell.trainable_variables if not any(v is k for k in kernels)]

    def unrolled_loss(recorder):
        prepared = cell.prepare()
        loss, present = 0.0, state
        for t, x in enumerate(inputs):
            present = cell(x, present, prepared, recorder)
            loss += tf.reduce_sum(weights[t] * present.hidden)
        return loss

    with tf.GradientTape() as tape:
        plain_loss = unrolled_loss(None)
    expected = tape.gradient(plain_loss, [kernels, others])

    with tf.GradientTape() as tape:
        recorder = ConvolutionRecorder(tape)
        loss = unrolled_loss(recorder)
    tap_gradients, other_gradients = tape.gradient(loss, [recorder.taps, others])
    pairs = recorder.kernel_gradients(tap_gradients)

    np.testing.assert_allclose(loss, plain_loss, rtol=1e-5)
    assert {variable.ref() for _, variable in pairs} == {kernel.ref() for kernel in kernels}
    deferred = {variable.ref(): gradient for gradient, variable in pairs}
    for kernel, gradient in zip(kernels, expected[0], strict=True):
        largest = np.abs(gradient).max()
        assert largest > 0.1
        np.testing.assert_allclose(deferred[kernel.ref()], gradient, atol=2e-5 * largest)
    for ours, theirs in zip(other_gradients, expected[1], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_two_cells_of_one_name_keep_their_gradients_apart(sequence):
    inputs, state = sequence
    cells = [cell_of(FAST, 0.1), cell_of(FAST, 0.2)]

    def loss_of(recorder):
        return sum(tf.reduce_sum(cell(inputs[0], state, None, recorder).hidden) for cell in cells)

    with tf.GradientTape() as tape:
        plain = loss_of(None)
    expected = tape.gradient(plain, [kernel for cell in cells for kernel in cell.recorded_kernels])
    with tf.GradientTape() as tape:
        recorder = ConvolutionRecorder(tape)
        loss = loss_of(recorder)
    pairs = recorder.kernel_gradients(tape.gradient(loss, recorder.taps))
    deferred = {variable.ref(): gradient for gradient, variable in pairs}
    for cell, gradients in zip(cells, (expected[:2], expected[2:]), strict=True):
        for kernel, gradient in zip(cell.recorded_kernels, gradients, strict=True):
            np.testing.assert_allclose(
                deferred[kernel.ref()], gradient, atol=2e-5 * np.abs(gradient).max()
            )


def test_a_kernel_gradient_equals_central_differences_in_numpy(sequence):
    inputs, state = sequence
    cell = cell_of(FAST, 0.1)
    weights = np.random.default_rng(7).normal(size=[B, 6, 6, C])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(
            tf.cast(to_grid_major(weights), tf.float32) * cell(inputs[0], state).hidden
        )
    gradient = tape.gradient(loss, cell.conv_h.kernel).numpy()
    before = cell.conv_h.kernel.numpy()
    for index in [(0, 0, 0, 0), (2, 2, 1, 5), (4, 3, 3, 15)]:
        losses = []
        for step in (1e-2, -1e-2):
            changed = before.copy()
            changed[index] += step
            cell.conv_h.kernel.assign(changed)
            losses.append(np.sum(weights * numpy_step(cell, inputs[0], *state)[0]))
        slope = (losses[0] - losses[1]) / 2e-2
        np.testing.assert_allclose(gradient[index], slope, rtol=5e-3, atol=2e-3)


def to_grid_major(images: np.ndarray) -> np.ndarray:
    """[B, 6, 6, C] → [36, B, C]."""
    return images.reshape(len(images), 36, -1).transpose(1, 0, 2)
