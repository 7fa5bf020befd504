"""Where the latents of a PretrainedEmbedder go, and the precision they are computed in, claim by claim."""

import pickle
import sys
import types
import warnings

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skcert import PretrainedEmbedder
from skcert.embedding.latents import _gathering_device, handed_over
from skcert.embedding.precision import computing_in
from skcert.embedding.torch_modules import as_own_tensor

torch = pytest.importorskip("torch")


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return torch.nn.Linear(4, 3)


@pytest.fixture
def cuda():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda", torch.cuda.current_device())


def means(batch):
    return batch.mean(axis=1, keepdims=True)


# -----------------------------------------------------------------------------
# output_device


@pytest.mark.parametrize("output_device", ["torch", "cpu", torch.device("cpu")])
@pytest.mark.parametrize("encoder", ["module", "numpy callable", "torch callable"])
def test_latents_as_tensors_are_the_numpy_ones(net, X, output_device, encoder):
    encoder = {"module": net, "numpy callable": means, "torch callable": lambda batch: net(torch.tensor(batch))}[encoder]
    expected = PretrainedEmbedder(encoder, device="cpu").fit_transform(X)
    embedder = PretrainedEmbedder(encoder, device="cpu", output_device=output_device)
    for Z in (embedder.fit_transform(X), embedder.transform(X)):
        assert type(Z) is torch.Tensor and Z.dtype == torch.float64 and Z.device.type == "cpu"
        np.testing.assert_array_equal(Z.numpy(), expected)
    np.testing.assert_array_equal(expected, expected.astype(np.float32))  # the encoder's numbers, widened


def test_tensors_can_be_trained_on(net, X):
    Z = PretrainedEmbedder(net, output_device="torch").fit_transform(X)
    assert not Z.is_inference() and not Z.requires_grad
    head = torch.nn.Linear(3, 1, dtype=torch.float64, device=Z.device)
    head(Z).sum().backward()
    assert head.weight.grad is not None
    Z.mul_(2.0)


@pytest.mark.parametrize("output_device", ["numpy", "torch"])
def test_the_cache_keeps_numpy_and_serves_every_output(net, X, tmp_path, output_device):
    expected = PretrainedEmbedder(net, device="cpu", memory=tmp_path).fit_transform(X)
    passes = []
    net.register_forward_hook(lambda *args: passes.append(1))
    Z = PretrainedEmbedder(net, device="cpu", memory=tmp_path, output_device=output_device).fit_transform(X)
    assert not passes and isinstance(Z, np.ndarray if output_device == "numpy" else torch.Tensor)
    np.testing.assert_array_equal(np.asarray(Z), expected)


def test_new_parameters_survive_clone_pickle_and_a_grid_search(net, X):
    embedder = PretrainedEmbedder(net, output_device=torch.device("cpu"), precision="tf32")
    assert clone(embedder).get_params() == embedder.get_params()
    assert pickle.loads(pickle.dumps(embedder)).output_device == torch.device("cpu")
    pipe = make_pipeline(PretrainedEmbedder(net, output_device="cpu", progress=False), LogisticRegression())
    params = {"pretrainedembedder__output_device": ["numpy", "cpu"], "pretrainedembedder__precision": ["full", "tf32"]}
    grid = GridSearchCV(pipe, params, cv=2, error_score="raise").fit(np.repeat(X, 3, axis=0), np.arange(18) % 2)
    assert len(set(grid.cv_results_["mean_test_score"])) == 1


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_frames_hold_numpy_only(net, X, container):
    message = f"output_device='torch' cannot be put into a {container} container"
    embedder = PretrainedEmbedder(net, output_device="torch").set_output(transform=container)
    with pytest.raises(ValueError, match=message):
        embedder.fit(X)
    with config_context(transform_output=container), pytest.raises(ValueError, match=message):
        PretrainedEmbedder(net, output_device="torch").fit_transform(X)
    embedder.set_output(transform="default").fit(X)


