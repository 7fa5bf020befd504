"""Classes of several components (theory 1.6): no point inside a radius changes ``predict``, and how close the radius comes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcert import CertifiedGMMClassifier, certify
from skcert.testing import check_certificate
from tests.reference import Mixture, mp

inf = np.inf
make = CertifiedGMMClassifier.from_parameters
NORMS = pytest.mark.parametrize("norm", [1, 2, inf])
KINDS = pytest.mark.parametrize("kind", ["tied", "full", "diag", "spherical"])
TYPES = ("tied", "full", "diag", "spherical")


def covariances_of(rng, kind, C, d, spread=3.0):
    variances = np.exp(rng.uniform(-np.log(spread), np.log(spread), (C, d)))
    if kind in ("diag", "spherical"):
        return variances if kind == "diag" else variances[:, 0]
    q = np.linalg.qr(rng.standard_normal((C, d, d)))[0]
    S = (q * variances[:, None, :]) @ np.swapaxes(q, 1, 2)
    S = (S + np.swapaxes(S, 1, 2)) / 2
    return S[0] if kind == "tied" else S


def as_matrices(covariances, kind, C, d):
    if kind == "tied":
        return np.array([covariances] * C)
    if kind == "full":
        return covariances
    return np.array([np.diag(np.broadcast_to(v, d)) for v in covariances])


def random_mixture(rng, kind, counts, d, apart=2.0, spread=3.0):
    """Means, covariances, priors, classes of components and weights."""
    who = np.repeat(np.arange(len(counts)), counts)
    weights = np.concatenate([rng.dirichlet(np.full(c, 2.0)) for c in counts])
    means = apart * rng.standard_normal((len(who), d))
    return means, covariances_of(rng, kind, len(who), d, spread), rng.dirichlet(np.full(len(counts), 3.0)), who, weights


def made(parameters, kind):
    means, covariances, priors, who, weights = parameters
    return make(means, covariances, priors, components=who, weights=weights, covariance_type=kind)


@st.composite
def mixtures(draw):
    """A mixture of classes that overlap, coincide, or stand apart, of scales from 1e-3 to 1e3, and points among them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind, d = draw(st.sampled_from(TYPES)), draw(st.integers(1, 4))
    counts = draw(st.lists(st.integers(1, 4), min_size=2, max_size=3))
    counts[0] += all(c == 1 for c in counts)
    apart, spread = draw(st.sampled_from([0.0, 0.5, 3.0])), draw(st.sampled_from([1.0, 3.0, 30.0]))
    means, covariances, priors, who, weights = random_mixture(rng, kind, counts, d, apart, spread)
    scale = draw(st.sampled_from([1e-3, 1.0, 1e3]))
    model = made((scale * means, scale**2 * covariances, priors, who, weights), kind)
    Z = scale * (means[rng.integers(0, len(who), 5)] + rng.standard_normal((5, d)) * draw(st.sampled_from([0.3, 2.0, 10.0])))
    return model, Z, rng


def slopes(model, Z, labels):
    """Slopes, by differences, of the lead of these classes over the best other one."""
    d, h = Z.shape[1], 1e-6 * np.sqrt(np.trace(np.cov(model.means_.T).reshape(Z.shape[1], -1)) + np.mean(model.covariances_))
    probes = np.concatenate([Z[:, None] + h * np.eye(d), Z[:, None] - h * np.eye(d)], axis=1)
    logs = model.predict_log_proba(probes.reshape(-1, d)).reshape(len(Z), 2 * d, -1)
    own = np.searchsorted(model.classes_, labels)
    lead = np.take_along_axis(logs, own[:, None, None], 2)[..., 0]
    np.put_along_axis(logs, np.broadcast_to(own[:, None, None], (len(Z), 2 * d, 1)), -inf, 2)
    lead = lead - logs.max(axis=2)
    return np.nan_to_num(lead[:, :d] - lead[:, d:])


def steepest(slope, norm):
    if norm == 1:
        return np.where(np.arange(slope.shape[-1]) == np.abs(slope).argmax(axis=-1)[..., None], -np.sign(slope), 0.0)
    return -np.sign(slope) if norm == inf else -slope


