"""Names the machine that a benchmark ran on."""

import os
import platform
import re
from pathlib import Path

import tensorflow as tf

from smallwm_tf.training.estimate import measure_gemm

_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def describe_machine() -> dict[str, object]:
    """Processor, caches, instruction sets that matter here, and what they give right now."""
    about = Path("/proc/cpuinfo").read_text(errors="replace") if Path("/proc").exists() else ""
    model = re.search(r"model name\s*: (.*)", about)
    flags = set(about.split())
    caches = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"))
    gpus = tf.config.list_physical_devices("GPU")
    return {
        "processor": model.group(1) if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "instructions": [name for name in _INSTRUCTIONS if name in flags],
        "caches": [f"L{_read(c, 'level')} {_read(c, 'type')} {_read(c, 'size')}" for c in caches],
        "gpus": [tf.config.experimental.get_device_details(gpu) for gpu in gpus],
        "gflops": {name: round(measure_gemm(name)) for name in ("float32", "bfloat16")},
        "tensorflow": tf.__version__,
    }


def _read(folder: Path, name: str) -> str:
    return (folder / name).read_text().strip()
