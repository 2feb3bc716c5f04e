"""The world model's training steps: what they change, at which rate, and that they learn."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.experiment.config import build_config
from smallwm_tf.learning import world_model_learner
from smallwm_tf.learning.dynamics_loss import dynamics_losses
from smallwm_tf.learning.world_model_learner import (
    WorldModelLearner,
    batches,
    reward_precision_and_recall,
)
from smallwm_tf.models.build import build_models
from smallwm_tf.models.vqvae import scale_pixels
from tests.made_replays import made_replay

STEPS = 40
WINDOWS = tf.constant([0, 7, 14, 21])
SEED = tf.constant([1, 2])


DIFFERENCES = {
    "game.num_stacked_frames": 1,
    "dynamics.channels": 8,
    "dynamics.window_length": 4,
    "dynamics.context_steps": 2,
    "dynamics.convolution": "direct",
}
RESTING = {"vqvae.update_interval": 0}


@pytest.fixture(scope="module")
def config():
    return build_config(DIFFERENCES)


def learner_of(config) -> WorldModelLearner:
    """A fresh world model and a replay in which the action alone decides the reward."""
    tf.keras.utils.set_random_seed(0)
    world_model, _ = build_models(config, num_actions=3)
    actions = np.random.default_rng(0).integers(3, size=STEPS)
    replay = made_replay(STEPS, actions=actions, rewards=5.0 * (actions - 1))
    return WorldModelLearner(world_model, replay, config)


@pytest.fixture
def learner(config):
    return learner_of(config)


def values_of(variables) -> list[np.ndarray]:
    return [variable.numpy() for variable in variables]


def largest_change(variable, before: np.ndarray) -> float:
    return float(np.abs(variable.numpy() - before).max())


@pytest.fixture(scope="module")
def resting():
    """One whose VQ-VAE rests beside the dynamics; what a test has traced serves the next."""
    learner = learner_of(build_config(DIFFERENCES | RESTING))
    learner.encoded.encode_all()
    return learner


def test_the_reward_head_learns_in_spite_of_its_tiny_weight(resting, config):
    assert config.dynamics.reward_loss_weight == 1e-6
    place, one = resting.dynamics_metrics.index("reward_loss"), WINDOWS[tf.newaxis]
    losses = [float(resting.joint_steps(one, tf.constant(n), SEED)[1][place]) for n in range(40)]
    assert losses[0] > 0.8  # about ln 3, nothing is known yet
    # With Keras' epsilon (1e-7, before the bias correction) it is still above 0.6 then.
    assert losses[-1] < 0.1, losses[::10]


def test_one_dynamics_step_moves_every_weight_at_its_own_rate():
    # Adam's first step is the learning rate unless the gradient is near epsilon; the reward's is
    # with its usual weight.
    learner = learner_of(build_config(DIFFERENCES | {"dynamics.reward_loss_weight": 1.0}))
    dynamics, vqvae = learner.world_model.dynamics, learner.world_model.vqvae
    before, vqvae_before = values_of(dynamics.variables), values_of(vqvae.variables)
    learner.dynamics_step(WINDOWS, SEED)
    in_head = {variable.ref() for variable in dynamics.event_head.variables}
    for variable, value in zip(dynamics.variables, before, strict=True):
        rate = 1e-3 if variable.ref() in in_head else 5e-4
        assert 0.9 * rate < largest_change(variable, value) < 1.001 * rate, variable.name
    for variable, value in zip(vqvae.variables, vqvae_before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_every_variable_of_the_dynamics_belongs_to_one_optimizer(learner):
    dynamics = learner.world_model.dynamics
    # A built optimizer holds two moments per variable, and its iterations.
    held = [
        (len(optimizer.variables) - 1) // 2
        for optimizer in (learner.dynamics_optimizer, learner.reward_optimizer)
    ]
    in_head = len(dynamics.event_head.trainable_variables)
    assert held == [len(dynamics.trainable_variables) - in_head, in_head]


def test_windows_are_unrolled_at_the_temperature_of_the_dynamics():
    config = build_config(DIFFERENCES | {"dynamics.temperature": 0.01})
    losses = {}
    for temperature in (0.01, 1.0):
        learner = learner_of(config)
        windows = learner.encoded.windows(WINDOWS, DIFFERENCES["dynamics.window_length"])
        losses[temperature] = float(
            dynamics_losses(
                learner.world_model,
                *windows,
                context_steps=2,
                seed=SEED,
                temperature=temperature,
            ).latent
        )
    assert losses[0.01] != pytest.approx(losses[1.0], rel=1e-6)  # other codes were fed back
    assert float(learner.dynamics_step(WINDOWS, SEED).latent) == pytest.approx(losses[0.01])


def test_one_vqvae_step_minimises_reconstruction_and_weighted_commitment(learner, config):
    vqvae = learner.world_model.vqvae
    steps = tf.constant([3, 9, 30])
    observations = scale_pixels(learner._replay.observations(steps, 1))
    state = values_of(vqvae.variables)
    with tf.GradientTape() as tape:
        losses, quantized = vqvae.losses_of(observations, training=True)
        loss = losses.reconstruction + 0.25 * losses.commitment
    gradients = tape.gradient(loss, vqvae.trainable_variables)
    for variable, value in zip(vqvae.variables, state, strict=True):
        variable.assign(value)
    before = values_of(vqvae.trainable_variables)

    reconstruction, commitment, elbo, logit, used = learner.vqvae_step(steps)
    np.testing.assert_allclose(reconstruction, losses.reconstruction, rtol=1e-5)
    np.testing.assert_allclose(commitment, losses.commitment, rtol=1e-5)
    np.testing.assert_allclose(logit, losses.largest_logit, rtol=1e-5)
    np.testing.assert_allclose(elbo, -reconstruction - 36 * np.log(128), rtol=1e-6)
    shares = np.unique(quantized.encoding_indices, return_counts=True)[1] / np.size(
        quantized.encoding_indices
    )
    np.testing.assert_allclose(used, np.exp(-np.sum(shares * np.log(shares))), rtol=1e-4)
    for variable, gradient, value in zip(vqvae.trainable_variables, gradients, before, strict=True):
        g = gradient.numpy().astype(np.float64)
        expected = value - 1e-4 * g / (np.abs(g) + 1e-8)
        clear = np.abs(g) > 1e-4  # elsewhere rounding decides the sign
        np.testing.assert_allclose(
            variable.numpy()[clear], expected[clear], atol=2e-6, err_msg=variable.name
        )


def test_the_warm_up_is_faster_and_compiled_steps_train_the_vqvae(learner, config):
    assert config.vqvae.warmup_learning_rate == 10 * config.vqvae.learning_rate
    learner.use_learning_rates(warmup=True)
    np.testing.assert_allclose(learner.vqvae_optimizer.learning_rate, 1e-3)
    rows = tf.constant([[0, 1, 2, 3]] * 3)
    first = learner.warmup_steps(rows).numpy()
    later = learner.warmup_steps(rows).numpy()
    assert int(learner.vqvae_optimizer.iterations) == 6
    assert later[0] < first[0]  # mean reconstruction loss
    assert learner.warmup_steps.experimental_get_tracing_count() == 1
    assert int(learner.vqvae_updates) == 6
    learner.use_learning_rates()
    np.testing.assert_allclose(learner.vqvae_optimizer.learning_rate, 1e-4)


def test_configured_rates_replace_those_of_a_checkpoint(learner, config):
    optimizers = (learner.vqvae_optimizer, learner.dynamics_optimizer, learner.reward_optimizer)
    for optimizer in optimizers:
        optimizer.learning_rate.assign(0.5)
    learner.use_learning_rates()
    found = [float(optimizer.learning_rate) for optimizer in optimizers]
    np.testing.assert_allclose(found, [1e-4, 5e-4, 1e-3])


def test_joint_steps_train_the_vqvae_on_its_interval():
    config = build_config(DIFFERENCES | {"vqvae.batch_size": 4})
    learner = learner_of(config)
    assert config.vqvae.update_interval == 2
    windows = tf.tile(WINDOWS[tf.newaxis], [3, 1])

    def steps_taken(first: int) -> tuple[int, int]:
        vqvae_before, dynamics_before = int(learner.vqvae_updates), int(learner.dynamics_updates)
        results = learner.joint_steps(windows, tf.constant(first), SEED)
        assert all(np.isfinite(result).all() for result in results)
        # Three steps of four windows with three rewards each.
        assert results[2].numpy().sum() == 36
        return (
            int(learner.vqvae_updates) - vqvae_before,
            int(learner.dynamics_updates) - dynamics_before,
        )

    assert steps_taken(0) == (2, 3)  # steps 0 and 2
    assert steps_taken(3) == (1, 3)  # step 4
    # A group without a VQ-VAE step reports zeros for it.
    vqvae, dynamics, _ = learner.joint_steps(windows[:1], tf.constant(7), SEED)
    np.testing.assert_array_equal(vqvae, np.zeros(5))
    assert dynamics[0] > 0
    assert learner.joint_steps.experimental_get_tracing_count() == 1


def test_joint_steps_in_one_group_or_in_two_see_the_same_observations(monkeypatch):
    """Those of an update depend on its number alone, so a continued phase draws none again."""
    windows, seen = tf.tile(WINDOWS[tf.newaxis], [4, 1]), []
    learner = learner_of(build_config(DIFFERENCES | {"vqvae.update_interval": 1}))
    drawn = tf.Variable(tf.zeros([4, 40], tf.int32))

    def noting(steps):
        drawn.scatter_nd_update([[learner.vqvae_updates]], [steps])
        learner.vqvae_updates.assign_add(1)
        return [tf.constant(1.0)] * 5

    monkeypatch.setattr(learner, "vqvae_step", noting)
    for groups in ((0, 4), (0, 3, 4)):
        learner.vqvae_updates.assign(0)
        drawn.assign(tf.zeros_like(drawn))
        for first, end in itertools.pairwise(groups):
            learner.joint_steps(windows[first:end], tf.constant(first), SEED)
        seen.append(drawn.numpy())
    whole, parts = seen
    np.testing.assert_array_equal(whole, parts)
    assert len(np.unique(whole, axis=0)) == 4
    assert whole.min() == 0 and whole.max() == STEPS - 1  # 160 draws of 40


def tell_frames_apart(learner) -> None:
    """The codes of an untrained encoder are all alike; far apart, its vectors have others."""
    norm = learner.world_model.vqvae.encoder.projection_norm
    norm.gamma.assign(1000.0 * norm.gamma)


def test_a_resting_vqvae_does_not_move_while_the_dynamics_learn(resting):
    learner, steps_before = resting, int(resting.dynamics_optimizer.iterations)
    parts = (learner.world_model.vqvae, learner.world_model.dynamics)
    vqvae_before, dynamics_before = (values_of(part.variables) for part in parts)
    windows = tf.tile(WINDOWS[tf.newaxis], [3, 1])
    vqvae, dynamics, confusion = learner.joint_steps(windows, tf.constant(0), SEED)
    np.testing.assert_array_equal(vqvae, np.zeros(5))
    assert np.isfinite(dynamics).all() and dynamics[0] > 0
    assert confusion.numpy().sum() == 36
    assert int(learner.vqvae_optimizer.iterations) == 0
    assert int(learner.dynamics_optimizer.iterations) == steps_before + 3
    for variable, value in zip(parts[0].variables, vqvae_before, strict=True):
        np.testing.assert_array_equal(variable, value)
    for variable, value in zip(parts[1].variables, dynamics_before, strict=True):
        assert largest_change(variable, value) > 0, variable.name
    learner.warmup_steps(tf.constant([[0, 1], [2, 3], [4, 5]]))  # alone it still learns
    assert int(learner.vqvae_optimizer.iterations) == 3


def test_codes_held_train_the_dynamics_as_live_ones_do():
    starts = tf.constant([0, 7, 38, 15])  # the third one reaches beyond the replay
    results = []
    for differences in ({}, RESTING):
        learner = learner_of(build_config(DIFFERENCES | differences))
        learner._replay.terminated.assign(np.isin(np.arange(STEPS), [16]))
        episodes = np.where(np.arange(STEPS) < 17, 0, 17)  # the fourth one reaches beyond an end
        learner._replay.episode_starts.assign(episodes)
        tell_frames_apart(learner)
        learner.encoded.encode_all()
        losses = learner.dynamics_step(starts, SEED)
        results.append((losses, values_of(learner.world_model.dynamics.variables)))
    (live, live_weights), (held, held_weights) = results
    assert float(live.copy_accuracy) < 1  # codes change from step to step
    assert float(live.reward_confusion.numpy().sum()) == 3 + 3 + 2 + 2
    for name, value in live._asdict().items():
        np.testing.assert_allclose(getattr(held, name), value, rtol=1e-6, err_msg=name)
    for a, b in zip(live_weights, held_weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


EXTRA = 3.0
FOREGROUND = {"vqvae.foreground_weight": EXTRA, "game.num_stacked_frames": 2}


def test_foreground_is_what_differs_from_the_median_frame():
    learner = learner_of(build_config(DIFFERENCES | FOREGROUND))
    learner.look_through_replay()
    frames = learner._replay.frames.numpy().astype(np.float64)
    median = np.sort(frames, axis=0)[STEPS // 2 - 1 : STEPS // 2 + 1].mean(axis=0)
    np.testing.assert_allclose(learner._background, median / 255, atol=1e-6)

    observations = learner._replay.observations(tf.range(4), 2)
    difference = np.abs(observations.numpy() - median[..., np.newaxis])
    expected = np.where(difference > 15, 1 + EXTRA, 1.0)
    clear = difference != 15  # rounding decides there
    assert 0 < np.mean(difference[clear] < 15) < 1
    weights = learner._weights(scale_pixels(observations)).numpy()
    assert weights.shape == (4, 96, 96, 2)
    np.testing.assert_array_equal(weights[clear], expected[clear])


def test_the_background_is_of_the_whole_replay(monkeypatch):
    """A few frames suffice, the first and the last one among them; nothing behind them counts."""
    monkeypatch.setattr(world_model_learner, "_FRAMES_FOR_BACKGROUND", 5)
    learner = learner_of(build_config(DIFFERENCES | FOREGROUND))
    grey = np.arange(STEPS, dtype=np.uint8)  # the frame of a step is as grey as its number
    learner._replay.frames.assign(np.tile(grey[:, np.newaxis, np.newaxis], [1, 96, 96]))
    learner._replay.size_variable.assign(21)
    learner.look_through_replay()
    np.testing.assert_allclose(learner._background, np.full([96, 96], 10 / 255), atol=1e-6)


def test_a_vqvae_step_minimises_the_weighted_reconstruction():
    learner = learner_of(build_config(DIFFERENCES | FOREGROUND))
    learner.look_through_replay()
    vqvae = learner.world_model.vqvae
    steps = tf.constant([3, 9, 30])
    observations = scale_pixels(learner._replay.observations(steps, 2))
    median = np.median(learner._replay.frames, axis=0)[..., np.newaxis] / 255
    weights = 1 + EXTRA * (np.abs(observations - median) > 15 / 255)
    state = values_of(vqvae.variables)
    losses, _ = vqvae.losses_of(observations, True, tf.constant(weights, tf.float32))
    for variable, value in zip(vqvae.variables, state, strict=True):
        variable.assign(value)
    plain, _ = vqvae.losses_of(observations, training=True)
    for variable, value in zip(vqvae.variables, state, strict=True):
        variable.assign(value)
    reconstruction, commitment, *_ = learner.vqvae_step(steps)
    assert abs(float(losses.reconstruction) / float(plain.reconstruction) - 1) > 0.5
    np.testing.assert_allclose(reconstruction, losses.reconstruction, rtol=1e-5)
    np.testing.assert_allclose(commitment, losses.commitment, rtol=1e-5)


def test_by_default_every_pixel_weighs_one(learner, config):
    assert config.vqvae.foreground_weight == 0.0
    learner.look_through_replay()
    np.testing.assert_array_equal(learner._background, np.zeros([96, 96]))
    observations = scale_pixels(learner._replay.observations(tf.constant([0, 1]), 1))
    assert np.all(learner._weights(observations) == 1.0)


def test_batches_leave_the_remainder_out_and_fill_a_single_one():
    np.testing.assert_array_equal(batches(np.arange(7), 3), [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(batches(np.array([4, 5]), 3), [[4, 5, 4]])


def test_precision_and_recall_of_a_hand_made_confusion():
    confusion = np.array([[0, 2, 0], [1, 90, 3], [0, 1, 3]])
    assert reward_precision_and_recall(confusion) == {
        "reward_precision_negative": 0.0,
        "reward_recall_negative": 0.0,
        "reward_precision_zero": pytest.approx(90 / 93),
        "reward_recall_zero": pytest.approx(90 / 94),
        "reward_precision_positive": 0.5,
        "reward_recall_positive": 0.75,
    }
    never = reward_precision_and_recall(np.array([[0, 0, 0], [0, 5, 0], [0, 0, 0]]))
    assert never["reward_recall_negative"] is None
    assert never["reward_precision_positive"] is None
    assert never["reward_recall_zero"] == 1.0
