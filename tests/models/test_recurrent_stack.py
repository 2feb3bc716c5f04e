"""Stacks of PredRNN and PredRNN++ against NumPy in float64, and what all kinds of stacks can do."""

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.experiment.config import build_config
from smallwm_tf.models.build import build_models
from smallwm_tf.models.convolution_recorder import ConvolutionRecorder
from smallwm_tf.models.execution import DIRECT, FAST
from smallwm_tf.models.memory_cell import MemoryCellState
from smallwm_tf.models.recurrent_stack import CELLS, RecurrentStack
from tests.models.numpy_layers import convolve, layer_norm, sigmoid, to_images

B, M, D, C, T = 2, 3, 5, 4, 3
EXECUTIONS = {"direct": DIRECT, "fast": FAST}
MEMORY_CELLS = ("st_lstm", "causal_lstm")


@pytest.fixture(scope="module", params=[(c, e) for c in MEMORY_CELLS for e in EXECUTIONS])
def made(request):
    """Name of the cell, and a stack all of whose weights are random, ones and zeros too."""
    cell, execution = request.param
    stack = RecurrentStack(cell, M, D, C, EXECUTIONS[execution], name="stack")
    draw = np.random.default_rng(0)
    for variable in stack.trainable_variables:
        scale = 0.1 if variable.shape.rank == 4 else 0.5
        variable.assign(scale * draw.normal(size=variable.shape))
    return cell, stack


@pytest.fixture(scope="module")
def steps():
    """Embedding vectors and actions of T steps."""
    draw = np.random.default_rng(1)
    embedded = [tf.constant(draw.normal(size=[36, B, D]), tf.float32) for _ in range(T)]
    return embedded, [tf.constant(draw.integers(M, size=B), tf.int32) for _ in range(T)]


def random_state(stack):
    draw = np.random.default_rng(2)
    return tf.nest.map_structure(
        lambda zeros: tf.constant(draw.normal(size=zeros.shape), tf.float32),
        stack.initial_state(B),
    )


# --- the equations ---------------------------------------------------------------------------


def normed(layer, scale, offset, images) -> list[np.ndarray]:
    """A convolution and its layer norm, by gates of C channels."""
    features = layer_norm(convolve(images, layer.kernel.numpy()), scale, offset)
    return [features[..., k : k + C] for k in range(0, features.shape[-1], C)]


def numpy_st_lstm(cell, x, h, c, m):
    """h_t, C_t and M' of equation 3 of PredRNN."""
    p, out = cell.gate_parameters, cell.output_parameters
    bias = p.bias.numpy().reshape(7, C)
    by_x = normed(cell.conv_x, p.input_scale, p.input_offset, x)
    xi, xf, xg, xi2, xf2, xg2, xo = (a + b for a, b in zip(by_x, bias, strict=True))
    hi, hf, hg, ho = normed(cell.conv_h, p.hidden_scale, p.hidden_offset, h)
    mi, mf, mg = normed(cell.conv_m, p.memory_scale, p.memory_offset, m)
    new_c = sigmoid(xf + hf + 1.0) * c + sigmoid(xi + hi) * np.tanh(xg + hg)
    new_m = sigmoid(xf2 + mf + 1.0) * m + sigmoid(xi2 + mi) * np.tanh(xg2 + mg)
    both = np.concatenate([new_c, new_m], axis=-1)
    (bo,) = normed(cell.conv_o, out.scale, out.offset, both)
    return sigmoid(xo + ho + bo) * np.tanh(both @ out.reduction.numpy()), new_c, new_m


def numpy_causal_lstm(cell, x, h, c, m):
    """h_t, C_t and M' of equation 3 of PredRNN++."""
    p, q, out = cell.cell_parameters, cell.memory_parameters, cell.output_parameters
    bias = p.bias.numpy().reshape(7, C)
    by_x = normed(cell.conv_x, p.input_scale, p.input_offset, x)
    xi, xf, xg, xi2, xf2, xg2, xo = (a + b for a, b in zip(by_x, bias, strict=True))
    hi, hf, hg = normed(cell.conv_h, p.hidden_scale, p.hidden_offset, h)
    ci, cf, cg = normed(cell.conv_c, p.cell_scale, p.cell_offset, c)
    new_c = sigmoid(xf + hf + cf + 1.0) * c + sigmoid(xi + hi + ci) * np.tanh(xg + hg + cg)
    ni, nf, ng, no = normed(cell.conv_new_c, q.new_cell_scale, q.new_cell_offset, new_c)
    mi, mf, mg, transition = normed(cell.conv_m, q.memory_scale, q.memory_offset, m)
    kept = sigmoid(xf2 + nf + mf + 1.0) * np.tanh(transition)
    new_m = kept + sigmoid(xi2 + ni + mi) * np.tanh(xg2 + ng + mg)
    (mo,) = normed(cell.conv_new_m, out.scale, out.offset, new_m)
    both = np.concatenate([new_c, new_m], axis=-1)
    return np.tanh(xo + no + mo) * np.tanh(both @ out.reduction.numpy()), new_c, new_m


