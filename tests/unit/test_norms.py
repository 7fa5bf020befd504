"""Distances in l_1 and l_inf to one quadric: below every point that crosses, above the plain bounds, exact where known."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skcert.geometry import norms
from skcert.geometry.affine import dual_norms
from skcert.geometry.quadric import Eigenbasis, Spectrum, attack_coordinates, closed_form_radius, distance
from skcert.geometry.rounding import fro

NORMS = [1, np.inf]


def radius(norm, *args, **kwargs):
    return (norms.cross_radius if norm == 1 else norms.box_radius)(*args, **kwargs)


def precision(rng, d, condition):
    q = np.linalg.qr(rng.standard_normal((d, d)))[0]
    P = (q * np.geomspace(condition**-0.5, condition**0.5, d)) @ q.T
    return (P + P.T) / 2


def problems(seed, n, d, condition=100.0, kind="difference"):
    """Margins, slopes and curvature as two Gaussians give them, or of a definite sign."""
    rng = np.random.default_rng(seed)
    P, R = precision(rng, d, condition), precision(rng, d, condition)
    x, z = rng.standard_normal(d) / np.sqrt(d), rng.standard_normal((n, d)) / np.sqrt(d)
    m = rng.exponential(size=n) + 0.1
    W = {"difference": R - P, "positive": P, "negative": -P, "none": 0 * P, "thin": np.outer(x, x) - np.outer(P[0], P[0])}[kind]
    return m, (z - x) @ R - z @ P, (W + W.T) / 2


KINDS = ["difference", "positive", "negative", "none", "thin"]


def euclidean(m, g, W):
    """Bounds of the l_2 distance and the l_2 attack."""
    basis = Eigenbasis.of(W)
    h, error = basis.rotate(g)
    spectrum = Spectrum.of(basis.values - basis.error)
    found = distance(m, h, spectrum, slope_error=error)
    return found.radius, basis.unrotate(attack_coordinates(m, h, spectrum, found.s))


def value(m, g, W, u):
    """The margin at rows of u."""
    return m + 2 * u @ g + np.einsum("nd,de,ne->n", u, W, u)


def ball(rng, d, norm, n=4000):
    """Points of length 1: random ones, faces of every dimension, vertices and all sign vectors where they are few."""
    u = rng.standard_normal((n, d)) * (rng.random((n, d)) < rng.random((n, 1)))
    signs = np.array(np.meshgrid(*[[-1.0, 0.0, 1.0]] * d)).reshape(d, -1).T if d <= 5 else rng.choice([-1.0, 1.0], (n, d))
    clipped = np.clip(3 * u, -1, 1)
    u = np.vstack([u, signs, clipped, np.eye(d), -np.eye(d)])
    size = np.linalg.norm(u, ord=norm, axis=1)
    return u[size > 0] / size[size > 0, None]


def crossing(m, g, W, u):
    """Shortest stretch of the rows of u that crosses, in floats."""
    a, b = u @ g, np.einsum("nd,de,ne->n", u, W, u)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = m / (np.sqrt(a * a - b * m) - a)
    return np.where(t > 0, t, np.inf)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [1, 2, 3, 4, 9])
def test_no_point_of_the_ball_crosses(norm, kind, d):
    m, g, W = problems(d, 12, d, kind=kind)
    r = radius(norm, m, g, W)
    a, _ = norms.descent_attack(m, g, W, norm, starts=[euclidean(m, g, W)[1]])
    assert (r > 0).all() and (r <= a).all()
    rays = ball(np.random.default_rng(0), d, norm)
    for k in range(len(m)):
        shortest = crossing(m[k], g[k], W, rays).min()
        assert r[k] <= shortest * (1 + 1e-12)
        if d <= 2 and np.isfinite(shortest):  # dense: the attack is not far from the truth either
            assert a[k] <= shortest * (1 + 1e-9)


@pytest.mark.parametrize("d", [2, 3, 4])
def test_the_box_agrees_with_every_face_of_it(d):
    """On each face of the box the margin is a quadratic: its least value there is at a stationary point of some face."""
    m, g, W = problems(d + 10, 6, d)
    r = norms.box_radius(m, g, W)
    for k in range(6):
        for pattern in np.array(np.meshgrid(*[[-1, 0, 1]] * d)).reshape(d, -1).T:
            free, u = pattern == 0, pattern * r[k]
            if free.any():
                A = W[np.ix_(free, free)]
                try:
                    u[free] = np.linalg.solve(A, -(g[k] + W @ u)[free])
                except np.linalg.LinAlgError:
                    continue
            if np.abs(u).max() <= r[k]:
                assert value(m[k], g[k], W, u[None])[0] >= -1e-12 * m[k]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("d", "share"), [(4, 0.9), (16, 0.85), (40, 0.75)])
def test_the_gap_to_an_attack_is_small(norm, d, share):
    rng = np.random.default_rng(d)
    m, g, W = problems(d, 40, d, 1e2)
    l2, u = euclidean(m, g, W)
    r, a = radius(norm, m, g, W, euclidean=l2), norms.descent_attack(m, g, W, norm, starts=[u, rng.standard_normal(g.shape)])[0]
    assert (r <= a).all() and np.median(r / a) > share


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_never_below_the_plain_bounds(norm, kind):
    d = 7
    m, g, W = problems(3, 50, d, kind=kind)
    l2, _ = euclidean(m, g, W)
    lam, c = np.linalg.eigvalsh(W)[0], dual_norms(g, norm)
    kappa = max(min(lam, 0) * d, -np.abs(W).sum()) if norm == np.inf else max(min(lam, 0), -np.abs(W).max())
    r = radius(norm, m, g, W, euclidean=l2)
    assert (r >= closed_form_radius(m, c, kappa - 1e-12) * (1 - 1e-12)).all()
    assert (r >= l2 / (np.sqrt(d) if norm == np.inf else 1) * (1 - 1e-12)).all()
    if kind == "difference":  # and better than both without being given either
        assert np.median(radius(norm, m, g, W) / np.maximum(closed_form_radius(m, c, kappa), l2 / d**0.5)) > 1.02


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("diagonal", [False, True])
def test_a_flat_boundary_has_the_closed_form(norm, diagonal):
    m, g, W = problems(0, 30, 6, kind="none")
    exact = m / (2 * np.linalg.norm(g, ord=np.inf if norm == 1 else 1, axis=1))
    r = radius(norm, m, g, W.diagonal() if diagonal else W)
    assert (r <= exact).all()
    np.testing.assert_allclose(r, exact, rtol=1e-9)
    a, u = norms.descent_attack(m, g, W.diagonal() if diagonal else W, norm)
    assert (a >= exact).all()
    np.testing.assert_allclose(a, exact, rtol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(u, ord=norm, axis=1), a, rtol=1e-12)


def exact_separable(m, g, w):
    """The root of the separable sum at 50 digits, by bisection on its sorted pieces."""
    with mpmath.workdps(50):
        m, g, w = mpmath.mpf(float(m)), [abs(mpmath.mpf(float(x))) for x in g], [mpmath.mpf(float(x)) for x in w]

        def total(r):
            return m + sum(-a * a / b if b > 0 and b * r > a else r * (b * r - 2 * a) for a, b in zip(g, w, strict=True))

        high = mpmath.mpf(1)
        while total(high) > 0:
            high *= 2
        low = mpmath.mpf(0)
        for _ in range(150):
            middle = (low + high) / 2
            low, high = (middle, high) if total(middle) > 0 else (low, middle)
        return low, total


@pytest.mark.parametrize("scale", [1.0, 1e6])
@pytest.mark.parametrize("kind", ["mixed", "negative", "flat", "partly flat"])
def test_separable_is_the_exact_root(kind, scale):
    rng = np.random.default_rng(1)
    d = 6
    w = {"mixed": rng.standard_normal(d), "negative": -rng.exponential(size=d), "flat": np.zeros(d)}.get(kind, np.eye(d)[0])
    units = np.geomspace(1, scale, d)
    w, g, m = w * units**2, rng.standard_normal((25, d)) * units, rng.exponential(size=25)
    r, (a, u) = norms.separable_radius(m, g, w), norms.separable_attack(m, g, w)
    assert np.abs(u).max(axis=1) == pytest.approx(a, rel=1e-15)
    for k in range(25):
        exact, total = exact_separable(m[k], g[k], w)
        assert r[k] <= exact <= a[k]
        assert r[k] == pytest.approx(float(exact), rel=1e-12) == pytest.approx(a[k], rel=1e-12)
        assert value(m[k], g[k], np.diag(w), u[k][None])[0] == pytest.approx(0, abs=1e-10 * (m[k] + np.abs(g[k] * u[k]).sum()))


def test_the_box_on_a_diagonal_matrix_is_below_the_separable_sum_and_close():
    rng = np.random.default_rng(2)
    w, g, m = rng.standard_normal(8), rng.standard_normal((40, 8)), rng.exponential(size=40)
    exact, full = norms.separable_radius(m, g, w), norms.box_radius(m, g, np.diag(w), n_steps=20)
    assert (norms.box_radius(m, g, w) == exact).all()
    assert (full <= exact * (1 + 1e-13)).all() and np.median(full / exact) > 0.95
    np.testing.assert_allclose(norms.cross_radius(m, g, w), norms.cross_radius(m, g, np.diag(w)))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 5),
    st.sampled_from([1, np.inf]),
    st.sampled_from(KINDS),
    st.floats(0, 12),
    st.floats(0, 6),
    st.sampled_from([0.0, 1e-6, 0.05]),
)
def test_sound_for_every_problem_within_the_errors(seed, d, norm, kind, condition, units, error):
    rng = np.random.default_rng(seed)
    m, g, W = problems(seed, 4, d, 10**condition, kind)
    s = 10 ** rng.uniform(-units / 2, units / 2, d)
    g, W = g * s, W * s * s[:, None]
    W = (W + W.T) / 2
    slope_error, curvature_error = error * np.linalg.norm(g, axis=1), error * fro(W)
    r = radius(norm, m, g, W, slope_error=slope_error, curvature_error=curvature_error)
    diagonal = norms.separable_radius(m, g, W.diagonal(), slope_error=slope_error, curvature_error=curvature_error)
    assert (r <= radius(norm, m, g, W) * (1 + 1e-9)).all() or norm == 1  # fewer errors, more radius; l_1 is a heuristic climb
    for _ in range(2):
        E, e = rng.standard_normal((d, d)), rng.standard_normal(g.shape)
        E = (E + E.T) / 2
        E *= -curvature_error / np.linalg.norm(E, 2) * 0.999 * rng.choice([-1, 1])
        true_g = g + e / np.linalg.norm(e, axis=1)[:, None] * (slope_error * 0.999)[:, None]
        true_m = m * rng.uniform(1, 1.1, 4)
        _, u = euclidean(true_m, true_g, W + E)
        a, point = norms.descent_attack(true_m, true_g, W + E, norm, starts=[u], n_steps=6)
        assert (r <= a).all()
        b, _ = norms.descent_attack(true_m, true_g, np.diag(W.diagonal()) + E, np.inf, n_steps=4)
        assert (diagonal <= b).all()
        found = np.isfinite(a)
        if found.any():  # and the attack is one: for the worst errors of its own, too
            size = np.abs(true_g * point).sum(axis=1) + np.einsum("nd,de,ne->n", np.abs(point), np.abs(W + E), np.abs(point))
            at = np.array([value(true_m[k], true_g[k], W + E, point[k][None])[0] for k in np.flatnonzero(found)])
            assert (at <= 1e-14 * (true_m + size)[found]).all()
    worst, _ = norms.descent_attack(m, g, W, norm, slope_error=slope_error, curvature_error=curvature_error, n_steps=4)
    assert (worst >= r).all()


@pytest.mark.parametrize("norm", NORMS)
def test_errors_push_towards_the_ball(norm):
    """The worst error is aligned with the attack: the radius must be below the attack on the problem it makes."""
    m, g, W = problems(5, 12, 6)
    error, bend = 0.2 * np.linalg.norm(g, axis=1), 0.2 * np.linalg.norm(W, 2)
    _, u = norms.descent_attack(m, g, W, norm)
    v = u / np.linalg.norm(u, axis=1)[:, None]
    clean, r = radius(norm, m, g, W), radius(norm, m, g, W, slope_error=error, curvature_error=bend)
    for k in range(12):
        worse = g[k : k + 1] - error[k] * v[k], W - bend * np.outer(v[k], v[k])
        assert r[k] <= norms.descent_attack(m[k : k + 1], *worse, norm)[0][0] and r[k] < clean[k]


def test_errors_push_a_separable_sum_towards_the_ball():
    m, g, W = problems(5, 12, 6)
    w, error, bend = W.diagonal().copy(), 0.2 * np.linalg.norm(g, axis=1), 0.2 * np.linalg.norm(W, 2)
    r = norms.separable_radius(m, g, w, slope_error=error, curvature_error=bend)
    a, u = norms.separable_attack(m, g, w)
    raised = norms.separable_attack(m, g, w, slope_error=error, curvature_error=bend)[0]
    assert (raised > a).all() and (raised < np.inf).any()
    for k in range(12):
        v = u[k] / np.linalg.norm(u[k])
        worse = g[k : k + 1] - error[k] * v, np.diag(w) - bend * np.outer(v, v)
        assert r[k] <= norms.descent_attack(m[k : k + 1], *worse, np.inf)[0][0]
    flat = norms.separable_radius(np.ones(1), np.ones((1, 9)), np.zeros(9), slope_error=1.0)[0]
    assert flat <= 1 / 24 and flat == pytest.approx(1 / 24)  # e = (1, ..., 1) / 3
    bent = norms.separable_radius(np.ones(1), np.zeros((1, 9)), -np.ones(9), curvature_error=3.0)[0]
    assert bent <= 1 / 6 and bent == pytest.approx(1 / 6)  # W = -I - 3 vv', v = (1, ..., 1) / 3


@pytest.mark.parametrize("norm", [1, 2, np.inf])
def test_an_attack_crosses_whatever_the_errors(norm):
    m, g, W = problems(6, 40, 6)
    error, bend = 0.05 * np.linalg.norm(g, axis=1), 0.05 * np.linalg.norm(W, 2)
    a, u = norms.descent_attack(m, g, W, norm, slope_error=error, curvature_error=bend)
    assert np.isfinite(a).mean() > 0.5
    for k in np.flatnonzero(np.isfinite(a)):
        size = np.linalg.norm(u[k])
        assert value(m[k], g[k], W, u[k][None])[0] + 2 * error[k] * size + bend * size**2 <= 1e-14 * m[k]


@pytest.mark.parametrize("norm", NORMS)
def test_infinite_exactly_where_the_boundary_is_out_of_reach(norm):
    m, g, W = problems(0, 40, 5, kind="positive")
    depth = np.einsum("nd,de,ne->n", g, np.linalg.inv(W), g)
    m = depth * np.where(np.arange(40) % 2, 0.99, 1.01)
    r = radius(norm, m, g, W)
    assert np.isinf(r[::2]).all() and np.isfinite(r[1::2]).all()
    assert np.isfinite(norms.descent_attack(m, g, W, norm)[0][1::2]).all()
    assert np.isinf(norms.descent_attack(m, g, W, norm)[0][::2]).all()
    assert np.isfinite(radius(norm, m, g, W, slope_error=np.sqrt(depth))).all()
    assert np.isfinite(radius(norm, m, g, W, curvature_error=float(np.linalg.eigvalsh(W)[0]))).all()
    w = np.full(5, 2.0)
    m = (g * g / w).sum(axis=1) * np.where(np.arange(40) % 2, 0.99, 1.01)
    assert (np.isinf(norms.separable_radius(m, g, w)) == (np.arange(40) % 2 == 0)).all()
    assert (np.isinf(norms.separable_attack(m, g, w)[0]) == (np.arange(40) % 2 == 0)).all()


@pytest.mark.parametrize("solve", [norms.separable_radius, norms.box_radius, norms.cross_radius])
@pytest.mark.parametrize("diagonal", [True, False])
def test_what_is_not_won_or_not_a_number_has_radius_zero(solve, diagonal):
    g, W = np.ones((5, 3)), np.array([1.0, -1.0, 0.5])
    g[3, 1] = np.nan
    if not diagonal and solve is not norms.separable_radius:
        W = np.diag(W)
    m = np.array([0.0, -1.0, np.nan, 1.0, 1.0])
    error = np.array([0, 0, 0, 0, np.nan])
    assert (solve(m, g, W, slope_error=error) == 0).all()
    assert solve(m[:0], g[:0], W).shape == (0,)
    assert (solve(np.ones(5), np.ones((5, 3)), W) > 0).all()
    lengths, points = norms.separable_attack(m, g, np.array([1.0, -1.0, 0.5]), slope_error=error)
    assert np.isinf(lengths[2:]).all() and np.isnan(points[2:]).all()


@pytest.mark.parametrize("norm", [1, 2, np.inf])
def test_an_attack_lies_across_and_in_two_norms_meets_the_exact_distance(norm):
    m, g, W = problems(8, 30, 10)
    l2, _ = euclidean(m, g, W)
    a, u = norms.descent_attack(m, g, W, norm)
    assert np.isfinite(a).all()
    np.testing.assert_allclose(np.linalg.norm(u, ord=norm, axis=1), a, rtol=1e-12)
    for k in range(30):  # in rational arithmetic: across, not merely almost
        x = [Fraction(float(t)) for t in u[k]]
        Wx = [sum(Fraction(float(W[i, j])) * x[j] for j in range(10)) for i in range(10)]
        assert Fraction(float(m[k])) + sum(t * (2 * Fraction(float(b)) + q) for t, b, q in zip(x, g[k], Wx, strict=True)) < 0
    if norm == 2:
        assert (a >= l2).all() and np.median(a / l2) < 1 + 1e-6


def test_a_matrix_without_a_proof_of_definiteness_certifies_nothing():
    M = np.array([np.diag([1.0, -1e-12, 1.0]), np.diag([1.0, 1e-9, 1e6]), np.ones((3, 3)), np.eye(3) * np.nan])
    s, low = norms._floor(M)
    assert (low[[0, 2, 3]] == 0).all() and low[1] > 0
    assert low[1] <= np.linalg.eigvalsh(M[1] * s[1] * s[1][:, None])[0]
    c, y = np.ones((4, 3)), 1 / M.diagonal(axis1=1, axis2=2)
    with np.errstate(all="ignore"):
        left = norms._remainder(np.full(4, 1e12), c, y, np.einsum("nde,ne->nd", M, y), np.abs(c), s, low)
    assert (left[[0, 2, 3]] == 0).all() and 0 < left[1] <= 1e12 - (1 + 1e9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.floats(0, 10))
def test_the_remainder_is_below_whatever_y_is(seed, d, condition):
    rng = np.random.default_rng(seed)
    M = precision(rng, d, 10**condition)
    c = rng.standard_normal((6, d))
    y = np.linalg.solve(M, c.T).T
    y[3:] *= 1 + 0.1 * rng.standard_normal((3, d))
    s, low = norms._floor(M[None])
    with np.errstate(all="ignore"):
        left = norms._remainder(np.full(6, 1e12), c, y, y @ M, np.abs(y) @ np.abs(M), s, low)
    rough = norms._remainder(np.full(6, 1e3), c, 0.9 * c, 0.9 * c, 0.9 * np.abs(c), np.ones(d), np.full(6, 0.5))
    assert (rough <= 1e3 - (c * c).sum(axis=1)).all() and (rough > 0).all()  # M = I, y = 0.9 c
    with mpmath.workdps(60):
        for k in range(6):
            x = mpmath.matrix(c[k].tolist())
            q = (x.T * mpmath.lu_solve(mpmath.matrix(M.tolist()), x))[0]
            assert left[k] <= max(1e12 - q, 0)
            assert low[0] == 0 or k >= 3 or left[k] >= (1e12 - q) * (1 - mpmath.mpf(1e-3)) or condition > 6
