"""LatentShaper and CertifiedMarginClassifier: a small network of known constant between an encoder and its classifier."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from skcert._affine import Affine
from skcert.backends.arrays import computed_in_numpy
from skcert.shaping.layers import Layers

OBJECTIVES = ("certified-margin", "mcr2")
#: share of the training points that are held out to choose the epoch
HELD_OUT = 0.1
#: the target radius in units of the scale of the points, unless given
TARGET = 0.1
#: the largest ratio of the target radius and the scale of the points, or its inverse, and the smallest scale
FARTHEST, SMALLEST = 1e6, 1e-300


class LatentShaper(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Map latents by a small network to ones whose classes lie further apart, at no cost to the certificate.

    A transformer trained with labels, between an encoder and a classifier. Its default network is 1-Lipschitz in l2 by
    construction (orthogonal layers, MaxMin between them): what is certified behind it holds before it (theory 2.2, 5).
    :class:`CertifiedMarginClassifier` is the same network with the linear head it was trained with, usually the better rule.

    Parameters
    ----------
    objective : {"certified-margin", "mcr2"}, default="certified-margin"
        "certified-margin": the distance to the boundaries of a linear head trained along, asked to be 1.5 times the target
        radius (theory 5), of points with Gaussian noise of 0.02 of their scale on each coordinate. "mcr2": the coding rate
        reduction of arXiv 2605.25352 on latents projected to the unit sphere, less ``iso`` and ``mmd`` times its other terms.
    n_components : int, default=256
        Features after the network.
    hidden_layer_sizes : tuple of int, default=(256, 256)
        Widths of the hidden layers, even numbers unless ``lipschitz=None``.
    lipschitz : 1.0 or None, default=1.0
        None: the paper's linear, batch norm, ReLU, linear, ReLU, linear without any constraint. Its constant is then bounded
        by the product of those of its layers, usually far above 1, by which certificates are divided.
    target_radius : float, default=None
        The l2 radius at which certified accuracy is wanted, in the units of X. None: 0.1 of the scale of the training points,
        their median distance from their mean. With ``lipschitz=None`` it plays no part.
    iso : float, default=1.0
        Weight of the isotropy of each class; "mcr2" only.
    mmd : float, default=0.0
        Weight of the distance of each class from an isotropic Gaussian; "mcr2" only.
    max_epochs : int, default=60
        Passes over the training points. A tenth of these is held out, and the network kept is that of the last epoch whose
        certified accuracy there, at the target radius, is within one standard error of the largest: that of the head trained
        along, or ("mcr2") of a mixture with tied covariances. Behind an unconstrained network the radius is 0.1 of the scale
        of its latents.
    batch_size : int, default=256
        At most; small sets are passed in 16 batches.
    learning_rate : float, default=3e-3
        Peak of the one-cycle rate of AdamW.
    device : "auto", str or torch.device, default="auto"
        Where the network is trained: "auto" takes a CUDA device if there is one. The fitted one computes in NumPy's float64.
    random_state : int, RandomState instance or None, default=None
    progress : bool, default=True
        Show a progress bar of the epochs, on a terminal or in a notebook, when training takes more than two seconds.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    lipschitz_ : float
        Proven upper bound of the l2 Lipschitz constant of the weights as they are stored.
    target_radius_ : float
    history_ : dict of str to ndarray of shape (max_epochs,)
        "loss" on the training points with their noise, "certified_accuracy" at the target radius and "accuracy" on those
        held out.
    best_epoch_ : int
        The epoch kept, counted from 0.
    head_ : Affine
        The linear classifier trained along, on the latents. Only with ``objective="certified-margin"``.
    layers_ : skcert.shaping.layers.Layers
        The network as arrays.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only when X has string column names.

    See Also
    --------
    CertifiedMarginClassifier : The same network with its own head.
    skcert.plotting.LossCurveDisplay : Loss and certified accuracy by epoch.

    Notes
    -----
    Training needs torch (``pip install skcert[torch]``), a fitted shaper does not. Given ``random_state`` it is repeatable on
    the same machine. Where squares of distances vanish or overflow, from about 1e-150 and 1e150 on, radii are 0. Where a class
    has a single point, or there are fewer than 10 points to a class or so that no tenth of
    them holds all classes, nothing is held out, and the epoch is chosen by the training points themselves.

    References
    ----------
    theory 5; arXiv 2605.25352, section 6 and appendix H.1.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.pipeline import make_pipeline
    >>> from skcert import CertifiedGMMClassifier, LatentShaper, certify
    >>> X, y = load_digits(return_X_y=True)
    >>> shaper = LatentShaper(n_components=32, hidden_layer_sizes=(64,), max_epochs=3, random_state=0, progress=False)
    >>> model = make_pipeline(shaper, CertifiedGMMClassifier()).fit(X, y)
    >>> certify(model, X[:5]).guarantee                           # radii in the units of X
    'deterministic'
    >>> 1 <= model[0].lipschitz_ < 1 + 1e-6
    True
    """

    layers_: Layers

    def __init__(
        self,
        *,
        objective="certified-margin",
        n_components=256,
        hidden_layer_sizes=(256, 256),
        lipschitz=1.0,
        target_radius=None,
        iso=1.0,
        mmd=0.0,
        max_epochs=60,
        batch_size=256,
        learning_rate=3e-3,
        device="auto",
        random_state=None,
        progress=True,
    ):
        self.objective = objective
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.lipschitz = lipschitz
        self.target_radius = target_radius
        self.iso = iso
        self.mmd = mmd
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.device = device
        self.random_state = random_state
        self.progress = progress

    @computed_in_numpy
    def fit(self, X, y) -> LatentShaper:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels of at least two classes.

        Returns
        -------
        LatentShaper
            The fitted transformer itself.

        Raises
        ------
        ValueError
            A parameter, X or y is not as expected, or training diverged.
        ImportError
            There is no torch.
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self._check_parameters()
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y holds 1 class, {self.classes_[0]!r}: a {type(self).__name__} needs at least 2 classes.")
        with np.errstate(over="ignore", invalid="ignore"):  # an error below
            center = X.mean(axis=0)
            size = float(np.abs(X - center).max()) or 1.0  # squares of lengths may overflow or vanish
            distances = size * np.linalg.norm((X - center) / size, axis=1)
            # more than half of the points may be one point
            unit = float(np.median(distances) or distances.mean()) or 1.0
        if not np.isfinite(unit):
            raise ValueError("X is so large that distances between its points overflow: scale it before the shaper.")
        if unit < SMALLEST:
            raise ValueError("X is so small that distances between its points vanish: scale it before the shaper.")
        self.target_radius_ = TARGET * unit if self.target_radius is None else float(self.target_radius)
        if not 1 / FARTHEST < self.target_radius_ / unit < FARTHEST:
            raise ValueError(
                f"target_radius is in the units of X, whose points are {unit:.3g} from their mean (the median); got "
                f"{self.target_radius!r}."
            )
        self._train(center, unit, X, codes)
        return self

    def _train(self, center: np.ndarray, unit: float, X: np.ndarray, codes: np.ndarray) -> None:
        try:
            import torch
        except ImportError as error:
            raise ImportError(
                f"{type(self).__name__} is trained with torch: install it with 'pip install skcert[torch]'."
            ) from error
        from skcert.embedding.torch_modules import pick_device
        from skcert.shaping import networks, training

        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        device = pick_device(self.device, set())
        cuda = [device] if device.type == "cuda" else []
        with training.one_thread(), torch.random.fork_rng(devices=cuda):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach devices that are not used
            for each in cuda:
                with torch.cuda.device(each):
                    torch.cuda.manual_seed(seed)
            sizes = (X.shape[1], *self.hidden_layer_sizes, self.n_components)
            network = (networks.Unconstrained if self.lipschitz is None else networks.OneLipschitz)(sizes)
            objective: Any
            if self.objective == "certified-margin":
                objective = training.CertifiedMargin(self.n_components, len(self.classes_), self.target_radius_ / unit)
            else:
                radius = None if self.lipschitz is None else self.target_radius_ / unit
                objective = training.CodingRateReduction(self.iso, self.mmd, radius)
            fitted, held_out = _split(codes, seed)
            data = training.Data((X - center) / unit, codes, fitted, held_out)
            rules = training.Rules(self.max_epochs, self.batch_size, self.learning_rate, device, self.progress)
            self.history_, self.best_epoch_ = training.train(network, objective, data, rules)
        self.layers_ = networks.in_units(network.layers(), center, unit)
        if self.objective == "certified-margin":
            weight, bias = (networks.as_array(part) for part in (objective.head.weight, objective.head.bias))
            self.head_ = Affine(weight / unit, bias, classes=self.classes_)

    @computed_in_numpy
    def transform(self, X) -> np.ndarray:
        """Latents after the network, in float64.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            In the units of X.
        """
        check_is_fitted(self)
        return self.layers_.apply(validate_data(self, X, reset=False, dtype=np.float64))

    @property
    def lipschitz_(self) -> float:
        """Proven upper bound of the constant."""
        return self.layers_.constant

    @property
    def _n_features_out(self) -> int:
        return self.layers_.n_outputs

    def _check_parameters(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {OBJECTIVES}, got {self.objective!r}.")
        if self.lipschitz is None and self.objective == "certified-margin":
            raise ValueError(
                'objective="certified-margin" needs lipschitz=1.0: a network without a constant moves classes as far apart as '
                'it likes, at no gain. Use lipschitz=1.0, or objective="mcr2".'
            )
        if self.lipschitz is not None and self.lipschitz != 1:
            raise ValueError(
                f"lipschitz must be 1.0 or None, got {self.lipschitz!r}: for another constant scale the points before or after."
            )
        _check_whole("n_components", self.n_components)
        _check_whole("max_epochs", self.max_epochs)
        _check_whole("batch_size", self.batch_size, least=2)
        if not isinstance(self.hidden_layer_sizes, tuple | list):
            raise ValueError(f"hidden_layer_sizes must be a tuple of widths such as (256,), got {self.hidden_layer_sizes!r}.")
        for width in self.hidden_layer_sizes:
            _check_whole("hidden_layer_sizes", width)
            if self.lipschitz is not None and width % 2:
                raise ValueError(
                    f"hidden_layer_sizes must be even, as MaxMin takes features in pairs; got {self.hidden_layer_sizes!r}."
                )
        _check_number("learning_rate", self.learning_rate, above=True)
        if self.target_radius is not None:
            _check_number("target_radius", self.target_radius, above=True)
        _check_number("iso", self.iso)
        _check_number("mmd", self.mmd)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float64"]
        tags.non_deterministic = self.random_state is None
        return tags


class CertifiedMarginClassifier(ClassifierMixin, BaseEstimator):
    """Classify latents by a small 1-Lipschitz network with a linear head, trained for the radius that will be certified.

    The network is that of :class:`LatentShaper` with ``objective="certified-margin"``, and stays with the head it was trained
    with. With scores ``s = W h(x) + b`` and h 1-Lipschitz, rival j is at least ``(s_i - s_j) / ||w_i - w_j||`` from x: a
    certificate at the price of a prediction (theory 2.2, 5).

    Parameters
    ----------
    n_components, hidden_layer_sizes, target_radius, max_epochs, batch_size, learning_rate, device, random_state, progress
        As in :class:`LatentShaper`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    shaper_ : LatentShaper
        The fitted network, with its ``history_`` and its ``lipschitz_``.
    head_ : Affine
        The linear head on its latents.
    target_radius_ : float
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only when X has string column names.

    See Also
    --------
    LatentShaper : The network alone, for another classifier behind it.

    References
    ----------
    theory 5.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skcert import CertifiedMarginClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> model = CertifiedMarginClassifier(hidden_layer_sizes=(64,), max_epochs=3, random_state=0, progress=False).fit(X, y)
    >>> certificate = model.certify(X)
    >>> certificate.guarantee, bool((certificate.prediction == y).mean() > 0.9)
    ('deterministic', True)
    """

    def __init__(
        self,
        *,
        n_components=256,
        hidden_layer_sizes=(256, 256),
        target_radius=None,
        max_epochs=60,
        batch_size=256,
        learning_rate=3e-3,
        device="auto",
        random_state=None,
        progress=True,
    ):
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.target_radius = target_radius
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.device = device
        self.random_state = random_state
        self.progress = progress

    @computed_in_numpy
    def fit(self, X, y) -> CertifiedMarginClassifier:
        """Train network and head.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)

        Returns
        -------
        CertifiedMarginClassifier
            The fitted classifier itself.
        """
        validate_data(self, X, y, dtype=np.float64, skip_check_array=True)
        self.shaper_ = LatentShaper(objective="certified-margin", **self.get_params(deep=False)).fit(X, y)
        self.head_ = self.shaper_.head_
        self.classes_, self.target_radius_ = self.shaper_.classes_, self.shaper_.target_radius_
        return self

    @computed_in_numpy
    def decision_function(self, X) -> np.ndarray:
        """Scores, shape (n_samples, n_classes); for two classes what the second has more than the first, (n_samples,)."""
        latents = self._latents(X)
        return self.head_.decision_function(latents)

    @computed_in_numpy
    def predict(self, X) -> np.ndarray:
        """The class with the largest score.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        latents = self._latents(X)
        return self.head_.predict(latents)

    def _latents(self, X) -> np.ndarray:
        check_is_fitted(self)
        validate_data(self, X, reset=False, dtype=np.float64)
        return self.shaper_.transform(X)  # as it came: a frame has names

    def certify(self, X, *, norm=2, method="auto", feature_scale=None, device=None, progress=True):
        """Certificates of the predictions on X; parameters and result as in :func:`skcert.certify`."""
        from skcert._certify import certify

        return certify(self, X, norm=norm, method=method, feature_scale=feature_scale, device=device, progress=progress)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.non_deterministic = self.random_state is None
        return tags


def _check_whole(name: str, value: Any, least: int = 1) -> None:
    if not (isinstance(value, Integral) and int(value) >= least):
        raise ValueError(f"{name} must be made of integers of at least {least}, got {value!r}.")


def _check_number(name: str, value: Any, above: bool = False) -> None:
    right = isinstance(value, Real) and 0 <= float(value) < np.inf
    if not right or (above and not value):
        raise ValueError(f"{name} must be a finite number, {'positive' if above else 'not negative'}; got {value!r}.")


def _split(codes: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices to train on and to choose the epoch by: a stratified tenth, or the same points where that cannot be had."""
    everything = np.arange(len(codes))
    try:
        fitted, held_out = train_test_split(everything, test_size=HELD_OUT, stratify=codes, random_state=seed)
    except ValueError:  # a class has one point, or there are more classes than held-out points
        return everything, everything
    return fitted, held_out
