"""How far a batch of points is from the boundary of its class: every rival, in memory that does not grow with the batch.

One class per kind of discriminant, all with ``nearest(Z, ...) -> Nearest``. They own what is worth keeping between batches
(norms of slopes, eigenbases of pairs), decide which rivals need the exact solve, and leave the formulas to ``geometry``.
"""

from skcert.boundaries.affine import AffineBoundary
from skcert.boundaries.common import Nearest
from skcert.boundaries.ellipsoid import EllipsoidBoundary
from skcert.boundaries.mixture import LinearMixtureBoundary, QuadraticMixtureBoundary
from skcert.boundaries.quadratic import PAIR_BUDGET, QuadraticBoundary
from skcert.boundaries.voted import VotedBoundary

__all__ = [
    "PAIR_BUDGET",
    "AffineBoundary",
    "EllipsoidBoundary",
    "LinearMixtureBoundary",
    "Nearest",
    "QuadraticBoundary",
    "QuadraticMixtureBoundary",
    "VotedBoundary",
]
