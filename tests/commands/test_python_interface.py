"""What programs call: smallwm_tf's own names."""

import dataclasses
import inspect
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.utils.env_checker import check_env

import smallwm_tf
from smallwm_tf import evaluate, train
from smallwm_tf.cli.train_flags import read_train_flags
from smallwm_tf.experiment.config import ConfigError
from smallwm_tf.games.catalogue import UnknownGameError
from smallwm_tf.runs import RunError
from smallwm_tf.runs.scores import read_scores
from tests.commands.conftest import SETTINGS

H, N = 3, 4  # horizon of the tiny run's dreams, and how many


@pytest.fixture(scope="module")
def agent(run_dir):
    return smallwm_tf.load_run(run_dir)


@pytest.fixture(scope="module")
def exported(export_dir):
    """Dreams like its run (tests/viewing/test_dream_session.py), with less to compile."""
    return smallwm_tf.load_export(export_dir)


@pytest.fixture(scope="module")
def vector(exported):
    return smallwm_tf.DreamVectorEnv(exported, num_envs=N, num_real_steps=40)


# --- names -----------------------------------------------------------------------------------


def test_names_cost_nothing_until_they_are_used():
    script = """if True:
        import sys
        import smallwm_tf
        assert set(smallwm_tf.__all__) <= set(dir(smallwm_tf))
        smallwm_tf.Experiment("Catch", "catch")
        smallwm_tf.train, smallwm_tf.evaluate
        assert "tensorflow" not in sys.modules
        assert not hasattr(smallwm_tf, "trian")
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_commands_are_modules_and_functions():
    assert smallwm_tf.train is train is sys.modules["smallwm_tf.train"]
    assert callable(train.main) and callable(evaluate.main)
    assert list(inspect.signature(smallwm_tf.train).parameters) == ["experiment", "stop"]
    assert "episodes" in inspect.signature(smallwm_tf.evaluate).parameters
    with pytest.raises(TypeError, match="experiment"):
        smallwm_tf.train()


# --- experiments -----------------------------------------------------------------------------


def test_an_experiment_is_what_the_command_line_asks_for():
    words = ["--game=ms_pacman", "--config=quick", "--seed=7", "--config.ppo.discount=0.9"]
    read = read_train_flags(["train", *words]).experiment
    made = smallwm_tf.Experiment("ms_pacman", "quick", np.int64(7), settings={"ppo.discount": 0.9})
    assert isinstance(made, type(read))
    for field in dataclasses.fields(read):
        assert getattr(made, field.name) == getattr(read, field.name), field.name
    again = smallwm_tf.Experiment(made.game, made.config, 7, made.run_dir, made.preset)
    assert again == made == dataclasses.replace(made)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"game": "Pomg"}, UnknownGameError, "did you mean Pong"),
        ({"config": "quik"}, ConfigError, "did you mean quick"),
        ({"seed": -1}, ConfigError, "seed=-1: must be"),
        ({"seed": True}, ConfigError, "seed=True: must be"),
        ({"settings": {"ppo.discont": 0.9}}, ConfigError, "nearest: ppo.discount"),
        ({"settings": {"ppo": {"discount": 2.0}}}, ConfigError, "ppo.discount=2.0: must be"),
        ({"settings": {"ppo.minibatch_size": 10**7}}, ConfigError, "ppo.minibatch_size"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(arguments, error, text, tmp_path):
    with pytest.raises(error, match=text) as caught:
        smallwm_tf.Experiment(**{"game": "Catch", "run_dir": tmp_path / "run"} | arguments)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


# --- runs and agents -------------------------------------------------------------------------


def test_training_returns_the_run_directory(run_dir, capsys):
    """The run is finished already; `run_dir` itself was trained by this function."""
    experiment = smallwm_tf.Experiment("Catch", "catch", 5, run_dir, settings=SETTINGS)
    assert smallwm_tf.train(experiment) == run_dir
    assert "finished" in "".join(capsys.readouterr())


def test_evaluating_does_not_change_the_agent(agent, run_dir):
    few = smallwm_tf.evaluate(agent, episodes=2, seed=8, temperature=0.0, null_policies=False)
    assert few["agent"]["num_episodes"] == 2 and few["seed"] == 8 and few["greedy"]
    again = smallwm_tf.evaluate(agent, null_policies=False)
    assert again["agent"]["returns"] == read_scores(run_dir / "scores.json")[-1]["returns"]
    assert agent.config.evaluation.num_episodes == 24


def test_what_is_loaded_says_what_the_run_was_made_with(run_dir):
    """Also where it is computed otherwise, as exporting may do."""
    from smallwm_tf.deployment.opening import load_run

    assert smallwm_tf.load_run(run_dir).config.dynamics.convolution == "direct"
    config = load_run(run_dir, convolution="fast").config
    assert config.as_configdict().dynamics.convolution == "direct"


def test_what_cannot_be_loaded_is_one_line(tmp_path, run_dir):
    for load in (smallwm_tf.load_run, smallwm_tf.load_export):
        with pytest.raises(RunError, match="no such directory"):
            load(tmp_path / "none")
    with pytest.raises(RunError, match="holds an agent of Catch"):
        smallwm_tf.load_run(run_dir, game="Pong")
    with pytest.raises(UnknownGameError, match="did you mean Pong"):
        smallwm_tf.load_run(run_dir, game="Pomg")


# --- dreams ----------------------------------------------------------------------------------


@pytest.mark.parametrize("observations", ["codes", "frames"])
@pytest.mark.filterwarnings("ignore:.*Not able to test alternative render modes")
def test_a_dream_is_a_gymnasium_environment(exported, observations):
    env = smallwm_tf.DreamEnv(exported, 2, observations, num_real_steps=30, render_mode="rgb_array")
    check_env(env)
    observation, _ = env.reset(seed=3)
    picture = env.render()
    assert picture.shape == (96, 96, 3) and picture.dtype == np.uint8
    if observations == "frames":
        assert observation.shape == (96, 96, 2)
        np.testing.assert_array_equal(picture[..., 0], observation[..., -1])
    ends = [env.step(0)[2:4] for _ in range(2)]
    assert ends == [(False, False), (True, False)]
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    with pytest.raises(ValueError, match="action=3 must be from 0 to 2"):
        env.step(3)


def test_many_dreams_are_those_of_tf_agents(exported, vector):
    """Step by step, with the same pair of random numbers; frames are what the decoder shows."""
    dreams = smallwm_tf.dream_environment(exported, num_dreams=N, num_real_steps=40)
    generator, _ = gymnasium.utils.seeding.np_random(11)
    pair = generator.integers(-(2**31), 2**31, size=2, dtype=np.int64)
    dreams.seed(tf.constant(pair, tf.int32))
    step, (observations, _) = dreams.reset(), vector.reset(seed=11)
    draw = np.random.default_rng(0)
    for call in range(2 * (H + 1)):
        np.testing.assert_array_equal(observations.reshape(N, 6, 6), step.observation)
        assert vector.observation_space.contains(observations)
        actions = draw.integers(3, size=N)
        observations, rewards, terminated, truncated, _ = vector.step(actions)
        step = dreams.step(tf.constant(actions, tf.int32))
        np.testing.assert_array_equal(rewards, step.reward)
        np.testing.assert_array_equal(terminated, step.is_last())
        assert terminated.all() == (call % (H + 1) == H - 1) and not truncated.any()


def test_seeds_repeat_and_no_seed_goes_on(vector):
    def play(**seed):
        first, _ = vector.reset(**seed)
        return [first.tolist(), *(vector.step([0, 1, 2, 0])[0].tolist() for _ in range(H))]

    assert play(seed=1) == play(seed=1) != play(seed=2)
    assert play() != play()


def test_a_dream_alone_dreams_like_the_first_of_one(exported):
    alone = smallwm_tf.DreamEnv(exported, num_real_steps=40)
    one = smallwm_tf.DreamVectorEnv(exported, num_envs=1, num_real_steps=40)
    found, expected = alone.reset(seed=6)[0], one.reset(seed=6)[0]
    for _ in range(H):
        np.testing.assert_array_equal(found, expected[0])
        found, reward, *_ = alone.step(1)
        expected, rewards, *_ = one.step([1])
        assert reward == rewards[0]


def test_a_time_limit_is_a_truncation(exported):
    limited = exported.with_settings(dream__bootstrap_at_horizon=True)
    envs = smallwm_tf.DreamVectorEnv(limited, num_envs=2, horizon=1, num_real_steps=30)
    envs.reset(seed=0)
    _, _, terminated, truncated, _ = envs.step([0, 0])
    assert truncated.all() and not terminated.any()
    assert envs.step([0, 0])[2:4] == pytest.approx(np.zeros([2, 2]))


def test_what_cannot_be_dreamed_is_told(exported, vector):
    with pytest.raises(ValueError, match="observations='pixels' must be codes or frames"):
        smallwm_tf.DreamVectorEnv(exported, observations="pixels")
    with pytest.raises(ValueError, match="horizon=0"):
        smallwm_tf.DreamEnv(exported, horizon=0)
    for actions in ([0, 0, 0], [0, 0, 0, 3], [-1, 0, 0, 0]):
        with pytest.raises(ValueError, match="must be 4 whole numbers from 0 to 2"):
            vector.step(actions)
    blind = dataclasses.replace(exported, parameters={})
    with pytest.raises(RunError, match="without a world model"):
        smallwm_tf.dream_environment(blind)
