"""Linear scores on a device: the arithmetic of ``boundaries.affine`` on points."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from skcert.backends.cuda.device import items, launch
from skcert.backends.cuda.streaming import Outputs, Solver
from skcert.boundaries import AffineBoundary


class AffineSolver(Solver):
    """Hyperplanes between linear scores (theory 1.4); everything but the points is taken from the boundary."""

    def __init__(self, cupy: ModuleType, boundary: AffineBoundary, method: str):
        self.cupy, self.boundary = cupy, boundary
        self._way = cupy.asarray(np.ascontiguousarray(boundary.coef)).T
        self._intercept, self._center, self._per_unit = (
            cupy.asarray(np.ascontiguousarray(values, dtype=float))
            for values in (boundary.intercept, boundary.center, boundary._per_unit)
        )
        # by winner
        self._inverse, self._low = (cupy.asarray(np.ascontiguousarray(table)) for table in (boundary._inverse.T, boundary._low))
        self._centered = not boundary.center.any()
        self._radius = f"affine_radius<{items(len(boundary.coef))}>"

    def bytes_per_row(self, width: int) -> int:
        return 8 * (2 * width + len(self.boundary.coef))

    def scratch(self, rows: int, width: int) -> dict[str, Any]:
        shapes = {"moved": (rows, width), "products": (rows, len(self.boundary.coef)), "error": (rows,)}
        return {name: self.cupy.empty(shape) for name, shape in shapes.items()}

    def begin(self, scratch: dict[str, Any], points: Any, out: Outputs) -> None:
        cupy, b, (n, d), K = self.cupy, self.boundary, points.shape, len(self.boundary.coef)
        moved, products, error = (scratch[name][:n] for name in ("moved", "products", "error"))
        as_it_is = self._centered and points.dtype == np.float64
        prepare = f"affine_prepare<{'float' if points.dtype == np.float32 else 'double'}>"
        kept = None if as_it_is else moved
        launch(cupy, prepare, n, points, self._center, self._per_unit, b._constant, n, d, kept, error)
        cupy.matmul(points if as_it_is else moved, self._way, out=products)
        tables = self._intercept, self._inverse, self._low
        launch(cupy, self._radius, n, products, *tables, error, b._edge, b._outwards, d, n, K, *out)
