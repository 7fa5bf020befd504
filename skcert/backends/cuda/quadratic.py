"""Gaussian scores on a device: the arithmetic of ``boundaries.quadratic`` and ``geometry.quadric`` on points, in l2."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from skcert.backends.cuda.device import PAIRED_ITEMS, items, launch
from skcert.backends.cuda.streaming import Outputs, Solver
from skcert.boundaries import QuadraticBoundary
from skcert.discriminants import Quadratic, batches
from skcert.geometry.rounding import fro

#: bytes of device memory for products of a chunk, taken in parts
PRODUCTS = 2**28
#: bytes of device memory for the eigenbases of pairs; those used longest ago make room
BASES = 2**32


def class_table(boundary: QuadraticBoundary) -> np.ndarray:
    """Numbers of every class, in the columns of ``kernels.cu``."""
    d = boundary.discriminant
    balanced = np.zeros(len(d.means)) if d.diagonal else np.array([fro(rows) for rows in d._rows])
    columns = (
        d.constants, d.constant_error, d.precision_error, d._slip, balanced, d.units.max(axis=1),
        boundary._kappa, boundary._stretch, d.doubts,
    )  # fmt: skip
    return np.ascontiguousarray(np.column_stack(columns), dtype=float)


class QuadraticSolver(Solver):
    """Quadrics between Gaussian scores (theory 1.2, 1.3), full or diagonal; constants and their errors are the boundary's."""

    def __init__(self, cupy: ModuleType, boundary: QuadraticBoundary, method: str):
        self.cupy, self.boundary, self.exact = cupy, boundary, method == "exact"
        d: Quadratic = boundary.discriminant
        self.kind, self.n_classes = ("true" if d.diagonal else "false"), len(d.means)
        rows = np.zeros((1, 1)) if d.diagonal else d._rows
        self._means, self._precisions, self._units, self._per_unit, self._rows, self._classes, self._rounding = (
            cupy.asarray(np.ascontiguousarray(values, dtype=float))
            for values in (d.means, d.precisions, d.units, d._per_unit, rows, class_table(boundary), boundary._rounding)
        )
        self._names = cupy.asarray(boundary.classes.astype(np.int64))
        self._low, self._high = (cupy.asarray(np.ascontiguousarray(bound)) for bound in boundary._bends(exact=True))
        self._bases = None if d.diagonal or not self.exact else _Bases(cupy, boundary)

    def bytes_per_row(self, width: int) -> int:
        return 8 * (2 * width + 10 * self.n_classes)

    def scratch(self, rows: int, width: int) -> dict[str, Any]:
        empty, K, full = self.cupy.empty, self.n_classes, self.kind == "false"
        tables = ("scores", "score_error", "slope_error", "rounding", "norms", "bounds", "found", "attacks")
        arrays = {name: empty((rows, K)) for name in tables}
        arrays |= {"points": empty((rows, width)), "winner": empty(rows, dtype=np.int64)}
        half = max(K * width, min(PRODUCTS // 16, rows * K * width)) if full else 0  # numbers, of one row at least
        return arrays | {name: empty(half) for name in ("left", "right")}

    def begin(self, scratch: dict[str, Any], points: Any, out: Outputs) -> None:
        n, width = points.shape
        here = self._here(scratch, points)
        if here["points"] is not points:
            launch(self.cupy, "widen", n, points, n, width, here["points"])
        part = n if self.kind == "true" else max(1, len(scratch["left"]) // (self.n_classes * width))
        for rows in batches(n, 1, part):
            self._known({name: values[rows] for name, values in here.items()}, scratch)
        if not self.exact:
            self._conclude(here, out)

    @staticmethod
    def _here(scratch: dict[str, Any], points: Any) -> dict[str, Any]:
        """The arrays of these points; points are float64 in the kernels."""
        here = {name: values[: len(points)] for name, values in scratch.items() if name not in ("left", "right")}
        return here | {"points": points} if points.dtype == np.float64 else here

    def _known(self, here: dict[str, Any], scratch: dict[str, Any]) -> None:
        """Scores, winners, and bounds of the distances to all rivals."""
        cupy, K, (n, d) = self.cupy, self.n_classes, here["points"].shape
        slopes, terms = self._slopes(here, scratch), self._terms(here)
        launch(cupy, "winners", n, here["scores"], n, K, here["winner"])
        sides = here["points"], self._means, slopes, here["winner"]
        launch(cupy, f"pair_bounds<{self.kind}>", n * K, *sides, *terms, self._low, n, d, K, here["norms"], here["bounds"])

    def _slopes(self, here: dict[str, Any], scratch: dict[str, Any]) -> Any:
        """Scores of every class and what they may lose; returns P (z - mu), or P alone where it is diagonal."""
        cupy, K, (n, d) = self.cupy, self.n_classes, here["points"].shape
        if self.kind == "true":
            slopes = self._precisions
        else:
            x, slopes = (scratch[side][: K * n * d].reshape(K, n, d) for side in ("left", "right"))
            cupy.subtract(here["points"][None], self._means[:, None], out=x)
            cupy.matmul(x, self._precisions, out=slopes)
        tables = self._units, self._per_unit, self._rows, self._classes
        given = here["points"], self._means, slopes, *tables, n, d, K
        launch(cupy, f"class_terms<{self.kind}>", n * K, *given, *self._terms(here))
        return slopes

    @staticmethod
    def _terms(here: dict[str, Any]) -> list[Any]:
        return [here[name] for name in ("scores", "score_error", "slope_error", "rounding")]

    def finish(self, scratch: dict[str, Any], points: Any, out: Outputs) -> None:
        """Exact distances: the rival with the least bound of every row, then those whose bounds are below what it gave."""
        if not self.exact:
            return
        cupy, K, here = self.cupy, self.n_classes, self._here(scratch, points)
        bounds, found, n = here["bounds"], here["found"], len(here["winner"])
        found[...] = np.inf
        here["attacks"][...] = np.inf
        first = bounds.argmin(axis=1)
        at = cupy.arange(n) * K + first
        self._visit(at[cupy.isfinite(bounds.reshape(-1)[at])], first, here, scratch)
        left = bounds < found.reshape(-1)[at][:, None]
        left.reshape(-1)[at] = False
        self._visit(cupy.flatnonzero(left), first, here, scratch)
        self._conclude(here, out)

    def _conclude(self, here: dict[str, Any], out: Outputs) -> None:
        found = here["found"] if self.exact else here["bounds"]
        attacks = here["attacks"] if self.exact else None
        given = here["winner"], found, attacks, here["norms"], *self._terms(here), self._high, self._names
        name = f"conclude<{'true' if self.exact else 'false'}>"
        launch(self.cupy, name, len(here["winner"]), *given, len(here["winner"]), self.n_classes, *out)

    def _visit(self, tasks: Any, first: Any, here: dict[str, Any], scratch: dict[str, Any]) -> None:
        """Solve for these pairs of a row and a rival, row K + rival."""
        if not len(tasks):
            return
        cupy, K, d, terms = self.cupy, self.n_classes, here["points"].shape[1], self._terms(here)
        into = here["found"], here["attacks"]
        if self._bases is None:
            tables = self._means, self._precisions, self._classes, self._rounding
            given = tasks, here["winner"], first, *terms, here["bounds"], len(tasks), d, K
            launch(cupy, f"solve_diagonal<{items(d, PAIRED_ITEMS)}>", len(tasks), here["points"], *tables, *given, *into)
            return
        winner, rival = here["winner"][tasks // K], tasks % K
        pairs = cupy.minimum(winner, rival) * K + cupy.maximum(winner, rival)
        tasks = tasks[cupy.argsort(pairs)]
        counts = cupy.bincount(pairs, minlength=K * K).get()
        for rows, groups in _portions(counts, len(scratch["left"]) // d, self._bases.n_slots):
            n = rows.stop - rows.start
            x, turned = (scratch[side][: n * d].reshape(n, d) for side in ("left", "right"))
            lengths, slots = cupy.empty(n), self._bases.load([pair for pair, _ in groups])
            launch(cupy, "gather", n, here["points"], self._means, here["winner"], tasks[rows], n, d, K, x, lengths)
            for slot, (_, part) in zip(slots, groups, strict=True):
                cupy.matmul(x[part], self._bases.vectors[slot], out=turned[part])
            own = cupy.asarray(np.repeat(slots, [part.stop - part.start for _, part in groups]))
            given = tasks[rows], own, here["winner"], first, *self._bases.tables, *terms, here["bounds"], n, d, K
            launch(cupy, f"solve<{items(d)}>", n, turned, lengths, *given, *into)

    def decide(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        winner, classes = self.boundary.discriminant.winners(X), self.boundary.classes
        return classes[winner], classes[(winner == 0).astype(int)]


def _portions(counts: np.ndarray, n_rows: int, n_pairs: int) -> Iterator[tuple[slice, list[tuple[int, slice]]]]:
    """Sorted tasks in portions of at most so many rows and pairs: their rows, and of each pair its rows in the portion."""
    start = stop = 0
    groups: list[tuple[int, slice]] = []
    for pair in np.flatnonzero(counts):
        left = int(counts[pair])
        while left:
            if stop - start == n_rows or len(groups) == n_pairs:
                yield slice(start, stop), groups
                start, groups = stop, []
            n = min(left, n_rows - (stop - start))
            groups.append((int(pair), slice(stop - start, stop - start + n)))
            stop, left = stop + n, left - n
    if groups:
        yield slice(start, stop), groups


class _Bases:
    """Eigenbases of pairs of classes on the device: made by the boundary, brought here when first needed."""

    def __init__(self, cupy: ModuleType, boundary: QuadraticBoundary):
        self.cupy, self.boundary = cupy, boundary
        K, d = boundary.discriminant.means.shape
        self.n_slots = n = max(1, min(K * (K - 1) // 2, BASES // (8 * (d * d + 3 * d + 6))))
        self.vectors: dict[int, Any] = {}
        #: eigenvalues, shifts of either orientation, and the numbers in the columns of ``kernels.cu``, by slot
        self.tables = cupy.empty((n, d)), cupy.empty((n, 2, d)), cupy.empty((n, 6))
        self._slots: OrderedDict[int, int] = OrderedDict()

    def load(self, pairs: list[int]) -> np.ndarray:
        """Slots of these pairs i K + j, i < j; at most as many as there are slots."""
        cupy = self.cupy
        missing = [pair for pair in pairs if pair not in self._slots]
        for pair in pairs:
            if pair in self._slots:
                self._slots.move_to_end(pair)
        if len(self._slots) + len(missing) > self.n_slots:
            cupy.cuda.Device().synchronize()  # nobody reads what is overwritten
        for pair in missing:
            slot = len(self._slots) if len(self._slots) < self.n_slots else self._slots.popitem(last=False)[1]
            self._slots[pair] = slot
            self._fill(slot, *divmod(pair, len(self.boundary.classes)))
        if missing:
            cupy.cuda.get_current_stream().synchronize()  # the other stream may use them next
        return np.array([self._slots[pair] for pair in pairs], dtype=np.int64)

    def _fill(self, slot: int, i: int, j: int) -> None:
        pair = self.boundary._pair(i, j)
        basis, values = pair.basis, pair.basis.values
        numbers = basis.error, basis.turn, np.abs(values).max(), pair.slip, *pair.shift_errors
        self.vectors[slot] = self.cupy.asarray(np.ascontiguousarray(basis.vectors))
        for table, row in zip(self.tables, (values, np.array(pair.shifts), np.array(numbers)), strict=True):
            table[slot].set(np.ascontiguousarray(row, dtype=float))
