"""The pieces of a mixture's radius, claim by claim: roots of log-sum-exps, tangents, eigenbases."""

import mpmath as mp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import logsumexp

from skcert.geometry import quadric
from skcert.geometry.mixture import Rival, eigenbases, farthest, mixture_radius
from skcert.geometry.rounding import gamma

mp.mp.dps = 60


# -- farthest ----------------------------------------------------------------------------------------------------------


def overshoot(r, A, B, L, scale):
    return logsumexp(-(A - B * r - L * r * r) / scale)


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("C", [1, 2, 5])
def test_farthest_is_the_root_from_below(C, scale):
    rng = np.random.default_rng(0)
    A = rng.exponential(10, (400, C)) * 10.0 ** rng.integers(-2, 3, (400, 1))
    B, L = (rng.exponential(1, (400, C)) * (rng.random((400, C)) < 0.7) for _ in range(2))
    B[:, 0] += 0.01
    found = farthest(A, B, L, scale)
    zero = np.array([overshoot(0.0, *rows, scale) for rows in zip(A, B, L, strict=True)])
    assert (zero > 0).any() or C == 1
    for n, radius in enumerate(found):
        if zero[n] > -1e-12:
            assert radius < 1e-9 * (1 + A[n].max())
            continue
        root = brentq(overshoot, 0, A[n].max() / B[n, 0] + 1, args=(A[n], B[n], L[n], scale), xtol=1e-300, rtol=1e-14)
        assert radius <= root * (1 + 1e-13)
        assert radius >= root * (1 - 1e-11 - 1e-13 / -zero[n])


def test_farthest_holds_at_every_smaller_radius_in_60_digits():
    rng = np.random.default_rng(1)
    A, B, L = rng.exponential(8, (60, 3)), rng.exponential(1, (60, 3)), rng.exponential(1, (60, 3))
    for a, b, bend, radius in zip(A, B, L, farthest(A, B, L, 2.0), strict=True):
        for share in (0.3, 0.9, 1):
            r = mp.mpf(float(radius)) * share
            total = sum(
                mp.exp(-(mp.mpf(x) - mp.mpf(y) * r - mp.mpf(z) * r * r) / 2) for x, y, z in zip(a, b, bend, strict=True)
            )
            assert total <= 1 or radius == 0


def test_farthest_is_zero_without_a_lead_and_infinite_where_nothing_bends():
    flat = np.zeros((1, 2))
    one = np.ones((1, 2))
    assert farthest(np.array([[5.0, -1.0]]), one, one, 1.0) == 0
    assert farthest(np.array([[0.5, 0.5]]), one, one, 1.0) == 0  # each is behind, their sum is not: 2 exp(-1/2) > 1
    assert farthest(np.array([[0.5, 0.5]]), flat, flat, 1.0) == 0
    assert farthest(np.array([[1.0, 1.0]]), flat, flat, 1.0) == np.inf
    assert farthest(np.array([[np.nan, 1.0]]), one, one, 1.0) == 0
    # a component that stays away for ever does not hide one that comes
    r = farthest(np.array([[100.0, 3.0]]), np.array([[0.0, 1.0]]), flat, 1.0)[0]
    assert 2.999 < r <= 3


def test_two_equal_components_count_as_one_of_twice_the_weight():
    A, B, L = (np.array([[x]]) for x in (7.0, 2.0, 0.5))
    twice = farthest(np.repeat(A, 2, axis=1), np.repeat(B, 2, axis=1), np.repeat(L, 2, axis=1), 1.0)
    np.testing.assert_allclose(twice, farthest(A - np.log(2), B, L, 1.0), rtol=1e-12)
    assert twice < farthest(A, B, L, 1.0)


# -- tangents ----------------------------------------------------------------------------------------------------------


def least(m, h, w, r):
    """min over ||u|| <= r of m + 2 h'u + u'diag(w)u, by the secular equation in 60 digits."""
    m, r = mp.mpf(float(m)), mp.mpf(float(r))
    h, w = ([mp.mpf(float(x)) for x in a] for a in (h, w))
    bottom = min(w)

    def length(s):  # at lambda = s - bottom
        return mp.sqrt(sum((x / (y - bottom + s)) ** 2 for x, y in zip(h, w, strict=True)))

    low = max(bottom, mp.mpf(10) ** -40)
    if length(low) > r:
        high = low + 1
        while length(high) > r:
            high *= 2
        for _ in range(180):
            middle = (low + high) / 2
            low, high = (middle, high) if length(middle) > r else (low, middle)
    s = low
    value = m - sum(x * x / (y - bottom + s) for x, y in zip(h, w, strict=True))
    return value - max(s - bottom, 0) * r * r


