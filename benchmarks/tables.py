"""Tables as the documentation includes them: numbers in one file, Markdown with machine, versions and date in another."""

from __future__ import annotations

import csv
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

from threadpoolctl import threadpool_info

RESULTS = Path(__file__).with_name("results")


def write_table(
    out: Path,
    heading: list[str],
    columns: list[str],
    table: list[dict[str, object]],
    packages: tuple[str, ...] = ("numpy", "scipy", "scikit-learn"),
) -> None:
    """The rows as CSV, and as Markdown with the command, versions and machine."""
    out.parent.mkdir(exist_ok=True)
    with out.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    lines = [
        *heading,
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(str(each[name]) for name in columns) + " |" for each in table),
        "",
        f"`{command()}`; {surroundings(packages)}.",
    ]
    out.with_suffix(".md").write_text("\n".join(lines) + "\n")


def command() -> str:
    """What was typed."""
    spec = sys.modules["__main__"].__spec__
    return " ".join(["python -m", "?" if spec is None else spec.name, *sys.argv[1:]])


def surroundings(packages: tuple[str, ...]) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    threads = max((pool["num_threads"] for pool in threadpool_info()), default=1)
    return (
        f"Python {platform.python_version()}, {versions}; {processor()}, {os.cpu_count()} cores, {threads} thread(s); "
        f"{time.strftime('%Y-%m-%d')}"
    )


def processor() -> str:
    """Its name, where the system says it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
