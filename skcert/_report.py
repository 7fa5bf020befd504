"""Everything about the robustness of one model: what is certified, attacked, expected, and what nobody could beat."""

from __future__ import annotations

import base64
import html
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing

from skcert import theory
from skcert._certificate import Certificate
from skcert._certify import Certifier, certify
from skcert._explanation import dominant_column
from skcert._gmm import CertifiedGMMClassifier
from skcert._points import Points, dense, transformed
from skcert._printing import round_down, short
from skcert._progress import bar, shown
from skcert._request import scale_of
from skcert.backends.arrays import to_host
from skcert.diagnostics import kl_divergence, mardia_test
from skcert.geometry.rounding import UNIT
from skcert.perturbations import AffineStep
from skcert.routes import Route
from skcert.theory import _gaussians

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RobustnessReport", "robustness_report"]

#: draws of the fitted mixture
DRAWS = 20_000
#: points that the models beside it are fitted on and judged by, at most
BESIDE = 5_000
#: points among which conflicts are looked for, at most
CONFLICTS = 10_000
#: strengths among which that of LogisticRegression is chosen, besides 1: C times the mean variance of the latents
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
#: clean accuracy that the strength chosen may cost
LOSS = 0.01
#: weakest points that are listed
WEAKEST = 10
#: radii of the table, 0 included
RADII = 6
#: radii between which lines of the mixture are drawn
FINE = 200
#: lines that are drawn, each in a colour of its own
DRAWN = (
    *("certified", "under attack", "mixture, certified", "transferred", "ceiling, mixture", "ceiling, these points"),
    *("NearestCentroid, beside it", "LogisticRegression, beside it", "one answer to everything"),
)
#: columns of points are taken to have different units where their standard deviations differ by more than this factor
ALIKE = 10


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes
    ----------
    values : ndarray of shape (n_radii,)
        A share of points for each radius.
    grade : str
        What kind of number it is.
    above : bool
        Whether it bounds from above.
    counted : bool
        Whether at radius 0 it is the share of right answers itself, which is no bound.
    curve : tuple of two ndarrays of shape (n,)
        Radii and shares for the picture: ``shares[k]`` holds on the interval ``(radii[k-1], radii[k]]``, and 0 beyond the
        last. Where a bound is known at some radii alone, it is continued on its safe side.
    """

    values: np.ndarray
    grade: str
    above: bool
    counted: bool
    curve: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of_counts(cls, kept: np.ndarray, grid: np.ndarray, grade: str, above: bool = False) -> Line:
        """The share of points that are right up to each radius, from the radii up to which they are; -1: not even there."""
        ordered = np.sort(kept)
        radii = np.unique(np.append(0.0, ordered[ordered >= 0]))
        values, shares = ((len(kept) - np.searchsorted(ordered, at, side="left")) / len(kept) for at in (grid, radii))
        return cls(values, grade, above, True, (radii, shares))

    @classmethod
    def of_bounds(cls, values: np.ndarray, grid: np.ndarray, grade: str, above: bool = False) -> Line:
        """Bounds at these radii: of a share that falls with the radius."""
        curve = (np.append(grid, np.inf), np.append(values[:1], values)) if above else (grid, values)
        return cls(values, grade, above, False, curve)

    @classmethod
    def of_curve(cls, radii: np.ndarray, shares: np.ndarray, grid: np.ndarray, grade: str, above: bool = False) -> Line:
        """Of a curve that is known everywhere."""
        return cls(shares[np.searchsorted(radii, grid, side="left")], grade, above, False, (radii, shares))

    def until(self, end: float) -> tuple[np.ndarray, np.ndarray]:
        """The curve up to a radius, for steps that come before each radius."""
        radii, shares = self.curve
        inside = int(np.searchsorted(radii, end, side="left"))
        last = shares[inside] if inside < len(radii) else 0.0
        return np.append(radii[:inside], end), np.append(shares[:inside], last)


@dataclass(frozen=True)
class _Mixture:
    """The mixture that the classifier was fitted as, in coordinates in which the perturbation is a ball of its norm."""

    means: np.ndarray
    covariances: np.ndarray  # of the data
    rule: np.ndarray  # that the classifier uses
    priors: np.ndarray


@dataclass(frozen=True, repr=False)
class RobustnessReport:
    """What :func:`robustness_report` found. Print it, ``plot`` it, or turn it into a frame or a page.

    Attributes
    ----------
    certificate : Certificate
        Of all points.
    y : ndarray of shape (n,)
    radii : ndarray of shape (n_radii,)
        Of the table, in the norm, space and units of the certificate.
    confidence : float
        Of intervals and bands.
    lines : dict of Line
        By name, ``values`` for each radius and their ``grade``: "deterministic" or what else the certificate says, "upper
        bound", "model-based", "estimated".
    classes : dict of lists
        By column: one entry per class.
    weakest : dict of lists
        By column: the rightly predicted points with the smallest radii.
    facts : dict of str
        Single findings, in words.
    left_out : dict of str
        What the report lacks, and why.
    name : str
        Of the model.

    See Also
    --------
    robustness_report
    """

    certificate: Certificate
    y: np.ndarray
    radii: np.ndarray
    confidence: float
    lines: dict[str, Line]
    classes: dict[str, list]
    weakest: dict[str, list]
    facts: dict[str, str]
    left_out: dict[str, str] = field(default_factory=dict)
    name: str = ""

    def to_frame(self) -> pd.DataFrame:
        """The table of lines: one row per radius, one column per line."""
        import pandas as pd

        return pd.DataFrame({name: line.values for name, line in self.lines.items()}, index=pd.Index(self.radii, name="radius"))

    def _title(self) -> str:
        c = self.certificate
        scaled = "" if c.feature_scale is None else ", in units of the feature scale"
        return f"{self.name}: {len(self.y)} points, perturbations in l{c.norm:g} of {c.space!r}{scaled}"

    def _cells(self) -> list[list[str]]:
        lines, counted = self.lines.values(), self.radii == 0
        kinds = [[_kind_of(line, at_zero) for at_zero in counted] for line in lines]
        shares = _shares(np.array([line.values for line in lines]), np.array(kinds))
        head = ["radius", *map(_radius, self.radii), ""]
        return [head, *([name, *row, self.lines[name].grade] for name, row in zip(self.lines, shares.tolist(), strict=True))]

    def __repr__(self) -> str:
        parts = [self._title(), *(f"  {name}: {text}" for name, text in self.facts.items()), "", *_aligned(self._cells())]
        parts += ["", "by class", *_aligned(_columns(self.classes))]
        parts += ["", "weakest of the points predicted rightly", *_aligned(_columns(self.weakest))]
        if self.left_out:
            parts += ["", "left out", *(f"  {name}: {why}" for name, why in self.left_out.items())]
        return "\n".join(parts)

    def plot(self, *, ax=None):
        """All lines against the radius, on ``ax`` or the axes of a new figure, which are returned.

        Shares of points are drawn step by step, as they fall. Bounds that are known at the radii of the table alone are
        continued between them on their safe side.
        """
        from skcert.plotting import COLORS, _axes, _norm_name

        ax, end = _axes(ax), self.radii[-1] or 1.0
        (x, low), (_, high) = (self.lines[f"certified, {which} limit"].until(end) for which in ("lower", "upper"))
        ax.fill_between(x, low, high, step="pre", color=COLORS[0], alpha=0.15, linewidth=0)
        styles = {"upper bound": "--", "model-based": ":", "estimated": "-."}
        for name, line in self.lines.items():
            if name.startswith("certified, "):  # its limits, drawn already
                continue
            color = COLORS[DRAWN.index("ceiling, these points" if name.endswith("these points") else name)]
            grade = f" ({line.grade})" if line.grade in styles and name != "certified" else ""
            ax.plot(*line.until(end), styles.get(line.grade, "-"), drawstyle="steps-pre", color=color, label=f"{name}{grade}")
        c = self.certificate
        scaled = "" if c.feature_scale is None else ", in its feature scale"
        ax.set(xlabel=f"radius, {_norm_name(c.norm)} in {short(repr(c.space))}{scaled}", ylabel="accuracy")
        ax.set(xlim=(0, end), ylim=(0, 1.02))
        ax.legend(fontsize="small")
        return ax

    def _repr_html_(self) -> str:
        return "".join(self._html_parts())

    def _html_parts(self) -> list[str]:
        facts = "".join(f"<li><b>{html.escape(name)}</b>: {html.escape(text)}</li>" for name, text in self.facts.items())
        parts = [f"<h1>{html.escape(self._title())}</h1><ul>{facts}</ul>", _table(self._cells())]
        parts += ["<h2>By class</h2>", _table(_columns(self.classes))]
        parts += ["<h2>Weakest of the points predicted rightly</h2>", _table(_columns(self.weakest))]
        if self.left_out:
            reasons = "".join(f"<li><b>{html.escape(name)}</b>: {html.escape(why)}</li>" for name, why in self.left_out.items())
            parts.append(f"<h2>Left out</h2><ul>{reasons}</ul>")
        return parts

    def to_html(self, path) -> None:
        """Write one page with the table, the picture and all findings, complete in itself."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4.5), layout="constrained")
        self.plot(ax=figure.subplots())
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=120)
        title, *rest = self._html_parts()
        picture = f'<img alt="accuracy by radius" src="data:image/png;base64,{base64.b64encode(image.getvalue()).decode()}">'
        page = PAGE.format(title=html.escape(self._title()), body="\n".join([title, picture, *rest]))
        with open(path, "w", encoding="utf-8") as file:
            file.write(page)


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
h1 {{ font-size: 1.4rem; }} h2 {{ font-size: 1.1rem; margin-top: 2rem; }}
h1, li {{ overflow-wrap: anywhere; }}
ul {{ padding-left: 1.2rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }}
th, td {{ padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }}
th {{ white-space: nowrap; }} td {{ max-width: 18em; overflow-wrap: break-word; }}
th:first-child, td:first-child, th:last-child, td:last-child {{ text-align: left; }}
img {{ max-width: 100%; }}
</style></head><body>
{body}
</body></html>
"""


# -- words and numbers ---------------------------------------------------------------------------------------------------


#: how shares are rounded to whole thousandths, up to what their division lost; of equal numbers the first kind holds
ROUNDED: dict[str, Callable[[float], float]] = {
    "counted": lambda thousandths: float(np.round(thousandths)),
    "lower": lambda thousandths: float(np.floor(thousandths + 1e-9)),
    "upper": lambda thousandths: float(np.ceil(thousandths - 1e-9)),
}


def _kind_of(line: Line, at_zero: bool) -> str:
    """A key of ``ROUNDED``."""
    return "counted" if line.counted and at_zero else "upper" if line.above else "lower"


def _shares(values, kinds) -> np.ndarray:
    """Shares with three digits: counted ones rounded to the nearest, bounds to their safe side, and equal numbers alike."""
    values, kinds = np.asarray(values, dtype=float), np.asarray(kinds)
    shown = np.empty(values.shape, dtype=object)
    for kind, rounded in reversed(ROUNDED.items()):
        for number in np.unique(values[kinds == kind]):
            shown[np.abs(values - number) <= 1e-9] = f"{rounded(1000 * number) / 1000:.3f}"
    return shown


def _share(value: float, kind: str = "lower") -> str:
    return str(_shares([value], [kind])[0])


def _radius(value: float) -> str:
    """The radius itself, not one near it."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(float(value))


