"""What was tried to raise certified accuracy further: other networks, epochs and radii, on the first split of ``shaping``.

``python -m benchmarks.paper.tried`` writes ``tried.csv``. On one core: ten minutes.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from sklearn.pipeline import make_pipeline

from benchmarks.paper import write_csv
from benchmarks.paper.shaping import RADIUS, SETS, reached, split
from skcert import CertifiedGMMClassifier, CertifiedMarginClassifier, LatentShaper

#: name, parameters, and by how much the radius trained for exceeds the one judged at
VARIANTS: tuple[tuple[str, dict[str, Any], float], ...] = (
    ("as it is: two hidden layers of 256", {}, 1.0),
    ("one hidden layer of 256", {"hidden_layer_sizes": (256,)}, 1.0),
    ("four hidden layers of 256", {"hidden_layer_sizes": (256,) * 4}, 1.0),
    ("two hidden layers of 64", {"hidden_layer_sizes": (64, 64)}, 1.0),
    ("60 epochs", {"max_epochs": 60}, 1.0),
    ("trained for a radius half as large again", {}, 1.5),
    ("trained for three quarters of the radius", {}, 0.75),
)


def main() -> None:
    rows = []
    for name in ("sms", "banking77", "imagenette"):
        latents = SETS[name]()
        parts = split(latents, 0)
        X = parts.train[0]
        radius = RADIUS * float(np.median(np.linalg.norm(X - X.mean(axis=0), axis=1)))
        settings = {"random_state": 0, "device": "cpu", "progress": False}
        models: list[tuple[str, Any]] = [
            (what, CertifiedMarginClassifier(**{"target_radius": factor * radius, **settings, **changed}))
            for what, changed, factor in VARIANTS
        ]
        shaper = LatentShaper(target_radius=radius, **settings)
        models.append(("full covariances behind it", make_pipeline(shaper, CertifiedGMMClassifier(covariance_type="full"))))
        for what, model in models:
            start = time.perf_counter()
            clean, certified = reached(model.fit(*parts.train), *parts.judge_by, radius)
            print(f"{name} {what:45s} {clean:.4f} {certified:.4f} {time.perf_counter() - start:.0f} s", flush=True)
            rows.append({"latents": latents.name, "tried": what, "clean": clean, "certified": certified})
    write_csv("tried", rows)


if __name__ == "__main__":
    main()
