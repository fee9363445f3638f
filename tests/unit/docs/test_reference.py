"""The reference pages and the example configuration are what the programs say today."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from monagent.config.example import client_example

ROOT = Path(__file__).parents[3]
SPEC = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
assert SPEC is not None
assert SPEC.loader is not None
make_reference = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(make_reference)


@pytest.mark.parametrize("name", sorted(make_reference.PAGES))
def test_a_reference_page_is_current(name: str) -> None:
    """`python docs/make_reference.py` would change nothing."""
    page = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")

    assert page == make_reference.PAGES[name]()


def test_the_example_configuration_is_current() -> None:
    """`client.cfg` at the top is what `monagent init` writes."""
    assert (ROOT / "client.cfg").read_text(encoding="utf-8") == client_example("http://localhost:8081/xmlrpc/")
