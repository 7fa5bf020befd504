"""What float64 arithmetic can have lost: a-priori bounds in the standard model.

Every bound is derived in ``docs/theory/rounding.md``. The model is fl(a op b) = (a op b)(1 + e), |e| <= u = 2^-53, barring
overflow and underflow; a sum or a product of n terms, in whatever order BLAS chooses, errs by at most
gamma_n = n u / (1 - n u) times the same expression in absolute values (Higham, *Accuracy and Stability*, section 3.1).

References
----------
theory 1.8.
"""

from __future__ import annotations

from typing import Any

import numpy as np

UNIT = 2.0**-53
#: the same for float32 and float16
SINGLE, HALF = 2.0**-24, 2.0**-11
TINY = float(np.finfo(float).tiny)
#: the unit of rounding of each type of numbers that is computed in
UNITS: dict[np.dtype[Any], float] = {np.dtype(np.float64): UNIT, np.dtype(np.float32): SINGLE, np.dtype(np.float16): HALF}


def gamma(n: int, unit: float = UNIT) -> float:
    """Relative error bound of ``n`` chained operations, float64 or of another unit of rounding, itself rounded up."""
    return n * unit / (1 - n * unit) * (1 + 4 * UNIT) if n * unit < 1 else np.inf


def unit_of(*kinds: np.dtype) -> float:
    """The unit of rounding of the narrowest of some types; that of float64 for types that hold no floating-point numbers."""
    return max((UNITS.get(np.dtype(kind), UNIT) for kind in kinds), default=UNIT)


def type_with(unit: float) -> np.dtype:
    """The widest type of numbers whose unit of rounding is not smaller than this one."""
    return next(kind for kind, own in UNITS.items() if unit <= own)


def tiny(unit: float) -> float:
    """What an operation may lose by underflow, in the type with this unit of rounding.

    The smallest normal number, as arithmetic may take what is below it for 0. NumPy computes float16 in float32 and rounds the
    result, and then the smallest subnormal number is enough.
    """
    kind = np.finfo(type_with(unit))
    return float(kind.smallest_subnormal if unit >= HALF else kind.tiny)


def largest(unit: float) -> float:
    """Up to where no sum overflows, in the type with this unit of rounding."""
    return float(np.finfo(type_with(unit)).max) / 8


def shrink(value, steps: int = 8):
    """A lower bound: what ``value`` must exceed once its last ``steps`` roundings are taken off."""
    return value * (1 - steps * UNIT)


def grow(value, steps: int = 8):
    """An upper bound, the mirror of :func:`shrink`."""
    return value * (1 + steps * UNIT)


def fro(a: np.ndarray) -> float:
    """Frobenius norm, rounded up: an upper bound of every singular value."""
    top = float(np.abs(a).max(initial=0))
    if top == 0 or not np.isfinite(top):
        return top
    return float(np.linalg.norm(a / top)) * top * (1 + gamma(a.size + 4))


def row_norms(a: np.ndarray) -> np.ndarray:
    """Euclidean norm of every row (along the last axis), rounded up; squares that underflow are paid for by ``TINY``."""
    d = a.shape[-1]
    return np.sqrt(np.einsum("...d,...d->...", a, a) + d * TINY) * (1 + gamma(d + 3))


def column_norms(a: np.ndarray) -> np.ndarray:
    """Euclidean norm of every column, rounded up; of a diagonal matrix (1-D) the absolute values."""
    return np.abs(a) if a.ndim == 1 else row_norms(a.T)


def orthogonality_defect(v: np.ndarray) -> float:
    """Upper bound of ||V'V - I||_2, hence of ||H - I||_2 in the polar decomposition V = Q H."""
    r = v.shape[1]
    return fro(v.T @ v - np.eye(r)) + gamma(v.shape[0] + 1) * fro(v) ** 2


def spectral(a: np.ndarray) -> float:
    """Cheap upper bound of the spectral norm: the smaller of Frobenius and the geometric mean of the 1- and inf-norms."""
    one, inf = np.linalg.norm(a, 1), np.linalg.norm(a, np.inf)
    return min(fro(a), float(np.sqrt(one * inf)) * (1 + gamma(len(a) + 4)))


#: columns summed at a time by :func:`product`
BLOCK = 32


def product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, float]:
    """``a @ b`` with a smaller error: blocks of the inner dimension, then their sum.

    Returns the product and g such that ``|error| <= g |a| |b|``: gamma of block length plus number of blocks, where the plain
    product has gamma of the whole dimension.
    """
    n = a.shape[-1]
    starts = range(0, n, BLOCK)
    total = sum(a[..., k : k + BLOCK] @ b[k : k + BLOCK] for k in starts)
    return np.asarray(total), gamma(min(n, BLOCK) + len(starts) + 1)


def inverse_defect(a: np.ndarray, inverse: np.ndarray) -> float:
    """Upper bound of rho with ||(A^-1 - B) x|| <= rho ||B x|| for all x, B the computed inverse.

    With L = I - B A, A^-1 = (I - L)^-1 B, so rho = ||L|| / (1 - ||L||); infinite where nothing can be said.
    """
    back, error = product(inverse, a)
    left = np.eye(len(a)) - back
    # the 1- and inf-norms of |B||A| are row sums, which need no product of matrices
    rows, columns = np.abs(inverse) @ np.abs(a).sum(axis=1), np.abs(inverse).sum(axis=0) @ np.abs(a)
    bound = spectral(left) + (error + 2 * UNIT) * float(np.sqrt(rows.max() * columns.max())) * (1 + gamma(2 * len(a) + 4))
    return bound / (1 - bound) * (1 + 4 * UNIT) if bound < 1 else np.inf
