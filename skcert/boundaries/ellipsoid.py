"""The nearest-ellipsoid rule."""

from __future__ import annotations

import numpy as np

from skcert.boundaries.common import Nearest, latents_of, scaled, split
from skcert.discriminants import NearestEllipsoid
from skcert.geometry.rounding import shrink
from skcert.perturbations import AffineStep


class EllipsoidBoundary:
    """Nearest-ellipsoid rule, l2: half the lead of the nearest ellipsoid (theory 1.7), divided by the step's norm.

    The one Lipschitz certificate among the three: sound, not exact. Safe ends differ by sign: the runner-up's distance is a
    dual value, the winner's a feasible point.
    """

    def __init__(self, discriminant: NearestEllipsoid, fold: AffineStep | None = None, scale: np.ndarray | None = None):
        step = scaled(fold, scale)
        self.discriminant, self.fold, self.size = discriminant, fold, 1.0 if step is None else step.stretch(2, 2)
        self.classes = np.flatnonzero(discriminant.alive)

    def nearest(self, X, x_error=None, *, method="auto", attack=False) -> Nearest:
        """Winner, runner-up and half the winner's lead of every row of X."""
        out = Nearest.empty(len(X), None)
        Z, z_error = latents_of(self.fold, X, x_error)
        low, high, side = self.discriminant.distances(Z)
        at, winner, _ = split(self.discriminant.leads(low, high)[:, self.classes])
        low, high, side = low[:, self.classes], high[:, self.classes], side[:, self.classes]
        if len(self.classes) == 1:
            out.radius[:] = np.inf
            out.winner = out.runner_up = self.classes[winner]
            return out
        own, inside = high[at, winner], side[at, winner]
        rivals = low.copy()
        rivals[at, winner] = np.inf
        rival = rivals.argmin(axis=1)
        nearest = np.where(side[at, rival] == -1, rivals[at, rival], 0.0)
        with np.errstate(invalid="ignore"):
            radius = np.where(inside == 1, np.minimum(nearest, (nearest - own) / 2), (nearest - own) / 2)
        radius = np.where(inside == 0, 0.0, np.nan_to_num(radius, nan=0.0))
        # predict compares the middles of such intervals elsewhere in the ball: taken at four times as wide as here, and at what
        # the iteration stops at. The one allowance that is measured and not derived.
        with np.errstate(invalid="ignore"):
            blur = 4 * ((high - low)[at, winner] + (high - low)[at, rival]) + 1e-8 * (np.abs(own) + np.abs(nearest))
        radius = np.nan_to_num(radius - np.nan_to_num(blur, nan=np.inf, posinf=np.inf), nan=0.0, posinf=np.inf)
        radius = radius - 2 * z_error  # every distance is 1-Lipschitz in z
        out.winner, out.runner_up = self.classes[winner], self.classes[rival]
        with np.errstate(divide="ignore", invalid="ignore"):  # size 0: no feature can move
            out.radius = np.where(radius > 0, shrink(radius / self.size), 0.0)
        return out
