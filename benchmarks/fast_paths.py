"""How much the fast paths gain over the plain ones: ``python -m benchmarks.fast_paths``.

Both are ours and compute the same; they run in turn in one process. CI checks these ratios, which
hold on any machine, and no absolute times.
"""

from absl import app, flags

import smallwm_tf  # noqa: F401  (chooses Keras 2)
from benchmarks.timing import medians
from benchmarks.workloads import OurWorkloads, random_data
from smallwm_tf.experiment.config import build_config

FLAGS = flags.FLAGS


def speed_ups(frames: int, repetitions: int, names: tuple[str, ...] = ("",)) -> dict[str, float]:
    """Seconds of the plain path over seconds of the fast one.

    Args:
      frames: F.
      repetitions: turns per median.
      names: parts of the names of the works to measure.

    Returns:
      Ratios by name of the work.
    """
    data = random_data()
    fast, plain = (
        OurWorkloads(
            build_config({"game.num_stacked_frames": frames, "dynamics.convolution": how}), data
        ).all()
        for how in ("fast", "direct")
    )
    ratios = {}
    for one, other in zip(fast, plain, strict=True):
        if any(name in one.name for name in names):
            seconds = medians([one.call, other.call], repetitions)
            ratios[one.name] = seconds[1] / seconds[0]
    return ratios


def main(_) -> None:
    for frames in FLAGS.frames:
        for name, ratio in speed_ups(frames, FLAGS.repetitions).items():
            print(f"{name:<48}F={frames} {ratio:>6.2f}×", flush=True)


if __name__ == "__main__":
    flags.DEFINE_multi_integer("frames", [4], "stacked frames F")
    flags.DEFINE_integer("repetitions", 7, "turns per median")
    app.run(main)
