"""What dreams add to real steps: ``python -m benchmarks.dreamed_and_real --run_dir=<run>``.

Fresh policies learn on the world model and the replay of a run, which stay as they are:

    ppo            in dreams, as the run does
    dreams         Q-learning on dreams
    real           Q-learning on the replay's real steps
    both           Q-learning on as many windows, half of them dreams

and play the real game from moments that an untrained policy comes to. ``q_learning`` says how Q is
learned; ``temperature`` draws by it. Nothing in the run changes.
"""

import dataclasses
import pathlib
import time

import numpy as np
from absl import app, flags

import smallwm_tf  # noqa: F401  (chooses Keras 2)

FLAGS = flags.FLAGS
flags.DEFINE_string("run_dir", None, "run that has trained a policy", required=True)
flags.DEFINE_list("arms", ["ppo", "dreams", "real", "both"], "what to compare")
flags.DEFINE_integer("updates", 200, "per arm, of dream.num_dreams × dream.horizon steps each")
flags.DEFINE_integer("looks_every", 100, "updates between two looks at the real game")
flags.DEFINE_integer("moments", 64, "of the real game, from which inspection.horizon steps count")
flags.DEFINE_float("temperature", 0.03, "of Q-values that draw actions")


def main(_) -> None:
    import tensorflow as tf

    from benchmarks.q_learning import QLearner
    from smallwm_tf.agents.networks import CodeNetworks
    from smallwm_tf.deployment.opening import load_run
    from smallwm_tf.experiment.config import editable
    from smallwm_tf.experiment.randomness import seed_pair
    from smallwm_tf.judging.judge import RealityCheck
    from smallwm_tf.learning.adam import built_adam
    from smallwm_tf.learning.dream_environment import DreamEnvironment
    from smallwm_tf.learning.dream_policy_learner import DreamPolicyLearner
    from smallwm_tf.learning.encoded_replay import EncodedReplay
    from smallwm_tf.learning.replay import Replay
    from smallwm_tf.models.imagination import Dreamer, DreamSettings
    from smallwm_tf.runs.replay_files import STEPS, read_chunk

    trained = load_run(FLAGS.run_dir, unfinished=True)
    experiment, networks = trained.experiment, trained.networks
    num_actions, num_windows = len(trained.action_meanings), experiment.config.dream.num_dreams
    paths = sorted(pathlib.Path(FLAGS.run_dir, "replay").glob("[0-9]*.npz"))
    chunks = [read_chunk(path, expected=STEPS) for path in paths]
    replay = Replay(sum(len(chunk["frames"]) for chunk in chunks))
    for chunk in chunks:
        replay.append(**chunk)
    encoded = EncodedReplay(networks.world_model, replay, is_kept=True)
    encoded.encode_all()
    config = editable(experiment.config)
    config.inspection.num_starts = FLAGS.moments
    judged = dataclasses.replace(experiment, config=config)

    def untrained():
        return CodeNetworks(config, num_actions, experiment.seed).policy

    def look(arm: str, number: int, seconds: float, temperature: float) -> None:
        pay = check.real_rewards(networks.agent(temperature), "looks").sum(axis=1)
        error = pay.std(ddof=1) / np.sqrt(len(pay))
        print(
            f"{arm:8} {number:5} updates {seconds:6.0f} s   {pay.mean():5.2f} ± {error:.2f}",
            flush=True,
        )

    print(
        f"{experiment.game.name}: {replay.size} real steps; clipped rewards per "
        f"{config.inspection.horizon} steps of the game ± standard error"
    )
    networks.policy.set_weights(untrained().get_weights())
    check = RealityCheck(judged, networks.agent(1.0), 1)
    look("none", 0, 0.0, 1.0)
    seed = tf.constant(seed_pair(experiment.seed, "dreamed_and_real"))
    for arm in FLAGS.arms:
        networks.policy.set_weights(untrained().get_weights())
        num_dreams = {"real": 0, "both": num_windows // 2}.get(arm, num_windows)
        config.dream.num_dreams = max(1, num_dreams)
        dreamer = Dreamer(networks.world_model, DreamSettings.of(config))
        environment = DreamEnvironment(dreamer, replay, config, encoded)
        environment.look_through_replay(0)
        if arm == "ppo":
            optimizer = built_adam(
                config, config.ppo.learning_rate, networks.policy.trainable_variables
            )
            learner = DreamPolicyLearner(environment, networks.policy, optimizer, config)
        else:
            num_real = num_windows - num_dreams
            given = (networks.policy, untrained(), environment, encoded, config)
            learner = QLearner(*given, num_real, num_dreams, FLAGS.temperature)
        rate = [tf.constant(config.ppo.learning_rate)] if arm == "ppo" else []
        seconds = 0.0
        for number in range(FLAGS.updates):
            begun = time.perf_counter()
            learner.update(seed, tf.constant(number), *rate).numpy()
            seconds += time.perf_counter() - begun
            if (number + 1) % FLAGS.looks_every == 0 or number + 1 == FLAGS.updates:
                look(arm, number + 1, seconds, 1.0 if arm == "ppo" else FLAGS.temperature)


if __name__ == "__main__":
    app.run(main)