@pytest.mark.parametrize("output_device", ["gpu", 3.5, None, ["cpu"]])
def test_an_unknown_output_device_is_an_error(net, X, output_device):
    with pytest.raises(ValueError, match="output_device must be 'numpy', 'torch', 'cupy' or a torch device"):
        PretrainedEmbedder(net, output_device=output_device).fit(X)


def test_a_cuda_output_without_cuda_is_an_error(net, X, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="output_device='cuda:0', but torch finds no CUDA device"):
        PretrainedEmbedder(net, output_device="cuda:0").fit(X)


@pytest.mark.parametrize("memory", [None, "cache"])
def test_cupy_needs_an_encoder_on_cuda(net, X, memory, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "cupy", types.ModuleType("cupy"))
    passes = []
    net.register_forward_hook(lambda *args: passes.append(1))
    with pytest.raises(ValueError, match="output_device='cupy' needs an encoder that runs on a CUDA device, but .* 'cpu'"):
        PretrainedEmbedder(net, device="cpu", output_device="cupy", memory=memory).fit(X)
    assert not passes
    with pytest.raises(ValueError, match="output_device='cupy' needs an encoder that runs on a CUDA device, but .* 'cpu'"):
        PretrainedEmbedder(means, output_device="cupy").fit_transform(X)


def test_without_cupy_the_error_names_the_extras(X, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ImportError, match=r"pip install skcert\[cuda12\] or skcert\[cuda13\]"):
        PretrainedEmbedder(means, output_device="cupy").fit(X)


def test_without_torch_the_error_names_the_extra(X, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install skcert\[torch\]"):
        PretrainedEmbedder(means, output_device="torch").fit(X)
    assert PretrainedEmbedder(means).fit_transform(X).shape == (6, 1)


def test_latents_that_would_crowd_the_encoder_out_are_gathered_in_main_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4000, 8000))
    gpu = torch.device("cuda", 0)
    assert _gathering_device(gpu, 1000, stays=False) == gpu
    assert _gathering_device(gpu, 1001, stays=False).type == "cpu"
    assert _gathering_device(gpu, 1001, stays=True) == gpu
    assert _gathering_device(torch.device("cpu"), 10**9, stays=False).type == "cpu"


def test_all_bad_rows_are_named_at_once(X):
    X = np.repeat(X, 2, axis=0)
    X[[1, 3, 4, 6, 8, 11]] = 0
    with pytest.raises(ValueError, match=r"in 6 of 12 rows \(rows of X: 1, 3, 4, 6, 8, \.\.\.\)"):
        PretrainedEmbedder(lambda batch: np.where(batch == 0, np.nan, batch), batch_size=2, progress=False).fit_transform(X)


@pytest.mark.gpu
def test_latents_stay_on_the_gpu(net, X, cuda):
    expected = PretrainedEmbedder(net, device="cpu").fit_transform(X)
    Z = PretrainedEmbedder(net, output_device="torch").fit_transform(X)
    assert Z.device == cuda and Z.dtype == torch.float64 and not Z.is_inference()
    np.testing.assert_allclose(Z.cpu().numpy(), expected, rtol=1e-5, atol=1e-6)
    assert PretrainedEmbedder(net, output_device="cpu").fit_transform(X).device.type == "cpu"
    on_cpu_first = PretrainedEmbedder(net, device="cpu", output_device="cuda").fit_transform(X)
    assert on_cpu_first.device.type == "cuda"


