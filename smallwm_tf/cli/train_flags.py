"""The command line of training: flags, presets and overrides, checked before any work.

Every mistake ends with exit code 2 and one line that names the flag or key, the value and the
remedy. Nothing is written and TensorFlow is not imported, so a mistake is told at once.
"""

import contextlib
import os
import re
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple, NoReturn

import ml_collections
from absl import flags
from ml_collections import config_flags

from smallwm_tf.experiment import config as settings
from smallwm_tf.experiment.config import ConfigError
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.presets import DEFAULT_PRESET, load_preset, preset_names
from smallwm_tf.games.catalogue import UnknownGameError, resolve_game

_LARGEST_SEED = 2**31 - 1
PROGRAM = "smallwm_tf.train"
_FLAGS = {  # flag -> meaning; those without "=" take no value
    "game=": "what to play: a game of the paper's Table 4, Catch, or a Gymnasium id (required)",
    "config=": f"preset: a name or the path of a Python file (default {DEFAULT_PRESET})",
    "seed=": "source of all random numbers, 0 to 2147483647 (default 0)",
    "run_dir=": "where everything is kept (default runs/<game>-<preset>-seed<seed>)",
    "deterministic": "let TensorFlow use only operations that repeat bit for bit (in smoke: yes)",
    "dry_run": "print sizes, memory and expected time, then stop",
    "json": "with --dry_run: print them as one line of JSON",
    "help": "print this text",
}
_WITH_VALUE = tuple(name[:-1] for name in _FLAGS if name.endswith("="))
_WITHOUT_VALUE = tuple(name for name in _FLAGS if not name.endswith("="))


class CommandLineError(ValueError):
    """A flag that cannot be used; the message is one line."""


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
        refuse(str(error))


def refuse(message: str, program: str = PROGRAM) -> NoReturn:
    """Ends the program with one line on stderr and exit code 2."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr is closed
        print(f"{program}: error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    raise SystemExit(2)


def read_train_flags(argv: list[str]) -> TrainFlags:
    """As `parse_train_flags`, but raises instead of ending the program.

    Raises:
        CommandLineError: A flag is unknown, lacks its value, or cannot be used.
        ConfigError: A setting or the preset cannot be used.
        UnknownGameError: The game cannot be played.
        SystemExit: With code 0 after `--help`.
    """
    given = _split(argv[1:])
    if any(name == "help" for name, _ in given):
        _print_help()
        raise SystemExit(0)
    presets = [value for name, value in given if name == "config"]
    preset, config = load_preset(presets[-1] if presets else DEFAULT_PRESET)
    values = _parse(argv[0], [pair for pair in given if pair[0] != "config"], config)
    settings.validate(config)
    if values.json and not values.dry_run:
        raise CommandLineError("--json: only together with --dry_run")
    seed = _read_seed(values.seed)
    if values.game is None:
        raise CommandLineError("--game: is missing; for instance --game=Pong or --game=Catch")
    game = resolve_game(values.game)
    default_run_dir = f"runs/{game.name}-{preset}-seed{seed}"
    run_dir = default_run_dir if values.run_dir is None else values.run_dir
    run_dir = _read_run_dir(run_dir, will_write=not values.dry_run)
    frozen = ml_collections.FrozenConfigDict(config)
    experiment = Experiment(game, frozen, seed, run_dir, preset)
    return TrainFlags(experiment, values.dry_run, values.json)


def _split(words: list[str]) -> list[tuple[str, str | None]]:
    """Cuts the words into (flag, value); absl and ml_collections then see only "--flag=value".

    Both of them guess where a value stands apart from its flag, and absl has flags of its own
    that read further files or hide unknown names; none of this happens here.
    """
    given: list[tuple[str, str | None]] = []
    waiting = iter(words)
    for word in waiting:
        flag, has_value, value = word.partition("=")
        _check_text(flag)
        if not re.match(r"--?[A-Za-z_]", flag):
            raise CommandLineError(
                f"{settings.show(word)}: is not a flag; flags look like --name=value"
            )
        name, takes_value = _check_name(flag.lstrip("-"), value)
        if takes_value and not has_value:
            value = next(waiting, "--")
            if value.startswith("-") and not re.match(r"-\.?\d", value):
                raise CommandLineError(f"--{name}: its value is missing; write --{name}=value")
        elif has_value and name == "help":
            raise CommandLineError("--help: takes no value")
        _check_text(value, f"--{name}=")
        given.append((name, value if takes_value or has_value else None))
    return given


def _check_text(text: str, flag: str = "") -> None:
    """Refuses what no file name or value can hold; `flag` is shown before it, whole."""
    problem = "holds a null character" if "\0" in text else ""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        problem = "is not valid UTF-8"
    if problem:
        raise CommandLineError(f"{flag}{settings.show(text)}: {problem}; write it without")


def _check_name(name: str, value: str) -> tuple[str, bool]:
    """Returns the flag's name and whether it takes a value."""
    if name in ("h", "helpfull", "helpshort"):
        return "help", False
    if name in _WITH_VALUE:
        return name, True
    if name.removeprefix("no") in _WITHOUT_VALUE and name != "nohelp":
        return name, False
    if name.startswith("noconfig."):
        field = settings.find_field(name.removeprefix("noconfig."))
        if isinstance(field.default, bool):
            return name, False
    elif name.startswith("config."):
        field = settings.find_field(name.removeprefix("config."), value)
        return name, not isinstance(field.default, bool)
    known = [*_WITH_VALUE, *_WITHOUT_VALUE, *(f"config.{key}" for key in settings.FIELD_OF_KEY)]
    near = settings.nearest_names(name, known)
    hint = f"nearest: {', '.join(f'--{flag}' for flag in near)}" if near else "see --help"
    raise CommandLineError(f"--{settings.show(name)[1:-1]}: no such flag; {hint}")


