"""LipschitzReport: the constant of an encoder, call by call."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from skcert._printing import round_up

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Layer:
    """One call on the way from X to the latents.

    Attributes
    ----------
    name : str
        Of the module in the encoder, or of the call.
    kind : str
        The type of the module, or the function.
    factor : float
        Its own Lipschitz constant; of a sum or a concatenation, what it adds to the largest of its inputs. NaN where it is
        folded into the layer after it.
    so_far : float
        From X to the output of this call.
    note : str
    """

    name: str
    kind: str
    factor: float
    so_far: float
    note: str = ""


@dataclass(frozen=True, repr=False)
class LipschitzReport:
    """Where the Lipschitz constant of an encoder comes from; made by :meth:`PretrainedEmbedder.lipschitz_report`.

    Attributes
    ----------
    layers : list of Layer
        In the order of the calls.
    constant : float
        ``||f(x) - f(x')|| <= constant * ||x - x'||`` in l2 for all x, x', in the units of X.
    """

    layers: list[Layer]
    constant: float

    def to_frame(self) -> pd.DataFrame:
        """A DataFrame with a row for each call."""
        import pandas as pd

        return pd.DataFrame([vars(layer) for layer in self.layers])

    def _rows(self) -> list[tuple[str, ...]]:
        shown: list[tuple[str, ...]] = [("layer", "kind", "factor", "so far", "")]
        for layer in self.layers:
            factor = "" if math.isnan(layer.factor) else round_up(layer.factor)
            shown.append((layer.name, layer.kind, factor, round_up(layer.so_far), layer.note))
        return shown

    def __repr__(self) -> str:
        rows = self._rows()
        widths = [max(len(row[k]) for row in rows) for k in range(4)]
        lines = [f"Lipschitz constant {round_up(self.constant)} (l2, from X to the latents, everywhere)"]
        for name, kind, factor, so_far, note in rows:
            cells = f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {factor:>{widths[2]}}  {so_far:>{widths[3]}}"
            lines.append(f"  {cells}  {note}".rstrip())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head, *body = self._rows()
        title = "".join(f"<th style='text-align:left'>{escape(cell)}</th>" for cell in head)
        rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body)
        caption = f"Lipschitz constant {round_up(self.constant)} (l2, from X to the latents)"
        return f"<table><caption>{caption}</caption><tr>{title}</tr>{rows}</table>"
