"""Certified accuracy on CIFAR-10 images, by encoder, head and Lipschitz bound: ``python -m benchmarks.lipschitz.table``.

Two ResNets trained as usual and the 1-Lipschitz encoder kept here; l2 perturbations of pixels in [0, 1]; the first test
images. Beside every certified accuracy stands the accuracy under projected gradient descent (adversarial-robustness-toolbox,
the extra "bench"), an upper bound of any true one. The run fails where a point is certified with a guarantee and broken by
the attack within the certified radius. A bound is called vacuous, with its constant, where it certifies nothing at the
smallest radius. Results are written to table.csv and table.md beside this file, row by row.

Data: SKCERT_DATA/cifar10 (or --data) with cifar10_test.npz, cifar10_train_0.npz, cifar10_resnet{20,56}_emb.npz and the weights
resnet20-12fca82f.th, resnet56-4bfd9763.th of github.com/akamaster/pytorch_resnet_cifar10.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from torch import Tensor, nn
from tqdm.auto import tqdm

from benchmarks.lipschitz.encoders import MaxMin, load, load_head
from benchmarks.lipschitz.resnet import imagenet_scaled, load_resnet
from skcert import CertifiedGMMClassifier, Clever, PretrainedEmbedder, Uncertifiable, certify

DATA = Path(os.environ.get("SKCERT_DATA", "../shared/data")) / "cifar10"
RADII = {"36/255": 36 / 255, "0.25": 0.25, "0.5": 0.5}
ENCODERS = ("resnet20", "resnet56", "one-lipschitz")
HEADS = ("own", "mixture", "logistic")
BOUNDS = ("global", "local", "clever")
#: gradients for each image and rival; the authors of CLEVER take 500 batches of 1024
CLEVER = Clever(n_batches=5, batch_size=4)

# -----------------------------------------------------------------------------
# Data and encoders


@dataclass(frozen=True)
class Encoder:
    """A torch module, what is done to pixels before it, its own linear head, and training latents for other heads."""

    name: str
    module: nn.Module
    preprocess: Callable[[Tensor], Tensor] | None
    own_head: tuple[np.ndarray, np.ndarray]
    latents: np.ndarray
    labels: np.ndarray


def images(path: Path, n: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """float32 (n, 3, h, w) with pixels in [0, 1], and labels."""
    stored = np.load(path)
    X = stored["images"][:n].transpose(0, 3, 1, 2).astype(np.float32) / 255
    return np.ascontiguousarray(X), stored["labels"][:n].astype(int)


def encoder(name: str, data: Path) -> Encoder:
    if name == "one-lipschitz":
        module = load()
        X, y = images(data / "cifar10_train_0.npz")
        latents = PretrainedEmbedder(module, progress=False).fit_transform(X)
        weight, bias = load_head()
        return Encoder(name, module, None, (weight.numpy(), bias.numpy()), latents, y)
    n_blocks, weights = {"resnet20": (3, "resnet20-12fca82f.th"), "resnet56": (9, "resnet56-4bfd9763.th")}[name]
    stored = np.load(data / f"cifar10_{name}_emb.npz")
    own_head = stored["head_weight"], stored["head_bias"]
    latents, labels = stored["train"].astype(float), stored["train_labels"].astype(int)
    return Encoder(name, load_resnet(data / weights, n_blocks), imagenet_scaled, own_head, latents, labels)


# -----------------------------------------------------------------------------
# Heads


def fitted_head(kind: str, enc: Encoder) -> Any:
    """A fitted classifier of latents with linear boundaries.

    C was chosen for certified accuracy at the smallest radius on training images that the fit had not seen: latents of the
    1-Lipschitz encoder are about as long as the pixels it is given, those of the ResNets ten times longer.
    """
    if kind == "own":
        return linear_rule(*enc.own_head)
    if kind == "logistic":
        return LogisticRegression(C=1e-2 if enc.name == "one-lipschitz" else 1e-3, max_iter=5000).fit(enc.latents, enc.labels)
    radius = RADII["36/255"] if enc.name == "one-lipschitz" else None  # there a radius on latents is one on pixels
    return CertifiedGMMClassifier(target_radius=radius).fit(enc.latents, enc.labels)


def linear_rule(weight: np.ndarray, bias: np.ndarray) -> LogisticRegression:
    """A fitted LogisticRegression with these parameters."""
    rule = LogisticRegression()
    rule.coef_, rule.intercept_ = weight.astype(float), bias.astype(float)
    rule.classes_, rule.n_features_in_ = np.arange(len(bias)), weight.shape[1]
    return rule


# -----------------------------------------------------------------------------
# Attack


class Attacked(nn.Module):
    """Pixels to scores; for the attack's cross-entropy scaled to margins of about 1, where its gradient does not vanish."""

    def __init__(self, enc: Encoder, head: Any) -> None:
        super().__init__()
        top = np.sort(head.decision_function(enc.latents[:1000]), axis=1)
        scale = float(np.median(top[:, -1] - top[:, -2]))
        self.encoder, self.preprocess = enc.module, enc.preprocess
        self.linear = nn.Linear(*head.coef_.shape[::-1])
        weight, bias = (torch.from_numpy(each / scale) for each in (head.coef_, head.intercept_))
        self.linear.load_state_dict({"weight": weight, "bias": bias})
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.encoder(x if self.preprocess is None else self.preprocess(x)))


