"""CertifiedGMMClassifier: a Gaussian mixture with class labels, fitted in closed form, certified in closed form."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.special import logsumexp
from scipy.stats import chi2
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from skcert import components as mixtures
from skcert import estimation
from skcert._points import check_names
from skcert.backends.arrays import computed_in_numpy, to_host
from skcert.discriminants import Affine, LogSumExp, NearestEllipsoid, Quadratic
from skcert.geometry.rounding import UNIT, grow

COVARIANCE_TYPES = ("tied", "full", "diag", "spherical")
DECISIONS = ("bayes", "nearest-ellipsoid")
#: how far a covariance may be from symmetric, relative to its largest entry
ASYMMETRY = 1e-10
#: mass of a class inside its ellipsoid under decision="nearest-ellipsoid" (theory 3.1: r^2 the chi-square quantile)
ELLIPSOID_MASS = 0.95


# -- from parameters to discriminants --------------------------------------------------------------------------------


def _log(priors: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(priors)


def _expanded(covariances: np.ndarray, covariance_type: str, n_components: int, d: int) -> np.ndarray:
    """Covariances as (C, d, d), or (C, d) where they are diagonal."""
    if covariance_type == "tied":
        return np.broadcast_to(covariances, (n_components, d, d))
    if covariance_type == "spherical":
        return np.broadcast_to(covariances[:, None], (n_components, d))
    return covariances


def _quadratic(means: np.ndarray, inverses: list[estimation.Inverse], log_priors: np.ndarray) -> Quadratic:
    """Equation 4 for classes, or for components with log pi_k + log w_c: twice the log joint densities, up to a constant."""
    log_dets = np.array([inverse.log_det for inverse in inverses])
    finite = np.where(np.isfinite(log_priors), np.abs(log_priors), 0.0)
    return Quadratic(
        means.copy(),  # the rule stays what it is, whoever writes into means_
        np.array([inverse.precision for inverse in inverses]),
        2 * log_priors - log_dets,
        np.array([inverse.units for inverse in inverses]),
        np.array([inverse.error for inverse in inverses]),
        np.array([inverse.doubt for inverse in inverses]),
        grow(np.array([inverse.log_det_error for inverse in inverses]) + 8 * UNIT * (finite + np.abs(log_dets))),
        np.array([inverse.size for inverse in inverses]),
    )


def _expansion_point(means: np.ndarray) -> np.ndarray:
    """Where linear scores are expanded: the centre of the means if they are far from the origin, which costs a subtraction per
    point and saves the digits that would cancel, else the origin.
    """
    center = means.mean(axis=0)
    apart = np.abs(means - center).max()
    return center if np.abs(center).max() > 10 * apart else np.zeros_like(center)


def _on_bayes(estimator) -> bool:
    if estimator.decision == "bayes":
        return True
    raise AttributeError('Only decision="bayes" has probabilities: "nearest-ellipsoid" compares distances, not densities.')


# -- the estimator ---------------------------------------------------------------------------------------------------


class CertifiedGMMClassifier(ClassifierMixin, BaseEstimator):
    """Classify by a Gaussian mixture, one component per class, with a certified radius for every prediction.

    The score of class k at z is ``-(z - mu_k)' S_k^-1 (z - mu_k) - log det S_k + 2 log pi_k`` (equation 4 of [1]_; theory 0),
    the prediction its argmax. How far z may move in l2 (or, for a shared covariance, any of l1, l2, linf) before that argmax
    can change is computed exactly: see :meth:`certify`. With several components per class the score is the logarithm of the sum
    of their joint densities pi_k w_c N(z; mu_c, S_c), and what is certified a lower bound (theory 1.6).

    Parameters
    ----------
    covariance_type : {"tied", "full", "diag", "spherical"}, default="tied"
        "tied": one covariance shared by all classes (and components), linear boundaries. "full": one per class (the ELLIPS rule
        of [1]_) or component. "diag", "spherical": one per class or component, diagonal or a multiple of the identity.
    n_components : int, dict or "bic", default=1
        Components per class: the same for all, ``{label: int}`` with every class named, or, for each class, the number in
        1..``max_components`` of the lowest Bayesian information criterion. 1 is fitted in closed form, more by EM.
    max_components : int, default=5
        For ``n_components="bic"``. The search in a class ends earlier where it has too few points: fewer than 2 per component,
        or than the covariances need ("full": d + 1 in every component; "tied": d + components, in all).
    shrinkage : {"auto", "oas"}, float in [0, 1] or None, default="auto"
        Towards tr(S)/d times the identity: Ledoit-Wolf, oracle approximating, a given intensity, or none. Of several components
        each has its own: its points count with their responsibilities, as frequency weights, and its n is their sum.
    target_radius : float, default=None
        An l2 radius in the units of X, ``covariance_type="tied"`` only: the covariance becomes S + cI, the form of the optimal
        robust rule (theory 3.3), with c chosen from a logarithmic grid by the certified accuracy at this radius on the
        training points. Gains robust accuracy at this radius, and often clean accuracy too.
    decision : {"bayes", "nearest-ellipsoid"}, default="bayes"
        "nearest-ellipsoid" predicts the class whose 95 % ellipsoid is nearest in Euclidean distance (theory 1.7).
    reg_covar : float, default=1e-6
        Added to the diagonal of every covariance, in units of its mean variance tr(S)/d; of several components in
        that of their class ("tied": of all classes), within EM and after.
    priors : array-like of shape (n_classes,), default=None
        Class probabilities, summing to 1; a class with prior 0 is never predicted. None takes the class frequencies.
    n_init : int, default=1
        Starts of EM, of which the likeliest is kept.
    max_iter : int, default=100
        Iterations of EM per start.
    tol : float, default=1e-3
        EM ends when its log likelihood per point gains less.
    random_state : int, RandomState instance or None, default=None
        Used by EM, for its k-means starts, and by :meth:`sample`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    class_count_ : ndarray of shape (n_classes,)
        Training points, or sums of weights, per class.
    priors_ : ndarray of shape (n_classes,)
    n_components_ : ndarray of shape (n_classes,)
        Components of each class. C is their sum, and components are numbered class by class: C = K with ``n_components=1``.
    component_class_ : ndarray of shape (C,)
        The class of each component, as an index into ``classes_``.
    weights_ : ndarray of shape (C,)
        Of the components within their class: they sum to 1 over each class.
    means_ : ndarray of shape (C, n_features)
    covariances_ : ndarray
        The regularised covariances that ``predict`` uses: (d, d) "tied", (C, d, d) "full", (C, d) "diag", (C,) "spherical".
    precisions_ : ndarray
        Their inverses, in the same shape.
    shrinkage_ : float or ndarray of shape (C,)
        Intensity used; of each component unless "tied".
    converged_ : ndarray of shape (n_classes,), dtype bool
    n_iter_ : ndarray of shape (n_classes,)
        Iterations of EM (1: closed form); "tied" fits all classes at once.
    bic_ : ndarray of shape (n_classes, max_components)
        NaN where not tried or not admissible. Only with ``n_components="bic"``.
    robust_shrinkage_ : float
        The c chosen for ``target_radius``, in the units of the covariance. Only with ``target_radius``.
    coef_, intercept_ : ndarrays of shape (n_classes, n_features), (n_classes,)
        The linear scores, ``covariance_type="tied"`` and ``decision="bayes"`` only, and one component per class.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only when X has string column names.

    See Also
    --------
    skcert.certify : Certificates for this and other classifiers, and for whole pipelines.

    Notes
    -----
    Arithmetic is float64 whatever the type of X. Means and covariances come from sums that merge exactly, so ``partial_fit``
    over batches gives what ``fit`` gives on their union, and integer weights count as repeated points. Covariances are
    divided by n, as in :func:`sklearn.covariance.ledoit_wolf`.

    X, y and weights may be arrays of any library of the array API, such as PyTorch or CuPy. Results are in the library and on
    the device of X, fitted attributes in NumPy always: a model fitted on arrays of one library predicts for any other.

    With several components EM runs without shrinkage: by :class:`sklearn.mixture.GaussianMixture` in each class, or over all
    classes jointly for "tied". From its responsibilities weights, means and covariances are estimated once more, as those of
    classes are, and shrunk; so a single component is estimated exactly as with ``n_components=1``. EM needs all points at once
    (no ``partial_fit``) and equal sample weights. "bic" with "tied" judges every class alone, by a mixture with one covariance.

    References
    ----------
    .. [1] Emmanouilidis, Ding, Nguyen, Loizou, Vidal. Certified Robustness from Approximate Gaussian Mixture Structures in
       Pretrained Latent Spaces. arXiv 2605.25352 (2026), equation 4 and Theorem 4.1.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skcert import CertifiedGMMClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = CertifiedGMMClassifier().fit(X, y)
    >>> round(model.score(X, y), 2)
    0.98
    >>> certificate = model.certify(X[:3])
    >>> certificate.radius.shape, certificate.guarantee
    ((3,), 'deterministic')
    """

    classes_: np.ndarray
    means_: np.ndarray
    covariances_: np.ndarray
    precisions_: np.ndarray
    priors_: np.ndarray
    shrinkage_: float | np.ndarray
    weights_: np.ndarray
    component_class_: np.ndarray
    _discriminant: Affine | Quadratic | NearestEllipsoid | LogSumExp

    def __init__(
        self,
        *,
        covariance_type="tied",
        n_components=1,
        max_components=5,
        shrinkage="auto",
        target_radius=None,
        decision="bayes",
        reg_covar=1e-6,
        priors=None,
        n_init=1,
        max_iter=100,
        tol=1e-3,
        random_state=None,
    ):
        self.covariance_type = covariance_type
        self.n_components = n_components
        self.max_components = max_components
        self.shrinkage = shrinkage
        self.target_radius = target_radius
        self.decision = decision
        self.reg_covar = reg_covar
        self.priors = priors
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    # -- fitting ---------------------------------------------------------------------------------------------------

    @computed_in_numpy
    def fit(self, X, y, sample_weight=None) -> CertifiedGMMClassifier:
        """Estimate priors, means and covariances.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None
            Frequency weights: an integer w counts as w copies of the point. EM (``n_components`` not 1) takes equal ones only.

        Returns
        -------
        self : CertifiedGMMClassifier
        """
        self._check_parameters()
        for name in ("coef_", "intercept_", "robust_shrinkage_", "ellipsoid_radius_", "bic_", "_moments", "_discriminant"):
            self.__dict__.pop(name, None)  # of an earlier fit with other parameters
        check_names(X)
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(y)
        weights = self._check_weights(sample_weight, X)
        seen = weights > 0
        if not seen.all():
            X, y, weights = X[seen], y[seen], weights[seen]
        self.classes_, codes = np.unique(y, return_inverse=True)
        self._check_classes()
        pooled = self.covariance_type == "tied"
        with np.errstate(over="ignore", invalid="ignore"):  # reported below, in words
            shift = estimation.class_means(X, codes, weights, len(self.classes_))
            mixture = self._mixtures(X, codes, weights, shift, pooled)
            if mixture is None:
                self._moments = estimation.Moments.of(X, codes, weights, shift, pooled=pooled)
            self._estimate(*(mixture or (self._moments,)))
        self._finish()
        if self.target_radius is not None:
            c = estimation.robust_shrinkage(
                X, codes, weights, self.means_, self.covariances_, _log(self.priors_), self.target_radius
            )
            self.robust_shrinkage_ = c
            self.covariances_ = self.covariances_ + c * np.eye(X.shape[1])
            self._finish()
        return self

    @computed_in_numpy
    def partial_fit(self, X, y, classes=None, sample_weight=None) -> CertifiedGMMClassifier:
        """Add a batch of points; the result is that of ``fit`` on all points seen so far, ``fit`` itself included.

        After ``fit`` with ``covariance_type="tied"`` only the Ledoit-Wolf intensity is not that of the union to the last
        digit: ``fit`` keeps one scatter for all classes, not each.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        classes : array-like of shape (n_classes,), default=None
            All classes that will ever occur; required by the first call.
        sample_weight : array-like of shape (n_samples,), default=None
            Frequency weights.

        Returns
        -------
        self : CertifiedGMMClassifier
            Ready to predict once every class has been seen and every covariance has full rank; unfitted until then.
        """
        self._check_parameters()
        if not self._one_each:
            raise ValueError(
                f"partial_fit cannot fit n_components={self.n_components!r}: EM needs all training points at once. Use fit, or "
                "set n_components=1."
            )
        if self.target_radius is not None:
            raise ValueError(
                "partial_fit cannot choose the covariance for target_radius, which needs all training points at once: "
                "use fit, or set target_radius=None."
            )
        first = not hasattr(self, "_moments")
        check_names(X)
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], reset=first)
        check_classification_targets(y)
        weights = self._check_weights(sample_weight, X)
        if first:
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self.classes_ = unique_labels(classes)
            self._check_classes()
            self._number(np.ones(len(self.classes_), dtype=int))
            K, d = len(self.classes_), X.shape[1]
            self._moments = estimation.Moments.none(K, d)
        elif classes is not None and not np.array_equal(unique_labels(classes), self.classes_):
            raise ValueError(f"classes={classes!r} is not the same as on the first call to partial_fit: {self.classes_!r}.")
        if self._moments.second.ndim == 2 and self.covariance_type != "tied":
            raise ValueError(
                'fit with covariance_type="tied" kept one scatter for all classes: it cannot go on as '
                f"covariance_type={self.covariance_type!r}. Fit again, or pass all batches to partial_fit."
            )
        codes = np.searchsorted(self.classes_, y)
        strangers = ~np.isin(y, self.classes_)
        if strangers.any():
            raise ValueError(f"y contains labels that are not in classes: {np.unique(y[strangers])!r}.")
        seen = weights > 0
        X, codes, weights = X[seen], codes[seen], weights[seen]
        known = self._moments.count > 0
        here = estimation.class_means(X, codes, weights, len(self.classes_))
        shift = np.where(known[:, None], self._moments.shift, here)
        self._moments = estimation.Moments.of(X, codes, weights, shift) + self._moments.by_class()
        self.__dict__.pop("_discriminant", None)
        if (self._moments.count > 0).all():
            self._estimate(self._moments)
            with contextlib.suppress(estimation.RankError):  # more batches will come
                self._finish()
        return self

    @classmethod
    def from_parameters(
        cls, means, covariances, priors=None, classes=None, *, components=None, weights=None, covariance_type=None
    ):
        """A fitted classifier of a known mixture.

        Parameters
        ----------
        means : array-like of shape (n_components, n_features)
            One row per class, or per component where ``components`` is given.
        covariances : array-like of shape (C, d, d), (d, d), (C, d) or (C,)
            "full", "tied", "diag" or "spherical", C the number of means. A square 2-D array with C = d that is symmetric
            positive definite is read as a shared (d, d) covariance, any other as (C, d) variances.
        priors : array-like of shape (n_classes,), default=None
            Of the classes, in the order of ``classes``. None: uniform.
        classes : array-like of shape (n_classes,), default=None
            Labels, in any order; None: 0..K-1, or those in ``components``, sorted.
        components : array-like of shape (n_components,), default=None
            The label of the class of each row of ``means``, in any order. None: one component per class.
        weights : array-like of shape (n_components,), default=None
            Of the components within their class, summing to 1 over each. None: uniform.
        covariance_type : {"tied", "full", "diag", "spherical"}, default=None
            Says which of the four the covariances are; None: from their shape.

        Returns
        -------
        CertifiedGMMClassifier

        Examples
        --------
        >>> from skcert import CertifiedGMMClassifier
        >>> model = CertifiedGMMClassifier.from_parameters([[-1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]])
        >>> float(model.certify([[-2.0, 5.0]]).radius[0].round(6))
        2.0

        Class "b" on both sides of class "a":

        >>> model = CertifiedGMMClassifier.from_parameters(
        ...     [[-3.0], [0.0], [3.0]], [1.0, 1.0, 1.0], components=["b", "a", "b"], covariance_type="spherical"
        ... )
        >>> model.predict([[-4.0], [1.0], [2.0]]).tolist()
        ['b', 'a', 'b']
        """
        means, covariances = _as_floats("means", means), _as_floats("covariances", covariances)
        if means.ndim != 2 or not means.size:
            raise ValueError(f"means must have shape (n_classes, n_features), got {means.shape}.")
        C, d = means.shape
        covariance_type = _type_by_shape(covariances, C, d) if covariance_type is None else covariance_type
        expected = {"full": (C, d, d), "tied": (d, d), "diag": (C, d), "spherical": (C,)}
        if covariance_type not in COVARIANCE_TYPES:
            raise ValueError(f"covariance_type must be one of {COVARIANCE_TYPES}, got {covariance_type!r}.")
        if covariances.shape != expected[covariance_type]:
            raise ValueError(
                f"covariances of type {covariance_type!r} must have shape {expected[covariance_type]}, got {covariances.shape}."
            )
        if not (np.isfinite(means).all() and np.isfinite(covariances).all()):
            raise ValueError("means and covariances must be finite.")
        if covariance_type in ("full", "tied"):
            skew = np.abs(covariances - np.swapaxes(covariances, -1, -2)).max()
            if skew > ASYMMETRY * np.abs(covariances).max():
                raise ValueError("covariances must be symmetric.")
            covariances = (covariances + np.swapaxes(covariances, -1, -2)) / 2
        labels, owners, weights = _check_components(classes, components, weights, C)
        K = len(labels)
        model = cls(covariance_type=covariance_type, shrinkage=None, reg_covar=0.0, priors=priors)
        model.n_features_in_ = d
        by_class, by_component = np.argsort(labels), np.argsort(owners, kind="stable")
        model.classes_ = labels[by_class]
        model._number(np.unique(owners, return_counts=True)[1])
        if C > K:
            model.n_components = dict(zip(model.classes_.tolist(), model.n_components_.tolist(), strict=True))
        model.means_, model.weights_ = means[by_component], weights[by_component]
        model.covariances_ = covariances if covariance_type == "tied" else covariances[by_component]
        priors = np.full(K, 1 / K) if priors is None else _check_priors(priors, labels)
        model.priors_ = priors[by_class]
        model.priors = None if model.priors is None else model.priors_
        try:
            model._finish()
        except estimation.RankError as reason:
            raise ValueError(
                f'{reason} The covariances, of shape {covariances.shape}, were read as "{covariance_type}": if they are '
                "something else, pass covariance_type."
            ) from None
        return model

    def _check_parameters(self) -> None:
        if self.covariance_type not in COVARIANCE_TYPES:
            raise ValueError(f"covariance_type must be one of {COVARIANCE_TYPES}, got {self.covariance_type!r}.")
        if self.decision not in DECISIONS:
            raise ValueError(f"decision must be one of {DECISIONS}, got {self.decision!r}.")
        c = self.n_components
        named = isinstance(c, Mapping) and len(c) and all(map(_is_count, c.values()))
        if not (_is_count(c) or named or (isinstance(c, str) and c == "bic")):
            raise ValueError(f'n_components must be an integer >= 1, a dict {{label: integer}} or "bic", got {c!r}.')
        for name in ("max_components", "n_init", "max_iter"):
            if not _is_count(getattr(self, name)):
                raise ValueError(f"{name} must be an integer >= 1, got {getattr(self, name)!r}.")
        if not (_is_number(self.tol) and 0 <= float(self.tol) < np.inf):
            raise ValueError(f"tol must be a finite number >= 0, got {self.tol!r}.")
        if not self._one_each and (self.decision != "bayes" or self.target_radius is not None):
            option = f"target_radius={self.target_radius!r}" if self.decision == "bayes" else f"decision={self.decision!r}"
            raise ValueError(
                f"{option} needs n_components=1, one Gaussian per class, got n_components={c!r}: set one or the other back "
                "to its default."
            )
        s = self.shrinkage
        number = _is_number(s) and 0 <= float(s) <= 1
        if not (s is None or number or (isinstance(s, str) and s in ("auto", "oas"))):
            raise ValueError(f'shrinkage must be "auto", "oas", a float in [0, 1] or None, got {s!r}.')
        if not (_is_number(self.reg_covar) and 0 <= float(self.reg_covar) < np.inf):
            raise ValueError(f"reg_covar must be a finite number >= 0, got {self.reg_covar!r}.")
        r = self.target_radius
        if r is not None:
            if not (_is_number(r) and 0 < float(r) < np.inf):
                raise ValueError(f"target_radius must be a positive finite l2 radius or None, got {r!r}.")
            if self.covariance_type != "tied" or self.decision != "bayes":
                raise ValueError(
                    'target_radius needs covariance_type="tied" and decision="bayes" (the robust rule S + cI is linear), got '
                    f"covariance_type={self.covariance_type!r}, decision={self.decision!r}."
                )

    def _check_classes(self) -> None:
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs samples of at least 2 classes, got {len(self.classes_)} class: {self.classes_!r}."
            )
        if self.priors is not None:
            _check_priors(self.priors, self.classes_)
        if isinstance(self.n_components, Mapping):
            missing = [label for label in self.classes_.tolist() if label not in self.n_components]
            if missing:
                raise ValueError(
                    f"n_components names the classes {list(self.n_components)!r} but not {missing!r}: give every class "
                    "a number."
                )

    def _check_weights(self, sample_weight, X) -> np.ndarray:
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
        if not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise ValueError("sample_weight must be finite and not be negative.")
        if not weights.any():
            raise ValueError("sample_weight is zero for every sample: at least one weight must be positive.")
        return weights

    @property
    def _one_each(self) -> bool:
        """One component per class, by the parameter: closed form."""
        return _is_count(self.n_components) and self.n_components == 1

    def _number(self, counts: np.ndarray, converged=None, n_iter=None) -> None:
        """Number the components, class by class; without EM an iteration of its closed form has converged."""
        self.n_components_, self.component_class_ = counts, np.repeat(np.arange(len(counts)), counts)
        self.converged_ = np.ones(len(counts), dtype=bool) if converged is None else converged
        self.n_iter_ = np.ones(len(counts), dtype=int) if n_iter is None else n_iter

    def _mixtures(self, X, codes, weights, centers, pooled: bool) -> tuple[estimation.Moments, np.ndarray] | None:
        """Moments of the components that EM finds, and their units of reg_covar; None if every class has one."""
        K, counts = len(self.classes_), None
        if isinstance(self.n_components, Mapping):
            counts = [int(self.n_components[label]) for label in self.classes_.tolist()]
        elif not isinstance(self.n_components, str):
            counts = [int(self.n_components)] * K
        if counts is not None and max(counts) == 1:
            self._number(np.ones(K, dtype=int))
            return None
        if (weights != weights[0]).any():
            raise ValueError(
                f"sample_weight must be equal for all samples that count with n_components={self.n_components!r}: EM takes no "
                "weights. Repeat the samples, np.repeat(X, sample_weight, axis=0), or set n_components=1."
            )
        names = [f"class {label!r}" for label in self.classes_.tolist()]
        ends = np.cumsum(np.bincount(codes))[:-1]
        points = [X[own] - centers[k] for k, own in enumerate(np.split(np.argsort(codes, kind="stable"), ends))]
        em = mixtures.EM(self.covariance_type, float(self.reg_covar), int(self.n_init), int(self.max_iter), float(self.tol))
        seeds = check_random_state(self.random_state).randint(np.iinfo(np.int32).max, size=K)
        found = mixtures.fit(points, names, counts, int(self.max_components), em, seeds)
        if found.bic is not None:
            self.bic_ = found.bic
        self._number(found.counts, found.converged, found.n_iter)
        if (found.counts == 1).all():
            return None
        moments = mixtures.moments(points, centers, weights[0], found.responsibilities, pooled=pooled)
        return moments, found.units[self.component_class_]

    def _estimate(self, m: estimation.Moments, units: np.ndarray | None = None) -> None:
        """Priors, weights, means and regularised covariances from the moments of the components."""
        codes = self.component_class_
        self.class_count_, self.means_ = np.bincount(codes, m.count), m.means
        self.weights_ = m.count / self.class_count_[codes]
        given, total = self.priors is not None, self.class_count_.sum()
        self.priors_ = _check_priors(self.priors, self.classes_) if given else self.class_count_ / total
        options: tuple[Any, float] = (self.shrinkage, self.reg_covar)
        fourth = m.central_fourth()
        unit = [None] * len(codes) if units is None else units
        if self.covariance_type == "tied":
            n = m.count.sum()
            pooled = m.pooled_scatter() / n
            self.covariances_, self.shrinkage_ = estimation.regularise(pooled, n, fourth.sum(), *options, unit[0])
            return
        covariances, intensities = [], []
        for c, n in enumerate(np.maximum(m.count, np.finfo(float).tiny)):  # a component may be left without points
            covariance, intensity = estimation.regularise(m.scatter(c) / n, n, fourth[c], *options, unit[c])
            intensities.append(intensity)
            if self.covariance_type == "diag":
                covariance = np.diag(covariance).copy()
            elif self.covariance_type == "spherical":
                covariance = np.trace(covariance) / len(covariance)
            covariances.append(covariance)
        self.covariances_, self.shrinkage_ = np.array(covariances), np.array(intensities)

    def _finish(self) -> None:
        """Precisions and the discriminant, which prediction and certificate share."""
        counts, codes = getattr(self, "class_count_", None), self.component_class_
        (C, d), K = self.means_.shape, len(self.classes_)
        expanded = _expanded(self.covariances_, self.covariance_type, C, d)
        if self.covariance_type == "tied":
            total = None if counts is None else counts.sum()
            inverses = [estimation.invert(self.covariances_, "all classes (tied)", total)] * C
            self.precisions_ = inverses[0].precision
        else:
            each = [None] * C if counts is None else counts[codes] * self.weights_
            inverses = [estimation.invert(S, name, n) for S, name, n in zip(expanded, self._names(), each, strict=True)]
            self.precisions_ = np.array([inverse.precision for inverse in inverses])
        if self.covariance_type == "spherical":
            self.precisions_ = self.precisions_[:, 0].copy()
        self._log_dets = np.array([inverse.log_det for inverse in inverses])
        log_priors = _log(self.priors_)[codes] + _log(self.weights_)
        if self.decision == "nearest-ellipsoid":
            self.ellipsoid_radius_ = float(np.sqrt(chi2.ppf(ELLIPSOID_MASS, d)))
            bounds = np.full(K, self.ellipsoid_radius_**2)
            self._discriminant = NearestEllipsoid(_quadratic(self.means_, inverses, log_priors), bounds)
        elif self.covariance_type == "tied":
            self._center = _expansion_point(self.means_[np.isfinite(log_priors)])
            affine = Affine.of_shared_covariance(self.means_, inverses[0], log_priors, self._center)
            if C == K:
                self.coef_, self.intercept_ = affine.coef.copy(), affine.intercept - affine.coef @ affine.center
            self._discriminant = affine if C == K else LogSumExp(affine, codes)
        else:
            quadratic = _quadratic(self.means_, inverses, log_priors)
            self._discriminant = quadratic if C == K else LogSumExp(quadratic, codes)

    def _names(self) -> list[str]:
        """What to call the components in errors: by their class, and their place in it where there are several."""
        names = []
        # what was given has no number of components to lower
        remedy = " (a lower n_components may help)" if hasattr(self, "class_count_") else ""
        for label, count in zip(self.classes_.tolist(), self.n_components_, strict=True):
            own = f"class {label!r}"
            names += [own] if count == 1 else [f"component {c} of {own}{remedy}" for c in range(count)]
        return names

    # -- using it --------------------------------------------------------------------------------------------------

    def _check_fitted(self) -> None:
        """NotFittedError where there is nothing to predict with; after some batches, which say what they lack."""
        if hasattr(self, "_discriminant") or not hasattr(self, "_moments"):
            check_is_fitted(self, "_discriminant")
            return
        unseen = self.classes_[self._moments.count == 0].tolist()
        why = f"no samples yet of the classes {unseen!r}"
        if not unseen:
            try:
                self._finish()
            except estimation.RankError as reason:
                why = f"too few samples yet. {reason}"
        raise NotFittedError(f"This {type(self).__name__} has {why}: pass more batches to partial_fit before using it.")

    def _check(self, X) -> np.ndarray:
        self._check_fitted()
        return validate_data(self, X, dtype=[np.float64, np.float32], reset=False)

    def _log_joint(self, X) -> np.ndarray:
        """log pi_k + log of the density of class k, up to a term common to all classes."""
        rule = self._discriminant
        scores = rule.scores(X)
        return scores / 2 if isinstance(rule.components if isinstance(rule, LogSumExp) else rule, Quadratic) else scores

    @computed_in_numpy
    def predict(self, X) -> np.ndarray:
        """Predict the class of every row of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        X = self._check(X)
        return self.classes_[self._discriminant.winners(X)]

    @computed_in_numpy
    def decision_function(self, X) -> np.ndarray:
        """Log joint density of every class, up to a common term; minus the distances for "nearest-ellipsoid".

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            With two classes the difference, positive for ``classes_[1]``.
        """
        scores = self._log_joint(self._check(X))
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    @available_if(_on_bayes)
    @computed_in_numpy
    def predict_log_proba(self, X) -> np.ndarray:
        """Log posterior probabilities under the fitted mixture, shape (n_samples, n_classes)."""
        scores = self._log_joint(self._check(X))
        return scores - logsumexp(scores, axis=1, keepdims=True)

    @available_if(_on_bayes)
    @computed_in_numpy
    def predict_proba(self, X) -> np.ndarray:
        """Posterior probabilities under the fitted mixture, shape (n_samples, n_classes)."""
        return np.exp(self.predict_log_proba(X))

    @computed_in_numpy
    def score(self, X, y, sample_weight=None) -> float:
        """Share of the rows of X that are predicted as ``y``, which counts them with ``sample_weight``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
        """
        return super().score(X, y, sample_weight)

    @computed_in_numpy
    def score_samples(self, X) -> np.ndarray:
        """Log density of every row of X under the fitted mixture: low means untypical, whatever its radius.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
        """
        X = self._check(X)
        d = self.n_features_in_
        if self.covariance_type == "tied" and self.decision == "bayes":
            x = X - self._center
            common = -0.5 * (np.einsum("nd,nd->n", x @ self.precisions_, x) + self._log_dets[0])
            return logsumexp(self._log_joint(X), axis=1) + common - d / 2 * np.log(2 * np.pi)
        if isinstance(self._discriminant, NearestEllipsoid):
            quadratic = self._discriminant.quadratic
            joint = quadratic.scores(X) / 2 - self._log_dets / 2 + _log(self.priors_)
        else:
            joint = self._log_joint(X)
        return logsumexp(joint, axis=1) - d / 2 * np.log(2 * np.pi)

    def sample(self, n_samples=1) -> tuple[np.ndarray, np.ndarray]:
        """Draw points and labels from the fitted mixture.

        Parameters
        ----------
        n_samples : int, default=1

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        y : ndarray of shape (n_samples,)
        """
        self._check_fitted()
        if not _is_count(n_samples):
            raise ValueError(f"n_samples must be an integer >= 1, got {n_samples!r}.")
        rng = check_random_state(self.random_state)
        C, d = self.means_.shape
        drawn = rng.choice(C, size=n_samples, p=self.priors_[self.component_class_] * self.weights_)
        X = rng.standard_normal((n_samples, d))
        expanded = _expanded(self.covariances_, self.covariance_type, C, d)
        for c in np.unique(drawn):
            own, S = drawn == c, expanded[c]
            X[own] = self.means_[c] + (X[own] * np.sqrt(S) if S.ndim == 1 else X[own] @ np.linalg.cholesky(S).T)
        return X, self.classes_[self.component_class_[drawn]]

    def certify(self, X, *, norm=2, method="auto", feature_scale=None, return_attack=False, device=None, progress=True):
        """Certified radii of the predictions on X: :func:`skcert.certify` with this classifier.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        norm, method, feature_scale, return_attack, device, progress
            See :func:`skcert.certify`.

        Returns
        -------
        Certificate
        """
        from skcert._certify import certify

        asked = {"norm": norm, "method": method, "feature_scale": feature_scale, "return_attack": return_attack}
        return certify(self, X, **asked, device=device, progress=progress)


