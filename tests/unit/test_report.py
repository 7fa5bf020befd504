"""robustness_report: its lines against what they are made of, what it leaves out, and how it is shown."""

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from skcert import CertifiedGMMClassifier, RandomizedSmoothingClassifier, certify, robustness_report, theory

X, Y = load_breast_cancer(return_X_y=True)
X_TRAIN, X_TEST, Y_TRAIN, Y_TEST = train_test_split(X, Y, test_size=0.5, random_state=0)


@pytest.fixture(scope="module")
def report():
    model = make_pipeline(StandardScaler(), CertifiedGMMClassifier()).fit(X_TRAIN, Y_TRAIN)
    return robustness_report(model, X_TEST, Y_TEST, space="standardscaler")


def test_every_line_is_there_and_in_its_order(report):
    lines = {name: line.values for name, line in report.lines.items()}
    assert list(lines) == [
        "certified", "certified, lower limit", "certified, upper limit", "under attack", "mixture, certified", "transferred",
        "ceiling, mixture", "ceiling, these points", "NearestCentroid", "LogisticRegression",
    ]  # fmt: skip
    assert not report.left_out
    for values in lines.values():
        assert values.shape == report.radii.shape and ((values >= 0) & (values <= 1)).all()
        assert (np.diff(values) <= 1e-12).all()
    assert (lines["certified, lower limit"] <= lines["certified"]).all()
    assert (lines["certified"] <= lines["under attack"]).all() and (
        lines["under attack"] <= lines["ceiling, these points"]
    ).all()
    assert (lines["transferred"] <= lines["mixture, certified"]).all()
    assert (lines["mixture, certified"] <= lines["ceiling, mixture"]).all()


def test_lines_are_what_their_functions_return(report):
    np.testing.assert_array_equal(report.lines["certified"].values, report.certificate.certified_accuracy(Y_TEST, report.radii))
    scaled = StandardScaler().fit(X_TRAIN).transform(X_TEST)
    bound = theory.empirical_risk_bound(scaled, Y_TEST, radius=float(report.radii[3]))
    assert report.lines["ceiling, these points"].values[3] == pytest.approx(1 - bound)


def test_the_ceiling_of_the_mixture_is_the_same_from_every_space_that_is_a_turn_of_the_latents():
    """Behind a scaler the perturbation is an ellipsoid of the latents; pulled back, the mixture is that of the input."""
    local = np.random.default_rng(0)
    means = np.array([[0.0, 0.0], [3.0, 1.0]])
    points = means[np.arange(600) % 2] + local.standard_normal((600, 2))
    labels, stretch = np.arange(600) % 2, np.array([1.0, 7.0])
    plain = CertifiedGMMClassifier(shrinkage=None).fit(points, labels)
    piped = make_pipeline(StandardScaler(), CertifiedGMMClassifier(shrinkage=None)).fit(points * stretch, labels)
    turned = make_pipeline(PCA(2), CertifiedGMMClassifier(shrinkage=None)).fit(points, labels)
    radii = [0.0, 0.5, 1.0]
    here, there = (robustness_report(model, points, labels, radii=radii) for model in (plain, turned))
    exact = 1 - np.array([
        theory.optimal_binary_robust_risk(plain.means_, plain.covariances_, plain.priors_, radius=r).risk for r in radii
    ])  # fmt: skip
    np.testing.assert_allclose(here.lines["ceiling, mixture"].values, exact, atol=1e-5)
    np.testing.assert_allclose(there.lines["ceiling, mixture"].values, exact, atol=1e-5)
    wide = robustness_report(piped, points * stretch, labels, radii=radii)
    own = CertifiedGMMClassifier(shrinkage=None).fit(points * stretch, labels)
    exact = 1 - np.array([
        theory.optimal_binary_robust_risk(own.means_, own.covariances_, own.priors_, radius=r).risk for r in radii
    ])  # fmt: skip
    np.testing.assert_allclose(wide.lines["ceiling, mixture"].values, exact, atol=1e-5)
    sharp = robustness_report(piped, points * stretch, labels, radii=radii, norm=np.inf)
    assert "ceiling, mixture" in sharp.lines


