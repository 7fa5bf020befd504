"""The digits of the guide on shaped latents: ``python -m benchmarks.paper.digits`` writes ``digits.csv``.

Certified accuracy of CertifiedMarginClassifier on 450 images of 8 x 8 grey levels, by ``target_radius``, beside a mixture with
a covariance per class and the LogisticRegression whose C is best at radius 4 on these very images. On one core: a minute.
"""

from __future__ import annotations

from typing import Any

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from benchmarks.paper import write_csv
from skcert import CertifiedGMMClassifier, CertifiedMarginClassifier, certify

TARGETS = (1, 4, 8, 12)
RADII = (0, 2, 4, 8, 12)
GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def main() -> None:
    X, y = load_digits(return_X_y=True)
    X, Z, y, labels = train_test_split(X, y, random_state=0)

    def curve(model: Any) -> list[float]:
        return list(certify(model, Z).certified_accuracy(labels, RADII))

    curves = {
        f"target_radius={r}": curve(
            CertifiedMarginClassifier(target_radius=r, random_state=0, device="cpu", progress=False).fit(X, y)
        )
        for r in TARGETS
    }
    curves["mixture, full"] = curve(CertifiedGMMClassifier(covariance_type="full").fit(X, y))
    linear = [curve(LogisticRegression(C=C, max_iter=5000).fit(X, y)) for C in GRID]
    curves["LogisticRegression(C)"] = max(linear, key=lambda reached: reached[RADII.index(4)])
    rows = [{"rule": name, **dict(zip(map(str, RADII), reached, strict=True))} for name, reached in curves.items()]
    write_csv("digits", rows, digits=3)


if __name__ == "__main__":
    main()
