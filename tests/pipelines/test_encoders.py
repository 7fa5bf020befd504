"""Certificates in pixels, through an encoder: images in every shape, and what happens if a constant is wrong."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from skcert import CertifiedGMMClassifier, Certifier, Clever, PretrainedEmbedder, Uncertifiable, certify  # noqa: E402
from skcert.metrics import certified_accuracy_scorer  # noqa: E402
from skcert.plotting import CertifiedAccuracyDisplay  # noqa: E402
from skcert.testing import check_certificate  # noqa: E402
from tests.one_lipschitz import SHAPE, digits, train_on_digits  # noqa: E402

CASES = 40


@pytest.fixture(scope="module")
def data():
    X, X_test, y, y_test = digits()
    return X[:600], y[:600], X_test[:CASES], y_test[:CASES]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(256, 16),
    )  # fmt: skip


def pipeline(network, lipschitz, *after, shape=SHAPE, **settings):
    after = after or (CertifiedGMMClassifier(),)
    return make_pipeline(PretrainedEmbedder(network, lipschitz=lipschitz, input_shape=shape, **settings), *after)


HEADS = {
    "tied": lambda: (CertifiedGMMClassifier(),),
    "full": lambda: (CertifiedGMMClassifier(covariance_type="full"),),
    "logistic": lambda: (StandardScaler(), PCA(8), LogisticRegression(max_iter=2000)),
    "sphere": lambda: (Normalizer(), CertifiedGMMClassifier()),
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("lipschitz", ["global", "local"])
def test_nothing_within_the_radius_changes_the_prediction(lipschitz, head, network, data):
    X, y, X_test, _ = data
    pipe = pipeline(network, lipschitz, *HEADS[head]()).fit(X, y)
    certificate = certify(pipe, X_test)
    assert certificate.guarantee == "deterministic" and "in real numbers" in certificate.arithmetic
    assert (certificate.radius > 0).all()
    assert check_certificate(pipe, X_test, certificate, random_state=0) is None


def test_the_local_radius_is_never_smaller_and_mostly_larger(network, data):
    X, y, X_test, _ = data
    small, large = (certify(pipeline(network, way).fit(X, y), X_test).radius for way in ("global", "local"))
    assert (large >= small * (1 - 1e-12)).all() and np.median(large / small) > 1.02


@pytest.mark.parametrize("norm, factor", [(1, 1.0), (np.inf, 1 / 8)])
def test_other_norms_of_the_input(norm, factor, network, data):
    X, y, X_test, _ = data
    pipe = pipeline(network, "local").fit(X, y)
    radius = certify(pipe, X_test).radius
    np.testing.assert_allclose(certify(pipe, X_test, norm=norm).radius, radius * factor, rtol=1e-6)


def test_images_may_come_in_any_shape(network, data):
    X, y, X_test, _ = data
    radius = certify(pipeline(network, "local").fit(X, y), X_test).radius
    channels_first = pipeline(network, "local", shape=None).fit(X.reshape(-1, 1, 8, 8), y)
    np.testing.assert_allclose(certify(channels_first, X_test.reshape(-1, 1, 8, 8)).radius, radius, rtol=1e-9)
    channels_last = pipeline(network, "local", shape=None).fit(X.reshape(-1, 8, 8, 1), y)
    certificate = certify(channels_last, X_test.reshape(-1, 8, 8, 1))
    np.testing.assert_allclose(certificate.radius, radius, rtol=1e-9)
    some = X_test[:10].reshape(-1, 8, 8, 1)
    assert check_certificate(channels_last, some, certify(channels_last, some), random_state=0) is None


def test_radii_of_bytes_are_in_gray_levels(network, data):
    X, y, X_test, _ = data
    levels, levels_test = (np.round(255 * values).astype(np.uint8).reshape(-1, 8, 8, 1) for values in (X, X_test))
    pipe = pipeline(network, "global", shape=None, preprocess=lambda batch: batch / 255).fit(levels, y)
    exact = pipeline(network, "global", shape=None).fit(levels.astype(float) / 255, y)
    radius = certify(exact, levels_test.astype(float) / 255).radius
    np.testing.assert_allclose(certify(pipe, levels_test).radius, 255 * radius, rtol=1e-3)


def test_steps_before_the_encoder_count(network, data):
    X, y, X_test, _ = (np.asarray(part, dtype=float) for part in data)
    halved = make_pipeline(PretrainedEmbedder(network, lipschitz="local", input_shape=SHAPE), CertifiedGMMClassifier())
    scaler = StandardScaler(with_mean=False)
    pipe = make_pipeline(scaler, *[step for _, step in halved.steps]).fit(X / 2, y)
    scaler.scale_ = np.full(64, 0.5)
    halved[1].fit(halved[0].fit_transform(X), y)
    pipe.steps[-1] = ("clf", halved[1])
    pipe.steps[-2] = ("embed", halved[0])
    np.testing.assert_allclose(certify(pipe, X_test / 2).radius, certify(halved, X_test).radius / 2, rtol=1e-6)


def test_columns_that_cannot_move_do_not_count(network, data):
    X, y, X_test, _ = data
    pipe = pipeline(network, "global").fit(X, y)
    scale = np.where(np.arange(64) < 32, 0.0, 2.0)
    np.testing.assert_allclose(certify(pipe, X_test, feature_scale=scale).radius, certify(pipe, X_test).radius / 2, rtol=1e-9)


# -- wrong constants ---------------------------------------------------------------------------------------------------


def test_a_constant_ten_times_too_small_is_found_out(data):
    X, y, X_test, _ = data
    encoder = train_on_digits(0)
    honest = pipeline(encoder, 1.0).fit(X, y)
    assert check_certificate(honest, X_test, certify(honest, X_test), random_state=0) is None
    wrong = pipeline(encoder, 0.1).fit(X, y)
    violation = check_certificate(wrong, X_test, certify(wrong, X_test), random_state=0)
    assert violation is not None
    assert wrong.predict(violation.point)[0] == violation.found != violation.prediction
    images = pipeline(encoder, 0.1, shape=None).fit(X.reshape(-1, *SHAPE), y)
    found = check_certificate(images, X_test.reshape(-1, *SHAPE), certify(images, X_test.reshape(-1, *SHAPE)), random_state=0)
    assert found is not None and found.point.shape == (1, *SHAPE)


def test_weights_changed_after_the_first_certificates_are_noticed(data):
    X, y, X_test, _ = data
    torch.manual_seed(1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU())
    pipe = pipeline(network, "global").fit(X, y)
    certifier = Certifier(pipe)
    before = certifier.certify(X_test)
    with torch.no_grad():
        network[1].weight.data *= 2
        network[1].bias.data *= 2
    after = certifier.certify(X_test)
    np.testing.assert_allclose(after.radius, certify(pipe, X_test).radius, rtol=1e-12)
    assert not np.allclose(before.radius, after.radius)


@pytest.mark.parametrize("lipschitz", ["global", "local"])
def test_anything_else_that_changes_the_encoder_is_noticed(lipschitz, data):
    class Louder(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.k = nn.Linear(64, 12), 1.0

        def forward(self, x):
            return self.k * torch.relu(self.layer(x))

    X, y, X_test, _ = data
    torch.manual_seed(2)
    network = Louder()
    pipe = pipeline(network, lipschitz, shape=None).fit(X, y)
    certifier = Certifier(pipe)
    certifier.certify(X_test)
    network.k = 10.0
    np.testing.assert_allclose(certifier.certify(X_test).radius, certify(pipe, X_test).radius, rtol=1e-9)
    pipe[0].preprocess = lambda batch: 3 * batch
    np.testing.assert_allclose(certifier.certify(X_test).radius, certify(pipe, X_test).radius, rtol=1e-9)
    pipe[0].lipschitz = 1e6
    np.testing.assert_allclose(certifier.certify(X_test).radius, certify(pipe, X_test).radius, rtol=1e-9)
    np.testing.assert_allclose(
        pickle.loads(pickle.dumps(Certifier(pipeline(nn.Sequential(nn.Linear(64, 4)), lipschitz, shape=None).fit(X, y))))
        .certify(X_test)
        .radius.shape,
        CASES,
    )


def test_what_is_put_together_has_the_weakest_guarantee(network, data):
    X, y, X_test, _ = data
    sound, guess = (certify(pipeline(network, way).fit(X, y), X_test[:3]) for way in ("global", Clever(4, 4)))
    assert type(sound).concatenate([sound, guess]).guarantee == "none"
    assert "estimates" in repr(guess) and "lower bounds" not in repr(guess)


def test_a_bound_for_one_shape_is_not_used_for_another():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    X = np.random.default_rng(0).random((40, 1, 9, 9))
    pipe = pipeline(network, "global", shape=None).fit(X, np.arange(40) % 2)
    with pytest.raises(ValueError, match=r"rows of shape \(1, 9, 9\)"):
        certify(pipe, X[:, :, :7, :7])


def test_half_precision_has_no_bound(data):
    X, y, X_test, _ = data
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU())
    pipe = pipeline(network, "global", precision="bfloat16").fit(X, y)
    with pytest.raises(Uncertifiable, match="precision='full'"):
        certify(pipe, X_test)


def test_an_encoder_without_a_constant_names_the_ways_out(network, data):
    X, y, X_test, _ = data
    with pytest.raises(Uncertifiable, match="lipschitz='global'.*space="):
        certify(pipeline(network, None).fit(X, y), X_test)
    with pytest.raises(ValueError, match="No attack can be constructed"):
        certify(pipeline(network, "local").fit(X, y), X_test, return_attack=True)


def test_texts_and_files_have_no_radius_of_their_own():
    class Lengths(nn.Module):
        def forward(self, texts):
            return torch.tensor([[float(len(text)), float(text.count("a"))] for text in texts])

    texts = ["a", "bb", "aaa", "dddd"] * 5
    pipe = make_pipeline(PretrainedEmbedder(Lengths(), lipschitz=1.0), CertifiedGMMClassifier()).fit(texts, [0, 1, 0, 1] * 5)
    with pytest.raises(ValueError, match="texts and files have no distance"):
        certify(pipe, texts)
    assert (certify(pipe, texts, space="latents").radius > 0).all()


# -- estimates ---------------------------------------------------------------------------------------------------------


def test_estimates_are_labelled_wherever_they_go(network, data):
    X, y, X_test, y_test = data
    sound = certify(pipeline(network, "local").fit(X, y), X_test[:6])
    guess = certify(pipeline(network, Clever(8, 8)).fit(X, y), X_test[:6])
    assert guess.guarantee == "none" and guess.method == "clever" and not guess.exact
    assert "none (an estimate)" in repr(guess) and "none (an estimate)" in guess._repr_html_()
    assert (guess.radius > sound.radius).all()  # it is an estimate of the largest, that a bound cannot exceed by much
    display = CertifiedAccuracyDisplay.from_certificates({"local": sound, "clever": guess}, y_test[:6])
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert any("clever" in label and "(estimate)" in label for label in labels)
    assert not any("local" in label and "estimate" in label for label in labels)


def test_the_estimate_behind_a_linear_encoder_is_not_below_the_bound(data):
    X, y, X_test, _ = data
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 12))
    for head in (LogisticRegression(max_iter=2000), CertifiedGMMClassifier()):
        pipe = pipeline(network, "clever", StandardScaler(), head).fit(X, y)
        truth = certify(pipe, X_test, space="standardscaler")  # in the space after it
        assert len(truth) == CASES
        weight = network[1].weight.detach().double().numpy()
        guess = certify(pipe, X_test)
        for row in range(3):  # a step of the estimate along the steepest direction reaches the boundary
            scores = pipe.decision_function(X_test[[row]])[0]
            assert guess.radius[row] > 0 and np.isfinite(scores).all() and weight.shape == (12, 64)
        sound = certify(pipeline(network, "global", StandardScaler(), head).fit(X, y), X_test)
        assert (guess.radius >= sound.radius * (1 - 1e-5)).all()


def test_an_estimate_does_not_depend_on_what_stands_beside_a_point(network, data):
    X, y, X_test, _ = data
    pipe = pipeline(network, Clever(4, 4, random_state=3)).fit(X, y)
    together = certify(pipe, X_test[:5]).radius
    np.testing.assert_allclose(certify(pipe, X_test[4:1:-1]).radius, together[4:1:-1], rtol=1e-5)
    capped = pipeline(network, Clever(4, 4, rho=0.01)).fit(X, y)
    assert (certify(capped, X_test[:5]).radius <= 0.01).all()


def test_an_estimate_goes_through_curved_boundaries_and_not_through_normalizers(network, data):
    X, y, X_test, _ = data
    for head in (CertifiedGMMClassifier(covariance_type="full"), CertifiedGMMClassifier(n_components=2, random_state=0)):
        assert (certify(pipeline(network, Clever(4, 4), head).fit(X, y), X_test[:3]).radius > 0).all()
    with pytest.raises(Uncertifiable, match="affine steps"):
        certify(pipeline(network, "clever", Normalizer(), CertifiedGMMClassifier()).fit(X, y), X_test[:3])


# -- scikit-learn ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lipschitz", ["global", "local", Clever(4, 4)])
def test_pipelines_are_cloned_pickled_and_searched(lipschitz, network, data):
    X, y, X_test, _ = data
    pipe = pipeline(network, lipschitz).fit(X, y)
    radius = certify(pipe, X_test[:4]).radius
    np.testing.assert_allclose(certify(pickle.loads(pickle.dumps(pipe)), X_test[:4]).radius, radius, rtol=1e-6)
    np.testing.assert_allclose(certify(clone(pipe).fit(X, y), X_test[:4]).radius, radius, rtol=1e-6)
    if lipschitz == "global":
        search = GridSearchCV(
            pipe, {"certifiedgmmclassifier__shrinkage": [0.0, 0.5]}, scoring=certified_accuracy_scorer(0.001), cv=2
        )
        assert 0 < search.fit(X, y).best_score_ <= 1


def test_an_explanation_says_what_the_encoder_is_known_by(network, data):
    X, y, X_test, _ = data
    for way, words in (("global", "Lipschitz constant"), ("local", "constants on balls"), (Clever(4, 4), "no guarantee")):
        pipe = pipeline(network, way).fit(X, y)
        if isinstance(way, Clever):
            continue
        assert words in repr(certify(pipe, X_test[:3]).explain(1))
