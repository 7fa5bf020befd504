"""What certificates and fits cost, as ratios to what scikit-learn needs for the plain task, in one process: ``make bench``.

Process CPU time on one core, medians, warm; what the first call costs stands beside. The answers of the timed runs are
checked against a slow reference. Latents: Imagenette in EfficientNet-Lite0 (SKCERT_DATA), PCA to 512; synthetic ones of the
same shape and spectrum where they are missing.
"""

from __future__ import annotations

import os
import platform
import time
import tracemalloc
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402  (after the number of threads is set)
import sklearn  # noqa: E402
from scipy.optimize import brentq  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402

from skcert import CertifiedGMMClassifier, Certifier  # noqa: E402

DATA = Path(os.environ.get("SKCERT_DATA", "../shared/data"))


def cpu(function, repeats=5):
    """CPU seconds of the first call and the median of the following ones."""
    times = []
    for _ in range(repeats + 1):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return times[0], float(np.median(times[1:]))


def ratio(ours, theirs, repeats=7):
    """Median ratio of CPU times of two calls made in turn, so that a change of clock speed meets both."""
    pairs = []
    for _ in range(repeats):
        seconds = []
        for function in (ours, theirs):
            start = time.process_time()
            function()
            seconds.append(time.process_time() - start)
        pairs.append(seconds)
    ours_s, theirs_s = np.median(pairs, axis=0)
    return float(np.median([a / b for a, b in pairs])), float(ours_s), float(theirs_s)


def show(name, measured, limit, cold):
    value, ours, theirs = measured
    verdict = "ok" if value <= limit else "ABOVE"
    print(
        f"{name:<44}{value:8.2f}   <= {limit:<5g} {verdict:<6}{ours:9.3f} s /{theirs:8.3f} s   first call {cold:7.2f} s",
        flush=True,
    )


# -- latents ---------------------------------------------------------------------------------------------------------


def imagenette():
    """PCA-512 latents: training points, labels, 2000 test points; and where they are from."""
    folder = DATA / "imagenette"
    if not folder.exists():
        rng = np.random.default_rng(0)
        y = np.arange(9000) % 10
        spectrum = np.geomspace(3, 0.03, 512)
        turns = [np.linalg.qr(rng.standard_normal((512, 512)))[0] * spectrum * s for s in rng.uniform(0.7, 1.4, 10)]
        X = 6 * (rng.standard_normal((10, 512)) * spectrum)[y]
        for k in range(10):
            X[y == k] += rng.standard_normal((900, 512)) @ turns[k].T
        return X[:7000], y[:7000], X[7000:], "synthetic latents (no Imagenette here)"
    parts = [np.load(folder / f"imagenette_lite0_emb_{part}.npz") for part in ("train_0", "train_1", "val")]
    X = np.vstack([p["embeddings"] for p in parts[:2]]).astype(float)
    y = np.concatenate([p["labels"] for p in parts[:2]])
    pca = PCA(512, random_state=0).fit(X)
    return pca.transform(X), y, pca.transform(parts[2]["embeddings"].astype(float)[:2000]), "Imagenette, EfficientNet-Lite0"


def hard_case():
    """Nothing to prune: ten equidistant classes of one heavy-tailed spectrum, turned at random, and points near their means.

    Every rival of every point needs the exact solve (9.0 a point; 4.4 on the Imagenette latents).
    """
    rng = np.random.default_rng(0)
    K, d = 10, 512
    means = 3 * np.linalg.qr(rng.standard_normal((d, K)))[0].T
    spectrum = np.exp(rng.standard_t(2, d).clip(-4, 4))
    turns = [np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(K)]
    covariances = np.array([(q * spectrum) @ q.T for q in turns])
    covariances = (covariances + np.swapaxes(covariances, 1, 2)) / 2
    points = means[np.arange(2000) % K] + 0.01 * rng.standard_normal((2000, d))
    return CertifiedGMMClassifier.from_parameters(means, covariances), points


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
    show("affine certify / LDA.predict", ratio(lambda: certifier.certify(X), lambda: lda.predict(X)), 1.2, cold)
    certificate = certifier.certify(X[:200])
    scores = X[:200] @ model.coef_.T + model.intercept_
    i = scores.argmax(axis=1)
    expected = [
        min(
            (scores[n, i[n]] - scores[n, j]) / np.linalg.norm(model.coef_[i[n]] - model.coef_[j]) for j in range(K) if j != i[n]
        )
        for n in range(200)
    ]
    print(f"    checked on 200 points: relative difference {np.abs(certificate.radius / expected - 1).max():.1e}")
    tracemalloc.start()
    certifier.certify(X)
    print(f"    memory of a batch beyond its input: {tracemalloc.get_traced_memory()[1] / 2**20:.0f} MiB")
    tracemalloc.stop()


