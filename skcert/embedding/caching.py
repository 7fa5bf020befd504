"""Latents on disk, found again by what they depend on: the encoder's weights and source, the options and X."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import joblib
from numpy.typing import NDArray

from skcert.embedding.images import Images
from skcert.embedding.torch_modules import torch_module

__all__ = ["load_or_compute"]


def load_or_compute(memory, rows: Any, encoder, preprocess, options: tuple, compute: Callable[[], NDArray]) -> NDArray:
    """What `compute` returns, or has returned for the same rows, encoder, preprocess and options."""
    memory = memory if hasattr(memory, "cache") else joblib.Memory(memory, verbose=0)
    key_of_rows = rows.cache_key() if isinstance(rows, Images) else rows
    key = joblib.hash((fingerprint(encoder), fingerprint(preprocess), options, key_of_rows))
    return memory.cache(_stored_latents, ignore=["compute"])(key, compute)


def _stored_latents(key, compute):
    """What the cache wraps: `key` is all it sees, so neither X nor the weights are written to disk."""
    return compute()


def fingerprint(thing):
    """A hash of a callable that follows its weights, its structure and its own source, not its identity."""
    if thing is None:
        return None
    named = thing if inspect.isroutine(thing) else type(thing)
    try:
        source = inspect.getsource(named)  # a function edited in a notebook keeps its name
    except (OSError, TypeError):
        source = ""
    module = torch_module(thing)
    if module is not None:
        # Non-persistent buffers are missing from state_dict, but the output depends on them.
        state = {**module.state_dict(), **dict(module.named_buffers())}
        content = repr(module), {name: _tensor_bytes(value) for name, value in state.items()}
    else:
        content = thing
    try:
        return joblib.hash((named.__qualname__ if hasattr(named, "__qualname__") else "", source, content))
    except Exception as error:  # pickle raises PicklingError, AttributeError or TypeError
        raise ValueError(
            f"memory= needs an encoder and a preprocess that can be pickled, {thing!r} cannot ({error}); define "
            "it at the top of a module instead of as a lambda or inside a function, or leave memory=None."
        ) from error


def _tensor_bytes(value):
    torch = sys.modules["torch"]
    if not isinstance(value, torch.Tensor):
        return value
    flat = value.detach().cpu().contiguous().reshape(-1)
    return str(value.dtype), tuple(value.shape), flat.view(torch.uint8).numpy()  # bytes: NumPy has no bfloat16
