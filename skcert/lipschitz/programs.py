"""What runs, operator by operator, beneath everything that Python can replace, wrap or ask about (theory 2.3).

A recording is made with stand-ins for tensors, and a module may behave otherwise with real ones: it can look at types, catch
the error that a stand-in raises, enter modes of its own, or ask how long the batch is. So the recorded calls and the module
itself are also run on real rows, while torch's dispatcher tells which operators get numbers that depend on these rows, and what
else they get. Two such programs are compared: operators, places of numbers, sizes, settings and constants.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary


@dataclass(frozen=True)
class _Moving:
    """A tensor that depends on the rows: the how-manieth of its program, and its shape."""

    place: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """One operator that got something that depends on the rows.

    Attributes
    ----------
    operator : torch._ops.OpOverload
    arguments : list of (str, object)
        Their types, as torch names them, and values.
    results : list of _Moving
    """

    operator: Any
    arguments: list[tuple[str, Any]]
    results: list[_Moving]


@dataclass(frozen=True)
class Program:
    """All steps in their order, and the places of the tensors that what is returned was made of."""

    steps: list[Step]
    needed: set[int]


class _Writer(TorchDispatchMode):
    """Writes down what runs."""

    def __init__(self, rows: torch.Tensor):
        super().__init__()
        self.steps: list[Step] = []
        self._places = WeakTensorKeyDictionary()
        self._count = 0
        self._mark(rows)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not needed, for nothing is compiled here: torch would import its compiler, which takes seconds."""
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if not any(isinstance(each, torch.Tensor) and each in self._places for each in tree_leaves((args, kwargs))):
            return func(*args, **kwargs)
        schema = func._schema.arguments
        given = [*zip(schema, args), *((each, kwargs[each.name]) for each in schema[len(args) :] if each.name in kwargs)]  # noqa: B905  # defaults are left out
        arguments = [(str(each.type), self._described(value)) for each, value in given]
        result = func(*args, **kwargs)
        written = [value for each, value in given if each.alias_info is not None and each.alias_info.is_write]
        tensors = [each for each in tree_leaves((result, written)) if isinstance(each, torch.Tensor)]
        self.steps.append(Step(func, arguments, [self._mark(each) for each in tensors]))
        return result

    def _mark(self, tensor: torch.Tensor) -> _Moving:
        if tensor not in self._places:
            self._places[tensor] = self._count
            self._count += 1
        return _Moving(self._places[tensor], tuple(tensor.shape))

    def _described(self, value: Any) -> Any:
        def described(tensor: torch.Tensor) -> Any:
            if tensor in self._places:
                return self._mark(tensor)
            return tensor.clone() if tensor.is_inference() else tensor  # what was made on the way may be written later

        return tree_map_only(torch.Tensor, described, value)

    def program(self, returned: Any) -> Program:
        """What was written, and what of it the returned tensors need."""
        needed = {
            self._places[each] for each in tree_leaves(returned) if isinstance(each, torch.Tensor) and each in self._places
        }
        for step in reversed(self.steps):
            if any(result.place in needed for result in step.results):
                needed |= {each.place for each in tree_leaves(step.arguments) if isinstance(each, _Moving)}
        return Program(self.steps, needed)


def program_of(function: Callable[[torch.Tensor], Any], rows: torch.Tensor) -> Program:
    """What a function runs on rows that it gets as an encoder does."""
    with torch.inference_mode():
        batch = rows.clone()
        with _Writer(batch) as writer:
            returned = function(batch)
        return writer.program(returned)


def difference(program: Program, n: int, other: Program, m: int) -> str | None:
    """How the second program, of m rows, is not the first, of n rows; None where it is."""
    for ours, theirs in itertools.zip_longest(program.steps, other.steps):
        if ours is None or theirs is None or ours.operator is not theirs.operator:
            names = ("nothing more" if each is None else _name(each) for each in (theirs, ours))
            return "it runs {} where it was recorded with {}".format(*names)
        sizes = _Sizes(n, m, program.needed)
        kinds, values = zip(*ours.arguments, strict=True)
        other_kinds, other_values = zip(*theirs.arguments, strict=True)
        if kinds != other_kinds or not all(map(sizes.alike, kinds, values, other_values)):
            return f"the arguments of its {_name(ours)} are others than were recorded"
        if not sizes.alike("", ours.results, theirs.results):
            return f"its {_name(ours)} makes other shapes than were recorded"
    return None


def _name(step: Step) -> str:
    return str(step.operator).removeprefix("aten.").split(".")[0]


@dataclass(frozen=True)
class _Sizes:
    """What may differ between runs of n and of m rows: sizes, by their quotient.

    The first of what the latents are made of must: it is that of the rows, however many they are. Of one row alone sizes say
    nothing, for axes of length one may be taken away.
    """

    n: int
    m: int
    needed: set[int]

    def alike(self, kind: str, one: Any, other: Any) -> bool:
        """Whether two arguments of this type are one."""
        if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
            pairs = itertools.zip_longest(one, other, fillvalue=self)
            return self.m == 1 and "int" in kind or all(self.alike(kind, *pair) for pair in pairs)
        if isinstance(one, _Moving) and isinstance(other, _Moving):
            shapes = one.shape, other.shape
            alike = self._scaled(*shapes) if one.place in self.needed else self.alike("int", *shapes)
            return one.place == other.place and (self.m == 1 or alike)
        if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
            return self._constant(one, other)
        if type(one) is int and type(other) is int and "int" in kind:
            return self.m == 1 or one == other or one * self.m == other * self.n
        return type(one) is type(other) and (one == other or one != one and other != other)

    def _scaled(self, one: tuple[int, ...], other: tuple[int, ...]) -> bool:
        if self.n == self.m or not one or not other:
            return one == other and self.n == self.m
        return one[0] * self.m == other[0] * self.n and one[1:] == other[1:]

    def _constant(self, one: torch.Tensor, other: torch.Tensor) -> bool:
        """The same numbers; made for every row of a batch, the same for every row."""
        if one is other:
            return True
        if one.dtype != other.dtype or one.device != other.device:
            return False
        if one.shape != other.shape:
            if not self._scaled(tuple(one.shape), tuple(other.shape)):
                return False
            one = one[:1].expand_as(other)
        if one.is_floating_point():
            one, other = one.nan_to_num(), other.nan_to_num()
        return torch.equal(one, other)
