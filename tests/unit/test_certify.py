"""certify(): spaces, norms and methods of pipelines; what it refuses; the certificate itself."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

import skcert
from skcert import AffineStep, CertifiedGMMClassifier, Certifier, LipschitzStep, PretrainedEmbedder, Uncertifiable, certify
from skcert._printing import round_down
from skcert.perturbations import Pullback
from skcert.testing import check_certificate

X, Y = load_wine(return_X_y=True)
FRAME = load_wine(as_frame=True).data

MODELS = {
    "tied": CertifiedGMMClassifier(),
    "robust": CertifiedGMMClassifier(target_radius=0.5),
    "full": CertifiedGMMClassifier(covariance_type="full"),
    "diag": CertifiedGMMClassifier(covariance_type="diag"),
    "spherical": CertifiedGMMClassifier(covariance_type="spherical"),
    "logistic": LogisticRegression(C=0.1, max_iter=10_000),
    "centroid": NearestCentroid(),
    "centroid, priors": NearestCentroid(priors="empirical"),
}
CHAINS = {
    "bare": [],
    "scaler": [StandardScaler()],
    "pca": [PCA(5)],
    "scaler, pca": [StandardScaler(), PCA(5)],
    "scaler, whitened pca": [StandardScaler(), PCA(5, whiten=True)],
    "half scalers, pca, scaler": [StandardScaler(with_mean=False), StandardScaler(with_std=False), PCA(4), StandardScaler()],
}


def pipeline(chain, model):
    from sklearn.base import clone

    return make_pipeline(*(clone(step) for step in CHAINS[chain]), clone(MODELS[model]))


@pytest.mark.parametrize("norm", [2, 1, np.inf])
@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("model", MODELS)
def test_what_is_certified_in_input_space_holds_in_input_space(model, chain, norm):
    pipe = pipeline(chain, model).fit(X, Y)
    points = X[::6]
    certificate = certify(pipe, points, norm=norm, return_attack=True)
    assert (certificate.prediction == pipe.predict(points)).all()
    positive = certificate.radius > 0
    assert positive.all()
    # the attack changes the class, inside 1e-6 of the radius where that is exact ...
    assert (pipe.predict(certificate.attack) != certificate.prediction).all()
    if certificate.exact:
        assert (certificate.attack_radius <= certificate.radius * (1 + 1e-6)).all()
    else:
        assert norm != 2 and model in ("full", "diag", "spherical")
        assert np.median(certificate.radius / certificate.attack_radius) > 0.9
    # ... and nothing shorter does: along the attack, towards every other point, at random
    rng = np.random.default_rng(0)
    moves = [certificate.attack - points, *(other - points for other in X[::25]), *rng.standard_normal((10, *points.shape))]
    scale = X.std(axis=0)
    moves += [move * scale for move in rng.standard_normal((10, *points.shape))]
    for move in moves:
        length = np.linalg.norm(move, ord=norm, axis=1)
        keep = length > 0
        step = move[keep] * (certificate.radius[keep] * (1 - 1e-9) / length[keep])[:, None]
        assert (pipe.predict(points[keep] + step) == certificate.prediction[keep]).all()


@pytest.mark.parametrize("method", ["exact", "pairwise", "paper"])
def test_every_method_is_sound_through_a_pipeline(method):
    pipe = pipeline("scaler, pca", "full").fit(X, Y)
    exact = certify(pipe, X)
    other = certify(pipe, X, method=method)
    assert (other.radius <= exact.radius * (1 + 1e-9)).all() and other.method == method
    assert np.median(other.radius / exact.radius) > {"exact": 0.999, "pairwise": 0.4, "paper": 0.2}[method]


def test_spaces_are_the_input_a_step_or_the_latents():
    pipe = pipeline("scaler, pca", "full").fit(X, Y)
    scaled = pipe[:1].transform(X)
    latents = pipe[:2].transform(X)
    np.testing.assert_allclose(certify(pipe, X, space="standardscaler").radius, certify(pipe[1:], scaled).radius, rtol=1e-9)
    inner = certify(pipe, X, space="pca")
    np.testing.assert_allclose(inner.radius, pipe[-1].certify(latents).radius, rtol=1e-9)
    np.testing.assert_allclose(certify(pipe, X, space="latents").radius, inner.radius, rtol=1e-12)
    assert inner.space == "pca" and certify(pipe, X).space == "input"
    moved = certify(pipe, X, space="pca", return_attack=True).attack
    assert moved.shape == latents.shape and (pipe[-1].predict(moved) != inner.prediction).all()


def test_a_lipschitz_constant_divides_the_radius_and_the_chain_before_it_multiplies():
    rng = np.random.default_rng(0)
    A = np.linalg.qr(rng.standard_normal((13, 13)))[0][:, :6] * 0.5
    embed = PretrainedEmbedder(lambda batch: batch @ A, lipschitz=0.5, progress=False)
    pipe = make_pipeline(StandardScaler(), embed, PCA(4), CertifiedGMMClassifier(covariance_type="full")).fit(X, Y)
    after = certify(pipe, X, space="pretrainedembedder")
    middle = certify(pipe, X, space="standardscaler")
    np.testing.assert_allclose(middle.radius, after.radius / 0.5, rtol=1e-9)
    outer = certify(pipe, X)
    np.testing.assert_allclose(outer.radius, middle.radius * pipe[0].scale_.min(), rtol=1e-9)
    assert np.isinf(outer.attack_radius).all()
    with pytest.raises(ValueError, match="No attack can be constructed"):
        certify(pipe, X, return_attack=True)
    # other balls before it: as far as the longest of their points is stretched in l2
    stretches = 1 / pipe[0].scale_
    np.testing.assert_allclose(certify(pipe, X, norm=1).radius, middle.radius / stretches.max(), rtol=1e-9)
    np.testing.assert_allclose(certify(pipe, X, norm=np.inf).radius, middle.radius / np.linalg.norm(stretches), rtol=1e-9)
    scaled = certify(pipe, X, feature_scale=np.arange(13.0))
    np.testing.assert_allclose(scaled.radius, middle.radius / (stretches * np.arange(13)).max(), rtol=1e-9)
    assert not outer.exact and "lower bound" in repr(outer)


def test_a_step_without_a_bound_is_refused_by_name_with_the_remedies():
    embed = PretrainedEmbedder(np.tanh, progress=False)
    pipe = Pipeline([("encoder", embed), ("clf", CertifiedGMMClassifier())]).fit(X, Y)
    with pytest.raises(Uncertifiable, match=r"'encoder' cannot be certified.*lipschitz=.*space='encoder'"):
        certify(pipe, X)
    assert (certify(pipe, X, space="encoder").radius > 0).all()
    pipe = make_pipeline(FunctionTransformer(np.log1p), CertifiedGMMClassifier()).fit(X, Y)
    with pytest.raises(Uncertifiable, match="'functiontransformer'.*register_perturbation"):
        certify(pipe, X)
    with pytest.raises(Uncertifiable, match="RandomForestClassifier.*register_discriminant"):
        certify(RandomForestClassifier(5).fit(X, Y), X)


class LogScaler(StandardScaler):
    def transform(self, X, copy=None):
        return np.log1p(np.abs(super().transform(X)))


class FittedDifferently(StandardScaler):
    def fit(self, X, y=None):
        return super().fit(np.asarray(X) * 2, y)


class Contrary(CertifiedGMMClassifier):
    def predict(self, X):
        return super().predict(X)[::-1]


def test_a_subclass_is_covered_only_as_long_as_it_overrides_nothing_but_fitting():
    with pytest.raises(Uncertifiable, match="LogScaler is a StandardScaler that overrides transform"):
        certify(make_pipeline(LogScaler(), CertifiedGMMClassifier()).fit(X, Y), X)
    with pytest.raises(Uncertifiable, match="Contrary is a CertifiedGMMClassifier that overrides predict"):
        certify(Contrary().fit(X, Y), X)
    assert (certify(make_pipeline(FittedDifferently(), CertifiedGMMClassifier()).fit(X, Y), X).radius > 0).all()


def test_a_step_or_model_that_does_not_behave_as_its_parameters_say_is_an_error_not_a_radius():
    pipe = pipeline("scaler", "tied").fit(X, Y)
    pipe[0].transform = lambda X: (X - X.mean(axis=0)) ** 2
    with pytest.raises(ValueError, match="'standardscaler'.*does not transform these points"):
        certify(pipe, X)
    model = LogisticRegression(max_iter=5000).fit(X / X.std(axis=0), Y)
    model.predict = lambda X: np.zeros(len(X), dtype=int)
    with pytest.raises(ValueError, match="decides otherwise than its fitted parameters"):
        certify(model, X / X.std(axis=0))
    gmm = pipeline("bare", "tied").fit(X, Y)
    certifier = Certifier(gmm)
    gmm[-1].fit(X, (Y + 1) % 3)
    with pytest.raises(ValueError, match="has changed since this Certifier was made"):
        certifier.certify(X)


class Halve(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.sin(X) / 2


def test_a_registered_step_is_certified_and_not_before():
    pipe = make_pipeline(StandardScaler(), Halve(), CertifiedGMMClassifier()).fit(X, Y)
    with pytest.raises(Uncertifiable, match="Halve"):
        certify(pipe, X)
    skcert.register_perturbation(Halve, lambda step: LipschitzStep(0.5))
    certificate = certify(pipe, X, space="standardscaler")
    np.testing.assert_allclose(certificate.radius, certify(pipe, X, space="latents").radius / 0.5, rtol=1e-9)


@pytest.mark.parametrize(
    "kwargs, message",
    [
        (dict(norm=3), "norm must be 1, 2 or numpy.inf"),
        (dict(norm="l2"), "norm must be"),
        (dict(norm=True), "norm must be"),
        (dict(method="best"), "method must be one of"),
        (dict(method="paper", norm=1), "l2 formula"),
        (dict(space="pixels"), r"space must be 'input', 'latents' or the name of a step \(standardscaler\)"),
        (dict(feature_scale=[1.0]), r"shape \(13,\)"),
        (dict(feature_scale=-np.ones(13)), "not negative"),
        (dict(feature_scale={"color": 1.0}), "needs points with column names"),
        (dict(feature_scale="std"), "array of numbers or a dict"),
        (dict(feature_scale=np.full(13, 1e-170)), "between 1e-60 and 1e"),
    ],
)
def test_bad_requests_are_refused_in_words(kwargs, message):
    pipe = pipeline("scaler", "tied").fit(X, Y)
    with pytest.raises(ValueError, match=message):
        certify(pipe, X, **kwargs)


@pytest.mark.parametrize("model", ["tied", "full", "logistic"])
@pytest.mark.parametrize(
    "points, error, message",
    [
        (X[:, :5], ValueError, "5 features"),
        (np.full((2, 13), np.nan), ValueError, "NaN"),
        (np.full((2, 13), np.inf), ValueError, "infinity"),
        (X[0], ValueError, "2D array"),
        (X[:0], ValueError, "0 sample"),
    ],
)
def test_bad_points_are_refused_in_scikit_learns_words(model, points, error, message):
    for chain in ("bare", "scaler"):
        pipe = pipeline(chain, model).fit(X, Y)
        with pytest.raises(error, match=message):
            certify(pipe if chain == "scaler" else pipe[-1], points)


def test_unfitted_and_sparse_are_refused():
    from scipy.sparse import csr_array

    for estimator in (CertifiedGMMClassifier(), make_pipeline(StandardScaler(), CertifiedGMMClassifier())):
        with pytest.raises(NotFittedError):
            certify(estimator, X)
    with pytest.raises(TypeError, match="toarray"):
        certify(pipeline("bare", "tied").fit(X, Y), csr_array(X))
    with pytest.raises(ValueError, match="one certificate"):
        CertifiedGMMClassifier(decision="nearest-ellipsoid").fit(X, Y).certify(X, method="exact")


def test_nearest_centroid_with_another_metric_is_refused():
    with pytest.raises(Uncertifiable, match="manhattan"):
        certify(NearestCentroid(metric="manhattan").fit(X, Y), X)


def test_two_class_logistic_regression_and_centroids_are_exact():
    two = Y < 2
    for model in (LogisticRegression(max_iter=10_000), NearestCentroid()):
        model.fit(X[two], Y[two])
        certificate = certify(model, X[two], return_attack=True)
        assert (model.predict(certificate.attack) == 1 - certificate.prediction).all()
        assert (certificate.runner_up == 1 - certificate.prediction).all()
    logistic = LogisticRegression(max_iter=10_000).fit(X[two], Y[two])
    expected = np.abs(logistic.decision_function(X[two])) / np.linalg.norm(logistic.coef_)
    np.testing.assert_allclose(certify(logistic, X[two]).radius, expected, rtol=1e-9)


def test_frames_go_in_and_attacks_come_back_with_their_columns_and_index():
    pipe = pipeline("scaler, pca", "full").set_output(transform="pandas").fit(FRAME, Y)
    rows = FRAME.iloc[5:15]
    certificate = certify(pipe, rows, return_attack=True, feature_scale={"alcohol": 0.0, "proline": 100.0})
    assert isinstance(certificate.attack, pd.DataFrame)
    assert (certificate.attack.columns == FRAME.columns).all() and (certificate.attack.index == rows.index).all()
    assert (certificate.attack["alcohol"] == rows["alcohol"]).all()
    assert (pipe.predict(certificate.attack) != certificate.prediction).all()
    single = certify(pipe, rows.astype(np.float32), return_attack=True)
    assert (single.attack.dtypes == np.float32).all()


def test_a_certifier_remembers_what_it_computed():
    model = CertifiedGMMClassifier(covariance_type="full").fit(X / X.std(axis=0), Y)
    certifier = Certifier(model)
    assert certifier.nbytes == 0
    first = certifier.certify(X / X.std(axis=0))
    assert certifier.nbytes == 3 * 13 * 13 * 8
    np.testing.assert_array_equal(certifier.certify(X / X.std(axis=0)).radius, first.radius)


def test_a_small_budget_changes_memory_and_not_radii(monkeypatch):
    from skcert.boundaries import quadratic as boundaries

    rng = np.random.default_rng(0)
    A = rng.standard_normal((6, 5, 5))
    model = CertifiedGMMClassifier.from_parameters(3 * rng.standard_normal((6, 5)), A @ np.swapaxes(A, 1, 2) + 0.3 * np.eye(5))
    Z = 3 * rng.standard_normal((100, 5))
    plenty = Certifier(model).certify(Z)
    monkeypatch.setattr(boundaries, "PAIR_BUDGET", 3 * 25 * 8)
    certifier = Certifier(model)
    np.testing.assert_allclose(certifier.certify(Z, method="exact").radius, plenty.radius, rtol=1e-9)
    assert certifier.nbytes <= 3 * 25 * 8


def test_weyls_bound_replaces_eigenvalues_of_pairs_when_there_are_many(monkeypatch):
    from skcert.boundaries import quadratic as boundaries

    model = pipeline("scaler", "full").fit(X, Y)
    exact, tight = certify(model, X), certify(model, X, method="pairwise")
    monkeypatch.setattr(boundaries, "PAIR_EIGENVALUES", 0)
    weyl = certify(model, X, method="pairwise")
    assert (weyl.radius <= tight.radius * (1 + 1e-12)).all() and (weyl.radius < tight.radius * 0.999).any()
    assert (tight.radius <= exact.radius * (1 + 1e-12)).all() and (exact.radius <= weyl.attack_radius).all()


# -- the certificate -------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate():
    points, labels = load_iris(return_X_y=True)
    return CertifiedGMMClassifier().fit(points, labels).certify(points), labels


def test_certified_accuracy_counts_right_and_robust_points(certificate):
    cert, y = certificate
    right = cert.prediction == y
    radii = np.array([0.0, 0.1, cert.radius[3], 2.0, np.inf])
    expected = [(right & (cert.radius >= r)).mean() for r in radii]
    np.testing.assert_array_equal(cert.certified_accuracy(y, radii), expected)
    assert cert.certified_accuracy(y, 0) == right.mean()
    assert cert.certified_accuracy(y, cert.radius[3]) > cert.certified_accuracy(y, np.nextafter(cert.radius[3], 9))
    np.testing.assert_array_equal(cert.robust_at(0.3), cert.radius >= 0.3)
    with pytest.raises(ValueError, match="positive"):
        cert.robust_at(0)
    with pytest.raises(ValueError, match="one label per certified point"):
        cert.certified_accuracy(y[:3], 0.1)
    with pytest.raises(ValueError, match="numbers >= 0"):
        cert.certified_accuracy(y, [np.nan])


def test_a_certificate_is_frozen_and_shows_itself(certificate):
    cert, _ = certificate
    with pytest.raises(AttributeError):
        cert.radius = np.zeros(3)
    assert list(cert.to_frame().columns) == ["prediction", "radius", "runner_up", "attack_radius"]
    assert "l2 in 'input'" in repr(cert) and "deterministic" in repr(cert) and "<table" in cert._repr_html_()
    assert len(cert) == 150


@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3, 2 / 3, 0.99999, 9.99999, 123456.789, 1e-9 / 3, 1e7 / 3, 5e-324, 1e300])
def test_printed_radii_are_rounded_down(value):
    assert Fraction(value) * Fraction(998, 1000) <= Fraction(round_down(value)) <= Fraction(value)
    assert len(round_down(value).split("e")[0].replace(".", "").lstrip("0")) <= 4


def test_printed_radii_at_the_ends():
    assert round_down(np.inf) == "inf" and round_down(0.0) == "0" and round_down(2.0) == "2.000"


def test_inner_spaces_keep_the_frames_a_pipeline_passes_between_its_steps(recwarn):
    pipe = pipeline("scaler, pca", "full").set_output(transform="pandas").fit(FRAME, Y)
    certificate = certify(pipe, FRAME.iloc[:9], space="standardscaler", feature_scale={"alcohol": 0}, return_attack=True)
    assert (certificate.attack.columns == FRAME.columns).all() and len(certificate.attack) == 9
    assert not [w for w in recwarn if "feature names" in str(w.message)]


class SecondAgainstFirst(RidgeClassifier):
    def predict(self, X):
        return super().predict(X)


def test_a_single_row_of_coefficients_is_a_rule_for_two_classes():
    skcert.register_discriminant(SecondAgainstFirst, lambda m: skcert.Affine(m.coef_, m.intercept_))
    two = Y < 2
    for second in (X[two], X[two][Y[two] == 0]):
        model = SecondAgainstFirst().fit(X[two], Y[two])
        certificate = certify(model, second)
        expected = np.abs(model.decision_function(second)) / np.linalg.norm(model.coef_)
        np.testing.assert_allclose(certificate.radius, expected, rtol=1e-9)
    assert set(certify(model, X[two]).prediction) == {0, 1}


class TwoScores(LinearSVC):
    def predict(self, X):
        return super().predict(X)


def test_a_rule_with_too_few_scores_or_bad_numbers_is_refused():
    model = TwoScores().fit(X[:, :3], Y)
    skcert.register_discriminant(TwoScores, lambda m: skcert.Affine(m.coef_[:2], m.intercept_[:2]))
    with pytest.raises(ValueError, match="2 scores for 3 classes"):
        certify(model, X[:, :3])
    with pytest.raises(ValueError, match="must have shapes"):
        certify(skcert.Affine(np.ones((3, 2)), np.ones(2)), X[:, :2])
    with pytest.raises(ValueError, match="finite"):
        certify(skcert.Affine([[np.nan]], [0.0]), X[:, :1])
    with pytest.raises(ValueError, match="2 different labels"):
        certify(skcert.Affine([[1.0]], [0.0], classes=["a", "a"]), X[:, :1])
    with pytest.raises(ValueError, match="13 features, but Affine is expecting 1"):
        certify(skcert.Affine([[1.0]], [0.0]), X)


def test_a_head_from_elsewhere_is_certified_under_its_own_labels_in_any_order():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layer = torch.nn.Linear(13, 3, dtype=torch.float64)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    head = skcert.Affine(weight, bias, classes=["c", "a", "b"])
    pipe = make_pipeline(StandardScaler(), head).fit(X, Y)
    certificate = certify(pipe, X, return_attack=True)
    assert (certificate.prediction == np.array(["c", "a", "b"])[layer(torch.tensor(pipe[0].transform(X))).argmax(1)]).all()
    assert (certificate.attack_radius <= certificate.radius * (1 + 1e-6)).all()
    assert (pipe.predict(certificate.attack) != certificate.prediction).all()
    tied = certify(skcert.Affine([[1.0], [1.0]], [0.0, 0.0], classes=["z", "a"]), [[2.0]])
    assert tied.prediction == ["z"] and tied.radius == 0


# -- once broken -----------------------------------------------------------------------------------------------------


def test_a_class_with_prior_zero_far_away_does_not_blur_the_slopes_of_the_others():
    model = CertifiedGMMClassifier.from_parameters([[0.0], [5e-10], [3e7]], [[1.0]], priors=[1 - 1e-30, 1e-30, 0])
    assert model.certify([[1e7]]).radius[0] <= 1.38155e11


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_papers_formula_for_two_linear_classes_is_exact_in_any_unit(scale):
    means = np.array([[-10.0, 0.0], [10.0, 0.0]]) * scale
    model = CertifiedGMMClassifier.from_parameters(means, 100 * scale**2 * np.eye(2), covariance_type="tied")
    certificate = model.certify(np.array([[-3.0, 1.0]]) * scale, method="paper")
    np.testing.assert_allclose(certificate.radius, 3 * scale, rtol=1e-9)


def test_the_check_of_a_step_knows_the_units_of_each_feature():
    class Wavy(StandardScaler):
        def transform(self, X):
            scaled = super().transform(X)
            return scaled + 0.3 * np.sin(5 * scaled)

    from skcert.adapters.steps import standard_scaler

    skcert.register_perturbation(Wavy, standard_scaler)
    points, labels = load_iris(return_X_y=True)
    points = np.c_[points[:, :2], points[:, 2] + 1e6, points[:, 3] * 1e-6]
    pipe = make_pipeline(Wavy(), LogisticRegression(max_iter=1000)).fit(points, labels)
    with pytest.raises(ValueError, match="'wavy'.*does not transform"):
        certify(pipe, points)


def test_steps_that_write_into_their_input_get_a_copy():
    pipe = make_pipeline(StandardScaler(copy=False), CertifiedGMMClassifier()).fit(X.copy(), Y)
    points = X.copy()
    certificate = certify(pipe, points)
    np.testing.assert_array_equal(points, X)
    same = make_pipeline(StandardScaler(), CertifiedGMMClassifier()).fit(X, Y)
    np.testing.assert_allclose(certificate.radius, certify(same, X).radius, rtol=1e-12)


def test_a_step_that_does_nothing_still_names_a_space():
    pipe = Pipeline([("none", "passthrough"), ("sc", StandardScaler()), ("also", None), ("g", CertifiedGMMClassifier())])
    pipe.fit(X, Y)
    np.testing.assert_array_equal(certify(pipe, X, space="none").radius, certify(pipe, X).radius)
    np.testing.assert_array_equal(certify(pipe, X, space="also").radius, certify(pipe, X, space="sc").radius)
    clash = Pipeline([("latents", StandardScaler()), ("g", CertifiedGMMClassifier())]).fit(X, Y)
    with pytest.raises(ValueError, match="rename the step"):
        certify(clash, X, space="latents")


@pytest.mark.parametrize("model", ["tied", "full", "diag", "logistic"])
def test_a_point_whose_scores_overflow_has_radius_zero_and_spoils_no_other(model):
    pipe = pipeline("bare", model).fit(X / X.std(axis=0), Y)
    points = X / X.std(axis=0)
    reference = certify(pipe, points).radius
    points[3] = 1e308
    radius = certify(pipe, points).radius
    assert radius[3] == 0
    np.testing.assert_allclose(np.delete(radius, 3), np.delete(reference, 3), rtol=1e-9)


def test_a_series_of_scales_goes_by_name():
    pipe = pipeline("scaler", "tied").fit(FRAME, Y)
    scale = FRAME.std()
    expected = certify(pipe, FRAME, feature_scale=scale.to_numpy()).radius
    np.testing.assert_array_equal(certify(pipe, FRAME, feature_scale=scale[::-1]).radius, expected)
    with pytest.raises(ValueError, match="columns that do not exist: ..colour"):
        certify(pipe, FRAME, feature_scale={"colour": 1.0})


def test_the_nearest_ellipsoid_rule_has_no_attack_and_no_radius_to_lose():
    model = CertifiedGMMClassifier(covariance_type="full", decision="nearest-ellipsoid").fit(X / X.std(axis=0), Y)
    with pytest.raises(ValueError, match="constructs no attack"):
        model.certify(X / X.std(axis=0), return_attack=True)
    radius = model.certify(X / X.std(axis=0), feature_scale=np.zeros(13)).radius
    assert (np.isinf(radius) | (radius == 0)).all() and np.isinf(radius).any()


# -- columns that are only scaled and permuted -------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [1, 2, np.inf])
@pytest.mark.parametrize("scale", [None, np.r_[np.zeros(3), np.full(10, 0.5)]], ids=["all", "some still"])
@pytest.mark.parametrize("columns", [np.arange(13)[::-1], [5, 0, 7, 12]], ids=["all", "some"])
def test_columns_that_are_only_scaled_and_permuted_keep_diagonal_curvatures(columns, scale, norm):
    """A ColumnTransformer of a scaler does no more than the scaler; in linf this is exact where curvatures are diagonal."""
    points = X[::6]
    parts = ColumnTransformer([("a", StandardScaler(), columns[:2]), ("b", StandardScaler(), columns[2:])])
    behind = make_pipeline(parts, CertifiedGMMClassifier(covariance_type="diag")).fit(X, Y)
    plain = make_pipeline(StandardScaler(), CertifiedGMMClassifier(covariance_type="diag")).fit(X[:, columns], Y)
    found = certify(behind, points, norm=norm, feature_scale=scale, return_attack=True)
    expected = certify(plain, points[:, columns], norm=norm, feature_scale=None if scale is None else scale[columns])
    assert found.exact == expected.exact == (norm != 1)
    np.testing.assert_allclose(found.radius, expected.radius, rtol=1e-9)
    known = np.isfinite(found.attack_radius)
    assert known.any() and (found.attack_radius >= found.radius)[known].all()
    if found.exact:
        np.testing.assert_allclose(found.attack_radius[known], found.radius[known], rtol=1e-5)
    assert check_certificate(behind, points, found, random_state=0) is None


def test_errors_of_columns_that_are_not_read_keep_the_matrix_as_it_is():
    """In linf an l2 error counts by the number of coordinates that it moves along."""
    step = AffineStep(np.zeros(3), np.array([[0.0, 2.0, 0.0], [0.0, 0.0, -1.0]]), np.zeros(2))
    assert step.only_scales
    assert not replace(step, column_error=1e-3).only_scales
    assert not replace(step, noise=(np.full((2, 3), 1e-3), np.zeros(2))).only_scales
    for mixing in ([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [[0.0, 1.0, 0.0], [0.0, 2.0, 0.0]]):
        assert not replace(step, matrix=np.array(mixing)).only_scales
    found = Pullback.of(replace(step, matrix=np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0]])))
    np.testing.assert_array_equal(found.factor, [2.0, 0.0])
    np.testing.assert_array_equal(found.basis, [[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
