"""Sphinx configuration: ``make docs``. Builds without a network, and the pages load nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

import skcert

HERE = Path(__file__).parent
SKLEARN = "https://scikit-learn.org/stable/modules/generated"

project = "skcert"
author = "the skcert developers"
project_copyright = author
version = release = skcert.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
# tables that pages include
exclude_patterns = ["_build", "_templates", "reproduction/digits.md", "reproduction/shaping_*.md"]
templates_path = ["_templates"]

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # the class template lists them

html_theme = "pydata_sphinx_theme"
html_title = "skcert"
html_static_path = ["_static"]
html_css_files = ["skcert.css"]
html_show_sourcelink = False
html_math_renderer = "mathml"
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


# -- mathematics as MathML, which browsers draw themselves ------------------------------------------------------------


def _mathml(node, as_block: bool) -> str:
    formula = re.sub(r"\\(?:[bB]igg?|textstyle)(?![a-z])", "", node.astext())  # MathML sizes by itself
    try:
        return tex2mathml(formula, as_block=as_block)
    except MathError as error:
        logging.getLogger(__name__).warning("%s in the formula %r", error, node.astext(), location=node)
        return ""


def _inline(translator, node) -> None:
    translator.body.append(_mathml(node, as_block=False))
    raise nodes.SkipNode


def _display(translator, node) -> None:
    translator.body.append(f'<div class="math">{_mathml(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


# -- "theory 1.3" in a docstring is a link to that section -------------------------------------------------------------

ANCHORS = {
    number for page in HERE.glob("theory/*.md") for number in re.findall(r"^\(theory-(.+)\)=$", page.read_text(), re.MULTILINE)
}
CITED = re.compile(r"\btheory (\d(?:\.\d)?(?:(?:, | to | and )\d\.\d)*)")


def _link(match: re.Match) -> str:
    def one(number: re.Match) -> str:
        name = number[0]
        text = f"theory {name}" if number.start() == 0 else name
        return f":ref:`{text} <theory-{name}>`" if name in ANCHORS else text

    return re.sub(r"\d(?:\.\d)?", one, match[1])


def _cite(app, what, name, obj, options, lines) -> None:
    lines[:] = [CITED.sub(_link, line) for line in lines]


# -- scikit-learn's pages are found by their names; no inventory is fetched ---------------------------------------------


def _scikit_learn(app, env, node, contnode):
    target = node.get("reftarget", "")
    if node.get("reftype") == "term":
        uri = f"https://scikit-learn.org/stable/glossary.html#term-{target}"
        return nodes.reference("", "", contnode, internal=False, refuri=uri)
    if node.get("refdomain") != "py" or not target.startswith("sklearn."):
        return None
    parts = target.split(".")
    owner = next((i for i, part in enumerate(parts) if part[:1].isupper()), len(parts) - 1)
    page = ".".join(parts[: owner + 1])
    uri = f"{SKLEARN}/{page}.html" + (f"#{target}" if target != page else "")
    return nodes.reference("", "", contnode, internal=False, refuri=uri)


def _skip(app, what, name, obj, skip, options):
    """scikit-learn's generated ``set_*_request`` methods are not ours to document."""
    return True if re.fullmatch(r"set_\w+_request", name) else None


def setup(app) -> None:
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    app.connect("autodoc-process-docstring", _cite)
    app.connect("autodoc-skip-member", _skip)
    app.connect("missing-reference", _scikit_learn)


# tables as wide as the page
html_sidebars = {"reproduction/index": []}
