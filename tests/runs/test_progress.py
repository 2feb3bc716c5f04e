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
import time
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


def test_no_line_comes_twice(clock, capsys):
    """Finished just when a line was due; and what was finished before this session."""
    with Progress(10, "collect") as bar:
        clock[0] += 31.0
        bar.update(10)
    with Progress(10, "learn", "update", initial=10):
        clock[0] += 31.0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["collect: 100% 10/10 [00:31<00:00, 3.10s/step]"]


def test_numbers_have_no_exponent(clock, capsys):
    with Progress(1, "learn") as bar:
        clock[0] += 1.0
        bar.update(1, elbo=15372.4, loss=-1989.44, rate=0.000123, name="x", count=3)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("elbo=15,372, loss=-1,989, rate=0.000123, name=x, count=3]")


@pytest.fixture
def run_line():
    """Where a whole run is, as long as the test runs; the pace of the moment is shown in it."""
    progress.beside(lambda left: f"phase 3 of 12, 41 %, ends about 18:20 ({left})")
    yield
    progress.beside(None)


def test_the_whole_run_stands_beside_the_phase(clock, capsys, run_line):
    with Progress(100, "collect") as bar:
        clock[0] += 31.0
        bar.update(10)
    assert capsys.readouterr().out.splitlines()[:2] == [
        "collect: 10% 10/100 [00:31<04:39, 3.10s/step]",
        "phase 3 of 12, 41 %, ends about 18:20 (279.0)",
    ]


def test_silent_work_is_shown_as_work(clock, capsys, run_line):
    """Nothing is counted, as while a graph is compiled: time passes in a thread of its own."""
    with Progress(5, "world model", "update", first="compiling") as bar:
        clock[0] += 31.0
        deadline = time.time() + 20.0
        while not (text := capsys.readouterr().out) and time.time() < deadline:
            time.sleep(0.05)
        assert text.splitlines()[0].startswith("world model, compiling: 0% 0/5 [00:31<")
        assert "phase 3 of 12" in text
        bar.update(5)
        bar.doing("playing the real game")
        assert bar.line().startswith("world model, playing the real game: 100% 5/5")
    assert capsys.readouterr().out.startswith("world model: 100% 5/5 [")


def test_what_is_for_terminals_alone_leaves_logs_clean(clock, capsys):
    with Progress(2, "measuring", in_logs=False) as bar:
        clock[0] += 31.0
        bar.update(2)
    assert capsys.readouterr() == ("", "")


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
        "import time\n"
        "from smallwm_tf.runs.progress import Progress, beside, say\n"
        "beside(lambda left: 'phase 3 of 12, 41 %, ends about 18:20')\n"
        "with Progress(3, 'collect') as bar:\n"
        "    bar.update(3, elbo=1989.4); say('a line'); time.sleep(1.2)\n"
    )
    subprocess.run([sys.executable, "-c", code], stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    text = os.read(leader, 100_000).decode()
    assert re.search(r"collect: 100%.*3/3.*elbo=1,989", text) and "a line" in text
    assert "phase 3 of 12, 41 %, ends about 18:20" in text
    assert text.rstrip().splitlines()[-1].count("collect: 100%") >= 1  # it stays, the other goes


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
