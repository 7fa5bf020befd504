"""skcert.diagnostics, claim by claim; how often the tests reject is in tests/statistical."""

import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skcert import CertifiedGMMClassifier
from skcert.datasets import make_circle_mixture
from skcert.diagnostics import MardiaTest, MardiaTests, kl_divergence, mardia_test
from skcert.diagnostics.normality import _third_moments
from skcert.plotting import GaussianityDisplay

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def lopsided(n, d, seed=0):
    """Points of a law with third moments, correlated and away from the origin."""
    rng = np.random.default_rng(seed)
    return rng.exponential(size=(n, d)) @ rng.standard_normal((d, d)) + 5 * np.arange(d)


# -- Mardia ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "d"), [(7, 5), (40, 6), (40, 30), (60, 3), (200, 1)])
def test_skewness_and_kurtosis_are_the_double_sums(n, d):
    X = lopsided(n, d)
    S = np.cov(X.T, ddof=0).reshape(d, d)
    centred = X - X.mean(axis=0)
    b1 = b2 = 0.0
    for a in range(n):
        for b in range(n):
            product = centred[a] @ np.linalg.solve(S, centred[b])
            b1 += product**3 / n**2
            b2 += product**2 / n if a == b else 0.0
    test = mardia_test(X)
    assert (test.n, test.d) == (n, d)
    assert test.skewness == pytest.approx(b1, rel=1e-9)
    assert test.kurtosis == pytest.approx(b2, rel=1e-9)


def test_blocks_and_tensors_of_moments_agree(monkeypatch):
    U = np.random.default_rng(0).exponential(size=(90, 10))
    naive = ((U @ U.T) ** 3).mean()
    tensor = _third_moments(U)  # 90 > 10^2 / 3
    monkeypatch.setattr("skcert.diagnostics.normality.BLOCK", 500)
    blocks = _third_moments(U[:30])
    assert tensor == pytest.approx(naive, rel=1e-12)
    assert blocks == pytest.approx(((U[:30] @ U[:30].T) ** 3).mean(), rel=1e-12)


def test_many_points_need_no_square_of_their_number():
    """8 GB as a matrix of products."""
    test = mardia_test(np.random.default_rng(0).standard_normal((32_000, 12)))
    assert test.p_value > 1e-3


def test_affine_maps_change_no_statistic():
    X, rng = lopsided(80, 5), np.random.default_rng(1)
    test, moved = mardia_test(X), mardia_test(X @ rng.standard_normal((5, 5)) * [1e-6, 1, 1e3, 1, 1] + 7)
    for name in ("skewness", "kurtosis", "p_skewness", "p_kurtosis", "p_value"):
        assert getattr(moved, name) == pytest.approx(getattr(test, name), rel=1e-6)


def test_both_p_values_are_paid_for():
    assert MardiaTest(50, 2, 0.0, 8.0, 0.01, 0.4).p_value == 0.02
    assert MardiaTest(50, 2, 0.0, 8.0, 0.9, 0.7).p_value == 1.0


def test_kurtosis_is_tested_on_both_sides():
    d, n = 3, 200
    rng = np.random.default_rng(0)
    signs = np.sign(rng.standard_normal((n, d))) + 0.01 * rng.standard_normal((n, d))
    assert mardia_test(signs).p_kurtosis < 1e-6  # too low
    assert mardia_test(rng.standard_t(2, size=(n, d))).p_kurtosis < 1e-6  # too high


def test_each_class_is_tested_alone():
    X = np.vstack([lopsided(60, 3), lopsided(50, 3, seed=1)])
    y = np.array(["b"] * 60 + ["a"] * 50)
    tests = mardia_test(X, y)
    assert tests.classes.tolist() == ["a", "b"]
    assert tests.tests == (mardia_test(X[60:]), mardia_test(X[:60]))
    assert "'a': MardiaTest(n=50, d=3" in repr(tests) and "Holm over 4 p-values" in repr(tests)


