"""Certificate: what is promised about each prediction, and under which conditions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import assert_all_finite, column_or_1d

from skcert._printing import round_down
from skcert.backends.arrays import like, namespace_of, to_host

if TYPE_CHECKING:
    import pandas as pd

    from skcert._explanation import Explanation


def _is_text(labels: np.ndarray) -> bool:
    return labels.dtype.kind in "USTO" and isinstance(labels[0], str)


def _is_number(labels: np.ndarray) -> bool:
    return labels.dtype.kind in "biuf"


def _joined(parts: list) -> Any:
    return None if any(part is None for part in parts) else (namespace_of(parts[0]) or np).concat(parts)


#: fields with a number or label for each point
ARRAYS = ("prediction", "radius", "runner_up", "attack_radius", "attack", "abstained", "n_passes")


@dataclass(frozen=True, repr=False, eq=False)
class Certificate:
    """One certificate per row of X: no perturbation shorter than ``radius`` changes ``prediction``.

    Its arrays are in the library and on the device of the points that were certified, but text labels, which only NumPy has.

    Attributes
    ----------
    prediction : array of shape (n_samples,)
        What the estimator's own ``predict`` returns.
    radius : array of shape (n_samples,)
        Certified radius of the open ball, in ``norm`` and in the units of ``space``: a lower bound of the distance to the
        nearest point of another class. 0 on a tie, ``inf`` where no rival can ever win.
    runner_up : array of shape (n_samples,)
        The class whose boundary is nearest (by the method used).
    attack_radius : array of shape (n_samples,)
        Length of the shortest perturbation known to change the class, an upper bound of the distance; for method "exact"
        within 1e-6 of ``radius``. ``inf`` where none is known.
    attack : array or DataFrame of the shape of X, or None
        With ``return_attack=True``, points at ``attack_radius`` whose prediction differs, checked with ``predict``; rows of
        NaN where none was found.
    norm : {1, 2, inf}
    space : str
        Where the perturbation acts: "input", "latents", or the name of a step.
    guarantee : {"deterministic", "probabilistic", "none"}
    confidence : float
        1.0 for a deterministic guarantee.
    method : str
        How the radius was computed.
    exact : bool
        Whether the radius is the distance to the nearest boundary itself, up to rounding; otherwise a lower bound of it.
    feature_scale : array-like, dict or None
        As it was asked for: the units in which features move.
    arithmetic : str
        In which the promise holds for the estimator's own ``predict``, at every point that this type can represent: "float64",
        "float32", or the encoders that are taken in real numbers.
    abstained : array of bool, shape (n_samples,), or None
        Of a smoothed classifier: where its votes certify nothing.
    n_passes : array of int, shape (n_samples,), or None
        Of a smoothed classifier: votes that were taken.
    """

    prediction: Any
    radius: Any
    runner_up: Any
    attack_radius: Any
    attack: Any
    norm: float
    space: str
    guarantee: str
    confidence: float
    method: str
    exact: bool = False
    feature_scale: Any = None
    arithmetic: str = "real numbers"
    abstained: Any = None
    n_passes: Any = None
    _votes: Any = field(default=None)
    _origin: Any = field(default=None)

    def __post_init__(self) -> None:
        xp = namespace_of(self.radius) or np
        if xp.any(xp.isnan(self.radius)):
            raise ValueError("A radius is NaN: what is not known must be certified at 0.")

    @classmethod
    def concatenate(cls, parts: list[Certificate]) -> Certificate:
        """Certificates of one request, batch by batch and without attacks, as one."""
        if len(parts) == 1:
            return parts[0]
        weakest = max(parts, key=lambda part: ("deterministic", "probabilistic", "none").index(part.guarantee))
        return replace(
            parts[0],
            guarantee=weakest.guarantee,
            confidence=min(part.confidence for part in parts),
            **{name: _joined([getattr(part, name) for part in parts]) for name in ARRAYS if name != "attack"},
        )

    def _like(self, X: Any) -> Certificate:
        """The same with its arrays in the namespace and on the device of X; of nothing, in NumPy."""
        return replace(self, **{name: like(X, getattr(self, name)) for name in ARRAYS})

    def __len__(self) -> int:
        return self.radius.shape[0]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_origin": None}  # numbers travel, the model and its points stay

    def explain(self, i: int) -> Explanation:
        """Where the radius of one point came from, and the shortest known change of its features that changes the prediction.

        Parameters
        ----------
        i : int
            Number of the point.

        Returns
        -------
        skcert.Explanation
            Printed as text; ``plot()`` draws the features that move most.

        Raises
        ------
        ValueError
            The certificate does not know its model any more, because it was pickled.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skcert import certify
        >>> X, y = load_iris(return_X_y=True, as_frame=True)
        >>> model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
        >>> certify(model, X, feature_scale=X.std()).explain(70)  # doctest: +SKIP
        """
        if self._origin is None:
            raise ValueError("This certificate has no model to explain it: certify the points again.")
        if not -len(self) <= i < len(self):
            raise IndexError(f"i must be the number of a certified point, below {len(self)}, got {i!r}.")
        return self._origin.explain(self._like(None), range(len(self))[i])

    def robust_at(self, r: float) -> Any:
        """Whether each prediction is certified at r > 0: ``radius >= r``, shape (n_samples,)."""
        if not r > 0:
            raise ValueError(f"r must be positive, got {r!r}: at radius 0 there is nothing to certify.")
        return self.radius >= r

    def certified_accuracy(self, y, radii) -> Any:
        """Share of points that are predicted as ``y`` and certified at each radius.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            True labels.
        radii : float or array-like of shape (n_radii,)
            In the norm, space and units of this certificate; at 0 this is the clean accuracy.

        Returns
        -------
        accuracy : array of the shape of ``radii``
            In the library of this certificate.
        """
        y, radius, prediction = self.check_labels(y), to_host(self.radius), to_host(self.prediction)
        radii = np.asarray(to_host(radii), dtype=float)
        if np.isnan(radii).any() or (radii < 0).any():
            raise ValueError(f"radii must be numbers >= 0, got {radii!r}.")
        right = np.sort(radius[prediction == y])
        return like(self.radius, (len(right) - np.searchsorted(right, radii, side="left")) / len(y))

    def check_labels(self, y) -> np.ndarray:
        """``y`` as a NumPy array that can be compared with the predictions, or ValueError."""
        if not len(self):
            raise ValueError("This certificate has no points: there is nothing to score.")
        y, prediction = column_or_1d(to_host(y)), to_host(self.prediction)
        assert_all_finite(y, input_name="y")
        if y.shape != prediction.shape:
            raise ValueError(f"y must have one label per certified point, shape {prediction.shape}, got {y.shape}.")
        if (_is_text(y) and _is_number(prediction)) or (_is_number(y) and _is_text(prediction)):
            raise ValueError(
                f"y must hold labels of the type of the predictions, {prediction.dtype}, got {y.dtype}: text and numbers are "
                "never equal. Convert y."
            )
        return y

    def to_frame(self) -> pd.DataFrame:
        """A DataFrame with prediction, radius, runner_up and attack_radius, and what else there is, one row per point."""
        try:
            import pandas as pd
        except ImportError:
            raise ImportError("Certificate.to_frame needs pandas: pip install pandas.") from None

        columns = {name: getattr(self._like(None), name) for name in ARRAYS if name != "attack"}
        return pd.DataFrame({name: values for name, values in columns.items() if values is not None})

    def _meaning(self) -> str:
        if self.guarantee == "none":
            return "estimates, above or below the distance"
        return "distances to the boundary" if self.exact else "lower bounds of the distance"

    def _summary(self) -> list[tuple[str, str]]:
        n, radius, attack_radius = len(self), to_host(self.radius), to_host(self.attack_radius)
        level = "" if self.guarantee != "probabilistic" else f" at level {self.confidence:g}"
        rows = [
            ("points", str(n)),
            ("perturbation", f"l{self.norm:g} in {self.space!r}" + ("" if self.feature_scale is None else ", scaled")),
            ("guarantee", ("none (an estimate)" if self.guarantee == "none" else self.guarantee) + level),
            ("method", self.method if self.exact or self.method != "exact" else "exact as far as it goes"),
            ("radii are", self._meaning()),
            ("predict in", self.arithmetic),
        ]
        if n:
            low, middle, high = np.quantile(radius, [0.1, 0.5, 0.9], method="lower")
            rows.append(("radius, median", round_down(middle)))
            rows.append(("radius, 10 % to 90 %", f"{round_down(low)} to {round_down(high)}"))
            rows.append(("not certified", str(int((radius == 0).sum()))))
            if self.n_passes is not None:
                rows.append(("votes, mean", f"{to_host(self.n_passes).mean():.0f}"))
            known = np.isfinite(attack_radius) & (attack_radius > 0)
            if known.any() and not self.exact:
                share = np.median(np.minimum(radius[known] / attack_radius[known], 1))
                rows.append(("radius / attack", round_down(float(share), 3)))
        return rows

    def __repr__(self) -> str:
        body = "\n".join(f"  {name:<21}{value}" for name, value in self._summary())
        return f"Certificate\n{body}"

    def _repr_html_(self) -> str:
        cells = "".join(f"<tr><th style='text-align:left'>{name}</th><td>{value}</td></tr>" for name, value in self._summary())
        return f"<table><caption>Certificate</caption>{cells}</table>"
