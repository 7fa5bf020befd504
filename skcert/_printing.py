"""Numbers for people, rounded to the safe side, and names that fit."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any


def round_down(value: float, digits: int = 4) -> str:
    """``value`` >= 0 with so many significant digits, never larger than it is."""
    return _rounded(value, digits, ROUND_FLOOR)


def round_up(value: float, digits: int = 4) -> str:
    """``value`` >= 0 with so many significant digits, never smaller than it is."""
    return _rounded(value, digits, ROUND_CEILING)


def _rounded(value: float, digits: int, rounding: str) -> str:
    if not math.isfinite(value) or value <= 0:
        return "inf" if value == math.inf else "0"
    exact = Decimal(float(value))
    rounded = exact.quantize(Decimal(1).scaleb(exact.adjusted() - digits + 1), rounding=rounding)
    return f"{rounded:f}" if 1e-4 <= value < 10**digits else f"{rounded:e}"


def short(name: Any, letters: int = 40) -> str:
    """A name on one line of at most so many letters: of a longer one, its beginning and its end."""
    text = " ".join(str(name).split())
    if len(text) <= letters:
        return text
    end = (letters - 1) // 2
    return f"{text[: letters - 1 - end]}…{text[-end:]}"
