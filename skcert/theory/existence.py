"""What no classifier can beat, and what one reaches, on a mixture of Gaussians that is known (theory 3.3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import lu_factor, lu_solve
from scipy.optimize import brentq, linprog, lsq_linear
from scipy.sparse import csr_array
from scipy.special import log_ndtr, ndtr
from scipy.stats import binom
from sklearn.linear_model import lars_path

from skcert._progress import bar
from skcert.geometry.affine import dual_norms
from skcert.smoothing.bounds import clopper_pearson
from skcert.theory import _checks, _gaussians

__all__ = [
    "LinearRule",
    "OptimalRobustRisk",
    "RiskBounds",
    "RobustRadii",
    "largest_robust_radius",
    "optimal_binary_robust_risk",
    "robust_risk_bounds",
]

#: sums of normal probabilities are trusted to this, and given up on the safe side
SLIP = 1e-12
#: relative steps in which the largest radius is sought
STEPS = 48
#: linear rules that are tried besides the mixture's own: covariances plus so many of their mean variances, times the identity
SHRINKAGES = np.concatenate([[0.0], np.geomspace(1e-2, 1e4, 19)])


# -- two classes, one covariance ---------------------------------------------------------------------------------------


class LinearRule(NamedTuple):
    """Class 1 where ``X @ weights + intercept > 0``, class 0 elsewhere."""

    weights: np.ndarray
    intercept: float

    def predict(self, X) -> np.ndarray:
        """0 or 1 for each row of X."""
        return (np.asarray(X, dtype=float) @ self.weights + self.intercept > 0).astype(int)


class OptimalRobustRisk(NamedTuple):
    """What :func:`optimal_binary_robust_risk` returns."""

    risk: float
    rule: LinearRule


class Covariance:
    """A covariance, with what all pairs of classes that share it need of it, computed once."""

    def __init__(self, matrix: np.ndarray):
        self.matrix = matrix

    @cached_property
    def lost(self) -> float:
        """The relative error of what is solved with it."""
        return _checks.slack(self.matrix)

    @cached_property
    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues and eigenvectors."""
        return np.linalg.eigh(self.matrix)

    @cached_property
    def _factors(self) -> tuple[np.ndarray, Any]:
        units = np.sqrt(np.diag(self.matrix))
        return units, lu_factor(self.matrix / np.outer(units, units))

    def solve(self, vector: np.ndarray) -> np.ndarray:
        """Its inverse times a vector, features in their own units."""
        units, factor = self._factors
        return lu_solve(factor, vector / units) / units


def optimal_binary_robust_risk(means, covariance, priors, *, radius: float, norm: float = 2) -> OptimalRobustRisk:
    """The smallest robust risk that any classifier can have between two Gaussians with one covariance, and a rule that has it.

    The robust risk at a radius is the probability that some point closer than it is not given the class of the point. With
    h half the difference of the means and u* the vector of length at most ``radius`` that is nearest to h in the metric of the
    inverse covariance P, let ``D = 2 ||h - u*||_P`` and ``tau = ln(pi_0 / pi_1)``:

        optimum = pi_0 Phi(-D/2 - tau/D) + pi_1 Phi(-D/2 + tau/D),    reached by the linear rule with weights P (h - u*).

    Parameters
    ----------
    means : array-like of shape (2, d)
    covariance : array-like of shape (d, d)
    priors : array-like of shape (2,)
    radius : float
        >= 0, in ``norm`` and the units of the means.
    norm : {1, 2, inf}, default=2

    Returns
    -------
    risk : float
        The robust risk of the rule, rounded up: no rule has one smaller by more than rounding.
    rule : LinearRule
        ``weights`` (d,), ``intercept``. Where the classes can be moved onto each other, the constant rule of the larger prior.

    See Also
    --------
    robust_risk_bounds : More classes, several covariances.

    References
    ----------
    A. Bhagoji, D. Cullina, P. Mittal, *Lower bounds on adversarial robustness from optimal transport* (NeurIPS 2019);
    C. Dan, Y. Wei, P. Ravikumar, *Sharp statistical guarantees for adversarially robust Gaussian classification* (ICML 2020);
    theory 3.3.

    Examples
    --------
    >>> from skcert.theory import optimal_binary_robust_risk
    >>> means, covariance = [[-1.0, -1.0], [1.0, 1.0]], [[1.0, 0.0], [0.0, 0.1]]
    >>> for radius in (0.0, 0.5, 1.0):
    ...     risk, rule = optimal_binary_robust_risk(means, covariance, [0.5, 0.5], radius=radius)
    ...     print(f"{risk:.4f}", (rule.weights / rule.weights.sum()).round(2))
    0.0005 [0.09 0.91]
    0.0324 [0.15 0.85]
    0.2592 [0.34 0.66]
    """
    means, covariance = _checks.mixture(means, _checks.one_covariance(covariance))
    if len(means) != 2:
        raise ValueError(f"means must be of 2 classes, got {len(means)}: robust_risk_bounds takes more.")
    priors = _checks.weights(priors, 2)
    _, risk, rule = _optimum(
        means, Covariance(covariance), priors, _checks.nonnegative("radius", radius), _checks.check_norm(norm)
    )
    return OptimalRobustRisk(risk, rule)


