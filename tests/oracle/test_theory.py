"""The theorems against brute force: integration, minimisation, enumeration, and simulated classifiers."""

import itertools
import math

import numpy as np
import pytest
from scipy.integrate import simpson
from scipy.optimize import minimize
from scipy.stats import chi2, multivariate_normal, ncx2, norm

from skcert import CertifiedGMMClassifier, theory
from skcert.theory import existence, quadratic_forms

NORMS = (1, 2, np.inf)


def random_covariance(rng, d):
    A = rng.standard_normal((d, d + 1))
    return A @ A.T / d + 0.05 * np.eye(d)


# -- the law of a quadratic form -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("d, shift", [(1, 0.0), (1, 3.0), (2, 2.0), (5, 1.0), (40, 0.3), (512, 0.1), (3, 30.0)])
def test_equal_weights_give_the_noncentral_chi_square(d, shift):
    t = d * (1 + shift**2) * np.array([0.0, 0.05, 0.5, 0.8, 1.0, 1.3, 3.0])
    exact = ncx2.cdf(t, d, d * shift**2) if shift else chi2.cdf(t, d)
    lower, upper = quadratic_forms.cdf_bounds(np.full(d, 2.5), np.full(d, shift), 2.5 * t)
    assert (lower <= exact).all() and (exact <= upper).all()
    assert (upper - lower).max() < 2e-9


@pytest.mark.parametrize("weights, shifts", [
    ([1.0, 1e-2], [0.5, 2.0]), ([1.0, 1e-4], [1.0, 0.0]), ([3.0, 0.2], [0.0, 5.0]), ([1.0, 1e-8], [0.3, 1.0]),
])  # fmt: skip
def test_two_weights_against_integration(weights, shifts):
    """P = integral over z_1 of P(w_2 (Z_2 + b_2)^2 <= t - w_1 (z_1 + b_1)^2)."""
    (w1, w2), (b1, b2) = weights, shifts
    for t in np.array([0.01, 0.3, 1.0, 4.0]) * (w1 * (1 + b1**2) + w2 * (1 + b2**2)):
        angle = np.linspace(-np.pi / 2, np.pi / 2, 400_001)  # z_1 = root sin(angle) - b_1
        root = math.sqrt(t / w1)
        left = root * np.cos(angle) * math.sqrt(w1 / w2)
        inner = norm.cdf(left - b2) - norm.cdf(-left - b2)
        exact = float(simpson(norm.pdf(root * np.sin(angle) - b1) * inner * root * np.cos(angle), angle))
        lower, upper = quadratic_forms.cdf_bounds(np.array(weights), np.array(shifts), t)
        assert lower - 1e-10 <= exact <= upper + 1e-10
        assert upper - lower < (2e-9 if w2 > 1e-6 else 1e-5)


@pytest.mark.parametrize("d, spread", [(8, 1e3), (64, 1e2), (64, 1e6), (512, 10.0)])
def test_many_weights_against_draws(d, spread):
    rng = np.random.default_rng(d)
    w, b = np.exp(rng.uniform(0, np.log(spread), d)), rng.standard_normal(d)
    n = 40_000
    draws = ((rng.standard_normal((n, d)) + b) ** 2) @ w
    t = np.quantile(draws, [0.01, 0.3, 0.7, 0.99])
    lower, upper = quadratic_forms.cdf_bounds(w, b, t)
    assert (upper - lower).max() < 1e-8
    assert np.abs(upper - [0.01, 0.3, 0.7, 0.99]).max() < 5 * 0.5 / math.sqrt(n)


# -- localization --------------------------------------------------------------------------------------------------------


def test_the_smallest_set_is_an_ellipsoid_of_known_volume():
    covariance = np.diag([4.0, 1.0, 0.25])
    radius, epsilon = theory.localization(covariance, delta=0.1, C=3.0)
    assert chi2.sf(radius**2, 3) <= 0.1
    exact = math.log(3 / (4 / 3 * math.pi * chi2.isf(0.1, 3) ** 1.5))
    assert exact - 1e-8 < epsilon <= exact


