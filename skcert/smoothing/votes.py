"""Counting what a classifier answers under Gaussian noise, in bounded memory, with random numbers of every point's own.

Three ways to the same distribution of votes:

================  ==========================================================================================================
ByPredict         noise on the points, then ``predict``: any classifier
ByScores          where all steps are affine, what noise does to the scores or latents is Gaussian too: it is drawn there
ByEncoder         a torch encoder with a linear rule behind it: noise, encoder and scores stay on its device
================  ==========================================================================================================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.utils import column_or_1d

from skcert._points import FLOATS, Points
from skcert._progress import bar
from skcert.embedding.noise import CERTIFICATION, SELECTION, entropy

#: random numbers drawn at a time for one point
TOGETHER = 2**19
#: bytes of noisy points, and their number, that pass ``predict`` together at most, unless told otherwise
AT_ONCE, MOST_AT_ONCE = 2**22, 2**14
#: and that pass an encoder on this kind of device: what its layers make of them should stay in a processor's cache
ENCODED_AT_ONCE = {"cpu": 2**20, "cuda": 2**26}


class Voter(ABC):
    """Votes under noise of the rows of some points.

    Parameters
    ----------
    keys : ndarray of shape (n, n_inputs)
        The points as numbers; what is drawn for a point depends on these, on the seed, and on nothing else.
    seed : int
    n_classes : int
    width : int
        Random numbers for one vote.
    batch_size : int or "auto"
        Noisy points that are classified together.
    """

    def __init__(self, keys: np.ndarray, sigma: float, seed: int, n_classes: int, width: int, batch_size: int | str):
        self._keys, self._sigma, self._seed, self.n_classes, self.width = keys, sigma, seed, n_classes, width
        self._block = max(1, TOGETHER // max(width, 1))
        self.batch_size = self._default() if batch_size == "auto" else int(batch_size)
        self._streams: dict[tuple[int, int], Any] = {}

    def count(self, rows: np.ndarray, n_votes: int, stream: int) -> np.ndarray:
        """Votes for each class, shape (len(rows), n_classes); the next ones of this stream of random numbers of each row."""
        counts = np.zeros((len(rows), self.n_classes), dtype=np.int64)
        pieces: list[Any] = []
        owners: list[int] = []

        def flush() -> None:
            at = np.repeat(owners, [len(piece) for piece in pieces])
            codes = self._answers(rows[at], pieces)
            np.add.at(counts.reshape(-1), at * self.n_classes + codes, 1)
            pieces.clear()
            owners.clear()

        waiting = 0

        for place, row in enumerate(rows):
            for start in range(0, n_votes, self._block):  # a piece never depends on what else is drawn
                piece = self._draw(self._stream(int(row), stream), min(self._block, n_votes - start))
                pieces.append(piece)
                owners.append(place)
                waiting += len(piece)
                if waiting >= self.batch_size:
                    flush()
                    waiting = 0
        if waiting:
            flush()
        return counts

    def _stream(self, row: int, stream: int) -> Any:
        if (row, stream) not in self._streams:
            self._streams[row, stream] = self._random(entropy(self._keys[row], self._sigma, self._seed, stream))
        return self._streams[row, stream]

    def forget(self, rows: np.ndarray) -> None:
        """Drop the random streams of rows that are done."""
        for row in rows:
            for stream in (SELECTION, CERTIFICATION):
                self._streams.pop((int(row), stream), None)

    def _default(self) -> int:
        return min(max(1, AT_ONCE // (8 * max(self.width, 1))), MOST_AT_ONCE)

    def _random(self, entropy: list[int]) -> Any:
        return np.random.Generator(np.random.SFC64(np.random.SeedSequence(entropy)))

    def _draw(self, random: Any, n: int) -> Any:
        return random.standard_normal((n, self.width))

    def _parts(self, pieces: list, together: Callable) -> Iterator[tuple[slice, Any]]:
        """Noise in parts of batch_size, with its place."""
        noise = pieces[0] if len(pieces) == 1 else together(pieces)
        for start in range(0, len(noise), self.batch_size):
            yield slice(start, start + self.batch_size), noise[start : start + self.batch_size]

    @abstractmethod
    def _answers(self, rows: np.ndarray, pieces: list) -> np.ndarray:
        """Codes of the classes that the points in these rows are given with this noise."""


class ByPredict(Voter):
    """Noise on all numbers of the points.

    Parameters
    ----------
    predict : callable
        Of a fitted classifier.
    classes : ndarray
        Its labels, sorted.
    points : Points
    sigma : float
    """

    def __init__(self, predict: Callable, classes: np.ndarray, points: Points, sigma: float, seed: int, batch_size):
        # every column has its noise, used or not, so that none depends on what is missing elsewhere
        numbers = np.nan_to_num(points.values, nan=0.0, posinf=np.inf, neginf=-np.inf)
        super().__init__(numbers, sigma, seed, len(classes), numbers.shape[1], batch_size)
        self._predict, self._points = predict, points
        self._order = np.argsort(classes, kind="stable")
        self._classes = classes[self._order]
        self._columns = np.flatnonzero(points.numeric)
        single = points.values.dtype == np.float32
        self._type = np.float32 if single else np.float64

    def _draw(self, random: Any, n: int) -> np.ndarray:
        return random.standard_normal((n, self.width), dtype=self._type)

    def _answers(self, rows: np.ndarray, pieces: list) -> np.ndarray:
        codes = np.empty(len(rows), dtype=np.intp)
        for at, noise in self._parts(pieces, np.concatenate):
            codes[at] = self._codes(self._predict(self._noisy(rows[at], noise)))
        return codes

    def _noisy(self, rows: np.ndarray, noise: np.ndarray) -> Any:
        X = self._points.origin
        if not hasattr(X, "columns") and X.dtype in FLOATS:
            noisy = noise * noise.dtype.type(self._sigma)
            noisy += self._points.values[rows]
            return noisy.reshape(len(rows), *X.shape[1:])
        values = self._points.values[rows].astype(float)
        values[:, self._columns] += self._sigma * noise[:, self._columns]
        wide = np.array([np.dtype(float) if kind == np.float16 else kind for kind in self._points.types()], dtype=object)
        return self._points.moved(rows, values, self._columns, wide)  # float16 would round the noise away

    def _codes(self, labels: np.ndarray) -> np.ndarray:
        labels = column_or_1d(labels)
        codes = np.searchsorted(self._classes, labels).clip(max=len(self._classes) - 1)
        unknown = self._classes[codes] != labels
        if unknown.any():
            raise ValueError(
                f"predict returned {labels[unknown].tolist()[0]!r}, which is none of the classes "
                f"{self._classes.tolist()!r}: expected labels of classes_."
            )
        return self._order[codes]


class ByScores(Voter):
    """Gaussian noise where decisions are made.

    Parameters
    ----------
    center : ndarray of shape (n, d)
        Images of the points without noise.
    factor : ndarray of shape (d, r), or (d,) for a diagonal one
        C with noise ``C v``, v standard normal: ``C C' = sigma^2 A A'`` for a map with the matrix A.
    decide : callable
        From images (m, d) to codes of classes.
    """

    def __init__(
        self, keys, center: np.ndarray, factor: np.ndarray, decide: Callable, n_classes: int, sigma, seed: int, batch_size
    ):
        super().__init__(keys, sigma, seed, n_classes, factor.shape[-1], batch_size)
        self._center, self._factor, self._decide = center, factor, decide

    def _answers(self, rows: np.ndarray, pieces: list) -> np.ndarray:
        codes = np.empty(len(rows), dtype=np.intp)
        for at, noise in self._parts(pieces, np.concatenate):
            moved = noise * self._factor if self._factor.ndim == 1 else noise @ self._factor.T
            moved += self._center[rows[at]]
            codes[at] = self._decide(moved)
        return codes


def noise_factor(matrix: np.ndarray) -> np.ndarray:
    """C of as few columns as there are rows, with ``C C' = A A'`` up to rounding: noise ``A n`` has the law of ``C v``."""
    if matrix.ndim == 1 or matrix.shape[1] <= matrix.shape[0]:
        return matrix
    left, sizes, _ = np.linalg.svd(matrix, full_matrices=False)
    return left * sizes


class ByEncoder(Voter):
    """Noise, a torch encoder and a linear rule, all on one device.

    Parameters
    ----------
    images : ndarray of shape (n, ...)
        As they reach the encoder.
    run : callable
        From a batch of tensors to latents.
    device : torch.device
    slopes, intercept : ndarrays of shapes (n_classes, n_latents) and (n_classes,)
    """

    def __init__(self, keys, images: np.ndarray, run: Callable, device, slopes, intercept, sigma: float, seed: int, batch_size):
        import torch

        self._images, self._run, self._device = images, run, device
        self._wide = np.float64 if images.dtype.itemsize == 8 else np.float32
        self._type = torch.float64 if self._wide is np.float64 else torch.float32
        super().__init__(keys, sigma, seed, len(slopes), int(np.prod(images.shape[1:])), batch_size)
        self._slopes, self._intercept = (
            torch.as_tensor(each, dtype=torch.float64, device=device) for each in (slopes, intercept)
        )

    def _default(self) -> int:
        return max(1, ENCODED_AT_ONCE.get(self._device.type, AT_ONCE) // (4 * max(self.width, 1)))

    def _random(self, entropy: list[int]) -> Any:
        import torch

        seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
        return torch.Generator(self._device).manual_seed(seed)

    def _draw(self, random: Any, n: int) -> Any:
        import torch

        return torch.randn((n, *self._images.shape[1:]), generator=random, device=self._device, dtype=self._type)

    def answers(self) -> np.ndarray:
        """What the points are given without noise."""
        import torch

        parts = []
        with bar(len(self._images), "answering without noise", "row") as done:
            for start in range(0, len(self._images), self.batch_size):
                rows = np.arange(start, min(start + self.batch_size, len(self._images)))
                nothing = torch.zeros((len(rows), *self._images.shape[1:]), device=self._device, dtype=self._type)
                parts.append(self._answers(rows, [nothing]))
                done.update(len(rows))
        return np.concatenate(parts)

    def _answers(self, rows: np.ndarray, pieces: list) -> np.ndarray:
        import torch

        parts = []
        for at, noise in self._parts(pieces, torch.cat):
            own, copies = np.unique(rows[at], return_inverse=True)
            clean = torch.as_tensor(np.ascontiguousarray(self._images[own], dtype=self._wide), device=self._device)
            noisy = torch.addcmul(clean[torch.as_tensor(copies, device=self._device)], noise, noise.new_tensor(self._sigma))
            latents = self._run(noisy).double()
            if not torch.isfinite(latents).all():
                raise ValueError(
                    "the encoder's output is NaN, infinite or too large for float32 on noisy points: check preprocess, whose "
                    "input noise takes beyond its usual range, and the scale of X."
                )
            parts.append((latents @ self._slopes.T + self._intercept).argmax(1))
        return torch.cat(parts).cpu().numpy()
