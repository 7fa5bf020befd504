"""GridSearchCV over certificates with one worker and with two, the threads of BLAS left alone: ``python -m benchmarks.search``.

Every search runs in a process of its own, without OMP_NUM_THREADS and its like, wall-clock and CPU time with that of the
workers: with too many threads for the cores the latter grows. The best of ``--repeats`` runs in turn. Both searches must find
the same scores. Results are written to results/search.csv and results/search.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np
from sklearn.model_selection import GridSearchCV

from benchmarks.problems import cifar10, imagenette
from benchmarks.tables import RESULTS, write_table
from skcert import CertifiedGMMClassifier, Certifier
from skcert.metrics import certified_accuracy_scorer

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
POINTS = 4000
GRID = {"covariance_type": ["tied", "diag", "full"], "shrinkage": ["auto", 0.05, 0.2]}
LATENTS = {"CIFAR-10, d = 64": cifar10, "Imagenette, d = 512": imagenette}
COLUMNS = ["latents", "fits", "wall, n_jobs=1", "wall, n_jobs=2", "times faster", "CPU, n_jobs=1", "CPU, n_jobs=2", ""]
HEADING = [
    f"GridSearchCV with certified_accuracy_scorer, 9 candidates (tied, diag, full), 3 folds of {POINTS:,} points, threads of",
    "BLAS as they are. CPU time includes the making of the latents and, in every worker, the loading of libraries.",
]


def search(name: str, n_jobs: int) -> dict[str, object]:
    X, y, _, _ = LATENTS[name]()
    some = np.random.default_rng(0).permutation(len(y))[:POINTS]
    X, y = X[some], y[some]
    radius = float(np.median(Certifier(CertifiedGMMClassifier().fit(X, y)).certify(X).radius)) / 2
    scorer = certified_accuracy_scorer(radius)
    found = GridSearchCV(CertifiedGMMClassifier(), GRID, scoring=scorer, cv=3, n_jobs=n_jobs, refit=False)
    start = time.perf_counter()
    found.fit(X, y)
    wall = time.perf_counter() - start
    return {"wall": wall, "scores": found.cv_results_["mean_test_score"].tolist()}


def alone(name: str, n_jobs: int) -> dict[str, object]:
    """In a process of its own, with the CPU seconds of all that it started."""
    environment = {key: value for key, value in os.environ.items() if key not in THREADS}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "benchmarks.search", "--one", name, "--jobs", str(n_jobs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**json.loads(done.stdout.splitlines()[-1]), "cpu": cpu}


def row(name: str, repeats: int) -> dict[str, object]:
    runs = {n_jobs: [] for n_jobs in (1, 2)}
    for _ in range(repeats):
        for n_jobs, each in runs.items():
            each.append(alone(name, n_jobs))
    one, two = (min(each, key=lambda run: run["wall"]) for each in runs.values())
    assert np.allclose(one["scores"], two["scores"], rtol=0, atol=1e-3)
    fits = 3 * len(one["scores"])
    faster = one["wall"] / two["wall"]
    numbers = [f"{one['wall']:.1f} s", f"{two['wall']:.1f} s", f"{faster:.2f}", f"{one['cpu']:.1f} s", f"{two['cpu']:.1f} s"]
    return dict(zip(COLUMNS, [name, fits, *numbers, "ok" if faster > 1 else "SLOWER"], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description="A search over certificates with one and with two workers.")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--one", choices=LATENTS, help=argparse.SUPPRESS)
    parser.add_argument("--jobs", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(search(options.one, options.jobs)))
        return
    table = []
    for name in LATENTS:
        table.append(row(name, options.repeats))
        print("; ".join(map(str, table[-1].values())), flush=True)
        write_table(RESULTS / "search", HEADING, COLUMNS, table)  # row by row


if __name__ == "__main__":
    main()
