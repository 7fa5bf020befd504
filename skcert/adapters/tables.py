"""What a table with gaps and categories needs, and rows divided by their length."""

from __future__ import annotations

from numbers import Real

import numpy as np
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.preprocessing import Normalizer, OneHotEncoder, OrdinalEncoder

from skcert.adapters import Uncertifiable, register_perturbation
from skcert.perturbations import EncodeStep, ImputeStep, NormalizeStep


def _means_missing(marker: object) -> bool:
    """Whether a cell with this content is missing, whatever its column."""
    return marker is None or type(marker).__name__ == "NAType" or (isinstance(marker, float) and np.isnan(marker))


def simple_imputer(step: SimpleImputer) -> ImputeStep | EncodeStep:
    """The identity on observed cells; missing ones are filled and do not move. Text is a category."""
    statistics = np.asarray(step.statistics_)
    if not all(isinstance(value, Real) for value in statistics.tolist()):
        return EncodeStep(len(step.get_feature_names_out()))
    if not _means_missing(step.missing_values):
        raise Uncertifiable(
            f"SimpleImputer(missing_values={step.missing_values!r}) replaces a number that a moving feature can take: mark "
            "missing cells as NaN instead."
        )
    statistics = statistics.astype(float)
    kept = np.arange(len(statistics)) if step.keep_empty_features else np.flatnonzero(~np.isnan(statistics))
    flags = step.indicator_.features_ if step.add_indicator else np.zeros(0, dtype=int)
    return ImputeStep(statistics, kept, flags)


def missing_indicator(step: MissingIndicator) -> ImputeStep | EncodeStep:
    """1 where a cell is missing, which no perturbation changes."""
    if not _means_missing(step.missing_values):
        return EncodeStep(len(step.features_))
    nothing = np.zeros(0, dtype=int)
    return ImputeStep(np.zeros(step.n_features_in_), nothing, np.asarray(step.features_))


def encoder(step: OneHotEncoder | OrdinalEncoder) -> EncodeStep:
    """Categories do not move."""
    return EncodeStep(len(step.get_feature_names_out()))


def normalizer(step: Normalizer) -> NormalizeStep:
    """Every row divided by its own norm."""
    return NormalizeStep({"l1": 1, "l2": 2, "max": np.inf}[step.norm])


register_perturbation(SimpleImputer, simple_imputer)
register_perturbation(MissingIndicator, missing_indicator)
register_perturbation(OneHotEncoder, encoder)
register_perturbation(OrdinalEncoder, encoder)
register_perturbation(Normalizer, normalizer)
