"""PretrainedEmbedder, claim by claim."""

import copy
import pickle
import re

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skcert import PretrainedEmbedder
from skcert.embedding.torch_modules import evaluating


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def images(rng):
    return rng.normal(size=(11, 3, 6, 6)).astype(np.float32)


@pytest.fixture
def network(torch):
    """A small convolutional network in training mode, its second batch norm frozen."""
    torch.manual_seed(0)
    nn = torch.nn
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 5, 3),
        nn.BatchNorm2d(5),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 2),
    )
    net.train()
    net[4].eval()
    return net


@pytest.fixture
def calls():
    """Batch sizes seen by `column_sums`."""
    _seen.clear()
    return _seen


_seen: list[int] = []


def column_sums(batch):
    _seen.append(len(batch))
    batch = np.asarray(batch, dtype=float)
    return np.stack([batch.reshape(len(batch), -1).sum(axis=1), np.ones(len(batch))], axis=1)


def halve(batch):
    return batch / 2


class LetterCounts:
    """An encoder in the style of sentence-transformers: `encode` only."""

    def __init__(self, letters="aeiou"):
        self.letters = letters
        self.n_calls = 0

    def encode(self, texts):
        assert isinstance(texts, list) and all(type(text) is str for text in texts)
        return np.array([[text.count(letter) for letter in self.letters] for text in texts])


def counting_network(torch, max_rows=None, error=None):
    """A linear network that keeps the size of every batch and fails on those above max_rows."""

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, 3)
            self.activation = torch.nn.Identity()
            self.batches = []

        def forward(self, x):
            self.batches.append(len(x))
            if max_rows is not None and len(x) > max_rows:
                raise torch.OutOfMemoryError("Tried to allocate 2 GiB") if error is None else error
            return self.activation(self.linear(x))

    return Network()


# -----------------------------------------------------------------------------
# The module is run in eval and inference mode and put back as it was


def test_the_module_runs_in_eval_and_inference_mode(torch, network, images):
    seen = []
    network[5].register_forward_hook(lambda part, args, out: seen.append((part.training, torch.is_inference_mode_enabled())))
    running_mean = network[1].running_mean.clone()
    Z = PretrainedEmbedder(network).fit_transform(images)
    assert seen == [(False, True)]
    assert torch.equal(network[1].running_mean, running_mean)
    with torch.no_grad():
        expected = copy.deepcopy(network).eval()(torch.tensor(images)).numpy()
    np.testing.assert_allclose(Z, expected, rtol=1e-5, atol=1e-6)


def test_the_training_flag_of_every_submodule_is_restored(network, images):
    before = [part.training for part in network.modules()]
    assert len(set(before)) == 2  # some in training mode, some not
    PretrainedEmbedder(network).fit(images).transform(images)
    assert [part.training for part in network.modules()] == before


def test_flags_and_hooks_are_restored_after_an_error(network, images):
    before = [part.training for part in network.modules()]
    with pytest.raises(ValueError, match="failed on a batch"):
        PretrainedEmbedder(network, output="3").fit(images[:, :2])  # two channels instead of three
    assert [part.training for part in network.modules()] == before
    assert not any(part._forward_hooks for part in network.modules())


def test_the_weights_can_still_be_trained(torch, network, images):
    PretrainedEmbedder(network).fit_transform(images)
    network(torch.tensor(images)).sum().backward()
    assert network[0].weight.grad is not None


def test_a_bound_method_runs_as_its_module(network, images, torch):
    before = [part.training for part in network.modules()]
    Z = PretrainedEmbedder(network.forward).fit_transform(images)
    np.testing.assert_array_equal(Z, PretrainedEmbedder(network).fit_transform(images))
    assert [part.training for part in network.modules()] == before


@pytest.mark.parametrize("fails", [False, True])
def test_a_module_is_sent_to_the_device_and_back(torch, fails):
    class Traveller(torch.nn.Linear):
        def to(self, device):  # stands in for a second device, which few test machines have
            journey.append((str(device), torch.is_inference_mode_enabled()))
            return self

    journey = []
    try:
        with evaluating(Traveller(2, 2), "meta") as device:
            assert str(device) == "meta"
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert journey == [("meta", False), ("cpu", False)]