def _is_count(value) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def _is_number(value) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _as_floats(name: str, values) -> np.ndarray:
    try:
        return np.array(to_host(values), dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an array of numbers, got {values!r}.") from None


def _check_components(classes, components, weights, n_components: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of the classes, as given; the label and the weight of each component."""
    C = n_components
    if components is None:
        if weights is not None:
            raise ValueError(
                "weights are those of the components within their class: say in components whose each row of means is."
            )
        labels = np.arange(C) if classes is None else np.asarray(classes)
        if labels.shape != (C,) or len(np.unique(labels)) != C:
            raise ValueError(f"classes must be {C} different labels, one per row of means, got {classes!r}.")
        return labels, labels, np.ones(C)
    owners = np.asarray(components)
    if owners.shape != (C,):
        raise ValueError(f"components must be {C} labels, one per row of means, got {components!r}.")
    found, codes, counts = np.unique(owners, return_inverse=True, return_counts=True)
    labels = found if classes is None else np.asarray(classes)
    if labels.ndim != 1 or len(np.unique(labels)) != len(labels) or not np.array_equal(np.sort(labels), found):
        raise ValueError(f"classes must be the different labels that occur in components, {found.tolist()!r}, got {classes!r}.")
    if weights is None:
        return labels, owners, 1 / counts[codes]
    weights = _as_floats("weights", weights)
    if weights.shape != (C,) or not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError(f"weights must be {C} finite numbers that are not negative, one per row of means, got {weights!r}.")
    sums = np.bincount(codes, weights)
    if np.abs(sums - 1).max() > 1e-8:
        raise ValueError(f"weights must sum to 1 over the components of each class, got the sums {sums.tolist()!r}.")
    return labels, owners, weights


def _check_priors(priors, classes: np.ndarray) -> np.ndarray:
    names = classes.tolist()
    expected = f"priors must be an array of probabilities, one per class in the order {names!r}, or None"
    if hasattr(priors, "iloc"):
        labels = list(priors.index)
        ordered = labels == list(range(len(names))) and not set(labels) & set(names)
        if labels != names and not ordered:
            raise ValueError(
                f"{expected}, got a {type(priors).__name__} with the labels {labels!r}: pass .loc[{names!r}] of it."
            )
    try:
        priors = np.asarray(to_host(priors), dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{expected}, got {priors!r}.") from None
    if priors.shape != classes.shape:
        raise ValueError(f"priors must have shape {classes.shape}, one per class, got {priors.shape}.")
    if not (np.isfinite(priors).all() and (priors >= 0).all()):
        raise ValueError(f"priors must be finite and not negative, got {priors!r}.")
    if abs(priors.sum() - 1) > 1e-8:
        raise ValueError(f"priors must sum to 1, got a sum of {priors.sum():.10g}: divide them by it.")
    return priors


def _type_by_shape(covariances: np.ndarray, n_classes: int, d: int) -> str:
    if covariances.ndim == 3:
        return "full"
    if covariances.ndim == 1:
        return "spherical"
    if covariances.shape == (d, d) and (n_classes != d or _is_covariance(covariances)):
        return "tied"
    if covariances.shape == (n_classes, d):
        return "diag"
    raise ValueError(
        f"covariances must have shape (K, d, d), (d, d), (K, d) or (K,) with K={n_classes} and d={d}, got {covariances.shape}."
    )


def _is_covariance(S: np.ndarray) -> bool:
    return bool(np.abs(S - S.T).max() <= ASYMMETRY * np.abs(S).max() and np.linalg.eigvalsh((S + S.T) / 2)[0] > 0)
