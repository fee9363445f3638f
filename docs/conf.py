"""HTML and man pages from the same Markdown: `make docs`."""

from __future__ import annotations

import monagent

project = "monagent"
author = "The monagent authors"
copyright = author  # noqa: A001 - Sphinx's name
version = release = monagent.__version__
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"monagent {version}"
myst_heading_anchors = 3
# Links to what stands outside of docs/ are for those who read the checkout.
suppress_warnings = ["myst.xref_missing"]
man_pages = [
    ("reference/monagent", "monagent", "a passive monitoring agent", author, 1),
    ("reference/monserver", "monserver", "its reference server", author, 1),
    ("reference/client-cfg", "client.cfg", "configuration of monagent", author, 5),
    ("reference/server-cfg", "server.cfg", "configuration of monserver", author, 5),
    ("reference/site-toml", "site.toml", "definitions of monserver", author, 5),
]
