"""What cannot be certified is refused in words, wherever in a composite it stands; nothing wrong passes for right."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, Normalizer, OneHotEncoder, PowerTransformer, StandardScaler

from skcert import Certifier, Uncertifiable, certify

FRAME = load_wine(as_frame=True).data[["alcohol", "magnesium", "hue", "proline"]]
X, Y = FRAME.to_numpy(), load_wine().target


def logistic():
    return LogisticRegression(max_iter=2000)


class LogScaler(StandardScaler):
    def transform(self, X, copy=None):
        return np.log1p(np.abs(super().transform(X)))


class Turned(ColumnTransformer):
    def transform(self, X, **params):
        return -super().transform(X, **params)


class Doubled(FeatureUnion):
    def transform(self, X, **params):
        return 2 * super().transform(X, **params)


class Shuffled(Pipeline):
    def predict(self, X, **params):
        return super().predict(X, **params)[::-1]


class Contrary(GridSearchCV):
    def predict(self, X):
        return (super().predict(X) + 1) % 3


INSIDE = {
    "pipeline": lambda step: make_pipeline(step, logistic()),
    "inner pipeline": lambda step: make_pipeline(make_pipeline(step), logistic()),
    "union": lambda step: make_pipeline(make_union(StandardScaler(), step), logistic()),
    "columns": lambda step: make_pipeline(
        ColumnTransformer([("a", step, ["alcohol", "hue"])], remainder="passthrough"), logistic()
    ),
    "remainder": lambda step: make_pipeline(ColumnTransformer([("a", "passthrough", ["alcohol"])], remainder=step), logistic()),
    "columns in a union": lambda step: make_pipeline(
        make_union(make_pipeline(ColumnTransformer([("a", step, ["alcohol"])])), StandardScaler()), logistic()
    ),
    "search": lambda step: GridSearchCV(make_pipeline(step, logistic()), {"logisticregression__C": [1.0]}, cv=2),
}


@pytest.mark.parametrize("where", INSIDE)
@pytest.mark.parametrize(
    ("step", "name"),
    [
        (LogScaler(), "LogScaler"),
        (PowerTransformer(), "PowerTransformer"),
        (FunctionTransformer(np.log1p), "FunctionTransformer"),
    ],
    ids=["overridden", "unknown", "function"],
)
def test_a_step_without_a_rule_is_named_wherever_it_stands(where, step, name):
    estimator = INSIDE[where](step).fit(FRAME, Y)
    with pytest.raises(Uncertifiable, match=name):
        certify(estimator, FRAME)


@pytest.mark.parametrize("where", [where for where in INSIDE if where != "search"])
def test_a_step_whose_transform_was_replaced_is_found_wherever_it_stands(where):
    estimator = INSIDE[where](StandardScaler()).fit(FRAME, Y)

    def steps(part):
        if isinstance(part, StandardScaler):
            yield part
        for inner in [step for _, step in getattr(part, "steps", getattr(part, "transformer_list", []))] + [
            each[1] for each in getattr(part, "transformers_", [])
        ]:
            yield from steps(inner)

    for step in list(steps(estimator))[-1:]:
        step.transform = lambda Z: np.sin(np.asarray(Z))
    with pytest.raises(ValueError, match="does not transform these points"):
        certify(estimator, FRAME)


@pytest.mark.parametrize("estimator", [StandardScaler(), PCA(3)], ids=str)
@pytest.mark.parametrize("size", [1e-6, 1.0])
def test_a_step_that_differs_on_one_row_of_many_thousands_is_found(estimator, size):
    rng = np.random.default_rng(0)
    points = X[rng.integers(0, 178, 30_000)] + 0.01 * rng.standard_normal((30_000, 4))
    pipe = make_pipeline(estimator, logistic()).fit(X, Y)
    own = pipe[0].transform

    def once(Z):
        out = own(Z).copy()
        out[np.asarray(Z)[:, 0] == points[20_000, 0], 1] += size
        return out

    pipe[0].transform = once
    with pytest.raises(ValueError, match="does not transform these points"):
        certify(pipe, points)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: make_pipeline(Turned([("a", StandardScaler(), [0, 1])]), logistic()), "Turned is a ColumnTransformer"),
        (lambda: make_pipeline(Doubled([("a", StandardScaler())]), logistic()), "Doubled is a FeatureUnion"),
        (lambda: Shuffled([("a", StandardScaler()), ("m", logistic())]), "Shuffled is a Pipeline"),
        (lambda: Contrary(logistic(), {"C": [1.0]}, cv=2), "Contrary is a GridSearchCV"),
        (lambda: FixedThresholdClassifier(logistic()), "No rule for the classifier FixedThresholdClassifier"),
    ],
    ids=["columns", "union", "pipeline", "search", "threshold"],
)
def test_a_composite_that_does_more_than_its_parts_is_refused(make, name):
    y = Y == 0 if "Threshold" in name else Y
    with pytest.raises(Uncertifiable, match=name):
        certify(make().fit(X, y), X)


def test_what_is_not_fitted_says_so():
    for estimator in (
        make_pipeline(ColumnTransformer([("a", StandardScaler(), [0])]), logistic()),
        GridSearchCV(logistic(), {"C": [1.0]}),
        make_pipeline(make_pipeline(StandardScaler()), logistic()),
    ):
        with pytest.raises(NotFittedError):
            certify(estimator, X)
    with pytest.raises(Uncertifiable, match="refit=True"):
        certify(GridSearchCV(logistic(), {"C": [1.0]}, cv=2, refit=False).fit(X, Y), X)


def test_rows_divided_by_their_length_stand_in_the_pipeline_not_beside_others():
    pipe = make_pipeline(make_union(StandardScaler(), Normalizer()), logistic()).fit(X, Y)
    with pytest.raises(Uncertifiable, match="'normalizer'.*beside.*into the pipeline itself"):
        certify(pipe, X)
    alone = make_pipeline(ColumnTransformer([("n", Normalizer(), [0, 2])], transformer_weights={"n": 3.0}), logistic()).fit(
        X, Y
    )
    assert (certify(alone, X).radius > 0).all()


def test_tables_that_are_not_those_fitted_on_are_refused_in_scikit_learns_words():
    plain = make_pipeline(StandardScaler(), logistic()).fit(FRAME, Y)
    columns = make_pipeline(ColumnTransformer([("a", StandardScaler(), ["alcohol", "proline"])]), logistic()).fit(FRAME, Y)
    for wrong in (FRAME.iloc[:, ::-1], FRAME.drop(columns="alcohol"), FRAME.assign(more=1.0), X[:, :2]):
        with pytest.raises(ValueError, match="feature names|features"):
            certify(plain, wrong)
    with pytest.raises(ValueError, match="missing.*alcohol"):
        certify(columns, FRAME.drop(columns="alcohol"))
    with pytest.raises(ValueError, match="strings"):
        certify(columns, X)
    with pytest.raises(TypeError, match="toarray"):
        certify(plain, csr_matrix(X))


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ({"colour": 1.0}, "do not exist: ..colour"),
        ({"hue": -1.0}, "not negative"),
        ({"hue": np.nan}, "finite"),
        ({"hue": "wide"}, "numbers"),
        (np.ones(5), "move.*region"),
        ({"region": 1.0}, "move.*region"),
        (np.ones(3), "shape"),
    ],
)
def test_scales_that_make_no_sense_are_refused(scale, message):
    frame = FRAME.assign(region=np.where(X[:, 0] > 13, "north", "south"))
    steps = ColumnTransformer([("o", OneHotEncoder(), ["region"])], remainder=StandardScaler())
    pipe = make_pipeline(steps, logistic()).fit(frame, Y)
    with pytest.raises(ValueError, match=message):
        certify(pipe, frame, feature_scale=scale)
    assert (certify(pipe, frame, feature_scale={"region": 0.0}).radius > 0).all()


def test_text_that_reaches_a_step_as_a_number_is_refused():
    frame = FRAME.assign(region=np.where(X[:, 0] > 13, "north", "south"))
    steps = ColumnTransformer([("o", OneHotEncoder(), ["region"])], remainder="passthrough")
    pipe = make_pipeline(steps, logistic()).fit(frame, Y)
    with pytest.raises(ValueError):
        certify(pipe, frame.assign(hue="red"))


def test_a_value_that_marks_gaps_and_could_be_reached_is_refused():
    pipe = make_pipeline(SimpleImputer(missing_values=0), logistic()).fit(X, Y)
    with pytest.raises(Uncertifiable, match="mark missing cells as NaN"):
        certify(pipe, X)


def test_a_step_fitted_anew_behind_the_back_of_a_certifier_is_found():
    pipe = make_pipeline(make_union(StandardScaler(), PCA(2)), logistic()).fit(X, Y)
    certifier = Certifier(pipe)
    certifier.certify(X)
    pipe[0].transformer_list[0][1].fit(X * 2)
    with pytest.raises(ValueError, match="has changed since this Certifier was made"):
        certifier.certify(X)


def test_an_infinite_cell_is_refused_and_spoils_nothing_silently():
    pipe = make_pipeline(SimpleImputer(), StandardScaler(), logistic()).fit(X, Y)
    with pytest.raises(ValueError, match="infinity"):
        certify(pipe, pd.DataFrame(np.where(np.eye(4)[[0]] > 0, np.inf, X[:1])).to_numpy())
