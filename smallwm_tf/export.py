"""Writes SavedModels of a trained agent: ``python -m smallwm_tf.export --run_dir=… --out=…``."""

import sys
from pathlib import Path

from smallwm_tf.cli.errors import check_writable, one_line_errors
from smallwm_tf.cli.flags import CommandParser
from smallwm_tf.cli.tensorflow_start import load_tensorflow

_COMMAND = "smallwm_tf.export"
_EXAMPLES = """
what it writes:
  <out>/metadata.json       game, action meanings, preprocessing, settings, versions, scores
  <out>/agent/              encoder + policy; needs TensorFlow alone:
      agent = tf.saved_model.load("<out>/agent")
      agent.serve(frames)       uint8 [B, 96, 96, F] -> action, greedy_action, logits, value, codes
      agent.reset(frame)        uint8 [B, 96, 96], the first frame of an episode
      agent.act(frame)          uint8 [B, 96, 96], every later one; the stack is kept inside
  <out>/world_model/        with --world_model: decode, dream_step, predict, initial_state
  <out>/tf_agents_policy/   with --tf_agents: for TF-Agents' SavedModelPyTFEagerPolicy

example:
  python -m smallwm_tf.export --run_dir=runs/Pong-quick-seed0 --out=exports/Pong --world_model
"""


def main() -> None:
    """Reads the command line and exports."""
    parser = CommandParser("export", "Writes a trained agent as SavedModels.", _EXAMPLES)
    parser.add_argument("--run_dir", type=Path, required=True, metavar="DIR", help="the run")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="a new directory to write"
    )
    parser.add_argument(
        "--world_model", action="store_true", help="also decoder and dynamics: the dream"
    )
    parser.add_argument(
        "--tf_agents", action="store_true", help="also by TF-Agents' PolicySaver conventions"
    )
    parser.add_argument(
        "--float16", action="store_true", help="store weights in half the bytes; it still "
        "calculates in float32"
    )  # fmt: skip
    parser.add_argument("--unfinished", action="store_true", help="take a run that is not finished")
    flags = parser.parse_args()
    check_writable("out", flags.out, _COMMAND)
    load_tensorflow()

    with one_line_errors(_COMMAND):
        from smallwm_tf.deployment.export_directory import write_export
        from smallwm_tf.deployment.opening import load_run

        agent = load_run(flags.run_dir, flags.unfinished, convolution="direct")
        metadata = write_export(agent, flags.out, flags.world_model, flags.tf_agents, flags.float16)
    count = metadata["parameters"]["inference_total"]
    print(f"{flags.out}: {metadata['game']}, {count:,} parameters act, {metadata['weights']}")
    parts: dict[str, int] = {}
    for name, described in metadata["files"].items():
        part = name.split("/")[0]
        parts[part] = parts.get(part, 0) + described["bytes"]
    for part, size in parts.items():
        print(f"  {part + '/':<20}{size / 1e6:>8.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
