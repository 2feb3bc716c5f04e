"""Plays inside the dream of a trained agent: ``python -m smallwm_tf.play --run_dir=…``."""

import argparse
import contextlib
import errno
import logging
import os
import socket
import webbrowser

from smallwm_tf._requirements import is_importable
from smallwm_tf.cli.errors import one_line_errors, refuse
from smallwm_tf.cli.flags import CommandParser
from smallwm_tf.cli.tensorflow_start import load_tensorflow
from smallwm_tf.deployment.looking import look_at_agent
from smallwm_tf.experiment.settings import Interval
from smallwm_tf.runs.progress import say

_COMMAND = "smallwm_tf.play"
_ADDRESS = "127.0.0.1"
_EXAMPLES = """
examples:
  python -m smallwm_tf.play --run_dir=runs/Pong-quick-seed0
  python -m smallwm_tf.play --export=exports/Pong --port=0 --nobrowser

An export needs its world model: smallwm_tf.export … --world_model. Only programs of this machine
can connect. In Colab, run this in a cell first, then the command in the next one:
  from google.colab import output; output.serve_kernel_port_as_iframe(8600, height=800)
"""


def main() -> None:
    """Reads the command line and serves until Ctrl-C."""
    flags = _parse()
    missing = [name for name in ("flask", "werkzeug") if not is_importable(name)]
    if missing:
        remedy = "python -m pip install -e '.[play]' (or: pip install 'flask>=3.0')"
        refuse(f"{' and '.join(missing)}: not installed; run: {remedy}", _COMMAND)
    with contextlib.ExitStack() as opened:
        with one_line_errors(_COMMAND):
            look_at_agent(flags.run_dir, flags.export, flags.unfinished, flags.game)
        listening = opened.enter_context(contextlib.closing(_listen(flags.port)))
        with one_line_errors(_COMMAND):
            load_tensorflow()  # not before: mistakes are told at once

            from smallwm_tf.deployment.opening import open_agent
            from smallwm_tf.viewing.dream_session import DreamSession

            agent = open_agent(flags.run_dir, flags.export, flags.unfinished, flags.game)
            session = DreamSession(agent.with_settings(flags.seed), flags.temperature)
            opened.enter_context(contextlib.closing(session))
        _serve(session, listening, not flags.nobrowser)


def _serve(session, listening: socket.socket, open_browser: bool) -> None:
    """Answers requests until Ctrl-C."""
    from werkzeug.serving import make_server

    from smallwm_tf.viewing.server import make_app

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    port = listening.getsockname()[1]
    server = make_server(_ADDRESS, port, make_app(session), threaded=True, fd=listening.fileno())
    url = f"http://{_ADDRESS}:{port}"
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(server.socket):
        say(f"playing {session.game_name} at {url} — stop with Ctrl-C")
        if open_browser:
            with contextlib.suppress(Exception):
                webbrowser.open(url)
        server.serve_forever()


def _listen(port: int) -> socket.socket:
    """A listening socket, taken before anything heavy is loaded."""
    try:
        return socket.create_server((_ADDRESS, port))
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        problem = "is in use" if in_use else f"cannot be used ({os.strerror(error.errno)})"
        refuse(f"--port={port}: {problem}; name another one, or 0 for any free one", _COMMAND)


def _parse() -> argparse.Namespace:
    parser = CommandParser("play", "Plays inside the dream of a trained agent.", _EXAMPLES)
    parser.add_agent_flags()
    add = parser.add_number
    add("--port", int, Interval(0, 65_535), "default 8600; 0: any free one", default=8600)
    add("--temperature", float, Interval(0, 100, open_low=True),
        "divides the logits of dreamed codes (default: the run's)")  # fmt: skip
    parser.add_argument("--nobrowser", action="store_true", help="open no web browser")
    return parser.parse_args()


if __name__ == "__main__":
    main()
