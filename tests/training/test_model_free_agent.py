"""Model-free runs: stopped and continued, opened and exported."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.deployment.export_directory import write_export
from smallwm_tf.deployment.opening import load_export, load_run
from smallwm_tf.deployment.trained_agent import require_world_model
from smallwm_tf.experiment.config import ConfigError, build_config, validate
from smallwm_tf.experiment.schedule import ModelFreePlan
from smallwm_tf.runs import RunError
from smallwm_tf.runs.scores import read_scores
from smallwm_tf.train import train
from tests.tiny_runs import MODEL_FREE, experiment_for, logged, train_in_pieces


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One run in one go, one stopped again and again."""
    folder = tmp_path_factory.mktemp("model_free")
    whole = experiment_for(folder / "whole", MODEL_FREE)
    train(whole)
    pieces = experiment_for(folder / "pieces", MODEL_FREE)
    stops = train_in_pieces(pieces)
    return SimpleNamespace(whole=whole.run_dir, pieces=pieces.run_dir, stops=stops)


def test_stopped_and_continued_it_comes_to_the_same(runs):
    assert runs.stops >= 3
    whole, pieces = (load_run(path) for path in (runs.whole, runs.pieces))
    for a, b in zip(
        whole.networks.policy.get_weights(), pieces.networks.policy.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    assert read_scores(runs.whole / "scores.json") == read_scores(runs.pieces / "scores.json")
    assert logged(runs.whole) == logged(runs.pieces)


def test_scores_and_metrics_count_the_steps_that_were_played(runs):
    assert [e["num_interactions"] for e in read_scores(runs.whole / "scores.json")] == [60, 84]
    lines = logged(runs.whole)
    collected = [line for line in lines if line["event"] == "collect"]
    # An episode of Catch takes 10 to 14 steps, whoever plays.
    assert [2 <= line["episodes"] <= 8 for line in collected] == [True, True]
    assert [line["step"] for line in lines if line["event"] == "ppo"] == [3, 4]
    assert not list((runs.whole / "replay").glob("*.npz"))


def test_rollouts_cover_the_steps_of_an_iteration():
    plan = ModelFreePlan(build_config(MODEL_FREE | {"collection.num_iterations": 2}))
    assert plan.rollout_lengths(1) == [12, 12, 6] and plan.rollout_lengths(2) == [12]
    work = plan.work()
    assert work.ppo_updates == 4
    assert work.real_steps == (84, 0, 0)
    assert work.vqvae_steps == work.dynamics_steps == 0


@pytest.mark.parametrize(
    "key, value",
    [
        ("precision", "bfloat16"),
        ("collection.first_iteration_steps", 61),
        ("collection.steps_per_iteration", 25),
        ("ppo.minibatch_size", 25),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(key, value):
    settings = MODEL_FREE | {"ppo.minibatch_size": 8, "vqvae.batch_size": 5}
    settings |= {"dynamics.windows_per_batch": 1}
    validate(build_config(settings))
    with pytest.raises(ConfigError) as refused:
        validate(build_config(settings | {key: value}))
    assert refused.value.key == key


def test_the_agent_of_a_run_keeps_its_weights(runs):
    networks = load_run(runs.whole).networks
    policy = networks.policy
    frames = np.random.default_rng(0).integers(256, size=[64, 96, 96, 2], dtype=np.uint8)
    agent = networks.agent(1.0)
    seed = np.array([1, 2], np.int32)
    before, _ = agent.act(frames, (), seed, 0)
    logits, _ = policy(frames)
    greedy, _ = networks.agent(0.0).act(frames, (), seed, 0)
    np.testing.assert_array_equal(greedy, np.argmax(logits, axis=-1))
    policy.logits.bias.assign([0.0, 50.0, 0.0])
    after, _ = agent.act(frames, (), seed, 0)
    np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(networks.agent(1.0).act(frames, (), seed, 0)[0], 1)


def test_an_export_acts_as_the_run_does(runs, tmp_path):
    agent = load_run(runs.whole)
    write_export(agent, tmp_path / "export", with_tf_agents_policy=True)
    exported = load_export(tmp_path / "export")
    frames = np.random.default_rng(1).integers(256, size=[5, 96, 96, 2], dtype=np.uint8)
    (of_run, no_codes), (of_export, none) = (one.policy_on(frames) for one in (agent, exported))
    assert no_codes is none is None
    for a, b in zip(of_run, of_export, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    saved = tf.saved_model.load(str(tmp_path / "export" / "agent"))
    saved.reset(frames[:1, ..., 0])
    stacked = saved.act(frames[:1, ..., 1])
    np.testing.assert_allclose(stacked["logits"], of_run.logits[:1], atol=1e-5)
    assert "codes" not in stacked
    for one in (agent, exported):
        with pytest.raises(RunError, match="without a world model"):
            require_world_model(one)
    with pytest.raises(RunError, match="without a world model"):
        write_export(agent, tmp_path / "dream", with_world_model=True)
    assert not (tmp_path / "dream").exists()
    assert not list(tmp_path.glob(".dream*"))
