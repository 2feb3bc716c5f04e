"""How fast everything is: ``python -m benchmarks.throughput --peer``.

Each row holds the medians of contestants that run in turn (A B A B …) in one process, so that
ratios hold even when the machine's speed drifts: ours in float32 and bfloat16 and, with ``--peer``,
a PyTorch build of the same networks in both, plain and compiled. For the peer, install PyTorch
after this package, since TF-Agents holds a library back: ``pip install torch==2.13.0``.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

from absl import app, flags

import smallwm_tf  # noqa: F401  (chooses Keras 2)

FLAGS = flags.FLAGS
PRECISIONS = ("float32", "bfloat16")
flags.DEFINE_bool("peer", False, "run the PyTorch peer beside ours")
flags.DEFINE_bool("compile", True, "let torch.compile compile a second peer")
flags.DEFINE_multi_enum("precision", list(PRECISIONS), PRECISIONS, "precisions to measure")
flags.DEFINE_multi_integer("frames", [4], "stacked frames F to measure")
flags.DEFINE_integer("dreams", 64, "dreams side by side")
flags.DEFINE_integer("windows", 16, "windows in a batch of the dynamics")
flags.DEFINE_string("work", "", "measure only what has this in its name")
flags.DEFINE_integer("repetitions", 7, "turns per median")
flags.DEFINE_enum("device", "cpu", ("cpu", "gpu"), "where to measure")
flags.DEFINE_string("json_out", "", "file for machine and rows as JSON")
flags.DEFINE_string("profile", "", "directory for a TensorFlow profiler trace of ours")
flags.DEFINE_bool("games", True, "also the real game, the start of a run and its memory")


def main(_) -> None:
    import tensorflow as tf

    from benchmarks.machine import describe_machine

    if FLAGS.device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    elif not tf.config.list_physical_devices("GPU"):
        sys.exit(
            "--device=gpu: TensorFlow finds no GPU; install tensorflow[and-cuda], or leave it out"
        )
    machine, rows = describe_machine(), []
    print(json.dumps(machine))
    for frames in FLAGS.frames:
        rows += _rows(frames)
    if FLAGS.games:
        rows += _game_rows()
    after = describe_machine()["gflops"]
    print(
        "\n" + "\n".join(map(_line, rows)) + f"\nGFLOP/s before {machine['gflops']}, after {after}"
    )
    if FLAGS.json_out:
        with open(FLAGS.json_out, "w", encoding="utf-8") as file:
            json.dump({"machine": machine, "gflops_after": after, "rows": rows}, file, indent=1)


def _rows(frames: int) -> list[dict]:
    from benchmarks.timing import medians

    contestants = _contestants(frames)
    rows = []
    for i, work in enumerate(next(iter(contestants.values()))):
        if FLAGS.work in work.name:
            calls = [works[i].call for works in contestants.values()]
            seconds = dict(zip(contestants, medians(calls, FLAGS.repetitions), strict=True))
            rates = {name: work.amount / each for name, each in seconds.items()}
            rows.append(_row(work.name, frames, work.unit, rates))
            print(_line(rows[-1]), flush=True)
    if FLAGS.profile:
        _profile(work for works in contestants.values() for work in works)
    return rows


def _contestants(frames: int) -> dict[str, list]:
    """Lists of the same pieces of work by who does them."""
    from benchmarks.workloads import OurWorkloads, random_data
    from smallwm_tf.experiment.config import build_config

    data, contestants = random_data(), {}
    sizes = {
        "game.num_stacked_frames": frames,
        "dream.num_dreams": FLAGS.dreams,
        "dynamics.windows_per_batch": FLAGS.windows,
    }
    for precision in FLAGS.precision:
        ours = OurWorkloads(build_config({**sizes, "precision": precision}), data)
        contestants[f"ours {precision}"] = ours.all()
    if FLAGS.peer:
        from benchmarks.peer_workloads import peer_workloads

        device = {"cpu": "cpu", "gpu": "cuda"}[FLAGS.device]
        for precision in FLAGS.precision:
            for compiled in (False, True) if FLAGS.compile else (False,):
                name = f"{'compiled ' if compiled else ''}PyTorch {precision}"
                contestants[name] = peer_workloads(ours, data, compiled, precision, device)
    return contestants


def _row(work: str, frames: int, unit: str, rates: dict[str, float]) -> dict:
    """A row with the ratios that matter: ours to the best peer, and bfloat16 to float32."""
    ratios = {}
    for precision in PRECISIONS:
        peers = [rate for name, rate in rates.items() if name.endswith(f"PyTorch {precision}")]
        if peers and f"ours {precision}" in rates:
            ratios[f"{precision} to PyTorch"] = rates[f"ours {precision}"] / max(peers)
    if all(f"ours {precision}" in rates for precision in PRECISIONS):
        ratios["bfloat16 to float32"] = rates["ours bfloat16"] / rates["ours float32"]
    rounded = {name: round(rate, 3) for name, rate in rates.items()}
    ratios = {name: round(ratio, 3) for name, ratio in ratios.items()}
    return {"work": work, "frames": frames, "unit": unit, "rates": rounded, "ratios": ratios}


def _line(row: dict) -> str:
    frames = f"F={row['frames']}" if row["frames"] else ""
    rates = ", ".join(f"{name} {rate:,.1f}" for name, rate in row["rates"].items())
    ratios = ", ".join(f"{name} {ratio:.2f}×" for name, ratio in row["ratios"].items())
    return f"{row['work']} {frames} [{row['unit']}]: {rates}" + (f" | {ratios}" if ratios else "")


def _profile(works) -> None:
    import tensorflow as tf

    with tf.profiler.experimental.Profile(FLAGS.profile):
        for work in works:
            work.call()


def _game_rows() -> list[dict]:
    import numpy as np

    from smallwm_tf.games.game_batch import GameBatch
    from smallwm_tf.games.real_game import RealGame

    game, steps = RealGame("Pong", 1, seed=0), 2000
    game.reset()
    start = time.perf_counter()
    for _ in range(steps):
        game.step(np.int32(0))
    single = steps / (time.perf_counter() - start)
    batch, rounds = GameBatch("Pong", 32, 1, seed=0), 100
    batch.reset()
    start = time.perf_counter()
    for _ in range(rounds):
        batch.step(np.zeros(32, np.int32))
    many = 32 * rounds / (time.perf_counter() - start)
    batch.close()
    return [
        _row("real game, one Pong", 1, "steps/s", {"ours": single}),
        _row("real game, 32 Pongs side by side", 1, "steps/s", {"ours": many}),
        *_start_rows(),
        *_memory_rows(),
    ]


def _start_rows() -> list[dict]:
    """From the command to events of a smoke run, in a process of its own."""
    events = {
        '"vqvae"': "start to first gradient step (smoke)",
        '"evaluate"': "start to first evaluation, all compiled (smoke)",
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "smallwm_tf.train", "--game=Pong", "--config=smoke"]
        command += [f"--run_dir={folder}/run", "--config.logging.interval=1"]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        metrics = pathlib.Path(folder, "run", "metrics.jsonl")
        while events and process.poll() is None:
            time.sleep(0.1)
            written = metrics.read_text(encoding="utf-8") if metrics.exists() else ""
            for event in [event for event in events if event in written]:
                seconds = time.perf_counter() - start
                rows.append(_row(events.pop(event), 1, "seconds", {"ours": seconds}))
        process.kill()
        process.wait()
    return rows


def _memory_rows() -> list[dict]:
    """Peak of full-size runs, each in a process of its own."""
    rows = []
    for frames in FLAGS.frames:
        command = [sys.executable, "-m", "benchmarks.memory", f"--frames={frames}"]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peak = float(printed.rsplit("peak ", 1)[1].split()[0])
        rows.append(_row("peak memory, 102,400 steps", frames, "GiB", {"ours": peak}))
    return rows


if __name__ == "__main__":
    app.run(main)
