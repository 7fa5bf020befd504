"""What must happen at 0, at infinity, and when two things coincide."""

import numpy as np
import pytest

from skcert import CertifiedGMMClassifier, certify

make = CertifiedGMMClassifier.from_parameters


def test_equal_covariances_give_the_distance_to_a_hyperplane():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((3, 3))
    S, means, priors = A @ A.T + np.eye(3), rng.standard_normal((2, 3)), [0.3, 0.7]
    Z = rng.standard_normal((30, 3)) * 3
    w = np.linalg.solve(S, means[1] - means[0])
    b = np.log(0.7 / 0.3) - 0.5 * (means[1] @ np.linalg.solve(S, means[1]) - means[0] @ np.linalg.solve(S, means[0]))
    for norm, dual in ((1, np.inf), (2, 2), (np.inf, 1)):
        expected = np.abs(Z @ w + b) / np.linalg.norm(w, ord=dual)
        tied = make(means, S, priors).certify(Z, norm=norm)
        np.testing.assert_allclose(tied.radius, expected, rtol=1e-10)
        assert (tied.radius <= expected * (1 + 1e-13)).all()
    full = make(means, np.array([S, S]), priors)
    for method in ("exact", "pairwise", "paper"):
        np.testing.assert_allclose(full.certify(Z, method=method).radius, np.abs(Z @ w + b) / np.linalg.norm(w), rtol=1e-7)


def test_one_dimension_is_the_distance_to_the_nearest_root():
    means, variances = [[0.0], [1.0]], np.array([1.0, 4.0])
    roots = np.sort(np.roots([1 / 4 - 1, -2 / 4, 1 / 4 + np.log(4)]))
    Z = np.linspace(-6, 6, 41)[:, None]
    certificate = make(means, variances).certify(Z)
    np.testing.assert_allclose(certificate.radius, np.abs(Z - roots).min(axis=1), rtol=1e-8)


def test_a_tie_has_radius_zero():
    for covariances in (np.eye(2), np.array([np.eye(2), np.eye(2)]), np.array([1.0, 1.0])):
        model = make(
            [[-1.0, 0.0], [1.0, 0.0]], covariances, covariance_type={2: "tied", 3: "full", 1: "spherical"}[np.ndim(covariances)]
        )
        certificate = model.certify([[0.0, 0.0], [0.0, 5.0]])
        assert (certificate.radius == 0).all()


@pytest.mark.parametrize("covariances", [np.eye(2), np.array([np.eye(2), np.eye(2), np.eye(2)])])
def test_coinciding_classes_tie_or_never_win(covariances):
    means = [[0.0, 0.0], [0.0, 0.0], [4.0, 0.0]]
    even = make(means, covariances, [0.25, 0.25, 0.5]).certify([[0.0, 0.0]])
    assert even.radius[0] == 0
    uneven = make(means, covariances, [0.1, 0.4, 0.5]).certify([[0.0, 0.0]])
    assert uneven.prediction[0] == 1 and uneven.runner_up[0] == 2 and 1.5 < uneven.radius[0] < 2


@pytest.mark.parametrize("covariances", [np.eye(2), np.array([np.eye(2), 2 * np.eye(2), np.eye(2)])])
def test_a_class_with_prior_zero_is_dropped(covariances):
    means = [[0.0, 0.0], [1.0, 0.0], [4.0, 0.0]]
    model = make(means, covariances, [0.5, 0.0, 0.5])
    Z = np.array([[1.0, 0.0], [3.0, 1.0], [1.9, 0.3]])
    certificate = model.certify(Z)
    without = make([means[0], means[2]], np.eye(2), [0.5, 0.5]).certify(Z)
    assert 1 not in certificate.prediction and 1 not in certificate.runner_up
    np.testing.assert_allclose(certificate.radius, without.radius, rtol=1e-9)
    assert (model.predict_proba(Z)[:, 1] == 0).all()


def test_a_single_class_can_never_change():
    for covariances in (np.eye(2), np.eye(2)[None]):
        model = make([[0.0, 1.0]], covariances, covariance_type="tied" if covariances.ndim == 2 else "full")
        assert np.isinf(model.certify([[3.0, 4.0]]).radius).all()


