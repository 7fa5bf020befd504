"""From latents to pixels as the paper goes (theorem 5.1, part 1), and an attack on it: ``python -m benchmarks.paper.pixels``.

The first test images of CIFAR-10 in ResNet-20, l2 perturbations of pixels in [0, 1]. Two estimates of a radius, neither with a
guarantee: CLEVER of the margins, as its authors define it and skcert offers it; and the radius on the latents over a local
constant of the encoder, the end of an extreme-value law fitted to largest singular values of its Jacobian at points drawn in a
ball (the paper attaches no ball to its constant; here its radius is 0.5). Each is held against the shortest change of label
that a search finds: steps along the gradient of the margin with a sphere that shrinks after success and grows after failure
(Rony et al. 2019), then projected gradient descent within the claimed radius, both with restarts. A label counts as changed
where the pipeline's own prediction says so at an image in [0, 1], and a claim as refuted where that image lies inside.

Seconds of processor time per image, of this encoder and of EfficientNet-Lite0 on one photograph of 224 x 224 that scikit-learn
holds, are in a file of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_sample_image
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import Pipeline
from torch import Tensor, nn
from tqdm.auto import tqdm

from benchmarks.lipschitz.resnet import imagenet_scaled, load_resnet
from benchmarks.lipschitz.table import images, linear_rule
from benchmarks.paper import COLOURS, save, write_csv
from benchmarks.paper.latents import DATA, efficientnet, imagenette, resnet
from skcert import CertifiedGMMClassifier, Clever, PretrainedEmbedder, certify
from skcert.lipschitz.clever import ball_points, extreme_value

IMAGES = 100
RADII = {"36/255": 36 / 255, "0.25": 0.25, "0.5": 0.5, "1": 1.0}
#: gradients for each image and rival; the authors of CLEVER take 500 batches of 1024
CLEVER = Clever(n_batches=8, batch_size=5)
AUTHORS = 500 * 1024
#: as few as will do for a time, of the larger encoder
FEW = Clever(n_batches=2, batch_size=4)
#: the local constant of the encoder: radius of the ball, points drawn in it by batches, steps of the power method
BALL, BATCHES, POINTS, POWER = 0.5, 6, 4, 6
#: the search for the shortest change of label, and the attack within the claimed radius
RESTARTS, STEPS, GROWTH = 2, 50, 0.05
PGD_RESTARTS, PGD_STEPS = 3, 30
#: images that are timed
TIMED = 5
#: heads whose margins CLEVER is computed of, and those whose points are drawn
ESTIMATED = ("own head", "mixture, tied")
DRAWN = (*ESTIMATED, "mixture, full")

# -----------------------------------------------------------------------------
# The encoder and its heads


def heads() -> dict[str, Any]:
    """Fitted classifiers of the latents."""
    latents = resnet(20)
    X, y = latents.X, latents.y
    assert latents.head is not None
    return {
        "own head": linear_rule(*latents.head),
        "mixture, tied": CertifiedGMMClassifier().fit(X, y),
        "mixture, full": CertifiedGMMClassifier(covariance_type="full").fit(X, y),
        "mixture, target radius": CertifiedGMMClassifier(target_radius=0.1 * latents.scale).fit(X, y),
        "NearestCentroid": NearestCentroid().fit(X, y),
        "LogisticRegression, C=0.001": LogisticRegression(C=1e-3, max_iter=5000).fit(X, y),
    }


def scores_of(head: Any) -> Callable[[Tensor], Tensor]:
    """The scores of a head on latents, for gradients."""
    if hasattr(head, "coef_"):
        weight, bias = (torch.from_numpy(np.asarray(each)).float() for each in (head.coef_, head.intercept_))
        return lambda z: z @ weight.T + bias
    if hasattr(head, "centroids_"):
        centroids = torch.from_numpy(head.centroids_).float()
        return lambda z: -torch.cdist(z, centroids).square()
    precisions = np.linalg.inv(head.covariances_)
    constants = 2 * np.log(head.priors_) - np.linalg.slogdet(head.covariances_)[1]
    P, mu, c = (torch.from_numpy(each).float() for each in (precisions, head.means_, constants))

    def quadratic(z: Tensor) -> Tensor:
        apart = z[:, None] - mu
        return c - torch.einsum("nki,kij,nkj->nk", apart, P, apart)

    return quadratic


def pipeline(encoder: nn.Module, preprocess: Callable[[Tensor], Tensor], head: Any, bound: Any, X: np.ndarray) -> Pipeline:
    embedder = PretrainedEmbedder(encoder, preprocess=preprocess, lipschitz=bound, progress=False).fit(X[:1])
    return Pipeline([("embed", embedder), ("head", head)])


# -----------------------------------------------------------------------------
# Estimates


def local_constant(f: Callable[[Tensor], Tensor], x: Tensor, seed: int) -> float:
    """The end of the law of the largest singular value of the Jacobian of f in a ball around an image; an estimate."""
    rng = np.random.RandomState(np.random.MT19937(np.random.SeedSequence((0, seed))))
    moves = BALL * ball_points(BATCHES * POINTS, x.numel(), 2, rng)
    points = x + torch.from_numpy(moves).float().reshape(-1, *x.shape)
    v = torch.from_numpy(rng.standard_normal(points.shape)).float()
    _, back = torch.func.vjp(f, points)
    for _ in range(POWER):
        v = v / lengths(v).reshape(-1, 1, 1, 1)
        _, pushed = torch.func.jvp(f, (points,), (v,))
        (v,) = back(pushed)
    steepest = lengths(v).sqrt().numpy()  # |J'J v| tends to the square of the largest singular value, from below
    return extreme_value(steepest.reshape(BATCHES, POINTS).max(axis=1))


def lengths(move: Tensor) -> Tensor:
    """Of each image, never 0."""
    return move.flatten(1).norm(dim=1).clamp_min(1e-12)


# -----------------------------------------------------------------------------
# Attacks


def downhill(f: Callable[[Tensor], Tensor], x: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """The margin of the predicted class over all others, and the direction in which it falls fastest."""
    x = x.detach().requires_grad_(True)
    scores = f(x)
    margin = scores.gather(1, own[:, None])[:, 0] - scores.scatter(1, own[:, None], -torch.inf).amax(1)
    (gradient,) = torch.autograd.grad(margin.sum(), x)
    return margin.detach(), -gradient / lengths(gradient).reshape(-1, 1, 1, 1)


def shortest(f: Callable[[Tensor], Tensor], X: Tensor, own: Tensor, seed: int = 0) -> Tensor:
    """Images of another class as near as the search finds them; the image itself where it finds none."""
    generator = torch.Generator().manual_seed(seed)
    best, reach = X.clone(), torch.full((len(X),), torch.inf)
    for restart in tqdm(range(RESTARTS), desc="shortest", leave=False):
        sphere = torch.full((len(X),), 0.2)
        delta = torch.zeros_like(X) if restart == 0 else 0.05 * scaled(torch.randn(X.shape, generator=generator))
        for step in range(STEPS):
            margin, direction = downhill(f, X + delta, own)
            size, over = lengths(delta), margin < 0
            better = over & (size < reach)
            best[better], reach[better] = (X + delta)[better], size[better]
            sphere = torch.where(over, torch.minimum(sphere, size) * (1 - GROWTH), sphere * (1 + GROWTH))
            stride = (sphere * (1 - 0.95 * step / STEPS)).reshape(-1, 1, 1, 1)
            delta = sphere.reshape(-1, 1, 1, 1) * scaled(delta + stride * direction)
            delta = (X + delta).clamp(0, 1) - X
    return best


def within(f: Callable[[Tensor], Tensor], X: Tensor, own: Tensor, radius: Tensor, seed: int) -> Tensor:
    """Projected gradient descent in the balls, from the image or from a random point; the last images."""
    generator = torch.Generator().manual_seed(seed)
    radius = radius.reshape(-1, 1, 1, 1)
    delta = torch.zeros_like(X) if seed == 0 else radius * scaled(torch.randn(X.shape, generator=generator))
    for _ in range(PGD_STEPS):
        _, direction = downhill(f, (X + delta).clamp(0, 1), own)
        delta = (X + delta + 2.5 / PGD_STEPS * radius * direction).clamp(0, 1) - X
        delta = delta * (radius.flatten() / lengths(delta)).clamp_max(1).reshape(-1, 1, 1, 1)
    return X + delta


def scaled(move: Tensor) -> Tensor:
    return move / lengths(move).reshape(-1, 1, 1, 1)


def distance(moved: np.ndarray, X: np.ndarray) -> np.ndarray:
    return np.linalg.norm((moved.astype(float) - X).reshape(len(X), -1), axis=1)


def changed(pipe: Pipeline, moved: np.ndarray, X: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Distance of each image whose label the pipeline itself gives differently, else inf."""
    inside = (moved >= 0).all(axis=(1, 2, 3)) & (moved <= 1).all(axis=(1, 2, 3))
    return np.where(inside & (pipe.predict(moved) != prediction), distance(moved, X), np.inf)


