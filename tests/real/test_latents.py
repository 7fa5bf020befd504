"""Real latents of real encoders (SKCERT_DATA): the numbers the documentation quotes, and soundness where it matters."""

import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcert import CertifiedGMMClassifier, certify

FILE = Path(os.environ.get("SKCERT_DATA", "../shared/data")) / "cifar10" / "cifar10_resnet20_emb.npz"
pytestmark = pytest.mark.skipif(not FILE.exists(), reason=f"needs the ResNet-20 embeddings of CIFAR-10 in {FILE}")


@pytest.fixture(scope="module")
def resnet20():
    data = np.load(FILE)
    Z = data["test"]
    radius = 0.1 * float(np.median(np.linalg.norm(Z - Z.mean(axis=0), axis=1)))
    return data["train"], data["train_labels"], Z, data["test_labels"], radius


def accuracies(model, resnet20, method="auto"):
    X, y, Z, labels, r = resnet20
    return certify(model.fit(X, y), Z, method=method).certified_accuracy(labels, [0, r])


def test_target_radius_lifts_certified_and_clean_accuracy(resnet20):
    plain = accuracies(CertifiedGMMClassifier(), resnet20)
    robust = accuracies(CertifiedGMMClassifier(target_radius=resnet20[-1]), resnet20)
    np.testing.assert_allclose(plain, [0.910, 0.728], atol=0.003)
    np.testing.assert_allclose(robust, [0.916, 0.848], atol=0.002)


def test_the_honest_company_stands_where_the_documentation_says(resnet20):
    np.testing.assert_allclose(accuracies(NearestCentroid(), resnet20), [0.916, 0.848], atol=0.002)
    logistic = accuracies(LogisticRegression(C=1e-3, max_iter=1000), resnet20)
    np.testing.assert_allclose(logistic, [0.919, 0.850], atol=0.002)


def test_the_papers_formula_reaches_45_percent_of_the_exact_radius(resnet20):
    X, y, Z, labels, r = resnet20
    model = CertifiedGMMClassifier(covariance_type="full").fit(X, y)
    exact, pairwise, paper = (model.certify(Z, method=m) for m in ("exact", "pairwise", "paper"))
    assert np.median(paper.radius / exact.radius) == pytest.approx(0.45, abs=0.02)
    assert np.median(pairwise.radius / exact.radius) == pytest.approx(0.77, abs=0.02)
    np.testing.assert_allclose([c.certified_accuracy(labels, r) for c in (paper, exact)], [0.108, 0.596], atol=0.008)


def test_attacks_on_standardised_latents_are_sharp_and_nothing_shorter_works(resnet20):
    X, y, Z, _, _ = resnet20
    for kind in ("full", "tied", "diag"):
        pipe = make_pipeline(StandardScaler(), CertifiedGMMClassifier(covariance_type=kind)).fit(X.astype(float), y)
        points = Z[:300].astype(float)
        certificate = certify(pipe, points, return_attack=True)
        assert (certificate.attack_radius <= certificate.radius * (1 + 1e-6)).mean() > 0.99
        assert (pipe.predict(certificate.attack) != certificate.prediction).all()
        u = (certificate.attack - points) / certificate.attack_radius[:, None]
        inside = points + u * certificate.radius[:, None] * (1 - 1e-9)
        assert (pipe.predict(inside) == certificate.prediction).all()


def test_other_norms_of_curved_boundaries_come_closer_than_the_plain_bounds(resnet20):
    X, y, Z, _, _ = resnet20
    scaler = StandardScaler().fit(X.astype(float))
    model = CertifiedGMMClassifier(covariance_type="full").fit(scaler.transform(X.astype(float)), y)
    points = scaler.transform(Z[:200].astype(float))
    euclidean = model.certify(points).radius
    for norm, share, inside in ((np.inf, 0.97, 8.0), (1, 0.98, 1.0)):
        found, plain = (model.certify(points, norm=norm, method=method) for method in ("exact", "pairwise"))
        assert np.median(found.radius / found.attack_radius) > share
        assert (found.radius >= np.maximum(plain.radius, euclidean / inside) * (1 - 1e-9)).all()
        assert np.median(np.maximum(plain.radius, euclidean / inside) / found.attack_radius) < 0.8
