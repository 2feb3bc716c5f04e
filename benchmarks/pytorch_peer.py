"""A plain PyTorch build of the same networks and steps, to compare speed with.

Written as a PyTorch user who wants speed would: library layers, ``channels_last``, one Python loop
per sequence, autograd, ``torch.optim.Adam``; optionally ``torch.compile`` and autocast to bfloat16.
It is the same work as smallwm_tf's: equal parameter counts, and equal outputs with weights copied
across (``benchmarks/peer_weights.py`` does the copying, a test checks both).

Shapes: B batch, T window length, F stacked frames, M actions, K embeddings, D embedding size.
"""

import torch
from torch import nn
from torch.distributions import Categorical
from torch.nn import functional as nnf

EMBEDDING_DIM, NUM_EMBEDDINGS, CHANNELS = 32, 128, 128


class ResidualBlock(nn.Module):
    """3×3, ReLU, 1×1, add; batch norm and no biases, or the reverse."""

    def __init__(self, use_batch_norm: bool):
        super().__init__()
        bias = not use_batch_norm
        self.conv_3x3 = nn.Conv2d(256, 256, 3, padding=1, bias=bias)
        self.norm_3x3 = nn.BatchNorm2d(256) if use_batch_norm else nn.Identity()
        self.conv_1x1 = nn.Conv2d(256, 256, 1, bias=bias)
        self.norm_1x1 = nn.BatchNorm2d(256) if use_batch_norm else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.norm_3x3(self.conv_3x3(x)))
        return x + self.norm_1x1(self.conv_1x1(h))


class VQVAE(nn.Module):
    """Encoder, quantiser with moving averages, decoder."""

    def __init__(self, num_stacked_frames: int):
        super().__init__()
        channels = [num_stacked_frames, 32, 64, 128, 256]
        layers: list[nn.Module] = []
        for before, after in zip(channels, channels[1:], strict=False):
            layers += [
                nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(),
            ]
        for _ in range(2):
            layers += [ResidualBlock(use_batch_norm=True), nn.LeakyReLU()]
        layers += [nn.Conv2d(256, EMBEDDING_DIM, 1, bias=False), nn.BatchNorm2d(EMBEDDING_DIM)]
        self.encoder = nn.Sequential(*layers)
        layers = [nn.Conv2d(EMBEDDING_DIM, 256, 3, padding=1), nn.LeakyReLU()]
        for _ in range(2):
            layers += [ResidualBlock(use_batch_norm=False), nn.LeakyReLU()]
        for before, after in ((256, 128), (128, 64), (64, 32)):
            layers += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU()]
        layers.append(nn.ConvTranspose2d(32, num_stacked_frames, 4, stride=2, padding=1))
        self.decoder = nn.Sequential(*layers)
        self.register_buffer("embeddings", torch.empty(NUM_EMBEDDINGS, EMBEDDING_DIM))
        nn.init.uniform_(self.embeddings, -0.153, 0.153)
        self.register_buffer("cluster_size", torch.ones(NUM_EMBEDDINGS))
        self.register_buffer("cluster_sum", self.embeddings.clone())

    def nearest(self, vectors: torch.Tensor) -> torch.Tensor:
        """[B, D, 6, 6] → [B, 6, 6]."""
        flat = vectors.float().permute(0, 2, 3, 1).reshape(-1, EMBEDDING_DIM)
        scores = self.embeddings.square().sum(1) - 2 * flat @ self.embeddings.T
        return scores.argmin(1).reshape(-1, 6, 6)

    def lookup(self, codes: torch.Tensor) -> torch.Tensor:
        """[B, 6, 6] → [B, D, 6, 6]."""
        return nnf.embedding(codes, self.embeddings).permute(0, 3, 1, 2)

    @torch.no_grad()
    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """uint8 [B, F, 96, 96] → codes, with moving batch-norm statistics."""
        self.eval()
        return self.nearest(self.encoder(frames.float() / 255.0))

    @torch.no_grad()
    def update_codebook(self, vectors: torch.Tensor, codes: torch.Tensor) -> None:
        """One moving-average step."""
        flat = vectors.float().permute(0, 2, 3, 1).reshape(-1, EMBEDDING_DIM)
        assignment = nnf.one_hot(codes.reshape(-1), NUM_EMBEDDINGS).float()
        self.cluster_size.mul_(0.99).add_(assignment.sum(0), alpha=0.01)
        self.cluster_sum.mul_(0.99).add_(assignment.T @ flat, alpha=0.01)
        total = self.cluster_size.sum()
        smoothed = (self.cluster_size + 1e-5) / (total + NUM_EMBEDDINGS * 1e-5) * total
        self.embeddings.copy_(self.cluster_sum / smoothed[:, None])

    def loss(self, frames: torch.Tensor) -> torch.Tensor:
        """Training loss of uint8 frames [B, F, 96, 96]; moves the codebook."""
        self.train()
        x = frames.float() / 255.0
        vectors = self.encoder(x).float()
        codes = self.nearest(vectors)
        quantized = self.lookup(codes)
        commitment = nnf.mse_loss(vectors, quantized)
        self.update_codebook(vectors, codes)
        logits = self.decoder(vectors + (quantized - vectors).detach())
        log_prob = continuous_bernoulli_log_prob(logits.float(), x).sum((1, 2, 3)).mean()
        return -log_prob + 0.25 * commitment


