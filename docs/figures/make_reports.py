"""The reports of the gallery: ``python docs/figures/make_reports.py`` writes them to docs/_static.

That of CIFAR-10 needs the folder ``cifar10`` of ``SKCERT_DATA`` (latents of a ResNet-20), and is left out without.
"""

import os
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcert import CertifiedGMMClassifier, certify, robustness_report

OUT = Path(__file__).parents[1] / "_static"
LATENTS = Path(os.environ.get("SKCERT_DATA", "../shared/data")) / "cifar10" / "cifar10_resnet20_emb.npz"


def breast_cancer():
    X, y = load_breast_cancer(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, random_state=0)
    model = make_pipeline(StandardScaler(), CertifiedGMMClassifier()).fit(X, y)
    robust = make_pipeline(StandardScaler(), CertifiedGMMClassifier(target_radius=1.5)).fit(X, y)
    print("target_radius=1.5:", certify(robust, X_test, space="standardscaler").certified_accuracy(y_test, [0, 1.5]))
    return robustness_report(model, X_test, y_test, space="standardscaler", radii=[0, 0.5, 1, 1.5, 2, 2.5])


def cifar10():
    data = np.load(LATENTS)
    model = CertifiedGMMClassifier().fit(data["train"], data["train_labels"])
    return robustness_report(model, data["test"], data["test_labels"], radii=[0, 0.25, 0.5, 0.75, 1, 1.5])


if __name__ == "__main__":
    for make in (breast_cancer, *((cifar10,) if LATENTS.exists() else ())):
        start = time.perf_counter()
        report = make()
        print(report, f"\n{time.perf_counter() - start:.0f} s\n")
        report.to_html(OUT / f"report-{make.__name__.replace('_', '-')}.html")