@pytest.mark.gpu
def test_a_module_on_the_cpu_runs_on_the_gpu_and_returns(torch, network, images):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    seen = []
    network[0].register_forward_hook(lambda part, args, out: seen.append(out.device.type))
    on_gpu = PretrainedEmbedder(network).fit_transform(images)
    assert seen == ["cuda"]
    assert {p.device.type for p in network.parameters()} == {"cpu"}
    on_cpu = PretrainedEmbedder(network, device="cpu").fit_transform(images)
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-4, atol=1e-5)


def test_in_place_preprocessing_does_not_reach_X(torch, network, images):
    before = images.copy()
    PretrainedEmbedder(network, preprocess=lambda batch: batch.mul_(0)).fit_transform(images)
    np.testing.assert_array_equal(images, before)
    PretrainedEmbedder(lambda batch: np.multiply(batch, 0, out=batch)).fit_transform(images)
    np.testing.assert_array_equal(images, before)


# -----------------------------------------------------------------------------
# Batches


@pytest.mark.parametrize("batch_size", [1, 3, 10, 11, 1000])
def test_latents_do_not_depend_on_the_batch_size(network, images, batch_size):
    expected = PretrainedEmbedder(network).fit_transform(images)
    Z = PretrainedEmbedder(network, batch_size=batch_size, progress=False).fit_transform(images)
    np.testing.assert_allclose(Z, expected, rtol=1e-5, atol=1e-6)


def test_batches_have_the_size_asked_for(rng, calls):
    embedder = PretrainedEmbedder(column_sums, batch_size=4, progress=False).fit(rng.normal(size=(10, 2)))
    assert calls == [1]
    embedder.transform(rng.normal(size=(10, 2)))
    assert calls == [1, 4, 4, 2]


def test_auto_takes_fewer_rows_when_rows_are_large(calls):
    PretrainedEmbedder(column_sums, progress=False).fit_transform(np.zeros((600, 2)))
    assert calls == [256, 256, 88]
    calls.clear()
    PretrainedEmbedder(column_sums, progress=False).fit_transform(np.zeros((24, 1024, 1024), np.uint8))
    assert calls == [8, 8, 8]


def test_auto_takes_four_megabytes_for_a_module_on_the_cpu(torch):
    net = counting_network(torch)
    PretrainedEmbedder(net, device="cpu", progress=False).fit_transform(np.zeros((10, 2**16, 4), np.float32))
    assert net.batches == [4, 4, 2]


@pytest.mark.parametrize("batch_size", ["auto", 20])
def test_the_batch_halves_when_memory_runs_out_and_stays_halved(torch, rng, batch_size):
    X = rng.normal(size=(20, 4)).astype(np.float32)
    net = counting_network(torch, max_rows=6)
    Z = PretrainedEmbedder(net, batch_size=batch_size).fit_transform(X)
    assert net.batches == [20, 10, 5, 5, 5, 5]
    np.testing.assert_allclose(Z, net.linear(torch.tensor(X)).detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 8 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"),
    ],
)
def test_other_allocators_errors_halve_the_batch_too(torch, rng, error):
    net = counting_network(torch, max_rows=2, error=error)
    assert PretrainedEmbedder(net).fit_transform(rng.normal(size=(4, 4))).shape == (4, 3)
    assert net.batches == [4, 2, 2]


def test_other_errors_are_not_retried(torch, rng):
    net = counting_network(torch, max_rows=2, error=RuntimeError("device-side assert"))
    with pytest.raises(RuntimeError, match="^device-side assert"):
        PretrainedEmbedder(net).fit_transform(rng.normal(size=(4, 4)))
    assert net.batches == [4]


def test_a_single_row_too_many_raises_the_allocators_error_with_advice(torch, rng):
    net = counting_network(torch, max_rows=0)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        PretrainedEmbedder(net).fit_transform(rng.normal(size=(4, 4)))
    assert net.batches == [4, 2, 1]
    assert "Row 0 of X alone" in caught.value.__notes__[0]


# -----------------------------------------------------------------------------
# What comes out


