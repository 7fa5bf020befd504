"""Certificate: what is promised about each prediction, and under which conditions."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import reduce
from html import escape
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import assert_all_finite, column_or_1d

from skcert._points import names_of
from skcert._printing import round_down, short
from skcert._request import labelled, same_scale
from skcert.backends.arrays import like, namespace_of, to_host

if TYPE_CHECKING:
    import pandas as pd

    from skcert._explanation import Explanation


#: fields with a number or label for each point
ARRAYS = ("prediction", "radius", "runner_up", "attack_radius", "attack", "abstained", "n_passes")
GUARANTEES = ("deterministic", "probabilistic", "none")
#: kinds of labels by kind of array: those of different kinds are never equal
KINDS = {**dict.fromkeys("biuf", "numbers"), "U": "text", "T": "text", "S": "bytes", "M": "dates", "m": "durations"}


# -- checks --------------------------------------------------------------------------------------------------------------


def check_radius(name: str, radius: Any, *, positive: bool = False) -> float:
    """One radius as a float, or ValueError."""
    radius = radius.item() if getattr(radius, "shape", None) == () else radius
    number = float(radius) if isinstance(radius, Real) and not isinstance(radius, bool) else np.nan
    if positive and not number > 0:
        raise ValueError(f"{name} must be a positive number, got {radius!r}: at radius 0 there is nothing to certify.")
    if not number >= 0:
        raise ValueError(f"{name} must be a number >= 0 (0: clean accuracy), got {radius!r}.")
    return number


def check_radii(radii: Any) -> np.ndarray:
    """Radii as a float array of shape () or (n_radii,), or ValueError."""
    try:
        given = np.asarray(to_host(radii))
        found = given.astype(float) if given.dtype.kind in "iuf" or all(isinstance(r, Real) for r in given.flat) else None
    except (TypeError, ValueError):
        found = None
    if found is None or found.ndim > 1 or given.dtype == bool or not (found >= 0).all():
        raise ValueError(f"radii must be numbers >= 0, one or a list of them, got {radii!r}.")
    return found


def _kind(labels: np.ndarray) -> str | None:
    """What labels are, objects by the first of them; None for those that may be anything."""
    if labels.dtype == object and len(labels):
        return "text" if isinstance(labels[0], str) else "numbers" if isinstance(labels[0], Real) else None
    return KINDS.get(labels.dtype.kind)


def _is_missing(label: Any) -> bool:
    return label is None or type(label).__name__ in ("NAType", "NaTType") or label != label


# -- certificates one after the other ------------------------------------------------------------------------------------


def _about(part: Certificate) -> dict[str, Any]:
    """What certificates must share to be joined, but feature scale and model, which are compared otherwise."""
    attack = part.attack
    return {
        "norm": part.norm,
        "space": part.space,
        "method": part.method,
        "kind of labels": _kind(to_host(part.prediction)),
        "index of rows": None if part._index is None else "an index",
        "columns of the attack": None if attack is None else list(getattr(attack, "columns", attack.shape[1:])),
    }


def _by_position(feature_scale: Any) -> bool:
    """Whether a feature scale goes by the order of the columns, not by their names."""
    return feature_scale is not None and labelled(feature_scale) is None


def _columns(part: Certificate) -> list | None:
    """Names of the columns of the points that were certified, as far as they are known."""
    return names_of(part._origins[0].points) if part._origins else None


def _check_alike(parts: list) -> None:
    """TypeError or ValueError where these are not certificates about the same thing; the message says what differs."""
    if not parts:
        raise ValueError("There is nothing to join: expected at least one certificate, got none.")
    for k, part in enumerate(parts):
        if not isinstance(part, Certificate):
            raise TypeError(
                f"Only certificates can be joined, got {type(part).__name__} as part {k}: pass a list of what skcert.certify "
                "returns."
            )
    first, *rest = parts
    for k, part in enumerate(rest, 1):
        ours, theirs = _about(first), _about(part)
        differ = [(name, ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]]
        if not same_scale(first.feature_scale, part.feature_scale):
            differ.append(("feature_scale", first.feature_scale, part.feature_scale))
        elif _by_position(first.feature_scale) and None not in (columns := (_columns(first), _columns(part))):
            differ += [("columns that feature_scale is for", *columns)] if columns[0] != columns[1] else []
        if first._origins and part._origins and not first._origins[0].has_model_of(part._origins[0]):
            differ.append(("model", *(each._origins[0].model_name for each in (first, part))))
        if differ:
            found = "; ".join(f"the {name}, {one!r} and {other!r}" for name, one, other in differ)
            raise ValueError(
                f"Certificates of the same model and request can be joined. Parts 0 and {k} differ in {found}. Certify all "
                "points by the same fitted model, with the same arguments."
            )


def _joined(parts: list) -> Any:
    """Arrays, frames, indexes or records of arrays, one after the other; None where any is missing."""
    first = parts[0]
    if any(part is None for part in parts):
        return None
    if hasattr(first, "iloc"):
        import pandas as pd

        return pd.concat(parts)
    if hasattr(first, "vstack"):  # a frame of polars
        return reduce(type(first).vstack, parts)
    if hasattr(first, "append"):  # an index of pandas
        return first.append(parts[1:])
    if is_dataclass(first) and not isinstance(first, type):
        return replace(first, **{each.name: _joined([getattr(part, each.name) for part in parts]) for each in fields(first)})
    return (namespace_of(first) or np).concat(parts)


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
        NaN where none was found. Of integers and bools, in float64: radii are about real numbers, and the nearest point need
        not be whole.
    norm : {1, 2, inf}
    space : str
        Where the perturbation acts: "input", "latents", or the name of a step.
    guarantee : {"deterministic", "probabilistic", "none"}
    confidence : float
        The probability with which the guarantee holds at one point: 1.0 where it is "deterministic", 0.0 where it is "none".
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
    _index: Any = field(default=None)
    _origins: tuple = field(default=())

    def __post_init__(self) -> None:
        if self.guarantee == "none":
            object.__setattr__(self, "confidence", 0.0)  # of an estimate nothing is certain
        xp = namespace_of(self.radius) or np
        if xp.any(xp.isnan(self.radius)):
            raise ValueError("A radius is NaN: what is not known must be certified at 0.")

    @classmethod
    def concatenate(cls, parts: Iterable[Certificate]) -> Certificate:
        """Certificates of batches of points as one, in this order.

        Parameters
        ----------
        parts : iterable of Certificate
            Of one fitted model, certified with the same arguments.

        Returns
        -------
        Certificate
            Exact if all parts are, with the weakest of their guarantees and the lowest confidence. Its arrays are in the
            library of the first part.

        Raises
        ------
        ValueError
            There are no parts, or two differ in their norm, space, feature scale, method or model, as far as it is known
            (pickled certificates forget it), or one of them has an attack or an index of rows and another has none.
        TypeError
            Something is no Certificate.

        Examples
        --------
        >>> import numpy as np
        >>> from skcert import Certificate, CertifiedGMMClassifier, Certifier
        >>> model = CertifiedGMMClassifier.from_parameters([[-1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]])
        >>> certifier = Certifier(model)
        >>> batches = np.array_split(np.array([[-2.0, 0.0], [-0.5, 0.0], [1.0, 0.0], [3.0, 0.0]]), 2)
        >>> Certificate.concatenate(certifier.certify(batch) for batch in batches).radius.round(6)
        array([2. , 0.5, 1. , 3. ])
        """
        if isinstance(parts, Certificate) or not isinstance(parts, Iterable):
            raise TypeError(f"Expected a list of certificates, got {type(parts).__name__}: pass [one, other].")
        parts = list(parts)
        _check_alike(parts)
        first = parts[0]
        if len(parts) == 1:
            return first
        origins = [part._origins for part in parts]
        return replace(
            first,
            guarantee=max((part.guarantee for part in parts), key=GUARANTEES.index),
            confidence=min(part.confidence for part in parts),
            exact=all(part.exact for part in parts),
            arithmetic=" or ".join(dict.fromkeys(part.arithmetic for part in parts)),
            _origins=sum(origins, ()) if all(origins) else (),
            **{name: _joined([like(first.radius, getattr(part, name)) for part in parts]) for name in ARRAYS},
            **{name: _joined([getattr(part, name) for part in parts]) for name in ("_votes", "_index")},
        )

    def _like(self, X: Any) -> Certificate:
        """The same with its arrays in the namespace and on the device of X; of nothing, in NumPy."""
        return replace(self, **{name: like(X, getattr(self, name)) for name in ARRAYS})

    def __len__(self) -> int:
        return self.radius.shape[0]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_origins": ()}  # numbers travel, the model and its points stay

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
            The certificate does not know its model any more, because it was pickled; or X or the model have changed since.
        IndexError, TypeError
            ``i`` is not the number of a point.

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
        from skcert._explanation import explained

        try:
            number = operator.index(None if isinstance(i, bool) else i)  # type: ignore[arg-type]  # for the error
        except TypeError:
            raise TypeError(f"i must be the number of one certified point, an integer below {len(self)}, got {i!r}.") from None
        if not -len(self) <= number < len(self):
            raise IndexError(f"i must be the number of a certified point, below {len(self)}, got {i!r}.")
        if not self._origins:
            raise ValueError("This certificate has no model to explain it: certify the points again.")
        return explained(self._like(None), range(len(self))[number])

    def robust_at(self, r: float) -> Any:
        """Whether each prediction is certified at r > 0: ``radius >= r``, shape (n_samples,)."""
        return self.radius >= check_radius("r", r, positive=True)

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
        radii = check_radii(radii)
        y, radius, prediction = self.check_labels(y), to_host(self.radius), to_host(self.prediction)
        right = np.sort(radius[prediction == y])
        return like(self.radius, (len(right) - np.searchsorted(right, radii, side="left")) / len(y))

    def check_labels(self, y) -> np.ndarray:
        """``y`` as a NumPy array that can be compared with the predictions, or ValueError."""
        if not len(self):
            raise ValueError("This certificate has no points: there is nothing to score.")
        expected = f"y must have one label per certified point, shape ({len(self)},)"
        given, prediction = np.asarray(to_host(y)), to_host(self.prediction)
        if given.ndim == 0:
            raise ValueError(f"{expected}, got {y!r}.")
        y = column_or_1d(given)
        assert_all_finite(y, input_name="y")
        if y.shape != prediction.shape:
            raise ValueError(f"{expected}, got {y.shape}.")
        if y.dtype == object and (missing := [k for k, label in enumerate(y) if _is_missing(label)]):
            raise ValueError(f"y has missing labels, row {missing[0]} first: drop these rows, or certify those with labels.")
        kinds = [kind for labels in (y, prediction) if (kind := _kind(labels)) is not None]
        if len(set(kinds)) > 1:
            raise ValueError(
                f"y must hold labels of the type of the predictions, {prediction.dtype}, got {y.dtype}: "
                f"{' and '.join(sorted(kinds, reverse=True))} are never equal. Convert y."
            )
        if not (y == prediction).any() and self._origins:
            classes = dict.fromkeys(label for origin in self._origins for label in origin.certifier._classes.tolist())
            if classes.keys().isdisjoint(y.tolist()):
                warnings.warn(
                    f"None of the labels in y, {short(list(dict.fromkeys(y.tolist())))}, is a class of the model, "
                    f"{short(list(classes))}: no prediction counts as right. Convert y.",
                    stacklevel=3,
                )
        return y

    def to_frame(self) -> pd.DataFrame:
        """A DataFrame with prediction, radius, runner_up and attack_radius, and what else there is, one row per point.

        Its index is that of the points, where they were in a DataFrame or Series of pandas.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ImportError("Certificate.to_frame needs pandas: pip install pandas.") from None

        columns = {name: getattr(self._like(None), name) for name in ARRAYS if name != "attack"}
        return pd.DataFrame({name: values for name, values in columns.items() if values is not None}, index=self._index)

    def _label(self, row: int) -> Any:
        """What the index of the points calls a row; None where it only counts."""
        counted = self._index is None or (self._index.dtype.kind in "iu" and (self._index == np.arange(len(self))).all())
        return None if counted else self._index[row]

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
            low, high = np.quantile(radius, [0.1, 0.9], method="lower")
            rows.append(("radius, median", round_down(float(np.median(radius)))))
            rows.append(("radius, 10 % to 90 %", f"{round_down(low)} to {round_down(high)}"))
            rows.append(("not certified", str(int((radius == 0).sum()))))
            if self.n_passes is not None:
                rows.append(("votes, mean", f"{to_host(self.n_passes).mean():.0f}"))
            known = np.isfinite(attack_radius) & (attack_radius > 0)
            if known.any() and not self.exact:
                share = np.median(np.minimum(radius[known] / attack_radius[known], 1))
                rows.append(("radius / attack", round_down(float(share), 3)))
            rows += self._decided_by()
        return rows

    def _decided_by(self) -> list[tuple[str, str]]:
        """The column that decides nearly alone, where there is one, and what to do about it."""
        from skcert._explanation import dominant_column

        found = dominant_column(self)
        if found is None:
            return []
        name, share = found
        return [("one column decides", f"{name!r}, {round_down(100 * share)} % of the shortest attacks: see feature_scale")]

    def __repr__(self) -> str:
        body = "\n".join(f"  {name:<21}{value}" for name, value in self._summary())
        return f"Certificate\n{body}"

    def _repr_html_(self) -> str:
        rows = [(name, escape(value)) for name, value in self._summary()]
        cells = "".join(f"<tr><th style='text-align:left'>{name}</th><td>{value}</td></tr>" for name, value in rows)
        return f"<table><caption>Certificate</caption>{cells}</table>"
