"""Encoders of all kinds, small and random, and the steepest that is found of them."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations


class Residual(nn.Module):
    """A block of a ResNet, in place where it may be; strided ones take every other pixel and add empty channels."""

    def __init__(self, n_in, n_out, stride=1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out)
        self.conv2, self.bn2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False), nn.BatchNorm2d(n_out)
        self.relu, self.stride, self.more = nn.ReLU(inplace=True), stride, n_out - n_in

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))
        out += x
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self, blocks=2):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.layers = nn.Sequential(*[Residual(4, 4) for _ in range(blocks)], Residual(4, 8, 2))
        self.linear = nn.Linear(8, 5)

    def forward(self, x):
        out = self.layers(F.relu(self.bn(self.conv(x))))
        out = F.avg_pool2d(out, out.size()[3])
        return self.linear(out.view(out.size(0), -1))


class Branches(nn.Module):
    """Branches side by side and on top of each other, functions and operators instead of layers."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, (1, 5), padding=(0, 2))
        self.scale = nn.Parameter(torch.randn(8, 1, 1))
        self.last = nn.Linear(8, 6)

    def forward(self, x):
        a, b = torch.sigmoid(self.a(x)), F.leaky_relu(self.b(x), 0.2)
        both = torch.cat([a, F.max_pool2d(b, 3, 1, 1)], dim=1) * self.scale
        left, right = both.chunk(2, dim=1)
        both = torch.cat([torch.maximum(left, right), 2.0 - left], dim=1)
        return F.gelu(self.last(both.mean(dim=(2, 3)))) / 0.5


def convolutional(padding_mode="zeros"):
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1, padding_mode=padding_mode),
        nn.BatchNorm2d(6),
        nn.SiLU(),
        nn.Conv2d(6, 6, (2, 3), padding="same", dilation=2, groups=3, padding_mode=padding_mode),
        nn.Mish(),
        nn.MaxPool2d(3, stride=1),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 7),
        nn.Hardswish(),
    )


def parametrized():
    return nn.Sequential(
        nn.Flatten(),
        parametrizations.orthogonal(nn.Linear(192, 16)),
        nn.ELU(),
        parametrizations.spectral_norm(nn.Linear(16, 16)),
        nn.LayerNorm(16, eps=0.5),
        parametrizations.weight_norm(nn.Linear(16, 4)),
    )


def sequences():
    return nn.Sequential(
        nn.Flatten(2),
        nn.Conv1d(3, 5, 4, stride=3),
        nn.BatchNorm1d(5),
        nn.PReLU(5),
        nn.AvgPool1d(3, 2, 1),
        nn.Flatten(),
        nn.Tanh(),
    )


NETWORKS = {
    "resnet": ResNet,
    "branches": Branches,
    "cnn": convolutional,
    "circular": lambda: convolutional("circular"),
    "reflect": lambda: convolutional("reflect"),
    "replicate": lambda: convolutional("replicate"),
    "parametrized": parametrized,
    "sequences": sequences,
    "mlp": lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 20), nn.ReLU(), nn.Dropout(0.5), nn.Linear(20, 5), nn.Softplus()),
}
SHAPE = (3, 8, 8)


def made(kind, seed, extreme=False):
    """A network of one kind in evaluation mode, its normalisations with statistics of their own."""
    torch.manual_seed(seed)
    network = NETWORKS[kind]().eval()
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
                nn.init.normal_(layer.running_mean)
                nn.init.normal_(layer.weight)
                layer.running_var.copy_(10 ** torch.empty_like(layer.running_var).uniform_(-1, 1))
                if extreme:
                    layer.running_var.copy_(10 ** torch.empty_like(layer.running_var).uniform_(-12, 12))
    return network


def doubled(network):
    """A copy in float64 with the weights of float32: what parametrizations make of theirs is kept."""
    twin = copy.deepcopy(network)
    for parent in list(twin.modules()):
        for name, layer in list(parent.named_children()):
            if nn.utils.parametrize.is_parametrized(layer):
                plain = nn.Linear(layer.in_features, layer.out_features)
                plain.load_state_dict({"weight": layer.weight.detach(), "bias": layer.bias.detach()})
                setattr(parent, name, plain)
    return twin.double()


def steepest(network, shape=SHAPE, tries=6, seed=0, scales=(0.1, 1.0, 10.0)):
    """The largest singular value of the Jacobian at some random inputs."""
    twin, generator = doubled(network), torch.Generator().manual_seed(seed)
    best = 0.0
    for k in range(tries):
        x = scales[k % len(scales)] * torch.randn(shape, generator=generator, dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(lambda z: twin(z[None]).flatten(), x)
        best = max(best, float(torch.linalg.matrix_norm(jacobian.reshape(-1, int(np.prod(shape))), 2)))
    return best


def quotient(network, x, rho, rounds=30, pairs=32, seed=0):
    """The largest difference quotient found between two points of a ball, by ascent from random pairs."""
    twin, generator = doubled(network), torch.Generator().manual_seed(seed)
    x = torch.as_tensor(x, dtype=torch.float64)[None]

    def inside(moves):
        lengths = moves.flatten(1).norm(dim=1).reshape(-1, *(1,) * (moves.ndim - 1))
        return moves * (rho / lengths.clamp_min(1e-300)).clamp(max=1.0)

    u, v = (inside(rho * torch.randn((pairs, *x.shape[1:]), generator=generator, dtype=torch.float64)) for _ in range(2))
    v[: pairs // 2] = inside(u[: pairs // 2] + 1e-3 * v[: pairs // 2])
    best = 0.0
    for _ in range(rounds):
        u, v = u.detach().requires_grad_(), v.detach().requires_grad_()
        values = (twin(x + u) - twin(x + v)).flatten(1).norm(dim=1) / (u - v).flatten(1).norm(dim=1)
        best = max(best, float(values.detach().nan_to_num().max()))
        grads = torch.autograd.grad(values.nan_to_num().sum(), (u, v))
        steps = [g / g.flatten(1).norm(dim=1).reshape(-1, *(1,) * (g.ndim - 1)).clamp_min(1e-300) for g in grads]
        u, v = (inside(w.detach() + 0.1 * rho * s.nan_to_num()) for w, s in zip((u, v), steps, strict=True))
    return best
