"""Functions of torch are known by identity and their arguments by torch's names; what is not known is refused."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import fx, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from skcert import register_lipschitz  # noqa: E402
from skcert.lipschitz import network as traces  # noqa: E402
from skcert.lipschitz.local import ROWS, LocalBound  # noqa: E402
from skcert.lipschitz.network import trace  # noqa: E402
from skcert.lipschitz.product import constants  # noqa: E402
from skcert.lipschitz.rules import FUNCTIONS, MODULES, OWN  # noqa: E402
from skcert.perturbations import Uncertifiable  # noqa: E402

aten = torch.ops.aten
SHAPE = (4, 6)


class Does(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def bound(module, shape=SHAPE, rows=2):
    example = torch.rand(rows, *shape, generator=torch.Generator().manual_seed(0))
    return constants(trace(module.eval(), None, None, example)).total


@pytest.fixture
def without_search(monkeypatch):
    """The rules alone, without the search for quotients that contradict them."""
    monkeypatch.setattr(traces, "_steepest", lambda *args: 0.0)


# -- arguments ---------------------------------------------------------------------------------------------------------

DEVIATION = torch.tensor([0.01, 1.0, 4.0, 9.0])

#: calls by position, by name and in place, and their constants
CALLS = {
    "rsub": (lambda x: torch.rsub(x, 3 * x, alpha=0.1), 3.1),
    "rsub of a number": (lambda x: torch.rsub(x, 1.0, alpha=5), 5.0),
    "rsub by position": (lambda x: aten.rsub(x, 2.0, 4.0), 4.0),
    "sub": (lambda x: torch.sub(x, x, alpha=3), 4.0),
    "sub by name": (lambda x: torch.sub(other=x, input=2 * x, alpha=3), 5.0),
    "add by position": (lambda x: aten.add(x, 2.0, 4.0), 1.0),
    "add of a tensor": (lambda x: x.add(x, alpha=-5), 6.0),
    "elu": (lambda x: F.elu(x, 3.0), 3.0),
    "elu in place": (lambda x: F.elu(x + 0, 3.0, True), 3.0),
    "elu with a scale": (lambda x: aten.elu(x, 1.0, 3.0), 3.0),
    "elu with scales": (lambda x: aten.elu(x, 2.0, 3.0, 4.0), 24.0),
    "elu with scales by name": (lambda x: aten.elu.default(x, scale=0.5, alpha=6.0), 3.0),
    "leaky_relu": (lambda x: F.leaky_relu(x, -4.0), 4.0),
    "leaky_relu by name": (lambda x: aten.leaky_relu(x, negative_slope=4.0), 4.0),
    "celu": (lambda x: torch.celu(x, 0.1), 1.0),
    "softplus": (lambda x: F.softplus(x, 3.0, 30.0), 1.0),
    "gelu": (lambda x: F.gelu(x, approximate="tanh"), 1.12905),
    "torch.batch_norm": (
        lambda x: torch.batch_norm(x, torch.ones(4), torch.zeros(4), torch.zeros(4), DEVIATION, False, 0.1, 0.0, False),
        10.0,
    ),
    "F.batch_norm": (lambda x: F.batch_norm(x, torch.zeros(4), DEVIATION, torch.ones(4), eps=0.0), 10.0),
    "torch.layer_norm": (lambda x: torch.layer_norm(x, (6,), torch.full((6,), 2.0), torch.zeros(6), 0.25), 4.0),
    "instance_norm": (lambda x: F.instance_norm(x, eps=0.25), 2.0),
    "instance_norm as it was": (
        lambda x: F.instance_norm(x, torch.zeros(4), DEVIATION, use_input_stats=False, eps=0.0),
        10.0,
    ),
    "avg_pool1d": (lambda x: F.avg_pool1d(x, 2, stride=2), 0.5**0.5),
    "avg_pool1d by position": (lambda x: aten.avg_pool1d(x, [3], [1], [1], False, False), None),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, kernel_size=2, divisor_override=1), 2.0),
    "max_pool1d": (lambda x: torch.max_pool1d(x, 3, 1, 1), 3**0.5),
    "max_pool1d by name": (lambda x: F.max_pool1d(x, stride=1, kernel_size=2), 2**0.5),
    "sum": (lambda x: x.sum(2, True), 6**0.5),
    "sum by name": (lambda x: torch.sum(x, axis=(1, 2), keepdims=True), 24**0.5),
    "mean": (lambda x: x.mean((1, 2)), 24**-0.5),
    "amax": (lambda x: x.amax(1), 1.0),
    "softmax": (lambda x: torch.softmax(x, -1), 0.5),
    "repeat": (lambda x: aten.repeat(x, [1, 2, 2]), 2.0),
    "expand": (lambda x: x[:, None].expand(-1, 3, -1, -1), 3**0.5),
    "cat by name": (lambda x: torch.cat(tensors=[x, 2 * x], dim=1), 5**0.5),
    "concat": (lambda x: torch.concatenate((x, x), axis=-1), 2**0.5),
    "cat of a tuple": (lambda x: torch.cat(x.chunk(2, 1), 2), 1.0),
    "hstack": (lambda x: torch.hstack([x, x]), 2**0.5),
    "clamp by numbers": (lambda x: torch.clamp(x, -1.0, max=2.0), 1.0),
    "clamp that repeats": (lambda x: x[:, :1].clamp(min=torch.full((4, 6), -1e3)), 2.0),
    "div": (lambda x: torch.div(x, 0.5, rounding_mode=None), 2.0),
    "mul by name": (lambda x: torch.mul(other=torch.tensor(3.0), input=x), 3.0),
    "dropout": (lambda x: torch.dropout(x, 0.5, False), 1.0),
    "linear": (lambda x: F.linear(input=x, weight=2 * torch.eye(6)), 2.0),
    "mm": (lambda x: torch.mm(x.flatten(1), torch.eye(24)), 1.0),
    "conv1d": (lambda x: F.conv1d(x, torch.ones(1, 4, 1), None, 2), 2.0),
    "pad": (lambda x: F.pad(x, (1, 1), "constant", 5.0), 1.0),
    "pad that repeats": (lambda x: F.pad(x, pad=(2, 0), mode="replicate"), 3**0.5),
    "logsigmoid": (lambda x: F.logsigmoid(x), 1.0),
    "transposed": (lambda x: x.mT, 1.0),
}


@pytest.mark.parametrize("call", CALLS)
def test_arguments_are_those_that_torch_takes_them_for(call, without_search):
    function, constant = CALLS[call]
    found, module = bound(Does(function)), Does(function)
    assert steepest_in_float32(module) <= found * (1 + 1e-5)
    if constant is not None:
        np.testing.assert_allclose(found, constant, rtol=2e-4)


def steepest_in_float32(module):
    """The largest singular value of the Jacobian at some random inputs of several sizes."""
    best, generator = 0.0, torch.Generator().manual_seed(0)
    for scale in (1e-2, 1.0, 30.0, 0.1, 3.0):
        x = scale * torch.randn(SHAPE, generator=generator)
        jacobian = torch.autograd.functional.jacobian(lambda z: module(z[None]).flatten(), x)
        best = max(best, float(torch.linalg.matrix_norm(jacobian.reshape(-1, x.numel()), 2)))
    return best


REFUSED = {
    "div that rounds": (lambda x: torch.div(x, 0.5, rounding_mode="floor"), "rounds"),
    "elu that grows": (lambda x: aten.elu(x, 1.0, 1.0, -1.0), "input_scale"),
    "active dropout": (lambda x: F.dropout(x, 0.0), None),
    "a sum over no axes, which are all": (lambda x: x + 0 * x.sum(()), "rows of the batch"),
    "softmax over the axis that torch takes": (lambda x: F.softmax(x), "rows of the batch|beside"),
    "a normalisation over the batch": (lambda x: F.layer_norm(x, x.shape), "rows of the batch|rows as it does"),
    "a private function": (lambda x: aten._softmax(x, 1, False), "no rule"),
    "statistics of the batch": (lambda x: F.batch_norm(x, None, None, training=True), "statistics"),
    "running statistics": (lambda x: F.instance_norm(x, torch.zeros(4), torch.ones(4)), "writes into a constant or a buffer"),
    "positions": (lambda x: F.max_pool1d(x, 2, return_indices=True)[0], "jump"),
    "an unknown rounding": (lambda x: torch.round(x), "no rule"),
}


@pytest.mark.parametrize("call", REFUSED)
@pytest.mark.filterwarnings("ignore")  # of torch, about softmax without dim
def test_arguments_without_a_rule_are_refused(call, without_search):
    function, words = REFUSED[call]
    if words is None:
        assert bound(Does(function)) == 1.0
        return
    with pytest.raises(Uncertifiable, match=words):
        bound(Does(function))


def test_arguments_that_a_rule_does_not_name_are_refused_by_name(without_search, monkeypatch):
    monkeypatch.setitem(FUNCTIONS, "elu", lambda x, alpha=1.0: max(1.0, abs(alpha)))
    assert bound(Does(lambda x: aten.elu(x, 2.0, 1.0))) == pytest.approx(2.0)  # torch's default
    with pytest.raises(Uncertifiable, match=r"elu.*argument scale=3.0 is not understood"):
        bound(Does(lambda x: aten.elu(x, 2.0, 3.0)))


# -- identity ----------------------------------------------------------------------------------------------------------


def relu(x):
    """Nothing of torch's, for all its name."""
    return 100 * F.relu(x - 50)