def test_volumes_do_not_overflow():
    found = theory.localization(1e-3 * np.eye(1500), delta=0.01)
    assert np.isfinite(found.epsilon)


def test_the_printed_formula_is_no_bound_and_ours_is():
    means, covariances = [[4.0, 0.0], [0.0, 0.0]], [4 * np.eye(2), np.eye(2)]
    truth = ncx2.cdf((math.sqrt(chi2.isf(0.05, 2)) + 0.5) ** 2 / 4, 2, 4.0)  # a disc under 4 I
    exact = theory.localization_overlaps(means, covariances, radius=0.25, delta=0.05)[0, 1]
    assert truth == pytest.approx(0.2009, abs=1e-4)
    assert truth <= exact <= truth + 1e-6
    with pytest.warns(UserWarning, match="no bound"):
        printed = theory.localization_overlaps(means, covariances, radius=0.25, delta=0.05, method="paper")
    assert printed[0, 1] == pytest.approx(0.115, abs=5e-4)
    with pytest.warns(UserWarning, match="no bound"):
        theory.strong_localization(means, covariances, radius=0.25, delta=0.05, method="paper")
    drawn = theory.localization_overlaps(means, covariances, radius=0.25, delta=0.05, method="monte-carlo")[0, 1]
    assert truth <= drawn <= truth + 0.03


def test_overlaps_of_long_ellipsoids_by_draws_are_smaller_and_still_bounds():
    """The enclosing ellipsoid is loose along the long axis, the expansion itself is not."""
    means, covariances = np.array([[0.0, 0.0], [45.0, 0.0]]), np.array([np.diag([100.0, 1.0])] * 2)
    settings = {"radius": 0.5, "delta": 0.05}
    enclosed = theory.strong_localization(means, covariances, **settings)
    drawn = theory.strong_localization(means, covariances, method="monte-carlo", **settings)
    rng = np.random.default_rng(1)
    z = means[0] + rng.standard_normal((20_000, 2)) * [10, 1]
    angle = np.linspace(0, 2 * np.pi, 2000)
    r = math.sqrt(chi2.isf(0.05, 2))
    outline = means[1] + r * np.column_stack([10 * np.cos(angle), np.sin(angle)])
    near = np.array([np.linalg.norm(outline - each, axis=1).min() <= 1.0 for each in z[:2000]])
    inside = ((z - means[1]) ** 2 / [100, 1]).sum(axis=1)[:2000] <= r**2
    assert (near | inside).mean() - 0.01 <= drawn.gamma < enclosed.gamma


def test_the_classifier_of_the_existence_theorem_has_the_accuracy_it_is_given():
    """Its robust accuracy, on draws, by the distance to the two ellipsoids."""
    rng = np.random.default_rng(2)
    for _ in range(3):
        d = 2
        means, covariances = rng.standard_normal((2, d)) * 4, np.array([random_covariance(rng, d) for _ in range(2)])
        priors, radius = np.array([0.3, 0.7]), 0.3
        claimed = float(theory.localization_certified_accuracy(means, covariances, priors, radii=[radius])[0])
        best = 0.0
        draws = [multivariate_normal(means[i], covariances[i], seed=3).rvs(1000) for i in range(2)]
        for delta in np.geomspace(1e-4, 0.5, 12):
            r = math.sqrt(chi2.isf(delta, d))
            kept = 0.0
            for i in range(2):
                values, vectors = np.linalg.eigh(covariances[1 - i])
                angle = np.linspace(0, 2 * np.pi, 400)
                circle = np.column_stack([np.cos(angle), np.sin(angle)])
                outline = means[1 - i] + r * (circle * np.sqrt(values)) @ vectors.T
                away = draws[i] - means[1 - i]
                inside = np.einsum("nd,dc,nc->n", away, np.linalg.inv(covariances[1 - i]), away) <= r**2
                near = np.min(np.linalg.norm(draws[i][:, None] - outline, axis=2), axis=1) <= 2 * radius
                own = draws[i] - means[i]
                at_home = np.einsum("nd,dc,nc->n", own, np.linalg.inv(covariances[i]), own) <= r**2
                kept += priors[i] * (at_home & ~inside & ~near).mean()
            best = max(best, kept)
        assert claimed <= best + 0.04


