"""Hours, memory and disk of a sweep."""

import json
import sys

import pytest

from smallwm_tf.sweeping import SweepError
from smallwm_tf.sweeping.estimate import RunEstimate, disk_bytes, estimate_sweep, measure
from smallwm_tf.sweeping.planning import plan_runs, read_games

ESTIMATES = {
    "smoke": RunEstimate(seconds=3600.0, memory_bytes=2e9, disk_bytes=1e9),
    "quick": RunEstimate(seconds=7200.0, memory_bytes=3e9, disk_bytes=4e9),
}


def runs_of(tmp_path, num_seeds):
    return plan_runs(read_games("Catch"), num_seeds, "smoke,quick", tmp_path)


def test_hours_are_shared_by_the_runs_at_a_time(tmp_path):
    whole = estimate_sweep(runs_of(tmp_path, 5), ESTIMATES, num_places=3)
    assert whole["to_do"] == 10 and whole["runs_at_once"] == 3
    assert whole["hours"] == pytest.approx((5 * 1 + 5 * 2) / 3)
    assert whole["memory_bytes"] == 9e9  # three of the larger ones at once
    assert whole["disk_bytes"] == 25e9
    assert whole["per_run"]["quick"]["seconds"] == 7200.0


def test_no_more_at_once_than_there_are_and_no_faster_than_the_longest(tmp_path):
    whole = estimate_sweep(runs_of(tmp_path, 1), ESTIMATES, num_places=64)
    assert whole["runs_at_once"] == 2 and whole["hours"] == 2.0
    assert whole["memory_bytes"] == 5e9


def test_nothing_to_do_takes_nothing():
    whole = estimate_sweep([], {}, num_places=2)
    assert (whole["to_do"], whole["hours"], whole["memory_bytes"], whole["disk_bytes"]) == (0,) * 4


def test_disk_of_a_run_like_the_ones_measured(tmp_path):
    """docs/reliability.md: 140 MB per checkpoint with 11.6 million parameters; a fourth one while
    the oldest of three is not yet removed; 3 to 8 MB per collection of 6,400 steps."""
    (run,) = plan_runs(read_games("Catch"), 1, "atari100k", tmp_path)
    expected = 4 * 140e6 + 16 * (3e6 + 8e6) / 2
    assert disk_bytes(run.experiment.config, 11_630_155, 102_400) == pytest.approx(expected, 0.1)


def test_a_run_is_measured_by_its_own_dry_run(tmp_path, monkeypatch):
    (run,) = plan_runs(read_games("Catch"), 1, "smoke", tmp_path / "out")
    report = {
        "seconds": 12,
        "memory_bytes": 7,
        "training_total": 100,
        "work": {"real_steps": {"learned_from": 10}},
    }
    fake = tmp_path / "python"
    fake.write_text(
        f"#!/bin/sh\necho \"$@ $OMP_NUM_THREADS\" > {tmp_path}/words\necho '{json.dumps(report)}'\n"
    )
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    found = measure(run, {"OMP_NUM_THREADS": "5"})
    assert (found.seconds, found.memory_bytes) == (12.0, 7.0)
    assert found.disk_bytes == disk_bytes(run.experiment.config, 100, 10)
    words = (tmp_path / "words").read_text().split()
    assert words[:2] == ["-m", "smallwm_tf.train"] and words[-3:] == ["--dry_run", "--json", "5"]
    fake.write_text("#!/bin/sh\necho one >&2\necho two >&2\nexit 2\n")
    with pytest.raises(SweepError, match=r"--configs='smoke': cannot be measured \(two\)"):
        measure(run, {})
    assert not (tmp_path / "out").exists()
