"""The peer's side of ``workloads``: the same names, amounts and data."""

import numpy as np
import torch

from benchmarks.peer_weights import copy_weights
from benchmarks.pytorch_peer import Peer
from benchmarks.workloads import NUM_ACTIONS, Data, OurWorkloads, Work


def peer_workloads(
    ours: OurWorkloads, data: Data, compiled: bool, precision: str, device: str = "cpu"
) -> list[Work]:
    """The peer's work in the order of ``OurWorkloads.all``, starting from the same weights.

    Args:
      ours: gives sizes and weights.
      data: the same steps.
      compiled: see ``Peer``.
      precision: see ``Peer``.
      device: see ``Peer``.
    """
    config = ours.config
    frames = config.game.num_stacked_frames
    peer = Peer(frames, NUM_ACTIONS, compiled, precision, device)
    copy_weights(ours.world_model, ours.policy, peer)
    generator = np.random.default_rng(1)
    batch = config.vqvae.batch_size
    windows, length = config.dynamics.windows_per_batch, config.dynamics.window_length
    dreams, horizon = config.dream.num_dreams, config.dream.horizon
    count = len(data.frames)
    # A PyTorch user stacks when a batch is drawn, too.
    stored = torch.from_numpy(data.frames).to(device)

    def observations(steps: np.ndarray) -> torch.Tensor:
        stacked = [stored[np.maximum(steps - age, 0)] for age in range(frames - 1, -1, -1)]
        return torch.stack(stacked, dim=-3)  # [..., F, 96, 96]

    batch_steps = generator.integers(0, count, batch)
    window_steps = generator.integers(0, count - length, windows)[:, None] + np.arange(length)
    actions = torch.from_numpy(data.actions[window_steps]).long().to(device)
    rewards = torch.from_numpy(data.rewards[window_steps]).to(device)
    starts = generator.integers(0, count, dreams)
    single = observations(np.array([count // 2]))

    def encode():
        with peer.autocast():
            return peer.vqvae.encode(observations(window_steps.reshape(-1))).cpu()

    calls = [
        lambda: peer.vqvae_step(observations(batch_steps)),
        lambda: peer.dynamics_step(observations(window_steps), actions, rewards),
        encode,
        lambda: peer.rollout(observations(starts), horizon)["rewards"].cpu(),
        lambda: peer.ppo_update(observations(starts), horizon),
        lambda: peer.act(single),
        lambda: peer.act(single),
    ]
    return [work._replace(call=call) for work, call in zip(ours.all(), calls, strict=True)]
