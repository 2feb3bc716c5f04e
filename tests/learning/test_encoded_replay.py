"""Codes of the replay: kept or formed at every visit, they are those of the present VQ-VAE."""

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.experiment.config import build_config
from smallwm_tf.learning import encoded_replay
from smallwm_tf.learning.encoded_replay import EncodedReplay
from smallwm_tf.models.build import build_models
from tests.made_replays import made_replay

STEPS, CAPACITY, F = 40, 44, 2


@pytest.fixture(scope="module")
def world_model():
    tf.keras.utils.set_random_seed(0)
    config = build_config({"game.num_stacked_frames": F, "dynamics.channels": 8})
    world_model, _ = build_models(config, num_actions=3)
    # The codes of an untrained encoder are all alike; far apart, its vectors have others.
    norm = world_model.vqvae.encoder.projection_norm
    norm.gamma.assign(1000.0 * norm.gamma)
    return world_model


@pytest.fixture
def replay():
    return made_replay(STEPS, capacity=CAPACITY, terminated=np.arange(STEPS) == 16)


def codes_of(world_model, replay, size: int = STEPS) -> np.ndarray:
    return world_model.vqvae.encode(replay.observations(tf.range(size), F)).numpy()


def test_the_codes_kept_are_those_of_every_observation_now(world_model, replay, monkeypatch):
    monkeypatch.setattr(encoded_replay, "_FRAMES_AT_ONCE", 16)  # 40 = 16 + 16 + 8
    encoded = EncodedReplay(world_model, replay, is_kept=True)
    embeddings = world_model.vqvae.quantizer.embeddings
    for _ in range(2):
        encoded.encode_all()
        codes = codes_of(world_model, replay)
        assert len(np.unique(codes)) > 2
        np.testing.assert_array_equal(encoded.codes(tf.range(STEPS)), codes)
        embeddings.assign(tf.roll(embeddings, 1, axis=0))
    assert not np.array_equal(codes, codes_of(world_model, replay))  # so the second time counted


def test_what_the_same_vqvae_encoded_before_is_not_encoded_again(world_model, replay, monkeypatch):
    monkeypatch.setattr(encoded_replay, "_FRAMES_AT_ONCE", 8)
    encoded = EncodedReplay(world_model, replay, is_kept=True)
    encode, seen = encoded._encode, []
    monkeypatch.setattr(encoded, "_encode", lambda steps: (seen.append(steps), encode(steps)))
    for size in (20, 36, 36):
        replay.size_variable.assign(size)
        encoded.encode_all()
    firsts = [int(steps[0]) for steps in seen]
    assert firsts == [0, 8, 16, 16, 24, 32, 32]  # groups that were not full come again
    np.testing.assert_array_equal(
        encoded.codes(tf.range(36)), codes_of(world_model, replay, size=36)
    )


@pytest.mark.parametrize("is_kept", [True, False])
def test_steps_of_any_shape_and_their_past_have_the_codes_of_their_frames(
    world_model, replay, is_kept
):
    encoded = EncodedReplay(world_model, replay, is_kept)
    encoded.encode_all()
    known = codes_of(world_model, replay)
    steps = np.array([[0, 39, 17], [16, 1, 1]], np.int32)
    np.testing.assert_array_equal(encoded.codes(tf.constant(steps)), known[steps])
    past = encoded.past(tf.constant([19, 1, 17]), 3)  # episodes begin with steps 0 and 17
    numbers = np.array([[17, 17, 18], [0, 0, 0], [17, 17, 17]])
    valid = np.array([[False, True, True], [False, False, True], [False, False, False]])
    np.testing.assert_array_equal(past.valid, valid)
    np.testing.assert_array_equal(past.codes, known[numbers])
    np.testing.assert_array_equal(past.actions, replay.actions.numpy()[numbers])
    assert encoded.past(tf.constant([19, 1]), 0).codes.shape == [2, 0, 6, 6]
