"""Pictures: certified accuracy against the radius, the regions of a classifier of two features, how Gaussian latents are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
from scipy.stats import beta
from sklearn.pipeline import Pipeline
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from skcert._certificate import Certificate
from skcert._certify import certify
from skcert._explanation import SHOWN, Explanation
from skcert._printing import round_up, short
from skcert._shaper import CertifiedMarginClassifier, LatentShaper
from skcert.diagnostics.normality import distance_quantiles, mahalanobis_distances
from skcert.metrics import certified_accuracy_curve, check_labels

__all__ = [
    "CertifiedAccuracyDisplay",
    "CertifiedRegionDisplay",
    "ExplanationDisplay",
    "GaussianityDisplay",
    "LossCurveDisplay",
]

#: radii beyond are as good as infinite: they end where numbers do, not at a boundary
FAR = 1e100
#: told apart by colour-blind readers; neighbours in the list differ in lightness, so in greyscale too
COLORS = ("#004488", "#bb5566", "#ddaa33", "#000000", "#66aacc", "#117733", "#aa7799", "#997700", "#777777", "#ee8866")
REGION_COLORS = tuple(color for color in COLORS if color != "#000000")
MARKERS = "os^Dv<>ph*"


def _axes(ax, size: tuple[float, float] | None = None):
    """``ax``, or the axes of a new figure, of this width and height in inches."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("Drawing needs matplotlib: install it with 'pip install skcert[plot]'.") from error
    return plt.subplots(layout="constrained", figsize=size)[1] if ax is None else ax


#: where a legend has all the room it needs
BESIDE: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}


def _legend_columns(n_classes: int) -> int:
    """Columns of names beside a picture; 0 for so few that it needs no more room."""
    return 0 if n_classes <= 12 else 1 + (n_classes - 1) // 26


def _legend_style(n_classes: int) -> dict[str, Any]:
    columns = _legend_columns(n_classes)
    small = {**BESIDE, "ncols": columns, "fontsize": "xx-small", "labelspacing": 0.2}
    return {"frameon": False} | (small if columns else {})


def _size(n_classes: int) -> tuple[float, float] | None:
    """Of a new figure; None for the usual one."""
    columns = _legend_columns(n_classes)
    return (6.4 + 1.6 * columns, 4.8) if columns else None


def _norm_name(norm: float) -> str:
    return r"$\ell_\infty$" if norm == np.inf else rf"$\ell_{norm:g}$"


def _grade(guarantees) -> str:
    """What the numbers of a picture may be called: certified, unless none of them is."""
    return "Estimated" if set(guarantees) == {"none"} else "Certified"


def _space_name(space: str) -> str:
    return {"input": "the input", "latents": "the latents"}.get(space, f"the output of {space!r}")


def _hashable(request):
    """A norm, a space or a feature scale as something that can be compared."""
    if hasattr(request, "to_dict"):
        request = request.to_dict()
    if isinstance(request, Mapping):
        return tuple(sorted(request.items(), key=str))
    return tuple(np.ravel(request).tolist()) if np.ndim(request) else request


def _model_name(estimator) -> str:
    return type(estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator).__name__


def _per_curve(what: str, value, count: int) -> list:
    """One item for each curve, from one item or a list of them."""
    if value is None or isinstance(value, str | Mapping):
        return [value] * count
    if not isinstance(value, Sequence) or len(value) != count:
        raise ValueError(f"{what} must be one item or a list with one for each of the {count} curves, got {value!r}.")
    return list(value)


# -- certified accuracy ----------------------------------------------------------------------------------------------