def test_a_model_fitted_for_a_radius_is_judged_by_the_mixture_of_the_data():
    plain = CertifiedGMMClassifier().fit(X_TRAIN[:, :4], Y_TRAIN)
    robust = CertifiedGMMClassifier(target_radius=1.0).fit(X_TRAIN[:, :4], Y_TRAIN)
    ceilings = [
        robustness_report(model, X_TEST[:, :4], Y_TEST, radii=[0.0, 1.0]).lines["ceiling, mixture"].values
        for model in (plain, robust)
    ]
    np.testing.assert_allclose(*ceilings, rtol=1e-6)


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_other_covariances(kind):
    model = make_pipeline(StandardScaler(), CertifiedGMMClassifier(covariance_type=kind)).fit(X_TRAIN, Y_TRAIN)
    found = robustness_report(model, X_TEST, Y_TEST, radii=[0.0, 0.01])
    assert "ceiling, mixture" in found.lines and "mixture, certified" in found.lines


def test_what_needs_a_mixture_is_left_out_with_the_reason():
    found = robustness_report(LogisticRegression(max_iter=5000).fit(X_TRAIN, Y_TRAIN), X_TEST, Y_TEST)
    (reason,) = (why for name, why in found.left_out.items() if "mixture" in name)
    assert "LogisticRegression is no Gaussian mixture" in reason
    assert "certified" in found.lines and "ceiling, these points" in found.lines
    several = CertifiedGMMClassifier(n_components=2, random_state=0).fit(X_TRAIN[:, :3], Y_TRAIN)
    assert "one component per class" in str(robustness_report(several, X_TEST[:, :3], Y_TEST).left_out)


def test_votes_and_steps_without_a_matrix_are_reported_as_far_as_they_go():
    voted = RandomizedSmoothingClassifier(SVC(), sigma=0.3, n_certify=200, random_state=0, progress=False)
    found = robustness_report(voted.fit(*load_iris(return_X_y=True)), *load_iris(return_X_y=True))
    assert found.lines["certified"].grade == "probabilistic" and "under attack" in found.left_out
    bent = make_pipeline(StandardScaler(), Normalizer(), CertifiedGMMClassifier()).fit(X_TRAIN, Y_TRAIN)
    found = robustness_report(bent, X_TEST, Y_TEST)
    assert "not linear" in str(found.left_out) and "certified" in found.lines


def test_tables_with_text():
    frame = pd.DataFrame(X_TEST[:, :3], columns=list("abc")).assign(kind=np.where(X_TEST[:, 4] > 0.09, "u", "v"))
    table = ColumnTransformer([("n", StandardScaler(), list("abc")), ("t", OneHotEncoder(), ["kind"])])
    model = make_pipeline(table, LogisticRegression()).fit(frame, Y_TEST)
    found = robustness_report(model, frame, Y_TEST)
    assert "no distance" in str(found.left_out) and "LogisticRegression" in found.lines


def test_few_points_of_a_class_are_no_reason_to_fail():
    rows = np.concatenate([np.flatnonzero(Y_TEST == 0)[:3], np.flatnonzero(Y_TEST == 1)[:40]])
    model = make_pipeline(StandardScaler(), CertifiedGMMClassifier()).fit(X_TRAIN, Y_TRAIN)
    found = robustness_report(model, X_TEST[rows], Y_TEST[rows])
    assert {"transferred", "Gaussian classes", "NearestCentroid, LogisticRegression"} <= set(found.left_out)


