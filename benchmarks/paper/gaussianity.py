"""Are the classes Gaussian (table 4)? Mardia's tests, before and after the shaper: ``python -m benchmarks.paper.gaussianity``.

Tests of held-out points and of those that the PCA and the shaper were fitted on, class by class; a class counts as rejected
where one of the 2K p-values of its row is at most 5 % after Holm. With more points ever smaller deviations are rejected, so the
sizes stand beside: skewness and kurtosis as multiples of what a Gaussian law has for as many points, 1 for Gaussian classes.
Where a class has too few points for the dimension, latents are projected first; the column says to what.
"""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
from tqdm.auto import tqdm

from benchmarks.paper import COLOURS, save, write_csv
from benchmarks.paper.latents import OBJECTIVES, Latents, imagenette, minilm, projected, resnet, shaped
from skcert.diagnostics import MardiaTests, mardia_test
from skcert.diagnostics.normality import _kurtosis_moments, _skewness_moments

#: dimension in which each encoder is tested, below the number of held-out points of its smallest class
DIMENSIONS = {"CIFAR-10, ResNet-20": 64, "CIFAR-10, ResNet-56": 64, "Imagenette": 64, "SMS Spam": 32, "Banking77": 8}


def stages() -> Iterator[Latents]:
    """Every encoder as given or projected, then after each shaper."""
    for latents, d in zip(encoders(), DIMENSIONS.values(), strict=True):
        yield latents if latents.d == d else projected(latents, d)
        if latents.d == d:  # few components are averages of many features, and nearer to Gaussian
            yield projected(latents, 8)
        for objective in OBJECTIVES:
            after = shaped(latents, objective)
            yield after if after.d <= d else projected(after, d)


def encoders() -> Iterator[Latents]:
    yield resnet(20)
    yield resnet(56)
    yield imagenette()
    yield minilm("sms_spam")
    yield minilm("banking77")


def relative(tests: MardiaTests) -> np.ndarray:
    """Skewness and kurtosis of each class over their means under a Gaussian law: shape (K, 2)."""
    return np.array(
        [(t.skewness / _skewness_moments(t.n, t.d)[0], t.kurtosis / _kurtosis_moments(t.n, t.d)[0]) for t in tests.tests]
    )


def row(latents: Latents, points: str) -> tuple[dict[str, object], np.ndarray]:
    """One line of the table, and the sizes of each class."""
    X, y = (latents.X, latents.y) if points == "training" else (latents.Z, latents.labels)
    tests = mardia_test(X, y)
    sizes, holm = relative(tests), tests.p_holm
    counts = np.bincount(y)
    return {
        "latents": latents.name,
        "stage": latents.stage,
        "points": points,
        "d": latents.d,
        "n_smallest_class": counts.min(),
        "n_largest_class": counts.max(),
        "classes": len(counts),
        "rejected": tests.n_rejected(),
        "rejected_by_skewness": (holm[:, 0] <= 0.05).sum(),
        "rejected_by_kurtosis": (holm[:, 1] <= 0.05).sum(),
        "skewness_median": np.median(sizes[:, 0]),
        "skewness_largest": sizes[:, 0].max(),
        "kurtosis_median": np.median(sizes[:, 1]),
        "kurtosis_smallest": sizes[:, 1].min(),
        "kurtosis_largest": sizes[:, 1].max(),
        "p_holm_largest": holm.max(),
    }, sizes


def main() -> None:
    table, classes = [], []
    for latents in tqdm(stages(), desc="latents", total=22):
        for points in ("held out", "training"):
            if points == "training" and np.bincount(latents.y).min() < latents.d + 2:
                continue
            line, sizes = row(latents, points)
            table.append(line)
            if points == "held out":
                classes += [
                    {"latents": latents.name, "stage": latents.stage, "class": k, "skewness": s, "kurtosis": b}
                    for k, (s, b) in enumerate(sizes)
                ]
    write_csv("gaussianity", table, digits=3)
    write_csv("gaussianity_classes", classes, digits=3)
    draw(classes)


def draw(classes: list[dict[str, object]]) -> None:
    """Each class a dot: how many times the kurtosis and the skewness of a Gaussian law it has."""
    names = list(dict.fromkeys((each["latents"], each["stage"]) for each in classes))
    figure, axes = plt.subplots(1, 2, figsize=(9.2, 0.32 * len(names) + 1.2), sharey=True, layout="constrained")
    random = np.random.default_rng(0)
    for ax, what in zip(axes, ("skewness", "kurtosis"), strict=True):
        for place, name in enumerate(names):
            values = [float(str(each[what])) for each in classes if (each["latents"], each["stage"]) == name]
            colour = COLOURS["red"] if "shaped" in str(name[1]) else COLOURS["blue"]
            spread = place + 0.22 * random.uniform(-1, 1, len(values))
            ax.scatter(values, spread, s=14, color=colour, alpha=0.6, linewidths=0)
        ax.axvline(1, color=COLOURS["black"], linewidth=0.8)
        ticks = (1, 2, 5, 10, 20, 50) if what == "skewness" else (1, 1.5, 2, 3, 4)
        ax.set(xscale="log", xlabel=f"{what} / that of a Gaussian law")
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
        ax.set_axisbelow(True)
        ax.grid(axis="x", color="0.9")
    axes[0].set_yticks(range(len(names)), [f"{name}: {stage}" for name, stage in names], fontsize=8)
    axes[0].invert_yaxis()
    save(figure, "gaussianity")


if __name__ == "__main__":
    main()
