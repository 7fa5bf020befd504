"""Points of every type before parameters of every type: what is certified holds in the arithmetic that is deployed, and what
people do every day is not refused. Nothing that is certified is written to."""

import copy
import os
import pickle
import warnings
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.decomposition import PCA, FactorAnalysis, FastICA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import FeatureUnion, make_pipeline
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

from skcert import Affine, CertifiedGMMClassifier, Certifier, LatentShaper, Uncertifiable, certify, register_perturbation
from skcert.adapters.composites import link
from skcert.adapters.models import unit_of_scores
from skcert.geometry.rounding import HALF, SINGLE, UNIT
from skcert.perturbations import AffineStep
from skcert.routes import Route
from skcert.testing import check_certificate
from tests.pipelines import test_random

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence and of casts: what is fitted is certified
X, Y = load_breast_cancer(return_X_y=True, as_frame=True)
FLOATS = ["float64", "float32", "float16"]


def with_gaps(frame, seed=0):
    return frame.mask(np.random.default_rng(seed).random(frame.shape) < 0.1)


def as_bytes(frame):
    return ((frame - frame.min()) / (frame.max() - frame.min()) * 255).round().fillna(0).astype(np.uint8)


# -- the unit of rounding ----------------------------------------------------------------------------------------------

ON_THE_SPHERE = {
    "float16": (lambda rng: 1 + rng.integers(0, 300, 64) / 512, 0.25),
    "uint8": (lambda rng: rng.integers(0, 200, 64).astype(float), 4.0),
    "int16": (lambda rng: rng.integers(-3000, 3000, 64).astype(float), 8.0),
    "float32": (lambda rng: 1 + rng.integers(0, 2**22, 64) / 2**23, 0.25),
}


@pytest.mark.parametrize("kind", ON_THE_SPHERE)
def test_narrow_points_before_a_model_of_float32_keep_their_labels_on_the_sphere(kind):
    """All features carry the same weight, so that a move of all by the same number leads straight to the boundary."""
    draw, move = ON_THE_SPHERE[kind]
    rng = np.random.default_rng(0)
    weight = np.float32(0.1)
    model = LogisticRegression().fit(rng.standard_normal((20, 64)), np.arange(20) % 2)
    model.coef_ = np.full((1, 64), weight)
    tried = 0
    for _ in range(300):
        near = draw(rng)
        exact = Fraction(float(weight)) * sum(Fraction(float(v)) for v in near)
        model.intercept_ = np.array([np.nextafter(np.float32(-float(exact)), np.float32(np.inf))], dtype=np.float32)
        if not exact + Fraction(float(model.intercept_[0])) > 0 or model.predict(near[None].astype(kind))[0] == 1:
            continue  # only where rounding alone decides: just on the side of class 1, and predicted as class 0
        far = near + move
        if not np.array_equal(far.astype(kind).astype(float), far):
            continue
        tried += 1
        certificate = certify(model, far[None].astype(kind))
        length = move * 8  # ||far - near||, exactly
        assert certificate.prediction[0] == 1 and certificate.radius[0] < length
        assert certificate.arithmetic == "float32"
    assert tried > 20


@pytest.mark.parametrize(
    "points", ["float64", "float32", "float16", "uint8", "int8", "int16", "uint16", "int32", "int64", "bool"]
)
@pytest.mark.parametrize("fitted", ["float64", "float32"])
def test_the_unit_of_scores_is_that_of_the_type_that_numpy_promotes_to(points, fitted):
    units = {"float64": UNIT, "float32": SINGLE, "float16": HALF}
    Z = X.to_numpy() / X.to_numpy().max(axis=0)
    for model in (LogisticRegression(), RidgeClassifier(), LinearDiscriminantAnalysis()):
        model.fit(Z.astype(fitted), Y)
        made = model.decision_function(np.ones((2, 30), dtype=points)).dtype
        assert unit_of_scores(model, np.dtype(points)) == units[made.name]
    for model in (GaussianNB(), QuadraticDiscriminantAnalysis(reg_param=0.1)):
        model.fit(Z.astype(fitted), Y)
        made = model.predict_joint_log_proba(np.ones((2, 30), dtype=points)) if hasattr(model, "var_") else None
        if made is not None:
            assert unit_of_scores(model, np.dtype(points)) >= units[made.dtype.name]