def random_rival(rng, n, d, sign):
    values = rng.standard_normal(d) * 3 if sign == 0 else sign * rng.exponential(2, d) + sign * 0.01
    slopes = rng.standard_normal((n, d)) * np.exp(rng.uniform(-3, 3, (n, 1)))
    slopes[: n // 3, values.argmin()] = 0  # the hard case
    return Rival(rng.exponential(5, n), slopes, values, np.zeros(n))


@pytest.mark.parametrize("sign", [-1, 0, 1])
@pytest.mark.parametrize("d", [1, 2, 5])
def test_a_tangent_is_below_the_least_margin_at_every_radius_and_touches_at_its_own(d, sign):
    rng = np.random.default_rng(2)
    rival = random_rival(rng, 12, d, sign)
    at = np.exp(rng.uniform(-3, 2, 12))
    height, bend, _ = rival.tangent(at)
    assert (bend >= 0).all()
    for n in range(12):
        for r in np.append(at[n], np.exp(rng.uniform(-4, 3, 4))):
            true = least(rival.margin[n], rival.slopes[n], rival.values, r)
            bound = mp.mpf(float(height[n])) - mp.mpf(float(bend[n])) * mp.mpf(float(r)) ** 2
            # the rounding of this difference is what farthest takes off
            paid = mp.mpf(gamma(8) * float(abs(height[n]) + bend[n] * r * r))
            assert bound - paid <= true
            if r == at[n] and np.abs(rival.slopes[n][rival.values.argmin()]) > 0.05:
                assert bound >= true - 1e-6 * (abs(true) + rival.margin[n])


def test_a_tangent_is_below_every_point_of_the_ball():
    rng = np.random.default_rng(3)
    rival = random_rival(rng, 20, 3, 0)
    at = np.exp(rng.uniform(-2, 2, 20))
    height, bend, s = rival.tangent(at)
    u = rng.standard_normal((4000, 3))
    u *= (rng.random(4000) ** (1 / 3) / np.linalg.norm(u, axis=1))[:, None]
    for n in range(20):
        for r in (0.5 * at[n], at[n], 3 * at[n]):
            values = rival.margin[n] + 2 * r * u @ rival.slopes[n] + r * r * (u * u) @ rival.values
            assert values.min() >= height[n] - bend[n] * r * r
    # the point it touches lies on the sphere, and its value is the bound
    easy = np.abs(rival.slopes[:, rival.values.argmin()]) > 0.05
    touched = rival.worst(s)
    np.testing.assert_allclose(np.linalg.norm(touched, axis=1)[easy], at[easy], rtol=1e-4)
    value = rival.margin + 2 * (touched * rival.slopes).sum(axis=1) + (touched**2) @ rival.values
    np.testing.assert_allclose(value[easy], (height - bend * at**2)[easy], rtol=1e-4, atol=1e-6)


def test_rows_may_have_values_of_their_own():
    rng = np.random.default_rng(4)
    rival = random_rival(rng, 6, 4, 0)
    rows = Rival(rival.margin, rival.slopes, np.tile(rival.values, (6, 1)), rival.error)
    for ours, theirs in zip(rows.tangent(np.ones(6)), rival.tangent(np.ones(6)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(rows.some([4, 1]).values, rows.values[[4, 1]])


# -- mixture_radius ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [-1, 0, 1])
@pytest.mark.parametrize("d", [1, 2, 6, 40])
def test_one_rival_is_as_far_as_its_quadric(d, sign):
    rng = np.random.default_rng(5)
    rival = random_rival(rng, 60, d, sign)
    order = rival.values.argsort()
    true = quadric.distance(rival.margin, rival.slopes[:, order], quadric.Spectrum.of(rival.values[order]))
    for start in (0.3, 1.0, 3.0):
        radius, nearest, _ = mixture_radius([rival], 2.0, np.full(60, start))
        assert (radius <= true.attack).all() and (nearest == 0).all()
        finite = np.isfinite(true.attack)
        good = radius[finite] > true.radius[finite] * (1 - 1e-8)
        assert good.mean() > 0.9  # the hard case is approached, in as many steps as there are


def test_a_rival_of_several_is_nearer_than_each_and_sound_in_the_ball():
    rng = np.random.default_rng(6)
    rivals = [random_rival(rng, 30, 3, 0) for _ in range(3)]
    for rival in rivals:
        rival.margin[:] += 3
    radius, nearest, _ = mixture_radius(rivals, 1.0, np.ones(30))
    for rival in rivals:
        assert (radius <= mixture_radius([rival], 1.0, np.ones(30))[0] * (1 + 1e-9)).all()
    assert (radius > 0).all() and set(nearest) <= {0, 1, 2}
    # all three share coordinates here: no point of the ball has a sum above 1
    u = rng.standard_normal((3000, 3))
    u /= np.linalg.norm(u, axis=1)[:, None]
    for n in range(30):
        for share in (0.5, 1 - 1e-9):
            y = share * radius[n] * u
            leads = [rival.margin[n] + 2 * y @ rival.slopes[n] + (y * y) @ rival.values for rival in rivals]
            assert logsumexp(-np.array(leads), axis=0).max() <= 0


def test_errors_of_slopes_make_radii_smaller_by_what_they_may_cost():
    rng = np.random.default_rng(7)
    rival = random_rival(rng, 40, 3, -1)
    off = Rival(rival.margin, rival.slopes, rival.values, np.full(40, 0.2))
    radius = mixture_radius([off], 1.0, np.ones(40))[0]
    worse = rival.slopes * (1 + 0.2 / np.linalg.norm(rival.slopes, axis=1, keepdims=True))
    assert (
        radius <= mixture_radius([Rival(rival.margin, worse, rival.values, rival.error)], 1.0, np.ones(40))[0] * (1 + 1e-9)
    ).all()
    assert (radius > 0).all()


def test_what_is_not_a_number_or_not_won_is_not_certified():
    values, slopes = np.array([-1.0, 1.0]), np.ones((3, 2))
    rival = Rival(np.array([np.nan, -1.0, 1.0]), slopes, values, np.zeros(3))
    radius = mixture_radius([rival], 1.0, np.ones(3))[0]
    assert radius[0] == radius[1] == 0 < radius[2]
    assert mixture_radius([rival, Rival(np.array([1.0, 1.0, np.nan]), slopes, values, np.zeros(3))], 1.0, np.ones(3))[0][2] == 0


# -- eigenbases --------------------------------------------------------------------------------------------------------


def polar(V):
    """The orthogonal factor of V, in 60 digits."""
    w, U = mp.eigsy(V.T * V)
    return V * (U * mp.diag([1 / mp.sqrt(x) for x in w]) * U.T)


@pytest.mark.parametrize("spectrum", ["wide", "double", "tiny"])
def test_eigenvalues_are_lowered_by_all_that_may_be_wrong(spectrum):
    rng = np.random.default_rng(8)
    n, d = 6, 4
    q = np.linalg.qr(rng.standard_normal((n, d, d)))[0]
    values = {"wide": [-1e8, -1.0, 1e-6, 1e3], "double": [-1.0, -1.0, 2.0, 2.0], "tiny": [-1e-100, 0.0, 0.0, 1e-100]}[spectrum]
    W = (q * np.array(values)) @ np.swapaxes(q, 1, 2)
    W = (W + np.swapaxes(W, 1, 2)) / 2
    extra = np.array([0, 1e-12, 1e-3] * 2) * np.abs(values).max()
    lowered, V, turn = eigenbases(W, extra)
    for k in range(n):
        E = rng.standard_normal((d, d))
        E = (E + E.T) / np.linalg.norm(E + E.T, 2) * extra[k] * (1 - 1e-9)
        Q = polar(mp.matrix(V[k].tolist()))
        gap = Q.T * (mp.matrix(W[k].tolist()) + mp.matrix(E.tolist())) * Q - mp.diag([mp.mpf(float(x)) for x in lowered[k]])
        gap = (gap + gap.T) / 2
        assert min(mp.eigsy(gap, eigvals_only=True)) >= 0
        for _ in range(5):
            g = rng.standard_normal(d)
            h = np.einsum("d,dk->k", g, V[k])
            off = mp.norm(mp.matrix(h.tolist()) - Q.T * mp.matrix(g.tolist()))
            assert off <= mp.mpf(float(turn[k])) * mp.norm(mp.matrix(g.tolist()))
    # and by little more
    np.testing.assert_allclose(lowered, np.linalg.eigvalsh(W) - extra[:, None], atol=1e-13 * np.abs(values).max())
