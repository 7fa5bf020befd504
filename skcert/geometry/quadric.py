"""Distance from a point to one quadric, { u : m + 2 g'u + u'Wu <= 0 } with m > 0 (theory 1.1 to 1.3).

Rows are independent problems. Every radius here is a lower bound of the distance and every ``attack`` an upper one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skcert.geometry.products import rows_times
from skcert.geometry.rounding import UNIT, fro, gamma, grow, orthogonality_defect, row_norms, shrink

#: relative primal-dual gap at which the iteration stops
GAP = 1e-10
#: more steps than any spectrum met so far needs by an order of magnitude; stopping early is sound, only looser
MAX_STEPS = 80


# -- closed forms ----------------------------------------------------------------------------------------------------


def closed_form_radius(margin: np.ndarray, slope: np.ndarray, curvature: np.ndarray) -> np.ndarray:
    """First root of ``m - 2 c r + lam r^2``, with c >= ||g|| and lam <= lambda_min(W); infinite where it has none.

    With the numbers of one rival this is theory 1.2 (``method="pairwise"``); with the smallest margin, the largest slope and
    ``min(lam, 0)`` over all rivals it is Theorem 4.1 of arXiv 2605.25352 (theory 1.1, ``method="paper"``).

    Parameters
    ----------
    margin, slope, curvature : ndarrays that broadcast
        Lower bound of m, upper bound of c, lower bound of lam. A margin that is not positive has radius 0.

    Returns
    -------
    radius : ndarray
        Rounded down.
    """
    margin, slope, curvature = np.broadcast_arrays(margin, slope, curvature)
    won = margin > 0
    bend = curvature * margin
    # c^2 - lam m suffers cancellation when lam > 0: give up its rounding error, in the direction of a smaller radius.
    inside = slope**2 - bend + gamma(4) * (slope**2 + np.abs(bend))
    with np.errstate(divide="ignore", invalid="ignore"):
        radius = shrink(margin / (slope + np.sqrt(np.maximum(inside, 0))))
    return np.where(won, np.where(inside < 0, np.inf, radius), 0.0)


def straight_attack(margin: np.ndarray, slope: np.ndarray, curvature: np.ndarray) -> np.ndarray:
    """Length at which walking along -g has certainly crossed, with m and lambda_max(W) from above, c from below.

    Infinite where nothing is known. The mirror image of :func:`closed_form_radius`.
    """
    margin, slope, curvature = np.broadcast_arrays(margin, slope, curvature)
    bend = curvature * margin
    inside = slope**2 - bend - gamma(4) * (slope**2 + np.abs(bend))
    with np.errstate(divide="ignore", invalid="ignore"):
        length = grow(margin / (slope + np.sqrt(np.maximum(inside, 0))))
    return np.where((inside < 0) | ~np.isfinite(length), np.inf, length)


# -- eigenbases -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Eigenbasis:
    """Computed eigenvectors V and eigenvalues w of a symmetric W, with ``Q'WQ`` within ``error`` of diag(w).

    Q is the orthogonal factor of V; ``defect`` bounds ||V'V - I||. With R = WV - V diag(w), the distance is at most
    ``(2 defect ||w|| + ||R||) / (1 - defect)`` (docs/theory/rounding.md). ``extra`` adds what W itself may be off by.
    """

    values: np.ndarray
    vectors: np.ndarray | None
    order: np.ndarray | None
    defect: float
    error: float

    @classmethod
    def of(cls, W: np.ndarray, extra: float = 0.0) -> Eigenbasis:
        if W.ndim == 1:
            order = np.argsort(W, kind="stable")
            return cls(W[order], None, order, 0.0, extra + 2 * UNIT * float(np.abs(W).max()))
        values, vectors = np.linalg.eigh(W)
        defect = orthogonality_defect(vectors)
        top = float(np.abs(values).max())
        residue = fro(W @ vectors - vectors * values) + gamma(len(W) + 2) * (fro(W) + top) * fro(vectors)
        return cls(values, vectors, None, defect, grow(extra + (2 * defect * top + residue) / (1 - defect)))

    @cached_property
    def turn(self) -> float:
        """Relative l2 error of a row that :meth:`rotate` returns."""
        if self.vectors is None:
            return 0.0
        return float(grow(self.defect + gamma(len(self.values) + 4) * fro(self.vectors)))

    @property
    def negated(self) -> np.ndarray:
        """Eigenvalues of -W in ascending order."""
        return -self.values[::-1]

    def rotate(self, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows in the eigenbasis, and bounds of their l2 errors."""
        if self.vectors is None:
            return g[:, self.order], np.zeros(len(g))
        return rows_times(g, self.vectors), grow(self.turn * row_norms(g))

    def unrotate(self, y: np.ndarray) -> np.ndarray:
        """Back from the eigenbasis."""
        if self.vectors is None:
            back = np.empty_like(y)
            back[:, self.order] = y
            return back
        return y @ self.vectors.T


