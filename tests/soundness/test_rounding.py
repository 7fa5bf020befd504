"""Every representable point within a radius keeps its label under the ``predict`` that is deployed, however it rounds.

Distances are compared in rational arithmetic, or in 60 digits where curvatures make them irrational; theory 1.8.
"""

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from skcert import Affine, CertifiedGMMClassifier, certify
from skcert.adapters import steps
from skcert.geometry.rounding import SINGLE, UNIT
from skcert.testing import check_certificate
from tests.reference import Mixture

inf = np.inf
DUAL = {1: inf, 2: 2, inf: 1}
NORMS = pytest.mark.parametrize("norm", [1, 2, inf])
FLOATS = pytest.mark.parametrize("dtype", [np.float64, np.float32])
UNITS = {np.float64: UNIT, np.float32: SINGLE}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
FILE = Path(os.environ.get("SKCERT_DATA", "../shared/data")) / "cifar10" / "cifar10_resnet20_emb.npz"


# -- exact arithmetic of the tests' own --------------------------------------------------------------------------------


def rational(values):
    return [Fraction(float(v)) for v in np.ravel(values)]


def is_within(x, z, radius, norm):
    """Whether ||z - x|| <= radius, exactly."""
    moves = [abs(a - b) for a, b in zip(rational(z), rational(x), strict=True)]
    limit = Fraction(float(radius))
    if norm == 2:
        return sum(m * m for m in moves) <= limit * limit
    return (sum(moves) if norm == 1 else max(moves)) <= limit


def exact_transform(step, x):
    """What the fitted attributes of a step make of a point, given and returned as fractions."""
    if isinstance(step, StandardScaler | RobustScaler):
        center = step.mean_ if isinstance(step, StandardScaler) else step.center_
        return [(v - c) / s for v, c, s in zip(x, rational(center), rational(step.scale_), strict=True)]
    if isinstance(step, MinMaxScaler):
        return [v * s + m for v, s, m in zip(x, rational(step.scale_), rational(step.min_), strict=True)]
    moved = [v - c for v, c in zip(x, rational(step.mean_), strict=True)]
    return [sum(w * v for w, v in zip(rational(row), moved, strict=True)) for row in step.components_]


def exact_line(pipe):
    """Slope and constant of a linear rule for two classes behind affine steps, in the space of the points."""
    model = pipe[-1]
    if isinstance(model, NearestCentroid):
        first, second = (rational(c) for c in model.centroids_)
        slope = [b - a for a, b in zip(first, second, strict=True)]
        constant = sum(a * a - b * b for a, b in zip(first, second, strict=True)) / 2
    else:
        slope, constant = rational(model.coef_), rational(model.intercept_)[0]
    for step in [step for _, step in pipe.steps[:-1]][::-1]:
        d = step.n_features_in_
        origin = exact_transform(step, [Fraction(0)] * d)
        rows = [exact_transform(step, [Fraction(int(k == j)) for j in range(d)]) for k in range(d)]
        constant += sum(w * o for w, o in zip(slope, origin, strict=True))
        slope = [sum(w * (v - o) for w, v, o in zip(slope, row, origin, strict=True)) for row in rows]
    return slope, constant


def steepest(slope, norm):
    """The direction of the unit ball in which a linear score with this slope grows fastest."""
    w = np.array([float(v) for v in slope])
    if norm == 1:
        return np.where(np.arange(len(w)) == np.abs(w).argmax(), np.sign(w), 0.0)
    return np.sign(w) if norm == inf else w / np.linalg.norm(w)


def plain_radius(pipe, X, norm):
    """margin / ||w|| in the type of X, as one would write it down."""
    w = np.array([float(v) for v in exact_line(pipe)[0]]).astype(X.dtype)
    return (np.abs(pipe.decision_function(X)) / np.linalg.norm(w, ord=DUAL[norm])).astype(X.dtype)


# -- the published attack ----------------------------------------------------------------------------------------------

STEPS = {
    "alone": lambda: [],
    "standardised": lambda: [StandardScaler()],
    "minmax": lambda: [MinMaxScaler()],
    "pca": lambda: [StandardScaler(), PCA(20)],
}