STEPS = {
    "standard": StandardScaler(),
    "min max": MinMaxScaler((-1, 2)),
    "clipped": MinMaxScaler((0.1, 0.7), clip=True),
    "max abs": MaxAbsScaler(),
    "robust": RobustScaler(),
    "pca": PCA(5),
    "whitened": PCA(5, whiten=True, random_state=0),
    "svd": TruncatedSVD(5),
    "ica": FastICA(5, max_iter=30, random_state=0),
    "factors": FactorAnalysis(3, max_iter=30),
    "lda": LinearDiscriminantAnalysis(),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("fitted", ["float64", "float32"])
@pytest.mark.parametrize("points", [*FLOATS, "uint8"])
def test_what_a_step_loses_is_within_what_is_allowed_for_its_types(name, fitted, points):
    wide = as_bytes(X).to_numpy() if points == "uint8" else X.to_numpy()
    step = copy.deepcopy(STEPS[name]).fit(wide.astype(fitted), Y)
    given = wide.astype(points)
    made = step.transform(given)
    known = link("step", step)
    unit = known.unit(given.dtype, made.dtype)
    first = known.carriers[0]
    assert isinstance(first, AffineStep)
    piece = Route.along((known,), np.zeros(30, dtype=bool), None, (unit,)).pieces[0]
    moved = given.astype(np.longdouble) - piece.center.astype(np.longdouble)
    matrix = piece.matrix.astype(np.longdouble)
    exact = (moved * matrix if matrix.ndim == 1 else moved @ matrix.T) + piece.offset.astype(np.longdouble)
    noise, constant = piece.noise if piece.noise is not None else (0 * piece.matrix, 0 * piece.offset)
    allowed = (np.abs(moved) * noise if noise.ndim == 1 else np.abs(moved) @ noise.T) + constant
    wrong = np.linalg.norm(np.abs(moved) * piece.column_error, axis=1)[:, None] + piece.offset_error
    if name == "clipped":
        exact = np.clip(exact, 0.1, 0.7)
        allowed = allowed + unit
    assert (np.abs(made.astype(np.longdouble) - exact) <= allowed + wrong).all()


FAR = 2**60  # neighbours in float64 are 256 apart


@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.longdouble, object])
@pytest.mark.parametrize(
    "model", [GaussianNB(), CertifiedGMMClassifier(covariance_type="diag"), make_pipeline(StandardScaler(), GaussianNB())]
)
def test_numbers_of_more_digits_than_float64_has_keep_their_labels_within_the_radius(kind, model):
    model = copy.deepcopy(model).fit(
        (FAR + np.linspace(-2500, 2500, 40).astype(int)[:, None]).astype(kind), np.arange(40) // 20
    )
    every = np.arange(-4000, 4000)
    labels = model.predict((FAR + every)[:, None].astype(kind))
    some = every[1000:-1000:101]
    certificate = certify(model, (FAR + some)[:, None].astype(kind))
    for at, label, radius in zip(some, certificate.prediction, certificate.radius, strict=True):
        assert np.abs(every - at)[labels != label].min() > radius
    assert (certificate.radius.max() > 100) == (not hasattr(model, "steps"))  # a scaler loses more than the classes are apart


@pytest.mark.parametrize("frame", [False, True])
def test_digits_that_are_lost_in_columns_that_nobody_reads_cost_nothing(frame):
    points = np.column_stack([X.to_numpy()[:, :3].round(), np.arange(len(X)) + 2**61]).astype(np.int64)
    points = pd.DataFrame(points, columns=["a", "b", "c", "key"]) if frame else points
    columns = ["a", "b", "c"] if frame else [0, 1, 2]
    model = make_pipeline(ColumnTransformer([("scaled", StandardScaler(), columns)]), GaussianNB()).fit(points, Y)
    as_floats = points.astype(dict.fromkeys(columns, float)) if frame else points.astype(float)
    for norm in (2, np.inf):
        whole = certify(model, points, norm=norm)
        np.testing.assert_array_equal(whole.radius, certify(model, as_floats, norm=norm).radius)
        assert (whole.radius > 0).mean() > 0.9


