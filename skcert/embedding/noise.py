"""Rows under Gaussian noise of their own, and means of bounded latents over it (theory 2.5)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["NoisyLatents", "NoisyRows", "constant_of_mean", "entropy", "error_of_mean", "shortened"]

#: random numbers drawn at a time for one row
TOGETHER = 2**19
#: what noise is for: samples of different purposes are independent
SELECTION, CERTIFICATION, TRAINING, AVERAGING, CHECKING = range(5)
#: latents kept at a time before they are averaged
KEPT = 2**22
#: of sigma: rows that differ by less have the same noise
GRAIN = 2.0**-20


def entropy(values: np.ndarray, sigma: float, seed: int, *more: int) -> list[int]:
    """A seed that belongs to the values of a row: what is drawn does not depend on the rows beside it.

    The values count in units far below sigma, because products of matrices differ in their last digit with the rows beside.
    """
    with np.errstate(over="ignore"):
        cells = np.round(np.asarray(values, dtype=float) / (sigma * GRAIN)) + 0.0  # -0 is 0
    digest = hashlib.blake2b(np.ascontiguousarray(cells).tobytes(), digest_size=16).digest()
    return [seed, *more, *np.frombuffer(digest, dtype=np.uint32).tolist()]


class NoisyRows:
    """Every row of an array ``copies`` times, one after the other, each with other noise; made slice by slice.

    Parameters
    ----------
    rows : ndarray of shape (n, ...)
    sigma : float
        Standard deviation of the noise, in the units of the rows.
    seed : int
    copies : int
    purpose : int
        What the noise is for: other noise for another purpose.
    """

    def __init__(self, rows: np.ndarray, sigma: float, seed: int, copies: int = 1, purpose: int = TRAINING):
        self._purpose = purpose
        self.rows, self._sigma, self._seed, self.copies = rows, sigma, seed, copies
        self.shape = (len(rows) * copies, *rows.shape[1:])
        short = rows.dtype.kind in "iub" and rows.dtype.itemsize <= 2  # pixels: float32 holds them
        self._type: Any = np.float32 if short or rows.dtype == np.float32 else np.float64
        self._block = max(1, TOGETHER // max(1, math.prod(rows.shape[1:])))
        self._last: tuple[Any, Any] = (None, None)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> np.ndarray:
        start, stop, _ = part.indices(len(self))
        out = np.empty((max(0, stop - start), *self.shape[1:]), dtype=self._type)
        at = start
        while at < stop:
            row, copy = divmod(at, self.copies)
            block, first = divmod(copy, self._block)
            noise = self._noise(row, block)
            n = min(len(noise) - first, stop - at)
            out[at - start : at - start + n] = self.rows[row] + noise[first : first + n]
            at += n
        return out

    def _noise(self, row: int, block: int) -> np.ndarray:
        if self._last[0] != (row, block):
            random = np.random.Generator(
                np.random.SFC64(np.random.SeedSequence(entropy(self.rows[row], self._sigma, self._seed, self._purpose, block)))
            )
            n = min(self._block, self.copies - block * self._block)
            noise = random.standard_normal((n, *self.shape[1:]), dtype=self._type) * self._type(self._sigma)
            self._last = (row, block), noise
        return self._last[1]


def shortened(latents: np.ndarray, center: np.ndarray, bound: float) -> np.ndarray:
    """Latents no farther than ``bound`` from the centre: longer ways are cut off there."""
    away = latents - center
    length = np.linalg.norm(away, axis=-1, keepdims=True)
    return center + away * np.minimum(1.0, bound / np.maximum(length, np.finfo(float).tiny))


@dataclass(frozen=True)
class NoisyLatents:
    """Bounded latents of noisy rows: their means, and how far these may be from what is expected (theory 2.5).

    Parameters
    ----------
    run : callable
        From noisy rows to latents.
    sigma : float
    n_samples : int
        Draws of noise for each row; memory does not grow with their number.
    seed : int
    center : ndarray of shape (d,)
    bound : float
        Latents farther from the centre are shortened to this distance.
    purpose : int
        See :class:`NoisyRows`.
    """

    run: Callable[[NoisyRows], np.ndarray]
    sigma: float
    n_samples: int
    seed: int
    center: np.ndarray
    bound: float
    purpose: int = AVERAGING

    def _draws(self, rows: np.ndarray) -> Iterator[tuple[slice, Iterator[np.ndarray]]]:
        """Parts of the rows, each with its latents bit by bit, shape (rows, draws, d)."""
        d = len(self.center)
        per = max(1, KEPT // (max(self.n_samples, d) * d))
        for start in range(0, len(rows), per):
            part = slice(start, min(start + per, len(rows)))
            yield part, self._latents(rows[part])

    def _latents(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        d = len(self.center)
        copies = min(self.n_samples, max(1, KEPT // d))
        for block, done in enumerate(range(0, self.n_samples, copies)):
            n = min(copies, self.n_samples - done)
            latents = self.run(NoisyRows(rows, self.sigma, self.seed + 2**32 * block, n, self.purpose))
            yield shortened(np.asarray(latents, dtype=float).reshape(-1, n, d), self.center, self.bound)

    def means(self, rows: np.ndarray) -> np.ndarray:
        """The mean latent of each row, shape (n, d)."""
        total = np.zeros((len(rows), len(self.center)))
        for part, draws in self._draws(rows):
            for latents in draws:
                total[part] += latents.sum(axis=1)
        return total / self.n_samples

    def errors_along(self, rows: np.ndarray, means: np.ndarray, directions: np.ndarray, alpha: float) -> np.ndarray:
        """How far other means of these rows may be too long along any of these directions, with probability 1 - alpha each.

        The empirical Bernstein bound of Maurer and Pontil (2009, theorem 4), for numbers in an interval of length 2 bound, and
        the union over the directions; for the mean of the draws made here, to which the distance of the given one is added. So
        the directions may have been learned from the given means, as those of a rule fitted on them are.

        Parameters
        ----------
        rows : ndarray of shape (n, ...)
        means : ndarray of shape (n, d)
            Of other draws, which differ in ``purpose``.
        directions : ndarray of shape (m, d)
            Of length 1.

        Returns
        -------
        errors : ndarray of shape (n,)
        """
        n, d = self.n_samples, len(self.center)
        errors = np.full(len(rows), np.inf)
        if n < 2:
            return errors
        chance = math.log(2 * len(directions) / alpha)
        most = 14 * self.bound * chance / (3 * (n - 1))
        for part, draws in self._draws(rows):
            total, products = np.zeros((part.stop - part.start, d)), np.zeros((part.stop - part.start, d, d))
            for latents in draws:
                away = latents - self.center
                total += away.sum(axis=1)
                products += away.transpose(0, 2, 1) @ away
            for at, (own, squares, mean) in enumerate(zip(total, products, means[part], strict=True), part.start):
                along = directions @ own
                variance = np.maximum(np.einsum("md,md->m", directions @ squares, directions) - along**2 / n, 0) / (n - 1)
                spread = np.sqrt(2 * (variance + 1e-12 * self.bound**2) * chance / n)
                beyond = directions @ (mean - self.center) - along / n
                errors[at] = max(0.0, float((beyond + spread).max()) + most) * (1 + 1e-12) + 1e-12 * self.bound
        return errors


def constant_of_mean(bound: float, sigma: float) -> float:
    """The Lipschitz constant of E f(x + n), n ~ N(0, sigma^2 I), for ``||f - c|| <= bound`` (theory 2.5)."""
    return bound * math.sqrt(2 / math.pi) / sigma * (1 + 1e-12)


def error_of_mean(bound: float, n_samples: int, alpha: float) -> float:
    """How far the mean of n draws of a vector, ``||f - c|| <= bound``, is from its expectation, with probability 1 - alpha.

    Its expected distance is at most bound / sqrt(n), and one draw moves it by 2 bound / n at most: McDiarmid's inequality.
    """
    return bound * (1 + math.sqrt(2 * math.log(1 / alpha))) / math.sqrt(n_samples) * (1 + 1e-12)
