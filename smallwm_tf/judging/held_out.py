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

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from smallwm_tf.judging.moving_objects import count_objects
from smallwm_tf.judging.open_loop import Unrolled, start_at, unroll
from smallwm_tf.judging.reward_skill import (
    Recognition,
    area_under_curve,
    areas_by_class,
    recognition_of,
    reward_skill,
)
from smallwm_tf.learning.dynamics_loss import DynamicsLosses, dynamics_losses
from smallwm_tf.learning.replay import Replay
from smallwm_tf.learning.world_model_learner import FOREGROUND_ABOVE
from smallwm_tf.models.event_heads import reward_classes
from smallwm_tf.models.imagination import Dreamer
from smallwm_tf.models.vector_quantizer import Quantized, perplexity
from smallwm_tf.models.vqvae import VQVAELosses, scale_pixels
from smallwm_tf.models.world_model import WorldModel

_FRAMES_AT_ONCE = 100
_WINDOWS_AT_ONCE = 32
_FRAMES_OF_ERRORS = 400
_STEPS = tf.TensorSpec([None], tf.int32)


class OneStep(NamedTuple):
    """Teacher-forced predictions over all held-out transitions."""

    latent_loss: float  # nats per grid of 36 codes
    code_accuracy: float  # share of next codes for which the most probable one is right
    copy_accuracy: float  # the same for predicting the present code
    reward_loss: float  # nats per transition
    confusion: np.ndarray  # [3, 3] counts: true class × most probable class
    calibration: np.ndarray  # [3] predicted over true number of each class; NaN if there is none
    reward_skill: float  # 1 − reward_loss / entropy of the rewards; NaN if all are the same
    reward_auc: np.ndarray  # [3] of each class against the others; NaN if there are not both
    end_loss: float  # nats per transition; 0 where ends are not predicted
    end_skill: float  # as ``reward_skill``
    end_auc: float  # of ends against the rest


class OpenLoopCurves(NamedTuple):
    """Means over the starts whose episode lasts that long; [H], NaN where none does."""

    code_accuracy: np.ndarray  # feeding back the most probable codes
    sampled_accuracy: np.ndarray  # feeding back sampled codes, as dreams do
    copy_accuracy: np.ndarray  # predicting the code of the start
    pixel_error: np.ndarray  # mean |decoded prediction − frame|, grey levels of 255
    copy_pixel_error: np.ndarray  # the same for the decoded code of the start
    reconstruction_pixel_error: np.ndarray  # the same for the decoded true code: the least possible
    more_objects: np.ndarray  # share of sampled dreams that show more of them than the true code
    fewer_objects: np.ndarray  # and fewer, see ``moving_objects``
    reward_confusion: np.ndarray  # [H, 3, 3] counts: true × most probable class of r_{h-1}


class Autoencoding(NamedTuple):
    """The VQ-VAE on all held-out observations."""

    elbo: float  # nats per observation
    codebook_perplexity: float
    largest_logit: float  # of any pixel, absolute
    pixel_error: float  # mean |reconstruction − newest frame|, grey levels of 255
    foreground_pixel_error: float  # the same where it differs from the median frame; NaN if nowhere


