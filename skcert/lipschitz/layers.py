"""Lipschitz constants (l2) of torch's layers and functions, in real arithmetic and rounded up (theory 2.3).

Rules for modules take ``(module, x)``, those for functions ``x`` and the arguments that they understand as torch names them
(:func:`skcert.lipschitz.calls.applied`), x a batch of two example inputs, whose shape is that of all. Functions of torch have
one name, whether they are called as ``torch.relu``, ``torch.nn.functional.relu``, ``x.relu()`` or ``torch.ops.aten.relu``.
What is missing here is refused by name; some refusals give the reason.
"""

from __future__ import annotations

import inspect
import math
import os
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from skcert.geometry.rounding import grow
from skcert.lipschitz.operators import convolution_norm, overlap, padding_repeats, schur, spectral_norm
from skcert.lipschitz.rules import FUNCTIONS, MODULES, Rule
from skcert.perturbations import Uncertifiable

#: what moves must be made of these
FLOATS = (torch.float32, torch.float64)


def as_array(weight: torch.Tensor) -> np.ndarray:
    """A weight as float64, exactly."""
    return weight.detach().cpu().double().numpy()


# -- linear maps -------------------------------------------------------------------------------------------------------


def linear(x, weight, bias=None) -> float:
    """x @ weight.T"""
    return spectral_norm(as_array(weight))


def matmul(x, other) -> float:
    """x @ other with a constant matrix on the right."""
    if other.ndim != 2:
        raise Uncertifiable(f"a product with a constant of {other.ndim} axes, expected a matrix")
    return spectral_norm(as_array(other))


def convolution(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> float:
    """Convolution of a zero-padded input."""
    D = weight.ndim - 2
    return convolution_norm(as_array(weight), stride=_each(stride, D), dilation=_each(dilation, D), groups=groups)


def _each(value: Any, D: int) -> tuple[int, ...]:
    """One number per axis, from one for all."""
    values = tuple(int(v) for v in value) if isinstance(value, (tuple, list)) else (int(value),)
    return values * D if len(values) == 1 and D else values


def convolution_layer(layer, x, scale: np.ndarray | None = None) -> float:
    """The layer, its outputs multiplied by ``scale`` per channel."""
    weight = as_array(layer.weight)
    if scale is not None:
        weight = weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))
    settings = {"dilation": layer.dilation, "groups": layer.groups}
    if layer.padding_mode == "zeros":
        return convolution_norm(weight, stride=layer.stride, **settings)
    amounts = layer._reversed_padding_repeated_twice[::-1]
    pads = [(amounts[2 * i + 1], amounts[2 * i]) for i in range(len(layer.kernel_size))]
    spans = [d * (k - 1) for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
    if layer.padding_mode == "circular" and all(sum(pad) <= span for pad, span in zip(pads, spans, strict=True)):
        return convolution_norm(weight, stride=1, **settings)  # some rows of the operator on a torus
    repeats = _repeats(x.shape[2:], pads, layer.padding_mode)
    return float(grow(math.sqrt(repeats) * convolution_norm(weight, stride=layer.stride, **settings)))


_NUMPY_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _repeats(sizes, pads, mode: str) -> int:
    """How often a padding repeats a pixel."""
    return math.prod([padding_repeats(n, low, high, _NUMPY_MODES[mode]) for n, (low, high) in zip(sizes, pads, strict=True)])


def linear_layer(layer, x, scale: np.ndarray | None = None) -> float:
    """The layer, its outputs multiplied by ``scale``."""
    weight = as_array(layer.weight)
    return spectral_norm(weight if scale is None else weight * scale[:, None])


#: normalisations by fixed statistics
NORMALIZATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
#: layers into which a batch normalisation that follows is folded
BEFORE_NORMALIZATION: dict[type, Rule] = {
    nn.Linear: linear_layer,
    nn.Conv1d: convolution_layer,
    nn.Conv2d: convolution_layer,
    nn.Conv3d: convolution_layer,
}


def batch_norm_scale(layer) -> np.ndarray:
    """By what a batch normalisation with fixed statistics multiplies each channel, rounded up."""
    if layer.training or layer.running_var is None:
        raise Uncertifiable(
            "it normalises by the statistics of the batch: it is in training mode, or has no running statistics"
        )
    weight = np.ones(layer.num_features) if layer.weight is None else as_array(layer.weight)
    return grow(np.abs(weight) / np.sqrt(as_array(layer.running_var) + layer.eps))


def batch_norm(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5) -> float:
    """Division by fixed deviations."""
    if training or running_var is None:
        raise Uncertifiable("it normalises by the statistics of the batch")
    scale = 1.0 if weight is None else np.abs(as_array(weight))
    return float(grow(np.max(scale / np.sqrt(as_array(running_var) + eps))))


def _by_own_deviation(weight: torch.Tensor | None, eps: float | None) -> float:
    """Layers that divide by the deviation of their input, which is at least sqrt(eps)."""
    if not eps:
        raise Uncertifiable("without eps, division by the deviation of the input has no global constant")
    scale = 1.0 if weight is None else float(np.abs(as_array(weight)).max())
    return float(grow(scale / math.sqrt(eps)))


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5) -> float:
    """(x - mean) / deviation: the derivative is a projection divided by the deviation."""
    if len(normalized_shape) >= x.ndim:
        raise Uncertifiable("it normalises over the rows of the batch")
    return _by_own_deviation(weight, eps)


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5) -> float:
    """The same within groups of channels."""
    return _by_own_deviation(weight, eps)


