"""Certificates, warm and first, and what they hold."""

import tracemalloc

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks.problems import mixture
from skcert import CertifiedGMMClassifier, Certifier, certify


class Certify:
    """Later batches, by covariance and method; one thread."""

    params = [("tied, auto", "diag, exact", "full, pairwise", "full, exact", "full, paper"), (1000, 8000)]
    param_names = ["model", "points"]

    def setup(self, case, n):
        self.limit = threadpool_limits(1)
        kind, self.method = case.split(", ")
        self.model, self.X = mixture(kind, n, 64, 10)
        self.certifier = Certifier(self.model)
        self.certifier.certify(self.X, method=self.method)

    def teardown(self, case, n):
        self.limit.restore_original_limits()

    def time_certify(self, case, n):
        self.certifier.certify(self.X, method=self.method)

    def time_predict(self, case, n):
        self.model.predict(self.X)

    def track_memory(self, case, n):
        tracemalloc.start()
        self.certifier.certify(self.X, method=self.method)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    track_memory.unit = "bytes"


class First:
    """The first call, with the eigenbases of all pairs, d = 256."""

    def setup(self):
        self.limit = threadpool_limits(1)
        self.model, self.X = mixture("full", 2000, 256, 10)

    def teardown(self):
        self.limit.restore_original_limits()

    def time_certify(self):
        certify(self.model, self.X)

    def peakmem_certify(self):
        certify(self.model, self.X)


class Components:
    """Three components per class, lower bounds."""

    def setup(self):
        self.limit = threadpool_limits(1)
        truth, X = mixture("full", 1200, 16, 6)
        model = CertifiedGMMClassifier(covariance_type="full", n_components=3, random_state=0).fit(X, truth.predict(X) % 2)
        self.X, self.certifier = X[:200], Certifier(model)
        self.certifier.certify(self.X)

    def teardown(self):
        self.limit.restore_original_limits()

    def time_certify(self):
        self.certifier.certify(self.X)


class Pipeline:
    """A scaler and a linear model."""

    def setup(self):
        self.limit = threadpool_limits(1)
        truth, self.X = mixture("tied", 20_000, 64, 10)
        self.pipe = make_pipeline(StandardScaler(), LogisticRegression()).fit(self.X[:2000], truth.predict(self.X[:2000]))
        self.certifier = Certifier(self.pipe)

    def teardown(self):
        self.limit.restore_original_limits()

    def time_certify(self):
        self.certifier.certify(self.X)

    def time_predict(self):
        self.pipe.predict(self.X)


class Norms:
    """Curved boundaries in the other norms."""

    params = [(1, float("inf"))]
    param_names = ["norm"]

    def setup(self, norm):
        self.limit = threadpool_limits(1)
        model, self.X = mixture("full", 200, 16, 5)
        self.certifier = Certifier(model)

    def teardown(self, norm):
        self.limit.restore_original_limits()

    def time_certify(self, norm):
        self.certifier.certify(self.X, norm=norm)
