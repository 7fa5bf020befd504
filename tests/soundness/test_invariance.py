"""What may not matter does not: rotation, translation, scale, order and names of classes, batches, dtype."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skcert import CertifiedGMMClassifier, Certifier

make = CertifiedGMMClassifier.from_parameters


@st.composite
def problems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    K, d = draw(st.integers(2, 4)), draw(st.integers(2, 5))
    A = rng.standard_normal((K, d, d))
    covariances = A @ np.swapaxes(A, 1, 2) + 0.2 * np.eye(d)
    return rng, 2 * rng.standard_normal((K, d)), covariances, rng.dirichlet(np.ones(K) * 4), 3 * rng.standard_normal((8, d))


def same(a, b, rtol=1e-6):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(problems(), st.sampled_from(["exact", "pairwise", "paper"]))
def test_rigid_motions_and_scales_of_the_space_carry_over(problem, method):
    rng, means, S, priors, Z = problem
    d = means.shape[1]
    reference = make(means, S, priors).certify(Z, method=method)
    q = np.linalg.qr(rng.standard_normal((d, d)))[0]
    turned = q @ S @ q.T
    turned = (turned + np.swapaxes(turned, 1, 2)) / 2
    same(make(means @ q.T, turned, priors).certify(Z @ q.T, method=method).radius, reference.radius)
    shift = 10 * rng.standard_normal(d)
    same(make(means + shift, S, priors).certify(Z + shift, method=method).radius, reference.radius)
    for scale in (1e-6, 1e6):
        scaled = make(means * scale, S * scale**2, priors).certify(Z * scale, method=method)
        np.testing.assert_allclose(scaled.radius / scale, reference.radius, rtol=1e-6, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(problems())
def test_order_and_names_of_classes_do_not_matter(problem):
    rng, means, S, priors, Z = problem
    K = len(means)
    reference = make(means, S, priors).certify(Z)
    order = rng.permutation(K)
    names = np.array(["d", "b", "a", "c"])[:K]
    permuted = make(means[order], S[order], priors[order], classes=names[order]).certify(Z)
    same(permuted.radius, reference.radius, 1e-9)
    assert (permuted.prediction == names[reference.prediction]).all()
    assert (permuted.runner_up == names[reference.runner_up]).all()


@pytest.mark.parametrize("covariance_type", ["tied", "full", "diag"])
@pytest.mark.parametrize("method", ["exact", "pairwise", "paper"])
def test_a_certificate_does_not_depend_on_the_batch(covariance_type, method):
    rng = np.random.default_rng(0)
    y = np.arange(200) % 4
    X = rng.standard_normal((200, 6)) + 2 * rng.standard_normal((4, 6))[y]
    model = CertifiedGMMClassifier(covariance_type=covariance_type).fit(X, y)
    whole = model.certify(X, method=method)
    order = rng.permutation(200)
    same(model.certify(X[order], method=method).radius, whole.radius[order], 1e-9)
    single = [model.certify(X[n : n + 1], method=method).radius[0] for n in range(20)]
    same(single, whole.radius[:20], 1e-9)
    half = Certifier(model)
    same(np.append(half.certify(X[:77], method=method).radius, half.certify(X[77:], method=method).radius), whole.radius, 1e-9)


@pytest.mark.parametrize("covariance_type", ["tied", "full"])
def test_float32_points_are_certified_as_the_float64_points_they_are(covariance_type):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 5)).astype(np.float32)
    y = np.arange(60) % 3
    X[y == 1] += 1
    model = CertifiedGMMClassifier(covariance_type=covariance_type).fit(X, y)
    again = CertifiedGMMClassifier(covariance_type=covariance_type).fit(X.astype(float), y)
    np.testing.assert_array_equal(model.means_, again.means_)
    np.testing.assert_array_equal(model.certify(X).radius, again.certify(X.astype(float)).radius)


@pytest.mark.parametrize("covariance_type", ["tied", "full"])
def test_a_feature_scale_is_the_same_as_measuring_in_its_units(covariance_type):
    rng = np.random.default_rng(3)
    y = np.arange(150) % 3
    X = rng.standard_normal((150, 4)) + 2 * rng.standard_normal((3, 4))[y]
    scale = np.array([0.1, 1.0, 3.0, 20.0])
    model = CertifiedGMMClassifier(covariance_type=covariance_type, shrinkage=None).fit(X, y)
    S = model.covariances_ / np.multiply.outer(scale, scale)
    other = make(model.means_ / scale, S, model.priors_)
    for norm in (1, 2, np.inf) if covariance_type == "tied" else (2,):
        same(model.certify(X, feature_scale=scale, norm=norm).radius, other.certify(X / scale, norm=norm).radius)


def test_immovable_features_restrict_the_problem_to_the_others():
    rng = np.random.default_rng(4)
    A = rng.standard_normal((3, 4, 4))
    model = make(2 * rng.standard_normal((3, 4)), A @ np.swapaxes(A, 1, 2) + np.eye(4))
    Z = rng.standard_normal((20, 4))
    certificate = model.certify(Z, feature_scale=[1, 0, 1, 0], return_attack=True)
    plain = model.certify(Z)
    finite = np.isfinite(certificate.radius)
    assert finite.any() and (certificate.radius >= plain.radius * (1 - 1e-9)).all()
    moved = certificate.attack[finite] - Z[finite]
    assert (moved[:, [1, 3]] == 0).all() and (moved[:, [0, 2]] != 0).any()
    assert np.isinf(model.certify(Z, feature_scale=np.zeros(4)).radius).all()