def instance_norm(x, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, eps=1e-5) -> float:
    """The same within channels, or division by fixed deviations."""
    if use_input_stats:
        return _by_own_deviation(weight, eps)
    return batch_norm(x, running_mean, running_var, weight, eps=eps)


def instance_norm_layer(layer, x) -> float:
    """In training mode it normalises by its input whatever it tracks."""
    own = layer.training or not layer.track_running_stats
    return instance_norm(x, layer.running_mean, layer.running_var, layer.weight, None, own, layer.eps)


# -- averages, maxima, paddings ----------------------------------------------------------------------------------------


def _nonnegative(operation, x: torch.Tensor) -> float:
    """A linear map with coefficients >= 0, by Schur's test: the sums of its rows and of its columns."""
    with torch.enable_grad():
        ones = torch.ones((1, *x.shape[1:]), dtype=torch.float64, requires_grad=True)
        rows = operation(ones)
        (columns,) = torch.autograd.grad(rows.sum(), ones)
    return schur(np.abs(as_array(rows)), np.abs(as_array(columns)))  # a divisor may be negative


def _averaging(operation) -> Rule:
    def rule(x, **settings) -> float:
        return _nonnegative(lambda ones: operation(ones, **settings), x)

    return rule


def _module_averaging(layer, x) -> float:
    return _nonnegative(layer.forward, x)


