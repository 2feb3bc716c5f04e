"""A run that is killed in every phase and inside a save equals one that is left alone."""

import random
import signal
import time

import pytest

from tests.faults import kill_run

SETTINGS = kill_run.TINY | {
    "collection.num_iterations": 1,
    "dynamics.epochs": "(2,)",
    "ppo.num_updates": "(30,)",
    "collection.first_iteration_steps": 400,
    "inspection.held_out_steps": 100,
    "dynamics.convolution": "direct",  # less to compile
    "ppo.num_epochs": 1,  # less to trace
    "precision": "bfloat16",  # weights, all that is kept, are float32
}
TARGETS = ["collect", "learn_world_model", "learn_world_model", "save", "learn_policy", "evaluate"]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    path = tmp_path_factory.mktemp("kills") / "reference"
    kill_run.finish(path, kill_run.command(path, "Catch", "catch", SETTINGS))
    return path


def test_a_run_killed_six_times_equals_an_undisturbed_one(reference, tmp_path):
    path = tmp_path / "victim"
    words = kill_run.command(path, "Catch", "catch", SETTINGS)
    longest = kill_run.durations(reference)
    kills = kill_run.kill_until_finished(path, words, 1, longest, random.Random(1), TARGETS)
    assert len(kills) == 6
    assert {kill.phase for kill in kills} == set(kill_run.PHASES)
    assert any(kill.inside_save for kill in kills)
    expected, found = kill_run.fingerprint(reference), kill_run.fingerprint(path)
    assert len(expected) > 100
    assert kill_run.differences(expected, found) == []


def test_sigterm_saves_inside_a_phase_and_exits_with_0(reference, tmp_path):
    path = tmp_path / "stopped"
    words = kill_run.command(path, "Catch", "catch", SETTINGS | {"checkpoints.interval": 1000})
    metrics, null_policies = path / "metrics.jsonl", path / "null_policies.json"
    inside = (
        (1, signal.SIGTERM, lambda: metrics.exists() and '"vqvae"' in metrics.read_text()),
        (2, signal.SIGINT, lambda: '"ppo"' in metrics.read_text()),
        (3, signal.SIGTERM, null_policies.exists),  # the first thing that an evaluation does
    )
    for slot, number, begun in inside:
        process = kill_run.start(path, words)
        while process.poll() is None and not begun():
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(timeout=120) == 0
        assert kill_run.phases_done(path) == slot  # stopped inside the phase, not behind it
        log = (tmp_path / "stopped.log").read_text()
        assert f"{signal.Signals(number).name}: stopped; the same command goes on" in log
    kill_run.finish(path, words)
    log = (tmp_path / "stopped.log").read_text()
    assert log.count("updates on") == 2 and log.count("steps on") == 1
    found = kill_run.fingerprint(path)
    different = kill_run.differences(kill_run.fingerprint(reference), found)
    assert different == []


def test_a_second_signal_ends_at_once(tmp_path):
    path = tmp_path / "twice"
    settings = SETTINGS | {"collection.first_iteration_steps": 200_000}
    process = kill_run.start(path, kill_run.command(path, "Catch", "catch", settings))
    while not (path / "metrics.jsonl").exists() and process.poll() is None:
        time.sleep(0.01)
    # The second one comes while the first is being obeyed, at the latest at the next step.
    process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    assert process.wait(timeout=120) in (128 + signal.SIGINT, 128 + signal.SIGTERM)
