"""Scores a trained agent in the real game: ``python -m smallwm_tf.evaluate --run_dir=…``."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallwm_tf.cli.errors import check_writable, one_line_errors, refuse
from smallwm_tf.cli.flags import CommandParser, number
from smallwm_tf.cli.streams import put, results_alone
from smallwm_tf.cli.tensorflow_start import load_tensorflow
from smallwm_tf.deployment.looking import look_at_agent
from smallwm_tf.experiment.numbers import counted, published, rounded, with_error
from smallwm_tf.experiment.settings import Interval
from smallwm_tf.interface.callable_module import make_callable
from smallwm_tf.runs.scores import human_normalised_score

if TYPE_CHECKING:
    from smallwm_tf.deployment.trained_agent import TrainedAgent

_COMMAND = "smallwm_tf.evaluate"
_EXAMPLES = """
examples:
  python -m smallwm_tf.evaluate --run_dir=runs/Pong-quick-seed0
  python -m smallwm_tf.evaluate --run_dir=runs/Pong-quick-seed0 --greedy --video=pong.gif
  python -m smallwm_tf.evaluate --export=exports/Pong --episodes=100 --seed=7 --json

With the run's own seed, which is the default, it repeats the evaluation at the end of the training.
"""


def main() -> None:
    """Reads the command line and evaluates."""
    flags = _parse()
    with one_line_errors(_COMMAND), results_alone(flags.json):
        look_at_agent(flags.run_dir, flags.export, flags.unfinished, flags.game)
        load_tensorflow()  # not before: mistakes are told at once

        from smallwm_tf.deployment.opening import open_agent
        from smallwm_tf.runs.files import write_json
        from smallwm_tf.viewing.playing import film_episode, score

        agent = open_agent(flags.run_dir, flags.export, flags.unfinished, flags.game)
        temperature = 0.0 if flags.greedy else flags.temperature
        notes = differences(agent, flags.seed, flags.episodes, temperature, flags.look_ahead)
        agent = agent.with_settings(
            flags.seed,
            evaluation__num_episodes=flags.episodes,
            evaluation__look_ahead_dreams=flags.look_ahead,
        )
        result = score(agent, temperature=temperature, with_null_policies=not flags.nonulls)
        out = flags.out or (flags.run_dir and flags.run_dir / "evaluation.json")
        try:  # shown before they are filed, and filed where they cannot be shown
            put(*([json.dumps(result)] if flags.json else table(result) + notes))
        finally:
            if out:
                out.parent.mkdir(parents=True, exist_ok=True)
                write_json(out, result)
        if flags.video:
            film_episode(agent, flags.video, flags.video_steps, temperature)
        if not flags.json:
            put(*(f"written: {place}" for place in filter(None, (out, flags.video))))


def evaluate(
    agent: "TrainedAgent",
    episodes: int | None = None,
    seed: int | None = None,
    temperature: float | None = None,
    null_policies: bool = True,
) -> dict[str, Any]:
    """Scores an agent in the real game.

    Args:
      agent: from ``load_run`` or ``load_export``.
      episodes, seed, temperature: the run's own if left out; temperature 0 takes the most probable
        actions.
      null_policies: whether to score play that sees nothing, too.

    Returns:
      JSON values: ``agent`` with ``mean``, ``std``, ``standard_error``, ``returns`` and so on,
      ``null_policies`` by name, ``best_null_policy``, ``standard_errors_above_it``, and what it was
      scored with; ``milliseconds_per_decision`` on one observation.

    Raises:
      ConfigError: a number is out of range.
    """
    from smallwm_tf.viewing.playing import score

    changed = agent.with_settings(seed, evaluation__num_episodes=episodes)
    return score(changed, temperature, null_policies)


def differences(
    agent: "TrainedAgent",
    seed: int | None,
    episodes: int | None,
    temperature: float | None,
    look_ahead: int | None,
) -> list[str]:
    """A line for everything that is not done as in the agent's own run."""
    evaluation = agent.config.evaluation
    pairs = {
        "seed": (seed, agent.experiment.seed),
        "episodes": (episodes, evaluation.num_episodes),
        "temperature": (temperature, evaluation.temperature),
        "look_ahead": (look_ahead, evaluation.look_ahead_dreams),
    }
    return [
        f"note: {name} {given:g}, where the run has {own:g}"
        for name, (given, own) in pairs.items()
        if given is not None and given != own
    ]


