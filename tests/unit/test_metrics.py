"""skcert.metrics, claim by claim."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcert import Certificate, CertifiedGMMClassifier, certify
from skcert.datasets import make_circle_mixture
from skcert.metrics import (
    average_certified_radius,
    average_certified_radius_scorer,
    certified_accuracy_curve,
    certified_accuracy_score,
    certified_accuracy_scorer,
)

inf = np.inf


def certificate_of(prediction, radius, **changes):
    prediction, radius = np.asarray(prediction), np.asarray(radius, dtype=float)
    fields = {
        "prediction": prediction,
        "radius": radius,
        "runner_up": prediction,
        "attack_radius": np.full(len(radius), inf),
        "attack": None,
        "norm": 2,
        "space": "input",
        "guarantee": "deterministic",
        "confidence": 1.0,
        "method": "exact",
    }
    return Certificate(**fields | changes)


@pytest.fixture
def certificate():
    """Five points, the last one predicted wrongly and farthest from a boundary, two of one radius."""
    return certificate_of([0, 0, 1, 1, 1], [2.0, 0.5, 1.0, 1.0, 7.0])


Y = [0, 0, 1, 1, 0]


@pytest.fixture
def random_case():
    rng = np.random.default_rng(0)
    radius = rng.exponential(size=200).round(1)  # rounding makes ties and zeros
    prediction = rng.integers(3, size=200)
    return rng.integers(3, size=200), certificate_of(prediction, radius)


# -- certified accuracy ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("radius", "expected"), [(0, 0.8), (0.5, 0.8), (0.50001, 0.6), (1, 0.6), (1.5, 0.2), (2, 0.2), (3, 0.0)]
)
def test_certified_accuracy_counts_right_points_whose_radius_is_at_least_r(certificate, radius, expected):
    score = certified_accuracy_score(Y, certificate, radius)
    assert isinstance(score, float) and score == expected


def test_at_radius_zero_it_is_the_accuracy_score(random_case):
    y, certificate = random_case
    assert certified_accuracy_score(y, certificate, 0) == pytest.approx(accuracy_score(y, certificate.prediction), abs=1e-15)


def test_an_infinite_radius_counts_at_every_radius():
    assert certified_accuracy_score([0, 0], certificate_of([0, 0], [inf, 1.0]), 1e300) == 0.5


def test_pandas_labels_and_strings_are_compared_as_labels(certificate):
    assert certified_accuracy_score(pd.Series(Y, index=list("abcde")), certificate, 1) == 0.6
    texts = certificate_of(["a", "b"], [1.0, 1.0])
    assert certified_accuracy_score(pd.Series(["a", "a"]), texts, 1) == 0.5
    assert certified_accuracy_score(pd.Series(["a", "a"], dtype="category"), texts, 1) == 0.5


# -- the curve -------------------------------------------------------------------------------------------------------


def test_the_breakpoints_are_zero_and_where_a_right_point_is_lost(certificate):
    radii, accuracy = certified_accuracy_curve(Y, certificate)
    np.testing.assert_array_equal(radii, [0, 0.5, 1, 2])  # not 7: that point is predicted wrongly
    np.testing.assert_array_equal(accuracy, [0.8, 0.8, 0.6, 0.2])


def test_between_breakpoints_the_curve_has_the_value_of_the_right_one(random_case):
    y, certificate = random_case
    radii, accuracy = certified_accuracy_curve(y, certificate)
    for r in np.random.default_rng(1).uniform(0, 1.2 * radii[-1], size=300):
        k = np.searchsorted(radii, r, side="left")
        expected = accuracy[k] if k < len(radii) else 0.0
        assert certified_accuracy_score(y, certificate, r) == expected
    assert (np.diff(radii) > 0).all() and (np.diff(accuracy[1:]) < 0).all()


def test_just_after_a_breakpoint_the_curve_has_fallen(random_case):
    y, certificate = random_case
    radii, accuracy = certified_accuracy_curve(y, certificate)
    after = certificate.certified_accuracy(y, np.nextafter(radii[1:], inf))
    assert (after < accuracy[1:]).all()


def test_given_radii_are_kept_in_their_order(certificate):
    radii, accuracy = certified_accuracy_curve(Y, certificate, radii=[2, 0, 1])
    np.testing.assert_array_equal(radii, [2, 0, 1])
    np.testing.assert_array_equal(accuracy, [0.2, 0.8, 0.6])


def test_with_every_prediction_wrong_the_curve_is_zero(certificate):
    radii, accuracy = certified_accuracy_curve([5] * 5, certificate)
    np.testing.assert_array_equal(radii, [0])
    np.testing.assert_array_equal(accuracy, [0])


def test_a_curve_that_never_falls_ends_at_infinity():
    radii, accuracy = certified_accuracy_curve([0, 0, 0], certificate_of([0, 0, 1], [1.0, inf, inf]))
    np.testing.assert_array_equal(radii, [0, 1, inf])
    np.testing.assert_allclose(accuracy, [2 / 3, 2 / 3, 1 / 3])


# -- the average radius ----------------------------------------------------------------------------------------------


def test_the_average_radius_counts_wrong_points_as_zero(random_case):
    y, certificate = random_case
    expected = np.mean(certificate.radius * (certificate.prediction == y))
    assert average_certified_radius(y, certificate) == pytest.approx(expected, rel=1e-13)
    assert isinstance(average_certified_radius(y, certificate), float)


@pytest.mark.parametrize(
    ("prediction", "radius", "expected"),
    [([0, 1], [inf, 1], inf), ([1, 0], [inf, 1], 0.5), ([1, 1], [inf, inf], 0.0), ([0, 0], [0, 0], 0.0)],
    ids=["right and infinite", "wrong and infinite", "all wrong", "ties"],
)
def test_the_average_radius_is_never_nan(prediction, radius, expected):
    assert average_certified_radius([0, 0], certificate_of(prediction, radius)) == expected


# -- scorers ---------------------------------------------------------------------------------------------------------

SCORERS = [certified_accuracy_scorer(0.5, norm=1, method="exact"), average_certified_radius_scorer(space="latents")]


@pytest.fixture
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture
def pipe():
    return make_pipeline(StandardScaler(), CertifiedGMMClassifier())


def test_the_scorer_certifies_as_it_was_told(iris, pipe):
    X, y = iris
    pipe.fit(X, y)
    for norm in (1, 2, inf):
        for space in ("input", "standardscaler", "latents"):
            certificate = certify(pipe, X, norm=norm, space=space)
            accuracy = certified_accuracy_scorer(0.4, norm=norm, space=space)(pipe, X, y)
            assert accuracy == certified_accuracy_score(y, certificate, 0.4)
            average = average_certified_radius_scorer(norm=norm, space=space)(pipe, X, y)
            assert average == average_certified_radius(y, certificate)
    full = CertifiedGMMClassifier(covariance_type="full").fit(X, y)
    paper = certify(full, X, method="paper")
    assert average_certified_radius_scorer(method="paper")(full, X, y) == average_certified_radius(y, paper)
    assert average_certified_radius_scorer(method="exact")(full, X, y) > average_certified_radius(y, paper)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_grid_search_tunes_certified_accuracy(iris, pipe, n_jobs):
    X, y = iris
    kinds, folds = ["tied", "full", "diag", "spherical"], StratifiedKFold(5)
    grid = {"certifiedgmmclassifier__covariance_type": kinds}
    scorer = certified_accuracy_scorer(0.25)
    search = GridSearchCV(pipe, grid, scoring=scorer, n_jobs=n_jobs, cv=folds, error_score="raise").fit(X, y)
    expected = []
    for kind in kinds:
        model = clone(pipe).set_params(certifiedgmmclassifier__covariance_type=kind)
        parts = [certify(model.fit(X[a], y[a]), X[b]).certified_accuracy(y[b], 0.25) for a, b in folds.split(X, y)]
        expected.append(np.mean(parts))
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], expected, rtol=1e-12)
    assert search.best_params_["certifiedgmmclassifier__covariance_type"] == kinds[np.argmax(expected)]
    assert search.score(X, y) == scorer(search.best_estimator_, X, y)
    assert len(set(expected)) > 1  # otherwise there is nothing to tune


def test_cross_validate_takes_several_scorers_and_data_frames(pipe):
    X, y = load_iris(return_X_y=True, as_frame=True)
    scoring = {"clean": certified_accuracy_scorer(0), "robust": certified_accuracy_scorer(0.5), "average": SCORERS[1]}
    results = cross_validate(pipe, X, y, scoring=scoring, error_score="raise")
    plain = cross_validate(pipe, X, y, scoring="accuracy")
    np.testing.assert_allclose(results["test_clean"], plain["test_score"], rtol=1e-12)
    assert (results["test_robust"] < results["test_clean"]).all() and (results["test_average"] > 0).all()


def test_string_labels_are_scored(iris, pipe):
    X, y = iris
    names = load_iris().target_names[y]
    scorer = certified_accuracy_scorer(0.25)
    assert scorer(clone(pipe).fit(X, names), X, names) == scorer(clone(pipe).fit(X, y), X, y) > 0.8


@pytest.mark.parametrize("scorer", SCORERS, ids=repr)
def test_a_scorer_pickles_and_its_repr_rebuilds_it(scorer):
    assert pickle.loads(pickle.dumps(scorer)) == scorer
    assert eval(repr(scorer)) == scorer


def test_the_repr_names_every_setting():
    expected = "certified_accuracy_scorer(radius=0.5, norm=1, space='input', method='exact', feature_scale=None)"
    assert repr(SCORERS[0]) == expected


def test_a_scorer_measures_radii_in_the_units_of_its_feature_scale(iris, pipe):
    X, y = iris
    pipe.fit(X, y)
    wide, narrow = (average_certified_radius_scorer(feature_scale=np.full(X.shape[1], unit))(pipe, X, y) for unit in (1, 4))
    np.testing.assert_allclose(wide, 4 * narrow, rtol=1e-9)
    scale = [1.0, 0.0, 2.0, 1.0]
    expected = certify(pipe, X, feature_scale=scale).certified_accuracy(y, 0.3)
    assert certified_accuracy_scorer(0.3, feature_scale=scale)(pipe, X, y) == expected


def test_one_search_can_be_scored_in_the_space_of_each_step(iris, pipe):
    X, y = iris
    pipe.fit(X, y)
    scores = {space: average_certified_radius_scorer(space=space)(pipe, X, y) for space in ("input", "latents")}
    assert scores["input"] < scores["latents"]  # standardising these columns stretches most of them


def test_the_bayes_rule_of_a_symmetric_pair_has_the_certified_accuracy_of_theory():
    """Means at +-R, unit variance: P(right and radius >= r) = Phi(R - r)."""
    from scipy.stats import norm

    mixture = make_circle_mixture(40_000, n_classes=2, circle_radius=1.0, random_state=0)
    bayes = CertifiedGMMClassifier.from_parameters(mixture.means, mixture.covariances[0], covariance_type="tied")
    _, accuracy = certified_accuracy_curve(mixture.y, bayes.certify(mixture.X), radii=[0, 0.5, 1, 2])
    np.testing.assert_allclose(accuracy, norm.cdf([1, 0.5, 0, -1]), atol=4 * 0.5 / np.sqrt(40_000))


# -- bad input -------------------------------------------------------------------------------------------------------

TWO = certificate_of([0, 1], [1.0, 1.0])
TEXTS = certificate_of(["a", "b"], [1.0, 1.0])
BAD = {
    "short y": (
        lambda: certified_accuracy_score([0], TWO, 1),
        ValueError,
        r"one label per certified point, shape \(2,\), got \(1,\)",
    ),
    "short y, curve": (lambda: certified_accuracy_curve([0], TWO), ValueError, "one label per certified point"),
    "short y, average": (lambda: average_certified_radius([0], TWO), ValueError, "one label per certified point"),
    "2-D y": (lambda: average_certified_radius([[0, 1], [1, 0]], TWO), ValueError, "1d array"),
    "NaN in y": (lambda: certified_accuracy_score([0, np.nan], TWO, 1), ValueError, "y contains NaN"),
    "NaN in object y": (
        lambda: average_certified_radius(np.array(["a", np.nan], dtype=object), TEXTS),
        ValueError,
        "contains NaN",
    ),
    "text against numbers": (lambda: certified_accuracy_score(["0", "1"], TWO, 1), ValueError, "text and numbers.*Convert y"),
    "objects of text": (
        lambda: average_certified_radius(np.array(["0", "1"], dtype=object), TWO),
        ValueError,
        "text and numbers.*Convert y",
    ),
    "numbers against text": (lambda: certified_accuracy_curve([0, 1], TEXTS), ValueError, "text and numbers.*Convert y"),
    "negative radius": (
        lambda: certified_accuracy_score([0, 1], TWO, -0.1),
        ValueError,
        r"radius must be a number >= 0.*got -0\.1",
    ),
    "NaN radius": (lambda: certified_accuracy_score([0, 1], TWO, np.nan), ValueError, "radius must be a number >= 0.*got nan"),
    "several radii": (
        lambda: certified_accuracy_score([0, 1], TWO, [0, 1]),
        ValueError,
        r"radius must be a number.*got \[0, 1\]",
    ),
    "negative radii": (lambda: certified_accuracy_curve([0, 1], TWO, [-1, 1]), ValueError, "radii must be numbers >= 0"),
    "2-D radii": (lambda: certified_accuracy_curve([0, 1], TWO, [[0, 1], [1, 2]]), ValueError, "one or a list of them"),
    "no certificate": (
        lambda: certified_accuracy_score([0, 1], [1, 1], 1),
        TypeError,
        r"got list: pass what skcert\.certify returns",
    ),
    "empty": (lambda: average_certified_radius([], certificate_of([], [])), ValueError, "no points"),
    "scorer radius": (lambda: certified_accuracy_scorer(-1), ValueError, "radius must be a number >= 0.*got -1"),
    "scorer radius, text": (lambda: certified_accuracy_scorer("0.5"), ValueError, r"radius must be a number >= 0.*got '0\.5'"),
    "scorer radius, bool": (lambda: certified_accuracy_scorer(True), ValueError, "radius must be a number >= 0.*got True"),
    "scorer norm": (lambda: certified_accuracy_scorer(1, norm=3), ValueError, r"norm must be 1, 2 or numpy\.inf.*got 3"),
    "scorer method": (lambda: average_certified_radius_scorer(method="best"), ValueError, "method must be one of.*got 'best'"),
    "scorer space": (lambda: average_certified_radius_scorer(space=0), ValueError, "space must be.*got 0"),
    "positional norm": (lambda: certified_accuracy_scorer(1, 2), TypeError, "positional argument"),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_with_what_was_expected_and_what_came(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_unknown_step_is_an_error_of_the_scorer_that_names_the_steps(iris, pipe):
    X, y = iris
    with pytest.raises(ValueError, match="standardscaler.*got 'pca'"):
        certified_accuracy_scorer(1, space="pca")(pipe.fit(X, y), X, y)
