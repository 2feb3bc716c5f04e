"""Codes that depend on each other in an export: functions of its SavedModel, and drawing by them.

Shapes: B batch, K embeddings.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from smallwm_tf.deployment.frozen_functions import freeze
from smallwm_tf.models.bilinear_algorithms import GRID_SIZE
from smallwm_tf.models.joint_codes import NUM_CONDITIONS, JointCodeHead


def functions_of(head: JointCodeHead, half_precision: bool) -> dict[str, Callable]:
    """``draw_codes`` and ``code_entropy`` of a ``SavedWorldModel``, by name."""
    grid = [None, GRID_SIZE, GRID_SIZE]
    distribution_specs = [
        tf.TensorSpec([*grid, head.num_embeddings], tf.float32, "latent_logits"),
        tf.TensorSpec([*grid, NUM_CONDITIONS], tf.float32, "code_conditions"),
        tf.TensorSpec([None], tf.float32, "reward"),
    ]
    temperature_spec = tf.TensorSpec([], tf.float32, "temperature")

    def draw(logits, conditions, rewards, temperature, seed):
        # Unrolled: loops are not among the operations that are taken from an export.
        codes = head.of(logits, conditions).given(rewards)
        return (head.draw(codes, seed, temperature, as_loop=False),)

    def entropy(logits, conditions, rewards, codes, temperature):
        return (head.of(logits, conditions).given(rewards).entropy(codes, temperature),)

    def named(function, name, specs):
        frozen = freeze(function, specs, half_precision)
        return tf.function(
            lambda *inputs: {name: frozen(*inputs)[0]}, input_signature=specs, autograph=False
        )

    drawing = [temperature_spec, tf.TensorSpec([2], tf.int32, "seed")]
    drawn = [tf.TensorSpec(grid, tf.int32, "codes"), temperature_spec]
    return {
        "draw_codes": named(draw, "codes", distribution_specs + drawing),
        "code_entropy": named(entropy, "entropy", distribution_specs + drawn),
    }


class ExportedCodes(NamedTuple):
    """See ``IndependentCodes``; of ``log_prob`` an export knows nothing."""

    logits: tf.Tensor
    conditions: tf.Tensor
    rewards: tf.Tensor

    @classmethod
    def drawn_by(cls, world_model: Any) -> type["ExportedCodes"]:
        """The class of those that a ``SavedWorldModel`` draws."""
        return type(cls.__name__, (cls,), {"world_model": world_model, "__slots__": ()})

    def given(self, rewards: tf.Tensor) -> "ExportedCodes":
        return self._replace(rewards=rewards)

    def sample(self, seed: tf.Tensor, temperature: float | tf.Tensor = 1.0) -> tf.Tensor:
        return self.world_model.draw_codes(*self, _scalar(temperature), seed)["codes"]

    def mode(self) -> tf.Tensor:
        return self.sample(tf.zeros([2], tf.int32), 0.0)

    def entropy(self, codes: tf.Tensor, temperature: float | tf.Tensor = 1.0) -> tf.Tensor:
        return self.world_model.code_entropy(*self, codes, _scalar(temperature))["entropy"]


def _scalar(temperature: float | tf.Tensor) -> tf.Tensor:
    return tf.convert_to_tensor(temperature, tf.float32)
