"""One line for each command, whatever the caller wrote, and counters."""

from __future__ import annotations

import ast
import logging
import re
import threading
from collections.abc import Iterator

import pytest

from monagent.errors import BadArguments, Fault
from monagent.models import Value
from monagent.rpc.audit import Audit

FIELDS = ["command", "ticket", "peer", "certificate", "verdict"]


class Lines:
    """What is written, at the level that counts."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "monagent.audit")
        self._caplog = caplog

    def __iter__(self) -> Iterator[str]:
        return iter(self._caplog.messages)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """The log."""
    return Lines(caplog)


def noted(name: str = "cmd_status", params: tuple[Value, ...] = ("t1",), answer: Value | Fault = "OK") -> Audit:
    """One that has seen this call."""
    audit = Audit()
    audit.note(name, params, answer, "192.0.2.7", frozenset({"b.example", "a.example"}))
    return audit


def test_a_command_leaves_one_line_that_says_all(lines: Lines) -> None:
    """Who, what, under which ticket, by which certificate, and what was said."""
    noted("cmd_submit_reading", (17, "disk", ["/"]))

    assert list(lines) == [
        "command=cmd_submit_reading ticket=17 peer=192.0.2.7 certificate=a.example,b.example verdict=accepted"
    ]


def test_a_refusal_is_told_with_its_code_and_our_own_words(lines: Lines) -> None:
    """The reason is a sentence of ours."""
    noted(answer=BadArguments("no such sensor here"))

    assert next(iter(lines)).endswith("verdict=-32602 reason=no such sensor here")


@pytest.mark.parametrize(
    "text",
    [
        "a\nINFO monagent.audit command=x verdict=accepted", "a\r\nb", "a verdict=accepted", "\x1b[2J", "a\0b", "\u2028", "\x85",
        "\u202egnp.exe", "é" * 300, "x" * 100_000, "", " ", "'", '"', "\\n", "\ud800",
    ],
    ids=lambda text: ascii(text)[:20],
)  # fmt: skip
def test_nothing_that_a_caller_writes_looks_like_another_line_or_field(lines: Lines, text: str) -> None:
    """Neither its method nor its ticket: quoted, cut, in ASCII."""
    noted(text, (text,), Fault("no"))
    (line,) = lines

    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 2500
    plain = [word.partition("=")[0] for word in _outside_quotes(line).split() if "=" in word]
    assert plain == [*FIELDS, "reason"]


def _outside_quotes(line: str) -> str:
    """The line without what stands in Python's quotes."""
    pieces = re.findall(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", line)
    for piece in pieces:
        ast.literal_eval(piece)
        line = line.replace(piece, "Q", 1)
    return line


@pytest.mark.parametrize("name", ["healthcheck", "system.listMethods"])
def test_what_changes_nothing_leaves_no_line_unless_it_is_refused(lines: Lines, name: str) -> None:
    """A healthcheck every second would bury the rest."""
    noted(name, ())
    assert not list(lines)
    noted(name, (), Fault("no"))

    assert len(list(lines)) == 1


@pytest.mark.parametrize("ticket", [None, [], {}, b"x", 1.5])
def test_what_is_no_ticket_is_not_shown(lines: Lines, ticket: Value) -> None:
    """A dash instead."""
    noted(params=(ticket,), answer=Fault("no"))

    assert " ticket=- " in next(iter(lines))


def test_calls_are_counted_by_what_became_of_them() -> None:
    """By any number of threads."""
    audit = Audit()

    def work() -> None:
        for number in range(500):
            audit.note("healthcheck", (), Fault("no", -32601) if number % 5 == 0 else "OK", "", ())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert audit.counts() == {"-32601": 400, "accepted": 1600}
