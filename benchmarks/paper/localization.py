"""Theorems 3.1 and 3.2 as printed and as they are, ``python -m benchmarks.paper.localization``.

Theorem 3.1 calls a Gaussian localized on an ellipsoid if delta is at most the mass outside; at least is meant. Draws count
that mass. Theorem 3.2: the printed overlap of one class with the ellipsoid of another takes a noncentral chi-square law, right
only where both classes have one covariance; the law is a generalised chi-square (theory 3.2). First the counter-example: d = 2,
class i at (4, 0) with covariance 4 I, class j at 0 with covariance I, delta = 0.05. Then the baseline ``1 - delta - gamma`` on
mixtures of figures 5 to 7, each curve at its best delta: printed; corrected, a lower bound because the expanded ellipsoid is
enclosed in a larger one; and by draws, where the expansion is that of the theorem and the interval that of Clopper and Pearson
(95 %).
"""

from __future__ import annotations

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import binomtest, chi2
from tqdm import tqdm

from benchmarks.paper import COLOURS, RESULTS, save, write_csv
from benchmarks.paper.synthetic import DELTAS, RADII, baseline
from skcert import CertifiedGMMClassifier
from skcert.datasets import make_circle_mixture
from skcert.discriminants import NearestEllipsoid, Quadratic
from skcert.theory import localization, localization_overlaps

MEANS, COVARIANCES, DELTA = np.array([[4.0, 0.0], [0.0, 0.0]]), np.array([4 * np.eye(2), np.eye(2)]), 0.05
EXPANSIONS = np.round(np.linspace(0, 1, 21), 2)
MIXTURES = ((3, 4), (5, 6), (10, 6))
N_DRAWS, N_OUTSIDE, N_PER_CURVE, N_EXACT, SEED = 200_000, 100_000, 50_000, 500_000, 0


def interval(hits: int, n: int) -> tuple[float, float, float]:
    """A share with its limits."""
    limits = binomtest(int(hits), n).proportion_ci(method="exact")
    return hits / n, limits.low, limits.high


def outside() -> list[dict[str, object]]:
    """Mass outside the ellipsoid that Theorem 3.1 takes for delta = 0.05, beside a delta of 0.01 that its print allows too."""
    rows = []
    for d in (2, 10, 100):
        radius, epsilon = localization(np.eye(d), delta=DELTA)
        draws = np.random.default_rng(SEED).standard_normal((N_OUTSIDE, d))
        drawn, low, high = interval((np.linalg.norm(draws, axis=1) > radius).sum(), N_OUTSIDE)
        rows.append(
            {"d": d, "radius": radius, "epsilon": epsilon, "1 - F": float(chi2.sf(radius**2, d)), "allowed in print": DELTA / 5}
            | {"drawn": drawn, "low": low, "high": high}
        )
    return rows


def counter_example() -> list[dict[str, object]]:
    """How much of class i is within 2 epsilon of the ellipsoid of class j, a disc."""
    draws = np.random.default_rng(SEED).standard_normal((N_DRAWS, 2)) * 2 + MEANS[0]
    distance = np.maximum(np.linalg.norm(draws, axis=1) - np.sqrt(chi2.isf(DELTA, 2)), 0)
    rows = []
    for radius in EXPANSIONS:
        both = {}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "method='paper'", UserWarning)
            for method in ("paper", "exact"):
                both[method] = localization_overlaps(MEANS, COVARIANCES, radius=radius, delta=DELTA, method=method)[0, 1]
        drawn, low, high = interval((distance <= 2 * radius).sum(), N_DRAWS)
        rows.append(
            {"radius": radius, "printed": both["paper"], "corrected": both["exact"], "drawn": drawn, "low": low, "high": high}
        )
    return rows


def by_draws(model: CertifiedGMMClassifier) -> list[tuple[float, float, float]]:
    """``1 - delta - gamma`` at the best delta of each radius, from draws of class 0: a turn of the circle makes it another."""
    means, random = model.means_, np.random.default_rng(SEED)
    X = means[0] + random.standard_normal((N_PER_CURVE, 2)) @ np.linalg.cholesky(model.covariances_[0]).T
    quadratic = Quadratic.exact(means, model.precisions_, np.zeros(len(means)))
    hits = np.empty((len(DELTAS), len(RADII)), dtype=int)
    for at, delta in enumerate(tqdm(DELTAS, desc=f"{len(means)} classes", leave=False)):
        low, _, _ = NearestEllipsoid(quadratic, np.full(len(means), chi2.isf(delta, 2))).distances(X)
        hits[at] = (low[:, 1:].min(axis=1)[:, None] <= 2 * RADII).sum(axis=0)
    best = (DELTAS[:, None] + hits / N_PER_CURVE).argmin(axis=0)
    found = []
    for delta, hit in zip(DELTAS[best], hits[best, np.arange(len(RADII))], strict=True):
        gamma, low, high = interval(hit, N_PER_CURVE)
        found.append(tuple(max(0.0, 1 - delta - each) for each in (gamma, high, low)))
    return found


