"""An encoder as a graph of calls, traced by torch.fx at the shape of its input.

Symbolic tracing knows no shapes, and encoders ask for them. Every recorded call is therefore also made, on two example rows:
sizes, types and devices are those of these examples, and only what depends on the *values* of an input is refused.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.parametrize import type_before_parametrizations

from skcert.lipschitz import layers  # noqa: F401  (it fills the registry)
from skcert.lipschitz.rules import FUNCTIONS, OWN
from skcert.perturbations import Uncertifiable

#: what is as it was before tracing patched it
_CALL, _GETATTR = nn.Module.__call__, nn.Module.__getattr__
#: attributes of a tensor that its values do not change
_STATIC = ("shape", "dtype", "device", "ndim", "layout", "is_cuda", "is_sparse", "is_quantized", "requires_grad", "itemsize")


class _Whole(nn.Module):
    """From a batch of rows to the encoder's output."""

    def __init__(self, owner: nn.Module, call: Callable, preprocess: Callable | None):
        super().__init__()
        self.encoder, self.preprocess, self.call = owner, preprocess, call
        self.n_before = 0
        self.training = False

    def forward(self, x):
        if self.preprocess is not None:
            x = self.preprocess(x)
        if isinstance(x, fx.Proxy):
            self.n_before = len(x.tracer.graph.nodes)
        return self.call(x)


class _Value(fx.Proxy):
    """A proxy that knows the example it stands for, except its numbers."""

    def __getattr__(self, name):
        value = self.node.meta["value"]
        if name in _STATIC and isinstance(value, torch.Tensor):
            return getattr(value, name)
        if name in ("size", "dim", "numel", "nelement", "is_floating_point", "stride", "ndimension", "is_contiguous"):
            return getattr(value, name)
        return super().__getattr__(name)

    def __len__(self):
        return len(self.node.meta["value"])

    def __iter__(self):
        return (operator.getitem(self, i) for i in range(len(self)))


class _Tracer(fx.Tracer):
    """Records calls and makes them; remembers what came out of one sub-module."""

    def __init__(self, example: torch.Tensor, output: str | None):
        super().__init__()
        self.example, self.wanted = example, output
        self.captured: list[Any] = []

    def is_leaf_module(self, m, module_qualified_name):
        kind = type_before_parametrizations(m)  # a parametrised layer has a class of its own
        return kind in OWN or (kind.__module__.startswith("torch.nn") and kind is not nn.Sequential)

    def proxy(self, node):
        return _Value(node, self)

    def create_node(self, *args, **kwargs):
        node = super().create_node(*args, **kwargs)
        with _unpatched():
            self._run(node)
        return node

    def call_module(self, m, forward, args, kwargs):
        result = super().call_module(m, forward, args, kwargs)
        if self.wanted is not None and self.path_of_module(m) == self.wanted:
            value = result.node.meta["value"] if isinstance(result, fx.Proxy) else result
            value = value.clone() if isinstance(value, torch.Tensor) else value  # as it is now: later calls may work in place
            self.captured.append((result, value, len(self.graph.nodes)))
        return result

    def _run(self, node: fx.Node) -> None:
        inputs = [n.meta["value"] for n in node.all_input_nodes]
        tensors = [value for value in inputs if isinstance(value, torch.Tensor) and not value.is_inference()]
        versions = [value._version for value in tensors]
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: n.meta["value"])
        target: Any = node.target
        value: Any = None
        if node.op == "placeholder":
            value = self.example
        elif node.op == "get_attr":
            value = operator.attrgetter(target)(self.root)
            value = value.clone() if isinstance(value, torch.Tensor) else value  # as it is now
        elif node.op == "call_module":
            value = self.root.get_submodule(target)(*args, **kwargs)
        elif node.op == "call_method":
            value = getattr(args[0], target)(*args[1:], **kwargs)
        elif node.op == "call_function":
            value = target(*args, **kwargs)
        node.meta["value"] = value
        node.meta["changes"] = [t for t, version in zip(tensors, versions, strict=True) if t._version != version]


