"""From votes under Gaussian noise to a radius (theory 2.4).

Let p be the probability that a classifier answers c at x + n, n ~ N(0, sigma^2 I). If p > 1/2, the smoothed classifier - the
class most probable under noise - answers c at every point closer to x than ``sigma Phi^-1(p)`` in l2 (Cohen et al. 2019). p is
never known; what votes say about it is a lower bound that holds with probability 1 - alpha.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import betaln
from scipy.stats import beta, norm

#: probabilities from below: what quantiles and logarithms of beta distributions may have lost
SLIP = 1e-12
#: nobody waits for more
MOST_VOTES = 2**40


def certified_radius(probability, sigma: float) -> np.ndarray:
    """The l2 radius that a lower bound of the probability of a class under noise certifies: 0 up to 1/2 (theory 2.4).

    Parameters
    ----------
    probability : array-like
        Lower bounds of the probability of a class at x + N(0, sigma^2 I).
    sigma : float
        Standard deviation of the noise, in the units of x.

    Returns
    -------
    radius : ndarray
        In the units of x.

    References
    ----------
    J. Cohen, E. Rosenfeld, Z. Kolter, *Certified adversarial robustness via randomized smoothing* (ICML 2019), theorem 1.

    Examples
    --------
    >>> from skcert.smoothing.bounds import certified_radius
    >>> certified_radius([0.4, 0.5, 0.97725], sigma=0.25).round(4)
    array([0. , 0. , 0.5])
    """
    probability = np.asarray(probability, dtype=float)
    return np.where(probability > 0.5, sigma * norm.ppf(np.maximum(probability, 0.5)) * (1 - SLIP), 0.0)


def needed_probability(radius: float, sigma: float) -> float:
    """The probability from which a radius is certified, the inverse of :func:`certified_radius`, rounded up."""
    return min(1.0, float(norm.cdf(radius / sigma)) * (1 + 4 * SLIP))


def clopper_pearson(votes, n: int, alpha: float) -> np.ndarray:
    """A lower bound, at level 1 - alpha, of the probability of what happened ``votes`` times in n trials.

    Parameters
    ----------
    votes : array-like of int
    n : int
        Trials, fixed beforehand.
    alpha : float
        The probability with which the bound may be too large.

    References
    ----------
    C. Clopper, E. Pearson, *The use of confidence or fiducial limits illustrated in the case of the binomial* (1934).

    Examples
    --------
    >>> from skcert.smoothing.bounds import clopper_pearson
    >>> clopper_pearson([0, 5000, 9900, 10_000], 10_000, alpha=0.001).round(4)
    array([0.    , 0.4845, 0.9865, 0.9993])
    """
    votes = np.asarray(votes)
    bound = beta.ppf(alpha, np.maximum(votes, 1), n - votes + 1)
    return np.where(votes > 0, bound * (1 - SLIP), 0.0)


def log_evidence(votes, misses, probability) -> np.ndarray:
    """How strongly votes speak for a probability above the one given: the logarithm of an e-process.

    The likelihood ratio of q against the given p, averaged over q in (p, 1):

        e = 1 / (1 - p) * integral over (p, 1) of (q / p)^votes ((1 - q) / (1 - p))^misses dq

    If the true probability is at most p, every ratio is a supermartingale of mean at most 1, hence so is e: the chance that it
    *ever* reaches 1 / alpha, whenever one looks and stops, is at most alpha (Ville 1939). With ``q = p + (1 - p) u`` it is
    ``integral over (0, 1) of (1 + u (1 - p) / p)^votes (1 - u)^misses du``, which falls as p rises.

    Parameters
    ----------
    votes, misses : array-like of int
    probability : array-like
        p in (0, 1).
    """
    votes, misses, p = np.broadcast_arrays(*(np.asarray(each, dtype=float) for each in (votes, misses, probability)))
    a, b = votes + 1, misses + 1
    with np.errstate(divide="ignore"):
        tail = beta.logsf(p, a, b)
    ratio = betaln(a, b) + tail - votes * np.log(p) - b * np.log1p(-p)
    return ratio - 64 * np.finfo(float).eps * (a + b) * (1 + np.abs(np.log(p)) + np.abs(np.log1p(-p)))


def anytime_bound(votes, n, alpha: float) -> np.ndarray:
    """A lower bound of a probability that holds, at level 1 - alpha, at all numbers of trials at once: look and stop at will.

    The largest p that :func:`log_evidence` speaks against: the true one is among those with probability at most alpha.

    Parameters
    ----------
    votes, n : array-like of int
        So far.
    alpha : float

    Examples
    --------
    >>> from skcert.smoothing.bounds import anytime_bound
    >>> anytime_bound([0, 5000, 9900, 10_000], 10_000, alpha=0.001).round(4)
    array([0.    , 0.4769, 0.9853, 0.9991])
    """
    votes, n = np.broadcast_arrays(np.asarray(votes), np.asarray(n))
    low, high = np.zeros(votes.shape), votes / np.maximum(n, 1)
    for _ in range(60):
        middle = (low + high) / 2
        inside = np.clip(middle, 1e-300, 1 - 1e-16)
        against = (log_evidence(votes, n - votes, inside) >= -math.log(alpha)) & (middle < 1) & (middle > 0)
        low, high = np.where(against, middle, low), np.where(against, high, middle)
    return low


def largest_radius(n: int, sigma: float, alpha: float, anytime: bool = False) -> float:
    """What can be certified at most: the radius if all n votes are for one class."""
    bound = anytime_bound(n, n, alpha) if anytime else clopper_pearson(n, n, alpha)
    return float(certified_radius(bound, sigma))


def fewest_votes(radius: float, sigma: float, alpha: float, anytime: bool = False) -> int:
    """The smallest n at which a radius can be certified at all; at radius 0, anything."""

    def reaches(n: int) -> bool:
        largest = largest_radius(n, sigma, alpha, anytime)
        return largest >= radius and largest > 0

    low, high = 0, 1
    while not reaches(high):
        low, high = high, 2 * high
        if high > MOST_VOTES:
            raise ValueError(f"No number of votes certifies a radius of {radius:g} at sigma={sigma:g}: use a larger sigma.")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high
