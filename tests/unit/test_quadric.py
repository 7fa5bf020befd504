"""One quadric: the dual is a bound at any multiplier, and the iteration reaches it on every spectrum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from skcert.geometry import quadric
from skcert.geometry.rounding import inverse_defect, orthogonality_defect, product


def spectra(rng, d, kind):
    w = {
        "gentle": lambda: rng.uniform(-1, 1, d),
        "heavy": lambda: np.concatenate([-np.geomspace(1e-6, 1, d // 2), np.geomspace(1e-6, 1e4, d - d // 2)]),
        "cluster": lambda: np.where(np.arange(d) < d // 2, -1 + 1e-9 * rng.uniform(size=d), rng.uniform(0, 5, d)),
        "positive": lambda: rng.uniform(0.01, 1, d),
        "negative": lambda: -np.geomspace(1e-3, 1e3, d),
        "flat": lambda: np.zeros(d),
        "tiny": lambda: 1e-13 * rng.standard_normal(d),
        "low rank": lambda: np.where(np.arange(d) < 2, rng.standard_normal(d), 0),
    }[kind]()
    return quadric.Spectrum.of(np.sort(w))


KINDS = ["gentle", "heavy", "cluster", "positive", "negative", "flat", "tiny", "low rank"]


@pytest.mark.parametrize("d", [1, 2, 7, 64, 513])
@pytest.mark.parametrize("kind", KINDS)
def test_the_primal_dual_gap_closes_on_every_spectrum(kind, d):
    rng = np.random.default_rng(d)
    if kind == "cluster" and d == 1:
        pytest.skip("a cluster needs two eigenvalues")
    spectrum = spectra(rng, d, kind)
    h = rng.standard_normal((200, d)) * np.exp(rng.uniform(-4, 4, (200, 1)))
    h[:50] *= np.exp(rng.uniform(-12, 0, (50, d)))  # some slopes nearly avoid the lowest eigenvector: close to the hard case
    m = np.exp(rng.uniform(-8, 8, 200))
    found = quadric.distance(m, h, spectrum)
    assert np.isfinite(found.radius).sum() > 20 or kind == "positive"
    finite = np.isfinite(found.radius)
    assert (found.attack[finite] <= found.radius[finite] * (1 + 1e-9)).all()
    assert (found.radius > 0).all() and (found.radius <= found.attack).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS), st.integers(2, 6))
def test_the_dual_is_a_lower_bound_wherever_the_iteration_stops(seed, kind, d):
    rng = np.random.default_rng(seed)
    spectrum = spectra(rng, d, kind)
    h, m = rng.standard_normal((5, d)), rng.exponential(size=5)
    best = quadric.distance(m, h, spectrum)
    true_steps = quadric.MAX_STEPS
    try:
        for quadric_steps in (0, 1, 2):
            quadric._iterate.__defaults__ = (None, 0.0, quadric_steps)
            early = quadric.distance(m, h, spectrum)
            assert (early.radius <= best.attack).all() and (early.attack >= best.radius).all()
    finally:
        quadric._iterate.__defaults__ = (None, 0.0, true_steps)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS), st.integers(1, 5))
def test_no_point_inside_satisfies_the_quadric_and_the_attack_does(seed, kind, d):
    rng = np.random.default_rng(seed)
    if kind == "cluster" and d == 1:
        d = 2
    spectrum = spectra(rng, d, kind)
    w = spectrum.values
    h, m = rng.standard_normal((4, d)), rng.exponential(size=4) + 1e-3
    found = quadric.distance(m, h, spectrum)
    y = quadric.attack_coordinates(m, h, spectrum, found.s)
    for k in range(4):

        def margin(u, k=k):
            return m[k] + 2 * u @ h[k] + (u * u) @ w

        if np.isfinite(found.attack[k]):
            assert abs(margin(y[k])) <= 1e-9 * (m[k] + np.abs(2 * y[k] * h[k]).sum() + (y[k] ** 2 * np.abs(w)).sum())
            assert np.linalg.norm(y[k]) == pytest.approx(found.radius[k], rel=1e-6)
        r = min(found.radius[k], 1e6)
        u = rng.standard_normal((300, d))
        u = np.vstack([u, np.eye(d), -np.eye(d), -h[k]])
        u *= (0.999999 * r / np.linalg.norm(u, axis=1))[:, None]
        assert (margin(u) > 0).all()


def test_errors_that_are_declared_are_paid_for():
    rng = np.random.default_rng(0)
    spectrum = spectra(rng, 6, "gentle")
    h, m = rng.standard_normal((100, 6)), rng.exponential(size=100) + 0.1
    clean = quadric.distance(m, h, spectrum)
    wrong = np.full(100, 1e-3)
    paid = quadric.distance(m, h, spectrum, slope_error=wrong)
    for _ in range(20):  # whatever the true slopes within the error, the radius is a bound for them
        e = rng.standard_normal(h.shape)
        true = quadric.distance(m, h + 0.999e-3 * e / np.linalg.norm(e, axis=1)[:, None], spectrum)
        assert (paid.radius <= true.attack).all()
    worst = quadric.distance(m, h + 0.999e-3 * h / np.linalg.norm(h, axis=1)[:, None], spectrum)
    assert (paid.radius <= worst.attack).all() and (paid.radius >= clean.radius * 0.95).all()


def test_the_closed_form_is_the_first_root_from_below():
    m, c, lam = 1.0, np.array([1.0, 1.0, 2.0, 0.5, 0.0]), np.array([0.0, -1.0, 1.0, 1.0, -1.0])
    expected = [0.5, 1 / (1 + np.sqrt(2)), 1 / (2 + np.sqrt(3)), np.inf, 1.0]
    radius = quadric.closed_form_radius(m, c, lam)
    np.testing.assert_allclose(radius, expected, rtol=1e-14)
    assert (radius <= expected).all()
    assert quadric.closed_form_radius(0.0, 0.0, 0.0) == 0 and quadric.closed_form_radius(np.nan, 1.0, 0.0) == 0


def test_the_dual_agrees_with_a_scalar_optimiser():
    rng = np.random.default_rng(1)
    spectrum = spectra(rng, 5, "gentle")
    h, m = rng.standard_normal((20, 5)), rng.exponential(size=20) + 0.1
    found = quadric.distance(m, h, spectrum)
    top = -1 / spectrum.values[0]
    for k in range(20):
        best = minimize_scalar(
            lambda t, k=k: -(t * m[k] - t * t * (h[k] ** 2 / (1 + t * spectrum.values)).sum()),
            bounds=(0, top),
            method="bounded",
            options=dict(xatol=1e-12),
        )
        assert found.radius[k] == pytest.approx(np.sqrt(-best.fun), rel=1e-6)


def test_error_bounds_of_linear_algebra_hold():
    rng = np.random.default_rng(0)
    for condition in (1.0, 1e3, 1e8):
        q = np.linalg.qr(rng.standard_normal((20, 20)))[0]
        S = (q * np.geomspace(1, condition, 20)) @ q.T
        S = (S + S.T) / 2
        P = np.linalg.inv(S)
        rho = inverse_defect(S, P)
        wide = S.astype(np.longdouble)
        left = np.eye(20) - P.astype(np.longdouble) @ wide
        assert np.linalg.norm(left.astype(float), 2) <= rho
        assert rho < 1e-10 * condition
    v = q * (1 + 1e-6)
    assert np.linalg.norm(v.T @ v - np.eye(20), 2) <= orthogonality_defect(v) < 1e-4
    a, b = rng.standard_normal((7, 100)), rng.standard_normal((100, 3))
    c, g = product(a, b)
    exact = (a.astype(np.longdouble) @ b.astype(np.longdouble)).astype(float)
    assert (np.abs(c - exact) <= g * np.abs(a) @ np.abs(b)).all() and g < 40 * 2**-53


def test_an_eigenbasis_bounds_its_own_error():
    rng = np.random.default_rng(0)
    W = rng.standard_normal((30, 30))
    W = W + W.T
    basis = quadric.Eigenbasis.of(W)
    g = rng.standard_normal((5, 30))
    rotated, error = basis.rotate(g)
    np.testing.assert_allclose(basis.unrotate(rotated), g, atol=1e-12)
    assert np.linalg.norm(W - (basis.vectors * basis.values) @ basis.vectors.T, 2) <= basis.error < 1e-10
    assert (error < 1e-11).all() and (error > 0).all()
    noisy = quadric.Eigenbasis(basis.values, basis.vectors * (1 + 1e-9), None, 3e-9, basis.error)
    assert (np.linalg.norm(noisy.rotate(g)[0] - rotated, axis=1) <= noisy.rotate(g)[1]).all()


def problems(n, d, seed=0):
    """Margins, half-slopes, and a diagonal curvature for each row: bowls, saddles, flat ones and the hard case."""
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((n, d)) + np.repeat([-2.0, 0.0, 3.0], -(-n // 3))[:n, None]
    W[::7] = 0
    h = rng.standard_normal((n, d)) * np.exp(rng.standard_normal((n, 1)))
    h[np.arange(0, n, 5), W[::5].argmin(axis=1)] = 0
    return np.exp(2 * rng.standard_normal(n)), h, W


@pytest.mark.parametrize("d", [1, 2, 5, 60])
def test_rows_with_spectra_of_their_own_are_solved_as_one_by_one(d):
    margin, h, W = problems(90, d)
    together = quadric.distance(margin, h, quadric.Spectrum.of_rows(W))
    for n in range(len(margin)):
        order = np.argsort(W[n])
        alone = quadric.distance(margin[n : n + 1], h[n : n + 1, order], quadric.Spectrum.of(W[n, order]))
        np.testing.assert_allclose(together.radius[n], alone.radius[0], rtol=3e-10)
        np.testing.assert_allclose(together.attack[n], alone.attack[0], rtol=3e-10)
    assert (together.radius <= together.attack).all() and np.isinf(together.radius).any()


@pytest.mark.parametrize("d", [2, 5, 60])
def test_attack_points_of_such_rows_lie_on_the_boundary(d):
    margin, h, W = problems(90, d)
    spectrum = quadric.Spectrum.of_rows(W)
    found = quadric.distance(margin, h, spectrum)
    u = quadric.attack_coordinates(margin, h, spectrum, found.s)
    reached = np.isfinite(found.attack)
    left = margin + 2 * (h * u).sum(axis=1) + (W * u * u).sum(axis=1)
    assert (np.abs(left[reached]) <= 1e-9 * (margin + np.abs(h * u).sum(axis=1))[reached]).all() and reached.sum() > 40
    np.testing.assert_allclose(np.linalg.norm(u, axis=1)[reached], found.attack[reached], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e100, 1e150, 1e153])
def test_an_attack_is_never_shorter_than_the_radius_where_squares_overflow(scale):
    rng = np.random.default_rng(0)
    spectrum = quadric.Spectrum.of(np.sort(rng.standard_normal(4)))
    h = scale * rng.standard_normal((50, 4))
    with np.errstate(over="ignore"):
        found = quadric.distance(scale**2 * rng.uniform(0.1, 1, 50), h, spectrum)
    assert (found.radius <= found.attack).all()
    assert (found.attack >= 0.01 * scale).all()
