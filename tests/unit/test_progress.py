"""Progress bars: where they show, where they do not, and which work has one."""

import io
import os
import pty
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import skcert
from skcert import (
    CertifiedGMMClassifier,
    CertifiedMarginClassifier,
    PretrainedEmbedder,
    RandomizedSmoothingClassifier,
    _progress,
    certify,
    robustness_report,
    theory,
)
from skcert.datasets import make_circle_mixture
from skcert.diagnostics import kl_divergence, mardia_test
from skcert.testing import check_certificate

X, Y = (mixture := make_circle_mixture(90, n_classes=3, random_state=0)).X, mixture.y


class Stream(io.StringIO):
    def __init__(self, is_terminal):
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal


class NotebookStream(Stream):
    __module__ = "ipykernel.iostream"


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(_progress, "DELAY", 0.05)
    monkeypatch.setattr(_progress, "TICK", 0.02)


def written(monkeypatch, stream, work):
    monkeypatch.setattr(sys, "stderr", stream)
    work()
    return stream.getvalue()


def one_long_row():
    with _progress.bar(1, "embedding", "row") as done:
        time.sleep(0.3)
        done.update()


def test_a_bar_appears_while_the_first_row_is_still_computed(quick, monkeypatch):
    def work():
        with _progress.bar(4, "embedding", "row") as done:
            time.sleep(0.3)
            assert "embedding" in sys.stderr.getvalue() and "0/4" in sys.stderr.getvalue()
            done.update(3)
            time.sleep(0.3)
            assert "3/4" in sys.stderr.getvalue()

    assert written(monkeypatch, Stream(True), work)


def test_a_terminal_that_does_not_tell_its_size_shows_the_bar_too(quick, monkeypatch):
    ours, theirs = pty.openpty()  # of no columns and no lines
    assert tuple(os.get_terminal_size(theirs)) == (0, 0)
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        one_long_row()
        terminal.flush()
        assert b"embedding" in os.read(ours, 10_000)
    os.close(ours)


def test_the_bar_is_wiped_off_when_the_work_is_done_or_fails(quick, monkeypatch):
    def fail():
        with pytest.raises(KeyError), _progress.bar(1, "embedding", "row"):
            time.sleep(0.2)
            raise KeyError

    for work in (one_long_row, fail):
        text = written(monkeypatch, Stream(True), work)
        time.sleep(0.1)
        assert text.rstrip("\r").rpartition("\r")[2].strip() == "" and sys.stderr.getvalue() == text


def test_a_log_file_gets_no_bar(quick, monkeypatch):
    assert written(monkeypatch, Stream(False), one_long_row) == ""


def test_a_notebook_without_a_terminal_gets_a_bar(quick, monkeypatch):
    assert "embedding" in written(monkeypatch, NotebookStream(False), one_long_row)


def test_worker_processes_write_no_bars(quick, monkeypatch):
    monkeypatch.setattr(_progress.multiprocessing.current_process(), "name", "LokyProcess-1")
    assert written(monkeypatch, Stream(True), one_long_row) == ""


def test_short_work_shows_no_bar(monkeypatch):
    def work():
        with _progress.bar(1, "embedding", "row") as done:
            done.update()

    assert written(monkeypatch, Stream(True), work) == ""


def test_whoever_wants_no_bars_sees_none_from_all_that_is_called(quick, monkeypatch):
    def inside():
        with _progress.shown(False), _progress.shown(True):
            one_long_row()

    assert written(monkeypatch, Stream(True), inside) == ""
    assert "embedding" in written(monkeypatch, Stream(True), one_long_row)


# -- which work has one ------------------------------------------------------------------------------------------------


@pytest.fixture
def described(monkeypatch):
    """The descriptions of all bars that would be drawn if the work took long enough."""
    found = []
    monkeypatch.setattr(_progress, "_is_watched", lambda stream: True)
    monkeypatch.setattr(_progress, "_draw", lambda count, done, total, description, *rest: found.append(description))
    return found


