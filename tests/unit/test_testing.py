"""skcert.testing, claim by claim: violations that were planted are found, and nothing is reported that is none."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris, make_blobs
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skcert import Certificate, LipschitzStep, certify, register_perturbation
from skcert.testing import Violation, _is_within, check_certificate

inf = np.inf
DUAL = {1: inf, 2: 2, inf: 1}
NORMS = pytest.mark.parametrize("norm", [1, 2, inf])
FLOATS = pytest.mark.parametrize("dtype", [np.float64, np.float32])


class Linear(ClassifierMixin, BaseEstimator):
    """Predicts the sign of w'x + b."""

    def __init__(self, w, b=0.0):
        self.w, self.b = w, b

    def decision_function(self, X):
        return X @ self.w + self.b

    def predict(self, X):
        return (self.decision_function(X) > 0).astype(int)

    @property
    def classes_(self):
        return np.array([0, 1])


class Rule:
    """Nothing but predict."""

    def __init__(self, predict):
        self.predict = predict


def by_hand(estimator, X, radius, norm=2, **fields):
    prediction = np.asarray(estimator.predict(X))
    fields = {"runner_up": None, "attack_radius": None, "attack": None, "space": "input", **fields}
    return Certificate(
        prediction, np.broadcast_to(radius, len(X)).astype(float), norm=norm, guarantee="deterministic", confidence=1.0,
        method="by hand", **fields,
    )  # fmt: skip


def distances(w, b, X, norm, scale=1.0):
    """In real arithmetic, but for its rounding."""
    w = np.asarray(w, dtype=float)
    return np.abs(X.astype(float) @ w + float(b)) / np.linalg.norm(w * scale, ord=DUAL[norm])


def exact_distance_holds(violation, x, scale=None):
    """Whether the point lies in the closed ball, in rational arithmetic."""
    z = np.asarray(violation.point, dtype=float).ravel()
    x, scale = np.asarray(x, dtype=float).ravel(), np.ones(len(z)) if scale is None else scale
    assert (z == x)[np.asarray(scale) == 0].all()
    parts = [abs(Fraction(a) - Fraction(b)) / Fraction(float(s)) for a, b, s in zip(z, x, scale, strict=True) if s]
    radius = Fraction(violation.radius)
    lengths = {1: sum(parts), 2: sum(p * p for p in parts), inf: max(parts)}
    return lengths[violation.norm] <= (radius**2 if violation.norm == 2 else radius)


def is_violation(violation, estimator, X, scale=None):
    assert isinstance(violation, Violation)
    assert estimator.predict(violation.point)[0] == violation.found != violation.prediction
    assert violation.distance <= violation.radius
    assert type(violation.point) is type(X) and violation.point.shape == (1, X.shape[1])
    if isinstance(X, np.ndarray):
        assert violation.point.dtype == X.dtype
        assert exact_distance_holds(violation, X[violation.row], scale)
    return True


# -- linear rules ------------------------------------------------------------------------------------------------------


@NORMS
@FLOATS
def test_a_radius_too_large_by_a_millionth_is_found(norm, dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 6)).astype(dtype)
    model = Linear(rng.standard_normal(6), 0.3)
    truth = distances(model.w, model.b, X, norm)
    if dtype == np.float32:  # on a grid that fine, the distances are those of the neighbouring grid points
        X, truth = X[truth > 0.3], truth[truth > 0.3]
    found = check_certificate(model, X, by_hand(model, X, truth * (1 + 1e-6), norm), random_state=0)
    assert is_violation(found, model, X)
    assert found.distance >= truth[found.row] * (1 - 1e-12)
    assert check_certificate(model, X, by_hand(model, X, truth * (1 - 1e-9), norm), random_state=0) is None


@NORMS
def test_only_the_one_row_that_is_wrong_is_reported(norm):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((300, 5))
    model = Linear(rng.standard_normal(5), 0.1)
    factor = np.full(300, 1 - 1e-9)
    factor[217] = 1 + 1e-6
    found = check_certificate(model, X, by_hand(model, X, distances(model.w, model.b, X, norm) * factor, norm), random_state=0)
    assert is_violation(found, model, X) and found.row == 217


