"""Seconds and bytes of a call."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np

MIB = 2**20


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process during the call, and what it returned."""
    start = time.process_time()
    returned = function()
    return time.process_time() - start, returned


def cpu(function: Callable[[], Any], repeats: int = 5) -> tuple[float, float]:
    """CPU seconds of the first call, and the median of the following ones."""
    cold, *warm = [timed(function)[0] for _ in range(repeats + 1)]
    return cold, float(np.median(warm))


def ratio(ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int = 7) -> tuple[float, float, float]:
    """Median ratio of CPU times of two calls made in turn, so that a change of clock speed meets both."""
    pairs = [(timed(ours)[0], timed(theirs)[0]) for _ in range(repeats)]
    ours_s, theirs_s = np.median(pairs, axis=0)
    return float(np.median([a / b for a, b in pairs])), float(ours_s), float(theirs_s)


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns in a process of its own, whose memory nobody has touched."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def memory(*names: str) -> dict[str, int]:
    """Bytes of this process as Linux counts them: VmRSS, VmHWM (its peak), RssAnon (without pages of mapped files) ..."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return {name: 1024 * int(values[name].split()[0]) for name in names}


class PeakMemory:
    """While it is entered: the peak of all resident pages, from the kernel, and of the process's own, looked at every 2 ms.

    Attributes
    ----------
    before, resident, own : int
        Bytes: own pages on entry, and the peaks of all pages and of own ones.
    """

    def __enter__(self) -> PeakMemory:
        Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM to what is resident now
        self.before = self.own = memory("RssAnon")["RssAnon"]
        self._done = Event()
        self._watcher = Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()
        self.resident = memory("VmHWM")["VmHWM"]

    def _watch(self) -> None:
        while not self._done.wait(0.002):
            self.own = max(self.own, memory("RssAnon")["RssAnon"])