def continuous_bernoulli_log_prob(logits: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """torch.distributions' own density, as a PyTorch user would take it."""
    return torch.distributions.ContinuousBernoulli(logits=logits, validate_args=False).log_prob(x)


class ConvLSTMCell(nn.Module):
    """ConvLSTM cell with layer norms and elementwise peepholes."""

    def __init__(self, in_channels: int, channels: int = CHANNELS):
        super().__init__()
        self.conv_x = nn.Conv2d(in_channels, 4 * channels, 5, padding=2, bias=False)
        self.conv_h = nn.Conv2d(channels, 4 * channels, 5, padding=2, bias=False)
        self.norm_x = nn.LayerNorm([4 * channels, 6, 6])
        self.norm_h = nn.LayerNorm([4 * channels, 6, 6])
        self.bias = nn.Parameter(torch.zeros(4 * channels, 1, 1))
        self.peepholes = nn.Parameter(torch.randn(3, channels, 1, 1))

    def forward(self, x: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor]):
        h, c = state
        summed = self.norm_x(self.conv_x(x)) + self.norm_h(self.conv_h(h)) + self.bias
        i, f, g, o = summed.chunk(4, dim=1)
        i = torch.sigmoid(i + self.peepholes[0] * c)
        f = torch.sigmoid(f + self.peepholes[1] * c + 1.0)
        c = f * c + i * torch.tanh(g)
        o = torch.sigmoid(o + self.peepholes[2] * c)
        return o * torch.tanh(c), c


class Dynamics(nn.Module):
    """Two cells, latent head and reward head."""

    def __init__(self, num_actions: int):
        super().__init__()
        self.num_actions = num_actions
        y_channels = CHANNELS + num_actions
        self.cell_1 = ConvLSTMCell(EMBEDDING_DIM + num_actions)
        self.cell_2 = ConvLSTMCell(y_channels)
        self.latent_head = nn.Conv2d(y_channels, NUM_EMBEDDINGS, 1)
        self.reward_head = nn.Sequential(
            nn.Conv2d(y_channels, 32, 1),
            nn.LayerNorm([32, 6, 6]),
            nn.LeakyReLU(),
            nn.Flatten(),
            nn.Linear(32 * 36, 512),
            nn.LeakyReLU(),
            nn.Linear(512, 3),
        )

    def initial_state(self, batch_size: int, device: str = "cpu"):
        zeros = torch.zeros(batch_size, CHANNELS, 6, 6, device=device)
        return (zeros, zeros), (zeros, zeros)

    def forward(self, embedded: torch.Tensor, actions: torch.Tensor, state):
        """[B, D, 6, 6] and [B] → latent logits [B, 6, 6, K], reward logits [B, 3], state."""
        planes = nnf.one_hot(actions, self.num_actions).to(embedded.dtype)[:, :, None, None]
        planes = planes.expand(-1, -1, 6, 6)
        first = self.cell_1(torch.cat([embedded, planes], 1), state[0])
        second = self.cell_2(torch.cat([first[0], planes], 1), state[1])
        y = torch.cat([second[0], planes], 1)
        return self.latent_head(y).permute(0, 2, 3, 1), self.reward_head(y), (first, second)


