"""Shaped latents: the losses against closed forms, the network's constant and rounding against the truth, the estimators."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import textwrap
import warnings
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from skcert import (
    Affine,
    CertifiedGMMClassifier,
    CertifiedMarginClassifier,
    Certifier,
    LatentShaper,
    PretrainedEmbedder,
    Uncertifiable,
    certify,
)
from skcert.adapters import perturbation_of
from skcert.metrics import certified_accuracy_scorer
from skcert.plotting import LossCurveDisplay
from skcert.shaping import losses, networks, training
from skcert.shaping.layers import Layer, Layers
from skcert.testing import check_certificate

SMALL = {"n_components": 16, "hidden_layer_sizes": (24,), "max_epochs": 4, "random_state": 0, "progress": False}


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return train_test_split(X, y, test_size=0.3, stratify=y, random_state=0)


@pytest.fixture(scope="module")
def classifier(digits):
    X, _, y, _ = digits
    return CertifiedMarginClassifier(**SMALL).fit(X, y)


# -- losses ----------------------------------------------------------------------------------------------------------


def test_coding_rate_reduction_of_orthogonal_subspaces_is_its_closed_form():
    """K classes, each an orthonormal basis of its own m coordinates: R = Km/2 log(1 + d/(n eps^2)), R_k with n_k = m."""
    K, m, eps = 3, 4, 0.7
    d = n = K * m
    Z, y = torch.eye(d, dtype=torch.float64)[torch.randperm(d)], None
    y = Z.argmax(1) // m
    expected = n / 2 * np.log(1 + d / (n * eps**2)) - m / 2 * np.log(1 + d / (m * eps**2))
    assert losses.coding_rate_reduction(Z, y, eps).item() == pytest.approx(expected, rel=1e-12)


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_coding_rate_reduction_is_not_negative_and_rotations_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    n, d = rng.integers(3, 20), rng.integers(2, 10)
    Z, y = rng.standard_normal((n, d)), torch.as_tensor(rng.integers(0, 3, n))
    found = losses.coding_rate_reduction(torch.as_tensor(Z), y, 0.5)
    turned = losses.coding_rate_reduction(torch.as_tensor(Z @ ortho_group.rvs(d, random_state=rng)), y, 0.5)
    assert found >= -1e-12 and float(turned) == pytest.approx(float(found), abs=1e-9)


def test_coding_rate_of_more_rows_than_features_and_of_fewer_is_the_determinant():
    rng = np.random.default_rng(0)
    for shape in ((5, 9), (9, 5)):
        Z = rng.standard_normal(shape)
        expected = 0.5 * np.linalg.slogdet(np.eye(shape[1]) + shape[1] / (shape[0] * 0.25) * Z.T @ Z)[1]
        assert losses.coding_rate(torch.as_tensor(Z), 0.5).item() == pytest.approx(expected, rel=1e-12)


def test_isotropy_is_zero_for_isotropic_classes_only():
    cross = torch.cat([torch.eye(3), -torch.eye(3)]).double()
    Z = torch.cat([2 * cross + 5, 0.1 * cross])
    y = torch.arange(2).repeat_interleave(6)
    assert losses.isotropy_penalty(Z, y).item() == pytest.approx(0, abs=1e-25)
    Z[:6, 0] *= 2  # variances 4/3 * (4, 1, 1) in the first class
    variances = 4 / 3 * np.array([4, 1, 1])
    moved = Z[:6] - Z[:6].mean(0)
    assert torch.allclose(moved.square().mean(0), torch.tensor(variances))
    assert losses.isotropy_penalty(Z, y).item() == pytest.approx(((variances - variances.mean()) ** 2).sum())


def test_squared_mmd_is_the_double_sum():
    rng = np.random.default_rng(1)
    X, Y, b = rng.standard_normal((6, 3)), rng.standard_normal((4, 3)) + 1, 0.8

    def k(a, c):
        return np.mean([np.exp(-((x - z) ** 2).sum() / (2 * b * b)) for x in a for z in c])

    expected = k(X, X) - 2 * k(X, Y) + k(Y, Y)
    assert losses.squared_mmd(torch.as_tensor(X), torch.as_tensor(Y), b).item() == pytest.approx(expected, rel=1e-12)
    assert losses.squared_mmd(torch.as_tensor(X), torch.as_tensor(X), b).item() == pytest.approx(0, abs=1e-15)


def test_gaussians_drawn_for_a_class_are_nearer_to_gaussian_points_than_to_others():
    torch.manual_seed(0)
    normal, signs = torch.randn(2000, 2), torch.randn(2000, 2).sign()
    assert 20 * training._from_gaussian(normal) < training._from_gaussian(signs)


def test_boundary_distances_are_the_certificates_of_the_head():
    rng = np.random.default_rng(2)
    W, b, Z = rng.standard_normal((4, 5)), rng.standard_normal(4), rng.standard_normal((30, 5))
    head = Affine(W, b)
    certificate = certify(head, Z)
    scores = torch.as_tensor(Z @ W.T + b)
    found = losses.boundary_distances(scores, torch.as_tensor(W), torch.as_tensor(certificate.prediction))
    np.testing.assert_allclose(found.amin(1), certificate.radius, rtol=1e-9)
    wrong = (certificate.prediction + 1) % 4  # a class that does not win has a negative distance
    assert (losses.boundary_distances(scores, torch.as_tensor(W), torch.as_tensor(wrong)).amin(1) < 0).all()


def test_the_margin_loss_is_the_printed_formula_and_asks_for_no_more_than_the_margin():
    distances = torch.tensor([[np.inf, 0.2, 0.5], [0.1, np.inf, -0.3]], dtype=torch.float64)
    expected = np.mean(
        [np.log(1 + np.exp(-(np.array(d) - 0.3) / 0.05).sum()) for d in ([0.2, 0.5], [0.1, -0.3])],
    )
    assert losses.certified_margin_loss(distances, 0.3, 0.05).item() == pytest.approx(expected, rel=1e-12)
    assert losses.certified_margin_loss(torch.tensor([[np.inf, 5.0]]), 0.3, 0.05) < 1e-12


def test_two_classes_of_one_weight_leave_the_loss_finite():
    weight = torch.zeros(2, 3, requires_grad=True)
    loss = losses.certified_margin_loss(
        losses.boundary_distances(torch.zeros(4, 2) + weight.sum(), weight, torch.zeros(4).long()), 1, 1
    )
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(weight.grad).all()


# -- networks --------------------------------------------------------------------------------------------------------


def exactly(network: Layers, x: np.ndarray) -> list[Fraction]:
    """What a network does, in rational arithmetic."""
    z = [Fraction(a) - Fraction(c) for a, c in zip(x.tolist(), network.center.tolist(), strict=True)]
    for layer in network.layers:
        rows = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
        z = [sum((Fraction(w) * a for w, a in zip(row, z, strict=True)), Fraction(b)) for row, b in rows]
        if layer.activation == "relu":
            z = [max(a, Fraction(0)) for a in z]
        elif layer.activation == "maxmin":
            half = len(z) // 2
            pairs = list(zip(z[:half], z[half:], strict=True))
            z = [max(pair) for pair in pairs] + [min(pair) for pair in pairs]
    return z


def random_layers(seed: int, kind: str) -> Layers:
    rng = np.random.default_rng(seed)
    sizes = [3, 6, 4, 2]
    kinds = [kind, kind, "none"]
    layers = [
        Layer(rng.standard_normal((m, n)) * 10.0 ** rng.integers(-3, 3), rng.standard_normal(m) * 100, name)
        for n, m, name in zip(sizes, sizes[1:], kinds, strict=False)
    ]
    return Layers(rng.standard_normal(3) * 10.0 ** rng.integers(0, 6), tuple(layers))


@pytest.mark.parametrize("kind", ["maxmin", "relu"])
def test_rounding_bounds_the_distance_from_rational_arithmetic(kind):
    largest = 0.0
    for seed in range(40):
        network = random_layers(seed, kind)
        X = network.center + np.random.default_rng(seed).standard_normal((3, 3)) * 10.0 ** (seed % 5 - 2)
        for x, z, bound in zip(X, network.apply(X), network.rounding(X), strict=True):
            off = float(sum((Fraction(a) - b) ** 2 for a, b in zip(z.tolist(), exactly(network, x), strict=True))) ** 0.5
            assert off <= bound
            largest = max(largest, off / bound)
    assert largest > 1e-3  # it is a bound of this, not of anything


def test_what_a_first_layer_loses_by_cancellation_is_carried_to_the_end():
    layers = Layer(np.array([[0.1, -0.1]]), np.zeros(1), "none"), Layer(np.ones((1, 1)), np.zeros(1), "none")
    network = Layers(np.zeros(2), layers)
    X = np.random.default_rng(0).uniform(1e8, 2e8, (50, 1)) + np.array([[0.0, 1 / 3]])
    off = [abs(float(Fraction(z) - exactly(network, x)[0])) for z, x in zip(network.apply(X)[:, 0].tolist(), X, strict=True)]
    assert max(off) > 1e-10  # far above what the last layer loses
    assert (np.array(off) <= network.rounding(X)).all()


@pytest.mark.parametrize("kind", ["maxmin", "relu"])
def test_the_constant_bounds_every_slope_and_is_met_where_the_network_is_linear(kind):
    rng = np.random.default_rng(3)
    for seed in range(20):
        network = random_layers(seed, kind)
        X = rng.standard_normal((200, 3)) * 100
        Y = X + rng.standard_normal((200, 3)) * 10.0 ** rng.integers(-4, 3, (200, 1))
        gone = np.linalg.norm(network.apply(X) - network.apply(Y), axis=1)
        rounding = network.rounding(X) + network.rounding(Y)
        assert (gone <= network.constant * np.linalg.norm(X - Y, axis=1) * (1 + 1e-12) + rounding).all()
    single = Layers(np.zeros(3), (Layer(np.diag([1.0, 2.0, 5.0]), np.zeros(3), "none"),))
    assert 5 <= single.constant <= 5 * (1 + 1e-9)


def test_orthogonal_layers_have_a_constant_of_one_proven_with_their_rounding():
    torch.manual_seed(0)
    network = networks.OneLipschitz((20, 12, 30, 4))
    with torch.no_grad():
        for part in network.linear:
            part.columns.add_(torch.randn_like(part.columns))
    made = Layers(np.zeros(20), tuple(network.layers()))
    for layer in made.layers:
        small = min(layer.weight.shape)
        gram = layer.weight @ layer.weight.T if small == len(layer.weight) else layer.weight.T @ layer.weight
        np.testing.assert_allclose(gram, np.eye(small), atol=1e-13)
    top = max(np.linalg.svd(layer.weight, compute_uv=False)[0] for layer in made.layers)
    assert max(1, top) <= made.constant <= 1 + 1e-9


@pytest.mark.parametrize("network", [networks.OneLipschitz, networks.Unconstrained])
@pytest.mark.parametrize("sizes", [(6, 4), (6, 8, 4), (6, 8, 10, 4)])
def test_the_arrays_do_what_the_network_in_evaluation_does(network, sizes):
    torch.manual_seed(1)
    module = network(sizes)
    for _ in range(5):
        module(torch.randn(30, 6) * 3 + 1)  # statistics of the batch norm
    with torch.no_grad():
        for part in module.linear:
            part.bias.normal_()
    module.eval()
    center, unit = np.arange(6.0), 2.5
    X = np.random.default_rng(0).standard_normal((7, 6)) * 3
    made = networks.in_units(module.layers(), center, unit)
    with torch.no_grad():
        expected = unit * module(torch.as_tensor((X - center) / unit, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(made.apply(X), expected, atol=1e-4)


# -- estimators ------------------------------------------------------------------------------------------------------


def test_certificates_in_front_of_the_network_hold(digits, classifier):
    _, X, _, y = digits
    certificate = classifier.certify(X)
    assert certificate.guarantee == "deterministic" and "real numbers" not in certificate.arithmetic
    assert (certificate.prediction == classifier.predict(X)).all()
    assert certificate.certified_accuracy(y, [0])[0] > 0.8
    assert check_certificate(classifier, X[:40], classifier.certify(X[:40])) is None


def test_the_radius_is_that_of_the_head_divided_by_the_constant(digits, classifier):
    _, X, _, _ = digits
    latents = classifier.shaper_.transform(X)
    behind = certify(classifier.head_, latents).radius
    np.testing.assert_allclose(classifier.certify(X).radius, behind / classifier.shaper_.lipschitz_, rtol=1e-5)
    assert (classifier.certify(X).radius <= behind / classifier.shaper_.lipschitz_).all()
    np.testing.assert_array_equal(certify(classifier, X, space="shaper").radius, behind)


def test_the_rule_of_a_shaper_takes_off_rounding_at_both_ends(classifier, digits):
    shaper, X = classifier.shaper_, digits[1]
    step = perturbation_of(shaper)
    assert step.constant == shaper.lipschitz_ >= 1
    np.testing.assert_array_equal(step.rounding(X, shaper.transform(X)), 2 * shaper.layers_.rounding(X))


def test_a_constant_that_is_too_small_is_found_out(classifier, digits, monkeypatch):
    X = digits[1][:40]
    right = classifier.certify(X)
    monkeypatch.setattr(Layers, "constant", 0.2)
    wrong = classifier.certify(X)
    assert (wrong.radius > 4 * right.radius).all()
    assert check_certificate(classifier, X, wrong) is not None


@pytest.mark.parametrize("change", ["refit", "weights", "transform"])
def test_a_network_that_changes_after_its_constant_is_known_is_an_error(digits, change):
    X, X_new, y, _ = digits
    model = make_pipeline(LatentShaper(**SMALL), CertifiedGMMClassifier()).fit(X, y)
    certifier = Certifier(model)
    certifier.certify(X_new[:5])
    if change == "refit":
        model[0].set_params(objective="mcr2", lipschitz=None).fit(X, y)
    elif change == "weights":
        model[0].layers_.layers[0].weight[...] *= 10
        assert model[0].lipschitz_ > 9
        # a new one takes the weights of now
        assert check_certificate(model, X_new[:5], certify(model, X_new[:5])) is None
    else:
        model[0].transform = lambda X: LatentShaper.transform(model[0], 10 * X)
    with pytest.raises(ValueError, match="has changed since this Certifier was made|Was it fitted again"):
        certifier.certify(X_new[:5])


@pytest.mark.parametrize(
    "again", [lambda certifier: certifier, copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_no_copy_of_a_certifier_remembers_an_encoder_as_it_was(again):
    X, y = load_iris(return_X_y=True)
    X = X.astype(np.float32)
    network = torch.nn.Linear(4, 3)
    pipe = make_pipeline(PretrainedEmbedder(network, lipschitz="global", progress=False), CertifiedGMMClassifier()).fit(X, y)
    certifier = Certifier(pipe)
    certifier.certify(X)
    with torch.no_grad():
        network.weight.mul_(10)
    np.testing.assert_array_equal(again(certifier).certify(X).radius, Certifier(pipe).certify(X).radius)


def test_frames_keep_their_names_without_a_warning(digits):
    frame = pd.DataFrame(digits[0][:100], columns=[f"p{k}" for k in range(64)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = CertifiedMarginClassifier(**SMALL).fit(frame, digits[2][:100])
        assert (model.certify(frame).prediction == model.predict(frame)).all()
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[frame.columns[::-1]])


def test_the_constant_of_layers_whose_product_underflows_on_the_way_is_no_smaller_than_the_truth():
    layers = tuple(Layer(np.array([[c]]), np.zeros(1), "none") for c in (1e-200, 1e-150, 1e150, 1e150))
    assert Layers(np.zeros(1), layers).constant >= 1e-50


def test_a_pipeline_around_the_classifier_is_certified_in_its_own_units(digits):
    X, X_new, y, _ = digits
    pipe = make_pipeline(StandardScaler(with_std=False), CertifiedMarginClassifier(**SMALL)).fit(X, y)
    certificate = certify(pipe, X_new)
    alone = pipe[-1].certify(pipe[0].transform(X_new))
    np.testing.assert_allclose(certificate.radius, alone.radius, rtol=1e-5)
    np.testing.assert_array_equal(certify(pipe, X_new, space="latents").radius.shape, (len(X_new),))
    assert check_certificate(pipe, X_new[:20], certify(pipe, X_new[:20])) is None


@pytest.mark.parametrize("lipschitz", [1.0, None])
def test_the_papers_objective_feeds_a_mixture(digits, lipschitz):
    X, X_new, y, y_new = digits
    shaper = LatentShaper(objective="mcr2", lipschitz=lipschitz, mmd=0.1, batch_size=400, **SMALL)
    pipe = make_pipeline(shaper, Normalizer(), CertifiedGMMClassifier()).fit(X, y)
    assert pipe.score(X_new, y_new) > 0.85
    assert (shaper.lipschitz_ < 1 + 1e-8) == (lipschitz == 1.0)
    certificate = certify(pipe, X_new[:20])
    assert (certificate.radius > 0).mean() > 0.5
    assert check_certificate(pipe, X_new[:20], certificate) is None
    assert not hasattr(shaper, "head_")


def test_training_for_a_radius_certifies_more_there(digits):
    X, X_new, y, y_new = digits
    radius, reached = 6.0, {}
    for target in (0.5, radius):
        model = CertifiedMarginClassifier(**{**SMALL, "max_epochs": 8}, target_radius=target).fit(X, y)
        reached[target] = model.certify(X_new).certified_accuracy(y_new, [radius])[0]
        history = model.shaper_.history_
        assert all(len(values) == 8 for values in history.values())
        assert history["loss"][-1] < history["loss"][0] / 2
        assert history["certified_accuracy"][-1] > history["certified_accuracy"][0] + 0.2
    assert reached[radius] > reached[0.5] + 0.1


def test_the_epoch_kept_is_the_last_within_one_standard_error():
    class Network(torch.nn.Linear):
        """Its bias counts the epochs."""

    class Scripted(torch.nn.Module):
        reached, seen, noise = (0.2, 0.9, 0.85, 0.5), 0, 0.0

        def forward(self, latents, y):
            return (latents.mean() - 1) ** 2

        def judge(self, latents_of, data):
            Scripted.seen += 1
            snapshots.append([p.detach().clone() for p in network.parameters()])
            return training.Judgement(self.reached[Scripted.seen - 1], 1.0)

    snapshots: list = []
    network = Network(2, 1)
    rng = np.random.default_rng(0)
    data = training.Data(rng.standard_normal((64, 2)), np.zeros(64, dtype=int), np.arange(64), np.arange(30))
    rules = training.Rules(4, 16, 1e-2, torch.device("cpu"), False)
    _, chosen = training.train(network, Scripted(), data, rules)
    assert chosen == 2  # 0.85 is within sqrt(0.9 * 0.1 / 30) = 0.055 of 0.9, 0.5 is not
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), snapshots[2], strict=True))


def test_points_are_trained_on_with_noise_of_a_fiftieth_of_their_scale_and_judged_without():
    class Recording(torch.nn.Linear):
        def forward(self, x):
            seen[self.training].append(x.detach())
            return super().forward(x)

    seen: dict = {True: [], False: []}
    data = training.Data(np.zeros((640, 50)), np.arange(640) % 2, np.arange(64, 640), np.arange(64))
    rules = training.Rules(2, 64, 1e-3, torch.device("cpu"), False)
    training.train(Recording(50, 4), training.CertifiedMargin(4, 2, radius=2.0), data, rules)
    assert torch.cat(seen[True]).std().item() == pytest.approx(0.02, rel=0.02)
    assert not torch.cat(seen[False]).any()


def test_the_same_seed_gives_the_same_network_and_leaves_torchs_own_alone(digits):
    X, _, y, _ = digits
    torch.manual_seed(5)
    first = LatentShaper(**SMALL).fit(X[:300], y[:300])
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1))
    again = clone(first).fit(X[:300], y[:300])
    np.testing.assert_array_equal(first.transform(X), again.transform(X))
    other = LatentShaper(**{**SMALL, "random_state": 1}).fit(X[:300], y[:300])
    assert not np.array_equal(first.transform(X), other.transform(X))


def test_the_scale_of_the_points_does_not_matter(digits):
    X, X_new, y, _ = digits
    one = CertifiedMarginClassifier(**SMALL).fit(X, y)
    large = CertifiedMarginClassifier(**SMALL).fit(1024 * X, y)
    np.testing.assert_allclose(large.certify(1024 * X_new).radius, 1024 * one.certify(X_new).radius, rtol=1e-6)
    assert large.target_radius_ == pytest.approx(1024 * one.target_radius_)


@pytest.mark.parametrize("scale", [2.0**-500, 2.0**500])
def test_squares_that_overflow_or_vanish_do_not_matter(digits, classifier, scale):
    X, Z, y, _ = digits
    model = CertifiedMarginClassifier(**SMALL).fit(X * scale, y)
    np.testing.assert_allclose(model.certify(Z * scale).radius / scale, classifier.certify(Z).radius, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-299, 1e-200, 1e200])
def test_points_beyond_that_are_predicted_alike_and_have_no_radius(digits, classifier, scale):
    X, Z, y, _ = digits
    certificate = CertifiedMarginClassifier(**SMALL).fit(X * scale, y).certify(Z * scale)
    assert (certificate.prediction == classifier.predict(Z)).mean() > 0.99 and not certificate.radius.any()


@pytest.mark.parametrize("scale", [1e-160, 1e-155, 1.0, 1e152])
def test_a_network_that_changed_is_noticed_at_every_scale(digits, scale):
    X, Z, y, _ = digits
    certifier = Certifier(model := CertifiedMarginClassifier(**SMALL).fit(X * scale, y))
    certifier.certify(Z * scale)
    model.shaper_.layers_.layers[0].weight[:] *= 1.001
    with pytest.raises(ValueError, match="has changed since this Certifier was made"):
        certifier.certify(Z * scale)


@pytest.mark.filterwarnings("ignore:invalid value")  # of scikit-learn's check
def test_points_whose_distances_overflow_are_an_error():
    X = np.array([[1.0], [-1.0]] * 10) * 1.7e308
    with pytest.raises(ValueError, match="scale it before"):
        LatentShaper(**SMALL).fit(np.hstack([X, X]), [0, 1] * 10)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, torch.tensor, np.ndarray.tolist])
def test_points_may_be_frames_tensors_and_lists(digits, classifier, kind):
    X, Z, y, _ = digits
    model = CertifiedMarginClassifier(**SMALL).fit(kind(X), y)
    found, again = (np.asarray(model.certify(points).radius) for points in (kind(Z), Z))
    np.testing.assert_array_equal(found, again)
    np.testing.assert_allclose(found, classifier.certify(Z).radius, rtol=1e-6)  # means of columns are summed in other orders


def test_grid_search_by_certified_accuracy(digits):
    X, X_new, y, _ = digits
    search = GridSearchCV(
        CertifiedMarginClassifier(**SMALL), {"target_radius": [1.0, 3.0]}, scoring=certified_accuracy_scorer(radius=3.0), cv=2
    )
    search.fit(X[:400], y[:400])
    assert certify(search, X_new[:5]).radius.shape == (5,)


def test_a_fitted_shaper_needs_no_torch(classifier, digits):
    stored = pickle.dumps(classifier)
    code = """
        import pickle, sys
        import numpy as np

        class NoTorch:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "torch":
                    raise ImportError("no torch")

        sys.meta_path.insert(0, NoTorch())
        model = pickle.loads(sys.stdin.buffer.read())
        X = np.arange(128.0).reshape(2, 64) % 17
        certificate = model.certify(X)
        assert (certificate.radius > 0).all()
        try:
            model.fit(X, [0, 1])
        except ImportError as error:
            assert "skcert[torch]" in str(error)
        else:
            raise AssertionError
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], input=stored, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    X = digits[1]
    np.testing.assert_array_equal(pickle.loads(stored).certify(X).radius, classifier.certify(X).radius)