# -- what no classifier can beat -----------------------------------------------------------------------------------------


def linear_risk(w, b, means, covariance, priors, radius, q):
    spread, reach = math.sqrt(w @ covariance @ w), radius * np.linalg.norm(w, ord=q)
    scores = means @ w + b
    return priors[0] * norm.cdf((scores[0] + reach) / spread) + priors[1] * norm.cdf((reach - scores[1]) / spread)


@pytest.mark.parametrize("p", NORMS)
def test_no_linear_rule_is_better_than_the_optimal_one(p):
    rng = np.random.default_rng(3)
    q = {1: np.inf, 2: 2, np.inf: 1}[p]
    for trial in range(3):
        d = int(rng.integers(1, 5))
        means, covariance = rng.standard_normal((2, d)) * 1.5, random_covariance(rng, d)
        prior = rng.uniform(0.1, 0.9)
        priors, radius = np.array([prior, 1 - prior]), rng.uniform(0, 0.8)
        risk, rule = theory.optimal_binary_robust_risk(means, covariance, priors, radius=radius, norm=p)
        if rule.weights.any():
            assert risk == pytest.approx(linear_risk(*rule, means, covariance, priors, radius, q), rel=1e-9)
        else:
            assert risk == priors.min()
        best = np.inf
        for _ in range(3):
            start = np.append(rng.standard_normal(d), rng.standard_normal())
            problem = (means, covariance, priors, radius, q)
            found = minimize(lambda v, problem=problem: linear_risk(v[:-1], v[-1], *problem), start, method="Nelder-Mead",
                             options={"maxiter": 4000, "xatol": 1e-9, "fatol": 1e-12})  # fmt: skip
            assert found.fun >= risk - 1e-9, (trial, p)
            best = min(best, found.fun)
        assert min(best, priors.min()) <= risk + 1e-3


@pytest.mark.parametrize("p", NORMS)
def test_the_optimal_rule_has_its_risk_on_draws(p):
    rng = np.random.default_rng(4)
    means, covariance, priors, n = rng.standard_normal((2, 3)) * 1.2, random_covariance(rng, 3), np.array([0.4, 0.6]), 100_000
    for radius in (0.0, 0.2, 0.5):
        risk, rule = theory.optimal_binary_robust_risk(means, covariance, priors, radius=radius, norm=p)
        y = (rng.random(n) > priors[0]).astype(int)
        X = means[y] + rng.standard_normal((n, 3)) @ np.linalg.cholesky(covariance).T
        q = {1: np.inf, 2: 2, np.inf: 1}[p]
        unit = {1: lambda w: np.sign(w) * (np.abs(w) == np.abs(w).max()), 2: lambda w: w / np.linalg.norm(w), np.inf: np.sign}[
            p
        ]
        worst = X + np.where(y == 1, -1, 1)[:, None] * radius * unit(rule.weights)
        assert np.linalg.norm(worst - X, ord=p, axis=1).max() <= radius * (1 + 1e-12) and q
        assert abs((rule.predict(worst) != y).mean() - risk) < 5 * math.sqrt(risk * (1 - risk) / n)


def test_classes_that_can_be_moved_onto_each_other_leave_the_smaller_prior():
    means = np.array([[0.0, 0.0], [1.0, 0.0]])
    for p in NORMS:
        risk, rule = theory.optimal_binary_robust_risk(means, np.eye(2), [0.3, 0.7], radius=0.6, norm=p)
        assert risk == 0.3 and (rule.predict([[-5.0, 0.0], [5.0, 0.0]]) == 1).all()