def test_it_prints_plots_and_writes_one_page(report, tmp_path):
    text = repr(report)
    for name in (*report.lines, *report.facts, "by class", "weakest"):
        assert name in text
    frame = report.to_frame()
    assert list(frame.columns) == list(report.lines) and frame.index.name == "radius"
    axes = report.plot()
    labels = [each.get_text() for each in axes.get_legend().get_texts()]
    assert "certified" in labels and "transferred (estimated)" in labels
    path = tmp_path / "report.html"
    report.to_html(path)
    page = path.read_text()
    assert "data:image/png;base64," in page and not re.search(r'(src|href)="(?!data:)', page)
    assert "<table>" in report._repr_html_()


def test_names_of_classes_do_not_become_markup(tmp_path):
    labels = np.where(Y_TEST == 0, "<b>x</b>", "y & z")
    model = make_pipeline(StandardScaler(), CertifiedGMMClassifier()).fit(X_TEST, labels)
    page = robustness_report(model, X_TEST, labels)._repr_html_()
    assert "<b>x</b>" not in page and "&lt;b&gt;x" in page


def test_a_model_fitted_for_a_radius_is_compared_with_the_law_of_the_data():
    """Data drawn from the mixture itself: hardly any divergence, and one point in a hundred in its outermost hundredth."""
    local = np.random.default_rng(1)
    means, labels = np.array([[0.0, 0.0, 0.0], [2.0, 1.0, 0.0]]), np.arange(4000) % 2
    points = means[labels] + local.standard_normal((4000, 3)) * [1.0, 0.3, 0.1]
    model = CertifiedGMMClassifier(target_radius=0.5).fit(points[:2000], labels[:2000])
    assert model.robust_shrinkage_ > 0
    found = robustness_report(model, points[2000:], labels[2000:], radii=[0.0, 0.5])
    assert (found.lines["transferred"].values <= found.lines["certified, upper limit"].values).all()
    assert found.lines["transferred"].values[1] > 0.5 * found.lines["certified"].values[1]
    assert float(found.facts["typicality"].split("%")[0]) < 2.5


def test_lists_are_arrays_and_tiny_or_huge_radii_are_radii():
    model = CertifiedGMMClassifier().fit(X_TRAIN[:, :3], Y_TRAIN)
    found = robustness_report(model, X_TEST[:, :3].tolist(), Y_TEST.tolist(), radii=[0.0, 1e-300, 1e300])
    assert found.lines["certified"].values[2] == 0 and np.isfinite(found.to_frame().to_numpy()).all()


def test_each_line_is_printed_on_its_safe_side(report):
    rows = {line.split("  ")[1].strip(): line.split() for line in repr(report).splitlines() if line.startswith("  ")}
    for name, line in report.lines.items():
        shown = [float(cell) for cell in rows[name] if cell.replace(".", "").isdigit()][: len(report.radii)]
        error = np.array(shown) - line.values
        assert ((error >= -1e-9) if line.above else (error <= 1e-9)).all() and np.abs(error).max() < 1.1e-3
    assert [float(each) for each in rows["radius"][1:]] == report.radii.tolist()


def test_printed_shares_and_radii_are_rounded_down(report):
    assert "0.957" in repr(report)
    row = repr(report).split("weakest")[1].splitlines()[2].split()
    assert float(row[3]) <= certify_radius(report, int(row[0]))


def certify_radius(report, row):
    return float(report.certificate.radius[row])


@pytest.mark.parametrize("settings, words", [
    ({"radii": [-1.0]}, "radii must be >= 0"), ({"norm": 3}, "norm must be"), ({"space": "nowhere"}, "space"),
    ({"confidence": 1.0}, "confidence must be in"),
])  # fmt: skip
def test_bad_input_is_refused(settings, words):
    model = make_pipeline(StandardScaler(), CertifiedGMMClassifier()).fit(X_TRAIN, Y_TRAIN)
    with pytest.raises(ValueError, match=words):
        robustness_report(model, X_TEST, Y_TEST, **settings)
    with pytest.raises(ValueError, match="one label per certified point"):
        robustness_report(model, X_TEST, Y_TEST[:-1])
    assert certify(model, X_TEST[:1]).radius.shape == (1,)
