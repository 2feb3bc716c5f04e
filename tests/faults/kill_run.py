"""Kills training runs at random moments and proves that nothing is lost.

    python -m tests.faults.kill_run --kills=50              the nightly mode, Catch
    python -m tests.faults.kill_run --game=Pong --config=smoke --kills=10

One run is left alone. Another one, with the same command, is killed by SIGKILL at seeded random
moments, in every phase and inside saves, and started again each time until it is finished. Then
everything must be equal to the last bit: all variables and optimiser moments, the emulator's
state, the replay, the scores and the stream of metrics. Victims are begun anew until there were
enough kills. Ends with exit code 1 at the first difference.
"""

import argparse
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
PHASES = ("collect", "learn_world_model", "learn_policy", "evaluate")
SAVE = "save"
_CONTINUING = "continuing with"
#: Small, but with every part that a real run has.
TINY = {
    "deterministic": "true",
    "game.num_stacked_frames": 2,
    "collection.num_iterations": 2,
    "collection.first_iteration_steps": 600,
    "collection.steps_per_iteration": 300,
    "vqvae.warmup_epochs": 1,
    "vqvae.later_epochs": 1,
    "vqvae.update_interval": 3,
    "vqvae.foreground_weight": 5.0,
    "vqvae.batch_size": 20,
    "dynamics.channels": 8,
    "dynamics.window_length": 4,
    "dynamics.context_steps": 2,
    "dynamics.epochs": "(2,1)",
    "dynamics.windows_per_batch": 4,
    "dream.num_dreams": 4,
    "dream.horizon": 3,
    "dream.context_steps": 2,
    "ppo.num_updates": "(30,15)",
    "ppo.check_interval": 10,
    "ppo.final_learning_rate_share": 0.2,
    "dynamics.final_learning_rate_share": 0.2,
    "ppo.minibatch_size": 8,
    "evaluation.num_episodes": 150,
    "inspection.held_out_steps": 200,
    "inspection.num_starts": 8,
    "inspection.horizon": 9,
    "logging.interval": 4,
    "checkpoints.interval": 0.01,
}


class Kill(NamedTuple):
    """Where a run was when it was killed."""

    phase: str
    iteration: int
    inside_save: bool
    seconds: float  # since the process was started


def command(run_dir: pathlib.Path, game: str, config: str, settings: dict[str, Any]) -> list[str]:
    """The command line of a run."""
    flags = [f"--config.{key}={value}" for key, value in settings.items()]
    main = [sys.executable, "-m", "smallwm_tf.train", f"--game={game}", f"--config={config}"]
    return [*main, "--seed=11", f"--run_dir={run_dir}", *flags]


def start(run_dir: pathlib.Path, words: list[str]) -> subprocess.Popen:
    """Starts a run; what it prints goes into a file beside the run."""
    with open(f"{run_dir}.log", "ab") as log:
        return subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=log)


def opening(run_dir: pathlib.Path) -> Callable[[], bool]:
    """Says whether a process that was just started has read what there is of its run."""
    log = pathlib.Path(f"{run_dir}.log")
    if newest_checkpoint(run_dir) is None:
        began, metrics = time.time(), run_dir / "metrics.jsonl"
        return lambda: metrics.exists() and metrics.stat().st_mtime >= began
    before = log.read_text().count(_CONTINUING)
    return lambda: log.read_text().count(_CONTINUING) > before


def phases_done(run_dir: pathlib.Path) -> int:
    """Phases that the newest complete checkpoint has behind it."""
    newest = newest_checkpoint(run_dir)
    try:
        return json.loads((newest / "progress.json").read_text())["phases_done"] if newest else 0
    except FileNotFoundError:  # removed this moment: there is a newer one
        return phases_done(run_dir)


def newest_checkpoint(run_dir: pathlib.Path) -> pathlib.Path | None:
    """The newest complete checkpoint; None if there is none."""
    folder = run_dir / "checkpoints"
    names = [name for name in (os.listdir(folder) if folder.is_dir() else ()) if name.isdigit()]
    return folder / max(names) if names else None


def is_saving(run_dir: pathlib.Path, since: float) -> bool:
    """Whether a checkpoint is half-written that was begun since then (seconds of the epoch)."""
    try:
        return any(
            path.stat().st_ctime >= since for path in (run_dir / "checkpoints").glob(".saving-0*")
        )
    except FileNotFoundError:  # it has just been renamed
        return False