def random_line(rng, how, norm, dtype, d=50):
    """A random linear classifier and points at distances near 6, where the numbers of the sum are large beside it.

    Points lie on a grid, so that with their distance they can be moved exactly: then only the sum is rounded.
    """
    X = (np.round(rng.uniform(-1, 1, (5, d)) * 2**20) / 2**20).astype(dtype)
    fitted = [step.fit(rng.standard_normal((200, d)).astype(dtype) * 4) for step in STEPS[how]()]
    for k, step in enumerate(fitted[1:], 1):
        step.fit(make_pipeline(*fitted[:k]).transform(rng.standard_normal((200, d)).astype(dtype) * 4))
    model = LogisticRegression()
    width = 20 if how == "pca" else d
    model.classes_, model.n_features_in_ = np.array([0, 1]), width
    model.coef_, model.intercept_ = rng.standard_normal((1, width)).astype(dtype), np.zeros(1, dtype=dtype)
    pipe = make_pipeline(*fitted, model)
    slope, constant = exact_line(pipe)
    w = np.array([float(v) for v in slope])
    model.intercept_ = np.array([6 * np.linalg.norm(w, ord=DUAL[norm]) - float(constant)], dtype=dtype)
    return pipe, X


@NORMS
@FLOATS
@pytest.mark.parametrize("how", STEPS)
def test_the_attack_that_breaks_margin_over_norm_breaks_no_certificate(how, dtype, norm):
    broken, rng = 0, np.random.default_rng(0)
    for seed in range(6):
        pipe, X = random_line(rng, how, norm, dtype)
        if how != "alone" and seed > 1:
            break
        certificate = certify(pipe, X, norm=norm, return_attack=True)
        assert (certificate.radius > 0.5).all()
        assert check_certificate(pipe, X, certificate, random_state=seed, n_directions=4) is None
        plain = replace(certificate, radius=plain_radius(pipe, X, norm).astype(float))
        broken += check_certificate(pipe, X, plain, random_state=seed, n_directions=4) is not None
    # the search is strong: it finds rounding where rounding was not paid for
    assert broken >= (3 if how == "alone" else 1)


@NORMS
@FLOATS
def test_a_given_head_keeps_its_label_and_loses_a_billionth_at_most(dtype, norm):
    broken, rng = 0, np.random.default_rng(1)
    for seed in range(4):
        pipe, X = random_line(rng, "alone", norm, dtype)
        head = Affine(pipe[-1].coef_, pipe[-1].intercept_)
        certificate = certify(head, X, norm=norm, return_attack=True)
        assert check_certificate(head, X, certificate, random_state=seed, n_directions=4) is None
        plain = plain_radius(pipe, X, norm).astype(float)
        broken += check_certificate(head, X, replace(certificate, radius=plain), random_state=seed, n_directions=4) is not None
        # it computes in float64, whatever it is given
        distances = np.abs(X.astype(float) @ head.coef[0].astype(float) + float(head.intercept[0]))
        distances /= np.linalg.norm(head.coef[0].astype(float), ord=DUAL[norm])
        assert (certificate.radius > distances * (1 - 1e-9)).all() and (certificate.radius < distances).all()
    assert broken >= 2


@NORMS
@FLOATS
@pytest.mark.parametrize("offset", [0.0, 30.0])
@pytest.mark.parametrize("model", [LinearDiscriminantAnalysis, RidgeClassifier, NearestCentroid, LogisticRegression])
def test_fitted_linear_classifiers_keep_their_label_within_every_radius(model, offset, dtype, norm):
    rng = np.random.default_rng(2)
    d = 50
    y = np.arange(300) % 2
    X = (rng.standard_normal((300, d)) + offset + 0.8 * rng.standard_normal((2, d))[y]).astype(dtype)
    pipe = make_pipeline(model().fit(X, y))
    certificate = certify(pipe, X[:40], norm=norm, return_attack=True)
    assert (certificate.radius > 0).mean() > 0.7
    assert check_certificate(pipe, X[:40], certificate, random_state=0, n_directions=4) is None


# -- a walk of the tests' own ------------------------------------------------------------------------------------------


def three_blobs(rng, d, dtype, n=150):
    y = np.arange(n) % 3
    X = rng.standard_normal((n, d)) * np.exp(0.5 * rng.standard_normal((3, d)))[y] + 2 * rng.standard_normal((3, d))[y]
    return X.astype(dtype), y


