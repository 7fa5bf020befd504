"""No row of a batch may see another, however that is written and however far away it shows.

The second half of the mixtures is silent at small numbers, so that no comparison near the examples could find it out.
"""

import re

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from skcert.lipschitz import network as traces  # noqa: E402
from skcert.lipschitz.local import ROWS  # noqa: E402
from skcert.lipschitz.network import trace  # noqa: E402
from skcert.lipschitz.product import constants  # noqa: E402
from skcert.perturbations import Uncertifiable  # noqa: E402


def backwards(h):
    return torch.arange(len(h) - 1, -1, -1)


#: from (n, a, b) to the same shape
MIXTURES = {
    "flip": lambda h: h.flip(0),
    "flip of several axes": lambda h: torch.flip(h, (-1, -3)),
    "roll": lambda h: torch.roll(h, 1, 0),
    "roll of all numbers": lambda h: torch.roll(h, 1),
    "roll after flattening": lambda h: h.flatten().roll(h[0].numel()).view(h.shape),
    "reshape of pairs": lambda h: h.reshape(len(h) // 2, 2, -1).flip(1).reshape(h.shape),
    "reshape to another number of rows": lambda h: h.reshape(h.shape[2], -1).transpose(0, 1).reshape(h.shape),
    "transpose and mean": lambda h: h.transpose(0, 2).mean(2, keepdim=True).transpose(0, 2) + 0 * h,
    "transpose and softmax": lambda h: h.transpose(0, 2).softmax(-1).transpose(0, 2),
    "transpose and flip": lambda h: h.movedim(0, 1).flip(1).movedim(1, 0),
    "permute and pool": lambda h: F.max_pool1d(h.permute(2, 1, 0), 3, 1, 1).permute(2, 1, 0),
    "permute and view": lambda h: h.permute(1, 2, 0).contiguous().view(h.shape),
    "T": lambda h: h.flatten(1).T.flip(1).T.view(h.shape),
    "another axis first": lambda h: h[None].flip(1)[0],
    "unbind and stack": lambda h: torch.stack(h.unbind(0)[::-1]),
    "split and cat": lambda h: torch.cat(h.split(1)[::-1]),
    "chunk and vstack": lambda h: torch.vstack(h.chunk(2, 0)[::-1]),
    "the next row": lambda h: torch.cat([h[1:], h[:1]]),
    "the row before": lambda h: F.pad(h, (0, 0, 0, 0, 1, 0))[:-1],
    "the first row": lambda h: h - h[:1],
    "one row for all": lambda h: h[0].expand_as(h),
    "a padding around the batch": lambda h: F.pad(h.transpose(0, 2), (1, 1), "circular")[..., 2:].transpose(0, 2),
    "select": lambda h: h + h.select(0, 1),
    "narrow": lambda h: h + h.narrow(0, 1, 1),
    "sum": lambda h: h.sum(0, keepdim=True) + 0 * h,
    "sum of everything": lambda h: h + h.sum(),
    "mean": lambda h: h - h.mean(0),
    "amax": lambda h: h - h.amax(0, keepdim=True),
    "cumsum": lambda h: h.cumsum(0),
    "sort": lambda h: h.sort(0)[0],
    "index": lambda h: h[backwards(h)],
    "index_select": lambda h: h.index_select(0, backwards(h)),
    "softmax": lambda h: h.softmax(0),
    "a normalisation of everything": lambda h: F.layer_norm(h, h.shape),
    "statistics of the batch": lambda h: F.batch_norm(h, None, None, training=True),
    "a product of matrices": lambda h: (h.flatten(1) @ (h.flatten(1).T @ h.flatten(1))).view(h.shape),
    "sums of other rows": lambda h: (h.flatten(1) + h.flatten(1).T.sum(0)[:, None].flip(0)).view(h.shape),
}


class Mixed(nn.Module):
    """A layer, and what it makes, mixed with other rows at once or far away."""

    def __init__(self, layer, mixture, far):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.mixture, self.far = layer(), mixture, far

    def forward(self, x):
        h = self.layer(x)
        mixed = self.mixture(h)
        return h + 30 * F.relu(mixed - 20) if self.far else h + mixed


class Turned(nn.Module):
    def forward(self, x):
        return F.relu(x).transpose(1, 2)


BEFORE = {
    "linear": lambda: nn.Linear(6, 6),
    "conv": lambda: nn.Conv1d(4, 4, 3, padding=1),
    "transpose": Turned,
}


def bound(module, shape=(4, 6), rows=2):
    example = torch.rand(rows, *shape, generator=torch.Generator().manual_seed(0))
    return constants(trace(module.eval(), None, None, example)).total


@pytest.mark.parametrize("far", [False, True], ids=["near", "far"])
@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.filterwarnings("ignore")  # of torch, about T
def test_calls_that_mix_rows_are_refused_by_name(mixture, far, monkeypatch):
    monkeypatch.setattr(traces, "_steepest", lambda *args: 0.0)
    before = list(BEFORE.values())[(list(MIXTURES).index(mixture) + far) % len(BEFORE)]  # they take turns
    with pytest.raises(Uncertifiable) as refusal:
        bound(Mixed(before, MIXTURES[mixture], far))
    words = "each row by itself|rows of the batch|no rule|jumps|first argument|statistics of the batch|by arrays"
    assert re.search(words, str(refusal.value)), refusal.value


@pytest.mark.parametrize("mixture", ["flip", "reshape of pairs", "permute and view", "roll of all numbers"])
def test_mixtures_of_many_rows_are_refused(mixture):
    with pytest.raises(Uncertifiable, match="each row by itself"):
        bound(Mixed(BEFORE["linear"], MIXTURES[mixture], True), rows=ROWS)


@pytest.mark.parametrize("shorter", [lambda h: h[:1], lambda h: h.sum((1, 2))[0]])
def test_calls_that_lose_rows_say_what_is_left(shorter):
    with pytest.raises(Uncertifiable, match=r"getitem.*of 2 rows it makes the shape \(.*\), expected 2, or a multiple"):
        bound(Mixed(BEFORE["linear"], shorter, False))


def test_sizes_that_fit_the_example_alone_are_refused():
    """Two rows are cut in the middle of none; of three the second belongs to both halves."""
    with pytest.raises(Uncertifiable, match="each row by itself|makes other shapes than were recorded"):
        bound(Mixed(BEFORE["linear"], lambda h: F.relu(h.view(2, -1).view(4, -1) - 5).mean(1).view(-1, 1)[:1] + h, False))
    with pytest.raises(Uncertifiable, match="each row by itself|makes other shapes than were recorded"):
        bound(Mixed(BEFORE["linear"], lambda h: h.reshape(8, -1).softmax(1).reshape(h.shape), True))


def heads(x):
    n, t, d = x.shape
    several = x.view(n, t, 2, d // 2).transpose(1, 2).reshape(n * 2, t, d // 2)
    return F.relu(several).softmax(-1).view(n, 2, t, d // 2).transpose(1, 2).reshape(n, t * d)


#: from (n, 4, 6) to anything, row by row
ORDINARY = {
    "flatten": lambda x: x.flatten(1),
    "view": lambda x: x.view(len(x), -1),
    "view by size": lambda x: x.view(x.size(0), -1),
    "view by shape": lambda x: x.view(x.shape[0], 2, 2, *x.shape[2:]),
    "reshape": lambda x: torch.reshape(x, (-1, 24)),
    "reshape to more rows": lambda x: x.reshape(-1, 6).softmax(-1).view(len(x), -1),
    "heads": heads,
    "windows": lambda x: x.view(len(x), 2, 2, 6).transpose(1, 2).reshape(len(x), 24),
    "unflatten": lambda x: x.unflatten(1, (2, 2)),
    "mean": lambda x: x.mean(1),
    "mean of several axes": lambda x: x.view(len(x), 4, 2, 3).mean((2, 3)),
    "mean from the end": lambda x: x.mean((-1, -2), keepdim=True),
    "transpose": lambda x: x.transpose(1, 2),
    "permute": lambda x: x.view(len(x), 4, 2, 3).permute(0, 2, 3, 1),
    "mT": lambda x: x.mT,
    "softmax": lambda x: x.softmax(-1),
    "chunk": lambda x: x.chunk(2, 1)[0],
    "split": lambda x: x.split([1, 3], 1)[1],
    "unbind": lambda x: x.unbind(1)[2],
    "cat": lambda x: torch.cat([x, F.relu(x)], dim=1),
    "cat of a token": lambda x: torch.cat([torch.ones(1, 1, 6).expand(len(x), -1, -1), x], 1),
    "stack": lambda x: torch.stack([x, -x], -1),
    "normalisation": lambda x: F.layer_norm(x, (6,)),
    "normalisation of all axes": lambda x: F.layer_norm(x, x.shape[1:]),
    "slice": lambda x: x[:, :3],
    "the last": lambda x: x[:, -1],
    "an ellipsis": lambda x: x[..., 1:],
    "a new axis": lambda x: x[:, None].squeeze(1),
    "all rows": lambda x: x[: len(x)],
    "squeeze": lambda x: x.mean(2, keepdim=True).squeeze(),
    "flip": lambda x: x.flip(2).flip(-2),
    "roll": lambda x: x.roll((1, 2), (1, 2)),
    "narrow": lambda x: x.narrow(1, 1, 2),
    "positions": lambda x: x + torch.arange(24.0).view(4, 6),
    "zeros": lambda x: x + torch.zeros(len(x), 4, 6),
    "repeat": lambda x: x.repeat(1, 2, 1),
    "expand": lambda x: x[:, :, None].expand(-1, -1, 3, -1),
    "pool": lambda x: F.adaptive_avg_pool1d(F.max_pool1d(x, 2), 1).flatten(1),
    "pad": lambda x: F.pad(x, (1, 1)),
    "interpolate": lambda x: F.interpolate(x, scale_factor=2.0),
    "asserts": lambda x: x if len(x) == x.size(0) == x.shape[0] and x.dim() == 3 else None,
}


@pytest.mark.parametrize("case", ORDINARY)
def test_what_keeps_its_rows_is_bounded(case):
    class Does(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Linear(6, 6)

        def forward(self, x):
            return ORDINARY[case](self.layer(x))

    rows = (2, ROWS)[list(ORDINARY).index(case) % 2]
    assert 0 < bound(Does(), rows=rows) < 1e3