def test_two_classes_that_a_rival_can_never_win_are_infinitely_far():
    model = make([[0.0, 0.0], [0.0, 0.0]], np.array([4.0, 1.0]), [1 - 1e-6, 1e-6])
    certificate = model.certify([[0.0, 0.0], [10.0, 3.0]])
    assert np.isinf(certificate.radius).all() and np.isinf(certificate.attack_radius).all()


def test_the_hard_case_reaches_the_boundary_along_the_lowest_eigenvector():
    # g = 0 at the common mean: the way out is along the widest axis of the rival
    model = make([[0.0, 0.0], [0.0, 0.0]], np.array([np.eye(2), np.diag([4.0, 2.0])]))
    certificate = model.certify([[0.0, 0.0]], return_attack=True)
    expected = np.sqrt(np.log(8) / 0.75)
    assert expected * (1 - 1e-12) < certificate.radius[0] <= expected
    np.testing.assert_allclose(np.abs(certificate.attack[0]), [expected, 0], atol=1e-6)


def test_far_outliers_and_extreme_scales_give_finite_sound_numbers():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 3)) + 3 * (np.arange(80) % 2)[:, None]
    y = np.arange(80) % 2
    for scale in (1e-45, 1e-6, 1e6, 1e45):
        for kind in ("tied", "full"):
            certificate = CertifiedGMMClassifier(covariance_type=kind).fit(X * scale, y).certify(X * scale)
            assert np.isfinite(certificate.radius).all() and (certificate.radius >= 0).all()
            np.testing.assert_allclose(
                certificate.radius / scale, CertifiedGMMClassifier(covariance_type=kind).fit(X, y).certify(X).radius, rtol=1e-6
            )


@pytest.mark.parametrize("scale", [1e-160, 1e-80, 1e80, 1e160, 1e300])
@pytest.mark.parametrize("covariance_type", ["tied", "full", "diag"])
def test_scales_that_float64_cannot_square_are_an_error_with_the_remedy(scale, covariance_type):
    X = np.random.default_rng(0).standard_normal((40, 3)) * scale
    with pytest.raises(ValueError, match="StandardScaler|rank"):
        CertifiedGMMClassifier(covariance_type=covariance_type).fit(X, np.arange(40) % 2)


def test_strong_shrinkage_becomes_the_nearest_mean():
    from sklearn.neighbors import NearestCentroid

    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    X = rng.standard_normal((90, 4)) @ rng.standard_normal((4, 4)) + 2 * rng.standard_normal((3, 4))[y]
    ours = CertifiedGMMClassifier(shrinkage=1.0).fit(X, y)
    theirs = NearestCentroid().fit(X, y)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_allclose(ours.certify(X).radius, certify(theirs, X).radius, rtol=1e-9)


def test_distances_to_balls_give_half_the_lead_and_overlaps_tie():
    model = CertifiedGMMClassifier(covariance_type="spherical", decision="nearest-ellipsoid", shrinkage=None, reg_covar=0)
    X = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    model.fit(np.vstack([X, X + [8.0, 0.0]]), np.repeat([0, 1], 4))  # two balls: centres 8 apart, variance 1/2
    rho = model.ellipsoid_radius_ * np.sqrt(0.5)
    Z = np.array([[-9.0, 0.0], [-1.0, 0.0], [rho + 0.5, 0.0], [0.0, 3.0], [2.0 * rho, 0.0]])
    first, second = np.linalg.norm(Z, axis=1) - rho, np.linalg.norm(Z - [8.0, 0.0], axis=1) - rho
    lead = np.where(first < 0, np.minimum(second, (second - first) / 2), (second - first) / 2)
    certificate = model.certify(Z)
    assert (certificate.prediction == 0).all() and (certificate.radius <= lead * (1 + 1e-15)).all()
    np.testing.assert_allclose(certificate.radius, lead, rtol=1e-7)
    # a ball inside another: points in both are a tie, whatever the depths
    nested = model.fit(np.vstack([X, 4 * X]), np.repeat([0, 1], 4)).certify([[0.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    assert (nested.radius == 0).all()
