"""Inputs to latents: a pretrained encoder as a scikit-learn transformer."""

from __future__ import annotations

import copy
import math
import numbers
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from skcert.embedding.caching import load_or_compute
from skcert.embedding.inputs import as_batchable, as_collection
from skcert.embedding.latents import as_numpy, check_output_device, handed_over, stays_on_device
from skcert.embedding.noise import AVERAGING, TRAINING, NoisyLatents, NoisyRows
from skcert.embedding.precision import PRECISIONS
from skcert.embedding.running import embed
from skcert.embedding.torch_modules import running_device, torch_module
from skcert.lipschitz.clever import Clever
from skcert.lipschitz.report import Layer, LipschitzReport

__all__ = ["PretrainedEmbedder"]

#: ways to find a Lipschitz constant; the last is an estimate
LIPSCHITZ = ("global", "local", "clever")
#: noisy copies of a row in fit_transform, at most
TRAINING_SAMPLES = 32

# -----------------------------------------------------------------------------
# Checks


def _check_parameters(encoder, batch_size, output, precision, preprocess, input_shape, lipschitz, memory) -> None:
    if isinstance(encoder, type):
        raise TypeError(f"encoder is the class {encoder.__name__}; pass an instance of it.")
    if isinstance(encoder, str | bytes) or not (callable(encoder) or callable(getattr(encoder, "encode", None))):
        raise TypeError(
            "encoder must be a torch module, a callable on a batch or an object with an `encode` method; "
            f"got {type(encoder).__name__}."
        )
    if batch_size != "auto" and not _is_positive_int(batch_size):
        raise ValueError(f"batch_size must be 'auto' or an integer >= 1; got {batch_size!r}.")
    if output is not None:
        if not isinstance(output, str):
            raise TypeError(f"output must be None or the name of a sub-module; got {type(output).__name__}.")
        if torch_module(encoder) is None:
            raise ValueError(
                f"output={output!r} names a layer of a torch module, but encoder is a {type(encoder).__name__}; "
                "let it return that layer's values itself and leave output=None."
            )
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(map(repr, PRECISIONS))}; got {precision!r}.")
    if precision != "full" and torch_module(encoder) is None:
        raise ValueError(
            f"precision={precision!r} is for torch modules, but encoder is a {type(encoder).__name__}; "
            "leave precision='full' and let it choose its own."
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
    _check_lipschitz(lipschitz)
    if memory is not None and not isinstance(memory, (str, os.PathLike)) and not hasattr(memory, "cache"):
        raise TypeError(f"memory must be None, a path or a joblib.Memory; got {type(memory).__name__}.")


def _check_output(output_device, ran_on, container) -> None:
    check_output_device(output_device, ran_on)
    if str(output_device) != "numpy" and container != "default":
        raise ValueError(
            f"output_device={str(output_device)!r} cannot be put into a {container} container, which set_output or set_config "
            "asks for; take output_device='numpy', or transform='default' there."
        )


def _check_lipschitz(lipschitz) -> None:
    """None, a number someone vouches for, or the way in which a bound or an estimate is found."""
    known = lipschitz is None or isinstance(lipschitz, Clever) or (isinstance(lipschitz, str) and lipschitz in LIPSCHITZ)
    number = isinstance(lipschitz, numbers.Real) and not isinstance(lipschitz, bool) and 0 < float(lipschitz) < math.inf
    if not known and not number:
        raise ValueError(
            f"lipschitz must be None (unknown), one of {', '.join(map(repr, LIPSCHITZ))}, a skcert.Clever, or a positive "
            "finite number, a bound on the change of the embedding per unit of change of X (l2); "
            f"got {lipschitz!r}."
        )


def _check_noise(embedder) -> None:
    for name in ("noise_augment", "smoothing"):
        value = getattr(embedder, name)
        number = isinstance(value, numbers.Real) and not isinstance(value, bool) and 0 < float(value) < math.inf
        if value is not None and not number:
            raise ValueError(f"{name} must be None or a positive number, the standard deviation of noise; got {value!r}.")
    if not _is_positive_int(embedder.n_samples):
        raise ValueError(f"n_samples must be an integer >= 1; got {embedder.n_samples!r}.")
    if embedder.smoothing is None:
        return
    if embedder.noise_augment is not None:
        raise ValueError("smoothing= averages over noise in fit_transform as well: leave noise_augment=None.")
    if str(embedder.output_device) != "numpy":
        raise ValueError(f"smoothing= returns NumPy arrays; got output_device={str(embedder.output_device)!r}.")
    if embedder.lipschitz is not None:
        raise ValueError(f"smoothing= has a Lipschitz constant of its own; leave lipschitz=None, got {embedder.lipschitz!r}.")


def _is_positive_int(value) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= 1


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
          sentence-transformers models do. A dict of arguments, as tokenizers return it, is passed by name.
        - Any other object with an `encode` method: `encode(batch)`.
        - Any other callable on a batch: a NumPy array of the type of X, a list of texts or of PIL images.

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

    output_device : "numpy", "torch", "cupy", str or torch.device, default="numpy"
        What the latents come out as, in float64: a NumPy array; a torch tensor on the device where the encoder ran;
        a CuPy array in the same memory of a CUDA device; a torch tensor on the device named, such as "cpu".
        With "torch" and "cupy" they never leave the GPU.

    precision : "full", "tf32", "bfloat16" or "float16", default="full"
        What a torch module of float32 weights computes in: float32 (TF32 off, which torch has on for convolutions
        on CUDA), float32 with TF32, or torch's autocast to a half type. "float16" needs a CUDA device. Weights that
        are of a half type compute in their own.

    preprocess : callable, default=None
        Applied to each batch before the encoder: to the float tensor on the device for a torch module, to the
        NumPy array for any other encoder, to the list of texts if X holds texts. If X holds PIL images or files of
        them, it is applied to each image alone, as the transforms of torchvision, timm and open_clip want it, and
        returns an array or tensor of one shape.

    input_shape : tuple of int, default=None
        Shape of one row as the encoder wants it, such as (3, 224, 224). Flat rows of X (arrays of shape
        (n, 3 * 224 * 224), dataframes) are reshaped to it in C order; for a torch module, rows of shape (224, 224, 3)
        have their channels moved to the front.

    lipschitz : float, "global", "local", "clever" or skcert.Clever, default=None
        How far the latents move when X moves, in l2 and in the units of X as passed, `preprocess` included. Certificates in the
        units of X rest on it; None: they stop at the output of this step.

        - A number L you vouch for, with ``||f(x) - f(x')|| <= L ||x - x'||`` for all inputs. It is believed, not checked.
        - "global": such a number from the layers of a torch module, see :meth:`lipschitz_report`. Sound; often very large.
        - "local": for networks of ReLUs, constants that hold on balls about each point, never larger than the global one.
        - "clever" or :class:`skcert.Clever`: an estimate from sampled gradients, whose certificates have the guarantee "none".

    noise_augment : float, default=None
        Standard deviation of Gaussian noise, in the units of X, that :meth:`fit_transform` adds to every row before the
        encoder: the models behind this step, in a pipeline, are then fitted on latents of noisy rows, as they will meet them
        under :class:`RandomizedSmoothingClassifier`. :meth:`transform` adds none.

    smoothing : float, default=None
        Standard deviation sigma of Gaussian noise over which latents are averaged: a latent is the mean of the encoder's over
        `n_samples` noisy copies of the row. Latents farther than `norm_bound_` from `center_` are first shortened to that, so
        that the mean has the Lipschitz constant ``norm_bound_ sqrt(2 / pi) / sigma`` whatever the encoder. Certificates in the
        units of X rest on it, and on how far a mean of `n_samples` may be from the expected one: "probabilistic" at 0.999.

    n_samples : int, default=1000
        Noisy copies of a row for `smoothing`. :meth:`fit_transform`, whose latents only train what follows, takes 32 at most.

    random_state : int, RandomState or None, default=None
        For the noise. Every row has random numbers of its own, which depend on this and on its values. None: chosen in fit.

    memory : str, path or joblib.Memory, default=None
        Where to keep the latents of every X that is transformed. The key is made of the encoder's weights,
        structure and own source, of X, `preprocess`, `output`, `precision` and `input_shape`. For files X means
        their paths, sizes and times of change. What is kept are NumPy arrays.

    progress : bool, default=True
        Show a progress bar, on a terminal or in a notebook, when the work takes more than two seconds.

    Attributes
    ----------
    n_features_out_ : int
        Number of latents per row.

    center_ : ndarray of shape (`n_features_out_`,)
        With `smoothing`, the mean latent of the rows seen in fit, without noise.

    norm_bound_ : float
        With `smoothing`, the median distance of a latent from there, of the rows seen in fit without noise.

    n_features_in_ : int
        Number of features seen during :term:`fit`. Only if X has two dimensions.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during :term:`fit`. Only if X is a dataframe whose column names are all strings.

    Raises
    ------
    ValueError
        If X is empty, has NaN or infinite values, a missing text, images that cannot be read or differ in size, or
        another number of features than in `fit`; if the encoder's output is not finite (the rows are named), has
        another number of rows than the batch or of features than in `fit`; if `output` names no layer; if the latents
        cannot come out as `output_device` says.
    FileNotFoundError
        If a file of images is missing (the row is named), before the encoder runs.
    ImportError
        If Pillow or CuPy is needed and missing.
    TypeError
        If the encoder returns a tuple or a dict instead of one array.
    MemoryError, torch.OutOfMemoryError
        If memory runs out for a single row.

    Notes
    -----
    Outputs with more than two axes are flattened: (n, d, 1, 1) to (n, d), a feature map (n, c, h, w) to
    (n, c * h * w). Pool it with a global pooling layer, or take such a layer by `output`, if that is too wide.

    The input of a torch module has the type of the module's weights, float32 if it has none. Integer tokens
    therefore need ``preprocess=torch.Tensor.long``. Without `input_shape`, rows of shape (height, width, channels)
    with 1, 3 or 4 channels and sides of at least 8 have their channels moved to the front for a torch module,
    whatever the type of X.

    PIL images and files of images are opened batch by batch, turned upright (EXIF) and converted to RGB. Strings are
    files if all of them end like one (.png, .jpg, .jpeg, .bmp, .gif, .webp, .tif, .tiff, .ppm). Without `preprocess`
    a torch module gets their bytes, as floats from 0 to 255 of shape (3, height, width).

    TF32 is a flag of the whole process; it is set while the encoder runs, and then put back.

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
        output_device: Any = "numpy",
        precision: str = "full",
        preprocess: Callable[[Any], Any] | None = None,
        input_shape: tuple[int, ...] | None = None,
        lipschitz: float | str | Clever | None = None,
        noise_augment: float | None = None,
        smoothing: float | None = None,
        n_samples: int = 1000,
        random_state: Any = None,
        memory: Any = None,
        progress: bool = True,
    ) -> None:
        self.encoder = encoder
        self.batch_size = batch_size
        self.device = device
        self.output = output
        self.output_device = output_device
        self.precision = precision
        self.preprocess = preprocess
        self.input_shape = input_shape
        self.lipschitz = lipschitz
        self.noise_augment = noise_augment
        self.smoothing = smoothing
        self.n_samples = n_samples
        self.random_state = random_state
        self.memory = memory
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> PretrainedEmbedder:
        """Check the parameters and X, and learn the number of latents from its first row; with `smoothing` the ball from all.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...), or list of images, paths or str
            Images, flat rows or other arrays, files of images, or texts.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted embedder.
        """
        rows = self._check(X, reset=True)
        self._forget_bound()
        if self.smoothing is None:
            self.n_features_out_ = self._embed(rows[:1]).shape[1]
        else:
            self._learn_bound(rows)
        return self

    def _forget_bound(self) -> None:
        for name in ("center_", "norm_bound_"):
            self.__dict__.pop(name, None)

    def _learn_bound(self, rows) -> None:
        latents = as_numpy(self._embed(rows)).astype(float)
        self.n_features_out_ = latents.shape[1]
        self.center_ = latents.mean(axis=0)
        self.norm_bound_ = float(np.median(np.linalg.norm(latents - self.center_, axis=1)))
        if not self.norm_bound_ > 0:
            raise ValueError("smoothing= needs latents that differ: most rows of X have the same.")

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit and return the latents of X, in one pass of the encoder; with `smoothing`, means over 32 noisy copies at most.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...), or list of images, paths or str
            Images, flat rows or other arrays, files of images, or texts.
        y : None
            Ignored.

        Returns
        -------
        Z : ndarray, tensor or CuPy array of shape (n_samples, `n_features_out_`), float64
            The latents, where `output_device` says.
        """
        rows = self._check(X, reset=True)
        self._forget_bound()
        if self.smoothing is not None:
            self._learn_bound(rows)
            return self._noisy(min(self.n_samples, TRAINING_SAMPLES), TRAINING).means(rows)
        if self.noise_augment is not None:
            latents = self._embed(NoisyRows(rows, self.noise_augment, self._seed), stays=stays_on_device(self.output_device))
        else:
            latents = self._embed_or_load(rows)
        self.n_features_out_ = latents.shape[1]
        return handed_over(latents, self.output_device, self._runs_on())

    def transform(self, X: Any) -> Any:
        """Return the latents of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...), or list of images, paths or str
            Images, flat rows or other arrays, files of images, or texts.

        Returns
        -------
        Z : ndarray, tensor or CuPy array of shape (n_samples, `n_features_out_`), float64
            The latents, where `output_device` says. The numbers are the encoder's float32 ones; what follows computes with
            them in float64, so that its certificates lose nothing to rounding.
        """
        check_is_fitted(self)
        rows = self._check(X, reset=False)
        if self.smoothing is not None:
            self._check_bound()
            return self._noisy(self.n_samples).means(rows)
        latents = self._embed_or_load(rows)
        if latents.shape[1] != self.n_features_out_:
            raise ValueError(
                f"the encoder returned {latents.shape[1]} features, but {self.n_features_out_} in fit; X must "
                "have the shape it had there, or the encoder must pool whatever depends on it."
            )
        return handed_over(latents, self.output_device, self._runs_on())

    def _check_bound(self) -> None:
        if not hasattr(self, "norm_bound_"):
            raise ValueError("smoothing= was set after fit, which learns norm_bound_ for it: fit again.")

    def _noisy(self, n_samples: int, purpose: int = AVERAGING) -> NoisyLatents:
        def run(noisy: NoisyRows) -> np.ndarray:
            try:
                return as_numpy(self._embed(noisy))
            except ValueError as reason:
                raise ValueError(f"of noisy copies of rows, {noisy.copies} of each, one after the other: {reason}") from reason

        return NoisyLatents(run, float(self.smoothing or 0), n_samples, self._seed, self.center_, self.norm_bound_, purpose)

    def lipschitz_report(self) -> LipschitzReport:
        """How far the latents can move when X moves, call by call of the encoder: a bound that holds everywhere.

        The encoder is traced by `torch.fx` at the shape of the rows seen in `fit`, `preprocess` included, and the constants of
        its calls are multiplied along the graph. Where `lipschitz` is a number, that is all there is.

        Returns
        -------
        report : skcert.LipschitzReport
            `report.constant` is the bound in l2, in the units of X as passed. Printed as a table.

        Raises
        ------
        Uncertifiable
            A module or function without a bound, named; or an encoder that cannot be traced, with the reason.

        Examples
        --------
        >>> import numpy as np, torch
        >>> from skcert import PretrainedEmbedder
        >>> encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2, bias=False), torch.nn.ReLU())
        >>> _ = torch.nn.init.constant_(encoder[1].weight, 0.5)
        >>> embedder = PretrainedEmbedder(encoder, preprocess=lambda batch: batch / 255).fit(np.zeros((5, 2, 2)))
        >>> embedder.lipschitz_report()
        Lipschitz constant 0.005546 (l2, from X to the latents, everywhere)
          layer               kind       factor    so far
          preprocess truediv  truediv  0.003922  0.003922
          0                   Flatten     1.000  0.003922
          1                   Linear      1.415  0.005546
          2                   ReLU        1.000  0.005546
        """
        check_is_fitted(self)
        if isinstance(self.lipschitz, numbers.Real):
            number = float(self.lipschitz)
            return LipschitzReport(
                [Layer("encoder", type(self.encoder).__name__, number, number, "as passed: not checked")], number
            )
        from skcert.lipschitz.encoders import constants_of  # it needs torch

        found = constants_of(self)
        return LipschitzReport(found.layers, found.total)

    @property
    def _n_features_out(self) -> int:  # what ClassNamePrefixFeaturesOutMixin asks for
        return self.n_features_out_

    def _check(self, X, reset):
        """X as the encoder's rows: texts, images, or a finite array in the shape it wants."""
        _check_parameters(
            self.encoder,
            self.batch_size,
            self.output,
            self.precision,
            self.preprocess,
            self.input_shape,
            self.lipschitz,
            self.memory,
        )
        _check_noise(self)
        if reset and (self.noise_augment is not None or self.smoothing is not None):
            self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        # set_output keeps its container in this attribute, set_config in the configuration
        container = getattr(self, "_sklearn_output_config", {}).get("transform", get_config()["transform_output"])
        _check_output(self.output_device, self._runs_on(), container)
        collection = as_collection(X)
        if collection is None:
            X = X if hasattr(X, "shape") else np.asarray(X)
            if len(X.shape) <= 2:
                array = validate_data(self, X, reset=reset)
                if reset:
                    self._row_shape = array.shape[1:]
                return self._as_batchable(array)
        if collection is not None and (self.noise_augment is not None or self.smoothing is not None):
            raise ValueError(
                "noise_augment= and smoothing= add noise to arrays of numbers; X holds texts or images: pass arrays."
            )
        if reset:
            self._row_shape = None if collection is not None else tuple(X.shape[1:])
        for name in ("n_features_in_", "feature_names_in_"):  # of an earlier fit on flat rows
            if reset and hasattr(self, name):
                delattr(self, name)
        if collection is not None:
            return collection
        # check_array, not validate_data: channels or time steps are no features.
        return self._as_batchable(check_array(X, allow_nd=True, input_name="X", estimator=self))

    def _as_batchable(self, array):
        return as_batchable(np.asarray(array), self.input_shape, for_torch=torch_module(self.encoder) is not None)

    def _runs_on(self):
        """The device of a torch module as far as it decides where the latents go."""
        module = torch_module(self.encoder)
        return None if module is None or str(self.output_device) == "numpy" else running_device(module, self.device)

    def _embed(self, rows, stays=False, precision=None):
        return embed(
            rows,
            self.encoder,
            batch_size=self.batch_size,
            device=self.device,
            output=self.output,
            precision=precision or self.precision,
            preprocess=self.preprocess,
            input_shape=self.input_shape,
            progress=self.progress,
            stays=stays,
        )

    def _embed_or_load(self, rows):
        if self.memory is None:
            return self._embed(rows, stays=stays_on_device(self.output_device))
        # Rows have the shape of input_shape by now; batch size, devices and progress do not change the latents.
        options = (self.output, self.precision)
        return load_or_compute(self.memory, rows, self.encoder, self.preprocess, options, lambda: as_numpy(self._embed(rows)))

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
