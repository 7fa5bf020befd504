"""Which way votes of an estimator are counted: by what its steps are known to do, else by ``predict``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, column_or_1d

from skcert._embedder import PretrainedEmbedder
from skcert._points import Points, own_copy
from skcert.adapters import Uncertifiable, discriminant_of
from skcert.adapters.composites import is_nothing, link, unrolled
from skcert.discriminants import Affine
from skcert.embedding.running import ready
from skcert.embedding.torch_modules import torch_module
from skcert.perturbations import AffineStep
from skcert.routes import Route
from skcert.smoothing.votes import ByEncoder, ByPredict, ByScores, Voter, noise_factor


@contextmanager
def voters(
    estimator: Any, classes: np.ndarray, X: Any, *, sigma: float, seed: int, batch_size: int | str, device: Any
) -> Iterator[list[tuple[np.ndarray, Voter]]]:
    """Rows of X and who counts their votes, for the time of the block.

    Known steps and rules are used only where, without noise, they answer as ``predict`` does. That is asked row by row, so that
    nothing depends on what stands beside a point.

    Parameters
    ----------
    estimator : fitted classifier or Pipeline
    classes : ndarray
        Its labels, sorted.
    X : array or frame
    sigma : float
    seed : int
    batch_size : int or "auto"
    device : "auto" or a torch device
        For a torch encoder.
    """
    predicted = column_or_1d(estimator.predict(own_copy(X)))  # it also checks X
    points = Points.of(X)
    if not points.numeric.any():
        raise ValueError(
            "X has no column of numbers, so there is nothing to add noise to: numbers in an array or column of text are text."
        )
    if len(predicted) != len(points.values):
        raise ValueError(f"predict returned {len(predicted)} labels for {len(points.values)} points.")
    settings: dict[str, Any] = {"sigma": sigma, "seed": seed, "batch_size": batch_size}
    with ExitStack() as stack:
        everything = np.arange(len(predicted))
        groups: list[tuple[np.ndarray, Voter]] = []
        rows = everything[~np.isnan(points.values).any(axis=1)]
        while len(rows):  # again without those that are answered otherwise
            fast, answers = _known(estimator, _some(X, points, rows), device, settings, stack)
            if fast is None:
                rows = rows[:0]
                break
            alike = classes[answers] == predicted[rows]
            if alike.all():
                groups.append((rows, fast))
                break
            rows = rows[alike]
        others = np.setdiff1d(everything, rows)
        if len(others):
            predict = _voting(estimator, device).predict
            groups.append((others, ByPredict(predict, classes, _some(X, points, others), **settings)))
        yield groups


def _some(X: Any, points: Points, rows: np.ndarray) -> Points:
    return points if len(rows) == len(points.values) else Points.of(_safe_indexing(X, rows, axis=0))


def _voting(estimator: Any, device: Any) -> Any:
    """The estimator as it predicts thousands of times: without cache and bars, its encoder on this device."""
    if not hasattr(estimator, "__dict__"):
        return estimator
    if type(estimator) is FrozenEstimator:
        return _voting(estimator.estimator, device)
    if isinstance(estimator, Pipeline):
        changed = copy.copy(estimator)
        changed.steps = [(name, _voting(step, device)) for name, step in estimator.steps]
        return changed
    for parts in ("transformer_list", "transformers_"):  # FeatureUnion, ColumnTransformer
        if parts in vars(estimator):
            changed = copy.copy(estimator)
            setattr(changed, parts, [(name, _voting(step, device), *rest) for name, step, *rest in vars(estimator)[parts]])
            return changed
    if "best_estimator_" in vars(estimator):
        changed = copy.copy(estimator)
        changed.best_estimator_ = _voting(estimator.best_estimator_, device)
        return changed
    if type(estimator) is not PretrainedEmbedder:
        return estimator
    changed = copy.copy(estimator)
    changed.memory, changed.progress = None, False
    changed.device = estimator.device if str(device) == "auto" else device
    return changed


def _known(estimator, points: Points, device, settings, stack: ExitStack) -> tuple[Voter | None, np.ndarray]:
    """Who counts by what is known of the steps, and what it answers without noise; None where too little is known."""
    nobody = None, np.zeros(0, dtype=np.intp)
    encoder = None
    try:
        *before, (_, model) = unrolled(estimator, "")
        steps = [(name, step) for name, step in before if not is_nothing(step)]
        encoder = steps[0][1] if steps and _is_torch(steps[0][1]) else None
        rule = discriminant_of(model)
        links = tuple(link(name, step) for name, step in steps[encoder is not None :])
    except Uncertifiable:
        _check_device(device, encoder)
        return nobody
    _check_device(device, encoder)
    replaced = any({"predict", "transform", "decision_function"} & set(vars(each)) for each in (model, *(s for _, s in steps)))
    if not points.numeric.all() or replaced:
        return nobody
    width = points.values.shape[1] if encoder is None else encoder.n_features_out_
    fold = _fold(links, width, points.names if encoder is None else None)
    if fold is None:
        return nobody
    if encoder is not None:
        return _on_device(encoder, fold, rule, points, device, settings, stack) if isinstance(rule, Affine) else nobody
    sigma, seed, batch_size = settings["sigma"], settings["seed"], settings["batch_size"]
    latents = fold.apply(points.values)
    matrix = fold.matrix
    decide: Callable[[np.ndarray], np.ndarray]
    if isinstance(rule, Affine):
        slopes = rule.coef * matrix if matrix.ndim == 1 else rule.coef @ matrix
        center, factor, decide = rule.scores(latents), sigma * noise_factor(slopes), _first
    else:
        center, factor, decide = latents, sigma * noise_factor(matrix), rule.winners
    return ByScores(points.values, center, factor, decide, rule.n_classes, sigma, seed, batch_size), decide(center)


def _first(scores: np.ndarray) -> np.ndarray:
    return scores.argmax(axis=1)


def _fold(links, width: int, names: list | None) -> AffineStep | None:
    """All steps in one, if they are affine."""
    try:
        route = Route.along(links, np.zeros(width, dtype=bool), names)
    except Uncertifiable:
        return None
    if route.bends or route.n_constants or route.frozen.any():
        return None
    last = route.pieces[-1]
    return AffineStep.scaling(np.ones(width)) if last is None else last


# -- encoders ----------------------------------------------------------------------------------------------------------


def _is_torch(step: Any) -> bool:
    return type(step) is PretrainedEmbedder and step.smoothing is None and torch_module(step.encoder) is not None


def _check_device(device: Any, encoder: Any) -> None:
    if str(device) != "auto" and encoder is None:
        raise ValueError(
            f"device={str(device)!r} is where a torch encoder runs, and this estimator does not begin with one: use 'auto'."
        )


def _on_device(encoder, fold: AffineStep, rule: Affine, points: Points, device, settings, stack: ExitStack):
    """Noise, encoder and scores on the device of a torch encoder."""
    shape = points.values.shape if points.names is not None else points.origin.shape
    images = encoder._as_batchable(points.values.reshape(shape))
    where, run = stack.enter_context(
        ready(
            encoder.encoder,
            device=encoder.device if str(device) == "auto" else device,
            output=encoder.output,
            precision=encoder.precision,
            preprocess=encoder.preprocess,
        )
    )
    slopes = rule.coef * fold.matrix if fold.matrix.ndim == 1 else rule.coef @ fold.matrix
    start = fold.apply(np.zeros((1, fold.n_inputs)))
    if settings["batch_size"] == "auto" and encoder.batch_size != "auto":
        settings = {**settings, "batch_size": encoder.batch_size}
    voter = ByEncoder(points.values, images, run, where, slopes, rule.scores(start)[0], **settings)
    return voter, voter.answers()
