"""Weight initialisation: uniform ±1/√fan_in for kernels and biases.

This is what the authors' PyTorch layers do by default (paper_details, section 7); Keras would use
Glorot kernels and zero biases.
"""

import math
from typing import Any

import tf_keras


def kernel_initializer() -> tf_keras.initializers.Initializer:
    """Uniform ±1/√fan_in; a variance of 1/(3·fan_in)."""
    return tf_keras.initializers.VarianceScaling(
        scale=1.0 / 3.0, mode="fan_in", distribution="uniform"
    )


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
    **kwargs: Any,
) -> tf_keras.layers.Conv2D:
    """A SAME convolution with the initial weights of this project."""
    return tf_keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=use_bias,
        kernel_initializer=kernel_initializer(),
        bias_initializer=bias_initializer(kernel_size**2 * in_channels),
        **kwargs,
    )


def conv2d_transpose(
    filters: int, kernel_size: int, strides: int, **kwargs: Any
) -> tf_keras.layers.Conv2DTranspose:
    """A SAME transposed convolution; like PyTorch, its fan-in counts the *output* channels."""
    return tf_keras.layers.Conv2DTranspose(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        kernel_initializer=kernel_initializer(),
        bias_initializer=bias_initializer(kernel_size**2 * filters),
        **kwargs,
    )


def dense(units: int, in_features: int, **kwargs: Any) -> tf_keras.layers.Dense:
    """A fully connected layer with the initial weights of this project."""
    return tf_keras.layers.Dense(
        units,
        kernel_initializer=kernel_initializer(),
        bias_initializer=bias_initializer(in_features),
        **kwargs,
    )
