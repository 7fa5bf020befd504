"""What certificates and fits cost, as ratios to what scikit-learn needs for the plain task, in one process: ``make bench``.

Process CPU time on one core, medians, warm; what the first call costs stands beside. The answers of the timed runs are
checked against a slow reference. Latents: Imagenette in EfficientNet-Lite0 (SKCERT_DATA), PCA to 512; synthetic ones of the
same shape and spectrum where they are missing. Results are written to results/ratios.csv and results/ratios.md.
"""

from __future__ import annotations

import tracemalloc

import numpy as np
from scipy.optimize import brentq
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks.measuring import MIB, cpu, ratio
from benchmarks.problems import hard_case, imagenette
from benchmarks.tables import RESULTS, write_table
from skcert import CertifiedGMMClassifier, Certifier

COLUMNS = ["task", "points", "d", "K", "ratio", "limit", "", "ours, s", "theirs, s", "first call, s"]


def row(task: str, shape: tuple[int, int, int], measured: tuple[float, float, float], limit: float, cold: float):
    value, ours, theirs = measured
    verdict = "ok" if value <= limit else "ABOVE"
    print(
        f"{task:<44}{value:8.2f}   <= {limit:<5g} {verdict:<6}{ours:9.3f} s /{theirs:8.3f} s   first call {cold:7.2f} s",
        flush=True,
    )
    numbers = [f"{value:.2f}", f"{limit:g}", verdict, f"{ours:.3f}", f"{theirs:.3f}", f"{cold:.2f}"]
    return dict(zip(COLUMNS, [task, *shape, *numbers], strict=True))


def batch_memory(certifier: Certifier, X: np.ndarray) -> None:
    tracemalloc.start()
    certifier.certify(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"    memory of a batch of {len(X)} beyond its input: {peak / MIB:.0f} MiB")


# -- the slow reference ----------------------------------------------------------------------------------------------


def reference_radius(model, z):
    """Exact radius of one point, rival by rival with a textbook root finder; written without skcert's geometry."""
    P, mu = model.precisions_, model.means_
    scores = [
        -(z - m) @ p @ (z - m) - np.linalg.slogdet(S)[1] + 2 * np.log(q)
        for m, p, S, q in zip(mu, P, model.covariances_, model.priors_, strict=True)
    ]
    i, best = int(np.argmax(scores)), np.inf
    for j in range(len(mu)):
        if j == i:
            continue
        m, g = scores[i] - scores[j], P[j] @ (z - mu[j]) - P[i] @ (z - mu[i])
        w, V = np.linalg.eigh(P[j] - P[i])
        h2 = (V.T @ g) ** 2

        def slope(t, m=m, w=w, h2=h2):
            return m - (h2 * t * (2 + t * w) / (1 + t * w) ** 2).sum()

        top = -1 / w[0] * (1 - 1e-13)
        t = brentq(slope, 0, top, xtol=1e-300, rtol=1e-15) if slope(top) < 0 else top
        best = min(best, np.sqrt(t * m - t * t * (h2 / (1 + t * w)).sum()))
    return best


def check(model, Z, certificate, n=20):
    rows = np.linspace(0, len(Z) - 1, n).astype(int)
    off = max(abs(certificate.radius[r] / reference_radius(model, Z[r]) - 1) for r in rows)
    gap = np.nanmax(certificate.attack_radius / certificate.radius - 1)
    print(
        f"    checked on {n} points: relative difference {off:.1e}; primal-dual gap with rounding, median "
        f"{np.median(certificate.attack_radius / certificate.radius - 1):.1e}, largest {gap:.1e}"
    )
    assert off < 1e-6


# -- the table -------------------------------------------------------------------------------------------------------


