"""Localized classes and the classifier they allow (theory 3.1, 3.2): the existence theorem and its baseline."""

from __future__ import annotations

import math
import warnings
from numbers import Real
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln
from scipy.stats import chi2, ncx2

from skcert._progress import bar
from skcert.discriminants import NearestEllipsoid, Quadratic
from skcert.smoothing.bounds import clopper_pearson
from skcert.theory import _checks, _gaussians
from skcert.theory.quadratic_forms import cdf_bounds

__all__ = [
    "Localization",
    "StrongLocalization",
    "localization",
    "localization_certified_accuracy",
    "localization_overlaps",
    "strong_localization",
]

METHODS = ("exact", "paper", "monte-carlo")
#: deltas that are tried first, and between the neighbours of the best
COARSE, FINE = 33, 17
#: relative, outwards: rounding of quantiles and eigenvalues
SLIP = 1e-9


class Localization(NamedTuple):
    """What :func:`localization` returns."""

    radius: float
    epsilon: float


def _squared_radius(delta, d: int):
    """The square of the Mahalanobis radius that leaves out delta, rounded up."""
    return chi2.isf(delta, d) * (1 + SLIP)


def localization(covariance, *, delta: float, C: float = 1.0) -> Localization:
    """How small a set holds all but delta of a Gaussian: the largest epsilon for which it is (C, epsilon, delta)-localized.

    A law is localized if some set S of it has probability at least ``1 - delta`` and volume at most ``C exp(-epsilon)``. For a
    Gaussian the smallest such set is the ellipsoid ``{d_M^2 <= r^2}`` with r^2 the ``1 - delta`` quantile of chi-square, so

        epsilon = ln( C Gamma(d/2 + 1) / (pi^(d/2) r^d sqrt(det S)) ).

    Parameters
    ----------
    covariance : array-like of shape (d, d)
    delta : float
        In (0, 1).
    C : float, default=1.0
        > 0.

    Returns
    -------
    radius : float
        r, in Mahalanobis units.
    epsilon : float
        Rounded down. Computed in logarithms: volumes overflow from some hundred dimensions on.

    References
    ----------
    arXiv 2605.25352, theorem 3.1 (which prints ``delta <= 1 - F(r^2)`` where ``>=`` is meant); theory 3.1.

    Examples
    --------
    >>> import numpy as np
    >>> from skcert.theory import localization
    >>> radius, epsilon = localization(np.eye(2), delta=0.05)
    >>> print(f"{radius:.4f} {epsilon:.4f}")    # a disc of area 18.8
    2.4477 -2.9351
    """
    covariance, delta = _checks.one_covariance(covariance), _checks.chance("delta", delta)
    if not isinstance(C, Real) or not C > 0:
        raise ValueError(f"C must be > 0, got {C!r}.")
    d = len(covariance)
    square = float(_squared_radius(delta, d))
    log_det = 2 * float(np.log(np.diag(np.linalg.cholesky(covariance))).sum())
    log_volume = d / 2 * math.log(math.pi) - float(gammaln(d / 2 + 1)) + d / 2 * math.log(square) + log_det / 2
    size = abs(math.log(C)) + d * (1 + abs(math.log(square))) + abs(log_det)
    return Localization(math.sqrt(square), math.log(C) - log_volume - 1e-14 * size - d * _checks.slack(covariance))


class StrongLocalization(NamedTuple):
    """What :func:`strong_localization` returns."""

    delta: float
    gamma: float
    certified_accuracy: float


