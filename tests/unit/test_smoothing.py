"""RandomizedSmoothingClassifier: whose votes, in which memory, in which container, and what it refuses."""

import pickle
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from skcert import (
    Affine,
    CertifiedGMMClassifier,
    Certifier,
    PretrainedEmbedder,
    RandomizedSmoothingClassifier,
    Uncertifiable,
    certify,
    make_certified_pipeline,
    register_discriminant,
)
from skcert.adapters import _MODELS
from skcert.metrics import average_certified_radius, certified_accuracy_scorer
from skcert.plotting import CertifiedAccuracyDisplay
from skcert.smoothing.choice import voters
from skcert.smoothing.votes import ByEncoder, ByPredict, ByScores, noise_factor
from skcert.testing import check_certificate

X, Y = load_iris(return_X_y=True)
ESTIMATORS = {
    "scores": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "latents": lambda: CertifiedGMMClassifier(covariance_type="full"),
    "predict": lambda: SVC(),
}


def smoothed(estimator=None, **settings):
    given = {"sigma": 0.3, "n_certify": 300, "random_state": 0, **settings}
    return RandomizedSmoothingClassifier(estimator or SVC(), **given)


# -- whose votes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stopping", ["fixed", "anytime"])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_certificate_does_not_depend_on_what_stands_beside_a_point(kind, stopping):
    settings = {"stopping": stopping, "target_radius": 0.2}
    whole = smoothed(ESTIMATORS[kind](), **settings).fit(X, Y).certify(X)
    some = np.array([140, 3, 77, 78])
    for more in ({}, {"batch_size": 7}, {"n_jobs": 2}):
        part = smoothed(ESTIMATORS[kind](), **settings, **more).fit(X, Y).certify(X[some])
        for name in ("prediction", "radius", "runner_up", "n_passes"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[some])


def test_the_prediction_is_the_same_in_predict_and_certify_and_repeats():
    for random_state in (0, None, np.random.RandomState(3)):
        model = smoothed(random_state=random_state).fit(X, Y)
        np.testing.assert_array_equal(model.predict(X), model.certify(X).prediction)
        np.testing.assert_array_equal(model.certify(X).radius, model.certify(X).radius)
    first, second = (smoothed(random_state=seed).fit(X, Y).certify(X).radius for seed in (1, 2))
    assert (first != second).any()


def test_selection_and_certification_draw_different_noise():
    with voters(SVC().fit(X, Y), np.arange(3), X, sigma=3.0, seed=0, batch_size="auto", device="auto") as ((rows, voter),):
        assert isinstance(voter, ByPredict)
        first, second = (voter.count(rows, 100, stream) for stream in (0, 1))
    assert (first != second).any(axis=1).mean() > 0.8


@pytest.mark.parametrize("estimator, kind", [
    (LogisticRegression(), ByScores),
    (make_pipeline(StandardScaler(), CertifiedGMMClassifier(covariance_type="full")), ByScores),
    (SVC(), ByPredict),
])  # fmt: skip
def test_what_is_known_of_the_steps_is_used(estimator, kind):
    fitted = estimator.fit(X, Y)
    with voters(fitted, np.arange(3), X, sigma=1.0, seed=0, batch_size="auto", device="auto") as groups:
        assert [type(voter) for _, voter in groups] == [kind]


class Odd(LogisticRegression):
    """Does something else where the first feature is large."""

    def predict(self, X):
        return np.where(X[:, 0] > 6, 0, super().predict(X))


def test_a_rule_that_does_not_answer_as_predict_does_is_not_used_there():
    register_discriminant(Odd, lambda model: Affine(model.coef_, model.intercept_))
    try:
        fitted = Odd(max_iter=1000).fit(X, Y)
        odd = (X[:, 0] > 6) & (LogisticRegression.predict(fitted, X) != 0)
        with voters(fitted, np.arange(3), X, sigma=1.0, seed=0, batch_size="auto", device="auto") as groups:
            kinds = {type(voter): rows for rows, voter in groups}
        np.testing.assert_array_equal(kinds[ByPredict], np.flatnonzero(odd))
        np.testing.assert_array_equal(kinds[ByScores], np.flatnonzero(~odd))
        model = smoothed(fitted, sigma=0.1)
        whole = model.certify(X)
        np.testing.assert_array_equal(whole.prediction == 0, (Y == 0) | odd)
        for row in (*np.flatnonzero(odd)[:3], 0, 60):
            assert model.certify(X[[row]]).radius[0] == whole.radius[row]
    finally:
        _MODELS.pop(Odd, None)