@pytest.mark.parametrize(("norm", "radius"), [(1, 6.25), (2, 5.0), (inf, 25 / 7)])
def test_the_ball_is_closed_and_ends_there(norm, radius):
    model, X = Linear(np.array([3.0, 4.0])), np.array([[3.0, 4.0]])
    found = check_certificate(model, X, by_hand(model, X, radius, norm), random_state=0)
    if norm != inf:  # 25 / 7 is no float: it is rounded down or up
        assert is_violation(found, model, X) and found.distance == found.radius == radius
    below = np.nextafter(np.nextafter(radius, 0), 0)
    assert check_certificate(model, X, by_hand(model, X, below, norm), random_state=0) is None


@FLOATS
def test_rounding_alone_breaks_the_radii_of_real_arithmetic(dtype):
    broken = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        model = Linear(rng.standard_normal(50).astype(dtype), dtype(rng.standard_normal()))
        X = rng.standard_normal((1, 50)).astype(dtype)
        found = check_certificate(model, X, by_hand(model, X, distances(model.w, model.b, X, 2)), random_state=seed)
        broken += found is not None and is_violation(found, model, X)
    assert broken >= (65 if dtype == np.float64 else 90)  # without the walk in ulps 35 and 20


@NORMS
@FLOATS
def test_certificates_of_skcert_withstand_it(norm, dtype):
    X, y = make_blobs(300, 8, centers=3, random_state=0, cluster_std=3.0)
    X = X.astype(dtype)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    assert check_certificate(model, X, certify(model, X, norm=norm), random_state=0) is None


# -- curved rules, steps, spaces ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", [False, True])
def test_curved_boundaries(attack):
    X, y = load_iris(return_X_y=True)
    model = QuadraticDiscriminantAnalysis().fit(X, y)
    certificate = certify(model, X, return_attack=attack)
    assert check_certificate(model, X, certificate, random_state=0) is None
    for row in (0, 70, 149):  # each one alone
        factor = np.full(len(X), 0.999)
        factor[row] = 1.001
        found = check_certificate(model, X, replace(certificate, radius=certificate.radius * factor), random_state=0)
        assert is_violation(found, model, X) and found.row == row
        assert certificate.radius[row] <= found.distance <= certificate.radius[row] * 1.001