def test_holm_stops_at_the_first_p_value_that_is_too_large():
    pairs = [(0.001, 0.5), (0.02, 0.011), (0.013, 0.9)]  # sorted, times 6, 5, 4, 3 ...: 0.006, 0.055, 0.055, 0.06
    tests = MardiaTests(np.arange(3), tuple(MardiaTest(50, 2, 0.0, 8.0, *pair) for pair in pairs))
    np.testing.assert_allclose(tests.p_holm, [[0.006, 1.0], [0.06, 0.055], [0.055, 1.0]])
    assert tests.n_rejected() == 1 and tests.n_rejected(0.056) == 3 and tests.n_rejected(0.005) == 0
    with pytest.raises(ValueError, match=r"alpha must be in \(0, 1\), got 5"):
        tests.n_rejected(5)


def test_the_frame_has_a_row_per_class():
    frame = mardia_test(lopsided(90, 3), np.arange(90) % 3).to_frame()
    assert frame.index.tolist() == [0, 1, 2] and frame.index.name == "class"
    assert frame.columns.tolist() == [
        "n", "d", "skewness", "kurtosis", "p_skewness", "p_kurtosis", "p_value", "holm_skewness", "holm_kurtosis"
    ]  # fmt: skip


def collinear(n=40):
    X = lopsided(n, 4)
    return np.column_stack([X, 1e3 * (X[:, 1] - 2 * X[:, 3])])


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.eye(4)[:3], None, "X has n=3 points in d=4 dimensions: at least 6 are needed.*PCA"),
        (lopsided(20, 8), [0] * 15 + [1] * 5, "class 1 has n=5 points in d=8 dimensions"),
        (lopsided(9, 8), None, "n=9 points in d=8 dimensions: at least 10 are needed.*distances are equal"),
        (np.arange(3.0)[:, None], None, "n=3 points in d=1 dimensions: at least 4"),
        (lopsided(40, 3) * [1, 0, 1] + [0, 0.1, 0], None, "X is constant in column 1.*VarianceThreshold"),
        (collinear(), None, "combination of columns 1, 3, 4 is constant.*collinear.*PCA"),
        (collinear().astype(np.float32), None, "combination of columns 1, 3, 4 is constant"),
        (lopsided(40, 3) * [1, np.nan, 1], None, "X must be finite, got NaN"),
        (lopsided(40, 3), [0] * 39, "inconsistent numbers of samples"),
        (np.arange(40.0), None, "X must have 2 dimension"),
    ],
)
def test_classes_that_cannot_be_tested_are_named(X, y, message):
    with pytest.raises(ValueError, match=message):
        mardia_test(X, y)


# -- divergence ------------------------------------------------------------------------------------------------------


def closed_form(mean, covariance, model_mean, model_covariance):
    """KL(N(mean, covariance) || N(model_mean, model_covariance))."""
    inverse, offset = np.linalg.inv(model_covariance), np.subtract(mean, model_mean)
    ratio = np.linalg.slogdet(model_covariance)[1] - np.linalg.slogdet(covariance)[1]
    return (np.trace(inverse @ covariance) - len(offset) + offset @ inverse @ offset + ratio) / 2


MEANS = np.array([[0.0, 0.0], [3.0, 1.0]])
COVARIANCES = np.array([[[1.0, 0.5], [0.5, 2.0]], [[1.5, -0.3], [-0.3, 0.5]]])


def draw(means, covariances, counts, seed=0):
    rng = np.random.default_rng(seed)
    X = [rng.multivariate_normal(m, S, size=n) for m, S, n in zip(means, covariances, counts, strict=True)]
    return np.vstack(X), np.repeat(np.arange(len(counts)), counts)


@pytest.fixture(scope="module")
def case():
    """Points of other means, covariances and weights than the model's, and the divergence: of the priors, of each class."""
    X, y = draw(MEANS, COVARIANCES, [1200, 800])
    means, covariances, priors = MEANS + [0.3, -0.2], COVARIANCES * [[[1.5]], [[0.8]]], np.array([0.5, 0.5])
    model = CertifiedGMMClassifier.from_parameters(means, covariances, priors)
    per_class = np.array([closed_form(*each) for each in zip(MEANS, COVARIANCES, means, covariances, strict=True)])
    prior_part = 0.6 * np.log(0.6 / 0.5) + 0.4 * np.log(0.4 / 0.5)
    return SimpleNamespace(X=X, y=y, model=model, per_class=per_class, prior_part=prior_part)


