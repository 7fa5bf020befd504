"""One rule for all progress bars: work of more than two seconds shows one, where somebody looks and nobody asked for none.

Somebody looks at a terminal and at a notebook; nobody at a file of logs, nor at what worker processes write.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

#: seconds until a bar is drawn, and from then on until it is drawn again
DELAY, TICK = 2.0, 0.5
#: what terminals that do not tell their size are taken for; to tqdm they are too low for any bar
SIZE = {"ncols": 80, "nrows": 24}

_wanted: ContextVar[bool] = ContextVar("_wanted", default=True)


class Count:
    """How much of some work is done."""

    def __init__(self) -> None:
        self.n, self.note = 0, ""

    def update(self, n: int = 1) -> None:
        """So much more of it."""
        self.n += n


@contextmanager
def shown(wanted: bool) -> Iterator[None]:
    """Show no bars in this block, whatever it calls, unless they are wanted here and by the blocks around it."""
    token = _wanted.set(_wanted.get() and bool(wanted))
    try:
        yield
    finally:
        _wanted.reset(token)


@contextmanager
def bar(total: int, description: str, unit: str, wanted: bool = True) -> Iterator[Count]:
    """A bar for the work of this block, which tells the count that it is given how far it is.

    The bar goes by a clock of its own: it appears, and the time on it goes on, however long one update takes. The first row
    may be what takes the time.
    """
    count = Count()
    if not (wanted and _wanted.get() and _is_watched(sys.stderr)):
        yield count
        return
    start, done = time.time(), threading.Event()
    clock = threading.Thread(target=_draw, args=(count, done, total, description, unit, start), daemon=True)
    clock.start()
    try:
        yield count
    finally:
        done.set()
        if time.time() - start >= DELAY:  # it may be drawn, and is wiped off before what comes next is written
            clock.join()


def _draw(count: Count, done: threading.Event, total: int, description: str, unit: str, start: float) -> None:
    if done.wait(DELAY):
        return
    from tqdm.auto import tqdm  # once it is needed: in a notebook without widgets it warns

    with tqdm(total=total, desc=description, unit=unit, leave=False, delay=TICK, **_size(sys.stderr)) as drawn:
        drawn.start_t = start
        while True:
            drawn.set_postfix_str(count.note, refresh=False)
            drawn.n = count.n
            drawn.refresh()
            if done.wait(TICK):
                return


def _is_notebook(stream: Any) -> bool:
    return type(stream).__module__.startswith("ipykernel")


def _is_watched(stream: Any) -> bool:
    if multiprocessing.current_process().name != "MainProcess":
        return False
    return _is_notebook(stream) or (hasattr(stream, "isatty") and stream.isatty())


def _size(stream: Any) -> dict[str, int]:
    """What tqdm needs to be told of the size of a terminal."""
    if _is_notebook(stream):
        return {}
    try:
        return {} if all(os.get_terminal_size(stream.fileno())) else SIZE
    except (AttributeError, OSError, ValueError):
        return SIZE
