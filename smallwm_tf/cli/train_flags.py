"""The command line of training: a preset, then single settings, checked before any work.

Every mistake ends with exit code 2 and one line that names the flag or key, the value and the
remedy. Nothing is written and TensorFlow is not imported, so a mistake is told at once.
"""

import argparse
import os
import re
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from smallwm_tf.cli.errors import CommandLineError, problem_of_place, refuse
from smallwm_tf.cli.flags import CommandParser
from smallwm_tf.experiment.config import ConfigError, expected, find_field, validate
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.messages import show
from smallwm_tf.experiment.presets import DEFAULT_PRESET, load_preset, preset_names
from smallwm_tf.experiment.settings import FIELDS, Field
from smallwm_tf.games.catalogue import UnknownGameError, resolve_game

PROGRAM = "smallwm_tf.train"
_LARGEST_SEED = 2**31 - 1
_SWITCH_VALUES = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


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
        SystemExit: With code 0 after `--help`.
    """
    flags = vars(_TrainParser().read(argv[1:]))
    given = {name: text for name, text in flags.items() if text is not None}
    preset, config = load_preset(given.get("config", DEFAULT_PRESET))
    for field in FIELDS:
        if f"config.{field.key}" in given:
            value = _read_value(field, given[f"config.{field.key}"])
            config.update_from_flattened_dict({field.key: value})
    switches = {
        name: _read_switch(name, given[name])
        for name in ("deterministic", "dry_run", "json")
        if name in given
    }
    config.deterministic = switches.get("deterministic", config.deterministic)
    validate(config)
    dry_run, as_json = switches.get("dry_run", False), switches.get("json", False)
    if as_json and not dry_run:
        raise CommandLineError("--json: only together with --dry_run")
    seed = _read_seed(given.get("seed", "0"))
    if "game" not in given:
        raise CommandLineError("--game: is missing; for instance --game=Pong or --game=Catch")
    game = resolve_game(given["game"])
    run_dir = given.get("run_dir", f"runs/{game.name}-{preset}-seed{seed}")
    path = _read_run_dir(run_dir, will_write=not dry_run)
    frozen = ml_collections.FrozenConfigDict(config)
    return TrainFlags(Experiment(game, frozen, seed, path, preset), dry_run, as_json)


class _TrainParser(CommandParser):
    """Cuts a command line into flags and their texts; knows one flag for each setting."""

    def __init__(self) -> None:
        super().__init__(
            "train",
            "Trains an agent, or continues a run.",
            _describe_settings(),
            "python -m smallwm_tf.train --game=<game> [flags]",
        )
        add = self.add_argument
        add("--game", help="what to play: a game of the paper's Table 4, Catch, or a Gymnasium id")
        add("--config", help=f"preset: a name or a Python file (default {DEFAULT_PRESET})")
        add("--seed", help=f"source of all random numbers, 0 to {_LARGEST_SEED} (default 0)")
        add("--run_dir", help="where all is kept (default runs/<game>-<preset>-seed<seed>)")
        self._add_switch("deterministic", "use only operations that repeat bit for bit")
        self._add_switch("dry_run", "print sizes, memory and expected time, then stop")
        self._add_switch("json", "with --dry_run: print them as one line of JSON")
        for field in FIELDS:
            if isinstance(field.default, bool):
                self._add_switch(f"config.{field.key}")
            else:
                add(f"--config.{field.key}", help=argparse.SUPPRESS)

    def _add_switch(self, name: str, meaning: str = argparse.SUPPRESS) -> None:
        """A flag that is true without a value, and its opposite."""
        self.add_argument(f"--{name}", nargs="?", const="true", metavar="true", help=meaning)
        self.add_argument(
            f"--no{name}", dest=name, action="store_const", const="false", help=argparse.SUPPRESS
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
        return _SWITCH_VALUES[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError) as error:
        raise ConfigError(field.key, text, f"must be {expected(field)}") from error


def _read_switch(name: str, text: str) -> bool:
    if text.lower() not in _SWITCH_VALUES:
        raise CommandLineError(f"--{name}={show(text)}: must be true or false")
    return _SWITCH_VALUES[text.lower()]


def _read_seed(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,10}", text) and int(text) <= _LARGEST_SEED:
        return int(text)
    raise CommandLineError(f"--seed={show(text)}: must be an integer from 0 to {_LARGEST_SEED}")


def _read_run_dir(text: str, will_write: bool) -> Path:
    """A path at which a directory exists or can be made; makes nothing."""
    shown = f"--run_dir={show(text)}"
    if not text.strip():
        raise CommandLineError(f"{shown}: is empty; leave the flag out for the default")
    try:
        path = Path(text).expanduser()
        if problem := problem_of_place(path, will_write):
            raise CommandLineError(f"{shown}: {problem}")
        if max(map(len, map(os.fsencode, path.parts))) > 255:
            raise CommandLineError(f"{shown}: a name of more than 255 bytes")
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CommandLineError(f"{shown}: cannot be used ({reason})") from error
    return path


def _describe_settings() -> str:
    """The part of `--help` about presets and settings."""
    lines = ["--config.<key>=<value> replaces one setting of the preset.", ""]
    lines += [f"Presets: {', '.join(preset_names())}", "", "Settings, their defaults and ranges:"]
    for field in FIELDS:
        unit = f" {field.unit}" if field.unit else ""
        lines.append(f"  --config.{field.key}={field.default}{unit} in {field.allowed_text()}")
        lines += textwrap.wrap(f"{field.meaning} [{field.source}]", 92, initial_indent="      ")
    return "\n".join(lines)
