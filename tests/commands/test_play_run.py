"""The page of a run and of an export, served by the command itself."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

pytest.importorskip("flask", reason="the extra [play] is not installed")


@pytest.mark.parametrize("source", ["run_dir", pytest.param("export_dir", marks=pytest.mark.slow)])
def test_a_trained_agent_is_played_until_ctrl_c(source, request):
    flag = "--run_dir" if source == "run_dir" else "--export"
    words = [f"{flag}={request.getfixturevalue(source)}", "--port=0", "--nobrowser"]
    process = subprocess.Popen(
        [sys.executable, "-m", "smallwm_tf.play", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A process that a shell has put into the background ignores SIGINT, and so would its child.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        line = process.stdout.readline()
        (url,) = re.findall(r"playing Catch at (http://127\.0\.0\.1:\d+)", line)
        with urllib.request.urlopen(f"{url}/api/view", timeout=60) as answer:
            before = json.load(answer)
        step = urllib.request.Request(
            f"{url}/api/step", b'{"action": null}', {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(step, timeout=60) as answer:
            after = json.load(answer)
        assert (before["step"], after["step"]) == (0, 1)
        assert before["game"] == "Catch" and len(after["policy"]["probabilities"]) == 3
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.communicate()
