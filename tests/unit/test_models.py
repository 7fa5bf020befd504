"""The rules for scikit-learn's classifiers: each certifies what its predict takes the argmax of, or says why it cannot."""

import warnings
from copy import deepcopy
from functools import cache

import numpy as np
import pytest
from mpmath import mp, mpf
from sklearn import linear_model
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from skcert import Uncertifiable, adapters, certify
from skcert.adapters import discriminant_of, models
from skcert.discriminants import Affine, Quadratic
from skcert.geometry.rounding import UNIT

pytestmark = pytest.mark.filterwarnings("ignore:Class PassiveAggressiveClassifier is deprecated:FutureWarning")


@pytest.fixture(autouse=True)
def built_in_rules(monkeypatch):
    """Whatever other tests have registered for these types."""
    for type_, rule in models._LINEAR.items():
        monkeypatch.setitem(adapters._MODELS, type_, rule)


def standardized(load):
    X, y = load(return_X_y=True)
    return StandardScaler().fit_transform(X), y


WINE, IRIS = standardized(load_wine), standardized(load_iris)
_X, _Y = standardized(load_breast_cancer)
CANCER = _X[::3, [0, 1, 4, 5, 8, 9, 11, 14, 18, 24]], _Y[::3]  # features that are not nearly collinear
DATA = {
    "two classes": CANCER,
    "two classes by name": (CANCER[0], np.array(["malignant", "benign"])[CANCER[1]]),
    "three classes": WINE,
    "three classes by name": (WINE[0], np.array(["barbera", "grignolino", "barolo"])[WINE[1]]),
}
TWO, THREE = ["two classes", "two classes by name"], ["three classes", "three classes by name"]

LINEAR = {
    "logistic": LogisticRegression(C=0.1),
    "logistic cv": LogisticRegressionCV(Cs=2, cv=2, tol=1e-2),
    "svc": LinearSVC(C=0.01),
    "ridge": RidgeClassifier(),
    "ridge without intercept": RidgeClassifier(fit_intercept=False),
    "ridge cv": RidgeClassifierCV(),
    "sgd": SGDClassifier(random_state=0),
    "perceptron": Perceptron(random_state=0),
    "lda": LinearDiscriminantAnalysis(),
    "lda lsqr": LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
}
if hasattr(linear_model, "PassiveAggressiveClassifier"):
    LINEAR["passive aggressive"] = linear_model.PassiveAggressiveClassifier(random_state=0)
TEMPERATURE = "temperature" in CalibratedClassifierCV._parameter_constraints["method"][0].options
AFFINE = LINEAR | {
    "centroid": NearestCentroid(),
    "centroid, shrunken": NearestCentroid(shrink_threshold=0.5),
    "centroid, priors": NearestCentroid(priors="empirical"),
    "one vs rest": OneVsRestClassifier(LinearSVC(C=0.01)),
    "one vs rest lda": OneVsRestClassifier(LinearDiscriminantAnalysis()),
}
CALIBRATED = {"sigmoid": CalibratedClassifierCV(LinearSVC(C=0.01), ensemble=False)}
if TEMPERATURE:
    scaled = CalibratedClassifierCV(LogisticRegression(), method="temperature", ensemble=False)
    AFFINE["temperature"] = scaled
QUADRATIC = {
    "qda": QuadraticDiscriminantAnalysis(),
    "qda, regularised": QuadraticDiscriminantAnalysis(reg_param=0.1),
    "naive bayes": GaussianNB(),
    "naive bayes, priors": GaussianNB(priors=[0.25, 0.75]),
}
if "solver" in QuadraticDiscriminantAnalysis().get_params():
    QUADRATIC["qda eigen"] = QuadraticDiscriminantAnalysis(solver="eigen", shrinkage="auto")

CASES = [(name, data, dtype) for name in AFFINE for data in DATA for dtype in ("float64", "float32")]
CASES += [(name, data, dtype) for name in CALIBRATED for data in TWO for dtype in ("float64", "float32")]
CURVED = [
    (name, data, dtype)
    for name in QUADRATIC
    for data in (TWO if "priors" in name else DATA)
    for dtype in ("float64", "float32")
]


