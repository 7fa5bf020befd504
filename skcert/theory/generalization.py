"""From the points at hand to the population (theory 4.3, 4.4), and how fast radii are learned (4.5)."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import chi2, norm

from skcert._progress import bar
from skcert.smoothing.bounds import clopper_pearson
from skcert.theory import _checks, _gaussians

__all__ = [
    "RadiusErrorRate",
    "certified_accuracy_band",
    "certified_accuracy_interval",
    "gaussian_tail_bound",
    "radius_error_rate",
]

ALTERNATIVES = ("two-sided", "lower")


# -- without any assumption --------------------------------------------------------------------------------------------


def _curve(radius, correct, radii) -> tuple[np.ndarray, np.ndarray, int]:
    """How many of the points are right and certified at each radius."""
    radius, correct = np.asarray(radius, dtype=float), np.asarray(correct)
    if radius.ndim != 1 or not len(radius) or np.isnan(radius).any():
        raise ValueError(f"radius must hold one number per point, without NaN, got shape {radius.shape}.")
    if correct.shape != radius.shape or correct.dtype != bool:
        raise ValueError(
            f"correct must be {len(radius)} booleans, got {correct.dtype} of shape {correct.shape}: y == prediction."
        )
    radii = _checks.radii_of(radii)
    kept = np.sort(np.where(correct, radius, -1.0))
    return radii, len(kept) - np.searchsorted(kept, radii, side="left"), len(kept)


def certified_accuracy_interval(
    radius, correct, *, radii, confidence: float = 0.95, alternative: str = "two-sided"
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence limits of the certified accuracy of the population, at each radius for itself.

    On independent held-out points the number that is right and certified is binomial: Clopper and Pearson's limits hold for
    every law of the data.

    Parameters
    ----------
    radius : array-like of shape (n,)
        Certified radii of points that were not used for fitting.
    correct : array-like of bool, shape (n,)
        ``y == prediction``.
    radii : float or array-like of shape (n_radii,)
        Where; chosen before the points were seen.
    confidence : float, default=0.95
        For each radius alone; for all at once see :func:`certified_accuracy_band`.
    alternative : {"two-sided", "lower"}, default="two-sided"
        "lower": all of what may go wrong is spent on the lower limit; the upper one is 1.

    Returns
    -------
    lower, upper : ndarrays of shape (n_radii,)

    References
    ----------
    C. Clopper, E. Pearson (Biometrika 1934); theory 4.3.

    Examples
    --------
    >>> import numpy as np
    >>> from skcert.theory import certified_accuracy_interval
    >>> radius, correct = np.linspace(0, 2, 1000), np.arange(1000) % 10 > 0
    >>> lower, upper = certified_accuracy_interval(radius, correct, radii=[0.0, 1.0])
    >>> lower.round(3), upper.round(3)
    (array([0.88 , 0.419]), array([0.918, 0.481]))
    """
    radii, kept, n = _curve(radius, correct, radii)
    alpha = 1 - _checks.chance("confidence", confidence)
    if _checks.choice("alternative", alternative, ALTERNATIVES) == "lower":
        return clopper_pearson(kept, n, alpha), np.ones(len(radii))
    return clopper_pearson(kept, n, alpha / 2), 1 - clopper_pearson(n - kept, n, alpha / 2)


