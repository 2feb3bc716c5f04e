"""What the code heads share whose 36 codes depend on each other (not in the paper).

Logits of a cell are those of y_t alone, as in the paper, plus what gated convolutions make of the
next codes that are known already (van den Oord et al., 2016, "Conditional Image Generation with
PixelCNN Decoders", Eq. 4):

    x_l = x_{l-1} + tanh(a) · σ(b),   (a, b) = W_l * x_{l-1} + V_l y_t + U_l r_t

A convolution is a product with the features of a cell's neighbours side by side. Which ones a layer
looks at stands in a table, so that a pass over the whole grid and one over a single cell, of which
the others' features are kept, are the same.

Shapes: B batch, C channels of the cells, M actions, K embeddings, N neighbours, E features; cells
are numbered row by row.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from smallwm_tf.models import initializers
from smallwm_tf.models.bilinear_algorithms import GRID_SIZE, NUM_CELLS
from smallwm_tf.models.event_heads import NUM_REWARD_CLASSES, reward_classes
from smallwm_tf.models.independent_codes import CodeLogits
from smallwm_tf.models.input_checks import COLDEST

_EMBEDDING_DIM = 32  # of next codes
_CHANNELS = 64  # of the gated layers
NUM_LAYERS = 3
NUM_CONDITIONS = NUM_LAYERS * 2 * _CHANNELS  #: of each cell
_SMALLEST = 1e-20  # uniform number whose logarithm is finite


class Weights(NamedTuple):
    """Of what looks at next codes; tensors or variables."""

    embeddings: tf.Tensor  # of codes, and perhaps of an unknown one, [K or K + 1, E]
    kernels: Sequence[tf.Tensor]  # of the layers, [N, E, 2·64]
    correction: tf.Tensor  # of the logits, [64, K]


class _Tensors(NamedTuple):
    logits: tf.Tensor  # of y_t and z_t alone, [B, 6, 6, K]
    conditions: tf.Tensor  # V y_t, and U r_t if it is given, [B, 6, 6, NUM_CONDITIONS]


class JointCodes(_Tensors):
    """p(z_{t+1} | y_t), see ``IndependentCodes`` for the methods.

    Each head has a class of its own, which knows it; the nest holds tensors only.
    """

    head: "JointCodeHead"

    def given(self, rewards: tf.Tensor) -> "JointCodes":
        """p(z_{t+1} | y_t, r_t) of rewards [B], which are clipped and rounded."""
        added = tf.gather(self.head.reward_conditions, reward_classes(rewards))
        return self._replace(conditions=self.conditions + added[:, tf.newaxis, tf.newaxis])

    def log_prob(self, codes: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        return self.head.log_prob(self, codes, seed)

    def sample(self, seed: tf.Tensor, temperature: float | tf.Tensor = 1.0) -> tf.Tensor:
        return self.head.draw(self, seed, temperature)

    def mode(self) -> tf.Tensor:
        """What ``sample`` draws at temperature 0; other codes may be more probable together."""
        return self.head.draw(self, tf.zeros([2], tf.int32), 0.0)

    def entropy(self, codes: tf.Tensor, temperature: float | tf.Tensor = 1.0) -> tf.Tensor:
        return self.head.entropy(self, codes, temperature)


class JointCodeHead(CodeLogits):
    """See ``CodeLogits`` for the arguments."""

    neighbourhoods: Sequence[np.ndarray]  #: of each layer, from ``neighbours``
    num_further_embeddings = 0  #: beside those of codes

    def __init__(self, num_embeddings: int, num_channels: int, *further: Any, **kwargs):
        super().__init__(num_embeddings, num_channels, *further, **kwargs)
        self._codes = type("JointCodes", (JointCodes,), {"head": self, "__slots__": ()})
        # Of unit size, as the vectors that others start from; rewards begin with no influence.
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=[num_embeddings + self.num_further_embeddings, _EMBEDDING_DIM],
            initializer=initializers.bias_initializer(1),
        )
        sizes = [_EMBEDDING_DIM, *[_CHANNELS] * (NUM_LAYERS - 1)]
        self.kernels = [
            self.add_weight(
                name=f"kernel_{layer}",
                shape=[table.shape[1], size, 2 * _CHANNELS],
                initializer=initializers.kernel_initializer(),
            )
            for layer, (table, size) in enumerate(zip(self.neighbourhoods, sizes, strict=True))
        ]
        self.conditions = initializers.dense(NUM_CONDITIONS, num_channels)
        self.reward_conditions = self.add_weight(
            name="reward_conditions",
            shape=[NUM_REWARD_CLASSES, NUM_CONDITIONS],
            initializer="zeros",
        )
        self.correction = initializers.dense(num_embeddings, _CHANNELS, use_bias=False)

    @property
    def weights_of_codes(self) -> Weights:
        variables = Weights(self.embeddings, tuple(self.kernels), self.correction.kernel)
        return tf.nest.map_structure(tf.convert_to_tensor, variables)

    def distribution(self, y: tf.Tensor, present_codes: tf.Tensor) -> JointCodes:
        """p(z_{t+1} | y_t), of y [36, B, C + M] and the present codes z_t, int [B, 6, 6]."""
        conditions = tf.reshape(self.conditions(y), [GRID_SIZE, GRID_SIZE, -1, NUM_CONDITIONS])
        logits = tf.squeeze(self.logits(y, present_codes), axis=1)
        return self.of(logits, tf.transpose(conditions, [2, 0, 1, 3]))

    def of(self, logits: tf.Tensor, conditions: tf.Tensor) -> JointCodes:
        """The distribution that has these tensors."""
        return self._codes(logits, conditions)

    def draw(
        self,
        codes: JointCodes,
        seed: tf.Tensor,
        temperature: float | tf.Tensor,
        as_loop: bool = True,
    ) -> tf.Tensor:
        """Codes int32 [B, 6, 6]; see ``IndependentCodes.sample``.

        Args:
          codes: whose.
          seed: an int32 pair.
          temperature: divides the logits; 0 takes the most probable code each time.
          as_loop: whether what is done 36 times is a loop of the graph, and compiled.
        """
        raise NotImplementedError

    def log_prob(self, codes: JointCodes, values: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        """Nats per grid of values int32 [B, 6, 6]: [B]."""
        raise NotImplementedError

    def entropy(
        self, codes: JointCodes, values: tf.Tensor, temperature: float | tf.Tensor
    ) -> tf.Tensor:
        """Nats of each cell when these values were drawn, [B, 6, 6]."""
        raise NotImplementedError


def neighbours(offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """Numbers of the cells at these offsets (rows, columns) from each: int [36, N].

    36 stands for one outside of the grid.
    """
    places = np.array([divmod(cell, GRID_SIZE) for cell in range(NUM_CELLS)])
    places = places[:, np.newaxis] + np.array(offsets)  # [36, N, 2]
    is_inside = np.all((places >= 0) & (places < GRID_SIZE), axis=-1)
    return np.where(is_inside, places @ [GRID_SIZE, 1], NUM_CELLS).astype(np.int32)


def gated(
    layer: int, near: tf.Tensor, conditions: tf.Tensor, kernel: tf.Tensor, below: tf.Tensor
) -> tf.Tensor:
    """x_l, [..., 64].

    Args:
      layer: l, from 0 on.
      near: x_{l-1} of the neighbours side by side, [..., N·E].
      conditions: [..., NUM_CONDITIONS].
      kernel: [N, E, 2·64].
      below: x_{l-1} of the cells themselves, of which the first layer takes no notice.
    """
    summed = tf.matmul(near, tf.reshape(kernel, [-1, 2 * _CHANNELS]))
    first = 2 * _CHANNELS * layer
    summed += conditions[..., first : first + 2 * _CHANNELS]
    value, gate = tf.split(summed, 2, axis=-1)
    features = tf.tanh(value) * tf.sigmoid(gate)
    return below + features if layer else features


def corrected_logits(
    codes: _Tensors, known: tf.Tensor, weights: Weights, neighbourhoods: Sequence[np.ndarray]
) -> tf.Tensor:
    """Logits of all cells from known next codes int [B, 36], in one pass: [B, 36, K]."""
    logits = tf.reshape(codes.logits, [-1, NUM_CELLS, codes.logits.shape[-1]])
    conditions = tf.reshape(codes.conditions, [-1, NUM_CELLS, NUM_CONDITIONS])
    features = tf.gather(weights.embeddings, known)
    for layer, (kernel, table) in enumerate(zip(weights.kernels, neighbourhoods, strict=True)):
        padded = tf.pad(features, [[0, 0], [0, 1], [0, 0]])
        near = tf.gather(padded, table, axis=1)  # [B, 36, N, E]
        near = tf.reshape(near, [-1, NUM_CELLS, table.shape[1] * features.shape[-1]])
        features = gated(layer, near, conditions, kernel, features)
    return logits + tf.matmul(features, weights.correction)


def zero_if_cold(temperature: float | tf.Tensor) -> tf.Tensor:
    """The temperature, float32 []; 0 for what is below ``COLDEST``."""
    temperature = tf.convert_to_tensor(temperature, tf.float32)
    return tf.where(temperature < COLDEST, 0.0, temperature)


def gumbel_noise(shape: Sequence[int | tf.Tensor], seed: tf.Tensor) -> tf.Tensor:
    """Standard Gumbel numbers: the largest of logits / T + noise is a draw at temperature T."""
    uniform = tf.random.stateless_uniform(shape, seed, minval=_SMALLEST)
    return -tf.math.log(-tf.math.log(uniform))
