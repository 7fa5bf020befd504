"""The figures and tables of arXiv 2605.25352, measured again: each command writes its numbers and its picture."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from io import BytesIO
from numbers import Integral, Real
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from PIL import Image

RESULTS = Path(__file__).with_name("results")
PICTURES = Path(__file__).parents[2] / "docs" / "reproduction"

#: colours that are told apart without red and green (Okabe and Ito)
COLOURS = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "red": "#D55E00",
    "purple": "#CC79A7",
    "grey": "#999999",
}


def write_csv(name: str, rows: Iterable[Mapping[str, object]], digits: int = 5) -> None:
    """``results/name.csv``, numbers rounded to so many significant digits: what a rebuild changes in the last places is cut."""
    rows = list(rows)
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({column: formatted(value, digits) for column, value in row.items()} for row in rows)


def formatted(value: object, digits: int = 5) -> str:
    """As :func:`write_csv` writes it: what is not known is left empty."""
    if isinstance(value, Integral) or not isinstance(value, Real):
        return str(value)
    return "" if math.isnan(value) else f"{float(value) + 0.0:.{digits}g}"


def read_csv(name: str) -> list[dict[str, str]]:
    """The rows of ``results/name.csv``, as text."""
    with (RESULTS / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def save(figure, name: str) -> None:
    """``docs/reproduction/name.png``, in 256 colours and without metadata: identical when drawn again."""
    buffer = BytesIO()
    figure.savefig(buffer, dpi=110)
    plt.close(figure)
    image = Image.open(buffer).convert("RGB")
    palette = image.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=4)
    PICTURES.mkdir(parents=True, exist_ok=True)
    reduced = image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    reduced.save(PICTURES / f"{name}.png", optimize=True)
