"""Every model behind every step, in every norm, with and without scales: sound, sharp where exact, never trivial."""

import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import issparse
from sklearn import linear_model
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA, FactorAnalysis, FastICA, IncrementalPCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.feature_selection import SelectFromModel, SelectKBest, VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression, Perceptron, RidgeClassifier, SGDClassifier
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import LinearSVC

import skcert
from skcert import CertifiedGMMClassifier
from tests.pipelines.claims import hold

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence and deprecation: what is fitted is certified

# -- data --------------------------------------------------------------------------------------------------------------

_WINE, THREE = load_wine(return_X_y=True)
NUMBERS = _WINE[:, [0, 4, 6, 9, 11, 12]]  # units from 1 to 1000
TWO = (THREE == 0).astype(int)
NAMES = ["alcohol", "magnesium", "flavanoids", "colour", "dilution", "proline"]
_RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(NUMBERS, columns=NAMES)
TABLE.insert(2, "region", np.array(["south", "north", "coast"])[(THREE + (_RNG.random(178) < 0.4)) % 3])
TABLE["grade"] = np.array(["low", "mid", "high"])[_RNG.integers(0, 3, 178)]
GAPS = np.where(_RNG.random(NUMBERS.shape) < 0.15, np.nan, NUMBERS)
GAPS[:, 3] = NUMBERS[:, 3]  # one column is complete, and one has nothing
EMPTY = np.column_stack([GAPS, np.full(178, np.nan)])
GAPPY = TABLE.assign(**{name: GAPS[:, at] for at, name in enumerate(NAMES)})
GAPPY.loc[_RNG.random(178) < 0.1, "region"] = np.nan
TEXT = ("region", "grade", "note")
DATA = {"numbers": NUMBERS, "table": TABLE, "gaps": GAPS, "empty": EMPTY, "gappy": GAPPY}
AT = np.arange(3, 178, 16)  # the points that are certified


def as_asked(frame):
    """The points in a frame whose columns come in another order, with more of them."""
    frame = frame.iloc[:, ::-1].copy()
    frame.insert(1, "note", "x")
    frame.insert(3, "age", np.linspace(-1, 1, len(frame)))
    return frame


# -- models ------------------------------------------------------------------------------------------------------------

MODELS = {
    "tied": CertifiedGMMClassifier(),
    "robust": CertifiedGMMClassifier(target_radius=0.3),
    "full": CertifiedGMMClassifier(covariance_type="full"),
    "diag": CertifiedGMMClassifier(covariance_type="diag"),
    "spherical": CertifiedGMMClassifier(covariance_type="spherical"),
    "lda": LinearDiscriminantAnalysis(),
    "logistic": LogisticRegression(max_iter=50),
    "logistic binary": LogisticRegression(max_iter=50),
    "one vs rest": OneVsRestClassifier(LogisticRegression(max_iter=50)),
    "svc": LinearSVC(max_iter=100),
    "ridge": RidgeClassifier(),
    "sgd": SGDClassifier(max_iter=20, random_state=0),
    "perceptron": Perceptron(max_iter=20, random_state=0),
    "centroid": NearestCentroid(),
    "centroid priors": NearestCentroid(priors="empirical"),
    "qda": QuadraticDiscriminantAnalysis(reg_param=0.1),
    "naive bayes": GaussianNB(var_smoothing=1e-6),
    "calibrated binary": CalibratedClassifierCV(LinearSVC(max_iter=100), ensemble=False, cv=2),
    "head": None,  # a linear head with fixed weights, as wide as what reaches it
}
if hasattr(linear_model, "PassiveAggressiveClassifier"):
    MODELS["passive aggressive"] = linear_model.PassiveAggressiveClassifier(max_iter=20, random_state=0)
QUADRATIC = {"full", "diag", "spherical", "qda", "naive bayes"}


def target(model):
    return TWO if "binary" in model else THREE


class Head(skcert.Affine):
    """Weights that point at the class means: Affine, fitted."""

    def __init__(self, coef=((0.0,), (1.0,)), intercept=(0.0, 0.0), classes=None):
        super().__init__(coef, intercept, classes)

    def fit(self, X, y=None):
        X = np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype=float)
        labels = np.unique(y)
        centre, spread = X.mean(axis=0), X.std(axis=0) + 1e-3
        self.coef = np.array([(X[y == k].mean(axis=0) - centre) / spread**2 for k in labels])
        self.intercept, self.classes = -self.coef @ centre, labels
        return self


