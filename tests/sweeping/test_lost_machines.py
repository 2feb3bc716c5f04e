"""Nodes and drivers that are killed: every run is there once and equals an undisturbed one.

Real runs of Catch with the preset `smoke` on a real Ray; takes minutes.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smallwm_tf.sweeping.progress import newest_checkpoint
from smallwm_tf.sweeping.task import environment_of_run
from tests.faults.kill_run import differences, fingerprint
from tests.sweeping.conftest import is_alive

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("Catch-seed0", "Catch-seed1")
NUM_PHASES = 8  # two iterations of four
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Fingerprints of the runs, each made by `train` alone."""
    folder, found = tmp_path_factory.mktemp("undisturbed"), {}
    for seed, name in enumerate(NAMES):
        words = ["--game=Catch", "--config=smoke", f"--seed={seed}", f"--run_dir={folder / name}"]
        command = [sys.executable, "-m", "smallwm_tf.train", *words]
        subprocess.run(command, cwd=ROOT, env=os.environ | environment_of_run(1, 0.0), check=True)
        found[name] = fingerprint(folder / name)
    return found


@pytest.fixture
def out(tmp_path):
    """Where the runs of a sweep are."""
    return tmp_path / "out"


@pytest.fixture
def start(out):
    """Starts the sweep with some flags more; what it prints goes into a file beside the runs."""
    with contextlib.ExitStack() as stack:

        def start_sweep(*flags):
            words = ["--games=Catch", "--seeds=2", "--configs=smoke", f"--out={out}", "--json"]
            log = stack.enter_context(open(out.with_name("driver.log"), "a"))
            driver = subprocess.Popen(
                [sys.executable, "-m", "smallwm_tf.sweep", *words, *flags],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
            stack.callback(driver.wait)
            stack.callback(driver.terminate)
            return driver

        yield start_sweep


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def phases_done(out):
    newest = [newest_checkpoint(out / "smoke" / name) for name in NAMES]
    return [each.phases_done if each else 0 for each in newest]


def starts(out, name):
    """Process numbers of the workers that a run was started by, in turn."""
    log = out / "smoke" / f"{name}.log"
    text = log.read_text() if log.exists() else ""
    return [int(pid) for pid in re.findall(r"as child of process (\d+)", text)]


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def check_all_equal(out, expected, start):
    """Every run once, as if nothing had happened; and the same command has nothing to do."""
    assert sorted(path.name for path in (out / "smoke").iterdir() if path.is_dir()) == list(NAMES)
    assert phases_done(out) == [NUM_PHASES] * 2
    for name in NAMES:
        assert len(expected[name]) > 100
        assert differences(expected[name], fingerprint(out / "smoke" / name)) == []
    files = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    began = time.monotonic()
    printed, _ = start("--ray_address=127.0.0.1:9").communicate(timeout=600)  # it is not asked
    assert {run["state"] for run in json.loads(printed)["runs"]} == {"done"}
    assert time.monotonic() - began < 60.0
    assert files == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


def test_a_node_is_killed_in_the_middle(expected, out, start, monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_worker_niceness", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        driver = start(f"--ray_address={cluster.address}")
        wait_until(lambda: min(phases_done(out)) >= 1, 2400)
        raylet = node.all_processes["raylet"][0].process.pid
        (victim,) = (name for name in NAMES if parent_of(starts(out, name)[0]) == raylet)
        (other,) = set(NAMES) - {victim}
        assert max(phases_done(out)) < NUM_PHASES
        cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(num_cpus=1)  # another one takes its place
        printed, _ = driver.communicate(timeout=3000)
        assert driver.returncode == 0
        assert {run["state"] for run in json.loads(printed)["runs"]} == {"done"}
        assert len(starts(out, victim)) == 2 and len(starts(out, other)) == 1
        log = (out / "smoke" / f"{victim}.log").read_text()
        assert log.count("continuing with") == 1
        check_all_equal(out, expected, start)
    finally:
        cluster.shutdown()


def test_the_driver_is_stopped_and_then_killed(expected, out, start):
    both = "--cpus_per_run=0.5"  # also where the tests have a single core
    threads = "--threads_per_run=1"
    driver = start(both, threads)
    wait_until(lambda: min(phases_done(out)) >= 1, 2400)
    driver.send_signal(signal.SIGTERM)
    printed, _ = driver.communicate(timeout=600)
    assert driver.returncode == 0
    assert {run["state"] for run in json.loads(printed)["runs"]} == {"stopped"}
    for name in NAMES:
        log = (out / "smoke" / f"{name}.log").read_text()
        assert "SIGTERM: stopped; the same command goes on" in log
        assert not (out / "smoke" / name / "lock").exists()
    before = phases_done(out)
    assert max(before) < NUM_PHASES

    driver = start(both, threads)
    locks = [out / "smoke" / name / "lock" for name in NAMES]
    wait_until(lambda: min(phases_done(out)) > min(before) and locks[0].exists(), 2400)
    working = [json.loads(lock.read_text())["pid"] for lock in locks if lock.exists()]
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    wait_until(lambda: not any(map(is_alive, working)), 600)  # nothing goes on unseen

    driver = start(both, threads)
    printed, _ = driver.communicate(timeout=3000)
    assert driver.returncode == 0
    assert {run["state"] for run in json.loads(printed)["runs"]} == {"done"}
    assert all(2 <= len(starts(out, name)) <= 3 for name in NAMES)
    check_all_equal(out, expected, start)
