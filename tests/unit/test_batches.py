"""A point has one radius: alone or in a batch, in any order, whatever was certified before, however it lies in memory."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from skcert import Affine, CertifiedGMMClassifier, Certifier
from skcert.geometry.products import BLOCK, column_sums, least_rows, one_thread, rows_times

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
    np.testing.assert_array_max_ulp(found.attack_radius, whole.attack_radius[rows], maxulp=1)


def chains(d, make):
    return {
        "alone": make,
        "scaled": lambda: make_pipeline(StandardScaler(), make()),
        "rotated": lambda: make_pipeline(StandardScaler(), PCA(max(2, d // 2), random_state=0), make()),
    }


@pytest.mark.parametrize("method", ["exact", "pairwise"])
@pytest.mark.parametrize("chain", ["alone", "scaled", "rotated"])
@pytest.mark.parametrize("kind", ["tied", "diag", "spherical", "full"])
@pytest.mark.parametrize("d, K", [(5, 3), (64, 10)])
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
    whole = Certifier(model).certify(X[:140], method=method)
    for rows in pieces(140):
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


@pytest.mark.parametrize("d, K", [(64, 10), (100, 40)])
@pytest.mark.parametrize("model", [LogisticRegression(), LinearDiscriminantAnalysis(), GaussianNB()], ids=type)
@pytest.mark.parametrize("steps", [[], [StandardScaler()]], ids=len)
def test_nor_between_scikit_learns_models(model, steps, d, K):
    X, y = latents(d, K)
    pipe = make_pipeline(*steps, model).fit(X, y)
    whole = Certifier(pipe).certify(X)
    for rows in pieces(N):
        same(Certifier(pipe).certify(X[rows]), whole, rows)


def test_slopes_that_lie_column_by_column_are_no_exception():
    rng = np.random.default_rng(1)
    model = Affine(np.asfortranarray(rng.standard_normal((3, 64))), np.zeros(3))
    X = rng.standard_normal((300, 64))
    whole = Certifier(model).certify(X)
    for rows in pieces(300):
        same(Certifier(model).certify(X[rows]), whole, rows)


def test_threads_of_blas_are_as_many_after_as_before():
    X, y = latents(20, 4)
    model = CertifiedGMMClassifier(covariance_type="full").fit(X, y)
    before = [each["num_threads"] for each in threadpool_info()]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda start: Certifier(model).certify(X[start : start + 30]), range(0, 1200, 30)))
    assert [each["num_threads"] for each in threadpool_info()] == before


def test_the_limit_ends_with_the_last_that_asked_for_it():
    def threads():
        return max(each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas")

    with threadpool_limits(2, user_api="blas"):
        if threads() != 2:
            pytest.skip("BLAS has one thread here")
        first, second = one_thread(), one_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert threads() == 1
        second.__exit__(None, None, None)
        assert threads() == 2


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


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("d, m", [(1, 1), (5, 3), (64, 10), (100, 1), (33, 70), (512, 12), (300, 100), (384, 33), (768, 77)])
def test_rows_of_a_product_are_those_of_the_rows_alone(d, m, threads):
    with threadpool_limits(threads):
        check_rows(d, m)


def check_rows(d, m):
    rng = np.random.default_rng(0)
    rows, matrix = rng.standard_normal((2 * BLOCK + 77, d)), rng.standard_normal((d, m))
    whole, turned = rows_times(rows, matrix), np.empty((m, len(rows)))
    rows_times(rows, matrix, turned.T, "F")
    np.testing.assert_allclose(whole, rows @ matrix, rtol=1e-12, atol=1e-12)
    for some in ([0], [BLOCK - 1, BLOCK], range(5, 300), range(3, 700), range(len(rows) - 80, len(rows))):
        np.testing.assert_array_equal(rows_times(rows[list(some)], matrix), whole[list(some)])
        part = np.empty((m, len(some)))
        rows_times(rows[list(some)], matrix, part.T, "F")
        np.testing.assert_array_equal(part, turned[:, list(some)])
    out, part = np.empty((m, len(rows))), np.empty((m, 5))
    rows_times(rows, matrix, out.T, "F")
    np.testing.assert_allclose(out.T, whole, rtol=1e-12, atol=1e-12)
    rows_times(rows[:5], matrix, part.T, "F")
    np.testing.assert_array_equal(out[:, :5], part)
    rows_times(rows[:1], matrix, part[:, :1].copy().T, "F")
    one = np.empty((m, 1))
    rows_times(rows[:1], matrix, one.T, "F")
    np.testing.assert_array_equal(out[:, :1], one)
    assert rows_times(rows[:0], matrix).shape == (0, m)
    assert least_rows(d, m) <= BLOCK
    np.testing.assert_array_equal(column_sums(rows[:, :1])[0], column_sums(rows)[0])
