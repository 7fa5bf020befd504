"""Classifiers as discriminants: one small function per type."""

from __future__ import annotations

import numpy as np
from scipy.sparse import issparse
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from skcert._gmm import CertifiedGMMClassifier
from skcert.adapters import Discriminant, Uncertifiable, register_discriminant
from skcert.discriminants import Affine


def gaussian_mixture(model: CertifiedGMMClassifier) -> Discriminant:
    """The very object its ``predict`` uses."""
    return model._discriminant


def logistic_regression(model: LogisticRegression) -> Affine:
    """Linear scores; of two classes the second wins where the one score is positive, the first on a tie."""
    coef = model.coef_.toarray() if issparse(model.coef_) else model.coef_  # after sparsify()
    return Affine.exact(coef, model.intercept_)


def nearest_centroid(model: NearestCentroid) -> Affine:
    """Nearest means: raw Euclidean under uniform priors, scaled by the within-class deviation otherwise (as ``predict``)."""
    if model.metric != "euclidean":
        raise Uncertifiable(
            f"NearestCentroid(metric={model.metric!r}) has no linear boundaries: only metric='euclidean' can be certified."
        )
    centroids, K = np.asarray(model.centroids_, dtype=float), len(model.classes_)
    priors = getattr(model, "class_prior_", np.full(K, 1 / K))
    if np.isclose(priors, 1 / K).all():
        return Affine.of_shared_covariance(centroids, None, np.zeros(K), centroids.mean(axis=0))
    deviation = np.asarray(model.within_class_std_dev_, dtype=float)
    scale = np.where(deviation != 0, deviation, 1.0)
    with np.errstate(divide="ignore"):
        intercept = np.log(priors) - 0.5 * np.square(centroids / scale).sum(axis=1)
    return Affine.exact(centroids / scale**2, intercept)


register_discriminant(CertifiedGMMClassifier, gaussian_mixture)
register_discriminant(LogisticRegression, logistic_regression)
register_discriminant(NearestCentroid, nearest_centroid)