def run_and_kill(
    run_dir: pathlib.Path,
    words: list[str],
    slot: int,
    target: str,
    longest: float,
    chance: random.Random,
    number: int = signal.SIGKILL,
) -> Kill | None:
    """Starts or continues a run and kills it in a phase, or inside a save.

    Args:
      run_dir: of the run.
      words: its command.
      slot: phases that are to be done when it is killed.
      target: name of a phase, or "save": inside the next save after the slot was reached.
      longest: seconds that the phase took in the reference.
      chance: draws the moment.
      number: the signal.

    Returns:
      Where it was; None if it ended before.
    """
    began = time.time()
    process, is_open = start(run_dir, words), opening(run_dir)
    wait = chance.uniform(0.0, 0.5 * longest)  # this run may be faster than the reference
    reached = None
    while process.poll() is None:
        done = phases_done(run_dir)
        if done >= slot and reached is None and is_open():
            reached = time.monotonic()
        if reached is not None:
            waited = time.monotonic() - reached >= wait
            due = is_saving(run_dir, began) if target == SAVE else waited
            if due or done > slot + 1:
                break
        time.sleep(0.0005 if target == SAVE else 0.005)
    else:
        if process.returncode:
            raise SystemExit(f"{run_dir}: ended with exit code {process.returncode}; see its log")
        return None
    process.send_signal(number)
    code = process.wait()
    if number == signal.SIGKILL and code == 0:
        return None  # it had just finished
    done = phases_done(run_dir)
    name = PHASES[done % len(PHASES)]
    inside_save = is_saving(run_dir, began)
    return Kill(name, done // len(PHASES) + 1, inside_save, time.time() - began)


def finish(run_dir: pathlib.Path, words: list[str]) -> None:
    """Runs a run to its end."""
    code = start(run_dir, words).wait()
    if code:
        raise SystemExit(f"{run_dir}: ended with exit code {code}; see {run_dir}.log")


def fingerprint(run_dir: pathlib.Path) -> dict[str, str]:
    """SHA-256 of everything that must not depend on interruptions, by name."""
    import tensorflow as tf

    newest = newest_checkpoint(run_dir)
    parts: dict[str, bytes] = {}
    reader = tf.train.load_checkpoint(str(newest / "variables"))
    for name in sorted(reader.get_variable_to_shape_map()):
        if name not in ("_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter/.ATTRIBUTES/VARIABLE_VALUE"):
            parts[f"variable {name}"] = np.asarray(reader.get_tensor(name)).tobytes()
    with np.load(newest / "arrays.npz", allow_pickle=False) as arrays:
        for name in arrays.files:
            parts[f"state {name}"] = arrays[name].tobytes()
    parts["progress"] = (newest / "progress.json").read_bytes()
    for file in sorted((run_dir / "replay").iterdir()):
        parts[f"replay {file.name}"] = file.read_bytes()
    for name in ("scores.json", "null_policies.json"):
        parts[name] = (run_dir / name).read_bytes()
    for number, line in enumerate((run_dir / "metrics.jsonl").read_text().splitlines()):
        content = json.loads(line)
        content.pop("time")
        content.pop("seconds", None)
        parts[f"metric line {number}"] = json.dumps(content).encode()
    return {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Names of what is not the same."""
    return [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


def durations(run_dir: pathlib.Path) -> dict[str, float]:
    """Seconds of each phase of a finished run, the longest over its iterations."""
    longest: dict[str, float] = {}
    for line in (run_dir / "metrics.jsonl").read_text().splitlines():
        content = json.loads(line)
        if content["event"] == "phase":
            name = content["phase"]
            longest[name] = max(longest.get(name, 0.0), content["seconds"])
    return longest


def kill_until_finished(
    run_dir: pathlib.Path,
    words: list[str],
    num_iterations: int,
    longest: dict[str, float],
    chance: random.Random,
    targets: list[str],
) -> list[Kill]:
    """Kills one run once for each target, in the order in which they come up, then lets it end."""
    kills: list[Kill] = []
    for target in targets:
        done = phases_done(run_dir)
        if done >= num_iterations * len(PHASES):
            break
        slot = done
        if target != SAVE:
            slot += (PHASES.index(target) - done) % len(PHASES)
        kill = run_and_kill(run_dir, words, slot, target, longest.get(target, 0.0), chance)
        if kill is None:
            break
        kills.append(kill)
        where = "inside a save" if kill.inside_save else f"in {kill.phase}"
        print(f"killed {where}, iteration {kill.iteration}, after {kill.seconds:.1f} s", flush=True)
    finish(run_dir, words)
    return kills


def main() -> None:
    """Reads the command line; kills; prints how many kills each phase has survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--game", default="Catch")
    parser.add_argument("--config", default="catch", help="preset")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument(
        "--folder", type=pathlib.Path, help="where the runs go (default: temporary)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting")
    flags = parser.parse_args()
    settings = dict(TINY) if flags.config == "catch" else {"checkpoints.interval": 0.1}
    settings |= dict(pair.split("=", 1) for pair in flags.set)
    chance = random.Random(flags.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = flags.folder or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        reference = folder / "reference"
        began = time.monotonic()
        finish(reference, command(reference, flags.game, flags.config, settings))
        undisturbed = time.monotonic() - began
        expected, longest = fingerprint(reference), durations(reference)
        num_iterations = phases_done(reference) // len(PHASES)
        kills: list[Kill] = []
        victims, lost = 0, 0.0
        while len(kills) < flags.kills:
            victims += 1
            run_dir = folder / f"victim_{victims:03d}"
            words = command(run_dir, flags.game, flags.config, settings)
            targets = [
                target
                for _ in range(num_iterations)
                for phase in PHASES
                for target in [phase] * chance.choice((1, 1, 2)) + [SAVE] * chance.choice((0, 1))
            ][: flags.kills - len(kills)]
            began = time.monotonic()
            kills += kill_until_finished(run_dir, words, num_iterations, longest, chance, targets)
            lost += time.monotonic() - began - undisturbed
            different = differences(expected, fingerprint(run_dir))
            if different:
                shown = ", ".join(different[:5])
                print(f"{run_dir}: {len(different)} parts differ from the reference: {shown}")
                raise SystemExit(1)
        counted = {phase: sum(k.phase == phase for k in kills) for phase in PHASES}
        counted["inside a save"] = sum(kill.inside_save for kill in kills)
        print(
            f"{len(kills)} kills of {victims} runs, all equal to the uninterrupted one: {counted}; "
            f"a run takes {undisturbed:.0f} s, a kill costs {lost / len(kills):.1f} s"
        )


if __name__ == "__main__":
    main()
