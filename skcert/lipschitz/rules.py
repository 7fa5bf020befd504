"""Which modules and functions have a Lipschitz constant: the registry, filled by :mod:`skcert.lipschitz.layers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Rule = Callable[..., float]

MODULES: dict[type, Rule] = {}
FUNCTIONS: dict[Any, Rule] = {}
#: types of modules that users have registered: they are not looked into
OWN: set[type] = set()


def register_lipschitz(what: Any, rule: Rule) -> None:
    """Teach skcert the Lipschitz constant of a torch module or function, for ``lipschitz="global"``.

    Parameters
    ----------
    what : type or callable
        A class of modules, exactly: subclasses have rules of their own. Or a function that ``torch.fx`` records as one call:
        one of torch, or one marked with ``torch.fx.wrap``.
    rule : callable
        ``rule(module, x)`` or ``rule(x, *args, **kwargs)`` with the arguments of the call, x a batch of two examples of the
        input. Returns a number c >= 0 with ``||f(x) - f(x')|| <= c ||x - x'||`` in l2 for all inputs of this shape, rows
        independent of each other. It is taken at its word.

    Raises
    ------
    TypeError
        ``what`` or ``rule`` cannot be called.

    Examples
    --------
    >>> import torch
    >>> from skcert import register_lipschitz
    >>> class MaxMin(torch.nn.Module):
    ...     def forward(self, x):
    ...         a, b = x.chunk(2, dim=1)
    ...         return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], dim=1)
    >>> register_lipschitz(MaxMin, lambda module, x: 1.0)
    """
    if not callable(what) or not callable(rule):
        raise TypeError(f"Expected a class of modules or a function, and a rule to call; got {what!r} and {rule!r}.")
    if isinstance(what, type):
        MODULES[what] = rule
        OWN.add(what)
    else:
        FUNCTIONS[what] = rule
