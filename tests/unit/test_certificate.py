"""The certificate as a record: joined, pickled, put into frames, explained after its points have changed, printed."""

import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris, load_wine
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcert import (
    Certificate,
    CertifiedGMMClassifier,
    Clever,
    PretrainedEmbedder,
    RandomizedSmoothingClassifier,
    certify,
)
from skcert._explanation import MARKED, SMALL, dominant_column

X, Y = load_wine(return_X_y=True)
FRAME = load_wine(as_frame=True).data.rename(index="wine {}".format)
MODEL = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
NAMED = make_pipeline(StandardScaler(), LogisticRegression()).fit(FRAME, Y)
VOTING = RandomizedSmoothingClassifier(clone(NAMED), sigma=0.5, n_certify=200, alpha=0.1, random_state=0, progress=False)


def parts(model, points, **request):
    ends = np.linspace(0, len(points), 4).astype(int)
    return [certify(model, points[start:end], **request) for start, end in zip(ends, ends[1:], strict=False)]


def many(n=6000):
    """More points than are kept whole, of which some repeat."""
    return X[np.random.default_rng(0).integers(0, len(X), n)] + np.arange(n)[:, None] * 1e-7


# -- joined ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [LogisticRegression(), CertifiedGMMClassifier(), CertifiedGMMClassifier(covariance_type="full"), GaussianNB()],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("made", [list, iter, tuple])
def test_certificates_of_batches_are_that_of_all_points_from_whatever_iterable(model, made):
    fitted = model.fit(StandardScaler().fit_transform(X), Y)
    points = StandardScaler().fit_transform(X)
    whole, joined = certify(fitted, points), Certificate.concatenate(made(parts(fitted, points)))
    for name in ("prediction", "radius", "runner_up", "attack_radius"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    assert (joined.norm, joined.method, joined.exact, joined.arithmetic) == (2, whole.method, True, "float64")
    assert len(joined) == len(X) and joined.attack is None


@pytest.mark.parametrize(
    "one, other, differs",
    [
        ({"norm": 1}, {"norm": 2}, "norm, 1 and 2"),
        ({"space": "latents"}, {}, "space, 'latents' and 'input'"),
        ({"method": "pairwise"}, {}, "method, 'pairwise' and 'exact'"),
        ({"feature_scale": X.std(axis=0)}, {}, "feature_scale, array"),
        ({"feature_scale": X.std(axis=0)}, {"feature_scale": 2 * X.std(axis=0)}, "feature_scale, array"),
        ({"return_attack": True}, {}, r"columns of the attack, \[13\] and None"),
    ],
)
def test_certificates_of_different_requests_are_not_joined(one, other, differs):
    with pytest.raises(ValueError, match=f"(?s)Parts 0 and 1 differ in the {differs}.*same arguments"):
        Certificate.concatenate([certify(MODEL, X, **one), certify(MODEL, X, **other)])
    revived = [pickle.loads(pickle.dumps(certify(MODEL, X, **request))) for request in (one, other)]
    with pytest.raises(ValueError, match="differ in"):
        Certificate.concatenate(revived)


def test_feature_scales_are_compared_by_value_whatever_holds_them():
    scale = FRAME.std()
    same = [scale, scale[::-1], scale.to_dict()]
    joined = Certificate.concatenate([certify(NAMED, FRAME, feature_scale=each) for each in same])
    np.testing.assert_array_equal(joined.radius, np.tile(certify(NAMED, FRAME, feature_scale=scale).radius, 3))
    arrays = [X.std(axis=0), X.std(axis=0).tolist(), pd.Series(X.std(axis=0))]
    assert len(Certificate.concatenate([certify(MODEL, X, feature_scale=each) for each in arrays])) == 3 * len(X)
    with pytest.raises(ValueError, match="feature_scale"):
        Certificate.concatenate([certify(NAMED, FRAME, feature_scale=each) for each in (scale, 2 * scale)])


def test_a_scale_by_position_is_for_columns_in_one_order():
    columns = list(FRAME.columns)
    by_name = make_pipeline(ColumnTransformer([("scaled", StandardScaler(), columns)]), LogisticRegression()).fit(FRAME, Y)
    turned, scale = FRAME[columns[::-1]], np.arange(1.0, len(columns) + 1)
    with pytest.raises(ValueError, match="the columns that feature_scale is for"):
        Certificate.concatenate([certify(by_name, each, feature_scale=scale) for each in (FRAME, turned)])
    labelled = dict(zip(columns, scale, strict=True))
    for scale in (None, labelled):
        joined = Certificate.concatenate([certify(by_name, each, feature_scale=scale) for each in (FRAME, turned)])
        np.testing.assert_allclose(joined.radius[: len(X)], joined.radius[len(X) :], rtol=1e-9)


@pytest.mark.parametrize(
    "other",
    [
        make_pipeline(StandardScaler(), LogisticRegression(C=0.1)),
        make_pipeline(StandardScaler(), CertifiedGMMClassifier()),
        RandomizedSmoothingClassifier(MODEL, sigma=0.1, n_certify=200, alpha=0.1, random_state=0, progress=False),
    ],
    ids=["another strength", "another class", "smoothed"],
)
def test_certificates_of_different_models_are_not_joined(other):
    fitted = other.fit(X, Y)
    with pytest.raises(ValueError, match="differ in .*model, 'LogisticRegression' and"):
        Certificate.concatenate([certify(MODEL, X[:5]), certify(fitted, X[:5])])


def test_a_model_that_was_fitted_again_is_another_and_a_copy_is_the_same():
    model = clone(MODEL).fit(X, Y)
    first = certify(model, X)
    assert len(Certificate.concatenate([first, certify(pickle.loads(pickle.dumps(model)), X)])) == 2 * len(X)
    with pytest.raises(ValueError, match="differ in the model"):
        Certificate.concatenate([first, certify(model.fit(X[::2], Y[::2]), X)])
    frozen, other = FrozenEstimator(LogisticRegression().fit(X, Y)), 2 * X + 1
    scaled = [certify(make_pipeline(StandardScaler(), frozen).fit(points, Y), X) for points in (X, other)]
    with pytest.raises(ValueError, match="differ in the model"):  # the classifier alone is the same
        Certificate.concatenate(scaled)
    smoothed = [VOTING.set_params(sigma=sigma).fit(FRAME, Y).certify(FRAME[:4]) for sigma in (0.5, 0.7)]
    with pytest.raises(ValueError, match="differ in the model"):
        Certificate.concatenate(smoothed)
    text = certify(clone(MODEL).fit(X, Y.astype(str)), X)
    with pytest.raises(ValueError, match="kind of labels, 'numbers' and 'text'"):
        Certificate.concatenate([pickle.loads(pickle.dumps(each)) for each in (first, text)])


def test_the_joined_promise_is_the_weakest_of_its_parts():
    strong = certify(MODEL, X)
    weak = replace(strong, guarantee="probabilistic", confidence=0.9, exact=False, arithmetic="float32")
    for order in ([strong, weak], [weak, strong]):
        joined = Certificate.concatenate(order)
        assert (joined.guarantee, joined.confidence, joined.exact) == ("probabilistic", 0.9, False)
        assert set(joined.arithmetic.split(" or ")) == {"float32", "float64"}
    guess = Certificate.concatenate([weak, replace(strong, guarantee="none")])
    assert guess.guarantee == "none" and guess.confidence == 0.0


def test_attacks_votes_and_indexes_are_joined_too():
    whole, joined = certify(NAMED, FRAME, return_attack=True), Certificate.concatenate(parts(NAMED, FRAME, return_attack=True))
    pd.testing.assert_frame_equal(joined.attack, whole.attack)
    array = Certificate.concatenate(parts(MODEL, X, return_attack=True))
    np.testing.assert_array_equal(array.attack, certify(MODEL, X, return_attack=True).attack)
    pl = pytest.importorskip("polars")
    frame = pl.from_pandas(FRAME)
    some = [certify(NAMED, frame[:9], return_attack=True), certify(NAMED, frame[9:], return_attack=True)]
    assert Certificate.concatenate(some).attack.equals(certify(NAMED, frame, return_attack=True).attack)
    smoothed = VOTING.set_params(sigma=0.5).fit(FRAME, Y)
    rows = FRAME[:6]
    joined, whole = Certificate.concatenate(parts(smoothed, rows)), smoothed.certify(rows)
    np.testing.assert_array_equal(joined.n_passes, whole.n_passes)
    assert [repr(joined.explain(row)) for row in range(6)] == [repr(whole.explain(row)) for row in range(6)]
    with pytest.raises(ValueError, match="index of rows, 'an index' and None"):
        Certificate.concatenate([certify(NAMED, FRAME[:5]), certify(NAMED, frame[:5])])


def test_a_joined_certificate_explains_the_points_of_all_its_parts():
    joined, whole = Certificate.concatenate(parts(NAMED, FRAME)), certify(NAMED, FRAME)
    for row in (0, 59, 60, 119, 177, -1):
        ours, theirs = joined.explain(row), whole.explain(row)
        np.testing.assert_array_equal(ours.before, FRAME.to_numpy()[row])
        assert repr(ours) == repr(theirs)
    twice = Certificate.concatenate([joined, whole])
    assert repr(twice.explain(len(X) + 3)).splitlines()[1:] == repr(whole.explain(3)).splitlines()[1:]
    forgetful = Certificate.concatenate([whole, pickle.loads(pickle.dumps(whole))])
    with pytest.raises(ValueError, match="has no model"):
        forgetful.explain(0)


def test_parts_in_other_libraries_are_joined_in_the_first():
    torch = pytest.importorskip("torch")
    some = certify(MODEL, torch.tensor(X[:9])), certify(MODEL, X[9:])
    assert isinstance(Certificate.concatenate(some).radius, torch.Tensor)
    assert isinstance(Certificate.concatenate(some[::-1]).radius, np.ndarray)


@pytest.mark.parametrize(
    "given, error, message",
    [
        ([], ValueError, "nothing to join"),
        (iter([]), ValueError, "nothing to join"),
        (None, TypeError, "list of certificates, got NoneType"),
        (certify(MODEL, X[:3]), TypeError, "list of certificates, got Certificate"),
        ({"a": certify(MODEL, X[:3])}, TypeError, "got str as part 0"),
        ([certify(MODEL, X[:3]), X], TypeError, "got ndarray as part 1"),
    ],
)
def test_what_is_no_list_of_certificates_is_not_joined(given, error, message):
    with pytest.raises(error, match=message):
        Certificate.concatenate(given)


def test_the_median_that_is_printed_is_the_median_rounded_down():
    for n in (9, 10):
        certificate = certify(MODEL, FRAME.iloc[:n].to_numpy())
        (printed,) = re.findall(r"radius, median +(\S+)", repr(certificate))
        assert 0 <= np.median(certificate.radius) - float(printed) < 1e-3 * float(printed)


# -- rows that know their index ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["input", "standardscaler", "latents"])
def test_a_frame_of_the_certificate_has_the_index_of_the_points(space):
    shuffled = FRAME.sample(frac=1, random_state=0)
    joined = shuffled.join(certify(NAMED, shuffled, space=space).to_frame())
    expected = pd.Series(certify(NAMED, FRAME, space=space).radius, FRAME.index)
    np.testing.assert_array_equal(joined["radius"], expected[shuffled.index])
    pd.testing.assert_index_equal(joined.index, shuffled.index)


@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_the_index_survives_pickling_joining_smoothing_and_what_happens_to_the_points():
    points = FRAME.set_index(pd.MultiIndex.from_product([range(89), ["a", "b"]], names=["n", "side"]))
    index = points.index.copy()
    made = certify(NAMED, points)
    points.sort_values("hue", inplace=True)
    for each in (made, pickle.loads(pickle.dumps(made)), Certificate.concatenate(parts(NAMED, FRAME.set_index(index)))):
        pd.testing.assert_index_equal(each.to_frame().index, index)
    smoothed = VOTING.set_params(sigma=0.5).fit(FRAME, Y)
    pd.testing.assert_index_equal(smoothed.certify(FRAME[3:6]).to_frame().index, FRAME.index[3:6])
    assert certify(MODEL, X).to_frame().index.equals(pd.RangeIndex(len(X)))


def test_a_series_of_texts_keeps_its_index():
    texts = pd.Series(["a", "bb", "ccc", "dddd"], index=list("wxyz"))
    embed = PretrainedEmbedder(lambda batch: np.array([[float(len(text))] for text in batch]), progress=False)
    pipe = make_pipeline(embed, LogisticRegression()).fit(texts, [0, 0, 1, 1])
    assert list(certify(pipe, texts, space="latents").to_frame().index) == list("wxyz")


# -- explained after the points have changed ---------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_frames_that_grow_or_are_sorted_in_place_are_explained_as_they_were():
    table = FRAME.copy()
    certificate = certify(NAMED, table)
    table["radius"] = certificate.radius
    table.sort_values("radius", inplace=True)
    for row in (0, 7, -1):
        np.testing.assert_array_equal(certificate.explain(row).before, FRAME.to_numpy()[row])
    pl = pytest.importorskip("polars")
    other = pl.from_pandas(FRAME)
    certificate = certify(NAMED, other)
    other.insert_column(0, pl.Series("radius", certificate.radius))
    other[0, "alcohol"] = 99.0
    np.testing.assert_array_equal(certificate.explain(0).before, FRAME.to_numpy()[0])


def explained_as_it_was_or_refused(certificate, row, before):
    try:
        return np.array_equal(certificate.explain(row).before, before[row])
    except ValueError as error:
        return f"Row {row} is not what it was" in str(error)


def sort(points):
    points[:] = points[points[:, 0].argsort()]


def shuffle(points):
    np.random.default_rng(1).shuffle(points)


CHANGES = {
    "overwrite": lambda points: points.fill(0.5),
    "sort": sort,
    "shuffle": shuffle,
    "scale": lambda points: np.multiply(points, 1.001, out=points),
    "reverse": lambda points: points.__setitem__(slice(None), points[::-1].copy()),
}
KINDS = {
    "logistic": MODEL,
    "full": make_pipeline(StandardScaler(), CertifiedGMMClassifier(covariance_type="full")).fit(X, Y),
    "bare": CertifiedGMMClassifier().fit(X, Y),
    "no rival": CertifiedGMMClassifier.from_parameters(np.zeros((2, 13)), [np.eye(13)] * 2, priors=[1, 0]),
    "estimate": make_pipeline(PretrainedEmbedder(np.tanh, lipschitz=1.0, progress=False), CertifiedGMMClassifier()).fit(
        X / X.std(axis=0), Y
    ),
}


@pytest.mark.parametrize("n", [178, 6000])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", KINDS)
def test_arrays_that_change_in_place_are_explained_as_they_were_or_refused(kind, change, n):
    points = X.copy() if n == 178 else many(n)
    before = points.copy()
    certificate = certify(KINDS[kind], points)
    assert np.array_equal(certificate.explain(3).before, before[3])
    CHANGES[change](points)
    assert all(explained_as_it_was_or_refused(certificate, row, before) for row in (0, 3, 40, 100, -1 % n))
    with pytest.raises(ValueError, match="certified: X, or the model, has been changed in place. Certify"):
        certificate.explain(3)


def test_votes_that_all_agree_do_not_hide_that_the_points_have_changed():
    smoothed = RandomizedSmoothingClassifier(MODEL, sigma=1e-6, n_certify=50, alpha=0.1, random_state=0, progress=False)
    points = many(600)
    before = points.copy()
    certificate = smoothed.certify(points)
    assert len(np.unique(certificate.radius)) == 1
    assert certificate.explain(5).votes
    points[:] = points[::-1].copy()
    assert all(explained_as_it_was_or_refused(certificate, row, before) for row in (0, 5, 77))


def test_points_in_a_file_that_is_written_are_refused(tmp_path):
    path = Path(tmp_path) / "points.npy"
    np.save(path, X)
    points = np.load(path, mmap_mode="r+")
    certificate = certify(MODEL, points)
    assert certificate.explain(5).row == 5
    points[:] = points[::-1].copy()
    with pytest.raises(ValueError, match="Row 5 is not what it was"):
        certificate.explain(5)


def test_rows_that_have_not_changed_are_still_explained():
    points = X.copy()
    certificate = certify(MODEL, points)
    expected = repr(certificate.explain(9))
    points[8] = 0
    assert repr(certificate.explain(9)) == expected
    with pytest.raises(ValueError, match="Row 8"):
        certificate.explain(8)


def test_a_model_that_was_fitted_again_explains_nothing():
    model = clone(MODEL).fit(X, Y)
    certificate = certify(model, X)
    model.fit(X[::2], Y[::2])
    with pytest.raises(ValueError, match="X, or the model, has been changed"):
        certificate.explain(3)
    model.fit(X[:, :5], Y)
    with pytest.raises(ValueError, match="X, or the model, has been changed"):
        certificate.explain(3)


def test_a_model_whose_last_step_was_replaced_explains_nothing():
    model = clone(MODEL).fit(X, Y)
    certificate = certify(model, X)
    model.steps[-1] = ("other", GaussianNB().fit(model[:-1].transform(X), Y))
    with pytest.raises(ValueError, match="X, or the model, has been changed"):
        certificate.explain(3)


def test_a_feature_scale_that_changes_in_place_does_not_change_the_certificate():
    for scale in (X.std(axis=0), pd.Series(X.std(axis=0))):
        certificate = certify(MODEL, X, feature_scale=scale)
        expected = repr(certificate.explain(3))
        scale[:] = 1.0
        assert repr(certificate.explain(3)) == expected
        np.testing.assert_array_equal(np.asarray(certificate.feature_scale), X.std(axis=0))


def test_what_is_kept_of_large_points_is_little():
    points = many(20_000)
    (origin,) = certify(MODEL, points)._origins
    assert origin.points is points and origin.marks is None and points.size > SMALL
    images = np.random.default_rng(0).random((50, 3, 40, 40)).astype(np.float32)
    embed = PretrainedEmbedder(lambda batch: batch.reshape(len(batch), -1)[:, :5], lipschitz=1.0, progress=False)
    pipe = make_pipeline(embed, LogisticRegression()).fit(images, np.arange(50) % 2)
    (origin,) = certify(pipe, images)._origins
    assert origin.marks.values.size <= 50 * MARKED
    assert not np.shares_memory(origin.marks.values, images)


def test_any_integer_names_a_point_and_nothing_else():
    certificate = certify(MODEL, X)
    for i in (3, np.int64(3), np.uint8(3), np.array(3), -175):
        assert certificate.explain(i).row == 3
    for i in ([0, 1], "a", 1.5, True, np.True_, None, slice(3), np.array([1]), np.nan):
        with pytest.raises(TypeError, match="i must be the number of one certified point, an integer below 178, got"):
            certificate.explain(i)
    for i in (178, -179, 2**70):
        with pytest.raises(IndexError, match="below 178"):
            certificate.explain(i)


# -- estimates ---------------------------------------------------------------------------------------------------------


def estimated():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(13, 5), torch.nn.Tanh())
    embed = PretrainedEmbedder(net, lipschitz=Clever(n_batches=2, batch_size=8), progress=False)
    points = X / X.std(axis=0)
    pipe = make_pipeline(StandardScaler(), embed, CertifiedGMMClassifier()).fit(points, Y)
    return pipe, points


