"""A tiny session of Catch, ready to learn."""

import pytest

from smallwm_tf.cli.train_flags import read_train_flags
from smallwm_tf.runs.run_directory import RunDirectory
from tests.faults.kill_run import TINY


def tiny_experiment(path, **differences):
    """Arguments of a tiny run; "__" in a name stands for the dot of a setting."""
    changed = {key.replace("__", "."): value for key, value in differences.items()}
    settings = TINY | {"dynamics.convolution": "direct", "deterministic": "false"} | changed
    game = settings.pop("game", "Catch")
    words = [f"--config.{key}={value}" for key, value in settings.items()]
    return read_train_flags(
        ["train", f"--game={game}", "--config=catch", "--seed=3", f"--run_dir={path}", *words]
    ).experiment


@pytest.fixture
def opened(tmp_path):
    """Opens sessions in directories of their own, and closes them."""
    from smallwm_tf.training.session import Session

    sessions, runs = [], []

    def open_session(**differences):
        arguments = tiny_experiment(tmp_path / f"run{len(sessions)}", **differences)
        run = RunDirectory.open(
            arguments.run_dir, arguments.game, arguments.config, arguments.seed, arguments.preset
        )
        runs.append(run)
        sessions.append(Session(arguments, run))
        return sessions[-1]

    yield open_session
    for session, run in zip(sessions, runs, strict=True):
        session.close()
        run.close()
