"""What may move, and how a step of a pipeline carries it.

A perturbation is an l_p ball, ``||u||_p < r``, of the features that can move. What steps do to it:

==================  ==============================================================================
AffineStep          carries it exactly (theory 2.1)
ClipStep            moves no coordinate further than it was moved before
LipschitzStep       stretches its l2 length by at most a constant (theory 2.2)
EstimatedStep       does something to it that is only estimated, from gradients (theory 2.3)
NormalizeStep       turns it, by an angle that depends on the length of the point (theory 2.3)
ImputeStep          fills missing cells, which then do not move; the others pass
EncodeStep          categories, which do not move
ParallelStep        several of these side by side, each on columns of its own
==================  ==============================================================================

:mod:`skcert.routes` puts them together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np

from skcert.geometry.affine import DUAL_ORDER, dual_norms
from skcert.geometry.products import rows_times
from skcert.geometry.rounding import (
    SINGLE,
    TINY,
    UNIT,
    column_norms,
    fro,
    gamma,
    grow,
    largest,
    orthogonality_defect,
    row_norms,
    shrink,
    tiny,
    type_with,
    unit_of,
)


class Uncertifiable(TypeError):
    """No certificate can be given for an estimator as it stands; the message says what would help."""


def check_norm(norm: float) -> float:
    """Return ``norm`` as 1, 2 or ``numpy.inf``, or raise ValueError."""
    if isinstance(norm, Real) and not isinstance(norm, bool) and norm in DUAL_ORDER:
        return np.inf if norm == np.inf else int(norm)
    raise ValueError(f"norm must be 1, 2 or numpy.inf (the l_p norm of the perturbation), got {norm!r}.")


#: rows shorter than so many units of rounding of float32, or of a narrower type that is computed in, may be left as they are by
#: a step that normalises rows
NEAR_ORIGIN = 21
#: factors of a step whose squares are taken must lie between this and its inverse, or be 0
SCALE_LIMIT = 1e60


@dataclass(frozen=True)
class LipschitzStep:
    """A step with ``||f(x) - f(x')||_2 <= constant * ||x - x'||_2`` for all x, x' (theory 2.2).

    Parameters
    ----------
    constant : float
        Positive and finite. It is taken at its word: a certificate is as good as this number.
    n_outputs : int, optional
        Number of features after the step; needed where steps stand side by side after it.
    inward : callable, optional
        For a step that knows smaller constants on balls: ``inward(points, radius)`` returns radii (l2) before the step from
        radii after it, at points of shape (n, n_inputs).
    row_shape : tuple of int, optional
        Shape of a row for which this holds, where other shapes reach the step as well.
    holds : callable, optional
        Whether what the constant was computed from is still as it was.
    rounding : callable, optional
        ``rounding(points, outputs)`` returns how far (l2) the outputs that ``transform`` computed at the points are from f, of
        which the constant is known; 0 if it is not given.
    along : callable, optional
        ``along(points, outputs, directions)`` returns how far the outputs may be too long in any of some directions of length
        1; where a rule is linear, that is all that matters.
    confidence : float
        The probability with which ``rounding``, or ``along``, holds at a point; below 1 what rests on it is "probabilistic".
    in_float64 : bool
        Whether ``rounding`` bounds, twice over, all that ``transform`` loses by computing: then the certificate is about the
        transform as it computes, not in real numbers.
    """

    constant: float
    n_outputs: int | None = None
    inward: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    row_shape: tuple[int, ...] | None = None
    holds: Callable[[], bool] | None = None
    rounding: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    along: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None
    confidence: float = 1.0
    in_float64: bool = False

    def __post_init__(self) -> None:
        if not (isinstance(self.constant, Real) and np.isfinite(self.constant) and self.constant > 0):
            raise ValueError(f"A Lipschitz constant must be a positive finite number, got {self.constant!r}.")


@dataclass(frozen=True)
class EstimatedStep:
    """A step of which only gradients are known, at points that are asked for: what follows is an estimate (theory 2.3).

    Parameters
    ----------
    pull_back : callable
        ``pull_back(points)`` of shape (n, n_inputs) returns the outputs there, shape (n, n_outputs), and a function that takes
        weights of the same shape to the gradients of the weighted outputs, shape (n, n_inputs).
    settings : object
        How to sample, see :class:`skcert.Clever`.
    row_shape : tuple of int, optional
        Shape of a row for which this holds.
    holds : callable, optional
        Whether this is still what is asked for.
    """

    pull_back: Callable[[np.ndarray], tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]]
    settings: Any
    row_shape: tuple[int, ...] | None = None
    holds: Callable[[], bool] | None = None


@dataclass(frozen=True)
class ClipStep:
    """Every coordinate cut off at its own bounds: none moves further than it did before, in whatever norm.

    Parameters
    ----------
    low, high : ndarray of shape (d,)
        Infinite where a coordinate passes unchanged.
    unit : float
        Of rounding, in which a ``transform`` holds the bounds; 0 for real arithmetic.
    """

    low: np.ndarray
    high: np.ndarray
    unit: float = 0.0

    def apply(self, X: np.ndarray) -> np.ndarray:
        """Images of the rows of X."""
        return np.clip(X, self.low, self.high)

    @property
    def slip(self) -> float:
        """Upper bound (l2) of how far images move if the bounds are rounded to the type that is computed in."""
        if not self.unit:
            return 0.0
        bounds = np.stack([self.low, self.high])
        held = bounds.astype(type_with(self.unit))
        apart = np.subtract(bounds, held, out=np.zeros(bounds.shape), where=np.isfinite(held), dtype=float)
        return fro(np.where(np.isfinite(bounds) & ~np.isfinite(held), np.inf, np.abs(apart)).max(axis=0))


def random_weights(n: int) -> np.ndarray:
    """Numbers of either sign between 1/2 and 1, always the same: a combination with them vanishes only with its terms.

    Not plain signs: scores often sum to zero.
    """
    rng = np.random.default_rng(0)
    return rng.uniform(0.5, 1.0, n) * rng.choice([-1.0, 1.0], n)


@dataclass(frozen=True)
class AffineStep:
    """The map ``z = (x - center) @ matrix.T + offset``, with what rounding may have done to its coefficients.

    Parameters
    ----------
    center : ndarray of shape (d_in,)
    matrix : ndarray of shape (d_out, d_in), or (d,) for a diagonal one
    offset : ndarray of shape (d_out,)
    column_error : ndarray of shape (d_in,) or float
        Per column of the matrix, an upper bound of the l2 distance from the stored to the exact one. By column, because
        features come in units of their own.
    offset_error : float
        The same (l2) for the offset.
    support : ndarray of bool or None
        Where the matrix may be other than 0, in its shape: products can cancel in floating point and not in truth. None:
        where it is other than 0.
    noise : tuple of ndarrays N, of the shape of the matrix, and n, of shape (d_out,), or None
        What a ``transform`` may lose as it computes, coordinate by coordinate: at most ``N |x - center| + n``, anywhere.
    work : ndarray or None
        For a ``transform`` that sums larger numbers than the matrix has: their sizes, in its shape.
    """

    center: np.ndarray
    matrix: np.ndarray
    offset: np.ndarray
    column_error: np.ndarray | float = 0.0
    offset_error: float = 0.0
    support: np.ndarray | None = None
    noise: tuple[np.ndarray, np.ndarray] | None = None
    work: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("center", "matrix", "offset"):
            if not isinstance(getattr(self, name), np.ndarray):
                object.__setattr__(self, name, np.array(getattr(self, name), dtype=float))
        center, matrix, offset = self.center.shape, self.matrix.shape, self.offset.shape
        fits = matrix == offset + center or matrix == offset == center
        if not (len(center) == len(offset) == 1 and fits):
            raise ValueError(
                "center, matrix and offset must have the shapes (d_in,), (d_out, d_in) or, of a diagonal one, (d,), and "
                f"(d_out,), got {center}, {matrix} and {offset}."
            )
        if np.shape(self.column_error) not in ((), center):
            raise ValueError(f"column_error must be a number or have the shape {center}, got {np.shape(self.column_error)}.")

    @classmethod
    def scaling(cls, scale: np.ndarray) -> AffineStep:
        """Multiply every feature by its own factor."""
        scale = np.asarray(scale, dtype=float)
        return cls(np.zeros(len(scale)), scale, np.zeros(len(scale)))

    @classmethod
    def selection(cls, columns: np.ndarray, n_inputs: int) -> AffineStep:
        """Keep these columns, in this order."""
        matrix = np.zeros((len(columns), n_inputs))
        matrix[np.arange(len(columns)), columns] = 1
        return cls(np.zeros(n_inputs), matrix, np.zeros(len(columns)))

    @property
    def n_inputs(self) -> int:
        """Dimension before the step."""
        return len(self.center)

    @property
    def reads(self) -> np.ndarray:
        """Which output depends on which input, in the shape of the matrix."""
        return self.matrix != 0 if self.support is None else self.support

    @property
    def is_identity(self) -> bool:
        """Whether this is exactly the identity, stored as a diagonal."""
        return (
            self.matrix.ndim == 1
            and bool((self.matrix == 1).all())
            and not (self.center.any() or self.offset.any() or np.any(self.column_error) or self.offset_error)
            and self.noise is None
        )

    @property
    def only_scales(self) -> bool:
        """Whether every output is a multiple of one input at most, each of another, whatever rounding has done to the rest."""
        if self.matrix.ndim == 1:
            return True
        used = self.matrix != 0
        read = used.any(axis=0)
        lost = np.broadcast_to(self.column_error, read.shape)[~read].any()
        if self.noise is not None:
            lost = lost or self.noise[0][:, ~read].any()
        return not lost and bool((used.sum(axis=0) <= 1).all() and (used.sum(axis=1) <= 1).all())

    @property
    def matrix_error(self) -> float:
        """Upper bound of the spectral norm of the error of the matrix."""
        errors = np.broadcast_to(self.column_error, (self.n_inputs,))
        return float(errors.max()) if self.matrix.ndim == 1 else fro(errors)

    @property
    def size(self) -> float:
        """Upper bound of the spectral norm of the matrix of the step itself."""
        top = np.abs(self.matrix).max() if self.matrix.ndim == 1 else np.linalg.norm(self.matrix, 2)
        slip = 0.0 if self.matrix.ndim == 1 else gamma(8 * len(self.offset)) * fro(self.matrix)
        return grow(float(top) + slip + self.matrix_error)

    def computed(self, unit: float) -> AffineStep:
        """The step as a ``transform`` computes it, in whatever order, with this unit of rounding (rounding page).

        Columns that are only picked out are not rounded.
        """
        size, diagonal = np.abs(self.matrix), self.matrix.ndim == 1
        alone = diagonal or bool((np.count_nonzero(size, axis=1) <= 1).all())
        shifted = self.center.any() or self.offset[size != 0 if diagonal else size.any(axis=1)].any()
        least = tiny(unit)
        if alone and not shifted and np.isin(size, (0, 1)).all():  # constants put in take the type of the others
            held = unit * np.abs(self.offset) + least * (self.offset != 0)
            return self if unit <= UNIT else replace(self, noise=(np.zeros_like(size), held))
        n_terms = (1 if diagonal else self.n_inputs) + (8 if self.work is None else 8 + len(self.offset))
        # a coefficient, or what it was divided by, may be so small that the type holds it with fewer digits, or not at all
        kind = np.finfo(type_with(unit))
        with np.errstate(divide="ignore"):
            smaller = np.minimum(size, 1 / size)
            held = np.where((size > 0) & (smaller < kind.tiny), kind.smallest_subnormal / smaller, 0.0)
        share = gamma(n_terms, unit)
        if not share + held.max(initial=0.0) < 0.5:
            raise Uncertifiable(
                f"It computes in {kind.dtype}, which is too narrow for its factors, of sizes from {size[size > 0].min():.3g} "
                f"to {size.max():.3g}: pass points of a wider type, for example X.astype(numpy.float64)."
            )
        size = size if self.work is None else np.maximum(size, self.work)
        lost = (share + held) * size
        bulk = 2 * _times(lost, np.abs(self.center)) + share * np.abs(self.offset)
        underflow = (n_terms + 8) * least + 2 * _times(size, (self.center != 0) * least)  # a centre may be held no better
        return replace(self, noise=(grow(lost), grow(bulk, self.n_inputs + 8) + grow(underflow)))

    def apply(self, X: np.ndarray) -> np.ndarray:
        """Images of the rows of X, float64."""
        moved = np.subtract(X, self.center, dtype=float, order="C")
        return (moved * self.matrix if self.matrix.ndim == 1 else rows_times(moved, self.matrix.T)) + self.offset

    def error(self, X: np.ndarray) -> np.ndarray:
        """Per row, an upper bound of the l2 distance from :meth:`apply` to the step in real arithmetic."""
        moved = np.abs(np.asarray(X, dtype=float) - self.center)
        columns = np.broadcast_to(self.column_error, (self.n_inputs,))
        if self.matrix.ndim == 1:
            rounding, wrong = gamma(4) * row_norms(moved * self.matrix), row_norms(moved * columns)
        else:
            # |A||x| = |A D^-1| |D x| with D the norms of the columns: units cancel
            units = column_norms(self.matrix)
            balanced = fro(self.matrix / np.where(units > 0, units, 1))
            rounding, wrong = gamma(self.n_inputs + 6) * balanced * row_norms(moved * units), moved @ columns
        if self.noise is not None:
            rounding += row_norms(_times(self.noise[0], moved.T).T + self.noise[1])
        return grow(rounding + wrong + gamma(2) * fro(self.offset) + self.offset_error, self.n_inputs + 4)

    def stretched(self, scale: np.ndarray) -> AffineStep:
        """The same map of a perturbation ``scale * v``, as a map of v."""
        matrix = self.matrix * scale
        columns = grow(self.column_error * scale + 2 * UNIT * column_norms(matrix)) * (scale != 0)
        noise = None if self.noise is None else (grow(self.noise[0] * scale), self.noise[1])
        return AffineStep(self.center, matrix, self.offset, columns, self.offset_error, self.reads & (scale != 0), noise)

    def then(self, outer: AffineStep) -> AffineStep:
        """The composition: this step first, ``outer`` after it."""
        if self.is_identity:
            return outer
        if outer.is_identity:
            return self
        A, B = self.matrix, outer.matrix
        inner_reads, outer_reads = self.reads, outer.reads
        if A.ndim == 1:
            support = outer_reads & inner_reads
        elif B.ndim == 1:
            support = outer_reads[:, None] & inner_reads
        else:
            support = outer_reads.astype(np.float32) @ inner_reads.astype(np.float32) > 0
        inner_error = np.broadcast_to(self.column_error, (self.n_inputs,))
        outer_error = np.broadcast_to(outer.column_error, (outer.n_inputs,))
        if A.ndim == 1:  # B diag(A): a column of B times a number
            matrix = B * A
            columns = 2 * UNIT * column_norms(matrix) + column_norms(B) * inner_error + outer_error * (np.abs(A) + inner_error)
        elif B.ndim == 1:
            matrix = B[:, None] * A
            columns = 2 * UNIT * column_norms(matrix) + np.abs(B).max() * inner_error
            columns = columns + column_norms(outer_error[:, None] * A) + outer_error.max() * inner_error
        else:
            matrix = B @ A
            columns = (
                gamma(len(A) + 2) * column_norms(np.abs(B) @ np.abs(A)) + outer.size * inner_error + outer_error @ np.abs(A)
            )
        shifted, reach = self.offset - outer.center, np.abs(self.offset) + np.abs(outer.center)
        moved, bulk = (B * shifted, np.abs(B) * reach) if B.ndim == 1 else (B @ shifted, np.abs(B) @ reach)
        rounding = gamma(len(self.offset) + 6) * fro(bulk + np.abs(outer.offset))
        offset_error = rounding + float(outer_error @ reach) + outer.size * self.offset_error + outer.offset_error
        n = len(self.offset) + 8
        noise = self._noise_before(outer, np.abs(shifted))
        return AffineStep(self.center, matrix, moved + outer.offset, grow(columns, n), grow(offset_error, n), support, noise)

    def _noise_before(self, outer: AffineStep, shifted: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """What this step and ``outer`` after it lose together."""
        if self.noise is None and outer.noise is None:
            return None
        A, B, n = np.abs(self.matrix), np.abs(outer.matrix), 4 * max(self.n_inputs, outer.n_inputs) + 64
        lost, constant = (np.zeros_like(A), np.zeros(len(self.offset))) if self.noise is None else self.noise
        both, constants = _composed(B, lost), _times(B, constant)
        if outer.noise is not None:
            both = both + _composed(outer.noise[0], A + lost)
            constants = constants + _times(outer.noise[0], shifted + constant) + outer.noise[1]
        return grow(both, n), grow(constants, n)

    def stretch(self, p: float, q: float) -> float:
        """Upper bound of ``||A u||_q`` over ``||u||_p = 1``; both in {1, 2, inf}."""
        d_in, d_out = self.n_inputs, len(self.offset)
        errors = np.broadcast_to(self.column_error, (d_in,))
        if self.matrix.ndim == 1:
            bounds = [_norm(np.abs(self.matrix), np.inf if p <= q else q if p == np.inf else 2)]
        else:
            bounds = [_norm(dual_norms(self.matrix, p), q)]  # row by row, Hoelder; exact for q = inf
            if p == 1:
                bounds.append(max(_norm(column, q) for column in self.matrix.T))
            if p >= 2 and q <= 2:
                spectral = self.size * grow(np.sqrt(d_in if p == np.inf else 1) * np.sqrt(d_out if q == 1 else 1))
                bounds.append(spectral)
        wrong = _norm(errors, DUAL_ORDER[p]) * (np.sqrt(d_out) if q == 1 else 1.0)
        if self.noise is not None:
            wrong += AffineStep(self.center, self.noise[0], self.noise[1]).stretch(p, q)
        return float(grow(min(bounds) + wrong, d_in + d_out + 8))

    def agrees(self, before: np.ndarray, after: np.ndarray, *, error=0.0, unit: float = UNIT) -> bool:
        """Whether ``after`` is what this map makes of the rows of ``before``, up to what computing it may lose.

        One random combination of the outputs is compared, each in units of its own allowance: a row that differs in any of them
        differs in the combination. The allowance is what the step itself may lose as it computes (``noise``), what its
        coefficients may be off by, what the comparison loses, and what rows known only to within ``error`` (l2) bring along;
        all of them derived (rounding page). Rows in which numbers may overflow, in the type with this unit of rounding, are not
        compared where they are not finite.
        """
        if after.shape != (len(before), len(self.offset)):
            return False
        if not len(before):
            return True
        A, n = np.abs(self.matrix), self.n_inputs + len(self.offset) + 16
        lost, constant = (np.zeros_like(A), np.zeros(len(self.offset))) if self.noise is None else self.noise
        # of each output, per distance from the centre and at it: what the step loses, and as much as float64 does here
        lost = lost + gamma(n) * A
        constant = constant + gamma(n) * (2 * _times(A, np.abs(self.center)) + np.abs(self.offset)) + n * TINY
        columns = np.broadcast_to(self.column_error, (self.n_inputs,))
        with np.errstate(over="ignore", invalid="ignore"):
            moved = np.subtract(before, self.center, dtype=float)
            typical = np.abs(moved[:256]).max(axis=0, where=np.isfinite(moved[:256]), initial=0.0)
            room = _times(lost, typical) + constant + self.offset_error + typical @ columns
            weights = random_weights(len(room)) / np.where(room > TINY, room, 1)
            forward = _times(self.matrix.T, weights)
            gap = moved @ forward + weights @ self.offset - np.asarray(after, dtype=float) @ weights
            sizes = np.abs(weights)
            allowed = np.abs(moved, out=moved) @ _times(lost.T, sizes) + sizes @ constant
            allowed += fro(weights) * (self.offset_error + moved @ columns + self.size * error)
            apart = ~(np.abs(gap) <= grow(allowed, n))
            far = np.flatnonzero(apart & ~np.isfinite(gap))
            reach = np.abs(before[far].astype(float)) + np.abs(self.center)
            apart[far] = np.maximum(_times(A, reach.T).max(axis=0), reach.max(axis=1)) < largest(unit)
        return not bool(apart.any())


def _times(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """matrix @ vectors, one or a column each; of a diagonal matrix (1-D) as well."""
    if matrix.ndim == 2:
        return matrix @ vectors
    return matrix * vectors if vectors.ndim == 1 else matrix[:, None] * vectors


def _composed(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """outer @ inner, each of which may be a diagonal matrix (1-D)."""
    return outer * inner if inner.ndim == 1 else _times(outer, inner)


def _norm(values: np.ndarray, order: float) -> float:
    """A vector norm, rounded up."""
    return float(dual_norms(values[None], DUAL_ORDER[order])[0]) if len(values) else 0.0


@dataclass(frozen=True)
class NormalizeStep:
    """Every row divided by its own norm (theory 2.3).

    Parameters
    ----------
    norm : {1, 2, inf}
        The one divided by. Rows shorter than ten units of rounding, of the type of the data, are left as they are.
    unit : float
        Of rounding, in which a ``transform`` divides; 0 for real arithmetic.
    """

    norm: float
    unit: float = 0.0

    @property
    def edge(self) -> float:
        """Up to which length no sum overflows."""
        return float(np.sqrt(largest(self.unit))) if self.norm == 2 else largest(self.unit)

    def lengths(self, X: np.ndarray) -> np.ndarray:
        """Norms of the rows."""
        return np.linalg.norm(X, ord=self.norm, axis=1)

    def apply(self, X: np.ndarray) -> np.ndarray:
        """Images of the rows of X."""
        lengths = self.lengths(X)
        return X / np.where(lengths < 10 * np.finfo(float).eps, 1.0, lengths)[:, None]

    @property
    def least(self) -> float:
        """Rows shorter than this may be left as they are."""
        return NEAR_ORIGIN * max(SINGLE, self.unit)

    def error(self, X: np.ndarray, x_error: np.ndarray) -> np.ndarray:
        """Per row, an upper bound (l2) of the error of :meth:`apply` at points known to within ``x_error``."""
        d = X.shape[1]
        lengths = self.lengths(X)
        slack = (1 + np.sqrt(d)) * x_error + gamma(d + 6) * np.linalg.norm(X, axis=1)
        # perhaps not normalised at all, or by a sum that overflows: nothing is known
        near = (lengths < self.least + x_error * np.sqrt(d)) | ~(lengths < self.edge)
        # a row of length one in its norm is of length sqrt(d) at most in l2, and so is what dividing may have cost; squares
        # that underflow are lost relative to that of the length
        vanished = d * tiny(self.unit) / np.where(near, 1, lengths) ** 2
        divided = (gamma(d + 6, self.unit) + vanished) * np.sqrt(d) + d * tiny(self.unit)
        return np.where(near, np.inf, grow(slack / np.where(near, 1, lengths) + divided, d + 8))

    def inward(self, radius: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Radius before the step, in its norm, from the radius r after it, at rows of these lengths.

        For the Euclidean norm the nearest point at chord r is at ``||x|| r sqrt(1 - r^2/4)``, from r = sqrt(2) on the origin.
        In the others ``||x/|x| - y/|y| || <= 2 ||x - y|| / ||x||`` (Massera and Schaeffer 1958). Rows about the origin are not
        normalised: no ball reaches them, nor rows so long that their squares overflow.
        """
        r = np.asarray(radius, dtype=float)
        share = np.minimum(r, np.sqrt(2))
        turned = share * np.sqrt(1 - share**2 / 4) if self.norm == 2 else np.minimum(r / 2, 1)
        room = np.minimum(lengths - self.least, self.edge - lengths)
        return np.maximum(shrink(np.minimum(lengths * turned, room), 16), 0)


@dataclass(frozen=True)
class ImputeStep:
    """Missing cells filled with a value of their column; they do not move, observed ones pass unchanged.

    Parameters
    ----------
    values : ndarray of shape (d_in,)
        What is filled in.
    kept : ndarray of int
        Columns that are passed on.
    flags : ndarray of int
        Columns for which "is missing" is appended, as 0 or 1.
    """

    values: np.ndarray
    kept: np.ndarray
    flags: np.ndarray

    def at(self, missing: np.ndarray) -> AffineStep:
        """The step for points in which these columns are missing."""
        d = len(self.values)
        fill = np.where(missing, self.values, 0.0)[self.kept]
        if len(self.kept) == d and not len(self.flags):
            return AffineStep(np.zeros(d), np.where(missing, 0.0, 1.0), fill)
        passed = AffineStep.selection(np.append(self.kept, self.flags), d).matrix * np.where(missing, 0.0, 1.0)
        passed[len(self.kept) :] = 0
        return AffineStep(np.zeros(d), passed, np.append(fill, missing[self.flags].astype(float)))


@dataclass(frozen=True)
class EncodeStep:
    """Categories turned into ``n_outputs`` numbers: neither its inputs nor its outputs move."""

    n_outputs: int


@dataclass(frozen=True)
class Branch:
    """One part of a :class:`ParallelStep`.

    Parameters
    ----------
    name : str
    columns : ndarray of int, or None for all
        Input columns by position, in the order of fitting.
    labels : list of str or None
        The same by name: points with named columns are read by name.
    links : tuple of Link
    weight : float
        Factor of the outputs.
    """

    name: str
    columns: np.ndarray | None
    labels: list[str] | None
    links: tuple[Link, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class ParallelStep:
    """Several chains of steps side by side, their outputs concatenated.

    Parameters
    ----------
    branches : tuple of Branch
    take : callable
        ``take(X, branch)``: the columns of the points X that a branch sees.
    """

    branches: tuple[Branch, ...]
    take: Callable[[Any, Branch], Any]


@dataclass(frozen=True)
class Link:
    """One step of a chain.

    Parameters
    ----------
    name : str
    carriers : tuple of Carrier
        How it carries a perturbation, in order.
    transform : callable
        Its own.
    kinds : tuple of numpy.dtype
        Types of its fitted arrays of floating-point numbers.
    known : bool
        Whether it treats float16 as scikit-learn's steps do: it returns it, or converts it before anything else.
    writes : bool
        Whether it, or a part of it, may write into what it is given.
    """

    name: str
    carriers: tuple[Carrier, ...]
    transform: Callable[[Any], Any]
    kinds: tuple[np.dtype, ...] = ()
    known: bool = True
    writes: bool = False

    def unit(self, given: np.dtype, made: np.dtype) -> float:
        """The unit of rounding in which it makes numbers of one type from those of another (rounding page).

        That of the narrowest of all types at hand: what is computed in place keeps the type of the points, however wide the
        fitted arrays are. Only float16 is converted first by scikit-learn's steps that do not return it.
        """
        converted = self.known and given == np.float16 != made
        return unit_of(made, *self.kinds, *(() if converted else (given,)))


Carrier = AffineStep | LipschitzStep | EstimatedStep | ClipStep | NormalizeStep | ImputeStep | EncodeStep | ParallelStep


@dataclass(frozen=True)
class Pullback:
    """A ball ``||v||_2 < r`` of inputs as seen in latents: the set ``{ C y : ||y||_2 < r }`` (theory 2.1).

    With thin factors A = C Q', Q orthonormal, a form in the latents becomes slope ``C'g`` and curvature ``C'WC`` in y, and
    ``||y|| <= ||v||``. Nothing is dropped and nothing is inverted, so a singular or badly scaled A is no special case.

    Attributes
    ----------
    factor : ndarray of shape (d_latent, r), or (d_latent,) for a diagonal C
    basis : ndarray of shape (d_in, r), or (d_in,) for the diagonal of a diagonal Q
    error : float
        Upper bound of ||A - C Q'||_2.
    size : float
        Upper bound of ||A||_2.
    """

    factor: np.ndarray
    basis: np.ndarray
    error: float
    size: float

    @classmethod
    def of(cls, step: AffineStep) -> Pullback:
        """Factor an affine step; scalings and rotations, whitened or not, stay diagonal."""
        matrix = step.matrix
        sizes = np.abs(matrix) if matrix.ndim == 1 else np.abs(matrix).max(axis=1)
        if not ((sizes == 0) | ((sizes > 1 / SCALE_LIMIT) & (sizes < SCALE_LIMIT))).all():
            raise ValueError(f"A step scales features by {sizes.min():.3g} to {sizes.max():.3g}: float64 cannot square that.")
        if matrix.ndim == 1:
            return cls(np.abs(matrix), np.sign(matrix), step.matrix_error, step.size)
        if step.only_scales:
            return cls(sizes, np.sign(matrix).T, step.matrix_error, step.size)
        lengths = np.linalg.norm(matrix, axis=1)
        if matrix.shape[0] <= matrix.shape[1] and lengths.min() > 0:
            directions = (matrix / lengths[:, None]).T
            defect = orthogonality_defect(directions)
            if defect < 1e-9:
                residue = grow(defect * lengths.max()) + 4 * UNIT * fro(matrix)
                return cls(lengths, directions, step.matrix_error + residue, step.size)
        q, r = np.linalg.qr(matrix.T)
        residue = fro(matrix.T - q @ r) + (orthogonality_defect(q) + gamma(len(r) + 2) * fro(q)) * fro(r)
        return cls(r.T, q, grow(step.matrix_error + residue), step.size)

    @classmethod
    def straight(cls, step: AffineStep) -> Pullback:
        """The same for the other norms, in the coordinates of the inputs that move: C = A, but for signs if diagonal."""
        if step.matrix.ndim == 1 and step.matrix.all():
            return cls.of(step)
        matrix = np.diag(step.matrix) if step.matrix.ndim == 1 else step.matrix
        moving = np.flatnonzero(matrix.any(axis=0))
        moving = moving if len(moving) else np.array([0])  # one that stays where it is, so that there are coordinates
        return cls(matrix[:, moving], np.eye(step.n_inputs)[:, moving], step.matrix_error, step.size)

    def slopes(self, g: np.ndarray) -> np.ndarray:
        """C'g for every row g."""
        return g * self.factor if self.factor.ndim == 1 else rows_times(g, self.factor)

    def curvature(self, W: np.ndarray) -> np.ndarray:
        """C'WC; a diagonal W (1-D) stays 1-D under a diagonal C."""
        if self.factor.ndim == 1:
            return W * self.factor**2 if W.ndim == 1 else self.factor[:, None] * W * self.factor
        return self.factor.T @ (W[:, None] * self.factor if W.ndim == 1 else W @ self.factor)

    def forward(self, y: np.ndarray) -> np.ndarray:
        """C y for every row y: the move of the latents."""
        return y * self.factor if self.factor.ndim == 1 else rows_times(y, self.factor.T)

    def solve(self, moves: np.ndarray) -> np.ndarray:
        """For every row of moves in the latents, coordinates y that come closest to it: C y is near the move."""
        if self.factor.ndim == 1:
            return np.where(self.factor > 0, moves / np.where(self.factor > 0, self.factor, 1), 0.0)
        return moves @ np.linalg.pinv(self.factor).T

    def lift(self, y: np.ndarray) -> np.ndarray:
        """Q y for every row y: the shortest input perturbation with these coordinates."""
        return y * self.basis if self.basis.ndim == 1 else y @ self.basis.T
