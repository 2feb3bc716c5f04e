"""An untrained agent for Catch, small enough to dream with in tests."""

from pathlib import Path

import ml_collections
import numpy as np
import pytest
import tensorflow as tf
from smallwm_tf.agents.actor import Actor

from smallwm_tf.cli.train_flags import TrainArguments
from smallwm_tf.deployment.trained_agent import Look, TrainedAgent
from smallwm_tf.experiment.config import build_config
from smallwm_tf.games.catalogue import resolve_game
from smallwm_tf.models.build import build_models
from smallwm_tf.models.grid_convolution import to_grid_major
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
    tf.keras.utils.set_random_seed(5)
    config = build_config(SETTINGS)
    world_model, policy = build_models(config, num_actions=3)
    # Untrained embeddings are so close to each other that all frames round to one grey.
    embeddings = world_model.vqvae.quantizer.embeddings
    embeddings.assign(np.random.default_rng(0).normal(size=embeddings.shape))
    for layer in world_model.vqvae.decoder.deconvolutions:
        layer.kernel.assign(4.0 * layer.kernel)

    def look(codes):
        embedded = world_model.vqvae.quantizer.lookup(tf.constant(codes))
        return Look(*(tensor.numpy() for tensor in policy(to_grid_major(embedded))))

    frozen = ml_collections.FrozenConfigDict(config)
    return TrainedAgent(
        arguments=TrainArguments(
            resolve_game("Catch"), frozen, 3, Path("runs/x"), "", False, False
        ),
        action_meanings=("STAY", "LEFT", "RIGHT"),
        world_model=world_model,
        encode=lambda frames: world_model.vqvae.encode(tf.constant(frames)).numpy(),
        look=look,
        actor=Actor(world_model.vqvae, policy),
        iteration=1,
        num_interactions=0,
        parameters={},
        scores=None,
        networks=(world_model, policy),
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
