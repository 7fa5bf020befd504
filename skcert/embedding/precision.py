"""In which precision a torch module computes: float32 in full, unless less is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

__all__ = ["PRECISIONS", "computing_in"]

PRECISIONS = ("full", "tf32", "bfloat16", "float16")


@contextmanager
def computing_in(precision: str, device) -> Iterator[None]:
    """The precision of a torch module on the device, for the time of the block; nothing for device None.

    One more than users choose from: "double", float64 whatever the type of the weights.
    """
    if device is None:
        yield
        return
    import torch

    if precision == "float16" and device.type == "cpu":
        raise ValueError("precision='float16' needs a CUDA device, but encoder runs on the CPU; use 'bfloat16' or 'full'.")
    with ExitStack() as stack:
        stack.enter_context(_tf32(precision == "tf32"))
        if precision in ("bfloat16", "float16"):
            stack.enter_context(torch.autocast(device.type, dtype=getattr(torch, precision)))
        if precision == "double":
            stack.enter_context(_all_in_double())
        yield


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    """TF32 in products and convolutions or not, for the time of the block.

    cuDNN's convolutions use it unless told otherwise, and keep 10 of the 23 bits behind the point. The flags are those of the
    whole process. torch 2.9 renamed them and refuses to read the old names where the two disagree, so both are set.
    """
    import torch

    backends = torch.backends
    kernels = [(backends.cuda, ("matmul",)), (backends.cudnn, ("conv", "rnn")), (backends.mkldnn, ("matmul", "conv", "rnn"))]
    parts: list[Any] = [getattr(backend, name, None) for backend, names in kernels for name in names]
    new = [(part, part.fp32_precision) for part in parts if hasattr(part, "fp32_precision")]
    matmul_before = _readable(torch.get_float32_matmul_precision)
    cudnn_before = _readable(lambda: backends.cudnn.allow_tf32)
    try:
        torch.set_float32_matmul_precision("high" if allowed else "highest")
        backends.cudnn.allow_tf32 = allowed
        for part, _ in new:
            part.fp32_precision = "tf32" if allowed else "ieee"
        yield
    finally:
        if matmul_before is not None:
            torch.set_float32_matmul_precision(matmul_before)
        if cudnn_before is not None:
            backends.cudnn.allow_tf32 = cudnn_before
        for part, value in new:
            part.fp32_precision = value


def _readable(flag):
    """A flag by its old name; None where its owner has set it by the new one, which then tells all."""
    try:
        return flag()
    except RuntimeError:
        return None


def _all_in_double():
    """Every call of torch in float64: weights, constants and changes of type, in `preprocess` too."""
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._pytree import tree_map

    narrowing = (torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16)

    def doubled(value):
        if isinstance(value, torch.Tensor):
            return value.double() if value.is_floating_point() else value
        return torch.float64 if isinstance(value, torch.dtype) and value.is_floating_point else value

    class InDouble(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            args, kwargs = tree_map(doubled, (args, kwargs or {}))
            func = torch.Tensor.double if func in narrowing else func
            return tree_map(doubled, func(*args, **kwargs))  # what is made anew has the default type

    return InDouble()
