"""Points as users have them - arrays, pandas or polars frames, text and numbers side by side - as numbers, and back."""

from __future__ import annotations

import copy
import math
import mmap
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn import get_config

from skcert._fitted import may_write
from skcert.backends.arrays import hosted, namespace_of, to_host
from skcert.geometry.rounding import TINY, UNIT, UNITS, grow

#: types of numbers that are kept; others become float64
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
#: up to where float64 holds all integers
WHOLE = 2.0**53
#: types of columns of frames that may look like numbers and are none (pandas and polars)
OTHER = {
    *("CategoricalDtype", "DatetimeTZDtype", "PeriodDtype", "StringDtype"),
    *("Categorical", "Enum", "Datetime", "Date", "Duration", "Time", "String", "Utf8"),
}


def names_of(X: Any) -> list | None:
    """Names of the columns of a frame; None for an array."""
    columns = getattr(X, "columns", None)
    return None if columns is None else list(columns)


def check_names(X: Any) -> None:
    """ValueError where columns of a frame share a name."""
    if getattr(getattr(X, "columns", None), "is_unique", True):  # polars allows no others
        return
    twice = X.columns[X.columns.duplicated()].unique().tolist()
    raise ValueError(f"X has several columns named {twice!r}: give each column a name of its own, or pass X.to_numpy().")


def listed(X: Any) -> Any:
    """A list of rows as an array, of objects where not all are numbers, as scikit-learn reads it; all else as it is."""
    if not isinstance(X, list | tuple):
        return X
    try:
        made = np.asarray(X)
    except ValueError:  # rows of several lengths: who transforms them will say so
        return X
    return X if made.ndim < 2 else made if made.dtype.kind in "fiub" else np.asarray(X, dtype=object)


def check_rows(X: Any) -> None:
    """ValueError for numbers that pandas holds without columns, one row or one column; texts are points of their own."""
    if not hasattr(X, "iloc") or hasattr(X, "columns"):
        return
    if any(isinstance(cell, Real) and cell == cell for cell in X):
        raise ValueError(
            "X is a Series, one row or one column of a table: expected a table, one row for each point. Of a DataFrame "
            "X.iloc[[0]] is its first row as a table."
        )


def index_of(X: Any) -> Any:
    """The labels of the rows of what pandas holds; None for all else."""
    return X.index if hasattr(X, "iloc") else None


def numbers(X: Any) -> Any:
    """What a step has made of points as a float array, or as a sparse one whose rows can be taken; text as zeros."""
    if issparse(X):
        return X.tocsr()
    X = np.asarray(to_host(X))
    if X.dtype in FLOATS:
        return X
    try:
        return X.astype(float)
    except (TypeError, ValueError):
        return np.zeros(X.shape)


def dense(X: Any) -> np.ndarray:
    """Numbers as a dense float array."""
    X = numbers(X)
    return X.toarray() if issparse(X) else X


def floats(X: Any) -> np.ndarray | None:
    """The values of a float array, or of a pandas frame of float64 columns, as they are; None for anything else."""
    if isinstance(X, np.ndarray):
        return X if X.ndim == 2 and X.dtype in FLOATS else None
    if hasattr(X, "iloc") and hasattr(X, "columns") and all(dtype == np.float64 for dtype in X.dtypes):
        return X.to_numpy()
    return None


def is_mapped(X: Any) -> bool:
    """Whether X is an array in a file, of which only what is looked at is in memory."""
    return isinstance(X, np.memmap) and isinstance(getattr(X, "_mmap", None), mmap.mmap)  # rows picked out are in memory


def release(X: Any) -> None:
    """Give back the pages of a mapped file that have been read: they would count as memory of this process."""
    if hasattr(mmap, "MADV_DONTNEED") and X.mode in ("r", "r+") and X.flags.c_contiguous:
        start = X.ctypes.data - np.frombuffer(X._mmap, dtype=np.uint8).ctypes.data
        whole = start // mmap.PAGESIZE * mmap.PAGESIZE
        X._mmap.madvise(mmap.MADV_DONTNEED, whole, start + X.nbytes - whole)


