"""Signals to this process: which are noted, which end it, which are left alone."""

import os
import signal

import pytest

from smallwm_tf.runs import stop_request
from smallwm_tf.runs.stop_request import Stopped, StopRequest


@pytest.fixture
def ended(monkeypatch):
    """Exit codes with which the process would have ended."""
    codes = []
    monkeypatch.setattr(stop_request.os, "_exit", codes.append)
    return codes


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
