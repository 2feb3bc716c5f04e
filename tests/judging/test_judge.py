"""Held-out play on Catch, apart from what is trained on, and looks at what a policy earns there."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.agents.agent import RandomAgent
from smallwm_tf.agents.collecting import collect
from smallwm_tf.agents.policy_agent import PolicyAgent
from smallwm_tf.cli.train_flags import read_train_flags
from smallwm_tf.experiment.config import build_config, flatten
from smallwm_tf.experiment.randomness import generator, seed_pair
from smallwm_tf.figures import strips
from smallwm_tf.games.opening import open_game
from smallwm_tf.judging.held_out import HeldOutMeasures
from smallwm_tf.judging.judge import RealityCheck, WorldModelJudge, play_held_out
from smallwm_tf.judging.moving_objects import count_objects
from smallwm_tf.judging.open_loop import longest_start, open_loop
from smallwm_tf.learning.world_model_learner import reward_precision_and_recall
from smallwm_tf.models.build import build_models
from smallwm_tf.models.imagination import Dreamer, DreamSettings

STEPS = 20
STARTS, HORIZON = 21, 8  # more starts than held-out steps, or games that run at once


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    settings = {
        "dynamics.channels": 4,
        "dynamics.convolution": "direct",
        "dream.horizon": 50,
        "dynamics.window_length": 3,
        "dynamics.context_steps": 2,
        "inspection.horizon": HORIZON,
        "inspection.held_out_steps": STEPS,
        "inspection.num_starts": STARTS,
    }
    words = [f"--config.{key}={value}" for key, value in settings.items()]
    run_dir = tmp_path_factory.mktemp("judging") / "run"
    return read_train_flags(
        ["train", "--game=Catch", "--config=catch", f"--run_dir={run_dir}", *words]
    ).experiment


@pytest.fixture(scope="module")
def models(experiment):
    tf.keras.utils.set_random_seed(0)
    return build_models(experiment.config, 3, seed=1)


@pytest.fixture(scope="module")
def agent(models):
    return PolicyAgent(models[0], models[1])


def frames_of(experiment, agent, iteration):
    return play_held_out(experiment, agent, iteration).frames.numpy()


@pytest.mark.parametrize("plays_at_random", [True, False])
def test_held_out_play_repeats_and_differs_between_iterations(experiment, agent, plays_at_random):
    plays = RandomAgent(3) if plays_at_random else agent
    first = frames_of(experiment, plays, 1)
    np.testing.assert_array_equal(first, frames_of(experiment, plays, 1))
    assert not np.array_equal(first, frames_of(experiment, plays, 3))


def test_held_out_play_is_not_what_is_trained_on(experiment, agent):
    game = open_game(experiment, "collect")
    game.reset()
    collected = collect(game, agent, STEPS, (experiment.seed, "collect", 1))
    held_out = play_held_out(experiment, agent, 1)
    assert not np.array_equal(held_out.frames, collected.frames)
    assert not np.array_equal(held_out.actions, collected.actions)


@pytest.fixture(scope="module")
def copying():
    """A world model that predicts the present codes and no reward better than another."""
    settings = {
        "dynamics.present_code_logit": 7.0,
        "dynamics.channels": 4,
        "dynamics.convolution": "direct",
        "game.num_stacked_frames": 1,
    }
    world_model, _ = build_models(build_config(settings), 3)
    for variable in world_model.dynamics.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    norm = world_model.vqvae.encoder.projection_norm
    norm.gamma.assign(1000.0 * norm.gamma)  # far apart, the vectors have different codes
    return world_model


def test_every_measure_of_a_model_that_copies_is_as_worked_by_hand(experiment, copying):
    differences = {
        "dynamics.temperature": 0.1,  # a drawn code is the most probable one
        "inspection.horizon": 15,  # longer than an episode of Catch
    }
    held_out = play_held_out(experiment, RandomAgent(3), 1)
    changed = with_settings(experiment, differences)
    measures, curves = judged(copying, held_out, changed)

    vqvae = copying.vqvae
    frames = held_out.frames.numpy()[:STEPS]
    pixels = frames[..., np.newaxis] / 255.0
    codes = vqvae.encode(tf.constant(frames[..., np.newaxis])).numpy()
    shown = vqvae.mean_pixels(tf.constant(codes)).numpy()[..., 0] * 255.0
    logits = vqvae.decoder(vqvae.quantizer.lookup(codes)).numpy().astype(float)
    episodes = held_out.episode_starts.numpy()[:STEPS]
    rewards = held_out.rewards.numpy()[:STEPS]
    counts = [np.sum(rewards == value) for value in (-1, 0, 1)]
    assert counts[0] > 0 and counts[1] > 0 and len(np.unique(codes)) > 3

    def ahead(steps, value):
        """Mean of a value of (from, to) over all pairs that many steps apart in one episode."""
        pairs = [(s, s + steps) for s in range(STEPS - steps) if episodes[s] == episodes[s + steps]]
        return np.mean([value(*pair) for pair in pairs]) if pairs else None

    def stay(before, after):
        return np.mean(codes[before] == codes[after])

    shares = np.bincount(codes.ravel()) / codes.size
    shares = shares[shares > 0]
    density = logits * pixels - np.log(np.expm1(logits) / logits)
    reward_shares = np.array([count for count in counts if count]) / STEPS
    entropy = -np.sum(reward_shares * np.log(reward_shares))
    is_foreground = np.abs(frames - np.median(frames, axis=0)) > 15
    errors = np.abs(shown - frames)
    seen = count_objects(shown, np.median(frames, axis=0))
    expected = {
        "elbo": density.sum(axis=(1, 2, 3)).mean() - 36 * np.log(128),
        "codebook_perplexity": np.exp(-np.sum(shares * np.log(shares))),
        "largest_logit": np.abs(logits).max(),
        "pixel_error": errors.mean(),
        "foreground_pixel_error": errors[is_foreground].mean(),
        "latent_loss": 36 * (np.log(np.exp(7) + 127) - 7 * ahead(1, stay)),
        "reward_loss": np.log(3),
        "code_accuracy": ahead(1, stay),
        "copy_accuracy": ahead(1, stay),
        # Of three equal classes the first, -1, is taken for the most probable.
        "reward_precision_negative": counts[0] / STEPS,
        "reward_precision_zero": None,
        "reward_precision_positive": None,
        "reward_recall_negative": 1.0,
        "reward_recall_zero": 0.0,
        "reward_recall_positive": 0.0 if counts[2] else None,
        "reward_calibration_negative": STEPS / 3 / counts[0],
        "reward_calibration_zero": STEPS / 3 / counts[1],
        "reward_calibration_positive": STEPS / 3 / counts[2] if counts[2] else None,
        "reward_skill": 1.0 - np.log(3) / entropy,
        # All probabilities are equal.
        "reward_auc_negative": 0.5,
        "reward_auc_zero": 0.5,
        "reward_auc_positive": 0.5 if counts[2] else None,
    }
    expected["dreamed_reward_rate"] = 2 / 3
    steps_ahead = [
        [rewards[s + t] for s in range(STEPS - t) if episodes[s] == episodes[s + t]]
        for t in range(8)
    ]
    expected["real_reward_rate"] = np.mean(np.concatenate(steps_ahead) != 0)
    for n in (1, 2, 4, 8):
        ahead_of = steps_ahead[n - 1]
        shares_ahead = np.unique(ahead_of, return_counts=True)[1] / len(ahead_of)
        entropy_ahead = -np.sum(shares_ahead * np.log(shares_ahead))
        expected[f"dream_reward_skill_{n}"] = 1.0 - np.log(3) / entropy_ahead
        for value, name in ((-1, "negative"), (0, "zero"), (1, "positive")):
            is_there = 0 < np.sum(np.array(ahead_of) == value) < len(ahead_of)
            expected[f"dream_reward_auc_{name}_{n}"] = 0.5 if is_there else None
    for h in (1, 5, 10, 15):
        for name in ("code_accuracy", "sampled_accuracy", "copy_accuracy"):
            expected[f"open_loop_{name}_{h}"] = ahead(h, stay)
        for name in ("pixel_error", "copy_pixel_error"):
            expected[f"open_loop_{name}_{h}"] = ahead(
                h, lambda before, after: np.abs(shown[before] - frames[after]).mean()
            )
        for name, is_so in (("more", np.greater), ("fewer", np.less)):
            expected[f"open_loop_{name}_objects_{h}"] = ahead(
                h, lambda before, after, is_so=is_so: float(is_so(seen[before], seen[after]))
            )
        expected[f"open_loop_reconstruction_pixel_error_{h}"] = ahead(
            h, lambda before, after: errors[after].mean()
        )
    assert expected["open_loop_copy_accuracy_15"] is None
    assert measures.keys() == expected.keys() and len(curves.pixel_error) == 15
    for name, value in expected.items():
        wanted = None if value is None else pytest.approx(value, rel=1e-3)
        assert measures[name] == wanted, name

    longer = HeldOutMeasures(copying, held_out, 5).one_step()._asdict()
    along = {name: longer[name] for name in longer.keys() & expected.keys()}
    along |= reward_precision_and_recall(longer["confusion"])
    assert len(along) == 11
    for name, value in along.items():
        wanted = expected[name]
        assert value == (None if wanted is None else pytest.approx(wanted, rel=1e-3)), name


def test_held_out_games_start_differently_in_every_iteration(experiment, agent):
    first_frames = {frames_of(experiment, agent, iteration)[0].tobytes() for iteration in range(8)}
    assert len(first_frames) > 1  # the ball falls in another column


def judged(world_model, held_out, experiment):
    config = experiment.config
    dreamer = Dreamer(world_model, DreamSettings.of(config))
    return WorldModelJudge(dreamer, held_out, config.dynamics.window_length).judge(experiment, 1)


@pytest.fixture(scope="module")
def changed(experiment):
    differences = {"dream.context_steps": 3, "dynamics.temperature": 0.1, "inspection.horizon": 2}
    return with_settings(experiment, differences)


@pytest.fixture(scope="module")
def judgement(changed, models, agent):
    """A judge with its dreamer, and what it said."""
    dreamer = Dreamer(models[0], DreamSettings.of(changed.config))
    held_out = play_held_out(changed, agent, 1)
    judge = WorldModelJudge(dreamer, held_out, changed.config.dynamics.window_length)
    return dreamer, judge, *judge.judge(changed, 1)


def test_open_loop_predictions_are_made_as_dreams_are(models, judgement):
    _, judge, _, found = judgement
    starts = np.arange(STEPS, dtype=np.int32)  # as many are asked for as there are, or more
    pair = seed_pair(0, "held_out", 1)
    for context_steps, temperature in ((3, 0.1), (0, 0.1), (3, 1.0)):
        dreamer = Dreamer(models[0], DreamSettings(temperature, context_steps))
        curves = judge.measures.open_loop(dreamer, starts, 2, pair)
        same = np.allclose(found.sampled_accuracy, curves.sampled_accuracy, rtol=1e-6)
        assert same == ((context_steps, temperature) == (3, 0.1))


def test_a_judge_of_other_steps_makes_no_new_graphs_and_says_what_a_new_one_says(
    changed, models, agent, judgement
):
    """Graphs take longer to make than to run, and there is a judgement at every iteration."""
    dreamer, judge, first, _ = judgement
    measures, replay = judge.measures, play_held_out(changed, agent, 2)

    def graphs():
        made = (dreamer.compiled_step, measures._autoencode, measures._predict, measures._decode)
        return [function.experimental_get_tracing_count() for function in made]

    before = graphs()
    judge.replay.clear()
    judge.replay.append(**replay.as_arrays())
    second, _ = judge.judge(changed, 1)
    assert graphs() == before and second != first
    expected, _ = judged(models[0], replay, changed)
    assert second == expected


def with_settings(experiment, differences):
    config = build_config(flatten(experiment.config) | differences)
    return dataclasses.replace(experiment, config=config)


def test_the_dream_in_the_figure_is_dreamed_as_policies_dream(
    experiment, models, agent, monkeypatch, tmp_path
):
    """At a temperature near 0 a drawn code is the most probable one."""
    differences = {"dynamics.temperature": 1e-6, "dream.context_steps": 3, "dream.horizon": 8}
    changed = with_settings(experiment, differences)
    held_out = play_held_out(experiment, agent, 1)
    drawn = []
    monkeypatch.setattr(strips, "draw_dream", lambda path, loop: drawn.append(loop))
    dreamer = Dreamer(models[0], DreamSettings.of(changed.config))
    strips.draw_world_model(tmp_path, dreamer, held_out, changed, 1)
    codes = drawn[0].dreamed_codes
    assert len(codes) > 3
    start, _ = longest_start(held_out, 8, figure_order(held_out))
    certain = Dreamer(models[0], DreamSettings(temperature=0.0, context_steps=3))
    likeliest = open_loop(certain, held_out, start, len(codes), seed_pair(0, "any"))
    np.testing.assert_array_equal(codes, likeliest.dreamed_codes)


def figure_order(replay):
    order = generator(0, "figures", 1)
    order.integers(replay.size, size=8)  # the figure of codes comes first
    return order


def test_held_out_play_repeats_actions_as_the_collection_does(experiment):
    shares = []
    for repeat_probability in (0.9, 0.0):
        held_out = play_held_out(experiment, RandomAgent(3, repeat_probability), 1)
        actions = held_out.actions.numpy()
        shares.append(np.mean(actions[1:] == actions[:-1]))
    assert shares[0] > 0.7 > 0.6 > shares[1]


@pytest.fixture(scope="module")
def check(experiment, agent):
    check = RealityCheck(experiment, agent, iteration=1)
    yield check
    check.close()


def test_plays_of_the_real_game_repeat_and_differ_from_each_other(check, agent):
    first = check.real_rewards(agent, 0)
    assert first.shape == (STARTS, HORIZON) and set(np.unique(first)) == {-1.0, 0.0, 1.0}
    # Every 20th step begins 0, 8 or 4 steps into an episode, whose ball lands with the 8th step.
    paid = [np.flatnonzero(row).tolist() for row in first]
    assert paid == [[7], [], [3]] * (STARTS // 3)
    other = check.real_rewards(agent, 1)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(first, check.real_rewards(agent, 0))


def test_the_promise_is_held_against_a_play_of_its_own(check, experiment, models, agent):
    dreamer = Dreamer(models[0], DreamSettings.of(experiment.config))
    promise = check.promise(dreamer, models[1], agent)
    assert promise.dreamed.shape == promise.real.shape == (STARTS, HORIZON)
    assert set(np.unique(promise.dreamed)) <= {-1.0, 0.0, 1.0}
    for look in range(5):
        assert not np.array_equal(promise.real, check.real_rewards(agent, look)), look
    again = check.promise(dreamer, models[1], agent)
    np.testing.assert_array_equal(again.real, promise.real)
    np.testing.assert_array_equal(again.dreamed, promise.dreamed)


def test_a_check_of_the_same_iteration_finds_the_same_moments(experiment, agent):
    few = with_settings(experiment, {"inspection.num_starts": 6})
    checks = [RealityCheck(few, agent, iteration) for iteration in (1, 1, 2)]
    observations = [check._starts.observations for check in checks]
    np.testing.assert_array_equal(observations[0], observations[1])
    assert not np.array_equal(observations[0], observations[2])
    np.testing.assert_array_equal(*(check.real_rewards(agent, 5) for check in checks[:2]))
    for check in checks:
        check.close()


def test_the_games_of_a_check_start_differently_in_every_iteration(experiment, agent):
    one = with_settings(experiment, {"inspection.num_starts": 1})
    first_frames = set()
    for iteration in range(8):
        check = RealityCheck(one, agent, iteration)
        first_frames.add(check._starts.observations[0].tobytes())
        check.close()
    assert len(first_frames) > 1  # the ball falls in another column


def test_a_check_dreams_as_the_policy_is_trained(experiment, models, agent):
    differences = {"dream.context_steps": 3, "dynamics.temperature": 0.1}
    differences |= {"dream.rewards": "expected", "inspection.num_starts": 6}
    few = with_settings(experiment, differences)
    check = RealityCheck(few, agent, iteration=1)
    assert check._starts.past.valid.numpy().sum(axis=1).tolist() == [0, 3, 3] * 2
    settings = DreamSettings.of(few.config)
    promise = check.promise(Dreamer(models[0], settings), models[1], agent)
    assert np.all(np.abs(promise.dreamed) < 1) and len(np.unique(promise.dreamed)) > 6
    assert set(np.unique(promise.real)) <= {-1.0, 0.0, 1.0}
    for temperature in (0.1, 1.0):
        dreamer = Dreamer(models[0], settings._replace(temperature=temperature))
        again = check.promise(dreamer, models[1], agent)
        dreamed = again.dreamed
        assert np.array_equal(promise.dreamed, dreamed) == (temperature == 0.1)
    check.close()
