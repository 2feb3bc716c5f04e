"""The PyTorch peer does the same work: equal counts, equal outputs with weights copied across."""

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.experiment.config import build_config
from smallwm_tf.models.build import build_models
from smallwm_tf.models.event_heads import Transition
from smallwm_tf.models.parameter_counts import parameter_counts

torch = pytest.importorskip("torch", reason="needs PyTorch")

F, M, B = 4, 6, 3


@pytest.fixture(scope="module")
def pair():
    from benchmarks.peer_weights import copy_weights
    from benchmarks.pytorch_peer import Peer

    world_model, policy = build_models(build_config({"game.num_stacked_frames": F}), M)
    draw = np.random.default_rng(0)
    for variable in world_model.vqvae.encoder.variables:
        if "gamma" in variable.name or "variance" in variable.name:
            variable.assign(draw.uniform(0.5, 2.0, size=variable.shape))
    peer = Peer(F, M)
    copy_weights(world_model, policy, peer)
    peer.vqvae.eval()
    return world_model, policy, peer


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(1).integers(256, size=[B, 96, 96, F], dtype=np.uint8)


def as_torch(images: np.ndarray):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.asarray(images), -1, 1)))


def test_parameter_counts_are_equal(pair):
    from benchmarks.pytorch_peer import parameter_count

    world_model, policy, peer = pair
    counts = parameter_counts(world_model, policy)
    codebook = peer.vqvae.embeddings.numel()  # learned by moving averages: a buffer there
    assert parameter_count(peer.vqvae) + codebook == counts["vqvae"]
    assert parameter_count(peer.dynamics) == counts["dynamics"]
    assert parameter_count(peer.policy) == counts["policy"]


def test_encoder_and_decoder_are_equal(pair, frames):
    world_model, _, peer = pair
    vqvae = world_model.vqvae
    with torch.no_grad():
        theirs = peer.vqvae.encoder(as_torch(frames).float() / 255.0)
        ours = vqvae.encoder(tf.cast(frames, tf.float32) / 255.0, training=False)
        np.testing.assert_allclose(ours, theirs.permute(0, 2, 3, 1), atol=1e-4)
        codes = peer.vqvae.nearest(theirs)
        np.testing.assert_array_equal(vqvae.encode(frames), codes)
        logits = peer.vqvae.decoder(peer.vqvae.lookup(codes)).permute(0, 2, 3, 1)
    ours = vqvae.decoder(vqvae.quantizer.lookup(codes.numpy()))
    np.testing.assert_allclose(ours, logits, atol=1e-4)


def test_dynamics_and_policy_are_equal_over_three_steps(pair):
    world_model, policy, peer = pair
    codes = np.random.default_rng(2).integers(128, size=[B, 6, 6]).astype(np.int32)
    theirs = torch.from_numpy(codes).long()
    state, peer_state = world_model.initial_state(B), peer.dynamics.initial_state(B)
    with torch.no_grad():
        for actions in ([0, 1, 5], [2, 2, 2], [4, 3, 0]):
            ours = world_model.predict(codes, tf.constant(actions), state)
            state = ours.state
            events = world_model.events(Transition(ours.y, codes, actions))
            embedded = peer.vqvae.lookup(theirs)
            peer_latent, peer_reward, peer_state = peer.dynamics(
                embedded, torch.tensor(actions), peer_state
            )
            np.testing.assert_allclose(ours.next_codes.logits, peer_latent, atol=1e-4)
            np.testing.assert_allclose(events.rewards.logits, peer_reward, atol=1e-4)
        peer_logits, peer_values = peer.policy(embedded)
    logits, values = policy(codes, world_model.vqvae.quantizer.embeddings)
    np.testing.assert_allclose(logits, peer_logits, atol=1e-4)
    np.testing.assert_allclose(values, peer_values, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_piece_of_work_runs(precision):
    from benchmarks.peer_workloads import peer_workloads
    from benchmarks.workloads import OurWorkloads, random_data

    sizes = {"dream.num_dreams": 2, "dream.horizon": 2, "dynamics.windows_per_batch": 1}
    config = build_config({"game.num_stacked_frames": F, "precision": precision, **sizes})
    data = random_data(100)
    ours = OurWorkloads(config, data)
    theirs = peer_workloads(ours, data, compiled=False, precision=precision)
    assert [work.name for work in theirs] == [work.name for work in ours.all()]
    for work in theirs:
        assert np.all(np.isfinite(np.asarray(work.call())))
