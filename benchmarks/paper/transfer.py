"""From the fitted mixture to the latents (theorem 5.1, part 2): ``python -m benchmarks.paper.transfer``.

Q is a tied mixture fitted to latents, P the law of held-out latents with their labels. Certified accuracy under Q is a lower
confidence limit of Monte Carlo; the divergence KL(P || Q) of the joint laws is estimated from the held-out points, in the K - 1
coordinates that the linear rule depends on (theory 4.2); so all that is transferred is estimated. Beside it stands the truth:
what the held-out points show, with Clopper and Pearson's limits. Two rules on the same Q: its Bayes rule, and that for a target
radius. Q is fitted to training points, which the encoders have seen, or to half of the test points; the other half is judged.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from tqdm.auto import tqdm

from benchmarks.paper import COLOURS, save, write_csv
from benchmarks.paper.latents import Latents, imagenette, minilm, projected, resnet, shaped
from skcert import Affine, CertifiedGMMClassifier, certify
from skcert.diagnostics import DivergenceEstimate, kl_divergence
from skcert.theory import (
    _gaussians,
    certified_accuracy_interval,
    classwise_transfer_certified_accuracy,
    transfer_certified_accuracy,
)

#: radii, in units of the scale of the latents
SHARES = (0.0, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
#: at which the robust rule is aimed
TARGET = 0.1
#: draws from Q
DRAWS = 1_000_000
CONFIDENCE = 0.95


def cases() -> Iterator[tuple[Latents, str]]:
    """Latents, and what Q is fitted to."""
    cifar10 = [resnet(20), resnet(56)]
    for latents in cifar10:
        yield latents, "training points"
    photographs = imagenette()
    for latents in (*cifar10, projected(photographs, 128)):
        yield halved(latents), "half of the test points"
    yield minilm("sms_spam"), "training points"
    yield distinct(minilm("sms_spam")), "training points"
    yield minilm("banking77"), "training points"
    for latents in (*cifar10, photographs):
        yield halved(shaped(latents, "certified-margin")), "half of the test points"
    yield distinct(shaped(minilm("sms_spam"), "certified-margin")), "training points"


def halved(latents: Latents) -> Latents:
    """Every other test point in place of the training points."""
    Z, labels = latents.Z, latents.labels
    return Latents(latents.name, Z[::2], labels[::2], Z[1::2], labels[1::2], stage=latents.stage)


def distinct(latents: Latents) -> Latents:
    """Without test points that occur twice: the same message, sent to several."""
    _, first = np.unique(latents.Z, axis=0, return_index=True)
    return replace(latents, Z=latents.Z[first], labels=latents.labels[first], stage=f"{latents.stage}, distinct")


def law(model: CertifiedGMMClassifier) -> np.ndarray:
    """The covariance of Q: without what a target radius adds for the rule."""
    return model.covariances_ - getattr(model, "robust_shrinkage_", 0.0) * np.eye(model.means_.shape[1])


def seen(model: CertifiedGMMClassifier) -> np.ndarray:
    """An orthonormal basis of what the linear rule depends on, as columns."""
    apart = model.means_[1:] - model.means_[0]
    return np.linalg.qr(np.linalg.solve(model.covariances_, apart.T))[0]


def divergence(latents: Latents, model: CertifiedGMMClassifier, basis: np.ndarray) -> DivergenceEstimate:
    """Of the held-out points from Q, in the coordinates of a basis."""
    inside = CertifiedGMMClassifier.from_parameters(model.means_ @ basis, basis.T @ law(model) @ basis, model.priors_)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of dimensions above ten: the table says how many there are
        return kl_divergence(latents.Z @ basis, inside, y=latents.labels)


def divergences(latents: Latents, fitted_on: str) -> Iterator[dict[str, object]]:
    """What is found in all coordinates and in those of each rule, or why nothing is."""
    for rule, model in rules(latents).items():
        spaces = {"where the rule decides": seen(model)}
        if rule == "Bayes":
            spaces = {"all features": np.eye(latents.d)} | spaces
        for space, basis in spaces.items():
            line = heading(latents, fitted_on, rule) | {"space": space, "d": basis.shape[1], "n": len(latents.Z)}
            try:
                found = divergence(latents, model, basis)
            except ValueError as reason:
                few = f"too few points for {basis.shape[1]} dimensions: {latents.per_class} in the smallest class"
                remark = few if str(reason).startswith("Too few") else str(reason).split(",")[0]
                yield line | {"kl": "", "low": "", "high": "", "remark": remark}
            else:
                doubt = "above ten dimensions: unreliable" if basis.shape[1] > 10 else "estimated"
                yield line | {"kl": found.kl, "low": found.low, "high": found.high, "remark": doubt}


def heading(latents: Latents, fitted_on: str, rule: str) -> dict[str, object]:
    return {"latents": latents.name, "stage": latents.stage, "Q fitted on": fitted_on, "rule": rule}


def rules(latents: Latents) -> dict[str, CertifiedGMMClassifier]:
    """The Bayes rule of Q, and that for a target radius: both of the same Q."""
    target = TARGET * latents.scale
    return {
        "Bayes": CertifiedGMMClassifier().fit(latents.X, latents.y),
        "target radius": CertifiedGMMClassifier(target_radius=target).fit(latents.X, latents.y),
    }


def under_q(model: CertifiedGMMClassifier, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower limits of the certified accuracy under Q: of all (n_radii,), and of each class (K, n_radii).

    Drawn in the coordinates that the rule depends on, where its radii are the same. Where nearly all is certified, the limits
    still say how many were drawn, and what is transferred with them.
    """
    K, basis = len(model.priors_), seen(model)
    rule = Affine(model.coef_ @ basis, model.intercept_)
    random = np.random.default_rng(0)
    draws, labels = _gaussians.draw(model.means_ @ basis, basis.T @ law(model) @ basis, model.priors_, DRAWS, random)
    found = certify(rule, draws)
    right = found.prediction == labels

    def lower(rows, confidence):
        return certified_accuracy_interval(
            found.radius[rows], right[rows], radii=radii, confidence=confidence, alternative="lower"
        )[0]

    classes = [lower(labels == k, 1 - (1 - CONFIDENCE) / K) for k in range(K)]
    return lower(slice(None), CONFIDENCE), np.array(classes)


