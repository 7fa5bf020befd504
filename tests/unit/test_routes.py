"""Perturbations on their way: how far matrices stretch balls, what normalising and clipping do to them, blocks and gaps."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skcert.geometry.rounding import HALF
from skcert.perturbations import (
    AffineStep,
    Branch,
    ClipStep,
    EncodeStep,
    ImputeStep,
    Link,
    LipschitzStep,
    NormalizeStep,
    ParallelStep,
    Uncertifiable,
)
from skcert.routes import Route, constants

NORMS = (1, 2, np.inf)
SEEDS = st.integers(0, 2**32 - 1)
SETTINGS = settings(max_examples=60, deadline=None)


def affine(rng, d_out, d_in, diagonal=False):
    matrix = rng.standard_normal(d_in) if diagonal else rng.standard_normal((d_out, d_in))
    return AffineStep(rng.standard_normal(d_in), matrix, rng.standard_normal(d_in if diagonal else d_out))


def extremes(d, p, rng):
    """Points of the unit ball among which a convex function has its maximum (p = 2: many of them)."""
    if p == 1:
        return np.eye(d)
    if p == np.inf:
        return np.array(list(product([-1.0, 1.0], repeat=d)))
    points = rng.standard_normal((4000, d))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


@SETTINGS
@given(SEEDS, st.integers(1, 4), st.integers(1, 5), st.booleans(), st.sampled_from(NORMS), st.sampled_from(NORMS))
def test_a_stretch_bounds_every_image_of_the_ball_and_is_not_much_more(seed, m, d, diagonal, p, q):
    rng = np.random.default_rng(seed)
    step = affine(rng, m, d, diagonal)
    images = extremes(d, p, rng) @ (np.diag(step.matrix) if diagonal else step.matrix).T
    reached = np.linalg.norm(images, ord=q, axis=1).max()
    bound = step.stretch(p, q)
    assert reached <= bound
    if p == 1 or q == np.inf or diagonal:
        exact = p == 1 or q == np.inf or p == np.inf
        assert not exact or bound <= reached * (1 + (1e-9 if p != 2 else 0.5))
    assert bound <= reached * 3 + 1e-12  # p = 2 is only sampled, inf -> 1 and inf -> 2 are bounds


@SETTINGS
@given(SEEDS, st.sampled_from(NORMS), st.integers(1, 6))
def test_no_point_inside_moves_its_direction_further(seed, norm, d):
    rng = np.random.default_rng(seed)
    step = NormalizeStep(norm)
    x = rng.standard_normal((1, d)) * np.exp(rng.uniform(-5, 5))
    r = rng.uniform(0, 2.2)
    radius = float(step.inward(np.array([r]), step.lengths(x))[0])
    assert radius <= step.lengths(x)[0]
    moves = rng.standard_normal((3000, d))
    moves *= radius * rng.uniform(0, 1, (3000, 1)) ** (1 / d) / np.linalg.norm(moves, ord=norm, axis=1, keepdims=True)
    chords = np.linalg.norm(step.apply(x + moves) - step.apply(x), ord=norm, axis=1)
    assert (chords <= r * (1 + 1e-9) + 1e-12).all()


@pytest.mark.parametrize("chord", [1e-3, 0.5, 1.0, 1.4])
def test_the_nearest_point_at_a_chord_is_where_the_formula_says(chord):
    x, angle = np.array([3.0, 4.0]), 2 * np.arcsin(chord / 2)
    radius = NormalizeStep(2).inward(np.array([chord]), np.array([5.0]))[0]
    np.testing.assert_allclose(radius, 5 * np.sin(angle), rtol=1e-9)
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ x * np.cos(angle)
    np.testing.assert_allclose(np.linalg.norm(turned - x), radius, rtol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(turned / np.linalg.norm(turned) - x / 5), chord, rtol=1e-9)


def test_rows_about_the_origin_are_never_reached_and_have_no_radius():
    step = NormalizeStep(2)
    lengths = np.array([0.0, 1e-16, 1e-6, 1.0])
    radius = step.inward(np.full(4, 2.0), lengths)
    assert (radius[:3] == 0).all() and radius[3] < 1 - 1e-6
    np.testing.assert_array_equal(step.apply(np.array([[1e-16, 0.0]])), [[1e-16, 0.0]])  # as scikit-learn leaves it


@SETTINGS
@given(SEEDS, st.sampled_from(NORMS), st.booleans())
def test_behind_a_clip_the_set_lies_in_the_ball_that_is_passed_on(seed, norm, diagonal):
    rng = np.random.default_rng(seed)
    d = int(rng.integers(1, 5))
    m = d if diagonal else int(rng.integers(1, 5))
    before, clip = affine(rng, m, d, diagonal), ClipStep(np.full(m, -0.5), np.full(m, 0.5))
    route = Route.along((Link("clip", (before, clip), None),), np.zeros(d, dtype=bool), None)
    scale = rng.uniform(0, 2, d) * (rng.uniform(size=d) < 0.8)
    after, units, (factor,) = route.narrow(norm, scale)
    assert after == norm
    x = rng.standard_normal((1, d))
    moves = rng.standard_normal((500, d))
    moves /= np.linalg.norm(moves, ord=norm, axis=1, keepdims=True)
    out = clip.apply(before.apply(x + moves * scale)) - clip.apply(before.apply(x))
    assert (out[:, units == 0] == 0).all()
    if (units > 0).any():
        lengths = np.linalg.norm(out[:, units > 0] / units[units > 0], ord=norm, axis=1)
        assert (lengths <= factor * (1 + 1e-12)).all()
    if diagonal:
        assert factor <= 1 + 1e-9


@SETTINGS
@given(SEEDS)
def test_steps_side_by_side_are_the_steps_one_by_one(seed):
    """Columns read twice, centred twice, weighted, clipped in one part only, and constants between them."""
    rng = np.random.default_rng(seed)
    d = 5
    parts, values = [], rng.standard_normal((7, d))
    encoded = rng.standard_normal((7, 2))
    for number in range(3):
        columns = rng.integers(0, d, rng.integers(1, d))
        step = affine(rng, int(rng.integers(1, 4)), len(columns), diagonal=bool(rng.integers(2)))
        clip = ClipStep(np.full(len(step.offset), -1.0), np.full(len(step.offset), 1.0))
        links = (Link("a", (step,), step.apply), *([Link("b", (clip,), clip.apply)] if rng.integers(2) else []))
        parts.append(Branch(str(number), columns, None, links, float(rng.uniform(0.5, 2))))
    parts.insert(1, Branch("codes", np.array([4]), None, (Link("code", (EncodeStep(2),), lambda X: encoded),)))
    parallel = ParallelStep(tuple(parts), lambda X, branch: X[:, branch.columns])
    last = affine(rng, 3, sum(_width(branch) for branch in parts))
    links = (Link("p", (parallel,), None), Link("last", (last,), None))
    route = Route.along(links, np.zeros(d, dtype=bool), None)
    assert route.n_constants == 2 and list(route.frozen) == [False] * 4 + [True]

    expected = []
    for branch in parts:
        out = values[:, branch.columns]
        for each in branch.links:
            out = each.transform(out)
        expected.append(out * branch.weight)
    source = np.hstack([values, *constants(links, values)])
    points, error, _ = route.trace(source, {}, {})
    final = route.pieces[-1]
    np.testing.assert_allclose(final.apply(points), last.apply(np.hstack(expected)), rtol=1e-9, atol=1e-12)
    assert error is None or (error < 1e-12).all()


def _width(branch):
    carrier = branch.links[0].carriers[0]
    return carrier.n_outputs if isinstance(carrier, EncodeStep) else len(carrier.offset)


def test_an_imputer_is_another_affine_map_for_every_pattern_of_gaps():
    imputer = ImputeStep(np.array([10.0, 20.0, 30.0]), kept=np.array([0, 2]), flags=np.array([1, 2]))
    whole, gaps = (imputer.at(np.array(missing)) for missing in ([False] * 3, [True, False, True]))
    np.testing.assert_array_equal(whole.apply(np.array([[1.0, 2.0, 3.0]])), [[1, 3, 0, 0]])
    np.testing.assert_array_equal(gaps.apply(np.array([[0.0, 2.0, 0.0]])), [[10, 30, 0, 1]])
    assert not gaps.matrix[:, [0, 2]].any()


def test_coefficients_that_cancel_in_floating_point_are_still_read():
    inner = AffineStep(np.zeros(1), np.array([[1.0], [1.0]]), np.zeros(2), column_error=1e-16)
    outer = AffineStep(np.zeros(2), np.array([[1.0, -1.0]]), np.zeros(1))
    both = inner.then(outer)
    assert both.matrix == [[0.0]] and both.reads == [[True]] and both.matrix_error > 0


def test_what_cannot_be_put_together_is_refused_by_name():
    blind = Link("net", (LipschitzStep(1.0),), None)
    union = ParallelStep((Branch("all", None, None, ()),), None)
    with pytest.raises(Uncertifiable, match="'union'.*n_outputs="):
        Route.along((blind, Link("union", (union,), None)), np.zeros(2, dtype=bool), None)
    known = Link("net", (LipschitzStep(1.0, n_outputs=4),), None)
    assert len(Route.along((known, Link("union", (union,), None)), np.zeros(2, dtype=bool), None).missing) == 4
    with pytest.raises(Uncertifiable, match="Missing values reach the step 'net'"):
        Route.along((blind,), np.array([True, False]), None)
    with pytest.raises(Uncertifiable, match="'broken'.*not finite"):
        Route.along((Link("broken", (AffineStep.scaling(np.array([np.nan])),), None),), np.zeros(1, dtype=bool), None)
    with pytest.raises(TypeError, match="'odd' returned a str"):
        Route.along((Link("odd", ("rule",), None),), np.zeros(1, dtype=bool), None)
    inside = ParallelStep((Branch("a", None, None, (blind,)), Branch("b", None, None, ())), None)
    with pytest.raises(Uncertifiable, match="'mix'.*its part 'a' the step 'net'"):
        Route.along((Link("mix", (inside,), None),), np.zeros(1, dtype=bool), None)


def test_the_check_of_a_step_sees_a_mistake_in_any_output_whatever_its_unit():
    rng = np.random.default_rng(0)
    step = AffineStep(np.zeros(3), np.array([1e6, 1.0, 1e-6]), np.zeros(3))
    before = rng.standard_normal((20, 3))
    after = step.apply(before)
    assert step.agrees(before, after) and not step.agrees(before, after[:, :2])
    for output in range(3):
        for row in (0, 19):
            wrong = after.copy()
            wrong[row, output] *= 1 + 1e-6
            assert not step.agrees(before, wrong)
            assert step.computed(HALF).agrees(before, wrong)
            wrong[row, output] = after[row, output] * (1 + 1e-12)  # a few thousand units in the last place
            assert not step.agrees(before, wrong)
    wrong = after.copy()
    wrong[3, 1] = np.nan
    assert not step.agrees(before, wrong)
    large = before.copy()
    large[3] = 1e300  # what overflows says nothing, here or about other rows
    wrong = step.apply(large)
    wrong[3] = np.inf
    assert not step.agrees(large, wrong) and step.agrees(large * 1e3, wrong * 1e3)
    wrong[4, 1] *= 2
    assert not step.agrees(large * 1e3, wrong * 1e3)
