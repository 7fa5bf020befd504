"""All batches: as many rows at a time as fit, gathered into one array or tensor."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from skcert._progress import bar
from skcert.embedding.batches import batch_reader, encoder_call, input_type, is_out_of_memory, prepare
from skcert.embedding.images import Images
from skcert.embedding.latents import as_latents, check_finite, room_for
from skcert.embedding.precision import computing_in
from skcert.embedding.torch_modules import capturing, evaluating, torch_module

__all__ = ["embed", "first_batch_size", "ready"]

_AUTO_ROWS = 256  # first batch of batch_size="auto", cut where its float32 input is larger than
# - on a CPU, what keeps layers near the caches: 2 to 4 times faster than large batches (and memory ends there
#   with a killed process, not with an exception to halve on);
# - None, for encoders whose device is their own business, a middle way.
_AUTO_BYTES = {"cpu": 2**22, None: 2**25}


@contextmanager
def ready(encoder, *, device, output, precision, preprocess) -> Iterator[tuple[Any, Callable[[Any], Any]]]:
    """The device of a torch encoder, and a function from tensors there to latents there, for the time of the block."""
    module = torch_module(encoder)
    with (
        evaluating(module, device) as where,
        computing_in(precision, where),
        capturing(module, output) as captured,
    ):
        call, dtype = encoder_call(encoder, module, False, output, captured), input_type(module)

        def run(batch):
            prepared = prepare(batch.to(dtype), preprocess, module, where, dtype)
            return as_latents(call(prepared), len(batch))

        yield where, run


def embed(rows: Any, encoder, *, batch_size, device, output, precision, preprocess, input_shape, progress, stays: bool) -> Any:
    """float32 latents of checked rows (an array, a list of texts or images), as an array or as a tensor where they arose.

    `stays` says that they are wanted there and not elsewhere.
    """
    module = torch_module(encoder)
    with (
        evaluating(module, device) as where,
        computing_in(precision, where),
        capturing(module, output) as captured,
    ):
        call = encoder_call(encoder, module, isinstance(rows, list), output, captured)
        read = batch_reader(rows, module, where, preprocess, input_shape)
        size = first_batch_size(batch_size, rows, where, read)
        return _run_in_batches(lambda start, stop: call(read(start, stop)), len(rows), size, progress, stays)


def first_batch_size(batch_size, rows, device, read) -> int:
    """batch_size, or what 'auto' starts with; never more than there are rows."""
    size = batch_size
    if batch_size == "auto":
        size = _AUTO_ROWS
        limit = _AUTO_BYTES.get(None if device is None else device.type)
        if limit is not None:
            size = min(size, max(1, limit // (4 * max(1, _values_per_row(rows, read)))))
    return min(int(size), len(rows))


def _values_per_row(rows, read) -> int:
    """How many numbers a row has; 1 where it is no array."""
    if isinstance(rows, Images):
        return math.prod(getattr(read(0, 1), "shape", ()))  # the size of a file's image is known once it is prepared
    return math.prod(rows.shape[1:]) if hasattr(rows, "shape") else 1


def _run_in_batches(run: Callable[[int, int], Any], n_rows: int, size: int, progress: bool, stays: bool) -> Any:
    """run(start, stop) in batches of `size`, which is halved for good whenever memory runs out."""
    latents: Any = None
    start = 0
    with bar(n_rows, "embedding", "row", progress) as done:
        while start < n_rows:
            stop = min(start + size, n_rows)
            try:
                part = as_latents(run(start, stop), stop - start)
            except Exception as error:  # CUDA, torch and NumPy each have their own; what is not about memory goes on
                if not is_out_of_memory(error):
                    raise
                if stop - start == 1:
                    error.add_note(
                        f"Row {start} of X alone needs more memory than there is: use a smaller encoder or "
                        "smaller inputs (preprocess=), or device='cpu'."
                    )
                    raise
                size, part = (stop - start) // 2, None
            if part is None:  # out here the failed batch's tensors, held by the traceback, are free
                _free_cached_memory()
                continue
            if latents is None:
                latents = room_for(n_rows, part, stays)
            elif part.shape[1] != latents.shape[1]:
                raise ValueError(
                    f"the encoder returned {part.shape[1]} features for rows {start} to {stop - 1} of X, but "
                    f"{latents.shape[1]} before; it must pool whatever depends on the size of the input."
                )
            latents[start:stop] = part
            start = stop
            done.update(len(part))
    check_finite(latents)
    return latents


def _free_cached_memory() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
