"""Where a whole run stands and when it will end, for people: a guess that becomes better.

What a kind of phase takes is what the finished ones took, in proportion to their work. Before one
was finished its work is priced at the rates below, learning as much faster or slower as it was so
far.
"""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from smallwm_tf.experiment.config import Config
from smallwm_tf.experiment.machine import cores_here
from smallwm_tf.experiment.schedule import collection_steps, total_steps
from smallwm_tf.models.execution import execution_of

# Seconds of one unit, with four stacked frames, on two cores (docs/performance.md).
_REAL_STEP = 0.005
_STEP_OF_MANY = 0.002  # of one game of many
_FRAME = 0.006  # the VQ-VAE trains on it
_FRAME_IN_BLOCKS = 0.012  # the same on processors with AVX2 and no more
_TRANSITION = 0.0036  # the dynamics train on it
_DREAM_STEP = 0.0012  # the policy trains on it
_EPISODE_STEPS = 500

# Times as long as with 128 channels of a ConvLSTM and independent codes (docs/details.md).
_CHANNELS_EXPONENT = 1.4  # of their share of 128
_CELLS = {"st_lstm": 2.0, "causal_lstm": 3.2}
_CODE_HEADS = {"autoregressive": 1.37, "masked": 1.53}
_POLICY_SHARE = 0.3  # of a dream step with 128 channels; the rest is the dynamics'

_LEARNING = "learn"  # how names of phases begin whose speed says something of the machine's
_LEAST_SECONDS = 0.5  # of a phase
_DAY = 86_400.0


class Outlook:
    """Where a run stands.

    Args:
      config: of the run.
      phases: names of the phases of an iteration.
      lines: of the run's metrics; its phases are the events "phase".
    """

    def __init__(
        self, config: Config, phases: Sequence[str], lines: Iterable[Mapping[str, Any]] = ()
    ):
        num_iterations = config.collection.num_iterations
        self._names = list(phases) * num_iterations
        self._priced = [
            _price(config, name, 1 + place // len(phases)) for place, name in enumerate(self._names)
        ]
        self._took: dict[int, float] = {}
        for line in lines:
            if line["event"] == "phase" and isinstance(line.get("seconds"), int | float):
                self.finish(line["step"], line["seconds"])
        self._present, self._began, self._percent = 0, time.monotonic(), 0

    def begin(self, position: int, seconds: float = 0.0) -> None:
        """Notes that a phase goes on that has taken some seconds already."""
        self._present, self._began = position, time.monotonic() - seconds

    def finish(self, position: int, seconds: float) -> None:
        """Notes what a phase took."""
        if position < len(self._names):
            self._took[position] = float(seconds)

    def expected(self, present: float | None = None) -> list[float]:
        """Seconds of each phase of the run, those of finished ones as they were.

        Args:
          present: what the present one will have taken in all, if that is known.
        """
        known = dict(self._took)
        if present is not None:
            known.setdefault(self._present, present)
        paces: dict[str, float] = {}
        for name in set(self._names):
            places = [place for place in known if self._names[place] == name]
            if priced := sum(self._priced[place] for place in places):
                paces[name] = sum(known[place] for place in places) / priced
        learning = [pace for name, pace in paces.items() if name.startswith(_LEARNING)]
        default = sum(learning) / len(learning) if learning else 2.0 / min(2, cores_here())
        for name in set(self._names).difference(paces):
            paces[name] = default if name.startswith(_LEARNING) else 1.0
        return [
            self._took.get(place, priced * paces[name])
            for place, (name, priced) in enumerate(zip(self._names, self._priced, strict=True))
        ]

    def text(self, work_left: float | None = None) -> str:
        """ "phase 3 of 12, 41 %, ends about 18:20".

        Args:
          work_left: seconds that the work of the moment, a part of the phase, will still take.
        """
        elapsed = time.monotonic() - self._began
        guess = self.expected()[self._present]
        left = max(work_left or 0.0, guess - elapsed)
        if work_left is not None and not self._is_known(self._present):
            left = max(work_left, 0.05 * elapsed)
        expected = self.expected(elapsed + left)
        spent = sum(expected[: self._present]) + elapsed
        left += sum(expected[self._present + 1 :])
        share = math.floor(100.0 * spent / max(spent + left, 1e-9))
        self._percent = max(self._percent, min(share, 99))  # it may come to wait, not go back
        return (
            f"phase {self._present + 1} of {len(self._names)}, {self._percent} %, ends about "
            f"{_clock(time.time(), left)}"
        )

    def _is_known(self, position: int) -> bool:
        """Whether a phase of this kind was finished."""
        return any(self._names[place] == self._names[position] for place in self._took)


def _clock(now: float, seconds: float) -> str:
    """The time of day in some seconds, with the day where that is another one."""
    then = time.localtime(now + seconds)
    form = "%H:%M"
    if time.localtime(now)[:3] != then[:3]:
        form = "%a %H:%M" if seconds < 6 * _DAY else "%d %b %H:%M"
    return time.strftime(form, then)


def _price(config: Config, name: str, iteration: int) -> float:
    """What a phase takes on a machine that we know, in seconds."""
    inspection, evaluation = config.inspection, config.evaluation
    looks = inspection.num_starts * inspection.horizon * _STEP_OF_MANY
    if name == "collect":
        return collection_steps(config, iteration) * _REAL_STEP
    if name == "evaluate":
        is_last = iteration == config.collection.num_iterations
        if iteration % evaluation.interval and not is_last:
            return _LEAST_SECONDS
        players = 4 if iteration == evaluation.interval or is_last and iteration == 1 else 1
        return players * evaluation.num_episodes * _EPISODE_STEPS * _STEP_OF_MANY
    if config.algorithm == "ppo":
        return collection_steps(config, iteration) * (_REAL_STEP + _DREAM_STEP)
    if name == "learn_policy":
        updates, interval = config.ppo.num_updates[iteration - 1], config.ppo.check_interval
        num_looks = 2 + (1 + updates // interval if interval else 0)
        steps = config.dream.num_dreams * config.dream.horizon
        dream_step = _DREAM_STEP * (_POLICY_SHARE + (1.0 - _POLICY_SHARE) * _dynamics_cost(config))
        return updates * steps * dream_step + num_looks * looks
    vqvae, size = config.vqvae, total_steps(config, iteration)
    alone = vqvae.warmup_epochs if iteration == 1 else vqvae.later_epochs
    in_blocks = execution_of(config).strided_form == "blocks"
    frame = _FRAME_IN_BLOCKS if in_blocks else _FRAME
    transition = _TRANSITION * _dynamics_cost(config)
    transitions = config.dynamics.epochs[iteration - 1] * size
    beside = 0.0
    if vqvae.update_interval:
        updates = transitions / config.dynamics.windows_per_batch / config.dynamics.window_length
        beside = updates / vqvae.update_interval * vqvae.batch_size * frame
    judged = inspection.held_out_steps * (_REAL_STEP + 2 * transition)
    learned = alone * size * frame + transitions * transition
    return learned + beside + judged + _LEAST_SECONDS


def _dynamics_cost(config: Config) -> float:
    """Time of the dynamics as a multiple of that of the paper's."""
    dynamics = config.dynamics
    cost = (dynamics.channels / 128) ** _CHANNELS_EXPONENT
    return cost * _CELLS.get(dynamics.cell, 1.0) * _CODE_HEADS.get(dynamics.code_head, 1.0)
