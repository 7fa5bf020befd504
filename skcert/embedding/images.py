"""Images in files and PIL images: checked at once, opened when their batch is due."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Images", "are_image_names", "image_reader", "images_from", "is_pil_image"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")


@dataclass(frozen=True)
class Images:
    """Rows that are PIL images or the paths of image files."""

    items: list

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, rows: slice) -> Images:
        return Images(self.items[rows])

    def cache_key(self) -> list:
        """What stands for the rows in a cache: a file's path, size and time of change, a PIL image's pixels."""
        return [_image_key(item, row) for row, item in enumerate(self.items)]


def is_pil_image(item) -> bool:
    pil = sys.modules.get("PIL.Image")  # a PIL image exists only if its owner has imported it
    return pil is not None and isinstance(item, pil.Image)


def are_image_names(texts) -> bool:
    return all(text.lower().endswith(_SUFFIXES) for text in texts)


def images_from(items: list) -> Images:
    """PIL images or paths as rows; a missing file is found here, before the encoder runs."""
    _pillow()
    for row, item in enumerate(items):
        if not is_pil_image(item) and not os.path.isfile(item):
            raise FileNotFoundError(
                f"row {row} of X names the image file {str(item)!r}, which does not exist or is no file; paths start at the "
                f"working directory, {os.getcwd()!r}."
            )
    return Images(items)


def image_reader(images: Images, preprocess, input_shape, for_torch: bool) -> Callable[[int, int], Any]:
    """The function that opens and prepares the images of rows start to stop and stacks them.

    It returns an array or a torch tensor or, for encoders other than torch modules and as long as `preprocess` does not make
    arrays of them, the list of PIL images.
    """
    prepare = preprocess if preprocess is not None else _channels_first if for_torch else _unchanged
    wanted = None if input_shape is None else (tuple(input_shape), "input_shape is")

    def read(start: int, stop: int):
        nonlocal wanted
        prepared = [prepare(_open(item, row)) for row, item in enumerate(images.items[start:stop], start)]
        if not for_torch and not any(hasattr(image, "shape") for image in prepared):
            return prepared
        for row, image in enumerate(prepared, start):
            shape = _shape(image, row)
            wanted = wanted or (shape, f"row {row} has")
            if shape != wanted[0]:
                raise ValueError(
                    f"row {row} of X is an image of shape {shape}, but {wanted[1]} {wanted[0]}; bring all images to one size "
                    "by preprocess=, such as lambda image: np.asarray(image.resize((224, 224))).transpose(2, 0, 1)."
                )
        return _stack(prepared, for_torch)

    return read


def _shape(image, row: int) -> tuple[int, ...]:
    if not hasattr(image, "shape"):
        raise TypeError(
            f"preprocess returned a {type(image).__name__} for row {row} of X; an array or a tensor is expected, as "
            "the transforms of torchvision, timm and open_clip return it."
        )
    return tuple(image.shape)


def _stack(prepared: list, for_torch: bool):
    torch = sys.modules.get("torch")
    if for_torch and torch is not None and isinstance(prepared[0], torch.Tensor):
        return torch.stack(prepared)
    return np.stack([np.asarray(image) for image in prepared])


def _channels_first(image) -> np.ndarray:
    return np.asarray(image).transpose(2, 0, 1)


def _unchanged(image):
    return image


def _open(item, row: int):
    """One row as an upright RGB image of its own, which preprocess may change."""
    try:
        if is_pil_image(item):
            return _upright(item)
        with _pillow()[0].open(item) as image:
            return _upright(image)
    except MemoryError:  # to be met with a smaller batch
        raise
    except Exception as error:  # Pillow's readers raise OSError, SyntaxError, struct.error and more
        name = "" if is_pil_image(item) else f", the file {str(item)!r},"
        raise ValueError(f"row {row} of X{name} cannot be read as an RGB image: {error}") from error


def _upright(image):
    if image.mode.startswith(("I", "F")):  # Pillow would clip, not scale: white where the image is not black
        raise ValueError(f"mode {image.mode!r} has more than 8 bits per channel; scale it to 8 bits, or pass arrays.")
    return _pillow()[1].exif_transpose(image).convert("RGB")


def _image_key(item, row: int) -> tuple:
    if is_pil_image(item):
        image = _open(item, row)
        return image.size, hashlib.sha256(image.tobytes()).hexdigest()
    status = os.stat(item)
    return os.path.abspath(item), status.st_size, status.st_mtime_ns


def _pillow():
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError("X holds image files, which are read by Pillow: pip install pillow") from error
    return Image, ImageOps
