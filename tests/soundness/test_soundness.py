"""No point inside the radius changes the class: worst direction first, then random and gradient ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skcert import CertifiedGMMClassifier, Certifier
from tests.reference import Mixture, mp

SETTINGS = settings(max_examples=60, deadline=None)


@st.composite
def mixtures(draw, covariance_types=("full", "diag", "spherical", "tied"), max_d=5):
    """A fitted classifier and a random generator; scales from 1e-6 to 1e6, spectra from equal to heavy-tailed."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    K, d = draw(st.integers(2, 4)), draw(st.integers(1, max_d))
    kind = draw(st.sampled_from(covariance_types))
    scale = draw(st.sampled_from([1e-6, 1e-2, 1.0, 1e6]))
    spread = draw(st.sampled_from([1.0, 3.0, 100.0]))
    variances = scale**2 * np.exp(rng.uniform(-np.log(spread), np.log(spread), (K, d)))
    means = scale * rng.standard_normal((K, d)) * draw(st.sampled_from([0.0, 0.5, 3.0]))
    if draw(st.booleans()) and K > 2:
        means[1] = means[0]
    if kind in ("full", "tied"):
        q = np.linalg.qr(rng.standard_normal((K, d, d)))[0]
        covariances = (q * variances[:, None, :]) @ np.swapaxes(q, 1, 2)
        covariances = (covariances + np.swapaxes(covariances, 1, 2)) / 2
        covariances = covariances[0] if kind == "tied" else covariances
    else:
        covariances = variances if kind == "diag" else variances[:, 0]
    priors = rng.dirichlet(np.full(K, draw(st.sampled_from([0.3, 3.0]))))
    priors = np.maximum(priors, 1e-12)
    model = CertifiedGMMClassifier.from_parameters(means, covariances, priors / priors.sum(), covariance_type=kind)
    Z = scale * rng.standard_normal((6, d)) * draw(st.sampled_from([0.1, 2.0, 30.0])) + means[rng.integers(0, K, 6)]
    return model, Z, rng


def exact_mixture(model):
    K, d = model.means_.shape
    S = model.covariances_
    covariances = {
        "full": lambda: S,
        "tied": lambda: [S] * K,
        "diag": lambda: [np.diag(v) for v in S],
        "spherical": lambda: [v * np.eye(d) for v in S],
    }[model.covariance_type]()
    return Mixture(model.means_, covariances, model.priors_)


@SETTINGS
@given(mixtures(max_d=3))
def test_a_radius_never_exceeds_the_exact_distance(drawn):
    model, Z, _ = drawn
    exact = exact_mixture(model)
    for method in ("exact", "pairwise", "paper"):
        certificate = model.certify(Z[:2], method=method)
        for z, radius in zip(Z[:2], certificate.radius, strict=True):
            scores = sorted(exact.scores(z))
            if scores[-1] - scores[-2] > mp.mpf(10) ** -40:
                assert radius <= exact.radius(z)
            else:
                assert radius == 0


@SETTINGS
@given(mixtures(), st.sampled_from([2, 1, np.inf]))
def test_no_direction_inside_the_radius_changes_predict(drawn, norm):
    model, Z, rng = drawn
    certificate = model.certify(Z, norm=norm, return_attack=True)
    for n in np.flatnonzero((certificate.radius > 0) & np.isfinite(certificate.radius)):
        directions = [rng.standard_normal(Z.shape[1]) for _ in range(40)]
        directions += [mean - Z[n] for mean in model.means_]
        if np.isfinite(certificate.attack[n]).all():
            directions.insert(0, certificate.attack[n] - Z[n])
        u = np.array([v / np.linalg.norm(v, ord=norm) for v in directions if np.any(v)])
        for fraction in (1 - 1e-12, 0.999, 0.6):
            moved = Z[n] + fraction * certificate.radius[n] * u
            # a step that rounds to beyond the radius proves nothing
            inside = np.linalg.norm(moved - Z[n], ord=norm, axis=1) < certificate.radius[n]
            assert (model.predict(moved[inside]) == certificate.prediction[n]).all()


@SETTINGS
@given(mixtures())
def test_the_methods_are_ordered_paper_pairwise_exact_attack(drawn):
    model, Z, _ = drawn
    paper, pairwise, exact = (model.certify(Z, method=m) for m in ("paper", "pairwise", "exact"))
    slack = 1 + 1e-7  # each subtracts its own rounding errors, so the order holds up to those
    assert (paper.radius <= pairwise.radius * slack).all()
    assert (pairwise.radius <= exact.radius * slack).all()
    for certificate in (paper, pairwise, exact):
        assert (exact.radius <= certificate.attack_radius).all()
        assert not np.isnan(certificate.radius).any() and (certificate.radius >= 0).all()


@SETTINGS
@given(mixtures())
def test_an_exact_radius_has_an_attack_that_changes_predict_within_1e_6(drawn):
    model, Z, _ = drawn
    plain = model.certify(Z)
    certificate = model.certify(Z, return_attack=True)
    # below this the float64 scores themselves are blurred, and the certificate gives up more than 1e-6
    sharp = np.isfinite(plain.radius) & (plain.attack_radius < plain.radius * (1 + 1e-6))
    for n in np.flatnonzero(sharp):
        assert model.predict(certificate.attack[n : n + 1])[0] != certificate.prediction[n]
        assert certificate.attack_radius[n] <= certificate.radius[n] * (1 + 2e-6) + 1e-15 * np.abs(Z[n]).max()


def test_most_attacks_are_sharp():
    """The guard of the test above: on ordinary mixtures every attack is within 1e-6."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        A = rng.standard_normal((3, 4, 4))
        model = CertifiedGMMClassifier.from_parameters(rng.standard_normal((3, 4)), A @ np.swapaxes(A, 1, 2) + 0.1 * np.eye(4))
        certificate = model.certify(rng.standard_normal((50, 4)), return_attack=True)
        finite = np.isfinite(certificate.radius)
        assert (certificate.attack_radius[finite] <= certificate.radius[finite] * (1 + 1e-6)).mean() > 0.99


@pytest.mark.parametrize("covariance_type", ["tied", "full", "diag"])
def test_the_nearest_ellipsoid_rule_keeps_its_class_inside_the_radius(covariance_type):
    rng = np.random.default_rng(1)
    y = np.arange(120) % 3
    X = rng.standard_normal((120, 3)) * [1, 2, 0.5] + 6 * rng.standard_normal((3, 3))[y]
    model = CertifiedGMMClassifier(covariance_type=covariance_type, decision="nearest-ellipsoid").fit(X, y)
    Z = rng.standard_normal((200, 3)) * 8
    certificate = Certifier(model).certify(np.vstack([X, Z]))
    points = np.vstack([X, Z])
    assert (certificate.radius > 0).mean() > 0.8
    for _ in range(200):
        u = rng.standard_normal(points.shape)
        u *= (certificate.radius * (1 - 1e-9) / np.linalg.norm(u, axis=1))[:, None]
        assert (model.predict(points + u) == certificate.prediction).all()
    # straight at the rivals
    for mean in model.means_:
        u = mean - points
        u *= (certificate.radius * (1 - 1e-9) / np.linalg.norm(u, axis=1))[:, None]
        assert (model.predict(points + u) == certificate.prediction).all()
