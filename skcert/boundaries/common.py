"""What all boundaries return, and the small things that they share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skcert.geometry.rounding import grow
from skcert.perturbations import AffineStep


@dataclass
class Nearest:
    """Per point: winner and runner-up (indices), radius from below, attack length from above, attack if asked for."""

    winner: np.ndarray
    runner_up: np.ndarray
    radius: np.ndarray
    attack_radius: np.ndarray
    attack: np.ndarray | None = None

    @classmethod
    def empty(cls, n: int, d: int | None) -> Nearest:
        return cls(
            np.zeros(n, dtype=np.intp),
            np.zeros(n, dtype=np.intp),
            np.zeros(n),
            np.full(n, np.inf),
            None if d is None else np.full((n, d), np.nan),
        )

    def take(self, rows) -> Nearest:
        """These rows, without attacks."""
        return Nearest(self.winner[rows], self.runner_up[rows], self.radius[rows], self.attack_radius[rows])

    def put(self, rows, part: Nearest) -> None:
        """Fill in these rows."""
        self.winner[rows], self.runner_up[rows] = part.winner, part.runner_up
        self.radius[rows], self.attack_radius[rows] = part.radius, part.attack_radius
        if self.attack is not None:
            self.attack[rows] = part.attack


def split(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers, winners and the winners' scores."""
    rows = np.arange(len(scores))
    winner = scores.argmax(axis=1)
    return rows, winner, scores[rows, winner]


def first_row(values: np.ndarray, target: np.ndarray) -> np.ndarray:
    """First row in which each column holds its target; small integers run through where argmax would stumble."""
    K = len(values)
    kind = np.uint8 if K < 256 else np.uint32
    ranks = np.arange(K, 0, -1, dtype=kind)
    found = ((values == target).view(np.uint8) * ranks[:, None]).max(axis=0)
    return np.where(found == 0, 0, K - found.astype(np.intp))  # 0: NaN, of which nothing is known


def second_best(margins: np.ndarray) -> np.ndarray:
    """Column of the smallest margin, NaN (the winner's own) last."""
    return np.where(np.isnan(margins), np.inf, np.minimum(margins, np.finfo(float).max)).argmin(axis=1)


def scaled(fold: AffineStep | None, scale: np.ndarray | None) -> AffineStep | None:
    """From the scaled perturbation to the latents."""
    if scale is None:
        return fold
    return AffineStep.scaling(scale) if fold is None else fold.stretched(scale)


def latents_of(fold: AffineStep | None, X: np.ndarray, x_error: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Images of points, and upper bounds of their l2 errors."""
    error = np.zeros(len(X)) if x_error is None else x_error
    return (X, error) if fold is None else (fold.apply(X), grow(fold.error(X) + fold.size * error))
