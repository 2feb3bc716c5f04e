"""Signals to this process: which are noted, which end it, which are left alone."""

import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from smallwm_tf.runs import stop_request
from smallwm_tf.runs.stop_request import Stopped, StopRequest

ROOT = Path(stop_request.__file__).parents[2]


@pytest.fixture
def ended(monkeypatch):
    """Exit codes with which the process would have ended."""
    codes = []
    monkeypatch.setattr(stop_request.os, "_exit", codes.append)
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where nohup runs the tests
    yield codes
    signal.signal(signal.SIGHUP, former)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_the_first_signal_is_noted_and_a_second_ends(ended, name):
    former = {number: signal.getsignal(number) for number in (1, 2, 15)}
    with StopRequest() as stop:
        stop.check()
        os.kill(os.getpid(), signal.Signals[name])
        assert stop.signal_name == name and ended == []
        with pytest.raises(Stopped, match=name):
            stop.check()
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended == [143]
    assert {number: signal.getsignal(number) for number in (1, 2, 15)} == former


@pytest.mark.parametrize("first", ["SIGHUP", "SIGTERM"])
def test_a_closing_terminal_may_send_several(ended, first):
    with StopRequest() as stop:
        for name in (first, "SIGHUP", "SIGHUP"):
            os.kill(os.getpid(), signal.Signals[name])
        assert stop.signal_name == first and ended == []


def test_nohup_stays_in_force(ended):
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.signal_name is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)


BUSY = """
import hashlib, sys
from smallwm_tf.runs.stop_request import StopRequest
with StopRequest():
    print("busy", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # C code, for minutes, as a graph may be
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_answered_at_once_whatever_runs(number):
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "busy\n"
        process.send_signal(number)
        name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
        assert select.select([process.stderr], [], [], 20.0)[0], "no answer"
        assert process.stderr.readline() == f"{name}: saving after this update; again: at once\n"
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(timeout=20) == 128 + number
        assert process.stderr.read() == f"{name} again: ended at once\n"
    finally:
        process.kill()
        process.communicate()


def test_what_was_there_before_is_there_again():
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    threads = threading.active_count()
    with StopRequest():
        assert threading.active_count() == threads + 1
    assert threading.active_count() == threads
    assert signal.set_wakeup_fd(before) == before
