"""What a worker does with one run: real processes, but a stand-in for training."""

import _thread
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from smallwm_tf.runs.lock import Lock
from smallwm_tf.sweeping import launch, task
from smallwm_tf.sweeping.task import RunFailedError, environment_of_run, last_line, log_of, perform
from tests.sweeping.conftest import is_alive, starts_of, wait_until


def test_a_run_is_performed_once_and_leaves_a_log(job):
    good = job("work", OMP_NUM_THREADS="3")
    perform(good)
    perform(good)
    assert starts_of(good) == 1
    environment = json.loads((Path(good.run_dir) / ".start1").read_text())
    assert environment["OMP_NUM_THREADS"] == "3" and environment["PATH"] == os.environ["PATH"]
    log = log_of(good.run_dir).read_text().splitlines()
    assert log[-1] == "work: start 1" and f"as child of process {os.getpid()}" in log[0]


def test_a_failing_run_tells_its_last_line(job):
    line = "exit code 2: smallwm_tf.train: error: ppo: value_loss is not finite"
    with pytest.raises(RunFailedError) as caught:
        perform(job("fail"))
    assert str(caught.value) == line


def test_an_early_end_is_no_success(job):
    with pytest.raises(RunFailedError, match="stopped before its end"):
        perform(job("stop early"))


def test_the_real_training_refuses_bad_arguments(job):
    bad = job("work")._replace(words=["--game=Alein"], folder="/nowhere")
    with pytest.raises(
        RunFailedError, match=r"exit code 2: smallwm_tf.train: error: .*Alien or Galaxian\?"
    ):
        perform(bad)


def test_cancelled_tasks_let_their_run_save(job):
    sleeping = job("sleep", STAND_IN_SAVES="3")
    first = Path(sleeping.run_dir) / ".start1"

    def interrupt():
        wait_until(lambda: first.exists() and first.stat().st_size)
        for _ in range(2):  # the second one comes while the run saves
            time.sleep(1.0)
            _thread.interrupt_main()  # what ray.cancel does

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        perform(sleeping)
    assert (Path(sleeping.run_dir) / ".saved").exists()
    assert not is_alive(json.loads(first.read_text())["pid"])


def test_another_writer_is_waited_for(job, monkeypatch):
    monkeypatch.setattr(task, "_SECONDS_BETWEEN_TRIES", 0.05)
    waiting = job("work")
    Path(waiting.run_dir).mkdir(parents=True)
    lock, log = Lock(Path(waiting.run_dir) / "lock"), log_of(waiting.run_dir)
    thread = threading.Thread(target=perform, args=(waiting,))
    thread.start()
    wait_until(lambda: log.exists() and "waiting" in log.read_text())
    time.sleep(0.3)
    assert starts_of(waiting) == 0 and log.read_text().count("waiting") == 1
    assert f"process {os.getpid()} on host" in log.read_text()
    lock.release()
    thread.join()
    assert starts_of(waiting) == 1


def test_what_a_killed_process_left_is_no_other_writer(job):
    after = job("work")
    Path(after.run_dir).mkdir(parents=True)
    holder = {"pid": 1, "host": os.uname().nodename}
    (Path(after.run_dir) / "lock").write_text(json.dumps(holder))
    perform(after)
    assert starts_of(after) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent")
def test_a_run_ends_with_a_worker_that_is_killed(job):
    sleeping = job("sleep")
    worker = subprocess.Popen(
        [sys.executable, "-c", f"from smallwm_tf.sweeping import task\n"
         f"task.perform(task.Job(*{tuple(sleeping)!r}))"],
    )  # fmt: skip
    first = Path(sleeping.run_dir) / ".start1"
    wait_until(lambda: first.exists() and first.stat().st_size)
    pid = json.loads(first.read_text())["pid"]
    time.sleep(0.2)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    wait_until(lambda: not is_alive(pid))
    assert (Path(sleeping.run_dir) / ".saved").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent")
def test_a_run_whose_worker_is_gone_already_does_not_start(tmp_path):
    words = ["-c", f"open({str(tmp_path / 'ran')!r}, 'w')"]
    command = [sys.executable, launch.__file__, str(os.getpid() + 1), *words]
    assert subprocess.run(command).returncode == 128 + signal.SIGTERM
    assert not (tmp_path / "ran").exists()
    command[2] = str(os.getpid())
    assert subprocess.run(command).returncode == 0
    assert (tmp_path / "ran").exists()


def test_gpus_are_seen_by_runs_with_a_share_only():
    assert environment_of_run(1, 0.0)["CUDA_VISIBLE_DEVICES"] == "-1"
    assert "CUDA_VISIBLE_DEVICES" not in environment_of_run(1, 0.25)


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads by their names")
def test_tensorflow_starts_as_many_threads_as_it_is_told(tmp_path):
    script = """if True:
        import os, smallwm_tf, tensorflow as tf
        product = tf.function(lambda: tf.reduce_sum(tf.ones([8, 8]) @ tf.ones([8, 8])))
        product().numpy()
        for number in os.listdir("/proc/self/task"):
            print(open(f"/proc/self/task/{number}/comm").read().strip())
    """
    environment = os.environ | environment_of_run(7, 0.0)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    names = done.stdout.split()
    assert names.count("tf_Compute") == 7, done.stderr  # between operations
    others = [name for name in names if not name.startswith("tf_")]
    assert 7 <= len(others) <= 10  # inside them, and the main thread


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nb\n\n  \n", "b"),
        ("", "(its log is empty)"),
        ("bar 1\rbar  2\r", "bar 2"),
        ("x" * 5000 + "\nüß\n", "üß"),
        ("y" * 5000, "y" * 300),
    ],
)
def test_the_last_line_of_a_log(tmp_path, text, line):
    (tmp_path / "log").write_text(text)
    assert last_line(tmp_path / "log") == line


@pytest.mark.parametrize("kind", ["link", "second name", "pipe"])
def test_a_log_is_not_appended_through_a_link(job, tmp_path, kind):
    refused, victim = job("work"), tmp_path / "victim"
    victim.write_text("precious")
    log = log_of(refused.run_dir)
    log.parent.mkdir(parents=True, exist_ok=True)
    make = {"link": log.symlink_to, "second name": log.hardlink_to}
    make[kind](victim) if kind in make else os.mkfifo(log)
    with pytest.raises(RunFailedError, match="is a link|a second name|no plain file"):
        perform(refused)
    assert victim.read_text() == "precious" and starts_of(refused) == 0
    if kind != "second name":  # which is only read
        assert "link" in last_line(log) or "no plain file" in last_line(log)


def test_a_linked_lock_ends_a_run_with_one_line(job, tmp_path):
    refused = job("work")
    Path(refused.run_dir).mkdir(parents=True)
    (Path(refused.run_dir) / "lock").symlink_to(tmp_path / "new")
    with pytest.raises(RunFailedError, match="lock: is a link"):
        perform(refused)
    assert not (tmp_path / "new").exists() and starts_of(refused) == 0


def test_what_a_log_says_does_not_steer_a_terminal(tmp_path):
    log = tmp_path / "run.log"
    log.write_bytes(b"\x1b[2J\x07 the end\n")
    assert last_line(log) == r"\x1b[2J\x07 the end"