fx.wrap("relu")


def test_a_function_is_not_torchs_because_of_its_name_or_module(without_search):
    for module in ("torchhelpers", "torch.nn.functional", "operator"):
        relu.__module__ = module
        with pytest.raises(Uncertifiable, match=r"no rule for relu"):
            bound(Does(lambda x: relu(x)))


def test_a_custom_operator_is_not_torchs_because_of_its_name(without_search):
    library = torch.library.Library("skcert_tests", "DEF")
    library.define("relu(Tensor x) -> Tensor")
    library.impl("relu", lambda x: 100 * torch.relu(x - 50), "CPU")
    for operator in (torch.ops.skcert_tests.relu, torch.ops.skcert_tests.relu.default):
        with pytest.raises(Uncertifiable, match="no rule for relu"):
            bound(Does(lambda x, operator=operator: operator(x)))
    assert bound(Does(lambda x: aten.relu(x))) == bound(Does(lambda x: aten.relu.default(x))) == 1.0


def test_a_registered_function_is_not_torchs_because_of_its_name():
    try:
        register_lipschitz(relu, lambda x: 100.0)
        module = Does(lambda x: relu(x.flatten(1)))
        assert bound(module) == pytest.approx(100.0)
        traced = trace(module.eval(), None, None, torch.rand(ROWS, *SHAPE))
        with pytest.raises(Uncertifiable, match="local bounds are for"):
            LocalBound(traced, constants(traced))
    finally:
        FUNCTIONS.pop(relu, None)


