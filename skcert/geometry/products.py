"""Products of many rows with one matrix, in which no row can tell what other rows stand beside it.

BLAS chooses its kernel, and with it the order in which it sums, by the shape of the whole product: the same point would get
other last digits alone than in a batch. All orders are within the bounds of :mod:`skcert.geometry.rounding`, so this is not a
matter of soundness, but of answers that can be compared and kept.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from threading import Lock
from typing import Any, Literal, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

Result = TypeVar("Result")

#: multiplications above which OpenBLAS has left its kernels for small matrices behind, twice over
LARGE = 2**21
#: rows at a time where products of fewer would be small ones
BLOCK = 1024
#: rows are dealt out to kernels in multiples of this, where the product is written column by column
TOGETHER = 16
#: dimension up to which matrices are small
SMALL = 512
#: products of fewer rows are taken by one thread: several would share out columns, at places that depend on the rows
FEW = 512


class _OneThread:
    """The context of :func:`one_thread`. The limit is the process's: the first to enter sets it, the last lifts it."""

    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0
        self._controller: Any = None
        self._limit: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._controller = self._controller or ThreadpoolController()
                self._limit = self._controller.limit(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(self, *error) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limit.restore_original_limits()


_ONE_THREAD = _OneThread()


def one_thread() -> _OneThread:
    """A context for many small matrices, on which the threads of BLAS only wait for each other."""
    return _ONE_THREAD


def threads_for(d: int):
    """A context for work on (d, d) matrices: one thread, unless they are large enough for several.

    On cores that others use as well, the threads of BLAS wait for one that does not run: eigenvalues of small matrices then
    take twenty times as long as in one thread.
    """
    return one_thread() if d <= SMALL else nullcontext()


def with_threads_for(function: Callable[..., Result]) -> Callable[..., Result]:
    """A function whose first argument is a matrix, run in the threads for it."""

    @wraps(function)
    def wrapped(matrix, *args, **kwargs):
        with threads_for(len(matrix)):
            return function(matrix, *args, **kwargs)

    return wrapped


def least_rows(d: int, m: int) -> int:
    """Rows with which a product with a (d, m) matrix is taken at least."""
    return BLOCK if m == 1 else min(BLOCK, -(-LARGE // max(TOGETHER * d * m, 1)) * TOGETHER)


def rows_times(
    rows: np.ndarray, matrix: np.ndarray, out: np.ndarray | None = None, order: Literal["C", "F"] = "C"
) -> np.ndarray:
    """``rows @ matrix``, float64: each row of the product depends on its own row alone, to the last digit.

    ``order`` says how ``out`` lies in memory.

    Products of one shape are taken by one kernel, and so are large ones of any. Hence small ones are taken in blocks of a
    fixed size, others with so many rows that they are not small; what is left over is filled up with zeros.
    """
    rows = np.ascontiguousarray(rows)  # how rows lie in memory is for BLAS part of the shape, and so is ``out``
    n, (d, m) = len(rows), matrix.shape
    least = least_rows(d, m)
    out = np.empty((n, m)) if out is None else out
    step = BLOCK if least == BLOCK else n if order == "C" else n // TOGETHER * TOGETHER
    full = n // step * step if n >= least else 0
    for start in range(0, full, step or 1):
        _multiply(rows[start : start + step], matrix, out[start : start + step])
    if full < n:
        filled = np.zeros((least, d))
        filled[: n - full] = rows[full:]
        out[full:] = _multiply(filled, matrix, np.empty((least, m), order=order))[: n - full]
    return out


def _multiply(rows: np.ndarray, matrix: np.ndarray, out: np.ndarray) -> np.ndarray:
    if len(rows) >= FEW:
        return np.matmul(rows, matrix, out=out)
    with one_thread():
        return np.matmul(rows, matrix, out=out)


def column_sums(columns: np.ndarray) -> np.ndarray:
    """Sums of columns, in the same order for one as for many."""
    return np.ascontiguousarray(columns.T).sum(axis=1)