class Policy(nn.Module):
    """Action logits and value on a shared trunk."""

    def __init__(self, num_actions: int):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(EMBEDDING_DIM, 64, 1, bias=False),
            nn.LayerNorm([64, 6, 6]),
            nn.LeakyReLU(),
            nn.Conv2d(64, 64, 5, padding=2, bias=False),
            nn.LayerNorm([64, 6, 6]),
            nn.LeakyReLU(),
            nn.Flatten(),
            nn.Linear(64 * 36, 512),
            nn.LeakyReLU(),
        )
        self.logits = nn.Linear(512, num_actions)
        self.value = nn.Linear(512, 1)

    def forward(self, embedded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.trunk(embedded)
        return self.logits(hidden), self.value(hidden).squeeze(-1)


class Peer:
    """The networks with their optimisers, and the steps that are timed.

    Args:
      num_stacked_frames: F.
      num_actions: M.
      compiled: whether ``torch.compile`` compiles the networks.
      precision: "float32", or "bfloat16" by autocast.
      device: "cpu" or "cuda".
    """

    def __init__(
        self,
        num_stacked_frames: int,
        num_actions: int,
        compiled: bool = False,
        precision: str = "float32",
        device: str = "cpu",
    ):
        self.vqvae = VQVAE(num_stacked_frames)
        self.dynamics = Dynamics(num_actions)
        self.policy = Policy(num_actions)
        for network in (self.vqvae, self.dynamics, self.policy):
            network.to(device=device, memory_format=torch.channels_last)
        if compiled:
            for network in (self.vqvae.encoder, self.vqvae.decoder, self.dynamics, self.policy):
                network.compile()
        self._device = device
        self._is_half = precision == "bfloat16"
        head = list(self.dynamics.reward_head.parameters())
        rest = [p for n, p in self.dynamics.named_parameters() if "reward_head" not in n]
        self.vqvae_optimizer = torch.optim.Adam(self.vqvae.parameters(), lr=1e-4)
        self.dynamics_optimizer = torch.optim.Adam(
            [{"params": rest, "lr": 5e-4}, {"params": head, "lr": 1e-3}]
        )
        self.policy_optimizer = torch.optim.Adam(self.policy.parameters(), lr=2.5e-4)

    def autocast(self) -> torch.autocast:
        """The context in which losses and predictions are computed."""
        return torch.autocast(self._device, torch.bfloat16, enabled=self._is_half)

    def vqvae_step(self, frames: torch.Tensor) -> float:
        """One VQ-VAE update on uint8 [B, F, 96, 96]."""
        self.vqvae_optimizer.zero_grad()
        with self.autocast():
            loss = self.vqvae.loss(frames)
        loss.backward()
        self.vqvae_optimizer.step()
        return loss.item()

    def dynamics_step(
        self, frames: torch.Tensor, actions: torch.Tensor, rewards: torch.Tensor
    ) -> float:
        """One dynamics update on uint8 [B, T, F, 96, 96], int [B, T], float [B, T]."""
        self.dynamics_optimizer.zero_grad()
        with self.autocast():
            loss = self._dynamics_loss(frames, actions, rewards)
        loss.backward()
        self.dynamics_optimizer.step()
        return loss.item()

    def _dynamics_loss(
        self, frames: torch.Tensor, actions: torch.Tensor, rewards: torch.Tensor
    ) -> torch.Tensor:
        batch, length = actions.shape
        codes = self.vqvae.encode(frames.flatten(0, 1)).reshape(batch, length, 6, 6)
        classes = rewards.clamp(-1, 1).round().long() + 1
        state = self.dynamics.initial_state(batch, self._device)
        inputs, latent_loss, reward_loss = codes[:, 0], 0.0, 0.0
        for t in range(length - 1):
            embedded = self.vqvae.lookup(inputs)
            latent, reward, state = self.dynamics(embedded, actions[:, t], state)
            target = codes[:, t + 1]
            latent_loss = latent_loss + 36 * nnf.cross_entropy(
                latent.reshape(-1, NUM_EMBEDDINGS), target.reshape(-1)
            )
            reward_loss = reward_loss + nnf.cross_entropy(reward, classes[:, t])
            drawn = Categorical(logits=latent.detach().float(), validate_args=False).sample()
            inputs = target if t + 1 < 4 else drawn
        return (latent_loss + 1e-6 * reward_loss) / (length - 1)

    @torch.no_grad()
    def rollout(self, frames: torch.Tensor, horizon: int) -> dict[str, torch.Tensor]:
        """Dreams from uint8 [N, F, 96, 96]; every tensor [H, N, ...], values one more."""
        with self.autocast():
            return self._rollout(frames, horizon)

    def _rollout(self, frames: torch.Tensor, horizon: int) -> dict[str, torch.Tensor]:
        codes = self.vqvae.encode(frames)
        state = self.dynamics.initial_state(len(frames), self._device)
        kept: dict[str, list[torch.Tensor]] = {
            name: [] for name in ("codes", "actions", "log_probs", "values", "rewards")
        }
        for _ in range(horizon):
            embedded = self.vqvae.lookup(codes)
            logits, values = self.policy(embedded)
            values = values.float()
            policy = Categorical(logits=logits.float(), validate_args=False)
            actions = policy.sample()
            latent, reward, state = self.dynamics(embedded, actions, state)
            rewards = Categorical(logits=reward.float(), validate_args=False).sample() - 1.0
            step = (codes, actions, policy.log_prob(actions), values, rewards)
            for name, value in zip(kept, step, strict=True):
                kept[name].append(value)
            codes = Categorical(logits=latent.float(), validate_args=False).sample()
        return {name: torch.stack(values) for name, values in kept.items()}

    def ppo_update(self, frames: torch.Tensor, horizon: int) -> float:
        """Rollout, GAE, 4 epochs of minibatches of 256."""
        batch = self.rollout(frames, horizon)
        advantages = torch.zeros_like(batch["rewards"])
        advantage = torch.zeros(len(frames), device=self._device)
        for t in reversed(range(horizon)):
            last = t == horizon - 1
            following = 0.0 if last else batch["values"][t + 1]
            delta = batch["rewards"][t] + 0.99 * following - batch["values"][t]
            advantage = delta + (0.0 if last else 0.99 * 0.95 * advantage)
            advantages[t] = advantage
        flat = {name: value.flatten(0, 1) for name, value in batch.items()}
        flat["advantages"] = advantages.flatten()
        flat["returns"] = flat["advantages"] + flat["values"]
        loss = torch.tensor(0.0)
        for _ in range(4):
            order = torch.randperm(len(flat["actions"]), device=self._device)
            for chosen in order.split(256):
                with self.autocast():
                    loss = self._ppo_loss({name: value[chosen] for name, value in flat.items()})
                self.policy_optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.policy.parameters(), 0.5)
                self.policy_optimizer.step()
        return loss.item()

    def _ppo_loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        logits, values = self.policy(self.vqvae.lookup(batch["codes"]))
        logits, values = logits.float(), values.float()
        policy = Categorical(logits=logits, validate_args=False)
        advantages = batch["advantages"]
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        ratio = (policy.log_prob(batch["actions"]) - batch["log_probs"]).exp()
        surrogate = torch.min(ratio * advantages, ratio.clamp(0.9, 1.1) * advantages).mean()
        clipped = batch["values"] + (values - batch["values"]).clamp(-0.1, 0.1)
        errors = (batch["returns"] - values).square(), (batch["returns"] - clipped).square()
        value_loss = 0.5 * torch.max(*errors).mean()
        return -surrogate + value_loss - 0.01 * policy.entropy().mean()

    @torch.no_grad()
    def act(self, frames: torch.Tensor) -> int:
        """Encodes one observation uint8 [1, F, 96, 96] and draws an action."""
        with self.autocast():
            logits, _ = self.policy(self.vqvae.lookup(self.vqvae.encode(frames)))
        return int(Categorical(logits=logits.float(), validate_args=False).sample())


def parameter_count(module: nn.Module) -> int:
    """Trainable parameters of a module."""
    return sum(p.numel() for p in module.parameters())
