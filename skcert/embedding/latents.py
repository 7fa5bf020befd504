"""The encoder's raw output as latents: checked, gathered on its own device, and handed over where they are wanted."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skcert.embedding.torch_modules import as_own_tensor

__all__ = ["as_latents", "as_numpy", "check_finite", "check_output_device", "handed_over", "room_for", "stays_on_device"]


# The values of output_device that leave the latents on the encoder's own device; all others but "numpy" name a torch device.
_WHERE_IT_RAN = ("torch", "cupy")


def _is_tensor(values) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(values, torch.Tensor)


def as_latents(result, n_rows: int) -> Any:
    """The encoder's raw output as a float32 array or tensor (n_rows, d) where it is; further axes are flattened."""
    if not _is_tensor(result):
        if not hasattr(result, "__array__"):
            raise TypeError(
                f"the encoder returned a {type(result).__name__}, not one array or tensor; pick a layer of a torch "
                "module with output=, or pass a callable that returns the array, such as lambda batch: model(batch)[0]."
            )
        result = np.asarray(result)
    if result.is_complex() if _is_tensor(result) else result.dtype.kind not in "fiub":
        raise TypeError(f"the encoder returned values of type {result.dtype}; real numbers are expected.")
    shape = tuple(result.shape)
    if not shape or shape[0] != n_rows:
        raise ValueError(
            f"the encoder returned an array of shape {shape} for a batch of {n_rows} row(s); its first axis must have length "
            f"{n_rows}."
        )
    if math.prod(shape) == 0:
        raise ValueError(f"the encoder returned an array of shape {shape}: no features.")
    if _is_tensor(result):
        return result.detach().reshape(n_rows, -1).float()
    with np.errstate(over="ignore"):  # what does not fit into float32 becomes infinite and is reported at the end
        return np.asarray(result.reshape(n_rows, -1), dtype=np.float32)


def room_for(n_rows: int, part, stays: bool) -> Any:
    """Room for the latents of all rows where those of the first batch are, or in main memory."""
    shape = (n_rows, part.shape[1])
    if not _is_tensor(part):
        return np.empty(shape, dtype=np.float32)
    import torch

    device = _gathering_device(part.device, 4 * math.prod(shape), stays)
    return torch.empty(shape, dtype=torch.float32, device=device)


def _gathering_device(device, n_bytes: int, stays: bool):
    """The GPU, so that no batch has to wait for a copy, unless latents that leave it anyway would crowd the encoder out."""
    import torch

    if device.type == "cuda" and not stays and n_bytes > torch.cuda.mem_get_info(device)[0] // 4:
        return torch.device("cpu")
    return device


def check_finite(latents) -> None:
    """One look at all latents: one wait for a GPU, and one error that names all bad rows."""
    finite = (np if isinstance(latents, np.ndarray) else sys.modules["torch"]).isfinite(latents).all(1)
    if finite.all():
        return
    bad = np.flatnonzero(~as_numpy(finite))
    shown = ", ".join(map(str, bad[:5])) + (", ..." if bad.size > 5 else "")
    raise ValueError(
        f"the encoder's output is NaN, infinite or too large for float32 in {bad.size} of {len(latents)} rows "
        f"(rows of X: {shown}); check preprocess and the scale of X."
    )


def as_numpy(latents) -> NDArray:
    return latents.cpu().numpy() if _is_tensor(latents) else latents


# -----------------------------------------------------------------------------
# Where the latents go


def check_output_device(output_device, ran_on) -> None:
    """An error if latents cannot be handed over there; `ran_on` is the encoder's device, None where it is not known."""
    name = str(output_device)
    if name == "numpy":
        return
    try:
        import torch
    except ImportError as error:
        raise ImportError(f"output_device={name!r} needs torch: pip install skcert[torch]") from error
    if name == "cupy":
        _check_cupy(ran_on)
    if name in _WHERE_IT_RAN:
        return
    try:
        device = torch.device(output_device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            "output_device must be 'numpy', 'torch', 'cupy' or a torch device such as 'cpu' or 'cuda:0'; "
            f"got {output_device!r}."
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"output_device={str(device)!r}, but torch finds no CUDA device; use 'numpy', 'torch' or 'cpu'.")


def _check_cupy(ran_on) -> None:
    if ran_on is not None and ran_on.type != "cuda":
        raise ValueError(
            f"output_device='cupy' needs an encoder that runs on a CUDA device, but it runs on {str(ran_on)!r}; pass "
            "device='cuda', or take output_device='numpy' or 'torch'."
        )
    try:
        import cupy  # noqa: F401  (is it there?)
    except ImportError as error:
        raise ImportError("output_device='cupy' needs CuPy: pip install skcert[cuda12] or skcert[cuda13]") from error


def stays_on_device(output_device) -> bool:
    return str(output_device) not in ("numpy", "cpu")


def handed_over(latents, output_device, ran_on) -> Any:
    """float32 latents, widened to float64, where `output_device` says.

    Tensors are where the encoder ran; for arrays, as the cache keeps them, `ran_on` says where that was or would have been.
    """
    name = str(output_device)
    if name == "numpy":
        return as_numpy(latents).astype(np.float64)
    import torch

    home = latents.device if _is_tensor(latents) else ran_on or torch.device("cpu")
    target = home if name in _WHERE_IT_RAN else torch.device(output_device)
    check_output_device(output_device, target)
    if _is_tensor(latents):
        tensor = latents.to(target).double()  # moved first: half the traffic
    else:
        tensor = as_own_tensor(latents, target, torch.float64)
    if name != "cupy":
        return tensor
    import cupy

    return cupy.from_dlpack(tensor)
