"""A Lipschitz constant that holds everywhere: the constants of all calls, multiplied along the graph (theory 2.3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.nn.utils.parametrize import type_before_parametrizations

from skcert.geometry.rounding import grow
from skcert.lipschitz.calls import applied, arguments, bound, torch_name
from skcert.lipschitz.layers import (
    BEFORE_NORMALIZATION,
    CONTRACTING_MODULES,
    CONTRACTIONS,
    FLOATS,
    FORWARDS,
    NORMALIZATIONS,
    as_array,
    batch_norm_scale,
)
from skcert.lipschitz.network import Network, overlap, tensors_in
from skcert.lipschitz.report import Layer
from skcert.lipschitz.rows import check_rows
from skcert.lipschitz.rules import FUNCTIONS, MODULES
from skcert.perturbations import Uncertifiable

#: functions of several tensors at once, and of tensors and constants
SUMS = ("add", "sub", "rsub", "subtract")
PRODUCTS = ("mul", "multiply", "truediv", "div", "divide", "true_divide")
JOINED = ("cat", "concat", "concatenate", "stack", "hstack", "vstack", "maximum", "minimum")
#: methods of a parametrised class that only say how it is copied
_COPIED = ("__deepcopy__", "__getstate__")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
#: attributes of a tensor that hold the same numbers
_SAME = ("T", "mT", "data", "real")
#: what Python computes from a tensor without keeping hold of its memory
_NUMBERS = (bool, int, float, complex, str, type(None), torch.Size, torch.dtype, torch.device, torch.layout)


@dataclass(frozen=True)
class Constants:
    """Upper bounds for all calls of a network.

    Attributes
    ----------
    so_far : dict of torch.fx.Node to float
        From the batch to the output of each call that depends on it.
    factors : dict of torch.fx.Node to float
        Of each call alone; NaN for one that is folded into the next.
    folded : dict of torch.fx.Node to torch.fx.Node
        Batch normalisations, and the layers that are bounded together with them.
    layers : list of Layer
        The same to read.
    total : float
        From the batch to the latents.
    """

    so_far: dict[fx.Node, float]
    factors: dict[fx.Node, float]
    folded: dict[fx.Node, fx.Node]
    layers: list[Layer]
    total: float


def constants(network: Network, done: Callable[[], Any] = lambda: None) -> Constants:
    """Bound every call of a network, and call ``done`` after looking at each.

    Raises
    ------
    Uncertifiable
        A call has no rule; it is named.
    """
    for node in network.nodes:
        _check_memory(network, node)
    check_changes(network)
    folded = _folded(network)
    so_far: dict[fx.Node, float] = {}
    factors: dict[fx.Node, float] = {}
    layers: list[Layer] = []
    for node in network.nodes:
        done()
        if node not in network.moving:
            continue
        if node.op == "placeholder":
            so_far[node] = factors[node] = 1.0
            continue
        _check_type(network, node)
        before = [so_far[each] for each in network.inputs(node)]
        if node in folded.values():  # its constant is that of both together
            so_far[node], factors[node] = before[0], math.nan
            note = "folded into the normalisation after it"
        else:
            so_far[node] = _bound(network, node, folded.get(node), so_far)
            factors[node] = so_far[node] / max(before) if max(before) > 0 else 0.0
            note = f"with {network.label(folded[node])}" if node in folded else ""
        try:
            check_rows(network, node)
        except Uncertifiable as reason:
            raise network.refuse(node, str(reason)) from None
        if not math.isfinite(so_far[node]):
            raise network.refuse(node, f"the constant up to here is {so_far[node]}")
        layers.append(Layer(network.label(node), network.kind(node), factors[node], so_far[node], note))
    if not network.alone:
        raise Uncertifiable("This encoder does not embed each row by itself: the latents of one depend on the rows beside it.")
    if network.otherwise is not None:
        raise network.refuse_otherwise(network.otherwise)
    total = so_far.get(network.latents, 0.0)
    if total * (1 + 1e-3) < network.steepest:  # what was just seen contradicts it: a rule is wrong, or the recording
        raise Uncertifiable(
            f"The constant of this encoder comes out as {total:.6g}, but two rows were found with {network.steepest:.6g}: one "
            "of its layers does not do what is known of its type, or a registered constant is too small."
        )
    return Constants(so_far, factors, folded, layers, total)


def _check_memory(network: Network, node: fx.Node) -> None:
    """What others may write into must be tensors, of torch's own types."""

    def check(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            if type(value) not in (torch.Tensor, torch.nn.Parameter):
                raise network.refuse(
                    node, f"it makes a {type(value).__name__}, a subclass of Tensor whose methods may be its own"
                )
        elif isinstance(value, (tuple, list, dict)) and not isinstance(value, torch.Size):
            for part in value.values() if isinstance(value, dict) else value:
                check(part)
        elif not isinstance(value, _NUMBERS) and node.op != "get_attr":
            raise network.refuse(node, f"it makes a {type(value).__name__} of the values of its input")

    check(node.meta["value"])


def _check_type(network: Network, node: fx.Node) -> None:
    """What moves must be made of float32 or float64 numbers."""
    value = node.meta["value"]
    parts = value if isinstance(value, (tuple, list)) else [value]
    for part in parts:
        if not isinstance(part, torch.Tensor):
            raise network.refuse(node, f"it makes a {type(part).__name__} of the values of its input")
        if not part.is_floating_point():
            raise network.refuse(node, f"it returns {part.dtype}, which jumps")
        if part.dtype not in FLOATS:
            raise network.refuse(node, f"it computes in {part.dtype}, whose rounding is too coarse to be left out")


def check_changes(network: Network, *, strict: bool = False) -> None:
    """Calls that work in place: nothing that shares their memory may be used later as it was before.

    Contractions of each number may, unless ``strict``: a bound of what was there before holds for what is there now.
    """
    for place, node in enumerate(network.nodes):
        if node.meta["reshaped"]:
            raise network.refuse(node, "it changes the shape or the memory of its input in place")
        written = node.meta["written"]
        if not written:
            continue
        touched = [each for each in network.nodes[:place] if overlap(each.meta["memory"], written)]
        if any(each not in network.reached for each in touched):
            raise network.refuse(node, "it writes into a constant or a buffer, which others may read")
        if not strict and _contracts(network, node, touched):
            continue
        early = set(touched)
        uses = [(each, network.label(later)) for later in network.nodes[place + 1 :] for each in later.all_input_nodes]
        for each, reader in [*uses, (network.latents, "the output")]:
            if each in early:
                raise network.refuse(node, f"it works in place on what {reader!r} uses later")


def _contracts(network: Network, node: fx.Node, touched: list[fx.Node]) -> bool:
    """Whether a call does nothing to its memory but to move the numbers there together, each by itself.

    It must write where it reads, and its numbers must be those that others read: not the halves of complex ones.
    """
    if node.op == "call_module":
        known = type_before_parametrizations(network.module(node)) in CONTRACTING_MODULES and not _is_odd(network, node)
    else:
        known = torch_name(node) in CONTRACTIONS
    read = [each for each in node.all_input_nodes if tensors_in(each.meta["value"])]
    if not known or len(read) != 1 or not all(overlap({span}, read[0].meta["memory"]) for span in node.meta["written"]):
        return False
    dtypes = {tensor.dtype for each in (*touched, *read) for tensor in tensors_in(each.meta["value"])}
    return len(dtypes) == 1 and dtypes <= set(FLOATS)


def _folded(network: Network) -> dict[fx.Node, fx.Node]:
    """Batch normalisations right after a layer that nobody else reads, and these layers."""
    found = {}
    for node in network.nodes:
        if node.op != "call_module" or _type(network, node) not in NORMALIZATIONS or len(node.all_input_nodes) != 1:
            continue
        (before,) = node.all_input_nodes
        kind = _type(network, before) if before.op == "call_module" else None
        if kind is torch.nn.Linear and before.meta["value"].ndim != 2:  # of three axes the second is normalised
            continue
        alone = kind in BEFORE_NORMALIZATION and len(before.users) == 1
        if alone and not _is_odd(network, before) and not _is_odd(network, node):
            found[node] = before
    return found


def _type(network: Network, node: fx.Node) -> type:
    return type_before_parametrizations(network.module(node))


def _is_odd(network: Network, node: fx.Node) -> bool:
    """Whether a layer has hooks, methods or tensors of its own kind."""
    module = network.module(node)
    own = [name for name, value in vars(module).items() if callable(value) and hasattr(type(module), name)]
    if type(module) is not _type(network, node):  # parametrised: its class has properties for the weights, and no methods
        own += [name for name, value in vars(type(module)).items() if callable(value) and name not in _COPIED]
    kind: Any = _type(network, node)
    if kind.forward is not FORWARDS.get(kind, kind.forward):
        own.append("forward")
    tensors = (*module.parameters(), *module.buffers())
    subclassed = any(type(tensor) not in (torch.Tensor, torch.nn.Parameter) for tensor in tensors)
    return bool(own) or subclassed or any(getattr(module, hooks) for hooks in _HOOKS)


def _bound(network: Network, node: fx.Node, linear: fx.Node | None, so_far: dict[fx.Node, float]) -> float:
    try:
        if node.kwargs.get("out") is not None:
            raise Uncertifiable("it writes into out=")
        if node.op == "call_module":
            factor = _module_factor(network, node, linear)
            (before,) = network.inputs(node)
            return _times(factor, so_far[before])
        name = None if _registered(node) else torch_name(node)
        if name in JOINED:
            return _joined(node, so_far)
        if name in SUMS:
            terms = _terms(node, so_far)
            return terms[0] if len(terms) == 1 else float(grow(sum(terms)))
        if name in PRODUCTS:
            return _product(node, so_far)
        return _times(_function_factor(network, node), so_far[network.inputs(node)[0]])
    except Uncertifiable as reason:
        raise network.refuse(node, str(reason)) from None
    except (ValueError, TypeError, IndexError, KeyError, ArithmeticError, AttributeError) as error:
        raise network.refuse(node, f"its arguments are not understood ({error})") from error


def _registered(node: fx.Node) -> bool:
    """Whether a user has registered a rule for this very function."""
    return node.op == "call_function" and node.target in FUNCTIONS


def _times(factor: float, constant: float) -> float:
    """Their product, rounded up."""
    return factor * constant if factor in (0.0, 1.0) else float(grow(factor * constant))


def _module_factor(network: Network, node: fx.Node, linear: fx.Node | None) -> float:
    module = network.module(node)
    kind = type_before_parametrizations(module)
    if kind not in MODULES:
        raise Uncertifiable(f"no rule for modules of type {kind.__name__}")
    if _is_odd(network, node):
        raise Uncertifiable("it has hooks or methods of its own, which may change what it computes")
    if len(network.inputs(node)) != 1 or len(node.args) != 1 or node.kwargs:
        raise Uncertifiable("it is called with more than one tensor")
    if linear is not None:
        layer = network.module(linear)
        scale = batch_norm_scale(module)
        x = linear.all_input_nodes[0].meta["value"]
        return BEFORE_NORMALIZATION[type_before_parametrizations(layer)](layer, x, scale)
    return _checked(MODULES[kind](module, node.args[0].meta["value"]))  # type: ignore[union-attr]  # the tensor it is called with


def _function_factor(network: Network, node: fx.Node) -> float:
    if node.target is getattr and node.args[1] in _SAME:
        return 1.0
    name = torch_name(node)
    rule: Any = FUNCTIONS.get(node.target if _registered(node) else name)
    if rule is None:
        raise Uncertifiable(f"no rule for {network.kind(node)}()")
    first = node.args[0] if node.args else node.kwargs.get("input", node.kwargs.get("self"))
    if [each for each in arguments(node) if each in network.moving] != [first]:
        raise Uncertifiable("more than its first argument depends on the input")
    if not _registered(node):
        return _checked(applied(rule, node))
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda each: each.meta["value"])
    if "input" in kwargs:
        args, kwargs = (kwargs["input"], *args), {k: v for k, v in kwargs.items() if k != "input"}
    return _checked(rule(*args, **kwargs))


