"""Trains many agents side by side: ``python -m smallwm_tf.sweep --games=Pong,Alien --out=DIR``."""

import argparse
import contextlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from smallwm_tf.cli.errors import one_line_errors, problem_of_place, refuse
from smallwm_tf.cli.flags import CommandParser, number
from smallwm_tf.cli.streams import put, results_alone
from smallwm_tf.experiment.messages import printable, show
from smallwm_tf.experiment.numbers import counted
from smallwm_tf.experiment.presets import DEFAULT_PRESET
from smallwm_tf.experiment.settings import Interval
from smallwm_tf.runs.stop_request import StopRequest
from smallwm_tf.sweeping import SweepError, cluster
from smallwm_tf.sweeping.estimate import estimate_sweep, measure
from smallwm_tf.sweeping.planning import PlannedRun, check_run_directories, plan_runs, read_games
from smallwm_tf.sweeping.progress import ProgressReader
from smallwm_tf.sweeping.table import Display, Row, duration
from smallwm_tf.sweeping.task import Job, environment_of_run, log_of

_PROGRAM = "smallwm_tf.sweep"
_EXAMPLES = """
examples:
  python -m smallwm_tf.sweep --games=Pong,Alien --seeds=5 --configs=quick --out=runs/first
  python -m smallwm_tf.sweep --games=atari26 --configs=atari100k --out=/shared/runs --dry_run
  python -m smallwm_tf.sweep --games=atari36 --out=/shared/runs --ray_address=auto

The same command continues a sweep and repeats no run that is done: one whose scores.json has the
evaluation after the last iteration. docs/sweeps.md has clusters and Slurm.
"""


def main() -> None:
    """Reads the command line and carries the sweep out; exit code 1 if a run has failed."""
    flags = _parse(sys.argv[1:])
    with one_line_errors(_PROGRAM), results_alone(flags.json):
        try:
            runs = _plan(flags)
            rows = _dry_run(flags, runs) if flags.dry_run else _carry_out(flags, runs)
        except SweepError as error:
            refuse(str(error), _PROGRAM)
    failed = [row for row in rows if row.progress.state == "failed"]
    for row in failed:
        run_dir = row.experiment.run_dir
        with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr is closed
            line = f"{run_dir} failed: {row.message} ({log_of(run_dir)})"
            print(printable(f"{_PROGRAM}: {line}"), file=sys.stderr)
    raise SystemExit(1 if failed else 0)


def _plan(flags: argparse.Namespace) -> list[PlannedRun]:
    """All runs, done or not, after everything that can be refused at once was looked at."""
    games = read_games(flags.games)
    out = Path(os.path.abspath(flags.out.expanduser()))
    runs = plan_runs(games, flags.seeds, flags.configs, out)
    for place in (out, *dict.fromkeys(run.experiment.run_dir.parent for run in runs)):
        if problem := problem_of_place(place, will_write=not flags.dry_run):
            raise SweepError(f"--out={show(str(flags.out))}: {problem}")
    check_run_directories(runs)
    return runs


def _carry_out(flags: argparse.Namespace, runs: list[PlannedRun]) -> list[Row]:
    display = Display(sys.stdout)  # with --json that is standard error
    reader = ProgressReader()
    rows = [Row(run.experiment, reader.read(run.experiment)) for run in runs]
    environment = environment_of_run(flags.threads_per_run, flags.gpus_per_run)
    jobs = [
        Job(
            run_dir=str(run.experiment.run_dir),
            words=run.words(),
            num_iterations=run.experiment.config.collection.num_iterations,
            environment=environment,
            folder=os.getcwd(),
        )
        for run, row in zip(runs, rows, strict=True)
        if row.progress.state != "done"
    ]
    if not jobs:
        what = "the run is" if len(runs) == 1 else f"all {len(runs)} runs are"
        display.say(f"{what} done; nothing to do")
        _print_outcome(flags, rows)
        return rows
    share = _share(flags)
    with cluster.connected(flags.ray_address):
        if not cluster.places_for_runs(share):
            problem = (
                f"--cpus_per_run={share.cpus:g} --gpus_per_run={share.gpus:g}: no machine has that"
            )
            if flags.ray_address == cluster.LOCAL:
                raise SweepError(f"{problem}; give less, or name a cluster with --ray_address")
            display.say(f"note: {problem} now; waiting for one that has")

        def watch(ended: dict[str, cluster.Ended]) -> None:
            rows[:] = [_look(row, reader, ended) for row in rows]
            display.show(rows)

        with StopRequest("stopping the runs, each saves first") as stop:
            cluster.carry_out(jobs, share, flags.retries, stop, watch)
    if stop.signal_name:
        display.say(f"{stop.signal_name}: stopped; the same command goes on")
    _print_outcome(flags, rows)
    return rows


