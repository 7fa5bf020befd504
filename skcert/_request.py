"""What a call of certify asks for, and whether it can be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from skcert._points import Points
from skcert.backends.arrays import to_host
from skcert.discriminants import LogSumExp, NearestEllipsoid
from skcert.perturbations import SCALE_LIMIT, Link, Uncertifiable

METHODS = ("auto", "exact", "pairwise", "paper")


@dataclass(frozen=True)
class Request:
    """What a call of certify asks for."""

    norm: float
    method: str
    space: str
    start: int
    links: tuple[Link, ...]
    feature_scale: Any
    attack: bool
    gpu: bool


def check_classifier(estimator: Any) -> None:
    """Uncertifiable for what is no classifier and does not end in one, NotFittedError for one that is not fitted."""
    expected = "Expected a fitted classifier, or a Pipeline that ends in one"
    if isinstance(estimator, type):
        raise Uncertifiable(f"{expected}; got the class {estimator.__name__}: pass a fitted instance of it.")
    if not hasattr(estimator, "fit"):
        raise Uncertifiable(f"{expected}; got {_name(estimator)}, which has no fit. The estimator goes before the points.")
    if not hasattr(estimator, "classes_") and (kind := _kind(estimator)) != "classifier":
        steps = getattr(estimator, "steps", None)
        got = f"a Pipeline that ends in {_name(steps[-1][1])}" if steps else _name(estimator)
        kind = "which is no classifier" if kind is None else f"a {kind}".replace("_", " ").replace("a o", "an o")
        raise Uncertifiable(
            f"{expected}; got {got}, {kind}. A radius is about a predicted class: fit a classifier, or end the Pipeline in one."
        )
    check_is_fitted(estimator)


def _kind(estimator: Any) -> str | None:
    """What scikit-learn calls an estimator; None for what has no such name."""
    try:
        return get_tags(estimator).estimator_type
    except (AttributeError, IndexError, TypeError, ValueError):
        return None


def _name(estimator: Any) -> str:
    return repr(estimator) if estimator is None or isinstance(estimator, str) else type(estimator).__name__


def classes_of(model: Any) -> np.ndarray:
    """The labels of a fitted classifier of one output; Uncertifiable for others."""
    classes: Any = getattr(model, "classes_", None)
    several = isinstance(classes, list) or "multilabel" in getattr(getattr(model, "_label_binarizer", None), "y_type_", "")
    if several or np.ndim(classes) != 1:
        found = "predicts several outputs at once" if several else "has no classes_ of shape (n_classes,)"
        raise Uncertifiable(
            f"{type(model).__name__} {found}: a radius is about one predicted class. Certify one classifier for each output."
        )
    return np.array(to_host(classes))


def check_method(method: str, norm: float, rule: Any) -> None:
    """Raise where a rule has no certificate of this method; the rule is None for votes."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}.")
    if isinstance(rule, NearestEllipsoid):
        if method != "auto":
            raise ValueError(
                'decision="nearest-ellipsoid" has one certificate, half the lead in distance: use method="auto", '
                f"got {method!r}."
            )
    elif rule is None and method != "auto":
        raise ValueError(f'A smoothed classifier is certified by its votes alone: use method="auto", got {method!r}.')
    elif isinstance(rule, LogSumExp) and method == "paper":
        raise ValueError('method="paper" is for one component per class: use method="exact" or "pairwise".')
    elif norm != 2 and method == "paper":
        raise ValueError(f'method="paper" is an l2 formula: use norm=2 or method="exact", got norm={norm!r}.')


