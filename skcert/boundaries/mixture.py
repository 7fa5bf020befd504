"""Distance to the boundaries between classes of several components (theory 1.6), linear and quadratic."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy

from skcert._progress import bar
from skcert.boundaries.affine import AffineBoundary
from skcert.boundaries.common import Nearest
from skcert.boundaries.quadratic import QuadraticBoundary, Terms
from skcert.discriminants import Affine, LogSumExp, Quadratic, batches
from skcert.geometry import affine
from skcert.geometry.mixture import Rival, eigenbases, farthest, mixture_radius
from skcert.geometry.products import one_thread, rows_times
from skcert.geometry.rounding import UNIT, fro, gamma, grow, row_norms, shrink
from skcert.perturbations import AffineStep

#: largest dimension in which every point gets eigenbases of its own where components of its class share it
OWN_BASES = 128
#: a component with all of the responsibility but this stands for its class
SOLE = 1e-11
#: references of the own class that are tried against every rival: responsibilities at the point, then where it is crossed
REFERENCES = 3
#: steps in which an attack is shortened, lengths at which a crossing is looked for, and halvings between two of them
DESCENTS = 6
STRETCHES = (1.0, 1.001, 1.1, 1.5, 2.5, 6.0, 40.0, 1000.0)
HALVINGS = 30


def _weights(scores: np.ndarray, scale: float) -> np.ndarray:
    """Responsibilities of components, shape (n, C), from scores of ``scale`` times log densities."""
    with np.errstate(over="ignore", invalid="ignore"):
        shares = np.exp((scores - scores.max(axis=1, keepdims=True)) / scale)
        return np.nan_to_num(shares / shares.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class _Own:
    """The winner's side for one theta per row: log-sum-exp >= sum theta_c a_c + H(theta), equality at the responsibilities."""

    theta: np.ndarray
    height: np.ndarray
    error: np.ndarray

    @classmethod
    def of(cls, theta, scores, errors, scale) -> _Own:
        """The bound at these scores; theta is on the simplex to within rounding, which is paid for."""
        entropy = -scale * xlogy(theta, theta).sum(axis=1)
        height = (theta * scores).sum(axis=1) + entropy
        size = (theta * np.abs(scores)).sum(axis=1) + np.abs(entropy) + scale
        return cls(theta, height, grow((theta * errors).sum(axis=1) + gamma(2 * theta.shape[1] + 16) * size))


@dataclass
class _Batch:
    """Points on their way: scores (n, C) of the living components, classes (n, K), winners, and what the kinds need beside."""

    scores: np.ndarray
    classes: np.ndarray
    winner: np.ndarray


