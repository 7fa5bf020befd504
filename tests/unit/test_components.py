"""Several components per class: EM is scikit-learn's, what follows it is what one component gets, and scores are log sums."""

import pickle
import warnings

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.covariance import ledoit_wolf
from sklearn.datasets import load_iris, make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from skcert import CertifiedGMMClassifier, components
from skcert.discriminants import Affine, LogSumExp, Quadratic

KINDS = ["tied", "full", "diag", "spherical"]
FITTED = ("means_", "covariances_", "precisions_", "weights_", "priors_", "shrinkage_", "class_count_")
TIGHT = dict(tol=1e-12, max_iter=2000)  # EM to its end: one more iteration changes nothing


@pytest.fixture(scope="module")
def overlapping():
    """Two classes of two and of three components that overlap, in 3 features, far from the origin."""
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(5), [80, 60, 70, 50, 60])
    X = rng.standard_normal((len(owner), 3)) * [1, 2, 0.5] + 3 * rng.standard_normal((5, 3))[owner] + 50
    return X, np.where(owner < 2, "a", "b")


@pytest.fixture(scope="module")
def separated():
    """One, two and three components far apart in classes 0, 1 and 2; which component each point is of."""
    rng = np.random.default_rng(1)
    owner = np.repeat(np.arange(6), 60)
    X = rng.standard_normal((len(owner), 2)) * [1, 0.5] + 40 * rng.standard_normal((6, 2))[owner]
    return X, np.array([0, 1, 1, 2, 2, 2])[owner], owner


def seeds(random_state, n_classes):
    return np.random.RandomState(random_state).randint(np.iinfo(np.int32).max, size=n_classes)


def dense(model):
    """Covariances of the components as full matrices."""
    S, d = model.covariances_, model.n_features_in_
    C = len(model.means_)
    kind = model.covariance_type
    return {
        "tied": lambda: [S] * C,
        "full": lambda: S,
        "diag": lambda: map(np.diag, S),
        "spherical": lambda: [v * np.eye(d) for v in S],
    }[kind]()


def by_component(model, X):
    """Joint densities of the components, by SciPy."""
    parts = zip(model.component_class_, model.weights_, model.means_, dense(model), strict=True)
    return np.array([model.priors_[k] * w * multivariate_normal(m, S).pdf(X) for k, w, m, S in parts]).T


