"""Numbers for people, rounded to the safe side."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal


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
