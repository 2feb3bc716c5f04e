"""Encoder, decoder and losses of the VQ-VAE, recomputed in float64 with PyTorch's paddings."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from smallwm_tf.experiment.config import build_config
from smallwm_tf.models.execution import DIRECT, FAST
from smallwm_tf.models.vqvae import VQVAE, pixel_distribution, scale_pixels

B, F, K, D = 2, 3, 16, 8
SETTINGS = {
    "game.num_stacked_frames": F,
    "vqvae.num_embeddings": K,
    "vqvae.embedding_dim": D,
    "vqvae.ema_decay": 0.9,
}


@pytest.fixture(scope="module")
def vqvae():
    """A VQ-VAE all of whose norms have moved away from the identity."""
    model = VQVAE(build_config(SETTINGS))
    draw = np.random.default_rng(0)
    for variable in model.encoder.variables:
        if "gamma" in variable.name or "variance" in variable.name:
            variable.assign(draw.uniform(0.5, 2.0, size=variable.shape))
        elif "beta" in variable.name or "mean" in variable.name:
            variable.assign(draw.normal(scale=0.2, size=variable.shape))
    return model


@pytest.fixture
def frames():
    return np.random.default_rng(1).integers(256, size=[B, 96, 96, F], dtype=np.uint8)


def convolve(features: np.ndarray, layer, stride: int = 1) -> np.ndarray:
    """Zero padding of (k − 1) // 2 on every side, as in PyTorch's layers."""
    kernel = layer.kernel.numpy().astype(np.float64)
    margin = (kernel.shape[0] - 1) // 2
    padding = [[0, 0], [margin, margin], [margin, margin], [0, 0]]
    outputs = tf.nn.conv2d(tf.constant(features), kernel, stride, padding).numpy()
    return outputs + layer.bias.numpy() if layer.use_bias else outputs


def convolve_transposed(features: np.ndarray, layer) -> np.ndarray:
    """4×4, stride 2, padding 1: input pixel i spreads to output pixels 2i − 1 … 2i + 2."""
    kernel = layer.kernel.numpy().astype(np.float64)  # [4, 4, C_out, C_in]
    size = features.shape[1]
    spread = np.zeros([len(features), 2 * size + 2, 2 * size + 2, kernel.shape[2]])
    for i in range(4):
        for j in range(4):
            spread[:, i : i + 2 * size : 2, j : j + 2 * size : 2] += features @ kernel[i, j].T
    return spread[:, 1:-1, 1:-1] + layer.bias.numpy()


def batch_norm(features: np.ndarray, layer) -> np.ndarray:
    gamma, beta, mean, variance = (
        v.numpy().astype(np.float64)
        for v in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
    )
    return (features - mean) / np.sqrt(variance + 1e-5) * gamma + beta


def leaky_relu(features: np.ndarray) -> np.ndarray:
    return np.where(features > 0, features, 0.01 * features)


def reference_encoder(encoder, observations: np.ndarray) -> np.ndarray:
    features = observations.astype(np.float64)
    for layer, norm in zip(encoder.convolutions, encoder.norms, strict=True):
        features = leaky_relu(batch_norm(convolve(features, layer, stride=2), norm))
    for block in encoder.residual_blocks:
        inside = np.maximum(batch_norm(convolve(features, block.conv_3x3), block.norm_3x3), 0)
        inside = batch_norm(convolve(inside, block.conv_1x1), block.norm_1x1)
        features = leaky_relu(features + inside)
    return batch_norm(convolve(features, encoder.projection), encoder.projection_norm)


def reference_decoder(decoder, quantized: np.ndarray) -> np.ndarray:
    features = leaky_relu(convolve(quantized.astype(np.float64), decoder.expansion))
    for block in decoder.residual_blocks:
        inside = np.maximum(convolve(features, block.conv_3x3), 0)
        features = leaky_relu(features + convolve(inside, block.conv_1x1))
    for layer in decoder.deconvolutions[:-1]:
        features = leaky_relu(convolve_transposed(features, layer))
    return convolve_transposed(features, decoder.deconvolutions[-1])


def test_the_encoder_equals_its_layers_in_float64(vqvae, frames):
    vectors = vqvae.encoder(scale_pixels(frames))
    assert vectors.shape == [B, 6, 6, D]
    expected = reference_encoder(vqvae.encoder, frames / 255.0)
    np.testing.assert_allclose(vectors, expected, atol=2e-4)


def test_the_decoder_equals_its_layers_in_float64(vqvae):
    quantized = np.random.default_rng(2).normal(size=[B, 6, 6, D])
    logits = vqvae.decoder(tf.constant(quantized, tf.float32))
    assert logits.shape == [B, 96, 96, F]
    expected = reference_decoder(vqvae.decoder, quantized)
    np.testing.assert_allclose(logits, expected, atol=2e-5)


