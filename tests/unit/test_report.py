"""robustness_report: its lines against what they are made of, what it leaves out, and how it is shown."""

import re
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from skcert import CertifiedGMMClassifier, RandomizedSmoothingClassifier, _report, certify, robustness_report, theory
from skcert.diagnostics import divergence

X, Y = load_breast_cancer(return_X_y=True)
X_TRAIN, X_TEST, Y_TRAIN, Y_TEST = train_test_split(X, Y, test_size=0.5, random_state=0)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    """Company is tuned among all strengths only where it is asked about; samples of the divergence's bias are few."""
    monkeypatch.setattr(divergence, "SIMULATED", 2_000)
    if not any(word in request.node.name for word in ("company", "strength")):
        monkeypatch.setattr(_report, "STRENGTHS", (1e-1,))


@pytest.fixture(scope="module")
def report():
    model = make_pipeline(StandardScaler(), CertifiedGMMClassifier()).fit(X_TRAIN, Y_TRAIN)
    return robustness_report(model, X_TEST, Y_TEST, space="standardscaler")


def test_every_line_is_there_and_in_its_order(report):
    lines = {name: line.values for name, line in report.lines.items()}
    assert list(lines) == [
        "certified", "certified, lower limit", "certified, upper limit", "under attack", "mixture, certified", "transferred",
        "ceiling, mixture", "ceiling, these points", "NearestCentroid, beside it", "LogisticRegression, beside it",
        "one answer to everything",
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
    assert "no distance" in str(found.left_out) and "LogisticRegression, beside it" in found.lines


def test_a_frame_goes_to_a_classifier_without_steps_before_it():
    frame = pd.DataFrame(X_TEST[:, :3], columns=list("abc"))
    found = robustness_report(LogisticRegression(max_iter=5000).fit(frame, Y_TEST), frame, Y_TEST)
    assert "LogisticRegression, beside it" in found.lines
    array = robustness_report(LogisticRegression(max_iter=5000).fit(X_TEST[:, :3], Y_TEST), X_TEST[:, :3], Y_TEST)
    np.testing.assert_array_equal(found.to_frame(), array.to_frame())


def test_few_points_of_a_class_are_no_reason_to_fail():
    rows = np.concatenate([np.flatnonzero(Y_TEST == 0)[:3], np.flatnonzero(Y_TEST == 1)[:40]])
    model = make_pipeline(StandardScaler(), CertifiedGMMClassifier()).fit(X_TRAIN, Y_TRAIN)
    found = robustness_report(model, X_TEST[rows], Y_TEST[rows])
    assert {"transferred", "Gaussian classes", "models beside it"} <= set(found.left_out)


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


def test_a_line_has_its_colour_whatever_else_is_drawn(report):
    def colours(found):
        axes = found.plot()
        return {line.get_label().split(" (")[0]: line.get_color() for line in axes.lines}

    other = robustness_report(LogisticRegression(max_iter=5000).fit(X_TRAIN, Y_TRAIN), X_TEST, Y_TEST)
    here, there = colours(report), colours(other)
    shared = here.keys() & there.keys()
    assert len(shared) >= 5 and all(here[name] == there[name] for name in shared)
    assert len(set(here.values())) == len(here)


def test_weak_points_are_listed_with_the_index_of_the_frame():
    frame = pd.DataFrame(X_TEST[:, :3], columns=list("abc"), index=[f"patient {n}" for n in range(len(X_TEST))])
    model = LogisticRegression(max_iter=5000).fit(frame, Y_TEST)
    found = robustness_report(model, frame, Y_TEST)
    assert found.weakest["index"] == [f"patient {row}" for row in found.weakest["row"]]
    assert "patient" in repr(found)
    assert f"index 'patient {found.weakest['row'][0]}'" in repr(found.certificate.explain(found.weakest["row"][0]))
    for plain in (X_TEST[:, :3], frame.reset_index(drop=True)):
        assert "index" not in robustness_report(model, plain, Y_TEST).weakest


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


def printed(report):
    """What is printed of each line, as text."""
    table = repr(report).split("\n\n")[1].splitlines()
    return {name: next(row for row in table if f"  {name}  " in row).split(name)[1].split()[: len(report.radii)]
            for name in ("radius", *report.lines)}  # fmt: skip


def test_bounds_are_printed_on_their_safe_side_and_counted_shares_as_they_are(report):
    rows = printed(report)
    assert [float(each) for each in rows["radius"]] == report.radii.tolist()
    lower = {value for line in report.lines.values() if not line.above for value in line.values}
    counted = {line.values[0] for line in report.lines.values() if line.counted}
    seen = set()
    for name, line in report.lines.items():
        for value, text in zip(line.values, rows[name], strict=True):
            if value in counted:
                assert text == f"{value:.3f}"
            elif value in lower:  # also where an attack reaches what is certified
                assert value - 1e-3 < float(text) <= value + 1e-12
            else:
                assert value - 1e-12 <= float(text) < value + 1e-3
                seen.add(name)
    assert {"certified, upper limit", "ceiling, mixture"} <= seen


@pytest.mark.parametrize("settings", [{}, {"radii": [0.0, 1e-6, 0.5]}, {"norm": 1, "radii": [0.0, 0.3, 2.0]}])
def test_equal_numbers_print_alike_in_all_lines_and_at_all_radii(settings):
    model = make_pipeline(StandardScaler(), CertifiedGMMClassifier()).fit(X_TRAIN, Y_TRAIN)
    found = robustness_report(model, X_TEST, Y_TEST, space="standardscaler", **settings)
    rows, texts = printed(found), {}
    for name, line in found.lines.items():
        for value, text in zip(line.values.round(12), rows[name], strict=True):
            texts.setdefault(value, set()).add(text)
    assert all(len(each) == 1 for each in texts.values()), texts
    np.testing.assert_array_equal(found.lines["certified"].values, found.lines["under attack"].values)  # exact certificates
    assert rows["certified"] == rows["under attack"]
    assert rows["certified"][0] == f"{(found.certificate.prediction == Y_TEST).mean():.3f}"
    assert found.facts["clean accuracy"].startswith(rows["certified"][0])


def test_printed_radii_are_rounded_down(report):
    row = repr(report).split("weakest")[1].splitlines()[2].split()
    assert float(row[3]) <= certify_radius(report, int(row[0]))


def certify_radius(report, row):
    return float(report.certificate.radius[row])


# -- by class ----------------------------------------------------------------------------------------------------------


def overlapping():
    """Two Gaussians so close that many points of each are taken for the other."""
    local, labels = np.random.default_rng(0), np.arange(400) % 2
    return local.standard_normal((400, 2)) + 0.3 * labels[:, None], np.array(["calm", "storm"])[labels]


def test_no_class_is_mistaken_for_itself():
    points, labels = overlapping()
    model = CertifiedGMMClassifier().fit(points, labels)
    assert (model.predict(points) != labels).mean() > 0.3
    found = robustness_report(model, points, labels)
    assert found.classes["mistaken for, most often"] == ["storm", "calm"]
    assert set(zip(found.weakest["class"], found.weakest["runner-up"], strict=True)) <= {("calm", "storm"), ("storm", "calm")}


def test_a_class_is_mistaken_for_what_its_points_are_predicted_as_or_would_be_next():
    points, labels = load_iris(return_X_y=True)
    model = CertifiedGMMClassifier().fit(points[:, :2], labels)
    found = robustness_report(model, points[:, :2], labels)
    c = found.certificate
    for label, rival in zip(found.classes["class"], found.classes["mistaken for, most often"], strict=True):
        taken = [
            r if p == label else p for p, r in zip(c.prediction[labels == label], c.runner_up[labels == label], strict=True)
        ]
        assert rival == max(sorted(set(taken)), key=taken.count) != label


def test_one_class_alone_is_mistaken_for_nothing():
    model = CertifiedGMMClassifier.from_parameters([[0.0, 0.0]], np.eye(2), classes=[0])
    found = robustness_report(model, np.zeros((9, 2)), np.zeros(9, dtype=int))
    assert found.classes["mistaken for, most often"] == ["-"]


# -- the models beside it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["input", "standardscaler"])
@pytest.mark.parametrize("settings", [{}, {"radii": [0.0, 2.0, 4.0]}, {"norm": np.inf}])
def test_company_does_not_buy_its_radii_with_accuracy(space, settings):
    """Without a limit LogisticRegression is shrunk until it answers nearly everything with the most frequent class."""
    model = make_pipeline(StandardScaler(), CertifiedGMMClassifier()).fit(X_TRAIN, Y_TRAIN)
    found = robustness_report(model, X_TEST, Y_TEST, space=space, **settings)
    tuned = cross_val_score(make_pipeline(StandardScaler(), LogisticRegression()), X_TEST, Y_TEST, cv=2).mean()
    assert found.lines["LogisticRegression, beside it"].values[0] >= tuned - 0.03
    assert "at most 0.01 of clean accuracy" in found.facts["LogisticRegression, beside it"]


def test_the_strength_chosen_certifies_most_among_those_that_are_nearly_as_accurate():
    """Answers by hand for four strengths: the third certifies most, and costs too much."""

    class Answers(_report._Beside):
        def kept(self, model, y, rows):
            k = int(np.searchsorted([0.001, 0.01, 0.1, 1.0], model.C * spread * 0.999))
            clean, certified = [(0.90, 0.90), (0.94, 0.80), (0.955, 0.50), (0.96, 0.40)][min(k, 3)]
            share = (np.arange(len(rows)) + 0.5) / len(rows)
            return np.where(share < certified, 2.0, np.where(share < clean, 0.5, -1.0))

    local, rows = np.random.default_rng(0), np.arange(3000)
    latents, labels = 7 * local.standard_normal((3000, 2)), rows % 2
    spread = latents.var(axis=0).mean()
    C = _report._strength(Answers([], latents, {}), latents, labels, rows, 1.0)
    assert C * spread == pytest.approx(0.1)


def test_a_constant_answer_stands_beside(report):
    share = max(np.mean(Y_TEST == 0), np.mean(Y_TEST == 1))
    line = report.lines["one answer to everything"]
    assert (line.values == share).all() and line.grade == "always 1"
    assert (line.until(1e9)[1] == share).all()


# -- units -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [1, 2, np.inf])
@pytest.mark.parametrize("behind_a_scaler", [True, False])
def test_every_line_under_a_feature_scale_is_that_of_the_scaled_points(norm, behind_a_scaler):
    train, test = X_TRAIN[:, [1, 4, 6]], X_TEST[:, [1, 4, 6]]
    scale = train.std(axis=0) * [0.3, 1.0, 5.0]
    scale = 2.0 ** np.round(np.log2(scale))  # which loses no digit
    fitted = CertifiedGMMClassifier(shrinkage=None).fit(train / scale, Y_TRAIN)

    def of(s, given):
        model = make_pipeline(StandardScaler(), CertifiedGMMClassifier(shrinkage=None)).fit(train / s, Y_TRAIN)
        if not behind_a_scaler:
            back = scale / s
            covariance = fitted.covariances_ * np.outer(back, back)
            model = CertifiedGMMClassifier.from_parameters(fitted.means_ * back, covariance, fitted.priors_, fitted.classes_)
        return robustness_report(model, test / s, Y_TEST, feature_scale=given, norm=norm, radii=[0.0, 0.1, 0.3])

    first, second = of(1.0, scale), of(scale, None)
    assert list(first.lines) == list(second.lines) and "ceiling, mixture" in first.lines
    for name, line in first.lines.items():
        if name.endswith("beside it") and not behind_a_scaler:
            continue  # they see other latents
        slack = {"mixture, certified": 0.01, "transferred": 0.03}.get(name, 1e-6)  # draws of their own
        np.testing.assert_allclose(line.values, second.lines[name].values, atol=slack)
    assert first.classes["at 0.1"] == second.classes["at 0.1"]
    assert "feature scale" in first.facts["units"] and "feature scale" in repr(first).splitlines()[0]
    assert "feature scale" in first.plot().get_xlabel()


def test_what_cannot_be_computed_in_scaled_units_is_left_out_with_the_reason():
    scale = X_TRAIN.std(axis=0)
    scale[3] = 0
    model = make_pipeline(StandardScaler(), CertifiedGMMClassifier()).fit(X_TRAIN, Y_TRAIN)
    found = robustness_report(model, X_TEST, Y_TEST, feature_scale=scale)
    reasons = [why for name, why in found.left_out.items() if "mixture" in name or "these points" in name]
    assert len(reasons) == 2 and all("feature_scale of 0" in why for why in reasons)
    alone = certify(model, X_TEST, feature_scale=scale)
    np.testing.assert_array_equal(found.certificate.radius, alone.radius)
    assert "1 of 30 columns cannot move" in found.facts["units"]
    assert "LogisticRegression, beside it" in found.lines and "ceiling, mixture" not in found.lines


def test_quotients_that_were_rounded_make_no_conflict():
    """Far from the origin two points seem nearer to each other, in units of the scale, than they are."""
    local = np.random.default_rng(0)
    for x, y, s in zip(*1e8 + local.uniform(0, 1, (2, 1000)), local.uniform(0.5, 2.0, 1000), strict=True):
        distance = abs(Fraction(x) - Fraction(y)) / Fraction(s)
        if Fraction(abs(x / s - y / s)) * (1 + Fraction(1, 10**10)) < distance:
            break
    radius = float((Fraction(abs(x / s - y / s)) + distance) / 4)
    assert 2 * Fraction(radius) < distance  # so there is none
    points, labels = np.array([[x]] * 8 + [[y]] * 8), np.repeat([0, 1], 8)
    model = CertifiedGMMClassifier.from_parameters([[x], [y]], [[1.0]], classes=[0, 1])
    found = robustness_report(model, points, labels, feature_scale=[s], radii=[radius, 2 * radius])
    assert found.lines["ceiling, these points"].values.tolist() == [1.0, 0.5]


def test_columns_of_different_units_are_named_with_the_cure():
    frame = pd.DataFrame(X_TEST, columns=load_breast_cancer().feature_names)
    model = make_pipeline(StandardScaler(), CertifiedGMMClassifier()).fit(frame, Y_TEST)
    words = robustness_report(model, frame, Y_TEST, radii=[0.0]).facts["units"]
    assert "'fractal dimension error'" in words and "'worst area'" in words and "feature_scale=X.std()" in words
    array = make_pipeline(StandardScaler(), CertifiedGMMClassifier()).fit(X_TEST, Y_TEST)
    words = robustness_report(array, X_TEST, Y_TEST, radii=[0.0]).facts["units"]
    assert "column 19" in words and "feature_scale=X.std(axis=0)" in words
    for settings in ({"feature_scale": X_TEST.std(axis=0)}, {"space": "standardscaler"}):
        assert "pass" not in robustness_report(array, X_TEST, Y_TEST, radii=[0.0], **settings).facts["units"]
    alike = CertifiedGMMClassifier().fit(*load_iris(return_X_y=True))
    assert (
        robustness_report(alike, *load_iris(return_X_y=True), radii=[0.0]).facts["units"].endswith("the same for all columns")
    )


def test_a_column_that_decides_alone_is_named_with_the_cure():
    frame = pd.DataFrame(X_TEST[:, :3], columns=["radius", "texture", "length"]).assign(length=X_TEST[:, 2] * 1e-9)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, Y_TEST)
    words = robustness_report(model, frame, Y_TEST, radii=[0.0]).facts["one column decides"]
    assert "'length' makes up" in words and "feature_scale=X.std()" in words
    assert "one column decides" not in robustness_report(model, frame, Y_TEST, radii=[0.0], feature_scale=frame.std()).facts
    words = robustness_report(model, frame, Y_TEST, radii=[0.0], feature_scale=dict.fromkeys(frame, 1.0)).facts
    assert (
        "'length' makes up" in words["one column decides"] and "check its unit in feature_scale" in words["one column decides"]
    )


