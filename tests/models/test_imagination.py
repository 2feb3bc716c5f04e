"""Steps of a dream on a world model whose predictions are written down by hand."""

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.models.code_heads import CodesGivenReward, IndependentCodes
from smallwm_tf.models.event_heads import Events, RewardDistribution
from smallwm_tf.models.imagination import Dreamer, DreamSettings, Past
from smallwm_tf.models.world_model import Prediction

K, B, T = 4, 2, 3
SEED = tf.constant([5, -6])


class HandMadeModel:
    """Codes count up by the action; the state adds up all codes that it has seen."""

    num_stacked_frames = 1
    compiled = False

    def __init__(self, certainty: float):
        self.certainty = certainty  # logit of the likeliest code and reward, all others 0

    def encode(self, observations):
        return tf.cast(observations[:, :6, :6, 0], tf.int32) % K

    def decode(self, codes):
        return tf.zeros([len(codes), 96, 96, 1])

    def initial_state(self, batch_size):
        return tf.zeros([batch_size])

    def masked(self, state, keep):
        return tf.where(keep, state, 0.0)

    def prepare(self):
        return tf.constant(7.0)

    def predict(self, codes, actions, state, kernels):
        likeliest = (codes + actions[:, tf.newaxis, tf.newaxis]) % K
        logits = self.certainty * tf.one_hot(likeliest, K)
        seen = state + tf.reduce_sum(tf.cast(codes, tf.float32), axis=[1, 2])
        return Prediction(seen + 0.0 * kernels, IndependentCodes(logits), seen)

    def events(self, transition):
        """Pays +1 where the likeliest next code of the first cell is 0, else −1."""
        following = (transition.codes[:, 0, 0] + transition.actions) % K
        paid = tf.where(following == 0, 2, 0)
        return Events(RewardDistribution(self.certainty * tf.one_hot(paid, 3)), None)


def frames_of(values) -> tf.Tensor:
    """Observations whose codes are these values everywhere."""
    shape = [*np.shape(values), 96, 96, 1]
    return tf.constant(
        np.broadcast_to(np.reshape(values, [*np.shape(values), 1, 1, 1]), shape), tf.uint8
    )


def past_of(values, actions, valid) -> Past:
    return Past(frames_of(values), tf.constant(actions), tf.constant(valid))


NO_PAST = past_of(np.zeros([B, 0], int), np.zeros([B, 0], np.int32), np.zeros([B, 0], bool))


def dream(certainty=0.0, seed=SEED, steps=1, past=NO_PAST, **settings):
    dreamer = Dreamer(HandMadeModel(certainty), DreamSettings(**settings))
    state = dreamer.start(frames_of([1, 2]), past)
    found = []
    for _ in range(steps):
        step, state = dreamer.step(state, tf.constant([1, 2]), seed)
        found.append(step)
    return found, state


@pytest.mark.parametrize("how", [{"seed": None}, {"temperature": 0.0}, {"temperature": 1e-3}])
def test_likeliest_codes_are_fed_back(how):
    steps, state = dream(certainty=1.0, steps=3, **how)
    for number, step in enumerate(steps, start=1):
        expected = [(1 + number) % K, (2 + 2 * number) % K]
        np.testing.assert_array_equal(step.codes[:, 0, 0], expected)
        assert np.all(step.codes == step.codes[:, :1, :1])
    np.testing.assert_array_equal(state.codes, steps[-1].codes)
    np.testing.assert_array_equal(state.recurrent, [36 * (1 + 2 + 3), 36 * (2 + 0 + 2)])


class PayingModel(HandMadeModel):
    """Pays at random; the next codes show what was paid: 0, 1 or 2 everywhere."""

    def predict(self, codes, actions, state, kernels):
        shown = tf.one_hot(tf.range(3), K)[tf.newaxis, :, tf.newaxis, tf.newaxis]
        logits = tf.broadcast_to(50.0 * shown, [B, 3, 6, 6, K])
        return Prediction(state, CodesGivenReward(logits), state)

    def events(self, transition):
        return Events(RewardDistribution(tf.zeros([B, 3])), None)


