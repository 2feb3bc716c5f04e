"""Threads of TensorFlow: by the flag, else by what the control group leaves of the cores."""

import os
import subprocess
import sys

import pytest

from smallwm_tf.cli import threads
from smallwm_tf.cli.errors import CommandLineError
from smallwm_tf.cli.train_flags import read_train_flags

NAMES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is as before in the end
        monkeypatch.delenv(name)


def groups(tmp_path, lines, **files):
    (tmp_path / "own").write_text(lines)
    for name, content in files.items():
        file = tmp_path / "groups" / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return tmp_path / "groups", tmp_path / "own"


@pytest.mark.parametrize(
    ("lines", "files", "expected"),
    [
        ("0::/a/b\n", {"cpu_dot_max": "max 100000"}, None),
        ("0::/a/b\n", {"a__b__cpu_dot_max": "250000 100000\n"}, 2.5),
        ("0::/a/b\n", {"a__b__cpu_dot_max": "max 100000", "a__cpu_dot_max": "50000 100000"}, 0.5),
        ("0::/\n", {"cpu_dot_max": "100000 100000"}, 1.0),
        ("4:cpu,cpuacct:/x\n", {"cpu__x__cpu_dot_cfs_quota_us": "300000",
                                "cpu__x__cpu_dot_cfs_period_us": "100000"}, 3.0),
        ("4:cpu:/x\n", {"cpu__x__cpu_dot_cfs_quota_us": "-1",
                        "cpu__x__cpu_dot_cfs_period_us": "100000"}, None),
        ("4:memory:/x\n", {}, None),
        ("nonsense\n", {}, None),
        ("0::/a\n", {"a__cpu_dot_max": "1 0"}, None),
    ],
)  # fmt: skip
def test_the_quota_of_control_groups(tmp_path, lines, files, expected):
    assert threads.quota_of(*groups(tmp_path, lines, **files)) == expected


def test_no_control_groups(tmp_path):
    assert threads.quota_of(tmp_path, tmp_path / "none") is None


@pytest.mark.parametrize(("quota", "expected"), [(0.5, "1"), (2.5, "3"), (8.0, None), (None, None)])
def test_a_quota_below_the_cores_limits_threads(monkeypatch, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(threads, "quota_of", lambda *_: quota)
    threads.limit_threads()
    assert [os.environ.get(name) for name in NAMES] == [expected] * 3


def test_the_users_variables_stay(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(threads, "quota_of", lambda *_: 2.0)
    os.environ[NAMES[1]] = "5"
    threads.limit_threads()
    assert os.environ[NAMES[1]] == "5" and os.environ[NAMES[0]] == "2"


def test_the_flag_decides(tmp_path):
    os.environ[NAMES[1]] = "5"
    read_train_flags(["train", "--game=Catch", f"--run_dir={tmp_path / 'r'}", "--threads=3"])
    assert [os.environ[name] for name in NAMES] == ["3"] * 3
    for wrong in ("0", "-1", "many", "5000", "1.5"):
        with pytest.raises(CommandLineError, match="--threads: .* must be a whole number in"):
            read_train_flags(["train", "--game=Catch", f"--threads={wrong}"])


def test_tensorflow_takes_it():
    script = """if True:
        import os
        from smallwm_tf.cli.tensorflow_start import load_tensorflow
        from smallwm_tf.cli.train_flags import read_train_flags
        read_train_flags(["train", "--game=Catch", "--run_dir=unused", "--threads=23"])
        load_tensorflow()
        import tensorflow as tf
        before = len(os.listdir("/proc/self/task"))
        tf.function(lambda x: x @ x)(tf.ones([9, 9]))
        print(len(os.listdir("/proc/self/task")) - before >= 23)
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
