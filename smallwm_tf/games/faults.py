"""Games that are at fault themselves: what is wrong, where in their code, and what mends it.

This module imports no TensorFlow.
"""

import traceback
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from smallwm_tf.experiment.experiment import Game
from smallwm_tf.experiment.messages import printable, show

_NOT_THE_GAMES = (Path(__file__).resolve().parents[1], Path(gymnasium.__file__).resolve().parent)


class GameFaultError(RuntimeError):
    """The environment broke its contract. One line: which game, which field, what value."""


class UnsuitableGameError(ValueError):
    """The environment has no pixels or no discrete actions. One line, with the wrapper to take."""


def does_not_repeat(game: Game, what: str) -> GameFaultError:
    """An error to raise for a game that cannot be resumed."""
    return GameFaultError(
        f"game {game.name}: does not repeat itself: the same seed and actions give another {what} "
        "than before, so that no run can be resumed; begin reset() with super().reset(seed=seed), "
        "draw all random numbers from self.np_random, and keep nothing from earlier episodes"
    )


def mend(what: str, error: BaseException) -> str:
    """ "mend the environment (own_game.py, line 12)", or the package that it lacks."""
    for cause in _chain(error):
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            return f"install what it needs: python -m pip install {cause.name.split('.')[0]}"
        if isinstance(cause, gymnasium.error.DependencyNotInstalled):
            return "install what it needs"  # the error says what
    place = _place_of(error)
    return f"mend {what}{f' ({place})' if place else ''}"


def refuse_unsuitable(game: Game, observations: Any, actions: Any) -> None:
    """Refuses spaces that do not fit, with the wrapper that makes them fit.

    Raises:
        UnsuitableGameError: No pixels, or no discrete actions.
    """
    if problem := _problem_of_observations(observations):
        raise UnsuitableGameError(
            f"game={game.gymnasium_id}: observations must be uint8 pixels, [height, width], "
            f"[height, width, 1] or [height, width, 3], not {show(observations)}; register it "
            f"with {problem} (docs/own_game.md)"
        )
    if not isinstance(actions, gymnasium.spaces.Discrete):
        raise UnsuitableGameError(
            f"game={game.gymnasium_id}: actions must be Discrete, not {show(actions)}; register it "
            "with gymnasium.wrappers.TransformAction around it (docs/own_game.md)"
        )


def _problem_of_observations(space: Any) -> str:
    """The wrapper that turns observations of a space into pixels; empty if they are."""
    shape = tuple(getattr(space, "shape", None) or ())
    if isinstance(space, gymnasium.spaces.Dict):
        return "a gymnasium.ObservationWrapper that returns the entry with the pixels"
    is_image = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))
    if not isinstance(space, gymnasium.spaces.Box) or len(shape) < 2 or 0 in shape:
        return "gymnasium.wrappers.AddRenderObservation around it"
    if not is_image and len(shape) == 3 and shape[0] in (1, 3):
        return "a wrapper that moves the channels last"
    if not is_image:
        return "a wrapper that returns one grey or RGB picture"
    if space.dtype != np.uint8:
        return "a wrapper that scales them to whole numbers from 0 to 255"
    return ""


def _chain(error: BaseException | None):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _place_of(error: BaseException) -> str:
    """Where in the game's own code an error arose: "own_game.py, line 12"; empty if not there."""
    for cause in _chain(error):
        if isinstance(cause, SyntaxError) and cause.filename:
            return printable(f"{Path(cause.filename).name}, line {cause.lineno}")
        frames = [
            frame
            for frame in traceback.extract_tb(cause.__traceback__)
            if not frame.filename.startswith("<")
            and not any(Path(frame.filename).is_relative_to(path) for path in _NOT_THE_GAMES)
            and "importlib" not in Path(frame.filename).parts
        ]
        own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
        if own:
            return printable(f"{Path(own[-1].filename).name}, line {own[-1].lineno}")
    return ""
