"""What other programs cost a training: ``python -m benchmarks.under_load --cores=1``.

Dynamics steps of 16 windows while busy loops run on the same cores. Fair is the share that as many
equal threads would get: cores / (cores + busy).
"""

import os
import subprocess
import sys
import time

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_integer("cores", 1, "cores that all of them are held to")
flags.DEFINE_multi_integer("busy", [1, 2, 4], "numbers of busy loops")
flags.DEFINE_integer("rounds", 2, "measurements of each")
flags.DEFINE_integer("repetitions", 5, "calls per measurement")


def main(_) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: FLAGS.cores])
    import smallwm_tf  # noqa: F401  (chooses Keras 2)
    from benchmarks.workloads import OurWorkloads, random_data
    from smallwm_tf.experiment.config import build_config

    config = build_config({"game.num_stacked_frames": 1, "dynamics.windows_per_batch": 16})
    works = OurWorkloads(config, random_data()).all()
    call = next(work.call for work in works if "dynamics" in work.name)
    call()  # compiles
    numbers = [0, *FLAGS.busy]
    rates: dict[int, list[float]] = {number: [] for number in numbers}
    seconds: dict[int, list[float]] = {number: [] for number in numbers}
    for _ in range(FLAGS.rounds):
        for number in numbers:
            rate, spent = _measure(call, number)
            rates[number].append(rate)
            seconds[number].append(spent)
    alone = max(rates[0])
    for number in numbers:
        print(
            f"{FLAGS.cores} core(s), {number} busy: {max(rates[number]):.2f} updates/s, "
            f"{max(rates[number]) / alone:.2f} of alone, fair "
            f"{min(1.0, FLAGS.cores / (FLAGS.cores + number)):.2f}, "
            f"{min(seconds[number]):.2f} s of processor per update"
        )


def _measure(call, number: int) -> tuple[float, float]:
    """Updates per second beside busy loops, and seconds of processor per update."""
    loop = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(loop) for _ in range(number)]
    try:
        time.sleep(0.5)
        begun, before = time.perf_counter(), time.process_time()
        for _ in range(FLAGS.repetitions):
            call()
        taken = time.perf_counter() - begun
        return FLAGS.repetitions / taken, (time.process_time() - before) / FLAGS.repetitions
    finally:
        for other in others:
            other.kill()
            other.wait()


if __name__ == "__main__":
    app.run(main)
