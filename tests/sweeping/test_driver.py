"""The whole command on a Ray of its own, with a stand-in for training: signals and failures."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sweeping.conftest import ROOT, is_alive, wait_until

#: Planned as the real command, but runs start where the stand-in is.
DRIVER = """
import os, signal, sys
from smallwm_tf import sweep
if "IN_BACKGROUND" in os.environ:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a script's & does
folder, Job = sys.argv.pop(1), sweep.Job
sweep.Job = lambda **given: Job(**(given | {"folder": folder}))
sweep.main()
"""


@pytest.fixture
def start(tmp_path, folder):
    """Starts a sweep of two runs side by side, in a session of its own as from a terminal."""
    with contextlib.ExitStack() as stack:

        def start_sweep(*what, **environment):
            flags = ["--games=Catch", "--configs=smoke", f"--out={tmp_path / 'out'}", "--json"]
            flags += [f"--seeds={len(what)}", "--cpus_per_run=0.5", "--retries=1"]
            told = {f"STAND_IN_Catch_seed{number}": each for number, each in enumerate(what)}
            driver = subprocess.Popen(
                [sys.executable, "-c", DRIVER, str(folder), *flags],
                cwd=ROOT,
                env=os.environ | told | environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            stack.callback(driver.wait)
            stack.callback(driver.kill)
            return driver

        yield start_sweep


@pytest.fixture
def runs(tmp_path):
    """The run directories."""
    return [tmp_path / "out" / "smoke" / f"Catch-seed{seed}" for seed in (0, 1)]


def pid_of(run_dir: Path, driver: subprocess.Popen) -> int:
    """The process of a run once it has started."""
    file = run_dir / ".start1"
    wait_until(lambda: driver.poll() is not None or (file.exists() and file.stat().st_size))
    assert driver.poll() is None, driver.stderr.read()
    return json.loads(file.read_text())["pid"]


def states(printed: str) -> list[str]:
    return [run["state"] for run in json.loads(printed)["runs"]]


def test_ctrl_c_in_a_terminal_lets_every_run_save(start, runs):
    driver = start("sleep", "sleep", STAND_IN_SAVES="3")
    pids = [pid_of(run, driver) for run in runs]
    os.killpg(driver.pid, signal.SIGINT)  # the driver, Ray and its workers, as a terminal does
    out, err = driver.communicate(timeout=600)
    assert driver.returncode == 0 and states(out) == ["stopped", "stopped"], err
    assert err.splitlines()[-1] == "SIGINT: stopped; the same command goes on"
    assert all((run / ".saved").exists() for run in runs)
    assert not any(map(is_alive, pids))


@pytest.mark.slow  # Ray starts anew
def test_a_sweep_in_the_background_of_a_script_stops_on_sigterm(start, runs):
    driver = start("sleep", "sleep", IN_BACKGROUND="1")
    pids = [pid_of(run, driver) for run in runs]
    driver.send_signal(signal.SIGTERM)
    out, err = driver.communicate(timeout=600)
    assert driver.returncode == 0 and states(out) == ["stopped", "stopped"], err
    assert all((run / ".saved").exists() for run in runs)
    assert not any(map(is_alive, pids))


def test_a_failed_run_is_named_and_stops_no_other(start, runs):
    driver = start("fail", "work")
    out, err = driver.communicate(timeout=600)
    assert driver.returncode == 1 and states(out) == ["failed", "done"]
    assert not (runs[0] / ".start3").exists() and (runs[0] / ".start2").exists()  # one retry
    line = "exit code 2: smallwm_tf.train: error: ppo: value_loss is not finite"
    assert json.loads(out)["runs"][0]["message"] == line
    last = err.splitlines()[-1]
    assert last == f"smallwm_tf.sweep: {runs[0]} failed: {line} ({runs[0]}.log)"


def test_no_run_outlives_a_driver_that_is_killed(start, runs):
    driver = start("sleep", "sleep")
    pids = [pid_of(run, driver) for run in runs]
    driver.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, pids)))
    driver = start("work", "work")
    out, err = driver.communicate(timeout=600)
    assert driver.returncode == 0 and states(out) == ["done", "done"], err
    assert all((run / ".start2").exists() for run in runs)
