"""Points to the device and answers back, chunk by chunk, with copies under way while kernels run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from functools import cached_property
from itertools import cycle
from types import ModuleType
from typing import Any

import numpy as np

from skcert.boundaries import Nearest
from skcert.discriminants import batches

#: bytes of device memory for the points of a chunk and what is made of them, beside what a solver uses for its products
CHUNK = 2**28
#: bytes of pinned host memory in which a piece of the points waits for its copy
PIECE = 2**25

#: winner, runner-up, radius, attack radius of the rows of a chunk, on the device
Outputs = tuple[Any, Any, Any, Any]
KINDS = (np.int64, np.int64, np.float64, np.float64)


class Solver(ABC):
    """What computes on a chunk, with everything that does not depend on the points already on the device."""

    cupy: ModuleType

    @cached_property
    def compared(self) -> Counter[Any]:
        """Rows that were compared with the CPU's, by type and place of the points."""
        return Counter()

    @abstractmethod
    def bytes_per_row(self, width: int) -> int:
        """Of device memory for a row of points and what is made of it."""

    @abstractmethod
    def scratch(self, rows: int, width: int) -> dict[str, Any]:
        """Arrays for so many points."""

    @abstractmethod
    def begin(self, scratch: dict[str, Any], points: Any, out: Outputs) -> None:
        """What can be put on the current stream without waiting for it."""

    def finish(self, scratch: dict[str, Any], points: Any, out: Outputs) -> None:
        """The rest, in which the host may wait; nothing, if all was begun."""
        return None

    def decide(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Winners and runners-up of points that the device gave back with the winner -1: their radius is 0."""
        raise NotImplementedError  # of the affine solver, which never gives back -1


def _pinned(cupy: ModuleType, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array that the device copies from and to by itself."""
    size = int(np.prod(shape))
    memory = cupy.cuda.alloc_pinned_memory(size * np.dtype(dtype).itemsize)
    return np.frombuffer(memory, dtype, size).reshape(shape)


class _Slot:
    """One of two places where a chunk is worked on, with a stream of its own."""

    def __init__(self, solver: Solver, rows: int, width: int, dtype: Any, host: bool):
        cupy = solver.cupy
        self.solver, self.stream = solver, cupy.cuda.Stream(non_blocking=True)
        with self.stream:
            self.scratch = solver.scratch(rows, width)
            if host:
                self.room = cupy.empty((rows, width), dtype=dtype)
                self.found = [cupy.empty(rows, dtype=kind) for kind in KINDS]
        self.answers = [_pinned(cupy, (rows,), kind) for kind in KINDS] if host else []

    def begin(self, rows: slice, points: Any, out: Outputs) -> None:
        self.rows, self.points, self.out = rows, points, out
        with self.stream:
            self.solver.begin(self.scratch, points, out)

    def finish(self) -> None:
        with self.stream:
            self.solver.finish(self.scratch, self.points, self.out)


class _Upload:
    """Copies from the host through two pinned pieces in turn: one is filled while the other is on its way."""

    def __init__(self, cupy: ModuleType, rows: int, width: int, dtype: Any):
        self.pieces = [_pinned(cupy, (rows, width), dtype) for _ in range(2)]
        self.sent = [cupy.cuda.Event(disable_timing=True) for _ in range(2)]
        self.turn = 0

    def send(self, X: np.ndarray, room: Any, stream: Any) -> None:
        rows, width = self.pieces[0].shape
        for part in batches(len(X), 1, rows):
            piece = self.pieces[self.turn][: part.stop - part.start]
            self.sent[self.turn].synchronize()
            piece[...] = X[part]
            room[part].set(piece, stream=stream)
            self.sent[self.turn].record(stream)
            self.turn = 1 - self.turn


def _chunks(solver: Solver, n: int, width: int) -> list[slice]:
    return list(batches(n, solver.bytes_per_row(width), CHUNK))


def nearest_of_host(solver: Solver, X: np.ndarray) -> Nearest:
    """Of points on the host, memory-mapped ones too: only the chunk at hand is read."""
    cupy, (n, width) = solver.cupy, X.shape
    dtype = np.float32 if X.dtype == np.float32 else np.float64
    result, chunks = Nearest.empty(n, None), _chunks(solver, n, width)
    if not n:
        return result
    rows = chunks[0].stop
    slots = [_Slot(solver, rows, width, dtype, host=True) for _ in chunks[:2]]
    upload = _Upload(cupy, min(rows, max(1, PIECE // (width * np.dtype(dtype).itemsize))), width, dtype)
    started: list[_Slot] = []

    def collect() -> None:
        slot = started.pop()
        slot.finish()
        m = slot.rows.stop - slot.rows.start
        into = (result.winner, result.runner_up, result.radius, result.attack_radius)
        for found, answer in zip(slot.found, slot.answers, strict=True):
            found[:m].get(stream=slot.stream, out=answer[:m], blocking=False)
        slot.stream.synchronize()
        for values, answer in zip(into, slot.answers, strict=True):
            values[slot.rows] = answer[:m]

    for slot, at in zip(cycle(slots), chunks, strict=False):
        m = at.stop - at.start
        upload.send(X[at], slot.room[:m], slot.stream)
        found = tuple(values[:m] for values in slot.found)
        slot.begin(at, slot.room[:m], (found[0], found[1], found[2], found[3]))
        if started:  # the chunk before: its kernels ran while this one was copied
            collect()
        started.append(slot)
    collect()
    far = np.flatnonzero(result.winner < 0)
    if len(far):
        result.winner[far], result.runner_up[far] = solver.decide(np.asarray(X[far], dtype=float))
    return result


def nearest_of_device(solver: Solver, X: Any) -> Nearest:
    """Of points on the device, where the answers stay; two chunks are under way at a time, one in products, one between."""
    cupy, (n, width) = solver.cupy, X.shape
    result = [cupy.empty(n, dtype=kind) for kind in KINDS]
    if not n:
        return Nearest(*result)
    X = cupy.ascontiguousarray(X if X.dtype == np.float32 else X.astype(np.float64, copy=False))
    cupy.cuda.get_current_stream().synchronize()
    chunks = _chunks(solver, n, width)
    slots = [_Slot(solver, chunks[0].stop, width, X.dtype, host=False) for _ in chunks[:2]]
    started: list[_Slot] = []
    for slot, at in zip(cycle(slots), chunks, strict=False):
        slot.begin(at, X[at], (result[0][at], result[1][at], result[2][at], result[3][at]))
        if started:
            started.pop().finish()
        started.append(slot)
    started.pop().finish()
    for slot in slots:
        slot.stream.synchronize()
    far = cupy.flatnonzero(result[0] < 0)
    if len(far):
        for values, decided in zip(result[:2], solver.decide(X[far].get().astype(float)), strict=True):
            values[far] = cupy.asarray(decided)
    return Nearest(*result)
