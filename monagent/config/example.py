"""The commented `client.cfg` that people start from, made from the same declarations that validate it."""

from __future__ import annotations

from monagent.config.sections import NAMED_SECTIONS, PLAIN_SECTIONS
from monagent.config.table import example

_ABOUT = """\
; The configuration of one monagent. `monagent check-config` finds mistakes in it.
; Relative paths start at this file. Lines that begin with ; or # are comments, and so is what follows " ;".
; Everything but [monitor] url may be left out; what stands here are the defaults.
"""


def client_example(url: str) -> str:
    """The file, reporting to that server. Sections that need more than defaults are shown as comments."""
    sections = {name: example(name, cls) for name, cls in PLAIN_SECTIONS.items() if name != "mail"}
    sections["monitor"] = sections["monitor"].replace("\nurl =\n", f"\nurl = {url}\n")
    optional = {"mail": PLAIN_SECTIONS["mail"], **{f"{prefix}NAME": cls for prefix, cls in NAMED_SECTIONS.items()}}
    commented = [_commented(example(name, cls)) for name, cls in optional.items()]
    return "\n".join([_ABOUT, *sections.values(), *commented])


def _commented(section: str) -> str:
    return "".join(line if line.startswith(";") else f"# {line}" for line in section.splitlines(keepends=True))
