"""Ray's part, on a real Ray of one machine, with a stand-in for training."""

import json
import os
import socket
import time
from pathlib import Path

import pytest

from smallwm_tf.runs.stop_request import StopRequest
from smallwm_tf.sweeping import SweepError, cluster
from smallwm_tf.sweeping.cluster import Ended, Share
from tests.sweeping.conftest import is_alive, starts_of


def look(ended):
    pass


def test_runs_end_each_for_itself_and_all_end_when_asked(job, monkeypatch):
    """One Ray for all, as it takes seconds to start."""
    monkeypatch.setattr(cluster, "cores_here", lambda: 2)
    jobs = {what: job(what, what) for what in ("work", "fail", "fail twice", "stop early")}
    with cluster.connected("local"), StopRequest() as stop:
        assert cluster.places_for_runs(Share(1.0, 0.0)) == 2
        assert cluster.places_for_runs(Share(0.5, 0.0)) == 4
        assert cluster.places_for_runs(Share(1.0, 0.5)) == 0  # no GPU
        seen = []
        ended = cluster.carry_out(
            list(jobs.values()), Share(1.0, 0.0), 2, stop, lambda ended: seen.append(len(ended))
        )
        assert {what: ended[made.run_dir].state for what, made in jobs.items()} == {
            "work": "done",
            "fail": "failed",
            "fail twice": "done",
            "stop early": "failed",
        }
        message = ended[jobs["fail"].run_dir].message
        assert message == "exit code 2: smallwm_tf.train: error: ppo: value_loss is not finite"
        assert {what: starts_of(made) for what, made in jobs.items()} == {
            "work": 1,
            "fail": 3,
            "fail twice": 3,
            "stop early": 3,
        }
        assert sorted(seen) == seen and seen[-1] == 4
        told = json.loads((Path(jobs["work"].run_dir) / ".start1").read_text())
        assert told["nice"] == os.nice(0)  # Ray would make it 15 more

        sleeping = [job("sleep", f"sleep{number}") for number in range(3)]  # one of them waits
        started = [Path(made.run_dir) / ".start1" for made in sleeping]

        def stop_once_two_run(ended):
            if sum(file.exists() for file in started) == 2:
                stop.signal_name = "SIGTERM"

        ended = cluster.carry_out(sleeping, Share(1.0, 0.0), 2, stop, stop_once_two_run)
        assert set(ended.values()) == {Ended("stopped")}
        running = [made for made in sleeping if starts_of(made)]
        assert len(running) == 2
        for made in running:
            assert (Path(made.run_dir) / ".saved").exists()
            assert not is_alive(json.loads((Path(made.run_dir) / ".start1").read_text())["pid"])


def test_more_cores_than_there_are():
    cluster.check_share(Share(float(cluster.cores_here()), 0.0))
    with pytest.raises(SweepError, match=r"--cpus_per_run=4096: this machine has \d+ core"):
        cluster.check_share(Share(4096.0, 0.0))
    assert cluster.cores_here() == len(os.sched_getaffinity(0))


def test_an_address_where_nobody_listens_is_refused_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        with (
            pytest.raises(SweepError, match=f"--ray_address='{address}': nobody answers"),
            cluster.connected(address),
        ):
            pass
        assert time.monotonic() - began < 6.0


def test_without_ray(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with (
        pytest.raises(SweepError, match=r"ray: not installed .*pip install -e '.\[sweep\]'"),
        cluster.connected("local"),
    ):
        pass
