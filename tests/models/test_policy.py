"""Policy and value against NumPy, and the trunk that TF-Agents' two networks share."""

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.models.execution import DIRECT, FAST
from smallwm_tf.models.frame_policy import FramePolicy
from smallwm_tf.models.policy import PolicyAndValue

B, M, D, K = 2, 5, 4, 7


@pytest.fixture(scope="module", params=[DIRECT, FAST])
def model(request):
    network = PolicyAndValue(num_actions=M, embedding_dim=D, execution=request.param)
    draw = np.random.default_rng(0)
    for norm in (network.norm_1x1, network.norm_5x5):
        norm.scale.assign(draw.uniform(0.5, 1.5, size=norm.scale.shape))
        norm.offset.assign(draw.normal(scale=0.3, size=norm.offset.shape))
    return network


@pytest.fixture(scope="module")
def codebook():
    return np.random.default_rng(1).normal(size=[K, D]).astype(np.float32)


@pytest.fixture
def codes():
    return np.random.default_rng(2).integers(K, size=[B, 6, 6]).astype(np.int32)


def leaky_relu(features: np.ndarray) -> np.ndarray:
    return np.where(features > 0, features, 0.01 * features)


def layer_norm(images: np.ndarray, norm) -> np.ndarray:
    """[B, 6, 6, C], over everything but the batch."""
    scale, offset = (v.numpy().reshape(6, 6, -1) for v in (norm.scale, norm.offset))
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    variance = images.var(axis=(1, 2, 3), keepdims=True)
    return (images - mean) / np.sqrt(variance + 1e-5) * scale + offset


def reference(model: PolicyAndValue, embedded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits and values of embedding vectors [B, 6, 6, D], float64."""
    features = embedded.astype(np.float64) @ model.conv_1x1.kernel.numpy()
    features = leaky_relu(layer_norm(features, model.norm_1x1))
    padded = np.pad(features, [(0, 0), (2, 2), (2, 2), (0, 0)])
    kernel = model.conv_5x5.kernel.numpy()
    features = sum(
        padded[:, i : i + 6, j : j + 6] @ kernel[i, j] for i in range(5) for j in range(5)
    )
    features = leaky_relu(layer_norm(features, model.norm_5x5)).reshape(len(embedded), -1)
    hidden = leaky_relu(features @ model.hidden.kernel.numpy() + model.hidden.bias.numpy())
    logits = hidden @ model.logits.kernel.numpy() + model.logits.bias.numpy()
    return logits, (hidden @ model.value.kernel.numpy() + model.value.bias.numpy())[:, 0]


# Small vectors bring the first layer norm's variance near its epsilon.
@pytest.mark.parametrize(
    "build",
    [lambda: PolicyAndValue(M, D, DIRECT), lambda: FramePolicy(M, 4)],
    ids=["codes", "frames"],
)
def test_the_order_of_names_depends_on_nothing(build):
    """TF-Agents sorts gradients by name. Equal names would come in the order of addresses, and
    numbers that Keras gives to layers depend on what was built before."""

    def order(network):
        names = [variable.name for variable in network.trainable_variables]
        assert len(set(names)) == len(names) >= 10
        return sorted(range(len(names)), key=names.__getitem__)

    first = order(build())
    for _ in range(10):  # past the tenth of a kind, which sorts before the second
        assert order(build()) == first


@pytest.mark.parametrize("scale", [1.0, 5e-3])
def test_logits_and_values_equal_numpy(model, scale):
    embedded = scale * np.random.default_rng(3).normal(size=[B, 6, 6, D])
    codes = np.arange(B * 36).reshape(B, 6, 6)  # every cell has a vector of its own
    logits, values = model(tf.constant(codes), tf.constant(embedded.reshape(-1, D), tf.float32))
    expected_logits, expected_values = reference(model, embedded)
    np.testing.assert_allclose(logits, expected_logits, atol=1e-5)
    np.testing.assert_allclose(values, expected_values, atol=1e-5)