def _columns(table: dict[str, list]) -> list[list[str]]:
    return [list(table), *([" ".join(str(cell).split()) for cell in row] for row in zip(*table.values(), strict=True))]


def _aligned(cells: list[list[str]]) -> list[str]:
    cells = [list(map(short, row)) for row in cells]
    widths = [max(len(row[c]) for row in cells) for c in range(len(cells[0]))]
    lines = []
    for first, *middle, last in cells:
        padded = [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(middle, widths[1:-1], strict=True)), last]
        lines.append("  " + "  ".join(padded).rstrip())
    return lines


def _table(cells: list[list[str]]) -> str:
    head, *rows = cells
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _cell(text: str) -> str:
    """A cell of a table; of a long name, all of it where one points at it."""
    shown = short(text)
    whole = "" if shown == text else f' title="{html.escape(text)}"'
    return f"<td{whole}>{html.escape(shown)}</td>"


# -- the report ----------------------------------------------------------------------------------------------------------


def robustness_report(
    estimator: Any,
    X,
    y,
    *,
    radii=None,
    norm: float = 2,
    space: str = "input",
    feature_scale=None,
    confidence: float = 0.95,
    progress: bool = True,
) -> RobustnessReport:
    """Where a model stands: what is certified, what an attack achieves, what its mixture predicts, what nobody could beat.

    Parameters
    ----------
    estimator : fitted classifier or Pipeline
        Any that :func:`skcert.certify` accepts. What needs a Gaussian mixture is left out for others, with the reason.
    X : array-like or DataFrame of shape (n, n_features)
        Held-out points: not those it was fitted on.
    y : array-like of shape (n,)
    radii : array-like, default=None
        Radii of the table, >= 0; None: 0 and five steps up to the radius that a tenth of the points exceeds.
    norm : {1, 2, inf}, default=2
    space : str, default="input"
        See :func:`skcert.certify`.
    feature_scale : array-like of shape (n_features,), Series or dict by column, default=None
        The unit in which each feature of the space moves, 0 where it cannot; see :func:`skcert.certify`. All radii of the
        report are in these units; what cannot be computed in them is left out, with the reason. None: those of the space.
    confidence : float, default=0.95
        Of intervals, bands, and lower limits.
    progress : bool, default=True
        Show a progress bar, on a terminal or in a notebook, when the work takes more than two seconds.

    Returns
    -------
    RobustnessReport
        Its lines, each with its grade:

        - "certified": share of points predicted rightly and certified; its limits hold for the population at all radii at once.
        - "under attack": share that no known attack breaks; an upper bound of what can be certified.
        - "mixture, certified" (model-based): the same for draws of the fitted mixture, from below at ``confidence``.
        - "transferred" (estimated): what is left of it at the estimated divergence of the latents from the mixture.
        - "ceiling, mixture" (model-based): no classifier has more on the fitted mixture (theory 3.3).
        - "ceiling, these points" (upper bound): no classifier has more on these points (theory 3.4).
        - "NearestCentroid, beside it", "LogisticRegression, beside it": fitted on one half of the latents of these points and
          certified on the other, in turn. C is the one with the largest certified accuracy at the middle radius, on folds of
          the same half, among those whose clean accuracy there is within 0.01 of the best.
        - "one answer to everything": the share of the most frequent class, which a constant classifier has at every radius.

    Notes
    -----
    In print, shares at radius 0 are counted and rounded to the nearest digit; bounds are rounded to their safe side, the
    certified share down and what bounds it from above up. Equal numbers print alike.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skcert import CertifiedGMMClassifier, robustness_report
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, random_state=0)
    >>> model = make_pipeline(StandardScaler(), CertifiedGMMClassifier()).fit(X_train, y_train)
    >>> report = robustness_report(model, X_test, y_test, space="standardscaler", radii=[0.0, 0.2])
    >>> print(report.to_frame()[["certified", "under attack"]].round(3))    # doctest: +NORMALIZE_WHITESPACE
            certified  under attack
    radius
    0.0         0.958         0.958
    0.2         0.930         0.930
    """
    if not 0.5 <= theory._checks.chance("confidence", confidence):
        raise ValueError(f"confidence must be in [0.5, 1), got {confidence!r}.")
    certifier, X = Certifier(estimator), to_host(X)
    with shown(progress), bar(8, "robustness report", "part") as done:
        certificate = certifier.certify(X, norm=norm, space=space, feature_scale=feature_scale)
        y = certificate.check_labels(y)
        grid = _default_radii(certificate) if radii is None else np.unique(theory._checks.radii_of(radii))
        start = certifier._start(space)
        points, latents = _points(certifier, X, start)
        seen, numbers = Points.of(points), dense(latents)
        scale, _ = scale_of(feature_scale, seen)
        done.update()

        lines: dict[str, Line] = {}
        facts: dict[str, str] = {}
        left_out: dict[str, str] = {}
        _add_certified(lines, facts, left_out, certificate, y, grid, confidence)
        facts["units"] = _units(certificate, seen, scale, start)
        if (found := dominant_column(certificate)) is not None:
            name, share = found
            facts["one column decides"] = (
                f"{short(name)!r} makes up {round_down(100 * share)} % of the shortest attacks; "
                + _cure(certificate, seen, start)
            )
        done.update()
        mixture = _of_mixture(certifier, start, seen, scale, norm, left_out)
        typical = None
        if mixture is not None:
            drawn, low = _add_mixture(lines, mixture, grid, norm, confidence)
            done.update()
            typical = _add_data(lines, facts, left_out, certifier._model, numbers, y, grid, (drawn, low), confidence)
            done.update()
            _add_ceiling(lines, mixture, grid, norm)
        done.update(5 - done.n)
        _add_conflicts(lines, left_out, seen, scale, y, grid, norm)
        done.update()
        _add_gaussianity(facts, left_out, numbers, y)
        done.update()
        _add_others(lines, facts, left_out, certifier, certificate, points, latents, y, grid)
        labels, counts = np.unique(y, return_counts=True)
        always = np.where(y == labels[counts.argmax()], np.inf, -1.0)
        lines["one answer to everything"] = Line.of_counts(always, grid, f"always {labels[counts.argmax()]}")
    return RobustnessReport(
        certificate,
        y,
        grid,
        confidence,
        lines,
        _by_class(certificate, y, grid),
        _weakest(certificate, y, typical),
        facts,
        left_out,
        type(certifier._model).__name__,
    )


