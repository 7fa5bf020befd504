"""Arrays of other libraries: the same numbers as NumPy's, bit for bit, in the library and on the device of X.

The file runs twice: as it is, and in a process of its own under SCIPY_ARRAY_API=1, where scikit-learn dispatches as well.
"""

import os
import pickle
import subprocess
import sys
from dataclasses import replace

import array_api_strict
import numpy as np
import pytest
import torch
from array_api_compat import array_namespace, device
from sklearn import config_context, linear_model
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler

import skcert
from skcert import CertifiedGMMClassifier, Certifier, PretrainedEmbedder, RandomizedSmoothingClassifier, certify, metrics
from skcert import _certify as certifying
from skcert.backends import arrays, cuda
from skcert.testing import check_certificate

UNDER_SCIPY = os.environ.get("SCIPY_ARRAY_API") == "1"
X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
AT = np.arange(0, 150, 7)

LIBRARIES = {
    "torch": torch.asarray,
    "torch with gradients": lambda a: torch.tensor(a, requires_grad=np.asarray(a).dtype.kind == "f"),
    "strict": lambda a: array_api_strict.asarray(a, device=array_api_strict.Device("device1")),
}


@pytest.fixture(params=LIBRARIES)
def array(request):
    return LIBRARIES[request.param]


@pytest.fixture(params=[UNDER_SCIPY], ids="dispatch {}".format, autouse=True)
def dispatch(request):
    with config_context(array_api_dispatch=request.param):
        yield request.param


def host(values):
    """As somebody else would read them."""
    if isinstance(values, torch.Tensor):
        return values.detach().numpy()
    return np.from_dlpack(values) if hasattr(values, "__array_namespace__") else values


def assert_same(found, expected, X):
    """The same numbers, in the library and on the device of X."""
    assert array_namespace(found) is array_namespace(X) and device(found) == device(X)
    assert host(found).dtype == np.asarray(expected).dtype
    np.testing.assert_array_equal(host(found), expected)


def assert_same_certificate(found, expected, X):
    for name in ("prediction", "radius", "runner_up", "attack_radius", "attack", "abstained", "n_passes"):
        if getattr(expected, name) is None:
            assert getattr(found, name) is None
        else:
            assert_same(getattr(found, name), getattr(expected, name), X)
    for name in ("norm", "space", "guarantee", "confidence", "method", "exact", "arithmetic"):
        assert getattr(found, name) == getattr(expected, name)


