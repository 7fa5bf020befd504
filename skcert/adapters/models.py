"""Classifiers as discriminants: one small function per type, saying what its ``predict`` takes the argmax of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn import linear_model
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.svm import LinearSVC

from skcert._affine import Affine as Head
from skcert._fitted import float_types, parts_of
from skcert._gmm import CertifiedGMMClassifier
from skcert.adapters import Discriminant, Uncertifiable, _find, register_discriminant
from skcert.discriminants import Affine, Quadratic
from skcert.estimation import SQUARE_LIMIT
from skcert.geometry.rounding import SINGLE, UNIT, fro, gamma, grow, product, row_norms, spectral, unit_of


def gaussian_mixture(model: CertifiedGMMClassifier) -> Discriminant:
    """The very object its ``predict`` uses."""
    model._check_fitted()
    return model._discriminant


def affine(model: Head) -> Affine:
    """The scores it was given."""
    return model._discriminant


# -- linear scores ---------------------------------------------------------------------------------------------------


def linear(model: Any) -> Affine:
    """Linear scores; of two classes the second wins where the one score is positive, the first on a tie."""
    coef, intercept = _coefficients(model)
    if len(coef) == 1 and intercept[0] == np.inf:  # discriminant analysis of two classes, the first with prior 0
        coef, intercept = np.vstack([np.zeros_like(coef), coef]), np.array([-np.inf, 0.0])
    if (intercept == np.inf).any() or (len(coef) > 1 and np.isinf(intercept).all()):
        raise Uncertifiable(
            f"{type(model).__name__} has intercept_ {intercept}: expected numbers, or -inf for a class never predicted. "
            "Fit it again with priors that are not all 0."
        )
    return Affine.exact(coef, intercept)


def _coefficients(model: Any) -> tuple[np.ndarray, np.ndarray]:
    """Rows and intercepts of ``decision_function = X @ coef_.T + intercept_``; an intercept may be infinite."""
    name = type(model).__name__
    binarizer = getattr(model, "_label_binarizer", None)  # of the ridge classifiers
    if binarizer is not None and binarizer.y_type_.startswith("multilabel"):
        raise Uncertifiable(
            f"{name} was fitted on multilabel targets and predicts several labels at once: expected one label per sample. "
            "Fit one classifier per label."
        )
    # sparsify() makes coef_ sparse, a binary fit may leave it 1-D, fit_intercept=False may leave a number for the intercept
    coef = np.atleast_2d(np.array(model.coef_.toarray() if issparse(model.coef_) else model.coef_, dtype=float))
    intercept = np.broadcast_to(np.asarray(model.intercept_, dtype=float), len(coef))
    if not np.isfinite(coef).all() or np.isnan(intercept).any():
        raise Uncertifiable(
            f"{name} has coefficients that are not finite: expected numbers. Its fit has diverged: scale the features and fit "
            "it again."
        )
    return coef, intercept


#: types whose ``decision_function`` is what :func:`linear` says and whose ``predict`` is its argmax
_LINEAR: dict[type, Any] = {
    type_: linear
    for type_ in (
        linear_model.LogisticRegression,
        linear_model.LogisticRegressionCV,
        linear_model.RidgeClassifier,
        linear_model.RidgeClassifierCV,
        linear_model.SGDClassifier,
        linear_model.Perceptron,
        getattr(linear_model, "PassiveAggressiveClassifier", None),  # deprecated since scikit-learn 1.8
        LinearSVC,
        LinearDiscriminantAnalysis,
    )
    if type_ is not None
}


def unit_of_scores(model: Any, given: np.dtype) -> float:
    """The unit of rounding in which ``predict`` computes on latents of this type.

    Ours is float64 on every input. Points meet the fitted parameters in the type that NumPy promotes both to: 8 and 16 bits
    and float32 make float32. What a model makes of its own parameters alone, such as the logarithms of its variances, is of
    their type. Of models that are not known to meet every point with a parameter the type of the points counts as well.
    """
    if isinstance(model, CertifiedGMMClassifier | Head):
        return UNIT
    if hasattr(model, "coef_"):
        return unit_of(np.result_type(given, model.coef_.dtype), np.result_type(given, np.asarray(model.intercept_).dtype))
    if hasattr(model, "centroids_"):  # scikit-learn takes distances of rows in float64, unless both are float32
        both = given == np.float32 == model.centroids_.dtype
        return unit_of(given if both else np.dtype(float))
    kept = {kind for part in parts_of(model) for kind in float_types(part)}
    own = () if hasattr(model, "theta_") or hasattr(model, "means_") else (given,)
    return unit_of(*kept, *(np.result_type(given, kind) for kind in kept), *own)


def compares_own_scores(model: Any) -> bool:
    """Whether the ``predict`` of a model is scikit-learn's argmax of a linear ``decision_function``, by its type."""
    try:
        _find(_LINEAR, model, "classifier", "register_discriminant")
    except Uncertifiable:
        return False
    return type(model).predict.__module__.startswith("sklearn.")