class Triple(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return 3 * X


@pytest.mark.parametrize("constant", [3.0, 2.99])
def test_a_step_whose_registered_constant_is_too_small(constant, monkeypatch):
    monkeypatch.setattr("skcert.adapters._STEPS", {**__import__("skcert").adapters._STEPS})
    register_perturbation(Triple, lambda step: LipschitzStep(constant))
    X, y = make_blobs(100, 3, centers=2, random_state=3, cluster_std=4.0)
    model = make_pipeline(Triple(), LogisticRegression()).fit(X, y)
    found = check_certificate(model, X, certify(model, X), random_state=0)
    assert found is None if constant == 3.0 else is_violation(found, model, X)


@pytest.mark.parametrize("space", ["outer__scaler", "outer__nothing", "outer", "latents", "pca"])
def test_the_space_of_the_certificate_is_the_one_attacked(space):
    X, y = load_iris(return_X_y=True)
    inner = Pipeline([("scaler", StandardScaler()), ("nothing", "passthrough"), ("range", MinMaxScaler())])
    model = Pipeline([("outer", inner), ("pca", PCA(2)), ("model", LogisticRegression())]).fit(X, y)
    certificate = certify(model, X, space=space)
    assert check_certificate(model, X, certificate, random_state=0) is None
    found = check_certificate(model, X, replace(certificate, radius=certificate.radius * 1.001), random_state=0)
    inside = space.startswith("outer__")
    before = inner[:1] if inside else model[:1] if space == "outer" else model[:2]
    rest = make_pipeline(inner[-1], *model[1:]) if inside else model[1:] if space == "outer" else model[-1]
    assert found.space == space and is_violation(found, rest, before.transform(X))


# -- scales, frames, cells that do not move ----------------------------------------------------------------------------


@NORMS
def test_scaled_balls_and_features_that_are_held(norm):
    rng = np.random.default_rng(2)
    X = rng.standard_normal((100, 5))
    model = Linear(np.array([100.0, 1.0, -0.5, 0.2, 50.0]), 0.2)
    scale = np.array([0, 0.3, 7.0, 1e-3, 0])
    truth = distances(model.w, model.b, X, norm, scale)
    honest = by_hand(model, X, truth * (1 - 1e-9), norm, feature_scale=scale)
    assert check_certificate(model, X, honest, random_state=0) is None
    planted = by_hand(model, X, truth * (1 + 1e-6), norm, feature_scale=scale)
    assert is_violation(check_certificate(model, X, planted, random_state=0), model, X, scale)
    held = by_hand(model, X, inf, norm, feature_scale=np.zeros(5))
    assert check_certificate(model, X, held, random_state=0) is None


def frame_and_model(random_state=0):
    rng = np.random.default_rng(random_state)
    X = pd.DataFrame(
        {
            "city": rng.choice(["a", "b"], 120),
            "code": rng.choice([1.0, 2.0, 3.0], 120),
            "size": rng.standard_normal(120),
            "age": rng.standard_normal(120).astype(np.float32),
        }
    )
    y = (X["size"] + 0.5 * X["age"] + 0.2 * rng.standard_normal(120) > 0).astype(int)
    X.loc[::7, "size"] = np.nan
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["city", "code"]), (SimpleImputer(), ["size", "age"])
    )
    return X, make_pipeline(columns, LogisticRegression(C=10)).fit(X, y)


@NORMS
def test_frames_stay_frames_and_categories_and_gaps_stay(norm):
    X, model = frame_and_model()
    certificate = certify(model, X, norm=norm, feature_scale={"age": 0.5})
    assert check_certificate(model, X, certificate, random_state=0) is None
    found = check_certificate(model, X, replace(certificate, radius=certificate.radius * 1.01), random_state=0)
    assert is_violation(found, model, X)
    row = X.iloc[[found.row]]
    pd.testing.assert_frame_equal(found.point[["city", "code"]], row[["city", "code"]])
    assert (found.point.dtypes == X.dtypes).all()
    assert (found.point["size"].isna() == row["size"].isna()).all()
    scale = pd.Series({"age": 0.0, "size": 0.0})
    held = replace(certificate, radius=np.full(120, inf), feature_scale=scale)
    assert check_certificate(model, X, held, random_state=0) is None


def test_polars_frames_of_single_precision():
    rng = np.random.default_rng(0)
    X = pl.DataFrame({"a": rng.standard_normal(50).astype(np.float32), "b": rng.standard_normal(50)})
    y = (X["a"] + X["b"] > 0).to_numpy().astype(int)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    certificate = certify(model, X)
    assert check_certificate(model, X, certificate, random_state=0) is None
    found = check_certificate(model, X, replace(certificate, radius=certificate.radius * 1.001), random_state=0)
    assert is_violation(found, model, X) and found.point.schema == X.schema


# -- what else is searched ---------------------------------------------------------------------------------------------


def test_another_prediction_at_the_point_itself_counts_where_the_radius_is_positive():
    model, X = Linear(np.array([1.0, 1.0])), np.array([[1.0, 2.0], [3.0, -1.0]])
    certificate = by_hand(model, X, 0.1)
    wrong = replace(certificate, prediction=1 - certificate.prediction)
    found = check_certificate(model, X, wrong, random_state=0)
    assert (found.row, found.distance, found.prediction, found.found) == (0, 0.0, 0, 1)
    assert check_certificate(model, X, replace(wrong, radius=np.zeros(2)), random_state=0) is None


