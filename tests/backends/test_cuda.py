"""Radii of the GPU's kernels: those of the CPU, and as safe.

The claims run on the kernels' own source, compiled for the CPU with and without FMA, behind a stand-in for CuPy; and on a GPU
where there is one.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skcert import CertifiedGMMClassifier
from skcert.backends import cuda
from skcert.backends.cuda import quadratic, streaming
from skcert.backends.cuda.comparison import AGREEMENT
from skcert.boundaries import AffineBoundary, LinearMixtureBoundary, QuadraticBoundary, QuadraticMixtureBoundary
from skcert.discriminants import Affine, LogSumExp, Quadratic
from skcert.perturbations import AffineStep
from tests.backends.simulated import cupy_on_cpu
from tests.reference import Mixture

GOLDEN = json.loads((Path(__file__).parents[1] / "oracle" / "radii.json").read_text())["cases"]
#: the rest is rounding
AGREE = 1.05 * AGREEMENT
NAMES = ("winner", "runner_up", "radius", "attack_radius")
pytestmark = pytest.mark.filterwarnings("error:GPU .* contradicts the CPU")


def _real_cupy():
    try:
        return cuda.require()
    except (ImportError, RuntimeError) as error:
        pytest.skip(str(error))


GPU = pytest.param("GPU", marks=pytest.mark.gpu)


@pytest.fixture(params=["simulated", "simulated with FMA", GPU])
def cupy(request, kernels, monkeypatch):
    """CuPy, or what stands in for it; chunks are small so that every call has several."""
    return _cupy(request.param, kernels, monkeypatch)


@pytest.fixture(params=["simulated", GPU])
def slow_cupy(request, kernels, monkeypatch):
    """The same for what takes long without a GPU."""
    return _cupy(request.param, kernels, monkeypatch)


def _cupy(kind, kernels, monkeypatch):
    if kind == "GPU":
        module = _real_cupy()
    else:
        if shutil.which("g++") is None:
            pytest.skip("no g++ to compile the kernels for the CPU")
        flags = ("-mfma", "-ffp-contract=fast") if "FMA" in kind else ("-ffp-contract=off",)
        if "-mfma" in flags and " fma " not in Path("/proc/cpuinfo").read_text():
            pytest.skip("this CPU has no FMA")
        module = _stand_in(kernels, flags)
        monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(streaming, "CHUNK", 8 * 12 * 1000)
    monkeypatch.setattr(quadratic, "PRODUCTS", 16 * 4 * 1000)
    return module


_MODULES: dict = {}


def _stand_in(folder, flags):
    if flags not in _MODULES:
        _MODULES[flags] = cupy_on_cpu(folder, flags)
    return _MODULES[flags]


def agree(found, expected, tolerance=AGREE):
    """Same classes; same radii and attacks, infinities and zeros in the same places."""
    for name in NAMES[:2]:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    for name in NAMES[2:]:
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert ours.dtype == float and not np.isnan(ours).any()
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=0, err_msg=name)
    assert (found.radius <= expected.attack_radius).all()
    assert (found.attack_radius >= expected.radius).all()


# -- linear scores -----------------------------------------------------------------------------------------------------


def linear(seed, K, d):
    """Some slopes are equal, one class is dropped where there are enough."""
    rng = np.random.default_rng([seed, K, d])
    coef, intercept = rng.standard_normal((K, d)), rng.standard_normal(K)
    if K > 3:
        coef[2], intercept[1] = coef[0], -np.inf
    return Affine.exact(coef, intercept), rng.standard_normal((61, d)) * 3


@pytest.mark.parametrize("norm", [1, 2, np.inf])
@pytest.mark.parametrize("K, d", [(2, 1), (3, 7), (12, 70), (40, 33), (70, 5)])
def test_linear_radii_are_those_of_the_cpu(cupy, K, d, norm):
    rule, X = linear(0, K, d)
    boundary = AffineBoundary(rule, None, None, norm)
    for points in (X, X.astype(np.float32), X[:, ::-1], X.astype(np.float16)):
        agree(cuda.nearest(boundary, points, method="exact"), boundary.nearest(points))


def test_linear_radii_through_steps_and_scales_are_those_of_the_cpu(cupy):
    rule, _ = linear(1, 5, 4)
    rng = np.random.default_rng(0)
    fold = AffineStep(rng.standard_normal(9), rng.standard_normal((4, 9)), rng.standard_normal(4), np.zeros(9), 0.0)
    X = rng.standard_normal((30, 9))
    for scale in (None, rng.uniform(0, 2, 9), np.zeros(9)):
        boundary = AffineBoundary(rule, fold, scale, 2)
        for points in (X, X.astype(np.float32)):
            agree(cuda.nearest(boundary, points, method="exact"), boundary.nearest(points))


@pytest.mark.parametrize("K", [2, 3, 33, 1100])
def test_many_classes_and_ties_of_linear_scores_are_those_of_the_cpu(cupy, K):
    rng = np.random.default_rng(K)
    coef = rng.integers(-1, 2, (K, 2)).astype(float)  # many are equal, and so are many scores
    boundary = AffineBoundary(Affine.exact(coef, np.zeros(K)), None, None, 2)
    X = rng.integers(-2, 3, (20, 2)).astype(float)
    X[0] = 0
    agree(cuda.nearest(boundary, X, method="exact"), boundary.nearest(X))


def test_where_nothing_can_move_only_a_tie_is_unsafe(cupy):
    rule = Affine.exact([[1.0, 0], [-1, 0], [0, 0]], [0.0, 0, -1])
    boundary, X = AffineBoundary(rule, None, np.zeros(2), 2), np.array([[0.0, 3], [1, 0], [-2, 0]])
    found = cuda.nearest(boundary, X, method="exact")
    agree(found, boundary.nearest(X))
    assert found.radius.tolist() == [0, np.inf, np.inf]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("size", [1e150, 1e305, 1e308])
def test_linear_scores_that_overflow_certify_what_the_cpu_does(cupy, size):
    boundary = AffineBoundary(Affine.exact([[1.0, 2], [-2, 1], [3, -3]], [0.0, 1, 2]), None, None, 2)
    X = np.random.default_rng(0).standard_normal((40, 2)) * size
    X = X[np.isfinite(X).all(axis=1)]
    agree(cuda.nearest(boundary, X, method="exact"), boundary.nearest(X))


# -- Gaussian scores ---------------------------------------------------------------------------------------------------


def random_mixture(seed, K, d, diagonal):
    rng = np.random.default_rng([seed, K, d])
    if diagonal:
        covariances = np.exp(rng.standard_normal((K, d)))
    else:
        A = rng.standard_normal((K, d, d + 3))
        covariances = A @ A.swapaxes(1, 2) / d + 0.2 * np.eye(d)
    priors = rng.dirichlet(np.full(K, 3.0))
    if K > 3:
        priors[1] = 0
    means = rng.standard_normal((K, d))
    points = np.vstack([rng.standard_normal((21, d)) * 2, means, (means[:1] + means[-1:]) / 2])
    return rule_of(means, covariances, priors / priors.sum()), points


def rule_of(means, covariances, priors=None) -> Quadratic:
    covariances = np.asarray(covariances, dtype=float)
    kind = "diag" if covariances.ndim == 2 else "full"
    return CertifiedGMMClassifier.from_parameters(means, covariances, priors, covariance_type=kind)._discriminant


SHAPES = [(2, 1), (2, 2), (3, 7), (5, 33), (12, 70)]


@pytest.mark.parametrize("method", ["pairwise", "exact"])
@pytest.mark.parametrize("diagonal", [False, True], ids=["full", "diagonal"])
@pytest.mark.parametrize("K, d", SHAPES)
def test_gaussian_radii_are_those_of_the_cpu(cupy, K, d, diagonal, method):
    rule, X = random_mixture(0, K, d, diagonal)
    for points in (X, X.astype(np.float32)):
        boundary = QuadraticBoundary(rule)
        expected = QuadraticBoundary(rule).nearest(points, method=method)
        agree(cuda.nearest(boundary, points, method=method), expected)
        agree(cuda.nearest(boundary, points, method=method), expected)  # what the first call taught changes nothing


@pytest.mark.parametrize("d", [513, 800, 1100])
@pytest.mark.parametrize("diagonal", [False, True], ids=["full", "diagonal"])
def test_rows_of_any_length_are_solved(slow_cupy, d, diagonal):
    rule, X = random_mixture(0, 3, d, diagonal)
    boundary = QuadraticBoundary(rule)
    agree(cuda.nearest(boundary, X[:5], method="exact"), QuadraticBoundary(rule).nearest(X[:5], method="exact"), 2e-10)


def awkward():
    """Name, rule and points of problems in which something is special."""
    ring = np.exp(2j * np.pi * np.arange(16) / 16)
    around = np.column_stack([ring.real, ring.imag])
    origin = np.zeros((2, 2))
    axes = np.vstack([np.zeros(2), np.eye(2), -np.eye(2), 0.3 * np.eye(2), 3 * around])
    yield "the hard case", rule_of(origin, [[1.0, 1], [4, 2]]), axes
    yield "the hard case, turned", rule_of(origin, [np.eye(2), [[3.0, 1], [1, 3]]]), np.vstack([axes, around])
    yield "a rival in a bowl", rule_of(origin + [[0], [4]], [[1.0, 1], [0.01, 0.02]], [0.5, 0.5]), axes
    yield "a rival out of reach", rule_of(origin + [[0], [4]], [[1.0, 1], [0.5, 0.5]], [1 - 1e-12, 1e-12]), axes
    steep = [[1.0, 1], [1 / 1.1, 1 / 101]]
    yield "a rival out of reach along its steep axis", rule_of(origin, steep, [1 - 1e-6, 1e-6]), axes + [0, 0.5]
    flat = [[1.0, 1], [0.5, 0.5], [0.6, 0.5]]
    yield "nobody in reach", rule_of(np.zeros((3, 2)), flat, [1 - 1e-9, 1e-12, 1e-9 - 1e-12]), axes
    yield "equal covariances", rule_of([[0.0, 0], [2, 0], [0, 3]], [[1.0, 2]] * 3), axes
    yield "equal covariances, full", rule_of([[0.0, 0], [2, 0], [0, 3]], [[[2.0, 1], [1, 2]]] * 3), axes
    yield "one mean, equal scores", rule_of(origin, [[1.0, 1], [1, 1]]), axes
    yield "some features alike", rule_of([[0.0] * 4, [1.0, 0, 2, 0]], [[1.0, 2, 3, 4], [1, 2, 1, 4]]), np.eye(4)
    yield "far away", rule_of([[0.0, 0], [2, 0]], [[1.0, 2], [3, 1]]), axes * 1e6
    yield "on the boundary", rule_of([[-1.0, 0], [1, 0]], [[1.0, 1], [1, 1]]), np.array([[0.0, 0], [0, 5], [0, -1e-30]])


@pytest.mark.parametrize("method", ["pairwise", "exact"])
@pytest.mark.parametrize("rule, X", [pytest.param(*case, id=name) for name, *case in awkward()])
def test_awkward_problems_are_solved_as_on_the_cpu(cupy, rule, X, method):
    found = cuda.nearest(QuadraticBoundary(rule), np.vstack([X, X]), method=method)
    agree(found, QuadraticBoundary(rule).nearest(np.vstack([X, X]), method=method))


@pytest.mark.parametrize("method", ["pairwise", "exact"])
@pytest.mark.parametrize("diagonal", [False, True], ids=["full", "diagonal"])
@pytest.mark.parametrize("size", [1e-150, 1e70, 1e150, 1e160, 1e300])
def test_radii_of_points_of_any_size_are_safe(cupy, size, diagonal, method):
    rng = np.random.default_rng(3)
    means, variances, Z = rng.standard_normal((3, 2)), np.exp(rng.standard_normal((3, 2))), rng.standard_normal((5, 2)) * size
    covariances = [np.diag(v) for v in variances]
    rule, exact = rule_of(means, variances if diagonal else covariances), Mixture(means, covariances, np.full(3, 1 / 3))
    found = cuda.nearest(QuadraticBoundary(rule), Z, method=method)
    np.testing.assert_array_equal(found.winner, rule.winners(Z))
    for z, radius, attack in zip(Z, found.radius, found.attack_radius, strict=True):
        assert radius <= exact.radius(z) <= attack
    assert size > 1e150 or (found.radius > 0).all()


def test_one_score_that_is_not_a_number_leaves_the_class_to_the_cpu(cupy):
    narrow = np.array([[1.0, -1.0], [-1.0, 1.0]]) * 5e8 + 5e-4  # hardly anything along the diagonal
    rule = Quadratic.exact(np.zeros((2, 2)), [0.1 * np.eye(2), narrow], np.zeros(2))
    X = np.array([[1e153, 1e153 * (1 + 1e-6)], [1.0, 2.0]])
    with np.errstate(all="ignore"):
        assert np.isfinite(rule.scores(X)[0, 0]) and np.isnan(rule.scores(X)[0, 1]) and rule.winners(X)[0] == 1
    for method in ("pairwise", "exact"):
        found = cuda.nearest(QuadraticBoundary(rule), X, method=method)
        assert found.winner.tolist() == [1, 0] and found.runner_up.tolist() == [0, 1]
        assert found.radius[0] == 0 < found.radius[1]


@pytest.mark.parametrize("case", GOLDEN, ids=[f"{n}-{c['kind']}" for n, c in enumerate(GOLDEN)])
def test_radii_are_the_golden_ones_from_below(cupy, case):
    rules = [rule_of(case["means"], case["covariances"], case["priors"])]
    if case["kind"] in ("diag", "spherical"):
        rules.append(rule_of(case["means"], [np.diag(S) for S in case["covariances"]], case["priors"]))
    for rule in rules:
        boundary = QuadraticBoundary(rule)
        for method in ("exact", "pairwise"):
            if not cuda.supports(boundary, method):
                assert len(boundary.classes) == 1
                continue
            exact = float(case[f"radius_{method}"])
            found = cuda.nearest(boundary, np.array([case["z"]], dtype=float), method=method)
            assert found.winner[0] == case["predicted"]
            if not math.isfinite(exact) or exact == 0:
                assert found.radius[0] == exact
                continue
            assert exact * (1 - 1e-8) <= found.radius[0] <= exact * (1 + 2**-52)
            if method == "exact":
                assert exact * (1 - 2**-52) <= found.attack_radius[0] <= exact * (1 + 1e-6)


@pytest.mark.parametrize("condition", [1e6, 1e9])
@pytest.mark.parametrize("diagonal", [False, True], ids=["full", "diagonal"])
def test_ill_conditioned_radii_stay_below_60_digits(cupy, condition, diagonal):
    for seed in range(6):
        rng = np.random.default_rng([seed, int(condition)])
        d = int(rng.integers(2, 5))
        variances = np.geomspace(1, condition, d) * rng.lognormal(size=(3, 1))
        turns = [np.eye(d) if diagonal else np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(3)]
        covariances = [(q * v) @ q.T for q, v in zip(turns, variances, strict=True)]
        covariances = [(S + S.T) / 2 for S in covariances]
        means, Z = rng.standard_normal((3, d)) * 2, rng.standard_normal((2, d)) * 3
        rule = rule_of(means, variances if diagonal else covariances)
        exact = Mixture(means, [np.diag(v) for v in variances] if diagonal else covariances, np.full(3, 1 / 3))
        for method in ("exact", "pairwise"):
            found = cuda.nearest(QuadraticBoundary(rule), Z, method=method)
            for z, radius, attack in zip(Z, found.radius, found.attack_radius, strict=True):
                assert radius <= exact.radius(z) <= attack
            assert (found.radius > 0).any() or condition > 1e8


def test_subnormal_float32_points_are_what_they_are(cupy):
    X = (np.arange(-4, 5, dtype=np.float32) * np.float32(3e-40))[:, None]
    assert (np.abs(X) < np.finfo(np.float32).tiny).all()
    line = AffineBoundary(Affine.exact([[1e30], [-1e30]], [0.0, 1e-9]), None, None, 2)
    agree(cuda.nearest(line, X, method="exact"), line.nearest(X))
    for variances in ([[1e-76], [4e-76]], [[[1e-76]], [[4e-76]]]):
        boundary = QuadraticBoundary(rule_of([[0.0], [1e-39]], variances))
        agree(cuda.nearest(boundary, X, method="exact"), boundary.nearest(X, method="exact"))


# -- several components ------------------------------------------------------------------------------------------------


def components(seed, K, d, diagonal, more=None):
    """Classes of a few components in any order; some component is dropped, and some class where there are enough."""
    rng = np.random.default_rng([seed, K, d])
    labels = rng.permutation(np.concatenate([np.arange(K), rng.integers(0, K, K + 1 if more is None else more)]))
    rule, X = random_mixture(seed, len(labels), d, diagonal)
    if K > 3:
        rule = replace(rule, constants=np.where(labels == 2, -np.inf, rule.constants))
    return LogSumExp(rule, labels), X


@pytest.mark.parametrize(
    "K, d, more, diagonal",
    [(*sizes, None, diagonal) for sizes in [(2, 1), (2, 3), (3, 7), (5, 33)] for diagonal in (False, True)]
    + [(2, 2, 34, True)],
)
def test_radii_between_classes_of_several_components_are_those_of_the_cpu(slow_cupy, K, d, more, diagonal):
    mixture, X = components(0, K, d, diagonal, more)
    X = np.vstack([X[:12], mixture.components.means[:6]])
    for points in (X, X.astype(np.float32)) if more is None else (X[10:13],):  # many components take long without a GPU
        boundary = QuadraticMixtureBoundary(mixture)
        found, expected = cuda.nearest(boundary, points, method="pairwise"), boundary.nearest(points, method="pairwise")
        np.testing.assert_array_equal(found.winner, expected.winner)
        np.testing.assert_array_equal(found.runner_up, expected.runner_up)
        np.testing.assert_allclose(found.radius, expected.radius, rtol=AGREE)
        assert (found.radius > 0).any() and np.isinf(found.attack_radius).all()


def awkward_mixtures():
    """Name, rule and points of problems in which something is special."""
    X = np.random.default_rng(0).standard_normal((40, 2)) * 3
    means, wide, small = [[0.0, 3], [3, 0], [0, 0], [1, 0]], [[1.0, 1], [2, 2]], [[0.01, 0.02], [0.02, 0.01]]
    bowls = LogSumExp(rule_of(means, small + wide), np.array([0, 0, 1, 1]))
    yield "bowls", bowls, X
    yield "scores that overflow", bowls, np.vstack([X[:3] * 1e200, X[:3]])
    rare = rule_of(np.zeros((4, 2)), [[1.0, 1], [0.5, 0.5], [0.6, 0.5], [0.6, 0.6]], [1 - 1e-9, 1e-13, 1e-12, 1e-9])
    yield "nobody in reach", LogSumExp(rare, np.array([0, 1, 1, 2])), X / 3
    yield "far away", LogSumExp(rule_of(means, [[1.0, 2]] * 4), np.array([0, 1, 1, 0])), X * 1e7


@pytest.mark.parametrize("mixture, X", [pytest.param(*case, id=name) for name, *case in awkward_mixtures()])
def test_awkward_classes_of_several_components_are_as_on_the_cpu(cupy, mixture, X):
    boundary = QuadraticMixtureBoundary(mixture)
    with np.errstate(all="ignore"):
        found, expected = cuda.nearest(boundary, X, method="pairwise"), boundary.nearest(X, method="pairwise")
    np.testing.assert_array_equal(found.winner, expected.winner)
    np.testing.assert_array_equal(found.runner_up, expected.runner_up)
    np.testing.assert_allclose(found.radius, expected.radius, rtol=AGREE)


# -- chunks, places, memory --------------------------------------------------------------------------------------------


def boundaries():
    rule, X = linear(2, 6, 8)
    yield "affine", AffineBoundary(rule, None, None, 2), X, "exact"
    for diagonal in (False, True):
        rule, X = random_mixture(4, 6, 8, diagonal)
        for method in ("pairwise", "exact"):
            yield f"{'diagonal' if diagonal else 'full'}, {method}", QuadraticBoundary(rule), X, method
        mixture, X = components(4, 3, 8, diagonal)
        yield f"{'diagonal' if diagonal else 'full'} components", QuadraticMixtureBoundary(mixture), X, "pairwise"


CASES = [pytest.param(*case, id=name) for name, *case in boundaries()]


@pytest.mark.parametrize("boundary, X, method", CASES)
def test_neither_order_nor_chunks_nor_company_change_a_radius(cupy, boundary, X, method, monkeypatch):
    whole = cuda.nearest(boundary, X, method=method)
    order = np.random.default_rng(0).permutation(len(X))
    turned = cuda.nearest(boundary, X[order], method=method)
    monkeypatch.setattr(streaming, "PIECE", 1)
    pieces = cuda.nearest(boundary, X, method=method)
    monkeypatch.setattr(streaming, "CHUNK", 1)
    monkeypatch.setattr(quadratic, "PRODUCTS", 1)
    alone = cuda.nearest(boundary, X, method=method)
    for name in NAMES:
        for other in (getattr(turned, name), getattr(pieces, name)[order], getattr(alone, name)[order]):
            np.testing.assert_allclose(other, getattr(whole, name)[order], rtol=AGREE)


@pytest.mark.parametrize("boundary, X, method", CASES)
def test_arrays_on_the_device_are_answered_there(slow_cupy, boundary, X, method):
    for points in (X, X.astype(np.float32), X.astype(np.float16)):
        there, here = (cuda.nearest(boundary, x, method=method) for x in (slow_cupy.asarray(points), points))
        for name in NAMES:
            value = getattr(there, name)
            assert isinstance(value, slow_cupy.ndarray)
            np.testing.assert_allclose(value.get(), getattr(here, name), rtol=AGREE)


@pytest.mark.parametrize("boundary, X, method", CASES)
def test_mapped_files_and_no_points_at_all_are_read_too(cupy, boundary, X, method, tmp_path):
    np.save(tmp_path / "points.npy", X)
    mapped = np.load(tmp_path / "points.npy", mmap_mode="r")
    agree(cuda.nearest(boundary, mapped, method=method), cuda.nearest(boundary, X, method=method))
    assert len(cuda.nearest(boundary, X[:0], method=method).radius) == 0


def test_pairs_make_room_for_each_other(cupy, monkeypatch):
    rule, X = random_mixture(5, 6, 8, False)
    expected = QuadraticBoundary(rule).nearest(X, method="exact")
    for pairs in (1, 3):
        monkeypatch.setattr(quadratic, "BASES", pairs * 8 * (8 * 8 + 3 * 8 + 6))
        agree(cuda.nearest(QuadraticBoundary(rule), X, method="exact"), expected)


# -- what there is, and errors -----------------------------------------------------------------------------------------


def test_only_what_has_kernels_is_supported():
    rule, _ = random_mixture(0, 3, 4, False)
    plain, folded = QuadraticBoundary(rule), QuadraticBoundary(rule, AffineStep.scaling(np.full(4, 2.0)))
    assert cuda.supports(plain, "exact") and cuda.supports(plain, "pairwise") and not cuda.supports(plain, "paper")
    assert not cuda.supports(folded, "exact") and not cuda.supports(QuadraticBoundary(rule, norm=1), "exact")
    assert not cuda.supports(QuadraticBoundary(rule, scale=np.ones(4)), "exact")
    line = AffineBoundary(linear(0, 3, 4)[0], None, None, 1)
    assert cuda.supports(line, "auto") and cuda.supports(line, "pairwise") and not cuda.supports(line, "paper")
    mixture, linear_mixture = LogSumExp(rule, np.array([0, 1, 1])), LogSumExp(linear(0, 3, 4)[0], np.array([0, 1, 1]))
    assert cuda.supports(QuadraticMixtureBoundary(mixture), "pairwise")
    assert not cuda.supports(QuadraticMixtureBoundary(mixture), "exact")
    assert not cuda.supports(LinearMixtureBoundary(linear_mixture, None, None, 2), "pairwise")
    assert not cuda.supports(object(), "exact")


def test_what_is_not_supported_is_refused(cupy):
    rule, X = random_mixture(0, 3, 4, False)
    with pytest.raises(ValueError, match="device='cpu'"):
        cuda.nearest(QuadraticBoundary(rule, norm=1), X, method="exact")


def test_without_cupy_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ImportError, match=r"pip install skcert\[cuda12\]"):
        cuda.require()


@pytest.mark.parametrize("fails", [False, True])
def test_without_a_device_the_error_says_what_cupy_reports(monkeypatch, fails):
    def count():
        if fails:
            raise RuntimeError("cudaErrorInsufficientDriver")
        return 0

    runtime = types.SimpleNamespace(getDeviceCount=count, CUDARuntimeError=RuntimeError)
    module = types.SimpleNamespace(cuda=types.SimpleNamespace(runtime=runtime), __version__="14")
    monkeypatch.setitem(sys.modules, "cupy", module)
    with pytest.raises(RuntimeError, match="cudaErrorInsufficientDriver" if fails else "none is visible"):
        cuda.require()


def test_emulated_float64_is_refused(cupy, monkeypatch):
    monkeypatch.setenv("CUBLAS_EMULATE_DOUBLE_PRECISION", "1")
    with pytest.raises(RuntimeError, match="CUBLAS_EMULATE_DOUBLE_PRECISION"):
        cuda.require()
