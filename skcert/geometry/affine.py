"""Distance to a hyperplane in any l_p norm (theory 1.4)."""

from __future__ import annotations

import numpy as np

from skcert.geometry.rounding import gamma

#: norm p of the perturbation -> order of the dual norm, 1/p + 1/q = 1
DUAL_ORDER: dict[float, float] = {1: np.inf, 2: 2, np.inf: 1}


def dual_norms(slopes: np.ndarray, norm: float) -> np.ndarray:
    """||g||_q over the last axis, q dual to the ``norm`` p of the perturbation, rounded up.

    ``|g'u| <= ||g||_q ||u||_p`` (Hoelder): dividing a margin by it gives the l_p distance to the hyperplane.
    """
    top = np.abs(slopes).max(axis=-1)  # taken out, so that squares neither overflow nor vanish
    top = np.where(top > 0, top, 1.0)
    return np.linalg.norm(slopes / top[..., None], ord=DUAL_ORDER[norm], axis=-1) * top * (1 + gamma(slopes.shape[-1] + 4))


def steepest(slopes: np.ndarray, norm: float) -> np.ndarray:
    """Rows u with ||u||_p = 1 and g'u = -||g||_q: the direction of the shortest way across the hyperplane."""
    if norm == np.inf:
        return -np.sign(slopes)
    if norm == 1:
        steps = np.zeros_like(slopes)
        rows, top = np.arange(len(slopes)), np.abs(slopes).argmax(axis=1)
        steps[rows, top] = -np.sign(slopes[rows, top])
        return steps
    # Two passes: squares of a slope near the ends of the floating-point range would overflow or vanish.
    scaled = slopes / np.maximum(np.abs(slopes).max(axis=1, keepdims=True), np.finfo(float).tiny)
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    return -scaled / np.where(length > 0, length, 1)
