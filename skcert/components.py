"""Several Gaussians per class by expectation-maximisation (theory 1.6): which point belongs to which component, how far.

EM runs class by class in scikit-learn's :class:`~sklearn.mixture.GaussianMixture`, but for "tied", where one covariance is
shared by all components of all classes and the classes are fitted jointly. What leaves this module are responsibilities; the
parameters are estimated from them as they are from class labels, by :mod:`skcert.estimation`, so that one component gives
exactly what a class without a mixture gives.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from skcert import estimation

#: responsibilities below this are taken as 0: their points do not change a sum in float64
NEGLIGIBLE = 1e-20


@dataclass(frozen=True)
class EM:
    """How to run it; ``reg_covar`` in units of the mean variance of the class (of all classes for "tied")."""

    covariance_type: str
    reg_covar: float
    n_init: int
    max_iter: int
    tol: float


@dataclass(frozen=True)
class Run:
    """One run of EM.

    Attributes
    ----------
    responsibilities : list of ndarray of shape (n_k, C_k)
        Of each class that took part.
    log_likelihood : float
        Sum over the points of the log density in their class, under the last parameters of the run; NaN if not asked for.
    converged : bool
    n_iter : int
    """

    responsibilities: list[np.ndarray]
    log_likelihood: float
    converged: bool
    n_iter: int


@dataclass(frozen=True)
class Components:
    """What :func:`fit` found.

    Attributes
    ----------
    responsibilities : list of ndarray of shape (n_k, C_k)
    converged : ndarray of shape (K,)
    n_iter : ndarray of shape (K,)
    units : ndarray of shape (K,)
        What ``reg_covar`` was multiplied by.
    bic : ndarray of shape (K, max_components) or None
        Bayesian information criterion of each candidate; NaN where it was not tried or not admissible.
    """

    responsibilities: list[np.ndarray]
    converged: np.ndarray
    n_iter: np.ndarray
    units: np.ndarray
    bic: np.ndarray | None

    @property
    def counts(self) -> np.ndarray:
        """Number of components of each class."""
        return np.array([r.shape[1] for r in self.responsibilities])


def fit(
    points: list[np.ndarray],
    names: list[str],
    n_components: Sequence[int] | None,
    max_components: int,
    em: EM,
    seeds: Sequence[int],
) -> Components:
    """Responsibilities of the components of each class.

    Parameters
    ----------
    points : list of ndarray of shape (n_k, d)
        Those of each class, centred at their mean, float64.
    names : list of str
        What to call the classes in errors.
    n_components : sequence of int, or None
        Of each class; None chooses among 1..max_components by :func:`select`.
    max_components : int
    em : EM
    seeds : sequence of int
        One for each class: its result does not depend on how the others are fitted, except through a tied covariance.

    Returns
    -------
    Components
    """
    K, tied = len(points), em.covariance_type == "tied"
    levels = np.array([_level(x, name) for x, name in zip(points, names, strict=True)])
    bic = None if n_components is not None else np.full((K, max_components), np.nan)
    runs: list[Run] = []
    for k, (x, name) in enumerate(zip(points, names, strict=True)):
        if bic is not None:
            run, bic[k] = select(x, name, max_components, em, levels[k], seeds[k])
            runs.append(run)
            continue
        c = n_components[k]  # type: ignore[index]  # a list, where bic is None
        if c > len(x):
            raise ValueError(
                f"n_components={c} for {name} with n={len(x)} samples: a class needs at least one sample per component. Lower "
                'n_components (a dict sets it class by class, "bic" chooses it), or give the class more samples.'
            )
        runs.append(_single(len(x), c) if c == 1 or tied else _own(x, name, c, em, levels[k], seeds[k]))
    tried = list(zip(names, runs, strict=True))
    counts = [run.responsibilities[0].shape[1] for run in runs]
    if tied and max(counts) > 1:
        levels = np.full(K, np.average(levels, weights=[len(x) for x in points]))
        joint = shared(points, counts, em, levels[0], seeds)
        runs = [Run([r], joint.log_likelihood, joint.converged, joint.n_iter) for r in joint.responsibilities]
        tried = [("all classes (tied)", joint)]
    for name, run in tried:
        if not run.converged:
            warnings.warn(
                f"EM for {name} did not converge in max_iter={em.max_iter} iterations. Raise max_iter or tol, ask for fewer "
                "components, or raise reg_covar.",
                ConvergenceWarning,
                stacklevel=4,
            )
    converged, n_iter = np.array([run.converged for run in runs]), np.array([run.n_iter for run in runs])
    return Components([run.responsibilities[0] for run in runs], converged, n_iter, levels, bic)


def moments(points: list[np.ndarray], centers, weight: float, responsibilities, *, pooled: bool) -> estimation.Moments:
    """Moments of every component, class after class: a point counts ``weight`` times its responsibility in each.

    ``points`` are relative to ``centers``, one per class; the moments are about the means of the components.
    """
    d = points[0].shape[1]
    parts, total = [], np.zeros((d, d))
    for x, center, r in zip(points, centers, responsibilities, strict=True):
        for own in r.T:
            seen = own > NEGLIGIBLE
            at, share = (x, own) if seen.all() else (x[seen], own[seen])
            share, codes = weight * share, np.zeros(len(at), dtype=int)
            mean = estimation.class_means(at, codes, share, 1)
            part = estimation.Moments.of(at, codes, share, mean, pooled=pooled)
            if pooled:  # only their sum is kept
                total += part.second
                part = replace(part, second=total)
            parts.append(replace(part, shift=mean + center))
    names = ("count", "shift", "first", "third", "fourth") + (() if pooled else ("second",))
    stacked = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return estimation.Moments(**{"second": total, **stacked})


# -- one class -------------------------------------------------------------------------------------------------------


def select(x, name: str, max_components: int, em: EM, level: float, seed: int) -> tuple[Run, np.ndarray]:
    """The run with the lowest BIC among 1..max_components components, and the BIC of all.

    "tied" is judged by a mixture of the class alone with one covariance for its components: the joint choice for all classes
    would take every combination. The search ends at the first candidate that has fewer than 2 points per component, a component
    of fewer points than its covariance needs (d + 1 for "full", 2 for "diag" and "spherical"; "tied": n <= d + components), or
    a singular covariance: its likelihood is unbounded, and BIC would prefer it.
    """
    n, d = x.shape
    bic = np.full(max_components, np.nan)
    best = _single(n, 1)
    for c in range(1, max_components + 1):
        if n < 2 * c or (em.covariance_type == "tied" and n <= d + c):
            break
        try:
            if em.covariance_type == "tied":
                run = shared([x], [c], em, level, [seed])
            else:
                run = _own(x, name, c, em, level, seed, judge=True)
        except estimation.RankError:
            break
        thinnest = run.responsibilities[0].sum(axis=0).min()
        if thinnest < (d + 1 if em.covariance_type == "full" else 2) - 1e-6:
            break
        bic[c - 1] = -2 * run.log_likelihood + n_parameters(em.covariance_type, c, d) * np.log(n)
        if c > 1 and bic[c - 1] < bic[: c - 1].min():  # one component has a closed form
            best = run
    return best, bic


def n_parameters(covariance_type: str, n_components: int, d: int) -> int:
    """Free parameters of a mixture: weights, means, covariances."""
    c, square = n_components, d * (d + 1) // 2
    return c - 1 + c * d + {"full": c * square, "tied": square, "diag": c * d, "spherical": c}[covariance_type]


def _single(n: int, n_components: int) -> Run:
    """A class of one component, in closed form; the place of one that waits for the joint run."""
    return Run([np.ones((n, n_components))], np.nan, True, 1)


def _level(x: np.ndarray, name: str) -> float:
    """tr(S)/d of centred points."""
    level = float(np.einsum("nd,nd->", x, x) / x.size)
    if not level < estimation.SQUARE_LIMIT:
        raise ValueError(
            f"The variance of {name} is {level:.3g}: float64 cannot square that. Rescale the features first, for example with "
            "StandardScaler."
        )
    return level


def _own(x, name: str, n_components: int, em: EM, level: float, seed: int, *, judge: bool = False) -> Run:
    """A mixture of one class, by scikit-learn; its likelihood, one more E-step, only to ``judge`` it."""
    mixture = GaussianMixture(
        n_components,
        covariance_type=em.covariance_type,
        tol=em.tol,
        reg_covar=em.reg_covar * level,
        max_iter=em.max_iter,
        n_init=em.n_init,
        random_state=seed,
    )
    try:
        with warnings.catch_warnings():  # said again by fit, with the class named
            warnings.filterwarnings("ignore", "Best performing initialization", ConvergenceWarning)
            mixture.fit(x)
    except ValueError as error:
        raise _broken(name, f"n_components={n_components}, n={len(x)}, d={x.shape[1]}") from error
    log_likelihood = mixture.score(x) * len(x) if judge else np.nan
    return Run([mixture.predict_proba(x)], log_likelihood, bool(mixture.converged_), int(mixture.n_iter_))


def _broken(name: str, counts: str) -> estimation.RankError:
    return estimation.RankError(
        f"EM for {name} ({counts}) broke down: the covariance of a component has no full rank. Lower n_components, raise "
        'reg_covar, use covariance_type="tied" or "diag", give the class more samples, or drop features that are constant.'
    )


# -- one covariance for all components of all classes -----------------------------------------------------------------


def shared(points: list[np.ndarray], counts: Sequence[int], em: EM, level: float, seeds: Sequence[int]) -> Run:
    """EM for the components of all classes jointly, with one covariance S.

    E-step: r_c = w_c N(x; m_c, S) / sum within the class of x. M-step: w_c and m_c by the responsibilities;
    S = (scatter of all points about their component means) / n + e I with e = reg_covar tr(S_within)/d, fixed. That S maximises
    log likelihood - n e tr(S^-1) / 2, so this objective cannot fall from one iteration to the next; its mean per point is what
    ``tol`` is compared with and what chooses among ``n_init`` starts. Shrinkage is not in the iterations: it comes after them.

    The scatter is the total, known from the start, less n_c m_c m_c' (points are centred by class), so that an iteration costs
    n d times the components of a class, plus d^3.
    """
    d = points[0].shape[1]
    total = np.zeros((d, d))
    for x in points:
        total += x.T @ x
    streams = [np.random.RandomState(seed) for seed in seeds]
    best, highest = None, -np.inf
    for _ in range(em.n_init):
        start = [_start(x, c, stream) for x, c, stream in zip(points, counts, streams, strict=True)]
        run, objective = _climb(points, start, total, em, em.reg_covar * level)
        if best is None or objective > highest:
            best, highest = run, objective
    assert best is not None
    return best


def _start(x: np.ndarray, n_components: int, stream: np.random.RandomState) -> np.ndarray:
    """Responsibilities of 0 and 1 from k-means, as scikit-learn's mixtures start."""
    if n_components == 1:
        return np.ones((len(x), 1))
    labels = KMeans(n_components, n_init=1, random_state=stream).fit(x).labels_
    return np.eye(n_components)[labels]


