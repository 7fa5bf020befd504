"""skcert.plotting, claim by claim."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcert import CertifiedGMMClassifier, certify
from skcert._printing import short
from skcert.datasets import make_circle_mixture, make_gaussian_mixture
from skcert.metrics import certified_accuracy_curve, certified_accuracy_score
from skcert.plotting import COLORS, CertifiedAccuracyDisplay, CertifiedRegionDisplay, GaussianityDisplay

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def mixture():
    return make_circle_mixture(120, n_classes=3, circle_radius=2.0, variances=(1.5, 0.5), random_state=0)


@pytest.fixture(scope="module")
def tied(mixture):
    return make_pipeline(StandardScaler(), CertifiedGMMClassifier()).fit(mixture.X, mixture.y)


@pytest.fixture(scope="module")
def full(mixture):
    return CertifiedGMMClassifier(covariance_type="full").fit(mixture.X, mixture.y)


def height_at(line, r):
    """The height that matplotlib draws at r, where steps fall between x[i-1] and x[i] at the left end."""
    assert line.get_drawstyle() == "steps-pre"
    x, y = line.get_data()
    k = np.searchsorted(x, r, side="left")
    return y[k] if k < len(x) else y[-1]


# -- CertifiedAccuracyDisplay ----------------------------------------------------------------------------------------


def test_the_line_drawn_is_the_certified_accuracy_at_every_radius(mixture, full):
    display = CertifiedAccuracyDisplay.from_estimator(full, mixture.X, mixture.y)
    certificate = certify(full, mixture.X)
    for r in np.linspace(0, 1.2 * certificate.radius.max(), 301):
        assert height_at(display.line_, r) == certified_accuracy_score(mixture.y, certificate, r)


def test_the_display_holds_the_numbers_and_what_it_drew(mixture, full):
    figure, ax = plt.subplots()
    display = CertifiedAccuracyDisplay.from_estimator(full, mixture.X, mixture.y, ax=ax)
    assert display.ax_ is ax and display.figure_ is figure and display.lines_ == [display.line_] == list(ax.lines)
    radii, accuracy = certified_accuracy_curve(mixture.y, certify(full, mixture.X))
    np.testing.assert_array_equal(display.radii[0], radii)
    np.testing.assert_array_equal(display.accuracy[0], accuracy)


def test_plot_draws_again_on_another_axis_with_another_name(mixture, full):
    display = CertifiedAccuracyDisplay.from_estimator(full, mixture.X, mixture.y)
    old = display.ax_
    assert display.plot(name="again") is display
    assert display.ax_ is not old and display.line_.get_label() == "again"
    assert display.ax_.get_legend().get_texts()[0].get_text() == "again"


@pytest.mark.parametrize(
    ("norm", "space", "label"),
    [
        (2, "input", r"Certified $\ell_2$ radius, units of the input"),
        (1, "latents", r"Certified $\ell_1$ radius, units of the latents"),
        (np.inf, "standardscaler", r"Certified $\ell_\infty$ radius, units of the output of 'standardscaler'"),
    ],
)
def test_the_axes_say_norm_space_and_that_it_is_certified(mixture, tied, norm, space, label):
    display = CertifiedAccuracyDisplay.from_estimator(tied, mixture.X, mixture.y, norm=norm, space=space)
    assert display.ax_.get_xlabel() == label
    assert display.ax_.get_ylabel() == "Certified accuracy"
    certificate = certify(tied, mixture.X, norm=norm, space=space)
    np.testing.assert_array_equal(display.radii[0], certified_accuracy_curve(mixture.y, certificate)[0])


def test_the_method_is_passed_on(mixture, full):
    paper = CertifiedAccuracyDisplay.from_estimator(full, mixture.X, mixture.y, method="paper")
    expected = certified_accuracy_curve(mixture.y, certify(full, mixture.X, method="paper"))
    np.testing.assert_array_equal(paper.radii[0], expected[0])


def test_the_name_of_a_pipeline_is_that_of_its_classifier(mixture, tied):
    display = CertifiedAccuracyDisplay.from_estimator(tied, mixture.X, mixture.y)
    assert display.line_.get_label() == "CertifiedGMMClassifier"


def test_several_certificates_share_an_axis_in_different_colours(mixture, full):
    certificates = {method: certify(full, mixture.X, method=method) for method in ("exact", "pairwise", "paper")}
    display = CertifiedAccuracyDisplay.from_certificates(certificates, mixture.y)
    assert [line.get_label() for line in display.lines_] == ["exact", "pairwise", "paper"]
    assert len({line.get_color() for line in display.lines_}) == 3
    assert {line.get_linestyle() for line in display.lines_} == {"-"}


def test_one_certificate_needs_no_name(mixture, full):
    display = CertifiedAccuracyDisplay.from_certificates(certify(full, mixture.X), mixture.y)
    assert len(display.lines_) == 1 and display.ax_.get_legend() is None


def test_a_second_display_on_the_same_axis_takes_the_next_colour_and_hides_nothing(mixture, full, tied):
    first = CertifiedAccuracyDisplay.from_estimator(full, 3 * mixture.X, mixture.y, name="first")
    end = first.ax_.get_xlim()[1]
    second = CertifiedAccuracyDisplay.from_estimator(tied, mixture.X, mixture.y, name="second", ax=first.ax_)
    assert second.line_.get_color() != first.line_.get_color()
    assert second.ax_.get_xlim()[1] >= end
    assert [text.get_text() for text in second.ax_.get_legend().get_texts()] == ["first", "second"]


def test_a_curve_without_guarantee_is_dashed_and_called_an_estimate(mixture, full):
    certificate = certify(full, mixture.X)
    certificates = {"sure": certificate, "guess": replace(certificate, guarantee="none")}
    display = CertifiedAccuracyDisplay.from_certificates(certificates, mixture.y)
    assert [line.get_label() for line in display.lines_] == ["sure", "guess (estimate)"]
    assert [line.get_linestyle() for line in display.lines_] == ["-", "--"]
    assert display.ax_.get_ylabel() == "Certified accuracy"


def test_estimates_alone_are_not_called_certified(mixture, full):
    estimate = replace(certify(full, mixture.X), guarantee="none")
    ax = CertifiedAccuracyDisplay.from_certificates(estimate, mixture.y).ax_
    assert "Certified" not in ax.get_xlabel() + ax.get_ylabel()
    assert ax.get_legend().get_texts()[0].get_text() == "(estimate)"


def test_a_probabilistic_curve_says_its_confidence(mixture, full):
    certificate = replace(certify(full, mixture.X), guarantee="probabilistic", confidence=0.999)
    display = CertifiedAccuracyDisplay.from_certificates({"votes": certificate}, mixture.y)
    assert display.line_.get_label() == "votes (confidence 0.999)"


def test_the_attack_curve_is_dotted_and_never_below_the_certified_one(mixture, full):
    certificate = certify(full, mixture.X, method="paper")
    display = CertifiedAccuracyDisplay.from_certificates({"paper": certificate}, mixture.y, attack=True)
    (upper,) = display.attack_lines_
    assert upper.get_linestyle() == ":" and upper.get_label() == "paper, attacked"
    assert upper.get_color() == display.line_.get_color() and upper.get_linewidth() < display.line_.get_linewidth()
    attacked = replace(certificate, radius=certificate.attack_radius)
    grid = np.linspace(0, 4, 101)
    for r in grid:
        assert height_at(upper, r) == certified_accuracy_score(mixture.y, attacked, r) >= height_at(display.line_, r)
    assert any(height_at(upper, r) > height_at(display.line_, r) for r in grid)


def test_without_known_attacks_no_attack_curve_is_drawn(mixture, full):
    certificate = certify(full, mixture.X)
    unknown = replace(certificate, attack_radius=np.full(len(certificate), np.inf))
    assert CertifiedAccuracyDisplay.from_certificates(unknown, mixture.y, attack=True).attack_lines_ == []
    assert CertifiedAccuracyDisplay.from_certificates(certificate, mixture.y).attack_lines_ == []


def test_points_without_boundary_keep_the_curve_up_to_the_edge(mixture, full):
    certificate = certify(full, mixture.X)
    right = np.flatnonzero(certificate.prediction == mixture.y)
    radius = certificate.radius.copy()
    radius[right[:30]] = np.inf
    display = CertifiedAccuracyDisplay.from_certificates(replace(certificate, radius=radius), mixture.y)
    assert np.isfinite(display.line_.get_xdata()).all()
    assert height_at(display.line_, display.ax_.get_xlim()[1]) == 0.25


def test_all_radii_zero_or_infinite_can_be_drawn(mixture, full):
    certificate = certify(full, mixture.X)
    for value in (0.0, np.inf):
        constant = replace(certificate, radius=np.full(len(certificate), value))
        assert CertifiedAccuracyDisplay.from_certificates(constant, mixture.y).ax_.get_xlim() == (0, 1)


def test_curve_kwargs_style_all_curves_or_each(mixture, full):
    certificates = {"a": certify(full, mixture.X), "b": certify(full, mixture.X, method="paper")}
    both = CertifiedAccuracyDisplay.from_certificates(certificates, mixture.y, curve_kwargs={"linewidth": 5})
    assert [line.get_linewidth() for line in both.lines_] == [5, 5]
    each = both.plot(curve_kwargs=[{"color": "red"}, None], name=["A", "B"])
    assert [line.get_color() for line in each.lines_] == ["red", COLORS[1]]
    assert [line.get_label() for line in each.lines_] == ["A", "B"]


def test_certificates_of_different_norms_or_spaces_are_refused(mixture, tied):
    certificates = {norm: certify(tied, mixture.X, norm=norm) for norm in (1, 2)}
    with pytest.raises(ValueError, match="share one norm.*got 1, 2"):
        CertifiedAccuracyDisplay.from_certificates(certificates, mixture.y)
    certificates = {space: certify(tied, mixture.X, space=space) for space in ("input", "latents")}
    with pytest.raises(ValueError, match="share one space.*got 'input', 'latents'"):
        CertifiedAccuracyDisplay.from_certificates(certificates, mixture.y)


@pytest.mark.parametrize("other", [{"norm": 1}, {"space": "latents"}])
def test_an_axis_that_shows_another_norm_or_space_is_refused(mixture, tied, other):
    ax = CertifiedAccuracyDisplay.from_estimator(tied, mixture.X, mixture.y).ax_
    with pytest.raises(ValueError, match="axes already show.*different things"):
        CertifiedAccuracyDisplay.from_estimator(tied, mixture.X, mixture.y, ax=ax, **other)
    assert len(ax.lines) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"certificates": {}}, "certificates is empty"),
        ({"y": [0, 1]}, "one label per certified point"),
        ({"curve_kwargs": [{}, {}]}, "curve_kwargs must be one item or a list with one for each of the 1 curves"),
    ],
)
def test_bad_input_is_refused(mixture, full, arguments, message):
    call = {"certificates": certify(full, mixture.X), "y": mixture.y} | arguments
    with pytest.raises(ValueError, match=message):
        CertifiedAccuracyDisplay.from_certificates(**call)


# -- CertifiedRegionDisplay ------------------------------------------------------------------------------------------


def test_the_grid_holds_what_certify_says_there(mixture, full):
    display = CertifiedRegionDisplay.from_estimator(full, mixture.X, mixture.y, grid_resolution=30)
    grid = np.column_stack([display.xx0.ravel(), display.xx1.ravel()])
    certificate = certify(full, grid)
    np.testing.assert_array_equal(display.classes[display.region.ravel()], certificate.prediction)
    np.testing.assert_array_equal(display.radius.ravel(), certificate.radius)
    assert (grid.min(axis=0) < mixture.X.min(axis=0)).all() and (grid.max(axis=0) > mixture.X.max(axis=0)).all()


def test_no_point_of_a_certified_ball_drawn_is_predicted_otherwise(mixture, tied):
    rng = np.random.default_rng(0)
    for norm, corners in ((1, 4), (2, None), (np.inf, 4)):
        display = CertifiedRegionDisplay.from_estimator(tied, mixture.X, norm=norm, grid_resolution=20)
        assert len(display.balls_) == len(display.balls) > 2
        for row, patch in zip(display.balls, display.balls_, strict=True):
            (outline,) = patch.get_transform().transform_path(patch.get_path()).to_polygons()
            outline = display.ax_.transData.inverted().transform(outline)
            radius = display.certificate.radius[row]
            lengths = np.linalg.norm(outline - mixture.X[row], ord=norm, axis=1)
            if corners:
                np.testing.assert_allclose(lengths, radius, rtol=1e-6)
                assert len(np.unique(outline.round(6), axis=0)) == corners
            np.testing.assert_allclose(lengths.max(), radius, rtol=0.02)  # a circle is drawn to the pixel
            inside = mixture.X[row] + rng.uniform(0, 0.98, (50, 1)) * (
                outline[rng.integers(len(outline), size=50)] - mixture.X[row]
            )
            assert (tied.predict(inside) == display.certificate.prediction[row]).all()


def test_balls_do_not_overlap_and_are_at_most_n_balls(mixture, full):
    display = CertifiedRegionDisplay.from_estimator(full, mixture.X, n_balls=4, grid_resolution=20)
    rows, radius = display.balls, display.certificate.radius
    assert len(rows) == 4 and len(set(rows.tolist())) == 4
    for i in range(4):
        for j in range(i):
            assert np.linalg.norm(mixture.X[rows[i]] - mixture.X[rows[j]]) >= radius[rows[i]] + radius[rows[j]]
    assert CertifiedRegionDisplay.from_estimator(full, mixture.X, n_balls=0, grid_resolution=20).balls_ == []


def test_regions_are_paler_towards_their_boundaries(mixture, full):
    display = CertifiedRegionDisplay.from_estimator(full, mixture.X, grid_resolution=60)
    image = np.asarray(display.surface_.get_array())
    for k in range(3):
        inside = display.region == k
        order = np.argsort(display.radius[inside])
        lightness = image[inside].sum(axis=1)[order]
        assert (np.diff(lightness) <= 1e-12).all() and lightness[0] > lightness[-1]


def test_the_image_covers_the_cells_of_the_grid(mixture, full):
    display = CertifiedRegionDisplay.from_estimator(full, mixture.X, grid_resolution=11)
    left, right, _, _ = display.surface_.get_extent()
    width = (right - left) / 11
    assert left + width / 2 == pytest.approx(display.xx0[0, 0]) and right - width / 2 == pytest.approx(display.xx0[0, -1])


def test_points_are_drawn_by_true_class_and_wrong_ones_are_crossed_out(mixture, full):
    display = CertifiedRegionDisplay.from_estimator(full, mixture.X, mixture.y, grid_resolution=20)
    for k in range(3):
        np.testing.assert_array_equal(display.points_[k].get_offsets(), mixture.X[mixture.y == k])
    wrong = full.predict(mixture.X) != mixture.y
    assert wrong.any()
    np.testing.assert_array_equal(display.points_[3].get_offsets(), mixture.X[wrong])
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["0", "1", "2", "wrong"]


def test_without_y_points_are_drawn_as_predicted(mixture, full):
    display = CertifiedRegionDisplay.from_estimator(full, mixture.X, grid_resolution=20)
    assert len(display.points_) == 3
    np.testing.assert_array_equal(display.points_[0].get_offsets(), mixture.X[full.predict(mixture.X) == 0])
    assert display.ax_.get_legend().get_title().get_text() == "predicted"


def test_the_title_calls_bounds_bounds(mixture, full):
    display = CertifiedRegionDisplay.from_estimator(full, mixture.X, norm=1, grid_resolution=10)
    assert not display.certificate.exact
    assert display.ax_.get_title() == r"Certified $\ell_1$ radius (lower bounds)"
    stated = CertifiedRegionDisplay.from_estimator(full, mixture.X, method="paper", grid_resolution=10)
    assert stated.ax_.get_title() == r"Certified $\ell_2$ radius (paper)"


@pytest.mark.parametrize(
    ("certificates", "words"),
    [
        (lambda c: [c], r"certificates must be a Certificate, or a dict of name to Certificate, got list"),
        (lambda c: {"a": c, "b": 3}, r"certificates\['b'\] must be a skcert.Certificate, got int"),
        (lambda c: None, "certificates must be a Certificate, .* got NoneType"),
    ],
)
def test_what_is_no_certificate_is_named_as_it_was_passed(mixture, tied, certificates, words):
    with pytest.raises(TypeError, match=words):
        CertifiedAccuracyDisplay.from_certificates(certificates(certify(tied, mixture.X)), mixture.y)


def test_title_and_axes_say_what_is_shown(mixture, tied):
    frame = pd.DataFrame(mixture.X, columns=["width", "height"])
    named = make_pipeline(StandardScaler(), CertifiedGMMClassifier()).fit(frame, mixture.y)
    display = CertifiedRegionDisplay.from_estimator(named, frame, mixture.y, norm=np.inf, grid_resolution=20)
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("width", "height")
    assert display.ax_.get_title() == r"Certified $\ell_\infty$ radius (exact)"
    assert display.ax_.get_aspect() == 1  # circles are circles


def test_region_plot_draws_again_on_the_axis_given(mixture, full):
    display = CertifiedRegionDisplay.from_estimator(full, mixture.X, grid_resolution=20)
    figure, ax = plt.subplots()
    assert display.plot(ax) is display and display.ax_ is ax and display.figure_ is figure


def test_many_classes_and_string_labels_can_be_drawn():
    mixture = make_gaussian_mixture(300, n_classes=12, separation=4.0, random_state=0)
    y = np.array([f"class {k}" for k in mixture.y])
    model = CertifiedGMMClassifier(covariance_type="spherical").fit(mixture.X, y)
    display = CertifiedRegionDisplay.from_estimator(model, mixture.X, y, grid_resolution=40)
    display.figure_.canvas.draw()
    assert display.ax_.get_legend().get_texts()[1].get_text() == "class 1"


def test_a_class_that_fills_the_picture_has_no_boundary_to_draw(mixture, full):
    corner = full.means_[0] + np.array([[0.0, 0.0], [0.01, 0.01]])
    display = CertifiedRegionDisplay.from_estimator(full, corner, grid_resolution=10)
    display.figure_.canvas.draw()
    assert np.ptp(display.region) == 0


def test_infinite_radii_can_be_drawn():
    """With prior 0 a class never wins: the other has no boundary."""
    model = CertifiedGMMClassifier.from_parameters([[0.0, 0.0], [1.0, 0.0]], np.eye(2), priors=[1.0, 0.0])
    X = np.array([[0.0, 0.0], [1.0, 2.0]])
    display = CertifiedRegionDisplay.from_estimator(model, X, grid_resolution=10)
    display.figure_.canvas.draw()
    assert display.balls_ == [] and (display.radius > 1e200).all()


def test_the_latents_of_a_pipeline_can_be_drawn():
    mixture = make_gaussian_mixture(100, n_features=5, random_state=0)
    pipe = make_pipeline(PCA(2), CertifiedGMMClassifier()).fit(mixture.X, mixture.y)
    with pytest.raises(ValueError, match=r"X must have shape \(n_samples, 2\), got \(100, 5\).*pipe\[:-1\]\.transform"):
        CertifiedRegionDisplay.from_estimator(pipe, mixture.X, mixture.y)
    CertifiedRegionDisplay.from_estimator(pipe[-1], pipe[:-1].transform(mixture.X), mixture.y, grid_resolution=20)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": [0, 1]}, "one label per certified point"),
        ({"y": ["a"] * 120}, "text and numbers"),
        ({"grid_resolution": 1}, "grid_resolution must be an integer >= 2, got 1"),
        ({"norm": 3}, "norm must be 1, 2 or numpy.inf"),
    ],
)
def test_bad_input_of_the_region_display_is_refused(mixture, full, arguments, message):
    with pytest.raises(ValueError, match=message):
        CertifiedRegionDisplay.from_estimator(full, mixture.X, **arguments)


@pytest.mark.parametrize("draw", [
    lambda X, y: CertifiedRegionDisplay.from_estimator(CertifiedGMMClassifier().fit(X, y), X, y, grid_resolution=20),
    lambda X, y: GaussianityDisplay.from_data(X, y),
])  # fmt: skip
def test_the_legend_of_many_classes_with_long_names_fits_the_picture(draw):
    mixture = make_gaussian_mixture(77 * 12, n_classes=77, random_state=0)
    names = np.array([f"{k} is the number of a class with quite a long name" for k in range(77)])
    figure = draw(mixture.X, names[mixture.y]).figure_
    figure.canvas.draw()
    box, picture = figure.axes[0].get_legend().get_window_extent(), figure.bbox.padded(1)
    assert picture.contains(box.x0, box.y0) and picture.contains(box.x1, box.y1)
    assert figure.axes[0].get_window_extent().width > 100


# -- ExplanationDisplay ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_features", [3, 30])
@pytest.mark.parametrize("suffix", ["", " as it was measured by the second laboratory in the year after"])
@pytest.mark.parametrize("shares_its_figure", [False, True])
def test_no_two_texts_of_an_explanation_overlap(n_features, suffix, shares_its_figure):
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X.columns = [f"{name}{suffix} {k}" for k, name in enumerate(X.columns)]
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    ax = plt.subplots(1, 2, layout="constrained")[1][0] if shares_its_figure else None
    display = certify(model, X, feature_scale=X.std()).explain(70).plot(ax, n_features=n_features)
    display.figure_.canvas.draw()
    (right,) = display.ax_.child_axes
    assert len(display.bars_) == len(display.ax_.get_yticklabels()) == len(right.get_yticklabels()) == n_features
    low, high = display.ax_.get_xlim()
    numbers = [text for text in display.ax_.get_xticklabels() if low <= text.get_position()[0] <= high]
    texts = [*display.ax_.get_yticklabels(), *right.get_yticklabels(), *numbers, display.ax_.title]
    boxes = [text.get_window_extent() for text in texts] + [display.ax_.get_window_extent()]  # the last is that of the bars
    picture = display.figure_.bbox.padded(1)
    for k, box in enumerate(boxes):
        assert picture.contains(box.x0, box.y0) and picture.contains(box.x1, box.y1)
        assert not any(box.x0 < b.x1 and b.x0 < box.x1 and box.y0 < b.y1 and b.y0 < box.y1 for b in boxes[:k])


def test_cut_names_keep_their_beginning_and_their_end():
    assert short("a name") == "a name" and short("two\nlines") == "two lines"
    cut = short("beginning" + 50 * "." + "end", 20)
    assert len(cut) == 20 and cut.startswith("beginning") and cut.endswith("end") and "…" in cut


# -- matplotlib is optional ------------------------------------------------------------------------------------------


def test_importing_the_module_does_not_import_matplotlib():
    code = "import sys, skcert.plotting; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("display", [CertifiedAccuracyDisplay, CertifiedRegionDisplay])
def test_without_matplotlib_the_error_says_what_to_install(mixture, full, display, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install skcert\[plot\]"):
        display.from_estimator(full, mixture.X, mixture.y)


def test_neighbouring_colours_differ_in_greyscale():
    rgb = np.array([matplotlib.colors.to_rgb(color) for color in COLORS])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    lightness = 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16
    assert (np.abs(np.diff(lightness[:4])) > 15).all()
    assert np.diff(np.sort(lightness[:4])).min() > 10
