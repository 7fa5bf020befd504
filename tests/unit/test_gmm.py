"""CertifiedGMMClassifier: the estimates are scikit-learn's, sums merge, and bad input is refused in words."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.covariance import ledoit_wolf, oas
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.exceptions import NotFittedError
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcert import CertifiedGMMClassifier, certify

KINDS = ["tied", "full", "diag", "spherical"]


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def offset():
    """Three classes in 8 features, far from the origin, with different spectra."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 200)
    X = rng.standard_normal((200, 8)) * np.geomspace(0.1, 10, 8) * (1 + y)[:, None] + 100 + 5 * rng.standard_normal((3, 8))[y]
    return X, y


# -- estimates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shrinkage, theirs", [("auto", ledoit_wolf), ("oas", oas)])
def test_shrunk_covariances_are_scikit_learns_to_1e_12(offset, shrinkage, theirs):
    X, y = offset
    full = CertifiedGMMClassifier(covariance_type="full", shrinkage=shrinkage, reg_covar=0).fit(X, y)
    for k in range(3):
        covariance, intensity = theirs(X[y == k])
        np.testing.assert_allclose(full.covariances_[k], covariance, rtol=1e-12, atol=1e-12 * np.abs(covariance).max())
        assert full.shrinkage_[k] == pytest.approx(intensity, rel=1e-12)
    residuals = X - full.means_[y]
    tied = CertifiedGMMClassifier(shrinkage=shrinkage, reg_covar=0).fit(X, y)
    covariance, intensity = theirs(residuals, assume_centered=True)
    np.testing.assert_allclose(tied.covariances_, covariance, rtol=1e-12, atol=1e-12 * np.abs(covariance).max())
    assert tied.shrinkage_ == pytest.approx(intensity, rel=1e-12)