def _optimum(means, covariance: Covariance, priors, radius: float, norm: float) -> tuple[float, float, LinearRule]:
    """A lower bound of the optimum, the risk of the rule from above, and the rule."""
    half = (means[1] - means[0]) / 2
    u = nearest_shift(half, covariance, radius, norm)
    direction = covariance.solve(half - u)
    # any shift of this length gives a lower bound
    distance = 2 * math.sqrt(max(0.0, float(direction @ (half - u)))) * (1 + covariance.lost)
    tau = math.log(priors[0] / priors[1])
    lower = constant = float(priors.min())
    if distance > 1e-6 * abs(tau):  # otherwise the formula is the constant to the last digit
        lower = priors[0] * ndtr(-distance / 2 - tau / distance) + priors[1] * ndtr(-distance / 2 + tau / distance)
    weights = 2 * direction
    rule = LinearRule(weights, -float(weights @ (means[0] + means[1])) / 2 - tau)
    upper = _robust_risk_of(rule, means, covariance, priors, radius, norm)
    if upper >= constant:
        rule = LinearRule(np.zeros(len(half)), 1.0 if priors[1] >= priors[0] else -1.0)
    return max(0.0, float(lower) * (1 - SLIP)), min(upper, constant), rule


def _robust_risk_of(rule: LinearRule, means, covariance: Covariance, priors, radius: float, norm: float) -> float:
    """Of a linear rule: its margin is Gaussian, and a shift takes radius ||w||_q off it at most."""
    if not rule.weights.any():
        return 1.0
    reach = radius * float(dual_norms(rule.weights[None], norm)[0])
    spread = math.sqrt(float(rule.weights @ covariance.matrix @ rule.weights))
    scores = means @ rule.weights + rule.intercept
    doubt = 4 * len(rule.weights) * np.finfo(float).eps * (np.abs(means) @ np.abs(rule.weights) + abs(rule.intercept))
    z = (np.array([scores[0], -scores[1]]) + reach + doubt) / spread
    return float(priors @ ndtr(z + np.abs(z) * covariance.lost)) * (1 + SLIP)


def nearest_shift(target: np.ndarray, covariance: Covariance, radius: float, norm: float) -> np.ndarray:
    """The u with ``||u||_norm <= radius`` that is nearest to a target in the metric of the inverse covariance.

    Feasible to the last bit, optimal to the accuracy of the solver: eigenvectors and one root in l2, the Lasso path in l1,
    bounded least squares in linf.
    """
    size = float(np.linalg.norm(target, ord=norm))
    if size <= radius:
        return target.copy()
    if radius <= 1e-18 * size:
        return np.zeros_like(target)
    if norm == 2:
        values, vectors = covariance.spectrum
        turned = vectors.T @ target

        def shift(log_pull: float) -> np.ndarray:
            return turned / (1 + math.exp(log_pull) * values / values[-1])

        low, high = -60.0, math.log(size / radius * values[-1] / values[0]) + 1
        root = brentq(lambda log_pull: math.log(np.linalg.norm(shift(log_pull)) / radius), low, high, xtol=1e-14)
        u = vectors @ shift(root)
    else:
        lower = np.linalg.cholesky(covariance.matrix)
        inverse = np.linalg.solve(lower, np.eye(len(target)))
        if norm == np.inf:
            unit = radius  # in units of the radius the bounds are -1 and 1
            u = lsq_linear(inverse, inverse @ target / unit, bounds=(-1, 1), method="bvls", tol=1e-14).x * unit
        else:
            _, _, path = lars_path(inverse, inverse @ target, method="lasso")
            lengths = np.abs(path).sum(axis=0)
            last = max(1, int(np.searchsorted(np.maximum.accumulate(lengths), radius)))
            last = min(last, path.shape[1] - 1)
            share = np.clip((radius - lengths[last - 1]) / max(lengths[last] - lengths[last - 1], 1e-300), 0, 1)
            u = path[:, last - 1] + share * (path[:, last] - path[:, last - 1])
    length = float(np.linalg.norm(u, ord=norm))
    return u * min(1.0, radius / length * (1 - 1e-15)) if length > 0 else u


