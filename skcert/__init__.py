"""skcert: certified robustness of Gaussian-mixture classifiers, and of the scikit-learn pipelines around them."""

from skcert import datasets, metrics, plotting, testing
from skcert._affine import Affine
from skcert._certificate import Certificate
from skcert._certify import Certifier, certify
from skcert._embedder import PretrainedEmbedder
from skcert._explanation import Explanation
from skcert._gmm import CertifiedGMMClassifier
from skcert._pipeline import CertifiedPipeline, make_certified_pipeline
from skcert._report import RobustnessReport, robustness_report
from skcert._shaper import CertifiedMarginClassifier, LatentShaper
from skcert._smoothing import RandomizedSmoothingClassifier
from skcert.adapters import Uncertifiable, register_discriminant, register_perturbation
from skcert.lipschitz.clever import Clever
from skcert.lipschitz.report import LipschitzReport
from skcert.lipschitz.rules import register_lipschitz
from skcert.perturbations import AffineStep, LipschitzStep

__all__ = [
    "Affine",
    "AffineStep",
    "Certificate",
    "CertifiedGMMClassifier",
    "CertifiedMarginClassifier",
    "CertifiedPipeline",
    "Certifier",
    "Clever",
    "Explanation",
    "LatentShaper",
    "LipschitzReport",
    "LipschitzStep",
    "PretrainedEmbedder",
    "RandomizedSmoothingClassifier",
    "RobustnessReport",
    "Uncertifiable",
    "certify",
    "datasets",
    "make_certified_pipeline",
    "metrics",
    "plotting",
    "register_discriminant",
    "register_lipschitz",
    "register_perturbation",
    "robustness_report",
    "testing",
]
__version__ = "0.1.0"
