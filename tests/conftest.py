"""Imported before every test module: chooses Keras 2 before one of them loads TensorFlow."""

import contextlib
import ctypes
import gc
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

import smallwm_tf  # noqa: F401


def pytest_collection():
    """Before a test module is read: TensorFlow without a graph optimiser, in a worker one thread.

    Tests run many graphs a few times each; optimising them takes longer than it saves, and threads
    that wait for each other take the cores from the other worker. Commands that are started as
    processes of their own run as a user's do.
    """
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    if "PYTEST_XDIST_WORKER" in os.environ:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def pytest_collection_modifyitems():
    """Before the first test: what is imported by then is not looked at again."""
    gc.collect()
    gc.freeze()


class ByFile(LoadFileScheduling):
    """A file's tests run in one worker, as do those of all commands, which share a trained run."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        folder = file.rpartition("/")[0]
        return folder if folder == "tests/commands" else file


def pytest_xdist_make_scheduler(config, log):
    """For `--dist loadfile`."""
    return ByFile(config, log)


@pytest.fixture(autouse=True, scope="module")
def memory_is_given_back():
    """After each file: many tiny runs in one process would otherwise hold gigabytes."""
    yield
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory):
    """What a wheel of this checkout installs, for PYTHONPATH."""
    root = Path(__file__).resolve().parent.parent
    source, built, unpacked = (tmp_path_factory.mktemp(name) for name in ("s", "built", "unpacked"))
    for folder in ("smallwm_tf", "configs"):
        no_code = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / folder, source / folder, ignore=no_code)
    for file in ("setup.py", "README.md", "LICENSE"):
        shutil.copy(root / file, source)
    words = ["wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", str(built), str(source)]
    command = [sys.executable, "-m", "pip", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = built.iterdir()
    with zipfile.ZipFile(wheel) as files:
        files.extractall(unpacked)
    return unpacked
