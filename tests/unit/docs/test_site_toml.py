"""The page about definitions says what their readers do."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from monagent.server.site import together
from monagent.server.site.keys import KEYS, declared
from monagent.server.site.model import KINDS
from monagent.server.site.reading import site_from
from monagent.server.site.writing import to_toml

ROOT = Path(__file__).parents[3]
SPEC = importlib.util.spec_from_file_location("site_toml", ROOT / "docs" / "site_toml.py")
assert SPEC is not None
assert SPEC.loader is not None
site_toml = importlib.util.module_from_spec(SPEC)
sys.modules["site_toml"] = site_toml
SPEC.loader.exec_module(site_toml)

EVERY_KEY = [(kind, key.name) for kind, keys in KEYS.items() for key in keys]


def test_every_kind_is_told_and_no_other_key_is() -> None:
    """What is not defined any more does not stay on the page."""
    told = {(kind, key) for kind, key in EVERY_KEY if (kind, key) in site_toml.OWN or key in site_toml.SAME}

    assert set(EVERY_KEY) == told
    assert set(KINDS) == set(site_toml.ABOUT) == set(KEYS)
    assert set(site_toml.OWN) <= set(EVERY_KEY)
    assert set(site_toml.SAME) <= {key for _, key in EVERY_KEY}


@pytest.mark.parametrize(("kind", "key"), EVERY_KEY)
def test_a_key_takes_what_its_limits_allow_and_nothing_beyond(kind: str, key: str) -> None:
    """The values at the limits are read, those behind them are not."""
    read = declared(kind)[key].read
    about = site_toml.takes(kind, key)

    for value in about.good:
        read(value)
    for value in about.bad:
        with pytest.raises(ValueError, match=r"."):
            read(value)


def test_the_example_is_good_and_has_every_key() -> None:
    """Whoever copies it has a site without a problem or a doubt."""
    site = site_from(site_toml.EXAMPLE.encode(), "example")
    used: set[tuple[str, Any]] = {(kind, key) for (kind, _), content in site.definitions.items() for key in content}

    assert set(EVERY_KEY) == used
    assert together.doubts(site) == []
    assert site_from(to_toml(site).encode(), "written") == site
