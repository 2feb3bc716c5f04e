"""The lines that people see."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from smallwm_tf.sweeping import table as tables
from smallwm_tf.sweeping.progress import Progress
from smallwm_tf.sweeping.table import HEADING, Display, Row, duration, line_of, summary, table


def row(game="Pong", seed=0, state="running", fraction=0.5, score=-19.25, left=600.0, message=""):
    experiment = SimpleNamespace(
        game=SimpleNamespace(name=game),
        seed=seed,
        preset="quick",
        run_dir=Path(f"/out/quick/{game}-seed{seed}"),
    )
    return Row(experiment, Progress(state, "2: learn_policy", fraction, score, left), message)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_line_has_everything_under_its_heading():
    line = line_of(row("MsPacman", 3, score=1234.56))
    assert line.split("  ")[0] == "MsPacman"
    for word in ("3", "quick", "2: learn_policy", "50 %", "1,234.6", "10 min"):
        assert word in line
    assert line.index("quick") == HEADING.index("config")
    assert line.index("2: learn") == HEADING.index("phase")
    assert line.index("10 min") + len("10 min") == len(HEADING)


def test_what_is_not_known_is_empty_and_failures_have_their_reason():
    line = line_of(row(state="failed", score=None, left=5.0, message="exit code 1: no room"))
    assert "failed" in line and line.endswith("exit code 1: no room")
    assert "None" not in line and "5 s" not in line and "learn_policy" not in line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.0, "0 s"), (89.0, "89 s"), (90.0, "2 min"), (5400.0, "1.5 h"), (1e5, "27.8 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_scores_below_ten_have_two_digits():
    """Those of Catch and of Pong move by less than 0.1 from one evaluation to the next."""
    assert " 0.94 " in line_of(row(score=0.9375)) and " -19.2 " in line_of(row(score=-19.25))


def test_the_summary_counts_and_divides_by_what_runs():
    rows = [row(left=7200.0), row(seed=1, left=7200.0), row(seed=2, state="waiting", left=14400.0)]
    rows += [row(seed=3, state="done"), row(seed=4, state="failed")]
    # 8 hours of work for two at a time.
    assert summary(rows) == "5 runs: 1 done, 1 waiting, 1 failed, 2 running; about 4.0 h left"
    unknown = [*rows, row(seed=5, left=None)]
    assert summary(unknown) == "6 runs: 1 done, 1 waiting, 1 failed, 3 running"
    assert summary([row(state="done")]) == "1 run: 1 done"


def test_the_longest_run_is_waited_for():
    rows = [row(left=36000.0), row(seed=1, left=60.0)]
    assert summary(rows).endswith("about 10.0 h left")


def test_a_terminal_holds_the_table():
    rows = [row(seed=seed, state="done" if seed < 50 else "running") for seed in range(60)]
    lines = table(rows, width=60, height=10)
    assert len(lines) == 10 and all(len(line) < 60 for line in lines)
    assert all("learn_policy" in line for line in lines[1:8])  # those that run come first
    assert lines[-2] == "... and 53 more" and lines[-1].startswith("60 runs: 50 done")
    assert len(table(rows[:2], 60, 10)) == 4


def test_a_terminal_is_redrawn_in_place():
    stream = Terminal()
    display = Display(stream)
    display.show([row(), row(seed=1)])
    first = stream.getvalue()
    assert "\x1b" not in first and first.count("\n") == 4
    display.show([row(), row(seed=1)])
    assert stream.getvalue() == first + "\x1b[4F\x1b[J" + first
    display.say("stopped")  # stays: what is drawn next stands below it
    display.show([row()])
    assert stream.getvalue().count("\x1b[J") == 1


def test_a_log_file_has_news_only(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(tables.time, "monotonic", lambda: clock[0])
    stream = io.StringIO()
    display = Display(stream)
    for state in ("waiting", "running", "running", "done", "done"):
        display.show([row(state=state), row(seed=1, state="waiting")])
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2 and "learn_policy" in lines[0] and "done" in lines[1]
    clock[0] = 301.0
    display.show([row(state="done"), row(seed=1, state="running")])
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4 and lines[-1].startswith("2 runs: 1 done, 1 running")
    clock[0] = 302.0
    display.show([row(state="done"), row(seed=1, state="running")])
    assert len(stream.getvalue().splitlines()) == 4


def test_a_broken_stream_is_no_reason_to_stop():
    stream = io.StringIO()
    stream.close()
    for display in (Display(stream), Display(None)):
        display.show([row()])
        display.say("more")
