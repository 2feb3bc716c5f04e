"""Every setting once: default, allowed values, unit, source, meaning.

`FIELDS` is the only place where a setting is defined; the ConfigDict, its validation, the command
line and `--help` are built from it. To add a setting, add one line to `FIELDS`. Presets
(`configs/*.py`) hold differences from these defaults only.

Sources: "paper"; "tables": forced by the parameter counts of the paper's Tables 2 and 3;
"authors": the authors' released code, where the paper is silent; "baselines": OpenAI Baselines'
ppo2 on Atari, which model-free PPO follows; "ours": decided here.
"""

from dataclasses import dataclass

import ml_collections

Config = ml_collections.ConfigDict | ml_collections.FrozenConfigDict
"""All settings by section and name: `config.ppo.discount`."""

FRAME_SIZE = 96
"""Height and width of a frame in pixels. No setting: the networks are made for it."""


@dataclass(frozen=True)
class Interval:
    """Numbers from `low` to `high`, both included unless that end is open."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, number: float) -> bool:
        above = number > self.low if self.open_low else number >= self.low
        below = number < self.high if self.open_high else number <= self.high
        return above and below  # NaN is in no interval

    def __str__(self) -> str:
        first, last = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"{first}{self.low}, {self.high}{last}"


@dataclass(frozen=True)
class Field:
    """One setting.

    The type of `default` is that of the setting; a tuple holds integers, one per iteration.
    `allowed` is an interval for numbers, for a tuple that of its entries; for text the words to
    choose from; None for true or false.
    """

    key: str  # section and name, "ppo.learning_rate"
    default: bool | int | float | str | tuple[int, ...]
    allowed: Interval | tuple[str, ...] | None
    unit: str  # "" for a pure number
    source: str  # see the module docstring
    meaning: str  # one phrase
    fixed: bool = False  # whether a run directory is bound to the value it was made with

    def allowed_text(self) -> str:
        """What `allowed` says as text: "(0, 1]", "auto | direct | fast", "true | false"."""
        words = ("true", "false") if self.allowed is None else self.allowed
        return " | ".join(words) if isinstance(words, tuple) else str(words)


_EPOCHS = (140, 32, 24, 20, 16, 14, 12, 11, 10, 9, 8, 8, 7, 7, 6)
_UPDATES = (1000,) * 7 + (2000,) + (1000,) * 3 + (2000,) + (1000,) * 2 + (3000,)

# fmt: off
FIELDS = (
    Field("algorithm", "world_model", ("world_model", "ppo"), "", "paper",
          "what learns: a policy in the dreams of a world model, or one in the real game (ppo)",
          fixed=True),
    Field("game.num_stacked_frames", 4, Interval(1, 16), "frames", "paper",
          "last frames that make one observation (the paper also has 1)", fixed=True),
    Field("game.frame_skip", 4, Interval(1, 100), "emulator frames", "paper",
          "emulator frames per action", fixed=True),
    Field("game.noop_max", 30, Interval(0, 1000), "emulator frames", "authors",
          "most no-op actions at the start of an episode"),
    Field("game.sticky_action_probability", 0.0, Interval(0, 1, open_high=True), "", "ours",
          "chance that an emulator frame repeats the action of the frame before; 0.25 in later "
          "work of the field", fixed=True),
    Field("game.max_episode_steps", 27000, Interval(1, 10_000_000), "steps", "ours",
          "time limit of an episode; 27,000 steps are 108,000 emulator frames"),
    Field("collection.num_iterations", 15, Interval(1, 10_000), "iterations", "paper",
          "rounds of collect, learn the world model, learn the policy, evaluate"),
    Field("collection.first_iteration_steps", 12800, Interval(1, 10_000_000), "steps", "paper",
          "real steps of the first, uniformly random collection", fixed=True),
    Field("collection.steps_per_iteration", 6400, Interval(1, 10_000_000), "steps", "paper",
          "real steps of every later collection", fixed=True),
    Field("collection.temperature", 1.5, Interval(0, 100, open_low=True), "", "authors",
          "divides the policy's logits while collecting after the first iteration"),
    Field("collection.repeat_probability", 0.0, Interval(0, 1, open_high=True), "", "ours",
          "chance that a step of the random collection repeats the last action"),
    Field("collection.final_temperature_share", 1.0, Interval(0, 1, open_low=True), "", "ours",
          "what is left of collection.temperature in the last iteration; it falls in a straight "
          "line"),
    Field("collection.policy_repeat_probability", 0.0, Interval(0, 1, open_high=True), "", "ours",
          "chance that a step of the first collection with the policy repeats the last action; "
          "falls in a straight line towards 0 behind the last iteration"),
    Field("vqvae.num_embeddings", 128, Interval(2, 65_536), "embeddings", "paper",
          "size of the codebook", fixed=True),
    Field("vqvae.embedding_dim", 32, Interval(1, 4096), "channels", "paper",
          "size of one embedding", fixed=True),
    Field("vqvae.ema_decay", 0.99, Interval(0, 1, open_high=True), "per update", "authors",
          "decay of the codebook's moving averages"),
    Field("vqvae.ema_epsilon", 1e-5, Interval(0, 1, open_low=True), "", "authors",
          "Laplace smoothing of the codebook's counts"),
    Field("vqvae.restart_below", 0.0, Interval(0, 1, open_high=True), "vectors per update", "ours",
          "codes whose moving count of uses falls below this are put on the worst represented "
          "vectors of the batch; 0: unused codes shrink towards the origin"),
    Field("vqvae.commitment_cost", 0.25, Interval(0, 1000), "", "authors",
          "weight of the mean squared distance between encoding and embedding"),
    Field("vqvae.likelihood", "clamped", ("clamped", "exact"), "", "authors",
          "form of the continuous Bernoulli: clamped keeps logits bounded, exact is the paper's "
          "formula and needs a pixel_margin where pixels are black or white", fixed=True),
    Field("vqvae.pixel_margin", 0.0, Interval(0, 0.5, open_high=True), "", "ours",
          "pixels are squeezed into [margin, 1 - margin] before the likelihood", fixed=True),
    Field("vqvae.foreground_weight", 0.0, Interval(0, 1000), "", "ours",
          "added to the weight 1 of pixels that differ from the median frame"),
    Field("vqvae.event_loss_weight", 0.0, Interval(0, 1_000_000), "", "ours",
          "weight of the cross-entropy of what a transition pays, told from the codes of both its "
          "observations; 0: the codes learn from pixels alone", fixed=True),
    Field("vqvae.event_share", 0.5, Interval(0, 1, open_high=True), "", "ours",
          "share of these transitions that are drawn among those with a reward"),
    Field("vqvae.warmup_epochs", 50, Interval(0, 1_000_000), "epochs", "paper",
          "training of the VQ-VAE alone after the first collection"),
    Field("vqvae.warmup_learning_rate", 1e-3, Interval(0, 1, open_low=True), "", "paper",
          "Adam's learning rate during the warm-up"),
    Field("vqvae.later_epochs", 0, Interval(0, 1_000_000), "epochs", "ours",
          "training of the VQ-VAE alone after every later collection"),
    Field("vqvae.learning_rate", 1e-4, Interval(0, 1, open_low=True), "", "paper",
          "Adam's learning rate after the warm-up"),
    Field("vqvae.batch_size", 40, Interval(1, 65_536), "observations", "authors",
          "observations in one update of the VQ-VAE"),
    Field("vqvae.update_interval", 2, Interval(0, 1_000_000), "dynamics updates", "paper",
          "dynamics updates per update of the VQ-VAE; 0: it rests while the dynamics learn"),
    Field("dynamics.cell", "conv_lstm", ("conv_lstm", "st_lstm", "causal_lstm"), "", "paper",
          "cells of the recurrent stack: ConvLSTM, or those of PredRNN or PredRNN++", fixed=True),
    Field("dynamics.code_head", "independent",
          ("independent", "given_reward", "autoregressive", "masked"), "", "paper",
          "distribution of the next 36 codes given the stack's output, and perhaps the reward; "
          "autoregressive and masked let them depend on each other", fixed=True),
    Field("dynamics.channels", 128, Interval(1, 4096), "channels", "tables",
          "channels of each cell", fixed=True),
    Field("dynamics.convolution", "auto", ("auto", "direct", "fast"), "", "ours",
          "how all convolutions on the 6x6 grid are computed; the result is the same"),
    Field("dynamics.present_code_logit", 0.0, Interval(0, 100), "nats", "ours",
          "added to the logit of the code that a cell has now: most codes stay", fixed=True),
    Field("dynamics.past_codes", 0, Interval(0, 64), "codes", "ours",
          "codes before the present one that the heads see, and then the present one, too",
          fixed=True),
    Field("dynamics.windows_per_batch", 4, Interval(1, 65_536), "windows", "authors",
          "windows of consecutive steps in one update of the dynamics"),
    Field("dynamics.window_length", 11, Interval(2, 10_000), "steps", "authors",
          "observations in one window"),
    Field("dynamics.context_steps", 4, Interval(1, 10_000), "steps", "authors",
          "steps fed with the true code; later ones with the model's own sample"),
    Field("dynamics.temperature", 1.0, Interval(0, 100, open_low=True), "", "ours",
          "divides the logits of codes that are drawn, in training and in dreams"),
    Field("dynamics.learning_rate", 5e-4, Interval(0, 1, open_low=True), "", "authors",
          "Adam's learning rate for the cells and the latent head"),
    Field("dynamics.reward_head_learning_rate", 1e-3, Interval(0, 1, open_low=True), "", "authors",
          "Adam's learning rate for the reward head"),
    Field("dynamics.final_learning_rate_share", 1.0, Interval(0, 1), "", "ours",
          "what is left of both at the end of an iteration; they fall in a straight line"),
    Field("dynamics.reward_loss_weight", 1e-6, Interval(0, 1_000_000), "", "authors",
          "weight of the reward's cross-entropy in the loss"),
    Field("dynamics.reward_head_dropout", 0.0, Interval(0, 1, open_high=True), "", "ours",
          "share of the reward head's inputs and units that each update leaves out"),
    Field("dynamics.end_loss_weight", 1.0, Interval(0, 1_000_000), "", "ours",
          "weight of the cross-entropy of ends in the loss; matters with dream.ends=predicted"),
    Field("dynamics.epochs", _EPOCHS, Interval(0, 1_000_000), "epochs", "authors",
          "training of the world model, one entry per iteration"),
    Field("dynamics.epoch_fallback", False, None, "", "ours",
          "go back to the best epoch if the last one predicts held-out codes worse than copying"),
    Field("dream.num_dreams", 16, Interval(1, 65_536), "dreams", "paper",
          "dreams that run side by side in one policy update"),
    Field("dream.horizon", 50, Interval(1, 100_000), "steps", "paper",
          "steps of a dream"),
    Field("dream.context_steps", 0, Interval(0, 10_000), "steps", "ours",
          "real steps before a dream that the recurrent state has seen"),
    Field("dream.rewards", "sampled", ("sampled", "expected"), "", "ours",
          "whether a dream pays draws from the reward's distribution or its mean"),
    Field("dream.ends", "horizon", ("horizon", "predicted"), "", "paper",
          "what ends a dream: the horizon alone, or also a predicted loss of a life or end of the "
          "episode, whose chance discounts what follows", fixed=True),
    Field("dream.newest_share", 0.0, Interval(0, 1), "", "ours",
          "share of the dreams that begin in the newest collection"),
    Field("dream.paid_share", 0.0, Interval(0, 1), "", "ours",
          "share of the dreams that begin where the game paid within their horizon"),
    Field("dream.disagreement_weight", 0.0, Interval(0, 1_000_000), "per nat", "ours",
          "weight of a bonus in dreams: how much heads that predict the next codes disagree; 0: "
          "there are no such heads", fixed=True),
    Field("dream.bootstrap_at_horizon", False, None, "", "authors",
          "whether a dream's end is a time limit (bootstrap) instead of a terminal state"),
    Field("ppo.num_updates", _UPDATES, Interval(0, 1_000_000), "updates", "authors",
          "policy updates, each on fresh dreams, one entry per iteration"),
    Field("ppo.check_interval", 0, Interval(0, 1_000_000), "updates", "ours",
          "policy updates between two looks at what the real game pays; the best policy of an "
          "iteration is kept; 0: no looks, the last one is kept"),
    Field("ppo.num_actors", 8, Interval(1, 1024), "games", "baselines",
          "games side by side that algorithm=ppo learns from", fixed=True),
    Field("ppo.steps_per_rollout", 128, Interval(1, 1_000_000), "steps", "baselines",
          "steps of each of these games from one policy update to the next"),
    Field("ppo.repeat_probability", 0.0, Interval(0, 1, open_high=True), "", "ours",
          "chance that an untrained policy repeats its last action, which it then sees; 0: it sees "
          "codes alone", fixed=True),
    Field("ppo.sees_recurrent_state", False, None, "", "paper",
          "whether the policy sees the world model's recurrent state beside the codes, p(a | z, h) "
          "of Eq. 4, which the paper names and drops", fixed=True),
    Field("ppo.num_epochs", 4, Interval(1, 1000), "epochs", "authors",
          "passes over the dreams of one update"),
    Field("ppo.minibatch_size", 256, Interval(1, 10_000_000), "steps", "authors",
          "dream steps in one gradient step"),
    Field("ppo.discount", 0.99, Interval(0, 1), "per step", "paper",
          "discount of simulated rewards"),
    Field("ppo.gae_lambda", 0.95, Interval(0, 1), "per step", "authors",
          "decay of generalised advantage estimation"),
    Field("ppo.ratio_clip", 0.1, Interval(0, 10, open_low=True), "", "authors",
          "clip of the probability ratio"),
    Field("ppo.value_clip", 0.1, Interval(0, 1_000_000, open_low=True), "", "authors",
          "clip of the change of the value"),
    Field("ppo.value_loss_weight", 0.5, Interval(0, 1_000_000), "", "authors",
          "weight of the value loss"),
    Field("ppo.entropy_weight", 0.01, Interval(0, 1_000_000), "", "authors",
          "weight of the entropy bonus"),
    Field("ppo.learning_rate", 2.5e-4, Interval(0, 1, open_low=True), "", "authors",
          "Adam's learning rate for policy and value"),
    Field("ppo.final_learning_rate_share", 1.0, Interval(0, 1), "", "ours",
          "what is left of it at the end of an iteration; it falls in a straight line"),
    Field("ppo.max_gradient_norm", 0.5, Interval(0, 1_000_000, open_low=True), "", "authors",
          "global norm to which gradients are clipped"),
    Field("adam.epsilon", 1e-8, Interval(0, 1, open_low=True), "", "authors",
          "added to Adam's denominator after bias correction"),
    Field("adam.beta_1", 0.9, Interval(0, 1, open_high=True), "per update", "authors",
          "decay of Adam's first moment"),
    Field("adam.beta_2", 0.999, Interval(0, 1, open_high=True), "per update", "authors",
          "decay of Adam's second moment"),
    Field("evaluation.num_episodes", 32, Interval(1, 100_000), "episodes", "paper",
          "real episodes of one evaluation"),
    Field("evaluation.interval", 1, Interval(1, 10_000), "iterations", "ours",
          "iterations from one evaluation to the next; the last one is always evaluated"),
    Field("evaluation.temperature", 1.0, Interval(0, 100, open_low=True), "", "authors",
          "divides the policy's logits while evaluating"),
    Field("evaluation.look_ahead_dreams", 0, Interval(0, 1000), "dreams", "ours",
          "dreams for each action by which the agent decides in the real game; 0: the policy "
          "decides"),
    Field("evaluation.look_ahead_depth", 5, Interval(1, 1000), "steps", "ours",
          "steps of these dreams, behind which the value stands for the rest"),
    Field("evaluation.look_ahead_temperature", 0.0, Interval(0, 100), "", "ours",
          "divides what these dreams promise before an action is drawn; 0 takes the best"),
    Field("inspection.held_out_steps", 3200, Interval(10, 1_000_000), "steps", "ours",
          "real steps per iteration that only judge the world model; none is trained on"),
    Field("inspection.num_starts", 32, Interval(1, 10_000), "starts", "ours",
          "real moments from which predictions and comparisons start"),
    Field("inspection.horizon", 50, Interval(1, 100_000), "steps", "ours",
          "steps of these predictions, and of the comparison of dream and game"),
    Field("checkpoints.keep", 3, Interval(1, 100_000), "checkpoints", "ours",
          "newest checkpoints that are kept"),
    Field("checkpoints.interval", 10.0, Interval(0, 1_000_000, open_low=True), "minutes", "ours",
          "longest time between two checkpoints while a world model or a policy learns"),
    Field("logging.interval", 50, Interval(1, 10_000_000), "updates", "ours",
          "gradient steps between two lines of metrics"),
    Field("logging.wandb", "off", ("off", "offline", "online"), "", "ours",
          "whether Weights & Biases get the metrics, too, or a folder beside the run (offline)"),
    Field("precision", "auto", ("auto", "float32", "bfloat16"), "", "ours",
          "of the factors of large products in training; auto: bfloat16 where it is faster"),
    Field("deterministic", False, None, "", "ours",
          "whether TensorFlow may only use operations that repeat bit for bit"),
)
# fmt: on
FIELD_OF_KEY = {field.key: field for field in FIELDS}
