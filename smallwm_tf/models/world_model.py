"""The world model p(x_{t+1}, r_t, h_t | x_t, a_t, h_{t-1}) of Eq. 3: VQ-VAE and dynamics.

Shapes: B batch, F stacked frames, C channels of the cells, M actions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from smallwm_tf.models.convolution_recorder import ConvolutionRecorder
from smallwm_tf.models.dynamics import Dynamics
from smallwm_tf.models.event_heads import Events, RecognitionHead, Transition
from smallwm_tf.models.grid_convolution import to_images
from smallwm_tf.models.independent_codes import CodesGivenReward, IndependentCodes
from smallwm_tf.models.input_checks import check_range, check_step
from smallwm_tf.models.joint_codes import JointCodes
from smallwm_tf.models.recurrent_stack import Kernels, State
from smallwm_tf.models.vector_quantizer import embed
from smallwm_tf.models.vqvae import VQVAE


class Prediction(NamedTuple):
    """One step ahead."""

    y: tf.Tensor  # y_t, for ``WorldModel.events``
    next_codes: IndependentCodes | CodesGivenReward | JointCodes  # p(z_{t+1} | y_t, r_t)
    state: State  # h_t


class WorldModel(tf.Module):
    """Both parts of the world model, and what they do together.

    Args:
      recognition_head: tells real transitions' rewards from codes, if the VQ-VAE learns with it.

    Attributes:
      compiled: whether XLA should compile ``predict`` and ``events``.
    """

    def __init__(
        self,
        vqvae: VQVAE,
        dynamics: Dynamics,
        recognition_head: RecognitionHead | None = None,
        name: str = "world_model",
    ):
        super().__init__(name=name)
        self.recognition_head = recognition_head
        self.vqvae = vqvae
        self.dynamics = dynamics
        self.num_stacked_frames = vqvae.num_stacked_frames
        self.num_embeddings = vqvae.quantizer.num_embeddings
        self.num_actions = dynamics.num_actions
        self.compiled = dynamics.execution.compiled_steps

    def encode(self, observations: tf.Tensor) -> tf.Tensor:
        """Codes of observations: uint8 [B, 96, 96, F] → int32 [B, 6, 6]."""
        return self.vqvae.encode(observations)

    def decode(self, codes: tf.Tensor) -> tf.Tensor:
        """Pictures of codes [B, 6, 6]: pixels in [0, 1], [B, 96, 96, F].

        Outside of graphs a code that there is not is a ``ValueError``.
        """
        if tf.executing_eagerly():
            check_range("codes", codes, self.num_embeddings)
        return self.vqvae.mean_pixels(codes)

    def initial_state(self, batch_size: int | tf.Tensor) -> State:
        """The recurrent state before a first step."""
        return self.dynamics.stack.initial_state(batch_size)

    def masked(self, state: State, keep: tf.Tensor) -> State:
        """The state with zeros where ``keep``, bool [B], is false."""
        factor = tf.cast(keep, tf.float32)[tf.newaxis, :, tf.newaxis]
        return tf.nest.map_structure(lambda tensor: factor * tensor, state)

    def visible(self, state: State) -> tf.Tensor:
        """What a policy may see of a state, [B, 6, 6, C]; see ``RecurrentStack.visible``."""
        return to_images(self.dynamics.stack.visible(state))

    def state_to_images(self, state: State) -> tuple[tf.Tensor, ...]:
        """See ``RecurrentStack.to_images``."""
        return self.dynamics.stack.to_images(state)

    def state_from_images(self, images: Sequence[tf.Tensor]) -> State:
        """See ``RecurrentStack.from_images``."""
        return self.dynamics.stack.from_images(images)

    def prepare(self) -> Kernels:
        """Kernels for the many steps of a dream; they stay valid until a gradient step."""
        return self.dynamics.stack.prepare(self.dynamics.execution.dreaming_form)

    def advance(
        self,
        codes: tf.Tensor,
        actions: tf.Tensor,
        state: State,
        kernels: Kernels | None = None,
        recorder: ConvolutionRecorder | None = None,
    ) -> tuple[tf.Tensor, State]:
        """y_t and h_t of codes z_t, int32 [B, 6, 6]; see ``RecurrentStack.step``."""
        embedded = embed(codes, self.vqvae.quantizer.embeddings)
        return self.dynamics.stack.step(embedded, actions, state, kernels, recorder)

    def predict(
        self, codes: tf.Tensor, actions: tf.Tensor, state: State, kernels: Kernels | None = None
    ) -> Prediction:
        """Predicts one step; the arguments are those of ``advance``.

        Outside of graphs a code or an action that there is not is a ``ValueError``.
        """
        if tf.executing_eagerly():
            check_step(codes, actions, self.num_embeddings, self.num_actions)
        y, state = self.advance(codes, actions, state, kernels)
        return Prediction(y, self.dynamics.code_head.distribution(y, codes), state)

    def events(self, transition: Transition, training_seed: tf.Tensor | None = None) -> Events:
        """Of a transition; a seed, an int32 pair, is for dropout in training."""
        heads = (self.dynamics.event_head, self.dynamics.end_head)
        watching = self.dynamics.disagreement_heads
        return Events(
            *(head and head.distribution(transition, training_seed) for head in heads),
            watching and watching.disagreement(transition.y),
        )
