"""Files of definitions: what is wrong names its line."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from monagent.errors import ConfigError, Refused
from monagent.server.site.reading import read_site, site_from
from tests.unit.server.site.site import FILE


def told(text: str | bytes) -> list[tuple[int | None, str, str]]:
    """Line, section and key of each problem."""
    with pytest.raises(ConfigError) as caught:
        site_from(text if isinstance(text, bytes) else text.encode(), "site.toml")
    return [(one.line, one.section, one.option) for one in caught.value.problems]


@pytest.mark.parametrize(
    ("right", "wrong", "section", "option"),
    [
        ('from = ["192.0.2.0/24", "10.0.0.0/8"]', 'from = ["nonsense"]', "host.web1", "from"),
        ('schedule = "minutely"\n', 'schedule = "minutly"\n', "probe.root-disk", "schedule"),
        ("runs = 2\n", "runs = 0\n", "probe.root-disk", "runs"),
        ("runs = 2\n", 'runs = """\n2\n"""\n', "probe.root-disk", "runs"),
        ("runs = 2\n", "rums = 2\n", "probe.root-disk", "rums"),
        ("runs = 1\n", "runs = true\n", "override.web1/root-disk", "runs"),
        ("tls = true\n", '"tl\\u0073" = 3\n', "host.db1.example.org", "tls"),
        ('note = "new kernels"', "note = 5 # note = 6", "maintenance.patching", "note"),
    ],
)
def test_a_wrong_value_names_its_line(right: str, wrong: str, section: str, option: str) -> None:
    """The one that it begins on, whatever stands around it."""
    assert right in FILE
    line = FILE[: FILE.index(right)].count("\n") + 1

    assert told(FILE.replace(right, wrong, 1)) == [(line, section, option)]


def test_an_item_of_a_long_list_names_its_own_line() -> None:
    """Whatever order the list is kept in, and whatever looks like a header within it."""
    text = FILE.replace(
        'hosts = ["db1.example.org"]', 'hosts = [ # [host.x]\n  "web1",\n\n  "web9", "web1",\n  "db1.example.org",\n]'
    )
    line = text[: text.index('"web9"')].count("\n") + 1

    assert told(text) == [(line, "probe.root-disk", "hosts")]


def test_what_is_missing_names_the_line_of_its_table() -> None:
    """However the table is written."""
    assert told("# hosts\n\n[host.a]\nport = 1\n") == [(3, "host.a", "address")]
    assert told("[host]\nb.address = 'x'\na.port = 1\n") == [(3, "host.a", "address")]
    assert told("\nhost.a = { port = 1 }\n") == [(2, "host.a", "address")]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (b"[host.a]\naddress = 'b\n", 2, "is no TOML"),
        (b"[host.a]\naddress = 'b'\n\naddress = 'c'\n", 4, "is no TOML"),
        (b"[host.a]\nfrom = [\n1,\n", 3, "is not closed"),
        (b"[host.a]\n# \xff\n", 2, "is not UTF-8"),
        (b"[host.a]\naddress = " + b"[" * 10_000, None, "too deep"),
        (b"[host.a]\nport = " + b"9" * 5_000 + b"\n= nonsense", 2, "more than 4300 digits"),
        (b'[host.a]\naddress = "b"\n[host.""]\naddress = "b"\n', 3, "is no host's name"),
        (b"\xef\xbb\xbf[host.a]\naddress = 'b'\nport = 0\n", 3, "must be a whole number"),
        (b"[host]\na = { address = 'b' }\nb = { address = 'b', port = 0 }\n", 3, "must be a whole number"),
        (b'[sensor.s]\n[probe.p]\nsensor = \'s\'\narguments = [\n"""a\nb""",\ntrue]\n', 7, "a text or a number"),
        (b"[report.r]\nperiod = 'daily'\nmail = ['a@b.org']\nat = 07:00:30\n", 4, "has seconds"),
        (b"host = 1\n", 1, "must be tables with names"),
        (b"[[host]]\naddress = 'b'\n", 1, "must be tables with names"),
        (b"[host]\naddress = 'b'\n", 2, "must be a table"),
        (b"[hosts.a]\n", 1, "no such kind of definition; did you mean host?"),
        (b"\r\n[sensor.a]\r\nnot = 1\r\n", 3, "did you mean note?"),
        (b"[host.web1.example]\naddress = 'a'\n", 1, 'written in quotes: [host."web1.example"]'),
    ],
)
def test_what_cannot_be_read_names_its_line(text: bytes, line: int | None, message: str) -> None:
    """As far as there is one."""
    with pytest.raises(ConfigError) as caught:
        site_from(text, "site.toml")

    assert message in str(caught.value.problems[0])
    assert caught.value.problems[0].line == line


def test_problems_are_told_in_the_order_of_the_file_up_to_fifty() -> None:
    """Quickly in a large file, too."""
    hosts = "".join(f'[host.h{number}]\naddress = "a b"\ngroups = [\n  "x",\n]\n\n' for number in range(2_000))
    begun = time.process_time()
    with pytest.raises(ConfigError) as caught:
        site_from(hosts.encode(), "site.toml")

    assert [one.line for one in caught.value.problems[:50]] == [2 + 6 * number for number in range(50)]
    assert caught.value.problems[50].message == "1950 more problems follow from here on"
    assert time.process_time() - begun < 5


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path: Path) -> None:
    """Before it is read."""
    large = tmp_path / "large.toml"
    with large.open("wb") as file:
        file.truncate(16 * 1024 * 1024 + 1)

    with pytest.raises(Refused, match="there is no file"):
        read_site(tmp_path / "none.toml")
    with pytest.raises(Refused, match="too large"):
        read_site(large)
