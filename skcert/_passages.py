"""From the points of a space along the steps to the boundary of a classifier, and back: the ways, made once and kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing

from skcert._points import Points, conversion, dense, numbers, source_of, type_of
from skcert._request import Request
from skcert.boundaries import (
    PAIR_BUDGET,
    AffineBoundary,
    EllipsoidBoundary,
    LinearMixtureBoundary,
    Nearest,
    QuadraticBoundary,
    QuadraticMixtureBoundary,
    VotedBoundary,
)
from skcert.discriminants import Affine, LogSumExp, NearestEllipsoid, batches
from skcert.geometry.rounding import UNIT, grow, shrink, unit_of
from skcert.perturbations import AffineStep, Link, LipschitzStep, ParallelStep
from skcert.routes import Route, Stop, constants, imputes

#: spaces, norms and feature scales whose boundaries are kept, the oldest making room
KEPT = 8
#: pairs of classes of a linear rule along whose differences the error of an encoder is looked at, at most
MOST_PAIRS = 500


@dataclass(frozen=True)
class Passage:
    """From one space, norm and feature scale to the boundary, for points with the same cells missing.

    Attributes
    ----------
    route : Route
        With what the steps lose as they compute.
    boundary : AffineBoundary, QuadraticBoundary or EllipsoidBoundary
        Where the last piece of the route begins.
    factors : list of float
        By how much the ball is stretched on its way there.
    scale : ndarray of shape (n_columns,)
        Of the columns of the points; 0 where one does not move.
    units : ndarray or None
        The scale of the features where the boundary is.
    """

    route: Route
    boundary: Any
    factors: list[float]
    scale: np.ndarray
    units: np.ndarray | None


class Passages:
    """The ways to the boundary of one classifier.

    Parameters
    ----------
    rule : discriminant or None
        Of the classifier; None where its radii are known by votes.
    step_types : dict of str to str
        Names of the steps, and of their types, for messages.
    """

    def __init__(self, rule: Any, step_types: Mapping[str, str]):
        self.rule, self.step_types = rule, step_types
        self._kept: dict[Any, Passage] = {}

    def clear(self) -> None:
        """Forget all ways."""
        self._kept.clear()

    @property
    def nbytes(self) -> int:
        """Bytes of the eigenbases kept so far."""
        return sum(getattr(passage.boundary, "nbytes", 0) for passage in self._kept.values())

    def passage(self, links, units, points: Points, missing, norm, scale, asked) -> Passage:
        """The way to the boundary for points of this kind, from memory or made now.

        ``units`` are those of rounding in which the steps and, at last, the classifier compute.
        """
        names = points.names
        masks = (scale.tobytes(), asked.tobytes(), points.numeric.tobytes(), missing.tobytes())
        kind = (len(links), norm, units, *masks, names and tuple(names))
        if kind in self._kept:
            return self._kept[kind]
        while len(self._kept) >= KEPT:
            self._kept.pop(next(iter(self._kept)))
        route = Route.along(links, missing, names, units)
        frozen = route.frozen | ~points.numeric
        _name_columns(frozen & asked & (scale > 0), names, "feature_scale moves columns that cannot move: {}. Use 0.")
        moving = np.where(frozen | missing | ~route.uses, 0.0, scale)  # what nobody reads need not move
        whole = np.append(moving, np.zeros(route.n_constants))
        last, stretched, factors = route.narrow(norm, None if (whole == 1).all() else whole)
        boundary = boundary_of(self.rule, route.fold, stretched, last, units[-1], points.values.shape[1])
        self._kept[kind] = Passage(route, boundary, factors, moving, stretched)
        return self._kept[kind]

    def method_of(self, passage: Passage, asked: str) -> str:
        """The method asked for, and that of "auto": a function of shapes and covariance type only."""
        if asked != "auto":
            return asked
        boundary = passage.boundary
        if isinstance(boundary, EllipsoidBoundary):
            return "nearest-ellipsoid"
        if isinstance(boundary, QuadraticBoundary) and boundary.full_nbytes > PAIR_BUDGET:
            return "pairwise"
        return "exact"

    def is_exact(self, passage: Passage, method: str) -> bool:
        """Whether radii are distances themselves."""
        exact = not passage.route.bends and method != "paper" and (method == "exact" or isinstance(self.rule, Affine))
        return exact and getattr(passage.boundary, "exact", True)

    def nearest(
        self, points, outputs, units, latents, scale, asked, request: Request, voted: Nearest | None = None
    ) -> tuple[Nearest, str, bool]:
        """Distances in the space of the points, which must reach the classifier as their own steps transformed them.

        ``voted``: radii where the classifier is, if they are known by votes.
        """
        links, method, attack = request.links, request.method, request.attack
        n, d = points.values.shape
        whole = Route.along(links, np.zeros(d, dtype=bool), points.names)
        if links or voted is None:  # a smoothed classifier takes anything, and adds noise to numbers
            _name_columns(whole.uses & ~points.numeric, points.names, "Columns {} are used as numbers and hold something else.")
        fixed = [numbers(part) for part in constants(links, outputs[0])]
        kinds, groups = _by_gaps(points.values, whole.uses | whole.watched if imputes(links) else None)
        out = Nearest.empty(n, d if attack else None)
        for missing, group in zip(kinds, groups, strict=True):
            passage = self.passage(links, units, points, missing, request.norm, scale, asked)
            method = self.method_of(passage, method)
            simple = not fixed and not whole.bends and len(groups) == 1
            computed = {place: _flat(outputs[place]) for place in passage.route.blind if _is_first(links[place])}
            for batch in [slice(0, n)] if simple else batches(len(group), 8 * 8 * (d + whole.n_constants)):
                at = batch if len(groups) == 1 else group[batch]
                source = source_of(points.values[at], [part[at] for part in fixed])
                known = None if voted is None else voted.take(at)
                found = self._part(passage, request, outputs, computed, units, at, source, latents, method, known)
                out.put(at, _about(points, at, found, passage.scale, request.norm))
        return out, method, self.is_exact(passage, method)

    def _part(self, passage, request: Request, outputs, computed, units, at, source, latents, method, voted=None) -> Nearest:
        """One batch: along the route, to the boundary, and back."""
        route, links, attack = passage.route, request.links, request.attack
        last = route.pieces[-1]
        seen = {place: dense(outputs[place + 1][at]) for place in route.blind}
        start, error, stops = route.trace(source, seen, {place: X[at] for place, X in computed.items()})
        if links and last is not None:
            after, widest = latents[at], widest_unit(units)
            for rows in batches(len(start), 16 * start.shape[1], 2 * 2**20):
                doubt = 0.0 if error is None else error[rows]
                if not last.agrees(start[rows], dense(after[rows]), error=doubt, unit=widest):
                    self._name_step(links, outputs)
        if voted is None:
            found = _to_boundary(passage.boundary, start, error, method, attack, request.gpu)
        else:
            found = replace(voted, radius=passage.boundary.before(voted.radius))
        if route.bends:
            if voted is None and isinstance(passage.boundary, AffineBoundary) and isinstance(route.bends[-1], LipschitzStep):
                stops[-1] = _closer(route.bends[-1], stops[-1], passage.boundary.slopes)
            found.radius = route.widen(found.radius, passage.factors, stops)
            found.attack_radius = np.full(len(found.radius), np.inf)
        if attack:
            moves = found.attack if passage.units is None else found.attack * passage.units
            found.attack = route.retrace(moves, stops, passage.scale)[:, : len(passage.scale)]
        return found

    def _name_step(self, links, outputs) -> None:
        """A step does not do what its rule says: find out which, one by one."""
        for place, each in enumerate(links):
            before, after = Points.of(outputs[place]), dense(outputs[place + 1])
            fixed = [numbers(part) for part in constants((each,), outputs[place])]
            for missing, rows in zip(*_by_gaps(before.values, np.ones(before.values.shape[1], dtype=bool)), strict=True):
                units = units_of((each,), outputs[place : place + 2])
                source = source_of(before.values[rows], [part[rows] for part in fixed])
                route = Route.along((each,), missing, before.names, units)
                start, error, _ = route.trace(source, {0: after[rows]}, {})
                last, doubt = route.pieces[-1], 0.0 if error is None else error
                if last is not None and not last.agrees(start, after[rows], error=doubt, unit=widest_unit(units)):
                    shared = each.writes and any(isinstance(carrier, ParallelStep) for carrier in each.carriers)
                    why = (
                        "one of its parts writes into what it is given (copy=False), and other parts read that. Use copy=True."
                        if shared
                        else "its transform differs from the folded map. Was it changed or overridden? Register its rule with "
                        "skcert.register_perturbation, or certify the space after it."
                    )
                    raise ValueError(
                        f"The step {each.name!r} ({self.step_types[each.name]}) does not transform these points as its fitted "
                        f"parameters say: {why}"
                    )
        raise ValueError("The steps together do not transform these points as the fitted parameters of each of them say.")


def boundary_of(rule: Any, fold: AffineStep | None, scale: np.ndarray | None, norm: float, unit: float, d: int) -> Any:
    """The boundary of a rule behind the last piece of a route, for a norm there; of radii known by votes where it is None."""
    if norm != 2 and isinstance(rule, NearestEllipsoid):
        raise ValueError(
            f'decision="nearest-ellipsoid" is certified in l2, got norm={norm!r}: use norm=2, or decision="bayes".'
        )
    if rule is None:
        return VotedBoundary(fold, scale, norm, d)
    if isinstance(rule, NearestEllipsoid):
        return EllipsoidBoundary(rule, fold, scale)
    if isinstance(rule, LogSumExp):
        linear = isinstance(rule.components, Affine)
        return (LinearMixtureBoundary if linear else QuadraticMixtureBoundary)(rule, fold, scale, norm, unit)
    return (AffineBoundary if isinstance(rule, Affine) else QuadraticBoundary)(rule, fold, scale, norm, unit)


def units_of(links: tuple[Link, ...], outputs) -> tuple[Any, ...]:
    """The unit of rounding of every step, by what it was given, keeps and made.

    Of steps side by side, for each part those of its steps, and at last that of what they made.
    """
    return tuple(_units(each, *outputs[n : n + 2]) for n, each in enumerate(links))


def _units(link: Link, given: Any, made: Any) -> Any:
    for carrier in link.carriers:
        if isinstance(carrier, ParallelStep):
            return tuple(_part_units(branch.links, carrier.take(given, branch)) for branch in carrier.branches)
    return link.unit(type_of(given), type_of(made))


def _part_units(links: tuple[Link, ...], X: Any) -> tuple[Any, ...]:
    """The units of a part's steps, found out on one row: types do not depend on numbers."""
    outputs = [_safe_indexing(X, [0], axis=0)]
    for link in links:
        outputs.append(link.transform(outputs[-1]))
    return (*units_of(links, outputs), unit_of(type_of(outputs[-1])))


