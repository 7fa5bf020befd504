"""A device that contradicts the CPU is not used again, and rounding contradicts nobody."""

from __future__ import annotations

import shutil
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest

from skcert import CertifiedGMMClassifier, certify
from skcert.backends import cuda
from skcert.backends.cuda import device
from skcert.backends.cuda.comparison import AGREEMENT, ROWS, contradictions, some_rows
from skcert.boundaries import AffineBoundary, Nearest, QuadraticBoundary, QuadraticMixtureBoundary
from skcert.discriminants import Affine, LogSumExp, Quadratic
from skcert.geometry import quadric
from tests.backends.simulated import cupy_on_cpu

NAMES = ("winner", "runner_up", "radius", "attack_radius")


def problems(d=4, K=4, N=100, condition=10.0):
    """Name, boundary, method and points of every kind that has kernels."""
    rng = np.random.default_rng(0)
    means, variances = 2 * rng.standard_normal((K, d)), np.geomspace(1, condition, d) * rng.lognormal(size=(K, 1))
    turns = np.linalg.qr(rng.standard_normal((K, d, d)))[0]
    covariances = np.einsum("kij,kj,klj->kil", turns, variances, turns)
    X = np.vstack([means, rng.standard_normal((N - K, d)) * 2])
    yield "affine", AffineBoundary(Affine.exact(means, np.zeros(K)), None, None, 2), "exact", X
    for name, spread in (("diagonal", variances), ("full", (covariances + covariances.swapaxes(1, 2)) / 2)):
        rule = Quadratic.exact(means, spread, np.zeros(K))
        for method in ("pairwise", "exact"):
            yield f"{name}, {method}", QuadraticBoundary(rule), method, X
        yield f"{name} components", QuadraticMixtureBoundary(LogSumExp(rule, np.arange(K) // 2)), "pairwise", X


KINDS = [name for name, *_ in problems()]
kinds = pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)


def same(found, expected):
    for name in NAMES:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


# -- what contradicts --------------------------------------------------------------------------------------------------


@pytest.fixture(params=range(len(KINDS)), ids=KINDS)
def answered(request):
    _, boundary, method, X = list(problems())[request.param]
    known = boundary.nearest(X, method=method)
    assert (known.radius > 0).sum() > 90 and np.isfinite(known.radius).sum() > 80

    def wrong(**changes):
        return contradictions(boundary, X, replace(known, **changes), known, method).tolist()

    return known, wrong


def changed(values, row, value):
    values = values.copy()
    values[row] = value
    return values


def test_the_cpus_own_answers_contradict_nothing_and_neither_do_shorter_radii_and_longer_attacks(answered):
    known, wrong = answered
    assert wrong() == [] and wrong(radius=known.radius / 2, attack_radius=known.attack_radius * 2) == []
    assert (
        wrong(radius=np.minimum(known.radius * (1 + AGREEMENT / 2), known.attack_radius), attack_radius=np.full(100, np.inf))
        == []
    )


@pytest.mark.parametrize("factor", [1 + 1e-7, 2, np.inf])
def test_a_radius_beyond_the_stated_rounding_contradicts(answered, factor):
    known, wrong = answered
    row = int(np.flatnonzero((known.radius > 0) & np.isfinite(known.radius))[7])
    assert wrong(radius=changed(known.radius, row, known.radius[row] * factor)) == [row]


def test_what_is_not_a_number_contradicts(answered):
    known, wrong = answered
    assert wrong(radius=changed(known.radius, 5, np.nan)) == [5]
    assert wrong(attack_radius=changed(known.attack_radius, 5, np.nan)) == [5]


def test_an_attack_below_the_cpus_radius_contradicts(answered):
    known, wrong = answered
    row = int(np.flatnonzero((known.radius > 0) & np.isfinite(known.radius))[3])
    assert wrong(attack_radius=changed(known.attack_radius, row, known.radius[row] * (1 - 1e-12))) == [row]


def test_another_winner_contradicts_unless_both_radii_are_0(answered):
    known, wrong = answered
    row = int(np.flatnonzero(known.radius > 0)[3])
    other = changed(known.winner, row, known.winner[row] + 1)
    assert wrong(winner=other) == [row] and wrong(winner=other, radius=changed(known.radius, row, 0.0)) == [row]
    boundary = AffineBoundary(Affine.exact([[1.0, 0], [-1, 0]], [0.0, 0]), None, None, 2)
    tie = boundary.nearest(np.zeros((1, 2)))
    assert tie.radius == 0 and not len(
        contradictions(boundary, np.zeros((1, 2)), replace(tie, winner=1 - tie.winner), tie, "exact")
    )


@kinds
def test_a_radius_where_the_cpu_knows_none_contradicts(kind):
    _, boundary, method, X = list(problems())[kind]
    with np.errstate(all="ignore"):
        X = X[4:] * (1e200 if kind else 1e308)  # scores overflow
        known = boundary.nearest(X, method=method)
        unknown = np.flatnonzero(known.radius == 0)
        assert len(unknown)
        found = replace(known, radius=changed(known.radius, unknown, np.inf))
        np.testing.assert_array_equal(contradictions(boundary, X, found, known, method), unknown)


@pytest.mark.parametrize("n, wanted", [(0, 64), (1, 64), (64, 64), (65, 64), (1000, 64), (1000, 1), (1000, 3), (10, 0)])
def test_rows_are_the_first_the_last_and_some_between(n, wanted):
    rows = some_rows(n, wanted)
    assert len(rows) == len(set(rows.tolist())) == min(n, wanted) and (np.sort(rows) == rows).all()
    assert ((rows >= 0) & (rows < n)).all()
    if wanted == 64 and n:
        assert rows[0] == 0 and rows[-1] == n - 1
        assert n < 1000 or len(set((rows // 100).tolist())) == 10


def test_kernels_and_cpu_stop_at_the_same_gap():
    assert f"constexpr double GAP = {AGREEMENT};" in device.source() and AGREEMENT == quadric.GAP


# -- what follows ------------------------------------------------------------------------------------------------------

#: radii of every kind made too long, by a ten-millionth
BROKEN = {
    "least > 0 ? shrink(least) : 0.0": "least > 0 ? LONGER * least : 0.0",
    "shrink(margin / (slope + sqrt(larger(inside, 0.0))))": "LONGER * margin / (slope + sqrt(larger(inside, 0.0)))",
    "larger(exact.radius, bounds[at])": "LONGER * larger(exact.radius, bounds[at])",
    "larger(straight, radius)": "LONGER * larger(straight, radius)",
    "constexpr int WARP = 32;": "constexpr int WARP = 32;\nconstexpr double LONGER = 1.0000001;",
}


@pytest.fixture(scope="module")
def modules(kernels):
    """Stand-ins for CuPy: with the kernels as they are, and with broken ones."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ to compile the kernels for the CPU")
    right = wrong = device.source()
    for old, new in BROKEN.items():
        assert right.count(old) == 1
        wrong = wrong.replace(old, new)
    made = []
    for code in (right, wrong):
        made.append(cupy_on_cpu(kernels, ("-ffp-contract=off",)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(device, "source", lambda code=code: code)
            device._compiled(made[-1])
    return made


def used(module, monkeypatch):
    """The module, in a process that trusts its device."""
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(cuda, "_DISTRUSTED", set())
    return module


@pytest.fixture
def right(modules, monkeypatch):
    return used(modules[0], monkeypatch)


@pytest.fixture
def broken(modules, monkeypatch):
    return used(modules[1], monkeypatch)


@pytest.fixture
def on_the_cpu(monkeypatch):
    """How many rows the CPU certified in every call."""
    rows = []
    for kind in (AffineBoundary, QuadraticBoundary, QuadraticMixtureBoundary):

        def nearest(self, X, x_error=None, of=kind.nearest, **options):
            rows.append(len(X))
            return of(self, X, x_error, **options)

        monkeypatch.setattr(kind, "nearest", nearest)
    return rows


places = pytest.mark.parametrize("there", [False, True], ids=["host", "device"])


def certified(cupy, boundary, method, X, there):
    found = cuda.nearest(boundary, cupy.asarray(X) if there else X, method=method)
    return Nearest(*(getattr(found, name).get() for name in NAMES)) if there else found


@kinds
@places
def test_a_device_that_contradicts_the_cpu_is_not_used_again(broken, on_the_cpu, kind, there):
    _, boundary, method, X = list(problems())[kind]
    expected = boundary.nearest(X, method=method)
    del on_the_cpu[:]
    seen = rf"GPU 0 contradicts the CPU on \d+ of {ROWS} rows.*Row \d+ has the radius .*CPU: "
    with pytest.warns(UserWarning, match=seen) as warned:
        same(certified(broken, boundary, method, X, there), expected)
    row = int(str(warned[0].message).split("Row ")[1].split()[0])
    assert f"(CPU: {expected.radius[row]})" in str(warned[0].message)
    with warnings.catch_warnings(action="error"):
        same(certified(broken, boundary, method, X, there), expected)
    assert on_the_cpu == [ROWS, len(X), len(X)]


@kinds
@places
def test_a_device_that_agrees_is_compared_once(right, on_the_cpu, kind, there):
    _, boundary, method, X = list(problems())[kind]
    with warnings.catch_warnings(action="error"):
        for _ in range(2):
            certified(right, boundary, method, X, there)
    assert on_the_cpu == [ROWS]


def test_small_batches_are_compared_until_there_were_rows_enough_of_each_type(right, on_the_cpu):
    _, boundary, method, X = next(problems())
    for start in range(0, 100, 20):
        cuda.nearest(boundary, X[start : start + 20], method=method)
    cuda.nearest(boundary, X[:20].astype(np.float32), method=method)
    assert on_the_cpu == [20, 20, 20, 4, 20]


def test_an_error_made_of_the_warning_does_not_bring_the_device_back(broken, on_the_cpu):
    _, boundary, method, X = next(problems())
    with warnings.catch_warnings(action="error"):
        with pytest.raises(UserWarning, match="GPU 0"):
            cuda.nearest(boundary, X, method=method)
        cuda.nearest(boundary, X, method=method)
    assert on_the_cpu == [ROWS, len(X)]


def test_certificates_of_a_device_that_contradicts_the_cpu_are_the_cpus(broken):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((200, 3)), rng.integers(0, 3, 200)
    model = CertifiedGMMClassifier(covariance_type="full").fit(X + 2 * np.eye(3)[y], y)
    with pytest.warns(UserWarning, match="GPU 0 contradicts"):
        found = certify(model, X, device="cuda")
    np.testing.assert_array_equal(found.radius, certify(model, X, device="cpu").radius)


@kinds
@pytest.mark.parametrize("condition", [10.0, 1e6, 1e10])
def test_points_near_a_boundary_contradict_nothing(right, kind, condition, monkeypatch):
    monkeypatch.setattr(cuda, "ROWS", 10**6)
    _, boundary, method, X = list(problems(condition=condition))[kind]
    inside, outside = X[:30], X[50:80]
    rule = getattr(boundary, "mixture", boundary.discriminant)
    own = rule.winners(inside)
    pairs = own != rule.winners(outside)
    inside, outside, own = inside[pairs], outside[pairs], own[pairs]
    for _ in range(55):  # to the last bits
        middle = (inside + outside) / 2
        stays = rule.winners(middle) == own
        inside, outside = np.where(stays[:, None], middle, inside), np.where(stays[:, None], outside, middle)
    way = X[:30][pairs] - inside
    near = np.vstack([inside, outside, *(inside + way * 10.0**-k for k in range(2, 16, 2))])
    with warnings.catch_warnings(action="error"):
        found = cuda.nearest(boundary, near, method=method)
    assert (found.radius[: 2 * len(own)] < 1e-6).all() and len(own) > 5
