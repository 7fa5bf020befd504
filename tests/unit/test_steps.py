"""The rules for transformers: what they say is what transform does, to within the error they admit."""

import warnings
from copy import deepcopy
from fractions import Fraction
from functools import reduce

import mpmath
import numpy as np
import pandas as pd
import pytest
import sklearn.feature_selection
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA, FactorAnalysis, FastICA, IncrementalPCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import (
    RFE,
    RFECV,
    GenericUnivariateSelect,
    SelectFdr,
    SelectFpr,
    SelectFromModel,
    SelectFwe,
    SelectKBest,
    SelectorMixin,
    SelectPercentile,
    SequentialFeatureSelector,
    VarianceThreshold,
)
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from skcert.adapters import Uncertifiable, perturbation_of
from skcert.adapters.composites import link
from skcert.perturbations import AffineStep, ClipStep

pytestmark = pytest.mark.filterwarnings("ignore:An ill-conditioned matrix")  # scikit-learn's own inverse, of two equal features

X, Y = load_wine(return_X_y=True)
FRAME = load_wine(as_frame=True).data
RNG = np.random.default_rng(0)
COMMON = RNG.standard_normal((150, 3)) @ RNG.standard_normal((3, 6))
DATA = {
    "wine": X,
    "float32": X.astype(np.float32),
    "constant": np.column_stack([X[:, :5], np.full(len(X), 3.0), np.zeros(len(X))]),
    "far": X + 1e6,
    "wide": RNG.standard_normal((12, 20)) * np.logspace(-3, 3, 20),
    "factors": COMMON + 0.3 * RNG.standard_normal((150, 6)),
    "twice": np.column_stack([COMMON + 0.3 * RNG.standard_normal((150, 6))] * 2)[:, :7] * 1e4,
    "determined": np.column_stack([COMMON, COMMON[:, 0] * 1e3]),  # noise variances at scikit-learn's floor of 1e-12
}
CENTRES = LinearDiscriminantAnalysis()  # a classifier with coef_ that fits in no time
HAS_CLIP = "clip" in MaxAbsScaler().get_params()

