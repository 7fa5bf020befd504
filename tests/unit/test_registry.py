"""What users may register: classes with rules that return what they should, and refusals in words for the rest."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcert import Affine, AffineStep, LipschitzStep, adapters, certify, register_discriminant, register_perturbation

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)


class Twice(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_features_in_ = np.shape(X)[1]
        return self

    def transform(self, X):
        return 2 * np.asarray(X)


class Own(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.inner_ = LogisticRegression().fit(X, y)
        self.classes_, self.n_features_in_ = self.inner_.classes_, np.shape(X)[1]
        return self

    def predict(self, X):
        return self.inner_.predict(X)


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    for name in ("_STEPS", "_MODELS"):
        monkeypatch.setattr(adapters, name, dict(getattr(adapters, name)))


def nothing(d=4):
    return np.zeros(d)


def twice(rule):
    register_perturbation(Twice, lambda step: rule)
    return certify(make_pipeline(Twice(), LogisticRegression()).fit(X, Y), X)


def own(rule):
    register_discriminant(Own, rule)
    return certify(Own().fit(X, Y), X)


@pytest.mark.parametrize("register", [register_perturbation, register_discriminant])
@pytest.mark.parametrize(
    ("what", "got"),
    [("Twice", "'Twice'"), (Twice(), "an instance of Twice: pass the class"), (None, "None"), ([Twice], r"\[<class")],
)
def test_only_classes_are_registered(register, what, got):
    with pytest.raises(TypeError, match=f"type_ must be a class.*got {got}"):
        register(what, lambda estimator: None)


@pytest.mark.parametrize("register", [register_perturbation, register_discriminant])
def test_a_rule_must_be_callable(register):
    with pytest.raises(TypeError, match="rule must be a function of a fitted Twice, got 2.0"):
        register(Twice, 2.0)


@pytest.mark.parametrize(
    "parts",
    [
        (nothing(3), np.ones(4), nothing()),
        (nothing(), np.ones(4), nothing(3)),
        (nothing(), np.ones((4, 3)), nothing()),
        (nothing(), np.ones((3, 4)), nothing()),
        (nothing(), np.ones((4, 4, 1)), nothing()),
        (nothing(), np.array(2.0), nothing(3)),
        (0.0, 2.0, 0.0),
    ],
)
def test_an_affine_step_whose_shapes_do_not_fit_is_refused_when_it_is_made(parts):
    with pytest.raises(ValueError, match=r"center, matrix and offset must have the shapes \(d_in,\), \(d_out, d_in\).*got"):
        AffineStep(*parts)
    with pytest.raises(ValueError, match=r"column_error must be a number or have the shape \(4,\), got \(3,\)"):
        AffineStep(nothing(), np.ones(4), nothing(), column_error=np.ones(3))


def test_lists_are_arrays():
    expected = twice(AffineStep(nothing(), np.full(4, 2.0), nothing())).radius
    np.testing.assert_array_equal(twice(AffineStep([0.0] * 4, [2] * 4, [0.0] * 4)).radius, expected)


@pytest.mark.parametrize("constant", ["2", None, np.array([2.0]), 0, -1.0, np.inf, np.nan])
def test_a_constant_is_a_positive_number(constant):
    with pytest.raises(ValueError, match="constant must be a positive finite number, got"):
        LipschitzStep(constant)


def test_a_rule_for_other_points_is_refused_by_name():
    with pytest.raises(ValueError, match="rule of the step 'twice' is for 3 features, and 4 reach it"):
        twice(AffineStep(nothing(3), np.full(3, 2.0), nothing(3)))
    between = AffineStep(nothing(), np.eye(3, 4), nothing(3))
    with pytest.raises(ValueError, match="rule of the step 'twice' is for 4 features, and 3 reach it"):
        twice((between, AffineStep(nothing(), np.eye(4), nothing())))


@pytest.mark.parametrize(
    "rule", [lambda m: 2.0, lambda m: None, lambda m: Affine, lambda m: m.inner_, lambda m: (m.inner_.coef_, 0)]
)
def test_a_rule_that_returns_no_scores_is_refused(rule):
    with pytest.raises(TypeError, match=r"rule registered for Own returned an? .*: expected .*Affine\(coef, intercept\)"):
        own(rule)


def test_scores_of_other_features_are_refused():
    with pytest.raises(ValueError, match="rule registered for Own is for 3 features, and the classifier for 4"):
        own(lambda m: Affine(np.eye(3), np.zeros(3)))
    assert (own(lambda m: Affine(m.inner_.coef_, m.inner_.intercept_)).radius > 0).all()