def _climb(points, responsibilities, total, em: EM, floor: float) -> tuple[Run, float]:
    """EM from given responsibilities: the run and its objective per point."""
    n = sum(len(x) for x in points)
    parameters = _maximise(points, responsibilities, total, floor)
    objective = -np.inf
    for n_iter in range(1, em.max_iter + 1):
        before = objective
        responsibilities, log_likelihood, objective = _expect(points, parameters, total, floor)
        if abs(objective - before) < em.tol:
            break
        if n_iter < em.max_iter:
            parameters = _maximise(points, responsibilities, total, floor)
    return Run(responsibilities, n * log_likelihood, bool(abs(objective - before) < em.tol), n_iter), objective


def _maximise(points, responsibilities, total, floor: float):
    """M-step: weights and means by class, and the shared covariance."""
    n = sum(len(x) for x in points)
    weights, means, scatter = [], [], total.copy()
    for x, r in zip(points, responsibilities, strict=True):
        if r.shape[1] == 1:  # centred
            weights.append(np.ones(1))
            means.append(np.zeros((1, x.shape[1])))
            continue
        sums = r.sum(axis=0)
        mean = r.T @ x / np.maximum(sums, np.finfo(float).tiny)[:, None]
        scatter -= (mean * sums[:, None]).T @ mean
        weights.append(sums / len(x))
        means.append(mean)
    covariance = scatter / n
    covariance.flat[:: len(covariance) + 1] += floor
    return weights, means, covariance


