"""Adam with PyTorch's epsilon.

Keras adds epsilon *before* correcting the bias of the second moment, so that its effective size is
epsilon/√(1 − β₂ᵗ): 32 times larger at the first step. With a reward loss scaled by 1e-6 gradients
are of the size of epsilon and the reward head would hardly learn (paper_details, section 7).
"""

from collections.abc import Sequence

import tensorflow as tf
import tf_keras

from smallwm_tf.experiment.config import Config


class BiasCorrectedAdam(tf_keras.optimizers.Optimizer):
    """θ ← θ − α · m̂ / (√v̂ + ε), both moments bias-corrected (Kingma & Ba, algorithm 1)."""

    def __init__(
        self, learning_rate: float, beta_1: float, beta_2: float, epsilon: float, name: str = "Adam"
    ):
        # A weight decay of 0, the default, would still rewrite every variable at every step.
        super().__init__(name=name, weight_decay=None, jit_compile=False)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def build(self, var_list):
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self._first_moments = [self.add_variable_from_reference(v, "m") for v in var_list]
        self._second_moments = [self.add_variable_from_reference(v, "v") for v in var_list]
        self._built = True

    def update_step(self, gradient, variable):
        index = self._index_dict[self._var_key(variable)]
        step = tf.cast(self.iterations + 1, tf.float32)
        beta_2_power = tf.pow(self.beta_2, step)
        # One fused kernel; it adds its epsilon before the bias correction, hence the factor.
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._first_moments[index].handle,
            v=self._second_moments[index].handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=beta_2_power,
            lr=self._learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon * tf.sqrt(1.0 - beta_2_power),
            grad=tf.convert_to_tensor(gradient),
        )


def built_adam(
    config: Config, learning_rate: float, variables: Sequence[tf.Variable]
) -> BiasCorrectedAdam:
    """An optimiser of these variables with the run's ``adam``, its moments zero."""
    optimizer = BiasCorrectedAdam(learning_rate, **dict(config.adam))
    optimizer.build(variables)
    return optimizer