def type_of(X: Any) -> np.dtype:
    """The type in which NumPy, and scikit-learn, would hold all columns of X together; float64 where some are no numbers."""
    kinds = types_of(X)
    return np.result_type(*kinds) if kinds and all(kind.kind in "fiub" for kind in kinds) else np.dtype(float)


def types_of(X: Any) -> tuple[np.dtype, ...]:
    """The NumPy types of the columns of a frame, pandas' and polars' own included, or of an array."""
    if hasattr(X, "iloc"):
        # pandas' types that know missing values name the type of their numbers; others, of text or of dates, have none
        kinds = [getattr(kind, "numpy_dtype", kind) for kind in X.dtypes]
        return tuple(kind if isinstance(kind, np.dtype) else np.dtype(object) for kind in kinds)
    if hasattr(X, "columns"):
        return tuple(column[:0].to_numpy().dtype for column in _columns(X))
    kind = getattr(X, "dtype", None)
    return (kind if isinstance(kind, np.dtype) else np.dtype(float),)


def conversion(kinds: tuple, values: np.ndarray, scale: np.ndarray, norm: float, radius: np.ndarray) -> np.ndarray:
    """How far apart points of these types and the float64 numbers ``values``, shape (n, d), that they become are at most, (n,).

    In units of the scale; a column of scale 0 counts for nothing. Integers lose nothing as long as all within the radius are
    below 2^53.
    """
    lossy = {kind for kind in set(kinds) if not _is_exact(kind)}
    at = np.flatnonzero([kind in lossy for kind in kinds] & (scale > 0)) if lossy else ()
    if not len(at):
        return np.zeros(len(values))
    sizes = np.abs(np.nan_to_num(values[:, at]))
    reach = sizes + np.multiply.outer(radius, scale[at])
    held = np.array([kinds[k].kind in "iu" for k in at]) & (reach <= WHOLE)
    sizes = np.where(held, 0.0, sizes + 4 * TINY)  # what is smaller is lost altogether
    return grow(UNIT * np.linalg.norm(sizes / scale[at], ord=norm, axis=1), len(scale) + 8)


def _is_exact(kind: np.dtype) -> bool:
    """Whether float64 holds all numbers of a type: not those of 64 bits, of longer floats, and objects."""
    return kind in UNITS or (kind.kind in "biu" and kind.itemsize < 8)


def source_of(values: np.ndarray, constants: list) -> np.ndarray:
    """Rows of columns and encoders' outputs side by side; missing cells are 0."""
    if not constants and not np.isnan(values.sum()):
        return values
    return np.hstack([np.nan_to_num(values, nan=0.0), *(dense(part) for part in constants)])


def own_copy(X: Any) -> Any:
    """X for somebody who may write into it."""
    if (xp := namespace_of(X)) is not None:
        return xp.asarray(X, copy=True)
    return X.copy() if hasattr(X, "copy") else copy.copy(X)


def dispatched(X: Any) -> bool:
    """Whether scikit-learn's estimators compute on X in its own library, as it was told to, and not in NumPy."""
    return namespace_of(X) is not None and get_config()["array_api_dispatch"]


def transformed(step: Any, X: Any) -> Any:
    """step.transform(X), on a copy where the step may write into X; with parameters and points in NumPy unless dispatched."""
    return _called(step, X, "transform")


def predicted(estimator: Any, X: Any, method: str = "predict") -> np.ndarray:
    """estimator.predict(X), or what another method says, as a NumPy array; computed as :func:`transformed` computes."""
    return to_host(_called(estimator, X, method))


def _called(estimator: Any, X: Any, method: str) -> Any:
    if not dispatched(X):
        estimator, X = hosted(estimator), to_host(X)
    return getattr(estimator, method)(own_copy(X) if may_write(estimator) else X)