# -- the dual (theory 1.3) -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of one curvature for all rows, ascending, with a coarse copy of them in bins; or of one for each row.

    ``bottom`` is w_min, in column ``lowest``; ``pole`` is a = max(-w_min, 0) and ``gaps`` are w + a >= 0, so that no
    denominator below ever cancels.
    """

    values: np.ndarray
    lowest: Any
    bottom: Any
    pole: Any
    gaps: np.ndarray
    starts: np.ndarray | None = None
    coarse_gaps: np.ndarray | None = None

    @classmethod
    def of(cls, values: np.ndarray) -> Spectrum:
        """Of eigenvalues in ascending order, shape (d,)."""
        bottom = float(values[0])
        pole = max(-bottom, 0.0)
        gaps = values + pole
        starts = _bins(gaps)
        sizes = np.diff(np.append(starts, len(gaps)))
        return cls(values, 0, bottom, pole, gaps, starts, np.add.reduceat(gaps, starts) / sizes)

    @classmethod
    def of_rows(cls, values: np.ndarray) -> Spectrum:
        """Of eigenvalues in any order, one curvature for each row, shape (n, d)."""
        lowest = values.argmin(axis=1)
        bottom = np.take_along_axis(values, lowest[:, None], axis=1)[:, 0]
        pole = np.maximum(-bottom, 0.0)
        return cls(values, lowest, bottom, pole, values + pole[:, None])

    @property
    def size(self) -> float:
        """Upper bound of the spectral norm of the one curvature."""
        return float(max(-self.values[0], self.values[-1], 0.0))

    def first(self, slopes: np.ndarray) -> np.ndarray:
        """Sizes of the slopes along the eigenvector of w_min."""
        return np.abs(slopes[np.arange(len(slopes)), self.lowest])


def _bins(gaps: np.ndarray, n_bins: int = 32, alone: int = 4) -> np.ndarray:
    """Where bins start: the lowest eigenvalues alone (they decide near the pole), the others by powers of their gap."""
    if len(gaps) <= n_bins:
        return np.arange(len(gaps))
    tail = gaps[alone:]
    low = max(tail[0], tail[-1] * 1e-12, np.finfo(float).tiny)
    edges = np.geomspace(low, max(tail[-1], low), n_bins - alone)
    starts = np.append(np.arange(alone + 1), alone + np.searchsorted(tail, edges[:-1]))
    return np.unique(starts[starts < len(gaps)])


@dataclass(frozen=True)
class Distance:
    """A lower and an upper bound of the distance, and the multiplier that gave them.

    ``s`` is t / (1 - a t), with t the multiplier of theory 1.3: it maps [0, t_max) to [0, inf) and 1 + t w to
    (1 + s (w + a)) / (1 + a s), all of whose terms are positive.
    """

    radius: np.ndarray
    attack: np.ndarray
    s: np.ndarray


def distance(
    margin: np.ndarray,
    slopes: np.ndarray,
    spectrum: Spectrum,
    *,
    margin_error: np.ndarray | float = 0.0,
    slope_error: np.ndarray | float = 0.0,
    curvature_error: float = 0.0,
    cutoff: np.ndarray | None = None,
) -> Distance:
    """Exact l2 distance to the quadric, from the dual (theory 1.3), sound for every problem within the stated errors.

    Parameters
    ----------
    margin : ndarray of shape (n,)
        Lower bound of m; rows that are not positive get radius 0.
    slopes : ndarray of shape (n, d)
        h = V'g, half-slopes in the eigenbasis of W.
    spectrum : Spectrum
        Of W, *lowered* by ``curvature_error``.
    margin_error : ndarray of shape (n,)
        The true margin is at most ``margin + margin_error`` (only the attack needs it).
    slope_error : ndarray of shape (n,)
        Upper bound of the l2 error of the row of ``slopes``.
    curvature_error : float
        The true W is at most ``spectrum`` plus twice this.
    cutoff : ndarray of shape (n,), optional
        Rows whose radius is known to exceed it are left where they are: they are not the nearest rival.

    Returns
    -------
    Distance
        ``radius <= distance <= attack``; where the problem is solved their relative gap is below ``GAP`` plus the errors.

    Notes
    -----
    Weak duality: ``sqrt(dual(t))`` is a lower bound at *any* t in [0, t_max), so neither early stopping nor an inexact t can
    make it too large; only the rounding in evaluating the dual must be taken off, and a perturbation of length at most r0
    in the data (m, g) takes off ``t (dm + 2 r0 dg)``. Stopped at r0, the bound ``min(r0, .)`` holds whatever r0 is.
    """
    n, d = slopes.shape
    squares = slopes * slopes
    s = _start(margin, squares, spectrum, cutoff)
    first = spectrum.first(slopes)
    s, t0, t1, _ = _iterate(margin, squares, s, spectrum.gaps, spectrum.pole, first, cutoff)
    slope_error = np.broadcast_to(slope_error, (n,))

    a = spectrum.pole
    t = s / (1 + a * s)
    with np.errstate(invalid="ignore", over="ignore"):
        nominal = np.sqrt(np.maximum(t * (margin - s * t0), 0))
        paid = 2 * nominal * slope_error + gamma(d + 16) * (margin + s * t0)
        safe = np.sqrt(np.maximum(t * (margin - s * t0 - paid), 0))
    radius = shrink(np.minimum(nominal, safe), 16)
    radius[~(margin > 0) | np.isnan(radius)] = 0.0
    never = (margin > 0) & _out_of_reach(margin, squares, slope_error, spectrum)
    radius[never] = np.inf

    top = np.maximum(margin, 0) + margin_error
    nearly = _attack_length(top, first, s, t0, t1, a)[0]
    attack = np.full(n, np.inf)
    for room in (1.001, 1.1, 2.0):  # errors grow with the length: it must be the length they were taken at, or less
        with np.errstate(invalid="ignore", over="ignore"):
            reach = room * nearly
            worst = top + 2 * reach * (slope_error + reach * curvature_error)
            worst += gamma(d + 16) * (worst + s * t0 + s * (1 + a * s) * t1)
        found = grow(_attack_length(worst, first, s, t0, t1, a)[0], 16)
        attack = np.minimum(attack, np.where(found <= reach, found, np.inf))
        if np.isfinite(attack).all():
            break
    attack[never] = np.inf
    return Distance(np.minimum(radius, attack), attack, s)


def attack_coordinates(margin: np.ndarray, slopes: np.ndarray, spectrum: Spectrum, s: np.ndarray) -> np.ndarray:
    """The primal point of theory 1.3 in the eigenbasis, on the boundary: y = -t (I + tW)^-1 h, lengthened to reach it.

    Along its own ray, or in the hard case along the eigenvector of w_min, whichever is shorter. Rows of NaN where there is
    no way across.
    """
    squares = slopes * slopes
    t0, t1, _ = _sums(squares, s, spectrum.gaps)
    length, stretch, beta = _attack_length(margin, spectrum.first(slopes), s, t0, t1, spectrum.pole)
    reached = np.isfinite(length)
    stretch, beta = np.where(reached, stretch, np.nan), np.where(reached, beta, np.nan)
    y = -slopes * (s * stretch)[:, None] / (1 + s[:, None] * spectrum.gaps)
    lowest = np.arange(len(slopes)), spectrum.lowest
    y[lowest] -= np.where(slopes[lowest] >= 0, beta, -beta)
    return y


def _sums(squares: np.ndarray, s: np.ndarray, gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """T_p = sum_k h_k^2 / D_k^(p+1) for p = 0, 1, 2, D = 1 + s (w + a) >= 1: everything the dual and its derivatives need."""
    inverse = s[:, None] * gaps
    inverse += 1
    np.reciprocal(inverse, out=inverse)
    weighted = squares * inverse
    t0 = weighted.sum(axis=1)
    t1 = np.einsum("nd,nd->n", weighted, inverse)
    weighted *= inverse
    return t0, t1, np.einsum("nd,nd->n", weighted, inverse)


def _iterate(margin, squares, s, gaps, pole, first, cutoff=None, rough=0.0, max_steps=MAX_STEPS):
    """Newton on log(psi) against log(s), psi = m - dual' = s (T0 + (1 + a s) T1), inside a bracket.

    psi is the power s^1 for a flat boundary and s^2 near the pole, where the logarithms are straight lines: the same few
    steps serve both. Rows stop at a relative primal-dual gap, or when their dual passes the cutoff; with ``rough`` once psi is
    that close to m.
    """
    n = len(s)
    s = s.copy()
    low, high = np.zeros(n), np.full(n, np.inf)
    # beyond this s every denominator has left 1 behind: the hard case, or a rival that cannot win
    nearest = np.where(gaps > 0, gaps, np.inf).min(axis=-1)
    end = np.broadcast_to(1e18 / np.maximum(np.maximum(pole, np.where(np.isfinite(nearest), nearest, 0.0)), 1e-280), n)
    pole = np.broadcast_to(pole, n)
    out = [np.zeros(n), np.zeros(n), np.zeros(n)]
    open_ = (margin > 0) & (squares.max(axis=1, initial=0) > 0)
    rows, idle = np.flatnonzero(open_), np.flatnonzero(~open_)
    if len(idle):  # h = 0: only the hard case can reach the boundary, and it does so at the pole
        with np.errstate(divide="ignore"):
            s[idle] = np.where(pole[idle] > 0, 1e17 / pole[idle], 0.0)
    own = gaps.ndim == 2  # every row has its own
    dense = len(rows) == n
    m, h2 = (margin, squares) if dense else (margin[rows], squares[rows])
    a, w = pole[rows], gaps[rows] if own and not dense else gaps
    for _ in range(max_steps):
        if not len(rows):
            break
        z = s[rows]
        t0, t1, t2 = _sums(h2, z, w)
        for store, value in zip(out, (t0, t1, t2), strict=True):
            store[rows] = value
        bent = 1 + a * z
        psi = z * (t0 + bent * t1)
        if rough:
            done = np.abs(psi - m) <= rough * m
        else:
            lower = np.maximum(z / bent * (m - z * t0), 0)
            done = _attack_length(m, first[rows], z, t0, t1, a)[0] <= (1 + GAP) * np.sqrt(lower)
            if cutoff is not None:
                done |= lower > cutoff[rows] ** 2
        below = psi < m
        low[rows] = np.where(below, z, low[rows])
        high[rows] = np.where(below, high[rows], z)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            power = 2 * z * bent * t2 / psi
            move = np.exp(np.clip(np.log(m / psi) / power, -30, 30))
            step = z * move
        lo, hi = low[rows], high[rows]
        bad = ~((step > lo) & (step < hi))
        middle = np.where(np.isinf(hi), lo * 1e3, np.where(lo > 0, np.sqrt(lo) * np.sqrt(hi), hi * 1e-3))
        step = np.minimum(np.where(bad, middle, step), end[rows])
        done |= (np.abs(step - z) <= 4e-16 * z) | ~np.isfinite(step)
        s[rows] = np.where(done, z, step)
        if done.any():
            keep = ~done
            rows, m, h2, a = rows[keep], m[keep], h2[keep], a[keep]
            w = w[keep] if own else w
    if len(rows):  # out of steps: the sums must belong to the s that is returned
        for store, value in zip(out, _sums(h2, s[rows], w), strict=True):
            store[rows] = value
    return s, *out


def _start(margin, squares, spectrum, cutoff):
    """The multiplier of the binned problem: a few dozen numbers per row instead of d."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        s = margin / (2 * squares.sum(axis=1))
    s[~(np.isfinite(s) & (s > 0))] = 1.0
    if spectrum.starts is None or len(spectrum.starts) == squares.shape[1]:
        return s
    coarse = np.add.reduceat(squares, spectrum.starts, axis=1)
    first = np.sqrt(squares[:, 0])
    return _iterate(margin, coarse, s, spectrum.coarse_gaps, spectrum.pole, first, rough=1e-3, max_steps=12)[0]


