"""Shows a world model's dreams beside reality: ``python -m smallwm_tf.dream --run_dir=…``."""

import argparse
import sys
from pathlib import Path

from smallwm_tf.cli.errors import check_writable, one_line_errors, refuse
from smallwm_tf.cli.flags import CommandParser, number
from smallwm_tf.cli.tensorflow_start import load_tensorflow
from smallwm_tf.experiment.settings import Interval

_COMMAND = "smallwm_tf.dream"
_EXAMPLES = """
what it writes into --out:
  dream_<start>_<temperature>.png   real, reconstruction, dream and difference, step by step, with
                                    the codes in colour and a row of rewards
  dream_<start>_<temperature>.gif   the same, moving
  horizon.png, horizon.json         how right predictions are 1, 2, 3 … steps ahead, beside a copy
                                    of the first code, which a useful world model beats

examples:
  python -m smallwm_tf.dream --run_dir=runs/Pong-quick-seed0
  python -m smallwm_tf.dream --run_dir=runs/Pong-quick-seed0 --start=120 --horizon=30 \\
      --temperature=0 --temperature=1
"""


def main() -> None:
    """Reads the command line, dreams, and writes pictures and figures."""
    flags = _parse(sys.argv[1:])
    load_tensorflow()

    with one_line_errors(_COMMAND):
        from smallwm_tf.deployment.opening import open_agent
        from smallwm_tf.deployment.trained_agent import require_world_model
        from smallwm_tf.figures import run_figures as pictures
        from smallwm_tf.viewing import dreams as dream_viewing

        agent = open_agent(flags.run_dir, flags.export, flags.unfinished, flags.game)
        require_world_model(agent)
        agent = agent.with_settings(flags.seed)
        out = flags.out or (flags.run_dir / "dreams" if flags.run_dir else Path("dreams"))
        replay = dream_viewing.play_real_game(agent, flags.steps)
        starts = flags.start or dream_viewing.choose_starts(
            replay, 3, flags.horizon, agent.experiment.seed
        )
        temperatures = flags.temperature or [agent.config.dynamics.temperature]
        for start in starts:
            for temperature in temperatures:
                loop = dream_viewing.dream_beside_reality(
                    agent, replay, start, flags.horizon, temperature
                )
                out.mkdir(parents=True, exist_ok=True)
                name = f"dream_{start}_{temperature:g}"
                pictures.draw_dream(out / f"{name}.png", loop)
                dream_viewing.save_film(out / f"{name}.gif", loop)
                agreement = (loop.real.codes == loop.dreamed_codes).mean(axis=(1, 2))
                print(
                    f"start {start}, temperature {temperature:g}: {len(agreement)} steps, "
                    f"{agreement[1:].mean() if len(agreement) > 1 else 1.0:.0%} of codes right"
                )
        curves = dream_viewing.measure(
            agent, replay, flags.num_starts, flags.horizon, temperatures[0]
        )
        settings = {
            "num_starts": min(flags.num_starts, replay.size),
            "temperature": temperatures[0],
            "context_steps": agent.config.dream.context_steps,
            "seed": agent.experiment.seed,
        }
        dream_viewing.save_horizons(out, agent, curves, settings)
    for horizon in (1, 5, 10, 25, 50):
        if horizon <= flags.horizon:
            print(
                f"{horizon:>3} ahead: {curves.code_accuracy[horizon - 1]:.1%} of codes right, "
                f"copying {curves.copy_accuracy[horizon - 1]:.1%}"
            )
    print(f"written: {out}")


def _parse(words: list[str]) -> argparse.Namespace:
    parser = CommandParser(
        "dream", "Shows dreams of a world model beside what really happened.", _EXAMPLES
    )
    parser.add_agent_flags()
    parser.add_argument("--out", type=Path, help="directory (default: <run_dir>/dreams, or dreams)")
    parser.add_argument(
        "--start",
        type=number(int, Interval(0, 1_000_000)),
        action="append",
        help="real step from which to dream; may be repeated (default: three random ones)",
    )
    parser.add_argument(
        "--horizon",
        type=number(int, Interval(1, 1000)),
        default=50,
        help="steps of a dream (default 50)",
    )
    parser.add_argument(
        "--temperature",
        type=number(float, Interval(0, 100)),
        action="append",
        help="divides the logits of drawn codes, 0 takes the most probable ones; may be repeated "
        "(default: the run's)",
    )
    parser.add_argument(
        "--steps",
        type=number(int, Interval(10, 100_000)),
        default=1000,
        help="real steps (default 1000)",
    )
    parser.add_argument(
        "--num_starts",
        type=number(int, Interval(1, 10_000)),
        default=32,
        help="starts behind the figures by horizon (default 32)",
    )
    flags = parser.parse_args(words)
    for start in flags.start or ():
        if start >= flags.steps:
            refuse(f"--start={start}: must be below --steps={flags.steps}", _COMMAND)
    if flags.out:
        check_writable("out", flags.out, _COMMAND)
    return flags


if __name__ == "__main__":
    main()