@cache
def _fitted(name, data, dtype):
    X, y = DATA[data]
    X = X.astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence and deprecation: what is fitted is certified
        return clone((AFFINE | CALIBRATED | QUADRATIC)[name]).fit(X, y), X


def fitted(name, data, dtype="float64"):
    model, X = _fitted(name, data, dtype)
    return deepcopy(model), X


def hold(model, X, norm, share=0.97):
    """The claims of a certificate, against predict alone."""
    points = X[::4]
    single = X.dtype == np.float32
    found = certify(model, points, norm=norm, return_attack=True)
    np.testing.assert_array_equal(found.prediction, model.predict(points))
    positive = found.radius > 0
    assert positive.mean() >= share
    attacked = np.isfinite(found.attack_radius)
    assert attacked.mean() >= share
    # in single precision what predict says at the boundary depends on the rows it is asked about at a time
    attack = found.attack + (1e-3 if single else 0) * (found.attack - points)
    assert (model.predict(attack[attacked].astype(X.dtype)) != found.prediction[attacked]).all()
    if not single:
        close = positive & attacked
        assert (found.attack_radius[close] <= found.radius[close] * (1 + 1e-6)).all()
    rng = np.random.default_rng(0)
    wide = points.astype(float)
    moves = [found.attack - wide, *(other - wide for other in X[::17]), *rng.standard_normal((20, *points.shape))]
    lengths = np.linalg.norm(moves, ord=norm, axis=2)
    keep = (lengths > 0) & np.isfinite(lengths) & np.isfinite(found.radius)
    safe = found.radius * (1 - (1e-3 if single else 1e-9))
    inside = np.array([wide] * len(moves))
    inside[keep] += (moves * (safe / np.where(keep, lengths, 1))[..., None])[keep]
    inside[:, ~positive] = wide[~positive]
    there = model.predict(inside.reshape(-1, X.shape[1]).astype(X.dtype)).reshape(keep.shape)
    assert (there == found.prediction)[keep & positive].all()
    return found


@pytest.mark.parametrize("norm", [1, 2, np.inf])
@pytest.mark.parametrize(("name", "data", "dtype"), CASES)
def test_a_linear_classifier_keeps_its_prediction_within_the_radius_and_changes_it_at_the_attack(name, data, dtype, norm):
    hold(*fitted(name, data, dtype), norm)


@pytest.mark.parametrize(("name", "data", "dtype"), CURVED)
def test_a_quadratic_classifier_keeps_its_prediction_within_the_radius_and_changes_it_at_the_attack(name, data, dtype):
    hold(*fitted(name, data, dtype), 2)


