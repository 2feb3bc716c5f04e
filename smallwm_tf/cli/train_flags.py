"""The command line of training: a preset, then single settings, checked before any work.

Every mistake ends with exit code 2 and one line that names the flag or key, the value and the
remedy. Nothing is written and TensorFlow is not imported, so a mistake is told at once.
"""

import argparse
import functools
import re
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from smallwm_tf.cli.errors import CommandLineError, problem_of_place, refuse
from smallwm_tf.cli.flags import SEEDS, CommandParser, number
from smallwm_tf.cli.threads import set_threads
from smallwm_tf.experiment.config import ConfigError, expected, find_field, validate
from smallwm_tf.experiment.experiment import Experiment, default_run_dir
from smallwm_tf.experiment.messages import show
from smallwm_tf.experiment.presets import DEFAULT_PRESET, load_preset, preset_names
from smallwm_tf.experiment.settings import FIELDS, Field, Interval
from smallwm_tf.experiment.switches import SWITCHES
from smallwm_tf.games.catalogue import UnknownGameError, list_games, resolve_game

PROGRAM = "smallwm_tf.train"


class TrainFlags(NamedTuple):
    """What the command line of training asks for, all of it valid."""

    experiment: Experiment
    dry_run: bool  # print the sizes and stop
    json: bool  # print them as JSON


def parse_train_flags(argv: list[str]) -> TrainFlags:
    """Reads the command line of `smallwm_tf.train`.

    Args:
        argv: `sys.argv`, the program's name first.

    Raises:
        SystemExit: With code 2 after one line on stderr, or with code 0 after `--help`.
    """
    try:
        return read_train_flags(argv)
    except (CommandLineError, ConfigError, UnknownGameError) as error:
        refuse(str(error), PROGRAM)


def read_train_flags(argv: list[str]) -> TrainFlags:
    """As `parse_train_flags`, but raises instead of ending the program.

    Raises:
        CommandLineError: A flag is unknown, lacks its value, or cannot be used.
        ConfigError: A setting or the preset cannot be used.
        UnknownGameError: The game cannot be played.
        SystemExit: With code 0 after `--help` or `--game=list`.
    """
    parser = _TrainParser()
    flags = parser.read(argv[1:])
    if flags.game == "list":
        parser.put(*list_games())
        raise SystemExit(0)
    preset, config = load_preset(flags.config)
    given = {key: value for key, value in vars(flags).items() if value is not None}
    for field in FIELDS:
        if f"config.{field.key}" in given:
            config.update_from_flattened_dict({field.key: given[f"config.{field.key}"]})
    config.deterministic = given.get("deterministic", config.deterministic)
    validate(config)
    if flags.json and not flags.dry_run:
        raise CommandLineError("--json: only together with --dry_run")
    if flags.game is None:
        raise CommandLineError("--game: is missing; for instance --game=Pong or --game=Catch")
    game = resolve_game(flags.game)
    run_dir = given.get("run_dir", default_run_dir(game, preset, flags.seed))
    path = _read_run_dir(run_dir, will_write=not flags.dry_run)
    frozen = ml_collections.FrozenConfigDict(config)
    experiment = Experiment(game, frozen, flags.seed, path, preset)
    if flags.threads:
        set_threads(flags.threads)
    return TrainFlags(experiment, bool(flags.dry_run), bool(flags.json))


class _TrainParser(CommandParser):
    """Knows one flag for each setting, `--config.<key>`."""

    def __init__(self) -> None:
        super().__init__(
            "train",
            "Trains an agent, or continues a run.",
            _describe_settings(),
            "python -m smallwm_tf.train --game=<game> [flags]",
        )
        add = self.add_argument
        add(
            "--game",
            help="what to play: a game of the paper's Table 4, Catch, or a Gymnasium id; "
            "list: names them all",
        )
        add("--config", default=DEFAULT_PRESET,
            help=f"preset: a name or a Python file (default {DEFAULT_PRESET})")  # fmt: skip
        add("--seed", type=number(int, SEEDS), default=0,
            help="source of all random numbers (default 0)")  # fmt: skip
        add("--run_dir", help="where all is kept (default runs/<game>-<preset>-seed<seed>)")
        add("--threads", type=number(int, Interval(1, 4096)),
            help="threads of TensorFlow (default: cores that this process may use)")  # fmt: skip
        self._add_switch("deterministic", "use only operations that repeat bit for bit")
        self._add_switch("dry_run", "print sizes, memory and expected time, then stop")
        self._add_switch("json", "with --dry_run: print them as one line of JSON")
        for field in FIELDS:
            if isinstance(field.default, bool):
                self._add_switch(f"config.{field.key}")
            else:
                read = functools.partial(_read_value, field)
                add(f"--config.{field.key}", type=read, help=argparse.SUPPRESS)

    def _add_switch(self, name: str, meaning: str = argparse.SUPPRESS) -> None:
        """A flag that is true without a value, and its opposite."""
        self.add_argument(
            f"--{name}", type=_read_switch, nargs="?", const=True, metavar="true", help=meaning
        )
        self.add_argument(
            f"--no{name}", dest=name, action="store_const", const=False, help=argparse.SUPPRESS
        )

    def refuse_unknown(self, name: str, value: str) -> None:
        """Raises the error for a flag that does not exist, with the nearest that do."""
        prefix, is_setting, key = name.partition("config.")
        if is_setting and prefix in ("", "no"):
            find_field(key, value)
        super().refuse_unknown(name, value)


def _read_value(field: Field, text: str) -> Any:
    """A setting's value from a flag's text; its range is checked later."""
    kind = type(field.default)
    try:
        if kind is tuple:  # "(1, 2)", "[1, 2]" or "1, 2"
            inner = re.fullmatch(r"\((.*)\)|\[(.*)\]|([^()\[\]]*)", text.strip())
            entries = (inner[inner.lastindex] if inner else text).strip().removesuffix(",")
            return tuple(int(entry) for entry in entries.split(",")) if entries else ()
        return kind(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{show(text)} must be {expected(field)}") from error


def _read_switch(text: str) -> bool:
    if text.lower() not in ("true", "t", "1", "false", "f", "0"):
        raise argparse.ArgumentTypeError(f"{show(text)} must be true or false")
    return text.lower() in ("true", "t", "1")


def _read_run_dir(text: str, will_write: bool) -> Path:
    """A path at which a directory exists or can be made; makes nothing."""
    shown = f"--run_dir={show(text)}"
    if not text.strip():
        raise CommandLineError(f"{shown}: is empty; leave the flag out for the default")
    try:
        path = Path(text).expanduser()
        if problem := problem_of_place(path, will_write):
            raise CommandLineError(f"{shown}: {problem}")
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CommandLineError(f"{shown}: cannot be used ({reason})") from error
    return path


def _describe_settings() -> str:
    """The part of `--help` about presets and settings."""
    lines = ["--config.<key>=<value> replaces one setting of the preset.", ""]
    lines += [f"Presets: {', '.join(preset_names())}"]
    lines += textwrap.wrap(
        f"Switches to add, as in quick+predicted_ends: {', '.join(SWITCHES)}", 98
    )
    lines += ["", "Settings, their defaults and ranges:"]
    for field in FIELDS:
        unit = f" {field.unit}" if field.unit else ""
        lines.append(f"  --config.{field.key}={field.default}{unit} in {field.allowed_text()}")
        lines += textwrap.wrap(f"{field.meaning} [{field.source}]", 92, initial_indent="      ")
    return "\n".join(lines)
