"""What tracing records is what runs: modules that can tell a stand-in for a tensor from a real one are refused.

What they hide is silent at small numbers, or shows only in some batches, so that no comparison of values could find it out.
"""

import pytest

torch = pytest.importorskip("torch")

from torch import fx, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from skcert.lipschitz import layers  # noqa: E402
from skcert.lipschitz import network as traces  # noqa: E402
from skcert.lipschitz.network import trace  # noqa: E402
from skcert.lipschitz.product import constants  # noqa: E402
from skcert.perturbations import Uncertifiable  # noqa: E402


def far(x):
    """Steep, but only for inputs a hundred times as large as the examples."""
    return x + 30 * F.relu(x - 20)


class Hides(nn.Module):
    """A layer, and what a function of the module and a batch does to it."""

    def __init__(self, function):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.function, self.calls = nn.Linear(6, 6), function, 0
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        return self.function(self, self.layer(x))


def bound(module, rows=2):
    return constants(trace(module.eval(), None, None, torch.rand(rows, 6, generator=torch.Generator().manual_seed(0)))).total


@pytest.fixture(autouse=True)
def without_search(monkeypatch):
    monkeypatch.setattr(traces, "_steepest", lambda *args: 0.0)


def caught(kinds):
    def function(m, x):
        try:
            return far(x) if float(x.max()) > 10 else x
        except kinds:
            return x

    return function


def caught_by_type(m, x):
    try:
        return x * torch.from_numpy(x.numpy().copy()).clamp(0, 1)
    except BaseException:
        return x


class Louder(TorchFunctionMode):
    """Multiplies louder than it says."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        return far(result) if getattr(func, "__name__", "") == "tanh" else result


class LouderBelow(TorchDispatchMode):
    @classmethod
    def _should_skip_dynamo(cls):  # torch would import its compiler
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        return far(result) if func is torch.ops.aten.tanh.default else result


def in_mode(mode):
    def function(m, x):
        with mode():
            return torch.tanh(x)

    return function


def counted(m, x):
    m.calls += 1
    return far(x) if m.calls > 1000 else x


def counted_in_a_buffer(m, x):
    m.count += 1
    return torch.where(m.count > 1000, torch.tensor(30.0), torch.tensor(1.0)) * x


class Counts(nn.Module):
    """A parametrisation that grows as it is called."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, weight):
        self.calls += 1
        return weight * 30 if self.calls > 1000 else weight


def parametrised():
    module = Hides(lambda m, x: x)
    nn.utils.parametrize.register_parametrization(module.layer, "weight", Counts())
    return module


#: what tells a stand-in from a tensor, or a trace from a run
TELLING = {
    "isinstance": lambda m, x: far(x) if not isinstance(x, fx.Proxy) else x,
    "isinstance of a tensor": lambda m, x: far(x) if isinstance(x, torch.Tensor) else x,
    "type": lambda m, x: far(x) if type(x) is torch.Tensor else x,
    "type, for another operator": lambda m, x: x + (torch.sinh if type(x) is torch.Tensor else torch.tanh)(F.relu(x - 20)),
    "type, for another number": lambda m, x: x + (30 if type(x) is torch.Tensor else 1) * F.relu(x - 20),
    "type, for another constant": lambda m, x: x + torch.full((6,), 30.0 if type(x) is torch.Tensor else 1.0) * F.relu(x - 20),
    "the name of the type": lambda m, x: far(x) if type(x).__name__ == "Tensor" else x,
    "is_tensor": lambda m, x: far(x) if torch.is_tensor(x) else x,
    "is_floating_point": lambda m, x: far(x) if torch.is_floating_point(x) is True else x,
    "hasattr": lambda m, x: x if hasattr(x, "node") else far(x),
    "hasattr of the tracer": lambda m, x: far(x) if not hasattr(x, "tracer") else x,
    "the trace": lambda m, x: far(x) if not isinstance(getattr(x, "node", None), fx.Node) else x,
    "a method": lambda m, x: far(x) if type(x.add).__name__ == "builtin_function_or_method" else x,
    "an error": caught(Exception),
    "a TypeError": caught(TypeError),
    "any error": caught(BaseException),
    "numpy": caught_by_type,
    "the call": lambda m, x: far(x) if nn.Module.__call__ is traces._CALL else x,
    "gradients": lambda m, x: x if torch.is_inference_mode_enabled() else far(x),
    "inference mode": lambda m, x: far(x) if torch.is_inference_mode_enabled() else x,
    "an inference tensor": lambda m, x: far(x) if x.is_inference() is True else x,
    "eight rows": lambda m, x: far(x) if len(x) >= 8 else x,
    "eight rows of the shape": lambda m, x: far(x) if x.shape[0] >= 8 else x,
    "one row": lambda m, x: far(x) if len(x) == 1 else x,
    "three rows": lambda m, x: x + (30 if x.size(0) > 2 else 1) * F.relu(x - 20),
    "the number of rows": lambda m, x: x + len(x) * F.relu(x - 20),
    "the number of rows as a tensor": lambda m, x: x + torch.tensor(float(len(x))) * F.relu(x - 20),
    "a position": lambda m, x: x + torch.arange(len(x))[:, None] * F.relu(x - 20),
    "the ninth row": lambda m, x: x + 30.0 * (torch.arange(len(x)) == 8)[:, None] * F.relu(x - 20),
    "a loop over rows": lambda m, x: [x := x + F.relu(x - 20) for _ in range(len(x))][-1],
    "a function mode": in_mode(Louder),
    "a dispatch mode": in_mode(LouderBelow),
    "a counter": counted,
    "a counter in a buffer": counted_in_a_buffer,
}


