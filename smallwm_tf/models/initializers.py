"""Weight initialisation: uniform ±1/√fan_in for kernels and biases, drawn by name.

This is what the authors' PyTorch layers do by default; Keras would use Glorot kernels and zero
biases.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf
import tf_keras

from smallwm_tf.experiment.randomness import seed_pair

_Network = TypeVar("_Network", bound=tf_keras.layers.Layer)


def build_seeded(network: Callable[..., _Network], seed: int, **arguments: Any) -> _Network:
    """A network whose random weights depend on nothing but the seed and their own names.

    Keras draws weights from one global stream, in the order in which layers are made: another layer
    anywhere would change all that follow. Each weight is drawn anew by its own initialiser, seeded
    with the path of attributes that leads to it, such as "policy/hidden/kernel"; it begins with the
    network's ``name``.
    """
    initial_values = {}

    def remember(create: Callable[..., tf.Variable], **creation: Any) -> tf.Variable:
        variable = create(**creation)
        initial_values[variable.ref()] = creation["initial_value"]
        return variable

    with tf.variable_creator_scope(remember):
        built = network(**arguments)
    for path, variable in weights_by_path(built).items():
        # Keras passes functools.partial(initializer, shape, dtype=...).
        initializer = initial_values[variable.ref()].func
        settings = initializer.get_config()
        if "seed" in settings:  # ones and zeros have none
            settings["seed"] = int(seed_pair(seed, "weights", *path)[0])
            variable.assign(type(initializer).from_config(settings)(variable.shape))
    return built


def weights_by_path(network: tf_keras.layers.Layer) -> dict[tuple[str, ...], tf.Variable]:
    """Weights by the shortest path of attributes that leads to each."""
    weights, seen, found = {}, set(), [((network.name,), network)]
    for path, node in found:  # grows while it is walked
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, tf.Variable):
            weights[path] = node
        children = tf.train.TrackableView.children(node)
        found += [((*path, name), children[name]) for name in sorted(children)]
    return weights


def kernel_initializer() -> tf_keras.initializers.Initializer:
    """Uniform ±1/√fan_in; a variance of 1/(3·fan_in)."""
    return tf_keras.initializers.VarianceScaling(1.0 / 3.0, "fan_in", "uniform")


def bias_initializer(fan_in: int) -> tf_keras.initializers.Initializer:
    """Uniform ±1/√fan_in of the kernel that the bias belongs to."""
    limit = 1.0 / math.sqrt(fan_in)
    return tf_keras.initializers.RandomUniform(-limit, limit)


def conv2d(
    filters: int,
    kernel_size: int,
    in_channels: int,
    strides: int = 1,
    use_bias: bool = True,
    transposed: bool = False,
) -> tf_keras.layers.Conv2D:
    """A SAME convolution with the initial weights of this project.

    Like PyTorch's, the fan-in of a transposed one counts the *output* channels.
    """
    make = tf_keras.layers.Conv2DTranspose if transposed else tf_keras.layers.Conv2D
    fan_in = kernel_size**2 * (filters if transposed else in_channels)
    layer = make(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=use_bias,
        kernel_initializer=kernel_initializer(),
        bias_initializer=bias_initializer(fan_in),
    )
    layer.build([None, None, None, in_channels])
    return layer


def dense(
    units: int,
    in_features: int,
    kernel: tf_keras.initializers.Initializer | None = None,
    **kwargs: Any,
) -> tf_keras.layers.Dense:
    """A fully connected layer with the initial weights of this project, or another ``kernel``.

    On grid-major tensors [36, B, C] it is a 1×1 convolution. Its weights are named after it.
    """
    layer = tf_keras.layers.Dense(
        units,
        kernel_initializer=kernel or kernel_initializer(),
        bias_initializer=bias_initializer(in_features),
        **kwargs,
    )
    with tf.name_scope(layer.name):
        layer.build([None, in_features])
    return layer
