"""How far the law of the latents is from the fitted mixture: the Kullback-Leibler divergence, estimated (theory 4.1, 4.2)."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import digamma, gammaln, logsumexp
from scipy.stats import norm
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state

from skcert._progress import bar
from skcert.diagnostics._samples import Sample, by_class, columns, sample, some, whitened
from skcert.theory import _checks

__all__ = ["DivergenceEstimate", "kl_divergence"]

SPACES = ("latents", "discriminant")
#: dimensions up to which the neighbour estimate is not warned about
RELIABLE = 10
#: Gaussian points that are simulated for each class, in how many samples at least and at most
SIMULATED, LEAST, MOST = 20_000, 4, 50
#: below zero by so many half intervals, an estimate means nothing
FAILED = 2
#: share of the points of a class that may share one value of a column, or have a twin
TIED = 0.01
#: how constant a quadratic function of the points must be to call them a surface, relative to its spread
FLAT = 1e-5


# -- the result ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False, eq=False)
class DivergenceEstimate:
    """An estimated Kullback-Leibler divergence in nats. Not a bound: no sample gives one from above without assumptions.

    Attributes
    ----------
    kl : float
        ``max(0, priors_term + weights of the classes in the data @ per_class)``.
    low, high : float
        Normal-theory interval from the spread of the terms of the points, around ``kl``: sampling error only, without the bias
        of the neighbour estimator. ``high`` is infinite where that bias shows, in an estimate far below 0.
    per_class : ndarray of shape (K,)
        ``KL(P_k || Q_k)`` as estimated, so possibly negative; NaN for a class with prior 0 and no points. Without labels one
        entry.
    priors_term : float
        ``KL(pi^P || pi^Q)``; 0 without labels.
    classes : ndarray of shape (K,) or None
        None without labels: then the divergence is that of the latents alone, which says nothing about accuracy.
    space : {"latents", "discriminant"}
    d : int
        Dimensions of that space.
    n : int
        Points.
    confidence : float
    guarantee : str
        Always "estimated".
    """

    kl: float
    low: float
    high: float
    per_class: np.ndarray
    priors_term: float
    classes: np.ndarray | None
    space: str
    d: int
    n: int
    confidence: float
    guarantee: str = "estimated"

    def __repr__(self) -> str:
        law = "latents alone" if self.classes is None else "latents and labels"
        return (
            f"DivergenceEstimate: {self.kl:.3g} nats ({self.guarantee}, not a bound), {100 * self.confidence:g} % interval "
            f"{self.low:.3g} to {self.high:.3g} for sampling error only; {law}, space={self.space!r} (d={self.d}), n={self.n}"
        )


# -- the estimate ----------------------------------------------------------------------------------------------------


def kl_divergence(
    X, model, *, y=None, space: str = "latents", confidence: float = 0.95, n_neighbors: int = 5, random_state=0
) -> DivergenceEstimate:
    """Estimate the divergence of the law P that the points come from, from the mixture Q that was fitted: KL(P || Q), in nats.

    With labels both are joint laws of a latent z and its label,

        KL(P || Q) = KL(pi^P || pi^Q) + sum_k pi^P_k ( -h(P_k) - E_{P_k} log q_k(z) ),

    with weights pi^P and expectations from the data, and the entropies h from distances to the nearest neighbours, by the
    estimator of Kozachenko and Leonenko. Each class is whitened first, so that the estimate does not change under invertible
    affine maps of data and model, and the mean error of the estimator on as many points of a Gaussian law, found by simulation,
    is subtracted.

    Parameters
    ----------
    X : array-like of shape (n_samples, d)
        Latents that the model was **not** fitted to: what the final classifier sees, ``pipe[:-1].transform(X)``.
    model : CertifiedGMMClassifier
        Fitted; or anything with ``means_``, ``covariances_``, ``priors_``, ``classes_`` and ``covariance_type`` as it has them.
        Several components per class are fine.
    y : array-like of shape (n_samples,), default=None
        True labels. None: the law of z alone, against the mixture of all classes. Transferring a certified *accuracy* needs
        labels.
    space : {"latents", "discriminant"}, default="latents"
        "discriminant": of the at most C - 1 coordinates (C components) that a tied rule depends on, ``S^-1 (mu_c - mu_0)``.
        Whatever it certifies is an event there, so this is the divergence to transfer, no larger and far easier to estimate.
    confidence : float, default=0.95
        Of the interval.
    n_neighbors : int, default=5
        More: less variance, more bias.
    random_state : int, RandomState instance or None, default=0
        Of the simulated Gaussian points.

    Returns
    -------
    estimate : DivergenceEstimate

    Raises
    ------
    ValueError
        The divergence is infinite, as far as the points show: they lie on a sphere or in a subspace, a column has one value for
        more than 1 % of a class (zeros of a ReLU, rounded numbers), points occur several times, or a class has prior 0 in the
        model and points in X. Also: a class with too few points (at most ``n_neighbors`` or d + 1), a label that the model
        does not know, "discriminant" without a tied covariance.

    Warns
    -----
    UserWarning
        In more than 10 dimensions, or if the estimate is far below 0.

    See Also
    --------
    mardia_test : Whether a class is Gaussian at all.

    Notes
    -----
    The correction is exact on average for Gaussian classes, in any number of dimensions. What is left where P_k is not Gaussian
    is mostly downwards and grows with d: of 500 points per class with independent exponential features the estimate was 0.76
    (truth 0.84) in 2 dimensions, 1.3 (2.1) in 5, and 1.8 (4.2) in 10; more points help little. Read it as an order of
    magnitude, in as few dimensions as possible.

    References
    ----------
    arXiv 2605.25352, theorem 5.1 (of z without its label); theory 4.1, 4.2. Kozachenko, Leonenko. Sample estimate of the
    entropy of a random vector. Problems of Information Transmission 23 (1987).

    Examples
    --------
    >>> from skcert import CertifiedGMMClassifier
    >>> from skcert.datasets import make_circle_mixture
    >>> from skcert.diagnostics import kl_divergence
    >>> train, test = (make_circle_mixture(3000, n_classes=3, random_state=seed) for seed in (0, 1))
    >>> model = CertifiedGMMClassifier().fit(train.X, train.y)
    >>> found = kl_divergence(test.X, model, y=test.y, space="discriminant")
    >>> found.kl < 0.05, found.guarantee
    (True, 'estimated')
    >>> shifted = kl_divergence(test.X + [1.0, 0.0], model, y=test.y)
    >>> print(f"{shifted.kl:.1f}")    # 0.5, for a shift by one standard deviation
    0.5
    """
    _checks.choice("space", space, SPACES)
    confidence = _checks.chance("confidence", confidence)
    if not isinstance(n_neighbors, int | np.integer) or isinstance(n_neighbors, bool) or n_neighbors < 1:
        raise ValueError(f"n_neighbors must be an integer >= 1, got {n_neighbors!r}.")
    mixture = _Mixture.of(model)
    latents = sample(X)
    if latents.points.shape[1] != mixture.means.shape[1]:
        raise ValueError(
            f"X must have the {mixture.means.shape[1]} columns of the model's means, got {latents.points.shape[1]}: in a "
            "pipeline pass what its last step sees, pipe[:-1].transform(X), and pipe[-1]."
        )
    seen = latents
    if space == "discriminant":
        seen, mixture = _projected(latents, mixture, getattr(model, "decision", "bayes"))
    n, d = seen.points.shape
    if y is None:
        codes, known, samples = np.zeros(n, dtype=int), np.zeros(1, dtype=int), [seen]
    else:
        labels, codes, samples = by_class(seen, y)
        known = _positions(labels, samples, mixture)
    _refuse_few(samples, n_neighbors)
    _refuse_ties(samples)
    _refuse_twins(samples, n_neighbors)
    white = [whitened(each) for each in samples]
    _refuse_surface(seen)
    if d > RELIABLE:
        other = "" if space == "discriminant" else " (space='discriminant' has fewer, if the covariance is tied)"
        warnings.warn(
            f"The divergence is estimated in d={d} dimensions, where distances to neighbours give it with a bias that is "
            f"removed for Gaussian classes only, and that the interval does not show: trust it in at most {RELIABLE}{other}.",
            UserWarning,
            stacklevel=2,
        )
    random, doubt = check_random_state(random_state), 0.0
    terms, weights = np.empty(n), np.array([len(each.points) / n for each in samples])
    with bar(len(white), "distances to neighbours", "class") as done:
        for k, (position, (U, log_volume)) in enumerate(zip(known, white, strict=True)):
            own = codes == k
            log_q = mixture.log_density(seen.points[own], None if y is None else int(position))
            bias, variance = _gaussian_bias(len(U), d, n_neighbors, random)
            terms[own] = _log_density(U, n_neighbors) - log_volume - log_q - bias
            doubt += weights[k] ** 2 * variance
            done.update()
    means = np.bincount(codes, terms) / np.bincount(codes)
    logs = np.zeros(len(means)) if y is None else np.log(weights / mixture.priors[known])
    priors_term = float(weights @ logs)
    terms += logs[codes]
    raw, half = float(terms.mean()), float(norm.isf((1 - confidence) / 2) * math.sqrt(terms.var(ddof=1) / n + doubt))
    failed = raw < -FAILED * half
    if failed:
        warnings.warn(
            f"The estimate came out as {raw:.3g} nats, give or take {half:.2g}, and no divergence is negative: the neighbours "
            "are too far apart to see the shape of the classes. It is given as 0, with no upper end: take fewer dimensions.",
            UserWarning,
            stacklevel=2,
        )
    per_class = means if y is None else np.full(len(mixture.classes), np.nan)
    per_class[known] = means
    return DivergenceEstimate(
        kl=max(0.0, raw),
        low=max(0.0, raw - half),
        high=math.inf if failed else max(0.0, raw) + half,
        per_class=per_class,
        priors_term=priors_term,
        classes=None if y is None else mixture.classes,
        space=space,
        d=d,
        n=n,
        confidence=confidence,
    )


def _log_density(U: np.ndarray, k: int) -> np.ndarray:
    """Logarithm of the density at each point, from the distance to its k-th neighbour (Kozachenko and Leonenko 1987).

    Minus its mean is their estimate of the entropy.
    """
    n, d = U.shape
    distances, _ = NearestNeighbors(n_neighbors=k).fit(U).kneighbors()
    log_ball = d / 2 * math.log(math.pi) - gammaln(d / 2 + 1)
    return digamma(k) - digamma(n) - log_ball - d * np.log(distances[:, -1])


def _gaussian_bias(n: int, d: int, k: int, random) -> tuple[float, float]:
    """What the mean log density of n whitened Gaussian points is off by, on average, and the variance of this from simulation.

    Theirs is the same for all Gaussians: after whitening no parameter is left. With the volume's own bias, which is known.
    """
    repeats = min(max(LEAST, math.ceil(SIMULATED / n)), MOST)
    found = [_log_density(whitened(Sample("", random.standard_normal((n, d)), 0.0)).points, k).mean() for _ in range(repeats)]
    log_volume = (digamma((n - np.arange(1, d + 1)) / 2).sum() + d * math.log(2 / n)) / 2
    entropy = d / 2 * (math.log(2 * math.pi) + 1)
    return float(np.mean(found) - log_volume + entropy), float(np.var(found, ddof=1) / repeats)


# -- the mixture -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Mixture:
    """A mixture of C Gaussians with class labels; covariances (), (d,) or (d, d) for each component, or (d, d) for all."""

    means: np.ndarray
    covariances: np.ndarray
    tied: bool
    log_weights: np.ndarray
    owners: np.ndarray
    priors: np.ndarray
    classes: np.ndarray

    @classmethod
    def of(cls, model: Any) -> _Mixture:
        needed = ("means_", "covariances_", "priors_", "classes_", "covariance_type")
        missing = [name for name in needed if not hasattr(model, name)]
        if missing:
            raise TypeError(
                f"model must be a fitted CertifiedGMMClassifier, or have what it has; {type(model).__name__} lacks "
                f"{', '.join(missing)}. Of a pipeline pass its last step, pipe[-1], and the latents, pipe[:-1].transform(X)."
            )
        means, C = np.asarray(model.means_, dtype=float), len(model.means_)
        with np.errstate(divide="ignore"):
            log_weights = np.log(np.asarray(getattr(model, "weights_", np.ones(C)), dtype=float))
        return cls(
            means=means,
            covariances=np.asarray(model.covariances_, dtype=float),
            tied=model.covariance_type == "tied",
            log_weights=log_weights,
            owners=np.asarray(getattr(model, "component_class_", np.arange(C))),
            priors=np.asarray(model.priors_, dtype=float),
            classes=np.asarray(model.classes_),
        )

    def log_density(self, points: np.ndarray, position: int | None) -> np.ndarray:
        """Of one class, or None: of all of them together."""
        log_weights = self.log_weights
        if position is None:
            with np.errstate(divide="ignore"):
                log_weights = log_weights + np.log(self.priors)[self.owners]
        chosen = np.isfinite(log_weights) & (position is None or self.owners == position)
        return logsumexp([log_weights[c] + self._of_component(points, c) for c in np.flatnonzero(chosen).tolist()], axis=0)

    def _of_component(self, points: np.ndarray, c: int) -> np.ndarray:
        offsets, S = points - self.means[c], self.covariances if self.tied else self.covariances[c]
        d = offsets.shape[1]
        if S.ndim == 2:
            L = np.linalg.cholesky(S)
            squares, log_det = solve_triangular(L, offsets.T, lower=True) ** 2, 2 * np.log(np.diag(L)).sum()
        else:
            squares, log_det = (offsets**2 / S).T, np.log(np.broadcast_to(S, d)).sum()
        return -(squares.sum(axis=0) + log_det + d * math.log(2 * math.pi)) / 2


def _projected(latents: Sample, mixture: _Mixture, decision: str) -> tuple[Sample, _Mixture]:
    """Latents and mixture in coordinates of span{ S^-1 (mu_c - mu_0) } in which S is the identity; as they are, if that is
    the whole space.
    """
    if not mixture.tied or decision != "bayes":
        raise ValueError(
            "space='discriminant' needs covariance_type='tied' and decision='bayes': only then does the prediction depend on "
            "the linear coordinates S^-1 (mu_c - mu_0) alone. Use space='latents', or fit a tied model."
        )
    L = np.linalg.cholesky(mixture.covariances)
    _, sizes, axes = np.linalg.svd(solve_triangular(L, (mixture.means - mixture.means[0]).T, lower=True).T, full_matrices=False)
    axes = axes[sizes > 1e-10 * sizes.max()]
    if not axes.size or not sizes.max() > 0:
        raise ValueError("space='discriminant' needs means that differ: all means of the model are equal.")
    if len(axes) == latents.points.shape[1]:
        return latents, mixture
    A = solve_triangular(L, axes.T, lower=True, trans="T")
    center = mixture.means[0]
    inside = replace(mixture, means=(mixture.means - center) @ A, covariances=np.eye(A.shape[1]))
    return latents._replace(points=(latents.points - center) @ A), inside


def _positions(labels: np.ndarray, samples: list[Sample], mixture: _Mixture) -> np.ndarray:
    """Where the labels of the data stand among the classes of the model."""
    strangers = [label for label in labels.tolist() if label not in mixture.classes.tolist()]
    if strangers:
        raise ValueError(f"y holds labels that the model does not know: {some([repr(label) for label in strangers])}.")
    known = np.array([mixture.classes.tolist().index(label) for label in labels.tolist()])
    absent = [
        f"class {label!r}"
        for k, label in enumerate(mixture.classes.tolist())
        if label not in labels.tolist() and mixture.priors[k] > 0
    ]
    if absent:
        raise ValueError(f"X has no points of {some(absent)}: each class with a positive prior needs points of its own.")
    impossible = [each.name for each, k in zip(samples, known, strict=True) if mixture.priors[k] == 0]
    if impossible:
        raise ValueError(
            f"The divergence is infinite: {some(impossible)} has prior 0 in the model, and points in X. Fit the model with "
            "positive priors."
        )
    return known


# -- where the divergence is infinite, or cannot be estimated --------------------------------------------------------


def _refuse_few(samples: list[Sample], k: int) -> None:
    d = samples[0].points.shape[1]
    few = [f"{each.name} (n={len(each.points)})" for each in samples if len(each.points) <= max(k, d + 1)]
    if few:
        raise ValueError(
            f"Too few points of {some(few)}: the estimate needs more than n_neighbors={k} and more than d + 1 = {d + 1} of "
            "each class. Take more points, or fewer dimensions: PCA, or space='discriminant'."
        )


def _refuse_ties(samples: list[Sample]) -> None:
    """A column with one value for a positive share of a class: the law has a face, a Gaussian has none."""
    for name, points, _ in samples:
        ordered = np.sort(points, axis=0)
        run = max(2, math.floor(TIED * len(points)))
        same = ordered[run:] == ordered[:-run]
        tied = np.flatnonzero(same.any(axis=0))
        if tied.size:
            value = ordered[same[:, tied[0]].argmax(), tied[0]]
            share = (points[:, tied[0]] == value).mean()
            raise ValueError(
                f"The divergence is infinite: {name} has one value for more than {100 * TIED:g} % of its points in "
                f"{columns(tied)} ({value:g} for {100 * share:.0f} % in column {tied[0]}), where a Gaussian has none twice. "
                "Take latents from before the ReLU, unrounded; or a projection to few dimensions, PCA or space='discriminant'."
            )


def _refuse_twins(samples: list[Sample], k: int) -> None:
    for name, points, _ in samples:
        counts = np.unique(points, axis=0, return_counts=True)[1]
        twins = int(counts[counts > 1].sum())
        if counts.max() > k or twins > max(2, TIED * len(points)):
            raise ValueError(
                f"The divergence is infinite: {twins} of the {len(points)} points of {name} occur more than once (one of them "
                f"{counts.max()} times), and a Gaussian repeats none. Drop duplicates, numpy.unique(X, axis=0), if they are an "
                "accident of the data."
            )


def _refuse_surface(given: Sample) -> None:
    """A sphere about the origin, or an ellipsoid with the axes of the coordinates about any centre: a scaled sphere."""
    points = given.points
    n, d = points.shape
    lengths, spread = np.linalg.norm(points, axis=1), math.sqrt(points.var(axis=0).sum())
    on_sphere = lengths.std() <= FLAT * spread
    on_ellipsoid = False
    if n > 2 * d + 1 and not on_sphere:
        U = whitened(given).points
        squares = ((points - points.mean(axis=0)) / points.std(axis=0)) ** 2
        squares -= squares.mean(axis=0)
        rest = squares - U @ (U.T @ squares) / n  # what no linear function explains
        _, sizes, directions = np.linalg.svd(np.linalg.qr(rest / np.sqrt((rest**2).mean(axis=0)), mode="r"))
        least = directions[-1] * np.sign(directions[-1].sum())
        on_ellipsoid = sizes[-1] <= FLAT * math.sqrt(n) and least.min() > -1e-3 * least.max()
    if on_sphere or on_ellipsoid:
        where = f"a sphere of radius {lengths.mean():.4g}" if on_sphere else "an ellipsoid (a scaled or shifted sphere)"
        raise ValueError(
            f"The divergence is infinite: all points lie on {where}, which has probability 0 under a Gaussian. Take latents "
            "from before their normalisation, or a projection to fewer dimensions, PCA or space='discriminant'."
        )
