"""Linear rules behind scalers in exact rational arithmetic: no radius exceeds the distance of the stored parameters."""

from fractions import Fraction

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from skcert import certify


def rational(values):
    return [Fraction(float(v)) for v in np.ravel(values)]


def exact_squares(pipe, X):
    """Squared l2 distances to the boundary of a two-class rule behind scalers and projections, as fractions."""
    slope, constant = rational(pipe[-1].coef_), Fraction(float(pipe[-1].intercept_[0]))
    for _, step in reversed(pipe.steps[:-1]):
        if isinstance(step, StandardScaler):
            center, scale = rational(step.mean_), rational(step.scale_)
            slope = [w / s for w, s in zip(slope, scale, strict=True)]
            constant -= sum(w * c for w, c in zip(slope, center, strict=True))
        elif isinstance(step, MinMaxScaler):
            constant += sum(w * m for w, m in zip(slope, rational(step.min_), strict=True))
            slope = [w * s for w, s in zip(slope, rational(step.scale_), strict=True)]
        else:
            rows, center = [rational(row) for row in step.components_], rational(step.mean_)
            slope = [sum(w * row[k] for w, row in zip(slope, rows, strict=True)) for k in range(len(center))]
            constant -= sum(w * c for w, c in zip(slope, center, strict=True))
    length = sum(w * w for w in slope)
    return [(sum(w * v for w, v in zip(slope, rational(x), strict=True)) + constant) ** 2 / length for x in X]


@pytest.mark.parametrize("steps", [[], [StandardScaler()], [MinMaxScaler()], [MinMaxScaler(), StandardScaler()], [PCA(5)]])
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_no_radius_exceeds_the_exact_distance_of_a_linear_rule(steps, offset):
    rng = np.random.default_rng(0)
    d = 12
    X = rng.standard_normal((400, d)) * np.exp(rng.uniform(-3, 3, d)) + offset * rng.uniform(0.5, 1, d)
    y = ((X - X.mean(axis=0)) / X.std(axis=0) @ rng.standard_normal(d) + 0.5 * rng.standard_normal(400) > 0).astype(int)
    pipe = make_pipeline(*steps, LogisticRegression(max_iter=300)).fit(X, y)
    # towards the boundary, where rounding is all there is
    gradient = np.linalg.lstsq(X - X.mean(axis=0), pipe.decision_function(X), rcond=None)[0]
    slope = gradient @ gradient
    near = (
        X[:120] - np.outer(pipe.decision_function(X[:120]) / slope, gradient) * (1 - 10.0 ** -rng.uniform(0, 13, 120))[:, None]
    )
    for points in (near, X[:40]):
        for certificate in (certify(pipe, points), certify(pipe, points, return_attack=True)):
            squares = exact_squares(pipe, points)
            assert all(Fraction(float(r)) ** 2 <= square for r, square in zip(certificate.radius, squares, strict=True))
    true = np.sqrt(np.array(squares, dtype=float))  # and the loss is what rounding costs
    assert np.median(certificate.radius / true) > 1 - 1e-9 * max(1.0, offset / 1e3)