def test_a_named_output_is_the_submodules_own_output(torch, network, images):
    frozen = copy.deepcopy(network).eval()
    with torch.no_grad():
        expected = frozen[:2](torch.tensor(images)).flatten(1).numpy()  # before the in-place ReLU
    Z = PretrainedEmbedder(network, output="1").fit_transform(images)
    assert (expected < 0).any()
    np.testing.assert_allclose(Z, expected, rtol=1e-5, atol=1e-6)
    assert not any(part._forward_hooks for part in network.modules())


def test_trailing_axes_are_flattened(network, images):
    assert PretrainedEmbedder(network, output="6").fit_transform(images).shape == (11, 5)  # (n, 5, 1, 1)
    assert PretrainedEmbedder(network, output="0").fit_transform(images).shape == (11, 4 * 4 * 4)
    assert PretrainedEmbedder(lambda batch: batch[:, 0, 0, 0]).fit_transform(images).shape == (11, 1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_latents_are_float64_whatever_the_weights_are(torch, rng, dtype):
    net = torch.nn.Linear(4, 3).to(getattr(torch, dtype))
    Z = PretrainedEmbedder(net).fit_transform(rng.normal(size=(5, 4)))
    assert type(Z) is np.ndarray and Z.dtype == np.float64


def test_a_callable_may_return_torch(torch, rng):
    weight = torch.ones(4, 2, requires_grad=True)
    Z = PretrainedEmbedder(lambda batch: torch.tensor(batch).float() @ weight).fit_transform(np.ones((3, 4)))
    np.testing.assert_array_equal(Z, np.full((3, 2), 4.0))


def test_complex_tensors_are_refused(torch):
    with pytest.raises(TypeError, match="real numbers are expected"):
        PretrainedEmbedder(lambda batch: torch.tensor(batch) * 1j).fit(FLAT)


def test_fit_transform_runs_every_row_once(torch, rng):
    X = rng.normal(size=(20, 4))
    net = counting_network(torch)
    Z = PretrainedEmbedder(net).fit_transform(X)
    assert sum(net.batches) == 20
    np.testing.assert_array_equal(Z, PretrainedEmbedder(net).fit(X).transform(X))


def test_pandas_output_has_names_and_the_index_of_X(rng):
    X = pd.DataFrame(rng.normal(size=(4, 2)), columns=["u", "v"], index=[3, 1, 4, 5])
    embedder = PretrainedEmbedder(column_sums).set_output(transform="pandas")
    for Z in (embedder.fit_transform(X), embedder.transform(X)):
        assert list(Z.columns) == ["pretrainedembedder0", "pretrainedembedder1"]
        assert list(Z.index) == [3, 1, 4, 5]
    assert list(embedder.get_feature_names_out()) == list(Z.columns)
    assert list(embedder.feature_names_in_) == ["u", "v"]
    texts = PretrainedEmbedder(LetterCounts("ab")).set_output(transform="pandas")
    assert texts.fit_transform(["a", "abba"]).to_numpy().tolist() == [[1, 0], [2, 2]]


# -----------------------------------------------------------------------------
# What goes in


def test_flat_rows_equal_images(network, images):
    expected = PretrainedEmbedder(network).fit_transform(images)
    flat = images.reshape(len(images), -1)
    embedder = PretrainedEmbedder(network, input_shape=(3, 6, 6))
    np.testing.assert_array_equal(embedder.fit_transform(flat), expected)
    assert embedder.n_features_in_ == 108
    np.testing.assert_array_equal(embedder.fit_transform(pd.DataFrame(flat)), expected)
    np.testing.assert_array_equal(embedder.fit_transform(np.asfortranarray(flat)), expected)
    np.testing.assert_array_equal(embedder.fit_transform(flat.tolist()), expected)
    np.testing.assert_array_equal(embedder.fit_transform(images), expected)
    assert not hasattr(embedder, "n_features_in_")


def test_integer_images_are_floats_for_a_module_and_themselves_for_a_callable(torch, network, rng):
    X = rng.integers(0, 256, size=(4, 3, 6, 6), dtype=np.uint8)
    np.testing.assert_array_equal(
        PretrainedEmbedder(network).fit_transform(X),
        PretrainedEmbedder(network).fit_transform(X.astype(np.float32)),
    )
    seen = []
    PretrainedEmbedder(lambda batch: seen.append(batch.dtype) or column_sums(batch)).fit(X)
    assert seen == [np.uint8]


def test_lists_of_images_and_tensors_are_arrays(torch, network, images):
    expected = PretrainedEmbedder(network).fit_transform(images)
    np.testing.assert_array_equal(PretrainedEmbedder(network).fit_transform(list(images)), expected)
    np.testing.assert_array_equal(PretrainedEmbedder(network).fit_transform(torch.tensor(images)), expected)


@pytest.mark.parametrize(
    "container",
    [
        list,
        tuple,
        np.array,
        lambda texts: np.array(texts, dtype=object),
        pd.Series,
        lambda texts: pd.Series(texts, dtype="string", index=[5, 6, 7]),
    ],
)
def test_texts_come_in_any_one_dimensional_container(container):
    embedder = PretrainedEmbedder(LetterCounts("ae"), batch_size=2, progress=False)
    Z = embedder.fit_transform(container(["banana", "", "tea"]))
    assert Z.tolist() == [[3, 0], [0, 0], [1, 1]]
    assert not hasattr(embedder, "n_features_in_")


def test_texts_go_to_a_callable_as_a_list():
    assert PretrainedEmbedder(lambda texts: np.array([[len(t)] for t in texts])).fit_transform(["a", "bcd"]).tolist() == [
        [1],
        [3],
    ]


def test_a_module_gets_texts_by_encode_and_arrays_by_call(torch):
    class Both(torch.nn.Linear):
        def encode(self, texts):
            assert not self.training
            return self(torch.tensor([[float(len(text))] * 4 for text in texts]))

    net = Both(4, 3)
    by_text = PretrainedEmbedder(net).fit_transform(["ab", "c"])
    by_array = PretrainedEmbedder(net).fit_transform(np.array([[2.0] * 4, [1.0] * 4]))
    np.testing.assert_allclose(by_text, by_array, rtol=1e-6)
    assert net.training
    with pytest.raises(ValueError, match="output= cannot be used with `encode`"):
        PretrainedEmbedder(net, output="").fit(["ab"])


def test_preprocess_sees_the_batch_the_encoder_would_have_seen(torch, network, images):
    embedder = PretrainedEmbedder(network, preprocess=halve)
    np.testing.assert_allclose(embedder.fit_transform(images), PretrainedEmbedder(network).fit_transform(images / 2), rtol=1e-6)
    seen = []

    def spy(batch):
        seen.append(batch)
        return batch

    PretrainedEmbedder(network, preprocess=spy).fit(images)
    assert isinstance(seen[0], torch.Tensor) and seen[0].dtype == torch.float32
    PretrainedEmbedder(column_sums, preprocess=spy).fit(images)
    assert isinstance(seen[1], np.ndarray)
    PretrainedEmbedder(LetterCounts(), preprocess=spy).fit(["a"])
    assert seen[2] == ["a"]


def test_preprocess_may_return_numpy_for_a_module(network, images):
    embedder = PretrainedEmbedder(network, preprocess=lambda batch: batch.numpy() / 2)
    np.testing.assert_allclose(
        embedder.fit_transform(images),
        PretrainedEmbedder(network, preprocess=halve).fit_transform(images),
        rtol=1e-6,
    )


def test_preprocess_can_make_tokens_of_integers(torch):
    net = torch.nn.Sequential(torch.nn.Embedding(10, 3), torch.nn.Flatten())
    X = np.array([[1, 2], [2, 9]])
    Z = PretrainedEmbedder(net, preprocess=torch.Tensor.long).fit_transform(X)
    np.testing.assert_array_equal(Z, net(torch.tensor(X)).detach().numpy())


# -----------------------------------------------------------------------------
# Sharing, cloning, pickling


def test_clone_shares_the_encoder_and_copies_the_rest(network, tmp_path):
    names = {"b": 1}
    embedder = PretrainedEmbedder(
        network,
        batch_size=7,
        output="1",
        preprocess=halve,
        input_shape=(3, 6, 6),
        lipschitz=2.0,
        memory=tmp_path,
    ).set_output(transform="pandas")
    embedder.n_features_out_ = 3
    twin = clone(embedder)
    assert twin.encoder is network and embedder.encoder is network
    assert twin.get_params() == embedder.get_params()
    assert not hasattr(twin, "n_features_out_")
    assert isinstance(twin.fit_transform(np.zeros((2, 108))), pd.DataFrame)
    mutable = PretrainedEmbedder(network, memory=names)
    assert clone(mutable).memory == names and clone(mutable).memory is not names


def test_a_grid_search_does_not_copy_the_weights(torch, rng):
    X, y = rng.normal(size=(30, 4)), np.arange(30) % 2
    net = counting_network(torch)
    pipe = make_pipeline(PretrainedEmbedder(net, progress=False), LogisticRegression())
    grid = GridSearchCV(pipe, {"logisticregression__C": [0.1, 1.0]}, cv=3).fit(X, y)
    assert grid.best_estimator_[0].encoder is net
    # A copy would have kept its own list: 2 candidates x 3 folds x (fit 20 + score 10), then the refit.
    assert sum(net.batches) == 2 * 3 * 30 + 30


def test_a_search_over_encoders_uses_each(rng):
    X, y = rng.normal(size=(30, 4)), np.arange(30) % 2
    pipe = make_pipeline(PretrainedEmbedder(column_sums), LogisticRegression())
    grid = GridSearchCV(pipe, {"pretrainedembedder__encoder": [column_sums, halve]}, cv=3).fit(X, y)
    assert set(grid.cv_results_["param_pretrainedembedder__encoder"]) == {column_sums, halve}


@pytest.mark.parametrize("with_memory", [False, True])
def test_pickling_keeps_parameters_and_fit(network, images, tmp_path, with_memory):
    memory = joblib.Memory(tmp_path, verbose=0) if with_memory else None
    embedder = PretrainedEmbedder(network, output="6", memory=memory, lipschitz=3.0)
    unfitted = pickle.loads(pickle.dumps(embedder))
    with pytest.raises(NotFittedError):
        unfitted.transform(images)
    Z = embedder.fit_transform(images)
    fitted = pickle.loads(pickle.dumps(embedder))
    np.testing.assert_array_equal(fitted.transform(images), Z)
    np.testing.assert_array_equal(unfitted.fit_transform(images), Z)
    assert fitted.lipschitz == 3.0


def test_the_html_representation_does_not_print_the_whole_network(torch):
    small, large = (PretrainedEmbedder(torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(n)))) for n in (1, 2000))
    assert len(large._repr_html_()) < len(small._repr_html_()) + 2000
    assert len(repr(large)) < 2000


