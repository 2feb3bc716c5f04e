"""Where a run stands, by its directory: directories written by hand, answers worked out by hand."""

import json
import os
import time
from types import SimpleNamespace

import pytest

from smallwm_tf.sweeping import progress
from smallwm_tf.sweeping.progress import ProgressReader, expected_seconds, is_done

PHASES = ["collect", "learn", "evaluate"]


@pytest.fixture
def now(monkeypatch):
    """The time of day, which stands still."""
    moment = 1_700_000_000.0
    monkeypatch.setattr(progress.time, "time", lambda: moment)
    return moment


class RunFiles:
    """Writes parts of a run directory of two iterations with three phases each."""

    def __init__(self, path, preset="p"):
        self.path = path
        (path / "checkpoints").mkdir(parents=True)
        config = SimpleNamespace(collection=SimpleNamespace(num_iterations=2))
        self.experiment = SimpleNamespace(run_dir=path, config=config, preset=preset)

    def checkpoint(self, number, done, seconds=0.0, written=None, **changed):
        folder = self.path / "checkpoints" / f"{number:06d}"
        folder.mkdir()
        content = {"phases_done": done, "phases_per_iteration": 3, "phases": PHASES}
        file = folder / "progress.json"
        file.write_text(json.dumps(content | {"seconds": seconds} | changed))
        if written is not None:
            os.utime(file, (written, written))
        return self

    def scores(self, *iterations, mean=1.5):
        entries = [{"iteration": iteration, "mean": mean + iteration} for iteration in iterations]
        (self.path / "scores.json").write_text(json.dumps(entries))
        return self

    def durations(self, *seconds):
        lines = [
            {"event": "phase", "iteration": 1 + place // 3, "step": place, "seconds": each}
            for place, each in enumerate(seconds)
        ]
        lines.insert(1, {"event": "ppo", "iteration": 1, "step": 0, "seconds": 1e9})
        (self.path / "metrics.jsonl").write_text("".join(json.dumps(e) + "\n" for e in lines))
        return self

    def lock(self, started, touched):
        text = time.strftime("%Y-%m-%d %H:%M:%S +0000", time.gmtime(started))
        (self.path / "lock").write_text(json.dumps({"pid": 1, "host": "a", "started": text}))
        os.utime(self.path / "lock", (touched, touched))
        return self


@pytest.mark.parametrize(
    ("scores", "phases_done", "expected"),
    [
        ((1, 2), 6, True),
        ((2,), 6, True),  # evaluated once, at the end
        ((1, 2), 5, False),  # killed between the evaluation and its checkpoint
        ((1,), 6, False),
        ((1,), 3, False),
        ((), 6, False),
        ((1, 2), None, True),  # checkpoints removed to save room
        ((), None, False),
    ],
)
def test_done_is_the_last_evaluation_with_no_phase_left(tmp_path, scores, phases_done, expected):
    run = RunFiles(tmp_path / "run")
    if scores:
        run.scores(*scores)
    if phases_done is not None:
        run.checkpoint(9, 1).checkpoint(10, phases_done)
    assert is_done(run.path, 2) is expected
    assert (ProgressReader().read(run.experiment).state == "done") is expected


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 1}', "[{}]"])
def test_damaged_files_are_not_done_and_no_error(tmp_path, text):
    run = RunFiles(tmp_path / "run").checkpoint(1, 6)
    for name in ("scores.json", "metrics.jsonl", "lock", "checkpoints/000001/progress.json"):
        (run.path / name).write_text(text)
    assert not is_done(run.path, 2)
    assert ProgressReader().read(run.experiment).fraction == 0.0


def test_nothing_there_yet(tmp_path):
    run = RunFiles(tmp_path / "run")
    (run.path / "checkpoints").rmdir()
    run.path.rmdir()
    assert ProgressReader().read(run.experiment) == ("waiting", "", 0.0, None, None)


def test_expected_seconds():
    known = {0: 4.0, 1: 10.0, 2: 1.0, 3: 8.0}
    # Known as they are; the last two like the same phases of the first iteration.
    assert expected_seconds(known, 6, 3) == [4.0, 10.0, 1.0, 8.0, 10.0, 1.0]
    # Of an iteration never seen: the mean of both collections, (4 + 8) / 2.
    assert expected_seconds(known, 9, 3)[6] == 6.0
    assert expected_seconds({0: 4.0, 1: 10.0}, 6, 3) is None  # no evaluation yet
    assert expected_seconds({}, 6, 3) is None


def test_before_all_phases_are_known_they_count_alike(tmp_path, now):
    run = RunFiles(tmp_path / "run").checkpoint(1, 2, written=now - 50).durations(4.0, 10.0)
    run.lock(started=now - 500, touched=now - 5)
    read = ProgressReader().read(run.experiment)
    assert read == ("running", "1: evaluate", pytest.approx(2 / 6), None, None)


def test_time_inside_a_phase(tmp_path, now):
    run = RunFiles(tmp_path / "run").durations(4.0, 10.0, 1.0, 8.0).scores(1)
    run.checkpoint(3, 4, seconds=3.0, written=now - 2).lock(started=now - 500, touched=now)
    # Of 34 seconds: 23 are over, and of the 10 of learning 3 + 2.
    read = ProgressReader().read(run.experiment)
    assert read.state == "running" and read.phase == "2: learn" and read.score == 2.5
    assert read.fraction == pytest.approx(28 / 34)
    assert read.seconds_left == pytest.approx(6.0)


def test_a_break_is_no_work(tmp_path, now):
    run = RunFiles(tmp_path / "run").durations(4.0, 10.0, 1.0, 8.0)
    run.checkpoint(3, 4, seconds=3.0, written=now - 9000)
    waiting = ProgressReader().read(run.experiment)
    assert waiting.state == "waiting" and waiting.fraction == pytest.approx(26 / 34)
    run.lock(started=now - 4, touched=now)  # continued four seconds ago
    assert ProgressReader().read(run.experiment).fraction == pytest.approx(30 / 34)
    run.lock(started=now - 4, touched=now - 1000)  # its holder is gone
    assert ProgressReader().read(run.experiment).state == "waiting"


def test_a_slow_phase_is_not_over_before_it_is(tmp_path, now):
    run = RunFiles(tmp_path / "run").durations(4.0, 10.0, 1.0, 8.0)
    run.checkpoint(3, 4, written=now - 5000).lock(started=now - 9000, touched=now)
    assert ProgressReader().read(run.experiment).fraction == pytest.approx((23 + 9.5) / 34)


def test_others_with_the_preset_tell_what_is_to_come(tmp_path, now):
    reader = ProgressReader()
    other = RunFiles(tmp_path / "a").durations(4.0, 10.0, 1.0, 8.0, 20.0, 2.0)
    other.scores(1, 2).checkpoint(1, 6)
    new, stranger = RunFiles(tmp_path / "b"), RunFiles(tmp_path / "c", preset="q")
    assert reader.read(new.experiment).seconds_left is None
    reader.read(other.experiment)
    assert reader.read(new.experiment).seconds_left == pytest.approx(45.0)
    assert reader.read(stranger.experiment).seconds_left is None


def test_runs_without_names_of_phases(tmp_path):
    run = RunFiles(tmp_path / "run").checkpoint(1, 4, phases=[])
    assert ProgressReader().read(run.experiment).phase == "2: phase 2"