WALKED = {
    "logistic": lambda: LogisticRegression(),
    "nearest centroid": lambda: NearestCentroid(),
    "qda": lambda: QuadraticDiscriminantAnalysis(reg_param=0.1),
    "naive bayes": lambda: GaussianNB(),
    "tied": lambda: CertifiedGMMClassifier(),
    "full": lambda: CertifiedGMMClassifier(covariance_type="full"),
    "mixture": lambda: CertifiedGMMClassifier(covariance_type="full", n_components=2, random_state=0),
    "tied mixture": lambda: CertifiedGMMClassifier(n_components=2, random_state=0),
    "scaled qda": lambda: make_pipeline(StandardScaler(), QuadraticDiscriminantAnalysis(reg_param=0.1)),
    "projected naive bayes": lambda: make_pipeline(StandardScaler(), PCA(4), GaussianNB()),
    "scaled full": lambda: make_pipeline(MinMaxScaler(), CertifiedGMMClassifier(covariance_type="full")),
}


@FLOATS
@pytest.mark.parametrize("how", WALKED)
def test_no_point_that_is_a_few_ulps_inside_the_sphere_has_another_label(how, dtype):
    rng = np.random.default_rng(3)
    X, y = three_blobs(rng, 6, dtype)
    model = WALKED[how]().fit(X, y)
    tried = 0
    for norm in (1, 2):
        certificate = certify(model, X[:12], norm=norm, return_attack=True)
        rows = np.flatnonzero((certificate.radius > 0) & np.isfinite(certificate.attack).all(axis=1))
        for n in rows[:4]:
            x, radius = X[n].astype(float), certificate.radius[n]
            u = certificate.attack[n] - x
            u /= np.linalg.norm(u, ord=norm)
            near = (x + radius * (1 - np.float64([0, 1e-16, 1e-15, 1e-12])[:, None]) * u).astype(dtype)
            z = np.repeat(near, 25, axis=0)
            ulps = rng.integers(-2, 3, z.shape) * (rng.random(z.shape) < 0.5)
            z = (z + ulps * np.spacing(np.abs(z))).astype(dtype)
            inside = np.array([is_within(x, point, radius, norm) for point in z])
            tried += inside.sum()
            alone = [model.predict(point[None])[0] for point in z[inside][:10]]
            assert (np.append(model.predict(z[inside]), alone) == certificate.prediction[n]).all() if inside.any() else True
    assert tried > 130


@FLOATS
@pytest.mark.parametrize("norm", [2, inf])
@pytest.mark.parametrize("how", WALKED)
def test_the_search_breaks_no_certificate_of_a_curved_or_piped_rule(how, dtype, norm):
    rng = np.random.default_rng(4)
    X, y = three_blobs(rng, 6, dtype)
    model = WALKED[how]().fit(X, y)
    certificate = certify(model, X[:10], norm=norm, return_attack=True)
    assert (certificate.radius > 0).sum() > 5
    assert check_certificate(model, X[:10], certificate, random_state=0, n_directions=8) is None


@FLOATS
@pytest.mark.parametrize("how", ["naive bayes", "diag"])
def test_squares_that_are_large_only_at_the_far_end_of_the_ball_are_paid_for(how, dtype):
    """Two classes of one mean and nearly one variance: at the point all is small, at the boundary it nearly cancels."""
    rng = np.random.default_rng(12)
    d, broken = 4, 0
    for seed in range(6):
        variances = np.array([np.ones(d), np.full(d, 1 / (1 - 10.0 ** -rng.uniform(3, 4)))]).astype(dtype)
        if how == "diag":
            model = CertifiedGMMClassifier.from_parameters(np.zeros((2, d)), variances, [0.53, 0.47], covariance_type="diag")
        else:
            model = GaussianNB()
            model.classes_, model.n_features_in_, model.epsilon_ = np.array([0, 1]), d, 0.0
            model.theta_, model.var_ = np.zeros((2, d), dtype=dtype), variances
            model.class_prior_ = np.array([0.53, 0.47], dtype=dtype)
        X = (1e-3 * rng.standard_normal((10, d))).astype(dtype)
        certificate = certify(model, X, return_attack=True)
        assert (certificate.radius > 10).all() and (certificate.prediction == 0).all()
        assert check_certificate(model, X, certificate, random_state=seed, n_directions=64) is None
        # the search is strong: where predict computes in float32, it breaks all but the real distance
        plain = replace(certificate, radius=certificate.attack_radius * (1 - (1e-12 if dtype == np.float64 else 1e-8)))
        broken += check_certificate(model, X, plain, random_state=seed, n_directions=64) is not None
    assert broken or dtype == np.float64 or how == "diag"