class CertifiedAccuracyDisplay:
    """Certified accuracy against the radius: one step curve per model, all on one axis.

    Build it with :meth:`from_estimator` or :meth:`from_certificates`.

    Parameters
    ----------
    radii, accuracy : lists of ndarrays
        One exact step curve per model, as :func:`skcert.metrics.certified_accuracy_curve` returns them.
    norm : {1, 2, numpy.inf}
        Of the radii.
    space : str
        "input", "latents" or the name of a step: where the perturbation acts, and whose units the radii have.
    guarantee : list of {"deterministic", "probabilistic", "none"}
        Of each curve.
    confidence : list of float
        Of each curve.
    name : list of str or None, default=None
        Of each curve.
    attack_radii, attack_accuracy : lists of (ndarray or None), default=None
        One step curve per model: the share of points that no known attack of this length changes. An upper bound of what any
        certificate of the same model could reach. None: not drawn.
    scaled : bool, default=False
        Whether the radii are in units of a feature scale.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The first curve.
    lines_ : list of matplotlib Line2D
        Every curve, in order.
    attack_lines_ : list of matplotlib Line2D
        The attack curves drawn.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    skcert.metrics.certified_accuracy_curve : The numbers.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skcert import CertifiedGMMClassifier, certify
    >>> from skcert.plotting import CertifiedAccuracyDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> certificates = {
    ...     kind: certify(CertifiedGMMClassifier(covariance_type=kind).fit(X, y), X) for kind in ("tied", "full")
    ... }
    >>> display = CertifiedAccuracyDisplay.from_certificates(certificates, y)
    >>> [line.get_label() for line in display.lines_]
    ['tied', 'full']
    """

    def __init__(
        self,
        *,
        radii,
        accuracy,
        norm,
        space,
        guarantee,
        confidence,
        name=None,
        attack_radii=None,
        attack_accuracy=None,
        scaled=False,
    ):
        self.radii = radii
        self.accuracy = accuracy
        self.norm = norm
        self.space = space
        self.guarantee = guarantee
        self.confidence = confidence
        self.name = name
        self.attack_radii = attack_radii
        self.attack_accuracy = attack_accuracy
        self.scaled = scaled

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        norm=2,
        space="input",
        method="auto",
        feature_scale=None,
        attack=False,
        name=None,
        ax=None,
        curve_kwargs=None,
    ) -> CertifiedAccuracyDisplay:
        """Certify a fitted estimator on X and draw its curve.

        Parameters
        ----------
        estimator : fitted classifier or Pipeline ending in one
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            True labels.
        norm, space, method, feature_scale
            See :func:`skcert.certify`.
        attack : bool, default=False
            Also draw, as a thin dotted line, the accuracy under the shortest known perturbations, where any are known.
        name : str, default=None
            For the legend. None: the class of the classifier.
        ax : matplotlib Axes, default=None
            None: a new figure.
        curve_kwargs : dict, default=None
            Passed to matplotlib's ``plot``.

        Returns
        -------
        display : CertifiedAccuracyDisplay
        """
        certificate = certify(estimator, X, norm=norm, method=method, space=space, feature_scale=feature_scale)
        name = _model_name(estimator) if name is None else name
        return cls.from_certificates({name: certificate}, y, attack=attack, ax=ax, curve_kwargs=curve_kwargs)

    @classmethod
    def from_certificates(cls, certificates, y, *, attack=False, ax=None, curve_kwargs=None) -> CertifiedAccuracyDisplay:
        """Draw the curves of certificates of the same points.

        Parameters
        ----------
        certificates : Certificate or dict of str to Certificate
            By name, for the legend. All in one norm and one space.
        y : array-like of shape (n_samples,)
            True labels.
        attack : bool, default=False
            Also draw, as thin dotted lines, the accuracy under the shortest known perturbations, where any are known.
        ax : matplotlib Axes, default=None
            None: a new figure.
        curve_kwargs : dict or list of dict, default=None
            Passed to matplotlib's ``plot``, one for all curves or one for each.

        Returns
        -------
        display : CertifiedAccuracyDisplay
            One display that holds all the curves.

        Raises
        ------
        ValueError
            No certificates, or certificates of different norms, spaces or feature scales (also from what ``ax`` shows
            already): their radii are different things.
        """
        expected = "a Certificate, or a dict of name to Certificate"
        if not isinstance(certificates, Mapping | Certificate):
            raise TypeError(f"certificates must be {expected}, got {type(certificates).__name__}.")
        named = certificates if isinstance(certificates, Mapping) else {None: certificates}
        if not named:
            raise ValueError(f"certificates is empty: pass {expected}.")
        for name, each in named.items():
            if not isinstance(each, Certificate):
                raise TypeError(f"certificates[{name!r}] must be a skcert.Certificate, got {type(each).__name__}.")
        curves = [certified_accuracy_curve(y, certificate) for certificate in named.values()]
        for what in ("norm", "space", "feature_scale"):
            kinds = list(dict.fromkeys(_hashable(getattr(certificate, what)) for certificate in named.values()))
            if len(kinds) > 1:
                raise ValueError(
                    f"certificates must share one {what} to share an axis, got {', '.join(map(repr, kinds))}: certify all with "
                    f"the same {what}, or draw one display for each."
                )
        attacks = [_attack_curve(y, certificate) if attack else (None, None) for certificate in named.values()]
        first = next(iter(named.values()))
        display = cls(
            radii=[radii for radii, _ in curves],
            accuracy=[accuracy for _, accuracy in curves],
            norm=first.norm,
            space=first.space,
            scaled=first.feature_scale is not None,
            guarantee=[certificate.guarantee for certificate in named.values()],
            confidence=[certificate.confidence for certificate in named.values()],
            name=list(named),
            attack_radii=[radii for radii, _ in attacks],
            attack_accuracy=[accuracy for _, accuracy in attacks],
        )
        return display.plot(ax, curve_kwargs=curve_kwargs)

    def plot(self, ax=None, *, name=None, curve_kwargs=None) -> CertifiedAccuracyDisplay:
        """Draw the curves.

        Solid curves are certified. A curve without a guarantee is dashed and its label says "(estimate)"; dotted curves are
        the accuracy under the shortest known perturbations.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None: a new figure.
        name : str or list of str, default=None
            For the legend. None: the names of the display.
        curve_kwargs : dict or list of dict, default=None
            Passed to matplotlib's ``plot``, one for all curves or one for each.

        Returns
        -------
        display : CertifiedAccuracyDisplay
            With ``ax_``, ``figure_``, ``line_``, ``lines_`` and ``attack_lines_``.
        """
        count = len(self.radii)
        names = _per_curve("name", self.name if name is None else name, count)
        styles = _per_curve("curve_kwargs", curve_kwargs, count)
        self.ax_ = _axes(ax)
        self.figure_ = self.ax_.figure
        where = _space_name(self.space) + (", in its feature scale" if self.scaled else "")
        unit = f"{_norm_name(self.norm)} radius, units of {where}"
        drawn, before = len(self.ax_.lines), self.ax_.get_xlabel() if self.ax_.lines else ""
        if "radius, units of" in before and not before.endswith(unit):
            raise ValueError(f"The axes already show {before!r}, not {unit!r}: these are different things. Draw on other axes.")
        attacks = list(zip(self.attack_radii or [None] * count, self.attack_accuracy or [None] * count, strict=True))
        finite = [r[r < FAR].max(initial=0) for r in [*self.radii, *(r for r, _ in attacks if r is not None)]]
        end = 1.04 * max(finite) or 1.0
        if drawn:
            end = max(end, self.ax_.get_xlim()[1])
        self.lines_, self.attack_lines_ = [], []
        for i in range(count):
            estimate = self.guarantee[i] == "none"
            style = {"color": COLORS[(drawn + i) % len(COLORS)], "linewidth": 2, "linestyle": "--" if estimate else "-"}
            line = self._step(self.radii[i], self.accuracy[i], end, label=self._label(i, names[i]), **style | (styles[i] or {}))
            self.lines_.append(line)
            if attacks[i][0] is not None:
                label = "attacked" if names[i] is None else f"{names[i]}, attacked"
                thin = {"color": line.get_color(), "linewidth": 1, "linestyle": ":"}
                self.attack_lines_.append(self._step(*attacks[i], end, label=label, **thin))
        self.line_ = self.lines_[0]
        grade = "Certified" if before.startswith("Certified") else _grade(self.guarantee)
        self.ax_.set(
            xlabel=f"{grade} {unit}",
            ylabel=f"{grade} accuracy",
            xlim=(0, end),
            ylim=(0, 1.02),
        )
        self.ax_.spines[["top", "right"]].set_visible(False)
        self.ax_.grid(True, color="0.9", linewidth=0.8)
        self.ax_.set_axisbelow(True)
        if self.ax_.get_legend_handles_labels()[1]:
            self.ax_.legend(frameon=False)
        return self

    def _label(self, i: int, name) -> str | None:
        grade = {"none": "(estimate)", "probabilistic": f"(confidence {self.confidence[i]:g})"}.get(self.guarantee[i])
        return " ".join(str(part) for part in (name, grade) if part is not None) or None

    def _step(self, radii, accuracy, end: float, **style):
        """A left-continuous step function, which falls to 0 after its last radius unless that is infinite."""
        x = np.append(radii, radii[-1])
        height = np.append(accuracy, accuracy[-1] if radii[-1] == np.inf else 0.0)
        (line,) = self.ax_.plot(np.minimum(x, 1000 * end), height, drawstyle="steps-pre", **style)
        return line


