"""The law of a positive quadratic form of Gaussian variables (a generalised chi-square), between two bounds.

Q = sum over k of w_k (Z_k + b_k)^2 with independent standard normal Z_k and w_k > 0. ``P(Q <= t)`` has no closed form; two
expansions with a known error cover what is needed, and a Chernoff bound what is far out in the tail.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import gammainc
from scipy.stats import norm

#: complex numbers that an expansion may take
AFFORDABLE = 2**24
#: rounding errors of sums of these
ROUNDING = 1e-12
#: weights below the largest by this factor are bounded away where the exact law is too expensive, by quantiles of this size
NEGLIGIBLE, FAR = 1e-4, 7.0


def cdf_bounds(weights: np.ndarray, shifts: np.ndarray, t, accuracy: float = 1e-9) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds of P(Q <= t).

    Parameters
    ----------
    weights : ndarray of shape (d,)
        w > 0.
    shifts : ndarray of shape (d,)
        b.
    t : array-like
    accuracy : float
        The distance of the bounds, but where the weights differ by more than 1e4 and d is small, or d > 1e4.

    Returns
    -------
    lower, upper : ndarrays of the shape of t

    References
    ----------
    R. Davies, *Numerical inversion of a characteristic function* (Biometrika 1973); H. Ruben, *Probability content of regions
    under spherical normal distributions, IV* (Annals of Mathematical Statistics 1962).

    Examples
    --------
    >>> import numpy as np
    >>> from skcert.theory.quadratic_forms import cdf_bounds
    >>> lower, upper = cdf_bounds(np.array([1.0, 1.0]), np.array([2.0, 0.0]), 8.688862 / 4)    # noncentral chi-square
    >>> print(f"{lower:.4f} {upper:.4f}")
    0.2009 0.2009
    """
    if len(weights) == 1:
        ends = np.sqrt(np.maximum(np.asarray(t, dtype=float), 0) / weights[0])
        exact = norm.cdf(ends - abs(shifts[0])) - norm.cdf(-ends - abs(shifts[0]))
        return np.maximum(exact - 1e-15, 0.0), np.minimum(exact + 1e-15, 1.0)
    scale = float(weights.max())
    order = np.argsort(-weights)
    w, b = weights[order] / scale, np.abs(shifts[order])
    t = np.asarray(t, dtype=float)
    x = np.maximum(t.ravel() / scale, 0.0)
    lower, upper = np.zeros(x.shape), np.minimum(1.0, _left_tail(w, b, x))
    top = _right_end(w, b, accuracy)
    beyond = x >= top
    lower[beyond], upper[beyond] = 1 - accuracy, 1.0
    open_ = ~beyond & (upper > accuracy * 1e-3)
    if open_.any():
        low, high = _between(w, b, x[open_], top, accuracy)
        lower[open_], upper[open_] = np.maximum(low, 0.0), np.minimum(high, upper[open_])
    return lower.reshape(t.shape), upper.reshape(t.shape)


