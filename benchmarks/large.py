"""A million latents from a file: ``make bench-large``.

Writes 1,000,000 x 512 numbers of a mixture of ten classes to a temporary folder (2 GB in float32), fits on a sample, and
certifies the mapped file in a process of its own, whose private memory the kernel limits to 2 GiB (RLIMIT_DATA). Prints and
writes rows per second, private memory, and all that was resident, pages of the file included, which is what counts.
``--rows 50000`` is a quick look. Results are written to results/large.csv and results/large.md. Linux.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.measuring import MIB, PeakMemory, alone
from benchmarks.tables import RESULTS, write_table
from skcert import CertifiedGMMClassifier, certify

D, K = 512, 10
SAMPLE = 20_000
BLOCK = 20_000
LIMIT = 2 * 2**30
COLUMNS = [
    "covariance",
    "method",
    "rows",
    "type",
    "GiB of file",
    "s",
    "rows / s",
    "private, MiB",
    "resident, MiB",
    "limit, MiB",
    "",
]
HEADING = [
    f"A memory-mapped file of {D} features and {K} classes, wall-clock. Private memory is limited by the kernel; resident are",
    "also the pages of the file that are being read.",
]


def write_latents(path: Path, rows: int, dtype: str) -> np.ndarray:
    """Points of ten classes, each with its own axes; returns the classes."""
    rng = np.random.default_rng(0)
    spectrum = np.geomspace(3, 0.3, D).astype(np.float32)
    roots = [spectrum[:, None] * np.linalg.qr(rng.standard_normal((D, D)))[0].astype(np.float32) for _ in range(K)]
    means = 0.5 * rng.standard_normal((K, D)).astype(np.float32)
    y = np.sort(rng.integers(K, size=rows).reshape(-1, min(rows, BLOCK)), axis=1).ravel()  # each block has its classes in turn
    file = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(rows, D))
    for start in tqdm(range(0, rows, BLOCK), desc="writing", leave=False, disable=None):
        labels = y[start : start + BLOCK]
        for k in range(K):
            these = start + np.flatnonzero(labels == k)
            if len(these):
                drawn = rng.standard_normal((len(these), D), dtype=np.float32) @ roots[k] + means[k]
                file[these[0] : these[-1] + 1] = drawn
    file.flush()
    return y


def certified(model: CertifiedGMMClassifier, path: Path, method: str) -> dict[str, float]:
    """Called in a process of its own."""
    certify(model, np.zeros((1, D)), method=method)  # what any first call has to import
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    start = time.perf_counter()
    with PeakMemory() as peak:
        certificate = certify(model, np.load(path, mmap_mode="r"), method=method)
    seconds = time.perf_counter() - start
    assert len(certificate) and (certificate.radius > 0).mean() > 0.99
    return {"s": seconds, "private": peak.own / MIB, "resident": peak.resident / MIB}


def main() -> None:
    parser = argparse.ArgumentParser(description="Certificates of a memory-mapped file in 2 GiB.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the file is written")
    options = parser.parse_args()
    size = options.rows * D * np.dtype(options.dtype).itemsize
    if shutil.disk_usage(options.folder).free < 1.5 * size:
        raise SystemExit(f"{options.folder} needs {1.5 * size / 2**30:.1f} GiB: free some, or pass --folder or fewer --rows.")
    table = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "latents.npy"
        y = write_latents(path, options.rows, options.dtype)
        sample = np.random.default_rng(1).permutation(options.rows)[:SAMPLE]
        X = np.load(path, mmap_mode="r")[np.sort(sample)]
        for kind, method in (("tied", "auto"), ("full", "auto")):
            model = CertifiedGMMClassifier(covariance_type=kind).fit(X, y[np.sort(sample)])
            found = alone(certified, model, path, method)
            verdict = "ok" if found["resident"] <= LIMIT / MIB else "ABOVE"
            numbers = [
                f"{found['s']:.1f}",
                f"{options.rows / found['s']:,.0f}",
                round(found["private"]),
                round(found["resident"]),
            ]
            cells = [kind, method, f"{options.rows:,}", options.dtype, f"{size / 2**30:.2f}", *numbers, LIMIT // MIB, verdict]
            table.append(dict(zip(COLUMNS, cells, strict=True)))
            print("; ".join(map(str, cells)), flush=True)
            write_table(RESULTS / "large", HEADING, COLUMNS, table)  # row by row


if __name__ == "__main__":
    main()
