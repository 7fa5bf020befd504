"""What a call of certify asks for, and whether it can be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skcert._points import Points
from skcert.backends.arrays import to_host
from skcert.discriminants import LogSumExp, NearestEllipsoid
from skcert.perturbations import SCALE_LIMIT, Link

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


def scale_of(feature_scale, points: Points) -> tuple[np.ndarray, np.ndarray]:
    """feature_scale as an array over the columns of the space, checked, and which columns it names."""
    d, names = len(points.numeric), points.names
    if feature_scale is None:
        return np.ones(d), np.zeros(d, dtype=bool)
    if names is not None and hasattr(feature_scale, "index") and hasattr(feature_scale, "to_dict"):
        if not feature_scale.index.is_unique:
            raise ValueError("feature_scale has a scale for some columns more than once: give each its own.")
        feature_scale = feature_scale.to_dict()  # a Series: by name, whatever its order
    if isinstance(feature_scale, Mapping):
        if names is None:
            raise ValueError("feature_scale by name needs points with column names (a DataFrame); pass an array instead.")
        unknown = [name for name in feature_scale if name not in names]
        if unknown:
            raise ValueError(f"feature_scale names columns that do not exist: {unknown!r}; expected some of {names!r}.")
        asked = np.array([name in feature_scale for name in names], dtype=bool)
        feature_scale = [feature_scale.get(name, 1.0) for name in names]
    else:
        asked = np.ones(d, dtype=bool)
    try:
        scale = np.asarray(to_host(feature_scale), dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"feature_scale must be an array of numbers or a dict by column, got {feature_scale!r}.") from None
    if scale.shape != (d,):
        raise ValueError(f"feature_scale must have shape ({d},), one factor per feature of the space, got {scale.shape}.")
    if not (np.isfinite(scale).all() and (scale >= 0).all()):
        raise ValueError("feature_scale must be finite and not negative; 0 keeps a feature where it is.")
    moved = scale[scale > 0]
    if len(moved) and not (moved.min() > 1 / SCALE_LIMIT and moved.max() < SCALE_LIMIT):
        raise ValueError(f"feature_scale must lie between {1 / SCALE_LIMIT:g} and {SCALE_LIMIT:g}, or be 0.")
    return scale, asked