def affine():
    rng = np.random.default_rng(0)
    N, d, K = 100_000, 512, 100
    means = 0.3 * rng.standard_normal((K, d))
    y = rng.integers(0, K, N)
    X = means[y] + rng.standard_normal((N, d))
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(X[:20_000], y[:20_000])
    model = CertifiedGMMClassifier().fit(X, y)
    certifier = Certifier(model)
    cold, _ = cpu(lambda: certifier.certify(X), 1)
    measured = ratio(lambda: certifier.certify(X), lambda: lda.predict(X))
    yield row("affine certify / LDA.predict", (N, d, K), measured, 1.2, cold)
    certificate = certifier.certify(X[:200])
    scores = X[:200] @ model.coef_.T + model.intercept_
    i = scores.argmax(axis=1)
    expected = [
        min(
            (scores[n, i[n]] - scores[n, j]) / np.linalg.norm(model.coef_[i[n]] - model.coef_[j]) for j in range(K) if j != i[n]
        )
        for n in range(200)
    ]
    off = np.abs(certificate.radius / expected - 1).max()
    print(f"    checked on 200 points: relative difference {off:.1e}")
    assert off < 1e-6
    batch_memory(certifier, X)


def pipeline():
    rng = np.random.default_rng(0)
    N, d, K = 100_000, 64, 10
    y = rng.integers(0, K, N)
    X = (rng.standard_normal((K, d))[y] + 2 * rng.standard_normal((N, d))) * np.exp(rng.standard_normal(d)) + 3
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(X[:5000], y[:5000])
    certifier = Certifier(model)
    cold, _ = cpu(lambda: certifier.certify(X), 1)
    measured = ratio(lambda: certifier.certify(X), lambda: model.predict(X), 15)
    yield row("pipeline certify / pipeline.predict", (N, d, K), measured, 1.3, cold)
    certificate = certifier.certify(X)
    assert (certificate.prediction == model.predict(X)).all()
    coef = model[-1].coef_ / model[0].scale_
    scores = model.decision_function(X[:200])
    expected = []
    for line in scores:
        i = line.argmax()
        others = np.arange(K) != i
        expected.append(((line[i] - line[others]) / np.linalg.norm(coef[i] - coef[others], axis=1)).min())
    off = np.abs(certificate.radius[:200] / expected - 1).max()
    print(f"    checked on 200 points: relative difference {off:.1e}")
    assert off < 1e-6


def quadratic():
    X, y, Z, source = imagenette()
    print(f"  {source}")
    qda = QuadraticDiscriminantAnalysis(reg_param=0.1).fit(X, y)
    model = CertifiedGMMClassifier(covariance_type="full").fit(X, y)
    for method, limit in (("pairwise", 1.5), ("exact", 2.5)):
        certifier = Certifier(model)
        cold, _ = cpu(lambda c=certifier, m=method: c.certify(Z, method=m), 1)
        measured = ratio(lambda c=certifier, m=method: c.certify(Z, method=m), lambda: qda.predict(Z))
        yield row(f"{method} certify / QDA.predict", (*Z.shape, 10), measured, limit, cold)
    check(model, Z, certifier.certify(Z))
    print(f"    eigenbases of pairs: {certifier.nbytes / MIB:.0f} MiB")
    for rows in (Z, np.tile(Z, (5, 1))):
        batch_memory(certifier, rows)
    hard, Z = hard_case()
    certifier = Certifier(hard)
    cold, _ = cpu(lambda: certifier.certify(Z), 1)
    measured = ratio(lambda: certifier.certify(Z), lambda: qda.predict(Z))
    yield row("exact certify / QDA.predict, hard case", (*Z.shape, 10), measured, 3.5, cold)
    check(hard, Z, certifier.certify(Z))


def fitting():
    rng = np.random.default_rng(0)
    N, d, K = 100_000, 512, 10
    y = rng.integers(0, K, N)
    X = 0.3 * rng.standard_normal((K, d))[y] + rng.standard_normal((N, d))
    theirs = cpu(lambda: LinearDiscriminantAnalysis(solver="svd").fit(X, y), 1)[1]
    for kind in ("tied", "full"):
        cold, ours = cpu(lambda k=kind: CertifiedGMMClassifier(covariance_type=k).fit(X, y), 2)
        yield row(f"fit ({kind}) / LDA(svd).fit", (N, d, K), (ours / theirs, ours, theirs), 0.2, cold)


def main() -> None:
    with threadpool_limits(1):
        table = [each for part in (affine, pipeline, quadratic, fitting) for each in part()]
        heading = ["CPU time on one core beside what scikit-learn needs for the plain task: medians of warm calls in turn."]
        write_table(RESULTS / "ratios", heading, COLUMNS, table)


if __name__ == "__main__":
    main()