# -----------------------------------------------------------------------------
# Cache


@pytest.fixture
def counted(torch):
    return counting_network(torch)


@pytest.fixture
def rows(rng):
    return rng.normal(size=(6, 4)).astype(np.float32)


@pytest.mark.parametrize("kind", [str, lambda path: path, lambda path: joblib.Memory(path, verbose=0)])
def test_the_cache_spares_the_encoder(counted, rows, tmp_path, kind):
    embedder = PretrainedEmbedder(counted, memory=kind(tmp_path))
    Z = embedder.fit_transform(rows)
    np.testing.assert_array_equal(embedder.transform(rows.copy()), Z)
    np.testing.assert_array_equal(clone(embedder).fit_transform(rows), Z)
    assert counted.batches == [6]


def test_the_cache_ignores_batch_size_device_progress_and_mode(counted, rows, tmp_path):
    PretrainedEmbedder(counted, memory=tmp_path).fit_transform(rows)
    counted.eval()
    PretrainedEmbedder(counted, memory=tmp_path, batch_size=2, device="cpu", progress=False).fit_transform(rows)
    assert counted.batches == [6]


def test_the_cache_survives_a_pickled_copy_of_the_network(counted, rows, tmp_path, torch):
    net = torch.nn.Linear(4, 3)
    PretrainedEmbedder(net, memory=tmp_path).fit_transform(rows)
    twin = pickle.loads(pickle.dumps(net))
    twin.forward = None  # a pass would raise
    PretrainedEmbedder(twin, memory=tmp_path).fit_transform(rows)


