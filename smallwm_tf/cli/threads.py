"""How many threads TensorFlow starts: as many as there are cores that this process may use.

TensorFlow itself counts the cores of the affinity mask (`taskset`, Slurm) and not the quota of a
control group, which containers are held to: with 2 of 64 cores its 64 threads would wait for each
other, and be stopped together once the quota is used up. Standard library only.
"""

import contextlib
import math
import os
from pathlib import Path, PurePosixPath

_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
_VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def set_threads(count: int) -> None:
    """Sets the number of TensorFlow's threads for this process, before it is loaded."""
    os.environ.update(dict.fromkeys(_VARIABLES, str(count)))


def limit_threads() -> None:
    """As many as the control group allows, where that is less; variables of the user stay."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return
    quota = quota_of(_CONTROL_GROUPS, _OWN_GROUPS)
    if quota is not None and (allowed := max(1, math.ceil(quota))) < cores:
        for name in _VARIABLES:
            os.environ.setdefault(name, str(allowed))


def quota_of(root: Path, own: Path) -> float | None:
    """Cores that the tightest of this process's control groups leaves it; None if none does."""
    found: list[float] = []
    with contextlib.suppress(OSError, ValueError):
        for line in own.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            places = [PurePosixPath(group), *PurePosixPath(group).parents]
            if not controllers:  # version 2
                found += [_version_2(root, place) for place in places]
            elif "cpu" in controllers.split(","):
                found += [_version_1(root / "cpu", place) for place in places]
    return min((quota for quota in found if quota > 0.0), default=None)


def _version_2(root: Path, group: PurePosixPath) -> float:
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        most, period = (root / str(group).lstrip("/") / "cpu.max").read_text().split()
        return float(most) / float(period)  # "max" is no number: there is no limit
    return 0.0


def _version_1(root: Path, group: PurePosixPath) -> float:
    folder = root / str(group).lstrip("/")
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        most = float((folder / "cpu.cfs_quota_us").read_text())
        return most / float((folder / "cpu.cfs_period_us").read_text())
    return 0.0