def test_between_gaussians_the_estimate_is_the_closed_form(case):
    found = kl_divergence(case.X, case.model, y=case.y)
    true = case.prior_part + [0.6, 0.4] @ case.per_class
    assert found.priors_term == pytest.approx(case.prior_part, rel=1e-12)
    np.testing.assert_allclose(found.per_class, case.per_class, atol=0.06)
    assert found.kl == pytest.approx(found.priors_term + [0.6, 0.4] @ found.per_class, rel=1e-12)
    assert found.low < true < found.high and found.high - found.low < 0.1
    assert (found.n, found.d, found.space, found.confidence, found.guarantee) == (2000, 2, "latents", 0.95, "estimated")
    assert found.classes.tolist() == [0, 1]


def test_more_confidence_is_a_longer_interval(case):
    one, two = (kl_divergence(case.X, case.model, y=case.y, confidence=c) for c in (0.5, 0.99))
    assert one.kl == two.kl and two.low < one.low < one.kl < one.high < two.high
    assert (two.high - two.kl) / (one.high - one.kl) == pytest.approx(2.5758 / 0.6745, rel=1e-3)


def test_the_law_of_the_model_itself_is_at_no_distance():
    """Also where the raw neighbour estimate would be -0.2 (d = 10) or -10 (d = 64)."""
    for d in (2, 10, 64):
        model = CertifiedGMMClassifier.from_parameters(3 * np.eye(d)[:2], np.eye(d))
        X, y = draw(3 * np.eye(d)[:2], [np.eye(d)] * 2, [300, 300], seed=d)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = kl_divergence(X, model, y=y)
        raw, half = found.priors_term + [0.5, 0.5] @ found.per_class, found.high - found.kl
        assert abs(raw) < 1.7 * half < 0.5


def test_affine_maps_of_data_and_model_change_nothing(case):
    A, b = np.array([[2.0, 1.0], [-300.0, 50.0]]), np.array([4.0, -1e3])
    moved = CertifiedGMMClassifier.from_parameters(case.model.means_ @ A.T + b, A @ case.model.covariances_ @ A.T)
    one, two = kl_divergence(case.X, case.model, y=case.y), kl_divergence(case.X @ A.T + b, moved, y=case.y)
    assert two.kl == pytest.approx(one.kl, rel=1e-6) and two.high == pytest.approx(one.high, rel=1e-6)


@pytest.mark.parametrize("kind", ["tied", "diag", "spherical"])
def test_every_kind_of_covariance_is_read_as_the_full_one_it_is(case, kind):
    expanded = {
        "tied": COVARIANCES[:1],
        "diag": [np.diag([1.0, 2.0]), np.diag([0.5, 3.0])],
        "spherical": [np.eye(2), 2 * np.eye(2)],
    }
    given = {"tied": COVARIANCES[0], "diag": [[1.0, 2.0], [0.5, 3.0]], "spherical": [1.0, 2.0]}[kind]
    model = CertifiedGMMClassifier.from_parameters(MEANS, given, covariance_type=kind)
    full = CertifiedGMMClassifier.from_parameters(MEANS, np.array([expanded[kind][k % len(expanded[kind])] for k in range(2)]))
    one, two = (kl_divergence(case.X, each, y=case.y).kl for each in (model, full))
    assert one == pytest.approx(two, rel=1e-9)


def test_several_components_are_one_density_per_class():
    rng = np.random.default_rng(0)
    sides = rng.choice([-3.0, 3.0], size=(2000, 1), p=[0.3, 0.7])
    outer, inner = np.hstack([sides, np.zeros((2000, 1))]) + rng.standard_normal((2000, 2)), rng.standard_normal((1000, 2))
    X, y = np.vstack([outer, inner]), np.repeat(["outer", "inner"], [2000, 1000])
    model = CertifiedGMMClassifier.from_parameters(
        [[-3.0, 0.0], [0.0, 0.0], [3.0, 0.0]], [1.0, 1.0, 1.0], priors=[2 / 3, 1 / 3], classes=["outer", "inner"],
        components=["outer", "inner", "outer"], weights=[0.3, 1.0, 0.7], covariance_type="spherical",
    )  # fmt: skip
    assert kl_divergence(X, model, y=y).kl < 0.04
    assert abs(kl_divergence(X, model).per_class[0]) < 0.04
    one = CertifiedGMMClassifier(covariance_type="full").fit(X, y)
    assert kl_divergence(X, one, y=y).kl > 0.2


