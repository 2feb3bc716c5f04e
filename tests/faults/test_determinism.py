"""The setting reaches TensorFlow: with it, what may differ from run to run is refused.

In a process of its own, since TensorFlow cannot be told otherwise afterwards.
"""

import subprocess
import sys

SCRIPT = """
import pathlib, sys
from tests.faults.conftest import tiny_experiment
from tests.tiny_runs import open_run, start_run
import tensorflow as tf

for deterministic in ("false", "true"):
    path = pathlib.Path(sys.argv[1]) / deterministic
    arguments = tiny_experiment(path, deterministic=deterministic)
    with open_run(arguments) as directory:
        start_run(arguments, directory).close()
    tf.random.set_seed(None)
    try:
        tf.random.uniform([1])  # numbers that no seed repeats
        print("allowed")
    except RuntimeError as error:
        print("refused" if "determinism is enabled" in str(error) else error)
"""


def test_what_may_differ_is_refused(tmp_path):
    words = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.stdout.split()[-2:] == ["allowed", "refused"], done.stderr[-2000:]
