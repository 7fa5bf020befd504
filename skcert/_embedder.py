"""Inputs to latents: a pretrained encoder as a scikit-learn transformer."""

from __future__ import annotations

import copy
import difflib
import inspect
import math
import numbers
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

__all__ = ["PretrainedEmbedder"]

_AUTO_ROWS = 256  # first batch of batch_size="auto", cut where its float32 input is larger than
# - on a CPU, what keeps layers near the caches: 2 to 4 times faster than large batches (and memory ends there
#   with a killed process, not with an exception to halve on);
# - None, for encoders whose device is their own business, a middle way.
_AUTO_BYTES = {"cpu": 2**22, None: 2**25}

# What allocators say in a plain RuntimeError (torch on a CPU, XLA, older CUDA).
_OUT_OF_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory")

# -----------------------------------------------------------------------------
# Checks


def _check_parameters(encoder, batch_size, output, preprocess, input_shape, lipschitz, memory) -> None:
    if isinstance(encoder, type):
        raise TypeError(f"encoder is the class {encoder.__name__}; pass an instance of it.")
    if not callable(encoder) and not callable(getattr(encoder, "encode", None)):
        raise TypeError(
            "encoder must be a torch module, a callable on a batch or an object with an `encode` method; "
            f"got {type(encoder).__name__}."
        )
    if batch_size != "auto" and not _is_positive_int(batch_size):
        raise ValueError(f"batch_size must be 'auto' or an integer >= 1; got {batch_size!r}.")
    if output is not None:
        if not isinstance(output, str):
            raise TypeError(f"output must be None or the name of a sub-module; got {type(output).__name__}.")
        if _torch_module(encoder) is None:
            raise ValueError(
                f"output={output!r} names a layer of a torch module, but encoder is a {type(encoder).__name__}; "
                "let it return that layer's values itself and leave output=None."
            )
    if preprocess is not None and not callable(preprocess):
        raise TypeError(f"preprocess must be None or a callable on a batch; got {type(preprocess).__name__}.")
    if input_shape is not None and not (
        isinstance(input_shape, (tuple, list)) and input_shape and all(map(_is_positive_int, input_shape))
    ):
        raise ValueError(
            "input_shape must be None or the shape of one row, a tuple of integers >= 1 such as (3, 224, 224); "
            f"got {input_shape!r}."
        )
    if lipschitz is not None and not (
        isinstance(lipschitz, numbers.Real) and not isinstance(lipschitz, bool) and 0 < float(lipschitz) < math.inf
    ):
        raise ValueError(
            "lipschitz must be None (unknown) or a positive finite number, a bound on the change of the "
            f"embedding per unit of change of X (l2); got {lipschitz!r}."
        )
    if memory is not None and not isinstance(memory, (str, os.PathLike)) and not hasattr(memory, "cache"):
        raise TypeError(f"memory must be None, a path or a joblib.Memory; got {type(memory).__name__}.")


def _is_positive_int(value) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= 1


def _as_texts(X) -> list[str] | None:
    """X as a list of texts; None if X is not a one-dimensional collection of them."""
    if isinstance(X, (str, bytes)):
        raise TypeError("X is a single text; put it in a list: [text].")
    if not isinstance(X, (list, tuple)) and len(getattr(X, "shape", ())) != 1:
        return None
    items = list(X)
    if not items:
        raise ValueError("X is empty: found 0 sample(s) while a minimum of 1 is required.")
    if not any(isinstance(item, str) for item in items):
        return None
    bad = next((i for i, item in enumerate(items) if not isinstance(item, str)), None)
    if bad is not None:
        raise ValueError(f"X holds texts, but row {bad} is {items[bad]!r}; fill or drop it.")
    return [str(item) for item in items]  # np.str_ becomes str, so that equal texts have equal cache keys


def _as_batchable(X: NDArray, input_shape) -> NDArray:
    """Flat rows in the shape the encoder wants; arrays that have it already as they are."""
    if input_shape is None or X.shape[1:] == tuple(input_shape):
        return X
    size = math.prod(input_shape)
    if X.ndim != 2 or X.shape[1] != size:
        raise ValueError(
            f"input_shape={tuple(input_shape)} asks for flat rows of {size} features or rows of that shape; "
            f"X has shape {X.shape}."
        )
    return X.reshape(len(X), *input_shape)