def curves() -> list[dict[str, object]]:
    """The baseline on mixtures of the figures, beside the exact certificate."""
    rows = []
    for K, R in tqdm(MIXTURES, desc="mixtures"):
        drawn = make_circle_mixture(N_EXACT, n_classes=K, circle_radius=R, variances=(1.5, 0.5), random_state=SEED)
        means, covariances = drawn.means, drawn.covariances
        printed, corrected = (baseline(means, covariances, method) for method in ("paper", "exact"))
        model = CertifiedGMMClassifier.from_parameters(means, covariances, drawn.priors, covariance_type="full")
        exact = model.certify(drawn.X).certified_accuracy(drawn.y, RADII)
        for at, (share, low, high) in enumerate(by_draws(model)):
            place = {"K": K, "R": R, "radius": RADII[at], "printed": printed[at], "corrected": corrected[at]}
            rows.append(place | {"drawn": share, "low": low, "high": high, "exact": exact[at]})
    return rows


def write_summary() -> None:
    """One row for the counter-example at 0.25, one per mixture, from the other two files."""
    counter, mixtures = (pd.read_csv(RESULTS / f"localization_{name}.csv") for name in ("overlap", "curves"))
    at = counter[counter["radius"] == 0.25].iloc[0]
    rows = [{"what": "overlap of the counter-example at radius 0.25", **at[["printed", "corrected", "drawn", "low", "high"]]}]
    for (K, R), curve in mixtures.groupby(["K", "R"]):
        above = curve["printed"] - curve["high"]
        worst = curve.loc[above.idxmax()]
        rows.append(
            {
                "what": f"K = {K}, R = {R}: where printed is farthest above what is true",
                **worst[["printed", "corrected", "drawn", "low", "high", "radius"]],
                "radii with printed above high": f"{(above > 0).sum()} of {len(curve)}",
                "first": curve["radius"][above > 0].min(),
                "last": curve["radius"][above > 0].max(),
            }
        )
        at = curve.iloc[0]
        bayes, low, high = interval(round(at["exact"] * N_EXACT), N_EXACT)
        what = f"K = {K}, R = {R}: printed at radius 0, and accuracy of the Bayes classifier"
        rows.append({"what": what, **at[["printed", "corrected"]], "drawn": bayes, "low": low, "high": high, "radius": 0.0})
    empty = dict.fromkeys(rows[1], "")
    write_csv("localization_summary", [empty | row for row in rows], digits=7)


def draw() -> None:
    """The counter-example, and of three mixtures the risk, from the files."""
    counter, mixtures = (pd.read_csv(RESULTS / f"localization_{name}.csv") for name in ("overlap", "curves"))
    risks = mixtures.assign(**{name: 1 - mixtures[name] for name in ("printed", "corrected", "drawn", "exact")})
    risks["low"], risks["high"] = 1 - mixtures["high"], 1 - mixtures["low"]
    figure, axes = plt.subplots(2, 2, figsize=(8.4, 6.6), layout="constrained")
    styles = {
        "printed": ("theorem 3.2 as printed", {"color": COLOURS["red"], "linewidth": 2, "linestyle": (0, (4, 1.2))}),
        "corrected": ("corrected, on the safe side", {"color": COLOURS["purple"], "linewidth": 2}),
        "exact": ("exact certificate, Bayes classifier", {"color": COLOURS["blue"], "linewidth": 1.2}),
    }
    for ax, table in zip(axes.flat, (counter, *(group for _, group in risks.groupby(["K", "R"]))), strict=True):
        for name, (label, style) in styles.items():
            if name in table:
                ax.plot(table["radius"], table[name], label=label, **style)
        ends = np.array([table["drawn"] - table["low"], table["high"] - table["drawn"]])
        style = {"color": COLOURS["black"], "linestyle": "", "marker": "o", "markersize": 3, "elinewidth": 0.8}
        ax.errorbar(table["radius"], table["drawn"], yerr=ends, label="true, by draws (95 %)", **style)
        ax.grid(color="0.92", linewidth=0.7)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set(xlim=(0, table["radius"].max()), xlabel="l2 radius")
        if "K" in table:
            ax.set_title(f"{table['K'].iloc[0]} classes, R = {table['R'].iloc[0]}, variances 1.5, 0.5", fontsize=10)
            ax.set(ylabel="delta + gamma at the best delta", yscale="log", ylim=(table["printed"].min() / 2, 1.1))
        else:
            ax.set_title("Counter-example: S = 4 I beside S = I, delta = 0.05", fontsize=10)
            ax.set(ylabel="overlap of class i with ellipsoid j", ylim=(0, None))
    handles, labels = axes[0, 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8.5, frameon=False)
    save(figure, "localization")


def main() -> None:
    write_csv("localization_outside", outside())
    write_csv("localization_overlap", counter_example())
    write_csv("localization_curves", curves(), digits=7)
    write_summary()
    draw()


if __name__ == "__main__":
    main()