@NORMS
@FLOATS
def test_infinite_radii_are_tried_far_out(norm, dtype):
    X = np.array([[1.0, 2.0]], dtype=dtype)
    model = Linear(np.array([1.0, 0.0]), 1e9)
    found = check_certificate(model, X, by_hand(model, X, inf, norm), random_state=0)
    assert is_violation(replace(found, radius=1e300), model, X) and 0.99e9 < found.distance < 1.1e9


def test_predict_is_enough():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 2))
    tree = DecisionTreeClassifier(random_state=0).fit(X, X[:, 0] > 0.1)
    gap = np.abs(X[:, 0] - tree.tree_.threshold[0])
    for estimator in (Rule(tree.predict), tree):  # the slope of a tree is 0
        assert check_certificate(estimator, X, by_hand(estimator, X, gap * 0.999), random_state=0) is None
        assert is_violation(check_certificate(estimator, X, by_hand(estimator, X, gap * 1.1), random_state=0), estimator, X)


def test_the_attack_of_the_certificate_is_tried():
    X, attack = np.array([[0.0, 0.0, 0.0]]), np.array([[0.3, -0.4, 0.1]])
    needle = Rule(lambda X: (np.abs(X - attack).max(axis=1) < 1e-9).astype(int))
    assert check_certificate(needle, X, by_hand(needle, X, 1.0), random_state=0) is None
    found = check_certificate(needle, X, by_hand(needle, X, 1.0, attack=attack, attack_radius=np.array([0.6])), random_state=0)
    assert is_violation(found, needle, X)
    assert check_certificate(needle, X, by_hand(needle, X, 0.5, attack=attack), random_state=0) is None


def test_a_point_outside_by_less_than_any_float_shows_is_none():
    X, attack = np.array([[3.0, 4.0]]), np.array([[0.0, -1e-25]])
    needle = Rule(lambda X: (X == attack).all(axis=1).astype(int))
    assert check_certificate(needle, X, by_hand(needle, X, 5.0, attack=attack), random_state=0) is None
    wider = by_hand(needle, X, np.nextafter(5.0, 6), attack=attack)
    assert is_violation(check_certificate(needle, X, wider, random_state=0), needle, X)


def test_ways_to_rows_of_another_class_are_tried():
    X = np.array([[0.0, 0.0], [2.0, 1.0]])
    ray = Rule(lambda X: (np.abs(X[:, 0] - 2 * X[:, 1]) < 1e-6 * np.abs(X[:, 0])).astype(int))
    found = check_certificate(ray, X, by_hand(ray, X, 1.0), n_directions=0, random_state=0)
    assert is_violation(found, ray, X)
    assert check_certificate(ray, X[:1], by_hand(ray, X[:1], 1.0), n_directions=0, random_state=0) is None


def test_the_walk_in_ulps_needs_no_scores_when_there_is_an_attack():
    broken = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        model = Linear(rng.standard_normal(50), rng.standard_normal())
        X = rng.standard_normal((1, 50))
        score = model.decision_function(X)
        attack = X - 1.001 * score[:, None] * model.w / (model.w @ model.w)
        certificate = by_hand(model, X, distances(model.w, model.b, X, 2), attack=attack)
        broken += check_certificate(Rule(model.predict), X, certificate, random_state=seed) is not None
    assert broken >= 20


def test_directions_at_random_find_what_slopes_do_not_show():
    corner = Rule(lambda X: (np.abs(X).sum(axis=1) > 0.95 * 5).astype(int))
    X = np.zeros((1, 5))
    assert is_violation(check_certificate(corner, X, by_hand(corner, X, 1.0, inf), random_state=0), corner, X)
    axis = Rule(lambda X: (np.abs(X).max(axis=1) > 0.95).astype(int))
    assert is_violation(check_certificate(axis, X, by_hand(axis, X, 1.0, 1), random_state=0), axis, X)
    half = Rule(lambda X: (np.abs(np.linalg.norm(X, axis=1) - 0.5) < 0.2).astype(int))  # the sphere itself is safe
    assert is_violation(check_certificate(half, X, by_hand(half, X, 1.0), random_state=0), half, X)
    assert check_certificate(half, X, by_hand(half, X, 1.0), n_directions=0, random_state=0) is None


