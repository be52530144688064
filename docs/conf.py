"""How Sphinx builds the site from these pages: `make docs`."""

import re
from typing import Any

from rnncli.version import __version__

project, author, release = "rnn", "the rnncli developers", __version__
copyright = f"2026 {author}"  # the name that Sphinx reads
extensions = ["myst_parser", "sphinx.ext.autodoc"]

myst_heading_anchors = 4
myst_url_schemes = ("http", "https", "mailto")

smartquotes = False  # primes of equations stay primes

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"rnn {release}"
html_copy_source = False

_CODE = re.compile(r"(`+[^`]+`+)")
_ELSEWHERE = {"(../CONTRIBUTING.md": "(project/contributing.md", "(../CHANGELOG.md": "(project/changelog.md"}


def link_within_the_site(_app: Any, _page: str, source: list[str]) -> None:
    """Let links to pages at the project's root lead to their copies on the site."""
    for there, here in _ELSEWHERE.items():
        source[0] = source[0].replace(there, here)


def as_plain_text(_app: Any, _kind: str, _name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with `code` and lists: nothing else in them is markup."""
    shown: list[str] = []
    in_list = False
    for line in lines:
        parts = _CODE.split(line)
        parts[1::2] = [f"``{part.strip('`')}``" for part in parts[1::2]]
        parts[::2] = [re.sub(r"([\\*|_])", r"\\\1", part) for part in parts[::2]]
        if line.startswith("- ") and not in_list:
            shown.append("")
        in_list = line.startswith(("- ", "  ")) and (in_list or line.startswith("- "))
        shown.append("".join(parts))
    lines[:] = shown


def setup(app: Any) -> None:
    """Connect both to Sphinx."""
    app.connect("source-read", link_within_the_site)
    app.connect("autodoc-process-docstring", as_plain_text)
