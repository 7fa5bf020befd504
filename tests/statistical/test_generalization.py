"""Statements about the population, by how often they fail on samples of a known one."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from skcert import theory


def fails_at_most(level, failures, n):
    return binomtest(int(failures), n, level, alternative="greater").pvalue > 1e-3


@pytest.mark.parametrize("alternative", ["two-sided", "lower"])
def test_intervals_and_bands_cover_the_certified_accuracy(alternative):
    """Radii uniform on (0, 1), right with probability 0.8: the certified accuracy at r is 0.8 (1 - r)."""
    rng, n, trials, radii = np.random.default_rng(0), 80, 3000, np.linspace(0, 0.95, 20)
    truth = 0.8 * (1 - radii)
    one, all_ = 0, 0
    for _ in range(trials):
        radius, correct = rng.random(n), rng.random(n) < 0.8
        low, high = theory.certified_accuracy_interval(radius, correct, radii=radii, confidence=0.9, alternative=alternative)
        one += not low[5] <= truth[5] <= high[5]
        low, high = theory.certified_accuracy_band(radius, correct, radii=radii, confidence=0.9, alternative=alternative)
        all_ += not ((low <= truth) & (truth <= high)).all()
    assert fails_at_most(0.1, one, trials) and fails_at_most(0.1, all_, trials)
    assert one > 0.02 * trials  # and not for nothing
    assert all_ > 0.005 * trials


def test_an_interval_at_one_radius_is_no_band():
    """Looked at where it is worst, it fails more often: what the band is for."""
    rng, n, trials, radii = np.random.default_rng(1), 80, 500, np.linspace(0, 0.95, 20)
    truth, failures = 0.8 * (1 - radii), 0
    for _ in range(trials):
        low, high = theory.certified_accuracy_interval(rng.random(n), rng.random(n) < 0.8, radii=radii, confidence=0.9)
        failures += not ((low <= truth) & (truth <= high)).all()
    assert failures > 0.15 * trials


@pytest.mark.parametrize("n, distance", [(10, 2.0), (50, 4.0), (400, 1.0)])
def test_the_tail_bound_covers_at_its_level_and_wastes_nothing(n, distance):
    rng, trials, level = np.random.default_rng(2), 1500, 0.1
    truth, failures = norm.sf(distance), 0
    for _ in range(trials):
        failures += theory.gaussian_tail_bound(distance + rng.standard_normal(n), confidence=1 - level) < truth
    assert fails_at_most(level, failures, trials)
    assert failures > 0.06 * trials  # it is exact for one rival


def test_the_tail_bound_adds_up_over_rivals_and_thresholds_shift_it():
    rng, trials, level, n = np.random.default_rng(3), 800, 0.1, 60
    thresholds = np.array([0.5, 1.0])
    truth = norm.sf(3.0 - 0.5) + norm.sf(4.0 - 1.0)
    failures = 0
    for _ in range(trials):
        margins = np.array([3.0, 4.0]) + rng.standard_normal((n, 2))
        failures += theory.gaussian_tail_bound(margins, thresholds, confidence=1 - level) < truth
    assert fails_at_most(level, failures, trials)


def test_the_simultaneous_bound_holds_along_the_whole_curve():
    rng, trials, level, n = np.random.default_rng(4), 1500, 0.1, 40
    curve = np.linspace(0, 4, 30)[None]
    truth, failures = norm.cdf(curve[0] - 3.0), 0
    for _ in range(trials):
        bound = theory.gaussian_tail_bound(3 + rng.standard_normal(n), curve, confidence=1 - level, simultaneous=True)
        failures += (bound < truth).any()
    assert fails_at_most(level, failures, trials)


def test_risks_far_below_one_in_n_are_bounded_where_the_noncentral_t_of_scipy_gives_up():
    margins = 30 + np.random.default_rng(5).standard_normal(2000)
    assert 0 < theory.gaussian_tail_bound(margins) < 1e-150


def test_bounds_for_k_classes_share_the_level():
    margins = 3 + np.random.default_rng(6).standard_normal((50, 1))
    assert theory.gaussian_tail_bound(margins, n_bounds=90) > theory.gaussian_tail_bound(margins)


@pytest.mark.parametrize("shared", [True, False])
def test_radii_are_learned_at_the_root_of_n_and_at_none_of_the_printed_rates(shared):
    means = np.array([[-2.0, 0.0], [2.0, 0.0]])
    covariances = np.eye(2) if shared else np.array([np.eye(2), np.diag([0.5, 2.0])])
    found = theory.radius_error_rate(means, covariances, [0.5, 0.5], n_samples=(100, 1000, 10_000), n_repeats=6)
    assert -0.62 < found.slope < -0.38
    assert (np.diff(found.error) < 0).all()
    assert all(abs(found.slope - printed) > 0.1 for printed in found.printed.values())


def test_conflicts_of_a_sample_bound_the_risk_of_the_population():
    """One feature, two classes N(-+1, 1), so the optimum is known; the raw value of a sample is above it at times."""
    rng, trials, n, radius = np.random.default_rng(7), 300, 150, 0.5
    optimum = norm.cdf(-(1 - radius))
    raw = bounded = 0
    for _ in range(trials):
        y = rng.integers(0, 2, n)
        X = (2 * y - 1 + rng.standard_normal(n))[:, None]
        raw += theory.empirical_risk_bound(X, y, radius=radius) > optimum
        bounded += theory.empirical_risk_bound(X, y, radius=radius, confidence=0.9) > optimum
    assert fails_at_most(0.1, bounded, trials)
    assert raw > 0.05 * trials and math.isfinite(optimum)