def _attack_curve(y, certificate: Certificate):
    """Accuracy under the shortest known perturbations; (None, None) where none is known."""
    if not np.isfinite(certificate.attack_radius).any():
        return None, None
    return certified_accuracy_curve(y, replace(certificate, radius=certificate.attack_radius))


# -- certified regions -----------------------------------------------------------------------------------------------


class CertifiedRegionDisplay:
    """The regions of a classifier of two features, how far each of their points is certified, and some certified balls.

    Build it with :meth:`from_estimator`.

    Parameters
    ----------
    xx0, xx1 : ndarrays of shape (grid_resolution, grid_resolution)
        Coordinates of the grid.
    region, radius : ndarrays of shape (grid_resolution, grid_resolution)
        Position in ``classes`` of the predicted class, and certified radius, at each point of the grid.
    classes : ndarray of shape (n_classes,)
    X : ndarray of shape (n_samples, 2)
        Points to draw.
    y : ndarray of shape (n_samples,) or None
        Their true labels.
    certificate : Certificate
        Of X; its norm is the norm of all radii.
    balls : ndarray of shape (n_balls,)
        Rows of X whose certified balls are drawn.
    feature_names : list of two str, default=None

    Attributes
    ----------
    surface_ : matplotlib AxesImage
        The regions, paler towards their boundaries.
    contours_ : matplotlib ContourSet or None
        Lines of equal certified radius.
    points_ : list of matplotlib PathCollection
        The points, one collection per class, and the wrongly predicted ones last.
    balls_ : list of matplotlib Patch
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from skcert import CertifiedGMMClassifier
    >>> from skcert.datasets import make_circle_mixture
    >>> from skcert.plotting import CertifiedRegionDisplay
    >>> mixture = make_circle_mixture(300, variances=(1.5, 0.5), random_state=0)
    >>> model = CertifiedGMMClassifier(covariance_type="full").fit(mixture.X, mixture.y)
    >>> display = CertifiedRegionDisplay.from_estimator(model, mixture.X, mixture.y, grid_resolution=50)
    >>> len(display.balls_)
    12
    """

    def __init__(self, *, xx0, xx1, region, radius, classes, X, y, certificate, balls, feature_names=None):
        self.xx0 = xx0
        self.xx1 = xx1
        self.region = region
        self.radius = radius
        self.classes = classes
        self.X = X
        self.y = y
        self.certificate = certificate
        self.balls = balls
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls, estimator, X, y=None, *, grid_resolution=200, eps=0.1, norm=2, method="auto", n_balls=12, ax=None
    ) -> CertifiedRegionDisplay:
        """Certify a fitted estimator of two features on X and on a grid around it, and draw both.

        Parameters
        ----------
        estimator : fitted classifier or Pipeline ending in one
        X : array-like of shape (n_samples, 2)
            Points to draw, as the estimator's ``predict`` takes them.
        y : array-like of shape (n_samples,), default=None
            True labels. None: every point is drawn as what it is predicted to be.
        grid_resolution : int, default=200
            Grid points along each axis.
        eps : float, default=0.1
            Margin around X, as a share of its extent.
        norm, method
            See :func:`skcert.certify`. The radii are in the units of X.
        n_balls : int, default=12
            Certified balls to draw at most: those of points of middling radius first, no two overlapping.
        ax : matplotlib Axes, default=None
            None: a new figure.

        Returns
        -------
        display : CertifiedRegionDisplay

        Raises
        ------
        ValueError
            X has not two columns.
        """
        points = np.asarray(X, dtype=float)
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(
                f"X must have shape (n_samples, 2), got {points.shape}: regions can be drawn for two features only. If what "
                "the classifier sees has two, draw that: from_estimator(pipe[-1], pipe[:-1].transform(X), y)."
            )
        if not isinstance(grid_resolution, Integral) or grid_resolution < 2:
            raise ValueError(f"grid_resolution must be an integer >= 2, got {grid_resolution!r}.")
        certificate = certify(estimator, X, norm=norm, method=method)
        if y is not None:
            y = check_labels(y, certificate)
            check_consistent_length(X, y)
        low, high = points.min(axis=0), points.max(axis=0)
        margin = eps * np.where(high > low, high - low, 1.0)
        sides = [np.linspace(a, b, grid_resolution) for a, b in zip(low - margin, high + margin, strict=True)]
        xx0, xx1 = np.meshgrid(*sides)
        grid: Any = np.column_stack([xx0.ravel(), xx1.ravel()])
        names = None
        if hasattr(X, "columns"):
            names = [str(column) for column in X.columns]
            grid = type(X)(grid, **{"columns" if hasattr(X, "iloc") else "schema": list(X.columns)})
        surface = certify(estimator, grid, norm=norm, method=method)
        classes = np.asarray(estimator.classes_)
        display = cls(
            xx0=xx0,
            xx1=xx1,
            region=np.searchsorted(classes, surface.prediction).reshape(xx0.shape),
            radius=surface.radius.reshape(xx0.shape),
            classes=classes,
            X=points,
            y=y,
            certificate=certificate,
            balls=_disjoint_balls(points, certificate, n_balls),
            feature_names=names,
        )
        return display.plot(ax)

    def plot(self, ax=None) -> CertifiedRegionDisplay:
        """Draw regions, radii, points and balls.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None: a new figure.

        Returns
        -------
        display : CertifiedRegionDisplay
            With ``ax_``, ``figure_``, ``surface_``, ``contours_``, ``points_`` and ``balls_``.
        """
        self.ax_ = _axes(ax, _size(len(self.classes)))
        self.figure_ = self.ax_.figure
        from matplotlib.colors import to_rgb

        palette = np.array([to_rgb(REGION_COLORS[k % len(REGION_COLORS)]) for k in range(len(self.classes))])
        self._draw_regions(palette)
        self._draw_balls(palette)
        self._draw_points(palette)
        names = self.feature_names or ["feature 0", "feature 1"]
        norm, method = self.certificate.norm, self.certificate.method
        if method == "exact" and not self.certificate.exact:
            method = "lower bounds"
        self.ax_.set(
            xlabel=names[0],
            ylabel=names[1],
            aspect="equal",
            title=f"{_grade([self.certificate.guarantee])} {_norm_name(norm)} radius ({method})",
            xlim=(self.xx0.min(), self.xx0.max()),
            ylim=(self.xx1.min(), self.xx1.max()),
        )
        title = "predicted" if self.y is None else "class"
        self.ax_.legend(title=title, **BESIDE | _legend_style(len(self.classes)))
        return self

    def _draw_regions(self, palette) -> None:
        finite = self.radius[self.radius < FAR]
        top = finite.max(initial=0) or 1.0
        radius = np.minimum(self.radius, top)
        strength = 0.1 + 0.45 * np.sqrt(radius / top)[..., None]
        half = np.array([self.xx0[0, 1] - self.xx0[0, 0], self.xx1[1, 0] - self.xx1[0, 0]]) / 2
        low, high = (self.xx0[0, 0], self.xx1[0, 0]) - half, (self.xx0[-1, -1], self.xx1[-1, -1]) + half
        self.surface_ = self.ax_.imshow(
            1 - strength * (1 - palette[self.region]),
            origin="lower",
            extent=(low[0], high[0], low[1], high[1]),
            interpolation="bilinear",
            zorder=0,
        )
        for k in np.unique(self.region) if np.ptp(self.region) else ():
            signed = np.where(self.region == k, radius, -radius)
            self.ax_.contour(self.xx0, self.xx1, signed, levels=[0], colors="0.25", linewidths=1.2, zorder=1)
        self.contours_ = None
        if np.ptp(radius) > 0:
            style: dict[str, Any] = {"colors": "white", "linewidths": 0.9, "zorder": 1}
            self.contours_ = self.ax_.contour(self.xx0, self.xx1, radius, 5, **style)
            self.ax_.clabel(self.contours_, fontsize=7, colors="0.15")

    def _draw_balls(self, palette) -> None:
        from matplotlib.patches import Circle, Polygon

        self.balls_ = []
        for row in self.balls:
            center, r = self.X[row], self.certificate.radius[row]
            k = np.searchsorted(self.classes, self.certificate.prediction[row])
            style: dict[str, Any] = {"facecolor": "none", "edgecolor": palette[k] * 0.6, "linewidth": 1.2, "zorder": 2}
            if self.certificate.norm == 2:
                ball: Any = Circle(center, r, **style)
            else:
                corners = (
                    [[1, 0], [0, 1], [-1, 0], [0, -1]] if self.certificate.norm == 1 else [[1, 1], [-1, 1], [-1, -1], [1, -1]]
                )
                ball = Polygon(center + r * np.array(corners), closed=True, **style)
            self.balls_.append(self.ax_.add_patch(ball))
        self.ax_.scatter(*self.X[self.balls].T, s=5, color="white", zorder=5)

    def _draw_points(self, palette) -> None:
        labels = self.certificate.prediction if self.y is None else self.y
        self.points_ = []
        for k, label in enumerate(self.classes.tolist()):
            own = self.X[labels == label]
            style = {"color": palette[k] * 0.8, "marker": MARKERS[k % len(MARKERS)], "edgecolors": "white"}
            self.points_.append(self.ax_.scatter(*own.T, s=22, linewidths=0.5, label=short(label, 24), zorder=3, **style))
        if self.y is not None and (wrong := self.certificate.prediction != self.y).any():
            cross = self.ax_.scatter(*self.X[wrong].T, s=45, color="black", marker="x", linewidths=1.4, label="wrong", zorder=4)
            self.points_.append(cross)