def _checked(factor) -> float:
    if not (math.isfinite(factor) and factor >= 0):
        raise Uncertifiable(f"its rule returned {factor!r}, expected a finite number >= 0")
    return float(factor)


def _spread(tensor: torch.Tensor, result: torch.Tensor) -> float:
    """By how much broadcasting repeats a tensor, in l2."""
    ratio = result.numel() / max(1, tensor.numel())
    return 1.0 if ratio == 1 else float(grow(math.sqrt(ratio)))


def operands(node: fx.Node) -> list[Any]:
    """Both arguments of an operator."""
    given, _ = bound(node)
    return [given["input"], given["other"]]


def term_weights(node: fx.Node) -> list[float]:
    """By what a sum or a difference multiplies its two arguments."""
    given, _ = bound(node)
    if isinstance(given.get("alpha", 1), fx.Node):
        raise Uncertifiable("its alpha is computed")
    alpha, name = float(given.get("alpha", 1)), torch_name(node)
    return {"rsub": [-alpha, 1.0], "add": [1.0, alpha]}.get(str(name), [1.0, -alpha])


def _terms(node: fx.Node, so_far: dict[fx.Node, float]) -> list[float]:
    return [
        _times(abs(weight), _times(_spread(each.meta["value"], node.meta["value"]), so_far[each]))
        for each, weight in zip(operands(node), term_weights(node), strict=True)
        if each in so_far
    ]


