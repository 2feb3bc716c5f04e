"""How fast everything is: ``python -m benchmarks.throughput --peer``.

Each row is a median after warm-up. With ``--peer`` a plain PyTorch build of the same networks runs
in turn with ours (A B A B …), so that the ratio holds even when the machine's speed drifts.
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
flags.DEFINE_bool("peer", False, "run the PyTorch peer beside ours")
flags.DEFINE_multi_integer("frames", [1, 4], "stacked frames F to measure")
flags.DEFINE_integer("repetitions", 9, "calls per median")
flags.DEFINE_string("json_out", "", "file for the rows as JSON")
flags.DEFINE_string("profile", "", "directory for a TensorFlow profiler trace of ours")
flags.DEFINE_bool("games", True, "also the real game, the start of a run and its memory")


def main(_) -> None:
    from benchmarks.timing import medians
    from benchmarks.workloads import OurWorkloads, random_data
    from smallwm_tf.experiment.config import build_config
    from smallwm_tf.training.estimate import measure_gemm

    rows = [_row("float32 matrix product", 0, "GFLOP/s", measure_gemm())]
    data = random_data()
    for frames in FLAGS.frames:
        ours = OurWorkloads(build_config({"game.num_stacked_frames": frames}), data)
        works = ours.all()
        if FLAGS.peer:
            from benchmarks.peer_workloads import peer_workloads

            peers = peer_workloads(ours, data)
        for i, work in enumerate(works):
            contestants = [work.call] + ([peers[i].call] if FLAGS.peer else [])
            seconds = medians(contestants, FLAGS.repetitions)
            rates = [work.amount / s for s in seconds]
            rows.append(_row(work.name, frames, work.unit, *rates))
            print(_line(rows[-1]), flush=True)
        if FLAGS.profile:
            _profile(works)
    if FLAGS.games:
        rows += _game_rows()
    rows.append(_row("float32 matrix product", 0, "GFLOP/s", measure_gemm()))
    print("\n" + "\n".join(_line(row) for row in rows))
    if FLAGS.json_out:
        with open(FLAGS.json_out, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


def _row(work: str, frames: int, unit: str, ours: float, peer: float | None = None) -> dict:
    return {
        "work": work,
        "frames": frames,
        "ours": round(ours, 3),
        "peer": None if peer is None else round(peer, 3),
        "ratio": None if peer is None else round(ours / peer, 3),
        "unit": unit,
    }


def _line(row: dict) -> str:
    frames = f"F={row['frames']}" if row["frames"] else ""
    peer = "" if row["peer"] is None else f"{row['peer']:>10,.1f} {row['ratio']:>6.2f}×"
    return f"{row['work']:<50}{frames:<5}{row['ours']:>10,.1f} {row['unit']:<14}{peer}"


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
        _row("real game, one Pong", 1, "steps/s", single),
        _row("real game, 32 Pongs side by side", 1, "steps/s", many),
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
                rows.append(_row(events.pop(event), 1, "seconds", seconds))
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
        rows.append(_row("peak memory, 102,400 steps in the replay", frames, "GiB", peak))
    return rows


if __name__ == "__main__":
    app.run(main)