def _look(row: Row, reader: ProgressReader, ended: dict[str, cluster.Ended]) -> Row:
    """The row as it is now."""
    if row.progress.state == "done":
        return row
    progress = reader.read(row.experiment)
    end = ended.get(str(row.experiment.run_dir))
    if end is None or progress.state == "done":
        return Row(row.experiment, progress)
    if end.state == "done":
        message = "it is done, but not to be seen here; --out must be shared by all machines"
        return Row(row.experiment, progress._replace(state="failed"), message)
    return Row(row.experiment, progress._replace(state=end.state), end.message)


def _dry_run(flags: argparse.Namespace, runs: list[PlannedRun]) -> list[Row]:
    """Prints what is still to be done and what it will take; writes nothing."""
    reader, share = ProgressReader(), _share(flags)
    rows = [Row(run.experiment, reader.read(run.experiment)) for run in runs]
    to_do = [run for run, row in zip(runs, rows, strict=True) if row.progress.state != "done"]
    if flags.ray_address == cluster.LOCAL:
        places = int(cluster.cores_here() / share.cpus)
    else:
        with cluster.connected(flags.ray_address):
            places = max(1, cluster.places_for_runs(share))
    environment = environment_of_run(flags.threads_per_run, flags.gpus_per_run)
    one_of = {run.experiment.preset: run for run in reversed(to_do)}
    estimates = {preset: measure(run, environment) for preset, run in one_of.items()}
    whole = estimate_sweep(to_do, estimates, places)
    if flags.json:
        put(json.dumps(_as_json(flags, rows) | whole))
        return rows
    for preset, each in estimates.items():
        count = sum(run.experiment.preset == preset for run in to_do)
        put(
            f"{preset}: {counted(count, 'run')} of about {duration(each.seconds)}, "
            f"{each.memory_bytes / 1e9:.1f} GB of memory, {each.disk_bytes / 1e9:.1f} GB of disk"
        )
    put(
        f"{counted(len(runs), 'run')}, {len(to_do)} to do, {whole['runs_at_once']} at a time: "
        f"about {whole['hours']:.1f} hours, {whole['memory_bytes'] / 1e9:.1f} GB of memory, "
        f"{whole['disk_bytes'] / 1e9:.1f} GB of disk ({_free_disk(flags.out) / 1e9:.0f} GB are "
        "free); measured alone on this machine"
    )
    return rows


def _share(flags: argparse.Namespace) -> cluster.Share:
    share = cluster.Share(flags.cpus_per_run, flags.gpus_per_run)
    if flags.ray_address == cluster.LOCAL:
        cluster.check_share(share)
    return share


def _print_outcome(flags: argparse.Namespace, rows: list[Row]) -> None:
    if flags.json:
        put(json.dumps(_as_json(flags, rows)))


def _as_json(flags: argparse.Namespace, rows: list[Row]) -> dict[str, Any]:
    runs = [
        {
            "game": row.experiment.game.name,
            "seed": row.experiment.seed,
            "config": row.experiment.preset,
            "run_dir": str(row.experiment.run_dir),
            "state": row.progress.state,
            "score": row.progress.score,
            "message": row.message,
        }
        for row in rows
    ]
    return {"out": str(flags.out), "runs": runs}


def _free_disk(place: Path) -> int:
    existing = place.expanduser().absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free


def _parse(words: list[str]) -> argparse.Namespace:
    parser = CommandParser("sweep", "Trains many agents side by side, on Ray.", _EXAMPLES)
    add, cores = parser.add_argument, Interval(0, 4096, open_low=True)
    # fmt: off
    add("--games", required=True, metavar="NAMES", help="names with commas; atari26: the games of "
        "the Atari 100k benchmark; atari36: all of the paper's Table 4")
    add("--seeds", type=number(int, Interval(1, 10_000)), default=5,
        help="number of seeds, from 0 (default 5)")
    add("--configs", default=DEFAULT_PRESET, metavar="NAMES",
        help=f"presets with commas: names or Python files (default {DEFAULT_PRESET})")
    add("--out", type=Path, required=True, metavar="DIR",
        help="runs are kept in DIR/<config>/<game>-seed<seed>")
    add("--cpus_per_run", type=number(float, cores), default=1.0,
        help="cores that a run takes (default 1)")
    add("--threads_per_run", type=number(int, Interval(1, 4096)),
        help="threads of a run's process (default: its cores)")
    add("--gpus_per_run", type=number(float, Interval(0, 1)), default=0.0,
        help="share of a GPU that a run takes (default 0: runs see none)")
    add("--retries", type=number(int, Interval(0, 1000)), default=2, help="how often a run is "
        "begun again that fails or whose machine is lost (default 2)")
    add("--ray_address", default=os.environ.get("RAY_ADDRESS") or cluster.LOCAL,
        metavar="ADDRESS", help="a running Ray cluster, or auto to find it (default: RAY_ADDRESS, "
        "else a Ray of its own on this machine)")
    # fmt: on
    add("--dry_run", action="store_true", help="print hours, memory and disk, then stop")
    add("--json", action="store_true", help="print the plan or the outcome as JSON")
    flags = parser.parse_args(words)
    flags.threads_per_run = flags.threads_per_run or max(1, round(flags.cpus_per_run))
    return flags


if __name__ == "__main__":
    main()
