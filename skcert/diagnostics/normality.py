"""Is the law of a class Gaussian? Mardia's tests, with reference laws that have the exact moments (theory 4.6)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from scipy.special import betaincinv, gammaincc, ndtr

from skcert._progress import bar
from skcert.diagnostics._samples import Sample, by_class, sample, whitened
from skcert.theory import _checks

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MardiaTest", "MardiaTests", "distance_quantiles", "mahalanobis_distances", "mardia_test"]

#: entries of a block of inner products
BLOCK = 1 << 22
#: classes that a repr lists
LISTED = 20


# -- results ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class MardiaTest:
    """Mardia's tests of one sample.

    Attributes
    ----------
    n, d : int
        Points and dimensions.
    skewness : float
        b1, the squared norm of the third moments of the whitened points.
    kurtosis : float
        b2, the mean of the fourth power of the Mahalanobis distance; near d (d + 2) for a Gaussian.
    p_skewness, p_kurtosis : float
        The latter two-sided.
    p_value : float
        Of both: ``min(1, 2 min(p_skewness, p_kurtosis))``, Bonferroni.
    """

    n: int
    d: int
    skewness: float
    kurtosis: float
    p_skewness: float
    p_kurtosis: float

    @property
    def p_value(self) -> float:
        return min(1.0, 2 * min(self.p_skewness, self.p_kurtosis))

    def __repr__(self) -> str:
        return (
            f"MardiaTest(n={self.n}, d={self.d}, skewness={self.skewness:.4g} (p={self.p_skewness:.2g}), "
            f"kurtosis={self.kurtosis:.4g} (p={self.p_kurtosis:.2g}), p_value={self.p_value:.2g})"
        )


@dataclass(frozen=True, repr=False, eq=False)
class MardiaTests:
    """Mardia's tests of every class.

    Attributes
    ----------
    classes : ndarray of shape (K,)
    tests : tuple of MardiaTest
        In the order of ``classes``.
    """

    classes: np.ndarray
    tests: tuple[MardiaTest, ...]

    @property
    def p_holm(self) -> np.ndarray:
        """All 2K p-values, skewness and kurtosis of each class, adjusted by Holm's method: shape (K, 2).

        Reject those <= alpha, and the chance that a Gaussian class is among them is at most alpha.
        """
        raw = np.array([(test.p_skewness, test.p_kurtosis) for test in self.tests])
        order = np.argsort(raw, axis=None)
        stepped = raw.ravel()[order] * np.arange(raw.size, 0, -1)
        adjusted = np.empty(raw.size)
        adjusted[order] = np.minimum(1.0, np.maximum.accumulate(stepped))
        return adjusted.reshape(raw.shape)

    def n_rejected(self, alpha: float = 0.05) -> int:
        """How many classes are not Gaussian, with a chance of at most ``alpha`` that any of them is (Holm)."""
        return int((self.p_holm <= _checks.chance("alpha", alpha)).any(axis=1).sum())

    def to_frame(self) -> pd.DataFrame:
        """A DataFrame with a row per class: statistics, p-values, and p-values after Holm (``holm_skewness``, ...)."""
        try:
            import pandas as pd
        except ImportError:
            raise ImportError("MardiaTests.to_frame needs pandas: pip install pandas.") from None

        rows = [vars(test) | {"p_value": test.p_value} for test in self.tests]
        frame = pd.DataFrame(rows, index=pd.Index(self.classes, name="class"))
        frame["holm_skewness"], frame["holm_kurtosis"] = self.p_holm.T
        return frame

    def __repr__(self) -> str:
        K = len(self.classes)
        lines = [f"MardiaTests of {K} classes: {self.n_rejected()} rejected at 5 % (Holm over {2 * K} p-values)"]
        for label, test in list(zip(self.classes.tolist(), self.tests, strict=True))[:LISTED]:
            lines.append(f"  {label!r}: {test!r}")
        return "\n".join(lines + [f"  and {K - LISTED} more"] * (K > LISTED))


# -- the test --------------------------------------------------------------------------------------------------------


@overload
def mardia_test(X, y: None = None) -> MardiaTest: ...
@overload
def mardia_test(X, y: Any) -> MardiaTests: ...
def mardia_test(X, y=None):
    """Test points, or the points of each class, for a Gaussian law, by their third and fourth moments.

    With Mahalanobis products ``g_ab = (x_a - mean)' S^-1 (x_b - mean)``, S the covariance with divisor n,

        skewness  b1 = sum_ab g_ab^3 / n^2,        kurtosis  b2 = sum_a g_aa^2 / n.

    Both are the same for all Gaussians, and do not change under invertible affine maps.

    Parameters
    ----------
    X : array-like of shape (n_samples, d)
        Latents, in any units.
    y : array-like of shape (n_samples,), default=None
        Labels: one pair of tests per class. None: one for all points.

    Returns
    -------
    result : MardiaTest or, with y, MardiaTests
        The latter counts rejected classes honestly: :meth:`MardiaTests.n_rejected`.

    Raises
    ------
    ValueError
        A class has fewer than d + 2 points (or than 4); constant or collinear columns; NaN or infinite values.

    See Also
    --------
    kl_divergence : How far, instead of whether.
    skcert.plotting.GaussianityDisplay : Where it deviates.

    Notes
    -----
    A p-value says whether a deviation can be seen in n points, not whether it matters: with many points every real class is
    rejected. A class that is not rejected has not been shown to be Gaussian.

    Reference laws. The skewness is compared with the gamma law that has its exact mean and its exact variance; it tends to the
    usual chi-square, but for n of a few d its variance is up to 29 % larger, and for n near d far smaller. The kurtosis goes
    through the cube root of Anscombe and Glynn with its exact mean, variance and skewness. In simulations of Gaussian laws, d
    from 1 to 64 and n from 10 to 1000, both rejected between 4 % and 6 % at a level of 5 %.

    Time grows with ``n d^2 min(n, d)``; memory is that of a few copies of X.

    References
    ----------
    Mardia. Measures of multivariate skewness and kurtosis with applications. Biometrika 57 (1970). Mardia. Applications of some
    measures of multivariate skewness and kurtosis. Sankhya B 36 (1974), the mean and variance of b2. Anscombe, Glynn.
    Distribution of the kurtosis statistic b2 for normal samples. Biometrika 70 (1983). Theory 4.6.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skcert.diagnostics import mardia_test
    >>> X, y = load_iris(return_X_y=True)
    >>> mardia_test(X[y == 0])
    MardiaTest(n=50, d=4, skewness=3.08 (p=0.13), kurtosis=26.54 (p=0.056), p_value=0.11)
    >>> mardia_test(X, y).n_rejected()
    0
    """
    if y is None:
        return _of_one(sample(X))
    classes, _, samples = by_class(sample(X), y)
    tests = []
    with bar(len(samples), "testing for Gaussian classes", "class") as done:
        for each in samples:
            tests.append(_of_one(each))
            done.update()
    return MardiaTests(classes, tuple(tests))


def _of_one(given: Sample) -> MardiaTest:
    U = whitened(given).points
    n, d = U.shape
    b1, b2 = _third_moments(U), float(((U**2).sum(axis=1) ** 2).mean())
    return MardiaTest(n, d, b1, b2, _p_skewness(b1, n, d), _p_kurtosis(b2, n, d))


def _third_moments(U: np.ndarray) -> float:
    """sum_ab (u_a' u_b)^3 / n^2: by blocks of products, or as the squared norm of the third-moment tensor, slice by slice."""
    n, d = U.shape
    if n <= d * d / 3:
        rows = max(1, BLOCK // n)
        return sum(float(((U[i : i + rows] @ U.T) ** 3).sum()) for i in range(0, n, rows)) / n**2
    total = 0.0
    for a in range(d):  # entries (a, b, c) with a first: each stands for its 3 or 1 places of a
        M = (U[:, a:] * U[:, [a]]).T @ U[:, a:]
        total += 3 * (M[1:, 1:] ** 2).sum() + 3 * (M[0, 1:] ** 2).sum() + M[0, 0] ** 2
    return float(total) / n**2


# -- exact moments under a Gaussian law ------------------------------------------------------------------------------
#
# g_ab / n are the entries of the projection onto a random d-dimensional subspace orthogonal to (1, ..., 1), so every moment of
# b1 and b2 is a rational function of n and d, found by summing over zonal polynomials. All vanish under d = 0, d = -2 and,
# by passing to the orthogonal complement, d = n - 1 and d = n + 1. Python integers: n^9 does not fit in others.


def _skewness_moments(n: int, d: int) -> tuple[float, float]:
    """Mean and variance of b1."""
    mean = d * (d + 2) * ((n + 1) * (d + 1) - 6) / ((n + 1) * (n + 3))
    factor = (
        (5 * n**4 + 48 * n**3 + 134 * n**2 + 144 * n + 53) * d**2
        + (n**5 + 41 * n**4 + 214 * n**3 + 230 * n**2 - 215 * n - 271) * d
        + (n**5 + 30 * n**4 - 170 * n**3 - 1116 * n**2 - 599 * n + 1470)
    )
    below = (n - 1) * (n + 1) ** 2 * (n + 2) * (n + 3) ** 2 * (n + 5) * (n + 7) * (n + 9)
    return mean, 12 * d * (d + 2) * (n - d - 1) * (n - d + 1) * factor / below


def _kurtosis_moments(n: int, d: int) -> tuple[float, float, float]:
    """Mean, variance and third central moment of b2; the first two are Mardia's (1974)."""
    common = d * (d + 2) * (n - d - 1) * (n - d + 1)
    variance = 8 * common * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5))
    factor = 4 * (n + 1) * (2 * n**2 - n - 9) + (n**2 - 20 * n - 45) * d * (n - d - 1)
    below = (n - 1) * (n + 1) ** 3 * (n + 2) * (n + 3) * (n + 5) * (n + 7) * (n + 9)
    return d * (d + 2) * (n - 1) / (n + 1), variance, 64 * common * (n**2 - 5 * n + 2) * factor / below