def test_a_tighter_metric_never_moves_the_shift_out_of_the_ball():
    rng = np.random.default_rng(5)
    for p in NORMS:
        for _ in range(20):
            covariance, target = random_covariance(rng, 4), rng.standard_normal(4) * 3
            radius = rng.uniform(0.01, 2)
            u = existence.nearest_shift(target, existence.Covariance(covariance), radius, p)
            assert np.linalg.norm(u, ord=p) <= radius or (u == target).all()
            inverse = np.linalg.inv(covariance)
            value = (target - u) @ inverse @ (target - u)
            for _ in range(50):
                other = u + 0.05 * rng.standard_normal(4)
                other *= min(1, radius / np.linalg.norm(other, ord=p))
                assert (target - other) @ inverse @ (target - other) >= value * (1 - 1e-9)


def test_bounds_enclose_the_risk_of_the_certified_classifier_on_random_mixtures():
    rng = np.random.default_rng(6)
    n = 4000
    for trial in range(200):
        K, d = int(rng.integers(2, 5)), int(rng.integers(1, 5))
        means = rng.standard_normal((K, d)) * 2
        shared = trial % 2 == 0
        covariances = random_covariance(rng, d) if shared else np.array([random_covariance(rng, d) for _ in range(K)])
        priors = rng.dirichlet(np.full(K, 5.0))
        p = NORMS[trial % 3] if shared else 2
        radius = rng.uniform(0, 1)
        bounds = theory.robust_risk_bounds(
            means, covariances, priors, radius=radius, norm=p, n_samples=2000, random_state=trial
        )
        kind = "tied" if shared else "full"
        model = CertifiedGMMClassifier.from_parameters(means, covariances, priors, covariance_type=kind)
        model.set_params(random_state=trial)
        X, y = model.sample(n)
        certificate = model.certify(X, norm=p)
        risk = 1 - ((certificate.prediction == y) & (certificate.radius >= radius)).mean()
        doubt = 4 * math.sqrt(max(risk * (1 - risk), 1e-3) / n)
        assert bounds.lower - doubt <= risk <= bounds.upper + doubt, (trial, bounds, risk)
        assert 0 <= bounds.lower <= bounds.upper <= 1


def test_the_linear_program_against_enumeration():
    """The optimum of a small program is at one of its vertices."""
    rng = np.random.default_rng(7)
    for K in (3, 4):
        for _ in range(6):
            priors = rng.dirichlet(np.full(K, 4.0))
            means, covariance = rng.standard_normal((K, 2)), 0.5 * random_covariance(rng, 2)
            radius = rng.uniform(0, 0.5)
            found = theory.robust_risk_bounds(means, covariance, priors, radius=radius).lower
            pairs = list(itertools.combinations(range(K), 2))
            rows = [np.eye(K)[i] + np.eye(K)[j] for i, j in pairs] + list(np.eye(K)) + list(-np.eye(K))
            needs = [
                (priors[i] + priors[j])
                * theory.optimal_binary_robust_risk(
                    means[[i, j]], covariance, priors[[i, j]] / priors[[i, j]].sum(), radius=radius
                ).risk
                for i, j in pairs
            ]
            needs = np.array(needs + [0.0] * K + list(-priors))
            rows, best = np.array(rows), np.inf
            for active in itertools.combinations(range(len(rows)), K):
                if abs(np.linalg.det(rows[list(active)])) > 1e-9:
                    x = np.linalg.solve(rows[list(active)], needs[list(active)])
                    if (rows @ x >= needs - 1e-10).all():
                        best = min(best, x.sum())
            assert best - 1e-8 <= found <= best + 1e-9