@pytest.mark.gpu
def test_cupy_shares_the_memory_of_the_tensor(net, X, cuda):
    cupy = pytest.importorskip("cupy")
    Z = PretrainedEmbedder(net, output_device="cupy").fit_transform(X)
    assert isinstance(Z, cupy.ndarray) and Z.dtype == cupy.float64
    np.testing.assert_allclose(cupy.asnumpy(Z), PretrainedEmbedder(net, device="cpu").fit_transform(X), rtol=1e-5, atol=1e-6)
    tensor = torch.zeros(2, 3, device=cuda)
    shared = handed_over(tensor, "cupy", cuda)
    assert shared.device.id == cuda.index


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_batches_in_flight_are_not_mixed_up(cuda, dtype):
    X = np.arange(4096, dtype=np.int64).reshape(-1, 1).astype(dtype).repeat(64, axis=1)
    Z = PretrainedEmbedder(torch.nn.Identity(), device=cuda, batch_size=7, progress=False).fit_transform(X)
    np.testing.assert_array_equal(Z, X)


@pytest.mark.gpu
def test_a_gpu_is_not_waited_for_in_every_batch(net, cuda):
    X = np.zeros((64, 4), np.float32)
    embedder = PretrainedEmbedder(net.to(cuda), batch_size=4, progress=False, output_device="torch").fit(X)
    rows = embedder._check(X, reset=False)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            embedder._embed(rows, stays=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert sum("synchroniz" in str(warning.message) for warning in caught) <= 2  # the one look at all latents


# -----------------------------------------------------------------------------
# precision


def flags():
    backends = torch.backends
    parts = (backends.cuda.matmul, *(getattr(backend, "conv", None) for backend in (backends.cudnn, backends.mkldnn)))
    return (
        torch.get_float32_matmul_precision(),
        backends.cuda.matmul.allow_tf32,
        backends.cudnn.allow_tf32,
        *(getattr(part, "fp32_precision", None) for part in parts),
    )


class Flags(torch.nn.Linear):
    """Keeps the flags and the type of its output of every pass."""

    def __init__(self):
        super().__init__(4, 3)
        self.seen = []

    def forward(self, x):
        z = super().forward(x)
        backends = torch.backends
        self.seen.append((backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, z.dtype))
        return z


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("full", (False, False, torch.float32)),
        ("tf32", (True, True, torch.float32)),
        ("bfloat16", (False, False, torch.bfloat16)),
    ],
)
def test_precision_is_what_is_asked_for_and_put_back(X, precision, expected):
    before = flags()
    assert before[2]  # torch's own default: TF32 in convolutions
    net = Flags()
    Z = PretrainedEmbedder(net, device="cpu", precision=precision).fit_transform(X)
    assert net.seen == [expected] and Z.dtype == np.float64
    assert flags() == before
    assert not torch.is_autocast_enabled("cpu")


def test_flags_are_put_back_after_an_error():
    before = flags()
    for precision in ("full", "tf32", "bfloat16"):
        with pytest.raises(KeyError), computing_in(precision, torch.device("cpu")):
            raise KeyError
    assert flags() == before


def test_flags_set_by_their_new_names_are_put_back():
    matmul = torch.backends.cuda.matmul
    if not hasattr(matmul, "fp32_precision"):
        pytest.skip("torch before 2.9 has no such names")
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32"
    try:
        with computing_in("full", torch.device("cpu")):
            assert matmul.fp32_precision == "ieee" and not matmul.allow_tf32
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before
        torch.set_float32_matmul_precision("highest")


def test_half_weights_compute_in_their_own_type(X):
    seen = []
    net = torch.nn.Linear(4, 3).to(torch.bfloat16)
    net.register_forward_hook(lambda part, args, out: seen.append((args[0].dtype, out.dtype)))
    PretrainedEmbedder(net, device="cpu").fit(X)
    assert seen == [(torch.bfloat16, torch.bfloat16)]


def test_the_cache_tells_precisions_apart(X, tmp_path):
    net = Flags()
    for precision in ("full", "bfloat16", "full"):
        PretrainedEmbedder(net, device="cpu", precision=precision, memory=tmp_path).fit_transform(X)
    assert len(net.seen) == 2


