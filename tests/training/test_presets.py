"""Every preset runs whole, at sizes that take seconds; and one learns what it is for."""

import pytest

from smallwm_tf.cli.train_flags import read_train_flags
from smallwm_tf.experiment.presets import preset_names
from smallwm_tf.runs.metrics import read_metrics
from smallwm_tf.runs.scores import read_scores
from smallwm_tf.train import train

SHRUNK = {
    "collection.num_iterations": 2,
    "collection.first_iteration_steps": 264,
    "collection.steps_per_iteration": 32,
    "vqvae.batch_size": 20,
    "vqvae.warmup_epochs": 1,
    "dynamics.channels": 8,
    "dynamics.convolution": "direct",  # less to compile
    "dynamics.epochs": "(1,1)",
    "dynamics.windows_per_batch": 4,
    "dream.num_dreams": 4,
    "dream.horizon": 8,
    "ppo.num_updates": "(1,1)",
    "ppo.minibatch_size": 16,
    "evaluation.num_episodes": 2,
    "inspection.held_out_steps": 40,
    "inspection.num_starts": 3,
    "inspection.horizon": 6,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", preset_names())
def test_a_preset_runs_whole(name, tmp_path):
    words = [f"--config.{key}={value}" for key, value in SHRUNK.items()]
    words += ["--config.deterministic=false"]  # this process goes on to other tests
    experiment = read_train_flags(
        ["train", "--game=Catch", f"--config={name}", f"--run_dir={tmp_path}/run", *words]
    ).experiment
    train(experiment)
    assert [entry["iteration"] for entry in read_scores(tmp_path / "run" / "scores.json")][-1] == 2
    lines = list(read_metrics(tmp_path / "run" / "metrics.jsonl"))
    num_phases = {"world_model": 4, "ppo": 2}[experiment.config.algorithm]
    assert sum(line["event"] == "phase" for line in lines) == 2 * num_phases
    assert not any("not_finite" in line for line in lines)
    events = {line["event"] for line in lines}
    assert ("check" in events) == bool(experiment.config.ppo.check_interval)
    assert ("epoch" in events) == experiment.config.dynamics.epoch_fallback


@pytest.mark.slow
def test_catch_is_learned(tmp_path):
    """Minutes; a random policy scores about −0.6 where every ball caught is 1."""
    words = ["train", "--game=Catch", "--config=catch", f"--run_dir={tmp_path}/run"]
    train(read_train_flags(words).experiment)
    assert read_scores(tmp_path / "run" / "scores.json")[-1]["mean"] >= 0.9
