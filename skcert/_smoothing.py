"""RandomizedSmoothingClassifier: any classifier, certified by what it answers under Gaussian noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from scipy.sparse import issparse
from scipy.stats import binomtest
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import _safe_indexing, check_random_state, column_or_1d, get_tags
from sklearn.utils._metadata_requests import _routing_enabled
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _num_samples, check_is_fitted

from skcert._progress import bar, shown
from skcert.smoothing.bounds import fewest_votes, largest_radius
from skcert.smoothing.choice import voters
from skcert.smoothing.procedure import Votes, certify_votes, select
from skcert.smoothing.votes import Voter

STOPPING = ("fixed", "anytime")


class RandomizedSmoothingClassifier(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """The class that a classifier gives most often under Gaussian noise, with a radius that many votes certify.

    For encoders whose Lipschitz constant is unknown or useless. The smoothed classifier answers the class that ``estimator``
    gives most probably at x + n, n ~ N(0, sigma^2 I). That class is found by ``n_select`` votes; independent votes bound its
    probability p from below at level 1 - alpha, and the smoothed classifier cannot change within ``sigma Phi^-1(p)`` in l2.
    The guarantee is "probabilistic": of all certificates, at most a share of alpha may be wrong.

    Parameters
    ----------
    estimator : classifier or Pipeline ending in one
        Fitted by :meth:`fit` on points without noise, or fitted already: in a :class:`~sklearn.frozen.FrozenEstimator`, which
        ``fit`` leaves as it is, or as it stands, if ``fit`` is never called. It should have seen noise in training, see
        ``PretrainedEmbedder(noise_augment=sigma)``.
    sigma : float
        Standard deviation of the noise, in the units of X. Radii up to 3 to 4 sigma can be certified; the larger sigma, the
        more accuracy is lost to noise.
    n_select : int, default=100
        Votes that pick the class.
    n_certify : int, default=10_000
        Votes that certify it; with ``stopping="anytime"`` at most.
    alpha : float, default=0.001
        The probability with which a certificate may be wrong.
    stopping : {"fixed", "anytime"}, default="fixed"
        "fixed": ``n_certify`` votes for every point, bounded by Clopper and Pearson. "anytime": stop as soon as it is known
        whether the point is robust at ``target_radius``; the bound then comes from a confidence sequence, which holds however
        often one looks. Most points need a small share of the votes.
    target_radius : float, default=None
        The l2 radius to decide about, in the units of X. Needed for ``stopping="anytime"``.
    batch_size : int or "auto", default="auto"
        Noisy points that are classified together: it bounds the memory, whatever the number of votes.
    device : "auto", str or torch.device, default="auto"
        Where a torch encoder at the head of the pipeline runs, and the noise with it. "auto": as the encoder's own ``device``
        says. With linear scores behind the encoder, noise, latents and scores stay there.
    n_jobs : int, default=None
        Processes among which the points are divided.
    random_state : int, RandomState or None, default=None
        Every point has random numbers of its own, which depend on this and on its values: its certificate does not depend on
        what stands beside it. None: chosen in ``fit``.
    progress : bool, default=True
        Show a progress bar, on a terminal or in a notebook, when the work takes more than two seconds.

    Attributes
    ----------
    estimator_ : classifier
        The one that votes.
    classes_ : ndarray of shape (n_classes,)
    n_features_in_ : int
        If ``estimator_`` has it.
    feature_names_in_ : ndarray of str
        If ``estimator_`` has it.

    Notes
    -----
    Prediction and certificate are about the smoothed classifier, not about ``estimator``. Noise is added to all columns of
    numbers; others do not move. Real numbers are meant: what float32 does to noise is not counted.

    Where all steps are affine the votes are drawn from the exact law of the scores, which needs as many random numbers as there
    are classes, not features.

    References
    ----------
    theory 2.4; J. Cohen, E. Rosenfeld, Z. Kolter, *Certified adversarial robustness via randomized smoothing* (ICML 2019).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from skcert import RandomizedSmoothingClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> forest = RandomForestClassifier(10, random_state=0)
    >>> smoothed = RandomizedSmoothingClassifier(forest, sigma=0.3, n_certify=1000, random_state=0).fit(X, y)
    >>> certificate = smoothed.certify(X[::10])
    >>> certificate.guarantee, certificate.confidence
    ('probabilistic', 0.999)
    >>> bool((certificate.radius <= 0.3 * 3.3).all())
    True
    """

    def __init__(
        self,
        estimator: Any,
        *,
        sigma: float,
        n_select: int = 100,
        n_certify: int = 10_000,
        alpha: float = 0.001,
        stopping: str = "fixed",
        target_radius: float | None = None,
        batch_size: int | str = "auto",
        device: Any = "auto",
        n_jobs: int | None = None,
        random_state: Any = None,
        progress: bool = True,
    ) -> None:
        self.estimator = estimator
        self.sigma = sigma
        self.n_select = n_select
        self.n_certify = n_certify
        self.alpha = alpha
        self.stopping = stopping
        self.target_radius = target_radius
        self.batch_size = batch_size
        self.device = device
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.progress = progress

    # -- fitting -------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, **fit_params: Any) -> RandomizedSmoothingClassifier:
        """Fit a clone of ``estimator`` on points without noise.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or whatever ``estimator`` takes
        y : array-like of shape (n_samples,)
        **fit_params
            Passed on to ``estimator.fit``.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            A parameter is out of its range, or no certificate is possible with so few votes; the message says what would do.
        TypeError
            ``estimator`` has no predict, or X is sparse.
        """
        self._check()
        if issparse(X):
            raise TypeError("X is sparse, and noise is dense: pass X.toarray().")
        y = y if y is None else column_or_1d(y, warn=True)
        if _routing_enabled():
            fit_params = process_routing(self, "fit", **fit_params).estimator.fit
        fitted = clone(self.estimator).fit(X, y, **fit_params)
        _check_classifier(fitted)
        self.estimator_ = fitted
        self._seed = self._drawn_seed()
        return self

    def get_metadata_routing(self) -> MetadataRouter:
        """What fit passes on, by scikit-learn's metadata routing."""
        passed = MethodMapping().add(caller="fit", callee="fit")
        router = MetadataRouter(owner=self).add_self_request(self)
        return router.add(estimator=self.estimator, method_mapping=passed)

    def _drawn_seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def __sklearn_is_fitted__(self) -> bool:
        return self._fitted() is not None

    def _fitted(self) -> Any:
        """The classifier that votes; None if there is none yet."""
        if hasattr(self, "estimator_"):
            return self.estimator_
        try:
            check_is_fitted(self.estimator)
        except (NotFittedError, TypeError):
            return None
        return self.estimator

    @property
    def classes_(self) -> np.ndarray:
        """Labels of the classes, sorted."""
        return self._attribute("classes_")

    @property
    def n_features_in_(self) -> int:
        """Number of features seen in fit."""
        return self._attribute("n_features_in_")

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the features seen in fit."""
        return self._attribute("feature_names_in_")

    def _attribute(self, name: str) -> Any:
        if (fitted := self._fitted()) is None:
            raise AttributeError(f"{name} is known after fit: this {type(self).__name__} is not fitted yet.")
        return getattr(fitted, name)

    def _check(self) -> None:
        """ValueError or TypeError for parameters that cannot be."""
        if not hasattr(self.estimator, "predict"):
            raise TypeError(f"estimator must have predict, got {type(self.estimator).__name__}: pass a classifier.")
        if not _is_number(self.sigma) or not (0 < self.sigma < np.inf):
            raise ValueError(f"sigma must be a positive number, the standard deviation of the noise, got {self.sigma!r}.")
        if not _is_number(self.alpha) or not (0 < self.alpha < 1):
            raise ValueError(f"alpha must lie between 0 and 1, got {self.alpha!r}.")
        for name in ("n_select", "n_certify"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be an integer >= 1, got {value!r}.")
        if not (self.batch_size == "auto" or (isinstance(self.batch_size, Integral) and self.batch_size >= 1)):
            raise ValueError(f"batch_size must be 'auto' or an integer >= 1, got {self.batch_size!r}.")
        if self.stopping not in STOPPING:
            raise ValueError(f"stopping must be one of {STOPPING}, got {self.stopping!r}.")
        anytime = self.stopping == "anytime"
        if largest_radius(self.n_certify, self.sigma, self.alpha, anytime) == 0:
            raise ValueError(
                f"n_certify={self.n_certify} votes certify nothing at alpha={self.alpha:g}, even if all agree: use at least "
                f"n_certify={fewest_votes(0, self.sigma, self.alpha, anytime)}."
            )
        self._check_target(anytime)

    def _check_target(self, anytime: bool) -> None:
        target = self.target_radius
        if target is None:
            if anytime:
                raise ValueError('stopping="anytime" decides whether points are robust at a radius: pass target_radius.')
            return
        if not _is_number(target) or not 0 < target < np.inf:
            raise ValueError(f"target_radius must be a positive number, got {target!r}.")
        largest = largest_radius(self.n_certify, self.sigma, self.alpha, anytime)
        if target > largest:
            try:
                enough = f"n_certify={fewest_votes(target, self.sigma, self.alpha, anytime)} or "
            except ValueError:
                enough = ""
            raise ValueError(
                f"target_radius={target:g} cannot be reached with n_certify={self.n_certify} at sigma={self.sigma:g}: the "
                f"largest radius is {np.floor(largest * 1e4) / 1e4:g}. Use {enough}a larger sigma."
            )

    # -- votes ---------------------------------------------------------------------------------------------------------

    def _ready(self) -> tuple[Any, int]:
        """The classifier that votes, and the seed of its noise."""
        self._check()
        fitted = self._fitted()
        if fitted is None:
            raise NotFittedError(
                f"This {type(self).__name__} is not fitted yet, nor is its estimator: call fit, or pass a fitted estimator."
            )
        _check_classifier(fitted)
        if isinstance(self.random_state, Integral):
            return fitted, self._drawn_seed()
        if not hasattr(self, "_seed"):  # never fitted: the first question decides
            self._seed = self._drawn_seed()
        return fitted, self._seed

    def _asked(self, X: Any, ask: Callable) -> list[np.ndarray]:
        """Arrays with one row for each row of X, that ``ask(voter, n)`` returns for a voter of n points."""
        fitted, seed = self._ready()
        if issparse(X):
            raise TypeError("X is sparse, and noise is dense: pass X.toarray().")
        n = _num_samples(X)
        n_jobs = min(effective_n_jobs(self.n_jobs), max(1, n))
        if n_jobs == 1:
            return self._alone(fitted, seed, X, ask)
        work = delayed(RandomizedSmoothingClassifier._alone)
        parts = [_safe_indexing(X, rows, axis=0) for rows in np.array_split(np.arange(n), n_jobs)]
        found = []
        with bar(n, "counting votes", "row", self.progress) as done:  # the processes show none
            running = Parallel(n_jobs=n_jobs, return_as="generator")
            for arrays in running(work(self, fitted, seed, part, ask) for part in parts):
                found.append(arrays)
                done.update(len(arrays[0]))
        return [np.concatenate(arrays) for arrays in zip(*found, strict=True)]

    def _alone(self, fitted: Any, seed: int, X: Any, ask: Callable) -> list[np.ndarray]:
        """The same in one process."""
        settings = {"sigma": float(self.sigma), "seed": seed, "batch_size": self.batch_size, "device": self.device}
        with shown(self.progress), voters(fitted, np.asarray(fitted.classes_), X, **settings) as groups:
            found = [ask(self, voter, len(rows)) for rows, voter in groups]
            order = np.argsort(np.concatenate([rows for rows, _ in groups]), kind="stable")
        return [np.concatenate(arrays)[order] for arrays in zip(*found, strict=True)]

    def predict(self, X: Any, *, abstain_label: Any = None) -> np.ndarray:
        """The class most frequent among ``n_select`` votes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or whatever ``estimator`` takes
        abstain_label : label, default=None
            Returned instead where the votes do not tell the two most frequent classes apart at level alpha (a binomial test);
            a prediction that remains is, with probability 1 - alpha, that of the smoothed classifier.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        (counts,) = self._asked(X, _selected)
        labels = np.asarray(self.classes_)[counts.argmax(axis=1)]
        if abstain_label is not None and abstain_label in self.classes_:
            raise ValueError(f"abstain_label must not be a class, got {abstain_label!r} of {labels.dtype} classes.")
        if abstain_label is None or counts.shape[1] < 2:
            return labels
        second, first = np.sort(counts, axis=1)[:, -2:].T
        doubt = np.array([binomtest(int(a), int(a + b), 0.5).pvalue for a, b in zip(first, second, strict=True)])
        same_kind = np.asarray(abstain_label).dtype.kind == labels.dtype.kind
        labels = labels.astype(np.result_type(labels, np.asarray(abstain_label)) if same_kind else object)
        labels[doubt > self.alpha] = abstain_label
        return labels

    def votes(self, X: Any) -> Votes:
        """What votes under noise say about each row of X, in the space where the noise is: see :meth:`certify`.

        Returns
        -------
        votes : skcert.smoothing.procedure.Votes
            ``winner`` and ``runner_up`` count in ``classes_``.
        """
        return Votes(*self._asked(X, _certified))

    def certify(self, X: Any, *, norm: float = 2, space: str = "input", feature_scale: Any = None) -> Any:
        """How far each row of X may move before the smoothed classifier can change: see :func:`skcert.certify`.

        Returns
        -------
        certificate : skcert.Certificate
            ``guarantee`` "probabilistic" at ``confidence`` 1 - alpha for each point; ``abstained`` marks the points at which
            nothing is certified, ``n_passes`` says how many votes were taken.
        """
        from skcert._certify import certify

        return certify(self, X, norm=norm, space=space, feature_scale=feature_scale)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags = inner.input_tags
        tags.input_tags.sparse = False
        if inner.classifier_tags is not None:
            tags.classifier_tags.multi_class = inner.classifier_tags.multi_class
            tags.classifier_tags.multi_label = False
        return tags


def _check_classifier(fitted: Any) -> None:
    if not hasattr(fitted, "classes_") or isinstance(fitted.classes_, list):
        raise TypeError(
            f"estimator must be a classifier with one label per point and classes_ after fit, got {type(fitted).__name__}."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _selected(smoothed: RandomizedSmoothingClassifier, voter: Voter, n: int) -> tuple[np.ndarray]:
    return (select(voter, n, smoothed.n_select),)


def _certified(smoothed: RandomizedSmoothingClassifier, voter: Voter, n: int) -> tuple[np.ndarray, ...]:
    votes = certify_votes(voter, n, smoothed)
    return tuple(getattr(votes, each.name) for each in fields(votes))
