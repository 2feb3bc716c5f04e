"""Decoder and dynamics as a SavedModel: the dream without smallwm_tf.

Shapes: B batch, C channels of the cells, F stacked frames, K embeddings.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow as tf

from smallwm_tf.deployment.exported_codes import functions_of
from smallwm_tf.deployment.exported_world_model import ExportedWorldModel
from smallwm_tf.deployment.frozen_functions import freeze
from smallwm_tf.deployment.saved_memory import signature_of
from smallwm_tf.models.bilinear_algorithms import GRID_SIZE
from smallwm_tf.models.event_heads import Transition
from smallwm_tf.models.imagination import Dreamer, DreamSettings, DreamState
from smallwm_tf.models.input_checks import check_range, check_step
from smallwm_tf.models.joint_codes import JointCodeHead
from smallwm_tf.models.world_model import WorldModel


class SavedWorldModel(tf.Module):
    """Functions of the SavedModel; each is a signature and an attribute of the loaded object.

    ``decode``
        codes int32 [B, 6, 6] → frames uint8 [B, 96, 96, F], the means of p(x|z).
    ``initial_state``
        batch_size int32 [] → the state, zeros, float32 [B, 6, 6, C] each: hidden_1, cell_1,
        hidden_2, cell_2, or what ``StackKind.state_names`` has for other cells.
    ``predict``
        codes, action int32 [B] and the state → latent_logits [B, 6, 6, K], with the code head
        "given_reward" [B, 3, 6, 6, K]; reward_logits [B, 3] (rewards −1, 0, 1); the next state;
        end_logits [B], that a life is lost, of runs with ``dream.ends`` = predicted. With the code
        heads "autoregressive" and "masked" latent_logits are what y_t alone says, and there are
        code_conditions, float32 [B, 6, 6, G].
    ``dream_step``
        the same inputs, temperature float32 [] and seed int32 [2] → drawn codes, drawn reward
        float32 [B], reward_probabilities [B, 3], continues [B] (the chance that no life is lost; 1
        where ends are not predicted), entropy [B, 6, 6] of the next code in nats, and the next
        state. Equal seeds draw equal numbers; temperature 0 takes the most probable codes.

    ``draw_codes``
        with these two heads: latent_logits, code_conditions, reward float32 [B], temperature and
        seed → codes.
    ``code_entropy``
        with these two: latent_logits, code_conditions, reward, codes that were drawn, temperature →
        entropy.

    Codes, actions and temperatures that there are not are an ``InvalidArgumentError``.

    Args:
      world_model: executes directly.
      half_precision: see ``freeze``.
    """

    def __init__(self, world_model: WorldModel, half_precision: bool = False):
        super().__init__(name="smallwm_tf_world_model")
        codes_spec = tf.TensorSpec([None, GRID_SIZE, GRID_SIZE], tf.int32, "codes")
        stack = world_model.dynamics.stack
        state, state_names = stack.to_images(stack.initial_state(1)), stack.state_names
        state_specs = [
            tf.TensorSpec([None, *tensor.shape[1:]], tf.float32, name)
            for name, tensor in zip(state_names, state, strict=True)
        ]
        step_specs = [codes_spec, tf.TensorSpec([None], tf.int32, "action"), *state_specs]

        def decode(codes):
            return (tf.cast(tf.round(255.0 * world_model.decode(codes)), tf.uint8),)

        def predict(codes, action, *flat_state):
            state = stack.from_images(flat_state)
            found = world_model.predict(codes, action, state, world_model.prepare())
            events = world_model.events(Transition(found.y, codes, action))
            following = stack.to_images(found.state)
            ends = [events.ends.logits] if events.ends else []
            logits, *conditions = found.next_codes
            return logits, events.rewards.logits, *following, *ends, *conditions

        frozen_decode = freeze(decode, [codes_spec], half_precision)
        frozen_predict = freeze(predict, step_specs, half_precision)

        counts = world_model.num_embeddings, world_model.num_actions
        head = world_model.dynamics.code_head
        drawing = functions_of(head, half_precision) if isinstance(head, JointCodeHead) else {}
        names = ["latent_logits", "reward_logits", *state_names]
        names += ["end_logits"] if world_model.dynamics.end_head else []
        names += ["code_conditions"] if drawing else []

        def named_predict(codes, action, *flat_state):
            with tf.control_dependencies(check_step(codes, action, *counts)):
                codes, action = tf.identity(codes), tf.identity(action)
            found = frozen_predict(codes, action, *flat_state)
            return dict(zip(names, found, strict=True))

        def dream_step(*inputs):
            codes, action, *flat_state, temperature, seed = inputs
            model = ExportedWorldModel(
                None, self, world_model.num_stacked_frames, *counts, state_names=state_names
            )
            dreamer = Dreamer(model, DreamSettings(temperature))
            state = dict(zip(state_names, flat_state, strict=True))
            step, after = dreamer.step(DreamState(codes, state, ()), action, seed)
            return {
                "codes": step.codes,
                "reward": step.rewards,
                "reward_probabilities": step.reward_distribution.probabilities(),
                "continues": step.continues,
                "entropy": step.code_distribution.entropy(step.codes, temperature),
                **after.recurrent,
            }

        def initial_state(batch_size):
            return {spec.name: tf.zeros([batch_size, *spec.shape[1:]]) for spec in state_specs}

        def checked_decode(codes):
            with tf.control_dependencies(check_range("codes", codes, counts[0])):
                return {"frames": frozen_decode(tf.identity(codes))[0]}

        self.decode = _graph(checked_decode, [codes_spec])
        self.predict = _graph(named_predict, step_specs)
        draw_specs = [tf.TensorSpec([], tf.float32, "temperature")]
        draw_specs += [tf.TensorSpec([2], tf.int32, "seed")]
        self.dream_step = _graph(dream_step, step_specs + draw_specs)
        self.initial_state = _graph(initial_state, [tf.TensorSpec([], tf.int32, "batch_size")])
        for name, function in drawing.items():
            setattr(self, name, function)
        own = ("decode", "predict", "dream_step", "initial_state")
        self._functions = (*own, *drawing)

    def save(self, path: Path) -> None:
        """Writes the SavedModel into a new directory."""
        signatures = {name: getattr(self, name) for name in self._functions}
        tf.saved_model.save(self, str(path), signatures=signatures)


def _graph(
    function: Callable, specs: Sequence[tf.TensorSpec]
) -> tf.types.experimental.GenericFunction:
    """A graph whose arguments are called as the specs are, whatever the function calls them."""
    function.__signature__ = signature_of(specs, is_seeded=False)
    return tf.function(function, input_signature=specs, autograph=False)