# -----------------------------------------------------------------------------
# Torch modules: found without importing torch, run in eval mode, put back as they were


def _torch_module(encoder):
    """The torch module behind an encoder or behind its bound method (`model.forward_features`), or None."""
    torch = sys.modules.get("torch")  # a module exists only if its owner has imported torch
    if torch is None:
        return None
    owner = getattr(encoder, "__self__", encoder)
    return owner if isinstance(owner, torch.nn.Module) else None


def _pick_device(device, homes):
    """The device to run on, given the set of devices where the module's tensors are."""
    import torch

    if len(homes) > 1:
        if device != "auto":
            names = ", ".join(sorted(map(str, homes)))
            raise ValueError(f"encoder is spread over {names}; leave device='auto' to run it where it is.")
        return None
    if device == "auto":
        home = next(iter(homes), torch.device("cpu"))
        if home.type != "cpu" or not torch.cuda.is_available():
            return home
        device = "cuda"
    device = torch.device(device)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"device={str(device)!r}, but torch finds no CUDA device; use 'auto' or 'cpu'.")
        if device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
    return device


@contextmanager
def _evaluating(module, device) -> Iterator[Any]:
    """Eval mode, inference mode and the device, for the time of the block; yields the device of the input."""
    if module is None:
        yield None
        return
    import torch

    flags = [(part, part.training) for part in module.modules()]
    tensors = list(chain(module.parameters(), module.buffers()))
    homes = {tensor.device for tensor in tensors}
    target = _pick_device(device, homes)
    move = target is not None and bool(homes) and homes != {target}
    try:
        module.eval()
        if move:  # outside inference mode, which would turn the moved weights into untrainable tensors
            module.to(target)
        with torch.inference_mode():
            yield target if target is not None else tensors[0].device
    finally:
        if move:
            module.to(homes.pop())
        for part, training in flags:  # one by one: module.train() would wake frozen parts
            part.training = training


@contextmanager
def _capturing(module, output) -> Iterator[list]:
    """The list to which every pass through the sub-module `output` appends what came out of it."""
    captured: list = []
    if output is None:
        yield captured
        return
    parts = dict(module.named_modules(remove_duplicate=False))  # a layer used twice has two names
    if output not in parts:
        near = difflib.get_close_matches(output, parts, n=5, cutoff=0.4) or [name for name in parts if name][-5:]
        raise ValueError(
            f"encoder has no sub-module {output!r}; near names: {', '.join(map(repr, near))}. "
            "`dict(encoder.named_modules())` lists all of them."
        )

    def keep(part, args, value):
        # A copy: the next layer may work in place (ReLU(inplace=True)) on the very same tensor.
        captured.append(value.clone() if hasattr(value, "clone") else value)

    handle = parts[output].register_forward_hook(keep)
    try:
        yield captured
    finally:
        handle.remove()


def _as_tensor(batch, device, dtype):
    """An array as a float tensor of its own on the device; in-place preprocessing must not reach X."""
    import torch

    return torch.tensor(batch, device=device).to(dtype)  # moved first: uint8 is a quarter of the traffic


# -----------------------------------------------------------------------------
# One batch


