"""CLEVER: how steep a scalar margin may be in a ball, estimated from sampled gradients. No guarantee (theory 2.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import weibull_max
from sklearn.utils import check_random_state

from skcert.geometry.affine import DUAL_ORDER

#: where the end of a distribution is looked for, in units of the spread of the maxima beyond the largest of them
BEYOND = np.geomspace(0.05, 10, 12)
#: gradients computed at a time
TOGETHER = 256


@dataclass(frozen=True)
class Clever:
    """How ``lipschitz="clever"`` samples; the string alone stands for ``Clever()``.

    For every point and every rival class, gradients of the margin (the difference of two scores) are sampled in a ball, the
    largest of each batch is kept, and a reverse Weibull distribution is fitted to these. Its end is the estimate of the
    Lipschitz constant L of the margin m in the ball, and the radius is ``min(rho, m / L)``. It is an estimate: the guarantee of
    the certificate is "none".

    Parameters
    ----------
    n_batches : int, default=30
        Number of maxima to fit.
    batch_size : int, default=16
        Gradients in each batch; the authors of CLEVER take 500 batches of 1024.
    rho : float or None, default=None
        Radius of the ball, in the norm and units of the certificate. None: for each point and rival ``m / ||grad m||`` at the
        point, which no estimate exceeds.
    random_state : int, default=0
        Every point has random numbers of its own, whatever stands beside it.

    References
    ----------
    theory 2.3; T.-W. Weng et al., *Evaluating the robustness of neural networks: an extreme value theory approach* (ICLR 2018).

    Examples
    --------
    >>> from skcert import Clever
    >>> Clever(n_batches=50, rho=0.5)
    Clever(n_batches=50, batch_size=16, rho=0.5, random_state=0)
    """

    n_batches: int = 30
    batch_size: int = 16
    rho: float | None = None
    random_state: int = 0

    def __post_init__(self) -> None:
        for name in ("n_batches", "batch_size"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be an integer >= 1, got {value!r}.")
        seed = self.random_state
        if not isinstance(seed, Integral) or isinstance(seed, bool) or seed < 0:
            raise ValueError(f"random_state must be an integer >= 0, got {seed!r}: every point has random numbers of its own.")
        if self.rho is not None and not (
            isinstance(self.rho, Real) and not isinstance(self.rho, bool) and 0 < self.rho < np.inf
        ):
            raise ValueError(f"rho must be None or a positive number, the radius of the ball to sample, got {self.rho!r}.")


def ball_points(n: int, d: int, norm: float, rng: np.random.RandomState) -> np.ndarray:
    """Points distributed evenly in the unit ball of a norm, shape (n, d)."""
    if norm == np.inf:
        return rng.uniform(-1, 1, (n, d))
    if norm == 2:
        v = rng.standard_normal((n, d))
        return v / np.linalg.norm(v, axis=1, keepdims=True) * rng.uniform(size=(n, 1)) ** (1 / d)
    parts = rng.exponential(size=(n, d + 1))
    return rng.choice([-1.0, 1.0], (n, d)) * parts[:, :d] / parts.sum(axis=1, keepdims=True)


def extreme_value(maxima: np.ndarray) -> float:
    """The end of a reverse Weibull distribution fitted to maxima; never below the largest of them.

    The likelihood of all three parameters has no maximum for some samples, and its end runs away. So the end is the likeliest
    of some, up to ten times the spread of the maxima beyond the largest.

    Examples
    --------
    >>> import numpy as np
    >>> extreme_value(np.full(10, 2.0))
    2.0
    """
    top, spread = float(np.max(maxima)), float(np.ptp(maxima))
    if not spread > 1e-9 * top:  # a linear margin: there is nothing to fit
        return top
    likelihoods = [_likelihood(beyond - (maxima - top) / spread) for beyond in BEYOND]
    return top + spread * float(BEYOND[int(np.argmax(likelihoods))])


def _likelihood(distances: np.ndarray) -> float:
    """The largest logarithmic likelihood of distances to the end, Weibull distributed.

    With a known end it is the root of one equation for the shape c; :func:`scipy.stats.weibull_max.fit` finds the same in
    fifty times the time.
    """
    logs = np.log(distances / distances.max())

    def slope(c: float) -> float:
        weights = np.exp(c * logs)
        return float(weights @ logs / weights.sum() - 1 / c - logs.mean())

    c = brentq(slope, 1e-3, 1e6)
    scale = distances.max() * np.exp(c * logs).mean() ** (1 / c)
    return float(weibull_max.logpdf(-distances, c, 0, scale).sum())


def radius(
    margin: float, gradient: Callable[[np.ndarray], np.ndarray], d: int, norm: float, settings: Clever, seed: Any
) -> float:
    """The estimate for one margin.

    Parameters
    ----------
    margin : float
        At the point, positive.
    gradient : callable
        Of moves of shape (n, d): gradients of the margin there, of the same shape.
    d : int
    norm : {1, 2, inf}
    settings : Clever
    seed : int or tuple of int

    Returns
    -------
    radius : float
        ``min(rho, margin / L)``; 0 where the gradient at the point vanishes and no ``rho`` is given.
    """
    rng = check_random_state(np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed))))
    dual = DUAL_ORDER[norm]
    here = float(np.linalg.norm(gradient(np.zeros((1, d)))[0], ord=dual))
    rho = settings.rho if settings.rho is not None else (margin / here if here > 0 else 0.0)
    if rho == 0:
        return 0.0
    shape = settings.n_batches, settings.batch_size
    moves = rho * ball_points(shape[0] * shape[1], d, norm, rng)
    parts = [gradient(moves[k : k + TOGETHER]) for k in range(0, len(moves), TOGETHER)]
    lengths = np.concatenate([np.linalg.norm(part, ord=dual, axis=1) for part in parts])
    steepest = max(extreme_value(lengths.reshape(shape).max(axis=1)), here)
    return min(rho, margin / steepest) if steepest > 0 else rho
