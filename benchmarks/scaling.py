"""Seconds and bytes of certify against the number of points, features and classes: ``make bench-scaling``.

Mixtures of Gaussians, one core, every case in a process of its own: CPU time of the first call, which makes
what is kept, of later ones, and how far the memory rises during the first. From these the exponents of N, d and K by least
squares on logarithms. Results are written to results/scaling_points and results/scaling, and those of shapes with many classes
to results/many_classes; docs/figures/performance.png is drawn from the first.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from benchmarks.measuring import MIB, PeakMemory, alone, timed
from benchmarks.problems import mixture
from benchmarks.tables import RESULTS, write_table
from skcert import Certifier

#: covariance and method of each curve
KINDS = {
    "tied": ("tied", "auto"),
    "diag": ("diag", "exact"),
    "full, pairwise": ("full", "pairwise"),
    "full, exact": ("full", "exact"),
}
#: where the axes cross, and what is tried along each; linear scores take more to be seen
BASE = {"N": 4000, "d": 128, "K": 10}
AXES = {"N": (1000, 4000, 16_000, 64_000), "d": (32, 64, 128, 256, 512), "K": (5, 10, 20, 40)}
BASE_TIED = {"N": 40_000, "d": 256, "K": 50}
AXES_TIED = {"N": (10_000, 40_000, 160_000, 320_000), "d": (64, 128, 256, 512, 1024), "K": (25, 50, 100, 200, 400)}
#: many classes, in kind and shape
MANY = [
    ("tied", "K", {"N": 10_000, "d": 768, "K": 1000}),
    ("full, pairwise", "K", {"N": 1000, "d": 512, "K": 100}),
    ("diag", "K", {"N": 200, "d": 768, "K": 1000}),
    ("full, exact", "K", {"N": 200, "d": 512, "K": 100}),
]
POINTS = ["kind", "axis", "N", "d", "K", "first, s", "again, s", "memory, MiB", "kept, MiB"]
FITTED = ["kind", "around", "time: N", "d", "K", "set-up: d", "K ", "µs / point", "memory, MiB"]
HEADINGS = {
    "points": ["CPU seconds of one core and the rise of memory during the first call, by shape."],
    "fitted": [
        "Time of later calls as a power of N, d and K, and of what only the first call does as a power of d and K; by",
        "least squares around the shape given, where there is time to be seen. Memory: its rise in the first call.",
    ],
    "many": ["Many classes: CPU seconds of one core, the rise of memory during the first call, and what is kept after it."],
}
#: CPU seconds below which a time, or a difference of two, says nothing about an exponent
VISIBLE = 0.02


def measured(kind: str, N: int, d: int, K: int) -> dict[str, float]:
    """Called in a process of its own."""
    covariance, method = KINDS[kind]
    with threadpool_limits(1):
        model, X = mixture(covariance, N, d, K)
        Certifier(model).certify(X[:1], method="paper")  # what any first call has to import
        certifier = Certifier(model)
        with PeakMemory() as peak:
            first, _ = timed(lambda: certifier.certify(X, method=method))
        again = np.median([timed(lambda: certifier.certify(X, method=method))[0] for _ in range(3 if first < 20 else 1)])
    seconds = {"first, s": float(f"{first:.4g}"), "again, s": float(f"{again:.4g}")}
    return seconds | {"memory, MiB": round((peak.own - peak.before) / MIB), "kept, MiB": round(certifier.nbytes / MIB)}


def points(cases: list[tuple[str, str, dict[str, int]]]) -> Iterator[list[dict[str, Any]]]:
    """One case after the other: kind, axis and shape, with what was measured; all up to now, again and again."""
    found = []
    for kind, axis, shape in tqdm(cases, unit="case"):
        found.append({"kind": kind, "axis": axis, **shape, **alone(measured, kind, *shape.values())})
        tqdm.write("; ".join(map(str, found[-1].values())))
        yield found


def curves() -> list[tuple[str, str, dict[str, int]]]:
    sizes = [(kind, *((BASE_TIED, AXES_TIED) if kind == "tied" else (BASE, AXES))) for kind in KINDS]
    return [(kind, axis, base | {axis: n}) for kind, base, axes in sizes for axis, values in axes.items() for n in values]


def exponent(curve: list[dict[str, Any]], axis: str, seconds: Callable[[dict[str, Any]], float]) -> str:
    """Slope of the logarithms, where there is something to be seen."""
    seen = [(each[axis], seconds(each)) for each in curve if seconds(each) >= VISIBLE]
    return f"{np.polyfit(*np.log(seen).T, 1)[0]:.2f}" if len(seen) >= 3 else "-"


def fitted(found: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The row of one kind."""
    base = BASE_TIED if kind == "tied" else BASE
    along = {axis: [each for each in found if (each["kind"], each["axis"]) == (kind, axis)] for axis in base}
    middle = next(each for each in along["N"] if each["N"] == base["N"])
    cells = [
        kind,
        ", ".join(f"{axis} = {value:,}" for axis, value in base.items()),
        *(exponent(along[axis], axis, lambda each: each["again, s"]) for axis in base),
        *(exponent(along[axis], axis, lambda each: each["first, s"] - each["again, s"]) for axis in ("d", "K")),
        f"{1e6 * middle['again, s'] / base['N']:.3g}",
        middle["memory, MiB"],
    ]
    return dict(zip(FITTED, cells, strict=True))


def write_curves() -> None:
    for found in points(curves()):
        write_table(RESULTS / "scaling_points", HEADINGS["points"], POINTS, found)
    write_table(RESULTS / "scaling", HEADINGS["fitted"], FITTED, [fitted(found, kind) for kind in KINDS])


def write_many() -> None:
    columns = [name for name in POINTS if name != "axis"]
    for found in points(MANY):
        rows = [{name: each[name] for name in columns} for each in found]
        write_table(RESULTS / "many_classes", HEADINGS["many"], columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds and bytes of certify against its sizes.")
    parser.add_argument("--part", choices=("curves", "many"), help="default: both")
    options = parser.parse_args()
    with threadpool_limits(1):
        if options.part != "many":
            write_curves()
        if options.part != "curves":
            write_many()


if __name__ == "__main__":
    main()
