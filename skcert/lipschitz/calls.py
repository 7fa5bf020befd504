"""What a recorded call calls, decided by identity, and its arguments under the names that torch gives them.

A name proves nothing: functions of other packages and custom operators may be called ``relu``. Known are torch's functions,
those of ``torch.nn.functional``, the methods of ``torch.Tensor``, the operators ``torch.ops.aten`` and Python's operators, as
they were when this module was imported.
"""

from __future__ import annotations

import inspect
import operator
from functools import cache
from typing import Any

import torch
from torch import fx, nn

from skcert.perturbations import Uncertifiable

#: in place or not, Python's operators on tensors are torch's functions
_OPERATORS = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "truediv", "imatmul": "matmul"}
_OPERATORS |= {name: name for name in (*_OPERATORS.values(), "neg", "abs", "getitem", "setitem", "rsub")}
#: other names that torch takes for its arguments
_SYNONYMS = {"axis": "dim", "keepdims": "keepdim", "x": "input", "x1": "input", "self": "input", "tensors": "input"}
_SYNONYMS |= {"x2": "other", "mat2": "other", "train": "training"}
#: arguments that do not change the numbers, or whose effect is seen in the type of the result
_HARMLESS = {"inplace", "dtype", "memory_format", "momentum", "cudnn_enable", "cudnn_enabled", "_stacklevel"}
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _plain(name: str) -> str:
    """The name of a function without what says that it works in place; private functions keep theirs."""
    if name.startswith("__") and name.endswith("__"):
        return _OPERATORS.get(name[2:-2], name)
    return name if name.startswith("_") else name.rstrip("_")


def _functions_of_torch() -> dict[Any, str]:
    found: dict[Any, str] = {getattr(operator, name): plain for name, plain in _OPERATORS.items() if hasattr(operator, name)}
    tensor = {name: getattr(torch.Tensor, name) for name in dir(torch.Tensor)}
    named = [(name, each) for home in (vars(torch), vars(nn.functional), tensor) for name, each in home.items()]
    # of several names the one that torch itself says, and of those the shortest: torch.dsmm is torch.mm
    for name, each in sorted(named, key=lambda item: (getattr(item[1], "__name__", None) != item[0], len(item[0]))):
        if inspect.isroutine(each):
            found.setdefault(each, _plain(name))
    return found


_TORCH = _functions_of_torch()


def torch_name(node: fx.Node) -> str | None:
    """The name of a call of torch's own, in place or not, and None for all others."""
    target: Any = node.target
    if node.op == "call_method":
        return _TORCH.get(getattr(torch.Tensor, target, None)) if isinstance(_receiver(node), torch.Tensor) else None
    if node.op != "call_function":
        return None
    packet = getattr(target, "overloadpacket", target)
    if isinstance(packet, torch._ops.OpOverloadPacket):
        name = packet.__name__
        return _plain(name) if getattr(torch.ops.aten, name, None) is packet else None
    return _TORCH.get(target)


def _receiver(node: fx.Node) -> Any:
    first = node.args[0]
    return first.meta["value"] if isinstance(first, fx.Node) else first


def function_name(node: fx.Node) -> str:
    """The name of a function, method or operator for people, whoever wrote it; in place or not."""
    name = torch_name(node)
    if name is None:
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return name.strip("_")


def arguments(node: fx.Node) -> list[fx.Node]:
    """All calls whose results are arguments of this one, as often as they are."""
    found: list[fx.Node] = []
    fx.node.map_arg((node.args, node.kwargs), found.append)
    return found


