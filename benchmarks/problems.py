"""Latents that the benchmarks share: real ones where SKCERT_DATA has them, else synthetic ones of their shape and spectrum."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.decomposition import PCA

from skcert import CertifiedGMMClassifier

DATA = Path(os.environ.get("SKCERT_DATA", "../shared/data"))


class Latents(NamedTuple):
    """Training points, their labels, 2,000 test points, and where they are from."""

    X: np.ndarray
    y: np.ndarray
    Z: np.ndarray
    source: str


def imagenette(d: int = 512) -> Latents:
    """Imagenette in EfficientNet-Lite0, behind PCA."""
    folder = DATA / "imagenette"
    if not folder.exists():
        return synthetic(d)
    parts = [np.load(folder / f"imagenette_lite0_emb_{part}.npz") for part in ("train_0", "train_1", "val")]
    X = np.vstack([p["embeddings"] for p in parts[:2]]).astype(float)
    y = np.concatenate([p["labels"] for p in parts[:2]])
    pca = PCA(d, random_state=0).fit(X)
    Z = pca.transform(parts[2]["embeddings"].astype(float)[:2000])
    return Latents(pca.transform(X), y, Z, f"Imagenette, EfficientNet-Lite0, PCA {d}")


def cifar10() -> Latents:
    """CIFAR-10 in ResNet-20."""
    path = DATA / "cifar10" / "cifar10_resnet20_emb.npz"
    if not path.exists():
        return synthetic(64)
    stored = np.load(path)
    X, y = stored["train"].astype(float), stored["train_labels"].astype(int)
    return Latents(X, y, stored["test"].astype(float)[:2000], "CIFAR-10, ResNet-20")


def synthetic(d: int) -> Latents:
    """Ten classes, each with its own axes and a spectrum over two decades."""
    rng = np.random.default_rng(0)
    y = np.arange(9000) % 10
    spectrum = np.geomspace(3, 0.03, d)
    turns = [np.linalg.qr(rng.standard_normal((d, d)))[0] * spectrum * s for s in rng.uniform(0.7, 1.4, 10)]
    X = 6 * (rng.standard_normal((10, d)) * spectrum)[y]
    for k in range(10):
        X[y == k] += rng.standard_normal((900, d)) @ turns[k].T
    return Latents(X[:7000], y[:7000], X[7000:], f"synthetic, d = {d}")


def hard_case() -> tuple[CertifiedGMMClassifier, np.ndarray]:
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


def mixture(kind: str, N: int, d: int, K: int) -> tuple[CertifiedGMMClassifier, np.ndarray]:
    """Gaussians of one spectrum over two decades, in common ("tied"), permuted or rotated axes, and points drawn from them."""
    rng = np.random.default_rng(0)
    y = rng.integers(K, size=N)
    deviations = np.geomspace(3, 0.3, d)
    means = 6 / np.sqrt(2 * d) * rng.standard_normal((K, d))  # at distances of about 6
    X, covariances = rng.standard_normal((N, d)), []
    for k in range(1 if kind == "tied" else K):
        rows = slice(None) if kind == "tied" else y == k
        if kind == "diag":
            turned = rng.permutation(deviations)
            X[rows] *= turned
            covariances.append(turned**2)
        else:
            root = np.linalg.qr(rng.standard_normal((d, d)))[0] * deviations
            X[rows] = X[rows] @ root.T
            covariances.append(root @ root.T)
    X += means[y]
    S = covariances[0] if kind == "tied" else np.array(covariances)
    return CertifiedGMMClassifier.from_parameters(means, S, covariance_type=kind), X
