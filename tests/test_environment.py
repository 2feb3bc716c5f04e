"""What a user's environment holds: Keras settings, variables, streams, an odd matplotlibrc."""

import os
import pathlib
import subprocess
import sys
from types import SimpleNamespace

import pytest

from smallwm_tf import _environment

ROOT = pathlib.Path(__file__).resolve().parent.parent


def _python(*arguments):
    """Runs Python in the repository; returns the completed process."""
    variables = {**os.environ, "PYTHONPATH": ""}
    variables.pop("TF_USE_LEGACY_KERAS", None)
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)


def test_tensorflow_loaded_too_early_is_refused():
    script = "import tensorflow\ntry:\n import smallwm_tf\nexcept ImportError as e: print(e)"
    run = _python("-c", script)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("TensorFlow was imported before smallwm_tf")
    assert run.stdout.count("\n") == 1


def test_commands_start_quietly_with_keras_2():
    script = """if True:
        import os
        import smallwm_tf
        from smallwm_tf.cli.tensorflow_start import without_start_up_notices
        with without_start_up_notices():
            import tensorflow as tf
            from tensorflow.keras import layers
            from tf_agents.agents.ppo import ppo_clip_agent
            tf.config.list_physical_devices()
            os.write(2, b"a real warning")
        print(tf.keras.layers.Dense.__module__, layers.Dense.__module__)
    """
    run = _python("-c", script)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == 2 * ["tf_keras.src.layers.core.dense"]
    assert run.stderr == "a real warning"


HOSTILE = {
    "HOME": "~",  # as where there is none: expanduser then leaves the "~"
    "TF_USE_LEGACY_KERAS": "0",
    "KERAS_BACKEND": "jax",
    "TF_DETERMINISTIC_OPS": "1",
    "MPLBACKEND": "a notebook's own",
    "MATPLOTLIBRC": "nowhere",
    "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python",
    "PYTHONWARNINGS": "error",
}


@pytest.mark.parametrize("keras_json", ['{"floatx": "float64"}', "[]"])
def test_the_users_environment_does_not_reach_in(tmp_path, keras_json):
    """A command's start, a random operation without seed, a layer and a figure among them."""
    (tmp_path / "keras").mkdir()
    (tmp_path / "keras" / "keras.json").write_text(keras_json)
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\n")
    script = """if True:
        import gc, os, sys
        sys.path.insert(0, sys.argv[1])
        import smallwm_tf
        from smallwm_tf import _environment
        from smallwm_tf.cli.tensorflow_start import load_tensorflow
        _environment.pin(for_command=True)
        load_tensorflow()
        assert "tf_agents" in sys.modules and gc.isenabled()  # and its garbage was not sought
        assert gc.get_freeze_count() > len(gc.get_objects())
        import tensorflow as tf
        from google.protobuf.internal import api_implementation
        import numpy as np
        import pathlib
        from smallwm_tf.figures.curves import draw_promise
        from smallwm_tf.judging.promise import Promise
        backend = tf.keras.backend
        assert (backend.floatx(), backend.image_data_format()) == ("float32", "channels_last")
        layer = tf.keras.layers.Conv2D(2, 3)
        assert layer(tf.random.uniform([1, 5, 5, 1])).shape == [1, 3, 3, 2]
        assert api_implementation.Type() == "upb"
        draw_promise(pathlib.Path(), Promise(np.eye(2), np.eye(2)), 1)
    """
    hostile = HOSTILE | {"KERAS_HOME": str(tmp_path / "keras")}
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | hostile
    command = [sys.executable, "-c", script, str(ROOT)]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        "keras",
        "matplotlibrc",
        "promise_001.png",
    }


def test_matplotlib_that_cannot_be_loaded_is_one_line(tmp_path):
    (tmp_path / "matplotlibrc").write_bytes(b"\xff\xfe")
    run = subprocess.run(
        [sys.executable, "-m", "smallwm_tf.train", "--game=Catch"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2 and run.stderr.count("\n") == 1
    assert "Matplotlib cannot be loaded" in run.stderr and "matplotlibrc" in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["matplotlibrc"]


@pytest.mark.parametrize("module", ["smallwm_tf.train", "smallwm_tf.doctor"])
def test_python_without_docstrings_is_refused_in_one_line(module):
    run = _python("-OO", "-m", module, "--game=Catch")
    lines = run.stdout + run.stderr
    assert run.returncode != 0 and lines.count("\n") <= 3
    assert "PYTHONOPTIMIZE=2" in lines and "Traceback" not in lines


def test_keras_that_was_loaded_with_other_types_is_refused():
    def keras(*found):
        floatx, image_data_format = found
        backend = SimpleNamespace(
            floatx=lambda: floatx, image_data_format=lambda: image_data_format
        )
        return SimpleNamespace(backend=backend)

    assert _environment.problem_of_keras(None) == ""
    assert _environment.problem_of_keras(keras("float32", "channels_last")) == ""
    for found in (("float64", "channels_last"), ("float32", "channels_first")):
        problem = _environment.problem_of_keras(keras(*found))
        assert all(word in problem for word in found) and "\n" not in problem


def test_errors_while_starting_are_printed():
    script = """if True:
        import sys
        from smallwm_tf.cli.tensorflow_start import without_start_up_notices
        with without_start_up_notices():
            print("I0000 a notice", file=sys.stderr)
            print("an error", file=sys.stderr)
            raise ImportError("broken library")
    """
    run = _python("-c", script)
    assert run.returncode == 1
    assert run.stderr.startswith("an error\n") and "broken library" in run.stderr
    assert "I0000" not in run.stderr


def test_a_closed_stderr_does_not_stop_the_start():
    script = """if True:
        import os, sys
        from smallwm_tf.cli.tensorflow_start import without_start_up_notices
        os.close(2)
        with without_start_up_notices():
            print("started")
    """
    run = _python("-c", script)
    assert (run.returncode, run.stdout) == (0, "started\n")
