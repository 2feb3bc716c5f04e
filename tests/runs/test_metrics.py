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
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"st')
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


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"a": 1}\ngarbage\n{"half')
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