def assert_nothing_changes_inside(model, Z, certificate, rng, scale=None, norm=2):
    """Along the attack, at random, towards every mean, and down the slope from there on."""
    scale = np.ones(Z.shape[1]) if scale is None else scale
    per = np.where(scale > 0, 1 / np.where(scale > 0, scale, 1), 0)
    for n in np.flatnonzero((certificate.radius > 0) & np.isfinite(certificate.radius)):
        z, radius = Z[n], certificate.radius[n]
        v = [*(model.means_ - z) * per, *rng.standard_normal((30, Z.shape[1]))]
        v = np.array([*v, np.nan_to_num(certificate.attack[n] - z) * per]) * (scale > 0)
        for _ in range(3):
            size = np.linalg.norm(v, ord=norm, axis=1)
            v = v[size > 0] / size[size > 0, None]
            if not len(v):
                break
            for share in (1 - 1e-12, 0.999, 0.6):
                moved = z + share * radius * v * scale
                # a step that rounds to beyond the radius proves nothing
                inside = np.linalg.norm((moved - z) * per, ord=norm, axis=1) < radius
                assert not inside.any() or (model.predict(moved[inside]) == certificate.prediction[n]).all()
            at = np.repeat(certificate.prediction[[n]], len(v))
            v = steepest(slopes(model, z + radius * v * scale, at) * scale, norm) * (scale > 0)


@settings(max_examples=60, deadline=None)
@given(mixtures(), st.sampled_from([2, 2, 1, inf]), st.booleans())
def test_no_direction_inside_the_radius_changes_predict(drawn, norm, scaled):
    model, Z, rng = drawn
    scale = rng.choice([0.0, 0.5, 1.0, 2.0], Z.shape[1]) if scaled else None
    certificate = model.certify(Z, norm=norm, feature_scale=scale, return_attack=True)
    assert not np.isnan(certificate.radius).any() and (certificate.radius <= certificate.attack_radius).all()
    if scaled and not scale.any():
        assert np.isin(certificate.radius, [0, inf]).all()
    assert_nothing_changes_inside(model, Z, certificate, rng, scale, norm)
    for n in np.flatnonzero(np.isfinite(certificate.attack).all(axis=1)):
        assert model.predict(certificate.attack[[n]])[0] != certificate.prediction[n]


@NORMS
@KINDS
def test_the_search_breaks_no_certificate(kind, norm):
    rng = np.random.default_rng(0)
    model = made(random_mixture(rng, kind, [2, 3, 1], 4), kind)
    Z = 3 * rng.standard_normal((12, 4))
    certificate = model.certify(Z, norm=norm, return_attack=True)
    assert (certificate.radius > 0).all()
    assert check_certificate(model, Z, certificate, n_directions=32, random_state=0) is None


@KINDS
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("norm", [2, inf])
def test_pipelines_keep_their_label_within_the_radius_in_input_space(kind, dtype, norm):
    rng = np.random.default_rng(1)
    y = np.arange(160) % 2
    centers = 4 * rng.standard_normal((2, 2, 5))
    X = (centers[y, rng.integers(0, 2, 160)] + rng.standard_normal((160, 5)) * np.exp(rng.uniform(-2, 2, 5))).astype(dtype)
    model = CertifiedGMMClassifier(covariance_type=kind, n_components=2, random_state=0)
    pipe = make_pipeline(StandardScaler(), PCA(3), model).fit(X, y)
    assert (pipe[-1].n_components_ == 2).all()
    certificate = certify(pipe, X[:12], norm=norm, return_attack=True)
    assert (certificate.radius > 0).sum() > 8
    # what is folded is the map of the whole pipeline: the radius in the space of the scaler holds there too
    assert check_certificate(pipe, X[:12], certificate, n_directions=32, random_state=0) is None
    inner = certify(pipe, X[:12], norm=norm, space="standardscaler", return_attack=True)
    assert check_certificate(pipe, X[:12], inner, n_directions=32, random_state=0) is None
    assert (certificate.radius <= inner.radius * pipe[0].scale_.max() * (1 + 1e-3)).all()
    found = np.isfinite(certificate.attack).all(axis=1)
    assert found.mean() > 0.8 and (pipe.predict(certificate.attack[found].astype(dtype)) != certificate.prediction[found]).all()


# -- components that are one -------------------------------------------------------------------------------------------


