"""Distance to the boundaries between linear scores."""

from __future__ import annotations

import numpy as np

from skcert._progress import bar
from skcert.boundaries.common import Nearest, first_row, latents_of, scaled, second_best
from skcert.discriminants import Affine, batches
from skcert.geometry import affine
from skcert.geometry.products import rows_times
from skcert.geometry.rounding import UNIT, column_norms, fro, gamma, grow, largest, row_norms, shrink, tiny
from skcert.perturbations import AffineStep, random_weights


class AffineBoundary:
    """Hyperplanes between linear scores, in any l_p norm: exact (theory 1.4, 2.1).

    The scores are taken where the points are, ``(x - center) @ coef.T + intercept``, without going through the latents.

    Parameters
    ----------
    discriminant : Affine
    fold : AffineStep or None
        From the space of the points to the latents; None where they are the same.
    scale : ndarray or None
        Of the features of the points.
    norm : {1, 2, inf}
    unit : float
        Of rounding, in which ``predict`` computes its scores (rounding page).
    """

    def __init__(
        self, discriminant: Affine, fold: AffineStep | None, scale: np.ndarray | None, norm: float, unit: float = UNIT
    ):
        self.discriminant = d = discriminant
        self.fold, self.norm, self.unit = fold, norm, unit
        finite = np.where(np.isfinite(d.intercept), np.abs(d.intercept), 0.0)
        if fold is None:
            self.coef, self.intercept, self.center = d.coef, d.intercept, d.center
            absolute, wrong, reach = np.abs(d.coef), np.zeros(d.n_features), np.ones(d.n_features)
            bulk, intercept_error = finite, d.intercept_error
        else:
            self.coef = d.coef * fold.matrix if fold.matrix.ndim == 1 else d.coef @ fold.matrix
            self.intercept = d.intercept + d.coef @ (fold.offset - d.center)
            self.center = fold.center
            sizes = np.abs(d.coef), np.abs(fold.matrix)
            absolute = sizes[0] * sizes[1] if fold.matrix.ndim == 1 else sizes[0] @ sizes[1]
            # per column, how far any stored slope is from coef @ matrix, and how far the column of the matrix reaches
            wrong = gamma(d.n_features + 2) * absolute.max(axis=0) + row_norms(d.coef).max() * fold.column_error
            reach = column_norms(fold.matrix) + fold.column_error
            away = np.abs(fold.offset) + np.abs(d.center)
            bulk = sizes[0] @ away + finite
            intercept_error = d.intercept_error + gamma(d.n_features + 4) * bulk + d.coef_error * fro(away)
            intercept_error = intercept_error + row_norms(d.coef) * fold.offset_error
        dims = len(self.center)
        # what predict loses, here and anywhere in the ball: relative to |coef| |z| + |intercept|, and in the steps before
        share = gamma(d.n_features + 12, unit)
        predicted, constant = share * absolute, share * bulk
        if fold is not None and fold.noise is not None:
            lost, lost_constant = fold.noise
            predicted = predicted + (sizes[0] * lost if lost.ndim == 1 else sizes[0] @ lost)
            constant = constant + sizes[0] @ lost_constant
        predicted = grow(predicted.max(axis=0), d.n_features + 16)
        self._per_unit = grow(gamma(dims + 4) * absolute.max(axis=0) + wrong + d.coef_error.max() * reach + predicted, 16)
        underflow = (dims + d.n_features + 16) * tiny(unit)
        self._constant = float(grow((intercept_error + gamma(4) * bulk + constant).max() + underflow, d.n_features + 16))
        self._steepest = float(grow(row_norms(self.coef).max() + fro(wrong) + d.coef_error.max() * fro(reach)))

        # for recognising scores that somebody else has computed
        alive = np.isfinite(d.intercept)
        weights = np.where(alive, random_weights(len(alive)), 0.0)
        constant = np.where(alive, self.intercept, 0.0) - self.coef @ self.center
        self._combination = weights, weights @ self.coef, float(weights @ constant)
        self._alive = None if alive.all() else alive
        self._largest, self._bulk = row_norms(d.coef).max(), finite.max()

        slopes = self.coef if scale is None else self.coef * scale
        step = scaled(fold, scale)
        size = 1.0 if step is None else step.size
        # ||e||_q <= ||e||_2 for q >= 2, sqrt(d) ||e||_2 for the l1 norm dual to linf
        error = d.coef_error * size * (np.sqrt(dims) if norm == np.inf else 1.0)
        lost = affine.dual_norms((predicted if scale is None else predicted * scale)[None], norm)[0]
        error = grow(error + lost + affine.dual_norms((wrong if scale is None else wrong * scale)[None], norm)[0])
        self.slopes, self._slope_error = slopes, float(error.max())
        # beyond, some score or a number on the way to it might overflow
        self._edge, self._outwards = share * largest(unit), float(lost)
        if d.squared is not None:
            self._squared = AffineStep.scaling(d.squared[0]) if step is None else step.then(AffineStep.scaling(d.squared[0]))
            self._longest = self._squared.stretch(norm, 2) if scale is None or scale.any() else 0.0
        k = len(slopes)
        self._high, self._low = np.empty((k, k)), np.empty((k, k))
        for i in range(k):
            length = affine.dual_norms(slopes[i:] - slopes[i], norm)
            both = error[i:] + error[i]
            self._high[i, i:] = self._high[i:, i] = grow(length + both)
            self._low[i, i:] = self._low[i:, i] = np.maximum(shrink(length * (1 - 2 * gamma(dims + 4)) - both), 0)
        for i in range(k):
            same = d.slope_group == d.slope_group[i] if scale is None or scale.any() else slice(None)  # nothing moves
            self._high[i, same], self._low[i, same] = grow(2 * lost), 0  # parallel, but for what predict rounds
            self._high[i, i] = 0
        with np.errstate(divide="ignore"):
            self._inverse = shrink(1 / self._high)
        self._parallel = len(np.unique(d.slope_group)) < k or bool((self._high == 0).sum() > k)

    def nearest(self, X, x_error=None, *, method="exact", attack=False, scores=None) -> Nearest:
        """Winner, runner-up and distance to the nearest boundary of every row of X.

        ``scores`` are the classifier's own, class by class, and upper bounds of their errors: then X is not looked at.
        """
        k, n = len(self.slopes), len(X)
        out = Nearest.empty(n, self.slopes.shape[1] if attack else None)
        if k == 1:
            out.radius[:] = np.inf
            return out
        width = X.shape[1] if scores is None else 0
        slices = list(batches(n, 8 * (4 * k + width), 4 * 2**20))
        size = max((rows.stop - rows.start for rows in slices), default=0)
        # fresh memory for every batch would cost more than the arithmetic on it
        points, space = np.empty((size, width)), np.empty((3, k * size))
        with bar(n, "certifying", "row") as done:
            for rows in slices:
                m = rows.stop - rows.start
                here = [block[: k * m].reshape(k, m) for block in space]  # class by class: every operation runs along points
                if scores is None:
                    error = self._scores(X[rows], None if x_error is None else x_error[rows], points[:m], here[0])
                else:
                    here[0], error = scores[0][:, rows], scores[1][rows]
                self._batch(out, rows, here, error)
                if self.discriminant.squared is not None:
                    self._by_squares(out, rows, X[rows], here, error)
                if method == "paper":
                    self._mix(out, rows, here[1], error)
                done.update(m)
        return out

    def recognise(self, X, Z, scores, sizes: tuple[np.ndarray, int]) -> np.ndarray | None:
        """What scores that a classifier computed from the latents Z of X may lose; None if they are not of this rule.

        ``sizes`` bounds the constants that were added and cancelled on the way from X to Z, feature by feature, and says how
        many operations an entry of Z took: each errs by UNIT times the largest number it saw (rounding page). One random
        combination of the classes is compared with the same combination of this rule.
        """
        constants, operations = sizes
        features = self.discriminant.n_features
        reach = row_norms(Z) + 2 * fro(constants)
        reach *= self._largest
        reach += self._bulk
        weights, slope, constant = self._combination
        with_scores = weights @ scores if self._alive is None else weights[self._alive] @ scores[self._alive]
        lost = gamma(features + operations + 8) * reach
        # of every class, what its score has lost, and as much again for the slope, the constant and the product here
        if not (np.abs(with_scores - (X @ slope + constant)) <= 4 * len(scores) * lost).all():
            return None
        return grow(2 * lost, features + 8)  # here, and anywhere else in the ball

    def _scores(self, X, x_error, x, scores) -> np.ndarray:
        """Scores, written to ``scores``; returns how far rounding may have moved them."""
        moved = X if X.dtype == np.float64 and not self.center.any() else np.subtract(X, self.center, out=x, dtype=float)
        rows_times(moved, self.coef.T, scores.T, "F")
        scores += self.intercept[:, None]
        error = np.abs(moved, out=x) @ self._per_unit
        error += self._constant
        return error if x_error is None else error + self._steepest * x_error

    def _batch(self, out, rows, here, error) -> None:
        scores, margins, ratio = here
        at = np.arange(scores.shape[1])
        best = scores.max(axis=0)
        winner = first_row(scores, best)
        doubt = grow(2 * error + 4 * UNIT * np.abs(best), self.slopes.shape[1] + 8)
        np.subtract(best - doubt, scores, out=margins)
        np.take(self._inverse, winner, axis=1, out=ratio, mode="clip")
        with np.errstate(invalid="ignore"):
            ratio *= margins
            if self._parallel:  # equal slopes: a loser never wins, a tie stays a tie
                never = self._high[:, winner] == 0
                ratio[never] = np.where(margins[never] > 0, np.inf, 0.0)
        ratio[winner, at] = np.inf
        nearest = ratio.min(axis=0)
        rival = first_row(ratio, nearest)
        # far beyond any boundary, and seldom looked for: where numbers end
        if self._outwards and not nearest.max(initial=0) < shrink((self._edge - error.max(initial=0)) / self._outwards):
            edge = shrink((self._edge - error) / self._outwards)
            nearest, alone = np.minimum(nearest, edge), nearest >= edge
        else:
            alone = np.isinf(nearest)
        if alone.any():  # no rival can win: name the one with the next best score
            others = margins[:, alone]
            others[winner[alone], np.arange(others.shape[1])] = np.nan
            rival[alone] = second_best(others.T)
        low, gap = self._low[winner, rival], margins[rival, at] + 2 * doubt
        with np.errstate(divide="ignore", invalid="ignore"):
            length = np.where((low > 0) & np.isfinite(gap), grow(gap / low), np.inf)
        out.winner[rows], out.runner_up[rows] = winner, rival
        out.radius[rows] = np.where(nearest > 0, shrink(nearest), 0)  # NaN, scores that overflow: nothing is known
        out.attack_radius[rows] = length
        if out.attack is not None:
            direction = affine.steepest(self.slopes[winner] - self.slopes[rival], self.norm)
            out.attack[rows] = direction * np.where(np.isfinite(length), length, np.nan)[:, None]

    def _by_squares(self, out, rows, X, here, error) -> None:
        """Take off what a ``predict`` of squared distances loses, relative to their size at the far end of the ball."""
        assert self.discriminant.squared is not None
        units, mean = self.discriminant.squared
        share = gamma(len(units) + 16, self.unit)
        Z, z_error = latents_of(self.fold, X, None)
        lengths = grow(row_norms(Z * units) + units.max() * z_error) + mean
        if self._longest:
            margin = here[1][out.runner_up[rows], np.arange(len(Z))]
            room = np.sqrt(np.maximum(margin, 0) / (4 * share)) / self._longest  # beyond, too much would be taken off
            cap = np.minimum(out.radius[rows], room)
            lengths += cap * self._longest
        self._batch(out, rows, here, grow(error + share * lengths**2))
        if self._longest:
            out.radius[rows] = np.minimum(out.radius[rows], cap)

    def _mix(self, out, rows, margins, error) -> None:
        """Theorem 4.1 as printed mixes the smallest margin with the largest slope (theory 1.1), W = 0."""
        winner = out.winner[rows]
        margins[winner, np.arange(len(winner))] = np.inf
        alive = np.isfinite(self.intercept)
        slope = np.where(np.eye(len(alive), dtype=bool), 0, self._high)[:, alive].max(axis=1)[winner]
        with np.errstate(divide="ignore", invalid="ignore"):
            radius = shrink(np.maximum(margins.min(axis=0), 0) / slope)
        out.radius[rows] = np.minimum(out.radius[rows], np.where(np.isnan(radius), 0, radius))
