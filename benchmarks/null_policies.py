"""What play that sees nothing scores: ``python -m benchmarks.null_policies --games=atari36``.

Writes <out>/<Game>.json, as ``null_policies.json`` of a run with the preset, which tells how many
real steps the best of nine is picked by. Games that are there are not played again.
"""

import pathlib

import ml_collections
from absl import app, flags

import smallwm_tf  # noqa: F401  (chooses Keras 2)

FLAGS = flags.FLAGS
flags.DEFINE_list("games", ["atari36"], "names, or atari36 for those of the paper's Table 4")
flags.DEFINE_string("config", "quick", "preset")
flags.DEFINE_string("out", "results/null_policies", "directory")


def main(_) -> None:
    from smallwm_tf.experiment.experiment import Experiment
    from smallwm_tf.experiment.presets import load_preset
    from smallwm_tf.games.catalogue import TABLE_4_GAMES, resolve_game
    from smallwm_tf.judging.null_policies import score_null_policies
    from smallwm_tf.runs.files import write_json
    from smallwm_tf.runs.scores import best_null_policy

    preset, config = load_preset(FLAGS.config)
    out = pathlib.Path(FLAGS.out)
    out.mkdir(parents=True, exist_ok=True)
    for name in TABLE_4_GAMES if FLAGS.games == ["atari36"] else FLAGS.games:
        game = resolve_game(name)
        path = out / f"{game.name}.json"
        if path.exists():
            continue
        frozen = ml_collections.FrozenConfigDict(config)
        scored = score_null_policies(Experiment(game, frozen, 0, out, preset))
        write_json(path, scored)
        best = best_null_policy(scored)
        print(f"{game.name}: {best}, {scored[best]['mean']:.1f}", flush=True)


if __name__ == "__main__":
    app.run(main)