def test_methods_replaced_on_an_instance_are_asked():
    """They may do anything beside the points at which they were compared."""
    step, model = StandardScaler().fit(X), LogisticRegression().fit(X, Y)
    step.transform = lambda Z: StandardScaler.transform(step, np.round(Z, 1))
    pipe = make_pipeline(step, model)
    with voters(pipe, np.arange(3), X, sigma=1.0, seed=0, batch_size="auto", device="auto") as groups:
        assert [type(voter) for _, voter in groups] == [ByPredict]


def test_a_gap_beside_a_point_changes_nothing():
    pipe = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
    gappy = np.where(np.arange(4) == 2, np.nan, X[:1])
    model = smoothed(pipe, sigma=0.5).fit(X, Y)
    together = model.certify(np.vstack([gappy, X[50:60], gappy]))
    np.testing.assert_array_equal(together.radius[1:-1], model.certify(X[50:60]).radius)
    assert together.radius[0] == together.radius[-1] > 0
    with pytest.raises(ValueError, match="put these inside it"):
        make_certified_pipeline(StandardScaler(), smoothed(HistGradientBoostingClassifier())).fit(X, Y).certify(gappy)


def test_scaling_many_features_needs_no_square_matrix():
    wide = np.random.default_rng(0).standard_normal((30, 20_000))
    pipe = make_pipeline(StandardScaler(), LogisticRegression()).fit(wide, np.arange(30) % 2)
    model = smoothed(pipe, batch_size=10)
    tracemalloc.start()
    model.certify(wide[:2])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20  # a square matrix would have 3 GB


def test_noise_in_fewer_dimensions_has_the_same_covariance():
    matrix = np.random.default_rng(0).standard_normal((3, 40))
    factor = noise_factor(matrix)
    assert factor.shape == (3, 3)
    np.testing.assert_allclose(factor @ factor.T, matrix @ matrix.T, rtol=1e-12)


def test_memory_does_not_grow_with_the_number_of_votes():
    rng = np.random.default_rng(0)
    wide, y = rng.standard_normal((40, 2000)), np.arange(40) % 2
    model = SVC().fit(wide, y)
    peaks = []
    for n in (500, 5000):
        tracemalloc.start()
        smoothed(model, n_certify=n, batch_size=100).certify(wide[:1])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 2**16 and peaks[1] < 16 * 2**20


# -- fitted or not -----------------------------------------------------------------------------------------------------


def test_fitted_estimators_are_taken_as_they_are():
    inner = SVC().fit(X, Y)
    direct = smoothed(inner)
    frozen = smoothed(FrozenEstimator(inner)).fit(X[:10], np.arange(10) % 3)
    fresh = smoothed(SVC()).fit(X, Y)
    for model in (direct, frozen, fresh):
        np.testing.assert_array_equal(model.certify(X).radius, fresh.certify(X).radius)
        np.testing.assert_array_equal(model.classes_, [0, 1, 2])
    assert not hasattr(direct, "estimator_")
    unseeded = smoothed(inner, sigma=2.0, n_select=11, random_state=None)
    np.testing.assert_array_equal(unseeded.predict(X), unseeded.certify(X).prediction)
    with pytest.raises(NotFittedError, match="not fitted yet, nor is its estimator"):
        smoothed(SVC()).predict(X)


def test_cloned_pickled_searched():
    model = smoothed(make_pipeline(StandardScaler(), SVC())).fit(X, Y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.certify(X).radius, model.certify(X).radius)
    assert clone(model).get_params()["sigma"] == 0.3
    search = GridSearchCV(
        smoothed(), {"sigma": [0.05, 0.4], "estimator__C": [1.0]}, scoring=certified_accuracy_scorer(0.3), cv=3
    )
    assert search.fit(X, Y).best_params_["sigma"] == 0.4  # the other one reaches no further than 0.12
    assert certify(search, X).guarantee == "probabilistic"