@FLOATS
@pytest.mark.parametrize("how", ["qda", "naive bayes", "full", "mixture"])
def test_points_next_to_a_curved_boundary_are_certified_only_as_far_as_predict_can_tell(how, dtype):
    rng = np.random.default_rng(13)
    X, y = three_blobs(rng, 6, dtype)
    model = WALKED[how]().fit(X, y)
    a, b = X[y == 0][:40].astype(float), X[y == 1][:40].astype(float)
    low, high, label = np.zeros((40, 1)), np.ones((40, 1)), model.predict(a.astype(dtype))
    for _ in range(40):
        middle = (low + high) / 2
        same = (model.predict((a + middle * (b - a)).astype(dtype)) == label)[:, None]
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    points = (a + low * (1 - 10.0 ** -rng.uniform(4, 7, (40, 1))) * (b - a)).astype(dtype)
    certificate = certify(model, points, return_attack=True)
    assert check_certificate(model, points, certificate, random_state=0, n_directions=64) is None


# -- linear rules in rational arithmetic -------------------------------------------------------------------------------


@NORMS
@FLOATS
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e8])
@pytest.mark.parametrize("model", [LogisticRegression, RidgeClassifier, NearestCentroid])
@pytest.mark.parametrize("before", [[], [StandardScaler()], [MinMaxScaler(), StandardScaler()], [StandardScaler(), PCA(4)]])
def test_no_radius_of_a_linear_rule_exceeds_the_rational_distance(before, model, offset, dtype, norm):
    rng = np.random.default_rng(5)
    d, spread = 6, np.exp(rng.uniform(-2, 2, 6)) * (1.0 if offset < 1e8 or dtype == np.float64 else 1e4)
    y = np.arange(120) % 2
    X = rng.standard_normal((120, d)) * spread + 2 * spread * rng.standard_normal((2, d))[y]
    X = (X + offset * rng.uniform(0.5, 1, d)).astype(dtype)
    pipe = make_pipeline(*before, model()).fit(X, y)
    # half of them next to the boundary, where rounding is all there is
    slope, constant = exact_line(pipe)
    w = np.array([float(v) for v in slope])
    lead = np.array([float(sum(a * b for a, b in zip(slope, rational(x), strict=True)) + constant) for x in X[:8]])
    towards = np.outer(lead / (w @ w), w) * (1 - 10.0 ** -rng.uniform(0, 13, 8))[:, None]
    points = np.vstack([X[:8], (X[:8].astype(float) - towards).astype(dtype)])
    certificate = certify(pipe, points, norm=norm)
    direction = steepest(slope, norm)
    size = {1: max(abs(v) for v in slope), 2: sum(v * v for v in slope), inf: sum(abs(v) for v in slope)}[norm]
    for x, radius, label in zip(points, certificate.radius, certificate.prediction, strict=True):
        margin = sum(a * b for a, b in zip(slope, rational(x), strict=True)) + constant
        margin = margin if label == 1 else -margin
        if margin <= 0:  # predict itself is wrong about the side
            assert radius == 0
            continue
        r = Fraction(float(radius))
        assert (r * r * size <= margin * margin) if norm == 2 else (r * size <= margin)
        # the boundary is straight ahead: representable points just inside
        back = -direction if label == 1 else direction
        for share in (1.0, 1 - 1e-15, 1 - 1e-7) if radius > 0 else ():
            z = (x.astype(float) + share * radius * back).astype(dtype)
            assert not is_within(x, z, radius, norm) or pipe.predict(z[None])[0] == label


# -- quadrics in 60 digits ---------------------------------------------------------------------------------------------


def as_matrices(model):
    K, d = model.means_.shape
    S = model.covariances_
    return {
        "full": lambda: S,
        "tied": lambda: [S] * K,
        "diag": lambda: [np.diag(v) for v in S],
        "spherical": lambda: [v * np.eye(d) for v in S],
    }[model.covariance_type]()


def conditioned(rng, K, d, condition, kind):
    if kind == "diag":
        return np.array([rng.permutation(np.geomspace(1 / condition, 1, d)) * rng.lognormal() for _ in range(K)])
    turns = [np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(K)]
    covariances = [(q * np.geomspace(1 / condition, 1, d)) @ q.T * rng.lognormal() for q in turns]
    covariances = np.array([(S + S.T) / 2 for S in covariances])
    return covariances[0] if kind == "tied" else covariances