class _Mixture(ABC):
    """What linear and quadratic components share: the order in which rivals are visited, and the attacks.

    The kinds say how far a rival is at least, how far with more work, how much the winner leads after a move, and where an
    attack may start; ``at`` are the rows they are asked for.
    """

    #: of radii with method "exact": they are those of quadrics and hyperplanes, not of the boundary
    exact = False
    mixture: LogSumExp
    norm: float

    def _members(self, alive: np.ndarray) -> None:
        """Note which components belong to which class; ``alive`` are those that the boundary knows."""
        self._labels = labels = self.mixture.labels[alive]
        self.rivals = np.unique(labels)
        self.members = {int(k): [int(c) for c in np.flatnonzero(labels == k)] for k in self.rivals}
        # what the logarithm of a sum of exponentials may lose beside its terms
        self.slack = (len(labels) + 16) * 8 * UNIT * self.mixture.scale

    def _sum(self, scores: np.ndarray) -> np.ndarray:
        """Log-sum-exp over the columns."""
        top = scores.max(axis=1)
        with np.errstate(all="ignore"):
            return top + self.mixture.scale * np.log(np.exp((scores - top[:, None]) / self.mixture.scale).sum(axis=1))

    def _classes(self, scores) -> tuple[np.ndarray, np.ndarray]:
        """Log-sum-exp of every living class, -inf for others, and the winners."""
        out = np.full((len(scores), self.mixture.n_classes), -np.inf)
        for k, own in self.members.items():
            out[:, k] = self._sum(scores[:, own])
        return out, np.where(np.isnan(out), np.inf, out).argmax(axis=1)

    @abstractmethod
    def _quick(self, batch, at, i: int, j: int) -> np.ndarray:
        """Lower bound of the distance to class j."""

    @abstractmethod
    def _pursue(self, batch, at, i: int, j: int, known: np.ndarray, enough: np.ndarray) -> np.ndarray:
        """A better one; what exceeds ``enough`` need not be better."""

    @abstractmethod
    def _lead(self, batch, rival: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Upper bounds of the leads of the winners over rivals after moves u of all rows, and their gradients."""

    @abstractmethod
    def _starts(self, batch, rival: np.ndarray) -> list[np.ndarray]:
        """Moves of all rows that may begin an attack."""

    def _sides(self, winner, rival) -> list[np.ndarray]:
        """Which components stand for either side, shapes (n, C)."""
        return [self._labels == side[:, None] for side in (winner, rival)]

    def _visit(self, batch) -> tuple[np.ndarray, np.ndarray]:
        """Radius and rival of every row: rivals by their quick bound, each pursued only where it may be the nearest."""
        n = len(batch.winner)
        radius, rival = np.full(n, np.inf), np.zeros(n, dtype=np.intp)
        for i in np.unique(batch.winner):
            rows = np.flatnonzero(batch.winner == i)
            others = self.rivals[self.rivals != i]
            if not len(others):
                rival[rows] = i
                continue
            bound = np.stack([self._quick(batch, rows, i, j) for j in others], axis=1)
            order = np.argsort(bound, axis=1, kind="stable")
            best, nearest = np.full(len(rows), np.inf), order[:, 0].copy()
            for turn in range(len(others)):
                visit = order[:, turn]
                ask = bound[np.arange(len(rows)), visit] < best
                for column in np.unique(visit[ask]):
                    at = np.flatnonzero(ask & (visit == column))
                    found = self._pursue(batch, rows[at], i, others[column], bound[at, column], best[at])
                    closer = found < best[at]
                    best[at[closer]], nearest[at[closer]] = found[closer], column
            alone = np.isinf(best)  # no rival can win: name the one with the next best score
            nearest[alone] = batch.classes[rows[alone]][:, others].argmax(axis=1)
            radius[rows], rival[rows] = best, others[nearest]
        return radius, rival

    # -- attacks -----------------------------------------------------------------------------------------------------

    def _assail(self, batch, rival, d: int) -> tuple[np.ndarray, np.ndarray]:
        """Attacks: cross the boundary, go straight to the plane that touches it there, and cross again.

        Lengths and points, infinite and NaN where no crossing was found.
        """
        norm, n = self.norm, len(rival)
        best, points = np.full(n, np.inf), np.full((n, d), np.nan)
        with np.errstate(all="ignore"):
            lead, gradient = self._lead(batch, rival, np.zeros((n, d)))
            starts = [affine.steepest(gradient, norm) * (lead / affine.dual_norms(gradient, norm))[:, None]]
            direction, length = np.zeros((n, d)), np.full(n, np.inf)
            for start in starts + self._starts(batch, rival):
                size = np.linalg.norm(start, ord=norm, axis=1)
                way = start / np.where(size > 0, size, 1.0)[:, None]
                found = self._cross(batch, rival, way, np.where(size > 0, np.minimum(size, length), 0.0))
                shorter = found < length
                direction[shorter], length = way[shorter], np.minimum(found, length)
            for _ in range(DESCENTS):
                closer = length < best * (1 - 1e-7)
                best = np.where(closer, length, best)
                points[closer] = direction[closer] * length[closer, None]
                if not closer.any():
                    break
                toward = affine.steepest(self._lead(batch, rival, np.nan_to_num(points))[1], norm)
                length, asked = np.full(n, np.inf), np.where(closer, best, 0.0)
                before = direction.copy()
                # between the way so far and the way straight to the tangent plane, and, where there are corners, to them
                for mixed in (before + toward,) if norm == 2 else (before + toward, toward):
                    size = np.linalg.norm(mixed, ord=norm, axis=1, keepdims=True)
                    way = np.where(size > 0, mixed / np.where(size > 0, size, 1.0), before)
                    found = self._cross(batch, rival, way, asked)
                    shorter = found < length
                    direction[shorter], length = way[shorter], np.minimum(found, length)
        lost = batch.winner == rival
        return np.where(lost, np.inf, grow(best, d + 8)), np.where(lost[:, None], np.nan, points)

    def _cross(self, batch, rival, direction, reach) -> np.ndarray:
        """Along these directions, a length at which the lead is certainly negative, nearly the first; not sought at reach 0."""
        low, high = np.zeros(len(rival)), np.full(len(rival), np.inf)
        asked = (reach > 0) & np.isfinite(reach)
        for stretch in STRETCHES:
            pending = asked & np.isinf(high)
            if not pending.any():
                break
            trial = np.where(pending, reach * stretch, 0.0)
            crossed = self._lead(batch, rival, direction * trial[:, None])[0] < 0
            high = np.where(pending & crossed, trial, high)
            low = np.where(pending & ~crossed, trial, low)
        found = np.isfinite(high)
        for _ in range(HALVINGS):
            open_ = found & (high > low * (1 + 1e-7))
            if not open_.any():
                break
            trial = np.where(open_, (low + np.where(open_, high, 0)) / 2, 0.0)
            crossed = self._lead(batch, rival, direction * trial[:, None])[0] < 0
            high, low = np.where(open_ & crossed, trial, high), np.where(open_ & ~crossed, trial, low)
        return high


# -- equal covariances ---------------------------------------------------------------------------------------------------


@dataclass
class _LinearBatch(_Batch):
    spent: np.ndarray  # what the certificate and predict may lose together


class LinearMixtureBoundary(_Mixture, AffineBoundary):
    """Linear components, in any l_p norm: hyperplanes for every reference of the own class (theory 1.6, 1.4).

    Parameters
    ----------
    mixture : LogSumExp
        Of :class:`~skcert.discriminants.Affine`.
    fold, scale, norm, unit
        As for :class:`AffineBoundary`.
    """

    def __init__(self, mixture: LogSumExp, fold: AffineStep | None, scale: np.ndarray | None, norm: float, unit: float = UNIT):
        assert isinstance(mixture.components, Affine)
        super().__init__(mixture.components, fold, scale, norm, unit)
        self.mixture = mixture
        self._living = np.flatnonzero(np.isfinite(mixture.components.intercept))
        self._ways = self.slopes[self._living]
        self._members(self._living)

    def nearest(self, X, x_error=None, *, method="exact", attack=False, scores=None) -> Nearest:
        """Winner, runner-up and a lower bound of the distance to the nearest boundary of every row of X."""
        C, d = self.slopes.shape
        out = Nearest.empty(len(X), d if attack else None)
        for rows in batches(len(X), 8 * (4 * C + (C + 6) * d), 16 * 2**20):
            m = rows.stop - rows.start
            raw = np.empty((C, m))
            error = self._scores(X[rows], None if x_error is None else x_error[rows], np.empty((m, d)), raw)
            part = np.ascontiguousarray(raw[self._living].T)
            spent = grow(2 * error + self.slack + 8 * UNIT * np.abs(part).max(axis=1))
            batch = _LinearBatch(part, *self._classes(part), spent)
            radius, rival = self._visit(batch)
            if self._outwards:
                radius = np.minimum(radius, shrink((self._edge - error) / self._outwards))
            out.winner[rows], out.runner_up[rows] = batch.winner, rival
            out.radius[rows] = np.where(radius > 0, shrink(radius), 0)
            length, points = self._assail(batch, rival, d)
            out.attack_radius[rows] = np.maximum(length, out.radius[rows])
            if out.attack is not None:
                out.attack[rows] = points
        return out

    def _responsibilities(self, batch, at, i, moved=0.0):
        return _weights(batch.scores[at][:, self.members[i]] + moved, self.mixture.scale)

    def _lines(self, batch, at, i, j, theta):
        """Heights and slopes of the f_c of rival j, shape (n, C_j), and the differences of slopes."""
        own, theirs = self.members[i], self.members[j]
        reference = _Own.of(theta, batch.scores[at][:, own], np.zeros((len(at), len(own))), self.mixture.scale)
        heights = reference.height[:, None] - batch.scores[at][:, theirs] - (reference.error + batch.spent[at])[:, None]
        heights -= 2 * UNIT * np.abs(heights)
        gaps = self._ways[theirs] - rows_times(theta, self._ways[own])[:, None]
        lost = gamma(len(own) + 8) * np.abs(self._ways).max(initial=0) * self._ways.shape[1]
        return heights, grow(affine.dual_norms(gaps, self.norm) + 2 * self._slope_error + lost), gaps

    def _radius(self, heights, steep):
        return farthest(heights, steep, np.zeros_like(steep), self.mixture.scale)

    def _quick(self, batch, at, i, j):
        """With the responsibilities at the point as reference."""
        return self._radius(*self._lines(batch, at, i, j, self._responsibilities(batch, at, i))[:2])

    def _pursue(self, batch, at, i, j, known, enough):
        """With the responsibilities where the nearest hyperplane is touched, and again."""
        best, radius, own = known.copy(), known, self.members[i]
        theta = self._responsibilities(batch, at, i)
        for _ in range(REFERENCES if len(own) > 1 else 0):
            heights, steep, gaps = self._lines(batch, at, i, j, theta)
            reach = np.where(np.isfinite(radius), radius, 0.0)
            near = (heights - steep * reach[:, None]).argmin(axis=1)
            u = -affine.steepest(gaps[np.arange(len(at)), near], self.norm)
            theta = self._responsibilities(batch, at, i, reach[:, None] * rows_times(u, self._ways[own].T))
            radius = self._radius(*self._lines(batch, at, i, j, theta)[:2])
            best = np.maximum(best, radius)
        return best

    def _lead(self, batch, rival, u):
        there = batch.scores + rows_times(u, self._ways.T)
        leads, ways = [], []
        for side in self._sides(batch.winner, rival):
            values = np.where(side, there, -np.inf)
            leads.append(self._sum(values))
            ways.append(rows_times(_weights(values, self.mixture.scale), self._ways))
        reach = np.linalg.norm(u, ord=self.norm, axis=1)
        lost = batch.spent + 4 * self._slope_error * reach + gamma(u.shape[1] + 16) * np.abs(there).max(axis=1)
        return leads[0] - leads[1] + lost, ways[0] - ways[1]

    def _starts(self, batch, rival):
        """Straight towards the components of the rival, one after the other."""
        own, theirs = self._sides(batch.winner, rival)
        mean = rows_times(_weights(np.where(own, batch.scores, -np.inf), self.mixture.scale), self._ways)
        moves = []
        for k in range(int(theirs.sum(axis=1).max())):
            nth = theirs & (np.cumsum(theirs, axis=1) == k + 1)
            gap = np.where(nth.any(axis=1)[:, None], self._ways[nth.argmax(axis=1)] - mean, 0.0)
            lead = (np.where(own, batch.scores, -np.inf).max(axis=1) - np.where(nth, batch.scores, 0.0).sum(axis=1))[:, None]
            size = affine.dual_norms(gap, self.norm)[:, None]
            moves.append(-affine.steepest(gap, self.norm) * np.where(size > 0, np.abs(lead) / np.where(size > 0, size, 1), 0.0))
        return moves


# -- covariances of their own --------------------------------------------------------------------------------------------


@dataclass
class _QuadraticBatch(_Batch):
    Z: np.ndarray
    z_error: np.ndarray
    terms: Terms
    touched: np.ndarray  # where the quadric met last was, against the rival pursued last


class QuadraticMixtureBoundary(_Mixture, QuadraticBoundary):
    """Quadratic components: quadrics for every reference of the own class and every component of a rival (theory 1.6).

    In l2 the quadrics are solved exactly, in coordinates of their own where several components share a point; in the other
    norms one by one, by :mod:`skcert.geometry.norms`, and by the l2 ball.

    Parameters
    ----------
    mixture : LogSumExp
        Of :class:`~skcert.discriminants.Quadratic`.
    fold, scale, norm, unit
        As for :class:`QuadraticBoundary`.
    """

    def __init__(
        self,
        mixture: LogSumExp,
        fold: AffineStep | None = None,
        scale: np.ndarray | None = None,
        norm: float = 2,
        unit: float = UNIT,
    ):
        assert isinstance(mixture.components, Quadratic)
        super().__init__(mixture.components, fold, scale, norm, unit)
        self.mixture = mixture
        self._members(self.classes)
        self._known: dict[tuple[int, int], _Curvatures] = {}
        # from l2 lengths to those of the norm: of an error of slopes, and of a ball inside that of the norm
        self._wide = np.sqrt(self._rank) if norm == np.inf else 1.0
        self._moves = self.pullback is None or bool(self.pullback.factor.any())
        self._low, self._closely = np.zeros((0, 0)), True

    def nearest(self, X, x_error=None, *, method="exact", attack=False) -> Nearest:
        """Winner, runner-up and a lower bound of the distance to the nearest boundary of every row of X."""
        d, p = self.discriminant, self.pullback
        C, dims = len(d.means), d.n_features
        out = Nearest.empty(len(X), None if not attack else dims if p is None else len(p.basis))
        self._closely = method == "exact"
        self._low = self._along_ball(*self._bends(exact=not self._closely))[0]
        with one_thread(), bar(len(X), "certifying", "row") as done:
            for rows in batches(len(X), 8 * (2 * dims + X.shape[1] + (C + 8) * self._rank + 8 * C), 40 * 2**20):
                Z, error, lost = self._latents(X[rows], None if x_error is None else x_error[rows])
                terms = self._terms(Z, error, lost)
                batch = _QuadraticBatch(
                    terms.scores, *self._classes(terms.scores), Z, error, terms, np.zeros((len(Z), self._rank))
                )
                far = ~np.isfinite(batch.classes.max(axis=1))
                if far.any():  # overflow, of which nothing is known but what predict says
                    batch.winner[far] = self.mixture.winners(Z[far])
                radius, rival = self._visit(batch)
                radius = np.where(far, 0.0, self._before_overflow(radius, Z, error))
                out.winner[rows], out.runner_up[rows] = batch.winner, rival
                out.radius[rows] = np.where(radius > 0, radius, 0.0)
                length, points = self._assail(batch, rival, self._rank)
                out.attack_radius[rows] = np.maximum(length, out.radius[rows])
                if out.attack is not None:
                    out.attack[rows] = points if p is None else p.lift(points)
                done.update(rows.stop - rows.start)
        return out

    def _reference(self, batch, at, i, theta) -> _Own:
        own = self.members[i]
        return _Own.of(theta, batch.scores[at][:, own], batch.terms.score_error[at][:, own], self.mixture.scale)

    def _rival(self, batch, at, i, c, side: _Own):
        """Margin from below, half-slopes and their l2 error of component c against a reference."""
        own, terms = self.members[i], batch.terms
        error = side.error + terms.score_error[at, c] + self.slack + 8 * UNIT * np.abs(batch.scores[at, c])
        margin = side.height - batch.scores[at, c]
        margin = margin - grow(error + 4 * UNIT * np.abs(margin))
        g = terms.slopes[c][at] - sum(side.theta[:, k, None] * terms.slopes[e][at] for k, e in enumerate(own))
        slip = terms.slope_error[at, c] + terms.rounding[at, c]
        slip = slip + (side.theta * (terms.slope_error[at][:, own] + terms.rounding[at][:, own])).sum(axis=1)
        lengths = sum(side.theta[:, k] * row_norms(terms.slopes[e][at]) for k, e in enumerate(own))
        return margin, g, grow(slip + gamma(len(own) + 8) * (lengths + row_norms(g))) * self._moves

    def _quick(self, batch, at, i, j):
        """By slopes and eigenvalues alone: lambda_min is concave, so the mean of bounds is a bound."""
        own, scale = self.members[i], self.mixture.scale
        side = self._reference(batch, at, i, _weights(batch.scores[at][:, own], scale))
        flat, straight = [], []
        for c in self.members[j]:
            margin, g, error = self._rival(batch, at, i, c, side)
            steep = grow(affine.dual_norms(g, self.norm) + self._wide * error)
            bend = (side.theta * self._low[own, c]).sum(axis=1) - gamma(2 * len(own) + 16) * np.abs(self._low[own, c]).max()
            flat.append(Rival(margin, steep[:, None], bend[:, None], np.zeros(len(at))))
            straight.append((margin, 2 * steep, np.maximum(-bend, 0)))
        heights, slopes, bends = (np.stack(columns, axis=1) for columns in zip(*straight, strict=True))
        radius = farthest(heights, slopes, bends, scale)
        bowls = np.flatnonzero(np.any([rival.values[:, 0] > 0 for rival in flat], axis=0))  # where curvature helps
        if len(bowls):
            found = mixture_radius([rival.some(bowls) for rival in flat], scale, radius[bowls])[0]
            radius[bowls] = np.maximum(radius[bowls], found)
        return radius

    def _pursue(self, batch, at, i, j, known, enough):
        """The best over references, by the distance to every quadric."""
        own, best = self.members[i], known.copy()
        if not self._closely:
            return best
        theta = _weights(batch.scores[at][:, own], self.mixture.scale)
        if self.norm != 2:
            for rows, sole in self._by_reference(_settled(theta, False)):
                side = self._reference(batch, at[rows], i, np.eye(len(own))[[sole] * len(rows)])
                best[rows] = np.maximum(best[rows], self._other_norm(batch, at[rows], i, j, side, sole, known[rows]))
        theta, left = _settled(theta, self._rank <= OWN_BASES), np.arange(len(at))
        for _ in range(REFERENCES):
            u = np.zeros((len(left), self._rank))
            for rows, sole in self._by_reference(theta):
                side = self._reference(batch, at[left[rows]], i, theta[rows])
                found, u[rows] = self._exactly(batch, at[left[rows]], i, j, side, sole, known[left[rows]])
                best[left[rows]] = np.maximum(best[left[rows]], shrink(found / self._wide))
            batch.touched[at[left]] = u
            there = self._there(batch, at[left], u)
            scores = np.stack([self.discriminant.score_and_slope(there, e)[0] for e in own], axis=1)
            after = _settled(_weights(scores, self.mixture.scale), self._rank <= OWN_BASES)
            more = (best[left] < enough[left]) & (np.abs(after - theta).max(axis=1) > SOLE)
            left, theta = left[more], after[more]
            if not len(left):
                break
        return best

    def _there(self, batch, at, u):
        """Latents after moves u."""
        return batch.Z[at] + (u if self.pullback is None else self.pullback.forward(u))

    def _lead(self, batch, rival, u):
        d, p, n = self.discriminant, self.pullback, len(rival)
        there = self._there(batch, slice(None), u)
        doubt = batch.z_error + gamma(8) * row_norms(there)
        sides = self._sides(batch.winner, rival)
        values, lost, slopes = np.full((n, len(d.means)), -np.inf), np.zeros(n), {}
        for e in range(len(d.means)):
            rows = np.flatnonzero(sides[0][:, e] | sides[1][:, e])
            values[rows, e], y, x = d.score_and_slope(there[rows], e)
            score_error, slope_error, _, _ = d.errors(x, y, e)
            lost[rows] += 2 * score_error + (2 * (row_norms(y) + slope_error) + d.sizes[e] * doubt[rows]) * doubt[rows]
            slopes[e] = rows, y if p is None else p.slopes(y)
        lead, gradient = grow(lost + self.slack), np.zeros((n, self._rank))
        for side, sign in zip(sides, (1, -1), strict=True):
            own = np.where(side, values, -np.inf)
            lead += sign * self._sum(own)
            shares = _weights(own, self.mixture.scale)
            for e, (rows, y) in slopes.items():
                gradient[rows] -= 2 * sign * shares[rows, e, None] * y
        return lead, gradient

    def _starts(self, batch, rival):
        """Towards the means of the rival's components, and where a quadric was touched."""
        _, theirs = self._sides(batch.winner, rival)
        moves = [batch.touched]
        for k in range(int(theirs.sum(axis=1).max())):
            nth = theirs & (np.cumsum(theirs, axis=1) == k + 1)
            move = np.where(nth.any(axis=1)[:, None], self.discriminant.means[nth.argmax(axis=1)] - batch.Z, 0.0)
            moves.append(move if self.pullback is None else self.pullback.solve(move))
        return moves

    def _by_reference(self, theta):
        """Rows for which one component stands for the class, and which; then the others, as many at a time as have bases."""
        top, sole = theta.max(axis=1), theta.argmax(axis=1)
        for e in np.unique(sole[top == 1]):
            yield np.flatnonzero((top == 1) & (sole == e)), int(e)
        shared = np.flatnonzero(top < 1)
        for rows in batches(len(shared), 8 * 6 * self._rank**2):
            yield shared[rows], None

    def _exactly(self, batch, at, i, j, side, sole, start):
        """Radius against class j for one reference, and the point at which the nearest quadric is touched."""
        parts, turns = [], []
        for c in self.members[j]:
            margin, g, error = self._rival(batch, at, i, c, side)
            h, values, turn, back = self._turned(g, i, c, side.theta, sole)
            parts.append(Rival(margin, h, values, grow(error + turn)))
            turns.append(back)
        radius, nearest, s = mixture_radius(parts, self.mixture.scale, start)
        u = np.zeros_like(parts[0].slopes)
        for c, (part, back) in enumerate(zip(parts, turns, strict=True)):
            rows = np.flatnonzero(nearest == c)
            u[rows] = back(part.some(rows).worst(s[rows]), rows)
        return radius, np.nan_to_num(u)

    def _other_norm(self, batch, at, i, j, side, sole, known):
        """Radius against class j in l1 or linf, from every quadric by itself: nu is what slopes and eigenvalues make of it."""
        e = self.members[i][sole]
        reach = np.where(np.isfinite(known), known, 0.0)
        parts = [(c, self._pair(min(e, c), max(e, c)), *self._rival(batch, at, i, c, side)) for c in self.members[j]]
        left = []
        for c, pair, margin, g, error in parts:
            values = pair.basis.values if e < c else -pair.basis.values[::-1]
            bend = self._along_ball(np.array([values[0] - pair.slip]), np.array([np.inf]))[0]
            steep = affine.dual_norms(g, self.norm) + self._wide * error
            left.append(margin - 2 * steep * reach + np.minimum(bend, 0) * reach**2)
        nu = _weights(-np.stack(left, axis=1), self.mixture.scale)
        with np.errstate(divide="ignore"):
            logs = self.mixture.scale * np.log(nu) - 16 * len(parts) * UNIT * (1 + np.abs(np.stack(left, axis=1)))
        logs = np.nan_to_num(logs, nan=-np.inf, neginf=-np.inf)
        found = [
            self._elsewhere(margin + logs[:, k] if len(parts) > 1 else margin, g, error, e, c, pair).radius
            for k, (c, pair, margin, g, error) in enumerate(parts)
        ]
        return np.min(found, axis=0)

    def _turned(self, g, i, c, theta, sole):
        """Slopes and eigenvalues, lowered by their errors, in coordinates in which P_c - sum theta_e P_e is diagonal."""
        own = self.members[i]
        if sole is not None:  # from memory
            e = own[sole]
            pair = self._pair(min(e, c), max(e, c))
            h, turn = pair.basis.rotate(g)
            values = pair.basis.values if e < c else -pair.basis.values
            return h, values - pair.slip, turn, lambda y, rows: pair.basis.unrotate(y)
        known = self._curvatures(i, c)
        curving = known.errors[-1] + (theta * known.errors[:-1]).sum(axis=1)
        slip = grow(curving + gamma(len(own) + 6) * (known.sizes[-1] + (theta * known.sizes[:-1]).sum(axis=1)), len(own) + 8)
        W = known.matrices[-1] - sum(np.multiply.outer(theta[:, k], P) for k, P in enumerate(known.matrices[:-1]))
        if W.ndim == 2:
            return g, W - slip[:, None], np.zeros(len(g)), lambda y, rows: y
        values, vectors, turn = eigenbases((W + np.swapaxes(W, 1, 2)) / 2, slip)
        h = np.einsum("nd,ndk->nk", g, vectors)
        return h, values, turn * row_norms(g), lambda y, rows: np.einsum("nk,ndk->nd", y, vectors[rows])

    def _curvatures(self, i, c) -> _Curvatures:
        """C'PC of the components of class i and of component c, with bounds of what they and ``predict`` may be off by."""
        if (i, c) not in self._known:
            members = [*self.members[i], c]
            matrices = np.stack([self._curvature(e) for e in members])
            rounding = self._kappa * self._stretch**2
            rounding = rounding + self._strength * self._noise_swings * (2 * self._stretch + self._noise_swings)
            errors = np.array([self._curvature_error(e) for e in members]) + rounding[members]
            self._known[i, c] = _Curvatures(matrices, errors, np.array([fro(matrix) for matrix in matrices]))
        return self._known[i, c]


@dataclass(frozen=True)
class _Curvatures:
    """Several curvatures, bounds of their spectral errors, and Frobenius norms."""

    matrices: np.ndarray
    errors: np.ndarray
    sizes: np.ndarray


def _settled(theta: np.ndarray, shared: bool) -> np.ndarray:
    """References in which a component with nearly all of the responsibility has all; every one where none can be shared."""
    top = theta.max(axis=1)
    sole = (top >= 1 - SOLE) | (not shared)
    return np.where(sole[:, None], np.eye(theta.shape[1])[theta.argmax(axis=1)], theta)
