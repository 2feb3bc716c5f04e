"""One writer per run directory, in this process and against real other processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import smallwm_tf
from smallwm_tf.runs import lock as module
from smallwm_tf.runs.files import write_atomically
from smallwm_tf.runs.lock import Lock, LockedError, check_held

ROOT = Path(smallwm_tf.__file__).parents[1]
HOLD = """
import sys, time
from pathlib import Path
from smallwm_tf.runs.lock import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


@pytest.fixture
def holder(path):
    """Another process that holds the lock."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HOLD, str(path)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_writer_is_refused_and_told_the_first(path, holder):
    with pytest.raises(LockedError) as caught:
        Lock(path)
    message = str(caught.value)
    assert f"process {holder.pid} on host" in message and "\n" not in message
    assert path.exists()


def test_the_lock_of_a_killed_process_is_stale(path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert path.exists()
    with Lock(path) as lock:
        assert f"process {holder.pid} " in lock.stale_holder
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_release_removes_the_file_and_lets_the_next_one_in(path):
    with Lock(path) as lock:
        assert lock.stale_holder is None
        with pytest.raises(LockedError):
            Lock(path)
    lock.release()
    assert not path.exists()
    with Lock(path) as lock:
        assert lock.stale_holder is None


def test_a_late_release_leaves_the_lock_of_the_next_one(path):
    first = Lock(path)
    first.release()
    with Lock(path):
        first.release()
        assert path.exists()


def test_another_hosts_lock_holds_until_it_is_no_longer_touched(path):
    path.write_text(json.dumps({"pid": 7, "host": "elsewhere", "started": "yesterday"}))
    with pytest.raises(LockedError, match="process 7 on host elsewhere .* 2 minutes"):
        Lock(path)
    assert json.loads(path.read_text())["host"] == "elsewhere"
    old = path.stat().st_mtime - 1000
    os.utime(path, (old, old))
    with Lock(path) as lock:
        assert "elsewhere" in lock.stale_holder
    assert os.listdir(path.parent) == []


def test_a_held_lock_is_touched(path, monkeypatch):
    monkeypatch.setattr("smallwm_tf.runs.lock._TOUCH_SECONDS", 0.01)
    with Lock(path) as lock:
        os.utime(path, (1, 1))
        assert any(path.stat().st_mtime > 1 for _ in range(200) if not lock._released.wait(0.01))


@pytest.mark.parametrize(
    "content", ["", "garbage", "[1]", "{", '{"pid": "\\n\\u001b[2J"}', "[" * 9999]
)
def test_a_damaged_lock_file_is_no_obstacle_and_no_output(path, content):
    path.write_text(content)
    old = path.stat().st_mtime - 1000
    os.utime(path, (old, old))
    with Lock(path) as lock:
        assert lock.stale_holder is None or lock.stale_holder.isprintable()


def test_file_systems_without_locks_go_by_age(path, monkeypatch):
    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("smallwm_tf.runs.lock.fcntl.flock", unsupported)
    first = Lock(path)
    with pytest.raises(LockedError, match=f"process {os.getpid()} "):
        Lock(path)
    os.utime(path, (1, 1))
    with Lock(path) as second:
        assert second.stale_holder
    first._released.set()


def test_another_hosts_lock_dated_ahead_is_not_for_ever(path):
    path.write_text(json.dumps({"pid": 7, "host": "elsewhere"}))
    ahead = path.stat().st_mtime + 10**7
    os.utime(path, (ahead, ahead))
    with pytest.raises(LockedError, match="2 minutes"):
        Lock(path)
    assert path.stat().st_mtime < ahead - 10**6  # dated today, so its age counts from now on
    old = path.stat().st_mtime - 121
    os.utime(path, (old, old))
    with Lock(path) as lock:
        assert "elsewhere" in lock.stale_holder


@pytest.fixture
def no_locks(monkeypatch):
    """A file system without locks."""

    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("smallwm_tf.runs.lock.fcntl.flock", unsupported)


def test_without_locks_a_process_that_is_gone_holds_nothing(path, holder, no_locks):
    with pytest.raises(LockedError, match=f"process {holder.pid} "):
        Lock(path)  # it lives
    holder.kill()
    holder.wait()
    with Lock(path) as lock:
        assert f"process {holder.pid} " in lock.stale_holder


@pytest.mark.parametrize(
    "said", [{"host": "elsewhere"}, {"processes": "another container"}, {"pid": "7"}, {"pid": -1}]
)
def test_without_locks_only_a_process_of_this_machine_is_known_to_be_gone(path, no_locks, said):
    gone = subprocess.Popen(["true"])
    gone.wait()
    mine = {"host": os.uname().nodename, "processes": module._process_space(), "pid": gone.pid}
    path.write_text(json.dumps(mine | said))
    with pytest.raises(LockedError):
        Lock(path)
    path.write_text(json.dumps(mine))
    Lock(path).release()


@pytest.mark.parametrize("event", ["removed", "moved", "taken over"])
def test_a_holder_whose_directory_is_no_longer_its_own_stops(tmp_path, event):
    run = tmp_path / "run"
    run.mkdir()
    lock, written = Lock(run / "lock"), run / "scores.json"
    write_atomically(written, lambda file: file.write(b"mine"))
    if event == "moved":
        run.rename(tmp_path / "moved")
    else:
        shutil.rmtree(run)
    if event == "taken over":
        run.mkdir()
        second = Lock(run / "lock")
        written.write_text("of the second")
    with pytest.raises(LockedError, match="was removed, moved or taken over") as caught:
        write_atomically(written, lambda file: file.write(b"of the first"))
    assert "\n" not in str(caught.value)
    check_held(tmp_path / "elsewhere")  # only its own directory is the holder's
    lock.release()
    if event == "taken over":
        assert written.read_text() == "of the second" and second.is_held()
        assert sorted(os.listdir(run)) == ["lock", "scores.json"]
        second.release()
    check_held(written)  # nothing is held any more


def test_taken_over_while_a_file_is_written(tmp_path):
    run = tmp_path / "run"
    run.mkdir()

    def write_slowly(file):
        file.write(b"of the first")
        (run / "lock").unlink()
        (run / "lock").write_text("of the second")

    with Lock(run / "lock"), pytest.raises(LockedError):
        write_atomically(run / "scores.json", write_slowly)
    assert os.listdir(run) == ["lock"] and (run / "lock").read_text() == "of the second"
