"""Distance to the boundaries between classes of several components (theory 1.6), linear and quadratic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy

from skcert.boundaries.affine import AffineBoundary
from skcert.boundaries.common import Nearest, progress
from skcert.boundaries.quadratic import QuadraticBoundary
from skcert.discriminants import LogSumExp, batches
from skcert.geometry import affine
from skcert.geometry.mixture import Rival, eigenbases, farthest, mixture_radius
from skcert.geometry.rounding import UNIT, fro, gamma, grow, row_norms, shrink
from skcert.perturbations import AffineStep

#: largest dimension in which every point gets eigenbases of its own where components of its class share it
OWN_BASES = 128
#: a component with all of the responsibility but this stands for its class
SOLE = 1e-11
#: references of the own class that are tried against every rival: responsibilities at the point, then where it is crossed
REFERENCES = 3
#: steps in which an attack is shortened
DESCENTS = 12


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


class _Mixture:
    """What the linear and the quadratic boundary share: the order in which classes, references and rivals are visited."""

    mixture: LogSumExp

    def _members(self, alive: np.ndarray) -> None:
        """Note which components belong to which class; ``alive`` are those that the boundary knows."""
        labels = self.mixture.labels[alive]
        self.rivals = np.unique(labels)
        self.members = {int(k): np.flatnonzero(labels == k) for k in self.rivals}
        # what the logarithm of a sum of exponentials may lose beside its terms
        self.slack = (len(labels) + 16) * 8 * UNIT * self.mixture.scale

    def _classes(self, scores) -> tuple[np.ndarray, np.ndarray]:
        """Log-sum-exp of every living class, -inf for others, and the winners."""
        out = np.full((len(scores), self.mixture.n_classes), -np.inf)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for k, own in self.members.items():
                top = scores[:, own].max(axis=1)
                out[:, k] = top + self.mixture.scale * np.log(
                    np.exp((scores[:, own] - top[:, None]) / self.mixture.scale).sum(axis=1)
                )
        return out, np.where(np.isnan(out), np.inf, out).argmax(axis=1)

    def _visit(self, winner, classes, bound_of, radius_of):
        """Radius and rival of every row: rivals by their quick bound, each pursued only where it may be the nearest."""
        n = len(winner)
        radius, rival = np.full(n, np.inf), np.zeros(n, dtype=np.intp)
        for i in np.unique(winner):
            rows = np.flatnonzero(winner == i)
            others = self.rivals[self.rivals != i]
            if not len(others):
                rival[rows] = i
                continue
            bound = np.stack([bound_of(rows, i, j) for j in others], axis=1)
            order = np.argsort(bound, axis=1, kind="stable")
            best, nearest = np.full(len(rows), np.inf), order[:, 0].copy()
            for turn in range(len(others)):
                visit = order[:, turn]
                ask = bound[np.arange(len(rows)), visit] < best
                for column in np.unique(visit[ask]):
                    at = np.flatnonzero(ask & (visit == column))
                    found = np.maximum(radius_of(rows[at], i, others[column], bound[at, column]), bound[at, column])
                    closer = found < best[at]
                    best[at[closer]], nearest[at[closer]] = found[closer], column
            alone = np.isinf(best)  # no rival can win: name the one with the next best score
            nearest[alone] = classes[rows[alone]][:, others].argmax(axis=1)
            radius[rows], rival[rows] = best, others[nearest]
        return radius, rival


class LinearMixtureBoundary(_Mixture, AffineBoundary):
    """Linear components, in any l_p norm: hyperplanes for every reference of the own class (theory 1.6, 1.4).

    Parameters
    ----------
    mixture : LogSumExp
        Of :class:`~skcert.discriminants.Affine`.
    fold, scale, norm, unit
        As for :class:`AffineBoundary`.
    """

    exact = False

    def __init__(self, mixture: LogSumExp, fold: AffineStep | None, scale: np.ndarray | None, norm: float, unit: float = UNIT):
        super().__init__(mixture.components, fold, scale, norm, unit)
        self.mixture = mixture
        self._alive_components = np.flatnonzero(np.isfinite(mixture.components.intercept))
        self._members(self._alive_components)

    def nearest(self, X, x_error=None, *, method="exact", attack=False, scores=None) -> Nearest:
        """Winner, runner-up and distance to the nearest boundary of every row of X."""
        n, alive = len(X), self._alive_components
        d = self.slopes.shape[1]
        out = Nearest.empty(n, d if attack else None)
        slopes = self.slopes[alive]
        for rows in batches(n, 8 * (4 * len(self.slopes) + (len(alive) + 6) * d), 16 * 2**20):
            m = rows.stop - rows.start
            raw = np.empty((len(self.slopes), m))
            error = self._scores(X[rows], None if x_error is None else x_error[rows], np.empty((m, d)), raw)
            part = np.ascontiguousarray(raw[alive].T)
            self._batch_of(out, rows, part, error, slopes)
        return out

    def _batch_of(self, out, rows, scores, error, slopes) -> None:
        scale = self.mixture.scale
        classes, winner = self._classes(scores)
        # of the certificate and of predict, at either end of the ball
        spent = grow(2 * error + self.slack + 8 * UNIT * np.abs(scores).max(axis=1))

        def lines(at, i, j, theta):
            """Heights and slopes of the f_c of rival j, shape (n, C_j), and the difference of slopes."""
            own, theirs = self.members[i], self.members[j]
            reference = _Own.of(theta, scores[at][:, own], np.zeros((len(at), len(own))), scale)
            heights = reference.height[:, None] - scores[at][:, theirs] - (reference.error + spent[at])[:, None]
            heights -= 2 * UNIT * np.abs(heights)
            mixed = theta @ slopes[own]
            gaps = slopes[theirs][None] - mixed[:, None]
            lost = gamma(len(own) + 8) * np.abs(slopes).max(initial=0) * slopes.shape[1]
            steep = affine.dual_norms(gaps, self.norm) + 2 * self._slope_error + lost
            return heights, grow(steep), gaps

        def bound_of(at, i, j):
            heights, steep, _ = lines(at, i, j, _weights(scores[at][:, self.members[i]], scale))
            return farthest(heights, steep, np.zeros_like(steep), scale)

        def radius_of(at, i, j, known):
            best, own = known.copy(), self.members[i]
            theta = _weights(scores[at][:, own], scale)
            radius = known
            for _ in range(REFERENCES if len(own) > 1 else 0):
                heights, steep, gaps = lines(at, i, j, theta)
                reach = np.where(np.isfinite(radius), radius, 0.0)
                near = (heights - steep * reach[:, None]).argmin(axis=1)
                u = -affine.steepest(gaps[np.arange(len(at)), near], self.norm)
                there = scores[at][:, own] + reach[:, None] * (u @ slopes[own].T)
                theta = _weights(there, scale)
                heights, steep, _ = lines(at, i, j, theta)
                radius = farthest(heights, steep, np.zeros_like(steep), scale)
                best = np.maximum(best, radius)
            return best

        radius, rival = self._visit(winner, classes, bound_of, radius_of)
        if self._outwards:
            radius = np.minimum(radius, shrink((self._edge - error) / self._outwards))
        out.winner[rows], out.runner_up[rows] = winner, rival
        out.radius[rows] = np.where(radius > 0, shrink(radius), 0)

        def moved(at, i, j, u):
            own, theirs = self.members[i], self.members[j]
            lead = []
            shares = []
            for members in (own, theirs):
                there = scores[at][:, members] + u @ slopes[members].T
                top = there.max(axis=1, keepdims=True)
                lead.append(top[:, 0] + scale * np.log(np.exp((there - top) / scale).sum(axis=1)))
                shares.append(_weights(there, scale) @ slopes[members])
            reach = np.linalg.norm(u, ord=self.norm, axis=1)
            lost = spent[at] + 4 * self._slope_error * reach + gamma(u.shape[1] + 16) * np.abs(lead[0])
            return lead[0] - lead[1] + lost, shares[0] - shares[1]

        def starts(at, i, j):
            own = _weights(scores[at][:, self.members[i]], scale) @ slopes[self.members[i]]
            return [-affine.steepest(slopes[c] - own, self.norm) for c in self.members[j]]

        length, points = _descend(winner, rival, moved, starts, self.norm, slopes.shape[1])
        out.attack_radius[rows] = np.maximum(length, out.radius[rows])
        if out.attack is not None:
            out.attack[rows] = points


class QuadraticMixtureBoundary(_Mixture, QuadraticBoundary):
    """Quadratic components: quadrics for every reference of the own class and every component of a rival (theory 1.6).

    In l2 the quadrics are solved exactly, in coordinates of their own where several components share a point; in the other norms
    by their slopes and eigenvalues.

    Parameters
    ----------
    mixture : LogSumExp
        Of :class:`~skcert.discriminants.Quadratic`.
    fold, scale, norm, unit
        As for :class:`QuadraticBoundary`.
    """

    exact = False

    def __init__(
        self,
        mixture: LogSumExp,
        fold: AffineStep | None = None,
        scale: np.ndarray | None = None,
        norm: float = 2,
        unit: float = UNIT,
    ):
        super().__init__(mixture.components, fold, scale, norm, unit)
        self.mixture = mixture
        self._members(self.classes)
        self._known: dict[tuple[int, int], _Curvatures] = {}

    def nearest(self, X, x_error=None, *, method="exact", attack=False) -> Nearest:
        """Winner, runner-up and a lower bound of the distance to the nearest boundary of every row of X."""
        d, p = self.discriminant, self.pullback
        C, dims = len(d.means), d.n_features
        out = Nearest.empty(len(X), None if not attack else dims if p is None else len(p.basis))
        low = self._along_ball(*self._bends(exact=method != "exact"))[0]
        width = self._rank
        with progress(len(X), "certifying", "row") as bar:
            for rows in batches(len(X), 8 * (2 * dims + X.shape[1] + (C + 8) * width + 8 * C), 16 * 2**20):
                Z, error, lost = self._latents(X[rows], None if x_error is None else x_error[rows])
                self._part(out, rows, Z, error, lost, low, method)
                bar.update(rows.stop - rows.start)
        return out

    def _part(self, out, rows, Z, z_error, lost, low, method) -> None:
        scale, terms = self.mixture.scale, self._terms(Z, z_error, lost)
        scores = terms.scores
        classes, winner = self._classes(scores)
        far = ~np.isfinite(classes.max(axis=1))
        if far.any():  # overflow, of which nothing is known but what predict says
            winner[far] = self.mixture.winners(Z[far])
        wide = np.sqrt(self._rank) if self.norm == np.inf else 1.0
        moves = self.pullback is None or bool(self.pullback.factor.any())
        touched = np.zeros((len(Z), self._rank))  # where the quadric met last was, against the rival visited last

        def reference(at, i, theta):
            own = self.members[i]
            return _Own.of(theta, scores[at][:, own], terms.score_error[at][:, own], scale)

        def rival(at, i, c, side):
            """Margin, half-slopes and their l2 error of component c against a reference."""
            own = self.members[i]
            error = side.error + terms.score_error[at, c] + self.slack + 8 * UNIT * np.abs(scores[at, c])
            margin = side.height - scores[at, c]
            margin = margin - grow(error + 4 * UNIT * np.abs(margin))
            mixed = sum(side.theta[:, k, None] * terms.slopes[e][at] for k, e in enumerate(own))
            g = terms.slopes[c][at] - mixed
            slip = terms.slope_error[at, c] + terms.rounding[at, c]
            slip = slip + (side.theta * (terms.slope_error[at][:, own] + terms.rounding[at][:, own])).sum(axis=1)
            lengths = sum(side.theta[:, k] * row_norms(terms.slopes[e][at]) for k, e in enumerate(own))
            return margin, g, grow(slip + gamma(len(own) + 8) * (lengths + row_norms(g))) * moves

        def bound_of(at, i, j, side=None):
            """By slopes and eigenvalues alone: lambda_min is concave, so the mean of bounds is a bound."""
            own = self.members[i]
            side = side or reference(at, i, _weights(scores[at][:, own], scale))
            flat, straight = [], []
            for c in self.members[j]:
                margin, g, error = rival(at, i, c, side)
                steep = grow(affine.dual_norms(g, self.norm) + wide * error)
                bend = side.theta @ low[own, c]
                bend = bend - 16 * UNIT * np.abs(low[own, c]).max()
                flat.append(Rival(margin, steep[:, None], bend[:, None], np.zeros(len(at))))
                straight.append((margin, 2 * steep, np.maximum(-bend, 0)))
            heights, slopes, bends = (np.stack(columns, axis=1) for columns in zip(*straight, strict=True))
            start = farthest(heights, slopes, bends, scale)
            return np.maximum(start, mixture_radius(flat, scale, start)[0])

        def radius_of(at, i, j, known):
            """The best over references, by the exact distance to every quadric."""
            own, best = self.members[i], known.copy()
            if method != "exact":
                return best
            theta = _weights(scores[at][:, own], scale)
            inside = 1 / np.sqrt(self._rank) if self.norm == np.inf else 1.0  # of the l2 ball in that of the norm
            if self.norm != 2:
                for rows, sole in self._by_reference(_settled(theta, False)):
                    side = reference(at[rows], i, np.eye(len(own))[[sole] * len(rows)])
                    best[rows] = np.maximum(best[rows], self._other_norm(at[rows], i, j, side, sole, rival, known[rows]))
            for _ in range(REFERENCES if len(own) > 1 else 1):
                theta = _settled(theta, self._rank <= OWN_BASES)
                u = np.zeros((len(at), self._rank))
                for rows, sole in self._by_reference(theta):
                    side = reference(at[rows], i, theta[rows])
                    found, u[rows] = self._exactly(at[rows], i, j, side, sole, rival, known[rows])
                    best[rows] = np.maximum(best[rows], shrink(found * inside))
                touched[at] = u
                if len(own) > 1:
                    y = Z[at] + (u if self.pullback is None else _moved(self.pullback, u))
                    there = np.stack([self.discriminant.score_and_slope(y, e)[0] for e in own], axis=1)
                    theta = _weights(there, scale)
            return best

        radius, runner_up = self._visit(winner, classes, bound_of, radius_of)
        radius = np.where(far, 0.0, self._before_overflow(radius, Z, z_error))
        out.winner[rows], out.runner_up[rows] = winner, runner_up
        out.radius[rows] = np.where(radius > 0, radius, 0.0)

        def moved(at, i, j, u):
            there = Z[at] + (u if self.pullback is None else _moved(self.pullback, u))
            lead, slopes, lost = [], [], z_error[at] * 0
            for members in (self.members[i], self.members[j]):
                found = [self.discriminant.score_and_slope(there, e) for e in members]
                values = np.stack([score for score, _, _ in found], axis=1)
                top = values.max(axis=1, keepdims=True)
                lead.append(top[:, 0] + scale * np.log(np.exp((values - top) / scale).sum(axis=1)))
                share = _weights(values, scale)
                y = sum(share[:, k, None] * y for k, (_, y, _) in enumerate(found))
                slopes.append(-2 * (y if self.pullback is None else self.pullback.slopes(y)))
                for k, e in enumerate(members):
                    score_error, slope_error, _ = self.discriminant.errors(found[k][2], found[k][1], e)
                    doubt = z_error[at] + gamma(8) * row_norms(there)
                    reach = 2 * (row_norms(found[k][1]) + slope_error) + self.discriminant.sizes[e] * doubt
                    lost = lost + 2 * score_error + reach * doubt
            return lead[0] - lead[1] + grow(lost + self.slack), slopes[0] - slopes[1]

        def starts(at, i, j):
            towards = [self.discriminant.means[c] - Z[at] for c in self.members[j]]
            towards = towards if self.pullback is None else [self.pullback.solve(move) for move in towards]
            return towards + [touched[at]]

        length, points = _descend(winner, runner_up, moved, starts, self.norm, self._rank)
        out.attack_radius[rows] = np.maximum(length, out.radius[rows])
        if out.attack is not None:
            out.attack[rows] = points if self.pullback is None else self.pullback.lift(points)

    def _by_reference(self, theta):
        """Rows for which one component stands for the class, and which; then the others, as many at a time as have bases."""
        top, sole = theta.max(axis=1), theta.argmax(axis=1)
        for e in np.unique(sole[top == 1]):
            yield np.flatnonzero((top == 1) & (sole == e)), int(e)
        shared = np.flatnonzero(top < 1)
        for rows in batches(len(shared), 8 * 6 * self._rank**2):
            yield shared[rows], None

    def _exactly(self, at, i, j, side, sole, rival, start):
        """Radius against class j for one reference, and the point at which the nearest quadric is touched."""
        parts, turns = [], []
        for c in self.members[j]:
            margin, g, error = rival(at, i, c, side)
            h, values, turn, back = self._turned(g, i, c, side.theta, sole)
            parts.append(Rival(margin, h, values, grow(error + turn)))
            turns.append(back)
        radius, nearest, s = mixture_radius(parts, self.mixture.scale, start)
        u = np.zeros_like(parts[0].slopes)
        for c, (part, back) in enumerate(zip(parts, turns, strict=True)):
            rows = np.flatnonzero(nearest == c)
            u[rows] = back(part.some(rows).worst(s[rows]), rows)
        return radius, np.nan_to_num(u)

    def _other_norm(self, at, i, j, side, sole, rival, known):
        """Radius against class j in l1 or linf, from every quadric by itself: nu is what slopes and eigenvalues make of it."""
        e, wide = int(self.members[i][sole]), np.sqrt(self._rank) if self.norm == np.inf else 1.0
        reach = np.where(np.isfinite(known), known, 0.0)
        parts = [(int(c), self._pair(min(e, c), max(e, c)), *rival(at, i, c, side)) for c in self.members[j]]
        left = []
        for c, pair, margin, g, error in parts:
            values = pair.basis.values if e < c else -pair.basis.values[::-1]
            bend = self._along_ball(np.array([values[0] - pair.slip]), np.array([np.inf]))[0]
            steep = affine.dual_norms(g, self.norm) + wide * error
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
            e = int(own[sole])
            pair = self._pair(min(e, c), max(e, c))
            h, turn = pair.basis.rotate(g)
            values = pair.basis.values if e < c else -pair.basis.values
            return h, values - pair.slip, turn, lambda y, rows: pair.basis.unrotate(y)
        known = self._curvatures(i, c)
        curving = known.errors[-1] + theta @ known.errors[:-1]
        slip = grow(curving + gamma(len(own) + 6) * (known.sizes[-1] + theta @ known.sizes[:-1]), len(own) + 8)
        W = known.matrices[-1] - np.tensordot(theta, known.matrices[:-1], axes=1)
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


def _moved(pullback, u: np.ndarray) -> np.ndarray:
    """Moves of the latents that belong to moves in the coordinates of a pullback."""
    return u * pullback.factor if pullback.factor.ndim == 1 else u @ pullback.factor.T


def _descend(winner, rival, moved, starts, norm: float, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Attacks on log-sum-exps: cross the boundary, go straight to the plane that touches it there, and cross again.

    ``moved(rows, i, j, u)`` returns an upper bound of the lead at u and its gradient, ``starts(rows, i, j)`` directions to try
    first beside the steepest one. Lengths and points, infinite and NaN where no crossing was found.
    """
    lengths, points = np.full(len(winner), np.inf), np.full((len(winner), d), np.nan)
    for i, j in np.unique(np.stack([winner, rival], axis=1), axis=0):
        rows = np.flatnonzero((winner == i) & (rival == j))
        if i == j:
            continue
        with np.errstate(all="ignore"):
            lead, gradient = moved(rows, i, j, np.zeros((len(rows), d)))
            direction = affine.steepest(gradient, norm)
            reach = lead / np.maximum(affine.dual_norms(gradient, norm), 1e-300)
            best, found = np.full(len(rows), np.inf), np.full((len(rows), d), np.nan)
            shortest = _cross(rows, i, j, moved, direction, reach)
            for start in starts(rows, i, j):
                size = np.linalg.norm(start, ord=norm, axis=1)
                start = start / np.where(size > 0, size, 1.0)[:, None]
                length = _cross(rows, i, j, moved, start, np.where(size > 0, np.minimum(size, shortest), 0))
                shorter = length < shortest
                direction = np.where(shorter[:, None], start, direction)
                shortest = np.where(shorter, length, shortest)
            reach = np.where(np.isfinite(shortest), shortest, reach)
            for _ in range(DESCENTS):
                length = _cross(rows, i, j, moved, direction, reach)
                closer = length < best * (1 - 1e-12)
                best = np.where(closer, length, best)
                found[closer] = direction[closer] * length[closer, None]
                if not closer.any():
                    break
                _, gradient = moved(rows, i, j, np.nan_to_num(found))
                toward = affine.steepest(gradient, norm)
                # between the way so far and the way straight to the tangent plane
                mixed = direction + toward if norm == 2 else toward
                size = np.linalg.norm(mixed, ord=norm, axis=1, keepdims=True)
                direction = np.where(closer[:, None] & (size > 0), mixed / size, direction)
                reach = np.where(np.isfinite(best), best, reach)
        lengths[rows], points[rows] = grow(best, d + 8), found
    return lengths, points


def _cross(rows, i, j, moved, direction, reach) -> np.ndarray:
    """Along these directions, a length at which the lead is certainly negative, nearly the first."""
    low, high = np.zeros(len(rows)), np.full(len(rows), np.inf)
    step = np.where(np.isfinite(reach) & (reach > 0), reach, 1.0)
    for k in range(40):
        trial = np.where(np.isinf(high), step * 2.0 ** min(k, 8), (low + high) / 2)
        lead, _ = moved(rows, i, j, direction * trial[:, None])
        crossed = lead < 0
        high = np.where(crossed, trial, high)
        low = np.where(crossed, low, np.maximum(low, trial))
        if k >= 9 and (np.isinf(high) | (high <= low * (1 + 1e-9))).all():
            break
    return high
