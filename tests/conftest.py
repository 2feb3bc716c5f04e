"""Imported before every test module: chooses Keras 2 before one of them loads TensorFlow."""

import contextlib
import ctypes
import gc
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import smallwm_tf  # noqa: F401


def pytest_collection_modifyitems():
    """Before the first test: no graph optimiser, and no garbage sought in what is imported.

    Tests run many graphs a few times each; optimising them takes longer than it saves. Commands
    that are started as processes of their own run as a user's do.
    """
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    gc.collect()
    gc.freeze()


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
