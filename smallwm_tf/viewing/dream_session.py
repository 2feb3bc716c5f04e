"""One dream that is played step by step, and everything that there is to see of it.

The real game goes along from the same start with the same actions, whether it is shown or not:

    step           0        1          2          …
    dream codes    z_0      ẑ_1        ẑ_2             z_0 encodes the start's observation
    actions           a_0      a_1                     of the person or of the agent
    rewards           r̂_0      r̂_1                     drawn, and the mean
    real game      x_0      x_1        x_2

Every draw is a function of (seed, start, step): the same actions from the same start give the same
dream, so what an overwritten code changes is due to the code alone.

Shapes: K embeddings, M actions, F stacked frames, S starts.
"""

import base64
import io
import math
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from smallwm_tf.agents.networks import PolicyOutput
from smallwm_tf.deployment.trained_agent import TrainedAgent, require_world_model
from smallwm_tf.experiment.randomness import seed_pair
from smallwm_tf.figures.code_colours import colours_of_codes
from smallwm_tf.games.opening import open_game
from smallwm_tf.judging.open_loop import pictures_of
from smallwm_tf.judging.promise import find_starts
from smallwm_tf.models.bilinear_algorithms import GRID_SIZE
from smallwm_tf.models.imagination import Dreamer, DreamSettings, DreamStep
from smallwm_tf.models.policy import NO_ACTION, PolicyObservation, draw_actions
from smallwm_tf.viewing.real_beside import RealBeside, difference_picture

MODES = ("dream", "beside")
_MOST_COLOURS = 1024  # then they repeat


