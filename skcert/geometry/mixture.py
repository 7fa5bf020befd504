"""Distance to a rival of several components (theory 1.6), from below: pure array functions.

Let f_c(r) bound from below, over the ball of radius r, how far a class leads component c of a rival, in units of ``scale``
times the logarithm of a density. The rival's log-sum-exp stays below where ``sum_c exp(-f_c(r) / scale) <= 1``. That is the
best choice of one nu for all components: nu_c = exp(-f_c(r) / scale) gives ``max_nu min_c r_c(nu)``, in this order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skcert.geometry.rounding import TINY, UNIT, gamma, grow, row_norms, shrink

#: tangents taken; each is a Newton step on the square of the radius
MAX_STEPS = 12
#: Newton steps towards the root of a log-sum-exp, and by which shares of it one steps back until the certain side is reached
NEWTONS = 30
BACK = (1e-15, 4e-15, 1e-14, 1e-13, 1e-12, 1e-10, 1e-8, 1e-5, 1e-2)


def farthest(heights: np.ndarray, slopes: np.ndarray, bends: np.ndarray, scale: float) -> np.ndarray:
    """Largest r with ``sum_c exp(-(A_c - B_c r - L_c r^2) / scale) <= 1``.

    Parameters
    ----------
    heights, slopes, bends : ndarrays of shape (n, C)
        A, B >= 0 and L >= 0.
    scale : float

    Returns
    -------
    radius : ndarray of shape (n,)
        From below; 0 where there is none, infinite where nothing bends towards the rival.
    """
    # an exponential errs by a few units, relative to its argument's rounding as well
    limit = np.log1p(-(heights.shape[1] + 16) * 4 * UNIT)

    def excess(r):
        """log sum exp less its limit, and its slope: both increase with r, so that Newton's steps come from above."""
        lost = slopes * r[:, None] + bends * r[:, None] ** 2
        left = (heights - lost - gamma(8) * (np.abs(heights) + lost)) / scale
        top = left.min(axis=1)
        shares = np.exp(top[:, None] - left)
        total = shares.sum(axis=1)
        steep = (shares * (slopes + 2 * bends * r[:, None])).sum(axis=1) / (scale * total)
        return np.log(total) - top - limit, steep

    with np.errstate(all="ignore"):
        alone = 2 * heights / (slopes + np.sqrt(slopes**2 + 4 * bends * np.maximum(heights, 0)))
        alone = np.where(heights > 0, np.where((slopes == 0) & (bends == 0), np.inf, alone), 0.0)
        r = alone.min(axis=1)
        endless = np.isinf(r)
        never = endless & (excess(np.zeros(len(r)))[0] <= 0)
        r = np.where(endless, 0.0, r)
        moving = np.ones(len(r), dtype=bool)  # each row until it is there, whatever rows stand beside it
        for _ in range(NEWTONS):
            value, steep = excess(r)
            step = np.where(moving & (value > 0), value / steep, 0.0)
            r = np.maximum(r - np.nan_to_num(step), 0)
            moving = step > 1e-14 * r
            if not moving.any():
                break
        for back in BACK:
            above = ~(excess(r)[0] <= 0)
            if not above.any():
                break
            r = np.where(above, r * (1 - back), r)
        r = np.where(excess(r)[0] <= 0, r, 0.0)
    return np.where(never, np.inf, np.nan_to_num(r, nan=0.0))


