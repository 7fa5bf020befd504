"""Appendix H.2: how fast the radius is learned, ``python -m benchmarks.paper.sample_complexity``.

Two classes with means 2 and -2 on the first axis and variances 1.5, 0.5, 1.5, ... along the axes in both: figure 4 with R = 2,
in d dimensions. n points in all, half of each class, are fitted in four ways: one covariance per class, as in the paper, or one
for both; by maximum likelihood, or with Ledoit-Wolf shrinkage, the estimator's default. The error is the mean of
``|R_hat - R|`` over those of ``N_POINTS`` points that the fitted and the true rule classify alike, R the exact l2 distance to
the true boundary, in units of the means; again for ``REPEATS`` samples.

A line is fitted to log error on log n where a class has at least ``PER_DIMENSION`` points per dimension (``fitted`` in the
file); before, the rate is not reached. Maximum likelihood needs more points than dimensions and is left out below that.
Limits are those of the regression over all samples, 95 %. With shrinkage the error also holds its bias, and the slope both.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import linregress, t
from tqdm import tqdm

from benchmarks.paper import COLOURS, RESULTS, save, write_csv
from skcert import CertifiedGMMClassifier

SIZES, DIMENSIONS = (10, 100, 500, 1_000, 10_000, 100_000), (2, 10, 100)
N_POINTS, REPEATS, PER_DIMENSION, SEED = 500, 30, 20, 0
WAYS = {
    "per class, maximum likelihood": {"covariance_type": "full", "shrinkage": None},
    "per class, Ledoit-Wolf": {"covariance_type": "full"},
    "shared, maximum likelihood": {"covariance_type": "tied", "shrinkage": None},
    "shared, Ledoit-Wolf": {"covariance_type": "tied"},
}
#: exponents of n and d in the error, from what the paper prints in three places (theory 4.5)
PRINTED = {
    "theorem 4.2: n = O(d^(1/4) log(1/delta) / eps^(1/4))": (-4.0, 1.0),
    "its proof: n = O(d / eps^4)": (-1 / 4, 1 / 4),
    "its appendix: n = O((d / eps)^(9/2))": (-2 / 9, 1.0),
}


def errors_of(d: int, n: int, repeat: int) -> dict[str, tuple[float, float]]:
    """Mean error and share of points that are classified alike, for each way to fit one sample."""
    spread = np.sqrt(np.resize([1.5, 0.5], d))
    means = np.zeros((2, d))
    means[:, 0] = -2, 2
    true = CertifiedGMMClassifier.from_parameters(means, np.diag(spread**2), covariance_type="tied")
    points = np.random.default_rng([SEED, d])
    X = points.standard_normal((N_POINTS, d)) * spread + means[np.arange(N_POINTS) % 2]
    radius, prediction = (found := true.certify(X)).radius, found.prediction
    y = np.arange(n) % 2
    sample = np.random.default_rng([SEED, d, n, repeat]).standard_normal((n, d)) * spread + means[y]
    errors = {}
    for way, settings in WAYS.items():
        degrees = n - 2 if settings["covariance_type"] == "tied" else n // 2 - 1
        if way.endswith("likelihood") and degrees < d:
            continue
        found = CertifiedGMMClassifier(**settings).fit(sample, y).certify(X, method="exact")
        alike = found.prediction == prediction
        errors[way] = np.abs(found.radius - radius)[alike].mean(), alike.mean()
    return errors


def measured() -> list[dict[str, object]]:
    """One row per sample."""
    cells = [(d, n, repeat) for d in DIMENSIONS for n in SIZES for repeat in range(REPEATS)]
    return [
        {"estimate": way, "d": d, "n": n, "repeat": repeat, "error": error, "alike": alike}
        for d, n, repeat in tqdm(cells, desc="samples")
        for way, (error, alike) in errors_of(d, n, repeat).items()
    ]


def by_size(samples: pd.DataFrame) -> list[dict[str, object]]:
    """Of each cell the mean, its limits (95 %, Student), and whether a line is fitted to it."""
    rows = []
    for (way, d, n), cell in samples.groupby(["estimate", "d", "n"], sort=False):
        half = t.ppf(0.975, len(cell) - 1) * cell["error"].std() / np.sqrt(len(cell))
        mean = cell["error"].mean()
        rows.append(
            {"estimate": way, "d": d, "n": n, "error": mean, "low": mean - half, "high": mean + half}
            | {"alike": cell["alike"].mean(), "fitted": int(n / 2 >= PER_DIMENSION * d)}
        )
    return rows


def exponent(sizes, errors) -> dict[str, float]:
    """The slope of log error on log size with its limits."""
    line = linregress(np.log(sizes), np.log(errors))
    half = t.ppf(0.975, len(errors) - 2) * line.stderr
    return {"exponent": line.slope, "low": line.slope - half, "high": line.slope + half}


def exponents(samples: pd.DataFrame) -> list[dict[str, object]]:
    """Of n for each d, of d for the largest n, and as printed."""
    rows: list[dict[str, object]] = []
    regime = samples[samples["n"] / 2 >= PER_DIMENSION * samples["d"]]
    for (way, d), group in regime.groupby(["estimate", "d"], sort=False):
        rows.append({"statement": way, "of": "n", "at": f"d = {d}"} | exponent(group["n"], group["error"]))
        last = group[group["n"] >= SIZES[-2]]
        rows.append({"statement": way, "of": "n", "at": f"d = {d}, last decade"} | exponent(last["n"], last["error"]))
    for n in SIZES[-2:]:
        for way, group in regime[regime["n"] == n].groupby("estimate", sort=False):
            rows.append({"statement": way, "of": "d", "at": f"n = {n}"} | exponent(group["d"], group["error"]))
    for statement, (of_n, of_d) in PRINTED.items():
        for name, number in (("n", of_n), ("d", of_d)):
            rows.append({"statement": statement, "of": name, "at": "printed", "exponent": number, "low": "", "high": ""})
    return rows


def draw() -> None:
    """Error against n, one panel per dimension, and the slopes that are printed."""
    cells = pd.read_csv(RESULTS / "sample_complexity.csv")
    slopes = pd.read_csv(RESULTS / "sample_complexity_exponents.csv")
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 4.8), sharex=True, sharey=True, layout="constrained")
    colours = dict(zip(WAYS, (COLOURS["blue"], COLOURS["sky"], COLOURS["red"], COLOURS["orange"]), strict=True))
    for ax, d in zip(axes, DIMENSIONS, strict=True):
        for way, colour in colours.items():
            cell = cells[(cells["estimate"] == way) & (cells["d"] == d)]
            ax.plot(cell["n"], cell["error"], color=colour, linewidth=1.4, label=way)
            for fitted, face in ((1, colour), (0, "white")):
                part = cell[cell["fitted"] == fitted]
                ends = [part["error"] - part["low"], part["high"] - part["error"]]
                ax.errorbar(
                    part["n"],
                    part["error"],
                    yerr=ends,
                    fmt="o",
                    markersize=4.5,
                    color=colour,
                    markerfacecolor=face,
                    elinewidth=1,
                )
        anchor = cells[(cells["estimate"] == "per class, Ledoit-Wolf") & (cells["d"] == d) & (cells["n"] == 1000)][
            "error"
        ].item()
        n = np.array([SIZES[0], SIZES[-1]], dtype=float)
        for label, slope, style in (
            ("theorem 4.2: -4", -4.0, (0, (1, 1))),
            ("its proof: -1/4", -1 / 4, (0, (4, 1.5))),
            ("its appendix: -2/9", -2 / 9, (0, (4, 1.5, 1, 1.5))),
        ):
            ax.plot(n, anchor * (n / 1000) ** slope, color="0.45", linewidth=1, linestyle=style, label=f"printed in {label}")
        found = slopes[(slopes["of"] == "n") & (slopes["at"] == f"d = {d}")].set_index("statement")
        ax.text(0.03, 0.31, "slopes measured, 95 %", transform=ax.transAxes, fontsize=8)
        for line, (way, colour) in enumerate(colours.items()):
            text = f"{found['exponent'][way]:.2f} ({found['low'][way]:.2f} to {found['high'][way]:.2f})"
            ax.text(0.03, 0.25 - 0.065 * line, text, transform=ax.transAxes, fontsize=8, color=colour, weight="bold")
        ax.set(title=f"d = {d}", xscale="log", yscale="log", xlabel="training points n", ylim=(3e-4, 6))
        ax.grid(color="0.92", linewidth=0.7)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("error of the l2 radius, units of the means")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8.5, frameon=False)
    save(figure, "sample_complexity")


def main() -> None:
    samples = pd.DataFrame(measured())
    write_csv("sample_complexity", by_size(samples))
    write_csv("sample_complexity_exponents", exponents(samples))
    draw()


if __name__ == "__main__":
    main()