@pytest.mark.parametrize("norm", [1, 2, np.inf])
@pytest.mark.parametrize("name", [*AFFINE, *CALIBRATED])
@pytest.mark.parametrize("data", ["two classes", "three classes"])
def test_the_radius_of_a_linear_classifier_is_the_margin_over_the_dual_norm_of_its_slope(name, data, norm):
    if name in CALIBRATED and data not in TWO:
        pytest.skip("two classes only")
    model, X = fitted(name, data)
    # slopes and offsets from the outside: what the scores are at the origin and at the unit vectors
    ask = getattr(model, "decision_function", None)
    if name in CALIBRATED:
        inside = model.calibrated_classifiers_[0]
        a, b, f = inside.calibrators[0].a_, inside.calibrators[0].b_, inside.estimator.decision_function

        def ask(Z):
            return -(a * f(Z) + b)

    elif name == "temperature":
        ask = model.calibrated_classifiers_[0].estimator.decision_function
    elif name in ("centroid", "centroid, shrunken"):

        def ask(Z):
            squares = -(((Z[:, None] - model.centroids_) ** 2).sum(-1))
            return squares[:, 1] - squares[:, 0] if len(model.classes_) == 2 else squares

    points = X[::4]
    d, q = X.shape[1], {1: np.inf, 2: 2, np.inf: 1}[norm]
    at = ask(np.vstack([np.zeros((1, d)), np.eye(d)]))
    at = np.column_stack([np.zeros(d + 1), at]) if at.ndim == 1 else at
    if name.startswith("centroid"):  # the quadratic term, one for all classes, goes
        at = at - at[:, :1]
    slopes, scores = (at[1:] - at[0]).T, points @ (at[1:] - at[0]) + at[0]
    winner = scores.argmax(axis=1)
    lengths = np.linalg.norm(slopes[winner][:, None] - slopes, ord=q, axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (scores.max(axis=1)[:, None] - scores) / lengths
    expected = np.nanmin(ratio, axis=1)
    found = certify(model, points, norm=norm)
    np.testing.assert_array_equal(found.prediction, model.classes_[winner])
    np.testing.assert_allclose(found.radius, expected, rtol=1e-7, atol=1e-9)


# -- scores ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", [name for name in QUADRATIC if "qda" in name])
def test_the_scores_of_quadratic_discriminants_are_the_formula_in_sixty_digits(name, dtype):
    model, X = fitted(name, "three classes", dtype)
    with mp.workdps(60):
        exact = []
        for x in X[:6]:
            row = []
            for k in range(3):
                R, S = model.rotations_[k], model.scalings_[k]
                away = [mpf(float(a)) - mpf(float(b)) for a, b in zip(x, model.means_[k], strict=True)]
                norm = sum(
                    sum(u * mpf(float(r)) for u, r in zip(away, R[:, c], strict=True)) ** 2 / mpf(float(S[c]))
                    for c in range(len(S))
                )
                row.append(2 * mp.log(mpf(float(model.priors_[k]))) - norm - sum(mp.log(mpf(float(s))) for s in S))
            exact.append(row)
        within(models.quadratic_discriminant_analysis(model), X[:6], exact)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_scores_of_naive_bayes_are_the_formula_in_sixty_digits(dtype):
    model, X = fitted("naive bayes", "three classes", dtype)
    with mp.workdps(60):
        exact = []
        for x in X[:6]:
            row = []
            for theta, var, prior in zip(model.theta_, model.var_, model.class_prior_, strict=True):
                terms = [
                    (mpf(float(a)) - mpf(float(m))) ** 2 / mpf(float(v)) + mp.log(mpf(float(v)))
                    for a, m, v in zip(x, theta, var, strict=True)
                ]
                row.append(2 * mp.log(mpf(float(prior))) - sum(terms))
            exact.append(row)
        rule = models.gaussian_naive_bayes(model)
        within(rule, X[:6], exact)
        for P, var, bound in zip(rule.precisions.ravel(), model.var_.ravel(), rule.precision_error.repeat(13), strict=True):
            assert abs(1 / mpf(float(var)) - mpf(float(P))) <= bound * P


def within(rule, X, exact):
    """Scores are within the bounds the rule gives of its own rounding, which are small."""
    scores = rule.scores(X)
    for k in range(rule.n_classes):
        score, y, x = rule.score_and_slope(X, k)
        bound, *_ = rule.errors(x, y, k)
        lost = np.array([float(abs(mpf(float(s)) - row[k])) for s, row in zip(scores[:, k], exact, strict=True)])
        assert (lost <= bound).all()
        assert (bound <= 1e-11 * np.abs(scores[:, k]).max()).all()


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("name", ["qda", "naive bayes"])
def test_leads_are_twice_those_of_the_log_joint_densities(name, data):
    model, X = fitted(name, data)
    theirs = model._decision_function(X) if name == "qda" else model._joint_log_likelihood(X)
    ours = discriminant_of(model).scores(X)
    np.testing.assert_allclose(ours - ours[:, :1], 2 * (theirs - theirs[:, :1]), rtol=1e-9, atol=1e-9)


# -- errors of precisions ----------------------------------------------------------------------------------------------


def exact_precision(R, S):
    d = len(R)
    with mp.workdps(60):
        columns = range(len(S))
        return np.array(
            [
                [sum(mpf(float(R[i, c])) * mpf(float(R[j, c])) / mpf(float(S[c])) for c in columns) for j in range(d)]
                for i in range(d)
            ]
        )


@pytest.mark.parametrize("columns", [5, 3])
@pytest.mark.parametrize("spread", [1.0, 1e8])
def test_precisions_err_by_less_than_their_bounds_in_every_unit_and_rank(columns, spread):
    rng = np.random.default_rng(0)
    model, _ = fitted("qda", "two classes")
    scale = np.geomspace(1, spread, 5)
    R = np.linalg.qr(rng.standard_normal((5, 5)))[0][:, :columns] / scale[:, None]
    model.rotations_, model.scalings_ = [R, R], [np.geomspace(1e-4, 1, columns)] * 2
    model.means_ = np.zeros((2, 5))
    rule = models.quadratic_discriminant_analysis(model)
    with mp.workdps(60):
        E = (exact_precision(R, model.scalings_[0]) - rule.precisions[0]).astype(float)
    u = rule.units[0]
    assert 0 < np.linalg.norm(E, 2) <= rule.doubts[0]
    assert np.linalg.norm(E / np.outer(u, u), 2) <= rule.precision_slip[0]
    # features of other units do not make the bound larger
    assert rule.precision_slip[0] < 1e-13
    assert rule.sizes[0] >= np.linalg.norm(rule.precisions[0], 2)


def test_a_slip_is_in_the_bounds_of_scores_and_slopes():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((4, 2)) * np.array([1, 1e3, 1, 1e-3])[:, None]
    P, g = root @ root.T, 1e-6
    exact = P * (1 + g * rng.choice([-1, 1], (4, 4)))
    E = np.triu(exact - P) + np.triu(exact - P, 1).T
    rule = Quadratic.exact(np.zeros((1, 4)), P[None], [0.0], rounding=g)
    x = rng.standard_normal((50, 4)) / np.array([1, 1e3, 1, 1e-3])
    _, y, _ = rule.score_and_slope(x, 0)
    score, slope, *_ = rule.errors(x, y, 0)
    assert (np.abs(np.einsum("nd,de,ne->n", x, E, x)) <= score).all()
    assert (np.linalg.norm(x @ E, axis=1) <= slope).all()


@pytest.mark.parametrize(
    ("precisions", "match"),
    [
        (np.array([[[1.0, 2.0], [0.0, 1.0]]]), "symmetric"),
        (np.array([[-1.0, 1.0]]), "semidefinite"),
        (np.array([[np.nan, 1.0]]), "finite"),
        (np.ones((1, 3)), "shapes"),
    ],
)
def test_a_quadratic_rule_that_is_none_is_refused(precisions, match):
    with pytest.raises(ValueError, match=match):
        Quadratic.exact(np.zeros((1, 2)), precisions, [0.0])


def test_rows_that_only_round_to_the_same_slope_are_not_taken_for_parallel():
    same = [[1.0, 0.0], [1.0, 0.0]]
    assert len(set(Affine.exact(same, [1.0, 0.0]).slope_group)) == 1
    assert len(set(Affine.exact(same, [1.0, 0.0], coef_error=1e-16).slope_group)) == 2


# -- linear models -----------------------------------------------------------------------------------------------------


def test_sparsified_coefficients_are_read():
    dense, X = fitted("sgd", "three classes")
    sparse = clone(AFFINE["sgd"]).fit(*WINE).sparsify()
    np.testing.assert_allclose(certify(sparse, X).radius, certify(dense, X).radius, rtol=1e-9)


def test_one_row_of_coefficients_may_be_flat_and_the_intercept_a_number():
    model, X = fitted("ridge without intercept", "two classes")
    assert np.ndim(model.intercept_) == 0
    before = hold(model, X, 2)
    model.coef_ = np.ravel(model.coef_)
    np.testing.assert_allclose(certify(model, X[::4]).radius, before.radius, rtol=1e-9)


@pytest.mark.parametrize("model", [RidgeClassifier(), RidgeClassifierCV()])
def test_a_multilabel_ridge_classifier_is_refused(model):
    X, y = WINE
    model.fit(X, np.column_stack([y == 0, y == 1]).astype(int))
    with pytest.raises(Uncertifiable, match="multilabel targets.*one label per sample.*one classifier per label"):
        models.linear(model)


@pytest.mark.parametrize("attribute", ["coef_", "intercept_"])
def test_coefficients_that_are_not_finite_are_refused(attribute):
    model, X = fitted("logistic", "three classes")
    setattr(model, attribute, getattr(model, attribute) * np.nan)
    with pytest.raises(Uncertifiable, match="not finite: expected numbers.*scale the features"):
        certify(model, X)


def test_an_infinite_intercept_that_wins_everywhere_is_refused():
    model, X = fitted("logistic", "three classes")
    model.intercept_ = np.array([0, np.inf, 0])
    with pytest.raises(Uncertifiable, match="-inf for a class never predicted"):
        certify(model, X)


@pytest.mark.filterwarnings("ignore::RuntimeWarning:sklearn")
@pytest.mark.parametrize("priors", [[0, 1], [1, 0]])
def test_discriminant_analysis_never_predicts_the_class_of_prior_zero_of_two(priors):
    X, y = CANCER
    with np.errstate(divide="ignore"):
        model = LinearDiscriminantAnalysis(priors=priors).fit(X, y)
    found = certify(model, X)
    assert (model.predict(X) == np.argmax(priors)).all()
    assert (found.prediction == np.argmax(priors)).all() and np.isinf(found.radius).all()


@pytest.mark.parametrize("dropped", [0, 1, 2])
def test_discriminant_analysis_certifies_the_classes_left_when_one_has_prior_zero(dropped):
    X, y = WINE
    priors = np.where(np.arange(3) == dropped, 0, 0.5)
    with np.errstate(divide="ignore"):
        model = LinearDiscriminantAnalysis(priors=priors).fit(X, y)
    found = hold(model, X, 2)
    assert not (found.prediction == dropped).any() and not (found.runner_up == dropped).any()
    assert np.isfinite(found.radius).all()


class Shifted(LogisticRegression):
    def decision_function(self, X):
        return super().decision_function(X) + 1


class Renamed(LogisticRegression):
    pass


def test_a_subclass_that_changes_the_scores_is_refused_alone_and_inside_another():
    X, y = IRIS
    for model in (Shifted(), OneVsRestClassifier(Shifted()), CalibratedClassifierCV(Shifted(), ensemble=False)):
        with pytest.raises(Uncertifiable, match="Shifted"):
            certify(model.fit(X, y == 1), X)
    certify(OneVsRestClassifier(Renamed()).fit(X, y), X)


def test_two_classes_with_crammer_and_singer_have_one_row():
    X, y = CANCER
    hold(LinearSVC(multi_class="crammer_singer", random_state=0).fit(X, y), X, 2)


# -- nearest centroid --------------------------------------------------------------------------------------------------


def test_the_nearest_centroid_in_the_manhattan_metric_is_refused():
    model = NearestCentroid(metric="manhattan").fit(*WINE)
    with pytest.raises(Uncertifiable, match="metric='euclidean'"):
        certify(model, WINE[0])


def test_centroids_that_are_not_finite_are_refused():
    model = NearestCentroid().fit(*WINE)
    model.centroids_[1, 2] = np.nan
    with pytest.raises(Uncertifiable, match="constant.*shrink_threshold"):
        certify(model, WINE[0])


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_")
@pytest.mark.parametrize("priors", ["uniform", "empirical", [0.2, 0.5, 0.3], [0, 0.5, 0.5]])
def test_a_feature_without_deviation_within_classes_counts_as_it_is(priors):
    X, y = WINE
    X = np.column_stack([X, np.array([1.0, 3.0, 2.0])[y], np.full(len(X), 0.25)])
    model = NearestCentroid(priors=priors).fit(X, y)
    assert (model.within_class_std_dev_[-1:] == 0).all()
    with np.errstate(divide="ignore"):
        hold(model, X, 2)


# -- quadratic discriminants and naive bayes ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["qda", "naive bayes"])
def test_a_variance_that_is_not_positive_is_refused_by_class_and_remedy(name):
    model, X = fitted(name, "three classes by name")
    variances = model.scalings_ if name == "qda" else model.var_
    remedy = "reg_param" if name == "qda" else "var_smoothing"
    for bad in (0.0, -1e-17, np.nan, np.inf):
        variances[1][2] = bad
        with pytest.raises(Uncertifiable, match=rf"variance of .* in class 'barolo': .*{remedy}"):
            certify(model, X)


@pytest.mark.filterwarnings("ignore::RuntimeWarning:sklearn")
def test_a_constant_feature_without_smoothing_is_refused_even_in_a_class_of_prior_zero():
    X, y = WINE
    X = X.copy()
    X[y == 0, 3] = 1.5
    model = GaussianNB(priors=[0, 0.5, 0.5], var_smoothing=0).fit(X, y)
    assert (model.predict(X) == 0).mean() > 0.2  # NaN, which argmax prefers
    with pytest.raises(Uncertifiable, match=r"variance of 0 in class 0.*var_smoothing"):
        certify(model, X)


@pytest.mark.parametrize("kind", [QuadraticDiscriminantAnalysis, GaussianNB])
@pytest.mark.parametrize("dropped", [0, 1, 2])
def test_a_class_of_prior_zero_is_neither_predicted_nor_a_rival(kind, dropped):
    X, y = WINE
    model = kind(priors=np.where(np.arange(3) == dropped, 0, 0.5)).fit(X, y)
    with np.errstate(divide="ignore"):
        found = hold(model, X, 2)
    assert not (found.prediction == dropped).any() and not (found.runner_up == dropped).any()


def test_priors_of_quadratic_discriminants_are_taken_as_they_are():
    X, y = WINE
    heavy = QuadraticDiscriminantAnalysis(priors=[0.9, 0.3, 0.3]).fit(X, y)
    light = QuadraticDiscriminantAnalysis(priors=[0.6, 0.2, 0.2]).fit(X, y)
    np.testing.assert_allclose(hold(heavy, X, 2).radius, certify(light, X[::4]).radius, rtol=1e-9)


@pytest.mark.parametrize("priors", [[0, 0, 0], [0.5, -0.5, 1], [np.nan, 0.5, 0.5]])
def test_priors_without_logarithm_are_refused(priors):
    model, X = fitted("qda", "three classes")
    model.priors_ = np.array(priors)
    with pytest.raises(Uncertifiable, match="priors .* none negative and not all 0"):
        certify(model, X)


def test_classes_whose_axes_span_less_than_all_features_have_singular_precisions():
    model, X = fitted("qda, regularised", "three classes")
    model.rotations_ = [R[:, :r] for R, r in zip(model.rotations_, (2, 9, 13), strict=True)]
    model.scalings_ = [S[:r] for S, r in zip(model.scalings_, (2, 9, 13), strict=True)]
    ranks = np.linalg.matrix_rank(models.quadratic_discriminant_analysis(model).precisions)
    np.testing.assert_array_equal(ranks, (2, 9, 13))
    hold(model, X, 2)
    model.rotations_ = [np.where(np.arange(13)[:, None] == 4, 0, R) for R in model.rotations_]  # a feature without a say
    hold(model, X, 2)


def test_features_in_different_units_cost_no_tightness():
    X, y = IRIS
    X = X * np.array([0.1, 1, 3, 10])
    units = X.std(axis=0)
    for model in (QuadraticDiscriminantAnalysis(tol=0), GaussianNB(var_smoothing=0)):
        found = certify(model.fit(X, y), X, feature_scale=units)
        plain = certify(clone(model).fit(X / units, y), X / units)
        np.testing.assert_allclose(found.radius, plain.radius, rtol=1e-9)


# -- one vs rest ---------------------------------------------------------------------------------------------------------


def test_one_vs_rest_of_anything_not_linear_is_refused():
    X, y = IRIS
    for inside in (SVC(), GaussianNB(), NearestCentroid()):
        with pytest.raises(Uncertifiable, match=f"decides by a {type(inside).__name__}.*expected one of .*LinearSVC"):
            models.one_vs_rest(OneVsRestClassifier(inside).fit(X, y))


def test_one_vs_rest_of_several_labels_is_refused():
    X, y = IRIS
    model = OneVsRestClassifier(LinearSVC()).fit(X, np.column_stack([y == 0, y == 1]).astype(int))
    with pytest.raises(Uncertifiable, match="multilabel-indicator targets.*estimators_ one by one"):
        certify(model, X)


@pytest.mark.filterwarnings("ignore::RuntimeWarning:sklearn")
def test_one_vs_rest_of_scores_that_are_infinite_is_refused():
    X, y = IRIS
    with pytest.raises(Uncertifiable, match="positive priors"):
        certify(OneVsRestClassifier(LinearDiscriminantAnalysis(priors=[0, 1])).fit(X, y), X)


@pytest.mark.filterwarnings("ignore:Label not 0")
def test_one_vs_rest_of_a_single_class_is_refused():
    X, _ = IRIS
    with pytest.raises(Uncertifiable, match="_ConstantPredictor"):
        certify(OneVsRestClassifier(LinearSVC()).fit(X, np.zeros(len(X))), X)


@pytest.mark.parametrize("data", ["two classes", "three classes"])
def test_one_vs_rest_fitted_batch_by_batch_is_certified(data):
    X, y = DATA[data]
    model = OneVsRestClassifier(SGDClassifier(random_state=0))
    for _ in range(3):
        model.partial_fit(X, y, classes=np.unique(y))
    hold(model, X, 2)


# -- calibration ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", LINEAR)
def test_sigmoids_of_either_sign_move_the_boundary_of_the_classifier_inside(name, turned):
    inside, X = fitted(name, "two classes")
    y = CANCER[1]
    noisy = np.where(np.arange(len(y)) % 7 == 0, 0, y)
    model = CalibratedClassifierCV(FrozenEstimator(inside)).fit(X, 1 - noisy if turned else noisy)
    slope = model.calibrated_classifiers_[0].calibrators[0].a_
    assert slope > 0 if turned else slope < 0
    hold(model, X, 2)
    assert not np.allclose(certify(model, X).radius, certify(inside, X).radius)


def test_a_flat_sigmoid_predicts_one_class_everywhere():
    inside, X = fitted("logistic", "two classes")
    model = CalibratedClassifierCV(FrozenEstimator(inside)).fit(X, CANCER[1])
    sigmoid = model.calibrated_classifiers_[0].calibrators[0]
    sigmoid.a_ = 0.0
    for sigmoid.b_ in (1.0, -1.0):
        found = certify(model, X)
        assert (found.prediction == model.predict(X)).all() and np.isinf(found.radius).all()
    sigmoid.b_ = 0.0
    assert (certify(model, X).radius == 0).all()
    sigmoid.b_ = np.nan
    with pytest.raises(Uncertifiable, match="a_=0.0, b_=nan"):
        certify(model, X)


def test_a_sigmoid_so_flat_that_it_rounds_to_a_half_takes_the_ties_off_the_radius():
    inside, X = fitted("logistic", "two classes")
    model = CalibratedClassifierCV(FrozenEstimator(inside)).fit(X, CANCER[1])
    sigmoid = model.calibrated_classifiers_[0].calibrators[0]
    sigmoid.a_, sigmoid.b_ = -1e-16, 0.0
    assert (model.predict(X) == 0).sum() > (inside.predict(X) == 0).sum()
    found = certify(model, X)
    ones = found.prediction == 1
    assert (found.prediction == model.predict(X)).all()
    assert (found.radius[ones] < certify(inside, X).radius[ones] - 0.5 * UNIT / 1e-16 / np.linalg.norm(inside.coef_)).all()


def test_a_frozen_classifier_is_what_is_inside_it():
    inside, X = fitted("logistic", "two classes")
    once = CalibratedClassifierCV(FrozenEstimator(inside)).fit(X, CANCER[1])
    twice = CalibratedClassifierCV(FrozenEstimator(FrozenEstimator(inside))).fit(X, CANCER[1])
    np.testing.assert_array_equal(certify(once, X).radius, certify(twice, X).radius)


@pytest.mark.skipif(not TEMPERATURE, reason="this scikit-learn has no temperature scaling")
def test_a_temperature_leaves_the_prediction_and_the_radius_of_the_classifier_inside():
    for data in DATA:
        inside, X = fitted("logistic", data)
        model = CalibratedClassifierCV(FrozenEstimator(inside), method="temperature").fit(X, DATA[data][1])
        np.testing.assert_allclose(certify(model, X).radius, certify(inside, X).radius, rtol=1e-9, atol=1e-12)
    model.calibrated_classifiers_[0].calibrators[0].beta_ = -1.0
    with pytest.raises(Uncertifiable, match=r"beta_=-1.0: expected a positive"):
        certify(model, X)


@pytest.mark.skipif(not TEMPERATURE, reason="this scikit-learn has no temperature scaling")
@pytest.mark.parametrize("data", ["two classes", "three classes"])
def test_a_temperature_so_high_that_probabilities_tie_takes_the_ties_off_the_radius(data):
    inside, X = fitted("logistic", data)
    model = CalibratedClassifierCV(FrozenEstimator(inside), method="temperature").fit(X, DATA[data][1])
    model.calibrated_classifiers_[0].calibrators[0].beta_ = np.float64(1e-15)
    found, bare = certify(model, X), certify(inside, X, return_attack=True)
    lost = model.predict(X + 0.99 * (bare.attack - X)) != found.prediction
    assert lost.any() and (found.radius[lost] < 0.99 * bare.radius[lost]).all()


@pytest.mark.skipif(not TEMPERATURE, reason="this scikit-learn has no temperature scaling")
def test_a_temperature_keeps_the_order_of_scores_that_look_like_probabilities():
    inside = LogisticRegression().fit(*IRIS)
    inside.coef_ = np.array([[0.1, 0, 0, 0], [-0.05, 0.1, 0, 0], [-0.05, -0.1, 0, 0]])
    inside.intercept_ = np.full(3, 1 / 3)
    model = CalibratedClassifierCV(FrozenEstimator(inside), method="temperature").fit(*IRIS)
    X = np.clip(IRIS[0], -1, 1)
    scores = inside.decision_function(X)
    assert (scores > 0).all() and np.allclose(scores.sum(axis=1), 1)
    hold(model, X, 2)


def test_calibrations_without_linear_boundaries_are_refused_each_with_its_reason():
    X, y = IRIS
    refused = {
        "averages the probabilities of 5 classifiers.*ensemble=False": CalibratedClassifierCV(LinearSVC()),
        "steps, on which classes tie": CalibratedClassifierCV(LinearSVC(), method="isotonic", ensemble=False),
        "rounds several sigmoids to 1": CalibratedClassifierCV(LinearSVC(), ensemble=False),
    }
    for reason, model in refused.items():
        with pytest.raises(Uncertifiable, match=reason):
            certify(model.fit(X, y), X)
    for inside in (GaussianNB(), make_pipeline(StandardScaler(), LinearSVC())):
        with pytest.raises(Uncertifiable, match=f"decides by a {type(inside).__name__}.*a pipeline around"):
            certify(CalibratedClassifierCV(inside, ensemble=False).fit(X, y == 0), X)


def test_what_was_fitted_decides_not_a_parameter_changed_since():
    X, y = IRIS
    model = CalibratedClassifierCV(LinearSVC(), method="isotonic", ensemble=False).fit(X, y == 0)
    with pytest.raises(Uncertifiable, match="isotonic"):
        certify(model.set_params(method="temperature"), X)
