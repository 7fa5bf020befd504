"""Certifier and certify(): walk the steps, compose their effect on a perturbation, ask the geometry, check the answer."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn import config_context
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted, validate_data

from skcert._certificate import Certificate
from skcert._estimate import estimate
from skcert._explanation import Origin
from skcert._fitted import Snapshot
from skcert._gmm import CertifiedGMMClassifier
from skcert._passages import Passages, boundary_of, units_of, widest_unit
from skcert._points import (
    Points,
    check_names,
    check_rows,
    conversion,
    dispatched,
    floats,
    index_of,
    is_mapped,
    listed,
    numbers,
    predicted,
    release,
    transformed,
    type_of,
    types_of,
)
from skcert._progress import bar, shown
from skcert._request import Request, check_classifier, check_method, classes_of, scale_of
from skcert._smoothing import RandomizedSmoothingClassifier
from skcert.adapters import Uncertifiable, discriminant_of, inherits
from skcert.adapters.composites import is_nothing, link, unrolled
from skcert.adapters.models import compares_own_scores, unit_of_scores
from skcert.backends.arrays import has_cupy, hosted, like, namespace_of, on_cuda, to_cupy, to_host
from skcert.boundaries import AffineBoundary, Nearest
from skcert.discriminants import Affine, NearestEllipsoid, batches
from skcert.geometry.products import LARGE, alike, one_thread
from skcert.geometry.rounding import UNIT, grow, type_with
from skcert.perturbations import AffineStep, EstimatedStep, Link, LipschitzStep, check_norm

#: bytes of points that pass all steps before the next ones do
CACHE = 8 * 2**20
#: rows to which a few are repeated for the scores of scikit-learn's linear models, at most
MOST_COPIES = 4096
#: bytes of a file that are read at a time
MAPPED = 256 * 2**20
DEVICES = (None, "cpu", "cuda")
#: how far beyond the computed attack a class change is looked for, before it counts as not found
STRETCHES = (0.0, 1e-9, 1e-7, 5e-7, 5e-6, 5e-5, 5e-4, 5e-3, 0.05, 0.5)


class Certifier:
    """Certificates for one fitted estimator, batch after batch.

    What can be computed once (eigenbases of pairs of classes, norms, folded maps) is computed at the first batch that needs it
    and kept. The fitted parameters are those at construction.

    Parameters
    ----------
    estimator : fitted classifier or Pipeline ending in one
        Classifiers with linear or quadratic scores and the usual transformers; searches, FrozenEstimator and inner pipelines
        are looked into. The guide lists them. More by :func:`register_discriminant`, :func:`register_perturbation`.
    device : {None, "cpu", "cuda"}, default=None
        Where distances are computed: where the points are, or there. See :func:`certify`.

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

    def __init__(self, estimator: Any, *, device: str | None = None):
        if device not in DEVICES:
            raise ValueError(f"device must be one of {DEVICES}, got {device!r}.")
        if device == "cuda":
            from skcert.backends import cuda  # it needs CuPy

            cuda.require()
        check_classifier(estimator)
        self.estimator, self.device = estimator, device
        self._unrolled = list(unrolled(estimator, ""))
        *before, (_, self._model) = self._unrolled
        self._steps = [(name, step) for name, step in before if not is_nothing(step)]
        # a step that does nothing still has a name, and its output is that of the steps before it
        self._spaces: dict[str, int] = {}
        for name, step in before:
            passed = len(self._spaces) and max(self._spaces.values())
            self._spaces[name] = passed + (not is_nothing(step))
        for name, passed in list(self._spaces.items()):  # an inner pipeline ends where its last step does
            while "__" in name:
                name = name.rpartition("__")[0]
                self._spaces[name] = max(passed, self._spaces.get(name, 0))
        if is_nothing(self._model):
            raise Uncertifiable("The pipeline ends in a step that does nothing: expected a classifier as its last step.")
        check_is_fitted(self._model)
        self._classes = classes_of(self._model)
        self._links: dict[int, tuple[Link, ...]] = {}
        self._known_units: dict[Any, tuple[Any, ...]] = {}  # by the types of the points on their way
        self._smoothed = isinstance(self._model, RandomizedSmoothingClassifier) and inherits(
            self._model, RandomizedSmoothingClassifier
        )
        if self._smoothed:  # with the parameters, and the seed, of now
            self._model._ready()
            self._model = copy.copy(self._model)
        rule: Any = None if self._smoothed else discriminant_of(self._model)
        self._rule = rule
        self._passages = Passages(rule, {name: type(step).__name__ for name, step in self._steps})
        found = len(self._classes) if self._smoothed else rule.n_classes
        if found != len(self._classes):
            raise ValueError(
                f"The rule registered for {type(self._model).__name__} returned {found} scores for "
                f"{len(self._classes)} classes: it must return one per class, in the order of classes_."
            )
        seen = getattr(self._model, "n_features_in_", None)
        if not self._smoothed and seen not in (None, rule.n_features):
            raise ValueError(
                f"The rule registered for {type(self._model).__name__} is for {rule.n_features} features, and the classifier "
                f"for {seen}."
            )
        self._own_scores = compares_own_scores(self._model)
        # our mixture decides by the very rule that is kept, and votes are asked of what is there
        self._follows = self._smoothed or discriminant_of(self._model) is rule
        self._snapshots = [Snapshot(step) for _, step in self._steps] + ([] if self._follows else [Snapshot(self._model)])

    def __getstate__(self) -> dict[str, Any]:
        fresh = Passages(self._rule, self._passages.step_types)  # copies share nothing that encoders may outdate
        return {**self.__dict__, "_links": {}, "_passages": fresh}

    @property
    def nbytes(self) -> int:
        """Bytes of the eigenbases kept so far."""
        return self._passages.nbytes

    def certify(
        self, X, *, norm=2, method="auto", space="input", feature_scale=None, return_attack=False, progress=True
    ) -> Certificate:
        """Certify the predictions on X; parameters and result as in :func:`certify`."""
        with shown(progress):
            return self._certified(X, norm, method, space, feature_scale, return_attack)

    def _certified(self, X, norm, method, space, feature_scale, return_attack) -> Certificate:
        norm = check_norm(norm)
        check_method(method, norm, self._rule)
        start = self._start(space)
        links = self._chain(start)
        self._check_unchanged(start, links)
        if return_attack and any(isinstance(c, (LipschitzStep, EstimatedStep)) for link in links for c in link.carriers):
            raise ValueError(
                "No attack can be constructed through a step that is known by its Lipschitz constant alone: use the space "
                "after it, or return_attack=False."
            )
        if return_attack and isinstance(self._rule, NearestEllipsoid):
            raise ValueError('decision="nearest-ellipsoid" constructs no attack: use return_attack=False.')
        if return_attack and self._smoothed:
            raise ValueError("Votes under noise know no boundary and construct no attack: use return_attack=False.")
        if issparse(X):
            raise TypeError("X is sparse: certificates need dense points. Pass X.toarray().")
        check_names(X)
        check_rows(X)

        passed, X = X, listed(X)
        for _, step in self._steps[:start]:
            X = transformed(step, X)
        X = X.toarray() if issparse(X) else X  # what an encoder made, perhaps
        request = Request(norm, method, space, start, links, feature_scale, return_attack, self._on_gpu(X))
        if (made := self._staying(X, request)) is None:
            X = X if dispatched(X) else to_host(X)
            made = Certificate.concatenate([self._batch(rows, request) for rows in self._batches(X, request)])
        origin = Origin.of(self, X, request, made)
        scale = origin.request.feature_scale
        return replace(made._like(passed), feature_scale=scale, _index=index_of(passed), _origins=(origin,))

    def _on_gpu(self, X) -> bool:
        """Whether distances are computed on the GPU: where the device says so, or the points are there and CuPy is as well."""
        return self.device == "cuda" or (self.device is None and on_cuda(X) and has_cupy())

    def _batches(self, X, request: Request):
        """X in parts that stay in the cache from one step to the next; whole where there is no step, or one that may mind.

        A file that is mapped into memory is read part by part, and each is let go.
        """
        links = request.links
        carriers = [carrier for each in links for carrier in each.carriers]
        values = floats(X)
        blind = self._smoothed or any(isinstance(carrier, (LipschitzStep, EstimatedStep)) for carrier in carriers)
        if is_mapped(values) and len(X) and not (request.attack or blind):
            parts = batches(len(X), X[:1].nbytes, MAPPED)
            # other boundaries show how far they are
            with bar(len(X), "certifying", "row", isinstance(self._rule, Affine)) as done:
                for some in parts:
                    yield X[some]
                    release(X[some])
                    done.update(some.stop - some.start)
            return
        linear = isinstance(self._rule, Affine) and all(isinstance(carrier, AffineStep) for carrier in carriers)
        if self._known(links) or request.attack or request.gpu or not linear or values is None or not values.size:
            yield X
            return
        # every look at a frame costs scikit-learn milliseconds
        rows = batches(len(values), values.shape[1] * values.itemsize, CACHE if values is X else 4 * CACHE)
        with bar(len(values), "certifying", "row") as done:
            for some in rows:
                yield X[some] if values is X else X.iloc[some]
                done.update(some.stop - some.start)

    def _known(self, links) -> bool:
        """Whether what is certified is the very object that predicts: then there is nothing to compare."""
        model = self._model
        return not links and type(model) is CertifiedGMMClassifier and model._discriminant is self._rule

    def _batch(self, X, request: Request) -> Certificate:
        if self._smoothed:
            return self._by_votes(X, request)
        if (certificate := self._by_own_scores(X, request)) is not None:
            return certificate
        links, made = request.links, self._outputs(X, request)
        outputs = [to_host(each) for each in made]
        _check_shapes(links, outputs)
        if self._known(links):
            theirs = None
            latents = validate_data(self._model, outputs[-1], reset=False, dtype=[np.float64, np.float32])
        else:
            theirs = predicted(self._model, made[-1])  # it also checks what reaches it
            latents = numbers(outputs[-1])
        points = Points.of(outputs[0])
        scale, asked = scale_of(request.feature_scale, points)
        units = self._units(links, outputs)
        estimated = any(isinstance(carrier, EstimatedStep) for each in links for carrier in each.carriers)
        with np.errstate(over="ignore", invalid="ignore"):  # where scores overflow nothing is known: radius 0
            if estimated:
                nearest = estimate(self._rule, links, points, latents, scale, request.norm)
                method, exact = "clever", False
            else:
                nearest, method, exact = self._passages.nearest(points, outputs, units, latents, scale, asked, request)

        confidence = _confidence(links)
        prediction = self._classes[nearest.winner]
        runner_up = self._classes[nearest.runner_up]
        radius, attack_radius, attack = nearest.radius, nearest.attack_radius, None
        if theirs is not None:
            radius = self._check_predictions(theirs, outputs[-1], nearest, prediction, units[-1])
            runner_up = np.where(theirs == prediction, runner_up, prediction)
            prediction = theirs
        if request.attack:
            attack, attack_radius = self._verified(X, points, nearest.attack, prediction, request.norm, scale, request.start)
            radius = np.minimum(radius, attack_radius)  # rounding in predict can let an attack cross a little early
        return Certificate(
            prediction,
            radius,
            runner_up,
            attack_radius,
            attack,
            request.norm,
            request.space,
            guarantee="none" if estimated else "deterministic" if confidence == 1 else "probabilistic",
            confidence=confidence,
            method=method,
            exact=exact,
            arithmetic=_arithmetic(links, units),
        )

    def _staying(self, X, request: Request) -> Certificate | None:
        """The certificate of points on a GPU that our own classifier is given as they are: they stay there.

        None where this does not apply, and where something is wrong with the points: what checks them on the host will say.
        """
        if not (request.gpu and on_cuda(X) and self._known(request.links)) or request.attack:
            return None
        from skcert.backends import cuda  # it needs CuPy

        xp, d = namespace_of(X), self._model.n_features_in_
        if X.ndim != 2 or X.shape[1] != d or not X.shape[0] or X.dtype not in (xp.float32, xp.float64):
            return None
        if not xp.all(xp.isfinite(X)):
            return None
        one = Points.of(np.zeros((1, d)))  # what the way to the boundary depends on
        scale, asked = scale_of(request.feature_scale, one)
        passage = self._passages.passage((), (UNIT,), one, np.zeros(d, dtype=bool), request.norm, scale, asked)
        method = self._passages.method_of(passage, request.method)
        if not cuda.supports(passage.boundary, method):
            return None
        nearest = cuda.nearest(passage.boundary, to_cupy(X), method=method)
        exact = self._passages.is_exact(passage, method)
        return self._proven(nearest, request, method=method, exact=exact)

    def _proven(self, nearest: Nearest, request: Request, **facts) -> Certificate:
        """The certificate of radii that hold in float64, with certainty."""
        certain = {"guarantee": "deterministic", "confidence": 1.0, "arithmetic": "float64"}
        return self._certificate(nearest, request, **certain, **facts)

    def _certificate(self, nearest: Nearest, request: Request, **facts) -> Certificate:
        """Radii with their classes, as the estimator names them, and what was asked."""
        winner, runner_up = (self._classes[to_host(codes)] for codes in (nearest.winner, nearest.runner_up))
        return Certificate(winner, nearest.radius, runner_up, nearest.attack_radius, None, request.norm, request.space, **facts)

    def _outputs(self, X, request: Request) -> list[Any]:
        """The points in their space, and after every step from there on."""
        outputs = [X]
        for _, step in self._steps[request.start :]:
            outputs.append(transformed(step, outputs[-1]))
        return outputs

    def _by_votes(self, X, request: Request) -> Certificate:
        """The certificate of a smoothed classifier, from the radius where its noise is added (theory 2.4)."""
        links, outputs = request.links, [to_host(each) for each in self._outputs(X, request)]
        _check_shapes(links, outputs)
        if any(isinstance(carrier, EstimatedStep) for each in links for carrier in each.carriers):
            raise Uncertifiable("lipschitz='clever' estimates margins of scores, and a smoothed classifier has none.")
        points = Points.of(outputs[0])
        if links and np.isnan(points.values).any():
            raise ValueError(
                "X has missing values, and steps before a RandomizedSmoothingClassifier: put these inside it, as "
                "RandomizedSmoothingClassifier(make_pipeline(..., classifier))."
            )
        votes = self._model.votes(outputs[-1])
        scale, asked = scale_of(request.feature_scale, points)
        voted = Nearest(votes.winner, votes.runner_up, votes.radius, np.full(len(votes.radius), np.inf))
        units = self._units(links, outputs)
        nearest, _, _ = self._passages.nearest(points, outputs, units, numbers(outputs[-1]), scale, asked, request, voted)
        return self._certificate(
            nearest,
            request,
            guarantee="probabilistic",
            confidence=max(0.0, _confidence(links) - self._model.alpha),
            method="randomized-smoothing",
            abstained=nearest.radius == 0,
            n_passes=votes.passes,
            _votes=votes,
        )

    def _by_own_scores(self, X, request: Request) -> Certificate | None:
        """The certificate from the scores that a linear model's ``predict`` compares, so that they are computed once.

        For float64 arrays behind steps that act feature by feature. How far these scores are from real arithmetic follows
        from what computed them, a fixed number of operations and one product, and from the size of what they were made of.
        None where this does not apply, and where the scores are not those of the fitted parameters: whoever goes step by step
        will say why.
        """
        values = floats(X)
        if values is None or values.dtype != np.float64 or not values.size:
            return None
        if request.attack or request.method == "paper" or not self._own_scores:
            return None
        model = hosted(self._model)
        if {"predict", "decision_function"} & set(vars(model)):
            return None
        if any("transform" in vars(step) for _, step in self._steps[request.start :]):
            return None  # step by step, it will be found out
        if not all(type(step).__module__.startswith("sklearn.") for _, step in self._steps[request.start :]):
            return None  # of others it is not known how they compute
        if (sizes := _sizes(request.links, values.shape[1])) is None:
            return None
        n, d = values.shape
        least = min(MOST_COPIES, LARGE // (d * len(self._classes)))
        made = []
        with config_context(assume_finite=True), one_thread():  # what is not finite shows in the scores
            for rows, kept in alike(n, least):
                some = X if rows is None else X[rows] if values is X else X.iloc[rows]
                seen = self._outputs(some, request)[-1]
                if (latents := floats(seen)) is None:
                    return None
                made.append((model.decision_function(seen)[kept], latents[kept]))
        scores, latents = made[0] if len(made) == 1 else map(np.concatenate, zip(*made, strict=True))
        if not latents.dtype == scores.dtype == np.float64:
            return None
        still = np.zeros(values.shape[1], dtype=bool)
        points = Points(X, values, ~still)
        scale, asked = scale_of(request.feature_scale, points)
        units = (UNIT,) * (len(request.links) + 1)
        passage = self._passages.passage(request.links, units, points, still, request.norm, scale, asked)
        assert isinstance(passage.boundary, AffineBoundary)  # own scores are linear ones
        scores = np.vstack([np.zeros(len(scores)), scores]) if scores.ndim == 1 else np.ascontiguousarray(scores.T)
        with np.errstate(over="ignore", invalid="ignore"):
            error = passage.boundary.recognise(values, latents, scores, sizes)
            if error is None:
                return None
            nearest = passage.boundary.nearest(values, scores=(scores, error))
        method = "exact" if request.method == "auto" else request.method
        return self._proven(nearest, request, method=method, exact=True)

    # -- reading the request -----------------------------------------------------------------------------------------

    def _start(self, space: str) -> int:
        """Index of the first step whose input the perturbation can still reach."""
        if not isinstance(space, str):
            raise ValueError(f"space must be 'input', 'latents' or the name of a step, got {space!r}.")
        if space in ("input", "latents"):
            if space in self._spaces:
                raise ValueError(f"A step is named {space!r}, which is the name of a space: rename the step.")
            return 0 if space == "input" else len(self._steps)
        if space in self._spaces:
            return self._spaces[space]
        known = ", ".join(self._spaces) or "none here"
        raise ValueError(f"space must be 'input', 'latents' or the name of a step ({known}), got {space!r}.")

    # -- walking the steps ---------------------------------------------------------------------------------------------

    def _chain(self, start: int) -> tuple[Link, ...]:
        """The steps from ``start`` on with what they do to a perturbation, asked once and kept."""
        if start in self._links and not _still_holds(self._links[start]):
            self._links.clear()
            self._passages.clear()
        if start not in self._links:
            links = []
            for name, step in self._steps[start:]:
                try:
                    links.append(link(name, step))
                except Uncertifiable as reason:
                    raise Uncertifiable(
                        f"The step {name!r} cannot be certified. {reason} Or certify its output: space={name!r} (the output "
                        "of that step), space='latents' (what the classifier sees)."
                    ) from None
            self._links[start] = tuple(links)
        return self._links[start]

    def _check_unchanged(self, start: int, links: tuple[Link, ...]) -> None:
        """Raise where a step that the perturbation reaches, or the classifier, is not what it was at construction.

        Encoders know by themselves: their constants are computed again.
        """
        watched = [
            snapshot
            for snapshot, each in zip(self._snapshots[start:], [*links, None], strict=False)
            if each is None or not any(getattr(carrier, "holds", None) for carrier in each.carriers)
        ]
        now = list(unrolled(self.estimator, ""))
        if [(name, id(part)) for name, part in now] != [(name, id(part)) for name, part in self._unrolled]:
            changes = [f"{type(self.estimator).__name__}, which is made of other parts now,"]
        else:
            changes = []
        changes += [change for snapshot in watched if (change := snapshot.change()) is not None]
        if self._follows and not self._smoothed and discriminant_of(self._model) is not self._rule:
            changes.append(type(self._model).__name__)
        if changes:
            raise ValueError(
                f"The model has changed since this Certifier was made: {changes[0]} is not what it was, and radii would be "
                "those of the model as it was. Make a new Certifier, or call certify, which keeps nothing."
            )

    def _units(self, links, outputs) -> tuple[Any, ...]:
        """The unit of rounding of every step, and of the classifier: by the types of what they are given and make."""
        kinds = tuple(map(types_of, outputs))
        if kinds not in self._known_units:
            self._known_units[kinds] = (
                *units_of(links, outputs),
                unit_of_scores(hosted(self._model), type_of(outputs[-1])),
            )
        return self._known_units[kinds]

    # -- checking the answer -------------------------------------------------------------------------------------------

    def _check_predictions(self, theirs, latents, nearest: Nearest, ours, unit: float) -> np.ndarray:
        """The radii, 0 where the discriminant ties otherwise than the estimator's own predict; anything else is an error."""
        differ = np.flatnonzero(ours != theirs)
        radius = nearest.radius
        if not len(differ):
            return radius
        order = np.argsort(self._classes)
        codes = order[np.searchsorted(self._classes, theirs[differ], sorter=order)]
        wrong = self._beyond_rounding(_safe_indexing(latents, differ), nearest.winner[differ], codes, unit)
        if wrong.any():
            raise ValueError(
                f"{type(self._model).__name__}.predict decides otherwise than its fitted parameters say on {len(differ)} of "
                f"{len(ours)} points (row {differ[wrong.argmax()]}, for one, by more than rounding can do). Was it changed or "
                "overridden? Register its rule with skcert.register_discriminant."
            )
        radius = radius.copy()
        radius[differ] = 0.0
        return radius

    def _beyond_rounding(self, latents: Any, ours: np.ndarray, theirs: np.ndarray, unit: float) -> np.ndarray:
        """Whether rounding in a unit cannot have put another class first: between the two alone, the point is certified."""
        points = Points.of(latents)
        values = points.values
        beyond = np.zeros(len(values), dtype=bool)
        lost = conversion(points.kinds, values, np.ones(values.shape[1]), 2, beyond.astype(float))
        for i, j in np.unique(np.column_stack([ours, theirs]), axis=0):
            at = np.flatnonzero((ours == i) & (theirs == j))
            boundary = boundary_of(self._rule.some(np.array([i, j])), None, None, 2, unit, values.shape[1])
            with np.errstate(over="ignore", invalid="ignore"):  # where scores overflow nothing is known
                found = boundary.nearest(np.ascontiguousarray(values[at]), method="pairwise")
            beyond[at] = (found.winner == 0) & (found.radius > lost[at])
        return beyond

    def _predict_from(self, points, start: int) -> np.ndarray:
        if start == 0:
            return predicted(self.estimator, points)
        for _, step in self._steps[start:]:
            points = transformed(step, points)
        return predicted(self._model, points)

    def _verified(self, X, points: Points, moves, prediction, norm, scale, start):
        """Attack points of the points of X, in its type, each lengthened by as little as makes ``predict`` change."""
        columns = np.flatnonzero(points.numeric & (np.nan_to_num(moves) != 0).any(axis=0))
        types = points.types()
        values = points.values.astype(float)
        attack = values.copy()
        found = np.zeros(len(values), dtype=bool)
        pending = np.flatnonzero(np.isfinite(moves).all(axis=1))
        for stretch in STRETCHES if len(columns) else ():
            if not len(pending):
                break
            trial = values[pending] + moves[pending] * (1 + stretch)
            for c in columns:  # as the container will hold it
                trial[:, c] = trial[:, c].astype(types[c])
            moved = points.moved(pending, trial, columns)
            changed = self._predict_from(like(X, moved), start) != prediction[pending]
            attack[pending[changed]] = trial[changed]
            found[pending[changed]] = True
            pending = pending[~changed]
        moved = np.where(moves != 0, attack - values, 0.0) / np.where(scale > 0, scale, 1)
        lengths = np.where(found, grow(np.linalg.norm(moved, ord=norm, axis=1), moved.shape[1] + 4), np.inf)
        attack[~found] = np.nan
        everywhere = np.arange(len(types)) if points.numeric.all() and not hasattr(points.origin, "columns") else columns
        return points.moved(np.arange(len(values)), attack, everywhere), lengths


def _still_holds(links: tuple[Link, ...]) -> bool:
    """Whether encoders are as they were when their constants were computed: other than scikit-learn's, they are not copied."""
    checks = [getattr(carrier, "holds", None) for each in links for carrier in each.carriers]
    return all(check() for check in checks if check is not None)


def _confidence(links: tuple[Link, ...]) -> float:
    """The probability that all steps do what is known of them, at one point (the union bound)."""
    carriers = [carrier for each in links for carrier in each.carriers]
    return max(0.0, 1 - sum(1 - getattr(carrier, "confidence", 1.0) for carrier in carriers))


def _check_shapes(links: tuple[Link, ...], outputs: list) -> None:
    """A constant that was computed for rows of one shape must not be used for others."""
    for each, X in zip(links, outputs, strict=False):
        for carrier in each.carriers:
            shape = getattr(carrier, "row_shape", None)
            if shape is not None and np.shape(X)[1:] != shape:
                raise ValueError(
                    f"The Lipschitz bound of the step {each.name!r} is for rows of shape {shape}, as in fit; X has rows of "
                    f"shape {np.shape(X)[1:]}."
                )


def _arithmetic(links: tuple[Link, ...], units: tuple[Any, ...]) -> str:
    """In what the certificate holds, in words."""
    kind = str(type_with(widest_unit(units)))
    encoders = [repr(each.name) for each in links if any(_in_real_numbers(carrier) for carrier in each.carriers)]
    return kind + (f", but {', '.join(encoders)} in real numbers" if encoders else "")


def _in_real_numbers(carrier: Any) -> bool:
    """Whether a step is known in real arithmetic only."""
    return isinstance(carrier, EstimatedStep) or (isinstance(carrier, LipschitzStep) and not carrier.in_float64)


def _sizes(links: tuple[Link, ...], d: int) -> tuple[np.ndarray, int] | None:
    """Of steps feature by feature: how large their constants get on the way to the output, and the number of operations."""
    sizes, operations = np.zeros(d), 0
    for each in links:
        for carrier in each.carriers:
            if not isinstance(carrier, AffineStep) or carrier.matrix.ndim != 1:
                return None
            if len(carrier.matrix) != d:
                return None
            sizes = np.abs(carrier.matrix) * (sizes + np.abs(carrier.center)) + np.abs(carrier.offset)
            operations += 8
    return sizes, operations


def certify(
    estimator, X, *, norm=2, method="auto", space="input", feature_scale=None, return_attack=False, device=None, progress=True
) -> Certificate:
    """How far each row of X may move before the prediction of a fitted estimator can change.

    Parameters
    ----------
    estimator : fitted classifier or Pipeline ending in one
        See :class:`Certifier`.
    X : array-like of shape (n_samples, n_features)
        Points as the estimator's ``predict`` takes them.
    norm : {1, 2, numpy.inf}, default=2
        l_p norm of the perturbation. Exact for linear boundaries; quadratic ones are exact in l2 and, where curvatures are
        diagonal, in linf, and bounded from below otherwise (theory 1.5), at milliseconds per point.
    method : {"auto", "exact", "pairwise", "paper"}, default="auto"
        "exact": the distance to the nearest boundary (theory 1.3, 1.4), or the best lower bound where that is not to be had
        (theory 1.5, 1.6): ``certificate.exact`` says which. "pairwise": a closed-form lower bound, rival by rival
        (theory 1.2). "paper": Theorem 4.1 of arXiv 2605.25352 (theory 1.1). "auto": "exact", unless the eigenbases of all
        pairs of classes would need more than 1 GiB (K (K-1) / 2 * d^2 * 8 bytes): then "pairwise".
    space : str, default="input"
        Where the perturbation acts: "input" (the units of X), the name of a step (its output), or "latents" (what the
        classifier sees).
    feature_scale : array-like of shape (n_features,) or dict by column, default=None
        The perturbation u is measured as ``||u / feature_scale||``; 0 keeps a feature where it is. Columns a dict does not
        name have 1. Missing cells, and columns that are encoded as categories or hold no numbers, never move.
    return_attack : bool, default=False
        Also return, for each row, a point at ``attack_radius`` that is predicted differently.
    device : {None, "cpu", "cuda"}, default=None
        Where distances are computed. None: where the points are, in the space that is certified. "cuda": on the GPU, through
        which points in main memory are streamed; kinds of boundaries that it has no kernels for are computed on the CPU. This
        is experimental: no GPU has run the kernels yet, and some rows are certified on the CPU too, to compare.
    progress : bool, default=True
        Show a progress bar, on a terminal or in a notebook, when the work takes more than two seconds.

    Returns
    -------
    Certificate
        Its arrays are in the library and on the device of X.

    Raises
    ------
    skcert.Uncertifiable
        A step or classifier has no rule; the message names it and the remedies.
    ValueError
        Unknown norm, method, space or device; or a step or classifier that does not behave on X as its parameters say.

    Notes
    -----
    The promise is about the estimator's own ``predict`` at every representable point of the ball, in the type of X (theory
    1.8); encoders known by a Lipschitz constant are taken in real numbers. :func:`skcert.testing.check_certificate` searches
    for a counter-example.

    References
    ----------
    theory 1.1 to 1.8, 2.1 to 2.3.

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
    certifier = Certifier(estimator, device=device)
    return certifier.certify(
        X,
        norm=norm,
        method=method,
        space=space,
        feature_scale=feature_scale,
        return_attack=return_attack,
        progress=progress,
    )
