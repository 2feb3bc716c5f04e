"""Initial ranges of all weights: uniform ±1/√fan_in, as PyTorch's layers have by default."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from smallwm_tf.experiment.config import build_config
from smallwm_tf.models.build import build_models
from smallwm_tf.models.grid_normalization import GridLayerNormalization

F, M, C = 4, 6, 16


@pytest.fixture(scope="module")
def models():
    tf.keras.utils.set_random_seed(0)
    config = build_config({"dynamics.channels": C, "dynamics.convolution": "direct"})
    return build_models(config, M)


def uniform_weights(world_model, policy) -> dict[str, tuple[tf.Variable, int]]:
    """Name → (kernel or bias, fan-in); fan-ins are written out, not read from the layers."""
    table = {}

    def add(name: str, layer, fan_in: int, has_bias: bool) -> None:
        table[f"{name}.kernel"] = layer.kernel, fan_in
        if has_bias:
            table[f"{name}.bias"] = layer.bias, fan_in

    encoder, decoder = world_model.vqvae.encoder, world_model.vqvae.decoder
    for i, channels in enumerate([F, 32, 64, 128]):
        add(f"encoder.{i}", encoder.convolutions[i], 16 * channels, has_bias=False)
    for i in range(2):
        for part, has_bias in ((encoder, False), (decoder, True)):
            block = part.residual_blocks[i]
            add(f"{part.name}.block_{i}.3x3", block.conv_3x3, 9 * 256, has_bias)
            add(f"{part.name}.block_{i}.1x1", block.conv_1x1, 256, has_bias)
    add("encoder.projection", encoder.projection, 256, has_bias=False)
    add("decoder.expansion", decoder.expansion, 9 * 32, has_bias=True)
    # The fan-in of PyTorch's transposed convolutions counts their output channels.
    for i, channels in enumerate([128, 64, 32, F]):
        add(f"decoder.up_{i}", decoder.deconvolutions[i], 16 * channels, has_bias=True)

    dynamics = world_model.dynamics
    cells = dynamics.stack.cells
    for i, (cell, in_channels) in enumerate([(cells[0], 32 + M), (cells[1], C + M)]):
        add(f"cell_{i}.conv_x", cell.conv_x, 25 * in_channels, has_bias=False)
        add(f"cell_{i}.conv_h", cell.conv_h, 25 * C, has_bias=False)
        table[f"cell_{i}.bias"] = cell.gate_parameters.bias, 25 * C
    add("code_head", dynamics.code_head.convolution, C + M, has_bias=True)
    head = dynamics.event_head
    add("event_head.1x1", head.convolution, C + M, has_bias=True)
    add("event_head.hidden", head.hidden, 36 * 32, has_bias=True)
    add("event_head.logits", head.logits, 512, has_bias=True)

    add("policy.1x1", policy.conv_1x1, 32, has_bias=False)
    add("policy.5x5", policy.conv_5x5, 25 * 64, has_bias=False)
    add("policy.hidden", policy.hidden, 36 * 64, has_bias=True)
    add("policy.logits", policy.logits, 512, has_bias=True)
    add("policy.value", policy.value, 512, has_bias=True)
    return table


def affine_weights(world_model, policy) -> tuple[list[tf.Variable], list[tf.Variable]]:
    """Weights of all norms that start at one, and those that start at zero."""
    ones, zeros = [], []
    for module in (world_model, policy):
        for layer in module.submodules:
            if isinstance(layer, GridLayerNormalization):
                ones.append(layer.scale)
                zeros.append(layer.offset)
            if isinstance(layer, tf_keras.layers.BatchNormalization):
                ones.append(layer.gamma)
                zeros.append(layer.beta)
    for cell in world_model.dynamics.stack.cells:
        ones += [cell.gate_parameters.input_scale, cell.gate_parameters.hidden_scale]
        zeros += [cell.gate_parameters.input_offset, cell.gate_parameters.hidden_offset]
    return ones, zeros


def test_kernels_and_biases_fill_their_range(models):
    for name, (variable, fan_in) in uniform_weights(*models).items():
        limit = 1.0 / math.sqrt(fan_in)
        values = variable.numpy().ravel()
        assert np.abs(values).max() <= limit * (1 + 1e-6), name
        if values.size >= 1000:
            assert values.max() > 0.99 * limit and values.min() < -0.99 * limit, name
            np.testing.assert_allclose(values.std(), limit / math.sqrt(3), rtol=0.1, err_msg=name)
        elif values.size >= 16:
            assert np.abs(values).max() > 0.7 * limit, name
        assert np.mean(values == 0.0) < 0.01, name


def test_small_biases_are_not_zero_and_differ_between_builds(models):
    value_bias = models[1].value.bias.numpy()
    assert value_bias.shape == (1,) and 0 < abs(value_bias[0]) <= 1 / math.sqrt(512)
    decoder_bias = models[0].vqvae.decoder.deconvolutions[-1].bias.numpy()
    assert len(set(decoder_bias.tolist())) == F


def test_norms_start_as_the_identity(models):
    ones, zeros = affine_weights(*models)
    assert len(ones) == 9 + 1 + 4 + 2  # batch norms, reward head, cells, policy
    for variable in ones:
        np.testing.assert_array_equal(variable, np.ones(variable.shape))
    for variable in zeros:
        np.testing.assert_array_equal(variable, np.zeros(variable.shape))


def test_peepholes_are_drawn_from_a_unit_normal(models):
    values = np.concatenate(
        [
            peephole.numpy()
            for cell in models[0].dynamics.stack.cells
            for peephole in cell.gate_parameters[-3:]
        ]
    )
    assert values.size == 6 * C
    assert 0.75 < values.std() < 1.3 and abs(values.mean()) < 0.4


def test_nothing_trainable_is_left_out_of_these_tests(models):
    world_model, policy = models
    seen = {variable.ref() for variable, _ in uniform_weights(*models).values()}
    ones, zeros = affine_weights(*models)
    seen |= {variable.ref() for variable in [*ones, *zeros]}
    for cell in world_model.dynamics.stack.cells:
        seen |= {peephole.ref() for peephole in cell.gate_parameters[-3:]}
    for model in (world_model.vqvae, world_model.dynamics, policy):
        assert {v.ref() for v in model.trainable_variables} <= seen
        seen -= {v.ref() for v in model.trainable_variables}
    assert not seen


def test_the_codebook_starts_uniform_with_its_averages_in_step(models):
    quantizer = models[0].vqvae.quantizer
    embeddings = quantizer.embeddings.numpy()
    limit = math.sqrt(3 / 128)
    assert embeddings.shape == (128, 32)
    assert 0.99 * limit < np.abs(embeddings).max() <= limit * (1 + 1e-6)
    np.testing.assert_allclose(embeddings.std(), limit / math.sqrt(3), rtol=0.05)
    np.testing.assert_array_equal(quantizer.ema_cluster_size, np.ones(128))
    np.testing.assert_array_equal(quantizer.ema_cluster_sum, embeddings)


def test_batch_norms_have_pytorchs_settings(models):
    norms = [
        layer
        for layer in models[0].vqvae.submodules
        if isinstance(layer, tf_keras.layers.BatchNormalization)
    ]
    assert len(norms) == 9
    for norm in norms:
        assert norm.epsilon == 1e-5
        assert norm.momentum == 0.9
        np.testing.assert_array_equal(norm.moving_mean, np.zeros(norm.moving_mean.shape))
        np.testing.assert_array_equal(norm.moving_variance, np.ones(norm.moving_mean.shape))