# -- more classes, several covariances ---------------------------------------------------------------------------------


class RiskBounds(NamedTuple):
    """What :func:`robust_risk_bounds` returns: nobody is below ``lower``, the mixture's own rule is not above ``upper``."""

    lower: float
    upper: float

    def verdict(self, risk: float) -> str:
        """Whether a robust risk of at most this is "impossible", "possible" (by the mixture's own rule) or "undecided"."""
        return "impossible" if risk < self.lower else "possible" if risk >= self.upper else "undecided"


def robust_risk_bounds(
    means,
    covariances,
    priors,
    *,
    radius: float,
    norm: float = 2,
    n_samples: int = 20_000,
    confidence: float = 0.99,
    random_state=0,
) -> RiskBounds:
    """Robust risk on a mixture of Gaussians: what no classifier can beat, and what the mixture's own rule reaches.

    Below: every pair of classes has a lower bound - exact with one covariance, from the Bhattacharyya coefficient of the
    classes shifted towards each other otherwise - and a linear program puts the pairs together, of which the value of a
    dual-feasible point is returned. Above: with one covariance a union bound over the rivals of each class; otherwise the share
    of draws that are not certified, with its upper confidence bound.

    Parameters
    ----------
    means : array-like of shape (K, d)
    covariances : array-like of shape (K, d, d), or (d, d) for one that all share
    priors : array-like of shape (K,)
    radius : float
        >= 0, in ``norm`` and the units of the means.
    norm : {1, 2, inf}, default=2
    n_samples, confidence, random_state
        Draws for ``upper`` where covariances differ, and the probability that it holds.

    Returns
    -------
    lower : float
        No classifier has a smaller robust risk on this mixture.
    upper : float
        Of the Bayes rule of the mixture, which is ``CertifiedGMMClassifier.from_parameters(means, covariances, priors)``. It is
        not the best at radii where classes nearly meet: :func:`largest_robust_radius` tries other rules too.

    Notes
    -----
    ``RiskBounds.verdict(risk)`` says "impossible", "possible" or "undecided".

    References
    ----------
    Theory 3.3.

    Examples
    --------
    >>> import numpy as np
    >>> from skcert.theory import robust_risk_bounds
    >>> means = 3 * np.array([[1.0, 0.0], [-0.5, 0.866], [-0.5, -0.866]])
    >>> bounds = robust_risk_bounds(means, np.eye(2), np.full(3, 1 / 3), radius=1.0)
    >>> print(f"{bounds.lower:.4f} {bounds.upper:.4f}", bounds.verdict(0.05))
    0.0550 0.1100 impossible
    """
    means, covariances = _checks.mixture(means, covariances)
    priors, radius, norm = (
        _checks.weights(priors, len(means)),
        _checks.nonnegative("radius", radius),
        _checks.check_norm(norm),
    )
    n_samples, confidence = _checks.count("n_samples", n_samples), _checks.chance("confidence", confidence)
    means = means - means.mean(axis=0)  # where digits are not lost
    lower = _lower(means, covariances, priors, radius, norm)
    if covariances.ndim == 2:
        return RiskBounds(lower, _linear_upper(means, covariances, covariances, priors, radius, norm))
    radii = _own_radii(means, covariances, priors, norm, n_samples, random_state)
    kept = int((radii > radius).sum())
    upper = 1 - float(clopper_pearson(kept, n_samples, 1 - confidence))
    return RiskBounds(lower, max(lower, upper))