def test_without_labels_only_the_latents_are_compared(case):
    """Swapped labels are seen with labels alone."""
    X, y = draw(MEANS, COVARIANCES, [1000, 1000])
    model = CertifiedGMMClassifier.from_parameters(MEANS, COVARIANCES)
    alone = kl_divergence(X, model)
    assert alone.kl < 0.08 and alone.classes is None and alone.per_class.shape == (1,) and alone.priors_term == 0
    assert "latents alone" in repr(alone)
    assert kl_divergence(X, model, y=1 - y).kl > 3


def tied(d=20, K=3, seed=0):
    rng = np.random.default_rng(seed)
    half = rng.standard_normal((d, d)) / np.sqrt(d) + np.eye(d)
    return rng.standard_normal((K, d)) * 2, half @ half.T


def test_in_the_discriminant_space_the_estimate_is_the_closed_form_there():
    means, S = tied()
    model = CertifiedGMMClassifier.from_parameters(means, S)
    shift = np.linalg.solve(S, (means[1:] - means[0]).T)  # the coordinates, scaled otherwise
    X, y = draw(means + 0.3, [S] * 3, [1500] * 3)
    found = kl_divergence(X, model, y=y, space="discriminant")
    true = closed_form(0.3 * shift.sum(axis=0), shift.T @ S @ shift, np.zeros(2), shift.T @ S @ shift)
    assert true > 0.05 and found.d == 2
    assert found.low < true < found.high and found.high - found.low < 0.13


