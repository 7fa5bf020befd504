"""Noise in the embedder: noisy latents to fit on, and means over noise that are certified whatever the encoder."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skcert import CertifiedGMMClassifier, PretrainedEmbedder, RandomizedSmoothingClassifier, certify
from skcert.embedding import noise

rng = np.random.default_rng(0)
X = rng.standard_normal((60, 5))
Y = (X[:, 0] > 0).astype(int)


def steep(batch):
    """No constant holds for it."""
    return np.sign(batch)


# -- rows under noise --------------------------------------------------------------------------------------------------


def test_noise_is_that_of_its_row_however_it_is_cut(monkeypatch):
    monkeypatch.setattr(noise, "TOGETHER", 20)  # blocks of four draws
    rows = noise.NoisyRows(X, 0.5, seed=1, copies=11)
    whole = rows[0 : len(rows)]
    assert whole.shape == (660, 5)
    for cut in (1, 3, 7, 100):
        np.testing.assert_array_equal(np.concatenate([rows[k : k + cut] for k in range(0, 660, cut)]), whole)
    alone = noise.NoisyRows(X[[7]], 0.5, seed=1, copies=11)
    np.testing.assert_array_equal(alone[0:11], whole[77:88])
    draws = (whole.reshape(60, 11, 5) - X[:, None]) / 0.5
    assert len(np.unique(draws)) == draws.size
    assert abs(draws.mean()) < 0.08 and abs(draws.std() - 1) < 0.05


def test_bytes_become_floats_under_noise():
    rows = noise.NoisyRows(np.full((3, 4), 200, dtype=np.uint8), 1.0, seed=0)
    assert rows[0:3].dtype == np.float32 and np.abs(rows[0:3] - 200).max() < 6


# -- noise in training -------------------------------------------------------------------------------------------------


def test_fit_transform_sees_noise_and_transform_does_not():
    embedder = PretrainedEmbedder(np.asarray, noise_augment=0.3, random_state=0)
    noisy, clean = embedder.fit_transform(X), embedder.transform(X)
    np.testing.assert_allclose(clean, X.astype(np.float32))
    assert 0.2 < (noisy - clean).std() < 0.4
    np.testing.assert_array_equal(clone(embedder).fit_transform(X), noisy)
    assert (clone(embedder).set_params(random_state=1).fit_transform(X) != noisy).all()


def test_a_model_fitted_on_noisy_latents_is_certified_for_more_points():
    """Squares move their mean under noise: a boundary that was fitted without it is in the wrong place."""
    local = np.random.default_rng(1)
    sizes = np.where(np.arange(400) % 2 == 0, 0.3, 1.2)
    points = local.standard_normal((400, 6)) * sizes[:, None]
    labels = np.arange(400) % 2
    shares = []
    for noise_augment in (None, 0.8):
        embedder = PretrainedEmbedder(np.square, noise_augment=noise_augment, random_state=0)
        base = make_pipeline(embedder, LogisticRegression())
        model = RandomizedSmoothingClassifier(base, sigma=0.8, n_certify=300, random_state=0).fit(points, labels)
        shares.append(model.certify(points).certified_accuracy(labels, 0.2))
    assert shares[1] > shares[0] + 0.05


# -- means over noise --------------------------------------------------------------------------------------------------


def test_means_are_those_of_shortened_latents():
    embedder = PretrainedEmbedder(np.asarray, smoothing=0.4, n_samples=4000, random_state=0).fit(X)
    np.testing.assert_allclose(embedder.center_, X.mean(axis=0), atol=1e-6)
    away = np.linalg.norm(X - X.mean(axis=0), axis=1)
    assert np.isclose(embedder.norm_bound_, np.median(away), rtol=1e-6)
    means = embedder.transform(X[:8])
    direct = np.random.default_rng(3).standard_normal((20_000, 1, 5)) * 0.4 + X[:8]
    expected = noise.shortened(direct, embedder.center_, embedder.norm_bound_).mean(axis=0)
    assert np.linalg.norm(means - expected, axis=1).max() < 5 * 0.4 * np.sqrt(5) / np.sqrt(4000)
    assert np.linalg.norm(means - embedder.center_, axis=1).max() <= embedder.norm_bound_ * (1 + 1e-12)


def test_memory_of_means_does_not_depend_on_the_number_of_samples(monkeypatch):
    sizes = []
    monkeypatch.setattr(noise, "KEPT", 500)
    run = lambda rows: (sizes.append(len(rows)), rows[0 : len(rows)])[1]  # noqa: E731
    noisy = noise.NoisyLatents(run, 1.0, 1050, 0, np.zeros(5), 100.0)
    many = noisy.means(X[:3])
    assert max(sizes) <= 100 and np.abs(many - X[:3]).max() < 5 / np.sqrt(1050)
    np.testing.assert_array_equal(noisy.means(X[[2]])[0], many[2])


def test_the_constant_of_a_mean_is_reached_by_a_step_and_never_passed():
    """E sign(x + n) = 2 Phi(x / sigma) - 1 has the slope sqrt(2 / pi) / sigma at 0."""
    from scipy.stats import norm

    x = np.linspace(-3, 3, 2001)
    mean = 2 * norm.cdf(x / 0.7) - 1
    slopes = np.diff(mean) / np.diff(x)
    constant = noise.constant_of_mean(1.0, 0.7)
    assert slopes.max() <= constant <= slopes.max() * 1.001


def test_means_are_as_near_as_promised():
    local = np.random.default_rng(4)
    n, alpha, d = 50, 0.1, 4
    draws = local.standard_normal((3000, n, d))
    draws /= np.linalg.norm(draws, axis=2, keepdims=True)  # on the sphere, mean 0: as spread as can be
    errors = np.linalg.norm(draws.mean(axis=1), axis=1)
    assert (errors > noise.error_of_mean(1.0, n, alpha)).mean() <= alpha
    assert np.quantile(errors, 1 - alpha) > 0.4 * noise.error_of_mean(1.0, n, alpha)


def test_means_are_as_near_as_promised_along_directions():
    """Latents on the corners of a cube: the mean is too long along any of its sides in a share of alpha of the rows at most."""
    local = np.random.default_rng(6)
    points, n, alpha = local.standard_normal((2000, 3)) * 0.3, 200, 0.1
    noisy = noise.NoisyLatents(lambda rows: np.sign(rows[0 : len(rows)]), 0.3, n, 1, np.zeros(3), np.sqrt(3.0))
    from scipy.stats import norm

    truth = 2 * norm.cdf(points / 0.3) - 1
    directions = np.vstack([np.eye(3), -np.eye(3)])
    excess = ((noisy.means(points) - truth) @ directions.T).max(axis=1)
    errors = noisy.errors_along(points, noisy.means(points), directions, alpha)
    assert (excess > errors).mean() <= alpha
    many = noise.NoisyLatents(noisy.run, 0.3, 5000, 1, noisy.center, noisy.bound)
    own = many.errors_along(points[:50], many.means(points[:50]), directions, 0.001)
    assert np.median(own) < 0.8 * noise.error_of_mean(noisy.bound, 5000, 0.001)


def test_directions_may_have_been_learned_from_the_means():
    """A rule fitted on means of noise points along that very noise: other draws show it."""
    from dataclasses import replace

    local = np.random.default_rng(8)
    points, alpha = np.zeros((300, 60)) + local.standard_normal((300, 1)) * 1e-3, 0.1
    noisy = noise.NoisyLatents(lambda rows: np.sign(rows[0 : len(rows)]), 1.0, 2000, 1, np.zeros(60), np.sqrt(60.0))
    means = noisy.means(points)
    learned = means / np.linalg.norm(means, axis=1, keepdims=True)  # the truth is 0 but for 1e-3
    checking = replace(noisy, purpose=noise.CHECKING)
    fooled = wrong = 0
    for row in range(len(points)):
        at = slice(row, row + 1)
        excess = float(means[row] @ learned[row]) - 3e-3 * np.sqrt(60)
        fooled += excess > noisy.errors_along(points[at], means[at], learned[at], alpha)[0]
        wrong += excess > checking.errors_along(points[at], means[at], learned[at], alpha)[0]
    assert wrong <= alpha * len(points) and fooled > 0.5 * len(points)


def test_rows_that_differ_in_their_last_digits_have_the_same_noise():
    row = np.array([[0.3, -1.7, 0.0, 1e6]])
    other = row * (1 + 2e-16) - 0.0
    assert noise.entropy(row[0], 0.5, 1) == noise.entropy(other[0], 0.5, 1)
    assert noise.entropy(row[0], 0.5, 1) != noise.entropy(row[0] + 1e-3, 0.5, 1)


def test_long_integers_are_not_rounded_to_float32():
    rows = np.array([[1_000_000_001, 7]])
    assert noise.NoisyRows(rows, 1.0, 0)[0:1].dtype == np.float64
    assert noise.NoisyRows(rows.astype(np.uint8), 1.0, 0)[0:1].dtype == np.float32


def test_linear_rules_only_pay_for_the_directions_that_matter():
    local = np.random.default_rng(7)
    points = local.standard_normal((120, 30))
    labels = (points[:, 0] > 0).astype(int)
    embedder = PretrainedEmbedder(steep, smoothing=0.5, n_samples=3000, random_state=0)
    latents = embedder.fit(points).transform(points)
    linear = make_pipeline(embedder, CertifiedGMMClassifier(target_radius=2.0)).fit(points, labels)
    bent = make_pipeline(embedder, CertifiedGMMClassifier(covariance_type="spherical", shrinkage=None)).fit(points, labels)
    constant = noise.constant_of_mean(embedder.norm_bound_, 0.5)
    ball = noise.error_of_mean(embedder.norm_bound_, 3000, 0.001)
    for model, pays_less in ((linear, True), (bent, False)):
        there, here = certify(model, points, space="latents").radius, certify(model, points).radius
        paid = (there - here * constant)[here > 0]
        assert len(paid) and ((paid < 0.9 * ball).all() if pays_less else np.allclose(paid, ball, rtol=1e-3))
    assert latents.shape == (120, 30)


def test_certificates_of_smoothed_embeddings_hold_for_what_is_smoothed():
    """A head on E sign(x + n), which is known: within the radius its exact decision never changes."""
    from scipy.stats import norm

    sigma, points = 0.5, np.random.default_rng(5).standard_normal((200, 3))
    labels = (points.sum(axis=1) > 0).astype(int)
    embedder = PretrainedEmbedder(steep, smoothing=sigma, n_samples=20_000, random_state=0)
    model = make_pipeline(embedder, LogisticRegression()).fit(points, labels)
    certificate = certify(model, points)
    assert certificate.guarantee == "probabilistic" and certificate.confidence == 0.999
    assert certificate.method == "exact" and not certificate.exact and (certificate.radius > 0).mean() > 0.5
    head = model[-1]

    def exact(x):  # latents of length sqrt(3) about a centre near 0, shortened by next to nothing or by a common share
        signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
        chance = np.prod(norm.cdf(x[:, None] * signs / sigma), axis=2)
        latents = chance @ noise.shortened(signs.astype(float), embedder.center_, embedder.norm_bound_)
        return (latents @ head.coef_[0] + head.intercept_[0] > 0).astype(int)

    sure = certificate.radius > 0
    np.testing.assert_array_equal(exact(points)[sure], certificate.prediction[sure])
    for _ in range(50):
        way = rng.standard_normal(points.shape)
        way *= (certificate.radius / np.linalg.norm(way, axis=1))[:, None]
        assert (exact(points + way)[sure] == certificate.prediction[sure]).all()
    down = -np.sign(head.coef_[0]) * np.where(certificate.prediction == 1, 1, -1)[:, None]
    moved = points + certificate.radius[:, None] * down / np.sqrt(3)
    assert (exact(moved)[sure] == certificate.prediction[sure]).all()


@pytest.mark.parametrize("settings, words", [
    ({"noise_augment": 0.0}, "noise_augment must be None or a positive number"),
    ({"smoothing": -1}, "smoothing must be None or a positive number"),
    ({"smoothing": 1.0, "n_samples": 0}, "n_samples must be an integer >= 1"),
    ({"smoothing": 1.0, "noise_augment": 1.0}, "leave noise_augment=None"),
    ({"smoothing": 1.0, "lipschitz": 2.0}, "leave lipschitz=None"),
    ({"smoothing": 1.0, "output_device": "torch"}, "returns NumPy arrays"),
])  # fmt: skip
def test_what_cannot_be_is_refused(settings, words):
    if "output_device" in settings:
        pytest.importorskip("torch")
    with pytest.raises(ValueError, match=words):
        PretrainedEmbedder(np.asarray, **settings).fit(X)


def test_texts_and_constant_latents_have_no_noise():
    with pytest.raises(ValueError, match="texts or images: pass arrays"):
        PretrainedEmbedder(lambda texts: np.ones((len(texts), 2)), smoothing=1.0).fit(["a", "b"])
    with pytest.raises(ValueError, match="latents that differ"):
        PretrainedEmbedder(np.zeros_like, smoothing=1.0).fit(X)


def test_certifying_draws_other_noise_than_the_latents_have():
    """The same through the step that certify uses: latents, and rules fitted on them, have seen another sample."""
    from skcert.adapters.encoders import pretrained_embedder

    local = np.random.default_rng(9)
    embedder = PretrainedEmbedder(np.sign, smoothing=1.0, n_samples=20_000, random_state=0, progress=False)
    embedder.fit(local.standard_normal((20_000, 60)))
    points = local.standard_normal((10, 60)) * 1e-4  # the truth is nearly 0
    means = embedder.transform(points)
    learned = means / np.linalg.norm(means, axis=1, keepdims=True)
    along = pretrained_embedder(embedder).along
    errors = [along(points[k : k + 1], means[k : k + 1], learned[k : k + 1])[0] for k in range(10)]
    assert (np.linalg.norm(means, axis=1) - 0.002 <= errors).all()