def max_pool(D: int, x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False) -> float:
    """Over the last D axes. A maximum moves no further than its window: an input counts as often as windows overlap."""
    if return_indices:
        raise Uncertifiable("return_indices=True returns positions, which jump")
    kernel, dilation, padding = _each(kernel_size, D), _each(dilation, D), _each(padding, D)
    steps = kernel if stride is None or stride == [] else _each(stride, D)
    shared = 1
    for n, k, s, p, d in zip(x.shape[-D:], kernel, steps, padding, dilation, strict=True):
        room = n + 2 * p - d * (k - 1) - 1
        shared *= overlap(n, k, s, d, (-(-room // s) if ceil_mode else room // s) + 1)
    return float(grow(math.sqrt(shared)))


def max_pool_layer(D: int, layer, x) -> float:
    """The layer's settings."""
    settings = layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode, layer.return_indices
    return max_pool(D, x, *settings)


def adaptive_max_pool(D: int, x, output_size, return_indices=False) -> float:
    """Windows from floor(i n / m) to ceil((i + 1) n / m), over the last D axes."""
    if return_indices:
        raise Uncertifiable("return_indices=True returns positions, which jump")
    shared = 1
    wanted = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * D
    for n, m in zip(x.shape[-D:], [n if m is None else int(m) for n, m in zip(x.shape[-D:], wanted, strict=True)], strict=True):
        counts = np.zeros(n, dtype=int)
        for i in range(m):
            counts[i * n // m : -(-(i + 1) * n // m)] += 1
        shared *= int(counts.max())
    return float(grow(math.sqrt(shared)))


def pad(x, pad, mode="constant", value=None) -> float:
    """Constants do not move; other paddings repeat pixels."""
    if mode == "constant":
        return 1.0
    pads = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)][::-1]
    return float(grow(math.sqrt(_repeats(x.shape[x.ndim - len(pads) :], pads, mode))))


def _pad_layer(mode: str) -> Rule:
    return lambda layer, x: pad(x, _each(layer.padding, 0), mode)


def interpolate(
    x, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None, antialias=False
) -> float:
    """Those that average with weights >= 0."""
    if mode not in ("nearest", "nearest-exact", "linear", "bilinear", "trilinear", "area"):
        raise Uncertifiable(f"mode={mode!r} has negative weights; expected nearest, linear, bilinear, trilinear or area")
    D = x.ndim - 2
    constant = 1.0
    for axis in range(D):  # separable; axis by axis, forwards: torch's own adjoint of "nearest" forgets scale_factor
        only = [axis == other for other in range(D)]
        n = x.shape[2 + axis]
        units = torch.eye(n).reshape(n, 1, *(n if moves else 1 for moves in only))
        settings: dict[str, Any] = {
            "mode": mode,
            "align_corners": align_corners,
            "recompute_scale_factor": recompute_scale_factor,
            "antialias": antialias,
        }
        for name, value in (("size", size), ("scale_factor", scale_factor)):
            values = value if isinstance(value, (tuple, list)) else (value,) * D
            if value is not None:
                settings[name] = tuple(v if moves else 1 for v, moves in zip(values, only, strict=True))
        # which pixel is nearest is computed in the type of the image
        both = (nn.functional.interpolate(units.to(kind), **settings) for kind in (x.dtype, torch.float64))
        constant *= max(spectral_norm(matrix.reshape(n, -1).double().numpy()) for matrix in both)
    return float(grow(constant))


def upsample_layer(layer, x) -> float:
    """The layer's settings."""
    return interpolate(x, layer.size, layer.scale_factor, layer.mode, layer.align_corners, layer.recompute_scale_factor)


def _reduced(x, dim) -> int:
    """How many numbers of a row a reduction over these axes puts together."""
    whole = dim is None or (isinstance(dim, (tuple, list)) and not dim)  # torch takes no axes for all
    dims = range(x.ndim) if whole else [d % x.ndim for d in (dim if isinstance(dim, (tuple, list)) else [dim])]
    if 0 in dims:
        raise Uncertifiable("it reduces over the rows of the batch")
    return math.prod(x.shape[d] for d in dims)


def mean(x, dim=None, keepdim=False) -> float:
    """The mean of n numbers."""
    return float(grow(1 / math.sqrt(_reduced(x, dim))))


def total(x, dim=None, keepdim=False) -> float:
    """The sum of n numbers."""
    return float(grow(math.sqrt(_reduced(x, dim))))


def maximum_along(x, dim=None, keepdim=False) -> float:
    """The largest of some numbers."""
    _reduced(x, dim)
    return 1.0


def repeated(x, *sizes, **kwargs) -> float:
    """Copies of the input."""
    return float(grow(math.sqrt(x.repeat(*sizes, **kwargs).numel() / x.numel())))


def expanded(x, *sizes, **kwargs) -> float:
    """Copies of the input along axes of length one."""
    return float(grow(math.sqrt(x.expand(*sizes, **kwargs).numel() / x.numel())))


def softmax(x, dim=None) -> float:
    """diag(p) - pp' has row sums 2 p (1 - p) <= 1/2."""
    if dim is None:
        dim = 0 if x.ndim in (0, 1, 3) else 1  # as torch does
    if dim % x.ndim == 0:
        raise Uncertifiable("it normalises over the rows of the batch")
    return 0.5


# -- activations -------------------------------------------------------------------------------------------------------

#: largest absolute derivatives, rounded up
GELU, GELU_TANH, SILU, MISH = 1.12905, 1.12905, 1.09985, 1.08850
SELU = 1.758100
#: torch takes 1/6 in float32
HARDSIGMOID = float(np.nextafter(np.float32(1 / 6), np.float32(1)))
HARDSWISH = 9 * HARDSIGMOID


def gelu(x, approximate="none") -> float:
    """At sqrt(2) the derivative is Phi + sqrt(2) phi = 1.1289."""
    return GELU if approximate == "none" else GELU_TANH


def leaky_relu(x, negative_slope=0.01) -> float:
    """Slopes 1 and the negative one."""
    return max(1.0, abs(float(negative_slope)))


def elu(x, alpha=1.0, scale=1.0, input_scale=1.0) -> float:
    """scale x above 0, scale alpha (exp(input_scale x) - 1) below."""
    if input_scale < 0:
        raise Uncertifiable(f"input_scale={input_scale} makes it grow without bound")
    return float(grow(abs(float(scale)) * max(1.0, abs(float(alpha) * float(input_scale)))))


def celu(x, alpha=1.0) -> float:
    """exp(x / alpha) below 0."""
    if alpha <= 0:
        raise Uncertifiable(f"alpha={alpha} makes it grow without bound")
    return 1.0


def prelu(x, weight) -> float:
    """Slopes 1 and the learned ones."""
    return max(1.0, float(np.abs(as_array(weight)).max()))


def softplus(x, beta=1.0, threshold=20.0) -> float:
    """Derivative a sigmoid; beyond the threshold it is replaced by x, a step of exp(-20) / beta."""
    if threshold < 20:
        raise Uncertifiable(f"threshold={threshold} puts a step into it; expected at least 20")
    return 1.0


def rrelu_layer(layer, x) -> float:
    """Slope 1 and the mean of the two others, in evaluation."""
    if layer.training:
        raise Uncertifiable("it takes random slopes: put it into evaluation mode")
    return leaky_relu(x, (layer.lower + layer.upper) / 2)


def clamp(x, min=None, max=None) -> float:
    """Cut off by constants, which may repeat it."""
    limits = [limit.shape for limit in (min, max) if isinstance(limit, torch.Tensor)]
    ratio = math.prod(torch.broadcast_shapes(x.shape, *limits)) / x.numel()
    return 1.0 if ratio == 1 else float(grow(math.sqrt(ratio)))


def dropout(x, p=0.5, training=True) -> float:
    """Nothing, in evaluation."""
    if training and p:
        raise Uncertifiable("dropout is active, and random: put it into evaluation mode (training=self.training)")
    return 1.0


def dropout_layer(layer, x) -> float:
    """Nothing, in evaluation."""
    return dropout(x, layer.p, layer.training)


def gathered(x, other) -> float:
    """A part of the input, chosen by numbers and slices."""
    items = other if isinstance(other, tuple) else (other,)
    if not all(item is None or item is Ellipsis or isinstance(item, (int, slice)) for item in items):
        raise Uncertifiable("it picks by arrays, perhaps one number twice; expected integers and slices")
    return 1.0


def viewed(x, *args, **kwargs) -> float:
    """Another shape."""
    if any(isinstance(each, torch.dtype) for each in (*args, *kwargs.values())):
        raise Uncertifiable("it reads the bits as another type")
    return 1.0


def _constant(value: float) -> Rule:
    """A rule that holds for all arguments that torch takes."""
    return lambda *args, **kwargs: value


def _refused(reason: str) -> Rule:
    def rule(*args, **kwargs) -> float:
        raise Uncertifiable(reason)

    return rule


ATTENTION = "dot-product attention has no global Lipschitz constant"
SPHERE = "division by the own length has only a local constant: leave it to scikit-learn's Normalizer after the embedder"

MODULES.update(BEFORE_NORMALIZATION)
MODULES.update(dict.fromkeys(NORMALIZATIONS, lambda m, x: float(batch_norm_scale(m).max())))
MODULES.update(dict.fromkeys([nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d], instance_norm_layer))
MODULES[nn.LayerNorm] = lambda m, x: layer_norm(x, m.normalized_shape, m.weight, m.bias, m.eps)
MODULES[nn.GroupNorm] = lambda m, x: group_norm(x, m.num_groups, m.weight, m.bias, m.eps)
for _D, _kind in enumerate([nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d], 1):
    MODULES[_kind] = partial(max_pool_layer, _D)
    FUNCTIONS[f"max_pool{_D}d"] = partial(max_pool, _D)
    FUNCTIONS[f"adaptive_max_pool{_D}d"] = partial(adaptive_max_pool, _D)
for _D, _kind in enumerate([nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d], 1):  # type: ignore[assignment]  # other types than above
    MODULES[_kind] = lambda m, x, D=_D: adaptive_max_pool(D, x, m.output_size, m.return_indices)
MODULES.update(
    dict.fromkeys(
        [nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d],
        _module_averaging,
    )
)
MODULES.update(dict.fromkeys([nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d], upsample_layer))
MODULES.update(dict.fromkeys([nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d], _pad_layer("reflect")))
MODULES.update(dict.fromkeys([nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d], _pad_layer("replicate")))
MODULES.update(dict.fromkeys([nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d], _pad_layer("circular")))
MODULES.update(
    dict.fromkeys(
        [nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout], dropout_layer
    )
)
for _type in (
    *(nn.Identity, nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle),
    *(nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d),
    *(nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Tanh, nn.Softsign, nn.Softshrink, nn.LogSigmoid, nn.Tanhshrink),
):
    MODULES[_type] = _constant(1.0)
MODULES[nn.Sigmoid] = _constant(0.25)
MODULES[nn.Hardsigmoid] = _constant(HARDSIGMOID)
MODULES[nn.SELU] = _constant(SELU)
MODULES[nn.SiLU], MODULES[nn.Mish], MODULES[nn.Hardswish] = _constant(SILU), _constant(MISH), _constant(HARDSWISH)
MODULES[nn.GELU] = lambda m, x: gelu(x, m.approximate)
MODULES[nn.CELU] = lambda m, x: celu(x, m.alpha)
MODULES[nn.ELU] = lambda m, x: elu(x, m.alpha)
MODULES[nn.LeakyReLU] = lambda m, x: leaky_relu(x, m.negative_slope)
MODULES[nn.RReLU] = rrelu_layer
MODULES[nn.PReLU] = lambda m, x: prelu(x, m.weight)
MODULES[nn.Softplus] = lambda m, x: softplus(x, m.beta, m.threshold)
MODULES[nn.Softmax] = lambda m, x: softmax(x, m.dim)
MODULES[nn.MultiheadAttention] = _refused(ATTENTION)
MODULES[nn.TransformerEncoderLayer] = MODULES[nn.TransformerEncoder] = _refused(ATTENTION)

FUNCTIONS.update(
    {
        "linear": linear,
        "matmul": matmul,
        "mm": matmul,
        "conv1d": convolution,
        "conv2d": convolution,
        "conv3d": convolution,
        "batch_norm": batch_norm,
        "layer_norm": layer_norm,
        "group_norm": group_norm,
        "instance_norm": instance_norm,
        "pad": pad,
        "interpolate": interpolate,
        "mean": mean,
        "sum": total,
        "amax": maximum_along,
        "amin": maximum_along,
        "repeat": repeated,
        "expand": expanded,
        "softmax": softmax,
        "gelu": gelu,
        "leaky_relu": leaky_relu,
        "elu": elu,
        "celu": celu,
        "prelu": prelu,
        "softplus": softplus,
        "clamp": clamp,
        "clip": clamp,
        "dropout": dropout,
        "dropout2d": dropout,
        "getitem": gathered,
        "sigmoid": _constant(0.25),
        "hardsigmoid": _constant(HARDSIGMOID),
        "silu": _constant(SILU),
        "mish": _constant(MISH),
        "hardswish": _constant(HARDSWISH),
        "selu": _constant(SELU),
        "scaled_dot_product_attention": _refused(ATTENTION),
        "multi_head_attention_forward": _refused(ATTENTION),
        "normalize": _refused(SPHERE),
        "norm": _refused(SPHERE),
    }
)
for _name in ("avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"):
    FUNCTIONS[_name] = _averaging(getattr(nn.functional, _name))
#: what only moves numbers to other places, leaves some out or copies them: the way is an isometry or a projection
REARRANGING = (
    *("flatten", "reshape", "view", "permute", "transpose", "swapaxes", "movedim", "t", "squeeze", "unsqueeze", "unflatten"),
    *("contiguous", "clone", "detach", "chunk", "split", "unbind", "narrow", "select", "flip", "roll", "to", "float", "double"),
    *("type", "cpu", "cuda", "view_as", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "flatten", "requires_grad"),
)
FUNCTIONS.update(dict.fromkeys(REARRANGING, _constant(1.0)))
FUNCTIONS["view"] = viewed
#: elementwise functions whose slopes lie between -1 and 1
CONTRACTIONS = (
    *("relu", "relu6", "hardtanh", "tanh", "softsign", "softshrink", "logsigmoid", "tanhshrink", "abs", "neg", "sin"),
    *("cos", "atan", "arctan"),
)
FUNCTIONS.update(dict.fromkeys(CONTRACTIONS, _constant(1.0)))
#: modules that do the same, some of them in place
CONTRACTING_MODULES = (nn.ReLU, nn.ReLU6, nn.Hardtanh)
#: what torch's modules do, before somebody replaces it
_KINDS: list[Any] = list(MODULES)
FORWARDS: dict[Any, Any] = {kind: kind.forward for kind in _KINDS}
#: where torch's modules find what they call, and what is there
_HOMES: list[Any] = [nn.functional, torch.Tensor, *{base for kind in _KINDS for base in kind.__mro__ if base is not object}]
_AS_IMPORTED = {home: {name: each for name, each in vars(home).items() if inspect.isroutine(each)} for home in _HOMES}
_FOLDER = os.path.dirname(torch.__file__)


def replaced() -> list[str]:
    """Functions and methods that torch's modules call and that somebody has replaced, or put before torch's, for all modules.

    What was replaced before this module was imported is seen by the file in which it was written.
    """
    found = []
    for home, known in _AS_IMPORTED.items():
        for name in {**known, **vars(home)}:
            now = vars(home).get(name)
            foreign = inspect.isfunction(now) and not now.__code__.co_filename.startswith(_FOLDER)
            new = name not in known and callable(now) and any(hasattr(base, name) for base in getattr(home, "__mro__", ())[1:])
            if new or name in known and (foreign or now is not known[name]):
                found.append(f"{home.__name__}.{name}")
    return sorted(found)