def _batch_function(encoder, module, device, preprocess, output, captured, texts) -> Callable[[Any], Any]:
    """The function that takes a slice of X to the encoder's raw output.

    Texts go to `encode` where there is one. Arrays go to the module itself even if it has an `encode`.
    """
    by_encode = callable(getattr(encoder, "encode", None)) and (texts or module is None)
    if by_encode and output is not None:
        # `encode` may sort and split the texts: a hook would see them in another order.
        raise ValueError("output= cannot be used with `encode`; pass a callable that returns that layer's values.")
    if not by_encode and not callable(encoder):
        raise TypeError(f"encoder of type {type(encoder).__name__} is not callable on a batch.")
    call = encoder.encode if by_encode else encoder
    if module is not None and not texts:
        import torch

        dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)

    def run(rows):
        batch: Any
        if texts:
            batch = list(rows)
        elif module is not None:
            batch = _as_tensor(rows, device, dtype)
        else:
            batch = np.array(rows)
        if preprocess is not None:
            batch = preprocess(batch)
            if module is not None and isinstance(batch, np.ndarray):
                batch = _as_tensor(batch, device, dtype)
            elif module is not None and not by_encode and hasattr(batch, "to"):
                batch = batch.to(device)
        result = call(batch)
        if output is None:
            return result
        if len(captured) != 1:
            passes = len(captured)
            captured.clear()
            raise ValueError(
                f"sub-module {output!r} was used {passes} times in one pass, not once; pick another layer "
                "or pass a callable that returns its values."
            )
        return captured.pop()

    return run