def test_what_a_tied_rule_does_not_see_does_not_count_in_the_discriminant_space():
    """Zeros of a ReLU, a constant column and a huge shift, all outside the discriminant plane."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 1000)
    means = np.zeros((3, 8))
    means[:, :2] = [[0, 0], [3, 0], [0, 3]]
    X = rng.standard_normal((3000, 8)) + means[y]
    model = CertifiedGMMClassifier.from_parameters(means, np.eye(8))
    X[:, 3], X[:, 4], X[:, 5] = np.maximum(X[:, 3], 0), 1.0, X[:, 5] + 50
    assert kl_divergence(X, model, y=y, space="discriminant").kl < 0.05
    with pytest.raises(ValueError, match="infinite: class 0 has one value .* in columns 3, 4 "):
        kl_divergence(X, model, y=y)


def test_as_many_discriminants_as_features_are_the_latents():
    means, S = tied(d=2, K=4)
    X, y = draw(means, [S] * 4, [300] * 4)
    model = CertifiedGMMClassifier.from_parameters(means, S)
    one, two = (kl_divergence(X, model, y=y, space=space) for space in ("latents", "discriminant"))
    assert one.kl == two.kl and two.space == "discriminant" and two.d == 2
    with pytest.raises(ValueError, match="all points lie on a sphere"):
        kl_divergence(X / np.linalg.norm(X, axis=1, keepdims=True), model, y=y, space="discriminant")


def on_sphere(n=400, d=3, seed=0):
    X = np.random.default_rng(seed).standard_normal((n, d)) + 1
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def standard(n=400, d=3, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def changed(columns=slice(None), rows=slice(None), to=0.0):
    X = standard()
    X[rows, columns] = to
    return X


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (7 * on_sphere(), "infinite: all points lie on a sphere of radius 7, .*before their normalisation"),
        (on_sphere().astype(np.float32), "all points lie on a sphere"),
        (on_sphere() + 5, "all points lie on an ellipsoid"),
        (on_sphere() * [1, 10, 100], "all points lie on an ellipsoid"),
        (np.maximum(standard(), 0), r"infinite: class 0 has one value for more than 1 % .* columns 0, 1, 2 \(0 for .*ReLU"),
        (changed(columns=1, rows=slice(1, 12, 2)), "infinite: class 1 has one value .* in column 1 "),
        (np.round(standard(), 1), "class 0 has one value .*unrounded"),
        (standard() @ np.diag([1, 1, 0]) + standard()[:, [0]] * [0, 0, 2], "class 0 lies in a subspace.*columns 0, 2"),
        (np.tile(standard(n=200), (2, 1)), "infinite: 200 of the 200 points of class 0 occur more than once"),
        (standard() * np.inf, "X must be finite"),
        (standard(d=4), "X must have the 3 columns of the model's means, got 4.*pipe"),
    ],
)  # fmt: skip
def test_where_the_divergence_is_infinite_the_reason_is_named(X, message):
    model = CertifiedGMMClassifier.from_parameters([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], np.eye(3))
    with pytest.raises(ValueError, match=message):
        kl_divergence(X, model, y=np.arange(400) % 2)


def test_a_single_pair_of_twins_or_zeros_is_an_accident():
    X = standard(n=160)
    X[2], X[10, 1], X[12, 1] = X[0], 0.0, 0.0
    model = CertifiedGMMClassifier.from_parameters([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], np.eye(3))
    assert np.isfinite(kl_divergence(X, model, y=np.arange(160) % 2).high)


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        (np.repeat([0, 1], [396, 4]), {}, r"Too few points of class 1 \(n=4\).*d \+ 1 = 4"),
        (np.repeat([0, 1], [396, 4]), {"n_neighbors": 1}, r"Too few points of class 1 \(n=4\)"),
        (np.arange(400) % 2, {"n_neighbors": 200}, r"Too few points of class 0 \(n=200\), class 1 \(n=200\).*n_neighbors=200"),
        (np.arange(400) % 3, {}, "labels that the model does not know: 2"),
        (np.zeros(400, int), {}, "no points of class 1"),
        (np.zeros(399, int), {}, "inconsistent numbers of samples"),
        (np.arange(400) % 2, {"space": "input"}, "space must be one of 'latents', 'discriminant', got 'input'"),
        (np.arange(400) % 2, {"confidence": 95}, r"confidence must be in \(0, 1\), got 95"),
        (np.arange(400) % 2, {"n_neighbors": 0}, "n_neighbors must be an integer >= 1, got 0"),
    ],
)
def test_what_cannot_be_estimated_is_refused(y, options, message):
    model = CertifiedGMMClassifier.from_parameters([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], np.eye(3))
    with pytest.raises(ValueError, match=message):
        kl_divergence(standard(), model, y=y, **options)


def test_a_class_that_the_model_excludes_may_not_occur():
    model = CertifiedGMMClassifier.from_parameters([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], np.eye(3), priors=[1.0, 0.0])
    with pytest.raises(ValueError, match="infinite: class 1 has prior 0 in the model, and points in X"):
        kl_divergence(standard(), model, y=np.arange(400) % 2)
    found = kl_divergence(standard(), model, y=np.zeros(400, int))
    assert found.priors_term == 0 and np.isnan(found.per_class[1]) and found.kl < 0.2


def test_models_without_a_mixture_or_without_discriminants_are_refused():
    X, y = standard(), np.arange(400) % 2
    with pytest.raises(TypeError, match="LogisticRegression lacks means_, covariances_"):
        kl_divergence(X, LogisticRegression().fit(X, y), y=y)
    with pytest.raises(TypeError, match=r"Pipeline lacks means_.*pipe\[-1\]"):
        kl_divergence(X, make_pipeline(PCA(2), CertifiedGMMClassifier()).fit(X, y), y=y)
    for options in ({"covariance_type": "full"}, {"decision": "nearest-ellipsoid"}):
        with pytest.raises(ValueError, match="space='discriminant' needs covariance_type='tied' and decision='bayes'"):
            kl_divergence(X, CertifiedGMMClassifier(**options).fit(X, y), y=y, space="discriminant")
    with pytest.raises(ValueError, match="all means of the model are equal"):
        kl_divergence(X, CertifiedGMMClassifier.from_parameters(np.zeros((2, 3)), np.eye(3)), y=y, space="discriminant")


def test_many_dimensions_are_warned_about():
    model = CertifiedGMMClassifier.from_parameters(np.eye(11)[:2], np.eye(11))
    X, y = standard(d=11), np.arange(400) % 2
    with pytest.warns(UserWarning, match="estimated in d=11 dimensions.*space='discriminant'"):
        kl_divergence(X, model, y=y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kl_divergence(X, model, y=y, space="discriminant")


@pytest.mark.filterwarnings("ignore:The divergence is estimated in d=30")
def test_an_estimate_far_below_zero_has_no_upper_end():
    """Cubes in 30 dimensions: the truth is 5.3."""
    X, y = np.random.default_rng(0).uniform(-(3**0.5), 3**0.5, size=(400, 30)), np.arange(400) % 2
    model = CertifiedGMMClassifier.from_parameters(np.zeros((2, 30)), np.eye(30))
    with pytest.warns(UserWarning, match="no divergence is negative"):
        found = kl_divergence(X, model, y=y)
    assert (found.per_class < 0).all() and found.kl == found.low == 0 and found.high == np.inf


def test_the_repr_calls_it_an_estimate(case):
    shown = repr(kl_divergence(case.X, case.model, y=case.y))
    assert "estimated, not a bound" in shown and "sampling error only" in shown and "latents and labels" in shown


def test_the_same_call_gives_the_same_number(case):
    one, two = (kl_divergence(case.X, case.model, y=case.y) for _ in range(2))
    assert (one.kl, one.low, one.high) == (two.kl, two.low, two.high)


# -- the display -----------------------------------------------------------------------------------------------------


def test_the_display_shows_distances_in_the_covariance_of_each_class():
    mixture = make_circle_mixture(90, n_classes=3, random_state=0)
    figure, ax = plt.subplots()
    display = GaussianityDisplay.from_data(mixture.X, mixture.y, ax=ax)
    assert display.ax_ is ax and display.figure_ is figure and len(display.bands_) == len(display.lines_) == 3
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["0", "1", "2"]
    for k, line in enumerate(display.lines_):
        own = mixture.X[mixture.y == k]
        centred = own - own.mean(axis=0)
        squares = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(np.cov(own.T)), centred)
        np.testing.assert_allclose(line.get_ydata(), np.sort(np.sqrt(squares)))
        assert (display.lower[k] < line.get_xdata()).all() and (line.get_xdata() < display.upper[k]).all()
    x, y = display.diagonal_.get_data()
    np.testing.assert_array_equal(x, y)
    display.figure_.canvas.draw()


def test_the_band_holds_gaussian_points_and_not_others():
    rng = np.random.default_rng(0)
    for draw_points, fits in ((rng.standard_normal, True), (lambda size: rng.standard_t(2, size=size), False)):
        display = GaussianityDisplay.from_data(draw_points(size=(500, 4)))
        inside = (display.lower[0] <= display.distances[0]) & (display.distances[0] <= display.upper[0])
        assert (inside.mean() > 0.9) == fits
        assert display.ax_.get_legend() is None


def test_a_pipeline_is_drawn_by_what_its_classifier_sees():
    X, y = standard(d=6), np.arange(400) % 2
    pipe = make_pipeline(PCA(2), CertifiedGMMClassifier()).fit(X, y)
    latents = GaussianityDisplay.from_data(pipe[:-1].transform(X), y)
    shown = GaussianityDisplay.from_estimator(pipe, X, y)
    np.testing.assert_array_equal(shown.distances[1], latents.distances[1])
    assert "d=2" in shown.ax_.get_xlabel()
    assert GaussianityDisplay.from_estimator(pipe[-1], X, y).d == 6


def test_the_display_refuses_what_has_no_distances():
    with pytest.raises(ValueError, match="class 1 has n=4 points in d=3"):
        GaussianityDisplay.from_data(standard(), np.repeat([0, 1], [396, 4]))


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install skcert\[plot\]"):
        GaussianityDisplay.from_data(standard())


def test_importing_the_diagnostics_imports_no_matplotlib():
    code = "import sys, skcert.diagnostics; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
