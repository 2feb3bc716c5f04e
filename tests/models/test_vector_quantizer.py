"""The vector quantiser against NumPy in float64."""

import math

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.models.vector_quantizer import VectorQuantizer, perplexity

K, D = 11, 5
DECAY, EPSILON = 0.9, 1e-3


@pytest.fixture
def quantizer():
    layer = VectorQuantizer(K, D, decay=DECAY, epsilon=EPSILON)
    embeddings = np.random.default_rng(0).normal(size=[K, D]).astype(np.float32)
    layer.embeddings.assign(embeddings)
    layer.ema_cluster_sum.assign(embeddings)
    return layer


@pytest.fixture
def vectors():
    return np.random.default_rng(1).normal(size=[3, 6, 6, D]).astype(np.float32)


def distances(vectors: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """[..., D] and [K, D] → [..., K], float64."""
    difference = vectors[..., np.newaxis, :].astype(np.float64) - embeddings
    return np.sum(difference**2, axis=-1)


def test_every_vector_gets_its_nearest_embedding(quantizer, vectors):
    expected = np.argmin(distances(vectors, quantizer.embeddings.numpy()), axis=-1)
    result = quantizer(vectors)
    assert result.encoding_indices.dtype == tf.int32
    np.testing.assert_array_equal(result.encoding_indices, expected)
    np.testing.assert_array_equal(quantizer.nearest(vectors), expected)
    np.testing.assert_allclose(result.quantized, quantizer.embeddings.numpy()[expected], atol=1e-6)
    np.testing.assert_array_equal(
        quantizer.lookup(expected), quantizer.embeddings.numpy()[expected]
    )


def test_the_gradient_passes_straight_through(quantizer, vectors):
    weights = np.random.default_rng(2).normal(size=vectors.shape).astype(np.float32)
    inputs = tf.constant(vectors)
    with tf.GradientTape() as tape:
        tape.watch([inputs, quantizer.embeddings])
        loss = tf.reduce_sum(quantizer(inputs).quantized * weights)
    to_inputs, to_embeddings = tape.gradient(loss, [inputs, quantizer.embeddings.value()])
    np.testing.assert_allclose(to_inputs, weights, rtol=1e-6)
    assert to_embeddings is None


def test_the_commitment_loss_is_the_mean_squared_distance_and_pulls_the_inputs_only(
    quantizer, vectors
):
    inputs = tf.constant(vectors)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        tape.watch(quantizer.embeddings)
        loss = quantizer(inputs).commitment_loss
    to_inputs, to_embeddings = tape.gradient(loss, [inputs, quantizer.embeddings])
    embeddings = quantizer.embeddings.numpy()
    nearest = embeddings[np.argmin(distances(vectors, embeddings), axis=-1)]
    np.testing.assert_allclose(loss, np.mean((nearest - vectors) ** 2.0), rtol=1e-5)
    np.testing.assert_allclose(to_inputs, 2 * (vectors - nearest) / vectors.size, atol=1e-7)
    assert to_embeddings is None


def test_two_training_calls_move_the_codebook_as_in_numpy(quantizer):
    embeddings = quantizer.embeddings.numpy().astype(np.float64)
    sizes, sums = np.ones(K), embeddings.copy()
    for step in range(2):
        # Vectors near the first four embeddings only: the others are never used.
        draw = np.random.default_rng(step)
        vectors = embeddings[draw.integers(4, size=[2, 6, 6])] + 0.05 * draw.normal(
            size=[2, 6, 6, D]
        )
        vectors = vectors.astype(np.float32)
        flat = vectors.reshape(-1, D).astype(np.float64)
        assigned = np.argmin(distances(flat, embeddings), axis=-1)
        for k in range(K):
            sizes[k] = DECAY * sizes[k] + (1 - DECAY) * np.sum(assigned == k)
            sums[k] = DECAY * sums[k] + (1 - DECAY) * flat[assigned == k].sum(axis=0)
        smoothed = (sizes + EPSILON) / (sizes.sum() + K * EPSILON) * sizes.sum()
        embeddings = sums / smoothed[:, np.newaxis]
        quantizer(vectors, training=True)
        np.testing.assert_allclose(quantizer.ema_cluster_size, sizes, rtol=1e-5)
        np.testing.assert_allclose(quantizer.ema_cluster_sum, sums, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(quantizer.embeddings, embeddings, rtol=1e-4, atol=1e-6)


def test_embeddings_that_nothing_uses_stay_where_they_are(quantizer):
    before = quantizer.embeddings.numpy()
    vectors = tf.repeat(quantizer.embeddings[:1], 100, axis=0)
    for _ in range(20):
        quantizer(vectors, training=True)
    # Laplace smoothing is all that may move them: sizes shrink to 0.9^20 = 0.12, epsilon is 1e-3.
    np.testing.assert_allclose(quantizer.embeddings, before, rtol=0.02, atol=1e-4)


def test_the_codebook_moves_in_training_only(quantizer, vectors):
    before = [variable.numpy() for variable in quantizer.variables]
    quantizer(vectors)
    quantizer(vectors, training=False)
    quantizer.nearest(vectors)
    for variable, value in zip(quantizer.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    quantizer(vectors, training=True)
    for variable, value in zip(quantizer.variables, before, strict=True):
        assert not np.array_equal(variable, value), variable.name


def test_no_gradient_step_can_reach_the_codebook(quantizer):
    assert quantizer.trainable_variables == []
    assert len(quantizer.variables) == 3


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        ([[4, 4], [4, 4]], 1.0),
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 11.0),
        ([0, 0, 0, 7], math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))),
    ],
)
def test_perplexity_of_hand_counted_use(indices, expected):
    np.testing.assert_allclose(perplexity(tf.constant(indices), K), expected, rtol=1e-5)