# -- containers --------------------------------------------------------------------------------------------------------


def test_columns_of_text_stay_where_they_are():
    frame = pd.DataFrame(X, columns=list("abcd")).assign(where=np.where(Y == 0, "here", "there"))
    columns = ColumnTransformer([("n", StandardScaler(), list("abcd")), ("t", OneHotEncoder(), ["where"])])
    model = smoothed(make_pipeline(columns, SVC())).fit(frame, Y)
    certificate = model.certify(frame)
    assert (certificate.radius > 0).mean() > 0.8 and certificate.to_frame().n_passes.eq(400).all()
    with pytest.raises(ValueError, match="where"):
        model.certify(frame, feature_scale={"where": 1.0})
    numbers = smoothed(SVC()).fit(frame[list("abcd")], Y)
    np.testing.assert_array_equal(numbers.feature_names_in_, list("abcd"))
    assert (numbers.certify(frame[list("abcd")]).radius > 0).mean() > 0.8


def test_what_moves_is_a_matter_of_types_and_not_of_the_rows_at_hand():
    """Digits in a column of text are text, whether or not all of the rows at hand have digits there."""
    codes = np.array(["12", "34", "7B"])[Y]
    frame = pd.DataFrame(X, columns=list("abcd")).assign(code=codes)
    for kind in (object, "category", "str"):
        typed = frame.astype({"code": kind})
        columns = ColumnTransformer([("n", StandardScaler(), list("abcd")), ("t", OneHotEncoder(), ["code"])])
        model = smoothed(make_pipeline(columns, SVC())).fit(typed, Y)
        some = np.flatnonzero(codes != "7B")[::9]
        np.testing.assert_array_equal(model.certify(typed.iloc[some]).radius, model.certify(typed).radius[some])
    dated = frame.drop(columns="code").assign(day=pd.date_range("2020-01-01", periods=150))
    pipe = make_pipeline(ColumnTransformer([("n", "passthrough", list("abcd"))]), SVC())
    plain = smoothed(make_pipeline(ColumnTransformer([("n", "passthrough", list("abcd"))]), SVC()))
    dateless = dated.drop(columns="day")
    with_dates, without = smoothed(pipe).fit(dated, Y).certify(dated), plain.fit(dateless, Y).certify(dateless)
    assert abs(with_dates.radius.mean() - without.radius.mean()) < 0.02  # other draws, the same law


@pytest.mark.parametrize("kind", [np.uint8, np.int64, bool, np.float32, object])
def test_noise_falls_on_arrays_in_any_order_of_memory(kind):
    images = np.random.default_rng(0).integers(0, 2 if kind is bool else 200, (6, 3, 8, 8)).astype(kind)
    wanted = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    for laid_out in (images.transpose(0, 2, 3, 1), np.asfortranarray(wanted)):
        seen = []

        def listening(noisy, seen=seen):
            seen.append(noisy.astype(float))
            return np.zeros(len(noisy), dtype=int)

        ByPredict(listening, np.arange(2), voters_points(laid_out), 10.0, 0, "auto").count(np.arange(6), 200, 1)
        moved = np.concatenate(seen).reshape(6, 200, 8, 8, 3) - wanted[:, None].astype(float)
        assert abs(moved.std() / 10 - 1) < 0.02 and abs(moved.mean()) < 0.2


def test_float32_points_get_float32_noise_and_certificates_alike():
    model = smoothed(SVC(), n_certify=2000).fit(X.astype(np.float32), Y)
    single, double = model.certify(X.astype(np.float32)), model.certify(X.astype(np.float32).astype(float))
    assert np.abs(single.radius - double.radius).max() < 0.1


@pytest.fixture(scope="module")
def images():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    encoder = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, stride=2), torch.nn.ReLU(), torch.nn.Flatten())
    digits, labels = load_digits(return_X_y=True)
    digits = digits.reshape(-1, 1, 8, 8) / 16
    model = make_pipeline(PretrainedEmbedder(encoder), StandardScaler(), LogisticRegression(max_iter=2000))
    return model.fit(digits[:500], labels[:500]), digits[500:530], labels[500:530]


