"""A small trained network as arrays: what it does to points, its Lipschitz constant, and what rounding may cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from skcert.geometry.products import rows_times
from skcert.geometry.rounding import TINY, UNIT, fro, gamma, grow, row_norms
from skcert.lipschitz.operators import spectral_norm

#: the constant of a network that moves nothing must still be positive
SMALLEST = 1e-300

Activation = Literal["maxmin", "relu", "none"]


@dataclass(frozen=True)
class Layer:
    """``activation(x @ weight.T + bias)``.

    Parameters
    ----------
    weight : ndarray of shape (n_out, n_in)
    bias : ndarray of shape (n_out,)
    activation : {"maxmin", "relu", "none"}
        "maxmin": the larger of x_i and x_(i + n/2) in place i, the smaller in place i + n/2 (a permutation that depends on x,
        so norms are kept). All three are 1-Lipschitz in l2 and exact in floating point.
    """

    weight: np.ndarray
    bias: np.ndarray
    activation: Activation

    def apply(self, X: np.ndarray) -> np.ndarray:
        """Outputs at the rows of X."""
        Z = rows_times(X, self.weight.T) + self.bias
        if self.activation == "relu":
            return np.maximum(Z, 0)
        if self.activation == "maxmin":
            first, second = np.split(Z, 2, axis=1)
            return np.hstack([np.maximum(first, second), np.minimum(first, second)])
        return Z

    @property
    def constant(self) -> float:
        """Upper bound of the largest singular value of the weight as it is stored."""
        return spectral_norm(self.weight)


@dataclass(frozen=True)
class Layers:
    """A network: points less their centre, passed through layers.

    Parameters
    ----------
    center : ndarray of shape (n_features,)
    layers : tuple of Layer
    """

    center: np.ndarray
    layers: tuple[Layer, ...]

    @property
    def n_outputs(self) -> int:
        """Number of features after the network."""
        return len(self.layers[-1].bias)

    def apply(self, X: np.ndarray) -> np.ndarray:
        """Outputs at the rows of X, which are float64."""
        Z = X - self.center
        for layer in self.layers:
            Z = layer.apply(Z)
        return Z

    @property
    def constant(self) -> float:
        """Upper bound of the l2 Lipschitz constant (theory 2.3): the product of those of the layers."""
        total = 1.0
        for layer in self.layers:  # rounded up where it would underflow, on the way as well
            total = max(float(grow(total * layer.constant)), SMALLEST)
        return total

    def copy(self) -> Layers:
        """The same network with arrays of its own."""
        layers = (replace(each, weight=each.weight.copy(), bias=each.bias.copy()) for each in self.layers)
        return Layers(self.center.copy(), tuple(layers))

    def rounding(self, X: np.ndarray) -> np.ndarray:
        """Upper bounds, shape (n,), of the l2 distance of ``apply(X)``, as computed, from real arithmetic.

        A layer carries what was lost before it by its constant, and its product of n terms and the bias lose at most gamma of
        |weight| |x| + |bias| (theory 1.8). For every unit of distance from x a layer of shape (m, n) loses at most
        n sqrt(min(m, n)) 2^-53 of its constant more, far below the 2^-20 that :mod:`skcert.routes` takes off for it.
        """
        Z = X - self.center
        lost = UNIT * row_norms(Z)
        for layer in self.layers:
            n = layer.weight.shape[1]
            sums = gamma(n + 2) * (fro(layer.weight) * row_norms(Z) + row_norms(layer.bias[None])[0]) + n * TINY
            lost = grow(layer.constant * lost + sums)
            Z = layer.apply(Z)
        return lost