def test_one_point_of_a_class_leaves_nothing_to_hold_out():
    X, y = make_blobs(40, centers=2, random_state=0)
    y[0] = 2
    model = CertifiedMarginClassifier(**SMALL).fit(X, y)
    assert len(model.classes_) == 3 and model.certify(X).radius.shape == (40,)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"objective": "mcr"}, "objective must be one of"),
        ({"lipschitz": 2.0}, "scale the points"),
        ({"lipschitz": None}, "needs lipschitz=1.0"),
        ({"hidden_layer_sizes": (7,)}, "must be even"),
        ({"hidden_layer_sizes": (0,)}, "at least 1"),
        ({"n_components": 2.5}, "n_components"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"batch_size": 1}, "at least 2"),
        ({"hidden_layer_sizes": 16}, "tuple of widths"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number, positive"),
        ({"target_radius": -1.0}, "target_radius"),
        ({"iso": np.nan}, "iso"),
        ({"device": "abacus"}, "device must be"),
    ],
)
def test_parameters_that_are_refused(settings, words):
    X, y = make_blobs(30, random_state=0)
    with pytest.raises(ValueError, match=words):
        LatentShaper(**{**SMALL, **settings}).fit(X, y)


@pytest.mark.parametrize(
    "scale, radius, words", [(1, 1e300, "in the units of X"), (1, 1e-30, "in the units of X"), (1e-310, None, "so small")]
)
def test_radii_and_scales_beyond_reason_are_refused(digits, scale, radius, words):
    X, _, y, _ = digits
    with pytest.raises(ValueError, match=words):
        LatentShaper(**SMALL, target_radius=radius).fit(X * scale, y)