def test_an_encoder_votes_where_it_runs(images):
    model, points, labels = images
    settings = {"sigma": 0.3, "seed": 0, "batch_size": "auto", "device": "auto"}
    with voters(model, np.arange(10), points, **settings) as ((rows, voter),):
        assert isinstance(voter, ByEncoder)
        known = voter.count(rows, 1000, 1)
    plain = ByPredict(model.predict, np.arange(10), voters_points(points), 0.3, 0, "auto").count(rows, 1000, 1)
    assert np.abs(known - plain).max() < 4.5 * np.sqrt(500)
    certificate = smoothed(model).certify(points)
    some = smoothed(model, batch_size=11).certify(points[[7, 2]])
    np.testing.assert_array_equal(some.radius, certificate.radius[[7, 2]])
    flat = smoothed(make_pipeline(PretrainedEmbedder(model[0].encoder, input_shape=(1, 8, 8)), *model[1:]))
    flat.fit(points.reshape(30, -1), labels)
    assert flat.certify(points[:3].reshape(3, -1)).n_passes.tolist() == [400] * 3


def voters_points(points):
    from skcert._points import Points

    return Points.of(points)


def test_encoders_that_fail_under_noise_say_so(images):
    """NaN is no vote: pixels below 0 have no root."""
    model, points, _ = images
    torch = pytest.importorskip("torch")
    rooted = make_pipeline(PretrainedEmbedder(model[0].encoder, preprocess=torch.sqrt).fit(points), *model[1:])
    for pipe in (rooted, make_pipeline(rooted[0], SVC()).fit(points, np.arange(30) % 3)):
        with pytest.raises(ValueError, match="encoder's output is NaN"):
            smoothed(pipe).certify(points[:2])


def test_preprocessing_may_return_arrays_and_caches_are_left_alone(images, tmp_path):
    model, points, _ = images
    halved = PretrainedEmbedder(model[0].encoder, preprocess=lambda batch: batch.numpy() / 2).fit(points)
    assert smoothed(make_pipeline(halved, *model[1:])).certify(points[:2]).n_passes.tolist() == [400, 400]
    cached = PretrainedEmbedder(model[0].encoder, memory=str(tmp_path))
    pipe = make_pipeline(cached, SVC()).fit(points, np.arange(30) % 3)
    before = len(list(tmp_path.rglob("*.pkl")))
    smoothed(pipe).certify(points[:2])
    assert len(list(tmp_path.rglob("*.pkl"))) <= before + 1  # the points themselves, without noise


def test_a_device_is_for_torch_encoders(images):
    model, points, _ = images
    forest = make_pipeline(model[0], SVC()).fit(points, np.arange(30) % 3)
    for pipe in (model, forest):
        np.testing.assert_array_equal(smoothed(pipe, device="cpu").predict(points), smoothed(pipe).predict(points))
    with pytest.raises(ValueError, match="does not begin with one"):
        smoothed(SVC().fit(X, Y), device="cpu").predict(X)


# -- in pipelines ------------------------------------------------------------------------------------------------------


def test_steps_before_the_noise_count():
    inner = smoothed(SVC())
    scaler = StandardScaler().fit(X)
    pipe = make_certified_pipeline(StandardScaler(), inner).fit(X, Y)
    there = pipe.certify(X, space="latents")
    np.testing.assert_array_equal(there.radius, pipe[-1].certify(scaler.transform(X)).radius)
    steepest = 1 / scaler.scale_.min()
    np.testing.assert_allclose(pipe.certify(X).radius, there.radius / steepest, rtol=1e-9)
    assert (pipe.certify(X).radius <= there.radius / steepest).all()
    assert there.guarantee == "probabilistic" and there.confidence == 0.999


