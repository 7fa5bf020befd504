"""How far a batch of points is from the boundary of its class: every rival, in memory that does not grow with the batch.

One class per kind of discriminant, all with ``nearest(Z, ...) -> Nearest``. They own what is worth keeping between batches
(norms of slopes, eigenbases of pairs), decide which rivals need the exact solve, and leave the formulas to ``geometry``.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from tqdm.auto import tqdm

from skcert.discriminants import Affine, NearestEllipsoid, Quadratic, batches
from skcert.geometry import affine, quadric
from skcert.geometry.rounding import (
    UNIT,
    column_norms,
    fro,
    gamma,
    grow,
    largest,
    product,
    row_norms,
    shrink,
    spectral,
    tiny,
)
from skcert.perturbations import AffineStep, Pullback, random_weights

#: bytes that eigenbases of pairs may occupy; above it ``method="auto"`` is "pairwise" and "exact" keeps the latest ones
PAIR_BUDGET = 2**30
#: d^3 times the number of pairs up to which "pairwise" takes lambda_min of every pair, not Weyl's bound
PAIR_EIGENVALUES = 2e11


@dataclass
class Nearest:
    """Per point: winner and runner-up (indices), radius from below, attack length from above, attack if asked for."""

    winner: np.ndarray
    runner_up: np.ndarray
    radius: np.ndarray
    attack_radius: np.ndarray
    attack: np.ndarray | None = None

    @classmethod
    def empty(cls, n: int, d: int | None) -> Nearest:
        return cls(
            np.zeros(n, dtype=np.intp),
            np.zeros(n, dtype=np.intp),
            np.zeros(n),
            np.full(n, np.inf),
            None if d is None else np.full((n, d), np.nan),
        )

    def put(self, rows, part: Nearest) -> None:
        """Fill in these rows."""
        self.winner[rows], self.runner_up[rows] = part.winner, part.runner_up
        self.radius[rows], self.attack_radius[rows] = part.radius, part.attack_radius
        if self.attack is not None:
            self.attack[rows] = part.attack


def _progress(total: int, description: str, unit: str) -> tqdm:
    """A bar on a terminal, for work that takes more than two seconds."""
    return tqdm(total=total, desc=description, unit=unit, delay=2, leave=False, disable=None)


def _split(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers, winners and the winners' scores."""
    rows = np.arange(len(scores))
    winner = scores.argmax(axis=1)
    return rows, winner, scores[rows, winner]


def _first(values: np.ndarray, target: np.ndarray) -> np.ndarray:
    """First row in which each column holds its target; small integers run through where argmax would stumble."""
    K = len(values)
    kind = np.uint8 if K < 256 else np.uint32
    ranks = np.arange(K, 0, -1, dtype=kind)
    found = ((values == target).view(np.uint8) * ranks[:, None]).max(axis=0)
    return np.where(found == 0, 0, K - found.astype(np.intp))  # 0: NaN, of which nothing is known


def _second(margins: np.ndarray) -> np.ndarray:
    """Column of the smallest margin, NaN (the winner's own) last."""
    return np.where(np.isnan(margins), np.inf, np.minimum(margins, np.finfo(float).max)).argmin(axis=1)


def _scaled(fold: AffineStep | None, scale: np.ndarray | None) -> AffineStep | None:
    """From the scaled perturbation to the latents."""
    if scale is None:
        return fold
    return AffineStep.scaling(scale) if fold is None else fold.stretched(scale)


