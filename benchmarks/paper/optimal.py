"""The optimal robust rule of two classes beside the Bayes rule, ``python -m benchmarks.paper.optimal``.

In figure 4 the axes of the covariance lie along the means, and one line is optimal at every radius (theory 3.3): the Bayes
rule. Here the axes are turned by 45 degrees against the means, which are 2 R apart. All curves are probabilities in closed
form: of the Bayes rule, whose exact certificate this is; of the rules that are optimal at one radius; of the nearest centroid;
and of a classifier that was fitted to ``N_TRAIN`` points with ``target_radius=1``. The optimum, a rule of its own at each
radius, is what no classifier exceeds; from R on, where the classes can be moved onto each other, it is a constant.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.special import ndtr

from benchmarks.paper import COLOURS, RESULTS, save, write_csv
from skcert import CertifiedGMMClassifier
from skcert.theory import optimal_binary_robust_risk

PANELS = ((2, (1.5, 0.5)), (2, (1.9, 0.1)), (4, (1.5, 0.5)), (4, (1.9, 0.1)))
RADII = np.round(np.linspace(0, 4, 41), 1)
N_TRAIN, PRIORS, SEED = 5000, np.array([0.5, 0.5]), 0


def accuracy(weights: np.ndarray, intercept: float, means: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Robust accuracy of the rule "1 where ``w'x + b > 0``" at ``RADII``: its margins are Gaussian."""
    sides = (means @ weights + intercept) * np.array([-1, 1])
    spread = np.sqrt(weights @ covariance @ weights)
    return ndtr((sides - RADII[:, None] * np.linalg.norm(weights)) / spread) @ PRIORS


def mixture(R: float, variances: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Means on the first axis, principal variances on the diagonals."""
    mean, half = np.mean(variances), (variances[0] - variances[1]) / 2
    return np.array([[-R, 0.0], [R, 0.0]]), np.array([[mean, half], [half, mean]])


def curves(R: float, variances: tuple[float, float]) -> dict[str, np.ndarray]:
    means, covariance = mixture(R, variances)
    optima = {radius: optimal_binary_robust_risk(means, covariance, PRIORS, radius=radius) for radius in RADII}
    drawn = CertifiedGMMClassifier.from_parameters(means, covariance, PRIORS, covariance_type="tied").set_params(
        random_state=SEED
    )
    fitted = CertifiedGMMClassifier(target_radius=1.0).fit(*drawn.sample(N_TRAIN))
    rules = {
        "Bayes": optima[0.0].rule,
        "optimal at 0.5": optima[0.5].rule,
        "optimal at 1": optima[1.0].rule,
        "nearest centroid": (means[1] - means[0], 0.0),
        "fitted, target_radius=1": (np.diff(fitted.coef_, axis=0)[0], np.diff(fitted.intercept_)[0]),
    }
    found = {name: accuracy(*rule, means, covariance) for name, rule in rules.items()}
    return found | {"optimum": 1 - np.array([each.risk for each in optima.values()])}


def write_summary() -> None:
    """One row per panel, from ``optimal.csv``."""
    rows = []
    for (R, variances), table in pd.read_csv(RESULTS / "optimal.csv").groupby(["R", "variances"]):
        lost = (table["optimum"] - table["Bayes"])[table["radius"] < R]
        row = {
            "R": R,
            "variances": variances,
            "largest optimum - Bayes": lost.max(),
            "at radius": table["radius"][lost.idxmax()],
        }
        for name in ("Bayes", "optimal at 1", "nearest centroid", "fitted, target_radius=1", "optimum"):
            row[f"{name}, at 0"], row[f"{name}, at 1"] = table[name].iloc[0], table[name][table["radius"] == 1].item()
        rows.append(row)
    write_csv("optimal_summary", rows)


def draw() -> None:
    """A panel for each mixture, from ``optimal.csv``."""
    table = pd.read_csv(RESULTS / "optimal.csv")
    styles = {
        "optimum": {"color": COLOURS["black"], "linestyle": (0, (4, 2)), "linewidth": 1.2},
        "Bayes": {"color": COLOURS["blue"], "linewidth": 2.4},
        "optimal at 0.5": {"color": COLOURS["green"], "linewidth": 1.4},
        "optimal at 1": {"color": COLOURS["orange"], "linewidth": 1.4},
        "fitted, target_radius=1": {"color": COLOURS["red"], "linestyle": (0, (1, 1)), "linewidth": 2},
        "nearest centroid": {"color": COLOURS["purple"], "linestyle": (0, (3, 1, 1, 1)), "linewidth": 1.4},
    }
    labels = {"optimum": "optimum of each radius: the ceiling", "Bayes": "Bayes rule, exact certificate"}
    figure, axes = plt.subplots(1, len(PANELS), figsize=(9.6, 3.5), sharey=True, layout="constrained")
    for ax, (R, variances) in zip(axes, PANELS, strict=True):
        named = "{}, {}".format(*variances)
        panel = table[(table["R"] == R) & (table["variances"] == named)]
        for name, style in styles.items():
            ax.plot(panel["radius"], panel[name], label=labels.get(name, name), **style)
        ax.set_title(f"R = {R}, variances {named}, at 45°", fontsize=9)
        ax.set(xlim=(0, R), ylim=(-0.02, 1.02))
        ax.set_xlabel("l2 radius", fontsize=9)
        ax.grid(color="0.92", linewidth=0.7)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    axes[0].set_ylabel("certified accuracy", fontsize=9)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=8.5, frameon=False)
    save(figure, "optimal")


def main() -> None:
    rows = []
    for R, variances in PANELS:
        found = curves(R, variances)
        for at, radius in enumerate(RADII):
            place = {"R": R, "variances": "{}, {}".format(*variances), "radius": radius}
            rows.append(place | {name: curve[at] for name, curve in found.items()})
    write_csv("optimal", rows)
    write_summary()
    draw()


if __name__ == "__main__":
    main()