def _change_weight(torch, net, rows, options):
    with torch.no_grad():
        net.linear.weight[0, 0] += 1e-6


def _change_buffer(torch, net, rows, options):
    net.register_buffer("shift", torch.zeros(1), persistent=False)


def _change_structure(torch, net, rows, options):
    net.activation = torch.nn.ReLU()


def _change_X(torch, net, rows, options):
    rows[3, 1] += 1e-6


def _change_preprocess(torch, net, rows, options):
    options["preprocess"] = halve


def _change_output(torch, net, rows, options):
    options["output"] = "linear"


def _change_input_shape(torch, net, rows, options):
    options["input_shape"] = (1, 4)


@pytest.mark.parametrize(
    "change",
    [
        _change_weight,
        _change_buffer,
        _change_structure,
        _change_X,
        _change_preprocess,
        _change_output,
        _change_input_shape,
    ],
)
def test_the_cache_misses_when_what_matters_changes(torch, counted, rows, tmp_path, change):
    options = {}
    PretrainedEmbedder(counted, memory=tmp_path).fit_transform(rows)
    change(torch, counted, rows, options)
    Z = PretrainedEmbedder(counted, memory=tmp_path, **options).fit_transform(rows)
    assert counted.batches == [6, 6]
    np.testing.assert_array_equal(Z, PretrainedEmbedder(counted, **options).fit_transform(rows))


