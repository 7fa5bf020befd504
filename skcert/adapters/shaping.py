"""A trained network of known constant as a map of perturbations."""

from __future__ import annotations

import numpy as np

from skcert._shaper import LatentShaper
from skcert.adapters import register_perturbation
from skcert.perturbations import LipschitzStep


def latent_shaper(step: LatentShaper) -> LipschitzStep:
    """The constant of its weights, and twice what rounding costs: at the point and at another one of the ball (theory 1.8).

    The weights are those of now. Latents that another network made are an error: the shaper was fitted again, or changed.
    """
    layers = step.layers_.copy()
    constant = layers.constant

    def rounding(points: np.ndarray, latents: np.ndarray) -> np.ndarray:
        lost = 2 * layers.rounding(points)
        if (_lengths(layers.apply(points) - latents) > lost).any():
            raise ValueError(
                "A LatentShaper does not transform these points as its weights said when its constant was computed. Was it "
                "fitted again, or changed? Certify with a new Certifier; if it is another transform, register its rule with "
                "skcert.register_perturbation."
            )
        return lost

    return LipschitzStep(constant, layers.n_outputs, rounding=rounding, in_float64=True)


def _lengths(rows: np.ndarray) -> np.ndarray:
    """Lengths of rows, also where their squares vanish or overflow; for comparing, no bounds."""
    largest = np.abs(rows).max(axis=1, initial=0.0)
    return largest * np.linalg.norm(rows / np.where(largest > 0, largest, 1.0)[:, None], axis=1)


register_perturbation(LatentShaper, latent_shaper)
