"""One batch: from rows of X to the encoder's raw output."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from skcert.embedding.images import Images, image_reader
from skcert.embedding.torch_modules import as_own_tensor, sent

__all__ = ["batch_reader", "encoder_call", "input_type", "is_out_of_memory", "prepare"]

# What allocators say in a plain RuntimeError (torch on a CPU, XLA, older CUDA).
_OUT_OF_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory")
# What torch and its models say of a batch that has another shape than they expect.
_SHAPE_WORDS = ("shape", "size", "dim", "input", "channel", "height", "width", "unpack")


def batch_reader(rows, module, device, preprocess, input_shape) -> Callable[[int, int], Any]:
    """The function that takes (start, stop) to what the encoder is called with for these rows of X."""
    dtype = None if module is None else input_type(module)
    if isinstance(rows, Images):
        return _image_batches(image_reader(rows, preprocess, input_shape, for_torch=module is not None), device, dtype)

    def read(start, stop):
        if isinstance(rows, list):
            return rows[start:stop]
        if module is None:
            return np.array(rows[start:stop])  # a copy: preprocess and encoder may work in place
        return as_own_tensor(rows[start:stop], device, dtype)

    return lambda start, stop: prepare(read(start, stop), preprocess, module, device, dtype)


def prepare(batch: Any, preprocess: Callable | None, module: Any, device: Any, dtype: Any) -> Any:
    """A batch as `preprocess` makes it, on the device of a torch module."""
    if preprocess is None:
        return batch
    batch = preprocess(batch)
    if module is not None and isinstance(batch, np.ndarray):
        return as_own_tensor(batch, device, dtype)
    return batch.to(device) if module is not None and hasattr(batch, "to") else batch


def _image_batches(read, device, dtype) -> Callable[[int, int], Any]:
    """Stacks of images, on the device if there is one."""
    if device is None:
        return read
    import torch

    return lambda start, stop: sent(torch.as_tensor(read(start, stop)), device, dtype)


def input_type(module):
    """The type of the module's weights."""
    import torch

    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception says that memory has run out."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(w in str(error).lower() for w in _OUT_OF_MEMORY_WORDS)


def encoder_call(encoder, module, texts: bool, output, captured: list) -> Callable[[Any], Any]:
    """The function that takes a batch to the encoder's raw output, or to that of its sub-module `output`.

    Texts go to `encode` where there is one. Arrays and images go to the module itself even if it has an `encode`.
    """
    by_encode = callable(getattr(encoder, "encode", None)) and (texts or module is None)
    if by_encode and output is not None:
        # `encode` may sort and split the texts: a hook would see them in another order.
        raise ValueError("output= cannot be used with `encode`; pass a callable that returns that layer's values.")
    if by_encode:
        return encoder.encode
    if not callable(encoder):
        raise TypeError(f"encoder of type {type(encoder).__name__} is not callable on a batch.")

    def call(batch):
        result = encoder(batch) if module is None else _through(encoder, batch)
        return result if output is None else _only(captured, output)

    return call


def _through(encoder, batch) -> Any:
    """What a torch encoder makes of a batch, or in words that it cannot take texts or rows of this shape."""
    try:  # what a tokenizer returns holds the module's arguments by name
        return encoder(**batch) if isinstance(batch, Mapping) else encoder(batch)
    except TypeError as reason:
        if not isinstance(batch, list):
            raise
        raise TypeError(
            f"X holds texts, of which the encoder {type(encoder).__name__} was given a list and failed: if it takes tensors, "
            f"make them by preprocess=, a tokenizer. It said: {str(reason).splitlines()[0]}"
        ) from reason
    except (RuntimeError, ValueError, IndexError, AssertionError) as reason:
        of_shape = hasattr(batch, "shape") and any(word in str(reason).lower() for word in _SHAPE_WORDS)
        if not of_shape or is_out_of_memory(reason):
            raise
        shape = tuple(batch.shape)
        raise ValueError(
            f"the encoder {type(encoder).__name__} failed on a batch of shape {shape}, rows of {shape[1:]}: if it expects "
            "other rows, pass their shape as input_shape=, such as (3, 224, 224), which flat rows then take, or convert "
            f"batches by preprocess=. It said: {str(reason).splitlines()[0]}"
        ) from reason


def _only(captured: list, output: str):
    """What one pass has captured, taken out of the list."""
    values = captured.copy()
    captured.clear()
    if len(values) != 1:
        raise ValueError(
            f"sub-module {output!r} was used {len(values)} times in one pass, not once; pick another layer "
            "or pass a callable that returns its values."
        )
    return values[0]
