"""A disk that is really full or read-only: a small file system of its own under a real run.

Wherever the room ends, one line tells it, checkpoints stay as they are, and with room again the
same command goes on to the end.
"""

import contextlib
import hashlib
import re
import subprocess
import sys

import pytest

from smallwm_tf import train
from smallwm_tf.runs.metrics import read_metrics
from smallwm_tf.runs.scores import read_scores
from smallwm_tf.training.run import Run
from tests import tiny_runs
from tests.faults.kill_run import PHASES

_SIZE = 400 * 2**20
SETTINGS = tiny_runs.SETTINGS | {
    "collection.num_iterations": 1,
    "dynamics.epochs": "(1,)",
    "ppo.num_updates": "(2,)",
    "ppo.check_interval": 0,
}


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    path = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(path)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a file system")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(disk):
    """Leaves no byte on the disk."""
    with open(disk / "filler", "wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass


def checksums(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def command(disk, monkeypatch):
    """Runs the command in this process; what it prints on stderr is returned where it fails."""
    flags = [f"--config.{key}={value}" for key, value in SETTINGS.items()]
    words = ["--game=Catch", "--config=catch", "--seed=3", f"--run_dir={disk}/a run", *flags]

    def run(capsys, *more):
        monkeypatch.setattr(sys, "argv", ["train", *words, *more])
        try:
            train.main()
        except SystemExit as ended:
            assert ended.code == 2
            return capsys.readouterr().err
        return None

    return run


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in PHASES[2:])) for name in PHASES]
)
def test_room_ends_in_a_phase(disk, command, capsys, monkeypatch, name):
    checkpoints, begun, begin = disk / "a run" / "checkpoints", [], Run.begin

    def fill_and_begin(run, phase, iteration):
        is_due = begin(run, phase, iteration)
        if is_due and phase.name == name and iteration == 1:
            begun.append(checksums(checkpoints))
            fill(disk)
        return is_due

    # Each test goes on with the run that the one before has left.
    monkeypatch.setattr(Run, "begin", fill_and_begin)
    error = command(capsys)
    (disk / "filler").unlink()
    assert error.startswith("smallwm_tf.train: error: ") and error.count("\n") == 1
    assert str(disk / "a run") in error and "make room and run the same command again" in error
    free = re.search(r"No space left on device, (\d+) bytes are free", error)
    assert int(free.group(1)) < 10_000  # a page or two that the attempt itself gave back
    assert begun == [checksums(checkpoints)] and len(begun[0]) == 5 * min(PHASES.index(name), 2)
    assert not list(disk.rglob("*.part")) and not list(disk.rglob(".saving-*"))


@pytest.mark.slow
def test_with_room_the_same_command_comes_to_the_end(disk, command, capsys):
    assert command(capsys) is None
    assert [entry["iteration"] for entry in read_scores(disk / "a run" / "scores.json")] == [1]
    lines = list(read_metrics(disk / "a run" / "metrics.jsonl"))
    assert [line["step"] for line in lines if line["event"] == "phase"] == list(range(4))


def test_a_read_only_disk(disk, command, capsys):
    before = checksums(disk)
    assert before  # a run, finished or not
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        error = command(capsys)
        elsewhere = command(capsys, f"--run_dir={disk}/another")
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    for line in (error, elsewhere):
        assert line.startswith("smallwm_tf.train: error: ") and line.count("\n") == 1
        assert "run_dir" in line and "written" in line and "writable" in line
    assert checksums(disk) == before
