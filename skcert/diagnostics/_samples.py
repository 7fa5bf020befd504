"""Points by class, and whitened: what the tests and the estimates of this folder start from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d

from skcert.theory import _checks

#: columns or classes named in a message, before "and so many more"
NAMED = 5


class Sample(NamedTuple):
    """The points of one class, or all points.

    Attributes
    ----------
    name : str
        For errors.
    points : ndarray of shape (n, d), float64
    eps : float
        Relative rounding of the numbers as they were given.
    """

    name: str
    points: np.ndarray
    eps: float


class Whitened(NamedTuple):
    """Points of mean 0 and covariance I (divisor n).

    Attributes
    ----------
    points : ndarray of shape (n, d)
    log_volume : float
        Logarithm of the volume of what became the unit cube: half the log determinant of the covariance.
    """

    points: np.ndarray
    log_volume: float


def sample(X) -> Sample:
    """All points, checked."""
    given = np.asarray(X)
    eps = np.finfo(given.dtype).eps if given.dtype.kind == "f" else np.finfo(float).eps
    return Sample("X", _checks.numbers("X", given, 2), max(float(eps), float(np.finfo(float).eps)))


def by_class(everything: Sample, y) -> tuple[np.ndarray, np.ndarray, list[Sample]]:
    """The classes, the position of each label in them, and the points of each."""
    y = column_or_1d(y)
    check_consistent_length(everything.points, y)
    classes, codes = np.unique(y, return_inverse=True)
    each = [
        Sample(f"class {label!r}", everything.points[codes == k], everything.eps) for k, label in enumerate(classes.tolist())
    ]
    return classes, codes, each


def whitened(given: Sample) -> Whitened:
    """Invert the covariance of a sample, or say what keeps it from that.

    By a QR factorisation of the centred and scaled points, which neither forms the covariance nor loses its digits.
    """
    name, points, eps = given
    n, d = points.shape
    if n < max(d + 2, 4):
        raise ValueError(
            f"{name} has n={n} points in d={d} dimensions: at least {max(d + 2, 4)} are needed. With n <= d the covariance is "
            "singular, with n = d + 1 all Mahalanobis distances are equal whatever the law. Take more points, or project to "
            "fewer dimensions first, say with PCA."
        )
    centred = points - points.mean(axis=0)
    scale = np.sqrt((centred**2).mean(axis=0))
    size = np.abs(points).max(axis=0)
    constant = np.flatnonzero(scale <= 4 * eps * size)
    if constant.size:
        raise ValueError(
            f"{name} is constant in {columns(constant)}, so that its covariance is singular: drop these columns "
            "(VarianceThreshold), or project first, say with PCA."
        )
    Q, R = np.linalg.qr(centred / scale)
    _, values, directions = np.linalg.svd(R)
    if values[-1] <= (4 * eps * (1 + (size / scale).max()) + d * np.finfo(float).eps) * np.sqrt(n):
        involved = np.flatnonzero(np.abs(directions[-1]) > 0.1 * np.abs(directions[-1]).max())
        raise ValueError(
            f"{name} lies in a subspace: a linear combination of {columns(involved)} is constant, so that its covariance is "
            "singular. Drop a collinear column, or project first, say with PCA of fewer components."
        )
    return Whitened(Q * np.sqrt(n), float(np.log(scale).sum() + np.log(np.abs(np.diag(R))).sum() - d / 2 * np.log(n)))


def columns(indices) -> str:
    """ "column 3", "columns 0, 1, 2, 3, 4 and 7 more"."""
    return ("column " if len(indices) == 1 else "columns ") + some([str(each) for each in indices])


def some(names: list[str]) -> str:
    """A list for a message, cut short."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
