"""Long runs stay flat: memory, file handles, TensorBoard's files."""

import gc
import os
import pathlib

import numpy as np
import pytest

from smallwm_tf.experiment.randomness import seed_pair
from tests.tiny_runs import perform

pytestmark = pytest.mark.skipif(
    not pathlib.Path("/proc/self/statm").exists(), reason="reads memory from /proc"
)


def resident_bytes() -> int:
    gc.collect()
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.slow
def test_memory_and_files_stay_flat(opened):
    run = opened(collection__first_iteration_steps=200)
    perform(run, "collect")
    agent = run.algorithm
    pair = seed_pair(0, "long")
    windows = np.zeros([20, 4], np.int32)
    agent.world_model_learner.encoded.encode_all()

    def train(count):
        for start in range(0, count, 20):
            agent.world_model_learner.joint_steps(windows, start, pair)
            run.metrics.write("dynamics", 1, start, latent_loss=1.0)

    def practise(count):
        for number in range(count):
            agent.policy_learner.update(pair, number, 1e-4)
            run.metrics.write("ppo", 1, number, dream_return=1.0)

    def play(count):
        frames = np.zeros([1, 96, 96, 2], np.uint8)
        for number in range(count):
            player = agent.networks.agent(1.0)
            player.act(frames, player.begin(1), pair, number)

    for work, first, rest in ((train, 20, 2000), (practise, 20, 200), (play, 20, 200)):
        work(first)
        memory, files = resident_bytes(), open_files()
        work(rest)
        assert resident_bytes() < 1.05 * memory, work.__name__
        assert open_files() <= files, work.__name__


def test_tensorboard_files_do_not_pile_up(opened):
    run = opened()
    for number in range(300):
        run.metrics.write("ppo", 1, number, dream_return=1.0, entropy=0.5)
    lines = run.metrics.sync()
    for _ in range(5):  # as after five restarts that repeat what a kill has cut off
        run.metrics.write("ppo", 1, lines, dream_return=2.0)
        run.metrics.rewind(lines)
    files = list(run.directory.events.rglob("*tfevents*"))
    assert len(files) == 1
    assert files[0].stat().st_size < 300 * 2 * 200