def test_many_violations_are_shortened_and_the_smallest_share_returned():
    rng = np.random.default_rng(3)
    X = rng.standard_normal((500, 4))
    model = Linear(rng.standard_normal(4), 0.1)
    truth = distances(model.w, model.b, X, 2)
    found = check_certificate(model, X, by_hand(model, X, 3 * truth), random_state=0)
    assert is_violation(found, model, X)
    assert found.distance == pytest.approx(truth[found.row], rel=1e-9)
    assert "0.33333" in repr(found) and str(found.row) in repr(found)


def test_equal_seeds_give_equal_answers_and_nothing_is_written_into_x():
    rng = np.random.default_rng(3)
    X = rng.standard_normal((50, 4))
    before = X.copy()
    model = make_pipeline(StandardScaler(copy=False), LogisticRegression()).fit(X.copy(), X[:, 0] > 0)
    certificate = by_hand(model, X.copy(), 1.0)
    first, second = (check_certificate(model, X, certificate, random_state=5) for _ in range(2))
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(first.point, second.point)
    model.set_params(standardscaler__copy=True)
    assert first.row == second.row and is_violation(first, model, X)


def test_integers_are_moved_as_floats():
    X = np.array([[3, 4], [6, 8]])
    model = Linear(np.array([3.0, 4.0]))
    found = check_certificate(model, X, by_hand(model, X, 5.0), random_state=0)
    assert found.row == 0 and found.point.dtype == np.float64 and found.distance == 5.0


def both(X):
    """Whether both columns are true, of bools; nothing, of all other types."""
    return X[:, 0] & X[:, 1] if X.dtype == bool else np.zeros(len(X), dtype=bool)


def wraps(X):
    """A sum that is one of the type of X."""
    return np.asarray(X)[:, 0] + np.asarray(X)[:, 1] >= 100


@NORMS
@pytest.mark.parametrize(
    "X, predict, radius",
    [
        (np.array([[200, 1], [190, 0]], dtype=np.uint8), wraps, 80.0),
        (np.array([[32700, 1], [32600, 0]], dtype=np.int16), wraps, 80.0),
        (pd.DataFrame({"a": np.array([200, 190], dtype=np.uint8), "b": np.array([1, 0], dtype=np.uint8)}), wraps, 80.0),
        (np.array([[True, False]]), both, 1.0),
    ],
    ids=["uint8", "int16", "frame", "bool"],
)
def test_integers_are_tried_as_what_they_are_too(X, predict, radius, norm):
    """What wraps around in a narrow type does nothing of the kind in float64."""
    rule = Rule(predict)
    found = check_certificate(rule, X, by_hand(rule, X, radius, norm), random_state=0)
    assert isinstance(found, Violation)
    assert np.asarray(found.point).dtype == np.asarray(X).dtype
    assert rule.predict(found.point)[0] == found.found != found.prediction
    moves = np.asarray(found.point, dtype=float)[0] - np.asarray(X, dtype=float)[found.row]
    assert found.distance == np.linalg.norm(moves, ord=norm) <= radius


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_gaps_in_columns_of_integers_stay_gaps(library):
    X, y = load_iris(return_X_y=True)
    cells = [[None if k % 7 == j else int(10 * v) for k, v in enumerate(X[:, j])] for j in range(2)]
    columns = {"length": cells[0], "width": cells[1], "petal": X[:, 2], "wide": [None if v > 2.4 else v > 1 for v in X[:, 3]]}
    frame = pd.DataFrame(columns).astype({"length": "Int64", "width": "Int16", "wide": "boolean"})
    model = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(frame.astype(float), y)
    points = frame if library == "pandas" else pl.DataFrame({name: list(values) for name, values in columns.items()})
    certificate = certify(model, points)
    assert check_certificate(model, points, certificate, random_state=0, n_directions=4) is None


