"""Writes SavedModels of a trained agent: ``python -m smallwm_tf.export --run_dir=… --out=…``."""

import collections
from pathlib import Path

from smallwm_tf.cli.errors import check_writable, one_line_errors
from smallwm_tf.cli.flags import CommandParser
from smallwm_tf.cli.streams import put
from smallwm_tf.cli.tensorflow_start import load_tensorflow
from smallwm_tf.deployment.looking import check_is_free, look_at_agent

_COMMAND = "smallwm_tf.export"
_EXAMPLES = """
what it writes:
  <out>/metadata.json       game, action meanings, preprocessing, settings, versions, scores
  <out>/agent/              encoder + policy; needs TensorFlow alone:
      agent = tf.saved_model.load("<out>/agent")
      agent.serve(frames)       uint8 [B, 96, 96, F] -> action, greedy_action, logits, value, codes
      agent.reset(frame)        uint8 [B, 96, 96], the first frame of an episode
      agent.act(frame)          uint8 [B, 96, 96], every later one; the stack is kept inside
      agent.act(frame, [7, 0])  as the others with a seed: equal seeds draw equal actions
      agent.begin(frame), agent.act_with_stack(frame, stack)
                                the same for several callers: they give and take the stack
  <out>/world_model/        with --world_model: decode, dream_step, predict, initial_state
  <out>/tf_agents_policy/   with --tf_agents: for TF-Agents' SavedModelPyTFEagerPolicy

A SavedModel is a program: whoever loads yours runs it, so load those of people whom you trust.

example:
  python -m smallwm_tf.export --run_dir=runs/Pong-quick-seed0 --out=exports/Pong --world_model
"""


def main() -> None:
    """Reads the command line and exports."""
    parser = CommandParser("export", "Writes a trained agent as SavedModels.", _EXAMPLES)
    add = parser.add_argument
    add("--run_dir", type=Path, required=True, metavar="DIR", help="the run")
    add("--out", type=Path, required=True, metavar="DIR", help="a new directory to write")
    add("--world_model", action="store_true", help="also decoder and dynamics: the dream")
    add("--tf_agents", action="store_true", help="also by TF-Agents' PolicySaver conventions")
    add("--float16", action="store_true",
        help="store weights in half the bytes; it still calculates in float32")  # fmt: skip
    add("--unfinished", action="store_true", help="take a run that is not finished")
    parser.add_game_flag()
    flags = parser.parse_args()
    check_writable(_COMMAND, is_file=False, out=flags.out)
    with one_line_errors(_COMMAND):
        look_at_agent(flags.run_dir, None, flags.unfinished, flags.game)
        check_is_free(flags.out)
        load_tensorflow()  # not before: mistakes are told at once

        from smallwm_tf.deployment.export_directory import write_export
        from smallwm_tf.deployment.opening import load_run
        from smallwm_tf.games.catalogue import resolve_game

        game = resolve_game(flags.game) if flags.game else None
        agent = load_run(flags.run_dir, flags.unfinished, convolution="direct", game=game)
        metadata = write_export(agent, flags.out, flags.world_model, flags.tf_agents, flags.float16)
        count = metadata["parameters"]["inference_total"]
        put(f"{flags.out}: {metadata['game']}, {count:,} parameters act, {metadata['weights']}")
        parts: collections.Counter[str] = collections.Counter()
        for name, described in metadata["files"].items():
            parts[name.split("/")[0]] += described["bytes"]
        put(*(f"  {part + '/':<20}{size / 1e6:>8.1f} MB" for part, size in parts.items()))


if __name__ == "__main__":
    main()
