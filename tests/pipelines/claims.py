"""What a certificate claims about an estimator, checked against its ``predict`` and its scores alone."""

import warnings

import numpy as np
import pandas as pd

from skcert import certify

DUAL = {1: np.inf, 2: 2, np.inf: 1}


class Cells:
    """Rows of an array or a frame whose numeric cells can be moved."""

    def __init__(self, points, fixed=()):
        self.points, self.frame = points, isinstance(points, pd.DataFrame)
        names = list(points.columns) if self.frame else list(range(np.shape(points)[1]))
        self.moving = [at for at, name in enumerate(names) if name not in fixed]
        self.names = names
        columns = [points[name] if self.frame else points[:, name] for name in names]
        self.values = np.column_stack(
            [np.asarray(c, dtype=float) if at in self.moving else np.zeros(len(points)) for at, c in enumerate(columns)]
        )
        self.may = np.isin(np.arange(len(names)), self.moving) & ~np.isnan(self.values)

    def moved(self, moves):
        """The rows after every one of these moves, shape (m, n, d), in the container of the points."""
        m, n, d = moves.shape
        values = (self.values + moves).reshape(-1, d)
        if not self.frame:
            return values
        rows = self.points.iloc[np.tile(np.arange(n), m)].reset_index(drop=True)
        return rows.assign(**{self.names[at]: values[:, at] for at in self.moving})

    def numbers(self, like):
        """Cells of such a container as numbers."""
        return Cells(like, [name for at, name in enumerate(self.names) if at not in self.moving]).values


def directions(cells, certificate, others, norm, scale, rng, n_random=8):
    """Moves, not yet of any length: towards the attack and other points, at random, along axes and corners."""
    n, d = cells.values.shape
    attack = np.nan_to_num(cells.numbers(certificate.attack) - np.nan_to_num(cells.values))
    attack = np.where(np.isfinite(certificate.attack_radius)[:, None], attack, 0.0)
    random = rng.standard_normal((n_random, n, d)) * scale
    moves = [attack[None], np.nan_to_num(np.asarray(others)[:, None] - cells.values), random]
    moves.append(attack * (1 + 0.1 * rng.standard_normal((3, n, d))))
    if norm == 1:
        axes = rng.permutation(d)[:10]
        moves += [np.broadcast_to((s * np.eye(d)[axes] * scale)[:, None], (len(axes), n, d)) for s in (1, -1)]
    if norm == np.inf:
        moves += [np.sign(random) * scale, np.sign(attack)[None] * scale, np.sign(random[:3] + 3 * np.sign(attack)) * scale]
    moves = np.concatenate(moves) * cells.may
    return np.where(scale > 0, moves, 0.0)


def lengths(moves, norm, scale):
    """Of moves in units of the scale."""
    return np.linalg.norm(moves / np.where(scale > 0, scale, 1.0), ord=norm, axis=-1)


def slopes_of(score, cells, spread):
    """Scores at the points and their slopes, shapes (n, K) and (n, K, d), by differences along the axes."""
    n, d = cells.values.shape
    steps = np.concatenate([np.zeros((1, n, d)), spread * np.eye(d)[:, None] * cells.may])
    found = np.asarray(score(cells.moved(steps)))
    found = np.column_stack([np.zeros(len(found)), found]) if found.ndim == 1 else found
    found = (found - found[:, :1]).reshape(d + 1, n, -1)  # what all classes share has no say
    return found[0], np.moveaxis(found[1:] - found[0], 0, -1) / spread


def reference_radius(score, cells, spread, norm, scale):
    """The margin over the dual norm of the slope, from scores alone: what a chain of affine steps must have."""
    at, slopes = slopes_of(score, cells, spread)
    rows, winner = np.arange(len(at)), at.argmax(axis=1)
    length = np.linalg.norm((slopes[rows, winner][:, None] - slopes) * scale, ord=DUAL[norm], axis=-1)
    margin = at.max(axis=1)[:, None] - at
    noise = 1e-11 * np.abs(slopes * spread).sum(axis=-1).max()
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(length * spread.max() > noise, margin / length, np.inf)
    ratio[rows, winner] = np.inf
    return ratio.min(axis=1)


