"""A scikit-learn Pipeline that has certify."""

from __future__ import annotations

from sklearn.pipeline import Pipeline, make_pipeline

from skcert._certificate import Certificate
from skcert._certify import certify


class CertifiedPipeline(Pipeline):
    """A :class:`~sklearn.pipeline.Pipeline` with the method ``certify``; everything else is scikit-learn's.

    See :class:`~sklearn.pipeline.Pipeline` for the parameters, and :func:`make_certified_pipeline` for the short form. A plain
    Pipeline is certified just as well, by the function :func:`skcert.certify`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skcert import CertifiedPipeline
    >>> X, y = load_iris(return_X_y=True)
    >>> pipe = CertifiedPipeline([("scaler", StandardScaler()), ("model", LogisticRegression())]).fit(X, y)
    >>> bool((pipe.certify(X).radius > 0).all())
    True
    """

    def certify(self, X, **options) -> Certificate:
        """How far each row of X may move before the prediction can change: see :func:`skcert.certify` for the options."""
        return certify(self, X, **options)


def make_certified_pipeline(*steps, memory=None, transform_input=None, verbose=False) -> CertifiedPipeline:
    """A :class:`CertifiedPipeline` of these steps, named as :func:`sklearn.pipeline.make_pipeline` names them.

    Parameters
    ----------
    *steps : list of Estimators
    memory, transform_input, verbose
        See :class:`~sklearn.pipeline.Pipeline`.

    Returns
    -------
    CertifiedPipeline

    Examples
    --------
    >>> from sklearn.decomposition import PCA
    >>> from skcert import CertifiedGMMClassifier, make_certified_pipeline
    >>> [name for name, _ in make_certified_pipeline(PCA(2), CertifiedGMMClassifier()).steps]
    ['pca', 'certifiedgmmclassifier']
    """
    named = make_pipeline(*steps).steps
    return CertifiedPipeline(named, memory=memory, transform_input=transform_input, verbose=verbose)