def test_without_shrinkage_the_rules_are_qda_lda_and_gaussian_naive_bayes(iris):
    X, y = iris
    plain = dict(shrinkage=None, reg_covar=0.0)
    full = CertifiedGMMClassifier(covariance_type="full", **plain).fit(X, y)
    for k in range(3):
        np.testing.assert_allclose(full.covariances_[k], np.cov(X[y == k].T, bias=True), rtol=1e-10)
    assert (full.predict(X) == QuadraticDiscriminantAnalysis().fit(X, y).predict(X)).mean() > 0.99  # it divided by n - 1 once
    lda = LinearDiscriminantAnalysis(solver="lsqr").fit(X, y)
    tied = CertifiedGMMClassifier(**plain).fit(X, y)
    np.testing.assert_allclose(tied.covariances_, lda.covariance_, rtol=1e-10)
    np.testing.assert_allclose(tied.predict_proba(X), lda.predict_proba(X), atol=1e-10)
    np.testing.assert_allclose(X @ tied.coef_.T + tied.intercept_ - tied.decision_function(X), 0, atol=1e-8)
    nb = GaussianNB(var_smoothing=0).fit(X, y)
    diag = CertifiedGMMClassifier(covariance_type="diag", **plain).fit(X, y)
    np.testing.assert_allclose(diag.covariances_, nb.var_, rtol=1e-10)
    np.testing.assert_allclose(diag.predict_proba(X), nb.predict_proba(X), atol=1e-9)
    spherical = CertifiedGMMClassifier(covariance_type="spherical", **plain).fit(X, y)
    np.testing.assert_allclose(spherical.covariances_, nb.var_.mean(axis=1), rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_log_densities_are_those_of_scipy(iris, kind):
    X, y = iris
    model = CertifiedGMMClassifier(covariance_type=kind, priors=[0.2, 0.3, 0.5]).fit(X, y)
    S = model.covariances_
    dense = {
        "tied": lambda: [S] * 3,
        "full": lambda: S,
        "diag": lambda: map(np.diag, S),
        "spherical": lambda: [v * np.eye(4) for v in S],
    }
    joint = np.array(
        [p * multivariate_normal(m, c).pdf(X) for p, m, c in zip(model.priors_, model.means_, dense[kind](), strict=True)]
    ).T
    np.testing.assert_allclose(model.score_samples(X), np.log(joint.sum(axis=1)), atol=1e-9)
    np.testing.assert_allclose(model.predict_proba(X), joint / joint.sum(axis=1, keepdims=True), atol=1e-9)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))
    assert (model.classes_[model.decision_function(X).argmax(axis=1)] == model.predict(X)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_partial_fit_over_batches_is_fit_on_their_union(offset, kind):
    X, y = offset
    whole = CertifiedGMMClassifier(covariance_type=kind).fit(X, y)
    parts = CertifiedGMMClassifier(covariance_type=kind)
    order = np.argsort(y, kind="stable")  # classes arrive one after another, the hardest order
    for batch in np.array_split(order, 7):
        parts.partial_fit(X[batch], y[batch], classes=[0, 1, 2])
    for name in ("means_", "covariances_", "priors_", "shrinkage_", "class_count_"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(parts.certify(X).radius, whole.certify(X).radius, rtol=1e-8)
    more = CertifiedGMMClassifier(covariance_type=kind, shrinkage=0.1).fit(X[:100], y[:100]).partial_fit(X[100:], y[100:])
    both = CertifiedGMMClassifier(covariance_type=kind, shrinkage=0.1).fit(X, y)
    np.testing.assert_allclose(more.covariances_, both.covariances_, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_integer_weights_are_repeated_points_and_zero_is_absence(offset, kind):
    X, y = offset
    weights = np.random.default_rng(1).integers(0, 4, len(y))
    weighted = CertifiedGMMClassifier(covariance_type=kind).fit(X, y, sample_weight=weights)
    repeated = CertifiedGMMClassifier(covariance_type=kind).fit(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    for name in ("means_", "covariances_", "priors_", "shrinkage_"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-10)


def test_string_labels_pickling_and_cloning(iris):
    X, y = iris
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = CertifiedGMMClassifier(covariance_type="full").fit(X, names)
    assert model.predict(X[:1])[0] == "setosa" and model.certify(X[:1]).runner_up[0] in ("versicolor", "virginica")
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.certify(X).radius, model.certify(X).radius)
    assert not hasattr(clone(model), "classes_")


@pytest.mark.parametrize("kind", KINDS)
def test_samples_follow_the_fitted_mixture(kind):
    rng = np.random.default_rng(0)
    means = np.array([[0.0, 0.0], [5.0, 1.0]])
    S = np.array([[2.0, 0.5], [0.5, 1.0]])
    covariances = {"tied": S, "full": [S, np.eye(2)], "diag": [[1.0, 2.0], [3.0, 0.5]], "spherical": [1.0, 2.0]}[kind]
    model = CertifiedGMMClassifier.from_parameters(means, covariances, [0.3, 0.7], ["b", "a"], covariance_type=kind)
    assert list(model.classes_) == ["a", "b"] and model.priors_[0] == 0.7
    model.random_state = int(rng.integers(100))
    X, y = model.sample(20_000)
    assert (y == "a").mean() == pytest.approx(0.7, abs=0.02)
    refit = CertifiedGMMClassifier(covariance_type=kind, shrinkage=None).fit(X, y)
    np.testing.assert_allclose(refit.means_, model.means_, atol=0.08)
    np.testing.assert_allclose(refit.covariances_, model.covariances_, atol=0.15)
    np.testing.assert_array_equal(model.sample(5)[0], model.sample(5)[0])


# -- target_radius ---------------------------------------------------------------------------------------------------


def test_target_radius_maximises_certified_accuracy_on_the_training_points():
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    X = rng.standard_normal((300, 10)) * np.geomspace(0.05, 3, 10) + 0.6 * rng.standard_normal((3, 10))[y]
    X[:, 0] = 0.05 * rng.standard_normal(300) + 0.1 * y
    r = 0.7
    plain = CertifiedGMMClassifier().fit(X, y)
    robust = CertifiedGMMClassifier(target_radius=r).fit(X, y)
    certified = robust.certify(X).certified_accuracy(y, r)
    assert certified > plain.certify(X).certified_accuracy(y, r) + 0.1
    np.testing.assert_allclose(robust.covariances_, plain.covariances_ + robust.robust_shrinkage_ * np.eye(10), rtol=1e-12)
    for c in np.geomspace(1e-3, 1e4, 43) * np.trace(plain.covariances_) / 10:
        rival = CertifiedGMMClassifier.from_parameters(plain.means_, plain.covariances_ + c * np.eye(10), plain.priors_)
        assert rival.certify(X).certified_accuracy(y, r) <= certified + 1e-12


# -- not yet fitted ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use", [lambda m, X: m.predict(X), certify, lambda m, X: m.sample(2), lambda m, X: certify(make_pipeline(m), X)]
)
def test_batches_that_lack_classes_say_which(use):
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])
    model = CertifiedGMMClassifier().partial_fit(X[:60], names[y[:60]], classes=names)
    with pytest.raises(NotFittedError, match=r"no samples yet of the classes \['virginica'\].*partial_fit"):
        use(model, X)
    use(model.partial_fit(X[60:], names[y[60:]]), X)


