"""A rule that is known by its votes under noise: a ball, and nothing about what lies beyond it."""

from __future__ import annotations

import numpy as np

from skcert.boundaries.common import scaled
from skcert.geometry.rounding import shrink
from skcert.perturbations import AffineStep


class VotedBoundary:
    """From an l2 radius where noise is added to a radius before the affine step that leads there (theory 2.2, 2.4)."""

    def __init__(self, fold: AffineStep | None, scale: np.ndarray | None, norm: float, n_inputs: int):
        step = scaled(fold, scale)
        step = AffineStep.scaling(np.ones(n_inputs)) if step is None else step
        self.size = step.stretch(norm, 2)

    def before(self, radius: np.ndarray) -> np.ndarray:
        """Radii in the norm before the step."""
        if self.size == 0:
            return np.where(radius > 0, np.inf, 0.0)
        return shrink(radius / self.size) if self.size != 1 else radius
