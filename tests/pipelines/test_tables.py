"""Tables as they come: types of columns, gaps, categories, names, scales and spaces."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import SelectFromModel, SelectKBest
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.preprocessing import MinMaxScaler, Normalizer, OneHotEncoder, RobustScaler, StandardScaler

from skcert import Affine, CertifiedGMMClassifier, Certifier, Uncertifiable, certify
from tests.pipelines.claims import Cells, hold, reference_radius

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FRAME = load_wine(as_frame=True).data[["alcohol", "magnesium", "hue", "proline"]]
X, Y = FRAME.to_numpy(), load_wine().target
AT = np.arange(2, 178, 15)
SPREAD = X.std(axis=0)
NORMS = [1, 2, np.inf]


def logistic():
    return LogisticRegression(max_iter=2000)


def sharp(pipe, points):
    """The radius is exact, and the attack that comes with it works in the container of the points."""
    found = certify(pipe, points, return_attack=True)
    assert found.exact and (found.radius > 0).all()
    assert (found.attack_radius <= found.radius * (1 + 1e-6)).all()
    assert (pipe.predict(found.attack) != found.prediction).all()
    return found


# -- types of columns ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.int16, np.int64, bool, object])
def test_an_array_of_any_type_of_numbers_has_the_radii_of_its_float64_copy(kind):
    points = (X > np.median(X, axis=0) if kind is bool else X.round()).astype(kind)
    pipe = make_pipeline(StandardScaler(), logistic()).fit(points.astype(float), Y)
    found = sharp(pipe, points)
    np.testing.assert_allclose(found.radius, certify(pipe, points.astype(float)).radius, rtol=1e-9)


@pytest.mark.parametrize("kind", ["int32", "Int64", "Float64", "boolean", "bool"])
def test_a_column_of_another_type_has_the_radii_of_its_float64_copy(kind):
    column = (FRAME["proline"] > 700 if "bool" in kind else FRAME["proline"].round()).astype(kind)
    frame = FRAME.assign(proline=column)
    pipe = make_pipeline(StandardScaler(), logistic()).fit(frame.astype(float), Y)
    found = sharp(pipe, frame)
    np.testing.assert_allclose(found.radius, certify(pipe, frame.astype(float)).radius, rtol=1e-9)
    assert (found.attack["proline"].astype(float) != column.astype(float)).any()


@pytest.mark.parametrize("kind", ["Int64", "Float64", "boolean"])
def test_a_gap_in_a_nullable_column_is_a_gap(kind):
    column = (FRAME["proline"] > 700 if kind == "boolean" else FRAME["proline"].round()).astype(kind)
    frame = FRAME.assign(proline=column.mask(np.arange(178) % 4 == 0))
    plain = frame.assign(proline=frame["proline"].to_numpy(dtype=float, na_value=np.nan))
    pipe = make_pipeline(SimpleImputer(), StandardScaler(), logistic()).fit(plain, Y)
    found = sharp(pipe, frame)
    np.testing.assert_allclose(found.radius, certify(pipe, plain).radius, rtol=1e-9)
    assert found.attack["proline"].isna()[::4].all()


def test_categories_of_a_frame_stay_in_their_own_type():
    frame = FRAME.assign(
        kind=pd.Categorical(np.where(X[:, 0] > 13, "a", "b")), code=pd.Categorical((X[:, 3] > 700).astype(int))
    )
    steps = ColumnTransformer([("text", OneHotEncoder(), ["kind", "code"])], remainder=StandardScaler())
    pipe = make_pipeline(steps, logistic()).fit(frame, Y)
    found = sharp(pipe, frame)
    for name in ("kind", "code"):
        pd.testing.assert_series_equal(found.attack[name], frame[name])


def test_text_and_numbers_side_by_side_in_one_array():
    points = np.column_stack([X.astype(object), np.where(X[:, 0] > 13, "a", "b")])
    points[3, 1] = np.nan
    steps = ColumnTransformer(
        [("text", OneHotEncoder(), [4]), ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), [0, 1, 2, 3])]
    )
    pipe = make_pipeline(steps, logistic()).fit(points, Y)
    found = sharp(pipe, points)
    assert found.attack.dtype == object and (found.attack[:, 4] == points[:, 4]).all() and np.isnan(found.attack[3, 1])


def test_lists_of_rows_are_certified_as_the_arrays_that_scikit_learn_reads_in_them():
    kinds = np.where(X[:, 0] > 13, "a", "b")
    rows = [[*numbers, kind] for numbers, kind in zip(X.tolist(), kinds.tolist(), strict=True)]
    array = np.column_stack([X.astype(object), kinds])
    encoded = ColumnTransformer([("text", OneHotEncoder(), [4])], remainder=StandardScaler())
    scaled = ColumnTransformer([("scaled", StandardScaler(), [0, 1])], remainder="passthrough")
    for steps, given, read in [(encoded, rows, array), (scaled, X.tolist(), X), (scaled, tuple(map(tuple, X)), X)]:
        pipe = make_pipeline(steps, logistic()).fit(read, Y)
        np.testing.assert_array_equal(certify(pipe, given).prediction, pipe.predict(given))
        np.testing.assert_array_equal(certify(pipe, given).radius, certify(pipe, read).radius)


def test_single_precision_frames_get_single_precision_attacks_that_work():
    frame = FRAME.astype(np.float32)
    pipe = make_pipeline(StandardScaler(), logistic()).fit(frame, Y)
    found = certify(pipe, frame, return_attack=True)
    assert (found.attack.dtypes == np.float32).all() and (pipe.predict(found.attack) != found.prediction).all()
    assert (found.attack_radius <= found.radius + 1e-4).all()  # what rounding in float32 may cost


# -- gaps ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
def test_a_gap_does_not_move_and_the_cells_beside_it_do(norm):
    gaps = X.copy()
    gaps[::2, 0] = gaps[1::3, 2] = np.nan
    pipe = make_pipeline(StandardScaler(), SimpleImputer(), PCA(3), SimpleImputer(), logistic()).fit(gaps, Y)
    found = hold(pipe, gaps[AT], X[::20], norm=norm, spread=SPREAD, score=pipe.decision_function)
    # as for the filled point whose filled feature has scale 0
    for row, radius in zip(gaps[AT], found.radius, strict=True):
        filled = np.where(np.isnan(row), pipe[0].mean_ + pipe[0].scale_ * pipe[1].statistics_, row)
        expected = certify(pipe, filled[None], norm=norm, feature_scale=np.where(np.isnan(row), 0.0, 1.0)).radius
        np.testing.assert_allclose(radius, expected, rtol=1e-6)


def test_a_gap_where_only_categories_are_read_and_one_where_nothing_is():
    frame = FRAME.assign(code=np.where(X[:, 0] > 13, 1.0, 2.0), note=np.nan)
    frame.loc[5:9, "code"] = np.nan
    steps = ColumnTransformer(
        [("o", OneHotEncoder(), ["code"]), ("n", make_pipeline(SimpleImputer(), StandardScaler()), FRAME.columns)]
    )
    pipe = make_pipeline(steps, logistic()).fit(frame, Y)
    found = sharp(pipe, frame)
    assert found.attack["note"].isna().all() and found.attack["code"].isna().sum() == 5


def test_a_point_without_any_cell_is_robust_to_all_that_can_move():
    pipe = make_pipeline(SimpleImputer(), StandardScaler(), logistic()).fit(X, Y)
    points = np.vstack([X[:2], np.full((1, 4), np.nan)])
    radius = certify(pipe, points).radius
    assert np.isinf(radius[2]) and np.isfinite(radius[:2]).all()
    with pytest.raises(ValueError, match="NaN"):
        certify(make_pipeline(StandardScaler(), logistic()).fit(X, Y), points)


def test_every_pattern_of_gaps_keeps_its_row():
    rng = np.random.default_rng(0)
    gaps = np.where(rng.random(X.shape) < 0.4, np.nan, X)
    pipe = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler(), CertifiedGMMClassifier()).fit(gaps, Y)
    together = certify(pipe, gaps, return_attack=True)
    alone = [certify(pipe, row[None], return_attack=True) for row in gaps[AT]]
    np.testing.assert_allclose(together.radius[AT], [c.radius[0] for c in alone], rtol=1e-9)
    np.testing.assert_allclose(together.attack[AT], np.vstack([c.attack for c in alone]), rtol=1e-6)


# -- names and scales ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
def test_scales_go_by_name_whatever_the_order_of_table_and_dict(norm):
    steps = ColumnTransformer([("a", StandardScaler(), ["proline", "alcohol"]), ("b", RobustScaler(), ["hue"])])
    pipe = make_pipeline(steps, logistic()).fit(FRAME, Y)
    other = FRAME[["hue", "proline", "magnesium", "alcohol"]].assign(extra=1.0)
    by_name = certify(pipe, other, norm=norm, feature_scale={"proline": 300.0, "hue": 0.0, "extra": 9.0})
    by_place = certify(pipe, FRAME, norm=norm, feature_scale=[1.0, 1.0, 0.0, 300.0])
    np.testing.assert_allclose(by_name.radius, by_place.radius, rtol=1e-12)
    units = np.array([1.0, 1.0, 0.0, 300.0])
    expected = reference_radius(pipe.decision_function, Cells(FRAME.iloc[AT]), SPREAD, norm, units)
    np.testing.assert_allclose(by_place.radius[AT], expected, rtol=1e-7)


def test_one_certifier_takes_tables_in_one_order_and_then_in_another():
    steps = ColumnTransformer([("a", StandardScaler(), ["proline", "alcohol"]), ("b", RobustScaler(), ["hue"])])
    certifier = Certifier(make_pipeline(steps, logistic()).fit(FRAME, Y))
    expected = certifier.certify(FRAME, norm=1).radius
    for order in (FRAME.columns[::-1], ["hue", "alcohol", "proline", "magnesium"]):
        np.testing.assert_allclose(certifier.certify(FRAME[order], norm=1).radius, expected, rtol=1e-12)


def test_a_column_nobody_reads_has_no_say():
    steps = ColumnTransformer([("a", StandardScaler(), ["proline", "alcohol"])])
    pipe = make_pipeline(steps, logistic()).fit(FRAME, Y)
    without = certify(pipe, FRAME.drop(columns="hue")).radius
    np.testing.assert_allclose(certify(pipe, FRAME.assign(hue=1e9)).radius, without, rtol=1e-12)
    frozen = {"proline": 0.0, "alcohol": 0.0}
    assert np.isinf(certify(pipe, FRAME, feature_scale=frozen).radius).all()


@pytest.mark.parametrize("norm", NORMS)
def test_a_number_that_is_also_a_category_does_not_move(norm):
    frame = FRAME.assign(code=(X[:, 3] > 700) + 2.0 * (X[:, 0] > 13))
    steps = ColumnTransformer([("o", OneHotEncoder(), ["code"]), ("n", StandardScaler(), ["code", "hue", "alcohol"])])
    pipe = make_pipeline(steps, logistic()).fit(frame, Y)
    found = certify(pipe, frame, norm=norm, return_attack=True)
    units = np.array([1.0, 1.0, 1.0, 1.0, 0.0])
    cells = Cells(frame.iloc[AT], ["code"])
    expected = reference_radius(pipe.decision_function, cells, frame.std().to_numpy(), norm, units)
    np.testing.assert_allclose(found.radius[AT], expected, rtol=1e-7)
    assert found.exact and (found.attack["code"] == frame["code"]).all()
    assert (pipe.predict(found.attack) != found.prediction).all()
    for scale in (np.ones(5), {"code": 1.0}):
        with pytest.raises(ValueError, match="columns that cannot move.*code"):
            certify(pipe, frame, norm=norm, feature_scale=scale)
    np.testing.assert_allclose(certify(pipe, frame, norm=norm, feature_scale=units).radius, found.radius, rtol=1e-12)


def test_a_column_may_be_read_twice_by_one_part():
    steps = ColumnTransformer([("a", StandardScaler(), [0, 0, 3]), ("b", "drop", [1])], remainder="passthrough")
    pipe = make_pipeline(steps, Affine([[1.0, 2.0, 1.0, 0.1], [0.0, 0.0, 0.0, 0.0]], [0.0, 0.0])).fit(X, Y)
    hold(pipe, X[AT], X[::20], spread=SPREAD, score=pipe.decision_function)


def test_parts_of_one_kind_are_weighted_by_their_names():
    union = FeatureUnion([("a", StandardScaler()), ("b", StandardScaler())], transformer_weights={"b": 5.0})
    pipe = make_pipeline(union, CertifiedGMMClassifier(covariance_type="spherical")).fit(X, Y)
    hold(pipe, X[AT], X[::20], spread=SPREAD)


@pytest.mark.parametrize("model", [logistic(), CertifiedGMMClassifier(covariance_type="full")], ids=["linear", "quadratic"])
def test_columns_of_any_unit_cost_nothing(model):
    units = np.array([1e-6, 1e8, 1.0, 1e3])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in (StandardScaler(), RobustScaler(), MinMaxScaler(), PCA(4)):
            pipe = make_pipeline(step, StandardScaler(), model).fit(X * units, Y)
            found = certify(pipe, X * units, feature_scale=units * SPREAD, return_attack=True)
            assert (found.radius > 0).all() and (found.attack_radius <= found.radius * (1 + 1e-6)).all()


# -- spaces --------------------------------------------------------------------------------------------------------------


def test_spaces_inside_a_pipeline_of_pipelines():
    inner = Pipeline([("scale", StandardScaler()), ("nothing", "passthrough"), ("turn", PCA(3))])
    pipe = Pipeline([("outer", inner), ("best", SelectKBest(k=2)), ("model", logistic())]).fit(FRAME, Y)
    scaled = StandardScaler().fit(FRAME).transform(FRAME)
    flat = make_pipeline(pipe[0]["turn"], pipe["best"], pipe["model"])
    expected = certify(flat, scaled).radius
    for space in ("outer__scale", "outer__nothing"):
        np.testing.assert_allclose(certify(pipe, FRAME, space=space).radius, expected, rtol=1e-9)
    turned = certify(make_pipeline(pipe["best"], pipe["model"]), pipe[:1].transform(FRAME)).radius
    for space in ("outer", "outer__turn"):
        np.testing.assert_allclose(certify(pipe, FRAME, space=space).radius, turned, rtol=1e-9)
    np.testing.assert_array_equal(certify(pipe, FRAME, space="best").radius, certify(pipe, FRAME, space="latents").radius)


# -- clips and rows of length one ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
def test_clipped_twice_with_a_rotation_between(norm):
    pipe = make_pipeline(MinMaxScaler(clip=True), PCA(3), MinMaxScaler((-1, 1), clip=True), logistic()).fit(X, Y)
    far = np.vstack([X[AT], X[AT] * 3, -X[AT], X[AT] + 1e4])
    hold(pipe, far, X[::12], norm=norm, spread=SPREAD, exact=False)
    hold(pipe, far, X[::12], norm=norm, spread=SPREAD, scale=SPREAD * [1, 0, 3, 0.2], exact=False)


@pytest.mark.parametrize("norm", NORMS)
def test_a_clip_that_cuts_nothing_off_costs_no_more_than_the_worst_of_its_coordinates(norm):
    plain = make_pipeline(MinMaxScaler(), logistic()).fit(X, Y)
    clipped = make_pipeline(MinMaxScaler(clip=True), logistic()).fit(X, Y)
    exact, bound = certify(plain, X, norm=norm), certify(clipped, X, norm=norm)
    assert (bound.radius <= exact.radius * (1 + 1e-9)).all() and not bound.exact
    np.testing.assert_allclose(bound.radius, exact.radius, rtol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("after", ["l1", "l2", "max"])
def test_rows_of_length_one_are_bounded_in_every_norm_also_twice_and_near_the_origin(after, norm):
    centred = X - X.mean(axis=0)
    for steps in ([StandardScaler(), Normalizer(after)], [StandardScaler(), Normalizer(after), Normalizer("l2")]):
        pipe = make_pipeline(*steps, logistic()).fit(centred, Y)
        near = centred[AT] * np.geomspace(1e-3, 1, len(AT))[:, None]
        hold(pipe, near, centred[::12], norm=norm, spread=SPREAD, exact=False)


def test_a_row_at_the_origin_or_beside_it_has_no_radius():
    centred = X - X.mean(axis=0)
    pipe = make_pipeline(Normalizer(), logistic()).fit(centred, Y)
    assert (certify(pipe, np.array([[0.0] * 4, [1e-8] * 4, [1e-16] * 4])).radius == 0).all()


@pytest.mark.parametrize("angle", [0.3, 1.2, 2.0])
def test_a_row_divided_by_its_length_is_as_far_as_the_tangent_to_the_sphere_of_its_turn(angle):
    # the boundary is the plane of all points at right angles to w: on the circle the chord is known, before it the distance
    head = Affine(np.array([[0.0, 1.0], [0.0, 0.0]]), [0.0, 0.0])
    pipe = make_pipeline(Normalizer(), head).fit(np.eye(2), [0, 1])
    point = 7 * np.array([[np.cos(angle), np.sin(angle)]])
    found, height = certify(pipe, point), np.sin(angle)
    assert found.radius[0] == pytest.approx(7 * height * np.sqrt(1 - height**2 / 4), rel=1e-9)
    assert found.radius[0] <= 7 * height


@pytest.mark.parametrize(
    ("after", "norm", "point", "away", "weights"),
    [("l1", 1, [1.0, 0.0], [0.0, 1.0], [1.0, -1.0]), ("max", np.inf, [1.0, 1.0], [1.0, -1.0], [0.0, 1.0])],
)
def test_other_norms_turn_a_row_up_to_twice_as_far_as_it_moves(after, norm, point, away, weights):
    lead = 0.1
    pipe = make_pipeline(Normalizer(after), Affine(weights, lead - 1.0)).fit(np.eye(2), [0, 1])
    point, away = 5 * np.array([point]), 5 * np.array([away])
    radius = certify(pipe, point, norm=norm).radius[0]
    flips = [t for t in np.linspace(0, 0.2, 2001) if pipe.predict(point + t * away) != pipe.predict(point)]
    assert 5 * 0.5 * lead * (1 - 1e-6) <= radius <= 5 * flips[0]


# -- many points ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model", [logistic(), CertifiedGMMClassifier(), CertifiedGMMClassifier(covariance_type="diag")], ids=str
)
def test_radii_do_not_depend_on_the_company_or_the_order_of_points(model):
    rng = np.random.default_rng(0)
    points = rng.standard_normal((60_000, 20))
    labels = (points[:, :3] @ [1, 2, 3] > 0).astype(int) + (points[:, 4] > 0)
    pipe = make_pipeline(StandardScaler(), model).fit(points[:3000], labels[:3000])
    whole, some = certify(pipe, points).radius, rng.permutation(60_000)[:200]
    np.testing.assert_allclose(certify(pipe, points[some]).radius, whole[some], rtol=1e-9)
    np.testing.assert_allclose(certify(pipe, points[::-1]).radius[::-1], whole, rtol=1e-9)
    np.testing.assert_allclose(certify(pipe, points[some[:1]]).radius, whole[some[:1]], rtol=1e-9)


# -- few classes ---------------------------------------------------------------------------------------------------------


def test_a_class_of_prior_zero_behind_steps_is_no_rival():
    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        warnings.simplefilter("ignore")
        pipe = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(priors=[0, 0.5, 0.5])).fit(X, Y)
        found = hold(pipe, X[AT], X[::12], spread=SPREAD)
    assert 0 not in found.prediction and 0 not in found.runner_up


def test_equal_scores_have_no_radius_and_nothing_that_moves_an_infinite_one():
    tie = make_pipeline(make_union(StandardScaler(), StandardScaler()), Affine(np.r_[np.ones(4), -np.ones(4)], 0.0)).fit(X, Y)
    assert (certify(tie, X).radius == 0).all()
    head = make_pipeline(StandardScaler(), Affine(np.ones(4), 0.0)).fit(X, Y)
    assert np.isinf(certify(head, X, feature_scale=np.zeros(4)).radius).all()


# -- once broken -------------------------------------------------------------------------------------------------------


def gappy(share=0.1):
    X, y = load_wine(return_X_y=True)
    holes = X.copy()
    holes[np.random.default_rng(0).random(X.shape) < share] = np.nan
    return X, holes, y


def test_a_constant_imputer_of_numbers_moves_what_is_observed():
    X, _, y = gappy()
    for imputer, points in ((SimpleImputer(strategy="constant", fill_value=0.0), X), (SimpleImputer(), X.astype(object))):
        pipe = make_pipeline(imputer, StandardScaler(), LogisticRegression()).fit(points, y)
        plain = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
        np.testing.assert_allclose(certify(pipe, points).radius, certify(plain, X).radius, rtol=1e-6)


def test_coefficients_that_cancel_are_no_reason_to_refuse():
    X, holes, y = gappy()
    twice = make_pipeline(SimpleImputer(), RobustScaler(), StandardScaler(), LogisticRegression()).fit(holes, y)
    certificate = certify(twice, holes, return_attack=True)
    assert (certificate.attack_radius <= certificate.radius * (1 + 1e-6)).all()
    dependent = make_pipeline(make_union(PCA(2), StandardScaler()), PCA(14), LogisticRegression(max_iter=1000)).fit(X, y)
    assert (certify(dependent, X).radius > 0).all()


def test_gaps_in_columns_that_only_an_indicator_reads_are_seen():
    _, holes, y = gappy()
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    table = ColumnTransformer([("gaps", MissingIndicator(features="all"), [1]), ("numbers", numbers, [0, 2, 3])])
    pipe = make_pipeline(table, LogisticRegression()).fit(holes, y)
    certificate = certify(pipe, holes, return_attack=True)
    assert np.isnan(holes[:, 1]).any() and (pipe.predict(certificate.attack) != certificate.prediction).all()


def test_radii_are_infinite_where_no_moving_column_reaches_the_classifier():
    X, _, y = gappy()
    kind = np.where(X[:, 9] > 5, "dark", "light").astype(object)
    points = np.column_stack([X.astype(object), kind])
    encode = ColumnTransformer([("kind", OneHotEncoder(), [13]), ("rest", StandardScaler(), list(range(13)))])
    for model in (NearestCentroid(), LogisticRegression(), CertifiedGMMClassifier()):
        pipe = make_pipeline(encode, SelectFromModel(RidgeClassifier(), max_features=2, threshold=-np.inf), model)
        pipe.fit(points, y)
        pipe[1].estimator_.coef_ = np.tile([1.0, 1.0] + [0.0] * 13, (3, 1))  # the two categories, and nothing else
        pipe[2].fit(pipe[:2].transform(points), y)
        certificate = certify(pipe, points)
        assert np.isinf(certificate.radius).all()


def test_a_request_is_checked_whatever_has_been_asked_before():
    X, _, y = gappy()
    points = np.column_stack([X.astype(object), np.where(X[:, 9] > 5, "dark", "light")])
    table = ColumnTransformer([("kind", OneHotEncoder(), [13]), ("rest", StandardScaler(), list(range(13)))])
    certifier = Certifier(make_pipeline(table, LogisticRegression()).fit(points, y))
    certifier.certify(points)
    with pytest.raises(ValueError, match=r"cannot move: \[13\]"):
        certifier.certify(points, feature_scale=np.ones(14))


@pytest.mark.parametrize("method", ["predict", "transform"])
def test_what_is_looked_into_must_do_what_its_class_does(method):
    X, _, y = gappy()
    pipe = make_pipeline(make_pipeline(StandardScaler()), LogisticRegression()).fit(X, y)
    setattr(pipe if method == "predict" else pipe[0], method, lambda X: X)
    with pytest.raises(Uncertifiable, match=f"whose {method} has been replaced on the instance"):
        certify(pipe, X)


def test_endings_and_repetitions_are_refused_in_words():
    X, _, y = gappy()
    with pytest.raises(Uncertifiable, match="ends in 'passthrough', which is no classifier"):
        certify(Pipeline([("scale", StandardScaler()), ("end", "passthrough")]).fit(X, y), X)
    pipe = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    frame = pd.DataFrame(X, columns=[f"x{k}" for k in range(13)])
    pipe.fit(frame, y)
    with pytest.raises(ValueError, match="more than once"):
        certify(pipe, frame, feature_scale=pd.Series(1.0, index=["x0", "x0"]))
