"""The 1-Lipschitz encoders of the benchmarks: norms of exact operators, and certificates on images that are not vacuous."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skcert import PretrainedEmbedder, certify
from tests.one_lipschitz import SHAPE, digits, train_on_digits

torch = pytest.importorskip("torch")

from benchmarks.lipschitz.encoders import (  # noqa: E402  (after torch is known to be there)
    WEIGHTS,
    MaxMin,
    OrthogonalConv2d,
    OrthogonalLinear,
    almost_orthogonal,
    baked,
    load,
    one_lipschitz_encoder,
    schur_sums,
)
from benchmarks.lipschitz.train import distances  # noqa: E402

CHANNELS = [(3, 3), (2, 6), (6, 2), (1, 4), (5, 1)]


def operator(weight, height, width):
    """The exact matrix of a convolution with zero padding to the same size."""
    n_in, k = weight.shape[1], weight.shape[-1]
    impulses = torch.eye(n_in * height * width, dtype=weight.dtype).reshape(-1, n_in, height, width)
    return torch.nn.functional.conv2d(impulses, weight, padding=k // 2).flatten(1).T


def largest_singular_value(matrix):
    return float(torch.linalg.matrix_norm(matrix, 2))


@pytest.fixture(scope="module")
def encoder():
    return train_on_digits(0)


# -- layers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_in, n_out", CHANNELS)
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 6)])
def test_almost_orthogonal_convolutions_have_norm_at_most_1_whatever_their_weights(n_in, n_out, kernel_size, size):
    generator = torch.Generator().manual_seed(0)
    for scale in (1e-3, 1.0, 1e3):
        weight = scale * torch.randn(n_out, n_in, kernel_size, kernel_size, generator=generator, dtype=torch.float64)
        assert largest_singular_value(operator(almost_orthogonal(weight), *size)) <= 1 + 1e-12
        assert largest_singular_value(operator(weight, *size)) <= float(schur_sums(weight).max()) ** 0.5 * (1 + 1e-12)


@pytest.mark.parametrize("n_in, n_out", CHANNELS)
def test_almost_orthogonal_linear_layers_have_norm_at_most_1_whatever_their_weights(n_in, n_out):
    weight = torch.randn(n_out, n_in, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert largest_singular_value(almost_orthogonal(weight)) <= 1 + 1e-12


@pytest.mark.parametrize("n_in, n_out", CHANNELS)
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_orthogonal_convolutions_keep_the_norm_away_from_the_border_and_never_raise_it(n_in, n_out, kernel_size):
    torch.manual_seed(2)
    weight = OrthogonalConv2d(n_in, n_out, kernel_size).double().effective().detach()
    assert weight.shape == (n_out, n_in, kernel_size, kernel_size)
    np.testing.assert_allclose(schur_sums(weight), 1, rtol=1e-12)  # its self-correlation is an impulse
    np.testing.assert_allclose(almost_orthogonal(weight), weight, atol=1e-12)
    assert largest_singular_value(operator(weight, 4, 5)) <= 1 + 1e-12
    if n_out >= n_in:
        x = torch.zeros(3, n_in, 11, 11, dtype=torch.float64)
        x[:, :, 3:-3, 3:-3] = torch.randn(3, n_in, 5, 5, dtype=torch.float64)
        y = torch.nn.functional.conv2d(x, weight, padding=kernel_size // 2)
        np.testing.assert_allclose(y.flatten(1).norm(dim=1), x.flatten(1).norm(dim=1), rtol=1e-12)


@pytest.mark.parametrize("n_in, n_out", CHANNELS)
def test_orthogonal_linear_layers_have_singular_values_1(n_in, n_out):
    weight = OrthogonalLinear(n_in, n_out).double().effective().detach()
    np.testing.assert_allclose(torch.linalg.svdvals(weight), 1, rtol=1e-6)  # from orthogonal matrices in float32


def test_maxmin_keeps_the_norm_and_is_1_lipschitz():
    generator = torch.Generator().manual_seed(3)
    x, other = torch.randn(2, 500, 6, 2, 2, generator=generator, dtype=torch.float64)
    layer = MaxMin().eval()
    np.testing.assert_allclose(layer(x).flatten(1).norm(dim=1), x.flatten(1).norm(dim=1), rtol=1e-14)
    for step in (1.0, 1e-3):
        moved = x + step * other
        change = (layer(moved) - layer(x)).flatten(1).norm(dim=1)
        assert (change <= (moved - x).flatten(1).norm(dim=1) * (1 + 1e-12)).all()


def test_maxmin_has_the_same_values_and_gradients_in_training():
    x = torch.randn(4, 6, 3, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64, requires_grad=True)
    weights = torch.randn(4, 6, 3, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    values = [layer(x) for layer in (MaxMin().train(), MaxMin().eval())]
    gradients = [torch.autograd.grad((value * weights).sum(), x)[0] for value in values]
    assert torch.equal(*values)
    assert torch.equal(*gradients)


# -- encoders --------------------------------------------------------------------------------------------------------


def quotients(encoder, x, generator):
    """||f(x) - f(x')|| / ||x - x'|| for points near and far, and for steps along the gradient of the latents' length."""
    x = x.double()
    x.requires_grad_()
    steps = [torch.randn(x.shape, generator=generator, dtype=torch.float64) * size for size in (1e-3, 0.1, 1.0, 10.0)]
    steps += [size * torch.autograd.grad(encoder(x).square().sum(), x)[0] for size in (1e-2, 1.0)]
    with torch.no_grad():
        return torch.cat([(encoder(x + u) - encoder(x)).norm(dim=1) / u.flatten(1).norm(dim=1) for u in steps])


def test_an_encoder_never_moves_latents_further_than_pixels():
    torch.manual_seed(6)
    encoder = one_lipschitz_encoder((3, 16, 8), [(8, 8), (16, 4), (6,)], 5).double()
    x = torch.rand(50, 3, 16, 8, dtype=torch.float64)
    plain = baked(encoder).double()
    assert {type(layer).__name__ for layer in plain} == {"Center", "PixelUnshuffle", "Conv2d", "MaxMin", "Flatten", "Linear"}
    np.testing.assert_allclose(plain(x).detach(), encoder.eval()(x).detach(), rtol=1e-4, atol=1e-5)
    for each in (encoder, plain):
        found = quotients(each, x, torch.Generator().manual_seed(7))
        assert 0.1 < found.max() <= 1 + 1e-6


def test_stages_must_halve_height_and_width():
    with pytest.raises(ValueError, match="halve"):
        one_lipschitz_encoder((1, 6, 6), [(4,), (4,)], 2)


def test_distances_are_those_to_the_boundaries_of_a_linear_rule():
    head = torch.nn.Linear(4, 3).double()
    z, labels = torch.randn(20, 4, dtype=torch.float64), torch.arange(20) % 3
    found = distances(z, head, labels).detach().numpy()
    W, b = head.weight.detach().numpy(), head.bias.detach().numpy()
    for row, y, distance in zip(z.numpy(), labels.numpy(), found, strict=True):
        assert distance[y] == np.inf
        for j in set(range(3)) - {int(y)}:
            expected = ((W[y] - W[j]) @ row + b[y] - b[j]) / np.linalg.norm(W[y] - W[j])
            np.testing.assert_allclose(distance[j], expected, rtol=1e-9)


# -- what they are for -----------------------------------------------------------------------------------------------


def test_certificates_on_digits_are_not_vacuous(encoder):
    X_train, X_test, y_train, y_test = digits()
    embedder = PretrainedEmbedder(encoder, lipschitz=1.0, input_shape=SHAPE, device="cpu")
    pipe = make_pipeline(embedder, LogisticRegression(max_iter=2000)).fit(X_train, y_train)
    certificate = certify(pipe, X_test)
    clean, certified = certificate.certified_accuracy(y_test, [0.0, 0.25])
    assert certificate.guarantee == "deterministic"
    assert clean >= 0.9
    assert certified >= 0.5


def test_the_trained_encoder_never_moves_latents_further_than_pixels(encoder):
    X_test = torch.from_numpy(digits()[1][:50]).reshape(-1, *SHAPE)
    for layer in encoder:
        if hasattr(layer, "weight"):
            assert schur_sums(layer.weight.detach().double()).max().item() <= 1
    try:
        assert 0.1 < quotients(encoder.double(), X_test, torch.Generator().manual_seed(8)).max() <= 1
    finally:
        encoder.float()


@pytest.mark.skipif(not WEIGHTS.exists(), reason="the weights kept beside the benchmark are not here")
def test_the_encoder_kept_for_cifar10_is_1_lipschitz_by_its_plain_weights():
    encoder = load()
    for layer in encoder:
        if hasattr(layer, "weight"):
            assert schur_sums(layer.weight.detach().double()).max().item() <= 1
    with torch.no_grad():
        assert encoder(torch.rand(2, 3, 32, 32)).shape == (2, 128)
    assert WEIGHTS.stat().st_size < 3_000_000