def localization_overlaps(
    means,
    covariances,
    *,
    radius: float,
    delta: float,
    method: str = "exact",
    n_samples: int = 10_000,
    confidence: float = 0.99,
    random_state=0,
) -> np.ndarray:
    """How much of one class lies within 2 radius of the localizing ellipsoid of another.

    Parameters
    ----------
    means : array-like of shape (K, d)
    covariances : array-like of shape (K, d, d) or (d, d)
    radius : float
        >= 0, l2.
    delta : float
        In (0, 1): the ellipsoids hold ``1 - delta`` of their class.
    method : {"exact", "paper", "monte-carlo"}
        See :func:`strong_localization`.
    n_samples, confidence, random_state
        For "monte-carlo": points of each class; the probability that no entry is too small.

    Returns
    -------
    overlaps : ndarray of shape (K, K)
        Entry (i, j): an upper bound of the probability, under class i, of points closer than 2 radius to the ellipsoid of j;
        for "paper" what is printed there, no bound. 0 on the diagonal.

    References
    ----------
    arXiv 2605.25352, theorem 3.2; theory 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skcert.theory import localization_overlaps
    >>> means, covariances = [[4.0, 0.0], [0.0, 0.0]], [4 * np.eye(2), np.eye(2)]
    >>> localization_overlaps(means, covariances, radius=0.25, delta=0.05).round(4)
    array([[0.    , 0.2009],
           [0.901 , 0.    ]])
    """
    means, covariances = _checks.mixture(means, covariances)
    radius, delta = _checks.nonnegative("radius", radius), _checks.chance("delta", delta)
    _checks.choice("method", method, METHODS)
    if method == "monte-carlo":
        n_samples = _checks.count("n_samples", n_samples)
        within = _hits(means, covariances, radius, delta, n_samples, random_state)
        n_bounds = within.shape[0] * (within.shape[0] - 1)
        found = _upper_share(within.sum(axis=2), n_samples, (1 - _checks.chance("confidence", confidence)) / n_bounds)
        np.fill_diagonal(found, 0.0)
        return found
    return _of_one_delta(means, covariances, radius, delta, method)


def strong_localization(
    means,
    covariances,
    *,
    radius: float,
    delta: float,
    method: str = "exact",
    n_samples: int = 10_000,
    confidence: float = 0.99,
    random_state=0,
) -> StrongLocalization:
    """Whether localized classes are also apart: the robust classifier that the existence theorem builds, and its accuracy.

    The classifier answers i within ``radius`` of the ellipsoid of class i and of no other. A point of class i is certified if
    it lies in its own ellipsoid, which has probability ``1 - delta``, and not within ``2 radius`` of another one. With gamma
    the largest probability, over the classes, of the latter, the classifier is ``(radius, delta + gamma)``-robust.

    Parameters
    ----------
    means : array-like of shape (K, d)
    covariances : array-like of shape (K, d, d) or (d, d)
        One for each class, or one for all.
    radius : float
        >= 0, l2, in the units of the means.
    delta : float
        In (0, 1).
    method : {"exact", "paper", "monte-carlo"}, default="exact"
        "exact": the expanded ellipsoid is enclosed in a larger one, whose probability follows a generalised chi-square law
        (1e-9). "monte-carlo": the expansion itself, by draws, with a bound that holds with probability ``confidence``; smaller
        where ellipsoids are long. "paper": the printed formula, a noncentral chi-square; no bound if covariances differ.
    n_samples, confidence, random_state
        For "monte-carlo".

    Returns
    -------
    delta, gamma, certified_accuracy : float
        ``certified_accuracy = max(0, 1 - delta - gamma)``.

    See Also
    --------
    localization_overlaps : The parts of gamma, pair by pair.
    localization_certified_accuracy : With the best delta, over a range of radii.

    References
    ----------
    arXiv 2605.25352, theorem 3.2; theory 3.2, with the counter-example to its formula.

    Examples
    --------
    >>> import numpy as np
    >>> from skcert.theory import strong_localization
    >>> found = strong_localization([[-4.0, 0.0], [4.0, 0.0]], np.eye(2), radius=0.5, delta=0.01)
    >>> print(f"{found.gamma:.6f} {found.certified_accuracy:.6f}")
    0.000025 0.989975
    """
    means, covariances = _checks.mixture(means, covariances)
    radius, delta = _checks.nonnegative("radius", radius), _checks.chance("delta", delta)
    _checks.choice("method", method, METHODS)
    if method == "monte-carlo":
        n_samples = _checks.count("n_samples", n_samples)
        within = _hits(means, covariances, radius, delta, n_samples, random_state)
        level = (1 - _checks.chance("confidence", confidence)) / len(means)
        gamma = float(_upper_share(within.any(axis=1).sum(axis=1), n_samples, level).max())
    else:
        gamma = min(1.0, float(_of_one_delta(means, covariances, radius, delta, method).sum(axis=1).max()))
    return StrongLocalization(delta, gamma, max(0.0, 1 - delta - gamma))


