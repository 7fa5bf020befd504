"""The pictures of the guide: ``python docs/figures/make_figures.py`` writes them beside this file, or those that are named.

Those of docs/guide/tables.md need the census incomes, in the folder ``tabular`` of ``SKCERT_DATA``, and are left out without.
"""

import os
import sys
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from PIL import Image
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits, load_wine, make_moons
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from skcert import CertifiedGMMClassifier, certify
from skcert.metrics import certified_accuracy_scorer
from skcert.plotting import CertifiedAccuracyDisplay, CertifiedRegionDisplay

HERE = Path(__file__).parent
ADULT = Path(os.environ.get("SKCERT_DATA", HERE.parents[1] / "../shared/data")) / "tabular"


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


def components() -> None:
    """Two moons with one component per class and with "bic", and odd against even digits."""
    X, y = make_moons(1000, noise=0.15, random_state=0)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=0)
    one = CertifiedGMMClassifier(covariance_type="full").fit(X, y)
    several = CertifiedGMMClassifier(covariance_type="full", n_components="bic", random_state=0).fit(X, y)
    figure, axes = plt.subplots(2, 2, figsize=(8.4, 6.8), layout="constrained", height_ratios=(1, 1.15))
    regions = ((axes[0, 0], one, "One component per class"), (axes[0, 1], several, 'n_components="bic": three per class'))
    for ax, model, title in regions:
        CertifiedRegionDisplay.from_estimator(model, X_test[:250], y_test[:250], grid_resolution=120, n_balls=12, ax=ax)
        ax.set(title=title, xlabel="", ylabel="")
        ax.get_legend().remove()
    axes[0, 0].legend(*axes[0, 0].get_legend_handles_labels(), fontsize=8, loc="lower left", framealpha=0.9, edgecolor="none")
    certificates = {"1 component": certify(one, X_test), '"bic"': certify(several, X_test)}
    shown = CertifiedAccuracyDisplay.from_certificates(certificates, y_test, attack=True, ax=axes[1, 0])
    shown.ax_.set(title="Two moons", xlim=(0, 0.8))

    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y % 2, test_size=0.5, stratify=y % 2, random_state=0)
    classifiers = {
        "tied, 1 component": CertifiedGMMClassifier(),
        'tied, "bic"': CertifiedGMMClassifier(n_components="bic", random_state=0),
        "full, 1 component": CertifiedGMMClassifier(covariance_type="full"),
        'full, "bic"': CertifiedGMMClassifier(covariance_type="full", n_components="bic", random_state=0),
        "LogisticRegression": LogisticRegression(max_iter=5000),
    }
    models = {name: make_pipeline(PCA(16, random_state=0), c).fit(X, y) for name, c in classifiers.items()}
    certificates = {name: certify(model, X_test) for name, model in models.items()}
    shown = CertifiedAccuracyDisplay.from_certificates(certificates, y_test, ax=axes[1, 1])
    shown.ax_.set(title="Odd and even digits", xlim=(0, 16), ylabel="")
    for ax in axes[1]:
        ax.legend(frameon=False, fontsize=8.5)
    save(figure, "components.png")


def adult() -> tuple:
    """The census incomes as docs/guide/tables.md reads them, a pipeline for them, and what may move."""
    columns = (
        "age workclass fnlwgt education education-num marital-status occupation relationship "
        "race sex capital-gain capital-loss hours-per-week native-country income"
    ).split()

    def read(file):
        table = pd.read_csv(ADULT / file, names=columns, skipinitialspace=True, na_values="?", comment="|")
        return table.drop(columns="income"), table["income"].str.rstrip(".")

    X, y = read("adult-train.csv")
    numbers = ["age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week"]
    categories = [column for column in X if column not in numbers]

    def fitted(classifier):
        for_numbers = make_pipeline(SimpleImputer(), StandardScaler())
        encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        for_categories = make_pipeline(SimpleImputer(strategy="most_frequent"), encoder)
        table = ColumnTransformer([("num", for_numbers, numbers), ("cat", for_categories, categories)])
        return Pipeline([("table", table), ("model", classifier)]).fit(X, y)

    still = {"education-num": 0, "fnlwgt": 0}
    deviations = X[numbers].std().to_dict() | still
    tolerance = {"age": 1, "hours-per-week": 2, "capital-gain": 100, "capital-loss": 100} | still
    return *read("adult-test.csv"), fitted, deviations, tolerance


