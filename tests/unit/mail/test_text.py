"""Text from elsewhere, made fit to be shown."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monagent.addresses import address, named_address
from monagent.mail.text import ROW_LIMIT, one_line, paragraph

ANYTHING = st.text(st.characters(exclude_categories=()), max_size=300)


@given(ANYTHING)
def test_a_line_is_one_line_of_visible_text(text: str) -> None:
    """No control character, half a character or mark that turns the text around is left."""
    line = one_line(text)

    assert not {unicodedata.category(letter) for letter in line} & {"Cc", "Cs", "Zl", "Zp"}
    assert not set(line) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069\u200f\ufeff\u200b")
    assert len(line) <= ROW_LIMIT
    line.encode()


@given(ANYTHING)
def test_a_paragraph_keeps_its_lines(text: str) -> None:
    """And nothing else that controls."""
    kept = paragraph(text)

    assert not {unicodedata.category(letter) for letter in kept if letter != "\n"} & {"Cc", "Cs", "Zl", "Zp"}
    assert paragraph(kept) == kept


def test_words_of_any_language_stay() -> None:
    """Joiners are part of some scripts, and of pictures."""
    for text in ("磁盘空间", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "👩\u200d💻", "Größe", "ディスク"):
        assert one_line(text) == text


def test_long_text_is_cut() -> None:
    """Visibly."""
    assert one_line("x" * 1000) == "x" * (ROW_LIMIT - 1) + "…"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a@b.c", "a@b.c"),
        ("root@localhost", "root@localhost"),
        ("o'neil+x@mail.example.org", "o'neil+x@mail.example.org"),
        ("ich@müller.example", "ich@xn--mller-kva.example"),
    ],
)
def test_addresses_are_taken(text: str, written: str) -> None:
    """A domain in other letters is written as mail servers know it."""
    assert address(text) == written


@pytest.mark.parametrize(
    "text",
    ["root", "a@", "@b", "a b@c.d", "a@b c", "a@b..c", "a@-b.c", "a\n@b.c", "a@b.c\n", "a@b.c,d@e.f", "<a@b.c>", "müller@b.c", "a" * 65 + "@b.c", "a@" + "b" * 64, "a..b@c.d", "a@b\u2028.c", '"a b"@c.d'],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    """With an example."""
    with pytest.raises(ValueError, match="example"):
        address(text)


def test_a_sender_may_have_a_name() -> None:
    """In front of the address."""
    assert named_address("Monitoring Köln <mon@b.c>") == ("Monitoring Köln", "mon@b.c")
    assert named_address("mon@b.c") == ("", "mon@b.c")