def test_other_norms_and_units_by_the_ball_inside():
    model = smoothed(SVC()).fit(X, Y)
    l2 = model.certify(X).radius
    np.testing.assert_allclose(model.certify(X, norm=1).radius, l2, rtol=1e-12)
    np.testing.assert_allclose(model.certify(X, norm=np.inf).radius, l2 / 2, rtol=1e-12)
    np.testing.assert_allclose(model.certify(X, feature_scale=[0, 2, 0.5, 1]).radius, l2 / 2, rtol=1e-12)
    still = model.certify(X, feature_scale=np.zeros(4))
    np.testing.assert_array_equal(np.isinf(still.radius), l2 > 0)


# -- what comes out ----------------------------------------------------------------------------------------------------


def test_certificates_say_what_they_are():
    model = smoothed(SVC(), sigma=1.0, alpha=0.01).fit(X, Y)
    certificate = model.certify(X)
    assert certificate.guarantee == "probabilistic" and certificate.confidence == 0.99
    assert certificate.abstained.any() and (certificate.radius[certificate.abstained] == 0).all()
    assert "probabilistic at level 0.99" in repr(certificate) and "votes, mean" in certificate._repr_html_()
    assert average_certified_radius(Y, certificate) > 0
    display = CertifiedAccuracyDisplay.from_estimator(model, X, Y)
    assert "confidence 0.99" in display.ax_.get_legend_handles_labels()[1][0]
    for row in (0, int(np.flatnonzero(certificate.abstained)[0])):
        text = repr(certificate.explain(row))
        assert "of 300 votes" in text and "noise of 1" in text
    assert "no majority is certain" in text


def test_predictions_in_doubt_are_marked_on_request():
    model = smoothed(SVC(), sigma=1.5).fit(X, Y)
    plain, marked = model.predict(X), model.predict(X, abstain_label=-1)
    doubt = marked == -1
    assert 0 < doubt.mean() < 1 and (marked[~doubt] == plain[~doubt]).all()
    named = smoothed(SVC(), sigma=1.5).fit(X, np.array(["setosa", "versicolor", "virginica"])[Y])
    assert "in doubt, both of them" in named.predict(X, abstain_label="in doubt, both of them")
    assert named.predict(X, abstain_label=None).dtype.kind == "U"
    assert any(label is np.nan for label in named.predict(X, abstain_label=np.nan))


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings, words", [
    ({"sigma": 0}, "sigma must be a positive number"),
    ({"sigma": -1.0}, "sigma must be a positive number"),
    ({"sigma": np.nan}, "sigma must be a positive number"),
    ({"alpha": 0.0}, "alpha must lie between 0 and 1"),
    ({"alpha": 1.0}, "alpha must lie between 0 and 1"),
    ({"n_select": 0}, "n_select must be an integer >= 1"),
    ({"n_certify": 10.0}, "n_certify must be an integer >= 1"),
    ({"batch_size": 0}, "batch_size must be 'auto' or an integer"),
    ({"stopping": "soon"}, "stopping must be one of"),
    ({"n_certify": 9}, "n_certify=9 votes certify nothing at alpha=0.001.*at least n_certify=10"),
    ({"stopping": "anytime"}, "pass target_radius"),
    ({"target_radius": -1.0}, "target_radius must be a positive number"),
    ({"target_radius": 5.0, "sigma": 0.5}, r"cannot be reached with n_certify=300.*radius is 0\.999.*larger"),
    ({"target_radius": 0.9, "n_certify": 300}, "largest radius is 0.5999. Use n_certify=5114 or a larger sigma"),
])  # fmt: skip
def test_what_cannot_be_is_said_with_a_remedy(settings, words):
    with pytest.raises(ValueError, match=words):
        smoothed(**settings).fit(X, Y)


def test_the_votes_that_the_error_asks_for_are_enough():
    assert smoothed(target_radius=0.9, n_certify=5114).fit(X, Y).certify(X).radius.max() >= 0.9
    assert smoothed(n_certify=10).fit(X, Y).certify(X).radius.max() > 0


