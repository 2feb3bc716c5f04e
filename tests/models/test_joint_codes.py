"""Code heads whose codes depend on each other, against loops over the cells in NumPy."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.models import masked_codes
from smallwm_tf.models.autoregressive_codes import AutoregressiveCodeHead
from smallwm_tf.models.code_heads import CODE_HEADS
from smallwm_tf.models.execution import DIRECT, FAST
from smallwm_tf.models.masked_codes import NUM_ROUNDS, UNKNOWN_AFTER, MaskedCodeHead

B, K, Y = 2, 3, 5
SEED = tf.constant([11, -3])
JOINT = ("autoregressive", "masked")
CELLS = [divmod(cell, 6) for cell in range(36)]


def head_of(name, execution=DIRECT, present_code_logit=0.0):
    """A head on which codes and rewards have much influence."""
    tf.keras.utils.set_random_seed(4)
    head = CODE_HEADS[name](K, Y, present_code_logit, execution)
    draw = np.random.default_rng(6)
    head.reward_conditions.assign(draw.normal(size=head.reward_conditions.shape))
    head.correction.kernel.assign(4.0 * head.correction.kernel)
    head.kernels[0].assign(4.0 * head.kernels[0])
    head.convolution.kernel.assign(0.3 * head.convolution.kernel)
    return head


@pytest.fixture(scope="module")
def heads():
    return {name: head_of(name) for name in JOINT}


def y_of(batch_size=B):
    return np.random.default_rng(1).normal(size=[36, batch_size, Y]).astype(np.float32)


def distribution_of(head, batch_size=B, rewards=None):
    present = np.random.default_rng(2).integers(K, size=[batch_size, 6, 6])
    found = head.distribution(tf.constant(y_of(batch_size)), tf.constant(present))
    return found if rewards is None else found.given(tf.constant(rewards))


def many(codes, count):
    """The same distribution of one grid, ``count`` times."""
    return tf.nest.map_structure(lambda tensor: tf.repeat(tensor[:1], count, axis=0), codes)


def codes_of(batch_size=B, seed=3):
    return np.random.default_rng(seed).integers(K, size=[batch_size, 6, 6]).astype(np.int32)


# What a layer sees of the layer below, by hand: rows and columns relative to a cell.
ABOVE = [(-1, column) for column in range(-5, 6)]
LOOKS = {
    "autoregressive": [
        ABOVE + [(0, column) for column in range(-5, 0)],
        *[[(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 0)]] * 2,
    ],
    "masked": [[(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]] * 3,
}


def logits_by_hand(head, name, b, known, rewards=None, codes=None):
    """Logits of the b-th grid given known codes [6, 6]: a convolution cell by cell, [6, 6, K]."""
    y = y_of()[:, b].astype(np.float64)
    conditions = y @ head.conditions.kernel.numpy() + head.conditions.bias.numpy()
    if rewards is not None:
        conditions = conditions + head.reward_conditions.numpy()[int(np.sign(rewards[b])) + 1]
    features = {place: head.embeddings.numpy()[known[place]] for place in CELLS}
    for layer, looks in enumerate(LOOKS[name]):
        kernel, above = head.kernels[layer].numpy(), {}
        for cell, (row, column) in enumerate(CELLS):
            summed = conditions[cell, 128 * layer : 128 * (layer + 1)].copy()
            for tap, (down, right) in enumerate(looks):
                if (row + down, column + right) in features:
                    summed += features[row + down, column + right] @ kernel[tap]
            gated = np.tanh(summed[:64]) / (1.0 + np.exp(-summed[64:]))
            above[row, column] = gated + (features[row, column] if layer else 0.0)
        features = above
    base = y @ head.convolution.kernel.numpy() + head.convolution.bias.numpy()
    of_codes = np.stack([features[place] for place in CELLS]) @ head.correction.kernel.numpy()
    return (base + of_codes).reshape(6, 6, K)


def log_softmax(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def given_all_before(head, distribution, codes):
    """Log-probabilities of each cell given the codes before it, [B, 6, 6, K], in one pass."""
    return log_softmax(head._given(distribution, tf.constant(codes)).logits.numpy())


# --- the autoregressive head -----------------------------------------------------------------


def test_no_cell_knows_itself_or_what_comes_after_it(heads):
    head, codes = heads["autoregressive"], codes_of(1)
    distribution = distribution_of(head, 1)
    before = given_all_before(head, distribution, codes).reshape(36, K)
    told = np.zeros([36, 36], bool)  # whether the cell of the column heeds that of the row
    for cell, place in enumerate(CELLS):
        changed = codes.copy()
        changed[(0, *place)] = (changed[(0, *place)] + 1) % K
        after = given_all_before(head, distribution, changed).reshape(36, K)
        told[cell] = np.any(after != before, axis=1)
    assert not np.any(np.tril(told))
    for cell, (row, column) in enumerate(CELLS):  # and there is no blind spot
        for other, (at_row, at_column) in enumerate(CELLS[:cell]):
            near = row - at_row <= 3
            assert told[other, cell] == near, ((at_row, at_column), (row, column))


def test_the_log_probability_is_the_product_of_all_conditionals(heads):
    head, codes, rewards = heads["autoregressive"], codes_of(), [0.0, 5.0]
    expected = []
    for b in range(B):
        known, total = np.zeros([6, 6], int), 0.0  # what comes later does not matter
        for place in CELLS:
            logits = logits_by_hand(head, "autoregressive", b, known, rewards)
            total += log_softmax(logits)[place][codes[b][place]]
            known[place] = codes[b][place]
        expected.append(total)
    found = distribution_of(head, rewards=rewards).log_prob(tf.constant(codes))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert abs(expected[0] - float(distribution_of(head).log_prob(codes)[0])) > 0.1  # rewards tell


def noise_of(batch_size):
    """The numbers that a draw adds to the logits, [36, B, K]."""
    uniform = tf.random.stateless_uniform([36, batch_size, K], SEED, minval=1e-20).numpy()
    return -np.log(-np.log(uniform.astype(np.float64)))


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_drawing_with_kept_features_is_drawing_cell_by_cell(heads, temperature):
    head = heads["autoregressive"]
    distribution, noise = distribution_of(head), noise_of(B)
    expected = np.zeros([B, 6, 6], np.int32)
    for cell, place in enumerate(CELLS):
        log_p = given_all_before(head, distribution, expected)[(slice(None), *place)]
        expected[(slice(None), *place)] = np.argmax(log_p + temperature * noise[cell], axis=-1)
    drawn = distribution.sample(SEED, temperature)
    np.testing.assert_array_equal(drawn, expected)
    np.testing.assert_array_equal(head.draw(distribution, SEED, temperature, False), expected)
    if not temperature:
        np.testing.assert_array_equal(distribution.mode(), expected)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_codes_are_drawn_as_often_as_the_chain_of_conditionals_says(heads, temperature):
    head, count = heads["autoregressive"], 3000
    distribution = distribution_of(head, 1)
    logits = distribution.logits.numpy()  # all codes of the first cell as likely
    logits[0, 0, 0] -= given_all_before(head, distribution, codes_of(1))[0, 0, 0]
    distribution = distribution._replace(logits=tf.constant(logits))
    drawn = many(distribution, count).sample(SEED, temperature).numpy()
    shares, expected = np.zeros([K, K]), np.zeros([K, K])
    for pair in itertools.product(range(K), repeat=2):
        codes = np.zeros([1, 6, 6], np.int32)
        codes[0, 0, :2] = pair
        logits = given_all_before(head, distribution, codes) / temperature
        p = np.exp(log_softmax(logits))[0, 0]
        expected[pair] = p[0, pair[0]] * p[1, pair[1]]
        shares[pair] = np.mean(np.all(drawn[:, 0, :2] == pair, axis=1))
    np.testing.assert_allclose(shares, expected, atol=0.03)
    alone = np.outer(expected.sum(axis=1), expected.sum(axis=0))
    assert np.abs(alone - expected).max() > 0.05  # the second knows the first


def test_the_entropy_of_a_cell_is_that_of_its_conditional(heads):
    head, codes = heads["autoregressive"], codes_of()
    distribution = distribution_of(head)
    log_p = log_softmax(given_all_before(head, distribution, codes) / 0.5)
    expected = -(np.exp(log_p) * log_p).sum(axis=-1)
    np.testing.assert_allclose(distribution.entropy(codes, 0.5), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(distribution.entropy(codes, 0.0), np.zeros([B, 6, 6]))


# --- the masked head -------------------------------------------------------------------------


def test_half_known_codes_are_seen_by_gated_convolutions(heads):
    head, known = heads["masked"], codes_of()
    known[:, 2:5, 1:4] = K  # unknown
    rewards = [-2.0, 1.0]
    distribution = distribution_of(head, rewards=rewards)
    found = masked_codes.corrected_logits(
        distribution, known.reshape(B, 36), head.weights_of_codes, head.neighbourhoods
    )
    for b in range(B):
        expected = logits_by_hand(head, "masked", b, known[b], rewards)
        np.testing.assert_allclose(found[b], expected.reshape(36, K), rtol=1e-3, atol=1e-3)


def test_as_many_codes_are_hidden_as_said_and_each_as_often():
    hidden, counts = [], []
    for number in range(40):
        is_unknown, count = masked_codes._masks(tf.constant(36), tf.constant([number, 1]))
        np.testing.assert_array_equal(tf.reduce_sum(tf.cast(is_unknown, tf.int32), 1), count)
        # Spread evenly: each number once, but for rounding where one begins.
        assert np.bincount(count, minlength=37)[1:].max() <= 2
        hidden.append(is_unknown)
        counts.append(count)
    shares = np.mean(np.concatenate(hidden), axis=0)  # 18.5 of 36
    np.testing.assert_allclose(shares, 18.5 / 36, atol=0.06)
    np.testing.assert_allclose(np.mean(counts), 18.5, atol=0.3)
    assert {int(n) for n in np.ravel(counts)} == set(range(1, 37))


def test_the_masked_loss_is_an_unbiased_estimate_of_nats_in_random_order(heads):
    """Against orders that are gone through; all cells but three are certain."""
    head = heads["masked"]
    places = [0, 1, 7]
    certain = [cell for cell in range(36) if cell not in places]
    codes = codes_of(1)
    values = codes.reshape(36)
    one = distribution_of(head, 1)
    logits = one.logits.numpy()
    for cell in certain:
        logits[(0, *CELLS[cell], values[cell])] += 60.0
    logits[0, [0, 0, 1], [0, 1, 1]] -= logits_by_hand_of_nothing(head)[[0, 0, 1], [0, 1, 1]]
    one = one._replace(logits=tf.constant(logits))

    # Drawing all 36 in a random order: at its turn a cell knows those whose turn was before.
    turns = np.argsort(np.random.default_rng(8).random([500, 36]), axis=1)
    sums = np.zeros(500)
    for cell in places:
        known = np.where(turns < turns[:, cell : cell + 1], values, K)
        found = masked_codes.corrected_logits(
            many(one, 500), known, head.weights_of_codes, head.neighbourhoods
        )
        sums += log_softmax(found.numpy()[:, cell].astype(np.float64))[:, values[cell]]
    expected, error = sums.mean(), sums.std() / math.sqrt(len(sums))
    batch, all_codes = many(one, 1500), tf.constant(np.repeat(codes, 1500, axis=0))
    found = np.concatenate([batch.log_prob(all_codes, SEED + number) for number in range(4)])
    tolerance = 4 * math.hypot(error, found.std() / math.sqrt(len(found)))
    assert tolerance < 0.15 * abs(expected)
    assert abs(found.mean() - expected) < tolerance, (found.mean(), expected)
    np.testing.assert_array_equal(
        one.log_prob(tf.constant(codes), SEED), one.log_prob(tf.constant(codes), SEED)
    )


def test_every_cell_is_filled_once_in_a_few_rounds(heads, monkeypatch):
    head, seen = heads["masked"], []
    predict = masked_codes.corrected_logits

    def noting(codes, known, *arguments):
        seen.append(known.numpy())
        return predict(codes, known, *arguments)

    monkeypatch.setattr(masked_codes, "corrected_logits", noting)
    drawn = distribution_of(head).sample(SEED).numpy().reshape(B, 36)
    assert len(seen) == NUM_ROUNDS == 4
    expected = [36, *(math.floor(36 * math.cos(math.pi * r / 8)) for r in (1, 2, 3)), 0]
    assert [36, *UNKNOWN_AFTER] == expected == [36, 33, 25, 13, 0]
    seen.append(drawn)
    for number, (before, after) in enumerate(itertools.pairwise(seen)):
        assert np.all((before == K).sum(axis=1) == expected[number])
        np.testing.assert_array_equal(after[before < K], before[before < K])
    assert np.all(drawn < K)


def test_cold_rounds_keep_the_most_certain_of_the_most_probable_codes(heads):
    head = heads["masked"]
    distribution = distribution_of(head)
    known = np.full([B, 6, 6], K)
    for left in UNKNOWN_AFTER:
        for b in range(B):
            log_p = log_softmax(logits_by_hand(head, "masked", b, known[b])).reshape(36, K)
            flat = known[b].reshape(36)
            still = np.flatnonzero(flat == K)
            surest = still[np.argsort(-log_p[still].max(axis=1), kind="stable")]
            for cell in surest[: len(still) - left]:
                flat[cell] = log_p[cell].argmax()
    np.testing.assert_array_equal(distribution.mode(), known)
    np.testing.assert_array_equal(distribution.sample(SEED, 0.0), known)
    np.testing.assert_array_equal(distribution.sample(SEED, tf.constant(1e-9)), known)


def test_a_single_round_of_the_masked_head_draws_its_conditionals(heads):
    """Without choosing among draws: what the last of the rounds fills is drawn as it says."""
    head, count = heads["masked"], 3000
    one = distribution_of(head, 1)
    batch = many(one, count)
    noise = masked_codes.gumbel_noise([1, count, 36, K], SEED)
    rounds = masked_codes._fill
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(masked_codes, "UNKNOWN_AFTER", [0])
        patched.setattr(masked_codes, "NUM_ROUNDS", 1)
        drawn = rounds(*batch, head.weights_of_codes, noise, tf.zeros([1, count, 36])).numpy()
    expected = np.exp(log_softmax(logits_by_hand_of_nothing(head)))
    shares = np.stack([(drawn == code).mean(axis=0) for code in range(K)], axis=-1)
    np.testing.assert_allclose(shares, expected, atol=0.045)


def logits_by_hand_of_nothing(head):
    found = distribution_of(head, 1)
    unknown = np.full([1, 36], K)
    logits = masked_codes.corrected_logits(
        found, unknown, head.weights_of_codes, head.neighbourhoods
    )
    return logits.numpy().reshape(6, 6, K)


def test_the_masked_heads_entropy_is_that_before_any_code_is_known(heads):
    distribution = distribution_of(heads["masked"], 1)
    log_p = log_softmax(logits_by_hand_of_nothing(heads["masked"]) / 2.0)
    expected = -(np.exp(log_p) * log_p).sum(axis=-1)
    found = distribution.entropy(tf.constant(codes_of(1)), 2.0)
    np.testing.assert_allclose(found[0], expected, rtol=1e-3)


# --- both ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", JOINT)
def test_seeds_repeat(heads, name):
    distribution = many(distribution_of(heads[name], 1), 8)
    first, again, other = (
        distribution.sample(seed).numpy() for seed in (SEED, SEED, tf.constant([11, -4]))
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other) and np.any(first[0] != first[1])
    assert first.dtype == np.int32 and first.shape == (8, 6, 6)


@pytest.mark.parametrize("name", JOINT)
def test_compiled_draws_are_the_same_and_graphs_hand_distributions_on(heads, name):
    plain, compiled = heads[name], head_of(name, FAST)
    found = tf.function(lambda: distribution_of(compiled), autograph=False)()
    assert found.head is compiled and len(tf.nest.flatten(found)) == 2
    draw = tf.function(found.sample, autograph=False)
    for temperature in (0.0, 1.0):
        expected = distribution_of(plain).sample(SEED, temperature)
        np.testing.assert_array_equal(draw(SEED, tf.constant(temperature)), expected)


@pytest.mark.parametrize("name", JOINT)
def test_gradients_reach_the_stack_and_every_weight(heads, name):
    head, y = heads[name], tf.constant(y_of())
    rewards = tf.constant([1.0, -1.0])
    with tf.GradientTape() as tape:
        tape.watch(y)
        codes = head.distribution(y, tf.constant(codes_of())).given(rewards)
        loss = -tf.reduce_sum(codes.log_prob(tf.constant(codes_of(seed=9)), SEED))
    assert len(head.trainable_variables) == 10
    for gradient in tape.gradient(loss, [y, *head.trainable_variables]):
        assert np.any(tf.convert_to_tensor(gradient).numpy() != 0.0)


@pytest.mark.parametrize("name", JOINT)
def test_the_present_code_is_favoured(name):
    present = codes_of()
    head = head_of(name, present_code_logit=100.0)
    codes = head.distribution(tf.constant(y_of()), tf.constant(present))
    np.testing.assert_array_equal(codes.mode(), present)
    np.testing.assert_array_equal(codes.sample(SEED), present)
    np.testing.assert_allclose(codes.log_prob(tf.constant(present), SEED), [0.0, 0.0], atol=1e-3)


@pytest.mark.parametrize("head", [AutoregressiveCodeHead, MaskedCodeHead])
def test_codes_drawn_from_nothing_finite_are_codes_all_the_same(head):
    head = head(K, Y, 0.0)
    codes = head.distribution(tf.fill([36, 1, Y], np.nan), tf.zeros([1, 6, 6], tf.int32))
    drawn = codes.sample(SEED).numpy()
    assert np.all((drawn >= 0) & (drawn < K))