DENSE = {
    "standard": (StandardScaler(), "wine"),
    "standard, no mean": (StandardScaler(with_mean=False), "wine"),
    "standard, no std": (StandardScaler(with_std=False), "wine"),
    "standard, neither": (StandardScaler(with_mean=False, with_std=False), "wine"),
    "standard, float32": (StandardScaler(), "float32"),
    "standard, constant": (StandardScaler(), "constant"),
    "standard, far": (StandardScaler(), "far"),
    "robust": (RobustScaler(), "wine"),
    "robust, no centre": (RobustScaler(with_centering=False), "wine"),
    "robust, no scale": (RobustScaler(with_scaling=False), "wine"),
    "robust, neither": (RobustScaler(with_centering=False, with_scaling=False), "wine"),
    "robust, unit variance": (RobustScaler(unit_variance=True, quantile_range=(10, 80)), "wine"),
    "robust, float32": (RobustScaler(), "float32"),
    "robust, constant": (RobustScaler(), "constant"),
    "max abs": (MaxAbsScaler(), "wine"),
    "max abs, constant": (MaxAbsScaler(), "constant"),
    "max abs, float32": (MaxAbsScaler(), "float32"),
    "min max": (MinMaxScaler(), "wine"),
    "min max, range": (MinMaxScaler((-3, 0.1)), "wine"),
    "min max, clip": (MinMaxScaler((-3, 0.1), clip=True), "wine"),
    "min max, float32": (MinMaxScaler(clip=True), "float32"),
    "min max, constant": (MinMaxScaler(), "constant"),
    "min max, far": (MinMaxScaler(), "far"),
    "pca": (PCA(4), "wine"),
    "pca, all": (PCA(), "wine"),
    "pca, whitened": (PCA(4, whiten=True), "wine"),
    "pca, float32": (PCA(4), "float32"),
    "pca, whitened, float32": (PCA(4, whiten=True), "float32"),
    "pca, whitened, constant": (PCA(whiten=True, svd_solver="covariance_eigh"), "constant"),
    "pca, wide": (PCA(whiten=True), "wide"),
    "incremental": (IncrementalPCA(4, batch_size=50), "wine"),
    "incremental, whitened": (IncrementalPCA(4, whiten=True), "wine"),
    "incremental, float32": (IncrementalPCA(4, whiten=True), "float32"),
    "svd": (TruncatedSVD(4), "wine"),
    "svd, float32": (TruncatedSVD(4), "float32"),
    "svd, wide": (TruncatedSVD(5), "wide"),
    "lda": (LinearDiscriminantAnalysis(), "wine"),
    "lda, cut": (LinearDiscriminantAnalysis(n_components=1), "wine"),
    "lda, eigen": (LinearDiscriminantAnalysis(solver="eigen"), "wine"),
    "lda, eigen, cut": (LinearDiscriminantAnalysis(solver="eigen", shrinkage=0.1, n_components=1), "wine"),
    "lda, float32": (LinearDiscriminantAnalysis(), "float32"),
    "ica": (FastICA(3, whiten="unit-variance", tol=1e-2, max_iter=2000, random_state=0), "factors"),
    "ica, arbitrary": (FastICA(3, whiten="arbitrary-variance", tol=1e-2, max_iter=2000, random_state=0), "factors"),
    "ica, not whitened": (FastICA(whiten=False, tol=10.0, random_state=0), "factors"),
    "factors": (FactorAnalysis(3), "wine"),
    "factors, few": (FactorAnalysis(2), "factors"),
    "factors, rotated": (FactorAnalysis(3, rotation="varimax"), "factors"),
    "factors, wide": (FactorAnalysis(4), "wide"),
    "factors, determined": (FactorAnalysis(3), "determined"),
    "factors, determined, rotated": (FactorAnalysis(3, rotation="varimax"), "determined"),
    "factors, twice": (FactorAnalysis(3, max_iter=3000), "twice"),
}
if HAS_CLIP:
    DENSE["max abs, clip"] = (MaxAbsScaler(clip=True), "wine")
SELECTORS = {
    "variance": VarianceThreshold(0.5),
    "k best": SelectKBest(k=4),
    "percentile": SelectPercentile(percentile=30),
    "fpr": SelectFpr(alpha=1e-30),
    "fdr": SelectFdr(alpha=1e-30),
    "fwe": SelectFwe(alpha=1e-30),
    "univariate": GenericUnivariateSelect(mode="k_best", param=3),
    "model": SelectFromModel(CENTRES, threshold="1.2*mean"),
    "model, at most": SelectFromModel(CENTRES, max_features=lambda X: 3, threshold=-np.inf),
    "model, prefit": SelectFromModel(LinearDiscriminantAnalysis().fit(X, Y), prefit=True),
    "elimination": RFE(CENTRES, n_features_to_select=5),
    "elimination, validated": RFECV(CENTRES, cv=2, min_features_to_select=3),
    "sequential": SequentialFeatureSelector(CENTRES, n_features_to_select=2, cv=2),
}
ALL = DENSE | {name: (selector, "wine") for name, selector in SELECTORS.items()}
_FITTED = {}


def fitted(name):
    if name not in _FITTED:
        step, data = ALL[name]
        target = Y if len(DATA[data]) == len(Y) else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ICA that has not converged is as good a matrix as any
            _FITTED[name] = deepcopy(step).fit(DATA[data], target)
    return _FITTED[name], DATA[ALL[name][1]].astype(float)


def carriers(step):
    found = perturbation_of(step)
    return found if isinstance(found, tuple) else (found,)


def carried(step, points):
    for carrier in carriers(step):
        points = carrier.apply(points)
    return points


