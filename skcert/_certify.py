"""Certifier and certify(): walk the steps, compose their effect on a perturbation, ask the geometry, check the answer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted, validate_data

from skcert._certificate import Certificate
from skcert._gmm import CertifiedGMMClassifier
from skcert.adapters import Uncertifiable, discriminant_of, perturbation_of
from skcert.boundaries import PAIR_BUDGET, AffineBoundary, EllipsoidBoundary, Nearest, QuadraticBoundary
from skcert.discriminants import Affine, NearestEllipsoid, Quadratic, batches
from skcert.geometry.rounding import grow, shrink
from skcert.perturbations import SCALE_LIMIT, AffineStep, LipschitzStep, check_norm

#: spaces, norms and feature scales whose boundaries a Certifier keeps, the oldest making room
KEPT = 8
METHODS = ("auto", "exact", "pairwise", "paper")
#: how far beyond the computed attack a class change is looked for, before it counts as not found
STRETCHES = (0.0, 1e-9, 1e-7, 5e-7, 5e-6, 5e-5, 5e-4, 5e-3, 0.05, 0.5)


@dataclass(frozen=True)
class _Route:
    """From a space to the latents: what each step does to a perturbation, and what that amounts to.

    Attributes
    ----------
    start : int
        Index of the first step on the way.
    carriers : list of AffineStep or LipschitzStep
        One per step from ``start`` on.
    begin : int
        Index of the step where ``fold`` begins: after the last Lipschitz step, else ``start``.
    factor : float or None
        Product of the constants of the steps before ``begin``; None if there are none.
    fold : AffineStep or None
        All steps from ``begin`` on.
    """

    start: int
    carriers: list[Any]
    begin: int
    factor: float | None
    fold: AffineStep | None


class Certifier:
    """Certificates for one fitted estimator, batch after batch.

    What can be computed once (eigenbases of pairs of classes, norms, folded maps) is computed at the first batch that needs it
    and kept. The fitted parameters are those at construction.

    Parameters
    ----------
    estimator : fitted classifier or Pipeline ending in one
        Classifiers: CertifiedGMMClassifier, LogisticRegression, NearestCentroid. Steps: StandardScaler, PCA, PretrainedEmbedder
        with a Lipschitz constant. More by :func:`register_discriminant`, :func:`register_perturbation`.

    Attributes
    ----------
    nbytes : int
        Bytes of the eigenbases kept so far.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skcert import CertifiedGMMClassifier, Certifier
    >>> X, y = load_iris(return_X_y=True)
    >>> certifier = Certifier(make_pipeline(StandardScaler(), CertifiedGMMClassifier()).fit(X, y))
    >>> certificate = certifier.certify(X)
    >>> bool((certificate.radius <= certificate.attack_radius).all())
    True
    """

    def __init__(self, estimator: Any):
        check_is_fitted(estimator)
        self.estimator = estimator
        if isinstance(estimator, Pipeline):
            steps = list(estimator.steps)
        else:
            steps = [(type(estimator).__name__.lower(), estimator)]
        (_, self._model), before = steps[-1], steps[:-1]
        self._steps = [(name, step) for name, step in before if step is not None and step != "passthrough"]
        # a step that does nothing still has a name, and its output is that of the steps before it
        live = [step is not None and step != "passthrough" for _, step in before]
        self._spaces = {name: int(sum(live[: n + 1])) for n, (name, _) in enumerate(before)}
        check_is_fitted(self._model)
        self._discriminant = discriminant_of(self._model)
        self._classes = np.array(self._model.classes_)
        if self._discriminant.n_classes != len(self._classes):
            raise ValueError(
                f"The rule registered for {type(self._model).__name__} returned {self._discriminant.n_classes} scores for "
                f"{len(self._classes)} classes: it must return one per class, in the order of classes_."
            )
        self._routes: dict[str, _Route] = {}
        self._boundaries: dict[Any, Any] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of the eigenbases kept so far."""
        return sum(getattr(boundary, "nbytes", 0) for boundary in self._boundaries.values())

    def certify(self, X, *, norm=2, method="auto", space="input", feature_scale=None, return_attack=False) -> Certificate:
        """Certify the predictions on X; parameters and result as in :func:`certify`."""
        norm = check_norm(norm)
        method = self._resolve(method, norm)
        route = self._route(space)
        if route.factor is not None and norm != 2:
            raise ValueError(f"Lipschitz constants are for norm=2, got norm={norm!r}: use norm=2 or a space after them.")
        if route.factor is not None and return_attack:
            raise ValueError(
                "No attack can be constructed through a step that is known by its Lipschitz constant alone: use the space "
                "after it, or return_attack=False."
            )
        if return_attack and isinstance(self._discriminant, NearestEllipsoid):
            raise ValueError('decision="nearest-ellipsoid" constructs no attack: use return_attack=False.')
        if issparse(X):
            raise TypeError("X is sparse: certificates need dense points. Pass X.toarray().")

        origin, seen = self._transform(X, route)
        latents = validate_data(self._model, seen, reset=False, dtype=[np.float64, np.float32])
        points = latents if route.fold is None else _numbers(origin)
        scale = self._scale(feature_scale, origin, points, route)
        boundary = self._boundary(space, route, norm, scale)
        method = self._auto(boundary) if method == "auto" else method
        with np.errstate(over="ignore", invalid="ignore"):  # where scores overflow nothing is known: radius 0
            nearest = self._nearest(boundary, route, origin, points, latents, method, return_attack)

        prediction = self._classes[nearest.winner]
        radius, attack_radius = nearest.radius, nearest.attack_radius
        runner_up = self._classes[nearest.runner_up]
        if not (route.fold is None and type(self._model) is CertifiedGMMClassifier and self._same_rule()):
            theirs, radius = self._check_predictions(seen, latents, nearest, prediction)
            runner_up = np.where(theirs == prediction, runner_up, prediction)
            prediction = theirs
        if route.factor is not None:
            radius, attack_radius = shrink(radius / route.factor), np.full(len(radius), np.inf)
        attack = None
        if return_attack:
            moves = nearest.attack if scale is None else nearest.attack * scale
            attack, attack_radius = self._verified(origin, moves, prediction, norm, scale, route.start)
            radius = np.minimum(radius, attack_radius)  # rounding in predict can let an attack cross a little early
        return Certificate(
            prediction,
            radius,
            runner_up,
            attack_radius,
            attack,
            norm,
            space,
            guarantee="deterministic",
            confidence=1.0,
            method=method,
        )

    # -- reading the request -----------------------------------------------------------------------------------------

    def _start(self, space: str) -> int:
        """Index of the first step whose input the perturbation can still reach."""
        if space in ("input", "latents"):
            if space in self._spaces:
                raise ValueError(f"A step is named {space!r}, which is the name of a space: rename the step.")
            return 0 if space == "input" else len(self._steps)
        if space in self._spaces:
            return self._spaces[space]
        known = ", ".join(self._spaces) or "none here"
        raise ValueError(f"space must be 'input', 'latents' or the name of a step ({known}), got {space!r}.")

    def _resolve(self, method: str, norm: float) -> str:
        if method not in METHODS:
            raise ValueError(f"method must be one of {METHODS}, got {method!r}.")
        if isinstance(self._discriminant, NearestEllipsoid):
            if method != "auto":
                raise ValueError(
                    'decision="nearest-ellipsoid" has one certificate, half the lead in distance: use method="auto", '
                    f"got {method!r}."
                )
        elif norm != 2 and method == "paper":
            raise ValueError(f'method="paper" is an l2 formula: use norm=2 or method="exact", got norm={norm!r}.')
        if norm != 2 and not isinstance(self._discriminant, Affine):
            raise ValueError(
                f"norm={norm!r} needs linear boundaries (covariance_type='tied', LogisticRegression, NearestCentroid); with "
                "one covariance per class only norm=2 is available."
            )
        return method

    def _auto(self, boundary) -> str:
        """The rule behind method="auto": a function of shapes and covariance type only."""
        if isinstance(boundary, EllipsoidBoundary):
            return "nearest-ellipsoid"
        if isinstance(boundary, QuadraticBoundary) and boundary.full_nbytes > PAIR_BUDGET:
            return "pairwise"
        return "exact"

    def _scale(self, feature_scale, origin, points, route) -> np.ndarray | None:
        """feature_scale as an array over the features of the space, checked."""
        if feature_scale is None:
            return None
        if route.factor is not None:
            raise ValueError(
                "feature_scale cannot pass a Lipschitz constant, which knows one length only: use a space after it."
            )
        d = points.shape[1]
        columns = getattr(origin, "columns", None)
        if columns is not None and hasattr(feature_scale, "index") and hasattr(feature_scale, "to_dict"):
            feature_scale = feature_scale.to_dict()  # a Series: by name, whatever its order
        if isinstance(feature_scale, Mapping):
            if columns is None:
                raise ValueError("feature_scale by name needs points with column names (a DataFrame); pass an array instead.")
            names = list(columns)
            unknown = [name for name in feature_scale if name not in names]
            if unknown:
                raise ValueError(f"feature_scale names columns that do not exist: {unknown!r}; expected some of {names!r}.")
            scale = np.array([feature_scale.get(name, 1.0) for name in names], dtype=float)
        else:
            try:
                scale = np.asarray(feature_scale, dtype=float)
            except ValueError:
                raise ValueError(
                    f"feature_scale must be an array of numbers or a dict by column, got {feature_scale!r}."
                ) from None
        if scale.shape != (d,):
            raise ValueError(f"feature_scale must have shape ({d},), one factor per feature of the space, got {scale.shape}.")
        if not (np.isfinite(scale).all() and (scale >= 0).all()):
            raise ValueError("feature_scale must be finite and not negative; 0 keeps a feature where it is.")
        moved = scale[scale > 0]
        if len(moved) and not (moved.min() > 1 / SCALE_LIMIT and moved.max() < SCALE_LIMIT):
            raise ValueError(f"feature_scale must lie between {1 / SCALE_LIMIT:g} and {SCALE_LIMIT:g}, or be 0.")
        return scale

    # -- walking the steps ---------------------------------------------------------------------------------------------

    def _route(self, space: str) -> _Route:
        """What the steps after ``space`` do to a perturbation, folded once and kept."""
        if space not in self._routes:
            start = self._start(space)
            carriers = [self._carrier(name, step) for name, step in self._steps[start:]]
            begin = max((i + 1 for i, c in enumerate(carriers) if isinstance(c, LipschitzStep)), default=0)
            factor = None
            for c in carriers[:begin]:
                factor = float(grow((factor or 1.0) * (c.constant if isinstance(c, LipschitzStep) else c.size)))
            fold = None
            for c in carriers[begin:]:
                assert isinstance(c, AffineStep)  # begin lies after the last Lipschitz step
                fold = c if fold is None else fold.then(c)
            self._routes[space] = _Route(start, carriers, start + begin, factor, fold)
        return self._routes[space]

    def _transform(self, X, route: _Route):
        """X as it is where the route's fold begins, and as the classifier sees it."""
        origin = current = X
        for position, (_, step) in enumerate(self._steps):
            before, current = current, _transformed(step, current)
            if position + 1 == route.begin:
                origin = current
            if route.start <= position < route.begin:
                self._check_step(position, route.carriers[position - route.start], before, current)
        return origin, current

    def _check_folded(self, origin, route: _Route) -> None:
        """The fold has differed from what the pipeline did: name the step."""
        current = origin
        for position in range(route.begin, len(self._steps)):
            before, current = current, _transformed(self._steps[position][1], current)
            self._check_step(position, route.carriers[position - route.start], before, current)

    def _carrier(self, name: str, step: Any) -> AffineStep | LipschitzStep:
        try:
            return perturbation_of(step)
        except Uncertifiable as reason:
            raise Uncertifiable(
                f"The step {name!r} cannot be certified. {reason} Or certify its output: space={name!r} (the output of that "
                "step), space='latents' (what the classifier sees)."
            ) from None

    def _check_step(self, position: int, carrier, before, after) -> None:
        """An affine rule must be the step's own transform on the points given."""
        if not isinstance(carrier, AffineStep):
            return
        before, after = _numbers(before), _numbers(after)
        for rows in batches(len(before), 16 * before.shape[1]):
            if not carrier.agrees(before[rows], carrier.apply(before[rows]), after[rows]):
                name, step = self._steps[position]
                raise ValueError(
                    f"The step {name!r} ({type(step).__name__}) does not transform these points as its fitted parameters say: "
                    "its transform differs from the folded map. Was it changed or overridden? Register its rule with "
                    "skcert.register_perturbation, or certify the space after it."
                )

    def _boundary(self, space: str, route: _Route, norm: float, scale: np.ndarray | None):
        key = (space, norm, None if scale is None else scale.tobytes())
        if key not in self._boundaries:
            while len(self._boundaries) >= KEPT:
                self._boundaries.pop(next(iter(self._boundaries)))
            step = route.fold
            if scale is not None:
                step = AffineStep.scaling(scale) if step is None else step.stretched(scale)
            d = self._discriminant
            if isinstance(d, Affine):
                self._boundaries[key] = AffineBoundary(d, step, norm)
            elif isinstance(d, Quadratic):
                self._boundaries[key] = QuadraticBoundary(d, step)
            else:
                self._boundaries[key] = EllipsoidBoundary(d, step)
        return self._boundaries[key]

    def _nearest(self, boundary, route: _Route, origin, points, latents, method: str, attack: bool) -> Nearest:
        """Distances at the folded images of the points, which must be what the pipeline's own steps made of them."""
        if route.fold is None:
            return boundary.nearest(latents, method=method, attack=attack)
        parts = []
        for rows in batches(len(points), 8 * (points.shape[1] + 2 * latents.shape[1])):
            Z = route.fold.apply(points[rows])
            if not route.fold.agrees(points[rows], Z, latents[rows]):
                self._check_folded(origin, route)
            parts.append(boundary.nearest(Z, route.fold.error(points[rows]), method=method, attack=attack))
        return Nearest.concatenate(parts)

    # -- checking the answer -------------------------------------------------------------------------------------------

    def _same_rule(self) -> bool:
        """Whether the model still predicts with the very discriminant certified: then there is nothing to compare."""
        return self._model._discriminant is self._discriminant

    def _check_predictions(self, seen, latents, nearest: Nearest, ours):
        """The discriminant must decide as the estimator's own predict, except at ties, which get radius 0."""
        theirs = self._model.predict(seen)
        differ = np.flatnonzero(ours != theirs)
        radius = nearest.radius
        if not len(differ):
            return theirs, radius
        codes = np.searchsorted(self._classes, theirs[differ])
        scores = self._discriminant.scores(latents[differ])
        at = np.arange(len(differ))
        short = scores[at, nearest.winner[differ]] - scores[at, codes]
        single = np.float32 in (latents.dtype, getattr(getattr(self._model, "coef_", None), "dtype", None))
        size = np.where(np.isfinite(scores), np.abs(scores), 0).max(axis=1) + np.abs(latents[differ]).max(axis=1) ** 2
        if not (short <= (1e-3 if single else 1e-9) * size).all():
            raise ValueError(
                f"{type(self._model).__name__}.predict decides otherwise than its fitted parameters say on {len(differ)} of "
                f"{len(ours)} points (row {differ[short.argmax()]} first by margin). Was it changed or overridden? Register "
                "its rule with skcert.register_discriminant."
            )
        radius = radius.copy()
        radius[differ] = 0.0
        return theirs, radius

    def _predict_from(self, points, start: int) -> np.ndarray:
        if start == 0:
            return self.estimator.predict(points)
        for _, step in self._steps[start:]:
            points = _transformed(step, points)
        return self._model.predict(points)

    def _verified(self, origin, moves, prediction, norm, scale, start):
        """Attack points in the type of ``origin``, each lengthened by as little as makes ``predict`` change."""
        base = np.asarray(origin)
        dtype = base.dtype if base.dtype in (np.float32, np.float64) else np.dtype(float)
        base = base.astype(float)
        attack = np.full(base.shape, np.nan, dtype=dtype)
        pending = np.flatnonzero(np.isfinite(moves).all(axis=1))
        for stretch in STRETCHES:
            if not len(pending):
                break
            trial = (base[pending] + moves[pending] * (1 + stretch)).astype(dtype)
            changed = self._predict_from(_like(origin, trial, pending), start) != prediction[pending]
            attack[pending[changed]] = trial[changed]
            pending = pending[~changed]
        with np.errstate(invalid="ignore", divide="ignore"):
            moved = attack.astype(float) - base
            if scale is not None:
                moved = np.where(scale > 0, moved / np.where(scale > 0, scale, 1), 0)
        lengths = np.linalg.norm(moved, ord=norm, axis=1)
        lengths = np.where(np.isnan(lengths), np.inf, grow(lengths, moved.shape[1] + 4))
        return _like(origin, attack, np.arange(len(attack))), lengths