class Louder(torch.Tensor):
    """Multiplies louder than it says."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        result = super().__torch_function__(function, types, args, kwargs or {})
        named = getattr(function, "__name__", "") in ("mul", "linear") and isinstance(result, torch.Tensor)
        return 100 * F.relu(result.as_subclass(torch.Tensor) - 50) + result.as_subclass(torch.Tensor) if named else result


def test_subclasses_of_tensors_are_refused(without_search):
    scale = torch.ones(6).as_subclass(Louder)
    with pytest.raises(Uncertifiable, match="Louder.*subclass"):
        bound(Does(lambda x: torch.mul(x, scale)))
    with pytest.raises(Uncertifiable, match="subclass|has no Lipschitz bound|cannot trace"):
        bound(Does(lambda x: x.as_subclass(Louder) * 1.0))
    layer = nn.Linear(6, 6)
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Louder))
    with pytest.raises(Uncertifiable, match="of its own"):
        bound(nn.Sequential(layer))


def test_a_module_is_not_torchs_because_of_its_module():
    for name in ("torch.nn.modules.activation", "torch.nn.mine"):
        kind = type("ReLU", (nn.Module,), {"forward": lambda self, x: 3 * x, "__module__": name})
        assert bound(nn.Sequential(kind())) == pytest.approx(3.0)


def test_a_registered_module_is_not_torchs_because_of_its_name(without_search):
    def forward(self, x):
        return x.add_(100 * F.relu(x - 50))

    loud = type("ReLU", (nn.Module,), {"forward": forward})
    norm = type("BatchNorm1d", (nn.Module,), {"forward": lambda self, x: 7 * x})

    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = loud()

        def forward(self, x):
            h = x + 0
            self.act(h)
            return h

    try:
        register_lipschitz(loud, lambda module, x: 101.0)
        register_lipschitz(norm, lambda module, x: 7.0)
        with pytest.raises(Uncertifiable, match="in place"):
            bound(Reads())
        layer = nn.Linear(6, 6)
        found = bound(nn.Sequential(layer, norm()), (6,))
        np.testing.assert_allclose(found, 7 * float(torch.linalg.matrix_norm(layer.weight.double(), 2)), rtol=1e-9)
    finally:
        for kind in (loud, norm):
            MODULES.pop(kind, None)
            OWN.discard(kind)


def test_a_class_that_only_says_it_is_parametrised_is_refused(without_search):
    class Loud(nn.ReLU):
        def __init__(self):
            super().__init__()
            self.parametrizations = nn.ModuleDict({"weight": nn.Identity()})

        def forward(self, x):
            return x + 100 * F.relu(x - 50)

    with pytest.raises(Uncertifiable, match="of its own"):
        bound(nn.Sequential(Loud()))


def test_methods_that_are_replaced_for_all_layers_are_refused(without_search, monkeypatch):
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: x + 100 * F.relu(x - 50))
    with pytest.raises(Uncertifiable, match=r"ReLU\.forward of torch was replaced"):
        bound(nn.Sequential(nn.ReLU()))


def test_settings_count_as_they_were_when_the_layer_was_called(without_search):
    class Changes(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.LeakyReLU(0.1)

        def forward(self, x):
            self.act.negative_slope = 5.0
            x = self.act(x)
            self.act.negative_slope = 0.1
            return self.act(x)

    assert bound(Changes()) == pytest.approx(5.0)


# -- hooks, training, and what the Jacobian says -----------------------------------------------------------------------


@pytest.mark.parametrize("always", [False, True])
def test_global_hooks_are_refused(always, without_search):
    module = torch.nn.modules.module
    hooks = [
        lambda: module.register_module_forward_hook(lambda m, args, value: 100 * value, always_call=always),
        lambda: module.register_module_forward_pre_hook(lambda m, args: None),
    ]
    for register in hooks:
        handle = register()
        try:
            with pytest.raises(Uncertifiable, match="global forward hooks"):
                bound(nn.Sequential(nn.Linear(6, 6)))
        finally:
            handle.remove()
    assert bound(nn.Sequential(nn.ReLU())) == 1.0


class AlwaysTraining(nn.Module):
    """Puts a part into training mode, whatever it is told itself."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x):
        self.part.train()
        return self.part(x)


