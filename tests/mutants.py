"""One-line mistakes, each applied to a copy of the package, each of which the suite must notice: ``make mutants``.

A mutant is killed when a test fails on it that passes on the code as it is. What killed it last time is tried first
(``killers.json``), and it survives only after every test has passed. Run with names of mutants as arguments to try only those.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from queue import Queue

import pytest
from joblib import cpu_count

ROOT = Path(__file__).parent.parent

#: name -> (file under skcert/, line as it is, line as it must not be)
MUTANTS = {
    "drop the factor 2 of the margin": ("geometry/quadric.py", "radius = shrink(margin / (slope + np.sqrt(np.maximum(inside, 0))))", "radius = shrink(2 * margin / (slope + np.sqrt(np.maximum(inside, 0))))"),
    "return the primal value": ("geometry/quadric.py", "return Distance(np.minimum(radius, attack), attack, s)", "return Distance(np.where(np.isfinite(attack), attack, radius), attack, s)"),
    "forget the rounding of the dual": ("geometry/quadric.py", "radius = shrink(np.minimum(nominal, safe), 16)", "radius = grow(nominal, 16)"),
    "do not lower the spectrum by its error": ("boundaries/quadratic.py", "spectra = [quadric.Spectrum.of(v - slip)", "spectra = [quadric.Spectrum.of(v + 1e5 * slip)"),
    "declare every rival out of reach when W > 0": ("geometry/quadric.py", "return bowl & (grow(depth, squares.shape[1] + 16) ** 2 < shrink(margin))", "return bowl & (margin > 0)"),
    "ignore the sign of the curvature": ("geometry/quadric.py", "    bend = curvature * margin\n    # c^2", "    bend = np.abs(curvature) * margin\n    # c^2"),
    "take the larger root": ("geometry/quadric.py", "radius = shrink(margin / (slope + np.sqrt(np.maximum(inside, 0))))", "radius = shrink(margin / (slope - np.sqrt(np.maximum(inside, 0))))"),
    "swap rival and winner in the curvature": ("boundaries/quadratic.py", "W = d.precisions[j] - d.precisions[i]\n        doubt", "W = d.precisions[i] - d.precisions[j]\n        doubt"),
    "forget to mirror the pair": ("boundaries/quadratic.py", "flip, basis, p = int(i > j), pair.basis, self.pullback", "flip, basis, p = 0, pair.basis, self.pullback"),
    "prune by the largest bound": ("boundaries/quadratic.py", "order = bound.argsort(axis=1, kind=\"stable\")", "order = (-np.where(np.isfinite(bound), bound, -1)).argsort(axis=1, kind=\"stable\")[:, :2]"),
    "stop after the first rival": ("boundaries/quadratic.py", "while turn < K:", "while turn < 1:"),
    "use lambda_max for lambda_min": ("boundaries/quadratic.py", "bends = low[winner]", "bends = high[winner]"),
    "mix up the order of Weyl's bound": ("boundaries/quadratic.py", "bottom[None] - top[:, None]", "top[None] - bottom[:, None]"),
    "forget the dual norm": ("geometry/affine.py", "ord=DUAL_ORDER[norm], axis=-1)", "ord=norm, axis=-1)"),
    "halve the distance to a hyperplane's slope": ("boundaries/affine.py", "length = affine.dual_norms(slopes[i:] - slopes[i], norm)", "length = affine.dual_norms(slopes[i:] - slopes[i], norm) / 2"),
    "take the farthest hyperplane": ("boundaries/affine.py", "nearest = ratio.min(axis=0)", "nearest = np.where(np.isinf(ratio), -1, ratio).max(axis=0)"),
    "parallel rivals are infinitely far even on a tie": ("boundaries/affine.py", "np.where(margins[never] > 0, np.inf, 0.0)", "np.inf"),
    "do not pull slopes back to the input": ("boundaries/affine.py", "slopes = self.coef if scale is None else self.coef * scale", "slopes = d.coef if d.coef.shape == self.coef.shape else self.coef"),
    "pull back by the inverse scale": ("adapters/steps.py", "AffineStep(middle, 1 / divisor,", "AffineStep(middle, divisor,"),
    "forget whitening": ("adapters/steps.py", "    if not step.whiten:", "    if True:"),
    "drop the slant of a pulled-back curvature": ("perturbations.py", "return self.factor.T @ (W[:, None] * self.factor if W.ndim == 1 else W @ self.factor)", "return W[: self.factor.shape[1], : self.factor.shape[1]] if W.ndim == 2 else np.diag(W)[: self.factor.shape[1], : self.factor.shape[1]]"),
    "compose steps in the wrong order": ("routes.py", "made = step if last is None else last.then(step)", "made = step if last is None or len(last.offset) != step.n_inputs or last.n_inputs != len(step.offset) else step.then(last)"),
    "multiply by the Lipschitz constant": ("routes.py", "shrink(radius / factor)", "shrink(radius * factor)"),
    "forget the steps before a Lipschitz one": ("routes.py", "constant * (1.0 if step is None else step.stretch(norm, after))", "constant"),
    "skip the check of the folded map": ("perturbations.py", "return not bool(apart.any())", "return True"),
    "skip the check of the predictions": ("_certify.py", "        if wrong.any():", "        if False:"),
    "accept any subclass": ("adapters/__init__.py", "        if not changed:", "        if True:"),
    "drop log det from the score": ("_gmm.py", "2 * log_priors - log_dets,", "2 * log_priors,"),
    "halve the priors' weight": ("_gmm.py", "2 * log_priors - log_dets,", "log_priors - log_dets,"),
    "divide covariances by n - 1": ("_gmm.py", "estimation.regularise(m.scatter(c) / n,", "estimation.regularise(m.scatter(c) / (n - 1),"),
    "Ledoit-Wolf without the square": ("estimation.py", "beta = min((fourth / n - square) / (d * n), delta)", "beta = min((fourth / n) / (d * n), delta)"),
    "merge moments about different shifts": ("estimation.py", "return self.second[k] - self.count[k] * np.outer(m, m)", "return self.second[k]"),
    "choose the least robust c": ("estimation.py", "return float(candidates[order[-1]])", "return float(candidates[order[0]])"),
    "half the lead without the half": ("boundaries/ellipsoid.py", "radius = np.where(inside == 1, np.minimum(nearest, (nearest - own) / 2), (nearest - own) / 2)", "radius = nearest - own"),
    "a tie of ellipsoids is not a tie": ("boundaries/ellipsoid.py", "nearest = np.where(side[at, rival] == -1, rivals[at, rival], 0.0)", "nearest = np.abs(rivals[at, rival])"),
    "certified accuracy counts wrong points": ("_certificate.py", "right = np.sort(radius[prediction == y])", "right = np.sort(radius)"),
    "certified accuracy is strict": ("_certificate.py", 'side="left"', 'side="right"'),
    "round printed radii to nearest": ("_printing.py", "return _rounded(value, digits, ROUND_FLOOR)", "return _rounded(value, digits, ROUND_CEILING)"),
    "do not verify the attack": ("_certify.py", "changed = self._predict_from(like(X, moved), start) != prediction[pending]", "changed = np.ones(len(pending), dtype=bool)"),
    "lengthen the attack by nothing": ("_certify.py", "STRETCHES = (0.0, 1e-9, 1e-7, 5e-7, 5e-6, 5e-5, 5e-4, 5e-3, 0.05, 0.5)", "STRETCHES = (-1e-6,)"),
    "forget the error of the coefficients": ("discriminants.py", "coef_error = grow(lost + wrong, d + 8)", "coef_error = 0 * lengths"),
    "forget the error of the scores": ("discriminants.py", "return grow(score + rounding + of_class(self.constant_error, k), d + 8), grow(slope, d + 8), rounding, lengths", "return 0 * score, grow(slope, d + 8), rounding, lengths"),
    "squares of float16 do not overflow": ("boundaries/quadratic.py", "room = self._edge - 2 * grow(lengths, Z.shape[1] + 8)", "room = 10 * self._edge - lengths"),
    "whole numbers of any size are exact": ("_points.py", "held = np.array([kinds[k].kind in \"iu\" for k in at]) & (reach <= WHOLE)", "held = np.array([kinds[k].kind in \"iu\" for k in at])"),
    "forget that points lose digits": ("_passages.py", "shrink(np.maximum(shrink(found.radius) - 2 * lost, 0))", "found.radius"),
    "whole numbers are tried as real ones only": ("testing.py", "    if whole.any():  # also where", "    if False:  # also where"),
    "a scale by position has no columns": ("_certificate.py", "if columns[0] != columns[1] else []", "if False else []"),
    "share one tolerance between features of different units": ("perturbations.py", "/ np.where(room > TINY, room, 1)\n", "/ room.max()\n"),
    "ignore the feature scale": ("_passages.py", "route.narrow(norm, None if (whole == 1).all() else whole)", "route.narrow(norm, None)"),
    "compare scores by signs alone": ("perturbations.py", "return rng.uniform(0.5, 1.0, n) * rng.choice([-1.0, 1.0], n)", "return np.ones(n)"),
    "believe any scores of the model": ("boundaries/affine.py", "if not (np.abs(with_scores - (X @ slope + constant)) <= 4 * len(scores) * lost).all():", "if False:"),
    "forget what was cancelled before the scores": ("boundaries/affine.py", "return grow(2 * lost, features + 8)", "return 0 * reach"),
    "drop the offset of the fold from the scores": ("boundaries/affine.py", "self.intercept = d.intercept + d.coef @ (fold.offset - d.center)", "self.intercept = d.intercept - d.coef @ d.center"),
    "let encoded columns move": ("routes.py", "frozen = self.frozen | self._sources(np.ones(before, dtype=bool))", "frozen = self.frozen"),
    "let encoded columns of a part move": ("routes.py", "frozen[at[part.frozen]] = True", "pass"),
    "let missing cells move": ("perturbations.py", "np.where(missing, 0.0, 1.0), fill)", "np.ones(d), fill)"),
    "fill every gap with zero": ("perturbations.py", "fill = np.where(missing, self.values, 0.0)[self.kept]", "fill = np.zeros(len(self.kept))"),
    "forget the weight of a branch": ("routes.py", "if branch.weight != 1.0:", "if False:"),
    "read columns by position whatever their names": ("routes.py", "if branch.labels is not None and labels is not None:", "if False:"),
    "forget that a column is centred twice": ("routes.py", "offset = piece.offset + piece.matrix @ moved", "offset = piece.offset"),
    "a clip moves less than what comes to it": ("routes.py", "scale = _reach(step, norm)", "scale = _reach(step, norm) / 2"),
    "a clip does not mix features": ("routes.py", "factors.append(_in_units(step, scale).stretch(norm, norm))", "factors.append(1.0)"),
    "a chord is an arc": ("perturbations.py", "turned = share * np.sqrt(1 - share**2 / 4) if", "turned = share if"),
    "normalise as if rows had length one": ("perturbations.py", "np.minimum(lengths * turned, room)", "turned"),
    "a ball may contain the origin": ("perturbations.py", "np.minimum(lengths * turned, room)", "lengths * turned"),
    "stretch linf as if it were l2": ("perturbations.py", "np.sqrt(d_in if p == np.inf else 1)", "1.0"),
    "take a number for a gap": ("adapters/tables.py", "if not _means_missing(step.missing_values):\n        raise", "if False:\n        raise"),
    "forget the last of the binary score": ("adapters/models.py", "slope, offset = -a * coef, -(a * intercept + b)", "slope, offset = -a * coef, -a * intercept"),
    "QDA without its determinant": ("adapters/models.py", "return 2 * log_priors - total,", "return 2 * log_priors,"),
    "cut no discriminant component": ("adapters/steps.py", "[:, : step._max_components]", "[:, :]"),
    "look into no search": ("adapters/composites.py", 'return hasattr(estimator, "refit")', "return False"),
    "explain in scaled units what is measured in others": ("_explanation.py", "return np.nan_to_num(self.after - self.before)", "return np.nan_to_num(self.after - self.before) / np.where(self.scale > 0, self.scale, 1)"),
    "forget that predict rounds": ("boundaries/affine.py", "share = gamma(d.n_features + 12, unit)", "share = 0.0"),
    "forget that predict rounds away from the point": ("discriminants.py", "return grow(gamma(2 * self.n_features + 16, unit) * growth)", "return 0 * growth"),
    "take float32 for float64": ("geometry/rounding.py", "return max((UNITS.get(np.dtype(kind), UNIT) for kind in kinds), default=UNIT)", "return UNIT"),
    "forget the type of the points of a step": ("perturbations.py", "return unit_of(made, *self.kinds, *(() if converted else (given,)))", "return unit_of(made, *self.kinds)"),
    "numbers of 16 bits make float64 of float32": ("adapters/models.py", "return unit_of(np.result_type(given, model.coef_.dtype), np.result_type(given, np.asarray(model.intercept_).dtype))", "return unit_of(given)"),
    "bounds of a clip are exact in every type": ("routes.py", "else grow(before + bend.slip)", "else before"),
    "every type holds every coefficient": ("perturbations.py", "kind.smallest_subnormal / smaller, 0.0)", "0 * smaller, 0.0)"),
    "let steps write into the points": ("_points.py", "own_copy(X) if may_write(estimator) else X", "X"),
    "only the step itself may write": ("_fitted.py", "not _is_own(part) for part in parts_of(estimator)", "not _is_own(part) for part in [estimator]"),
    "a model that changed is believed": ("_fitted.py", "            if found != held:", "            if False:"),
    "a rule of our own that changed is believed": ("_certify.py", "discriminant_of(self._model) is not self._rule:", "False:"),
    "what overflows contradicts": ("_certify.py", "beyond[at] = (found.winner == 0) & (found.radius > lost[at])", "beyond[at] = found.winner == 0"),
    "a network is given exact numbers": ("routes.py", "here = given[place]", "here = piece.apply(points)"),
    "forget what the steps lose": ("routes.py", "return step.computed(unit) if unit else step", "return step"),
    "lose nothing in the step before": ("perturbations.py", "both, constants = _composed(B, lost), _times(B, constant)", "both, constants = _composed(B, 0 * lost), _times(B, 0 * constant)"),
    "forget the squares of NearestCentroid": ("adapters/models.py", "return replace(rule, squared=(np.ones(centroids.shape[1]), row_norms(centroids).max()))", "return rule"),
    "believe that QDA computes as we do": ("adapters/models.py", "rounding=lost, constant_error=error, growth=growth, bulk=bulk)", "rounding=lost, constant_error=error)"),
    "forget that scores overflow": ("discriminants.py", "far = np.flatnonzero(~(scores.max(axis=1) > -np.inf))", "far = np.arange(0)"),
    "choose a nu for every component": ("geometry/mixture.py", "total = shares.sum(axis=1)", "total = shares.max(axis=1)"),
    "take a score for a log density": ("geometry/mixture.py", "gamma(8) * (np.abs(heights) + lost)) / scale", "gamma(8) * (np.abs(heights) + lost))"),
    "forget the multiplier of a tangent": ("geometry/mixture.py", "return self.margin - grow(depth, self.slopes.shape[1] + 16), np.maximum(bend, 0), s", "return self.margin - grow(depth, self.slopes.shape[1] + 16), 0 * bend, s"),
    "forget the errors of slopes of a mixture": ("geometry/mixture.py", "errors = 2 * np.stack([rival.error for rival in rivals], axis=1)", "errors = 0 * np.stack([rival.error for rival in rivals], axis=1)"),
    "forget the error of an eigenbasis of its own": ("geometry/mixture.py", "return values - error[:, None], V,", "return values, V,"),
    "turn the sign of the entropy": ("boundaries/mixture.py", "entropy = -scale * xlogy(theta, theta).sum(axis=1)", "entropy = scale * xlogy(theta, theta).sum(axis=1)"),
    "count the entropy twice": ("boundaries/mixture.py", "height = (theta * scores).sum(axis=1) + entropy", "height = (theta * scores).sum(axis=1) + 2 * entropy"),
    "leave theta as it is": ("boundaries/mixture.py", "return np.nan_to_num(shares / shares.sum(axis=1, keepdims=True))", "return np.nan_to_num(shares)"),
    "bound a mixture by lambda_max": ("boundaries/mixture.py", "self._low = self._along_ball(*self._bends(exact=not self._closely))[0]", "self._low = self._along_ball(*self._bends(exact=not self._closely))[1]"),
    "meet the own components as rivals": ("boundaries/mixture.py", "for c in self.members[j]:\n            margin, g, error = self._rival(batch, at, i, c, side)\n            h, values", "for c in self.members[i]:\n            margin, g, error = self._rival(batch, at, i, c, side)\n            h, values"),
    "forget nu in the other norms": ("boundaries/mixture.py", "self._elsewhere(margin + logs[:, k] if len(parts) > 1 else margin,", "self._elsewhere(margin,"),
    "an l2 ball is as wide in linf": ("boundaries/mixture.py", "shrink(found / self._wide)", "found"),
    "the box is no larger than the ball": ("boundaries/quadratic.py", "return np.where(low > 0, low, n * low), n * np.maximum(high, 0)", "return low, n * np.maximum(high, 0)"),
    "forget the errors of shared curvatures": ("boundaries/mixture.py", "values, vectors, turn = eigenbases((W + np.swapaxes(W, 1, 2)) / 2, slip)", "values, vectors, turn = eigenbases((W + np.swapaxes(W, 1, 2)) / 2, 0 * slip)"),
    "forget the cosine between the grid points": ("lipschitz/operators.py", "bound = min((best + rounding) / (seen - 1e-12),", "bound = min((best + rounding) * 1.0,"),
    "ignore the stride's blocks": ("lipschitz/operators.py", "    if (strides > 1).any():", "    if False and (strides > 1).any():"),
    "sum only the diagonal of the self-correlation": ("lipschitz/operators.py", "[np.abs(part).sum(axis=0) for part in correlation.values()]", "[np.abs(np.diag(part)) for part in correlation.values()]"),
    "windows of a pool do not overlap": ("lipschitz/operators.py", "return max(1, min(n_outputs, -(-kernel // (stride // math.gcd(stride, dilation)))))", "return 1"),
    "GELU is 1-Lipschitz": ("lipschitz/layers.py", "GELU, GELU_TANH, SILU, MISH = 1.12905,", "GELU, GELU_TANH, SILU, MISH = 1.0,"),
    "the variance is the deviation": ("lipschitz/layers.py", "return grow(np.abs(weight) / np.sqrt(as_array(layer.running_var) + layer.eps))", "return grow(np.abs(weight) / (as_array(layer.running_var) + layer.eps))"),
    "a sum is as steep as its steepest term": ("lipschitz/product.py", "return terms[0] if len(terms) == 1 else float(grow(sum(terms)))", "return max(terms)"),
    "squares of a concatenation do not add up": ("lipschitz/product.py", "return float(grow(math.sqrt(sum(squares)), 4 * len(squares) + 8))", "return float(grow(math.sqrt(max(squares))))"),
    "work in place goes unnoticed": ("lipschitz/product.py", "        if not written:", "        if True:"),
    "memory in tuples goes unnoticed": ("lipschitz/network.py", "for part in parts for tensor in tensors_in(part)] if isinstance(parts, (tuple, list)) else []", "for part in parts for tensor in tensors_in(part)] if False else []"),
    "h += x is h + x": ("lipschitz/network.py", 'setattr(_Value, f"__{_name}__", _recorded(_name))', "pass"),
    "inference mode counts no changes": ("lipschitz/network.py", "with torch.inference_mode(False), torch.no_grad():  # inference", "with torch.no_grad():  # inference"),
    "a contraction may write elsewhere": ("lipschitz/product.py", "if not known or len(read) != 1 or not", "if not known or not"),
    "only what torch counts is written": ("lipschitz/network.py", "if not _same_numbers(tensor, old)]", "if False]"),
    "bits are numbers": ("lipschitz/product.py", "return len(dtypes) == 1 and dtypes <= set(FLOATS)", "return True"),
    "settings as they are at the end": ("lipschitz/network.py", 'node.meta["module"] = _as_it_is(self.root.get_submodule(target))', 'node.meta["module"] = self.root.get_submodule(target)'),
    "alpha is everybody's": ("lipschitz/product.py", '{"rsub": [-alpha, 1.0],', '{"rsub": [1.0, -alpha],'),
    "unknown arguments do not matter": ("lipschitz/calls.py", "if key not in parameters and key not in _HARMLESS and not", "if False and not"),
    "a function is what its name says": ("lipschitz/calls.py", "    return _TORCH.get(target)\n", '    return _plain(getattr(target, "__name__", ""))\n'),
    "an operator is what its name says": ("lipschitz/calls.py", "if getattr(torch.ops.aten, name, None) is packet else None", "if True else None"),
    "global hooks go unnoticed": ("lipschitz/network.py", "    if any(hooks):", "    if False:"),
    "no steps of the power method": ("lipschitz/network.py", "_STEPS, _LENGTHS = 3,", "_STEPS, _LENGTHS = 1,"),
    "training mode goes unnoticed": ("lipschitz/layers.py", "if layer.training or layer.running_var is None:", "if layer.running_var is None:"),
    "instance norms remember in training mode": ("lipschitz/layers.py", "own = layer.training or not layer.track_running_stats", "own = not layer.track_running_stats"),
    "subclasses of tensors are tensors": ("lipschitz/product.py", "return bool(own) or subclassed or any", "return bool(own) or any"),
    "hooks go unnoticed": ("lipschitz/product.py", "any(getattr(module, hooks) for hooks in _HOOKS)", "False"),
    "rows beside a row do not matter": ("lipschitz/product.py", "    if not network.alone:", "    if False:"),
    "rows of a call may see each other": ("lipschitz/rows.py", "if not same(_row(other, row, n), _row(tensor, row, n)):", "if False:"),
    "results need no rows": ("lipschitz/rows.py", "if any(tensor.ndim == 0 or len(tensor) % n for tensor in before):", "if False:"),
    "calls are not looked at for rows": ("lipschitz/product.py", "            check_rows(network, node)\n", "            pass\n"),
    "what runs may be another program": ("lipschitz/product.py", "    if network.otherwise is not None:", "    if False:"),
    "operators may differ": ("lipschitz/programs.py", "if ours is None or theirs is None or ours.operator is not theirs.operator:", "if ours is None or theirs is None:"),
    "factors may grow with the batch": ("lipschitz/programs.py", 'if type(one) is int and type(other) is int and "int" in kind:', "if type(one) is int and type(other) is int:"),
    "constants may differ": ("lipschitz/programs.py", "return torch.equal(one, other)", "return True"),
    "rows need not be the first axis": ("lipschitz/programs.py", 'alike = self._scaled(*shapes) if one.place in self.needed else self.alike("int", *shapes)', 'alike = self.alike("int", *shapes)'),
    "constants as they are at the end": ("lipschitz/programs.py", "return tensor.clone() if tensor.is_inference() else tensor", "return tensor"),
    "only batches of two rows are run": ("lipschitz/network.py", "for n_rows in (network.n_rows, network.n_rows + 1, _MANY, 1):", "for n_rows in (network.n_rows,):"),
    "counters go unnoticed": ("lipschitz/network.py", "    if changed is not None:", "    if False:"),
    "buffers are not counted": ("lipschitz/network.py", "if value is not None}\n        found |=", "if False}\n        found |="),
    "replaced functions go unnoticed": ("lipschitz/network.py", "    if replaced:\n", "    if False:\n"),
    "a function is torch's wherever it was written": ("lipschitz/layers.py", "foreign = inspect.isfunction(now) and not", "foreign = False and not"),
    "methods before torch's go unnoticed": ("lipschitz/layers.py", "if new or name in known and", "if name in known and"),
    "the points themselves are not run": ("lipschitz/encoders.py", "        if network is not None:", "        if False:"),
    "every unit keeps its sign": ("lipschitz/local.py", "above, below = value > reach, value < -reach", "above, below = value > 0, value < 0"),
    "undecided units add nothing": ("lipschitz/local.py", "added.add_(_length(off) * _length(columns * (off > 0)).clamp(max=norm))", "added.add_(0 * _length(off))"),
    "local constants know no ball": ("lipschitz/local.py", "reached = np.minimum(radii, r / self._bounds(point, radii))", "reached = r / self._bounds(point, radii)"),
    "a window has one largest entry": ("lipschitz/local.py", "possible = possible.scatter(2, first, True)", "possible = torch.zeros_like(possible).scatter(2, first, True)"),
    "a local bound forgets the global one": ("lipschitz/local.py", "state.total = torch.minimum(state.total, _length(state.each)).clamp(max=call.cap)", "state.total = _length(state.each)"),
    "the radius behind an encoder is the one before it": ("routes.py", "constant = bend.constant if isinstance(bend, LipschitzStep) and bend.inward is None else 1.0", "constant = 1.0"),
    "what an encoder rounds is forgotten": ("routes.py", "radius = np.maximum(shrink(radius - stop.lost), 0)", "radius = np.maximum(shrink(radius), 0)"),
    "float64 is float32": ("embedding/precision.py", "        if precision == \"double\":", "        if False:"),
    "a latent is right by chance": ("lipschitz/encoders.py", "n_looks = math.ceil(LOOKS / embedder.n_features_out_)", "n_looks = 1"),
    "float32 is as good far away": ("routes.py", "radius = radius * (1 - FAR)", "radius = radius * 1"),
    "only sizes matter to interpolation": ("lipschitz/layers.py", "tuple(v if moves else 1 for", "tuple(round(v) if moves else 1 for"),
    "an estimate is a guarantee": ("_certify.py", 'guarantee="none" if estimated else "deterministic" if confidence == 1 else "probabilistic",', 'guarantee="deterministic",'),
    "an estimate reaches beyond its ball": ("lipschitz/clever.py", "return min(rho, margin / steepest) if steepest > 0 else rho", "return margin / steepest if steepest > 0 else np.inf"),
    "changed encoders go unnoticed": ("_certify.py", "    return all(check() for check in checks if check is not None)", "    return True"),
    "constants of other shapes are used": ("_certify.py", "if shape is not None and np.shape(X)[1:] != shape:", "if False:"),
    "the votes that certify select": ("smoothing/procedure.py", "    votes, total = counts[at, winner], counts.sum(axis=1)", "    winner = counts.argmax(axis=1)\n    votes, total = counts[at, winner], counts.sum(axis=1)"),
    "anytime by a bound for one look": ("smoothing/procedure.py", 'bound = anytime_bound if settings.stopping == "anytime" else clopper_pearson', "bound = clopper_pearson"),
    "the level counts twice": ("smoothing/procedure.py", "probability = bound(votes, total, settings.alpha)", "probability = bound(votes, total, 2 * settings.alpha)"),
    "evidence without its mean": ("smoothing/bounds.py", "votes * np.log(p) - b * np.log1p(-p)", "votes * np.log(p) - (b - 1) * np.log1p(-p) - 5 * np.log1p(-p)"),
    "no noise in the scores": ("smoothing/choice.py", "center, factor, decide = rule.scores(latents), sigma * noise_factor(slopes), _first", "center, factor, decide = rule.scores(latents), 0.5 * sigma * noise_factor(slopes), _first"),
    "noise before a step is noise behind it": ("boundaries/voted.py", "return shrink(radius / self.size) if self.size != 1 else radius", "return radius"),
    "a half is a majority": ("smoothing/bounds.py", "return np.where(probability > 0.5, sigma * norm.ppf", "return np.where(probability > 0.4, 0.01 + sigma * norm.ppf"),
    "all points have the same noise": ("embedding/noise.py", "return [seed, *more, *np.frombuffer(digest, dtype=np.uint32).tolist()]", "return [seed, *more]"),
    "means are exact": ("adapters/encoders.py", "rounding=lambda points, latents: np.full(len(points), error),", "rounding=lambda points, latents: np.zeros(len(points)),"),
    "means are exact along directions": ("embedding/noise.py", "chance = math.log(2 * len(directions) / alpha)", "chance = 0.0"),
    "means are flatter": ("embedding/noise.py", "return bound * math.sqrt(2 / math.pi) / sigma * (1 + 1e-12)", "return bound * math.sqrt(1 / math.pi) / sigma * (1 + 1e-12)"),
    "means of what is not bounded": ("embedding/noise.py", "return center + away * np.minimum(1.0, bound / np.maximum(length, np.finfo(float).tiny))", "return latents"),
    "a rule fitted on means meets their noise again": ("adapters/encoders.py", "step._noisy(n_samples, CHECKING).errors_along", "step._noisy(n_samples).errors_along"),
    "how far the means are apart does not count": ("embedding/noise.py", "beyond = directions @ (mean - self.center) - along / n", "beyond = 0 * along"),
    "points that a step has overwritten are certified": ("smoothing/choice.py", "estimator.predict(own_copy(X))", "estimator.predict(X)"),
    "noise goes by the last digits": ("embedding/noise.py", "cells = np.round(np.asarray(values, dtype=float) / (sigma * GRAIN)) + 0.0", "cells = np.asarray(values, dtype=float) + 0.0"),
    "a name stands for a column": ("_points.py", "frame.isetitem(int(at), values[:, at].astype(types[at]))", "frame[X.columns[at]] = values[:, at].astype(types[at])"),
    "the law of the other class": ("theory/localization.py", "(axes.T @ offset) / np.sqrt(weights), squares)[1]", "(axes.T @ offset), squares)[1]"),
    "the lower end of a law": ("theory/localization.py", "/ np.sqrt(weights), squares)[1]", "/ np.sqrt(weights), squares)[0] - 1e-6"),
    "expanded once": ("theory/localization.py", "inner + 2 * radii / math.sqrt(least)", "inner + radii / math.sqrt(least)"),
    "expanded along the longest axis": ("theory/localization.py", "2 * radii / math.sqrt(least)", "2 * radii / math.sqrt(float(np.linalg.eigvalsh(covariances[j])[-1]))"),
    "nothing is left to alias": ("theory/quadratic_forms.py", "step = 2 * math.pi / top", "step = 6 * math.pi / top"),
    "an infeasible shift": ("theory/existence.py", "return u * min(1.0, radius / length * (1 - 1e-15)) if length > 0 else u", "return u * 1.02"),
    "the wrong sign of the prior": ("theory/existence.py", "tau = math.log(priors[0] / priors[1])", "tau = math.log(priors[1] / priors[0])"),
    "shifts of one class only": ("theory/existence.py", "nearest_shift(apart, Covariance(middle), 2 * radius, norm)", "nearest_shift(apart, Covariance(middle), radius, norm)"),
    "the overlap is not squared": ("theory/existence.py", "math.exp(2 * min(log_overlap, 0.0))", "math.exp(min(log_overlap, 0.0))"),
    "the primal of the program": ("theory/existence.py", "value = float(dual @ pairs - priors @ np.maximum(covered.T @ dual - 1, 0.0))", "value = float(1.2 * found.fun)"),
    "a union bound without the radius": ("theory/existence.py", "margin = w @ means[i] + b - radius * dual_norms(w, norm)", "margin = w @ means[i] + b"),
    "one more miss is allowed": ("theory/existence.py", "upper = 1 - float(clopper_pearson(kept, n_samples, 1 - confidence))", "upper = 1 - kept / n_samples - 0.05"),
    "conflicts within four radii": ("theory/conflicts.py", "reach = np.float64(2 * radius) * unit", "reach = np.float64(4 * radius) * unit"),
    "the double cover is not halved": ("theory/conflicts.py", "cover = _matching(graph) / 2", "cover = _matching(graph)"),
    "a sample is the population": ("theory/conflicts.py", "risk -= math.sqrt(math.log(1 / (1 -", "risk -= 0 * math.sqrt(math.log(1 / (1 -"),
    "the divergence the other way round": ("theory/transfer.py", "divergence = rel_entr(middle, q) + rel_entr(1 - middle, 1 - q)", "divergence = rel_entr(q, middle) + rel_entr(1 - q, 1 - middle)"),
    "Pinsker without its half": ("theory/transfer.py", "pinsker, other = q - np.sqrt(kl / 2),", "pinsker, other = q - np.sqrt(kl / 4),"),
    "a band as narrow as an interval": ("theory/generalization.py", "math.sqrt(math.log((1 if one_sided else 2) / alpha) / (2 * n))", "math.sqrt(math.log((1 if one_sided else 2) / alpha) / (4 * n))"),
    "a tail without doubt": ("theory/generalization.py", "tail = np.array([[ndtr(-_distance_limit(k, n, level))", "tail = np.array([[ndtr(-k + 0 * _distance_limit(k, n, level))"),
    "a curve bounded point by point": ("theory/generalization.py", "largest = spread * math.sqrt((n - 1) / chi2.isf(1 - level / 2, n - 1))", "largest = spread"),
    "mirror the shift of diagonal classes": ("boundaries/quadratic.py", "shift = d.precisions[j] * between", "shift = d.precisions[i] * between"),
    "forget the scale of diagonal curvatures": ("boundaries/quadratic.py", "g, W = p.slopes(g), W * p.factor**2", "g, W = p.slopes(g), W * p.factor"),
    "forget the scale of diagonal slopes": ("boundaries/quadratic.py", "g, W = p.slopes(g), W * p.factor**2", "g, W = g, W * p.factor**2"),
    "raise the spectrum of diagonal classes": ("boundaries/quadratic.py", "quadric.Spectrum.of_rows(W - slip[:, None])", "quadric.Spectrum.of_rows(W + 1e5 * slip[:, None])"),
    "the largest eigenvalue of a row": ("geometry/quadric.py", "lowest = values.argmin(axis=1)", "lowest = values.argmax(axis=1)"),
    "bounds of diagonal classes the wrong way round": ("boundaries/quadratic.py", "low[i] = (bent - bent[i]).min(axis=1)", "low[i] = (bent[i] - bent).min(axis=1)"),
    "the farthest rival of a round": ("boundaries/quadratic.py", "closer = closer[np.argsort(-radius[closer], kind=\"stable\")]", "closer = closer[np.argsort(radius[closer], kind=\"stable\")]"),
    "the own slope of another class": ("boundaries/quadratic.py", "own = self._pulled(Z[rows], top)", "own = self._pulled(Z[rows], 0 * top)"),
    "short rows with the mirrored spectrum": ("boundaries/quadratic.py", "values[rows], slip[rows] = pair.spectra[int(a > b)].values, pair.slip", "values[rows], slip[rows] = pair.spectra[int(a < b)].values, pair.slip"),
    "a product by the rows there are": ("geometry/products.py", "    least = least_rows(d, m)\n", "    least = 1\n"),
    "small products by all threads' kernels": ("geometry/products.py", "    return BLOCK if m == 1 else min(BLOCK,", "    return 16 if m == 1 else min(16,"),
    "keep what has been read of a file": ("_certify.py", "                    release(X[some])\n", ""),
    "let go of what was changed in memory": ("_points.py", "X.mode in (\"r\", \"r+\")", "X.mode in (\"r\", \"r+\", \"c\")"),
    "radii rounded to float32 for tensors": ("backends/arrays.py", "made = xp.asarray(np.require(values, requirements=[\"C\", \"W\"]), device=device(X))", "made = xp.asarray(np.require(values.astype(np.float32) if values.dtype == np.float64 else values, requirements=[\"C\", \"W\"]), device=device(X))"),
    "a ray of length 0 where squares overflow": ("geometry/quadric.py", "(inside >= 0) & np.isfinite(inside) & (linear > 0)", "(inside >= 0) & (linear > 0)"),
    "a network known by its last layer": ("shaping/layers.py", "for layer in self.layers:  # rounded up", "for layer in self.layers[-1:]:  # rounded up"),
    "underflow in the constant of a network": ("shaping/layers.py", "total = max(float(grow(total * layer.constant)), SMALLEST)", "total = float(grow(total * layer.constant))"),
    "rounding of the last layer of a network alone": ("shaping/layers.py", "lost = grow(layer.constant * lost + sums)", "lost = grow(sums)"),
    "rounding of a network at one end": ("adapters/shaping.py", "lost = 2 * layers.rounding(points)", "lost = layers.rounding(points)"),
    "a network that changed is believed": ("adapters/shaping.py", "if (_lengths(layers.apply(points) - latents) > lost).any():", "if False:"),
    "the smaller of a pair twice": ("shaping/layers.py", "np.hstack([np.maximum(first, second), np.minimum(first, second)])", "np.hstack([np.minimum(first, second), np.minimum(first, second)])"),
    "weights orthogonal to float32 only": ("shaping/networks.py", "Layer(as_array(part.weight(torch.float64)),", "Layer(as_array(part.weight()),"),
    "minimise the coding rate reduction": ("shaping/training.py", "loss = self.iso * isotropy_penalty(Z, y) - coding_rate_reduction(Z, y, EPS)", "loss = self.iso * isotropy_penalty(Z, y) + coding_rate_reduction(Z, y, EPS)"),
    "class rates not weighted by their size": ("shaping/losses.py", "sum(len(part) / len(Z) * coding_rate(part, eps)", "sum(coding_rate(part, eps)"),
    "the head in the units of the training": ("_shaper.py", "Affine(weight / unit, bias,", "Affine(weight, bias,"),
    "copies of a Certifier remember": ("_certify.py", '"_passages": fresh}', '"_passages": self._passages}'),
    "threads share out columns": ("geometry/products.py", 'least == BLOCK or order == "F" or', "least == BLOCK or"),
    "last rows as they are": ("geometry/products.py", "TOGETHER = 16", "TOGETHER = 1"),
    "points judged with noise": ("shaping/training.py", "network(points[part.to(rules.device)])", "network(points[part.to(rules.device)] + noise * torch.randn_like(points[part.to(rules.device)]))"),
    "keep the last epoch, whatever it reaches": ("shaping/training.py", "if reached.certified_accuracy >= best - math.sqrt", "if True or reached.certified_accuracy >= best - math.sqrt"),
    "a GPU that contradicts the CPU is believed": ("backends/cuda/__init__.py", "            if seen is None:", "            if True:"),
    "a GPU that contradicted the CPU is used again": ("backends/cuda/__init__.py", "            _DISTRUSTED.add((cupy, device.id))\n", ""),
    "a radius of a GPU may be of any length": ("backends/cuda/comparison.py", "return np.flatnonzero(unknown | other | long | short)", "return np.flatnonzero(unknown | other | short)"),
    "NaN from a GPU is no contradiction": ("backends/cuda/comparison.py", "return np.flatnonzero(unknown | other | long | short)", "return np.flatnonzero(other | long | short)"),
    "the attack limits every radius of a GPU": ("backends/cuda/comparison.py", "return np.where(doubt < UNDECIDED, np.minimum(found, same * (1 + 2 * doubt)), found)", "return found"),
    "only the first rows of a GPU are compared": ("backends/cuda/comparison.py", "return np.concatenate([np.arange(first), np.sort(between), np.arange(n - last, n)])", "return np.arange(wanted)"),
    "kernels forget the rounding of the spectrum": ("backends/cuda/kernels.cu", "return sign * w[k] - pair[LOWERED]; };", "return sign * w[k] + 1e5 * pair[LOWERED]; };"),
    "kernels drop NaN": ("backends/cuda/kernels.cu", "if (isnan(value) || isnan(other.value)) return isnan(value) && (!isnan(other.value) || at < other.at);", "if (isnan(value) || isnan(other.value)) return isnan(other.value) && !isnan(value);"),
    "kernels forget the errors of scores": ("backends/cuda/kernels.cu", "margin = gap - error;", "margin = gap;"),
    "kernels keep the mirrored spectrum": ("backends/cuda/kernels.cu", "double sign = flip ? -1.0 : 1.0;", "double sign = 1.0;"),
    "kernels read subnormal numbers as 0": ("backends/cuda/kernels.cu", "return size * (bits == size ? 0x1p-149 : -0x1p-149);", "return 0.0;"),
    "join certificates of different requests": ("_certificate.py", "        if differ:\n", "        if False:\n"),
    "join certificates of different models": ("_explanation.py", "return _same(ours._classes, theirs._classes) and _same(ours._rule, theirs._rule)", "return True"),
    "joined as exact as any part": ("_certificate.py", "exact=all(part.exact", "exact=any(part.exact"),
    "an estimate is certain": ("_certificate.py", 'object.__setattr__(self, "confidence", 0.0)', 'object.__setattr__(self, "confidence", 1.0)'),
    "rows of a frame without their labels": ("_certificate.py", "index=self._index)", "index=None)"),
    "explain the first batch": ("_explanation.py", "        row -= origin.n\n", "        return certificate._origins[0], row % certificate._origins[0].n\n"),
    "explain whatever stands there now": ("_explanation.py", "        if not same.all():\n", "        if False:\n"),
    "points without a radius of their own are not marked": ("_explanation.py", "and not self.marks.hold(self.points, at)", "and False"),
    "share a frame that others change": ("_explanation.py", 'X = X.copy(deep=False) if hasattr(X, "iloc") else X.clone()', "pass"),
    "a labelled scale by position": ("_request.py", "scales, asked = labelled(feature_scale, names),", "scales, asked = names and labelled(feature_scale, names),"),
    "labelled priors by position": ("_gmm.py", "if labels != names and not ordered:", "if False:"),
    "several outputs are one": ("_request.py", "if several or np.ndim(classes) != 1:", "if np.ndim(classes) != 1:"),
    "count what falls at a radius as fallen": ("_report.py", "np.searchsorted(ordered, at, side=\"left\")) / len(kept)", "np.searchsorted(ordered, at, side=\"right\")) / len(kept)"),
    "an upper bound continued on the unsafe side": ("_report.py", "np.append(values[:1], values)) if above", "np.append(values, values[-1:])) if above"),
    "round upper bounds down": ("_report.py", "np.ceil(thousandths - 1e-9)", "np.floor(thousandths + 1e-9)"),
    "round every share to its own side": ("_report.py", "shown[np.abs(values - number) <= 1e-9]", "shown[(np.abs(values - number) <= 1e-9) & (kinds == kind)]"),
    "the mixture in other units than the radii": ("_report.py", "else piece.matrix) * scale", "else piece.matrix)"),
    "latents stretched by their scale": ("_report.py", "return np.diag(1 / scale)", "return np.diag(scale)"),
    "the mixture under columns that cannot move": ("_report.py", "leave no ball of all dimensions, as they need it.\"\n        return None", "leave no ball of all dimensions, as they need it.\"\n        scale = np.maximum(scale, 1e-3)"),
    "distances in other units than the radii": ("_report.py", "scaled = values / scale", "scaled = values"),
    "forget that quotients are rounded": ("_report.py", "near = max(float(radius) - lost, 0.0)", "near = float(radius)"),
    "radii of the models beside it in other units": ("_report.py", "\"feature_scale\": certificate.feature_scale}", "\"feature_scale\": None}"),
    "radii bought with accuracy": ("_report.py", "clean >= clean.max() - LOSS", "clean >= 0"),
    "a class mistaken for itself": ("_report.py", "np.where(certificate.prediction == y, certificate.runner_up, certificate.prediction)", "certificate.runner_up"),
    "names unescaped where one points": ("_report.py", "title=\"{html.escape(text)}\"", "title=\"{text}\""),
    "bars in log files": ("_progress.py", "hasattr(stream, \"isatty\") and stream.isatty()", "hasattr(stream, \"isatty\")"),
    "bars wait for the first row": ("_progress.py", "    if done.wait(DELAY):\n        return", "    while not count.n:\n        if done.wait(DELAY):\n            return"),
    "bars that nobody wants": ("_progress.py", "_wanted.set(_wanted.get() and bool(wanted))", "_wanted.set(bool(wanted))"),
}  # fmt: skip

#: what killed each of them last time, written by every run
KILLERS = Path(__file__).with_name("killers.json")
#: files of tests in one call of pytest, since collecting all of them takes longer than most tests
PORTION = 6
#: seconds until tests that do not end are stopped
PATIENCE = 3600


@dataclass(frozen=True)
class Outcome:
    """What pytest says of some tests: the first that failed; without one, why they say nothing, or "" if all passed."""

    failed: str | None = None
    trouble: str = ""


# -- one mutant ------------------------------------------------------------------------------------------------------------


def mutated(text: str, old: str, new: str) -> str:
    """The source with the mistake; an error unless its line occurs exactly once."""
    if text.count(old) != 1:
        raise ValueError(f"its line occurs {text.count(old)} times in its file: the list is out of date")
    return text.replace(old, new)


def run(tests: list[str], copy: Path) -> Outcome:
    """Run these tests in a copy of the project until the first of them fails; what cannot be imported is no failure."""
    verdict = copy / "first_failure"
    verdict.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "tests.first_failure", "--continue-on-collection-errors"]
    command += ["--tb=no", "-o", f"cache_dir={copy.parent / 'cache'}", *tests]
    known = {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "FIRST_FAILURE": str(verdict)}
    try:
        done = subprocess.run(command, cwd=copy, env=os.environ | known, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return Outcome(trouble=f"no end after {PATIENCE} s")
    if verdict.exists():
        return Outcome(failed=verdict.read_text())
    if done.returncode in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        return Outcome()
    return Outcome(trouble=f"pytest ended with {done.returncode}: {' '.join((done.stdout + done.stderr).split())[-300:]}")


def attempts(name: str, killers: dict[str, str], files: list[str]) -> Iterator[list[str]]:
    """Tests to run until one fails: what killed this mutant, then others of its file, then every file, likeliest first."""
    if name in killers:
        yield [killers[name]]
    near = [killers[other] for other in MUTANTS if other in killers and MUTANTS[other][0] == MUTANTS[name][0]]
    if tests := [killer for killer in near if "::" in killer]:  # a whole file, which somebody guessed, has its turn below
        yield list(dict.fromkeys(tests))
    of_file, of_all = (Counter(killer.split("::")[0] for killer in some) for some in (near, killers.values()))
    order = sorted(files, key=lambda file: (-of_file[file], -shared(file, MUTANTS[name][0]), -of_all[file], file))
    yield from ([file] for file in order[:PORTION])
    for start in range(PORTION, len(order), PORTION):
        yield order[start : start + PORTION]


def shared(tests: str, file: str) -> int:
    """How many of the words in the path of a source file are in the path of its tests, and whether they name it."""
    path = ROOT / tests
    words = [word for part in Path(file).with_suffix("").parts for word in part.strip("_").split("_")]
    text = path.read_text() if path.is_file() else ""
    return 2 * sum(word.rstrip("s") in tests for word in words) + (words[-1] in text)


def judge(name: str, killers: dict[str, str], copy: Path) -> Outcome:
    """The test that kills this mutant; without one, what went wrong."""
    file, old, new = MUTANTS[name]
    source = copy / "skcert" / file
    text = source.read_text()
    compiled = Path(cache_from_source(str(source)))  # one of the same second and size would be taken for the source's
    troubles: dict[str, None] = {}
    try:
        source.write_text(mutated(text, old, new))
        compiled.unlink(missing_ok=True)
        for tests in attempts(name, killers, files_of_tests(copy)):
            outcome = run(tests, copy)
            if outcome.failed:
                return outcome
            whole_files = not any("::" in test for test in tests)  # a test that was renamed cannot be run
            if outcome.trouble and whole_files:
                troubles[outcome.trouble] = None
    except ValueError as error:
        return Outcome(trouble=str(error))
    finally:
        source.write_text(text)
        compiled.unlink(missing_ok=True)
    return Outcome(trouble="; ".join(troubles) or "all tests pass on it")


# -- all of them -----------------------------------------------------------------------------------------------------------


def files_of_tests(root: Path) -> list[str]:
    """Everything that ``pytest`` runs, by file, but for the tests of this list, which fail on every mutant; docstrings last."""
    files = {str(path.relative_to(root)) for path in (root / "tests").rglob("test_*.py")} - {"tests/unit/test_mutants.py"}
    return [*sorted(files), "skcert"]


def remembered() -> dict[str, str]:
    """Mutants that are still in the list, and what killed them."""
    known = json.loads(KILLERS.read_text()) if KILLERS.exists() else {}
    return {name: known[name] for name in MUTANTS if name in known}


def copied(folder: Path) -> Path:
    """A copy of the project in a folder of its own."""
    unneeded = shutil.ignore_patterns(".*", "__pycache__", "_build")
    return Path(shutil.copytree(ROOT, folder / "skcert", ignore=unneeded))


def main() -> int:
    names, killers, alive = sys.argv[1:] or list(MUTANTS), remembered(), 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(cpu_count()) as pool:
        copies: Queue[Path] = Queue()
        for number in range(cpu_count()):
            copies.put(copied(Path(folder) / str(number)))

        def judged(name: str) -> tuple[str, Outcome, float]:
            copy, start = copies.get(), time.monotonic()
            try:
                return name, judge(name, dict(killers), copy), time.monotonic() - start
            finally:
                copies.put(copy)

        for work in as_completed([pool.submit(judged, name) for name in names]):
            name, outcome, seconds = work.result()
            if outcome.failed:
                killers[name] = outcome.failed
                KILLERS.write_text(json.dumps({each: killers[each] for each in MUTANTS if each in killers}, indent=1) + "\n")
            alive += outcome.failed is None
            found = f"killed    {name}, by {outcome.failed}" if outcome.failed else f"SURVIVES  {name}: {outcome.trouble}"
            print(f"{found} ({seconds:.0f} s)", flush=True)
        used = sorted({killers[name] for name in names if name in killers})
        unchanged = run(used, copies.get()) if used else Outcome()
    if unchanged != Outcome():
        print(f"On the code as it is, what kills mutants must pass: {unchanged.failed or ''}{unchanged.trouble}")
        return 2
    print(f"{len(names) - alive} of {len(names)} killed")
    return int(alive > 0)


if __name__ == "__main__":
    sys.exit(main())
