"""Learns the world model from the replay (section 3.4).

Warm-up trains the VQ-VAE alone; afterwards the dynamics network trains at every step and the
VQ-VAE at every ``update_interval``-th, so that the codes, which are the dynamics' targets, move
slowly. With an ``update_interval`` of 0 the VQ-VAE rests meanwhile, and every observation is
encoded once per phase instead of at every visit. Whole groups of steps run in one compiled call.
"""

import numpy as np
import tensorflow as tf

from smallwm_tf.experiment.config import Config
from smallwm_tf.learning.adam import built_adam
from smallwm_tf.learning.dynamics_loss import DynamicsLosses, dynamics_losses
from smallwm_tf.learning.encoded_replay import EncodedReplay
from smallwm_tf.learning.event_recognition import EventRecognition
from smallwm_tf.learning.replay import Replay
from smallwm_tf.models.convolution_recorder import ConvolutionRecorder
from smallwm_tf.models.vector_quantizer import perplexity
from smallwm_tf.models.vqvae import scale_pixels
from smallwm_tf.models.world_model import WorldModel

VQVAE_METRICS = (
    "reconstruction_loss",
    "commitment_loss",
    "elbo",
    "largest_logit",
    "codebook_perplexity",
)
DYNAMICS_METRICS = ("latent_loss", "reward_loss", "code_accuracy", "copy_accuracy")
_FRAMES = -1  # folded into an update's seed for the frames; the dynamics fold in steps, from 0
_FRAMES_FOR_BACKGROUND = 500
FOREGROUND_ABOVE = 15  # grey levels of 255 by which a pixel differs from the background


