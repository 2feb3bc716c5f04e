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


PAPERS = {"decay": 0.99, "epsilon": 1e-5}


def layer_at(embeddings, **settings):
    """A quantiser with these embeddings and averages in step."""
    layer = VectorQuantizer(*embeddings.shape, **{**PAPERS, **settings})
    layer.embeddings.assign(embeddings)
    layer.reset_averages()
    return layer


def learning(layer):
    """A training step in a graph: vectors → codes."""
    return tf.function(lambda vectors: layer(vectors, training=True).encoding_indices)


def clusters(count, seed=0):
    """Centres [count, D] that lie far from each other, float32."""
    return (3.0 * np.eye(count, D, k=0) + np.linspace(-9, 9, count)[:, np.newaxis]).astype("f4")


def batch_of(centres, number):
    """24 vectors around each of the centres, with means that are exactly the centres."""
    noise = 0.05 * np.random.default_rng(number).normal(size=[12, 1, D])
    noise = np.concatenate([noise, -noise])
    return (centres + noise).reshape(-1, D).astype(np.float32)


def test_an_embedding_that_nothing_uses_shrinks_to_half_in_1146_updates():
    """The authors' arithmetic: e·dⁿ / (dⁿ + epsilon); the used ones stay at their means."""
    centres = clusters(4)
    unused = np.full([1, D], 100.0, np.float32)
    layer = layer_at(np.concatenate([centres, unused]))
    step = learning(layer)
    batches = [batch_of(centres, number) for number in range(5)]
    size, shares = 1.0, {0: 1.0}
    for update in range(1, 2001):
        size *= 0.99  # float64
        indices = step(batches[update % 5])
        if update in (20, 1145, 1146, 1604, 2000):
            shares[update] = float(tf.norm(layer.embeddings[4]) / np.linalg.norm(unused))
            assert shares[update] == pytest.approx(size / (size + 1e-5), rel=2e-3), update
            np.testing.assert_allclose(layer.embeddings[:4], centres, rtol=1e-4, atol=1e-4)
            assert 4 not in indices
    assert shares[1145] > 0.5 > shares[1146] and shares[1604] < 0.01
    assert shares[20] > 0.999  # which is why 20 updates show nothing


def test_unused_embeddings_restart_where_the_codebook_is_worst_until_all_are_used():
    centres = clusters(K)  # more than the three codes that are used at first
    start = np.concatenate([centres[:3], np.full([K - 3, D], 100.0)]).astype(np.float32)
    without, layer = layer_at(start), layer_at(start, restart_below=0.1)
    steps = learning(layer), learning(without)
    batches = [batch_of(centres, number) for number in range(5)]
    restarts = []
    for update in range(1, 1201):
        vectors = batches[update % 5]
        before, sizes = layer.embeddings.numpy(), layer.ema_cluster_size.numpy()
        distance = distances(vectors, before)  # [N, K]
        is_used = np.isin(np.arange(K), np.argmin(distance, axis=-1))
        for step in steps:
            step(vectors)
        after = layer.embeddings.numpy()
        may_restart = ~is_used & (0.99 * sizes < 0.1)
        is_moved = ~is_used & (
            np.abs(after - before).max(axis=-1) > 1e-2 * np.abs(before).max(axis=-1)
        )
        assert is_moved.sum() == may_restart.any() and may_restart[is_moved].all()
        if is_moved.any():
            restarts.append(update)
            worst = vectors[np.argmax(distance.min(axis=-1))]
            np.testing.assert_allclose(after[is_moved][0], worst, rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(layer.ema_cluster_size.numpy()[is_moved], 1.0)
    assert restarts[: K - 3] == list(range(230, 230 + K - 3))  # 0.99^230 < 0.1; one per update
    final = batch_of(centres, 0)
    assert float(perplexity(layer.nearest(final), K)) == pytest.approx(K, rel=1e-3)
    assert float(perplexity(without.nearest(final), K)) < 4
    order = np.argmin(distances(centres, layer.embeddings.numpy()), axis=-1)
    np.testing.assert_allclose(layer.embeddings.numpy()[order], centres, atol=0.1)


def test_a_used_embedding_is_never_moved_however_rarely_it_is_used():
    start = np.eye(3, D, dtype=np.float32) * 10
    plain, layer = layer_at(start), layer_at(start, restart_below=0.5)
    vectors = start[[0] * 20 + [1]] + np.linspace(0.0, 1.0, 21, dtype=np.float32)[:, np.newaxis]
    for quantizer in (plain, layer):
        quantizer.ema_cluster_size.assign([20.0, 0.05, 0.05])
        quantizer.ema_cluster_sum.assign(start * [[20.0], [0.05], [0.05]])
        quantizer(vectors, training=True)
    expected = plain.embeddings.numpy()
    np.testing.assert_allclose(layer.embeddings[:2], expected[:2], rtol=1e-3)
    np.testing.assert_allclose(layer.embeddings[2], vectors[20], rtol=1e-3)
    np.testing.assert_allclose(layer.ema_cluster_size, [20.0, 0.0595, 1.0], rtol=1e-5)


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
