"""Arrays of other libraries than NumPy: taken to the host as they come in, put back where they were as they go out.

What is certified is computed in NumPy's float64, whatever library the points are from. This room knows the libraries by the
array API standard, and imports none of them: an array of one brings its namespace along.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from typing import Any

import numpy as np
from array_api_compat import (
    array_namespace,
    device,
    is_array_api_obj,
    is_array_api_strict_namespace,
    is_cupy_array,
    is_torch_array,
)

#: NumPy's own, and types, which have the attributes of their instances
OF_NUMPY = (np.ndarray, np.generic, type)
#: what most attributes of fitted estimators are
COMMON = (*OF_NUMPY, str, int, float, type(None))
#: device type of CUDA in the DLPack protocol
CUDA = 2


def namespace_of(X: Any) -> Any:
    """The array API namespace of an array of another library; None for NumPy arrays, frames, lists and all else."""
    return None if isinstance(X, OF_NUMPY) or not is_array_api_obj(X) else array_namespace(X)


def to_host(X: Any) -> Any:
    """An array of another library as a NumPy one, that of a CPU without a copy; anything else as it is."""
    xp = namespace_of(X)
    if xp is None:
        return X
    if str(X.dtype).endswith("bfloat16"):
        raise ValueError("An array is bfloat16, a type that NumPy does not have: convert it to float32.")
    if is_torch_array(X):
        return X.numpy(force=True)  # off its device, and out of the graph of gradients
    if is_cupy_array(X):
        return X.get()
    return np.from_dlpack(X) if is_array_api_strict_namespace(xp) else np.asarray(X)


def like(X: Any, values: Any) -> Any:
    """Numbers in the namespace and on the device of X, in NumPy where X is none of another library; all else as it is.

    Text stays in NumPy too, as no other library has it. No number is rounded: a radius could become too large by it.
    """
    xp = namespace_of(X)
    if xp is not None and on_cuda(X) and on_cuda(values):
        return xp.from_dlpack(values)
    values = to_host(values)
    if xp is None or not isinstance(values, np.ndarray | np.generic) or values.dtype.kind not in "biuf":
        return values
    made = xp.asarray(np.require(values, requirements=["C", "W"]), device=device(X))
    if made.dtype != getattr(xp, values.dtype.name):
        raise TypeError(
            f"Results are {values.dtype}, which {xp.__name__} has turned into {made.dtype}: radii would be rounded. Allow it "
            "64 bits (jax: jax_enable_x64), or pass NumPy arrays."
        )
    return made


def computed_in_numpy(method: Callable) -> Callable:
    """A method of an estimator that computes in NumPy, made one for arrays of any library: what it returns is ``like`` X."""

    @wraps(method)
    def wrapped(self, X, *args, **kwargs):
        rest = {name: to_host(value) for name, value in kwargs.items()}
        return like(X, method(self, to_host(X), *map(to_host, args), **rest))

    return wrapped


# -- fitted estimators -------------------------------------------------------------------------------------------------


def hosted(fitted: Any) -> Any:
    """A fitted estimator of scikit-learn with NumPy arrays where it holds arrays of other libraries; itself if it holds none.

    Fitted with ``array_api_dispatch``, scikit-learn's estimators keep their attributes in the library of X. Estimators of
    others are left alone: their arrays may be what they compute with.
    """
    if isinstance(fitted, COMMON):
        return fitted
    if namespace_of(fitted) is not None:
        return to_host(fitted)
    if type(fitted) in (list, tuple):
        parts = [hosted(part) for part in fitted]
        return fitted if all(map(_is, parts, fitted)) else type(fitted)(parts)
    if not hasattr(fitted, "__dict__") or not _is_of_sklearn(type(fitted)):
        return fitted
    other = {name: part for name, value in vars(fitted).items() if (part := hosted(value)) is not value}
    if not other:
        return fitted
    twin = copy.copy(fitted)
    vars(twin).update(other)
    return twin


def _is(one: Any, other: Any) -> bool:
    return one is other


def _is_of_sklearn(kind: type) -> bool:
    """Whether a type is, or is made of, one of scikit-learn's estimators; those of others share only its base classes."""
    bases = (base.__module__ for base in kind.__mro__)
    return any(name.startswith("sklearn.") and not name.startswith(("sklearn.base", "sklearn.utils")) for name in bases)


# -- on a GPU ----------------------------------------------------------------------------------------------------------


def on_cuda(X: Any) -> bool:
    """Whether an array is in the memory of a CUDA device."""
    return namespace_of(X) is not None and hasattr(X, "__dlpack_device__") and X.__dlpack_device__()[0] == CUDA


def has_cupy() -> bool:
    """Whether CuPy can be imported."""
    return find_spec("cupy") is not None


def to_cupy(X: Any) -> Any:
    """An array on a CUDA device as one of CuPy, in the same memory."""
    import cupy

    return cupy.from_dlpack(X.detach() if is_torch_array(X) else X)
