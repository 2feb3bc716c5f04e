"""Checkpoints: complete or absent, verified, never a silent restart."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import smallwm_tf
from smallwm_tf.runs import checkpoints as module
from smallwm_tf.runs.checkpoints import CheckpointError, Checkpoints
from smallwm_tf.runs.replay_files import write_chunk

ROOT = Path(smallwm_tf.__file__).parents[1]


def make_objects(units=3):
    model = tf_keras.Sequential([tf_keras.layers.Dense(units)])
    model.build((None, 4))
    optimizer = tf_keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    return {"model": model, "optimizer": optimizer, "step": tf.Variable(0, dtype=tf.int64)}


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "run" / "checkpoints"


@pytest.fixture
def saved(directory):
    """Three checkpoints; in the n-th, the step, all weights and the progress are n."""
    objects = make_objects()
    checkpoints = Checkpoints(directory, objects, keep=3)
    for number in (1, 2, 3):
        set_all(objects, number)
        checkpoints.save({"number": number}, {"frames": np.full((2, 3), number, np.uint8)})
    return directory


def set_all(objects, number):
    objects["step"].assign(number)
    for variable in objects["model"].weights + objects["optimizer"].variables:
        variable.assign(tf.cast(tf.fill(variable.shape, number), variable.dtype))


def restore(directory, expected):
    """Restores into fresh objects and checks every value."""
    objects = make_objects()
    checkpoints = Checkpoints(directory, objects)
    restored = checkpoints.restore_latest()
    assert restored.progress == {"number": expected}
    np.testing.assert_array_equal(restored.arrays["frames"], np.full((2, 3), expected))
    assert restored.arrays["frames"].dtype == np.uint8
    values = [objects["step"], *objects["model"].weights, *objects["optimizer"].variables]
    assert len(values) > 6
    for variable in values:
        np.testing.assert_array_equal(variable.numpy(), np.full(variable.shape, expected))
    return checkpoints


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_new_run_has_none(directory):
    assert Checkpoints(directory, make_objects()).restore_latest() is None


def test_the_newest_is_restored(saved, capsys):
    assert names(saved) == ["000001", "000002", "000003"]
    restore(saved, 3)
    assert capsys.readouterr().err == ""


def test_only_the_last_ones_are_kept_and_numbers_go_on(saved):
    checkpoints = Checkpoints(saved, make_objects(), keep=2)
    assert checkpoints.save({}).name == "000004"
    assert names(saved) == ["000003", "000004"]


def test_the_manifest_is_checked_independently(saved):
    manifest = json.loads((saved / "000003" / "manifest.json").read_text())
    files = {path.name for path in (saved / "000003").iterdir()} - {"manifest.json"}
    assert set(manifest["files"]) == files
    for name, described in manifest["files"].items():
        content = (saved / "000003" / name).read_bytes()
        assert described["bytes"] == len(content)
        assert described["sha256"] == hashlib.sha256(content).hexdigest()


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


DAMAGE = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "flipped": flip,
    "missing": lambda path: path.unlink(),
    "garbage": lambda path: path.write_bytes(b"garbage"),
    "a link": lambda path: (path.rename(path.parent.parent / "x"), path.symlink_to("../x")),
}
FILES = (
    "variables.index",
    "variables.data-00000-of-00001",
    "arrays.npz",
    "progress.json",
    "manifest.json",
)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_named_and_the_previous_checkpoint_used(saved, file, damage, capsys):
    DAMAGE[damage](saved / "000003" / file)
    checkpoints = restore(saved, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert "000003" in line and file in line and "using 000002" in line
    assert "000003.damaged" in names(saved) and "000003" not in names(saved)
    assert checkpoints.save({}).name == "000004"


def test_none_left_is_an_error_that_repeats_and_changes_nothing(saved):
    for number in (1, 2, 3):
        flip(saved / f"00000{number}" / "progress.json")
    for _ in range(2):
        with pytest.raises(CheckpointError, match="none of 3 checkpoints") as caught:
            Checkpoints(saved, make_objects()).restore_latest()
        assert "\n" not in str(caught.value)
    assert names(saved) == ["000001", "000002", "000003"]


def test_damaged_ones_set_aside_earlier_still_count(saved):
    flip(saved / "000003" / "arrays.npz")
    restore(saved, 2)
    shutil.rmtree(saved / "000001")
    shutil.rmtree(saved / "000002")
    with pytest.raises(CheckpointError, match=r"000003.damaged"):
        Checkpoints(saved, make_objects()).restore_latest()


def test_half_written_ones_are_ignored_and_cleaned(saved):
    shutil.copytree(saved / "000003", saved / ".saving-000004")
    restore(saved, 3)
    assert names(saved) == ["000001", "000002", "000003"]


KILLED_WHILE_SAVING = """
import os, signal, sys
import smallwm_tf, tensorflow as tf
from smallwm_tf.runs import checkpoints
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
objects = {"step": tf.Variable(7)}
saver = checkpoints.Checkpoints(sys.argv[1], objects)
saver.save({"number": 1})
setattr(checkpoints.os, "replace", lambda a, b: die() if "0002" in str(b) else os.rename(a, b))
saver.save({"number": 2})
"""


def test_killed_between_writing_and_renaming(directory):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED_WHILE_SAVING, str(directory)]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert names(directory) == [".saving-000002", "000001"]
    step = tf.Variable(0)
    assert Checkpoints(directory, {"step": step}).restore_latest().progress == {"number": 1}
    assert step.numpy() == 7 and names(directory) == ["000001"]


@pytest.mark.parametrize("where", ["write_chunk", "write_json", "sync_directory", "_sync_file"])
def test_a_full_disk_leaves_older_checkpoints_alone(saved, monkeypatch, where):
    objects = make_objects()
    checkpoints = Checkpoints(saved, objects)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, where, full)
        with pytest.raises(CheckpointError) as caught:
            checkpoints.save({}, {"frames": np.zeros(1_000_000, np.uint8)})
    message = str(caught.value)
    needed = int(message.split("about ")[1].split(" bytes")[0])
    assert "No space left" in message and 1_000_000 < needed < 1_001_000 and "\n" not in message
    if where == "sync_directory":  # also called after the rename: then the checkpoint is there
        assert names(saved)[:2] == ["000001", "000002"]
    assert names(saved)[:3] == ["000001", "000002", "000003"]
    assert not [name for name in names(saved) if name.startswith(".")]
    checkpoints.save({"number": 4})


def test_a_disk_that_is_really_full(saved):
    """A file size limit makes TensorFlow's own writing fail."""
    code = (
        "import resource, signal, sys, smallwm_tf, tensorflow as tf\n"
        "from smallwm_tf.runs.checkpoints import Checkpoints, CheckpointError\n"
        "saver = Checkpoints(sys.argv[1], {'v': tf.Variable(tf.zeros(100000))})\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))\n"
        "try:\n"
        "    saver.save({})\n"
        "except CheckpointError as error:\n"
        "    print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(saved)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert "000004: could not be saved" in done.stdout, done.stderr
    assert "about 400000 bytes" in done.stdout
    assert names(saved) == ["000001", "000002", "000003"]
    restore(saved, 3)


def test_other_architectures_are_refused_not_set_aside(saved):
    with pytest.raises(CheckpointError, match="does not fit"):
        Checkpoints(saved, make_objects(units=5)).restore_latest()
    with pytest.raises(CheckpointError, match="does not fit"):
        Checkpoints(saved, {"step": tf.Variable(0, dtype=tf.int64)}).restore_latest()
    assert names(saved) == ["000001", "000002", "000003"]


@pytest.fixture
def with_chunks(directory):
    """Two checkpoints; the second refers to one more chunk of replay."""
    replay = directory.parent / "replay"
    replay.mkdir(parents=True)
    chunks = [write_chunk(replay / f"{n}.npz", frames=np.full(100, n)) for n in (1, 2)]
    checkpoints = Checkpoints(directory, {"step": tf.Variable(0)})
    checkpoints.save({"number": 1}, chunks=chunks[:1])
    checkpoints.save({"number": 2}, chunks=chunks)
    return directory


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_checkpoint_stands_with_its_chunks(with_chunks, damage, capsys):
    checkpoints = Checkpoints(with_chunks, {"step": tf.Variable(0)})
    assert checkpoints.restore_latest().progress["number"] == 2
    DAMAGE[damage](with_chunks.parent / "replay" / "2.npz")
    assert checkpoints.restore_latest().progress["number"] == 1
    assert "2.npz" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["files", "chunks"])
