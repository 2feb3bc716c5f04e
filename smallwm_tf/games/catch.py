"""Catch: a pixel game small enough to learn in minutes, with dynamics known exactly.

The field is 96 x 96 pixels, six columns of 16 pixels. A ball of 16 x 16 pixels starts at the
top of one column and falls 8 pixels a step; a paddle of 16 x 16 pixels in the bottom row stays
or moves one column a step. After eight steps the ball lies just above the paddle's row: +1 if
the paddle is below it, -1 if not. Then the ball is gone; the paddle can be moved for four more
steps and the episode ends.

    step        0   1   2  ...  7   8   9  10  11  12
    ball top    0   8  16      56  64   -   -   -   -     [pixels from the top]
    reward              0           +-1  0   0   0   0    (end)

The four quiet steps exist for the dream, which knows no ends (paper, section 3): a world model
that has seen what follows a landing dreams an empty field there instead of something it was
never taught.

Shapes lie on the 16-pixel lattice of the 6 x 6 code. The columns of ball and paddle are drawn
independently and uniformly at reset, everything after is deterministic, so any policy that
does not look at the ball catches one in six: mean return exactly -2/3. Looking always suffices
for +1: the farthest column is five moves away and there are eight.
"""

from typing import Any

import gymnasium
import numpy as np

FIELD_SIZE = 96  # pixels
CELL_SIZE = 16  # pixels: ball, paddle and one move of the paddle
NUM_COLUMNS = FIELD_SIZE // CELL_SIZE
FALL_SPEED = 8  # pixels per step
PADDLE_TOP = FIELD_SIZE - CELL_SIZE
STEPS_TO_LAND = (PADDLE_TOP - CELL_SIZE) // FALL_SPEED
STEPS_AFTER_LANDING = 4
EPISODE_STEPS = STEPS_TO_LAND + STEPS_AFTER_LANDING

# Greys away from 0 and 255: there the density of a continuous Bernoulli grows without bound, and a
# VQ-VAE that trains for a minute or two pays for a misplaced ball with a spike of its loss.
FIELD_GREY = 48
PADDLE_GREY = 128
BALL_GREY = 208

STAY, LEFT, RIGHT = 0, 1, 2
_COLUMN_CHANGE = (0, -1, 1)


class Catch(gymnasium.Env):
    """A ball falls, a paddle catches it.

    Observation: uint8 [96, 96], 48 empty, 128 paddle, 208 ball. Action: 0 stay, 1 left,
    2 right; at a wall the paddle stays. Reward: +1 caught, -1 missed, else 0.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}

    def __init__(self, render_mode: str | None = None):
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(0, 255, (FIELD_SIZE, FIELD_SIZE), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(3)
        self._ball_column = self._paddle_column = self._step_number = 0

    def get_action_meanings(self) -> list[str]:
        """Names of the actions, in order."""
        return ["STAY", "LEFT", "RIGHT"]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Draws the columns of ball and paddle; returns the first frame and an empty dict."""
        super().reset(seed=seed)
        columns = self.np_random.integers(NUM_COLUMNS, size=2)
        self._ball_column, self._paddle_column = columns.tolist()
        self._step_number = 0
        return self._draw(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Moves the paddle, then the ball; see the module's table for the time line."""
        if not self.action_space.contains(action):
            raise ValueError(f"action={action!r} must be 0 (stay), 1 (left) or 2 (right)")
        column = self._paddle_column + _COLUMN_CHANGE[int(action)]
        self._paddle_column = min(max(column, 0), NUM_COLUMNS - 1)
        self._step_number += 1
        reward = 0.0
        if self._step_number == STEPS_TO_LAND:
            reward = 1.0 if self._paddle_column == self._ball_column else -1.0
        terminated = self._step_number >= EPISODE_STEPS
        return self._draw(), reward, terminated, False, {}

    def render(self) -> np.ndarray | None:
        """The present frame as uint8 [96, 96, 3] if `render_mode` is "rgb_array"."""
        if self.render_mode != "rgb_array":
            return None
        return np.repeat(self._draw()[:, :, np.newaxis], 3, axis=2)

    def _draw(self) -> np.ndarray:
        frame = np.full((FIELD_SIZE, FIELD_SIZE), FIELD_GREY, np.uint8)
        left = self._paddle_column * CELL_SIZE
        frame[PADDLE_TOP:, left : left + CELL_SIZE] = PADDLE_GREY
        if self._step_number <= STEPS_TO_LAND:
            top, left = self._step_number * FALL_SPEED, self._ball_column * CELL_SIZE
            frame[top : top + CELL_SIZE, left : left + CELL_SIZE] = BALL_GREY
        return frame
