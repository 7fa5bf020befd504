"""A point has one radius: alone or in a batch, in any order, whatever was certified before, however it lies in memory."""

import warnings

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcert import CertifiedGMMClassifier, Certifier
from skcert.geometry.products import BLOCK, column_sums, least_rows, rows_times

N = 2300  # more than two blocks of a product


def latents(d, K):
    rng = np.random.default_rng(d)
    y = np.arange(N) % K
    means, sizes = 1.2 * rng.standard_normal((K, d)) + 2, np.exp(0.5 * rng.standard_normal((K, d)))
    return means[y] + rng.standard_normal((N, d)) * sizes[y], y


def pieces(n):
    """Rows alone, a few, some of the end, all in another order."""
    rng = np.random.default_rng(0)
    return [[0], [n - 1], [5, 3], list(range(17, 24)), list(range(n - 130, n)), rng.permutation(n)]


def same(found, whole, rows):
    np.testing.assert_array_equal(found.prediction, whole.prediction[rows])
    np.testing.assert_array_equal(found.runner_up, whole.runner_up[rows])
    np.testing.assert_array_max_ulp(found.radius, whole.radius[rows], maxulp=1)


def chains(d, make):
    return {
        "alone": make,
        "scaled": lambda: make_pipeline(StandardScaler(), make()),
        "rotated": lambda: make_pipeline(StandardScaler(), PCA(max(2, d // 2), random_state=0), make()),
    }


@pytest.mark.parametrize("method", ["exact", "pairwise"])
@pytest.mark.parametrize("chain", ["alone", "scaled", "rotated"])
@pytest.mark.parametrize("kind", ["tied", "diag", "spherical", "full"])
@pytest.mark.parametrize("d, K", [(5, 3), (33, 4), (64, 10)])
def test_a_radius_does_not_depend_on_the_rows_beside_it(d, K, kind, chain, method):
    X, y = latents(d, K)
    model = chains(d, lambda: CertifiedGMMClassifier(covariance_type=kind))[chain]().fit(X, y)
    warm = Certifier(model)
    whole = warm.certify(X, method=method)
    for rows in pieces(N):
        same(Certifier(model).certify(X[rows], method=method), whole, rows)
        same(warm.certify(X[rows], method=method), whole, rows)
    same(Certifier(model).certify(np.asfortranarray(X), method=method), whole, slice(None))


@pytest.mark.parametrize("method", ["exact", "pairwise"])
@pytest.mark.parametrize("kind", ["tied", "diag", "full"])
def test_nor_with_several_components(kind, method):
    X, y = latents(6, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = CertifiedGMMClassifier(covariance_type=kind, n_components=2, random_state=0).fit(X, y)
    whole = Certifier(model).certify(X[:200], method=method)
    for rows in pieces(200):
        same(Certifier(model).certify(X[rows], method=method), whole, rows)


@pytest.mark.parametrize("norm", [1, np.inf])
@pytest.mark.parametrize("kind", ["tied", "diag", "full"])
def test_nor_in_the_other_norms(kind, norm):
    X, y = latents(20, 4)
    model = CertifiedGMMClassifier(covariance_type=kind).fit(X, y)
    whole = Certifier(model).certify(X[:60], norm=norm)
    for rows in pieces(60)[:-2] + [np.arange(59, -1, -1)]:
        same(Certifier(model).certify(X[rows], norm=norm), whole, rows)


def test_nor_on_the_memory_that_eigenbases_may_take(monkeypatch):
    from skcert.boundaries import quadratic

    X, y = latents(12, 8)
    model = CertifiedGMMClassifier(covariance_type="full").fit(X, y)
    whole = Certifier(model).certify(X, method="exact")
    monkeypatch.setattr(quadratic, "PAIR_BUDGET", 4 * 12**2 * 8)
    certifier = Certifier(model)
    same(certifier.certify(X, method="exact"), whole, slice(None))
    assert certifier.nbytes <= 4 * 12**2 * 8


def test_more_pairs_than_memory_are_made_once_for_each_class(monkeypatch):
    from skcert.boundaries import quadratic
    from skcert.geometry.quadric import Eigenbasis

    X, y = latents(8, 10)
    model = CertifiedGMMClassifier(covariance_type="full").fit(X, y)
    monkeypatch.setattr(quadratic, "PAIR_BUDGET", 9 * 8**2 * 8)  # those of one class
    made, of = [], Eigenbasis.of.__func__
    monkeypatch.setattr(Eigenbasis, "of", classmethod(lambda cls, *args, **kwargs: made.append(1) or of(cls, *args, **kwargs)))
    Certifier(model).certify(np.tile(X, (20, 1)), method="exact")
    assert 45 < len(made) <= 10 * 9  # once from either side


@pytest.mark.parametrize("d, m", [(1, 1), (5, 3), (64, 10), (100, 1), (33, 70), (512, 12)])
def test_rows_of_a_product_are_those_of_the_rows_alone(d, m):
    rng = np.random.default_rng(0)
    rows, matrix = rng.standard_normal((2 * BLOCK + 77, d)), rng.standard_normal((d, m))
    whole = rows_times(rows, matrix)
    np.testing.assert_allclose(whole, rows @ matrix, rtol=1e-12, atol=1e-12)
    for some in ([0], [BLOCK - 1, BLOCK], range(5, 300), range(len(rows) - 80, len(rows))):
        np.testing.assert_array_equal(rows_times(rows[list(some)], matrix), whole[list(some)])
    out, part = np.empty((m, len(rows))), np.empty((m, 5))
    rows_times(rows, matrix, out.T)
    np.testing.assert_allclose(out.T, whole, rtol=1e-12, atol=1e-12)
    rows_times(rows[:5], matrix, part.T)
    np.testing.assert_array_equal(out[:, :5], part)
    assert rows_times(rows[:0], matrix).shape == (0, m)
    assert least_rows(d, m) <= BLOCK
    np.testing.assert_array_equal(column_sums(rows[:, :1])[0], column_sums(rows)[0])