def attacked(encoder: nn.Module, pipe: Pipeline, X: np.ndarray, claims: list[np.ndarray]) -> np.ndarray:
    """For each image the distance of the nearest one found with another label."""
    scores, x = scores_of(pipe["head"]), torch.from_numpy(X)

    def f(images: Tensor) -> Tensor:
        return scores(encoder(imagenet_scaled(images)))

    prediction = pipe.predict(X)
    own = torch.from_numpy(np.searchsorted(pipe["head"].classes_, prediction))
    found = shortest(f, x, own).numpy()
    reach, near, far = changed(pipe, found, X, prediction), np.zeros(len(X)), np.ones(len(X))
    for _ in range(8):  # nearer on the way to it
        middle = (near + far) / 2
        moved = (X + middle[:, None, None, None] * (found - X)).astype(np.float32)
        there = changed(pipe, moved, X, prediction)
        reach, hit = np.minimum(reach, there), np.isfinite(there)
        near, far = np.where(hit, near, middle), np.where(hit, middle, far)
    for claim in claims:
        for seed in tqdm(range(PGD_RESTARTS), desc="within", leave=False):
            rows = np.flatnonzero((reach >= claim) & (claim > 0))
            if len(rows):
                eps = torch.from_numpy(claim[rows]).float() * (1 - 1e-5)
                moved = within(f, x[rows], own[rows], eps, seed).numpy()
                reach[rows] = np.minimum(reach[rows], changed(pipe, moved, X[rows], prediction[rows]))
    return reach


