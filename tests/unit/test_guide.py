"""The pages run as they are pasted: all Python of a page in its order, in one namespace and a folder of its own.

Pages that take long, or need what not everybody has, run with SKCERT_PAGES=1. A block after a line "% not run here: ..." or
"% recipe: ..." does not run (recipes have a test of their own).
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib import pyplot

from skcert import adapters

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "docs" / "index.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
BLOCK = re.compile(
    r"^(?P<aside>% (?:not run here|recipe): .*\n\n)?```python\n(?P<code>.*?)^```", flags=re.MULTILINE | re.DOTALL
)
ADULT = Path(os.environ.get("SKCERT_DATA", ROOT / "../shared/data")) / "tabular"
#: why a page runs on request alone
LONG = {
    "arrays.md": "SciPy's switch needs a process of its own",
    "components.md": "EM many times over",
    "embedder.md": "an encoder, and what it needs",
    "gaussianity.md": "permutations, and a picture",
    "pixels.md": "local bounds of a network",
    "shaping.md": "a network is trained",
    "smoothing.md": "latents and votes under noise",
    "tables.md": "the census incomes",
}


def blocks(page):
    text = page.read_text()
    return [(text.count("\n", 0, m.start("code")), m["code"]) for m in BLOCK.finditer(text) if not m["aside"]]


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    for name in ("_STEPS", "_MODELS"):
        monkeypatch.setattr(adapters, name, dict(getattr(adapters, name)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_a_page_runs_as_it_is_pasted(page, tmp_path, monkeypatch):
    if page.name in LONG and not os.environ.get("SKCERT_PAGES"):
        pytest.skip(f"{LONG[page.name]}: SKCERT_PAGES=1 runs it")
    if page.name == "tables.md":
        if not ADULT.is_dir():
            pytest.skip("no census incomes in SKCERT_DATA")
        for part, name in (("train", "adult.data"), ("test", "adult.test")):
            (tmp_path / name).symlink_to((ADULT / f"adult-{part}.csv").resolve())
    monkeypatch.chdir(tmp_path)
    pyplot.switch_backend("Agg")
    if any("SCIPY_ARRAY_API" in code for _, code in blocks(page)):  # set before the first import of SciPy
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(code for _, code in blocks(page))],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return
    names = {"__name__": "__main__"}
    for line, code in blocks(page):
        exec(compile("\n" * line + code, str(page), "exec"), names)
    pyplot.close("all")