# -- pictures and pages ------------------------------------------------------------------------------------------------


def heights(axes, at):
    """Of every line drawn, by its label up to the grade, at these radii."""
    found = {}
    for line in axes.lines:
        x, y = line.get_data()
        assert line.get_drawstyle() == "steps-pre"
        found[line.get_label().split(" (")[0]] = np.asarray(y)[np.searchsorted(x, at, side="left")]
    return found


@pytest.mark.parametrize("classifier", [
    CertifiedGMMClassifier(), CertifiedGMMClassifier(covariance_type="full", n_components=2, random_state=0),
])  # fmt: skip
def test_no_upper_bound_is_drawn_below_what_is_certified(classifier):
    points, labels = X_TRAIN[:, [0, 6, 9]], Y_TRAIN
    model = make_pipeline(StandardScaler(), classifier).fit(points, labels)
    found = robustness_report(model, points, labels, space="standardscaler")
    c, end = found.certificate, found.radii[-1]
    jumps = np.concatenate([c.radius, c.attack_radius, np.nextafter(c.radius, 0), np.nextafter(c.attack_radius, 9)])
    at = np.concatenate([np.linspace(0, end, 1000), jumps[jumps <= end]])
    drawn = heights(found.plot(), at)
    np.testing.assert_array_equal(drawn["certified"], c.certified_accuracy(labels, at))
    right = c.prediction == labels
    np.testing.assert_array_equal(drawn["under attack"], ((c.attack_radius >= at[:, None]) & right).mean(axis=1))
    assert (drawn["under attack"] >= drawn["certified"]).all()
    assert (drawn["ceiling, these points"] >= drawn["certified"]).all()
    at_grid = heights(found.plot(), found.radii)
    assert set(at_grid) == {name for name in found.lines if not name.endswith("limit")}
    assert all((at_grid[name] >= found.lines[name].values).all() for name in at_grid)