class DreamSession:
    """A dream under way. Not safe for several threads at once.

    Args:
      agent: out of a run, or of an export with a world model.
      temperature: divides the logits of drawn codes; None takes ``dynamics.temperature``.
      num_starts: S, moments of the real game at which dreams begin.
      interval: real steps from one start to the next.

    Raises:
      RunError: the agent has no world model.
    """

    def __init__(
        self,
        agent: TrainedAgent,
        temperature: float | None = None,
        num_starts: int = 16,
        interval: int = 25,
    ):
        require_world_model(agent)
        experiment, config = agent.experiment, agent.config
        self._agent, self._seed = agent, experiment.seed
        self._policy_temperature = config.evaluation.temperature
        self.game_name = experiment.game.name
        self.action_meanings = agent.action_meanings
        self.num_embeddings = config.vqvae.num_embeddings
        self.num_starts = num_starts
        self._game = open_game(experiment, "play")
        self._game.reset()
        player, path = agent.agent(), (self._seed, "play", "starts")
        past = config.dream.context_steps
        self._starts = find_starts(self._game, player, num_starts, interval, path, past)
        settings = DreamSettings.of(config)._replace(rewards="sampled")
        if temperature is not None:
            settings = settings._replace(temperature=temperature)
        self._dreamer = Dreamer(agent.world_model, settings)
        self._real = RealBeside(self._game, agent.encode)
        palette = colours_of_codes(np.arange(min(self.num_embeddings, _MOST_COLOURS)))
        self._palette = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in palette]
        self.mode = MODES[0]
        self.reset(0)

    def close(self) -> None:
        """Frees the game."""
        self._game.close()

    def reset(self, start: int | None = None) -> None:
        """Begins a dream at a moment 0 … S−1; None takes the one after the present one."""
        if start is None:
            start = (self._start + 1) % self.num_starts
        self._check("start", start, self.num_starts)
        self._start, self._step = start, 0
        one = slice(start, start + 1)
        past = tf.nest.map_structure(lambda part: part[one], self._starts.past)
        self._dream = self._dreamer.start(tf.constant(self._starts.observations[one]), past)
        self._codes = self._dream.codes.numpy()
        self._last_action: int | None = None
        self._drawn: DreamStep | None = None
        self._reward_sum = 0.0
        self._overwritten: set[tuple[int, int]] = set()
        self._real.start(self._starts.states[start], self._codes[0])

    def step(self, action: int | None) -> None:
        """Dreams one step with an action 0 … M−1; None lets the agent draw it at the codes."""
        if action is None:
            pair = tf.constant(seed_pair(self._seed, "play", self._start, "actions"))
            logits = self._policy().logits
            action = int(draw_actions(logits, self._policy_temperature, pair, self._step)[0])
        self._check("action", action, len(self.action_meanings))
        pair = tf.constant(seed_pair(self._seed, "play", self._start, self._step))
        dream = self._dream._replace(codes=tf.constant(self._codes))
        self._drawn, self._dream = self._dreamer.step(dream, tf.constant([action]), pair)
        self._codes = self._drawn.codes.numpy()
        self._reward_sum += float(self._drawn.rewards[0])
        self._last_action = action
        self._overwritten = set()
        self._step += 1
        self._real.step(action, self._codes[0])

    def overwrite(self, row: int, column: int, index: int) -> None:
        """Replaces the code at a row and column, 0 … 5, by 0 … K−1; the recurrent state stays."""
        self._check("row", row, GRID_SIZE)
        self._check("column", column, GRID_SIZE)
        self._check("index", index, self.num_embeddings)
        self._codes[0, row, column] = index
        self._overwritten.add((row, column))
        self._real.compare_again(self._codes[0])

    def set_mode(self, mode: str) -> None:
        """Shows the dream alone, or the real game beside it."""
        if mode not in MODES:
            raise ValueError(f"mode={mode!r} must be {' or '.join(MODES)}")
        self.mode = mode

    def view(self) -> dict[str, Any]:
        """What there is to see now, as JSON values; pictures are PNG files in base64.

        ``entropies``, in nats, are those of the distribution that the present codes were drawn
        from. They and the rewards are None before the first step; ``real`` is None in the mode
        "dream".
        """
        logits, values = self._policy()
        shares = tf.nn.softmax(logits[0] / self._policy_temperature)
        frame = pictures_of(self._agent.world_model, tf.constant(self._codes))[0]  # [96, 96]
        codes = self._codes[0]
        return {
            "game": self.game_name,
            "step": self._step,
            "start": self._start,
            "num_starts": self.num_starts,
            "mode": self.mode,
            "actions": list(self.action_meanings),
            "last_action": self._last_action,
            "frame": _png(frame),
            "codes": codes.tolist(),
            "colours": self._colours(codes),
            "overwritten": sorted(map(list, self._overwritten)),
            "palette": self._palette,
            "num_embeddings": self.num_embeddings,
            "entropies": self._entropies(),
            "max_entropy": math.log(self.num_embeddings),
            "reward": {**self._rewards(), "sum": self._reward_sum},
            "policy": {"probabilities": shares.numpy().tolist(), "value": float(values[0])},
            "real": self._view_real(frame) if self.mode == "beside" else None,
        }

    def _policy(self) -> PolicyOutput:
        last_action = NO_ACTION if self._last_action is None else self._last_action
        hidden = self._agent.world_model.visible(self._dream.recurrent)
        seen = PolicyObservation(self._codes, np.array([last_action], np.int32), hidden)
        return self._agent.policy_of(seen)

    def _entropies(self) -> list[list[float]] | None:
        if self._drawn is None:
            return None
        drawn, temperature = self._drawn, self._dreamer.settings.temperature
        entropies = drawn.code_distribution.entropy(drawn.codes, temperature)
        return entropies.numpy()[0].tolist()

    def _rewards(self) -> dict[str, Any]:
        if self._drawn is None:
            return dict.fromkeys(("drawn", "expected", "probabilities"))
        distribution = self._drawn.reward_distribution
        return {
            "drawn": float(self._drawn.rewards[0]),
            "expected": float(distribution.mean()[0]),
            "probabilities": distribution.probabilities().numpy()[0].tolist(),
        }

    def _view_real(self, dreamed: np.ndarray) -> dict[str, Any]:
        real = self._real
        return real.view() | {
            "frame": _png(real.frame),
            "difference": _png(difference_picture(dreamed, real.frame)),
            "colours": self._colours(real.codes),
        }

    def _colours(self, codes: np.ndarray) -> list[list[str]]:
        count = len(self._palette)
        return [[self._palette[index % count] for index in row] for row in codes]

    @staticmethod
    def _check(name: str, value: int, count: int) -> None:
        if not 0 <= value < count:
            raise ValueError(f"{name}={value} must be from 0 to {count - 1}")


def _png(picture: np.ndarray) -> str:
    """uint8 [96, 96] or [96, 96, 3] → base64."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return base64.b64encode(file.getvalue()).decode("ascii")