# -----------------------------------------------------------------------------
# The table


def row(name: str, estimate: str, claimed: np.ndarray, reach: np.ndarray, right: np.ndarray) -> dict[str, object]:
    """Shares of images; claims and attacks are judged on all of them, right or wrong."""
    cells: dict[str, object] = {
        "head": name,
        "estimate": estimate,
        "grade": "none",
        "images": len(right),
        "clean": right.mean(),
    }
    for each, r in RADII.items():
        cells[f"certified@{each}"] = (right & (claimed >= r)).mean()
    cells |= {"claimed_median": np.median(claimed), "claimed_largest": claimed.max()}
    for each, r in RADII.items():
        cells[f"attacked@{each}"] = (right & (reach > r)).mean()
    share = claimed / reach
    values = np.median(reach), np.median(share), share.max(), (reach < claimed).sum(), (reach < 1.25 * claimed).sum()
    return cells | dict(zip(MEASURED, values, strict=True))


#: columns of what was attacked
MEASURED = (
    "attack_median",
    "claimed_over_attack_median",
    "claimed_over_attack_largest",
    "refuted",
    "refuted_if_a_quarter_longer",
)


def main() -> None:
    X, y = images(DATA / "cifar10" / "cifar10_test.npz", IMAGES)
    encoder = load_resnet(DATA / "cifar10" / "resnet20-12fca82f.th", 3).requires_grad_(False)
    models, table, points = heads(), [], []
    constants = np.array([local_constant(in_pixels(encoder), torch.from_numpy(x), i) for i, x in enumerate(tqdm(X))])
    for name, head in tqdm(models.items(), desc="heads"):
        pipe = pipeline(encoder, imagenet_scaled, head, None, X)
        latents, right = pipe["embed"].transform(X), pipe.predict(X) == y
        methods = ("paper", "exact") if name in ("mixture, full", "mixture, tied") else ("exact",)
        claims = {
            f"{each} radius on latents / constant": certify(head, latents, method=each).radius / constants for each in methods
        }
        if name in ESTIMATED:
            claims["CLEVER of the margins"] = certify(pipeline(encoder, imagenet_scaled, head, CLEVER, X), X).radius
        reach = attacked(encoder, pipe, X, list(claims.values()))
        if name in DRAWN:
            estimate, claimed = list(claims.items())[-1]
            pairs = enumerate(zip(claimed, reach, strict=True))
            points += [{"head": name, "estimate": estimate, "image": i, "claimed": c, "attack": a} for i, (c, a) in pairs]
        table += [row(name, estimate, claimed, reach, right) for estimate, claimed in claims.items()]
    found = {"smallest": constants.min(), "median": np.median(constants), "largest": constants.max()}
    write_csv("pixels", table, digits=3)
    write_csv("pixels_points", points, digits=3)
    write_csv("pixels_constants", [{"images": len(X), "ball": BALL, **found}], digits=3)
    draw(points)
    write_csv("seconds", [*of_resnet(encoder, models, X[:TIMED]), *of_efficientnet()], digits=3)


