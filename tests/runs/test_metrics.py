"""Metrics: every line once, valid JSON whatever happens, TensorBoard shows the same."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from smallwm_tf.runs import RunError
from smallwm_tf.runs.metrics import Metrics, read_metrics


def strict_lines(path):
    """Parses as a strict reader would: NaN and Infinity are no JSON."""

    def refuse(word):
        raise AssertionError(word)

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def tensorboard_points(directory, tag):
    accumulator = EventAccumulator(str(directory), size_guidance={"tensors": 0})
    accumulator.Reload()
    points = accumulator.Tensors(tag)
    return [(point.step, float(tf.make_ndarray(point.tensor_proto))) for point in points]


def test_a_line_holds_what_was_given(tmp_path):
    with Metrics(tmp_path) as metrics:
        metrics.write(
            "dynamics", 1, 50, loss=tf.constant(0.5), count=np.int64(3), ok=True, returns=[1, 2.5]
        )
        line = strict_lines(tmp_path / "metrics.jsonl")[0]  # flushed at once
    assert isinstance(line.pop("time"), float)
    assert line == {
        "event": "dynamics",
        "iteration": 1,
        "step": 50,
        "loss": 0.5,
        "count": 3,
        "ok": True,
        "returns": [1.0, 2.5],
    }


def test_what_is_not_finite_is_null_and_named(tmp_path):
    with Metrics(tmp_path) as metrics:
        metrics.write("ppo", 1, 1, loss=float("nan"), ratio=np.float32(np.inf), other=1.0)
        metrics.write("ppo", 1, 2, returns=[1.0, float("-inf")])
    first, second = strict_lines(tmp_path / "metrics.jsonl")
    assert first["loss"] is None and first["ratio"] is None and first["other"] == 1.0
    assert first["not_finite"] == {"loss": "nan", "ratio": "inf"}
    assert second["returns"] == [1.0, None] and "returns" in second["not_finite"]


@pytest.mark.parametrize("value", [object(), np.zeros((2, 2)), {}, 1j, b"x"])
def test_other_values_are_refused_by_name(tmp_path, value):
    with Metrics(tmp_path) as metrics:
        with pytest.raises(TypeError, match="strange"):
            metrics.write("ppo", 1, 1, strange=value)
        with pytest.raises(TypeError, match="time"):
            metrics.write("ppo", 1, 1, time=3)
    assert strict_lines(tmp_path / "metrics.jsonl") == []


def test_tensorboard_shows_the_same_numbers(tmp_path):
    with Metrics(tmp_path) as metrics:
        for step in range(5):
            metrics.write("ppo", 1, step, loss=step / 2)
    expected = [(step, step / 2) for step in range(5)]
    assert tensorboard_points(tmp_path / "events", "ppo/loss") == expected


def test_rewinding_leaves_neither_gap_nor_duplicate(tmp_path):
    with Metrics(tmp_path) as metrics:
        for step in range(6):
            metrics.write("ppo", 1, step, loss=step)
            if step == 3:
                saved = metrics.sync()
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(b'{"event": "ppo", "st')  # killed while writing
    with Metrics(tmp_path) as metrics:
        assert metrics.num_lines == 6
        assert metrics.rewind(saved) == 0
        for step in range(4, 8):
            metrics.write("ppo", 1, step, loss=step)
    assert [line["step"] for line in strict_lines(tmp_path / "metrics.jsonl")] == list(range(8))
    expected = [(step, float(step)) for step in range(8)]
    assert tensorboard_points(tmp_path / "events", "ppo/loss") == expected


def test_the_half_line_of_a_killed_process_is_not_continued(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"event": "a", "iteration": 1, "step": 1}\n{"st')
    with Metrics(tmp_path) as metrics:
        metrics.write("ppo", 1, 2)
    assert [line["step"] for line in strict_lines(tmp_path / "metrics.jsonl")] == [1, 2]


def test_rewinding_within_a_session(tmp_path):
    with Metrics(tmp_path) as metrics:
        metrics.write("a", 1, 1)
        metrics.rewind(0)
        assert metrics.read() == []
        metrics.write("b", 1, 1)
        assert [line["event"] for line in metrics.read()] == ["b"]


def test_missing_lines_are_told(tmp_path, capsys):
    with Metrics(tmp_path) as metrics:
        metrics.write("a", 1, 1)
        assert metrics.rewind(4) == 3
    assert "3 of 4 lines are missing" in capsys.readouterr().err


def test_deleted_events_are_made_again(tmp_path):
    with Metrics(tmp_path) as metrics:
        metrics.write("a", 1, 1, x=2.0)
    for file in (tmp_path / "events").iterdir():
        file.unlink()
    (tmp_path / "events").rmdir()
    with Metrics(tmp_path) as metrics:
        metrics.rewind(1)
    assert tensorboard_points(tmp_path / "events", "a/x") == [(1, 2.0)]


def lose_the_last_file(events):
    sorted(events.iterdir())[-1].unlink()


def cut_the_last_file(events):
    file = sorted(events.iterdir())[-1]
    os.truncate(file, file.stat().st_size - 20)


def double_the_points(events):
    file = sorted(events.iterdir())[0]
    (events / f"{file.name}.again").write_bytes(file.read_bytes())


def change_a_value(events):
    file = sorted(events.iterdir())[0]
    content = file.read_bytes()
    file.write_bytes(content.replace(np.float32(2.5).tobytes(), np.float32(3.5).tobytes()))


def put_garbage(events):
    (events / "events.out.tfevents.9.x").write_bytes(b"garbage" * 9)


DAMAGE = [lose_the_last_file, cut_the_last_file, double_the_points, change_a_value, put_garbage]


@pytest.mark.parametrize("damage", DAMAGE)
def test_events_that_do_not_match_the_record_are_made_again(tmp_path, damage):
    """As a kill leaves them while they are made again."""
    for first in (0, 3):  # two sessions, two files
        with Metrics(tmp_path) as metrics:
            for step in range(first, first + 3):
                metrics.write("a", 1, step, x=step + 0.5, ok=True, name="text")
    expected = [(step, step + 0.5) for step in range(6)]
    assert tensorboard_points(tmp_path / "events", "a/x") == expected
    files = sorted((tmp_path / "events").iterdir())
    with Metrics(tmp_path) as metrics:
        metrics.rewind(6)
    assert sorted((tmp_path / "events").iterdir()) == files  # what matches stays
    damage(tmp_path / "events")
    with Metrics(tmp_path) as metrics:
        metrics.rewind(6)
    assert tensorboard_points(tmp_path / "events", "a/x") == expected
    assert tensorboard_points(tmp_path / "events", "a/ok") == [(step, 1.0) for step in range(6)]


def test_killed_while_events_are_made_again(tmp_path, monkeypatch):
    write, written = Metrics._write_events, []

    def killed(metrics, line):
        write(metrics, line)
        written.append(line)
        if len(written) == 2:
            raise KeyboardInterrupt

    with Metrics(tmp_path) as metrics:
        for step in range(6):
            metrics.write("a", 1, step, x=step)
    with monkeypatch.context() as patched:
        patched.setattr(Metrics, "_write_events", killed)
        with pytest.raises(KeyboardInterrupt), Metrics(tmp_path) as metrics:
            metrics.rewind(4)
    with Metrics(tmp_path) as metrics:
        metrics.rewind(4)
    assert tensorboard_points(tmp_path / "events", "a/x") == [(s, float(s)) for s in range(4)]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"step": "x"}, "step='x' must be a whole number"),
        ({"step": -5}, "step=-5"),
        ({"event": 3}, "event=3"),
        ({"event": "\x1b[2J"}, r"event='\\x1b\[2J'"),
        ({"loss": float("inf")}, "loss=inf is not finite"),
        ({"loss": [1, [2]]}, "loss="),
        ({"loss": {"a": {"b": 1}}}, "loss="),
    ],
    ids=str,
)
def test_a_doctored_line_is_named_and_nothing_is_changed(tmp_path, change, named):
    line = {"event": "a", "iteration": 1, "step": 1, "loss": 1.0}
    path = tmp_path / "metrics.jsonl"
    path.write_text(f"{json.dumps(line)}\n{json.dumps(line | change)}\nhalf")
    before = path.read_bytes()
    with pytest.raises(RunError, match=f"metrics.jsonl: line 2.*{named}") as caught:
        Metrics(tmp_path)
    assert str(caught.value).isprintable() and path.read_bytes() == before
    assert os.listdir(tmp_path) == ["metrics.jsonl"]


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"event": "a", "iteration": 1, "step": 1}\ngarbage\n{"half')
    with pytest.raises(RunError, match="line 2"):
        list(read_metrics(path))
    assert os.listdir(tmp_path) == ["metrics.jsonl"]


def test_a_full_disk_under_tensorboards_files_is_one_line(tmp_path, monkeypatch):
    def full(*_, **__):
        raise tf.errors.ResourceExhaustedError(
            None, None, "{{node}} x; No space left on device\n\t"
        )

    metrics = Metrics(tmp_path)
    monkeypatch.setattr(tf.summary, "scalar", full)
    with pytest.raises(RunError, match=r"events: cannot be written \(No space left.*make room"):
        metrics.write("ppo", 1, 1, loss=1.0)
    monkeypatch.setattr(metrics._writer, "close", full)
    metrics.close()  # also where nothing more can be written
    assert len(strict_lines(tmp_path / "metrics.jsonl")) == 1


def test_a_writer_that_cannot_flush_is_not_the_default_of_graphs_traced_later(
    tmp_path, monkeypatch
):
    metrics = Metrics(tmp_path)
    metrics.write("ppo", 1, 1, loss=1.0)

    def full(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(metrics._writer, "flush", full)
    monkeypatch.setattr(metrics._writer, "close", lambda: monkeypatch.undo())
    with pytest.raises(RunError, match="events: cannot be written"):
        metrics.write("ppo", 1, 2, loss=1.0)
    traced = tf.function(lambda: tf.summary.scalar("later", 1.0, step=0)).get_concrete_function()
    assert not [node for node in traced.graph.as_graph_def().node if "WriteSummary" in node.op]
