"""Upper bounds of l2 operator norms of the linear maps that networks are made of: arrays in, numbers out."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable
from functools import wraps

import numpy as np

from skcert.geometry.rounding import fro, gamma, grow

#: frequencies at which a convolution of 64 x 64 channels is evaluated, at most; others by what each costs, but some
FREQUENCIES, SOME = 6000, 200
#: where the bound of a convolution may stop: the share of its supremum that has certainly been seen
SEEN = 0.9995
#: cells per degree of the first grid, in every direction
FIRST = 4

_known: dict[bytes, float] = {}


def _remembered(bound: Callable[..., float]) -> Callable[..., float]:
    """The same function, which knows the arrays it has seen by their content: weights may change between two calls."""

    @wraps(bound)
    def lookup(array: np.ndarray, **settings) -> float:
        array = np.ascontiguousarray(array, dtype=float)
        text = f"{bound.__name__} {array.shape} {sorted(settings.items())}"
        key = hashlib.sha256(text.encode() + array.tobytes()).digest()
        if key not in _known:
            if len(_known) >= 4096:
                _known.clear()
            _known[key] = bound(array, **settings)
        return _known[key]

    return lookup


def _check(array: np.ndarray) -> None:
    if not np.isfinite(array).all():
        raise ValueError("A weight is NaN or infinite: no bound holds for it.")


def _largest_singular_values(matrices: np.ndarray) -> np.ndarray:
    """Upper bounds for a stack of matrices (..., m, n), from the eigenvalues of the smaller Gram matrix.

    The computed Gram matrix and its eigenvalues are off by at most ``gamma`` times the square of the Frobenius norm.
    """
    m, n = matrices.shape[-2:]
    other = np.conj(np.swapaxes(matrices, -1, -2))
    gram = matrices @ other if m <= n else other @ matrices
    size = np.sqrt((np.abs(matrices) ** 2).sum(axis=(-1, -2)))
    top = np.linalg.eigvalsh(gram)[..., -1]
    return np.sqrt(np.maximum(top, 0) + gamma(16 * (m + n)) * grow(size, m * n) ** 2)


@_remembered
def spectral_norm(matrix: np.ndarray) -> float:
    """Upper bound of the largest singular value (power iteration would bound it from below).

    Parameters
    ----------
    matrix : ndarray of shape (m, n)

    Returns
    -------
    bound : float

    References
    ----------
    theory 2.3.

    Examples
    --------
    >>> import numpy as np
    >>> 5 <= spectral_norm(np.array([[3.0, 4.0]])) <= 5 * (1 + 1e-12)
    True
    """
    _check(matrix)
    size = float(np.abs(matrix).max(initial=0.0))
    if size == 0:
        return 0.0
    return float(grow(size * grow(_largest_singular_values(matrix / size)), 4))


@_remembered
def convolution_norm(kernel: np.ndarray, *, stride=1, dilation=1, groups=1) -> float:
    """Upper bound of the operator norm of a convolution with zero padding, for inputs of any size.

    On inputs of infinite extent a convolution multiplies every frequency w by the matrix ``K(w) = sum_k K_k exp(i k.w)``: its
    norm is the supremum of their largest singular values, and padding with zeros and cutting off only make it smaller. A
    stride s is a convolution of stride 1 on the blocks of s pixels taken as channels. The supremum is bounded from a grid:
    with ``M`` the supremum, attained at w, and d half the degree in every direction, a point g has
    ``||K(g)|| >= M cos(sum_i d_i |g_i - w_i|)`` (Bernstein and Szegö), so that cells whose centre has less than the best value
    times this cosine do not contain w; the others are divided.

    Parameters
    ----------
    kernel : ndarray of shape (out, in / groups, k_1, ..., k_D)
        As torch stores it.
    stride, dilation : int or tuple of D ints
    groups : int

    Returns
    -------
    bound : float

    References
    ----------
    theory 2.3; H. Sedghi, V. Gupta, P. Long, *The singular values of convolutional layers* (ICLR 2019), for circular padding.

    Examples
    --------
    >>> import numpy as np
    >>> blur = np.full((1, 1, 3, 3), 1 / 9)                  # keeps the mean: gain 1 at frequency 0
    >>> 1 <= convolution_norm(blur) < 1.001
    True
    """
    _check(kernel)
    n_out, n_in, *sizes = kernel.shape
    D = len(sizes)
    strides, dilations = (np.broadcast_to(value, D) for value in (stride, dilation))
    if (strides > 1).any():
        kernel = _blocks_as_channels(_dilated(kernel, dilations), strides)
    size = float(np.abs(kernel).max(initial=0.0))
    if size == 0:
        return 0.0
    grouped = (kernel / size).reshape(groups, n_out // groups, *kernel.shape[1:])
    degrees = np.array([(k - 1) / 2 for k in grouped.shape[3:]])
    summed = np.abs(grouped.reshape(*grouped.shape[:3], -1)).sum(axis=-1)
    rounding = gamma(grouped[0, 0, 0].size + 16) * max(fro(group) for group in summed)
    budget = max(SOME, int(FREQUENCIES * (64 / min(grouped.shape[1:3])) ** 3 / groups))

    width = np.where(degrees > 0, 2 * math.pi / np.maximum(1, np.ceil(2 * FIRST * degrees)), 2 * math.pi)
    axes = [np.arange(round(2 * math.pi / w)) * w for w in width]
    points = np.array(list(itertools.product(*axes)))
    points = points[points[:, 0] <= math.pi + 1e-9]  # a real kernel has the same gain at -w
    best, spent = 0.0, 0
    while True:
        gains = _gains(grouped, points)
        best, spent = max(best, float(gains.max())), spent + len(points)
        seen = math.cos(float(degrees @ width) / 2)
        kept = points[gains >= best * seen * (1 - 1e-6)]
        if seen >= SEEN or spent + 2**D * len(kept) > budget:
            break
        width = width / 2
        steps = [(-0.5, 0.5) if d > 0 else (0.0,) for d in degrees]
        moves = np.array(list(itertools.product(*steps))) * width
        points = (kept[:, None] + moves).reshape(-1, D)
    bound = min((best + rounding) / (seen - 1e-12), max(_by_correlation(group) for group in grouped))
    return float(grow(size * bound))


def _by_correlation(kernel: np.ndarray) -> float:
    """Schur's test for W'W, which a convolution with the self-correlation of its kernel is; sharp for orthogonal kernels.

    ``||W||^2 <= max_j sum_i |W'W|_ij``, over all channels i and shifts; of WW' where there are fewer outputs.
    """
    n_out, n_in, *sizes = kernel.shape
    taps = {place: kernel[(slice(None), slice(None), *place)] for place in np.ndindex(*sizes)}
    sides = taps if n_in <= n_out else {place: tap.T for place, tap in taps.items()}
    correlation: dict[tuple[int, ...], np.ndarray] = {}
    for first, a in sides.items():
        for second, b in sides.items():
            shift = tuple(x - y for x, y in zip(first, second, strict=True))
            correlation[shift] = correlation.get(shift, 0.0) + a.T @ b
    sums = np.sum([np.abs(part).sum(axis=0) for part in correlation.values()], axis=0)
    sizes_of = np.sum([np.abs(tap) for tap in sides.values()], axis=0)
    slip = gamma(4 * len(taps) + n_out + n_in + 64) * (sizes_of.sum(axis=1) @ sizes_of).max()
    return float(grow(math.sqrt(float(sums.max()) + slip)))


def _dilated(kernel: np.ndarray, dilations: np.ndarray) -> np.ndarray:
    """A kernel with the zeros written out that its dilation leaves between its taps."""
    sizes = [int(d) * (k - 1) + 1 for k, d in zip(kernel.shape[2:], dilations, strict=True)]
    spread = np.zeros((*kernel.shape[:2], *sizes))
    spread[(slice(None), slice(None), *(slice(None, None, int(d)) for d in dilations))] = kernel
    return spread


def _blocks_as_channels(kernel: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """The kernel of stride 1 on blocks of ``strides`` pixels, which become channels."""
    n_out, n_in, *sizes = kernel.shape
    room = [-k % int(s) for k, s in zip(sizes, strides, strict=True)]
    kernel = np.pad(kernel, [(0, 0), (0, 0), *((0, r) for r in room)])
    shape = [part for k, s in zip(kernel.shape[2:], strides, strict=True) for part in (k // int(s), int(s))]
    D = len(sizes)
    order = [0, 1, *(3 + 2 * i for i in range(D)), *(2 + 2 * i for i in range(D))]
    blocks = kernel.reshape(n_out, n_in, *shape).transpose(order)
    return blocks.reshape(n_out, n_in * math.prod(int(s) for s in strides), *blocks.shape[2 + D :])


def _gains(grouped: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Largest singular value over the groups at every frequency, shape (len(points),)."""
    sizes = grouped.shape[3:]
    taps = np.array(list(itertools.product(*(range(k) for k in sizes))))
    flat = np.moveaxis(grouped.reshape(*grouped.shape[:3], -1), -1, 0).reshape(len(taps), -1)
    gains = []
    rows = max(1, 2**22 // max(1, flat.shape[1]))
    for start in range(0, len(points), rows):
        phases = np.exp(1j * (points[start : start + rows] @ taps.T))
        matrices = (phases @ flat).reshape(len(phases), *grouped.shape[:3])
        gains.append(_largest_singular_values(matrices).max(axis=1))
    return np.concatenate(gains)


def schur(rows: np.ndarray, columns: np.ndarray) -> float:
    """Upper bound of the norm of a matrix from the sums of the absolute values in its rows and in its columns (Schur's test).

    Examples
    --------
    >>> import numpy as np
    >>> round(schur(np.array([1.0]), np.full(4, 1 / 4)), 9)     # the mean of four numbers
    0.5
    """
    return float(grow(math.sqrt(float(np.max(rows)) * float(np.max(columns))), np.size(rows) + np.size(columns)))


def overlap(size: int, kernel: int, stride: int, dilation: int, n_outputs: int) -> int:
    """In how many windows of a pooling layer an input can stand, along one axis of ``size`` numbers.

    Examples
    --------
    >>> overlap(32, 3, 1, 1, 32), overlap(32, 2, 2, 1, 16), overlap(32, 3, 2, 1, 16)
    (3, 1, 2)
    """
    # x = j stride + i dilation - padding: i is determined modulo stride / gcd
    return max(1, min(n_outputs, -(-kernel // (stride // math.gcd(stride, dilation)))))


def padding_repeats(size: int, before: int, after: int, mode: str) -> int:
    """How many times a padding repeats one of ``size`` numbers, itself included; ``mode`` as in :func:`numpy.pad`."""
    return int(np.bincount(np.pad(np.arange(size), (before, after), mode=mode)).max())  # type: ignore[call-overload]  # a str
