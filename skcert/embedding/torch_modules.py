"""Torch modules: found without importing torch, run in eval mode, put back as they were; arrays on their way to them."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np

__all__ = ["as_own_tensor", "capturing", "evaluating", "running_device", "sent", "torch_module"]

# -----------------------------------------------------------------------------
# Modules and where they run


def torch_module(encoder):
    """The torch module behind an encoder or behind its bound method (`model.forward_features`), or None."""
    torch = sys.modules.get("torch")  # a module exists only if its owner has imported torch
    if torch is None:
        return None
    owner = getattr(encoder, "__self__", encoder)
    return owner if isinstance(owner, torch.nn.Module) else None


def pick_device(device, homes):
    """The device to run on, given the set of devices where the module's tensors are."""
    import torch

    if len(homes) > 1:
        if device != "auto":
            names = ", ".join(sorted(map(str, homes)))
            raise ValueError(f"encoder is spread over {names}; leave device='auto' to run it where it is.")
        return None
    if device == "auto":
        home = next(iter(homes), torch.device("cpu"))
        if home.type != "cpu" or not torch.cuda.is_available():
            return home
        device = "cuda"
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be 'auto' or a torch device such as 'cpu' or 'cuda:0'; got {device!r}.") from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"device={str(device)!r}, but torch finds no CUDA device; use 'auto' or 'cpu'.")
        if device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
    return device


def running_device(module, device):
    """The device that the input of a module is sent to."""
    tensors = _tensors(module)
    target = pick_device(device, {tensor.device for tensor in tensors})
    return target if target is not None else tensors[0].device


def _tensors(module) -> list:
    return list(chain(module.parameters(), module.buffers()))


@contextmanager
def evaluating(module, device) -> Iterator[Any]:
    """Eval mode, inference mode and the device, for the time of the block; yields the device of the input."""
    if module is None:
        yield None
        return
    import torch

    flags = [(part, part.training) for part in module.modules()]
    target = running_device(module, device)
    homes = {tensor.device for tensor in _tensors(module)}
    move = len(homes) == 1 and homes != {target}
    try:
        module.eval()
        if move:  # outside inference mode, which would turn the moved weights into untrainable tensors
            module.to(target)
        with torch.inference_mode():
            yield target
    finally:
        if move:
            module.to(homes.pop())
        for part, training in flags:  # one by one: module.train() would wake frozen parts
            part.training = training


@contextmanager
def capturing(module, output) -> Iterator[list]:
    """The list to which every pass through the sub-module `output` appends what came out of it."""
    captured: list = []
    if output is None:
        yield captured
        return
    parts = dict(module.named_modules(remove_duplicate=False))  # a layer used twice has two names
    if output not in parts:
        near = difflib.get_close_matches(output, parts, n=5, cutoff=0.4) or [name for name in parts if name][-5:]
        raise ValueError(
            f"encoder has no sub-module {output!r}; near names: {', '.join(map(repr, near))}. "
            "`dict(encoder.named_modules())` lists all of them."
        )

    def keep(part, args, value):
        # A copy: the next layer may work in place (ReLU(inplace=True)) on the very same tensor.
        captured.append(value.clone() if hasattr(value, "clone") else value)

    handle = parts[output].register_forward_hook(keep)
    try:
        yield captured
    finally:
        handle.remove()


# -----------------------------------------------------------------------------
# Arrays on their way to the device


def sent(tensor, device, dtype):
    """A tensor on the device, contiguous and of the type; itself if it is all that already.

    It moves as it is and changes type and layout there: bytes are a quarter of the traffic. From pinned memory it moves while
    the device still works on the batch before.
    """
    import torch

    from_cpu_to_cuda = device.type == "cuda" and tensor.device.type == "cpu"
    if from_cpu_to_cuda:
        tensor = tensor.pin_memory()
    tensor = tensor.to(device, non_blocking=from_cpu_to_cuda)
    # `to` alone leaves transposed matrices as they are, `contiguous` alone would need a second copy after a change of type
    return tensor.to(dtype, memory_format=torch.contiguous_format).contiguous()


def as_own_tensor(array: np.ndarray, device, dtype):
    """An array as a tensor on the device that shares no memory with it, so that work in place does not reach X.

    It is copied for that only if neither the way to the device nor the change of type has copied it already.
    """
    import torch

    viewable = array.flags.writeable and array.dtype.isnative and min(array.strides, default=0) >= 0
    source = array if viewable else np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    viewed = torch.from_numpy(source)
    tensor = sent(viewed, device, dtype)
    return tensor.clone() if viewable and tensor.data_ptr() == viewed.data_ptr() else tensor
