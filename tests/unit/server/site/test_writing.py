"""Definitions as a file: written and read again they are the same."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from monagent.server.site.difference import Difference
from monagent.server.site.model import Site
from monagent.server.site.reading import site_from
from monagent.server.site.writing import to_toml
from tests.unit.server.site.site import FILE, site, small_site, whole_site

TEXTS = some.text(some.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
ARGUMENTS = some.lists(
    some.one_of(
        some.text(some.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=60),
        some.integers(-(2**63), 2**63 - 1),
        some.floats(allow_nan=False, allow_infinity=False),
    ),
    max_size=5,
)


def test_a_site_is_written_as_it_was_read() -> None:
    """Byte for byte."""
    assert to_toml(whole_site()) == FILE


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(note=TEXTS, arguments=ARGUMENTS, host=some.from_regex(r"[A-Za-z0-9_.-]{1,80}", fullmatch=True))
def test_whatever_is_defined_is_read_again(note: str, arguments: list[str | int | float], host: str) -> None:
    """Quotes, line feeds, DEL, long lists, numbers of all sizes."""
    made = site(
        {
            ("host", host): {"address": "a"},
            ("sensor", "s"): {"note": note},
            ("probe", "p"): {"sensor": "s", "arguments": arguments, "hosts": [host]},
        }
    )
    text = to_toml(made)

    assert site_from(text.encode(), "x") == made
    assert to_toml(site_from(text.encode(), "x")) == text


def test_a_difference_is_told_by_definition_and_key() -> None:
    """What comes, what goes, and what is changed; 1 is not 1.0."""
    before = small_site(arguments=["/", 1], warning="5").having("alert", "a", {"mail": ["a@b.org"]})
    after = (
        small_site(arguments=["/", 1.0], critical="9").without("host", "db1").having("sensor", "load", {"note": "x"})
    )

    assert list(Difference(before, after).told()) == [
        "- [host.db1]   its tickets, readings and incidents go, too",
        "+ [sensor.load]",
        '    + note = "x"',
        "~ [probe.root]",
        '    - arguments = ["/", 1]',
        '    + arguments = ["/", 1.0]',
        '    - warning = "5"',
        '    + critical = "9"',
        "- [alert.a]",
    ]
    assert not Difference(before, Site(dict(before.definitions)))