@pytest.mark.parametrize("name", ["{}", "../../{}", "../{}", "..", "", "x/../../{}", "x" * 9999])
def test_hostile_names_in_a_manifest_are_refused(with_chunks, part, name, capsys):
    """Even though what they name exists and matches its size and SHA-256."""
    for place in (with_chunks, with_chunks.parent):
        (place / "outside").write_bytes(b"abc")
    if name == "{}":
        name = str(with_chunks / "outside")
    digest = hashlib.sha256(b"abc").hexdigest()
    path = with_chunks / "000002" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest[part][name.format("outside")] = {"bytes": 3, "sha256": digest}
    path.write_text(json.dumps(manifest))
    checkpoints = Checkpoints(with_chunks, {"step": tf.Variable(0)})
    assert checkpoints.restore_latest().progress["number"] == 1
    assert "lists" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", "null", '{"format": 2}', '{"format": [2]}', '{"format": 3}']
    + ['{"format": 2, "files": [], "chunks": 3}'],
)
def test_odd_manifests_are_refused(with_chunks, text):
    (with_chunks / "000002" / "manifest.json").write_text(text)
    checkpoints = Checkpoints(with_chunks, {"step": tf.Variable(0)})
    assert checkpoints.restore_latest().progress["number"] == 1


@pytest.mark.parametrize("file", ["variables.index", "arrays.npz", "progress.json"])
def test_a_manifest_that_passes_over_a_damaged_file_is_refused(saved, file, capsys):
    path = saved / "000003" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["files"][file]
    path.write_text(json.dumps(manifest))
    DAMAGE["emptied"](saved / "000003" / file)
    restore(saved, 2)
    assert "lists too few files" in capsys.readouterr().err


def test_progress_must_be_json(saved):
    checkpoints = Checkpoints(saved, make_objects())
    with pytest.raises(TypeError):
        checkpoints.save({"bad": object()})
    with pytest.raises(ValueError, match="JSON"):
        checkpoints.save({"bad": float("nan")})
    assert names(saved) == ["000001", "000002", "000003"]
    checkpoints.save({"count": np.int64(3)})
    assert checkpoints.restore_latest().progress == {"count": 3}


@pytest.mark.parametrize("read_only", [False, True])
def test_checkpoints_of_the_old_format_are_refused_not_set_aside(saved, read_only, capsys):
    for directory in saved.iterdir():
        manifest = json.loads((directory / "manifest.json").read_text())
        (directory / "manifest.json").write_text(json.dumps(manifest | {"format": 1}))
    with pytest.raises(CheckpointError, match="is of format 1, this program reads") as caught:
        Checkpoints(saved, make_objects(), read_only=read_only).restore_latest()
    assert "\n" not in str(caught.value) and "versions.json" in str(caught.value)
    assert "damaged" not in str(caught.value) and capsys.readouterr().err == ""
    assert names(saved) == ["000001", "000002", "000003"]
