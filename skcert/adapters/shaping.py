"""A trained network of known constant as a map of perturbations."""

from __future__ import annotations

from skcert._shaper import LatentShaper
from skcert.adapters import register_perturbation
from skcert.perturbations import LipschitzStep


def latent_shaper(step: LatentShaper) -> LipschitzStep:
    """The constant of its weights, and twice what rounding costs: at the point and at another one of the ball (theory 1.8)."""
    layers = step.layers_
    return LipschitzStep(
        layers.constant,
        layers.n_outputs,
        rounding=lambda points, latents: 2 * layers.rounding(points),
        in_float64=True,
    )


register_perturbation(LatentShaper, latent_shaper)
