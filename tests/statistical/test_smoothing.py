"""Randomized smoothing, by how often it may be wrong: on rules whose smoothed radius is known, at a level of 10 %."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import binomtest, norm
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcert import CertifiedGMMClassifier, RandomizedSmoothingClassifier, certify
from skcert.smoothing import bounds

N = 10_000
ALPHA = 0.1


def rule(weights, intercept=0.0):
    model = LogisticRegression()
    model.coef_, model.intercept_ = np.atleast_2d(np.asarray(weights, dtype=float)), np.atleast_1d(float(intercept))
    model.classes_, model.n_features_in_ = np.arange(2), model.coef_.shape[1]
    return model


class Opaque(LogisticRegression):
    """The same rule, of which nothing is known but what it predicts."""

    def predict(self, X):
        return super().predict(X)


def opaque(weights, intercept=0.0):
    known = rule(weights, intercept)
    model = Opaque()
    vars(model).update(vars(known))
    return model


def at_most(wrong, n, level=ALPHA):
    """Whether so many wrong claims fit to a level: not significantly more of them."""
    return binomtest(int(wrong), n, level, alternative="greater").pvalue > 1e-3


@pytest.mark.parametrize("kind", [rule, opaque])
@pytest.mark.parametrize("settings", [
    {"n_certify": 200},
    {"n_certify": 2000, "stopping": "anytime", "target_radius": 0.4},
], ids=["fixed", "anytime"])  # fmt: skip
def test_the_radius_of_a_linear_rule_is_too_large_in_a_share_of_alpha_at_most(kind, settings):
    """Its smoothed classifier is the rule itself: the exact radius is the distance to the boundary."""
    rng = np.random.default_rng(0)
    weights = np.array([3.0, 4.0])
    X = rng.standard_normal((N if kind is rule else N // 10, 2)) * 0.6
    smoothed = RandomizedSmoothingClassifier(kind(weights), sigma=0.5, alpha=ALPHA, random_state=1, **settings)
    certificate = smoothed.certify(X)
    exact = np.abs(X @ weights) / 5
    right = certificate.prediction == (X @ weights > 0)
    wrong = (certificate.radius > exact) | (~right & (certificate.radius > 0))
    assert at_most(wrong.sum(), len(X))
    assert np.median((certificate.radius / exact)[certificate.radius > 0]) > (0.5 if "stopping" in settings else 0.6)


@pytest.mark.parametrize("settings", [
    {"n_certify": 100},
    {"n_certify": 500, "stopping": "anytime", "target_radius": 0.1},
], ids=["fixed", "anytime"])  # fmt: skip
def test_a_tie_is_certified_in_a_share_of_alpha_at_most(settings):
    """On the boundary no class has a majority. Picking the class by the votes that certify it would double the share."""
    rng = np.random.default_rng(2)
    X = rng.standard_normal((N, 1)) * np.array([[4.0, -3.0]])
    smoothed = RandomizedSmoothingClassifier(rule([3.0, 4.0]), sigma=0.5, alpha=ALPHA, random_state=3, **settings)
    claims = (smoothed.certify(X).radius > 0).sum()
    assert at_most(claims, N)


def test_stopping_when_it_looks_good_is_paid_for():
    """Points a little farther than the target: who stops at the first good moment must not use a bound for a fixed number."""
    rng = np.random.default_rng(11)
    along = rng.standard_normal((3000, 1)) * np.array([[0.8, -0.6]])
    X = along + 0.45 * np.array([[0.6, 0.8]])
    smoothed = RandomizedSmoothingClassifier(
        rule([3.0, 4.0]), sigma=0.5, alpha=ALPHA, n_certify=2000, stopping="anytime", target_radius=0.4, random_state=12
    )
    certificate = smoothed.certify(X)
    assert at_most((certificate.radius > 0.45).sum(), len(X))
    assert certificate.robust_at(0.4).mean() > 0.5


def test_looking_as_often_as_one_likes_costs_nothing():
    """The chance that the evidence for "above p" ever reaches 1 / alpha, when p is the truth."""
    rng = np.random.default_rng(4)
    for p in (0.5, 0.9, 0.99):
        trials = np.arange(4, 1001, 4)
        votes = rng.binomial(4, p, (1500, len(trials))).cumsum(axis=1)
        ever = (bounds.log_evidence(votes, trials - votes, p) >= -np.log(ALPHA)).any(axis=1)
        assert at_most(ever.sum(), len(ever))
        assert ever.mean() > 0.02  # and it is not given away


@pytest.mark.parametrize("votes, misses, p", [(30, 2, 0.8), (300, 0, 0.97), (5, 20, 0.3), (0, 0, 0.5), (1000, 10, 0.98)])
def test_the_evidence_is_the_mean_likelihood_ratio(votes, misses, p):
    value, _ = quad(lambda u: (1 + u * (1 - p) / p) ** votes * (1 - u) ** misses, 0, 1)
    assert np.log(value) - 1e-6 <= bounds.log_evidence(votes, misses, p) <= np.log(value) + 1e-9


def test_the_evidence_falls_with_p_and_the_bound_is_where_it_stops():
    p = np.linspace(0.01, 0.99, 99)
    assert (np.diff(bounds.log_evidence(90, 10, p)) < 0).all()
    low = float(bounds.anytime_bound(90, 100, ALPHA))
    assert bounds.log_evidence(90, 10, low) >= -np.log(ALPHA) > bounds.log_evidence(90, 10, low + 1e-9)


@pytest.mark.parametrize("votes, n", [(0, 10), (5, 10), (10, 10), (9900, 10_000), (100_000, 100_000)])
def test_fixed_bounds_are_those_of_clopper_and_pearson(votes, n):
    exact = binomtest(votes, n, alternative="greater").proportion_ci(1 - ALPHA, "exact").low
    assert exact * (1 - 1e-9) <= bounds.clopper_pearson(votes, n, ALPHA) <= exact


def test_radii_are_those_of_cohen_from_below():
    p = np.array([0.2, 0.5, 0.6, 0.999])
    exact = 0.25 * norm.ppf(p)
    np.testing.assert_allclose(bounds.certified_radius(p, 0.25), np.where(p > 0.5, exact, 0), rtol=1e-9)
    assert (bounds.certified_radius(p, 0.25) <= np.maximum(exact, 0)).all()


def test_the_largest_radius_is_reached_by_unanimous_votes_and_the_fewest_votes_reach_it():
    for anytime in (False, True):
        for radius in (0.1, 0.5, 0.9):
            n = bounds.fewest_votes(radius, 0.5, 0.001, anytime)
            assert bounds.largest_radius(n, 0.5, 0.001, anytime) >= radius > bounds.largest_radius(n - 1, 0.5, 0.001, anytime)


# -- the ways of counting ----------------------------------------------------------------------------------------------


MODELS = {
    "linear": lambda: CertifiedGMMClassifier(),
    "quadratic": lambda: make_pipeline(StandardScaler(), CertifiedGMMClassifier(covariance_type="full")),
    "components": lambda: CertifiedGMMClassifier(n_components=2, random_state=0),
    "ellipsoids": lambda: CertifiedGMMClassifier(covariance_type="full", decision="nearest-ellipsoid"),
}


@pytest.mark.parametrize("model", MODELS)
def test_drawing_scores_and_drawing_points_have_the_same_law(model):
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((90, 3)) + np.repeat(np.eye(3), 30, axis=0), np.repeat([0, 1, 2], 30)
    fitted = MODELS[model]().fit(X, y)
    n = 4000
    shares = []
    for estimator in (fitted, type("Hidden", (), {"predict": fitted.predict, "classes_": fitted.classes_, "fit": None})()):
        smoothed = RandomizedSmoothingClassifier(estimator, sigma=0.8, n_certify=n, random_state=6)
        smoothed.estimator_ = estimator
        votes = smoothed.votes(X[:40])
        shares.append(np.where(votes.winner == 0, votes.votes / n, np.nan))
    difference = shares[0] - shares[1]
    known = ~np.isnan(difference)
    assert known.sum() > 5
    assert (np.abs(difference[known]) < 4.5 * np.sqrt(0.5 / n)).all()


def test_votes_of_a_linear_rule_have_its_probability():
    rng = np.random.default_rng(7)
    weights, n = np.array([3.0, 4.0]), 5000
    X = rng.standard_normal((200, 2)) * 0.6
    share = norm.cdf(np.abs(X @ weights) / 5 / 0.5)
    for kind in (rule, opaque):
        votes = RandomizedSmoothingClassifier(kind(weights), sigma=0.5, n_certify=n, random_state=8).votes(X)
        z = (votes.votes / n - share) / np.sqrt(share * (1 - share) / n)
        right = votes.winner == (X @ weights > 0)
        assert abs(z[right].mean()) < 4 / np.sqrt(right.sum()) and 0.8 < z[right].std() < 1.2


def test_anytime_needs_a_tenth_of_the_votes_and_decides_alike():
    """On a synthetic mixture, at the same alpha and 100,000 votes at most."""
    rng = np.random.default_rng(9)
    y = rng.integers(0, 3, 400)
    X = 1.5 * np.eye(3, 20)[y] + 0.5 * rng.standard_normal((400, 20))
    model = CertifiedGMMClassifier().fit(X, y)
    target, found = 0.5, {}
    for stopping in ("fixed", "anytime"):
        smoothed = RandomizedSmoothingClassifier(
            model, sigma=0.25, n_certify=100_000, stopping=stopping, target_radius=target, random_state=10
        )
        found[stopping] = smoothed.certify(X)
    shares = {name: certificate.certified_accuracy(y, target) for name, certificate in found.items()}
    assert abs(shares["fixed"] - shares["anytime"]) <= 0.01
    assert 10 * found["anytime"].n_passes.mean() <= found["fixed"].n_passes.mean()
    exact = certify(model, X).certified_accuracy(y, target)
    assert shares["fixed"] <= exact + 0.01
