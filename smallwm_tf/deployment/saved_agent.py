"""A policy as a SavedModel: frames in, actions out.

Shapes: B batch, F stacked frames (oldest first), M actions.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from smallwm_tf.agents.episode_memory import Carrier, MemoryKeeper
from smallwm_tf.agents.policy_agent import PolicySnapshot
from smallwm_tf.deployment.exported_carrier import ExportedCarrier
from smallwm_tf.deployment.frozen_functions import freeze
from smallwm_tf.deployment.saved_memory import remembered_specs, seen_specs, signature_of
from smallwm_tf.deployment.single_caller import SingleCaller
from smallwm_tf.experiment.settings import FRAME_SIZE
from smallwm_tf.models.bilinear_algorithms import GRID_SIZE
from smallwm_tf.models.execution import DIRECT
from smallwm_tf.models.frame_policy import FramePolicy
from smallwm_tf.models.input_checks import check_range, check_step
from smallwm_tf.models.policy import PolicyAndValue
from smallwm_tf.models.world_model import WorldModel

_SEED_SPEC = tf.TensorSpec([2], tf.int32, "seed")
Answer = Callable[[Sequence[tf.Tensor], tf.Tensor | None], dict[str, tf.Tensor]]


class SavedPolicy(tf.Module):
    """Functions of the SavedModel; each is a signature and an attribute of the loaded object.

    ``serving_default`` (the object itself)
        frames uint8 [B, 96, 96, F] → action int32 [B] (drawn), greedy_action int32 [B],
        logits float32 [B, M], value float32 [B], and what else the policy has to say.
    ``begin``, then ``act_with_stack``
        frame uint8 [B, 96, 96], the newest one only, and but for ``begin`` the last ``stack`` → as
        ``serving_default``, and ``stack`` uint8 [B, 96, 96, F] to hand on. Nothing is kept: any
        number of callers may play at once. ``begin`` repeats an episode's first frame F times.
    ``reset``, then ``act``
        the same for a single caller, with the frame alone: the stack is kept inside. Where two
        calls overlap both are an ``InvalidArgumentError``, and so is every other one until a
        ``reset`` (which itself fails the first time).

    A policy that sees its last action has one more input, ``last_action`` int32 [B], behind the
    frames of ``serving_default`` and the stack of ``act_with_stack`` (−1 where an episode begins).
    One that sees the recurrent state has another behind that: ``hidden`` float32 [B, 6, 6, C], for
    ``act_with_stack`` all parts of the state; that and ``begin`` then also give the parts to hand
    on, after the drawn action. After another one, ``advance`` gives them. ``reset`` and ``act``
    keep what they draw, and the state.

    Each of them draws anew at every call and in every process. With a last argument, ``seed``
    int32 [2], equal seeds draw equal actions: ``act(frame, [7, step])``. As signatures these are
    ``serving_default_seeded``, ``reset_seeded``, ``act_seeded`` and so on.

    Args:
      answer: frames with what else the policy sees, and a seed or None → the outputs.
      num_stacked_frames: F.
      memory: of the policy.
      drawing: other functions whose last input is a seed, or None, by name; with the specs of the
        inputs before it.
      further: other signatures by name.
    """

    def __init__(
        self,
        answer: Answer,
        num_stacked_frames: int,
        memory: MemoryKeeper,
        drawing: dict[str, tuple[Callable, Sequence[tf.TensorSpec]]],
        further: dict[str, tf.types.experimental.GenericFunction],
    ):
        super().__init__(name="smallwm_tf_agent")
        self.memory = memory
        frames_spec = _frames_spec(num_stacked_frames)
        stack = frames_spec.shape
        frame_spec = tf.TensorSpec(stack[:-1], tf.uint8, "frame")
        stack_spec = tf.TensorSpec(stack, tf.uint8, "stack")
        begun, remembered = memory.begin(1), remembered_specs(memory)
        frames = self._variable("frames", tf.zeros([1, *stack[1:]], tf.uint8))
        kept = [
            self._variable(spec.name, part)
            for spec, part in zip(remembered, tf.nest.flatten(begun), strict=True)
        ]
        self._calls = SingleCaller()

        def start(frame):
            return tf.repeat(frame[..., tf.newaxis], num_stacked_frames, axis=-1)

        def push(frame, stack):
            return tf.concat([stack[..., 1:], frame[..., tf.newaxis]], axis=-1)

        def none_yet(frame):
            return memory.begin(tf.shape(frame)[0]) if kept else ()

        def play(stack, before, seed):
            """The outputs, and the memory after the drawn action."""
            outputs = answer(tf.nest.flatten(memory.observation(stack, before)), seed)
            return outputs, memory.after(outputs.get("codes"), outputs["action"], before)

        def hand_on(stack, before, seed):
            outputs, after = play(stack, before, seed)
            outputs["stack"] = stack
            if memory.carrier:
                outputs |= zip(memory.carrier.state_names, after.recurrent, strict=True)
            return outputs

        def begin(frame, seed):
            return hand_on(start(frame), none_yet(frame), seed)

        def act_with_stack(frame, stack, *given):
            *before, seed = given
            return hand_on(push(frame, stack), tf.nest.pack_sequence_as(begun, before), seed)

        def remember(stack, before, seed, begins=False):
            def call():
                outputs, after = play(stack, before, seed)
                frames.assign(stack)
                for variable, part in zip(kept, tf.nest.flatten(after), strict=True):
                    variable.assign(part)
                return outputs

            return self._calls.alone(call, stack, begins)

        def reset(frame, seed):
            return remember(start(frame), none_yet(frame), seed, begins=True)

        def act(frame, seed):
            before = [variable.read_value() for variable in kept]
            stack = push(frame, frames.read_value())
            return remember(stack, tf.nest.pack_sequence_as(begun, before), seed)

        def serve(*given):
            *seen, seed = given
            return answer(seen, seed)

        drawing = {
            "serving_default": (serve, [frames_spec, *seen_specs(memory)]),
            "begin": (begin, [frame_spec]),
            "act_with_stack": (act_with_stack, [frame_spec, stack_spec, *remembered]),
            "reset": (reset, [frame_spec]),
            "act": (act, [frame_spec]),
            **drawing,
        }
        self._signatures = dict(further)
        for name, (function, specs) in drawing.items():
            function.__signature__ = signature_of(specs)
            graph = tf.function(function, autograph=False)
            self._signatures[name] = graph.get_concrete_function(*specs)
            self._signatures[f"{name}_seeded"] = graph.get_concrete_function(*specs, _SEED_SPEC)
            setattr(self, "serve" if name == "serving_default" else name, graph)
        self.__call__ = self.serve
        for name, function in further.items():
            setattr(self, name, function)

    def _variable(self, name: str, value: tf.Tensor) -> tf.Variable:
        """A variable of any batch size, as an attribute: what is saved may not hold a list."""
        shape = [None, *value.shape[1:]]
        variable = tf.Variable(value, shape=shape, trainable=False, name=name)
        setattr(self, f"_{name}", variable)
        return variable

    def save(self, path: Path) -> None:
        """Writes the SavedModel into a new directory."""
        tf.saved_model.save(self, str(path), signatures=self._signatures)


def saved_code_policy(
    world_model: WorldModel,
    policy: PolicyAndValue,
    temperature: float,
    half_precision: bool = False,
) -> SavedPolicy:
    """Encoder and policy; the outputs have codes int32 [B, 6, 6] too.

    Further functions: ``encode``, frames → codes; ``act_on_codes``, codes → the other outputs; and
    for a policy that sees the recurrent state ``advance``, codes, action and state → the next one.

    Args:
      world_model: gives the codes, and carries the state; its convolutions are "direct".
      policy: gives logits and value; so are its own.
      temperature: divides the logits of drawn actions.
      half_precision: see ``freeze``.
    """
    vqvae, stack = world_model.vqvae, world_model.dynamics.stack
    codes_spec = tf.TensorSpec([None, GRID_SIZE, GRID_SIZE], tf.int32, "codes")
    frames_spec = _frames_spec(vqvae.num_stacked_frames)
    snapshot = PolicySnapshot(vqvae, policy, stack, DIRECT)
    further, memory = {}, snapshot.memory
    if memory.carrier:
        state_specs = remembered_specs(MemoryKeeper(carrier=memory.carrier))
        specs = [codes_spec, tf.TensorSpec([None], tf.int32, "action"), *state_specs]
        further["advance"] = _advance(memory.carrier, world_model, specs, half_precision)
        names, sizes = memory.carrier.state_names, [spec.shape[-1] for spec in state_specs]
        carrier = ExportedCarrier(further["advance"], dict(zip(names, sizes, strict=True)))
        memory = MemoryKeeper(memory.sees_last_action, carrier)
    encode = freeze(lambda frames: (snapshot.encode(frames),), [frames_spec], half_precision)
    seen_spec = [codes_spec, *seen_specs(memory)]
    frozen_policy = freeze(
        lambda *seen: snapshot.policy_of(_observation(memory, seen)), seen_spec, half_precision
    )

    def drawn(seen, seed):
        return _with_actions(*frozen_policy(*seen), temperature, seed)

    def act_on_codes(codes, *given):
        *further, seed = given
        with tf.control_dependencies(check_range("codes", codes, vqvae.quantizer.num_embeddings)):
            return drawn([tf.identity(codes), *further], seed)

    def answer(seen, seed):
        frames, *further = seen
        (codes,) = encode(frames)
        return {**drawn([codes, *further], seed), "codes": codes}

    further["encode"] = tf.function(
        lambda frames: {"codes": encode(frames)[0]}, input_signature=[frames_spec], autograph=False
    )
    return SavedPolicy(
        answer,
        vqvae.num_stacked_frames,
        memory,
        drawing={"act_on_codes": (act_on_codes, seen_spec)},
        further=further,
    )


def saved_frame_policy(
    policy: FramePolicy, temperature: float, half_precision: bool = False
) -> SavedPolicy:
    """The policy of model-free PPO; arguments as of ``saved_code_policy``."""
    frames_spec = _frames_spec(policy.num_stacked_frames)
    frozen = freeze(policy.__call__, [frames_spec], half_precision)
    return SavedPolicy(
        lambda seen, seed: _with_actions(*frozen(*seen), temperature, seed),
        policy.num_stacked_frames,
        MemoryKeeper(),
        drawing={},
        further={},
    )


def _observation(memory: MemoryKeeper, seen: Sequence[tf.Tensor]) -> Any:
    """Packs codes and what else is seen as the policy wants it."""
    return tf.nest.pack_sequence_as(memory.observation(0, memory.begin(1)), seen)


def _advance(
    carrier: Carrier,
    world_model: WorldModel,
    specs: Sequence[tf.TensorSpec],
    half_precision: bool,
) -> tf.types.experimental.GenericFunction:
    """The state after a step, with the weights of the moment as constants."""
    frozen = freeze(
        lambda codes, action, *state: carrier.advance(codes, action, state), specs, half_precision
    )
    counts = world_model.num_embeddings, world_model.num_actions

    def advance(codes, action, *state):
        with tf.control_dependencies(check_step(codes, action, *counts)):
            codes, action = tf.identity(codes), tf.identity(action)
        return dict(zip(carrier.state_names, frozen(codes, action, *state), strict=True))

    advance.__signature__ = signature_of(specs, is_seeded=False)
    return tf.function(advance, input_signature=specs, autograph=False)


def _with_actions(
    logits: tf.Tensor, value: tf.Tensor, temperature: float, seed: tf.Tensor | None
) -> dict[str, tf.Tensor]:
    scaled = logits / temperature
    if seed is None:
        # Not tf.random.categorical: a global seed in force while this is traced would be kept in
        # the graph, and every process would draw the same actions.
        drawn = tf.raw_ops.Multinomial(
            logits=scaled, num_samples=1, seed=0, seed2=0, output_dtype=tf.int32
        )
    else:
        drawn = tf.random.stateless_categorical(scaled, 1, seed, tf.int32)
    return {
        "action": drawn[:, 0],
        "greedy_action": tf.argmax(logits, axis=-1, output_type=tf.int32),
        "logits": logits,
        "value": value,
    }


def _frames_spec(num_frames: int) -> tf.TensorSpec:
    return tf.TensorSpec([None, FRAME_SIZE, FRAME_SIZE, num_frames], tf.uint8, "frames")
