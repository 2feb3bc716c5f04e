"""Codes that keep what pays: which transitions are drawn, and what is learned from them."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.experiment.config import build_config
from smallwm_tf.judging.held_out import HeldOutMeasures
from smallwm_tf.learning.event_recognition import EventRecognition
from smallwm_tf.learning.world_model_learner import WorldModelLearner
from smallwm_tf.models.build import build_models
from smallwm_tf.models.event_heads import RecognitionHead
from smallwm_tf.models.vector_quantizer import Quantized
from tests.made_replays import made_replay

STEPS, EVERY = 200, 10  # every tenth step pays
SETTINGS = {
    "game.num_stacked_frames": 1,
    "vqvae.event_loss_weight": 300.0,
    "vqvae.num_embeddings": 16,
    "vqvae.batch_size": 16,
    "vqvae.update_interval": 0,
    "dynamics.channels": 4,
    "dynamics.convolution": "direct",
}


def replay_of(pays=None):
    """A bright square that jumps from left to right where a step pays, and back in the next one."""
    numbers = np.arange(STEPS)
    pays = numbers % EVERY == 3 if pays is None else pays
    frames = np.random.default_rng(0).integers(40, 80, size=[STEPS, 96, 96], dtype=np.uint8)
    place = np.where(np.roll(pays, 1), 64, 16)
    for number in numbers:
        frames[number, 40:56, place[number] : place[number] + 16] = 200
    rewards, ends = np.where(pays, 5.0, 0.0), numbers % 50 == 49
    return made_replay(STEPS, frames=frames, actions=numbers % 3, rewards=rewards, terminated=ends)


def recognition_on(replay, **differences) -> EventRecognition:
    config = build_config(SETTINGS | differences)
    found = EventRecognition(RecognitionHead(3, config.vqvae.embedding_dim), replay, config, 1)
    found.find_events()
    return found


def quantized_from(inputs, quantized) -> Quantized:
    return Quantized(*map(tf.constant, (inputs, quantized)), None, None)


def test_a_share_of_the_transitions_has_a_reward_and_each_is_what_the_replay_holds():
    replay = replay_of()
    recognition = recognition_on(replay)
    steps, seen = tf.constant(np.arange(100, 116), tf.int32), []
    for number in range(50):
        drawn = recognition.draw(steps, tf.constant(number, tf.int64))
        begun, following = np.split(drawn.steps.numpy(), 2)
        np.testing.assert_array_equal(begun[:4], np.arange(100, 104))
        assert (begun[4:] % EVERY == 3).all()
        np.testing.assert_array_equal(following, begun + 1)
        np.testing.assert_array_equal(drawn.actions, begun % 3)
        np.testing.assert_array_equal(drawn.classes, np.where(begun % EVERY == 3, 2, 1))
        assert drawn.has_next.numpy().all()
        seen += begun[4:].tolist()
    assert set(seen) == set(range(3, STEPS, EVERY))  # 200 draws of 20
    ends = recognition.draw(tf.constant([49, 99, 199, 20, 30, 40, 0, 0]), tf.constant(0, tf.int64))
    np.testing.assert_array_equal(ends.has_next[:4], [False, False, False, True])


def test_the_correction_is_the_logarithm_of_how_much_oftener_each_class_is_drawn():
    replay = replay_of()
    recognition = recognition_on(replay)
    is_inside = np.arange(STEPS) % 50 != 49
    share = np.mean((np.arange(STEPS) % EVERY == 3)[is_inside])
    drawn_events = 0.5 * share + 0.5  # of all that is drawn
    by_class = np.exp(recognition._correction.numpy())
    np.testing.assert_allclose(by_class[1], 0.5 * (1 - share) / (1 - share), rtol=1e-5)
    np.testing.assert_allclose(by_class[[0, 2]], drawn_events / share, rtol=1e-5)
    nothing = recognition_on(replay_of(np.zeros(STEPS, bool)))
    np.testing.assert_array_equal(nothing._correction, np.zeros(3))
    drawn = nothing.draw(tf.range(16), tf.constant(3, tf.int64))
    assert drawn.steps.shape == [16] and (drawn.classes.numpy() == 1).all()


def test_the_loss_is_the_corrected_cross_entropy_of_transitions_inside_episodes():
    recognition = recognition_on(replay_of())
    steps = tf.constant([48, 49, 50, 51, 52, 53, 0, 0])
    number = tf.constant(2, tf.int64)
    drawn = recognition.draw(steps, number)
    vectors = np.random.default_rng(0).normal(size=[2, 16, 3]).astype(np.float32)  # are logits
    recognition.head = SimpleNamespace(
        distribution=lambda before, after, actions, seed: SimpleNamespace(logits=before - 2 * after)
    )
    loss = recognition.loss(quantized_from(*vectors), drawn, number)
    corrected = vectors[:, :8] - 2 * vectors[:, 8:] + recognition._correction.numpy()
    log_p = corrected - np.log(np.exp(corrected).sum(axis=-1, keepdims=True))
    inside = [n for n in range(8) if n != 1]  # step 49 ends an episode
    nats = [-log_p[:, n, drawn.classes[n]] for n in inside]
    np.testing.assert_allclose(loss, np.mean(nats, axis=0) @ [0.8, 0.2], rtol=1e-5)


def test_the_head_compares_cells_then_mixes_their_neighbours():
    draw, head = np.random.default_rng(2), RecognitionHead(3, 5)
    for weight in head.weights:
        weight.assign(draw.normal(scale=0.2, size=weight.shape))
    before, after = draw.normal(size=[2, 4, 6, 6, 5]).astype(np.float32)
    actions = np.array([0, 2, 1, 1])

    def leaky(x):
        return np.where(x > 0, x, 0.01 * x)

    def dense(layer, x):
        return x @ layer.kernel.numpy() + layer.bias.numpy()

    cells = leaky(dense(head.conv_1x1, np.concatenate([before, after, abs(after - before)], -1)))
    padded, mixed = np.pad(cells, [(0, 0), (1, 1), (1, 1), (0, 0)]), head.conv_3x3.bias.numpy()
    for y, x in np.ndindex(3, 3):
        mixed = mixed + padded[:, y : y + 6, x : x + 6] @ head.conv_3x3.kernel.numpy()[y, x]
    centred = mixed - mixed.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    flat = leaky(scaled * head.norm.gamma.numpy() + head.norm.beta.numpy()).reshape(4, -1)
    features = np.concatenate([flat, np.eye(3)[actions]], axis=1)
    expected = dense(head.logits, leaky(dense(head.hidden, features)))
    found = head.distribution(before, after, actions).logits
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_units_are_left_out_in_training_alone_and_others_at_each_update():
    recognition = recognition_on(replay_of())
    vectors = np.random.default_rng(3).normal(size=[16, 6, 6, 32]).astype(np.float32)
    drawn = recognition.draw(tf.range(8), tf.constant(0, tf.int64))

    def loss(number: int) -> float:
        given = quantized_from(vectors, vectors)
        return float(recognition.loss(given, drawn, tf.constant(number, tf.int64)))

    assert loss(1) == loss(1) != loss(2)
    before, after = np.split(vectors, 2)
    told = [recognition.head.distribution(before, after, drawn.actions).logits for _ in range(2)]
    np.testing.assert_array_equal(*told)


@pytest.fixture(scope="module")
def learned():
    """A world model whose codes learned with the event loss, before and after."""
    replay = replay_of()
    config = build_config(SETTINGS | {"vqvae.batch_size": 4})
    world_model, _ = build_models(config, num_actions=3)
    learner = WorldModelLearner(world_model, replay, config, seed=1)
    learner.look_through_replay()
    order = np.random.default_rng(1)
    measures = HeldOutMeasures(world_model, replay, 2)
    skills, losses = [measures.recognition().skill], []
    for _ in range(12):
        rows = np.stack([order.permutation(STEPS)[:4] for _ in range(5)]).astype(np.int32)
        values = learner.warmup_steps(tf.constant(rows)).numpy()
        losses.append(dict(zip(learner.vqvae_metrics, values, strict=True))["event_loss"])
    return SimpleNamespace(learner=learner, skills=[*skills, measures.recognition()], losses=losses)


def test_codes_learn_to_tell_what_paid(learned):
    assert learned.losses[-1] < 0.5 * learned.losses[0]
    before, after = learned.skills
    assert before < 0.1 and after.skill > 0.5
    assert after.auc[2] > 0.95 and np.isnan(after.auc[0])


def test_the_encoder_feels_the_event_loss(learned):
    learner = learned.learner
    vqvae = learner.world_model.vqvae
    transitions = learner.recognition.draw(tf.range(4), learner.vqvae_updates)
    observations = learner._replay.observations(transitions.steps, 1)
    with tf.GradientTape(persistent=True) as tape:
        scaled = tf.cast(observations, tf.float32) / 255.0
        _, vectors = vqvae.losses_of(scaled, training=False)
        alone = [
            vectors._replace(**{part: tf.stop_gradient(getattr(vectors, part))})
            for part in ("inputs", "quantized")
        ]
        losses = [
            learner.recognition.loss(given, transitions, learner.vqvae_updates) for given in alone
        ]
    for loss in losses:  # through the codebook, and before it
        gradients = tape.gradient(loss, vqvae.encoder.trainable_variables)
        assert max(float(tf.reduce_max(tf.abs(g))) for g in gradients if g is not None) > 0.0


def test_without_a_weight_there_is_no_head():
    config = build_config(SETTINGS | {"vqvae.event_loss_weight": 0.0})
    world_model, _ = build_models(config, num_actions=3)
    assert world_model.recognition_head is None
    learner = WorldModelLearner(world_model, replay_of(), config)
    assert learner.recognition is None and "event_loss" not in learner.vqvae_metrics
