"""The device, and its kernels: compiled once for each architecture (CuPy keeps them on disk), launched a warp at a time."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

#: threads of a block, and how many of them work on one row
BLOCK, WARP = 128, 32
#: values of each kind that a lane may keep in registers; longer rows are read again instead
ITEMS = (1, 2, 4, 8, 16, 24, 32)
#: the same for kernels that keep two kinds
PAIRED_ITEMS = ITEMS[:-1]
#: of the compiler, beside those that CuPy gives it
OPTIONS = ("--std=c++17",)
NAMES = (
    "affine_prepare<float>",
    "affine_prepare<double>",
    *(f"affine_radius<{items}>" for items in (0, *ITEMS)),
    *(f"{name}<{flag}>" for name in ("class_terms", "pair_bounds", "conclude") for flag in ("false", "true")),
    *(f"{name}<{flag}>" for name in ("references", "component_bounds") for flag in ("false", "true")),
    "class_sums",
    "rival_bounds",
    "conclude_mixture",
    "widen",
    "winners",
    "gather",
    *(f"solve<{items}>" for items in (0, *ITEMS)),
    *(f"solve_diagonal<{items}>" for items in (0, *PAIRED_ITEMS)),
)


def require() -> ModuleType:
    """CuPy, or an error that says how to get it and a device."""
    try:
        import cupy
    except ImportError as error:
        raise ImportError(
            f'device="cuda" needs CuPy, which cannot be imported ({error}). Install it with `pip install skcert[cuda12]` or '
            '`pip install skcert[cuda13]`, by the CUDA version that nvidia-smi prints, or use device="cpu".'
        ) from error
    try:
        n_devices, why = cupy.cuda.runtime.getDeviceCount(), "none is visible"
    except cupy.cuda.runtime.CUDARuntimeError as error:
        n_devices, why = 0, str(error)
    if not n_devices:
        raise RuntimeError(
            f'device="cuda" needs an NVIDIA GPU and its driver; CuPy {cupy.__version__} reports: {why}. Check nvidia-smi and '
            'CUDA_VISIBLE_DEVICES, or use device="cpu".'
        )
    if os.environ.get("CUBLAS_EMULATE_DOUBLE_PRECISION", "0") not in ("", "0"):
        raise RuntimeError(
            "Radii are certified for IEEE float64, but CUBLAS_EMULATE_DOUBLE_PRECISION lets cuBLAS put products of smaller "
            'numbers in its place. Unset it, or use device="cpu".'
        )
    return cupy


def source() -> str:
    """The program: one file after the other."""
    return "\n".join(Path(__file__).with_name(name).read_text() for name in ("kernels.cu", "mixtures.cu"))


@cache
def _compiled(cupy: ModuleType) -> Any:
    return cupy.RawModule(code=source(), options=OPTIONS, name_expressions=NAMES)


def launch(cupy: ModuleType, name: str, warps: int, *args: Any) -> None:
    """Run a kernel with this many warps on the current stream; None is a null pointer."""
    grid = (-(-warps * WARP // BLOCK),)
    _compiled(cupy).get_function(name)(grid, (BLOCK,), tuple(_argument(value) for value in args))


def _argument(value: Any) -> Any:
    """Arrays as they are; numbers in the two types that the kernels take."""
    if value is None:
        return np.uint64(0)
    if isinstance(value, (int, np.integer)):
        return np.int64(value)
    return np.float64(value) if isinstance(value, float) else value


def items(n: int, choices: tuple[int, ...] = ITEMS) -> int:
    """The template argument for rows of n values: how many a lane keeps, or 0."""
    return next((fitting for fitting in choices if n <= fitting * WARP), 0)