def test_codes_are_the_nearest_embeddings_of_scaled_frames(vqvae, frames):
    vectors = reference_encoder(vqvae.encoder, frames / 255.0)
    distances = ((vectors[..., np.newaxis, :] - vqvae.quantizer.embeddings.numpy()) ** 2).sum(-1)
    two_best = np.sort(distances, axis=-1)[..., :2]
    clear = two_best[..., 1] - two_best[..., 0] > 1e-3  # not decided by rounding
    codes = vqvae.encode(tf.constant(frames))
    assert codes.dtype == tf.int32 and codes.shape == [B, 6, 6]
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(codes.numpy()[clear], np.argmin(distances, axis=-1)[clear])


def test_decode_is_the_distribution_of_the_codes_embeddings(vqvae, frames):
    codes = np.random.default_rng(3).integers(K, size=[B, 6, 6])
    logits = reference_decoder(vqvae.decoder, vqvae.quantizer.embeddings.numpy()[codes])
    pixels = frames / 255.0
    expected = tfp.distributions.ContinuousBernoulli(logits=logits).log_prob(pixels)
    distribution = vqvae.decode(tf.constant(codes))
    assert distribution.event_shape == [96, 96, F] and distribution.batch_shape == [B]
    log_prob = distribution.log_prob(tf.constant(pixels, tf.float32))
    np.testing.assert_allclose(log_prob, expected.numpy().sum(axis=(1, 2, 3)), rtol=1e-4)


def test_an_even_image_has_mean_one_half_and_log_density_zero():
    distribution = pixel_distribution(tf.zeros([1, 96, 96, F]))
    np.testing.assert_allclose(distribution.log_prob(tf.ones([1, 96, 96, F])), [0.0], atol=1e-5)
    np.testing.assert_allclose(distribution.mean(), np.full([1, 96, 96, F], 0.5), atol=1e-6)


def test_losses_are_summed_over_pixels_and_averaged_over_the_batch(vqvae, frames):
    observations = frames / 255.0
    losses, quantized = vqvae.losses_of(tf.constant(observations, tf.float32), training=False)
    indices = quantized.encoding_indices
    vectors = vqvae.encoder(tf.constant(observations, tf.float32)).numpy()
    nearest = vqvae.quantizer.embeddings.numpy()[indices.numpy()]
    logits = reference_decoder(vqvae.decoder, nearest)
    log_prob = tfp.distributions.ContinuousBernoulli(logits=logits).log_prob(observations)
    reconstruction = -log_prob.numpy().sum() / B
    np.testing.assert_allclose(losses.reconstruction, reconstruction, rtol=1e-4)
    np.testing.assert_allclose(losses.commitment, np.mean((nearest - vectors) ** 2), rtol=1e-4)
    elbo = -reconstruction - 36 * math.log(K)
    np.testing.assert_allclose(losses.elbo, elbo, rtol=1e-4)


MARGIN = 0.1


@pytest.fixture(scope="module")
def squeezing():
    """A VQ-VAE with a margin, sure enough of its pixels for means beyond the margin."""
    exact = {"vqvae.likelihood": "exact", "vqvae.pixel_margin": MARGIN}
    model = VQVAE(build_config(SETTINGS | exact))
    last = model.decoder.deconvolutions[-1]
    last.kernel.assign(2000.0 * last.kernel)
    norm = model.encoder.projection_norm
    norm.gamma.assign(1000.0 * norm.gamma)  # far apart, the vectors have different codes
    return model


