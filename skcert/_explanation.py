"""Explanation: where the radius of one point came from, and what would change its prediction."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from skcert._certificate import Certificate
from skcert._points import Points, own_copy, transformed
from skcert._printing import round_down, round_up
from skcert._request import Request, scale_of
from skcert.backends.arrays import to_host
from skcert.discriminants import Affine, NearestEllipsoid, Quadratic
from skcert.perturbations import AffineStep, EstimatedStep, Link, LipschitzStep, NormalizeStep
from skcert.routes import Route, describe

if TYPE_CHECKING:
    from skcert.plotting import ExplanationDisplay

#: features that are listed and drawn, unless more are asked for
SHOWN = 10
#: numbers that are kept of a point to see whether it has changed, and of all points if that is all they have
MARKED, SMALL = 64, 2**12
#: points whose shortest attacks are asked whether one column decides, and its share of them from which on it does
ASKED, DECIDES = 20, 0.99


@dataclass(frozen=True)
class StepEffect:
    """What one step does to a perturbation.

    Attributes
    ----------
    name : str
    kind : str
        The type of the step.
    effect : str
    factor : float
        By how much the step stretches l2 lengths at most, the first step those in units of the feature scale; for one that
        divides rows by their length, at this row. NaN where nobody knows a bound.
    """

    name: str
    kind: str
    effect: str
    factor: float


@dataclass(frozen=True, repr=False, eq=False)
class Explanation:
    """Why one point has the radius it has; made by :meth:`Certificate.explain`.

    Attributes
    ----------
    row : int
        Number of the point in the certificate.
    prediction, runner_up : label
        Of the point, and of the class whose boundary is nearest.
    radius, attack_radius : float
        See :class:`Certificate`.
    norm, space, guarantee, exact
        See :class:`Certificate`.
    steps : list of StepEffect
        The way from the space of the radius to the classifier.
    features : ndarray of str, shape (n_features,)
        Names of the features.
    before, after : ndarray of shape (n_features,)
        The point, and the nearest point known to be predicted otherwise; NaN where a feature is no number or nothing is
        known. ``after`` may be None: no attack can be constructed.
    scale : ndarray of shape (n_features,)
        The unit in which each feature moves; 0 where it cannot.
    label : object
        What the index of the frame that was certified calls the point; None where it only counts.
    """

    row: int
    prediction: Any
    runner_up: Any
    radius: float
    attack_radius: float
    norm: float
    space: str
    guarantee: str
    exact: bool
    steps: list[StepEffect]
    features: np.ndarray
    before: np.ndarray
    after: np.ndarray | None
    scale: np.ndarray
    votes: str = ""
    label: Any = None

    @property
    def change(self) -> np.ndarray:
        """How far each feature moves to the attack, in its own units; zeros where none is known."""
        if self.after is None or not np.isfinite(self.attack_radius):
            return np.zeros(len(self.features))
        return np.nan_to_num(self.after - self.before)

    @property
    def scaled_change(self) -> np.ndarray:
        """The change in units of the feature scale: what the norm measures."""
        return np.divide(self.change, self.scale, out=np.zeros(len(self.scale)), where=self.scale > 0)

    def largest(self, n_features: int = SHOWN) -> np.ndarray:
        """Numbers of the features that move most, in units of the feature scale, the first most."""
        size = np.abs(self.scaled_change)
        order = np.argsort(-size, kind="stable")
        return order[size[order] > 0][:n_features]

    def _lines(self) -> list[str]:
        unit = f"l{self.norm:g} in {self.space!r}"
        grade = "the distance itself" if self.exact else "a lower bound of the distance"
        known = "an estimate, no guarantee" if self.guarantee == "none" else f"{self.guarantee}, {grade}"
        called = "" if self.label is None else f", index {self.label!r}"
        lines = [
            f"Row {self.row}{called}: predicted {self.prediction}, next {self.runner_up}",
            f"  radius  {round_down(self.radius)}  ({unit}, {known})",
            f"  attack  {'none known' if not np.isfinite(self.attack_radius) else 'at ' + round_up(self.attack_radius)}",
            "",
            f"From {self.space!r} to the classifier" + ("" if self.steps else ": no step"),
        ]
        wide = max((len(step.name) for step in self.steps), default=0)
        for step in self.steps:
            stretch = "" if np.isnan(step.factor) else f"; lengths up to {step.factor:.4g} times"
            lines.append(f"  {step.name:<{wide}}  {step.effect}{stretch}")
        lines += [f"  {self.votes}"] if self.votes else []
        movers = self.largest()
        if not len(movers):
            return lines
        moved = int((self.scaled_change != 0).sum())
        lines += [
            "",
            f"The attack moves {moved} of {len(self.features)} features" + (", most:" if moved > len(movers) else ":"),
        ]
        wide = max(len(str(self.features[k])) for k in movers)
        lines.append(f"  {'':<{wide}}  {'from':>12} {'to':>12} {'change':>12} {'in units':>12}")
        for k in movers:
            numbers = (self.before[k], self.before[k] + self.change[k], self.change[k], self.scaled_change[k])
            lines.append(f"  {self.features[k]!s:<{wide}}  " + " ".join(f"{number:>12.5g}" for number in numbers))
        return lines

    def __repr__(self) -> str:
        return "\n".join(line.rstrip() for line in self._lines())

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(repr(self))}</pre>"

    def plot(self, ax=None, *, n_features: int = SHOWN) -> ExplanationDisplay:
        """Draw the features that the attack moves most as bars: see :class:`skcert.plotting.ExplanationDisplay`."""
        from skcert.plotting import ExplanationDisplay

        return ExplanationDisplay(self).plot(ax, n_features=n_features)


@dataclass(frozen=True)
class Marks:
    """Some numbers of some points, by which it is seen whether these are still what they were.

    Attributes
    ----------
    rows : ndarray of shape (n_rows,) or None
        Which points; None for all.
    values : ndarray
        Some of their numbers, of each axis every so many.
    """

    rows: np.ndarray | None
    values: np.ndarray

    @classmethod
    def of(cls, X: Any, rows: np.ndarray | None) -> Marks:
        some = X if rows is None else _safe_indexing(X, rows, axis=0)
        return cls(rows, np.array(to_host(some[_thinned(some.shape)])))

    def hold(self, X: Any, at: np.ndarray) -> bool:
        """Whether points are what they were, as far as they are marked."""
        place = at if self.rows is None else np.searchsorted(self.rows, at)
        known = place < len(self.values)
        if self.rows is not None:
            known[known] = self.rows[place[known]] == at[known]
        now = _safe_indexing(X, at[known], axis=0)
        now = np.asarray(to_host(now[_thinned(now.shape)]))
        return np.array_equal(self.values[place[known]], now, equal_nan=now.dtype.kind in "fc")


def _thinned(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Of rows all, and of each other axis so few places that a row has MARKED numbers at most."""
    each = max(1, int(MARKED ** (1 / max(1, len(shape) - 1))))
    return (slice(None), *(slice(None, None, -(-size // each)) for size in shape[1:]))


@dataclass(frozen=True)
class Origin:
    """What a certificate was made of: the points as they are in its space, and what was asked.

    Attributes
    ----------
    points : array or frame
        Of a frame a copy that shares its cells, which does not see what is added, sorted or set later.
    n : int
        Number of points.
    marks : Marks or None
        Of an array, where a point cannot be told by its radius.
    """

    certifier: Any
    points: Any
    request: Request
    n: int
    marks: Marks | None

    @classmethod
    def of(cls, certifier: Any, X: Any, request: Request, made: Certificate) -> Origin:
        """What a certificate is made of, kept cheaply: X itself, but for a few numbers."""
        if request.feature_scale is not None:
            request = replace(request, feature_scale=own_copy(request.feature_scale))
        marks = None
        if hasattr(X, "columns"):
            X = X.copy(deep=False) if hasattr(X, "iloc") else X.clone()
        elif hasattr(X, "shape"):
            if math.prod(X.shape) <= SMALL or not _repeatable(certifier, request):
                marks = Marks.of(X, None)
            elif len(rows := np.flatnonzero(_tells_nothing(to_host(made.radius)))):
                marks = Marks.of(X, rows)
        return cls(certifier, X, request, len(made), marks)

    def has_model_of(self, other: Origin) -> bool:
        """Whether two certificates are of one fitted model, as far as what they compare can tell."""
        ours, theirs = self.certifier, other.certifier
        if ours is theirs:
            return True
        if not _same(_affine(self.request.links), _affine(other.request.links)):
            return False
        if ours._rule is None and theirs._rule is None:
            return _same(vars(ours._model), vars(theirs._model))
        return _same(ours._classes, theirs._classes) and _same(ours._rule, theirs._rule)

    @property
    def model_name(self) -> str:
        return type(self.certifier._model).__name__

    def again(self, certificate: Certificate, rows: np.ndarray, at: np.ndarray) -> Any:
        """The points that are these rows of a certificate, numbers ``at`` of these points; ValueError if they have changed."""
        changed = (
            f"Row {rows[0]} is not what it was when it was certified: X, or the model, has been changed in place. Certify the "
            "points again."
        )
        try:
            self.certifier._check_unchanged(self.request.start, self.request.links)
        except ValueError as reason:
            raise ValueError(changed) from reason
        if _num_samples(self.points) != self.n or (self.marks is not None and not self.marks.hold(self.points, at)):
            raise ValueError(changed)
        X = _safe_indexing(self.points, at, axis=0)
        if not _repeatable(self.certifier, self.request):
            return X
        try:
            found = self.certifier._staying(X, self.request)
            found = self.certifier._batch(X, self.request) if found is None else found
        except (ValueError, TypeError, AttributeError) as reason:
            raise ValueError(changed) from reason
        found, rounding = found._like(None), 1e-9 if certificate.arithmetic == "float64" and not self.request.gpu else 1e-4
        same = np.isclose(found.radius, certificate.radius[rows], rtol=rounding, atol=0)
        for name in ("prediction", "runner_up"):
            same &= getattr(found, name) == getattr(certificate, name)[rows]
        if not same.all():
            raise ValueError(changed)
        return X

    def explain(self, certificate: Certificate, row: int, at: int) -> Explanation:
        """The point's own certificate again, this time with its attack, and the way it took."""
        certifier, request = self.certifier, self.request
        X = self.again(certificate, np.array([row]), np.array([at]))
        points, radius, attack_radius = Points.of(X), certificate.radius[row], certificate.attack_radius[row]
        after = None
        if _has_attacks(certifier, request):
            alone = certifier._batch(X, replace(request, attack=True))
            after, attack_radius = Points.of(alone.attack).values[0], float(alone.attack_radius[0])
        scale, _ = scale_of(request.feature_scale, points)
        frozen = np.zeros(len(points.numeric), dtype=bool)
        if not _is_estimated(request.links):
            frozen = Route.along(request.links, np.isnan(points.values[0]), points.names).frozen
        names = points.names or self._names(len(points.numeric))
        return Explanation(
            row,
            certificate.prediction[row],
            certificate.runner_up[row],
            float(radius),
            float(attack_radius),
            certificate.norm,
            certificate.space,
            certificate.guarantee,
            certificate.exact,
            self._effects(X, scale),
            np.array(names, dtype=object),
            np.where(points.numeric, points.values[0], np.nan),
            after,
            np.where(points.numeric & ~frozen & ~np.isnan(points.values[0]), scale, 0.0),
            self._voted(certificate, row),
            certificate._label(row),
        )

    def shares(self, certificate: Certificate, rows: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, list]:
        """Shares of the columns in the squared l2 length of the shortest attacks of these rows, and the columns' names."""
        points = Points.of(self.again(certificate, rows, at))
        scale, _ = scale_of(self.request.feature_scale, points)
        attacked = self.certifier._batch(points.origin, replace(self.request, norm=2, attack=True)).attack
        moves = np.nan_to_num(Points.of(attacked).values - points.values)
        parts = np.divide(moves, scale, out=np.zeros(moves.shape), where=(scale > 0) & points.numeric)
        parts /= np.maximum(np.abs(parts).max(axis=1, initial=0, keepdims=True), np.finfo(float).tiny)
        parts **= 2
        found = parts.sum(axis=1) > 0
        can_move = np.count_nonzero((scale > 0) & points.numeric)
        shares = parts[found] / parts[found].sum(axis=1, keepdims=True) if can_move > 1 else parts[:0]
        return shares, points.names or self._names(len(scale))

    def _voted(self, certificate: Certificate, row: int) -> str:
        """What a smoothed classifier's votes say about a point."""
        votes = certificate._votes
        if votes is None:
            return ""
        model = self.certifier._model
        n = votes.passes[row] - model.n_select
        start = f"{votes.votes[row]} of {n} votes for {certificate.prediction[row]} under noise of {model.sigma:g}"
        if not votes.radius[row]:
            return f"{start}: no majority is certain at level {1 - model.alpha:g}"
        probability = np.floor(votes.probability[row] * 1e6) / 1e6
        return (
            f"{start}: its probability is at least {probability:.6f} at level {1 - model.alpha:g}, "
            f"and {model.sigma:g} Phi^-1(that) = {round_down(votes.radius[row])} the radius there"
        )

    def _names(self, d: int) -> list[str]:
        """What the step before the space calls its outputs, if it calls them anything."""
        before = self.certifier._steps[: self.request.start]
        try:
            names = list(before[-1][1].get_feature_names_out())
        except (AttributeError, IndexError, ValueError):
            names = []
        return names if len(names) == d else [f"x{k}" for k in range(d)]

    def _effects(self, X, scale: np.ndarray) -> list[StepEffect]:
        """What every step does at one point; the first, to a perturbation in units of the feature scale."""
        effects: list[StepEffect] = []
        steps = self.certifier._steps[self.request.start :]
        for each, (name, step) in zip(self.request.links, steps, strict=True):
            points = Points.of(X)
            missing = np.isnan(points.values[0])
            if _is_estimated((each,)):
                X = transformed(step, X)
                effects.append(StepEffect(name, type(step).__name__, describe(each), np.nan))
                continue
            route = Route.along((each,), missing, points.names)
            X = transformed(step, X)
            moving = np.where(points.numeric & ~route.frozen & ~missing, 1.0 if effects else scale, 0.0)
            norm, units, factors = route.narrow(2, np.append(moving, np.zeros(route.n_constants)))
            last = route.pieces[-1]
            if last is not None:
                factors.append((last if units is None else last.stretched(units)).stretch(norm, 2))
            factors += [b.constant for b in route.bends if isinstance(b, LipschitzStep) and b.inward is not None]
            if any(isinstance(bend, NormalizeStep) for bend in route.bends):
                factors.append(1 / float(np.linalg.norm(points.values[0])) if points.values[0].any() else np.inf)
            effects.append(StepEffect(name, type(step).__name__, describe(each), float(np.prod(factors))))
        return effects


# -- what a certifier can do again -----------------------------------------------------------------------------------------


def _affine(links: tuple[Link, ...]) -> list[AffineStep]:
    return [carrier for each in links for carrier in each.carriers if isinstance(carrier, AffineStep)]


def _is_estimated(links: tuple[Link, ...]) -> bool:
    return any(isinstance(carrier, EstimatedStep) for each in links for carrier in each.carriers)


def _repeatable(certifier: Any, request: Request) -> bool:
    """Whether a point alone has the radius that it has among others, at once: there are no votes, and no encoder runs."""
    blind = any(isinstance(carrier, (LipschitzStep, EstimatedStep)) for each in request.links for carrier in each.carriers)
    return not (blind or certifier._smoothed)


def _has_attacks(certifier: Any, request: Request) -> bool:
    return _repeatable(certifier, request) and not isinstance(certifier._rule, NearestEllipsoid)


def _has_quick_attacks(origin: Origin) -> bool:
    """Whether shortest l2 attacks are cheap: what they need has been computed."""
    rule = origin.certifier._rule
    known = isinstance(rule, Affine) or (isinstance(rule, Quadratic) and origin.request.norm == 2)
    return known and _has_attacks(origin.certifier, origin.request)


def _tells_nothing(radius: np.ndarray) -> np.ndarray:
    """Radii that points may share which have nothing else in common."""
    return (radius == 0) | np.isinf(radius)


def _same(one: Any, other: Any) -> bool:
    """Whether two records of numbers are equal by value; what is neither is compared as it compares itself."""
    if one is other:
        return True
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    if is_dataclass(one) and type(one) is type(other):
        return all(_same(getattr(one, each.name), getattr(other, each.name)) for each in fields(one))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(np.all(one == other))


def _located(certificate: Certificate, row: int) -> tuple[Origin, int]:
    """From which points a row of a certificate comes, and its number among them."""
    for origin in certificate._origins:
        if row < origin.n:
            return origin, row
        row -= origin.n
    raise IndexError(row)


def explained(certificate: Certificate, row: int) -> Explanation:
    """Why one point of a certificate, whose arrays are in NumPy, has the radius it has."""
    origin, at = _located(certificate, row)
    return origin.explain(certificate, row, at)


def dominant_column(certificate: Certificate) -> tuple[Any, float] | None:
    """The column that makes up nearly all of the shortest attacks, and its share of their squared l2 lengths.

    Parameters
    ----------
    certificate : Certificate

    Returns
    -------
    (name, share) or None
        The share is the mean over points, at most ASKED of them. None where no column reaches DECIDES; where a single column
        can move at all; in linf, whose attacks move every column by the same amount; and where attacks, the model or the
        points are not to be had any more.

    Notes
    -----
    In l1, too, the l2 attacks are asked: the shortest l1 attack on a linear rule moves a single column always. A share of 99 %
    says that the distance to a hyperplane is at least ten times as long, in either norm, if this column stands still.
    """
    if not certificate._origins or not len(certificate) or certificate.norm == np.inf:
        return None
    certificate = certificate._like(None)
    ends = np.cumsum([origin.n for origin in certificate._origins])
    rows = np.unique(np.linspace(0, len(certificate) - 1, ASKED).astype(int))
    part_of = np.searchsorted(ends, rows, side="right")
    shares: list[np.ndarray] = []
    names: list = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for part in np.unique(part_of):
                origin, asked = certificate._origins[part], rows[part_of == part]
                if not _has_quick_attacks(origin):
                    return None
                found, names = origin.shares(certificate, asked, asked - ends[part] + origin.n)
                shares.append(found)
    except Exception:  # printing a certificate never fails: what cannot be asked again is not known
        return None
    share = np.concatenate(shares).mean(axis=0) if any(map(len, shares)) else np.zeros(1)
    most = int(share.argmax())
    return (names[most], float(share[most])) if share[most] > DECIDES else None