def test_instance_normalisation_in_training_mode_divides_by_the_deviation_of_its_input(without_search):
    part = nn.InstanceNorm1d(4, eps=1e-2, track_running_stats=True, affine=True)
    part.running_var.fill_(100.0)
    found = bound(AlwaysTraining(part))
    assert found == pytest.approx(10.0)
    x = 1e-3 * torch.randn(2, 2, *SHAPE, generator=torch.Generator().manual_seed(0))
    network = AlwaysTraining(part)
    assert float((network(x[0]) - network(x[1])).norm() / (x[0] - x[1]).norm()) > 5
    assert bound(nn.Sequential(part)) < 0.2  # with a parent that leaves it in evaluation mode


@pytest.mark.parametrize("part", [nn.BatchNorm1d(4), nn.Dropout(0.5), nn.AlphaDropout(0.5), nn.RReLU(1.0, 3.0)], ids=repr)
def test_other_layers_in_training_mode_are_refused(part, without_search, monkeypatch):
    monkeypatch.setattr(traces, "same", lambda *values: True)  # that they are random or depend on the batch goes unnoticed
    with pytest.raises(Uncertifiable, match="training mode|dropout is active|random slopes"):
        bound(AlwaysTraining(part))


@pytest.mark.parametrize("size", [60, 300])
def test_a_rule_that_only_the_jacobian_contradicts_is_an_error(size):
    """Quotients of two rows are near the mean of 60 singular values; the largest alone is above the constant."""

    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            turn, _ = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(0)))
            self.register_buffer("matrix", turn @ torch.diag(torch.tensor([2.0] + [0.5] * (size - 1))))

        def forward(self, x):
            return F.relu(x - 0.2) @ self.matrix.T

    class Quiet(Turned):
        @torch.no_grad()
        def forward(self, x):
            return super().forward(x)

    try:
        for kind in (Turned, Quiet):
            register_lipschitz(kind, lambda module, x: 1.2)
        with pytest.raises(Uncertifiable, match="comes out as 1.2, but two rows were found with"):
            bound(nn.Sequential(Turned()), (size,))
        assert bound(nn.Sequential(Quiet()), (size,)) == pytest.approx(1.2)  # without a gradient nothing more is known
        register_lipschitz(Turned, lambda module, x: 2.0)
        assert bound(nn.Sequential(Turned()), (size,)) == pytest.approx(2.0)
    finally:
        for kind in (Turned, Quiet):
            MODULES.pop(kind, None)
            OWN.discard(kind)


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("depth", [1, 20])
def test_rounding_does_not_refuse_a_constant_that_is_reached(depth, offset):
    """Orthogonal layers keep all lengths; far offsets that cancel round a hundred times as much."""
    torch.manual_seed(0)
    layers = []
    for _ in range(depth):
        layer = nn.Linear(30, 30)
        nn.init.orthogonal_(layer.weight)
        nn.init.constant_(layer.bias, offset)
        back = nn.Linear(30, 30)
        with torch.no_grad():
            back.weight.copy_(layer.weight.T)
            back.bias.copy_(-layer.weight.T @ layer.bias)
        layers += [layer, back]
    assert bound(nn.Sequential(*layers), (30,)) == pytest.approx(1.0, rel=1e-4)
