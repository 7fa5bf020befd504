"""What certify is asked for: scales with labels, estimators that are no classifiers, arguments of the wrong kind."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest, SelectorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, PolynomialFeatures, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skcert import (
    CertifiedGMMClassifier,
    CertifiedPipeline,
    Certifier,
    PretrainedEmbedder,
    RandomizedSmoothingClassifier,
    Uncertifiable,
    certify,
    make_certified_pipeline,
)
from skcert.adapters import _STEPS
from skcert.metrics import average_certified_radius_scorer, certified_accuracy_curve, certified_accuracy_scorer
from skcert.testing import check_certificate

X, Y = load_wine(return_X_y=True)
FRAME = load_wine(as_frame=True).data
SCALE = FRAME.std()
MODEL = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
NAMED = make_pipeline(StandardScaler(), LogisticRegression()).fit(FRAME, Y)
SEVERAL = np.column_stack([Y == 0, Y == 1, Y > 0]).astype(int)


# -- one row -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        NAMED,
        CertifiedGMMClassifier().fit(FRAME, Y),
        make_pipeline(ColumnTransformer([("all", StandardScaler(), list(FRAME))]), LogisticRegression()).fit(FRAME, Y),
        RandomizedSmoothingClassifier(NAMED, sigma=0.1, n_certify=200),
    ],
    ids=["pipeline", "classifier", "columns", "votes"],
)
def test_a_row_that_is_a_series_is_refused_with_the_way_to_pass_it(model):
    with pytest.raises(ValueError, match=r"X is a Series, .* expected a table, one row for each point.*X\.iloc\[\[0\]\]"):
        certify(model, FRAME.iloc[0])


# -- scales with labels ------------------------------------------------------------------------------------------------


class Labelled:
    """As xarray has it."""

    coords = ("feature",)

    def __init__(self, series):
        self.series = series

    def to_series(self):
        return self.series


LABELLED = {
    "Series": SCALE,
    "reversed Series": SCALE[::-1],
    "dict": SCALE.to_dict(),
    "frame of one row": FRAME.agg(["std"]),
    "data array": Labelled(SCALE),
    "other numbers": pd.Series(SCALE.to_numpy(), index=range(1, 14)),
    "numbers in another order": pd.Series(SCALE.to_numpy())[::-1],
}


@pytest.mark.parametrize("scale", LABELLED.values(), ids=LABELLED)
def test_a_labelled_scale_without_names_to_match_is_refused(scale):
    with pytest.raises(ValueError, match=r"whose entries have labels, and needs points with column names.*\.to_numpy\(\)"):
        certify(MODEL, X, feature_scale=scale)


def test_a_labelled_scale_after_a_step_asks_for_its_names_and_these_can_be_had():
    scale = dict.fromkeys(FRAME, 2.0)
    with pytest.raises(ValueError, match=r'a space after a step.*set_output\(transform="pandas"\)'):
        certify(NAMED, FRAME, space="standardscaler", feature_scale=scale)
    named = make_pipeline(StandardScaler(), LogisticRegression()).set_output(transform="pandas").fit(FRAME, Y)
    plain = certify(named, FRAME, space="standardscaler")
    np.testing.assert_allclose(
        certify(named, FRAME, space="standardscaler", feature_scale=scale).radius, plain.radius / 2, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("points", "scale", "words"),
    [
        (FRAME, {"hue": np.nan}, "finite and not negative.*got nan for column 'hue'"),
        (FRAME, {"hue": -2.0, "ash": -1.0}, "got -1 for column 'ash'"),
        (X, [*np.ones(12), np.inf], "got inf for column 12"),
        (FRAME, {"hue": 1e70}, r"between 1e-60 and 1e\+60.*got 1e\+70 for column 'hue'"),
        (X, [1e-70, *np.ones(12)], "got 1e-70 for column 0"),
    ],
)
def test_a_scale_that_makes_no_sense_is_named_with_its_column(points, scale, words):
    with pytest.raises(ValueError, match=words):
        certify(NAMED if points is FRAME else MODEL, points, feature_scale=scale)


@pytest.mark.parametrize("kind", ["Series", "reversed Series", "dict", "frame of one row", "data array"])
def test_a_labelled_scale_goes_by_name_in_any_order(kind):
    expected = certify(NAMED, FRAME, feature_scale=SCALE.to_numpy()).radius
    found = certify(NAMED, FRAME, feature_scale=LABELLED[kind])
    np.testing.assert_array_equal(found.radius, expected)
    shuffled = LABELLED[kind]
    if hasattr(shuffled, "sample"):
        shuffled = shuffled.sample(frac=1, random_state=0, axis="columns" if kind == "frame of one row" else "index")
    np.testing.assert_array_equal(certify(NAMED, FRAME, feature_scale=shuffled).radius, expected)


def test_a_frame_of_one_row_of_polars_goes_by_name():
    pl = pytest.importorskip("polars")
    frame = pl.from_pandas(FRAME)
    expected = certify(NAMED, frame, feature_scale=frame.std().to_numpy()[0]).radius
    np.testing.assert_array_equal(certify(NAMED, frame, feature_scale=frame.std()[:, ::-1]).radius, expected)
    np.testing.assert_array_equal(certify(NAMED, frame, feature_scale=pl.Series(frame.std().to_numpy()[0])).radius, expected)


def test_a_series_that_is_only_numbered_goes_by_position():
    expected = certify(MODEL, X, feature_scale=X.std(axis=0)).radius
    for scale in (pd.Series(X.std(axis=0)), pd.Series(X.std(axis=0), index=list(range(13)))):
        np.testing.assert_array_equal(certify(MODEL, X, feature_scale=scale).radius, expected)
        np.testing.assert_array_equal(certify(NAMED, FRAME, feature_scale=scale).radius, expected)


def test_columns_that_are_numbered_otherwise_are_names():
    numbered = pd.DataFrame(X)[np.random.default_rng(0).permutation(13)]
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(numbered.to_numpy(), Y)
    scale = pd.Series(X.std(axis=0))
    expected = certify(model, numbered, feature_scale=scale[numbered.columns].to_numpy()).radius
    np.testing.assert_array_equal(certify(model, numbered, feature_scale=scale).radius, expected)
    found = check_certificate(model, numbered[:3], certify(model, numbered[:3], feature_scale=scale), random_state=0)
    assert found is None
    with pytest.raises(ValueError, match=r"do not exist: \[0\]"):
        certify(model, numbered.rename(columns=lambda at: at + 1), feature_scale=scale)


@pytest.mark.parametrize(
    "scale, message",
    [
        (pd.Series([1.0, 2.0], index=["colour", "alcohol"]), "columns that do not exist: ..colour"),
        (pd.Series(np.ones(13), index=[f"f{k}" for k in range(13)]), "columns that do not exist"),
        (pd.Series(dtype=float), "without entries"),
        (pd.Series([1.0, 2.0], index=["hue", "hue"]), "more than once"),
        (FRAME[:2], r"a frame of shape \(2, 13\): expected one row"),
    ],
)
def test_labels_that_are_not_those_of_the_columns_are_refused(scale, message):
    with pytest.raises(ValueError, match=message):
        certify(NAMED, FRAME, feature_scale=scale)


def test_columns_that_share_a_name_are_refused_by_name():
    twice = FRAME.set_axis(["a", "a", *FRAME.columns[2:]], axis=1)
    for call in (
        lambda: certify(MODEL, twice),
        lambda: certify(MODEL, twice, feature_scale={"a": 2.0}),
        lambda: CertifiedGMMClassifier().fit(twice, Y),
        lambda: CertifiedGMMClassifier().partial_fit(twice, Y, classes=[0, 1, 2]),
    ):
        with pytest.raises(ValueError, match="several columns named ..a..: give each column a name of its own"):
            call()


# -- no classifiers ----------------------------------------------------------------------------------------------------


NO_CLASSIFIERS = {
    "nothing": (None, "got None, which has no fit"),
    "text": ("LogisticRegression", "got 'LogisticRegression'"),
    "points": (X, "got ndarray, which has no fit. The estimator goes before the points"),
    "function": (np.tanh, "got ufunc"),
    "class": (LogisticRegression, "got the class LogisticRegression: pass a fitted instance"),
    "our class": (CertifiedGMMClassifier, "got the class CertifiedGMMClassifier"),
    "regressor": (Ridge().fit(X, Y), "got Ridge, a regressor"),
    "unfitted regressor": (Ridge(), "got Ridge, a regressor"),
    "clusterer": (KMeans(2, n_init=1).fit(X), "got KMeans, a clusterer"),
    "outlier detector": (IsolationForest(n_estimators=3).fit(X), "got IsolationForest, an outlier detector"),
    "density": (GaussianMixture().fit(X), "got GaussianMixture, a density estimator"),
    "scaler": (StandardScaler().fit(X), "got StandardScaler, which is no classifier"),
    "unfitted scaler": (StandardScaler(), "got StandardScaler, which is no classifier"),
    "pipeline of a scaler": (make_pipeline(StandardScaler()).fit(X), "a Pipeline that ends in StandardScaler, which is no"),
    "pipeline of nothing": (make_pipeline(StandardScaler(), "passthrough").fit(X), "a Pipeline that ends in 'passthrough'"),
    "empty pipeline": (Pipeline([]), "got Pipeline, which is no classifier"),
    "pipeline of a regressor": (
        make_pipeline(StandardScaler(), Ridge()).fit(X, Y),
        "a Pipeline that ends in Ridge, a regressor",
    ),
    "unfitted pipeline of a regressor": (make_pipeline(StandardScaler(), Ridge()), "ends in Ridge, a regressor"),
    "our pipeline": (CertifiedPipeline([("model", LinearRegression())]).fit(X, Y), "ends in LinearRegression, a regressor"),
    "search": (GridSearchCV(Ridge(), {"alpha": [1.0]}).fit(X, Y), "got GridSearchCV, a regressor"),
    "unfitted search": (GridSearchCV(Ridge(), {"alpha": [1.0]}), "got GridSearchCV, a regressor"),
    "frozen": (FrozenEstimator(DummyRegressor().fit(X, Y)), "a regressor"),
    "embedder": (PretrainedEmbedder(np.tanh).fit(X), "got PretrainedEmbedder, which is no classifier"),
}


@pytest.mark.parametrize(("estimator", "message"), NO_CLASSIFIERS.values(), ids=NO_CLASSIFIERS)
def test_what_is_no_classifier_is_uncertifiable_by_name(estimator, message):
    expected = f"Expected a fitted classifier, or a Pipeline that ends in one; {message}"
    if not message.startswith("got"):
        expected = message
    for call in (
        lambda: certify(estimator, X),
        lambda: Certifier(estimator),
        lambda: certified_accuracy_scorer(0.1)(estimator, X, Y),
        lambda: average_certified_radius_scorer()(estimator, X, Y),
    ):
        with pytest.raises(Uncertifiable, match=expected):
            call()


def test_a_search_around_a_regressor_says_so():
    search = GridSearchCV(Ridge(), {"alpha": [1.0]}, scoring=certified_accuracy_scorer(0.1), error_score="raise")
    with pytest.raises(Uncertifiable, match="Ridge, a regressor"):
        search.fit(X, Y)
    with pytest.raises(Uncertifiable, match="ends in Ridge"):
        make_certified_pipeline(StandardScaler(), Ridge()).fit(X, Y).certify(X)


@pytest.mark.parametrize(
    "classifier",
    [
        LogisticRegression(),
        CertifiedGMMClassifier(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        GridSearchCV(LogisticRegression(), {"C": [1.0]}),
        FrozenEstimator(LogisticRegression()),
        RandomizedSmoothingClassifier(LogisticRegression(), sigma=1.0),
    ],
    ids=lambda each: type(each).__name__,
)
def test_classifiers_that_are_not_fitted_are_said_to_be_that(classifier):
    with pytest.raises(NotFittedError):
        certify(classifier, X)


@pytest.mark.parametrize(
    "classifier",
    [
        MultiOutputClassifier(LogisticRegression()),
        ClassifierChain(LogisticRegression()),
        OneVsRestClassifier(LogisticRegression()),
        RidgeClassifier(),
        KNeighborsClassifier(),
        DecisionTreeClassifier(),
        make_pipeline(StandardScaler(), RidgeClassifier()),
    ],
    ids=lambda each: type(each).__name__,
)
def test_classifiers_of_several_outputs_are_uncertifiable(classifier):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = classifier.fit(X, SEVERAL)
    with pytest.raises(
        Uncertifiable, match="several outputs at once.*Certify one classifier for each|multilabel.*estimators_ one by one"
    ):
        certify(fitted, X)


def test_spaces_that_are_no_names_and_points_that_are_no_table_are_refused_in_words():
    for space in ([1], {"a": 1}, {1}, None, 3, np.array(["latents"]), pd.Series(["latents"])):
        with pytest.raises(ValueError, match="space must be 'input', 'latents' or the name of a step, got|space must be"):
            certify(MODEL, X, space=space)
    with pytest.raises(ValueError, match="Expected 2D array|X is a Series"):
        certify(MODEL, FRAME["hue"])
    for estimator in (None, "a", LogisticRegression):
        with pytest.raises(TypeError, match="estimator must be the fitted classifier that was certified"):
            check_certificate(estimator, X[:3], certify(MODEL, X[:3]))


# -- curves ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radii", [5, 0.5, "a", ["a"], [-1.0], [np.nan], [[0.1]], np.array(1.0), {"a": 1}])
def test_the_radii_of_a_curve_are_a_list_of_numbers(radii):
    with pytest.raises(ValueError, match="radii must be (a list of )?numbers >= 0"):
        certified_accuracy_curve(Y[:5], certify(MODEL, X[:5]), radii=radii)


# -- what there is no rule for -----------------------------------------------------------------------------------------


def test_a_classifier_without_a_rule_is_pointed_to_votes():
    with pytest.raises(
        Uncertifiable, match=r"No rule for the classifier KNeighborsClassifier.*RandomizedSmoothingClassifier\("
    ):
        certify(KNeighborsClassifier().fit(X, Y), X)


def test_a_step_without_a_rule_is_told_what_has_one_in_public_names():
    model = make_pipeline(StandardScaler(), PolynomialFeatures(), LogisticRegression()).fit(X[:, :2], Y)
    with pytest.raises(Uncertifiable, match="SelectorMixin and its subclasses, .*SimpleImputer"):
        certify(model, X[:, :2])


# -- labels that none is predicted as ----------------------------------------------------------------------------------


def test_labels_none_of_which_is_a_class_are_warned_about():
    fitted = CertifiedGMMClassifier().fit(X, np.array(["a", "b", "c"])[Y])
    certificate = certify(fitted, X)
    with pytest.warns(
        UserWarning, match=r"None of the labels in y, \['A', 'B', 'C'\], is a class of the model, \['a', 'b', 'c'\]"
    ):
        assert certificate.certified_accuracy(np.array(["A", "B", "C"])[Y], 0) == 0
    with pytest.warns(UserWarning, match="None of the labels in y"):
        certify(MODEL, X).certified_accuracy(Y + 3, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        certificate.certified_accuracy(np.array(["a", "b", "elsewhere"])[Y], 0)  # points of a class that was never seen
        pickle.loads(pickle.dumps(certificate)).certified_accuracy(np.array(["A", "B", "C"])[Y], 0)  # it has forgotten


# -- steps that are not fitted -----------------------------------------------------------------------------------------


UNFITTED = {
    SelectorMixin: SelectKBest(k=2),
    ColumnTransformer: ColumnTransformer([("a", StandardScaler(), [0])]),
    FeatureUnion: FeatureUnion([("a", StandardScaler())]),
    PretrainedEmbedder: PretrainedEmbedder(np.asarray, lipschitz=1.0),
}


@pytest.mark.parametrize("kind", [kind for kind in _STEPS if kind.__module__.startswith(("sklearn", "skcert"))])
def test_a_step_that_is_not_fitted_is_named(kind):
    step = UNFITTED.get(kind) or kind()
    model = Pipeline([("first", step), ("model", MODEL[-1])])
    if kind in (FunctionTransformer, Normalizer):  # they learn nothing
        assert (certify(model, X).radius > 0).any()
        return
    with pytest.raises(NotFittedError, match=rf"The step 'first' \({type(step).__name__}\) is not fitted"):
        certify(model, X)


def test_an_unfitted_step_within_another_is_named():
    for within in (make_pipeline(PCA(2)), FeatureUnion([("pca", PCA(2))])):
        with pytest.raises(NotFittedError, match=r"The step 'outer(__pca)?' \((PCA|FeatureUnion)\) is not fitted"):
            certify(Pipeline([("outer", within), ("model", MODEL[-1])]), X)
