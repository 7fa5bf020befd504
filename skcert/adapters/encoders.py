"""A pretrained encoder as a map of perturbations: by a number, a bound of its layers, a bound on balls, or an estimate."""

from __future__ import annotations

import numpy as np

from skcert._embedder import PretrainedEmbedder
from skcert.adapters import Uncertifiable, register_perturbation
from skcert.embedding.noise import CHECKING, constant_of_mean, error_of_mean
from skcert.embedding.torch_modules import torch_module
from skcert.lipschitz.clever import Clever
from skcert.perturbations import EstimatedStep, LipschitzStep

#: confidence of means over noise, point by point
SMOOTHING_LEVEL = 0.999
#: a network that moves nothing has a constant all the same
SMALLEST = 1e-300


def pretrained_embedder(step: PretrainedEmbedder) -> LipschitzStep | EstimatedStep:
    """What ``lipschitz`` says (theory 2.2, 2.3), or ``smoothing`` (2.5)."""
    if step.smoothing is not None:
        return _averaged(step)
    if step.lipschitz is None:
        raise Uncertifiable(
            "A PretrainedEmbedder without a Lipschitz constant has no bound on how far its output moves: pass "
            "lipschitz='global' or 'local' for a bound from its layers, or a number you can vouch for."
        )
    if step.precision != "full":
        raise Uncertifiable(
            f"A PretrainedEmbedder that runs in {step.precision} rounds its latents by more than any bound on it allows for: "
            "use precision='full'."
        )
    shape = getattr(step, "_row_shape", None)
    if not isinstance(step.lipschitz, (str, Clever)):
        number, rounding = step.lipschitz, None
        if torch_module(step.encoder) is not None and shape is not None:
            from skcert.lipschitz.encoders import rounding_of  # it needs torch

            rounding = rounding_of(step)
        return LipschitzStep(
            float(number), step._n_features_out, row_shape=shape, holds=lambda: step.lipschitz == number, rounding=rounding
        )

    from skcert.lipschitz import encoders  # it needs torch

    if step.lipschitz in ("global", "local"):
        network = encoders.network_of(step, 2)
        total = max(encoders.constants_of(step, network).total, SMALLEST)
        inward = encoders.local_bound_of(step) if step.lipschitz == "local" and total > SMALLEST else None
        rounding = encoders.rounding_of(step, network)
        return LipschitzStep(total, step._n_features_out, inward, shape, encoders.unchanged(step), rounding)
    settings = Clever() if step.lipschitz == "clever" else step.lipschitz
    assert isinstance(settings, Clever)
    asked = step.lipschitz
    return EstimatedStep(encoders.gradients_of(step), settings, shape, lambda: step.lipschitz == asked)


def _averaged(step: PretrainedEmbedder) -> LipschitzStep:
    """A mean over noise: its constant, and how far a mean of so many may be from the expected one (theory 2.5)."""
    step._check_bound()
    bound, sigma, n_samples = step.norm_bound_, float(step.smoothing or 0), step.n_samples
    error = error_of_mean(bound, n_samples, 1 - SMOOTHING_LEVEL)

    def along(points: np.ndarray, latents: np.ndarray, directions: np.ndarray) -> np.ndarray:
        rows = step._as_batchable(points.reshape(len(points), *step._row_shape))
        return step._noisy(n_samples, CHECKING).errors_along(rows, latents, directions, 1 - SMOOTHING_LEVEL)

    return LipschitzStep(
        constant_of_mean(bound, sigma),
        step.n_features_out_,
        row_shape=step._row_shape,
        holds=lambda: (step.norm_bound_, step.smoothing, step.n_samples) == (bound, sigma, n_samples),
        rounding=lambda points, latents: np.full(len(points), error),
        along=along,
        confidence=SMOOTHING_LEVEL,
    )


register_perturbation(PretrainedEmbedder, pretrained_embedder)