# -- what transform does -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_rule_is_what_transform_does(name):
    step, points = fitted(name)
    points = np.concatenate([points, points * 3 + 1, -points])  # also where clips cut
    theirs = step.transform(points)
    ours = carried(step, points)
    assert ours.dtype == float and ours.shape == theirs.shape
    # scikit-learn computes in the dtype of the attributes where these are float32 (PCA its centre, for one)
    tolerance = 1e-10 if "float32" not in name else 1e-5
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())
    for column in range(theirs.shape[1]):  # and column by column: whitening by an eps must not hide the others
        scale = np.abs(theirs[:, column]).max()
        np.testing.assert_allclose(ours[:, column], theirs[:, column], rtol=0, atol=max(1e-3 * tolerance, tolerance * scale))


@pytest.mark.parametrize("name", ALL)
def test_a_rule_agrees_with_transform_in_the_sense_of_certify(name):
    step, points = fitted(name)
    if "float32" in name:
        points = points.astype(np.float32)
    rule = carriers(step)
    if len(rule) == 1:
        made = step.transform(points)
        unit = link("step", step).unit(points.dtype, made.dtype)
        assert rule[0].computed(unit).agrees(points, made)


def matrix_of(values, number):
    return np.array([[number(float(v)) for v in row] for row in np.atleast_2d(values)], dtype=object)


def exact(step, points, number):
    """The formula of transform, before any clip, with the stored attributes, in the arithmetic of ``number``."""
    rows = matrix_of(points, number)

    def of(name):
        return matrix_of(getattr(step, name), number)

    match step:
        case StandardScaler():
            rows = rows - of("mean_") if step.with_mean else rows
            return rows / of("scale_") if step.with_std else rows
        case RobustScaler():
            rows = rows - of("center_") if step.with_centering else rows
            return rows / of("scale_") if step.with_scaling else rows
        case MaxAbsScaler():
            return rows / of("scale_")
        case MinMaxScaler():
            return rows * of("scale_") + of("min_")
        case PCA() | IncrementalPCA():
            latents = (rows - of("mean_")) @ of("components_").T
            if not step.whiten:
                return latents
            floor = mpmath.mpf(float(np.finfo(step.explained_variance_.dtype).eps))
            return latents / np.array([max(mpmath.sqrt(v), floor) for v in of("explained_variance_")[0]])
        case TruncatedSVD():
            return rows @ of("components_").T
        case FastICA():
            return (rows - of("mean_") if step.whiten else rows) @ of("components_").T
        case LinearDiscriminantAnalysis():
            return ((rows - of("xbar_") if step.solver == "svd" else rows) @ of("scalings_"))[:, : step._max_components]
        case FactorAnalysis():
            W = of("components_")
            V = W / of("noise_variance_")
            M = mpmath.matrix((V @ W.T).tolist()) + mpmath.eye(len(W))
            return (rows - of("mean_")) @ V.T @ np.array(mpmath.inverse(M).tolist(), dtype=object)
        case SelectorMixin():
            return rows[:, step.get_support()]


def affine_part(step):
    """What a step does before it clips, as one map."""
    return reduce(AffineStep.then, [carrier for carrier in carriers(step) if isinstance(carrier, AffineStep)])


def distances(ours, truth, number):
    gaps = matrix_of(ours, number) - truth
    return [
        mpmath.sqrt(sum((mpmath.mpf(g.numerator) / g.denominator if number is Fraction else g) ** 2 for g in row))
        for row in gaps
    ]


def number_for(step):
    return mpmath.mpf if isinstance(step, FactorAnalysis) or getattr(step, "whiten", False) else Fraction


def image(outer, rows, number):
    """An affine step whose coefficients are taken as they are, exactly."""
    matrix = np.diag(outer.matrix) if outer.matrix.ndim == 1 else outer.matrix
    return (rows - matrix_of(outer.center, number)) @ matrix_of(matrix, number).T + matrix_of(outer.offset, number)


