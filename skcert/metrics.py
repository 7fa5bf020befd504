"""Scores of certificates: certified accuracy, its curve, the average radius, and scorers for model selection."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np

from skcert._certificate import Certificate, check_radii, check_radius
from skcert._certify import certify
from skcert._request import METHODS
from skcert.backends.arrays import like, to_host
from skcert.perturbations import check_norm

__all__ = [
    "average_certified_radius",
    "average_certified_radius_scorer",
    "certified_accuracy_curve",
    "certified_accuracy_score",
    "certified_accuracy_scorer",
]


# -- checks ----------------------------------------------------------------------------------------------------------


def check_labels(y, certificate: Certificate) -> np.ndarray:
    """True labels as the certificate compares them with its predictions."""
    if not isinstance(certificate, Certificate):
        raise TypeError(
            f"certificate must be a skcert.Certificate, got {type(certificate).__name__}: pass what skcert.certify returns."
        )
    return certificate.check_labels(y)


# -- scores ----------------------------------------------------------------------------------------------------------


def certified_accuracy_score(y, certificate: Certificate, radius: float) -> float:
    """Share of points predicted as ``y`` and certified at ``radius``.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        True labels.
    certificate : Certificate
        Of the same points, in the same order.
    radius : float
        >= 0, in the norm, space and units of the certificate. 0 gives the clean accuracy.

    Returns
    -------
    score : float
        ``mean(prediction == y and certified radius >= radius)``, in [0, 1]. A lower bound of the accuracy under every attack
        shorter than ``radius`` (theory 0), where the certificate's guarantee is "deterministic".

    Raises
    ------
    ValueError
        ``radius`` is negative or no number; ``y`` has another length, NaN, or text where the predictions are numbers.
    TypeError
        ``certificate`` is no Certificate.

    See Also
    --------
    skcert.Certificate.certified_accuracy : The same at several radii.

    Examples
    --------
    >>> from skcert import CertifiedGMMClassifier
    >>> from skcert.metrics import certified_accuracy_score
    >>> model = CertifiedGMMClassifier.from_parameters([[-1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]])
    >>> certificate = model.certify([[-2.0, 0.0], [-0.5, 0.0], [1.0, 0.0], [3.0, 0.0]])     # radii 2, 0.5, 1, 3
    >>> certified_accuracy_score([0, 0, 1, 0], certificate, radius=0.75)
    0.5
    """
    y = check_labels(y, certificate)
    return float(certificate.certified_accuracy(y, check_radius("radius", radius)))


def certified_accuracy_curve(y, certificate: Certificate, radii=None) -> tuple[Any, Any]:
    """Certified accuracy as a function of the radius.

    The accuracy at r is the share of points with ``prediction == y`` and ``radius >= r``. As a function of r it is a step
    function, continuous from the left: a point certified at exactly r still counts at r, and no longer just after it.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        True labels.
    certificate : Certificate
        Of the same points, in the same order.
    radii : array-like of shape (n_radii,), default=None
        Where to evaluate, each >= 0. None: 0 and every radius after which the curve falls, which is the whole curve:
        ``accuracy[k]`` holds on the interval ``(radii[k-1], radii[k]]``, ``accuracy[0]`` at 0, and the curve is 0 beyond
        ``radii[-1]``.

    Returns
    -------
    radii : array of shape (n_radii,)
        In the norm, space and units of the certificate, and in its library. Increasing, when they were not given; the last
        one is ``inf`` if a correctly predicted point has no boundary at all.
    accuracy : array of shape (n_radii,)
        ``accuracy[0]`` is the clean accuracy, when the radii were not given.

    Raises
    ------
    ValueError
        A radius is negative or NaN; ``y`` has another length, NaN, or text where the predictions are numbers.
    TypeError
        ``certificate`` is no Certificate.

    Notes
    -----
    matplotlib draws the exact curve with ``drawstyle="steps-pre"``: see :class:`skcert.plotting.CertifiedAccuracyDisplay`.

    Examples
    --------
    >>> from skcert import CertifiedGMMClassifier
    >>> from skcert.metrics import certified_accuracy_curve
    >>> model = CertifiedGMMClassifier.from_parameters([[-1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]])
    >>> certificate = model.certify([[-2.0, 0.0], [-0.5, 0.0], [1.0, 0.0], [3.0, 0.0]])
    >>> radii, accuracy = certified_accuracy_curve([0, 0, 1, 0], certificate)
    >>> radii.round(6), accuracy
    (array([0. , 0.5, 1. , 2. ]), array([0.75, 0.75, 0.5 , 0.25]))
    """
    y = check_labels(y, certificate)
    if radii is not None:
        if (given := check_radii(radii)).ndim != 1:
            raise ValueError(f"radii must be a list of numbers >= 0 or None, got {radii!r}: pass [{given}].")
        radii = given
        return like(certificate.radius, radii), certificate.certified_accuracy(y, radii)
    radii = np.unique(np.append(0.0, to_host(certificate.radius)))
    accuracy = to_host(certificate.certified_accuracy(y, radii))
    falls_after = accuracy > np.append(accuracy[1:], 0.0)
    falls_after[0] = True
    return like(certificate.radius, radii[falls_after]), like(certificate.radius, accuracy[falls_after])


def average_certified_radius(y, certificate: Certificate) -> float:
    """Mean over the points of the certified radius, counted as 0 where the prediction is wrong.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        True labels.
    certificate : Certificate
        Of the same points, in the same order.

    Returns
    -------
    score : float
        >= 0, in the norm, space and units of the certificate; the area under the certified accuracy curve. ``inf`` if a
        correctly predicted point has an infinite radius (an infinite radius of a wrong prediction counts as 0). Never NaN.

    Raises
    ------
    ValueError
        ``y`` has another length, NaN, or text where the predictions are numbers.
    TypeError
        ``certificate`` is no Certificate.

    Notes
    -----
    A mean can be carried by a few points far from every boundary; the curve cannot. To choose a model for a known size of
    perturbation use the certified accuracy there.

    References
    ----------
    .. [1] Zhai et al. MACER: Attack-free and Scalable Robust Training via Maximizing Certified Radius. ICLR 2020.

    Examples
    --------
    >>> from skcert import CertifiedGMMClassifier
    >>> from skcert.metrics import average_certified_radius
    >>> model = CertifiedGMMClassifier.from_parameters([[-1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]])
    >>> certificate = model.certify([[-2.0, 0.0], [-0.5, 0.0], [1.0, 0.0], [3.0, 0.0]])
    >>> round(average_certified_radius([0, 0, 1, 0], certificate), 6)     # (2 + 0.5 + 1 + 0) / 4
    0.875
    """
    radii, accuracy = map(to_host, certified_accuracy_curve(y, certificate))
    return float(np.diff(radii) @ accuracy[1:])


# -- scorers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class certified_accuracy_scorer:
    """Scorer for ``scoring=`` of GridSearchCV, cross_validate and their like: certified accuracy at a radius.

    Called with a fitted estimator and held-out points, it certifies them and returns
    :func:`certified_accuracy_score`. Larger is better.

    Parameters
    ----------
    radius : float
        >= 0, in ``norm`` and in the units of ``space``. 0 gives the clean accuracy.
    norm : {1, 2, numpy.inf}, default=2
    space : str, default="input"
        Where the perturbation acts: "input" (the units of X), the name of a step (its output), or "latents" (what the final
        classifier sees). In "latents" and after a fitted step the units are those of each candidate: a candidate that only
        stretches its latents scores better. Compare candidates in a space that they share.
    method : {"auto", "exact", "pairwise", "paper"}, default="auto"
        See :func:`skcert.certify`.
    feature_scale : array-like of shape (n_features,) or dict by column, default=None
        The unit in which each feature moves; 0 where it cannot. See :func:`skcert.certify`.

    Raises
    ------
    ValueError
        A parameter is out of its range, at construction and not first in the search.

    Notes
    -----
    GridSearchCV turns an error of :func:`skcert.certify` (say a step that has no bound) into the score NaN and a warning;
    ``error_score="raise"`` shows the error.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skcert import CertifiedGMMClassifier
    >>> from skcert.metrics import certified_accuracy_scorer
    >>> X, y = load_iris(return_X_y=True)
    >>> search = GridSearchCV(
    ...     make_pipeline(StandardScaler(), CertifiedGMMClassifier()),
    ...     {"certifiedgmmclassifier__covariance_type": ["tied", "full", "diag", "spherical"]},
    ...     scoring=certified_accuracy_scorer(radius=0.25),
    ... ).fit(X, y)
    >>> search.best_params_["certifiedgmmclassifier__covariance_type"]
    'tied'
    """

    radius: float
    _: KW_ONLY
    norm: float = 2
    space: str = "input"
    method: str = "auto"
    feature_scale: Any = field(default=None, compare=False)

    def __post_init__(self):
        check_radius("radius", self.radius)
        _check_request(self)

    def __call__(self, estimator: Any, X, y) -> float:
        return certified_accuracy_score(y, _certificate(self, estimator, X), self.radius)


@dataclass(frozen=True)
class average_certified_radius_scorer:
    """Scorer for ``scoring=`` of GridSearchCV, cross_validate and their like: the average certified radius.

    Called with a fitted estimator and held-out points, it certifies them and returns
    :func:`average_certified_radius`. Larger is better.

    Parameters
    ----------
    norm : {1, 2, numpy.inf}, default=2
    space : str, default="input"
        Where the perturbation acts, and whose units the score has; as in :class:`certified_accuracy_scorer`.
    method : {"auto", "exact", "pairwise", "paper"}, default="auto"
        See :func:`skcert.certify`.
    feature_scale : array-like of shape (n_features,) or dict by column, default=None
        The unit in which each feature moves; 0 where it cannot. See :func:`skcert.certify`.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_validate
    >>> from skcert import CertifiedGMMClassifier
    >>> from skcert.metrics import average_certified_radius_scorer, certified_accuracy_scorer
    >>> X, y = load_iris(return_X_y=True)
    >>> scoring = {"clean": certified_accuracy_scorer(0), "average radius": average_certified_radius_scorer()}
    >>> results = cross_validate(CertifiedGMMClassifier(), X, y, scoring=scoring)
    >>> print(f"{results['test_clean'].mean():.2f}  {results['test_average radius'].mean():.2f}")
    0.98  0.76
    """

    _: KW_ONLY
    norm: float = 2
    space: str = "input"
    method: str = "auto"
    feature_scale: Any = field(default=None, compare=False)

    def __post_init__(self):
        _check_request(self)

    def __call__(self, estimator: Any, X, y) -> float:
        return average_certified_radius(y, _certificate(self, estimator, X))


def _check_request(scorer) -> None:
    check_norm(scorer.norm)
    if not isinstance(scorer.space, str):
        raise ValueError(f"space must be 'input', 'latents' or the name of a step, got {scorer.space!r}.")
    if scorer.method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {scorer.method!r}.")


def _certificate(scorer, estimator, X) -> Certificate:
    return certify(estimator, X, norm=scorer.norm, method=scorer.method, space=scorer.space, feature_scale=scorer.feature_scale)
