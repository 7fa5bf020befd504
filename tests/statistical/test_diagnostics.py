"""Mardia's tests, by how often they reject: Gaussian classes as often as they say, others nearly always."""

import numpy as np
import pytest
from scipy.stats import beta, kstest, skew

from skcert.diagnostics import mardia_test
from skcert.diagnostics.normality import (
    _kurtosis_moments,
    _p_kurtosis,
    _p_skewness,
    _skewness_moments,
    distance_quantiles,
    mahalanobis_distances,
)


def statistics(n, d, repeats, seed):
    """b1 and b2 of Gaussian samples, by their definition, and the squared distances of one point of each (divisor n)."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(0, repeats, 2000):
        X = rng.standard_normal((2000, n, d))
        X -= X.mean(axis=1, keepdims=True)
        S = np.einsum("rni,rnj->rij", X, X) / n
        products = X @ np.linalg.solve(S, X.transpose(0, 2, 1))
        squares = np.diagonal(products, axis1=1, axis2=2)
        found.append(np.column_stack([(products**3).mean(axis=(1, 2)), (squares**2).mean(axis=1), squares[:, 0]]))
    return np.concatenate(found).T


@pytest.mark.parametrize(("n", "d"), [(10, 1), (12, 4), (20, 2), (30, 8)])
def test_the_moments_under_gaussian_laws_are_exact(n, d):
    """Where n is small every term of these formulas counts. The bounds are about 4 standard errors."""
    b1, b2, _ = statistics(n, d, 20_000, n)
    mean, variance = _skewness_moments(n, d)
    assert b1.mean() == pytest.approx(mean, abs=4 * b1.std() / np.sqrt(len(b1)))
    assert b1.var() == pytest.approx(variance, rel=0.07)
    mean, variance, third = _kurtosis_moments(n, d)
    assert b2.mean() == pytest.approx(mean, abs=4 * b2.std() / np.sqrt(len(b2)))
    assert b2.var() == pytest.approx(variance, rel=0.05)
    assert skew(b2) == pytest.approx(third / variance**1.5, abs=0.1)


@pytest.fixture(scope="module")
def null():
    rng = np.random.default_rng(0)
    return [mardia_test(rng.standard_normal((200, 8))) for _ in range(4000)]


@pytest.mark.parametrize("level", [0.05, 0.01])
def test_gaussian_classes_are_rejected_as_often_as_the_level_says(null, level):
    slack = 0.01 if level == 0.05 else 0.005
    assert np.mean([test.p_skewness < level for test in null]) == pytest.approx(level, abs=slack)
    assert np.mean([test.p_kurtosis < level for test in null]) == pytest.approx(level, abs=slack)
    assert np.mean([test.p_value < level for test in null]) == pytest.approx(level, abs=slack)


@pytest.mark.parametrize(("n", "d"), [(12, 4), (20, 1), (30, 8), (50, 2)])
def test_small_classes_too(n, d):
    b1, b2, _ = statistics(n, d, 10_000, n + 100)
    assert np.mean([_p_skewness(each, n, d) < 0.05 for each in b1]) == pytest.approx(0.05, abs=0.01)
    p_kurtosis = np.array([_p_kurtosis(each, n, d) for each in b2])
    assert np.mean(p_kurtosis < 0.05) == pytest.approx(0.05, abs=0.01)
    assert np.mean(p_kurtosis < 0.01) == pytest.approx(0.01, abs=0.004)  # 0.018 for n=50, d=2 by the normal law


def test_heavy_tails_are_seen():
    """Multivariate t with 5 degrees of freedom."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(200):
        X = rng.standard_normal((200, 8)) / np.sqrt(rng.chisquare(5, size=(200, 1)) / 5)
        found.append(mardia_test(X))
    assert np.mean([test.p_kurtosis < 0.05 for test in found]) > 0.99
    assert np.mean([test.p_value < 0.05 for test in found]) > 0.99


def test_light_tails_and_lopsided_classes_are_seen():
    rng = np.random.default_rng(2)
    cubes = [mardia_test(rng.uniform(size=(200, 8))) for _ in range(100)]
    assert np.mean([test.p_kurtosis < 0.05 for test in cubes]) > 0.99
    lopsided = [mardia_test(rng.gamma(4, size=(200, 8))) for _ in range(100)]
    assert np.mean([test.p_skewness < 0.05 for test in lopsided]) > 0.99


def test_any_of_many_gaussian_classes_is_rejected_with_the_chance_stated():
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(10), 30)
    rejected = [mardia_test(rng.standard_normal((300, 2)), labels).n_rejected(0.2) > 0 for _ in range(300)]
    assert 0.1 < np.mean(rejected) < 0.26


def test_distances_in_their_own_covariance_have_the_law_of_the_display():
    """Beta, and not chi-square, whose tail goes on beyond the largest possible distance."""
    n, d = 12, 4
    squares = statistics(n, d, 20_000, 5)[2] * (n - 1) / n  # divisor n - 1
    assert kstest(squares * n / (n - 1) ** 2, beta(d / 2, (n - d - 1) / 2).cdf).pvalue > 0.01
    rng = np.random.default_rng(6)
    drawn = [rng.choice(mahalanobis_distances(rng.standard_normal((n, d)))[1][0]) for _ in range(3000)]
    shares = np.linspace(0.05, 0.95, 10)
    below = np.mean(np.asarray(drawn)[:, None] <= distance_quantiles(shares, n, d), axis=0)
    np.testing.assert_allclose(below, shares, atol=0.03)
