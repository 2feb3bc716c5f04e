"""Whether a game repeats itself, tried before a run begins; no TensorFlow here.

A run goes on after an interruption by playing the actions of the running episode again (see
`GymnasiumSource`). A game that does not repeat itself would be found out only then, hours later.
"""

import time

import numpy as np

from smallwm_tf.experiment.numbers import counted
from smallwm_tf.games.catalogue import Game
from smallwm_tf.games.faults import does_not_repeat
from smallwm_tf.games.frame_source import GymnasiumSource, Step

_STEPS = 200
_SECONDS = 2.0  # of slow games
_FIELDS = ("frame", "reward", "terminated", "truncated")


def check_repeats(game: Game) -> None:
    """Plays some episodes twice, in two copies of the game, as a resumed run does.

    In one of them an episode was played before: what an episode shows must not depend on earlier
    ones. Atari games pass without being played, since their emulator is saved as it is.

    Raises:
        GameFaultError: Something differs, or the game fails; one line with what, and the remedy.
        UnknownGameError, UnsuitableGameError: It cannot be opened, or played; one line.
    """
    if game.is_atari:
        return
    played = GymnasiumSource(game, seed=0)
    again = GymnasiumSource(game, seed=1)
    try:
        actions = np.random.default_rng(0).integers(len(played.action_meanings), size=_STEPS)
        played.reset()
        for action in actions[:20]:
            if _is_over(played.step(int(action))):
                break
        played.reset()
        again.set_state(played.get_state())
        end = time.monotonic() + _SECONDS
        for number, action in enumerate(actions, 1):
            step, other = played.step(int(action)), again.step(int(action))
            for field in _FIELDS:
                if not np.array_equal(getattr(step, field), getattr(other, field)):
                    raise does_not_repeat(game, f"{field} after {counted(number, 'step')}")
            if _is_over(step) and not np.array_equal(played.reset(), again.reset()):
                raise does_not_repeat(game, "first frame")
            if time.monotonic() > end:
                break
    finally:
        played.close()
        again.close()


def _is_over(step: Step) -> bool:
    return step.terminated or step.truncated
