"""The network of model-free PPO against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.experiment.config import build_config
from smallwm_tf.models.build import build_frame_policy
from smallwm_tf.models.parameter_counts import frame_policy_counts

M, F = 6, 4


@pytest.fixture(scope="module")
def policy():
    return build_frame_policy(build_config({"game.num_stacked_frames": F}), M, seed=3)


def convolve(features, layer, stride):
    """A VALID convolution and a rectifier, patch by patch; features [height, width, channels]."""
    kernel, bias = (variable.numpy().astype(np.float64) for variable in layer.variables)
    size = kernel.shape[0]
    out = (features.shape[0] - size) // stride + 1
    patches = [
        features[stride * y : stride * y + size, stride * x : stride * x + size].ravel()
        for y in range(out)
        for x in range(out)
    ]
    products = np.array(patches) @ kernel.reshape(-1, kernel.shape[-1]) + bias
    return np.maximum(products, 0.0).reshape(out, out, -1)


def test_logits_and_values_are_those_of_numpy(policy):
    frames = np.random.default_rng(1).integers(256, size=[2, 96, 96, F], dtype=np.uint8)
    logits, values = policy(tf.constant(frames))
    for number in range(2):
        features = frames[number] / 255.0
        for layer, stride in zip(policy.convolutions, (4, 2, 1), strict=True):
            features = convolve(features, layer, stride)
        assert features.shape == (8, 8, 64)
        kernel, bias = policy.hidden.get_weights()
        hidden = np.maximum(features.ravel() @ kernel + bias, 0.0)
        heads = [
            hidden @ w + b for w, b in (policy.logits.get_weights(), policy.value.get_weights())
        ]
        np.testing.assert_allclose(logits[number], heads[0], atol=1e-4)
        np.testing.assert_allclose(values[number], heads[1][0], atol=1e-4)


def test_kernels_are_orthogonal_with_the_gains_of_baselines(policy):
    layers = [*policy.convolutions, policy.hidden, policy.logits, policy.value]
    for layer, gain in zip(layers, (2**0.5,) * 4 + (0.01, 1.0), strict=True):
        kernel, bias = layer.get_weights()
        columns = kernel.reshape(-1, kernel.shape[-1])
        np.testing.assert_allclose(
            columns.T @ columns, gain**2 * np.eye(columns.shape[1]), atol=1e-4 * gain
        )
        assert not bias.any()


def test_weights_follow_the_seed_and_their_number_is_that_of_the_layers(policy):
    again, other = (
        build_frame_policy(build_config({"game.num_stacked_frames": F}), M, seed) for seed in (3, 4)
    )
    for a, b, c in zip(policy.get_weights(), again.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
        assert not a.any() or not np.array_equal(a, c)
    expected = 8 * 8 * F * 32 + 32 + 4 * 4 * 32 * 64 + 64 + 3 * 3 * 64 * 64 + 64
    expected += 8 * 8 * 64 * 512 + 512 + 513 * M + 513
    assert set(frame_policy_counts(policy).values()) == {expected}
