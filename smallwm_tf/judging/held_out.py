"""How good a world model is on real steps that no training sees.

Teacher-forced measures look one step ahead from true codes. Open-loop measures start like a dream,
from one true code and as much context as dreams have, take the actions that were really taken, and
compare with what really happened h steps later:

    horizon           1         2        …   H
    input code        z_0       ẑ_1      …   ẑ_{H-1}
    prediction        ẑ_1       ẑ_2      …   ẑ_H
    compared with     z_1       z_2      …   z_H        copying z_0 is the baseline at every horizon

Shapes: S starts, H horizon, F stacked frames.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from smallwm_tf.learning.dream_environment import warm_state
from smallwm_tf.learning.dynamics_loss import dynamics_losses
from smallwm_tf.learning.replay import Replay
from smallwm_tf.learning.world_model_learner import FOREGROUND_ABOVE
from smallwm_tf.models.dynamics import reward_classes
from smallwm_tf.models.imagination import Unrolled, unroll
from smallwm_tf.models.vector_quantizer import perplexity
from smallwm_tf.models.vqvae import scale_pixels
from smallwm_tf.models.world_model import WorldModel

_FRAMES_AT_ONCE = 100
_WINDOWS_AT_ONCE = 32
_FRAMES_OF_ERRORS = 400


class OneStep(NamedTuple):
    """Teacher-forced predictions over all held-out transitions."""

    latent_loss: float  # nats per grid of 36 codes
    code_accuracy: float  # share of next codes for which the most probable one is right
    copy_accuracy: float  # the same for predicting the present code
    reward_loss: float  # nats per transition
    confusion: np.ndarray  # [3, 3] counts: true class × most probable class
    calibration: np.ndarray  # [3] predicted over true number of each class; NaN if there is none


class OpenLoopCurves(NamedTuple):
    """Means over the starts whose episode lasts that long; [H], NaN where none does."""

    code_accuracy: np.ndarray  # feeding back the most probable codes
    sampled_accuracy: np.ndarray  # feeding back sampled codes, as dreams do
    copy_accuracy: np.ndarray  # predicting the code of the start
    pixel_error: np.ndarray  # mean |decoded prediction − frame|, grey levels of 255
    copy_pixel_error: np.ndarray  # the same for the decoded code of the start
    reconstruction_pixel_error: np.ndarray  # the same for the decoded true code: the least possible
    reward_confusion: np.ndarray  # [H, 3, 3] counts: true × most probable class of r_{h-1}


class Autoencoding(NamedTuple):
    """The VQ-VAE on all held-out observations."""

    elbo: float  # nats per observation
    codebook_perplexity: float
    largest_logit: float  # of any pixel, absolute
    pixel_error: float  # mean |reconstruction − newest frame|, grey levels of 255
    foreground_pixel_error: float  # the same where it differs from the median frame; NaN if nowhere


def autoencoding(world_model: WorldModel, replay: Replay) -> Autoencoding:
    """ELBO, use of the codebook and errors, with the moving batch-norm statistics of inference.

    Pixel errors are those of some hundred frames from all over the replay.
    """
    vqvae = world_model.vqvae
    evaluate = tf.function(
        lambda steps: vqvae.losses_of(
            scale_pixels(replay.observations(steps, vqvae.num_stacked_frames)), training=False
        ),
        input_signature=[tf.TensorSpec([None], tf.int32)],
        autograph=False,
    )
    elbo, largest_logit, all_codes = 0.0, 0.0, []
    for first in range(0, replay.size, _FRAMES_AT_ONCE):
        steps = np.arange(first, min(first + _FRAMES_AT_ONCE, replay.size), dtype=np.int32)
        losses, codes = evaluate(steps)
        elbo += float(losses.elbo) * len(steps) / replay.size
        largest_logit = max(largest_logit, float(losses.largest_logit))
        all_codes.append(codes.numpy())
    codes = np.concatenate(all_codes)
    used = perplexity(tf.constant(codes), vqvae.quantizer.num_embeddings)
    every = max(1, replay.size // _FRAMES_OF_ERRORS)
    frames = replay.frames[: replay.size : every].numpy().astype(float)
    decode = tf.function(lambda z: vqvae.mean_pixels(z)[..., -1] * 255.0, autograph=False)
    shown = np.concatenate(
        [
            decode(codes[::every][first : first + _FRAMES_AT_ONCE]).numpy()
            for first in range(0, len(frames), _FRAMES_AT_ONCE)
        ]
    )
    errors = np.abs(shown - frames)
    is_foreground = np.abs(frames - np.median(frames, axis=0)) > FOREGROUND_ABOVE
    return Autoencoding(
        elbo,
        float(used),
        largest_logit,
        float(errors.mean()),
        float(errors[is_foreground].mean()) if is_foreground.any() else float("nan"),
    )


def one_step(world_model: WorldModel, replay: Replay, window_length: int) -> OneStep:
    """Predictions one step ahead, from true codes since the start of a window.

    Args:
      world_model: what predicts.
      replay: held-out steps.
      window_length: steps of a window; every transition is in one.
    """
    return one_step_measure(world_model, replay, window_length)()


def one_step_measure(
    world_model: WorldModel, replay: Replay, window_length: int
) -> Callable[[], OneStep]:
    """``one_step`` as a function that is compiled once, for measuring again and again."""
    vqvae = world_model.vqvae

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)], autograph=False)
    def evaluate(starts):
        windows = replay.windows(starts, window_length, vqvae.num_stacked_frames)
        flat = tf.reshape(windows.observations, [-1, *windows.observations.shape[2:]])
        codes = tf.reshape(vqvae.encode(flat), [-1, window_length, 6, 6])
        valid = windows.valid
        losses = dynamics_losses(
            world_model,
            codes,
            windows.actions,
            windows.rewards,
            valid,
            context_steps=window_length,
            seed=tf.constant([0, 0]),  # nothing is sampled: every input is true
            kernels=world_model.dynamics.prepare(),
        )
        num_transitions = tf.reduce_sum(tf.cast(valid[:, :-1], tf.float32))
        num_next = tf.reduce_sum(tf.cast(valid[:, :-1] & valid[:, 1:], tf.float32))
        return losses, num_transitions, num_next

    starts = replay.window_starts(np.random.default_rng(0), window_length)

    def measure() -> OneStep:
        sums = np.zeros(3)
        reward_loss = transitions = nexts = 0.0
        confusion, predicted = np.zeros([3, 3]), np.zeros(3)
        for first in range(0, len(starts), _WINDOWS_AT_ONCE):
            losses, count, next_count = evaluate(starts[first : first + _WINDOWS_AT_ONCE])
            measures = (losses.latent, losses.code_accuracy, losses.copy_accuracy)
            sums += np.array([float(value) for value in measures]) * float(next_count)
            reward_loss += float(losses.reward) * float(count)
            transitions, nexts = transitions + float(count), nexts + float(next_count)
            confusion += losses.reward_confusion.numpy()
            predicted += losses.reward_probabilities.numpy() * float(count)
        true = confusion.sum(axis=1)
        calibration = np.divide(predicted, true, out=np.full(3, np.nan), where=true > 0)
        latent, accuracy, copies = sums / max(nexts, 1.0)
        return OneStep(
            float(latent),
            float(accuracy),
            float(copies),
            reward_loss / max(transitions, 1.0),
            confusion,
            calibration,
        )

    return measure


def open_loop_curves(
    world_model: WorldModel,
    replay: Replay,
    starts: np.ndarray,
    horizon: int,
    seed: np.ndarray,
    context_steps: int = 0,
    temperature: float = 1.0,
) -> OpenLoopCurves:
    """Predictions by horizon, beside the baseline that copies the start.

    Args:
      world_model: what dreams.
      replay: what really happened.
      starts: first steps, int32 [S]; horizons behind the end of a start's episode do not count.
      horizon: H.
      seed: int32 pair for the sampled codes.
      context_steps: real steps before a start that the recurrent state has seen.
      temperature: divides the logits of sampled codes.
    """
    vqvae = world_model.vqvae
    windows = replay.windows(tf.constant(starts, tf.int32), horizon + 1, vqvae.num_stacked_frames)
    valid = windows.valid.numpy()[:, 1:]
    codes = np.stack(
        [vqvae.encode(windows.observations[:, t]).numpy() for t in range(horizon + 1)], axis=1
    )
    frames = windows.observations[..., -1].numpy()
    decode = tf.function(lambda z: vqvae.mean_pixels(z)[..., -1] * 255.0, autograph=False)
    past = replay.past(tf.constant(starts, tf.int32), context_steps, vqvae.num_stacked_frames)
    state = warm_state(world_model, past, world_model.dynamics.prepare("fewest_products"))

    def dream(pair: np.ndarray | None) -> Unrolled:
        first, actions = tf.constant(codes[:, 0]), windows.actions[:, :horizon]
        return unroll(world_model, first, actions, state, pair, temperature)

    def curve(values: np.ndarray) -> np.ndarray:
        """Mean over valid starts: [S, H] → [H]."""
        counts = valid.sum(axis=0)
        sums = np.where(valid, values, 0.0).sum(axis=0)
        return np.divide(sums, counts, out=np.full(horizon, np.nan), where=counts > 0)

    def accuracy(predicted: np.ndarray) -> np.ndarray:
        return curve((predicted == codes[:, 1:]).mean(axis=(2, 3)))

    def error(predicted: np.ndarray) -> np.ndarray:
        differences = []
        for t in range(horizon):
            decoded = decode(tf.constant(predicted[:, t])).numpy()
            differences.append(np.abs(decoded - frames[:, t + 1]).mean(axis=(1, 2)))
        return curve(np.stack(differences, axis=1))

    likeliest = dream(None)
    copied = np.repeat(codes[:, :1], horizon, axis=1)
    confusion = np.zeros([horizon, 3, 3], int)
    true_classes = reward_classes(windows.rewards[:, :horizon]).numpy()
    predicted_classes = likeliest.rewards.astype(int) + 1
    starts_left, steps = np.nonzero(windows.valid.numpy()[:, :horizon])
    rewarded = (true_classes[starts_left, steps], predicted_classes[starts_left, steps])
    np.add.at(confusion, (steps, *rewarded), 1)
    return OpenLoopCurves(
        code_accuracy=accuracy(likeliest.codes),
        sampled_accuracy=accuracy(dream(seed).codes),
        copy_accuracy=accuracy(copied),
        pixel_error=error(likeliest.codes),
        copy_pixel_error=error(copied),
        reconstruction_pixel_error=error(codes[:, 1:]),
        reward_confusion=confusion,
    )
