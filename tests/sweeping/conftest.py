"""A stand-in for training that takes a second and no TensorFlow.

A run's process starts in the folder that its job names, where Python looks first: a package
`smallwm_tf` in it takes the place of the real one, with the real `launch`.
"""

import time
from pathlib import Path

import pytest

from smallwm_tf.sweeping import launch
from smallwm_tf.sweeping.task import Job

ROOT = Path(__file__).resolve().parents[2]

TRAIN = '''
"""Counts its starts, and does what its first argument says; the last one is the run directory."""
import json, os, pathlib, signal, sys, time

run_dir = pathlib.Path(sys.argv[-1].removeprefix("--run_dir="))
what = os.environ.get("STAND_IN_" + run_dir.name.replace("-", "_"), sys.argv[1])
run_dir.mkdir(exist_ok=True)
starts = len(list(run_dir.glob(".start*"))) + 1
told = {"pid": os.getpid(), "nice": os.nice(0), **os.environ}
(run_dir / f".start{starts}").write_text(json.dumps(told))

def save_and_stop(number, frame):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends it at once
    time.sleep(float(os.environ.get("STAND_IN_SAVES", 0)))
    (run_dir / ".saved").touch()
    sys.exit(0)

signal.signal(signal.SIGTERM, save_and_stop)
print(f"{what}: start {starts}", flush=True)
if what == "sleep" or (what == "sleep once" and starts == 1):
    while True:
        time.sleep(0.05)
if what == "fail" or (what == "fail twice" and starts <= 2):
    print("smallwm_tf.train: error: ppo: value_loss is not finite\\n")
    sys.exit(2)
if what != "stop early":
    (run_dir / "scores.json").write_text('[{"iteration": 2, "mean": 1.0}]')
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where processes start whose `smallwm_tf.train` is the stand-in."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of Ray's workers
    package = tmp_path / "stand-in" / "smallwm_tf"
    (package / "sweeping").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "sweeping" / "__init__.py").touch()
    (package / "train.py").write_text(TRAIN)
    (package / "sweeping" / "launch.py").write_bytes(Path(launch.__file__).read_bytes())
    return package.parent


@pytest.fixture
def job(tmp_path, folder):
    """Makes jobs whose runs are the stand-in's."""

    def make(what, name="run", **environment):
        run_dir = str(tmp_path / "runs" / name)
        return Job(run_dir, [what, run_dir], 2, environment, str(folder))

    return make


def wait_until(condition, seconds=600.0):
    """Waits for something that another process does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def starts_of(job):
    """How often the stand-in was started for a job."""
    return len(list(Path(job.run_dir).glob(".start*")))


def is_alive(pid):
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
