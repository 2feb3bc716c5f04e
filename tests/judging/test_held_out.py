"""Held-out measures against step-by-step computations, on a tiny world model."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.experiment.config import build_config
from smallwm_tf.judging.held_out import HeldOutMeasures
from smallwm_tf.judging.moving_objects import count_objects
from smallwm_tf.judging.open_loop import start_at, unroll
from smallwm_tf.judging.reward_skill import area_under_curve, reward_skill
from smallwm_tf.models.build import build_models
from smallwm_tf.models.event_heads import Transition
from smallwm_tf.models.imagination import Dreamer, DreamSettings
from smallwm_tf.models.vqvae import scale_pixels
from tests.made_replays import made_replay

M, F, STEPS, H, MARGIN = 3, 2, 23, 4, 0.1
ENDS = (5, 17)  # steps with which an episode ends
SEED = np.array([7, 8], np.int32)


@pytest.fixture(scope="module")
def world():
    tf.keras.utils.set_random_seed(1)
    settings = {
        "game.num_stacked_frames": F,
        "vqvae.num_embeddings": 8,
        "vqvae.likelihood": "exact",
        "vqvae.pixel_margin": MARGIN,
        "dynamics.channels": 4,
        "dynamics.convolution": "direct",
    }
    world_model, _ = build_models(build_config(settings), num_actions=M)
    norm = world_model.vqvae.encoder.projection_norm
    norm.gamma.assign(1000.0 * norm.gamma)  # far apart, the vectors have different codes
    last = world_model.vqvae.decoder.deconvolutions[-1]
    last.kernel.assign(500.0 * last.kernel)  # means of all kinds, some beyond the margin
    rewards = np.random.default_rng(0).integers(-1, 2, size=STEPS)
    replay = made_replay(STEPS, M, rewards=rewards, terminated=np.isin(np.arange(STEPS), ENDS))
    observations = replay.observations(tf.range(STEPS), F)
    return SimpleNamespace(
        model=world_model,
        replay=replay,
        frames=replay.frames.numpy().astype(float),
        codes=world_model.vqvae.encode(observations).numpy(),
        actions=replay.actions.numpy(),
        classes=replay.rewards.numpy().astype(int) + 1,
        observations=observations,
    )


def measures_of(world, window_length=5):
    return HeldOutMeasures(world.model, world.replay, window_length)


def episode_of(step: int) -> int:
    return sum(step > end for end in ENDS)


def decoded(world, codes: np.ndarray) -> np.ndarray:
    means = world.model.vqvae.decode(tf.constant(codes[np.newaxis])).mean()[0, ..., -1].numpy()
    return 255.0 * np.clip((means - MARGIN) / (1 - 2 * MARGIN), 0.0, 1.0)


def test_the_codes_of_the_test_differ(world):
    assert len(np.unique(world.codes)) > 2


def state_before(world, start: int, context_steps: int):
    """The recurrent state after the last steps before a start, of its episode."""
    state = world.model.initial_state(1)
    for step in range(max(start - context_steps, 0), start):
        if episode_of(step) == episode_of(start):
            codes, action = world.codes[step : step + 1], world.actions[step : step + 1]
            state = world.model.predict(tf.constant(codes), action, state).state
    return state


@pytest.mark.parametrize("context_steps", [0, 3])
def test_open_loop_curves_equal_single_dreams(world, context_steps):
    starts = np.array([0, 2, 4, 12, 20], np.int32)
    dreamer = Dreamer(world.model, DreamSettings(context_steps=context_steps))
    curves = measures_of(world).open_loop(dreamer, starts, H, SEED)
    hits, copies = [[] for _ in range(H)], [[] for _ in range(H)]
    errors, floors = [[] for _ in range(H)], [[] for _ in range(H)]
    for start in starts:
        codes, state = world.codes[start], state_before(world, start, context_steps)
        for h in range(1, H + 1):
            now = start + h
            if now >= STEPS or episode_of(now) != episode_of(start):
                break
            action = world.actions[now - 1 : now]
            found = world.model.predict(tf.constant(codes[np.newaxis]), action, state)
            codes = np.argmax(found.next_codes.logits[0], axis=-1).astype(np.int32)
            state = found.state
            hits[h - 1].append(np.mean(codes == world.codes[now]))
            copies[h - 1].append(np.mean(world.codes[start] == world.codes[now]))
            errors[h - 1].append(np.abs(decoded(world, codes) - world.frames[now]).mean())
            true = decoded(world, world.codes[now])
            floors[h - 1].append(np.abs(true - world.frames[now]).mean())
    assert [len(values) for values in hits] == [5, 4, 3, 2]
    for curve, values in (
        (curves.code_accuracy, hits),
        (curves.copy_accuracy, copies),
        (curves.pixel_error, errors),
        (curves.reconstruction_pixel_error, floors),
    ):
        np.testing.assert_allclose(curve, [np.mean(value) for value in values], rtol=1e-4)


def test_drawn_dreams_with_more_or_fewer_objects_are_counted(world):
    frames = np.stack([decoded(world, codes) for codes in world.codes]).astype(np.uint8)
    replay = made_replay(STEPS, **world.replay.as_arrays() | {"frames": frames})
    true = world.model.encode(replay.observations(tf.range(STEPS), F)).numpy()
    starts = np.array([0, 2, 4, 12, 20], np.int32)
    dreamer = Dreamer(world.model, DreamSettings(temperature=0.1))
    curves = HeldOutMeasures(world.model, replay, 5).open_loop(dreamer, starts, H, SEED)
    steps = np.minimum(starts[:, np.newaxis] + np.arange(H), STEPS - 1)
    first = start_at(dreamer, replay, starts)
    drawn = unroll(dreamer, first, tf.constant(world.actions[steps]), SEED).codes
    background = np.median(frames, axis=0)

    def number(codes):
        return count_objects(decoded(world, codes)[np.newaxis], background)[0]

    more, fewer = [[] for _ in range(H)], [[] for _ in range(H)]
    for row, start in zip(drawn, starts, strict=True):
        for h, codes in enumerate(row):
            now = start + h + 1
            if now < STEPS and episode_of(now) == episode_of(start):
                more[h].append(number(codes) > number(true[now]))
                fewer[h].append(number(codes) < number(true[now]))
    np.testing.assert_allclose(curves.more_objects, [np.mean(of) for of in more])
    np.testing.assert_allclose(curves.fewer_objects, [np.mean(of) for of in fewer])
    assert 0.0 < np.mean(curves.more_objects) < 1.0 and 0.0 < np.mean(curves.fewer_objects) < 1.0


def test_open_loop_samples_follow_the_seed(world):
    starts = np.arange(4, dtype=np.int32) + 6
    dreamer = Dreamer(world.model, DreamSettings())

    def sampled(seed):
        return measures_of(world).open_loop(dreamer, starts, H, seed).sampled_accuracy

    np.testing.assert_array_equal(sampled(SEED), sampled(SEED))
    assert not np.array_equal(sampled(SEED), sampled(SEED + 1))


def test_horizons_that_no_episode_reaches_are_nan(world):
    dreamer = Dreamer(world.model, DreamSettings())
    curves = measures_of(world).open_loop(dreamer, np.array([4], np.int32), 3, SEED)
    assert np.isfinite(curves.code_accuracy[0])
    assert np.isnan(curves.code_accuracy[1:]).all() and np.isnan(curves.pixel_error[1:]).all()


def test_one_step_measures_equal_single_steps(world):
    length = 5
    # Windows of five steps share one: four transitions each, from the start of every episode on.
    starts = [0, 4, 6, 10, 14, 18, 22]
    latent, hits, copies, rewards = [], [], [], []
    confusion, predicted = np.zeros([3, 3]), []
    for start in starts:
        state = world.model.initial_state(1)
        for step in range(start, start + length - 1):
            if step >= STEPS or episode_of(step) != episode_of(start):
                break
            codes = tf.constant(world.codes[step : step + 1])
            y, next_codes, state = world.model.predict(codes, world.actions[step : step + 1], state)
            logits = next_codes.logits
            reward = world.model.events(Transition(y, codes, codes)).rewards.logits
            log_p = tf.nn.log_softmax(reward[0]).numpy()
            rewards.append(-log_p[world.classes[step]])
            confusion[world.classes[step], np.argmax(log_p)] += 1
            predicted.append((world.classes[step], *np.exp(log_p)))
            following = step + 1
            if following < min(STEPS, start + length) and episode_of(following) == episode_of(step):
                log_p = tf.nn.log_softmax(logits[0]).numpy()
                target = world.codes[following]
                latent.append(-np.take_along_axis(log_p, target[..., np.newaxis], -1).sum())
                hits.append(np.mean(np.argmax(log_p, axis=-1) == target))
                copies.append(np.mean(world.codes[step] == target))
    found = measures_of(world, length).one_step()
    np.testing.assert_allclose(found.latent_loss, np.mean(latent), rtol=1e-4)
    np.testing.assert_allclose(found.reward_loss, np.mean(rewards), rtol=1e-4)
    np.testing.assert_allclose(found.code_accuracy, np.mean(hits), rtol=1e-4)
    np.testing.assert_allclose(found.copy_accuracy, np.mean(copies), rtol=1e-4)
    np.testing.assert_array_equal(found.confusion, confusion)
    assert confusion.sum() == STEPS and len(latent) == STEPS - 1 - len(ENDS)  # each once
    classes, *probabilities = np.array(predicted).T
    counts = confusion.sum(axis=1)
    np.testing.assert_allclose(found.calibration, np.sum(probabilities, axis=1) / counts, rtol=1e-4)
    shares = counts / counts.sum()
    skill = 1.0 - np.mean(rewards) / -np.sum(shares * np.log(shares))
    np.testing.assert_allclose(found.reward_skill, skill, rtol=1e-4)
    for number, of_class in enumerate(probabilities):
        area = area_under_curve(of_class, classes == number)
        np.testing.assert_allclose(found.reward_auc[number], area, rtol=1e-4)


def test_autoencoding_covers_every_observation_once(world):
    vqvae = world.model.vqvae
    vectors = vqvae.encoder(scale_pixels(world.observations), training=False)
    distribution = vqvae.decode(vqvae.quantizer.nearest(vectors))
    squeezed = MARGIN + (1 - 2 * MARGIN) * scale_pixels(world.observations)
    expected = np.mean(distribution.log_prob(squeezed)) - 36 * np.log(8)
    found = measures_of(world).autoencoding()
    np.testing.assert_allclose(found.elbo, expected, rtol=1e-4)
    shares = np.bincount(world.codes.ravel(), minlength=8) / world.codes.size
    shares = shares[shares > 0]
    np.testing.assert_allclose(
        found.codebook_perplexity, np.exp(-np.sum(shares * np.log(shares))), rtol=1e-4
    )


@pytest.mark.parametrize("levels", [2, 5, 1000])  # many ties, some, none
def test_the_area_is_the_share_of_pairs_in_the_right_order(levels):
    draw = np.random.default_rng(levels)
    probabilities = draw.integers(levels, size=60) / levels
    is_class = draw.random(60) < 0.3
    pairs = [
        (mine > other) + 0.5 * (mine == other)
        for mine in probabilities[is_class]
        for other in probabilities[~is_class]
    ]
    found = area_under_curve(probabilities, is_class)
    assert found == pytest.approx(np.mean(pairs))
    assert area_under_curve(1.0 - probabilities, is_class) == pytest.approx(1.0 - found)


def test_without_members_or_others_there_is_no_area():
    for is_class in (np.zeros(3, bool), np.ones(3, bool)):
        assert np.isnan(area_under_curve(np.arange(3.0), is_class))


def test_skill_by_hand():
    counts = np.array([1, 6, 1])  # entropy: 2 × 1/8 ln 8 + 3/4 ln 4/3
    entropy = 2 / 8 * np.log(8) + 0.75 * np.log(4 / 3)
    assert reward_skill(0.0, counts) == 1.0
    assert reward_skill(entropy, counts) == pytest.approx(0.0)
    assert reward_skill(1.5 * entropy, counts) == pytest.approx(-0.5)
    assert np.isnan(reward_skill(0.1, np.array([0, 5, 0])))
