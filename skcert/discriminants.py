"""Class scores as objects: what `predict` takes the argmax of, and how far float64 may be from it.

A discriminant is a frozen record of arrays. ``scores(Z)`` is the float64 value that decides the class; the ``*_error``
fields and methods bound its distance from the exact score of the mixture (or linear rule) the record stands for, so that
prediction and certificate share the same stored parameters (theory 0, 1.8).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from skcert.geometry import quadric
from skcert.geometry.products import TOGETHER, rows_times
from skcert.geometry.rounding import UNIT, fro, gamma, grow, product, row_norms, spectral

#: bytes of scratch a batch may use beside its outputs
SCRATCH = 32 * 2**20


def batches(n_rows: int, bytes_per_row: int, scratch: int = SCRATCH) -> Iterator[slice]:
    """Slices of rows whose scratch arrays stay within ``scratch`` bytes, in numbers that products like."""
    step = max(1, min(n_rows, scratch // max(bytes_per_row, 1)))
    step -= step % TOGETHER if TOGETHER < step < n_rows else 0
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def of_class(values: np.ndarray, k: int | slice) -> np.ndarray:
    """What belongs to class k, or to several, in a shape that goes with rows of points: (d,), (classes, 1, d), (classes, 1)."""
    return values[k][:, None] if isinstance(k, slice) else values[k]


def _units(diagonal: np.ndarray) -> np.ndarray:
    """Powers of 2 near the square roots; where a feature carries nothing, whatever does not stand out."""
    some = diagonal[diagonal > 0]
    return np.exp2(np.round(np.log2(np.where(diagonal > 0, diagonal, some.min(initial=1.0))) / 2))


def _equal_rows(rows: np.ndarray) -> np.ndarray:
    """Number rows so that equal rows share theirs."""
    return np.unique(rows, axis=0, return_inverse=True)[1].ravel()


@dataclass(frozen=True)
class Affine:
    """Scores ``(z - center) @ coef.T + intercept``: linear rules, equal covariances (theory 1.4).

    Parameters
    ----------
    coef : ndarray of shape (K, d)
    intercept : ndarray of shape (K,)
        ``-inf`` drops a class.
    center : ndarray of shape (d,)
        Where the scores are expanded: near the data they do not cancel.
    coef_error, intercept_error : ndarray of shape (K,)
        Upper bounds (l2, absolute) of the distance from the stored coefficients to the exact ones.
    slope_group : ndarray of shape (K,)
        Classes with the same number have exactly the same slope, not only to within rounding: none can overtake another.
    squared : tuple of ndarray of shape (d,) and float, optional
        For a ``predict`` that compares squared distances, not these scores: the units of the features and how far the means
        are from the origin in them. Its rounding is relative to squares of such lengths.
    """

    coef: np.ndarray
    intercept: np.ndarray
    center: np.ndarray
    coef_error: np.ndarray
    intercept_error: np.ndarray
    slope_group: np.ndarray
    squared: tuple[np.ndarray, float] | None = None

    @classmethod
    def exact(cls, coef, intercept, *, coef_error=0.0, intercept_error=0.0) -> Affine:
        """A linear rule that *is* these numbers, as scikit-learn's linear models store them.

        Parameters
        ----------
        coef : array-like of shape (n_classes, n_features), or (1, n_features) or (n_features,) for two classes
            A single row is the score of the second class against the first, which wins where it is not positive.
        intercept : array-like of shape (n_classes,), (1,) or ()
        coef_error, intercept_error : float or array-like of shape (n_classes,), default=0
            For a rule that is near these numbers: upper bounds (l2, absolute) of how far.

        Returns
        -------
        Affine
        """
        coef = np.atleast_2d(np.array(coef, dtype=float))
        intercept = np.atleast_1d(np.array(intercept, dtype=float))
        if coef.ndim != 2 or intercept.shape not in ((len(coef),), (1,)):
            raise ValueError(f"coef and intercept must have shapes (K, d) and (K,), got {coef.shape} and {intercept.shape}.")
        intercept = np.broadcast_to(intercept, len(coef))
        if not np.isfinite(coef).all() or np.isnan(intercept).any():
            raise ValueError("coef and intercept must be finite.")
        if len(coef) == 1:
            coef, intercept = np.vstack([np.zeros_like(coef), coef]), np.append(0.0, intercept)
        lost, off = (np.broadcast_to(np.asarray(e, dtype=float), len(coef)) for e in (coef_error, intercept_error))
        # rows that are rounded to the same numbers need not be the same
        group = np.arange(len(coef)) if lost.any() else _equal_rows(coef)
        return cls(coef, intercept, np.zeros(coef.shape[1]), lost, off, group)

    @classmethod
    def of_shared_covariance(cls, means, inverse, log_priors, center) -> Affine:
        """Equation 4 with one covariance for all classes: the quadratic terms cancel (theory 1.4).

        ``inverse`` holds the precision, its error and its size; None is the identity: nearest means.
        """
        shifted = means - center
        d, lengths = len(center), row_norms(shifted)
        if inverse is None:
            coef, wrong, lost = shifted, 0.0, gamma(2) * lengths
        else:
            coef, rounding = product(shifted, inverse.precision)
            lost = (rounding + 4 * UNIT) * row_norms(np.abs(shifted) @ np.abs(inverse.precision))
            wrong = inverse.units.max() * inverse.error * (row_norms(coef / inverse.units) + lost / inverse.units.min())
            wrong = np.minimum(wrong, inverse.doubt * lengths)
        half = 0.5 * np.einsum("kd,kd->k", coef, shifted)
        coef_error = grow(lost + wrong, d + 8)
        finite = np.where(np.isfinite(log_priors), np.abs(log_priors), 0.0)
        error = coef_error * lengths + gamma(d + 6) * (row_norms(coef) * lengths + finite)
        return cls(coef, log_priors - half, np.array(center), coef_error, error, _equal_rows(means))

    @property
    def n_classes(self) -> int:
        """Number of scores."""
        return len(self.coef)

    @property
    def n_features(self) -> int:
        """Dimension of the latents."""
        return self.coef.shape[1]

    def some(self, classes: np.ndarray) -> Affine:
        """Of these classes alone."""
        names = ("coef", "intercept", "coef_error", "intercept_error", "slope_group")
        return replace(self, **{name: getattr(self, name)[classes] for name in names})

    def scores(self, Z: np.ndarray) -> np.ndarray:
        """Scores, shape (n, K), in float64 whatever the type of Z."""
        out = np.empty((len(Z), len(self.coef)))
        for rows in batches(len(Z), 8 * self.n_features, 4 * 2**20):
            rows_times(np.subtract(Z[rows], self.center, dtype=float, order="C"), self.coef.T, out[rows])
        out += self.intercept
        return out

    def winners(self, Z: np.ndarray) -> np.ndarray:
        """The class of the largest score; of equal ones the first."""
        return self.scores(Z).argmax(axis=1)

    def gradients(self, Z: np.ndarray) -> np.ndarray:
        """Of the scores, shape (n, K, d)."""
        return np.broadcast_to(self.coef, (len(Z), *self.coef.shape))


@dataclass(frozen=True)
class Quadratic:
    """Scores ``-(z - mu_k)' P_k (z - mu_k) + constant_k``: equation 4 of the paper, twice the log joint density.

    Parameters
    ----------
    means : ndarray of shape (K, d)
    precisions : ndarray of shape (K, d, d), or (K, d) for diagonal ones
    constants : ndarray of shape (K,)
        ``2 log pi_k - log det S_k``.
    units : ndarray of shape (K, d)
        Powers of 2 near the square roots of the diagonals of the precisions: errors are measured free of units.
    precision_error : ndarray of shape (K,)
        rho_k with ``||D_k^-1 (S_k^-1 - P_k) x|| <= rho_k ||D_k^-1 P_k x||``, D_k the units (see ``inverse_defect``).
    doubts : ndarray of shape (K,)
        Upper bounds of ||S_k^-1 - P_k||_2.
    constant_error : ndarray of shape (K,)
    sizes : ndarray of shape (K,)
        Upper bounds of ||S_k^-1||_2 and ||P_k||_2.
    precision_slip : ndarray of shape (K,), default=0
        Upper bounds of a further ``||D_k^-1 E_k D_k^-1||_2`` in S_k^-1 - P_k, for an error that does not shrink with P_k x
        (P_k may be singular); full precisions only.
    growth : ndarray of shape (K,), optional
        For a ``predict`` that computes these scores in another way: they err by ``gamma(2d + 16) growth_k ||D_k x||^2`` in its
        unit of rounding, and by what its constants lost.
    bulk : ndarray of shape (K,), optional
        Sizes of the numbers that such a ``predict`` sums up to the constants.
    """

    means: np.ndarray
    precisions: np.ndarray
    constants: np.ndarray
    units: np.ndarray
    precision_error: np.ndarray
    doubts: np.ndarray
    constant_error: np.ndarray
    sizes: np.ndarray
    precision_slip: np.ndarray | None = None
    growth: np.ndarray | None = None
    bulk: np.ndarray | None = None
    _slip: np.ndarray = field(init=False, repr=False)
    _rows: np.ndarray = field(init=False, repr=False)  # norms of the rows of D^-1 P D^-1
    _per_unit: np.ndarray = field(init=False, repr=False)  # 1 / units, exact
    strength: np.ndarray = field(init=False, repr=False)  # upper bounds of || D^-1 |P| D^-1 ||_2

    def __post_init__(self) -> None:
        slip = np.zeros(len(self.means)) if self.precision_slip is None else self.precision_slip
        object.__setattr__(self, "_slip", slip)
        if self.diagonal:
            object.__setattr__(self, "units", np.array([_units(p) for p in self.precisions]))
        per_unit = 1 / self.units
        object.__setattr__(self, "_per_unit", per_unit)
        if self.diagonal:
            rows, norms = [], (self.precisions * per_unit**2).max(axis=1)
        else:
            balanced = [P * np.multiply.outer(u, u) for P, u in zip(self.precisions, per_unit, strict=True)]
            rows, norms = [row_norms(P) for P in balanced], np.array([spectral(np.abs(P)) for P in balanced])
        object.__setattr__(self, "_rows", np.array(rows))
        object.__setattr__(self, "strength", grow(norms))

    @classmethod
    def exact(
        cls, means, precisions, constants, *, rounding: float = 0.0, constant_error=0.0, growth=None, bulk=None
    ) -> Quadratic:
        """A quadratic rule that *is* these numbers, or a product that float64 has rounded to them.

        Parameters
        ----------
        means : array-like of shape (n_classes, n_features)
        precisions : array-like of shape (n_classes, n_features, n_features), or (n_classes, n_features) for diagonal ones
            Symmetric and positive semidefinite; they may be singular.
        constants : array-like of shape (n_classes,)
            ``-inf`` drops a class.
        rounding : float, default=0
            The g in ``|E_kl| <= g sqrt(P_kk P_ll)`` for the distance E from a precision to the exact one. A product A A'
            errs by at most gamma |A| |A'|, which is of this form (Cauchy and Schwarz).
        constant_error : float or array-like of shape (n_classes,), default=0
            Upper bound of the distance from the constants to the exact ones.
        growth, bulk : array-like of shape (n_classes,), optional
            What a ``predict`` that computes the scores in its own way may lose; see the class. ``growth`` is a function of the
            units, shape (n_classes, n_features).

        Returns
        -------
        Quadratic
        """
        means, P, constants = (np.array(a, dtype=float) for a in (means, precisions, constants))
        (K, d), full = means.shape, P.ndim == 3
        if P.shape not in ((K, d, d), (K, d)) or constants.shape != (K,):
            raise ValueError(
                f"means, precisions and constants must have shapes (K, d), (K, d, d) or (K, d), and (K,), got {means.shape}, "
                f"{P.shape} and {constants.shape}."
            )
        if not (np.isfinite(means).all() and np.isfinite(P).all() and (constants < np.inf).all()):
            raise ValueError("means, precisions and constants must be finite.")
        diagonals = np.einsum("kdd->kd", P) if full else P
        if (diagonals < 0).any() or (full and (P != P.swapaxes(1, 2)).any()):
            raise ValueError("precisions must be symmetric and positive semidefinite.")
        off = np.broadcast_to(np.asarray(constant_error, dtype=float), K)
        zero, relative = np.zeros(K), np.full(K, rounding)
        units = np.array([_units(p) for p in diagonals])
        work = (None if growth is None else np.asarray(growth(units), dtype=float), bulk)
        if not full:
            top = P.max(axis=1)
            return cls(means, P, constants, units, relative, grow(rounding * top), off, grow((1 + rounding) * top), None, *work)
        # || |E| ||_2 <= g || sqrt(P_kk) ||^2: the trace, balanced or not
        slip = grow(rounding * np.sum(diagonals / units**2, axis=1), 3 * d + 64)
        doubts = grow(rounding * diagonals.sum(axis=1), 3 * d + 64)
        sizes = grow(np.array([spectral(p) for p in P]) + doubts)
        return cls(means, P, constants, units, zero, doubts, off, sizes, slip, *work)

    @property
    def n_classes(self) -> int:
        return len(self.means)

    @property
    def n_features(self) -> int:
        return self.means.shape[1]

    @property
    def diagonal(self) -> bool:
        return self.precisions.ndim == 2

    def some(self, classes: np.ndarray) -> Quadratic:
        """Of these classes alone."""
        kept: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        chosen: dict[str, Any] = {name: None if values is None else values[classes] for name, values in kept.items()}
        return Quadratic(**chosen)

    def scores(self, Z: np.ndarray) -> np.ndarray:
        """Scores, shape (n, K), in float64 whatever the type of Z."""
        out = np.empty((len(Z), len(self.means)))
        for rows in batches(len(Z), 16 * self.n_features, 8 * 2**20):
            for k in range(len(self.means)):
                out[rows, k] = self.score_and_slope(Z[rows], k)[0]
        return out

    def score_and_slope(self, Z: np.ndarray, k: int | slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Score, ``P_k (z - mu_k)`` and ``z - mu_k``: one product gives the first two.

        Of several classes at once, if k is a slice, where precisions are diagonal: shapes (classes, n) and (classes, n, d).
        """
        x = np.subtract(Z, of_class(self.means, k), dtype=float, order="C")
        y = x * of_class(self.precisions, k) if self.diagonal else rows_times(x, self.precisions[k])
        return of_class(self.constants, k) - np.einsum("...d,...d->...", x, y), y, x

    def gradients(self, Z: np.ndarray) -> np.ndarray:
        """Of the scores, shape (n, K, d)."""
        return np.stack([-2 * self.score_and_slope(Z, k)[1] for k in range(self.n_classes)], axis=1)

    def errors(self, x: np.ndarray, y: np.ndarray, k: int | slice) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Per row, upper bounds of what the score and (l2) the slope of ``score_and_slope`` may be off by.

        And how much of the first is rounding, not a doubt about the parameters; and of ||D_k x||.
        """
        d, rho = self.n_features, of_class(self.precision_error, k)
        scaled = x * of_class(self.units, k)
        lengths = row_norms(scaled)
        if self.diagonal:
            spread = np.abs(np.einsum("...d,...d->...", x, y))  # no term of x'Px is negative
            score, slope = rho * spread, (gamma(4) + rho) * row_norms(y)
        else:
            # |x|'|P||x| = |Dx|' |D^-1 P D^-1| |Dx| <= ||Dx|| sum_k |Dx|_k ||row k||, in which no feature has a unit
            slopes = row_norms(y * self._per_unit[k])
            spread = lengths * (np.abs(scaled, out=scaled) @ self._rows[k])
            slip = self._slip[k] * lengths
            score = (rho * slopes + slip) * lengths
            slope = (gamma(4) + rho) * slopes + gamma(d + 2) * fro(self._rows[k]) * lengths + slip
            slope *= self.units[k].max()
        rounding = grow(gamma(2 * d + 6) * spread + 2 * UNIT * np.abs(of_class(self.constants, k)), d + 8)
        return grow(score + rounding + of_class(self.constant_error, k), d + 8), grow(slope, d + 8), rounding, lengths

    def predicted(self, rounding: np.ndarray, lengths: np.ndarray, k: int | slice, unit: float) -> np.ndarray:
        """Per row, an upper bound of the rounding of the score that ``predict`` computes, from what :meth:`errors` returned."""
        if self.growth is None or self.bulk is None:
            return rounding
        d = self.n_features
        growth, bulk = of_class(self.growth, k), of_class(self.bulk, k)
        return grow(gamma(2 * d + 16, unit) * growth * lengths**2 + gamma(d + 16, unit) * bulk)

    def rounding(self, unit: float) -> np.ndarray:
        """kappa of shape (K,): u away from x, what ``predict`` loses grows by ``kappa (2 ||D_k x|| + ||D_k u||) ||D_k u||``."""
        growth = self.strength if self.growth is None else self.growth
        return grow(gamma(2 * self.n_features + 16, unit) * growth)

    def winners(self, Z: np.ndarray) -> np.ndarray:
        """The class of the largest score, also where scores overflow: points and means divided by a power of 2 decide there."""
        with np.errstate(over="ignore", invalid="ignore"):
            scores = self.scores(Z)
        winner = scores.argmax(axis=1)
        far = np.flatnonzero(~(scores.max(axis=1) > -np.inf))  # NaN, or nothing but -inf
        if len(far):
            z = np.asarray(Z[far], dtype=float)
            reach = np.maximum(np.abs(z).max(axis=1), max(np.abs(self.means).max(), 1.0))[:, None]
            down = np.exp2(-np.ceil(np.log2(reach)))
            near = np.empty((len(far), len(self.means)))
            for k, (P, constant) in enumerate(zip(self.precisions, self.constants, strict=True)):
                x = z * down - self.means[k] * down
                near[:, k] = -np.einsum("nd,nd->n", x, x * P if self.diagonal else x @ P)
                near[:, k] += constant * down[:, 0] ** 2 if np.isfinite(constant) else -np.inf
            winner[far] = near.argmax(axis=1)
        return winner


@dataclass(frozen=True)
class NearestEllipsoid:
    """The rule of Pal et al. (theory 1.7): the class whose ellipsoid {(z-mu_k)'P_k(z-mu_k) <= bound_k} is nearest.

    Parameters
    ----------
    quadratic : Quadratic
        Means and precisions; of its constants only this is used: ``-inf`` drops a class.
    bounds : ndarray of shape (K,)
        Squared Mahalanobis radii rho_k^2.
    """

    quadratic: Quadratic
    bounds: np.ndarray
    alive: np.ndarray = field(init=False)
    _axes: list = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "alive", np.isfinite(self.quadratic.constants))
        object.__setattr__(self, "quadratic", replace(self.quadratic, constants=np.zeros(len(self.bounds))))
        object.__setattr__(self, "_axes", [self._decompose(k) for k in range(len(self.bounds))])

    @property
    def n_classes(self) -> int:
        return len(self.bounds)

    def some(self, classes: np.ndarray) -> NearestEllipsoid:
        """Of these classes alone."""
        dropped = np.where(self.alive, 0.0, -np.inf)
        return NearestEllipsoid(replace(self.quadratic, constants=dropped).some(classes), self.bounds[classes])

    @property
    def n_features(self) -> int:
        return self.quadratic.n_features

    def _decompose(self, k: int):
        """Eigenbasis of P_k for the way in (curvature P_k) and for the way out (-P_k)."""
        P = self.quadratic.precisions[k]
        basis = quadric.Eigenbasis.of(np.asarray(P), extra=self.quadratic.doubts[k])
        return basis, quadric.Spectrum.of(basis.values - basis.error), quadric.Spectrum.of(basis.negated - basis.error)

    def distances(self, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lower and upper bounds of the signed Euclidean distance to every ellipsoid (negative inside), and the sums used.

        Returns
        -------
        low, high : ndarrays of shape (n, K)
            ``low <= distance <= high``: outside from the dual and from a feasible point of theory 1.3; inside, minus the
            depth, from below (the safe end for a certificate) and above.
        inside : ndarray of shape (n, K), dtype int
            1 certainly inside, -1 certainly outside, 0 on the boundary to within rounding.
        """
        K = len(self.bounds)
        low, high = np.zeros((len(Z), K)), np.zeros((len(Z), K))
        inside = np.zeros((len(Z), K), dtype=int)
        for rows in batches(len(Z), 64 * self.n_features):
            for k in range(K):
                low[rows, k], high[rows, k], inside[rows, k] = self._signed(Z[rows], k)
        return low, high, inside

    def _signed(self, Z, k):
        score, y, x = self.quadratic.score_and_slope(Z, k)
        score_error, slope_error, _, _ = self.quadratic.errors(x, y, k)
        beyond = -score - self.bounds[k]
        score_error = score_error + 4 * UNIT * (self.bounds[k] + np.abs(score))
        basis, way_in, way_out = self._axes[k]
        slopes, turn = basis.rotate(y)
        slope_error = slope_error + turn
        side = np.where(beyond > score_error, -1, np.where(beyond < -score_error, 1, 0))
        low, high = np.zeros(len(Z)), np.zeros(len(Z))
        for sign, spectrum, h in ((-1, way_in, slopes), (1, way_out, -slopes[:, ::-1])):
            at = np.flatnonzero(side == sign)
            found = quadric.distance(
                np.abs(beyond[at]) - score_error[at],
                np.ascontiguousarray(h[at]),
                spectrum,
                margin_error=2 * score_error[at],
                slope_error=slope_error[at],
                curvature_error=basis.error,
            )
            if sign < 0:
                low[at], high[at] = found.radius, found.attack
            else:
                low[at], high[at] = -found.attack, -found.radius
        return low, high, side

    def scores(self, Z: np.ndarray) -> np.ndarray:
        """Minus the signed distance: outside all ellipsoids the nearest wins, inside several the deepest."""
        low, high, _ = self.distances(Z)
        return self.leads(low, high)

    def winners(self, Z: np.ndarray) -> np.ndarray:
        """The class of the largest score; of equal ones the first."""
        return self.scores(Z).argmax(axis=1)

    def leads(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Scores from what :meth:`distances` returned: the middle of each interval, its finite end where one is not."""
        with np.errstate(invalid="ignore"):
            middle = np.where(np.isinf(low), high, np.where(np.isinf(high), low, (low + high) / 2))
        return np.where(self.alive, -middle, -np.inf)


@dataclass(frozen=True)
class LogSumExp:
    """Classes of several components: each scores the logarithm of the sum of its components' joint densities (theory 1.6).

    Parameters
    ----------
    components : Affine or Quadratic
        One row per component; log pi_k + log w_c (twice it for ``Quadratic``) is in its intercept or constant, -inf drops it.
    labels : ndarray of shape (C,)
        Class code of each component; every code 0..K-1 occurs.
    """

    components: Affine | Quadratic
    labels: np.ndarray
    _order: np.ndarray = field(init=False, repr=False)  # of the components, class by class
    _starts: np.ndarray = field(init=False, repr=False)  # where each class begins in that order

    def __post_init__(self) -> None:
        labels = np.asarray(self.labels)
        order = np.argsort(labels, kind="stable")
        codes, starts = np.unique(labels[order], return_index=True)
        if labels.shape != (self.components.n_classes,) or not np.array_equal(codes, np.arange(len(codes))):
            raise ValueError(
                f"labels must give each of the {self.components.n_classes} components a class code, and every class of 0..K-1 "
                f"a component, got {self.labels!r}."
            )
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "_order", order)
        object.__setattr__(self, "_starts", starts)

    @property
    def n_classes(self) -> int:
        return len(self._starts)

    def some(self, classes: np.ndarray) -> LogSumExp:
        """Of these classes alone, in this order."""
        chosen = self.labels[:, None] == classes
        kept = np.flatnonzero(chosen.any(axis=1))
        return LogSumExp(self.components.some(kept), chosen[kept].argmax(axis=1))

    @property
    def n_features(self) -> int:
        return self.components.n_features

    @property
    def scale(self) -> int:
        """Scores are this many times log joint densities: 2 for ``Quadratic``."""
        return 2 if isinstance(self.components, Quadratic) else 1

    def scores(self, Z: np.ndarray) -> np.ndarray:
        """Scores, shape (n, K), in float64 and in the units of the components' scores."""
        out = np.empty((len(Z), self.n_classes))
        for rows in batches(len(Z), 32 * len(self.labels)):
            out[rows] = self.gather(self.components.scores(Z[rows]))
        return out

    def gradients(self, Z: np.ndarray) -> np.ndarray:
        """Of the scores, shape (n, K, d): those of the components, weighed by their shares."""
        shares = np.exp((self.components.scores(Z) - self.scores(Z)[:, self.labels]) / self.scale)
        weighed = (self.components.gradients(Z) * shares[:, :, None])[:, self._order]
        return np.add.reduceat(weighed, self._starts, axis=1)

    def gather(self, scores: np.ndarray) -> np.ndarray:
        """Scores of the classes, shape (n, K), from those of the components, shape (n, C)."""
        scores = scores[:, self._order]
        top = np.maximum.reduceat(scores, self._starts, axis=1)
        top = np.where(np.isfinite(top), top, 0.0)  # a class without a living component stays at -inf
        scores -= top[:, self.labels[self._order]]
        sums = np.add.reduceat(np.exp(scores / self.scale), self._starts, axis=1)
        with np.errstate(divide="ignore"):
            return top + self.scale * np.log(sums)

    def winners(self, Z: np.ndarray) -> np.ndarray:
        """The class of the largest score, also where scores overflow: there the largest component decides."""
        with np.errstate(over="ignore", invalid="ignore"):
            scores = self.scores(Z)
        winner = scores.argmax(axis=1)
        far = np.flatnonzero(~np.isfinite(scores.max(axis=1)))
        if len(far):
            winner[far] = self.labels[self.components.winners(Z[far])]
        return winner
