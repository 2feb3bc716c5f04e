"""Runs and exports of strangers, runs of own games, and places where nothing can be written."""

import json
import os
import shutil
import sys

import pytest
import tensorflow as tf

from smallwm_tf import dream, evaluate, export
from smallwm_tf.deployment import export_directory, saved_agent
from smallwm_tf.deployment.opening import load_export, load_run, open_agent
from smallwm_tf.games.catalogue import UnknownGameError, registered_game
from smallwm_tf.runs import RunError, files

HOSTILE = """
import pathlib
pathlib.Path(__file__).with_name("executed").touch()
"""
OWN = """
import gymnasium
from smallwm_tf.games import CATCH_ID
gymnasium.register("OwnCatch-v0", entry_point=gymnasium.spec(CATCH_ID).entry_point)
"""


@pytest.fixture
def copied(run_dir, export_dir, tmp_path):
    """A run and an export to change."""
    shutil.copytree(run_dir, tmp_path / "run", copy_function=os.link)
    shutil.copytree(export_dir, tmp_path / "export", copy_function=os.link)
    return tmp_path


def change(file, **values):
    replace(file, json.loads(file.read_text()) | values)


def replace(file, content):
    """Leaves the file alone that was copied, of which this is another name."""
    file.unlink()
    file.write_text(json.dumps(content))


def opened(place, **arguments):
    run, exported = (place, None) if place.name == "run" else (None, place)
    return open_agent(run, exported, **arguments)


PLACES = {"run": "config.json", "export": "metadata.json"}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("game", ["hostile:Catch-v0", "hostile:Catch", "hostile-Catch-v0", "os:x"])
def test_a_run_or_an_export_imports_nothing(copied, monkeypatch, place, game):
    (copied / place / "hostile.py").write_text(HOSTILE)
    monkeypatch.syspath_prepend(copied / place)
    change(copied / place / PLACES[place], game=game)
    with pytest.raises(RunError, match=r"game='.*' is not registered here; .* --game=module:Id"):
        opened(copied / place)
    assert not (copied / place / "executed").exists() and "hostile" not in sys.modules


def test_only_registered_names_are_looked_up():
    assert registered_game("Catch").name == "Catch"
    with pytest.raises(UnknownGameError):
        registered_game("json:Catch")


@pytest.mark.parametrize("place", PLACES)
def test_runs_of_own_games_are_used_with_the_game_given_again(copied, monkeypatch, place):
    (copied / "own_catch.py").write_text(OWN)
    monkeypatch.syspath_prepend(copied)
    change(copied / place / PLACES[place], game="own_catch-OwnCatch-v0")
    with pytest.raises(RunError, match="--game=module:Id"):
        opened(copied / place)
    agent = opened(copied / place, game="own_catch:OwnCatch-v0")
    assert agent.experiment.game.gymnasium_id == "own_catch:OwnCatch-v0"
    with pytest.raises(RunError, match="game=Catch: .* holds an agent of own_catch-OwnCatch-v0"):
        opened(copied / place, game="Catch")


@pytest.mark.parametrize("place", PLACES)
def test_links_are_refused_by_readers_too(copied, place):
    (copied / place / "film.gif").symlink_to("/etc/passwd")
    with pytest.raises(RunError, match="film.gif: is a link"):
        opened(copied / place)


@pytest.mark.parametrize("place", PLACES)
def test_paths_that_tensorflow_takes_for_patterns(copied, place):
    (copied / "a[x]\\b*").mkdir()
    (copied / place).rename(copied / "a[x]\\b*" / place)
    assert opened(copied / "a[x]\\b*" / place).iteration == 2


