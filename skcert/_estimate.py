"""CLEVER through a pipeline: gradients of margins with respect to the points, and the estimates made of them."""

from __future__ import annotations

from functools import partial

import numpy as np

from skcert._progress import bar
from skcert.boundaries import Nearest
from skcert.discriminants import NearestEllipsoid
from skcert.lipschitz.clever import radius
from skcert.perturbations import AffineStep, EstimatedStep, Link, Uncertifiable
from skcert.routes import Route


def estimate(discriminant, links: tuple[Link, ...], points, latents: np.ndarray, scale: np.ndarray, norm: float) -> Nearest:
    """Estimated radii of the predictions at ``points``, which reach the classifier as ``latents`` (theory 2.3).

    Parameters
    ----------
    discriminant : Affine, Quadratic or LogSumExp
    links : tuple of Link
        One of them an EstimatedStep, the others affine.
    points : Points
    latents : ndarray of shape (n, d)
    scale : ndarray of shape (n_columns,)
    norm : {1, 2, inf}
    """
    if isinstance(discriminant, NearestEllipsoid):
        raise Uncertifiable('decision="nearest-ellipsoid" has no margin to differentiate: lipschitz="clever" needs scores.')
    before, step, after = _around(links, points)
    n, d = points.values.shape
    scores = discriminant.scores(np.asarray(latents, dtype=float))
    order = np.argsort(-scores, axis=1, kind="stable")
    out = Nearest.empty(n, None)
    out.winner[:], out.runner_up[:], out.attack_radius[:] = order[:, 0], order[:, 1], np.inf
    moving = np.flatnonzero(scale)

    def gradient(moves: np.ndarray, row: int, rival: int) -> np.ndarray:
        source = np.repeat(points.values[row][None].astype(float), len(moves), axis=0)
        source[:, moving] += moves * scale[moving]
        inside, pull = step.pull_back(before.apply(source))
        slopes = discriminant.gradients(after.apply(inside))
        down = _transposed(after, slopes[:, out.winner[row]] - slopes[:, rival])
        return _transposed(before, pull(down))[:, moving] * scale[moving]

    with bar(n * (order.shape[1] - 1), "sampling gradients", "margin") as done:
        for row in range(n):
            best = np.inf
            for rival in order[row, 1:]:
                margin = float(scores[row, out.winner[row]] - scores[row, rival])
                if margin < np.inf and len(moving):
                    seed = _seed(step.settings.random_state, points.values[row])
                    along = partial(gradient, row=row, rival=rival)
                    found = radius(margin, along, len(moving), norm, step.settings, seed)
                    if found < best:
                        best, out.runner_up[row] = found, rival
                done.update()
            out.radius[row] = best
    return out


def _seed(random_state: int, row: np.ndarray) -> list[int]:
    """Random numbers of a point's own: they depend on its values, not on its place."""
    return [int(random_state), *np.frombuffer(np.ascontiguousarray(row, dtype=float).tobytes(), dtype=np.uint32).tolist()]


def _around(links: tuple[Link, ...], points) -> tuple[AffineStep, EstimatedStep, AffineStep]:
    """What comes before the estimated step, itself, and what comes after it."""
    places = [k for k, link in enumerate(links) if any(isinstance(carrier, EstimatedStep) for carrier in link.carriers)]
    (place, *more) = places
    carriers = links[place].carriers
    step = carriers[0]
    route = Route.along(links[:place], np.zeros(points.values.shape[1], dtype=bool), points.names)
    if more or len(carriers) > 1 or not isinstance(step, EstimatedStep) or route.bends or route.n_constants:
        raise Uncertifiable(
            f"lipschitz='clever' in the step {links[place].name!r} goes through affine steps and one encoder only."
        )
    if not points.numeric.all():
        raise Uncertifiable("lipschitz='clever' needs points made of numbers alone.")
    wide = route.pieces[-1]
    assert wide is not None
    inside, _ = step.pull_back(wide.apply(points.values[:1].astype(float)))
    rest = Route.along(links[place + 1 :], np.zeros(inside.shape[1], dtype=bool), None)
    if rest.bends or rest.n_constants or rest.pieces[-1] is None:
        raise Uncertifiable(
            f"lipschitz='clever' in the step {links[place].name!r} goes through affine steps only, also after it."
        )
    return wide, step, rest.pieces[-1]


def _transposed(step: AffineStep, weights: np.ndarray) -> np.ndarray:
    """weights @ A"""
    return weights * step.matrix if step.matrix.ndim == 1 else weights @ step.matrix
