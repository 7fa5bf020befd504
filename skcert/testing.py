"""Attacks on certificates: what a certificate claims, against the estimator's own ``predict``."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skcert._certificate import Certificate
from skcert._points import Points, predicted, transformed
from skcert._printing import round_up
from skcert._progress import bar
from skcert._request import labelled
from skcert.adapters import Uncertifiable
from skcert.adapters.composites import is_nothing, link, unrolled
from skcert.backends.arrays import like, to_host
from skcert.geometry.rounding import unit_of
from skcert.perturbations import check_norm
from skcert.routes import Route

__all__ = ["Violation", "check_certificate"]

#: bytes of points that predict sees at a time
BLOCK = 2**26
#: so many points with a violation are enough
ENOUGH = 20
#: lengths at which an infinite radius is tried, in units of the data
LADDER = (1.0, 1e3, 1e6, 1e12)
#: at most so many steps along the gradient; rounds of the walk in single ulps, and trials in each
STEPS, ROUNDS, TRIALS = 10, 16, 8
HALVINGS = 40


@dataclass(frozen=True, repr=False, eq=False)
class Violation:
    """A point within a certified ball that is predicted otherwise; found by :func:`check_certificate`.

    Attributes
    ----------
    row : int
        Number of the certified point.
    point : array or frame of one row
        In the type of X (or of the output of the step that ``space`` names); ``predict`` of this row alone returns ``found``.
    prediction, found : label
        What was certified, and what is predicted at ``point``.
    distance : float
        Between the certified point and this one, in the norm and units of the certificate, rounded. Compared exactly, it is
        not larger than ``radius``.
    radius : float
        What was certified.
    norm : {1, 2, inf}
    space : str
    """

    row: int
    point: Any
    prediction: Any
    found: Any
    distance: float
    radius: float
    norm: float
    space: str

    def __repr__(self) -> str:
        return (
            f"Violation\n  row        {self.row}\n  certified  {self.prediction} up to {self.radius!r} "
            f"(l{self.norm:g} in {self.space!r})\n  predicted  {self.found} at {self.distance!r}, "
            f"{round_up(self.distance / self.radius, 17) if self.distance < self.radius else 1} of the radius"
        )


# -- what is attacked --------------------------------------------------------------------------------------------------


class _Deployed:
    """What predicts from the space of the certificate on, and its scores where it has any."""

    def __init__(self, estimator: Any, space: str):
        self.before: list[Any] = []
        self.steps: list[tuple[str, Any]] = []
        self.model, self.whole = estimator, space == "input"
        self.classes: Any = None
        self.origin: Any = None  # the points, which say in what library others are predicted
        try:
            *steps, (_, model) = unrolled(estimator, "")
        except Uncertifiable:  # cannot be looked into, and for the input need not be
            if not self.whole:
                raise
            return
        names = [name for name, _ in steps]
        ends = [at + 1 for at, name in enumerate(names) if name == space or name.startswith(f"{space}__")]
        if space not in ("input", "latents") and not ends:
            raise ValueError(
                f"The certificate is about the output of a step {space!r}, expected one of {', '.join(names) or 'none here'}: "
                "pass the estimator that was certified."
            )
        start = 0 if self.whole else len(steps) if space == "latents" else max(ends)
        self.before = [step for _, step in steps[:start] if not is_nothing(step)]
        self.steps = [(name, step) for name, step in steps[start:] if not is_nothing(step)]
        self.model = estimator if self.whole else model

    def _seen(self, X: Any) -> Any:
        X = like(self.origin, X)
        for _, step in [] if self.whole else self.steps:
            X = transformed(step, X)
        return X

    def predict(self, X: Any) -> np.ndarray:
        return np.asarray(predicted(self.model, self._seen(X)))

    def encoded(self, d: int, names: list | None) -> np.ndarray:
        """Columns that an encoder reads as categories: they never move. Behind a step without a rule nothing is known."""
        route = Route.start(np.zeros(d, dtype=bool), names)
        try:
            for at, (name, step) in enumerate(self.steps):
                for carrier in link(name, step).carriers:
                    route = route.then(carrier, name, at)
        except Uncertifiable:
            pass
        return route.frozen.copy()

    def look_for_scores(self, X: Any) -> None:
        """Choose the method that returns one score per class, if there is one."""
        self.classes = to_host(getattr(self.model, "classes_", None))
        for method in ("decision_function", "predict_log_proba", "predict_proba") if self.classes is not None else ():
            try:
                self.method = method
                if self.scores(X).shape == (len(X), len(self.classes)):
                    return
            except (AttributeError, NotImplementedError):  # as of probabilities that were not asked for in fit
                pass
        self.method = ""

    def scores(self, X: Any) -> np.ndarray:
        scores = np.asarray(predicted(self.model, self._seen(X), self.method), dtype=float)
        if scores.ndim == 1:
            scores = np.column_stack([np.zeros(len(scores)), scores])
        return np.log(np.maximum(scores, np.finfo(float).tiny)) if self.method == "predict_proba" else scores

    def codes(self, labels: Any) -> np.ndarray:
        """Numbers of labels among the classes; -1 for what is none."""
        numbers = {label: k for k, label in enumerate(np.asarray(self.classes).tolist())}
        return np.array([numbers.get(label, -1) for label in np.asarray(labels).tolist()], dtype=int)


def _scale_of(feature_scale: Any, d: int, names: list | None) -> np.ndarray:
    """The feature scale by position."""
    if feature_scale is None:
        return np.ones(d)
    if (scales := labelled(feature_scale, names)) is not None:
        feature_scale = [scales.get(name, 1.0) for name in names or ()]
    scale = np.asarray(feature_scale, dtype=float)
    if scale.shape != (d,) or not (np.isfinite(scale) & (scale >= 0)).all():
        raise ValueError(
            f"certificate.feature_scale must hold {d} finite numbers >= 0, one per column of {names or 'X'}, got {scale!r}: "
            "pass the points that were certified."
        )
    return scale


# -- the ball, exactly -------------------------------------------------------------------------------------------------


def _is_within(x: np.ndarray, z: np.ndarray, scale: np.ndarray, norm: float, radius: float) -> bool:
    """Whether ``||(z - x) / scale|| <= radius`` in exact arithmetic; a coordinate of scale 0 must be where it was."""
    moved = np.flatnonzero((z != x) & ~(np.isnan(z) & np.isnan(x)))
    if not (np.isfinite(z[moved] - x[moved]).all() and (scale[moved] > 0).all()):
        return False
    if radius == np.inf:
        return True
    parts = [abs(Fraction(float(z[k])) - Fraction(float(x[k]))) / Fraction(float(scale[k])) for k in moved]
    limit = Fraction(float(radius))
    if norm == 2:
        return sum(part * part for part in parts) <= limit * limit
    return (sum(parts) if norm == 1 else max(parts, default=0)) <= limit


def _typed(values: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """The nearest values that columns of these types hold, shape of the last axis."""
    for kind in set(kinds) - {np.dtype(float)}:
        with np.errstate(over="ignore"):
            values = np.where(kinds == kind, _whole(values, kind) if kind.kind in "biu" else values.astype(kind), values)
    return values


def _whole(values: np.ndarray, kind: np.dtype) -> np.ndarray:
    """The nearest numbers, as floats, that a type of integers or a bool holds."""
    if kind.kind == "b":
        return np.clip(np.rint(values), 0, 1)
    least, most = np.iinfo(kind).min, np.iinfo(kind).max
    return np.clip(np.rint(values), least, most if most < 2**53 else np.nextafter(float(most), 0))


def _ulps(values: np.ndarray, kinds: Any) -> np.ndarray:
    """Units in the last place of values in these types."""
    sizes = np.abs(values)
    units = np.spacing(sizes)
    for kind in set(np.ravel(kinds)) - {np.dtype(float)}:
        with np.errstate(over="ignore"):
            units = np.where(kinds == kind, 1.0 if kind.kind in "biu" else np.spacing(sizes.astype(kind)), units)
    return units


def _firsts(who: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """For each row among ``who``, where its smallest key is."""
    order = np.lexsort((*keys[::-1], who))
    return order[np.unique(who[order], return_index=True)[1]]


class _Search:
    """Candidates are kept flat: ``who`` (m,), the numbers of their rows, and ``z`` (m, d), their values."""

    def __init__(self, deployed: _Deployed, points: Points, kinds: np.ndarray, certificate: Certificate, rng: Any):
        self.deployed, self.points, self.kinds, self.rng = deployed, points, kinds, rng
        self.whole = np.array([kind.kind in "biu" for kind in kinds], dtype=bool)
        self.x = points.values.astype(float)
        self.norm, self.radius = check_norm(certificate.norm), np.asarray(certificate.radius, dtype=float)
        self.prediction = np.asarray(certificate.prediction)
        n, d = self.x.shape
        scale = _scale_of(certificate.feature_scale, d, points.names)
        mobile = points.numeric & (scale > 0) & ~deployed.encoded(d, points.names)
        self.columns = np.flatnonzero(mobile)
        self.may = mobile & np.isfinite(self.x)
        self.scale = np.where(scale > 0, scale, 1.0)
        units = np.where(self.may, np.abs(self.x) / self.scale, 0.0)
        self.unit = float(units.max(initial=0.0)) or 1.0  # what an infinite radius is measured in
        self.share, self.length = np.full(n, np.inf), np.full(n, np.inf)  # of the violations found
        self.found, self.label = self.x.copy(), np.empty(n, dtype=object)
        self.near, self.margin = self.x.copy(), np.full(n, np.inf)  # the most dangerous points, by score
        self.scored, self.code, self.rival = False, np.zeros(n, dtype=int), np.zeros(n, dtype=int)
        deployed.look_for_scores(points.moved(np.arange(min(n, 2)), self.x[:2], self.columns))
        if deployed.method and (deployed.codes(self.prediction) >= 0).all():
            self.scored, self.code = True, deployed.codes(self.prediction)
            self.rival = deployed.codes(np.full(n, None) if certificate.runner_up is None else certificate.runner_up)

    @property
    def done(self) -> bool:
        return np.isfinite(self.share).sum() >= ENOUGH

    def pending(self, rows: np.ndarray) -> np.ndarray:
        return rows[:0] if self.done else rows[np.isinf(self.share[rows])]

    def blocks(self, m: int, bytes_per_row: int):
        step = max(1, BLOCK // max(1, bytes_per_row))
        return [slice(start, start + step) for start in range(0, m, step)]

    def rows(self, who: np.ndarray, z: np.ndarray) -> Any:
        """These candidates in the container of X."""
        if isinstance(self.points.origin, np.ndarray) and self.points.origin.dtype != object:
            return z.astype(self.kinds[0]).reshape(len(z), *self.points.origin.shape[1:])
        return self.points.moved(who, z, self.columns, self.kinds)

    def held(self, who: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Points next to these that X can hold; whole numbers are those towards the certified point, and no further from it."""
        if self.whole.any():
            z = np.where(self.whole, self.x[who] + np.trunc(z - self.x[who]), z)
        z = _typed(z, self.kinds)
        return np.where(self.may[who] & np.isfinite(z), z, self.x[who])

    # -- lengths ---------------------------------------------------------------------------------------------------

    def measured(self, who: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Moves in units of the scale, in the widest floats there are."""
        moves = z.astype(np.longdouble)
        moves -= self.x[who]
        moves /= self.scale
        moves[~self.may[who]] = 0
        return np.abs(moves, out=moves)

    def settled(self, who: np.ndarray, z: np.ndarray, limit: np.ndarray) -> np.ndarray:
        """Representable points next to these, brought back to ``limit`` where they are further away, ulp by ulp at last."""
        z = self.held(who, z)
        over = np.arange(len(z))
        for _ in range(4):
            moves = self.measured(who[over], z[over])
            if self.norm == np.inf:
                far, k = np.nonzero(moves > limit[over, None])
                excess = moves[far, k] - limit[over[far]]
            else:
                lengths = np.linalg.norm(moves, ord=self.norm, axis=1)
                far = np.flatnonzero(lengths > limit[over])
                k = moves[far].argmax(axis=1)  # the longest move is taken back
                excess = lengths[far] - limit[over[far]]
                excess = excess * (lengths[far] / moves[far, k]) if self.norm == 2 else excess
            if not len(far):
                break
            at, sign = over[far], np.sign(z[over[far], k] - self.x[who[over[far]], k])
            ulp = _ulps(z[at, k], self.kinds[k])
            here, start = z[at, k], self.x[who[at], k]
            back = _typed(here - sign * np.maximum((excess * self.scale[k]).astype(float), ulp), self.kinds[k])
            z[at, k] = np.where(sign * (back - start) > 0, back, start)
            over = np.unique(at)
        return z

    def placed(self, who: np.ndarray, v: np.ndarray, limit: np.ndarray, settle: bool = True) -> np.ndarray:
        """The points in directions ``v`` (in units of the scale) at ``limit``, up to rounding unless they are settled there."""
        v = np.where(self.may[who] & np.isfinite(v), v, 0.0)
        v = v / np.maximum(np.abs(v).max(axis=1, initial=0.0), np.finfo(float).tiny)[:, None]
        size = np.linalg.norm(v, ord=self.norm, axis=1)
        factor = np.where(size > 0, limit / np.where(size > 0, size, 1.0), 0.0)
        v *= factor[:, None]
        v *= self.scale
        v += self.x[who]
        if settle:
            return self.settled(who, v, limit)
        return self.held(who, v)

    # -- trying ----------------------------------------------------------------------------------------------------

    def tried(self, who: np.ndarray, z: np.ndarray, watch: bool = True) -> np.ndarray:
        """Which candidates are violations that were kept; with ``watch``, also follow the lowest margins."""
        kept = np.zeros(len(z), dtype=bool)
        for part in self.blocks(len(z), 8 * z.shape[1]):
            there = self.deployed.predict(self.rows(who[part], z[part]))  # each call has rows of its own to write into
            changed = np.flatnonzero(there != self.prediction[who[part]])
            self._keep(part.start + changed, who, z, kept)
            if watch and not self.scored:  # the first candidate there is
                new = part.start + _firsts(who[part])
                new = new[np.isinf(self.margin[who[new]])]
                self.near[who[new]], self.margin[who[new]] = z[new], 0.0
            elif watch:
                scores = self.deployed.scores(self.rows(who[part], z[part]))
                margins = self._margins(scores, who[part]).min(axis=1)
                best = _firsts(who[part], margins)
                best = best[margins[best] <= self.margin[who[part][best]]]
                self.near[who[part][best]], self.margin[who[part][best]] = z[part][best], margins[best]
        return kept

    def _margins(self, scores: np.ndarray, who: np.ndarray) -> np.ndarray:
        at = np.arange(len(scores))
        margins = np.nan_to_num(scores[at, self.code[who]][:, None] - scores, nan=np.inf, posinf=np.inf, neginf=-np.inf)
        margins[at, self.code[who]] = np.inf
        return margins

    def _keep(self, changed: np.ndarray, who: np.ndarray, z: np.ndarray, kept: np.ndarray) -> None:
        """Of points predicted otherwise, the nearest of each row if it is nearer than what is known, exactly within the ball,
        and predicted so alone too: products of matrices round differently in batches."""
        length = np.linalg.norm(self.measured(who[changed], z[changed]), ord=self.norm, axis=1)
        radius = self.radius[who[changed]]
        share = np.where(np.isinf(radius), 0, length / np.where(np.isinf(radius), 1, radius))
        doubt = (2 * z.shape[1] + 32) * np.finfo(np.longdouble).eps + np.where(radius < 1e-150, np.inf, 0.0)
        for i in np.lexsort((length, share)):
            row, c = who[changed[i]], changed[i]
            if share[i] > 1 + doubt[i] or (share[i], length[i]) >= (self.share[row], self.length[row]):
                continue
            if self.done and np.isinf(self.share[row]):
                continue
            if share[i] >= 1 - doubt[i] and not _is_within(
                self.x[row], z[c], np.where(self.may[row], self.scale, 0.0), self.norm, self.radius[row]
            ):
                continue
            label = self.deployed.predict(self.rows(np.array([row]), z[c][None]))[0]
            if label != self.prediction[row]:
                kept[c] = True
                self.share[row], self.length[row] = share[i], length[i]
                self.found[row], self.label[row] = z[c], label

    # -- strategies ------------------------------------------------------------------------------------------------

    def attack(
        self, rows: np.ndarray, limit: np.ndarray, pool: np.ndarray, known: np.ndarray | None, n_directions: int
    ) -> None:
        """All strategies, the most promising one first, on rows without a violation."""
        if known is not None:  # the attack that came with the certificate
            at = np.isfinite(np.where(self.may[rows], known[rows], 0)).all(axis=1)
            who = rows[at]
            z = np.where(self.may[who], known[who], self.x[who])
            self.tried(who, self.placed(who, (z - self.x[who]) / self.scale, limit[at]))
            self.tried(who, self.held(who, z), watch=False)
        limits = np.full(len(self.x), np.nan)
        limits[rows] = limit
        if self.scored:
            self._descend(self.pending(rows), limits)
        self._towards(self.pending(rows), limits, pool)
        self._at_random(rows, limits, n_directions)
        self._walk(rows, limits)

    def _slopes(self, who: np.ndarray, z: np.ndarray, h: np.ndarray) -> np.ndarray:
        """Slopes of two margins by central differences, of the rival nearest by them and of the runner-up, (m, 2, d)."""
        (m, d), c = z.shape, self.columns
        slopes, dual = np.zeros((m, 2, d)), {1: np.inf, 2: 2, np.inf: 1}[self.norm]
        K = len(self.deployed.classes)
        for part in self.blocks(m, 8 * 2 * len(c) * max(d, K)):
            w, at = who[part], z[part]
            step = np.maximum(h[part, None] * self.scale, np.where(self.whole, 1, 256) * _ulps(at, self.kinds))
            ends = [_typed(at + sign * step, self.kinds) for sign in (1, -1)]
            probes = np.repeat(at[None, :, None, :], 2, axis=0).repeat(len(c), axis=2)
            for end, probe in zip(ends, probes, strict=True):
                probe[:, np.arange(len(c)), c] = np.where(self.may[w][:, c], end[:, c], at[:, c])
            probes = np.where(np.isfinite(probes), probes, at[:, None])
            X = self.rows(np.tile(np.repeat(w, len(c)), 2), probes.reshape(-1, d))
            up, down = self.deployed.scores(X).reshape(2, len(w), len(c), K)
            here = self.deployed.scores(self.rows(w, at))
            slope = (up - down) / (ends[0] - ends[1])[:, c, None] * self.scale[c, None]
            slope = np.nan_to_num(np.take_along_axis(slope, self.code[w][:, None, None], 2) - slope, posinf=0, neginf=0)
            steep = np.linalg.norm(slope, ord=dual, axis=1)
            away = np.where(steep > 0, self._margins(here, w) / steep, np.inf)
            rivals = np.stack([away.argmin(axis=1), np.where(self.rival[w] < 0, away.argmin(axis=1), self.rival[w])])
            slopes[part, :, c] = np.take_along_axis(slope, rivals.T[:, None], axis=2).swapaxes(1, 2)
        return slopes

    def _steepest(self, slopes: np.ndarray) -> np.ndarray:
        """The direction of the unit ball in which a margin falls fastest."""
        if self.norm == 2:
            return -slopes
        if self.norm == np.inf:
            return -np.sign(slopes)
        one = np.arange(slopes.shape[-1]) == np.abs(slopes).argmax(axis=-1)[..., None]
        return np.where(one, -np.sign(slopes), 0.0)

    def _descend(self, rows: np.ndarray, limits: np.ndarray) -> None:
        """Steps of the length of the radius against the slope, whole and averaged with the last, from the best point so far."""
        before = None
        tolerance = np.sqrt(2 * unit_of(*self.kinds))
        at = self.x[rows]
        for _ in range(STEPS):
            if not len(rows):
                break
            slopes = self._slopes(rows, at, np.minimum(limits[rows], self.unit) / 8)
            if before is not None:
                moved = np.abs(slopes - before).max(axis=(1, 2)) > tolerance * np.abs(slopes).max(axis=(1, 2))
                rows, at, slopes = rows[moved], at[moved], slopes[moved]
            before, whole = slopes, self._steepest(slopes)
            who, limit = np.repeat(rows, 2), np.repeat(limits[rows], 2)
            z = self.placed(who, whole.reshape(-1, whole.shape[-1]), limit)
            middle = (z - self.x[who]) + np.repeat(at - self.x[rows], 2, axis=0)
            mixed = self.placed(who, np.where(self.may[who], middle, 0) / self.scale, limit)
            self.tried(np.append(who, who), np.concatenate([z, mixed]))
            going = np.isin(rows, self.pending(rows))
            rows, before = rows[going], before[going]
            at = self.near[rows]

    def _towards(self, rows: np.ndarray, limits: np.ndarray, pool: np.ndarray) -> None:
        """Towards the four nearest of the rows in the pool that are predicted otherwise."""
        for part in self.blocks(len(rows), 8 * self.x.shape[1] * max(len(pool), 1)):
            some = rows[part]
            moves = np.nan_to_num((self.x[pool] - self.x[some][:, None]) / self.scale) * self.may[some][:, None]
            rank = np.linalg.norm(moves, axis=2)
            rank[self.prediction[pool] == self.prediction[some][:, None]] = np.inf
            chosen = np.argsort(rank, axis=1)[:, :4]
            use = np.isfinite(np.take_along_axis(rank, chosen, 1)).ravel()
            who = np.repeat(some, chosen.shape[1])[use]
            v = np.take_along_axis(moves, chosen[:, :, None], 1).reshape(-1, self.x.shape[1])[use]
            self.tried(who, self.placed(who, v, limits[who]))

    def _at_random(self, rows: np.ndarray, limits: np.ndarray, n_directions: int) -> None:
        """At random, at the radius and somewhere within; half of them along an axis (l1) or to a corner (linf)."""
        d = self.x.shape[1]
        while n_directions and len(rows := self.pending(rows)):
            some = min(n_directions, max(1, BLOCK // (16 * d * len(rows))))
            n_directions, who = n_directions - some, np.tile(rows, some)
            v = self.rng.standard_normal((len(who), d))
            if self.norm != 2:
                pointed = self.rng.random_sample((len(who), 1)) < 0.5
                v = np.where(pointed, self._steepest(np.where(self.may[who], v, 0)), v)
            # up to rounding is far enough inside
            for limit in (limits[who] * (1 - 1e-9), limits[who] * self.rng.random_sample(len(who))):
                self.tried(who, self.placed(who, v, limit, settle=False), watch=False)

    def _walk(self, rows: np.ndarray, limits: np.ndarray) -> None:
        """By single ulps around the most dangerous point: rounding of the radius and of predict, where it decides."""
        d = self.x.shape[1]
        for _ in range(min(ROUNDS, max(4, 2**14 // max(1, len(rows))))):  # where rows are many, their number makes up for it
            if not len(rows := self.pending(rows)):
                break
            who = np.repeat(rows, TRIALS)
            z = self.near[who]
            moves = np.abs(np.where(self.may[who], (z - self.x[who]) / self.scale, 0))
            large = moves / np.maximum(moves.max(axis=1, initial=0.0), np.finfo(float).tiny)[:, None]
            chance = np.where((np.arange(len(who)) % 2)[:, None], large, min(1.0, 4 / d))
            ulps = self.rng.randint(-3, 4, z.shape) * (self.rng.random_sample(z.shape) < chance)
            self.tried(who, self.settled(who, z + ulps * _ulps(z, self.kinds), limits[who]))

    def shorten(self) -> None:
        """Halve the way to each violation as long as the point stays one."""
        who = np.flatnonzero(np.isfinite(self.share))
        ends, low, high = self.found[who], np.zeros(len(who)), np.ones(len(who))
        for _ in range(HALVINGS if len(who) else 0):
            middle = (low + high) / 2
            kept = self.tried(who, self.held(who, self.x[who] + middle[:, None] * (ends - self.x[who])), watch=False)
            low, high = np.where(kept, low, middle), np.where(kept, middle, high)


# -- the check ---------------------------------------------------------------------------------------------------------


def check_certificate(estimator, X, certificate, *, n_directions=64, random_state=None) -> Violation | None:
    """Search the certified balls for a point that is predicted otherwise.

    Nothing is used but ``estimator.predict``, its scores where it has any, and the fields of the certificate: it may come from
    elsewhere, or rest on a rule you registered. Every point that is tried is one that X can hold: float32 stays float32, and
    integers and bools are moved as real numbers first, as certificates take them, and then as what they are. Its distance is
    compared with the radius in exact arithmetic, on the closed ball (theory 1.8): a violation that is returned contradicts the
    certificate. None says that the search found nothing, not that there is nothing.

    For each row with a radius > 0: the certified prediction itself; the attack that comes with the certificate; steps against
    the slope of the margin (by differences of ``decision_function`` or probabilities); towards rows that are predicted
    otherwise; directions at random; and a walk by single units in the last place around the most dangerous point found. An
    infinite radius is tried at 1, 1e3, 1e6 and 1e12 times the largest value of X. Columns without numbers, missing cells, and
    columns that an encoder with a rule in skcert reads as categories never move; a feature scale of 0 holds any other.

    Parameters
    ----------
    estimator : fitted classifier or Pipeline ending in one
        Needs ``predict`` for points of the type of X, and a space other than "input" that it can be looked into.
    X : array-like of shape (n_samples, n_features), or images of shape (n_samples, ...)
        The points that were certified, as ``certify`` takes them, whatever the space.
    certificate : Certificate
        Of ``estimator`` on ``X``. One made by hand needs ``prediction``, ``radius``, ``norm``, ``space``; ``attack`` and
        ``runner_up`` may be None, ``attack_radius`` infinite or None.
    n_directions : int, default=64
        Number of directions at random for each row.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    Violation or None
        The one at the smallest share of its radius, the shorter one where these are equal. The search stops after violations
        in 20 rows, whose lengths are then halved as long as they remain violations. Where the guarantee is "none" a violation
        contradicts nothing, and where it is "probabilistic" only one in more than ``1 - confidence`` of all certificates does.

    Raises
    ------
    ValueError
        ``X`` and the certificate have different numbers of rows; the certificate's space, feature scale or attack does not
        fit ``estimator`` and ``X``; the certificate is that of a smoothed classifier, whose ``predict`` is itself an estimate.
    TypeError
        ``certificate`` is no Certificate.

    Notes
    -----
    About ``200 + 4 n_features`` predictions per row, and more where boundaries are curved.

    References
    ----------
    theory 0 and 1.8.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from skcert import CertifiedGMMClassifier
    >>> from skcert.testing import check_certificate
    >>> model = CertifiedGMMClassifier.from_parameters([[-1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]])
    >>> X = [[-2.0, 0.5], [1.5, 0.25]]
    >>> certificate = model.certify(X)                                              # radii 2 and 1.5
    >>> check_certificate(model, X, replace(certificate, radius=certificate.radius * 0.999), random_state=0)
    >>> violation = check_certificate(model, X, replace(certificate, radius=certificate.radius + 0.5), random_state=0)
    >>> violation.row, round(violation.distance, 6), round(violation.radius, 6)
    (1, 1.5, 2.0)
    """
    if not isinstance(certificate, Certificate):
        raise TypeError(
            f"certificate must be a skcert.Certificate, got {type(certificate).__name__}: pass what skcert.certify returns."
        )
    if isinstance(estimator, type) or not hasattr(estimator, "predict"):
        raise TypeError(f"estimator must be the fitted classifier that was certified, got {estimator!r}, which cannot predict.")
    if certificate.method == "randomized-smoothing":
        raise ValueError(
            "The certificate is about the smoothed classifier, of which predict is an estimate from n_select votes: another "
            "prediction contradicts nothing. Where the exact radius is known, as for linear rules, compare with it."
        )
    if not isinstance(n_directions, (int, np.integer)) or n_directions < 0:
        raise ValueError(f"n_directions must be an integer >= 0, got {n_directions!r}.")
    X = X if hasattr(X, "shape") else np.asarray(X)
    if len(X.shape) < 2 or X.shape[0] != len(certificate):
        raise ValueError(
            f"X must have one row per certified point, {len(certificate)}, got shape {tuple(X.shape)}: pass those certified."
        )
    if not len(certificate):
        return None
    with np.errstate(all="ignore"):  # far out, scores overflow
        deployed, rng = _Deployed(estimator, certificate.space), check_random_state(random_state)
        return _found(deployed, X, certificate._like(None), int(n_directions), rng)


def _found(deployed: _Deployed, X: Any, certificate: Certificate, n_directions: int, rng) -> Violation | None:
    for step in deployed.before:
        X = transformed(step, X)
    points, deployed.origin = Points.of(X), X
    kinds = points.types()
    searches = [_Search(deployed, points, kinds, certificate, rng)]
    gaps = np.isnan(points.values).any(axis=0)  # no NumPy type of integers has any
    whole = np.array([kind.kind in "biu" for kind in points.kinds], dtype=bool) & ~gaps
    if whole.any():  # also where only points of the type of X itself are
        kinds = np.where(whole, np.array(points.kinds, dtype=object), kinds)
        searches.append(_Search(deployed, points, kinds, certificate, rng))
    for search in searches:
        _searched(search, certificate, n_directions)
    search = min(searches, key=lambda one: min(zip(one.share, one.length, strict=True)))
    row = int(np.lexsort((search.length, search.share))[0])
    if np.isinf(search.share[row]):
        return None
    return Violation(
        row,
        like(X, points.moved(np.array([row]), search.found[row][None], search.columns, search.kinds)),
        search.prediction[row],
        search.label[row],
        min(float(search.length[row]), float(search.radius[row])),
        float(search.radius[row]),
        search.norm,
        certificate.space,
    )


def _searched(search: _Search, certificate: Certificate, n_directions: int) -> None:
    """Look for violations in the balls of all rows; those found are kept in the search, as short as they can be made."""
    known = None if certificate.attack is None else Points.of(certificate.attack).values
    if known is not None and known.shape != search.x.shape:
        raise ValueError(
            f"certificate.attack must have the shape of the points in {certificate.space!r}, {search.x.shape}, got "
            f"{known.shape}: pass the certificate as it was made, or without attack."
        )
    radius, d = search.radius, search.x.shape[1]
    rows = np.flatnonzero(radius > 0)
    wrong = rows[search.deployed.predict(copy.copy(search.points.origin))[rows] != search.prediction[rows]]
    if len(wrong):
        search.tried(wrong, search.x[wrong], watch=False)
    movable = search.pending(rows) if len(search.columns) else rows[:0]
    pool = search.rng.permutation(len(radius))[:64]
    far = radius > LADDER[-1] * search.unit
    with bar(len(movable), "attacking", "row") as done:
        for part in search.blocks(len(movable), 8 * 32 * d):
            some = movable[part]
            near = some[~far[some]]
            search.attack(near, radius[near], pool, known, n_directions)
            for length in LADDER if far[some].any() else ():
                out = search.pending(some[far[some]])
                search.attack(out, np.full(len(out), length * search.unit), pool, known, n_directions)
            done.update(len(some))
    search.shorten()
