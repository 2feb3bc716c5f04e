"""Trained agents for programs."""

from pathlib import Path

from smallwm_tf.deployment import opening
from smallwm_tf.deployment.trained_agent import TrainedAgent
from smallwm_tf.games.catalogue import resolve_game


def load_run(path: Path | str, unfinished: bool = False, game: str | None = None) -> TrainedAgent:
    """The agent of a run, from its newest checkpoint that verifies; nothing on disk changes.

    Args:
        path: The run directory.
        unfinished: Take a run that has not come to its end, once it has trained a policy.
        game: Needed for games of your own ("module:Id-v0"): nothing that a run directory says is
            ever imported.

    Raises:
        RunError: There is no run, it is damaged, unfinished, or of another game; one line.
        UnknownGameError: No game has this name.
    """
    return opening.load_run(path, unfinished, game=resolve_game(game) if game else None)


def load_export(path: Path | str, game: str | None = None) -> TrainedAgent:
    """The agent of an export, with its world model if that was exported.

    An export is a program: load those of people whom you trust.

    Args:
        path: The export's directory.
        game: As for `load_run`.

    Raises:
        RunError: There is no export, it is damaged, or of another game; one line.
        UnknownGameError: No game has this name.
    """
    return opening.load_export(path, resolve_game(game) if game else None)