def _attack_length(m, first, s, t0, t1, pole):
    """Length of the shorter of two feasible points built from u(t): along its ray, or along the lowest eigenvector.

    Returns (length, stretch of u(t), extra length along the eigenvector); infinite where neither reaches the boundary.
    """
    bent = 1 + pole * s
    linear, square = s * t0, s * bent * t1  # -g'u and ||u||^2 / t at u = u(t)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        inside = linear**2 - (linear - square) * m
        stretch = m / (linear + np.sqrt(np.maximum(inside, 0)))
        ray = np.where((inside >= 0) & np.isfinite(inside) & (linear > 0), s * np.sqrt(t1) * stretch, np.inf)
        rest = m - linear - square  # dual'(t), the margin still left at u(t)
        pull = first * bent
        root = np.sqrt(pull**2 + pole * rest)
        beta = rest / (pull + root)
        side = np.sqrt(s * s * t1 + 2 * beta * s * first + beta**2)
    side = np.where((rest > 0) & (pole > 0) & np.isfinite(root) & np.isfinite(side), side, np.inf)
    ray = np.where(np.isnan(ray), np.inf, ray)
    along = ray <= side
    return np.where(along, ray, side), np.where(along, stretch, 1.0), np.where(along, 0.0, beta)


def _out_of_reach(margin, squares, slope_error, spectrum):
    """Rows on which the margin stays positive everywhere: W > 0 and m > max over u of -(2 g'u + u'Wu) = g'W^-1 g."""
    bowl = np.broadcast_to(spectrum.bottom > 0, len(margin))
    if not bowl.any():
        return np.zeros(len(margin), dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):  # of rows that are no bowls
        depth = np.sqrt((squares / spectrum.values).sum(axis=1)) + slope_error / np.sqrt(spectrum.bottom)
    return bowl & (grow(depth, squares.shape[1] + 16) ** 2 < shrink(margin))
