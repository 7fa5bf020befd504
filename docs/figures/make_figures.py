"""The pictures of docs/guide/certify.md: ``python docs/figures/make_figures.py`` writes them beside this file."""

from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from PIL import Image
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcert import CertifiedGMMClassifier, certify
from skcert.metrics import certified_accuracy_scorer
from skcert.plotting import CertifiedAccuracyDisplay, CertifiedRegionDisplay

HERE = Path(__file__).parent


def save(figure, name: str) -> None:
    """As a PNG of 256 colours: half the bytes, and no difference to be seen."""
    buffer = BytesIO()
    figure.savefig(buffer, dpi=110)
    image = Image.open(buffer).convert("RGB")
    palette = image.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=4)
    image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(HERE / name, optimize=True)


def regions() -> None:
    """Two measurements of the wines: the same model and the same boundaries, by two methods."""
    wine, grower = load_wine(return_X_y=True, as_frame=True)
    pair = wine[["alcohol", "flavanoids"]]
    model = make_pipeline(StandardScaler(), CertifiedGMMClassifier(covariance_type="full")).fit(pair, grower)
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 4.7), sharey=True, layout="constrained")
    shown = CertifiedRegionDisplay.from_estimator(model, pair, grower, n_balls=14, ax=axes[0])
    stated = certify(model, pair, method="paper")
    other = CertifiedRegionDisplay.from_estimator(model, pair, grower, method="paper", n_balls=0, ax=axes[1])
    # the balls of the same points on both sides
    other.balls, other.certificate = shown.balls, stated
    axes[1].clear()
    other.plot(axes[1])
    axes[0].get_legend().remove()
    axes[0].set_title('method="exact"')
    axes[1].set_title('method="paper"')
    axes[1].set_ylabel("")
    axes[1].tick_params(labelleft=False)
    save(figure, "regions.png")


def accuracy() -> None:
    """Seven models of the digits behind the same PCA."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.33, stratify=y, random_state=0)
    search = GridSearchCV(
        make_pipeline(PCA(40, random_state=0), LogisticRegression(max_iter=5000)),
        {"logisticregression__C": np.logspace(-5, 0, 11)},
        scoring=certified_accuracy_scorer(radius=4),
        cv=3,
    ).fit(X, y)
    classifiers = {
        "full": CertifiedGMMClassifier(covariance_type="full"),
        "tied": CertifiedGMMClassifier(),
        "tied, target_radius=4": CertifiedGMMClassifier(target_radius=4),
        "tied, target_radius=8": CertifiedGMMClassifier(target_radius=8),
        "NearestCentroid": NearestCentroid(),
        "LogisticRegression, C=1": LogisticRegression(max_iter=5000),
    }
    models = {name: make_pipeline(PCA(40, random_state=0), c).fit(X, y) for name, c in classifiers.items()}
    models["LogisticRegression, tuned"] = search.best_estimator_
    figure, ax = plt.subplots(figsize=(7.4, 4.4), layout="constrained")
    certificates = {name: certify(model, X_test) for name, model in models.items()}
    CertifiedAccuracyDisplay.from_certificates(certificates, y_test, ax=ax)
    ax.set_title("Digits: certified accuracy, radius in grey levels of 0 to 16")
    ax.legend(frameon=False, loc="lower left", fontsize=9)
    save(figure, "accuracy.png")


if __name__ == "__main__":
    regions()
    accuracy()