@pytest.mark.parametrize("kind", ["full", "diag", "tied"])
@pytest.mark.parametrize("condition", [10.0, 1e6, 1e12])
@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_a_quadric_certifies_less_but_never_more_than_60_digits(kind, condition, scale, offset):
    rng = np.random.default_rng([6, int(condition)])
    proved = 0
    for d in (2, 4):
        means = scale * 2 * rng.standard_normal((3, d)) + offset
        covariances = scale**2 * conditioned(rng, 3, d, condition, kind)
        priors = rng.dirichlet([3.0, 3.0, 3.0])
        model = CertifiedGMMClassifier.from_parameters(means, covariances, priors, covariance_type=kind)
        exact = Mixture(model.means_, as_matrices(model), model.priors_)
        Z = means + scale * rng.standard_normal((3, d))
        certificate = model.certify(Z)
        proved += (certificate.radius > 0).sum()
        for z, radius, label in zip(Z, certificate.radius, certificate.prediction, strict=True):
            assert radius <= (exact.radius(z) if exact.predict(z) == label else 0)
    if condition == 10 and scale * 1e14 > offset:
        assert proved >= 5  # and it does not give up


@pytest.mark.parametrize("kind", ["full", "tied", "diag"])
def test_512_well_conditioned_dimensions_cost_less_than_a_billionth(kind):
    rng = np.random.default_rng(7)
    d = 512
    means = rng.standard_normal((2, d)) * 0.1
    covariances = conditioned(rng, 2, d, 3.0, kind)
    model = CertifiedGMMClassifier.from_parameters(means, covariances, covariance_type=kind)
    certificate = model.certify(means[[0, 1, 0, 1]] + 0.5 * rng.standard_normal((4, d)))
    assert (certificate.radius > 0).all()
    assert np.median(certificate.attack_radius / certificate.radius - 1) < 1e-9


@pytest.mark.skipif(not FILE.exists(), reason=f"needs the ResNet-20 embeddings of CIFAR-10 in {FILE}")
@pytest.mark.parametrize("kind, cost", [("tied", 1e-9), ("full", 1e-9), ("diag", 1e-12)])
def test_standardised_latents_cost_a_few_parts_in_a_billion(kind, cost):
    data = np.load(FILE)
    scaler = StandardScaler().fit(data["train"].astype(float))
    X, Z = scaler.transform(data["train"].astype(float)), scaler.transform(data["test"][:2000].astype(float))
    model = CertifiedGMMClassifier(covariance_type=kind).fit(X, data["train_labels"])
    certificate = model.certify(Z)
    assert (certificate.radius > 0).all()
    assert np.median(certificate.attack_radius / certificate.radius - 1) < cost


# -- rivals that never win ---------------------------------------------------------------------------------------------


def never_beaten(kind, n_each):
    """Two classes about the origin, the first of which is wider and far likelier; each split into equal components."""
    d = 4
    base = np.array([4.0, 1.0])
    covariances = {
        "spherical": base,
        "diag": base[:, None] * np.linspace(1, 2, d),
        "full": base[:, None, None] * (np.eye(d) + 0.3 * np.ones((d, d))),
    }[kind]
    who = np.repeat([0, 1], n_each)
    components = None if n_each == 1 else who
    return CertifiedGMMClassifier.from_parameters(
        0.01 * np.arange(d) * who[:, None], covariances[who], [1 - 1e-9, 1e-9], components=components, covariance_type=kind
    )


@pytest.mark.filterwarnings("ignore:invalid value encountered in reduce")  # of the check that points are finite
@pytest.mark.parametrize("kind", ["spherical", "diag", "full"])
@pytest.mark.parametrize("n_each", [1, 3])
def test_an_infinite_radius_holds_to_the_end_of_float64(kind, n_each):
    model = never_beaten(kind, n_each)
    rng = np.random.default_rng(8)
    Z = rng.standard_normal((10, 4)) * 3
    for norm in (1, 2, inf):
        certificate = model.certify(Z, norm=norm)
        # of several components the tangents may end far out, not at infinity
        assert (certificate.prediction == 0).all() and (certificate.radius > (1e300 if n_each == 1 else 1e8)).all()
    u = rng.standard_normal((200, 4))
    u = np.vstack([u / np.abs(u).max(axis=1, keepdims=True), np.sign(u), np.eye(4), -np.eye(4)])
    for reach in (1e3, 1e10, 1e150, 1e155, 1e300, 1.7e308):
        for points in (reach * u, Z[0] + reach * u):
            assert (model.predict(points) == 0).all()


# -- types -------------------------------------------------------------------------------------------------------------


