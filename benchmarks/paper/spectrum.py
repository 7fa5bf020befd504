"""Spectrum and correlation of the classes, before and after the shaper (figure 3): ``python -m benchmarks.paper.spectrum``.

Of the held-out points of each class, in all dimensions that they span. What an isotropic Gaussian law would show at as many
points and dimensions stands beside, drawn at random: a sample of a few hundred points never has a flat spectrum.
"""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
from tqdm.auto import tqdm

from benchmarks.paper import COLOURS, save, write_csv
from benchmarks.paper.latents import OBJECTIVES, Latents, imagenette, projected, resnet, shaped

#: eigenvalues below this share of the largest are rounding: features are kept in float32
ROUNDING = 1e-6
#: class whose correlations are drawn
DRAWN = 3
#: features of it that are drawn, at most
SHOWN = 64


def stages() -> Iterator[list[Latents]]:
    """For each encoder: before, after each shaper, and a Gaussian law."""
    for latents, d in ((resnet(20), 64), (imagenette(), 128)):
        before = latents if latents.d == d else projected(latents, d)
        yield [before, *(shaped(latents, objective) for objective in OBJECTIVES), isotropic(before)]


def isotropic(latents: Latents) -> Latents:
    """Points of an isotropic law, as many in each class."""
    Z = np.random.default_rng(0).standard_normal(latents.Z.shape)
    return Latents(latents.name, latents.X, latents.y, Z, latents.labels, stage="isotropic Gaussian")


def covariances(latents: Latents) -> np.ndarray:
    """Of each class, shape (K, d, d)."""
    return np.array([np.cov(latents.Z[latents.labels == k], rowvar=False) for k in range(latents.labels.max() + 1)])


def spectrum(covariance: np.ndarray) -> np.ndarray:
    """Eigenvalues, descending, over their mean."""
    values = np.linalg.eigvalsh(covariance)[::-1]
    return np.where(values > ROUNDING * values[0], values, 0) / values.mean()


def correlation(covariance: np.ndarray) -> np.ndarray:
    """Between the features that vary."""
    variances = np.diag(covariance)
    alive = variances > ROUNDING * variances.max()
    roots = np.sqrt(variances[alive])
    return covariance[np.ix_(alive, alive)] / np.outer(roots, roots)


def summary(covariance: np.ndarray) -> dict[str, float]:
    """Effective rank: the exponential of the entropy of the spectrum (Roy and Vetterli 2007). Condition: inf if singular."""
    values, R = spectrum(covariance), correlation(covariance)
    shares = values[values > 0] / values.sum()
    return {
        "effective_rank": float(np.exp(-shares @ np.log(shares))),
        "rank": int((values > 0).sum()),
        "condition": float(values[0] / values[-1]) if values[-1] > 0 else np.inf,
        "largest_over_median": float(values[0] / np.median(values)) if np.median(values) > 0 else np.inf,
        "largest_share": float(shares[0]),
        "mean_abs_correlation": float(np.abs(R[~np.eye(len(R), dtype=bool)]).mean()),
        "distance_from_isotropic": float(np.linalg.norm(values - 1) / np.linalg.norm(values)),
    }


def main() -> None:
    table, curves, drawn = [], [], []
    for group in tqdm(stages(), desc="encoders", total=2):
        for latents in group:
            each = covariances(latents)
            found = [summary(covariance) for covariance in each]
            middle = {key: np.median([one[key] for one in found]) for key in found[0]}
            counts = np.bincount(latents.labels)
            heading = {"latents": latents.name, "stage": latents.stage}
            table.append({**heading, "d": latents.d, "classes": len(each), "n_smallest_class": counts.min(), **middle})
            spectra = np.array([spectrum(covariance) for covariance in each])
            curves += [
                {**heading, "rank": rank + 1, "lowest": column.min(), "median": np.median(column), "highest": column.max()}
                for rank, column in enumerate(spectra.T)
            ]
            drawn.append((latents, spectra, correlation(each[DRAWN])))
    write_csv("spectrum", table, digits=3)
    write_csv("spectrum_curves", curves, digits=3)
    draw(drawn)


def draw(drawn: list[tuple[Latents, np.ndarray, np.ndarray]]) -> None:
    """Above the spectra of all classes, below the correlations of one."""
    columns = len(drawn)
    figure, axes = plt.subplots(2, columns, figsize=(1.75 * columns, 4.1), layout="constrained", height_ratios=(1.15, 1))
    for place, (latents, spectra, R) in enumerate(drawn):
        top, below = axes[:, place]
        ranks = np.arange(1, spectra.shape[1] + 1)
        positive = np.where(spectra > 0, spectra, np.nan)
        colour = COLOURS["grey"] if "Gaussian" in latents.stage else COLOURS["red" if "shaped" in latents.stage else "blue"]
        top.plot(ranks, positive.T, color=colour, linewidth=0.7)
        top.axhline(1, color=COLOURS["black"], linewidth=0.6, linestyle=":")
        top.set(yscale="log", ylim=(1e-4, 60), title=f"{latents.name.split(', ')[1]}\n{latents.stage}")
        top.title.set_fontsize(7.5)
        top.tick_params(labelsize=7)
        top.set_xlabel("rank", fontsize=8)
        picture = below.imshow(np.abs(R[:SHOWN, :SHOWN]), cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
        below.set(xticks=[], yticks=[])
        below.set_xlabel(f"mean {np.abs(R[~np.eye(len(R), dtype=bool)]).mean():.2f}", fontsize=8)
        if place % (columns // 2):
            top.tick_params(labelleft=False)
    axes[0, 0].set_ylabel("eigenvalue / mean", fontsize=8)
    axes[1, 0].set_ylabel(f"|correlation|, class {DRAWN}", fontsize=8)
    bar = figure.colorbar(picture, ax=axes[1, :], fraction=0.012, pad=0.01)
    bar.ax.tick_params(labelsize=7)
    save(figure, "spectrum")


if __name__ == "__main__":
    main()