def _default_radii(certificate: Certificate) -> np.ndarray:
    """0 and five steps of two digits."""
    finite = certificate.radius[np.isfinite(certificate.radius) & (certificate.radius > 0)]
    if not len(finite):
        return np.zeros(1)
    step = float(np.quantile(finite, 0.9)) / (RADII - 1)
    return np.array([float(f"{k * float(f'{step:.1e}'):.3g}") for k in range(RADII)])


def _points(certifier: Certifier, X, start: int) -> tuple[Any, Any]:
    """The points in the space of the perturbation, and the latents that the classifier sees."""
    X = X if hasattr(X, "columns") else np.asarray(X)
    for _, step in certifier._steps[:start]:
        X = transformed(step, X)
    points = X
    for _, step in certifier._steps[start:]:
        X = transformed(step, X)
    return points, X


def _add_certified(lines, facts, left_out, certificate: Certificate, y, grid, confidence) -> None:
    """What the certificate says of these points and of the population they come from, and what attacks leave of it."""
    right = certificate.prediction == y
    kind = {"none": "estimated"}.get(certificate.guarantee, certificate.guarantee)
    lines["certified"] = Line.of_counts(np.where(right, certificate.radius, -1.0), grid, kind)
    falls = lines["certified"].curve[0]
    radii = np.union1d(falls[np.isfinite(falls)], np.append(grid, grid[-1] or 1.0))
    limits = theory.certified_accuracy_band(certificate.radius, right, radii=radii, confidence=confidence)
    for which, limit in zip(("lower", "upper"), limits, strict=True):
        grade = f"{confidence:.0%}, all radii"
        lines[f"certified, {which} limit"] = Line.of_curve(radii, limit, grid, grade, above=which == "upper")
    if np.isfinite(certificate.attack_radius).any():
        reached = np.where(right, certificate.attack_radius, -1.0)
        lines["under attack"] = Line.of_counts(reached, grid, "upper bound", above=True)
    else:
        left_out["under attack"] = "no attack is known through these steps: use the space after them."
    low, high = theory.certified_accuracy_interval(certificate.radius, right, radii=[0.0], confidence=confidence)
    shown = _shares([right.mean(), low[0], high[0]], ["counted", "lower", "upper"])
    facts["clean accuracy"] = f"{shown[0]} ({shown[1]} to {shown[2]} at {confidence:.0%})"
    facts["guarantee"] = f"{certificate.guarantee}, radii are {certificate._meaning()}"