def test_two_classes_of_one_covariance_are_decided_everywhere():
    means, covariance, priors = np.array([[-1.0, 0.3], [1.0, 0.0]]), np.diag([0.5, 1.0]), [0.5, 0.5]
    for risk in (0.1, 0.2, 0.3):
        found = theory.largest_robust_radius(means, covariance, priors, risk=risk)
        assert found.possible == pytest.approx(found.impossible, rel=1e-6)
        at = theory.optimal_binary_robust_risk(means, covariance, priors, radius=found.possible).risk
        assert risk - 1e-6 < at <= risk
    assert np.isnan(theory.largest_robust_radius(means, covariance, priors, risk=1e-6).possible)
    assert theory.largest_robust_radius(means, covariance, priors, risk=1e-6).verdict(0.0) == "impossible"
    assert theory.largest_robust_radius(means, covariance, priors, risk=0.5).verdict(100.0) == "possible"


def test_largest_radii_agree_with_the_bounds_of_the_risk():
    rng = np.random.default_rng(8)
    for _ in range(4):
        means, covariances = rng.standard_normal((3, 2)) * 3, np.array([random_covariance(rng, 2) for _ in range(3)])
        found = theory.largest_robust_radius(means, covariances, [0.2, 0.3, 0.5], risk=0.15, n_samples=4000)
        if np.isfinite(found.impossible):
            beyond = theory.robust_risk_bounds(
                means, covariances, [0.2, 0.3, 0.5], radius=found.impossible * 1.001, n_samples=500
            )
            before = theory.robust_risk_bounds(
                means, covariances, [0.2, 0.3, 0.5], radius=found.impossible * 0.999, n_samples=500
            )
            assert before.lower <= 0.15 < beyond.lower
        if found.possible > 0:
            assert found.possible <= found.impossible
            reached = theory.robust_risk_bounds(means, covariances, [0.2, 0.3, 0.5], radius=found.possible, n_samples=20_000)
            assert reached.lower <= 0.15


# -- conflicts -----------------------------------------------------------------------------------------------------------


def smallest_cover(edges, n):
    for size in range(n + 1):
        for cover in itertools.combinations(range(n), size):
            if all(i in cover or j in cover for i, j in edges):
                return size
    return n


@pytest.mark.parametrize("K", [2, 3, 4])
@pytest.mark.parametrize("p", NORMS)
def test_the_matching_bound_against_exact_covers(K, p):
    rng = np.random.default_rng(9)
    for trial in range(15):
        n = 10
        X = rng.integers(0, 6, (n, 2)).astype(float) if trial % 2 else rng.standard_normal((n, 2))
        y, radius = rng.integers(0, K, n), 0.5 if trial % 2 else 0.4
        edges = [
            (i, j) for i, j in itertools.combinations(range(n), 2)
            if y[i] != y[j] and np.linalg.norm(X[i] - X[j], ord=p) <= 2 * radius
        ]  # fmt: skip
        exact = smallest_cover(edges, n) / n
        found = theory.empirical_risk_bound(X, y, radius=radius, norm=p)
        if K == 2:
            assert found == exact
        else:
            assert exact / 2 - 1e-12 <= found <= exact + 1e-12


def test_equal_points_with_different_labels_conflict_at_radius_zero():
    X = np.array([[1.1, 2.3], [1.1, 2.3], [5.0, 5.0]])
    assert theory.empirical_risk_bound(X, [0, 1, 0], radius=0.0) == 1 / 3
    assert theory.empirical_risk_bound(X + 1e9, [0, 1, 0], radius=0.0) == 1 / 3


def test_far_from_the_origin_nothing_is_counted_that_is_not_close():
    rng = np.random.default_rng(10)
    X = 1e8 + rng.standard_normal((60, 5))
    y = rng.integers(0, 2, 60)
    exact = theory.empirical_risk_bound(X - 1e8, y, radius=0.8)
    assert theory.empirical_risk_bound(X, y, radius=0.8) == pytest.approx(exact, abs=1 / 60)


# -- transfer ------------------------------------------------------------------------------------------------------------


def test_the_exact_transfer_is_attained_by_two_coins():
    for q in (0.3, 0.9, 0.99):
        for p in np.linspace(0.01, q, 7):
            kl = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
            found = theory.transfer_certified_accuracy(q, kl)
            assert p - 1e-7 <= found <= p + 1e-12 or kl == 0
            for method in ("pinsker", "bretagnolle-huber"):
                assert theory.transfer_certified_accuracy(q, kl, method=method) <= found + 1e-7