def encoded(lipschitz):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    points = X.astype(np.float32)
    pipe = make_pipeline(PretrainedEmbedder(network, lipschitz=lipschitz), CertifiedGMMClassifier()).fit(points, Y)
    return lambda: certify(pipe, points[:2])


def full(**settings):
    return CertifiedGMMClassifier(covariance_type="full", **settings).fit(X, Y)


MEANS, PRIORS = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]]), np.full(3, 1 / 3)
WORK = {
    "certifying": lambda: full().certify(X),
    "certifying ": lambda: full(n_components=2, random_state=0).certify(X),
    "certifying  ": lambda: certify(LogisticRegression().fit(X, Y), X),
    "certifying   ": lambda: CertifiedGMMClassifier().fit(X, Y).certify(X),
    "eigenvalues of pairs of classes": lambda: full().certify(X),
    "bounding layers": lambda: encoded("global")(),
    "local bounds": lambda: encoded("local")(),
    "sampling gradients": lambda: encoded("clever")(),
    "embedding": lambda: PretrainedEmbedder(np.tanh).fit_transform(X),
    "training": lambda: CertifiedMarginClassifier(hidden_layer_sizes=(4,), max_epochs=1, random_state=0).fit(X, Y),
    "selecting classes": lambda: voters().predict(X),
    "counting votes": lambda: voters().certify(X),
    "counting votes ": lambda: voters(n_jobs=2).certify(X),
    "choosing the shrinkage": lambda: CertifiedGMMClassifier(target_radius=0.1).fit(X, Y),
    "attacking": lambda: check_certificate(full(), X, full().certify(X)),
    "distances to neighbours": lambda: kl_divergence(X, full(), y=Y),
    "testing for Gaussian classes": lambda: mardia_test(X, Y),
    "looking for conflicts": lambda: theory.empirical_risk_bound(X, Y, radius=0.1),
    "bounds of pairs of classes": lambda: theory.robust_risk_bounds(MEANS, np.eye(2), PRIORS, radius=0.1),
    "robustness report": lambda: robustness_report(full(), X, Y),
    "searching radii": lambda: theory.largest_robust_radius(MEANS, np.eye(2), PRIORS, risk=0.2),
    "overlaps of pairs of classes": lambda: theory.localization_overlaps(MEANS, np.eye(2), radius=0.1, delta=0.1),
    "distances of draws": lambda: theory.strong_localization(
        MEANS, np.eye(2), radius=0.1, delta=0.1, method="monte-carlo", n_samples=100, random_state=0
    ),
    "estimating from samples": lambda: theory.radius_error_rate(MEANS, np.eye(2), PRIORS, n_samples=(50, 99), n_repeats=2),
}


def voters(**settings):
    model = RandomizedSmoothingClassifier(LogisticRegression(), sigma=0.3, n_certify=200, random_state=0, **settings)
    return model.fit(X, Y)


@pytest.mark.parametrize("description", WORK)
def test_long_work_has_a_bar(described, description):
    WORK[description]()
    assert description.strip() in described


@pytest.mark.parametrize("work", [
    lambda: PretrainedEmbedder(np.tanh, progress=False).fit_transform(X),
    lambda: CertifiedMarginClassifier(hidden_layer_sizes=(4,), max_epochs=1, random_state=0, progress=False).fit(X, Y),
    lambda: voters(progress=False).certify(X),
    lambda: robustness_report(full(), X, Y, progress=False),
    lambda: voters(progress=False, n_jobs=2).certify(X),
])  # fmt: skip
def test_who_wants_no_progress_sees_no_bar(described, work):
    work()
    assert set(described) <= {"choosing the shrinkage"}


def test_there_is_one_rule_for_bars():
    root = Path(skcert.__file__).parent
    assert [path.name for path in root.rglob("*.py") if "tqdm" in path.read_text()] == ["_progress.py"]
