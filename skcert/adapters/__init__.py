"""What skcert knows about estimators: one small function per exact type, and the registry they stand in.

A rule for a step returns how it carries a perturbation (:class:`~skcert.perturbations.AffineStep` or
:class:`~skcert.perturbations.LipschitzStep`); a rule for a classifier returns its scores as a discriminant
(:class:`~skcert.discriminants.Affine`, ``Quadratic`` or ``NearestEllipsoid``). A rule that cannot answer for this instance
raises :class:`Uncertifiable`, saying why and what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skcert.discriminants import Affine, NearestEllipsoid, Quadratic
from skcert.perturbations import AffineStep, LipschitzStep

__all__ = ["Uncertifiable", "discriminant_of", "perturbation_of", "register_discriminant", "register_perturbation"]

Discriminant = Affine | Quadratic | NearestEllipsoid
Carrier = AffineStep | LipschitzStep


class Uncertifiable(TypeError):
    """No certificate can be given for an estimator as it stands; the message says what would help."""


_STEPS: dict[type, Callable[[Any], Carrier]] = {}
_MODELS: dict[type, Callable[[Any], Discriminant]] = {}


def register_perturbation(type_: type, rule: Callable[[Any], Carrier]) -> None:
    """Teach skcert how a transformer carries a perturbation.

    Parameters
    ----------
    type_ : type
        The transformer's class. Subclasses are covered only as long as they override nothing but fitting.
    rule : callable
        Takes a fitted instance, returns an ``AffineStep`` (exact) or a ``LipschitzStep`` (l2, sound). Every call of
        ``certify`` compares an affine rule with the step's own ``transform`` on the points given.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator, TransformerMixin
    >>> from skcert import LipschitzStep, register_perturbation
    >>> class Tanh(TransformerMixin, BaseEstimator):
    ...     def fit(self, X, y=None):
    ...         return self
    ...     def transform(self, X):
    ...         return np.tanh(X)
    >>> register_perturbation(Tanh, lambda step: LipschitzStep(1.0))
    """
    _STEPS[type_] = rule


def register_discriminant(type_: type, rule: Callable[[Any], Discriminant]) -> None:
    """Teach skcert the scores of a classifier.

    Parameters
    ----------
    type_ : type
        The classifier's class. Subclasses are covered only as long as they override nothing but fitting.
    rule : callable
        Takes a fitted instance, returns its scores in the order of ``classes_``, for example ``Affine.exact(coef, intercept)``.
        Every call of ``certify`` compares their argmax with the classifier's own ``predict`` on the points given.

    Examples
    --------
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from skcert import Affine, register_discriminant
    >>> register_discriminant(RidgeClassifier, lambda model: Affine.exact(model.coef_, model.intercept_))
    """
    _MODELS[type_] = rule


def perturbation_of(step: Any) -> Carrier:
    """How a fitted transformer carries a perturbation."""
    return _find(_STEPS, step, "step", "register_perturbation")(step)


def discriminant_of(model: Any) -> Discriminant:
    """The scores of a fitted classifier."""
    return _find(_MODELS, model, "classifier", "register_discriminant")(model)


def _find(registry: dict[type, Any], estimator: Any, kind: str, register: str) -> Any:
    own = type(estimator)
    for position, ancestor in enumerate(own.__mro__):
        if ancestor not in registry:
            continue
        changed = sorted({name for below in own.__mro__[:position] for name in vars(below) if _overrides(name, ancestor, own)})
        if not changed:
            return registry[ancestor]
        raise Uncertifiable(
            f"{own.__name__} is a {ancestor.__name__} that overrides {', '.join(changed)}: the rule for {ancestor.__name__} "
            f"may not hold for it. Register one of its own with skcert.{register}({own.__name__}, rule)."
        )
    if hasattr(estimator, "best_estimator_"):
        raise Uncertifiable(f"A {own.__name__} is not certified itself: pass its best_estimator_.")
    if hasattr(estimator, "steps"):
        raise Uncertifiable(f"A {own.__name__} inside a pipeline is not looked into: list its steps in the outer pipeline.")
    known = ", ".join(sorted(t.__name__ for t in registry))
    raise Uncertifiable(
        f"No rule for the {kind} {own.__name__}: expected one of {known}. Register a rule with "
        f"skcert.{register}({own.__name__}, rule)."
    )


def _overrides(name: str, ancestor: type, own: type) -> bool:
    """Whether ``name`` changes what the ancestor does after fitting."""
    if (name.startswith("__") and name != "__getattribute__") or name.startswith(("fit", "set_", "_abc_", "_sklearn")):
        return False
    inherited = getattr(ancestor, name, None)
    return callable(inherited) and getattr(own, name) is not inherited


from skcert.adapters import models, steps  # noqa: E402, F401  (they fill the registry)
