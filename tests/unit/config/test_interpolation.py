"""References between the options of a configuration file."""

from __future__ import annotations

from configparser import ConfigParser, InterpolationDepthError, InterpolationMissingOptionError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monagent.config.interpolation import PercentInterpolation, escape


def parsed(text: str) -> ConfigParser:
    """A parser that resolves references as monagent does."""
    parser = ConfigParser(interpolation=PercentInterpolation())
    parser.read_string(text)
    return parser


def expanded(value: str) -> str:
    """The value, with `name` = `x` beside it."""
    return parsed(f"[s]\nname = x\nvalue = {value}\n")["s"]["value"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("%(name)s", "x"),
        ("a%(name)sb%(name)s", "axbx"),
        ("%(NAME)s", "x"),
        ("%%(name)s", "%(name)s"),
        ("%%%(name)s", "%x"),
        ("%%%%", "%%"),
        ("10%", "10%"),
        ("%", "%"),
        ("% (name)s", "% (name)s"),
        ("%(name)d", "%(name)d"),
        ("%(name", "%(name"),
        ("%()s", "%()s"),
        ("%((name)s)s", "%((name)s)s"),
        ("%d%s", "%d%s"),
        ("${name} $name {name}", "${name} $name {name}"),
    ],
)
def test_only_whole_references_are_replaced(value: str, expected: str) -> None:
    """A lone percent sign is a percent sign."""
    assert expanded(value) == expected


def test_references_may_refer_on() -> None:
    """Each is resolved in its own turn, escapes in them too."""
    assert parsed("[s]\na = <%(b)s>\nb = (%(c)s)\nc = 5%%%%\n")["s"]["a"] == "<(5%%)>"


def test_names_are_looked_up_in_the_section_then_in_the_defaults() -> None:
    """And nowhere else."""
    parser = parsed("[DEFAULT]\na = d\nb = d\n[s]\na = s\nx = %(a)s%(b)s\n[t]\nc = t\ny = %(c)s\n[u]\nz = %(c)s\n")

    assert (parser["s"]["x"], parser["t"]["y"]) == ("sd", "t")
    with pytest.raises(InterpolationMissingOptionError):
        _ = parser["u"]["z"]


@pytest.mark.parametrize("lines", ["a = %(a)s", "a = %(b)s\nb = %(a)s", "a = %(b)s\nb = %(c)s\nc = %(b)s"])
def test_a_circle_ends(lines: str) -> None:
    """In an error, and soon."""
    with pytest.raises(InterpolationDepthError):
        _ = parsed(f"[s]\n{lines}\n")["s"]["a"]


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Z"]) | st.sampled_from("%%%()sd")))
@settings(max_examples=200, deadline=None, database=None)
def test_what_is_escaped_reads_back(text: str) -> None:
    """Whatever percent signs and brackets the text holds."""
    assert expanded(f"'{escape(text)}'") == f"'{text}'"


def test_what_needs_no_escape_is_left_as_it_is() -> None:
    """People find `10%` in the file, not `10%%`."""
    assert [escape(text) for text in ("10%", "a", "% %")] == ["10%", "a", "% %"]