def test_batches_with_too_few_points_of_a_class_say_so():
    X, y = load_iris(return_X_y=True)
    model = CertifiedGMMClassifier(covariance_type="full", shrinkage=None, reg_covar=0)
    rows = np.append(np.arange(0, 100), 149)
    model.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
    with pytest.raises(NotFittedError, match="too few samples yet.*class 2.*partial_fit"):
        certify(model, X)
    assert model.partial_fit(X[100:149], y[100:149]).predict(X).shape == (150,)


# -- from_parameters -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape, kind",
    [((3, 2, 2), "full"), ((2, 2), "tied"), ((3, 2), "diag"), ((3,), "spherical")],
    ids=KINDS[1:2] + ["tied", "diag", "spherical"],
)
def test_the_shape_of_the_covariances_says_what_they_are(shape, kind):
    covariances = np.broadcast_to(np.eye(2) if shape[-2:] == (2, 2) else 1.0, shape)
    model = CertifiedGMMClassifier.from_parameters(np.zeros((3, 2)), covariances)
    assert model.covariance_type == kind and model.covariances_.shape == shape


def test_a_square_array_is_shared_if_it_is_a_covariance_and_variances_otherwise():
    make = CertifiedGMMClassifier.from_parameters
    assert make(np.zeros((2, 2)), [[1.0, 0.3], [0.3, 1.0]]).covariance_type == "tied"
    assert make(np.zeros((2, 2)), [[1.0, 2.0], [3.0, 4.0]]).covariance_type == "diag"
    assert make(np.zeros((2, 2)), [[2.0, 1.0], [1.0, 2.0]], covariance_type="diag").covariance_type == "diag"


# -- bad input -------------------------------------------------------------------------------------------------------

GOOD_X, GOOD_Y = np.random.default_rng(0).standard_normal((20, 3)), np.arange(20) % 2


