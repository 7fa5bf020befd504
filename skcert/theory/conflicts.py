"""What no classifier can beat on the points at hand: labels that are too close to each other (theory 3.4)."""

from __future__ import annotations

import math

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from sklearn.utils import check_consistent_length, column_or_1d

from skcert._progress import Count, bar
from skcert.discriminants import batches
from skcert.geometry.rounding import gamma
from skcert.theory import _checks

__all__ = ["empirical_risk_bound"]


def empirical_risk_bound(X, y, *, radius: float, norm: float = 2, confidence: float | None = None) -> float:
    """A lower bound of every classifier's robust risk, from labelled points alone.

    Two points of different classes that are within twice the radius of each other are in conflict: whatever a classifier
    answers half-way between them, one of them is not robust. So the points that are not form a vertex cover of the graph of
    conflicts, and the robust error on these points is at least the size of the smallest one. With two classes that is the
    size of a maximum matching (König); with more it is bounded by half a maximum matching of the bipartite double cover.

    Parameters
    ----------
    X : array-like of shape (n, d)
    y : array-like of shape (n,)
        Classes.
    radius : float
        >= 0, in ``norm`` and the units of X.
    norm : {1, 2, inf}, default=2
    confidence : float, default=None
        None: for these points. In (0, 1): for the population from which they were drawn independently, with this probability.

    Returns
    -------
    risk : float
        In [0, 1]. Only pairs whose distance is certainly at most ``2 radius`` count. With two classes and no ``confidence`` it
        is the optimum: some classifier has no more.

    Notes
    -----
    Time and memory grow with the number of pairs in conflict, up to n^2 / 2.

    References
    ----------
    Theory 3.4.

    Examples
    --------
    >>> from skcert.theory import empirical_risk_bound
    >>> X, y = [[0.0], [1.0], [1.5], [4.0]], [0, 1, 0, 1]
    >>> empirical_risk_bound(X, y, radius=0.2), empirical_risk_bound(X, y, radius=0.25)
    (0.0, 0.25)
    >>> empirical_risk_bound(X, y, radius=1.25)
    0.5
    """
    X, y = _checks.numbers("X", X, 2), column_or_1d(y)
    check_consistent_length(X, y)
    radius, norm = _checks.nonnegative("radius", radius), _checks.check_norm(norm)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        return 0.0
    unit = 2.0 ** -np.round(np.log2(max(np.abs(X).max(), 1e-300)))  # squares neither overflow nor vanish
    order = np.argsort(codes, kind="stable")
    X, starts = X[order] * unit, np.searchsorted(codes[order], np.arange(len(classes) + 1))
    reach = np.float64(2 * radius) * unit
    if len(classes) == 2:
        with bar(starts[1], "looking for conflicts", "row") as done:
            graph = _close(X[: starts[1]], X[starts[1] :], reach, norm, done)
        cover = float(_matching(graph))
    else:
        rows, columns = [], []
        with bar(len(X), "looking for conflicts", "row") as done:
            for i in range(len(classes)):
                own, later = slice(starts[i], starts[i + 1]), starts[i + 1]
                found = _close(X[own], X[later:], reach, norm, done).tocoo()
                rows.append(found.row + starts[i])
                columns.append(found.col + later)
        first, second = np.concatenate(rows), np.concatenate(columns)
        ends = np.concatenate([first, second]), np.concatenate([second, first])
        graph = csr_array((np.ones(2 * len(first), dtype=bool), ends), shape=(len(X), len(X)))
        cover = _matching(graph) / 2
    risk = cover / len(X)
    if confidence is not None:
        risk -= math.sqrt(math.log(1 / (1 - _checks.chance("confidence", confidence))) / (2 * len(X)))
    return max(0.0, risk)


def _matching(graph) -> int:
    """Edges of a maximum matching of a bipartite graph."""
    return int((maximum_bipartite_matching(graph, perm_type="column") >= 0).sum())


def _close(A: np.ndarray, B: np.ndarray, reach: float, norm: float, done: Count) -> csr_array:
    """Which rows of two arrays are certainly within reach of each other, shape (len(A), len(B))."""
    d = A.shape[1]
    slack = 1.0 if _without_rounding(A, B, reach) else 1 + 2 * gamma(d + 6)
    columns, ends = [], [np.zeros(1, dtype=np.int64)]
    center = A.mean(axis=0)
    a, b = A - center, B - center
    sizes = np.einsum("nd,nd->n", b, b)
    with np.errstate(over="ignore"):
        limit = reach**2
    for rows in batches(len(A), 8 * 3 * (len(B) + 1)):
        done.update(rows.stop - rows.start)
        if norm == 2:
            own = np.einsum("nd,nd->n", a[rows], a[rows])[:, None]
            squares = own + sizes - 2 * (a[rows] @ b.T)
            doubt = 2 * gamma(d + 8) * (np.sqrt(own) + np.sqrt(sizes)) ** 2 + 1e-290
            close = squares <= limit * (1 - 1e-12) - doubt
            unclear = ~close & (squares <= limit * (1 + 1e-12) + doubt)
            i, j = np.nonzero(unclear)
            for part in np.array_split(np.arange(len(i)), 1 + len(i) * d // 2**24):
                apart = A[rows][i[part]] - B[j[part]]
                if slack == 1:
                    close[i[part], j[part]] = np.einsum("nd,nd->n", apart, apart) <= limit
                else:
                    size = np.maximum(np.abs(apart).max(axis=1), 1e-300)
                    close[i[part], j[part]] = np.linalg.norm(apart / size[:, None], axis=1) * size * slack <= reach
        else:
            close = np.zeros((rows.stop - rows.start, len(B)), dtype=bool)
            for place, point in enumerate(A[rows]):
                close[place] = np.linalg.norm(B - point, ord=norm, axis=1) * slack <= reach
        columns.append(np.nonzero(close)[1].astype(np.int32))
        ends.append(close.sum(axis=1))
    indices = np.concatenate(columns) if columns else np.zeros(0, dtype=np.int32)
    pointers = np.concatenate(ends).cumsum()
    return csr_array((np.ones(len(indices), dtype=bool), indices, pointers), shape=(len(A), len(B)))


def _without_rounding(A: np.ndarray, B: np.ndarray, reach: float) -> bool:
    """Whether all numbers are small multiples of one power of two, so that distances are compared exactly: ties count."""
    numbers = np.concatenate([A.ravel(), B.ravel(), [reach]]) * 2.0 ** int((48 - math.log2(A.shape[1])) / 2)
    return bool((numbers == np.round(numbers)).all() and np.abs(numbers).max() * math.sqrt(A.shape[1]) < 2.0**25)
