"""Estimators made of estimators: what stands inside them, and how parts side by side carry a perturbation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from skcert._fitted import float_types, may_write
from skcert._points import transformed
from skcert._shaper import CertifiedMarginClassifier
from skcert.adapters import Uncertifiable, inherits, perturbation_of, register_perturbation
from skcert.backends.arrays import hosted
from skcert.perturbations import Branch, Carrier, Link, ParallelStep


def _is_search(estimator: Any) -> bool:
    """Whether an estimator is one of scikit-learn's searches; the halving ones are experimental and known by their module."""
    if type(estimator).__module__.startswith("sklearn.model_selection._search"):
        return hasattr(estimator, "refit")
    return any(isinstance(estimator, search) and inherits(estimator, search) for search in (GridSearchCV, RandomizedSearchCV))


def _check_own(estimator: Any) -> None:
    """An estimator that is looked into must do what its class does."""
    replaced = sorted({"predict", "transform", "decision_function"} & set(vars(estimator)))
    if replaced:
        raise Uncertifiable(
            f"A {type(estimator).__name__} whose {', '.join(replaced)} has been replaced on the instance is not looked into: "
            "what stands inside it says nothing about what it does."
        )


def unwrapped(estimator: Any) -> Any:
    """What a search or a FrozenEstimator predicts and transforms with."""
    while True:
        if _is_search(estimator):
            _check_own(estimator)
            if not hasattr(estimator, "best_estimator_"):
                raise Uncertifiable(
                    f"{type(estimator).__name__}(refit=False) has no best_estimator_ to certify: use refit=True, or fit one "
                    "with best_params_."
                )
            estimator = estimator.best_estimator_
        elif type(estimator) is FrozenEstimator:
            _check_own(estimator)
            estimator = estimator.estimator
        else:
            return estimator


def is_nothing(step: Any) -> bool:
    """Whether a step of a pipeline is only a name."""
    return step is None or (isinstance(step, str) and step == "passthrough")


def unrolled(estimator: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Steps one after the other, with those of inner pipelines, and of networks with a head, as ``outer__inner``."""
    estimator = unwrapped(estimator)
    if isinstance(estimator, Pipeline) and inherits(estimator, Pipeline):
        steps = estimator.steps
    elif isinstance(estimator, CertifiedMarginClassifier) and inherits(estimator, CertifiedMarginClassifier):
        steps = [("shaper", estimator.shaper_), ("head", estimator.head_)]
    else:
        yield name, estimator
        return
    _check_own(estimator)
    for inner, step in steps:
        yield from unrolled(step, f"{name}__{inner}" if name else inner)


def link(name: str, step: Any) -> Link:
    """A step with what it does to a perturbation; what it was fitted on may have been arrays of another library."""
    step = hosted(step)
    try:
        carriers = perturbation_of(step)
    except AttributeError:  # as of what fitting sets
        _check_fitted(name, step)
        raise
    carriers = carriers if isinstance(carriers, tuple) else (carriers,)
    known = type(step).__module__.startswith(("sklearn.", "skcert."))
    return Link(name, carriers, partial(transformed, step), float_types(step), known, may_write(step))


def _check_fitted(name: str, step: Any) -> None:
    """NotFittedError that names a step which is not fitted."""
    try:
        check_is_fitted(step)
    except NotFittedError:
        raise NotFittedError(
            f"The step {name!r} ({type(step).__name__}) is not fitted: fit the whole pipeline, or put a fitted step there."
        ) from None


def chain(estimator: Any) -> tuple[Link, ...]:
    """A transformer, or a pipeline of them, as links."""
    return tuple(link(name, step) for name, step in unrolled(estimator, "") if not is_nothing(step))


def _branch(name: str, part: Any, weight: float | None, columns=None, labels=None) -> Branch:
    try:
        links = chain(part)
    except Uncertifiable as reason:
        raise Uncertifiable(f"In its part {name!r}: {reason}") from None
    return Branch(name, columns, labels, links, 1.0 if weight is None else float(weight))


def _everything(X: Any, branch: Branch) -> Any:
    return X


def feature_union(step: FeatureUnion) -> Carrier:
    """All parts see all columns; their outputs stand side by side, each times its weight."""
    weights = step.transformer_weights or {}
    parts = [(name, part) for name, part in step.transformer_list if not (isinstance(part, str) and part == "drop")]
    return ParallelStep(tuple(_branch(name, part, weights.get(name)) for name, part in parts), _everything)


def _positions(columns: Any, n: int, names: list | None) -> np.ndarray:
    """Positions of columns given by position, name, slice or mask."""
    if callable(columns):
        raise Uncertifiable("Columns chosen by a function have not been resolved: fit the ColumnTransformer.")
    if isinstance(columns, slice) and any(isinstance(end, str) for end in (columns.start, columns.stop)):
        assert names is not None
        first = 0 if columns.start is None else names.index(columns.start)
        last = n if columns.stop is None else names.index(columns.stop) + 1  # by name, the end belongs to it
        return np.arange(n)[first : last : columns.step]
    if isinstance(columns, slice):
        return np.arange(n)[columns]
    columns = np.atleast_1d(np.asarray(columns))
    if columns.dtype.kind in "UO" and len(columns) and isinstance(columns[0], str):
        assert names is not None
        return np.array([names.index(column) for column in columns], dtype=int)
    return np.arange(n)[columns if len(columns) else np.zeros(0, dtype=int)]


def _selected(X: Any, branch: Branch) -> Any:
    by_name = branch.labels is not None and hasattr(X, "columns")
    return _safe_indexing(X, branch.labels if by_name else branch.columns, axis=1)


def column_transformer(step: ColumnTransformer) -> Carrier:
    """Every part sees columns of its own: by name where it was fitted on a frame and sees one, by position otherwise."""
    n, weights = step.n_features_in_, step.transformer_weights or {}
    names = list(step.feature_names_in_) if hasattr(step, "feature_names_in_") else None
    branches = []
    for name, part, columns in step.transformers_:
        if isinstance(part, str) and part == "drop":
            continue
        at = _positions(columns, n, names)
        if len(at):
            labels = None if names is None else [names[c] for c in at]
            branches.append(_branch(name, part, weights.get(name), at, labels))
    return ParallelStep(tuple(branches), _selected)


register_perturbation(ColumnTransformer, column_transformer)
register_perturbation(FeatureUnion, feature_union)
