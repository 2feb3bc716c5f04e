"""Checkpoints whose checksums are right and whose contents are not: refused in one line."""

import json

import numpy as np
import pytest
from smallwm_tf.training.run_state import RunState

from smallwm_tf.runs.checkpoints import CheckpointError
from smallwm_tf.runs.files import sha256_of
from smallwm_tf.runs.replay_files import ChunkError, write_chunk
from smallwm_tf.runs.run_directory import RunDirectory
from tests.faults.conftest import tiny_experiment

_STEPS = 30


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory with one checkpoint, behind a collection that is made up."""
    arguments = tiny_experiment(
        tmp_path_factory.mktemp("hostile") / "run", collection__first_iteration_steps=_STEPS
    )
    run = RunDirectory.open(arguments.run_dir, arguments.game, arguments.config, 3, "catch")
    state = RunState(arguments, run)
    chunk = write_chunk(run.replay / "000001.npz", **steps())
    state.chunks[chunk.name] = chunk
    state.phases_done = 1
    state.save()
    state.close()
    yield arguments, run
    run.close()


def steps(frames=(_STEPS, 96, 96), **others):
    arrays = {
        "frames": np.zeros(frames, np.uint8),
        "actions": np.zeros(_STEPS, np.int32),
        "rewards": np.zeros(_STEPS, np.float32),
        "ended": np.zeros(_STEPS, bool),
    }
    return arrays | others


def reopen(run):
    arguments, directory = run
    state = RunState(arguments, directory)
    state.close()
    return state


@pytest.fixture
def newest(run):
    """The checkpoint; it is as before in the end, and so is what it refers to."""
    folder = run[1].checkpoints / "000001"
    files = [folder / "progress.json", folder / "manifest.json", run[1].replay / "000001.npz"]
    before = [file.read_bytes() for file in files]
    yield folder
    for file, content in zip(files, before, strict=True):
        file.write_bytes(content)


def describe(path):
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def test_it_is_restored_as_it_is(run):
    state = reopen(run)
    assert state.is_restored and state.phases_done == 1 and state.replay.size == _STEPS


@pytest.mark.parametrize(
    "change",
    [
        {"replay": ["../../outside.npz"]},
        {"replay": ["/etc/passwd"]},
        {"replay": [{"name": "000001.npz"}]},
        {"replay": ["000001.npz"] * 500},
        {"phases_done": "many"},
        {"within": 3},
        {"metric_lines": None},
        {"episode_return": [1]},
    ],
    ids=str,
)
def test_hostile_progress(run, newest, change):
    write_chunk(newest.parent.parent.parent / "outside.npz", **steps())  # the name leads somewhere
    progress = json.loads((newest / "progress.json").read_text()) | change
    (newest / "progress.json").write_text(json.dumps(progress))
    manifest = json.loads((newest / "manifest.json").read_text())
    manifest["files"]["progress.json"] = describe(newest / "progress.json")
    (newest / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="not one of this program") as caught:
        reopen(run)
    assert "\n" not in str(caught.value) and "versions.json" in str(caught.value)
    assert newest.exists()  # refused, not set aside


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        (steps(frames=(_STEPS, 9600, 960)), "frames"),
        (steps(frames=(_STEPS,)), "frames"),
        (steps(actions=np.zeros(_STEPS)), "actions"),
        (steps(more=np.zeros(1)), "more"),
    ],
)
def test_replay_that_holds_something_else(run, newest, arrays, named):
    chunk = run[1].replay / "000001.npz"
    write_chunk(chunk, **arrays)
    manifest = json.loads((newest / "manifest.json").read_text())
    manifest["chunks"]["000001.npz"] = describe(chunk)
    (newest / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ChunkError, match=named) as caught:
        reopen(run)
    assert "\n" not in str(caught.value)
