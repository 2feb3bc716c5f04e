"""A policy as a SavedModel: frames in, actions out.

Shapes: B batch, F stacked frames (oldest first), M actions.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow as tf

from smallwm_tf.agents.policy_agent import PolicySnapshot
from smallwm_tf.deployment.frozen_functions import freeze
from smallwm_tf.deployment.single_caller import SingleCaller
from smallwm_tf.experiment.settings import FRAME_SIZE
from smallwm_tf.models.bilinear_algorithms import GRID_SIZE
from smallwm_tf.models.execution import DIRECT
from smallwm_tf.models.frame_policy import FramePolicy
from smallwm_tf.models.input_checks import check_range
from smallwm_tf.models.policy import NO_ACTION, PolicyAndValue
from smallwm_tf.models.vqvae import VQVAE

_SEED_SPEC = tf.TensorSpec([2], tf.int32, "seed")
_LAST_ACTION_SPEC = tf.TensorSpec([None], tf.int32, "last_action")
Answer = Callable[[tf.Tensor, tf.Tensor | None, tf.Tensor | None], dict[str, tf.Tensor]]


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
    frames of ``serving_default`` and the stack of ``act_with_stack`` (−1 where an episode begins);
    ``reset`` and ``act`` keep what they draw.

    Each of them draws anew at every call and in every process. With a last argument, ``seed``
    int32 [2], equal seeds draw equal actions: ``act(frame, [7, step])``. As signatures these are
    ``serving_default_seeded``, ``reset_seeded``, ``act_seeded`` and so on.

    Args:
      answer: frames, last actions and a seed, or None for either → the outputs.
      num_stacked_frames: F.
      sees_last_action: whether the policy does.
      drawing: other functions whose last input is a seed, or None, by name; with the specs of the
        inputs before it.
      further: other signatures by name.
    """

    def __init__(
        self,
        answer: Answer,
        num_stacked_frames: int,
        sees_last_action: bool,
        drawing: dict[str, tuple[Callable, Sequence[tf.TensorSpec]]],
        further: dict[str, tf.types.experimental.GenericFunction],
    ):
        super().__init__(name="smallwm_tf_agent")
        self.sees_last_action = sees_last_action
        frames_spec = _frames_spec(num_stacked_frames)
        stack = frames_spec.shape
        frame_spec = tf.TensorSpec(stack[:-1], tf.uint8, "frame")
        stack_spec = tf.TensorSpec(stack, tf.uint8, "stack")
        zeros = tf.zeros([1, *stack[1:]], tf.uint8)
        self._frames = tf.Variable(zeros, shape=stack, trainable=False, name="frames")
        if sees_last_action:
            nothing = [NO_ACTION]
            self._last_action = tf.Variable(nothing, shape=[None], trainable=False, name="last")
        self._calls = SingleCaller()
        memory = [_LAST_ACTION_SPEC] if sees_last_action else []

        def none_yet(frames):
            return tf.fill([tf.shape(frames)[0]], NO_ACTION) if sees_last_action else None

        def start(frame):
            return tf.repeat(frame[..., tf.newaxis], num_stacked_frames, axis=-1)

        def push(frame, stack):
            return tf.concat([stack[..., 1:], frame[..., tf.newaxis]], axis=-1)

        def begin(frame, seed=None):
            stack = start(frame)
            return {**answer(stack, none_yet(frame), seed), "stack": stack}

        def advance(frame, stack, last_action, seed):
            pushed = push(frame, stack)
            return {**answer(pushed, last_action, seed), "stack": pushed}

        def remember(stack, last_action, seed, begins=False):
            def call():
                outputs = answer(stack, last_action, seed)
                self._frames.assign(stack)
                if sees_last_action:
                    self._last_action.assign(outputs["action"])
                return outputs

            return self._calls.alone(call, stack, begins)

        def reset(frame, seed=None):
            return remember(start(frame), none_yet(frame), seed, begins=True)

        def act(frame, seed=None):
            last_action = self._last_action.read_value() if sees_last_action else None
            return remember(push(frame, self._frames.read_value()), last_action, seed)

        if sees_last_action:

            def serve(frames, last_action, seed=None):
                return answer(frames, last_action, seed)

            def act_with_stack(frame, stack, last_action, seed=None):
                return advance(frame, stack, last_action, seed)

        else:

            def serve(frames, seed=None):
                return answer(frames, None, seed)

            def act_with_stack(frame, stack, seed=None):
                return advance(frame, stack, None, seed)

        drawing = {
            "serving_default": (serve, [frames_spec, *memory]),
            "begin": (begin, [frame_spec]),
            "act_with_stack": (act_with_stack, [frame_spec, stack_spec, *memory]),
            "reset": (reset, [frame_spec]),
            "act": (act, [frame_spec]),
            **drawing,
        }
        self._signatures = dict(further)
        for name, (function, specs) in drawing.items():
            graph = tf.function(function, autograph=False)
            self._signatures[name] = graph.get_concrete_function(*specs)
            self._signatures[f"{name}_seeded"] = graph.get_concrete_function(*specs, _SEED_SPEC)
            setattr(self, "serve" if name == "serving_default" else name, graph)
        self.__call__ = self.serve
        for name, function in further.items():
            setattr(self, name, function)

    def save(self, path: Path) -> None:
        """Writes the SavedModel into a new directory."""
        tf.saved_model.save(self, str(path), signatures=self._signatures)


