"""Everything about the robustness of one model: what is certified, attacked, expected, and what nobody could beat."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import Pipeline

from skcert import theory
from skcert._certificate import Certificate
from skcert._certify import Certifier, certify
from skcert._gmm import CertifiedGMMClassifier
from skcert._points import Points, transformed
from skcert._printing import round_down
from skcert.backends.arrays import to_host
from skcert.diagnostics import kl_divergence, mardia_test
from skcert.metrics import certified_accuracy_scorer
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
#: strengths among which LogisticRegression is chosen
STRENGTHS = (1e-3, 1e-1, 10.0)
#: weakest points that are listed
WEAKEST = 10
#: radii of the table, 0 included
RADII = 6


@dataclass(frozen=True)
class Line:
    """One line of the table: a share of points for each radius, what kind of number it is, and whether it bounds from above."""

    values: np.ndarray
    grade: str
    above: bool = False


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
        return f"{self.name}: {len(self.y)} points, perturbations in l{c.norm:g} of {c.space!r}"

    def _cells(self) -> list[list[str]]:
        head = ["radius", *map(_radius, self.radii), ""]
        return [head, *([name, *(_share(v, line.above) for v in line.values), line.grade] for name, line in self.lines.items())]

    def __repr__(self) -> str:
        parts = [self._title(), *(f"  {name}: {text}" for name, text in self.facts.items()), "", *_aligned(self._cells())]
        parts += ["", "by class", *_aligned(_columns(self.classes))]
        parts += ["", "weakest of the points predicted rightly", *_aligned(_columns(self.weakest))]
        if self.left_out:
            parts += ["", "left out", *(f"  {name}: {why}" for name, why in self.left_out.items())]
        return "\n".join(parts)

    def plot(self, *, ax=None):
        """All lines against the radius, on ``ax`` or the axes of a new figure, which are returned."""
        from skcert.plotting import COLORS, _axes, _norm_name

        ax = _axes(ax)
        fine, right = np.linspace(0, self.radii[-1], 201), self.certificate.prediction == self.y
        band = theory.certified_accuracy_band(self.certificate.radius, right, radii=fine, confidence=self.confidence)
        ax.fill_between(fine, *band, color=COLORS[0], alpha=0.15, linewidth=0)
        ax.plot(fine, self.certificate.certified_accuracy(self.y, fine), color=COLORS[0], label="certified")
        styles = {"upper bound": "--", "model-based": ":", "estimated": "-."}
        others = [each for each in self.lines.items() if not each[0].startswith("certified")]
        for color, (name, line) in zip(COLORS[1:], others, strict=False):
            label = name if line.grade not in styles else f"{name} ({line.grade})"
            ax.plot(self.radii, line.values, styles.get(line.grade, "-"), marker=".", color=color, label=label)
        where = f"radius, {_norm_name(self.certificate.norm)} in {self.certificate.space!r}"
        ax.set(xlabel=where, ylabel="accuracy", ylim=(0, 1.02))
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
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }}
th, td {{ padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }}
th:first-child, td:first-child, td:last-child {{ text-align: left; }}
img {{ max-width: 100%; }}
</style></head><body>
{body}
</body></html>
"""


# -- words and numbers ---------------------------------------------------------------------------------------------------


def _share(value: float, above: bool = False) -> str:
    """Three digits, rounded to the safe side."""
    return f"{(np.ceil(value * 1000 - 1e-9) if above else np.floor(value * 1000 + 1e-9)) / 1000:.3f}"


