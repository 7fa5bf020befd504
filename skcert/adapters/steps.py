"""Transformers as maps of perturbations: one small function per type.

An affine rule stands for its ``transform`` in real arithmetic with the fitted attributes as they are stored. Attributes fitted
in float32 are exact in float64; what is lost in forming a matrix from them is bounded in its ``column_error``.
"""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA, FactorAnalysis, FastICA, IncrementalPCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import SelectorMixin
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from skcert.adapters import Uncertifiable, register_perturbation
from skcert.geometry.rounding import UNIT, column_norms, fro, gamma, grow, inverse_defect
from skcert.perturbations import AffineStep, ClipStep


def _standardize(d: int, center: np.ndarray | None, scale: np.ndarray | None) -> AffineStep:
    """(x - center) / scale, either of which may be left out."""
    middle = np.zeros(d) if center is None else np.asarray(center, dtype=float)
    divisor = np.ones(d) if scale is None else np.asarray(scale, dtype=float)
    return AffineStep(middle, 1 / divisor, np.zeros(d), column_error=2 * UNIT / np.abs(divisor))


def _project(center: np.ndarray | None, matrix: np.ndarray) -> AffineStep:
    """(x - center) @ matrix.T with a matrix that is stored as it is, and a centre that may be left out."""
    matrix = np.asarray(matrix, dtype=float)
    middle = np.zeros(matrix.shape[1]) if center is None else np.asarray(center, dtype=float)
    return AffineStep(middle, matrix, np.zeros(len(matrix)))


def _clip(d: int, low: float, high: float) -> ClipStep:
    """The same bounds for all features."""
    return ClipStep(np.full(d, low, dtype=float), np.full(d, high, dtype=float))


def standard_scaler(step: StandardScaler) -> AffineStep:
    """(x - mean_) / scale_, either of which may be None."""
    return _standardize(step.n_features_in_, step.mean_ if step.with_mean else None, step.scale_ if step.with_std else None)


def robust_scaler(step: RobustScaler) -> AffineStep:
    """(x - center_) / scale_, either of which may be None."""
    center, scale = step.center_ if step.with_centering else None, step.scale_ if step.with_scaling else None
    return _standardize(step.n_features_in_, center, scale)


def max_abs_scaler(step: MaxAbsScaler) -> AffineStep | tuple[AffineStep, ClipStep]:
    """x / scale_, cut off at -1 and 1 if asked for (an option that scikit-learn 1.6 does not have)."""
    d = step.n_features_in_
    scaling = _standardize(d, None, step.scale_)
    return (scaling, _clip(d, -1, 1)) if getattr(step, "clip", False) else scaling


def min_max_scaler(step: MinMaxScaler) -> AffineStep | tuple[AffineStep, ClipStep]:
    """x * scale_ + min_, cut off at the ends of ``feature_range`` if asked for."""
    d = step.n_features_in_
    scaling = AffineStep(np.zeros(d), np.asarray(step.scale_, dtype=float), np.asarray(step.min_, dtype=float))
    return (scaling, _clip(d, *step.feature_range)) if step.clip else scaling


def pca(step: PCA | IncrementalPCA) -> AffineStep:
    """(x - mean_) @ components_.T; whitened, each is divided by its deviation, which scikit-learn clips at eps."""
    projection = _project(step.mean_, step.components_)
    if not step.whiten:
        return projection
    variance = np.asarray(step.explained_variance_)
    # the eps is that of the dtype fitted in; the root is taken in float64 whatever that is
    deviation = np.maximum(np.sqrt(variance.astype(float)), np.finfo(variance.dtype).eps)
    matrix = projection.matrix / deviation[:, None]
    return AffineStep(projection.center, matrix, projection.offset, column_error=4 * UNIT * column_norms(matrix))


def truncated_svd(step: TruncatedSVD) -> AffineStep:
    """x @ components_.T, without a centre."""
    return _project(None, step.components_)


def fast_ica(step: FastICA) -> AffineStep:
    """(x - mean_) @ components_.T; without whitening there is no mean_."""
    return _project(step.mean_ if step.whiten else None, step.components_)


