"""Pipelines drawn at random from all steps, on real tables where they are at hand (SKCERT_DATA) and on toy data otherwise."""

import os
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.decomposition import PCA, FactorAnalysis, FastICA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import SelectFromModel, SelectKBest, VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)

from skcert import CertifiedGMMClassifier
from tests.pipelines.claims import hold

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence: what is fitted is certified
FOLDER = Path(os.environ.get("SKCERT_DATA", "../shared/data")) / "tabular"
REAL = {
    "wine quality": "winequality-red.csv",
    "banknote": "banknote_authentication.csv",
    "pima": "pima-indians-diabetes.csv",
    "ionosphere": "ionosphere.csv",
    "sonar": "sonar.csv",
    "german": "german.csv",
}
TOYS = {"iris": load_iris, "wine": load_wine, "breast cancer": load_breast_cancer}
ROWS = 400


@cache
def table(name):
    """A frame of features and the labels."""
    if name in TOYS:
        data = TOYS[name](as_frame=True)
        X, y = data.data, data.target
    else:
        path = FOLDER / REAL[name]
        if not path.exists():
            pytest.skip(f"needs {path.name} in {FOLDER}")
        data = pd.read_csv(path, header=None)
        data.columns = [f"x{c}" for c in data.columns]
        X, y = data.iloc[:, :-1], data.iloc[:, -1]
        y = y >= 6 if name == "wine quality" else y
    rows = np.random.default_rng(0).permutation(len(X))[:ROWS]
    X, y = X.iloc[rows].reset_index(drop=True), np.asarray(y)[rows]
    return X, np.unique(y, return_inverse=True)[1]


def number_of(rng, d):
    return int(rng.integers(2, max(3, min(d, 6)) + 1)) if d > 2 else d


def step_for(rng, d, gaps, depth=0, first=False):
    """A step for d columns."""
    k = number_of(rng, d)
    kinds = [
        lambda: StandardScaler(with_mean=bool(rng.integers(2)), with_std=bool(rng.integers(2))),
        lambda: MinMaxScaler((-1, 2), clip=bool(rng.integers(2))),
        lambda: MaxAbsScaler(),
        lambda: RobustScaler(with_centering=bool(rng.integers(2)), with_scaling=bool(rng.integers(2))),
    ]
    if gaps:
        kinds += [lambda: SimpleImputer(strategy=rng.choice(["mean", "median"]), add_indicator=bool(rng.integers(2)))] * 4
    else:
        kinds += [
            lambda: PCA(k, whiten=bool(rng.integers(2)), random_state=0),
            lambda: TruncatedSVD(min(k, d - 1) or 1, algorithm="arpack") if d > 2 else StandardScaler(),
            lambda: LinearDiscriminantAnalysis(solver=rng.choice(["svd", "eigen"]), shrinkage=None),
            lambda: make_pipeline(StandardScaler(), FactorAnalysis(min(k, 3), max_iter=30)),
            lambda: VarianceThreshold(),
            lambda: SelectKBest(k=k),
            lambda: SelectFromModel(RidgeClassifier(), max_features=k, threshold=-np.inf),
            lambda: FunctionTransformer(None),
            lambda: "passthrough",
            lambda: make_pipeline(StandardScaler(), Normalizer(rng.choice(["l1", "l2", "max"]))),
            lambda: SimpleImputer(),
        ]
        if first:  # its matrix is noise where columns determine others
            kinds.append(lambda: make_pipeline(StandardScaler(), FastICA(k, max_iter=30, random_state=0)))
        if depth < 2:
            kinds += [lambda: union(rng, d, depth + 1), lambda: columns(rng, d, depth + 1)] * 3
    return kinds[rng.integers(len(kinds))]()


def side_by_side(make):
    """Try until no part but the last kind refuses to stand beside others: rows are normalised in the pipeline itself."""
    while True:
        part = make()
        if "Normalizer" not in repr(part):
            return part


def union(rng, d, depth):
    parts = [(f"u{i}", side_by_side(lambda: step_for(rng, d, False, depth))) for i in range(2)]
    return FeatureUnion(parts, transformer_weights={"u0": float(rng.uniform(0.1, 3))} if rng.integers(2) else None)


