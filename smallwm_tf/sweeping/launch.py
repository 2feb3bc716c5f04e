"""Becomes another program that ends with its parent: `python -m smallwm_tf.sweeping.launch PID …`.

The kernel sends SIGTERM when the parent ends, however that happens, and training then saves and
stops. Only Linux can do this; elsewhere a run whose worker was killed goes on to its end, and
whoever continues it waits for its lock.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>; it survives exec


def main() -> None:
    """Takes the parent's process number, then arguments of Python."""
    parent, *words = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it had ended before the kernel was asked
        raise SystemExit(128 + signal.SIGTERM)
    os.execv(sys.executable, [sys.executable, *words])


if __name__ == "__main__":
    main()
