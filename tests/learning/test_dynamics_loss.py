"""The dynamics loss on hand-made windows, one of which holds the end of an episode.

The logits come from the shipped network, stepped by hand; everything after them is NumPy.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from smallwm_tf.experiment.config import build_config
from smallwm_tf.learning.dynamics_loss import dynamics_losses
from smallwm_tf.models.convolution_recorder import ConvolutionRecorder
from smallwm_tf.models.dynamics import Dynamics
from smallwm_tf.models.event_heads import Transition
from smallwm_tf.models.execution import DIRECT
from smallwm_tf.models.vector_quantizer import VectorQuantizer
from smallwm_tf.models.world_model import WorldModel

B, T, CONTEXT, K, D, M = 2, 6, 2, 5, 4, 3
SEED = tf.constant([3, 14])
END = 2  # the step that ends the second window's episode


@pytest.fixture(scope="module")
def world_model():
    tf.keras.utils.set_random_seed(1)
    quantizer = VectorQuantizer(K, D, decay=0.99, epsilon=1e-5)
    sizes = {"vqvae.num_embeddings": K, "vqvae.embedding_dim": D, "dynamics.channels": 4}
    dynamics = Dynamics(build_config(sizes), M, DIRECT)
    kernel = dynamics.code_head.convolution.kernel
    kernel.assign(4 * kernel)  # far from uniform
    return WorldModel(SimpleNamespace(quantizer=quantizer, num_stacked_frames=1), dynamics)


@pytest.fixture
def windows():
    draw = np.random.default_rng(0)
    codes = draw.integers(K, size=[B, T, 6, 6]).astype(np.int32)
    codes[0, 3] = codes[0, 2]  # one transition in which nothing changes
    valid = np.ones([B, T], bool)
    valid[1, END + 1 :] = False
    return {
        "codes": codes,
        "actions": draw.integers(M, size=[B, T]).astype(np.int32),
        "rewards": np.array([[0, 5, 0, -0.2, -7, 9], [1, 0, -1, 3, 3, 3]], np.float32),
        "ends": np.array([[0, 1, 0, 0, 0, 1], [0, 0, 1, 0, 0, 0]], bool),
        "valid": valid,
    }


def losses_of(world_model, windows, temperature=1.0, **changes):
    arguments = {name: tf.constant(array) for name, array in (windows | changes).items()}
    return dynamics_losses(
        world_model, **arguments, context_steps=CONTEXT, seed=SEED, temperature=temperature
    )


def unroll(world_model, windows, temperature=1.0) -> tuple[list, list, list]:
    """Input codes, latent logits and reward logits of every transition."""
    state = world_model.initial_state(B)
    inputs, latent, reward = [], [], []
    codes = tf.constant(windows["codes"][:, 0])
    for t in range(T - 1):
        inputs.append(codes)
        y, next_codes, state = world_model.predict(codes, windows["actions"][:, t], state)
        latent_logits = next_codes.logits
        latent.append(latent_logits.numpy())
        # The paper's head looks at y alone.
        reward.append(world_model.events(Transition(y, codes, codes)).rewards.logits.numpy())
        if t + 1 < CONTEXT:
            codes = tf.constant(windows["codes"][:, t + 1])
        else:
            seed = tf.random.experimental.stateless_fold_in(SEED, t)
            codes = tfp.distributions.Categorical(latent_logits / temperature).sample(seed=seed)
    return inputs, latent, reward


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("temperature", [1.0, 0.3])  # of the codes that are fed back
def test_the_losses_equal_cross_entropies_over_what_really_happened(
    world_model, windows, temperature
):
    _, latent_logits, reward_logits = unroll(world_model, windows, temperature)
    # (window, step): seven transitions have a next code, eight rewards were earned.
    with_next = [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0), (1, 1)]
    with_reward = [*with_next, (1, END)]
    true_class = {
        **{(0, 0): 1, (0, 1): 2, (0, 2): 1, (0, 3): 1, (0, 4): 0},
        **{(1, 0): 2, (1, 1): 1, (1, 2): 0},
    }
    latent, right, copied = [], [], []
    for b, t in with_next:
        target = windows["codes"][b, t + 1]
        log_p = log_softmax(latent_logits[t][b])
        latent.append(-sum(log_p[y, x, target[y, x]] for y in range(6) for x in range(6)))
        right.append(np.mean(latent_logits[t][b].argmax(axis=-1) == target))
        copied.append(np.mean(windows["codes"][b, t] == target))
    reward, confusion = [], np.zeros([3, 3])
    for b, t in with_reward:
        reward.append(-log_softmax(reward_logits[t][b])[true_class[b, t]])
        confusion[true_class[b, t], reward_logits[t][b].argmax()] += 1

    losses = losses_of(world_model, windows, temperature)
    np.testing.assert_allclose(losses.latent, np.mean(latent), rtol=1e-5)
    np.testing.assert_allclose(losses.reward, np.mean(reward), rtol=1e-5)
    np.testing.assert_allclose(losses.code_accuracy, np.mean(right), rtol=1e-5)
    np.testing.assert_allclose(losses.copy_accuracy, np.mean(copied), rtol=1e-5)
    np.testing.assert_array_equal(losses.reward_confusion, confusion)
    assert losses.reward_confusion.numpy().sum() == 8


def test_padding_changes_nothing(world_model, windows):
    before = losses_of(world_model, windows)
    draw = np.random.default_rng(9)
    changed = {name: array.copy() for name, array in windows.items()}
    changed["codes"][1, END + 1 :] = draw.integers(K, size=[T - END - 1, 6, 6])
    changed["rewards"][1, END + 1 :] = -1.0
    changed["actions"][1, END + 1 :] = 0
    changed["rewards"][0, T - 1] = -1.0  # earned by the last observation: no transition of ours
    changed["actions"][0, T - 1] = 0
    after = losses_of(world_model, changed)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_true_codes_are_fed_during_the_context_only(world_model, windows):
    before = losses_of(world_model, windows, valid=windows["valid"])
    inputs, *_ = unroll(world_model, windows)
    # Later true codes are targets, never inputs: copying one window's future leaves the other's
    # predictions alone, and the sampled inputs are not the true codes.
    assert not np.array_equal(inputs[2], windows["codes"][:, 2])
    only_rewards = windows["codes"].copy()
    only_rewards[:, CONTEXT:] = 0
    after = losses_of(world_model, windows, codes=only_rewards)
    np.testing.assert_allclose(after.reward, before.reward, rtol=1e-5)
    in_context = windows["codes"].copy()
    in_context[:, CONTEXT - 1] = 0
    assert abs(losses_of(world_model, windows, codes=in_context).reward - before.reward) > 1e-6


def test_no_gradient_passes_through_the_samples(world_model, windows):
    """Gradients equal those of the same loss with the sampled codes given as constants."""
    inputs, *_ = unroll(world_model, windows)
    variables = world_model.dynamics.trainable_variables
    with tf.GradientTape() as tape:
        losses = losses_of(world_model, windows)
        loss = losses.latent + losses.reward
    gradients = tape.gradient(loss, variables)
    targets, valid = windows["codes"][:, 1:], windows["valid"]
    classes = np.clip(np.round(windows["rewards"]), -1, 1).astype(int) + 1
    with tf.GradientTape() as tape:
        state = world_model.initial_state(B)
        latent, reward = 0.0, 0.0
        for t in range(T - 1):
            y, next_codes, state = world_model.predict(inputs[t], windows["actions"][:, t], state)
            latent_logits = next_codes.logits
            nothing = inputs[t]  # the paper's head looks at y alone
            reward_logits = world_model.events(Transition(y, nothing, nothing)).rewards.logits
            for b in range(B):
                if valid[b, t] and valid[b, t + 1]:
                    log_p = tf.nn.log_softmax(latent_logits[b])
                    latent -= tf.reduce_sum(log_p * tf.one_hot(targets[b, t], K)) / 7
                if valid[b, t]:
                    reward -= tf.nn.log_softmax(reward_logits[b])[classes[b, t]] / 8
        expected_loss = latent + reward
    expected = tape.gradient(expected_loss, variables)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    for ours, theirs, variable in zip(gradients, expected, variables, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4, err_msg=variable.name)


def test_the_recorder_changes_neither_losses_nor_gradients(world_model, windows):
    stack = world_model.dynamics.stack
    kernels = [layer.kernel for cell in stack.cells for layer in (cell.conv_x, cell.conv_h)]
    arguments = {name: tf.constant(array) for name, array in windows.items()}
    with tf.GradientTape() as tape:
        plain = losses_of(world_model, windows).latent
    expected = tape.gradient(plain, kernels)
    with tf.GradientTape() as tape:
        recorder = ConvolutionRecorder(tape)
        loss = dynamics_losses(
            world_model,
            **arguments,
            context_steps=CONTEXT,
            seed=SEED,
            kernels=stack.prepare(),
            recorder=recorder,
        ).latent
    pairs = recorder.kernel_gradients(tape.gradient(loss, recorder.taps))
    deferred = {variable.ref(): gradient for gradient, variable in pairs}
    assert len(deferred) == 4
    for kernel, gradient in zip(kernels, expected, strict=True):
        np.testing.assert_allclose(deferred[kernel.ref()], gradient, atol=2e-5)


def test_windows_without_any_transition_cost_nothing(world_model, windows):
    losses = losses_of(world_model, windows, valid=np.zeros([B, T], bool))
    np.testing.assert_array_equal(losses.reward_classes, np.full([B * (T - 1)], -1))
    for value in losses._replace(reward_classes=tf.zeros([]), ends=tf.zeros([])):
        np.testing.assert_array_equal(value, np.zeros(value.shape))


def test_the_same_seed_gives_the_same_loss_and_another_seed_another(world_model, windows):
    arguments = {name: tf.constant(array) for name, array in windows.items()}

    def latent(seed):
        return float(
            dynamics_losses(
                world_model, **arguments, context_steps=CONTEXT, seed=tf.constant(seed)
            ).latent
        )

    assert latent([3, 14]) == latent([3, 14]) != latent([3, 15])


def test_the_bonus_of_the_present_code_goes_to_the_code_that_was_fed(world_model, windows):
    world_model.dynamics.code_head.present_code_logit = 1000.0
    losses = losses_of(world_model, windows)
    world_model.dynamics.code_head.present_code_logit = 0.0
    # Every prediction, most probable or sampled, is the code that was fed: the true one during the
    # context, the last true one ever after.
    codes, valid = windows["codes"], windows["valid"]
    hits = []
    for b in range(B):
        for t in range(T - 1):
            if valid[b, t] and valid[b, t + 1]:
                hits.append(np.mean(codes[b, min(t, CONTEXT - 1)] == codes[b, t + 1]))
    np.testing.assert_allclose(losses.code_accuracy, np.mean(hits), rtol=1e-5)