@contextmanager
def _restored(root: nn.Module) -> Iterator[None]:
    """Modules with the attributes that they had: some keep what they compute."""
    before = []
    for module in list(root.modules())[1:]:
        held = {name: copy.copy(value) if type(value) in (list, dict) else value for name, value in vars(module).items()}
        before.append((module, dict(vars(module)), held))
    try:
        yield
    finally:
        for module, own, held in before:
            vars(module).clear()
            vars(module).update(own)
            for name, value in held.items():  # the lists and dicts themselves, others may know them
                if type(value) is list:
                    own[name][:] = value
                elif type(value) is dict:
                    own[name].clear()
                    own[name].update(value)


@contextmanager
def _unpatched() -> Iterator[None]:
    """Modules as they are when nobody traces them."""
    call, getattribute = nn.Module.__call__, nn.Module.__getattr__
    nn.Module.__call__, nn.Module.__getattr__ = _CALL, _GETATTR  # type: ignore[method-assign,assignment]  # torch.fx does it
    try:
        yield
    finally:
        nn.Module.__call__, nn.Module.__getattr__ = call, getattribute  # type: ignore[method-assign,assignment]  # torch.fx does it


@dataclass(frozen=True)
class Network:
    """What an encoder does to a batch of rows.

    Attributes
    ----------
    root : torch.nn.Module
        With all modules and constants that the calls use.
    nodes : list of torch.fx.Node
        The calls in their order; each has its ``value`` on the example in ``meta``.
    latents : torch.fx.Node
        The call that makes the latents.
    moving : set of torch.fx.Node
        Those that depend on the input and on which the latents depend.
    reached : set of torch.fx.Node
        Those that depend on the input.
    before : set of torch.fx.Node
        Those that belong to ``preprocess``.
    alone : bool
        Whether a row is embedded in the same way whatever stands beside it.
    steepest : float
        The largest difference quotient between the examples and some other rows: no constant is smaller.
    """

    root: nn.Module
    nodes: list[fx.Node]
    latents: fx.Node
    moving: set[fx.Node]
    reached: set[fx.Node]
    before: set[fx.Node]
    alone: bool
    steepest: float

    def module(self, node: fx.Node) -> nn.Module:
        """The module of a call_module node."""
        return self.root.get_submodule(str(node.target))

    def inputs(self, node: fx.Node) -> list[fx.Node]:
        """Arguments that depend on the input."""
        return [each for each in node.all_input_nodes if each in self.moving]

    def label(self, node: fx.Node) -> str:
        """The name of a call for people."""
        if node.op == "call_module":
            return str(node.target).removeprefix("encoder.")
        return f"preprocess {node.name}" if node in self.before else node.name

    def kind(self, node: fx.Node) -> str:
        """What is called."""
        if node.op == "call_module":
            return type_before_parametrizations(self.module(node)).__name__
        return function_name(node) if node.op in ("call_function", "call_method") else node.op

    def refuse(self, node: fx.Node, reason: str) -> Uncertifiable:
        """The error for a call without a bound."""
        return Uncertifiable(
            f"The encoder's {self.label(node)!r} ({self.kind(node)}) has no Lipschitz bound: {reason}. Register its constant "
            "with skcert.register_lipschitz, or pass lipschitz= a number you can vouch for."
        )


def function_name(node: fx.Node) -> str:
    """The name by which torch's functions, methods and operators are known alike; in place or not."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    name = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "truediv"}.get(name.strip("_"), name)
    return name.rstrip("_").lstrip("_")


def arguments(node: fx.Node) -> list[fx.Node]:
    """All calls whose results are arguments of this one, as often as they are."""
    found: list[fx.Node] = []
    fx.node.map_arg((node.args, node.kwargs), found.append)
    return found


def known_function(node: fx.Node) -> Any:
    """The rule for a function or method; torch's are known by name, others by themselves."""
    if node.target in FUNCTIONS:
        return FUNCTIONS[node.target]
    module = getattr(node.target, "__module__", None) or "torch"
    own = isinstance(node.target, str) or module.startswith(("torch", "_operator", "operator", "builtins"))
    return FUNCTIONS.get(function_name(node)) if own else None


