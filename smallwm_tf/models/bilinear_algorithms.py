"""Constant matrices of convolutions on the 6×6 grid that take far fewer products.

    y = A · [(G w) ⊙ (B x)]

G turns the k² taps of a kernel into K matrices [C_in, C_out], B the 36 cells of an input into R
rows for each of them, and ⊙ is K matrix products [R·B, C_in] × [C_in, C_out]. Few kernels K mean
little memory to write and read, which is what training on small batches waits for; few products
K·R count where kernels are transformed once and used for many steps. Direct convolutions take 900
(k = 5) and 324 (k = 3) products per sample.

    k   form                K    K·R
    5   "fewest_kernels"    64   128   circular convolution on 8×8 points; where the circle wraps
                                       around, nobody looks. Of its frequencies 4 are real and 30
                                       complex (a + ib)(c + id): rows a, b for the kernels c and d
    5   "fewest_products"   94    94   the same with three real products per complex one
    3   either              25   100   four tiles of 3×3 outputs, each by Winograd's F(3×3, 3×3)
                                       (Lavin & Gray, 2016)

All are exact up to rounding.
"""

import functools
from typing import NamedTuple

import numpy as np

GRID_SIZE = 6
NUM_CELLS = GRID_SIZE * GRID_SIZE
FAST_FORMS = ("fewest_kernels", "fewest_products")


class BilinearMatrices(NamedTuple):
    """The constant matrices of a fast convolution, float64."""

    inputs: np.ndarray  # B [K·R, 36]
    kernels: np.ndarray  # G [K, k²]
    outputs: np.ndarray  # A [36, K·R]


@functools.cache
def bilinear_matrices(kernel_size: int, form: str) -> BilinearMatrices:
    """A, B and G for a kernel of 3×3 or 5×5 in one of ``FAST_FORMS``."""
    return _winograd() if kernel_size == 3 else _fourier(form)


def _fourier(form: str) -> BilinearMatrices:
    """5×5 as a circular convolution on 8×8 points, in the frequency domain of real signals."""
    n, size = 8, 5
    frequencies = [(u, v) for u in range(n) for v in range(n)]
    real = [f for f in frequencies if all((2 * u) % n == 0 for u in f)]
    pairs: list[tuple[int, int]] = []
    for u, v in frequencies:
        conjugate = (-u % n, -v % n)
        if (u, v) not in real and conjugate not in pairs:
            pairs.append((u, v))
    cells = np.array([(y, x) for y in range(GRID_SIZE) for x in range(GRID_SIZE)])
    # A layer is a cross-correlation: tap i of a SAME kernel sits at offset k//2 − i.
    half = size // 2
    taps = np.array([(half - y, half - x) for y in range(size) for x in range(size)])

    def angles(points: np.ndarray, which: list[tuple[int, int]]) -> np.ndarray:
        return 2.0 * np.pi * (np.array(which) @ points.T) / n

    real_x, real_w = np.cos(angles(cells, real)), np.cos(angles(taps, real))
    a, b = np.cos(angles(cells, pairs)), -np.sin(angles(cells, pairs))
    c, d = np.cos(angles(taps, pairs)), -np.sin(angles(taps, pairs))
    if form == "fewest_products":
        # k1 = c(a + b), k2 = a(d − c), k3 = b(c + d): real part k1 − k3, imaginary part k1 + k2.
        return BilinearMatrices(
            inputs=np.concatenate([real_x, a + b, a, b]),
            kernels=np.concatenate([real_w, c, d - c, c + d]),
            outputs=np.concatenate([real_x, 2 * (a + b), 2 * b, -2 * a]).T / n**2,
        )
    nothing = np.zeros_like(real_x)

    def rows(*pairs_of_rows: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """First and second row of each real kernel, each c and each d → [K·R, 36]."""
        stacked = [np.stack(pair, axis=1) for pair in pairs_of_rows]
        return np.concatenate(stacked).reshape(-1, NUM_CELLS)

    # Real part ac − bd, imaginary part bc + ad.
    return BilinearMatrices(
        inputs=rows((real_x, nothing), (a, b), (a, b)),
        kernels=np.concatenate([real_w, c, d]),
        outputs=rows((real_x, nothing), (2 * a, 2 * b), (2 * b, -2 * a)).T / n**2,
    )


def _winograd() -> BilinearMatrices:
    """3×3 in tiles of 3×3 outputs: polynomials at the points 0, 1, −1, 2 and ∞, transposed."""
    size, tile = 3, 3
    points = (0.0, 1.0, -1.0, 2.0)
    num_points = len(points) + 1

    def evaluation(degree: int) -> np.ndarray:
        """Values at all points of a polynomial with ``degree`` coefficients."""
        values = np.vander(points, degree, increasing=True)
        return np.vstack([values, np.eye(degree)[-1]])

    interpolation = np.linalg.inv(evaluation(num_points))
    num_tiles = GRID_SIZE // tile
    inputs = np.zeros([num_points, num_tiles, GRID_SIZE])
    outputs = np.zeros([num_points, num_tiles, GRID_SIZE])
    for t in range(num_tiles):
        for offset in range(num_points):
            cell = t * tile + offset - size // 2
            if 0 <= cell < GRID_SIZE:
                inputs[:, t, cell] = interpolation[offset]
        outputs[:, t, t * tile : (t + 1) * tile] = evaluation(tile)

    def both_axes(matrix: np.ndarray) -> np.ndarray:
        """[point, tile, cell] along one axis → [K·R, 36] on the grid."""
        return np.einsum("ptc,qud->pqtucd", matrix, matrix).reshape(-1, NUM_CELLS)

    kernels = evaluation(size)
    return BilinearMatrices(both_axes(inputs), np.kron(kernels, kernels), both_axes(outputs).T)