def in_pixels(encoder: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: encoder(imagenet_scaled(x))


# -----------------------------------------------------------------------------
# Seconds


def line(encoder: str, what: str, value: float, kind: str) -> dict[str, object]:
    return {"encoder": encoder, "what": what, "seconds_per_image": value, "minutes_per_image": value / 60, "kind": kind}


def seconds(n: int, function: Callable[[], Any]) -> float:
    """Processor time of a call for each of n images: what else the machine does is left out."""
    start = time.process_time()
    function()
    return (time.process_time() - start) / n


def timed(name: str, encoder: nn.Module, preprocess, head: Any, mixture: Any, X: np.ndarray) -> list[dict[str, object]]:
    """Prediction, certificates of its latents, and votes under noise, by as many passes."""
    pipe = pipeline(encoder, preprocess, head, None, X)
    random = np.random.default_rng(0)
    latents = np.repeat(pipe["embed"].transform(X[:1]), 1000, axis=0)
    latents = latents + 1e-3 * random.standard_normal(latents.shape)
    noisy = random.normal(np.repeat(X[:1], 32, axis=0), 0.25).astype(np.float32)
    predict_s, pass_s = (seconds(len(each), lambda each=each: pipe.predict(each)) for each in (X, noisy))
    certify_s = seconds(len(latents), lambda: mixture.certify(latents, method="exact"))
    return [
        line(name, "predict", predict_s, "measured"),
        line(name, f"exact certificate of a {mixture.covariance_type} mixture on the latents", certify_s, "measured"),
        line(name, "smoothing, 10,100 passes", 10_100 * pass_s, "extrapolated from 32"),
        line(name, "smoothing, 100,100 passes", 100_100 * pass_s, "extrapolated from 32"),
    ]


def estimated(name: str, encoder: nn.Module, preprocess, head: Any, settings: Clever, X: np.ndarray) -> list[dict[str, object]]:
    """CLEVER of the margins, and the local constant."""
    gradients = settings.n_batches * settings.batch_size
    pipe = pipeline(encoder, preprocess, head, settings, X)
    clever_s = seconds(len(X), lambda: certify(pipe, X))
    constant_s = seconds(1, lambda: local_constant(lambda x: encoder(preprocess(x)), torch.from_numpy(X[0]), 0))
    return [
        line(name, f"CLEVER of the margins, {gradients} gradients a rival", clever_s, "measured"),
        line(name, f"CLEVER of the margins, {AUTHORS:,} gradients a rival", clever_s * AUTHORS / gradients, "extrapolated"),
        line(name, f"local constant of the encoder, {BATCHES * POINTS} Jacobians", constant_s, "measured"),
    ]


def of_resnet(encoder: nn.Module, models: dict[str, Any], X: np.ndarray) -> list[dict[str, object]]:
    name, head = "CIFAR-10, ResNet-20", models["own head"]
    pipe = pipeline(encoder, imagenet_scaled, head, None, X)
    attack_s = seconds(len(X), lambda: attacked(encoder, pipe, X, [np.full(len(X), 0.05)]))
    found = timed(name, encoder, imagenet_scaled, head, models["mixture, full"], X)
    found += estimated(name, encoder, imagenet_scaled, head, CLEVER, X)
    return [*found, line(name, "attack", attack_s, "measured")]


class Features(nn.Module):
    """EfficientNet-Lite0 up to its 1,280 latents."""

    def __init__(self) -> None:
        super().__init__()
        self.network = efficientnet().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.network.extract_features(x).mean((2, 3))


def photograph_scaled(x: Tensor) -> Tensor:
    """Pixels in [0, 1] as this network was trained on them."""
    return (255 * x - 127) / 128


def of_efficientnet() -> list[dict[str, object]]:
    name, encoder = "ImageNet, EfficientNet-Lite0", Features().eval()
    X = (load_sample_image("china.jpg")[100:324, 200:424].transpose(2, 0, 1)[None] / 255).astype(np.float32)
    latents = imagenette()
    assert latents.head is not None
    head = linear_rule(*latents.head)
    mixture = CertifiedGMMClassifier().fit(latents.X, latents.y)
    found = timed(name, encoder, photograph_scaled, head, mixture, np.repeat(X, 8, axis=0))
    return [*found, *estimated(name, encoder, photograph_scaled, head, FEW, X)]


def draw(points: list[dict[str, object]]) -> None:
    """What is claimed against what the attack found, image by image."""
    names = list(dict.fromkeys((str(each["head"]), str(each["estimate"])) for each in points))
    figure, axes = plt.subplots(1, len(names), figsize=(3.3 * len(names), 3.5), sharex=True, sharey=True, layout="constrained")
    for ax, name in zip(axes, names, strict=True):
        own = [each for each in points if (each["head"], each["estimate"]) == name]
        claimed, attack = (np.array([float(str(each[key])) for each in own]) for key in ("claimed", "attack"))
        broken = attack < claimed
        ax.scatter(attack[~broken], claimed[~broken], s=14, color=COLOURS["blue"], alpha=0.6, linewidths=0, label="not refuted")
        ax.scatter(attack[broken], claimed[broken], s=26, marker="X", color=COLOURS["red"], label="refuted")
        ends = np.array([2e-3, 1])
        ax.plot(ends, ends, color=COLOURS["black"], linewidth=0.8)
        ax.set(xscale="log", yscale="log", xlim=(2e-3, 1), ylim=(1e-4, 1), xlabel="nearest image found with another label")
        ax.set_title(f"{name[0]}: {name[1]}\nrefuted: {broken.sum()} of {len(own)}", fontsize=8)
        ax.grid(color="0.92")
        ax.set_axisbelow(True)
    axes[0].set_ylabel("estimated radius (l2, pixels in [0, 1])")
    axes[0].legend(fontsize=8, frameon=False)
    save(figure, "pixels")


if __name__ == "__main__":
    main()