def trace(encoder: Any, preprocess: Callable | None, output: str | None, example: torch.Tensor) -> Network:
    """The network that takes a batch to latents, recorded on two example rows.

    Parameters
    ----------
    encoder : torch.nn.Module or a bound method of one
        In evaluation mode.
    preprocess : callable or None
    output : str or None
        The sub-module whose output is wanted.
    example : torch.Tensor
        Two rows as they reach ``preprocess``.

    Raises
    ------
    Uncertifiable
        The encoder does what depends on values, or the recording does not repeat what the encoder does.
    """
    owner = getattr(encoder, "__self__", encoder)
    whole = _Whole(owner, encoder, preprocess)
    with torch.inference_mode(False), torch.no_grad():
        tracer = _Tracer(example.clone(), None if output is None else f"encoder.{output}")
        try:
            with _restored(whole):
                graph = tracer.trace(whole)
        except Uncertifiable:
            raise
        except Exception as error:  # of the user's own forward: anything
            raise Uncertifiable(
                f"torch.fx cannot trace this encoder ({type(error).__name__}: {str(error).splitlines()[0]}): what it does "
                "depends on values of its input, or leaves torch. Rewrite that part, register its module with "
                "skcert.register_lipschitz, or pass lipschitz= a number you can vouch for."
            ) from error
        result: Any = graph.output_node().args[0]
        value, end = getattr(result, "meta", {}).get("value"), len(graph.nodes) - 1
        if tracer.captured:  # what comes after it does not matter
            proxy, value, end = tracer.captured[-1]
            result = getattr(proxy, "node", proxy)
        if not isinstance(result, fx.Node) or not isinstance(value, torch.Tensor):
            raise Uncertifiable(f"The encoder returns {type(result).__name__}, expected one tensor: pick a layer with output=.")
        n, others = len(example), torch.cat([example, example[:1]]).flip(1) + 0.25
        try:
            expected = _run_plainly(whole, owner, output, example.clone())
            first = _run_plainly(whole, owner, output, torch.cat([example[:1], others]))
            last = _run_plainly(whole, owner, output, torch.cat([others, example[-1:]]))
        except Exception as error:  # of the user's own forward: anything
            raise Uncertifiable(f"This encoder cannot embed {n + 2} rows as it does {n}: {error}") from error
    if not torch.isfinite(expected).all():
        raise Uncertifiable("This encoder returns NaN or infinite values for numbers between 0 and 1: no bound holds for it.")
    if not _same(value, expected):
        raise Uncertifiable("Tracing this encoder does not repeat what it does: is it random, or does it change as it runs?")
    # the first and the last row, beside others and among more of them
    alone = (
        len(value) == n and len(first) == len(last) == n + 2 and _same(value[:1], first[:1]) and _same(value[-1:], last[-1:])
    )
    steepest = 0.0
    if alone:
        moves = (others - torch.cat([example, example[:1]])).flatten(1).norm(dim=1)
        change = (first[1:].double() - torch.cat([expected, expected[:1]])).flatten(1).norm(dim=1)
        noise = 1e-5 * torch.cat([expected, expected[:1]]).double().flatten(1).norm(dim=1)  # of float32
        steepest = float(((change - noise).clamp(min=0) / moves).max())
    nodes = list(graph.nodes)
    nodes = nodes[:end]
    moving: set[fx.Node] = set()
    for node in nodes:
        if node.op == "placeholder" or any(each in moving for each in node.all_input_nodes):
            moving.add(node)
    needed = {result}
    for node in reversed(nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    before = set(nodes[: whole.n_before]) if preprocess is not None else set()
    return Network(tracer.root, nodes, result, moving & needed, moving, before, alone, steepest)


def _same(value: torch.Tensor, other: torch.Tensor) -> bool:
    """Up to the rounding of float32."""
    if value.shape != other.shape:
        return False
    size = float(other.abs().max()) if other.numel() else 0.0
    return bool(torch.allclose(value, other, rtol=1e-3, atol=1e-4 * size, equal_nan=True))


def _run_plainly(whole: nn.Module, owner: nn.Module, output: str | None, example: torch.Tensor) -> torch.Tensor:
    """What the encoder returns when nobody traces it."""
    if output is None:
        with _restored(whole):
            return whole(example)
    seen: list[torch.Tensor] = []
    handle = owner.get_submodule(output).register_forward_hook(lambda part, args, value: seen.append(value.clone()))
    try:
        with _restored(whole):
            whole(example)
    finally:
        handle.remove()
    return seen[-1]
