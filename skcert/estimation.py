"""Means and regularised covariances of labelled points, from statistics that can be merged.

Pure functions on arrays: moments in one pass, shrinkage intensities, the rank check.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import linalg, sparse

from skcert._progress import bar
from skcert.discriminants import batches
from skcert.geometry.products import with_threads_for
from skcert.geometry.rounding import UNIT, fro, gamma, grow, inverse_defect, spectral

#: bytes of points summed at a time: what stays near the processor
BATCH = 4 * 2**20

# -- moments ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moments:
    """Sums over the points of each class, about ``shift``: two of them add up to the moments of both sets of points.

    Attributes
    ----------
    count : ndarray of shape (K,)
        Sum of weights.
    shift : ndarray of shape (K, d)
        Where the sums are centred; near the means, nothing cancels.
    first : ndarray of shape (K, d)
        Sum of x.
    second : ndarray of shape (K, d, d), or (d, d) when pooled over classes
        Sum of x x'. Pooling is allowed only where ``shift`` are the means of the very points summed.
    third : ndarray of shape (K, d)
        Sum of |x|^2 x.
    fourth : ndarray of shape (K,)
        Sum of |x|^4. With ``third``, what Ledoit and Wolf's intensity needs beside the covariance.
    """

    count: np.ndarray
    shift: np.ndarray
    first: np.ndarray
    second: np.ndarray
    third: np.ndarray
    fourth: np.ndarray

    @classmethod
    def of(cls, X, codes, weights, shift, *, pooled: bool = False) -> Moments:
        """Moments of X, shape (n, d), with class codes in 0..K-1 and frequency weights."""
        K, d = shift.shape
        first, third, fourth = np.zeros((K, d)), np.zeros((K, d)), np.zeros(K)
        second = np.zeros((d, d) if pooled else (K, d, d))
        buffer = np.empty((max(1, min(len(X), BATCH // (8 * d))), d))

        def centred(at, shifts):
            """Points about their shift, in the buffer; their weights and squared norms."""
            x, weight = np.subtract(X[at], shifts, out=buffer[: len(codes[at])]), weights[at]
            square = np.einsum("nd,nd->n", x, x)
            return x, weight, square

        if pooled:
            for rows in batches(len(X), 8 * d, BATCH):
                x, weight, square = centred(rows, shift[codes[rows]])
                first += _indicator(codes[rows], weight, K) @ x
                third += _indicator(codes[rows], weight * square, K) @ x
                fourth += np.bincount(codes[rows], weight * square**2, minlength=K)
                second += _gram(x, weight)
        else:  # class by class: long runs of one class make large products
            order = np.argsort(codes, kind="stable")
            ends = np.cumsum(np.bincount(codes, minlength=K))
            for k, end in enumerate(ends):
                own = order[ends[k - 1] if k else 0 : end]
                for rows in batches(len(own), 8 * d, BATCH):
                    x, weight, square = centred(own[rows], shift[k])
                    sums = np.stack([weight, weight * square]) @ x
                    first[k] += sums[0]
                    third[k] += sums[1]
                    fourth[k] += weight @ square**2
                    second[k] += _gram(x, weight)
        return cls(np.bincount(codes, weights, minlength=K), shift, first, second, third, fourth)

    @classmethod
    def none(cls, n_classes: int, d: int) -> Moments:
        """The moments of no points."""
        K = n_classes
        return cls(np.zeros(K), np.zeros((K, d)), np.zeros((K, d)), np.zeros((K, d, d)), np.zeros((K, d)), np.zeros(K))

    def by_class(self) -> Moments:
        """Pooled sums dealt out to the classes by their weight; their total, all that a shared covariance needs, is kept."""
        if self.second.ndim == 3:
            return self
        return replace(self, second=(self.count / self.count.sum())[:, None, None] * self.second)

    def __add__(self, other: Moments) -> Moments:
        sums = {name: getattr(self, name) + getattr(other, name) for name in ("count", "first", "second", "third", "fourth")}
        return replace(self, **sums)

    @property
    def offsets(self) -> np.ndarray:
        """Means relative to ``shift``; 0 for a class without points."""
        return self.first / np.where(self.count > 0, self.count, 1)[:, None]

    @property
    def means(self) -> np.ndarray:
        return self.shift + self.offsets

    def scatter(self, k: int) -> np.ndarray:
        """Sum of (x - mean)(x - mean)' over class k."""
        m = self.offsets[k]
        return self.second[k] - self.count[k] * np.outer(m, m)

    def pooled_scatter(self) -> np.ndarray:
        """Sum of the scatters of all classes."""
        between = np.sqrt(self.count)[:, None] * self.offsets
        total = self.second if self.second.ndim == 2 else self.second.sum(axis=0)
        return total - between.T @ between

    def central_fourth(self) -> np.ndarray:
        """Sum of |x - mean|^4 over each class."""
        m = self.offsets
        mm = np.einsum("kd,kd->k", m, m)
        if self.second.ndim == 2:  # pooled: the offsets are rounding errors, and so are the terms they multiply
            return self.fourth
        turned = np.einsum("kd,kde,ke->k", m, self.second, m)
        trace = np.einsum("kdd->k", self.second)
        return (
            self.fourth
            + 4 * turned
            + self.count * mm**2
            - 4 * np.einsum("kd,kd->k", m, self.third)
            + 2 * mm * trace
            - 4 * mm * np.einsum("kd,kd->k", m, self.first)
        )