def _expect(points, parameters, total, floor: float):
    """E-step: responsibilities, and per point the log likelihood and the objective that EM cannot lower."""
    weights, means, covariance = parameters
    n, d = sum(len(x) for x in points), len(covariance)
    try:
        factor = np.linalg.cholesky(covariance)
        precision = np.linalg.inv(covariance)
    except np.linalg.LinAlgError as error:
        raise _broken("all classes (tied)", f"{sum(map(len, weights))} components, n={n}, d={d}") from error
    found, gain = [], 0.0
    for x, w, mean in zip(points, weights, means, strict=True):
        if len(w) == 1:
            found.append(np.ones((len(x), 1)))
            continue
        coef = mean @ precision
        with np.errstate(divide="ignore"):
            scores = x @ coef.T + (np.log(w) - 0.5 * np.einsum("cd,cd->c", coef, mean))
        joint = logsumexp(scores, axis=1, keepdims=True)
        found.append(np.exp(scores - joint))
        gain += float(joint.sum())
    # what all components share: x'Px summed over the points is the trace of P times their scatter
    spread = 0.5 * float(np.sum(precision * total)) / n
    log_det = 2 * float(np.log(np.diag(factor)).sum())
    log_likelihood = gain / n - spread - 0.5 * (log_det + d * np.log(2 * np.pi))
    return found, log_likelihood, log_likelihood - 0.5 * floor * float(np.trace(precision))