@pytest.mark.parametrize(
    "parameters, message",
    [
        (dict(covariance_type="banana"), "covariance_type must be one of"),
        (dict(shrinkage=1.5), r"float in \[0, 1\]"),
        (dict(shrinkage="lw"), "shrinkage must be"),
        (dict(shrinkage=True), "shrinkage must be"),
        (dict(reg_covar=-1), "reg_covar must be"),
        (dict(reg_covar=np.nan), "reg_covar must be"),
        (dict(decision="nearest"), "decision must be one of"),
        (dict(target_radius=-1.0), "target_radius must be a positive"),
        (dict(target_radius=np.inf), "target_radius must be a positive"),
        (dict(target_radius=1.0, covariance_type="full"), 'target_radius needs covariance_type="tied"'),
        (dict(target_radius=1.0, decision="nearest-ellipsoid"), "target_radius needs"),
        (dict(priors=[0.5, 0.6]), "priors must sum to 1"),
        (dict(priors=[1.5, -0.5]), "not negative"),
        (dict(priors=[0.2, 0.3, 0.5]), r"priors must have shape \(2,\)"),
        (dict(priors=[np.nan, 1.0]), "finite"),
    ],
)
def test_bad_parameters_are_refused_by_name(parameters, message):
    with pytest.raises(ValueError, match=message):
        CertifiedGMMClassifier(**parameters).fit(GOOD_X, GOOD_Y)


@pytest.mark.parametrize(
    "X, y, kwargs, message",
    [
        (np.full((20, 3), np.nan), GOOD_Y, {}, "NaN"),
        (np.full((20, 3), np.inf), GOOD_Y, {}, "infinity"),
        (GOOD_X, np.zeros(20), {}, "at least 2 classes, got 1 class"),
        (GOOD_X, np.linspace(0, 1, 20), {}, "Unknown label type"),
        (GOOD_X, GOOD_Y[:5], {}, "inconsistent"),
        (GOOD_X, GOOD_Y, dict(sample_weight=np.zeros(20)), "zero"),
        (GOOD_X, GOOD_Y, dict(sample_weight=-np.ones(20)), "not be negative"),
        (GOOD_X, GOOD_Y, dict(sample_weight=GOOD_Y), "at least 2 classes"),
        (np.ones((20, 3)), GOOD_Y, {}, "all classes .tied. .* rank 0 < 3"),
    ],
)
def test_bad_data_are_refused_with_the_remedy(X, y, kwargs, message):
    with pytest.raises(ValueError, match=message):
        CertifiedGMMClassifier().fit(X, y, **kwargs)


@pytest.mark.parametrize(
    ("covariances", "words"),
    [
        ([[1.0, 2.0], [2.0, 1.0]], 'all classes.*eigenvalue -1:.*raise its diagonal.*as "tied"'),
        ([[[1.0, 2.0], [2.0, 1.0]], np.eye(2), np.eye(2)], 'class 0 .*eigenvalue -1:.*as "full"'),
        ([[1.0, -2.0], [1.0, 1.0], [1.0, 1.0]], 'class 0 .*smallest variance -2: .*as "diag"'),
        ([1.0, 0.0, 1.0], 'class 1 .*smallest variance 0: .*as "spherical"'),
    ],
)
def test_a_given_covariance_that_is_none_is_corrected_not_estimated(covariances, words):
    means = np.arange(6.0).reshape(3, 2)
    with pytest.raises(ValueError, match=words) as found:
        CertifiedGMMClassifier.from_parameters(means, covariances)
    assert not any(word in str(found.value) for word in ("shrinkage", "more samples", "reg_covar"))


def test_a_rank_problem_names_the_class_its_counts_and_what_to_change():
    X, y = np.random.default_rng(0).standard_normal((12, 6)), np.repeat(["many", "few"], [8, 4])
    with pytest.raises(ValueError, match=r"class 'few'.* n=4 samples in d=6 features.* rank 3 < 6.*shrinkage.*reg_covar.*tied"):
        CertifiedGMMClassifier(covariance_type="full", shrinkage=None, reg_covar=0).fit(X, y)
    for repaired in (dict(), dict(shrinkage=None, reg_covar=1e-3), dict(covariance_type="tied"), dict(covariance_type="diag")):
        CertifiedGMMClassifier(**{"covariance_type": "full", "reg_covar": 0, **repaired}).fit(X, y).certify(X)


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_a_class_with_one_sample_needs_a_shared_covariance(kind):
    X, y = np.random.default_rng(0).standard_normal((12, 2)), np.repeat([0, 1], [11, 1])
    with pytest.raises(ValueError, match=r'class 1 .*n=1 samples.*more samples.*covariance_type="tied".*leave'):
        CertifiedGMMClassifier(covariance_type=kind).fit(X, y)
    assert np.isfinite(CertifiedGMMClassifier().fit(X, y).certify(X).radius).all()


