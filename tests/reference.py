"""A slow second opinion in 60-digit arithmetic, written from theory.md alone: no code of skcert is used here."""

from __future__ import annotations

import mpmath as mp
import numpy as np

mp.mp.dps = 60


def matrix(a) -> mp.matrix:
    return mp.matrix([[mp.mpf(float(x)) for x in row] for row in np.atleast_2d(a)])


def column(a) -> mp.matrix:
    return mp.matrix([mp.mpf(float(x)) for x in a])


class Mixture:
    """Scores of equation 4, for covariances and priors taken as exact decimal values of their floats."""

    def __init__(self, means, covariances, priors):
        self.means = [column(m) for m in means]
        self.precisions, self.constants = [], []
        for S, prior in zip(covariances, priors, strict=True):
            S = matrix(S)
            self.precisions.append(mp.inverse(S))
            self.constants.append(2 * mp.log(mp.mpf(float(prior))) - mp.log(mp.det(S)))

    def scores(self, z) -> list:
        z = z if isinstance(z, mp.matrix) else column(z)
        out = []
        for mu, P, c in zip(self.means, self.precisions, self.constants, strict=True):
            x = z - mu
            out.append(-(x.T * P * x)[0] + c)
        return out

    def predict(self, z) -> int:
        scores = self.scores(z)
        return max(range(len(scores)), key=scores.__getitem__)

    def pair(self, z, i, j, A=None):
        """Margin, half-slope and curvature of i against j; pulled back through z = A x + b where A is given."""
        z = z if isinstance(z, mp.matrix) else column(z)
        s = self.scores(z)
        g = self.precisions[j] * (z - self.means[j]) - self.precisions[i] * (z - self.means[i])
        W = self.precisions[j] - self.precisions[i]
        if A is not None:
            A = A if isinstance(A, mp.matrix) else matrix(A)
            g, W = A.T * g, A.T * W * A
        return s[i] - s[j], g, W

    def radius(self, z, A=None) -> mp.mpf:
        """Exact l2 distance to the nearest boundary, by bisection on the dual's derivative."""
        i = self.predict(z)
        return min((distance(*self.pair(z, i, j, A)) for j in range(len(self.means)) if j != i), default=mp.inf)


def distance(m, g, W) -> mp.mpf:
    """min ||u|| subject to m + 2 g'u + u'Wu <= 0 (theory 1.3)."""
    if m <= 0:
        return mp.mpf(0)
    w, V = mp.eigsy(W)
    d = len(g)
    w = [w[k] for k in range(d)]
    h = [x for x in V.T * g]
    tiny = mp.mpf(10) ** -45 * (1 + max(abs(x) for x in w))
    w = [mp.mpf(0) if abs(x) < tiny else x for x in w]
    low = min(w)

    def slope(t):
        return m - sum(x * x * t * (2 + t * y) / (1 + t * y) ** 2 for x, y in zip(h, w, strict=True) if x != 0)

    if low >= 0:
        reach = sum(x * x / y if y else mp.inf for x, y in zip(h, w, strict=True) if abs(x) > mp.mpf(10) ** -50)
        if reach <= m:
            return mp.inf
        top = mp.mpf(1)
        while slope(top) > 0:
            top *= 2
    else:
        top = -1 / low * (1 - mp.mpf(10) ** -50)
        if slope(top) > 0:  # hard case: the dual is still rising at its pole
            return mp.sqrt(max(dual(top, m, h, w), 0))
    bottom = mp.mpf(0)
    for _ in range(260):
        middle = (bottom + top) / 2
        bottom, top = (middle, top) if slope(middle) > 0 else (bottom, middle)
    return mp.sqrt(dual(bottom, m, h, w))


def dual(t, m, h, w):
    return t * m - t * t * sum(x * x / (1 + t * y) for x, y in zip(h, w, strict=True))