class WorldModelLearner(tf.Module):
    """Optimisers and compiled training steps of the world model.

    ``vqvae_updates`` and ``dynamics_updates`` count updates since the run began; ``recognition`` is
    None without an event loss. Dynamics steps beside a resting VQ-VAE need ``encoded.encode_all``
    before.

    Args:
      world_model: what is trained.
      replay: where observations and windows come from.
      config: the run's; reads ``vqvae``, ``dynamics`` and ``adam``.
      seed: of the run.
    """

    def __init__(self, world_model: WorldModel, replay: Replay, config: Config, seed: int = 0):
        super().__init__(name="world_model_learner")
        self.world_model = world_model
        self._replay = replay
        self._vqvae_config = config.vqvae
        self._dynamics_config = config.dynamics
        self._background = tf.Variable(tf.zeros(replay.frames.shape[1:]), trainable=False)
        vqvae, dynamics = world_model.vqvae, world_model.dynamics
        self._vqvae_rests = config.vqvae.update_interval == 0
        self.encoded = EncodedReplay(world_model, replay, is_kept=self._vqvae_rests)
        self._vqvae_variables = vqvae.trainable_variables
        heads = (dynamics.event_head, dynamics.end_head, dynamics.disagreement_heads)
        self._event_variables = [v for head in heads if head for v in head.trainable_variables]
        kernels = dynamics.stack.recorded_kernels
        special = {v.ref() for v in [*self._event_variables, *kernels]}
        # Kernel gradients are deferred (see ConvolutionRecorder); the tape forms all others.
        self._taped_variables = [v for v in dynamics.trainable_variables if v.ref() not in special]
        # ``use_learning_rates`` sets the rates.
        self.vqvae_optimizer = built_adam(config, 0.0, self._vqvae_variables)
        self.dynamics_optimizer = built_adam(config, 0.0, [*self._taped_variables, *kernels])
        self.reward_optimizer = built_adam(config, 0.0, self._event_variables)
        self.dynamics_metrics = (*DYNAMICS_METRICS, *(["end_loss"] if dynamics.end_head else []))
        self.recognition, self.vqvae_metrics = None, VQVAE_METRICS
        if head := world_model.recognition_head:
            self.recognition = EventRecognition(head, replay, config, seed)
            self.vqvae_metrics = (*VQVAE_METRICS, "event_loss")
        self.vqvae_updates = tf.Variable(0, False, name="vqvae_updates", dtype=tf.int64)
        self.dynamics_updates = tf.Variable(0, False, name="dynamics_updates", dtype=tf.int64)
        self.use_learning_rates()

    def use_learning_rates(self, warmup: bool = False, dynamics_share: float = 1.0) -> None:
        """Sets every rate to the configured one; a checkpoint brings those that it was saved with.

        In the warm-up the VQ-VAE takes that of its first training. Dynamics and their heads take
        this share of theirs.
        """
        vqvae, dynamics = self._vqvae_config, self._dynamics_config
        rate = vqvae.warmup_learning_rate if warmup else vqvae.learning_rate
        self.vqvae_optimizer.learning_rate.assign(rate)
        self.dynamics_optimizer.learning_rate.assign(dynamics_share * dynamics.learning_rate)
        self.reward_optimizer.learning_rate.assign(
            dynamics_share * dynamics.reward_head_learning_rate
        )

    @property
    def dynamics_variables(self) -> list[tf.Variable]:
        """Weights of the dynamics and their optimisers' moments."""
        parts = (self.world_model.dynamics, self.dynamics_optimizer, self.reward_optimizer)
        return [variable for part in parts for variable in part.variables]

    # ---- single steps, for use inside a graph -------------------------------------------------

    def vqvae_step(self, steps: tf.Tensor) -> list[tf.Tensor]:
        """One gradient step on the observations at ``steps`` [B]; returns ``vqvae_metrics``.

        With an event loss on those of transitions instead, see ``EventRecognition``.
        """
        vqvae, recognition, further = self.world_model.vqvae, self.recognition, []
        transitions = recognition.draw(steps, self.vqvae_updates) if recognition else None
        steps = transitions.steps if recognition else steps
        observations = scale_pixels(self._replay.observations(steps, vqvae.num_stacked_frames))
        with tf.GradientTape() as tape:
            losses, vectors = vqvae.losses_of(observations, True, self._weights(observations))
            loss = losses.reconstruction + self._vqvae_config.commitment_cost * losses.commitment
            if recognition:
                event = recognition.loss(vectors, transitions, self.vqvae_updates)
                loss += self._vqvae_config.event_loss_weight * event
                further = [event]
        of_head = recognition.head.trainable_variables if recognition else []
        gradients, head_gradients = tape.gradient(loss, [self._vqvae_variables, of_head])
        self.vqvae_optimizer.apply_gradients(zip(gradients, self._vqvae_variables, strict=True))
        if recognition:  # Adam does not mind the weight of the loss
            recognition.optimizer.apply_gradients(zip(head_gradients, of_head, strict=True))
        self.vqvae_updates.assign_add(1)
        used = perplexity(vectors.encoding_indices, vqvae.quantizer.num_embeddings)
        return [*losses, used, *further]

    def _weights(self, observations: tf.Tensor) -> tf.Tensor | float:
        """Of the pixels of observations in [0, 1]."""
        extra = self._vqvae_config.foreground_weight
        if not extra:
            return 1.0
        difference = tf.abs(observations - self._background[..., tf.newaxis])
        return 1.0 + extra * tf.cast(difference > FOREGROUND_ABOVE / 255.0, tf.float32)

    def look_through_replay(self) -> None:
        """Before a training: what is background, and which transitions have a reward.

        Background is the median of frames of the whole replay.
        """
        if self.recognition:
            self.recognition.find_events()
        if self._vqvae_config.foreground_weight:
            steps = np.linspace(0, self._replay.size - 1, _FRAMES_FOR_BACKGROUND).astype(np.int32)
            median = np.median(tf.gather(self._replay.frames, np.unique(steps)).numpy(), axis=0)
            self._background.assign(median / 255.0)

    def dynamics_step(self, starts: tf.Tensor, seed: tf.Tensor) -> DynamicsLosses:
        """One gradient step of the dynamics on the windows from ``starts`` [B] on."""
        config = self._dynamics_config
        windows = self.encoded.windows(starts, config.window_length)
        kernels = self.world_model.dynamics.stack.prepare()
        with tf.GradientTape() as tape:
            recorder = ConvolutionRecorder(tape)
            how = (config.context_steps, seed, kernels, recorder, config.temperature)
            losses = dynamics_losses(self.world_model, *windows, *how, training=True)
            loss = losses.latent + config.reward_loss_weight * losses.reward
            loss += losses.disagreement_heads  # of their own weights alone
            if self.world_model.dynamics.end_head:
                loss += config.end_loss_weight * losses.end
        taped, reward, taps = tape.gradient(
            loss, [self._taped_variables, self._event_variables, recorder.taps]
        )
        self.dynamics_optimizer.apply_gradients(
            [*zip(taped, self._taped_variables, strict=True), *recorder.kernel_gradients(taps)]
        )
        self.reward_optimizer.apply_gradients(zip(reward, self._event_variables, strict=True))
        self.dynamics_updates.assign_add(1)
        return losses

    # ---- compiled groups of steps -------------------------------------------------------------
    # Without AutoGraph, which takes seconds to rewrite all that is called.

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)], autograph=False)
    def warmup_steps(self, frame_batches: tf.Tensor) -> tf.Tensor:
        """VQ-VAE steps, one per row [n, B]; returns the mean of ``vqvae_metrics``."""
        count = tf.shape(frame_batches)[0]

        def body(i: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return i + 1, sums + tf.stack(self.vqvae_step(frame_batches[i]))

        sums = tf.zeros([len(self.vqvae_metrics)])
        _, sums = tf.while_loop(lambda i, _: i < count, body, (0, sums), parallel_iterations=1)
        return sums / tf.cast(count, tf.float32)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([2], tf.int32),
        ],
        autograph=False,
    )
    def joint_steps(
        self, window_starts: tf.Tensor, first: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Dynamics steps, one per row, with VQ-VAE steps in between.

        Steps divisible by ``vqvae.update_interval`` train the VQ-VAE first, on observations that
        are drawn uniformly; with an interval of 0 none does.

        Args:
          window_starts: [n, B].
          first: number of the first step within the phase.
          seed: of the phase; the step's number is folded in.

        Returns:
          Means of ``vqvae_metrics`` (0 without a VQ-VAE step) and of ``dynamics_metrics``, and
          the summed reward confusion matrix [3, 3].
        """
        count, interval = tf.shape(window_starts)[0], self._vqvae_config.update_interval
        none = tf.zeros([len(self.vqvae_metrics)])

        def body(i, vqvae_sums, num_vqvae_steps, dynamics_sums, confusion):
            step = first + i
            pair = tf.random.experimental.stateless_fold_in(seed, step)
            if not self._vqvae_rests:
                is_due = tf.equal(step % interval, 0)
                vqvae_sums += tf.cond(
                    is_due,
                    lambda: tf.stack(self.vqvae_step(self._drawn_steps(pair))),
                    lambda: none,
                )
                num_vqvae_steps += tf.cast(is_due, tf.float32)
            losses = self.dynamics_step(window_starts[i], pair)
            values = [losses.latent, losses.reward, losses.code_accuracy, losses.copy_accuracy]
            dynamics_sums += tf.stack([*values, losses.end][: len(self.dynamics_metrics)])
            confusion += losses.reward_confusion
            return i + 1, vqvae_sums, num_vqvae_steps, dynamics_sums, confusion

        begun = (0, none, 0.0, tf.zeros([len(self.dynamics_metrics)]), tf.zeros([3, 3]))
        _, vqvae_sums, num_vqvae_steps, dynamics_sums, confusion = tf.while_loop(
            lambda i, *_: i < count, body, begun, parallel_iterations=1
        )
        return (
            tf.math.divide_no_nan(vqvae_sums, num_vqvae_steps),
            dynamics_sums / tf.cast(count, tf.float32),
            confusion,
        )

    def _drawn_steps(self, seed: tf.Tensor) -> tf.Tensor:
        """Steps of the whole replay for one update of the VQ-VAE, int32 [B']."""
        pair = tf.random.experimental.stateless_fold_in(seed, _FRAMES)
        shape = [self._vqvae_config.batch_size]
        return tf.random.stateless_uniform(shape, pair, 0, self._replay.size_variable, tf.int32)


def batches(order: np.ndarray, batch_size: int) -> np.ndarray:
    """Rows of ``batch_size``, the remainder left out (it comes up in another epoch): [n, B].

    A replay smaller than one batch gives one batch with repetitions.
    """
    if len(order) < batch_size:
        return np.resize(order, [1, batch_size])
    return order[: len(order) // batch_size * batch_size].reshape(-1, batch_size)


def reward_precision_and_recall(confusion: np.ndarray) -> dict[str, float | None]:
    """Per reward class, from counts [3, 3] of true × predicted; None where undefined."""
    result: dict[str, float | None] = {}
    for index, name in enumerate(("negative", "zero", "positive")):
        hits = confusion[index, index]
        predicted, true = confusion[:, index].sum(), confusion[index].sum()
        result[f"reward_precision_{name}"] = float(hits / predicted) if predicted else None
        result[f"reward_recall_{name}"] = float(hits / true) if true else None
    return result