def widest_unit(units: Any) -> float:
    """The largest of some units of rounding, however they are nested."""
    return max(map(widest_unit, units), default=UNIT) if isinstance(units, tuple) else units


def _about(points: Points, at, found: Nearest, moving: np.ndarray, norm: float) -> Nearest:
    """Radii about points as they were given, from those about the float64 numbers c(x) that they became.

    In the ball ||c(z) - c(x)|| <= ||z - x|| + u ||z|| + u ||x||, and ||z|| <= ||x|| + ||z - x||.
    """
    lost = conversion(points.kinds, points.values[at], moving, norm, found.radius)
    if not lost.any():
        return found
    radius = np.where(lost > 0, shrink(np.maximum(shrink(found.radius) - 2 * lost, 0)), found.radius)
    return replace(found, radius=radius, attack_radius=grow(found.attack_radius + lost))


def _is_first(link: Link) -> bool:
    """Whether a link is an encoder and nothing else before it, so that it is given what the link before it has made."""
    return isinstance(link.carriers[0], LipschitzStep)


def _flat(X: Any) -> np.ndarray:
    """Points as rows of numbers, whatever their shape."""
    X = dense(X)
    return X.reshape(len(X), -1)


def _name_columns(which: np.ndarray, names, message: str) -> None:
    if which.any():
        found = [int(c) if names is None else names[c] for c in np.flatnonzero(which)]
        raise ValueError(message.format(repr(found)))