def test_an_edited_function_of_the_same_name_misses_the_cache(tmp_path, monkeypatch, rows):
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "my_encoder.py"
    results = []
    for factor in (1, 20):
        source.write_text(f"def encode(batch):\n    return batch * {factor}\n")
        monkeypatch.delitem(__import__("sys").modules, "my_encoder", raising=False)
        encode = __import__("my_encoder").encode
        results.append(PretrainedEmbedder(encode, memory=tmp_path / "cache").fit_transform(rows))
    np.testing.assert_allclose(results[1], 20 * results[0], rtol=1e-6)


def test_the_cache_keeps_texts_apart_and_off_the_disk(tmp_path):
    embedder = PretrainedEmbedder(LetterCounts("a"), memory=tmp_path)
    assert embedder.fit_transform(["secret banana", "tea"]).tolist() == [[3], [1]]
    assert embedder.transform(["secret banana", "te"]).tolist() == [[3], [0]]
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert kept and b"secret" not in kept


def test_a_failed_embedding_is_not_cached(tmp_path, rows, torch):
    net = counting_network(torch)
    with torch.no_grad():
        net.linear.weight.fill_(torch.nan)
    for _ in range(2):
        with pytest.raises(ValueError, match="NaN, infinite"):
            PretrainedEmbedder(net, memory=tmp_path).fit_transform(rows)
    assert len(net.batches) == 2


# -----------------------------------------------------------------------------
# Bad input


def _nan(X):
    X = X.copy()
    X.flat[-1] = np.nan
    return X


FLAT = np.ones((6, 4))
CUBE = np.ones((6, 2, 3, 3))


