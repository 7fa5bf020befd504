"""Draws of a mixture of Gaussians, and the radii of its Bayes rule."""

from __future__ import annotations

import numpy as np

from skcert.boundaries import AffineBoundary, QuadraticBoundary
from skcert.boundaries.common import Nearest
from skcert.discriminants import Affine, Quadratic


def draw(means, covariances, priors, n: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """n independent points and their classes, ordered by class."""
    K, d = means.shape
    labels = np.sort(random.choice(K, size=n, p=priors))
    return means[labels] + noise_of(covariances, np.bincount(labels, minlength=K), d, random), labels


def noise_of(covariances, counts, d: int, random: np.random.Generator) -> np.ndarray:
    """So many centred points of each class, one class after the other."""
    roots = np.linalg.cholesky(np.broadcast_to(covariances, (len(counts), d, d)))
    return np.concatenate([random.standard_normal((n, d)) @ root.T for n, root in zip(counts, roots, strict=True)])


def precisions_of(covariances) -> np.ndarray:
    inverse = np.linalg.inv(covariances)
    return (inverse + inverse.swapaxes(-1, -2)) / 2


def bayes_nearest(means, covariances, priors, points: np.ndarray, norm: float = 2) -> Nearest:
    """Winners and radii of the Bayes rule, which is linear where all covariances are one."""
    if covariances.ndim == 2:
        slopes = means @ precisions_of(covariances)
        rule = Affine.exact(slopes, np.log(priors) - np.einsum("kd,kd->k", slopes, means) / 2)
        with np.errstate(over="ignore", invalid="ignore"):  # where scores overflow nothing is known: radius 0
            return AffineBoundary(rule, None, None, norm).nearest(points)
    constants = 2 * np.log(priors) - np.linalg.slogdet(covariances)[1]
    curved = Quadratic.exact(means, precisions_of(covariances), constants)
    with np.errstate(over="ignore", invalid="ignore"):
        return QuadraticBoundary(curved, norm=norm).nearest(points)