def _between(w, b, x, top, accuracy) -> tuple[np.ndarray, np.ndarray]:
    """The cheapest of the two expansions, without the smallest weights if both cost too much."""
    limit = _frequency(w, b, accuracy / 4)
    n_frequencies = limit * top / (2 * math.pi) + 2
    n_terms = _n_terms(w, b, accuracy / 4)
    if min(n_frequencies, n_terms) * len(w) > AFFORDABLE:
        small = w < NEGLIGIBLE
        if not small.any():  # many dimensions: as accurate as can be afforded
            n_frequencies = min(n_frequencies, AFFORDABLE // len(w))
            return _inverted(w, b, x, top, int(n_frequencies), accuracy)
        least = (w[small] * np.maximum(b[small] - FAR, 0) ** 2).sum()
        most = (w[small] * (b[small] + FAR) ** 2).sum()
        missed = 2 * small.sum() * norm.cdf(-FAR)
        high = cdf_bounds(w[~small], b[~small], x - least, accuracy)[1] + missed
        low = cdf_bounds(w[~small], b[~small], x - most, accuracy)[0] - missed
        return low, high
    if n_frequencies <= n_terms:
        return _inverted(w, b, x, top, int(n_frequencies), accuracy)
    return _mixed(w, b, x, int(n_terms), accuracy)


# -- tails -------------------------------------------------------------------------------------------------------------


def _log_moment(w, b, s: float) -> float:
    """log E exp(s Q), for 2 s w < 1."""
    rest = 1 - 2 * s * w
    return float(-0.5 * np.log(rest).sum() + (s * w * b**2 / rest).sum())


def _left_tail(w, b, x) -> np.ndarray:
    """An upper bound of P(Q <= x): the best of Chernoff's over exponents in steps of a tenth."""
    s = np.exp(np.arange(-20.0, 40.0, 0.1))
    rest = 1 + 2 * s[:, None] * w
    log = -0.5 * np.log(rest).sum(axis=1) - s * (w * b**2 / rest).sum(axis=1)
    best = np.array([(log + s * each).min() for each in x])
    return np.where(x > 0, np.exp(np.minimum(best, 0.0) + 1e-9), 0.0)


def _right_end(w, b, chance: float) -> float:
    """x with P(Q > x) <= chance; ``w`` is at most 1."""

    def end(s: float) -> float:
        return (_log_moment(w, b, s) - math.log(chance)) / s

    return float(end(minimize_scalar(end, bounds=(1e-6 / (1 + len(w)), 0.5 - 1e-9), method="bounded").x)) * (1 + 1e-9)


# -- inversion of the characteristic function (Davies) -------------------------------------------------------------------


def _truncation(w, b, u: np.ndarray) -> np.ndarray:
    """What of the integral lies beyond these frequencies at most: weights with 2 w u > 1 decay like a power of u from there."""
    wu = 2 * w * u[:, None]
    power = np.count_nonzero(wu > 1, axis=1)
    decay = -0.5 * np.where(wu > 1, np.log(np.maximum(wu, 1)), 0.5 * np.log1p(wu**2)).sum(axis=1)
    decay -= 0.5 * (b**2 * wu**2 / (1 + wu**2)).sum(axis=1)
    return np.where(power > 0, 2 / (math.pi * np.maximum(power, 1)) * np.exp(decay), np.inf)


def _frequency(w, b, accuracy: float) -> float:
    """Where the integral may end."""
    u = np.geomspace(1e-2, 1e9, 600)
    enough = _truncation(w, b, u) <= accuracy
    return float(u[enough.argmax()]) if enough.any() else math.inf


def _inverted(w, b, x, top, n: int, accuracy) -> tuple[np.ndarray, np.ndarray]:
    """The midpoint rule with a step of 2 pi / top, beyond which nothing is left to alias."""
    step = 2 * math.pi / top
    total = np.zeros(len(x))
    per = max(1, 2**18 // max(len(w), len(x)))
    for start in range(0, n, per):
        k = np.arange(start, min(start + per, n)) + 0.5
        u = k * step
        rest = 1 - 2j * u[:, None] * w
        log = -0.5 * np.log(rest).sum(axis=1) + 1j * u * ((w * b**2) / rest).sum(axis=1)
        value = np.exp(log - np.log(math.pi * k))
        total += (np.exp(-1j * np.outer(x, u)) @ value).imag
    error = accuracy / 2 + float(_truncation(w, b, np.array([n * step]))[0]) + ROUNDING
    return 0.5 - total - error, 0.5 - total + error


# -- mixture of central chi-squares (Ruben) ------------------------------------------------------------------------------


def _log_generating(w, b, z):
    """log E z^N, where Q is w_min times a central chi-square with d + 2 N degrees of freedom."""
    least = w.min()
    ratio = 1 - least / w
    rest = 1 - ratio * z
    return 0.5 * (np.log(least / w) - np.log(rest) + b**2 * (z - 1) / rest).sum(axis=-1)


def _n_terms(w, b, accuracy: float) -> float:
    """n with P(N >= n) <= accuracy, by Chernoff's bound."""
    largest = 1 / max(float((1 - w.min() / w).max()), 1e-6)

    def end(log_z: float) -> float:
        return (float(_log_generating(w, b, math.exp(log_z))) - math.log(accuracy)) / log_z

    found = minimize_scalar(end, bounds=(1e-9, math.log(largest) * (1 - 1e-6)), method="bounded")
    return float(found.fun) + 2


def _mixed(w, b, x, n: int, accuracy) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities of N by a Fourier transform (what is beyond n wraps around), then chi-square by chi-square."""
    n = 2 ** math.ceil(math.log2(n))
    z = np.exp(2j * np.pi * np.arange(n // 2 + 1) / n)
    values = np.concatenate(
        [np.exp(_log_generating(w, b, part[:, None])) for part in np.array_split(z, max(1, n * len(w) // 2**20))]
    )
    chances = np.maximum(np.fft.irfft(values.conj(), n), 0.0)
    used = np.flatnonzero(chances > accuracy * 1e-4 / n)
    total = np.zeros(len(x))
    for part in np.array_split(used, max(1, len(used) * len(x) // 2**20)):
        total += gammainc(len(w) / 2 + part, x[:, None] / (2 * w.min())) @ chances[part]
    error = accuracy / 2 + ROUNDING
    return total - error, total + error
