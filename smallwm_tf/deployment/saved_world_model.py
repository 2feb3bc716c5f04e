"""Decoder and dynamics as a SavedModel: the dream without smallwm_tf.

Shapes: B batch, C channels of the cells, F stacked frames, K embeddings.
"""

from pathlib import Path

import tensorflow as tf

from smallwm_tf.deployment.frozen_functions import freeze
from smallwm_tf.models.conv_lstm import ConvLSTMState
from smallwm_tf.models.dynamics import DynamicsState, draw_step
from smallwm_tf.models.grid_convolution import GRID_SIZE, NUM_CELLS
from smallwm_tf.models.world_model import WorldModel

STATE_NAMES = ("hidden_1", "cell_1", "hidden_2", "cell_2")


class SavedWorldModel(tf.Module):
    """Functions of the SavedModel; each is a signature and an attribute of the loaded object.

    ``decode``
        codes int32 [B, 6, 6] → frames uint8 [B, 96, 96, F], the means of p(x|z).
    ``initial_state``
        batch_size int32 [] → hidden_1, cell_1, hidden_2, cell_2: zeros, float32 [36, B, C].
    ``predict``
        codes, action int32 [B] and the state → latent_logits [B, 6, 6, K], reward_logits [B, 3]
        (rewards −1, 0, 1) and the next state.
    ``dream_step``
        the same inputs, temperature float32 [] and seed int32 [2] → drawn codes, drawn reward
        float32 [B], reward_probabilities [B, 3], entropy [B, 6, 6] of the next code in nats, and
        the next state. Equal seeds draw equal numbers.

    Args:
      world_model: its convolutions are "direct".
      half_precision: see ``freeze``.
    """

    def __init__(self, world_model: WorldModel, half_precision: bool = False):
        super().__init__(name="smallwm_tf_world_model")
        dynamics = world_model.dynamics
        codes_spec = tf.TensorSpec([None, GRID_SIZE, GRID_SIZE], tf.int32, "codes")
        state_specs = [
            tf.TensorSpec([NUM_CELLS, None, dynamics.channels], tf.float32, name)
            for name in STATE_NAMES
        ]
        step_specs = [codes_spec, tf.TensorSpec([None], tf.int32, "action"), *state_specs]

        def decode(codes):
            pixels = world_model.vqvae.mean_pixels(codes)
            return (tf.cast(tf.round(255.0 * pixels), tf.uint8),)

        def predict(codes, action, hidden_1, cell_1, hidden_2, cell_2):
            state = DynamicsState(ConvLSTMState(hidden_1, cell_1), ConvLSTMState(hidden_2, cell_2))
            kernels = dynamics.prepare("direct")
            latent, reward, state = world_model.step(codes, action, state, kernels)
            return latent, reward, *state.cell_1, *state.cell_2

        frozen_decode = freeze(decode, [codes_spec], half_precision)
        frozen_predict = freeze(predict, step_specs, half_precision)

        def named_predict(*inputs):
            latent, reward, *state = frozen_predict(*inputs)
            named_state = dict(zip(STATE_NAMES, state, strict=True))
            return {"latent_logits": latent, "reward_logits": reward, **named_state}

        def dream_step(codes, action, hidden_1, cell_1, hidden_2, cell_2, temperature, seed):
            outputs = named_predict(codes, action, hidden_1, cell_1, hidden_2, cell_2)
            fold_in = tf.random.experimental.stateless_fold_in
            drawn = draw_step(
                outputs.pop("latent_logits"),
                outputs.pop("reward_logits"),
                temperature,
                fold_in(seed, 1),
                fold_in(seed, 2),
            )
            return {
                "codes": drawn.codes,
                "reward": drawn.rewards,
                "reward_probabilities": drawn.reward_probabilities,
                "entropy": drawn.entropies,
                **outputs,
            }

        def initial_state(batch_size):
            zeros = tf.zeros([NUM_CELLS, batch_size, dynamics.channels])
            return dict.fromkeys(STATE_NAMES, zeros)

        def graph(function, specs):
            return tf.function(function, input_signature=specs, autograph=False)

        self.decode = graph(lambda codes: {"frames": frozen_decode(codes)[0]}, [codes_spec])
        self.predict = graph(named_predict, step_specs)
        dream_specs = [
            *step_specs,
            tf.TensorSpec([], tf.float32, "temperature"),
            tf.TensorSpec([2], tf.int32, "seed"),
        ]
        self.dream_step = graph(dream_step, dream_specs)
        self.initial_state = graph(initial_state, [tf.TensorSpec([], tf.int32, "batch_size")])

    def save(self, path: Path) -> None:
        """Writes the SavedModel into a new directory."""
        names = ("decode", "predict", "dream_step", "initial_state")
        signatures = {name: getattr(self, name) for name in names}
        tf.saved_model.save(self, str(path), signatures=signatures)