def numpy_highway(unit, x, z):
    """Z_t of equation 4 of PredRNN++."""
    p = unit.gate_parameters
    bias = p.bias.numpy().reshape(2, C)
    xp, xs = normed(unit.conv_x, p.input_scale, p.input_offset, x)
    zp, zs = normed(unit.conv_h, p.hidden_scale, p.hidden_offset, z)
    switch = sigmoid(xs + zs + bias[1])
    return switch * np.tanh(xp + zp + bias[0]) + (1.0 - switch) * z


def numpy_step(name, stack, x, actions, state):
    """y_t and the next state, flat, as images; the state is [h1, c1, (z,) h2, c2, m]."""
    planes = np.broadcast_to(np.eye(M)[actions][:, np.newaxis, np.newaxis], [B, 6, 6, M])

    def seen(features):
        return np.concatenate([features, planes], axis=-1)

    if name == "st_lstm":
        h1, c1, h2, c2, m = state
        lower, upper = stack.cells
        h1, c1, m = numpy_st_lstm(lower, seen(x), h1, c1, m)
        h2, c2, m = numpy_st_lstm(upper, seen(h1), h2, c2, m)
        return seen(h2), [h1, c1, h2, c2, m]
    h1, c1, z, h2, c2, m = state
    lower, highway, upper = stack.cells
    h1, c1, m = numpy_causal_lstm(lower, seen(x), h1, c1, m)
    z = numpy_highway(highway, seen(h1), z)
    h2, c2, m = numpy_causal_lstm(upper, seen(z), h2, c2, m)
    return seen(h2), [h1, c1, z, h2, c2, m]


@pytest.mark.parametrize("prepares", [True, False])
def test_steps_equal_numpy(made, steps, prepares):
    name, stack = made
    state = random_state(stack)
    expected = [to_images(tensor) for tensor in tf.nest.flatten(state)]
    kernels = stack.prepare() if prepares else None
    for embedded, actions in zip(*steps, strict=True):
        y, state = stack.step(embedded, actions, state, kernels)
        y_expected, expected = numpy_step(name, stack, to_images(embedded), actions, expected)
        np.testing.assert_allclose(to_images(y), y_expected, atol=1e-4)
        for ours, theirs in zip(tf.nest.flatten(state), expected, strict=True):
            np.testing.assert_allclose(to_images(ours), theirs, atol=1e-4)


def test_deferred_kernel_gradients_equal_the_tapes(made, steps):
    _, stack = made
    start, weights = random_state(stack), tf.random.stateless_normal([T, 36, B, C + M], [5, 6])
    kernels = stack.recorded_kernels
    assert len(kernels) == sum(v.shape.rank == 4 for v in stack.trainable_variables)
    others = [v for v in stack.trainable_variables if v.shape.rank != 4]

    def unrolled_loss(recorder):
        state, prepared, loss = start, stack.prepare(), 0.0
        for weight, embedded, actions in zip(weights, *steps, strict=True):
            y, state = stack.step(embedded, actions, state, prepared, recorder)
            loss += tf.reduce_sum(weight * y)
        return loss + tf.reduce_sum(state[-1])  # so that the last memory counts, too

    with tf.GradientTape() as tape:
        plain_loss = unrolled_loss(None)
    expected, expected_others = tape.gradient(plain_loss, [kernels, others])
    with tf.GradientTape() as tape:
        recorder = ConvolutionRecorder(tape)
        loss = unrolled_loss(recorder)
    taps, found_others = tape.gradient(loss, [recorder.taps, others])
    deferred = {variable.ref(): gradient for gradient, variable in recorder.kernel_gradients(taps)}
    np.testing.assert_allclose(loss, plain_loss, rtol=1e-5)
    assert len(deferred) == len(kernels)
    for kernel, gradient in zip(kernels, expected, strict=True):
        largest = np.abs(gradient).max()
        assert largest > 1e-3
        np.testing.assert_allclose(deferred[kernel.ref()], gradient, atol=5e-5 * largest)
    for ours, theirs in zip(found_others, expected_others, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=5e-4)


