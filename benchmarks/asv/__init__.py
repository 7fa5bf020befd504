"""The history of time and memory, commit by commit: ``asv run``, ``asv publish`` (asv.conf.json)."""

import sys
from pathlib import Path

# for benchmarks.problems; last, so that skcert is the installed one, of the commit that is measured
sys.path.append(str(Path(__file__).resolve().parents[2]))
