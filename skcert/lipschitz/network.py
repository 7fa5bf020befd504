"""An encoder as a graph of calls, traced by torch.fx at the shape of its input.

Symbolic tracing knows no shapes, and encoders ask for them. Every recorded call is therefore also made, on two example rows:
sizes, types and devices are those of these examples, and only what depends on the *values* of an input is refused. The same
examples tell which tensors share memory, and what a call has written in place.
"""

from __future__ import annotations

import copy
import itertools
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.parametrize import ParametrizationList, type_before_parametrizations

from skcert.lipschitz import layers
from skcert.lipschitz.calls import function_name
from skcert.lipschitz.programs import Program, difference, program_of
from skcert.lipschitz.rules import MODULES
from skcert.perturbations import Uncertifiable

#: what is as it was before tracing patched it
_CALL, _GETATTR = nn.Module.__call__, nn.Module.__getattr__
#: attributes of a tensor that its values do not change
_STATIC = ("shape", "dtype", "device", "ndim", "layout", "is_cuda", "is_sparse", "is_quantized", "requires_grad", "itemsize")
#: attributes of a tensor that may be set without changing what it is
_SETTABLE = ("requires_grad", "grad")
_IN_PLACE = (
    *("iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "imatmul", "iand", "ior", "ixor", "ilshift", "irshift"),
    "setitem",
)
#: torch's own modules are one call each, also those without a rule, which are refused by their names
_OF_TORCH = {each for each in vars(nn).values() if isinstance(each, type) and issubclass(each, nn.Module)}
_OF_TORCH = (_OF_TORCH | {ParametrizationList}) - {nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict}
#: steps of the search for a large difference quotient, and how far it looks, per entry of the input
_STEPS, _LENGTHS = 3, (0.3, 1e-2)
#: rows of a batch that is longer than people count
_MANY = 9


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
        if callable(getattr(value, name)):
            return super().__getattr__(name)
        return self.tracer.create_proxy("call_function", getattr, (self, name), {})

    def __setattr__(self, name, value):
        if hasattr(torch.Tensor, name) and name not in _SETTABLE:
            raise TypeError(f"it sets the attribute {name!r} of a tensor, which may change its values")
        super().__setattr__(name, value)

    def __len__(self):
        return len(self.node.meta["value"])

    def __iter__(self):
        return (operator.getitem(self, i) for i in range(len(self)))


def _recorded(name: str) -> Callable:
    """An operator that works in place as a call: by itself, torch.fx would take ``h += x`` for ``h = h + x``."""
    target = getattr(operator, name)
    return lambda self, *args: self.tracer.create_proxy("call_function", target, (self, *args), {})


for _name in _IN_PLACE:
    setattr(_Value, f"__{_name}__", _recorded(_name))


class _Tracer(fx.Tracer):
    """Records calls and makes them; remembers what came out of one sub-module."""

    def __init__(self, example: torch.Tensor, output: str | None):
        super().__init__()
        self.example, self.wanted = example, output
        self.captured: list[Any] = []
        self.known: list[tuple[torch.Tensor, int]] = []

    def is_leaf_module(self, m, module_qualified_name):
        kind = type_before_parametrizations(m)  # a parametrised layer has a class of its own
        return kind in MODULES or kind in _OF_TORCH

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
        target: Any = node.target
        value: Any = None
        inputs = [tensor for each in node.all_input_nodes for tensor in tensors_in(each.meta["value"])]
        before = [(tensor.clone(), _layout(tensor)) for tensor in inputs]
        with torch.inference_mode(False), torch.no_grad():  # inference mode would keep no count of changes
            if node.op == "placeholder":
                value = self.example
            elif node.op == "get_attr":
                value = operator.attrgetter(target)(self.root)
                value = value.clone() if isinstance(value, torch.Tensor) else value  # as it is now
            else:
                if node.op == "call_module":
                    node.meta["module"] = _as_it_is(self.root.get_submodule(target))
                value = perform(node, lambda each: each.meta["value"])
        changed = [tensor for tensor, version in self.known if _version(tensor) != version]
        # what writes without being counted is seen where it changes the numbers
        changed += [tensor for tensor, (old, _) in zip(inputs, before, strict=True) if not _same_numbers(tensor, old)]
        node.meta["written"] = {span for tensor in changed for span in _memory(tensor)}
        node.meta["reshaped"] = any(_layout(tensor) != old for tensor, (_, old) in zip(inputs, before, strict=True))
        node.meta["value"] = value
        node.meta["memory"] = {span for tensor in tensors_in(value) for span in _memory(tensor)}
        tensors = [tensor for tensor, _ in self.known] if changed else []
        self.known = [(tensor, _version(tensor)) for tensor in tensors] if changed else self.known
        self.known += [(tensor, _version(tensor)) for tensor in tensors_in(value)]


def perform(node: fx.Node, value_of: Callable[[fx.Node], Any]) -> Any:
    """A recorded call once more, with these values of the nodes that it reads."""
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), value_of)
    if node.op == "call_module":
        return node.meta["module"](*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    if node.op == "output":
        return args[0]
    target: Any = node.target
    return target(*args, **kwargs)


# -- memory ------------------------------------------------------------------------------------------------------------


def tensors_in(value: Any) -> list[torch.Tensor]:
    """All tensors of a result, whatever holds them."""
    if isinstance(value, torch.Tensor):
        return [value]
    parts = list(value.values()) if isinstance(value, dict) else value
    return [tensor for part in parts for tensor in tensors_in(part)] if isinstance(parts, (tuple, list)) else []


def _memory(tensor: torch.Tensor) -> list[tuple[int, int]]:
    """Where the numbers of a tensor are, all of the storage that it is a view of: its first byte and its end."""
    if tensor.layout != torch.strided:
        return []
    storage = tensor.untyped_storage()
    return [(storage.data_ptr(), storage.data_ptr() + storage.nbytes())]


def overlap(some: set[tuple[int, int]], others: set[tuple[int, int]]) -> bool:
    """Whether parts of the memory are the same."""
    return any(a < d and c < b for (a, b), (c, d) in itertools.product(some, others))


def _layout(tensor: torch.Tensor) -> tuple:
    """How a tensor reads its memory."""
    if tensor.layout != torch.strided:
        return (tensor.shape,)
    return tensor.shape, tensor.stride(), tensor.storage_offset(), tensor.dtype, *_memory(tensor)


def _version(tensor: torch.Tensor) -> int:
    """How often torch knows that its memory was written."""
    return -1 if tensor.is_inference() else tensor._version


def _same_numbers(tensor: torch.Tensor, copy: torch.Tensor) -> bool:
    return tensor.dtype not in layers.FLOATS or torch.equal(tensor.nan_to_num(), copy.nan_to_num())


def _as_it_is(module: nn.Module) -> nn.Module:
    """A copy with the settings of now, which a forward may change between two calls; weights are shared."""
    twin = object.__new__(type(module))
    held = {name: copy.copy(value) if type(value) in (list, dict) else value for name, value in vars(module).items()}
    vars(twin).update(held)
    return twin


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
    n_rows : int
        Of the example.
    program : Program
        What the recorded calls run on the example.
    alone : bool
        Whether the rows of the example are embedded in the same way whatever stands beside them.
    otherwise : str or None
        How the encoder was seen to run otherwise than recorded.
    steepest : float
        The largest difference quotient found from the examples: no constant is smaller.
    """

    root: nn.Module
    nodes: list[fx.Node]
    latents: fx.Node
    moving: set[fx.Node]
    reached: set[fx.Node]
    before: set[fx.Node]
    n_rows: int
    program: Program
    alone: bool
    otherwise: str | None
    steepest: float

    def module(self, node: fx.Node) -> nn.Module:
        """The module of a call_module node, with the settings that it had then."""
        return node.meta["module"]

    def otherwise_on(self, rows: torch.Tensor) -> str | None:
        """How the encoder does to these rows, as many as they are, what was not recorded; None where it does the same."""
        with _restored(self.root):
            found = program_of(self.root, rows)
        reason = difference(self.program, self.n_rows, found, len(rows))
        return None if reason is None else f"of {len(rows)} rows {reason} of {self.n_rows}"

    def refuse_otherwise(self, reason: str) -> Uncertifiable:
        """The error for an encoder that runs otherwise than recorded."""
        return Uncertifiable(
            f"This encoder does what tracing it has not recorded: {reason}. Its forward must do the same to every batch, "
            "whatever its length, its numbers, torch's modes and what ran before: take out what asks for these, register its "
            "module with skcert.register_lipschitz, or pass lipschitz= a number you can vouch for."
        )

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
    hooks = nn.modules.module._global_forward_hooks, nn.modules.module._global_forward_pre_hooks
    if any(hooks):
        raise Uncertifiable(
            "torch has global forward hooks (torch.nn.modules.module.register_module_forward_hook or ..._pre_hook), which may "
            "change what any module computes. Remove them by their handle.remove(), or pass lipschitz= a number you can "
            "vouch for."
        )
    replaced = layers.replaced()
    if replaced:
        raise Uncertifiable(
            f"{', '.join(replaced)} of torch was replaced, so that torch's modules may do anything. Put back what was "
            "there, or pass lipschitz= a number you can vouch for."
        )
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
    if not same(value, expected):
        raise Uncertifiable("Tracing this encoder does not repeat what it does: is it random, or does it change as it runs?")
    # the first and the last row, beside others and among more of them
    alone = len(value) == n and len(first) == len(last) == n + 2 and same(value[:1], first[:1]) and same(value[-1:], last[-1:])
    steepest = 0.0
    if alone:
        n_looks = min(n, 2)
        with torch.inference_mode(False):
            away = others[:n_looks] - example[:n_looks]
            steepest = _steepest(lambda rows: _run_plainly(whole, owner, output, rows), example[:n_looks], away)
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
    program = program_of(lambda rows: _replayed(graph, rows), example)
    network = Network(whole, nodes, result, moving & needed, moving, before, n, program, alone, None, steepest)
    return replace(network, otherwise=_otherwise(network, torch.cat([example, others])))


def _otherwise(network: Network, rows: torch.Tensor) -> str | None:
    """How the encoder was seen to run otherwise than recorded, on batches of several lengths, again and again."""
    changed = _changing(network.root, rows[: network.n_rows])
    if changed is not None:
        return f"it changes {changed} whenever it runs"
    for n_rows in (network.n_rows, network.n_rows + 1, _MANY, 1):
        try:
            found = network.otherwise_on(rows[torch.arange(n_rows) % len(rows)])
        except Exception as error:  # of the user's own forward: anything
            if n_rows == 1:  # it loses the axis of the rows (squeeze), and embeds no single row
                continue
            return f"it cannot embed {n_rows} rows as it does {network.n_rows} ({error})"
        if found is not None:
            return found
    return None


def _changing(root: nn.Module, rows: torch.Tensor) -> str | None:
    """What a module changes in itself with every run, by its name; layers in training mode follow their input."""
    with _restored(root), torch.inference_mode():
        root(rows.clone())
        once = _state(root)
        root(rows.clone())
        twice = _state(root)
    return next((name.removeprefix("encoder.") for name, value in once.items() if twice.get(name, value) != value), None)


def _state(root: nn.Module) -> dict[str, Any]:
    """Numbers and tensors that modules hold, the latter by sums."""
    found: dict[str, Any] = {}
    for name, module in root.named_modules():
        held = {key: value for key, value in vars(module).items() if isinstance(value, (bool, int, float, str))}
        tensors = {**module._parameters, **module._buffers} if not module.training else {}
        sums = {key: _sums(value) for key, value in tensors.items() if value is not None}
        found |= {f"{name}.{key}": value for key, value in (held | sums).items()}
    return found


def _sums(tensor: torch.Tensor) -> tuple[float, ...]:
    numbers = tensor.detach().double().nan_to_num().flatten()
    return float(numbers.sum()), float(numbers.abs().sum()), float(numbers.square().sum())


def _replayed(graph: fx.Graph, rows: torch.Tensor) -> Any:
    """The recorded calls, made on other rows."""
    values: dict[fx.Node, Any] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            values[node] = rows
        elif node.op == "get_attr":
            values[node] = node.meta["value"]
        else:
            values[node] = perform(node, values.__getitem__)
    return values[graph.output_node()]


def same(value: torch.Tensor, other: torch.Tensor) -> bool:
    """Up to the rounding of float32."""
    if value.shape != other.shape:
        return False
    size = float(other.abs().max()) if other.numel() else 0.0
    return bool(torch.allclose(value, other, rtol=1e-3, atol=1e-4 * size, equal_nan=True))


def _steepest(embed: Callable, points: torch.Tensor, away: torch.Tensor) -> float:
    """The largest difference quotient found, less what rounding may have added: a lower bound of every Lipschitz constant.

    A few steps of the power method for the Jacobian: forwards by the differences of the latents, backwards by gradients. Only
    differences count. Where there are no gradients, the search ends after its first step, in the direction ``away``.
    """
    tiny = torch.finfo(points.dtype).eps
    way = torch.randn(points.shape, generator=torch.Generator().manual_seed(0), dtype=points.dtype).to(points.device)
    with torch.no_grad():  # what is left of a second difference so short is mostly rounding
        three = embed(torch.cat([points, points + 1e-3 * way, points - 1e-3 * way]))
    start, after, before = three.double().flatten(1).chunk(3)
    noise = 100 * tiny * start.norm(dim=1) + 4 * (after + before - 2 * start).norm(dim=1)

    def differences(moves: torch.Tensor) -> tuple[torch.Tensor, float]:
        rows = points + moves
        with torch.no_grad():
            change = embed(rows.clone()).double().flatten(1) - start
        lengths = (rows.double() - points.double()).flatten(1).norm(dim=1)
        quotients = (change.norm(dim=1) - noise).clamp(min=0) / lengths.clamp(min=tiny)
        return change, float(quotients.nan_to_num(nan=0.0).max())

    change, best = differences(away)
    try:
        with torch.enable_grad():
            leaf = points.clone().requires_grad_()
            latents = embed(leaf.clone()).flatten(1)
        for step in range(_STEPS):
            if step:
                (way,) = torch.autograd.grad(latents, leaf, change.to(latents.dtype), retain_graph=True)
            size = way.flatten(1).square().mean(dim=1).sqrt().clamp(min=1e-30).reshape(-1, *(1,) * (way.ndim - 1))
            for length in _LENGTHS:
                change, found = differences(length * way / size)
                best = max(best, found)
    except Exception:  # of the user's own forward, anything: it has no gradient, or works in place on what its gradient needs
        pass
    return best


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
