"""The whole loop on Catch at a tiny size: stopped in the middle, opened again, run to its end."""

import json
import pathlib
import re
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.runs.scores import read_scores
from smallwm_tf.train import train
from smallwm_tf.training.run import Run
from tests.tiny_runs import (
    experiment_for,
    look_over_the_shoulder,
    open_run,
    perform,
    policy_of,
    start_run,
)

PHASES = ["collect", "learn_world_model", "learn_policy", "evaluate"]


def snapshot(run: Run) -> SimpleNamespace:
    """Copies of everything that a continued run must have."""
    agent = run.algorithm
    modules = (agent.world_model.vqvae, agent.world_model.dynamics, agent.policy)
    learner = agent.world_model_learner
    optimizers = (
        learner.vqvae_optimizer,
        learner.dynamics_optimizer,
        learner.reward_optimizer,
        agent.policy_learner.optimizer,
    )
    return SimpleNamespace(
        weights=[v.numpy() for module in modules for v in module.variables],
        moments=[v.numpy() for optimizer in optimizers for v in optimizer.variables],
        # Behind the steps held there is room, whose content means nothing.
        replay=[
            v.numpy()[: run.algorithm.replay.size]
            for v in run.algorithm.replay.variables
            if v.shape.rank
        ],
        replay_size=run.algorithm.replay.size,
        vqvae_updates=int(learner.vqvae_updates),
        dynamics_updates=int(learner.dynamics_updates),
        policy_updates=int(agent.policy_learner.num_updates),
        phases_done=run.phases_done,
        policies_trained=run.policies_trained,
        running_return=run.running_return,
        observation=run.games[0].current_time_step().observation.copy(),
        num_lines=run.metrics.num_lines,
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


def assert_equal(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """What happened while one run was opened three times."""
    path = tmp_path_factory.mktemp("session") / "run"
    experiment = experiment_for(path, {"dynamics.convolution": "auto", "ppo.num_epochs": 2})

    with open_run(experiment) as directory, pytest.MonkeyPatch.context() as monkeypatch:
        run = start_run(experiment, directory)
        watched = look_over_the_shoulder(run, monkeypatch)
        fresh = snapshot(run)
        perform(run, "collect", "learn_world_model")
        stopped = snapshot(run)
        # A kill in the middle of the next phase: work done and lines written, nothing saved.
        run.algorithm.policy.logits.bias.assign_add(tf.ones_like(run.algorithm.policy.logits.bias))
        run.algorithm.policy_learner.num_updates.assign_add(1)
        run.metrics.write("ppo", 1, 1, dream_return=99.0)
        run.close()
        rates = watched.rates

    with open_run(experiment) as directory, pytest.MonkeyPatch.context() as monkeypatch:
        run = start_run(experiment, directory)
        seen = look_over_the_shoulder(run, monkeypatch)
        seen.path, seen.experiment, seen.fresh, seen.stopped = path, experiment, fresh, stopped
        seen.rates += rates
        seen.reopened = snapshot(run)
        perform(run, "collect", "learn_world_model")
        seen.after_skipping = snapshot(run)
        seen.policy_before = policy_of(run)
        perform(run)
        seen.first_policy = policy_of(run)
        perform(run, iteration=2)
        seen.finished = snapshot(run)
        seen.last_policy = policy_of(run)
        learner = run.algorithm.world_model_learner
        seen.last_rate = float(learner.vqvae_optimizer.learning_rate)
        seen.steps_taken = {
            "vqvae_updates": int(learner.vqvae_optimizer.iterations),
            "dynamics_updates": int(learner.dynamics_optimizer.iterations),
        }
        run.close()

    with open_run(experiment) as directory:
        run = start_run(experiment, directory)
        seen.reopened_at_the_end = snapshot(run)
        run.close()

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
    assert story.stopped.policy_updates == 0 < story.stopped.dynamics_updates


def test_a_second_session_continues_from_the_last_finished_phase(story):
    assert_same(story.reopened, story.stopped)
    assert_same(story.reopened_at_the_end, story.finished)
    # The optimisers have moved by then, so that comparing their moments means something; the
    # policy's only where another policy than that from before the phase is kept.
    pairs = zip(story.finished.moments, story.fresh.moments, strict=True)
    assert np.mean([np.any(a != b) for a, b in pairs]) > 0.7


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
    assert story.finished.policy_updates == 3 + 1
    assert story.finished.policies_trained == 2
    for name, count in story.steps_taken.items():
        assert getattr(story.finished, name) == count


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
    assert story.finished.vqvae_updates == steps
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
    # Checks and the promise after them were played by these policies.
    expected = [*story.policies[:3], story.first_policy, *story.policies[3:], story.last_policy]
    assert len(story.players) == len(expected)
    for played, policy in zip(story.players, expected, strict=True):
        assert_equal(played, policy)
    for iteration, policy in ((1, story.first_policy), (2, story.last_policy)):
        best, kept_policy = -np.inf, None
        for line, weights in zip(checks, story.policies, strict=True):
            if line["iteration"] == iteration:
                assert line["kept"] == (line["real"] >= best)
                best = max(best, line["real"])
                kept_policy = weights if line["kept"] else kept_policy
        assert_equal(policy, kept_policy)


def test_moments_are_those_of_the_policy_from_before_the_phase(story):
    assert len(story.finders) == 2
    for found, policy in zip(story.finders, (story.policy_before, story.first_policy), strict=True):
        assert_equal(found, policy)


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
    entries = read_scores(story.path / "scores.json")
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
    nulls = json.loads((story.path / "null_policies.json").read_text())
    assert list(nulls) == ["uniform", "holding", "best of nine"]
    for summary in nulls.values():
        assert set(summary["returns"]) <= {-1.0, 1.0}


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
    assert "run: finished, 64 steps in 2 iterations" in capsys.readouterr().out


def test_every_logged_name_is_documented_and_every_documented_one_is_logged(story):
    documented = documented_metrics()
    logged: dict[str, set[str]] = {}
    for line in story.lines:
        names = set(line) - {"event", "iteration", "step", "time"}
        logged.setdefault(line["event"], set()).update(names)
    assert set(logged) == set(documented) - {"epoch"}  # see test_epoch_fallback
    for event, names in logged.items():
        general = {re.sub(r"_\d+$", "_<h>", name) for name in names}
        general = {
            re.sub(r"^((?:dream_)?reward_.*)_(negative|zero|positive)", r"\1_<class>", name)
            for name in general
        }
        # The rest needs an event loss or predicted ends, see test_departures.
        of_events = {"event_loss", "recognition_skill", "recognition_auc_<class>"}
        of_ends = {"end_loss", "end_skill", "end_auc"}
        assert general == documented[event] - of_events - of_ends, event


def documented_metrics() -> dict[str, set[str]]:
    """Event to names, from the first columns of the tables of docs/metrics.md."""
    page = (pathlib.Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
    found = {}
    for section in page.split("\n## ")[1:]:
        event = re.match(r"`(\w+)`", section)[1]
        rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        found[event] = set(re.findall(r"`([\w<>]+)`", " ".join(rows)))
    return found


def test_a_value_that_is_not_finite_stops_the_run_and_is_recorded(tmp_path):
    experiment = experiment_for(tmp_path / "run")
    with open_run(experiment) as directory:
        run = start_run(experiment, directory)
        with pytest.raises(FloatingPointError, match="ppo: policy_loss is not finite in iterat"):
            run.log("ppo", 1, 1, {"policy_loss": float("nan"), "value_loss": 1.0})
        lines = run.metrics.read()
        run.close()
    assert lines[-1]["policy_loss"] is None and lines[-1]["value_loss"] == 1.0