def test_bounds_of_a_clip_are_held_in_the_type_of_the_points():
    """0.1 is no number of float32: the clip is at another one."""
    Z = np.linspace(0, 1, 40, dtype=np.float32)[:, None] * np.ones(3, dtype=np.float32)
    scaler = MinMaxScaler((0.1, 0.7), clip=True).fit(Z)
    bend = Route.along((link("clip", scaler),), np.zeros(3, dtype=bool), None, (SINGLE,)).bends[0]
    moved = abs(np.float64(scaler.transform(np.float32([[-5, -5, -5]]))[0, 0]) - 0.1)
    assert 0 < moved <= bend.slip


# -- what is no reason to refuse ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("step", [StandardScaler(), RobustScaler(), MinMaxScaler(), FactorAnalysis(3, max_iter=30)])
@pytest.mark.parametrize("strategy", ["mean", "median"])
def test_a_filled_value_that_cancels_against_its_mean_is_no_reason_to_refuse(kind, step, strategy):
    points = with_gaps(X.astype(kind))
    model = make_pipeline(SimpleImputer(strategy=strategy), step, LogisticRegression()).fit(points, Y)
    points = points[:80]  # each with gaps of its own
    certificate = certify(model, points)
    assert (certificate.prediction == model.predict(points)).all() and (certificate.radius > 0).mean() > 0.85


@pytest.mark.parametrize(
    "kinds", [("float32", "float32"), ("float32", "float64"), ("float16", "float64"), ("uint8", "float32")]
)
def test_tables_of_columns_of_several_types_are_certified(kinds):
    first, second = list(X.columns[:15]), list(X.columns[15:])
    low = as_bytes(X) if "uint8" in kinds else X
    table = pd.concat([low[first].astype(kinds[0]), X[second].astype(kinds[1])], axis=1)
    table["kind"] = np.where(np.arange(len(X)) % 3, "a", "b")
    parts = [("first", StandardScaler(), first), ("second", StandardScaler(), second), ("text", OneHotEncoder(), ["kind"])]
    model = make_pipeline(ColumnTransformer(parts), LogisticRegression()).fit(table, Y)
    certificate = certify(model, table)
    assert (certificate.prediction == model.predict(table)).all() and (certificate.radius > 0).mean() > 0.95
    assert certificate.arithmetic == min(kinds, key=lambda kind: np.finfo(kind).bits if kind[0] == "f" else 64)
    assert check_certificate(model, table[:20], certify(model, table[:20]), n_directions=4, random_state=0) is None


def test_one_narrow_column_costs_the_others_nothing():
    """Each part of a table computes in the types of its own columns."""
    wide, narrow = list(X.columns[:-1]), X.columns[-1]
    parts = [("wide", StandardScaler(), wide), ("narrow", "passthrough", [narrow])]
    model = make_pipeline(ColumnTransformer(parts), LogisticRegression()).fit(X, Y)
    exact = X.assign(**{narrow: X[narrow].astype(np.float16).astype(float)})
    mixed = X.assign(**{narrow: X[narrow].astype(np.float16)})
    np.testing.assert_allclose(certify(model, mixed).radius, certify(model, exact).radius, rtol=1e-9)


@pytest.mark.parametrize("step", [FastICA(5, random_state=0), TruncatedSVD(5), PCA(5, whiten=True), PCA()])
@pytest.mark.parametrize("kind", FLOATS)
def test_columns_that_determine_others_are_no_reason_to_refuse(step, kind):
    points = X.assign(twice=2 * X.iloc[:, 0], sum=X.iloc[:, 0] + X.iloc[:, 1]).astype(kind)
    model = make_pipeline(step, LogisticRegression()).fit(points, Y)
    certificate = certify(model, points)
    assert (certificate.prediction == model.predict(points)).all() and (certificate.radius > 0).mean() > 0.9


