"""All commands by one name: ``python -m smallwm_tf <command> [flags]``, or ``smallwm_tf``."""

import difflib
import runpy
import sys

import smallwm_tf
from smallwm_tf import _environment
from smallwm_tf.cli.errors import refuse
from smallwm_tf.cli.streams import prepare_streams, put_or_refuse

COMMANDS = {
    "train": "trains an agent, or continues a run",
    "evaluate": "scores a trained agent in the real game",
    "dream": "shows a world model's dreams beside reality",
    "play": "opens a dream in the browser, the real game beside it",
    "export": "writes a trained agent as SavedModels",
    "sweep": "trains many games, seeds and presets side by side",
    "report": "compares runs with each other and the paper",
    "doctor": "says whether everything runs here, and what mends it",
}


def main() -> None:
    """Passes the command line on to the command that it names."""
    name, *words = sys.argv[1:] or ["--help"]
    if name in ("--version", "-V"):
        _show(f"smallwm_tf {smallwm_tf.__version__}")
    elif name in ("--help", "-h", "help"):
        _show(
            "python -m smallwm_tf <command> [flags]; each command has --help\n",
            *(f"  {command:<10} {meaning}" for command, meaning in COMMANDS.items()),
            "\n  --version  prints the version",
        )
    elif name in COMMANDS:
        _environment.pin(for_command=True)
        sys.argv = [f"smallwm_tf.{name}", *words]
        runpy.run_module(f"smallwm_tf.{name}", run_name="__main__", alter_sys=True)
    else:
        near = difflib.get_close_matches(name[:80], COMMANDS, n=1) or COMMANDS
        refuse(f"{ascii(name[:80])}: no such command; try {', '.join(near)}", "smallwm_tf")


def _show(*lines: str) -> None:
    prepare_streams()
    put_or_refuse("smallwm_tf", *lines)


if __name__ == "__main__":
    main()
