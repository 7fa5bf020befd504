"""Fits of the classifier."""

from threadpoolctl import threadpool_limits

from benchmarks.problems import mixture
from skcert import CertifiedGMMClassifier


class Fit:
    """One component per class, and with shrinkage for a radius."""

    params = [("tied", "diag", "full", "spherical", "tied, target_radius=1")]
    param_names = ["model"]

    def setup(self, case):
        self.limit = threadpool_limits(1)
        kind, _, radius = case.partition(", target_radius=")
        truth, self.X = mixture("full", 10_000, 64, 10)
        self.y = truth.predict(self.X)
        self.model = CertifiedGMMClassifier(covariance_type=kind, target_radius=float(radius) if radius else None)

    def teardown(self, case):
        self.limit.restore_original_limits()

    def time_fit(self, case):
        self.model.fit(self.X, self.y)

    def peakmem_fit(self, case):
        self.model.fit(self.X, self.y)


class FitComponents:
    """EM for three components per class."""

    def setup(self):
        self.limit = threadpool_limits(1)
        truth, self.X = mixture("full", 1200, 16, 6)
        self.y = truth.predict(self.X) % 2

    def teardown(self):
        self.limit.restore_original_limits()

    def time_fit(self):
        CertifiedGMMClassifier(covariance_type="full", n_components=3, random_state=0).fit(self.X, self.y)
