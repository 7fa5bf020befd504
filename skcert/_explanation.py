"""Explanation: where the radius of one point came from, and what would change its prediction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import _safe_indexing

from skcert._certificate import Certificate
from skcert._points import Points, transformed
from skcert._printing import round_down, round_up
from skcert._request import scale_of
from skcert.discriminants import NearestEllipsoid
from skcert.perturbations import EstimatedStep, LipschitzStep, NormalizeStep
from skcert.routes import Route, describe

if TYPE_CHECKING:
    from skcert.plotting import ExplanationDisplay

#: features that are listed and drawn, unless more are asked for
SHOWN = 10


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
        divides rows by their length, at this row.
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
        lines = [
            f"Row {self.row}: predicted {self.prediction}, next {self.runner_up}",
            f"  radius  {round_down(self.radius)}  ({unit}, {self.guarantee}, {grade})",
            f"  attack  {'none known' if not np.isfinite(self.attack_radius) else 'at ' + round_up(self.attack_radius)}",
            "",
            f"From {self.space!r} to the classifier" + ("" if self.steps else ": no step"),
        ]
        wide = max((len(step.name) for step in self.steps), default=0)
        lines += [f"  {step.name:<{wide}}  {step.effect}; lengths up to {step.factor:.4g} times" for step in self.steps]
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
class Origin:
    """What a certificate was made of: the points as they are in its space, and what was asked."""

    certifier: Any
    points: Any
    request: Any

    def explain(self, certificate: Certificate, row: int) -> Explanation:
        """The point's own certificate again, this time with its attack, and the way it took."""
        certifier, request = self.certifier, self.request
        X = _safe_indexing(self.points, [row], axis=0)
        blind = any(isinstance(c, (LipschitzStep, EstimatedStep)) for each in request.links for c in each.carriers)
        known = not (blind or certifier._smoothed or isinstance(certifier._rule, NearestEllipsoid))
        points, radius, attack_radius = Points.of(X), certificate.radius[row], certificate.attack_radius[row]
        after = None
        if known:
            alone = certifier._batch(X, replace(request, attack=True))
            after, attack_radius = Points.of(alone.attack).values[0], float(alone.attack_radius[0])
        scale, _ = scale_of(request.feature_scale, points)
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
        )

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
