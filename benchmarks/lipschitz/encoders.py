"""A small family of encoders that are 1-Lipschitz in l2 by construction.

Trained are convolutions that keep the norm: a turn of the channels, then shifts by one pixel of parts of them (block
convolutions: Li et al. 2019, "Preventing gradient attenuation in Lipschitz constrained convolutional networks"; Xiao et al.
2018). What is kept are plain convolutions with the kernels multiplied out, and these are made 1-Lipschitz once more in a way
that does not rest on the training or its rounding: W is used as W D^(-1/2), where the diagonal D has d_j = sum_i |W'W|_ij
(Prach and Lampert 2022, "Almost-orthogonal layers for efficient general-purpose Lipschitz networks", theorems 1 and 2).
D - W'W is diagonally dominant with a non-negative diagonal, so W'W <= D, and the largest singular value of W D^(-1/2) is at
most 1. For a convolution, W'W is the self-correlation of its kernel, summed over all shifts; zero padding only cuts rows and
columns out of the operator on the infinite plane, which cannot raise its norm. W and W' have the same norm, so the side with
fewer channels is taken. Orthogonal kernels have D = I and lose nothing.

(The same scaling with free weights, as Prach and Lampert train it, is the simpler family. In short trials, about a minute on
one core, it learned more slowly: 32 % of held-out images against 48 % with 8 convolutions, 46 against 48 with 6.)

Between the layers stand maps that keep the norm: PixelUnshuffle for downsampling (a permutation) and MaxMin (GroupSort of
pairs: a permutation that depends on the input, and 1-Lipschitz).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "Center",
    "MaxMin",
    "OrthogonalConv2d",
    "OrthogonalLinear",
    "almost_orthogonal",
    "baked",
    "load",
    "load_head",
    "one_lipschitz_encoder",
    "schur_sums",
]

WEIGHTS = Path(__file__).with_name("cifar10_one_lipschitz.pt")

# -----------------------------------------------------------------------------
# Weights


def schur_sums(weight: Tensor) -> Tensor:
    """d_j = sum_i |W'W|_ij of a layer (out, in) or (out, in, k, k), of W' where that has fewer columns.

    The square of the layer's norm is at most the largest of them (Schur's test).
    """
    columns = weight.transpose(0, 1) if weight.shape[0] >= weight.shape[1] else weight
    if weight.ndim == 2:
        return (columns @ columns.T).abs().sum(1)
    # the products of all pairs of channels at all shifts: (n, n, 2k - 1, 2k - 1)
    return F.conv2d(columns, columns, padding=weight.shape[-1] - 1).abs().sum((1, 2, 3))


def almost_orthogonal(weight: Tensor) -> Tensor:
    """W D^(-1/2), or D^(-1/2) W where W has fewer rows than columns: its largest singular value is at most 1."""
    scale = schur_sums(weight).clamp_min(1e-12).rsqrt()
    kernel = (1,) * (weight.ndim - 2)
    return weight * (scale.reshape(1, -1, *kernel) if weight.shape[0] >= weight.shape[1] else scale.reshape(-1, 1, *kernel))


def orthonormal(columns: Tensor) -> Tensor:
    """Orthonormal columns that span what the columns of a matrix (or of each of a batch) span: the Q of QR, signs fixed."""
    q, r = torch.linalg.qr(columns)
    return q * r.diagonal(dim1=-2, dim2=-1).sgn()[..., None, :]


def block_convolution(turn: Tensor, planes: Tensor) -> Tensor:
    """The kernel (c, n, k, k) of a convolution that keeps the norm, from n to c >= n channels: a turn of the channels, then
    k - 1 times along each axis a shift by one pixel of what is orthogonal to a plane.

    `turn` is (c, n) and `planes` (2 (k - 1), c, c // 2), both with orthonormal columns. With P the projector to a plane, each
    shift [P, I - P] is a convolution of two taps that keeps the norm, and so does their composition.
    """
    kernel = turn[None, None]  # taps along the two axes first: (1, 1, c, n) grows to (k, k, c, n)
    for number, plane in enumerate(planes):
        axis = number % 2
        nothing = torch.zeros_like(kernel.narrow(axis, 0, 1))
        here, shifted = torch.cat((kernel, nothing), axis), torch.cat((nothing, kernel), axis)
        kernel = shifted + plane @ (plane.T @ (here - shifted))
    return kernel.permute(2, 3, 0, 1)


# -----------------------------------------------------------------------------
# Layers; each computes in the type of its input


class OrthogonalLinear(nn.Module):
    """A linear layer with orthonormal columns, or rows where there are fewer of them."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        small, large = sorted((in_features, out_features))
        self.transposed = out_features < in_features
        self.columns = nn.Parameter(nn.init.orthogonal_(torch.empty(large, small)))
        self.bias = nn.Parameter(torch.zeros(out_features))

    def effective(self) -> Tensor:
        """The weight (out, in)."""
        q = orthonormal(self.columns)
        return q.T if self.transposed else q

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.effective().to(x.dtype), self.bias.to(x.dtype))


