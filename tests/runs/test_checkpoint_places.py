"""Checkpoints in odd places: patterns, numbers without end, hostile contents, a second writer."""

import hashlib
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.runs import checkpoints as module
from smallwm_tf.runs.checkpoints import CheckpointError, Checkpoints
from smallwm_tf.runs.lock import Lock, LockedError
from smallwm_tf.runs.manifest import number_of, numbered
from smallwm_tf.runs.replay_files import ChunkError
from smallwm_tf.sweeping.progress import newest_checkpoint


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "run" / "checkpoints"


@pytest.fixture
def objects():
    return {"step": tf.Variable(0)}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["a[x]b", "a*b", "a?b", "a\\b"])
def test_paths_that_tensorflow_takes_for_patterns(tmp_path, name):
    (tmp_path / "axb").mkdir()  # what the pattern would find instead
    step = tf.Variable(7)
    Checkpoints(tmp_path / name / "checkpoints", {"step": step}).save({"number": 1})
    step.assign(0)
    restored = Checkpoints(tmp_path / name / "checkpoints", {"step": step}).restore_latest()
    assert restored.progress == {"number": 1} and step.numpy() == 7


@pytest.mark.parametrize("name", ["999999999999.damaged", "999999999999", "9" * 40])
def test_a_number_without_end_does_not_break_saving(directory, objects, name):
    (directory / name).mkdir(parents=True)
    checkpoints = Checkpoints(directory, objects, keep=9)
    assert checkpoints.save({"number": 4}).name == "000001"
    assert checkpoints.restore_latest().progress == {"number": 4}


def test_no_number_left_is_told(directory, objects):
    (directory / "999999999").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="no number is left above 999999999"):
        Checkpoints(directory, objects).save({})


def test_zeros_without_end_are_refused_before_they_are_unpacked(directory, objects, monkeypatch):
    checkpoints = Checkpoints(directory, objects)
    checkpoints.save({"number": 4}, {"zeros": np.zeros(10**6, np.uint8)})
    monkeypatch.setattr(module, "_MOST_ARRAY_BYTES", 10**5)
    with pytest.raises(ChunkError, match="declares 1000000 bytes of arrays"):
        checkpoints.restore_latest()
    Checkpoints(directory, objects, read_only=True).restore_latest()  # needs none of them


def test_tensors_that_declare_more_than_is_stored_are_refused(directory):
    """An index whose data file, with a right checksum, is not there in full."""
    checkpoints = Checkpoints(directory, {"values": tf.Variable(tf.zeros(10_000))})
    checkpoints.save({"number": 1})
    data = directory / "000001" / "variables.data-00000-of-00001"
    os.truncate(data, 2000)
    manifest = json.loads((directory / "000001" / "manifest.json").read_text())
    digest = hashlib.sha256(data.read_bytes()).hexdigest()
    manifest["files"][data.name] = {"bytes": data.stat().st_size, "sha256": digest}
    (directory / "000001" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"declares \d+ bytes, 2000 are stored"):
        checkpoints.restore_latest()


def test_nothing_is_saved_into_the_run_of_a_second_writer(tmp_path):
    run, step = tmp_path / "run", tf.Variable(1)
    run.mkdir()
    with Lock(run / "lock"):
        first = Checkpoints(run / "checkpoints", {"step": step}, keep=1)
        first.save({"number": 1})
        shutil.rmtree(run)
        run.mkdir()
        with Lock(run / "lock"):
            (run / "checkpoints" / "000001").mkdir(parents=True)
            with pytest.raises(LockedError):
                first.save({"number": 2})
            assert names(run / "checkpoints") == ["000001"]


@pytest.mark.parametrize("name", ["²", "٣٣٣٣٣٣", "999999999999", "000009x", "1e6"])
def test_only_numbers_of_checkpoints_are_looked_at(directory, name):
    """Names that `str.isdigit` or `int` take, and nobody has written."""
    for made in ("000001", "000002", "000002.damaged", ".saving-000003", name):
        (directory / made).mkdir(parents=True)
    assert [path.name for path in numbered(directory)] == ["000002", "000001"]
    assert number_of(name) is None
    progress = {"phases_done": 3, "phases_per_iteration": 4, "seconds": 0.0}
    (directory / "000002" / "progress.json").write_text(json.dumps(progress))
    assert newest_checkpoint(directory.parent).phases_done == 3
