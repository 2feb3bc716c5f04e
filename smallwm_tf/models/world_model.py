"""The world model p(x_{t+1}, r_t, h_t | x_t, a_t, h_{t-1}) of Eq. 3: VQ-VAE and dynamics."""

import tensorflow as tf

from smallwm_tf.models.dynamics import Dynamics, DynamicsKernels, DynamicsState
from smallwm_tf.models.grid_convolution import to_grid_major
from smallwm_tf.models.vqvae import VQVAE


class WorldModel(tf.Module):
    """Both parts of the world model, and what they do together.

    Attributes:
      vqvae: observations ↔ codes.
      dynamics: codes and actions → next codes and rewards.
    """

    def __init__(self, vqvae: VQVAE, dynamics: Dynamics, name: str = "world_model"):
        super().__init__(name=name)
        self.vqvae = vqvae
        self.dynamics = dynamics

    def step(
        self,
        codes: tf.Tensor,
        actions: tf.Tensor,
        state: DynamicsState,
        kernels: DynamicsKernels | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor, DynamicsState]:
        """Predicts one step.

        Args:
          codes: z_t, int32 [B, 6, 6].
          actions: a_t, int [B].
          state: h_{t-1}.
          kernels: from ``Dynamics.prepare``.

        Returns:
          Logits of z_{t+1} [B, 6, 6, K], logits of the reward class [B, 3], and h_t.
        """
        embedded = to_grid_major(self.vqvae.quantizer.lookup(codes))
        y, state = self.dynamics(embedded, actions, state, kernels)
        latent_logits = self.dynamics.latent_logits(y, codes)
        return latent_logits, self.dynamics.reward_logits(y), state
