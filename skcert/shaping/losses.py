"""What latents are trained for: pure functions of torch tensors, differentiable, on any device.

Certified margins are ours (theory 5); coding rates, isotropy and the distance to Gaussians are the paper's (arXiv 2605.25352,
section 6 and appendix H.1), with the signs and weights of theory 5.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "boundary_distances",
    "certified_margin_loss",
    "coding_rate",
    "coding_rate_reduction",
    "isotropy_penalty",
    "squared_mmd",
]


def boundary_distances(scores: Tensor, weight: Tensor, y: Tensor) -> Tensor:
    """Signed l2 distance of every latent from its boundary with each rival: ``(s_y - s_j) / ||w_y - w_j||``.

    Parameters
    ----------
    scores : Tensor of shape (n, n_classes)
        ``latents @ weight.T + bias``.
    weight : Tensor of shape (n_classes, n_latents)
    y : Tensor of int, shape (n,)
        True classes.

    Returns
    -------
    Tensor of shape (n, n_classes)
        In the units of the latents; negative where the rival wins, inf for the true class itself. Behind a network that is
        1-Lipschitz the smallest is, where positive, a certified radius of the network's input.

    References
    ----------
    theory 1.4, 5.

    Examples
    --------
    >>> import torch
    >>> from skcert.shaping.losses import boundary_distances
    >>> weight = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    >>> boundary_distances(torch.tensor([[10.0, 0.0]]), weight, torch.tensor([0]))      # 10 / 5
    tensor([[inf, 2.]])
    """
    gaps = torch.cdist(weight, weight, compute_mode="donot_use_mm_for_euclid_dist")[y]
    own = F.one_hot(y, scores.shape[1]).bool()
    margins = scores.gather(1, y[:, None]) - scores
    smallest = torch.finfo(gaps.dtype).tiny  # two classes with one weight have no boundary
    return (margins / gaps.masked_fill(own, 1.0).clamp_min(smallest)).masked_fill(own, math.inf)


def certified_margin_loss(distances: Tensor, margin: float, temperature: float) -> Tensor:
    """``log(1 + sum_j exp(-(dist_j - margin) / temperature))``, averaged over points.

    Cross-entropy in units of distance, with the true class handicapped by the margin: nothing is gained by distances far
    beyond it, and what is short of it is pushed with full force.

    Parameters
    ----------
    distances : Tensor of shape (n, n_classes)
        Of :func:`boundary_distances`; inf for the true class.
    margin : float
        The distance asked for: about 1.5 times the target radius.
    temperature : float
        In the units of the distances: about 0.05 of the scale of the points.

    Returns
    -------
    Tensor of shape ()

    References
    ----------
    theory 5; Prach and Lampert (2022) for the offset.

    Examples
    --------
    >>> import math, torch
    >>> from skcert.shaping.losses import certified_margin_loss
    >>> loss = certified_margin_loss(torch.tensor([[math.inf, 0.3]]), margin=0.3, temperature=0.05)
    >>> round(float(loss), 4)                                                        # log 2
    0.6931
    """
    return F.softplus(torch.logsumexp(-(distances - margin) / temperature, 1)).mean()


def coding_rate(Z: Tensor, eps: float) -> Tensor:
    """``1/2 log det(I + d / (n eps^2) Z'Z)``: nats needed to code the rows of Z up to a distortion of eps.

    Parameters
    ----------
    Z : Tensor of shape (n, d)
    eps : float

    Returns
    -------
    Tensor of shape ()

    References
    ----------
    Yu, Chan, You, Song, Ma (2020), equation 7; theory 5.

    Examples
    --------
    >>> import torch
    >>> from skcert.shaping.losses import coding_rate
    >>> round(float(coding_rate(torch.eye(2), eps=1.0)), 4)      # 1/2 log det(I + 2/2 I) = log 2
    0.6931
    """
    n, d = Z.shape
    short = Z.T if n > d else Z  # det(I + Z'Z) = det(I + ZZ')
    gram = short @ short.T
    return 0.5 * torch.logdet(torch.eye(len(gram), dtype=Z.dtype, device=Z.device) + d / (n * eps**2) * gram)


def coding_rate_reduction(Z: Tensor, y: Tensor, eps: float) -> Tensor:
    """``R(Z) - sum_k (n_k / n) R_k(Z_k)``, which training maximises: classes far from each other and each of low rate.

    Parameters
    ----------
    Z : Tensor of shape (n, d)
        Rows on the unit sphere, in the paper.
    y : Tensor of int, shape (n,)
    eps : float

    Returns
    -------
    Tensor of shape ()
        At least 0, as the logarithm of the determinant is concave.

    References
    ----------
    arXiv 2605.25352, appendix H.1; Yu et al. (2020), equation 10; theory 5, where n_k / n and the sign matter.

    Examples
    --------
    Classes that share all directions gain nothing by being told apart:

    >>> import torch
    >>> from skcert.shaping.losses import coding_rate_reduction
    >>> Z, y = torch.eye(2).repeat(2, 1), torch.tensor([0, 0, 1, 1])
    >>> abs(round(float(coding_rate_reduction(Z, y, eps=1.0)), 6))
    0.0
    """
    parts = [Z[y == k] for k in torch.unique(y)]
    return coding_rate(Z, eps) - sum(len(part) / len(Z) * coding_rate(part, eps) for part in parts)


def isotropy_penalty(Z: Tensor, y: Tensor) -> Tensor:
    """``sum_k ||C_k - tr(C_k) / d I||_F^2`` with the covariance C_k (divisor n_k) of every class.

    Parameters
    ----------
    Z : Tensor of shape (n, d)
    y : Tensor of int, shape (n,)

    Returns
    -------
    Tensor of shape ()
        0 where every class has the same variance in all directions.

    References
    ----------
    arXiv 2605.25352, appendix H.1; theory 5.

    Examples
    --------
    >>> import torch
    >>> from skcert.shaping.losses import isotropy_penalty
    >>> cross = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> float(isotropy_penalty(cross, torch.zeros(4, dtype=torch.long)))
    0.0
    """
    total = Z.new_zeros(())
    for k in torch.unique(y):
        X = Z[y == k] - Z[y == k].mean(0)
        covariance = X.T @ X / len(X)
        d = Z.shape[1]
        # ||C - tr(C)/d I||_F^2 = ||C||_F^2 - tr(C)^2 / d would cancel
        off = covariance - covariance.trace() / d * torch.eye(d, dtype=Z.dtype, device=Z.device)
        total = total + off.square().sum()
    return total


def squared_mmd(X: Tensor, Y: Tensor, bandwidth: float) -> Tensor:
    """Squared maximum mean discrepancy of two samples, kernel ``exp(-||x - y||^2 / (2 bandwidth^2))``.

    ``mean k(x, x') - 2 mean k(x, y) + mean k(y, y')`` over all pairs, those of a point with itself included: at least 0.

    Parameters
    ----------
    X, Y : Tensors of shape (n, d), (m, d)
    bandwidth : float

    Returns
    -------
    Tensor of shape ()

    References
    ----------
    Gretton et al. (2012), equation 5; arXiv 2605.25352, appendix H.1.

    Examples
    --------
    >>> import torch
    >>> from skcert.shaping.losses import squared_mmd
    >>> round(float(squared_mmd(torch.zeros(1, 1), torch.ones(1, 1), bandwidth=1.0)), 4)      # 2 - 2 exp(-1/2)
    0.7869
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
        return torch.exp(-squares.clamp_min(0) / (2 * bandwidth**2)).mean()

    return kernel(X, X) - 2 * kernel(X, Y) + kernel(Y, Y)
