"""Convolutions with stride 2 against TensorFlow's own, and when they are chosen."""

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.experiment.config import build_config
from smallwm_tf.models import execution
from smallwm_tf.models.strided_convolution import double, halve

SIZES = [(3, 12, 4, 8), (2, 8, 32, 16)]  # B, H, C, D: either form of the kernel's gradient


def own_halve(images, kernel):
    return tf.nn.conv2d(images, kernel, strides=2, padding="SAME")


def own_double(images, kernel):
    batch_size, size = images.shape[:2]
    shape = [batch_size, 2 * size, 2 * size, kernel.shape[2]]
    return tf.nn.conv2d_transpose(images, kernel, shape, strides=2)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("pair", [(halve, own_halve), (double, own_double)])
def test_values_and_gradients_are_tensorflows(sizes, pair):
    batch_size, size, channels, small_channels = sizes
    draw = np.random.default_rng(0)
    shapes = {halve: [size, channels], double: [size // 2, small_channels]}
    side, depth = shapes[pair[0]]
    images = tf.constant(draw.normal(size=[batch_size, side, side, depth]), tf.float32)
    kernel = tf.constant(draw.normal(size=[4, 4, channels, small_channels]), tf.float32)
    found = []
    for function in pair:
        with tf.GradientTape() as tape:
            tape.watch([images, kernel])
            values = function(images, kernel)
            loss = tf.reduce_sum(tf.sin(values))
        found.append([values, *tape.gradient(loss, [images, kernel])])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)


@pytest.mark.parametrize(
    ("flags", "form"),
    [({"avx2"}, "blocks"), ({"avx2", "avx512f"}, "direct"), ({"neon"}, "direct")],
)
def test_only_processors_with_avx2_and_no_more_take_blocks(monkeypatch, flags, form):
    monkeypatch.setattr(execution, "_processor_flags", lambda: flags)
    config = {"dynamics.convolution": "fast", "precision": "float32"}
    assert execution.execution_of(build_config(config)).strided_form == form
    direct = build_config(config | {"dynamics.convolution": "direct"})
    assert execution.execution_of(direct).strided_form == "direct"
