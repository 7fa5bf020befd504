"""Radii on an NVIDIA GPU: the arithmetic on points of ``skcert.boundaries``, in kernels, with the same bounds.

Whatever is computed once comes from the boundary as it is; points go to the device in chunks, and answers come back where the
points were.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary, proxy

import numpy as np

from skcert.backends.cuda.affine import AffineSolver
from skcert.backends.cuda.device import require
from skcert.backends.cuda.mixture import MixtureSolver
from skcert.backends.cuda.quadratic import QuadraticSolver
from skcert.backends.cuda.streaming import Solver, nearest_of_device, nearest_of_host
from skcert.boundaries import AffineBoundary, Nearest, QuadraticBoundary, QuadraticMixtureBoundary

__all__ = ["nearest", "require", "supports"]

#: what boundaries have on which device, as long as they live
_SOLVERS: WeakKeyDictionary[Any, dict[Any, Solver]] = WeakKeyDictionary()


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
        kept = _SOLVERS.setdefault(boundary, {})
        key = cupy, device.id, method
        if key not in kept:
            kept[key] = kind(cupy, proxy(boundary), method)
            cupy.cuda.get_current_stream().synchronize()  # chunks are worked on in streams of their own
        return (nearest_of_device if there else nearest_of_host)(kept[key], X)
