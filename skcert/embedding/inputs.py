"""What X may be: texts, images, flat rows or arrays of any shape."""

from __future__ import annotations

import math
import os
from typing import Any

from numpy.typing import NDArray

from skcert.embedding.images import Images, are_image_names, images_from, is_pil_image

__all__ = ["as_batchable", "as_collection"]

# Rows (height, width, channels) are told from (channels, height, width) by these numbers.
_CHANNELS = (1, 3, 4)
_LEAST_SIDE = 8


def as_collection(X: Any) -> list[str] | Images | None:
    """X as a list of texts or as images; None if X is not a one-dimensional collection of them."""
    if isinstance(X, (str, bytes)):
        raise TypeError("X is a single text; put it in a list: [text].")
    if isinstance(X, os.PathLike) or is_pil_image(X):
        raise TypeError("X is a single image; put it in a list: [image].")
    if not isinstance(X, (list, tuple)) and len(getattr(X, "shape", ())) != 1:
        return None
    items = list(X)
    if not items:
        raise ValueError("X is empty: found 0 sample(s) while a minimum of 1 is required.")
    kind = next(filter(None, map(_kind, items)), None)
    if kind is None:
        return None
    bad = next((i for i, item in enumerate(items) if _kind(item) != kind), None)
    if bad is not None:
        raise ValueError(f"X holds {kind}, but row {bad} is {items[bad]!r}; fill or drop it.")
    if kind == "texts" and not are_image_names(items):
        return [str(item) for item in items]  # np.str_ becomes str, so that equal texts have equal cache keys
    return images_from(items)


def _kind(item) -> str | None:
    if isinstance(item, str):
        return "texts"
    if isinstance(item, os.PathLike):
        return "paths"
    return "images" if is_pil_image(item) else None


def as_batchable(X: NDArray, input_shape, for_torch: bool) -> NDArray:
    """Rows in the shape the encoder wants, as a view of X.

    Flat rows are reshaped. Rows (height, width, channels) for a torch module have their axes moved; the values stay where they
    are until the batch is on its device.
    """
    wanted = None if input_shape is None else tuple(input_shape)
    if X.shape[1:] == wanted:
        return X
    if for_torch and _are_channels_last(X.shape[1:], wanted):
        return X.transpose(0, 3, 1, 2)
    if wanted is None:
        return X
    size = math.prod(wanted)
    if X.ndim != 2 or X.shape[1] != size:
        raise ValueError(
            f"input_shape={wanted} asks for flat rows of {size} features or rows of that shape; X has shape {X.shape}."
        )
    return X.reshape(len(X), *wanted)


def _are_channels_last(row_shape, wanted) -> bool:
    """By shape alone: a float copy of an image of bytes means the same image."""
    if len(row_shape) != 3:
        return False
    height, width, channels = row_shape
    if wanted is not None:
        return wanted == (channels, height, width)
    return channels in _CHANNELS and min(height, width) >= _LEAST_SIDE