def _lower(means, covariances, priors, radius: float, norm: float) -> float:
    """All pairs, and the linear program over them."""
    if len(priors) == 1:
        return 0.0
    first, second = np.triu_indices(len(means), 1)
    pairs, shared = np.empty(len(first)), Covariance(covariances) if covariances.ndim == 2 else None
    with bar(len(pairs), "bounds of pairs of classes", "pair") as done:
        for at, two in enumerate(np.column_stack([first, second])):
            own = covariances[two] if shared is None else shared
            pairs[at] = _pair_lower(means[two], own, priors[two], radius, norm)
            done.update()
    if len(priors) == 2:
        return float(pairs[0])
    rows = np.arange(len(pairs)).repeat(2)
    columns = np.column_stack([first, second]).ravel()
    covered = csr_array((np.ones(2 * len(pairs)), (rows, columns)), shape=(len(pairs), len(priors)))
    found = linprog(np.ones(len(priors)), A_ub=-covered, b_ub=-pairs, bounds=np.column_stack([np.zeros_like(priors), priors]))
    dual = np.maximum(-found.ineqlin.marginals, 0.0) if found.status == 0 else np.zeros(len(pairs))
    value = float(dual @ pairs - priors @ np.maximum(covered.T @ dual - 1, 0.0))  # feasible, whatever the solver returned
    return max(float(pairs.max()), value * (1 - SLIP) - SLIP, 0.0)


def _pair_lower(means, covariances, priors, radius: float, norm: float) -> float:
    """(pi_0 + pi_1) times a lower bound of the robust risk between these two classes."""
    total = float(priors.sum())
    if isinstance(covariances, Covariance):
        return total * _optimum(means, covariances, priors / total, radius, norm)[0]
    middle = covariances.mean(axis=0)
    apart = means[1] - means[0]
    apart = apart - nearest_shift(apart, Covariance(middle), 2 * radius, norm)
    logs = [np.linalg.slogdet(each)[1] for each in (covariances[0], covariances[1], middle)]
    lost = max(_checks.slack(covariances), _checks.slack(middle))
    length = float(apart @ np.linalg.solve(middle, apart)) / 8
    log_overlap = -length * (1 + lost) + (logs[0] + logs[1]) / 4 - logs[2] / 2 - len(middle) * lost
    product = 4 * float(priors[0] * priors[1]) / total**2 * math.exp(2 * min(log_overlap, 0.0)) * (1 - 1e-10)
    return total * product / (2 * (1 + math.sqrt(1 - product)))


def _linear_upper(means, covariances, metric, priors, radius: float, norm: float) -> float:
    """The union bound for the linear rule of a metric: scores ``z'M m_k - m_k'M m_k / 2 + ln pi_k``, M its inverse."""
    slopes = np.linalg.solve(metric, means.T).T
    intercepts = np.log(priors) - np.einsum("kd,kd->k", slopes, means) / 2
    risk, lost = 0.0, _checks.slack(covariances)
    for i, prior in enumerate(priors):
        rivals = np.arange(len(priors)) != i
        w, b = slopes[i] - slopes[rivals], intercepts[i] - intercepts[rivals]
        own = covariances if covariances.ndim == 2 else covariances[i]
        spread = np.sqrt(np.maximum(np.einsum("kd,kd->k", w @ own, w), 0.0))
        margin = w @ means[i] + b - radius * dual_norms(w, norm)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(spread > 0, margin / spread, np.where(margin > 0, np.inf, -np.inf))
            z = np.where(np.isfinite(z), z - np.abs(z) * lost, z)
        risk += prior * min(1.0, float(np.exp(log_ndtr(-z)).sum()) * (1 + SLIP))
    return min(1.0, risk)


def _own_radii(means, covariances, priors, norm: float, n: int, random_state) -> np.ndarray:
    """Radii of draws at which the Bayes rule of the mixture is right and certified; -1 where it is wrong."""
    draws, labels = _gaussians.draw(means, covariances, priors, n, np.random.default_rng(random_state))
    nearest = _gaussians.bayes_nearest(means, covariances, priors, draws, norm)
    return np.where(nearest.winner == labels, nearest.radius, -1.0)


# -- the largest radius ------------------------------------------------------------------------------------------------