if not UNDER_SCIPY:

    def test_all_of_this_holds_where_scikit_learn_dispatches():
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", __file__]
        done = subprocess.run(command, env={**os.environ, "SCIPY_ARRAY_API": "1"}, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


# -- the classifier ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", ["tied", "full", "diag"])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_the_classifier_computes_the_same_from_arrays_of_any_library(array, covariance_type, kind):
    points, weights = X.astype(kind), 1.0 + np.arange(150) % 3
    expected = CertifiedGMMClassifier(covariance_type=covariance_type).fit(points, Y, weights)
    Z = array(points)
    found = clone(expected).fit(Z, array(Y), sample_weight=array(weights))
    for name, value in vars(expected).items():
        if isinstance(value, np.ndarray):
            assert type(getattr(found, name)) is np.ndarray
            np.testing.assert_array_equal(getattr(found, name), value)
    for name in ("predict", "predict_proba", "predict_log_proba", "decision_function", "score_samples"):
        assert_same(getattr(found, name)(Z), getattr(expected, name)(points), Z)
    assert found.score(Z, array(Y)) == expected.score(points, Y)
    assert found.score(Z, array(Y), sample_weight=array(weights)) == expected.score(points, Y, weights)


def test_batches_of_any_library_add_up(array):
    expected, found = CertifiedGMMClassifier(), CertifiedGMMClassifier()
    for at in (slice(0, 100), slice(50, 150)):
        expected.partial_fit(X[at], Y[at], classes=[0, 1, 2])
        found.partial_fit(array(X[at]), array(Y[at]), classes=array(np.arange(3)), sample_weight=array(np.ones(100)))
    np.testing.assert_array_equal(found.means_, expected.means_)
    np.testing.assert_array_equal(found.precisions_, expected.precisions_)


def test_labels_may_be_text_of_numpy(array):
    model = CertifiedGMMClassifier().fit(array(X), NAMES)
    certificate = model.certify(array(X))
    for labels in (model.predict(array(X)), certificate.prediction, certificate.runner_up):
        assert type(labels) is np.ndarray and set(labels) == set(NAMES)
    assert_same(certificate.radius, model.certify(X).radius, array(X))
    assert model.score(array(X), NAMES) == model.score(X, NAMES)
    assert_same(certificate.certified_accuracy(NAMES, [0, 0.5]), model.certify(X).certified_accuracy(NAMES, [0, 0.5]), array(X))


def test_a_known_mixture_may_come_from_any_library(array):
    fitted = CertifiedGMMClassifier(covariance_type="full").fit(X, Y)
    model = CertifiedGMMClassifier.from_parameters(array(fitted.means_), array(fitted.covariances_))
    expected = CertifiedGMMClassifier.from_parameters(fitted.means_, fitted.covariances_)
    assert_same(model.certify(array(X)).radius, expected.certify(X).radius, array(X))


def test_lists_frames_and_numpy_arrays_give_numpy_arrays():
    import pandas as pd

    model = CertifiedGMMClassifier().fit(torch.asarray(X), torch.asarray(Y))
    for points in (X, X.tolist(), pd.DataFrame(X)):
        assert type(model.predict(points)) is np.ndarray and type(model.predict_proba(points)) is np.ndarray
        certificate = certify(model, points)
        assert type(certificate.radius) is np.ndarray and type(certificate.certified_accuracy(Y, [0.1])) is np.ndarray


def test_a_tensor_shares_its_memory_with_what_is_computed_on():
    Z = torch.asarray(X.copy())
    assert np.shares_memory(arrays.to_host(Z), Z.numpy())
    assert arrays.to_host(X) is X


# -- certificates ------------------------------------------------------------------------------------------------------

MODELS = {
    "tied": (CertifiedGMMClassifier(), 2),
    "tied linf": (CertifiedGMMClassifier(), np.inf),
    "full": (CertifiedGMMClassifier(covariance_type="full"), 2),
    "diag l1": (CertifiedGMMClassifier(covariance_type="diag"), 1),
    "ellipsoid": (CertifiedGMMClassifier(covariance_type="full", decision="nearest-ellipsoid"), 2),
    "components": (CertifiedGMMClassifier(n_components=2, random_state=0), 2),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_certificates_are_those_of_the_numpy_array(array, name, kind):
    model, norm = MODELS[name]
    model, points, scale = clone(model).fit(X, Y), X[AT].astype(kind), np.array([1.0, 0.0, 2.0, 1.0])
    attack = name != "ellipsoid"
    Z = array(points)
    assert_same_certificate(certify(model, Z, norm=norm), certify(model, points, norm=norm), Z)
    expected = model.certify(points, norm=norm, feature_scale=scale, return_attack=attack)
    assert_same_certificate(model.certify(Z, norm=norm, feature_scale=array(scale), return_attack=attack), expected, Z)


PIPES = {
    "mixture": make_pipeline(StandardScaler(), PCA(3), CertifiedGMMClassifier(covariance_type="full")),
    "linear": make_pipeline(StandardScaler(), LogisticRegression()),
    "in place": make_pipeline(StandardScaler(copy=False), MinMaxScaler(), CertifiedGMMClassifier()),
    "bayes": make_pipeline(MaxAbsScaler(), GaussianNB()),
    "discriminant": make_pipeline(LinearDiscriminantAnalysis()),
    "ridge": make_pipeline(PCA(3, whiten=True), linear_model.RidgeClassifier(solver="svd")),
}


@pytest.mark.parametrize("name", PIPES)
def test_a_pipeline_fitted_in_numpy_is_certified_on_arrays_of_any_library(array, name, dispatch):
    if dispatch:
        pytest.skip("scikit-learn's steps fitted in NumPy then refuse, by design, arrays of another library")
    pipe, Z = clone(PIPES[name]).fit(X.copy(), Y), array(X[AT])
    for options in ({}, {"space": "latents"}, {"return_attack": True}):
        assert_same_certificate(certify(pipe, Z, **options), certify(pipe, X[AT], **options), Z)


@pytest.mark.parametrize("name", PIPES)
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_a_pipeline_fitted_in_another_library_is_certified_wherever_its_points_are(array, name, kind, dispatch):
    if not UNDER_SCIPY:
        pytest.skip("scikit-learn fits in other libraries under SCIPY_ARRAY_API=1: see the first test")
    points = X[AT].astype(kind)
    train, Z = array(X.astype(kind)), array(points)
    with config_context(array_api_dispatch=True):
        pipe = clone(PIPES[name]).fit(arrays.like(train, host(train).copy()), array(Y))
    if name == "linear":
        assert type(pipe[-1].coef_) is type(arrays.like(train, X))
    expected = certify(pipe, points, return_attack=True)
    found = certify(pipe, Z, return_attack=True)
    assert found.arithmetic == expected.arithmetic == ("float64" if kind is np.float64 else "float32")
    if name in ("mixture", "in place") or not dispatch:
        assert_same_certificate(found, expected, Z)
    else:  # radii of linear models may come from the scores that their predict compares, here in NumPy, there not
        assert_same(found.prediction, expected.prediction, Z)
        np.testing.assert_allclose(host(found.radius), expected.radius, rtol=1e-4 if kind is np.float32 else 1e-9)
    if dispatch:
        assert_same(pipe.predict(arrays.like(Z, host(Z).copy())), host(found.prediction), Z)
    assert check_certificate(pipe, Z, found, n_directions=8, random_state=0) is None
    wrong = replace(found, radius=found.attack_radius * 1.5)
    violation = check_certificate(pipe, Z, wrong, n_directions=8, random_state=0)
    assert violation is not None and array_namespace(violation.point) is array_namespace(Z)


def test_steps_run_where_scikit_learn_runs_them(dispatch, monkeypatch):
    if not dispatch:
        pytest.skip("they run in NumPy: nobody could tell")
    pipe, Z = (
        make_pipeline(StandardScaler(), CertifiedGMMClassifier()).fit(torch.asarray(X), torch.asarray(Y)),
        torch.asarray(X),
    )
    seen, transform = [], StandardScaler.transform
    with monkeypatch.context() as m:
        m.setattr(StandardScaler, "transform", lambda step, X: seen.append(type(X)) or transform(step, X))
        found = certify(pipe, Z, return_attack=True)
        check_certificate(pipe, Z, found, n_directions=1, random_state=0)
    assert len(seen) > 3 and set(seen) == {torch.Tensor}


def test_a_step_of_another_library_that_was_changed_is_an_error(dispatch):
    if not dispatch:
        pytest.skip("its steps run in NumPy")
    pipe = make_pipeline(StandardScaler(), CertifiedGMMClassifier()).fit(torch.asarray(X), torch.asarray(Y))
    certifier = Certifier(pipe)
    certifier.certify(torch.asarray(X))
    pipe[0].mean_ = pipe[0].mean_ + 1
    with pytest.raises(ValueError, match="has changed since this Certifier was made"):
        certifier.certify(torch.asarray(X))


def test_an_estimator_of_somebody_else_keeps_its_tensors():
    from sklearn.base import BaseEstimator, TransformerMixin

    class Turn(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            self.turn_ = torch.linalg.qr(torch.asarray(X).T @ torch.asarray(X))[0]
            return self

        def transform(self, X):
            return (torch.asarray(X) @ self.turn_).numpy()

    skcert.register_perturbation(Turn, lambda step: skcert.AffineStep(np.zeros(4), step.turn_.T.numpy(), np.zeros(4)))
    pipe = make_pipeline(Turn(), CertifiedGMMClassifier()).fit(X, Y)
    expected = CertifiedGMMClassifier().fit(pipe[0].transform(X), Y).certify(pipe[0].transform(X))
    np.testing.assert_allclose(certify(pipe, X).radius, expected.radius, rtol=1e-9)


def test_votes_are_counted_for_arrays_of_any_library(array):
    model = RandomizedSmoothingClassifier(CertifiedGMMClassifier(), sigma=0.3, n_certify=200, random_state=0).fit(X, Y)
    assert_same_certificate(certify(model, array(X[AT])), certify(model, X[AT]), array(X))


@pytest.mark.parametrize("output", ["torch", "cpu"])
def test_tensors_of_an_encoder_go_straight_into_the_classifier(array, output):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3))
    pipe = make_pipeline(PretrainedEmbedder(network, output_device=output), CertifiedGMMClassifier(covariance_type="full"))
    plain = make_pipeline(PretrainedEmbedder(network), CertifiedGMMClassifier(covariance_type="full"))
    pipe.fit(X, Y), plain.fit(X, Y)
    np.testing.assert_array_equal(pipe[-1].means_, plain[-1].means_)
    assert isinstance(pipe.predict(X), torch.Tensor) and pipe.score(X, Y) == plain.score(X, Y)
    expected = certify(plain, X[AT], space="pretrainedembedder", return_attack=True)
    found = certify(pipe, X[AT], space="pretrainedembedder", return_attack=True)
    assert type(found.radius) is type(found.prediction) is np.ndarray
    np.testing.assert_array_equal(found.radius, expected.radius)
    np.testing.assert_array_equal(found.attack, expected.attack)
    latents = pipe[0].transform(X[AT])
    assert_same(pipe[-1].certify(latents).radius, expected.radius, latents)
    head = make_pipeline(PretrainedEmbedder(network, output_device=output), skcert.Affine(torch.eye(3), torch.zeros(3)))
    head.fit(X)
    assert_same(head.predict(X), head[0].transform(X).argmax(1).numpy(), latents)
    radius = certify(head, X[AT], space="latents").radius
    np.testing.assert_array_equal(radius, skcert.Affine(np.eye(3), np.zeros(3)).fit(latents) and radius)


# -- what a certificate can do -----------------------------------------------------------------------------------------


def test_a_certificate_does_the_same_in_any_library(array):
    pipe, Z = make_pipeline(CertifiedGMMClassifier(covariance_type="full")).fit(X, Y), array(X)
    expected, found = certify(pipe, X, method="pairwise"), certify(pipe, Z, method="pairwise")
    radii = np.array([0.0, 0.1, 0.3])
    assert len(found) == 150 and repr(found) == repr(expected) and found._repr_html_() == expected._repr_html_()
    assert_same(found.robust_at(0.3), expected.robust_at(0.3), Z)
    for y, at in ((Y, radii), (array(Y), array(radii)), (Y.tolist(), 0.1)):
        assert_same(found.certified_accuracy(y, at), expected.certified_accuracy(Y, host(at)), Z)
    assert found.to_frame().equals(expected.to_frame())
    halves = [certify(pipe, array(X[:70]), method="pairwise"), certify(pipe, array(X[70:]), method="pairwise")]
    assert_same_certificate(skcert.Certificate.concatenate(halves), expected, Z)
    assert repr(found.explain(70)) == repr(expected.explain(70))
    kept = pickle.loads(pickle.dumps(found))
    assert_same_certificate(kept, expected, Z)
    with pytest.raises(ValueError, match="A radius is NaN"):
        replace(found, radius=found.radius * np.nan)
    with pytest.raises(ValueError, match="one label per certified point"):
        found.certified_accuracy(array(Y[:5]), radii)


def test_metrics_take_and_return_arrays_of_the_library_of_the_certificate(array):
    model = CertifiedGMMClassifier().fit(X, Y)
    expected, found, Z = model.certify(X), model.certify(array(X)), array(X)
    for y in (Y, array(Y)):
        assert metrics.certified_accuracy_score(y, found, 0.3) == metrics.certified_accuracy_score(Y, expected, 0.3)
        assert metrics.average_certified_radius(y, found) == metrics.average_certified_radius(Y, expected)
        for radii in (None, np.array([0.0, 0.25, 0.5])):
            curves = (
                metrics.certified_accuracy_curve(y, found, radii if radii is None else array(radii)),
                metrics.certified_accuracy_curve(Y, expected, radii),
            )
            for ours, theirs in zip(*curves, strict=True):
                assert_same(ours, theirs, Z)
    scorer = metrics.certified_accuracy_scorer(radius=0.3)
    assert scorer(model, array(X), array(Y)) == scorer(model, X, Y)
    average = metrics.average_certified_radius_scorer()
    assert average(model, array(X), array(Y)) == average(model, X, Y)


def test_searches_score_tensors():
    grid, scorer = {"covariance_type": ["tied", "full"]}, metrics.certified_accuracy_scorer(radius=0.3)
    expected = GridSearchCV(CertifiedGMMClassifier(), grid, scoring=scorer).fit(X, Y)
    found = GridSearchCV(CertifiedGMMClassifier(), grid, scoring=scorer).fit(torch.asarray(X), torch.asarray(Y))
    np.testing.assert_array_equal(found.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"])
    assert_same(certify(found, torch.asarray(X)).radius, certify(expected, X).radius, torch.asarray(X))
    np.testing.assert_array_equal(
        cross_val_score(CertifiedGMMClassifier(), torch.asarray(X), torch.asarray(Y)),
        cross_val_score(CertifiedGMMClassifier(), X, Y),
    )


def test_one_report_takes_tensors():
    model = CertifiedGMMClassifier().fit(X, Y)
    found = skcert.robustness_report(model, torch.asarray(X), torch.asarray(Y), radii=[0, 0.2])
    assert found.to_frame().equals(skcert.robustness_report(model, X, Y, radii=[0, 0.2]).to_frame())


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_a_type_that_numpy_does_not_have_is_refused_in_words():
    model = CertifiedGMMClassifier().fit(X, Y)
    for refuses in (model.predict, model.certify):
        with pytest.raises(ValueError, match="convert it to float32"):
            refuses(torch.asarray(X).bfloat16())


def test_no_radius_is_rounded_on_its_way_out(monkeypatch):
    monkeypatch.setattr(arrays, "device", lambda X: None)
    narrow = type("narrow", (), {"__name__": "narrow", "float64": torch.float64})
    narrow.asarray = staticmethod(lambda values, device: torch.asarray(values).float())
    monkeypatch.setattr(arrays, "namespace_of", lambda X: None if isinstance(X, np.ndarray) else narrow)
    with pytest.raises(TypeError, match="radii would be rounded"):
        arrays.like(torch.ones(1), np.ones(1))


@pytest.mark.parametrize("call", [certify, Certifier, CertifiedGMMClassifier.certify])
def test_unknown_devices_are_refused(call):
    model = CertifiedGMMClassifier().fit(X, Y)
    with pytest.raises(ValueError, match="device must be one of .*'cpu', 'cuda'.*got 'gpu'"):
        call(model, device="gpu") if call is Certifier else call(model, X, device="gpu")


def test_asking_for_cuda_without_it_says_how_to_get_it():
    try:
        cuda.require()
    except (ImportError, RuntimeError) as reason:
        expected = reason
    else:
        pytest.skip("there is a GPU")
    assert "skcert[cuda12]" in str(expected) or "device" in str(expected)
    model = CertifiedGMMClassifier().fit(X, Y)
    for asks in (lambda: Certifier(model, device="cuda"), lambda: certify(model, torch.asarray(X), device="cuda")):
        with pytest.raises(type(expected), match="cuda"):
            asks()


# -- where distances are computed --------------------------------------------------------------------------------------


@pytest.fixture
def gpu(monkeypatch):
    """A room for CUDA that computes on the CPU and remembers what it was given."""
    given = []

    def nearest(boundary, X, *, method):
        given.append((type(X), X.shape, method))
        return boundary.nearest(X, method=method)

    monkeypatch.setattr(cuda, "require", lambda: None)
    monkeypatch.setattr(cuda, "supports", lambda boundary, method: method == "exact")
    monkeypatch.setattr(cuda, "nearest", nearest)
    return given


def test_cuda_is_given_what_it_supports_and_nothing_else(gpu):
    model = CertifiedGMMClassifier(covariance_type="full").fit(X, Y)
    expected = certify(model, X)
    assert_same_certificate(certify(model, X, device="cuda"), expected, X)
    assert gpu == [(np.ndarray, (150, 4), "exact")]
    for options in ({"device": "cpu"}, {}, {"device": "cuda", "method": "pairwise"}, {"device": "cuda", "return_attack": True}):
        certify(model, X, **options)
    assert len(gpu) == 1
    pipe = make_pipeline(StandardScaler(), PCA(3), clone(model)).fit(X, Y)
    expected = certify(pipe, X)
    assert_same_certificate(Certifier(pipe, device="cuda").certify(X), expected, X)
    assert gpu[1:] == [(np.ndarray, (150, 4), "exact")]


def test_points_on_a_gpu_stay_there_where_nothing_stands_in_front(gpu, monkeypatch):
    model, Z = CertifiedGMMClassifier(covariance_type="full").fit(X, Y), torch.asarray(X)
    pipe = make_pipeline(StandardScaler(), clone(model)).fit(X, Y)
    expected = certify(model, X), certify(model, X, norm=1, method="pairwise"), certify(pipe, X)

    def with_gpu(*args, device=None, **options):
        with monkeypatch.context() as m:
            m.setattr(certifying, "on_cuda", lambda values: isinstance(values, torch.Tensor))
            m.setattr(certifying, "has_cupy", lambda: True)
            m.setattr(certifying, "to_cupy", lambda values: values.numpy())
            return certify(*args, device=device, **options)

    assert_same_certificate(with_gpu(model, Z), expected[0], Z)
    assert_same_certificate(with_gpu(model, Z, device="cuda"), expected[0], Z)
    assert gpu == [(np.ndarray, (150, 4), "exact")] * 2
    assert repr(with_gpu(model, Z).explain(3)) == repr(expected[0].explain(3))
    del gpu[:]
    assert_same_certificate(with_gpu(model, Z, device="cpu"), expected[0], Z)
    assert_same_certificate(with_gpu(model, Z, norm=1, method="pairwise"), expected[1], Z)
    assert not gpu
    with config_context(array_api_dispatch=False):
        assert_same_certificate(with_gpu(pipe, Z), expected[2], Z)  # through the host, where steps are checked
    assert len(gpu) == 1
    spoiled = Z.clone()
    spoiled[3, 1] = torch.inf
    with pytest.raises(ValueError, match="infinity"):
        with_gpu(model, spoiled)
    with pytest.raises(ValueError, match="3 features"):
        with_gpu(model, Z[:, :3])
    assert_same_certificate(with_gpu(model, Z.int()), certify(model, X.astype(int)), Z)