def _units(certificate: Certificate, seen: Points, scale: np.ndarray, start: int) -> str:
    """What the radii are measured in; of a table whose columns seem to have different units, what to do about it."""
    if certificate.feature_scale is not None:
        fixed = int((scale == 0).sum())
        return "radii are in units of the feature scale" + (f"; {fixed} of {len(scale)} columns cannot move" if fixed else "")
    words = f"radii are in the units of {certificate.space!r}, the same for all columns"
    names = [f"column {k}" for k in range(len(scale))] if seen.names is None else [f"{short(name)!r}" for name in seen.names]
    spread = np.array([np.std(column[np.isfinite(column)]) if np.isfinite(column).any() else 0.0 for column in seen.values.T])
    apart = np.flatnonzero(seen.numeric & (spread > 0) & np.isfinite(spread))
    if start or np.ndim(seen.origin) != 2 or not len(apart):
        return words
    least, most = apart[spread[apart].argmin()], apart[spread[apart].argmax()]
    if not spread[most] > ALIKE * spread[least]:
        return words
    return (
        f"{words}, whose standard deviations go from {spread[least]:.2g} ({names[least]}) to {spread[most]:.2g} "
        f"({names[most]}); {_cure(certificate, seen, start)}"
    )


def _cure(certificate: Certificate, seen: Points, start: int) -> str:
    """What to do about columns of different units."""
    if certificate.feature_scale is not None:
        return "check its unit in feature_scale beside those of the other columns"
    if start:
        return f"if the units of {certificate.space!r} differ, pass feature_scale= with that of each column"
    return "if their units differ, pass feature_scale=" + ("X.std()" if hasattr(seen.origin, "iloc") else "X.std(axis=0)")