def localization_certified_accuracy(means, covariances, priors, *, radii) -> np.ndarray:
    """The certified accuracy of the classifier of :func:`strong_localization`, with the best delta at each radius.

    Parameters
    ----------
    means : array-like of shape (K, d)
    covariances : array-like of shape (K, d, d) or (d, d)
    priors : array-like of shape (K,)
    radii : array-like of shape (n_radii,)
        >= 0, l2.

    Returns
    -------
    certified_accuracy : ndarray of shape (n_radii,)
        The mean over the classes of ``1 - delta - gamma_i``, a lower bound under this mixture: what is certified is a property
        of the mixture, not of data that only resemble it.

    References
    ----------
    arXiv 2605.25352, theorem 3.2; theory 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skcert.theory import localization_certified_accuracy
    >>> localization_certified_accuracy([[-4.0, 0.0], [4.0, 0.0]], np.eye(2), [0.5, 0.5], radii=[0.0, 1.0, 2.0]).round(3)
    array([1.   , 0.993, 0.898])
    """
    means, covariances = _checks.mixture(means, covariances)
    priors, radii = _checks.weights(priors, len(means)), _checks.radii_of(radii)
    deltas = 10 ** np.linspace(-9, -0.02, COARSE)
    reached = _reached(means, covariances, priors, np.repeat(radii, COARSE), np.tile(deltas, len(radii)))
    best = reached.reshape(-1, COARSE).argmax(axis=1)
    between = np.geomspace(deltas[np.maximum(best - 1, 0)], deltas[np.minimum(best + 1, COARSE - 1)], FINE, axis=1)
    finer = _reached(means, covariances, priors, np.repeat(radii, FINE), between.ravel())
    return finer.reshape(-1, FINE).max(axis=1)


def _of_one_delta(means, covariances, radius: float, delta: float, method: str) -> np.ndarray:
    if method == "paper":
        warnings.warn(
            "method='paper' prints the formula of arXiv 2605.25352, which is no bound unless all covariances are equal: use "
            "method='exact' (theory 3.2).",
            UserWarning,
            stacklevel=3,
        )
    return _overlaps(means, covariances, np.array([radius]), np.array([delta]), paper=method == "paper")[..., 0]


def _reached(means, covariances, priors, radii: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    """Certified accuracy at pairs of a radius and a delta."""
    gamma = _overlaps(means, covariances, radii, deltas).sum(axis=1)
    return priors @ np.maximum(0.0, 1 - deltas - gamma)


def _overlaps(means, covariances, radii, deltas, *, paper: bool = False) -> np.ndarray:
    """Upper bounds of P_i(d_M(x, j) <= r + 2 radius / sqrt(least eigenvalue of S_j)), shape (K, K, n)."""
    K, d = means.shape
    covariances = np.broadcast_to(covariances, (K, d, d))
    inner = np.sqrt(_squared_radius(deltas, d))
    found = np.zeros((K, K, len(radii)))
    with bar(K * (K - 1), "overlaps of pairs of classes", "pair") as done:
        for j in range(K):
            values, vectors = np.linalg.eigh(covariances[j])
            whitening = vectors / np.sqrt(np.maximum(values, 1e-300)) @ vectors.T
            least = max(values[0] - 4 * d * np.finfo(float).eps * values[-1], 1e-300)
            squares = ((inner + 2 * radii / math.sqrt(least)) * (1 + SLIP + _checks.slack(covariances[j]))) ** 2
            for i in range(K):
                if i == j:
                    continue
                done.update()
                offset = whitening @ (means[i] - means[j])
                if paper:
                    found[i, j] = ncx2.cdf(squares, d, offset @ offset)
                    continue
                weights, axes = np.linalg.eigh(whitening @ covariances[i] @ whitening)
                weights = np.maximum(weights, 1e-300)
                found[i, j] = cdf_bounds(weights, (axes.T @ offset) / np.sqrt(weights), squares)[1]
    return found


def _hits(means, covariances, radius, delta, n_samples, random_state) -> np.ndarray:
    """Whether draws of class i are, or may be, within 2 radius of the ellipsoid of j, shape (K, K, n_samples)."""
    K, d = means.shape
    covariances = np.broadcast_to(covariances, (K, d, d))
    squares = np.full(K, float(_squared_radius(delta, d)))
    ellipsoids = NearestEllipsoid(Quadratic.exact(means, _gaussians.precisions_of(covariances), np.zeros(K)), squares)
    random = np.random.default_rng(random_state)
    within = np.zeros((K, K, n_samples), dtype=bool)
    with bar(K, "distances of draws", "class") as done:
        for i in range(K):
            draws = _gaussians.noise_of(covariances[i], [n_samples], d, random)
            low, _, _ = ellipsoids.distances(means[i] + draws)  # the dual: no larger than the distance
            within[i] = low.T <= 2 * radius * (1 + SLIP)
            within[i, i] = False
            done.update()
    return within


def _upper_share(counts: np.ndarray, n: int, level: float) -> np.ndarray:
    """Clopper-Pearson from above."""
    return 1 - clopper_pearson(n - counts, n, level)