@dataclass(frozen=True)
class Points:
    """The rows of X as numbers; those of images are flattened.

    Attributes
    ----------
    origin : array or frame
        X itself.
    values : ndarray of shape (n, d)
        Columns that hold no numbers are 0 here.
    numeric : ndarray of bool, shape (d,)
        Columns that hold numbers; missing ones are NaN.
    """

    origin: Any
    values: np.ndarray
    numeric: np.ndarray

    @classmethod
    def of(cls, X: Any) -> Points:
        """Read an array or a frame, or what a step made of one."""
        if issparse(X):
            X = X.toarray()
        if not hasattr(X, "columns"):
            X = np.asarray(to_host(X))
            if X.ndim < 2:
                raise ValueError(
                    f"X must hold numbers, one row for each point, got an array of shape {X.shape} of {X.dtype}: texts and "
                    "files have no distance. Certify the space after the step that embeds them, or pass images as arrays."
                )
            if X.dtype.kind in "fiub":
                values = X if X.dtype in FLOATS else X.astype(float)
                values = values if X.ndim == 2 else values.reshape(len(X), math.prod(X.shape[1:]))
                return cls(X, values, np.ones(values.shape[1], dtype=bool))
        elif hasattr(X, "dtypes") and all(dtype in FLOATS for dtype in X.dtypes):
            return cls(X, np.asarray(X), np.ones(len(X.columns), dtype=bool))
        flat = X if hasattr(X, "columns") or X.ndim == 2 else X.reshape(len(X), math.prod(X.shape[1:]))
        columns = [_numbers(column) for column in _columns(flat)]
        numeric = np.array([column is not None for column in columns], dtype=bool)
        values = np.zeros((len(X), len(columns)), order="F")
        for at in np.flatnonzero(numeric):
            values[:, at] = columns[at]
        return cls(X, np.ascontiguousarray(values), numeric)

    @property
    def names(self) -> list | None:
        """Names of the columns."""
        return names_of(self.origin)

    @property
    def kinds(self) -> tuple[np.dtype, ...]:
        """The type of each column."""
        return types_of(self.origin) if hasattr(self.origin, "columns") else types_of(self.origin) * self.values.shape[1]

    def types(self) -> np.ndarray:
        """The float type that each column can hold, shape (d,)."""
        return np.array([kind if kind in UNITS else np.dtype(float) for kind in self.kinds], dtype=object)

    def moved(self, rows: np.ndarray, values: np.ndarray, columns: np.ndarray, types: np.ndarray | None = None) -> Any:
        """These rows of X, in the same container, with ``values`` (one column for each of the d) in these columns.

        ``types`` are those that the columns get; None: the types of :meth:`types`.
        """
        X = self.origin
        types = self.types() if types is None else types
        if hasattr(X, "iloc"):
            frame = X.iloc[rows].copy()
            for at in columns:
                frame.isetitem(int(at), values[:, at].astype(types[at]))
            return frame
        if hasattr(X, "columns"):
            frame = X[rows.tolist()]
            series = type(frame[:, 0])
            return frame.with_columns([series(X.columns[at], values[:, at].astype(types[at])) for at in columns])
        kind = X.dtype if X.dtype == object else np.result_type(*types) if len(types) else np.dtype(float)
        out = np.array(X[rows], dtype=kind, order="C")  # in another order the next line would write into a copy
        out.reshape(len(out), -1)[:, columns] = values[:, columns]
        return out


def _columns(X: Any):
    if hasattr(X, "iloc"):
        return (X.iloc[:, at] for at in range(X.shape[1]))
    if hasattr(X, "columns"):
        return (X[:, at] for at in range(X.shape[1]))
    return iter(X.T)


def _numbers(column: Any) -> np.ndarray | None:
    """A column as float64 with NaN where it is missing; None if it holds something else.

    By its type: digits in a column of text, categories and dates are no numbers, nor are objects none of which is one.
    """
    kind = getattr(column, "dtype", None)
    if getattr(kind, "kind", "O") in "SUmM" or type(kind).__name__ in OTHER:
        return None
    if getattr(kind, "kind", "O") == "O":
        cells = np.asarray(column, dtype=object)
        if any(isinstance(each, str | bytes) for each in cells):
            return None
        if len(cells) and not any(isinstance(each, Real) and each == each for each in cells):
            return None
    try:
        if hasattr(column, "isna") and hasattr(column, "to_numpy"):  # pandas, whose NA float() does not know
            return column.to_numpy(dtype=float, na_value=np.nan)
        return np.asarray(column, dtype=float)
    except (TypeError, ValueError):
        return None
