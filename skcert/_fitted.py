"""What fitted estimators hold: other estimators, arrays of some types, and whether it still is what it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.sparse import issparse

from skcert.backends.arrays import namespace_of, to_host
from skcert.geometry.rounding import UNITS

#: types of attributes in which no estimator is looked for
PLAIN = (np.ndarray, str, int, float, bool, type(None))
#: parameters that say how to work, not what to do
MANNERS = ("n_jobs", "verbose")


def parts_of(estimator: Any) -> Iterator[Any]:
    """An estimator and all estimators that it holds, fitted or not, however deep."""
    pending, seen = [estimator], {id(estimator)}
    while pending:
        part = pending.pop()
        yield part
        for value in vars(part).values() if hasattr(part, "__dict__") else ():
            for held in _held(value):
                if id(held) not in seen:
                    seen.add(id(held))
                    pending.append(held)


def _held(value: Any) -> Iterator[Any]:
    """Estimators in a value, which may be a list, a tuple or a dict of them."""
    if type(value) in PLAIN:
        return
    if type(value) in (list, tuple):
        for each in value:
            yield from _held(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _held(each)
    elif not isinstance(value, type) and (hasattr(value, "get_params") or _is_own(value)):
        yield value


def _is_own(value: Any) -> bool:
    """Whether an object is of a class of scikit-learn's or ours."""
    return type(value).__module__.startswith(("sklearn.", "skcert."))


def float_types(estimator: Any) -> tuple[np.dtype, ...]:
    """The types of floating-point numbers that an estimator holds in arrays."""
    kinds = {getattr(value, "dtype", None) for value in vars(estimator).values()} if hasattr(estimator, "__dict__") else set()
    return tuple(kind for kind in UNITS if kind in kinds)


def may_write(estimator: Any) -> bool:
    """Whether an estimator, or one that it holds, may write into what it is given: copy=False, or somebody else's code."""
    return any(getattr(part, "copy", True) is False or not _is_own(part) for part in parts_of(estimator))


# -- changes -----------------------------------------------------------------------------------------------------------


class Snapshot:
    """What an estimator, and those that it holds, were fitted to and set to at one time.

    Arrays, numbers and text are compared, to the last bit; of objects of other kinds only estimators are looked into.

    Parameters
    ----------
    estimator : object
    """

    def __init__(self, estimator: Any):
        self._estimator = estimator
        self._parts = [(part, _state(part)) for part in parts_of(estimator)]

    def change(self) -> str | None:
        """What is not what it was, for example 'LogisticRegression.coef_'; None if nothing has changed."""
        now = list(parts_of(self._estimator))
        if len(now) != len(self._parts):
            return f"{type(self._estimator).__name__}, which holds other estimators now"
        for part, (before, held) in zip(now, self._parts, strict=True):
            if part is not before:
                return f"{type(self._estimator).__name__}, which holds another {type(part).__name__} now"
            found = _state(part)
            if found != held:
                names = sorted(name for name in found.keys() | held.keys() if found.get(name) != held.get(name))
                return f"{type(part).__name__}.{names[0]}"
        return None


def _state(estimator: Any) -> dict[str, Any]:
    """Attributes that can be compared; of classes of others only what is fitted, as they may count what they do."""
    values = vars(estimator) if hasattr(estimator, "__dict__") else {}
    names = values if _is_own(estimator) else [name for name in values if name.endswith("_") and not name.startswith("_")]
    return {name: found for name in names if name not in MANNERS and (found := _comparable(values[name])) is not None}


def _comparable(value: Any) -> Any:
    """A value of which a later one can be told apart, or None."""
    if isinstance(value, np.ndarray) and value.dtype == object:  # names of columns: the same ones in a copy are other objects
        return repr(value.tolist())
    if isinstance(value, np.ndarray):
        return value.tobytes(), value.shape, value.dtype.str
    if isinstance(value, str | int | float | np.generic):  # not compared as numbers: NaN is no other than NaN
        return repr(value)
    if type(value) in (list, tuple):
        return tuple(map(_comparable, value))
    if issparse(value):
        return value.format, *map(_comparable, vars(value.tocoo()).values())
    return _comparable(np.asarray(to_host(value))) if namespace_of(value) is not None else None