@pytest.mark.parametrize("case", TELLING)
@pytest.mark.filterwarnings("ignore")
def test_what_can_tell_a_trace_from_a_run_is_refused(case):
    module = Hides(TELLING[case])
    layer = float(torch.linalg.matrix_norm(module.layer.weight.double(), 2))
    try:
        found = bound(module)
    except Uncertifiable:
        return
    assert found >= 30 * layer  # what runs was recorded after all


def test_a_parametrisation_that_counts_is_refused():
    with pytest.raises(Uncertifiable, match="changes layer.parametrizations.weight.0.calls whenever it runs"):
        bound(parametrised())


REPLACED = [
    *((F, "linear"), (F, "relu"), (F, "conv2d"), (torch.Tensor, "__rsub__"), (nn.modules.conv._ConvNd, "_conv_forward")),
    *((nn.Linear, "_call_impl"), (nn.Linear, "__call__"), (nn.Module, "__call__"), (nn.Module, "_call_impl")),
    *((nn.Module, "_wrapped_call_impl"), (nn.Module, "__getattr__"), (nn.ReLU, "__getattribute__")),
]


@pytest.mark.parametrize("home, name", REPLACED, ids=lambda part: getattr(part, "__name__", part))
def test_parts_of_torch_that_somebody_replaced_are_refused_by_name(home, name, monkeypatch):
    before = getattr(home, name)

    def louder(*args, **kwargs):
        result = before(*args, **kwargs)
        return far(result) if isinstance(result, torch.Tensor) and name != "relu" else result

    monkeypatch.setattr(home, name, louder, raising=False)
    with pytest.raises(Uncertifiable, match=rf"{home.__name__}\.{name} of torch was replaced"):
        bound(nn.Sequential(nn.Linear(6, 6), nn.ReLU()))


def test_what_was_replaced_before_skcert_was_imported_is_seen_by_its_file(monkeypatch):
    before = F.relu
    monkeypatch.setattr(F, "relu", lambda x, inplace=False: far(before(x)))
    monkeypatch.setitem(layers._AS_IMPORTED[F], "relu", F.relu)
    with pytest.raises(Uncertifiable, match=r"torch.nn.functional\.relu of torch was replaced"):
        bound(nn.Sequential(nn.Linear(6, 6), nn.ReLU()))


def test_one_function_of_torch_in_the_place_of_another_is_refused(monkeypatch):
    monkeypatch.setattr(F, "sigmoid", torch.exp)
    with pytest.raises(Uncertifiable, match=r"torch.nn.functional\.sigmoid of torch was replaced"):
        bound(nn.Sequential(nn.Linear(6, 6), nn.Sigmoid()))
