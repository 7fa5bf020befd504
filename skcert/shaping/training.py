"""The training of a network by one of the objectives, and of the linear head that goes with the certified margin."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skcert._gmm import CertifiedGMMClassifier
from skcert._progress import bar
from skcert.shaping.losses import (
    boundary_distances,
    certified_margin_loss,
    coding_rate_reduction,
    isotropy_penalty,
    squared_mmd,
)

#: distance asked for, in target radii, and temperature, in units of the scale of the points (theory 5)
ASKED, TEMPERATURE = 1.5, 0.05
#: standard deviation of the noise on each coordinate of the points trained on, in units of their scale; against overfitting
NOISE = 0.02
#: distortion of the coding rates, eps^2 = 1/2 (Yu et al. 2020)
EPS = math.sqrt(0.5)
#: where the target radius is in units of the latents, of an unconstrained network: the part of their scale
TARGET = 0.1
#: batches in an epoch, at least, unless they would be smaller than this
BATCHES, SMALLEST_BATCH = 16, 16
#: points that pass the network together when it is judged
TOGETHER = 4096


@dataclass(frozen=True)
class Data:
    """Points, centred and of a scale about 1, and classes as integers: which to train on, and which to choose the epoch by."""

    X: np.ndarray
    y: np.ndarray
    fitted: np.ndarray
    held_out: np.ndarray


@dataclass(frozen=True)
class Rules:
    """How to train: the parameters of :class:`skcert.LatentShaper` of these names."""

    max_epochs: int
    batch_size: int
    learning_rate: float
    device: torch.device
    progress: bool


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch on the CPU: products this small gain little by more, and on busy cores these wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Judgement(NamedTuple):
    """Shares of the points held out that are right within the target radius, and right."""

    certified_accuracy: float
    accuracy: float


class Objective(Protocol):
    """A torch module that takes latents and classes to a loss, and judges a network by its latents of some points.

    ``noise`` is the standard deviation on each coordinate of the points that it is trained on.
    """

    noise: float

    def __call__(self, latents: Tensor, y: Tensor) -> Tensor: ...

    def judge(self, latents_of: Callable[[np.ndarray], Tensor], data: Data) -> Judgement: ...


class CertifiedMargin(nn.Module):
    """The loss of theory 5 on latents of a network of constant 1, with a linear head that is trained along."""

    def __init__(self, n_latents: int, n_classes: int, radius: float):
        super().__init__()
        self.head = nn.Linear(n_latents, n_classes)
        self.radius, self.noise = radius, NOISE

    def forward(self, latents: Tensor, y: Tensor) -> Tensor:
        distances = boundary_distances(self.head(latents), self.head.weight, y)
        return certified_margin_loss(distances, ASKED * self.radius, TEMPERATURE)

    def judge(self, latents_of: Callable[[np.ndarray], Tensor], data: Data) -> Judgement:
        """By the head."""
        latents = latents_of(data.held_out)
        y = torch.as_tensor(data.y[data.held_out]).to(latents.device)
        nearest = boundary_distances(self.head(latents), self.head.weight, y).amin(1)
        return Judgement(float((nearest >= self.radius).float().mean()), float((nearest > 0).float().mean()))


class CodingRateReduction(nn.Module):
    """The paper's loss on latents projected to the sphere (theory 5); without a radius, it is judged in units of the latents.

    Rows on the unit sphere have a trace of at most 1: the Gaussians of the last term have the variance of their class.
    """

    def __init__(self, iso: float, mmd: float, radius: float | None):
        super().__init__()
        self.iso, self.mmd, self.radius, self.noise = iso, mmd, radius, 0.0

    def forward(self, latents: Tensor, y: Tensor) -> Tensor:
        Z = F.normalize(latents)
        loss = self.iso * isotropy_penalty(Z, y) - coding_rate_reduction(Z, y, EPS)
        if self.mmd:
            parts = [Z[y == k] for k in torch.unique(y)]
            loss = loss + self.mmd * sum(_from_gaussian(part) for part in parts if len(part) > 1)
        return loss

    def judge(self, latents_of: Callable[[np.ndarray], Tensor], data: Data) -> Judgement:
        """By a mixture with tied covariances."""
        Z, new = (latents_of(rows).cpu().double().numpy() for rows in (data.fitted, data.held_out))
        radius = TARGET * float(np.median(np.linalg.norm(Z - Z.mean(axis=0), axis=1))) if self.radius is None else self.radius
        certificate = CertifiedGMMClassifier().fit(Z, data.y[data.fitted]).certify(new)
        right = certificate.prediction == data.y[data.held_out]
        return Judgement(float((right & (certificate.radius >= radius)).mean()), float(right.mean()))


def _from_gaussian(Z: Tensor) -> Tensor:
    """Squared discrepancy of the points of a class from as many of N(mean, tr(C)/d I)."""
    middle = Z.detach().mean(0)
    variance = (Z.detach() - middle).square().mean()
    drawn = middle + variance.sqrt() * torch.randn_like(Z)
    return squared_mmd(Z, drawn, bandwidth=float((variance * Z.shape[1]).sqrt().clamp_min(1e-12)))


def train(network: nn.Module, objective: nn.Module, data: Data, rules: Rules) -> tuple[dict[str, np.ndarray], int]:
    """Minimise the objective by AdamW and a one-cycle rate; network and objective end as of the epoch chosen.

    That is the last one whose certified accuracy is within one standard error of the largest: the rate falls towards the end,
    and of two epochs that the points held out cannot tell apart the later is the better one.

    Parameters
    ----------
    network : torch module
    objective : torch module
        An :class:`Objective`.
    data : Data
    rules : Rules

    Returns
    -------
    history : dict of str to ndarray of shape (max_epochs,)
        "loss", "certified_accuracy", "accuracy".
    chosen : int
        The epoch.
    """
    both = nn.ModuleList([network, objective]).to(rules.device)
    points = torch.as_tensor(data.X, dtype=torch.float32).to(rules.device)
    classes = torch.as_tensor(data.y, dtype=torch.long).to(rules.device)
    noise: float = objective.noise  # type: ignore[assignment]  # torch modules have any attribute
    fitted, n = torch.as_tensor(data.fitted), len(data.fitted)
    size = min(rules.batch_size, max(SMALLEST_BATCH, n // BATCHES))

    def latents_of(rows: np.ndarray) -> Tensor:
        return torch.cat([network(points[part.to(rules.device)]) for part in torch.as_tensor(rows).split(TOGETHER)])

    optimiser = torch.optim.AdamW(both.parameters(), lr=rules.learning_rate)
    steps = rules.max_epochs * math.ceil(n / size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rules.learning_rate, total_steps=max(2, steps))
    kept, chosen, best = both.state_dict(), 0, 0.0
    history: dict[str, list[float]] = {"loss": [], "certified_accuracy": [], "accuracy": []}
    with bar(rules.max_epochs, "training", "epoch", rules.progress) as done:
        for epoch in range(rules.max_epochs):
            both.train()
            total = 0.0
            for part in fitted[torch.randperm(n)].split(size):
                rows = part.to(rules.device)
                if len(rows) == 1 < n:  # batch norm needs two
                    continue
                moved = points[rows] + noise * torch.randn_like(points[rows])
                loss = objective(network(moved), classes[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                total += float(loss.detach()) * len(rows) / n
            if not math.isfinite(total):
                raise ValueError(f"Training diverged: the loss is {total} after {epoch + 1} epochs. Lower learning_rate.")
            both.eval()
            with torch.no_grad():
                reached = objective.judge(latents_of, data)  # type: ignore[operator]  # torch modules have any attribute
            for name, value in zip(history, (total, *reached), strict=True):
                history[name].append(value)
            best = max(best, reached.certified_accuracy)
            if reached.certified_accuracy >= best - math.sqrt(best * (1 - best) / len(data.held_out)):
                kept, chosen = copy.deepcopy(both.state_dict()), epoch
            done.note = f"certified {reached.certified_accuracy:.3f}, clean {reached.accuracy:.3f}"
            done.update()
    both.load_state_dict(kept)
    both.eval()
    return {name: np.array(values) for name, values in history.items()}, chosen