def saved_code_policy(
    vqvae: VQVAE, policy: PolicyAndValue, temperature: float, half_precision: bool = False
) -> SavedPolicy:
    """Encoder and policy; the outputs have codes int32 [B, 6, 6] too.

    Further functions: ``encode``, frames → codes; ``act_on_codes``, codes → the other outputs.

    Args:
      vqvae: gives the codes.
      policy: gives logits and value; its convolutions are "direct".
      temperature: divides the logits of drawn actions.
      half_precision: see ``freeze``.
    """
    codes_spec = tf.TensorSpec([None, GRID_SIZE, GRID_SIZE], tf.int32, "codes")
    frames_spec = _frames_spec(vqvae.num_stacked_frames)
    snapshot = PolicySnapshot(vqvae, policy, DIRECT)
    encode = freeze(lambda frames: (snapshot.encode(frames),), [frames_spec], half_precision)
    memory = [_LAST_ACTION_SPEC] if policy.sees_last_action else []
    frozen_policy = freeze(snapshot.policy_of, [codes_spec, *memory], half_precision)

    def drawn(codes, last_action, seed):
        remembered = [last_action] if policy.sees_last_action else []
        return _with_actions(*frozen_policy(codes, *remembered), temperature, seed)

    def drawn_after_checks(codes, last_action, seed):
        with tf.control_dependencies(check_range("codes", codes, vqvae.quantizer.num_embeddings)):
            return drawn(tf.identity(codes), last_action, seed)

    if policy.sees_last_action:

        def act_on_codes(codes, last_action, seed=None):
            return drawn_after_checks(codes, last_action, seed)

    else:

        def act_on_codes(codes, seed=None):
            return drawn_after_checks(codes, None, seed)

    def answer(frames, last_action, seed):
        (codes,) = encode(frames)
        return {**drawn(codes, last_action, seed), "codes": codes}

    encode_alone = tf.function(
        lambda frames: {"codes": encode(frames)[0]}, input_signature=[frames_spec], autograph=False
    )
    return SavedPolicy(
        answer,
        vqvae.num_stacked_frames,
        policy.sees_last_action,
        drawing={"act_on_codes": (act_on_codes, [codes_spec, *memory])},
        further={"encode": encode_alone},
    )


def saved_frame_policy(
    policy: FramePolicy, temperature: float, half_precision: bool = False
) -> SavedPolicy:
    """The policy of model-free PPO; arguments as of ``saved_code_policy``."""
    frames_spec = _frames_spec(policy.num_stacked_frames)
    frozen = freeze(policy.__call__, [frames_spec], half_precision)
    return SavedPolicy(
        lambda frames, _, seed: _with_actions(*frozen(frames), temperature, seed),
        policy.num_stacked_frames,
        sees_last_action=False,
        drawing={},
        further={},
    )


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
