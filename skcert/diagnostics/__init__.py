"""Are the latents Gaussian, and how far is their law from the fitted mixture? Tests and estimates, no certificates."""

from skcert.diagnostics.divergence import DivergenceEstimate, kl_divergence
from skcert.diagnostics.normality import MardiaTest, MardiaTests, mardia_test

__all__ = ["DivergenceEstimate", "MardiaTest", "MardiaTests", "kl_divergence", "mardia_test"]