@dataclass(frozen=True)
class Rival:
    """One component of a rival: ``m + 2 h'u + u'Wu`` in coordinates in which W is diagonal, sound for all errors.

    Attributes
    ----------
    margin : ndarray of shape (n,)
        Lower bound of m.
    slopes : ndarray of shape (n, d)
        h.
    values : ndarray of shape (d,) or (n, d)
        Diagonal of W, lowered by its error.
    error : ndarray of shape (n,)
        Upper bound of the l2 error of h.
    """

    margin: np.ndarray
    slopes: np.ndarray
    values: np.ndarray
    error: np.ndarray

    def some(self, rows) -> Rival:
        """The same for these rows."""
        values = self.values if self.values.ndim == 1 else self.values[rows]
        return Rival(self.margin[rows], self.slopes[rows], values, self.error[rows])

    def multiplier(self, radius: np.ndarray, n_steps: int = 8) -> np.ndarray:
        """s with ``||(W - w_min + s)^-1 h|| = r``, or the smallest for which lambda = s - w_min >= 0 and W + lambda >= 0."""
        least = self.values.min(axis=-1)
        gaps = self.values - np.expand_dims(least, -1)
        size, r = np.abs(self.slopes), np.maximum(radius, TINY)[:, None]
        with np.errstate(all="ignore"):
            s = np.maximum((size / r - gaps).max(axis=1), 0)
            floor = np.maximum(np.maximum(least, 0), 1e-15 * np.abs(self.values).max(axis=-1) + TINY)
            s = np.maximum(s, floor)
            moving = np.ones(len(s), dtype=bool)
            for _ in range(n_steps):  # Newton on 1 / ||y||, from below the root, where it is monotone
                last = s
                inverse = 1 / (gaps + s[:, None])
                y = self.slopes * inverse
                square = np.einsum("nd,nd->n", y, y)
                falls = np.einsum("nd,nd,nd->n", y, y, inverse)
                step = square / falls * (np.sqrt(square) / r[:, 0] - 1)
                s = np.where(moving & np.isfinite(step), np.maximum(s + np.maximum(step, 0), floor), s)
                moving &= s > last * (1 + 1e-9)
                if not moving.any():
                    break
        return s

    def tangent(self, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A and L: in a ball of radius r, m + 2 h'u + u'Wu is at least ``A - 2 r error - L r^2``, tight at ``radius``.

        Weak duality: ``-h'(W + lambda)^-1 h - lambda r^2`` for any lambda >= 0 with W + lambda > 0. The subtraction itself may
        round up; :func:`farthest` pays for it. And the s of lambda.
        """
        s = self.multiplier(radius)
        least = self.values.min(axis=-1)
        denominators = self.values - np.expand_dims(least, -1) + s[:, None]
        with np.errstate(all="ignore"):
            depth = (self.slopes**2 / denominators).sum(axis=1)
        # lambda is taken larger by what the denominators may have lost; where it is 0 they are the values to within roundings
        bend = np.where(s == least, 0.0, s - least + 8 * UNIT * (2 * np.abs(self.values).max(axis=-1) + s))
        return self.margin - grow(depth, self.slopes.shape[1] + 16), np.maximum(bend, 0), s

    def worst(self, s: np.ndarray) -> np.ndarray:
        """The point that the tangent touches, u = -(W + lambda)^-1 h."""
        least = self.values.min(axis=-1)
        return -self.slopes / (self.values - np.expand_dims(least, -1) + s[:, None])


def mixture_radius(rivals: list[Rival], scale: float, start: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Radius in which a class leads the log-sum-exp of all these components: tangents of the f_c, taken at the radius so far.

    Parameters
    ----------
    rivals : list of Rival
        All components of one rival class.
    scale : float
        Scores are this many times logarithms of densities.
    start : ndarray of shape (n,)
        Where the first tangents are taken.

    Returns
    -------
    radius : ndarray of shape (n,)
        From below; 0 where nothing is certified.
    nearest : ndarray of int, shape (n,)
        The component that weighs most at this radius.
    s : ndarray of shape (n,)
        Its multiplier.
    """
    n, C = len(start), len(rivals)
    radius, at = np.zeros(n), np.where((start > 0) & np.isfinite(start), start, 1.0)
    heights, bends, s = np.zeros((n, C)), np.zeros((n, C)), np.zeros((n, C))
    errors = 2 * np.stack([rival.error for rival in rivals], axis=1)
    rows = np.arange(n)
    for _ in range(MAX_STEPS):
        for c, rival in enumerate(rivals):
            heights[rows, c], bends[rows, c], s[rows, c] = rival.some(rows).tangent(at[rows])
        found = farthest(heights[rows], errors[rows], bends[rows], scale)
        moved = found > radius[rows] * (1 + 1e-12)
        radius[rows] = np.maximum(radius[rows], found)
        # where tangents from too far out certify nothing, come nearer
        at[rows] = np.where(radius[rows] > 0, radius[rows], at[rows] / 8)
        rows = rows[(moved | (radius[rows] == 0)) & np.isfinite(radius[rows])]
        if not len(rows):
            break
    with np.errstate(all="ignore"):
        reach = np.where(np.isfinite(radius), radius, 0.0)[:, None]
        nearest = (heights - errors * reach - bends * reach**2).argmin(axis=1)
    won = np.stack([rival.margin for rival in rivals], axis=1)
    good = np.isfinite(won).all(axis=1)
    return np.where(good, shrink(radius), 0.0), nearest, s[np.arange(n), nearest]


def eigenbases(W: np.ndarray, extra: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues of every W of a batch, lowered by their errors, the eigenvectors, and the relative error of a row in them.

    The bounds of ``quadric.Eigenbasis``, for many matrices at once; ``extra`` is what each may be off by.
    """
    d = W.shape[1]
    values, V = np.linalg.eigh(W)
    flat = (len(W), d * d)
    gram = np.swapaxes(V, 1, 2) @ V - np.eye(d)
    size = row_norms(V.reshape(flat))
    defect = row_norms(gram.reshape(flat)) + gamma(d + 1) * size**2
    top = np.abs(values).max(axis=1)
    residue = row_norms((W @ V - V * values[:, None]).reshape(flat))
    residue += gamma(d + 2) * (row_norms(W.reshape(flat)) + top) * size
    with np.errstate(divide="ignore", invalid="ignore"):
        error = grow(extra + (2 * defect * top + residue) / (1 - defect))
    error = np.where(defect < 0.5, error, np.inf)
    return values - error[:, None], V, grow(defect + gamma(d + 4) * size)
