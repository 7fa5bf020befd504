"""The first rows that a device answers, beside the CPU's answers: a device that contradicts them is not used again."""

from __future__ import annotations

from typing import Any

import numpy as np

from skcert.boundaries import AffineBoundary, Nearest, QuadraticMixtureBoundary
from skcert.geometry import quadric
from skcert.geometry.rounding import grow

#: rows that are compared for every boundary on a device
ROWS = 64
#: by how much a radius may exceed the CPU's, relative to it, where neither is sharper: the gap at which both iterations stop
AGREEMENT = quadric.GAP
#: relative doubt of a radius from which on rounding decides about it, so that only the length of an attack limits it
UNDECIDED = 0.1


def some_rows(n: int, wanted: int) -> np.ndarray:
    """Numbers of ``wanted`` of n rows: the first, the last, and random ones between them."""
    if n <= wanted:
        return np.arange(n)
    last = wanted // 4
    first = wanted // 2 - last
    between = first + np.random.default_rng(0).choice(n - first - last, wanted - first - last, replace=False)
    return np.concatenate([np.arange(first), np.sort(between), np.arange(n - last, n)])


def _doubts(boundary: Any, X: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Relative difference that rounding explains between two radii from slopes and curvatures, which no attack is close to.

    Both margins m are wrong by up to 2e and both slopes by up to 2s; r grows by at most r / m in m, and by 2 r^2 / m in s.
    """
    Z, error, lost = boundary._latents(X, None)
    terms = boundary._terms(Z, error, lost)
    scores, slack = terms.scores, 0.0
    if isinstance(boundary, QuadraticMixtureBoundary):
        scores, slack = boundary._classes(scores)[0], boundary.slack
    two = np.sort(scores, axis=1)[:, -2:]
    e, s = terms.score_error.max(axis=1) + slack, (terms.slope_error + terms.rounding).max(axis=1)
    return grow((4 * e + 8 * s * radius) / (two[:, 1] - two[:, 0]))


def limits(boundary: Any, X: np.ndarray, known: Nearest, method: str) -> np.ndarray:
    """What no radius of these rows can exceed: the CPU's attack crosses the boundary, and its radius is the same bound."""
    same = known.radius * (1 + AGREEMENT)
    found = np.where(np.isfinite(known.attack_radius), known.attack_radius, same)
    if isinstance(boundary, AffineBoundary) or method == "exact":
        return found  # attacks are as sharp as radii
    with np.errstate(all="ignore"):
        doubt = _doubts(boundary, X, known.radius)
        return np.where(doubt < UNDECIDED, np.minimum(found, same * (1 + 2 * doubt)), found)


def contradictions(boundary: Any, X: np.ndarray, found: Nearest, known: Nearest, method: str) -> np.ndarray:
    """Which rows cannot be right beside what the CPU knows of them."""
    unknown = np.isnan(found.radius) | np.isnan(found.attack_radius)
    other = (found.winner != known.winner) & ((found.radius > 0) | (known.radius > 0))  # a tie may fall to either side
    long, short = found.radius > limits(boundary, X, known, method), found.attack_radius < known.radius
    return np.flatnonzero(unknown | other | long | short)


def in_words(rows: np.ndarray, wrong: np.ndarray, found: Nearest, known: Nearest) -> str:
    """What was seen, for the first of the rows that are wrong."""
    n = wrong[0]
    names = {"radius": "radius", "winner": "class number", "attack_radius": "length of an attack"}
    both = [f"the {name} {getattr(found, of)[n]} (CPU: {getattr(known, of)[n]})" for of, name in names.items()]
    return (
        f"contradicts the CPU on {len(wrong)} of {len(rows)} rows that both certified. Row {rows[n]} has {', '.join(both)}. "
        "The CPU computes from now on, and has computed these radii. Please report this."
    )