def test_an_estimate_is_certain_at_no_level_and_is_explained_without_an_attack():
    pipe, points = estimated()
    certificate = certify(pipe, points[:3])
    assert certificate.guarantee == "none" and certificate.confidence == 0.0
    assert "level" not in repr(certificate) and "none (an estimate)" in repr(certificate)
    explanation = certificate.explain(1)
    text = repr(explanation)
    assert explanation.after is None and "no guarantee" in text and "lower bound" not in text and "distance itself" not in text
    assert [step.name for step in explanation.steps] == ["standardscaler", "pretrainedembedder"]
    assert np.isnan(explanation.steps[1].factor) and "nan" not in text


# -- one column decides ------------------------------------------------------------------------------------------------


def tiny(points, factor=1e-33):
    points = points.copy()
    points[:, 3] *= factor
    return points


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("model", [LogisticRegression(), CertifiedGMMClassifier(covariance_type="full")])
def test_a_column_that_decides_nearly_alone_is_named_in_print(model, norm):
    points = tiny(X, 1e-9)
    pipe = make_pipeline(StandardScaler(), model).fit(points, Y)
    certificate = certify(pipe, points, norm=norm)
    if norm == 1 and isinstance(model, CertifiedGMMClassifier):
        assert dominant_column(certificate) is None  # its l2 attacks are not known
        return
    name, share = dominant_column(certificate)
    assert name == "x3" and 0.99 < share <= 1
    for text in (repr(certificate), certificate._repr_html_()):
        assert "x3" in text and "feature_scale" in text
    scaled = certify(pipe, points, norm=norm, feature_scale=points.std(axis=0))
    assert dominant_column(scaled) is None and "one column" not in repr(scaled)