# -- the mixture ---------------------------------------------------------------------------------------------------------


def _of_mixture(
    certifier: Certifier, start: int, seen: Points, scale: np.ndarray, norm: float, left_out: dict[str, str]
) -> _Mixture | None:
    """The fitted mixture where the perturbation is a ball, or the reason why there is none."""
    what, model = "mixture, transfer, ceiling of the mixture", certifier._model
    if type(model) is not CertifiedGMMClassifier:
        left_out[what] = f"{type(model).__name__} is no Gaussian mixture: put a CertifiedGMMClassifier there."
        return None
    if model.decision != "bayes" or (model.n_components_ != 1).any() or (model.priors_ == 0).any():
        left_out[what] = 'they need decision="bayes", one component per class, and no empty class.'
        return None
    if (scale == 0).any():
        left_out[what] = "columns that cannot move (a feature_scale of 0) leave no ball of all dimensions, as they need it."
        return None
    covariances = _full(model)
    own = _own(model)
    turn = _turn(certifier, start, seen, scale, norm, model.means_.shape[1])
    if turn is None:
        left_out[what] = (
            "the steps between are not linear, or map the ball to none of this norm: use norm=2 or space='latents'."
        )
        return None
    return _Mixture(model.means_ @ turn.T, turn @ own @ turn.T, turn @ covariances @ turn.T, model.priors_)