def table(result: dict[str, Any]) -> list[str]:
    """A result of `score` as lines of text."""
    actions = "most probable actions" if result["greedy"] else "drawn actions"
    if not result["greedy"] and result["temperature"] != 1.0:
        actions += f" at temperature {result['temperature']:g}"
    lines = [
        f"{result['game']} after {counted(result['num_interactions'], 'interaction')}: "
        f"{counted(result['agent']['num_episodes'], 'episode')}, {actions}, seed {result['seed']}",
        f"{'':<14}{'mean and':>17}{'standard':>10}{'':>26}{'human-':>12}",
        f"{'':<14}{'standard error':>17}{'deviation':>10}{'median':>9}{'min':>8}{'max':>9}"
        f"{'normalised':>12}",
    ]
    rows = {"agent": result["agent"], **(result["null_policies"] or {})}
    lines += [_row(result["game"], name, summary) for name, summary in rows.items()]
    if result["paper"]:
        mean, deviation = result["paper"]["mean"], result["paper"]["std"]
        lines += [
            f"{'paper':<14}{published(mean):>17}{published(deviation):>10}",
            "paper: after 102,400 interactions; standard deviation over training runs",
        ]
    if result["null_policies"]:
        lines.append(_verdict(result))
    taken = result["milliseconds_per_decision"]
    lines.append(f"a decision takes {taken:.{0 if taken >= 10.0 else 1}f} milliseconds")
    return lines


def _row(game: str, name: str, summary: dict[str, Any]) -> str:
    """A line of the table: as many digits as the standard error gives a meaning to."""
    mean, error = summary["mean"], summary["standard_error"]
    spread = [rounded(summary[key], error) for key in ("std", "median", "min", "max")]
    if error is None:  # of a single episode
        spread[0] = "–"
    normalised = summary["human_normalised_mean"]
    last = ""
    if normalised is not None:
        of_error = human_normalised_score(game, error or 0.0) - human_normalised_score(game, 0.0)
        last = rounded(normalised, of_error)
    cells = zip((*spread, last), (10, 9, 8, 9, 12), strict=True)
    text = f"{name:<14}{with_error(mean, error):>17}"
    return (text + "".join(f"{cell:>{width}}" for cell, width in cells)).rstrip()


def _verdict(result: dict[str, Any]) -> str:
    """How far the agent is above play that looks at nothing."""
    best, above = result["best_null_policy"], result["standard_errors_above_it"]
    if above is None:
        return f"best null policy: {best}; too few different returns for a standard error"
    side = "above" if above >= 0.0 else "below"
    return f"{abs(above):.1f} standard errors {side} the best null policy ({best})"


def _parse() -> argparse.Namespace:
    parser = CommandParser("evaluate", "Scores a trained agent in the real game.", _EXAMPLES)
    parser.add_agent_flags()
    add, how = parser.add_argument, parser.add_mutually_exclusive_group()
    parser.add_number("--episodes", int, Interval(1, 100_000), "episodes (default: the run's, 32)")
    how.add_argument("--greedy", action="store_true", help="always the most probable action")
    how.add_argument("--temperature", type=number(float, Interval(0, 100, open_low=True)),
                     help="divides the logits (default: the run's)")  # fmt: skip
    parser.add_number(
        "--look_ahead",
        int,
        Interval(0, 1000),
        "dreams for each action by which it decides (default: the run's, 0: none)",
    )
    add("--nonulls", action="store_true", help="do not score null policies")
    add("--out", type=Path, help="JSON file (default: <run_dir>/evaluation.json)")
    add("--video", type=Path, help="film an episode into a .gif or .mp4 file")
    parser.add_number(
        "--video_steps", int, Interval(1, 27_000), "at most (default 500)", default=500
    )
    add("--json", action="store_true", help="print JSON instead of a table")
    flags = parser.parse_args()
    if flags.video and flags.video.suffix not in (".gif", ".mp4"):
        refuse(f"--video={flags.video}: must end with .gif or .mp4", _COMMAND)
    check_writable(_COMMAND, out=flags.out, video=flags.video)
    return flags


make_callable(__name__, evaluate)  # smallwm_tf.evaluate(agent)

if __name__ == "__main__":
    main()
