"""Radii on an NVIDIA GPU: the arithmetic on points of ``skcert.boundaries``, in kernels, with the same bounds.

Whatever is computed once comes from the boundary as it is; points go to the device in chunks, and answers come back where the
points were. No GPU has run these kernels yet: some rows of every boundary are certified on the CPU too, which takes over where
the two contradict each other.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary, proxy

import numpy as np

from skcert.backends.cuda.affine import AffineSolver
from skcert.backends.cuda.comparison import ROWS, contradictions, in_words, some_rows
from skcert.backends.cuda.device import require
from skcert.backends.cuda.mixture import MixtureSolver
from skcert.backends.cuda.quadratic import QuadraticSolver
from skcert.backends.cuda.streaming import Solver, nearest_of_device, nearest_of_host
from skcert.boundaries import AffineBoundary, Nearest, QuadraticBoundary, QuadraticMixtureBoundary

__all__ = ["nearest", "require", "supports"]

#: what boundaries have on which device, as long as they live
_SOLVERS: WeakKeyDictionary[Any, dict[Any, Solver]] = WeakKeyDictionary()
#: devices that have contradicted the CPU in this process
_DISTRUSTED: set[Any] = set()


def _kind(boundary: Any, method: str) -> type | None:
    """The solver for this boundary and method, if there is one; by exact type, since subclasses are other problems."""
    if type(boundary) is AffineBoundary and boundary.discriminant.squared is None:
        many, methods = len(boundary.coef) > 1, ("auto", "exact", "pairwise")
        return AffineSolver if many and method in methods else None
    if not isinstance(boundary, QuadraticBoundary) or boundary.norm != 2 or boundary._edge < np.inf:
        return None
    if boundary.fold is not None or boundary.pullback is not None:
        return None
    if type(boundary) is QuadraticBoundary and len(boundary.classes) > 1:
        return QuadraticSolver if method in ("exact", "pairwise") else None
    if type(boundary) is QuadraticMixtureBoundary and len(boundary.rivals) > 1:
        return MixtureSolver if method == "pairwise" else None
    return None


def supports(boundary: Any, method: str) -> bool:
    """Whether :func:`nearest` knows this kind of boundary, norm and method; what it does not know stays on the CPU."""
    return _kind(boundary, method) is not None


def nearest(boundary: Any, X: Any, *, method: str) -> Nearest:
    """As ``boundary.nearest``, on the device and without attacks.

    The CPU certifies some of the first rows too. Where the device contradicts it, a warning says so, and the CPU computes all
    rows, of this call and of every later one for this device.

    Parameters
    ----------
    boundary : AffineBoundary, QuadraticBoundary or QuadraticMixtureBoundary
        One that :func:`supports` accepts. Against classes of several components no attack is looked for: its radius is
        infinite.
    X : ndarray or cupy.ndarray of shape (n, d)
        NumPy arrays, memory-mapped ones too, are read chunk by chunk and answered with NumPy arrays; CuPy arrays stay on
        their device, and so do the answers.
    method : {"auto", "exact", "pairwise"}

    Returns
    -------
    Nearest
    """
    cupy, kind = require(), _kind(boundary, method)
    if kind is None:
        raise ValueError(f"No kernels for {type(boundary).__name__} and method={method!r}: use device='cpu'.")
    there = isinstance(X, cupy.ndarray)
    device = X.device if there else cupy.cuda.Device()
    with device:
        if (cupy, device.id) not in _DISTRUSTED:
            kept = _SOLVERS.setdefault(boundary, {})
            key = cupy, device.id, method
            if key not in kept:
                kept[key] = kind(cupy, proxy(boundary), method)
                cupy.cuda.get_current_stream().synchronize()  # chunks are worked on in streams of their own
            found = (nearest_of_device if there else nearest_of_host)(kept[key], X)
            seen = _contradiction(kept[key], boundary, X, found, method, there)
            if seen is None:
                return found
            _DISTRUSTED.add((cupy, device.id))
            warnings.warn(f"GPU {device.id} {seen}", UserWarning, stacklevel=2)
        known = boundary.nearest(X.get() if there else X, method=method)
        return _each(cupy.asarray, known) if there else known


def _contradiction(solver: Solver, boundary: Any, X: Any, found: Nearest, method: str, there: bool) -> str | None:
    """What the CPU finds wrong with some rows, in words; None if nothing, or if enough rows of this boundary were compared.

    Boundary by boundary, since numbers choose kernels and branches too, and apart for each type of points and for each way to
    the device.
    """
    cupy, way = solver.cupy, (there, X.dtype.char)
    rows = some_rows(len(X), ROWS - solver.compared[way])
    if not len(rows):
        return None
    at = cupy.asarray(rows) if there else rows
    points, ours = X[at], found.take(at)
    if there:
        points, ours = points.get(), _each(lambda values: values.get(), ours)
    with np.errstate(all="ignore"):
        known = boundary.nearest(points, method=method)
        wrong = contradictions(boundary, points, ours, known, method)
    solver.compared[way] += len(rows)
    return in_words(rows, wrong, ours, known) if len(wrong) else None


def _each(function: Callable[[Any], Any], values: Nearest) -> Nearest:
    return Nearest(*map(function, (values.winner, values.runner_up, values.radius, values.attack_radius)))