def curves(latents: Latents, fitted_on: str) -> Iterator[dict[str, object]]:
    """For each rule and radius: under Q, transferred, and true."""
    radii = np.array(SHARES) * latents.scale
    weights = np.bincount(latents.labels) / len(latents.labels)
    for rule, model in rules(latents).items():
        try:
            found = divergence(latents, model, seen(model))
        except ValueError:
            continue
        q, classes = under_q(model, radii)
        certificate = certify(model, latents.Z)
        right = certificate.prediction == latents.labels
        truth = certificate.certified_accuracy(latents.labels, radii)
        low, high = certified_accuracy_interval(certificate.radius, right, radii=radii, confidence=CONFIDENCE)
        bounds = {
            "pinsker": transfer_certified_accuracy(q, found.kl, method="pinsker"),
            "exact": transfer_certified_accuracy(q, found.kl),
            "exact, upper end of KL": transfer_certified_accuracy(q, found.high),
            "class by class": [
                classwise_transfer_certified_accuracy(column, np.maximum(found.per_class, 0), weights) for column in classes.T
            ],
        }
        for place, share in enumerate(SHARES):
            yield heading(latents, fitted_on, rule) | {
                "radius / scale": share,
                "radius": radii[place],
                "kl": found.kl,
                "under Q": q[place],
                **{name: values[place] for name, values in bounds.items()},
                "held out": truth[place],
                "held out, low": low[place],
                "held out, high": high[place],
                "n": len(latents.Z),
            }


def main() -> None:
    found, table = [], []
    for latents, fitted_on in tqdm(cases(), desc="cases", total=11):
        found += divergences(latents, fitted_on)
        table += curves(latents, fitted_on)
    write_csv("transfer_divergence", found, digits=3)
    write_csv("transfer", table, digits=4)
    draw(table)


def draw(table: list[dict[str, object]]) -> None:
    """One panel for each case of the rule for a target radius."""
    table = [each for each in table if each["rule"] == "target radius"]
    names = list(dict.fromkeys((each["latents"], each["stage"], each["Q fitted on"]) for each in table))
    columns, lines = 4, -(-len(names) // 4)
    figure, axes = plt.subplots(
        lines, columns, figsize=(11, 2.7 * lines + 0.6), sharey=True, squeeze=False, layout="constrained"
    )
    styles = {
        "under Q": ("black", "--", "under Q"),
        "held out": ("blue", "-", "held-out points, 95 %"),
        "class by class": ("green", "-.", "transferred, class by class"),
        "exact": ("orange", "-", "transferred, exact"),
        "pinsker": ("red", ":", "transferred, Pinsker"),
    }
    for ax in axes.flat[len(names) :]:
        ax.axis("off")
    for ax, name in zip(axes.flat, names, strict=False):
        own = [each for each in table if (each["latents"], each["stage"], each["Q fitted on"]) == name]
        x = [each["radius / scale"] for each in own]
        band = [[each[f"held out, {end}"] for each in own] for end in ("low", "high")]
        ax.fill_between(x, *band, color=COLOURS["blue"], alpha=0.2, linewidth=0)
        for column, (colour, line, label) in styles.items():
            ax.plot(x, [each[column] for each in own], line, color=COLOURS[colour], label=label, linewidth=1.4)
        kl = float(str(own[0]["kl"]))
        ax.set_title(f"{name[0]}\n{name[1]}; KL about {kl:.2g}\nQ fitted on {name[2]}", fontsize=8)
        ax.set(ylim=(0, 1), xlim=(0, SHARES[-1]))
        ax.grid(color="0.92")
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    for ax in axes[-1]:
        ax.set_xlabel("l2 radius on the latents / scale", fontsize=8)
    figure.supylabel("certified accuracy", fontsize=9)
    save(figure, "transfer")


if __name__ == "__main__":
    main()
