"""What the functions of this folder ask of their arguments, each with the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np

from skcert.perturbations import check_norm as check_norm


def numbers(name: str, value, ndim: int) -> np.ndarray:
    """Finite numbers in an array of so many dimensions."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be an array of numbers, got {array.dtype} of shape {array.shape}.")
    array = array.astype(float)
    if array.ndim != ndim or not array.size:
        raise ValueError(f"{name} must have {ndim} dimension(s) and not be empty, got shape {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinite values.")
    return array


def one_covariance(covariance, name: str = "covariance") -> np.ndarray:
    """A symmetric positive definite matrix."""
    matrix = numbers(name, covariance, 2)
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name} must be square, got shape {matrix.shape}; of variances make numpy.diag(variances).")
    size = np.abs(matrix).max()
    if np.abs(matrix - matrix.T).max() > 1e-8 * size:
        raise ValueError(f"{name} must be symmetric: its largest asymmetry is {np.abs(matrix - matrix.T).max():.3g}.")
    matrix = (matrix + matrix.T) / 2
    try:
        pivots = np.diag(np.linalg.cholesky(matrix)) ** 2
    except np.linalg.LinAlgError:
        pivots = np.zeros(1)
    if not pivots.min() > 1e-14 * size:
        raise ValueError(
            f"{name} must be positive definite, its smallest eigenvalue is {np.linalg.eigvalsh(matrix)[0]:.3g}: shrink it (as "
            "CertifiedGMMClassifier does), or drop the directions without variance."
        )
    return matrix


def weights(priors, n_classes: int) -> np.ndarray:
    """Positive class probabilities of sum 1."""
    array = numbers("priors", priors, 1)
    if len(array) != n_classes:
        raise ValueError(f"priors must hold one number per class, expected {n_classes}, got {len(array)}.")
    if (array <= 0).any() or abs(array.sum() - 1) > 1e-8:
        raise ValueError(f"priors must be positive and sum to 1, got {array.tolist()} of sum {array.sum():g}.")
    return array / array.sum()


def mixture(means, covariances) -> tuple[np.ndarray, np.ndarray]:
    """Means (K, d) and covariances, (d, d) for a shared one or (K, d, d)."""
    means = numbers("means", means, 2)
    K, d = means.shape
    if K < 2:
        raise ValueError(f"means must be of at least 2 classes, got shape {means.shape}.")
    shape = np.shape(covariances)
    if shape == (d, d):
        return means, one_covariance(covariances, "covariances")
    if shape != (K, d, d):
        raise ValueError(
            f"covariances must have shape ({d}, {d}), shared, or ({K}, {d}, {d}), one for each class of means; got {shape}."
        )
    return means, np.stack([one_covariance(each, f"covariances[{k}]") for k, each in enumerate(covariances)])


def shares(name: str, values, n_classes: int) -> np.ndarray:
    """Class probabilities of sum 1, some of which may be 0."""
    array = numbers(name, values, 1)
    if len(array) != n_classes or (array < 0).any() or abs(array.sum() - 1) > 1e-8:
        raise ValueError(
            f"{name} must be {n_classes} probabilities that sum to 1, got {array.tolist()} of sum {array.sum():g}."
        )
    return array / array.sum()


def count(name: str, value, least: int = 1) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}.")
    return int(value)


def slack(covariance: np.ndarray) -> float:
    """Relative error of what is solved with a covariance, or the worst of a stack: by its condition, features in own units."""
    d = covariance.shape[-1]
    scale = np.sqrt(np.einsum("...dd->...d", covariance))
    values = np.linalg.eigvalsh(covariance / (scale[..., :, None] * scale[..., None, :]))
    return float(16 * d * np.finfo(float).eps * (values[..., -1] / np.maximum(values[..., 0], 1e-300)).max())


def chance(name: str, value) -> float:
    """A number in (0, 1)."""
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 < float(value) < 1:
        raise ValueError(f"{name} must be in (0, 1), got {value!r}.")
    return float(value)


def probabilities(name: str, value) -> np.ndarray:
    """Numbers in [0, 1]; sums of probabilities may be above 1 by rounding."""
    array = np.asarray(value, dtype=float)
    if not ((array >= 0) & (array <= 1 + 1e-12)).all():
        raise ValueError(f"{name} must be in [0, 1], got {value!r}.")
    return np.minimum(array, 1.0)


def nonnegative(name: str, value) -> float:
    """A finite number >= 0."""
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= float(value) < np.inf:
        raise ValueError(f"{name} must be a finite number >= 0, got {value!r}.")
    return float(value)


def radii_of(values) -> np.ndarray:
    """Radii >= 0, in one dimension."""
    array = numbers("radii", np.atleast_1d(np.asarray(values)), 1)
    if (array < 0).any():
        raise ValueError(f"radii must be >= 0, got {array.min():g}.")
    return array


def choice(name: str, value, options: Sequence[str]) -> str:
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}.")
    return value