def linear_discriminant_analysis(step: LinearDiscriminantAnalysis) -> AffineStep:
    """(x - xbar_) @ scalings_, the first components; the eigen solver does not centre."""
    if step.solver == "lsqr":
        raise Uncertifiable(
            "LinearDiscriminantAnalysis(solver='lsqr') has no transform: as a step, expected solver='svd' or 'eigen'."
        )
    scalings = np.asarray(step.scalings_)[:, : step._max_components]
    return _project(step.xbar_ if step.solver == "svd" else None, scalings.T)


#: a FactorAnalysis whose matrix may be off by a larger share of its size is refused: its own transform would be off as well
FACTOR_LIMIT = 1e-8


def factor_analysis(step: FactorAnalysis) -> AffineStep:
    """(x - mean_) @ V' M^-1 with V = components_ / noise_variance_ and M = I + V components_'.

    Of the computed M and its inverse B, ``||(M^-1 - B) x|| <= rho ||B x||`` (``inverse_defect``). M itself is off by at most E,
    entry by entry, which with ``t = (1 + rho) || |B| E ||`` adds ``(1 + rho) t / (1 - t)`` to rho.
    """
    W, noise = np.asarray(step.components_, dtype=float), np.asarray(step.noise_variance_, dtype=float)
    k, d = W.shape
    V = W / noise
    M = np.eye(k) + V @ W.T
    try:
        B = np.linalg.inv(M)
    except np.linalg.LinAlgError:  # singular to working precision: rho is infinite
        B = np.zeros_like(M)
    rho = inverse_defect(M, B)
    slip = (1 + rho) * fro(np.abs(B) @ (gamma(d + 8) * (np.eye(k) + np.abs(V) @ np.abs(W).T)))
    drift = rho + (1 + rho) * slip / (1 - slip) if slip < 0.5 else np.inf
    if not drift < FACTOR_LIMIT:
        raise Uncertifiable(
            f"The matrix of this FactorAnalysis may be off by {drift:.1g} of its size, expected at most {FACTOR_LIMIT:.0e}: "
            f"its smallest noise_variance_, {noise.min():.3g}, is too small for float64 beside its components_. Keep fewer "
            "components, or drop features that others determine."
        )
    matrix, work = B @ V, np.abs(B) @ np.abs(V)
    # gamma: the product, and the division by the noise variance, which M^-1 carries on. Three times the drift: their inverse
    # and ours may differ, each by as much as this one may be off
    rounding = (1 + drift) * gamma(k + 4) * column_norms(work)
    columns = grow(3 * drift * column_norms(matrix) + rounding)
    return AffineStep(np.asarray(step.mean_, dtype=float), matrix, np.zeros(k), column_error=columns, work=work)


def selector(step: SelectorMixin) -> AffineStep:
    """The columns of ``get_support()``, in their order."""
    mask = np.asarray(step.get_support())
    if mask.dtype != bool or mask.ndim != 1:
        raise Uncertifiable(
            f"get_support() of a {type(step).__name__} must be a boolean mask of the features, got {mask.dtype} of shape "
            f"{mask.shape}. Register a rule for it with skcert.register_perturbation({type(step).__name__}, rule)."
        )
    return AffineStep.selection(np.flatnonzero(mask), len(mask))


def function_transformer(step: FunctionTransformer) -> tuple[()]:
    """The identity, where there is no function: nothing is carried anywhere."""
    if step.func is not None:
        raise Uncertifiable(
            f"What FunctionTransformer(func={step.func!r}) does to a perturbation is unknown: expected func=None, the "
            "identity. Write a transformer class for it and register a rule with skcert.register_perturbation(YourClass, rule)."
        )
    return ()


register_perturbation(StandardScaler, standard_scaler)
register_perturbation(RobustScaler, robust_scaler)
register_perturbation(MaxAbsScaler, max_abs_scaler)
register_perturbation(MinMaxScaler, min_max_scaler)
register_perturbation(PCA, pca)
register_perturbation(IncrementalPCA, pca)
register_perturbation(TruncatedSVD, truncated_svd)
register_perturbation(FastICA, fast_ica)
register_perturbation(LinearDiscriminantAnalysis, linear_discriminant_analysis)
register_perturbation(FactorAnalysis, factor_analysis)
register_perturbation(SelectorMixin, selector)
register_perturbation(FunctionTransformer, function_transformer)
