"""Layers of the recurrent cells in NumPy and float64, on images [B, 6, 6, C]."""

import numpy as np


def convolve(images: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """5×5 SAME cross-correlation, float64: [B, 6, 6, C_in] → [B, 6, 6, C_out]."""
    padded = np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)])
    return sum(
        padded[:, i : i + 6, j : j + 6] @ kernel[i, j].astype(np.float64)
        for i in range(5)
        for j in range(5)
    )


def to_images(cells) -> np.ndarray:
    """[36, B, C] → [B, 6, 6, C], float64."""
    cells = np.asarray(cells, np.float64)
    return cells.transpose(1, 0, 2).reshape(-1, 6, 6, cells.shape[-1])


def layer_norm(features: np.ndarray, scale, offset) -> np.ndarray:
    """Over channels, height and width, epsilon 1e-5; scale and offset [36, 1, C]."""
    mean = features.mean(axis=(1, 2, 3), keepdims=True)
    variance = features.var(axis=(1, 2, 3), keepdims=True)
    return (features - mean) / np.sqrt(variance + 1e-5) * to_images(scale) + to_images(offset)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))
