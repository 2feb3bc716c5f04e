"""Making and reopening run directories."""

import json
import os

import pytest

from smallwm_tf.experiment.config import build_config, default_config
from smallwm_tf.experiment.settings import FIELDS
from smallwm_tf.games.catalogue import resolve_game
from smallwm_tf.runs import RunError, run_directory
from smallwm_tf.runs.lock import LockedError
from smallwm_tf.runs.run_directory import RunDirectory


@pytest.fixture
def path(tmp_path):
    return tmp_path / "my runs" / "Pong-smoke-seed0"


def open_run(path, game="Pong", seed=0, preset="smoke", **differences):
    return RunDirectory.open(path, game, build_config(differences), seed, preset)


def snapshot(path):
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


def test_a_preset_with_an_odd_name_can_be_continued(path):
    for _ in range(2):
        with open_run(path, preset="my\xa0pre\x1bset") as run:
            assert run.changes == []
    assert json.loads((path / "config.json").read_text())["preset"] == "my\\xa0pre\\x1bset"


def test_a_new_run(path):
    with RunDirectory.open(path, resolve_game("catch"), default_config(), 3, "catch") as run:
        assert run.changes == []
        folders = (run.checkpoints, run.replay, run.figures, run.events)
        assert all(folder.is_dir() and folder.parent == path for folder in folders)
    config = json.loads((path / "config.json").read_text())
    assert config["game"] == "Catch" and config["seed"] == 3 and config["preset"] == "catch"
    assert config["config"]["ppo"]["discount"] == 0.99
    assert config["config"]["dynamics"]["epochs"][0] == 140
    versions = json.loads((path / "versions.json").read_text())
    assert versions["packages"]["tensorflow"] and versions["machine"]["cores"] == os.cpu_count()
    assert not (path / "lock").exists()


def test_the_same_command_continues_and_changes_nothing(path):
    open_run(path).close()
    before = snapshot(path)
    with open_run(path) as run:
        assert run.changes == []
    assert snapshot(path) == before


def test_harmless_changes_are_accepted_and_recorded(path):
    open_run(path).close()
    changed = {"logging.interval": 7, "evaluation.num_episodes": 2}
    with open_run(path, preset="mine", **changed) as run:
        assert sorted(run.changes) == [
            "evaluation.num_episodes: 32 -> 2",
            "logging.interval: 50 -> 7",
            "preset: 'smoke' -> 'mine'",
        ]
        run.record()
    config = json.loads((path / "config.json").read_text())
    assert config["config"]["logging"]["interval"] == 7
    assert len(config["changes"]) == 1 and len(config["changes"][0]["changes"]) == 3
    with open_run(path, preset="mine", **changed) as run:
        assert run.changes == []


FIXED = {
    "game.num_stacked_frames": 1,
    "game.frame_skip": 2,
    "game.sticky_action_probability": 0.25,
    "collection.first_iteration_steps": 6400,
    "collection.steps_per_iteration": 100,
    "vqvae.num_embeddings": 64,
    "vqvae.embedding_dim": 16,
    "vqvae.likelihood": "exact",
    "vqvae.pixel_margin": 0.05,
    "algorithm": "ppo",
    "ppo.num_actors": 4,
    "ppo.repeat_probability": 0.7,
    "ppo.sees_recurrent_state": True,
    "vqvae.event_loss_weight": 300.0,
    "dream.ends": "predicted",
    "dream.disagreement_weight": 0.1,
    "dynamics.cell": "st_lstm",
    "dynamics.code_head": "another",
    "dynamics.channels": 64,
    "dynamics.present_code_logit": 7.0,
    "dynamics.past_codes": 7,
}


def test_this_test_knows_what_is_fixed():
    assert {field.key for field in FIELDS if field.fixed} == set(FIXED)


@pytest.mark.parametrize("key", FIXED)
def test_another_architecture_is_refused_with_both_values(path, key):
    open_run(path).close()
    before = snapshot(path)
    old = next(field.default for field in FIELDS if field.key == key)
    with pytest.raises(RunError) as caught:
        open_run(path, **{key: FIXED[key]})
    message = str(caught.value)
    assert key in message and f"with {old!r}," in message and f"has {FIXED[key]!r};" in message
    assert "\n" not in message and snapshot(path) == before


def test_another_game_or_seed_is_refused(path):
    open_run(path).close()
    with pytest.raises(RunError, match="'Pong'.*'Alien'"):
        open_run(path, game="Alien")
    with pytest.raises(RunError, match="seed: .*with 0, .*has 1"):
        open_run(path, seed=1)