def _full(model: CertifiedGMMClassifier) -> np.ndarray:
    """Covariances as matrices: (d, d) where one is shared, else (K, d, d)."""
    covariances, d = model.covariances_, model.means_.shape[1]
    if model.covariance_type == "spherical":
        return covariances[:, None, None] * np.eye(d)
    return covariances[:, :, None] * np.eye(d) if model.covariance_type == "diag" else covariances


def _own(model: CertifiedGMMClassifier) -> np.ndarray:
    """The same of the data: without what a target radius adds for the rule."""
    covariances = _full(model)
    return covariances - getattr(model, "robust_shrinkage_", 0.0) * np.eye(covariances.shape[-1])


def _turn(certifier: Certifier, start: int, seen: Points, scale: np.ndarray, norm: float, d: int) -> np.ndarray | None:
    """The matrix that takes latents to coordinates in which the perturbation is a ball of this norm; None if there is none.

    Linear steps with matrix A take the scaled perturbation ``u = s v``, ``||v|| <= r``, to ``A diag(s) v``. In l2 that is an
    ellipsoid, which ``(A diag(s)^2 A')^-1/2`` makes a ball again; a square matrix is undone in any norm.
    """
    links = certifier._chain(start)
    if not all(isinstance(carrier, AffineStep) for each in links for carrier in each.carriers):
        return None
    if not seen.numeric.all() or np.isnan(seen.values).any():
        return None
    piece = Route.along(links, np.zeros(seen.values.shape[1], dtype=bool), seen.names).pieces[-1]
    if piece is None or piece.is_identity:
        return np.diag(1 / scale)
    A = (np.diag(piece.matrix) if piece.matrix.ndim == 1 else piece.matrix) * scale
    left, sizes, _ = np.linalg.svd(A, full_matrices=False)
    if len(A) > A.shape[1] or sizes[-1] <= 1e-10 * sizes[0]:
        return None
    if A.shape[0] == A.shape[1]:
        return np.linalg.inv(A)
    return (left / sizes) @ left.T if norm == 2 else None


def _add_mixture(lines, mixture: _Mixture, grid, norm, confidence) -> tuple[np.ndarray, np.ndarray]:
    """What the mixture says about itself, which is returned as a curve."""
    draws, labels = _gaussians.draw(mixture.means, mixture.covariances, mixture.priors, DRAWS, np.random.default_rng(0))
    nearest = _gaussians.bayes_nearest(mixture.means, mixture.rule, mixture.priors, draws, norm)
    fine = np.union1d(grid, np.linspace(grid[0], grid[-1], FINE))
    low, _ = theory.certified_accuracy_band(
        nearest.radius, nearest.winner == labels, radii=fine, confidence=confidence, alternative="lower"
    )
    lines["mixture, certified"] = Line.of_curve(fine, low, grid, "model-based")
    return fine, low


def _add_ceiling(lines, mixture: _Mixture, grid, norm) -> None:
    """What the mixture says about every classifier."""
    bounds = [
        theory.existence._lower(mixture.means, mixture.covariances, mixture.priors, float(radius), norm) for radius in grid
    ]
    lines["ceiling, mixture"] = Line.of_bounds(1 - np.array(bounds), grid, "model-based", above=True)


def _add_data(lines, facts, left_out, model, latents, y, grid, curve, confidence) -> np.ndarray:
    """How far the latents are from the mixture, what that leaves of its accuracy, and how typical each point is."""
    priors, classes, own = model.priors_, model.classes_, _own(model)
    mixture = CertifiedGMMClassifier.from_parameters(model.means_, own, priors, classes, covariance_type=_kind(own))
    try:
        if own.ndim == 2 and len(classes) <= own.shape[-1]:  # all that a linear rule sees: its discriminant coordinates
            where = f"where the rule decides (d={len(classes) - 1})"
            apart = model.means_[1:] - model.means_[0]
            seen = np.linalg.qr(np.linalg.solve(_full(model), apart.T))[0]
            inner = CertifiedGMMClassifier.from_parameters(model.means_ @ seen, seen.T @ own @ seen, priors, classes)
            divergence = kl_divergence(latents @ seen, inner, y=y, confidence=confidence)
        else:
            where = f"on the latents (d={latents.shape[1]})"
            divergence = kl_divergence(latents, mixture, y=y, confidence=confidence)
        radii, low = curve
        left = theory.transfer_certified_accuracy(low, divergence.high)
        lines["transferred"] = Line.of_curve(radii, left, grid, "estimated")
        facts["divergence from the mixture"] = (
            f"{divergence.kl:.3g} nats ({divergence.low:.3g} to {divergence.high:.3g}) {where}, estimated"
        )
    except ValueError as reason:
        left_out["transferred"] = str(reason)
    drawn, _ = _gaussians.draw(model.means_, own, priors, DRAWS, np.random.default_rng(1))
    scores = np.sort(mixture.score_samples(drawn))
    typical = np.searchsorted(scores, mixture.score_samples(latents), side="right") / len(scores)
    facts["typicality"] = f"{(typical < 0.01).mean():.1%} of the points are less likely than 99 % of the mixture's own draws"
    return typical


