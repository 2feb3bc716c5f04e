"""Shows a world model's dreams beside reality: ``python -m smallwm_tf.dream --run_dir=…``."""

import argparse
import itertools
import math
from pathlib import Path

from smallwm_tf.cli.errors import check_writable, one_line_errors, refuse
from smallwm_tf.cli.flags import CommandParser
from smallwm_tf.cli.streams import put
from smallwm_tf.cli.tensorflow_start import load_tensorflow
from smallwm_tf.deployment.looking import look_at_agent
from smallwm_tf.experiment.numbers import counted, percent
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
    flags = _parse()
    with one_line_errors(_COMMAND):
        look_at_agent(flags.run_dir, flags.export, flags.unfinished, flags.game)
        load_tensorflow()  # not before: mistakes are told at once

        from smallwm_tf.deployment.opening import open_agent
        from smallwm_tf.deployment.trained_agent import require_world_model
        from smallwm_tf.figures.dream_film import save_film
        from smallwm_tf.figures.strips import draw_dream
        from smallwm_tf.viewing import dreams

        agent = open_agent(flags.run_dir, flags.export, flags.unfinished, flags.game)
        require_world_model(agent)
        agent = agent.with_settings(flags.seed)
        seed, horizon = agent.experiment.seed, flags.horizon
        out = flags.out
        replay = dreams.play_real_game(agent, flags.steps)
        starts = flags.start or dreams.choose_starts(replay, 3, horizon, seed)
        temperatures = flags.temperature or [agent.config.dynamics.temperature]
        for start, temperature in itertools.product(starts, temperatures):
            loop = dreams.dream_beside_reality(agent, replay, start, horizon, temperature)
            out.mkdir(parents=True, exist_ok=True)
            name = f"dream_{start}_{temperature:g}"
            draw_dream(out / f"{name}.png", loop)
            save_film(out / f"{name}.gif", loop)
            agreement = (loop.real.codes == loop.dreamed_codes).mean(axis=(1, 2))
            put(
                f"start {start}, temperature {temperature:g}: {counted(len(agreement), 'step')}, "
                f"{percent(agreement[1:].mean() if len(agreement) > 1 else 1.0)} of codes right"
            )
        curves = dreams.measure(agent, replay, flags.num_starts, horizon, temperatures[0])
        settings = {
            "num_starts": min(flags.num_starts, replay.size),
            "temperature": temperatures[0],
            "context_steps": agent.config.dream.context_steps,
            "seed": seed,
        }
        dreams.save_horizons(out, agent, curves, settings)
        for ahead in (1, 5, 10, 25, 50):
            if ahead <= horizon:
                right, copied = curves.code_accuracy[ahead - 1], curves.copy_accuracy[ahead - 1]
                text = f"{percent(right, 1)} of codes right, copying {percent(copied, 1)}"
                if not math.isfinite(right):
                    text = "no episode goes on for so long"
                put(f"{ahead:>3} ahead: {text}")
        put(f"written: {out}")


def _parse() -> argparse.Namespace:
    about = "Shows dreams of a world model beside what really happened."
    parser = CommandParser("dream", about, _EXAMPLES)
    parser.add_agent_flags()
    add, add_number = parser.add_argument, parser.add_number
    add("--out", type=Path, help="directory (default: <run_dir>/dreams, or dreams)")
    add_number("--start", int, Interval(0, 1_000_000), "real step from which to dream; may be "
               "repeated (default: three random ones)", action="append")  # fmt: skip
    add_number("--horizon", int, Interval(1, 1000), "steps of a dream (default 50)", default=50)
    add_number("--temperature", float, Interval(0, 100), "divides the logits of drawn codes, 0 "
               "takes the most probable ones; may be repeated (default: the run's)",
               action="append")  # fmt: skip
    add_number("--steps", int, Interval(10, 100_000), "real steps (default 1000)", default=1000)
    add_number("--num_starts", int, Interval(1, 10_000), "starts behind the figures by horizon "
               "(default 32)", default=32)  # fmt: skip
    flags = parser.parse_args()
    for start in flags.start or ():
        if start >= flags.steps:
            refuse(f"--start={start}: must be below --steps={flags.steps}", _COMMAND)
    out = flags.out or (flags.run_dir / "dreams" if flags.run_dir else Path("dreams"))
    check_writable(_COMMAND, is_file=False, out=out)
    flags.out = out
    return flags


if __name__ == "__main__":
    main()