def test_no_points_no_violation():
    model = Linear(np.ones(2))
    assert check_certificate(model, np.empty((0, 2)), by_hand(model, np.empty((0, 2)), 1.0)) is None


# -- the exact comparison ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("move", "scale", "norm", "radius", "inside"),
    [
        ([3.0, 4.0], [1, 1], 2, 5.0, True),
        ([3.0, 4.0], [1, 1], 2, np.nextafter(5.0, 0), False),
        ([3.0, np.nextafter(4.0, 5)], [1, 1], 2, 5.0, False),
        ([3.0, 4.0], [1, 1], 1, 7.0, True),
        ([3.0, np.nextafter(4.0, 5)], [1, 1], 1, 7.0, False),
        ([1.0, 2.0**-60], [1, 1], 1, 1.0, False),  # the float sum is 1
        ([1.0, 2.0**-60], [1, 1], 2, 1.0, False),
        ([1.0, 2.0**-60], [1, 1], inf, 1.0, True),
        ([0.3, 0.0], [0.1, 1], inf, 3.0, False),  # 0.3 / 0.1 > 3 by a hair: as floats, 2.9999999999999996
        ([0.5, 0.0], [1, 0], 2, 0.5, True),
        ([0.0, 1e-300], [1, 0], 2, 0.5, False),
        ([1e200, 1e200], [1, 1], 2, 1.5e200, True),  # its float square is infinite
        ([1e-200, 1e-200], [1, 1], 2, 1e-200, False),  # its float square is 0
        ([1e300, 0.0], [1, 1], 2, inf, True),
        ([inf, 0.0], [1, 1], 2, inf, False),
    ],
)
def test_points_are_compared_with_the_radius_exactly(move, scale, norm, radius, inside):
    if (move, scale) == ([0.3, 0.0], [0.1, 1]):
        inside = Fraction(0.3) / Fraction(0.1) <= 3
    assert _is_within(np.zeros(2), np.array(move), np.array(scale, dtype=float), norm, radius) == inside


def test_missing_cells_are_where_they_were():
    x = np.array([np.nan, 1.0])
    assert _is_within(x, np.array([np.nan, 1.5]), np.ones(2), 2, 0.5)
    assert not _is_within(x, np.array([0.0, 1.0]), np.ones(2), 2, 0.5)


# -- invalid calls -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "call", "error", "message"),
    [
        ({}, {"X": np.zeros((3, 2))}, ValueError, r"one row per certified point, 2, got shape \(3, 2\): pass"),
        ({}, {"X": np.zeros(2)}, ValueError, r"got shape \(2,\)"),
        ({}, {"n_directions": -1}, ValueError, "n_directions must be an integer >= 0, got -1"),
        ({}, {"n_directions": 1.5}, ValueError, "n_directions must be an integer >= 0, got 1.5"),
        ({}, {"certificate": np.ones(2)}, TypeError, "must be a skcert.Certificate, got ndarray"),
        ({"norm": 3}, {}, ValueError, "norm must be 1, 2 or numpy.inf"),
        ({"space": "scaler"}, {}, ValueError, "output of a step 'scaler', expected one of none here"),
        ({"feature_scale": [1.0]}, {}, ValueError, "feature_scale must hold 2 finite numbers"),
        ({"feature_scale": [1.0, -1.0]}, {}, ValueError, "feature_scale must hold 2 finite numbers"),
        ({"attack": np.zeros((2, 3))}, {}, ValueError, r"attack must have the shape .* \(2, 2\), got \(2, 3\)"),
    ],
)
def test_invalid_calls_say_what_to_do(change, call, error, message):
    model, X = Linear(np.array([1.0, 1.0])), np.array([[1.0, 2.0], [3.0, -1.0]])
    arguments = {"X": X, "certificate": replace(by_hand(model, X, 0.1), **change), **call}
    with pytest.raises(error, match=message):
        check_certificate(model, **arguments)