def _transformed(step: Any, X: Any) -> Any:
    """step.transform(X), on a copy where the step would write into X."""
    return step.transform(copy.copy(X) if getattr(step, "copy", True) is False else X)


def _numbers(X) -> np.ndarray:
    """Points as a 2-D float array."""
    X = np.asarray(X)
    return X if X.dtype in (np.float32, np.float64) else X.astype(float)


def _like(origin, values: np.ndarray, rows: np.ndarray):
    """``values`` with the container, columns and index of the rows of ``origin``."""
    if not hasattr(origin, "columns"):
        return values
    if hasattr(origin, "iloc"):
        return type(origin)(values, columns=origin.columns, index=origin.index[rows])
    return type(origin)(values, schema=list(origin.columns))


def certify(estimator, X, *, norm=2, method="auto", space="input", feature_scale=None, return_attack=False) -> Certificate:
    """How far each row of X may move before the prediction of a fitted estimator can change.

    Parameters
    ----------
    estimator : fitted classifier or Pipeline ending in one
        See :class:`Certifier`.
    X : array-like of shape (n_samples, n_features)
        Points as the estimator's ``predict`` takes them.
    norm : {1, 2, numpy.inf}, default=2
        l_p norm of the perturbation. With one covariance per class only 2.
    method : {"auto", "exact", "pairwise", "paper"}, default="auto"
        "exact": the distance to the nearest boundary (theory 1.3, 1.4). "pairwise": a closed-form lower bound, rival by rival
        (theory 1.2). "paper": Theorem 4.1 of arXiv 2605.25352 (theory 1.1). "auto": "exact", unless the eigenbases of all
        pairs of classes would need more than 1 GiB (K (K-1) / 2 * d^2 * 8 bytes): then "pairwise".
    space : str, default="input"
        Where the perturbation acts: "input" (the units of X), the name of a step (its output), or "latents" (what the
        classifier sees).
    feature_scale : array-like of shape (n_features,) or dict by column, default=None
        The perturbation u is measured as ``||u / feature_scale||``; 0 keeps a feature where it is. Columns a dict does not
        name have 1.
    return_attack : bool, default=False
        Also return, for each row, a point at ``attack_radius`` that is predicted differently.

    Returns
    -------
    Certificate

    Raises
    ------
    skcert.Uncertifiable
        A step or classifier has no rule; the message names it and the remedies.
    ValueError
        Unknown norm, method or space; or a step or classifier that does not behave on X as its parameters say.

    References
    ----------
    theory 1.1 to 1.4, 1.7, 2.1, 2.2.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skcert import certify
    >>> X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    >>> model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01)).fit(X, y)
    >>> certificate = certify(model, X, feature_scale=X.std())     # radii in standard deviations
    >>> certificate.certified_accuracy(y, [0, 0.5, 1]).round(2)
    array([0.95, 0.93, 0.88])
    """
    return Certifier(estimator).certify(
        X, norm=norm, method=method, space=space, feature_scale=feature_scale, return_attack=return_attack
    )