def test_constant_features_work_and_stay_sound():
    X, y = load_breast_cancer(return_X_y=True)
    X = np.hstack([X[:, :4], np.full((len(X), 1), 7.0)])
    for kind in ("tied", "full"):
        model = CertifiedGMMClassifier(covariance_type=kind).fit(X, y)
        certificate = model.certify(X, return_attack=True)
        found = np.isfinite(certificate.attack_radius) & np.isfinite(certificate.attack).all(axis=1)
        assert found.mean() > 0.95 and (certificate.radius <= certificate.attack_radius).all()


@pytest.mark.parametrize(
    "means, covariances, kwargs, message",
    [
        (np.zeros(3), np.eye(3), {}, "means must have shape"),
        (np.zeros((2, 3)), np.eye(2), {}, r"covariances must have shape \(K, d, d\)"),
        (np.zeros((2, 3)), np.eye(3), dict(covariance_type="full"), r"must have shape \(2, 3, 3\)"),
        (np.zeros((2, 2)), np.array([[1.0, 0.5], [0.2, 1.0]]), dict(covariance_type="tied"), "symmetric"),
        (np.zeros((2, 2)), np.array([np.eye(2), [[1.0, 2.0], [2.0, 1.0]]]), {}, "positive definite"),
        (np.zeros((2, 2)), [1.0, -1.0], {}, "positive definite"),
        (np.zeros((2, 2)), [1.0, np.nan], {}, "finite"),
        (np.zeros((2, 2)), [1.0, 1.0], dict(priors=[0.5, 0.4]), "sum to 1"),
        (np.zeros((2, 2)), [1.0, 1.0], dict(classes=["a", "a"]), "2 different labels"),
    ],
)
def test_bad_mixtures_are_refused(means, covariances, kwargs, message):
    with pytest.raises(ValueError, match=message):
        CertifiedGMMClassifier.from_parameters(means, covariances, **kwargs)


def test_partial_fit_says_what_it_cannot_do():
    with pytest.raises(ValueError, match="partial_fit cannot choose"):
        CertifiedGMMClassifier(target_radius=1.0).partial_fit(GOOD_X, GOOD_Y, classes=[0, 1])
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        CertifiedGMMClassifier().partial_fit(GOOD_X, GOOD_Y)
    with pytest.raises(ValueError, match="not in classes"):
        CertifiedGMMClassifier().partial_fit(GOOD_X, GOOD_Y, classes=[0, 7])
    model = CertifiedGMMClassifier().partial_fit(GOOD_X, GOOD_Y, classes=[0, 1])
    with pytest.raises(ValueError, match="not the same as on the first call"):
        model.partial_fit(GOOD_X, GOOD_Y, classes=[0, 1, 2])


def test_a_distance_rule_has_no_probabilities():
    model = CertifiedGMMClassifier(decision="nearest-ellipsoid").fit(GOOD_X, GOOD_Y)
    assert not hasattr(model, "predict_proba") and np.isfinite(model.score_samples(GOOD_X)).all()


# -- once broken -----------------------------------------------------------------------------------------------------


def test_batches_too_small_for_a_covariance_are_counted_once_and_wait_for_more():
    from sklearn.exceptions import NotFittedError

    X, y = load_iris(return_X_y=True)
    model = CertifiedGMMClassifier().partial_fit(X[[0, 50, 100]], y[[0, 50, 100]], classes=[0, 1, 2])
    with pytest.raises(NotFittedError):
        model.predict(X)
    rest = np.setdiff1d(np.arange(150), [0, 50, 100])
    model.partial_fit(X[rest], y[rest])
    np.testing.assert_allclose(model.covariances_, CertifiedGMMClassifier().fit(X, y).covariances_, rtol=1e-10)


