"""One run of a sweep, as a Ray worker carries it out: in a process of its own, with its own log.

The process ends with the worker (`smallwm_tf.sweeping.launch`), and a run that another process
still writes to is waited for, so a run never has two writers and none is left behind unseen.
"""

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple, TextIO

from smallwm_tf.experiment.messages import one_line, printable
from smallwm_tf.runs import RunError
from smallwm_tf.runs.lock import Lock, LockedError
from smallwm_tf.runs.plain_files import open_plain, open_to_append
from smallwm_tf.sweeping.progress import is_done

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_BETWEEN_TRIES = 2.0  # to take a lock


class RunFailedError(Exception):
    """A run ended before it was done; the message is one line."""


class Job(NamedTuple):
    """What a worker is told; all of it plain, so that any node can read it."""

    run_dir: str
    words: list[str]  # arguments of `smallwm_tf.train`
    num_iterations: int  # of the run, to tell whether it is done
    environment: dict[str, str]  # variables of its process, beside those of the worker
    folder: str  # where its process starts, if the node has it: relative names belong there


def environment_of_run(num_threads: int, share_of_gpu: float) -> dict[str, str]:
    """Variables that hold TensorFlow and its libraries to a number of threads."""
    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    threads = dict.fromkeys(names, str(num_threads))
    return threads if share_of_gpu else threads | {"CUDA_VISIBLE_DEVICES": "-1"}


def log_of(run_dir: Path | str) -> Path:
    """Where what a run prints is kept: beside its directory."""
    return Path(f"{run_dir}.log")


def perform(job: Job) -> None:
    """Begins or continues a run and waits for its end.

    Raises:
        RunFailedError: It ended with an error, or before it was done.
        KeyboardInterrupt: The task was cancelled; the run has saved and ended.
    """
    if threading.current_thread() is threading.main_thread():
        # Ray cancels by an interrupt, which Python drops where a shell's & had it ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run_dir = Path(job.run_dir)
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    try:
        log = io.TextIOWrapper(open_to_append(log_of(run_dir)), "utf-8", "backslashreplace")
    except RunError as error:  # a link, maybe
        raise RunFailedError(str(error)) from error
    with log:
        _wait_for_others(run_dir, log)
        if is_done(run_dir, job.num_iterations):
            return
        _say(log, f"starting on {socket.gethostname()} as child of process {os.getpid()}")
        code = _run_child(job, log)
    if code:
        raise RunFailedError(f"exit code {code}: {last_line(log_of(run_dir))}")
    if not is_done(run_dir, job.num_iterations):
        raise RunFailedError("it was stopped before its end; somebody sent it a signal")


def last_line(log: Path) -> str:
    """The last line of a log that says something; at most 300 characters."""
    try:
        with open_plain(log) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            lines = file.read(4096).decode("utf-8", "replace").replace("\r", "\n").split("\n")
    except (OSError, RunError) as error:
        return one_line(error)
    said = [printable(" ".join(line.split())) for line in lines if line.strip()]
    return said[-1][:300] if said else "(its log is empty)"


def _run_child(job: Job, log: TextIO) -> int:
    """The exit code of the run's process, which never outlives this one."""
    launch = [sys.executable, "-m", "smallwm_tf.sweeping.launch", str(os.getpid())]
    child = None
    try:
        child = subprocess.Popen(
            [*launch, "-m", "smallwm_tf.train", *job.words],
            cwd=job.folder if os.path.isdir(job.folder) else None,
            env={**os.environ, **job.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C in a terminal reaches it through the driver alone
        )
        while child.poll() is None:  # Ray's interrupt is seen between two calls only
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    except KeyboardInterrupt:
        if child is not None:
            _end(child)
        raise
    return child.returncode


def _end(child: subprocess.Popen) -> None:
    """Asks a run to save and stop, once: a second signal would end it at once.

    Another interrupt changes nothing; one comes from Ray, one may come from the terminal.
    """
    child.terminate()
    while child.poll() is None:
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def _wait_for_others(run_dir: Path, log: TextIO) -> None:
    """Waits until no other process writes to a run: that of a driver that was killed, maybe."""
    last_said = ""
    while os.path.lexists(run_dir / "lock"):
        try:
            Lock(run_dir / "lock").release()
        except LockedError as error:
            if str(error) != last_said:
                last_said = str(error)
                _say(log, f"waiting: {last_said}")
            time.sleep(_SECONDS_BETWEEN_TRIES)
        except RunError as error:  # a link, maybe
            raise RunFailedError(str(error)) from error


def _say(log: TextIO, text: str) -> None:
    log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} sweep: {text}\n")
    log.flush()
