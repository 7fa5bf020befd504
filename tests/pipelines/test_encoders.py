"""Certificates in pixels, through an encoder: images in every shape, and what happens if a constant is wrong."""

import copy
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


# -- rounding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lipschitz", ["global", "local", "number"])
@pytest.mark.parametrize("n_latents", [1, 6])
def test_what_an_encoder_loses_in_float32_is_taken_off(n_latents, lipschitz):
    """Large biases, and a map whose constant is reached by every move: the exact distance is known."""
    rng = np.random.default_rng(0)
    for seed in range(8):
        torch.manual_seed(seed)
        network = nn.Linear(6, n_latents)
        with torch.no_grad():
            network.weight.copy_(0.1 * torch.linalg.qr(torch.randn(6, 6))[0][:n_latents])
        network.bias.data.fill_(50.0)
        weight, bias = (part.detach().double().numpy() for part in network.parameters())
        X, y = rng.standard_normal((40, 6)), np.arange(40) % 2
        X[y == 1] += 0.5
        bound = np.linalg.norm(weight, 2) * (1 + 1e-12) if lipschitz == "number" else lipschitz
        pipe = make_pipeline(PretrainedEmbedder(network, lipschitz=bound), LogisticRegression(C=100)).fit(X, y)
        certificate = certify(pipe, X)
        slope = pipe[-1].coef_[0] @ weight
        exact = np.abs(X @ slope + pipe[-1].coef_[0] @ bias + pipe[-1].intercept_[0]) / np.linalg.norm(slope)
        assert (certificate.radius <= exact).all()
        far = exact > 0.1
        assert far.sum() > 10 and (certificate.radius[far] >= 0.99 * exact[far]).all()
        assert check_certificate(pipe, X, certificate, random_state=0) is None


def test_the_rounding_of_an_encoder_is_found_in_float64(network, data):
    """All of it: the weights, what `preprocess` does, changes of type and what is made on the way."""
    X = data[0][:7]

    class Awkward(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network
            self.register_buffer("shift", torch.tensor(0.1))

        def forward(self, x):
            return self.inner((x.float() + self.shift) * torch.full((1,), 0.3)).to(torch.float32)

    def preprocess(batch):
        return batch.to(torch.float32) / torch.tensor(0.7)

    embedder = PretrainedEmbedder(Awkward(), preprocess=preprocess, input_shape=SHAPE).fit(X)
    latents = embedder._embed(embedder._as_batchable(X.astype(float)), precision="double").numpy()
    assert latents.dtype == np.float64
    twin = copy.deepcopy(network).double()
    rows = torch.from_numpy(X.astype(float)).reshape(-1, *SHAPE)
    single = [float(np.float32(number)) for number in (0.7, 0.1, 0.3)]  # constants are what float32 made of them
    exact = twin((rows / single[0] + single[1]) * single[2]).detach().numpy()
    np.testing.assert_allclose(latents, exact, rtol=1e-12, atol=1e-13)
    seen = embedder.transform(X)
    assert 1e-8 < np.abs(seen - latents).max() < 1e-5 and seen.dtype == np.float64
    assert all(part.dtype == torch.float32 for part in network.parameters())


def test_encoders_that_do_not_run_in_float64_say_so(data):
    X, y, X_test, _ = data

    class Single(nn.Module):
        def forward(self, x):
            if x.dtype != torch.float32:
                raise TypeError("float32 only")
            return x.flatten(1)

    with pytest.raises(Uncertifiable, match="float64.*float32 only.*pass a function"):
        certify(pipeline(Single(), 1.0).fit(X, y), X_test)
    module = Single()
    assert (certify(pipeline(lambda batch: module(torch.from_numpy(batch).float()), 1.0).fit(X, y), X_test).radius > 0).all()


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


def test_an_estimate_is_not_joined_to_a_bound(network, data):
    X, y, X_test, _ = data
    sound, guess = (certify(pipeline(network, way).fit(X, y), X_test[:3]) for way in ("global", Clever(4, 4)))
    with pytest.raises(ValueError, match="the method, 'exact' and 'clever'"):
        type(sound).concatenate([sound, guess])
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


def test_the_estimate_behind_a_linear_encoder_is_the_distance(data):
    X, y, X_test, _ = data
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 12))
    for head in (LogisticRegression(max_iter=2000), CertifiedGMMClassifier()):
        pipe = pipeline(network, "clever", StandardScaler(), head).fit(X, y)
        guess = certify(pipe, X_test)
        weight, bias = (part.detach().double().numpy() for part in network[1].parameters())
        plain = PCA(12).fit(X.astype(float))  # the same map as a step that is known exactly
        plain.components_, plain.mean_ = weight, -np.linalg.lstsq(weight, bias, rcond=None)[0]
        truth = certify(make_pipeline(plain, *(step for _, step in pipe.steps[1:])), X_test.astype(float))
        np.testing.assert_array_equal(truth.prediction, guess.prediction)
        np.testing.assert_allclose(guess.radius, truth.radius, rtol=1e-3)


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


# -- what runs is what was recorded ------------------------------------------------------------------------------------


class Telling(nn.Module):
    """Steeper in batches that no example is as long as, or for points that no example is as large as."""

    def __init__(self, steeper):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.steeper = nn.Linear(64, 12), steeper

    def forward(self, x):
        h = self.layer(x)
        return h + 30 * torch.relu(h - 20) if self.steeper(x) else h


@pytest.mark.parametrize("lipschitz", ["global", "local"])
def test_what_an_encoder_does_to_the_points_themselves_must_be_what_was_recorded(lipschitz, data):
    X, y, X_test, _ = data
    pipe = pipeline(Telling(lambda x: len(x) == CASES), lipschitz, shape=None).fit(X, y)
    with pytest.raises(Uncertifiable, match=rf"of {CASES} rows it runs sub where it was recorded with nothing more of 2"):
        certify(pipe, X_test)
    assert (certify(pipe, X_test[:-1]).radius > 0).any()


def test_steps_that_only_some_numbers_reach_are_noticed_where_they_are_certified(data):
    X, y, X_test, _ = data

    def large(x):  # out of the sight of torch
        return type(x) is torch.Tensor and max(np.from_dlpack(x).ravel()) > 3

    pipe = pipeline(Telling(large), "global", shape=None).fit(X, y)
    with pytest.raises(Uncertifiable):
        certify(pipe, np.concatenate([X_test, 4 * X_test]))
