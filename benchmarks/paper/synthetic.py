"""Figures 4 to 7: certified accuracy on mixtures that are known, ``python -m benchmarks.paper.synthetic``.

Classes on a circle of radius R as ``make_circle_mixture`` draws them: S = I, or variances 1.5 along the radius through the
mean and 0.5 along the circle, in axes that turn with the class (the paper does not say which). The classifier has the true
parameters: nothing is fitted. Its curves are all on the same ``N_POINTS`` independent points, but for ``exact_many``. The
ceiling (no classifier has more), the optimal rule of two classes and the localization baseline need no points. Smoothing is
the best of ``SIGMAS`` at each radius, picked on these points: in its favour.
"""

from __future__ import annotations

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from benchmarks.paper import COLOURS, RESULTS, save, write_csv
from skcert import CertifiedGMMClassifier, RandomizedSmoothingClassifier
from skcert.datasets import make_circle_mixture
from skcert.theory import empirical_risk_bound, optimal_binary_robust_risk, robust_risk_bounds, strong_localization

CLASSES, CIRCLES, VARIANCES = (2, 3, 5, 10), (2, 4, 5, 6), ((1.0, 1.0), (1.5, 0.5))
RADII = np.round(np.linspace(0, 2, 21), 1)
N_POINTS, N_MANY = 500, 20_000
VOTES, SIGMAS = (1_000, 10_000, 100_000), (0.25, 0.5, 1.0)
DELTAS = np.geomspace(1e-6, 0.6, 31)
STEPS, RESTARTS = 40, 5
FIGURE = {K: number for number, K in enumerate(CLASSES, start=4)}


# -- one mixture -------------------------------------------------------------------------------------------------------


class Panel:
    """A mixture, its optimal classifier, and points of it."""

    def __init__(self, K: int, R: float, variances: tuple[float, float]):
        self.seed = int(np.random.SeedSequence([K, R, round(10 * variances[0])]).generate_state(1)[0] >> 1)
        drawn = make_circle_mixture(
            N_POINTS + N_MANY, n_classes=K, circle_radius=R, variances=variances, random_state=self.seed
        )
        self.means, self.priors = drawn.means, drawn.priors
        # opposite classes turn by half a circle: the same axes
        self.shared = K == 2 or variances[0] == variances[1]
        self.covariances = drawn.covariances[0] if self.shared else drawn.covariances
        kind = "tied" if self.shared else "full"
        self.model = CertifiedGMMClassifier.from_parameters(self.means, self.covariances, self.priors, covariance_type=kind)
        self.X, self.y = drawn.X[:N_POINTS], drawn.y[:N_POINTS]
        self.many, self.many_y = drawn.X[N_POINTS:], drawn.y[N_POINTS:]


