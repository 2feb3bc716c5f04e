"""The command itself, as a user calls it."""

import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from smallwm_tf import doctor, train
from smallwm_tf.experiment.settings import FIELDS
from smallwm_tf.games.faults import GameFaultError
from smallwm_tf.models.execution import resolve_precision
from smallwm_tf.runs import RunError
from smallwm_tf.runs.scores import ScoresError
from smallwm_tf.training.world_model_agent import WorldModelAgent
from tests.commands.conftest import SETTINGS

ROOT = pathlib.Path(__file__).resolve().parents[2]


def command(*words: str, cwd) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "smallwm_tf.train", *words],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow  # measures for half a minute
def test_dry_run_prints_one_json_line_and_leaves_nothing(tmp_path):
    small = ("--config.ppo.num_actors=2", "--config.ppo.steps_per_rollout=8")
    words = ("--game=Pong", "--config=ppo_quick", "--config.ppo.minibatch_size=8", *small)
    run = command(*words, "--dry_run", "--json", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    (line,) = run.stdout.splitlines()
    report = json.loads(line)
    assert report["work"]["real_steps"]["learned_from"] == 53_248
    assert report["seconds"] > 100
    assert not list(tmp_path.iterdir())


def test_a_dry_run_has_the_counts_of_table_3(tmp_path, monkeypatch, capsys):
    taken = {"policy updates": 123.4}  # measured above
    monkeypatch.setattr(WorldModelAgent, "seconds", lambda *_: taken)
    words = ["--game=Pong", "--config=atari100k_1frame", "--dry_run", "--json"]
    monkeypatch.setattr(sys, "argv", ["train", *words])
    monkeypatch.chdir(tmp_path)
    train.main()
    report = json.loads(capsys.readouterr().out)
    assert report["encoder"] == 2_014_720
    assert report["decoder"] == 2_078_689
    assert report["vqvae"] == 4_089_313
    assert report["dynamics"] == 6_243_427
    assert report["world_model"] == 10_332_740
    assert report["policy"] == 1_297_415
    assert report["training_total"] == 11_630_155
    assert report["inference_total"] == 3_312_135
    assert report["work"]["real_steps"]["learned_from"] == 12_800 + 14 * 6_400
    assert report["work"]["real_steps"]["chosen_by"] == 0
    assert report["seconds"] == 123 and report["seconds_by_work"] == {"policy updates": 123.4}
    assert report["precision"] == resolve_precision("auto")
    assert report["seconds"] == 123


def test_a_game_without_pixels_is_refused_in_one_line_and_leaves_nothing(tmp_path):
    run = command("--game=CartPole-v1", f"--run_dir={tmp_path}/runs/cart", cwd=tmp_path)
    assert run.returncode == 2
    assert len(run.stderr.splitlines()) == 1 and "CartPole-v1: observations must" in run.stderr
    assert "AddRenderObservation" in run.stderr
    assert not list(tmp_path.iterdir())


class Restless(gymnasium.Env):
    """Ignores the seed of `reset`."""

    observation_space = gymnasium.spaces.Box(0, 255, (20, 20), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.random.default_rng().integers(0, 256, (20, 20), np.uint8), {}

    def step(self, action):
        return self.reset()[0], 0.0, False, False, {}


@pytest.mark.parametrize("more", [[], ["--dry_run"]])
def test_a_game_that_does_not_repeat_itself_is_refused_at_once(
    command, monkeypatch, tmp_path, more
):
    monkeypatch.setitem(gymnasium.registry, "Restless-v0", EnvSpec("Restless-v0", Restless))
    words = ["--game=Restless-v0", f"--run_dir={tmp_path / 'run'}", *more]
    code, printed, err = command(train, *words)
    assert (code, printed, err.count("\n")) == (2, "", 1)
    assert "does not repeat itself" in err and "self.np_random" in err
    assert list(tmp_path.iterdir()) == []
    (finding,) = doctor._examine_game("Restless-v0")
    assert finding.state == "wrong" and "does not repeat itself" in finding.text
    assert "self.np_random" in finding.remedy


def test_the_games_are_listed(command):
    for module in (train, doctor):
        code, printed, err = command(module, "--game=list")
        assert (code, err) == (0, "") and "MsPacman" in printed and "Catch" in printed


def test_the_dry_run_as_text(tmp_path, monkeypatch, capsys):
    taken = {"encoding": 0.4, "policy updates": 22.6, "VQ-VAE updates": 100.0}  # measured above
    monkeypatch.setattr(WorldModelAgent, "seconds", lambda *_: taken)
    words = ["--game=SmallWM/Catch-v0", "--config=smoke", "--dry_run"]
    monkeypatch.setattr(sys, "argv", ["train", *words])
    monkeypatch.chdir(tmp_path)
    train.main()
    printed = capsys.readouterr().out
    # Moments at 0, 20, 40 and 60 steps; held-out steps; fifty steps from each moment; twice.
    steps = f"600 to learn from, 0 to choose by, {2 * (61 + 100 + 4 * 50)} to judge only"
    assert "world model" in printed and f"real steps: {steps}\n" in printed
    *_, time, first, second = printed.splitlines()
    assert time.startswith("time: about 2 minutes")
    assert first.split("  ")[1] == "VQ-VAE updates" and first.endswith(" 2 minutes")
    assert second.split("  ")[1] == "policy updates" and second.endswith(" 23 seconds")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RunError("run_dir=x: no"), "run_dir=x: no"),
        (ScoresError("scores.json: not JSON"), "scores.json: not JSON"),
        (GameFaultError("game x: reward"), "game x: reward"),
        (FloatingPointError("ppo: value_loss"), "ppo: value_loss"),
        (PermissionError(13, "Permission denied", "a/b"), "a/b: Permission denied; make the dir"),
        (FileNotFoundError(2, "No such file", "a/b"), "a/b: No such file or directory"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_code_2(monkeypatch, capsys, tmp_path, error, line):
    def fail(*_):
        raise error

    monkeypatch.setattr(train, "train", fail)
    monkeypatch.setattr(sys, "argv", ["train", "--game=Catch", f"--run_dir={tmp_path}/run"])
    with pytest.raises(SystemExit) as caught:
        train.main()
    printed = capsys.readouterr().err
    assert caught.value.code == 2 and printed.count("\n") == 1
    assert printed.startswith(f"smallwm_tf.train: error: {line}")


def test_a_finished_run_keeps_what_it_was_made_with(command, run_dir, monkeypatch):
    """The command says so before TensorFlow loads; `train` itself changes nothing either."""
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    times = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}
    settings = SETTINGS | {"evaluation.temperature": 3.0, "ppo.entropy_weight": 0.7}
    words = [f"--config.{key}={value}" for key, value in settings.items()]
    words = ["--game=Catch", "--config=catch", "--seed=5", f"--run_dir={run_dir}", *words]
    monkeypatch.setattr(train, "load_tensorflow", None)
    code, printed, err = command(train, *words)
    assert code == 0, err
    lines = printed.splitlines()
    assert lines[0].startswith(f"{run_dir}: finished, 70 steps in 2 iterations, ")
    last = json.loads((run_dir / "scores.json").read_text())[-1]
    shown = float(lines[1].removeprefix("score: ").split()[0].strip(","))
    assert abs(shown - last["mean"]) < last["standard_error"] / 10
    assert "best null policy" in lines[1] and "standard error" in lines[1]
    words_of = [shlex.split(line.removeprefix("next:"))[3:] for line in lines[3:5]]  # as a shell
    assert words_of == [
        [f"--run_dir={run_dir}", "--video=episode.gif"],
        [f"--run_dir={run_dir}", "--out=exports/a run"],
    ]
    notes = [line.split("it has: ")[1] for line in lines if line.startswith("note: not used")]
    assert sorted(notes) == [
        "evaluation.temperature: 1.0 -> 3.0",
        "ppo.entropy_weight: 0.003 -> 0.7",
    ]
    train.train(train.parse_train_flags(["train", *words]).experiment)
    assert {path: path.read_bytes() for path in before} == before
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")} == times


def test_a_damaged_newest_checkpoint_is_not_called_finished(run_dir, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    words = [f"--config.{key}={value}" for key, value in SETTINGS.items()]
    words = ["train", "--game=Catch", "--config=catch", "--seed=5", f"--run_dir={copy}", *words]
    experiment = train.parse_train_flags(words).experiment
    assert train.say_if_finished(experiment)
    newest = max((copy / "checkpoints").iterdir())
    (newest / "arrays.npz").write_bytes(b"")
    assert not train.say_if_finished(experiment)


def test_every_setting_is_read_by_a_run(run_dir, keys_read):
    """By attribute, `config.ppo.discount`, while the whole of a run is played through."""
    assert (run_dir / "scores.json").exists()
    assert "adam" in keys_read  # handed over whole, as keyword arguments that Adam must know
    keys = {field.key for field in FIELDS if not field.key.startswith("adam.")}
    elsewhere = {"ppo.num_actors", "ppo.steps_per_rollout"}  # test_model_free_agent.py
    elsewhere.add("vqvae.event_share")  # test_event_recognition.py
    elsewhere.add("dynamics.end_loss_weight")  # test_predicted_ends.py
    of_dreams = ("look_ahead_depth", "look_ahead_temperature")  # test_look_ahead.py
    elsewhere |= {f"evaluation.{name}" for name in of_dreams}
    of_atari = ("frame_skip", "noop_max", "sticky_action_probability")  # test_game_batch.py
    elsewhere |= {f"game.{name}" for name in of_atari}
    assert keys - keys_read == elsewhere