def split(parameters, kind, pieces, rng):
    """Every component as several equal ones, of any weights."""
    means, covariances, priors, who, weights = parameters
    at = np.repeat(np.arange(len(means)), pieces)
    shares = np.concatenate([rng.dirichlet(np.full(n, 0.7)) for n in pieces])
    return means[at], covariances if kind == "tied" else covariances[at], priors, who[at], weights[at] * shares


@KINDS
@pytest.mark.parametrize("pieces", [[3, 1, 1], [1, 2, 4], [2, 3, 2], [1, 1, 5]])
def test_equal_components_have_the_radius_of_the_one_they_are(kind, pieces):
    rng = np.random.default_rng(2)
    for d in (1, 3):
        parameters = random_mixture(rng, kind, [1, 1, 1], d)
        one = make(*parameters[:3], covariance_type=kind).certify(Z := 2 * rng.standard_normal((20, d)))
        many = made(split(parameters, kind, pieces, rng), kind).certify(Z)
        np.testing.assert_array_equal(many.prediction, one.prediction)
        # that one is exact: its attack is no shorter than the distance
        assert (many.radius <= one.attack_radius).all()
        assert (many.radius >= one.radius * (1 - 1e-7)).all()


@pytest.mark.parametrize("kind", ["tied", "full", "diag"])
@pytest.mark.parametrize("condition", [1e3, 1e7, 1e10, 1e12])
def test_equal_components_never_exceed_60_digits(kind, condition):
    rng = np.random.default_rng([3, int(condition)])
    for d in (2, 3, 4):
        means, covariances, priors, who, weights = random_mixture(rng, kind, [1, 1], d)
        if kind == "diag":
            covariances = covariances * np.geomspace(1 / condition, 1, d)
        else:
            turn = np.linalg.qr(rng.standard_normal((d, d)))[0] * np.sqrt(np.geomspace(1 / condition, 1, d))
            covariances = turn.T @ covariances @ turn
            covariances = (covariances + np.swapaxes(covariances, -1, -2)) / 2
        # halves are halves exactly: of 60 digits none is lost in their weights
        pieces = np.array([2, 2])
        at = np.repeat([0, 1], pieces)
        model = made((means[at], covariances if kind == "tied" else covariances[at], priors, at, np.full(4, 0.5)), kind)
        exact = Mixture(means, as_matrices(covariances, kind, 2, d), model.priors_)
        Z = means[[0, 1, 0]] + rng.standard_normal((3, d))
        certificate = model.certify(Z)
        for z, radius, label in zip(Z, certificate.radius, certificate.prediction, strict=True):
            assert radius <= (exact.radius(z) if exact.predict(z) == label else 0)
        if condition < 1e4:
            assert (certificate.radius > 0).all()


@NORMS
@KINDS
def test_a_component_that_weighs_nothing_changes_nothing(kind, norm):
    rng = np.random.default_rng(4)
    means, covariances, priors, who, weights = random_mixture(rng, kind, [1, 1], 3)
    Z = 1.5 * rng.standard_normal((20, 3))
    one = make(means, covariances, priors, covariance_type=kind).certify(Z, norm=norm)
    for owner in (0, 1):
        for weight in (1e-300, 0.0):
            more = np.vstack([means, means[owner] + 1.0])
            wide = covariances if kind == "tied" else np.concatenate([covariances, covariances[[owner]]])
            model = made((more, wide, priors, np.append(who, owner), np.append(weights, weight)), kind)
            radius = model.certify(Z, norm=norm).radius
            if norm == 2 or kind == "tied":
                np.testing.assert_allclose(radius, one.radius, rtol=1e-6)
            else:  # the bounds of curved boundaries in these norms start from another point
                assert (radius <= one.attack_radius).all() and (radius >= 0.9 * one.radius).all()


@NORMS
@KINDS
def test_a_class_with_prior_zero_is_no_rival(kind, norm):
    rng = np.random.default_rng(5)
    means, covariances, _, who, weights = random_mixture(rng, kind, [2, 2, 2], 3)
    Z = 2 * rng.standard_normal((20, 3))
    without = who != 1
    kept = made((means, covariances, np.array([0.4, 0.0, 0.6]), who, weights), kind).certify(Z, norm=norm)
    fewer = covariances if kind == "tied" else covariances[without]
    two = made((means[without], fewer, np.array([0.4, 0.6]), who[without], weights[without]), kind).certify(Z, norm=norm)
    assert 1 not in kept.prediction and 1 not in kept.runner_up
    np.testing.assert_array_equal(kept.prediction, two.prediction)
    np.testing.assert_allclose(kept.radius, two.radius, rtol=1e-7)


