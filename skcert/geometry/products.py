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
#: rows are dealt out to kernels in multiples of this: the last ones of another number may be summed in another order
TOGETHER = 16
#: rows from which several threads share them out, each a multiple of the above
FEW = 512
#: sums of more terms than this may be taken in halves, which several threads and one cut alike where this divides them
DEEP, HALVED = 128, 32
#: columns from which a product is taken row by row, however it lies: several threads would share out columns at any place
WIDE = 64
#: dimension up to which matrices are small
SMALL = 512


class _OneThread:
    """The context of :func:`one_thread`. The limit is the process's: the first to enter sets it, the last lifts it."""

    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0
        self._controller: Any = None
        self._limit: Any = None

    def threads(self) -> int:
        """Of BLAS, as things are."""
        self._controller = self._controller or ThreadpoolController()
        libraries = self._controller.select(user_api="blas").lib_controllers
        return max((each.num_threads or 1 for each in libraries), default=1)

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
    return BLOCK if m == 1 else min(BLOCK, _multiple(-(-LARGE // max(d * m, 1))))


def rows_times(
    rows: np.ndarray, matrix: np.ndarray, out: np.ndarray | None = None, order: Literal["C", "F"] = "C"
) -> np.ndarray:
    """``rows @ matrix``, float64: each row of the product depends on its own row alone, to the last digit.

    ``order`` says how ``out`` lies in memory.

    Products of one shape are taken by one kernel, and so are large ones of any. Hence small ones are taken in blocks of a
    fixed size, others with so many rows that they are not small; what is left over is filled up with zeros. Threads take part
    where they share out rows alone, at places that do not matter.
    """
    rows = np.ascontiguousarray(rows)  # how rows lie in memory is for BLAS part of the shape, and so is ``out``
    n, (d, m) = len(rows), matrix.shape
    out = np.empty((n, m)) if out is None else out
    if order == "F" and m >= WIDE:
        for start in range(0, n, 4 * BLOCK):
            out[start : start + 4 * BLOCK] = rows_times(rows[start : start + 4 * BLOCK], matrix)
        return out
    least = least_rows(d, m)
    alone = least == BLOCK or order == "F" or n < max(FEW, least) or (d > DEEP and d % HALVED != 0)
    share = TOGETHER * (1 if alone else _ONE_THREAD.threads())
    several = not alone and n >= share
    step = BLOCK if least == BLOCK else n // share * share if several else n // TOGETHER * TOGETHER
    full = n // step * step if n >= least else 0
    if several:
        np.matmul(rows[:full], matrix, out=out[:full])
    with one_thread():
        for start in range(0, 0 if several else full, step or 1):
            np.matmul(rows[start : start + step], matrix, out=out[start : start + step])
        if full < n:
            filled = np.zeros((max(least, _multiple(n - full)), d))
            filled[: n - full] = rows[full:]
            out[full:] = np.matmul(filled, matrix, out=np.empty((len(filled), m), order=order))[: n - full]
    return out


def alike(n: int, least: int) -> list[tuple[np.ndarray | slice | None, slice]]:
    """Rows to take together, of products that others make, and which of these to keep, such that each is treated as if alone.

    All n rows at once (None) where that will do. Otherwise the last ones again in company, or a few repeated up to ``least``.
    """
    least = _multiple(max(least, 1))
    if n < least:
        return [(np.resize(np.arange(n), least), slice(0, n))]
    over = n % TOGETHER
    if not over:
        return [(None, slice(0, n))]
    return [(slice(0, n - over), slice(0, n - over)), (slice(n - least, n), slice(least - over, least))]


def _multiple(n: int) -> int:
    """n, or the next multiple of :data:`TOGETHER`."""
    return -(-n // TOGETHER) * TOGETHER


def column_sums(columns: np.ndarray) -> np.ndarray:
    """Sums of columns, in the same order for one as for many."""
    return np.ascontiguousarray(columns.T).sum(axis=1)