def _product(node: fx.Node, so_far: dict[fx.Node, float]) -> float:
    left, right = operands(node)
    if left in so_far and right in so_far:
        raise Uncertifiable("a product of two activations grows without bound (as in squeeze-and-excitation)")
    if bound(node)[0].get("rounding_mode"):
        raise Uncertifiable("it rounds, and jumps")
    moving, fixed = (left, right) if left in so_far else (right, left)
    value = fixed.meta["value"] if isinstance(fixed, fx.Node) else fixed
    numbers = np.abs(as_array(value) if isinstance(value, torch.Tensor) else np.asarray(value, dtype=float))
    if "div" in str(torch_name(node)):
        if moving is right:
            raise Uncertifiable("division by an activation has no global constant")
        factor = math.inf if not numbers.all() else 1 / float(numbers.min())
    else:
        factor = float(numbers.max(initial=0.0))
    return float(grow(_checked(factor) * _spread(moving.meta["value"], node.meta["value"]) * so_far[moving]))


def _joined(node: fx.Node, so_far: dict[fx.Node, float]) -> float:
    """Side by side, or the larger of two: squares add up."""
    name, given = torch_name(node), bound(node)[0]
    if name not in ("maximum", "minimum"):
        dim = {"hstack": min(1, node.meta["value"].ndim - 1), "vstack": 0}.get(str(name), given.get("dim", 0))
        if dim % node.meta["value"].ndim == 0:
            raise Uncertifiable("it puts rows of the batch together")
    joined = "other" not in given
    tensors: Any = [given["input"]] if isinstance(given["input"], fx.Node) else given["input"]
    if not joined:
        tensors = operands(node)
    result = node.meta["value"]
    squares = [
        (so_far[each] * (1.0 if joined else _spread(each.meta["value"], result))) ** 2 for each in tensors if each in so_far
    ]
    return float(grow(math.sqrt(sum(squares)), 4 * len(squares) + 8))
