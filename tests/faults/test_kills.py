"""A run that is killed, in a phase or inside a save, equals one that is left alone."""

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


#: What is not of interest where a run is killed early.
EARLY = {
    "vqvae.update_interval": 0,
    "dynamics.epochs": "(1,)",
    "ppo.num_updates": "(0,)",
    "ppo.check_interval": 0,
    "evaluation.num_episodes": 2,
}


class Victim:
    """A run that is interrupted, beside one of the same command that is left alone."""

    def __init__(self, folder, settings):
        self.reference, self.path = folder / "reference", folder / "victim"
        rarely = settings | {"checkpoints.interval": 1000}
        kill_run.finish(self.reference, kill_run.command(self.reference, "Catch", "catch", rarely))
        self._words = kill_run.command(self.path, "Catch", "catch", settings)
        self._saves_rarely = kill_run.command(self.path, "Catch", "catch", rarely)
        self._longest, self._chance = kill_run.durations(self.reference), random.Random(1)

    @property
    def log(self) -> str:
        return self.path.with_suffix(".log").read_text()

    def has_begun(self, event: str) -> bool:
        metrics = self.path / "metrics.jsonl"
        return metrics.exists() and f'"event": "{event}"' in metrics.read_text()

    def kill(self, slot: int, target: str) -> None:
        longest = self._longest.get(target, 0.0)
        given = self.path, self._words, slot, target, longest, self._chance
        found = kill_run.run_and_kill(*given)
        assert found.inside_save if target == kill_run.SAVE else found.phase == target

    def stop(self, slot: int, number: signal.Signals, begun) -> None:
        """Inside a phase, whose only checkpoint is the one that the signal asks for."""
        process = kill_run.start(self.path, self._saves_rarely)
        while process.poll() is None and not begun():
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(timeout=120) == 0
        assert kill_run.phases_done(self.path) == slot  # inside the phase, not behind it
        assert f"{number.name}: stopped; the same command goes on" in self.log

    def comes_to_the_same(self) -> None:
        kill_run.finish(self.path, self._saves_rarely)
        found = [kill_run.fingerprint(path) for path in (self.reference, self.path)]
        assert len(found[0]) > 100
        assert kill_run.differences(*found) == []


def test_a_run_stopped_in_a_phase_and_killed_inside_a_save_equals_an_undisturbed_one(tmp_path):
    victim = Victim(tmp_path, SETTINGS | EARLY)
    victim.stop(1, signal.SIGTERM, lambda: victim.has_begun("vqvae"))
    victim.kill(1, kill_run.SAVE)
    victim.comes_to_the_same()
    assert re.search("updates? on", victim.log)


@pytest.mark.slow
def test_so_does_one_that_is_killed_and_stopped_in_every_phase(tmp_path):
    """SIGKILL in each phase and inside a save, SIGTERM and SIGINT between; nightly: 50 kills."""
    victim = Victim(tmp_path, SETTINGS)
    victim.kill(0, "collect")
    victim.stop(1, signal.SIGTERM, lambda: victim.has_begun("vqvae"))
    victim.kill(1, kill_run.SAVE)
    victim.kill(2, "learn_policy")
    first_of_evaluation = victim.path / "null_policies.json"
    victim.stop(3, signal.SIGINT, first_of_evaluation.exists)
    victim.kill(3, "evaluate")
    victim.comes_to_the_same()
    assert len(re.findall("updates? on", victim.log)) >= 2 and re.search("steps? on", victim.log)


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
