"""From a model of the latents to the latents: certified accuracy under a law that is near (theory 4.1)."""

from __future__ import annotations

import numpy as np
from scipy.special import rel_entr

from skcert.theory import _checks

__all__ = ["classwise_transfer_certified_accuracy", "joint_kl_divergence", "transfer_certified_accuracy"]

METHODS = ("exact", "pinsker", "bretagnolle-huber")


def _divergences(kl) -> np.ndarray:
    array = np.asarray(kl, dtype=float)
    if not (array >= 0).all():
        raise ValueError(f"kl must be >= 0 (nats; inf where the divergence is infinite), got {kl!r}.")
    return array


def transfer_certified_accuracy(certified_accuracy, kl, *, method: str = "exact"):
    """The certified accuracy that is left under a law P at a divergence KL(P || Q) from the law Q of the model.

    Parameters
    ----------
    certified_accuracy : float or array-like in [0, 1]
        Under Q with labels: a lower bound of it gives a lower bound.
    kl : float or array-like
        KL(P || Q) >= 0 in nats, of the *joint* laws of points and labels (:func:`joint_kl_divergence`). ``inf``: nothing left.
    method : {"exact", "pinsker", "bretagnolle-huber"}, default="exact"
        "exact": the smallest p with kl(p || q) <= KL between two coins; the best that follows from these two numbers (data
        processing). "pinsker": ``q - sqrt(KL / 2)``. "bretagnolle-huber": ``q - sqrt(1 - exp(-KL))``.

    Returns
    -------
    certified_accuracy : float or ndarray
        In [0, 1], rounded down; broadcast over the arguments. With an estimated divergence it is an estimate.

    References
    ----------
    arXiv 2605.25352, theorem 5.1, part 2 (stated without labels); theory 4.1.

    Examples
    --------
    >>> from skcert.theory import transfer_certified_accuracy
    >>> for method in ("exact", "pinsker", "bretagnolle-huber"):
    ...     print(method, [f"{transfer_certified_accuracy(0.99, kl, method=method):.4f}" for kl in (0.1, 0.5, 2.0)])
    exact ['0.9195', '0.7782', '0.4190']
    pinsker ['0.7664', '0.4900', '0.0000']
    bretagnolle-huber ['0.6815', '0.3627', '0.0601']
    """
    q, kl = np.broadcast_arrays(_checks.probabilities("certified_accuracy", certified_accuracy), _divergences(kl))
    _checks.choice("method", method, METHODS)
    pinsker, other = q - np.sqrt(kl / 2), q - np.sqrt(-np.expm1(-kl))
    if method == "exact":  # nearer to the optimum than either, but for the last digits of a bisection
        found = np.maximum(_smallest(q, kl), np.maximum(pinsker, other))
    else:
        found = pinsker if method == "pinsker" else other
    found = np.clip(found - 1e-15, 0.0, 1.0)
    return float(found) if found.ndim == 0 else found


def _smallest(q: np.ndarray, kl: np.ndarray) -> np.ndarray:
    """min { p <= q : kl(p || q) <= KL }, from below, by bisection."""
    low, high = np.zeros(q.shape), q.copy()
    for _ in range(60):
        middle = (low + high) / 2
        divergence = rel_entr(middle, q) + rel_entr(1 - middle, 1 - q)
        beyond = divergence > kl * (1 + 1e-12) + 1e-15  # certainly too far
        low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
    reached = rel_entr(np.zeros_like(q), q) + rel_entr(np.ones_like(q), 1 - q) <= kl * (1 + 1e-12) + 1e-15
    return np.where(reached, 0.0, np.where(q >= 1, np.where(np.isinf(kl), 0.0, 1.0), low))


def classwise_transfer_certified_accuracy(certified_accuracy, kl, priors, *, method: str = "exact") -> float:
    """The same, class by class: tighter where the classes differ.

    Parameters
    ----------
    certified_accuracy : array-like of shape (K,)
        Of each class under the model.
    kl : array-like of shape (K,)
        KL(P_k || Q_k) in nats.
    priors : array-like of shape (K,)
        Of the *data*: the shares of the classes need not be those of the model; 0 drops a class.
    method : {"exact", "pinsker", "bretagnolle-huber"}, default="exact"

    Returns
    -------
    certified_accuracy : float
        ``sum over k of pi_k transfer(certified_accuracy_k, kl_k)``.

    References
    ----------
    Theory 4.1.

    Examples
    --------
    >>> from skcert.theory import classwise_transfer_certified_accuracy
    >>> print(f"{classwise_transfer_certified_accuracy([0.99, 0.9], [0.0, 0.5], [0.8, 0.2]):.4f}")
    0.8930
    """
    accuracies = np.asarray(transfer_certified_accuracy(certified_accuracy, kl, method=method))
    priors = _checks.shares("priors", priors, accuracies.size)
    return float(priors @ accuracies.ravel()) * (1 - 1e-15)


def joint_kl_divergence(priors, model_priors, kl) -> float:
    """KL between the joint laws of points and labels: ``KL(pi^P || pi^Q) + sum over k of pi^P_k KL(P_k || Q_k)``.

    Parameters
    ----------
    priors, model_priors : array-like of shape (K,)
        Of the data P and of the model Q.
    kl : array-like of shape (K,)
        KL(P_k || Q_k) in nats.

    References
    ----------
    Theory 4.1.

    Examples
    --------
    >>> from skcert.theory import joint_kl_divergence
    >>> print(f"{joint_kl_divergence([0.5, 0.5], [0.4, 0.6], [0.1, 0.3]):.4f}")
    0.2204
    """
    kl = np.atleast_1d(_divergences(kl))
    priors, model_priors = (_checks.shares(*each, len(kl)) for each in (("priors", priors), ("model_priors", model_priors)))
    terms = np.concatenate([rel_entr(priors, model_priors), np.where(priors > 0, priors * np.where(priors > 0, kl, 0), 0)])
    return max(0.0, float(terms.sum())) + 4 * len(terms) * np.finfo(float).eps * float(np.abs(terms).sum())