def labelled(feature_scale: Any, names: list | None = None) -> dict | None:
    """Scales by label, where each has one: of a dict, a Series, a frame of one row; None where they only have an order.

    A Series with the labels 0, 1, 2, ... in this order is that of an array, unless columns have such names.
    """
    if isinstance(feature_scale, Mapping):
        return dict(feature_scale)
    if hasattr(feature_scale, "coords") and hasattr(feature_scale, "to_series"):  # of xarray
        feature_scale = feature_scale.to_series()
    if hasattr(feature_scale, "columns"):
        labels, scales = list(feature_scale.columns), np.asarray(feature_scale)
        if scales.shape != (1, len(labels)):
            raise ValueError(f"feature_scale is a frame of shape {scales.shape}: expected one row, a scale for each column.")
        scales = scales[0]
    elif hasattr(feature_scale, "index") and hasattr(feature_scale, "to_dict"):
        labels, scales = list(feature_scale.index), np.asarray(feature_scale)
        if labels and labels == list(range(len(labels))) and not set(labels) & set(names or ()):
            return None
    else:
        return None
    if len(set(labels)) < len(labels):
        raise ValueError("feature_scale has a scale for some columns more than once: give each its own.")
    return dict(zip(labels, scales.tolist(), strict=True))


def same_scale(one: Any, other: Any) -> bool:
    """Whether two feature scales are the same by value, whatever holds them."""
    if one is None or other is None:
        return one is other
    first, second = labelled(one), labelled(other)
    if first is not None or second is not None:
        return first == second
    return np.array_equal(np.asarray(to_host(one)), np.asarray(to_host(other)))


def _by_name(scales: dict, names: list) -> tuple[list, np.ndarray]:
    """Scales in the order of the columns of a frame, and which of them are named; the others are 1."""
    unknown = [name for name in scales if name not in names]
    if unknown:
        raise ValueError(f"feature_scale names columns that do not exist: {unknown!r}; expected some of {names!r}.")
    twice = list(dict.fromkeys(name for name in names if name in scales and names.count(name) > 1))
    if twice:
        raise ValueError(
            f"feature_scale goes by name, and X has several columns named {twice!r}: rename them, or pass an array with one "
            "scale for each column."
        )
    return [scales.get(name, 1.0) for name in names], np.array([name in scales for name in names], dtype=bool)


def scale_of(feature_scale, points: Points) -> tuple[np.ndarray, np.ndarray]:
    """feature_scale as an array over the columns of the space, checked, and which columns it names."""
    d, names = len(points.numeric), points.names
    if feature_scale is None:
        return np.ones(d), np.zeros(d, dtype=bool)
    scales, asked = labelled(feature_scale, names), np.ones(d, dtype=bool)
    if scales is not None:
        kind = type(feature_scale).__name__
        if names is None:
            raise ValueError(
                f"feature_scale is a {kind}, whose entries have labels, and needs points with column names: pass a DataFrame, "
                'and for a space after a step call set_output(transform="pandas") of the pipeline; or pass an array in the '
                "order of the columns (of a Series: its .to_numpy())."
            )
        if not scales and not isinstance(feature_scale, Mapping):
            raise ValueError(f"feature_scale is a {kind} without entries: give each column of {names!r} a scale.")
        feature_scale, asked = _by_name(scales, names)
    try:
        scale = np.asarray(to_host(feature_scale), dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"feature_scale must be an array of numbers or a dict by column, got {feature_scale!r}.") from None
    if scale.shape != (d,):
        raise ValueError(f"feature_scale must have shape ({d},), one factor per feature of the space, got {scale.shape}.")
    _check_scale(np.isfinite(scale) & (scale >= 0), "be finite and not negative, 0 where a feature stays", scale, names)
    possible = (scale == 0) | ((scale > 1 / SCALE_LIMIT) & (scale < SCALE_LIMIT))
    _check_scale(possible, f"lie between {1 / SCALE_LIMIT:g} and {SCALE_LIMIT:g}, or be 0", scale, names)
    return scale, asked


def _check_scale(possible: np.ndarray, expected: str, scale: np.ndarray, names: list | None) -> None:
    """ValueError that names the first column whose scale is not possible."""
    if not possible.all():
        at = int(possible.argmin())
        raise ValueError(f"feature_scale must {expected}; got {scale[at]:g} for column {names[at] if names else at!r}.")