def certified_accuracy_band(
    radius, correct, *, radii, confidence: float = 0.95, alternative: str = "two-sided"
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence limits of the whole curve of certified accuracy: at all radii at once.

    Parameters
    ----------
    radius, correct : array-like of shape (n,)
        As for :func:`certified_accuracy_interval`.
    radii : float or array-like of shape (n_radii,)
        Where to evaluate; they may be chosen with the curve in view.
    confidence : float, default=0.95
        At least 0.5 for "lower".
    alternative : {"two-sided", "lower"}, default="two-sided"

    Returns
    -------
    lower, upper : ndarrays of shape (n_radii,)
        The curve minus and plus ``sqrt(ln(2 / alpha) / (2 n))``; for "lower" minus ``sqrt(ln(1 / alpha) / (2 n))``.

    References
    ----------
    P. Massart, *The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality* (Annals of Probability 1990); theory 4.3.

    Examples
    --------
    >>> import numpy as np
    >>> from skcert.theory import certified_accuracy_band
    >>> radius, correct = np.linspace(0, 2, 1000), np.arange(1000) % 10 > 0
    >>> lower, upper = certified_accuracy_band(radius, correct, radii=[0.0, 1.0])
    >>> lower.round(3), upper.round(3)
    (array([0.857, 0.407]), array([0.943, 0.493]))
    """
    radii, kept, n = _curve(radius, correct, radii)
    alpha = 1 - _checks.chance("confidence", confidence)
    one_sided = _checks.choice("alternative", alternative, ALTERNATIVES) == "lower"
    if one_sided and alpha > 0.5:
        raise ValueError(f"confidence must be at least 0.5 for alternative='lower', got {confidence!r}: Massart's condition.")
    width = math.sqrt(math.log((1 if one_sided else 2) / alpha) / (2 * n)) * (1 + 1e-12)
    share = kept / n
    return np.maximum(share - width, 0.0), np.ones(len(radii)) if one_sided else np.minimum(share + width, 1.0)


# -- assuming Gaussian margins -----------------------------------------------------------------------------------------


def gaussian_tail_bound(
    margins, thresholds=0.0, *, confidence: float = 0.95, n_bounds: int | None = None, simultaneous: bool = False
):
    """How probable margins below a threshold are, if margins are Gaussian: far below 1 / n.

    For one class and an affine boundary the margin over a rival is Gaussian if the class is. From n held-out margins of that
    class with mean m and standard deviation s, ``P(margin < c) <= Phi(-k_L)``, where k_L is the lower confidence limit of the
    distance from c to the mean in standard deviations, from the noncentral t law of ``sqrt(n) (m - c) / s``. Several
    rivals are added up.

    Parameters
    ----------
    margins : array-like of shape (n,) or (n, n_rivals)
        Of **held-out** points of one class, score of the class minus score of the rival; those of the training set
        look better than they are.
    thresholds : float or array-like, default=0
        Scalar, or of shape (n_rivals,) or (n_rivals, n_radii): ``radius * ||w_i - w_j||_q`` for the robust risk at a radius.
    confidence : float, default=0.95
    n_bounds : int, default=None
        Bounds that are to hold together, among which ``1 - confidence`` is divided; None: the number of rivals. For K classes
        with K - 1 rivals each: ``K * (K - 1)``.
    simultaneous : bool, default=False
        False: thresholds were fixed beforehand, in each column. True: mean and standard deviation are bounded jointly, and the
        result holds for all thresholds at once, as a curve needs it.

    Returns
    -------
    risk : float or ndarray of shape (n_radii,)
        Model-based: an upper bound of ``P(some margin < its threshold)`` for this class.

    Raises
    ------
    ValueError
        Fewer than 2 points, or margins without spread.

    References
    ----------
    D. Owen, *A survey of properties and applications of the noncentral t-distribution* (Technometrics 1968); theory 4.4.

    Examples
    --------
    >>> import numpy as np
    >>> from skcert.theory import gaussian_tail_bound
    >>> margins = 5 + np.random.default_rng(0).standard_normal(200)
    >>> print(f"{gaussian_tail_bound(margins):.1e} {gaussian_tail_bound(margins, simultaneous=True):.1e}")    # truth 2.9e-7
    9.8e-07 2.6e-06
    """
    margins = _checks.numbers("margins", np.asarray(margins, dtype=float).reshape(len(np.atleast_1d(margins)), -1), 2)
    n, n_rivals = margins.shape
    thresholds = np.asarray(thresholds, dtype=float)
    curve = thresholds.ndim == 2
    if thresholds.ndim > 2 or (thresholds.ndim and len(thresholds) != n_rivals) or not np.isfinite(thresholds).all():
        raise ValueError(
            f"thresholds must be finite, one number, one for each of the {n_rivals} rival(s), or a row of radii for each: got "
            f"shape {thresholds.shape}."
        )
    n_bounds = n_rivals if n_bounds is None else _checks.count("n_bounds", n_bounds, n_rivals)
    c = np.broadcast_to(
        thresholds[:, None] if thresholds.ndim == 1 else thresholds, (n_rivals, thresholds.shape[-1] if curve else 1)
    )
    if n < 2:
        raise ValueError(f"margins must be of at least 2 points, got {n}.")
    level = (1 - _checks.chance("confidence", confidence)) / n_bounds
    mean, spread = margins.mean(axis=0)[:, None], margins.std(axis=0, ddof=1)[:, None]
    if not (spread > 1e-12 * np.abs(mean)).all():
        raise ValueError("margins must vary: a margin that is the same at all points is not Gaussian.")
    if simultaneous:
        largest = spread * math.sqrt((n - 1) / chi2.isf(1 - level / 2, n - 1))
        distance = (mean - c) / largest - norm.isf(level / 2) / math.sqrt(n)
        tail = np.where(mean > c, ndtr(-distance), 1.0)
    else:
        tail = np.array([[ndtr(-_distance_limit(k, n, level)) for k in row] for row in (mean - c) / spread])
    risk = np.minimum(tail.sum(axis=0) * (1 + 1e-9), 1.0)
    return risk if curve else float(risk[0])


@cache
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(256)


def _integral(function, low: float, high: float) -> float:
    nodes, shares = _nodes()
    return float(function(low + (high - low) * (nodes + 1) / 2) @ shares) * (high - low) / 2


def _noncentral_t(t: float, n: int, shift: float) -> float:
    """P(T <= t) for T = (Z + shift) / S, S^2 a chi-square over its n - 1 degrees of freedom.

    Integrated over the variable along which the other's probability changes slowly: S for small t, Z for large ones.
    """
    if abs(t) <= math.sqrt(n):
        low, high = np.sqrt(chi2.isf([1 - 1e-15, 1e-15], n - 1) / (n - 1))
        return _integral(lambda s: ndtr(t * s - shift) * chi2.pdf(s**2 * (n - 1), n - 1) * 2 * s * (n - 1), low, high)
    if t < 0:
        return 1 - _noncentral_t(-t, n, -shift)
    start = min(max(-shift, -9.0), 9.0)
    return float(ndtr(start)) + _integral(
        lambda z: norm.pdf(z) * chi2.sf((np.maximum(z + shift, 0) / t) ** 2 * (n - 1), n - 1), start, 9.0
    )


def _distance_limit(k: float, n: int, level: float) -> float:
    """The k_L with F_nct(sqrt(n) k; n - 1, sqrt(n) k_L) = 1 - level, rounded down."""

    def excess(limit: float) -> float:
        return _noncentral_t(math.sqrt(n) * k, n, math.sqrt(n) * limit) - (1 - level)

    wide = 40 * (1 + abs(k)) / math.sqrt(n) + 10 * abs(k) / math.sqrt(n - 1)
    return float(brentq(excess, k - wide, k + wide, xtol=1e-13)) - 1e-9 * (1 + abs(k))


# -- how fast radii are learned ----------------------------------------------------------------------------------------


class RadiusErrorRate(NamedTuple):
    """What :func:`radius_error_rate` returns."""

    n_samples: np.ndarray
    error: np.ndarray
    slope: float
    printed: dict[str, float]


#: slopes of log error on log n that follow from what arXiv 2605.25352 prints in three places
PRINTED = {
    "proof of theorem 4.2: n = O(d / eps^4)": -1 / 4,
    "theorem 4.2: n = O(d^(1/4) log(1/delta) / eps^(1/4))": -4.0,
    "appendix: n = O((d / eps)^(9/2))": -2 / 9,
}


def radius_error_rate(
    means,
    covariances,
    priors,
    *,
    n_samples=(100, 300, 1000, 3000, 10_000, 30_000),
    n_points: int = 200,
    n_repeats: int = 10,
    random_state=0,
) -> RadiusErrorRate:
    """How the radius of a rule with estimated parameters approaches that of the true one, by experiment.

    Parameters
    ----------
    means : array-like of shape (K, d)
    covariances : array-like of shape (K, d, d), or (d, d) for one that all share, which is then estimated as such
    priors : array-like of shape (K,)
    n_samples : sequence of int
        Sizes of the samples from which means, covariances and priors are estimated.
    n_points : int, default=200
        Points of the mixture at which radii (l2) are compared.
    n_repeats : int, default=10
        Samples of each size.
    random_state : int, default=0

    Returns
    -------
    n_samples : ndarray of shape (n_sizes,)
    error : ndarray of shape (n_sizes,)
        Mean of ``|R_hat - R|`` over points and samples, in the units of the means. R is the signed radius: negative where
        the two rules disagree.
    slope : float
        Of log error on log n, by least squares: about -1/2 where the radius is a smooth function of the parameters.
    printed : dict
        The slopes that the paper's three statements amount to. None of them is what is measured.

    References
    ----------
    arXiv 2605.25352, theorem 4.2; theory 4.5.

    Examples
    --------
    >>> import numpy as np
    >>> from skcert.theory import radius_error_rate
    >>> found = radius_error_rate([[-2.0, 0.0], [2.0, 0.0]], np.eye(2), [0.5, 0.5], n_repeats=5)
    >>> -0.6 < found.slope < -0.4
    True
    """
    means, covariances = _checks.mixture(means, covariances)
    K, d = means.shape
    priors = _checks.weights(priors, K)
    sizes, n_repeats = np.asarray(n_samples, dtype=int), _checks.count("n_repeats", n_repeats)
    if sizes.ndim != 1 or len(np.unique(sizes)) < 2 or (sizes * priors.min() < 2 * (d + 2)).any():
        raise ValueError(
            f"n_samples must be two sizes or more, each enough for {2 * (d + 2)} points of the rarest class; got {n_samples!r}."
        )
    random = np.random.default_rng(random_state)
    points, _ = _gaussians.draw(means, covariances, priors, n_points, random)
    true = _gaussians.bayes_nearest(means, covariances, priors, points)
    errors = np.zeros(len(sizes))
    with bar(len(sizes) * n_repeats, "estimating from samples", "sample") as done:
        for at, n in enumerate(sizes):
            for _ in range(n_repeats):
                X, y = _gaussians.draw(means, covariances, priors, n, random)
                while np.bincount(y, minlength=K).min() <= d:
                    X, y = _gaussians.draw(means, covariances, priors, n, random)
                found = _gaussians.bayes_nearest(*_estimated(X, y, K, covariances.ndim == 2), points)
                signed = np.where(found.winner == true.winner, found.radius, -found.radius)
                errors[at] += np.abs(signed - true.radius).mean() / n_repeats
                done.update()
    slope = float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])
    return RadiusErrorRate(sizes, errors, slope, dict(PRINTED))


def _estimated(X, y, K: int, shared: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The maximum likelihood estimates of the parameters."""
    means = np.array([X[y == k].mean(axis=0) for k in range(K)])
    centred = X - means[y]
    if shared:
        return means, centred.T @ centred / len(X), np.bincount(y, minlength=K) / len(X)
    scatter = np.array([centred[y == k].T @ centred[y == k] / np.count_nonzero(y == k) for k in range(K)])
    return means, scatter, np.bincount(y, minlength=K) / len(X)