def broken_within(pipe: Pipeline, network: Attacked, X: np.ndarray, y: np.ndarray, steps: int, batch: int = 50) -> np.ndarray:
    """For each image the smallest of RADII within which it was misclassified: 0 without any change, inf if not found.

    What counts is the pipeline's own prediction, at points whose distance in float64 is at most the radius.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from art.attacks.evasion import ProjectedGradientDescentPyTorch
        from art.estimators.classification import PyTorchClassifier

    target = PyTorchClassifier(
        network,
        loss=nn.CrossEntropyLoss(),
        input_shape=X.shape[1:],
        nb_classes=network.linear.out_features,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    np.random.seed(0)  # noqa: NPY002  (the library draws its starts from here)
    torch.manual_seed(0)
    broken = np.where(pipe.predict(X) == y, np.inf, 0.0)
    with tqdm(total=len(RADII) * len(X), desc="attack", unit="image", leave=False) as bar:
        for radius in RADII.values():
            standing = np.flatnonzero(np.isinf(broken))
            bar.update(len(X) - len(standing))
            eps = radius * (1 - 1e-5)  # float32 perturbations come out a little longer than asked for
            attack = ProjectedGradientDescentPyTorch(
                target, norm=2, eps=eps, eps_step=2.5 * eps / steps, max_iter=steps, num_random_init=1, verbose=False
            )
            for rows in np.split(standing, range(batch, len(standing), batch)):
                if not len(rows):
                    continue
                moved = attack.generate(X[rows], y[rows])
                length = np.linalg.norm((moved.astype(float) - X[rows]).reshape(len(rows), -1), axis=1)
                hit = (pipe.predict(moved) != y[rows]) & (length <= radius)
                broken[rows[hit]] = radius
                bar.update(len(rows))
    return broken


# -----------------------------------------------------------------------------
# One row


@dataclass(frozen=True)
class Row:
    encoder: str
    head: str
    bound: str
    guarantee: str
    constant: float
    images: int
    clean: int
    certified: list[int]
    attacked: list[int]
    refuted: int
    certify_s_per_image: float
    attack_s_per_image: float

    @property
    def remark(self) -> str:
        if self.certified[0] == 0:
            return f"vacuous: constant {self.constant:.3g}"
        if self.refuted:
            return f"refuted by the attack on {self.refuted} images"
        return ""


def pipeline(enc: Encoder, head: Any, bound: str | float, X: np.ndarray) -> Pipeline:
    embedder = PretrainedEmbedder(enc.module, preprocess=enc.preprocess, lipschitz=bound, progress=False).fit(X[:2])
    return Pipeline([("embed", embedder), ("clf", head)])


def row(enc: Encoder, head_name: str, head: Any, bound: str, X: np.ndarray, y: np.ndarray, broken: np.ndarray, attack_s: float):
    """Certify the images with one bound and hold the result against the attack."""
    value: Any = float(bound) if bound.replace(".", "").isdigit() else {"clever": CLEVER}.get(bound, bound)
    pipe = pipeline(enc, head, value, X)
    start = time.perf_counter()
    constant = value if isinstance(value, float) else float(pipe["embed"].lipschitz_report().constant)
    certificate = certify(pipe, X)
    seconds = time.perf_counter() - start
    right = certificate.prediction == y
    radius = np.where(right, certificate.radius, -np.inf)
    return Row(
        encoder=enc.name,
        head=head_name,
        bound=bound,
        guarantee=certificate.guarantee,
        constant=constant,
        images=len(X),
        clean=int(right.sum()),
        certified=[int((radius >= r).sum()) for r in RADII.values()],
        attacked=[int((broken > r).sum()) for r in RADII.values()],
        refuted=int((radius > broken).sum()),  # broken strictly within the open ball that was certified
        certify_s_per_image=seconds / len(X),
        attack_s_per_image=attack_s / len(X),
    )


# -----------------------------------------------------------------------------
# The table


def write(rows: list[Row], out: Path, command: str) -> None:
    names = [field.name for field in fields(Row) if field.name not in ("certified", "attacked")]
    radii = [f"{kind}@{r}" for kind in ("certified", "attacked") for r in RADII]
    with out.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*names, *radii, "remark"])
        writer.writeheader()
        for each in rows:
            cells = asdict(each)
            counts = [*cells.pop("certified"), *cells.pop("attacked")]
            writer.writerow({**cells, **dict(zip(radii, counts, strict=True)), "remark": each.remark})
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("numpy", "scikit-learn", "torch", "adversarial-robustness-toolbox")
    )
    head = ["encoder", "head", "bound", "guarantee", "clean", *(f"certified (PGD) at {r}" for r in RADII), "s / image", ""]
    lines = [
        f"Certified accuracy in % of the first {rows[0].images} test images of CIFAR-10, in brackets that under PGD;",
        "l2, pixels in [0, 1]. Seconds per image: certificate; attack at all three radii. CLEVER, which guarantees nothing, is",
        f"from {CLEVER.n_batches * CLEVER.batch_size} gradients for each image and rival; local bounds are for ReLU networks.",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    for each in rows:
        counts = [f"{percent(c, each)} ({percent(a, each)})" for c, a in zip(each.certified, each.attacked, strict=True)]
        seconds = f"{each.certify_s_per_image:.3f}; {each.attack_s_per_image:.3f}"
        cells = [each.encoder, each.head, each.bound, each.guarantee, percent(each.clean, each), *counts, seconds, each.remark]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        f"`{command}`; Python {platform.python_version()}, {versions}; "
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} thread(s); {time.strftime('%Y-%m-%d')}.",
    ]
    out.with_suffix(".md").write_text("\n".join(lines) + "\n")


def percent(count: int, each: Row) -> str:
    return f"{100 * count / each.images:.1f}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Certified accuracy on CIFAR-10 by encoder, head and Lipschitz bound.")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=ENCODERS)
    parser.add_argument("--heads", nargs="+", choices=HEADS, help="default: all, of the ResNets their own")
    parser.add_argument("--bounds", nargs="+", default=BOUNDS, help=f"of {', '.join(BOUNDS)}, or a number to vouch for")
    parser.add_argument("--steps", type=int, default=20, help="steps of the attack")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("table"), help="results, without suffix")
    options = parser.parse_args(arguments)
    changed = [
        f"--{name} {value}"
        for name, value in (("images", options.images), ("steps", options.steps))
        if value != parser.get_default(name)
    ]
    command = " ".join(["python -m benchmarks.lipschitz.table", *changed])

    register_maxmin()
    X, y = images(options.data / "cifar10_test.npz", options.images)
    rows: list[Row] = []
    for name in options.encoders:
        enc = encoder(name, options.data)
        for head_name in options.heads or (HEADS if name == "one-lipschitz" else ("own",)):
            head = fitted_head(head_name, enc)
            start = time.perf_counter()
            broken = broken_within(pipeline(enc, head, None, X), Attacked(enc, head), X, y, options.steps)
            attack_s = time.perf_counter() - start
            for bound in options.bounds:
                try:
                    rows.append(row(enc, head_name, head, bound, X, y, broken, attack_s))
                except Uncertifiable as reason:  # local bounds are for networks of ReLUs
                    tqdm.write(f"{name}, {head_name}, {bound}: {reason}")
                    continue
                write(rows, options.out, command)
                tqdm.write(str(rows[-1]) + " " + rows[-1].remark)
    unsound = [each for each in rows if each.guarantee != "none" and each.refuted]
    above = [each for each in rows if each.guarantee != "none" and any(np.array(each.certified) > each.attacked)]
    if unsound or above:
        raise SystemExit(f"certified with a guarantee and broken by the attack: {unsound or above}")


def register_maxmin() -> None:
    """MaxMin's constant, for the bounds that are computed from the layers."""
    from skcert import register_lipschitz

    register_lipschitz(MaxMin, lambda module, x: 1.0)


if __name__ == "__main__":
    main()