# --- all kinds -------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[*((c, 0) for c in CELLS), ("st_lstm", 2)])
def world_model(request):
    cell, past_codes = request.param
    config = build_config(
        {
            "dynamics.cell": cell,
            "dynamics.past_codes": past_codes,
            "vqvae.embedding_dim": D,
            "dynamics.channels": C,
            "dynamics.convolution": "direct",
            "game.num_stacked_frames": 1,
        }
    )
    return build_models(config, M)[0]


def test_a_state_begins_with_zeros_and_is_masked_by_batch_elements(world_model):
    stack = world_model.dynamics.stack
    for name, tensor in zip(
        stack.state_names, tf.nest.flatten(stack.initial_state(B)), strict=True
    ):
        channels = 2 * D if name == "past_codes" else C
        np.testing.assert_array_equal(tensor, np.zeros([36, B, channels], np.float32))
    state = random_state(stack)
    masked = world_model.masked(state, tf.constant([False, True]))
    tf.nest.assert_same_structure(state, masked)
    for before, after in zip(tf.nest.flatten(state), tf.nest.flatten(masked), strict=True):
        np.testing.assert_array_equal(after[:, 0], np.zeros_like(before[:, 0]))
        np.testing.assert_array_equal(after[:, 1], before[:, 1])


def test_a_state_comes_back_out_of_its_images(world_model):
    stack = world_model.dynamics.stack
    state = random_state(stack)
    images = world_model.state_to_images(state)
    assert len(images) == len(set(stack.state_names)) == len(stack.state_names)
    for image, tensor in zip(images, tf.nest.flatten(state), strict=True):
        np.testing.assert_array_equal(image, to_images(tensor).astype(np.float32))
    back = world_model.state_from_images(images)
    tf.nest.assert_same_structure(state, back)
    tf.nest.map_structure(np.testing.assert_array_equal, state, back)


def test_names_of_a_state_say_what_it_holds(world_model):
    stack = world_model.dynamics.stack
    named = dict(zip(stack.state_names, tf.nest.flatten(random_state(stack)), strict=True))
    state = random_state(stack)
    for number, cell in ((1, state[0]), (2, state[len(stack.cells) - 1])):
        np.testing.assert_array_equal(named[f"hidden_{number}"], cell.hidden)
        np.testing.assert_array_equal(named[f"cell_{number}"], cell.cell)
    if isinstance(state[0], MemoryCellState):
        np.testing.assert_array_equal(named["memory"], state[len(stack.cells)])
    if len(stack.cells) == 3:
        np.testing.assert_array_equal(named["highway"], state[1].hidden)


@pytest.mark.parametrize("cell", ["conv_lstm", "causal_lstm"])
def test_heads_see_codes_of_before_beside_what_the_cells_give(cell, steps):
    paper, stack = (RecurrentStack(cell, M, D, C, DIRECT, past) for past in (0, 2))
    stack.set_weights(paper.get_weights())
    state, plain = stack.initial_state(B), paper.initial_state(B)
    embedded, seen = steps[0], [np.zeros([36, B, D])] * 2
    for number, (vectors, actions) in enumerate(zip(*steps, strict=True)):
        y, state = stack.step(vectors, actions, state)
        y_plain, plain = paper.step(vectors, actions, plain)
        seen = [vectors, *seen]
        np.testing.assert_allclose(y, np.concatenate([y_plain, *seen[:3]], axis=-1), atol=1e-6)
        assert y.shape[-1] == stack.num_channels and y_plain.shape[-1] == paper.num_channels
        latest = [embedded[number - k] if number >= k else 0 * vectors for k in range(2)]
        np.testing.assert_array_equal(state[-1], np.concatenate(latest, axis=-1))
        for ours, theirs in zip(tf.nest.flatten(state)[:-1], tf.nest.flatten(plain), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_weights_begin_as_those_of_the_convlstm(world_model):
    """Uniform ±1/√fan_in, norms as the identity; every weight of a cell draws its own values."""
    drawn = []
    for number, cell in enumerate(world_model.dynamics.stack.cells):
        for variable in cell.trainable_variables:
            name, values = variable.name.split("/")[-1].split(":")[0], variable.numpy()
            if name.endswith(("_scale", "_offset")):
                np.testing.assert_array_equal(values, float(name.endswith("_scale")))
                continue
            drawn.append(values.ravel())
            if name.endswith("_peephole"):
                continue
            fan_in = {"bias": 25 * C, "reduction": 2 * C}.get(name) or 25 * values.shape[2]
            limit = 1.0 / np.sqrt(fan_in)
            assert 0.8 * limit < np.abs(values).max() <= limit * (1 + 1e-6), (number, name)
    firsts = [values[:C].tobytes() for values in drawn]
    assert len(set(firsts)) == len(firsts)