@pytest.mark.parametrize(
    ("embedder", "X", "error", "message"),
    [
        (PretrainedEmbedder(3), FLAT, TypeError, "encoder must be a torch module"),
        (
            PretrainedEmbedder(LetterCounts),
            FLAT,
            TypeError,
            "encoder is the class LetterCounts; pass an instance",
        ),
        (
            PretrainedEmbedder(halve, batch_size=0),
            FLAT,
            ValueError,
            "batch_size must be 'auto' or an integer >= 1",
        ),
        (PretrainedEmbedder(halve, batch_size="big"), FLAT, ValueError, "batch_size must be 'auto'"),
        (PretrainedEmbedder(halve, batch_size=True), FLAT, ValueError, "batch_size must be 'auto'"),
        (PretrainedEmbedder(halve, output="layer"), FLAT, ValueError, "names a layer of a torch module"),
        (PretrainedEmbedder(halve, output=3), FLAT, TypeError, "output must be None or the name"),
        (PretrainedEmbedder(halve, preprocess=3), FLAT, TypeError, "preprocess must be None or a callable"),
        (PretrainedEmbedder(halve, input_shape=4), FLAT, ValueError, "input_shape must be None or the shape"),
        (PretrainedEmbedder(halve, input_shape=(2, -2)), FLAT, ValueError, "input_shape must be None"),
        (PretrainedEmbedder(halve, input_shape=()), FLAT, ValueError, "input_shape must be None"),
        (
            PretrainedEmbedder(halve, input_shape=(2, 3)),
            FLAT,
            ValueError,
            r"flat rows of 6 .* shape \(6, 4\)",
        ),
        (
            PretrainedEmbedder(halve, input_shape=(2, 2)),
            CUBE,
            ValueError,
            r"flat rows of 4 .* \(6, 2, 3, 3\)",
        ),
        (PretrainedEmbedder(halve, lipschitz=0), FLAT, ValueError, "lipschitz must be None .* got 0"),
        (PretrainedEmbedder(halve, lipschitz=-1.0), FLAT, ValueError, "lipschitz must be None"),
        (PretrainedEmbedder(halve, lipschitz=np.inf), FLAT, ValueError, "lipschitz must be None"),
        (PretrainedEmbedder(halve, lipschitz=np.nan), FLAT, ValueError, "lipschitz must be None"),
        (PretrainedEmbedder(halve, lipschitz="1"), FLAT, ValueError, "lipschitz must be None"),
        (PretrainedEmbedder(halve, lipschitz=True), FLAT, ValueError, "lipschitz must be None"),
        (
            PretrainedEmbedder(halve, memory=3),
            FLAT,
            TypeError,
            "memory must be None, a path or a joblib.Memory",
        ),
        (PretrainedEmbedder(halve), _nan(FLAT), ValueError, "Input X contains NaN"),
        (PretrainedEmbedder(halve), _nan(CUBE), ValueError, "Input X contains NaN"),
        (PretrainedEmbedder(halve), np.full((2, 2, 2), np.inf), ValueError, "Input X contains infinity"),
        (PretrainedEmbedder(halve), [], ValueError, "X is empty"),
        (PretrainedEmbedder(halve), FLAT[:0], ValueError, r"Found array with 0 sample\(s\)"),
        (PretrainedEmbedder(halve), CUBE[:0], ValueError, r"Found array with 0 sample\(s\)"),
        (PretrainedEmbedder(halve), FLAT[:, :0], ValueError, r"0 feature\(s\)"),
        (PretrainedEmbedder(halve), np.ones(3), ValueError, "Expected 2D array, got 1D array"),
        (PretrainedEmbedder(halve), FLAT * 1j, ValueError, "Complex data not supported"),
        (PretrainedEmbedder(LetterCounts()), "a text", TypeError, "put it in a list"),
        (PretrainedEmbedder(LetterCounts()), ["a", None, "b"], ValueError, "row 1 is None"),
        (PretrainedEmbedder(LetterCounts()), pd.Series(["a", np.nan]), ValueError, "row 1 is nan"),
        (PretrainedEmbedder(lambda b: (b, b)), FLAT, TypeError, "returned a tuple, not one array .* output="),
        (PretrainedEmbedder(lambda b: {"z": b}), FLAT, TypeError, "returned a dict, not one array"),
        (PretrainedEmbedder(lambda b: b[:-1]), FLAT, ValueError, r"shape \(5, 4\) for a batch of 6 row\(s\)"),
        (PretrainedEmbedder(lambda b: b.sum()), FLAT, ValueError, r"shape \(\) for a batch of 6"),
        (PretrainedEmbedder(lambda b: b[:, :0]), FLAT, ValueError, "no features"),
        (PretrainedEmbedder(lambda b: b.astype(str)), FLAT, TypeError, "real numbers are expected"),
        (PretrainedEmbedder(lambda b: b * 1j), FLAT, TypeError, "real numbers are expected"),
        (
            PretrainedEmbedder(lambda b: b * 1e300),
            FLAT,
            ValueError,
            "too large for float32 in 6 of 6 rows",
        ),
        (
            PretrainedEmbedder(lambda b: np.where(b > 3, np.nan, b), batch_size=4, progress=False),
            np.diag([1.0, 2, 1, 2, 4]),
            ValueError,
            r"in 1 of 5 rows \(rows of X: 4\)",
        ),
        (
            PretrainedEmbedder(lambda b: b[:, : len(b)], batch_size=4, progress=False),
            FLAT,
            ValueError,
            "returned 2 features for rows 4 to 5 of X, but 4 before",
        ),
        (
            PretrainedEmbedder(lambda b: b, memory="unused"),
            FLAT,
            ValueError,
            "memory= needs an encoder and a preprocess that can be pickled",
        ),
    ],
)
def test_bad_input_is_an_error_that_says_what_to_do(embedder, X, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        embedder.fit_transform(X)


def test_an_unknown_layer_is_answered_with_near_names(network, images):
    network.add_module("average_pool", network[6])
    with pytest.raises(ValueError, match=r"no sub-module 'avg_pool'; near names: 'average_pool'"):
        PretrainedEmbedder(network, output="avg_pool").fit(images)


def test_a_layer_used_twice_is_refused(torch, images):
    relu = torch.nn.ReLU()
    net = torch.nn.Sequential(torch.nn.Flatten(), relu, torch.nn.Linear(108, 2), relu)
    with pytest.raises(ValueError, match="'1' was used 2 times in one pass"):
        PretrainedEmbedder(net, output="1").fit(images)


def test_a_cuda_device_that_is_not_there_is_an_error(torch, network, images, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="finds no CUDA device"):
        PretrainedEmbedder(network, device="cuda").fit(images)


def test_a_spread_module_stays_where_it_is(torch, rng):
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2, device="meta"))
    with evaluating(net, "auto") as device:
        assert device.type == "cpu"
        assert {p.device.type for p in net.parameters()} == {"cpu", "meta"}
    with pytest.raises(ValueError, match="spread over cpu, meta; leave device='auto'"):
        PretrainedEmbedder(net, device="cpu").fit(rng.normal(size=(2, 4)))