def test_the_column_has_its_name_and_the_radii_of_a_tiny_one_are_true():
    points = FRAME.assign(ash=FRAME["ash"] * 1e-33)
    pipe = make_pipeline(StandardScaler(), LogisticRegression()).fit(points, Y)
    certificate = certify(pipe, points)
    assert 0 < np.median(certificate.radius) < 1e-30
    assert dominant_column(certificate)[0] == "ash" and "'ash', 100" in repr(certificate)
    assert dominant_column(Certificate.concatenate(parts(pipe, points)))[0] == "ash"


def test_no_column_is_named_where_it_does_not_decide_or_where_nothing_is_known():
    for model, points in ((MODEL, X), (make_pipeline(LogisticRegression(max_iter=500)).fit(*load_iris(return_X_y=True)), None)):
        points = load_iris(return_X_y=True)[0] if points is None else points
        for norm in (1, 2, np.inf):
            assert dominant_column(certify(model, points, norm=norm)) is None
    points = tiny(X)
    pipe = make_pipeline(StandardScaler(), LogisticRegression()).fit(points, Y)
    certificate = certify(pipe, points)
    assert dominant_column(pickle.loads(pickle.dumps(certificate))) is None
    assert dominant_column(certify(pipe, points, norm=np.inf)) is None
    alone = np.zeros(13)
    alone[3] = 1e-33
    assert dominant_column(certify(pipe, points, feature_scale=alone)) is None  # only one can move
    points[:] = 1.0
    assert dominant_column(certificate) is None and "points" in repr(certificate)
    del pipe.steps[1][1].coef_
    assert "points" in repr(certificate)  # printing never fails