def test_fewer_iterations_than_were_begun_are_refused(path):
    with open_run(path, **{"collection.num_iterations": 5}) as run:
        for iteration in (1, 2):
            (run.replay / f"{iteration:06d}.npz").touch()
        (run.replay / "held_out_000009.npz").touch()  # no collection
    before = snapshot(path)
    with pytest.raises(RunError, match=r"num_iterations: .* has begun iteration 2, .* has 1; "):
        open_run(path, **{"collection.num_iterations": 1})
    assert snapshot(path) == before
    with open_run(path, **{"collection.num_iterations": 2}) as run:
        assert run.changes == ["collection.num_iterations: 5 -> 2"]


def test_what_killed_processes_left_half_written_is_removed_by_the_one_writer(path):
    with open_run(path) as run:
        leftovers = [path / ".scores.json.7.part", run.replay / ".000001.npz.7.part"]
        for leftover in leftovers:
            leftover.write_text("half")
        with pytest.raises(LockedError):
            open_run(path)
        assert all(leftover.exists() for leftover in leftovers)  # another writer's
        (run.replay / "000001.npz").touch()
    open_run(path).close()
    assert not list(path.rglob("*.part")) and (path / "replay" / "000001.npz").exists()


def test_two_writers(path):
    with open_run(path), pytest.raises(LockedError, match=f"process {os.getpid()} "):
        open_run(path)
    open_run(path).close()


def test_a_stale_lock_is_taken_over_and_told(path):
    open_run(path).close()
    (path / "lock").write_text(json.dumps({"pid": 7, "host": os.uname().nodename}))
    with open_run(path) as run:
        assert "process 7" in run.changes[0]


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunError, match="thesis.tex"):
        open_run(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize("content", ["", "garbage", "[]", "{}", '{"config": 3}', "[" * 99999])
def test_a_damaged_config_is_named_not_replaced(path, content):
    open_run(path).close()
    (path / "config.json").write_text(content)
    with pytest.raises(RunError, match=r"config.json") as caught:
        open_run(path)
    assert "\n" not in str(caught.value)
    assert (path / "config.json").read_text() == content and not (path / "lock").exists()


def test_checkpoints_without_config_are_not_started_over(path):
    open_run(path).close()
    (path / "checkpoints" / "000001").mkdir()
    (path / "config.json").unlink()
    with pytest.raises(RunError, match=r"config.json is missing"):
        open_run(path)


def test_a_start_that_fails_leaves_nothing(path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_directory, "write_json", full)
    with pytest.raises(RunError, match="No space left"):
        open_run(path)
    assert os.listdir(path.parent.parent) == []


def test_what_a_run_was_made_with_stays_until_it_is_trained_on(path, monkeypatch):
    open_run(path).close()
    before = snapshot(path)
    older = run_directory.describe_versions()
    monkeypatch.setattr(run_directory, "describe_versions", lambda: {**older, "python": "9"})
    for _ in range(2):
        with open_run(path, **{"evaluation.temperature": 3.0}) as run:
            assert run.changes == [
                "evaluation.temperature: 1.0 -> 3.0",
                f"python: '{older['python']}' -> '9'",
            ]
    assert snapshot(path) == before
    with open_run(path, **{"evaluation.temperature": 3.0}) as run:
        run.record()
        run.record()
    kept = json.loads((path / "config.json").read_text())
    assert kept["config"]["evaluation"]["temperature"] == 3.0
    assert [entry["changes"] for entry in kept["changes"]] == [
        ["evaluation.temperature: 1.0 -> 3.0"]
    ]
    versions = json.loads((path / "versions.json").read_text())
    assert versions["python"] == "9" and len(versions["earlier"]) == 1


def test_other_versions_are_told_and_both_kept(path, monkeypatch):
    open_run(path).close()
    original = run_directory.describe_versions()
    newer = {**original, "packages": {**original["packages"], "numpy": "9.9"}}
    monkeypatch.setattr(run_directory, "describe_versions", lambda: newer)
    with open_run(path) as run:
        assert run.changes == [f"packages.numpy: '{original['packages']['numpy']}' -> '9.9'"]
        run.record()
    versions = json.loads((path / "versions.json").read_text())
    assert versions["packages"]["numpy"] == "9.9"
    assert versions["earlier"][0]["packages"] == original["packages"]


def test_a_setting_younger_than_the_run_counts_as_its_default(tmp_path):
    path = tmp_path / "run"
    open_run(path).close()
    config = json.loads((path / "config.json").read_text())
    del config["config"]["vqvae"]["pixel_margin"]
    (path / "config.json").write_text(json.dumps(config))
    with open_run(path) as run:
        assert run.changes == []
    with pytest.raises(RunError, match=r"vqvae\.pixel_margin"):
        open_run(path, **{"vqvae.pixel_margin": 0.1})
