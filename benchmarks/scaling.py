"""How rates change with batch sizes and cores: ``python -m benchmarks.scaling --out=docs/scaling``.

Writes ``<out>.json`` and ``<out>.png``. Every number of cores runs in processes of its own, in
turn, so that a drift of the machine's speed meets all of them.
"""

import json
import os
import subprocess
import sys

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("out", "scaling", "files to write, without ending")
flags.DEFINE_multi_integer("cores", [1, 2], "numbers of cores")
flags.DEFINE_multi_integer("dreams", [16, 64, 256], "numbers of dreams side by side")
flags.DEFINE_multi_integer("windows", [4, 16, 64], "windows per batch")
flags.DEFINE_integer("rounds", 2, "processes per number of cores")
flags.DEFINE_integer("repetitions", 5, "calls per median")
flags.DEFINE_integer("measure", 0, "internal: measure here on this many cores")

ROLLOUT, DYNAMICS = "dream rollout", "dynamics training"


def main(_) -> None:
    if FLAGS.measure:
        _measure(FLAGS.measure)
        return
    found: dict[tuple, list[float]] = {}
    for _ in range(FLAGS.rounds):
        for cores in FLAGS.cores:
            command = [sys.executable, "-m", "benchmarks.scaling", *sys.argv[1:]]
            lines = subprocess.run(
                [*command, f"--measure={cores}"], check=True, stdout=subprocess.PIPE, text=True
            ).stdout.splitlines()
            for row in (json.loads(line) for line in lines if line.startswith("{")):
                key = (row["work"], row["size"], row["cores"])
                found.setdefault(key, []).append(row["rate"])
    rows = [
        {"work": work, "size": size, "cores": cores, "rate": round(sum(rates) / len(rates), 1)}
        for (work, size, cores), rates in sorted(found.items())
    ]
    with open(f"{FLAGS.out}.json", "w", encoding="utf-8") as file:
        json.dump(rows, file, indent=1)
    _plot(rows, f"{FLAGS.out}.png")
    for row in rows:
        print(f"{row['work']:<20}{row['size']:>5} on {row['cores']} core(s) {row['rate']:>9,.0f}/s")


def _measure(cores: int) -> None:
    """Prints one JSON line per size; TensorFlow takes as many threads as the process has cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    import smallwm_tf  # noqa: F401  (chooses Keras 2)
    from benchmarks.timing import medians
    from benchmarks.workloads import OurWorkloads, random_data
    from smallwm_tf.experiment.config import build_config

    data = random_data()
    sizes = [(ROLLOUT, "dream.num_dreams", "rollout", size) for size in FLAGS.dreams]
    sizes += [(DYNAMICS, "dynamics.windows_per_batch", "dynamics", size) for size in FLAGS.windows]
    for name, key, part, size in sizes:
        config = build_config({"game.num_stacked_frames": 1, key: size})
        work = next(w for w in OurWorkloads(config, data).all() if part in w.name)
        rate = work.amount / medians([work.call], FLAGS.repetitions)[0]
        print(json.dumps({"work": name, "size": size, "cores": cores, "rate": rate}), flush=True)


def _plot(rows: list[dict], path: str) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    labels = ((ROLLOUT, "dreams side by side", "steps/s"), (DYNAMICS, "windows", "transitions/s"))
    for axis, (work, size_label, unit) in zip(axes, labels, strict=True):
        for cores in FLAGS.cores:
            chosen = [row for row in rows if row["work"] == work and row["cores"] == cores]
            axis.plot(
                [row["size"] for row in chosen],
                [row["rate"] for row in chosen],
                marker="o",
                label=f"{cores} core{'s' if cores > 1 else ''}",
            )
        axis.set(title=work, xlabel=size_label, ylabel=unit, xscale="log")
        axis.set_xticks(sorted({row["size"] for row in rows if row["work"] == work}))
        axis.get_xaxis().set_major_formatter("{x:.0f}")
        axis.minorticks_off()
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    app.run(main)
