"""Affine: a linear head from elsewhere, as a fitted classifier."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_array

from skcert import discriminants
from skcert.backends.arrays import computed_in_numpy, to_host


class Affine(ClassifierMixin, BaseEstimator):
    """A linear classifier that is given, not learned: the class with the largest ``X @ coef.T + intercept``.

    For the last layer of a network, as the last step of a pipeline behind its encoder, and for rules passed to
    :func:`register_discriminant`.

    Parameters
    ----------
    coef : array-like of shape (n_classes, n_features), or (1, n_features) or (n_features,) for two classes
        A single row is the score of the second class against the first, which wins where it is not positive. Tensors as they
        are: ``linear.weight`` and ``linear.bias``.
    intercept : array-like of shape (n_classes,), (1,) or ()
        ``-inf`` drops a class.
    classes : array-like of shape (n_classes,), default=None
        Labels in the order of the rows, each once; None is 0, 1, ...

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    n_features_in_ : int

    Examples
    --------
    >>> from skcert import Affine, certify
    >>> head = Affine([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], [0.0, 0.0, -1.0], classes=["cat", "dog", "none"])
    >>> certificate = certify(head, [[3.0, 1.0]])
    >>> certificate.prediction, certificate.radius.round(3)      # 2 / sqrt(2)
    (array(['cat'], dtype='<U4'), array([1.414]))
    """

    def __init__(self, coef, intercept, classes=None):
        self.coef = coef
        self.intercept = intercept
        self.classes = classes

    @property
    def _discriminant(self) -> discriminants.Affine:
        return discriminants.Affine.exact(to_host(self.coef), to_host(self.intercept))

    @property
    def classes_(self) -> np.ndarray:
        """Labels, in the order of the scores."""
        K = self._discriminant.n_classes
        if self.classes is None:
            return np.arange(K)
        classes = np.asarray(self.classes)
        if classes.shape != (K,) or len(np.unique(classes)) != K:
            raise ValueError(f"classes must hold {K} different labels, one for each score, got {self.classes!r}.")
        return classes

    @property
    def n_features_in_(self) -> int:
        """Number of features."""
        return self._discriminant.n_features

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @computed_in_numpy
    def fit(self, X, y=None):
        """Nothing to learn: return self, so that it can stand at the end of a pipeline that is fitted."""
        self._checked(X)
        return self

    def _checked(self, X) -> np.ndarray:
        X = check_array(X, dtype=[np.float64, np.float32], estimator=self)
        if X.shape[1] != self.n_features_in_:
            raise ValueError(f"X has {X.shape[1]} features, but Affine is expecting {self.n_features_in_} features as input.")
        return X

    @computed_in_numpy
    def decision_function(self, X) -> np.ndarray:
        """Scores, shape (n_samples, n_classes); for two classes what the second has more than the first, (n_samples,)."""
        scores = self._discriminant.scores(self._checked(X))
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    @computed_in_numpy
    def predict(self, X) -> np.ndarray:
        """The class with the largest score; on a tie the first of them."""
        return self.classes_[self._discriminant.scores(self._checked(X)).argmax(axis=1)]
