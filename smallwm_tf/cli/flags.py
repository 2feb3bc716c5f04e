"""Flags of all commands: one parser, which refuses with one line and takes no shortened names."""

import argparse
import contextlib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from smallwm_tf.cli.errors import CommandLineError, refuse
from smallwm_tf.cli.streams import prepare_streams, put_or_refuse
from smallwm_tf.experiment.messages import nearest_names, show
from smallwm_tf.experiment.settings import Interval

SEEDS = Interval(0, 2**31 - 1)


class CommandParser(argparse.ArgumentParser):
    """An `argparse` parser whose errors are one line that names the flag, its value and the remedy.

    Args:
      command: name of the module behind `smallwm_tf.`.
      description: what the command does, for `--help`.
      epilog: examples, printed as they are.
      usage: replaces the list of all flags at the top of `--help`.
    """

    def __init__(self, command: str, description: str, epilog: str = "", usage: str | None = None):
        super().__init__(
            prog=f"python -m smallwm_tf.{command}",
            description=description,
            epilog=epilog,
            usage=usage,
            allow_abbrev=False,
            add_help=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        prepare_streams()
        words = ("-h", "--help", "--helpfull", "--helpshort")
        self.add_argument(*words, action="help", help="print this text")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """Reads the words of a command line; a mistake ends the program with exit code 2."""
        try:
            return self.read(args)
        except CommandLineError as error:
            refuse(str(error), self.prog.removeprefix("python -m "))

    def read(self, words: Sequence[str] | None = None) -> argparse.Namespace:
        """Reads the words of a command line, by default `sys.argv[1:]`.

        Raises:
          CommandLineError: an unknown flag, one without its value, or one that cannot be used.
        """
        words = sys.argv[1:] if words is None else words
        _check_text(words)
        # One dash or two make no difference.
        words = [re.sub(r"^-(?=[A-Za-z_]{2})", "--", word) for word in words]
        flags, others = self.parse_known_args(words)
        if others:
            flag, _, value = others[0].partition("=")
            if not re.match(r"--?[A-Za-z_]", flag):
                raise CommandLineError(
                    f"{show(others[0])}: is not a flag; flags look like --name=value"
                )
            self.refuse_unknown(flag.lstrip("-"), value)
        return flags

    def refuse_unknown(self, name: str, value: str) -> None:
        """Raises the error for a flag that does not exist, with the nearest that do."""
        near = nearest_names(name, re.findall(r"--([\w.]*\w)", self.format_help()))
        hint = f"nearest: {', '.join(f'--{flag}' for flag in near)}" if near else "see --help"
        raise CommandLineError(f"--{show(name)[1:-1]}: no such flag; {hint}")

    def print_help(self, file: Any = None) -> None:
        """What `argparse` calls for `--help`."""
        self.put(self.format_help())

    def put(self, *lines: str) -> None:
        """Prints lines that were asked for; where that fails the program ends with exit code 2."""
        put_or_refuse(self.prog.removeprefix("python -m "), *lines)

    def error(self, message: str) -> None:
        """What `argparse` calls when it finds a mistake."""
        text = message.removeprefix("argument ").encode("ascii", "backslashreplace").decode()
        flag, is_missing, _ = text.partition(": expected one argument")
        if is_missing:
            raise CommandLineError(f"{flag}: its value is missing; write {flag}=value")
        raise CommandLineError(f"{text[:400]}; see --help")

    def add_number(
        self, flag: str, kind: type, allowed: Interval, meaning: str, **options: Any
    ) -> None:
        """Adds a flag for a number within an interval."""
        self.add_argument(flag, type=number(kind, allowed), help=meaning, **options)

    def add_agent_flags(self) -> None:
        """Adds `--run_dir` and `--export`, one of which names the agent, and how to open it."""
        which, add = self.add_mutually_exclusive_group(required=True), self.add_argument
        which.add_argument("--run_dir", type=Path, metavar="DIR", help="a run, e.g. runs/Pong-…")
        which.add_argument(
            "--export",
            type=Path,
            metavar="DIR",
            help="of `smallwm_tf.export`; it "
            "is a program: its operations are looked at, but load those of people whom you trust",
        )
        add("--unfinished", action="store_true", help="take the newest checkpoint of a run that "
            "is not finished")  # fmt: skip
        self.add_game_flag()
        self.add_number("--seed", int, SEEDS, "of games and draws (default: the run's)")

    def add_game_flag(self) -> None:
        """Adds `--game`, which need not be given but for games of one's own."""
        meaning = "refuse an agent of another game; games of your own are named as in training"
        self.add_argument("--game", help=f"{meaning}, module:Id: a run never says what to import")


def _check_text(words: Sequence[str]) -> None:
    """Refuses what no file name or value can hold, and "--", which means nothing here."""
    before = ""  # the flag whose value the next word may be
    for word in words:
        flag, equals, value = word.partition("=") if word[:1] == "-" else (before, "=", word)
        problem = "holds a null character" if "\0" in word else ""
        if word.encode("utf-8", "ignore").decode() != word:
            problem = "is not valid UTF-8"
        if problem:
            shown = f"{show(flag)[1:-1]}=" if flag else ""
            raise CommandLineError(f"{shown}{show(value)}: {problem}; write it without")
        if "--" in (flag, value):
            raise CommandLineError(f"{show(word)}: is neither a flag nor a value; leave it out")
        before = "" if equals else flag


def number(kind: type[int] | type[float], allowed: Interval) -> Callable[[str], float]:
    """A type for flags: numbers within an interval."""

    def read(text: str) -> float:
        with contextlib.suppress(ValueError):
            if text.isascii() and kind(text) in allowed:
                return kind(text)
        name = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"{show(text)} must be {name} in {allowed}")

    return read
