"""Whether every call lets the rows of a batch alone (theory 2.3).

A comparison of latents does not show it: what other rows do may be silent at the examples. Single calls have nowhere to hide
it. Each is made on random numbers, then again with all rows but one replaced by others a thousand times as large, and what it
makes of that row must stay. Rows are the first axis or, where it is k times as long as the batch, k neighbours there each.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from skcert.lipschitz.network import Network, perform, same, tensors_in
from skcert.perturbations import Uncertifiable

#: how much larger the other rows become: a maximum, a norm or a sum cannot overlook them
_LARGER = 1e3


def check_rows(network: Network, node: fx.Node) -> None:
    """Every row of what a call makes must come from that row alone, of each tensor that it reads.

    Raises
    ------
    Uncertifiable
        A row depends on others, or the result has no rows any more.
    """
    n = network.n_rows
    read = {each: _random(each.meta["value"]) for each in network.inputs(node)}
    before = _made(node, read)
    if any(tensor.ndim == 0 or len(tensor) % n for tensor in before):
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in before)
        raise Uncertifiable(
            f"it does not keep each row by itself: of {n} rows it makes the shape {shapes}, expected {n}, or a multiple, as "
            "its first size. Let the first axis be that of the rows and work on the others"
        )
    for row in {0, n // 2, n - 1}:
        changed = {each: _with_others(value, row, n) for each, value in read.items()}
        for tensor, other in zip(before, _made(node, changed), strict=True):
            if not same(_row(other, row, n), _row(tensor, row, n)):
                raise Uncertifiable(
                    "it does not keep each row by itself: what it makes of one depends on the rows beside it. Let it work on "
                    "the axes after the first"
                )


def _made(node: fx.Node, read: dict[fx.Node, Any]) -> list[torch.Tensor]:
    """What the call makes of copies of these numbers, for it may work in place."""
    with torch.no_grad():
        return tensors_in(perform(node, lambda each: _copied(read[each]) if each in read else each.meta["value"]))


def _copied(value: Any) -> Any:
    return _each(torch.clone, value)


def _random(value: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    return _each(lambda t: torch.randn(t.shape, generator=generator, dtype=t.dtype).to(t.device), value)


def _with_others(value: Any, row: int, n: int) -> Any:
    """The same row, and larger numbers in the others."""

    def replaced(tensor: torch.Tensor) -> torch.Tensor:
        others = -_LARGER * tensor.roll(1) + _LARGER
        _row(others, row, n).copy_(_row(tensor, row, n))
        return others

    return _each(replaced, value)


def _row(tensor: torch.Tensor, row: int, n: int) -> torch.Tensor:
    k = len(tensor) // n
    return tensor[row * k : (row + 1) * k]


def _each(function: Any, value: Any) -> Any:
    """All tensors of a result, in what holds them."""
    return torch.utils._pytree.tree_map_only(torch.Tensor, function, value)
