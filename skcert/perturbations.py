"""What may move, and how a step of a pipeline carries it.

A perturbation is an l_p ball, ``||u||_p < r``. An :class:`AffineStep` carries it exactly (theory 2.1), a
:class:`LipschitzStep` stretches its length by at most a constant (theory 2.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import numpy as np

from skcert.geometry.affine import DUAL_ORDER
from skcert.geometry.rounding import UNIT, column_norms, fro, gamma, grow, orthogonality_defect, row_norms


def check_norm(norm: float) -> float:
    """Return ``norm`` as 1, 2 or ``numpy.inf``, or raise ValueError."""
    if isinstance(norm, Real) and not isinstance(norm, bool) and norm in DUAL_ORDER:
        return np.inf if norm == np.inf else int(norm)
    raise ValueError(f"norm must be 1, 2 or numpy.inf (the l_p norm of the perturbation), got {norm!r}.")


#: factors of a step whose squares are taken must lie between this and its inverse, or be 0
SCALE_LIMIT = 1e60


@dataclass(frozen=True)
class LipschitzStep:
    """A step with ``||f(x) - f(x')||_2 <= constant * ||x - x'||_2`` for all x, x' (theory 2.2).

    Parameters
    ----------
    constant : float
        Positive and finite. It is taken at its word: a certificate is as good as this number.
    """

    constant: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.constant) and self.constant > 0):
            raise ValueError(f"A Lipschitz constant must be positive and finite, got {self.constant!r}.")


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
    """

    center: np.ndarray
    matrix: np.ndarray
    offset: np.ndarray
    column_error: np.ndarray | float = 0.0
    offset_error: float = 0.0

    @classmethod
    def scaling(cls, scale: np.ndarray) -> AffineStep:
        """Multiply every feature by its own factor."""
        scale = np.asarray(scale, dtype=float)
        return cls(np.zeros(len(scale)), scale, np.zeros(len(scale)))

    @property
    def n_inputs(self) -> int:
        """Dimension before the step."""
        return len(self.center)

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

    def apply(self, X: np.ndarray) -> np.ndarray:
        """Images of the rows of X, float64."""
        moved = np.asarray(X, dtype=float) - self.center
        return (moved * self.matrix if self.matrix.ndim == 1 else moved @ self.matrix.T) + self.offset

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
        return grow(rounding + wrong + gamma(2) * fro(self.offset) + self.offset_error, self.n_inputs + 4)

    def stretched(self, scale: np.ndarray) -> AffineStep:
        """The same map of a perturbation ``scale * v``, as a map of v."""
        matrix = self.matrix * scale
        columns = grow(self.column_error * scale + 2 * UNIT * column_norms(matrix))
        return AffineStep(self.center, matrix, self.offset, columns, self.offset_error)

    def then(self, outer: AffineStep) -> AffineStep:
        """The composition: this step first, ``outer`` after it."""
        A, B = self.matrix, outer.matrix
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
        return AffineStep(self.center, matrix, moved + outer.offset, grow(columns, n), grow(offset_error, n))

    def agrees(self, before: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> bool:
        """Whether ``theirs``, what the step itself made of the rows of ``before``, is what :meth:`apply` returned.

        Up to the rounding of the step, which may compute in float32 and cancel about its centre.
        """
        if ours.shape != theirs.shape:
            return False
        single = np.float32 in (before.dtype, theirs.dtype)
        size, center = np.abs(self.matrix), np.abs(self.center)
        spread = size * center if size.ndim == 1 else size @ center
        room = (1e-3 if single else 1e-7) * np.abs(theirs).max(axis=0, initial=0) + (1e-5 if single else 1e-12) * spread
        return bool((np.abs(ours - theirs) <= room).all())


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

    def slopes(self, g: np.ndarray) -> np.ndarray:
        """C'g for every row g."""
        return g * self.factor if self.factor.ndim == 1 else g @ self.factor

    def curvature(self, W: np.ndarray) -> np.ndarray:
        """C'WC; a diagonal W (1-D) stays 1-D under a diagonal C."""
        if self.factor.ndim == 1:
            return W * self.factor**2 if W.ndim == 1 else self.factor[:, None] * W * self.factor
        return self.factor.T @ (W[:, None] * self.factor if W.ndim == 1 else W @ self.factor)

    def lift(self, y: np.ndarray) -> np.ndarray:
        """Q y for every row y: the shortest input perturbation with these coordinates."""
        return y * self.basis if self.basis.ndim == 1 else y @ self.basis.T