def test_one_class_and_no_fit_are_errors():
    with pytest.raises(ValueError, match="at least 2 classes"):
        CertifiedMarginClassifier(**SMALL).fit(np.zeros((5, 2)), np.zeros(5))
    with pytest.raises(NotFittedError):
        CertifiedMarginClassifier().certify(np.zeros((5, 2)))


def test_training_that_diverges_says_so():
    X, y = make_blobs(60, random_state=0)
    with pytest.raises(ValueError, match="Lower learning_rate"):
        LatentShaper(objective="mcr2", lipschitz=None, **{**SMALL, "learning_rate": 1e30}).fit(X, y)


def test_a_subclass_that_predicts_otherwise_is_refused(digits):
    class Other(CertifiedMarginClassifier):
        def predict(self, X):
            return super().predict(X)[::-1]

    X, _, y, _ = digits
    with pytest.raises(Uncertifiable, match="overrides predict"):
        certify(Other(**SMALL).fit(X[:200], y[:200]), X[:5])


def test_the_loss_curve_of_a_pipeline(classifier):
    display = LossCurveDisplay.from_estimator(make_pipeline(StandardScaler(), classifier))
    assert display.certified_line_.get_ydata().tolist() == classifier.shaper_.history_["certified_accuracy"].tolist()
    assert display.ax_.get_xlabel() == "epoch"
    with pytest.raises(ValueError, match="got StandardScaler"):
        LossCurveDisplay.from_estimator(StandardScaler())