def test_transform_before_fit_is_an_error():
    with pytest.raises(NotFittedError):
        PretrainedEmbedder(halve).transform(FLAT)


def test_another_number_of_columns_after_fit_is_scikit_learns_error():
    embedder = PretrainedEmbedder(halve, input_shape=(4,)).fit(FLAT)
    with pytest.raises(ValueError, match="X has 3 features, but PretrainedEmbedder is expecting 4 features"):
        embedder.transform(FLAT[:, :3])


def test_another_width_of_the_latents_after_fit_is_an_error():
    embedder = PretrainedEmbedder(lambda batch: batch).fit(CUBE)
    with pytest.raises(ValueError, match="returned 6 features, but 18 in fit"):
        embedder.transform(CUBE[:, :, :1])


@pytest.mark.parametrize("input_shape", [None, (8, 8, 3), (1, 8, 24), (3, 2, 32)])
def test_rows_that_a_torch_encoder_cannot_take_are_named_by_their_shape(torch, rng, input_shape):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten())
    rows = (4, *(input_shape or (192,)))
    message = re.escape(f"the encoder Sequential failed on a batch of shape {rows}") + ".*input_shape=.*It said: "
    with pytest.raises(ValueError, match=message) as caught:
        PretrainedEmbedder(net, input_shape=input_shape).fit_transform(rng.random((4, 192)))
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert PretrainedEmbedder(net, input_shape=(3, 8, 8)).fit_transform(rng.random((4, 192))).shape == (4, 144)


def test_a_linear_encoder_says_how_many_features_it_was_given(torch, rng):
    with pytest.raises(ValueError, match=r"failed on a batch of shape \(4, 5\), rows of \(5,\)"):
        PretrainedEmbedder(torch.nn.Linear(10, 3)).fit_transform(rng.random((4, 5)))
    with pytest.raises(ValueError, match=r"input_shape=\(3, 9, 9\) asks for flat rows of 243 features"):
        PretrainedEmbedder(torch.nn.Flatten(), input_shape=(3, 9, 9)).fit(rng.random((4, 192)))
    with pytest.raises(TypeError, match="X holds texts.*preprocess=, a tokenizer"):
        PretrainedEmbedder(torch.nn.Linear(10, 3)).fit(["a", "b"])


def test_a_text_is_no_encoder():
    with pytest.raises(TypeError, match="encoder must be a torch module, a callable"):
        PretrainedEmbedder("resnet18").fit(np.zeros((2, 3)))
