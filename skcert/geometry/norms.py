"""Distance in l_1 and l_inf to one quadric, { u : m + 2 g'u + u'Wu <= 0 } with m > 0 (theory 1.5), from below and from above.

Rows are independent problems that share W, a symmetric (d, d) matrix or the (d,) diagonal of one. A radius is sound for every
problem within the stated errors, which cost |e'u| <= ||e||_2 ||u||_2 and |u'Eu| <= ||E||_2 ||u||_2^2, where ||u||_2 is at most
||u||_1 and at most sqrt(d) ||u||_inf. Stopping early costs tightness only.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dposv, dpotrf, dpotri, dpotrs

from skcert.geometry.affine import dual_norms, steepest
from skcert.geometry.products import column_sums, rows_times
from skcert.geometry.quadric import Eigenbasis, Spectrum, closed_form_radius, distance
from skcert.geometry.rounding import TINY, UNIT, fro, gamma, grow, row_norms, shrink

#: numbers in one batch of matrices and in one batch of rows: what stays near the processor
MATRICES, ROWS = 2**16, 2**15
#: to what the eigenvalues of W are raised in l_1, as parts of the most negative one
RAISES = (0.5, 0.3, 0.15, 0.07, 0.03, 0.015, 0.007, 0.003)


# -- what all radii share --------------------------------------------------------------------------------------------


def _checked(margin, slopes, slope_error):
    """The rows as arrays; those with a number that is not finite count as not won."""
    slope_error = np.broadcast_to(slope_error, margin.shape)
    good = np.isfinite(margin) & np.isfinite(slopes).all(axis=1) & np.isfinite(slope_error)
    return np.where(good, margin, 0.0), np.where(good[:, None], slopes, 0.0), np.where(good, slope_error, 0.0)


def _never(margin, slopes, basis: Eigenbasis, slope_error, curvature_error) -> np.ndarray:
    """Rows whose margin stays positive everywhere: W > 0, lowered by its errors, and m > g'W^-1 g, raised by those of g."""
    floor = basis.values - grow(basis.error + curvature_error)
    if not floor[0] > 0:
        return np.zeros(len(margin), dtype=bool)
    h, turned = basis.rotate(slopes)
    depth = np.sqrt((h * h / floor).sum(axis=1)) + (turned + slope_error) / np.sqrt(floor[0])
    return grow(depth, slopes.shape[1] + 24) ** 2 + TINY < shrink(margin)


def _finish(radius, margin, never) -> np.ndarray:
    """Rows that are not won have radius 0, rows out of reach an infinite one, and what is not a number counts for nothing."""
    return np.where(margin > 0, np.where(never, np.inf, np.nan_to_num(radius, nan=0.0, posinf=np.inf)), 0.0)


