"""Clean and certified accuracy of pretrained encoders (tables 1 to 3): ``python -m benchmarks.paper.encoders``.

Table 1, on latents: measured here, all test points, l2 in units of the latents. Radii are shares of the scale, the median
distance of the test points from their mean; all certificates are deterministic. What has something to choose (C of
LogisticRegression on a fifth of the training points, the target radius) is chosen for each radius anew, and the clean accuracy
of each choice stands beside. Full covariances of Imagenette are behind PCA(128), which costs the radius nothing; all else is on
the latents as they are. Networks in between are trained on 10,000 training points at most.

Tables 2 and 3, in pixels: rows of benchmarks/lipschitz/table.csv, benchmarks/smoothing/table.csv, of benchmarks.paper.pixels
(run it first) and what was published, each with its grade and its source.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestCentroid
from tqdm.auto import tqdm

from benchmarks.paper import COLOURS, read_csv, save, write_csv
from benchmarks.paper.latents import CACHE, TRAINED_ON, Latents, imagenette, projected, resnet, shaped, trainer, unprojected
from skcert import Affine, CertifiedGMMClassifier, CertifiedMarginClassifier, certify

SHARES = (0.1, 0.25, 0.5)
#: radii in the units of the latents
RAW = (0.25, 0.5, 1.0, 2.0)
STRENGTHS = np.logspace(-5, 0, 6)
#: dimension in which covariances of each class are estimated, at most
FULL = 128
OTHERS = Path(__file__).parents[1]

# -----------------------------------------------------------------------------
# On the latents


def kept(model: Any, Z: np.ndarray, labels: np.ndarray, method: str = "auto") -> np.ndarray:
    """The certified radius of each point, -inf where the prediction is wrong."""
    found = certify(model, Z, method=method)
    return np.where(found.prediction == labels, found.radius, -np.inf)


def chosen_strengths(latents: Latents) -> list[float]:
    """For each share the C of the largest certified accuracy on training points that the fit has not seen."""
    X, V, y, truth = train_test_split(latents.X, latents.y, test_size=0.2, stratify=latents.y, random_state=0)
    found = [kept(logistic(C).fit(X, y), V, truth) for C in tqdm(STRENGTHS, desc="C", leave=False)]
    scores = np.array([[(radius >= share * latents.scale).mean() for share in SHARES] for radius in found])
    return [float(STRENGTHS[best]) for best in scores.argmax(axis=0)]


def logistic(C: float) -> LogisticRegression:
    return LogisticRegression(C=C, max_iter=5000)


@CACHE.cache
def margin_trained(
    X: np.ndarray, y: np.ndarray, Z: np.ndarray, labels: np.ndarray, radius: float, trained_by: str
) -> np.ndarray:
    """Radii of a CertifiedMarginClassifier."""
    some = np.random.default_rng(0).permutation(len(X))[:TRAINED_ON]
    model = CertifiedMarginClassifier(target_radius=radius, device="cpu", random_state=0, progress=False)
    return kept(model.fit(X[some], y[some]), Z, labels)


def measured(latents: Latents) -> Iterator[dict[str, object]]:
    """The rows of one encoder."""
    X, y, Z, labels = latents.X, latents.y, latents.Z, latents.labels
    targets = [share * latents.scale for share in SHARES]
    own = latents if latents.d <= FULL else projected(latents, FULL)
    full = CertifiedGMMClassifier(covariance_type="full").fit(own.X, y)
    for method in ("paper", "pairwise", "exact"):
        yield row(latents, "mixture, full", method, [kept(full, own.Z, labels, method)])
    tied = CertifiedGMMClassifier().fit(X, y)
    for method in ("paper", "exact"):
        yield row(latents, "mixture, tied", method, [kept(tied, Z, labels, method)])
    robust = [CertifiedGMMClassifier(target_radius=radius).fit(X, y) for radius in targets]
    yield row(latents, "mixture, tied, target radius", "exact", [kept(model, Z, labels) for model in robust], targets)
    yield row(latents, "NearestCentroid", "exact", [kept(NearestCentroid().fit(X, y), Z, labels)])
    strengths = chosen_strengths(latents)
    fitted = {C: kept(logistic(C).fit(X, y), Z, labels) for C in set(strengths)}
    yield row(latents, "LogisticRegression", "exact", [fitted[C] for C in strengths], strengths)
    assert latents.head is not None
    yield row(latents, "the encoder's own head", "exact", [kept(Affine(*latents.head), Z, labels)])
    trained = [margin_trained(X, y, Z, labels, radius, trainer()) for radius in targets]
    yield row(latents, "CertifiedMarginClassifier", "1-Lipschitz", trained, targets)
    after = shaped(latents, "certified-margin")
    robust = [CertifiedGMMClassifier(target_radius=radius).fit(after.X, y) for radius in targets]
    yield row(
        latents,
        "shaped 1-Lipschitz, mixture, tied, target radius",
        "exact",
        [kept(m, after.Z, labels) for m in robust],
        targets,
    )
    loose, constant = unprojected(latents)
    model = CertifiedGMMClassifier(covariance_type="full").fit(loose.X, y)
    found = [kept(model, loose.Z, labels) / constant]
    yield row(latents, "shaped mcr2 without sphere / its constant, mixture, full", "exact", found, [constant])
    # on the sphere radii are of the shaped latents only, and in shares of their own scale
    free = shaped(latents, "mcr2")
    for kind, methods in (("full", ("paper", "exact")), ("tied", ("exact",))):
        model = CertifiedGMMClassifier(covariance_type=kind).fit(free.X, y)
        for method in methods:
            yield row(free, f"shaped mcr2 (its own units), mixture, {kind}", method, [kept(model, free.Z, labels, method)])


def row(
    latents: Latents, model: str, method: str, found: list[np.ndarray], chosen: list[float] | None = None
) -> dict[str, object]:
    """One line: a single model, or one for each share."""
    radii = found if len(found) > 1 else found * len(SHARES)
    cells: dict[str, object] = {
        "encoder": latents.name,
        "d": latents.d,
        "scale": latents.scale,
        "model": model,
        "method": method,
    }
    cells |= {"grade": "deterministic", "test_points": len(latents.Z)}
    for place, share in enumerate(SHARES):
        cells[f"clean, model for {share:g}"] = (radii[place] > -np.inf).mean()
        cells[f"certified@{share:g} scale"] = (radii[place] >= share * latents.scale).mean()
    for radius in RAW:
        cells[f"certified@{radius:g}, first model"] = (radii[0] >= radius).mean()
    cells["median radius, first model"] = np.median(np.maximum(radii[0], 0))
    cells["chosen"] = "" if chosen is None else " ".join(f"{each:.3g}" for each in chosen)
    return cells


# -----------------------------------------------------------------------------
# In pixels: measured elsewhere, and published

PIXELS = ("36/255", "0.25", "0.5", "1")
PAPER = "arXiv 2605.25352"
#: data, method, source, grade, clean accuracy, and certified accuracy in % by radius
PUBLISHED = (
    ("CIFAR-10", "paper, mixture behind a shaper, CLEVER", PAPER, "none", 90.14, {"0.25": 84.5, "0.5": 78.2, "1": 40.5}),
    ("ImageNet", "paper, mixture behind a shaper, CLEVER", PAPER, "none", None, {"1": 45.7, "2": 31.1}),
    ("CIFAR-10", "LipNeXt 64M, 1-Lipschitz", "as published", "deterministic", None, {"36/255": 71.2}),
    ("CIFAR-10", "BRONet, 1-Lipschitz", "as published", "deterministic", None, {"36/255": 70.6}),
    ("CIFAR-10", "1-Lipschitz with generated data", "as published", "deterministic", None, {"36/255": 78.1}),
    ("CIFAR-10", "smoothing, Cohen et al.", "as published", "probabilistic", None, {"0.25": 60, "0.5": 43, "1": 23}),
    ("CIFAR-10", "smoothing, SmoothAdv", "as published", "probabilistic", None, {"0.25": 73, "0.5": 58, "1": 37}),
    ("CIFAR-10", "smoothing, DDS fine-tuned", "as published", "probabilistic", None, {"0.25": 79, "0.5": 66, "1": 36}),
    ("CIFAR-10", "smoothing, DensePure", "as published", "probabilistic", None, {"0.25": 77, "0.5": 65, "1": 37}),
)
#: minutes for an ImageNet image that the paper prints, on its machine
MINUTES = {"paper's method": 2.73, "smoothing": 3.02, "DDS": 25.6, "DensePure": 36.5}


def other(path: str) -> list[dict[str, str]]:
    with (OTHERS / path).open(newline="") as file:
        return list(csv.DictReader(file))


def in_pixels() -> Iterator[dict[str, object]]:
    """Accuracies in %, one row for each encoder, head and certificate."""

    def cells(data, method, source, grade, images, clean, certified, attacked=None):
        found = {"data": data, "method": method, "source": source, "grade": grade, "images": images, "clean": clean}
        found |= {f"certified@{r}": certified.get(r, "") for r in (*PIXELS, "2")}
        return found | {f"attacked@{r}": (attacked or {}).get(r, "") for r in PIXELS}

    for data, method, source, grade, clean, certified in PUBLISHED:
        yield cells(data, method, source, grade, "", "" if clean is None else clean, certified)
    for each in other("lipschitz/table.csv"):
        n = int(each["images"])
        certified, attacked = (
            {r: 100 * int(each[f"{what}@{r}"]) / n for r in PIXELS[:3]} for what in ("certified", "attacked")
        )
        method = f"{each['encoder']}, {each['head']} head, {each['bound']} bound"
        clean = 100 * int(each["clean"]) / n
        yield cells("CIFAR-10", method, "benchmarks/lipschitz/table.csv", each["guarantee"], n, clean, certified, attacked)
    for each in other("smoothing/table.csv"):
        trained = "trained under the noise" if each["encoder"] == "noisy" else "as trained"
        fitted = f" on {each['fitted on']}" if each["fitted on"] else ""
        method = f"smoothing, ResNet-20 {trained}, {each['head']} head{fitted}, sigma {each['sigma']}"
        certified = {r: each[f"certified@{r}"] for r in PIXELS[1:]}
        yield cells(
            "CIFAR-10", method, "benchmarks/smoothing/table.csv", "probabilistic", each["images"], each["clean"], certified
        )
    for each in read_csv("pixels"):
        certified = {r: 100 * float(each[f"certified@{r}"]) for r in PIXELS}
        attacked = {r: 100 * float(each[f"attacked@{r}"]) for r in PIXELS if each[f"attacked@{r}"]}
        method, clean = f"resnet20, {each['head']}, {each['estimate']}", 100 * float(each["clean"])
        yield cells("CIFAR-10", method, "pixels.csv", each["grade"], each["images"], clean, certified, attacked)


def best_of_each_kind(table: list[dict[str, object]]) -> list[dict[str, object]]:
    """For each source and grade the largest certified accuracy at each radius: what a page has room for."""
    found = []
    for source, grade in dict.fromkeys((each["source"], each["grade"]) for each in table if each["data"] == "CIFAR-10"):
        own = [each for each in table if (each["data"], each["source"], each["grade"]) == ("CIFAR-10", source, grade)]
        for r in PIXELS:
            rows = [each for each in own if each[f"certified@{r}"] != ""]
            if rows:
                best = max(rows, key=lambda each: float(str(each[f"certified@{r}"])))
                value = float(str(best[f"certified@{r}"]))
                found.append({"source": source, "grade": grade, "radius": r, "certified": value, "clean": best["clean"]})
                found[-1]["method"] = best["method"] if value > 0 else "every one"
    return found


def times() -> list[dict[str, object]]:
    """Minutes for an image: printed, and ours on one core."""
    printed = [
        {"data": "ImageNet", "what": name, "minutes": value, "kind": "printed in the paper"} for name, value in MINUTES.items()
    ]
    return [
        *printed,
        *(
            {"data": e["encoder"], "what": e["what"], "minutes": e["minutes_per_image"], "kind": e["kind"]}
            for e in read_csv("seconds")
        ),
    ]


# -----------------------------------------------------------------------------
# Pictures


def main() -> None:
    table: list[dict[str, object]] = []
    for latents in tqdm((resnet(20), resnet(56), imagenette()), desc="encoders"):
        table += measured(latents)
    write_csv("encoders", table, digits=4)
    draw_latents(table)
    write_pixels()


def write_pixels() -> None:
    """Tables 2 and 3, from the files of others."""
    pixels = list(in_pixels())
    best = best_of_each_kind(pixels)
    write_csv("encoders_pixels", pixels, digits=4)
    write_csv("encoders_pixels_best", best, digits=4)
    write_csv("seconds_table", times(), digits=3)
    draw_pixels(best)


def draw_latents(table: list[dict[str, object]]) -> None:
    """Certified accuracy at each share of the scale, by model and encoder."""
    encoders = list(dict.fromkeys(str(each["encoder"]) for each in table))
    names = [f"{each['model']} ({each['method']})" for each in table if each["encoder"] == encoders[0]]
    figure, axes = plt.subplots(1, len(encoders), figsize=(10.5, 0.26 * len(names) + 1.2), sharey=True, layout="constrained")
    marks = zip(SHARES, ("o", "s", "D"), ("blue", "orange", "purple"), strict=True)
    for share, mark, colour in marks:
        for ax, encoder in zip(axes, encoders, strict=True):
            values = [float(str(each[f"certified@{share:g} scale"])) for each in table if each["encoder"] == encoder]
            free = ["own units" in name for name in names]  # hollow: not comparable with the others
            ax.scatter(
                values,
                range(len(values)),
                marker=mark,
                s=26,
                edgecolors=COLOURS[colour],
                facecolors=["none" if each else COLOURS[colour] for each in free],
                label=f"{share:g} of the scale",
            )
    for ax, encoder in zip(axes, encoders, strict=True):
        clean = [float(str(each["clean, model for 0.1"])) for each in table if each["encoder"] == encoder]
        ax.plot(clean, range(len(clean)), "|", color=COLOURS["black"], markersize=9, label="clean")
        ax.set(xlim=(0, 1), title=encoder, xlabel="accuracy")
        ax.title.set_fontsize(9)
        ax.grid(color="0.92")
        ax.set_axisbelow(True)
    axes[0].set_yticks(range(len(names)), names, fontsize=7.5)
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    save(figure, "encoders")


def draw_pixels(best: list[dict[str, object]]) -> None:
    """What each source certifies at best, by grade."""
    figure, ax = plt.subplots(figsize=(7.6, 5.0), layout="constrained")
    grades = {"deterministic": ("blue", "o-"), "probabilistic": ("green", "s-"), "none": ("red", "x:")}
    titles = {
        (PAPER, "none"): "printed in the paper (estimated)",
        ("as published", "deterministic"): "published, 1-Lipschitz (deterministic)",
        ("as published", "probabilistic"): "published, smoothing (probabilistic)",
        ("benchmarks/lipschitz/table.csv", "deterministic"): "here: 1-Lipschitz encoder (deterministic)",
        ("benchmarks/smoothing/table.csv", "probabilistic"): "here: smoothing, ResNet-20 (probabilistic)",
        ("pixels.csv", "none"): "here: ResNet-20, CLEVER (estimated)",
    }
    for (source, grade), title in titles.items():
        own = [each for each in best if (each["source"], each["grade"]) == (source, grade)]
        colour, style = grades[grade]
        x = [as_number(str(each["radius"])) for each in own]
        filled = "none" if source in (PAPER, "as published") else COLOURS[colour]
        style = style.replace("x", "+") if source == "pixels.csv" else style
        ax.plot(x, [each["certified"] for each in own], style, color=COLOURS[colour], markerfacecolor=filled, label=title)
    own = next(each for each in read_csv("pixels") if each["head"] == "own head")
    broken = [100 * float(own[f"attacked@{r}"]) for r in PIXELS]
    title = "here: ResNet-20 under attack (no certificate of it can be above)"
    ax.plot([as_number(r) for r in PIXELS], broken, "--v", color=COLOURS["black"], markersize=5, label=title)
    ax.set(xlabel="l2 radius, pixels in [0, 1]", ylabel="certified accuracy on CIFAR-10, %", ylim=(-2, 100), xlim=(0.1, 1.03))
    ax.grid(color="0.92")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    save(figure, "encoders_pixels")


def as_number(text: str) -> float:
    """ "36/255" or "0.5" as a number."""
    above, _, below = text.partition("/")
    return float(above) / float(below or 1)


if __name__ == "__main__":
    main()