def _latents(fold: AffineStep | None, X: np.ndarray, x_error: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Images of points, and upper bounds of their l2 errors."""
    error = np.zeros(len(X)) if x_error is None else x_error
    return (X, error) if fold is None else (fold.apply(X), grow(fold.error(X) + fold.size * error))


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
        share = gamma(d.n_features + 8, unit)
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
        step = _scaled(fold, scale)
        size = 1.0 if step is None else step.size
        # ||e||_q <= ||e||_2 for q >= 2, sqrt(d) ||e||_2 for the l1 norm dual to linf
        error = d.coef_error * size * (np.sqrt(dims) if norm == np.inf else 1.0)
        lost = affine.dual_norms((predicted if scale is None else predicted * scale)[None], norm)[0]
        error = grow(error + lost + affine.dual_norms((wrong if scale is None else wrong * scale)[None], norm)[0])
        self.slopes = slopes
        # beyond, some score or a number on the way to it might overflow
        self._edge, self._outwards = share * largest(unit), float(lost)
        if d.squared is not None:
            self._squared = AffineStep.scaling(d.squared[0]) if step is None else step.then(AffineStep.scaling(d.squared[0]))
            self._longest = self._squared.stretch(norm, 2) if scale is None or scale.any() else 0.0
        k = len(slopes)
        self._high, self._low = np.empty((k, k)), np.empty((k, k))
        for i in range(k):
            length = affine.dual_norms(slopes - slopes[i], norm)
            both = error + error[i]
            self._high[i] = grow(length + both)
            self._low[i] = np.maximum(shrink(length * (1 - 2 * gamma(dims + 4)) - both), 0)
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
        size = max(rows.stop - rows.start for rows in slices)
        # fresh memory for every batch would cost more than the arithmetic on it
        points, space = np.empty((size, width)), np.empty((3, k * size))
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
        if not (np.abs(with_scores - (X @ slope + constant)) <= 2e-11 * len(scores) * reach).all():
            return None
        return grow(2 * gamma(features + operations + 8) * reach, features + 8)  # here, and anywhere else in the ball

    def _scores(self, X, x_error, x, scores) -> np.ndarray:
        """Scores, written to ``scores``; returns how far rounding may have moved them."""
        moved = X if X.dtype == np.float64 and not self.center.any() else np.subtract(X, self.center, out=x, dtype=float)
        np.matmul(self.coef, moved.T, out=scores)
        scores += self.intercept[:, None]
        error = np.abs(moved, out=x) @ self._per_unit
        error += self._constant
        return error if x_error is None else error + self._steepest * x_error

    def _batch(self, out, rows, here, error) -> None:
        scores, margins, ratio = here
        at = np.arange(scores.shape[1])
        best = scores.max(axis=0)
        winner = _first(scores, best)
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
        rival = _first(ratio, nearest)
        if self._outwards:
            edge = shrink((self._edge - error) / self._outwards)
            nearest, alone = np.minimum(nearest, edge), nearest >= edge
        else:
            alone = np.isinf(nearest)
        if alone.any():  # no rival can win: name the one with the next best score
            others = margins[:, alone]
            others[winner[alone], np.arange(others.shape[1])] = np.nan
            rival[alone] = _second(others.T)
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
        units, mean = self.discriminant.squared
        share = gamma(len(units) + 16, self.unit)
        Z, z_error = _latents(self.fold, X, None)
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


@dataclass(frozen=True)
class _Pair:
    """Classes i < j: the eigenbasis of W = C'(P_j - P_i)C, used for i against j and, mirrored, for j against i.

    ``shifts`` are P_j (mu_i - mu_j) and P_i (mu_j - mu_i), so that g = W (z - mu_winner) + shift; already rotated into the
    eigenbasis where C is the identity.
    """

    basis: quadric.Eigenbasis
    spectra: list[quadric.Spectrum]
    shifts: list[np.ndarray]
    shift_errors: list[float]
    size: float  # of P_j - P_i, Frobenius
    doubt: float  # spectral error of P_j - P_i
    slip: float  # by which the eigenvalues may be off, and what predict loses beside

    @property
    def nbytes(self) -> int:
        return 0 if self.basis.vectors is None else self.basis.vectors.nbytes


class QuadraticBoundary:
    """Quadrics between Gaussian scores, l2 (theory 1.1 to 1.3, 2.1).

    Parameters
    ----------
    discriminant : Quadratic
    fold : AffineStep or None
        From the space of the points to the latents; None where they are the same.
    scale : ndarray or None
        Of the features of the points.
    unit : float
        Of rounding, in which ``predict`` computes its scores.
    budget : int
        Bytes the eigenbases of pairs may keep.
    """

    def __init__(
        self,
        discriminant: Quadratic,
        fold: AffineStep | None = None,
        scale: np.ndarray | None = None,
        unit: float = UNIT,
        budget: int | None = None,
    ):
        alive = np.isfinite(discriminant.constants)  # a class with prior 0 is no rival
        self.classes = np.flatnonzero(alive)
        self.discriminant = d = discriminant.some(self.classes)
        step = _scaled(fold, scale)
        self.pullback = p = None if step is None else Pullback.of(step)
        self.budget = PAIR_BUDGET if budget is None else budget
        # what predict loses in the ball, where D_k x has grown by stretch_k ||y|| and the steps have moved it by noise_k ||y||
        self.unit, self._kappa = unit, d.rounding(unit)
        moves = p is None or bool(p.factor.any())
        self._stretch = np.array([self._reach(units) if moves else 0.0 for units in d.units])
        self._noise, swings = None, np.zeros(len(d.units))
        if fold is not None and fold.noise is not None:
            lost, constant = fold.noise
            along = [column_norms(units * lost if lost.ndim == 1 else units[:, None] * lost) for units in d.units]
            self._noise = grow(np.array(along)), grow(row_norms(d.units * constant))
            if moves:
                swings = np.array([_largest_singular(units, step.noise[0]) for units in d.units])
        self._noise_swings, self._strength = swings, d.strength + self._kappa
        self.fold = fold if self._noise is None else replace(fold, noise=None)
        curving = self._kappa * self._stretch**2 + self._strength * swings * (2 * self._stretch + swings)
        self._rounding = grow(curving[:, None] + curving)
        self._edge = np.inf
        if fold is not None or d.growth is not None:  # on latents as they are, our predict outlives overflow
            growth = d.rounding(unit) / gamma(2 * d.n_features + 16, unit)
            self._edge = float(np.sqrt(largest(unit) / np.maximum(growth.max(), 1)))
        self._pairs: OrderedDict[tuple[int, int], _Pair] = OrderedDict()
        self._extremes: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def _reach(self, units: np.ndarray) -> float:
        """Upper bound of ||D C||_2, D the units of a class and C the way from the ball to the latents."""
        p = self.pullback
        if p is None:
            return float(units.max())
        return float(grow(_largest_singular(units, p.factor) + units.max() * p.error))

    # -- once per pair of classes ----------------------------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        """Bytes of the eigenbases kept between batches."""
        return sum(pair.nbytes for pair in self._pairs.values())

    @property
    def full_nbytes(self) -> int:
        """Bytes the eigenbases of all pairs would take; 0 where curvatures are diagonal."""
        K = len(self.classes)
        return 0 if self._plain else K * (K - 1) // 2 * self._rank**2 * 8

    @property
    def _plain(self) -> bool:
        return self.discriminant.diagonal and (self.pullback is None or self.pullback.factor.ndim == 1)

    @property
    def _rank(self) -> int:
        p = self.pullback
        return self.discriminant.n_features if p is None or p.factor.ndim == 1 else p.factor.shape[1]

    def _difference(self, i: int, j: int) -> tuple[np.ndarray, float, np.ndarray, float]:
        """W = P_j - P_i and C'WC, each with a bound of its spectral error."""
        d = self.discriminant
        W = d.precisions[j] - d.precisions[i]
        doubt = grow(d.doubts[i] + d.doubts[j] + UNIT * fro(W))
        p = self.pullback
        if p is None:
            return W, doubt, W, doubt
        bent = p.curvature(W)
        if bent.ndim == 2:
            bent = (bent + bent.T) / 2
        if not np.isfinite(bent).all():
            raise ValueError("The precisions overflow in the units of this space: rescale the features.")
        rounding = gamma(2 * d.n_features + 4) * fro(p.factor) ** 2 * fro(W)
        return W, doubt, bent, grow(doubt * p.size**2 + rounding + (2 * p.size + p.error) * p.error * fro(W))

    def _pair(self, i: int, j: int) -> _Pair:
        """The pair i < j, from memory or made now; the pair used longest ago makes room."""
        if (i, j) in self._pairs:
            self._pairs.move_to_end((i, j))
            return self._pairs[i, j]
        d = self.discriminant
        W, doubt, bent, error = self._difference(i, j)
        basis = quadric.Eigenbasis.of(bent, extra=error)
        between = d.means[i] - d.means[j]
        length = float(row_norms(between[None])[0])
        shifts, errors = [], []
        for k, sign in ((j, 1), (i, -1)):
            P = d.precisions[k]
            # the product, the rounding of the difference of means, and what P_k lacks to be the inverse
            shift, rounding = (P * between, gamma(2)) if d.diagonal else product(P, between)
            absolute = np.abs(P) * np.abs(between) if d.diagonal else np.abs(P) @ np.abs(between)
            lost = grow((rounding + 4 * UNIT) * np.linalg.norm(absolute), d.n_features + 8)
            lost, shift = lost + d.doubts[k] * length, sign * shift
            if self.pullback is None:
                turned, turn_error = basis.rotate(shift[None])
                shift, lost = turned[0], lost + float(turn_error[0])
            shifts.append(shift)
            errors.append(grow(lost))
        slip = grow(basis.error + self._rounding[i, j])
        spectra = [quadric.Spectrum.of(v - slip) for v in (basis.values, basis.negated)]
        made = _Pair(basis, spectra, shifts, errors, fro(W), doubt, slip)
        while self._pairs and self.nbytes + made.nbytes > self.budget:
            self._pairs.popitem(last=False)
        self._pairs[i, j] = made
        return made

    def _half_slopes(self, x: np.ndarray, x_error: np.ndarray, i: int, j: int, pair: _Pair):
        """h = V'C'g of every row x = z - mu_i against rival j, eigenvalues ascending, and bounds of the l2 errors."""
        flip, basis, p = int(i > j), pair.basis, self.pullback
        lengths = row_norms(x) + x_error
        if p is None:
            # Q'(Wx) = (diag(w) + E) Q'x with ||E|| <= basis.error: one product serves every row
            top = np.abs(basis.values).max()
            h, turn = basis.rotate(x)
            h *= basis.negated[::-1] if flip else basis.values
            h += pair.shifts[flip]
            error = basis.error * lengths + top * (turn + x_error) + pair.shift_errors[flip] + gamma(4) * row_norms(h)
        else:
            d = self.discriminant
            W = d.precisions[j] - d.precisions[i]
            g = (x * W if d.diagonal else x @ W) + pair.shifts[flip]
            error = (gamma(d.n_features + 4) * pair.size + pair.doubt) * lengths + pair.size * x_error
            error += pair.shift_errors[flip] + gamma(2) * row_norms(g)
            pulled = gamma(d.n_features + 2) * (fro(p.factor) if p.factor.ndim == 2 else p.size) + p.error
            error = p.size * error + pulled * (row_norms(g) + error)
            h, turn = basis.rotate(p.slopes(g))
            error += turn
        return (np.ascontiguousarray(h[:, ::-1]) if flip else h), grow(error)

    def _bends(self, exact: bool) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of lambda_min and lambda_max of every W_ij = P_j - P_i: of each pair, or Weyl's from each class alone."""
        d, p = self.discriminant, self.pullback
        K = len(d.means)
        pairwise = exact and (self._plain or K * (K - 1) / 2 * self._rank**3 <= PAIR_EIGENVALUES)
        key = "pairs" if pairwise else "weyl"
        if key in self._extremes:
            return self._extremes[key]
        low, high = np.zeros((K, K)), np.zeros((K, K))
        if pairwise:
            with _progress(K * (K - 1) // 2, "eigenvalues of pairs of classes", "pair") as bar:
                for i, j in combinations(range(K), 2):
                    if (i, j) in self._pairs:
                        values, error = self._pairs[i, j].basis.values, self._pairs[i, j].slip
                    else:
                        _, _, W, error = self._difference(i, j)
                        values, slip = _extreme_eigenvalues(W)
                        error = error + slip + self._rounding[i, j]
                    low[i, j], high[i, j] = values[0] - error, values[-1] + error
                    low[j, i], high[j, i] = -high[i, j], -low[i, j]
                    bar.update()
        else:
            ends = []
            for k in range(K):
                P = d.precisions[k] if p is None else p.curvature(d.precisions[k])
                values, slip = _extreme_eigenvalues(P)
                slip += d.doubts[k] * (1 if p is None else p.size**2)
                if p is not None:
                    slip += gamma(2 * d.n_features + 4) * fro(p.factor) ** 2 * fro(d.precisions[k])
                    slip += (2 * p.size + p.error) * p.error * d.sizes[k]
                ends.append((values[0] - slip, values[-1] + slip))
            bottom, top = np.array(ends).T
            low = grow_away(bottom[None] - top[:, None] - self._rounding)
            high = grow_away(top[None] - bottom[:, None] + self._rounding, up=True)
        self._extremes[key] = low, high
        return low, high

    # -- per batch -------------------------------------------------------------------------------------------------

    def nearest(self, X, x_error=None, *, method="exact", attack=False) -> Nearest:
        """Winner, runner-up and distance to the nearest boundary of every row of X."""
        d, p = self.discriminant, self.pullback
        K, dims = len(self.classes), d.n_features
        lifted = None if not attack else (dims if p is None else len(p.basis))
        out = Nearest.empty(len(X), lifted)
        if K == 1:
            out.winner[:] = out.runner_up[:] = self.classes[0]
            out.radius[:] = np.inf
            return out
        low, high = (bound.copy() for bound in self._bends(exact=method != "exact"))
        if method == "exact":  # what is known of pairs by now prunes better than Weyl's bound
            for (i, j), pair in self._pairs.items():
                w, slip = pair.basis.values, pair.slip
                low[i, j], high[i, j] = w[0] - slip, w[-1] + slip
                low[j, i], high[j, i] = -high[i, j], -low[i, j]
        bytes_per_row = 8 * 12 * K + (0 if self.fold is None else 8 * 2 * (dims + X.shape[1]))
        with _progress(len(X), "certifying", "row") as bar:
            for rows in batches(len(X), bytes_per_row, 8 * 2**20):
                Z, error = _latents(self.fold, X[rows], None if x_error is None else x_error[rows])
                lost = np.zeros((len(Z), K))
                if self._noise is not None:  # by the steps, in the units of every class
                    lost = grow(np.abs(X[rows] - self.fold.center) @ self._noise[0].T + self._noise[1], X.shape[1] + 8)
                self._block(out, rows, Z, error, lost, low, high, method)
                bar.update(rows.stop - rows.start)
        out.winner, out.runner_up = self.classes[out.winner], self.classes[out.runner_up]
        return out

    def _margins(self, Z, z_error, lost):
        """Scores' argmax; margins from below with their width; norms of half-slopes from above with their width.

        And what of that is due to the rounding of ``predict`` away from the points.
        """
        d, p = self.discriminant, self.pullback
        K, n = len(d.means), len(Z)
        winner, margin, width = np.empty(n, dtype=np.intp), np.empty((n, K)), np.empty((n, K))
        slope, slack, rounding = np.empty((n, K)), np.empty((n, K)), np.empty((n, K))
        pulled = 0.0
        if p is not None:
            pulled = gamma(d.n_features + 2) * (fro(p.factor) if p.factor.ndim == 2 else p.size) + p.error
        for rows in batches(n, 8 * d.n_features * (K + 6), 24 * 2**20):
            zerr, m = z_error[rows], rows.stop - rows.start
            scores, score_error = np.empty((m, K)), np.empty((m, K))
            slopes, slope_error = [], np.empty((m, K))
            for k in range(K):
                scores[:, k], y, x = d.score_and_slope(Z[rows], k)
                error, slope_error[:, k], reach = d.errors(x, y, k)
                reach = grow(reach + d.units[k].max() * zerr, d.n_features)
                lengths = row_norms(y) + slope_error[:, k]
                # of this score, and of that which predict computes at these very latents
                score_error[:, k] = error + d.predicted(error, reach, k, self.unit)
                score_error[:, k] += (2 * lengths + d.sizes[k] * zerr) * zerr
                slope_error[:, k] += d.sizes[k] * zerr
                moved, strength = lost[rows, k], self._strength[k]
                score_error[:, k] += strength * (2 * reach + moved) * moved
                swing, stretch = self._noise_swings[k], self._stretch[k]
                rounding[rows, k] = self._kappa[k] * reach * stretch + strength * (reach * swing + moved * (stretch + swing))
                if p is not None:
                    slope_error[:, k] = p.size * slope_error[:, k] + pulled * lengths
                    y = p.slopes(y)
                slopes.append(y)
            at, top, best = _split(scores)
            if not (known := best > -np.inf).all():  # overflow, of which nothing is known but what predict says
                top[~known] = d.winners(Z[rows][~known])
            own = np.empty_like(slopes[0])
            for k in range(K):
                own[top == k] = slopes[k][top == k]
            for k in range(K):
                slope[rows, k] = row_norms(slopes[k] - own)
            gap = best[:, None] - scores
            error = grow(score_error + score_error[at, top][:, None] + 2 * UNIT * np.abs(gap))
            winner[rows], margin[rows], width[rows] = top, gap - error, 2 * error
            rounding[rows] = grow(rounding[rows] + rounding[rows][at, top][:, None])
            slack[rows] = grow(slope_error + slope_error[at, top][:, None] + gamma(2) * slope[rows] + rounding[rows])
        if p is not None and not p.factor.any():  # nothing can move
            slope[:] = slack[:] = rounding[:] = 0
        return winner, margin, width, slope + slack, 2 * slack, rounding

    def _block(self, out, rows, Z, z_error, lost, low, high, method):
        winner, margin, width, slope, slack, rounding = self._margins(Z, z_error, lost)
        at = np.arange(len(Z))
        bends = low[winner]
        radius = quadric.closed_form_radius(margin, slope, bends)
        radius[at, winner] = np.inf
        if method == "exact":
            found = self._solve(Z, z_error, winner, margin, width, rounding, radius)
            best, rival, reached, s = found
        else:
            rival = radius.argmin(axis=1)
            best = radius[at, rival]
            reached, s = np.full(len(Z), np.inf), None
        alone = np.isinf(best)
        if alone.any():  # no rival can win: name the one with the next best score
            others = margin[alone]
            others[np.arange(len(others)), winner[alone]] = np.nan
            rival = rival.copy()
            rival[alone] = _second(others)
        if method == "paper":
            others = margin.copy()
            others[at, winner] = np.inf
            own = np.ones_like(margin, dtype=bool)
            own[at, winner] = False
            best = quadric.closed_form_radius(
                others.min(axis=1),
                np.where(own, slope, 0).max(axis=1),
                np.where(own, np.minimum(bends, 0), 0).min(axis=1),
            )
        straight = quadric.straight_attack(
            np.maximum(margin[at, rival], 0) + width[at, rival],
            np.maximum(slope[at, rival] - slack[at, rival], 0),
            high[winner, rival],
        )
        if self._edge < np.inf:  # where squares might overflow
            reach = np.abs(Z - self.discriminant.means[winner]).max(axis=1) * np.sqrt(Z.shape[1]) + z_error
            reach = (reach + np.abs(self.discriminant.means).max() * np.sqrt(Z.shape[1])) * self.discriminant.units.max()
            with np.errstate(divide="ignore"):
                best = np.minimum(best, np.maximum(self._edge - 2 * reach, 0) / self._stretch.max())
        out.winner[rows], out.runner_up[rows] = winner, rival
        out.radius[rows] = best
        out.attack_radius[rows] = np.minimum(reached, straight)
        if out.attack is not None:
            out.attack[rows] = self._attacks(Z, winner, rival, margin, width, s)

    def _groups(self, winner, rival, among):
        """Rows of ``among`` by (winner, rival), at most a scratch-ful at a time."""
        key = winner[among] * len(self.classes) + rival[among]
        order = np.argsort(key, kind="stable")
        cuts = np.flatnonzero(np.diff(key[order])) + 1
        for group in np.split(among[order], cuts):
            if len(group):
                i, j = winner[group[0]], rival[group[0]]
                for part in batches(len(group), 8 * 6 * self.discriminant.n_features):
                    yield int(i), int(j), group[part]

    def _solve(self, Z, z_error, winner, margin, width, rounding, bound):
        """Exact distances, nearest candidate first; a rival whose closed form passes the best so far needs none."""
        n, K = bound.shape
        best, reached, s = np.full(n, np.inf), np.full(n, np.inf), np.zeros(n)
        rival = bound.argmin(axis=1)
        first = rival.copy()
        for turn in range(-1, K):
            visit = first if turn < 0 else np.full(n, turn)
            wanted = (bound[np.arange(n), visit] < best) & (visit != winner)
            if turn >= 0:
                wanted &= first != turn
            for i, j, group in self._groups(winner, visit, np.flatnonzero(wanted)):
                here = (array[group, j] for array in (margin, width, rounding))
                found = self._distance(Z[group], z_error[group], i, j, *here, best[group])
                radius = np.maximum(found.radius, bound[group, j])  # both bound the distance to this rival
                closer = radius < best[group]
                at = group[closer]
                best[at], rival[at], s[at] = radius[closer], j, found.s[closer]
                reached[group] = np.minimum(reached[group], found.attack)
        return best, rival, reached, s

    def _distance(self, Z, z_error, i, j, margin, width, rounding, cutoff):
        pair = self._pair(min(i, j), max(i, j))
        x = np.subtract(Z, self.discriminant.means[i], dtype=float)
        h, error = self._half_slopes(x, z_error, i, j, pair)
        return quadric.distance(
            margin,
            h,
            pair.spectra[int(i > j)],
            margin_error=width,
            slope_error=grow(error + rounding),
            curvature_error=pair.slip,
            cutoff=cutoff,
        )

    def _attacks(self, Z, winner, rival, margin, width, s):
        """The shortest perturbation found against the runner-up, lifted to the space of the radius."""
        p = self.pullback
        out = np.full((len(Z), self.discriminant.n_features if p is None else len(p.basis)), np.nan)
        nothing = np.zeros(len(Z))
        for i, j, group in self._groups(winner, rival, np.arange(len(Z))):
            pair = self._pair(min(i, j), max(i, j))
            spectrum = pair.spectra[int(i > j)]
            x = np.subtract(Z[group], self.discriminant.means[i], dtype=float)
            h, _ = self._half_slopes(x, nothing[group], i, j, pair)
            top = np.maximum(margin[group, j], 0) + width[group, j]
            multiplier = quadric.distance(top, h, spectrum).s if s is None else s[group]
            y = quadric.attack_coordinates(top, h, spectrum, multiplier)
            y = pair.basis.unrotate(y[:, ::-1] if i > j else y)
            out[group] = y if p is None else p.lift(y)
        return out


def grow_away(values: np.ndarray, up: bool = False) -> np.ndarray:
    """One rounding outwards: down, or up."""
    step = 2 * UNIT * np.abs(values)
    return values + step if up else values - step


def _largest_singular(units: np.ndarray, matrix: np.ndarray) -> float:
    """Upper bound of the spectral norm of a matrix, diagonal ones 1-D, with its rows in these units."""
    if matrix.ndim == 1:
        return float(grow((units * np.abs(matrix)).max()))
    return float(grow(spectral(units[:, None] * matrix)))


def _extreme_eigenvalues(W: np.ndarray) -> tuple[np.ndarray, float]:
    """Sorted eigenvalues and how far they can be from the true ones (backward error of a symmetric eigensolver)."""
    if W.ndim == 1:
        return np.sort(W), 0.0
    return np.linalg.eigvalsh(W), gamma(10 * len(W)) * fro(W)


class EllipsoidBoundary:
    """Nearest-ellipsoid rule, l2: half the lead of the nearest ellipsoid (theory 1.7), divided by the step's norm.

    The one Lipschitz certificate among the three: sound, not exact. Safe ends differ by sign: the runner-up's distance is a
    dual value, the winner's a feasible point.
    """

    def __init__(self, discriminant: NearestEllipsoid, fold: AffineStep | None = None, scale: np.ndarray | None = None):
        step = _scaled(fold, scale)
        self.discriminant, self.fold, self.size = discriminant, fold, 1.0 if step is None else step.stretch(2, 2)
        self.classes = np.flatnonzero(discriminant.alive)

    def nearest(self, X, x_error=None, *, method="auto", attack=False) -> Nearest:
        """Winner, runner-up and half the winner's lead of every row of X."""
        out = Nearest.empty(len(X), None)
        Z, z_error = _latents(self.fold, X, x_error)
        low, high, side = self.discriminant.distances(Z)
        at, winner, _ = _split(self.discriminant.leads(low, high)[:, self.classes])
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
        radius = np.nan_to_num(radius - np.nan_to_num(blur, nan=0.0, posinf=np.inf), nan=0.0, posinf=np.inf)
        radius = radius - 2 * z_error  # every distance is 1-Lipschitz in z
        out.winner, out.runner_up = self.classes[winner], self.classes[rival]
        with np.errstate(divide="ignore", invalid="ignore"):  # size 0: no feature can move
            out.radius = np.where(radius > 0, shrink(radius / self.size), 0.0)
        return out
