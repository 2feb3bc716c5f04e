"""A run that is killed in every phase and inside a save equals one that is left alone."""

import random
import re
import signal
import time

import pytest

from tests.faults import kill_run

SETTINGS = kill_run.TINY | {  # every phase has updates or steps enough to be killed in between
    "collection.num_iterations": 1,
    "collection.first_iteration_steps": 80,
    "vqvae.batch_size": 10,
    "vqvae.update_interval": 8,
    "dynamics.epochs": "(2,)",
    "dynamics.window_length": 2,
    "dynamics.context_steps": 1,
    "dynamics.convolution": "direct",  # less to compile
    "dream.context_steps": 1,
    "dream.horizon": 2,
    "ppo.num_updates": "(20,)",
    "ppo.check_interval": 20,
    "ppo.num_epochs": 1,  # less to trace
    "evaluation.num_episodes": 48,
    "inspection.held_out_steps": 20,
    "inspection.num_starts": 2,
    "inspection.horizon": 2,
    "precision": "auto",  # bfloat16 where the processor has it
    "checkpoints.interval": 0.05,  # minutes
}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    path = tmp_path_factory.mktemp("kills") / "reference"
    kill_run.finish(path, kill_run.command(path, "Catch", "catch", SETTINGS))
    return path


def test_a_run_killed_and_stopped_in_every_phase_equals_an_undisturbed_one(reference, tmp_path):
    """SIGKILL in each phase and inside a save, SIGTERM and SIGINT between; nightly: 50 kills."""
    path = tmp_path / "victim"
    words = kill_run.command(path, "Catch", "catch", SETTINGS)
    rarely = kill_run.command(path, "Catch", "catch", SETTINGS | {"checkpoints.interval": 1000})
    longest, chance = kill_run.durations(reference), random.Random(1)
    metrics, null_policies = path / "metrics.jsonl", path / "null_policies.json"

    def kill(slot: int, target: str) -> None:
        found = kill_run.run_and_kill(path, words, slot, target, longest.get(target, 0.0), chance)
        assert found.inside_save if target == kill_run.SAVE else found.phase == target

    def stop(slot: int, number: signal.Signals, begun) -> None:
        """Inside a phase, whose only checkpoint is the one that the signal asks for."""
        process = kill_run.start(path, rarely)
        while process.poll() is None and not begun():
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(timeout=120) == 0
        assert kill_run.phases_done(path) == slot  # inside the phase, not behind it
        log = (tmp_path / "victim.log").read_text()
        assert f"{number.name}: stopped; the same command goes on" in log

    kill(0, "collect")
    stop(1, signal.SIGTERM, lambda: metrics.exists() and '"event": "vqvae"' in metrics.read_text())
    kill(1, kill_run.SAVE)
    kill(2, "learn_policy")
    stop(3, signal.SIGINT, null_policies.exists)  # the first thing that an evaluation does
    kill(3, "evaluate")
    kill_run.finish(path, words)
    log = (tmp_path / "victim.log").read_text()
    assert len(re.findall("updates? on", log)) >= 2 and re.search("steps? on", log)
    expected, found = kill_run.fingerprint(reference), kill_run.fingerprint(path)
    assert len(expected) > 100
    assert kill_run.differences(expected, found) == []


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