def _radius(value: float) -> str:
    """The radius itself, not one near it."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(float(value))


def _columns(table: dict[str, list]) -> list[list[str]]:
    return [list(table), *([str(cell) for cell in row] for row in zip(*table.values(), strict=True))]


def _aligned(cells: list[list[str]]) -> list[str]:
    widths = [max(len(row[c]) for row in cells) for c in range(len(cells[0]))]
    lines = []
    for first, *middle, last in cells:
        padded = [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(middle, widths[1:-1], strict=True)), last]
        lines.append("  " + "  ".join(padded).rstrip())
    return lines


def _table(cells: list[list[str]]) -> str:
    head, *rows = cells
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


# -- the report ----------------------------------------------------------------------------------------------------------


def robustness_report(
    estimator: Any, X, y, *, radii=None, norm: float = 2, space: str = "input", confidence: float = 0.95
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
    confidence : float, default=0.95
        Of intervals, bands, and lower limits.

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
        - "NearestCentroid", "LogisticRegression": fitted on one half of the latents of these points and certified on the
          other, in turn; C chosen by certified accuracy.

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
    certificate = certifier.certify(X, norm=norm, space=space)
    y = certificate.check_labels(y)
    right = certificate.prediction == y
    grid = _default_radii(certificate) if radii is None else np.unique(theory._checks.radii_of(radii))
    start = certifier._start(space)
    points, latents = _points(certifier, X, start)

    lines, facts, left_out = {}, {}, {}
    kind = {"none": "estimated"}.get(certificate.guarantee, certificate.guarantee)
    certified = certificate.certified_accuracy(y, grid)
    low, high = theory.certified_accuracy_band(certificate.radius, right, radii=grid, confidence=confidence)
    lines["certified"] = Line(certified, kind)
    lines["certified, lower limit"] = Line(low, f"{confidence:.0%}, all radii")
    lines["certified, upper limit"] = Line(high, f"{confidence:.0%}, all radii", above=True)
    if np.isfinite(certificate.attack_radius).any():
        reach = np.where(right, certificate.attack_radius, -1.0)
        lines["under attack"] = Line(
            (reach[:, None] > grid).mean(axis=0) * (grid > 0) + right.mean() * (grid == 0), "upper bound", above=True
        )
    else:
        left_out["under attack"] = "no attack is known through these steps: use the space after them."
    clean = theory.certified_accuracy_interval(certificate.radius, right, radii=[0.0], confidence=confidence)
    facts["clean accuracy"] = (
        f"{_share(right.mean())} ({_share(clean[0][0])} to {_share(clean[1][0], above=True)} at {confidence:.0%})"
    )
    facts["guarantee"] = f"{certificate.guarantee}, radii are {certificate._meaning()}"

    mixture = _of_mixture(certifier, start, points, norm, left_out)
    typical = None
    if mixture is not None:
        low = _add_mixture(lines, mixture, grid, norm, confidence)
        typical = _add_data(lines, facts, left_out, certifier._model, latents, y, low, confidence)
        _add_ceiling(lines, mixture, grid, norm)
    _add_conflicts(lines, left_out, points, y, grid, norm)
    _add_gaussianity(facts, left_out, latents, y)
    _add_others(lines, left_out, certifier, certificate, X, latents, y, grid)
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


def _points(certifier: Certifier, X, start: int) -> tuple[Any, np.ndarray]:
    """The points in the space of the perturbation, and the latents that the classifier sees."""
    X = X if hasattr(X, "columns") else np.asarray(X)
    for _, step in certifier._steps[:start]:
        X = transformed(step, X)
    points = X
    for _, step in certifier._steps[start:]:
        X = transformed(step, X)
    return points, X


# -- the mixture ---------------------------------------------------------------------------------------------------------


def _of_mixture(certifier: Certifier, start: int, points, norm: float, left_out: dict[str, str]) -> _Mixture | None:
    """The fitted mixture where the perturbation is a ball, or the reason why there is none."""
    what, model = "mixture, transfer, ceiling of the mixture", certifier._model
    if type(model) is not CertifiedGMMClassifier:
        left_out[what] = f"{type(model).__name__} is no Gaussian mixture: put a CertifiedGMMClassifier there."
        return None
    if model.decision != "bayes" or (model.n_components_ != 1).any() or (model.priors_ == 0).any():
        left_out[what] = 'they need decision="bayes", one component per class, and no empty class.'
        return None
    covariances = _full(model)
    own = _own(model)
    turn = _turn(certifier, start, points, norm, model.means_.shape[1])
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


def _turn(certifier: Certifier, start: int, points, norm: float, d: int) -> np.ndarray | None:
    """The matrix that takes latents to coordinates in which the perturbation is a ball of this norm; None if there is none.

    Linear steps with matrix A take the l2 ball to an ellipsoid, which ``(A A')^-1/2`` makes a ball again; a square A is undone
    in any norm.
    """
    links = certifier._chain(start)
    if not all(isinstance(carrier, AffineStep) for each in links for carrier in each.carriers):
        return None
    seen = Points.of(points)
    if not seen.numeric.all() or np.isnan(seen.values).any():
        return None
    piece = Route.along(links, np.zeros(seen.values.shape[1], dtype=bool), seen.names).pieces[-1]
    if piece is None or piece.is_identity:
        return np.eye(d)
    A = np.diag(piece.matrix) if piece.matrix.ndim == 1 else piece.matrix
    left, sizes, _ = np.linalg.svd(A, full_matrices=False)
    if len(A) > A.shape[1] or sizes[-1] <= 1e-10 * sizes[0]:
        return None
    if A.shape[0] == A.shape[1]:
        return np.linalg.inv(A)
    return (left / sizes) @ left.T if norm == 2 else None


def _add_mixture(lines, mixture: _Mixture, grid, norm, confidence) -> np.ndarray:
    """What the mixture says about itself, which is returned."""
    draws, labels = _gaussians.draw(mixture.means, mixture.covariances, mixture.priors, DRAWS, np.random.default_rng(0))
    nearest = _gaussians.bayes_nearest(mixture.means, mixture.rule, mixture.priors, draws, norm)
    low, _ = theory.certified_accuracy_band(
        nearest.radius, nearest.winner == labels, radii=grid, confidence=confidence, alternative="lower"
    )
    lines["mixture, certified"] = Line(low, "model-based")
    return low


def _add_ceiling(lines, mixture: _Mixture, grid, norm) -> None:
    """What the mixture says about every classifier."""
    bounds = [
        theory.existence._lower(mixture.means, mixture.covariances, mixture.priors, float(radius), norm) for radius in grid
    ]
    lines["ceiling, mixture"] = Line(1 - np.array(bounds), "model-based", above=True)


def _add_data(lines, facts, left_out, model, latents, y, low: np.ndarray, confidence) -> np.ndarray:
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
        lines["transferred"] = Line(theory.transfer_certified_accuracy(low, divergence.high), "estimated")
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


def _add_conflicts(lines, left_out, points, y, grid, norm) -> None:
    """The ceiling from labels that are too close to each other."""
    seen = Points.of(points)
    if not seen.numeric.all() or np.isnan(seen.values).any():
        left_out["ceiling, these points"] = "the points hold text or gaps, between which there is no distance."
        return
    n_classes = len(np.unique(y))
    some = np.random.default_rng(0).permutation(len(y))[: CONFLICTS if n_classes == 2 else CONFLICTS // 2]
    values = seen.values[some].astype(float)
    most = min(0.5, 1 - np.unique(y[some], return_counts=True)[1].max() / len(some))
    bounds = [0.0]
    for radius in grid:  # it rises up to the share of all classes but one, or the half
        known = bounds[-1] >= most - 1e-12
        bounds.append(bounds[-1] if known else theory.empirical_risk_bound(values, y[some], radius=float(radius), norm=norm))
    name = "ceiling, these points" if len(some) == len(y) else f"ceiling, {len(some)} of these points"
    lines[name] = Line(1 - np.array(bounds[1:]), "upper bound", above=True)


def _add_gaussianity(facts, left_out, latents, y) -> None:
    try:
        tests = mardia_test(latents, y)
        facts["Gaussian classes"] = (
            f"Mardia's tests reject {tests.n_rejected()} of {len(tests.classes)} classes at 5 %, together"
        )
    except ValueError as reason:
        left_out["Gaussian classes"] = str(reason)


def _add_others(lines, left_out, certifier: Certifier, certificate: Certificate, X, latents, y, grid) -> None:
    """Simple models on the same latents: fitted on one half, certified on the other, in turn."""
    labels, counts = np.unique(y, return_counts=True)
    if counts.min() < 6 or len(labels) < 2:
        few = "a class has fewer than 6 points" if len(labels) > 1 else "all points are of one class"
        left_out["NearestCentroid, LogisticRegression"] = f"{few}, too few to fit on halves."
        return
    some = np.sort(np.random.default_rng(0).permutation(len(y))[:BESIDE])
    halves = list(StratifiedKFold(2, shuffle=True, random_state=0).split(some, y[some]))
    # strengths are compared at the radius of the same rank among those of NearestCentroid on the latents
    rank = float((certificate.radius < grid[len(grid) // 2]).mean())
    try:
        plain = certify(NearestCentroid().fit(latents[some], y[some]), latents[some])
        chosen = LogisticRegression(max_iter=2000), {"C": STRENGTHS}
        scorer = certified_accuracy_scorer(float(np.quantile(plain.radius, rank, method="lower")))
        models = {
            "NearestCentroid": NearestCentroid(),
            "LogisticRegression": GridSearchCV(*chosen, scoring=scorer, cv=3),
        }
        for name, model in models.items():
            kept = np.full(len(some), -1.0)
            for fit, judge in halves:
                model.fit(latents[some[fit]], y[some[fit]])
                pipe = Pipeline([*certifier._steps, ("beside", getattr(model, "best_estimator_", model))])
                rows = some[judge]
                part = X.iloc[rows] if hasattr(X, "iloc") else np.asarray(X)[rows]
                found = certify(pipe, part, norm=certificate.norm, space=certificate.space)
                kept[judge] = np.where(found.prediction == y[rows], found.radius, -1.0)
            lines[name] = Line((kept[:, None] >= grid).mean(axis=0), "on halves of these points")
    except ValueError as reason:
        left_out["NearestCentroid, LogisticRegression"] = str(reason)


# -- tables --------------------------------------------------------------------------------------------------------------


def _by_class(certificate: Certificate, y: np.ndarray, grid: np.ndarray) -> dict[str, list]:
    middle = float(grid[len(grid) // 2])
    table: dict[str, list] = {
        name: [] for name in ("class", "points", "clean", f"at {middle:g}", "radius, median", "runner-up")
    }
    for label in np.unique(y):
        own = y == label
        right = own & (certificate.prediction == label)
        rivals, counts = np.unique(certificate.runner_up[own], return_counts=True)
        kept = (right & (certificate.radius >= middle)).sum() / own.sum()
        median = float(np.median(certificate.radius[right])) if right.any() else 0.0
        cells = [label, int(own.sum()), _share(right.sum() / own.sum()), _share(kept), round_down(median, 3)]
        for column, cell in zip(table.values(), [*cells, rivals[counts.argmax()]], strict=True):
            column.append(cell)
    return table


def _weakest(certificate: Certificate, y: np.ndarray, typical: np.ndarray | None) -> dict[str, list]:
    right = np.flatnonzero(certificate.prediction == y)
    rows = right[np.argsort(certificate.radius[right], kind="stable")[:WEAKEST]]
    table = {
        "row": [int(row) for row in rows],
        "class": list(y[rows]),
        "runner-up": list(certificate.runner_up[rows]),
        "radius": [round_down(float(each), 3) for each in certificate.radius[rows]],
    }
    if typical is not None:
        table["typicality"] = [_share(each) for each in typical[rows]]
    return table
