"""A Lipschitz constant that holds on a ball: networks of ReLUs, whose units mostly keep their sign there (theory 2.2, 2.3).

Let u, u' be any two points of the ball B(x, rho) and ``D = u - u'``. For every call of the network four upper bounds are
carried from the input to the latents, all per unit of ``||D||``:

====================  =====================================================================================================
``total``             of the l2 norm of the difference of its outputs
``each``              of the difference, output by output
``rest_each``         of the difference less J D, output by output, where J is the Jacobian of the call's output at x
``rest``              of the l2 norm of that
====================  =====================================================================================================

A unit whose input a has ``|a| > each * rho`` keeps its sign in the ball and is linear there, or zero. Any other has a slope
somewhere between its two: it differs from its linearisation at x by at most the difference of the slopes times ``each``. With
G_l the Jacobian at x from layer l to the latents, and r_l what the undecided units of that layer add,

    f(u) - f(u') = J D + sum_l G_l r_l        and so        L = min(total, ||J|| + sum_l ||G_l|| ||r_l||):

the product of the layers, in which silent units count for nothing, or the true Jacobian and what undecided units may add to
it. ``total`` never exceeds the constant that holds everywhere.

J, the norms of its rows and the G_l do not depend on rho, but cost as many passes as the input has numbers. Where
``inputs * units > JACOBIAN_LIMIT`` they are left out and ``L = total``.

Rounding: values, Jacobians and all bounds are computed in float64; what they may have lost is carried beside the values
(``noise``), added to the rest, or bounded by the same products of absolute values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import type_before_parametrizations

from skcert.geometry.rounding import gamma
from skcert.lipschitz.calls import arguments, bound, torch_name
from skcert.lipschitz.layers import REARRANGING
from skcert.lipschitz.network import Network, perform
from skcert.lipschitz.operators import spectral_norm
from skcert.lipschitz.product import JOINED, PRODUCTS, SUMS, Constants, check_changes, operands, term_weights

#: rows that pass the network together (points, directions or radii); a network for this room is traced with so many
ROWS = 32
#: the Jacobian is used up to this number of inputs times units
JACOBIAN_LIMIT = 2**28

Tensor = torch.Tensor
Map = Callable[..., Tensor]


# -- calls -------------------------------------------------------------------------------------------------------------


@dataclass
class _Call:
    """One call of the network, or a layer and the normalisation after it in one.

    Attributes
    ----------
    node : torch.fx.Node
    inputs : list of int
        Places, among the calls, of what it reads.
    value : callable
        The call itself, of ROWS rows, float64.
    direct, absolute : callable or None
        Its linear part, and the same with the absolute values of its coefficients. None where it is not linear.
    length : Tensor or None
        Of the rows of its matrix.
    slopes : tuple of float or None
        Of an activation, below and above 0.
    windows : callable or None
        Of a maximum: what it is taken of, shape (ROWS, channels, size of a window, windows), with a number put in for padding.
    factor, cap : float
        Its constant, and that of the network up to here, which hold everywhere; factor NaN for sums and concatenations.
    joined : bool
        Whether it puts its inputs side by side; otherwise several inputs are added.
    spreads : list of float
        By how much a sum repeats each of its inputs, in l2.
    """

    node: fx.Node
    inputs: list[int]
    value: Map
    direct: Map | None = None
    absolute: Map | None = None
    length: Tensor | None = None
    slopes: tuple[float, float] | None = None
    windows: Callable[[Tensor, float], Tensor] | None = None
    factor: float = math.nan
    cap: float = math.inf
    joined: bool = False
    spreads: list[float] = field(default_factory=list)

    @property
    def shape(self) -> torch.Size:
        """Of a row of its output."""
        return self.node.meta["value"].shape[1:]


def _double(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().double()


def _moving(network: Network, node: fx.Node) -> list[fx.Node]:
    """Arguments that depend on the input, as often as they are arguments; those of a sum from left to right."""
    found = operands(node) if torch_name(node) in SUMS else arguments(node)
    return [each for each in found if isinstance(each, fx.Node) and each in network.moving]


def _execute(network: Network, node: fx.Node, *tensors: Tensor, constants: float = 1.0) -> Tensor:
    """A call without weights, on other tensors; its constants times a number."""
    given = dict(zip(_moving(network, node), (t.clone() if node.meta["written"] else t for t in tensors), strict=True))

    def look_up(each: fx.Node):
        value = given.get(each, each.meta["value"])
        floating = isinstance(value, Tensor) and value.is_floating_point()
        return constants * _double(value) if floating and each not in given else value

    return perform(node, look_up)


#: linear, with coefficients >= 0, whatever their arguments
_AVERAGES = (
    *(f"{kind}{D}d" for kind in ("avg_pool", "adaptive_avg_pool") for D in (1, 2, 3)),
    "mean",
    "sum",
    "expand",
    "repeat",
)
_CASTS = {"to", "float", "double", "type", "cpu", "cuda", "detach", "contiguous", "clone"}
_PLAIN_FUNCTIONS = {*REARRANGING, *_AVERAGES, "getitem", "dropout", "dropout2d"} - {"chunk", "split", "unbind", *_CASTS}
_PLAIN_MODULES = (
    *(nn.Identity, nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle, nn.Dropout, nn.Dropout1d),
    *(nn.Dropout2d, nn.Dropout3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d),
    *(nn.AdaptiveAvgPool3d, nn.ZeroPad1d, nn.ZeroPad2d, nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReplicationPad1d),
    *(nn.ReplicationPad2d, nn.CircularPad1d, nn.CircularPad2d),
)
_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def _program(network: Network, constants: Constants) -> list[_Call]:
    """The moving calls in their order, normalisations together with the layers before them."""
    calls: list[_Call] = []
    places: dict[fx.Node, int] = {}
    hidden = set(constants.folded.values())
    for node in network.nodes:
        if node not in network.moving:
            continue
        if node.op == "placeholder":
            calls.append(_Call(node, [], lambda x: x))
        elif node in hidden:
            places[node] = places[network.inputs(node)[0]]  # what comes after it reads what it read
            continue
        else:
            call = _call(network, node, constants.folded.get(node))
            call.inputs = [places[each] for each in _moving(network, node)]
            call.spreads = [_spread_of(each, node) for each in _moving(network, node)]
            call.cap = constants.so_far[node]
            if len(call.inputs) == 1:
                call.factor = constants.factors[node]
            calls.append(call)
        places[node] = len(calls) - 1
    return calls


def _call(network: Network, node: fx.Node, layer: fx.Node | None) -> _Call:
    name, many = torch_name(node), len(_moving(network, node)) > 1

    def run(*tensors: Tensor) -> Tensor:
        return _execute(network, node, *tensors)

    if node.op == "call_module":
        module: Any = network.module(node)
        kind = type_before_parametrizations(module)
        if layer is not None:
            return _weighted(node, network.module(layer), module, network.inputs(layer)[0].meta["value"].shape[1:])
        if kind in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d):
            return _weighted(node, module, None, network.inputs(node)[0].meta["value"].shape[1:])
        if kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            return _normalization(node, *_normalizing(module))
        if kind is nn.ReLU:
            return _Call(node, [], torch.relu, slopes=(0.0, 1.0))
        if kind is nn.LeakyReLU:
            return _leaky(node, module.negative_slope)
        if kind is nn.MaxPool2d and not module.ceil_mode:
            return _maximum_of(node, module.kernel_size, module.stride, module.padding, module.dilation)
        if kind in _PLAIN_MODULES:
            return _Call(node, [], run, run, run)
    elif name == "relu":
        return _Call(node, [], torch.relu, slopes=(0.0, 1.0))
    elif name == "leaky_relu":
        return _leaky(node, bound(node)[0].get("negative_slope", 0.01))
    elif name in _CASTS:
        return _Call(node, [], *(lambda x: x,) * 3)
    elif name in _PLAIN_FUNCTIONS:
        return _Call(node, [], run, run, run)
    elif name == "pad" and bound(node)[0].get("mode", "constant") == "constant":
        zeros = partial(F.pad, pad=bound(node)[0]["pad"])
        return _Call(node, [], run, zeros, zeros)
    elif name in SUMS and set(map(abs, term_weights(node))) == {1.0}:
        first, second = term_weights(node)
        if many:
            return _Call(node, [], run, lambda a, b: first * a + second * b, lambda a, b: a + b)
        left, _ = operands(node)
        sign = first if isinstance(left, fx.Node) and left in network.moving else second
        return _Call(node, [], run, lambda x: _spread(sign * x, node), lambda x: _spread(x, node))
    elif name in PRODUCTS and not many:
        return _Call(node, [], run, run, lambda x: run(x).abs())
    elif name in JOINED and name not in ("maximum", "minimum"):
        alone = partial(_execute, network, node, constants=0.0)  # what stands beside it does not move
        return _Call(node, [], run, alone, alone, joined=True)
    raise network.refuse(node, 'local bounds are for networks of linear layers, ReLUs and max-pools: use lipschitz="global"')


def _spread_of(each: fx.Node, node: fx.Node) -> float:
    """By how much a sum repeats one of its terms, in l2; concatenations repeat nothing."""
    ratio = node.meta["value"].numel() / max(1, each.meta["value"].numel())
    return math.sqrt(ratio) if torch_name(node) in SUMS else 1.0


def _spread(x: Tensor, node: fx.Node) -> Tensor:
    return x.expand(x.shape[0], *node.meta["value"].shape[1:])


def _leaky(node: fx.Node, slope: Any) -> _Call:
    return _Call(node, [], lambda x: F.leaky_relu(x, float(slope)), slopes=(float(slope), 1.0))


def _normalizing(module: Any) -> tuple[Tensor, Tensor]:
    """A batch normalisation as scale and offset per channel."""
    scale = 1 / torch.sqrt(_double(module.running_var) + module.eps)
    if module.weight is not None:
        scale = scale * _double(module.weight)
    offset = -_double(module.running_mean) * scale
    return scale, offset if module.bias is None else offset + _double(module.bias)


def _normalization(node: fx.Node, scale: Tensor, offset: Tensor) -> _Call:
    scale, offset = (t.reshape(-1, *(1,) * (node.meta["value"].ndim - 2)) for t in (scale, offset))
    return _Call(node, [], lambda x: x * scale + offset, lambda x: x * scale, lambda x: x * scale.abs())


def _weighted(node: fx.Node, layer: Any, normalization: nn.Module | None, shape: torch.Size) -> _Call:
    """A linear layer or a convolution, and perhaps the normalisation after it."""
    weight = _double(layer.weight)
    bias = torch.zeros(len(weight), dtype=torch.float64) if layer.bias is None else _double(layer.bias)
    if normalization is not None:
        scale, offset = _normalizing(normalization)
        weight, bias = weight * scale.reshape(-1, *(1,) * (weight.ndim - 1)), bias * scale + offset
    if isinstance(layer, nn.Linear):
        call = _Call(node, [], lambda x: F.linear(x, weight, bias), lambda x: F.linear(x, weight))
        call.absolute = lambda x: F.linear(x, weight.abs())
        call.length = _up(torch.linalg.vector_norm(weight, dim=1), weight.shape[1])
        return call

    def convolve(x: Tensor, kernel: Tensor, constant: Tensor | None = None) -> Tensor:
        if layer.padding_mode != "zeros":
            x = F.pad(x, layer._reversed_padding_repeated_twice, mode=layer.padding_mode)
        padding = layer.padding if layer.padding_mode == "zeros" else 0
        settings = {"stride": layer.stride, "padding": padding, "dilation": layer.dilation, "groups": layer.groups}
        return _CONVOLUTIONS[kernel.ndim - 2](x, kernel, constant, **settings)

    call = _Call(node, [], lambda x: convolve(x, weight, bias), lambda x: convolve(x, weight))
    call.absolute = lambda x: convolve(x, weight.abs())
    if layer.padding_mode == "zeros":  # others add up coefficients of the same number
        squares = convolve(torch.ones((1, *shape), dtype=torch.float64), weight**2)
        call.length = _up(squares.sqrt(), weight[0].numel())[0]
    return call


def _maximum_of(node: fx.Node, kernel, stride, padding, dilation) -> _Call:
    kernel, stride, padding, dilation = (v if isinstance(v, tuple) else (v, v) for v in (kernel, stride, padding, dilation))

    def windows(x: Tensor, outside: float) -> Tensor:
        padded = F.pad(x, (padding[1], padding[1], padding[0], padding[0]), value=outside)
        return F.unfold(padded, kernel, dilation, 0, stride).reshape(len(x), x.shape[1], math.prod(kernel), -1)

    return _Call(node, [], lambda x: F.max_pool2d(x, kernel, stride, padding, dilation), windows=windows)


# -- rounding up -------------------------------------------------------------------------------------------------------


def _up(value: Tensor, n: int = 8) -> Tensor:
    """An upper bound of a sum of n non-negative products."""
    return value * (1 + gamma(2 * n + 64))


def _length(rows: Tensor) -> Tensor:
    """Upper bounds of the l2 norms of the rows."""
    flat = rows.reshape(len(rows), -1)
    return _up(torch.linalg.vector_norm(flat, dim=1), flat.shape[1])


def _size(tensor: Tensor) -> float:
    """Upper bound of the l2 norm of all numbers."""
    return float(_length(tensor[None])[0])


def _units(shape: torch.Size) -> Iterator[Tensor]:
    """The unit vectors of a shape, ROWS at a time; zeros fill the last batch."""
    n = math.prod(shape)
    for first in range(0, n, ROWS):
        directions = torch.zeros((ROWS, n), dtype=torch.float64)
        some = torch.arange(min(ROWS, n - first))
        directions[some, first + some] = 1.0
        yield directions.reshape(ROWS, *shape)


def _absolutely(call: _Call, before: list[Tensor]) -> Tensor:
    """A call with the largest slopes and all coefficients positive."""
    if call.slopes:
        return before[0] * max(map(abs, call.slopes))
    if call.windows:
        return call.windows(before[0], 0.0).sum(2).reshape(len(before[0]), *call.shape)
    assert call.absolute is not None
    return call.absolute(*before)


def _terms(*tensors: Tensor) -> int:
    """How many numbers of a row a linear call can sum."""
    return sum(math.prod(t.shape[1:]) for t in tensors)


# -- bounds ------------------------------------------------------------------------------------------------------------


@dataclass
class _State:
    """The bounds of one call, at ROWS radii; without a Jacobian there is no rest."""

    total: Tensor  # (ROWS,)
    each: Tensor  # (ROWS, *shape)
    rest: Tensor | None = None
    rest_each: Tensor | None = None


@dataclass
class _Point:
    """What is known about one point before any radius.

    Attributes
    ----------
    values, noise : list of Tensor
        Of every call, and how far the values may be from real arithmetic.
    lengths : list of Tensor or None
        Of the rows of the Jacobian.
    norm : float
        Of the Jacobian of the latents.
    gains : dict of int to (Tensor, float), or None
        For every activation and maximum: norms of the columns of the Jacobian from it to the latents, and of that as a whole.
    """

    values: list[Tensor]
    noise: list[Tensor]
    lengths: list[Tensor] | None = None
    norm: float = math.inf
    gains: dict[int, tuple[Tensor, float]] | None = None


def _together(points: list[_Point]) -> _Point:
    """Points without Jacobians in one, each to be taken at a radius of its own."""
    rows = [*points, *[points[-1]] * (ROWS - len(points))]
    values, noise = ([torch.stack(parts) for parts in zip(*lists, strict=True)] for lists in
                     ([row.values for row in rows], [row.noise for row in rows]))  # fmt: skip
    return _Point(values, noise)


class LocalBound:
    """Local constants of one network, at any point.

    Parameters
    ----------
    network : Network
        Traced with ROWS rows in float64.
    constants : Constants
        That hold everywhere.
    """

    def __init__(self, network: Network, constants: Constants):
        check_changes(network, strict=True)
        self.calls = _program(network, constants)
        self.constant = constants.total
        shapes = [call.shape for call in self.calls]
        self.n_inputs = math.prod(shapes[0])
        self.by_jacobian = self.n_inputs * sum(math.prod(shape) for shape in shapes) <= JACOBIAN_LIMIT
        self._last = {each: place for place, call in enumerate(self.calls) for each in call.inputs}
        self._bent = [place for place, call in enumerate(self.calls) if call.slopes or call.windows]
        if self.by_jacobian:  # what rounding did to a Jacobian: gamma times the products of absolute values
            self._slip = gamma(sum(4 * math.prod(shape) + 64 for shape in shapes))
            ones = torch.ones((ROWS, *shapes[-1]), dtype=torch.float64)
            paths = self._backward([0, *self._bent], ones, _absolutely)
            self._paths = {place: _up(path[0]) for place, path in paths.items()}

    def constants_at(self, x: np.ndarray, radii: np.ndarray) -> np.ndarray:
        """Upper bounds of the Lipschitz constant on the balls of these radii about x, none above the global one.

        Parameters
        ----------
        x : ndarray of the shape of a row
        radii : ndarray of shape (n,)

        Returns
        -------
        bounds : ndarray of shape (n,)
        """
        point = self._points(np.asarray(x, dtype=float)[None])[0]
        radii = np.asarray(radii, dtype=float)
        return np.concatenate([self._bounds(point, radii[k : k + ROWS]) for k in range(0, len(radii), ROWS)])

    def inward(self, X: np.ndarray, radius: np.ndarray, done: Callable[[int], Any] = lambda n: None) -> np.ndarray:
        """Radii before the network from radii after it: the largest ``min(rho, r / L(rho))`` found (theory 2.2).

        Parameters
        ----------
        X : ndarray of shape (n, *shape)
        radius : ndarray of shape (n,)
        done : callable
            Told the number of points as they are done.
        """
        result = np.array(radius / self.constant)
        for start in range(0, len(X), ROWS):
            points = self._points(X[start : start + ROWS])
            gains = np.ones(len(points), dtype=bool)
            if not self.by_jacobian:  # all points at once: where nothing is gained at the smallest radius, nothing is later
                gains = self._bounds(_together(points), result[start : start + ROWS]) < self.constant
            for k, point in enumerate(points, start):
                if 0 < radius[k] < np.inf and gains[k - start]:
                    result[k] = self._best(point, float(radius[k]), float(result[k]))
                done(1)
        return result * (1 - 1e-15)

    def _best(self, point: _Point, r: float, low: float) -> float:
        """Between ``low``, which holds, and what the smallest constant would give."""
        best, high = low, r / max(float(self._bounds(point, np.array([low]))[0]), 1e-300)
        for _ in range(2):  # the second time between the last radius that held and the first that did not
            if not 0 < low < high < np.inf:
                break
            radii = np.geomspace(low, high, ROWS)
            reached = np.minimum(radii, r / self._bounds(point, radii))
            best = max(best, float(reached.max()))
            held = np.flatnonzero(reached >= radii)
            at = int(held[-1]) if len(held) else 0
            low, high = float(radii[at]), float(radii[min(at + 1, ROWS - 1)])
        return best

    # -- passes through the network ------------------------------------------------------------------------------------

    def _carry(self, start: Any, step: Callable[[_Call, int, list], Any]) -> Any:
        """From the input to the latents, forgetting on the way what nobody needs any more."""
        carried = {0: start}
        for place, call in enumerate(self.calls[1:], 1):
            carried[place] = step(call, place, [carried[each] for each in call.inputs])
            for each in call.inputs:
                if self._last[each] == place:
                    carried.pop(each, None)
        return carried[len(self.calls) - 1]

    @torch.no_grad()
    def _points(self, X: np.ndarray) -> list[_Point]:
        """Values of all calls at up to ROWS points."""
        start = torch.zeros((ROWS, *self.calls[0].shape), dtype=torch.float64)
        start[: len(X)] = torch.from_numpy(np.array(X, dtype=float))
        kept = [(start, torch.zeros_like(start))]

        def step(call: _Call, place: int, before: list):
            value, lost = call.value(*(v for v, _ in before)), [n for _, n in before]
            if call.slopes:
                noise = lost[0] * max(1.0, *map(abs, call.slopes)) + gamma(4) * value.abs()
            elif call.windows:
                noise = call.windows(lost[0], 0.0).amax(2).reshape(value.shape)
            else:
                assert call.absolute is not None
                n = _terms(*lost)
                constant = call.value(*(torch.zeros_like(v) for v, _ in before)).abs()
                sizes = call.absolute(*(v.abs() for v, _ in before)) + 2 * constant
                noise = _up(call.absolute(*lost), n) + gamma(4 * n + 64) * sizes
            kept.append((value, noise))
            return kept[-1]

        self._carry(kept[0], step)
        points = [_Point([v[k] for v, _ in kept], [n[k] for _, n in kept]) for k in range(len(X))]
        return [self._linearised(point) if self.by_jacobian else point for point in points]

    def _tangent(self, point: _Point, call: _Call, before: list[Tensor]) -> Tensor:
        """A call linearised at a point."""
        here = point.values[call.inputs[0]]
        if call.slopes:
            low, high = call.slopes
            return before[0] * torch.where(here > 0, high, low)
        if call.windows:
            chosen = call.windows(here[None], -math.inf).argmax(2, keepdim=True).expand(len(before[0]), -1, -1, -1)
            return call.windows(before[0], 0.0).gather(2, chosen).reshape(len(before[0]), *call.shape)
        assert call.direct is not None
        return call.direct(*before)

    def _linearised(self, point: _Point) -> _Point:
        """The point with what is known of the Jacobians there: forwards by inputs, backwards by latents."""
        squares = [torch.zeros_like(v) for v in point.values]

        def step(call: _Call, place: int, before: list):
            moved = self._tangent(point, call, before)
            squares[place] += (moved**2).sum(0)
            return moved

        jacobian = []
        for directions in _units(self.calls[0].shape):
            squares[0] += (directions**2).sum(0)
            jacobian.append(self._carry(directions, step).reshape(ROWS, -1))
        point.lengths = [_up(square.sqrt(), self.n_inputs) for square in squares]
        columns = torch.cat(jacobian)[: self.n_inputs]
        point.norm = spectral_norm(columns.numpy()) + self._slip * _size(self._paths[0])
        point.gains = self._gains(point)
        return point

    def _gains(self, point: _Point) -> dict[int, tuple[Tensor, float]]:
        if not self._bent:
            return {}
        rows: dict[int, list[Tensor]] = {place: [] for place in self._bent}
        for weights in _units(self.calls[-1].shape):
            gradients = self._backward(self._bent, weights, lambda call, before: self._tangent(point, call, before))
            for place, gradient in gradients.items():
                rows[place].append(gradient.reshape(ROWS, -1))
        gains = {}
        for place in self._bent:
            matrix, slip = torch.cat(rows[place]), self._slip * self._paths[place]
            columns = _up(torch.linalg.vector_norm(matrix, dim=0), len(matrix)).reshape(slip.shape) + slip
            gains[place] = columns, spectral_norm(matrix.numpy()) + _size(slip)
        return gains

    def _backward(self, places: list[int], weights: Tensor, tangent: Callable) -> dict[int, Tensor]:
        """Gradients of weighted latents by the outputs of some calls, each of which does what ``tangent`` says."""
        kept: dict[int, Tensor] = {}

        def step(call: _Call, place: int, before: list):
            kept[place] = tangent(call, before)
            return kept[place]

        with torch.enable_grad():  # what follows a call is linear: zeros will do as the input
            kept[0] = torch.zeros((len(weights), *self.calls[0].shape), dtype=torch.float64, requires_grad=True)
            out = self._carry(kept[0], step)
            gradients = torch.autograd.grad((out * weights).sum(), [kept[place] for place in places])
        return dict(zip(places, gradients, strict=True))

    @torch.no_grad()
    def _bounds(self, point: _Point, radii: np.ndarray) -> np.ndarray:
        """Constants on the balls of up to ROWS radii about a point."""
        rho = torch.zeros(ROWS, dtype=torch.float64)
        rho[: len(radii)] = torch.from_numpy(radii)
        ones = torch.ones((ROWS, *self.calls[0].shape), dtype=torch.float64)
        start = _State(torch.ones(ROWS, dtype=torch.float64), ones)
        if point.lengths is not None:
            start.rest, start.rest_each = torch.zeros_like(start.total), torch.zeros_like(ones)

        added = torch.zeros_like(start.total)

        def step(call: _Call, place: int, before: list):
            off: Tensor | None = None
            if call.slopes:
                state, off = _activation(call, before[0], point, rho)
            elif call.windows:
                state, off = _maximum(call, before[0], point, rho)
            else:
                state = _linear(call, before, point)
            if off is not None and point.gains is not None:
                columns, norm = point.gains[place]
                added.add_(_length(off) * _length(columns * (off > 0)).clamp(max=norm))
            state.total = torch.minimum(state.total, _length(state.each)).clamp(max=call.cap)
            if state.rest_each is not None and state.rest is not None and point.lengths is not None:
                state.rest = torch.minimum(state.rest, _length(state.rest_each))
                state.each = torch.minimum(state.each, _up(point.lengths[place] + state.rest_each))
            return state

        final = self._carry(start, step)
        bounds = final.total
        if final.rest is not None:
            bounds = torch.minimum(bounds, _up(torch.minimum(final.rest, _up(added, 2 * len(self.calls))) + point.norm))
        return bounds[: len(radii)].numpy()


def _linear(call: _Call, before: list[_State], point: _Point) -> _State:
    """Sums and averages: exact for J, absolute values for what is not known so well."""
    assert call.absolute is not None
    n = _terms(*(state.each for state in before))
    weights = [call.factor] if len(before) == 1 else call.spreads

    def joint(parts: list[Tensor]) -> Tensor:
        weighed = torch.stack([part * weight for part, weight in zip(parts, weights, strict=True)])
        return _up(torch.linalg.vector_norm(weighed, dim=0) if call.joined else weighed.sum(0), len(parts))

    def by_rows(each: Tensor, whole: Tensor) -> Tensor:
        """Not more than the length of a row of the matrix allows."""
        if call.length is None:
            return each
        return torch.minimum(each, _up(whole.reshape(ROWS, *(1,) * (each.ndim - 1)) * call.length))

    each = by_rows(_up(call.absolute(*(state.each for state in before)), n), before[0].total)
    state = _State(joint([state.total for state in before]), each)
    if point.lengths is not None:
        rests = [state.rest for state in before if state.rest is not None]
        lengths = [point.lengths[place][None].expand(ROWS, *point.lengths[place].shape) for place in call.inputs]
        slip = gamma(4 * n + 64) * call.absolute(*lengths)  # what rounding did to the rows of J
        state.rest_each = by_rows(_up(call.absolute(*(s.rest_each for s in before)), n), rests[0]) + slip
        state.rest = joint(rests) + _length(slip)
    return state


def _activation(call: _Call, before: _State, point: _Point, rho: Tensor) -> tuple[_State, Tensor]:
    """A unit that may have either slope, theta, differs by ``(theta - slope at x) J D + theta`` times the rest.

    Also returned: by how much each may differ from its linearisation at x.
    """
    assert call.slopes is not None
    place = call.inputs[0]
    value, noise = point.values[place], point.noise[place]
    low, high = call.slopes
    reach = _up(before.each * rho.reshape(-1, *(1,) * (before.each.ndim - 1))) + noise
    above, below = value > reach, value < -reach
    slope = torch.where(value > 0, high, low)
    largest = torch.where(above, abs(high), torch.where(below, abs(low), max(abs(low), abs(high))))
    state = _State(before.total * max(abs(low), abs(high)), before.each * largest)
    if point.lengths is not None:
        assert before.rest is not None and before.rest_each is not None
        lengths = point.lengths[place]
        undecided = ~(above | below)
        off = torch.maximum((low - slope).abs(), (high - slope).abs()) * lengths * undecided
        ends = [
            torch.minimum(
                abs(theta) * before.rest_each + (theta - slope).abs() * lengths,
                abs(theta) * before.each + slope.abs() * lengths,
            )
            for theta in (low, high)
        ]
        decided = before.rest_each * largest
        state.rest_each = _up(torch.where(undecided, torch.maximum(*ends), decided))
        state.rest = _up(before.rest * max(abs(low), abs(high)) + _length(off))
    farthest = torch.maximum((low - slope).abs(), (high - slope).abs())
    return state, _up(before.each * farthest * ~(above | below))


def _maximum(call: _Call, before: _State, point: _Point, rho: Tensor) -> tuple[_State, Tensor]:
    """The largest of a window: where one input stays the largest in the ball it alone counts; returned as by an activation."""
    assert call.windows is not None
    place = call.inputs[0]
    here, lost = (part.reshape(-1, *before.each.shape[1:]) for part in (point.values[place], point.noise[place]))
    value, noise, each = call.windows(here, -math.inf), call.windows(lost, 0.0), call.windows(before.each, 0.0)
    reach = _up(each * rho.reshape(-1, 1, 1, 1)) + noise
    first = value.argmax(2, keepdim=True).expand(ROWS, -1, -1, -1)
    lowest = (value - reach).gather(2, first)
    possible = value + reach >= lowest
    possible = possible.scatter(2, first, True)
    most = (each * possible).amax(2)
    state = _State(before.total * call.factor, most.reshape(ROWS, *call.shape))
    if point.lengths is not None:
        assert before.rest is not None and before.rest_each is not None
        alone = possible.sum(2) == 1
        lengths = call.windows(point.lengths[place][None], 0.0).expand(ROWS, -1, -1, -1).gather(2, first)[:, :, 0]
        known = call.windows(before.rest_each, 0.0).gather(2, first)[:, :, 0]
        state.rest_each = _up(torch.where(alone, known, most + lengths)).reshape(ROWS, *call.shape)
        state.rest = _length(state.rest_each)
    state.total = _up(state.total)
    own = each.gather(2, first)[:, :, 0]
    off = torch.where(possible.sum(2) == 1, 0.0, _up(most + own))
    return state, off.reshape(ROWS, *call.shape)