def test_transfer_holds_between_discrete_laws():
    rng = np.random.default_rng(17)
    for _ in range(500):
        p, q = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(4) * 3)
        kl, event = float((p * np.log(p / q)).sum()), rng.random(4) < 0.5
        for method in ("exact", "pinsker", "bretagnolle-huber"):
            assert theory.transfer_certified_accuracy(float(q[event].sum()), kl, method=method) <= p[event].sum() + 1e-12


@pytest.mark.parametrize("q, kl, exact", [(0.99, 0.1, 0.9195), (0.99, 0.5, 0.778), (0.9, 2.0, 0.049)])
def test_transfer_values_of_the_theory(q, kl, exact):
    assert theory.transfer_certified_accuracy(q, kl) == pytest.approx(exact, abs=5e-4)


def test_transfer_holds_between_gaussians_of_known_divergence():
    rng = np.random.default_rng(11)
    for _ in range(300):
        m, s, c = rng.standard_normal(), math.exp(rng.standard_normal() / 2), rng.standard_normal()
        kl = math.log(1 / s) + (s**2 + m**2) / 2 - 0.5  # KL(N(m, s^2) || N(0, 1))
        p, q = norm.sf(c, m, s), norm.sf(c)
        for method in ("exact", "pinsker", "bretagnolle-huber"):
            assert theory.transfer_certified_accuracy(q, kl, method=method) <= p + 1e-9


def test_ends_of_the_transfer():
    assert theory.transfer_certified_accuracy(1.0, 5.0) == pytest.approx(1.0)
    assert theory.transfer_certified_accuracy(1.0, np.inf) == 0
    assert theory.transfer_certified_accuracy(0.9, np.inf) == 0
    assert theory.transfer_certified_accuracy(0.9, 0.0) == pytest.approx(0.9, abs=1e-7)
    assert theory.transfer_certified_accuracy(0.0, 0.1) == 0
    assert theory.transfer_certified_accuracy([0.9, 0.99], 0.1).shape == (2,)


def test_class_by_class_is_never_worse_than_the_joint_bound():
    rng = np.random.default_rng(12)
    for _ in range(50):
        q, kl, priors = rng.uniform(0.5, 1, 3), rng.exponential(0.3, 3), rng.dirichlet(np.ones(3) * 3)
        joint = theory.transfer_certified_accuracy(float(priors @ q), theory.joint_kl_divergence(priors, priors, kl))
        assert theory.classwise_transfer_certified_accuracy(q, kl, priors) >= joint - 1e-9


# -- where numbers end -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", [1e4, 1e8, 1e12])
def test_ill_conditioned_covariances_err_on_the_safe_side(condition):
    """Against 60 digits: two classes, radius 0, the Bayes risk of the very numbers that are passed."""
    mpmath = pytest.importorskip("mpmath")
    rng = np.random.default_rng(14)
    with mpmath.workdps(60):
        for _ in range(8):
            d = int(rng.integers(2, 5))
            turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
            covariance = turn @ np.diag(np.geomspace(1, 1 / condition, d)) @ turn.T
            covariance = (covariance + covariance.T) / 2
            root = np.linalg.cholesky(covariance)
            means = np.array([np.zeros(d), 3 * root @ rng.standard_normal(d)])
            half = mpmath.matrix((means[1] / 2).tolist())
            exact = mpmath.lu_solve(mpmath.matrix(covariance.tolist()), half)
            risk = mpmath.ncdf(-mpmath.sqrt(sum(a * b for a, b in zip(exact, half, strict=True))))
            assert existence._lower(means, covariance, np.array([0.5, 0.5]), 0.0, 2) <= risk
            assert theory.optimal_binary_robust_risk(means, covariance, [0.5, 0.5], radius=0.0).risk >= risk
            volume = mpmath.log(mpmath.det(mpmath.matrix(covariance.tolist()))) / 2
            square = chi2.isf(0.1, d)
            epsilon = mpmath.loggamma(mpmath.mpf(d) / 2 + 1) - mpmath.mpf(d) / 2 * mpmath.log(mpmath.pi * square) - volume
            assert theory.localization(covariance, delta=0.1).epsilon <= epsilon