class HeldOutMeasures:
    """Measures a world model at its weights of the moment, again and again with the same graphs.

    Args:
      world_model: is measured.
      replay: of held-out steps; may be filled with others from time to time.
      window_length: steps of which one-step predictions see the true codes.
    """

    def __init__(self, world_model: WorldModel, replay: Replay, window_length: int):
        self._world_model, self._replay = world_model, replay
        self._window_length = window_length

    def autoencoding(self) -> Autoencoding:
        """ELBO, use of the codebook, errors, with the moving batch-norm statistics of inference.

        Pixel errors are those of some hundred frames from all over the replay.
        """
        replay, vqvae = self._replay, self._world_model.vqvae
        elbo, largest_logit, all_codes = 0.0, 0.0, []
        for first in range(0, replay.size, _FRAMES_AT_ONCE):
            steps = np.arange(first, min(first + _FRAMES_AT_ONCE, replay.size), dtype=np.int32)
            losses, quantized = self._autoencode(steps)
            elbo += float(losses.elbo) * len(steps) / replay.size
            largest_logit = max(largest_logit, float(losses.largest_logit))
            all_codes.append(quantized.encoding_indices.numpy())
        codes = np.concatenate(all_codes)
        used = perplexity(tf.constant(codes), vqvae.quantizer.num_embeddings)
        every, frames = self._some_frames()
        groups, some = range(0, len(frames), _FRAMES_AT_ONCE), codes[::every]
        shown = [self._decode(some[first : first + _FRAMES_AT_ONCE]).numpy() for first in groups]
        errors = np.abs(np.concatenate(shown) - frames)
        is_foreground = np.abs(frames - np.median(frames, axis=0)) > FOREGROUND_ABOVE
        foreground_error = errors[is_foreground].mean() if is_foreground.any() else float("nan")
        return Autoencoding(
            elbo, float(used), largest_logit, float(errors.mean()), float(foreground_error)
        )

    def one_step(self) -> OneStep:
        """Predictions one step ahead, from true codes since the start of a window.

        Every transition is in exactly one window.
        """
        starts = self._replay.tiling(self._window_length)
        sums = np.zeros(3)
        reward_loss = end_loss = transitions = nexts = 0.0
        confusion, all_classes, all_probabilities = np.zeros([3, 3]), [], []
        all_ends, all_end_probabilities = [], []
        for first in range(0, len(starts), _WINDOWS_AT_ONCE):
            losses, count, next_count = self._predict(starts[first : first + _WINDOWS_AT_ONCE])
            measures = (losses.latent, losses.code_accuracy, losses.copy_accuracy)
            sums += np.array([float(value) for value in measures]) * float(next_count)
            reward_loss += float(losses.reward) * float(count)
            end_loss += float(losses.end) * float(count)
            transitions, nexts = transitions + float(count), nexts + float(next_count)
            confusion += losses.reward_confusion.numpy()
            is_real = losses.reward_classes.numpy() >= 0
            all_classes.append(losses.reward_classes.numpy()[is_real])
            all_probabilities.append(losses.reward_probabilities.numpy()[is_real])
            all_ends.append(losses.ends.numpy()[is_real])
            all_end_probabilities.append(losses.end_probabilities.numpy()[is_real])
        classes, probabilities = np.concatenate(all_classes), np.concatenate(all_probabilities)
        true, predicted = confusion.sum(axis=1), probabilities.sum(axis=0)
        calibration = np.divide(predicted, true, out=np.full(3, np.nan), where=true > 0)
        latent, accuracy, copies = (float(value) for value in sums / max(nexts, 1.0))
        reward_loss, end_loss = (total / max(transitions, 1.0) for total in (reward_loss, end_loss))
        ends = np.concatenate(all_ends)
        return OneStep(
            latent,
            accuracy,
            copies,
            reward_loss,
            confusion,
            calibration,
            reward_skill(reward_loss, true),
            areas_by_class(probabilities, classes),
            end_loss,
            reward_skill(end_loss, np.bincount(ends, minlength=2)),
            area_under_curve(np.concatenate(all_end_probabilities), ends),
        )

    def recognition(self) -> Recognition:
        """What the recognition head tells of every transition inside an episode."""
        replay = self._replay
        is_last = replay.terminated.numpy() | replay.truncated.numpy()
        steps = np.flatnonzero(~is_last[: replay.size - 1]).astype(np.int32)
        parts = np.split(steps, range(_FRAMES_AT_ONCE, len(steps), _FRAMES_AT_ONCE))
        told = np.concatenate([self._recognise(part).numpy() for part in parts])
        return recognition_of(told, reward_classes(tf.gather(replay.rewards, steps)).numpy())

    def open_loop(
        self, dreamer: Dreamer, starts: np.ndarray, horizon: int, seed: np.ndarray
    ) -> OpenLoopCurves:
        """Predictions of the world model's dreamer by horizon, and of one that copies the start.

        The starts are first steps, int32 [S]; horizons behind the end of a start's episode do not
        count. Codes are sampled from the seed, an int32 pair.
        """
        replay, world_model = self._replay, self._world_model
        windows = replay.windows(
            tf.constant(starts, tf.int32), horizon + 1, world_model.num_stacked_frames
        )
        observations, actions = windows.observations, windows.actions[:, :horizon]
        codes = np.stack(
            [world_model.encode(observations[:, t]).numpy() for t in range(horizon + 1)], axis=1
        )
        state = start_at(dreamer, replay, starts)
        likeliest = unroll(dreamer, state, actions, None)
        sampled = unroll(dreamer, state, actions, seed)
        valid = windows.valid.numpy()
        truth = _Truth(codes[:, 1:], observations[:, 1:, ..., -1].numpy(), valid[:, 1:])
        background = np.median(self._some_frames()[1], axis=0)
        copy = self._decode(codes[:, 0]).numpy()
        errors = np.zeros([3, *truth.valid.shape], np.float32)
        added = np.zeros(truth.valid.shape, int)
        shown = likeliest.codes, truth.codes, sampled.codes
        for t in range(horizon):
            dreamed, true, drawn = (self._decode(codes[:, t]).numpy() for codes in shown)
            pictures = np.stack([copy, dreamed, true])
            errors[..., t] = np.abs(pictures - truth.frames[:, t]).mean(axis=(2, 3))
            added[:, t] = count_objects(drawn, background) - count_objects(true, background)
        copy_error, error, least_error = map(truth.mean, errors)
        return OpenLoopCurves(
            code_accuracy=truth.accuracy(likeliest.codes),
            sampled_accuracy=truth.accuracy(sampled.codes),
            copy_accuracy=truth.accuracy(np.repeat(codes[:, :1], horizon, axis=1)),
            pixel_error=error,
            copy_pixel_error=copy_error,
            reconstruction_pixel_error=least_error,
            more_objects=truth.mean(added > 0),
            fewer_objects=truth.mean(added < 0),
            reward_confusion=_reward_confusion(windows.rewards, likeliest, valid[:, :horizon]),
        )

    def _some_frames(self) -> tuple[int, np.ndarray]:
        """Every n-th frame of the replay, some hundred: n, and they as float [k, 96, 96]."""
        every = max(1, self._replay.size // _FRAMES_OF_ERRORS)
        return every, self._replay.frames[: self._replay.size : every].numpy().astype(float)

    @tf.function(input_signature=[_STEPS], autograph=False)
    def _autoencode(self, steps: tf.Tensor) -> tuple[VQVAELosses, Quantized]:
        vqvae = self._world_model.vqvae
        observations = self._replay.observations(steps, vqvae.num_stacked_frames)
        return vqvae.losses_of(scale_pixels(observations), training=False)

    @tf.function(input_signature=[_STEPS], autograph=False)
    def _predict(self, starts: tf.Tensor) -> tuple[DynamicsLosses, tf.Tensor, tf.Tensor]:
        """Losses of windows, how many transitions they have, and how many next codes."""
        vqvae, length = self._world_model.vqvae, self._window_length
        windows = self._replay.windows(starts, length, vqvae.num_stacked_frames)
        flat = tf.reshape(windows.observations, [-1, *windows.observations.shape[2:]])
        valid = windows.valid
        losses = dynamics_losses(
            self._world_model,
            tf.reshape(vqvae.encode(flat), [-1, length, 6, 6]),
            *windows[1:],  # actions, rewards, ends, valid
            context_steps=length,
            seed=tf.constant([0, 0]),  # nothing is sampled: every input is true
            kernels=self._world_model.dynamics.stack.prepare(),
        )
        num_transitions = tf.reduce_sum(tf.cast(valid[:, :-1], tf.float32))
        num_next = tf.reduce_sum(tf.cast(valid[:, :-1] & valid[:, 1:], tf.float32))
        return losses, num_transitions, num_next

    @tf.function(input_signature=[_STEPS], autograph=False)
    def _recognise(self, steps: tf.Tensor) -> tf.Tensor:
        """Probabilities [n, 3] of the rewards of the transitions from the steps on."""
        replay, vqvae = self._replay, self._world_model.vqvae
        vectors = [
            vqvae.quantizer.lookup(vqvae.encode(replay.observations(s, vqvae.num_stacked_frames)))
            for s in (steps, steps + 1)
        ]
        told = self._world_model.recognition_head.distribution(
            *vectors, tf.gather(replay.actions, steps)
        )
        return told.probabilities()

    @tf.function(input_signature=[tf.TensorSpec([None, 6, 6], tf.int32)], autograph=False)
    def _decode(self, codes: tf.Tensor) -> tf.Tensor:
        """Codes → newest frames [n, 96, 96], 0 … 255."""
        return self._world_model.decode(codes)[..., -1] * 255.0


class _Truth(NamedTuple):
    """What really happened behind the starts."""

    codes: np.ndarray  # z_1 … z_H, int32 [S, H, 6, 6]
    frames: np.ndarray  # uint8 [S, H, 96, 96]
    valid: np.ndarray  # bool [S, H], false behind the end of an episode

    def accuracy(self, predicted: np.ndarray) -> np.ndarray:
        """Share of right codes by horizon: [S, H, 6, 6] → [H]."""
        return self.mean((predicted == self.codes).mean(axis=(2, 3)))

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Mean over valid starts: [S, H] → [H], NaN where there is none."""
        counts = self.valid.sum(axis=0)
        sums = np.where(self.valid, values, 0.0).sum(axis=0)
        return np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def _reward_confusion(rewards: tf.Tensor, predicted: Unrolled, valid: np.ndarray) -> np.ndarray:
    """Counts [H, 3, 3] of true × predicted classes of the steps that are valid [S, H]."""
    horizon = valid.shape[1]
    true = reward_classes(rewards[:, :horizon]).numpy()
    guessed = reward_classes(predicted.rewards).numpy()
    confusion = np.zeros([horizon, 3, 3], int)
    start, step = np.nonzero(valid)
    np.add.at(confusion, (step, true[start, step], guessed[start, step]), 1)
    return confusion
