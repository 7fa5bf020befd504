"""Distance to the boundaries between quadratic scores."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from skcert._progress import bar
from skcert.boundaries.common import Nearest, latents_of, scaled, second_best, split
from skcert.discriminants import Quadratic, batches, of_class
from skcert.geometry import affine, norms, quadric
from skcert.geometry.products import one_thread, rows_times, threads_for
from skcert.geometry.rounding import HALF, UNIT, column_norms, fro, gamma, grow, largest, product, row_norms, spectral
from skcert.perturbations import AffineStep, Pullback

#: bytes that eigenbases of pairs may occupy; above it ``method="auto"`` is "pairwise" and "exact" keeps the latest ones
PAIR_BUDGET = 2**30
#: up to this dimension, rows of all pairs of classes are solved together
SHORT = 128
#: classes with diagonal precisions that are worked on together
TOGETHER = 8
#: d^3 times the number of pairs up to which "pairwise" takes lambda_min of every pair, not Weyl's bound
PAIR_EIGENVALUES = 2e11


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
    curvature: np.ndarray | None  # C'WC, for the norms other than l2
    curvature_error: float  # its own, and what predict loses beside

    @property
    def nbytes(self) -> int:
        basis = self.basis.values if self.basis.vectors is None else self.basis.vectors
        return basis.nbytes + (0 if self.curvature is None else self.curvature.nbytes)


@dataclass(frozen=True)
class Terms:
    """What is known of every class at a batch of points, shapes (n, K); ``slopes`` are K arrays of rows."""

    scores: np.ndarray
    score_error: np.ndarray
    slopes: list[np.ndarray]
    slope_error: np.ndarray
    rounding: np.ndarray


class QuadraticBoundary:
    """Quadrics between Gaussian scores (theory 1.1 to 1.3, 1.5, 2.1): exact in l2, and in linf where curvatures are diagonal.

    Parameters
    ----------
    discriminant : Quadratic
    fold : AffineStep or None
        From the space of the points to the latents; None where they are the same.
    scale : ndarray or None
        Of the features of the points.
    norm : {1, 2, inf}
    unit : float
        Of rounding, in which ``predict`` computes its scores.
    budget : int
        Bytes the eigenbases of pairs may keep.

    Attributes
    ----------
    nbytes : int
        Bytes of the eigenbases kept between batches.
    """

    def __init__(
        self,
        discriminant: Quadratic,
        fold: AffineStep | None = None,
        scale: np.ndarray | None = None,
        norm: float = 2,
        unit: float = UNIT,
        budget: int | None = None,
    ):
        self.norm = norm
        alive = np.isfinite(discriminant.constants)  # a class with prior 0 is no rival
        self.classes = np.flatnonzero(alive)
        self.discriminant = d = discriminant.some(self.classes)
        step = scaled(fold, scale)
        if norm == 2:
            self.pullback = p = None if step is None else Pullback.of(step)
        else:
            ball = AffineStep.scaling(np.ones(d.n_features)) if step is None else step
            plain = d.diagonal and ball.only_scales
            self.pullback = p = Pullback.of(ball) if plain else Pullback.straight(ball)
        self.budget = PAIR_BUDGET if budget is None else budget
        # what predict loses in the ball, where D_k x has grown by stretch_k ||y|| and the steps have moved it by noise_k ||y||
        self.unit, self._kappa = unit, d.rounding(unit)
        moves = p is None or bool(p.factor.any())
        self._stretch = np.array([self._reach(units) if moves else 0.0 for units in d.units])
        self._noise: tuple[np.ndarray, np.ndarray] | None = None
        swings = np.zeros(len(d.units))
        self.fold = fold
        if fold is not None and fold.noise is not None and step is not None and step.noise is not None:
            lost, constant = fold.noise
            along = [column_norms(units * lost if lost.ndim == 1 else units[:, None] * lost) for units in d.units]
            self._noise = grow(np.array(along)), grow(row_norms(d.units * constant))
            self.fold = replace(fold, noise=None)
            if moves:
                swings = np.array([_largest_singular(units, step.noise[0]) for units in d.units])
        self._widest = d.units.max(axis=1)
        self._noise_swings, self._strength = swings, d.strength + self._kappa
        curving = self._kappa * self._stretch**2 + self._strength * swings * (2 * self._stretch + swings)
        self._rounding = grow(curving[:, None] + curving)
        self._edge = np.inf
        if fold is not None or d.growth is not None:  # on latents as they are, our predict outlives overflow
            growth = d.rounding(unit) / gamma(2 * d.n_features + 16, unit)
            self._edge = float(np.sqrt(largest(unit) / np.maximum(growth.max(), 1)))
        self._pairs: OrderedDict[tuple[int, int], _Pair] = OrderedDict()
        self.nbytes = 0
        #: classes that are worked on together: their products one by one, numbers alone a few at a time
        self._blocks: list[Any] = list(range(len(self.classes)))
        if self._plain:
            self._blocks = [slice(k, k + TOGETHER) for k in range(0, len(self.classes), TOGETHER)]
        self._extremes: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def _reach(self, units: np.ndarray) -> float:
        """Upper bound of ||D C||_2, D the units of a class and C the way from the ball to the latents."""
        p = self.pullback
        if p is None:
            return float(units.max())
        return float(grow(_largest_singular(units, p.factor) + units.max() * p.error))

    # -- once per pair of classes ----------------------------------------------------------------------------------

    @property
    def full_nbytes(self) -> int:
        """Bytes the eigenbases of all pairs would take; 0 where curvatures are diagonal."""
        K = len(self.classes)
        return 0 if self._plain else K * (K - 1) // 2 * self._rank**2 * 8

    @property
    def exact(self) -> bool:
        """Whether ``method="exact"`` is the distance itself."""
        return self.norm == 2 or (self.norm == np.inf and self._plain)

    @property
    def _plain(self) -> bool:
        return self.discriminant.diagonal and (self.pullback is None or self.pullback.factor.ndim == 1)

    @property
    def _by_rows(self) -> bool:
        """Whether rows of several pairs are solved together, each with the spectrum of its own: short ones, and diagonals."""
        return self.norm == 2 and (self._plain or self._rank <= SHORT)

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
        with threads_for(self._rank):
            made = self._made(i, j)
        self.nbytes += made.nbytes
        while self._pairs and self.nbytes > self.budget:
            self.nbytes -= self._pairs.popitem(last=False)[1].nbytes
        self._pairs[i, j] = made
        return made

    def _made(self, i: int, j: int) -> _Pair:
        d, euclidean = self.discriminant, self.norm == 2
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
        kept = None if euclidean else bent, grow(error + self._rounding[i, j])
        return _Pair(basis, spectra, shifts, errors, fro(W), doubt, slip, *kept)

    def _half_slopes(self, x: np.ndarray, x_error: np.ndarray, i: int, j: int, pair: _Pair):
        """h = V'C'g of every row x = z - mu_i against rival j, eigenvalues ascending, and bounds of the l2 errors.

        For the other norms C'g itself.
        """
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
            g = (x * W if d.diagonal else rows_times(x, W)) + pair.shifts[flip]
            error = (gamma(d.n_features + 4) * pair.size + pair.doubt) * lengths + pair.size * x_error
            error += pair.shift_errors[flip] + gamma(2) * row_norms(g)
            pulled = gamma(d.n_features + 2) * (fro(p.factor) if p.factor.ndim == 2 else p.size) + p.error
            error = p.size * error + pulled * (row_norms(g) + error)
            h = p.slopes(g)
            if self.norm != 2:
                return h, grow(error)
            h, turn = basis.rotate(h)
            error += turn
        return (np.ascontiguousarray(h[:, ::-1]) if flip else h), grow(error)

    def _bends(self, exact: bool) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of lambda_min and lambda_max of every W_ij = P_j - P_i: of each pair, or Weyl's from each class alone."""
        K = len(self.discriminant.means)
        pairwise = exact and K * (K - 1) / 2 * self._rank**3 <= PAIR_EIGENVALUES
        key = "pairs" if pairwise else "weyl"
        if key in self._extremes:
            return self._extremes[key]
        low, high = np.zeros((K, K)), np.zeros((K, K))
        if self._plain:
            bent = np.array([self._curvature(k) for k in range(K)])
            error = np.array([self._curvature_error(k) for k in range(K)]) + gamma(4) * bent.max(axis=1)
            for i in range(K):
                low[i] = (bent - bent[i]).min(axis=1) - (error + error[i] + self._rounding[i])
            low = grow_away(low)
            high = -low.T
        elif pairwise:
            with bar(K * (K - 1) // 2, "eigenvalues of pairs of classes", "pair") as done:
                for i, j in combinations(range(K), 2):
                    if (i, j) in self._pairs:
                        values, error = self._pairs[i, j].basis.values, self._pairs[i, j].slip
                    else:
                        _, _, W, error = self._difference(i, j)
                        values, slip = _extreme_eigenvalues(W)
                        error = error + slip + self._rounding[i, j]
                    low[i, j], high[i, j] = values[0] - error, values[-1] + error
                    low[j, i], high[j, i] = -high[i, j], -low[i, j]
                    done.update()
        else:
            ends = []
            for k in range(K):
                values, slip = _extreme_eigenvalues(self._curvature(k))
                slip += self._curvature_error(k)
                ends.append((values[0] - slip, values[-1] + slip))
            bottom, top = np.array(ends).T
            low = grow_away(bottom[None] - top[:, None] - self._rounding)
            high = grow_away(top[None] - bottom[:, None] + self._rounding, up=True)
        self._extremes[key] = low, high
        return low, high

    def _curvature(self, k: int) -> np.ndarray:
        """C'P_kC."""
        d, p = self.discriminant, self.pullback
        bent = d.precisions[k] if p is None else p.curvature(d.precisions[k])
        return bent if bent.ndim == 1 else (bent + bent.T) / 2

    def _curvature_error(self, k: int) -> float:
        """Upper bound of the spectral error of C'P_kC."""
        d, p = self.discriminant, self.pullback
        if p is None:
            return float(d.doubts[k])
        slip = d.doubts[k] * p.size**2 + gamma(2 * d.n_features + 4) * fro(p.factor) ** 2 * fro(d.precisions[k])
        return float(grow(slip + (2 * p.size + p.error) * p.error * d.sizes[k]))

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
        with threads_for(self._rank):
            low, high = self._bends(exact=True)
        bytes_per_row = 8 * 12 * K + (0 if self.fold is None else 8 * 2 * (dims + X.shape[1]))
        small = one_thread() if self.norm != 2 or self._rank <= SHORT else nullcontext()
        with small, bar(len(X), "certifying", "row") as done:
            for rows in self._portions(X, bytes_per_row, method):
                Z, error, lost = self._latents(X[rows], None if x_error is None else x_error[rows])
                self._block(out, rows, Z, error, lost, low, high, method)
                done.update(len(Z))
        out.winner, out.runner_up = self.classes[out.winner], self.classes[out.runner_up]
        return out

    def _portions(self, X, bytes_per_row: int, method: str) -> Iterator[slice | np.ndarray]:
        """Rows to work on at a time; class by class where there are more eigenbases than can be kept."""
        if method != "exact" or self.full_nbytes <= self.budget:
            yield from batches(len(X), bytes_per_row, 8 * 2**20)
            return
        winner = np.empty(len(X), dtype=np.intp)
        for rows in batches(len(X), 16 * self.discriminant.n_features):
            winner[rows] = self.discriminant.winners(latents_of(self.fold, X[rows], None)[0])
        for k in range(len(self.classes)):
            own = np.flatnonzero(winner == k)
            for part in batches(len(own), bytes_per_row, 8 * 2**20):
                yield own[part]

    def _latents(self, X, x_error):
        """Latents, their l2 errors, and what the steps may lose elsewhere in the ball, in the units of every class."""
        Z, error = latents_of(self.fold, X, x_error)
        if self._noise is None or self.fold is None:
            return Z, error, np.zeros((len(Z), len(self.classes)))
        return Z, error, grow(rows_times(np.abs(X - self.fold.center), self._noise[0].T) + self._noise[1], X.shape[1] + 8)

    def _terms(self, Z, z_error, lost, slopes: bool = True) -> Terms:
        """Scores and pulled-back P_k (z - mu_k) of every class, if asked for, and what they and ``predict`` may lose."""
        d, p = self.discriminant, self.pullback
        n, K = len(Z), len(d.means)
        scores, score_error, slope_error, rounding = (np.empty((n, K)) for _ in range(4))
        kept: list[np.ndarray] = []
        pulled = 0.0
        if p is not None:
            pulled = gamma(d.n_features + 2) * (fro(p.factor) if p.factor.ndim == 2 else p.size) + p.error
        for k in self._blocks:
            score, y, x = d.score_and_slope(Z, k)
            error, off, rounded, reach = d.errors(x, y, k)
            reach = grow(reach + of_class(self._widest, k) * z_error, d.n_features)
            lengths, size = row_norms(y) + off, of_class(d.sizes, k)
            # of this score, and of that which predict computes at these very latents
            error = error + d.predicted(rounded, reach, k, self.unit) + (2 * lengths + size * z_error) * z_error
            moved, strength = lost.T[k], of_class(self._strength, k)
            error += strength * (2 * reach + moved) * moved
            swing, stretch = of_class(self._noise_swings, k), of_class(self._stretch, k)
            shaken = of_class(self._kappa, k) * reach * stretch + strength * (reach * swing + moved * (stretch + swing))
            off = off + size * z_error
            if p is not None:
                off = p.size * off + pulled * lengths
            scores[:, k], score_error[:, k], slope_error[:, k], rounding[:, k] = score.T, error.T, off.T, shaken.T
            if slopes:
                y = y if p is None else p.slopes(y)
                kept.extend(y if self._plain else [y])
        return Terms(scores, score_error, kept, slope_error, rounding)

    def _pulled(self, Z, k) -> np.ndarray:
        """Pulled-back P_k (z - mu_k), of diagonal precisions: of a block of classes, or of a class for every row."""
        d, p = self.discriminant, self.pullback
        means, precisions = (of_class(d.means, k), of_class(d.precisions, k))
        y = np.subtract(Z, means, dtype=float, order="C") * precisions
        return y if p is None else p.slopes(y)

    def _margins(self, Z, z_error, lost):
        """Scores' argmax; margins from below with their width; norms of half-slopes from above with their width.

        And what of that is due to the rounding of ``predict`` away from the points.
        """
        d, p = self.discriminant, self.pullback
        K, n = len(d.means), len(Z)
        winner, margin, width = np.empty(n, dtype=np.intp), np.empty((n, K)), np.empty((n, K))
        slope, slack, rounding = np.empty((n, K)), np.empty((n, K)), np.empty((n, K))
        abreast, scratch = (TOGETHER, 2**20) if self._plain else (K + 6, 24 * 2**20)
        for rows in batches(n, 8 * d.n_features * abreast, scratch):
            terms = self._terms(Z[rows], z_error[rows], lost[rows], slopes=not self._plain)
            at, top, best = split(terms.scores)
            if not (known := best > -np.inf).all():  # overflow, of which nothing is known but what predict says
                top[~known] = d.winners(Z[rows][~known])
            if self._plain:
                own = self._pulled(Z[rows], top)
            else:
                own = np.empty_like(terms.slopes[0])
                for k in range(K):
                    own[top == k] = terms.slopes[k][top == k]
            for k in self._blocks:
                gap = (self._pulled(Z[rows], k) if self._plain else terms.slopes[k]) - own
                slope[rows, k] = (row_norms(gap) if self.norm == 2 else affine.dual_norms(gap, self.norm)).T
            gap = best[:, None] - terms.scores
            error = grow(terms.score_error + terms.score_error[at, top][:, None] + 2 * UNIT * np.abs(gap))
            winner[rows], margin[rows], width[rows] = top, gap - error, 2 * error
            rounding[rows] = grow(terms.rounding + terms.rounding[at, top][:, None])
            wide = terms.slope_error + terms.slope_error[at, top][:, None] + rounding[rows]
            if self.norm == np.inf:  # ||e||_1 of an l2 error
                wide *= np.sqrt(own.shape[1])
            slack[rows] = grow(wide + 2 * gamma(2) * slope[rows])
        if p is not None and not p.factor.any():  # nothing can move
            slope[:] = slack[:] = rounding[:] = 0
        return winner, margin, width, slope + slack, 2 * slack, rounding

    def _block(self, out, rows, Z, z_error, lost, low, high, method):
        winner, margin, width, slope, slack, rounding = self._margins(Z, z_error, lost)
        at = np.arange(len(Z))
        low, high = self._along_ball(low, high)
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
            rival[alone] = second_best(others)
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
        best = self._before_overflow(best, Z, z_error)
        out.winner[rows], out.runner_up[rows] = winner, rival
        out.radius[rows] = best
        out.attack_radius[rows] = np.minimum(reached, straight)
        if self.norm != 2:
            lengths, points = self._descend(Z, z_error, winner, rival, margin + width, rounding)
            out.attack_radius[rows] = np.minimum(out.attack_radius[rows], lengths)
            if out.attack is not None and self.pullback is not None:
                out.attack[rows] = self.pullback.lift(points)
        elif out.attack is not None:
            out.attack[rows] = self._attacks(Z, winner, rival, margin, width, s)

    def _before_overflow(self, radius, Z, z_error):
        """The radius, or where squares might overflow before it does."""
        if self._edge == np.inf:
            return radius
        d = self.discriminant
        reach = np.sqrt(Z.shape[1]) * (np.abs(Z).max(axis=1) + np.abs(d.means).max()) + z_error
        room = self._edge - 2 * d.units.max() * reach
        if self.unit >= HALF:  # numbers end so soon that the lengths are measured
            pairs = zip(d.means, d.units, strict=True)
            lengths = np.max([row_norms((Z - mean) * units) + units.max() * z_error for mean, units in pairs], axis=0)
            room = self._edge - 2 * grow(lengths, Z.shape[1] + 8)
        with np.errstate(divide="ignore"):
            return np.minimum(radius, np.maximum(room, 0) / self._stretch.max())

    def _along_ball(self, low, high):
        """Bounds of u'Wu over the unit sphere of the norm, and along its steepest direction, from eigenvalues (theory 1.5)."""
        if self.norm == 2:
            return low, high
        n = self._rank
        if self.norm == 1:
            return np.where(low > 0, low / n, low), high
        return np.where(low > 0, low, n * low), n * np.maximum(high, 0)

    def _groups(self, winner, rival, rows, together: bool):
        """``rows`` by (winner, rival), a scratch-ful at a time; or of all pairs together, then with classes row by row."""
        key = winner * len(self.classes) + rival
        order = np.argsort(key, kind="stable")
        if together:
            for part in batches(len(rows), 8 * 12 * self._rank, 2**21):
                some = order[part]
                yield winner[some], rival[some], rows[some]
            return
        cuts = np.flatnonzero(np.diff(key[order])) + 1
        for group in np.split(order, cuts):
            if len(group):
                i, j = winner[group[0]], rival[group[0]]
                for part in batches(len(group), 8 * 6 * self.discriminant.n_features):
                    yield int(i), int(j), rows[group[part]]

    def _solve(self, Z, z_error, winner, margin, width, rounding, bound):
        """Exact distances, nearest candidate first; a rival whose closed form passes the best so far needs none."""
        n, K = bound.shape
        best, reached, s = np.full(n, np.inf), np.full(n, np.inf), np.zeros(n)
        order = bound.argsort(axis=1, kind="stable")
        rival = order[:, 0].copy()
        turn = 0
        while turn < K:
            # the nearest alone, then a few at a time, so that there are rows enough for the product of every pair
            visit = order[:, turn : turn + max(1, 8 * turn)]
            turn += visit.shape[1]
            rows, column = np.nonzero(np.take_along_axis(bound, visit, axis=1) < best[:, None])
            if not len(rows):
                break
            for i, j, group in self._groups(winner[rows], visit[rows, column], rows, self._by_rows):
                numbers = margin[group, j], width[group, j], rounding[group, j]
                found = self._distance(Z[group], z_error[group], i, j, numbers, best[group])
                radius = np.maximum(found.radius, bound[group, j])  # both bound the distance to this rival
                closer = np.flatnonzero(radius < best[group])[::-1]
                closer = closer[np.argsort(-radius[closer], kind="stable")]  # of several for one row the nearest comes last
                nearer = group[closer]
                best[nearer], rival[nearer], s[nearer] = radius[closer], np.broadcast_to(j, len(group))[closer], found.s[closer]
                np.minimum.at(reached, group, found.attack)
        return best, rival, reached, s

    def _distance(self, Z, z_error, i, j, numbers, cutoff):
        margin, width, rounding = numbers
        if self._by_rows:
            spectrum, h, error, slip = self._alone(Z, z_error, i, j)
            errors = {"margin_error": width, "slope_error": grow(error + rounding), "curvature_error": slip}
            return quadric.distance(margin, h, spectrum, cutoff=cutoff, **errors)
        pair = self._pair(min(i, j), max(i, j))
        x = np.subtract(Z, self.discriminant.means[i], dtype=float, order="C")
        h, error = self._half_slopes(x, z_error, i, j, pair)
        if self.norm != 2:
            return self._elsewhere(margin, h, grow(error + rounding), i, j, pair)
        return quadric.distance(
            margin,
            h,
            pair.spectra[int(i > j)],
            margin_error=width,
            slope_error=grow(error + rounding),
            curvature_error=pair.slip,
            cutoff=cutoff,
        )

    def _alone(self, Z, z_error, i: np.ndarray, j: np.ndarray):
        """Of classes i against rivals j, row by row: the spectrum, half-slopes, their l2 errors, and what it was lowered by."""
        if self._plain:
            return self._diagonal(Z, z_error, i, j)
        h, values = np.empty((len(Z), self._rank)), np.empty((len(Z), self._rank))
        error, slip = np.empty(len(Z)), np.empty(len(Z))
        key = i * len(self.classes) + j
        for one in np.unique(key):
            rows = np.flatnonzero(key == one)
            a, b = divmod(int(one), len(self.classes))
            pair = self._pair(min(a, b), max(a, b))
            x = np.subtract(Z[rows], self.discriminant.means[a], dtype=float, order="C")
            h[rows], error[rows] = self._half_slopes(x, z_error[rows], a, b, pair)
            values[rows], slip[rows] = pair.spectra[int(a > b)].values, pair.slip
        return quadric.Spectrum.of_rows(values), h, error, slip

    def _diagonal(self, Z, z_error, i: np.ndarray, j: np.ndarray):
        """The same where curvatures are diagonal: nothing is a product of matrices, and nothing is kept."""
        d, p = self.discriminant, self.pullback
        W = d.precisions[j] - d.precisions[i]
        x, between = np.subtract(Z, d.means[i], dtype=float, order="C"), d.means[i] - d.means[j]
        shift = d.precisions[j] * between
        g = x * W + shift
        top, lengths = np.abs(W).max(axis=1), row_norms(x) + z_error
        doubt = d.doubts[i] + d.doubts[j] + UNIT * row_norms(W)
        lost = gamma(8) * row_norms(shift) + d.doubts[j] * row_norms(between)
        error = (doubt + 2 * UNIT * top) * lengths + top * z_error + lost + gamma(4) * row_norms(g)
        if p is not None:
            error = p.size * error + (gamma(d.n_features + 2) * p.size + p.error) * (row_norms(g) + error)
            shares = gamma(2 * d.n_features + 4) * fro(p.factor) ** 2 + (2 * p.size + p.error) * p.error
            doubt = doubt * p.size**2 + shares * row_norms(W)
            g, W = p.slopes(g), W * p.factor**2
            top = np.abs(W).max(axis=1)
        slip = grow(doubt + 2 * UNIT * top + self._rounding[i, j], 16)
        return quadric.Spectrum.of_rows(W - slip[:, None]), g, grow(error, 16), slip

    @staticmethod
    def _oriented(pair: _Pair, i: int, j: int) -> np.ndarray:
        """The curvature of class i against j."""
        assert pair.curvature is not None  # it is kept for the norms other than l2
        return -pair.curvature if i > j else pair.curvature

    def _elsewhere(self, margin, g, error, i, j, pair) -> quadric.Distance:
        """Lower bounds of the l1 or linf distance (theory 1.5)."""
        flip, W = int(i > j), self._oriented(pair, i, j)
        errors = {"slope_error": error, "curvature_error": pair.curvature_error}
        nothing = np.full(len(g), np.inf), np.zeros(len(g))
        if W.ndim == 1 and self.pullback is not None:
            moving = self.pullback.factor > 0
            W, g = W[moving], g[:, moving]
            if self.norm == np.inf:
                return quadric.Distance(norms.separable_radius(margin, g, W, **errors), *nothing)
            return quadric.Distance(norms.cross_radius(margin, g, W, **errors), *nothing)
        h, turn = pair.basis.rotate(g)
        h = np.ascontiguousarray(h[:, ::-1]) if flip else h
        euclidean = quadric.distance(margin, h, pair.spectra[flip], slope_error=grow(error + turn)).radius
        bound = norms.box_radius if self.norm == np.inf else norms.cross_radius
        return quadric.Distance(bound(margin, g, W, euclidean=euclidean, **errors), *nothing)

    def _descend(self, Z, z_error, winner, rival, margin, rounding):
        """Lengths and points of attacks in l1 or linf against the runner-up, by projected gradients."""
        lengths, points = np.full(len(Z), np.inf), np.full((len(Z), self._rank), np.nan)
        for i, j, group in self._groups(winner, rival, np.arange(len(Z)), False):
            pair = self._pair(min(i, j), max(i, j))
            W = self._oriented(pair, i, j)
            x = np.subtract(Z[group], self.discriminant.means[i], dtype=float, order="C")
            g, error = self._half_slopes(x, z_error[group], i, j, pair)
            top = np.maximum(margin[group, j], 0)
            errors = {"slope_error": grow(error + rounding[group, j]), "curvature_error": pair.curvature_error}
            if W.ndim == 1 and self.norm == np.inf:
                found = norms.separable_attack(top, g, W, **errors)
            else:
                found = norms.descent_attack(top, g, W, self.norm, **errors)
            lengths[group], points[group] = found
        return lengths, points

    def _attacks(self, Z, winner, rival, margin, width, s):
        """The shortest perturbation found against the runner-up, lifted to the space of the radius."""
        p = self.pullback
        out = np.full((len(Z), self.discriminant.n_features if p is None else len(p.basis)), np.nan)
        nothing = np.zeros(len(Z))
        for i, j, group in self._groups(winner, rival, np.arange(len(Z)), self._plain):
            if self._plain:
                spectrum, h, _, _ = self._diagonal(Z[group], nothing[group], i, j)
            else:
                pair = self._pair(min(i, j), max(i, j))
                spectrum = pair.spectra[int(i > j)]
                x = np.subtract(Z[group], self.discriminant.means[i], dtype=float, order="C")
                h, _ = self._half_slopes(x, nothing[group], i, j, pair)
            top = np.maximum(margin[group, j], 0) + width[group, j]
            multiplier = quadric.distance(top, h, spectrum).s if s is None else s[group]
            y = quadric.attack_coordinates(top, h, spectrum, multiplier)
            if not self._plain:
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
