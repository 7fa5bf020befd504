"""What skcert knows about estimators: one small function per exact type, and the registry they stand in.

A rule for a step returns how it carries a perturbation (one of the steps of :mod:`skcert.perturbations`, or several in a
tuple, in order; an empty one changes nothing); a rule for a classifier returns its scores as a discriminant
(:class:`~skcert.discriminants.Affine`, ``Quadratic`` or ``NearestEllipsoid``). A rule that cannot answer for this instance
raises :class:`Uncertifiable`, saying why and what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import isabstract
from typing import Any

from skcert._affine import Affine as Head
from skcert.backends.arrays import hosted
from skcert.discriminants import Affine, LogSumExp, NearestEllipsoid, Quadratic
from skcert.perturbations import Carrier, Uncertifiable

__all__ = ["Uncertifiable", "discriminant_of", "perturbation_of", "register_discriminant", "register_perturbation"]

Discriminant = Affine | Quadratic | NearestEllipsoid | LogSumExp


_STEPS: dict[type, Callable[[Any], Carrier | tuple[Carrier, ...]]] = {}
_MODELS: dict[type, Callable[[Any], Discriminant]] = {}


def register_perturbation(type_: type, rule: Callable[[Any], Carrier | tuple[Carrier, ...]]) -> None:
    """Teach skcert how a transformer carries a perturbation.

    Parameters
    ----------
    type_ : type
        The transformer's class. Subclasses are covered only as long as they override nothing but fitting.
    rule : callable
        Takes a fitted instance, returns an ``AffineStep`` (exact) or a ``LipschitzStep`` (l2, sound), or several in a tuple,
        in order. Every call of ``certify`` compares affine rules with the step's own ``transform`` on the points given; a
        ``LipschitzStep``, and what stands before it in a tuple, is taken at its word.

    Raises
    ------
    TypeError
        ``type_`` is no class, or ``rule`` cannot be called.

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
    _check_registered(type_, rule)
    _STEPS[type_] = rule


def register_discriminant(type_: type, rule: Callable[[Any], Discriminant]) -> None:
    """Teach skcert the scores of a classifier.

    Parameters
    ----------
    type_ : type
        The classifier's class. Subclasses are covered only as long as they override nothing but fitting.
    rule : callable
        Takes a fitted instance, returns its scores in the order of ``classes_``, for example ``Affine(coef, intercept)``.
        Every call of ``certify`` compares their argmax with the classifier's own ``predict`` on the points given.

    Raises
    ------
    TypeError
        ``type_`` is no class, or ``rule`` cannot be called.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator, ClassifierMixin
    >>> from skcert import Affine, register_discriminant
    >>> class Threshold(ClassifierMixin, BaseEstimator):
    ...     def fit(self, X, y):
    ...         self.classes_, self.at_ = np.unique(y), X[:, 0].mean()
    ...         return self
    ...     def predict(self, X):
    ...         return self.classes_[(X[:, 0] > self.at_).astype(int)]
    >>> register_discriminant(Threshold, lambda model: Affine([1.0, 0.0], -model.at_))
    """
    _check_registered(type_, rule)
    _MODELS[type_] = rule


def _check_registered(type_: Any, rule: Any) -> None:
    if not isinstance(type_, type):
        plain = type_ is None or type(type_).__module__ == "builtins"
        got = repr(type_) if plain else f"an instance of {type(type_).__name__}: pass the class"
        raise TypeError(f"type_ must be a class of estimators, got {got}.")
    if not callable(rule):
        raise TypeError(f"rule must be a function of a fitted {type_.__name__}, got {rule!r}.")


def perturbation_of(step: Any) -> Carrier | tuple[Carrier, ...]:
    """How a fitted transformer carries a perturbation."""
    return _find(_STEPS, step, "step", "register_perturbation")(step)


def discriminant_of(model: Any) -> Discriminant:
    """The scores of a fitted classifier."""
    found = _find(_MODELS, model, "classifier", "register_discriminant")(hosted(model))
    found = found._discriminant if isinstance(found, Head) else found
    if not isinstance(found, Discriminant):
        raise TypeError(
            f"The rule registered for {type(model).__name__} returned a {type(found).__name__}: expected its scores, as "
            "skcert.Affine(coef, intercept)."
        )
    return found


def inherits(estimator: Any, ancestor: type) -> bool:
    """Whether an instance of a subclass of ``ancestor`` overrides nothing of it but fitting; Uncertifiable if it does."""
    changed = _changed(type(estimator), ancestor)
    if changed:
        raise Uncertifiable(
            f"{type(estimator).__name__} is a {ancestor.__name__} that overrides {', '.join(changed)}: what holds for "
            f"{ancestor.__name__} may not hold for it."
        )
    return True


def _find(registry: dict[type, Any], estimator: Any, kind: str, register: str) -> Any:
    own = type(estimator)
    for ancestor in own.__mro__:
        if ancestor not in registry:
            continue
        changed = _changed(own, ancestor)
        if not changed:
            return registry[ancestor]
        raise Uncertifiable(
            f"{own.__name__} is a {ancestor.__name__} that overrides {', '.join(changed)}: the rule for {ancestor.__name__} "
            f"may not hold for it. Register one of its own with skcert.{register}({own.__name__}, rule)."
        )
    known = ", ".join(sorted(t.__name__ + (" and its subclasses" if isabstract(t) else "") for t in registry))
    votes = " Or let it vote under noise: RandomizedSmoothingClassifier(classifier, sigma=...)." if kind == "classifier" else ""
    raise Uncertifiable(
        f"No rule for the {kind} {own.__name__}: expected one of {known}. Register a rule with "
        f"skcert.{register}({own.__name__}, rule).{votes}"
    )


def _changed(own: type, ancestor: type) -> list[str]:
    """Names by which a subclass changes what its ancestor does after fitting."""
    below = own.__mro__[: own.__mro__.index(ancestor)]
    return sorted({name for each in below for name in vars(each) if _overrides(name, ancestor, own)})


def _overrides(name: str, ancestor: type, own: type) -> bool:
    """Whether ``name`` changes what the ancestor does after fitting."""
    if (name.startswith("__") and name != "__getattribute__") or name.startswith(("fit", "set_", "_abc_", "_sklearn")):
        return False
    inherited = getattr(ancestor, name, None)
    # what the ancestor leaves to its subclasses (SelectorMixin its mask) is not overridden by being written
    return callable(inherited) and not getattr(inherited, "__isabstractmethod__", False) and getattr(own, name) is not inherited


from skcert.adapters import composites, encoders, models, shaping, steps, tables  # noqa: E402, F401  (they fill the registry)