@pytest.mark.parametrize("name", ALL)
def test_the_error_covers_the_distance_to_real_arithmetic_alone_and_composed(name):
    step, points = fitted(name)
    points = points[::53] * [[1.0], [7.0], [-1e3], [1e-3]][: len(points[::53])]
    rule, number = affine_part(step), number_for(step)
    rng = np.random.default_rng(1)
    with mpmath.workdps(80):
        truth = exact(step, points, number)
        ours, bound = rule.apply(points), rule.error(points)
        assert all(gap <= limit for gap, limit in zip(distances(ours, truth, number), bound, strict=True))
        # and it is no idle claim: rounding, not a guess
        reach = np.linalg.norm(np.abs(points - rule.center) + np.abs(rule.center), axis=1)
        assert (bound <= 1e-8 * reach * rule.size + 1e-12).all()
        n = len(rule.offset)
        scaling = AffineStep(rng.standard_normal(n), np.exp(rng.standard_normal(n)), rng.standard_normal(n))
        mixing = AffineStep(rng.standard_normal(n), rng.standard_normal((3, n)), rng.standard_normal(3))
        for outer in (scaling, mixing):
            both = rule.then(outer)
            gaps = distances(both.apply(points), image(outer, truth, number), number)
            assert all(gap <= limit for gap, limit in zip(gaps, both.error(points), strict=True))
        d = rule.n_inputs
        inner = AffineStep(rng.standard_normal(d), np.exp(rng.standard_normal(d)), rng.standard_normal(d))
        both = inner.then(rule)
        # the formula at points that are themselves exact: of() takes floats, so the image is passed as numbers
        middle = image(inner, matrix_of(points, number), number)
        gaps = distances(both.apply(points), exact_at(step, middle, number), number)
        assert all(gap <= limit for gap, limit in zip(gaps, both.error(points), strict=True))


def exact_at(step, rows, number):
    """:func:`exact` at points that need not be floats: an affine map is its values at 0 and at the unit vectors."""
    d = rows.shape[1]
    values = exact(step, np.concatenate([np.zeros((1, d)), np.eye(d)]), number)
    return rows @ (values[1:] - values[0]) + values[0]


@pytest.mark.parametrize("name", ["pca, whitened", "pca, whitened, float32", "factors", "standard", "factors, determined"])
def test_the_columns_of_the_matrix_are_exact_to_within_their_error(name):
    step, points = fitted(name)
    rule = affine_part(step)
    d = points.shape[1]
    with mpmath.workdps(80):
        values = exact(step, np.concatenate([np.zeros((1, d)), np.eye(d)]), mpmath.mpf) if name != "standard" else None
        stored = np.diag(rule.matrix) if rule.matrix.ndim == 1 else rule.matrix
        if values is None:
            columns = matrix_of(np.eye(d), mpmath.mpf) / matrix_of(step.scale_, mpmath.mpf)
        else:
            columns = values[1:] - values[0]
        gaps = distances(stored.T, columns, mpmath.mpf)
        assert all(gap <= limit for gap, limit in zip(gaps, np.broadcast_to(rule.column_error, (d,)), strict=True))
        assert max(gaps) > 0


# -- clips -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "step, low, high",
    [(MinMaxScaler((-3, 0.1), clip=True), -3, 0.1)] + ([(MaxAbsScaler(clip=True), -1, 1)] if HAS_CLIP else []),
    ids=lambda value: type(value).__name__,
)
def test_a_clip_cuts_where_transform_cuts(step, low, high):
    step = step.fit(X)
    affine, clip = perturbation_of(step)
    assert isinstance(clip, ClipStep) and clip.low.shape == clip.high.shape == (13,)
    assert (clip.low == low).all() and (clip.high == high).all() and clip.low.dtype == float
    points = np.concatenate([X, X * 10, -X * 10])
    theirs = step.transform(points)
    assert (theirs == high).any() and (theirs == low).any()
    np.testing.assert_allclose(clip.apply(affine.apply(points)), theirs, rtol=1e-13, atol=1e-13)
    assert np.abs(affine.apply(points)).max() > 2 * np.abs(theirs).max()


