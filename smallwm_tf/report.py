"""Compares runs with each other and with the paper: ``python -m smallwm_tf.report --runs=…``."""

import argparse
import sys
from pathlib import Path

from smallwm_tf.cli.errors import one_line_errors, problem_of_place, refuse
from smallwm_tf.cli.flags import CommandParser
from smallwm_tf.cli.streams import put
from smallwm_tf.cli.tensorflow_start import load_matplotlib
from smallwm_tf.experiment.numbers import counted

_COMMAND = "smallwm_tf.report"
_EXAMPLES = """
examples:
  python -m smallwm_tf.report --runs=runs --out=report
  python -m smallwm_tf.report --runs=runs,results/catch,results/null_policies --out=report

Open report.html in a browser; it needs no network. TensorFlow is not loaded.
"""


def main() -> None:
    """Reads the command line and writes the report."""
    flags = _parse(sys.argv[1:])
    if problem := load_matplotlib():
        refuse(problem, _COMMAND)
    try:
        import jinja2  # noqa: F401
        import rliable.library  # noqa: F401, with what it imports itself
    except (ImportError, TypeError) as error:  # the latter: arch 7 with pandas 3
        refuse(
            f"{error}: reports need other packages; run: python -m pip install -e '.[report]' "
            "(or: pip install 'rliable>=1.2' 'pandas<3' 'jinja2>=3.1')",
            _COMMAND,
        )
    with one_line_errors(_COMMAND):
        from smallwm_tf.reporting.contents import gather
        from smallwm_tf.reporting.writing import write_report

        contents = gather(flags.runs, flags.mix)
        written = write_report(contents, flags.out)
        games = sum(len(preset.games) for preset in contents.presets)
        names = ", ".join(preset.preset for preset in contents.presets)
        runs = counted(len(contents.found.runs), "run")
        put(f"{runs}, {counted(games, 'game')} of {names}")
        put(*(f"written: {path}" for path in written))


def _parse(words: list[str]):
    parser = CommandParser("report", "Compares runs with each other and the paper.", _EXAMPLES)
    parser.add_argument(
        "--runs",
        type=_folders,
        required=True,
        metavar="DIR[,DIR...]",
        help="folders that hold run directories, at any depth; null_policies/<game>.json below "
        "them serve runs that have not scored their own",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    parser.add_argument(
        "--mix",
        action="store_true",
        help="let runs of one preset differ in settings and versions; the report says in which",
    )
    flags = parser.parse_args(words)
    for folder in flags.runs:
        if not folder.is_dir():
            problem = "is not a directory" if folder.exists() else "no such directory"
            refuse(f"--runs={folder}: {problem}; name one that holds run directories", _COMMAND)
    if problem := problem_of_place(flags.out):
        refuse(f"--out={flags.out}: {problem}", _COMMAND)
    return flags


def _folders(text: str) -> list[Path]:
    if not all(text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r}: a name between commas is empty")
    return [Path(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
