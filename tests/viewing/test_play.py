"""The command `smallwm_tf.play`: one line for a mistake, and Ctrl-C."""

import _thread
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import urllib.request

import pytest

from smallwm_tf import play
from smallwm_tf.deployment import opening

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command in this process; returns its exit code and what it printed."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["play", *map(str, words)])
        code = 0
        try:
            play.main()
        except SystemExit as end:
            code = end.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def assert_refused(result, *parts):
    code, out, err = result
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("smallwm_tf.play: error: ")
    for part in parts:
        assert part in err


def test_ctrl_c_ends_the_game(run, agent, monkeypatch):
    pytest.importorskip("flask", reason="the extra [play] is not installed")
    # A process started in the background of a shell ignores SIGINT, and so would this test.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    seen = []

    def visit(url):
        try:
            with urllib.request.urlopen(url, timeout=60) as page:
                seen.append(page.read())
        finally:
            _thread.interrupt_main()

    monkeypatch.setattr(opening, "open_agent", lambda *_: agent)
    monkeypatch.setattr(
        play.webbrowser, "open", lambda url: threading.Thread(target=visit, args=[url]).start()
    )
    code, out, err = run(f"--export={ROOT}/examples/Catch", "--port=0")
    assert (code, err) == (0, "")
    assert out.startswith("playing Catch at http://127.0.0.1:") and out.count("\n") == 1
    assert b"<html" in seen[0]


def test_a_port_in_use_is_refused_before_tensorflow_is_loaded():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        script = "import sys; from smallwm_tf import play\ntry: play.main()\n"
        script += "finally: assert 'tensorflow' not in sys.modules"
        done = subprocess.run(
            [sys.executable, "-c", script, "--export=examples/Catch", f"--port={port}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    assert_refused((done.returncode, done.stdout, done.stderr), f"--port={port}: is in use")


def test_a_missing_flask_is_named_with_its_remedy(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['flask'] = None\n")
    done = subprocess.run(
        [sys.executable, "-m", "smallwm_tf.play", "--run_dir=x"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    result = (done.returncode, done.stdout, done.stderr)
    assert_refused(result, "flask: not installed", "pip install -e '.[play]'")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "--run_dir --export"),
        (["--run_dir=x", "--export=y"], "not allowed with"),
        (["--run_dir=x", "--port=70000"], "in [0, 65535]"),
        (["--run_dir=x", "--temperature=0"], "in (0, 100]"),
        (["--run_dir=x", "--seed=-1"], "whole number"),
        (["--run_dir=x", "--game=Pongg", "--port=0"], "Pong"),
        (["--run_dir=missing", "--port=0"], "no such directory"),
        (["--export=missing", "--port=0"], "no such directory"),
    ],
)
def test_mistakes_get_one_line(run, words, part):
    pytest.importorskip("flask", reason="the extra [play] is not installed")
    assert_refused(run(*words), part)