def bound(node: fx.Node) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of a call of torch's own by their names, the first one's being ``input``, and torch's defaults of others.

    Raises
    ------
    Uncertifiable
        The arguments fit no signature of torch, or several in different ways.
    """
    name, target = torch_name(node), node.target
    if isinstance(target, str):
        target = getattr(torch.Tensor, target)
    kwargs = {_SYNONYMS.get(key, key): value for key, value in node.kwargs.items()}
    ways: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for parameters in _signatures(name, target):
        given = _given(parameters, node.args, kwargs)
        if given is None or any(given == other for other, _ in ways):
            continue
        empty = inspect.Parameter.empty
        ways.append((given, {key: each.default for key, each in parameters.items() if each.default is not empty}))
    if len(ways) != 1:
        fit = "several signatures" if ways else "no signature"
        raise Uncertifiable(f"its arguments {node.args} {node.kwargs} fit {fit} of torch's {name}()")
    return ways[0]


def _given(parameters: dict[str, inspect.Parameter], args: tuple, kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """The arguments by name, or None where they do not fit."""
    try:
        given = inspect.Signature(list(parameters.values())).bind(*args, **kwargs).arguments
    except TypeError:
        return None
    tensors = {key for key, value in given.items() if isinstance(_example(value), torch.Tensor)}
    kinds = {key: str(parameters[key].annotation) for key in given}
    fits = all(("Tensor" in kind) if key in tensors else (kind != "Tensor") for key, kind in kinds.items() if kind)
    return dict(given) if fits else None


def _example(value: Any) -> Any:
    return value.meta["value"] if isinstance(value, fx.Node) else value


@cache
def _signatures(name: str, target: Any) -> list[dict[str, inspect.Parameter]]:
    """Torch's parameters of one function, as often as it is overloaded; types are those of the operator's schema, or ''."""
    if target in (getattr(operator, each, None) for each in _OPERATORS):
        count = len(inspect.signature(target).parameters)
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return [{each: inspect.Parameter(each, kind, annotation="") for each in ("input", "other", "value")[:count]}]
    if inspect.isfunction(target):
        # the pools that may return positions hide their parameters, a function beside them shows them
        shown = inspect.signature(getattr(nn.functional, f"{name}_with_indices", target))
        return [_renamed([each.replace(annotation="") for each in shown.parameters.values()])]
    if isinstance(target, torch._ops.OpOverload):
        schemas = [target._schema]
    else:
        packet = getattr(torch.ops.aten, name, None)
        schemas = [] if packet is None else [getattr(packet, each)._schema for each in packet.overloads()]
    return [_renamed(_of_schema(schema)) for schema in schemas if "Tensor" in str(schema.arguments[0].type)]


def _of_schema(schema: Any) -> list[inspect.Parameter]:
    parameters = []
    for each in schema.arguments:
        kind = inspect.Parameter.KEYWORD_ONLY if each.kwarg_only else inspect.Parameter.POSITIONAL_OR_KEYWORD
        default = each.default_value if each.has_default_value() else inspect.Parameter.empty
        parameters.append(inspect.Parameter(each.name, kind, default=default, annotation=str(each.type)))
    return parameters


def _renamed(parameters: list[inspect.Parameter]) -> dict[str, inspect.Parameter]:
    """By the names that rules use; the first is the input, whatever torch calls it."""
    names = [_SYNONYMS.get(each.name, each.name) for each in parameters]
    names[0] = "input"
    return {name: each.replace(name=name) for name, each in zip(names, parameters, strict=True)}


def applied(rule: Any, node: fx.Node) -> float:
    """What the rule of a function of torch returns for the arguments of a call.

    Rules whose first parameters end in ``*args`` hold for all arguments and get them as they stand; others get them by name,
    and what they do not name is refused unless it is torch's default.
    """

    def known(value: Any) -> Any:
        return fx.node.map_arg(value, _example)

    parameters = inspect.signature(rule).parameters
    kinds = {each.kind for each in parameters.values()}
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return rule(*known(node.args), **known(node.kwargs))
    given, defaults = bound(node)
    x = known(given.pop("input"))
    if inspect.Parameter.VAR_KEYWORD in kinds:
        return rule(x, **known(given))
    settings = {key: known(value) for key, value in (defaults | given).items()}
    for key, value in given.items():
        if key not in parameters and key not in _HARMLESS and not (key in defaults and defaults[key] == value):
            raise Uncertifiable(f"its argument {key}={value} is not understood")
    return rule(x, **{key: value for key, value in settings.items() if key in parameters})