def hold(
    estimator,
    points,
    others,
    *,
    norm=2,
    scale=None,
    fixed=(),
    score=None,
    spread=None,
    share=0.9,
    seed=0,
    exact=None,
    sharp=1e-6,
):
    """Certify, and check every claim; returns the certificate.

    Parameters
    ----------
    points : array or frame
    others : ndarray
        Points to move towards, in the columns of ``points``.
    scale : ndarray or None
        The feature_scale, by position; ``fixed`` columns have 0.
    fixed : names of columns that hold categories
    score : callable or None
        Of points: scores whose argmax is predicted, affine; then exact radii are compared with the margin over the slope.
    spread : ndarray
        Typical sizes of the columns.
    share : float
        Of the points that must have a positive radius, and of those an attack.
    exact : bool or None
        What the certificate must say of itself.
    sharp : float
        How much longer than the radius an attack may be where the radius is exact; classes that nearly lie in planes need more.
    """
    cells = Cells(points, fixed)
    d = cells.values.shape[1]
    spread = np.ones(d) if spread is None else np.where(spread > 0, spread, 1.0)
    units = np.ones(d) if scale is None else np.asarray(scale, dtype=float)
    rng = np.random.default_rng(seed)
    certificate = certify(estimator, points, norm=norm, feature_scale=scale, return_attack=True)
    np.testing.assert_array_equal(certificate.prediction, estimator.predict(points))
    radius, attacked = certificate.radius, np.isfinite(certificate.attack_radius)
    assert (radius > 0).mean() >= share, "hardly any point has a radius"
    assert exact is None or certificate.exact == exact

    if certificate.exact:
        within = radius < 1e4  # beyond, hardly more than rounding knows of a boundary
        assert attacked[within].mean() >= share if within.any() else True
        ratio = certificate.attack_radius[attacked & (radius > 0)] / radius[attacked & (radius > 0)]
        assert (ratio <= 1 + sharp).all(), ratio.max() - 1
    if attacked.any():
        found = certificate.attack[attacked]
        assert (estimator.predict(found) != certificate.prediction[attacked]).all()
        moved = cells.numbers(certificate.attack)[attacked] - cells.values[attacked]
        assert (moved[cells.may[attacked]] == 0)[np.broadcast_to(units == 0, moved.shape)[cells.may[attacked]]].all()
        np.testing.assert_allclose(
            lengths(np.where(cells.may[attacked], moved, 0.0), norm, units), certificate.attack_radius[attacked], rtol=1e-6
        )
        if cells.frame:
            for name in fixed:
                pd.testing.assert_series_equal(found[name], points[name][attacked])

    moves = directions(cells, certificate, others, norm, units * spread if scale is None else units, rng)
    size = lengths(moves, norm, units)
    reach = np.where(np.isfinite(radius), radius, 1e3 * np.linalg.norm(spread))
    share_of = np.concatenate([np.full((1, *size.shape), 1 - 1e-9), rng.uniform(0, 1, (1, *size.shape))])
    factor = share_of * np.where(size > 0, reach / np.where(size > 0, size, 1.0), 0.0)
    inside = (factor[..., None] * moves).reshape(-1, *cells.values.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        there = estimator.predict(cells.moved(inside)).reshape(len(inside), -1)
    broken = (there != certificate.prediction) & (radius > 0)
    assert not broken.any(), f"{broken.sum()} of {broken.size} predictions changed inside the radius, points {broken.any(0)}"

    if score is not None and certificate.exact:
        expected = reference_radius(score, cells, spread, norm, units)
        sure = radius > 0
        np.testing.assert_allclose(radius[sure], expected[sure], rtol=sharp, atol=1e-10 * np.linalg.norm(spread))
    return certificate