def test_scalers_that_do_not_clip_are_one_affine_step():
    for step in (MinMaxScaler(), MaxAbsScaler(), RobustScaler(), StandardScaler()):
        assert isinstance(perturbation_of(step.fit(X)), AffineStep)


# -- attributes that may be missing ------------------------------------------------------------------------------------------


def test_a_flag_decides_not_the_attribute_beside_it():
    # mean_ is stored also where it is not used
    step = StandardScaler(with_mean=False).fit(X)
    assert step.mean_ is not None and (perturbation_of(step).center == 0).all()
    # xbar_ stays behind when the same object is fitted anew by a solver that does not centre
    step = LinearDiscriminantAnalysis().fit(X, Y).set_params(solver="eigen").fit(X, Y)
    assert hasattr(step, "xbar_")
    np.testing.assert_allclose(perturbation_of(step).apply(X), step.transform(X), atol=1e-10)
    step = RobustScaler().fit(X).set_params(with_centering=False, with_scaling=False)
    np.testing.assert_array_equal(perturbation_of(step).apply(X), step.transform(X))


def test_whitening_divides_by_a_deviation_no_smaller_than_the_eps_of_the_dtype_fitted_in():
    for dtype in (np.float64, np.float32):
        step = PCA(whiten=True).fit(X.astype(dtype))
        step.explained_variance_[-1] = 0
        rule = perturbation_of(step)
        assert np.abs(rule.matrix[-1]).max() == pytest.approx(np.abs(step.components_[-1]).max() / np.finfo(dtype).eps)
        theirs = step.transform(X)
        np.testing.assert_allclose(rule.apply(X)[:, :4], theirs[:, :4], atol=1e-3 if dtype == np.float32 else 1e-10)


def test_sparse_fits_give_dense_rules():
    from scipy.sparse import csr_array

    for step in (TruncatedSVD(3), MaxAbsScaler(), StandardScaler(with_mean=False), RobustScaler(with_centering=False)):
        step.fit(csr_array(X))
        np.testing.assert_allclose(perturbation_of(step).apply(X), step.transform(X), rtol=1e-10)


# -- selectors ---------------------------------------------------------------------------------------------------------------


def test_every_selector_of_scikit_learn_is_covered():
    classes = [value for value in vars(sklearn.feature_selection).values() if isinstance(value, type)]
    assert {c for c in classes if issubclass(c, SelectorMixin)} - {SelectorMixin} == {type(s) for s in SELECTORS.values()}


@pytest.mark.parametrize("name", SELECTORS)
def test_a_selector_passes_its_columns_on_bit_by_bit(name):
    step, points = fitted(name)
    rule = perturbation_of(step)
    np.testing.assert_array_equal(rule.apply(points), step.transform(points))
    assert 0 < len(rule.offset) <= 13 and set(np.unique(rule.matrix)) == {0, 1} and rule.matrix_error == 0


def test_a_prefit_model_need_not_be_fitted_again_and_an_unfitted_one_says_so():
    step = SelectFromModel(LinearDiscriminantAnalysis().fit(X, Y), prefit=True)
    np.testing.assert_array_equal(perturbation_of(step).apply(X), step.transform(X))
    with pytest.raises(NotFittedError):
        perturbation_of(SelectKBest())


class Head(SelectorMixin, BaseEstimator):
    """A user's own: the first columns."""

    mask = staticmethod(lambda d: np.arange(d) < 2)

    def fit(self, X, y=None):
        self.n_features_in_ = np.shape(X)[1]
        return self

    def _get_support_mask(self):
        return self.mask(self.n_features_in_)


class Doubled(Head):
    def transform(self, X):
        return 2 * super().transform(X)


class Relabelled(SelectKBest):
    def get_support(self, indices=False):
        return ~super().get_support(indices)


class Numbered(Head):
    mask = staticmethod(lambda d: np.array([2, 0]))


class Refitted(SelectKBest):
    def fit(self, X, y):
        return super().fit(np.asarray(X) ** 2, y)


