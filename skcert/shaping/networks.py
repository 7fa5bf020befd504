"""The networks while they are trained, in torch, and as :class:`~skcert.shaping.layers.Layers` when they are done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skcert.shaping.layers import Layer, Layers


class OrthogonalLinear(nn.Module):
    """A linear layer with orthonormal columns, or rows where there are fewer of these: the Q of QR, with signs fixed."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.columns = nn.Parameter(nn.init.orthogonal_(torch.empty(max(n_in, n_out), min(n_in, n_out))))
        self.bias = nn.Parameter(torch.zeros(n_out))
        self.turned = n_out < n_in

    def weight(self, dtype: torch.dtype | None = None) -> Tensor:
        """The weight (n_out, n_in), computed in the type."""
        q, r = torch.linalg.qr(self.columns.to(dtype))
        q = q * r.diagonal().sgn()
        return q.T if self.turned else q

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight(), self.bias)


class MaxMin(nn.Module):
    """The larger of each pair (x_i, x_(i + n/2)), then the smaller."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, 1)
        return torch.cat((torch.maximum(first, second), torch.minimum(first, second)), 1)


class OneLipschitz(nn.Sequential):
    """Orthogonal layers with MaxMin between them: 1-Lipschitz in l2 by construction (theory 5)."""

    def __init__(self, sizes: Sequence[int]):
        self.linear = [OrthogonalLinear(n, m) for n, m in zip(sizes, sizes[1:], strict=False)]
        between = (part for layer in self.linear for part in (layer, MaxMin()))
        super().__init__(*list(between)[:-1])

    def layers(self) -> list[Layer]:
        """Weights orthonormal to the precision of float64, whatever the training was in."""
        made = [Layer(as_array(part.weight(torch.float64)), as_array(part.bias), "maxmin") for part in self.linear]
        return [*made[:-1], replace(made[-1], activation="none")]


class Unconstrained(nn.Sequential):
    """The paper's head: linear, batch norm, ReLU, then linear layers with ReLU between them (appendix H.1; theory 5)."""

    def __init__(self, sizes: Sequence[int]):
        self.linear = [nn.Linear(n, m) for n, m in zip(sizes, sizes[1:], strict=False)]
        first, *others = self.linear
        super().__init__(first, nn.BatchNorm1d(sizes[1]), *(part for layer in others for part in (nn.ReLU(), layer)))

    def layers(self) -> list[Layer]:
        """As in evaluation: the batch norm has fixed statistics and is folded into the layer before it."""
        made = [Layer(as_array(part.weight), as_array(part.bias), "relu") for part in self.linear]
        norm = self[1]
        assert isinstance(norm, nn.BatchNorm1d)
        parts = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        mean, variance, slope, offset = (as_array(part) for part in parts)
        scale, first = slope / np.sqrt(variance + norm.eps), made[0]
        made[0] = replace(first, weight=first.weight * scale[:, None], bias=(first.bias - mean) * scale + offset)
        return [*made[:-1], replace(made[-1], activation="none")]


def in_units(layers: Sequence[Layer], center: np.ndarray, unit: float) -> Layers:
    """A network trained on (x - center) / unit as one of x: of the same constant, with outputs ``unit`` times as large.

    MaxMin and ReLU commute with a positive factor, so only biases are multiplied.
    """
    return Layers(center, tuple(replace(each, bias=each.bias * unit) for each in layers))


def as_array(tensor: Tensor | None) -> np.ndarray:
    """A tensor on the host, in float64, its own memory."""
    assert tensor is not None
    return tensor.detach().cpu().double().numpy().copy()
