"""Encoders without a bound are refused by name; the report, the registry, and the settings of estimates."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import skcert  # noqa: E402
from skcert import Clever, PretrainedEmbedder, Uncertifiable, register_lipschitz  # noqa: E402
from skcert.lipschitz.clever import ball_points, extreme_value, radius  # noqa: E402
from skcert.lipschitz.network import trace  # noqa: E402
from skcert.lipschitz.product import constants  # noqa: E402
from skcert.lipschitz.rules import FUNCTIONS, MODULES, OWN  # noqa: E402


class Does(nn.Module):
    """A module that does what a function says, with a layer and a parameter of its own."""

    def __init__(self, function):
        super().__init__()
        self.layer, self.weight, self.function = nn.Linear(6, 6), nn.Parameter(torch.randn(6, 6)), function

    def forward(self, x):
        return self.function(self, x)


def total(module, shape=(6,), preprocess=None, output=None):
    return constants(trace(module.eval(), preprocess, output, torch.rand(2, *shape))).total


REFUSED = {
    "a product of two activations": (lambda m, x: x * torch.sigmoid(m.layer(x)), "mul.*product of two activations"),
    "a square": (lambda m, x: x**2, r"pow\(\)"),
    "exp": (lambda m, x: torch.exp(x), r"exp\(\)"),
    "sqrt": (lambda m, x: x.sqrt(), r"sqrt\(\)"),
    "division by an activation": (lambda m, x: 1 / (1 + x.abs()), "truediv.*division by an activation"),
    "division by its own length": (lambda m, x: F.normalize(x), "normalize.*Normalizer"),
    "an attention": (lambda m, x: F.scaled_dot_product_attention(x, x, x), "attention"),
    "a moving weight": (lambda m, x: F.linear(x, x), "linear.*first argument"),
    "matrices that both move": (lambda m, x: x @ x.T, "each row by itself"),
    "rounding": (lambda m, x: x.round(), r"round\(\)"),
    "signs": (lambda m, x: torch.sign(x), r"sign\(\)"),
    "positions": (lambda m, x: x.argmax(1, keepdim=True).float(), "argmax"),
    "comparisons": (lambda m, x: (x > 0).float(), "gt"),
    "integers": (lambda m, x: x.to(torch.int64), "jumps"),
    "half precision": (lambda m, x: x.half(), "float16"),
    "a mean over the batch": (lambda m, x: x - x.mean(0), "mean.*rows of the batch"),
    "everything at once": (lambda m, x: x - x.mean(), "mean.*rows of the batch"),
    "rows put together": (lambda m, x: torch.cat([x, x], 0)[:2], "cat.*rows of the batch"),
    "sums over the batch that cancel": (lambda m, x: x + 0 * x.sum(0), "sum.*rows of the batch"),
    "softmax over the batch": (lambda m, x: F.softmax(x, 0), "softmax.*rows of the batch"),
    "picking by arrays": (lambda m, x: x[:, [0, 0, 1]], "getitem"),
    "active dropout": (lambda m, x: F.dropout(x, 0.5, training=True), "does not repeat"),
    "statistics of the batch": (lambda m, x: F.batch_norm(x, None, None, training=True), "batch_norm.*statistics"),
    "writing into a buffer": (
        lambda m, x: (lambda out: (out.__setitem__(slice(None), m.layer(x)), out)[1])(torch.zeros(len(x), 6)),
        "does not repeat",
    ),
    "copying into a buffer": (
        lambda m, x: (lambda out: (out.copy_(m.layer(x)), m.layer(out))[1])(torch.zeros(len(x), 6)),
        "does not repeat",
    ),
    "writing into out": (lambda m, x: torch.add(m.layer(x), 1.0, out=torch.zeros(len(x), 6)), "add.*writes into"),
    "the size of the batch": (lambda m, x: m.layer(x) * len(x), "rows"),
    "the row before": (lambda m, x: x + 3 * F.pad(x[:-1], (0, 0, 1, 0)), "rows|repeat"),
    "the first row": (lambda m, x: x - x[:1], "rows|beside"),
    "old arguments": (lambda m, x: x.sub(5, x), "sub.*no signature"),
    "tiny floats": (lambda m, x: x.to(torch.float8_e4m3fn).float(), "float8"),
    "celu that grows": (lambda m, x: F.celu(x, -1.0), "celu.*alpha"),
    "NaN": (lambda m, x: x * float("nan"), "NaN"),
    "in place under somebody's feet": (lambda m, x: (lambda h: h.mul_(5).sum(1, keepdim=True) + h)(m.layer(x)), "in place"),
    "a view changed in place": (lambda m, x: (lambda h: (h[:, :3].mul_(9), h)[1])(m.layer(x)), "mul.*in place"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_bound_is_refused_by_name(case):
    function, words = REFUSED[case]
    with pytest.raises(Uncertifiable, match=words):
        total(Does(function))


@pytest.mark.parametrize("function, words", [
    (lambda m, x: x if x.sum() > 0 else -x, "depends on values"),
    (lambda m, x: x * float(x.max()), "depends on values"),
    (lambda m, x: x[x > 0], "gt.*jumps"),
])  # fmt: skip
def test_what_depends_on_values_cannot_be_traced(function, words):
    with pytest.raises(Uncertifiable, match=words):
        total(Does(function))


def test_encoders_whose_rows_depend_on_each_other_or_on_chance_are_refused():
    with pytest.raises(Uncertifiable, match="does not repeat|each row by itself|active"):
        total(Does(lambda m, x: x + torch.rand_like(x)))
    with pytest.raises(Uncertifiable, match="each row by itself"):
        total(Does(lambda m, x: x.flip(0)))


@pytest.mark.parametrize(
    "module, name",
    [
        (nn.Sequential(nn.Linear(6, 6), nn.TransformerEncoderLayer(6, 1)), "'1' .TransformerEncoderLayer.*attention"),
        (nn.Sequential(nn.Linear(6, 6), nn.Hardshrink()), "Hardshrink"),
        (nn.Sequential(nn.Linear(6, 6), nn.GLU()), "GLU"),
        (nn.Sequential(nn.BatchNorm1d(6, track_running_stats=False)), "BatchNorm1d"),
        (nn.Sequential(nn.Threshold(0.1, 5.0)), "Threshold"),
        (nn.Sequential(nn.Softplus(threshold=1.0)), "Softplus"),
    ],
)
def test_layers_without_a_rule_are_refused_by_name(module, name):
    with pytest.raises(Uncertifiable, match=name):
        total(module)


@pytest.mark.parametrize("way", ["global", "local"])
def test_encoders_that_do_nothing_or_ignore_their_input(way):
    X = np.random.default_rng(0).random((20, 6))
    head = skcert.CertifiedGMMClassifier.from_parameters(np.eye(2, 6), np.eye(6))
    for does, constant in ((lambda m, x: x, 1.0), (lambda m, x: torch.zeros(len(x), 6) + m.weight[0], 0.0)):
        assert total(Does(does)) == constant
        pipe = skcert.make_certified_pipeline(PretrainedEmbedder(Does(does), lipschitz=way).fit(X), head)
        radius, within = skcert.certify(pipe, X).radius, skcert.certify(pipe, X, space="latents").radius
        if constant:
            np.testing.assert_allclose(radius, within, rtol=3e-5)
            assert (radius < within).all()  # X is rounded to float32 on its way
        else:
            assert (radius > 1e6).all()


def test_hooks_may_change_what_a_layer_does():
    network = nn.Sequential(nn.Linear(6, 6))
    network[0].register_forward_hook(lambda module, args, value: 10 * value)
    with pytest.raises(Uncertifiable, match="hooks"):
        total(network)


def test_methods_of_an_instance_may_change_what_a_layer_does():
    network = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
    network[1].forward = lambda x: 10 * x
    with pytest.raises(Uncertifiable, match="methods of its own"):
        total(network)


def test_a_rule_that_is_contradicted_at_once_is_an_error():
    class Loud(nn.Module):
        def forward(self, x):
            return 100 * x

    try:
        register_lipschitz(Loud, lambda module, x: 1.0)
        with pytest.raises(Uncertifiable, match=r"two rows were found with 99\.9"):
            total(nn.Sequential(Loud()))
    finally:
        MODULES.pop(Loud, None)
        OWN.discard(Loud)


def test_constants_count_as_they_were_when_they_were_used():
    torch.manual_seed(0)

    def forward(module, x):
        w = torch.ones(6)
        y = module.layer(x) * w
        w.mul_(0.01)
        return y + 0

    module = Does(forward)
    assert total(module) >= float(torch.linalg.matrix_norm(module.layer.weight, 2)) * (1 - 1e-6)


def test_preprocessing_may_work_in_place():
    def scaled(batch):
        return batch.div_(2).sub_(0.5)

    X = np.random.default_rng(0).random((4, 6))
    network = nn.Sequential(nn.Linear(6, 6), nn.ReLU(inplace=True))
    found = PretrainedEmbedder(network, preprocess=scaled).fit(X).lipschitz_report().constant
    assert np.isclose(found, 0.5 * float(torch.linalg.matrix_norm(network[0].weight.double(), 2)), rtol=1e-6)
    assert np.isclose(total(network, output="0"), 2 * found, rtol=1e-6)  # what comes after it works in place


def test_encoders_that_keep_what_they_compute_are_left_as_they_were():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.last, self.log = nn.Linear(6, 6), None, []

        def forward(self, x):
            if self.last is None or len(self.last) != len(x):
                self.last = self.layer(x)
            self.log.append(x)
            return self.layer(x)

    network = Keeps()
    total(network)
    assert network.last is None and network.log == []


def test_a_subclass_is_bounded_by_what_it_does():
    class Louder(nn.Linear):
        def forward(self, x):
            return F.linear(x, 100 * self.weight, self.bias)

    torch.manual_seed(0)
    layer = Louder(6, 6)
    norm = float(torch.linalg.matrix_norm(layer.weight, 2))
    assert 100 * norm * (1 - 1e-6) <= total(nn.Sequential(layer)) <= 100 * norm * (1 + 1e-6)


def test_registered_modules_and_functions_are_taken_at_their_word():
    class Cube(nn.Module):
        def forward(self, x):
            return torch.exp(x.clamp(-1, 1))

    try:
        with pytest.raises(Uncertifiable, match="exp"):
            total(nn.Sequential(Cube()))
        register_lipschitz(Cube, lambda module, x: float(np.e))
        assert np.e <= total(nn.Sequential(Cube())) <= 2.7183
        register_lipschitz(torch.exp, lambda x: 7.0)
        assert total(Does(lambda m, x: torch.exp(x))) == pytest.approx(7.0)
        register_lipschitz(Cube, lambda module, x: -1.0)
        with pytest.raises(Uncertifiable, match="Cube.*-1.0"):
            total(nn.Sequential(Cube()))
    finally:
        MODULES.pop(Cube, None)
        OWN.discard(Cube)
        FUNCTIONS.pop(torch.exp, None)
    with pytest.raises(TypeError, match="to call"):
        register_lipschitz("relu", 1.0)


def test_the_known_tricks_of_encoders_are_no_obstacle():
    def forward(module, x):
        n, d = x.shape
        assert x.size(0) == n and len(x) == n and x.dim() == 2
        mean = torch.tensor([0.5], device=x.device, dtype=x.dtype)
        x = (x - mean).view(n, -1, d // 2).permute(0, 2, 1).reshape(n, d)
        a, b = x.split(3, dim=1)
        out = torch.cat([torch.relu(a), b.tanh()], dim=-1)
        out += x
        return F.relu(out, inplace=True)

    assert total(Does(forward)) <= 1 + np.sqrt(2) + 1e-9


def test_an_inner_layer_can_be_the_output():
    network = nn.Sequential(nn.Linear(6, 6), nn.Sequential(nn.ReLU(), nn.Linear(6, 4)), nn.Hardshrink())
    inner, first = total(network, output="1"), total(network, output="0")
    np.testing.assert_allclose(inner, first * float(torch.linalg.matrix_norm(network[1][1].weight.double(), 2)), rtol=1e-9)


def test_bounding_leaves_the_encoder_as_it_was():
    network = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5), nn.ReLU(inplace=True)).train()
    network[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    names, flags = dict(network.named_modules()).keys(), [part.training for part in network.modules()]
    embedder = PretrainedEmbedder(network, lipschitz="local").fit(np.zeros((3, 6)))
    embedder.lipschitz_report()
    assert dict(network.named_modules()).keys() == names and [part.training for part in network.modules()] == flags
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(part._forward_hooks for part in network.modules())


# -- the report --------------------------------------------------------------------------------------------------------


def encoder():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))


def test_the_report_multiplies_up_to_the_constant_and_names_every_layer():
    X = np.random.default_rng(0).random((5, 64)).astype(np.float32)
    embedder = PretrainedEmbedder(encoder(), input_shape=(1, 8, 8), preprocess=lambda batch: batch / 2).fit(X)
    report = embedder.lipschitz_report()
    assert [layer.name for layer in report.layers] == ["preprocess truediv", "0", "1", "2", "3", "4"]
    factors = [layer.factor for layer in report.layers if not np.isnan(layer.factor)]
    np.testing.assert_allclose(np.prod(factors), report.constant, rtol=1e-12)
    assert report.layers[0].factor == pytest.approx(0.5) and "folded" in report.layers[1].note
    text = repr(report)
    assert "BatchNorm2d" in text and "Lipschitz constant" in text and "<table" in report._repr_html_()
    frame = report.to_frame()
    assert list(frame["kind"]) == [layer.kind for layer in report.layers] and len(frame) == 6


def test_the_report_of_a_number_says_that_it_is_not_checked():
    embedder = PretrainedEmbedder(encoder(), input_shape=(1, 8, 8), lipschitz=3.0).fit(np.zeros((2, 64)))
    assert embedder.lipschitz_report().constant == 3.0 and "not checked" in repr(embedder.lipschitz_report())


def test_what_is_no_torch_module_or_no_array_has_no_report():
    with pytest.raises(Uncertifiable, match="torch modules"):
        PretrainedEmbedder(np.tanh).fit(np.zeros((2, 3))).lipschitz_report()

    class Texts(nn.Module):
        def forward(self, texts):
            return torch.tensor([[float(len(text))] for text in texts])

    with pytest.raises(Uncertifiable, match="texts and files"):
        PretrainedEmbedder(Texts()).fit(["a", "b"]).lipschitz_report()


@pytest.mark.parametrize("value", [0, -1.0, np.inf, np.nan, True, "Global", "lipschitz", [1.0]])
def test_lipschitz_must_be_a_number_or_a_known_word(value):
    with pytest.raises(ValueError, match="lipschitz must be None"):
        PretrainedEmbedder(encoder(), input_shape=(1, 8, 8), lipschitz=value).fit(np.zeros((2, 64)))


def test_a_local_bound_is_for_networks_of_relus():
    network = nn.Sequential(nn.Linear(6, 6), nn.GELU())
    pipe = skcert.make_certified_pipeline(PretrainedEmbedder(network, lipschitz="local"), skcert.CertifiedGMMClassifier())
    X = np.random.default_rng(0).random((20, 6))
    with pytest.raises(Uncertifiable, match="'1' .GELU.*global"):
        pipe.fit(X, np.arange(20) % 2).certify(X)


# -- CLEVER ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"n_batches": 0},
        {"batch_size": 1.5},
        {"batch_size": True},
        {"rho": 0},
        {"rho": np.nan},
        {"rho": True},
        {"random_state": -1},
    ],
)
def test_clever_refuses_settings_that_cannot_be(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Clever(**settings)


@pytest.mark.parametrize("norm", [1, 2, np.inf])
@pytest.mark.parametrize("d", [1, 2, 20])
def test_balls_are_sampled_evenly_and_within(norm, d):
    points = ball_points(20_000, d, norm, np.random.RandomState(0))
    lengths = np.linalg.norm(points, ord=norm, axis=1)
    assert lengths.max() <= 1 + 1e-12
    np.testing.assert_allclose(np.mean(lengths <= 0.9), 0.9**d, atol=0.01)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=0.02)


def test_the_end_of_a_reverse_weibull_distribution_is_found():
    from scipy.stats import weibull_max

    ends = [extreme_value(weibull_max.rvs(2.0, 3.0, 0.5, size=100, random_state=k)) for k in range(50)]
    assert abs(np.median(ends) - 3.0) < 0.05
    assert extreme_value(np.full(5, 2.0)) == 2.0
    sample = np.random.RandomState(0).rand(10)
    assert extreme_value(sample) >= sample.max()


def test_the_estimate_of_a_linear_margin_is_its_distance_and_rho_caps_it():
    slope = np.array([3.0, 4.0])
    gradient = lambda moves: np.broadcast_to(slope, moves.shape)  # noqa: E731
    assert radius(10.0, gradient, 2, 2, Clever(), 0) == pytest.approx(2.0)
    assert radius(10.0, gradient, 2, np.inf, Clever(), 0) == pytest.approx(10 / 7)
    assert radius(10.0, gradient, 2, 2, Clever(rho=0.5), 0) == 0.5
    assert radius(10.0, lambda moves: np.zeros_like(moves), 2, 2, Clever(), 0) == 0.0


def test_the_estimate_of_a_curved_margin_sees_the_slopes_around():
    gradient = lambda moves: np.stack([1 + 2 * np.abs(moves[:, 0]), np.zeros(len(moves))], axis=1)  # noqa: E731
    found = radius(1.0, gradient, 2, 2, Clever(n_batches=50, batch_size=32, rho=1.0), 0)
    assert 1 / 3.3 <= found <= 1 / 2.8