def test_selectors_of_ones_own_are_covered_unless_they_do_more_than_select():
    for own in (Head(), Refitted(k=2)):
        own.fit(X, Y)
        np.testing.assert_array_equal(perturbation_of(own).apply(X), own.transform(X))
    with pytest.raises(Uncertifiable, match="Doubled is a SelectorMixin that overrides transform.*register_perturbation"):
        perturbation_of(Doubled().fit(X))
    with pytest.raises(Uncertifiable, match="Relabelled is a SelectorMixin that overrides get_support"):
        perturbation_of(Relabelled().fit(X, Y))
    with pytest.raises(
        Uncertifiable, match=r"Numbered must be a boolean mask.*got int64 of shape \(2,\).*register_perturbation"
    ):
        perturbation_of(Numbered().fit(X))


# -- tables ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["standard", "min max, clip", "lda", "factors", "k best", "model, prefit"])
def test_tables_with_names_in_and_out_are_the_same_rule(name):
    step, _ = ALL[name]
    step = clone(step)
    if name == "model, prefit":
        step.set_params(estimator=LinearDiscriminantAnalysis().fit(FRAME, Y))
    step.set_output(transform="pandas").fit(FRAME, Y)
    theirs = step.transform(FRAME)
    assert isinstance(theirs, pd.DataFrame)
    np.testing.assert_allclose(carried(step, FRAME.to_numpy()), theirs.to_numpy(), rtol=1e-10, atol=1e-12)


# -- what is refused ---------------------------------------------------------------------------------------------------------


def test_a_discriminant_analysis_by_least_squares_has_no_transform():
    with pytest.raises(Uncertifiable, match=r"lsqr.*no transform.*solver='svd' or 'eigen'"):
        perturbation_of(LinearDiscriminantAnalysis(solver="lsqr").fit(X, Y))


def test_a_function_is_refused_and_no_function_is_the_identity():
    with pytest.raises(Uncertifiable, match="func=<ufunc 'log1p'>.*func=None.*register_perturbation"):
        perturbation_of(FunctionTransformer(np.log1p).fit(X))
    for step in (FunctionTransformer(), FunctionTransformer(validate=True)):
        assert perturbation_of(step.fit(X)) == ()
        np.testing.assert_array_equal(step.transform(X), X)


def test_factors_that_float64_cannot_tell_from_the_noise_are_refused():
    points = np.column_stack([DATA["factors"], DATA["factors"][:, 0]])  # a feature twice over, spread over rotated factors
    step = FactorAnalysis(3, rotation="varimax", max_iter=3000).fit(points)
    with pytest.raises(Uncertifiable, match=r"may be off by .*, expected at most 1e-08.*noise_variance_.*fewer components"):
        perturbation_of(step)
    step.noise_variance_[0] = 1e-30
    with pytest.raises(Uncertifiable, match="off by inf"):
        perturbation_of(step)
    step.components_, step.noise_variance_ = np.ones((3, 7)), np.full(7, 1e-30)  # nothing to invert at all
    with pytest.raises(Uncertifiable, match="off by inf"):
        perturbation_of(step)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "base",
    [MinMaxScaler, MaxAbsScaler, RobustScaler, PCA, IncrementalPCA, TruncatedSVD, FastICA, FactorAnalysis, VarianceThreshold],
)
def test_a_subclass_that_transforms_otherwise_is_refused_and_one_that_fits_otherwise_is_not(base):
    def doubled(self, X):
        return 2 * base.transform(self, X)

    def refit(self, X, y=None):
        return base.fit(self, np.asarray(X) * 2, y)

    with pytest.raises(Uncertifiable, match="that overrides transform"):
        perturbation_of(type("Doubled", (base,), {"transform": doubled})().fit(DATA["factors"]))
    step = type("Refit", (base,), {"fit": refit})().fit(DATA["factors"])
    np.testing.assert_allclose(carried(step, DATA["factors"]), step.transform(DATA["factors"]), atol=1e-10)
