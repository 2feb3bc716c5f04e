"""Convolutions 4×4 with stride 2, and their adjoints, from what processors without AVX-512 do well.

oneDNN runs the transposed convolution and the kernel's gradient at a third of the machine's rate
there (docs/performance.md). With the image cut into blocks of 2×2 pixels both get stride 1: the
first is a 2×2 convolution of blocks, the second four matrix products.

Shapes: B batch, H×W pixels, C channels of the large images, D of the small ones, [B, H/2, W/2, D].
"""

import tensorflow as tf

_FEWEST_CHANNELS = 32  # C below which oneDNN's kernel gradient is the faster one


@tf.custom_gradient
def halve(images: tf.Tensor, kernel: tf.Tensor):
    """Convolves [B, H, W, C] with a kernel [4, 4, C, D], stride 2: [B, H/2, W/2, D]."""

    def gradient(upstream):
        return _double(upstream, kernel), _kernel_gradient(images, upstream)

    return _halve(images, kernel), gradient


@tf.custom_gradient
def double(images: tf.Tensor, kernel: tf.Tensor):
    """The adjoint of ``halve``: [B, H/2, W/2, D] → [B, H, W, C]."""

    def gradient(upstream):
        return _halve(upstream, kernel), _kernel_gradient(upstream, images)

    return _double(images, kernel), gradient


def _halve(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return tf.nn.conv2d(images, kernel, strides=2, padding="SAME")


def _double(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    channels, small_channels = kernel.shape[2:]
    # Rows and columns of the kernel: of which block, and where in it.
    parts = tf.reshape(kernel, [2, 2, 2, 2, channels, small_channels])
    turned = tf.transpose(tf.reverse(parts, axis=[0, 2]), [0, 2, 5, 1, 3, 4])
    turned = tf.reshape(turned, [2, 2, small_channels, 4 * channels])
    padding = [[0, 0], [1, 1], [1, 1], [0, 0]]
    blocks = tf.nn.conv2d(images, turned, strides=1, padding=padding)  # [B, H/2 + 1, W/2 + 1, 4·C]
    return tf.nn.depth_to_space(blocks, 2)[:, 1:-1, 1:-1]


def _kernel_gradient(images: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """Of large images [B, H, W, C] and small ones: [4, 4, C, D]."""
    channels, small_channels = images.shape[-1], upstream.shape[-1]
    if channels < _FEWEST_CHANNELS:
        return tf.raw_ops.Conv2DBackpropFilter(
            input=images,
            filter_sizes=[4, 4, channels, small_channels],
            out_backprop=upstream,
            strides=[1, 2, 2, 1],
            padding="SAME",
        )
    height, width = upstream.shape[1:3]
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])
    blocks = tf.nn.space_to_depth(padded, 2)  # [B, H/2 + 1, W/2 + 1, 4·C]
    flat = tf.reshape(upstream, [-1, small_channels])
    products = [
        tf.matmul(
            tf.reshape(blocks[:, i : i + height, j : j + width], [-1, 4 * channels]),
            flat,
            transpose_a=True,
        )
        for i in range(2)
        for j in range(2)
    ]
    parts = tf.reshape(tf.stack(products), [2, 2, 2, 2, channels, small_channels])
    return tf.reshape(tf.transpose(parts, [0, 2, 1, 3, 4, 5]), [4, 4, channels, small_channels])