def _p_skewness(b1: float, n: int, d: int) -> float:
    mean, variance = _skewness_moments(n, d)
    return float(gammaincc(mean**2 / variance, b1 * mean / variance))


def _p_kurtosis(b2: float, n: int, d: int) -> float:
    mean, variance, third = _kurtosis_moments(n, d)
    return float(2 * ndtr(-abs(_normal_score((b2 - mean) / math.sqrt(variance), third / variance**1.5))))


def _normal_score(z: float, skew: float) -> float:
    """Of a standardised number whose law has this skewness, something closer to standard normal (Anscombe and Glynn 1983)."""
    if skew < 1e-6:  # negative for n = 4 only
        return z
    degrees = 6 + 8 / skew * (2 / skew + math.sqrt(1 + 4 / skew**2))
    below = 1 + z * math.sqrt(2 / (degrees - 4))
    if below <= 0:  # outside the support of the approximation
        return -math.inf
    return (1 - 2 / (9 * degrees) - math.cbrt((1 - 2 / degrees) / below)) / math.sqrt(2 / (9 * degrees))


# -- distances and their law -----------------------------------------------------------------------------------------


def mahalanobis_distances(X, y=None) -> tuple[np.ndarray | None, list[np.ndarray]]:
    """Distances of points from their own mean in their own covariance (divisor n - 1), ascending.

    Parameters
    ----------
    X : array-like of shape (n_samples, d)
    y : array-like of shape (n_samples,), default=None

    Returns
    -------
    classes : ndarray of shape (K,) or None
        None without y.
    distances : list of ndarray of shape (n_k,)
        One per class, or one.
    """
    classes, samples = (None, [sample(X)]) if y is None else by_class(sample(X), y)[::2]
    distances = []
    for given in samples:
        U = whitened(given).points
        distances.append(np.sort(np.sqrt((U**2).sum(axis=1) * (1 - 1 / len(U)))))
    return classes, distances


def distance_quantiles(shares, n: int, d: int) -> np.ndarray:
    """Quantiles of these distances for n Gaussian points: n D^2 / (n - 1)^2 has the law Beta(d/2, (n - d - 1)/2) (theory 4.6).

    Chi-square, its limit, would be the law if mean and covariance were known beforehand.
    """
    return np.sqrt(betaincinv(d / 2, (n - d - 1) / 2, shares)) * (n - 1) / math.sqrt(n)