@NORMS
@pytest.mark.parametrize("model", [LogisticRegression, LinearDiscriminantAnalysis, NearestCentroid, GaussianNB])
@pytest.mark.parametrize("before", [[], [StandardScaler()], [StandardScaler(), PCA(4)]])
def test_a_pipeline_in_float32_certifies_less_than_in_float64(before, model, norm):
    rng = np.random.default_rng(9)
    X, y = three_blobs(rng, 6, np.float32)
    pipe = make_pipeline(*before, model()).fit(X.astype(float), y)
    narrow, wide = (certify(pipe, points, norm=norm) for points in (X, X.astype(float)))
    if before:
        assert (narrow.radius <= wide.radius).all() or (norm == 1 and model is GaussianNB)  # where a bound is searched for
    else:  # to the same end, in another order
        assert (narrow.radius <= wide.radius * (1 + 1e-12)).all()
    if before:  # the scores of models of float64 are computed in float64
        some = wide.radius > 0
        assert np.median(1 - narrow.radius[some] / wide.radius[some]) > 1e-8


@NORMS
@pytest.mark.parametrize("kind", ["tied", "full", "diag", "spherical"])
@pytest.mark.parametrize("n_components", [1, 2])
def test_our_classifier_computes_in_float64_on_float32(kind, n_components, norm):
    X, y = three_blobs(np.random.default_rng(10), 5, np.float32, 90)
    model = CertifiedGMMClassifier(covariance_type=kind, n_components=n_components, random_state=0).fit(X, y)
    narrow, wide = (model.certify(points, norm=norm) for points in (X[:6], X[:6].astype(float)))
    np.testing.assert_array_equal(narrow.radius, wide.radius)
    np.testing.assert_array_equal(model.predict(X), model.predict(X.astype(float)))


# -- steps -------------------------------------------------------------------------------------------------------------

RULES = {
    StandardScaler: steps.standard_scaler,
    RobustScaler: steps.robust_scaler,
    MinMaxScaler: steps.min_max_scaler,
    PCA: steps.pca,
}
CHAINS = {
    "standard": lambda: [StandardScaler()],
    "robust": lambda: [RobustScaler()],
    "minmax": lambda: [MinMaxScaler()],
    "pca": lambda: [PCA(3)],
    "standard-pca": lambda: [StandardScaler(), PCA(3)],
    "minmax-robust": lambda: [MinMaxScaler(), RobustScaler()],
    "robust-pca-standard": lambda: [RobustScaler(), PCA(3), StandardScaler()],
    "pca-minmax-standard": lambda: [PCA(4), MinMaxScaler(), StandardScaler()],
}


@pytest.mark.parametrize("dtype, fitted_in", [(np.float64, np.float64), (np.float32, np.float64), (np.float32, np.float32)])
@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("how", CHAINS)
def test_the_noise_of_steps_covers_what_their_transforms_lose(how, offset, dtype, fitted_in):
    rng = np.random.default_rng(11)
    d = 5
    X = rng.standard_normal((80, d)) * np.exp(rng.uniform(-3, 3, d)) + offset * rng.uniform(0.5, 1, d)
    pipe = make_pipeline(*CHAINS[how]()).fit(X.astype(fitted_in))
    step = None
    for _, part in pipe.steps:
        rule = RULES[type(part)](part).computed(UNITS[dtype])
        step = rule if step is None else step.then(rule)
    lost, constant = step.noise
    extreme = rng.standard_normal((40, d)) * 10.0 ** rng.integers(-40, 25, (40, d))
    points = np.vstack([X[:30], X[:10] * (1 + 1e-7), np.zeros((1, d)), extreme, 1e25 * np.eye(d)]).astype(dtype)
    largest, images = 0.0, pipe.transform(points)
    for x, image in zip(points, images, strict=True):
        exact = rational(x)
        for _, part in pipe.steps:
            exact = exact_transform(part, exact)
        away = [abs(a - b) for a, b in zip(rational(x), rational(step.center), strict=True)]
        for k, (got, true) in enumerate(zip(rational(image), exact, strict=True)):
            row = [lost[k] * (j == k) for j in range(d)] if lost.ndim == 1 else lost[k]
            room = sum(Fraction(float(n)) * a for n, a in zip(row, away, strict=True)) + Fraction(float(constant[k]))
            assert abs(got - true) <= room
            largest = max(largest, float(abs(got - true) / room)) if room else largest
    # a bound that is not out of all proportion, where they do compute in that type
    assert largest > 1e-3 or images.dtype != dtype
