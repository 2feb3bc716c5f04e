"""Checkpoints whose checksums are right and whose contents are not: refused in one line."""

import json

import numpy as np
import pytest

from smallwm_tf.runs.checkpoints import CheckpointError
from smallwm_tf.runs.files import sha256_of
from smallwm_tf.runs.replay_files import ChunkError, write_chunk
from smallwm_tf.training.run import Run
from tests.faults.conftest import tiny_experiment
from tests.tiny_runs import open_run, start_run

_STEPS = 30
PLACE = {
    "held_out": "000001.npz",
    "part": "vqvae",
    "done": 3,
    "is_behind": False,
    "best_score": None,
    "best_values": 0,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory with one checkpoint, behind a collection that is made up."""
    experiment = tiny_experiment(
        tmp_path_factory.mktemp("hostile") / "run", collection__first_iteration_steps=_STEPS
    )
    with open_run(experiment) as directory:
        run = start_run(experiment, directory)
        run.keep_steps("000001.npz", steps())
        run.phases_done = 1
        run.save()
        run.close()
        yield experiment, directory, run.algorithm


def steps(frames=(_STEPS, 96, 96), **others):
    arrays = {
        "frames": np.zeros(frames, np.uint8),
        "actions": np.zeros(_STEPS, np.int32),
        "rewards": np.zeros(_STEPS, np.float32),
        "terminated": np.zeros(_STEPS, bool),
        "truncated": np.zeros(_STEPS, bool),
        "lost_life": np.zeros(_STEPS, bool),
    }
    return arrays | others


def reopen(run):
    """With the networks of before, whose making takes longer than all the rest."""
    experiment, directory, algorithm = run
    algorithm.replay.clear()
    again = Run(experiment, directory, lambda *_: algorithm)
    again.close()
    return again


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
    again = reopen(run)
    assert again.phases_done == 1 and again.algorithm.replay.size == _STEPS


@pytest.mark.parametrize(
    "change",
    [
        {"replay": ["../../outside.npz"]},
        {"replay": ["/etc/passwd"]},
        {"replay": [{"name": "000001.npz"}]},
        {"replay": ["000001.npz"] * 500},
        {"phases_done": "many"},
        {"place": 3},
        {"place": {"done": 3}},
        {"place": PLACE | {"held_out": "../../outside.npz"}},
        {"place": PLACE | {"done": "many"}},
        {"place": PLACE | {"done": -5}},
        {"place": PLACE | {"done": 2**31}},
        {"place": PLACE | {"done": 10**300}},
        {"place": PLACE | {"part": "policy"}},
        {"phases_done": -5},
        {"phases_done": 5},
        {"policies_trained": 1},
        {"seconds": "long"},
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