def _inner_coefficients(outer: Any, model: Any) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients behind the ``decision_function`` of a classifier inside another, which must be affine and finite."""
    name = type(outer).__name__
    while type(model) is FrozenEstimator:
        model = model.estimator
    try:
        _find(_LINEAR, model, "classifier", "register_discriminant")
    except Uncertifiable:
        known = ", ".join(sorted(type_.__name__ for type_ in _LINEAR))
        raise Uncertifiable(
            f"{name} decides by a {type(model).__name__}, whose decision_function is not known to be linear: expected one of "
            f"{known}, with nothing overridden. Use one of these (preprocessing goes in a pipeline around the {name}), or "
            f"register a rule with skcert.register_discriminant({name}, rule)."
        ) from None
    coef, intercept = _coefficients(model)
    if not np.isfinite(intercept).all():
        raise Uncertifiable(
            f"{name} decides by a {type(model).__name__} with intercept_ {intercept}: expected finite numbers. Fit it with "
            "positive priors."
        )
    return coef, intercept


def one_vs_rest(model: OneVsRestClassifier) -> Affine:
    """The largest of the ``decision_function`` of one linear classifier per class; of two classes the sign of the only one."""
    kind = model.label_binarizer_.y_type_
    if kind not in ("binary", "multiclass"):
        raise Uncertifiable(
            f"OneVsRestClassifier was fitted on {kind} targets and predicts several labels at once: expected one label per "
            "sample. Certify its estimators_ one by one."
        )
    coefs, intercepts = zip(*(_inner_coefficients(model, estimator) for estimator in model.estimators_), strict=True)
    return Affine.exact(np.vstack(coefs), np.concatenate(intercepts))


def calibrated(model: CalibratedClassifierCV) -> Affine:
    """The classifier inside, where calibration keeps boundaries linear and ties few: see the two functions below."""
    n, K = len(model.calibrated_classifiers_), len(model.classes_)
    if n != 1:
        raise Uncertifiable(
            f"CalibratedClassifierCV averages the probabilities of {n} classifiers, which has no linear boundary: expected "
            "one. Use ensemble=False, or calibrate a FrozenEstimator that is fitted already."
        )
    inside = model.calibrated_classifiers_[0]
    if inside.method != "temperature" and (inside.method != "sigmoid" or K != 2):
        why = {
            "isotonic": "has steps, on which classes tie",
            "sigmoid": "rounds several sigmoids to 1 far from their boundaries, where predict takes the first class",
        }.get(inside.method, "is not known")
        raise Uncertifiable(
            f"CalibratedClassifierCV(method={inside.method!r}) with {K} classes {why}: expected 'temperature', or 'sigmoid' "
            "with two classes. Use one of these, or certify the classifier inside."
        )
    coef, intercept = _inner_coefficients(model, inside.estimator)
    return (_sigmoid if inside.method == "sigmoid" else _temperature)(inside, coef, intercept)


def _sigmoid(inside: Any, coef: np.ndarray, intercept: np.ndarray) -> Affine:
    """Two classes, p_1 = expit(-(a f + b)) and p_0 = 1 - p_1: the second wins where -(a f + b) > 0, whatever the sign of a."""
    a, b = float(inside.calibrators[0].a_), float(inside.calibrators[0].b_)
    if not (np.isfinite(a) and np.isfinite(b)):
        raise Uncertifiable(
            f"CalibratedClassifierCV has a sigmoid with a_={a}, b_={b}: expected numbers. Scale the features and fit it again."
        )
    slope, offset = -a * coef, -(a * intercept + b)
    # expit(t) of a positive t up to about 2^-52 is rounded to 1/2, a tie, which the first class wins
    lost = gamma(3) * (np.abs(a * intercept) + abs(b)) + 16 * UNIT
    return Affine.exact(slope, offset, coef_error=2 * UNIT * fro(slope), intercept_error=grow(lost))


def _temperature(inside: Any, coef: np.ndarray, intercept: np.ndarray) -> Affine:
    """Softmax of beta f, of beta (-f, f) for two classes: the largest f wins, since its exponential, after the maximum is
    taken off, is 1 and all others are less. Rows of f that look like probabilities become logarithms, in the same order.
    """
    beta = float(inside.calibrators[0].beta_)
    if not 0 < beta < np.inf:
        raise Uncertifiable(
            f"CalibratedClassifierCV has a temperature with beta_={beta}: expected a positive number. Scale the features and "
            "fit it again."
        )
    # leads below the resolution of the scores tie, as their exponential is rounded to 1; logarithms have a size of 28 at most
    resolution = float(np.finfo(inside.estimator.coef_.dtype).eps)
    return Affine.exact(coef, intercept, intercept_error=64 * resolution * max(1.0, 1 / beta))


def nearest_centroid(model: NearestCentroid) -> Affine:
    """Nearest means: raw Euclidean under uniform priors, scaled by the within-class deviation otherwise (as ``predict``)."""
    if model.metric != "euclidean":
        raise Uncertifiable(
            f"NearestCentroid(metric={model.metric!r}) has no linear boundaries: only metric='euclidean' can be certified."
        )
    centroids, K = np.asarray(model.centroids_, dtype=float), len(model.classes_)
    if not np.isfinite(centroids).all():
        raise Uncertifiable(
            "NearestCentroid has centroids_ that are not finite: expected numbers. Drop the features that are constant, or use "
            "shrink_threshold=None."
        )
    priors = model.class_prior_
    if np.isclose(priors, 1 / K).all():
        rule = Affine.of_shared_covariance(centroids, None, np.zeros(K), centroids.mean(axis=0))
        return replace(rule, squared=(np.ones(centroids.shape[1]), row_norms(centroids).max()))
    deviation = np.asarray(model.within_class_std_dev_, dtype=float)
    scale = np.where(deviation != 0, deviation, 1.0)  # a feature without deviation is not scaled
    log_priors, coef = _log_priors(model, priors), centroids / scale**2
    half = 0.5 * np.square(centroids / scale).sum(axis=1)
    finite = np.where(np.isfinite(log_priors), np.abs(log_priors), 0.0)
    rule = Affine.exact(
        coef,
        log_priors - half,
        coef_error=grow(gamma(3) * row_norms(coef)),
        intercept_error=grow(gamma(coef.shape[1] + 8) * (half + finite)),
    )
    return replace(rule, squared=(1 / scale, row_norms(centroids / scale).max()))


# -- quadratic scores ------------------------------------------------------------------------------------------------


def quadratic_discriminant_analysis(model: QuadraticDiscriminantAnalysis) -> Quadratic:
    """``-|S^-1/2 R'(x - mean)|^2 - sum log S + 2 log prior``, twice the score, with the rotations R and variances S stored.

    R may have fewer columns than there are features: then the precision R S^-1 R' is singular.
    """
    constants, error, bulk = _constants(
        model, model.priors_, model.scalings_, "Raise reg_param (with solver='eigen': shrinkage) and fit it again."
    )
    precisions, roots, lost = [], [], 0.0
    for R, S in zip(model.rotations_, model.scalings_, strict=True):
        roots.append(np.asarray(R, dtype=float) / np.sqrt(np.asarray(S, dtype=float)))
        P, rounding = product(roots[-1], roots[-1].T)
        precisions.append((P + P.T) / 2)
        lost = max(lost, rounding + 8 * UNIT)

    def growth(units: np.ndarray) -> list[float]:
        # predict sums the squares of A'x, A = R S^-1/2, each of which errs by gamma |A|'|x|
        sizes = [spectral(np.abs(root) / unit[:, None]) for root, unit in zip(roots, units, strict=True)]
        lengths = [spectral((root / unit[:, None]).T @ (root / unit[:, None])) for root, unit in zip(roots, units, strict=True)]
        second = gamma(len(units[0]) + 8, SINGLE)
        return [grow(np.sqrt(p) * q + p + second * q**2, 64) for p, q in zip(lengths, sizes, strict=True)]

    return Quadratic.exact(model.means_, precisions, constants, rounding=lost, constant_error=error, growth=growth, bulk=bulk)


def gaussian_naive_bayes(model: GaussianNB) -> Quadratic:
    """``-sum (x - theta)^2 / var - sum log var + 2 log prior``: twice the joint log likelihood, less what all classes share."""
    remedy = "Drop the features that are constant within a class, or raise var_smoothing, and fit it again."
    constants, error, bulk = _constants(model, model.class_prior_, model.var_, remedy)
    precisions = 1 / np.asarray(model.var_, dtype=float)
    return Quadratic.exact(
        model.theta_,
        precisions,
        constants,
        rounding=2 * UNIT,
        constant_error=error,
        growth=lambda units: grow((precisions / units**2).max(axis=1)),
        bulk=grow(bulk + np.log(2 * np.pi) * precisions.shape[1]),
    )


def _constants(model: Any, priors, variances, remedy: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``2 log prior - sum log variance`` of every class, what rounding may have cost, and the sum of the absolute values.

    Refuses variances without logarithm, those of a class with prior 0 included: -inf + inf is NaN, which ``predict`` takes for
    the largest score.
    """
    log_priors = _log_priors(model, priors)
    total, bulk = np.zeros(len(log_priors)), np.zeros(len(log_priors))
    for k, variance in enumerate(variances):
        variance = np.asarray(variance, dtype=float)
        bad = variance[~((variance > 1 / SQUARE_LIMIT) & (variance < SQUARE_LIMIT))]
        if len(bad):
            raise Uncertifiable(
                f"{type(model).__name__} has a variance of {bad[0]:.3g} in class {model.classes_.tolist()[k]!r}: expected one "
                f"between {1 / SQUARE_LIMIT:g} and {SQUARE_LIMIT:g}. {remedy}"
            )
        logs = np.log(variance)
        total[k], bulk[k] = logs.sum(), np.abs(logs).sum()
    error = (gamma(max(len(np.ravel(v)) for v in variances) + 2) + 8 * UNIT) * bulk
    bulk = bulk + 2 * np.where(np.isfinite(log_priors), np.abs(log_priors), 0.0)
    return 2 * log_priors - total, grow(error + 16 * UNIT * (bulk + np.abs(total))), grow(bulk, 1024)


def _log_priors(model: Any, priors) -> np.ndarray:
    """Logarithms of the priors as they are, whatever their sum; -inf, which drops the class, for 0."""
    priors = np.asarray(priors, dtype=float)
    if not (np.isfinite(priors).all() and (priors >= 0).all() and priors.any()):
        raise Uncertifiable(
            f"{type(model).__name__} has the priors {priors}: expected finite numbers, none negative and not all 0. Fit it "
            "again with such priors."
        )
    with np.errstate(divide="ignore"):
        return np.log(priors)


register_discriminant(CertifiedGMMClassifier, gaussian_mixture)
register_discriminant(Head, affine)
register_discriminant(NearestCentroid, nearest_centroid)
register_discriminant(OneVsRestClassifier, one_vs_rest)
register_discriminant(CalibratedClassifierCV, calibrated)
register_discriminant(QuadraticDiscriminantAnalysis, quadratic_discriminant_analysis)
register_discriminant(GaussianNB, gaussian_naive_bayes)
for _type, _rule in _LINEAR.items():
    register_discriminant(_type, _rule)
