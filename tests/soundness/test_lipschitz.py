"""No encoder is steeper than its bounds say: against Jacobians everywhere, and difference quotients on balls."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from skcert.lipschitz import layers, local  # noqa: E402
from skcert.lipschitz.local import ROWS, LocalBound  # noqa: E402
from skcert.lipschitz.network import trace  # noqa: E402
from skcert.lipschitz.product import constants  # noqa: E402
from tests.networks import NETWORKS, SHAPE, Residual, made, quotient, steepest  # noqa: E402

#: what float64 may lose in computing a quotient or a Jacobian
SLIP = 1e-9


def bound(network, shape=SHAPE):
    return constants(trace(network, None, None, torch.rand(2, *shape))).total


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", NETWORKS)
def test_no_jacobian_is_larger_than_the_global_bound(kind, seed, extreme):
    network = made(kind, seed, extreme)
    assert steepest(network, seed=seed) <= bound(network) * (1 + SLIP)


@pytest.mark.parametrize("seed", range(5))
def test_the_bound_of_a_linear_network_is_nearly_its_norm(seed):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)).eval()
    network[1].running_var.uniform_(0.01, 100)
    at_most, found = bound(network, (3, 12, 12)), steepest(network, (3, 12, 12), tries=1)
    assert found <= at_most <= 1.1 * found


ACTIVATIONS = [
    *(nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.3), nn.LeakyReLU(-2.0), nn.ELU(), nn.ELU(2.5), nn.CELU(0.5), nn.SELU(), nn.GELU()),
    *(nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.Hardsigmoid(), nn.Sigmoid(), nn.Tanh(), nn.Softplus(3.0)),
    *(
        nn.Softsign(),
        nn.Tanhshrink(),
        nn.LogSigmoid(),
        nn.Softshrink(),
        nn.Hardtanh(-2, 3),
        nn.PReLU(init=-1.7),
        nn.RReLU(1, 3),
    ),
]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_no_activation_is_steeper_than_its_constant_and_most_are_as_steep(activation):
    x = torch.linspace(-8, 8, 400_001, dtype=torch.float64, requires_grad=True)
    activation = activation.eval().double()
    (slope,) = torch.autograd.grad(activation(x).sum(), x)
    constant = constants(trace(activation.float(), None, None, torch.rand(2, 3))).total
    assert float(slope.abs().max()) <= constant * (1 + 1e-7)  # torch divides by 6 in float32
    assert constant <= float(slope.abs().max()) * 1.01


LAYERS = [
    *(nn.MaxPool2d(3, 1), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2), nn.MaxPool2d(2, 3, dilation=2), nn.MaxPool2d(4, 1, 2)),
    *(nn.MaxPool2d(3, 2, ceil_mode=True), nn.AdaptiveMaxPool2d(3), nn.AdaptiveMaxPool2d((2, 5)), nn.AvgPool2d(3, 1, 1)),
    *(nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.AvgPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(2, divisor_override=1)),
    *(nn.AdaptiveAvgPool2d((3, 5)), nn.Softmax(dim=1), nn.Upsample(scale_factor=2), nn.Upsample(size=13, mode="bilinear")),
    *(
        nn.ReflectionPad2d(5),
        nn.ReplicationPad2d((0, 3, 2, 1)),
        nn.CircularPad2d(4),
        nn.ZeroPad2d(-1),
        nn.ConstantPad2d(2, 3.0),
    ),
    *(nn.PixelShuffle(2), nn.PixelUnshuffle(4), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.LayerNorm([4, 8, 8])),
]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_no_pool_padding_or_normalisation_stretches_more_than_its_constant(layer):
    at_most = bound(layer.eval(), (4, 8, 8))
    found = steepest(layer, (4, 8, 8), scales=(1.0, 1e-3, 0.1))
    assert found <= at_most * (1 + SLIP)


POOLS = [nn.MaxPool1d(3, 1, 1), nn.MaxPool2d(3, 1, 1), nn.AdaptiveMaxPool1d(7), nn.AdaptiveMaxPool2d(4)]


@pytest.mark.parametrize("layer", POOLS, ids=repr)
def test_pools_of_inputs_without_channels_count_all_their_axes(layer):
    shape = (6, 6) if "2d" in repr(layer) else (12,)
    tied = torch.zeros(2, *shape)  # all numbers of a window may be the largest: between two points, each in turn
    found = 0.0
    for k in range(200):
        generator = torch.Generator().manual_seed(k)
        x = torch.rand((1, *shape), generator=generator, dtype=torch.float64)
        grown = (x > x.quantile(0.9)).double()
        moved = torch.where(torch.rand(x.shape, generator=generator) < 0.1, 10 + x, x) + 5 * grown
        change = (layer(moved) - layer(x)).flatten().norm() / (moved - x).flatten().norm()
        found = max(found, float(change))
    assert 1.2 < found <= constants(trace(layer, None, None, tied + torch.rand(2, *shape))).total * (1 + SLIP)


@pytest.mark.parametrize("joined, constant", [
    (lambda x: torch.cat([x, x], dim=1), np.sqrt(2)), (lambda x: torch.stack([x, 2 * x, 2 * x], dim=1), 3.0),
    (lambda x: x + x, 2.0), (lambda x: x - 3 * x, 4.0),
    (lambda x: x[:, :1] + x, 1 + np.sqrt(3)), (lambda x: torch.add(x, x, alpha=-5), 6.0),
])  # fmt: skip
def test_what_is_put_together_adds_up(joined, constant):
    class Joins(nn.Module):
        def forward(self, x):
            return joined(x)

    found = bound(Joins(), (3,))
    assert steepest(Joins(), (3,)) <= found * (1 + SLIP)
    np.testing.assert_allclose(found, constant, rtol=1e-12)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear", "area"])
@pytest.mark.parametrize("D", [1, 2, 3])
def test_interpolation_by_what_it_does_forwards(D, mode):
    """Not by torch's own derivative, which forgets scale_factor where the nearest pixel is taken."""
    rng = np.random.default_rng(0)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[D] if mode == "linear" else mode
    for _ in range(25):
        shape = tuple(int(n) for n in rng.integers(2, 6, D))
        size = tuple(int(n) for n in rng.integers(1, 11, D))
        scale = tuple(float(n) for n in rng.uniform(0.6, 3, D))
        for settings in ({"size": size}, {"scale_factor": scale}, {"scale_factor": scale[0]}):
            layer = nn.Upsample(mode=mode, **settings) if mode != "area" else None
            units = torch.eye(int(np.prod(shape)), dtype=torch.float64).reshape(-1, 1, *shape)
            matrix = nn.functional.interpolate(units, mode=mode, **settings).reshape(len(units), -1).numpy()
            true = np.linalg.norm(matrix, 2)
            if layer is not None:
                assert true * (1 - 1e-12) <= bound(layer, (1, *shape)) <= true * (1 + 1e-6)
            else:
                found = layers.interpolate(torch.zeros(2, 1, *shape), mode=mode, **settings)
                assert true * (1 - 1e-12) <= found <= true * (1 + 1e-6)


