"""Theorems as functions: arrays in, the safe side out (theory 3 and 4). One theorem, one function, one citation.

Everything computed from the parameters of a mixture is model-based: it holds for that mixture, and for data as far as
they are drawn from it.
"""

from skcert.theory.conflicts import empirical_risk_bound
from skcert.theory.existence import (
    LinearRule,
    OptimalRobustRisk,
    RiskBounds,
    RobustRadii,
    largest_robust_radius,
    optimal_binary_robust_risk,
    robust_risk_bounds,
)
from skcert.theory.generalization import (
    RadiusErrorRate,
    certified_accuracy_band,
    certified_accuracy_interval,
    gaussian_tail_bound,
    radius_error_rate,
)
from skcert.theory.localization import (
    Localization,
    StrongLocalization,
    localization,
    localization_certified_accuracy,
    localization_overlaps,
    strong_localization,
)
from skcert.theory.transfer import (
    classwise_transfer_certified_accuracy,
    joint_kl_divergence,
    transfer_certified_accuracy,
)

__all__ = [
    "LinearRule",
    "Localization",
    "OptimalRobustRisk",
    "RadiusErrorRate",
    "RiskBounds",
    "RobustRadii",
    "StrongLocalization",
    "certified_accuracy_band",
    "certified_accuracy_interval",
    "classwise_transfer_certified_accuracy",
    "empirical_risk_bound",
    "gaussian_tail_bound",
    "joint_kl_divergence",
    "largest_robust_radius",
    "localization",
    "localization_certified_accuracy",
    "localization_overlaps",
    "optimal_binary_robust_risk",
    "radius_error_rate",
    "robust_risk_bounds",
    "strong_localization",
    "transfer_certified_accuracy",
]
