"""Training in bfloat16 against float32: same weights, same real frames."""

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.experiment.config import build_config
from smallwm_tf.games.real_game import RealGame
from smallwm_tf.learning.dynamics_loss import dynamics_losses
from smallwm_tf.models.build import build_models
from smallwm_tf.models.continuous_bernoulli import sum_log_prob
from smallwm_tf.models.convolution_recorder import ConvolutionRecorder
from smallwm_tf.models.execution import execution_of, resolve_precision
from smallwm_tf.models.vqvae import scale_pixels

SEED = tf.constant([1, 2])
NUM_WINDOWS, LENGTH = 2, 5


def models(precision: str, convolution: str = "fast"):
    config = build_config({"precision": precision, "dynamics.convolution": convolution})
    return build_models(config, num_actions=6, seed=3)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """Stacks of Pong's frames, uint8 [10, 96, 96, 4]."""
    game, stacks = RealGame("Pong", 4, seed=0), []
    game.reset()
    for number in range(40 * NUM_WINDOWS * LENGTH):
        observation = game.step(np.int32(number % 6)).observation
        if number % 40 == 0:
            stacks.append(observation)
    game.close()
    return np.stack(stacks)


@pytest.fixture(scope="module")
def exact():
    return models("float32")


@pytest.fixture(scope="module", params=["fast", "direct"])
def half(request):
    return models("bfloat16", request.param)


def cosine_distance(ours, theirs) -> float:
    """Of two lists of gradients, all entries in one vector."""
    a, b = (np.concatenate([np.ravel(g) for g in gradients]) for gradients in (ours, theirs))
    return 1.0 - float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_weights_are_float32_and_the_same(exact, half):
    for ours, theirs in zip(half, exact, strict=True):
        for variable, other in zip(ours.variables, theirs.variables, strict=True):
            assert variable.dtype == other.dtype
            np.testing.assert_array_equal(variable, other)


def test_gradients_of_the_decoder(frames, exact, half):
    codes, pixels = exact[0].encode(frames), scale_pixels(frames)

    def gradients(world_model):
        vqvae = world_model.vqvae
        with tf.GradientTape() as tape:
            logits = vqvae.decoder(vqvae.quantizer.lookup(codes))
            loss = tf.reduce_mean(sum_log_prob(logits, pixels, 1.0, clamped=True))
        assert logits.dtype == loss.dtype == tf.float32
        return tape.gradient(loss, vqvae.decoder.trainable_variables)

    assert 0.0 < cosine_distance(gradients(half[0]), gradients(exact[0])) < 0.02


@pytest.mark.parametrize("convolution", ["fast", "direct"])
def test_gradients_of_the_encoder(frames, convolution):
    def gradients(precision):
        # Networks of its own: batch norm moves.
        encoder = models(precision, convolution)[0].vqvae.encoder
        with tf.GradientTape() as tape:
            vectors = encoder(scale_pixels(frames), training=True)
            loss = tf.reduce_sum(vectors * tf.random.stateless_normal(vectors.shape, SEED))
        assert vectors.dtype == tf.float32
        return tape.gradient(loss, encoder.trainable_variables)

    # Processors without bfloat16 emulate it, with other roundings; "auto" takes float32 there.
    most = 0.02 if resolve_precision("auto") == "bfloat16" else 0.03
    assert 0.0 < cosine_distance(gradients("bfloat16"), gradients("float32")) < most


def dynamics_gradients(world_model, codes):
    dynamics = world_model.dynamics
    actions = tf.random.stateless_uniform(codes.shape[:2], SEED, 0, 6, tf.int32)
    rewards = tf.cast(actions % 3 - 1, tf.float32)
    valid = tf.ones(codes.shape[:2], tf.bool)
    kernels = dynamics.stack.prepare()
    special = {v.ref() for v in dynamics.stack.recorded_kernels}
    taped = [v for v in dynamics.trainable_variables if v.ref() not in special]
    with tf.GradientTape() as tape:
        recorder = ConvolutionRecorder(tape)
        # Only true codes are fed: drawn ones may differ with a rounding.
        losses = dynamics_losses(
            world_model, codes, actions, rewards, ~valid, valid, LENGTH, SEED, kernels, recorder
        )
        loss = losses.latent + losses.reward
    assert loss.dtype == tf.float32
    gradients, taps = tape.gradient(loss, [taped, recorder.taps])
    return [*gradients, *(gradient for gradient, _ in recorder.kernel_gradients(taps))]


def test_gradients_of_the_dynamics(frames, exact, half):
    codes = tf.reshape(exact[0].encode(frames), [NUM_WINDOWS, LENGTH, 6, 6])
    ours, theirs = (dynamics_gradients(each[0], codes) for each in (half, exact))
    assert 0.0 < cosine_distance(ours, theirs) < 0.02


def test_gradients_of_the_policy(frames, exact, half):
    codes, embeddings = exact[0].encode(frames), exact[0].vqvae.quantizer.embeddings

    def gradients(policy):
        with tf.GradientTape() as tape:
            logits, values = policy(codes, embeddings)
            loss = tf.reduce_sum(tf.nn.log_softmax(logits)[:, 0] * (1.0 - values))
        assert logits.dtype == values.dtype == tf.float32
        return tape.gradient(loss, policy.trainable_variables)

    assert 0.0 < cosine_distance(gradients(half[1]), gradients(exact[1])) < 0.02


def test_codes_hardly_change(frames, exact, half):
    ours, theirs = (each[0].encode(frames).numpy() for each in (half, exact))
    assert np.mean(ours == theirs) > 0.9


def test_an_open_auto_is_float32():
    assert execution_of(build_config({"precision": "auto"})).precision == "float32"


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ("fpu avx2 avx512f", "float32"),
        ("avx512f avx512_bf16", "bfloat16"),
        ("amx_bf16", "bfloat16"),
    ],
)
def test_auto_follows_the_processor(flags, precision, monkeypatch):
    monkeypatch.setattr("pathlib.Path.read_text", lambda *_, **__: f"flags\t\t: {flags}\n")
    assert resolve_precision("auto") == precision


@pytest.mark.parametrize(
    ("capability", "precision"), [((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")]
)
def test_auto_follows_the_gpu(capability, precision, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    details = {"compute_capability": capability}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    assert resolve_precision("auto") == precision


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_word_stays(precision):
    assert resolve_precision(precision) == precision