def tables() -> None:
    """Models of the census incomes in two units, and what the shortest attack on one row moves."""
    X_test, y_test, fitted, deviations, tolerance = adult()
    classifiers = {
        "LogisticRegression, C=1": LogisticRegression(max_iter=1000),
        "LogisticRegression, C=0.001": LogisticRegression(C=0.001, max_iter=1000),
        "LinearSVC, C=0.01": LinearSVC(C=0.01, random_state=0),
        "LinearDiscriminantAnalysis": LinearDiscriminantAnalysis(),
        "GaussianNB, var_smoothing=0.1": GaussianNB(var_smoothing=0.1),
    }
    models = {name: fitted(classifier) for name, classifier in classifiers.items()}
    in_deviations = {name: certify(model, X_test, feature_scale=deviations) for name, model in models.items()}
    linear = {name: model for name, model in models.items() if "NB" not in name}
    in_tolerances = {name: certify(model, X_test, norm=np.inf, feature_scale=tolerance) for name, model in linear.items()}
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 4.4), sharey=True, layout="constrained")
    for ax, certificates, end, unit in (
        (axes[0], in_deviations, 1.5, "standard deviations"),
        (axes[1], in_tolerances, 15, "tolerances"),
    ):
        CertifiedAccuracyDisplay.from_certificates(certificates, y_test, ax=ax)
        constant = (y_test == "<=50K").mean()
        ax.axhline(constant, color="0.4", linewidth=1, linestyle="--", label="always <=50K")
        ax.set(xlim=(0, end), ylim=(0.4, 0.9), xlabel=ax.get_xlabel().replace("units of the input", unit))
    axes[0].legend(frameon=False, fontsize=8.5, loc="lower left")
    axes[1].get_legend().remove()
    axes[1].set_ylabel("")
    figure.suptitle("Census incomes: certified accuracy in two units")
    save(figure, "tables.png")

    figure, ax = plt.subplots(figsize=(7.4, 2.7), layout="constrained")
    certify(models["LogisticRegression, C=1"], X_test, feature_scale=tolerance).explain(12304).plot(ax)
    ax.spines[["top", "right"]].set_visible(False)
    save(figure, "explanation.png")


def pixels() -> None:
    """Digits, in pixels: an ordinary network and a 1-Lipschitz one, by what is known of them; prints the guide's numbers."""
    import time

    import torch
    from torch import nn

    sys.path.insert(0, str(HERE.parents[1]))
    from skcert import Certifier, Clever, PretrainedEmbedder
    from skcert.testing import check_certificate
    from tests.one_lipschitz import train_on_digits

    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, test_size=0.3, stratify=y, random_state=0)
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1)]
    network = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 10))
    images, labels = torch.tensor(X, dtype=torch.float32).reshape(-1, 1, 8, 8), torch.tensor(y)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    for _ in range(20):
        for rows in torch.randperm(len(labels)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(images[rows]), labels[rows]).backward()
            optimiser.step()
    ordinary, lipschitz = network[:7].eval(), train_on_digits(0)
    certificates = {}
    for name, encoder, ways in (
        ("ordinary network", ordinary, {"global": "global", "local": "local", "CLEVER": Clever(10, 10)}),
        ("1-Lipschitz network", lipschitz, {"constant 1": 1.0, "CLEVER": Clever(10, 10)}),
    ):
        for way, bound in ways.items():
            embedder = PretrainedEmbedder(encoder, input_shape=(1, 8, 8), lipschitz=bound)
            model = make_pipeline(embedder, CertifiedGMMClassifier()).fit(X, y)
            certifier = Certifier(model)
            certifier.certify(X_test[:1])  # bounds of the layers, once
            start = time.perf_counter()
            certificates[f"{name}, {way}"] = made = certifier.certify(X_test)
            seconds = time.perf_counter() - start
            shares = [float(((made.prediction == y_test) & (made.radius >= r)).mean()) for r in (0, 0.05, 0.1, 0.25)]
            down = [f"{np.floor(number * 1e4) / 1e4:.4f}" for number in (np.median(made.radius), *shares)]
            print(f"{name}, {way}:", *down, f"{1000 * seconds / len(y_test):.1f} ms")
            if way == "global":
                print(model[0].lipschitz_report())
            if way == "constant 1":
                liar = PretrainedEmbedder(encoder, input_shape=(1, 8, 8), lipschitz=0.1)
                wrong = make_pipeline(liar, CertifiedGMMClassifier()).fit(X, y)
                print(check_certificate(wrong, X_test, certify(wrong, X_test), random_state=0))
    display = CertifiedAccuracyDisplay.from_certificates(certificates, y_test)
    display.ax_.set_title("Digits, l2 in pixels of 0 to 1")
    display.figure_.set_size_inches(7.2, 4.4)
    display.figure_.tight_layout()
    save(display.figure_, "pixels.png")


