"""The kernels on an NVIDIA GPU, each as a share of its own ceiling and beside the plain CuPy expression of the same thing.

``python -m benchmarks.gpu`` measures the ceilings in the same run: the float64 products of the same shapes alone, the bytes
that must move at the speed of a copy on the device, float64 arithmetic outside products. It writes ``results/gpu.csv`` and
``gpu.md``; without a device it says so and writes nothing.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.problems import hard_case, imagenette
from benchmarks.tables import RESULTS, write_table
from skcert import CertifiedGMMClassifier
from skcert.backends import cuda
from skcert.backends.cuda import quadratic
from skcert.boundaries import AffineBoundary, QuadraticBoundary

COLUMNS = ["what", "shape", "rows/s", "ceiling", "share of it in %", "wanted", "plain CuPy, times slower", "off the CPU by"]
#: rows compared with the CPU's answers
COMPARED = 1000
#: steps after which the plain Newton gives up
STEPS = 60


def seconds(cupy: Any, function: Callable[[], Any], repeats: int = 7) -> float:
    """Median time on the device, after two calls that compile and allocate."""
    times = []
    for _ in range(repeats + 2):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        cupy.cuda.Device().synchronize()
        start.record()
        function()
        cupy.cuda.Device().synchronize()  # work goes on in streams of its own
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, end) / 1000)
    return float(np.median(times[2:]))


# -- ceilings --------------------------------------------------------------------------------------------------------------


def bandwidth(cupy: Any) -> float:
    """Bytes a second of a copy on the device, read and written."""
    source = cupy.zeros(2**27)
    target = cupy.empty_like(source)
    return 2 * source.nbytes / seconds(cupy, lambda: cupy.copyto(target, source))


def arithmetic(cupy: Any) -> float:
    """Float64 FMAs a second outside of products of matrices."""
    chain = " ".join(["x = fma(x, 0.999, 1e-9); w = fma(w, 0.998, 1e-9);"] * 64)
    kernel = cupy.ElementwiseKernel("float64 y", "float64 z", f"double x = y, w = y + 1; {chain} z = x + w;", "chain")
    y = cupy.zeros(2**24)
    return 128 * y.size / seconds(cupy, lambda: kernel(y))


def product(cupy: Any, *shapes: tuple[int, ...]) -> float:
    """Seconds of one float64 product of these shapes."""
    left, right = (cupy.full(shape, 0.5) for shape in shapes)
    out = cupy.empty((*shapes[0][:-1], shapes[1][-1]))
    return seconds(cupy, lambda: cupy.matmul(left, right, out=out))


# -- the plain expressions -------------------------------------------------------------------------------------------------


def plain_affine(cupy: Any, boundary: AffineBoundary, X: Any) -> Any:
    """Radii between linear scores, without errors."""
    way, intercept, inverse = (cupy.asarray(a) for a in (boundary.coef.T, boundary.intercept, boundary._inverse))
    center = cupy.asarray(boundary.center)
    found = []
    for rows in range(0, len(X), 2**14):
        scores = (X[rows : rows + 2**14] - center) @ way + intercept
        winner = scores.argmax(axis=1)
        ratio = (scores.max(axis=1)[:, None] - scores) * inverse[winner]
        ratio[cupy.arange(len(winner)), winner] = cupy.inf
        found.append(ratio.min(axis=1))
    return cupy.concatenate(found)


def plain_pairwise(cupy: Any, boundary: QuadraticBoundary, X: Any, part: int) -> Any:
    """Radii from slopes and lambda_min, without errors; full or diagonal."""
    d = boundary.discriminant
    means, P, constants, low = (cupy.asarray(a) for a in (d.means, d.precisions, d.constants, boundary._bends(True)[0]))
    found = []
    for start in range(0, len(X), part):
        x = X[start : start + part][None] - means[:, None]
        y = x * P[:, None] if d.diagonal else x @ P
        scores = (constants[:, None] - (x * y).sum(axis=2)).T
        winner, at = scores.argmax(axis=1), cupy.arange(x.shape[1])
        own = y[winner, at]
        slope = cupy.stack([cupy.sqrt(((y_k - own) ** 2).sum(axis=1)) for y_k in y], axis=1)
        margin, bend = scores[at, winner][:, None] - scores, low[winner]
        inside = slope**2 - bend * margin
        radius = cupy.where(inside < 0, cupy.inf, margin / (slope + cupy.sqrt(cupy.maximum(inside, 0))))
        radius[at, winner] = cupy.inf
        found.append(radius.min(axis=1))
    return cupy.concatenate(found)


def plain_newton(cupy: Any, margin: Any, h: Any, w: Any) -> Any:
    """Roots of the dual's derivative, all rows in step: safeguarded Newton in t on expressions of arrays (theory 1.3)."""
    squares, top = h * h, cupy.where(w[:, 0] < 0, -1 / w[:, 0], cupy.inf)
    low, high = cupy.zeros(len(h)), top * (1 - 1e-15)
    t = cupy.minimum(margin / (2 * squares.sum(axis=1)), high / 2)
    for _ in range(STEPS):
        D = 1 + t[:, None] * w
        slope = margin - (squares * t[:, None] * (2 + t[:, None] * w) / D**2).sum(axis=1)
        bend = -2 * (squares / D**3).sum(axis=1)
        low, high = cupy.where(slope > 0, t, low), cupy.where(slope > 0, high, t)
        step = t - slope / bend
        middle = cupy.where(cupy.isinf(high), 2 * t, (low + high) / 2)
        step = cupy.where((step > low) & (step < high), step, middle)
        if (cupy.abs(step - t) <= 1e-10 * t).all():
            break
        t = step
    return cupy.sqrt(cupy.maximum(t * margin - t**2 * (squares / (1 + t[:, None] * w)).sum(axis=1), 0))


