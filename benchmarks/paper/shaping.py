"""Shaped latents beside all else: certified accuracy at a tenth of the scale, in the units of the encoder's latents.

``python -m benchmarks.paper.shaping`` resplits the points three times, and judges all rules on the same ones:

- sentences, which the encoder has not seen: all points are pooled and split at random, as many to train on as published;
- Imagenette and CIFAR-10, whose encoders have seen the training points and lay them further apart than new ones: a random 90 %
  of the training points to train on, and a random half of the test points to judge by.

C of LogisticRegression and LinearSVC is chosen by certified accuracy at the same radius on a random fifth of the training
points (CIFAR-10 and Imagenette: on the other half of the test points, which favours them), and the rule is then fitted on
all training points. Mixtures and networks run with their defaults (chosen by ``tried``). It writes
``shaping_runs.csv`` (a row for every rule and split), ``shaping.csv`` (mean and standard deviation over splits),
``shaping_gains.csv`` (ours less the best other) and the picture. On one core: an hour and a half.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.svm import LinearSVC

from benchmarks.paper import COLOURS, RESULTS, read_csv, save, write_csv
from benchmarks.paper.latents import Latents, imagenette, minilm, resnet
from skcert import Affine, CertifiedGMMClassifier, CertifiedMarginClassifier, LatentShaper, certify

#: the radius in units of the scale of the training points, their median distance from their mean
RADIUS = 0.1
SPLITS = 3
#: C of linear rules times the squared scale of the points
GRID = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
SETS: dict[str, Callable[[], Latents]] = {
    "sms": lambda: minilm("sms_spam"),
    "banking77": lambda: minilm("banking77"),
    "imagenette": imagenette,
    "resnet20": lambda: resnet(20),
    "resnet56": lambda: resnet(56),
}
OURS = "CertifiedMarginClassifier"
#: the rules that are not trained for the margin, of which the best one is to be beaten
OTHERS = (
    "GMM, full",
    "GMM, tied",
    "GMM, tied, target_radius",
    "NearestCentroid",
    "LogisticRegression(C)",
    "LinearSVC(C)",
    "the encoder's own head",
    "shaped by mcr2, GMM, full",
    "shaped by mcr2, GMM, tied",
    "shaped by mcr2, GMM, tied, target_radius",
    "the paper's head by mcr2, GMM",
)
TRAINED_FOR_MARGINS = ("shaped by certified margin, GMM", "certified margin, linear", OURS)


class Parts(NamedTuple):
    """Points and labels: to train on, to try values of C on, to choose one by, and to judge by."""

    train: tuple[np.ndarray, np.ndarray]
    try_on: tuple[np.ndarray, np.ndarray]
    choose_by: tuple[np.ndarray, np.ndarray]
    judge_by: tuple[np.ndarray, np.ndarray]


def reached(model: Any, X: np.ndarray, y: np.ndarray, radius: float) -> tuple[float, float]:
    """Clean and certified accuracy."""
    certificate = certify(model, X)
    return float((certificate.prediction == y).mean()), float(certificate.certified_accuracy(y, [radius])[0])


def chosen(make: Callable[[float], Any], scale: float, parts: Parts, radius: float) -> tuple[Any, str]:
    """The model of the best C, fitted on all training points, and this C."""
    models = [make(value / scale**2).fit(*parts.try_on) for value in GRID]
    best = max(models, key=lambda model: reached(model, *parts.choose_by, radius)[1])
    return best.fit(*parts.train), f"C={best.C:.3g}"


def rules(latents: Latents, parts: Parts, scale: float, seed: int) -> Iterator[tuple[str, Callable[[], tuple[Any, str]]]]:
    """Names, and functions that fit: to a model and what was chosen for it."""
    radius = RADIUS * scale
    mixtures = {
        "GMM, full": CertifiedGMMClassifier(covariance_type="full"),
        "GMM, tied": CertifiedGMMClassifier(),
        "GMM, tied, target_radius": CertifiedGMMClassifier(target_radius=radius),
    }

    def fitted(model: Any) -> Callable[[], tuple[Any, str]]:
        return lambda: (model.fit(*parts.train), "")

    for name, mixture in mixtures.items():
        yield name, fitted(clone(mixture))
    yield "NearestCentroid", fitted(NearestCentroid())
    yield (
        "LogisticRegression(C)",
        lambda: chosen(lambda C: LogisticRegression(C=C, max_iter=500, tol=1e-3), scale, parts, radius),
    )
    yield "LinearSVC(C)", lambda: chosen(lambda C: LinearSVC(C=C, random_state=0), scale, parts, radius)
    if latents.head is not None:
        yield "the encoder's own head", fitted(Affine(*latents.head))
    settings: dict[str, Any] = {"target_radius": radius, "random_state": seed, "device": "cpu", "progress": False}
    coding = {"objective": "mcr2", "batch_size": 1000, **settings}
    with TemporaryDirectory() as memory:  # the shaper is trained once for all three
        for name, mixture in mixtures.items():
            yield f"shaped by mcr2, {name}", fitted(make_pipeline(LatentShaper(**coding), mixture, memory=memory))
    paper = LatentShaper(n_components=128, lipschitz=None, **coding)
    yield "the paper's head by mcr2, GMM", fitted(make_pipeline(paper, Normalizer(), CertifiedGMMClassifier()))
    last = mixtures["GMM, tied, target_radius"]
    yield "shaped by certified margin, GMM", fitted(make_pipeline(LatentShaper(**settings), last))
    yield "certified margin, linear", fitted(CertifiedMarginClassifier(hidden_layer_sizes=(), **settings))
    yield OURS, fitted(CertifiedMarginClassifier(**settings))


def split(latents: Latents, seed: int) -> Parts:
    """The parts of one split."""

    def divided(X, y, **size):
        X, rest, y, rest_labels = train_test_split(X, y, stratify=y, random_state=seed, **size)
        return (X, y), (rest, rest_labels)

    if "MiniLM" in latents.name:
        everything = np.vstack([latents.X, latents.Z]), np.concatenate([latents.y, latents.labels])
        train, judge_by = divided(*everything, train_size=len(latents.X))
        return Parts(train, *divided(*train, test_size=0.2), judge_by)
    train, _ = divided(latents.X, latents.y, test_size=0.1)
    choose_by, judge_by = divided(latents.Z, latents.labels, test_size=0.5)
    return Parts(train, train, choose_by, judge_by)


def measured(name: str, seed: int) -> Iterator[dict[str, object]]:
    """A row for every rule."""
    latents = SETS[name]()
    parts = split(latents, seed)
    X = parts.train[0]
    scale = float(np.median(np.linalg.norm(X - X.mean(axis=0), axis=1)))
    for rule, make in rules(latents, parts, scale, seed):
        start = time.perf_counter()
        model, choice = make()
        clean, certified = reached(model, *parts.judge_by, RADIUS * scale)
        print(
            f"{name} {seed} {rule:35s} {choice:10s} {clean:.4f} {certified:.4f} {time.perf_counter() - start:.0f} s", flush=True
        )
        yield {
            "latents": latents.name,
            "split": seed,
            "rule": rule,
            "chosen": choice,
            "clean": clean,
            "certified": certified,
            "radius": RADIUS * scale,
        }


def summarise(runs: list[dict[str, str]]) -> None:
    """``shaping.csv`` and ``shaping_gains.csv`` from the runs."""
    table, gains = [], []
    for name in dict.fromkeys(row["latents"] for row in runs):
        means: dict[str, tuple[float, float]] = {}
        for rule in dict.fromkeys(row["rule"] for row in runs if row["latents"] == name):
            here = [row for row in runs if (row["latents"], row["rule"]) == (name, rule)]
            values = np.array([[float(row[key]) for key in ("clean", "certified", "radius")] for row in here])
            (clean, certified, radius), deviation = values.mean(axis=0), values.std(axis=0, ddof=1)
            means[rule] = clean, certified
            table.append(
                {
                    "latents": name,
                    "rule": rule,
                    "clean": clean,
                    "clean sd": deviation[0],
                    "certified": certified,
                    "certified sd": deviation[1],
                    "radius": radius,
                    "splits": len(here),
                }
            )
        best = max((rule for rule in OTHERS if rule in means), key=lambda rule: means[rule][1])
        gains.append(
            {
                "latents": name,
                "ours": means[OURS][1],
                "best other": best,
                "its certified": means[best][1],
                "gain in points": 100 * (means[OURS][1] - means[best][1]),
                "clean, ours less the best other's": 100 * (means[OURS][0] - means[best][0]),
                "clean, ours less the best of all": 100 * (means[OURS][0] - max(clean for clean, _ in means.values())),
            }
        )
    write_csv("shaping", table)
    write_csv("shaping_gains", gains)
    draw(table)


def draw(table: list[dict[str, Any]]) -> None:
    """Certified accuracy of every rule, one panel for each set of latents."""
    names = list(dict.fromkeys(row["latents"] for row in table))
    rules = list(dict.fromkeys(row["rule"] for row in table))
    figure, axes = plt.subplots(1, len(names), figsize=(2.3 * len(names) + 2.2, 4.2), layout="constrained", sharey=True)
    for name, ax in zip(names, np.atleast_1d(axes), strict=True):
        here = {row["rule"]: row for row in table if row["latents"] == name}
        for place, rule in enumerate(rules):
            if rule not in here:
                continue
            row, ours = here[rule], rule == OURS
            colour = COLOURS["blue"] if ours else COLOURS["sky"] if rule in TRAINED_FOR_MARGINS else COLOURS["black"]
            ax.errorbar(row["certified"], place, xerr=row["certified sd"], fmt="o", color=colour, markersize=5)
            ax.plot(row["clean"], place, "|", color=colour, markersize=7)
        best = max(row["certified"] for rule, row in here.items() if rule in OTHERS)
        ax.axvline(best, color=COLOURS["grey"], linewidth=0.8, zorder=0)
        low = sorted(row["certified"] for row in here.values())[len(here) // 3]
        ax.set(title=name.replace(", ", ",\n"), xlim=(max(0.0, low - 0.1), 1.0))
        ax.title.set_size(9)
        ax.tick_params(labelsize=8)
    first = np.atleast_1d(axes)[0]
    first.set_yticks(range(len(rules)), rules)
    first.invert_yaxis()
    figure.supxlabel(
        f"certified accuracy at {RADIUS:g} of the scale, l2 in latents (dot, with sd over splits); clean accuracy (bar)", size=9
    )
    save(figure, "shaping")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="*", choices=list(SETS), default=list(SETS), help="measured now; others as they were")
    options = parser.parse_args(arguments)
    runs: list[dict[str, Any]] = read_csv("shaping_runs") if (RESULTS / "shaping_runs.csv").exists() else []
    for name in options.sets:
        new = [row for seed in range(SPLITS) for row in measured(name, seed)]
        runs = [row for row in runs if row["latents"] != new[0]["latents"]] + new
        write_csv("shaping_runs", runs)
    summarise(read_csv("shaping_runs"))


if __name__ == "__main__":
    main()
