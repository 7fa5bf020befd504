"""Bounds of layers against the exact matrices of the operators, built column by column."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")  # before what needs it: E402

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402

from skcert.lipschitz.operators import convolution_norm, overlap, padding_repeats, schur, spectral_norm  # noqa: E402

F = nn.functional
CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def operator(apply, shape):
    """The matrix of a linear map of arrays of this shape."""
    n = int(np.prod(shape))
    return apply(torch.eye(n, dtype=torch.float64).reshape(n, *shape)).reshape(n, -1).numpy().T


def top(matrix):
    return np.linalg.norm(matrix, 2) if matrix.size else 0.0


@st.composite
def convolutions(draw):
    D = draw(st.integers(1, 2))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels = [groups * draw(st.integers(1, 3)) for _ in range(2)]
    several = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(D))  # noqa: E731  (it draws)
    kernel, stride, dilation, padding = several(1, 5), several(1, 4), several(1, 3), several(0, 4)
    size = tuple(d * (k - 1) + 1 + draw(st.integers(0, 6)) for k, d in zip(kernel, dilation, strict=True))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weight = rng.standard_normal((channels[1], channels[0] // groups, *kernel)) * draw(st.sampled_from([1e-30, 1.0, 1e30]))
    kind = draw(st.sampled_from(["random", "positive", "sparse"]))
    weight = np.abs(weight) if kind == "positive" else weight * (rng.random(weight.shape) < 0.3) if kind == "sparse" else weight
    return weight, channels[0], size, {"stride": stride, "dilation": dilation, "groups": groups}, padding


@settings(max_examples=300, deadline=None)
@given(convolutions())
def test_no_convolution_stretches_more_than_its_bound(case):
    weight, n_in, size, how, padding = case
    convolve = CONVOLUTIONS[len(size)]
    matrix = operator(lambda x: convolve(x, torch.tensor(weight), padding=padding, **how), (n_in, *size))
    assert top(matrix) <= convolution_norm(weight, **how)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_on_large_inputs_the_bound_is_reached_within_a_percent(kernel, stride):
    weight = np.random.default_rng(kernel).standard_normal((3, 2, kernel))
    matrix = operator(lambda x: F.conv1d(x, torch.tensor(weight), padding=kernel, stride=stride), (2, 240))
    assert top(matrix) <= convolution_norm(weight, stride=stride) <= top(matrix) * 1.01


def test_the_frequency_of_the_largest_gain_is_found_wherever_it_is():
    rng = np.random.default_rng(0)
    for _ in range(20):  # cos(w k): the gain peaks at a frequency of no grid
        w = rng.uniform(0, np.pi)
        weight = np.cos(w * np.arange(9))[None, None]
        fine = np.linspace(0, np.pi, 200_001)
        gain = np.abs(np.exp(1j * np.outer(fine, np.arange(9))) @ weight[0, 0]).max()
        assert gain <= convolution_norm(weight) <= gain * 1.001


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (3, 40), (64, 64)])
def test_a_matrix_stretches_no_more_than_its_bound_and_nearly_as_much(shape):
    rng = np.random.default_rng(shape[0])
    for scale in (1e-150, 1.0, 1e150):
        matrix = rng.standard_normal(shape) * scale
        assert (
            np.linalg.norm(matrix / scale, 2) * scale
            <= spectral_norm(matrix)
            <= np.linalg.norm(matrix / scale, 2) * scale * 1.001
        )


def test_power_iteration_would_have_been_below():
    matrix = np.diag([1.0, 1.0 - 1e-3, 0.5])
    x = np.ones(3)
    for _ in range(20):
        x = matrix.T @ (matrix @ x)
        x /= np.linalg.norm(x)
    assert np.linalg.norm(matrix @ x) < 1 <= spectral_norm(matrix)


def test_nothing_is_said_about_weights_that_are_not_finite():
    for bound in (spectral_norm, lambda w: convolution_norm(w[None])):
        with pytest.raises(ValueError, match="NaN or infinite"):
            bound(np.array([[np.nan, 1.0]]))


def test_weights_of_zero_stretch_nothing():
    assert spectral_norm(np.zeros((3, 2))) == convolution_norm(np.zeros((2, 1, 3, 3))) == 0


def test_bounds_are_remembered_by_content():
    weight = np.eye(3)
    assert spectral_norm(weight) < 1.001
    weight[0, 0] = 7
    assert spectral_norm(weight) >= 7


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.integers(0, 2))
def test_windows_overlap_no_more_than_counted(size, kernel, stride, dilation, padding):
    n_outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    if n_outputs < 1:
        return
    counts = np.zeros(size + 2 * padding, dtype=int)
    for j in range(n_outputs):
        counts[j * stride + dilation * np.arange(kernel)] += 1
    assert counts[padding : padding + size].max(initial=0) <= overlap(size, kernel, stride, dilation, n_outputs)


@pytest.mark.parametrize("mode, numpy_mode", [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")])
@pytest.mark.parametrize("before, after", [(0, 0), (2, 1), (4, 4)])
def test_paddings_stretch_by_the_root_of_how_often_they_repeat(mode, numpy_mode, before, after):
    matrix = operator(lambda x: F.pad(x, (before, after), mode=mode), (1, 5))
    assert np.isclose(top(matrix), np.sqrt(padding_repeats(5, before, after, numpy_mode)), rtol=1e-12)


def test_schurs_test_bounds_every_average():
    for kernel, stride, padding in [(2, 2, 0), (3, 1, 1), (3, 2, 1), (4, 3, 2)]:
        matrix = operator(lambda x, k=kernel, s=stride, p=padding: F.avg_pool2d(x, k, s, p, count_include_pad=False), (1, 7, 7))
        bound = schur(np.abs(matrix).sum(axis=1), np.abs(matrix).sum(axis=0))
        assert top(matrix) <= bound <= 1.5 * top(matrix)