def model_of(name):
    return Head() if name == "head" else clone(MODELS[name])


# -- steps -------------------------------------------------------------------------------------------------------------


def by(kind):
    """Columns of the table in the ways a ColumnTransformer takes them."""
    left, right = {
        "name": (["proline", "alcohol"], ["colour", "magnesium"]),
        "position": ([6, 0], [4, 1]),
        "slice": (slice("alcohol", "magnesium"), slice(3, 6)),
        "mask": (np.isin(TABLE.columns, ["alcohol", "proline"]), np.isin(TABLE.columns, ["colour"])),
        "function": (lambda X: ["dilution", "alcohol"], lambda X: ["magnesium"]),
    }[kind]
    return ColumnTransformer([("a", StandardScaler(), left), ("b", PCA(1), right)])


def encoded(encoder, **kwargs):
    return ColumnTransformer([("cat", encoder, ["region", "grade"]), ("num", StandardScaler(), NAMES)], **kwargs)


def frozen(step, *data):
    return FrozenEstimator(clone(step).fit(*data))


#: name -> step, data it sees, whether radii are exact, norm of the ball after it if it is another
STEPS = {
    "nothing": (lambda: "passthrough", "numbers"),
    "standard": (lambda: StandardScaler(), "numbers"),
    "standard no mean": (lambda: StandardScaler(with_mean=False), "numbers"),
    "standard no std": (lambda: StandardScaler(with_std=False), "numbers"),
    "min max": (lambda: MinMaxScaler((-1, 2)), "numbers"),
    "min max clip": (lambda: MinMaxScaler(clip=True), "numbers", False),
    "max abs": (lambda: MaxAbsScaler(), "numbers"),
    "robust": (lambda: RobustScaler(), "numbers"),
    "robust no centre": (lambda: RobustScaler(with_centering=False, quantile_range=(10, 90)), "numbers"),
    "robust no scale": (lambda: RobustScaler(with_scaling=False), "numbers"),
    "pca": (lambda: PCA(4), "numbers"),
    "pca whiten": (lambda: PCA(4, whiten=True), "numbers"),
    "incremental pca": (lambda: IncrementalPCA(4), "numbers"),
    "svd": (lambda: TruncatedSVD(4), "numbers"),
    "lda svd": (lambda: LinearDiscriminantAnalysis(), "numbers"),
    "lda eigen": (lambda: LinearDiscriminantAnalysis(solver="eigen"), "numbers"),
    "ica": (lambda: make_pipeline(StandardScaler(), FastICA(4, max_iter=50, random_state=0)), "numbers"),
    "factors": (lambda: make_pipeline(StandardScaler(), FactorAnalysis(3, max_iter=50)), "numbers"),
    "variance": (lambda: VarianceThreshold(1.0), "numbers"),
    "k best": (lambda: SelectKBest(k=4), "numbers"),
    "from model": (lambda: SelectFromModel(LinearDiscriminantAnalysis(), max_features=4, threshold=-np.inf), "numbers"),
    "identity": (lambda: FunctionTransformer(None), "numbers"),
    "frozen": (lambda: frozen(StandardScaler(), NUMBERS), "numbers"),
    "frozen pipeline": (lambda: frozen(make_pipeline(StandardScaler(), PCA(4)), NUMBERS), "numbers"),
    "nested": (lambda: make_pipeline(StandardScaler(), make_pipeline("passthrough", PCA(4)), MinMaxScaler()), "numbers"),
    "union": (
        lambda: FeatureUnion(
            [("s", StandardScaler()), ("p", make_pipeline(StandardScaler(), PCA(2))), ("d", "drop"), ("i", "passthrough")],
            transformer_weights={"s": 0.5, "p": 3.0, "i": 0.01},
        ),
        "numbers",
    ),
    "union of clips": (
        lambda: make_union(MinMaxScaler(clip=True), make_pipeline(StandardScaler(), MinMaxScaler((0, 3), clip=True), PCA(2))),
        "numbers",
        False,
    ),
    "columns of arrays": (
        lambda: ColumnTransformer([("a", StandardScaler(), [5, 0]), ("b", RobustScaler(), slice(1, 4))], remainder="drop"),
        "numbers",
    ),
    "columns, negative": (
        lambda: ColumnTransformer([("a", MinMaxScaler(), [-1, 0])], remainder=StandardScaler()),
        "numbers",
    ),
    "columns of columns": (
        lambda: make_pipeline(
            ColumnTransformer([("a", StandardScaler(), [5, 0, 3])], remainder=StandardScaler()),
            ColumnTransformer([("b", PCA(2), [0, 4]), ("c", MaxAbsScaler(), [5, 1])]),
        ),
        "numbers",
    ),
    "by name": (lambda: by("name"), "table"),
    "by position": (lambda: by("position"), "table"),
    "by slice": (lambda: by("slice"), "table"),
    "by mask": (lambda: by("mask"), "table"),
    "by function": (lambda: by("function"), "table"),
    "weights": (
        lambda: ColumnTransformer(
            [("a", StandardScaler(), ["alcohol", "colour"]), ("b", StandardScaler(), ["proline"])],
            transformer_weights={"a": 0.2, "b": 7.0},
        ),
        "table",
    ),
    "overlap": (
        lambda: ColumnTransformer(
            [("a", StandardScaler(), ["proline", "alcohol"]), ("b", MinMaxScaler((1, 5)), ["alcohol", "proline", "colour"])]
        ),
        "table",
    ),
    "remainder passthrough": (
        lambda: ColumnTransformer(
            [("cat", OneHotEncoder(), ["grade", "region"]), ("a", RobustScaler(), ["proline", "alcohol"])],
            remainder="passthrough",
        ),
        "table",
    ),
    "remainder estimator": (
        lambda: ColumnTransformer(
            [("cat", OneHotEncoder(), ["grade", "region"])], remainder=make_pipeline(StandardScaler(), PCA(4))
        ),
        "table",
    ),
    "nested columns": (
        lambda: ColumnTransformer(
            [
                ("cat", make_pipeline(OneHotEncoder(), TruncatedSVD(3)), ["region", "grade"]),
                (
                    "num",
                    ColumnTransformer(
                        [("a", make_pipeline(StandardScaler(), PCA(1)), ["proline", "colour"])], remainder=StandardScaler()
                    ),
                    NAMES,
                ),
            ],
            transformer_weights={"num": 2.0},
        ),
        "table",
    ),
    "one hot": (lambda: encoded(OneHotEncoder(), sparse_threshold=0), "table"),
    "one hot sparse": (lambda: encoded(OneHotEncoder(), sparse_threshold=1), "table"),
    "one hot, then scaled": (
        lambda: make_pipeline(encoded(OneHotEncoder(drop="first"), sparse_threshold=1), StandardScaler(with_mean=False)),
        "table",
    ),
    "one hot, then svd": (lambda: make_pipeline(encoded(OneHotEncoder(), sparse_threshold=1), TruncatedSVD(5)), "table"),
    "ordinal": (lambda: encoded(OrdinalEncoder()), "table"),
    "ordinal, then clipped": (lambda: make_pipeline(encoded(OrdinalEncoder()), MinMaxScaler(clip=True)), "table", False),
    "normalizer l2": (lambda: make_pipeline(StandardScaler(), Normalizer()), "numbers", False, 2),
    "normalizer l1": (lambda: make_pipeline(StandardScaler(), Normalizer("l1")), "numbers", False, 1),
    "normalizer max": (lambda: make_pipeline(MinMaxScaler(), Normalizer("max")), "numbers", False, np.inf),
    "normalizer of rows as they are": (lambda: Normalizer(), "numbers", False, 2),
    "imputer": (lambda: SimpleImputer(), "gaps"),
    "imputer median, flags": (lambda: SimpleImputer(strategy="median", add_indicator=True), "gaps"),
    "imputer constant": (lambda: SimpleImputer(strategy="constant", fill_value=-1.0), "gaps"),
    "imputer, empty column": (lambda: SimpleImputer(), "empty"),
    "imputer, empty column kept": (lambda: SimpleImputer(keep_empty_features=True, add_indicator=True), "empty"),
    "imputer behind scaler": (lambda: make_pipeline(StandardScaler(), SimpleImputer(), SimpleImputer(), PCA(4)), "gaps"),
    "imputer behind clip": (lambda: make_pipeline(MinMaxScaler(clip=True), SimpleImputer(add_indicator=True)), "gaps", False),
    "imputer beside indicator": (
        lambda: make_union(make_pipeline(SimpleImputer(), StandardScaler()), MissingIndicator()),
        "gaps",
    ),
    "table with gaps": (
        lambda: ColumnTransformer(
            [
                ("num", make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), NAMES),
                (
                    "cat",
                    make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(sparse_output=False)),
                    ["region", "grade"],
                ),
            ]
        ),
        "gappy",
    ),
}


