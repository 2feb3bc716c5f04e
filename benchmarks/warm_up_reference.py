"""The paper's warm-up in PyTorch, on the frames of a run of ours: does its codebook do as well?

    python -m benchmarks.warm_up_reference --run_dir=runs/Pong-atari100k-seed0 --updates=1600

Same networks, batch size and rate, and the framework's own clamped continuous Bernoulli, as the
authors' code has it. Writes a JSON line per 50 updates, as ``metrics.jsonl`` of a run.
"""

import json
import pathlib

import numpy as np
from absl import app, flags

import smallwm_tf  # noqa: F401  (chooses Keras 2)

FLAGS = flags.FLAGS
flags.DEFINE_string("run_dir", None, "run that has collected its first steps", required=True)
flags.DEFINE_string("out", None, "file for the lines", required=True)
flags.DEFINE_integer("updates", 1600, "of the VQ-VAE", lower_bound=1)
flags.DEFINE_integer("seed", 0, "of weights and batches")

_INTERVAL = 50  # updates per line
_BATCH_SIZE, _LEARNING_RATE, _NUM_STACKED_FRAMES = 40, 1e-3, 4


def frames_of(run_dir: pathlib.Path) -> np.ndarray:
    """Observations of the first collection, uint8 [n, F, 96, 96]."""
    import tensorflow as tf

    from smallwm_tf.learning.replay import Replay

    with np.load(run_dir / "replay" / "000001.npz") as steps:
        replay = Replay(len(steps["frames"]))
        replay.append(**steps)
    stacks = replay.observations(tf.range(replay.size), _NUM_STACKED_FRAMES).numpy()
    return np.ascontiguousarray(stacks.transpose(0, 3, 1, 2))


def perplexity(codes: np.ndarray) -> float:
    """exp of the entropy of how often each code is used."""
    shares = np.unique(codes, return_counts=True)[1] / codes.size
    return float(np.exp(-(shares * np.log(shares)).sum()))


def main(_) -> None:
    import torch

    from benchmarks.pytorch_peer import VQVAE

    frames = frames_of(pathlib.Path(FLAGS.run_dir))
    torch.manual_seed(FLAGS.seed)
    generator = np.random.default_rng(FLAGS.seed)
    network = VQVAE(_NUM_STACKED_FRAMES).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    logits, codes = [], []  # of the last forward pass
    network.decoder.register_forward_hook(lambda _, __, output: logits.append(output.detach()))
    nearest = network.nearest
    network.nearest = lambda vectors: codes.append(nearest(vectors)) or codes[-1]
    measures, order = [], np.zeros(0, int)
    with open(FLAGS.out, "w") as out:
        for update in range(1, FLAGS.updates + 1):
            if len(order) < _BATCH_SIZE:
                order = generator.permutation(len(frames))
            chosen, order = order[:_BATCH_SIZE], order[_BATCH_SIZE:]
            optimizer.zero_grad()
            loss = network.loss(torch.from_numpy(frames[chosen]))
            loss.backward()
            optimizer.step()
            largest = float(logits.pop().abs().max())
            measures.append((loss.item(), largest, perplexity(codes.pop().numpy())))
            if update % _INTERVAL == 0 or update == FLAGS.updates:
                names = ("loss", "largest_logit", "codebook_perplexity")
                means = np.mean(measures, axis=0).tolist()
                line = {"event": "vqvae", "step": update, **dict(zip(names, means, strict=True))}
                out.write(json.dumps(line) + "\n")
                out.flush()
                measures = []


if __name__ == "__main__":
    app.run(main)