@pytest.mark.parametrize("center", [1e3, 1e4])
def test_a_shaper_sees_the_numbers_that_the_step_before_it_computed(center):
    rng = np.random.default_rng(0)
    Z = (center + rng.standard_normal((400, 8))).astype(np.float32)  # so many deviations from 0
    labels = (Z[:, 0] + Z[:, 1] > 2 * center).astype(int)
    shaper = LatentShaper(n_components=4, hidden_layer_sizes=(8,), max_epochs=2, random_state=0, progress=False)
    model = make_pipeline(PCA(4, whiten=True), shaper, CertifiedGMMClassifier()).fit(Z, labels)
    certificate = certify(model, Z[:50])
    assert (certificate.prediction == model.predict(Z[:50])).all() and (certificate.radius > 0).any()


@pytest.mark.parametrize(
    "model",
    [
        GaussianNB(),
        QuadraticDiscriminantAnalysis(reg_param=0.1),
        CertifiedGMMClassifier(),
        NearestCentroid(),
        LogisticRegression(),
    ],
)
@pytest.mark.parametrize("value", [1e160, -1e200, 1e300])
def test_a_row_whose_squares_overflow_does_not_spoil_the_others(model, value):
    points = X.to_numpy().copy()
    model = make_pipeline(StandardScaler(), model).fit(points, Y)
    expected = certify(model, points)
    points[5] = value
    certificate = certify(model, points)
    others = np.arange(len(points)) != 5
    np.testing.assert_allclose(certificate.radius[others], expected.radius[others], rtol=1e-9)
    assert not np.isnan(certificate.radius[5])


@pytest.mark.parametrize("model", [GaussianNB(), CertifiedGMMClassifier(covariance_type="diag")])
@pytest.mark.parametrize("scaler", [MinMaxScaler(), StandardScaler(), "passthrough"])
def test_squares_that_float16_holds_are_no_reason_for_a_radius_of_zero(scaler, model):
    points, labels = load_iris(return_X_y=True)
    points = (points / points.max(axis=0)).astype(np.float16)
    pipe = make_pipeline(scaler, model).fit(points, labels)
    certificate = certify(pipe, points)
    assert (certificate.radius > 0).mean() > 0.7
    assert check_certificate(pipe, points, certificate, n_directions=8, random_state=0) is None


@pytest.mark.parametrize("spread", [0.1, 0.05])
def test_no_number_of_float16_within_the_radius_has_another_label_also_where_squares_overflow(spread):
    """Far out both scores are -inf, and the first class wins."""
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)]
    centres = np.repeat([-1, 1], 200)
    draws = centres + spread * np.random.default_rng(0).standard_normal(400)
    model = GaussianNB().fit(draws[:, None].astype(np.float16), centres)
    points = np.append(np.linspace(-3, 3, 61), [5, 20]).astype(np.float16)
    labels, certificate = model.predict(every[:, None]), certify(model, points[:, None])
    assert (labels[every > 0] == -1).any()
    for point, radius, label in zip(points.astype(float), certificate.radius, certificate.prediction, strict=True):
        assert (labels[np.abs(every - point) <= radius] == label).all()
    assert (certificate.radius > 0).mean() > 0.3


def test_a_model_that_decides_otherwise_is_refused_in_float32_too():
    points = X.to_numpy().astype(np.float32)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(points, Y)
    right = model[-1].predict
    model[-1].predict = lambda Z: np.where(np.arange(len(Z)) == 3, 1 - right(Z), right(Z))
    with pytest.raises(ValueError, match="decides otherwise than its fitted parameters say on 1 of"):
        certify(model, points)
    del model[-1].predict
    wrong = model[0].transform
    model[0].transform = lambda Z: wrong(Z) + np.float32(1e-3)
    with pytest.raises(ValueError, match="'standardscaler'.*does not transform these points"):
        certify(model, points)


