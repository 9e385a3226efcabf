"""How Sphinx builds the manual: python -m sphinx -W --keep-going -n docs build/docs"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS))

from manual import assets, docstrings, gallery, plots, readmes, reference  # noqa: E402
from onepass import __version__  # noqa: E402

project, author = "onepass", "the authors of onepass"
project_copyright = f"2026, {author}"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["manual", "_static"]
nitpicky = True
smartquotes_action = "De"  # dashes and dots; quotes stay
python_display_short_literal_types = True

# Docstrings: signatures without types, which the text tells with shapes and dtypes.
autodoc_typehints = "none"
autodoc_member_order = "groupwise"
autodoc_inherit_docstrings = True
add_module_names = False
toc_object_entries = False
napoleon_use_param = False
napoleon_use_rtype = False
napoleon_use_ivar = True
nitpick_ignore_regex = [(r"py:.*", r"(?!onepass\.(kernels|nets)?\.?\w+$).*")]

# Markdown.
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

# The page: nothing of it comes from a network.
html_theme = "pydata_sphinx_theme"
html_title = f"onepass {version}"
html_static_path = ["_static"]
html_css_files = ["manual.css"]
html_js_files = ["from_disk.js"]
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
mathjax_path = assets.MATHJAX
mathjax3_config: dict[str, Any] = {"svg": {"fontCache": "local"}, "options": {"enableMenu": False}}
html_theme_options = {
    "navigation_with_keys": True,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 4,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {
    "index": [],
    "reference/**": ["sidebar-nav-bs"],
    "gallery/**": ["sidebar-nav-bs"],
    "*": ["globaltoc.html"],
}
html_context = {"default_mode": "auto"}
linkcheck_ignore = [r"https?://.*"]
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def setup(app: Any) -> None:
    reference.write_reference(DOCS / "reference", gallery.examples_of_names())
    gallery.write_gallery(DOCS / "gallery")
    plots.write_plots(DOCS / "plots")
    docstrings.connect(app, reference.resolve)
    readmes.connect(app)
    assets.connect(app)