def test_an_export_is_not_written_where_tensorflow_cannot_load_it(run_dir, tmp_path, command):
    code, out, err = command(export, f"--run_dir={run_dir}", f"--out={tmp_path}/a[x]/b")
    assert (code, out, err.count("\n")) == (2, "", 1) and "TensorFlow cannot load" in err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": "x"}, "seed='x'"),
        ({"seed": -1}, "seed=-1"),
        ({"preset": "\x1b[2J"}, r"preset='\\x1b\[2J'"),
        ({"game": ["Catch"]}, "game="),
        ({"config": {"ppo": {"discount": "much"}}}, "ppo.discount='much'"),
        ({"config": 3}, "config=3"),
    ],
    ids=str,
)
@pytest.mark.parametrize("place", PLACES)
def test_doctored_records_are_named(copied, place, changed, named):
    file = copied / place / PLACES[place]
    change(file, **changed)
    with pytest.raises(RunError, match=f"{PLACES[place]}: .*{named}") as caught:
        opened(copied / place)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "changed",
    [
        {"iteration": -5}, {"num_interactions": "many"}, {"action_meanings": []},
        {"action_meanings": [1]}, {"action_meanings": ["\x1b[2J"]}, {"parameters": {"a": 1.5}},
        {"scores": [3]}, {"files": []}, {"files": {"agent/saved_model.pb": 3}}, {"format": 99},
    ],
    ids=str,
)  # fmt: skip
def test_doctored_metadata_is_named(copied, changed):
    change(copied / "export" / "metadata.json", **changed)
    with pytest.raises(RunError, match=f"metadata.json: .*{next(iter(changed))}") as caught:
        load_export(copied / "export")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"phases_done": -5}, "phases_done=-5"),
        ({"phases_done": 1e300}, r"phases_done=1e\+300"),
        ({"policies_trained": 10**9}, "policies_trained=1000000000"),
        ({"policies_trained": 7}, "policies_trained=7 is above"),
        ({"phases_per_iteration": 0}, "phases_per_iteration=0"),
    ],
    ids=str,
)
def test_doctored_counters_are_named(copied, changed, named):
    """Also to commands that only look; checksums are right."""
    newest = max((copied / "run" / "checkpoints").iterdir())
    change(newest / "progress.json", **changed)
    manifest = json.loads((newest / "manifest.json").read_text())
    manifest["files"]["progress.json"] = files.describe_file(newest / "progress.json")
    replace(newest / "manifest.json", manifest)
    with pytest.raises(RunError, match=named):
        load_run(copied / "run")


def test_scores_are_shown_before_they_fail_to_be_filed(run_dir, command, monkeypatch):
    def read_only(path, _):
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(files, "write_json", read_only)
    code, out, err = command(evaluate, f"--run_dir={run_dir}", "--episodes=1", "--nonulls")
    assert code == 2 and "1 episode," in out and "agent" in out
    assert err.endswith(f"{run_dir}/evaluation.json: Read-only file system; make the directory "
                        "writable and run the same command again\n")  # fmt: skip


def test_scores_are_filed_where_they_cannot_be_shown(run_dir, command, monkeypatch, tmp_path):
    out_file = tmp_path / "missing" / "x.json"
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        words = (f"--run_dir={run_dir}", "--episodes=1", "--nonulls", "--json", f"--out={out_file}")
        code, _, err = command(evaluate, *words)
    assert code == 2 and "standard output: cannot be written (No space left" in err
    assert json.loads(out_file.read_text())["agent"]["num_episodes"] == 1


def test_places_are_tried_before_the_work(run_dir, command, monkeypatch, tmp_path):
    (tmp_path / "folder.gif").mkdir()
    (tmp_path / "file").touch()
    for module in (evaluate, dream, export):
        monkeypatch.setattr(module, "load_tensorflow", lambda: pytest.fail("work has begun"))
    run = f"--run_dir={run_dir}"
    for module, flag, problem in (
        (evaluate, f"--out={tmp_path}", "is a directory"),
        (evaluate, f"--video={tmp_path}/folder.gif", "is a directory"),
        (evaluate, f"--video={tmp_path}/{'n' * 300}.gif", "more than 255 bytes"),
        (dream, f"--out={tmp_path}/file", "is not a directory"),
        (export, f"--out={tmp_path}/file", "is not a directory"),
        (export, f"--out={tmp_path}/file/x", "is not a directory"),
    ):
        code, out, err = command(module, run, flag)
        assert (code, out, err.count("\n")) == (2, "", 1) and problem in err


def test_an_export_on_a_full_disk_is_one_line_and_leaves_nothing(
    run_dir, command, monkeypatch, tmp_path
):
    def full(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "x; No space left on device")

    monkeypatch.setattr(saved_agent.SavedPolicy, "save", full)
    code, out, err = command(export, f"--run_dir={run_dir}", f"--out={tmp_path}/a/b")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"out={tmp_path}/a/b: cannot be written (No space left" in err and "make room" in err
    assert os.listdir(tmp_path) == []


def test_left_overs_of_a_killed_export_are_cleaned(run_dir, command, monkeypatch, tmp_path):
    left = tmp_path / ".Catch.7.part"
    (left / "agent" / "variables_temp").mkdir(parents=True)
    monkeypatch.setattr(export_directory, "_describe", lambda *_: pytest.fail("far enough"))
    with pytest.raises(pytest.fail.Exception):
        command(export, f"--run_dir={run_dir}", f"--out={tmp_path}/Catch")
    assert os.listdir(tmp_path) == []