def _disjoint_balls(points: np.ndarray, certificate: Certificate, count: int) -> np.ndarray:
    """Up to ``count`` rows whose certified balls do not overlap, those of middling radius first."""
    radius = certificate.radius
    rows = np.flatnonzero((radius < FAR) & (radius > 0))
    rows = rows[np.argsort(radius[rows], kind="stable")]
    rows = rows[np.argsort(np.abs(np.arange(len(rows)) - len(rows) // 2), kind="stable")]
    chosen: list[int] = []
    for row in rows.tolist():
        if len(chosen) >= count:
            break
        apart = np.linalg.norm(points[chosen] - points[row], ord=certificate.norm, axis=1)
        if (apart >= radius[chosen] + radius[row]).all():
            chosen.append(row)
    return np.array(chosen, dtype=int)


# -- one point ---------------------------------------------------------------------------------------------------------


class ExplanationDisplay:
    """The features that the nearest attack on one point moves most, as bars in units of the feature scale.

    Parameters
    ----------
    explanation : Explanation
        From :meth:`skcert.Certificate.explain`.

    Attributes
    ----------
    bars_ : matplotlib BarContainer
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skcert import certify
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> explanation = certify(LogisticRegression(max_iter=1000).fit(X, y), X).explain(70)
    >>> display = explanation.plot()
    >>> display.ax_.get_yticklabels()[0].get_text()
    'petal width (cm)'
    """

    def __init__(self, explanation: Explanation):
        self.explanation = explanation

    def plot(self, ax=None, *, n_features: int = SHOWN) -> ExplanationDisplay:
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None: a new figure.
        n_features : int, default=10
            How many at most.

        Returns
        -------
        self : ExplanationDisplay
        """
        e = self.explanation
        movers = e.largest(n_features)
        if not len(movers):
            raise ValueError(f"No attack on row {e.row} is known: there are no moves to draw.")
        ax = _axes(ax, (8.0, 1.4 + 0.28 * len(movers)))
        moves, rows = e.scaled_change[movers], np.arange(len(movers))
        self.bars_ = ax.barh(rows, moves, color=[COLORS[0] if move > 0 else COLORS[1] for move in moves])
        points_each = 72 * ax.figure.get_figheight() * ax.get_position().height / len(movers)
        size = min(9.0, 0.8 * points_each)  # so that the lines of a small picture do not meet
        ax.set_yticks(rows, [short(e.features[k]) for k in movers], fontsize=size)
        right = ax.secondary_yaxis("right")
        right.set_yticks(rows, [f"{e.before[k]:.4g} → {e.before[k] + e.change[k]:.4g}" for k in movers], fontsize=size)
        right.tick_params(length=0)
        ax.set_ylim(len(movers) - 0.4, -0.6)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.xaxis.get_major_locator().set_params(nbins=3)
        ax.set_xlabel("Change" + (" in units of the feature scale" if (e.scale[e.scale > 0] != 1).any() else ""))
        labels = f"{short(e.prediction, 24)} becomes {short(e.runner_up, 24)}"
        ax.set_title(f"Row {e.row}: {labels} at {_norm_name(e.norm)} {round_up(e.attack_radius)}", wrap=True)
        self.ax_, self.figure_ = ax, ax.figure
        return self


# -- how Gaussian the latents are --------------------------------------------------------------------------------------


class GaussianityDisplay:
    """Mahalanobis distances of the points of each class against those that a Gaussian law would give: a Q-Q plot.

    Points of a Gaussian class lie on the diagonal, within the band. Above it on the right: heavier tails, or outliers. Build it
    with :meth:`from_data` or :meth:`from_estimator`.

    Parameters
    ----------
    distances : list of ndarrays of shape (n_k,)
        Of each class, ascending: from its own mean, in its own covariance (divisor n - 1).
    d : int
        Dimensions.
    classes : array-like of shape (n_classes,), default=None
        For the legend.

    Attributes
    ----------
    expected : list of ndarrays of shape (n_k,)
        Medians of the ordered distances under a Gaussian law whose mean and covariance are estimated from the same points:
        ``n D^2 / (n - 1)^2`` has the law Beta(d/2, (n - d - 1)/2), not chi-square (theory 4.6).
    lower, upper : lists of ndarrays of shape (n_k,)
        The pointwise 95 % band of each ordered distance, as if the points were independent; they hold each other within it a
        little more tightly.
    lines_ : list of matplotlib Line2D
        One per class.
    bands_ : list of matplotlib PolyCollection
    diagonal_ : matplotlib Line2D
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    skcert.diagnostics.mardia_test : The same question, answered by p-values.

    Examples
    --------
    >>> from skcert.datasets import make_circle_mixture
    >>> from skcert.plotting import GaussianityDisplay
    >>> mixture = make_circle_mixture(300, n_classes=3, random_state=0)
    >>> display = GaussianityDisplay.from_data(mixture.X, mixture.y)
    >>> [line.get_label() for line in display.lines_]
    ['0', '1', '2']
    """

    def __init__(self, *, distances, d, classes=None):
        self.distances = distances
        self.d = d
        self.classes = classes
        self.lower, self.expected, self.upper = [], [], []
        for each in distances:
            n = len(each)
            ranks = np.arange(1, n + 1)
            low, middle, high = (distance_quantiles(beta.ppf(q, ranks, n + 1 - ranks), n, d) for q in (0.025, 0.5, 0.975))
            self.lower.append(low)
            self.expected.append(middle)
            self.upper.append(high)

    @classmethod
    def from_data(cls, X, y=None, *, ax=None) -> GaussianityDisplay:
        """Draw the distances of latents.

        Parameters
        ----------
        X : array-like of shape (n_samples, d)
        y : array-like of shape (n_samples,), default=None
            Labels: one line per class. None: one line.
        ax : matplotlib Axes, default=None
            None: a new figure.

        Returns
        -------
        display : GaussianityDisplay

        Raises
        ------
        ValueError
            As :func:`skcert.diagnostics.mardia_test`: too few points, constant or collinear columns.
        """
        classes, distances = mahalanobis_distances(X, y)
        return cls(distances=distances, d=np.shape(X)[1], classes=classes).plot(ax)

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, ax=None) -> GaussianityDisplay:
        """Draw the distances of what the final classifier of a fitted pipeline sees.

        Parameters
        ----------
        estimator : fitted Pipeline, or classifier
            Its steps before the last transform X.
        X : array-like
            As the estimator's ``predict`` takes it.
        y : array-like of shape (n_samples,), default=None
            Labels: one line per class. None: one line.
        ax : matplotlib Axes, default=None
            None: a new figure.

        Returns
        -------
        display : GaussianityDisplay
        """
        deep = isinstance(estimator, Pipeline) and len(estimator.steps) > 1
        return cls.from_data(estimator[:-1].transform(X) if deep else X, y, ax=ax)

    def plot(self, ax=None) -> GaussianityDisplay:
        """Draw lines, bands and the diagonal.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None: a new figure.

        Returns
        -------
        display : GaussianityDisplay
            With ``ax_``, ``figure_``, ``lines_``, ``bands_`` and ``diagonal_``.
        """
        self.ax_ = _axes(ax, _size(len(self.distances)))
        self.figure_ = self.ax_.figure
        names = [None] if self.classes is None else [short(label, 24) for label in self.classes]
        self.lines_, self.bands_ = [], []
        for k, (found, expected) in enumerate(zip(self.distances, self.expected, strict=True)):
            color = COLORS[k % len(COLORS)]
            band = self.ax_.fill_between(expected, self.lower[k], self.upper[k], color=color, alpha=0.12, linewidth=0)
            style = {"color": color, "marker": MARKERS[k % len(MARKERS)], "markersize": 3, "linewidth": 1}
            self.bands_.append(band)
            self.lines_ += self.ax_.plot(expected, found, label=names[k], **style)
        ends = [min(each[0] for each in self.expected), max(each[-1] for each in self.expected)]
        (self.diagonal_,) = self.ax_.plot(ends, ends, color="0.3", linewidth=1, linestyle="--", zorder=1)
        self.ax_.set(
            xlabel=f"Mahalanobis distance expected of a Gaussian, d={self.d}",
            ylabel="Mahalanobis distance found",
        )
        self.ax_.spines[["top", "right"]].set_visible(False)
        if self.classes is not None:
            self.ax_.legend(title="class", **_legend_style(len(names)))
        return self


# -- training --------------------------------------------------------------------------------------------------------


class LossCurveDisplay:
    """The training of a :class:`skcert.LatentShaper`: its loss, and what held-out points reach, epoch by epoch.

    Parameters
    ----------
    history : dict of str to ndarray of shape (n_epochs,)
        The shaper's ``history_``.
    best_epoch : int
        The epoch whose network was kept, counted from 0.
    target_radius : float
        The l2 radius of the certified accuracy.

    Attributes
    ----------
    loss_line_, certified_line_, accuracy_line_ : matplotlib Line2D
    ax_ : matplotlib Axes
        Of the accuracies; the loss has an axis of its own on the right, ``loss_ax_``.
    loss_ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skcert import LatentShaper
    >>> from skcert.plotting import LossCurveDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> shaper = LatentShaper(hidden_layer_sizes=(8,), n_components=4, max_epochs=3, progress=False).fit(X, y)
    >>> LossCurveDisplay.from_estimator(shaper).ax_.get_xlabel()
    'epoch'
    """

    def __init__(self, *, history, best_epoch, target_radius):
        self.history = history
        self.best_epoch = best_epoch
        self.target_radius = target_radius

    @classmethod
    def from_estimator(cls, estimator, *, ax=None) -> LossCurveDisplay:
        """Draw the training of a fitted estimator.

        Parameters
        ----------
        estimator : fitted LatentShaper, CertifiedMarginClassifier, or Pipeline with one of them
            The last one in a pipeline.
        ax : matplotlib Axes, default=None
            None: a new figure.

        Returns
        -------
        display : LossCurveDisplay

        Raises
        ------
        ValueError
            There is none.
        """
        steps = [step for _, step in estimator.steps] if isinstance(estimator, Pipeline) else [estimator]
        found = [step for step in steps if isinstance(step, LatentShaper | CertifiedMarginClassifier)]
        if not found:
            raise ValueError(
                "Expected a LatentShaper, a CertifiedMarginClassifier, or a pipeline with one of them, got "
                f"{type(estimator).__name__}."
            )
        check_is_fitted(found[-1])
        shaper: Any = getattr(found[-1], "shaper_", found[-1])
        return cls(history=shaper.history_, best_epoch=shaper.best_epoch_, target_radius=shaper.target_radius_).plot(ax)

    def plot(self, ax=None) -> LossCurveDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None: a new figure.

        Returns
        -------
        display : LossCurveDisplay
        """
        self.ax_ = _axes(ax)
        self.figure_ = self.ax_.figure
        epochs = np.arange(1, len(self.history["loss"]) + 1)
        self.loss_ax_ = self.ax_.twinx()
        (self.loss_line_,) = self.loss_ax_.plot(epochs, self.history["loss"], color="0.55", linestyle=":", label="loss (right)")
        (self.accuracy_line_,) = self.ax_.plot(epochs, self.history["accuracy"], color=COLORS[1], label="accuracy")
        (self.certified_line_,) = self.ax_.plot(
            epochs, self.history["certified_accuracy"], color=COLORS[0], label=f"certified at {self.target_radius:.3g}"
        )
        kept = self.ax_.axvline(self.best_epoch + 1, color="0.8", linewidth=1, zorder=0, label="kept")
        self.ax_.set(xlabel="epoch", ylabel="share of held-out points", ylim=(0, 1.02))
        self.ax_.xaxis.get_major_locator().set_params(integer=True)
        self.loss_ax_.set_ylabel("loss on training points")
        lines = [self.certified_line_, self.accuracy_line_, self.loss_line_, kept]
        self.ax_.legend(lines, [line.get_label() for line in lines], loc="center right", frameon=False)
        return self
