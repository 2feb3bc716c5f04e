"""Copies smallwm_tf's weights into the PyTorch peer, so that both compute the same function.

Layouts: kernels [k, k, C_in, C_out] → [C_out, C_in, k, k]; grid-major affine maps [36, 1, C] →
[C, 6, 6]; flattened grids lie cell by cell here and channel by channel there.
"""

import numpy as np
import torch
from torch import nn

from benchmarks.pytorch_peer import ConvLSTMCell, Peer, ResidualBlock
from smallwm_tf.models.policy import PolicyAndValue
from smallwm_tf.models.world_model import WorldModel


def copy_weights(world_model: WorldModel, policy: PolicyAndValue, peer: Peer) -> None:
    """Overwrites all of the peer's weights and batch-norm statistics."""
    with torch.no_grad():
        _copy_vqvae(world_model.vqvae, peer.vqvae)
        _copy_dynamics(world_model.dynamics, peer.dynamics)
        _copy_policy(policy, peer.policy)


def _set(parameter: torch.Tensor, value) -> None:
    array = np.ascontiguousarray(np.asarray(value))
    parameter.copy_(torch.from_numpy(array).reshape(parameter.shape))


def _conv(layer: nn.Module, kernel, bias=None) -> None:
    """A convolution; transposed ones are [k, k, C_out, C_in] there and [C_in, C_out, k, k] here."""
    _set(layer.weight, np.transpose(kernel, [3, 2, 0, 1]))
    if bias is not None:
        _set(layer.bias, bias)


def _pointwise(layer: nn.Module, kernel, bias=None) -> None:
    """A dense layer over channels [C_in, C_out] → a 1×1 convolution or a linear layer."""
    _set(layer.weight, np.transpose(kernel))
    if bias is not None:
        _set(layer.bias, bias)


def _flat_dense(layer: nn.Linear, kernel, bias) -> None:
    """A dense layer on a flattened grid: rows cell by cell → channel by channel."""
    kernel = np.asarray(kernel)
    by_cell = kernel.reshape(36, -1, kernel.shape[1])  # [36, C, U]
    _set(layer.weight, by_cell.transpose(2, 1, 0).reshape(kernel.shape[1], -1))
    _set(layer.bias, bias)


def _norm(layer: nn.LayerNorm, scale, offset) -> None:
    for parameter, value in ((layer.weight, scale), (layer.bias, offset)):
        _set(parameter, np.transpose(np.asarray(value)[:, 0, :]))


def _batch_norm(layer: nn.BatchNorm2d, source) -> None:
    _set(layer.weight, source.gamma)
    _set(layer.bias, source.beta)
    _set(layer.running_mean, source.moving_mean)
    _set(layer.running_var, source.moving_variance)


def _residual(layer: ResidualBlock, source) -> None:
    for name in ("3x3", "1x1"):
        convolution = getattr(source, f"conv_{name}")
        bias = convolution.bias if convolution.use_bias else None
        _conv(getattr(layer, f"conv_{name}"), convolution.kernel, bias)
        norm = getattr(source, f"norm_{name}")
        if norm is not None:
            _batch_norm(getattr(layer, f"norm_{name}"), norm)


def _copy_vqvae(source, peer) -> None:
    layers = [m for m in peer.encoder if not isinstance(m, nn.LeakyReLU)]
    strided, blocks, projection = layers[:8], layers[8:10], layers[10:]
    for i, (convolution, norm) in enumerate(
        zip(source.encoder.convolutions, source.encoder.norms, strict=True)
    ):
        _conv(strided[2 * i], convolution.kernel)
        _batch_norm(strided[2 * i + 1], norm)
    for layer, block in zip(blocks, source.encoder.residual_blocks, strict=True):
        _residual(layer, block)
    _conv(projection[0], source.encoder.projection.kernel)
    _batch_norm(projection[1], source.encoder.projection_norm)
    layers = [m for m in peer.decoder if not isinstance(m, nn.LeakyReLU)]
    _conv(layers[0], source.decoder.expansion.kernel, source.decoder.expansion.bias)
    for layer, block in zip(layers[1:3], source.decoder.residual_blocks, strict=True):
        _residual(layer, block)
    for layer, deconvolution in zip(layers[3:], source.decoder.deconvolutions, strict=True):
        _conv(layer, deconvolution.kernel, deconvolution.bias)
    quantizer = source.quantizer
    _set(peer.embeddings, quantizer.embeddings)
    _set(peer.cluster_size, quantizer.ema_cluster_size)
    _set(peer.cluster_sum, quantizer.ema_cluster_sum)


def _copy_cell(source, peer: ConvLSTMCell) -> None:
    p = source.gate_parameters
    _conv(peer.conv_x, source.conv_x.kernel)
    _conv(peer.conv_h, source.conv_h.kernel)
    _norm(peer.norm_x, p.input_scale, p.input_offset)
    _norm(peer.norm_h, p.hidden_scale, p.hidden_offset)
    _set(peer.bias, p.bias)
    _set(peer.peepholes, np.stack([p.input_peephole, p.forget_peephole, p.output_peephole]))


def _copy_dynamics(source, peer) -> None:
    _copy_cell(source.stack.cells[0], peer.cell_1)
    _copy_cell(source.stack.cells[1], peer.cell_2)
    head = source.code_head.convolution
    _pointwise(peer.latent_head, head.kernel, head.bias)
    head = source.event_head
    _pointwise(peer.reward_head[0], head.convolution.kernel, head.convolution.bias)
    _norm(peer.reward_head[1], head.norm.scale, head.norm.offset)
    _flat_dense(peer.reward_head[4], head.hidden.kernel, head.hidden.bias)
    _pointwise(peer.reward_head[6], head.logits.kernel, head.logits.bias)


def _copy_policy(source: PolicyAndValue, peer) -> None:
    _pointwise(peer.trunk[0], source.conv_1x1.kernel)
    _norm(peer.trunk[1], source.norm_1x1.scale, source.norm_1x1.offset)
    _conv(peer.trunk[3], source.conv_5x5.kernel)
    _norm(peer.trunk[4], source.norm_5x5.scale, source.norm_5x5.offset)
    _flat_dense(peer.trunk[7], source.hidden.kernel, source.hidden.bias)
    _pointwise(peer.logits, source.logits.kernel, source.logits.bias)
    _pointwise(peer.value, source.value.kernel, source.value.bias)