def test_a_type_too_narrow_for_a_step_is_named():
    points = X.astype(np.float16)
    model = make_pipeline(MinMaxScaler(), LogisticRegression()).fit(X * 1e9, Y)
    with pytest.raises(Uncertifiable, match="'minmaxscaler' cannot be certified on these points.*float16.*wider type"):
        certify(model, points)


# -- pipelines drawn at random, in every type ---------------------------------------------------------------------------

KINDS = [*FLOATS, "uint8", "mixed"]


def typed(frame, kind, gaps, rng):
    columns = {}
    for name in frame:
        own = rng.choice([*FLOATS, "uint8", "int16"]) if kind == "mixed" else kind
        values = frame[[name]]
        values = (as_bytes(values) if own in ("uint8", "int16") else values).astype(own)[name]
        columns[name] = values.mask(rng.random(len(values)) < 0.1) if gaps and own in FLOATS else values
    return pd.DataFrame(columns)


def random_case(seed):
    """A pipeline of up to five steps fitted to points of a type, or None where scikit-learn itself fails."""
    rng = np.random.default_rng([seed, 7])
    names = [*test_random.REAL, *test_random.TOYS]
    data, labels = test_random.table(names[rng.integers(len(names))])
    text = [c for c in data if not pd.api.types.is_numeric_dtype(data[c])]
    kind = KINDS[seed % len(KINDS)]
    numbers = typed(data.drop(columns=text).astype(float), kind, bool(seed // len(KINDS) % 2), rng)
    gaps, d = bool(numbers.isna().any().any()), numbers.shape[1]
    frame = pd.concat([numbers, data[text]], axis=1)
    points = frame if text or kind == "mixed" or rng.integers(2) else frame.to_numpy()
    steps = []
    if text:
        encode = [OneHotEncoder(handle_unknown="ignore"), OrdinalEncoder()][rng.integers(2)]
        first = make_pipeline(SimpleImputer(), test_random.side_by_side(lambda: test_random.step_for(rng, d, False, 1)))
        steps.append(ColumnTransformer([("text", encode, text), ("numbers", first, list(numbers))], sparse_threshold=0))
        gaps = False
    try:
        for _ in range(rng.integers(1, 6 - len(steps))):
            width = make_pipeline(*steps).fit_transform(points, labels).shape[1] if steps else d
            steps.append(test_random.step_for(rng, width, gaps, first=not steps))
            gaps = gaps and "SimpleImputer" not in repr(steps[-1])
        steps += [SimpleImputer()] if gaps else []
        model = make_pipeline(*steps, test_random.MODELS[rng.integers(len(test_random.MODELS))]()).fit(points, labels)
        some = rng.permutation(len(points))[:20]
        points = points.iloc[some].reset_index(drop=True) if hasattr(points, "iloc") else points[some]
        model.predict(points)
    except (ValueError, IndexError, np.linalg.LinAlgError):
        return None
    return model, points, [1, 2, np.inf][rng.integers(3)]


@pytest.mark.parametrize("seed", range(int(os.environ.get("SKCERT_RANDOM_PIPELINES", 25))))
def test_a_random_pipeline_in_any_type_is_neither_refused_nor_broken(seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case = random_case(seed)
    if case is None:
        pytest.skip("scikit-learn cannot fit this one")
    model, points, norm = case
    before = copy.deepcopy(points)
    try:
        certificate = certify(model, points, norm=norm)
    except Uncertifiable as reason:
        assert "variance of 0 in class" in str(reason)  # a Gaussian that has none in this type
        return
    assert points.equals(before) if hasattr(points, "equals") else np.array_equal(points, before, equal_nan=True)
    assert (certificate.prediction == model.predict(points)).all()
    assert check_certificate(model, points, certificate, n_directions=4, random_state=0) is None


# -- nothing is written to ---------------------------------------------------------------------------------------------

IRIS, SPECIES = load_iris(return_X_y=True)
IRIS = IRIS * 1e-3


class Shifted(TransformerMixin, BaseEstimator):
    """A step of somebody's own that works in place and has no parameter to say so."""

    def fit(self, X, y=None):
        self.by_ = 1e-3
        return self

    def transform(self, X):
        if hasattr(X, "iloc"):
            X.iloc[:, :] = X.to_numpy() - self.by_
        else:
            X -= self.by_
        return X


register_perturbation(Shifted, lambda step: AffineStep(np.full(4, 1e-3), np.ones(4), np.zeros(4)))

IN_PLACE = {
    "normalizer": lambda copy: Normalizer(copy=copy),
    "standard": lambda copy: StandardScaler(copy=copy),
    "robust": lambda copy: RobustScaler(copy=copy),
    "min max": lambda copy: MinMaxScaler(copy=copy),
    "max abs": lambda copy: MaxAbsScaler(copy=copy),
    "imputer": lambda copy: SimpleImputer(copy=copy),
    "own": lambda copy: Shifted(),
}
NESTING = {
    "alone": lambda step: step,
    "after another": lambda step: make_pipeline(FunctionTransformer(), step),
    "union": lambda step: FeatureUnion([("part", step)]),
    "columns": lambda step: ColumnTransformer([("part", step, [0, 1, 2, 3])]),
    "slice": lambda step: ColumnTransformer([("part", step, slice(0, 4))]),
    "deep": lambda step: FeatureUnion([("part", make_pipeline(ColumnTransformer([("in", step, [0, 1, 2, 3])]), PCA(3)))]),
}
CONTAINERS = {
    "array": lambda X: X.copy(),
    "columns first": lambda X: np.asfortranarray(X),
    "frame": lambda X: pd.DataFrame(X.copy(), columns=list("abcd")),
    "two blocks": lambda X: pd.DataFrame({"a": X[:, 0], "b": X[:, 1]}).assign(c=X[:, 2], d=X[:, 3]),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("nesting", NESTING)
@pytest.mark.parametrize("kind", IN_PLACE)
def test_points_are_never_written_to_and_radii_are_those_of_a_step_that_copies(kind, nesting, container):
    wrap = CONTAINERS[container]
    model, plain = (
        make_pipeline(NESTING[nesting](IN_PLACE[kind](copy)), LogisticRegression(C=1e6, max_iter=2000))
        for copy in (False, True)
    )
    for each in (model, plain):
        each.fit(wrap(IRIS), SPECIES)
    points = wrap(IRIS)
    certificate = certify(model, points, return_attack=True)
    certificate.explain(3)
    certify(model, points, space="latents")
    np.testing.assert_array_equal(np.asarray(points), IRIS)
    np.testing.assert_array_equal(certificate.prediction, model.predict(wrap(IRIS)))
    expected = certify(plain, wrap(IRIS), return_attack=True)
    np.testing.assert_allclose(certificate.radius, expected.radius, rtol=1e-9)


@pytest.mark.parametrize("container", CONTAINERS)
def test_parts_that_write_into_what_others_read_are_named(container):
    wrap = CONTAINERS[container]
    model = make_pipeline(FeatureUnion([("a", StandardScaler(copy=False)), ("b", PCA(2))]), LogisticRegression())
    model.fit(wrap(IRIS), SPECIES)
    with pytest.raises(ValueError, match="'featureunion'.*one of its parts writes into what it is given.*copy=True"):
        certify(model, wrap(IRIS))


# -- models that change ------------------------------------------------------------------------------------------------


def doubled(holder, name):
    getattr(holder, name)[...] *= 2


def replaced(holder, name):
    setattr(holder, name, getattr(holder, name) * 2)


CHANGES = {
    "slope of one class": (LogisticRegression(), lambda m: doubled(m[-1], "coef_"), "LogisticRegression.coef_"),
    "intercept": (LogisticRegression(), lambda m: replaced(m[-1], "intercept_"), "LogisticRegression.intercept_"),
    "step": (LogisticRegression(), lambda m: doubled(m[0], "scale_"), "StandardScaler.scale_"),
    "option of a step": (LogisticRegression(), lambda m: m[0].set_params(with_std=False), "StandardScaler.with_std"),
    "variances": (GaussianNB(), lambda m: doubled(m[-1], "var_"), "GaussianNB.var_"),
    "rotations": (
        QuadraticDiscriminantAnalysis(reg_param=0.1),
        lambda m: m[-1].scalings_[0].__imul__(2),
        "QuadraticDiscriminantAnalysis.scalings_",
    ),
    "a new fit": (CertifiedGMMClassifier(), lambda m: m[-1].fit(IRIS * 2, SPECIES), "CertifiedGMMClassifier"),
    "a head": (Affine(np.eye(3, 4), np.zeros(3)), lambda m: replaced(m[-1], "coef"), "Affine.coef"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_certifier_notices_that_its_model_has_changed(name):
    model, change, named = CHANGES[name]
    model = make_pipeline(StandardScaler(), copy.deepcopy(model)).fit(IRIS, SPECIES)
    certifier = Certifier(model)
    certifier.certify(IRIS)
    model.verbose = True  # says how to work, not what to do
    certifier.certify(IRIS)
    change(model)
    with pytest.raises(ValueError, match=f"has changed since this Certifier was made: {named}"):
        certifier.certify(IRIS)
    if name.startswith(("step", "option")):  # it stands before the space that is asked for
        certifier.certify(IRIS, space="latents")
    certify(model, IRIS)  # keeps nothing


REPLACED = {
    "last step": lambda m: m.steps.__setitem__(-1, ("logisticregression", LogisticRegression(C=1e-3).fit(IRIS, SPECIES))),
    "a step that does nothing": lambda m: m.set_params(standardscaler="passthrough"),
    "another scaler": lambda m: m.set_params(standardscaler=StandardScaler().fit(IRIS * 2)),
    "one more step": lambda m: m.steps.insert(1, ("more", MinMaxScaler().fit(IRIS))),
}


@pytest.mark.parametrize("name", REPLACED)
def test_a_certifier_notices_that_a_part_was_replaced(name):
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(IRIS, SPECIES)
    certifier = Certifier(model)
    certifier.certify(IRIS)
    REPLACED[name](model)
    with pytest.raises(ValueError, match="has changed since this Certifier was made"):
        certifier.certify(IRIS)


def test_a_certifier_notices_that_a_search_was_fitted_again():
    model = GridSearchCV(LogisticRegression(), {"C": [0.01, 1]}).fit(IRIS, SPECIES)
    certifier = Certifier(model)
    certifier.certify(IRIS)
    model.fit(IRIS[:, ::-1].copy(), SPECIES)
    with pytest.raises(ValueError, match="has changed since this Certifier was made"):
        certifier.certify(IRIS)


@pytest.mark.parametrize("kind", ["tied", "full", "diag", "spherical"])
def test_what_a_mixture_shows_is_not_what_it_decides_by(kind):
    """Means that are written to change neither predict nor the certificates of it."""
    model = CertifiedGMMClassifier(covariance_type=kind).fit(IRIS * 1e3, SPECIES)
    certifier, before = Certifier(model), model.predict(IRIS * 1e3)
    radius = certifier.certify(IRIS * 1e3).radius
    model.means_ += 0.5
    np.testing.assert_array_equal(model.predict(IRIS * 1e3), before)
    np.testing.assert_array_equal(certifier.certify(IRIS * 1e3).radius, radius)


@pytest.mark.parametrize("center, share", [(0.0, 1e-9), (1.7e9, 1e-2)])
def test_scores_of_the_model_itself_do_not_hide_a_changed_step(center, share):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 2
    points = center + rng.standard_normal((300, 30)) + 0.7 * labels[:, None]
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(points, labels)
    certify(model, points)
    plain, first = model[0].transform, 1 + share * (np.arange(30) == 0)
    model[0].transform = lambda Z: plain(Z) * first
    with pytest.raises(ValueError, match="'standardscaler'.*does not transform these points"):
        certify(model, points)


def test_a_certifier_that_was_pickled_is_not_one_that_has_changed():
    frame = pd.DataFrame(IRIS, columns=list("abcd"))
    certifier = Certifier(make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, SPECIES))
    expected = certifier.certify(frame).radius
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(certifier)).certify(frame).radius, expected)
