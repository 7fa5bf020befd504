"""skcert.datasets, claim by claim."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from sklearn.utils import Bunch

from skcert import CertifiedGMMClassifier
from skcert.datasets import make_circle_mixture, make_gaussian_mixture

KINDS = ["full", "tied", "diag", "spherical"]
SHAPES = [(2, 1), (3, 3), (3, 2), (7, 2), (4, 20), (30, 5)]


def as_matrices(covariances, kind, K, d):
    if kind == "tied":
        return np.broadcast_to(covariances, (K, d, d))
    if kind == "diag":
        return np.array([np.diag(variances) for variances in covariances])
    return np.array([v * np.eye(d) for v in covariances]) if kind == "spherical" else covariances


# -- make_gaussian_mixture -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("K", "d"), SHAPES)
def test_shapes_are_those_of_the_classifier(kind, K, d):
    mixture = make_gaussian_mixture(50, n_classes=K, n_features=d, covariance_type=kind, random_state=0)
    assert isinstance(mixture, Bunch)
    assert mixture.X.shape == (50, d) and mixture.y.shape == (50,) and mixture.means.shape == (K, d)
    assert mixture.covariances.shape == {"full": (K, d, d), "tied": (d, d), "diag": (K, d), "spherical": (K,)}[kind]
    np.testing.assert_allclose(mixture.priors, np.full(K, 1 / K))
    assert set(mixture.y) <= set(range(K))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("K", "d"), SHAPES)
def test_from_parameters_takes_the_mixture_as_it_is(kind, K, d):
    conditioning = 1.0 if d == 1 and kind != "spherical" else 5.0
    mixture = make_gaussian_mixture(
        200, n_classes=K, n_features=d, covariance_type=kind, conditioning=conditioning, random_state=1
    )
    model = CertifiedGMMClassifier.from_parameters(mixture.means, mixture.covariances, mixture.priors, covariance_type=kind)
    np.testing.assert_array_equal(model.means_, mixture.means)
    np.testing.assert_allclose(model.covariances_, mixture.covariances, rtol=1e-12, atol=1e-14)
    assert model.score(mixture.X, mixture.y) > 1.5 / K  # far above chance: points, labels and parameters belong together


@pytest.mark.parametrize(("K", "d"), SHAPES)
@pytest.mark.parametrize("separation", [0.5, 3.0])
def test_the_closest_means_are_separation_apart_and_no_neighbour_is_far(K, d, separation):
    means = make_gaussian_mixture(n_classes=K, n_features=d, separation=separation, random_state=2).means
    nearest = (squareform(pdist(means)) + np.diag(np.full(K, np.inf))).min(axis=0)
    assert nearest.min() == pytest.approx(separation, rel=1e-10)
    assert nearest.max() <= 3 * separation
    np.testing.assert_allclose(means.mean(axis=0), 0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_conditioning_is_the_ratio_of_the_variances_and_the_mean_variance_is_one(kind):
    K, d = 4, 6
    mixture = make_gaussian_mixture(
        n_classes=K, n_features=d, conditioning=100.0, covariance_type=kind, separation=1.0, random_state=3
    )
    matrices = as_matrices(mixture.covariances, kind, K, d)
    variances = np.linalg.eigvalsh(matrices)
    if kind == "spherical":
        variances = variances[:, :1].T
    np.testing.assert_allclose(variances.max(axis=1) / variances.min(axis=1), 100, rtol=1e-10)
    np.testing.assert_allclose(variances.mean(axis=1), 1, rtol=1e-12)


def test_the_classes_of_a_full_mixture_have_different_covariances():
    covariances = make_gaussian_mixture(n_features=5, conditioning=10.0, random_state=0).covariances
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(covariances[i] - covariances[j]).max() > 0.5


def test_the_classes_of_a_diagonal_mixture_have_the_variances_in_different_order():
    variances = make_gaussian_mixture(n_features=6, conditioning=10.0, covariance_type="diag", random_state=0).covariances
    assert len(np.unique(variances, axis=0)) == 3
    np.testing.assert_array_equal(np.sort(variances, axis=1), np.sort(variances[[0, 0, 0]], axis=1))


@pytest.mark.parametrize("kind", KINDS)
def test_the_sample_has_the_moments_of_the_mixture(kind):
    K, d, n = 3, 3, 60_000
    mixture = make_gaussian_mixture(
        n, n_classes=K, n_features=d, conditioning=4.0, covariance_type=kind, priors=[0.5, 0.3, 0.2], random_state=4
    )
    np.testing.assert_allclose(np.bincount(mixture.y) / n, [0.5, 0.3, 0.2], atol=5 * 0.5 / np.sqrt(n))
    for k, expected in enumerate(as_matrices(mixture.covariances, kind, K, d)):
        own = mixture.X[mixture.y == k]
        np.testing.assert_allclose(own.mean(axis=0), mixture.means[k], atol=5 * np.sqrt(2.0 / len(own)))
        np.testing.assert_allclose(np.cov(own.T), expected, atol=5 * 3.0 / np.sqrt(len(own)))


def test_a_larger_separation_is_an_easier_problem():
    def accuracy(separation):
        mixture = make_gaussian_mixture(4000, separation=separation, random_state=0)
        return CertifiedGMMClassifier.from_parameters(mixture.means, mixture.covariances).score(mixture.X, mixture.y)

    assert accuracy(1.0) < accuracy(2.0) < accuracy(4.0)


@pytest.mark.parametrize("make", [make_gaussian_mixture, make_circle_mixture])
def test_the_same_seed_gives_the_same_mixture_and_another_seed_another(make):
    first, again, other = make(20, random_state=0), make(20, random_state=np.random.RandomState(0)), make(20, random_state=1)
    for key in first:
        np.testing.assert_array_equal(first[key], again[key])
    assert not np.array_equal(first.X, other.X)


# -- make_circle_mixture ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("K", [2, 3, 5, 10])
def test_the_means_stand_on_the_circle_at_equal_angles(K):
    mixture = make_circle_mixture(30, n_classes=K, circle_radius=6.0, random_state=0)
    as_complex = mixture.means[:, 0] + 1j * mixture.means[:, 1]
    np.testing.assert_allclose(as_complex, 6 * np.exp(2j * np.pi * np.arange(K) / K), atol=1e-12)
    np.testing.assert_allclose(mixture.covariances, np.broadcast_to(np.eye(2), (K, 2, 2)), atol=1e-12)
    CertifiedGMMClassifier.from_parameters(mixture.means, mixture.covariances, mixture.priors)


def test_the_first_variance_lies_along_the_radius_and_the_second_along_the_circle():
    mixture = make_circle_mixture(n_classes=7, variances=(1.5, 0.5), random_state=0)
    radial = mixture.means / 4
    tangential = radial @ [[0, 1], [-1, 0]]
    for axis, variance in ((radial, 1.5), (tangential, 0.5)):
        np.testing.assert_allclose(np.einsum("ki,kij,kj->k", axis, mixture.covariances, axis), variance, rtol=1e-12)


def test_the_mixture_is_unchanged_by_a_turn_to_the_next_class():
    mixture = make_circle_mixture(n_classes=5, variances=(1.5, 0.5), random_state=0)
    a = 2 * np.pi / 5
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    np.testing.assert_allclose(mixture.means @ turn.T, np.roll(mixture.means, -1, axis=0), atol=1e-12)
    np.testing.assert_allclose(turn @ mixture.covariances @ turn.T, np.roll(mixture.covariances, -1, axis=0), atol=1e-12)


def test_the_radius_at_a_mean_of_round_classes_is_half_the_chord():
    mixture = make_circle_mixture(10, n_classes=5, circle_radius=4.0, random_state=0)
    bayes = CertifiedGMMClassifier.from_parameters(mixture.means, np.eye(2), mixture.priors, covariance_type="tied")
    np.testing.assert_allclose(bayes.certify(mixture.means).radius, 4 * np.sin(np.pi / 5), rtol=1e-8)


# -- bad input -------------------------------------------------------------------------------------------------------

BAD = {
    "no samples": (lambda: make_gaussian_mixture(0), "n_samples must be an integer >= 1, got 0"),
    "half a sample": (lambda: make_circle_mixture(1.5), r"n_samples must be an integer >= 1, got 1\.5"),
    "one class": (lambda: make_gaussian_mixture(n_classes=1), "n_classes must be an integer >= 2, got 1"),
    "one class on the circle": (lambda: make_circle_mixture(n_classes=1), "n_classes must be an integer >= 2, got 1"),
    "no features": (lambda: make_gaussian_mixture(n_features=0), "n_features must be an integer >= 1, got 0"),
    "separation": (lambda: make_gaussian_mixture(separation=-1), "separation must be a finite number >= 0, got -1"),
    "NaN": (lambda: make_gaussian_mixture(separation=np.nan), "separation must be a finite number >= 0, got nan"),
    "conditioning": (lambda: make_gaussian_mixture(conditioning=0.5), r"conditioning must be a finite number >= 1, got 0\.5"),
    "conditioning, d = 1": (lambda: make_gaussian_mixture(n_features=1, conditioning=2), "needs n_features >= 2.*spherical"),
    "type": (lambda: make_gaussian_mixture(covariance_type="round"), "covariance_type must be one of.*got 'round'"),
    "priors": (lambda: make_gaussian_mixture(priors=[0.5, 0.4, 0.2]), "priors must sum to 1"),
    "number of priors": (lambda: make_gaussian_mixture(priors=[0.5, 0.5]), r"priors must have shape \(3,\)"),
    "circle": (lambda: make_circle_mixture(circle_radius=np.inf), "circle_radius must be a finite number >= 0, got inf"),
    "one variance": (lambda: make_circle_mixture(variances=1.0), "variances must be two positive"),
    "zero variance": (lambda: make_circle_mixture(variances=(1.0, 0.0)), "variances must be two positive"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_with_what_was_expected_and_what_came(call, message):
    with pytest.raises(ValueError, match=message):
        call()