def _parse(
    program: str, given: list[tuple[str, str | None]], config: ml_collections.ConfigDict
) -> flags.FlagValues:
    """Lets absl and ml_collections read the values; overrides are written into `config`."""
    arguments = [program]
    arguments += [f"--{name}" if value is None else f"--{name}={value}" for name, value in given]
    values = flags.FlagValues()
    for name, meaning in _FLAGS.items():
        if name.endswith("=") and name != "config=":
            flags.DEFINE_string(name[:-1], None, meaning, flag_values=values)
        elif name in ("dry_run", "json"):
            flags.DEFINE_boolean(name, False, meaning, flag_values=values)
        elif name == "deterministic":  # None: as the preset has it
            flags.DEFINE_boolean(name, None, meaning, flag_values=values)
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=arguments)
        values(arguments)
    except (flags.Error, ValueError, TypeError) as error:
        raise _explain(error, given) from error
    config.update(values.config)  # the flag holds a copy
    if values.deterministic is not None:
        config.deterministic = values.deterministic
    return values


def _explain(error: Exception, given: list[tuple[str, str | None]]) -> Exception:
    """Turns absl's complaint about a value into one that says what is expected."""
    match = re.search(r"flag --(?:no)?([\w.]+)[=:]", str(error))
    name = match.group(1) if match else ""
    value = next((value for flag, value in reversed(given) if flag.removeprefix("no") == name), "")
    if name.startswith("config."):
        field = settings.find_field(name.removeprefix("config."))
        return ConfigError(field.key, value, f"must be {settings.expected(field)}")
    if name in _WITHOUT_VALUE:
        return CommandLineError(f"--{name}={settings.show(value)}: must be true or false")
    return CommandLineError(f"{type(error).__name__}: {error}"[:300])


def _read_seed(text: str | None) -> int:
    if text is None:
        return 0
    if re.fullmatch(r"[0-9]{1,10}", text) and int(text) <= _LARGEST_SEED:
        return int(text)
    raise CommandLineError(
        f"--seed={settings.show(text)}: must be an integer from 0 to {_LARGEST_SEED}"
    )


def _read_run_dir(text: str, will_write: bool) -> Path:
    """A path at which a directory exists or can be made; makes nothing."""
    shown = f"--run_dir={settings.show(text)}"
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


def problem_of_place(path: Path, will_write: bool = True) -> str:
    """Why no directory can be at `path` or be made there, and the remedy; empty if one can."""
    wanted = existing = path.absolute()
    while not os.path.lexists(existing):
        existing = existing.parent
    place = "" if existing == wanted else f"{settings.show(str(existing))[1:-1]} "
    if not existing.is_dir():
        return f"{place}is not a directory; name another one"
    if will_write and not os.access(existing, os.W_OK | os.X_OK):
        return f"{place}cannot be written to; make it writable or name another one"
    return ""


def _print_help() -> None:
    lines = ["python -m smallwm_tf.train --game=<game> [flags]", ""]
    for name, meaning in _FLAGS.items():
        flag = f"--{name}<value>" if name.endswith("=") else f"--{name}"
        lines.append(f"  {flag:<18} {meaning}")
    lines += [f"  {'--config.<key>=<value>':<22} replace one setting of the preset", ""]
    lines += [f"Presets: {', '.join(preset_names())}", "", "Settings, their defaults and ranges:"]
    for field in settings.FIELDS:
        allowed = f" in {field.allowed}" if field.allowed else ""
        unit = f" {field.unit}" if field.unit else ""
        lines.append(f"  --config.{field.key}={field.default}{unit}{allowed}")
        lines += textwrap.wrap(f"{field.meaning} [{field.source}]", 92, initial_indent="      ")
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stdout is closed
        print("\n".join(lines), flush=True)