def class_means(X, codes, weights, n_classes: int) -> np.ndarray:
    """Weighted mean of each class, shape (K, d); 0 for a class without points."""
    total = np.zeros((n_classes, X.shape[1]))
    for rows in batches(len(X), 8 * X.shape[1], BATCH):
        total += _indicator(codes[rows], weights[rows], n_classes) @ np.asarray(X[rows], dtype=float)
    count = np.bincount(codes, weights, minlength=n_classes)
    return total / np.where(count > 0, count, 1)[:, None]


def _gram(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted x'x; x is spent."""
    if (weight != 1).any():
        x *= np.sqrt(weight)[:, None]
    return x.T @ x


def _indicator(codes, weights, n_classes):
    """(K, n) matrix that sums rows by class, dense where that is faster."""
    if n_classes <= 32:
        return np.where(codes == np.arange(n_classes)[:, None], weights, 0.0)
    return sparse.csr_array((weights, (codes, np.arange(len(codes)))), shape=(n_classes, len(codes)))


# -- shrinkage -------------------------------------------------------------------------------------------------------


def ledoit_wolf_intensity(covariance: np.ndarray, n: float, fourth: float) -> float:
    """Ledoit and Wolf's intensity from the covariance (divisor n) and the sum of fourth powers of centred norms.

    The number of ``sklearn.covariance.ledoit_wolf_shrinkage``, from mergeable statistics.

    References
    ----------
    O. Ledoit, M. Wolf, A well-conditioned estimator for large-dimensional covariance matrices (2004).
    """
    d = len(covariance)
    if d == 1:
        return 0.0
    square = np.sum(covariance**2)
    mean = np.trace(covariance) / d
    delta = (square - d * mean**2) / d
    beta = min((fourth / n - square) / (d * n), delta)
    return float(max(beta, 0.0) / delta) if delta > 0 else 0.0


def oas_intensity(covariance: np.ndarray, n: float) -> float:
    """Intensity of the oracle approximating shrinkage (Chen et al. 2010), as in ``sklearn.covariance.oas``."""
    d = len(covariance)
    if d == 1:
        return 0.0
    alpha, mean = np.mean(covariance**2), np.trace(covariance) / d
    denominator = (n + 1) * (alpha - mean**2 / d)
    return 1.0 if denominator <= 0 else float(min((alpha + mean**2) / denominator, 1.0))


@with_threads_for
def regularise(
    covariance: np.ndarray, n: float, fourth: float, shrinkage: Any, reg_covar: float, unit: float | None = None
) -> tuple[np.ndarray, float]:
    """(1 - a) S + a tr(S)/d I, plus ``reg_covar`` tr(S)/d on the diagonal; returns it and the intensity a.

    Of one component of several, ``unit`` replaces the last tr(S)/d by that of its class, as within EM: its own may be 0.
    """
    if shrinkage == "auto":
        intensity = ledoit_wolf_intensity(covariance, n, fourth)
    elif shrinkage == "oas":
        intensity = oas_intensity(covariance, n)
    else:
        intensity = float(shrinkage or 0.0)
    level = np.trace(covariance) / len(covariance)
    shrunk = (1 - intensity) * covariance
    floor = (intensity + reg_covar) * level if unit is None else intensity * level + reg_covar * unit
    shrunk.flat[:: len(covariance) + 1] += floor
    return shrunk, intensity


# -- robust shrinkage (theory 3.3) -----------------------------------------------------------------------------------

#: candidates for c in S + cI, in units of tr(S)/d
ROBUST_GRID = np.concatenate([[0.0], np.geomspace(1e-3, 1e4, 43)])


def robust_shrinkage(X, codes, weights, means, covariance, log_priors, radius: float) -> float:
    """The c for which the linear rule of covariance S + cI has the largest certified accuracy at an l2 radius.

    For two classes the optimal robust rule *is* of this form (theory 3.3; Bhagoji et al. 2019, Dan et al. 2020); as c grows it
    becomes the nearest centroid. One eigendecomposition of S serves all c. Ties go to the larger average certified radius.

    Returns
    -------
    float
        c in the units of the covariance, from ``ROBUST_GRID`` times tr(S)/d.
    """
    values, vectors = np.linalg.eigh(covariance)
    center = means.mean(axis=0)
    turned = (means - center) @ vectors
    candidates = ROBUST_GRID * np.trace(covariance) / len(covariance)
    rules = []
    for c in candidates:
        coef = turned / (values + c)
        gram = coef @ coef.T
        length = np.diag(gram)
        apart = np.sqrt(np.maximum(length[:, None] + length - 2 * gram, 0))
        rules.append((coef, log_priors - 0.5 * np.einsum("kd,kd->k", coef, turned), apart))
    certified, average = np.zeros(len(rules)), np.zeros(len(rules))
    with bar(len(X), "choosing the shrinkage", "row") as done:
        for rows in batches(len(X), 8 * (4 * len(means) + 2 * X.shape[1]), 64 * 2**20):
            Z = (X[rows] - center) @ vectors
            label, at = codes[rows], np.arange(len(Z))
            for g, (coef, intercept, apart) in enumerate(rules):
                scores = Z @ coef.T + intercept
                with np.errstate(divide="ignore", invalid="ignore"):
                    distance = (scores[at, label][:, None] - scores) / apart[label]
                distance[at, label] = np.inf
                lead = np.nan_to_num(distance, nan=0.0, posinf=np.inf, neginf=-np.inf).min(axis=1)
                certified[g] += weights[rows] @ ((lead >= radius) & (lead > 0))
                average[g] += weights[rows] @ np.clip(lead, 0, 2 * radius)
            done.update(len(Z))
    order = np.lexsort((average, certified))
    return float(candidates[order[-1]])


# -- inverses --------------------------------------------------------------------------------------------------------


#: the largest entry of a covariance must lie between this and its inverse: fourth powers of features are taken
SQUARE_LIMIT = 1e100


REMEDY = (
    'Raise shrinkage (for example shrinkage="auto") or reg_covar, use covariance_type="tied", give the class more samples, or '
    "drop features that are constant."
)

ALIKE = "Features or samples that are all alike carry no variance: drop or replace them."
ALONE = (
    'One sample has no covariance: give the class more samples, use covariance_type="tied", which all classes share, or leave '
    "the class out."
)


class RankError(ValueError):
    """A covariance without full rank."""


@dataclass(frozen=True)
class Inverse:
    """Precision, log determinant, and upper bounds of what they may be off by (docs/theory/rounding.md).

    Attributes
    ----------
    precision : ndarray of shape (d, d), or (d,) for a diagonal one
    log_det : float
        Of the covariance.
    log_det_error : float
    units : ndarray of shape (d,)
        D, close to the square roots of the diagonal of P and powers of 2, so that ``D^-1 P D^-1`` is exact and free of units.
    error : float
        rho with ``||D^-1 (S^-1 - P) x|| <= rho ||D^-1 P x||``.
    doubt : float
        Upper bound of ||S^-1 - P||_2.
    size : float
        Upper bound of ||S^-1||_2 and ||P||_2.
    """

    precision: np.ndarray
    log_det: float
    log_det_error: float
    units: np.ndarray
    error: float
    doubt: float
    size: float


@with_threads_for
def invert(covariance: np.ndarray, name: str, n: float | None) -> Inverse:
    """Invert a covariance; one without full rank is an error that says whose it is and what to change.

    Parameters
    ----------
    covariance : ndarray of shape (d, d), or (d,) for a diagonal one
    name : str
        What to call it in the error.
    n : float or None
        Points it was estimated from.
    """
    top = float(np.abs(covariance).max())
    if not (1 / SQUARE_LIMIT < top < SQUARE_LIMIT) and top != 0:
        raise ValueError(
            f"The covariance of {name} has entries of size {top:.3g}: float64 can neither square nor invert that. Rescale the "
            "features first, for example with StandardScaler."
        )
    values = np.sort(covariance) if covariance.ndim == 1 else np.linalg.eigvalsh(covariance)
    d = len(values)
    doubt = 0.0 if covariance.ndim == 1 else gamma(10 * d) * fro(covariance)
    if not values[0] > 4 * doubt:
        rank = int(np.sum(values > 4 * doubt))
        if n is None:
            least = f"smallest {'variance' if covariance.ndim == 1 else 'eigenvalue'} {values[0]:.3g}"
            raise RankError(
                f"The covariance of {name} must be positive definite, got the {least}: correct its numbers, or "
                "raise its diagonal."
            )
        remedy = REMEDY if rank else ALONE if n < 2 else ALIKE
        raise RankError(
            f"The covariance of {name} was estimated from n={n:g} samples in d={d} features and has rank {rank} < {d}: it must "
            f"be positive definite. {remedy}"
        )
    if covariance.ndim == 1:
        logs = np.log(covariance)
        error = (gamma(d + 2) + 2 * UNIT) * float(np.abs(logs).sum())
        size = float(grow(1 / values[0]))
        return Inverse(1 / covariance, float(logs.sum()), error, np.ones(d), 2 * UNIT, 2 * UNIT * size, size)
    factor = np.linalg.cholesky(covariance)
    half = np.tril(linalg.lapack.dpotri(factor, lower=True)[0])
    precision = half + np.tril(half, -1).T
    logs = np.log(np.diag(factor))
    # Cholesky factors S + E with |E_kl| <= gamma sqrt(S_kk S_ll), and |log det(S + E) - log det S| is close to |tr(S^-1 E)|
    scale = np.sqrt(np.diag(covariance))
    log_det_error = 2 * gamma(d + 2) * float(scale @ np.abs(precision) @ scale)
    log_det_error += (gamma(d + 2) + 2 * UNIT) * 2 * float(np.abs(logs).sum())
    units = np.exp2(np.round(np.log2(np.diag(precision)) / 2))
    balanced = precision / np.multiply.outer(units, units)
    rho = inverse_defect(covariance * np.multiply.outer(units, units), balanced)
    size = float(grow(1 / (values[0] - doubt) if values[0] > doubt else np.inf))
    # in balanced units for features of very different scales, in their own for covariances of a rotated kind
    lost = min(rho * spectral(balanced) * units.max() ** 2, inverse_defect(covariance, precision) * size)
    return Inverse(precision, 2 * float(logs.sum()), log_det_error, units, rho, float(grow(lost)), float(grow(size + lost)))
