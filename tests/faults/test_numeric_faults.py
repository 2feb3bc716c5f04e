"""NaN, collapse, and games that give next to nothing to learn from."""

import json

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.judging import promise
from tests.tiny_runs import perform


class OddGame(gymnasium.Env):
    """One action, one step per episode, no reward: whatever could be zero is zero."""

    observation_space = gymnasium.spaces.Box(0, 255, [16, 16, 3], np.uint8)
    action_space = gymnasium.spaces.Discrete(1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._frame(), {}

    def step(self, action):
        return self._frame(), 0.0, True, False, {}

    def _frame(self):
        return self.np_random.integers(0, 256, [16, 16, 3]).astype(np.uint8)


@pytest.fixture(scope="module", autouse=True)
def registered():
    gymnasium.register("Odd-v0", entry_point=OddGame)
    yield
    del gymnasium.registry["Odd-v0"]


SHORT = {
    "collection__first_iteration_steps": 60,
    "vqvae__batch_size": 5,
    "dynamics__epochs": "(1,1)",
    "inspection__held_out_steps": 30,
    "inspection__num_starts": 2,
    "inspection__horizon": 2,
}
NO_VQVAE = {"vqvae__warmup_epochs": 0, "vqvae__update_interval": 0}  # it does not learn


def newest(run):
    return max(path.name for path in run.directory.checkpoints.iterdir())


@pytest.mark.slow  # a whole run
@pytest.mark.parametrize("num_frames", [1, 3])
def test_one_action_one_step_episodes_and_no_rewards(opened, num_frames):
    run = opened(
        game="Odd-v0",
        collection__num_iterations=1,
        collection__first_iteration_steps=30,
        dynamics__epochs="(1,)",
        ppo__num_updates="(2,)",
        game__num_stacked_frames=num_frames,
        evaluation__num_episodes=3,
        inspection__held_out_steps=12,
        inspection__num_starts=2,
        inspection__horizon=2,
    )
    perform(run)
    (entry,) = json.loads(run.directory.scores.read_text())
    assert entry["returns"] == [0.0] * 3 and entry["lengths"] == [1] * 3
    lines = run.metrics.read()
    assert not any("not_finite" in line for line in lines)
    held_out = next(line for line in lines if line["event"] == "held_out")
    assert held_out["reward_recall_positive"] is None  # there is none to recall
    assert held_out["latent_loss"] == 0.0  # no step has a next one
    # A stack never reaches across an episode's end, so it holds one frame several times.
    stacks = run.algorithm.replay.observations(tf.range(30), num_frames).numpy()
    assert (stacks == stacks[..., :1]).all()
    assert len(np.unique(stacks[..., 0].reshape(30, -1), axis=0)) == 30


def test_a_nan_in_a_gradient_stops_the_run_before_a_checkpoint(opened, monkeypatch):
    one_group = {"logging__interval": 1000}
    run = opened(**SHORT, **one_group, checkpoints__interval=1000, **NO_VQVAE)
    perform(run, "collect")
    before = newest(run)
    learner = run.algorithm.world_model_learner
    joint_steps = learner.joint_steps

    def spoiled(*arguments):
        results = joint_steps(*arguments)
        # What a NaN gradient of the last update leaves: its loss was still finite.
        kernel = run.algorithm.world_model.dynamics.code_head.convolution.kernel
        kernel.assign(tf.fill(kernel.shape, np.nan))
        return results

    monkeypatch.setattr(learner, "joint_steps", spoiled)
    with pytest.raises(
        FloatingPointError,
        match=r"dynamics: code_head/convolution/kernel is not finite.*; .* is good",
    ):
        perform(run, "learn_world_model")
    after = newest(run)
    assert after == before
    reader = tf.train.load_checkpoint(str(run.directory.checkpoints / after / "variables"))
    values = [reader.get_tensor(name) for name in reader.get_variable_to_shape_map()]
    floats = [value for value in values if getattr(value, "dtype", None) == np.float32]
    assert len(floats) > 100
    assert all(np.isfinite(value).all() for value in floats)


def test_a_nan_loss_is_named_with_its_part(opened, monkeypatch):
    run = opened(**SHORT)
    perform(run, "collect")
    vqvae = run.algorithm.world_model.vqvae
    vqvae.decoder.deconvolutions[-1].bias.assign([np.nan] * 2)
    with pytest.raises(FloatingPointError, match="vqvae: .*reconstruction_loss.* is not finite"):
        perform(run, "learn_world_model")
    line = run.metrics.read()[-1]
    assert line["event"] == "vqvae" and "reconstruction_loss" in line["not_finite"]


def test_a_nan_policy_loss_stops_before_it_is_played(opened, monkeypatch):
    run = opened(**SHORT, ppo__num_updates="(9,1)")
    perform(run, "collect")  # dreams of an untrained world model do
    run.algorithm.policy.value.bias.assign([np.nan])
    with pytest.raises(FloatingPointError, match=r"ppo: .*value.* is not finite"):
        perform(run, "learn_policy")
    played = [line for line in run.metrics.read() if line["event"] == "check"]
    assert len(played) == 1  # the look before the first update


def test_a_collapsed_codebook_is_told(opened, capsys):
    run = opened(**SHORT | {"dynamics__epochs": "(0,0)"})
    perform(run, "collect")
    embeddings = run.algorithm.world_model.vqvae.quantizer.embeddings
    far = np.full(embeddings.shape, 1e3, np.float32)
    far[0] = 0.0  # the only one that anything is near to
    learner = run.algorithm.world_model_learner
    warmup = learner.warmup_steps

    def collapsed(*arguments):
        results = warmup(*arguments)
        embeddings.assign(far)
        return results

    learner.warmup_steps = collapsed
    perform(run, "learn_world_model")
    assert "warning: the codebook has collapsed, its perplexity is 1.00 of 128" in (
        capsys.readouterr().out
    )


def test_the_gap_of_no_reward_at_all_has_no_error():
    nothing = promise.Promise(np.zeros([4, 3]), np.zeros([4, 3]))
    assert nothing.gap == nothing.gap_error == 0.0
