"""Synthetic Gaussian mixtures whose parameters are known."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skcert._gmm import COVARIANCE_TYPES, CertifiedGMMClassifier

__all__ = ["make_circle_mixture", "make_gaussian_mixture"]

#: candidates per class among which the means are chosen
CANDIDATES = 10


# -- checks ----------------------------------------------------------------------------------------------------------


def _check_count(name: str, value, least: int) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}.")
    return int(value)


def _check_number(name: str, value, least: float) -> float:
    if not isinstance(value, Real) or isinstance(value, bool) or not least <= float(value) < np.inf:
        raise ValueError(f"{name} must be a finite number >= {least:g}, got {value!r}.")
    return float(value)


# -- parameters ------------------------------------------------------------------------------------------------------


def _spread_means(n_classes: int, n_features: int, separation: float, rng) -> np.ndarray:
    """Random means, each the candidate farthest from those before it; the closest two are ``separation`` apart."""
    candidates = rng.standard_normal((CANDIDATES * n_classes, n_features))
    chosen, distance = [0], np.linalg.norm(candidates - candidates[0], axis=1)
    for _ in range(n_classes - 1):
        chosen.append(int(distance.argmax()))
        closest = distance[chosen[-1]]
        distance = np.minimum(distance, np.linalg.norm(candidates - candidates[chosen[-1]], axis=1))
    means = candidates[chosen]
    return (means - means.mean(axis=0)) * (separation / closest)


def _rotated(variances: np.ndarray, rng) -> np.ndarray:
    """A covariance with these principal variances in uniformly random directions, shape (d, d)."""
    q, r = np.linalg.qr(rng.standard_normal((len(variances), len(variances))))
    root = q * np.sign(np.diag(r)) * np.sqrt(variances)
    return root @ root.T


def _full(variances, n_classes, rng):
    return np.array([_rotated(variances, rng) for _ in range(n_classes)])


def _tied(variances, n_classes, rng):
    return _rotated(variances, rng)


def _shuffled(variances, n_classes, rng):
    return np.array([rng.permutation(variances) for _ in range(n_classes)])


def _one_per_class(variances, n_classes, rng):
    return rng.permutation(variances)


_COVARIANCES = {"full": _full, "tied": _tied, "diag": _shuffled, "spherical": _one_per_class}


# -- mixtures --------------------------------------------------------------------------------------------------------


def _drawn(n_samples, means, covariances, priors, covariance_type, rng) -> Bunch:
    model = CertifiedGMMClassifier.from_parameters(means, covariances, priors, covariance_type=covariance_type)
    model.set_params(random_state=rng)
    X, y = model.sample(n_samples)
    return Bunch(X=X, y=y, means=means, covariances=covariances, priors=model.priors_)


def make_gaussian_mixture(
    n_samples=1000,
    *,
    n_classes=3,
    n_features=2,
    separation=3.0,
    conditioning=1.0,
    covariance_type="full",
    priors=None,
    random_state=None,
) -> Bunch:
    """Draw points of a random Gaussian mixture, one component per class, and return them with the mixture.

    The unit of length is the standard deviation of a class, as the root of its mean variance: ``tr(S_k) / d`` is 1 for every
    class (on average over the classes for "spherical").

    Parameters
    ----------
    n_samples : int, default=1000
        Points, drawn independently: the number per class is random.
    n_classes : int, default=3
        At least 2.
    n_features : int, default=2
    separation : float, default=3.0
        Distance between the two closest means, in units of the standard deviation defined above. The means are in random
        directions, chosen one after the other as the farthest of ten random candidates per class, and centred; so every mean
        has its neighbour at ``separation`` or somewhat beyond. With 0 all means coincide.
    conditioning : float, default=1.0
        Largest variance over smallest, >= 1: of the principal variances of each covariance, equally spaced on a logarithmic
        scale; of the classes for "spherical". Above 1 needs ``n_features >= 2``, except for "spherical".
    covariance_type : {"full", "tied", "diag", "spherical"}, default="full"
        "full": the same principal variances in other random directions for each class. "tied": one such covariance for all.
        "diag": the same variances, assigned to the features in another random order for each class. "spherical": a multiple
        of the identity for each class.
    priors : array-like of shape (n_classes,), default=None
        Class probabilities, summing to 1. None: uniform.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same mixture and the same points at each call.

    Returns
    -------
    mixture : Bunch
        X : ndarray of shape (n_samples, n_features)
            The points.
        y : ndarray of shape (n_samples,)
            Their classes, 0 to n_classes - 1.
        means : ndarray of shape (n_classes, n_features)
            Their means.
        covariances : ndarray
            (K, d, d) "full", (d, d) "tied", (K, d) "diag", (K,) "spherical", as the attributes of
            :class:`skcert.CertifiedGMMClassifier`.
        priors : ndarray of shape (n_classes,)
            Their probabilities.

    Raises
    ------
    ValueError
        A parameter is out of its range; the message says which and how.

    See Also
    --------
    skcert.CertifiedGMMClassifier.from_parameters : The optimal classifier of the mixture. Name the ``covariance_type`` there:
        with as many classes as features the shape alone is ambiguous.

    Examples
    --------
    >>> from skcert import CertifiedGMMClassifier
    >>> from skcert.datasets import make_gaussian_mixture
    >>> mixture = make_gaussian_mixture(500, separation=4.0, conditioning=10.0, random_state=0)
    >>> mixture.X.shape, mixture.covariances.shape
    ((500, 2), (3, 2, 2))
    >>> bayes = CertifiedGMMClassifier.from_parameters(
    ...     mixture.means, mixture.covariances, mixture.priors, covariance_type="full"
    ... )
    >>> round(bayes.score(mixture.X, mixture.y), 2)
    0.99
    """
    n_classes, n_features = _check_count("n_classes", n_classes, 2), _check_count("n_features", n_features, 1)
    n_samples, separation = _check_count("n_samples", n_samples, 1), _check_number("separation", separation, 0)
    conditioning = _check_number("conditioning", conditioning, 1)
    if covariance_type not in COVARIANCE_TYPES:
        raise ValueError(f"covariance_type must be one of {COVARIANCE_TYPES}, got {covariance_type!r}.")
    number = n_classes if covariance_type == "spherical" else n_features
    if number == 1 and conditioning > 1:
        raise ValueError(
            f"conditioning={conditioning:g} needs n_features >= 2: one feature has one variance. Use conditioning=1 or "
            'covariance_type="spherical", whose variances differ between the classes.'
        )
    rng = check_random_state(random_state)
    variances = np.geomspace(1.0, conditioning, number)
    covariances = _COVARIANCES[covariance_type](variances / variances.mean(), n_classes, rng)
    means = _spread_means(n_classes, n_features, separation, rng)
    return _drawn(n_samples, means, covariances, priors, covariance_type, rng)


def make_circle_mixture(n_samples=1000, *, n_classes=5, circle_radius=4.0, variances=(1.0, 1.0), random_state=None) -> Bunch:
    """Draw points of the two-dimensional mixture of the paper's synthetic experiments, and return them with the mixture.

    Class k has prior 1/K, mean ``R (cos(2 pi k / K), sin(2 pi k / K))`` and the principal variances ``variances``
    (theory 6; [1]_, figures 2 and 4 to 7).

    Parameters
    ----------
    n_samples : int, default=1000
        Points, drawn independently: the number per class is random.
    n_classes : int, default=5
        K, at least 2. In the paper 2, 3, 5 and 10.
    circle_radius : float, default=4.0
        R. In the paper 2, 4 and 6 (its captions say 5).
    variances : tuple of two floats, default=(1.0, 1.0)
        Variance along the radius through the mean, then along the circle. In the paper (1, 1), and principal variances 1.5
        and 0.5.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same points at each call.

    Returns
    -------
    mixture : Bunch
        X : ndarray of shape (n_samples, 2)
            The points.
        y : ndarray of shape (n_samples,)
            Their classes, 0 to n_classes - 1.
        means : ndarray of shape (n_classes, 2)
            Their means.
        covariances : ndarray of shape (n_classes, 2, 2)
            Their covariances.
        priors : ndarray of shape (n_classes,)
            Their probabilities.

    Raises
    ------
    ValueError
        A parameter is out of its range; the message says which and how.

    Notes
    -----
    The paper does not say in which axes its unequal variances lie. Here they turn with the mean: the mixture is then
    unchanged by a rotation by 2 pi / K, so that every class is equally hard, and the covariances of the classes differ (for
    K > 2). In fixed axes all classes would share one covariance and every boundary would be a line.

    References
    ----------
    .. [1] Emmanouilidis, Ding, Nguyen, Loizou, Vidal. Certified Robustness from Approximate Gaussian Mixture Structures in
       Pretrained Latent Spaces. arXiv 2605.25352 (2026).

    Examples
    --------
    >>> from skcert import CertifiedGMMClassifier
    >>> from skcert.datasets import make_circle_mixture
    >>> mixture = make_circle_mixture(2000, variances=(1.5, 0.5), random_state=0)
    >>> bayes = CertifiedGMMClassifier.from_parameters(mixture.means, mixture.covariances, mixture.priors)
    >>> bayes.certify(mixture.X).certified_accuracy(mixture.y, [0, 1, 2]).round(2)
    array([0.99, 0.87, 0.46])
    """
    n_classes, n_samples = _check_count("n_classes", n_classes, 2), _check_count("n_samples", n_samples, 1)
    circle_radius = _check_number("circle_radius", circle_radius, 0)
    spread = np.asarray(variances, dtype=float)
    if spread.shape != (2,) or not (np.isfinite(spread).all() and (spread > 0).all()):
        raise ValueError(f"variances must be two positive finite numbers, radial and tangential, got {variances!r}.")
    angle = 2 * np.pi * np.arange(n_classes) / n_classes
    radial = np.column_stack([np.cos(angle), np.sin(angle)])
    tangential = np.column_stack([-np.sin(angle), np.cos(angle)])
    covariances = sum(v * axis[:, :, None] * axis[:, None, :] for v, axis in zip(spread, (radial, tangential), strict=True))
    rng = check_random_state(random_state)
    return _drawn(n_samples, circle_radius * radial, covariances, None, "full", rng)
