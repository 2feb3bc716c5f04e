"""Peak memory of a full-size run: ``python -m benchmarks.memory --frames=4``.

One process with everything that a run of the paper's schedule holds: a replay of all its real
steps, all networks and optimisers, all compiled functions, each called.
"""

import resource

from absl import app, flags

import smallwm_tf  # noqa: F401  (chooses Keras 2)

FLAGS = flags.FLAGS
flags.DEFINE_integer("frames", 4, "stacked frames F")


def main(_) -> None:
    from benchmarks.workloads import OurWorkloads, random_data
    from smallwm_tf.experiment.config import build_config
    from smallwm_tf.experiment.schedule import total_steps

    config = build_config({"game.num_stacked_frames": FLAGS.frames})
    capacity = total_steps(config)
    ours = OurWorkloads(config, random_data(steps=1000), capacity)
    part = 0
    while ours.replay.size < capacity:
        part += 1
        ours.replay.append(*random_data(min(10_000, capacity - ours.replay.size), seed=part))
    for work in ours.all():
        work.call()
        work.call()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"replay of {ours.replay.size:,} steps, F={FLAGS.frames}: peak {peak:.2f} GiB")


if __name__ == "__main__":
    app.run(main)
