"""Votes under noise on CIFAR-10, by encoder, head and sigma: ``python -m benchmarks.smoothing.table``.

ResNet-20 as it was trained, and trained under the same noise (benchmarks/smoothing/train.py); l2, pixels in [0, 1]; the first
test images. For each image and sigma the latents of ``--select`` and ``--votes`` noisy copies are computed once, and every head
votes on them: the encoder's own, a mixture and a LogisticRegression, fitted on latents of training images without noise or with
it. Votes are turned into radii by skcert.smoothing.bounds, as RandomizedSmoothingClassifier does, at alpha 0.001. The mean of
the same latents is the smoothed embedding of the image: a mixture and a LogisticRegression fitted on such means are certified
by their own exact radius, less what the mean may be off, over the constant of the mean, as with PretrainedEmbedder(smoothing=),
at the same alpha. Results are written to table.csv and table.md beside this file, row by row; rows of other runs (--sigmas,
--encoders) are kept.

Data: SKCERT_DATA/cifar10 (or --data) with cifar10_test.npz, cifar10_train_0.npz and resnet20-12fca82f.th.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.lipschitz.resnet import imagenet_scaled, load_resnet
from benchmarks.lipschitz.table import images, linear_rule
from benchmarks.smoothing.train import load_noisy
from benchmarks.tables import write_table
from skcert import CertifiedGMMClassifier, PretrainedEmbedder, certify
from skcert.embedding.noise import NoisyLatents, NoisyRows, constant_of_mean, error_of_mean
from skcert.smoothing.bounds import certified_radius, clopper_pearson

DATA = Path(os.environ.get("SKCERT_DATA", "../shared/data")) / "cifar10"
SIGMAS = (0.12, 0.25, 0.5)
ENCODERS = ("clean", "noisy")
RADII = (0.25, 0.5, 1.0)
ALPHA = 0.001
PACKAGES = ("numpy", "scikit-learn", "torch")
#: noisy passes together: on a CPU more is slower
BATCH = 64
COLUMNS = [
    "encoder",
    "head",
    "fitted on",
    "sigma",
    "images",
    "passes",
    "clean",
    *(f"certified@{r:g}" for r in RADII),
    "s / image",
]
#: certified accuracy at RADII that Cohen et al. (2019, table 1) print for CIFAR-10: ResNet-110, the best sigma for each radius
COHEN = ("60", "43", "23")


def embedder_of(encoder, **noise) -> PretrainedEmbedder:
    return PretrainedEmbedder(encoder, preprocess=imagenet_scaled, batch_size=BATCH, random_state=0, progress=False, **noise)


def logistic() -> LogisticRegression:
    return LogisticRegression(C=1e-2, max_iter=5000)


def heads(encoder, train: np.ndarray, labels: np.ndarray, sigma: float) -> dict[tuple[str, str], object]:
    """Fitted classifiers of latents, by their name and by what they were fitted on."""
    found: dict[tuple[str, str], object] = {
        ("own", ""): linear_rule(encoder.linear.weight.detach().numpy(), encoder.linear.bias.detach().numpy())
    }
    for fitted_on, noise in (("clean latents", None), ("noisy latents", sigma)):
        latents = embedder_of(encoder, noise_augment=noise).fit_transform(train)
        found["mixture", fitted_on] = CertifiedGMMClassifier().fit(latents, labels)
        found["logistic", fitted_on] = logistic().fit(latents, labels)
    return found


def by_votes(model, latents: np.ndarray, y: np.ndarray, sigma: float, select: int) -> tuple[float, np.ndarray]:
    """Accuracy of the selected classes, and the radius of each image, -1 where the answer is wrong (theory 2.4)."""
    codes = model.predict(latents.reshape(-1, latents.shape[2]).astype(float)).reshape(latents.shape[:2])
    winner = (codes[:, :select, None] == np.arange(10)).sum(axis=1).argmax(axis=1)
    votes = (codes[:, select:] == winner[:, None]).sum(axis=1)
    radius = certified_radius(clopper_pearson(votes, codes.shape[1] - select, ALPHA), sigma)
    return (winner == y).mean(), np.where(winner == y, radius, -1.0)


def by_means(model, noisy: NoisyLatents, y: np.ndarray) -> tuple[float, np.ndarray]:
    """The same of a rule on smoothed embeddings (theory 2.5)."""
    rows = np.arange(len(y))
    means = noisy.means(rows)
    lost = np.full(len(y), error_of_mean(noisy.bound, noisy.n_samples, ALPHA))
    if isinstance(model, LogisticRegression):  # only what is lost along normals matters
        first, second = np.nonzero(~np.eye(10, dtype=bool))
        normals = model.coef_[first] - model.coef_[second]
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        lost = noisy.errors_along(rows, means, normals, ALPHA)
    certificate = certify(model, means)
    radius = (certificate.radius - lost) / constant_of_mean(noisy.bound, noisy.sigma)
    right = certificate.prediction == y
    return right.mean(), np.where(right, radius, -1.0)


def rows(name: str, sigma: float, X: np.ndarray, y: np.ndarray, options) -> list[dict[str, object]]:
    """One row of the table for each head."""
    encoder = load_resnet(options.data / "resnet20-12fca82f.th", 3) if name == "clean" else load_noisy(sigma)
    train, labels = images(options.data / "cifar10_train_0.npz")
    copies = options.select + options.votes
    start = time.perf_counter()
    noisy = NoisyRows(X, sigma, 0, copies)
    latents = embedder_of(encoder).fit(X[:1])._embed(noisy).numpy().reshape(len(X), copies, -1)
    seconds = (time.perf_counter() - start) / len(X)

    measured = {
        head: by_votes(model, latents, y, sigma, options.select) for head, model in heads(encoder, train, labels, sigma).items()
    }
    smoothing = embedder_of(encoder, smoothing=sigma, n_samples=8)
    trained_on = smoothing.fit_transform(train)
    center, bound = smoothing.center_, smoothing.norm_bound_
    means = NoisyLatents(lambda part: latents[part.rows], sigma, copies, 0, center, bound)
    target = RADII[0] * constant_of_mean(bound, sigma)
    for head, model in (("mixture", CertifiedGMMClassifier(target_radius=target)), ("logistic", logistic())):
        measured[head, "smoothed latents"] = by_means(model.fit(trained_on, labels), means, y)

    table = []
    for (head, fitted_on), (clean, radius) in measured.items():
        shares = [f"{100 * share:.1f}" for share in (clean, *((radius >= r).mean() for r in RADII))]
        cells = [name, head, fitted_on, sigma, len(X), copies, *shares, f"{seconds:.2f}"]
        table.append(dict(zip(COLUMNS, cells, strict=True)))
        print(table[-1], flush=True)
    return table


def write(found: list[dict[str, object]], out: Path, options) -> None:
    """The rows of this run in place of earlier ones for the same encoder and sigma."""
    done = {(str(each["encoder"]), str(each["sigma"])) for each in found}
    kept: list[dict[str, object]] = []
    if out.with_suffix(".csv").exists():
        with out.with_suffix(".csv").open() as file:
            kept = [dict(each) for each in csv.DictReader(file) if (each["encoder"], each["sigma"]) not in done]
    order = {name: place for place, name in enumerate(ENCODERS)}
    table = sorted([*kept, *found], key=lambda each: (float(str(each["sigma"])), order[str(each["encoder"])]))
    heading = [
        f"Certified accuracy in % of the first {options.images} test images of CIFAR-10 at l2 radii (pixels in [0, 1]) by",
        f"{options.votes:,} votes for each and {options.select} to pick the class, or the mean of all as smoothed latents;",
        f"alpha {ALPHA:g}. Cohen et al. (2019) print {' / '.join(COHEN)} at {' / '.join(f'{r:g}' for r in RADII)}:",
        "a ResNet-110 trained under the noise, 100,000 votes, the best sigma for each radius.",
    ]
    write_table(out, heading, COLUMNS, table, PACKAGES)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Votes under noise on CIFAR-10, by encoder, head and sigma.")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--select", type=int, default=100)
    parser.add_argument("--votes", type=int, default=1000)
    parser.add_argument("--sigmas", nargs="+", type=float, default=SIGMAS)
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=ENCODERS)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("table"), help="results, without suffix")
    options = parser.parse_args(arguments)
    X, y = images(options.data / "cifar10_test.npz", options.images)
    for sigma in options.sigmas:
        for name in options.encoders:
            write(rows(name, sigma, X, y, options), options.out, options)


if __name__ == "__main__":
    main()