# -- tightness ---------------------------------------------------------------------------------------------------------


def nearest_change(model, z, norm, n_angles=720, n_steps=120):
    """Length of the shortest move in the plane that changes predict: along rays, the first change on each by halving."""
    angle = np.linspace(0, 2 * np.pi, n_angles, endpoint=False)
    u = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    u /= np.linalg.norm(u, ord=norm, axis=1)[:, None]
    label = model.predict(z[None])[0]
    reach = np.linspace(0, 12, n_steps + 1)[1:]
    changed = (model.predict((z + reach[:, None, None] * u).reshape(-1, 2)) != label).reshape(n_steps, n_angles)
    some = changed.any(axis=0)
    high = reach[changed.argmax(axis=0)][some]
    low, u = high - reach[0], u[some]
    for _ in range(30):
        middle = (low + high) / 2
        crossed = model.predict(z + middle[:, None] * u) != label
        low, high = np.where(crossed, low, middle), np.where(crossed, middle, high)
    return high.min(initial=inf)


@KINDS
@pytest.mark.parametrize("norm", [2, inf])
def test_in_the_plane_the_radius_is_below_brute_force_and_near_it(kind, norm):
    rng = np.random.default_rng(6)
    shares = []
    for counts in ([2, 2], [1, 3], [2, 2, 2]):
        model = made(random_mixture(rng, kind, counts, 2), kind)
        Z = 2 * rng.standard_normal((4, 2))
        for z, radius in zip(Z, model.certify(Z, norm=norm).radius, strict=True):
            brute = nearest_change(model, z, norm)
            assert radius <= brute
            if np.isfinite(brute):
                shares.append(radius / brute)
    assert len(shares) > 8
    assert np.median(shares) > (0.9 if norm == 2 else 0.7)


@pytest.mark.parametrize("kind", ["tied", "full", "spherical"])
def test_one_nu_for_each_component_would_be_too_large(kind):
    """min_c max_nu r_c(nu) takes nu_c = 1 for every c, as if the rival had that component alone: predict changes inside."""
    rng = np.random.default_rng(7)
    refuted, larger = 0, []
    for _ in range(12):
        d = 2
        means, covariances, priors, who, weights = random_mixture(rng, kind, [1, 3], d, apart=1.0, spread=1.3)
        means[1:] += 2.5
        model = made((means, covariances, priors, who, weights), kind)
        z = means[:1] + 0.3 * rng.standard_normal((1, d))
        ours = model.certify(z, return_attack=True)
        if ours.prediction[0] != 0:
            continue
        alone = []
        for c in (1, 2, 3):
            pair = np.array([priors[0], priors[1] * weights[c]])  # any factor in common cancels
            some = covariances if kind == "tied" else covariances[[0, c]]
            alone.append(make(means[[0, c]], some, pair / pair.sum(), covariance_type=kind).certify(z).radius[0])
        wrong = min(alone)
        u = ours.attack[0] - z[0]
        moved = z + np.linspace(0.5, 1 - 1e-9, 200)[:, None] * wrong * u / np.linalg.norm(u)
        refuted += (model.predict(moved) != 0).any()
        larger.append(wrong / ours.radius[0])
        assert_nothing_changes_inside(model, z, ours, rng)
    assert refuted >= 6 and max(larger) > 1.2


# -- what the answer may depend on -------------------------------------------------------------------------------------


@NORMS
@KINDS
def test_pairwise_is_no_larger_than_exact_and_paper_is_refused(kind, norm):
    rng = np.random.default_rng(8)
    for counts in ([1, 3], [2, 2, 1]):
        model = made(random_mixture(rng, kind, counts, 3), kind)
        Z = 2.5 * rng.standard_normal((8, 3))
        pairwise, exact = (model.certify(Z, norm=norm, method=method) for method in ("pairwise", "exact"))
        if norm == 2 or kind == "tied":  # in the other norms both are bounds of curved boundaries, and neither need win
            assert (pairwise.radius <= exact.radius * (1 + 1e-9)).all()
        assert np.median(exact.radius / pairwise.radius) >= 1 - 1e-9
        assert (pairwise.radius <= exact.attack_radius).all()
        with pytest.raises(ValueError, match="one component per class"):
            model.certify(Z, method="paper")