def test_far_from_the_origin_the_verdict_does_not_contradict_itself():
    rng = np.random.default_rng(15)
    for offset in (0.0, 1e5, 1e8):
        for _ in range(5):
            means = rng.standard_normal((2, 3)) * 2 + offset
            found = theory.largest_robust_radius(means, random_covariance(rng, 3), [0.4, 0.6], risk=0.15)
            assert np.isnan(found.possible) or found.possible <= found.impossible


def test_numbers_whose_squares_vanish_or_overflow():
    assert theory.empirical_risk_bound([[0.0], [1e-170]], [0, 1], radius=0.0) == 0
    assert theory.empirical_risk_bound([[0.0], [1e-200]], [0, 1], radius=1e-210) == 0
    assert theory.empirical_risk_bound([[0.0], [1e-200]], [0, 1], radius=1e-200) == 0.5
    assert theory.empirical_risk_bound([[0.0], [1.0]], [0, 1], radius=1e160) == 0.5
    for p in NORMS:
        risk = theory.optimal_binary_robust_risk(M2, I2, [0.5, 0.5], radius=1e-310, norm=p).risk
        assert risk == pytest.approx(norm.cdf(-1.5))


def test_divergences_of_equal_laws_are_not_negative():
    rng = np.random.default_rng(16)
    for _ in range(2000):
        p = rng.dirichlet(np.ones(3))
        q = p * (1 + 1e-16 * rng.standard_normal(3))
        assert theory.joint_kl_divergence(p, q / q.sum(), [0.0, 0.0, 0.0]) >= 0
    assert theory.joint_kl_divergence([1.0, 0.0], [0.5, 0.5], [0.2, np.inf]) == pytest.approx(math.log(2) + 0.2)
    assert theory.joint_kl_divergence([0.5, 0.5], [1.0, 0.0], [0.0, 0.0]) == np.inf


# -- bad input -----------------------------------------------------------------------------------------------------------


