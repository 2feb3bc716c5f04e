"""An untrained agent for Catch, small enough to dream with in tests."""

from pathlib import Path

import ml_collections
import numpy as np
import pytest

from smallwm_tf.agents.networks import CodeNetworks
from smallwm_tf.deployment.trained_agent import TrainedAgent
from smallwm_tf.experiment.config import build_config
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.games.catalogue import resolve_game
from smallwm_tf.viewing.dream_session import DreamSession

NUM_EMBEDDINGS = 24
SETTINGS = {
    "game.num_stacked_frames": 2,
    "vqvae.num_embeddings": NUM_EMBEDDINGS,
    "dynamics.channels": 8,
    "dynamics.convolution": "direct",
    "dynamics.temperature": 0.5,
    "dream.context_steps": 2,
}


def make_agent() -> TrainedAgent:
    config = build_config(SETTINGS)
    networks = CodeNetworks(config, num_actions=3, seed=5)
    # Untrained embeddings are so close to each other that all frames round to one grey.
    embeddings = networks.world_model.vqvae.quantizer.embeddings
    embeddings.assign(np.random.default_rng(0).normal(size=embeddings.shape))
    for layer in networks.world_model.vqvae.decoder.deconvolutions:
        layer.kernel.assign(4.0 * layer.kernel)

    frozen = ml_collections.FrozenConfigDict(config)
    return TrainedAgent(
        experiment=Experiment(resolve_game("Catch"), frozen, 3, Path("runs/x"), ""),
        action_meanings=("STAY", "LEFT", "RIGHT"),
        networks=networks,
        iteration=1,
        num_interactions=0,
        parameters=networks.parameters,
        scores=None,
    )


@pytest.fixture(scope="session")
def agent():
    return make_agent()


@pytest.fixture(scope="module")
def shared_session(agent):
    session = DreamSession(agent, num_starts=3, interval=5)
    yield session
    session.close()


@pytest.fixture
def session(shared_session):
    """At its first start, in the mode "dream"."""
    shared_session.set_mode("dream")
    shared_session.reset(0)
    return shared_session
