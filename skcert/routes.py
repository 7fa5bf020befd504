"""From the features of a space to what the classifier sees: chains of steps as affine pieces with bends between them.

A route starts at a *source*: the columns of the points as they come, followed by the outputs of encoders, which are numbers
that do not move. From there it is ``piece, bend, piece, ..., piece``, every piece affine and every bend one of
:class:`~skcert.perturbations.ClipStep`, :class:`~skcert.perturbations.LipschitzStep`,
:class:`~skcert.perturbations.NormalizeStep`. Steps side by side become blocks of one piece. Which cells are missing is part
of the request: an imputer is another affine map for every pattern of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import block_diag

from skcert.geometry.affine import dual_norms
from skcert.geometry.rounding import TINY, UNIT, column_norms, gamma, grow, shrink
from skcert.perturbations import (
    AffineStep,
    ClipStep,
    EncodeStep,
    EstimatedStep,
    ImputeStep,
    Link,
    LipschitzStep,
    NormalizeStep,
    ParallelStep,
    Uncertifiable,
)

#: of the distance that a ball reaches behind a step whose rounding is known at its centre, what may be lost farther out:
#: sixteen units of float32
FAR = 2.0**-20

Bend = ClipStep | LipschitzStep | NormalizeStep


@dataclass(frozen=True)
class Route:
    """What the steps passed so far do to the source.

    Attributes
    ----------
    n_columns : int
        Columns of the points; the source has these and ``n_constants`` more.
    n_constants : int
        Outputs of encoders.
    pieces : tuple of AffineStep or None
        None is the identity where the number of features is not known.
    bends : tuple of Bend
        One less than pieces.
    places : tuple of int
        For every bend, the number of the link it belongs to.
    frozen : ndarray of bool, shape (n_columns,)
        Columns that must not move: they feed an encoder.
    watched : ndarray of bool, shape (n_columns,)
        Columns whose gaps matter to an imputer.
    missing : ndarray of bool or None
        Features, after the last piece, that are missing in the points at hand; None where their number is not known.
    labels : list of str or None
        Names of these features where they are still columns of the points.
    """

    n_columns: int
    n_constants: int
    pieces: tuple[AffineStep | None, ...]
    bends: tuple[Bend, ...]
    places: tuple[int, ...]
    frozen: np.ndarray
    watched: np.ndarray
    missing: np.ndarray | None
    labels: list[str] | None

    @classmethod
    def start(cls, missing: np.ndarray, labels: list[str] | None) -> Route:
        """No step yet."""
        n = len(missing)
        nothing = np.zeros(n, dtype=bool)
        return cls(n, 0, (AffineStep.scaling(np.ones(n)),), (), (), nothing, nothing, missing, labels)

    @classmethod
    def along(cls, links: tuple[Link, ...], missing: np.ndarray, labels: list[str] | None, units=()) -> Route:
        """All steps of a chain: in real arithmetic, or as each is computed with its unit of rounding.

        Steps side by side have a tuple of units for each part: of its steps, and of the factor of its outputs.
        """
        route = cls.start(missing, labels)
        for place, link in enumerate(links):
            for carrier in link.carriers:
                route = route.then(carrier, link.name, place, units[place] if units else 0.0)
        return route

    @property
    def fold(self) -> AffineStep | None:
        """The last piece; None where it is the identity."""
        last = self.pieces[-1]
        return None if last is None or last.is_identity else last

    # -- putting steps together ------------------------------------------------------------------------------------

    def then(self, carrier: Any, name: str, place: int, unit: Any = 0.0) -> Route:
        """The route with one more step, computed with this unit of rounding."""
        if isinstance(carrier, AffineStep):
            if self.missing is not None and carrier.n_inputs != len(self.missing):
                raise ValueError(
                    f"The rule of the step {name!r} is for {carrier.n_inputs} features, and {len(self.missing)} reach it."
                )
            return self._affine(_computed(carrier, unit, name), name)
        if isinstance(carrier, ImputeStep):
            step = _computed(carrier.at(self._width(name)), unit, name)
            read = np.isin(np.arange(len(carrier.values)), np.append(carrier.kept, carrier.flags))
            watched = self.watched | self._sources(read)
            return replace(self._affine(step), missing=np.zeros(len(step.offset), dtype=bool), watched=watched)
        if isinstance(carrier, EncodeStep):
            return self._encode(carrier, name)
        if isinstance(carrier, ParallelStep):
            return self._parallel(carrier, name, place, unit)
        if isinstance(carrier, EstimatedStep):
            raise Uncertifiable(
                f"Only estimates are known of the step {name!r} (lipschitz='clever'), and these only for pipelines whose other "
                "steps are affine. Use lipschitz='global' or a number, or certify the space after it."
            )
        if isinstance(carrier, NormalizeStep | ClipStep):
            carrier = replace(carrier, unit=unit)
        if not isinstance(carrier, Bend):
            raise TypeError(
                f"The rule of the step {name!r} returned a {type(carrier).__name__}: expected an AffineStep, a LipschitzStep "
                "or another step of skcert.perturbations, or a tuple of them."
            )
        missing = self.missing
        if not isinstance(carrier, ClipStep) and missing is not None and missing.any():
            raise Uncertifiable(f"Missing values reach the step {name!r}: impute them before it.")
        if isinstance(carrier, LipschitzStep):
            missing = None if carrier.n_outputs is None else np.zeros(carrier.n_outputs, dtype=bool)
        elif isinstance(carrier, ClipStep) and missing is None:
            missing = np.zeros(len(carrier.low), dtype=bool)
        return self._bent(carrier, place, missing)

    def _bent(self, bend: Bend, place: int, missing: np.ndarray | None) -> Route:
        after = None if missing is None else AffineStep.scaling(np.ones(len(missing)))
        return replace(
            self,
            pieces=(*self.pieces, after),
            bends=(*self.bends, bend),
            places=(*self.places, place),
            missing=missing,
            labels=None,
        )

    def _affine(self, step: AffineStep, name: str = "") -> Route:
        if not (np.isfinite(step.matrix).all() and np.isfinite(step.offset).all() and np.isfinite(step.center).all()):
            raise Uncertifiable(f"The step {name!r} has parameters that are not finite: drop columns without any value.")
        last = self.pieces[-1]
        made = step if last is None else last.then(step)
        passed = step.reads
        if self.missing is None:
            missing = np.zeros(len(step.offset), dtype=bool)
        else:
            missing = self.missing & passed if passed.ndim == 1 else (passed & self.missing).any(axis=1)
        return replace(self, pieces=(*self.pieces[:-1], made), missing=missing, labels=None)

    def _width(self, name: str) -> np.ndarray:
        if self.missing is None:
            raise Uncertifiable(
                f"The step {name!r} follows one whose number of outputs is not known: give its LipschitzStep n_outputs=."
            )
        return self.missing

    def _encode(self, step: EncodeStep, name: str) -> Route:
        before, n = len(self._width(name)), step.n_outputs
        frozen = self.frozen | self._sources(np.ones(before, dtype=bool))
        route = self._extended(n, name)._affine(AffineStep.selection(np.arange(before, before + n), before + n))
        return replace(route, frozen=frozen, missing=np.zeros(n, dtype=bool))

    def _parallel(self, step: ParallelStep, name: str, place: int, units: Any) -> Route:
        missing = self._width(name)
        n, labels = len(missing), self.labels
        parts, columns = [], []
        for number, branch in enumerate(step.branches):
            *inner, outer = units[number] if isinstance(units, tuple) else (units,) * (len(branch.links) + 1)
            if branch.labels is not None and labels is not None:
                at = np.array([labels.index(label) for label in branch.labels], dtype=int)
            else:
                at = np.arange(n) if branch.columns is None else branch.columns
            names = None if labels is None else [labels[c] for c in at]
            part = Route.along(branch.links, missing[at], names, inner)
            if branch.weight != 1.0:
                weights = AffineStep.scaling(np.full(len(part._width(name)), branch.weight))
                part = part._affine(_computed(weights, outer, name))
            for bend in part.bends:
                if isinstance(bend, LipschitzStep) or (len(step.branches) > 1 and not isinstance(bend, ClipStep)):
                    culprit = branch.links[part.places[part.bends.index(bend)]].name or branch.name
                    raise Uncertifiable(
                        f"The step {name!r} cannot be certified. In its part {branch.name!r} the step {culprit!r} has no "
                        "affine rule, and other columns stand beside it: put it into the pipeline itself, or certify "
                        f"space={name!r}."
                    )
            parts.append(part)
            columns.append(at)
        if not parts:
            return self._affine(AffineStep.selection(np.zeros(0, dtype=int), n))
        frozen, watched = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        for part, at in zip(parts, columns, strict=True):
            frozen[at[part.frozen]] = True
            watched[at[part.watched]] = True
        bends = max(len(part.bends) for part in parts)
        for number, part in enumerate(parts):  # all with the same number of bends
            for _ in range(bends - len(part.bends)):
                part = part._bent(_pass(len(part._width(name))), place, part.missing)
            parts[number] = part
        constants = sum(part.n_constants for part in parts)
        route = self._extended(constants, name) if constants else self
        route = route._affine(_beside(parts, columns, n, constants))
        for level in range(bends):
            clips = [part.bends[level] for part in parts]
            after = _blocks([part.pieces[level + 1] for part in parts])
            bend = clips[0] if len(clips) == 1 else _side_by_side(clips)
            route = route._bent(bend, place, np.zeros(after.n_inputs, dtype=bool))
            route = route._affine(after)
        missing = np.concatenate([part._width(name) for part in parts])
        return replace(
            route,
            frozen=self.frozen | self._sources(frozen),
            watched=self.watched | self._sources(watched),
            missing=missing,
            labels=None,
        )

    def _extended(self, n: int, name: str) -> Route:
        """The same with ``n`` constants more, passed through as the last features."""
        more = AffineStep.scaling(np.ones(n))
        if not all(isinstance(bend, ClipStep) for bend in self.bends):
            raise Uncertifiable(f"The step {name!r} encodes categories after a step that moves all features together.")
        return replace(
            self,
            n_constants=self.n_constants + n,
            pieces=tuple(_blocks([piece, more]) for piece in self.pieces),
            bends=tuple(_side_by_side([bend, _pass(n)]) for bend in self.bends),
            missing=np.append(self._width(name), np.zeros(n, dtype=bool)),
        )

    def _sources(self, features: np.ndarray) -> np.ndarray:
        """Columns of the points on which any of these features depends."""
        for level in range(len(self.pieces) - 1, -1, -1):
            piece = self.pieces[level]
            if piece is not None:
                used = piece.reads
                features = features & used if used.ndim == 1 else used[features].any(axis=0)
            if level and not isinstance(self.bends[level - 1], ClipStep):
                before = self.pieces[level - 1]  # every feature after a step that mixes them depends on every one before it
                features = np.full(1 if before is None else len(before.offset), features.any())
        return features[: self.n_columns]

    @property
    def uses(self) -> np.ndarray:
        """Columns of the points on which the features depend as numbers, shape (n_columns,)."""
        return self._sources(np.ones(1 if self.missing is None else len(self.missing), dtype=bool))

    # -- points and balls on their way -----------------------------------------------------------------------------

    @property
    def blind(self) -> tuple[int, ...]:
        """Numbers of the links whose outputs only their own ``transform`` can tell."""
        return tuple(place for bend, place in zip(self.bends, self.places, strict=True) if isinstance(bend, LipschitzStep))

    def trace(self, source: np.ndarray, seen, given) -> tuple[np.ndarray, np.ndarray | None, list[Stop]]:
        """Points where the last piece begins.

        Parameters
        ----------
        source : ndarray of shape (n, n_columns + n_constants)
        seen : mapping of int to ndarray
            What the links in ``blind`` made of the points.
        given : mapping of int to ndarray
            What they made it of, as computed, where that is known: the error of an encoder is that at these numbers.

        Returns
        -------
        points : ndarray
        error : ndarray of shape (n,) or None
            Upper bound of their l2 distance from real arithmetic; None where they are what was passed.
        stops : list of Stop
            Where the points were before each bend.
        """
        points, error, stops = source, None, []
        for bend, piece, place in zip(self.bends, self.pieces, self.places, strict=False):
            before = np.zeros(len(points)) if error is None else error
            if isinstance(bend, LipschitzStep):
                here = points
                if piece is not None and not piece.is_identity:
                    before = grow(piece.error(points) + piece.size * before)
                    if place in given:
                        here = given[place]
                    elif bend.inward is not None or bend.rounding is not None:
                        here = piece.apply(points)
                # it was given what the steps before it computed, here and elsewhere in the ball: twice their error
                lost = 2 * bend.constant * before + (0.0 if bend.rounding is None else bend.rounding(here, seen[place]))
                stops.append(Stop(here, before, grow(lost), seen[place]))
                points, error = seen[place], None  # what follows was given these very numbers
                continue
            if piece is not None:
                before = grow(piece.error(points) + piece.size * before)
                points = piece.apply(points)
            stops.append(Stop(points, before))
            error = bend.error(points, before) if isinstance(bend, NormalizeStep) else grow(before + bend.slip)
            points = bend.apply(points)
        return points, error, stops

    def narrow(self, norm: float, scale: np.ndarray | None) -> tuple[float, np.ndarray | None, list[float]]:
        """The ball where the last piece begins, and by how much each bend and the piece before it stretch one at most.

        Returns
        -------
        norm : {1, 2, inf}
        scale : ndarray or None
            Of the features there.
        factors : list of float
            One per bend; 0 where nothing moves.
        """
        factors = []
        for bend, piece in zip(self.bends, self.pieces, strict=False):
            step = piece if piece is None or scale is None else piece.stretched(scale)
            if isinstance(bend, ClipStep):
                # no coordinate moves by more than ||row||_q r: in these units the set lies in a ball of the same norm
                step = AffineStep.scaling(np.ones(len(bend.low))) if step is None else step
                scale = _reach(step, norm)
                factors.append(_in_units(step, scale).stretch(norm, norm))
                continue
            after = bend.norm if isinstance(bend, NormalizeStep) else 2
            constant = bend.constant if isinstance(bend, LipschitzStep) and bend.inward is None else 1.0
            if step is None and not norm <= after:
                raise Uncertifiable("A step follows one of unknown width: give its LipschitzStep n_outputs=.")
            factors.append(float(grow(constant * (1.0 if step is None else step.stretch(norm, after)))))
            norm, scale = after, None
        return norm, scale, factors

    def widen(self, radius: np.ndarray, factors: list[float], stops: list[Stop]) -> np.ndarray:
        """The radius in the source from the radius where the last piece begins."""
        for bend, factor, stop in zip(self.bends[::-1], factors[::-1], stops[::-1], strict=True):
            if isinstance(bend, NormalizeStep):
                radius = bend.inward(radius, _below(bend.lengths(stop.points), stop.points.shape[1], stop.error))
            elif isinstance(bend, LipschitzStep):
                if bend.rounding is not None:  # what grows with the distance from the point
                    radius = radius * (1 - FAR)
                radius = np.maximum(shrink(radius - stop.lost), 0)
                if bend.inward is not None:  # about the point that is known: less its error
                    radius = np.maximum(shrink(bend.inward(stop.points, radius) - stop.error), 0)
            with np.errstate(divide="ignore", invalid="ignore"):
                radius = np.where(radius > 0, shrink(radius / factor), 0.0)
        return radius

    def retrace(self, moves: np.ndarray, stops: list[Stop], scale: np.ndarray) -> np.ndarray:
        """Moves of the source that may bring about moves where the last piece begins: candidates of an attack."""
        for level in range(len(self.bends) - 1, -1, -1):
            bend, piece, before = self.bends[level], self.pieces[level], stops[level].points
            if isinstance(bend, NormalizeStep):  # to the nearest point of the ray
                ray = bend.apply(before) + moves
                along = np.einsum("nd,nd->n", before, ray) / np.maximum(np.einsum("nd,nd->n", ray, ray), TINY)
                moves = np.where(along[:, None] > 0, along[:, None] * ray - before, np.nan)
            if piece is not None:
                units = np.append(scale, np.zeros(self.n_constants)) if level == 0 else np.ones(piece.n_inputs)
                matrix = piece.matrix * units if piece.matrix.ndim == 2 else np.diag(piece.matrix * units)
                moves = moves @ np.linalg.pinv(matrix).T * units
        return moves


@dataclass(frozen=True)
class Stop:
    """Points before a bend, and upper bounds of their l2 errors; what a LipschitzStep made of them, ``lost`` there at most."""

    points: np.ndarray
    error: np.ndarray
    lost: np.ndarray | float = 0.0
    made: np.ndarray | None = None


def constants(links: tuple[Link, ...], X: Any) -> Iterator[Any]:
    """What the encoders along a chain make of the points X, in the order in which a route counts them."""
    for position, link in enumerate(links):
        for carrier in link.carriers:
            if isinstance(carrier, ParallelStep):
                for branch in carrier.branches:
                    if _contains(branch.links, EncodeStep):
                        yield from constants(branch.links, carrier.take(X, branch))
            elif isinstance(carrier, EncodeStep):
                yield link.transform(X)
        if not _contains(links[position + 1 :], EncodeStep):
            return
        X = link.transform(X)


def _contains(links: tuple[Link, ...], kind: type) -> bool:
    """Whether a step of this kind stands in a chain, or in a part of one of its steps."""
    return any(
        isinstance(carrier, kind)
        or (isinstance(carrier, ParallelStep) and any(_contains(branch.links, kind) for branch in carrier.branches))
        for link in links
        for carrier in link.carriers
    )


def imputes(links: tuple[Link, ...]) -> bool:
    """Whether missing cells matter to a chain."""
    return _contains(links, ImputeStep)


def describe(link: Link) -> str:
    """What a step does to a perturbation, in words."""
    words = []
    for carrier in link.carriers:
        if isinstance(carrier, ParallelStep):
            parts = (_listed([describe(inner) for inner in branch.links]) for branch in carrier.branches)
            words.append("; ".join(f"{b.name}: {part}" for b, part in zip(carrier.branches, parts, strict=True)))
        elif isinstance(carrier, LipschitzStep) and carrier.inward is not None:
            words.append("known by Lipschitz constants on balls, smaller than this one (a bound)")
        else:
            words.append(EFFECTS[type(carrier)])
    return _listed(words)


def _listed(words: list[str]) -> str:
    return ", ".join(dict.fromkeys(words)) or "passes"


EFFECTS: dict[type, str] = {
    AffineStep: "affine (exact)",
    ClipStep: "clips (a bound)",
    LipschitzStep: "known by its Lipschitz constant (a bound)",
    EstimatedStep: "known by sampled gradients (no guarantee)",
    NormalizeStep: "divides rows by their length (a bound)",
    ImputeStep: "fills gaps, which do not move (exact)",
    EncodeStep: "encodes categories, which do not move",
}


def _computed(step: AffineStep, unit: float, name: str) -> AffineStep:
    try:
        return step.computed(unit) if unit else step
    except Uncertifiable as reason:
        raise Uncertifiable(f"The step {name!r} cannot be certified on these points. {reason}") from None


# -- blocks ------------------------------------------------------------------------------------------------------------


def _pass(n: int) -> ClipStep:
    """A clip that cuts nothing off."""
    return ClipStep(np.full(n, -np.inf), np.full(n, np.inf))


def _side_by_side(clips) -> ClipStep:
    bounds = np.concatenate([c.low for c in clips]), np.concatenate([c.high for c in clips])
    return ClipStep(*bounds, max(c.unit for c in clips))


def _dense(piece: AffineStep) -> AffineStep:
    """A piece with a matrix in two dimensions."""
    if piece.matrix.ndim == 2:
        return piece
    noise = None if piece.noise is None else (np.diag(piece.noise[0]), piece.noise[1])
    return replace(piece, matrix=np.diag(piece.matrix), support=np.diag(piece.reads), noise=noise)


def _blocks(parts) -> AffineStep:
    """Pieces on features of their own: a block-diagonal one."""
    center, offset = np.concatenate([p.center for p in parts]), np.concatenate([p.offset for p in parts])
    errors = np.concatenate([np.broadcast_to(p.column_error, (p.n_inputs,)) for p in parts])
    offset_error = float(grow(sum(p.offset_error for p in parts)))
    noise = None
    if all(p.matrix.ndim == 1 for p in parts):
        matrix, support = np.concatenate([p.matrix for p in parts]), np.concatenate([p.reads for p in parts])
        if any(p.noise for p in parts):
            noise = np.concatenate([_noise(p)[0] for p in parts]), np.concatenate([_noise(p)[1] for p in parts])
    else:
        dense = [_dense(p) for p in parts]
        matrix, support = block_diag(*(p.matrix for p in dense)), block_diag(*(p.reads for p in dense))
        if any(p.noise for p in dense):
            noise = block_diag(*(_noise(p)[0] for p in dense)), np.concatenate([_noise(p)[1] for p in dense])
    return AffineStep(center, matrix, offset, errors, offset_error, support, noise)


def _noise(piece: AffineStep) -> tuple[np.ndarray, np.ndarray]:
    """What it loses as it computes, zeros where that is nothing."""
    return (np.zeros(piece.matrix.shape), np.zeros(len(piece.offset))) if piece.noise is None else piece.noise


def _beside(parts, columns, n: int, constants: int) -> AffineStep:
    """First pieces of parts that read columns of the same n features, and constants of their own after these."""
    center, taken = np.zeros(n + constants), np.zeros(n + constants, dtype=bool)
    rows, reads, offsets, errors, offset_error, first = [], [], [], np.zeros(n + constants), 0.0, n
    lost, lost_offsets = [], []
    for part, at in zip(parts, columns, strict=True):
        inputs = np.append(at, np.arange(first, first + part.n_constants))
        first += part.n_constants
        piece = _dense(part.pieces[0])
        new = ~taken[inputs] & piece.reads.any(axis=0)
        center[inputs[new]], taken[inputs[new]] = piece.center[new], True
        moved = center[inputs] - piece.center  # zero unless two parts centre one column differently
        offset = piece.offset + piece.matrix @ moved
        absolute = np.abs(piece.matrix) @ (np.abs(center[inputs]) + np.abs(piece.center)) + np.abs(piece.offset)
        offset_error += piece.offset_error
        if moved.any():
            offset_error += gamma(len(inputs) + 4) * float(absolute.sum()) + float(
                np.broadcast_to(piece.column_error, (len(inputs),)) @ np.abs(moved)
            )
        block = np.zeros((len(piece.offset), n + constants))
        np.add.at(block.T, inputs, piece.matrix.T)  # a column may be read twice
        np.add.at(errors, inputs, np.broadcast_to(piece.column_error, len(inputs)))
        rows.append(block)
        noise, constant = _noise(piece)
        widened = np.zeros(block.shape)
        np.add.at(widened.T, inputs, noise.T)
        lost.append(widened)
        lost_offsets.append(constant + noise @ np.abs(moved))
        read = np.zeros(block.shape, dtype=bool)
        np.logical_or.at(read.T, inputs, piece.reads.T)
        reads.append(read)
        offsets.append(offset)
    matrix = np.vstack([np.zeros((0, n + constants)), *rows])
    size = len(parts) + 4
    offset = np.concatenate([np.zeros(0), *offsets])
    support = np.vstack([np.zeros((0, n + constants), dtype=bool), *reads])
    noisy = any(part.pieces[0].noise for part in parts)
    both = np.vstack([np.zeros((0, n + constants)), *lost]), np.concatenate([np.zeros(0), *lost_offsets])
    total = (grow(both[0], size), grow(both[1], n + 64)) if noisy else None
    return AffineStep(center, matrix, offset, grow(errors, size), float(grow(offset_error, size)), support, total)


# -- balls -------------------------------------------------------------------------------------------------------------


def _reach(step: AffineStep, norm: float) -> np.ndarray:
    """Upper bounds of how far each output moves in a unit ball."""
    errors = np.broadcast_to(step.column_error, (step.n_inputs,))
    lost = _noise(step)[0]
    if step.matrix.ndim == 1:
        return grow(np.abs(step.matrix) + errors + lost)
    return grow(dual_norms(step.matrix, norm) + dual_norms(errors[None], norm)[0] + dual_norms(lost, norm))


def _in_units(step: AffineStep, units: np.ndarray) -> AffineStep:
    """The step with its outputs in these units; one that does not move (unit 0) stays where it is."""
    inverse = np.where(units > 0, 1 / np.where(units > 0, units, 1), 0.0)
    matrix = step.matrix * inverse if step.matrix.ndim == 1 else step.matrix * inverse[:, None]
    errors = step.column_error * (inverse if step.matrix.ndim == 1 else inverse.max(initial=0))
    noise = None
    if step.noise is not None:
        noise = grow(step.noise[0] * (inverse if step.matrix.ndim == 1 else inverse[:, None])), step.noise[1] * inverse
    return replace(step, matrix=matrix, column_error=grow(errors + 4 * UNIT * column_norms(matrix)), noise=noise)


def _below(lengths: np.ndarray, d: int, error: np.ndarray) -> np.ndarray:
    """Lower bounds of norms computed from d coordinates that are wrong by at most ``error`` in l2."""
    return np.maximum(shrink(lengths * (1 - gamma(d + 4)) - np.sqrt(d) * error), 0)