@pytest.mark.parametrize("precision", ["half", None, torch.float16])
def test_an_unknown_precision_is_an_error(net, X, precision):
    with pytest.raises(ValueError, match="precision must be one of 'full', 'tf32', 'bfloat16', 'float16'; got"):
        PretrainedEmbedder(net, precision=precision).fit(X)


def test_precision_is_for_torch_modules(X):
    with pytest.raises(ValueError, match="precision='tf32' is for torch modules, but encoder is a function; leave"):
        PretrainedEmbedder(means, precision="tf32").fit(X)


def test_float16_needs_cuda(net, X):
    with pytest.raises(ValueError, match="precision='float16' needs a CUDA device, .* use 'bfloat16' or 'full'"):
        PretrainedEmbedder(net, device="cpu", precision="float16").fit(X)


@pytest.mark.gpu
def test_full_precision_is_float32_on_the_gpu(cuda):
    torch.manual_seed(0)
    X = np.random.default_rng(0).normal(size=(8, 64, 16, 16)).astype(np.float32)
    net = torch.nn.Sequential(torch.nn.Conv2d(64, 64, 3), torch.nn.Flatten(), torch.nn.Linear(64 * 14 * 14, 8))
    exact = PretrainedEmbedder(net.double(), device="cpu").fit_transform(X)
    net.float()

    def error(precision):
        return abs(PretrainedEmbedder(net, precision=precision).fit_transform(X) - exact).max()

    assert error("full") < 1e-5 < error("float16") < error("bfloat16")


# -----------------------------------------------------------------------------
# Copies


def strided(X):
    return np.repeat(X, 2, axis=1)[:, ::2]


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


@pytest.mark.parametrize("make", [np.copy, np.asfortranarray, strided, read_only, lambda X: X[::-1], lambda X: X.astype(">f4")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_is_a_tensor_of_its_own(X, make, dtype, recwarn):
    array = make(X)
    before = array.copy()
    tensor = as_own_tensor(array, torch.device("cpu"), dtype)
    assert tensor.is_contiguous() and tensor.dtype == dtype
    np.testing.assert_array_equal(tensor.numpy(), before)
    tensor.zero_()
    np.testing.assert_array_equal(array, before)
    assert not recwarn.list


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_work_in_place_does_not_reach_X(dtype):
    X = np.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8).astype(dtype)
    before = X.copy()
    net = torch.nn.Sequential(torch.nn.Threshold(1e9, 0.0, inplace=True), torch.nn.Flatten())
    for rows in (X, X.transpose(0, 2, 3, 1), X.reshape(2, -1)):
        assert not PretrainedEmbedder(net).fit_transform(rows).any()
        np.testing.assert_array_equal(X, before)


def test_a_batch_is_copied_once(monkeypatch):
    """Bytes by the change of type, floats by a clone: never both."""
    copies = []
    clone_of = torch.Tensor.clone
    monkeypatch.setattr(torch.Tensor, "clone", lambda tensor: copies.append(1) or clone_of(tensor))
    as_own_tensor(np.zeros((4, 3), np.uint8), torch.device("cpu"), torch.float32)
    as_own_tensor(np.zeros((4, 8, 9, 3), np.float32).transpose(0, 3, 1, 2), torch.device("cpu"), torch.float32)
    as_own_tensor(read_only(np.zeros((4, 3), np.float32)), torch.device("cpu"), torch.float32)
    assert not copies
    as_own_tensor(np.zeros((4, 3), np.float32), torch.device("cpu"), torch.float32)
    assert copies == [1]


def test_a_dict_of_arguments_is_passed_by_name(X):
    class Named(torch.nn.Module):
        def forward(self, *, length, scale):
            return length * scale

    def tokenize(texts):
        return {"length": torch.tensor([[float(len(text))] for text in texts]), "scale": 2.0}

    assert PretrainedEmbedder(Named(), device="cpu", preprocess=tokenize).fit_transform(["a", "abc"]).tolist() == [[2.0], [6.0]]
