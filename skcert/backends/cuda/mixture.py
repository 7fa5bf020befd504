"""Classes of several Gaussian components on a device: the bound of ``boundaries.mixture`` that needs no eigenbases."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from skcert.backends.cuda.device import launch
from skcert.backends.cuda.quadratic import QuadraticSolver
from skcert.backends.cuda.streaming import Outputs
from skcert.boundaries import QuadraticMixtureBoundary

#: columns of the table of references in ``mixtures.cu``
REFERENCES = 4


class MixtureSolver(QuadraticSolver):
    """Log-sum-exps of Gaussian scores (theory 1.6), with the responsibilities at the point as reference; no attacks."""

    boundary: QuadraticMixtureBoundary

    def __init__(self, cupy: ModuleType, boundary: QuadraticMixtureBoundary, method: str):
        super().__init__(cupy, boundary, method)
        labels, K = boundary._labels, boundary.mixture.n_classes
        members = np.argsort(labels, kind="stable")
        starts = np.searchsorted(labels[members], np.arange(K + 1))
        self._members, self._starts, self._labels = (cupy.asarray(a.astype(np.int64)) for a in (members, starts, labels))

    def bytes_per_row(self, width: int) -> int:
        return 8 * (3 * width + 15 * self.n_classes)

    def scratch(self, rows: int, width: int) -> dict[str, Any]:
        empty, C, K = self.cupy.empty, self.n_classes, self.boundary.mixture.n_classes
        tables = {name: empty((rows, C)) for name in ("theta", "margins", "steeps", "curves", "heights", "slopes", "bends")}
        own = {"mean_slope": empty((rows, width)), "table": empty((rows, REFERENCES))}
        return super().scratch(rows, width) | tables | own | {name: empty((rows, K)) for name in ("sums", "bounds")}

    def _known(self, here: dict[str, Any], scratch: dict[str, Any]) -> None:
        cupy, C, K, (n, d) = self.cupy, self.n_classes, self.boundary.mixture.n_classes, here["points"].shape
        slopes, terms, groups = self._slopes(here, scratch), self._terms(here), (self._members, self._starts)
        winner, reference = here["winner"], (here["theta"], here["mean_slope"], here["table"])
        curving = here["margins"], here["steeps"], here["curves"]
        launch(cupy, "class_sums", n, here["scores"], *groups, n, C, K, here["sums"], winner)
        sides = here["points"], self._means, slopes, winner, *groups
        launch(cupy, f"references<{self.kind}>", n, *sides, *terms, n, d, C, *reference)
        given = *sides, self._labels, *terms, *reference, self._low, float(self.boundary.slack), n, d, C
        launch(cupy, f"component_bounds<{self.kind}>", n * C, *given, *curving)
        room = here["heights"], here["slopes"], here["bends"]
        launch(cupy, "rival_bounds", n * K, winner, *groups, *curving, n, C, K, *room, here["bounds"])

    def _conclude(self, here: dict[str, Any], out: Outputs) -> None:
        n, K = len(here["winner"]), self.boundary.mixture.n_classes
        launch(self.cupy, "conclude_mixture", n, here["winner"], here["bounds"], here["sums"], self._starts, n, K, *out)

    def decide(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        winner, rivals = self.boundary.mixture.winners(X), self.boundary.rivals
        return winner, np.where(winner == rivals[0], rivals[1], rivals[0])
