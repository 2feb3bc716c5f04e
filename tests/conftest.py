"""Imported before every test module: chooses Keras 2 before one of them loads TensorFlow."""

import contextlib
import ctypes
import gc

import pytest

import smallwm_tf  # noqa: F401


def pytest_collection_modifyitems():
    """Before the first test: no graph optimiser.

    Tests run many graphs a few times each; optimising them takes longer than it saves. Commands
    that are started as processes of their own run as a user's do.
    """
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.fixture(autouse=True, scope="module")
def memory_is_given_back():
    """After each file: many tiny runs in one process would otherwise hold gigabytes."""
    yield
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)