def smoothing() -> None:
    """Digits, in pixels: a network trained under noise, by its votes; prints the guide's numbers."""
    import time

    import torch
    from torch import nn

    from skcert import PretrainedEmbedder, RandomizedSmoothingClassifier

    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, test_size=0.3, stratify=y, random_state=0)
    images, labels = torch.tensor(X, dtype=torch.float32).reshape(-1, 1, 8, 8), torch.tensor(y)
    radii = (0, 0.1, 0.25, 0.5, 0.75)
    certificates = {}
    for sigma in (0.12, 0.25, 0.5):
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()]
        network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 10))
        optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
        for _ in range(20):
            for rows in torch.randperm(len(labels)).split(64):
                optimiser.zero_grad()
                noisy = images[rows] + sigma * torch.randn(images[rows].shape)
                nn.functional.cross_entropy(network(noisy), labels[rows]).backward()
                optimiser.step()
        encoder = network[:6].eval()
        for name, noise in (("mixture on clean latents", None), ("mixture on noisy latents", sigma)):
            embedder = PretrainedEmbedder(encoder, input_shape=(1, 8, 8), noise_augment=noise, random_state=0, progress=False)
            base = make_pipeline(embedder, CertifiedGMMClassifier()).fit(X, y)
            ways = {"fixed": {"n_certify": 2000}, "anytime at 0.25": {"stopping": "anytime", "target_radius": 0.25}}
            for way, settings in ways.items():
                model = RandomizedSmoothingClassifier(base, sigma=sigma, random_state=0, **settings)
                start = time.perf_counter()
                made = model.certify(X_test)
                seconds = time.perf_counter() - start
                down = [f"{np.floor(each * 1e3) / 1e3:.3f}" for each in made.certified_accuracy(y_test, radii)]
                print(f"sigma {sigma}, {name}, {way}:", *down, f"{made.n_passes.mean():.0f} votes", end=" ")
                print(f"{1000 * seconds / len(y_test):.1f} ms")
                if noise is not None and way == "fixed":
                    certificates[f"sigma {sigma}"] = made
                    if sigma == 0.25:
                        print(made)
                        print(made.explain(0))
    display = CertifiedAccuracyDisplay.from_certificates(certificates, y_test)
    display.ax_.set_title("Digits, l2 in pixels of 0 to 1: votes under noise")
    display.figure_.set_size_inches(7.2, 4.4)
    display.figure_.tight_layout()
    save(display.figure_, "smoothing.png")


def gaussianity() -> None:
    """Three digits behind PCA beside points of the mixture fitted to them; prints the guide's numbers."""
    from skcert.diagnostics import kl_divergence, mardia_test
    from skcert.plotting import GaussianityDisplay
    from skcert.theory import transfer_certified_accuracy

    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=0)
    pipe = make_pipeline(PCA(16, random_state=0), CertifiedGMMClassifier(random_state=0)).fit(X, y)
    latents, model = pipe[:-1].transform(X_test), pipe[-1]
    drawn, drawn_y = model.sample(len(y_test))
    print(mardia_test(latents, y_test), mardia_test(drawn, drawn_y), sep="\n")
    for space in ("latents", "discriminant"):
        print(kl_divergence(latents, model, y=y_test, space=space))
    print(kl_divergence(drawn, model, y=drawn_y, space="discriminant"))

    keep, kept = np.isin(y, [4, 7, 9]), np.isin(y_test, [4, 7, 9])
    three = CertifiedGMMClassifier(random_state=0).fit(pipe[:-1].transform(X[keep]), y[keep])
    found = kl_divergence(latents[kept], three, y=y_test[kept], space="discriminant")
    points, labels = three.sample(100_000)
    shares = [float(certify(three, points).certified_accuracy(labels, [r])[0]) for r in (0, 5)]
    print(found, shares, [transfer_certified_accuracy(share, found.high) for share in shares])
    print(certify(three, latents[kept]).certified_accuracy(y_test[kept], [0, 5]))

    figure, axes = plt.subplots(1, 2, figsize=(8.4, 4.0), sharex=True, sharey=True, layout="constrained")
    shown = np.isin(drawn_y, [4, 7, 9])
    GaussianityDisplay.from_data(latents[kept], y_test[kept], ax=axes[0]).ax_.set_title("Digits behind PCA(16)")
    GaussianityDisplay.from_data(drawn[shown], drawn_y[shown], ax=axes[1]).ax_.set(title="Drawn from the mixture", ylabel="")
    axes[1].get_legend().remove()
    save(figure, "gaussianity.png")


def performance() -> None:
    """Time of certify for a point against the sizes, from what ``make bench-scaling`` wrote."""
    points = pd.read_csv(HERE.parents[1] / "benchmarks" / "results" / "scaling_points.csv")
    points["time"] = 1e6 * points["again, s"] / points["N"]
    figure, axes = plt.subplots(1, 3, figsize=(8.4, 3.6), sharey=True, layout="constrained")
    for ax, (size, name) in zip(axes, {"N": "points", "d": "features", "K": "classes"}.items(), strict=True):
        for kind, curve in points[points["axis"] == size].groupby("kind", sort=False):
            fixed = ", ".join(f"{other} = {curve[other].iloc[0]:,}" for other in "NdK" if other != size)
            ax.plot(curve[size], curve["time"], marker="o", markersize=4, label=f"{kind}; {fixed}")
        ax.set(xscale="log", yscale="log", xlabel=name)
        ax.grid(color="0.9")
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize=6.5, loc="lower center", bbox_to_anchor=(0.5, 1))
    axes[0].set_ylabel("microseconds per point")
    save(figure, "performance.png")


if __name__ == "__main__":
    figures = [gaussianity, regions, accuracy, components, pixels, smoothing, performance]
    if (ADULT / "adult-train.csv").exists():
        figures.append(tables)
    for draw in figures:
        if draw.__name__ in (sys.argv[1:] or [each.__name__ for each in figures]):
            draw()