# -- estimates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
@pytest.mark.parametrize("n_init", [1, 3])
def test_without_shrinkage_the_components_are_scikit_learns(overlapping, kind, n_init):
    X, y = overlapping
    model = CertifiedGMMClassifier(
        covariance_type=kind,
        n_components={"a": 2, "b": 3},
        shrinkage=None,
        reg_covar=0.0,
        n_init=n_init,
        random_state=7,
        **TIGHT,
    ).fit(X, y)
    assert model.n_components_.tolist() == [2, 3] and model.component_class_.tolist() == [0, 0, 1, 1, 1]
    for k, (label, c) in enumerate({"a": 2, "b": 3}.items()):
        own, at = X[y == label], model.component_class_ == k
        theirs = GaussianMixture(
            c, covariance_type=kind, reg_covar=0.0, n_init=n_init, random_state=seeds(7, 2)[k], **TIGHT
        ).fit(own - own.mean(axis=0))
        np.testing.assert_allclose(model.means_[at], theirs.means_ + own.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(model.weights_[at], theirs.weights_, rtol=1e-5)
        np.testing.assert_allclose(model.covariances_[at], theirs.covariances_, rtol=1e-5, atol=1e-6)
        assert model.n_iter_[k] == theirs.n_iter_ and model.converged_[k]


def test_one_class_with_a_shared_covariance_is_scikit_learns_tied_mixture(overlapping):
    X, y = overlapping
    x = X[y == "b"] - X[y == "b"].mean(axis=0)
    level, floor = np.mean(x**2), 1e-6
    em = components.EM("tied", floor, 2, 2000, 1e-12)
    run = components.shared([x], [3], em, level, [5])
    theirs = GaussianMixture(3, covariance_type="tied", reg_covar=floor * level, n_init=2, random_state=5, **TIGHT).fit(x)
    np.testing.assert_allclose(run.responsibilities[0], theirs.predict_proba(x), atol=1e-6)
    assert run.log_likelihood == pytest.approx(theirs.score(x) * len(x), rel=1e-9)


def tiny_em(points, starts, floor, n_iter):
    """The M-step of a covariance shared by all components of all classes, written out point by point."""
    responsibilities, n = starts, sum(map(len, points))
    for _ in range(n_iter):
        S, parameters = floor * np.eye(points[0].shape[1]), []
        for x, r in zip(points, responsibilities, strict=True):
            means = [np.average(x, axis=0, weights=own) for own in r.T]
            parameters.append((r.mean(axis=0), means))
            for mean, own in zip(means, r.T, strict=True):
                S = S + sum(weight * np.outer(z - mean, z - mean) for z, weight in zip(x, own, strict=True)) / n
        joint = [
            np.array([w * multivariate_normal(m, S).pdf(x) for w, m in zip(*own, strict=True)]).T
            for x, own in zip(points, parameters, strict=True)
        ]
        responsibilities = [j / j.sum(axis=1, keepdims=True) for j in joint]
    return responsibilities, sum(np.log(j.sum(axis=1)).sum() for j in joint)


@pytest.mark.parametrize("n_iter", [1, 2, 7])
def test_the_joint_em_for_tied_is_the_textbooks(overlapping, n_iter):
    X, y = overlapping
    points = [X[y == label] - X[y == label].mean(axis=0) for label in "ab"]
    level = float(np.mean(np.concatenate(points) ** 2))
    em = components.EM("tied", 1e-3, 1, n_iter, 0.0)
    run = components.shared(points, [1, 3], em, level, [1, 2])
    starts = [components._start(x, c, np.random.RandomState(s)) for x, c, s in zip(points, [1, 3], [1, 2], strict=True)]
    expected, log_likelihood = tiny_em(points, starts, 1e-3 * level, n_iter)
    for ours, theirs in zip(run.responsibilities, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)
    assert run.log_likelihood == pytest.approx(log_likelihood, rel=1e-12) and run.n_iter == n_iter


@pytest.mark.parametrize("floor", [0.0, 1e-6, 0.1])
def test_the_objective_of_the_joint_em_never_falls(overlapping, floor):
    X, y = overlapping
    points = [X[y == label] - X[y == label].mean(axis=0) for label in "ab"]
    total = sum(x.T @ x for x in points)
    r = [components._start(x, c, np.random.RandomState(0)) for x, c in zip(points, [2, 3], strict=True)]
    course = []
    for _ in range(60):
        r, _, objective = components._expect(points, components._maximise(points, r, total, floor), total, floor)
        course.append(objective)
    assert np.diff(course).min() > -1e-12 and course[-1] > course[0] + 1e-3


def test_more_starts_find_what_is_at_least_as_likely(overlapping):
    X, y = overlapping
    points = [X[y == label] - X[y == label].mean(axis=0) for label in "ab"]
    level = float(np.mean(np.concatenate(points) ** 2))
    best = [components.shared(points, [4, 4], components.EM("tied", 0.0, n, 200, 1e-9), level, [0, 1]) for n in (1, 10)]
    assert best[1].log_likelihood >= best[0].log_likelihood - 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_shrinkage_of_a_component_is_that_of_its_own_points(separated, kind):
    X, y, owner = separated
    model = CertifiedGMMClassifier(covariance_type=kind, n_components={0: 1, 1: 2, 2: 3}, reg_covar=0, n_init=5, random_state=0)
    model.fit(X, y)
    group = np.array([np.abs(model.means_ - X[owner == g].mean(axis=0)).sum(axis=1).argmin() for g in range(6)])
    assert sorted(group) == list(range(6))
    if kind == "tied":
        covariance, intensity = ledoit_wolf(X - model.means_[group][owner], assume_centered=True)
        np.testing.assert_allclose(model.covariances_, covariance, rtol=1e-8)
        assert model.shrinkage_ == pytest.approx(intensity, rel=1e-8)
        return
    for g, c in enumerate(group):
        covariance, intensity = ledoit_wolf(X[owner == g])
        expected = {"full": covariance, "diag": np.diag(covariance), "spherical": np.trace(covariance) / 2}[kind]
        np.testing.assert_allclose(model.covariances_[c], expected, rtol=1e-8)
        assert model.shrinkage_[c] == pytest.approx(intensity, rel=1e-8)
        assert model.weights_[c] == pytest.approx(1 / (1, 2, 3)[model.component_class_[c]], rel=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_one_component_is_the_closed_form_bit_for_bit(kind):
    X, y = load_iris(return_X_y=True)
    plain = CertifiedGMMClassifier(covariance_type=kind).fit(X, y)
    assert plain.weights_.tolist() == [1, 1, 1] and plain.component_class_.tolist() == [0, 1, 2]
    for one in ({0: 1, 1: 1, 2: 1, 3: 9}, np.int64(1)):
        model = CertifiedGMMClassifier(covariance_type=kind, n_components=one).fit(X, y, sample_weight=1 + np.arange(150) % 2)
        expected = CertifiedGMMClassifier(covariance_type=kind).fit(X, y, sample_weight=1 + np.arange(150) % 2)
        for name in FITTED:
            np.testing.assert_array_equal(getattr(model, name), getattr(expected, name))
        np.testing.assert_array_equal(model.certify(X).radius, expected.certify(X).radius)
    found = CertifiedGMMClassifier(covariance_type=kind, n_components="bic", max_components=1).fit(X, y)
    for name in FITTED:
        np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_a_class_of_one_component_does_not_mind_the_others(overlapping, kind):
    X, y = overlapping
    mixed = CertifiedGMMClassifier(covariance_type=kind, n_components={"a": 1, "b": 3}, random_state=0).fit(X, y)
    plain = CertifiedGMMClassifier(covariance_type=kind).fit(X, y)
    np.testing.assert_allclose(mixed.means_[0], plain.means_[0], rtol=1e-14)
    np.testing.assert_allclose(mixed.covariances_[0], plain.covariances_[0], rtol=1e-12, atol=1e-12)
    assert mixed.shrinkage_[0] == pytest.approx(plain.shrinkage_[0], rel=1e-12) and mixed.n_iter_[0] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_units_and_origin_do_not_matter(overlapping, kind):
    X, y = overlapping
    make = CertifiedGMMClassifier(covariance_type=kind, n_components=2, random_state=0)
    here = make.fit(X, y).predict_proba(X)
    there = make.fit(1000 * X - 1e6, y)
    np.testing.assert_allclose(there.predict_proba(1000 * X - 1e6), here, atol=1e-6)
    single = clone(make).fit(X.astype(np.float32), y)
    assert single.covariances_.dtype == np.float64
    np.testing.assert_allclose(single.predict_proba(X.astype(np.float32)), here, atol=1e-3)


# -- the number of components ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_bic_finds_the_true_numbers_and_is_then_that_fit(separated, kind):
    X, y, _ = separated
    if kind == "spherical":
        X = X / [1, 0.5]
    options = dict(covariance_type=kind, random_state=3, n_init=5)
    model = CertifiedGMMClassifier(n_components="bic", **options).fit(X, y)
    assert model.n_components_.tolist() == [1, 2, 3] and model.bic_.shape == (3, 5)
    assert (np.nanargmin(model.bic_, axis=1) + 1).tolist() == [1, 2, 3]
    told = CertifiedGMMClassifier(n_components={0: 1, 1: 2, 2: 3}, **options).fit(X, y)
    for name in FITTED:
        np.testing.assert_array_equal(getattr(model, name), getattr(told, name))


@pytest.mark.parametrize("kind", KINDS)
def test_the_criterion_is_scikit_learns(overlapping, kind):
    X, y = overlapping
    model = CertifiedGMMClassifier(covariance_type=kind, n_components="bic", max_components=3, random_state=4, **TIGHT).fit(
        X, y
    )
    for k, label in enumerate("ab"):
        x = X[y == label] - X[y == label].mean(axis=0)
        for c in (1, 2, 3):
            theirs = GaussianMixture(
                c, covariance_type=kind, reg_covar=1e-6 * np.mean(x**2), random_state=seeds(4, 2)[k], **TIGHT
            ).fit(x)
            assert model.bic_[k, c - 1] == pytest.approx(theirs.bic(x), rel=1e-6)


def test_the_search_ends_where_a_likelihood_is_unbounded():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((45, 4)), np.repeat([0, 1, 2], [30, 9, 6])
    full = CertifiedGMMClassifier(covariance_type="full", n_components="bic", random_state=0).fit(X, y)
    assert np.isnan(full.bic_[1, 1:]).all() and np.isnan(full.bic_[2, 1:]).all()  # 5 points a component
    tied = CertifiedGMMClassifier(n_components="bic", random_state=0).fit(X, y)
    assert np.isfinite(tied.bic_[2, 0]) and np.isnan(tied.bic_[2, 1:]).all()  # 6 <= 4 + 2
    diag = CertifiedGMMClassifier(covariance_type="diag", n_components="bic", random_state=0).fit(X, y)
    assert np.isnan(diag.bic_[2, 3:]).all()  # 2 points a component
    few = CertifiedGMMClassifier(covariance_type="full", n_components="bic").fit(X[:32], np.r_[np.zeros(29), np.ones(3)])
    assert few.n_components_[1] == 1 and np.isnan(few.bic_[1]).all()
    flat = np.hstack([X, np.ones((45, 1))])  # a constant feature has no density without reg_covar
    model = CertifiedGMMClassifier(covariance_type="full", n_components="bic", reg_covar=0.0).fit(flat, np.arange(45) % 2)
    assert model.n_components_.tolist() == [1, 1] and np.isnan(model.bic_).all()


def test_two_moons_need_more_than_one_component():
    for seed in range(5):
        X, y = make_moons(600, noise=0.15, random_state=seed)
        one, many = (
            CertifiedGMMClassifier(covariance_type="full", n_components=c, random_state=seed).fit(X[:300], y[:300])
            for c in (1, "bic")
        )
        assert many.score(X[300:], y[300:]) > one.score(X[300:], y[300:]) + 0.05


# -- scores ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_are_the_posterior_of_the_mixture(overlapping, kind):
    X, y = overlapping
    model = CertifiedGMMClassifier(covariance_type=kind, n_components={"a": 2, "b": 3}, priors=[0.3, 0.7], random_state=0).fit(
        X, y
    )
    parts = by_component(model, X)
    joint = np.stack([parts[:, model.component_class_ == k].sum(axis=1) for k in range(2)], axis=1)
    np.testing.assert_allclose(model.score_samples(X), np.log(joint.sum(axis=1)), atol=1e-9)
    np.testing.assert_allclose(model.predict_proba(X), joint / joint.sum(axis=1, keepdims=True), atol=1e-9)
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(joint / joint.sum(axis=1, keepdims=True)), atol=1e-8)
    np.testing.assert_allclose(model.decision_function(X), np.log(joint[:, 1] / joint[:, 0]), atol=1e-8)
    assert (model.predict(X) == model.classes_[joint.argmax(axis=1)]).all()
    assert isinstance(model._discriminant, LogSumExp) and not hasattr(model, "coef_")
    assert isinstance(model._discriminant.components, Affine if kind == "tied" else Quadratic)


@pytest.mark.parametrize("kind", KINDS)
def test_coinciding_components_are_one(kind):
    rng = np.random.default_rng(0)
    means = 2 * rng.standard_normal((3, 2))
    S = {"tied": np.eye(2) + 0.3, "full": [np.eye(2) * s + 0.3 for s in (1, 2, 3)], "diag": 1 + rng.random((3, 2))}
    S = np.asarray({**S, "spherical": [1.0, 2.0, 0.5]}[kind])
    one = CertifiedGMMClassifier.from_parameters(means, S, [0.2, 0.5, 0.3], ["x", "y", "z"], covariance_type=kind)
    rows = [0, 1, 2, 1, 2, 1]
    many = CertifiedGMMClassifier.from_parameters(
        means[rows],
        S if kind == "tied" else S[rows],
        [0.2, 0.5, 0.3],
        ["x", "y", "z"],
        components=np.array(["x", "y", "z"])[rows],
        weights=[1, 0.2, 0.9, 0.5, 0.1, 0.3],
        covariance_type=kind,
    )
    X = 4 * rng.standard_normal((500, 2))
    np.testing.assert_allclose(many.predict_proba(X), one.predict_proba(X), atol=1e-13)
    np.testing.assert_allclose(many.score_samples(X), one.score_samples(X), rtol=1e-12)
    assert (many.predict(X) == one.predict(X)).all()


def test_far_away_the_sum_of_densities_neither_overflows_nor_vanishes():
    model = CertifiedGMMClassifier.from_parameters(
        [[0.0], [1.0], [9.0]], [1.0, 1.0, 1.0], components=[0, 0, 1], covariance_type="spherical"
    )
    probabilities = model.predict_log_proba([[1e6], [-1e6]])
    assert np.isfinite(probabilities).all() and model.predict([[1e6], [-1e6]]).tolist() == [1, 0]


@pytest.mark.parametrize("scale", [1, 2])
def test_class_scores_gather_components_in_any_order(scale):
    rng = np.random.default_rng(0)
    Z, labels = rng.standard_normal((2000, 3)), np.array([2, 0, 1, 0, 2, 2, 0])
    constants = np.array([0.0, -np.inf, 1.0, 2.0, -1.0, 0.5, 900.0])
    if scale == 1:
        parts = Affine.exact(rng.standard_normal((7, 3)), constants)
    else:
        parts = Quadratic.exact(rng.standard_normal((7, 3)), rng.random((7, 3)), constants)
    rule = LogSumExp(parts, labels)
    each = parts.scores(Z)
    expected = np.stack([scale * logsumexp(each[:, labels == k] / scale, axis=1) for k in range(3)], axis=1)
    assert (rule.n_classes, rule.n_features, rule.scale) == (3, 3, scale)
    np.testing.assert_allclose(rule.scores(Z), expected, rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(rule.scores(Z)[:, 1], each[:, 2])  # one component: its own score
    dead = LogSumExp(Affine.exact(np.zeros((3, 1)), [-np.inf, -np.inf, 0.0]), np.array([0, 0, 1]))
    np.testing.assert_array_equal(dead.scores(np.ones((2, 1))), [[-np.inf, 0], [-np.inf, 0]])


@pytest.mark.parametrize("labels", [[0, 1], [0, 2, 2], [1, 1, 2]])
def test_every_class_has_a_component(labels):
    with pytest.raises(ValueError, match="labels must give each of the 3 components a class code"):
        LogSumExp(Affine.exact(np.eye(3), np.zeros(3)), np.array(labels))


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_drawn_from_the_mixture(kind):
    S = {"tied": np.eye(1), "full": np.ones((3, 1, 1)), "diag": np.ones((3, 1)), "spherical": np.ones(3)}[kind]
    model = CertifiedGMMClassifier.from_parameters(
        [[0.0], [20.0], [40.0]],
        S,
        [0.25, 0.75],
        ["b", "a"],
        components=["a", "b", "a"],
        weights=[0.2, 1, 0.8],
        covariance_type=kind,
    )
    assert model.classes_.tolist() == ["a", "b"] and model.priors_.tolist() == [0.75, 0.25]
    assert model.means_.ravel().tolist() == [0, 40, 20] and model.n_components == {"a": 2, "b": 1}
    model.random_state = 0
    X, y = model.sample(20_000)
    place = np.rint(X.ravel() / 20)
    assert ((y == "b") == (place == 1)).all() and np.abs(X.ravel() - 20 * place).std() == pytest.approx(0.603, abs=0.02)
    assert (place == 0).mean() == pytest.approx(0.15, abs=0.01) and (place == 2).mean() == pytest.approx(0.6, abs=0.02)
    np.testing.assert_array_equal(model.sample(5)[0], model.sample(5)[0])


def test_a_component_of_weight_0_and_a_class_of_prior_0_play_no_part():
    model = CertifiedGMMClassifier.from_parameters(
        [[0.0], [5.0], [9.0]],
        np.ones(3),
        [1.0, 0.0],
        components=[0, 0, 1],
        weights=[1.0, 0.0, 1.0],
        covariance_type="spherical",
    )
    np.testing.assert_array_equal(model.predict_proba([[5.0], [9.0]]), [[1, 0], [1, 0]])
    assert model.score_samples([[5.0]])[0] == pytest.approx(-12.5 - 0.5 * np.log(2 * np.pi))


# -- as an estimator -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_make_it_reproducible_and_pickles_predict_alike(overlapping, kind):
    X, y = overlapping
    model = CertifiedGMMClassifier(covariance_type=kind, n_components=3, random_state=11).fit(X, y)
    again = clone(model).fit(X, y)
    stream = clone(model).set_params(random_state=np.random.RandomState(11)).fit(X, y)
    loaded = pickle.loads(pickle.dumps(model))
    for other in (again, stream, loaded):
        np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    clone(model).set_params(random_state=None).fit(X, y)


def test_a_grid_of_numbers_of_components_is_searched():
    X, y = make_moons(300, noise=0.1, random_state=0)
    grid = {"n_components": [1, 3, {0: 2, 1: 3}, "bic"], "covariance_type": ["full", "tied"]}
    search = GridSearchCV(CertifiedGMMClassifier(random_state=0), grid, cv=3, error_score="raise").fit(X, y)
    assert search.best_params_["n_components"] != 1 and search.best_score_ > 0.95


def test_equal_weights_count_and_a_weight_of_0_is_absence(overlapping):
    X, y = overlapping
    keep = np.arange(len(y)) % 5 > 0
    make = CertifiedGMMClassifier(covariance_type="full", n_components=2, random_state=0)
    weighted = clone(make).fit(X, y, sample_weight=np.where(keep, 2.0, 0.0))
    plain = clone(make).fit(X[keep], y[keep])
    np.testing.assert_allclose(weighted.means_, plain.means_, rtol=1e-12)
    np.testing.assert_allclose(weighted.class_count_, 2 * plain.class_count_)
    assert (weighted.shrinkage_ < plain.shrinkage_).all()  # twice the points, half the intensity
    with pytest.raises(ValueError, match=r"sample_weight must be equal .* n_components=2.* np.repeat"):
        clone(make).fit(X, y, sample_weight=1.0 + keep)


def test_a_run_that_has_not_converged_says_which(overlapping):
    X, y = overlapping
    with pytest.warns(ConvergenceWarning, match="EM for class 'b' did not converge in max_iter=1 iterations. Raise max_iter"):
        model = CertifiedGMMClassifier(covariance_type="full", n_components={"a": 1, "b": 2}, max_iter=1).fit(X, y)
    assert model.converged_.tolist() == [True, False]
    with pytest.warns(ConvergenceWarning, match=r"EM for all classes \(tied\) did not converge") as caught:
        model = CertifiedGMMClassifier(n_components=2, max_iter=2, tol=0.0).fit(X, y)
    assert model.converged_.tolist() == [False, False] and model.n_iter_.tolist() == [2, 2] and len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in KINDS:
            CertifiedGMMClassifier(covariance_type=kind, n_components=2, random_state=0, max_iter=500).fit(X, y)


def test_a_fit_leaves_nothing_of_the_one_before(overlapping):
    X, y = overlapping
    model = CertifiedGMMClassifier(n_components="bic").fit(X, y)
    model.set_params(n_components=1).fit(X, y)
    assert not hasattr(model, "bic_") and hasattr(model, "coef_")
    model.set_params(n_components=2).fit(X, y)
    assert not hasattr(model, "coef_")
    model.set_params(n_components=1, covariance_type="full")
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(X, y)
    model.partial_fit(X, y, classes=["a", "b"])
    np.testing.assert_array_equal(model.n_components_, [1, 1])
    np.testing.assert_allclose(model.means_, CertifiedGMMClassifier(covariance_type="full").fit(X, y).means_)


# -- bad input -------------------------------------------------------------------------------------------------------

GOOD_X, GOOD_Y = np.random.default_rng(0).standard_normal((20, 3)), np.arange(20) % 2


@pytest.mark.parametrize(
    "parameters, message",
    [
        (dict(n_components=0), "n_components must be an integer >= 1, a dict"),
        (dict(n_components=2.0), "n_components must be an integer"),
        (dict(n_components=True), "n_components must be an integer"),
        (dict(n_components="aic"), "n_components must be an integer"),
        (dict(n_components={}), "n_components must be an integer"),
        (dict(n_components={0: 1, 1: 0}), "n_components must be an integer"),
        (dict(n_components=[1, 2]), "n_components must be an integer"),
        (dict(n_components={0: 2}), r"names the classes \[0\] but not \[1\]: give every class a number"),
        (dict(n_components={"0": 2, "1": 2}), r"but not \[0, 1\]"),
        (dict(n_components=11), "n_components=11 for class 0 with n=10 samples.* Lower n_components"),
        (dict(n_components={0: 2, 1: 11}, covariance_type="full"), "n_components=11 for class 1 with n=10 samples"),
        (dict(max_components=0), "max_components must be an integer >= 1"),
        (dict(n_init=0), "n_init must be an integer >= 1"),
        (dict(max_iter=1.5), "max_iter must be an integer >= 1"),
        (dict(tol=-1), "tol must be a finite number >= 0"),
        (dict(tol=np.nan), "tol must be a finite number >= 0"),
        (dict(n_components=2, decision="nearest-ellipsoid"), "decision='nearest-ellipsoid' needs n_components=1"),
        (dict(n_components="bic", target_radius=1.0), "target_radius=1.0 needs n_components=1.* got n_components='bic'"),
    ],
)
def test_bad_parameters_are_refused_by_name(parameters, message):
    with pytest.raises(ValueError, match=message):
        CertifiedGMMClassifier(**parameters).fit(GOOD_X, GOOD_Y)


@pytest.mark.parametrize("n_components", [2, "bic", {0: 1, 1: 1}])
def test_batches_cannot_be_mixtures(n_components):
    with pytest.raises(ValueError, match="partial_fit cannot fit n_components=.* needs all training points at once"):
        CertifiedGMMClassifier(n_components=n_components).partial_fit(GOOD_X, GOOD_Y, classes=[0, 1])


def test_a_component_without_rank_names_its_class_and_the_remedy():
    far = np.vstack([GOOD_X[:10], GOOD_X[10:] + [[0, 0, 0]], [[50.0, 0, 0], [60.0, 0, 0]]])
    y = np.r_[GOOD_Y, 1, 1]
    with pytest.raises(ValueError, match="EM for class 1 .*n_components=3, n=12, d=3.* no full rank. Lower n_components"):
        CertifiedGMMClassifier(covariance_type="full", n_components={0: 1, 1: 3}, reg_covar=0, random_state=0).fit(far, y)
    # reg_covar is in units of the class: it holds where a component has a single point
    model = CertifiedGMMClassifier(covariance_type="full", n_components={0: 1, 1: 3}, random_state=0).fit(far, y)
    assert (model.weights_ * [10, 12, 12, 12]).min() == pytest.approx(1) and np.isfinite(model.predict_proba(far)).all()
    with pytest.raises(ValueError, match="component 1 of class 0 must be positive definite, got the smallest variance 0"):
        CertifiedGMMClassifier.from_parameters(np.zeros((3, 1)), [1.0, 0.0, 1.0], components=[0, 0, 1])
    with pytest.raises(ValueError, match=r"EM for all classes \(tied\) .*4 components, n=20, d=3"):
        CertifiedGMMClassifier(n_components=2, reg_covar=0).fit(np.ones((20, 3)) * (1 + GOOD_Y[:, None]), GOOD_Y)
    with pytest.raises(ValueError, match="float64 cannot square that. Rescale the features"):
        CertifiedGMMClassifier(n_components=2).fit(1e200 * GOOD_X, GOOD_Y)


@pytest.mark.parametrize(
    "kwargs, message",
    [
        (dict(weights=[0.5, 0.5, 1]), "say in components"),
        (dict(components=[0, 1]), "components must be 3 labels"),
        (
            dict(components=[0, 0, 1], classes=[0, 2]),
            r"classes must be the different labels that occur in components, \[0, 1\]",
        ),
        (dict(components=[0, 0, 1], classes=[0, 1, 2]), "classes must be the different labels"),
        (dict(components=[0, 0, 1], classes=[0, 0, 1]), "classes must be the different labels"),
        (dict(components=[0, 0, 1], weights=[0.5, 0.4, 1]), r"weights must sum to 1 .* got the sums \[0.9, 1.0\]"),
        (dict(components=[0, 0, 1], weights=[0.5, 0.5]), "weights must be 3 finite numbers"),
        (dict(components=[0, 0, 1], weights=[1.5, -0.5, 1]), "not negative"),
        (dict(components=[0, 0, 1], weights=[np.nan, 1, 1]), "finite"),
        (dict(components=[0, 0, 1], priors=[0.2, 0.3, 0.5]), r"priors must have shape \(2,\)"),
        (dict(components=[0, 0, 1], covariance_type="full"), r"must have shape \(3, 2, 2\)"),
    ],
)
def test_bad_mixtures_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        CertifiedGMMClassifier.from_parameters(np.zeros((3, 2)), np.ones((3, 2)), **kwargs)


# -- scikit-learn's own checks ---------------------------------------------------------------------------------------

PARTIAL = "partial_fit is an error with several components: EM needs all points at once"
WEIGHTS = "EM takes no sample weights but equal ones"


def by_design(estimator):
    names = ("fit_score_takes_y", "n_features_in_after_fitting", "estimators_partial_fit_n_features")
    weighted = ("sample_weight_equivalence_on_dense_data", "sample_weights_not_overwritten")
    return {f"check_{n}": PARTIAL for n in names} | {f"check_{n}": WEIGHTS for n in weighted}


@parametrize_with_checks(
    [
        CertifiedGMMClassifier(n_components=2),
        CertifiedGMMClassifier(n_components="bic"),
        CertifiedGMMClassifier(n_components=2, covariance_type="full"),
        CertifiedGMMClassifier(n_components="bic", covariance_type="full"),
        CertifiedGMMClassifier(n_components="bic", covariance_type="diag", shrinkage="oas"),
        CertifiedGMMClassifier(n_components=2, covariance_type="spherical", shrinkage=None),
    ],
    expected_failed_checks=by_design,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_mixtures_pass_every_check_of_scikit_learn(estimator, check):
    check(estimator)