class RobustRadii(NamedTuple):
    """What :func:`largest_robust_radius` returns."""

    possible: float
    impossible: float

    def verdict(self, radius: float) -> str:
        """Whether the risk can be had at this radius: "possible", "impossible" or "undecided"."""
        return "possible" if radius <= self.possible else "impossible" if radius >= self.impossible else "undecided"


def largest_robust_radius(
    means,
    covariances,
    priors,
    *,
    risk: float,
    norm: float = 2,
    n_samples: int = 20_000,
    confidence: float = 0.99,
    random_state=0,
) -> RobustRadii:
    """How far a robust classifier may reach on a mixture of Gaussians, for a robust risk that is wanted.

    Parameters
    ----------
    means : array-like of shape (K, d)
    covariances : array-like of shape (K, d, d), or (d, d) for one that all share
    priors : array-like of shape (K,)
    risk : float
        In (0, 1).
    norm : {1, 2, inf}, default=2
    n_samples, confidence, random_state
        As in :func:`robust_risk_bounds`: for the mixture's own rule where covariances differ.

    Returns
    -------
    possible : float
        Up to this radius a classifier with at most this risk is known: the mixture's own, a linear rule (the optimal one for
        two classes of one covariance), or the constant one. NaN if none is known even at 0.
    impossible : float
        From this radius on there is none. ``inf`` where that cannot be shown.

    Notes
    -----
    ``RobustRadii.verdict(radius)`` says "possible", "impossible" or "undecided"; it is monotone.

    References
    ----------
    Theory 3.3.

    Examples
    --------
    >>> import numpy as np
    >>> from skcert.theory import largest_robust_radius
    >>> found = largest_robust_radius([[-2.0, 0.0], [2.0, 0.0]], np.eye(2), [0.5, 0.5], risk=0.1)
    >>> print(f"{found.possible:.4f} {found.impossible:.4f}", found.verdict(0.5), found.verdict(1.0))
    0.7184 0.7184 possible impossible
    """
    means, covariances = _checks.mixture(means, covariances)
    priors, risk, norm = _checks.weights(priors, len(means)), _checks.chance("risk", risk), _checks.check_norm(norm)
    n_samples, confidence = _checks.count("n_samples", n_samples), _checks.chance("confidence", confidence)
    means = means - means.mean(axis=0)
    if risk >= 1 - priors.max():
        return RobustRadii(math.inf, math.inf)
    apart = np.linalg.norm(means[:, None] - means, ord=None if norm == 2 else norm, axis=2).max() + 1e-300
    with bar(2 * (STEPS + 2), "searching radii", "radius") as done:

        def small(reached: Callable[..., float], radius: float) -> bool:
            done.update()
            return reached(means, covariances, priors, radius, norm) <= risk

        impossible = _last(partial(small, _lower), apart)[1]
        known = [_last(partial(small, _linear_reached), apart)[0]]
    if covariances.ndim == 3:
        radii = np.sort(_own_radii(means, covariances, priors, norm, n_samples, random_state))
        wrong = int(binom.ppf(1 - confidence, n_samples, risk))  # so few of them below the quantile are too few by chance
        while wrong > 0 and binom.cdf(wrong - 1, n_samples, risk) > 1 - confidence:
            wrong -= 1
        if wrong > 0 and radii[wrong - 1] > 0:
            known.append(float(radii[wrong - 1]))
    possible = float(np.nanmax(known)) if not np.isnan(known).all() else math.nan
    return RobustRadii(min(possible, float(impossible)) if possible == possible else possible, float(impossible))


def _linear_reached(means, covariances, priors, radius: float, norm: float) -> float:
    """The smallest robust risk among the linear rules that are tried."""
    shared = covariances if covariances.ndim == 2 else np.einsum("k,kij->ij", priors, covariances)
    if covariances.ndim == 2 and len(means) == 2:
        return _optimum(means, Covariance(covariances), priors, radius, norm)[1]
    unit = np.trace(shared) / len(shared) * np.eye(len(shared))
    return min(_linear_upper(means, covariances, shared + c * unit, priors, radius, norm) for c in SHRINKAGES)


def _last(holds, scale: float) -> tuple[float, float]:
    """The largest radius at which a falling property is seen to hold, and the smallest at which it is seen not to."""
    if not holds(0.0):
        return math.nan, 0.0
    if holds(scale):
        return math.inf if holds(1e6 * scale) else scale, math.inf
    low, high = 0.0, scale
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, high