def log_density(logits: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """η·(x − ½) − log(sinh(η/2) / (η/2)), elementwise in float64."""
    half = np.where(np.abs(logits) < 1e-6, 1e-6, logits) / 2
    return logits * (pixels - 0.5) - np.log(np.sinh(half) / half)


def losses_by_hand(model, observations: np.ndarray, pixels: np.ndarray, weights=1.0) -> float:
    """Reconstruction loss of ``observations`` when the likelihood is about ``pixels``."""
    vectors = model.encoder(tf.constant(observations, tf.float32)).numpy()
    codes = model.quantizer.nearest(tf.constant(vectors)).numpy()
    logits = reference_decoder(model.decoder, model.quantizer.embeddings.numpy()[codes])
    return float(-np.sum(weights * log_density(logits, pixels)) / len(observations))


def test_with_a_margin_the_likelihood_is_about_squeezed_pixels(squeezing, frames):
    frames[0, :2] = [[[0]], [[255]]]
    observations = frames / 255.0
    squeezed = MARGIN + (1 - 2 * MARGIN) * observations
    assert (squeezed.min(), squeezed.max()) == (MARGIN, 1 - MARGIN)
    np.testing.assert_allclose(squeezing.squeeze(tf.constant(observations)), squeezed, rtol=1e-12)
    inputs = tf.constant(observations, tf.float32)
    losses, _ = squeezing.losses_of(inputs, training=False)
    # Only the likelihood: the encoder sees the pixels as they are.
    expected = losses_by_hand(squeezing, observations, squeezed)
    np.testing.assert_allclose(losses.reconstruction, expected, rtol=1e-4)
    assert abs(expected - losses_by_hand(squeezing, observations, observations)) > 1.0
    np.testing.assert_allclose(losses.elbo, -expected - 36 * math.log(K), rtol=1e-4)


def test_mean_pixels_undo_the_squeeze_and_stay_pixels(squeezing):
    codes = np.random.default_rng(3).integers(K, size=[B, 6, 6])
    logits = reference_decoder(squeezing.decoder, squeezing.quantizer.embeddings.numpy()[codes])
    means = 0.5 + 0.5 / np.tanh(logits / 2) - 1 / logits
    expected = np.clip((means - MARGIN) / (1 - 2 * MARGIN), 0.0, 1.0)
    assert means.min() < MARGIN / 2 and means.max() > 1 - MARGIN / 2  # some of both are clipped
    pixels = squeezing.mean_pixels(tf.constant(codes)).numpy()
    assert pixels.shape == (B, 96, 96, F)
    assert pixels.min() == 0.0 and pixels.max() == 1.0
    np.testing.assert_allclose(pixels, expected, atol=2e-4)


def test_without_a_margin_pixels_and_means_are_the_papers(vqvae, frames):
    assert vqvae.pixel_margin == 0.0
    observations = tf.constant(frames / 255.0, tf.float32)
    np.testing.assert_array_equal(vqvae.squeeze(observations), observations)
    codes = vqvae.encode(tf.constant(frames))
    np.testing.assert_array_equal(vqvae.mean_pixels(codes), vqvae.decode(codes).mean())
    losses, _ = vqvae.losses_of(observations, training=False)
    expected = losses_by_hand(vqvae, frames / 255.0, frames / 255.0)
    np.testing.assert_allclose(losses.reconstruction, expected, rtol=1e-4)


def test_weights_multiply_the_log_density_of_pixels_and_nothing_else(squeezing, frames):
    weights = np.random.default_rng(4).uniform(0.0, 10.0, size=frames.shape)
    observations = tf.constant(frames / 255.0, tf.float32)
    plain, quantized = squeezing.losses_of(observations, training=False)
    losses, weighted = squeezing.losses_of(
        observations, training=False, weights=tf.constant(weights, tf.float32)
    )
    squeezed = MARGIN + (1 - 2 * MARGIN) * frames / 255.0
    expected = losses_by_hand(squeezing, frames / 255.0, squeezed, weights)
    np.testing.assert_allclose(losses.reconstruction, expected, rtol=1e-4)
    np.testing.assert_array_equal(losses.commitment, plain.commitment)
    np.testing.assert_array_equal(weighted.encoding_indices, quantized.encoding_indices)


def test_the_kl_term_of_the_paper_is_174_67_nats():
    model = VQVAE(build_config({"game.num_stacked_frames": 1}))
    assert round(model.kl_divergence, 2) == 174.67


def test_training_moves_batch_norms_by_a_tenth_and_inference_does_not(vqvae, frames):
    encoder = vqvae.encoder
    observations = tf.constant(frames / 255.0, tf.float32)
    kept = [variable.numpy() for variable in encoder.variables]
    encoder(observations, training=False)
    for variable, value in zip(encoder.variables, kept, strict=True):
        np.testing.assert_array_equal(variable, value)

    first = encoder.norms[0]
    mean, variance = first.moving_mean.numpy(), first.moving_variance.numpy()
    features = convolve(frames / 255.0, encoder.convolutions[0], stride=2)
    encoder(observations, training=True)
    batch_mean, batch_variance = features.mean(axis=(0, 1, 2)), features.var(axis=(0, 1, 2))
    np.testing.assert_allclose(first.moving_mean, 0.9 * mean + 0.1 * batch_mean, atol=1e-5)
    np.testing.assert_allclose(
        first.moving_variance, 0.9 * variance + 0.1 * batch_variance, atol=1e-4
    )
    for variable, value in zip(encoder.variables, kept, strict=True):
        variable.assign(value)


def test_gradients_reach_encoder_and_decoder_but_not_the_codebook(vqvae, frames):
    with tf.GradientTape() as tape:
        losses, _ = vqvae.losses_of(scale_pixels(frames[:1]), training=False)
        loss = losses.reconstruction
    gradients = tape.gradient(loss, vqvae.trainable_variables)
    assert all(gradient is not None for gradient in gradients)
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)
    assert not any("embeddings" in variable.name for variable in vqvae.trainable_variables)


@pytest.mark.parametrize("execution", [DIRECT, FAST])
def test_folded_inference_equals_the_encoder(vqvae, frames, execution):
    expected = vqvae.encoder(scale_pixels(frames), training=False)
    folded = vqvae.encoder.fold(execution)
    vectors = vqvae.encoder.infer(tf.constant(frames), folded)
    np.testing.assert_allclose(vectors, expected, atol=2e-5)
