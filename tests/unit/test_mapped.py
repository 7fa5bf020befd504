"""Points in a file that is mapped into memory: the same answers, part by part, and no more memory than a part takes."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcert import CertifiedGMMClassifier, Certifier, _certify, certify


@pytest.fixture
def file(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(40_000) % 4
    path = tmp_path / "latents.npy"
    np.save(path, rng.standard_normal((4, 32))[y] * 2 + rng.standard_normal((len(y), 32)))
    return path, y


def resident(path):
    """KiB of a mapped file in the memory of this process."""
    maps = Path("/proc/self/smaps").read_text()
    return sum(int(size) for size in re.findall(rf"{re.escape(str(path))}\n(?:\w+: .*\n)*?Rss: +(\d+) kB", maps))


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("steps", [[], [StandardScaler()], [StandardScaler(), PCA(20)]], ids=len)
@pytest.mark.parametrize("kind", ["tied", "full"])
def test_a_file_is_certified_as_its_points_are(file, kind, steps, mode, monkeypatch):
    path, y = file
    X = np.load(path)
    model = make_pipeline(*steps, CertifiedGMMClassifier(covariance_type=kind)).fit(X[:4000], y[:4000])
    whole = certify(model, X)
    monkeypatch.setattr(_certify, "MAPPED", 2**20)
    parts = certify(model, np.load(path, mmap_mode=mode))
    np.testing.assert_array_equal(parts.radius, whole.radius)
    np.testing.assert_array_equal(parts.prediction, whole.prediction)


def test_changes_that_are_in_memory_alone_are_kept(file, monkeypatch):
    path, y = file
    model = CertifiedGMMClassifier().fit(np.load(path)[:4000], y[:4000])
    mapped = np.load(path, mmap_mode="c")
    mapped[:] = mapped[::-1].copy()
    before = np.array(mapped)
    monkeypatch.setattr(_certify, "MAPPED", 2**20)
    certify(model, mapped)
    np.testing.assert_array_equal(mapped, before)


@pytest.mark.skipif(sys.platform != "linux", reason="reads what is resident from /proc")
def test_no_more_of_a_file_than_a_part_stays_in_memory(file, monkeypatch):
    path, y = file
    model = CertifiedGMMClassifier(covariance_type="full").fit(np.load(path)[:4000], y[:4000])
    mapped, most = np.load(path, mmap_mode="r"), []
    monkeypatch.setattr(_certify, "MAPPED", 2**20)
    batch = Certifier._batch
    monkeypatch.setattr(Certifier, "_batch", lambda *args: (batch(*args), most.append(resident(path)))[0])
    certify(model, mapped)
    assert len(most) > 8 and 0 < max(most) < 6 * 2**10  # the system reads ahead
    assert np.array(mapped).nbytes > 8 * 2**20 and resident(path) > 8 * 2**10  # as it is when all of it has been read
    certify(model, mapped[100:20_000][::-1])  # rows in another order are read as they lie