I2 = np.eye(2)
M2 = [[0.0, 0.0], [3.0, 0.0]]
REFUSED = [
    (lambda: theory.localization([[1.0, 2.0], [2.0, 1.0]], delta=0.1), "positive definite"),
    (lambda: theory.localization([[1.0, 0.5], [0.0, 1.0]], delta=0.1), "symmetric"),
    (lambda: theory.localization([1.0, 2.0], delta=0.1), "2 dimension"),
    (lambda: theory.localization(I2, delta=0.0), r"delta must be in \(0, 1\)"),
    (lambda: theory.localization(I2, delta=1.0), r"delta must be in \(0, 1\)"),
    (lambda: theory.localization(I2, delta=0.1, C=0), "C must be > 0"),
    (lambda: theory.strong_localization(M2, I2, radius=-1.0, delta=0.1), "radius must be a finite number >= 0"),
    (lambda: theory.strong_localization(M2, I2, radius=1.0, delta=0.1, method="fast"), "method must be one of"),
    (lambda: theory.strong_localization(M2, np.eye(3), radius=1.0, delta=0.1), "covariances must have shape"),
    (lambda: theory.localization_certified_accuracy(M2, I2, [0.5, 0.6], radii=[0.1]), "sum to 1"),
    (lambda: theory.localization_certified_accuracy(M2, I2, [0.5, 0.5], radii=[-0.1]), "radii must be >= 0"),
    (lambda: theory.optimal_binary_robust_risk([[0.0], [1.0], [2.0]], [[1.0]], [0.3, 0.3, 0.4], radius=0.1), "2 classes"),
    (lambda: theory.optimal_binary_robust_risk(M2, I2, [0.5, 0.5], radius=0.1, norm=3), "norm must be"),
    (lambda: theory.robust_risk_bounds(M2, I2, [1.0, 0.0], radius=0.1), "positive and sum to 1"),
    (lambda: theory.robust_risk_bounds(M2, I2, [0.2, 0.3, 0.5], radius=0.1), "one number per class"),
    (lambda: theory.robust_risk_bounds([[0.0, np.nan], [1.0, 1.0]], I2, [0.5, 0.5], radius=0.1), "finite"),
    (lambda: theory.robust_risk_bounds(M2, [I2, [[1.0, 0], [0, 0]]], [0.5, 0.5], radius=0.1), r"covariances\[1\]"),
    (lambda: theory.largest_robust_radius(M2, I2, [0.5, 0.5], risk=0.0), "risk must be in"),
    (lambda: theory.empirical_risk_bound([[0.0], [1.0]], [0, 1], radius=-0.1), "radius must be"),
    (lambda: theory.empirical_risk_bound([[0.0], [1.0]], [0, 1], radius=0.1, confidence=1.0), "confidence must be in"),
    (lambda: theory.transfer_certified_accuracy(0.9, -0.1), "kl must be >= 0"),
    (lambda: theory.transfer_certified_accuracy(1.1, 0.1), "certified_accuracy must be in"),
    (lambda: theory.transfer_certified_accuracy(0.9, 0.1, method="best"), "method must be one of"),
    (lambda: theory.joint_kl_divergence([0.5, 0.5], [0.4, 0.5], [0.1, 0.1]), "sum to 1"),
    (lambda: theory.certified_accuracy_interval([0.1, np.nan], [True, False], radii=[0.0]), "without NaN"),
    (lambda: theory.certified_accuracy_interval([0.1, 0.2], [1, 0], radii=[0.0]), "booleans"),
    (lambda: theory.certified_accuracy_band([0.1], [True], radii=[0.0], alternative="lower", confidence=0.4), "at least 0.5"),
    (lambda: theory.gaussian_tail_bound([1.0]), "at least 2 points"),
    (lambda: theory.gaussian_tail_bound([1.0, 1.0, 1.0]), "must vary"),
    (lambda: theory.radius_error_rate(M2, I2, [0.5, 0.5], n_samples=[3, 5]), "n_samples must be"),
    (lambda: theory.radius_error_rate(M2, I2, [0.5, 0.5], n_repeats=0), "n_repeats must be"),
    (lambda: theory.gaussian_tail_bound([[1.0, 2.0], [2.0, 3.0]], n_bounds=1), "n_bounds must be an integer >= 2"),
    (lambda: theory.gaussian_tail_bound([1.0, 2.0], [0.0, 1.0, 2.0]), "thresholds must be finite"),
    (lambda: theory.robust_risk_bounds(M2, I2, [0.5, 0.5], radius=0.1, n_samples=0), "n_samples must be"),
]  # fmt: skip


@pytest.mark.parametrize("call, message", REFUSED, ids=[message for _, message in REFUSED])
def test_bad_input_is_refused_with_a_remedy(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_bound_for_several_covariances_where_they_happen_to_be_equal():
    """Never above the exact optimum, and all of it where the classes can be moved onto each other."""
    rng = np.random.default_rng(13)
    for p in NORMS:
        for _ in range(10):
            means, covariance, prior = rng.standard_normal((2, 3)) * 2, random_covariance(rng, 3), rng.uniform(0.2, 0.8)
            both, priors = np.array([covariance, covariance]), np.array([prior, 1 - prior])
            radius = rng.uniform(0, 1.5)
            lower = existence._lower(means, both, priors, radius, p)
            assert lower <= theory.optimal_binary_robust_risk(means, covariance, priors, radius=radius, norm=p).risk + 1e-12
        half = np.linalg.norm(means[1] - means[0], ord=p) / 2
        assert existence._lower(means, both, np.array([0.5, 0.5]), half * 1.001, p) == pytest.approx(0.5, abs=1e-4)
