"""A tiny run of Catch, ready to learn."""

import contextlib
import time

import pytest

from smallwm_tf.cli.train_flags import read_train_flags
from tests import tiny_runs
from tests.faults.kill_run import TINY

#: Less to trace, and nothing that the whole process would have to obey.
_QUICK = {"dynamics.convolution": "direct", "ppo.num_epochs": 1, "deterministic": "false"}


def tiny_experiment(path, **differences):
    """Arguments of a tiny run; "__" in a name stands for the dot of a setting."""
    changed = {key.replace("__", "."): value for key, value in differences.items()}
    settings = TINY | _QUICK | changed
    game = settings.pop("game", "Catch")
    words = [f"--config.{key}={value}" for key, value in settings.items()]
    return read_train_flags(
        ["train", f"--game={game}", "--config=catch", "--seed=3", f"--run_dir={path}", *words]
    ).experiment


@pytest.fixture
def opened(tmp_path):
    """Opens runs in directories of their own, and closes them."""
    with contextlib.ExitStack() as stack:

        def open_run(**differences):
            experiment = tiny_experiment(tmp_path / f"run{time.monotonic_ns()}", **differences)
            directory = stack.enter_context(tiny_runs.open_run(experiment))
            return stack.enter_context(
                contextlib.closing(tiny_runs.start_run(experiment, directory))
            )

        yield open_run