def test_estimators_that_cannot_vote_are_refused():
    with pytest.raises(TypeError, match="must have predict, got StandardScaler"):
        smoothed(StandardScaler()).fit(X, Y)
    sparse = scipy.sparse.csr_array(X)
    for ask in (lambda: smoothed().fit(sparse, Y), lambda: smoothed().fit(X, Y).predict(sparse)):
        with pytest.raises(TypeError, match="pass X.toarray"):
            ask()
    with pytest.raises(TypeError, match="must be a classifier.*LinearRegression"):
        smoothed(LinearRegression()).fit(X, Y)

    class Strange(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

        def predict(self, X):
            return np.where(X[:, 0] > 6, 7, 0)

    with pytest.raises(ValueError, match="predict returned 7, which is none of the classes"):
        smoothed(Strange()).fit(X, Y).certify(X)


def test_a_certifier_keeps_what_was_fitted_when_it_was_made():
    model = smoothed().fit(X, Y)
    certifier, names = Certifier(model), np.array(["a", "b", "c"])
    before = certifier.certify(X)
    model.set_params(sigma=1.0).fit(X, names[Y])
    np.testing.assert_array_equal(certifier.certify(X).radius, before.radius)
    assert before.prediction.dtype.kind == "i" and "noise of 0.3" in repr(before.explain(0))
    assert set(certify(model, X).prediction) <= set(names)


def test_questions_that_votes_do_not_answer():
    model = smoothed().fit(X, Y)
    certificate = model.certify(X)
    with pytest.raises(ValueError, match="construct no attack"):
        certify(model, X, return_attack=True)
    with pytest.raises(ValueError, match="by its votes alone"):
        certify(model, X, method="exact")
    with pytest.raises(ValueError, match="another prediction contradicts nothing"):
        check_certificate(model, X, certificate)

    class Changed(RandomizedSmoothingClassifier):
        def votes(self, X):
            return super().votes(X)

    with pytest.raises(Uncertifiable, match="overrides votes"):
        Certifier(Changed(SVC(), sigma=0.3).fit(X, Y))


# -- what hostile eyes found -------------------------------------------------------------------------------------------


class ByColumn(ClassifierMixin, BaseEstimator):
    """Fitted by nature: class 1 where the first column is positive. Nothing is known of it but what it predicts."""

    def __init__(self, shape=(-1,)):
        self.shape = shape

    def fit(self, X, y):
        self.classes_, self.fitted_ = np.unique(y), True
        return self

    def predict(self, X):
        first = X.iloc[:, 0].to_numpy() if hasattr(X, "iloc") else np.asarray(X)[:, 0]
        return (first > 0).astype(int).reshape(self.shape)


def test_a_step_that_writes_into_the_points_writes_into_a_copy():
    local = np.random.default_rng(30)
    points, labels = local.standard_normal((200, 2)) + 3, local.integers(0, 2, 200)
    labels = (points[:, 0] > 3).astype(int)
    answers = []
    for copied in (True, False):
        base = make_pipeline(StandardScaler(copy=copied), SVC(kernel="linear")).fit(points.copy(), labels)
        for asked in (points[:20].copy(), pd.DataFrame(points[:20].copy())):
            model = smoothed(base, n_certify=200)
            certificate, predicted = model.certify(asked), model.predict(asked)
            np.testing.assert_array_equal(np.asarray(asked), points[:20])
            answers.append((certificate.radius, certificate.prediction, predicted))
    for each in answers[1:]:
        for one, other in zip(answers[0], each, strict=True):
            np.testing.assert_array_equal(one, other)


def test_columns_of_the_same_name_are_refused_in_words():
    local = np.random.default_rng(31)
    values = local.standard_normal((30, 2)) * 0.3
    model = smoothed(ByColumn().fit(values, [0, 1] * 15), n_certify=200)
    with pytest.raises(ValueError, match="several columns named"):
        model.certify(pd.DataFrame(values, columns=["a", "a"]))


def test_text_that_is_missing_in_every_row_at_hand_is_still_text():
    frame = pd.DataFrame({"word": pd.Series(["a", None, "b", None] * 10, dtype=object), "size": np.linspace(-1, 1, 40)})
    labels = (frame["size"] > 0).astype(int)
    table = ColumnTransformer([("word", OneHotEncoder(handle_unknown="ignore"), ["word"]), ("size", "passthrough", ["size"])])
    model = smoothed(make_pipeline(table, SVC()), n_certify=200).fit(frame, labels)
    together = model.certify(frame)
    alone = [model.certify(frame.iloc[row : row + 1]).radius[0] for row in range(8)]
    np.testing.assert_array_equal(together.radius[:8], alone)


def test_a_product_of_matrices_before_the_noise_changes_nothing():
    from sklearn.decomposition import PCA

    model = make_pipeline(PCA(3), smoothed(n_certify=200)).fit(X, Y)
    together = certify(model, X, space="pca")
    alone = [certify(model, X[row : row + 1], space="pca").radius[0] for row in range(0, 150, 10)]
    np.testing.assert_array_equal(together.radius[::10], alone)


def test_a_model_that_was_never_fitted_keeps_the_seed_of_its_first_question():
    model = smoothed(SVC().fit(X, Y), random_state=None, n_certify=100)
    first = model.certify(X[:30])
    np.testing.assert_array_equal(first.radius, model.certify(X[:30]).radius)
    np.testing.assert_array_equal(first.prediction, model.predict(X[:30]))


def test_caches_are_left_alone_wherever_the_embedder_stands(tmp_path):
    from sklearn.pipeline import FeatureUnion

    embedder = PretrainedEmbedder(np.asarray, memory=str(tmp_path), progress=False)
    search = GridSearchCV(make_pipeline(embedder, SVC()), {"svc__C": [1.0]}, cv=2)
    union = make_pipeline(FeatureUnion([("one", embedder)]), SVC())
    for base in (search, union):
        fitted = base.fit(X, Y)
        before = sum(1 for each in tmp_path.rglob("*") if each.is_file())
        smoothed(fitted, n_certify=100).certify(X[:5])
        after = sum(1 for each in tmp_path.rglob("*") if each.is_file())
        assert after <= before + 4  # the points themselves, once


def test_metadata_is_routed_to_the_estimator():
    from sklearn import config_context

    with config_context(enable_metadata_routing=True):
        model = smoothed(SVC().set_fit_request(sample_weight=True), n_certify=100)
        weights = np.where(Y == 2, 0.0, 1.0) + 1e-9
        assert set(model.fit(X, Y, sample_weight=weights).predict(X[:100])) == {0, 1}
        model.set_score_request(sample_weight=True)
        GridSearchCV(model, {"sigma": [0.2, 0.3]}, cv=2).fit(X, Y, sample_weight=weights)


def test_labels_in_a_column_and_classes_out_of_order():
    values = np.random.default_rng(32).standard_normal((30, 2))
    plain = smoothed(ByColumn().fit(values, [0, 1] * 15), n_certify=200).certify(values)
    column = smoothed(ByColumn((-1, 1)).fit(values, [0, 1] * 15), n_certify=200).certify(values)
    np.testing.assert_array_equal(plain.radius, column.radius)
    turned = ByColumn().fit(values, [0, 1] * 15)
    turned.classes_ = np.array([1, 0])
    other = smoothed(turned, n_certify=200).certify(values)
    np.testing.assert_array_equal(plain.prediction, other.prediction)
    np.testing.assert_array_equal(plain.radius, other.radius)


def test_encoders_in_float64_vote_in_float64():
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(2, 2).double().eval()
    embedder = PretrainedEmbedder(module, progress=False).fit(X[:, :2])
    head = LogisticRegression().fit(embedder.transform(X[:, :2]), Y > 0)
    model = smoothed(make_pipeline(embedder, head), n_certify=100)
    with voters(model.estimator, model.classes_, X[:5, :2], sigma=0.3, seed=0, batch_size="auto", device="auto") as groups:
        (_, voter), *_ = groups
        assert isinstance(voter, ByEncoder) and voter._type == torch.float64


def test_models_that_are_no_classifiers_and_labels_that_are_classes():
    regression = LinearRegression().fit(X, Y)
    with pytest.raises(TypeError, match="must be a classifier"):
        smoothed(regression).predict(X[:2])
    with pytest.raises(ValueError, match="abstain_label must not be a class"):
        smoothed(SVC().fit(X, Y)).predict(X[:2], abstain_label=1)