def test_a_share_of_99_per_cent_is_a_factor_of_ten():
    slopes = np.array([[1.0, 0.08, 0.05]])
    points = np.array([[1.0, 2.0, 3.0]] * 3)
    from skcert import Affine

    model = Affine(slopes, [0.5])
    name, share = dominant_column(certify(model, points))
    assert name == "x0" and abs(share - 1 / (1 + 0.08**2 + 0.05**2)) < 1e-6
    held = certify(model, points, feature_scale=[0, 1, 1]).radius
    assert (held > 10 * certify(model, points).radius).all()
    assert dominant_column(certify(Affine(slopes * [1, 1, 2], [0.5]), points)) is None


# -- requests that cannot be ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("r", [[1, 2], "a", None, np.nan, -1, 0, True, np.array([1.0]), 1j])
def test_robust_at_takes_one_positive_number(r):
    certificate = certify(MODEL, X[:5])
    with pytest.raises(ValueError, match="r must be a positive number, got"):
        certificate.robust_at(r)
    for good in (0.1, np.float32(0.1), np.array(0.1), np.inf, 1):
        np.testing.assert_array_equal(certificate.robust_at(good), certificate.radius >= float(good))


@pytest.mark.parametrize("radii", ["a", "0.5", ["0.5"], [-1.0], np.nan, [[0.1]], None, [None], True, [1j], {0.5}, object()])
def test_radii_are_numbers_of_one_dimension(radii):
    certificate = certify(MODEL, X[:5])
    with pytest.raises(ValueError, match="radii must be numbers >= 0, one or a list of them, got"):
        certificate.certified_accuracy(Y[:5], radii)


@pytest.mark.parametrize(
    "y, message",
    [
        (None, r"one label per certified point, shape \(4,\), got None"),
        (1, r"one label per certified point, shape \(4,\), got 1"),
        ([0, 1, 2], r"got \(3,\)"),
        ([0.0, 1.0, np.nan, 1.0], "NaN"),
        ([0, None, 1, 1], "missing labels, row 1 first"),
        (pd.Series([0, 1, pd.NA, 1], dtype="Int64"), "missing labels|NaN"),
        (["a", "b", "a", "b"], "text and numbers are never equal"),
        (np.array(["a", "b", "a", "b"], dtype=object), "text and numbers are never equal"),
        (np.array([b"a"] * 4), "numbers and bytes are never equal"),
        (np.array(["2020-01-01"] * 4, dtype="M8[D]"), "numbers and dates are never equal"),
        (np.zeros((4, 2)), "1d array"),
    ],
)
def test_labels_that_cannot_be_compared_are_refused_in_words(y, message):
    with pytest.raises(ValueError, match=message):
        certify(MODEL, X[:4]).certified_accuracy(y, 0.1)
