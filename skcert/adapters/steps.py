"""Transformers as maps of perturbations: one small function per type."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from skcert._embedder import PretrainedEmbedder
from skcert.adapters import Uncertifiable, register_perturbation
from skcert.geometry.rounding import UNIT, column_norms
from skcert.perturbations import AffineStep, LipschitzStep


def standard_scaler(step: StandardScaler) -> AffineStep:
    """(x - mean_) / scale_, either of which may be None."""
    d = step.n_features_in_
    center = np.zeros(d) if step.mean_ is None or not step.with_mean else np.asarray(step.mean_, dtype=float)
    scale = np.ones(d) if step.scale_ is None or not step.with_std else np.asarray(step.scale_, dtype=float)
    return AffineStep(center, 1 / scale, np.zeros(d), column_error=2 * UNIT / np.abs(scale))


def pca(step: PCA) -> AffineStep:
    """Projection on the components; whitened, each divided by its deviation, which scikit-learn clips at eps."""
    matrix = np.asarray(step.components_, dtype=float)
    error: np.ndarray | float = 0.0
    if step.whiten:
        scale = np.sqrt(step.explained_variance_)
        floor = np.finfo(scale.dtype).eps
        matrix = matrix / np.maximum(np.asarray(scale, dtype=float), floor)[:, None]
        error = 4 * UNIT * column_norms(matrix)
    return AffineStep(np.asarray(step.mean_, dtype=float), matrix, np.zeros(len(matrix)), column_error=error)


def pretrained_embedder(step: PretrainedEmbedder) -> LipschitzStep:
    """The constant its user vouches for."""
    if step.lipschitz is None:
        raise Uncertifiable(
            "A PretrainedEmbedder without a Lipschitz constant has no bound on how far its output moves: pass lipschitz= "
            "a constant you can vouch for."
        )
    return LipschitzStep(float(step.lipschitz))


register_perturbation(StandardScaler, standard_scaler)
register_perturbation(PCA, pca)
register_perturbation(PretrainedEmbedder, pretrained_embedder)
