"""Votes until a radius is known, beside 100,000 votes for everything: ``python -m benchmarks.smoothing.anytime``.

RandomizedSmoothingClassifier with stopping="anytime" and a target radius, and with stopping="fixed", at the same alpha: the
share of points that each predicts rightly and certifies at the target, and the votes they took. On a mixture of Gaussians, and
on the first test images of CIFAR-10 with ResNet-20 as it was trained and trained under the noise, each with its own head.

100,000 votes for an image take two minutes and a half on one core. With a fixed number of votes only the sum counts, so the
count may end early where its outcome cannot change but with a chance below 1e-6 (beta-binomial, after 1,000, 5,000 and 25,000
votes); the other images are given all 100,000. "fixed" is charged 100,000 passes for every point.

Results are written to anytime.csv and anytime.md beside this file, row by row; rows of other runs (--cases) are kept.
Data: as benchmarks/smoothing/table.py.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
from scipy.stats import betabinom
from sklearn.pipeline import make_pipeline

from benchmarks.lipschitz.resnet import load_resnet
from benchmarks.lipschitz.table import images, linear_rule
from benchmarks.smoothing.table import ALPHA, DATA, PACKAGES, embedder_of
from benchmarks.smoothing.train import load_noisy
from benchmarks.tables import write_table
from skcert import CertifiedGMMClassifier, RandomizedSmoothingClassifier, certify
from skcert.smoothing.bounds import certified_radius, clopper_pearson

N = 100_000
#: votes after which the fixed procedure is looked at, and the chance of the other outcome at which it may end
LOOKS, CHANCE = (1_000, 5_000, 25_000), 1e-6
COLUMNS = [
    "case",
    "sigma",
    "radius",
    "points",
    "fixed: certified",
    "fixed: passes",
    "anytime: certified",
    "anytime: passes",
    "times fewer",
    "times fewer, median",
    "s / point",
]


def mixture(options) -> tuple[object, np.ndarray, np.ndarray, bool]:
    """Ten classes in 32 dimensions; all of it is drawn from the law of the scores, so nothing needs to end early."""
    rng = np.random.default_rng(0)
    means, n = 0.45 * rng.standard_normal((10, 32)), options.points + 10_000
    y = rng.integers(10, size=n)
    X = means[y] + rng.standard_normal((n, 32))
    X, held_out = X[options.points :], X[: options.points]
    return CertifiedGMMClassifier().fit(X, y[options.points :]), held_out, y[: options.points], False


def resnet(encoder, options) -> tuple[object, np.ndarray, np.ndarray, bool]:
    X, y = images(options.data / "cifar10_test.npz", options.images)
    embedder = embedder_of(encoder).fit(X[:1])
    head = linear_rule(encoder.linear.weight.detach().numpy(), encoder.linear.bias.detach().numpy())
    return make_pipeline(embedder, head), X, y, True


#: by name: what is classified, sigma, target radius
CASES = {
    "mixture, d=32, K=10": (mixture, 0.5, 0.25),
    "ResNet-20": (lambda options: resnet(load_resnet(options.data / "resnet20-12fca82f.th", 3), options), 0.12, 0.1),
    "ResNet-20 trained under noise": (lambda options: resnet(load_noisy(0.25), options), 0.25, 0.25),
}


def fixed(model, X: np.ndarray, sigma: float, radius: float, early: bool) -> tuple[np.ndarray, np.ndarray]:
    """Predictions, and whether 100,000 votes certify the radius."""
    enough = certified_radius(clopper_pearson(np.arange(N + 1), N, ALPHA), sigma) >= radius
    need = int(enough.argmax())
    prediction, known = np.empty(len(X), dtype=int), np.zeros(len(X), dtype=bool)
    waiting = np.arange(len(X))
    for n in (*(LOOKS if early else ()), N):
        smoothed = RandomizedSmoothingClassifier(model, sigma=sigma, n_certify=n, alpha=ALPHA, random_state=0)
        counted = smoothed.votes(X[waiting])
        votes = counted.votes
        claims = votes >= need if n == N else betabinom.sf(need - 1, N, votes + 0.5, n - votes + 0.5)
        prediction[waiting], known[waiting] = counted.winner, np.asarray(claims) > 0.5
        waiting = waiting[np.minimum(claims, 1 - claims) >= CHANCE] if n < N else waiting[:0]
        print(f"  fixed: {n} votes, {len(waiting)} points left", flush=True)
    return prediction, known


def row(name: str, options) -> dict[str, object]:
    make, sigma, radius = CASES[name]
    model, X, y, early = make(options)
    smoothed = RandomizedSmoothingClassifier(
        model, sigma=sigma, n_certify=N, alpha=ALPHA, stopping="anytime", target_radius=radius, random_state=0
    )
    start = time.perf_counter()
    certificate = certify(smoothed, X)
    seconds = (time.perf_counter() - start) / len(X)
    passes = certificate.n_passes
    print(f"  anytime: {passes.mean():.0f} passes", flush=True)
    shares = [((certificate.prediction == y) & (certificate.radius >= radius)).mean()]
    prediction, known = fixed(model, X, sigma, radius, early)
    shares.insert(0, ((prediction == y) & known).mean())
    every = N + smoothed.n_select
    cells = [
        name,
        sigma,
        radius,
        len(X),
        f"{100 * shares[0]:.1f}",
        every,
        f"{100 * shares[1]:.1f}",
        f"{passes.mean():.0f}",
        f"{every / passes.mean():.1f}",
        f"{every / np.median(passes):.0f}",
        f"{seconds:.4f}",
    ]
    return dict(zip(COLUMNS, cells, strict=True))


def write(found: dict[str, object], out: Path) -> None:
    """This row in place of an earlier one of the same case."""
    table = {found["case"]: found}
    if out.with_suffix(".csv").exists():
        with out.with_suffix(".csv").open() as file:
            table = {each["case"]: dict(each) for each in csv.DictReader(file)} | table
    rows = [table[name] for name in CASES if name in table]
    heading = [
        f"Certified accuracy in % at one l2 radius, and passes per point, at alpha {ALPHA:g}: {N:,} votes for every point, and",
        "votes until the radius is known. Times fewer: by the mean of the passes, and by their median.",
    ]
    write_table(out, heading, COLUMNS, rows, PACKAGES)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Votes until a radius is known, beside a fixed number of them.")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--points", type=int, default=2000, help="of the mixture")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("anytime"), help="results, without suffix")
    options = parser.parse_args(arguments)
    for name in options.cases:
        found = row(name, options)
        print(found, flush=True)
        write(found, options.out)


if __name__ == "__main__":
    main()