def _as_latents(result, n_rows: int, first_row: int) -> NDArray[np.float32]:
    """The encoder's raw output as a finite float32 array (n_rows, d); further axes are flattened."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(result, torch.Tensor):
        result = result.detach().cpu()
        # NumPy has no bfloat16; complex values go through, to be refused below.
        result = (result.float() if result.is_floating_point() else result).numpy()
    elif not hasattr(result, "__array__"):
        raise TypeError(
            f"the encoder returned a {type(result).__name__}, not one array or tensor; pick a layer of a torch "
            "module with output=, or pass a callable that returns the array, such as lambda batch: model(batch)[0]."
        )
    array = np.asarray(result)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"the encoder returned values of type {array.dtype}; real numbers are expected.")
    if array.ndim == 0 or len(array) != n_rows:
        raise ValueError(
            f"the encoder returned an array of shape {array.shape} for a batch of {n_rows} row(s); "
            f"its first axis must have length {n_rows}."
        )
    with np.errstate(over="ignore"):  # what does not fit into float32 is reported just below
        latents = np.asarray(array.reshape(n_rows, -1), dtype=np.float32)
    if latents.shape[1] == 0:
        raise ValueError(f"the encoder returned an array of shape {array.shape}: no features.")
    bad = np.flatnonzero(~np.isfinite(latents).all(axis=1))
    if bad.size:
        shown = ", ".join(str(first_row + i) for i in bad[:5]) + (", ..." if bad.size > 5 else "")
        raise ValueError(
            f"the encoder's output is NaN, infinite or too large for float32 in {bad.size} of the {n_rows} "
            f"rows of a batch (rows of X: {shown}); check preprocess and the scale of X."
        )
    return latents


# -----------------------------------------------------------------------------
# All batches


def _first_batch_size(batch_size, rows, device) -> int:
    """batch_size, or what 'auto' starts with; never more than there are rows."""
    size = batch_size
    if batch_size == "auto":
        size = _AUTO_ROWS
        limit = _AUTO_BYTES.get(None if device is None else device.type)
        if limit is not None and isinstance(rows, np.ndarray):
            size = min(size, max(1, limit // (4 * math.prod(rows.shape[1:]))))
    return min(int(size), len(rows))


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(w in str(error).lower() for w in _OUT_OF_MEMORY_WORDS)


def _progress_bar(n_rows: int, batch_size: int, progress: bool):
    if not progress or n_rows <= batch_size:
        return nullcontext()
    from tqdm.auto import tqdm

    return tqdm(total=n_rows, unit="row", desc="embedding", leave=False, delay=0.5)


def _run_in_batches(run, rows, size: int, progress: bool) -> NDArray[np.float32]:
    """run(rows) in batches of `size`, which is halved for good whenever memory runs out."""
    latents = np.empty((0, 0), dtype=np.float32)
    start, n_rows = 0, len(rows)
    with _progress_bar(n_rows, size, progress) as bar:
        while start < n_rows:
            stop = min(start + size, n_rows)
            try:
                part = _as_latents(run(rows[start:stop]), stop - start, start)
            except Exception as error:
                if not _is_out_of_memory(error):
                    raise
                if stop - start == 1:
                    error.add_note(
                        f"Row {start} of X alone needs more memory than there is: use a smaller encoder or "
                        "smaller inputs (preprocess=), or device='cpu'."
                    )
                    raise
                size, part = (stop - start) // 2, None
            if part is None:  # out here the failed batch's tensors, held by the traceback, are free
                _free_cached_memory()
                continue
            if start == 0:
                latents = np.empty((n_rows, part.shape[1]), dtype=np.float32)
            elif part.shape[1] != latents.shape[1]:
                raise ValueError(
                    f"the encoder returned {part.shape[1]} features for rows {start} to {stop - 1} of X, but "
                    f"{latents.shape[1]} before; it must pool whatever depends on the size of the input."
                )
            latents[start:stop] = part
            start = stop
            if bar is not None:
                bar.update(len(part))
    return latents


def _free_cached_memory() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _embed(rows, encoder, *, batch_size, device, output, preprocess, progress) -> NDArray[np.float32]:
    """Latents of checked rows (an array or a list of texts)."""
    module = _torch_module(encoder)
    with _evaluating(module, device) as where, _capturing(module, output) as captured:
        run = _batch_function(encoder, module, where, preprocess, output, captured, isinstance(rows, list))
        return _run_in_batches(run, rows, _first_batch_size(batch_size, rows, where), progress)


# -----------------------------------------------------------------------------
# Cache


def _fingerprint(thing):
    """A hash of a callable that follows its weights, its structure and its own source, not its identity."""
    if thing is None:
        return None
    named = thing if inspect.isroutine(thing) else type(thing)
    try:
        source = inspect.getsource(named)  # a function edited in a notebook keeps its name
    except (OSError, TypeError):
        source = ""
    module = _torch_module(thing)
    if module is not None:
        # Non-persistent buffers are missing from state_dict, but the output depends on them.
        state = {**module.state_dict(), **dict(module.named_buffers())}
        content = repr(module), {name: _tensor_bytes(value) for name, value in state.items()}
    else:
        content = thing
    try:
        return joblib.hash((named.__qualname__ if hasattr(named, "__qualname__") else "", source, content))
    except Exception as error:  # pickle raises PicklingError, AttributeError or TypeError
        raise ValueError(
            f"memory= needs an encoder and a preprocess that can be pickled, {thing!r} cannot ({error}); define "
            "it at the top of a module instead of as a lambda or inside a function, or leave memory=None."
        ) from error


def _tensor_bytes(value):
    torch = sys.modules["torch"]
    if not isinstance(value, torch.Tensor):
        return value
    flat = value.detach().cpu().contiguous().reshape(-1)
    return (
        str(value.dtype),
        tuple(value.shape),
        flat.view(torch.uint8).numpy(),
    )  # bytes: NumPy has no bfloat16


def _stored_latents(key, compute):
    """What the cache wraps: `key` is all it sees, so neither X nor the weights are written to disk."""
    return compute()


# -----------------------------------------------------------------------------
# The estimator


class PretrainedEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn images, texts or flat rows into the latents of a pretrained encoder.

    The encoder is used as it is: it is never trained, never copied by :func:`sklearn.base.clone`, and left in
    the mode and on the device where it was.

    Parameters
    ----------
    encoder : torch.nn.Module, callable or object with an `encode` method
        - A torch module, or a bound method of one (`model.forward_features`), gets a float tensor (a list, if
          X holds texts) and runs in eval and inference mode. Texts go to its `encode` if it has one, as
          sentence-transformers models do.
        - Any other object with an `encode` method: `encode(batch)`.
        - Any other callable on a batch: a NumPy array of the type of X, or a list of texts.

        It returns one NumPy array or torch tensor with a row per input row. Mode and device of a torch module
        which a callable hides inside are the callable's own business.

    batch_size : int or "auto", default="auto"
        Rows per call of the encoder. "auto" starts with 256 or, if that is less, with 4 MB of float32 input for
        a torch module on a CPU (where larger batches are slower) and 32 MB for encoders other than torch modules.
        Either is halved, for the rest of the call, each time memory runs out.

    device : "auto", str or torch.device, default="auto"
        Where a torch module runs. "auto" takes a CUDA device if there is one and the module is on the CPU, and
        otherwise runs the module where it is. Afterwards the module is moved back to its own device. Other
        encoders ignore it.

    output : str, default=None
        Name of a sub-module of a torch module, as in `encoder.named_modules()`, whose output is taken instead
        of the encoder's.

    preprocess : callable, default=None
        Applied to each batch before the encoder: to the float tensor on the device for a torch module, to the
        NumPy array for any other encoder, to the list of texts if X holds texts.

    input_shape : tuple of int, default=None
        Shape of one row as the encoder wants it, such as (3, 224, 224). Flat rows of X (arrays of shape
        (n, 3 * 224 * 224), dataframes) are reshaped to it in C order.

    lipschitz : float, default=None
        A number L you vouch for, with ``||f(x) - f(x')|| <= L ||x - x'||`` in l2 for all inputs, in the units of
        X as passed, `preprocess` included. It is stored and believed, not checked: certificates in the units of
        X are as good as this number. None: certificates stop at the output of this step.

    memory : str, path or joblib.Memory, default=None
        Where to keep the latents of every X that is transformed. The key is made of the encoder's weights,
        structure and own source, of X, `preprocess`, `output` and `input_shape`.

    progress : bool, default=True
        Show a progress bar when the work takes more than one batch and half a second.

    Attributes
    ----------
    n_features_out_ : int
        Number of latents per row.

    n_features_in_ : int
        Number of features seen during :term:`fit`. Only if X has two dimensions.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during :term:`fit`. Only if X is a dataframe whose column names are all strings.

    Raises
    ------
    ValueError
        If X is empty, has NaN or infinite values, a missing text or another number of features than in `fit`;
        if the encoder's output is not finite (the rows are named), has another number of rows than the batch or
        of features than in `fit`; if `output` names no layer.
    TypeError
        If the encoder returns a tuple or a dict instead of one array.
    MemoryError, torch.OutOfMemoryError
        If memory runs out for a single row.

    Notes
    -----
    Outputs with more than two axes are flattened: (n, d, 1, 1) to (n, d), a feature map (n, c, h, w) to
    (n, c * h * w). Pool it with a global pooling layer, or take such a layer by `output`, if that is too wide.

    The input of a torch module has the type of the module's weights, float32 if it has none. Integer tokens
    therefore need ``preprocess=torch.Tensor.long``.

    :func:`sklearn.base.clone` shares the encoder: a grid search holds its weights once. Sharing makes two fits
    in two threads unsafe, since each switches the module's mode; processes (`n_jobs` with its default backend)
    are safe.

    The cache sees parameters, buffers, the printed structure of a torch module, and the source of the callable
    or class itself. It does not see what a function takes from elsewhere, such as a global variable. Pass the
    module rather than a function around it, or clear the cache after such a change.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skcert import PretrainedEmbedder
    >>> def mean_and_spread(images):
    ...     return np.stack([images.mean(axis=(1, 2, 3)), images.std(axis=(1, 2, 3))], axis=1)
    >>> rng = np.random.default_rng(0)
    >>> dark, bright = rng.uniform(0.0, 0.4, (10, 3, 8, 8)), rng.uniform(0.5, 0.9, (10, 3, 8, 8))
    >>> X, y = np.concatenate([dark, bright]), np.repeat(["dark", "bright"], 10)
    >>> embedder = PretrainedEmbedder(mean_and_spread)
    >>> embedder.fit_transform(X).shape
    (20, 2)
    >>> embedder.get_feature_names_out()
    array(['pretrainedembedder0', 'pretrainedembedder1'], dtype=object)
    >>> make_pipeline(embedder, LogisticRegression(C=100)).fit(X, y).score(X, y)
    1.0
    """

    def __init__(
        self,
        encoder: Any,
        *,
        batch_size: int | str = "auto",
        device: Any = "auto",
        output: str | None = None,
        preprocess: Callable[[Any], Any] | None = None,
        input_shape: tuple[int, ...] | None = None,
        lipschitz: float | None = None,
        memory: Any = None,
        progress: bool = True,
    ) -> None:
        self.encoder = encoder
        self.batch_size = batch_size
        self.device = device
        self.output = output
        self.preprocess = preprocess
        self.input_shape = input_shape
        self.lipschitz = lipschitz
        self.memory = memory
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> PretrainedEmbedder:
        """Check the parameters and X, and learn the number of latents from its first row.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or list of str
            Images or other arrays, flat rows, or texts.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted embedder.
        """
        self.n_features_out_ = self._embed(self._check(X, reset=True)[:1]).shape[1]
        return self

    def fit_transform(self, X: Any, y: Any = None) -> NDArray[np.float64]:
        """Fit and return the latents of X, in one pass of the encoder.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or list of str
            Images or other arrays, flat rows, or texts.
        y : None
            Ignored.

        Returns
        -------
        Z : ndarray of shape (n_samples, `n_features_out_`), float64
            The latents.
        """
        latents = self._embed_or_load(self._check(X, reset=True))
        self.n_features_out_ = latents.shape[1]
        return latents.astype(np.float64)

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Return the latents of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or list of str
            Images or other arrays, flat rows, or texts.

        Returns
        -------
        Z : ndarray of shape (n_samples, `n_features_out_`), float64
            The latents, as float64: the numbers are the encoder's float32 ones, and what follows computes with them in
            float64, so that its certificates lose nothing to rounding.
        """
        check_is_fitted(self)
        latents = self._embed_or_load(self._check(X, reset=False))
        if latents.shape[1] != self.n_features_out_:
            raise ValueError(
                f"the encoder returned {latents.shape[1]} features, but {self.n_features_out_} in fit; X must "
                "have the shape it had there, or the encoder must pool whatever depends on it."
            )
        return latents.astype(np.float64)

    @property
    def _n_features_out(self) -> int:  # what ClassNamePrefixFeaturesOutMixin asks for
        return self.n_features_out_

    def _check(self, X, reset):
        """X as the encoder's rows: a list of texts, or a finite array in the shape it wants."""
        _check_parameters(
            self.encoder,
            self.batch_size,
            self.output,
            self.preprocess,
            self.input_shape,
            self.lipschitz,
            self.memory,
        )
        texts = _as_texts(X)
        if texts is None:
            X = X if hasattr(X, "shape") else np.asarray(X)
            if len(X.shape) <= 2:
                return _as_batchable(np.asarray(validate_data(self, X, reset=reset)), self.input_shape)
        for name in ("n_features_in_", "feature_names_in_"):  # of an earlier fit on flat rows
            if reset and hasattr(self, name):
                delattr(self, name)
        if texts is not None:
            return texts
        # check_array, not validate_data: channels or time steps are no features.
        array = check_array(X, allow_nd=True, input_name="X", estimator=self)
        return _as_batchable(np.asarray(array), self.input_shape)

    def _embed(self, rows):
        return _embed(
            rows,
            self.encoder,
            batch_size=self.batch_size,
            device=self.device,
            output=self.output,
            preprocess=self.preprocess,
            progress=self.progress,
        )

    def _embed_or_load(self, rows):
        if self.memory is None:
            return self._embed(rows)
        memory = self.memory if hasattr(self.memory, "cache") else joblib.Memory(self.memory, verbose=0)
        # Rows have the shape of input_shape by now; batch size, device and progress do not change the latents.
        key = joblib.hash((_fingerprint(self.encoder), _fingerprint(self.preprocess), self.output, rows))
        return memory.cache(_stored_latents, ignore=["compute"])(key, lambda: self._embed(rows))

    def __sklearn_clone__(self) -> PretrainedEmbedder:
        # scikit-learn clones everything but the encoder, which is only read and may weigh gigabytes.
        shell = copy.copy(self)
        shell.encoder = None
        twin = super(PretrainedEmbedder, shell).__sklearn_clone__()
        twin.encoder = self.encoder
        return twin

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = ["float64"]
        return tags