# -- measurements ----------------------------------------------------------------------------------------------------------


class Watch:
    """Launches of the solver while it is watched: how many tasks, and the largest launch again."""

    def __init__(self) -> None:
        self.launch, self.tasks, self.largest = quadratic.launch, 0, None

    def __enter__(self) -> Watch:
        quadratic.launch = self._noted
        return self

    def __exit__(self, *_: object) -> None:
        quadratic.launch = self.launch

    def _noted(self, cupy: Any, name: str, warps: int, *args: Any) -> None:
        self.launch(cupy, name, warps, *args)
        if name.startswith("solve"):
            self.tasks += warps
            if self.largest is None or warps > self.largest[1]:
                cupy.cuda.get_current_stream().synchronize()
                # the next portion overwrites its arrays
                self.largest = name, warps, *(a.copy() if isinstance(a, cupy.ndarray) else a for a in args)


def difference(boundary: Any, X: np.ndarray, method: str) -> float:
    """Largest relative difference of radii from the CPU's."""
    ours, theirs = cuda.nearest(boundary, X, method=method), boundary.nearest(X, method=method)
    assert (ours.winner == theirs.winner).all()
    with np.errstate(invalid="ignore"):
        return float(np.nanmax(np.abs(ours.radius / theirs.radius - 1)))


def row(what, shape, n, ours, ceiling, kind, wanted, plain, off) -> dict[str, object]:
    """One line of the table; ceilings and our time in seconds for n rows."""
    share = 100 * ceiling / ours
    cells = [
        what,
        shape,
        f"{n / ours:,.0f}",
        f"{n / ceiling:,.0f} ({kind})",
        f"{share:.0f}",
        "" if wanted is None else f">= {wanted}",
        "" if plain is None else f"{plain / ours:.1f}",
        "" if off is None else f"{off:.0e}",
    ]
    print(" | ".join(cells), flush=True)
    return dict(zip(COLUMNS, cells, strict=True))


def affine(cupy: Any, speed: float, N: int) -> dict[str, object]:
    rng = np.random.default_rng(0)
    d, K = 512, 1000
    means = 0.3 * rng.standard_normal((K, d))
    model = CertifiedGMMClassifier.from_parameters(means, np.diag(rng.uniform(0.5, 2, d)), covariance_type="tied")
    boundary = AffineBoundary(model._discriminant, None, None, 2)
    X = means[rng.integers(0, K, N)] + rng.standard_normal((N, d))
    there = cupy.asarray(X)
    ours = seconds(cupy, lambda: cuda.nearest(boundary, there, method="exact"))
    ceiling = product(cupy, (N, d), (d, K))
    moving = 8 * N * (d + 2 * K) / speed  # the points, the scores written and read once
    kind = "product" if ceiling > moving else "bandwidth"
    plain = seconds(cupy, lambda: plain_affine(cupy, boundary, there))
    off = difference(boundary, X[:COMPARED], "exact")
    return row("affine", f"d={d}, K={K}", N, ours, max(ceiling, moving), kind, 70, plain, off)