def test_codes_are_drawn_given_the_reward_that_was_drawn():
    seen = set()
    for paid in ("sampled", "expected"):
        dreamer = Dreamer(PayingModel(0.0), DreamSettings(rewards=paid))
        state = dreamer.start(frames_of([1, 2]), NO_PAST)
        for number in range(20):
            step, _ = dreamer.step(state, tf.constant([1, 2]), tf.constant([number, 5]))
            codes = step.codes.numpy()
            assert (codes == codes[:, :1, :1]).all()
            seen |= set(codes[:, 0, 0].tolist())
            expected = codes[:, 0, 0] - 1.0 if paid == "sampled" else [0.0, 0.0]
            np.testing.assert_array_equal(step.rewards, expected)
            np.testing.assert_allclose(
                step.code_distribution.logits[:, 0, 0].numpy().argmax(-1), codes[:, 0, 0]
            )
    assert seen == {0, 1, 2}
    step, _ = dreamer.step(state, tf.constant([1, 2]), None)  # the first of three equal rewards
    assert (step.codes.numpy() == 0).all()


def test_rewards_belong_to_the_codes_that_were_drawn():
    steps, _ = dream(certainty=1.0, steps=3, seed=None)
    rewards = np.stack([step.rewards for step in steps])
    np.testing.assert_array_equal(rewards, [[-1, 1], [-1, -1], [1, 1]])
    (mean,), _ = dream(certainty=1.0, rewards="expected", temperature=0.0)
    odds = np.e / (np.e + 2), 1 / (np.e + 2)
    np.testing.assert_allclose(mean.rewards, [odds[1] - odds[0], odds[0] - odds[1]], rtol=1e-5)
    drawn = [dream(temperature=0.0, seed=tf.constant([n, 0]))[0][0].rewards for n in range(30)]
    assert set(np.ravel(drawn)) == {-1.0, 0.0, 1.0}


def test_the_temperature_sharpens_what_is_drawn():
    shares = []
    for temperature in (1.0, 0.5):
        (step,), _ = dream(certainty=1.0, temperature=temperature)
        shares.append(np.mean(step.codes == [[[2]], [[0]]]))
    expected = [np.e / (np.e + 3), np.e**2 / (np.e**2 + 3)]
    np.testing.assert_allclose(shares, expected, atol=0.12)  # 72 draws each


def test_equal_seeds_draw_equal_numbers_and_codes_and_rewards_draw_their_own():
    (one,), _ = dream()
    (again,), _ = dream()
    (other,), _ = dream(seed=SEED + 1)
    np.testing.assert_array_equal(one.codes, again.codes)
    assert not np.array_equal(one.codes, other.codes)


def test_the_stream_of_a_step_is_the_recorded_one():
    """Golden: runs repeat only as long as a seed draws what it drew."""
    (step,), _ = dream()
    assert step.codes.numpy()[0, 0].tolist() == GOLDEN_CODES
    draws = [dream(seed=tf.constant([n, 9]))[0][0].rewards.numpy()[0] for n in range(8)]
    assert draws == GOLDEN_REWARDS


GOLDEN_CODES = [1, 0, 2, 1, 3, 1]
GOLDEN_REWARDS = [1.0, 0.0, 1.0, -1.0, 1.0, 0.0, 0.0, 1.0]


def test_the_state_has_seen_the_valid_steps_before():
    valid = [[False, True, True], [False, False, True]]
    past = past_of([[1, 2, 3], [3, 3, 2]], np.zeros([B, T], np.int32), valid)
    dreamer = Dreamer(HandMadeModel(0.0), DreamSettings(context_steps=T))
    state = dreamer.start(frames_of([1, 2]), past)
    np.testing.assert_array_equal(state.recurrent, [36 * (2 + 3), 36 * 2])
    np.testing.assert_array_equal(state.codes[:, 0, 0], [1, 2])


def test_settings_are_those_that_policies_are_trained_with():
    from smallwm_tf.experiment.config import build_config

    differences = {"dynamics.temperature": 0.3, "dream.context_steps": 2}
    config = build_config(differences | {"dream.rewards": "expected"})
    assert DreamSettings.of(config) == DreamSettings(0.3, 2, "expected")