def _floor(M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Powers of two s, and a proven lower bound of lambda_min(diag(s) M diag(s)) for every M of a batch; 0 if none is proven.

    A computed Cholesky factor is exact for a matrix within gamma_(d+2) tr A of A, and A less twice that must have one.
    """
    d = M.shape[1]
    diagonal = np.einsum("ndd->nd", M)
    s = np.exp2(-np.round(np.log2(np.where(diagonal > 0, diagonal, 1.0)) / 2))
    A = M * s[:, :, None] * s[:, None, :]
    at = np.arange(d)
    low = gamma(d + 6) * A[:, at, at].sum(axis=1)
    A[:, at, at] -= 2 * low[:, None]
    proven = np.isfinite(low) & (diagonal > 0).all(axis=1)
    for k in np.flatnonzero(proven):
        proven[k] = dpotrf(A[k].T, lower=1, clean=0, overwrite_a=1)[1] == 0
    return s, np.where(proven, low, 0.0)


def _remainder(margin, c, y, image, size, s, low) -> np.ndarray:
    """Lower bound of ``m - c'M^-1 c``, or 0, from any y near M^-1 c: c'M^-1 c = y'c + y'rho + rho'M^-1 rho, rho = c - My.

    ``image`` and ``size`` are the computed My and |M||y|, ``s`` and ``low`` are from :func:`_floor`.
    """
    d = c.shape[1]
    rho = c - image
    slip = gamma(d + 6) * (size + np.abs(c))
    wide = np.abs(rho) + slip
    inner = np.abs(y) * (slip + gamma(d + 6) * (np.abs(c) + wide))
    rest = ((s * wide) ** 2).sum(axis=1) / low + inner.sum(axis=1) + d * TINY
    q = (y * c + y * rho + inner).sum(axis=1) + grow(rest, d + 8)
    return np.where((q < margin) & (low > 0), shrink(margin - q), 0.0)


# -- l_inf, diagonal W: exact ----------------------------------------------------------------------------------------


def _bottoms(r, size, w) -> np.ndarray:
    """Where 2 |g| u + w u^2 is least on [-r, 0], as a length: r, or |g| / w where the bottom of the parabola comes first."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(w * r[:, None] > size, np.minimum(size / w, r[:, None]), r[:, None])


def _separable_root(margin, size, w, slope, bend, sign, max_steps=100) -> np.ndarray:
    """An r, as near as rounding allows, where F(r) = m + sum_k min_(|u| <= r) (2 g_k u + w_k u^2) is verified to be positive
    whatever the errors (``sign`` -1), or negative (1).

    F is a parabola until the next coordinate reaches its bottom: the root of the current one is the next r, inside a bracket.
    """
    slack = sign * gamma(size.shape[1] + 12)
    low, high = np.zeros(len(margin)), np.full(len(margin), np.inf)
    with np.errstate(all="ignore"):
        r = margin / (2 * size.sum(axis=1) + np.sqrt(margin * np.maximum(-w, 0).sum()))
        r[~np.isfinite(r) | (r <= 0)] = 1.0
        for k in range(max_steps):
            t = _bottoms(r, size, w)
            free = t >= r[:, None]
            c = margin + np.where(free, 0, t * (w * t - 2 * size)).sum(axis=1)
            c += 2 * slack * (margin + np.where(free, 0, t * (np.abs(w) * t + 2 * size)).sum(axis=1))
            a = 2 * sign * slope - 2 * (1 - 2 * slack) * np.where(free, size, 0).sum(axis=1)
            b = np.where(free, w, 0).sum(axis=1) + 2 * slack * np.where(free, np.abs(w), 0).sum(axis=1) + sign * bend
            value = c + r * (a + r * b) + slack * (np.abs(c) + r * (np.abs(a) + r * np.abs(b)))
            open_ = high * (1 - 4e-14) > low  # each row until it is there, whatever rows stand beside it
            low = np.where(open_ & (value > 0), np.maximum(low, r), low)
            high = np.where(open_ & (value <= 0), np.minimum(high, r), high)
            if not open_.any():
                break
            step = 2 * c / (np.sqrt(np.maximum(a * a - 4 * b * c, 0)) - a)
            step *= np.where(value > 0, 1 + 1e-14, 1 - 1e-14)  # beyond the root, so that the other end moves as well
            middle = np.where(np.isinf(high), low * 8, np.where(low > 0, np.sqrt(low) * np.sqrt(high), high / 8))
            r = np.where((step > low) & (step < high) & (k < 20), step, middle)
    return low if sign < 0 else high


def separable_radius(margin, slopes, curvature, *, slope_error=0.0, curvature_error=0.0) -> np.ndarray:
    """l_inf distance for a diagonal W, exact (theory 1.5): the root of a sum of one-dimensional minima.

    Parameters
    ----------
    margin : ndarray of shape (n,)
        Lower bound of m; rows that are not positive, or contain a NaN, get radius 0.
    slopes : ndarray of shape (n, d)
        Half-slopes g.
    curvature : ndarray of shape (d,)
        Diagonal of W.
    slope_error : float or ndarray of shape (n,)
        Upper bound of the l2 error of the row of ``slopes``.
    curvature_error : float
        Upper bound of the spectral error of W.

    Returns
    -------
    radius : ndarray of shape (n,)
        From below; infinite where the margin stays positive everywhere.
    """
    d = slopes.shape[1]
    margin, slopes, slope_error = _checked(margin, slopes, slope_error)
    never = _never(margin, slopes, Eigenbasis.of(curvature), slope_error, curvature_error)
    at = np.flatnonzero((margin > 0) & ~never)
    wide = grow(np.sqrt(d) * slope_error[at]), grow(d * curvature_error)
    radius = np.zeros(len(margin))
    radius[at] = _separable_root(margin[at], np.abs(slopes[at]), curvature, *wide, -1)
    return _finish(radius, margin, never)


def separable_attack(margin, slopes, curvature, *, slope_error=0.0, curvature_error=0.0) -> tuple[np.ndarray, np.ndarray]:
    """The point that :func:`separable_radius` is about, from above: lengths (n,) and points (n, d).

    ``margin`` is an *upper* bound of m here. Infinite and NaN where no crossing is certain.
    """
    lost = ~(np.isfinite(margin) & np.isfinite(slopes).all(axis=1) & np.isfinite(slope_error))
    margin, slopes, slope_error = _checked(margin, slopes, slope_error)
    wide = grow(np.sqrt(slopes.shape[1]) * slope_error), grow(slopes.shape[1] * curvature_error)
    length = _separable_root(np.maximum(margin, TINY), np.abs(slopes), curvature, *wide, 1)
    lost |= np.isinf(length)
    u = np.where(slopes < 0, 1.0, -1.0) * _bottoms(np.where(lost, 1.0, length), np.abs(slopes), curvature)
    return np.where(lost, np.inf, length), np.where(lost[:, None], np.nan, u)


# -- l_inf, full W ---------------------------------------------------------------------------------------------------


def _raised(W: np.ndarray, D: np.ndarray) -> np.ndarray:
    """W + D for rows of D, with a little more on the diagonal, which :func:`_floor` needs.

    The rounded matrix is *the* matrix from here on: what was added to W is read off it.
    """
    M = np.repeat(W[None], len(D), axis=0)
    at = np.arange(len(W))
    M[:, at, at] += D + 32 * len(W) ** 2 * UNIT * (D + np.abs(W[at, at]))
    return M


def _inverses(M: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """M^-1 c and, in place, the upper triangles of M^-1; NaN where M is not positive definite.

    One matrix after the other: numpy's batched calls stop at the first failure.
    """
    y = np.full_like(c, np.nan)
    for k, a in enumerate(M):
        factor, failed = dpotrf(a.T, lower=1, clean=0, overwrite_a=1)
        if not failed:
            y[k] = dpotrs(factor, c[k], lower=1)[0]
            dpotri(factor, lower=1, overwrite_c=1)
    return y, M


def _climb(margin, slopes, W, D, n_steps) -> tuple[np.ndarray, np.ndarray]:
    """Newton steps on log D for (m - g'(W+D)^-1 g) / tr D, with a barrier for W + D > 0; the best D and its y = (W+D)^-1 g.

    For fixed r the objective g'(W+D)^-1 g + r^2 tr D - mu log det(W+D) is convex in D, with gradient r^2 - y_k^2 - mu B_kk and
    Hessian 2 y_k B_kl y_l + mu B_kl^2, B = (W+D)^-1. r^2 is the best ratio so far; mu falls, fast after full steps.
    """
    n, d = slopes.shape
    at = np.arange(d)
    weight, best, top = np.full(n, 0.3), np.zeros(n), D
    y, B = _inverses(_raised(W, D), slopes)
    found = y.copy()
    for left in range(n_steps, -1, -1):
        ratio = (margin - (slopes * y).sum(axis=1)) / D.sum(axis=1)
        up = ratio > best
        best, top, found = np.where(up, ratio, best), np.where(up[:, None], D, top), np.where(up[:, None], y, found)
        if not left:
            break
        mu = (weight * best * D.mean(axis=1))[:, None]
        gradient = D * (best[:, None] - y * y - mu * np.einsum("ndd->nd", B))
        z, v = np.sqrt(2) * D * y, np.sqrt(mu) * D
        H = v[:, :, None] * v[:, None, :]
        H *= B
        H += z[:, :, None] * z[:, None, :]
        H *= B
        # in log D the second derivative contains the gradient as well: its size keeps the Hessian definite
        H[:, at, at] += np.abs(gradient) + 1e-9 * best[:, None] * D + TINY
        move = np.zeros_like(D)
        for k in range(n):
            _, x, failed = dposv(H[k].T, -gradient[k], lower=1, overwrite_a=1)
            move[k] = 0 if failed else x
        move = np.clip(np.nan_to_num(move), -3, 3)
        rows, D = np.arange(n), D.copy()
        for part, fall in ((1.0, 0.5), (0.5, 0.8), (0.25, 0.8), (0.125, 0.8)):
            trial = D[rows] * np.exp(part * move[rows])
            image, C = _inverses(_raised(W, trial), slopes[rows])
            ok = np.isfinite(image[:, 0])
            done, rows = rows[ok], rows[~ok]
            D[done], y[done], B[done] = trial[ok], image[ok], C[ok]
            weight[done] = np.maximum(fall * weight[done], 1e-7)
            if not len(rows):
                break
    return top, found


def box_radius(margin, slopes, curvature, *, slope_error=0.0, curvature_error=0.0, euclidean=None, n_steps=5) -> np.ndarray:
    """Lower bound of the l_inf distance (theory 1.5): the box in the best of the ellipsoids around it.

    For any diagonal D >= 0 with W + D > 0 and all ||u||_inf <= r, ``m + 2 g'u + u'Wu >= m - g'(W+D)^-1 g - r^2 tr D``: the r
    at which the right side vanishes is certified (Shor's dual, maximised over D).

    Parameters
    ----------
    margin, slopes, slope_error, curvature_error
        As in :func:`separable_radius`, which does the work for a diagonal W.
    curvature : ndarray of shape (d, d) or (d,)
        W, or its diagonal.
    euclidean : ndarray of shape (n,), optional
        Lower bounds of the l_2 distance; ||u||_2 <= sqrt(d) ||u||_inf.
    n_steps : int
        Newton steps on D, each of about two Cholesky factors and an inverse per row.

    Returns
    -------
    radius : ndarray of shape (n,)
        From below, and never below the closed form with kappa_inf or ``euclidean / sqrt(d)``.
    """
    if curvature.ndim == 1:
        return separable_radius(margin, slopes, curvature, slope_error=slope_error, curvature_error=curvature_error)
    d = slopes.shape[1]
    margin, slopes, slope_error = _checked(margin, slopes, slope_error)
    wide, bend = grow(np.sqrt(d) * slope_error), grow(d * curvature_error)
    basis = Eigenbasis.of(curvature)
    low = float(basis.values[0]) - basis.error
    never = _never(margin, slopes, basis, slope_error, curvature_error)
    size, sums = grow(float(np.abs(curvature).sum()), d * d), dual_norms(slopes, np.inf)
    kappa = max(grow(d * min(low, 0.0)), -size, low if low > 0 else -np.inf)
    radius = closed_form_radius(margin, grow(sums + wide), kappa - bend)
    if euclidean is not None:
        radius = np.fmax(radius, shrink(euclidean / np.sqrt(d)))
    rows = np.flatnonzero((margin > 0) & ~never & (sums > 0))
    if not len(rows) or not size > 0:
        return _finish(radius, margin, never)
    # from halfway between the best diagonal for W alone plus |g| / r, which has the root of a closed form, and that of l_2
    flat = np.full((1, d), 1.1 * max(-low, 1e-3 * size / d**2))
    spectrum = Spectrum.of(basis.values)
    with np.errstate(all="ignore"):
        alone = _climb(np.ones(1), np.zeros((1, d)), curvature, flat, 10)[0]
        for at in np.array_split(rows, -(-len(rows) * d * d // MATRICES)):
            m, g = margin[at], slopes[at]
            r = closed_form_radius(m, sums[at], -alone.sum())
            pole = 1 / np.maximum(distance(m, basis.rotate(g)[0], spectrum).s, TINY) + spectrum.pole
            pole = np.clip(pole, 1e-9 * spectrum.size, 1e9 * spectrum.size)[:, None]
            D, y = _climb(m, g, curvature, (alone + np.abs(g) / r[:, None] + pole) / 2, n_steps)
            M = _raised(curvature, D)
            added = np.einsum("ndd->nd", M) - curvature.diagonal()
            image, extent = np.einsum("nde,ne->nd", M, y), np.einsum("nde,ne->nd", np.abs(M), np.abs(y))
            left = np.where((added >= 0).all(axis=1), _remainder(m, g, y, image, extent, *_floor(M)), 0.0)
            found = closed_form_radius(left, wide[at], -grow(grow(added.sum(axis=1), d + 4) + bend))
            radius[at] = np.fmax(radius[at], found)
    return _finish(radius, margin, never)


# -- l_1 -------------------------------------------------------------------------------------------------------------


def _split(margin, g, inverse, p, best, c, n_sweeps) -> tuple[np.ndarray, np.ndarray]:
    """Coordinate descent for c: least c'M^-1 c with 2 r |g_k - c_k| + r^2 p_k <= tau for all k, r the best so far.

    tau rises where y = M^-1 c has ||y||_1 > r and falls where it is shorter: at the optimum they are equal. Arrays are (d, n).
    """
    y, p = np.ascontiguousarray(rows_times(c.T, inverse.T).T), p[:, None]
    tau, pace, last = 0.9 * margin, np.full(len(margin), 0.5), np.zeros(len(margin))
    top, image, record = c.copy(), y.copy(), np.zeros(len(margin))
    for _ in range(n_sweeps):
        room = np.maximum(tau - best * best * p, 0) / (2 * best)
        low, high = g - room, g + room
        for k, row in enumerate(inverse):
            new = np.minimum(np.maximum(c[k] - y[k] / row[k], low[k]), high[k])
            y += np.multiply.outer(row, new - c[k])
            c[k] = new
        e, left = np.abs(g - c), np.maximum(margin - column_sums(c * y), 0)
        r = (left / np.maximum(e + np.sqrt(e * e + p * left), TINY)).min(axis=0)
        up = r > record
        top[:, up], image[:, up], record[up], best = c[:, up], y[:, up], r[up], np.maximum(best, r)
        ratio = np.log(np.maximum(column_sums(np.abs(y)), TINY) / best)
        pace = np.where(ratio * last < 0, pace / 2, pace)
        tau, last = np.clip(tau * np.exp(np.clip(pace * ratio, -1, 1)), best * best * p.min(), margin), ratio
    return np.ascontiguousarray(top.T), np.ascontiguousarray(image.T)


def cross_radius(margin, slopes, curvature, *, slope_error=0.0, curvature_error=0.0, euclidean=None, n_sweeps=5) -> np.ndarray:
    """Lower bound of the l_1 distance (theory 1.5): a convex part, and a concave one whose vertices decide.

    For any c and any M = W + Y with M > 0 and Y >= 0,
    ``m + 2 g'u + u'Wu >= (m - c'M^-1 c) + 2 (g - c)'u - u'Yu``. The right side is concave, hence least at a vertex of
    ||u||_1 <= r: positive if m - c'M^-1 c > 2 r |g_k - c_k| + r^2 Y_kk for every k. M is W with its eigenvalues raised to a
    few b > 0, shared by all rows; c is a quadratic program in a box for every row.

    Parameters
    ----------
    margin, slopes, curvature, slope_error, curvature_error
        As in :func:`box_radius`.
    euclidean : ndarray of shape (n,), optional
        Lower bounds of the l_2 distance; ||u||_2 <= ||u||_1.
    n_sweeps : int
        Sweeps over the coordinates of c for each b.

    Returns
    -------
    radius : ndarray of shape (n,)
        From below, and never below the closed form with kappa_1 or ``euclidean``.
    """
    W = np.diag(curvature) if curvature.ndim == 1 else curvature
    margin, slopes, slope_error = _checked(margin, slopes, slope_error)
    basis = Eigenbasis.of(W)
    low, V = float(basis.values[0]) - basis.error, np.asarray(basis.vectors)
    never = _never(margin, slopes, basis, slope_error, curvature_error)

    def raised(b):
        """M, symmetric to the last bit, and the diagonal of Y, increased until Y >= 0 is certain."""
        M = (V * np.maximum(basis.values, b)) @ V.T
        M = (M + M.T) / 2
        below = Eigenbasis.of(M - W, UNIT * fro(M - W))
        return M, grow(np.maximum((M - W).diagonal() + max(below.error - float(below.values[0]), 0.0), 0.0))

    M, p = raised(0.0)
    below = Eigenbasis.of(M)
    negative = grow(float(p.max()) + max(below.error - float(below.values[0]), 0.0))
    kappa = max(min(low, 0.0), -float(np.abs(W).max()), -negative, shrink(low / len(W)) if low > 0 else -np.inf)
    steep = dual_norms(slopes, 1)
    radius = closed_form_radius(margin, grow(steep + slope_error), kappa - grow(curvature_error))
    if euclidean is not None:
        radius = np.fmax(radius, euclidean)
    rows = np.flatnonzero((margin > 0) & ~never & (steep > 0))
    scale = max(-low, 1e-6 * float(np.abs(basis.values).max()))
    if not len(rows) or not scale > 0:
        return _finish(radius, margin, never)
    c = np.zeros((len(rows), len(W)))
    for b in scale * np.array(RAISES):
        M, p = raised(b)
        proof = _floor(M[None])
        if not proof[1][0] > 0:
            continue
        inverse = np.linalg.inv(M)
        for k in np.array_split(np.arange(len(rows)), -(-c.size // ROWS)):
            at = rows[k]
            m, g, best = margin[at], slopes[at], np.clip(radius[at], 1e-150, 1e150)
            with np.errstate(all="ignore"):
                c[k], y = _split(m, np.ascontiguousarray(g.T), inverse, p, best, np.ascontiguousarray(c[k].T), n_sweeps)
                left = _remainder(m, c[k], y, rows_times(y, M), rows_times(np.abs(y), np.abs(M)), *proof)
                rest = grow(grow(np.abs(g - c[k])) + slope_error[at, None])
                found = closed_form_radius(left[:, None], rest, -grow(p + curvature_error)).min(axis=1)
            radius[at] = np.fmax(radius[at], found)
    return _finish(radius, margin, never)


# -- attacks ---------------------------------------------------------------------------------------------------------


def _shortened(u: np.ndarray, length: np.ndarray, norm: float) -> np.ndarray:
    """Rows projected (in l_2) on the ball of that norm and length."""
    if norm == np.inf:
        return np.clip(u, -length[:, None], length[:, None])
    if norm == 2:
        return u * np.minimum(1, length / np.maximum(row_norms(u), TINY))[:, None]
    size = np.abs(u)
    sums = np.cumsum(-np.sort(-size, axis=1), axis=1) - length[:, None]
    level = np.maximum((sums / np.arange(1, u.shape[1] + 1)).max(axis=1), 0)
    return np.sign(u) * np.maximum(size - level[:, None], 0)


def _crossing(u, data, W, size, norm) -> tuple[np.ndarray, np.ndarray]:
    """Rows stretched until the margin is negative whatever the errors and the rounding, and their lengths."""
    margin, slopes, slope_error, curvature_error = data
    d = u.shape[1]
    u = u / np.abs(u).max(axis=1, keepdims=True)  # so that no square below underflows; NaN for a ray that is 0
    long = row_norms(u)
    a = (slopes * u).sum(axis=1) + slope_error * long + gamma(d + 8) * (np.abs(slopes) * np.abs(u)).sum(axis=1)
    b = (u * (u * W if W.ndim == 1 else rows_times(u, W))).sum(axis=1)
    b += long**2 * (curvature_error + gamma(3 * d + 8) * np.sqrt(d) * size)
    inside = a * a - b * margin - gamma(8) * (a * a + np.abs(b) * margin)
    t = np.where(inside >= 0, margin / (np.sqrt(np.maximum(inside, 0)) - a), np.nan)
    point = u * np.where((t > 0) & np.isfinite(t), grow(t, 32), np.nan)[:, None]
    length = grow(np.linalg.norm(point, ord=norm, axis=1), d + 4)
    return point, np.where(np.isfinite(length), length, np.inf)


#: trials of every step of a descent, and bytes of those that are made together
TRIALS, TOGETHER = 4, 4 * 2**20


def descent_attack(
    margin, slopes, curvature, norm, *, slope_error=0.0, curvature_error=0.0, starts=None, n_steps=20
) -> tuple[np.ndarray, np.ndarray]:
    """Short points across the quadric, from above: lengths (n,) in the l_1, l_2 or l_inf norm, and points (n, d).

    From a point on the boundary, towards the steepest direction of the margin's gradient there and along the gradient itself,
    within the ball of its length, then along the ray to the boundary: the shortest goes on.

    Parameters
    ----------
    margin : ndarray of shape (n,)
        *Upper* bound of m.
    slopes, curvature, slope_error, curvature_error
        As in :func:`box_radius`; a point counts only if the margin is negative there whatever the errors.
    norm : {1, 2, inf}
        Norm to be short in.
    starts : list of ndarrays of shape (n, d), optional
        Directions to start from besides the steepest ones and the lowest eigenvector.
    n_steps : int
        Steps from every start.

    Returns
    -------
    lengths, points : ndarrays of shape (n,) and (n, d)
        Infinite and NaN where no crossing was found.
    """
    n, d = slopes.shape
    values, vectors = (curvature, np.eye(d)) if curvature.ndim == 1 else np.linalg.eigh(curvature)
    size, v = float(np.abs(values).max()), vectors[:, values.argmin()]
    spread = np.where(v < 0, -1.0, 1.0)
    rays = [np.tile(x, (n, 1)) for x in (v, -v, spread, -spread)]
    bottom = -(slopes @ vectors / np.maximum(np.abs(values), 1e-12 * (size or 1.0))) @ vectors.T  # for W > 0 where m is least
    rays += [bottom, *(steepest(slopes, p) for p in {norm, 2.0}), *(starts or [])]
    everything = np.maximum(margin, TINY), slopes, np.broadcast_to(slope_error, (n,)), np.broadcast_to(curvature_error, (n,))
    length, points = np.full(n, np.inf), np.full((n, d), np.nan)
    some = max(1, TOGETHER // (8 * len(rays) * TRIALS * d))
    for rows in (slice(start, start + some) for start in range(0, n, some)):
        data = tuple(np.concatenate([x[rows]] * len(rays)) for x in everything)
        with np.errstate(all="ignore"):
            found = _descended(np.concatenate([ray[rows] for ray in rays]), data, curvature, size, norm, n_steps)
        long, ends = found[0].reshape(len(rays), -1), found[1].reshape(len(rays), -1, d)
        first = long.argmin(axis=0), np.arange(long.shape[1])
        length[rows], points[rows] = long[first], ends[first]
    points[np.isinf(length)] = np.nan
    return length, points


def _descended(rays, everything, curvature, size, norm, n_steps) -> tuple[np.ndarray, np.ndarray]:
    """From where rays, shape (m, d), cross, to a shorter crossing: lengths, infinite where there is none, and points."""
    points, lengths = _crossing(rays, everything, curvature, size, norm)
    rows = np.flatnonzero(np.isfinite(lengths))
    u, long, data = points[rows], lengths[rows], tuple(x[rows] for x in everything)
    of_trials = tuple(np.concatenate([x] * TRIALS) for x in data)
    pace = np.minimum(1 / max(size, TINY), 10 * row_norms(u) / row_norms(data[1]))
    for _ in range(n_steps if len(rows) else 0):
        slope = data[1] + (u * curvature if curvature.ndim == 1 else rows_times(u, curvature))
        corner = steepest(slope, norm) * long[:, None]
        trials = [u + f * (corner - u) for f in (1.0, 0.3, 0.1)] + [_shortened(u - pace[:, None] * slope, long, norm)]
        ends, reach = _crossing(np.concatenate(trials), of_trials, curvature, size, norm)
        ends, reach = (
            np.concatenate([u, ends]).reshape(TRIALS + 1, *u.shape),
            np.concatenate([long, reach]).reshape(TRIALS + 1, -1),
        )
        pace *= np.where(reach[-1] < long, 1.7, 0.4)  # the last trial is the one along the gradient
        first = reach.argmin(axis=0), np.arange(len(rows))
        u, long = ends[first], reach[first]
    points[rows], lengths[rows] = u, long
    return lengths, points
