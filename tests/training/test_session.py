"""The whole loop on Catch at a tiny size: stopped in the middle, opened again, run to its end."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from smallwm_tf.training.session import PHASES, Session

from smallwm_tf.train import train
from tests.tiny_runs import experiment_for, look_over_the_shoulder, open_run, policy_of


def snapshot(session: Session) -> SimpleNamespace:
    """Copies of everything that a continued session must have."""
    modules = (session.world_model.vqvae, session.world_model.dynamics, session.policy)
    optimizers = (
        session.learner.vqvae_optimizer,
        session.learner.dynamics_optimizer,
        session.learner.reward_optimizer,
        session.ppo.agent._optimizer,
    )
    return SimpleNamespace(
        weights=[v.numpy() for module in modules for v in module.variables],
        moments=[v.numpy() for optimizer in optimizers for v in optimizer.variables],
        # Behind the steps held there is room, whose content means nothing.
        replay=[v.numpy()[: session.replay.size] for v in session.replay.variables if v.shape.rank],
        replay_size=session.replay.size,
        counters=dict(session.counters),
        phases_done=session.phases_done,
        episode_return=session.collector.episode_return,
        observation=session.game.current_time_step().observation.copy(),
        num_lines=session.metrics.num_lines,
    )


def assert_same(one: SimpleNamespace, other: SimpleNamespace) -> None:
    for name in vars(one):
        left, right = getattr(one, name), getattr(other, name)
        if isinstance(left, list):
            assert len(left) == len(right), name
            for a, b in zip(left, right, strict=True):
                np.testing.assert_array_equal(a, b, err_msg=name)
        else:
            np.testing.assert_array_equal(left, right, err_msg=name)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """What happened in three sessions on one run directory."""
    path = tmp_path_factory.mktemp("session") / "run"
    experiment = experiment_for(path)
    seen = SimpleNamespace(
        path=path, experiment=experiment, policies=[], rates=[], actor_is_fresh=[]
    )

    with open_run(experiment) as run:
        session = Session(experiment, run)
        look_over_the_shoulder(session, seen)
        seen.fresh = snapshot(session)
        session.collect(1)
        session.learn_world_model(1)
        seen.stopped = snapshot(session)
        # A kill in the middle of the next phase: work done and lines written, nothing saved.
        session.policy.logits.bias.assign_add(tf.ones_like(session.policy.logits.bias))
        session.ppo_updates += 1
        session.metrics.write("ppo", 1, 1, dream_return=99.0)
        session.close()

    with open_run(experiment) as run:
        session = Session(experiment, run)
        look_over_the_shoulder(session, seen)
        seen.reopened = snapshot(session)
        session.collect(1)
        session.learn_world_model(1)
        seen.after_skipping = snapshot(session)
        session.learn_policy(1)
        seen.first_policy = policy_of(session)
        session.evaluate(1)
        for name in PHASES:
            getattr(session, name)(2)
        seen.finished = snapshot(session)
        seen.last_policy = policy_of(session)
        seen.last_rate = float(session.learner.vqvae_optimizer.lr)
        seen.vqvae_steps_taken = int(session.learner.vqvae_optimizer.iterations)
        seen.dynamics_steps_taken = int(session.learner.dynamics_optimizer.iterations)
        session.close()

    with open_run(experiment) as run:
        session = Session(experiment, run)
        seen.reopened_at_the_end = snapshot(session)
        session.close()

    seen.lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return seen


def test_the_first_phases_changed_what_they_should(story):
    assert story.fresh.phases_done == 0 and story.stopped.phases_done == 2
    assert (story.fresh.replay_size, story.stopped.replay_size) == (0, 50)
    changed = [
        not np.array_equal(a, b)
        for a, b in zip(story.fresh.weights, story.stopped.weights, strict=True)
    ]
    assert sum(changed) > 0.7 * len(changed)  # world model yes, policy no
    assert story.stopped.counters["ppo_updates"] == 0
    assert story.stopped.counters["dynamics_steps"] > 0


def test_a_second_session_continues_from_the_last_finished_phase(story):
    assert_same(story.reopened, story.stopped)
    assert_same(story.reopened_at_the_end, story.finished)
    # The policy's optimiser has moved by then, so that comparing its moments means something.
    assert all(
        np.any(a != b) for a, b in zip(story.finished.moments, story.fresh.moments, strict=True)
    )


def test_finished_phases_are_skipped(story):
    assert_same(story.after_skipping, story.stopped)


def test_every_phase_ran_once_and_in_order(story):
    phases = [(e["iteration"], e["phase"]) for e in story.lines if e["event"] == "phase"]
    assert phases == [(iteration, name) for iteration in (1, 2) for name in PHASES]
    assert story.finished.phases_done == 8
    positions = [e["step"] for e in story.lines if e["event"] == "phase"]
    assert positions == list(range(8))


def test_no_line_of_metrics_is_there_twice_and_none_of_the_killed_phase(story):
    assert not any(line.get("dream_return") == 99.0 for line in story.lines)
    for event in ("vqvae", "dynamics", "ppo", "collect", "evaluate"):
        steps = [line["step"] for line in story.lines if line["event"] == event]
        assert steps, event
        assert steps == sorted(set(steps)), event
    assert not any("not_finite" in line for line in story.lines)


def test_counters_tell_how_often_the_optimizers_stepped(story):
    counters = story.finished.counters
    assert counters["ppo_updates"] == 3 + 1
    assert counters["dynamics_steps"] == story.dynamics_steps_taken
    assert counters["vqvae_steps"] == story.vqvae_steps_taken


def test_the_vqvae_steps_alone_after_every_collection_and_beside_the_dynamics(story):
    config = story.experiment.config
    # Batches of five observations: ten in 50, twelve in 64.
    assert (config.vqvae.warmup_epochs, config.vqvae.later_epochs) == (1, 1)
    steps = 10 + 12
    last = 0
    for iteration in (1, 2):
        lines = [line for line in story.lines if line["event"] == "dynamics"]
        taken = max(line["step"] for line in lines if line["iteration"] == iteration) - last
        steps += -(-taken // config.vqvae.update_interval)  # the first of every eight
        last += taken
    assert story.finished.counters["vqvae_steps"] == steps
    first, later = ({rate for size, rate in story.rates if size == n} for n in (50, 64))
    assert list(first) == pytest.approx([config.vqvae.warmup_learning_rate])
    assert list(later) == pytest.approx([config.vqvae.learning_rate])
    assert story.last_rate == pytest.approx(config.vqvae.learning_rate)
    assert config.vqvae.warmup_learning_rate > config.vqvae.learning_rate


def test_every_second_update_the_real_game_is_looked_at_and_the_best_policy_kept(story):
    checks = [line for line in story.lines if line["event"] == "check"]
    moments = [(line["iteration"], line["step"]) for line in checks]
    # At the beginning, after every second update, and in the end.
    assert moments == [(1, 0), (1, 2), (1, 3), (2, 3), (2, 4)]
    assert len(story.policies) == len(checks)
    assert story.actor_is_fresh == [True] * (len(checks) + 2)  # and at the two promises
    for iteration, policy in ((1, story.first_policy), (2, story.last_policy)):
        best, kept_policy = -np.inf, None
        for line, weights in zip(checks, story.policies, strict=True):
            if line["iteration"] == iteration:
                assert line["kept"] == (line["real"] >= best)
                best = max(best, line["real"])
                kept_policy = weights if line["kept"] else kept_policy
        for a, b in zip(policy, kept_policy, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_replay_holds_every_step_and_its_files_too(story):
    assert story.finished.replay_size == 64
    files = sorted(file.name for file in (story.path / "replay").glob("[0-9]*"))
    assert files == ["000001.npz", "000002.npz"]
    frames = [np.load(story.path / "replay" / name)["frames"] for name in files]
    assert [len(f) for f in frames] == [50, 14]
    stored = next(v for v in story.finished.replay if v.ndim == 3)
    np.testing.assert_array_equal(np.concatenate(frames), stored)
    collected = [line["step"] for line in story.lines if line["event"] == "collect"]
    assert collected == [50, 64]


def test_scores_and_figures_are_written_after_each_iteration(story):
    text = (story.path / "scores.json").read_text()
    assert "NaN" not in text
    entries = (
        [e for e in json.loads(text)["evaluations"]] if text.startswith("{") else json.loads(text)
    )
    assert [e["iteration"] for e in entries] == [1, 2]
    for entry, size in zip(entries, (50, 64), strict=True):
        assert entry["num_episodes"] == 2 and len(entry["returns"]) == 2
        assert set(entry["returns"]) <= {-1.0, 1.0}  # one ball per episode
        np.testing.assert_allclose(entry["mean"], np.mean(entry["returns"]))
        np.testing.assert_allclose(entry["std"], np.std(entry["returns"]))
        assert entry["lengths"] == [12, 12]
        assert entry["num_interactions"] == size
    names = {file.name for file in (story.path / "figures").iterdir()}
    kinds = ("codes", "dream", "horizon", "promise")
    expected = {f"{kind}_{i:03d}.png" for kind in kinds for i in (1, 2)}
    assert names == expected | {"scores.png"}
    for name in names:
        assert (story.path / "figures" / name).read_bytes()[:4] == b"\x89PNG"
    random_policy = json.loads((story.path / "random_policy.json").read_text())
    assert set(random_policy["returns"]) <= {-1.0, 1.0}


def test_only_the_newest_checkpoints_are_kept(story):
    names = sorted(directory.name for directory in (story.path / "checkpoints").iterdir())
    assert names == ["000007", "000008"]


def test_training_a_finished_run_again_changes_nothing(story, capsys):
    kept = {
        name: (story.path / name).read_bytes()
        for name in ("metrics.jsonl", "scores.json", "checkpoints/000008/manifest.json")
    }
    train(story.experiment)
    for name, content in kept.items():
        assert (story.path / name).read_bytes() == content, name
    assert "Catch" in capsys.readouterr().out


def test_a_value_that_is_not_finite_stops_the_run_and_is_recorded(tmp_path):
    experiment = experiment_for(tmp_path / "run")
    with open_run(experiment) as run:
        session = Session(experiment, run)
        with pytest.raises(FloatingPointError, match="ppo: policy_loss is not finite in iterat"):
            session.log("ppo", 1, 1, {"policy_loss": float("nan"), "value_loss": 1.0})
        lines = session.metrics.read()
        session.close()
    assert lines[-1]["policy_loss"] is None and lines[-1]["value_loss"] == 1.0