def _kind(covariances: np.ndarray) -> str:
    return "tied" if covariances.ndim == 2 else "full"


# -- what needs no mixture -----------------------------------------------------------------------------------------------


def _add_conflicts(lines, left_out, seen: Points, scale: np.ndarray, y, grid, norm) -> None:
    """The ceiling from labels that are too close to each other."""
    what = "ceiling, these points"
    if not seen.numeric.all() or np.isnan(seen.values).any():
        left_out[what] = "the points hold text or gaps, between which there is no distance."
        return
    if (scale == 0).any():
        left_out[what] = "columns cannot move (a feature_scale of 0), and points that differ there are at no distance."
        return
    n_classes = len(np.unique(y))
    some = np.random.default_rng(0).permutation(len(y))[: CONFLICTS if n_classes == 2 else CONFLICTS // 2]
    values = seen.values[some].astype(float)
    scaled = values / scale
    # by so much of a radius the rounding of the quotients can shorten half a distance; powers of two do not round
    lost = 0.0 if (np.frexp(scale)[0] == 0.5).all() else 4 * UNIT * float(np.linalg.norm(scaled, ord=norm, axis=1).max())
    most = min(0.5, 1 - np.unique(y[some], return_counts=True)[1].max() / len(some))
    bounds = [0.0]
    for radius in grid:  # it rises up to the share of all classes but one, or the half
        if bounds[-1] >= most - 1e-12:
            bounds.append(bounds[-1])
            continue
        near = max(float(radius) - lost, 0.0)  # points that coincide do so in all units
        found = theory.empirical_risk_bound(scaled if near else values, y[some], radius=near, norm=norm)
        bounds.append(max(bounds[-1], found))
    name = what if len(some) == len(y) else f"ceiling, {len(some)} of these points"
    lines[name] = Line.of_bounds(1 - np.array(bounds[1:]), grid, "upper bound", above=True)


def _add_gaussianity(facts, left_out, latents, y) -> None:
    try:
        tests = mardia_test(latents, y)
        facts["Gaussian classes"] = (
            f"Mardia's tests reject {tests.n_rejected()} of {len(tests.classes)} classes at 5 %, together"
        )
    except ValueError as reason:
        left_out["Gaussian classes"] = str(reason)


def _add_others(lines, facts, left_out, certifier: Certifier, certificate: Certificate, points, latents, y, grid) -> None:
    """Simple models on the same latents: fitted on one half, certified on the other, in turn."""
    labels, counts = np.unique(y, return_counts=True)
    if counts.min() < 6 or len(labels) < 2:
        few = "a class has fewer than 6 points" if len(labels) > 1 else "all points are of one class"
        left_out["models beside it"] = f"{few}, too few to fit on halves."
        return
    some = np.sort(np.random.default_rng(0).permutation(len(y))[:BESIDE])
    points, latents, y = _safe_indexing(points, some), _safe_indexing(latents, some), y[some]
    start = certifier._start(certificate.space)
    steps, links = certifier._steps[start:], certifier._chain(start)
    asked = {"norm": certificate.norm, "feature_scale": certificate.feature_scale}
    middle = float(grid[len(grid) // 2])
    try:
        if all(isinstance(carrier, AffineStep) for each in links for carrier in each.carriers):
            tuning, radius = _Beside(steps, points, asked), middle
        else:  # every candidate would pass these steps again: compared on latents, where as many points have such a radius
            tuning = _Beside([], latents, {})
            plain = certify(NearestCentroid().fit(latents, y), latents)
            radius = float(np.quantile(plain.radius, (certificate.radius < middle).mean(), method="lower"))
        beside = _Beside(steps, points, asked)
        kept = {name: np.full(len(y), -1.0) for name in ("NearestCentroid", "LogisticRegression")}
        for fit, judge in StratifiedKFold(2, shuffle=True, random_state=0).split(y, y):
            C = _strength(tuning, latents, y, fit, radius)
            for name, model in (("NearestCentroid", NearestCentroid()), ("LogisticRegression", _logistic(C))):
                kept[name][judge] = beside.kept(_fitted(model, latents, y, fit), y, judge)
    except ValueError as reason:
        left_out["models beside it"] = str(reason)
        return
    for name, radii in kept.items():
        lines[f"{name}, beside it"] = Line.of_counts(radii, grid, "on halves of these points")
    facts["LogisticRegression, beside it"] = (
        f"C is the one with the largest certified accuracy at {_radius(middle)} that costs at most {LOSS:g} of clean accuracy"
    )


@dataclass(frozen=True)
class _Beside:
    """Points from which other models are certified through these steps, and what is asked of :func:`certify`."""

    steps: list
    points: Any
    asked: dict[str, Any]

    def kept(self, model: Any, y: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Radii of the rows that a fitted model behind the steps predicts rightly, -1 of the others."""
        found = certify(Pipeline([*self.steps, ("beside", model)]), _safe_indexing(self.points, rows), **self.asked)
        return np.where(found.prediction == y[rows], found.radius, -1.0)


def _logistic(C: float) -> LogisticRegression:
    return LogisticRegression(C=C, max_iter=2000)


def _fitted(model: Any, latents, y: np.ndarray, rows: np.ndarray) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a rule that could be a little better is a rule
        return model.fit(_safe_indexing(latents, rows), y[rows])


def _strength(beside: _Beside, latents, y: np.ndarray, rows: np.ndarray, radius: float) -> float:
    """The C with the largest certified accuracy at a radius among those whose clean accuracy is near the best.

    Both on folds of these rows. The least C among equals.
    """
    spread = float(dense(latents)[rows].var(axis=0).mean()) or 1.0
    strengths = sorted({1.0, *(C / spread for C in STRENGTHS)})
    kept = np.full((len(strengths), len(rows)), -1.0)
    for fit, judge in StratifiedKFold(3, shuffle=True, random_state=0).split(rows, y[rows]):
        for k, C in enumerate(strengths):
            kept[k, judge] = beside.kept(_fitted(_logistic(C), latents, y, rows[fit]), y, rows[judge])
    clean = (kept >= 0).mean(axis=1)
    certified = np.where(clean >= clean.max() - LOSS, (kept >= radius).mean(axis=1), -1.0)
    return strengths[int(certified.argmax())]


# -- tables --------------------------------------------------------------------------------------------------------------


def _mistaken(certificate: Certificate, y: np.ndarray) -> np.ndarray:
    """What each point is taken for, or would be first: another class than its own, or None where there is none."""
    other = np.where(certificate.prediction == y, certificate.runner_up, certificate.prediction).astype(object)
    other[other == y] = None
    return other


def _by_class(certificate: Certificate, y: np.ndarray, grid: np.ndarray) -> dict[str, list]:
    middle, labels, others = float(grid[len(grid) // 2]), np.unique(y), _mistaken(certificate, y)
    clean, kept, medians, rivals = [], [], [], []
    for label in labels:
        own = y == label
        right = own & (certificate.prediction == label)
        clean.append(right.sum() / own.sum())
        kept.append((right & (certificate.radius >= middle)).sum() / own.sum())
        medians.append(round_down(float(np.median(certificate.radius[right])) if right.any() else 0.0, 3))
        names, counts = np.unique(others[own & (others != None)], return_counts=True)  # noqa: E711  (cell by cell)
        rivals.append(names[counts.argmax()] if len(names) else "-")
    shares = _shares([clean, kept], [["counted"] * len(labels), ["lower" if middle else "counted"] * len(labels)])
    return {
        "class": list(labels),
        "points": [int((y == label).sum()) for label in labels],
        "clean": list(shares[0]),
        f"at {_radius(middle)}": list(shares[1]),
        "radius, median": medians,
        "mistaken for, most often": rivals,
    }


def _weakest(certificate: Certificate, y: np.ndarray, typical: np.ndarray | None) -> dict[str, list]:
    right = np.flatnonzero(certificate.prediction == y)
    rows = right[np.argsort(certificate.radius[right], kind="stable")[:WEAKEST]]
    others = _mistaken(certificate, y)[rows]
    table: dict[str, list] = {"row": [int(row) for row in rows]}
    if len(rows) and certificate._label(rows[0]) is not None:
        table["index"] = [certificate._label(row) for row in rows]
    table |= {
        "class": list(y[rows]),
        "runner-up": ["-" if other is None else other for other in others],
        "radius": [round_down(float(each), 3) for each in certificate.radius[rows]],
    }
    if typical is not None:
        table["typicality"] = [_share(each) for each in typical[rows]]
    return table