def test_gelu_and_silu_are_not_1_lipschitz():
    for layer in (nn.GELU(), nn.SiLU()):
        assert bound(layer, (3,)) > 1.09


def test_pixels_of_0_to_255_are_255_times_less_dangerous():
    network = made("cnn", 0)
    example = torch.rand(2, *SHAPE)
    mean, std = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)
    scaled = constants(trace(network, lambda x: (x - mean) / std, None, example)).total
    raw = constants(trace(network, lambda x: (x / 255 - mean) / std, None, 255 * example)).total
    np.testing.assert_allclose(raw * 255, scaled, rtol=1e-12)
    np.testing.assert_allclose(scaled, bound(network) / 0.2, rtol=1e-6)  # the channel that is stretched most counts


# -- on balls ----------------------------------------------------------------------------------------------------------


def leaky(slope):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(27, 12), nn.LeakyReLU(slope), nn.Linear(12, 9), nn.LeakyReLU(0.1), nn.Linear(9, 4)
    )


class Twice(nn.Module):
    """The same tensor twice in a call, sums that repeat a term, constants beside what moves, arguments by name."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(17, 3)
        self.token = nn.Parameter(torch.tensor([-0.3, -0.5]))

    def forward(self, x):
        a, b = self.a(x), self.b(x)
        h = torch.relu(a + a)
        h = torch.cat([h, b, h], dim=1) + b.sum(1, keepdim=True) + torch.sub(other=0.3 * b, input=a)[:, :1]
        return self.head(torch.cat([torch.relu(h), self.token.expand(len(x), 2), torch.relu(0.5 - b[:, :3])], dim=1))


class Joined(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1), nn.Linear(8, 5)

    def forward(self, x):
        both = torch.cat([torch.relu(self.a(x)), torch.relu(self.b(x)) - 0.5 * self.a(x)], dim=1)
        return self.c(both.mean(dim=(2, 3)))


RELU_NETWORKS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(10, 30), nn.ReLU(), nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 5)), (10,)),
    "leaky": (lambda: leaky(0.2), (3, 3, 3)),
    "steep": (lambda: leaky(-1.5), (3, 3, 3)),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 3, 2), nn.ReLU(),
            nn.Flatten(), nn.Linear(6, 4),
        ),
        (2, 6, 6),
    ),
    "pooled": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 3),
        ),
        (2, 6, 6),
    ),
    "residual": (lambda: nn.Sequential(Residual(3, 3), Residual(3, 4, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()), (3, 6, 6)),
    "joined": (Joined, (3, 4, 4)),
    "twice": (Twice, (6,)),
}  # fmt: skip


def local_bound(network, shape, monkeypatch, jacobian=True):
    if not jacobian:
        monkeypatch.setattr(local, "JACOBIAN_LIMIT", 0)
    traced = trace(network, None, None, torch.rand(ROWS, *shape))
    return LocalBound(traced, constants(traced))


@pytest.mark.parametrize("jacobian", [True, False])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", RELU_NETWORKS)
def test_no_quotient_in_a_ball_is_larger_than_its_bound_and_none_of_these_larger_than_the_global_one(
    kind, seed, jacobian, monkeypatch
):
    torch.manual_seed(seed)
    make, shape = RELU_NETWORKS[kind]
    network = make().eval()
    bounds = local_bound(network, shape, monkeypatch, jacobian)
    x = torch.rand(shape, generator=torch.Generator().manual_seed(seed)).double().numpy()
    radii = np.array([1e-6, 1e-3, 0.03, 0.3, 3.0])
    at_most = bounds.constants_at(x, radii)
    assert (at_most <= bounds.constant).all()
    assert (np.diff(at_most) >= -1e-9 * at_most[1:]).all()
    for radius, limit in zip(radii, at_most, strict=True):
        assert quotient(network, x, radius, seed=seed) <= limit * (1 + 1e-6 if radius < 1e-4 else 1 + SLIP)


@pytest.mark.parametrize("kind", RELU_NETWORKS)
def test_on_a_small_ball_the_bound_is_the_norm_of_the_jacobian(kind, monkeypatch):
    torch.manual_seed(3)
    make, shape = RELU_NETWORKS[kind]
    network = make().eval()
    x = torch.rand(shape, generator=torch.Generator().manual_seed(3)).double()
    twin = network.double()
    jacobian = torch.autograd.functional.jacobian(lambda z: twin(z[None]).flatten(), x).reshape(-1, x.numel())
    network.float()
    found = local_bound(network, shape, monkeypatch).constants_at(x.numpy(), np.array([1e-9]))[0]
    norm = float(torch.linalg.matrix_norm(jacobian, 2))
    assert norm * (1 - 1e-9) <= found <= norm * (1 + 1e-6)


def test_a_unit_exactly_at_its_kink_counts_with_both_slopes(monkeypatch):
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        network[2].weight.copy_(torch.tensor([[3.0, 4.0]]))
    for x in ([0.0, 0.0], [1.0, 0.0], [1.0, -1e-12], [-1.0, 1e-12]):
        bound = local_bound(network, (2,), monkeypatch).constants_at(np.array(x), np.array([1e-3]))[0]
        assert bound >= (5.0 if x[0] >= 0 else 4.0) * (1 - 1e-12)


def test_silent_units_do_not_count(monkeypatch):
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        network[0].bias.copy_(torch.tensor([5.0, 5.0, 5.0, -50.0, -50.0, -50.0]))
    kept = network[2].weight[:, :3].double() @ network[0].weight[:3].double()
    found = local_bound(network, (4,), monkeypatch).constants_at(np.zeros(4), np.array([1.0]))[0]
    assert np.isclose(found, float(torch.linalg.matrix_norm(kept, 2)), rtol=1e-9)


@pytest.mark.parametrize("jacobian", [True, False])
def test_the_radius_before_the_network_keeps_its_promise(jacobian, monkeypatch):
    torch.manual_seed(0)
    make, shape = RELU_NETWORKS["cnn"]
    network = make().eval()
    bounds = local_bound(network, shape, monkeypatch, jacobian)
    X = np.random.default_rng(0).random((40, *shape))
    after = np.geomspace(1e-4, 1.0, 40)
    before = bounds.inward(X, after)
    assert (before >= after / bounds.constant * (1 - 1e-12)).all()
    for x, r, R in zip(X, before, after, strict=True):
        assert r * bounds.constants_at(x, np.array([r]))[0] <= R * (1 + 1e-12)
    if jacobian:
        assert np.median(before / (after / bounds.constant)) > 1.5  # it is worth its price
    np.testing.assert_array_equal(bounds.inward(X[:2], np.array([0.0, np.inf])), [0.0, np.inf])