def _to_boundary(boundary, start, error, method: str, attack: bool, gpu: bool) -> Nearest:
    """Distances to a boundary: on the GPU where it is meant to and can, else on the CPU."""
    if gpu and error is None and not attack:
        from skcert.backends import cuda  # it needs CuPy

        if cuda.supports(boundary, method):
            return cuda.nearest(boundary, start, method=method)
    return boundary.nearest(start, error, method=method, attack=attack)


def _closer(bend: LipschitzStep, stop: Stop, slopes: np.ndarray) -> Stop:
    """What an encoder loses, only as far as it matters to a linear rule behind it: along differences of slopes.

    Either this or what it loses in any direction is taken, by shapes alone: both would need a share of the confidence each.
    """
    first, second = np.triu_indices(len(slopes), 1)
    if bend.along is None or stop.made is None or len(first) > MOST_PAIRS:
        return stop
    differences = np.vstack([slopes[first] - slopes[second], slopes[second] - slopes[first]])
    lengths = np.linalg.norm(differences, axis=1, keepdims=True)
    units = differences[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0]
    if not len(units):
        return stop
    before = 2 * bend.constant * stop.error
    return replace(stop, lost=grow(before + bend.along(stop.points, stop.made, units)))


def _by_gaps(values: np.ndarray, used: np.ndarray | None) -> tuple[np.ndarray, list[np.ndarray]]:
    """Patterns of missing cells among the columns used, and the rows of each; None: gaps are of no interest."""
    if used is None or not (gaps := np.isnan(values) & used).any():
        return np.zeros((1, values.shape[1]), dtype=bool), [np.arange(len(values))]
    kinds, of = np.unique(gaps, axis=0, return_inverse=True)
    order = np.argsort(of.ravel(), kind="stable")
    return kinds, np.split(order, np.cumsum(np.bincount(of.ravel()))[:-1])