def test_a_bound_known_at_some_radii_is_drawn_on_its_safe_side_between_them():
    grid, values = np.array([0.0, 1.0, 2.0]), np.array([0.9, 0.6, 0.2])
    upper, lower = (_report.Line.of_bounds(values, grid, "", above) for above in (True, False))
    for line, expected in ((upper, [0.9, 0.9, 0.6, 0.6]), (lower, [0.6, 0.6, 0.2, 0.2])):
        x, y = line.until(2.0)
        assert y[np.searchsorted(x, [0.5, 1.0, 1.5, 2.0], side="left")].tolist() == expected


NAME = "the transfer was not received by the beneficiary of a top-up by card " * 3


def test_long_names_are_cut_in_text_and_told_whole_in_html():
    points, labels = overlapping()
    labels = np.where(labels == "calm", NAME, "<i>" + NAME)
    found = robustness_report(CertifiedGMMClassifier().fit(points, labels), points, labels)
    text, page = repr(found), found._repr_html_()
    assert max(map(len, text.split("by class")[1].splitlines())) < 160 and "…" in text
    assert f'title="{NAME.strip()}"' in page and "<i>" not in page
    assert max(len(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", page)) < 60


def test_names_with_line_breaks_stay_on_their_line():
    points, labels = overlapping()
    labels = np.where(labels == "calm", "two\nlines", "tab\there")
    text = repr(robustness_report(CertifiedGMMClassifier().fit(points, labels), points, labels))
    assert "two lines" in text and "tab here" in text


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