@cache
def fitted(model, step):
    make, data = STEPS[step][:2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Pipeline([("step", make()), ("model", model_of(model))]).fit(DATA[data], target(model))


def squares(model):
    """Squared distances to the centroids, as the model measures them, less: what predict compares."""
    if model.priors == "uniform":
        return lambda Z: -((Z[:, None] - model.centroids_) ** 2).sum(-1)
    units = np.where(model.within_class_std_dev_ == 0, 1, model.within_class_std_dev_)
    return lambda Z: -(((Z[:, None] - model.centroids_) / units) ** 2).sum(-1) + 2 * np.log(model.class_prior_)


def as_array(latents):
    return latents.toarray() if issparse(latents) else np.asarray(latents, dtype=float)


def score_of(model, pipe):
    """Affine scores of a whole pipeline, up to what all classes share; None for the others."""
    if model in QUADRATIC:
        return None
    if "centroid" in model:
        score = squares(pipe[-1])
        return lambda P: score(as_array(pipe[:-1].transform(P)))
    if "calibrated" in model:
        inside = pipe[-1].calibrated_classifiers_[0]
        a, b = inside.calibrators[0].a_, inside.calibrators[0].b_
        return lambda P: -(a * inside.estimator.decision_function(pipe[:-1].transform(P)) + b)
    if model in ("tied", "robust"):
        return lambda P: pipe[-1]._discriminant.scores(as_array(pipe[:-1].transform(P)))
    return pipe.decision_function


def question(data, seed):
    """Points, other points to move towards, columns that stay, typical sizes and a scale with zeros."""
    whole = DATA[data]
    points, fixed = whole[AT] if isinstance(whole, np.ndarray) else as_asked(whole.iloc[AT]), ()
    if data in ("table", "gappy"):
        whole, fixed = as_asked(whole), TEXT
        still = np.isin(points.columns, TEXT)
        numbers = np.column_stack([np.zeros(len(whole)) if s else whole[c] for c, s in zip(whole, still, strict=True)])
    else:
        still, numbers = np.zeros(points.shape[1], dtype=bool), whole
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spread = np.nan_to_num(np.nanstd(numbers, axis=0))
    rng = np.random.default_rng(seed)
    scale = spread * np.exp(rng.standard_normal(len(spread)))
    scale[rng.choice(np.flatnonzero(~still), 1)] = 0
    scale[still] = 0
    return points, numbers[[10, 60, 80, 100, 140, 170]], fixed, spread, scale


#: models that take no sparse matrix, and the steps that make one
DENSE = {"tied", "robust", "full", "diag", "spherical", "lda", "qda", "naive bayes", "head"}
SPARSE = {"one hot sparse", "one hot, then scaled"}
CASES = [(model, step) for step in STEPS for model in MODELS if not (model in DENSE and step in SPARSE)]
NORMS = (2, 1, np.inf)


def requests(model, step):
    """Norms, l2 and one of the others, with and without a scale in turn; of tables, which are slow, one for each case."""
    turn = list(STEPS).index(step) + 7 * list(MODELS).index(model)
    if STEPS[step][1] == "numbers":
        return [(2, turn % 2 == 0), (NORMS[1 + turn // 2 % 2], turn % 2 == 1)]
    return [(2 if model in QUADRATIC else NORMS[turn % 3], turn % 2 == 0)]


@pytest.mark.parametrize(("model", "step"), CASES, ids=[f"{model} behind {step}" for model, step in CASES])
def test_a_certificate_of_any_model_behind_any_step_holds_is_sharp_and_not_trivial(model, step):
    _, data, exact, after = (*STEPS[step], True, None)[:4] if len(STEPS[step]) < 4 else STEPS[step]
    pipe = fitted(model, step)
    for norm, scaled in requests(model, step):
        points, others, fixed, spread, scale = question(data, norm == 1)
        hold(
            pipe,
            points,
            others,
            norm=norm,
            scale=scale if scaled else None,
            fixed=fixed,
            score=score_of(model, pipe),
            spread=spread,
            exact=None if exact and norm != 2 and model in QUADRATIC else exact,
        )


# -- wrappers and containers -------------------------------------------------------------------------------------------


def searched(search, model, step, **kwargs):
    make, data = STEPS[step][:2]
    pipe = Pipeline([("step", make()), ("model", model_of(model))])
    return search(pipe, {"model__C": [0.1, 1.0]}, cv=2, **kwargs).fit(DATA[data], target(model))


def stacked(model, step):
    make, data = STEPS[step][:2]
    inner = Pipeline([("a", make()), ("b", "passthrough")])
    return Pipeline([("outer", Pipeline([("inner", inner)])), ("end", Pipeline([("model", model_of(model))]))]).fit(
        DATA[data], target(model)
    )


def output(container):
    def make(model, step):
        build, data = STEPS[step][:2]
        pipe = Pipeline([("step", build()), ("model", model_of(model))])
        return pipe.set_output(transform=container).fit(DATA[data], target(model))

    return make


WRAPPERS = {
    "grid search": lambda model, step: searched(GridSearchCV, model, step),
    "randomised search": lambda model, step: searched(RandomizedSearchCV, model, step, n_iter=1, random_state=0),
    "frozen": lambda model, step: FrozenEstimator(fitted(model, step)),
    "frozen search": lambda model, step: FrozenEstimator(searched(GridSearchCV, model, step)),
    "nested": stacked,
    "pandas": output("pandas"),
    "polars": output("polars"),
    "search as a step": lambda model, step: Pipeline(
        [("search", FrozenEstimator(STEPS[step][0]().fit(DATA[STEPS[step][1]], THREE))), ("model", model_of(model))]
    ).fit(DATA[STEPS[step][1]], target(model)),
}
WRAPPED = ["standard", "pca whiten", "min max clip", "union", "by slice", "ordinal", "table with gaps", "normalizer l2"]


@pytest.mark.parametrize("step", WRAPPED)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_what_is_wrapped_is_certified_as_what_is_inside(wrapper, step):
    if wrapper == "polars":
        pytest.importorskip("polars")
        if STEPS[step][1] != "numbers":
            pytest.skip("a pandas frame, made a polars one between the steps")
    estimator = WRAPPERS[wrapper]("logistic", step)
    for norm, scaled in requests("logistic", step):
        points, others, fixed, spread, scale = question(STEPS[step][1], 7)
        found = hold(
            estimator,
            points,
            others,
            norm=norm,
            scale=scale if scaled else None,
            fixed=fixed,
            spread=spread,
            score=estimator.decision_function,
        )
        if "search" in wrapper and wrapper != "search as a step":
            inside = getattr(estimator, "estimator", estimator) if "frozen" in wrapper else estimator
            bare = skcert.certify(inside.best_estimator_, points, norm=norm, feature_scale=scale if scaled else None)
            np.testing.assert_array_equal(
                found.radius[np.isinf(found.attack_radius)], bare.radius[np.isinf(found.attack_radius)]
            )


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("step", ["by name", "by slice", "overlap", "one hot", "nested columns", "ordinal", "table with gaps"])
def test_a_table_in_another_order_and_with_more_columns_has_the_same_radii(step, norm):
    pipe, data = fitted("logistic", step), DATA[STEPS[step][1]].iloc[AT]
    scale = {"proline": 100.0, "alcohol": 0.0}
    once = skcert.certify(pipe, data, norm=norm, feature_scale=scale)
    again = skcert.certify(pipe, as_asked(data), norm=norm, feature_scale=scale)
    np.testing.assert_allclose(again.radius, once.radius, rtol=1e-12)
    np.testing.assert_array_equal(again.runner_up, once.runner_up)


@pytest.mark.parametrize("step", ["by name", "remainder passthrough", "one hot sparse", "weights", "remainder estimator"])
def test_a_polars_table_has_the_radii_and_attacks_of_a_pandas_one(step):
    polars = pytest.importorskip("polars")
    pipe = fitted("logistic", step)
    points = TABLE.iloc[AT]
    frame = polars.DataFrame({name: points[name].to_list() for name in points.columns})
    scale = {"proline": 100.0, "alcohol": 0.0}
    theirs = skcert.certify(pipe, points, feature_scale=scale, return_attack=True)
    ours = skcert.certify(pipe, frame, feature_scale=scale, return_attack=True)
    np.testing.assert_allclose(ours.radius, theirs.radius, rtol=1e-12)
    assert isinstance(ours.attack, polars.DataFrame) and ours.attack.columns == frame.columns
    assert (pipe.predict(ours.attack) != ours.prediction).all()
    assert ours.attack["region"].to_list() == frame["region"].to_list()
    assert ours.attack["alcohol"].to_list() == frame["alcohol"].to_list()
