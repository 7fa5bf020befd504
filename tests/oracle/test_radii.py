"""Radii against 50- and 60-digit arithmetic: never above, and within 1e-8 below."""

import json
import math
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcert import CertifiedGMMClassifier, certify
from tests.reference import Mixture, matrix

CASES = json.loads((Path(__file__).parent / "radii.json").read_text())["cases"]


def below(radius, exact):
    """At most ``exact`` rounded up once, and at least 1 - 1e-8 of it; infinities and zeros exactly."""
    if not math.isfinite(exact) or exact == 0:
        return radius == exact
    return exact * (1 - 1e-8) <= radius <= exact * (1 + 2**-52)


@pytest.mark.parametrize("method", ["exact", "pairwise", "paper"])
@pytest.mark.parametrize("case", CASES, ids=[f"{n}-{c['kind']}" for n, c in enumerate(CASES)])
def test_a_radius_is_the_golden_one_from_below(case, method):
    model = CertifiedGMMClassifier.from_parameters(case["means"], case["covariances"], case["priors"])
    certificate = model.certify([case["z"]], method=method)
    assert certificate.prediction[0] == case["predicted"]
    exact = float(case[f"radius_{method}"])
    assert below(certificate.radius[0], exact), (certificate.radius[0], exact)
    if method == "exact" and 0 < exact < math.inf:
        assert exact <= certificate.attack_radius[0] <= exact * (1 + 1e-6)


@pytest.mark.parametrize("case", [c for c in CASES if c["kind"] == "tied"], ids=lambda c: f"d{len(c['z'])}")
def test_the_affine_path_gives_the_golden_radius_of_a_shared_covariance(case):
    model = CertifiedGMMClassifier.from_parameters(case["means"], case["covariances"][0], case["priors"])
    assert model.covariance_type == "tied"
    certificate = model.certify([case["z"]])
    assert below(certificate.radius[0], float(case["radius_exact"]))
    assert certificate.radius[0] <= certificate.attack_radius[0] <= certificate.radius[0] * (1 + 1e-6)


@pytest.mark.parametrize("case", [c for c in CASES if c["kind"] in ("diag", "spherical")], ids=lambda c: c["kind"])
def test_the_diagonal_path_gives_the_golden_radius_too(case):
    variances = np.array([np.diag(S) for S in case["covariances"]])
    if case["kind"] == "spherical":
        variances = variances[:, 0]
    model = CertifiedGMMClassifier.from_parameters(case["means"], variances, case["priors"])
    assert model.covariance_type == case["kind"] or variances.shape[0] == variances.shape[-1]
    for method in ("exact", "pairwise", "paper"):
        assert below(model.certify([case["z"]], method=method).radius[0], float(case[f"radius_{method}"]))


def random_mixture(rng, K, d, condition):
    covariances = []
    for _ in range(K):
        q = np.linalg.qr(rng.standard_normal((d, d)))[0]
        S = (q * np.geomspace(1, condition, d)) @ q.T * rng.lognormal()
        covariances.append((S + S.T) / 2)
    return rng.standard_normal((K, d)) * 2, np.array(covariances), rng.dirichlet(np.ones(K) * 3)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("condition, loss", [(1.5, 1e-10), (1e2, 1e-8), (1e5, 1e-5), (1e9, 1)])
def test_random_mixtures_agree_with_60_digits_and_certify_less_when_ill_conditioned(seed, condition, loss):
    rng = np.random.default_rng([seed, int(condition)])
    K, d = int(rng.integers(2, 5)), int(rng.integers(1, 7))
    means, covariances, priors = random_mixture(rng, K, d, condition)
    exact = Mixture(means, covariances, priors)
    model = CertifiedGMMClassifier.from_parameters(means, covariances, priors)
    Z = rng.standard_normal((3, d)) * 3
    certificate = model.certify(Z)
    for z, radius, attack in zip(Z, certificate.radius, certificate.attack_radius, strict=True):
        truth = exact.radius(z)
        assert radius <= truth
        assert radius >= truth * (1 - mp.mpf(loss))
        assert attack >= truth


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("condition, loss", [(1e2, 1e-8), (1e6, 1e-4), (1e9, 1)])
def test_shared_covariances_of_any_condition_stay_below_60_digits(seed, condition, loss):
    rng = np.random.default_rng([seed, int(condition), 7])
    means, covariances, priors = random_mixture(rng, 3, int(rng.integers(2, 6)), condition)
    exact = Mixture(means, [covariances[0]] * 3, priors)
    model = CertifiedGMMClassifier.from_parameters(means, covariances[0], priors, covariance_type="tied")
    Z = rng.standard_normal((3, means.shape[1])) * 3
    for z, radius, attack in zip(Z, *(getattr(model.certify(Z), name) for name in ("radius", "attack_radius")), strict=True):
        truth = exact.radius(z)
        assert truth * (1 - mp.mpf(loss)) <= radius <= truth <= attack


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("covariance_type", ["full", "diag", "tied"])
def test_radii_in_input_space_are_the_exact_ones_through_scaler_and_pca(seed, whiten, covariance_type):
    rng = np.random.default_rng(seed)
    d_in, d = 5, int(rng.integers(1, 5))
    X = (
        rng.standard_normal((90, d_in)) @ rng.standard_normal((d_in, d_in))
        + rng.standard_normal((3, d_in))[np.arange(90) % 3] * 2
    )
    model = make_pipeline(StandardScaler(), PCA(d, whiten=whiten), CertifiedGMMClassifier(covariance_type=covariance_type))
    model.fit(X, np.arange(90) % 3)
    scaler, pca, gmm = model[0], model[1], model[2]
    means, S = gmm.means_, gmm.covariances_
    covariances = {"full": lambda: S, "diag": lambda: [np.diag(v) for v in S], "tied": lambda: [S] * 3}[covariance_type]()
    exact = Mixture(means, covariances, gmm.priors_)
    # the map of the pipeline, in 60 digits from its fitted attributes
    scale = mp.diag([1 / mp.mpf(float(s)) for s in scaler.scale_])
    A = matrix(pca.components_) * scale
    if whiten:
        A = mp.diag([1 / mp.sqrt(mp.mpf(float(v))) for v in pca.explained_variance_]) * A
    components, shift = matrix(pca.components_), mp.matrix([mp.mpf(float(x)) for x in pca.mean_])
    points = X[:4]
    certificate = certify(model, points)
    for x, radius in zip(points, certificate.radius, strict=True):
        scaled = scale * mp.matrix([mp.mpf(float(a)) - mp.mpf(float(b)) for a, b in zip(x, scaler.mean_, strict=True)])
        z = components * (scaled - shift)
        if whiten:
            z = mp.matrix([v / mp.sqrt(mp.mpf(float(e))) for v, e in zip(z, pca.explained_variance_, strict=True)])
        truth = exact.radius(z, A)
        assert truth * (1 - mp.mpf("1e-8")) <= radius <= truth