def pipeline():
    rng = np.random.default_rng(0)
    N, d, K = 100_000, 64, 10
    y = rng.integers(0, K, N)
    X = (rng.standard_normal((K, d))[y] + 2 * rng.standard_normal((N, d))) * np.exp(rng.standard_normal(d)) + 3
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(X[:5000], y[:5000])
    certifier = Certifier(model)
    cold, _ = cpu(lambda: certifier.certify(X), 1)
    measured = ratio(lambda: certifier.certify(X), lambda: model.predict(X), 15)
    show("pipeline certify / pipeline.predict", measured, 1.3, cold)
    certificate = certifier.certify(X)
    assert (certificate.prediction == model.predict(X)).all()
    coef = model[-1].coef_ / model[0].scale_
    scores = model.decision_function(X[:200])
    expected = []
    for row in scores:
        i = row.argmax()
        others = np.arange(K) != i
        expected.append(((row[i] - row[others]) / np.linalg.norm(coef[i] - coef[others], axis=1)).min())
    print(f"    checked on 200 points: relative difference {np.abs(certificate.radius[:200] / expected - 1).max():.1e}")


def quadratic():
    X, y, Z, source = imagenette()
    print(f"  {source}, {len(Z)} points, d={X.shape[1]}, K=10")
    qda = QuadraticDiscriminantAnalysis(reg_param=0.1).fit(X, y)
    model = CertifiedGMMClassifier(covariance_type="full").fit(X, y)
    for method, limit in (("pairwise", 1.5), ("exact", 2.5)):
        certifier = Certifier(model)
        cold, _ = cpu(lambda c=certifier, m=method: c.certify(Z, method=m), 1)
        measured = ratio(lambda c=certifier, m=method: c.certify(Z, method=m), lambda: qda.predict(Z))
        show(f"{method} certify / QDA.predict", measured, limit, cold)
    check(model, Z, certifier.certify(Z))
    print(f"    eigenbases of pairs: {certifier.nbytes / 2**20:.0f} MiB")
    many = np.tile(Z, (5, 1))
    for rows in (Z, many):
        tracemalloc.start()
        certifier.certify(rows)
        print(f"    memory of a batch of {len(rows)} beyond its input: {tracemalloc.get_traced_memory()[1] / 2**20:.0f} MiB")
        tracemalloc.stop()
    hard, Z = hard_case()
    certifier = Certifier(hard)
    cold, _ = cpu(lambda: certifier.certify(Z), 1)
    show("exact certify / QDA.predict, hard case", ratio(lambda: certifier.certify(Z), lambda: qda.predict(Z)), 3.5, cold)
    check(hard, Z, certifier.certify(Z))


def fitting():
    rng = np.random.default_rng(0)
    N, d, K = 100_000, 512, 10
    y = rng.integers(0, K, N)
    X = 0.3 * rng.standard_normal((K, d))[y] + rng.standard_normal((N, d))
    theirs = cpu(lambda: LinearDiscriminantAnalysis(solver="svd").fit(X, y), 1)[1]
    for kind in ("tied", "full"):
        cold, ours = cpu(lambda k=kind: CertifiedGMMClassifier(covariance_type=k).fit(X, y), 2)
        show(f"fit ({kind}) / LDA(svd).fit", (ours / theirs, ours, theirs), 0.2, cold)


def main() -> None:
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, scikit-learn {sklearn.__version__}, "
          f"{platform.processor() or platform.machine()}, {time.strftime('%Y-%m-%d')}; one core, CPU time")  # fmt: skip
    print(f"{'':<44}{'ratio':>8}   {'limit':<15}{'ours':>10} / {'theirs':>8}")
    with threadpool_limits(1):
        affine()
        pipeline()
        quadratic()
        fitting()


if __name__ == "__main__":
    main()