def columns(rng, d, depth):
    left = [int(c) for c in rng.permutation(d)[: number_of(rng, d)]]
    right = [int(c) for c in rng.permutation(d)[: number_of(rng, d)]]
    parts = [
        (f"c{i}", side_by_side(lambda at=at: step_for(rng, len(at), False, depth)), at) for i, at in enumerate((left, right))
    ]
    rest = [StandardScaler(), "drop", "passthrough"][rng.integers(3)]
    weights = {"c1": float(rng.uniform(0.1, 3))} if rng.integers(2) else None
    return ColumnTransformer(parts, remainder=rest, transformer_weights=weights)


MODELS = [
    lambda: CertifiedGMMClassifier(),
    lambda: CertifiedGMMClassifier(covariance_type="full"),
    lambda: CertifiedGMMClassifier(covariance_type="diag"),
    lambda: LogisticRegression(max_iter=100),
    lambda: LinearDiscriminantAnalysis(),
    lambda: RidgeClassifier(),
    lambda: SGDClassifier(max_iter=10, random_state=0),
    lambda: NearestCentroid(),
    lambda: GaussianNB(var_smoothing=1e-6),
]


@pytest.mark.parametrize("name", [*REAL, *TOYS])
@pytest.mark.parametrize("seed", range(12))
def test_a_random_pipeline_is_certified_soundly(name, seed):
    rng = np.random.default_rng([seed, [*REAL, *TOYS].index(name)])
    X, y = table(name)
    text = [c for c in X.columns if not pd.api.types.is_numeric_dtype(X[c])]
    numeric = [c for c in X.columns if c not in text]
    X = X.astype({c: float for c in numeric})
    gaps = seed % 4 == 0
    if gaps:
        X[numeric] = X[numeric].mask(rng.random((len(X), len(numeric))) < 0.1)
    steps = []
    if text:
        encode = make_pipeline([OneHotEncoder(handle_unknown="ignore"), OrdinalEncoder()][rng.integers(2)])
        first = make_pipeline(SimpleImputer(), side_by_side(lambda: step_for(rng, len(numeric), False, 1)))
        steps.append(ColumnTransformer([("text", encode, text), ("numbers", first, numeric)], sparse_threshold=0))
        gaps = False
    frames = bool(text) or bool(rng.integers(2))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(rng.integers(1, 5 - len(steps))):
                d = make_pipeline(*steps).fit_transform(X, y).shape[1] if steps else len(numeric)
                steps.append(step_for(rng, d, gaps, first=not steps))
            steps += [SimpleImputer()] if gaps else []
            pipe = make_pipeline(*steps, MODELS[rng.integers(len(MODELS))]())
            pipe.fit(X if frames else X.to_numpy(), y)
    except (ValueError, IndexError, np.linalg.LinAlgError) as reason:
        pytest.skip(f"scikit-learn does not fit it: {str(reason)[:60]}")
    at = rng.permutation(len(X))[:10]
    points = X.iloc[at] if frames else X.to_numpy()[at]
    values = X.assign(**dict.fromkeys(text, 0.0)).to_numpy(dtype=float)
    spread = np.nanstd(values, axis=0)
    seen = np.asarray(pipe[:-1].transform(points), dtype=float)
    nudged = X.iloc[at].assign(**{c: X[c].iloc[at] * (1 + 1e-14 * rng.standard_normal(len(at))) for c in numeric})
    again = np.asarray(pipe[:-1].transform(nudged if frames else nudged.to_numpy()), dtype=float)
    if (np.abs(again - seen) > 1e-9 * (np.abs(seen).max(axis=0) + 1e-9)).any():
        pytest.skip("its features are amplified rounding errors")
    scale = None
    if rng.integers(2) or text:
        scale = spread * np.exp(rng.standard_normal(len(spread)))
        scale[rng.random(len(scale)) < 0.2] = 0
        scale[[X.columns.get_loc(c) for c in text]] = 0
    norm = [2, 1, np.inf][rng.integers(3)]
    score = pipe.decision_function if hasattr(pipe[-1], "coef_") else None
    hold(
        pipe,
        points,
        values[rng.permutation(len(X))[:6]],
        norm=norm,
        scale=scale,
        fixed=text,
        spread=spread,
        score=score,
        share=0.7,
        seed=seed,
        sharp=1e-3,
    )
