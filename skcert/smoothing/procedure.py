"""Select a class, count its votes, say what they certify (theory 2.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skcert._progress import bar
from skcert.embedding.noise import CERTIFICATION, SELECTION
from skcert.smoothing.bounds import anytime_bound, certified_radius, clopper_pearson, log_evidence, needed_probability
from skcert.smoothing.votes import Voter

#: with stopping="anytime" votes are looked at whenever there are this many times as many, and so many more
GROWTH, FIRST = 1.15, 24
#: log evidence against the target radius at which a point is given up; only the time depends on it
GIVE_UP = np.log(100.0)
#: votes of all points between two moves of the progress bar
STEP = 2**16


@dataclass
class Votes:
    """What votes under noise say about each point, shape (n,) each.

    Attributes
    ----------
    winner, runner_up : ndarray of int
        The class selected, and the one next to it among the votes of certification.
    votes : ndarray of int
        For the winner, among those of certification.
    passes : ndarray of int
        Votes in all, those of selection included.
    probability : ndarray
        Lower bound of the winner's probability under noise, at level 1 - alpha.
    radius : ndarray
        l2, in the units of the points under noise; 0 where nothing is certified.
    """

    winner: np.ndarray
    runner_up: np.ndarray
    votes: np.ndarray
    passes: np.ndarray
    probability: np.ndarray
    radius: np.ndarray


def select(voter: Voter, n: int, n_select: int) -> np.ndarray:
    """Votes of the selection sample, shape (n, n_classes)."""
    counts = np.zeros((n, voter.n_classes), dtype=np.int64)
    per = max(1, STEP // n_select)
    with bar(n, "selecting classes", "row") as done:
        for start in range(0, n, per):
            rows = np.arange(start, min(start + per, n))
            counts[rows] = voter.count(rows, n_select, SELECTION)
            voter.forget(rows)
            done.update(len(rows))
    return counts


def certify_votes(voter: Voter, n: int, settings) -> Votes:
    """Votes of two independent samples: one picks the class, the other certifies it.

    Parameters
    ----------
    voter : Voter
    n : int
        Number of points.
    settings : RandomizedSmoothingClassifier
        ``sigma``, ``n_select``, ``n_certify``, ``alpha``, ``stopping`` and ``target_radius`` of it.
    """
    winner = select(voter, n, settings.n_select).argmax(axis=1)
    counts = np.zeros((n, voter.n_classes), dtype=np.int64)
    count = _until_known if settings.stopping == "anytime" else _all
    with bar(n, "counting votes", "row") as done:
        per = max(1, STEP // settings.n_certify) if settings.stopping == "fixed" else max(1, STEP // 64)
        for start in range(0, n, per):
            rows = np.arange(start, min(start + per, n))
            count(voter, rows, winner, counts, settings)
            voter.forget(rows)
            done.update(len(rows))
    at = np.arange(n)
    votes, total = counts[at, winner], counts.sum(axis=1)
    bound = anytime_bound if settings.stopping == "anytime" else clopper_pearson
    probability = bound(votes, total, settings.alpha)
    others = counts.copy()
    others[at, winner] = -1
    runner_up = others.argmax(axis=1)
    radius = certified_radius(probability, settings.sigma)
    return Votes(winner, runner_up, votes, total + settings.n_select, probability, radius)


def _all(voter: Voter, rows: np.ndarray, winner: np.ndarray, counts: np.ndarray, settings) -> None:
    """As many votes for every point."""
    counts[rows] = voter.count(rows, settings.n_certify, CERTIFICATION)


def _until_known(voter: Voter, rows: np.ndarray, winner: np.ndarray, counts: np.ndarray, settings) -> None:
    """Votes until it is known whether a point is robust at the target radius, or hopeless, or there have been enough."""
    target = needed_probability(settings.target_radius, settings.sigma)
    drawn = 0
    while len(rows) and drawn < settings.n_certify:
        more = min(int((GROWTH - 1) * drawn) + FIRST, settings.n_certify - drawn)
        counts[rows] += voter.count(rows, more, CERTIFICATION)
        drawn += more
        votes = counts[rows, winner[rows]]
        known = log_evidence(votes, drawn - votes, target) >= -np.log(settings.alpha)  # anytime_bound reaches the target
        hopeless = log_evidence(drawn - votes, votes, 1 - target) >= GIVE_UP
        rows = rows[~(known | hopeless)]
