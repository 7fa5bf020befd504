"""scikit-learn's own checks, whole: no expected failures."""

import numpy as np
from sklearn.utils.estimator_checks import parametrize_with_checks

from skcert._embedder import PretrainedEmbedder


def square_and_sum(rows):
    rows = np.asarray(rows, dtype=float)
    return np.column_stack([np.tanh(rows), rows.sum(axis=1)])


@parametrize_with_checks([PretrainedEmbedder(square_and_sum)])
def test_the_embedder_passes_scikit_learns_checks(estimator, check):
    check(estimator)
