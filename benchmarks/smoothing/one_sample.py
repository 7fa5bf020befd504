"""One point, 100,000 votes, a linear head on 512 latents: skcert beside adversarial-robustness-toolbox.

``python -m benchmarks.smoothing.one_sample`` (the extra "bench"). Each contender runs in a process of its own: the median time
of five certificates after a first one, and how far the memory of the process rises above what it was before that one.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
import warnings
from importlib.metadata import version

import numpy as np

D, CLASSES, SIGMA, ALPHA, VOTES = 512, 10, 0.5, 0.001, 100_000


def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, biases and one point of radius about sigma."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((CLASSES, D)).astype(np.float32)
    return weights, np.zeros(CLASSES, dtype=np.float32), (weights[0] * 0.045).reshape(1, D)


def skcert_certifier():
    from sklearn.linear_model import LogisticRegression

    from skcert import RandomizedSmoothingClassifier

    weights, biases, _ = problem()
    head = LogisticRegression()
    head.coef_, head.intercept_ = weights.astype(float), biases.astype(float)
    head.classes_, head.n_features_in_ = np.arange(CLASSES), D
    smoothed = RandomizedSmoothingClassifier(head, sigma=SIGMA, n_certify=VOTES, alpha=ALPHA, random_state=0)
    return lambda x: float(smoothed.certify(x.astype(float)).radius[0])


def skcert_by_predict():
    """The same without looking into the head: noise on all 512 features, then predict."""
    from sklearn.linear_model import LogisticRegression

    from skcert import RandomizedSmoothingClassifier

    class Opaque(LogisticRegression):
        def predict(self, X):
            return super().predict(X)

    weights, biases, _ = problem()
    head = Opaque()
    head.coef_, head.intercept_ = weights.astype(float), biases.astype(float)
    head.classes_, head.n_features_in_ = np.arange(CLASSES), D
    smoothed = RandomizedSmoothingClassifier(head, sigma=SIGMA, n_certify=VOTES, alpha=ALPHA, random_state=0)
    return lambda x: float(smoothed.certify(x).radius[0])


def art_certifier():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        from art.estimators.certification.randomized_smoothing import PyTorchRandomizedSmoothing

    weights, biases, _ = problem()
    head = torch.nn.Linear(D, CLASSES)
    head.load_state_dict({"weight": torch.from_numpy(weights), "bias": torch.from_numpy(biases)})
    smoothed = PyTorchRandomizedSmoothing(
        model=head, loss=torch.nn.CrossEntropyLoss(), input_shape=(D,), nb_classes=CLASSES, sample_size=100, scale=SIGMA,
        alpha=ALPHA, device_type="cpu",
    )  # fmt: skip
    return lambda x: float(smoothed.certify(x, n=VOTES)[1][0])


CONTENDERS = {
    "skcert": skcert_certifier,
    "skcert, by predict": skcert_by_predict,
    "adversarial-robustness-toolbox": art_certifier,
}


def measured(name: str) -> dict[str, float]:
    certify, x = CONTENDERS[name](), problem()[2]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    radius = certify(x)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    times = []
    for _ in range(5):
        start = time.perf_counter()
        certify(x)
        times.append(time.perf_counter() - start)
    return {"seconds": float(np.median(times)), "MiB": memory / 1024, "radius": radius}


def main() -> None:
    parser = argparse.ArgumentParser(description="One sample under randomized smoothing: time and memory.")
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.one)))
        return
    found = {}
    for name in CONTENDERS:
        command = [sys.executable, "-m", "benchmarks.smoothing.one_sample", "--one", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
    ours = found["skcert"]
    print(f"one point, {VOTES:,} votes, d = {D}, {CLASSES} classes, sigma {SIGMA:g}, alpha {ALPHA:g}")
    for name, each in found.items():
        times, leaner = each["seconds"] / ours["seconds"], each["MiB"] / max(ours["MiB"], 1)
        print(
            f"{name:32}{each['seconds']:9.4f} s {each['MiB']:8.1f} MiB   radius {each['radius']:.3f}"
            f"   {times:6.1f} x the time, {leaner:5.1f} x the memory"
        )
    names = ("numpy", "scikit-learn", "torch", "adversarial-robustness-toolbox")
    print(f"Python {platform.python_version()}, {', '.join(f'{n} {version(n)}' for n in names)}; {time.strftime('%Y-%m-%d')}")


if __name__ == "__main__":
    main()
