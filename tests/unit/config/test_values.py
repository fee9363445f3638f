"""Readers: text from a file becomes values, or a sentence that says what would do."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monagent.config import values

BASE = Path("/etc/monagent")


@pytest.mark.parametrize(
    ("reader", "text", "expected"),
    [
        (values.text, "", ""),
        (values.text, "a  b", "a  b"),
        (values.words, "", ()),
        (values.words, "a b,c,\nd , e", ("a", "b", "c", "d", "e")),
        (values.lines, "", ()),
        (values.lines, "\n*.tmp\n  a b  \n\nc, d", ("*.tmp", "a b", "c, d")),
        (values.command, "", ()),
        (values.command, "  ", ()),
        (values.command, "/usr/bin/check -w 5", ("/usr/bin/check", "-w", "5")),
        (values.command, "bin/check 'a b' \"c d\" e\\ f", ("/etc/monagent/bin/check", "a b", "c d", "e f")),
        (values.command, "./check $HOME `id` ; rm *", ("/etc/monagent/check", "$HOME", "`id`", ";", "rm", "*")),
        *((values.boolean, text, True) for text in ("yes", "Yes", "TRUE", "on", "1")),
        *((values.boolean, text, False) for text in ("no", "No", "FALSE", "off", "0")),
        (values.public_key, "", b""),
        (values.public_key, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", bytes(range(32))),
        (values.duration, "30", 30.0),
        (values.duration, "1.5s", 1.5),
        (values.duration, "10 m", 600.0),
        (values.duration, "26h", 93600.0),
        (values.duration, "7D", 604800.0),
        (values.duration, "0.001", 0.001),
        (values.size, "65536", 65536),
        (values.size, "64K", 65536),
        (values.size, "64 k", 65536),
        (values.size, "64KiB", 65536),
        (values.size, "256M", 256 * 1024**2),
        (values.size, "2gb", 2 * 1024**3),
        (values.size, "1T", 1024**4),
        (values.size_or_none, "none", -1),
        (values.size_or_none, "64K", 65536),
        (values.count_or_none(1, 5), "none", -1),
        (values.count_or_none(1, 5), "5", 5),
        *(
            (values.niceness, text, value)
            for text, value in (("0", 0), ("19", 19), ("+5", 5), ("-20", -20), ("-5", -5))
        ),
        *((values.io_priority, text, -1) for text in ("", "none")),
        (values.io_priority, "realtime:0", 1 << 13),
        (values.io_priority, "realtime", 1 << 13 | 4),
        (values.io_priority, "best-effort", 2 << 13 | 4),
        (values.io_priority, "best-effort:0", 2 << 13),
        (values.io_priority, "best-effort:7", 2 << 13 | 7),
        (values.io_priority, "idle", 3 << 13),
        (values.share, "0", "0"),
        (values.share, "100", "100"),
        (values.share, "10%", "10%"),
        (values.share, "100%", "100%"),
        (values.count(1, 5), "1", 1),
        (values.count(1, 5), "5", 5),
        (values.count(0, 10), "007", 7),
        (values.or_none(values.duration), "", None),
        (values.or_none(values.duration), "5", 5.0),
        (values.choice("a", "b"), "b", "b"),
        (values.path, "a/b", BASE / "a/b"),
        (values.path, "/a", Path("/a")),
        (values.path, "../a", BASE / "../a"),
        (values.optional_path, "", None),
        (values.optional_path, "a", BASE / "a"),
        (values.secret_path, "", None),
        (values.secret_path, "a", BASE / "a"),
        (values.secret_path, "credential:a.key", Path("/run/credentials/monagent.service/a.key")),
        (values.networks, "", ()),
        (
            values.networks,
            "127.0.0.0/8 ::1, 192.0.2.7\n2001:db8::/32",
            tuple(map(ip_network, ("127.0.0.0/8", "::1/128", "192.0.2.7/32", "2001:db8::/32"))),
        ),
        (values.url, "http://a", "http://a"),
        (values.url, "https://a.example:8443/xmlrpc/?b=c", "https://a.example:8443/xmlrpc/?b=c"),
        (values.url, "http://[::1]:8081/", "http://[::1]:8081/"),
        (values.url, "http://192.0.2.1:1/", "http://192.0.2.1:1/"),
        (values.database, "sqlite:///monitor.db", "sqlite:////etc/monagent/monitor.db"),
        (values.database, "sqlite:////var/m.db", "sqlite:////var/m.db"),
        (values.database, "postgresql+psycopg://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
    ],
)
def test_good_text_is_read(reader: values.Reader, text: str, expected: Any) -> None:
    """In every form that people write."""
    value = reader(text, BASE)

    assert (type(expected), expected) == (type(value), value)


@pytest.mark.parametrize(
    ("reader", "text", "hint"),
    [
        (values.command, "check", "must be a path to a program"),
        (values.command, "check /a", "must be a path to a program"),
        (values.command, "/a 'b", "unbalanced quote"),
        (values.command, "/a b\\", "unbalanced quote"),
        *((values.boolean, text, "neither yes nor no") for text in ("", "y", "maybe", "2", "yes no", "ja")),
        *(
            (values.duration, text, "examples: 30, 1.5s")
            for text in ("", "0", "0s", "0.0", "-5", "+5", "5x", "5 minutes", "1h30m", "nan", "inf", "1e3", "1_0", "٣", ".5", "5.", "1.2345")
        ),
        *(
            (values.size, text, "examples: 65536, 64K")
            for text in ("", "0", "0K", "-1", "1.5M", "5x", "K", "1e3", "1_0", "٣", "9" * 13)
        ),
        *((values.share, text, "examples: 100, 10%") for text in ("", "101%", "-1", "-1%", "1.5%", "%", "%5", "ten", "5%%")),
        *((values.count(1, 5), text, "whole number from 1 to 5") for text in ("", "0", "6", "-1", "+1", "1.0", "1_0", "٣", "x", "9" * 30)),
        *((values.size_or_none, text, "examples: 65536, 64K") for text in ("", "0", "-1", "None", "no", "much")),
        *((values.count_or_none(1, 5), text, "whole number from 1 to 5") for text in ("", "0", "6", "-1", "None", "no")),
        *((values.niceness, text, "from -20 to 19") for text in ("", "20", "-21", "1.0", "none", "--5", "\u0665", "1_0", "x", "9" * 30)),
        *(
            (values.io_priority, text, "examples: idle, best-effort")
            for text in ("low", "Idle", "idle:0", "idle:7", "best-effort:8", "best-effort:-1", "best-effort:07", "best-effort:\u0665", "none:1", "3")
        ),
        (values.choice("a", "b"), "c", "none of: a, b"),
        (values.choice("a", "b"), "A", "none of: a, b"),
        (values.or_none(values.duration), "x", "examples"),
        (values.path, "", "needs a path"),
        (values.networks, "10.0.0.0/33", "example: 10.0.0.0/8"),
        (values.networks, "10.1.2.3/8", "example: 10.0.0.0/8"),
        (values.networks, "2001:db8::1/32", "example: 2001:db8::/32"),
        (values.networks, "localhost", "example: 10.0.0.0/8"),
        (values.networks, "::g", "example: 2001:db8::/32"),
        (values.networks, "127.0.0.1 any", '"any" is not a network'),
        *((values.url, text, "needs a URL") for text in ("", "http://a b/", "http://é/", "http://a/\n")),
        *(
            (values.url, text, "is not a")
            for text in ("a", "//a", "ftp://a", "file:///a", "http:", "http://", "http:///a", "http://:80/", "http://[::1", "http://a:x/",
                         "http://a:0/", "http://a:65536/", "http://a:-1/", "https:a")
        ),
        (values.url, "http://u@a/", "user name or a password"),
        (values.url, "http://u:p@a/", "user name or a password"),
        (values.url, "http://@a/", "user name or a password"),
        (values.url, "http://a/#b", "fragment"),
        *(
            (values.public_key, text, "monagent sensor keygen")
            for text in ("x", "A" * 43, "A" * 44, "A" * 42 + "==", "A" * 43 + "=", "AQ" + "A" * 41 + "=", "-" * 43 + "=", "0" * 64,
                         "\u0661" * 43 + "=", "ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
        ),
        *((values.database, text, "sqlite:///monitor.db") for text in ("", "monitor.db", "sqlite", "http//a", "a b://c")),
    ],
)  # fmt: skip
def test_bad_text_is_refused_with_what_would_do(reader: values.Reader, text: str, hint: str) -> None:
    """Every refusal helps."""
    with pytest.raises(ValueError) as caught:
        reader(text, BASE)

    assert hint in str(caught.value)


def test_a_private_key_that_was_pasted_by_mistake_is_not_repeated() -> None:
    """Messages end up in logs and on screens."""
    with pytest.raises(ValueError) as caught:
        values.public_key(
            "-----BEGIN PRIVATE KEY----- MC4CAQAwBQYDK2VwBCIEIAEBAQEBAQEB -----END PRIVATE KEY-----", BASE
        )

    assert "MC4C" not in str(caught.value)


@pytest.mark.parametrize("text", ["none", "realtime:0", "realtime:7", "best-effort:0", "best-effort:4", "idle"])
def test_an_io_priority_can_be_written_as_it_was_read(text: str) -> None:
    """`monagent config` shows it so."""
    assert values.io_priority_text(values.io_priority(text, BASE)) == text


def test_credentials_are_where_systemd_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a service of another name."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/other.service")

    assert values.secret_path("credential:a", BASE) == Path("/run/credentials/other.service/a")


@pytest.mark.parametrize("name", ["", "..", ".", "/etc/shadow", "a/b"])
def test_a_credential_is_named_and_nothing_else(name: str) -> None:
    """No path."""
    with pytest.raises(ValueError, match="not the name of a credential"):
        values.secret_path(f"credential:{name}", BASE)


READERS = [
    values.text, values.words, values.lines, values.command, values.boolean, values.duration, values.size, values.share,
    values.count(0, 100), values.choice("a"), values.path, values.optional_path, values.secret_path, values.networks, values.url, values.database,
    values.public_key, values.size_or_none, values.count_or_none(0, 100), values.niceness, values.io_priority,
]  # fmt: skip


@given(
    st.sampled_from(READERS),
    st.text(st.characters(codec="utf-8") | st.sampled_from("0123456789/:%.,kKmMhs[]@#'\""), max_size=30),
)
@settings(max_examples=500, deadline=None, database=None)
def test_any_text_gives_a_value_or_a_sentence(reader: values.Reader, text: str) -> None:
    """Nothing but ValueError comes out of a reader."""
    said = ""
    try:
        reader(text, BASE)
    except UnicodeError:
        raise
    except ValueError as error:
        said = str(error)
    else:
        return

    assert said


@given(st.floats(0.001, 10**8).map(lambda seconds: round(seconds, 3)))
@settings(max_examples=100, deadline=None, database=None)
def test_a_duration_in_seconds_is_those_seconds(seconds: float) -> None:
    """To the millisecond."""
    assert values.duration(f"{seconds:.3f}", BASE) == pytest.approx(seconds)