def gaussian(cupy: Any, N: int) -> list[dict[str, object]]:
    """Full covariances on Imagenette latents, and where pruning fails."""
    latents = imagenette()
    table = []
    problems = [
        (latents.source, CertifiedGMMClassifier(covariance_type="full").fit(latents.X, latents.y), latents.Z),
        ("nothing to prune", *hard_case()),
    ]
    for source, model, Z in problems:
        boundary = QuadraticBoundary(model._discriminant)
        X = np.tile(Z, (-(-N // len(Z)), 1))[:N]
        there, (K, d) = cupy.asarray(X), model.means_.shape
        shape = f"d={d}, K={K}; {source}"
        products = product(cupy, (K, 4096, d), (K, d, d)) * N / 4096
        ours = seconds(cupy, lambda b=boundary, x=there: cuda.nearest(b, x, method="pairwise"))
        plain = seconds(cupy, lambda b=boundary, x=there: plain_pairwise(cupy, b, x, 4096), 3)
        off = difference(boundary, X[:COMPARED], "pairwise")
        table.append(row("pairwise", shape, N, ours, products, "product", None, plain, off))

        off = difference(boundary, X[:COMPARED], "exact")
        with Watch() as watch:
            cuda.nearest(boundary, there, method="exact")
        ours = seconds(cupy, lambda b=boundary, x=there: cuda.nearest(b, x, method="exact"))
        turning = product(cupy, (32768, d), (d, d)) * watch.tasks / 32768
        print(f"    {watch.tasks / N:.1f} solves a row")
        table.append(row("exact", shape, N, ours, products + turning, "products", 60, None, off))
        table.append(solver(cupy, watch, shape))
    return table


def solver(cupy: Any, watch: Watch, shape: str) -> dict[str, object]:
    """The largest launch of the solve kernel again, beside its product and beside Newton on arrays."""
    name, tasks, *given = watch.largest
    turned, _, flat, slots, winner, _, values, shifts, _, scores = given[:10]
    d, K = given[-4], given[-3]
    ours = seconds(cupy, lambda: watch.launch(cupy, name, tasks, *given))
    rows, rival = flat // K, flat % K
    own = winner[rows]
    sign = cupy.where(own > rival, -1.0, 1.0)[:, None]
    w = values[slots] * sign
    h = turned * w + shifts[slots, (own > rival).astype(int)]
    order = cupy.argsort(w, axis=1)  # the pole first
    w, h = (cupy.take_along_axis(a, order, axis=1) for a in (w, h))
    margin = scores[rows, own] - scores[rows, rival]
    plain = seconds(cupy, lambda: plain_newton(cupy, margin, h, w), 3)
    return row("solves alone", shape, tasks, ours, product(cupy, (tasks, d), (d, d)), "their product", None, plain, None)


def diagonal(cupy: Any, flops: float, N: int) -> list[dict[str, object]]:
    rng = np.random.default_rng(0)
    d, K = 768, 1000
    means, variances = 0.3 * rng.standard_normal((K, d)), rng.uniform(0.5, 2, (K, d))
    y = rng.integers(0, K, N)
    X = means[y] + np.sqrt(variances[y]) * rng.standard_normal((N, d))
    boundary = QuadraticBoundary(CertifiedGMMClassifier.from_parameters(means, variances)._discriminant)
    there, table = cupy.asarray(X), []
    # difference, product, sums of xy, y^2, (ux)^2, |xy| for the scores; two slopes and the square of their gap for the bounds
    ceiling = N * K * d * (8 + 6) / flops
    plain = seconds(cupy, lambda: plain_pairwise(cupy, boundary, there, 64), 1)
    for method in ("pairwise", "exact"):
        ours = seconds(cupy, lambda m=method: cuda.nearest(boundary, there, method=m), 3)
        off = difference(boundary, X[:100], method)
        beside = plain if method == "pairwise" else None
        table.append(row(f"diagonal, {method}", f"d={d}, K={K}", N, ours, ceiling, "arithmetic", None, beside, off))
    return table


def streaming(cupy: Any, N: int) -> dict[str, object]:
    """NumPy in, NumPy out: float32 points from pageable memory beside a pinned copy of the same bytes."""
    rng = np.random.default_rng(0)
    d, K = 512, 10
    model = CertifiedGMMClassifier.from_parameters(rng.standard_normal((K, d)), np.eye(d), covariance_type="tied")
    boundary = AffineBoundary(model._discriminant, None, None, 2)
    X = rng.standard_normal((N, d), dtype=np.float32)
    memory = cupy.cuda.alloc_pinned_memory(2**28)
    piece = np.frombuffer(memory, np.float32, 2**26)
    piece[...] = 1
    target = cupy.empty(piece.shape, dtype=np.float32)
    copies = seconds(cupy, lambda: target.set(piece)) * X.nbytes / piece.nbytes
    ours = seconds(cupy, lambda: cuda.nearest(boundary, X, method="exact"), 3)
    return row("from the host", f"d={d}, K={K}, float32", N, ours, copies, "pinned copy", None, None, None)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="of the affine problem; the others take their share of it")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu", help="results, without suffix")
    options = parser.parse_args(arguments)
    try:
        cupy = cuda.require()
    except (ImportError, RuntimeError) as error:
        print(f"Nothing is measured and nothing written: {error}")
        return
    warnings.filterwarnings("error", "GPU .* contradicts the CPU")  # the CPU would be timed
    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()
    version = cupy.cuda.runtime.runtimeGetVersion()
    speed, flops, N = bandwidth(cupy), arithmetic(cupy), options.rows
    whole = 2 * 8192**3 / product(cupy, (8192, 8192), (8192, 8192))
    table = [affine(cupy, speed, N), *gaussian(cupy, N // 2), *diagonal(cupy, flops, max(N // 50, 1)), streaming(cupy, 5 * N)]
    heading = [
        f"{name}, CUDA {version // 1000}.{version % 1000 // 10}. Measured in the same run: float64 products",
        f"{whole / 1e12:.1f} TFLOP/s, copies on the device {speed / 1e12:.2f} TB/s, float64 outside products",
        f"{2 * flops / 1e12:.1f} TFLOP/s. Points are on the device but for the last line. A ceiling is the rate at which the",
        "named part alone would run: the products of the same shapes, the bytes that must move, or the arithmetic.",
    ]
    write_table(options.out, heading, COLUMNS, table, ("numpy", f"cupy-cuda{version // 1000}x"))


if __name__ == "__main__":
    main()
