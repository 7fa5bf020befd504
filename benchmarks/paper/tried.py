"""Variants of CertifiedMarginClassifier, by which its defaults were chosen: ``python -m benchmarks.paper.tried``.

On the first split of ``shaping``, not on the points that it is judged by: sentences are fitted on four fifths of the training
points and compared on the last one, Imagenette on the other half of the test points, of which other splits judge by some.
``tried.csv`` has certified accuracy on the points fitted as well: what is missing is missing on new points only. On one core:
half an hour.
"""

from __future__ import annotations

import time
from typing import Any
from unittest.mock import patch

import numpy as np
from sklearn.pipeline import make_pipeline

from benchmarks.paper import write_csv
from benchmarks.paper.shaping import RADIUS, SETS, reached, split
from skcert import CertifiedGMMClassifier, CertifiedMarginClassifier, LatentShaper
from skcert.shaping import training

#: name, parameters, and constants of the training in other values
VARIANTS: tuple[tuple[str, dict[str, Any], dict[str, float]], ...] = (
    ("as it is: two hidden layers of 256, 60 epochs", {}, {}),
    ("one hidden layer of 256", {"hidden_layer_sizes": (256,)}, {}),
    ("four hidden layers of 256", {"hidden_layer_sizes": (256,) * 4}, {}),
    ("two hidden layers of 64", {"hidden_layer_sizes": (64, 64)}, {}),
    ("30 epochs", {"max_epochs": 30}, {}),
    ("without noise", {}, {"NOISE": 0.0}),
    ("noise twice as large", {}, {"NOISE": 0.04}),
    ("asked for 2.5 target radii instead of 1.5", {}, {"ASKED": 2.5}),
    ("temperature 0.025", {}, {"TEMPERATURE": 0.025}),
    ("temperature 0.1", {}, {"TEMPERATURE": 0.1}),
)


def main() -> None:
    rows = []
    for name in ("sms", "banking77", "imagenette"):
        latents = SETS[name]()
        parts = split(latents, 0)
        X = parts.train[0]
        radius = RADIUS * float(np.median(np.linalg.norm(X - X.mean(axis=0), axis=1)))
        settings = {"random_state": 0, "device": "cpu", "progress": False}
        models: list[tuple[str, Any, dict[str, float]]] = [
            (what, CertifiedMarginClassifier(target_radius=radius, **settings, **changed), constants)
            for what, changed, constants in VARIANTS
        ]
        shaper = LatentShaper(target_radius=radius, **settings)
        behind = make_pipeline(shaper, CertifiedGMMClassifier(covariance_type="full"))
        for what, model, constants in [*models, ("full covariances behind it", behind, {})]:
            start = time.perf_counter()
            with patch.multiple(training, **{"NOISE": training.NOISE, **constants}):
                model.fit(*parts.try_on)
            clean, certified = reached(model, *parts.choose_by, radius)
            _, trained = reached(model, *parts.try_on, radius)
            print(
                f"{name} {what:45s} {clean:.4f} {certified:.4f} {trained:.4f} {time.perf_counter() - start:.0f} s", flush=True
            )
            row = {"latents": latents.name, "tried": what, "clean": clean, "certified": certified}
            rows.append(row | {"certified on training points": trained})
    write_csv("tried", rows)


if __name__ == "__main__":
    main()