class OrthogonalConv2d(nn.Module):
    """A convolution of odd kernel size, stride 1, zero padding to the same size, with a kernel of `block_convolution`.

    Where it reduces channels, the kernel is a transposed one: the rows are orthonormal, not the columns.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        small, large = sorted((in_channels, out_channels))
        self.transposed = out_channels < in_channels
        self.kernel_size = kernel_size
        self.turn = nn.Parameter(nn.init.orthogonal_(torch.empty(large, small)))
        planes = [nn.init.orthogonal_(torch.empty(large, large // 2)) for _ in range(2 * kernel_size - 2)]
        self.planes = nn.Parameter(torch.stack(planes) if planes else torch.empty(0, large, large // 2))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def effective(self) -> Tensor:
        """The kernel (out, in, k, k)."""
        kernel = block_convolution(orthonormal(self.turn), orthonormal(self.planes))
        return kernel.transpose(0, 1) if self.transposed else kernel

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.effective().to(x.dtype), self.bias.to(x.dtype), padding=self.kernel_size // 2)


class _MaxMin(torch.autograd.Function):
    """The larger of each pair, then the smaller; for training: the gradient of the plain form takes five times as long."""

    @staticmethod
    def forward(ctx, x):
        a, b = x.chunk(2, 1)
        top = torch.maximum(a, b)
        ctx.save_for_backward((top == a).to(x.dtype))
        return torch.cat((top, torch.minimum(a, b)), 1)

    @staticmethod
    def backward(ctx, gradient):
        (first,) = ctx.saved_tensors
        p, q = gradient.chunk(2, 1)
        return torch.cat((torch.lerp(q, p, first), torch.lerp(p, q, first)), 1)


class MaxMin(nn.Module):
    """GroupSort of pairs: channel c of the first half with channel c of the second; the larger goes to the first."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return _MaxMin.apply(x)
        a, b = x.chunk(2, 1)
        return torch.cat((torch.maximum(a, b), torch.minimum(a, b)), 1)


class Center(nn.Module):
    """x - mean, one mean per channel: a shift, whatever the data."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((n_channels, 1, 1), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        return x - self.mean.to(x.dtype)


# -----------------------------------------------------------------------------
# Encoders


def one_lipschitz_encoder(input_shape: Sequence[int], widths: Sequence[Sequence[int]], n_latents: int) -> nn.Sequential:
    """An encoder of pixels in [0, 1], (n, c, h, w), to latents (n, n_latents), 1-Lipschitz in l2 whatever its weights.

    Each entry of `widths` is a stage: it halves height and width (PixelUnshuffle), then has one 3x3 convolution and MaxMin
    for each of its numbers, the numbers of channels (even).
    """
    channels, height, width = input_shape
    layers: list[nn.Module] = [Center(channels)]
    for stage in widths:
        if height % 2 or width % 2:
            raise ValueError(f"{len(widths)} stages halve height and width {len(widths)} times; got {tuple(input_shape)}.")
        layers.append(nn.PixelUnshuffle(2))
        channels, height, width = 4 * channels, height // 2, width // 2
        for n_channels in stage:
            layers += [OrthogonalConv2d(channels, n_channels), MaxMin()]
            channels = n_channels
    return nn.Sequential(*layers, nn.Flatten(), OrthogonalLinear(channels * height * width, n_latents))


def baked(encoder: nn.Sequential) -> nn.Sequential:
    """The same encoder of plain Conv2d and Linear layers that hold the weights it effectively uses, in eval mode.

    They are divided such that every Schur sum of the weights as they are kept, in float32, is at most 1: the product of the
    layers' norms is then at most 1 by a test that anybody can make on the plain weights.
    """
    layers: list[nn.Module] = []
    for layer in encoder:
        if isinstance(layer, (OrthogonalConv2d, OrthogonalLinear)):
            weight = almost_orthogonal(layer.effective().detach().double())
            weight = weight / schur_sums(weight).max().sqrt() * (1 - 1e-6)
            layers.append(_plain(weight, layer.bias.detach()))
        else:
            layers.append(layer)
    return nn.Sequential(*layers).eval()


def _plain(weight: Tensor, bias: Tensor) -> nn.Module:
    """A layer of torch with this weight, of type float32."""
    n_out, n_in, *size = weight.shape
    layer = nn.Conv2d(n_in, n_out, size[0], padding=size[0] // 2) if size else nn.Linear(n_in, n_out)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


def load(path: Path = WEIGHTS) -> nn.Sequential:
    """The baked encoder of a file that `train.py` wrote, in eval mode: by default the one for CIFAR-10 kept here."""
    kept = torch.load(path, map_location="cpu", weights_only=True)
    encoder = baked(one_lipschitz_encoder(kept["input_shape"], kept["widths"], kept["n_latents"]))
    encoder.load_state_dict(kept["state_dict"])
    return encoder


def load_head(path: Path = WEIGHTS) -> tuple[Tensor, Tensor]:
    """Weight (10, n_latents) and bias of the linear head the encoder was trained with."""
    kept = torch.load(path, map_location="cpu", weights_only=True)
    return kept["head_weight"], kept["head_bias"]
