"""Ray: one task per run, placed, retried and cancelled by it."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from typing import NamedTuple

from smallwm_tf.experiment.machine import cores_here
from smallwm_tf.experiment.messages import one_line, show
from smallwm_tf.experiment.numbers import counted
from smallwm_tf.runs.stop_request import StopRequest
from smallwm_tf.sweeping import SweepError
from smallwm_tf.sweeping.task import Job, RunFailedError, perform

LOCAL = "local"
_LOOK_SECONDS = 1.0  # until Ray is asked again and the table drawn anew
_OBJECT_STORE_BYTES = 80 * 2**20  # Ray's least; tasks hand nothing over


class Share(NamedTuple):
    """What one run gets of a machine."""

    cpus: float
    gpus: float


class Ended(NamedTuple):
    """How the task of a run ended."""

    state: str  # "done", "failed" or "stopped"
    message: str = ""


def check_share(share: Share) -> None:
    """Refuses, before Ray starts, runs that this machine has no room for.

    Raises:
        SweepError: It has too few cores.
    """
    if share.cpus > cores_here():
        raise SweepError(
            f"--cpus_per_run={share.cpus:g}: this machine has {counted(cores_here(), 'core')}; "
            "give at most that, or name a cluster with --ray_address"
        )


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Ray for the time of the block: one of its own on this machine, or a cluster.

    Args:
        address: "local", "auto", or what `ray.init` takes.

    Raises:
        SweepError: There is no Ray, or nothing answers at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise SweepError(
            f"ray: not installed ({one_line(error)}); run: python -m pip install -e '.[sweep]' "
            "(or: pip install 'ray>=2.40')"
        ) from error
    own = {}
    if address == LOCAL:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")  # not 15: as nice as the command itself
        own = {"num_cpus": cores_here(), "object_store_memory": _OBJECT_STORE_BYTES}
        own["include_dashboard"] = False
    else:
        _check_reachable(address)
    # Ray would say that a task without a share of a GPU will one day see all of them; runs do not.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # It also prints on standard output that it tries a task again, whatever it is told.
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        try:
            ray.init(address, log_to_driver=False, logging_level="ERROR", **own)
        except Exception as error:
            remedy = "start one with `ray start --head`, or leave --ray_address out"
            if address == LOCAL:
                remedy = "is there room in /tmp and memory?"
            raise SweepError(
                f"--ray_address={show(address)}: Ray cannot be used ({one_line(error)}); {remedy}"
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


def places_for_runs(share: Share) -> int:
    """How many runs fit on the machines that Ray has now."""
    import ray

    places = 0
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            fits = [int(has.get("CPU", 0) / share.cpus + 1e-9)]
            if share.gpus:
                fits.append(int(has.get("GPU", 0) / share.gpus + 1e-9))
            places += min(fits)
    return places


def carry_out(
    jobs: list[Job],
    share: Share,
    retries: int,
    stop: StopRequest,
    watch: Callable[[dict[str, Ended]], None],
) -> dict[str, Ended]:
    """Performs all jobs and returns when each has ended one way or another.

    Args:
        jobs: One for each run directory.
        share: What each of them gets.
        retries: How often a run is begun again that failed or whose worker was lost.
        stop: When it says so, runs are asked to save and to stop.
        watch: Called about once a second with what has ended so far, by run directory.
    """
    import ray

    task = ray.remote(perform).options(
        num_cpus=share.cpus,
        num_gpus=share.gpus,
        max_retries=retries,
        retry_exceptions=[RunFailedError, OSError, ImportError],
        scheduling_strategy="SPREAD",
    )
    pending = {task.remote(job): job.run_dir for job in jobs}
    ended: dict[str, Ended] = {}
    cancelled = False
    while pending:
        ready, _ = ray.wait(list(pending), timeout=_LOOK_SECONDS)
        for reference in ready:
            ended[pending.pop(reference)] = _how_it_ended(reference)
        if stop.signal_name and not cancelled:
            cancelled = True
            for reference in pending:
                ray.cancel(reference)
        watch(ended)
    return ended


def _how_it_ended(reference) -> Ended:
    import ray
    from ray.exceptions import RayError, RayTaskError, TaskCancelledError

    try:
        ray.get(reference)
    except TaskCancelledError:
        return Ended("stopped")
    except RayTaskError as error:
        cause = error.cause
        is_ours = isinstance(cause, RunFailedError)
        return Ended("failed", str(cause) if is_ours else one_line(cause, 300))
    except RayError as error:
        return Ended("failed", one_line(error, 300))
    return Ended("done")


def _check_reachable(address: str) -> None:
    """Refuses an address where nobody listens; Ray itself would try for long and say much."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto"
    try:
        socket.create_connection((host, int(port)), timeout=5.0).close()
    except (OSError, OverflowError) as error:
        raise SweepError(
            f"--ray_address={show(address)}: nobody answers ({one_line(error)}); start the "
            "cluster with `ray start --head`, or leave the flag out for this machine alone"
        ) from error
