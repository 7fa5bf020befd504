"""Certificates of one classifier by what people use for them: ``python -m benchmarks.peers`` (the extra "bench").

The same fitted Gaussian classifier, the same points, l2. Every radius is held against two others: the exact one, and the
length of an attack that was checked with ``predict``. A radius above that attack is a violation: it promises what is not so.
Two kinds of peers certify another classifier, and are held against its radius (nearest means) or cannot violate anything
(votes under noise, whose answers are those of the smoothed classifier). Expensive peers get fewer points, always the first of
the same shuffled test points. CPU time on one core. Results are written to results/peers.csv and results/peers.md.

Data: benchmarks/problems.py.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.neighbors import NearestCentroid
from threadpoolctl import threadpool_limits

from benchmarks.measuring import timed
from benchmarks.problems import Latents, cifar10, imagenette
from benchmarks.tables import RESULTS, write_table
from skcert import CertifiedGMMClassifier, Certifier

COLUMNS = [
    "latents",
    "covariance",
    "by",
    "of",
    "points",
    "ms / point",
    "set-up, s",
    "radius / exact, median",
    "lowest 10 %",
    "largest",
    "violations, %",
    "by > 0.1 %",
]
ALPHA = 0.001
#: standard deviations of the noise, in median radii; the best of them by median radius is kept
NOISES = (0.0625, 0.125, 0.25, 0.5, 1.0, 2.0)

Certify = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Problem:
    """A fitted classifier, what it was fitted on, points, their exact radii, and how long an attack on each had to be."""

    latents: Latents
    model: CertifiedGMMClassifier
    Z: np.ndarray
    exact: np.ndarray
    broken: np.ndarray


@dataclass(frozen=True)
class Peer:
    """``make`` does what is done once and returns the function of points to radii."""

    name: str
    of: str
    points: int
    make: Callable[[Problem], Certify]


def attacked(model, Z: np.ndarray) -> np.ndarray:
    """Lengths of changes of the points that change the prediction, inf where none was found."""
    attack = Certifier(model).certify(Z, return_attack=True).attack
    found = ~np.isnan(attack).any(axis=1)
    broken = np.full(len(Z), np.inf)
    changed = model.predict(attack[found]) != model.predict(Z[found])
    broken[found] = np.where(changed, np.linalg.norm(attack[found] - Z[found], axis=1), np.inf)
    return broken


# -- ours ------------------------------------------------------------------------------------------------------------


def ours(method: str) -> Callable[[Problem], Certify]:
    def make(problem: Problem) -> Certify:
        certifier = Certifier(problem.model)
        certifier.certify(problem.Z, method=method)  # eigenbases of the pairs that are needed
        return lambda Z: certifier.certify(Z, method=method).radius

    return make


# -- what one would write in an afternoon ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Gaussians:
    """Scores -(z - mu)'P(z - mu) + constant, and the difference of two of them around a point."""

    means: np.ndarray
    precisions: np.ndarray
    constants: np.ndarray

    @classmethod
    def of(cls, model: CertifiedGMMClassifier) -> Gaussians:
        K, d = model.means_.shape
        P = np.broadcast_to(model.precisions_, (K, d, d))
        return cls(model.means_, P, np.linalg.slogdet(P)[1] + 2 * np.log(model.priors_))

    def at(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores and P(z - mu) of every class."""
        x = z - self.means
        slopes = np.einsum("kde,ke->kd", self.precisions, x)
        return self.constants - (x * slopes).sum(axis=1), slopes


def naive(problem: Problem) -> Certify:
    """The eigenvectors of every pair of classes, then Newton's method for every point and rival (theory 1.3).

    Sound for its stationary or any other multiplier, but for rounding.
    """
    rule = Gaussians.of(problem.model)
    bases = {
        (i, j): np.linalg.eigh(rule.precisions[j] - rule.precisions[i]) for i, j in combinations(range(len(rule.means)), 2)
    }

    def radius(z: np.ndarray) -> float:
        scores, slopes = rule.at(z)
        i, best = int(scores.argmax()), np.inf
        for j in np.delete(np.arange(len(scores)), i):
            w, V = bases[min(i, j), max(i, j)]
            squares = (V.T @ (slopes[j] - slopes[i])) ** 2
            best = min(best, newton(scores[i] - scores[j], squares, w if i < j else -w))
        return best

    return lambda Z: np.array([radius(z) for z in Z])


def newton(margin: float, squares: np.ndarray, w: np.ndarray) -> float:
    """sqrt(max_t t m - t^2 sum h^2 / (1 + t w)) by Newton's method on its derivative, halving where it leaves [0, t_max)."""
    low, high, t = 0.0, -1 / w.min() if w.min() < 0 else np.inf, 0.0
    for _ in range(100):
        s = 1 + t * w
        slope = margin - (squares * t * (2 + t * w) / s**2).sum()
        low, high = (t, high) if slope > 0 else (low, t)
        new = t + slope / (2 * (squares / s**3).sum())
        new = new if low < new < high else (low + high) / 2
        if abs(new - t) <= 1e-12 * t or not np.isfinite(new):
            break
        t = new
    return float(np.sqrt(max(t * margin - t * t * (squares / (1 + t * w)).sum(), 0)))


def slsqp(problem: Problem) -> Certify:
    """The shortest change that makes a rival win, by a general solver: no bound from below, and the problem is not convex."""
    rule = Gaussians.of(problem.model)

    def radius(z: np.ndarray) -> float:
        scores, slopes = rule.at(z)
        i, best = int(scores.argmax()), np.inf
        for j in np.delete(np.arange(len(scores)), i):
            m, g, W = scores[i] - scores[j], slopes[j] - slopes[i], rule.precisions[j] - rule.precisions[i]
            lost = {
                "type": "ineq",
                "fun": lambda u, m=m, g=g, W=W: -(m + 2 * g @ u + u @ W @ u),
                "jac": lambda u, g=g, W=W: -2 * (g + W @ u),
            }
            found = minimize(lambda u: u @ u, np.zeros(len(z)), jac=lambda u: 2 * u, constraints=lost, method="SLSQP")
            best = min(best, np.sqrt(found.fun)) if found.success else best
        return best

    return lambda Z: np.array([radius(z) for z in Z])


# -- other classifiers -----------------------------------------------------------------------------------------------


def prototypes(problem: Problem) -> Certify:
    """Half of the difference of the distances to the two nearest means, the margin of learning vector quantization."""
    means = problem.model.means_

    def radii(Z: np.ndarray) -> np.ndarray:
        nearest = np.sort(cdist(Z, means), axis=1)
        return (nearest[:, 1] - nearest[:, 0]) / 2

    return radii


def nearest_means(problem: Problem) -> Certify:
    certifier = Certifier(NearestCentroid().fit(problem.latents.X, problem.latents.y))
    return lambda Z: certifier.certify(Z).radius


def votes(n: int) -> Callable[[Problem], Certify]:
    """Randomized smoothing of adversarial-robustness-toolbox over the same classifier as a torch module, in float32."""

    def make(problem: Problem) -> Certify:
        module = scores_module(problem.model)
        median = float(np.median(problem.exact))

        def certify_with(sigma: float, Z: np.ndarray, n: int) -> np.ndarray:
            import torch
            from art.estimators.certification.randomized_smoothing import PyTorchRandomizedSmoothing

            K, d = problem.model.means_.shape
            smoothed = PyTorchRandomizedSmoothing(
                model=module, loss=torch.nn.CrossEntropyLoss(), input_shape=(d,), nb_classes=K, sample_size=100, scale=sigma,
                alpha=ALPHA, device_type="cpu",
            )  # fmt: skip
            answer, radius = smoothed.certify(Z.astype(np.float32), n=n, batch_size=1000)
            return np.where(
                problem.model.classes_[answer] == problem.model.predict(Z), radius, 0
            )  # -1, abstained, has radius 0

        np.random.seed(0)  # noqa: NPY002  (the library draws its noise from here)
        best = max(NOISES, key=lambda s: float(np.median(certify_with(s * median, problem.Z[:10], 1000))))
        return lambda Z: certify_with(best * median, Z, n)

    return make


def scores_module(model: CertifiedGMMClassifier):
    import torch

    rule = Gaussians.of(model)

    class Scores(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name in ("means", "precisions", "constants"):
                self.register_buffer(name, torch.tensor(getattr(rule, name), dtype=torch.float32))

        def forward(self, z):
            distances = [((z - m) @ P * (z - m)).sum(dim=1) for m, P in zip(self.means, self.precisions, strict=True)]
            return self.constants - torch.stack(distances, dim=1)

    torch.set_num_threads(1)
    return Scores()


# -- the table -------------------------------------------------------------------------------------------------------

#: why there is no row for it; to look again: pip install auto-LiRPA, python -c "import auto_LiRPA"
NO_CROWN = (
    "CROWN of auto_LiRPA is missing: its latest release on PyPI, 0.3 of 2022, asks for torch < 1.13 and is refused beside a "
    "current one. Installed without its requirements beside torch 2.13 and NumPy 2.4 it cannot be imported: "
    "`ModuleNotFoundError: No module named 'numpy.lib.arraysetops'`, and behind that `ImportError: cannot import name "
    "'_set_opset_version' from 'torch.onnx.symbolic_helper'`."
)
HERE, SMOOTHED, MEANS = "this classifier", "its smoothed version", "nearest means"


def peers(d: int) -> list[Peer]:
    """With as many points as their price allows."""
    dear = d > 100
    return [
        Peer("skcert, exact", HERE, 2000, ours("exact")),
        Peer("skcert, pairwise", HERE, 2000, ours("pairwise")),
        Peer("the paper's formula", HERE, 2000, ours("paper")),
        Peer("naive NumPy, exact", HERE, 100 if dear else 500, naive),
        Peer("SLSQP of SciPy", HERE, 10 if dear else 200, slsqp),
        Peer("votes under noise, 1,000 (ART)", SMOOTHED, 20 if dear else 100, votes(1000)),
        Peer("votes under noise, 10,000 (ART)", SMOOTHED, 10 if dear else 50, votes(10_000)),
        Peer("prototype margin (d2 - d1) / 2", MEANS, 2000, prototypes),
        Peer("skcert, nearest means", MEANS, 2000, nearest_means),
    ]


def problems() -> Iterator[Problem]:
    for latents, kinds in ((cifar10(), ("full", "tied")), (imagenette(64), ("full",)), (imagenette(512), ("full",))):
        Z = np.random.default_rng(0).permutation(latents.Z)
        for kind in kinds:
            model = CertifiedGMMClassifier(covariance_type=kind).fit(latents.X, latents.y)
            yield Problem(latents, model, Z, Certifier(model).certify(Z, method="exact").radius, attacked(model, Z))


def row(problem: Problem, peer: Peer, judge: tuple[np.ndarray, np.ndarray]) -> dict[str, object]:
    """``judge``: exact radii, and lengths of attacks, of the classifier that is certified."""
    Z = problem.Z[: peer.points]
    exact, broken = (each[: len(Z)] for each in judge)
    set_up, certify = timed(lambda: peer.make(problem))
    seconds, radius = timed(lambda: certify(Z))
    share = radius / exact
    # a smoothed classifier has other attacks
    violations = ["", ""] if peer.of == SMOOTHED else [f"{100 * (radius > f * broken).mean():.1f}" for f in (1, 1.001)]
    cells = [
        *names(problem),
        peer.name,
        peer.of,
        len(Z),
        f"{1000 * seconds / len(Z):.3g}",
        f"{set_up:.2f}",
        f"{np.median(share):.3f}",
        f"{np.quantile(share, 0.1):.3f}",
        f"{share.max():.3f}",
        *violations,
    ]
    return dict(zip(COLUMNS, cells, strict=True))


def predict_row(problem: Problem) -> dict[str, object]:
    """What scikit-learn's own classifier of the same kind needs for its predictions."""
    tied = problem.model.covariance_type == "tied"
    plain = LinearDiscriminantAnalysis() if tied else QuadraticDiscriminantAnalysis(reg_param=0.1)
    set_up, fitted = timed(lambda: plain.fit(problem.latents.X, problem.latents.y))
    fitted.predict(problem.Z)
    seconds, _ = timed(lambda: fitted.predict(problem.Z))
    name = f"{'LDA' if tied else 'QDA'}.predict, no radius (set-up: fit)"
    cells = [*names(problem), name, "", len(problem.Z), f"{1000 * seconds / len(problem.Z):.3g}", f"{set_up:.2f}", *[""] * 5]
    return dict(zip(COLUMNS, cells, strict=True))


def names(problem: Problem) -> tuple[str, str]:
    return problem.latents.source, problem.model.covariance_type


def table() -> Iterator[dict[str, object]]:
    for problem in problems():
        centroid = NearestCentroid().fit(problem.latents.X, problem.latents.y)
        judges = {
            HERE: (problem.exact, problem.broken),
            SMOOTHED: (problem.exact, problem.broken),
            MEANS: (Certifier(centroid).certify(problem.Z).radius, attacked(centroid, problem.Z)),
        }
        yield predict_row(problem)
        for peer in peers(problem.Z.shape[1]):
            yield row(problem, peer, judges[peer.of])


def main() -> None:
    warnings.simplefilter("ignore")  # what other libraries deprecate
    heading = [
        "l2 radii of the same predictions. Ratios are to the exact radius of the classifier that is certified; of smoothed",
        "classifiers, to that of the classifier before smoothing, and 0 where the two answer differently. A violation is a",
        "radius above the length of an attack that `predict` confirms; beside it those above by more than 0.1 %. Votes",
        f"hold with probability {1 - ALPHA:g}; their noise is the best of {len(NOISES)} sizes by the median radius.",
        "",
        NO_CROWN,
    ]
    found = []
    with threadpool_limits(1):
        for each in table():
            print(*each.values(), sep="; ", flush=True)
            found.append(each)
        packages = ("numpy", "scipy", "scikit-learn", "torch", "adversarial-robustness-toolbox")
        write_table(RESULTS / "peers", heading, COLUMNS, found, packages)


if __name__ == "__main__":
    main()