def test_a_fit_leaves_nothing_of_the_one_before():
    model = CertifiedGMMClassifier(target_radius=0.1).fit(GOOD_X, GOOD_Y)
    model.set_params(covariance_type="full", target_radius=None).fit(GOOD_X, GOOD_Y)
    assert not hasattr(model, "coef_") and not hasattr(model, "robust_shrinkage_")
    model.set_params(covariance_type="tied").fit(GOOD_X, GOOD_Y).set_params(covariance_type="full")
    with pytest.raises(ValueError, match="one scatter for all classes"):
        model.partial_fit(GOOD_X, GOOD_Y)


def test_a_covariance_symmetric_to_rounding_is_shared():
    S = np.array([[1, 0.5], [np.nextafter(0.5, 1), 1]])
    assert CertifiedGMMClassifier.from_parameters([[0.0, 0.0], [3.0, 0.0]], S).covariance_type == "tied"


def test_priors_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="priors must be an array of probabilities"):
        CertifiedGMMClassifier(priors="uniform").fit(GOOD_X, GOOD_Y)


SHARES = pd.Series([0.5, 0.3, 0.2], index=[1, 0, 2])


@pytest.mark.parametrize(
    "priors",
    [
        {0: 0.5, 1: 0.3, 2: 0.2},
        {0.5, 0.3, 0.2},
        "uniform",
        0.5,
        [None, 0.5, 0.5],
        [0.5, 0.5],
        [[0.5, 0.3, 0.2]],
        SHARES,
        object(),
    ],
    ids=lambda priors: type(priors).__name__,
)
def test_bad_priors_are_refused_in_words_and_labelled_ones_by_their_labels(priors):
    X, y = load_wine(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    message = "priors must (be an array of probabilities, one per class in the order|have shape|be finite)"
    with pytest.raises(ValueError, match=message):
        CertifiedGMMClassifier(priors=priors).fit(X, y)
    with pytest.raises(ValueError, match=message):
        CertifiedGMMClassifier.from_parameters(np.eye(3), np.eye(3), priors, covariance_type="tied")
    in_order = SHARES.loc[[0, 1, 2]]
    for good in (in_order, in_order.to_numpy(), in_order.tolist()):
        np.testing.assert_array_equal(CertifiedGMMClassifier(priors=good).fit(X, y).priors_, [0.3, 0.5, 0.2])
    named = CertifiedGMMClassifier(priors=pd.Series([0.3, 0.5, 0.2])).fit(X, np.array(["a", "b", "c"])[y])
    np.testing.assert_array_equal(named.priors_, [0.3, 0.5, 0.2])


def test_numbers_that_are_none_are_refused_in_words():
    X, y = load_wine(return_X_y=True)
    for name in ("tol", "reg_covar", "target_radius"):
        with pytest.raises(ValueError, match=f"{name} must be .*got True"):
            CertifiedGMMClassifier(**{name: True}).fit(X, y)
    for name in ("means", "covariances"):
        given = {"means": np.eye(2), "covariances": np.eye(2), name: {"a": 1}}
        with pytest.raises(ValueError, match=f"{name} must be an array of numbers, got"):
            CertifiedGMMClassifier.from_parameters(**given)
    with pytest.raises(ValueError, match="covariance_type must be one of"):
        CertifiedGMMClassifier.from_parameters(np.eye(2), np.eye(2), covariance_type=["tied"])
    for weight in (np.nan, np.inf, -1.0):
        with pytest.raises(ValueError, match="sample_weight|NaN|infinity"):
            CertifiedGMMClassifier().partial_fit(X, y, classes=[0, 1, 2], sample_weight=weight)
    with pytest.raises(ValueError, match="n_samples must be an integer"):
        CertifiedGMMClassifier.from_parameters(np.eye(2), np.eye(2)).sample(True)