def share(radius: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Certified accuracy at ``RADII``."""
    return (right[:, None] & (radius[:, None] >= RADII)).mean(axis=0)


def certified(panel: Panel) -> dict[str, np.ndarray]:
    """The three certificates, and what attacks leave."""
    curves = {}
    for method in ("paper", "pairwise", "exact"):
        found = panel.model.certify(panel.X, method=method, return_attack=method == "exact")
        right = found.prediction == panel.y
        curves[method] = share(found.radius, right)
    flipped = panel.model.predict(np.where(np.isfinite(found.attack), found.attack, panel.X)) != found.prediction
    reached = np.where(flipped, found.attack_radius, np.inf)
    curves["attack"] = (right[:, None] & (reached[:, None] > RADII)).mean(axis=0)
    curves["pgd"] = attacked(panel, right)
    found = panel.model.certify(panel.many)
    curves["exact_many"] = share(found.radius, found.prediction == panel.many_y)
    return curves


def attacked(panel: Panel, standing: np.ndarray) -> np.ndarray:
    """Accuracy under projected gradient descent on the margin, every step tried with ``predict``.

    Restarts are the point itself and random points of the ball. What is broken in a ball is broken in larger ones.
    """
    means, precisions = panel.means, np.broadcast_to(panel.model.precisions_, (len(panel.means), 2, 2))
    offsets = np.linalg.slogdet(precisions)[1] + 2 * np.log(panel.priors)
    random, standing, left = np.random.default_rng(panel.seed), standing.copy(), []
    for radius in RADII:
        rows = np.flatnonzero(standing) if radius > 0 else np.zeros(0, dtype=int)
        X, own = np.tile(panel.X[rows], (RESTARTS, 1)), np.tile(panel.y[rows], RESTARTS)
        shift, at = random.standard_normal(X.shape), np.arange(len(X))
        shift *= radius * np.sqrt(random.random((len(X), 1))) / np.linalg.norm(shift, axis=1, keepdims=True)
        shift[: len(rows)] = 0
        broken = np.zeros(len(X), dtype=bool)
        for _ in range(STEPS if len(rows) else 0):
            from_means = (X + shift)[:, None] - means
            pulls = np.einsum("kij,nkj->nki", precisions, from_means)
            scores = offsets - np.einsum("nki,nki->nk", pulls, from_means)
            scores[at, own] = -np.inf
            slope = pulls[at, scores.argmax(axis=1)] - pulls[at, own]  # half the gradient of the margin
            shift -= 2.5 * radius / STEPS * slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-300)
            shift *= np.minimum(1, radius / np.maximum(np.linalg.norm(shift, axis=1, keepdims=True), 1e-300))
            broken |= panel.model.predict(X + shift) != own
        standing[rows] &= ~broken.reshape(RESTARTS, len(rows)).any(axis=0)
        left.append(standing.mean())
    return np.array(left)


def smoothed(panel: Panel) -> dict[str, np.ndarray]:
    """By votes under noise, at the best sigma of each radius."""
    curves = {}
    for votes in VOTES:
        tried = []
        for sigma in SIGMAS:
            model = RandomizedSmoothingClassifier(
                panel.model, sigma=sigma, n_certify=votes, random_state=panel.seed, progress=False
            )
            found = model.certify(panel.X)
            tried.append(share(found.radius, (found.prediction == panel.y) & ~found.abstained))
        curves[f"smoothing_{votes}"] = np.max(tried, axis=0)
        curves[f"sigma_{votes}"] = np.array(SIGMAS)[np.argmax(tried, axis=0)]
    return curves


def baseline(means, covariances, method: str) -> np.ndarray:
    """``1 - delta - gamma`` of theorem 3.2 at the best delta, by the printed formula or the corrected one; 0 once it is 0."""
    curve = np.zeros(len(RADII))
    for place, radius in enumerate(RADII):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "method='paper'", UserWarning)
            found = [strong_localization(means, covariances, radius=radius, delta=each, method=method) for each in DELTAS]
        curve[place] = max(each.certified_accuracy for each in found)
        if curve[place] == 0:
            break
    return curve


def bounded(panel: Panel) -> dict[str, np.ndarray]:
    """What no classifier exceeds: on this mixture, and on these points; what one is known to reach."""
    mixture = panel.means, panel.covariances, panel.priors
    risks = [robust_risk_bounds(*mixture, radius=radius, random_state=panel.seed) for radius in RADII]
    optimal = np.full(len(RADII), np.nan)
    if len(panel.means) == 2:
        optimal = 1 - np.array([optimal_binary_robust_risk(*mixture, radius=radius).risk for radius in RADII])
    return {
        "optimal": optimal,
        "ceiling": 1 - np.array([each.lower for each in risks]),
        "known_to_be_reached": 1 - np.array([each.upper for each in risks]),
        "ceiling_of_these_points": 1 - np.array([empirical_risk_bound(panel.X, panel.y, radius=each) for each in RADII]),
    }


def rows_of(K: int, R: float, variances: tuple[float, float]) -> list[dict[str, object]]:
    """Of ``synthetic.csv``, a radius each."""
    panel = Panel(K, R, variances)
    curves = certified(panel) | smoothed(panel) | bounded(panel)
    curves["localization_printed"] = baseline(panel.means, panel.covariances, "paper")
    curves["localization_corrected"] = baseline(panel.means, panel.covariances, "exact")
    place = {"figure": FIGURE[K], "K": K, "R": R, "S": "I" if variances == (1, 1) else "1.5, 0.5"}
    return [place | {"radius": radius} | {name: curve[at] for name, curve in curves.items()} for at, radius in enumerate(RADII)]


def measured() -> list[dict[str, object]]:
    """All panels, on all cores."""
    panels = [(K, R, variances) for K in CLASSES for R in CIRCLES for variances in VARIANCES]
    found = Parallel(n_jobs=-1, return_as="generator")(delayed(rows_of)(*panel) for panel in panels)
    return [row for rows in tqdm(found, total=len(panels), desc="mixtures") for row in rows]


# -- summaries ---------------------------------------------------------------------------------------------------------


def in_errors(difference, of, n: int):
    """The largest difference, in standard errors of a share of n points; where that is 0 there is none."""
    error = np.sqrt(of * (1 - of) / n)
    return (difference[error > 0] / error[error > 0]).max()


AREAS = (
    "paper",
    "pairwise",
    "exact",
    "attack",
    "pgd",
    *(f"smoothing_{votes}" for votes in VOTES),
    "localization_printed",
    "localization_corrected",
    "ceiling",
    "ceiling_of_these_points",
)


def summary(curves: pd.DataFrame) -> dict[str, float]:
    """Of one panel."""
    exact, many = curves["exact"], curves["exact_many"]
    gain, to_pgd, over = exact - curves["paper"], curves["pgd"] - exact, many - curves["ceiling"]
    printed, corrected = curves["localization_printed"], curves["localization_corrected"]
    last = {name: curves["radius"][curves[name] >= 0.5].max() for name in ("paper", "exact", "ceiling")}
    return {
        "accuracy": exact.iloc[0],
        "least exact - paper": gain.min(),
        "largest exact - paper": gain.max(),
        "at radius": curves["radius"][gain.idxmax()],
        "mean exact - paper": gain.mean(),
        "mean exact - pairwise": (exact - curves["pairwise"]).mean(),
        "largest attack - exact": (curves["attack"] - exact).max(),
        "least pgd - exact": to_pgd.min(),
        "largest pgd - exact": to_pgd.max(),
        "largest pgd - exact in standard errors": in_errors(to_pgd, exact, N_POINTS),
        "largest exact - ceiling": over.max(),
        "largest exact - ceiling in standard errors": in_errors(over, curves["ceiling"], N_MANY),
        "largest ceiling - exact": (-over).max(),
        "largest |optimal - exact|": (curves["optimal"] - many).abs().max(),
        "largest |optimal - exact| in standard errors": in_errors((curves["optimal"] - many).abs(), curves["optimal"], N_MANY),
        "least ceiling of these points - exact": (curves["ceiling_of_these_points"] - exact).min(),
        "largest localization printed - corrected": (printed - corrected).max(),
        "mean exact - localization corrected": (exact - corrected).mean(),
        "largest localization corrected - paper": (corrected - curves["paper"]).max(),
        **{f"mean exact - smoothing {votes}": (exact - curves[f"smoothing_{votes}"]).mean() for votes in VOTES},
        **{f"last radius with half, {name}": last[name] for name in last},
        **{f"area {name}": np.trapezoid(curves[name], curves["radius"]) for name in AREAS},
    }


def write_summaries() -> None:
    """One row per panel, and one per figure: from ``synthetic.csv``."""
    curves = pd.read_csv(RESULTS / "synthetic.csv")
    panels = [
        dict(zip(("figure", "K", "R", "S"), place, strict=True)) | summary(group)
        for place, group in curves.groupby(["figure", "K", "R", "S"])
    ]
    write_csv("synthetic_panels", panels)
    table = pd.DataFrame(panels)
    numbers = [name for name in table if name not in ("figure", "K", "R", "S", "at radius") and not name.startswith("last")]
    ways = {name: {"least": "min", "largest": "max"}.get(name.split()[0], "mean") for name in numbers}
    groups = [(number, group) for number, group in table.groupby("figure")] + [("4 to 7", table)]
    write_csv("synthetic_figures", [{"figure": number} | group.agg(ways).to_dict() for number, group in groups])


# -- pictures ----------------------------------------------------------------------------------------------------------

LINES = {
    "ceiling": ("ceiling of all classifiers", {"color": COLOURS["black"], "linestyle": (0, (4, 2)), "linewidth": 1}),
    "pgd": ("under attack (PGD)", {"color": COLOURS["red"], "linestyle": "", "marker": "o", "markersize": 2.8, "zorder": 5}),
    "exact": ("exact", {"color": COLOURS["blue"], "linewidth": 3.2}),
    "pairwise": ("pairwise", {"color": COLOURS["sky"], "linewidth": 1.6, "linestyle": (0, (3, 1))}),
    "paper": ("the paper's formula", {"color": COLOURS["orange"], "linewidth": 1.5}),
    "smoothing_100000": ("smoothing, 100,000 votes", {"color": COLOURS["green"], "linewidth": 1.2}),
    "smoothing_10000": ("10,000 votes", {"color": COLOURS["green"], "linewidth": 1.2, "linestyle": (0, (4, 1.5))}),
    "smoothing_1000": ("1,000 votes", {"color": COLOURS["green"], "linewidth": 1.2, "linestyle": (0, (1, 1))}),
    "localization_corrected": ("localization, corrected", {"color": COLOURS["purple"], "linewidth": 1.6}),
    "localization_printed": ("localization, as printed", {"color": "#7a2f5e", "linewidth": 1.2, "linestyle": (0, (1, 1.2))}),
}


def draw() -> None:
    """One picture per number of classes, from ``synthetic.csv``."""
    curves = pd.read_csv(RESULTS / "synthetic.csv")
    for K in CLASSES:
        figure, axes = plt.subplots(2, len(CIRCLES), figsize=(9.6, 5.6), sharex=True, sharey=True, layout="constrained")
        for row, S in enumerate(("I", "1.5, 0.5")):
            for column, R in enumerate(CIRCLES):
                ax = axes[row, column]
                panel = curves[(curves["K"] == K) & (curves["R"] == R) & (curves["S"] == S)]
                for name, (label, style) in LINES.items():
                    ax.plot(panel["radius"], panel[name], label=label, **style)
                ax.set_title(f"R = {R}, S = I" if S == "I" else f"R = {R}, variances 1.5, 0.5", fontsize=9)
                ax.grid(color="0.92", linewidth=0.7)
                ax.spines[["top", "right"]].set_visible(False)
                ax.tick_params(labelsize=8)
        axes[0, 0].set(xlim=(0, 2), ylim=(-0.02, 1.02), xticks=[0, 0.5, 1, 1.5, 2])
        for ax in axes[1]:
            ax.set_xlabel("l2 radius", fontsize=9)
        for ax in axes[:, 0]:
            ax.set_ylabel("certified accuracy", fontsize=9)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
        figure.suptitle(f"{K} classes on a circle of radius R", fontsize=11)
        save(figure, f"synthetic_K{K}")


def main() -> None:
    write_csv("synthetic", measured())
    write_summaries()
    draw()


if __name__ == "__main__":
    main()
