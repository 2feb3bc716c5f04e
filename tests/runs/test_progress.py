"""Progress is shown, and never stops a run."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from smallwm_tf.runs import progress
from smallwm_tf.runs.progress import Progress, say

ROOT = Path(progress.__file__).parents[2]
WORK = (
    "from smallwm_tf.runs.progress import Progress, say\n"
    "for _ in range(2000): say('a line of text that fills the pipe soon enough')\n"
    "with Progress(3, 'collect') as bar:\n"
    "    for _ in range(3): bar.update(loss=0.5)\n"
    "say('\\u00e9\\u4e2d')\n"
    "open('finished', 'w').close()\n"
)


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_there_is_a_line_now_and_then(clock, capsys):
    with Progress(1000, "collect") as bar:
        for _ in range(100):
            clock[0] += 1.0
            bar.update(10, loss=0.123456)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4  # after 30, 60 and 90 seconds, and at the end
    assert lines[0] == "collect: 30% 300/1000 [00:30<01:10, 10.00step/s, loss=0.1235]"
    assert lines[3] == "collect: 100% 1000/1000 [01:40<00:00, 10.00step/s, loss=0.1235]"


def test_a_continued_phase_counts_its_rate_from_here(clock):
    bar = Progress(100, "learn", "update", initial=90)
    clock[0] += 20.0
    bar.update(5)
    assert bar.line() == "learn: 95% 95/100 [00:20<00:20, 4.00s/update]"


def test_no_work_is_not_worth_a_line(capsys):
    for total in (0, None, 5):
        with Progress(total, f"of {total}"):
            pass
    assert [line.split(" [")[0] for line in capsys.readouterr().out.splitlines()] == [
        "of None: 0step",
        "of 5: 0% 0/5",
    ]


def test_nothing_to_do_and_unknown_totals():
    for total in (0, None):
        bar = Progress(total, "evaluate")
        assert "evaluate" in bar.line()
        bar.update(3)
        bar.close()
        bar.close()


@pytest.mark.parametrize(("rows", "columns"), [(24, 100), (0, 0)])
def test_a_terminal_gets_a_bar(rows, columns):
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    code = (
        "from smallwm_tf.runs.progress import Progress, say\n"
        "with Progress(3, 'collect') as bar:\n"
        "    bar.update(3); say('a line')\n"
    )
    subprocess.run([sys.executable, "-c", code], stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    text = os.read(leader, 100_000).decode()
    assert re.search(r"collect: 100%.*3/3", text) and "a line" in text


@pytest.mark.parametrize(
    "redirection",
    [
        ">&-",
        ">&- 2>&-",
        "2>&-",
        "| head -c 5 >/dev/null",
        ">/dev/full",
        "> out",
        "2>&1 | head -c 9",
    ],
)
@pytest.mark.parametrize("locale", ["C", "en_US.ISO-8859-1"])
def test_closed_and_broken_streams_do_not_stop_the_work(tmp_path, redirection, locale):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": locale}
    environment["PYTHONIOENCODING"] = "ascii" if locale == "C" else "latin-1"
    environment.pop("PYTHONUNBUFFERED", None)  # a buffer fails once more at exit
    (tmp_path / "work.py").write_text(WORK)
    shell = f'set -o pipefail; "{sys.executable}" work.py {redirection}'
    done = subprocess.run(
        ["bash", "-c", shell], cwd=tmp_path, env=environment, capture_output=True, timeout=60
    )
    assert (tmp_path / "finished").exists(), done.stderr
    assert done.returncode == 0, done.stderr
    if redirection == "> out":  # what the encoding lacks is replaced
        told = (tmp_path / "out").read_bytes().splitlines()[-1]
        assert told == (b"??" if locale == "C" else b"\xe9?")


def test_a_stream_that_is_gone(monkeypatch):
    for stream in (None, io.StringIO()):
        if stream is not None:
            stream.close()
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        say("hello")
        with Progress(2, "x") as bar:
            bar.update(2)