@NORMS
@KINDS
def test_the_order_of_classes_and_components_does_not_matter(kind, norm):
    rng = np.random.default_rng(9)
    means, covariances, priors, who, weights = random_mixture(rng, kind, [2, 1, 3], 3)
    Z = 2.5 * rng.standard_normal((8, 3))
    plain = made((means, covariances, priors, who, weights), kind).certify(Z, norm=norm)
    order, names = rng.permutation(6), np.array([2, 0, 1])
    turned = covariances if kind == "tied" else covariances[order]
    moved = made((means[order], turned, priors[np.argsort(names)], names[who[order]], weights[order]), kind).certify(
        Z, norm=norm
    )
    np.testing.assert_array_equal(moved.prediction, names[plain.prediction])
    np.testing.assert_allclose(moved.radius, plain.radius, rtol=1e-6)


@pytest.mark.parametrize("kind", ["tied", "full", "spherical"])
def test_rotations_and_shifts_leave_l2_radii_alone(kind):
    rng = np.random.default_rng(10)
    d = 4
    means, covariances, priors, who, weights = random_mixture(rng, kind, [2, 1, 3], d)
    Z = 2.5 * rng.standard_normal((15, d))
    q, shift = np.linalg.qr(rng.standard_normal((d, d)))[0], 10 * rng.standard_normal(d)
    turned = covariances if kind == "spherical" else q @ covariances @ q.T
    turned = turned if kind == "spherical" else (turned + np.swapaxes(turned, -1, -2)) / 2
    plain = made((means, covariances, priors, who, weights), kind).certify(Z)
    moved = made((means @ q.T + shift, turned, priors, who, weights), kind).certify(Z @ q.T + shift)
    np.testing.assert_array_equal(moved.prediction, plain.prediction)
    np.testing.assert_allclose(moved.radius, plain.radius, rtol=1e-7)


@KINDS
def test_probabilities_are_the_posterior_of_the_mixture_that_was_given(kind):
    rng = np.random.default_rng(11)
    means, covariances, priors, who, weights = random_mixture(rng, kind, [2, 1, 3], 3)
    model = made((means, covariances, priors, who, weights), kind)
    Z = 2.5 * rng.standard_normal((30, 3))
    matrices = as_matrices(covariances, kind, 6, 3)
    joint = np.zeros((30, 3))
    for c, k in enumerate(who):
        joint[:, k] += priors[k] * weights[c] * multivariate_normal(means[c], matrices[c]).pdf(Z)
    np.testing.assert_allclose(model.predict_proba(Z), joint / joint.sum(axis=1, keepdims=True), rtol=1e-9, atol=1e-13)
    np.testing.assert_array_equal(model.predict(Z), joint.argmax(axis=1))


def test_on_the_line_the_radius_is_the_distance_to_a_root_of_60_digits():
    """One feature: with a component each side, certified from below and never beyond the first root."""
    model = make(
        [[-3.0], [0.5], [3.0]], [1.0, 0.5, 2.0], components=[1, 0, 1], weights=[0.5, 1, 0.5], covariance_type="spherical"
    )

    def lead(x):
        def density(m, v):
            return mp.exp(-((x - m) ** 2) / (2 * v)) / mp.sqrt(v)

        return density(mp.mpf("0.5"), mp.mpf("0.5")) - (density(-3, 1) + density(3, 2)) / 2

    roots = [mp.findroot(lead, x0) for x0 in (-1.0, 2.0)]
    Z = np.linspace(-0.9, 1.8, 28)[:, None]
    certificate = model.certify(Z)
    assert (certificate.prediction == 0).all()
    for z, radius in zip(Z[:, 0], certificate.radius, strict=True):
        true = min(abs(mp.mpf(float(z)) - root) for root in roots)
        assert true * mp.mpf("0.9") <= radius <= true
