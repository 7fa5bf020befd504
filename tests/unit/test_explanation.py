"""CertifiedPipeline, and Certificate.explain: the way, the runner-up, the features that move, as text and as bars."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, OneHotEncoder, StandardScaler

from skcert import (
    CertifiedGMMClassifier,
    CertifiedPipeline,
    PretrainedEmbedder,
    Uncertifiable,
    certify,
    make_certified_pipeline,
)

FRAME, Y = load_wine(return_X_y=True, as_frame=True)
X = FRAME.to_numpy()
SCALE = FRAME.std()


def table():
    """Wine with a category and gaps."""
    frame = FRAME[["alcohol", "proline", "hue"]].copy()
    frame["colour"] = np.where(FRAME["color_intensity"] > 5, "dark", "light")
    frame.loc[frame.index[::7], "hue"] = np.nan
    return frame


def mixed():
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = ColumnTransformer([("num", numbers, ["alcohol", "proline", "hue"]), ("cat", OneHotEncoder(), ["colour"])])
    return make_certified_pipeline(columns, LogisticRegression()).fit(table(), Y)


# -- CertifiedPipeline -------------------------------------------------------------------------------------------------


def test_a_certified_pipeline_is_a_pipeline_with_certify():
    pipe = make_certified_pipeline(StandardScaler(), PCA(3), LogisticRegression(), verbose=False)
    assert isinstance(pipe, CertifiedPipeline) and isinstance(pipe, Pipeline)
    assert [name for name, _ in pipe.steps] == ["standardscaler", "pca", "logisticregression"]
    pipe.set_params(pca__n_components=4).fit(FRAME, Y)
    assert clone(pipe).get_params()["pca__n_components"] == 4
    plain = make_pipeline(StandardScaler(), PCA(4), LogisticRegression()).fit(FRAME, Y)
    request = dict(norm=1, space="standardscaler", feature_scale=None, method="exact", return_attack=True)
    ours, theirs = pipe.certify(FRAME, **request), certify(plain, FRAME, **request)
    np.testing.assert_array_equal(ours.radius, theirs.radius)
    assert isinstance(pipe[:1], CertifiedPipeline)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(pipe)).certify(FRAME).radius, pipe.certify(FRAME).radius)
    search = GridSearchCV(pipe, {"pca__n_components": [2, 5]}).fit(FRAME, Y)
    np.testing.assert_array_equal(search.best_estimator_.certify(FRAME).radius, certify(search, FRAME).radius)


def test_a_subclass_of_pipeline_that_predicts_otherwise_is_refused():
    class Doubting(CertifiedPipeline):
        def predict(self, X):
            return super().predict(X)[::-1]

    pipe = Doubting([("scale", StandardScaler()), ("model", LogisticRegression())]).fit(X, Y)
    with pytest.raises(Uncertifiable, match="Doubting is a Pipeline that overrides predict"):
        pipe.certify(X)


# -- explain -----------------------------------------------------------------------------------------------------------


def test_an_explanation_is_the_certificate_of_its_row_with_an_attack_in_feature_units():
    pipe = make_certified_pipeline(StandardScaler(), PCA(5), LogisticRegression()).fit(FRAME, Y)
    certificate = pipe.certify(FRAME, feature_scale=SCALE)
    for row in (0, 64, -1):
        e = certificate.explain(row)
        at = range(len(Y))[row]
        assert e.row == at and e.prediction == certificate.prediction[at] and e.runner_up == certificate.runner_up[at]
        assert e.radius == certificate.radius[at] and e.radius <= e.attack_radius <= e.radius * (1 + 1e-6)
        np.testing.assert_array_equal(e.before, X[at])
        np.testing.assert_allclose(np.linalg.norm(e.scaled_change), e.attack_radius, rtol=1e-9)
        np.testing.assert_allclose(e.change, e.scaled_change * SCALE, rtol=1e-12)
        assert pipe.predict(pd.DataFrame([e.after], columns=FRAME.columns))[0] == e.runner_up
        sizes = np.abs(e.scaled_change)[e.largest(13)]
        assert (np.diff(sizes) <= 0).all() and len(e.largest()) == 10
        assert list(e.features) == list(FRAME.columns)


def test_factors_are_what_each_step_stretches_lengths_by():
    pipe = make_certified_pipeline(MinMaxScaler(clip=True), PCA(5), Normalizer(), LogisticRegression()).fit(X, Y)
    e = pipe.certify(X).explain(3)
    assert [(step.name, step.kind) for step in e.steps] == [
        ("minmaxscaler", "MinMaxScaler"),
        ("pca", "PCA"),
        ("normalizer", "Normalizer"),
    ]
    lengths = np.linalg.norm(pipe[:2].transform(X)[3])
    np.testing.assert_allclose([step.factor for step in e.steps], [pipe[0].scale_.max(), 1, 1 / lengths], rtol=1e-9)
    assert "clips" in e.steps[0].effect and "affine" in e.steps[1].effect and "divides rows" in e.steps[2].effect
    assert not e.exact and "a lower bound of the distance" in repr(e)
    assert pipe.certify(X, space="pca").explain(3).steps[0].name == "normalizer"
    assert "to the classifier: no step" in repr(pipe.certify(X, space="latents").explain(3))


def test_categories_gaps_and_frozen_features_do_not_move():
    pipe = mixed()
    certificate = pipe.certify(table(), feature_scale={"proline": 300.0, "alcohol": 0.0})
    e = certificate.explain(7)  # its hue is missing
    assert list(e.features) == ["alcohol", "proline", "hue", "colour"]
    np.testing.assert_array_equal(e.scale, [0, 300, 0, 0])
    assert e.change[1] != 0 and not e.change[[0, 2, 3]].any()
    assert np.isnan(e.before[[2, 3]]).all()
    text = repr(e)
    assert "moves 1 of 4 features" in text and "proline" in text and "alcohol" not in text
    assert "num: fills gaps" in text and "cat: encodes categories" in text
    stuck = pipe.certify(table(), feature_scale={name: 0.0 for name in ("alcohol", "proline", "hue")}).explain(0)
    assert stuck.radius == np.inf and "none known" in repr(stuck) and "moves" not in repr(stuck)
    with pytest.raises(ValueError, match="no moves to draw"):
        stuck.plot()
    inner = pipe.certify(table(), space="columntransformer").explain(0)
    assert list(inner.features) == list(pipe[0].get_feature_names_out())


def test_printed_radii_are_rounded_down_and_attacks_up():
    e = make_certified_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y).certify(X).explain(5)
    lines = repr(e).splitlines()
    assert float(lines[1].split()[1]) <= e.radius and float(lines[2].split()[2]) >= e.attack_radius
    assert lines[0] == f"Row 5: predicted {e.prediction}, next {e.runner_up}"
    assert e._repr_html_() == f"<pre>{repr(e).replace('&', '&amp;').replace(chr(39), '&#x27;')}</pre>"


def test_without_an_attack_the_way_is_still_told():
    embed = PretrainedEmbedder(np.tanh, lipschitz=1.0, progress=False)
    scaled = X / X.std(axis=0)
    e = make_certified_pipeline(embed, CertifiedGMMClassifier()).fit(scaled, Y).certify(scaled).explain(0)
    assert e.after is None and not e.change.any() and abs(e.steps[0].factor - 1) < 1e-12
    assert "none known" in repr(e)


def test_what_cannot_be_explained_is_said():
    certificate = make_certified_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y).certify(X)
    with pytest.raises(IndexError, match="below 178, got 178"):
        certificate.explain(178)
    revived = pickle.loads(pickle.dumps(certificate))
    np.testing.assert_array_equal(revived.radius, certificate.radius)
    with pytest.raises(ValueError, match="certify the points again"):
        revived.explain(0)


def test_the_bars_are_the_changes_in_units_of_the_feature_scale():
    pytest.importorskip("matplotlib").use("Agg")
    e = mixed().certify(table(), feature_scale={"proline": 300.0}).explain(1)
    display = e.plot(n_features=2)
    movers = e.largest(2)
    np.testing.assert_allclose([bar.get_width() for bar in display.bars_], e.scaled_change[movers])
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == [e.features[k] for k in movers]
    assert "feature scale" in display.ax_.get_xlabel() and display.figure_ is display.ax_.figure
    again = mixed().certify(table()).explain(1).plot(ax=display.ax_)
    assert again.ax_ is display.ax_ and again.ax_.get_xlabel() == "Change"
